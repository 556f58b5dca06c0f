"""Servers on loopback that do what a test says, and certificates for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import Certificate, PrivateCertificate, trustRootFromCertificates
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from otjd.seam import deferred
from otjd.simulate.certificates import make_certificates

reactor: Any = installed_reactor
PATIENCE = 4000


async def until(holds: Callable[[], object]) -> None:
    """Wait, with patience, until something holds."""
    for _ in range(PATIENCE):
        if holds():
            return
        await deferLater(reactor, 0.005)
    raise AssertionError("waited in vain")


class Clocked:
    """The real reactor, with a clock of the test's own for everything that is waited for."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.callLater = self.clock.callLater
        self.seconds = self.clock.seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class Scripted(Protocol):
    """Answers the first bytes of every connection with what the test wrote, and notes the end."""

    def connectionMade(self) -> None:
        self.server.connected += 1
        self.server.open.append(self)
        self.sent = False

    @property
    def server(self) -> Server:
        assert isinstance(self.factory, Server)
        return self.factory

    def dataReceived(self, data: bytes) -> None:
        self.server.received += data
        if not self.sent and b"\r\n\r\n" in self.server.received:
            self.sent = True
            self.server.answer(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.server.open.remove(self)


class Server(Factory):
    protocol = Scripted
    noisy = False

    def __init__(self, answer: Callable[[Any], None]) -> None:
        self.answer = answer
        self.connected = 0
        self.open: list[Scripted] = []
        self.received = b""


def says(data: bytes, *, close: bool = False) -> Callable[[Any], None]:
    def answer(transport: Any) -> None:
        transport.write(data)
        if close:
            transport.loseConnection()
    return answer


@asynccontextmanager
async def listening(answer: Callable[[Any], None], tls: Any = None) -> AsyncIterator[tuple[Server, int]]:
    """A server on loopback; at the end all its connections must be gone, by the client's doing."""
    server = Server(answer)
    port: IListeningPort = (reactor.listenSSL(0, server, tls, interface="127.0.0.1") if tls
                            else reactor.listenTCP(0, server, interface="127.0.0.1"))
    try:
        yield server, port.getHost().port  # type: ignore[attr-defined]
        await until(lambda: not server.open)
    finally:
        await maybeDeferred(port.stopListening)


class Certificates:
    """A CA, and a server certificate for localhost and 127.0.0.1."""

    def __init__(self, directory: Path) -> None:
        paths = make_certificates(directory, ["codec.example.com"], datetime.now(UTC))
        self.ca_file = paths.ca_certificate
        self.pem = paths.certificate.read_bytes() + paths.private_key.read_bytes()
        ca = Certificate.loadPEM(paths.ca_certificate.read_bytes())
        self.trust_root = trustRootFromCertificates([ca])  # type: ignore[no-untyped-call]

    def options(self) -> Any:
        return PrivateCertificate.loadPEM(self.pem).options()  # type: ignore[no-untyped-call]


Handler = Callable[[Any], Any]
"""From a twisted.web request to the body of its answer; None: never answered."""


class Web(Resource):
    """A web server whose answers the test writes. `handled` are the requests, `connected` those who connected."""

    def __init__(self, handler: Handler) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.isLeaf = True
        self.handler = handler
        self.handled: list[Any] = []
        self.held: list[Any] = []

    def render(self, request: Any) -> Any:
        request.body = request.content.read()
        self.handled.append(request)
        answer = self.handler(request)
        if answer is None:
            self.held.append(request)
            return NOT_DONE_YET
        return answer

    @property
    def clients(self) -> list[int]:
        """The port of the client of every request."""
        return [request.getClientAddress().port for request in self.handled]


@asynccontextmanager
async def web(handler: Handler, tls: Any = None, interface: str = "127.0.0.1") -> AsyncIterator[tuple[Web, int]]:
    """A web server on loopback."""
    resource = Web(handler)
    site = Site(resource)  # type: ignore[no-untyped-call]
    site.noisy = False
    port: IListeningPort = (reactor.listenSSL(0, site, tls, interface=interface) if tls
                            else reactor.listenTCP(0, site, interface=interface))
    try:
        yield resource, port.getHost().port  # type: ignore[attr-defined]
    finally:
        await maybeDeferred(port.stopListening)
        await deferLater(reactor, 0.01)  # connections that were dropped say so


class Tunnel(Protocol):
    """The proxy's side: answers CONNECT byte by byte, then passes on what comes."""

    def __init__(self, through: Tunnels) -> None:
        self.through = through
        self.head = b""
        self.far: Any = None
        self.is_lost = False

    def dataReceived(self, data: bytes) -> None:
        if self.far is not None:
            self.far.transport.write(data)
            return
        self.head += data
        if b"\r\n\r\n" in self.head:
            self.through.heads.append(self.head)
            deferred(self.answer())

    async def answer(self) -> None:
        near: Any = self.transport
        far: Any = Protocol()
        far.dataReceived = near.write
        far.connectionLost = lambda reason: near.loseConnection()
        await connectProtocol(  # type: ignore[no-untyped-call]
            TCP4ClientEndpoint(reactor, "127.0.0.1", self.through.port), far)
        if self.is_lost:
            far.transport.loseConnection()
            return
        self.far = far
        for byte in b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n":
            near.write(bytes([byte]))
            await deferLater(reactor, 0)

    def connectionLost(self, reason: Any = None) -> None:
        self.is_lost = True
        if self.far is not None:
            self.far.transport.loseConnection()


class Tunnels(Factory):
    """Whatever is asked for, the tunnel ends at a port of the test's."""

    noisy = False

    def __init__(self, port: int) -> None:
        self.port = port
        self.heads: list[bytes] = []

    def buildProtocol(self, _: Any) -> Tunnel:
        return Tunnel(self)


@asynccontextmanager
async def tunnels(to: int, tls: Any = None) -> AsyncIterator[tuple[Tunnels, int]]:
    factory = Tunnels(to)
    port = (reactor.listenSSL(0, factory, tls, interface="127.0.0.1") if tls
            else reactor.listenTCP(0, factory, interface="127.0.0.1"))
    try:
        yield factory, port.getHost().port
    finally:
        await port.stopListening()
        await deferLater(reactor, 0.02)
