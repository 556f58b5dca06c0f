"""What the HTTP side and the services behind it say to each other: accounts, calls and replies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall

from otjd.meetings.model import Room
from otjd.serve.join_style import USUAL, JoinStyle

TEXT_XML = "text/xml; charset=utf-8"
"""Content type of every SOAP 1.1 answer of Exchange."""


@dataclass(frozen=True, slots=True)
class Account:
    """The login of one Poly endpoint. `username` is matched with its letter case; it names endpoint and room.

    `schemes` are the authentication schemes offered to it, in order, of digest, ntlm and basic; empty means those
    of the node. `style` is how it wants to be told what to dial.
    """

    username: str
    password: str = field(repr=False)
    endpoint: str
    room: Room
    schemes: tuple[str, ...] = ()
    style: JoinStyle = USUAL


@dataclass(frozen=True, slots=True)
class Call:
    """An authenticated request with its body, read whole.

    `base_url` is scheme, host and port as the client addressed them (`https://otj.example.com`), `path` is the
    decoded path without query.
    """

    account: Account
    scheme: str
    method: str
    path: str
    base_url: str
    content_type: str
    body: bytes
    client_address: str = ""
    user_agent: str = ""


class Outlet(Protocol):
    """The client's side of an answer that is held open."""

    is_ready: bool
    """Whether the client takes what is written; while it does not, nothing should be."""

    def write(self, document: bytes) -> None:
        """Send a part of the answer, whole."""
        ...

    def finish(self, error: str = "") -> None:
        """That was all; `error` is the code that the client got, for the log."""
        ...

    def call_later(self, delay_s: float, job: Callable[[], None]) -> IDelayedCall:
        """Have `job` called after a while."""
        ...


class Held(Protocol):
    """An answer that is held open, seen from the HTTP side."""

    def ready(self) -> None:
        """The client takes what is written, again."""
        ...

    def close(self) -> None:
        """End the answer now, as one that was complete."""
        ...

    def gone(self) -> None:
        """The client has left, or was cut off."""
        ...


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer. `operation` names what was asked (`FindItem`), `error` is the response code or the fault
    that the client got, for the log line and the status board; empty where all went well. An answer with `hold` is
    held open after `body`: what it makes of the client's side goes on with it."""

    status: int
    body: bytes
    content_type: str = TEXT_XML
    operation: str = ""
    error: str = ""
    meetings: int | None = None
    hold: Callable[[Outlet], Held] | None = None


Service = Callable[[Call], Reply]
"""A service behind the HTTP side: pure, quick, and never raising for what a client sent."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A request of a calendar system that tells of a change; nobody has signed in to send it.

    `query` is as twisted.web parses it, `headers` has lower-case names and the last value of each.
    """

    query: Mapping[bytes, Sequence[bytes]]
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


NoticeService = Callable[[Notice], Reply]
"""Takes notices: quick, and never raising for what a stranger sent."""
