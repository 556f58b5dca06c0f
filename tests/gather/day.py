"""A day of many room calendars in compressed time: a scripted calendar system, its changes, and what came of them.

Everything happens on one `task.Clock` that jumps from event to event. The calendar system answers as slowly as a
real one; what it answers is what its calendars held in the middle of the wait.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock, deferLater

from otjd.gather.budget import Budget
from otjd.gather.calendar_gatherer import CalendarGatherer
from otjd.gather.planner import Planner
from otjd.gather.source import Occurrence, RoomError, RoomReading
from otjd.meetings.model import EndpointType, Invitation, Window
from otjd.operate.board import EndpointFacts, IntegrationStatus, StatusBoard
from otjd.seam import deferred

DAWN = datetime(2026, 3, 2, tzinfo=UTC)
NAME = "calendars"
AHEAD = timedelta(days=1)
HOUR_S = 3600.0
DAY_S = 86_400
SAMPLED_S = 600.0


@dataclass(slots=True)
class Booking:
    """A meeting in a simulated calendar; `version` counts its changes."""

    uid: str
    start_s: float
    length_s: float
    version: int = 0


@dataclass(slots=True)
class Change:
    """A change to be noticed."""

    at_s: float
    is_content_only: bool
    ahead_s: float


@dataclass(slots=True)
class SimulatedRoom:
    """A calendar, and a number that changes whenever its times do."""

    bookings: dict[str, Booking] = field(default_factory=dict)
    times: int = 0
    pending: list[Change] = field(default_factory=list)


class SimulatedCalendars:
    """A calendar system of the shape of CalendarSource. `trouble(room)` may raise what a request is answered with;
    room is empty for a sweep."""

    kind = "graph"

    def __init__(self, clock: Clock, spend: Callable[[int], None], *, sweep_size: int = 0, sweep_cost: int = 1,
                 read_cost: int = 1, chance: random.Random) -> None:
        self.sweep_size, self.sweep_cost, self.read_cost = sweep_size, sweep_cost, read_cost
        self.at_once = 16
        self.rooms: dict[str, SimulatedRoom] = defaultdict(SimulatedRoom)
        self.told: set[str] = set()
        self.watched: tuple[str, ...] = ()
        self.trouble: Callable[[str], None] = lambda _: None
        self.latency_s: Callable[[], float] = lambda: chance.uniform(0.05, 0.25)
        self.asked: list[tuple[float, str]] = []
        self.sweeps = self.reads = 0
        self.is_stopped = False
        self.changed: Callable[[str], None] = lambda _: None
        self._clock = clock
        self._spend = spend

    def start(self, changed: Callable[[str], None]) -> None:
        self.changed = changed

    def watch(self, rooms: Collection[str]) -> None:
        self.watched = tuple(rooms)

    def is_told_of(self, room: str) -> bool:
        return room in self.told

    async def sweep(self, rooms: Sequence[str], window: Window) -> Mapping[str, bytes | RoomError]:
        self._spend(self.sweep_cost)
        self.sweeps += 1
        await self._half()
        self.trouble("")
        answers: dict[str, bytes | RoomError] = {email: b"%d" % self.rooms[email].times for email in rooms}
        await self._half()
        return answers

    async def read(self, room: str, window: Window, memory: Any) -> RoomReading:
        self._spend(self.read_cost)
        self.reads += 1
        self.asked.append((self._clock.seconds(), room))
        await self._half()
        self.trouble(room)
        known: dict[str, int] = memory or {}
        bookings = self.rooms[room].bookings
        current = {uid: booking.version for uid, booking in bookings.items()}
        fresh = [invitation(b) for b in bookings.values() if known.get(b.uid) != b.version]
        same = frozenset((uid, "") for uid, version in current.items() if known.get(uid) == version)
        await self._half()
        return RoomReading(fresh, same, current, self.read_cost)

    async def stop(self) -> None:
        self.is_stopped = True

    def _half(self) -> Deferred[None]:
        return deferLater(self._clock, self.latency_s() / 2)


def invitation(booking: Booking) -> Invitation:
    start = DAWN + timedelta(seconds=booking.start_s)
    end = start + timedelta(seconds=booking.length_s)
    return Invitation(booking.uid, start, end, subject=str(booking.version))


@dataclass(slots=True)
class Outcome:
    """What a day cost and brought: seconds from a change to its delivery, and for how many seconds rooms had a
    meeting that starts within an hour, all rooms added up."""

    requests: int = 0
    most_in_a_day: int = 0
    late_s: list[float] = field(default_factory=list)
    near_content_late_s: list[float] = field(default_factory=list)
    near_s: float = 0.0
    changes: int = 0
    missed: int = 0


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of `values` do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


class Day:
    """Rooms, a gatherer that reads them, and changes as they come in an office.

    :param quota: of 24 hours, enforced by the budget.
    """

    def __init__(self, rooms: int, quota: int, *, sweep_size: int = 0, read_cost: int = 1,
                 per_minute: int | None = None, planner: type[Planner] = Planner,
                 seed: int = 1, meetings: int = 8) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - chance, not secrecy
        self.clock = Clock()
        self.offset = timedelta()
        self.board = StatusBoard(self.now)
        self.emails = [f"room{n}@example.com" for n in range(rooms)]
        self.board.configure(
            [EndpointFacts(email, EndpointType.POLY, email, "default") for email in self.emails],
            [IntegrationStatus(NAME, "graph")])
        self.spent: list[tuple[float, int]] = []
        self.budget = Budget(name=NAME, quota=quota, clock=self.clock, now=self.now, per_minute=per_minute,
                             in_thread=lambda job, *arguments: succeed(job(*arguments)))
        self.source = SimulatedCalendars(self.clock, self.spend, sweep_size=sweep_size, read_cost=read_cost,
                                         chance=self.chance)
        self.held: dict[str, dict[str, Invitation]] = {email: {} for email in self.emails}
        self.delivered: list[str] = []
        self.failed: dict[str, str] = {}
        self.outcome = Outcome()
        self.gatherer = CalendarGatherer(
            name=NAME, source=self.source, deliver=self.deliver, upcoming=self.upcoming,
            room_failed=self.failed.__setitem__, board=self.board, clock=self.clock, now=self.now,
            budget=self.budget, jitter=self.chance.random,
            planner=planner(is_told_of=self.source.is_told_of, jitter=self.chance.random))
        self.gatherer.configure(dict.fromkeys(self.emails, AHEAD))
        for email in self.emails:
            for _ in range(meetings):
                self.book(email, self.chance.uniform(7, 19) * HOUR_S)
        self.clock.callLater(SAMPLED_S, self._count_near)

    def now(self) -> datetime:
        return DAWN + timedelta(seconds=self.clock.seconds()) + self.offset

    def spend(self, requests: int) -> None:
        self.budget.spend(requests)
        self.spent.append((self.clock.seconds(), requests))

    async def deliver(self, email: str, invitations: Sequence[Invitation],
                      unchanged: frozenset[Occurrence]) -> None:
        kept = {uid: self.held[email][uid] for uid, _ in unchanged}
        self.held[email] = kept | {i.uid: i for i in invitations}
        self.delivered.append(email)
        room, now_s = self.source.rooms[email], self.clock.seconds()
        if self.is_known(email):
            for change in room.pending:
                self.outcome.late_s.append(now_s - change.at_s)
                if change.is_content_only and change.ahead_s <= HOUR_S:
                    self.outcome.near_content_late_s.append(now_s - change.at_s)
            room.pending.clear()

    def upcoming(self, email: str) -> list[datetime]:
        return sorted(i.start_time for i in self.held[email].values())

    def is_known(self, email: str) -> bool:
        """Whether what was delivered of a room is what its calendar holds."""
        return ({uid: i.subject for uid, i in self.held[email].items()}
                == {uid: str(b.version) for uid, b in self.source.rooms[email].bookings.items()})

    # changes

    def book(self, email: str, start_s: float) -> Booking:
        room = self.source.rooms[email]
        uid = f"{len(room.bookings)}-{self.chance.random()}"
        room.bookings[uid] = Booking(uid, start_s, HOUR_S)
        room.times += 1
        return room.bookings[uid]

    def change(self, email: str, *, is_content_only: bool = False) -> None:
        """Change a calendar as people do: a fifth concerns the next half hour."""
        room, now_s = self.source.rooms[email], self.clock.seconds()
        is_close = self.chance.random() < 0.2
        coming = [b for b in room.bookings.values() if b.start_s > now_s]
        close = [b for b in coming if b.start_s - now_s < HOUR_S / 2]
        start_s = now_s + (self.chance.uniform(60, HOUR_S / 2) if is_close else self.chance.uniform(HOUR_S, DAY_S))
        chosen = self.chance.choice(close if is_close and close else coming) if coming else None
        if chosen is None or (not is_content_only and len(coming) < 6):
            is_content_only = False
            chosen = self.book(email, start_s)
        elif is_content_only:
            chosen.version += 1
        elif len(coming) > 12:
            del room.bookings[chosen.uid]
            room.times += 1
        else:
            chosen.start_s = start_s
            chosen.version += 1
            room.times += 1
        for over in [b.uid for b in room.bookings.values() if b.start_s < now_s - DAY_S / 2]:
            del room.bookings[over]
            room.times += 1
        self.outcome.changes += 1
        room.pending.append(Change(now_s, is_content_only, chosen.start_s - now_s))

    def schedule_changes(self, changes: int, until_s: float, content_only: float = 0.16) -> None:
        """Spread changes over the time until then: 95 % of them from 7 to 19 h."""
        times: list[float] = []
        while len(times) < changes:
            hour = self.chance.uniform(7, 19) if self.chance.random() < 0.95 else self.chance.uniform(0, 24)
            times.append(hour * HOUR_S)
        times = sorted(t for t in times if self.clock.seconds() < t < until_s)

        def next_one(place: int) -> None:
            self.change(self.chance.choice(self.emails), is_content_only=self.chance.random() < content_only)
            if place + 1 < len(times):
                self.clock.callLater(times[place + 1] - self.clock.seconds(), next_one, place + 1)

        if times:
            self.clock.callLater(times[0] - self.clock.seconds(), next_one, 0)

    def _count_near(self) -> None:
        now_s = self.clock.seconds()
        self.outcome.near_s += SAMPLED_S * sum(
            any(now_s < b.start_s <= now_s + HOUR_S for b in room.bookings.values())
            for room in self.source.rooms.values())
        self.clock.callLater(SAMPLED_S, self._count_near)

    # running

    def run(self, until_s: float) -> None:
        """Let the time pass."""
        while self.clock.seconds() < until_s:
            calls = self.clock.calls
            following = calls[0].getTime() if calls else until_s
            self.clock.advance(max(0.0, min(following, until_s) - self.clock.seconds()))

    def end(self) -> Outcome:
        """Stop, and count."""
        ended = deferred(self.gatherer.stop())
        self.run(self.clock.seconds() + 1)
        assert ended.called
        self.outcome.requests = sum(number for _, number in self.spent)
        self.outcome.most_in_a_day = most_within(self.spent, DAY_S)
        self.outcome.missed = sum(len(room.pending) for room in self.source.rooms.values())
        return self.outcome


def most_within(spent: Sequence[tuple[float, int]], span_s: float) -> int:
    """The most that was spent in any span of this length."""
    most = total = first = 0
    for at_s, number in spent:
        total += number
        while spent[first][0] <= at_s - span_s:
            total -= spent[first][1]
            first += 1
        most = max(most, total)
    return most
