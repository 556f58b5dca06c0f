"""Rooms read from Graph: what is asked for, and what comes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_twisted

from otjd.gather import graph_client, graph_reading
from otjd.gather.source import RoomError, RoomReading, UnreachableError
from otjd.meetings.model import Window
from tests.gather.graph_world import NOW, ROOM, WINDOW, World, calendar, error, world
from tests.outbound.servers import Certificates
from tests.protocol.graph_answers import event, named


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest_twisted.async_yield_fixture  # type: ignore[untyped-decorator]
async def here(certificates: Certificates) -> AsyncIterator[World]:
    async with world(certificates) as found:
        yield found


def subjects(reading: RoomReading) -> list[str]:
    return sorted(one.subject for one in reading.invitations)


def fill(here: World, events: int) -> None:
    here.graph.rooms[ROOM] = calendar(
        event(number, NOW + timedelta(minutes=5 * number)) for number in range(events))


async def test_a_first_reading_takes_all_pages_with_bodies_and_properties(here: World) -> None:
    fill(here, 120)
    here.graph.rooms[ROOM]["AAkALg7="]["singleValueExtendedProperties"] = named(TeamsVtcConferenceId="109")
    reading = await here.source.read(ROOM, WINDOW, None)
    assert here.asked() == ["events"] * 3
    assert (len(reading.invitations), reading.requests, here.spent) == (120, 3, 3)
    assert reading.invitations[7].properties["graph"]["singleValueExtendedProperties"][0]["value"] == "109"
    assert all(one.body_html == "<p>hello</p>" for one in reading.invitations)


async def test_where_nothing_changed_one_request_without_bodies_does(here: World) -> None:
    fill(here, 120)
    first = await here.source.read(ROOM, WINDOW, None)
    here.asked()
    second = await here.source.read(ROOM, WINDOW, first.memory)
    assert here.asked() == ["marks"]
    assert (second.invitations, second.requests) == ([], 1)
    assert second.unchanged == {(one.uid, one.occurrence) for one in first.invitations}
    assert "hello" not in repr(second.memory)


async def test_of_a_changed_room_the_span_of_the_changes_is_read(here: World) -> None:
    fill(here, 120)
    first = await here.source.read(ROOM, WINDOW, None)
    room = here.graph.rooms[ROOM]
    room["AAkALg50="] = event(50, NOW + timedelta(minutes=250), version=2, subject="Changed")
    room["new"] = event(999, NOW + timedelta(minutes=260), subject="New", id="new")
    del room["AAkALg3="]
    here.asked()
    second = await here.source.read(ROOM, WINDOW, first.memory)
    assert here.asked() == ["marks", "events"]
    assert subjects(second) == ["Changed", "New"]
    assert len(second.unchanged) == 118
    third = await here.source.read(ROOM, WINDOW, second.memory)
    assert (len(third.invitations), len(third.unchanged)) == (0, 120)


async def test_an_event_that_changes_while_it_is_read_is_taken_as_it_is_in_the_end(here: World) -> None:
    fill(here, 3)
    first = await here.source.read(ROOM, WINDOW, None)
    room = here.graph.rooms[ROOM]
    room["AAkALg0="] = event(0, NOW, version=2)

    def between(kind: str) -> None:
        if kind == "marks":
            room["AAkALg1="] = event(1, NOW + timedelta(minutes=5), version=2, subject="Later")

    here.graph.fault = between
    second = await here.source.read(ROOM, WINDOW, first.memory)
    assert subjects(second) == ["Later", "Meeting 0"]
    assert len(second.unchanged) == 1


async def test_a_meeting_without_length_at_the_end_of_the_changes_is_found(here: World) -> None:
    fill(here, 1)
    first = await here.source.read(ROOM, WINDOW, None)
    short = event(5, NOW + timedelta(hours=3), subject="Short")
    short["end"] = short["start"]
    here.graph.rooms[ROOM]["short"] = short
    assert subjects(await here.source.read(ROOM, WINDOW, first.memory)) == ["Short"]


async def test_two_events_of_the_same_identity_do_not_keep_a_room_busy(here: World) -> None:
    fill(here, 1)
    here.graph.rooms[ROOM]["copy"] = event(0, NOW, id="copy")
    first = await here.source.read(ROOM, WINDOW, None)
    here.asked()
    second = await here.source.read(ROOM, WINDOW, first.memory)
    assert (here.asked(), second.invitations, len(second.unchanged)) == (["marks"], [], 1)


async def test_answers_that_are_too_large_are_asked_for_in_smaller_pages(
        here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_client, "ANSWER_LIMIT", 300_000)
    fill(here, 10)
    for one in here.graph.rooms[ROOM].values():
        one["body"]["content"] = "x" * 50_000
    first = await here.source.read(ROOM, WINDOW, None)
    assert (here.asked(), len(first.invitations)) == (["events"] * 3, 10)
    here.graph.rooms[ROOM]["AAkALg0="]["changeKey"] = "another"
    second = await here.source.read(ROOM, WINDOW, first.memory)
    assert (second.requests, len(second.invitations)) == (3, 1)
    here.graph.rooms[ROOM]["AAkALg0="]["body"]["content"] = "x" * 400_000
    with pytest.raises(RoomError, match="one of its events is too large"):
        await here.source.read(ROOM, WINDOW, None)


async def test_long_bodies_are_cut_and_many_of_them_more_so(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_reading, "HTML_LIMIT", 50_000)
    monkeypatch.setattr(graph_reading, "BODIES_LIMIT", 500_000)
    monkeypatch.setattr(graph_reading, "LARGE", 1000)
    fill(here, 60)
    for one in here.graph.rooms[ROOM].values():
        one["body"]["content"] = "x" * 60_000
    reading = await here.source.read(ROOM, WINDOW, None)
    assert {len(one.body_html) for one in reading.invitations} == {50_001, 20_000}


async def test_large_answers_are_read_in_a_thread(here: World) -> None:
    fill(here, 2)
    here.graph.rooms[ROOM]["AAkALg0="]["body"]["content"] = "x" * 200_000
    assert len((await here.source.read(ROOM, WINDOW, None)).invitations) == 2


async def test_an_event_that_cannot_be_read_is_left_out_and_named_in_the_log(
        here: World, logged_events: list[dict[str, Any]]) -> None:
    fill(here, 2)
    here.graph.rooms[ROOM]["AAkALg0="] |= {"iCalUId": None, "id": ""}
    assert subjects(await here.source.read(ROOM, WINDOW, None)) == ["Meeting 1"]
    assert [one["problem"] for one in logged_events if "problem" in one] == [
        "'Meeting 0': it has neither iCalUId nor id"]


@pytest.mark.parametrize("link", ["https://elsewhere.example/v1.0/users/x", "http://localhost/v1.0/x"])
async def test_links_that_lead_elsewhere_are_not_followed(here: World, link: str) -> None:
    here.graph.fault = lambda _: (200, {}, {"value": [], "@odata.nextLink": link})
    with pytest.raises(UnreachableError, match="leads elsewhere"):
        await here.source.read(ROOM, WINDOW, None)
    assert here.asked() == ["events"]


async def test_pages_without_end_are_given_up(here: World) -> None:
    here.graph.fault = lambda _: (200, {}, {"value": [], "@odata.nextLink": (
        f"{here.api.base}/users/x/calendarView?startDateTime=1&endDateTime=2&$skip=1")})
    with pytest.raises(RoomError, match="display_upcoming_meetings"):
        await here.source.read(ROOM, WINDOW, None)
    assert len(here.asked()) == 2


async def large(here: World) -> RoomReading:
    """A room with more events than a page of marks, read for the first time."""
    fill(here, 502)
    first = await here.source.read(ROOM, WINDOW, None)
    here.asked()
    return first


async def test_a_large_room_is_watched_by_delta(here: World) -> None:
    second = await here.source.read(ROOM, WINDOW, (await large(here)).memory)
    assert here.asked() == ["delta", "marks", "marks"]
    third = await here.source.read(ROOM, WINDOW, second.memory)
    (asked,) = here.asked()
    assert asked.startswith("delta ")
    assert (third.invitations, len(third.unchanged), third.requests) == ([], 502, 1)
    here.graph.rooms[ROOM]["AAkALg7="] = event(7, NOW + timedelta(minutes=35), version=2, subject="Changed")
    here.graph.changes = 1
    fourth = await here.source.read(ROOM, WINDOW, third.memory)
    assert [one.partition(" ")[0] for one in here.asked()] == ["delta", "marks", "marks", "events"]
    assert (subjects(fourth), len(fourth.unchanged)) == (["Changed"], 501)


async def test_delta_begins_anew_when_its_window_is_left_or_its_state_is_lost(here: World) -> None:
    second = await here.source.read(ROOM, WINDOW, (await large(here)).memory)
    here.asked()
    later = Window(WINDOW.start, WINDOW.end + timedelta(days=2))
    third = await here.source.read(ROOM, later, second.memory)
    assert here.asked() == ["delta", "marks", "marks"]
    here.graph.fault = lambda kind: error(410, "SyncStateNotFound") if kind.startswith("delta ") else None
    await here.source.read(ROOM, later, third.memory)
    assert [one.partition(" ")[0] for one in here.asked()] == ["delta", "delta", "marks", "marks"]


async def test_a_graph_without_delta_is_asked_for_marks(here: World) -> None:
    memory = (await large(here)).memory
    here.graph.fault = lambda kind: error(400, "BadRequest") if kind.startswith("delta") else None
    for expected in (["delta", "marks", "marks"], ["marks", "marks"]):
        memory = (await here.source.read(ROOM, WINDOW, memory)).memory
        assert here.asked() == expected


async def test_changes_without_end_are_given_up(here: World) -> None:
    memory = (await large(here)).memory
    page = {"value": [], "@odata.nextLink": f"{here.api.base}/users/x/calendarView/delta?$skiptoken=1"}
    here.graph.fault = lambda kind: (200, {}, page) if kind.startswith("delta") else None
    reading = await here.source.read(ROOM, WINDOW, memory)
    assert here.asked().count("delta") == graph_reading.DELTA_PAGES_LIMIT
    assert len(reading.unchanged) == 502
    here.asked()
    assert (await here.source.read(ROOM, WINDOW, reading.memory)).requests == 2
    assert here.asked() == ["marks", "marks"]
