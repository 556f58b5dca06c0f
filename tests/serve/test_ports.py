"""What lies before the site: the PROXY protocol and TLS, on real sockets over loopback."""

from __future__ import annotations

import socket
import ssl
import struct
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from otjd.serve.limits import Limits
from otjd.serve.ports import HEADER_S, ProxyFactory, TlsFactory
from otjd.serve.site import SiteSettings
from otjd.simulate.certificates import Certificates
from tests.serve.clients import basic
from tests.serve.http_world import FakeTransport, Served, Site, read_answers, request

RIGHT = basic("boardroom", "poly-secret")
LOOPBACK = (ip_network("127.0.0.0/8"),)
FIRST = b"PROXY TCP4 10.1.2.3 192.0.2.9 50000 443\r\n"
SECOND = (b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", 0x21, 0x21, 36 + 5)
          + ip_address("2001:db8::7").packed + ip_address("2001:db8::9").packed + struct.pack("!HH", 50000, 443)
          + b"\x04\x00\x02\x00\x00")
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"


@pytest.fixture
def reactor() -> Any:
    from twisted.internet import reactor

    return reactor


def settings(trusted: Any = LOOPBACK, **limits: Any) -> SiteSettings:
    return SiteSettings(authentication=("basic",), trusted_proxies=trusted, throttle_failed_logins=False,
                        limits=Limits(**limits))


class Balanced(Served):
    """The site behind TLS behind the PROXY protocol."""

    def factory(self) -> Any:
        return ProxyFactory(super().factory(), trusted=lambda: self.world.settings.trusted_proxies,
                            gate=self.world.site.gate, clock=self._reactor)


def ask(served: Served, header: bytes, *more: bytes, asked: bytes = request(Authorization=RIGHT)) -> list[int]:
    """The status of every answer; the header is sent first, on the bare connection."""
    context = ssl.create_default_context(cafile=served.certificates.ca_certificate)
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in (header, *more):
            plain.sendall(part)
        with context.wrap_socket(plain, server_hostname="localhost") as client:
            client.sendall(asked)
            return [a.status for a in read_answers(client.recv(65536))]


def refusal(served: Served, sent: bytes) -> bytes:
    """What comes back on the bare connection until it is closed."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as plain:
        try:
            plain.sendall(sent)
            return plain.recv(4096)
        except ConnectionError:
            return b""


@pytest.mark.parametrize(("header", "address"), [
    (FIRST, "10.1.2.3"), (SECOND, "2001:db8::7"), (LOCAL, "127.0.0.1"), (b"PROXY UNKNOWN\r\n", "127.0.0.1")])
async def test_the_client_is_the_one_that_the_balancer_names(
        reactor: Any, certificates: Certificates, header: bytes, address: str) -> None:
    async with Balanced(certificates, reactor, settings=settings()) as served:
        assert await deferToThread(ask, served, header) == [200]
        assert await deferToThread(ask, served, *(header[n:n + 1] for n in range(len(header)))) == [200]
        assert [c.client_address for c in served.world.calls] == [address] * 2
        assert served.world.calls[0].base_url.startswith("https://")


async def test_what_a_client_of_the_balancer_writes_into_x_forwarded_for_is_not_believed(
        reactor: Any, certificates: Certificates) -> None:
    forged = request(Authorization=RIGHT, X_Forwarded_For="203.0.113.66")
    async with Balanced(certificates, reactor, settings=settings()) as served:
        assert await deferToThread(ask, served, FIRST, asked=forged) == [200]
        assert served.world.calls[0].client_address == "10.1.2.3"


@pytest.mark.parametrize("sent", [
    b"\x16\x03\x01\x00\x05hello", b"GET /healthz HTTP/1.1\r\n\r\n", b"PROXY TCP4 x y 1 2\r\n",
    b"PROXY TCP4 " + b"1" * 200, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"])
async def test_a_malformed_header_is_closed_and_one_line(
        reactor: Any, certificates: Certificates, sent: bytes, logged_events: list[dict[str, Any]]) -> None:
    async with Balanced(certificates, reactor, settings=settings()) as served:
        for _ in range(2):
            assert await deferToThread(refusal, served, sent) == b""
        assert await deferToThread(ask, served, FIRST) == [200]
    lines = [e for e in logged_events if str(e.get("log_format")).startswith("A connection of")]
    assert [(e["address"], "PROXY header" in e["error"]) for e in lines] == [("127.0.0.1", True)]


async def test_a_stranger_is_closed_before_it_says_anything_and_one_line(
        reactor: Any, certificates: Certificates, logged_events: list[dict[str, Any]]) -> None:
    async with Balanced(certificates, reactor, settings=settings(trusted=())) as served:
        for _ in range(2):
            assert await deferToThread(refusal, served, FIRST) == b""
        assert served.world.site.gate.connections == 0
    (line,) = [e for e in logged_events if str(e.get("log_format")).startswith("A connection of")]
    assert "trusted_proxies" in line["error"]


async def test_a_client_behind_a_balancer_has_the_limit_of_an_address(
        reactor: Any, certificates: Certificates) -> None:
    def hold() -> bytes:
        with (socket.create_connection(("127.0.0.1", served.port), timeout=20) as held,
              socket.create_connection(("127.0.0.1", served.port), timeout=20) as other):
            held.sendall(FIRST + b"\x16")  # the beginning of a handshake
            other.sendall(FIRST)
            return other.recv(1)

    async with Balanced(certificates, reactor, settings=settings(connections_per_address=1)) as served:
        with pytest.raises(ConnectionResetError):
            await deferToThread(hold)
        assert served.world.site.gate.refused == 1
        assert await deferToThread(ask, served, LOCAL) == [200]
    assert served.world.site.gate.connections == 0


def test_a_header_that_does_not_arrive_is_not_waited_for() -> None:
    clock = Clock()
    world = Site(reactor=clock, settings=settings())
    factory = ProxyFactory(world.site, trusted=lambda: LOOPBACK, gate=world.site.gate, clock=clock)
    address: Any = IPv4Address("TCP", "127.0.0.1", 50000)
    transport: Any = FakeTransport
    wire = transport(hostAddress=address, peerAddress=address)
    wire.protocol = factory.buildProtocol(address)
    wire.protocol.makeConnection(wire)
    wire.protocol.dataReceived(b"PROXY TCP4 10.")
    clock.advance(HEADER_S - 1)
    assert not wire.disconnecting
    clock.advance(1)
    assert wire.disconnecting
    assert world.site.gate.connections == 0
    assert not clock.getDelayedCalls()


@pytest.mark.parametrize("limits", [{"connections": 10}, {"connections_per_address": 10}])
async def test_a_connection_beyond_the_limit_is_closed_before_tls_and_others_are_served(
        reactor: Any, certificates: Certificates, limits: dict[str, int]) -> None:
    def crowd() -> tuple[list[bytes], list[int]]:
        held = [socket.create_connection(("127.0.0.1", served.port), timeout=20) for _ in range(10)]
        late = [socket.create_connection(("127.0.0.1", served.port), timeout=20) for _ in range(3)]
        refused = [connection.recv(1) for connection in late]
        context = ssl.create_default_context(cafile=certificates.ca_certificate)
        with context.wrap_socket(held.pop(), server_hostname="localhost") as client:
            client.sendall(request(Authorization=RIGHT))
            answers = read_answers(client.recv(65536))
        for connection in held + late:
            connection.close()
        return refused, [a.status for a in answers]

    async with Served(certificates, reactor, settings=settings(trusted=(), **limits)) as served:
        assert await deferToThread(crowd) == ([b""] * 3, [200])
        gate = served.world.site.gate
        assert gate.refused == 3
        while gate.connections:
            await deferToThread(lambda: None)
        assert await deferToThread(ask, served, b"") == [200]


async def test_a_port_survives_a_lack_of_file_descriptors(
        reactor: Any, certificates: Certificates, logged_failures: Any) -> None:
    import resource

    def crowd() -> None:
        held = [socket.socket() for _ in range(20)]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (held[-1].fileno() + 3, hard))
        try:
            for connection in held:
                connection.connect(("127.0.0.1", served.port))
            # those that were not accepted are closed, so that the others can be
            closed = 0
            for connection in held:
                connection.settimeout(0.5)
                try:
                    closed += connection.recv(1) == b""
                except TimeoutError:
                    continue
                except ConnectionError:
                    closed += 1
            assert closed
        finally:
            for connection in held:
                connection.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    async with Served(certificates, reactor, settings=settings(trusted=())) as served:
        await deferToThread(crowd)
        assert await deferToThread(ask, served, b"") == [200]
    logged_failures.flush()


def test_tls_before_a_site_that_refuses_is_refused_too(certificates: Certificates) -> None:
    world = Site(settings=settings(trusted=(), connections=1))
    contexts = Served(certificates, Clock()).contexts
    factory = TlsFactory(contexts, world.site, Clock())
    address = IPv4Address("TCP", "10.0.0.1", 50000)
    assert factory.buildProtocol(address) is not None
    assert factory.buildProtocol(address) is None


async def test_a_handshake_may_take_the_time_of_a_request_and_silence_after_it_longer(
        reactor: Any, certificates: Certificates) -> None:
    def connect() -> tuple[socket.socket, ssl.SSLSocket]:
        context = ssl.create_default_context(cafile=certificates.ca_certificate)
        slow = socket.create_connection(("127.0.0.1", served.port), timeout=20)
        slow.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a handshake
        plain = socket.create_connection(("127.0.0.1", served.port), timeout=20)
        silent = context.wrap_socket(plain, server_hostname="localhost")
        silent.sendall(request("GET", "/healthz", b""))
        silent.recv(65536)  # so the service has seen the end of the handshake
        return slow, silent

    def end(slow: socket.socket, silent: ssl.SSLSocket) -> list[int]:
        with slow, silent:
            silent.sendall(request(Authorization=RIGHT))
            statuses = [a.status for a in read_answers(silent.recv(65536))]
            with pytest.raises(ConnectionResetError):
                slow.recv(10)
            return statuses

    clock = Clock()
    async with Served(certificates, reactor, settings=settings(request_s=30, idle_s=90)) as served:
        served.world.site.reactor = clock
        slow, silent = await deferToThread(connect)
        clock.advance(29)
        assert len(served.world.site.connections) == 2
        clock.advance(16)  # of which 15 are for a polite end
        assert await deferToThread(end, slow, silent) == [200]
