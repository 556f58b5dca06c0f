"""Connections that send at once, on real sockets over loopback, bare and behind TLS."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from threading import Event
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from zope.interface import implementer

from otjd.serve.ports import TlsFactory, listen
from otjd.serve.tls import ReloadingContextFactory
from otjd.simulate.certificates import Certificates

MUCH = 8 * 1024 * 1024  # more than the system keeps for a client that does not read


@pytest.fixture
def reactor() -> Any:
    from twisted.internet import reactor

    return reactor


class Speaker(Protocol):
    """Does on its first line what it is told to."""

    transport: Any
    job: Callable[[Speaker], None]

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()
        self.reason: Any = None

    def dataReceived(self, _: bytes) -> None:
        type(self).job(self)

    def connectionLost(self, reason: Any = None) -> None:
        self.reason = reason
        self.ended.callback(None)


class World:
    """A port with speakers behind it."""

    def __init__(self, certificates: Certificates, port: Any, speakers: list[Speaker], *, tls: bool) -> None:
        self._certificates = certificates
        self._port = port.getHost().port
        self.speakers = speakers
        self._tls = tls

    @contextmanager
    def client(self) -> Iterator[socket.socket]:
        """A blocking client that has said something, for use in a thread."""
        with socket.create_connection(("127.0.0.1", self._port), timeout=20) as plain:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            if not self._tls:
                plain.sendall(b"go on\n")
                yield plain
                return
            context = ssl.create_default_context(cafile=self._certificates.ca_certificate)
            with context.wrap_socket(plain, server_hostname="localhost") as client:
                client.sendall(b"go on\n")
                yield client

    async def told(self, length: int | None = None) -> bytes:
        """What a client is told: so many bytes, or all until the end."""
        def ask() -> bytes:
            found = bytearray()
            with self.client() as client:
                while (length is None or len(found) < length) and (part := client.recv(65536)):
                    found += part
            return bytes(found)

        return await deferToThread(ask)


@asynccontextmanager
async def speaking(reactor: Any, certificates: Certificates, job: Callable[[Speaker], None], *,
                   tls: bool = False) -> AsyncIterator[World]:
    speakers: list[Speaker] = []

    class Told(Speaker):
        def connectionMade(self) -> None:
            speakers.append(self)

    Told.job = staticmethod(job)
    factory: Any = Factory.forProtocol(Told)
    if tls:
        contexts = ReloadingContextFactory((certificates.certificate, certificates.private_key))
        factory = TlsFactory(contexts, factory, reactor)
    port = listen(reactor, 0, factory, interface="127.0.0.1")
    try:
        yield World(certificates, port, speakers, tls=tls)
    finally:
        await port.stopListening()
        for speaker in speakers:
            if not speaker.ended.called:
                speaker.transport.abortConnection()
            await speaker.ended


def pieces() -> Iterator[bytes]:
    """Small and large ones, no two alike, of more than any buffer takes."""
    for number in range(MUCH // 30_000):
        for length in (1, 20, 3000, 8192, 8193, 16_384, 90_000):
            yield (b"%d," % number * length)[:length]


@pytest.mark.parametrize("tls", [False, True])
async def test_what_a_client_takes_is_sent_without_asking_the_reactor(
        reactor: Any, certificates: Certificates, tls: bool) -> None:
    waiting: list[int] = []

    def answer(speaker: Speaker) -> None:
        speaker.transport.write(b"x" * 20_000)
        waiting.append(len(reactor.getWriters()))

    async with speaking(reactor, certificates, answer, tls=tls) as world:
        assert await world.told(20_000) == b"x" * 20_000
        assert waiting == [0]


@pytest.mark.parametrize("tls", [False, True])
async def test_all_arrives_in_order_where_a_client_does_not_take_it_at_once(
        reactor: Any, certificates: Certificates, tls: bool) -> None:
    def speak(speaker: Speaker) -> None:
        for piece in pieces():
            speaker.transport.write(piece)
        speaker.transport.loseConnection()

    async with speaking(reactor, certificates, speak, tls=tls) as world:
        assert await world.told() == b"".join(pieces())


@pytest.mark.parametrize("tls", [False, True])
async def test_a_producer_pauses_where_a_client_does_not_read_and_goes_on_when_it_does(
        reactor: Any, certificates: Certificates, tls: bool) -> None:
    paused = Event()
    lines = MUCH // 50

    @implementer(IPushProducer)
    class Producer:
        def __init__(self, speaker: Speaker) -> None:
            self.transport = speaker.transport
            self.numbers = iter(range(lines))
            self.is_paused = False

        def resumeProducing(self) -> None:
            self.is_paused = False
            while not self.is_paused:
                number = next(self.numbers, None)
                if number is None:
                    self.transport.unregisterProducer()
                    self.transport.loseConnection()
                    return
                self.transport.write(b"%099d\n" % number)

        def pauseProducing(self) -> None:
            self.is_paused = True
            paused.set()

        def stopProducing(self) -> None:
            self.is_paused = True

    def produce(speaker: Speaker) -> None:
        producer = Producer(speaker)
        speaker.transport.registerProducer(producer, True)
        producer.resumeProducing()

    def ask() -> bytes:
        found = bytearray()
        with world.client() as client:
            assert paused.wait(20)
            while part := client.recv(65536):
                found += part
        return bytes(found)

    async with speaking(reactor, certificates, produce, tls=tls) as world:
        assert [int(line) for line in (await deferToThread(ask)).split()] == list(range(lines))


@pytest.mark.parametrize("tls", [False, True])
async def test_nothing_is_sent_after_a_connection_was_aborted(
        reactor: Any, certificates: Certificates, tls: bool) -> None:
    def abort(speaker: Speaker) -> None:
        speaker.transport.write(b"before")
        speaker.transport.abortConnection()
        speaker.transport.write(b"after")

    def ask() -> bytes:
        found = b""
        with suppress(ConnectionResetError, ssl.SSLError), world.client() as client:
            while part := client.recv(100):
                found += part
        return found

    async with speaking(reactor, certificates, abort, tls=tls) as world:
        assert await deferToThread(ask) in (b"", b"before")


async def test_a_client_that_has_left_is_noticed_when_it_is_written_to(
        reactor: Any, certificates: Certificates) -> None:
    async with speaking(reactor, certificates, lambda _: None) as world:
        def leave() -> None:
            with world.client() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

        await deferToThread(leave)
        (speaker,) = world.speakers
        for _ in range(3):
            speaker.transport.write(b"are you there?")
        await speaker.ended
        speaker.transport.write(b"nobody is")
        assert speaker.reason.check(ConnectionLost, ConnectionDone)


async def test_a_connection_knows_what_its_client_connected_to(reactor: Any, certificates: Certificates) -> None:
    hosts: list[Any] = []

    def tell(speaker: Speaker) -> None:
        hosts.append((speaker.transport.getHost(), speaker.transport.getHost(), speaker.transport.getPeer()))
        speaker.transport.loseConnection()

    async with speaking(reactor, certificates, tell) as world:
        await world.told()
    ((first, again, peer),) = hosts
    assert first is again
    assert (first.host, peer.host) == ("127.0.0.1", "127.0.0.1")
    assert first.port != peer.port


async def test_what_is_held_twice_is_sent_whole(reactor: Any, certificates: Certificates) -> None:
    def speak(speaker: Speaker) -> None:
        connection = speaker.transport
        for step in (connection.hold, lambda: connection.write(b"one"), connection.hold,
                     lambda: connection.write(b"two"), connection.release, lambda: connection.write(b"three"),
                     connection.release, connection.loseConnection):
            step()

    async with speaking(reactor, certificates, speak) as world:
        assert await world.told() == b"onetwothree"
