"""What a simulated Google counts: requests a minute of each user and of the project, and requests a day."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime

from otjd.simulate.google_errors import GoogleError
from otjd.simulate.google_settings import Quotas

MINUTE_S = 60.0
DAY_MINUTES = 24 * 60
_USERS_KEPT = 10_000


class Usage:
    """Counts requests to the API, and refuses those above the quotas of a minute.

    `total` is how many there were, refused ones too; `most_a_day` how many at most in any 24 hours, which is what
    is charged for from a million on, counted by whole minutes.
    """

    def __init__(self, quotas: Quotas, now: Callable[[], datetime]) -> None:
        self.quotas = quotas
        self.total = 0
        self.most_a_day = 0
        self._now = now
        self._users: dict[str, deque[float]] = {}
        self._project: deque[float] = deque()
        self._minutes: deque[tuple[int, int]] = deque()
        self._last_day = 0

    def charge(self, user: str) -> None:
        """Count a request in the name of this user.

        :raises GoogleError: there were too many in the last 60 seconds.
        """
        at = self._now().timestamp()
        self._count(int(at // MINUTE_S))
        mine = self._users.setdefault(user, deque())
        for window in (mine, self._project):
            _forget(window, at)
        is_429 = self.quotas.refusal == 429
        if self.quotas.per_user is not None and len(mine) >= self.quotas.per_user:
            raise GoogleError(self.quotas.refusal, "rateLimitExceeded" if is_429 else "userRateLimitExceeded")
        if self.quotas.per_project is not None and len(self._project) >= self.quotas.per_project:
            raise GoogleError(self.quotas.refusal, "rateLimitExceeded")
        mine.append(at)
        self._project.append(at)
        if len(self._users) > _USERS_KEPT:
            self._users = {u: w for u, w in self._users.items() if w and w[-1] > at - MINUTE_S}

    def _count(self, minute: int) -> None:
        self.total += 1
        self._last_day += 1
        if self._minutes and self._minutes[-1][0] >= minute:
            last, count = self._minutes.pop()
            self._minutes.append((last, count + 1))
        else:
            self._minutes.append((minute, 1))
        while self._minutes[0][0] <= minute - DAY_MINUTES:
            self._last_day -= self._minutes.popleft()[1]
        self.most_a_day = max(self.most_a_day, self._last_day)


def _forget(window: deque[float], at: float) -> None:
    while window and window[0] <= at - MINUTE_S:
        window.popleft()
