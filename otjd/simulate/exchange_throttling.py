"""The budgets that a simulated Exchange gives to its callers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from otjd.protocol.soap import SoapFault
from otjd.simulate.exchange_settings import Throttling
from otjd.simulate.exchange_wire import Denied, fault

_HOUR = timedelta(hours=1)


def busy(back_off: timedelta) -> SoapFault:
    """The Fault of a server that has too much to do."""
    refused = fault("ErrorServerBusy")
    milliseconds = max(1, int(back_off / timedelta(milliseconds=1)))
    return SoapFault(refused.code, refused.message, values={"BackOffMilliseconds": str(milliseconds)})


@dataclass(slots=True)
class _Burst:
    left: timedelta
    at: datetime


class Budgets:
    """What callers use and may use.

    Requests are charged to the service account, the stricter of what versions do; hanging connections to the
    mailbox that is impersonated. `peak` is the most requests that were served at once for one account.
    """

    def __init__(self, policy: Throttling, *, now: Callable[[], datetime]) -> None:
        self.policy = policy
        self._now = now
        self._serving: Counter[str] = Counter()
        self._hanging: Counter[str] = Counter()
        self._bursts: dict[str, _Burst] = {}
        self.peak = 0

    @contextmanager
    def request(self, account: str) -> Iterator[None]:
        """A request of an account, while it is served.

        :raises SoapFault: there are too many at once, or the account has used up its time.
        """
        limit = self.policy.max_concurrency
        if limit is not None and self._serving[account] >= limit:
            raise fault("ErrorExceededConnectionCount")
        self._check_burst(account)
        self._serving[account] += 1
        self.peak = max(self.peak, self._serving[account])
        began = self._now()
        try:
            yield
        finally:
            self._serving[account] -= 1
            if account in self._bursts:
                self._bursts[account].left -= self._now() - began

    def hang(self, mailbox: str) -> None:
        """Open a hanging connection.

        :raises Denied: there are too many.
        """
        limit = self.policy.hanging_connections
        if limit is not None and self._hanging[mailbox] >= limit:
            raise Denied("ErrorExceededConnectionCount")
        self._hanging[mailbox] += 1

    def unhang(self, mailbox: str) -> None:
        """Close one."""
        self._hanging[mailbox] -= 1

    @property
    def hanging(self) -> int:
        """All hanging connections."""
        return self._hanging.total()

    def _check_burst(self, account: str) -> None:
        if self.policy.max_burst is None:
            return
        now, rate = self._now(), self.policy.recharge_per_hour / _HOUR
        burst = self._bursts.setdefault(account, _Burst(self.policy.max_burst, now))
        burst.left = min(self.policy.max_burst, burst.left + (now - burst.at) * rate)
        burst.at = now
        if burst.left <= timedelta():
            raise busy(-burst.left / rate + timedelta(milliseconds=1))
