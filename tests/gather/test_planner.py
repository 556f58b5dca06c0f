"""The planner alone: what it asks, in which order, and that it keeps to the budget whatever happens."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otjd.gather.pace import DAY_S, FIRST_PER_S, Costs, pace
from otjd.gather.planner import Planner
from otjd.gather.questions import Left, Plan, Reason

HOUR_S = 3600.0
TODAY_S = 1_772_000_000.0
NO_SWEEPS = Costs(0, 1, 1)
PLENTY = 1_000_000


class World:
    """A planner whose questions are answered at once, under a time that the test sets."""

    def __init__(self, rooms: int, quota: int = PLENTY, costs: Costs = NO_SWEEPS) -> None:
        self.at = 0.0
        self.step_s = 0.0
        self.quota, self.costs = quota, costs
        self.used = self.in_all = 0
        self.per_minute: int | None = None
        self.told: set[str] = set()
        self.fingerprints: dict[str, bytes | None] = defaultdict(lambda: b"busy")
        self.planner = Planner(is_told_of=self.told.__contains__, jitter=lambda: 0.0)
        self.emails = [f"room{n:04}" for n in range(rooms)]
        self.starts: dict[str, list[float]] = {email: [] for email in self.emails}
        self.planner.configure(self.starts)
        self.asked: list[tuple[float, str, Reason]] = []
        self.read_at: dict[str, list[float]] = defaultdict(list)
        self.swept: list[tuple[float, tuple[str, ...]]] = []
        self.broken: set[str] = set()

    def meet(self, email: str, *in_s: float) -> None:
        """Meetings that start in so many seconds from the beginning."""
        self.starts[email] = sorted([*self.starts[email], *(TODAY_S + s for s in in_s)])
        self.planner.rooms[email].starts = self.starts[email]

    def plan(self, free: int = 100) -> Plan:
        return self.planner.plan(self.at, TODAY_S + self.at + self.step_s,
                                 Left(self.quota, self.used, self.per_minute, self.in_all), self.costs, free)

    def look(self, free: int = 100) -> float:
        plan = self.plan(free)
        for sweep in plan.sweeps:
            self.spend(self.costs.sweep_cost)
            self.swept.append((self.at, sweep.rooms))
            self.planner.was_swept(self.at, self.at, "window", {e: self.fingerprints[e] for e in sweep.rooms})
        for read in plan.reads:
            self.spend(self.costs.read_cost)
            self.asked.append((self.at, read.room, read.reason))
            self.read_at[read.room].append(self.at)
            if read.room in self.broken:
                self.planner.was_not_read(read.room, self.at)
            else:
                self.planner.was_read(read.room, starts=self.starts[read.room], has_news=False)
        return plan.look_again_s

    def spend(self, requests: int) -> None:
        self.used += requests
        self.in_all += requests

    def run(self, seconds: float) -> None:
        until = self.at + seconds
        while self.at < until:
            self.at += self.look()

    def times(self, email: str) -> list[float]:
        return self.read_at[email]


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(times)]


def test_a_small_installation_reads_every_room_every_30_seconds() -> None:
    world = World(170)
    world.run(HOUR_S)
    assert not world.swept
    for email in world.emails:
        first, *others = gaps(world.times(email))
        assert first <= 51  # the first round is faster than the second
        assert max(others) <= 31
        assert min(first, *others) >= 29.9


@pytest.mark.parametrize(("size", "sweep_s", "in_turn_s"), [(50, 15.0, 787), (20, 34.6, 864), (100, 15.0, 516)])
def test_the_pace_of_4000_rooms_is_that_of_the_arithmetic(size: int, sweep_s: float, in_turn_s: int) -> None:
    found = pace(4000, PLENTY, Costs(size, 1, 1))
    assert found.sweep_s == pytest.approx(sweep_s, rel=0.01)
    assert 4000 / found.reads_per_s == pytest.approx(in_turn_s, rel=0.01)


@given(st.integers(1, 20_000), st.integers(10_000, 10_000_000), st.integers(0, 100), st.integers(1, 5),
       st.integers(1, 5))
def test_no_pace_is_more_than_the_budget(
        rooms: int, quota: int, size: int, sweep_cost: int, read_cost: int) -> None:
    found = pace(rooms, quota, Costs(size, sweep_cost, read_cost))
    sweeps = math.ceil(rooms / size) * sweep_cost / found.sweep_s if found.sweep_s else 0.0
    assert sweeps * DAY_S <= quota / 2 * 1.0001
    assert found.near_s <= found.soon_s <= found.far_s
    if found.far_s > 30:
        assert (sweeps + found.reads_per_s * read_cost) * DAY_S <= quota * 0.9001
    else:
        assert rooms / found.far_s * read_cost * DAY_S <= quota * 0.9001


def test_first_reads_come_by_the_next_meeting_at_a_bounded_rate() -> None:
    world = World(3000)
    for place, email in enumerate(reversed(world.emails[-30:])):
        world.meet(email, 600 + place)
    world.run(20)
    assert [room for _, room, _ in world.asked[:30]] == world.emails[:-31:-1]
    assert len(world.asked) <= FIRST_PER_S * 23
    world.run(60)
    assert len({room for _, room, _ in world.asked}) == 3000


def test_a_room_whose_meeting_has_just_begun_comes_first_after_a_start() -> None:
    world = World(3000)
    soon, begun, long_begun = world.emails[-3:]
    world.meet(soon, 60)
    world.meet(begun, -120, 7200)
    world.meet(long_begun, -1800)
    world.look(free=2)
    assert [room for _, room, _ in world.asked] == [begun, soon]


def test_very_many_rooms_are_first_read_within_five_minutes() -> None:
    world = World(18_000, costs=Costs(100, 1, 1))
    world.run(300)
    assert len({room for _, room, _ in world.asked}) == 18_000


def test_sweeps_go_on_and_changes_go_first_while_first_reads_are_made() -> None:
    world = World(4000, costs=Costs(100, 1, 1))
    world.run(20)
    first = world.asked[0][1]
    world.fingerprints[first] = b"other"
    world.asked.clear()
    world.swept.clear()
    before = world.at
    world.run(16)
    assert {room for _, rooms in world.swept for room in rooms} == set(world.emails)
    assert Reason.FIRST in {reason for _, _, reason in world.asked}
    (noticed,) = [at for at, rooms in world.swept if first in rooms]
    assert noticed - before <= 15.5
    assert [at for at, room, _ in world.asked if room == first] == [pytest.approx(noticed, abs=0.2)]


def test_a_changed_fingerprint_is_followed_by_a_read_at_once() -> None:
    world = World(4000, costs=Costs(20, 1, 1))
    world.run(1200)
    world.asked.clear()
    world.fingerprints["room1234"] = b"other"
    world.run(35)
    assert next(reason for _, room, reason in world.asked if room == "room1234") is Reason.CHANGED


def test_what_changed_between_the_first_read_and_the_first_sweep_is_not_missed() -> None:
    world = World(200, quota=20_000, costs=Costs(20, 1, 1))
    plan = world.plan()
    (read, *_), (sweep, *_) = plan.reads, plan.sweeps
    world.planner.was_read(read.room, starts=[], has_news=True)
    world.at = 6.0
    world.planner.was_swept(world.at, world.at, "window", dict.fromkeys(sweep.rooms, b"busy"))
    assert (read.room, Reason.CHANGED) in {(r.room, r.reason) for r in world.plan().reads}


def test_news_during_a_read_makes_one_more_read() -> None:
    world = World(1)
    (read,) = world.plan().reads
    for _ in range(3):
        world.planner.changed(read.room)
    assert world.plan().reads == ()
    world.at = 10.0
    world.planner.was_read(read.room, starts=[], has_news=True)
    assert [r.reason for r in world.plan().reads] == [Reason.CHANGED]
    world.planner.was_read(read.room, starts=[], has_news=True)
    world.at = 20.0
    assert world.plan().reads == ()


def test_a_fingerprint_that_changes_all_the_time_costs_less_and_less() -> None:
    world = World(1000, quota=300_000, costs=Costs(100, 1, 1))
    world.run(600)
    world.asked.clear()
    for turn in range(160):
        world.fingerprints["room0007"] = b"%d" % turn
        world.run(15)
    reads = [at for at, room, reason in world.asked if room == "room0007" and reason is Reason.CHANGED]
    assert 5 <= len(reads) <= 20


def test_rooms_with_a_near_meeting_are_read_before_the_others_and_none_starves() -> None:
    world = World(1000, quota=PLENTY // 4, costs=Costs(20, 1, 1))
    for email in world.emails[:100]:
        world.meet(email, *(half * HOUR_S / 2 for half in range(1, 30)))
    world.run(3 * HOUR_S)
    ages = {email: world.at - max(world.times(email)) for email in world.emails}
    near = [gap for email in world.emails[:100] for gap in gaps([t for t in world.times(email) if t > HOUR_S])]
    assert sorted(near)[int(0.95 * len(near))] <= 320
    assert max(ages.values()) <= 3 * 864 * 1.2


def test_a_failing_room_waits_alone_and_longer_each_time() -> None:
    world = World(100)
    world.broken.add("room0005")
    world.run(4 * HOUR_S)
    waits = gaps(world.times("room0005"))
    assert waits[:4] == pytest.approx([30, 60, 120, 240], abs=1)
    assert max(waits) == pytest.approx(HOUR_S, abs=5) or waits == sorted(waits)
    assert max(gaps(world.times("room0006"))) <= 31


def test_a_room_that_cannot_be_swept_is_left_out_of_sweeps_for_an_hour() -> None:
    world = World(400, quota=100_000, costs=Costs(20, 1, 1))
    world.fingerprints["room0005"] = None
    world.run(2.5 * HOUR_S)
    swept = [at for at, rooms in world.swept if "room0005" in rooms]
    assert len(swept) == 3
    assert min(gaps(swept)) >= HOUR_S
    assert max(gaps([at for at, rooms in world.swept if "room0006" in rooms])) <= 60


def test_rooms_whose_changes_are_told_of_need_a_backstop_alone() -> None:
    world = World(1000, quota=300_000, costs=Costs(100, 1, 1))
    world.told.update(world.emails)
    world.run(300)
    world.asked.clear()
    world.swept.clear()
    world.run(HOUR_S)
    assert len(world.asked) <= 5 * 1000
    assert sum(len(rooms) for _, rooms in world.swept) <= 1000 * 62
    world.planner.changed("room0500")
    world.look()
    assert world.asked[-1][1:] == ("room0500", Reason.CHANGED)


def test_the_reserve_serves_changes_and_first_reads_alone() -> None:
    world = World(400, quota=10_000)
    world.run(300)
    world.used = 9_050
    world.asked.clear()
    world.run(HOUR_S)
    assert world.asked == []
    world.planner.changed("room0001")
    world.look()
    assert world.asked[-1][1:] == ("room0001", Reason.CHANGED)
    world.used = 10_000
    world.planner.changed("room0002")
    world.look()
    assert len(world.asked) == 1


def test_the_limit_of_a_minute_is_kept() -> None:
    world = World(3000)
    world.per_minute = 7
    assert len(world.plan().reads) <= 7


def test_repeated_failures_of_sweeps_make_them_rare_and_leave_reads_alone() -> None:
    world = World(4000, costs=Costs(100, 1, 1))
    sweeps = 0
    while world.at < HOUR_S:
        plan = world.plan()
        for _ in plan.sweeps:
            sweeps += 1
            world.spend(1)
            world.planner.was_not_swept(world.at)
        for read in plan.reads:
            world.spend(1)
            world.planner.was_read(read.room, starts=[], has_news=False)
        world.at += plan.look_again_s
    assert sweeps < 30
    assert world.in_all > 5000


@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
def test_a_clock_that_is_set_neither_bursts_nor_stalls(step_s: float) -> None:
    world = World(1000, quota=200_000, costs=Costs(50, 1, 1))
    for number, email in enumerate(world.emails):
        world.meet(email, 60.0 * (number % 1440))
    world.run(2 * HOUR_S)
    before = len(world.asked)
    world.run(600)
    usual = len(world.asked) - before
    world.step_s = step_s
    before = len(world.asked)
    world.run(600)
    assert 0.5 * usual <= len(world.asked) - before <= 2 * usual


@settings(max_examples=10)
@given(st.integers(1, 40), st.integers(10_000, 40_000), st.sampled_from([0, 5, 20]), st.integers(1, 3),
       st.integers())
def test_whatever_happens_every_room_is_read_and_the_budget_kept(
        rooms: int, quota: int, sweep_size: int, cost: int, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - chance, not secrecy
    world = World(rooms, quota, Costs(sweep_size, cost, cost))
    for email in world.emails:
        for _ in range(chance.randrange(3)):
            world.meet(email, chance.uniform(0, 8) * HOUR_S)
    while world.at < 2 * HOUR_S:
        if chance.random() < 0.03:
            world.planner.changed(chance.choice(world.emails))
        world.at += max(5.0, world.look(chance.randrange(1, 8)))
        assert world.used <= world.quota
    for email in world.emails:
        times = [0.0, *world.times(email), world.at]
        assert max(gaps(times)) <= max(200.0, world.planner.pace.far_s * 2.5)


def test_rooms_come_and_go() -> None:
    world = World(50)
    world.run(100)
    world.planner.configure({"room0001": [], "new": []})
    world.emails, world.starts = ["new", "room0001"], {"new": [], "room0001": []}
    world.asked.clear()
    world.run(40)
    assert {room for _, room, _ in world.asked} == {"new", "room0001"}
