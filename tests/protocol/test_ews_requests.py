from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeVar

import pytest

from otjd.protocol.ews_requests import (
    AlternateId,
    CalendarView,
    ConvertId,
    FindItem,
    GetFolder,
    GetItem,
    Header,
    ItemRef,
    ItemRefKind,
    PageView,
    read_header,
    read_request,
)
from otjd.protocol.ews_shapes import BodyType, ExtendedField, ItemShape
from otjd.protocol.ews_time_zones import GetServerTimeZones, server_time_zones
from otjd.protocol.request_parts import FolderRef
from otjd.protocol.soap import SoapFault, read_envelope

M = "http://schemas.microsoft.com/exchange/services/2006/messages"
T = "http://schemas.microsoft.com/exchange/services/2006/types"
R = TypeVar("R")

SHAPE_A = f"""<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/">
 <soap:Header><RequestServerVersion Version="Exchange2007_SP1" xmlns="{T}"/></soap:Header>
 <soap:Body><FindItem Traversal="Shallow" xmlns="{M}">
  <ItemShape><BaseShape xmlns="{T}">Default</BaseShape><AdditionalProperties xmlns="{T}">
    <FieldURI FieldURI="calendar:MyResponseType"/></AdditionalProperties></ItemShape>
  <CalendarView MaxEntriesReturned="100" StartDate="2025-01-01T08:00:00Z" EndDate="2025-01-02T10:00:00Z"/>
  <ParentFolderIds><DistinguishedFolderId Id="calendar" xmlns="{T}">
    <Mailbox><EmailAddress>room@example.com</EmailAddress></Mailbox></DistinguishedFolderId></ParentFolderIds>
 </FindItem></soap:Body></soap:Envelope>"""


def wrapped(operation: str, header: str = "") -> str:
    return (f'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:m="{M}" xmlns:t="{T}">'
            f"<s:Header>{header}</s:Header><s:Body>{operation}</s:Body></s:Envelope>")


def read(operation: str, kind: type[R], header: str = "") -> R:
    envelope = read_envelope(wrapped(operation, header).encode())
    request = read_request(envelope, read_header(envelope).zone)
    assert isinstance(request, kind)
    return request


def refused(operation: str) -> SoapFault:
    with pytest.raises(SoapFault) as raised:
        read_request(read_envelope(wrapped(operation).encode()))
    return raised.value


def find_item(view: str = "", shape: str = "", folders: str = '<t:DistinguishedFolderId Id="calendar"/>') -> str:
    return (f'<m:FindItem Traversal="Shallow"><m:ItemShape>{shape}</m:ItemShape>{view}'
            f"<m:ParentFolderIds>{folders}</m:ParentFolderIds></m:FindItem>")


def test_the_find_item_of_a_legacy_polycom_reader_is_read() -> None:
    envelope = read_envelope(SHAPE_A.encode())
    assert read_header(envelope) == Header("Exchange2007_SP1")
    assert read_request(envelope) == FindItem(
        ItemShape(), CalendarView(datetime(2025, 1, 1, 8, tzinfo=UTC), datetime(2025, 1, 2, 10, tzinfo=UTC), 100),
        None, (), (FolderRef("calendar", "room@example.com"),))


def test_misspelled_containers_and_extended_properties_are_read() -> None:
    shape = """<t:BaseShape>AllProperties</t:BaseShape><t:BodyType>Text</t:BodyType><t:AditionalProperties>
      <t:FieldURI FieldURI="item:Body"/><t:FieldURI FieldURI="item:TextBody"/>
      <t:ExtendedFieldURI DistinguishedPropertySetId="Meeting" PropertyId="3" PropertyType="Binary"/>
      <t:ExtendedFieldURI PropertySetId="00020329-0000-0000-C000-000000000046" PropertyName="A"
        PropertyType="String"/>
      <t:ExtendedFieldURI DistinguishedPropertySetId="PublicStrings" PropertyName="UCMeetingSettings"
        PropertyType="String"/>
      <t:ExtendedFieldURI DistinguishedPropertySetId="Meeting" PropertyId="3" PropertyType="Binary"/>
      <t:ExtendedFieldURI DistinguishedPropertySetId="Appointment" PropertyId="33315" PropertyType="Boolean"/>
      <t:ExtendedFieldURI PropertyTag="0x0E23" PropertyType="Integer"/>
      <t:ExtendedFieldURI DistinguishedPropertySetId="Meeting" PropertyId="-3" PropertyType="Binary"/>
      </t:AditionalProperties><t:Unknown/>"""
    assert read(find_item(shape=shape), FindItem).shape == ItemShape(
        body=BodyType.TEXT, text_body=True, extended=(
            ExtendedField("Meeting", "Binary", number=3),
            ExtendedField("PublicStrings", "String", "A", guid="00020329-0000-0000-C000-000000000046"),
            ExtendedField("PublicStrings", "String", "UCMeetingSettings"),
            ExtendedField("", "Integer", number=0xE23)))


@pytest.mark.parametrize(("asked", "expected"), [
    ("", BodyType.HTML), ("Best", BodyType.HTML), ("HTML", BodyType.HTML), ("Text", BodyType.TEXT)])
def test_the_body_type_is_honoured(asked: str, expected: BodyType) -> None:
    fields = '<t:FieldURI FieldURI="item:UniqueBody"/><t:FieldURI FieldURI="item:NormalizedBody"/>'
    types = "".join(f"<t:{n}BodyType>{asked}</t:{n}BodyType>" for n in ("", "Unique", "Normalized") if asked)
    shape = read(find_item(shape=types + fields), FindItem).shape
    assert (shape.body, shape.unique_body, shape.normalized_body) == (expected,) * 3


def test_a_body_type_that_does_not_exist_fails() -> None:
    assert "'RTF' of 'BodyType'" in refused(find_item(shape="<t:BodyType>RTF</t:BodyType>")).violation


def test_no_item_shape_at_all_is_the_usual_one() -> None:
    ids = '<m:GetItem Traversal="Shallow"><m:ItemIds><t:ItemId Id="a" ChangeKey="b"/></m:ItemIds></m:GetItem>'
    assert read(ids, GetItem) == GetItem(ItemShape(), (ItemRef("a"),))


def test_all_forms_of_item_ids_are_read_in_order() -> None:
    ids = ('<t:ItemId Id=" a "/><t:Mystery Id="x"/>'
           '<t:OccurrenceItemId RecurringMasterId="b" InstanceIndex="1"/>'
           '<t:RecurringMasterItemId OccurrenceId="c"/><t:ItemId Id=""/>')
    assert read(f"<m:GetItem><m:ItemIds>{ids}</m:ItemIds></m:GetItem>", GetItem).items == (
        ItemRef("a"), ItemRef("b", ItemRefKind.OCCURRENCE), ItemRef("c", ItemRefKind.MASTER), ItemRef(""))


def test_times_without_zone_are_in_that_of_the_time_zone_context() -> None:
    view = '<m:CalendarView StartDate="2025-07-01T08:00:00" EndDate="2025-07-01T10:00:00.5+02:00"/>'
    context = '<t:TimeZoneContext><t:TimeZoneDefinition Id="{}"/></t:TimeZoneContext>'
    expected = {"W. Europe Standard Time": 6, "UTC": 8, "Mars Standard Time": 8}
    for zone, hour in expected.items():
        request = read(find_item(view), FindItem, context.format(zone))
        assert request.view == CalendarView(datetime(2025, 7, 1, hour, tzinfo=UTC),
                                            datetime(2025, 7, 1, 8, 0, 0, 500000, UTC))


def in_zone(definition: str, time: str) -> datetime:
    """A time without zone, of a request with this TimeZoneDefinition."""
    view = f'<m:CalendarView StartDate="{time}" EndDate="2027-01-01T00:00:00Z"/>'
    request = read(find_item(view), FindItem, f"<t:TimeZoneContext>{definition}</t:TimeZoneContext>")
    assert isinstance(request.view, CalendarView)
    return request.view.start


@pytest.mark.parametrize(("name", "winter", "summer"), [
    ("W. Europe Standard Time", "01:00", "02:00"), ("India Standard Time", "05:30", "05:30"),
    ("AUS Eastern Standard Time", "11:00", "10:00"), ("Pacific Standard Time", "-08:00", "-07:00"),
    ("UTC", "00:00", "00:00")])
def test_a_zone_that_the_request_defines_is_read_by_its_rules(name: str, winter: str, summer: str) -> None:
    told = server_time_zones(GetServerTimeZones((name,), is_full=True), 2026)
    definition = told[told.index("<t:TimeZoneDefinition "):told.index("</m:TimeZoneDefinitions>")]
    custom = definition.replace(f' Id="{name}"', ' Id="Custom"')
    assert custom != definition
    for day, offset in (("2026-01-15", winter), ("2026-07-15", summer)):
        shown = offset if offset.startswith("-") else f"+{offset}"
        assert in_zone(custom, f"{day}T09:00:00") == datetime.fromisoformat(f"{day}T09:00:00{shown}")


@pytest.mark.parametrize("rules", [
    "", "<t:Periods/>", "<t:TransitionsGroups><t:TransitionsGroup Id='0'/></t:TransitionsGroups>",
    *("<t:Periods><t:Period Bias='-PT60M' Name='a' Id='a'/><t:Period Bias='{}' Name='b' Id='b'/></t:Periods>"
      "<t:TransitionsGroups><t:TransitionsGroup Id='0'>{}{}</t:TransitionsGroup></t:TransitionsGroups>".format(
          bias, *(f"<t:RecurringDayTransition><t:To>{period}</t:To><t:TimeOffset>{time}</t:TimeOffset>"
                  f"<t:Month>{month}</t:Month><t:DayOfWeek>Sunday</t:DayOfWeek><t:Occurrence>{occurrence}"
                  "</t:Occurrence></t:RecurringDayTransition>" for period in ("a", "b")))
      for bias, time, month, occurrence in (
          ("PT9999M", "PT2H", "3", "1"), ("-PT", "PT2H", "3", "1"), ("soon", "PT2H", "3", "1"),
          ("-PT120M", "-PT2H", "3", "1"), ("-PT120M", "PT24H", "3", "1"), ("-PT120M", "PT2H", "13", "1"),
          ("-PT120M", "PT2H", "x", "1"), ("-PT120M", "PT2H", "3", "9")))])
def test_a_definition_that_is_none_counts_as_utc(rules: str) -> None:
    assert in_zone(f"<t:TimeZoneDefinition Id='Custom'>{rules}</t:TimeZoneDefinition>", "2026-01-15T09:00:00") == (
        datetime(2026, 1, 15, 9, tzinfo=UTC))


@pytest.mark.parametrize(("view", "expected"), [
    ("", PageView()),
    ('<m:FractionalPageItemView Numerator="1" Denominator="2"/>', PageView(fraction=(1, 2))),
    ('<m:IndexedPageItemView MaxEntriesReturned="100" Offset="20" BasePoint="Beginning"/>', PageView(20, 100)),
    ('<m:IndexedPageItemView Offset="-1" BasePoint="End"/>', PageView(0, None, from_end=True)),
])
def test_pages_are_read(view: str, expected: PageView) -> None:
    assert read(find_item(view), FindItem).view == expected


def test_folders_are_read_by_name_and_by_id() -> None:
    folders = ('<t:DistinguishedFolderId Id="Calendar"><t:Mailbox/></t:DistinguishedFolderId><t:FolderId Id="x"/>'
               '<t:DistinguishedFolderId Id="voicemail"/><t:AddressListId Id="y"/>')
    assert read(f"<m:GetFolder><m:FolderIds>{folders}</m:FolderIds></m:GetFolder>", GetFolder) == GetFolder(
        (FolderRef("calendar"), FolderRef(id="x"), FolderRef("voicemail")))


def test_ids_to_convert_are_read() -> None:
    ids = '<t:AlternateId Id="DUMMY" Format="EwsId" Mailbox="DUMMY"/>'
    assert read(f'<m:ConvertId DestinationFormat="EntryId"><m:SourceIds>{ids}</m:SourceIds></m:ConvertId>',
                ConvertId) == ConvertId("EntryId", (AlternateId("DUMMY", "EwsId"),))


CONVERT_TO_X = ('<m:ConvertId DestinationFormat="x"><m:SourceIds><t:AlternateId Id="a" Format="EwsId"/>'
                "</m:SourceIds></m:ConvertId>")
VIEW = '<m:CalendarView StartDate="{}" EndDate="2025-01-01T00:00:00Z" {}/>'


@pytest.mark.parametrize(("operation", "violation"), [
    ("<m:FindItem/>", "'ParentFolderIds' is missing"),
    (find_item(folders=""), "'ParentFolderIds' has incomplete content"),
    (find_item(folders="<t:FolderId/>"), "'Id' is missing"),
    (find_item(folders='<t:DistinguishedFolderId Id="kalender"/>'), "no distinguished folder 'kalender'"),
    (find_item('<m:CalendarView EndDate="2025-01-01T00:00:00Z"/>'), "'StartDate' is missing"),
    (find_item(VIEW.format("yesterday", "")), "'StartDate' attribute is invalid: 'yesterday'"),
    (find_item(VIEW.format("2025-01-01T00:00:00Z", 'MaxEntriesReturned="many"')), "'many' is not a whole number"),
    (find_item(VIEW.format("2025-01-01T00:00:00Z", 'MaxEntriesReturned="1_0"')), "'1_0' is not a whole number"),
    (find_item(VIEW.format("2025-01-01T00:00:00Z", f'MaxEntriesReturned="{"9" * 5000}"')), "not a whole number"),
    (find_item(VIEW.format("2025-01-01T00:00:00Z", 'MaxEntriesReturned="2147483648"')), "not a whole number"),
    ("<m:GetItem/>", "'ItemIds' is missing"),
    ("<m:GetItem><m:ItemIds/></m:GetItem>", "'ItemIds' has incomplete content"),
    ("<m:GetItem><m:ItemIds><t:ItemId/></m:ItemIds></m:GetItem>", "'Id' is missing"),
    ("<m:GetFolder/>", "'FolderIds' is missing"),
    ("<m:ConvertId/>", "'SourceIds' is missing"),
    ('<m:ConvertId DestinationFormat="EwsId"><m:SourceIds/></m:ConvertId>', "'SourceIds' has incomplete content"),
    (CONVERT_TO_X, "no format 'x'"),
])
def test_what_cannot_be_read_fails_schema_validation(operation: str, violation: str) -> None:
    fault = refused(operation)
    assert fault.code == "ErrorSchemaValidation"
    assert violation in fault.violation
    assert fault.line == 1


@pytest.mark.parametrize("operation", [
    "<m:GetItem><m:ItemIds>" + '<t:ItemId Id="a"/>' * 1001 + "</m:ItemIds></m:GetItem>",
    "<m:GetFolder><m:FolderIds>" + '<t:FolderId Id="a"/>' * 101 + "</m:FolderIds></m:GetFolder>"])
def test_too_many_ids_are_refused(operation: str) -> None:
    assert refused(operation).code == "ErrorExceededFindCountLimit"


@pytest.mark.parametrize("operation", ["LaunchRocket", "CopyItem", "MoveItem", "findItem"])
def test_an_operation_that_is_not_served_is_named(operation: str) -> None:
    fault = refused(f"<m:{operation}/>")
    assert fault.code == "ErrorInvalidOperation"
    assert f"'{operation}'" in fault.message


IMPERSONATION = ("<t:ExchangeImpersonation><t:ConnectingSID><t:PrimarySmtpAddress> a@b </t:PrimarySmtpAddress>"
                 "</t:ConnectingSID></t:ExchangeImpersonation><t:MailboxCulture>en</t:MailboxCulture>")


@pytest.mark.parametrize(("header", "expected"), [
    ("", Header()),
    ("<t:RequestServerVersion/>", Header()),
    ("<t:ExchangeImpersonation/>", Header(impersonated="")),
    ("<t:ExchangeImpersonation><t:ConnectingSID/></t:ExchangeImpersonation>", Header(impersonated="")),
    (IMPERSONATION, Header(impersonated="a@b")),
])
def test_headers_are_read(header: str, expected: Header) -> None:
    assert read_header(read_envelope(wrapped("<m:GetItem/>", header).encode())) == expected


def test_a_request_without_header_has_none_of_it() -> None:
    body = '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><GetItem/></s:Body></s:Envelope>'
    assert read_header(read_envelope(body.encode())) == Header()
