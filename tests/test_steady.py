"""Timers that do not follow the machine's clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock

from otjd.steady import make_steady, steady_now


@pytest.fixture
def reactor() -> Iterator[Any]:
    """A reactor of this test's own, which is not running."""
    made: Any = SelectReactor()
    yield made
    for reader in made.removeAll():
        reader.connectionLost(None)


def fired(reactor: Any, timers: list[Any]) -> list[bool]:
    reactor.runUntilCurrent()
    return [not timer.active() for timer in timers]


def test_a_clock_that_is_set_neither_holds_timers_up_nor_hurries_them(
        reactor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    make_steady(reactor)
    now = time.monotonic()
    for set_by_s in (-3600.0, 3600.0):
        with monkeypatch.context() as patched:
            patched.setattr(time, "time", lambda by_s=set_by_s, was=time.time: was() + by_s)
            assert now <= reactor.seconds() <= now + 60
            timers = [reactor.callLater(0, int), reactor.callLater(600, int)]
            assert fired(reactor, timers) == [True, False]


def test_what_was_timed_before_keeps_the_time_that_was_left_to_it(reactor: Any) -> None:
    cancelled = reactor.callLater(5, int)
    soon, late = reactor.callLater(0, int), reactor.callLater(600, int)
    reactor.timeout()  # moves timers from the new ones to the heap
    new = reactor.callLater(300, int)
    cancelled.cancel()
    make_steady(reactor)
    assert 0 <= late.getTime() - reactor.seconds() <= 600
    assert 0 <= new.getTime() - reactor.seconds() <= 300
    assert fired(reactor, [soon, late, new]) == [True, False, False]
    late.reset(0)
    assert fired(reactor, [late, new]) == [True, False]


def test_it_is_done_once(reactor: Any) -> None:
    timer = reactor.callLater(600, int)
    make_steady(reactor)
    due = timer.getTime()
    make_steady(reactor)
    assert timer.getTime() == due


def test_a_reactor_that_does_not_go_by_the_clock_stays_as_it_is() -> None:
    clock = Clock()
    make_steady(clock)
    clock.advance(1)
    assert clock.seconds() == 1


def test_a_steady_now_begins_with_the_time_of_day_and_follows_the_reactor() -> None:
    clock, times = Clock(), [datetime(2026, 3, 1, 12, tzinfo=UTC)]
    clock.advance(500)
    now = steady_now(clock, lambda: times[-1])
    times.append(times[0] - timedelta(hours=1))
    clock.advance(60)
    assert now() == times[0] + timedelta(minutes=1)
