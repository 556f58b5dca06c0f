from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
import pytest_twisted
from lxml import etree
from twisted.web.client import FileBodyProducer, readBody
from twisted.web.http_headers import Headers

from otjd.meetings.model import FreeBusyStatus
from otjd.seam import deferred
from otjd.simulate.certificates import Certificates
from otjd.simulate.exchange_settings import Throttling
from otjd.simulate.exchange_wire import item_id
from tests.serve.clients import basic
from tests.serve.ews_support import NAMESPACES, codes, get_folder, get_item, page_view, schema, subjects, texts
from tests.simulate.exchange_world import ACCOUNT, LOUNGE, NOW, ROOM, VAULT, World, envelope, subscribe, world

NEEDS_SCHEMA = pytest.mark.skipif(schema() is None, reason="the schemas are not beside the checkout")


@pytest_twisted.async_yield_fixture  # type: ignore[untyped-decorator]
async def served(server_certificates: Certificates) -> AsyncIterator[World]:
    async with world(server_certificates) as made:
        yield made


def view(days: float = 7, *, more: str = "", shape: str = "<t:BaseShape>IdOnly</t:BaseShape>",
         folder: str = "calendar", mailbox: str = "", start: Any = NOW) -> str:
    of = f"<t:Mailbox><t:EmailAddress>{mailbox}</t:EmailAddress></t:Mailbox>" if mailbox else ""
    end = start + timedelta(days=days)
    return (f'<m:FindItem Traversal="Shallow"><m:ItemShape>{shape}</m:ItemShape><m:CalendarView {more} '
            f'StartDate="{start:%Y-%m-%dT%H:%M:%SZ}" EndDate="{end:%Y-%m-%dT%H:%M:%SZ}"/><m:ParentFolderIds>'
            f'<t:DistinguishedFolderId Id="{folder}">{of}</t:DistinguishedFolderId></m:ParentFolderIds>'
            "</m:FindItem>")


def fields(*names: str, base: str = "IdOnly", before: str = "", more: str = "") -> str:
    listed = "".join(f'<t:FieldURI FieldURI="{name}"/>' for name in names) + more
    return (f"<t:BaseShape>{base}</t:BaseShape>{before}"
            f"<t:AdditionalProperties>{listed}</t:AdditionalProperties>")


def availability(*mailboxes: str, view: str = "Detailed", days: float = 1) -> str:
    asked = "".join(f"<t:MailboxData><t:Email><t:Address>{m}</t:Address></t:Email><t:AttendeeType>Room"
                    "</t:AttendeeType></t:MailboxData>" for m in mailboxes)
    end = NOW + timedelta(days=days)
    return (f"<m:GetUserAvailabilityRequest><m:MailboxDataArray>{asked}</m:MailboxDataArray>"
            f"<t:FreeBusyViewOptions><t:TimeWindow><t:StartTime>{NOW:%Y-%m-%dT%H:%M:%SZ}</t:StartTime>"
            f"<t:EndTime>{end:%Y-%m-%dT%H:%M:%SZ}</t:EndTime></t:TimeWindow><t:MergedFreeBusyIntervalInMinutes>60"
            f"</t:MergedFreeBusyIntervalInMinutes><t:RequestedView>{view}</t:RequestedView>"
            "</t:FreeBusyViewOptions></m:GetUserAvailabilityRequest>")


def names(item: etree._Element) -> list[str]:
    return [etree.QName(e).localname for e in item]


def ids(answer: etree._Element) -> list[str]:
    return texts(answer, ".//t:CalendarItem/t:ItemId/@Id")


def item(*asked: str, shape: str = "<t:BaseShape>IdOnly</t:BaseShape>") -> str:
    refs = "".join(f'<t:ItemId Id="{i}"/>' for i in asked)
    return f"<m:GetItem><m:ItemShape>{shape}</m:ItemShape><m:ItemIds>{refs}</m:ItemIds></m:GetItem>"


# --- lists ---

async def test_a_list_holds_what_its_shape_asks_for_and_never_a_body(served: World) -> None:
    served.book(body_html="<p>long</p>")
    (found,) = (await served.ask(view())).iterfind(".//t:CalendarItem", NAMESPACES)
    assert names(found) == ["ItemId"]
    (found,) = (await served.ask(view(shape=fields("calendar:Start", "item:Subject")))).iterfind(
        ".//t:CalendarItem", NAMESPACES)
    assert names(found) == ["ItemId", "Subject", "Start"]
    answer = await served.ask(view(shape="<t:BaseShape>AllProperties</t:BaseShape>"))
    (found,) = answer.iterfind(".//t:CalendarItem", NAMESPACES)
    assert not {"Body", "RequiredAttendees", "Resources"} & set(names(found))
    assert texts(answer, ".//t:Organizer/t:Mailbox/t:Name") == ["Ada Berg"]
    assert not texts(answer, ".//t:Organizer//t:EmailAddress")
    answer = await served.ask(view(shape=fields("item:Body")))
    assert codes(answer[0]) == ["ErrorInvalidPropertyForOperation"]


async def test_a_view_has_what_overlaps_it_and_says_when_there_is_more(served: World) -> None:
    for hour in range(4):
        served.book(minutes=60 * hour, subject=str(hour))
    shape = fields("item:Subject")
    answer = await served.ask(view(shape=shape, start=NOW + timedelta(minutes=15), days=0.1))
    assert subjects(answer) == ["0", "1", "2"]
    answer = await served.ask(view(shape=shape, more='MaxEntriesReturned="2"'))
    assert subjects(answer) == ["0", "1"]
    assert texts(answer, ".//m:RootFolder/@*") == ["4", "false"]


@pytest.mark.parametrize(("asked", "code"), [
    (view(800), "ErrorCalendarViewRangeTooBig"), (view(-1), "ErrorCalendarEndDateIsEarlierThanStartDate"),
    (view(folder="inbox"), "ErrorCalendarFolderIsInvalidForCalendarView"),
    (view(folder="archiveinbox"), "ErrorFolderNotFound"), (view(mailbox=LOUNGE), "ErrorAccessDenied"),
    (view(mailbox="nobody@example.com"), "ErrorNonExistentMailbox")])
async def test_a_view_that_cannot_be_is_refused(served: World, asked: str, code: str) -> None:
    assert codes((await served.ask(asked))[0]) == [code]


async def test_without_a_view_a_series_is_one_master_and_lists_have_pages(served: World) -> None:
    served.book(minutes=5, subject="Series", rule="FREQ=DAILY;COUNT=3")
    served.book(minutes=90, subject="Single")
    paged = ('<m:IndexedPageItemView MaxEntriesReturned="1" Offset="{}" BasePoint="Beginning"/>')
    first = await served.ask(page_view(paged.format(0)))
    assert texts(first, ".//m:RootFolder/@IndexedPagingOffset") == ["1"]
    assert texts(first, ".//m:RootFolder/@IncludesLastItemInRange") == ["false"]
    second = await served.ask(page_view(paged.format(1)))
    assert texts(second, ".//m:RootFolder/@IncludesLastItemInRange") == ["true"]
    both = await served.ask(item(*ids(first), *ids(second), shape=fields("calendar:CalendarItemType")))
    assert texts(both, ".//t:CalendarItemType") == ["RecurringMaster", "Single"]


async def test_the_limit_of_a_find_shortens_lists_or_refuses_old_versions(
        server_certificates: Certificates) -> None:
    async with world(server_certificates, throttling=Throttling(find_count_limit=2)) as served:
        for hour in range(3):
            served.book(minutes=60 * hour)
        answer = await served.ask(view())
        assert len(ids(answer)) == 2
        assert texts(answer, ".//m:RootFolder/@IncludesLastItemInRange") == ["false"]
        assert codes((await served.ask(view(), version="Exchange2007_SP1"))[0]) == ["ErrorExceededFindCountLimit"]


async def test_a_long_answer_is_packed_for_who_takes_gzip(served: World) -> None:
    for hour in range(24):
        served.book(minutes=60 * hour)
    async def answer(accepted: bytes) -> tuple[list[bytes], bytes]:
        body = FileBodyProducer(BytesIO(envelope(view()).encode()))  # type: ignore[no-untyped-call]
        response = await served.agent.request(b"POST", served.url.encode(), Headers({
            b"Authorization": [basic(ACCOUNT.username, "right").encode()], b"Content-Type": [b"text/xml"],
            b"Accept-Encoding": [accepted]}), body)
        return response.headers.getRawHeaders(b"Content-Encoding", []), await readBody(response)

    packed, plain = await answer(b"gzip, deflate"), await answer(b"identity")
    assert (packed[0], plain[0]) == ([b"gzip"], [])
    assert gzip.decompress(packed[1]) == plain[1]


# --- items ---

async def test_an_item_has_its_body_in_the_form_that_is_asked_for(served: World) -> None:
    html = "<p>Join <b>here</b> &amp; now</p>"
    served.book(body_html=html)
    found = ids(await served.ask(view()))
    for form, told, kind in (("Text", "Join here & now", "Text"), ("HTML", html, "HTML"), ("Best", html, "HTML")):
        shape = fields("item:Body", before=f"<t:BodyType>{form}</t:BodyType>")
        (body,) = (await served.ask(item(*found, shape=shape))).iterfind(".//t:Body", NAMESPACES)
        assert (body.text, body.get("BodyType")) == (told, kind)


async def test_one_bad_id_fails_alone_in_a_batch(served: World) -> None:
    served.book(subject="Good")
    theirs = served.book(LOUNGE)
    (good,) = ids(await served.ask(view()))
    answer = await served.ask(item("AAMkbad!", good, item_id(ROOM, "nothing"), item_id(LOUNGE, theirs.id), good,
                                   shape=fields("item:Subject")))
    assert codes(answer[0]) == ["ErrorInvalidIdMalformed", "NoError", "ErrorItemNotFound", "ErrorAccessDenied",
                                "NoError"]
    assert subjects(answer) == ["Good", "Good"]


async def test_a_change_key_is_new_after_every_change_and_the_id_stays(served: World) -> None:
    booking = served.book()
    before = await served.ask(view())
    served.calendars.change(ROOM, booking.id, body_html="<p>new</p>")
    after = await served.ask(view())
    assert ids(before) == ids(after)
    assert texts(before, ".//t:ItemId/@ChangeKey") != texts(after, ".//t:ItemId/@ChangeKey")


async def test_a_cancelled_or_unreal_occurrence_is_not_found(served: World) -> None:
    series = served.book(minutes=0, rule="FREQ=DAILY;COUNT=3")
    found = ids(await served.ask(view()))
    served.calendars.cancel_occurrence(ROOM, series.id, "20260303T080000Z")
    answer = await served.ask(item(*found, item_id(ROOM, series.id, "20260303T090000Z")))
    assert codes(answer[0]) == ["NoError", "ErrorItemNotFound", "NoError", "ErrorItemNotFound"]


async def test_a_named_property_is_told_by_the_set_it_was_asked_by(served: World) -> None:
    served.book(properties={"SkypeTeamsMeetingUrl": "https://teams.example/&1"})
    found = ids(await served.ask(view()))
    by_guid = 'PropertySetId="00020329-0000-0000-c000-000000000046"'
    for by in ('DistinguishedPropertySetId="PublicStrings"', by_guid):
        shape = fields(more=f'<t:ExtendedFieldURI {by} PropertyName="SkypeTeamsMeetingUrl" PropertyType="String"/>'
                            f'<t:ExtendedFieldURI {by} PropertyName="Absent" PropertyType="String"/>')
        answer = await served.ask(item(*found, shape=shape))
        assert texts(answer, ".//t:ExtendedProperty/t:Value") == ["https://teams.example/&1"]
        assert texts(answer, f".//t:ExtendedFieldURI/@{by.split('=')[0]}")


async def test_a_room_that_strips_shows_the_organizer_as_subject_and_no_body(served: World) -> None:
    served.book(body_html="<p>secret</p>")
    served.server.stripped.add(ROOM)
    found = ids(await served.ask(view()))
    answer = await served.ask(item(*found, shape=fields("item:Subject", "item:Body")))
    assert subjects(answer) == ["Ada Berg"]
    assert texts(answer, ".//t:Body") == [""]


async def test_a_property_newer_than_the_asked_version_is_a_fault(served: World) -> None:
    asked = item("x", shape=fields("item:TextBody"))
    assert (await served.fault(asked, version="Exchange2010_SP2"))[0] == "ErrorIncorrectSchemaVersion"


# --- folders and names ---

async def test_a_folder_tells_cheaply_whether_something_changed(served: World) -> None:
    probe = ('<m:GetFolder><m:FolderShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>'
             '<t:ExtendedFieldURI PropertyTag="0x670a" PropertyType="SystemTime"/>'
             '<t:ExtendedFieldURI PropertyTag="0x670b" PropertyType="Integer"/></t:AdditionalProperties>'
             '</m:FolderShape><m:FolderIds><t:DistinguishedFolderId Id="calendar"/></m:FolderIds></m:GetFolder>')
    booking = served.book()
    assert texts(await served.ask(probe), ".//t:Value") == ["2026-03-02T08:00:00Z", "0"]
    served.now += timedelta(minutes=1)
    served.calendars.cancel(ROOM, booking.id)
    assert texts(await served.ask(probe), ".//t:Value") == ["2026-03-02T08:01:00Z", "1"]
    found = await served.ask(get_folder("calendar", "archiveinbox"))
    assert codes(found[0]) == ["NoError", "ErrorFolderNotFound"]


async def test_names_are_resolved(served: World) -> None:
    def resolve(entry: str) -> str:
        return (f'<m:ResolveNames ReturnFullContactData="false"><m:UnresolvedEntry>{entry}</m:UnresolvedEntry>'
                "</m:ResolveNames>")

    served.calendars.add_room("boardroom2@example.com")
    one = await served.ask(resolve("lounge"), room="")
    assert texts(one, ".//t:EmailAddress") == [LOUNGE]
    assert codes((await served.ask(resolve("BOARD"), room=""))[0]) == ["ErrorNameResolutionMultipleResults"]
    assert codes((await served.ask(resolve("zebra"), room=""))[0]) == ["ErrorNameResolutionNoResults"]


# --- impersonation ---

async def test_who_does_not_impersonate_has_no_mailbox(served: World) -> None:
    served.book()
    assert codes((await served.ask(view(), room=""))[0]) == ["ErrorMissingEmailAddress"]
    assert codes((await served.ask(view(mailbox=ROOM), room=""))[0]) == ["ErrorAccessDenied"]


async def test_impersonation_ends_at_the_scope_and_at_what_there_is(served: World) -> None:
    assert (await served.fault(view(), room=VAULT))[0] == "ErrorImpersonateUserDenied"
    assert (await served.fault(view(), room="nobody@example.com"))[0] == "ErrorNonExistentMailbox"


async def test_a_mailbox_in_trouble_says_so_for_itself_alone(served: World) -> None:
    served.server.troubles[ROOM] = "ErrorMailboxStoreUnavailable"
    assert codes((await served.ask(view()))[0]) == ["ErrorMailboxStoreUnavailable"]
    assert codes((await served.ask(view(), room=LOUNGE))[0]) == ["NoError"]
    answer = await served.ask(availability(ROOM, LOUNGE), room="")
    assert texts(answer, ".//m:ResponseCode") == ["ErrorFreeBusyGenerationFailed", "NoError"]


# --- strictness ---

@NEEDS_SCHEMA
@pytest.mark.parametrize("asked", [
    "<m:FindItem Traversal='Shallow'><m:ParentFolderIds/></m:FindItem>",
    view(shape="<t:BaseShape>Everything</t:BaseShape>"), get_item("x", shape="<t:Body>HTML</t:Body>"),
    availability(ROOM).replace("RequestedView", "View")])
async def test_what_the_schema_does_not_know_is_a_fault(served: World, asked: str) -> None:
    code, fault = await served.fault(asked)
    assert code == "ErrorSchemaValidation"
    assert texts(fault, ".//t:Violation")[0]


async def test_unknown_versions_and_operations_are_faults(served: World) -> None:
    assert (await served.fault(view(), version="Exchange2019"))[0] == "ErrorInvalidServerVersion"
    empty = "<m:GetPasswordExpirationDate/>"
    assert (await served.fault(empty))[0] == "ErrorInvalidOperation"


@pytest.mark.parametrize(("how", "status"), [
    ({"method": "GET"}, 405), ({"headers": {"Content-Type": "application/json"}}, 415), ({"path": "/owa"}, 404)])
async def test_what_is_no_call_is_refused_by_http(served: World, how: dict[str, Any], status: int) -> None:
    assert (await served.request("<x/>", **how)).code == status


# --- free and busy ---

async def test_availability_tells_times_and_details(served: World) -> None:
    served.book(minutes=60, subject="Open", location="Here")
    served.book(minutes=120, subject="Hush", is_private=True, free_busy=FreeBusyStatus.TENTATIVE)
    answer = await served.ask(availability(ROOM, view="DetailedMerged"), room="")
    assert texts(answer, ".//t:MergedFreeBusy")[0][:5] == "02100"
    assert texts(answer, ".//t:StartTime") == ["2026-03-02T09:00:00", "2026-03-02T10:00:00"]
    assert subjects(answer) == ["Open", "Private Appointment"]
    served.server.hidden.add(ROOM)
    answer = await served.ask(availability(ROOM, view="DetailedMerged"), room="")
    assert texts(answer, ".//t:FreeBusyViewType") == ["FreeBusyMerged"]
    assert not subjects(answer)


async def test_availability_of_an_unknown_mailbox_fails_alone_and_of_too_many_together(served: World) -> None:
    answer = await served.ask(availability("nobody@example.com", ROOM), room="")
    assert texts(answer, ".//m:ResponseCode") == ["ErrorMailRecipientNotFound", "NoError"]
    assert (await served.fault(availability(*[ROOM] * 101), room=""))[0] == "ErrorMailboxDataArrayTooBig"
    assert (await served.fault(availability(ROOM, days=63), room=""))[0] == "ErrorTimeIntervalTooBig"


# --- throttling ---

async def test_too_many_requests_at_once_are_refused(server_certificates: Certificates) -> None:
    policy = Throttling(max_concurrency=2)
    async with world(server_certificates, throttling=policy, latency_s=(1.0, 1.0)) as served:
        waiting = [deferred(served.ask(view())) for _ in range(2)]
        while served.server.requests["FindItem"] < 2:
            await served.request("<x/>", path="/owa")
        assert (await served.fault(view()))[0] == "ErrorExceededConnectionCount"
        served.clock.advance(1)
        for answered in waiting:
            assert codes((await answered)[0]) == ["NoError"]
        assert served.server.budgets.peak == 2


async def test_who_has_used_up_its_time_is_told_for_how_long_to_wait(server_certificates: Certificates) -> None:
    policy = Throttling(max_burst=timedelta(seconds=1), recharge_per_hour=timedelta(minutes=6))
    async with world(server_certificates, throttling=policy, latency_s=(2.0, 2.0)) as served:
        answered = deferred(served.ask(view()))
        while not served.server.requests["FindItem"]:
            await served.request("<x/>", path="/owa")
        served.pass_time(timedelta(seconds=2))
        await answered
        code, fault = await served.fault(view())
        assert code == "ErrorServerBusy"
        (wait,) = texts(fault, ".//t:Value[@Name='BackOffMilliseconds']")
        assert wait == "8001"  # one second too many, of which two tenths were given back in the meantime
        served.pass_time(timedelta(milliseconds=int(wait)) + timedelta(seconds=1))
        answered = deferred(served.ask(view()))
        while served.server.requests["FindItem"] < 3:
            await served.request("<x/>", path="/owa")
        served.pass_time(timedelta(seconds=2))
        assert codes((await answered)[0]) == ["NoError"]


async def test_requests_are_counted_by_operation_and_room(served: World) -> None:
    await served.ask(view())
    await served.ask(view(), room=LOUNGE)
    await served.ask(subscribe())
    assert served.server.requests == {"FindItem": 2, "Subscribe": 1}
    assert served.server.rooms_asked["FindItem", LOUNGE] == 1


async def test_a_body_of_nothing_but_a_comment_is_empty_text(served: World) -> None:
    served.book(body_html="<!-- nothing to see -->")
    found = ids(await served.ask(view()))
    answer = await served.ask(item(*found, shape=fields("item:TextBody")))
    assert texts(answer, ".//t:TextBody") == [""]


async def test_ids_that_were_never_given_out_are_malformed(served: World) -> None:
    series = served.book(rule="FREQ=DAILY;COUNT=3")
    answer = await served.ask(item(item_id(ROOM, series.id, "whenever"), "", "Zm9yZ2Vk"))
    assert codes(answer[0]) == ["ErrorInvalidIdMalformed", "ErrorInvalidIdEmpty", "ErrorInvalidIdMalformed"]


async def test_a_view_is_neither_restricted_nor_sorted(served: World) -> None:
    order = ('<m:SortOrder><t:FieldOrder Order="Ascending"><t:FieldURI FieldURI="calendar:Start"/></t:FieldOrder>'
             "</m:SortOrder><m:ParentFolderIds>")
    assert (await served.fault(view().replace("<m:ParentFolderIds>", order)))[0] == "ErrorInvalidOperation"


async def test_a_list_is_restricted_and_sorted(served: World) -> None:
    for minutes, subject in ((60, "b"), (120, "a"), (600, "z")):
        served.book(minutes=minutes, subject=subject)
    restriction = ('<m:Restriction><t:IsLessThan><t:FieldURI FieldURI="calendar:Start"/><t:FieldURIOrConstant>'
                   '<t:Constant Value="2026-03-02T17:00:00Z"/></t:FieldURIOrConstant></t:IsLessThan>'
                   "</m:Restriction>")
    order = ('<m:SortOrder><t:FieldOrder Order="Ascending"><t:FieldURI FieldURI="item:Subject"/></t:FieldOrder>'
             "</m:SortOrder>")
    found = await served.ask(page_view(restriction=restriction, order=order))
    answer = await served.ask(item(*ids(found), shape=fields("item:Subject")))
    assert subjects(answer) == ["a", "b"]
    fraction = '<m:FractionalPageItemView MaxEntriesReturned="1" Numerator="0" Denominator="1"/>'
    assert (await served.fault(page_view(fraction)))[0] == "ErrorInvalidOperation"


async def test_a_folder_is_found_by_its_id_in_its_own_mailbox_alone(served: World) -> None:
    (calendar,) = texts(await served.ask(get_folder("calendar")), ".//t:FolderId/@Id")
    by_id = f'<t:FolderId Id="{calendar}"/>'
    assert codes((await served.ask(get_folder(by_id)))[0]) == ["NoError"]
    assert codes((await served.ask(get_folder(by_id), room=LOUNGE))[0]) == ["ErrorFolderNotFound"]
    assert codes((await served.ask(get_folder(by_id), room=""))[0]) == ["ErrorAccessDenied"]
    assert codes((await served.ask(get_folder('<t:FolderId Id="x"/>')))[0]) == ["ErrorInvalidIdMalformed"]


async def test_a_master_is_asked_for_by_its_occurrence(served: World) -> None:
    served.book(rule="FREQ=DAILY;COUNT=3")
    (first, *_) = ids(await served.ask(view()))
    by = f'<m:ItemIds><t:RecurringMasterItemId OccurrenceId="{first}"/></m:ItemIds>'
    asked = item("x", shape=fields("calendar:CalendarItemType")).partition("<m:ItemIds>")[0]
    answer = await served.ask(f"{asked}{by}</m:GetItem>")
    assert texts(answer, ".//t:CalendarItemType") == ["RecurringMaster"]


async def test_what_came_and_went_between_two_syncs_is_not_told(served: World) -> None:
    def sync(state: str = "", limit: int = 100) -> str:
        known = f"<m:SyncState>{state}</m:SyncState>" if state else ""
        return ("<m:SyncFolderItems><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape><m:SyncFolderId>"
                f'<t:DistinguishedFolderId Id="calendar"/></m:SyncFolderId>{known}<m:MaxChangesReturned>{limit}'
                "</m:MaxChangesReturned></m:SyncFolderItems>")

    kept, gone = served.book(), served.book()
    served.calendars.change(ROOM, kept.id, subject="New")
    served.calendars.cancel(ROOM, gone.id)
    answer = await served.ask(sync())
    assert [etree.QName(e).localname for e in answer.iterfind(".//m:Changes/*", NAMESPACES)] == ["Create"]
    part = await served.ask(sync(limit=1))
    assert texts(part, ".//m:IncludesLastItemInRange") == ["false"]
    (state,) = texts(part, ".//m:SyncState")
    rest = await served.ask(sync(state))
    assert sorted(etree.QName(e).localname for e in rest.iterfind(".//m:Changes/*", NAMESPACES)) == ["Update"]
    assert codes((await served.ask(sync(state), room=LOUNGE))[0]) == ["ErrorInvalidSyncStateData"]
    assert codes((await served.ask(sync("nonsense")))[0]) == ["ErrorInvalidSyncStateData"]
