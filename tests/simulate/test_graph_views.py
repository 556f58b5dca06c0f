"""Calendar views, single events and free/busy of the simulated Graph, by hand and held against the schema."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest

from otjd.meetings.model import FreeBusyStatus, Organizer
from otjd.simulate.graph_events import user_id
from otjd.simulate.graph_settings import GraphApp
from tests.simulate.graph_world import DAY, HOUR, NOW, ROOM, WEEK, Reply, World, world

SCHEMA = Path(__file__).parents[3] / "shared" / "schemas" / "graph-event.schema.json"
PUBLIC = "String {00020329-0000-0000-C000-000000000046} Name "
GLOBAL_OBJECT_ID = "040000008200E00074C5B7101A82E00800000000" + "A1" * 32
TEAMS = {"SkypeTeamsMeetingUrl": "https://teams.example.com/l/1", "TeamsVtcConferenceId": "1234567890"}

needs_schema = pytest.mark.skipif(not SCHEMA.exists(), reason=f"{SCHEMA} is not there")


def extended(*names: str) -> str:
    conditions = " or ".join(f"id eq '{PUBLIC}{name}'" for name in names)
    return f"singleValueExtendedProperties($filter={conditions})"


def book_some(w: World) -> None:
    """A meeting with everything, an all-day one, a private one, and a series with an exception and a gap."""
    w.calendars.book(ROOM, NOW, NOW + HOUR, subject="Review", location="Oslo", body_html="<p>Join &amp; see</p>",
                     organizer=Organizer("Ada Berg", "ada@example.com"), properties=TEAMS, id="review")
    midnight = NOW.replace(hour=0)
    w.calendars.book(ROOM, midnight, midnight + timedelta(days=1), is_all_day=True, is_private=True, id="day",
                     free_busy=FreeBusyStatus.FREE, subject="Secret")
    w.calendars.book(ROOM, NOW + 2 * HOUR, NOW + 3 * HOUR, is_cancelled=True, subject="Canceled: Old", id="old",
                     free_busy=FreeBusyStatus.TENTATIVE)
    w.calendars.book(ROOM, NOW + 4 * HOUR, NOW + 5 * HOUR, subject="Daily", rule="FREQ=DAILY;COUNT=5", id="series",
                     uid=GLOBAL_OBJECT_ID)
    w.calendars.change_occurrence(ROOM, "series", "20260303T120000Z", subject="Moved", start_time=NOW + 30 * HOUR,
                                  end_time=NOW + 31 * HOUR)
    w.calendars.cancel_occurrence(ROOM, "series", "20260304T120000Z")


async def all_of(w: World, reply: Reply, prefer: str = "") -> list[dict[str, Any]]:
    """The entries of all pages."""
    assert reply.status == 200, reply.body
    found: list[dict[str, Any]] = reply.json["value"]
    while "@odata.nextLink" in reply.json:
        reply = await w.ask("GET", reply.json["@odata.nextLink"], headers={"Prefer": prefer} if prefer else None)
        assert reply.status == 200, reply.body
        found = [*found, *reply.json["value"]]
    return found


def refused(reply: Reply, status: int, code: str) -> bool:
    error = reply.json["error"]
    return (reply.status, error["code"]) == (status, code) and bool(error["innerError"]["request-id"])


# --- what events look like ---

@needs_schema
@pytest.mark.parametrize("prefer", ["", 'outlook.timezone="W. Europe Standard Time"', 'IdType="ImmutableId"',
                                    'outlook.body-content-type="text"'])
async def test_every_event_is_one_by_the_schema_of_microsofts_types(prefer: str) -> None:
    validator = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()))
    async with world(attendees=40) as w:
        book_some(w)
        views = await all_of(w, await w.view({**WEEK, "$expand": extended(*TEAMS)}, prefer=prefer), prefer)
        changes = await all_of(w, await w.view(what="calendarView/delta", prefer=prefer), prefer)
        single = await w.ask("GET", f"/users/{ROOM}/events/{quote(views[0]['id'])}")
        assert {e["type"] for e in changes} == {"singleInstance", "occurrence", "exception", "seriesMaster"}
        for found in (*views, *changes, single.json):
            plain = {name: value for name, value in found.items() if not name.startswith("@odata")}
            assert [e.message for e in validator.iter_errors(plain)] == []
        assert not validator.is_valid({**plain, "showAs": "Busy"})


async def test_an_event_tells_what_was_booked() -> None:
    async with world() as w:
        book_some(w)
        (day, review, old, *_) = (await w.view()).json["value"]
        assert review["subject"] == "Review"
        assert review["start"] == {"dateTime": "2026-03-02T08:00:00.0000000", "timeZone": "UTC"}
        assert review["organizer"] == {"emailAddress": {"name": "Ada Berg", "address": "ada@example.com"}}
        assert "<p>Join &amp; see</p>" in review["body"]["content"]
        assert review["bodyPreview"] == "Join & see"
        assert review["onlineMeeting"] == {"joinUrl": TEAMS["SkypeTeamsMeetingUrl"]}
        assert (review["type"], review["seriesMasterId"], review["showAs"]) == ("singleInstance", None, "busy")
        assert "originalStart" not in review
        assert (day["isAllDay"], day["sensitivity"], day["showAs"]) == (True, "private", "free")
        assert (old["isCancelled"], old["showAs"]) == (True, "tentative")
        assert "singleValueExtendedProperties" not in review


async def test_a_series_is_shown_by_its_occurrences_exceptions_and_gaps() -> None:
    async with world() as w:
        book_some(w)
        found = [e for e in await all_of(w, await w.view()) if e["seriesMasterId"]]
        assert [(e["type"], e["subject"], e["originalStart"][:10]) for e in found] == [
            ("occurrence", "Daily", "2026-03-02"), ("exception", "Moved", "2026-03-03"),
            ("occurrence", "Daily", "2026-03-05"), ("occurrence", "Daily", "2026-03-06")]
        assert len({e["id"] for e in found}) == 4
        assert len({e["seriesMasterId"] for e in found}) == 1
        assert len({e["iCalUId"] for e in found}) == 4  # Exchange's own kind bears the date
        assert {e["iCalUId"][:32] for e in found} == {GLOBAL_OBJECT_ID[:32]}


async def test_every_change_has_another_change_key_and_the_same_ids() -> None:
    async with world() as w:
        book_some(w)
        before = (await w.view()).json["value"][1]
        w.calendars.change(ROOM, "review", subject="Other")
        after = (await w.view()).json["value"][1]
        assert after["subject"] == "Other"
        assert (after["id"], after["iCalUId"]) == (before["id"], before["iCalUId"])
        assert after["changeKey"] != before["changeKey"]
        assert after["@odata.etag"] == f'W/"{after["changeKey"]}"'


# --- the window and its pages ---

@pytest.mark.parametrize("query", [{}, {"startDateTime": WEEK["startDateTime"]}, {"endDateTime": "2026-03-09"},
                                   {**WEEK, "endDateTime": "soon"},
                                   {**WEEK, "endDateTime": "2026-02-01T00:00:00Z"},
                                   {**WEEK, "startDateTime": "2026-03-02T00:00:00 01:00"}])
async def test_a_view_without_a_window_that_can_be_read_is_refused(query: dict[str, str]) -> None:
    async with world() as w:
        assert refused(await w.view(query), 400, "ErrorInvalidParameter")


async def test_a_window_of_many_years_is_refused() -> None:
    async with world() as w:
        reply = await w.view({**WEEK, "endDateTime": "2036-03-02T00:00:00Z"})
        assert refused(reply, 400, "ErrorCalendarViewRangeTooBig")


async def test_offsets_of_the_window_are_honoured() -> None:
    async with world() as w:
        w.calendars.book(ROOM, NOW, NOW + HOUR, subject="Review")
        window = {"startDateTime": "2026-03-02T10:00:00+01:00", "endDateTime": "2026-03-02T12:00:00+01:00"}
        assert (await w.view(window)).json["value"] == []
        earlier = {**window, "startDateTime": "2026-03-02T09:59:00+01:00"}
        assert len((await w.view(earlier)).json["value"]) == 1
        assert len((await w.view({"startDateTime": "2026-03-02T08:30:00",
                                  "endDateTime": "2026-03-02T09:00:00"})).json["value"]) == 1


@pytest.mark.parametrize(("top", "pages"), [("", 3), ("7", 4), ("1000", 1)])
async def test_pages_are_of_ten_unless_asked_otherwise_and_lead_to_the_end(top: str, pages: int) -> None:
    async with world() as w:
        for number in range(25):
            w.calendars.book(ROOM, NOW + number * HOUR, NOW + (number + 1) * HOUR, subject=str(number))
        reply = await w.view({**WEEK, **({"$top": top} if top else {}), "$select": "subject"})
        assert [e["subject"] for e in await all_of(w, reply)] == [str(n) for n in range(25)]
        assert w.server.counts["calendarView"] == pages
        assert w.server.by_room[ROOM] == pages


@pytest.mark.parametrize(("option", "code"), [
    ({"$top": "0"}, "BadRequest"), ({"$top": "1001"}, "BadRequest"), ({"$top": "ten"}, "BadRequest"),
    ({"$skiptoken": "!"}, "ErrorInvalidUrlQuery"), ({"$pagesize": "3"}, "RequestBroker--ParseUri"),
    ({"$select": "subject,Betreff"}, "RequestBroker--ParseUri")])
async def test_options_that_there_are_not_are_refused(option: dict[str, str], code: str) -> None:
    async with world() as w:
        assert refused(await w.view({**WEEK, **option}), 400, code)


async def test_an_option_that_is_there_twice_is_refused() -> None:
    async with world() as w:
        reply = await w.ask("GET", f"/users/{ROOM}/calendarView?startDateTime=2026-03-02&endDateTime=2026-03-03"
                                   "&$top=5&%24top=6")
        assert refused(reply, 400, "RequestBroker--ParseUri")


@pytest.mark.parametrize("option", [{"$filter": "isAllDay eq true"}, {"$search": "x"}, {"$orderby": "subject"},
                                    {"$expand": "attachments"}])
async def test_what_would_give_other_events_than_asked_is_said_not_to_be_simulated(option: dict[str, str]) -> None:
    async with world() as w:
        assert refused(await w.view({**WEEK, **option}), 501, "NotImplemented")


async def test_a_select_loses_the_times_of_creation_and_change() -> None:
    async with world() as w:
        book_some(w)
        chosen = {**DAY, "$select": "subject,createdDateTime,lastModifiedDateTime,changeKey"}
        (event, *_) = (await w.view(chosen)).json["value"]
        assert event.keys() == {"@odata.etag", "id", "subject", "changeKey"}
        (event, *_) = (await w.view(DAY)).json["value"]
        assert {"createdDateTime", "lastModifiedDateTime"} <= event.keys()


# --- extended properties ---

@pytest.mark.parametrize("set_id", ["00020329-0000-0000-C000-000000000046",
                                    "00020329-0000-0000-c000-000000000046"])
async def test_extended_properties_come_only_when_expanded_and_by_any_spelling_of_their_set(set_id: str) -> None:
    async with world() as w:
        book_some(w)
        expand = extended("TeamsVtcConferenceId", "OnlineMeetingConfLink").replace(PUBLIC[8:44], set_id)
        (day, review, *_) = (await w.view({**DAY, "$expand": expand, "$select": "subject"})).json["value"]
        assert review["singleValueExtendedProperties"] == [
            {"id": f"{PUBLIC.replace('C000', 'c000')}TeamsVtcConferenceId", "value": "1234567890"}]
        assert "singleValueExtendedProperties" not in day


@pytest.mark.parametrize(("expand", "code"), [
    ("singleValueExtendedProperties", "RequestBroker--ParseUri"),
    ("singleValueExtendedProperties($filter=id eq 'String {1} Name x'", "RequestBroker--ParseUri"),
    ("singleValueExtendedProperties($filter=id eq String)", "RequestBroker--ParseUri"),
    ("singleValueExtendedProperties($filter=id ne 'x')", "RequestBroker--ParseUri"),
    (f"singleValueExtendedProperties($filter=id eq '{PUBLIC}a' and id eq '{PUBLIC}b')", "RequestBroker--ParseUri"),
    (f"singleValueExtendedProperties($filter=id eq '{PUBLIC}a' or)", "RequestBroker--ParseUri"),
    (f"singleValueExtendedProperties($top=1;$filter=id eq '{PUBLIC}a')", "RequestBroker--ParseUri"),
    ("eventProperties", "RequestBroker--ParseUri"),
    ("singleValueExtendedProperties($filter=id eq 'String {1} Name x')", "ErrorInvalidExtendedProperty"),
    (f"singleValueExtendedProperties($filter=id eq '{PUBLIC.replace('String', 'Text')}a')",
     "ErrorInvalidExtendedProperty"),
    (f"singleValueExtendedProperties($filter=id eq '{PUBLIC}')", "ErrorInvalidExtendedProperty")])
async def test_an_expansion_that_is_none_is_refused(expand: str, code: str) -> None:
    async with world() as w:
        assert refused(await w.view({**DAY, "$expand": expand}), 400, code)


# --- preferences ---

async def test_preferences_are_honoured_and_told() -> None:
    async with world() as w:
        book_some(w)
        reply = await w.view(DAY, prefer='outlook.timezone="W. Europe Standard Time", '
                                         'outlook.body-content-type="text", IdType="ImmutableId"')
        review = reply.json["value"][1]
        assert review["start"] == {"dateTime": "2026-03-02T09:00:00.0000000",
                                   "timeZone": "W. Europe Standard Time"}
        assert review["body"] == {"contentType": "text", "content": "Join & see"}
        assert reply.header("Preference-Applied") == (
            'outlook.timezone="W. Europe Standard Time", outlook.body-content-type="text", IdType="ImmutableId"')
        plain = await w.view(DAY)
        assert plain.json["value"][1]["id"] != review["id"]
        assert plain.header("Preference-Applied") == ""


async def test_a_time_zone_that_there_is_not_is_refused() -> None:
    async with world() as w:
        reply = await w.view(DAY, prefer='outlook.timezone="Middle Earth Standard Time"')
        assert refused(reply, 400, "TimeZoneNotSupportedException")


# --- whose mailbox ---

@pytest.mark.parametrize("user", [ROOM, ROOM.replace("@", "%40"), ROOM.upper(), user_id(ROOM)])
async def test_a_room_is_found_by_its_address_and_its_object_id(user: str) -> None:
    async with world() as w:
        book_some(w)
        for path in (f"/users/{user}/calendarView", f"/users/{user}/calendar/calendarview",
                     f"/users('{user}')/calendarView"):
            reply = await w.ask("GET", f"{path}?startDateTime=2026-03-02&endDateTime=2026-03-03")
            assert reply.status == 200, reply.body
            assert len(reply.json["value"]) == 4


@pytest.mark.parametrize(("path", "status"), [
    ("/users/boardroom@example.com/messages", 400), ("/me/calendarView", 400),
    ("/users/boardroom@example.com", 400), ("/", 400)])
async def test_other_resources_are_refused(path: str, status: int) -> None:
    async with world() as w:
        assert refused(await w.ask("GET", path), status, "BadRequest")
        assert refused(await w.ask("DELETE", f"/users/{ROOM}/calendarView"), 405, "MethodNotAllowed")
        assert (await w.ask("GET", f"{w.url}/beta/users")).status == 400


# --- single events ---

async def test_a_single_event_an_occurrence_and_a_series_are_found_by_their_ids() -> None:
    async with world() as w:
        book_some(w)
        found = {e["subject"]: e for e in await all_of(w, await w.view())}
        for name in ("Review", "Moved"):
            reply = await w.ask("GET", f"/users/{ROOM}/events/{quote(found[name]['id'])}?$select=subject,type")
            assert (reply.json["subject"], reply.json["type"]) == (name, found[name]["type"])
        master = await w.ask("GET", f"/users/{ROOM}/calendar/events/{quote(found['Moved']['seriesMasterId'])}")
        assert master.json["type"] == "seriesMaster"
        assert master.json["recurrence"]["range"]["numberOfOccurrences"] == 5
        assert master.json["recurrence"]["pattern"]["type"] == "daily"


async def test_an_event_that_is_gone_is_not_found_and_an_id_that_is_none_is_malformed() -> None:
    async with world() as w:
        book_some(w)
        w.calendars.add_room("other@example.com")
        review = (await w.view()).json["value"][1]["id"]
        elsewhere = await w.ask("GET", f"/users/other@example.com/events/{quote(review)}")
        assert refused(elsewhere, 404, "ErrorItemNotFound")
        w.calendars.cancel(ROOM, "review")
        assert refused(await w.ask("GET", f"/users/{ROOM}/events/{quote(review)}"), 404, "ErrorItemNotFound")
        assert refused(await w.ask("GET", f"/users/{ROOM}/events/AAMkAGxx"), 400, "ErrorInvalidIdMalformed")


# --- getSchedule ---

def schedule(*rooms: str, **changes: Any) -> dict[str, Any]:
    return {"schedules": list(rooms or (ROOM,)),
            "startTime": {"dateTime": "2026-03-02T08:00:00", "timeZone": "UTC"},
            "endTime": {"dateTime": "2026-03-02T14:00:00", "timeZone": "UTC"}, "availabilityViewInterval": 60,
            **changes}


async def ask_schedule(w: World, body: Any) -> Reply:
    return await w.ask("POST", f"/users/{ROOM}/calendar/getSchedule", body)


async def test_free_busy_is_told_by_digits_and_items_without_what_is_private() -> None:
    async with world() as w:
        book_some(w)
        w.calendars.book(ROOM, NOW + HOUR, NOW + 1.5 * HOUR, subject="Hidden", location="x", is_private=True)
        (found,) = (await ask_schedule(w, schedule())).json["value"]
        assert found["scheduleId"] == ROOM
        assert found["availabilityView"] == "221020"
        assert [(i["status"], i["isPrivate"], i.get("subject")) for i in found["scheduleItems"]] == [
            ("free", True, None), ("busy", False, "Review"), ("busy", True, None),
            ("tentative", False, "Canceled: Old"), ("busy", False, "Daily")]
        assert found["scheduleItems"][1]["start"] == {"dateTime": "2026-03-02T08:00:00.0000000", "timeZone": "UTC"}


async def test_mailboxes_that_cannot_be_read_fail_alone() -> None:
    async with world() as w:
        (good, bad) = (await ask_schedule(w, schedule(ROOM, "nobody@example.com"))).json["value"]
        assert good["availabilityView"] == "000000"
        assert bad["error"]["responseCode"] == "ErrorMailRecipientNotFound"
        assert "nobody@example.com" in bad["error"]["message"]


@pytest.mark.parametrize(("limit", "asked", "status"), [(20, 20, 200), (20, 21, 400), (100, 100, 200)])
async def test_so_many_mailboxes_may_be_asked_for_at_once(limit: int, asked: int, status: int) -> None:
    async with world(schedules_limit=limit) as w:
        reply = await ask_schedule(w, schedule(*[ROOM] * asked))
        assert reply.status == status
        if status == 400:
            assert refused(reply, 400, "ErrorMailboxDataArrayTooBig")
            assert "allowed size = 20; the actual size = 21" in reply.json["error"]["message"]


@pytest.mark.parametrize(("changes", "code"), [
    ({"schedules": []}, "ErrorInvalidParameter"), ({"schedules": ROOM}, "ErrorInvalidParameter"),
    ({"startTime": "2026-03-02T08:00:00"}, "BadRequest"),
    ({"startTime": {"dateTime": "now", "timeZone": "UTC"}}, "ErrorInvalidParameter"),
    ({"startTime": {"dateTime": "2026-03-02T08:00:00", "timeZone": "Oslo"}}, "TimeZoneNotSupportedException"),
    ({"endTime": {"dateTime": "2026-03-02T08:00:00", "timeZone": "UTC"}}, "ErrorInvalidTimeInterval"),
    ({"endTime": {"dateTime": "2026-06-02T08:00:00", "timeZone": "UTC"}}, "ErrorTimeIntervalTooBig"),
    ({"availabilityViewInterval": 4}, "ErrorInvalidMergedFreeBusyInterval"),
    ({"availabilityViewInterval": 1441}, "ErrorInvalidMergedFreeBusyInterval")])
async def test_a_request_for_free_busy_that_cannot_be_read_is_refused(changes: dict[str, Any], code: str) -> None:
    async with world() as w:
        assert refused(await ask_schedule(w, schedule(**changes)), 400, code)


async def test_a_body_that_is_no_json_is_refused() -> None:
    async with world() as w:
        assert refused(await ask_schedule(w, b"schedules"), 400, "BadRequest")
        assert refused(await ask_schedule(w, b"[]"), 400, "BadRequest")
        plain = await w.ask("POST", f"/users/{ROOM}/calendar/getSchedule", b"{}",
                            headers={"Content-Type": "text/plain"})
        assert refused(plain, 400, "BadRequest")


async def test_free_busy_may_be_behind_the_calendar() -> None:
    async with world(schedule_delay=timedelta(seconds=40)) as w:
        w.calendars.book(ROOM, NOW, NOW + HOUR, id="one")
        w.pass_time(60)

        async def view() -> str:
            return str((await ask_schedule(w, schedule())).json["value"][0]["availabilityView"])

        assert await view() == "200000"
        w.calendars.change(ROOM, "one", start_time=NOW + HOUR, end_time=NOW + 2 * HOUR)
        w.calendars.book(ROOM, NOW + 3 * HOUR, NOW + 4 * HOUR)
        assert await view() == "200000"
        w.pass_time(41)
        assert await view() == "020200"


# --- what an application may ---

async def test_basic_permission_hides_bodies_and_extended_properties() -> None:
    async with world(apps=(GraphApp("11111111-2222-3333-4444-555555555555", "s3cret~value",
                                    frozenset({"Calendars.ReadBasic"})),)) as w:
        book_some(w)
        event = (await w.view()).json["value"][1]
        assert event["subject"] == "Review"
        assert not {"body", "bodyPreview"} & event.keys()
        assert refused(await w.view({**DAY, "$expand": extended("x")}), 403, "ErrorAccessDenied")
