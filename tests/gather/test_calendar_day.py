"""A whole day of 500 rooms, compressed: the budget is kept to the request and no change is missed."""

from __future__ import annotations

import pytest

from otjd.gather.budget import DAY_S
from otjd.gather.source import UnreachableError
from tests.gather.day import HOUR_S, Day, most_within, quantile


def test_a_day_of_500_rooms_keeps_the_budget_and_misses_nothing() -> None:
    day = Day(500, 3_750, sweep_size=12, meetings=2)
    day.gatherer.start()
    day.schedule_changes(250, 24 * HOUR_S)
    day.run(26 * HOUR_S)
    outcome = day.end()
    assert outcome.most_in_a_day <= 3_750
    assert outcome.requests >= 0.7 * 3_750
    assert outcome.changes == 250
    seen = [late for late in outcome.late_s if late <= 1.5 * day.gatherer._planner.pace.sweep_s]
    assert len(seen) >= 0.8 * len(outcome.late_s), "what free/busy shows is known within a sweep or so"
    assert quantile(outcome.late_s, 0.5) <= day.gatherer._planner.pace.sweep_s


def test_what_no_sweep_shows_is_found_within_the_content_interval() -> None:
    day = Day(300, 60_000, sweep_size=20)
    day.gatherer.start()
    day.run(9 * HOUR_S)
    for email in day.emails[::10]:
        day.change(email, is_content_only=True)
    assert not all(map(day.is_known, day.emails))
    day.run(9 * HOUR_S + 1.5 * day.gatherer._planner.content_interval_s(9 * HOUR_S))
    assert all(map(day.is_known, day.emails))


@pytest.mark.parametrize("per_minute", [None, 40])
def test_neither_limit_is_overdrawn_by_outages_and_news(per_minute: int | None) -> None:
    day = Day(200, 10_000, sweep_size=20, per_minute=per_minute)
    day.gatherer.start()
    for turn in range(40):
        if turn % 4 == 3:
            day.source.trouble = _refuse
        else:
            day.source.trouble = lambda _: None
        for email in day.emails[turn::2]:
            day.gatherer.trigger(email)
        day.run(day.clock.seconds() + 900)
    assert most_within(day.spent, DAY_S) <= 10_000
    if per_minute:
        assert most_within(day.spent, 60) <= per_minute


def _refuse(_: str) -> None:
    raise UnreachableError("connection refused")
