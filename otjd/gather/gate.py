"""Gate: whether a calendar system may be asked at all, and by how many at once. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum

DOWN_AFTER = 3
"""Requests in a row that failed for a reason that is no room's, until the system counts as down."""

PROBE_FIRST_S = 2.0
PROBE_LIMIT_S = 60.0
UNAUTHORIZED_PAUSE_S = 1800.0
"""A wrong password tried again and again locks the account; a person may have mended it after half an hour."""

LOOKED_FOR_PAUSE_S = 20.0
"""So often a sign-in that a person makes from a shell is looked for; one that was refused is not sent again."""

LONGEST_PAUSE_S = 3600.0
BEHIND_S = 5.0
"""So long after a pause the room that brought it about waits: others come first, and show whether it is alone."""


class Access(Enum):
    """How a calendar system may be asked."""

    OPEN = "open"
    PAUSED = "paused"
    DOWN = "down"
    UNAUTHORIZED = "unauthorized"


class Gate:
    """What the answers of a calendar system say of it as a whole. `at` is in seconds of a steady time.

    `most` requests may be under way at the same time while nothing is wrong.

    :param jitter: gives numbers in [0, 1).
    """

    def __init__(self, most: int, jitter: Callable[[], float]) -> None:
        self.access = Access.OPEN
        self.opens_at = 0.0
        self.most = most
        self._jitter = jitter
        self._width = math.inf
        self._failures = 0
        self._throttled = ""
        self._was_answered = False

    @property
    def width(self) -> int:
        """How many requests may be under way at the same time."""
        return int(min(self._width, self.most)) if self.access in {Access.OPEN, Access.PAUSED} else 1

    @property
    def is_probing(self) -> bool:
        """Whether only one question may be asked, to see whether the system is back."""
        return self.access in {Access.DOWN, Access.UNAUTHORIZED}

    def is_shut(self, at: float) -> bool:
        """Whether nothing may be asked at `at`."""
        return self.access is not Access.OPEN and at < self.opens_at

    def reset(self) -> None:
        """Ask as if nothing had happened: the configuration was read again, or somebody asked for it."""
        self.access, self._failures, self.opens_at = Access.OPEN, 0, 0.0

    def answered(self, at: float) -> bool:
        """A request was answered; gives whether the system had been down or had refused the sign-in until now."""
        self._was_answered = True
        was_away = self.is_probing
        if was_away:
            self.reset()
        elif self.access is Access.PAUSED and at >= self.opens_at:
            self.access = Access.OPEN
        self._failures = 0
        self._width = self._width + 1 / self._width if self._width < self.most else math.inf
        return was_away

    def failed(self, at: float) -> None:
        """A request failed for a reason that is no room's."""
        if self.is_probing and at < self.opens_at:
            return  # it was under way when that was found out
        self._failures += 1
        if self._failures >= DOWN_AFTER or self.is_probing:
            self.access = Access.DOWN
            wait_s = min(PROBE_LIMIT_S, PROBE_FIRST_S * 2.0 ** min(self._failures - DOWN_AFTER, 20))
            self.opens_at = at + wait_s * (1 - self._jitter() / 10)

    def is_alone(self, room: str) -> bool:
        """Whether patience is asked of this room alone: it was so the last time, and others were answered."""
        return self._was_answered and room == self._throttled

    def throttled(self, at: float, retry_after_s: float, room: str = "") -> None:
        """The system asks for patience, in answer to a question about `room` or about several."""
        self._throttled, self._was_answered = room, False
        if self.access is Access.OPEN or (self.access is Access.PAUSED and at >= self.opens_at):
            self._width = max(1.0, min(self._width, self.most) / 2)  # once for all answers of one burst
        if self.access in {Access.OPEN, Access.PAUSED}:
            self.access = Access.PAUSED
        pause_s = min(max(1.0, retry_after_s), LONGEST_PAUSE_S) * (1 + self._jitter() / 10)
        self.opens_at = max(self.opens_at, at + pause_s)

    def refused(self, at: float, *, is_looked_for: bool = False) -> None:
        """The sign-in was refused; `is_looked_for` where asking again only looks for another one."""
        self.access = Access.UNAUTHORIZED
        self.opens_at = at + (LOOKED_FOR_PAUSE_S if is_looked_for else UNAUTHORIZED_PAUSE_S)
