"""Lists of events of a simulated Google, asked for with Google's own client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from otjd.meetings.model import FreeBusyStatus, Organizer
from tests.simulate.google_world import DAY, HOUR, NOW, ROOM, SETTINGS, World, google, reason, violations

STAMP = "%Y%m%dT%H%M%SZ"
MEET: dict[str, Any] = {
    "conferenceId": "abc-defg-hij", "conferenceSolution": {"key": {"type": "hangoutsMeet"}, "name": "Meet"},
    "entryPoints": [{"entryPointType": "video", "uri": "https://meet.google.com/abc-defg-hij"}]}


def zulu(hours: float = 0.0) -> str:
    return (NOW + hours * HOUR).strftime("%Y-%m-%dT%H:%M:%SZ")


def subjects(events: list[dict[str, Any]]) -> list[str]:
    return [event["summary"] for event in events]


def series(world: World, rule: str = "FREQ=DAILY;COUNT=4", **fields: Any) -> Any:
    return world.book(rule=rule, subject="Daily", **fields)


def day(number: int) -> str:
    return (NOW + number * DAY).strftime(STAMP)


async def test_an_event_shows_what_was_booked(tmp_path: Path) -> None:
    async with google(tmp_path, replace(SETTINGS, attendees=2)) as w:
        w.book(subject="Review", location="3rd floor", body_html="<b>agenda</b>", conference=MEET, uid="u1@x",
               organizer=Organizer("Ann", "ann@example.com"), free_busy=FreeBusyStatus.TENTATIVE)
        [event], page = await w.events()
        assert page["accessRole"] == "reader"
        assert page["timeZone"] == "UTC"
        assert event["start"] == {"dateTime": zulu(), "timeZone": "UTC"}
        assert event["end"]["dateTime"] == zulu(1)
        assert (event["summary"], event["location"]) == ("Review", "3rd floor")
        assert event["description"] == "<b>agenda</b>"
        assert event["organizer"] == {"email": "ann@example.com", "displayName": "Ann"}
        assert event["iCalUID"] == "u1@x"
        assert event["status"] == "tentative"
        assert event["conferenceData"] == MEET
        assert event["hangoutLink"] == "https://meet.google.com/abc-defg-hij"
        assert [a["email"] for a in event["attendees"] if a.get("self")] == [ROOM]
        assert len(event["attendees"]) == 4
        [event], _ = await w.events(maxAttendees=1)
        assert [a["email"] for a in event["attendees"]] == [ROOM]
        assert event["attendeesOmitted"]


async def test_the_schemas_catch_what_google_would_not_send() -> None:
    assert violations("Events", {"items": [{"summary": 5}]})
    assert violations("Events", {"items": [{"subject": "x"}]})
    assert not violations("Events", {"items": [{"summary": "x"}]})


async def test_an_all_day_event_has_dates_and_a_free_one_is_transparent(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        midnight = NOW.replace(hour=0)
        w.calendars.book(ROOM, midnight, midnight + DAY, is_all_day=True, free_busy=FreeBusyStatus.FREE)
        [event], _ = await w.events()
        assert event["start"] == {"date": f"{midnight:%Y-%m-%d}"}
        assert event["end"] == {"date": f"{midnight + DAY:%Y-%m-%d}"}
        assert event["transparency"] == "transparent"


async def test_times_are_in_the_zone_that_is_asked_for(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        w.book()
        [event], page = await w.events(timeZone="Asia/Kolkata")
        assert event["start"]["dateTime"] == f"{NOW:%Y-%m-%d}T13:30:00+05:30"
        assert page["timeZone"] == "Asia/Kolkata"


async def test_bounds_are_exclusive_for_the_end_and_for_the_start(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        for number in range(4):
            w.book(number, subject=str(number))
        events, _ = await w.events(timeMin=zulu(1), timeMax=zulu(3), orderBy="startTime", singleEvents=True)
        assert subjects(events) == ["1", "2"]
        events, _ = await w.events(timeMin=zulu(1.5), timeMax=zulu(2.5), orderBy="startTime", singleEvents=True)
        assert subjects(events) == ["1", "2"]


async def test_a_series_is_listed_as_itself_with_its_exceptions_or_by_its_instances(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        booked = series(w)
        w.calendars.cancel_occurrence(ROOM, booked.id, day(1))
        w.calendars.change_occurrence(ROOM, booked.id, day(2), subject="Moved", start_time=NOW + 2.5 * DAY,
                                      end_time=NOW + 2.5 * DAY + HOUR)
        events, _ = await w.events()
        by_status = {e["id"].partition("_")[2]: e for e in events}
        assert set(by_status) == {"", day(1), day(2)}
        assert by_status[""]["recurrence"] == ["RRULE:FREQ=DAILY;COUNT=4"]
        assert set(by_status[day(1)]) == {"kind", "etag", "id", "status", "recurringEventId", "originalStartTime"}
        assert by_status[day(1)]["status"] == "cancelled"
        assert by_status[day(2)]["summary"] == "Moved"
        assert by_status[day(2)]["originalStartTime"]["dateTime"] == zulu(48)
        assert by_status[day(2)]["recurringEventId"] == by_status[""]["id"]
        instances, _ = await w.events(singleEvents=True, orderBy="startTime")
        assert [(e["summary"], e["start"]["dateTime"]) for e in instances] == [
            ("Daily", zulu()), ("Moved", zulu(60)), ("Daily", zulu(72))]
        assert not any("recurrence" in e for e in instances)
        shown, _ = await w.events(singleEvents=True, showDeleted=True)
        assert [e["id"][-16:] for e in shown if e["status"] == "cancelled"] == [day(1)]


async def test_a_deleted_event_is_listed_only_when_asked_for(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        booking = w.book()
        w.calendars.cancel(ROOM, booking.id)
        assert (await w.events())[0] == []
        [event], _ = await w.events(showDeleted=True)
        assert event["status"] == "cancelled"
        assert "summary" not in event


async def test_every_event_is_found_once_on_short_and_empty_pages(tmp_path: Path) -> None:
    async with google(tmp_path, replace(SETTINGS, short_pages=0.7)) as w:
        booked = [w.book(n, subject=f"{n:02}") for n in range(40)]
        sizes = []
        answer, query = await w.page(maxResults=5, orderBy="startTime", singleEvents="true"), {}
        found = []
        while True:
            status, page = answer
            assert status == 200
            sizes.append(len(page["items"]))
            found += subjects(page["items"])
            if "nextPageToken" not in page:
                break
            query = {"pageToken": page["nextPageToken"]}
            answer = await w.page(maxResults=5, orderBy="startTime", singleEvents="true", **query)
        assert found == [b.subject for b in booked]
        assert max(sizes) == 5
        assert min(sizes) == 0
        assert subjects((await w.events(maxResults=7, singleEvents=True, orderBy="startTime"))[0]) == found


async def test_a_page_token_is_good_for_the_same_request_only(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        for n in range(3):
            w.book(n)
        _, page = await w.page(maxResults=1)
        for changed in ({"singleEvents": "true"}, {"timeMin": zulu()}):
            status, body = await w.page(maxResults=1, pageToken=page["nextPageToken"], **changed)
            assert (status, reason(body)) == (400, (400, "invalid"))
        for token in ("nonsense", page["nextPageToken"][:-4], "ü"):
            assert reason((await w.page(pageToken=token))[1]) == (400, "invalid")


async def test_a_page_is_of_250_events_and_never_of_more_than_2500(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        for n in range(260):
            w.book(n)
        assert len((await w.page())[1]["items"]) == 250
        assert len((await w.page(maxResults=99999))[1]["items"]) == 260
        assert reason((await w.page(maxResults=0))[1]) == (400, "invalidParameter")


# --- sync tokens ---

async def test_a_sync_token_brings_what_changed_and_the_next_token(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        kept, changed, deleted = (w.book(n, subject=str(n)) for n in range(3))
        _, page = await w.events()
        w.calendars.change(ROOM, changed.id, subject="other")
        w.calendars.cancel(ROOM, deleted.id)
        events, page = await w.events(syncToken=page["nextSyncToken"])
        assert {(e["status"], e.get("summary")) for e in events} == {("confirmed", "other"), ("cancelled", None)}
        assert set(next(e for e in events if e["status"] == "cancelled")) == {"kind", "etag", "id", "status"}
        events, again = await w.events(syncToken=page["nextSyncToken"])
        assert events == []
        w.calendars.change(ROOM, kept.id, location="here")
        assert subjects((await w.events(syncToken=again["nextSyncToken"]))[0]) == ["0"]


async def test_only_the_last_page_has_a_sync_token_and_nothing_between_pages_is_lost(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        booked = [w.book(n, subject=str(n)) for n in range(4)]
        _, first = await w.page(maxResults=2)
        assert "nextSyncToken" not in first
        w.calendars.change(ROOM, booked[0].id, subject="changed meanwhile")
        _, last = await w.page(maxResults=2, pageToken=first["nextPageToken"])
        assert "nextPageToken" not in last
        assert subjects((await w.events(syncToken=last["nextSyncToken"]))[0]) == ["changed meanwhile"]


async def test_an_incremental_list_comes_in_pages_too(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        _, page = await w.events()
        for n in range(5):
            w.book(n, subject=str(n))
        _, first = await w.page(syncToken=page["nextSyncToken"], maxResults=2)
        assert len(first["items"]) == 2
        assert "nextSyncToken" not in first
        events, last = await w.events(syncToken=page["nextSyncToken"], maxResults=2)
        assert sorted(subjects(events)) == list("01234")
        assert "nextSyncToken" in last


async def test_a_changed_exception_comes_alone_unexpanded(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        booked = series(w, "FREQ=WEEKLY")
        _, page = await w.events()
        w.calendars.change_occurrence(ROOM, booked.id, day(7), subject="Moved")
        w.calendars.cancel_occurrence(ROOM, booked.id, day(14))
        events, page = await w.events(syncToken=page["nextSyncToken"])
        assert {(e["id"][-16:], e["status"]) for e in events} == {(day(7), "confirmed"), (day(14), "cancelled")}
        w.calendars.change(ROOM, booked.id, subject="Renamed")
        events, page = await w.events(syncToken=page["nextSyncToken"])
        assert subjects(events) == ["Renamed"]
        w.calendars.cancel(ROOM, booked.id)
        [event], _ = await w.events(syncToken=page["nextSyncToken"])
        assert (event["id"], event["status"]) == (events[0]["id"], "cancelled")


async def test_a_touched_series_comes_with_hundreds_of_instances_expanded(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        booked = series(w, "FREQ=WEEKLY")
        w.book(1, subject="single")
        _, page = await w.events(singleEvents=True, timeMin=zulu(-24), timeMax=zulu(48))
        w.calendars.change_occurrence(ROOM, booked.id, day(7), subject="Moved")
        events, page = await w.events(singleEvents=True, syncToken=page["nextSyncToken"])
        assert 700 < len(events) <= 730
        assert "single" not in subjects(events)
        w.calendars.cancel(ROOM, booked.id)
        events, _ = await w.events(singleEvents=True, syncToken=page["nextSyncToken"])
        assert 20 < len(events) < 30
        assert {e["status"] for e in events} == {"cancelled"}


@pytest.mark.parametrize(("parameters", "why"), [
    ({"iCalUID": "u"}, "syncTokenWithRequestRestrictions"), ({"q": "x"}, "syncTokenWithRequestRestrictions"),
    ({"orderBy": "updated"}, "syncTokenWithNonDefaultOrdering"),
    ({"timeMin": zulu()}, "syncTokenWithRequestRestrictions"),
    ({"timeMax": zulu()}, "syncTokenWithRequestRestrictions"),
    ({"updatedMin": zulu()}, "syncTokenWithRequestRestrictions"),
    ({"privateExtendedProperty": "a=b"}, "syncTokenWithRequestRestrictions"),
    ({"sharedExtendedProperty": "a=b"}, "syncTokenWithRequestRestrictions"),
    ({"showDeleted": "false"}, "syncTokenWithRequestRestrictions"),
    ({"singleEvents": "true"}, "syncTokenWithRequestRestrictions")])
async def test_a_sync_token_goes_with_the_parameters_of_its_first_request_only(
        tmp_path: Path, parameters: Mapping[str, str], why: str) -> None:
    async with google(tmp_path) as w:
        _, page = await w.page()
        status, body = await w.page(syncToken=page["nextSyncToken"], **parameters)
        assert (status, reason(body)) == (400, (400, why))
        status, _ = await w.page(syncToken=page["nextSyncToken"], showDeleted="true", maxResults=3, fields="items")
        assert status == 200


async def test_a_list_that_was_ordered_or_searched_has_no_sync_token(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        for query in ({"orderBy": "updated"}, {"q": "x"}, {"updatedMin": zulu(-24)}):
            assert "nextSyncToken" not in (await w.page(**query))[1]


async def test_sync_tokens_end(tmp_path: Path) -> None:
    async with google(tmp_path, replace(SETTINGS, sync_token_life=timedelta(minutes=2))) as w:
        async def token() -> str:
            page: dict[str, str] = (await w.page())[1]
            return page["nextSyncToken"]

        async def is_gone(token: str) -> bool:
            status, body = await w.page(syncToken=token)
            assert status == 200 or (status, reason(body)) == (410, (410, "fullSyncRequired"))
            return status == 410

        old = await token()
        assert not await is_gone(old)
        w.api.lists.expire_sync_tokens()
        assert await is_gone(old)
        old = await token()
        w.api.share(ROOM, "writer")
        assert await is_gone(old)
        old = await token()
        assert await is_gone("1" + old)
        assert not await is_gone(old)
        _, other = await w.page("huddle@example.com")
        assert await is_gone(other["nextSyncToken"])
        w.now += timedelta(minutes=2)
        assert await is_gone(old)


# --- searches and orders ---

async def test_events_are_found_by_words_uid_kind_and_change(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        w.book(subject="Quarterly review", uid="one@x")
        w.now += timedelta(minutes=10)
        w.book(1, subject="Lunch")
        assert subjects((await w.events(q="REVIEW quarterly"))[0]) == ["Quarterly review"]
        assert subjects((await w.events(iCalUID="one@x"))[0]) == ["Quarterly review"]
        assert (await w.events(eventTypes=["outOfOffice"]))[0] == []
        assert len((await w.events(eventTypes=["default", "outOfOffice"]))[0]) == 2
        assert (await w.events(privateExtendedProperty=["a=b"]))[0] == []
        assert subjects((await w.events(orderBy="updated"))[0]) == ["Quarterly review", "Lunch"]
        updated_min = (w.now - timedelta(minutes=5)).isoformat()
        assert subjects((await w.events(updatedMin=updated_min))[0]) == ["Lunch"]
        _, body = await w.page(updatedMin=(w.now - timedelta(days=40)).isoformat())
        assert reason(body) == (410, "updatedMinTooLongAgo")


@pytest.mark.parametrize(("query", "why"), [
    ({"orderBy": "startTime"}, "badRequest"), ({"orderBy": "end"}, "invalidParameter"),
    ({"singleEvents": "1"}, "invalidParameter"), ({"timeMin": "2026-03-02"}, "badRequest"),
    ({"timeMin": "2026-03-02T08:00:00"}, "badRequest"), ({"timeMin": "2026-02-30T08:00:00Z"}, "badRequest"),
    ({"timeMin": zulu(1), "timeMax": zulu(1)}, "timeRangeEmpty"), ({"timeZone": "Mars/Base"}, "invalidParameter"),
    ({"startDateTime": zulu()}, "badRequest"), ({"maxResults": "many"}, "invalidParameter"),
    ({"eventTypes": "meeting"}, "invalidParameter"), ({"alt": "atom"}, "invalidParameter"),
    ({"timeMax": [zulu(), zulu(1)]}, "invalidParameter"), ({"quotaUser": "x" * 41}, "invalidParameter"),
    ({"conferenceDataVersion": "1"}, "badRequest")])
async def test_parameters_that_cannot_be_used_are_refused(tmp_path: Path, query: Mapping[str, Any],
                                                          why: str) -> None:
    async with google(tmp_path) as w:
        status, body = await w.page(**query)
        assert (status, reason(body)) == (400, (400, why))


async def test_an_offset_that_was_not_encoded_is_refused(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        status, _, _ = await w.ask("GET", f"/calendar/v3/calendars/{ROOM}/events",
                                   query="timeMin=2026-03-02T08:00:00+01:00")
        assert status == 400


# --- what a reader may see ---

async def test_a_role_decides_what_is_seen(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        w.book(subject="Secret", location="here", is_private=True, organizer=Organizer("Ann", "ann@example.com"))
        [event], page = await w.events()
        assert page["accessRole"] == "reader"
        assert event["visibility"] == "private"
        assert "start" in event
        assert not {"summary", "location", "organizer", "attendees"} & set(event)
        w.api.share(ROOM, "writer")
        [event], page = await w.events()
        assert page["accessRole"] == "writer"
        assert event["summary"] == "Secret"
        w.api.share(ROOM, "freeBusyReader")
        [event], page = await w.events()
        assert page["accessRole"] == "freeBusyReader"
        assert set(event) == {"kind", "etag", "id", "status", "start", "end", "visibility"}
        w.api.share(ROOM, "none")
        assert reason((await w.page())[1]) == (404, "notFound")
        assert reason((await w.page("nobody@example.com"))[1]) == (404, "notFound")
        assert reason((await w.page("primary"))[1]) == (404, "notFound")


# --- partial responses ---

async def test_fields_select_a_part_of_an_answer(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        w.book(subject="Review", conference=MEET)
        wanted = "items(summary,start/dateTime,conferenceData/entryPoints(uri)),nextSyncToken"
        _, page = await w.page(fields=wanted)
        assert set(page) == {"items", "nextSyncToken"}
        assert page["items"] == [{"summary": "Review", "start": {"dateTime": zulu()},
                                  "conferenceData": {"entryPoints": [{"uri": MEET["entryPoints"][0]["uri"]}]}}]
        assert (await w.page(fields="items/start,items/summary"))[1]["items"][0].keys() == {"start", "summary"}
        assert (await w.page(fields="*"))[1]["accessRole"] == "reader"
        assert (await w.page(fields="items(*)"))[1]["items"][0]["summary"] == "Review"
        for wrong in ("items(", "items(subject)", "nothing", "items(start/zone)", "kind/x", "items)", ",", "a b"):
            assert reason((await w.page(fields=wrong))[1]) == (400, "invalidParameter"), wrong


async def test_the_etag_of_an_event_changes_with_it_alone(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        one = w.book(subject="one")
        w.book(1, subject="two")
        before = {str(e["summary"]): str(e["etag"]) for e in (await w.events())[0]}
        w.calendars.change(ROOM, one.id, location="there")
        after = {str(e["summary"]): str(e["etag"]) for e in (await w.events())[0]}
        assert before["one"] != after["one"]
        assert before["two"] == after["two"]
        assert after["two"].strip('"').isdigit()
