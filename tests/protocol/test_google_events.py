"""Answers of the Google Calendar API, as Google describes them and as it should not give them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from otjd.meetings.model import CalendarItemType, FreeBusyStatus, Invitation, Organizer
from otjd.protocol.google_events import (
    EventsPage,
    UnreadableAnswerError,
    read_changes,
    read_channel,
    read_events,
    read_free_busy,
)
from tests.protocol.google_discovery import validator

EVENT: dict[str, Any] = {
    "id": "abc123", "etag": '"3541"', "status": "confirmed", "eventType": "default",
    "iCalUID": "abc123@google.com", "summary": "Budget", "location": "Oslo",
    "description": "<b>Join</b> https://meet.google.com/abc-defg-hij",
    "created": "2026-02-01T08:00:00.000Z", "updated": "2026-02-02T09:30:15.250Z",
    "organizer": {"email": "ann@example.com", "displayName": "Ann"}, "creator": {"email": "bo@example.com"},
    "start": {"dateTime": "2026-03-02T10:00:00+01:00", "timeZone": "Europe/Oslo"},
    "end": {"dateTime": "2026-03-02T11:00:00+01:00", "timeZone": "Europe/Oslo"},
    "attendees": [{"self": True, "responseStatus": "accepted"}],
    "hangoutLink": "https://meet.google.com/abc-defg-hij",
    "conferenceData": {"conferenceId": "abc-defg-hij", "entryPoints": [
        {"entryPointType": "sip", "uri": "sip:2417036985521@gmeet.example.com"}]}}
SERIES = {"recurringEventId": "abc", "id": "abc_20260302T090000Z",
          "originalStartTime": {"dateTime": "2026-03-02T10:00:00+01:00"}}


def answer(*events: Any, **more: Any) -> bytes:
    return json.dumps({"accessRole": "writer", "timeZone": "Europe/Oslo", "items": list(events), **more}).encode()


def page(*events: Any, role: str = "writer") -> EventsPage:
    body = answer(*events, accessRole=role)
    validator("Events").validate(json.loads(body))
    return read_events(body)


def invitation(**changes: Any) -> Invitation:
    event = {name: value for name, value in {**EVENT, **changes}.items() if value is not None}
    (only,) = page(event).fresh
    return only


def utc(*values: int) -> datetime:
    return datetime(*values, tzinfo=UTC)  # type: ignore[misc, arg-type]


def test_an_event_becomes_an_invitation() -> None:
    assert invitation() == Invitation(
        "abc123@google.com", utc(2026, 3, 2, 9), utc(2026, 3, 2, 10), subject="Budget", location="Oslo",
        body_text="<b>Join</b> https://meet.google.com/abc-defg-hij",
        organizer=Organizer("Ann", "ann@example.com"),
        created_time=utc(2026, 2, 1, 8), last_modified_time=utc(2026, 2, 2, 9, 30, 15, 250_000),
        properties={"google": EVENT})


def test_an_occurrence_of_a_series_bears_its_original_start() -> None:
    plain = invitation(**SERIES)
    moved = invitation(**SERIES, start={"dateTime": "2026-03-02T12:00:00+01:00"},
                       end={"dateTime": "2026-03-02T13:00:00+01:00"})
    assert (plain.occurrence, plain.item_type) == ("20260302T090000Z", CalendarItemType.OCCURRENCE)
    assert (moved.occurrence, moved.item_type) == ("20260302T090000Z", CalendarItemType.EXCEPTION)
    assert moved.start_time == utc(2026, 3, 2, 11)


def test_an_all_day_event_lasts_from_midnight_to_midnight_in_the_zone_of_the_calendar() -> None:
    found = invitation(start={"date": "2026-03-28"}, end={"date": "2026-03-30"})
    assert found.is_all_day
    assert (found.start_time, found.end_time) == (utc(2026, 3, 27, 23), utc(2026, 3, 29, 22))  # summer time begins


def test_the_occurrence_of_an_all_day_series_does_not_depend_on_the_zone() -> None:
    event = {**EVENT, **SERIES, "start": {"date": "2026-03-28"}, "end": {"date": "2026-03-29"},
             "originalStartTime": {"date": "2026-03-28"}}
    found = [read_events(answer(event, timeZone=zone)).fresh[0].occurrence for zone in ("Asia/Tokyo", "UTC")]
    assert found == ["20260328T000000Z"] * 2


def test_a_time_without_offset_is_one_of_its_own_zone() -> None:
    found = invitation(start={"dateTime": "2026-03-02T10:00:00", "timeZone": "America/New_York"},
                       end={"dateTime": "2026-03-02T16:00:00Z"})
    assert (found.start_time, found.end_time) == (utc(2026, 3, 2, 15), utc(2026, 3, 2, 16))


@pytest.mark.parametrize(("changes", "status"), [
    ({"transparency": "transparent"}, FreeBusyStatus.FREE), ({"status": "tentative"}, FreeBusyStatus.TENTATIVE),
    ({"eventType": "outOfOffice"}, FreeBusyStatus.BUSY)])
def test_how_the_room_is_blocked(changes: dict[str, Any], status: FreeBusyStatus) -> None:
    assert invitation(**changes).free_busy is status


@pytest.mark.parametrize("kind", ["workingLocation", "birthday"])
def test_what_books_nothing_is_left_out(kind: str) -> None:
    assert len(page({**EVENT, "eventType": kind}).entries) == 0


def test_what_is_cancelled_or_declined_by_the_room_does_not_take_place() -> None:
    assert invitation(status="cancelled").is_cancelled
    assert invitation(attendees=[{"self": True, "responseStatus": "declined"}]).is_cancelled
    assert not invitation(attendees=[{"responseStatus": "declined"}]).is_cancelled


def test_a_private_event_is_private_whether_its_details_are_shown_or_not() -> None:
    hidden = {name: EVENT[name] for name in ("id", "etag", "status", "iCalUID", "start", "end")}
    seen = page({**EVENT, "visibility": "private"})
    unseen = page({**hidden, "visibility": "private"}, role="reader")
    assert (seen.fresh[0].is_private, seen.fresh[0].subject, seen.hidden) == (True, "Budget", 0)
    assert (unseen.fresh[0].is_private, unseen.fresh[0].subject, unseen.hidden) == (True, "", 1)
    assert invitation(visibility="confidential").is_private
    assert not invitation(visibility="public").is_private


def test_who_booked_in_the_rooms_own_calendar_counts_as_organizer() -> None:
    room = {"email": "room@resource.calendar.google.com", "displayName": "Room", "self": True}
    assert invitation(organizer=room).organizer == Organizer("", "bo@example.com")
    assert invitation(organizer=room, creator={**room}).organizer.display_name == "Room"
    assert invitation(organizer=None).organizer == Organizer()


def test_two_bookings_with_the_same_uid_are_both_there() -> None:
    found = page(EVENT, {**EVENT, "id": "other"})
    assert [one.uid for one in found.fresh] == ["abc123@google.com", "other"]
    assert read_events(answer({**EVENT, "id": "third"}), taken=found.taken).fresh[0].uid == "third"


def test_a_booking_that_loses_its_namesake_is_built_again_under_its_own_uid() -> None:
    other = {**EVENT, "id": "other"}
    known = page(EVENT, other)
    left = read_events(answer(other), known.entries, "writer")
    assert ([one.uid for one in left.fresh], left.same) == (["abc123@google.com"], [])


def test_what_was_known_is_not_built_again_until_it_changes() -> None:
    moved, edited = ({**EVENT, "id": name, "iCalUID": name} for name in ("moved", "edited"))
    first = page(EVENT, moved, edited)
    later = {"end": {"dateTime": "2026-03-02T11:30:00+01:00"}}
    second = read_events(answer(EVENT, {**moved, **later}, {**edited, "etag": '"3542"'}), first.entries, "writer")
    assert second.same == [("abc123@google.com", "")]
    assert [one.uid for one in second.fresh] == ["moved", "edited"]


def test_another_role_makes_everything_new_since_it_shows_other_things() -> None:
    assert len(read_events(answer(EVENT, accessRole="writer"), page(EVENT).entries, "reader").fresh) == 1


@pytest.mark.parametrize("damage", [
    {"start": None}, {"start": {}}, {"start": {"dateTime": "soon"}}, {"end": {"date": "2026-13-01"}},
    {"start": {"dateTime": 5}}, {"start": {"dateTime": "0001-01-01T00:00:00+14:00"}}, {"end": []},
    {"recurringEventId": "abc", "originalStartTime": "x"}, {"start": {"date": "9999-12-31" * 1000}}])
def test_an_event_that_cannot_be_read_costs_itself_alone(damage: dict[str, Any]) -> None:
    found = read_events(answer({**EVENT, "id": "damaged", **damage}, EVENT, None, "text", 7))
    assert [one.uid for one in found.fresh] == ["abc123@google.com"]
    assert found.unreadable == 4


@pytest.mark.parametrize("damage", [
    {"organizer": "Ann"}, {"attendees": {"self": True}}, {"attendees": [None, "x"]}, {"summary": 5},
    {"iCalUID": None}, {"created": "yesterday"}, {"description": ["x"]}, {"conferenceData": 1}, {"etag": 5},
    {"start": {"dateTime": "2026-03-02T10:00:00", "timeZone": "../../etc/passwd"}}])
def test_parts_that_are_not_as_described_are_passed_over(damage: dict[str, Any]) -> None:
    assert len(read_events(answer({**EVENT, **damage})).fresh) == 1


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'{"items": 5}', b"[" * 100_000, b"\xff\xfe{"])
def test_what_is_no_answer_at_all_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(UnreadableAnswerError):
        read_events(body)
    with pytest.raises(UnreadableAnswerError):
        read_changes(body)
    with pytest.raises(UnreadableAnswerError):
        read_free_busy(body)
    with pytest.raises(UnreadableAnswerError):
        read_channel(body)


def test_changes_come_with_their_tokens() -> None:
    last = {"nextSyncToken": "next", "items": [{"id": "a", "status": "cancelled"}]}
    validator("Events").validate(last)
    found = read_changes(json.dumps(last).encode())
    assert (found.items, found.next_page, found.next_sync) == (last["items"], "", "next")
    assert read_changes(b'{"nextPageToken": "p"}').next_page == "p"


def busy(**calendars: Any) -> dict[str, bytes | str]:
    body = {"calendars": {f"{name}@Example.com": value for name, value in calendars.items()}}
    validator("FreeBusyResponse").validate(body)
    return read_free_busy(json.dumps(body).encode())


def test_a_fingerprint_tells_when_a_room_is_busy_and_nothing_else() -> None:
    nine = {"start": "2026-03-02T09:00:00Z", "end": "2026-03-02T10:00:00Z"}
    noon = {"start": "2026-03-02T12:00:00Z", "end": "2026-03-02T13:00:00Z"}
    found = busy(a={"busy": [nine, noon]}, b={"busy": [noon, nine]}, c={"busy": [nine]}, d={})
    assert found["a@example.com"] == found["b@example.com"] != found["c@example.com"] != found["d@example.com"]


def test_the_error_of_a_calendar_is_told_by_its_reason() -> None:
    found = busy(a={"errors": [{"domain": "global", "reason": "notFound"}], "busy": []})
    assert found == {"a@example.com": "notFound"}


def test_a_channel_tells_its_resource_and_end() -> None:
    channel = {"kind": "api#channel", "id": "1", "resourceId": "r", "expiration": "1772452800000"}
    validator("Channel").validate(channel)
    assert read_channel(json.dumps(channel).encode()) == ("r", utc(2026, 3, 2, 12))
    assert read_channel(b'{"resourceId": "r"}') == read_channel(b'{"resourceId": "r", "expiration": "x"}') == (
        "r", None)
    with pytest.raises(UnreadableAnswerError):
        read_channel(b'{"id": "1"}')


@pytest.mark.parametrize("token", [5, ["a"], "\ud800", "a\nb", "x" * 5000])
def test_a_token_that_cannot_be_sent_back_makes_a_page_unreadable(token: object) -> None:
    for name in ("nextPageToken", "nextSyncToken"):
        with pytest.raises(UnreadableAnswerError, match=name):
            read_changes(json.dumps({"items": [], name: token}).encode())
