"""Gate: how many connections the calendar service holds at a time, of everybody and of one address."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from otjd.operate.board import AlarmLevel, AlarmName, StatusBoard
from otjd.serve.limits import Limits
from otjd.serve.origin import Network, is_within, network_of

EVERYBODY = "calendar service"
"""The instance of the alarm, and the key in the log, when the limit of all connections is reached."""

QUIET_S = 60.0
"""A line about an address is not repeated within this time."""

ADDRESSES_LIMIT = 10_000
ALARMS_LIMIT = 100


class Sparing:
    """Says of each address at most once a minute what is wrong with it, however often it is."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._said: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def may_say(self, key: str) -> int | None:
        """None where it was said within the last minute, else how often it was not said since."""
        now = self._clock.seconds()
        said_at, kept = self._said.get(key, (now - QUIET_S, 0))
        if now - said_at < QUIET_S:
            self._said[key] = (said_at, kept + 1)
            return None
        self._said[key] = (now, 0)
        self._said.move_to_end(key)  # the latest is last
        if len(self._said) > ADDRESSES_LIMIT:
            self._said.popitem(last=False)
        return kept


class Gate:
    """Lets connections in up to the limits. Trusted proxies have no limit of their own: behind them are many.

    Every refusal raises `otj_connection_limit`; it is lowered when a tenth of the limit is free again.
    """

    _log = Logger()

    def __init__(self, board: StatusBoard, clock: IReactorTime, limits: Limits,
                 trusted_proxies: Sequence[Network] = ()) -> None:
        self._board = board
        self._sparing = Sparing(clock)
        self._total = 0
        self._by_network: Counter[str] = Counter()
        self._alarmed: set[str] = set()
        self.refused = 0
        self.reconfigure(limits, trusted_proxies)

    @property
    def connections(self) -> int:
        """How many are open."""
        return self._total

    def reconfigure(self, limits: Limits, trusted_proxies: Sequence[Network]) -> None:
        """Let other limits hold for connections from now on."""
        self._limits = limits
        self._trusted = tuple(trusted_proxies)
        for key in tuple(self._alarmed):
            self._calm(key)

    def enter(self, address: str) -> bool:
        """Count a connection that `address` opens; False where it must be closed instead."""
        if self._total >= self._limits.connections:
            self._refuse(EVERYBODY, address, self._limits.connections)
            return False
        if not self.enter_behind(address):
            return False
        self._total += 1
        return True

    def leave(self, address: str) -> None:
        """A connection that was let in has ended."""
        self._total -= 1
        self._calm(EVERYBODY)
        self.leave_behind(address)

    def enter_behind(self, address: str) -> bool:
        """Count a connection of `address` that is part of one that was let in already, by a proxy's word."""
        key = network_of(address)
        limit = self._limits.connections_per_address
        if self._by_network[key] >= limit and not is_within(address, self._trusted):
            self._refuse(key, address, limit)
            return False
        self._by_network[key] += 1
        return True

    def leave_behind(self, address: str) -> None:
        """Such a connection has ended."""
        key = network_of(address)
        self._by_network[key] -= 1
        if not self._by_network[key]:
            del self._by_network[key]
        self._calm(key)

    def _open(self, key: str) -> tuple[int, int]:
        """How many connections are open of a key, and how many may be."""
        if key == EVERYBODY:
            return self._total, self._limits.connections
        return self._by_network.get(key, 0), self._limits.connections_per_address

    def _refuse(self, key: str, address: str, limit: int) -> None:
        self.refused += 1
        name = "connections" if key == EVERYBODY else "connections_per_address"
        if (kept := self._sparing.may_say(key)) is not None:
            self._log.warn("A connection of {address} was closed: {limit} are open, the most that {key} allows "
                           "({refused} more were closed since this was last said)", address=address, limit=limit,
                           key=f"calendar_service.limits.{name}", refused=kept)
        if key not in self._alarmed and len(self._alarmed) < ALARMS_LIMIT:
            self._alarmed.add(key)
            self._board.raise_alarm(
                AlarmName.CONNECTION_LIMIT, key,
                f"{limit} connections are open, the most that calendar_service.limits.{name} allows, and more "
                f"were closed, {address} the first. Find out who opens so many, or allow more.",
                AlarmLevel.ERROR if key == EVERYBODY else AlarmLevel.WARNING)

    def _calm(self, key: str) -> None:
        if key in self._alarmed:
            connections, limit = self._open(key)
            if connections <= limit * 0.9:
                self._alarmed.discard(key)
                self._board.lower_alarm(AlarmName.CONNECTION_LIMIT, key)
