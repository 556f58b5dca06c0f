"""The limits of a simulated Graph: requests and concurrency of an application in a mailbox, requests of an
application (sources.md, 3.6)."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from datetime import datetime, timedelta

from otjd.simulate.graph_errors import GraphError
from otjd.simulate.graph_settings import GraphSettings

_MAILBOX_WINDOW = timedelta(minutes=10)
_APP_WINDOW = timedelta(seconds=10)
_STEPS = 60


class _Window:
    """Counts requests of the last `length`, in steps of a sixtieth of it."""

    __slots__ = ("_counts", "_length_s", "_step_s", "_total")

    def __init__(self, length: timedelta) -> None:
        self._length_s = length.total_seconds()
        self._step_s = self._length_s / _STEPS
        self._counts: deque[list[int]] = deque()
        self._total = 0

    def count(self, now_s: float, limit: int) -> int:
        """Count a request; gives the seconds until there is room for it, 0 where there is."""
        step = int(now_s / self._step_s)
        while self._counts and self._counts[0][0] <= step - _STEPS:
            self._total -= self._counts.popleft()[1]
        if self._total >= limit:
            return max(1, round(self._counts[0][0] * self._step_s + self._length_s - now_s)) if self._counts else 1
        if not self._counts or self._counts[-1][0] != step:
            self._counts.append([step, 0])
        self._counts[-1][1] += 1
        self._total += 1
        return 0


class Limits:
    """Lets requests in, or not. `most_at_once` tells the highest concurrency that was asked of each mailbox."""

    def __init__(self, settings: GraphSettings, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._now = now
        self._apps: dict[str, _Window] = {}
        self._mailboxes: dict[tuple[str, str], _Window] = {}
        self._at_once: Counter[tuple[str, str]] = Counter()
        self.most_at_once: dict[str, int] = {}
        self.throttled = 0

    def enter(self, app: str, room: str) -> Callable[[], None]:
        """Let a request on a mailbox in, or on none where `room` is empty; gives what ends it.

        :raises GraphError: 429.
        """
        now_s = self._now().timestamp()
        wait_s = self._apps.setdefault(app, _Window(_APP_WINDOW)).count(now_s, self._settings.app_requests)
        if wait_s:
            raise self._throttled("Application is over its request limit.", wait_s, "TooManyRequests")
        if not room:
            return _nothing
        key = (app, room)
        if self._at_once[key] >= self._settings.mailbox_concurrency:
            raise self._throttled("Application is over its MailboxConcurrency limit.", 1)
        wait_s = self._mailboxes.setdefault(key, _Window(_MAILBOX_WINDOW)).count(
            now_s, self._settings.mailbox_requests)
        if wait_s:
            raise self._throttled("Application is over its MailboxRequests limit.", wait_s)
        self._at_once[key] += 1
        self.most_at_once[room] = max(self.most_at_once.get(room, 0), self._at_once[key])

        def leave() -> None:
            self._at_once[key] -= 1
            if not self._at_once[key]:
                del self._at_once[key]

        return leave

    def _throttled(self, message: str, wait_s: int, code: str = "ApplicationThrottled") -> GraphError:
        self.throttled += 1
        return GraphError(429, code, message, wait_s)


def _nothing() -> None:
    """There is nothing to end."""
