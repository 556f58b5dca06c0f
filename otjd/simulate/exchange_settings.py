"""How a simulated Exchange is set up: its accounts, what it enforces, and what goes wrong with it on command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Literal

from lxml import etree

from otjd.simulate.faults import Striking

Scheme = Literal["negotiate", "ntlm", "basic", "bearer"]
ExtendedProtection = Literal["none", "allow", "require"]
Make = Literal["microsoft", "other"]

FaultKind = Literal["busy", "error", "503", "401", "stall", "slow", "reset", "truncated", "html"]
"""What can go wrong with a request, once it is signed in.

`busy`: ErrorServerBusy with a back-off; `error`: a Fault with the response code of the fault; `503`: the queue of
IIS is full; `401`: as if the password were wrong; `stall`: never answered; `slow`: answered after a while;
`reset`: the connection is reset; `truncated`: the answer breaks off in its middle; `html`: the page of something
that stands between client and server, with status 200.
"""

Validate = Callable[[etree._Element], str]
"""Holds a request's operation, or a header of it, against a schema: what violates it, or nothing."""


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """An account that reads mailboxes by impersonation.

    `username` is written `user@domain`, or `DOMAIN\\user`; either form of the same name signs in. `rooms` are the
    mailboxes that its management scope covers, in lower case; None: all.
    """

    username: str
    password: str = field(repr=False)
    rooms: frozenset[str] | None = None

    def is_called(self, username: str, domain: str = "") -> bool:
        """Whether a user name as a client sends it, with or without a domain, is that of this account."""
        own = self.username.lower()
        if "\\" in own:
            names = {own, own.rpartition("\\")[2]}
        else:
            user, _, host = own.partition("@")
            names = {own, user, f"{host}\\{user}", f"{host.partition('.')[0]}\\{user}"}
        return (f"{domain}\\{username}" if domain and "@" not in username else username).lower() in names

    def may_impersonate(self, room: str) -> bool:
        """Whether this mailbox, in lower case, is within its scope."""
        return self.rooms is None or room in self.rooms


@dataclass(frozen=True, slots=True)
class Throttling:
    """The throttling policy of every account, in the terms of Get-ThrottlingPolicy; None: not limited.

    The burst is the time of work that an account may take beyond its recharge rate; beyond that it is told
    ErrorServerBusy with the time after which there is some again.
    """

    max_concurrency: int | None = 27
    hanging_connections: int | None = 10
    max_subscriptions: int | None = 5000
    find_count_limit: int = 1000
    max_burst: timedelta | None = None
    recharge_per_hour: timedelta = timedelta(minutes=15)


UNLIMITED = Throttling(None, None, None, 1000)


@dataclass(frozen=True, slots=True)
class ExchangeSettings:
    """What a simulated Exchange is like.

    `schemes` are offered in this order; under the name of Negotiate NTLM is taken. `lockout_attempts` wrong
    passwords in a row lock an account. `groups` is the number of database availability groups that rooms are
    spread over, `backends` that of the mailbox servers in each. `latency_s` are the shortest and the longest time
    of an answer; with `compresses` long answers are packed for clients that take gzip. `event_delay_s` passes
    between a change and its event. `max_events` are kept for a subscription that nobody reads. With
    `moves_deleted` a deleted item is moved to Deleted Items. `make` is whose EWS it is, see OTHER_MAKE.
    """

    accounts: tuple[ServiceAccount, ...]
    schemes: tuple[Scheme, ...] = ("negotiate", "ntlm", "basic")
    extended_protection: ExtendedProtection = "none"
    lockout_attempts: int = 5
    version: str = "15.2.1748.10"
    throttling: Throttling = Throttling()
    latency_s: tuple[float, float] = (0.0, 0.0)
    compresses: bool = True
    groups: int = 1
    backends: int = 2
    affinity: bool = True
    event_delay_s: float = 0.0
    heartbeat_s: float = 45.0
    subscription_life: timedelta = timedelta(minutes=30)
    max_events: int = 1000
    moves_deleted: bool = False
    token_life: timedelta = timedelta(hours=1)
    validate: Validate | None = None
    make: Make = "microsoft"


OTHER_MAKE: Mapping[str, Any] = MappingProxyType({
    "make": "other", "schemes": ("basic",), "affinity": False, "event_delay_s": 4.7, "heartbeat_s": 50.0})
"""Settings of a server that speaks EWS and is not Microsoft's, as one was found to be.

A CalendarView does not expand series: it shows the master of one whose first occurrence lies in it, and nothing
of one that began earlier. Faults come with status 200, unknown mailboxes as ErrorCannotFindUser. A stream tells
of the mailbox that opens it; subscriptions of others are invalid there. Autodiscover has its older form alone.
When rooms are busy is told of none.
"""


@dataclass(slots=True)
class Fault(Striking[FaultKind]):
    """A fault to have: `code` is that of an `error`; `back_off` goes with `busy`; `slow` takes `delay_s` more."""

    code: str = "ErrorInternalServerTransientError"
    back_off: timedelta = timedelta(seconds=30)
    delay_s: float = 60.0
