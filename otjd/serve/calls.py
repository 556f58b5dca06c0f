"""What the HTTP side and the services behind it say to each other: accounts, calls and replies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

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
    decoded path without query, `headers` has lower-case names and the last value of each.
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
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer. `operation` names what was asked (`FindItem`), `error` is the response code or the fault
    that the client got, for the log line and the status board; empty where all went well."""

    status: int
    body: bytes
    content_type: str = TEXT_XML
    operation: str = ""
    error: str = ""
    meetings: int | None = None


Service = Callable[[Call], Reply]
"""A service behind the HTTP side: pure, quick, and never raising for what a client sent."""
