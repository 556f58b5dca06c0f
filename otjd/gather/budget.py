"""Budget: how many requests an integration may still send, counted over the last 24 hours and kept over restarts.

The count is never below the truth: requests of five minutes expire together, when the youngest of them is a day
old; a clock that is set forward expires nothing early; and the file on disk counts some more than were sent, so
that a process that is killed has not sent any that nobody counted.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from otjd.gather.questions import Left
from otjd.gather.source import BudgetSpentError, ThrottledError
from otjd.gather.state_files import write_privately as _write
from otjd.gather.steady import SteadyTime
from otjd.seam import InThread, deferred

DAY_S = 86_400
STEP_S = 300
"""Requests of this many seconds are counted together."""

MINUTE_S = 60

LEAP_S = 600.0
"""The longest step of the clock that is believed between two questions."""

SAVE_EVERY_S = 5.0
"""At least this long between two writings of the file, unless what it allows for is soon spent."""

AHEAD_SHARE = 1000
"""One of this many requests of the quota is counted in advance on disk."""

_VERSION = 1
_OLDEST_S = 2.0 * DAY_S


class Count:
    """Numbers over a rolling span, by steps: a step counts until its youngest part is older than the span."""

    def __init__(self, span_s: float, step_s: float) -> None:
        self._span_s = span_s
        self._step_s = step_s
        self.steps: deque[tuple[float, int]] = deque()
        self.total = 0

    def add(self, at: float, number: int) -> None:
        """Count `number` at `at`, which is not before what was counted last."""
        if self.steps and at < self.steps[-1][0] + self._step_s:
            since, before = self.steps.pop()
            self.steps.append((since, before + number))
        else:
            self.steps.append((at, number))
        self.total += number

    def forget(self, at: float) -> None:
        """Let go what is older than the span at `at`."""
        while self.steps and self.steps[0][0] + self._step_s + self._span_s <= at:
            self.total -= self.steps.popleft()[1]


class Budget:
    """The requests of one integration.

    :param quota: most requests in any 24 hours; `per_minute` most in any 60 seconds, None where there is no limit.
    :param path: the file that keeps the count; None keeps it in memory alone.
    :param in_thread: runs what blocks, of the shape of `twisted.internet.threads.deferToThread`.
    """

    _log = Logger()

    def __init__(self, *, name: str, quota: int, clock: IReactorTime, now: Callable[[], datetime],
                 in_thread: InThread, path: Path | None = None, per_minute: int | None = None) -> None:
        self._name = name
        self.quota = quota
        self.per_minute = per_minute
        self._clock = clock
        self._now = now
        self._in_thread = in_thread
        self._path = path
        self._time = SteadyTime(clock.seconds, LEAP_S)
        self._day = Count(DAY_S, STEP_S)
        self._minute = Count(MINUTE_S, 1)
        self._in_all = 0
        self._promised = 0
        self._saved_at = float("-inf")
        self._timer: IDelayedCall | None = None
        self._saving: Deferred[None] | None = None
        self._has_failed = False
        self._is_closed = False

    async def load(self) -> None:
        """Take up the count that was kept before a restart, and keep it from now on.

        A file that cannot be read counts as a quarter of the quota: what was sent is not known.
        """
        if self._path is None:
            return
        try:
            kept = await self._in_thread(_read, self._path)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            self._log.warn("The requests that {integration} sent before are not known, since {path} cannot be "
                           "read ({error!r}); a quarter of its quota counts as spent", integration=self._name,
                           path=str(self._path), error=error)
            self._day.add(self._time(), self.quota // 4)
        else:
            self._take_up(*kept)
        await self._save()

    def _take_up(self, saved_at: datetime, ages: list[tuple[float, int]]) -> None:
        since_s = max(0.0, (self._now() - saved_at).total_seconds())
        at = self._time()
        for age_s, number in sorted(ages, reverse=True):
            self._day.steps.append((at - age_s - since_s, number))
            self._day.total += number
        self._day.forget(at)

    def configure(self, quota: int, per_minute: int | None = None) -> None:
        """Use another quota from now on; what was sent stays counted."""
        self.quota, self.per_minute = quota, per_minute

    def spend(self, requests: int) -> None:
        """Count requests, directly before they are sent.

        :raises BudgetSpentError: they would be more than the quota; they are not counted and must not be sent.
        :raises ThrottledError: they would be more than the limit of a minute; the same.
        """
        left = self.left()
        if requests > left.left:
            raise BudgetSpentError(
                f"The {self.quota} requests of 24 hours are spent ({left.used} sent, {requests} more wanted): "
                "raise the quota of the integration where the calendar system allows it")
        if left.this_minute is not None and requests > left.this_minute:
            raise ThrottledError(f"The {self.per_minute} requests of a minute are spent", timedelta(seconds=10))
        at = self._time()
        self._day.add(at, requests)
        self._minute.add(at, requests)
        self._in_all += requests
        self._promised -= requests
        self._keep()

    def left(self) -> Left:
        """What may be sent now."""
        at = self._time()
        self._day.forget(at)
        self._minute.forget(at)
        return Left(self.quota, self._day.total,
                    None if self.per_minute is None else max(0, self.per_minute - self._minute.total),
                    self._in_all)

    def used(self) -> int:
        """Requests of the last 24 hours."""
        return self.left().used

    async def close(self) -> None:
        """Write the exact count."""
        self._is_closed = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._saving is not None:
            await self._saving
        await self._save(exactly=True)

    @property
    def _ahead(self) -> int:
        return max(100, self.quota // AHEAD_SHARE)

    def _keep(self) -> None:
        """Write the file soon, at once where what it allows for is soon spent."""
        if self._path is None or self._is_closed or self._saving is not None:
            return
        wait_s = max(0.0, self._saved_at + SAVE_EVERY_S - self._time())
        if wait_s == 0 or self._promised < self._ahead // 2:
            if self._timer is not None and self._timer.active():
                self._timer.cancel()
            self._begin()
        elif self._timer is None or not self._timer.active():
            self._timer = self._clock.callLater(wait_s, self._begin)

    def _begin(self) -> None:
        if self._saving is None and not self._is_closed:
            self._saving = Deferred()
            deferred(self._save_once())

    async def _save_once(self) -> None:
        await self._save()
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.callback(None)

    async def _save(self, *, exactly: bool = False) -> None:
        if self._path is None:
            return
        at = self._saved_at = self._time()
        self._day.forget(at)
        ahead = 0 if exactly else self._ahead
        ages = [[round(at - since, 1), number] for since, number in self._day.steps]
        content = {"version": _VERSION, "saved_at": self._now().isoformat(), "sent": [*ages, [0.0, ahead]]}
        spent = self._in_all
        try:
            await self._in_thread(_write, self._path, json.dumps(content).encode())
        except OSError as error:
            if not self._has_failed:
                self._log.critical("The requests that {integration} sends cannot be counted in {path}: {error}; a "
                                   "restart would begin anew and may overdraw the quota. Check node.state_dir: it "
                                   "must be writable, and the disk must not be full", integration=self._name,
                                   path=str(self._path), error=str(error))
            self._has_failed = True
        else:
            self._promised = ahead - (self._in_all - spent)
            self._has_failed = False


def _read(path: Path) -> tuple[datetime, list[tuple[float, int]]]:
    """What `_write` wrote; blocks.

    :raises OSError: the file cannot be read.
    :raises ValueError: it holds something else; also KeyError, TypeError, OverflowError, RecursionError.
    """
    content: Any = json.loads(path.read_bytes())
    if content["version"] != _VERSION:
        raise ValueError(f"version {content['version']!r}, expected {_VERSION}")
    saved_at = datetime.fromisoformat(content["saved_at"])
    if saved_at.tzinfo is None:
        raise ValueError("saved_at has no time zone")
    ages = [(float(age_s), int(number)) for age_s, number in content["sent"]]
    if not all(0 <= age_s <= _OLDEST_S and number >= 0 for age_s, number in ages):
        raise ValueError("a number that cannot be")
    return saved_at, ages
