"""The count of requests: never below the truth, whatever happens to the clock, the disk or the process."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from otjd.gather import budget as module
from otjd.gather.budget import DAY_S, STEP_S, Budget
from otjd.gather.source import BudgetSpentError, ThrottledError
from tests.conftest import LoggedFailures
from tests.gather.day import most_within

START = datetime(2026, 3, 2, 8, tzinfo=UTC)


def at_once(job: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    return maybeDeferred(job, *arguments)


class World:
    """Budgets that share a file and a clock, one after the other."""

    def __init__(self, path: Path | None = None, quota: int = 1000, per_minute: int | None = None) -> None:
        self.clock = Clock()
        self.wall = timedelta()
        self.path = path
        self.quota = quota
        self.per_minute = per_minute
        self.budget = self.begin()

    def begin(self) -> Budget:
        self.budget = Budget(name="m365", quota=self.quota, clock=self.clock, in_thread=at_once, path=self.path,
                             now=lambda: START + self.wall + timedelta(seconds=self.clock.seconds()),
                             per_minute=self.per_minute)
        return self.budget

    def wait(self, seconds: float) -> None:
        """Let time pass while somebody looks at the budget now and then."""
        for _ in range(int(seconds // STEP_S)):
            self.clock.advance(STEP_S)
            self.budget.left()
        self.clock.advance(seconds % STEP_S)


def test_more_than_the_quota_is_refused_and_not_counted() -> None:
    budget = World(quota=10).budget
    budget.spend(7)
    with pytest.raises(BudgetSpentError, match="7 sent, 4 more wanted"):
        budget.spend(4)
    budget.spend(3)
    assert (budget.used(), budget.left().left) == (10, 0)


def test_a_request_counts_for_a_whole_day_and_not_much_longer() -> None:
    world = World(quota=10)
    world.budget.spend(10)
    world.wait(DAY_S)
    assert world.budget.used() == 10
    world.wait(STEP_S)
    assert world.budget.used() == 0


def test_the_limit_of_a_minute_asks_for_patience_alone() -> None:
    world = World(quota=1000, per_minute=5)
    world.budget.spend(5)
    with pytest.raises(ThrottledError):
        world.budget.spend(1)
    assert world.budget.left().now == 0
    world.clock.advance(61)
    assert world.budget.left().now == 5


@given(st.lists(st.tuples(st.floats(0, 7200), st.integers(1, 400)), max_size=60))
def test_no_span_of_24_hours_holds_more_than_the_quota(asked: list[tuple[float, int]]) -> None:
    world = World(quota=1000)
    spent = []
    for pause_s, requests in asked:
        world.wait(pause_s)
        try:
            world.budget.spend(requests)
        except BudgetSpentError:
            continue
        spent.append((world.clock.seconds(), requests))
    assert most_within(spent, DAY_S) <= 1000


def test_a_clock_that_is_set_forward_or_back_frees_nothing_early() -> None:
    world = World(quota=10)
    world.budget.spend(10)
    world.clock.advance(DAY_S + STEP_S)  # at once: the clock was set, nobody waited
    assert world.budget.used() == 10
    world.clock.rightNow = 0.0
    world.wait(DAY_S / 2)
    assert world.budget.used() == 10


async def test_a_restart_does_not_refill_it(tmp_path: Path) -> None:
    world = World(tmp_path / "state" / "m365.json")
    await world.budget.load()
    world.budget.spend(600)
    await world.budget.close()
    world.clock.advance(3600)
    await world.begin().load()
    assert world.budget.used() == 600
    world.wait(DAY_S - 3600 + STEP_S)
    assert world.budget.used() == 0
    assert world.path is not None
    assert world.path.stat().st_mode & 0o777 == 0o600


async def test_what_a_killed_process_sent_is_counted_whenever_it_was_killed(tmp_path: Path) -> None:
    world = World(tmp_path / "m365.json", quota=100_000)
    chance = random.Random(7)  # noqa: S311 - chance, not secrecy
    sent = 0
    for _ in range(30):
        await world.begin().load()
        assert world.budget.used() >= sent
        for _ in range(chance.randrange(400)):
            world.budget.spend(1)
            sent += 1
            world.clock.advance(chance.choice((0, 0.01, 1)))
    assert world.begin().used() == 0
    await world.budget.load()
    assert sent <= world.budget.used() <= sent + 31 * 100


async def test_the_file_is_written_every_few_seconds_at_most(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(module, "_write", lambda _, content: written.append(content))
    world = World(tmp_path / "m365.json", quota=1_000_000)
    await world.budget.load()
    for _ in range(600):
        world.budget.spend(1)
        world.clock.advance(0.1)
    assert 10 <= len(written) <= 14


@pytest.mark.parametrize("content", [
    b"", b"[]", b'{"version": 2}', b'{"version": 1, "saved_at": "2026-03-02T08:00:00", "sent": []}',
    b'{"version": 1, "saved_at": "2026-03-02T08:00:00+00:00", "sent": [[NaN, 5]]}',
    b'{"version": 1, "saved_at": "2026-03-02T08:00:00+00:00", "sent": [[0, -5]]}',
    b'{"version": 1, "saved_at": "2026-03-02T08:00:00+00:00", "sent": [[0, 1e999]]}', b"[" * 100_000,
    b'{"version": 1, "saved_at": "2026-03-02T08:00:00+00:00", "sent": 3}'])
async def test_an_unreadable_file_counts_as_a_part_of_the_quota(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m365.json"
    path.write_bytes(content)
    world = World(path)
    await world.budget.load()
    assert world.budget.used() == 250
    assert json.loads(path.read_bytes())["version"] == 1


async def test_a_disk_that_fails_is_told_once_and_stops_nothing(
        tmp_path: Path, logged_failures: LoggedFailures) -> None:
    (tmp_path / "file").write_bytes(b"")
    world = World(tmp_path / "file" / "m365.json")
    with pytest.raises(NotADirectoryError):
        (tmp_path / "file" / "m365.json").read_bytes()
    await world.budget.load()
    for _ in range(20):
        world.budget.spend(1)
        world.clock.advance(6)
    assert world.budget.used() >= 20
    (told,) = logged_failures.flush()
    assert "node.state_dir" in told["log_format"]


def test_another_quota_after_a_reload_keeps_what_was_sent() -> None:
    world = World(quota=10)
    world.budget.spend(10)
    world.budget.configure(20, 5)
    world.wait(61)
    assert world.budget.left().left == 10
    assert world.budget.left().now == 5
