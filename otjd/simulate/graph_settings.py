"""How a simulated Microsoft Graph is set up: its applications, what it enforces, what goes wrong on command."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Literal

from otjd.simulate.faults import Striking

TENANT_ID = "3f1c9a52-6c1d-4b0e-9d0a-5a7f0c2b8e11"

FaultKind = Literal["status", "stall", "slow", "reset", "truncated", "html"]
"""What can go wrong with a request whose token is good.

`status`: an error of the fault's status, with `retry_after_s` where it is given; `stall`: never answered; `slow`:
answered `delay_s` later; `reset`: the connection is reset; `truncated`: the answer breaks off in its middle;
`html`: the page of something that stands between client and server, with status 200.
"""


class Mailbox(StrEnum):
    """What there is to be read behind an address (sources.md, 3.6)."""

    READABLE = "readable"
    NOT_IN_THE_CLOUD = "a user without an Exchange Online mailbox"
    BLOCKED = "blocked by an application access policy"
    UNKNOWN = "no such user"


@dataclass(frozen=True, slots=True)
class GraphApp:
    """An app registration. `roles` are its consented application permissions."""

    client_id: str
    client_secret: str = field(repr=False)
    roles: frozenset[str] = frozenset({"Calendars.Read"})
    secret_expired: bool = False

    @property
    def may_read(self) -> bool:
        """Whether it may read events with their bodies and extended properties."""
        return bool(self.roles & {"Calendars.Read", "Calendars.ReadWrite"})

    @property
    def may_read_basics(self) -> bool:
        """Whether it may read events and free/busy at all."""
        return self.may_read or "Calendars.ReadBasic.All" in self.roles or "Calendars.ReadBasic" in self.roles


@dataclass(frozen=True, slots=True)
class GraphSettings:
    """What a simulated Graph is like; the numbers are Microsoft's own where one is published (sources.md, 3).

    `latency_s` are the shortest and the longest time of an answer, `notification_delay_s` those between a change
    and its notification. A booking shows in getSchedule after `schedule_delay`. `delta_life` None: tokens of delta
    last for ever. `attendees` more are made up for each event, so that events have their usual size.
    """

    apps: tuple[GraphApp, ...]
    tenant: str = "contoso.onmicrosoft.com"
    token_life: timedelta = timedelta(seconds=3599)
    page_size: int = 10
    schedules_limit: int = 20
    schedule_delay: timedelta = timedelta(0)
    mailbox_requests: int = 10_000
    mailbox_concurrency: int = 4
    app_requests: int = 130_000
    latency_s: tuple[float, float] = (0.0, 0.0)
    delta_life: timedelta | None = None
    attendees: int = 0
    subscription_life: timedelta = timedelta(minutes=4230)
    subscriptions_per_mailbox: int = 1000
    notification_delay_s: tuple[float, float] = (0.0, 0.0)
    notification_timeout_s: float = 3.0
    validation_timeout_s: float = 10.0
    retry_first_s: float = 10.0
    retry_for: timedelta = timedelta(hours=4)
    notification_ca_file: Path | None = None
    seed: int = 0


@dataclass(slots=True)
class Fault(Striking[FaultKind]):
    """A fault to have. Operations are `token`, `calendarView`, `delta`, `getSchedule`, `event`, `subscriptions`
    and `$batch`."""

    status: int = 503
    retry_after_s: int | None = None
    delay_s: float = 60.0
