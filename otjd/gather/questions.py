"""What a planner says: questions to a calendar system, what is known of a room, what the budget has left. Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum

from otjd.meetings.model import Window

LONGEST_LOOK_S = 30.0
"""Seconds until somebody looks again, whatever is planned."""

LATE_S = 600.0
"""People join a meeting until so long after its start."""


@dataclass(frozen=True, slots=True)
class Left:
    """What may still be sent: of the quota of 24 hours, and within this minute (None: no limit). `in_all` is what
    was ever sent since the start."""

    quota: int
    used: int
    this_minute: int | None = None
    in_all: int = 0

    @property
    def left(self) -> int:
        """Requests of the quota that are left."""
        return max(0, self.quota - self.used)

    @property
    def now(self) -> int:
        """Requests that may be sent at once."""
        return self.left if self.this_minute is None else min(self.left, self.this_minute)


class Reason(IntEnum):
    """Why a room is read, the most urgent first."""

    CHANGED = 0
    FIRST = 1
    CONTENT = 2


@dataclass(frozen=True, slots=True)
class Read:
    """A question: what a room's calendar holds."""

    room: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Sweep:
    """A question: when these rooms are busy. `place` in [0, 1) is that of the first among all rooms."""

    rooms: tuple[str, ...]
    place: float

    def window(self, now: datetime, ahead: timedelta) -> Window:
        """What to look at: it stands still for a day, and moves on at another time of day at each place."""
        passed = (now - datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=self.place)) % timedelta(days=1)
        return Window(now - passed, now - passed + timedelta(days=1) + ahead)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask now, and after how many seconds to look again."""

    sweeps: tuple[Sweep, ...] = ()
    reads: tuple[Read, ...] = ()
    look_again_s: float = LONGEST_LOOK_S


@dataclass(slots=True, eq=False)
class RoomFacts:
    """What is known of a room; times in seconds of steady time, the starts of its meetings in seconds of 1970.

    `asked_at` is when the last read that succeeded began.
    """

    email: str
    index: int = 0
    asked_at: float | None = None
    began_at: float = -math.inf
    starts: Sequence[float] = ()
    is_changed: bool = False
    is_owed: bool = True
    is_busy: bool = False
    failures: int = 0
    not_before: float = -math.inf
    swept_at: float = -math.inf
    fingerprint: tuple[object, bytes] | None = None
    is_unsweepable: bool = False
    false_alarms: int = 0
    reason: Reason = Reason.FIRST
    ticket: int = 0
    due: float = 0.0

    def next_start(self, today_s: float) -> float:
        """When the next meeting starts, infinity where none is known."""
        place = bisect_right(self.starts, today_s)
        return self.starts[place] if place < len(self.starts) else math.inf

    def urgency(self, today_s: float) -> float:
        """By this rooms are put in order: when the meeting starts that somebody joins next, maybe late."""
        return self.next_start(today_s - LATE_S)


def soonest_first(rooms: Mapping[str, RoomFacts], today_s: float) -> list[str]:
    """Their addresses by when the meetings start that are joined next."""
    return sorted(sorted(rooms), key=lambda email: rooms[email].urgency(today_s))
