"""The source against a server that speaks EWS and is not Microsoft's, in each point in which one has differed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from otjd.gather.exchange import BLIND_SWEEPS
from otjd.gather.source import RoomError, RoomReading
from otjd.meetings.model import CalendarItemType, Invitation, Window
from otjd.simulate.certificates import Certificates, make_certificates
from otjd.simulate.exchange_settings import OTHER_MAKE
from tests.gather.test_exchange_end_to_end import WINDOW, Gathered, reading
from tests.simulate.exchange_world import LOUNGE, NOW, ROOM, VAULT, World
from tests.simulate.exchange_world import world as simulated

OSLO = ZoneInfo("Europe/Oslo")
NEW_YORK = ZoneInfo("America/New_York")
WEEKLY = "FREQ=WEEKLY"
AROUND_SPRING = Window(datetime(2026, 3, 24, tzinfo=UTC), datetime(2026, 4, 9, tzinfo=UTC))
"""Clocks change in Oslo on 29 March."""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"), ["exchange.example.com"], NOW)


def other(certificates: Certificates, **reader: Any) -> Any:
    return reading(certificates, settings=dict(OTHER_MAKE), **reader)


def series(world: World, start: datetime, rule: str = WEEKLY, **fields: Any) -> str:
    booking = world.calendars.book(ROOM, start, start + timedelta(minutes=30), rule=rule,
                                   **{"subject": "Weekly", "body_html": "<p>sip:4711@example.com</p>", **fields})
    return str(booking.id)


def found(invitations: Iterable[Invitation], window: Window = WINDOW) -> list[tuple[Any, ...]]:
    """What overlaps a window; series are expanded a little beyond it."""
    return sorted((one.start_time, one.end_time, one.subject, one.location) for one in invitations
                  if not one.is_cancelled and window.overlaps(one.start_time, one.end_time))


def truth(world: World, window: Window = WINDOW) -> list[tuple[Any, ...]]:
    return sorted((b.start_time, b.end_time, b.subject, b.location)
                  for b in (i.booking for i in world.calendars.instances(ROOM, window)))


def mark(start: datetime) -> str:
    return start.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


async def test_a_series_that_began_long_ago_is_shown(certificates: Certificates) -> None:
    async with other(certificates) as (world, reader):
        series(world, NOW - timedelta(days=70))
        world.book(ROOM, subject="Single")
        result = await reader.read()
        assert len(truth(world)) == 2
        assert found(result.invitations) == truth(world)
        assert {one.body_html for one in result.invitations if one.subject == "Weekly"} == {
            "<p>sip:4711@example.com</p>"}


@pytest.mark.parametrize("zone", [OSLO, NEW_YORK, UTC])
async def test_a_series_keeps_its_time_of_day_when_clocks_change(certificates: Certificates, zone: Any) -> None:
    async with other(certificates) as (world, reader):
        series(world, datetime(2026, 1, 7, 9, 0, tzinfo=zone), "FREQ=WEEKLY;BYDAY=WE,FR")
        series(world, datetime(2026, 1, 12, 23, 45, tzinfo=zone), "FREQ=MONTHLY;BYDAY=-1SU", subject="Late")
        result = await reader.source.read(ROOM, AROUND_SPRING, None)
        assert len(truth(world, AROUND_SPRING)) == 6
        assert found(result.invitations, AROUND_SPRING) == truth(world, AROUND_SPRING)


@pytest.mark.parametrize("zone", [OSLO, UTC])
async def test_what_differs_and_what_was_deleted_in_a_series_counts(certificates: Certificates, zone: Any) -> None:
    async with other(certificates) as (world, reader):
        begin = datetime(2026, 2, 2, 9, 0, tzinfo=zone)
        number = series(world, begin, "FREQ=DAILY")
        days = [datetime(2026, 3, day, 9, 0, tzinfo=zone) for day in range(2, 7)]
        world.calendars.cancel_occurrence(ROOM, number, mark(days[0]))
        world.calendars.change_occurrence(ROOM, number, mark(days[1]), subject="Other", location="Lounge")
        world.calendars.change_occurrence(ROOM, number, mark(days[2]), start_time=days[2] + timedelta(hours=3),
                                          end_time=days[2] + timedelta(hours=4))
        result = await reader.read()
        assert found(result.invitations) == truth(world)
        kinds = {one.occurrence: one.item_type for one in result.invitations}
        assert kinds[mark(days[1])] is kinds[mark(days[2])] is CalendarItemType.EXCEPTION
        assert kinds[mark(days[3])] is CalendarItemType.OCCURRENCE
        assert mark(days[0]) not in kinds


async def test_an_ended_series_is_not_shown_and_one_to_come_is(certificates: Certificates) -> None:
    async with other(certificates) as (world, reader):
        series(world, NOW - timedelta(days=70), "FREQ=WEEKLY;COUNT=3", subject="Ended")
        series(world, NOW + timedelta(days=6), subject="To come")
        result = await reader.read()
        assert [one.subject for one in result.invitations] == ["To come"]


def taken(before: dict[Any, Invitation], result: RoomReading) -> dict[Any, Invitation]:
    return ({key: before[key] for key in result.unchanged}
            | {(one.uid, one.occurrence): one for one in result.invitations})


async def test_a_series_that_did_not_change_is_asked_for_once_a_day(certificates: Certificates) -> None:
    async with other(certificates) as (world, reader):
        for hour in range(12):
            series(world, NOW - timedelta(days=70, hours=hour), "FREQ=DAILY", subject=f"Series {hour}")
        first = await reader.read()
        assert first.requests == 1 + 1 + 2  # view, series, two batches
        shown = taken({}, first)
        second = await reader.read(first.memory)
        assert (second.invitations, second.requests) == ([], 2)
        shown = taken(shown, second)
        later = Window(WINDOW.start + timedelta(hours=26), WINDOW.end + timedelta(hours=26))
        third = await reader.source.read(ROOM, later, second.memory)
        assert third.requests == 4
        assert found(taken(shown, third).values(), later) == truth(world, later)


async def test_a_change_of_a_series_costs_this_series(certificates: Certificates) -> None:
    async with other(certificates) as (world, reader):
        for hour in range(12):
            number = series(world, NOW - timedelta(days=70, hours=hour), "FREQ=DAILY", subject=f"Series {hour}")
        first = await reader.read()
        world.calendars.cancel_occurrence(ROOM, number, mark(NOW - timedelta(hours=11)))
        second = await reader.read(first.memory)
        assert {one.subject for one in second.invitations} == {"Series 11"}
        assert second.requests == 3
        shown = taken(taken({}, first), second)
        assert found(shown.values()) == truth(world)
        world.calendars.cancel(ROOM, number)
        shown = taken(shown, third := await reader.read(second.memory))
        assert found(shown.values()) == truth(world)
        assert third.requests == 2


async def test_a_series_that_is_booked_later_is_noticed(certificates: Certificates) -> None:
    async with other(certificates) as (world, reader):
        first = await reader.read()
        series(world, NOW + timedelta(hours=2), "FREQ=DAILY")
        second = await reader.read(first.memory)
        assert found(second.invitations) == truth(world)
        far = Window(WINDOW.start + timedelta(days=30), WINDOW.end + timedelta(days=30))
        third = await reader.source.read(ROOM, far, second.memory)
        assert found(third.invitations, far) == truth(world, far)


async def test_exchange_itself_is_asked_for_series_until_it_has_shown_an_occurrence(
        certificates: Certificates) -> None:
    async with reading(certificates) as (world, reader):
        assert (await reader.read()).requests == 2
        assert (await reader.read({})).requests == 1
        series(world, NOW - timedelta(days=70))
        first = await reader.read()
        assert first.requests == 2
        assert found(first.invitations) == truth(world)
        assert (await reader.read(first.memory)).requests == 1
        assert (await reader.read(room=LOUNGE)).requests == 1


async def test_exchange_is_not_taken_for_another_make_by_what_lies_beyond_the_window(
        certificates: Certificates) -> None:
    async with reading(certificates) as (world, reader):
        series(world, WINDOW.end - timedelta(days=70) + timedelta(hours=2), "FREQ=WEEKLY;INTERVAL=2")
        assert truth(world) == []
        await reader.read()
        series(world, NOW - timedelta(days=14), subject="Shown")
        result = await reader.read()
        assert [one.subject for one in result.invitations] == ["Shown"]
        assert (await reader.read(result.memory)).requests == 1


async def test_a_fault_with_status_200_is_a_refusal(certificates: Certificates) -> None:
    async with other(certificates) as (world, reader):
        with pytest.raises(RoomError, match=r"vault.*ApplicationImpersonation.*\(ErrorImpersonateUserDenied\)"):
            await reader.read(room=VAULT)
        with pytest.raises(RoomError, match=r"there is no mailbox of this address.*\(ErrorCannotFindUser\)"):
            await reader.read(room="nobody@example.com")
        world.book(ROOM)
        assert len((await reader.read()).invitations) == 1


async def test_the_older_form_of_autodiscover_finds_it(certificates: Certificates) -> None:
    async with other(certificates, is_found=True) as (world, reader):
        world.server.base_url = f"https://localhost:{world.port}"
        world.book(ROOM)
        assert len((await reader.read()).invitations) == 1
        assert world.server.requests["GetUserSettings"] == 0
        with pytest.raises(RoomError, match="Autodiscover knows no such mailbox"):
            await reader.read(room="nobody@example.com")


async def seconds_until_held(one: Gathered, room: str, uid: str) -> float:
    return await one.seconds_until(lambda: uid in one.held[room])


async def test_rooms_whose_busy_times_are_not_told_are_polled(certificates: Certificates) -> None:
    async with simulated(certificates, **{**OTHER_MAKE, "event_delay_s": 1e6}) as world:
        one = Gathered(world)
        swept = await one.source.sweep([ROOM, LOUNGE], WINDOW)
        assert all("its calendar is read instead" in str(answer) for answer in swept.values())
        one.gatherer.configure(dict.fromkeys((ROOM, LOUNGE), timedelta(days=7)))
        one.gatherer.start()
        await one.seconds_until(lambda: ROOM in one.held and LOUNGE in one.held)
        for room in (ROOM, LOUNGE):
            assert await seconds_until_held(one, room, world.book(room).uid) < 60
        assert world.server.requests["GetUserAvailability"] <= BLIND_SWEEPS
        await one.close()


