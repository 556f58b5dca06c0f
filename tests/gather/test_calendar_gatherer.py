"""The gatherer of a calendar system, over a scripted one; the clock is the test's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred

from otjd.gather.intake import Intake, ProfileRules
from otjd.gather.source import (
    BudgetSpentError,
    Occurrence,
    RoomError,
    ThrottledError,
    UnauthorizedError,
    UnreachableError,
)
from otjd.meetings.cache import Freshness, MeetingCache
from otjd.meetings.model import Invitation, Room
from otjd.meetings.presentation import Policy
from otjd.operate.board import IntegrationState, IntegrationStatus, RoomReport
from otjd.rules.engine import Engine
from otjd.seam import deferred
from tests.conftest import LoggedFailures
from tests.gather.day import AHEAD, HOUR_S, NAME, Day, most_within

FIRST, SECOND = "room0@example.com", "room1@example.com"


def started(rooms: int = 5, quota: int = 1_000_000, **options: Any) -> Day:
    day = Day(rooms, quota, **options)
    day.gatherer.start()
    return day


def after(day: Day, seconds: float) -> None:
    day.run(day.clock.seconds() + seconds)


def status(day: Day) -> IntegrationStatus:
    (found,) = day.board.integrations()
    return found


def alarms(day: Day) -> set[tuple[str, str]]:
    return {(a.name.value, a.instance) for a in day.board.alarms()}


def report(day: Day, email: str) -> RoomReport:
    return day.board.room_reports()[email]


def answering(day: Day, error: Exception, *rooms: str) -> None:
    """Answer these rooms, or all where none is named, with an error."""
    def trouble(room: str) -> None:
        if not rooms or room in rooms:
            raise error

    day.source.trouble = trouble


def healed(day: Day) -> None:
    day.source.trouble = lambda _: None


def asked(day: Day, room: str = "") -> int:
    """How often was asked since the last question."""
    found = sum(not room or one == room for _, one in day.source.asked)
    day.source.asked.clear()
    return found


def test_every_room_is_read_every_30_seconds_and_changes_are_delivered() -> None:
    day = started()
    after(day, 31)
    assert all(map(day.is_known, day.emails))
    day.change(FIRST, is_content_only=True)
    after(day, 31)
    assert day.is_known(FIRST)
    assert status(day).state is IntegrationState.OK
    assert (status(day).sweep_interval_s, status(day).content_interval_s) == (30, 30)
    assert status(day).requests_last_24h == day.source.reads
    assert report(day, FIRST).detector == "poll"
    assert report(day, FIRST).requests_last_24h == asked(day, FIRST)
    assert alarms(day) == set()


def test_one_read_at_a_time_and_news_during_it_makes_one_more() -> None:
    day = Day(1, 1_000_000)
    day.source.latency_s = lambda: 10.0
    day.gatherer.start()
    after(day, 1)
    for _ in range(5):
        day.gatherer.trigger("Room0@Example.com ")
    after(day, 8)
    assert asked(day) == 1
    after(day, 3)
    assert asked(day) == 1
    after(day, 10)
    assert asked(day) == 0


def test_no_more_is_asked_at_the_same_time_than_allowed() -> None:
    day = started(150)
    running = Counter[str]()
    most = 0
    read = day.source.read

    async def counted(*arguments: Any) -> Any:
        nonlocal most
        running["now"] += 1
        most = max(most, running["now"])
        try:
            return await read(*arguments)
        finally:
            running["now"] -= 1

    day.source.read = counted  # type: ignore[method-assign, assignment]
    day.source.latency_s = lambda: 20.0
    after(day, 120)
    assert most == 16


def test_one_failing_room_costs_no_other() -> None:
    day = started()
    after(day, 60)
    answering(day, RoomError("room0@example.com: no such mailbox"), FIRST)
    after(day, 31)
    assert alarms(day) == {("otj_graph_gatherer_error", FIRST)}
    assert day.failed == {}, "known meetings are stale after three attempts, not after one"
    after(day, 120)
    assert day.failed == {FIRST: "room0@example.com: no such mailbox"}
    assert status(day).state is IntegrationState.DEGRADED
    assert report(day, FIRST).last_error == "room0@example.com: no such mailbox"
    asked(day)
    after(day, 600)
    assert asked(day, FIRST) <= 3
    after(day, 300)
    assert asked(day, SECOND) == 10
    healed(day)
    after(day, 3700)
    assert (alarms(day), status(day).state) == (set(), IntegrationState.OK)
    assert report(day, FIRST).last_error is None


def test_a_room_that_was_never_read_is_told_of_at_once() -> None:
    day = Day(2, 1_000_000)
    answering(day, RoomError("not shared"), FIRST)
    day.gatherer.start()
    after(day, 2)
    assert day.failed == {FIRST: "not shared"}


def test_an_alarm_does_not_wait_for_the_next_read() -> None:
    day = Day(2, 1_000_000)
    answering(day, RoomError("not shared"), FIRST)
    day.gatherer.start()
    after(day, 3)
    assert alarms(day) == {("otj_graph_gatherer_error", FIRST)}
    assert status(day).state is IntegrationState.DEGRADED


def test_an_integration_that_is_down_is_probed_gently_and_read_back_when_it_returns() -> None:
    day = started(100)
    after(day, 300)
    answering(day, UnreachableError("connection refused"))
    after(day, 60)
    assert status(day).state is IntegrationState.FAILED
    assert status(day).last_error == "connection refused"
    assert alarms(day) == {("otj_graph_gatherer_error", NAME)}
    assert day.failed == {}
    asked(day)
    after(day, 600)
    assert asked(day) <= 12
    assert set(day.failed) == set(day.emails)
    healed(day)
    day.delivered.clear()
    after(day, 90)
    assert set(day.delivered) == set(day.emails)
    assert (alarms(day), status(day).state) == (set(), IntegrationState.OK)


def test_rooms_are_read_back_in_order_of_their_next_meeting() -> None:
    day = started(400, 50_000)
    day.offset = timedelta(hours=6)
    day.run(HOUR_S)
    answering(day, UnreachableError("connection refused"))
    after(day, 1200)
    day.delivered.clear()
    healed(day)
    after(day, 75)
    now = day.now()
    starts = {email: min((i.start_time for i in day.held[email].values() if i.start_time > now), default=now)
              for email in day.emails}
    order = [(starts[email] - now).total_seconds() for email in list(dict.fromkeys(day.delivered))]
    assert len(order) == 400
    half = len(order) // 2
    assert sum(order[:half]) < sum(order[half:])


def test_a_refused_sign_in_is_not_tried_again_until_a_reload() -> None:
    day = started(20)
    after(day, 60)
    answering(day, UnauthorizedError("the password was refused"))
    after(day, 40)
    assert ("otj_integration_unauthorized", NAME) in alarms(day)
    assert status(day).state is IntegrationState.UNAUTHORIZED
    asked(day)
    after(day, 1500)
    assert asked(day) == 0
    assert set(day.failed) == set(day.emails)
    after(day, 600)
    assert asked(day) == 1, "one probe after half an hour"
    healed(day)
    day.gatherer.refresh()
    after(day, 60)
    assert (alarms(day), status(day).state) == (set(), IntegrationState.OK)


def test_a_sign_in_that_a_person_makes_is_found_within_half_a_minute() -> None:
    day = Day(20, 1_000_000)
    missing = UnauthorizedError("nobody has signed in yet")
    missing.is_looked_for = True
    answering(day, missing)
    day.gatherer.start()
    after(day, 600)
    assert status(day).state is IntegrationState.UNAUTHORIZED
    healed(day)
    after(day, 30)
    assert (alarms(day), status(day).state) == (set(), IntegrationState.OK)


def test_a_throttled_room_waits_alone_and_a_throttled_integration_as_a_whole() -> None:
    day = started(10)
    after(day, 60)
    answering(day, ThrottledError("patience", timedelta(seconds=200), FIRST), FIRST)
    after(day, 150)
    assert asked(day, FIRST) <= 4
    assert status(day).state is IntegrationState.OK
    answering(day, ThrottledError("patience", timedelta(seconds=200)))
    after(day, 40)
    assert status(day).state is IntegrationState.DEGRADED
    asked(day)
    after(day, 150)
    assert asked(day) == 0
    healed(day)
    after(day, 60)
    assert asked(day) > 0
    assert status(day).state is IntegrationState.OK


def test_a_spent_budget_raises_an_alarm_and_stops_asking() -> None:
    day = started(3, 10_000)
    after(day, 60)
    day.budget.configure(day.budget.used())
    day.gatherer.trigger(FIRST)
    after(day, 300)
    assert alarms(day) >= {("otj_quota_exceeded", NAME)}
    used = day.budget.used()
    answering(day, BudgetSpentError("spent"))
    after(day, 600)
    assert day.budget.used() == used
    assert set(day.failed) == set(day.emails)
    healed(day)
    day.budget.configure(10_000)
    after(day, 120)
    assert alarms(day) == set()


def test_a_quota_that_is_too_small_for_what_is_soon_raises_an_alarm() -> None:
    day = started(600, 10_000, sweep_size=100)
    day.offset = timedelta(hours=9)
    day.run(2 * HOUR_S)
    (alarm,) = [a for a in day.board.alarms() if a.name == "otj_quota_exceeded"]
    assert "10000 requests in 24 hours are too few for 600 rooms" in alarm.details


def test_a_question_without_an_answer_is_given_up(logged_failures: LoggedFailures) -> None:
    day = started(2)
    after(day, 40)
    stalled: list[Deferred[Any]] = []
    read = day.source.read

    async def stalling(room: str, *arguments: Any) -> Any:
        if room == FIRST:
            stalled.append(Deferred())
            await stalled[-1]
        return await read(room, *arguments)

    day.source.read = stalling  # type: ignore[method-assign, assignment]
    after(day, 215)
    assert report(day, FIRST).last_error == "No answer within 180 seconds"
    assert report(day, SECOND).last_error is None


def test_a_bug_in_what_takes_a_reading_costs_that_room_alone(logged_failures: LoggedFailures) -> None:
    day = Day(3, 1_000_000)
    deliver = day.gatherer._deliver

    async def broken(email: str, invitations: Sequence[Invitation], unchanged: frozenset[Occurrence]) -> None:
        if email == FIRST:
            raise ZeroDivisionError
        await deliver(email, invitations, unchanged)

    day.gatherer._deliver = broken
    day.gatherer.start()
    after(day, 40)
    assert logged_failures.flush(ZeroDivisionError)
    assert set(day.delivered) == {SECOND, "room2@example.com"}
    assert set(day.failed) == {FIRST}


def test_a_refresh_reads_every_calendar_whole() -> None:
    day = started(3)
    after(day, 60)
    taken: list[tuple[str, int, int]] = []

    async def deliver(email: str, invitations: Sequence[Invitation], unchanged: frozenset[Occurrence]) -> None:
        taken.append((email, len(invitations), len(unchanged)))

    day.gatherer._deliver = deliver
    day.gatherer.trigger(FIRST)
    after(day, 0.01)  # a read is under way
    day.gatherer.refresh()
    after(day, 8)
    whole = {email for email, invitations, unchanged in taken if invitations and not unchanged}
    assert whole == set(day.emails)


def test_rooms_may_come_and_go_while_they_are_read() -> None:
    day = started(3)
    after(day, 0.02)
    day.gatherer.configure({FIRST: AHEAD})
    assert day.source.watched == (FIRST,)
    after(day, 40)
    day.delivered.clear()
    after(day, 40)
    assert set(day.delivered) == {FIRST}
    day.gatherer.configure(dict.fromkeys(day.emails, AHEAD))
    after(day, 40)
    assert set(day.delivered) == set(day.emails)


def test_stop_gives_up_what_is_under_way() -> None:
    day = started(3)
    day.source.latency_s = lambda: 100.0
    after(day, 1)
    stopped = deferred(day.gatherer.stop())
    day.run(day.clock.seconds() + 0.1)
    assert stopped.called
    assert day.source.is_stopped
    after(day, 300)
    assert day.delivered == []


def test_news_is_read_at_once_where_it_comes_by_itself() -> None:
    day = started(300, 100_000, sweep_size=20)
    day.source.told.update(day.emails)
    after(day, 600)
    day.change(FIRST, is_content_only=True)
    day.source.changed(FIRST)
    after(day, 1)
    assert day.is_known(FIRST)
    after(day, 1000)
    assert report(day, FIRST).detector == "push"


def test_failing_sweeps_are_told_of_and_reads_go_on() -> None:
    day = Day(500, 100_000, sweep_size=20)
    answering(day, UnreachableError("free/busy is not shared"), "")
    day.gatherer.start()
    after(day, 900)
    assert status(day).state is IntegrationState.DEGRADED
    assert "free/busy is not shared" in (status(day).last_error or "")
    assert all(map(day.is_known, day.emails))


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1)])
def test_a_clock_that_is_set_neither_bursts_nor_stalls(jump: timedelta) -> None:
    day = started(200, 40_000, sweep_size=20)
    day.offset = timedelta(hours=9)
    day.run(HOUR_S)
    before = len(day.spent)
    after(day, 1200)
    usual = len(day.spent) - before
    day.offset += jump
    before = len(day.spent)
    after(day, 1200)
    assert 0.5 * usual <= len(day.spent) - before <= 2 * usual + 200
    assert most_within(day.spent[before:], 60) <= 100


def at_once(job: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    return maybeDeferred(job, *arguments)


def test_bodies_need_not_be_kept_to_keep_meetings() -> None:
    """The whole way into the cache, with two profiles of which one looks less far ahead."""
    day = Day(1, 1_000_000, meetings=0)
    cache = MeetingCache()
    near, far = Room(FIRST, "near"), Room(FIRST, "far")
    cache.configure({near: timedelta(hours=4), far: AHEAD})
    intake = Intake(cache, now=day.now, in_thread=at_once)
    rules = ProfileRules(NAME, Policy(), Engine([], clock=lambda: 0.0))
    intake.configure({"near": rules, "far": rules})

    async def deliver(email: str, invitations: Sequence[Invitation], unchanged: frozenset[Occurrence]) -> None:
        await intake.deliver(NAME, email, invitations, unchanged)

    day.gatherer._deliver = deliver
    day.gatherer._upcoming = lambda email: intake.upcoming(NAME, email)
    day.book(FIRST, 2 * HOUR_S)
    day.book(FIRST, 8 * HOUR_S)
    day.gatherer.start()
    after(day, 60)

    def starts(room: Room) -> list[datetime]:
        return [m.start_time for m in cache.agenda(room).meetings]

    assert len(starts(near)) == 1
    assert len(starts(far)) == 2
    day.run(5 * HOUR_S)
    assert len(starts(near)) == 2, "it was delivered once, when the profile did not look that far"
    assert cache.agenda(near).freshness is Freshness.FRESH
