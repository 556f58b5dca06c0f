"""The one poller: runs a job again and again, one run at a time, until it is stopped."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from otjd.seam import deferred


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds to wait after the first failure in a row, doubled by each further one, up to a limit.

    Up to a tenth is added at random so that what failed together does not try again together.
    """

    first_s: float = 5.0
    limit_s: float = 300.0

    def delay_s(self, failures: int, jitter: float) -> float:
        """Seconds to wait after `failures` failures in a row; `jitter` is in [0, 1)."""
        return float(min(self.limit_s, self.first_s * 2.0 ** min(failures - 1, 30)) * (1 + jitter / 10))


class Poller:
    """Runs `run` at once when started, then `interval_s` after the end of each run.

    One run at a time; triggers during a run coalesce into one more run. `run` may return the seconds until the
    next run in place of `interval_s`. A run that raises is reported to `failed(error, attempt, delay_s)` and tried
    again after a backoff; no error ends the loop.
    """

    def __init__(self, run: Callable[[], Coroutine[Deferred[Any], Any, float | None]], *,
                 clock: IReactorTime, interval_s: float, jitter: Callable[[], float],
                 failed: Callable[[Exception, int, float], None], backoff: Backoff | None = None) -> None:
        self._run = run
        self._clock = clock
        self._interval_s = interval_s
        self._jitter = jitter
        self._failed = failed
        self._backoff = backoff or Backoff()
        self._failures = 0
        self._timer: IDelayedCall | None = None
        self._running: Deferred[None] | None = None
        self._again = False
        self._started = False

    def start(self, delay_s: float = 0.0) -> None:
        """Start; the first run comes after `delay_s`."""
        self._started = True
        if delay_s > 0:
            self._schedule(delay_s)
        else:
            self._begin()

    def trigger(self, *, hurry: bool = False) -> None:
        """Ask for a run now. While backing off from a failure it waits for its turn, unless in a `hurry`."""
        if not self._started:
            return
        if self._running is not None:
            self._again = True
        elif hurry or not self._failures:
            self._begin()

    async def stop(self) -> None:
        """End after the run in progress."""
        self._started = False
        self._cancel_timer()
        if self._running is not None:
            done: Deferred[None] = Deferred()
            self._running.addBoth(done.callback)
            await done

    def _cancel_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _schedule(self, delay_s: float) -> None:
        self._cancel_timer()
        self._timer = self._clock.callLater(delay_s, self._begin)

    def _begin(self) -> None:
        self._cancel_timer()
        self._again = False
        self._running = Deferred()
        deferred(self._once())

    async def _once(self) -> None:
        try:
            delay_s = await self._run()
        except Exception as error:  # whatever a run raises must not end the loop
            self._failures += 1
            delay_s = self._backoff.delay_s(self._failures, self._jitter())
            self._failed(error, self._failures, delay_s)
        else:
            self._failures = 0
        running, self._running = self._running, None
        if self._started:
            if self._again and not self._failures:
                self._schedule(0.0)
            else:
                self._schedule(self._interval_s if delay_s is None else delay_s)
        if running is not None:
            running.callback(None)
