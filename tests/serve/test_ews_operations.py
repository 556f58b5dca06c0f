"""What the emulated Exchange answers to FindItem, GetItem, GetFolder and ConvertId."""

from __future__ import annotations

from datetime import timedelta

import pytest
from lxml import etree

from otjd.protocol import ews_ids
from tests.serve.ews_support import (
    NOW,
    OTHER_ROOM,
    ROOM,
    SCHEMAS,
    UNKNOWN_ID,
    Exchange,
    body_of,
    busy_room,
    calendar_view,
    codes,
    convert,
    envelope,
    get_folder,
    get_item,
    meeting,
    page,
    page_view,
    pairs,
    schema,
    subjects,
    texts,
)


@pytest.fixture
def exchange() -> Exchange:
    return busy_room()


# FindItem

def test_a_view_lists_what_overlaps_it_ascending(exchange: Exchange) -> None:
    messages = exchange.ask(calendar_view(NOW, NOW + timedelta(hours=3)))
    assert subjects(messages) == ["Now", "Later"]
    assert texts(messages, ".//m:RootFolder/@TotalItemsInView") == ["2"]
    assert texts(messages, ".//m:RootFolder/@IncludesLastItemInRange") == ["true"]
    assert not texts(messages, ".//m:RootFolder/@IndexedPagingOffset")


def test_a_view_is_half_open(exchange: Exchange) -> None:
    start, end = NOW + timedelta(minutes=20), NOW + timedelta(hours=2)  # the end of one, the start of the next
    second = timedelta(seconds=1)
    assert subjects(exchange.ask(calendar_view(start, end))) == []
    assert subjects(exchange.ask(calendar_view(start - second, end))) == ["Now"]
    assert subjects(exchange.ask(calendar_view(start, end + second))) == ["Later"]


def test_a_view_that_is_cut_says_so(exchange: Exchange) -> None:
    messages = exchange.ask(calendar_view(more='MaxEntriesReturned="2"'))
    assert subjects(messages) == ["Now", "Later"]
    assert texts(messages, ".//m:RootFolder/@*") == ["3", "false"]


def test_a_view_of_hundreds_of_meetings_is_listed_whole(exchange: Exchange) -> None:
    exchange.show(*(meeting(f"m{n}", NOW + timedelta(minutes=30 * n)) for n in range(1500)))
    messages = exchange.ask(calendar_view(NOW, NOW + timedelta(days=60)))
    assert len(subjects(messages)) == 1500
    assert texts(messages, ".//m:RootFolder/@IncludesLastItemInRange") == ["true"]


@pytest.mark.parametrize(("view", "code"), [
    (calendar_view(NOW, NOW - timedelta(seconds=1)), "ErrorCalendarEndDateIsEarlierThanStartDate"),
    (calendar_view(NOW, NOW + timedelta(days=732)), "ErrorCalendarViewRangeTooBig"),
    (calendar_view(more='MaxEntriesReturned="0"'), "ErrorInvalidPagingMaxRows"),
    (page_view('<m:IndexedPageItemView MaxEntriesReturned="-1" Offset="0" BasePoint="Beginning"/>'),
     "ErrorInvalidPagingMaxRows"),
    (calendar_view(folder='<t:FolderId Id=""/>'), "ErrorInvalidIdEmpty"),
    (calendar_view(folder='<t:FolderId Id="x"/>'), "ErrorInvalidIdMalformed"),
    (calendar_view(folder=f'<t:FolderId Id="{ews_ids.item_id("0" * 32)}"/>'), "ErrorCannotUseItemIdForFolderId"),
    (calendar_view(folder=f'<t:FolderId Id="{ews_ids.folder_id(OTHER_ROOM.email, "calendar")}"/>'),
     "ErrorFolderNotFound"),
])
def test_a_view_that_makes_no_sense_is_answered_with_the_code_of_exchange(
        exchange: Exchange, view: str, code: str) -> None:
    reply = exchange.post(envelope(view))
    assert reply.status == 200
    assert reply.error == code
    assert codes(body_of(reply)[0][0]) == [code]
    assert reply.meetings is None


def test_the_longest_view_is_two_years(exchange: Exchange) -> None:
    assert len(subjects(exchange.ask(calendar_view(NOW, NOW + timedelta(days=731))))) == 3


def test_the_folder_id_that_was_given_out_lists_the_calendar(exchange: Exchange) -> None:
    folder_id = texts(exchange.ask(get_folder("calendar")), ".//t:CalendarFolder/t:FolderId/@Id")[0]
    folder = f'<t:FolderId Id="{folder_id}" ChangeKey="old"/>'
    assert len(subjects(exchange.ask(calendar_view(folder=folder)))) == 3


@pytest.mark.parametrize(("view", "shown", "offset", "is_last"), [
    ("", ["Now", "Later", "Tomorrow"], "3", "true"),
    (page(MaxEntriesReturned=2, Offset=0, BasePoint="Beginning"), ["Now", "Later"], "2", "false"),
    (page(MaxEntriesReturned=2, Offset=2, BasePoint="Beginning"), ["Tomorrow"], "3", "true"),
    (page(MaxEntriesReturned=2, Offset=9, BasePoint="Beginning"), [], "3", "true"),
    (page(MaxEntriesReturned=2, Offset=0, BasePoint="End"), ["Later", "Tomorrow"], "2", "false"),
    (page(MaxEntriesReturned=2, Offset=2, BasePoint="End"), ["Now"], "3", "true"),
    (page(MaxEntriesReturned=2, Offset=9, BasePoint="End"), [], "3", "true"),
])
def test_pages_follow_each_other(exchange: Exchange, view: str, shown: list[str], offset: str,
                                 is_last: str) -> None:
    messages = exchange.ask(page_view(view))
    assert subjects(messages) == shown
    assert texts(messages, ".//m:RootFolder/@*") == [offset, "3", is_last]


@pytest.mark.parametrize(("numerator", "shown", "attributes"), [
    (0, ["Now", "Later"], ["2", "3", "3", "false"]), (2, ["Later", "Tomorrow"], ["3", "3", "3", "true"]),
    (4, [], ["3", "3", "3", "true"])])
def test_a_page_can_begin_at_a_fraction_of_the_list(exchange: Exchange, numerator: int, shown: list[str],
                                                    attributes: list[str]) -> None:
    view = f'<m:FractionalPageItemView MaxEntriesReturned="2" Numerator="{numerator}" Denominator="4"/>'
    messages = exchange.ask(page_view(view))
    assert subjects(messages) == shown
    assert texts(messages, ".//m:RootFolder/@*") == attributes


@pytest.mark.parametrize("fraction", [
    'Numerator="2" Denominator="1"', 'Numerator="0" Denominator="0"', 'Numerator="-1" Denominator="2"',
    'Numerator="0"', 'Numerator="a" Denominator="2"'])
def test_a_fraction_that_is_none_is_a_schema_violation(exchange: Exchange, fraction: str) -> None:
    assert exchange.fault(page_view(f"<m:FractionalPageItemView {fraction}/>")) == "ErrorSchemaValidation"


def test_a_page_has_at_most_a_thousand_items(exchange: Exchange) -> None:
    exchange.show(*(meeting(f"m{n}", NOW + timedelta(minutes=n)) for n in range(1001)))
    messages = exchange.ask(page_view(page(MaxEntriesReturned=5000, Offset=0, BasePoint="Beginning")))
    assert len(subjects(messages)) == 1000
    assert texts(messages, ".//m:RootFolder/@*") == ["1000", "1001", "false"]


def test_restriction_and_order_are_applied(exchange: Exchange) -> None:
    restriction = """<m:Restriction><t:And>
      <t:IsGreaterThan><t:FieldURI FieldURI="calendar:End"/><t:FieldURIOrConstant>
        <t:Constant Value="2026-03-02T09:00:00Z"/></t:FieldURIOrConstant></t:IsGreaterThan>
      <t:IsEqualTo><t:FieldURI FieldURI="item:Categories"/><t:FieldURIOrConstant><t:Constant Value="x"/>
        </t:FieldURIOrConstant></t:IsEqualTo></t:And></m:Restriction>"""
    order = ('<m:SortOrder><t:FieldOrder Order="Descending"><t:FieldURI FieldURI="calendar:Start"/></t:FieldOrder>'
             "</m:SortOrder>")
    assert subjects(exchange.ask(page_view(restriction=restriction, order=order))) == ["Tomorrow", "Later"]


@pytest.mark.parametrize("folder", [f for f in ews_ids.FOLDERS if f != "calendar"])
@pytest.mark.parametrize("view", [
    "", page(MaxEntriesReturned=5, Offset=0, BasePoint="Beginning"),
    '<m:FractionalPageItemView Numerator="1" Denominator="2"/>',
    '<m:CalendarView StartDate="2026-03-01T00:00:00Z" EndDate="2026-04-01T00:00:00Z"/>'])
def test_other_folders_are_empty_whatever_the_view(exchange: Exchange, folder: str, view: str) -> None:
    reply = exchange.post(envelope(page_view(view, folder=folder)))
    assert texts(body_of(reply), ".//m:RootFolder/@TotalItemsInView") == ["0"]
    assert texts(body_of(reply), ".//m:RootFolder/@IncludesLastItemInRange") == ["true"]
    assert (reply.error, reply.meetings) == ("", None)


@pytest.mark.parametrize(("traversal", "shown"), [
    ("Shallow", 3), ("", 3), ("Associated", 0), ("SoftDeleted", 0)])
@pytest.mark.parametrize("request_", [calendar_view(), page_view()])
def test_hidden_and_deleted_items_there_are_none(exchange: Exchange, request_: str, traversal: str,
                                                 shown: int) -> None:
    messages = exchange.ask(request_.replace("Shallow", traversal))
    assert texts(messages, ".//m:RootFolder/@TotalItemsInView") == [str(shown)]


VIEWED = '<m:CalendarView StartDate="{}" EndDate="{}"/>'
TOKYO = '<t:TimeZoneContext><t:TimeZoneDefinition Id="Tokyo Standard Time"/></t:TimeZoneContext>'


@pytest.mark.parametrize(("start", "end", "header"), [
    ("2026-03-02T10:00:00Z", "2026-03-02T10:30:00Z", ""), ("2026-03-02T10:00:00", "2026-03-02T10:30:00", ""),
    ("2026-03-02T10:00:00.123Z", "2026-03-02T10:29:59.9999999Z", TOKYO),
    ("2026-03-02T11:00:00+01:00", "2026-03-02T05:30:00-05:00", TOKYO),
    ("2026-03-02T19:00:00", "2026-03-02T19:30:00.5", TOKYO)])
def test_a_view_is_read_in_every_form_of_time_and_answered_in_utc(exchange: Exchange, start: str, end: str,
                                                                  header: str) -> None:
    messages = exchange.ask(page_view(VIEWED.format(start, end)), header=header)
    assert subjects(messages) == ["Later"]
    assert texts(messages, ".//t:Start") == ["2026-03-02T10:00:00Z"]


def test_the_same_calendar_many_times_in_a_request_is_refused(exchange: Exchange) -> None:
    folder = '<t:DistinguishedFolderId Id="calendar"/>'
    assert len(exchange.ask(calendar_view(folder=folder * 4))) == 4
    assert exchange.fault(calendar_view(folder=folder * 5)) == "ErrorExceededFindCountLimit"


def test_a_list_has_no_bodies(exchange: Exchange) -> None:
    shape = '<t:AdditionalProperties><t:FieldURI FieldURI="item:Body"/></t:AdditionalProperties>'
    assert not texts(exchange.ask(calendar_view(shape=shape)), ".//t:Body")


# GetItem

def test_items_come_in_the_order_asked_and_as_often(exchange: Exchange) -> None:
    ids = [i for i, _ in pairs(exchange.ask(calendar_view()))]
    asked = [ids[2], ids[0], ids[2]]
    assert texts(exchange.ask(get_item(*asked)), ".//t:ItemId/@Id") == asked


THEIRS = ews_ids.item_id(meeting("theirs", room=OTHER_ROOM).id)
FOLDER = ews_ids.folder_id(ROOM.email, "calendar")


def test_bad_ids_fail_alone_in_a_batch(exchange: Exchange) -> None:
    first, second = [i for i, _ in pairs(exchange.ask(calendar_view()))][:2]
    reply = exchange.post(envelope(get_item(
        first, "rubbish", UNKNOWN_ID, "", THEIRS, FOLDER,
        f'<t:OccurrenceItemId RecurringMasterId="{first}" InstanceIndex="1"/>',
        f'<t:RecurringMasterItemId OccurrenceId="{first}"/>', f'<t:ItemId Id="{second}" ChangeKey="old"/>')))
    messages = body_of(reply)[0][0]
    assert codes(messages) == [
        "NoError", "ErrorInvalidIdMalformed", "ErrorItemNotFound", "ErrorInvalidIdEmpty", "ErrorItemNotFound",
        "ErrorCannotUseFolderIdForItemId", "ErrorCalendarCannotUseIdForOccurrenceId",
        "ErrorCalendarCannotUseIdForRecurringMasterId", "NoError"]
    assert subjects(messages) == ["Now", "Later"]
    assert reply.error == "ErrorInvalidIdMalformed"


def test_a_meeting_that_is_gone_can_still_be_read_for_ten_minutes(exchange: Exchange) -> None:
    ids = [i for i, _ in pairs(exchange.ask(calendar_view()))]
    exchange.show()
    assert subjects(exchange.ask(calendar_view())) == []
    assert subjects(exchange.ask(get_item(*ids))) == ["Now", "Later", "Tomorrow"]
    exchange.now += timedelta(minutes=10)
    assert codes(exchange.ask(get_item(*ids))) == ["ErrorItemNotFound"] * 3


def test_a_moved_meeting_keeps_its_id(exchange: Exchange) -> None:
    before = pairs(exchange.ask(calendar_view()))[1]
    exchange.show(meeting("later", NOW + timedelta(hours=4)))
    (after,) = pairs(exchange.ask(get_item(before[0])))
    assert after[0] == before[0]
    assert after[1] != before[1]


# GetFolder, ConvertId

@pytest.mark.parametrize("folder", ews_ids.FOLDERS)
def test_every_folder_of_a_mailbox_is_there(exchange: Exchange, folder: str) -> None:
    messages = exchange.ask(get_folder(folder))
    assert codes(messages) == ["NoError"]
    assert texts(messages, ".//t:FolderId/@Id") == [ews_ids.folder_id(ROOM.email, folder)]
    assert texts(messages, ".//t:FolderId/@ChangeKey") != [""]
    assert texts(messages, ".//t:TotalCount") == ["3" if folder == "calendar" else "0"]
    assert texts(messages, ".//t:DisplayName") != [""]


@pytest.mark.skipif(schema() is None, reason="the published schema is not beside the checkout")
def test_every_distinguished_folder_of_the_schema_is_there(exchange: Exchange) -> None:
    names = [str(e.get("value")) for e in etree.parse(SCHEMAS / "interop" / "types.xsd").iterfind(
        ".//xs:simpleType[@name='DistinguishedFolderIdNameType']//xs:enumeration",
        {"xs": "http://www.w3.org/2001/XMLSchema"})]
    messages = exchange.ask(get_folder(*names))
    assert codes(messages) == ["NoError"] * 46
    assert len(set(texts(messages, ".//t:FolderId/@Id"))) == 46
    deep = exchange.ask('<m:FindFolder Traversal="Deep"><m:FolderShape><t:BaseShape>Default</t:BaseShape>'
                        '</m:FolderShape><m:ParentFolderIds><t:DistinguishedFolderId Id="root"/>'
                        '<t:DistinguishedFolderId Id="archiveroot"/></m:ParentFolderIds></m:FindFolder>')
    assert len(texts(deep, ".//t:FolderId/@Id")) == 46 - len(("root", "archiveroot", "publicfoldersroot"))


def test_folders_that_are_not_there_fail_alone(exchange: Exchange) -> None:
    others = ews_ids.folder_id(OTHER_ROOM.email, "calendar")
    messages = exchange.ask(get_folder(f'<t:FolderId Id="{others}"/>', "calendar", '<t:FolderId Id="x"/>'))
    assert codes(messages) == ["ErrorFolderNotFound", "NoError", "ErrorInvalidIdMalformed"]
    assert [m[-1].tag.rpartition("}")[2] for m in messages] == ["Folders"] * 3


def test_convert_id_fails_on_the_dummy_that_exchangelib_sends(exchange: Exchange) -> None:
    reply = exchange.post(envelope(convert("EwsId", "DUMMY", "EntryId"), version="Exchange2016"))
    assert (reply.status, reply.error) == (200, "ErrorInvalidIdMalformed")
    assert texts(etree.fromstring(reply.body), "s:Header/t:ServerVersionInfo/@*") == [
        "15", "1", "2507", "6", "V2017_07_11"]
    assert codes(exchange.ask(convert("EwsId", "", "EntryId"))) == ["ErrorInvalidIdEmpty"]
    assert codes(exchange.ask(convert("HexEntryId", "xyz", "EntryId"))) == ["ErrorInvalidIdMalformed"]
    assert codes(exchange.ask(convert("OwaId", "%ff", "EntryId"))) == ["ErrorInvalidIdMalformed"]


@pytest.mark.parametrize("destination", ["EwsLegacyId", "EwsId", "EntryId", "HexEntryId", "StoreId", "OwaId"])
@pytest.mark.parametrize("known", [UNKNOWN_ID, FOLDER])
def test_ids_are_converted_there_and_back(exchange: Exchange, known: str, destination: str) -> None:
    messages = exchange.ask(convert("EwsId", known, destination))
    assert texts(messages, ".//m:AlternateId/@Mailbox") == [ROOM.email]
    assert texts(messages, ".//m:AlternateId/@Format") == [destination]
    (converted,) = texts(messages, ".//m:AlternateId/@Id")
    assert texts(exchange.ask(convert(destination, converted, "EwsId")), ".//m:AlternateId/@Id") == [known]
