"""Requests of the Google Calendar API, held against Google's own description of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from jsonschema import ValidationError

from otjd.meetings.model import Window
from otjd.protocol.google_calendar import (
    CALENDARS_A_SWEEP,
    changes_url,
    events_url,
    free_busy_body,
    free_busy_url,
    quota_user,
    stop_body,
    stop_url,
    watch_body,
    watch_url,
)
from tests.protocol.google_discovery import check_request

API = "https://www.googleapis.com/calendar/v3"
ROOM = "c_1888abc+board@resource.calendar.google.com"
NOON = datetime(2026, 3, 2, 12, 0, 0, 250_000, tzinfo=UTC)
WINDOW = Window(NOON - timedelta(days=1), NOON + timedelta(days=7))


def test_occurrences_of_a_window_are_asked_for_as_google_describes_it() -> None:
    method, given = check_request("GET", events_url(API, ROOM, WINDOW, "page/2="))
    fields = given.pop("fields")
    assert method == "calendar.events.list"
    assert given == {
        "calendarId": ROOM, "singleEvents": "true", "orderBy": "startTime", "maxResults": "2500",
        "maxAttendees": "1", "pageToken": "page/2=", "timeMin": "2026-03-01T12:00:00Z",
        "timeMax": "2026-03-09T12:00:01Z", "quotaUser": quota_user(ROOM), "prettyPrint": "false"}
    assert "conferenceData(" in fields
    assert "nextPageToken" in fields


def test_a_window_in_another_zone_is_asked_for_in_utc() -> None:
    cet = datetime.fromisoformat("2026-03-02T13:00:00+01:00")
    _, given = check_request("GET", events_url(API, ROOM, Window(cet, cet)))
    assert (given["timeMin"], given["timeMax"]) == ("2026-03-02T12:00:00Z", "2026-03-02T12:00:01Z")


def test_a_sync_token_comes_without_what_it_forbids_and_with_what_was_asked_for_first() -> None:
    _, first = check_request("GET", changes_url(API, ROOM, since=NOON))
    _, second = check_request("GET", changes_url(API, ROOM, since=NOON, sync_token="token=="))
    assert first.pop("timeMin") == "2026-03-02T12:00:00Z"
    assert second.pop("syncToken") == "token=="
    assert first == second
    assert not {"iCalUID", "orderBy", "privateExtendedProperty", "q", "sharedExtendedProperty", "timeMax",
                "updatedMin", "singleEvents", "showDeleted"} & first.keys()


def test_free_busy_channels_and_their_end_are_asked_for_as_google_describes_it() -> None:
    rooms = [f"room{n}@example.com" for n in range(CALENDARS_A_SWEEP)]
    body = free_busy_body(rooms, WINDOW)
    assert check_request("POST", free_busy_url(API, rooms), body)[0] == "calendar.freebusy.query"
    assert json.loads(body)["items"][-1] == {"id": "room49@example.com"}
    watch = watch_body("id", "token", "https://otj.example.com/notifications/workspace")
    assert check_request("POST", watch_url(API, ROOM), watch)[0] == "calendar.events.watch"
    assert check_request("POST", stop_url(API, ROOM), stop_body("id", "resource"))[0] == "calendar.channels.stop"


@pytest.mark.parametrize("api", [API, f"{API}/"])
def test_the_address_of_the_api_may_end_with_a_slash(api: str) -> None:
    check_request("POST", stop_url(api, ROOM), stop_body("id", "resource"))


@pytest.mark.parametrize(("verb", "url", "body"), [
    ("GET", f"{API}/calendars/a/events?unknown=1", None), ("GET", f"{API}/calendars/a/events?maxResults=0", None),
    ("GET", f"{API}/calendars/a/events?singleEvents=yes", None),
    ("GET", f"{API}/calendars/a/events?timeMin=1", None),
    ("GET", f"{API}/calendars/a/events?orderBy=start", None), ("GET", f"{API}/calendar/a/events", None),
    ("POST", f"{API}/freeBusy", b'{"items": ["a"]}'), ("POST", f"{API}/freeBusy", b'{"Items": []}'),
    ("POST", f"{API}/freeBusy", None)])
def test_what_google_does_not_describe_would_be_found(verb: str, url: str, body: bytes | None) -> None:
    with pytest.raises((AssertionError, ValidationError)):
        check_request(verb, url, body)


def test_every_room_is_a_user_of_its_own_in_googles_count() -> None:
    users = {quota_user(f"room{n}@resource.calendar.google.com") for n in range(1000)}
    assert len(users) == 1000
    assert {len(user) for user in users} == {40}
    assert quota_user("Room1@Example.com") == quota_user("room1@example.com")
