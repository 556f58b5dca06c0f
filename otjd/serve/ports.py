"""What lies between a port and the site: connections that send at once, the PROXY header of a balancer, TLS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IProtocolFactory, IReactorTime
from twisted.internet.tcp import Port, Server
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from otjd.protocol.proxy_header import ProxyHeaderError, read_proxy_header
from otjd.serve.gate import Gate, Sparing
from otjd.serve.origin import Network, address_of, is_within
from otjd.serve.tls import ReloadingContextFactory

HEADER_S = 10.0
"""How long a PROXY header may take to arrive; balancers send it with the connection."""

PIECE = 8192
"""Bytes encrypted at a time: OpenSSL's buffer grows to the most, and never shrinks while a client stays."""


class PromptConnection(Server):
    """A connection that sends what is written at once, as far as the system takes it.

    Twisted's own sends when the reactor tells that it may, which costs every answer three calls of the system and
    a turn of the reactor. What the system does not take waits there as usual, and what follows waits behind it.
    """

    _waits = False  # whether the reactor was asked to tell: something is to be sent or to be ended
    _held: bytearray | None = None
    _host: Any = None
    _peer: Any = None

    def write(self, data: bytes) -> None:
        """Send bytes, or have them sent."""
        if self._held is not None:
            self._held += data
            return
        if self.connected and not self._waits:
            sent = self.writeSomeData(data)
            if sent == len(data):
                return
            if isinstance(sent, int):
                data = data[sent:]
        super().write(data)  # type: ignore[no-untyped-call] # finds out too where the connection is lost

    def hold(self) -> None:
        """Let what is written wait until `release`, to be sent as one."""
        if self._held is None:
            self._held = bytearray()

    def release(self) -> None:
        """Send what was held."""
        held, self._held = self._held, None
        if held:
            self.write(bytes(held))

    def startWriting(self) -> None:
        """Something waits."""
        self._waits = True
        super().startWriting()  # type: ignore[no-untyped-call]

    def stopWriting(self) -> None:
        """Nothing waits any more."""
        self._waits = False
        super().stopWriting()  # type: ignore[no-untyped-call]

    def abortConnection(self) -> None:
        """End at once; nothing more is to be sent."""
        super().abortConnection()  # type: ignore[no-untyped-call]
        self._waits = True

    def getHost(self) -> Any:
        """What the client connected to; it does not change, and is the same for many."""
        if self._host is None:
            self._host = _one_for_all(super().getHost())  # type: ignore[no-untyped-call]
        return self._host

    def getPeer(self) -> Any:
        """Who connected."""
        if self._peer is None:
            self._peer = super().getPeer()  # type: ignore[no-untyped-call]
        return self._peer


@lru_cache(maxsize=256)
def _one_for_all(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    return address


class PromptPort(Port):
    """A listening port whose connections send at once."""

    transport = PromptConnection


def listen(reactor: Any, port: int, factory: IProtocolFactory, *, backlog: int = 50,
           interface: str = "") -> Any:
    """Listen as `reactor.listenTCP` does, with connections that send at once.

    :raises CannotListenError: as there.
    """
    listening = PromptPort(port, factory, backlog, interface, reactor)
    listening.startListening()
    return listening


class TlsConnection(TLSMemoryBIOProtocol):
    """TLS that sends what is written at once; Twisted's own gathers it until the reactor's next turn."""

    transport: Any

    def write(self, data: bytes) -> None:
        """Send bytes, large ones in pieces that go out together."""
        if len(data) <= PIECE:
            super().write(data)  # type: ignore[no-untyped-call]
            return
        self.transport.hold()
        try:
            for begin in range(0, len(data), PIECE):
                super().write(data[begin:begin + PIECE])  # type: ignore[no-untyped-call]
        finally:
            self.transport.release()


class TlsFactory(TLSMemoryBIOFactory):
    """TLS before a factory that may refuse a connection, where Twisted's own would go on with no protocol.

    For ports of `listen`.
    """

    def __init__(self, context: ReloadingContextFactory, factory: IProtocolFactory, clock: IReactorTime) -> None:
        super().__init__(context, False, factory, clock)

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """TLS around the factory's protocol; None where it refuses."""
        inside = self.wrappedFactory.buildProtocol(addr)
        return None if inside is None else TlsConnection(self, inside)  # type: ignore[no-untyped-call]


class ProxyFactory(WrappingFactory[Any]):
    """The PROXY protocol before a factory: connections come from trusted balancers alone, and begin with a header.

    `trusted` gives the networks that are trusted now, `gate` counts the connections of each client.
    """

    _log = Logger()

    def __init__(self, factory: IProtocolFactory, *, trusted: Callable[[], Sequence[Network]], gate: Gate,
                 clock: IReactorTime) -> None:
        super().__init__(factory)  # type: ignore[no-untyped-call]
        self.gate = gate
        self.clock = clock
        self._trusted = trusted
        self._sparing = Sparing(clock)

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A connection that waits for its header; None for strangers."""
        address = str(getattr(addr, "host", ""))
        if not is_within(address, self._trusted()):
            self.complain(address, "it is none of calendar_service.trusted_proxies, and this listener takes "
                                   "connections of load balancers only (proxy_protocol)")
            return None
        inside = self.wrappedFactory.buildProtocol(addr)
        return None if inside is None else ProxiedConnection(self, inside)

    def complain(self, address: str, error: str) -> None:
        """Log, at most once a minute for each address, why a connection was closed."""
        if (kept := self._sparing.may_say(address)) is not None:
            self._log.warn("A connection of {address} was closed: {error} ({refused} more were closed since this "
                           "was last said)", address=address, error=error, refused=kept)


class ProxiedConnection(ProtocolWrapper):
    """A connection of a balancer: what follows its header is that of the client."""

    factory: Any
    transport: Any

    def __init__(self, factory: ProxyFactory, inside: Any) -> None:
        super().__init__(factory, inside)
        self._unread = b""
        self._source: Any = None
        self._destination: Any = None
        self._counted = ""
        self._is_closed = False
        self._late = factory.clock.callLater(HEADER_S, self._close,
                                             f"no PROXY header arrived within {HEADER_S:g} s")

    def dataReceived(self, data: bytes) -> None:
        """A part of the header; what is left of it goes on."""
        if self._is_closed:
            return
        self._unread += data
        try:
            header = read_proxy_header(self._unread)
        except ProxyHeaderError as error:
            self._close(str(error))
            return
        if header is None:
            return
        self._late.cancel()
        rest, self._unread = self._unread[header.length:], b""
        if header.source is not None and header.destination is not None:
            if not self.factory.gate.enter_behind(header.source[0]):
                self._is_closed = True
                self.transport.abortConnection()
                return
            self._counted = header.source[0]
            self._source, self._destination = _tcp(*header.source), _tcp(*header.destination)
        inside: Any = self.wrappedProtocol
        self.dataReceived = inside.dataReceived  # type: ignore[method-assign] # from now on without a detour
        if rest:
            inside.dataReceived(rest)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """The connection ended."""
        if self._late.active():
            self._late.cancel()
        if self._counted:
            self.factory.gate.leave_behind(self._counted)
        self.__dict__.pop("dataReceived", None)  # it would keep the two alive
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def getPeer(self) -> Any:
        """The client."""
        return self._source or self.transport.getPeer()

    def getHost(self) -> Any:
        """What the client connected to."""
        return self._destination or self.transport.getHost()

    def _close(self, error: str) -> None:
        self._is_closed = True
        if self._late.active():
            self._late.cancel()
        self.factory.complain(str(getattr(self.transport.getPeer(), "host", "")), error)
        self.transport.abortConnection()


def _tcp(host: str, port: int) -> IPv4Address | IPv6Address:
    address = address_of(host)
    return (IPv6Address if address is not None and address.version == 6 else IPv4Address)("TCP", host, port)
