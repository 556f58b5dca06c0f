"""GoogleSource against a scripted Google over real TLS, each request held against Google's description."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from otjd.gather.google import BODY, MARGIN, SHORT_BODY, TOKEN_FROM_BYTES, Memory
from otjd.gather.source import (
    BudgetSpentError,
    RoomError,
    SourceError,
    ThrottledError,
    UnauthorizedError,
    UnreachableError,
)
from otjd.meetings.model import Window
from otjd.protocol.google_calendar import quota_user
from tests.gather.google_world import ACCOUNT, NOON, ROOM, WINDOW, Asked, Tokens, World, error, event, google
from tests.outbound.servers import Certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def subjects(reading: Any) -> list[str]:
    return [one.subject for one in reading.invitations]


async def test_a_room_is_read_page_by_page(certificates: Certificates) -> None:
    async with google(certificates) as world:
        world.events, world.page_size = [event(n) for n in range(5)], 2
        reading = await world.source.read(ROOM, WINDOW, None)
        assert subjects(reading) == ["0", "1", "2", "3", "4"]
        assert (reading.unchanged, reading.requests, world.spent) == (frozenset(), 3, [1, 1, 1])
        assert {one.given["quotaUser"] for one in world.asked} == {quota_user(ROOM)}
        assert {one.given["calendarId"] for one in world.asked} == {ROOM}


async def test_short_and_empty_pages_are_followed(certificates: Certificates) -> None:
    pages: dict[str, Any] = {"": {"nextPageToken": "2", "accessRole": "reader"},
                             "2": {"items": [], "nextPageToken": "3", "accessRole": "reader"},
                             "3": {"items": [event(1)], "accessRole": "reader"}}
    async with google(certificates) as world:
        world.answer = lambda asked: (200, pages[asked.given.get("pageToken", "")])
        assert subjects(await world.source.read(ROOM, WINDOW, None)) == ["1"]


async def test_only_what_changed_is_handed_over_again(certificates: Certificates) -> None:
    async with google(certificates) as world:
        world.events = [event(1), event(2), event(3)]
        first = await world.source.read(ROOM, WINDOW, None)
        world.events = [event(1), event(2, etag='"x"'), event(4)]
        second = await world.source.read(ROOM, WINDOW, first.memory)
        assert subjects(second) == ["2", "4"]
        assert second.unchanged == {("e1@google.com", "")}


async def test_the_memory_of_a_room_holds_no_text(certificates: Certificates) -> None:
    async with google(certificates) as world:
        world.events = [event(1, summary="Secret plan", description="Confidential")]
        memory = (await world.source.read(ROOM, WINDOW, None)).memory
        assert "Secret" not in repr(memory)
        assert "Confidential" not in repr(memory)
        assert len(memory.entries) == 1


def large(world: World) -> None:
    world.events = [event(n, description="x" * TOKEN_FROM_BYTES) for n in range(3)]


async def settled(world: World) -> Memory:
    """The memory of a large room with a sync token."""
    large(world)
    memory = (await world.source.read(ROOM, WINDOW, None)).memory
    memory = (await world.source.read(ROOM, WINDOW, memory)).memory
    assert world.methods == ["whole", "first", "whole"]
    assert isinstance(memory, Memory)
    return memory


async def test_a_small_calendar_is_read_whole_each_time(certificates: Certificates) -> None:
    async with google(certificates) as world:
        world.events = [event(1)]
        memory = (await world.source.read(ROOM, WINDOW, None)).memory
        for _ in range(3):
            memory = (await world.source.read(ROOM, WINDOW, memory)).memory
        assert world.methods == ["whole"] * 4


async def test_a_large_calendar_is_asked_by_sync_token_what_changed(certificates: Certificates) -> None:
    async with google(certificates) as world:
        memory = await settled(world)
        reading = await world.source.read(ROOM, WINDOW, memory)
        assert (reading.invitations, reading.requests) == ([], 1)
        assert reading.unchanged == {(f"e{n}@google.com", "") for n in range(3)}
        assert world.methods == ["changes"]
        world.changes = [event(1, etag='"new"', summary="new"), {"id": "e2", "status": "cancelled"}, event(500)]
        changed = await world.source.read(ROOM, WINDOW, reading.memory)
        assert (subjects(changed), changed.requests) == (["new"], 1)
        assert changed.unchanged == {("e0@google.com", "")}
        same = await world.source.read(ROOM, WINDOW, changed.memory)
        assert same.unchanged == {("e0@google.com", ""), ("e1@google.com", "")}
        assert [one.given.get("syncToken") for one in world.asked] == ["sync2", "sync3"]


@pytest.mark.parametrize("change", [
    event(9, recurrence=["RRULE:FREQ=DAILY"]), event(1, id="namesake", etag='"9"'), "damaged"])
async def test_a_change_that_does_not_tell_everything_has_the_whole_read(change: Any,
                                                                         certificates: Certificates) -> None:
    async with google(certificates) as world:
        memory = await settled(world)
        world.changes = [change]
        reading = await world.source.read(ROOM, WINDOW, memory)
        assert (len(reading.unchanged), reading.requests) == (3, 2)
        assert world.methods == ["changes", "whole"]


async def test_another_role_has_the_whole_read(certificates: Certificates) -> None:
    async with google(certificates) as world:
        memory = await settled(world)
        world.role = "reader"
        reading = await world.source.read(ROOM, WINDOW, memory)
        assert (len(reading.invitations), reading.unchanged) == (3, frozenset())


async def test_exceptions_and_ends_of_a_series_need_no_whole_reading(certificates: Certificates) -> None:
    def occurrence(number: int, **changes: Any) -> dict[str, Any]:
        plain = event(number)
        return {**plain, "id": f"series_{number}", "recurringEventId": "series", "iCalUID": "series@google.com",
                "originalStartTime": plain["start"], "etag": '"1"', **changes}

    async with google(certificates) as world:
        memory = await settled(world)
        world.events += [occurrence(n) for n in (10, 34, 58)]
        world.changes = [event(10, recurrence=["RRULE:FREQ=DAILY"])]
        first = await world.source.read(ROOM, WINDOW, memory)
        assert (len(first.invitations), len(first.unchanged)) == (3, 3)
        world.changes = [occurrence(10, status="cancelled"), occurrence(34, summary="moved", etag='"2"')]
        second = await world.source.read(ROOM, WINDOW, first.memory)
        assert (subjects(second), len(second.unchanged), second.requests) == (["moved"], 4, 1)
        world.changes = [{"id": "series", "status": "cancelled"}]
        third = await world.source.read(ROOM, WINDOW, second.memory)
        assert third.unchanged == {(f"e{n}@google.com", "") for n in range(3)}
        assert third.requests == 1


async def test_what_comes_into_the_window_by_time_alone_is_read_ahead(certificates: Certificates) -> None:
    async with google(certificates) as world:
        memory = await settled(world)
        later = Window(WINDOW.start + MARGIN / 2, WINDOW.end + MARGIN / 2)
        assert (await world.source.read(ROOM, later, memory)).requests == 1
        beyond = Window(WINDOW.start + MARGIN, WINDOW.end + MARGIN)
        assert world.methods == ["changes"]
        reading = await world.source.read(ROOM, beyond, memory)
        assert world.methods == ["whole"]
        assert (await world.source.read(ROOM, beyond, reading.memory)).requests == 1


async def test_what_is_over_is_not_called_unchanged(certificates: Certificates) -> None:
    async with google(certificates) as world:
        memory = await settled(world)
        after_first = Window(NOON + timedelta(minutes=45), NOON + timedelta(days=7))
        reading = await world.source.read(ROOM, after_first, memory)
        assert reading.unchanged == {("e1@google.com", ""), ("e2@google.com", "")}


@pytest.mark.parametrize("gone", [
    error(410, "fullSyncRequired"), (410, {"error": {"code": 410, "message": "Gone"}}), (410, b"")])
async def test_a_lost_sync_token_costs_a_whole_reading_and_is_replaced_later(gone: Any,
                                                                             certificates: Certificates) -> None:
    async with google(certificates) as world:
        memory = await settled(world)
        world.faults = [gone]
        reading = await world.source.read(ROOM, WINDOW, memory)
        assert (len(reading.unchanged), reading.requests) == (3, 2)
        assert world.methods == ["changes", "whole"]
        for _ in range(10):
            reading = await world.source.read(ROOM, WINDOW, reading.memory)
        methods = world.methods
        assert methods[0] == "whole"
        assert methods.count("first") == 1
        assert methods[-1] == "changes"


async def test_a_whole_reading_that_is_gone_is_the_rooms_error(certificates: Certificates) -> None:
    async with google(certificates) as world:
        world.faults = [(410, {"error": {"code": 410, "message": "Gone"}})]
        with pytest.raises(RoomError, match="not there any more"):
            await world.source.read(ROOM, WINDOW, None)


async def test_rooms_that_lost_their_sync_tokens_together_get_new_ones_one_after_another(
        certificates: Certificates) -> None:
    rooms = [f"room{n}@resource.calendar.google.com" for n in range(12)]
    async with google(certificates) as world:
        memory = await settled(world)
        world.answer = lambda asked: (error(410, "fullSyncRequired") if "syncToken" in asked.given else
                                      world._as_google(asked))
        lost = [(await world.source.read(room, WINDOW, memory)).memory for room in rooms]
        assert len({one.reads_to_token for one in lost}) > 3
        assert not any(one.sync_token for one in lost)


@pytest.mark.parametrize("fault", [error(400, "invalid"), (200, {"items": []}),
                                   error(410, "updatedMinTooLongAgo")])
async def test_a_sync_token_that_does_not_serve_costs_no_meetings(fault: Any, certificates: Certificates) -> None:
    async with google(certificates) as world:
        memory = await settled(world)
        world.faults = [fault]
        assert len((await world.source.read(ROOM, WINDOW, memory)).unchanged) == 3
        assert world.methods == ["changes", "whole"]


async def test_pages_without_end_are_given_up(certificates: Certificates) -> None:
    async with google(certificates) as world:
        world.answer = lambda _: (200, {"accessRole": "reader", "items": [], "nextPageToken": "again"})
        with pytest.raises(RoomError, match="lower display_upcoming_meetings"):
            await world.source.read(ROOM, WINDOW, None)
        memory = Memory(is_large=True)
        world.asked.clear()
        world.answer = lambda asked: (200, {"accessRole": "reader", "nextPageToken": "again"}
                                      if "singleEvents" not in asked.given else {"accessRole": "reader"})
        assert subjects(await world.source.read(ROOM, WINDOW, memory)) == []


async def test_bodies_of_megabytes_come_a_few_at_a_time_and_are_cut(certificates: Certificates) -> None:
    async with google(certificates) as world:
        world.events = [event(n, description="x" * 3_000_000) for n in range(12)]
        reading = await world.source.read(ROOM, WINDOW, None)
        assert subjects(reading) == [str(n) for n in range(12)]
        assert {len(one.body_text) for one in reading.invitations} == {BODY}
        assert {len(one.properties["google"]["description"]) for one in reading.invitations} == {BODY}
        assert [one.given["maxResults"] for one in world.asked] == ["2500", "25", "5", "5", "5"]
        world.events = [event(1, description="x" * 40_000_000)]
        with pytest.raises(RoomError, match="one of its events is too large"):
            await world.source.read(ROOM, WINDOW, reading.memory)


async def test_when_many_bodies_are_long_the_later_ones_are_cut_shorter(
        certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otjd.gather.google.BODIES_LIMIT", 50_000)
    async with google(certificates) as world:
        world.page_size = 2
        world.events = [event(n, description="x" * 30_000) for n in range(4)]
        reading = await world.source.read(ROOM, WINDOW, None)
        assert [len(one.body_text) for one in reading.invitations] == [30_000, 30_000, SHORT_BODY, SHORT_BODY]


@pytest.mark.parametrize("role", ["none", "freeBusyReader"])
async def test_a_calendar_that_shows_nothing_but_times_is_an_error_of_the_room(role: str,
                                                                               certificates: Certificates) -> None:
    async with google(certificates) as world:
        world.role = role
        with pytest.raises(RoomError, match=rf"{ACCOUNT} may only see when {ROOM} is busy.*share it"):
            await world.source.read(ROOM, WINDOW, None)


async def test_a_server_that_does_not_tell_how_a_calendar_is_shared_is_read_all_the_same(
        certificates: Certificates) -> None:
    async with google(certificates) as world:
        world.answer = lambda _: (200, {"items": [event(1)]})
        assert subjects(await world.source.read(ROOM, WINDOW, None)) == ["1"]


async def test_private_meetings_without_details_are_told_of_once(certificates: Certificates,
                                                                 logged_events: list[dict[str, Any]]) -> None:
    async with google(certificates) as world:
        hidden = event(1, visibility="private")
        del hidden["summary"]
        world.events, world.role = [hidden], "reader"
        for _ in range(2):
            await world.source.read(ROOM, WINDOW, None)
        (said,) = [e for e in logged_events if "come without details" in (e.get("log_format") or "")]
        assert (said["room"], said["number"], said["role"]) == (ROOM, 1, "reader")


async def test_events_that_cannot_be_read_are_told_of_and_left_out(certificates: Certificates,
                                                                   logged_events: list[dict[str, Any]]) -> None:
    async with google(certificates) as world:
        world.events = [event(1), event(2, start={})]
        assert subjects(await world.source.read(ROOM, WINDOW, None)) == ["1"]
        assert [e["number"] for e in logged_events if "are left out" in (e.get("log_format") or "")] == [1]


async def test_a_refused_token_is_replaced_once(certificates: Certificates) -> None:
    tokens = Tokens()
    async with google(certificates, tokens=tokens) as world:
        world.events, world.faults = [event(1)], [error(401, "authError")]
        assert (await world.source.read(ROOM, WINDOW, None)).requests == 2
        assert [one.token for one in world.asked] == ["t1", "t2"]
        world.faults = [error(401, "authError")] * 2
        with pytest.raises(UnauthorizedError, match=f"access token of {ACCOUNT}"):
            await world.source.read(ROOM, WINDOW, None)
        assert not world.faults


async def test_a_server_that_fails_is_asked_again_after_a_while(certificates: Certificates) -> None:
    async with google(certificates) as world:
        world.events, world.faults = [event(1)], [error(500, "backendError"), (502, b"<html>Bad gateway")]
        reading = await world.patiently(world.source.read(ROOM, WINDOW, None))
        assert (subjects(reading), reading.requests, sum(world.spent)) == (["1"], 3, 3)
        assert world.clock.seconds() >= 3
        world.faults = [error(503, "backendError")] * 3
        with pytest.raises(UnreachableError, match="cannot answer at present"):
            await world.patiently(world.source.read(ROOM, WINDOW, None))


@pytest.mark.parametrize(("fault", "kind", "words"), [
    (error(404, "notFound"), RoomError, "share it with"), (error(403, "forbidden"), RoomError, "share it with"),
    (error(403, "accessNotConfigured"), UnauthorizedError, "enable it"),
    (error(403, "quotaExceeded"), ThrottledError, "usage limits"),
    ((404, b"<html>"), UnreachableError, "api_url"), ((302, b""), UnreachableError, "api_url"),
    ((200, b"<html>"), UnreachableError, "cannot be read"), ((200, b"[]"), UnreachableError, "cannot be read"),
    (error(400, "timeRangeEmpty"), UnreachableError, "refused")])
async def test_what_is_wrong_is_told_apart(fault: Any, kind: type[SourceError], words: str,
                                           certificates: Certificates) -> None:
    async with google(certificates) as world:
        world.faults = [fault]
        with pytest.raises(kind, match=words) as found:
            await world.source.read(ROOM, WINDOW, None)
        assert "t1" not in str(found.value)


async def test_patience_grows_with_every_refusal_and_ends_with_an_answer(certificates: Certificates) -> None:
    async with google(certificates) as world:
        async def asked() -> float:
            with pytest.raises(ThrottledError) as found:
                await world.source.read(ROOM, WINDOW, None)
            assert found.value.room == ""
            return float(found.value.retry_after.total_seconds())

        world.faults = [error(429, "rateLimitExceeded"), error(403, "userRateLimitExceeded"),
                        error(403, "rateLimitExceeded")]
        assert [await asked() for _ in range(3)] == [1, 2, 4]
        world.faults = [error(429, "rateLimitExceeded")] * 10
        assert [await asked() for _ in range(10)][-1] == 64
        await world.source.read(ROOM, WINDOW, None)
        world.faults = [error(429, "rateLimitExceeded")]
        assert await asked() == 1
        world.faults, world.headers = [error(429, "rateLimitExceeded")], {"Retry-After": "17"}
        assert await asked() == 17
        world.faults = [error(429, "rateLimitExceeded")]
        world.headers = {"Retry-After": "Mon, 02 Mar 2026 08:02:00 GMT", "Date": "Mon, 02 Mar 2026 08:00:00 GMT"}
        assert await asked() == 120


async def test_what_may_not_be_spent_is_not_sent(certificates: Certificates) -> None:
    async with google(certificates) as world:
        def spend(_: int) -> None:
            raise BudgetSpentError("spent")

        world.source._api._spend = spend
        with pytest.raises(BudgetSpentError):
            await world.source.read(ROOM, WINDOW, None)
        assert not world.asked


async def test_a_server_that_is_not_there_is_unreachable(certificates: Certificates) -> None:
    async with google(certificates) as world:
        world.source._api_url = "https://localhost:1/calendar/v3"
        with pytest.raises(UnreachableError, match="refused"):
            await world.source.read(ROOM, WINDOW, None)


def busy(start: str) -> dict[str, Any]:
    return {"busy": [{"start": f"2026-03-{start}:00:00Z", "end": f"2026-03-{start}:30:00Z"}]}


async def test_a_sweep_tells_rooms_apart_and_their_errors(certificates: Certificates) -> None:
    rooms = ["Free@example.com", "busy@example.com", "gone@example.com", "ill@example.com", "left@example.com"]
    async with google(certificates) as world:
        world.answer = lambda _: (200, {"calendars": {
            "free@example.com": {"busy": []}, "busy@example.com": busy("02T10"),
            "gone@example.com": {"errors": [{"domain": "global", "reason": "notFound"}]},
            "ill@example.com": {"errors": [{"domain": "global", "reason": "internalError"}]}}})
        found = await world.source.sweep(rooms, WINDOW)
        assert found.keys() == {"Free@example.com", "busy@example.com", "gone@example.com"}
        assert isinstance(found["gone@example.com"], RoomError)
        assert "share it" in str(found["gone@example.com"])
        assert found["Free@example.com"] != found["busy@example.com"]
        assert world.spent == [1]
        assert [one["id"] for one in world.asked[0].body["items"]] == rooms


async def test_a_sweep_looks_no_further_than_google_lets_it(certificates: Certificates) -> None:
    year = Window(NOON, NOON + timedelta(days=365))

    def answer(asked: Asked) -> tuple[int, Any]:
        days = int(asked.body["timeMax"][5:7]) - int(asked.body["timeMin"][5:7])
        return error(400, "timeRangeTooLong") if days > 1 else (200, {"calendars": {}})

    async with google(certificates) as world:
        world.answer = answer
        with pytest.raises(UnreachableError, match="longer than Google allows"):
            await world.source.sweep([ROOM], year)
        assert await world.source.sweep([ROOM], year) == {}


async def test_a_sweep_of_too_many_calendars_is_made_smaller(certificates: Certificates) -> None:
    rooms = [f"room{n}@example.com" for n in range(50)]
    async with google(certificates) as world:
        assert world.source.sweep_size == 50
        assert len(await world.source.sweep(rooms, WINDOW)) == 50
        world.answer = lambda _: (200, {"calendars": {room: {"errors": [
            {"domain": "global", "reason": "tooManyCalendarsRequested"}]} for room in rooms}})
        assert await world.source.sweep(rooms, WINDOW) == {}
        assert world.source.sweep_size == 25
