"""Throttle: slows down an address that keeps failing to log in."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime

from otjd.serve.origin import network_of

FREE_FAILURES = 5
"""Failures that cost nothing: somebody mistypes a password."""

FIRST_DELAY_S = 0.25
LONGEST_DELAY_S = 4.0
"""Below the five seconds that some endpoints wait for an answer: what they get must stay a clear 401."""

FORGIVEN_AFTER_S = 600.0
ADDRESSES_LIMIT = 10_000


@dataclass(slots=True)
class _Record:
    failures: int
    last_at: float


class Throttle:
    """Counts failed logins by address, a network of 64 bits for IPv6.

    Only answers to wrong credentials are ever delayed: a right password behind the same address is served at once,
    and a success forgives nothing, or a guesser behind the same address would profit from it.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def failed(self, address: str) -> float:
        """Count a failure of `address`; gives the seconds to wait before it is answered."""
        now = self._clock.seconds()
        key = network_of(address)
        record = self._records.pop(key, None)
        if record is None or now - record.last_at > FORGIVEN_AFTER_S:
            record = _Record(0, now)
        record.failures += 1
        record.last_at = now
        self._records[key] = record  # the latest is last
        if len(self._records) > ADDRESSES_LIMIT:
            self._records.popitem(last=False)
        excess = record.failures - FREE_FAILURES
        return min(FIRST_DELAY_S * 2.0 ** min(excess - 1, 10), LONGEST_DELAY_S) if excess > 0 else 0.0
