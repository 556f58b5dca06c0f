"""Turns: how many requests an Exchange server is asked at a time, and which of those that wait comes next."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from twisted.internet.defer import Deferred
from twisted.logger import Logger

AT_ONCE = 10
"""Requests under way at a time at first: what the strictest servers allow (EWSMaxConcurrency of Exchange 2010)."""

MOST_AT_ONCE = 27
"""And at most: EWSMaxConcurrency since Exchange 2013 (sources.md section 5)."""

SUBSCRIBING_SHARE = 1 / 3
"""Part of it that subscriptions may take. A first read is about three requests, a subscription one: so rooms are
subscribed a little sooner than they are read, and what is read after that need not be read once more."""

OTHERS_FIRST = 2
USED_SHARE = 0.75
"""It grows only while this much of it is used: what was never tried is not known to be allowed."""

BURST_S = 1.0
"""Refusals within this time are of one burst, and make it smaller once."""

LIMIT_KEPT_S = 3600.0
"""How long a number that was too many for the server is not tried again."""


class Turns:
    """Lets one more request begin for every `width` answers, and half as many as before after a refusal (additive
    increase, multiplicative decrease), between 1 and MOST_AT_ONCE.

    Requests that wait begin in the order of asking. Of those that subscribe no more than SUBSCRIBING_SHARE are
    under way, and each lets OTHERS_FIRST others go first, where so many wait.

    :param seconds: gives seconds of a steady time.
    """

    _log = Logger()

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._width = float(AT_ONCE)
        self._under_way = self._subscribing = 0
        self._waiting: deque[Deferred[int]] = deque()
        self._to_subscribe: deque[Deferred[int]] = deque()
        self._begun_since = 0
        self._refused_at = self._limited_at = float("-inf")
        self._limit = MOST_AT_ONCE

    @property
    def width(self) -> int:
        """How many may be under way."""
        return int(self._width)

    @property
    def for_reads(self) -> int:
        """How many may be under way beside those that subscribe at present."""
        return max(1, self.width - min(self._subscribers, self._subscribing + len(self._to_subscribe)))

    @property
    def _subscribers(self) -> int:
        return max(1, int(self.width * SUBSCRIBING_SHARE))

    @asynccontextmanager
    async def turn(self, *, subscribes: bool = False) -> AsyncIterator[int]:
        """Wait for the turn of a request, which lasts as long as this is open; gives how many are under way."""
        queue = self._to_subscribe if subscribes else self._waiting
        mine: Deferred[int] = Deferred(queue.remove)
        queue.append(mine)
        self._go_on()
        under_way = await mine
        try:
            yield under_way
        finally:
            self._under_way -= 1
            self._subscribing -= subscribes
            self._go_on()

    def answered(self) -> None:
        """A request, whose turn it still is, was answered."""
        if self._seconds() - self._limited_at >= LIMIT_KEPT_S:
            self._limit = MOST_AT_ONCE
        if self._under_way >= USED_SHARE * self.width and self._width < self._limit:
            self._width = min(float(self._limit), self._width + 1 / self._width)
            self._go_on()

    def refused(self, limit: int = MOST_AT_ONCE) -> None:
        """The server had too much to do. Where it said that too many were under way, `limit` is one less."""
        at = self._seconds()
        if limit < MOST_AT_ONCE:
            self._limited_at = at
            self._limit = max(1, min(self._limit, limit))
        if at - self._refused_at >= BURST_S:
            self._refused_at = at
            self._width = max(1.0, self._width / 2)
            self._log.info("Exchange is asked {requests} at a time for now: it had too much to do",
                           requests=self.width)
        self._width = min(self._width, float(self._limit))

    def _go_on(self) -> None:
        """Let those that wait begin, as far as there is room."""
        while self._under_way < self.width and (subscribes := self._is_next_to_subscribe()) is not None:
            self._under_way += 1
            self._subscribing += subscribes
            self._begun_since = 0 if subscribes else self._begun_since + 1
            (self._to_subscribe if subscribes else self._waiting).popleft().callback(self._under_way)

    def _is_next_to_subscribe(self) -> bool | None:
        """Whether the next one is one that subscribes; None where nobody may begin."""
        may_subscribe = bool(self._to_subscribe) and self._subscribing < self._subscribers
        if may_subscribe and (not self._waiting or self._begun_since >= OTHERS_FIRST):
            return True
        return False if self._waiting else None
