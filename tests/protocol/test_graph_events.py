"""Events of Graph, read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otjd.meetings.model import CalendarItemType, FreeBusyStatus, Invitation, Organizer
from otjd.protocol.graph_events import GraphFormatError, read_delta, read_events, read_marks
from otjd.rules.properties import flat_properties
from tests.protocol.graph_answers import event, named, page, uid
from tests.protocol.graph_schema import valid_event

NINE = datetime(2026, 11, 23, 9, tzinfo=UTC)


def read(**members: Any) -> Invitation:
    ((_, invitation),) = read_events(page(valid_event(event(1, NINE, **members))), {}, 1000).changed
    return invitation


def test_an_event_becomes_an_invitation() -> None:
    assert read() == Invitation(
        uid=uid(1), start_time=NINE, end_time=NINE + timedelta(hours=1), subject="Meeting 1",
        location="Board room", body_html="<p>hello</p>", organizer=Organizer("Kim Berg", "kim@example.com"),
        properties={"graph": {"type": "singleInstance", "sensitivity": "normal"}})


@pytest.mark.parametrize(("members", "field", "value"), [
    ({"sensitivity": "private"}, "is_private", True),
    ({"sensitivity": "confidential"}, "is_private", True),
    ({"sensitivity": "personal"}, "is_private", False),
    ({"isCancelled": True}, "is_cancelled", True),
    ({"responseStatus": {"response": "declined"}}, "is_cancelled", True),
    ({"responseStatus": {"response": "notResponded"}}, "is_cancelled", False),
    ({"showAs": "free"}, "free_busy", FreeBusyStatus.FREE),
    ({"showAs": "workingElsewhere"}, "free_busy", FreeBusyStatus.FREE),
    ({"showAs": "tentative"}, "free_busy", FreeBusyStatus.TENTATIVE),
    ({"showAs": "oof"}, "free_busy", FreeBusyStatus.BUSY),
    ({"body": {"contentType": "text", "content": "plain"}}, "body_text", "plain"),
    ({"body": {"contentType": "html", "content": "x" * 5000}}, "body_html", "x" * 1000),
    ({"body": None}, "body_html", ""),
    ({"subject": None}, "subject", ""),
    ({"location": None}, "location", ""),
    ({"organizer": None}, "organizer", Organizer()),
    ({"organizer": {"emailAddress": {"name": "Ada", "address": "/O=EXCHANGELABS/OU=X/CN=RECIPIENTS/CN=ADA"}}},
     "organizer", Organizer("Ada")),
    ({"iCalUId": "abc@google.com"}, "uid", "abc@google.com"),
])
def test_members_of_an_event_are_understood(members: dict[str, Any], field: str, value: object) -> None:
    assert getattr(read(**members), field) == value


def test_occurrences_of_a_series_share_their_uid_and_are_told_apart_by_their_original_start() -> None:
    first = read(type="occurrence", seriesMasterId="m", iCalUId=uid(1, "07EA0B17"),
                 originalStart="2026-11-23T09:00:00Z")
    moved = read(type="exception", seriesMasterId="m", iCalUId=uid(1, "07EA0B1E").lower(),
                 originalStart="2026-11-30T10:00:00+01:00")
    assert first.uid == moved.uid
    assert (first.occurrence, moved.occurrence) == ("20261123T090000Z", "20261130T090000Z")
    assert (first.item_type, moved.item_type) == (CalendarItemType.OCCURRENCE, CalendarItemType.EXCEPTION)
    assert read(type="occurrence").occurrence == "20261123T090000Z"


def whole_day(zone: str | None, hour: int = 0) -> Invitation:
    day = [{"dateTime": f"2026-07-{number}T{hour:02}:00:00.0000000", "timeZone": "UTC"} for number in (20, 21)]
    return read(isAllDay=True, start=day[0], end=day[1], originalStartTimeZone=zone)


def test_a_whole_day_begins_at_midnight_where_it_was_booked() -> None:
    assert whole_day("W. Europe Standard Time").start_time == datetime(2026, 7, 19, 22, tzinfo=UTC)
    assert whole_day("Europe/Oslo").end_time == datetime(2026, 7, 20, 22, tzinfo=UTC)
    assert whole_day("W. Europe Standard Time", 22).start_time == datetime(2026, 7, 20, 22, tzinfo=UTC)
    for zone in ("UTC", "tzone://Microsoft/Utc", "tzone://Microsoft/Custom", None, "../../etc/passwd"):
        assert whole_day(zone).start_time == datetime(2026, 7, 20, tzinfo=UTC)


def test_times_in_another_zone_than_asked_for_are_understood() -> None:
    zoned = {"dateTime": "2026-07-20T09:00:00.0000000", "timeZone": "Pacific Standard Time"}
    assert read(start=zoned, end=zoned).start_time == datetime(2026, 7, 20, 16, tzinfo=UTC)


def test_rules_find_the_named_properties_and_the_links_of_online_meetings() -> None:
    extended = named(TeamsVtcConferenceId="1099123450", SkypeTeamsMeetingUrl="https://teams.microsoft.com/l/x")
    invitation = read(singleValueExtendedProperties=extended, type="occurrence", onlineMeetingUrl="https://teams/y",
                      onlineMeeting={"joinUrl": "https://teams/x", "phones": []})
    graph = invitation.properties["graph"]
    assert graph == {"singleValueExtendedProperties": extended, "onlineMeeting": {"joinUrl": "https://teams/x"},
                     "onlineMeetingUrl": "https://teams/y", "type": "occurrence", "sensitivity": "normal"}
    flat = flat_properties(invitation.properties)
    assert (flat["teams_vtc_conference_id"], flat["is_recurring"]) == ("1099123450", True)


def test_an_event_that_did_not_change_is_not_read_again() -> None:
    first, second = event(1, NINE), event(2, NINE)
    before = read_events(page(first, second), {}, 1000)
    known = {mark: (one.uid, one.occurrence) for mark, one in before.changed}
    after = read_events(page(first, event(2, NINE, version=2)), known, 1000)
    assert list(after.known.values()) == [(before.changed[0][1].uid, "")]
    assert [one.subject for _, one in after.changed] == ["Meeting 2"]
    marks = read_marks(page(first, event(2, NINE, version=2)), known)
    assert (marks.known, marks.changed) == (after.known, ((NINE, NINE + timedelta(hours=1)),))


def test_an_occurrence_that_moves_with_its_series_has_changed_even_under_the_same_change_key() -> None:
    before = read_events(page(event(1, NINE)), {}, 1000)
    known = {mark: (one.uid, one.occurrence) for mark, one in before.changed}
    assert not read_marks(page(event(1, NINE + timedelta(hours=1))), known).known


@pytest.mark.parametrize("broken", [
    {"start": None}, {"start": {"dateTime": "yesterday", "timeZone": "UTC"}}, {"end": {"dateTime": 5}},
    {"start": {"dateTime": "2026-11-23T09:00:00", "timeZone": "Mars"}}, {"iCalUId": None, "id": None}])
def test_an_event_that_cannot_be_read_costs_no_other(broken: dict[str, Any]) -> None:
    found = read_events(page(event(1, NINE, **broken), "nonsense", event(2, NINE)), {}, 1000)
    assert [one.subject for _, one in found.changed] == ["Meeting 2"]
    assert found.problems[0].startswith("'Meeting 1': ")
    assert len(read_marks(page(event(1, NINE, **broken), event(2, NINE)), {}).changed) >= 1


def test_a_meeting_never_ends_before_it_begins_and_a_series_is_no_meeting() -> None:
    early = {"dateTime": "2026-11-22T09:00:00.0000000", "timeZone": "UTC"}
    assert read(end=early).end_time == NINE
    assert read_events(page(event(1, NINE, type="seriesMaster")), {}, 1000).changed == ()


def test_links_lead_to_the_next_page_or_round() -> None:
    assert read_events(page(nextLink="https://x/1"), {}, 1).next_link == "https://x/1"
    assert read_marks(page(), {}).next_link == ""
    delta = read_delta(page({"id": "1", "@removed": {"reason": "deleted"}}, deltaLink="https://x/2"))
    assert (delta.changes, delta.delta_link, delta.next_link) == (1, "https://x/2", "")


@pytest.mark.parametrize("link", ["https://x/ü", "https://x/\n", 5, ["https://x/1"], "https://x/" + "1" * 20_000])
def test_a_link_that_cannot_be_followed_is_no_end(link: object) -> None:
    with pytest.raises(GraphFormatError, match="nextLink"):
        read_events(page(nextLink=link), {}, 1)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"value": {}}', b"[" * 100_000, b"\xff"])
def test_what_is_no_page_is_said_to_be_none(body: bytes) -> None:
    for read_page in (lambda: read_events(body, {}, 1), lambda: read_marks(body, {}), lambda: read_delta(body)):
        with pytest.raises(GraphFormatError, match="graph_api_domain"):
            read_page()


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=20),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from([*event(1, NINE), "dateTime", "timeZone", "content", "response", "value"]),
                        inner, max_size=4), max_leaves=8)


@given(st.dictionaries(st.sampled_from([*event(1, NINE), "singleValueExtendedProperties"]), JSON, max_size=4))
def test_whatever_an_event_holds_it_is_read_or_left_out(members: dict[str, Any]) -> None:
    found = read_events(page(event(1, NINE) | members, event(2, NINE)), {}, 1000)
    assert len(found.changed) + len(found.problems) >= 1
    assert found.changed[-1][1].subject == "Meeting 2"
    read_marks(page(event(1, NINE) | members), {})
