from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from OpenSSL import SSL
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import ConnectionLost, DNSLookupError, NoRouteError, TCPTimedOutError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    PrivateCertificate,
    TLSVersion,
    trustRootFromCertificates,
)
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed

from otjd.push.transport import (
    ANSWER_LIMIT,
    EXCHANGE_TIMEOUT_S,
    Answer,
    TransportError,
    codec_agent,
    exchange,
    explain,
    is_address,
)
from otjd.seam import deferred
from otjd.simulate.certificates import make_certificates
from tests.push.world import reactor, until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


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


async def ask(port: int, *, scheme: str = "http", host: str = "127.0.0.1", verify: bool = False,
              trust_root: Any = None, body: bytes | None = None, clock: Any = reactor) -> Answer:
    agent = codec_agent(reactor, host, verify=verify, trust_root=trust_root)
    return await exchange(agent, b"POST" if body else b"GET", f"{scheme}://{host}:{port}/x".encode(),
                          headers={"X-Test": "1"}, body=body, clock=clock)


async def test_an_answer_has_status_body_and_headers_and_its_connection_ends() -> None:
    answer = b"HTTP/1.1 307 Elsewhere\r\nLocation: https://x/\r\nContent-Length: 2\r\n\r\nhi"
    async with listening(says(answer)) as (server, port):
        got = await ask(port, body=b"<Command/>")
        assert (got.status, got.body, got.headers["location"]) == (307, b"hi", "https://x/")
        assert server.connected == 1  # the redirect is not followed
        assert server.received.endswith(b"\r\n\r\n<Command/>")
        assert b"X-Test: 1\r\n" in server.received


async def test_without_a_length_the_end_of_the_connection_is_the_end() -> None:
    async with listening(says(b"HTTP/1.0 200 OK\r\n\r\n<Command/>", close=True)) as (_, port):
        assert (await ask(port)).body == b"<Command/>"


async def test_an_answer_that_breaks_off_is_none() -> None:
    async with listening(says(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhi", close=True)) as (_, port):
        with pytest.raises(TransportError, match="connection was lost"):
            await ask(port)


async def test_what_is_not_http_is_no_answer() -> None:
    async with listening(says(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", close=True)) as (_, port):
        with pytest.raises(TransportError, match="no HTTP answer"):
            await ask(port)


@pytest.mark.parametrize("head", [b"Content-Length: 99999999\r\n", b""])
async def test_an_answer_too_large_is_dropped_at_once(head: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + b"x" * (ANSWER_LIMIT + 1)
    async with listening(says(answer)) as (_, port):
        with pytest.raises(TransportError, match=f"more than {ANSWER_LIMIT} bytes"):
            await ask(port)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\n\r\nhalf"])
async def test_an_answer_too_late_is_dropped_whole(answer: bytes, tls: bool, certificates: Certificates) -> None:
    clock = Clock()
    async with listening(says(answer), certificates.options() if tls else None) as (server, port):
        asked = deferred(ask(port, scheme="https" if tls else "http", clock=clock))
        await until(lambda: b"\r\n\r\n" in server.received)
        await deferLater(reactor, 0.02)
        clock.advance(EXCHANGE_TIMEOUT_S - 1)
        assert server.open
        clock.advance(1)
        with pytest.raises(TransportError, match="no answer within 30 s"):
            await asked
    assert clock.getDelayedCalls() == []


async def test_a_tls_handshake_that_never_ends_is_dropped() -> None:
    clock = Clock()
    async with listening(says(b"")) as (server, port):
        asked = deferred(ask(port, scheme="https", clock=clock))
        await until(lambda: server.received)
        clock.advance(EXCHANGE_TIMEOUT_S)
        with pytest.raises(TransportError, match="no answer within 30 s"):
            await asked


async def test_an_exchange_that_is_cancelled_ends_its_connection() -> None:
    async with listening(says(b"")) as (server, port):
        asked = deferred(ask(port))
        await until(lambda: server.received)
        asked.cancel()
        with pytest.raises(TransportError):
            await asked


async def test_where_nothing_listens_the_connection_is_refused() -> None:
    async with listening(says(OK)) as (_, port):
        pass
    with pytest.raises(TransportError, match="refused: nothing listens"):
        await ask(port)


async def test_a_name_that_does_not_exist_is_told() -> None:
    with pytest.raises(TransportError, match="not known to DNS"):
        await ask(80, host="codec.invalid")


class Certificates:
    """A CA, and a server certificate for localhost and 127.0.0.1."""

    def __init__(self, directory: Path) -> None:
        paths = make_certificates(directory, ["codec.example.com"], datetime.now(UTC))
        self.pem = paths.certificate.read_bytes() + paths.private_key.read_bytes()
        ca = Certificate.loadPEM(paths.ca_certificate.read_bytes())
        self.trust_root = trustRootFromCertificates([ca])  # type: ignore[no-untyped-call]

    def options(self) -> Any:
        return PrivateCertificate.loadPEM(self.pem).options()  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_certificate_of_a_trusted_authority_for_the_name_or_address_is_good(
        host: str, certificates: Certificates) -> None:
    async with listening(says(OK), certificates.options()) as (_, port):
        got = await ask(port, scheme="https", host=host, verify=True, trust_root=certificates.trust_root)
        assert got.body == b"hi"


async def test_a_certificate_that_this_machine_does_not_trust_is_refused_before_anything_is_sent(
        certificates: Certificates) -> None:
    async with listening(says(OK), certificates.options()) as (server, port):
        with pytest.raises(TransportError, match=r"not trusted by this machine.*verify_cert"):
            await ask(port, scheme="https", verify=True)
        assert server.received == b""


@pytest.mark.parametrize("host", ["127.0.0.2", "ip6-localhost"])
async def test_a_certificate_for_another_name_or_address_is_refused(host: str, certificates: Certificates) -> None:
    async with listening(says(OK), certificates.options()) as (server, port):
        agent = codec_agent(reactor, host, verify=True, trust_root=certificates.trust_root)
        # connected to where the server is, verified against where it was meant to be
        url = f"https://127.0.0.1:{port}/".encode()
        with pytest.raises(TransportError, match="for another name or address"):
            await exchange(agent, b"GET", url, headers={}, body=None, clock=reactor)
        assert server.received == b""


async def test_without_verification_any_certificate_will_do(certificates: Certificates) -> None:
    async with listening(says(OK), certificates.options()) as (_, port):
        assert (await ask(port, scheme="https", host="localhost")).body == b"hi"
        assert (await ask(port, scheme="https")).body == b"hi"


def old_software(certificates: Certificates) -> CertificateOptions:
    """TLS 1.0 and nothing else."""
    own = PrivateCertificate.loadPEM(certificates.pem)  # type: ignore[no-untyped-call]
    options = CertificateOptions(privateKey=own.privateKey.original, certificate=own.original,
                                 insecurelyLowerMinimumTo=TLSVersion.TLSv1_0,
                                 lowerMaximumSecurityTo=TLSVersion.TLSv1_0)
    options.getContext().set_cipher_list(b"ALL:@SECLEVEL=0")
    return options


async def test_old_tls_will_do_without_verification_and_not_with_it(certificates: Certificates) -> None:
    async with listening(says(OK), old_software(certificates)) as (_, port):
        assert (await ask(port, scheme="https")).body == b"hi"
        with pytest.raises(TransportError, match="TLS handshake failed"):
            await ask(port, scheme="https", verify=True, trust_root=certificates.trust_root)


async def test_https_where_plain_http_is_spoken_is_told() -> None:
    async with listening(lambda _: None) as (server, port):
        server.protocol = Greeting
        with pytest.raises(TransportError, match="TLS handshake failed"):
            await ask(port, scheme="https")


class Greeting(Scripted):
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize(("error", "words"), [
    (NoRouteError(), "no route"),  # type: ignore[no-untyped-call]
    (TCPTimedOutError(), "no connection within 10 s"),  # type: ignore[no-untyped-call]
    (DNSLookupError("x"), "not known to DNS"),
    (ResponseFailed([Failure(TransportError("the answer is bad"))]), "the answer is bad"),  # type: ignore[no-untyped-call]
    (ConnectionLost(), "the connection was lost before the answer was complete"),
    (SSL.Error([]), "TLS handshake failed: the endpoint broke it off"),
    (KeyError(), "the connection failed: KeyError"),
])
def test_causes_are_put_into_words(error: Exception, words: str) -> None:
    assert words in explain(error)


def test_addresses_are_told_from_names() -> None:
    assert is_address("10.1.2.3")
    assert is_address("::1")
    assert not is_address("codec.example.com")


def test_the_certificates_of_these_tests_are_what_they_say(certificates: Certificates) -> None:
    found = x509.load_pem_x509_certificate(certificates.pem)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "ip6-localhost" not in names.get_values_for_type(x509.DNSName)


