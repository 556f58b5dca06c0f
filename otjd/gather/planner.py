"""Planner: what to ask a calendar system next. Pure: the time, the budget and chance are handed in.

Three kinds of questions share the budget. Sweeps go round all rooms and tell whose calendar changed. Targeted
reads follow for those rooms, and for those that a notice came of. Content reads find what neither shows: each room
has a time by which it should be read again, soon where its next meeting is near, and the room that is the most
overdue comes first; so a room waits the longer the further off its next meeting is, and none waits for ever.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from otjd.gather.pace import (
    BACKSTOP_S,
    DAY_S,
    FAR_FACTOR,
    KEPT_SHARE,
    NEAR_S,
    RESERVE,
    SAVED_OVER_S,
    SHORTEST_STALE_S,
    SOON_S,
    TOLD_SWEEP_S,
    Costs,
    Pace,
    pace,
)
from otjd.gather.questions import LONGEST_LOOK_S, Left, Plan, Read, Reason, RoomFacts, Sweep

SWEEPS_KEPT_S = 3600.0
"""Content reads leave the requests of this time to sweeps, which go on up to the reserve."""

SWEEPS_AT_ONCE = 8
SWEEP_FAILURES = 3

SPACING_S = 5.0
"""Least time between two reads of a room that were caused by news of it."""

SPACING_LIMIT_S = 900.0
"""The same after much news that came to nothing."""

BACKOFF_S = 30.0
BACKOFF_LIMIT_S = 3600.0
SHORTEST_LOOK_S = 0.1
BURST_S = 2.0
"""What a late look did not ask in time may be asked at once, up to this much of it."""

REORDER_EVERY_S = 300.0
SET_CLOCK_S = 30.0
"""A clock that differs by this much from what it should be was set."""

SAVED_DAYS = 0.25
"""Part of a day's quota that is saved at most, and overdrawn at most."""

USUAL_OVER_S = 3600.0
"""How much changed rooms usually cost is told from this time."""


class Planner:
    """Plans for the rooms of one integration.

    Every method takes `at`, seconds of a steady time; `today_s` is the time of day in seconds of 1970.

    :param is_told_of: whether news of a room comes by itself.
    :param jitter: gives numbers in [0, 1).
    """

    def __init__(self, *, is_told_of: Callable[[str], bool], jitter: Callable[[], float]) -> None:
        self.rooms: dict[str, RoomFacts] = {}
        self._ring: list[RoomFacts] = []
        self._is_told_of = is_told_of
        self._jitter = jitter
        self._waiting: list[tuple[float, int, RoomFacts]] = []
        self._ready: dict[Reason, list[tuple[float, int, RoomFacts]]] = {reason: [] for reason in Reason}
        self._tickets = 0
        self._sweeping = 0
        self._sweep_failures = 0
        self._cursor = 0
        self._next_sweep_at = -math.inf
        self._next_first_at = -math.inf
        self._next_content_at = -math.inf
        self._set_up = (0, 0, Costs(0, 1, 1))
        self.pace = pace(*self._set_up)
        self.saved = 0.0
        self._urgent_per_s = 0.0
        self._seen: tuple[float, int] | None = None
        self._offset_s = 0.0
        self._reordered_at = -math.inf

    # what happened

    def configure(self, rooms: Mapping[str, Sequence[float]]) -> None:
        """Plan for exactly these rooms; each with the starts of the meetings that are known of it."""
        for gone in self.rooms.keys() - rooms.keys():
            self.rooms.pop(gone).ticket = -1
        for email, starts in rooms.items():
            room = self.rooms.setdefault(email, RoomFacts(email))
            if room.asked_at is None:
                room.starts = starts
        self._ring = [self.rooms[email] for email in sorted(self.rooms)]
        for index, room in enumerate(self._ring):
            room.index = index
        self._cursor = 0
        self._reordered_at = -math.inf

    def changed(self, email: str) -> None:
        """News of a room: read it, and once more where it is being read."""
        room = self.rooms.get(email)
        if room is not None and not room.is_changed:
            room.is_changed = True
            self._queue(room)

    def owe(self, emails: Iterable[str]) -> None:
        """Read these rooms in order of their next meeting, at the pace of a start."""
        for email in emails:
            room = self.rooms.get(email)
            if room is not None:
                room.is_owed = True
                self._queue(room)

    def hurry(self) -> None:
        """Forget all back-offs."""
        for room in self.rooms.values():
            room.not_before = -math.inf
            self._queue(room)

    def was_read(self, email: str, *, starts: Sequence[float], has_news: bool) -> None:
        """A read succeeded; `starts` ascend."""
        room = self.rooms.get(email)
        if room is None or not room.is_busy:
            return
        if room.reason is Reason.CHANGED:
            room.false_alarms = 0 if has_news else min(room.false_alarms + 1, 20)
        room.is_busy = room.is_owed = False
        room.asked_at = room.began_at
        room.starts = starts
        room.failures = 0
        room.not_before = -math.inf
        self._queue(room)

    def was_not_read(self, email: str, at: float, *, retry_after_s: float | None = None) -> None:
        """A read failed: this room waits, longer after each failure, or as long as the system asked for."""
        room = self.rooms.get(email)
        if room is None or not room.is_busy:
            return
        room.is_busy = False
        if retry_after_s is None:
            room.failures += 1
            retry_after_s = min(BACKOFF_LIMIT_S, BACKOFF_S * 2.0 ** min(room.failures - 1, 20))
        room.not_before = at + retry_after_s * (1 + self._jitter() / 10)
        room.is_changed |= room.reason is Reason.CHANGED
        self._queue(room)

    def was_let_go(self, email: str) -> None:
        """A read did not come about for a reason that is not the room's: it keeps its place."""
        room = self.rooms.get(email)
        if room is not None and room.is_busy:
            room.is_busy = False
            room.is_changed |= room.reason is Reason.CHANGED
            self._queue(room)

    def was_swept(self, at: float, begun_at: float, window: object,
                  fingerprints: Mapping[str, bytes | None]) -> None:
        """A sweep came back: rooms whose fingerprint differs from the last one are to be read; None for a room
        stands for one that cannot be swept."""
        self._sweeping = max(0, self._sweeping - 1)
        self._sweep_failures = 0
        for email, fingerprint in fingerprints.items():
            room = self.rooms.get(email)
            if room is None:
                continue
            room.is_unsweepable = fingerprint is None
            room.swept_at = at
            if fingerprint is None:
                continue
            known, room.fingerprint = room.fingerprint, (window, fingerprint)
            if known is None:  # whatever changed between the first read and this sweep, it cannot tell
                is_changed = room.asked_at is not None and room.asked_at < begun_at
            else:
                is_changed = known != room.fingerprint
            if is_changed:
                self.changed(email)

    def was_not_swept(self, at: float) -> None:
        """A sweep failed. Where sweeps fail again and again they are tried less often: reads may still work."""
        self._sweeping = max(0, self._sweeping - 1)
        self._sweep_failures += 1
        excess = self._sweep_failures - SWEEP_FAILURES
        if excess >= 0:
            wait_s = min(SPACING_LIMIT_S, BACKOFF_S * 2.0 ** min(excess, 20))
            self._next_sweep_at = max(self._next_sweep_at, at + wait_s)

    def overdue(self, at: float, today_s: float, promised_s: float) -> tuple[list[str], int]:
        """Rooms that were not read for three intervals, and how many of those with a meeting soon are read less
        often than promised; back-offs and rooms whose news comes by itself are left out of both."""
        limit_s = max(SHORTEST_STALE_S, 3 * self.pace.far_s)
        late: list[str] = []
        short = 0
        for room in self._ring:
            if room.asked_at is None or room.failures:
                continue
            age_s = at - room.asked_at
            if age_s > limit_s:
                late.append(room.email)
            if age_s > promised_s and room.next_start(today_s) - today_s < SOON_S - age_s:
                short += not self._is_told_of(room.email)
        return late, short

    # what to do

    def plan(self, at: float, today_s: float, budget: Left, costs: Costs, free: int) -> Plan:
        """What to ask now with `free` reads at the same time; what it says counts as being asked."""
        self._keep_pace(at, today_s, budget, costs)
        left = budget.now
        sweeps: list[Sweep] = []
        while (sweep := self._sweep(at, budget.used, left)) is not None:
            if sweep.rooms:
                sweeps.append(sweep)
                left -= costs.sweep_cost
        self._admit(at, today_s)
        reads: list[Read] = []
        while len(reads) < free and left >= costs.read_cost:
            room = self._pick(at, budget)
            if room is None:
                break
            reads.append(Read(room.email, self._ask(room, at)))
            left -= costs.read_cost
        is_held = len(reads) >= free or left < costs.read_cost
        return Plan(tuple(sweeps), tuple(reads), self._look_again_s(at, budget, is_held=is_held))

    def probe(self, at: float, today_s: float) -> Read | None:
        """One question to a system that is in trouble: the room whose next meeting is the soonest."""
        idle = [room for room in self._ring if not room.is_busy]
        if not idle:
            return None
        room = min(idle, key=lambda r: (r.failures, r.urgency(today_s)))
        return Read(room.email, self._ask(room, at))

    def content_interval_s(self, at: float) -> float:
        """Within this time every room that can be read is read in full: as planned, and as late as it is."""
        room = self._top(Reason.CONTENT)
        return self.pace.far_s + (0.0 if room is None else max(0.0, at - room.due))

    def is_starved(self, budget: Left) -> bool:
        """Whether no requests are left for anything but changed rooms and first reads."""
        return budget.used + self._set_up[2].sweep_cost > budget.quota * (1 - RESERVE)

    def sweep_interval_s(self, at: float) -> float:
        """Within this time a booked, moved or cancelled meeting is noticed."""
        if self.pace.sweep_s <= 0:
            return self.content_interval_s(at)
        if self._ring and all(self._is_told_of(room.email) for room in self._ring):
            return max(TOLD_SWEEP_S, self.pace.sweep_s)
        return self.pace.sweep_s

    def detector(self, email: str) -> str:
        """How a change of a room is noticed first: push, sweep or poll."""
        if self._is_told_of(email):
            return "push"
        room = self.rooms.get(email)
        return "sweep" if self.pace.sweep_s > 0 and room is not None and not room.is_unsweepable else "poll"

    # how

    def _ask(self, room: RoomFacts, at: float) -> Reason:
        room.is_busy = True
        room.ticket = self._ticket()
        room.began_at = at
        room.reason = (Reason.CHANGED if room.is_changed else
                       Reason.FIRST if room.is_owed else Reason.CONTENT)
        room.is_changed = False
        if room.reason is Reason.CHANGED:  # first reads are no sign of more to come
            self._urgent_per_s += 1 / USUAL_OVER_S
        return room.reason

    def _keep_pace(self, at: float, today_s: float, budget: Left, costs: Costs) -> None:
        before, spent = self._seen or (at, budget.in_all)
        self._seen = (at, budget.in_all)
        limit = budget.quota * SAVED_DAYS
        passed_s = at - before
        earned_per_s = self.pace.requests_per_s - budget.quota * KEPT_SHARE / DAY_S
        self.saved += passed_s * earned_per_s - (budget.in_all - spent)
        self._urgent_per_s *= math.exp(-passed_s / USUAL_OVER_S)
        self.saved = min(max(self.saved, -limit), limit)
        if (len(self.rooms), budget.quota, costs) != self._set_up:
            self._set_up = (len(self.rooms), budget.quota, costs)
            self.pace = self.new_pace(len(self.rooms), budget.quota, costs)
            self._reordered_at = -math.inf
        offset_s = today_s - at
        if abs(offset_s - self._offset_s) > SET_CLOCK_S or at - self._reordered_at >= REORDER_EVERY_S:
            self._offset_s = offset_s
            self._reordered_at = at
            self._waiting.clear()
            for heap in self._ready.values():
                heap.clear()
            for room in self._ring:
                self._queue(room)

    def new_pace(self, rooms: int, quota: int, costs: Costs) -> Pace:
        """The pace for so many rooms."""
        return pace(rooms, quota, costs)

    def _ticket(self) -> int:
        self._tickets += 1
        return self._tickets

    def _queue(self, room: RoomFacts) -> None:
        """Give a room its place; whatever place it had before is void."""
        room.ticket = self._ticket()
        if room.is_busy:
            return
        if room.is_owed or room.asked_at is None:
            ready_at = -math.inf
        else:
            ready_at = room.due = self._due(room, room.asked_at)
        if room.is_changed:  # after news that came to nothing more of it waits, though no longer than reads do
            spacing_s = min(SPACING_LIMIT_S, SPACING_S * 2.0 ** max(0, room.false_alarms - 2))
            ready_at = min(room.began_at + spacing_s, max(ready_at, room.began_at + SPACING_S))
        ready_at = max(ready_at, room.not_before)
        heapq.heappush(self._waiting, (ready_at, room.ticket, room))

    def _due(self, room: RoomFacts, asked_at: float) -> float:
        """By when to read a room again: the nearer its next meeting comes, the sooner."""
        here = self.pace
        if self._is_told_of(room.email) and here.far_s > here.near_s:
            return asked_at + max(BACKSTOP_S, here.far_s / FAR_FACTOR)
        start = room.next_start(asked_at + self._offset_s) - self._offset_s
        return min(asked_at + here.far_s,
                   max(asked_at + here.soon_s, start - SOON_S),
                   max(asked_at + here.near_s, start - NEAR_S))

    def _sweep(self, at: float, used: int, left: int) -> Sweep | None:
        """The next rooms in turn, where it is time and the budget allows."""
        if self.pace.sweep_s <= 0 or not self._ring or at < self._next_sweep_at:
            return None
        _, quota, costs = self._set_up
        if (self._sweeping >= SWEEPS_AT_ONCE or left < costs.sweep_cost
                or used + costs.sweep_cost > quota * (1 - RESERVE)):
            return None
        step_s = self.pace.sweep_s / math.ceil(len(self._ring) / costs.sweep_size)
        first = self._cursor
        self._cursor = first + costs.sweep_size if first + costs.sweep_size < len(self._ring) else 0
        # the same rooms go together every time, so that each is always asked for the same window
        chosen = [r for r in self._ring[first:first + costs.sweep_size] if not self._is_spared(r, at)]
        self._next_sweep_at = max(self._next_sweep_at, at - BURST_S) + step_s
        if chosen:
            self._sweeping += 1
        return Sweep(tuple(room.email for room in chosen), first / len(self._ring))

    def _is_spared(self, room: RoomFacts, at: float) -> bool:
        if room.is_unsweepable and at - room.swept_at < BACKOFF_LIMIT_S:
            return True
        return at - room.swept_at < TOLD_SWEEP_S - 1 and self._is_told_of(room.email)

    def _admit(self, at: float, today_s: float) -> None:
        """Move rooms whose time has come to those that are ready, by urgency."""
        while self._waiting and self._waiting[0][0] <= at:
            _, ticket, room = heapq.heappop(self._waiting)
            if ticket != room.ticket:
                continue
            if room.is_changed or room.is_owed or room.asked_at is None:
                reason = Reason.CHANGED if room.is_changed else Reason.FIRST
                heapq.heappush(self._ready[reason], (room.urgency(today_s), ticket, room))
            else:
                heapq.heappush(self._ready[Reason.CONTENT], (room.due, ticket, room))

    def _top(self, reason: Reason) -> RoomFacts | None:
        heap = self._ready[reason]
        while heap and heap[0][1] != heap[0][2].ticket:
            heapq.heappop(heap)
        return heap[0][2] if heap else None

    def _pick(self, at: float, budget: Left) -> RoomFacts | None:
        """The room to read next, where there is one that may be read now."""
        if (room := self._top(Reason.CHANGED)) is not None:
            return room
        if (room := self._top(Reason.FIRST)) is not None and at >= self._next_first_at:
            self._next_first_at = max(self._next_first_at, at - BURST_S) + 1 / self.pace.first_per_s
            return room
        if (room := self._top(Reason.CONTENT)) is not None and at >= self._next_content_at:
            rate = self._content_rate()
            if budget.used < self._content_limit():
                self._next_content_at = max(self._next_content_at, at - BURST_S) + 1 / rate
                return room
        return None

    def _content_limit(self) -> float:
        """Requests of 24 hours up to which content is read."""
        rooms, quota, costs = self._set_up
        limit = quota * (1 - RESERVE)
        if self.pace.sweep_s > 0:
            limit -= SWEEPS_KEPT_S / self.pace.sweep_s * math.ceil(rooms / costs.sweep_size) * costs.sweep_cost
        return limit

    def _content_rate(self) -> float:
        """Content reads a second: the even pace without what changed rooms take, and a part of what was saved."""
        if self.pace.far_s <= self.pace.near_s:
            return self.pace.reads_per_s
        read_cost = max(1, self._set_up[2].read_cost)
        kept = self._set_up[1] * KEPT_SHARE / DAY_S / read_cost
        return max(0.2 * self.pace.reads_per_s,
                   self.pace.reads_per_s - kept - self._urgent_per_s + self.saved / SAVED_OVER_S / read_cost)

    def _look_again_s(self, at: float, budget: Left, *, is_held: bool) -> float:
        times = [at + LONGEST_LOOK_S]
        if self.pace.sweep_s > 0 and self._ring:
            times.append(max(self._next_sweep_at, at + (1.0 if self._sweeping >= SWEEPS_AT_ONCE else 0.0)))
        if self._waiting:
            times.append(self._waiting[0][0])
        if is_held:
            times.append(at + 1.0)  # the end of a read is a reason to look as well
        else:
            if self._top(Reason.FIRST) is not None:
                times.append(self._next_first_at)
            if self._top(Reason.CONTENT) is not None:
                is_spent = budget.used >= self._content_limit()
                times.append(at + 1.0 if is_spent else self._next_content_at)
        return max(SHORTEST_LOOK_S, min(times) - at)
