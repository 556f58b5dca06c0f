"""Turns: how many endpoints are spoken to at the same time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime

T = TypeVar("T")

PATIENCE_S = 1.0


class Turns:
    """Lets `limit` jobs run at a time; one that takes longer than `patience_s` gives its turn to the next.

    So a thousand endpoints do not get connections in one burst, and yet dead ones, each of which takes until its
    timeout, hold up nobody.
    """

    def __init__(self, limit: int, clock: IReactorTime, patience_s: float = PATIENCE_S) -> None:
        self._semaphore = DeferredSemaphore(limit)
        self._clock = clock
        self._patience_s = patience_s

    async def run(self, job: Callable[[], Coroutine[Deferred[Any], Any, T]]) -> T:
        """Wait for a turn, then run `job` to its end and give what it gives."""
        await self._semaphore.acquire()
        given_back = self._clock.callLater(self._patience_s, self._semaphore.release)
        try:
            return await job()
        finally:
            if given_back.active():
                given_back.cancel()
                self._semaphore.release()
