"""The calendar site with services that tell what they were called with, in memory or on a loopback port."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from types import TracebackType
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from otjd.meetings.model import EndpointType, Room
from otjd.operate.board import EndpointFacts, EndpointState, StatusBoard
from otjd.serve.calls import Account, Call, Reply, Service
from otjd.serve.ports import TlsFactory, listen
from otjd.serve.site import CalendarSite, SiteSettings
from otjd.serve.tls import ReloadingContextFactory
from otjd.serve.wire_log import WireLog
from otjd.simulate.certificates import Certificates
from tests.serve.ews_support import random_bytes

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ROOM = Room("boardroom@example.com", "default")
BOARDROOM = Account("boardroom", "poly-secret", "Boardroom Group 500", ROOM)
LOUNGE = Account("lounge", "lounge-secret", "Lounge X50", Room("lounge@example.com", "default"))
PATH = "/EWS/Exchange.asmx"
PROXY = "192.0.2.1"
FOUND = Reply(200, b"<answer/>", operation="FindItem", meetings=3)


@dataclass
class Site:
    """The site, the calls that reached its services, and the board it reports to."""

    reactor: Any = field(default_factory=Clock)
    settings: SiteSettings = field(default_factory=lambda: SiteSettings(
        authentication=("digest", "ntlm", "basic"), trusted_proxies=(ip_network(f"{PROXY}/32"),)))
    accounts: tuple[Account, ...] = (BOARDROOM, LOUNGE)
    now: Callable[[], datetime] = lambda: NOW
    ready: bool = True
    wire_log: WireLog | None = None
    reply: Reply = FOUND
    service: Service | None = None
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.board = StatusBoard(self.now)
        self.board.configure([EndpointFacts(a.endpoint, EndpointType.POLY, a.room.email, a.room.profile)
                              for a in self.accounts], [])
        self.site = CalendarSite(
            routes={PATH.lower(): self.serve, "/autodiscover/autodiscover.xml": self.serve},
            accounts=self.accounts, settings=self.settings, board=self.board, ready=lambda: self.ready,
            reactor=self.reactor, now=self.now, random_bytes=random_bytes(), wire_log=self.wire_log)

    def serve(self, call: Call) -> Reply:
        self.calls.append(call)
        return self.reply if self.service is None else self.service(call)

    def endpoint(self, account: Account = BOARDROOM) -> EndpointState:
        (state,) = [e for e in self.board.endpoints() if e.facts.name == account.endpoint]
        return state

    def connect(self, peer: str = "10.0.0.1") -> Wire:
        return Wire(self, peer)


class FakeTransport(StringTransport):
    """Ends its protocol as a real one does."""

    protocol: Any

    def loseConnection(self) -> None:
        self.abortConnection()

    def abortConnection(self) -> None:
        if not self.disconnecting:
            self.disconnecting = True
            self.protocol.connectionLost(closed())


def closed() -> Any:
    from twisted.internet.error import ConnectionDone
    from twisted.python.failure import Failure

    return Failure(ConnectionDone())  # type: ignore[no-untyped-call]


@dataclass
class Answer:
    """A response of HTTP."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    def header(self, name: str) -> str:
        (value,) = self.all(name)
        return value


def read_answers(data: bytes, *, head: bool = False) -> list[Answer]:
    """Every response in `data`; each must have a length."""
    found = []
    while data:
        top, blank, data = data.partition(b"\r\n\r\n")
        assert blank, f"an unfinished answer: {top!r}"
        first, *lines = top.decode().split("\r\n")
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        status = int(first.split()[1])
        answer = Answer(status, headers, b"")
        if status != 100:
            length = 0 if head else int(answer.header("content-length"))
            answer.body, data = data[:length], data[length:]
            assert len(answer.body) == length
        found.append(answer)
    return found


class Wire:
    """A connection in memory."""

    def __init__(self, world: Site, peer: str) -> None:
        address: Any = IPv4Address("TCP", peer, 50000)
        built: Any = world.site.buildProtocol(address)
        self.channel = built
        transport: Any = FakeTransport  # its class has no types
        self.transport = transport(hostAddress=IPv4Address("TCP", "10.0.0.9", 443), peerAddress=address)
        self.transport.protocol = self.channel
        self.channel.makeConnection(self.transport)

    def send(self, data: bytes, *, head: bool = False) -> list[Answer]:
        self.channel.dataReceived(data)
        return self.read(head=head)

    def read(self, *, head: bool = False) -> list[Answer]:
        data = self.transport.value()
        self.transport.clear()
        return read_answers(data, head=head)

    def ask(self, method: str = "POST", path: str = PATH, body: bytes = b"<ask/>", **headers: str) -> Answer:
        (answer,) = self.send(request(method, path, body, **headers), head=method == "HEAD")
        return answer

    @property
    def is_closed(self) -> bool:
        return bool(self.transport.disconnecting)

    def close(self) -> None:
        self.transport.loseConnection()


def request(method: str = "POST", path: str = PATH, body: bytes = b"<ask/>", **headers: str) -> bytes:
    """A request; names of headers are written with `_` for `-`, and left out where their value is empty."""
    given = {"Host": "otj.example.com", "Content_Length": str(len(body)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items() if value)
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body


class Served:
    """A Site that is listened with on loopback, behind TLS."""

    def __init__(self, certificates: Certificates, reactor: Any, minimum_tls: str = "1.2",
                 more: tuple[tuple[Path, Path], ...] = (), **site: Any) -> None:
        self.certificates = certificates
        self.contexts = ReloadingContextFactory((certificates.certificate, certificates.private_key), *more,
                                                minimum_tls=minimum_tls)
        self.world = Site(reactor=reactor, now=lambda: datetime.now(UTC), **site)
        self._reactor = reactor

    async def __aenter__(self) -> Served:
        self._port = listen(self._reactor, 0, self.factory(), interface="127.0.0.1")
        self.port = self._port.getHost().port
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None,
                        traceback: TracebackType | None) -> None:
        await self._port.stopListening()
        await self.world.site.close_connections()

    def factory(self) -> Any:
        return TlsFactory(self.contexts, self.world.site, self._reactor)

    def url(self, path: str = PATH) -> str:
        return f"https://127.0.0.1:{self.port}{path}"

    @contextmanager
    def socket(self, ca: Path | None = None) -> Iterator[ssl.SSLSocket]:
        """A blocking client, for use in a thread."""
        context = ssl.create_default_context(cafile=ca or self.certificates.ca_certificate)
        with (socket.create_connection(("127.0.0.1", self.port), timeout=20) as plain,
              context.wrap_socket(plain, server_hostname="localhost") as secure):
            yield secure
