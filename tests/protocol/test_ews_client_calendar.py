from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from lxml import etree

from otjd.meetings.model import CalendarItemType, FreeBusyStatus, Invitation, Organizer
from otjd.protocol.ews_client import EwsError, read_answer, request
from otjd.protocol.ews_client_calendar import (
    BODY_LIMIT,
    NAMED_PROPERTIES,
    Listed,
    batches,
    find_items,
    get_items,
    read_items,
    read_page,
)
from otjd.rules.properties import flat_properties
from tests.protocol.test_ews_client import answer
from tests.serve.ews_support import NOW, ROOM, busy_room, schema

START, END = NOW - timedelta(days=1), NOW + timedelta(days=7)
ITEM = Listed("AAMk=", "DwAA", None)


def item(inside: str) -> Invitation:
    body = answer('<m:GetItemResponse><m:ResponseMessages><m:GetItemResponseMessage ResponseClass="Success">'
                  "<m:ResponseCode>NoError</m:ResponseCode><m:Items><t:CalendarItem>"
                  "<t:Start>2026-03-02T08:00:00Z</t:Start><t:End>2026-03-02T09:00:00Z</t:End>"
                  f"<t:UID>u1</t:UID>{inside}</t:CalendarItem></m:Items></m:GetItemResponseMessage>"
                  "</m:ResponseMessages></m:GetItemResponse>")
    (told,) = read_items(read_answer(body), 1)
    assert told.invitation is not None
    return told.invitation


def listing(items: str, attributes: str = 'IncludesLastItemInRange="true"') -> bytes:
    return answer('<m:FindItemResponse><m:ResponseMessages><m:FindItemResponseMessage ResponseClass="Success">'
                  f"<m:ResponseCode>NoError</m:ResponseCode><m:RootFolder {attributes}><t:Items>{items}</t:Items>"
                  "</m:RootFolder></m:FindItemResponseMessage></m:ResponseMessages></m:FindItemResponse>")


@pytest.mark.parametrize("operation", [
    find_items("room&1@example.com", START, END), get_items([ITEM, Listed('"<&', "", None)]),
    get_items([ITEM], with_body=False), get_items([ITEM], as_icalendar=True)])
def test_requests_validate_against_the_schema(operation: str) -> None:
    validator = schema()
    if validator is None:
        pytest.skip("the published schema is not beside the checkout")
    validator.assertValid(etree.fromstring(request(operation))[1][0])


def test_another_servers_answers_are_read() -> None:
    """The emulator in otjd.serve was built for other clients, and its answers are held against the schema."""
    exchange = busy_room()
    page = read_page(read_answer(exchange.post(request(find_items(ROOM.email, START, END))).body))
    assert page.is_last
    assert [one.start for one in page.items] == [NOW - timedelta(minutes=10), NOW + timedelta(hours=2),
                                                 NOW + timedelta(days=1)]
    told = read_items(read_answer(exchange.post(request(get_items(page.items))).body), 3)
    invitations = [one.invitation for one in told if one.invitation]
    assert len({one.uid for one in invitations}) == 3
    assert [one.subject for one in invitations] == ["Now", "Later", "Tomorrow"]
    assert {one.organizer for one in invitations} == {Organizer("Ada Berg", "ada@example.com")}
    assert [one.start_time for one in invitations] == [one.start for one in page.items]


def test_versions_differ_with_id_and_change_key() -> None:
    assert len({Listed(*pair, None).version for pair in (("a", "b"), ("a", "c"), ("ab", ""), ("b", "a"))}) == 4
    assert Listed("a", "b", NOW, 5).version == Listed("a", "b", None).version


def test_a_page_tells_whether_it_is_the_last() -> None:
    one = ('<t:CalendarItem><t:ItemId Id="A" ChangeKey="B"/><t:Size>12</t:Size>'
           "<t:Start>2026-03-02T08:00:00Z</t:Start><t:CalendarItemType>RecurringMaster</t:CalendarItemType>"
           "</t:CalendarItem>")
    page = read_page(read_answer(listing(one, 'IncludesLastItemInRange="false"')))
    assert not page.is_last
    assert page.items == (Listed("A", "B", NOW, 12, "RecurringMaster"),)
    assert read_page(read_answer(listing(""))).items == ()
    assert read_page(read_answer(listing("<t:CalendarItem/><t:Size>x</t:Size>"))).items == ()


def test_an_item_becomes_an_invitation() -> None:
    found = item(
        '<t:ItemId Id="A" ChangeKey="B"/><t:ItemClass>IPM.Appointment</t:ItemClass><t:Subject>Plan</t:Subject>'
        '<t:Sensitivity>Private</t:Sensitivity><t:Body BodyType="HTML">&lt;p&gt;hi&lt;/p&gt;</t:Body>'
        "<t:DateTimeCreated>2026-03-01T08:00:00Z</t:DateTimeCreated>"
        "<t:LastModifiedTime>2026-03-01T09:00:00+01:00</t:LastModifiedTime>"
        '<t:ExtendedProperty><t:ExtendedFieldURI PropertySetId="00020329-0000-0000-C000-000000000046" '
        'PropertyName="TeamsVtcConferenceId" PropertyType="String"/><t:Value>1150093344</t:Value>'
        "</t:ExtendedProperty><t:IsAllDayEvent>false</t:IsAllDayEvent>"
        "<t:LegacyFreeBusyStatus>OOF</t:LegacyFreeBusyStatus><t:Location>Oslo</t:Location>"
        "<t:IsCancelled>true</t:IsCancelled><t:IsRecurring>false</t:IsRecurring>"
        "<t:CalendarItemType>Single</t:CalendarItemType><t:Organizer><t:Mailbox><t:Name>Ada</t:Name>"
        "<t:EmailAddress>ada@example.com</t:EmailAddress></t:Mailbox></t:Organizer>")
    assert found == Invitation(
        "u1", NOW, NOW + timedelta(hours=1), subject="Plan", location="Oslo", body_html="<p>hi</p>",
        organizer=Organizer("Ada", "ada@example.com"), is_private=True, is_cancelled=True,
        created_time=datetime(2026, 3, 1, 8, tzinfo=UTC), last_modified_time=datetime(2026, 3, 1, 8, tzinfo=UTC),
        properties=found.properties)
    flat = flat_properties(found.properties)
    assert flat["teams_vtc_conference_id"] == "1150093344"
    assert (flat["item_class"], flat["sensitivity"], flat["is_recurring"]) == ("IPM.Appointment", "Private", False)


@pytest.mark.parametrize(("inside", "occurrence", "kind"), [
    ("<t:OriginalStart>2026-03-02T08:00:00Z</t:OriginalStart><t:CalendarItemType>Occurrence</t:CalendarItemType>",
     "20260302T080000Z", CalendarItemType.OCCURRENCE),
    ("<t:RecurrenceId>2026-03-01T08:00:00Z</t:RecurrenceId><t:CalendarItemType>Exception</t:CalendarItemType>",
     "20260301T080000Z", CalendarItemType.EXCEPTION),
    ("<t:CalendarItemType>Occurrence</t:CalendarItemType>", "20260302T080000Z", CalendarItemType.OCCURRENCE),
    ("<t:OriginalStart>2026-03-02T08:00:00Z</t:OriginalStart><t:CalendarItemType>Single</t:CalendarItemType>", "",
     CalendarItemType.SINGLE),
    ("", "", CalendarItemType.SINGLE)])
def test_an_occurrence_is_known_by_its_original_start(inside: str, occurrence: str,
                                                      kind: CalendarItemType) -> None:
    found = item(inside)
    assert (found.uid, found.occurrence, found.item_type) == ("u1", occurrence, kind)


@pytest.mark.parametrize(("status", "expected"), [
    ("Free", FreeBusyStatus.FREE), ("Tentative", FreeBusyStatus.TENTATIVE), ("Busy", FreeBusyStatus.BUSY),
    ("WorkingElsewhere", FreeBusyStatus.FREE), ("NoData", FreeBusyStatus.BUSY), ("", FreeBusyStatus.BUSY)])
def test_every_status_of_exchange_has_one_here(status: str, expected: FreeBusyStatus) -> None:
    assert item(f"<t:LegacyFreeBusyStatus>{status}</t:LegacyFreeBusyStatus>").free_busy is expected


def test_a_body_of_text_stays_text_and_a_great_one_is_cut() -> None:
    assert item('<t:Body BodyType="Text">hi</t:Body>').body_text == "hi"
    assert item('<t:Body BodyType="Text"> </t:Body>').body_text == ""
    assert len(item(f'<t:Body BodyType="HTML">{"x" * (BODY_LIMIT + 9)}</t:Body>').body_html) == BODY_LIMIT


def test_an_organizer_that_the_directory_does_not_know_has_a_name_only() -> None:
    found = item("<t:Organizer><t:Mailbox><t:Name>Ada</t:Name><t:EmailAddress>/O=EX/CN=ADA</t:EmailAddress>"
                 "</t:Mailbox></t:Organizer>")
    assert found.organizer == Organizer("Ada")


def test_what_rules_do_not_read_is_not_kept() -> None:
    found = item('<t:ExtendedProperty><t:ExtendedFieldURI PropertyName="Other"/><t:Value>x</t:Value>'
                 "</t:ExtendedProperty>")
    assert found.properties == {"ews": {}}
    assert len(set(NAMED_PROPERTIES)) == len(NAMED_PROPERTIES)


def test_one_bad_item_fails_alone_and_missing_answers_count_as_gone() -> None:
    body = answer('<m:GetItemResponse><m:ResponseMessages><m:GetItemResponseMessage ResponseClass="Error">'
                  "<m:ResponseCode>ErrorItemNotFound</m:ResponseCode><m:Items/></m:GetItemResponseMessage>"
                  '<m:GetItemResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode>'
                  "<m:Items><t:CalendarItem><t:Start>2026-03-02T08:00:00Z</t:Start></t:CalendarItem></m:Items>"
                  "</m:GetItemResponseMessage></m:ResponseMessages></m:GetItemResponse>")
    told = read_items(read_answer(body), 3)
    assert [one.error and one.error.code for one in told] == ["ErrorItemNotFound", None, "ErrorItemNotFound"]
    assert told[1].invitation is None, "it has no end"


def test_an_error_of_the_listing_is_raised() -> None:
    body = answer('<m:FindItemResponse><m:ResponseMessages><m:FindItemResponseMessage ResponseClass="Error">'
                  "<m:ResponseCode>ErrorNonExistentMailbox</m:ResponseCode></m:FindItemResponseMessage>"
                  "</m:ResponseMessages></m:FindItemResponse>")
    with pytest.raises(EwsError, match="there is no mailbox of this address"):
        read_page(read_answer(body))


def test_an_icalendar_object_is_handed_on() -> None:
    mime = base64.b64encode(b"BEGIN:VCALENDAR").decode()
    body = answer('<m:GetItemResponse><m:ResponseMessages><m:GetItemResponseMessage ResponseClass="Success">'
                  "<m:ResponseCode>NoError</m:ResponseCode><m:Items><t:CalendarItem>"
                  f"<t:MimeContent>{mime}</t:MimeContent></t:CalendarItem></m:Items></m:GetItemResponseMessage>"
                  "</m:ResponseMessages></m:GetItemResponse>")
    assert read_items(read_answer(body), 1)[0].icalendar == mime


def test_batches_are_bounded_in_number_and_in_bytes() -> None:
    items = [Listed(str(n), "", None, size) for n, size in enumerate((5, 5, 1, 30, 1, 1, 1, 1))]
    found = [[one.size for one in batch] for batch in batches(items, 3, 10)]
    assert found == [[5, 5], [1], [30], [1, 1, 1], [1]]
    assert list(batches([], 3, 10)) == []
