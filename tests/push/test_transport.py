from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509
from twisted.internet.ssl import CertificateOptions, PrivateCertificate, TLSVersion
from twisted.internet.task import Clock, deferLater

from otjd.outbound.answers import Answer
from otjd.outbound.errors import RequestError
from otjd.push.transport import ANSWER_LIMIT, EXCHANGE_TIMEOUT_S, codec_agent, exchange, is_address
from otjd.seam import deferred
from tests.outbound.servers import Certificates, Scripted, listening, says, tunnels
from tests.push.world import reactor, until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


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
        with pytest.raises(RequestError, match="connection was lost"):
            await ask(port)


async def test_what_is_not_http_is_no_answer() -> None:
    async with listening(says(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", close=True)) as (_, port):
        with pytest.raises(RequestError, match="no HTTP answer"):
            await ask(port)


@pytest.mark.parametrize("head", [b"Content-Length: 99999999\r\n", b""])
async def test_an_answer_too_large_is_dropped_at_once(head: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + b"x" * (ANSWER_LIMIT + 1)
    async with listening(says(answer)) as (_, port):
        with pytest.raises(RequestError, match=f"more than {ANSWER_LIMIT} bytes"):
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
        with pytest.raises(RequestError, match="no answer within 30 s"):
            await asked
    assert clock.getDelayedCalls() == []


async def test_a_tls_handshake_that_never_ends_is_dropped() -> None:
    clock = Clock()
    async with listening(says(b"")) as (server, port):
        asked = deferred(ask(port, scheme="https", clock=clock))
        await until(lambda: server.received)
        clock.advance(EXCHANGE_TIMEOUT_S)
        with pytest.raises(RequestError, match="no answer within 30 s"):
            await asked


async def test_an_exchange_that_is_cancelled_ends_its_connection() -> None:
    async with listening(says(b"")) as (server, port):
        asked = deferred(ask(port))
        await until(lambda: server.received)
        asked.cancel()
        with pytest.raises(RequestError):
            await asked


async def test_where_nothing_listens_the_connection_is_refused() -> None:
    async with listening(says(OK)) as (_, port):
        pass
    with pytest.raises(RequestError, match="refused: nothing listens"):
        await ask(port)


async def test_a_name_that_does_not_exist_is_told() -> None:
    with pytest.raises(RequestError, match="not known to DNS"):
        await ask(80, host="codec.invalid")


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
        with pytest.raises(RequestError, match=r"not trusted by this machine.*verify_cert"):
            await ask(port, scheme="https", verify=True)
        assert server.received == b""


@pytest.mark.parametrize("host", ["127.0.0.2", "ip6-localhost"])
async def test_a_certificate_for_another_name_or_address_is_refused(host: str, certificates: Certificates) -> None:
    async with listening(says(OK), certificates.options()) as (server, port):
        agent = codec_agent(reactor, host, verify=True, trust_root=certificates.trust_root)
        # connected to where the server is, verified against where it was meant to be
        url = f"https://127.0.0.1:{port}/".encode()
        with pytest.raises(RequestError, match="for another name or address"):
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
        with pytest.raises(RequestError, match="TLS handshake failed"):
            await ask(port, scheme="https", verify=True, trust_root=certificates.trust_root)


async def test_https_where_plain_http_is_spoken_is_told() -> None:
    async with listening(lambda _: None) as (server, port):
        server.protocol = Greeting
        with pytest.raises(RequestError, match="TLS handshake failed"):
            await ask(port, scheme="https")


class Greeting(Scripted):
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_addresses_are_told_from_names() -> None:
    assert is_address("10.1.2.3")
    assert is_address("::1")
    assert not is_address("codec.example.com")


def test_the_certificates_of_these_tests_are_what_they_say(certificates: Certificates) -> None:
    found = x509.load_pem_x509_certificate(certificates.pem)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "ip6-localhost" not in names.get_values_for_type(x509.DNSName)


@pytest.mark.parametrize("verify", [True, False])
async def test_a_proxy_on_the_way_sees_only_where_to_and_the_certificate_must_be_the_endpoints(
        verify: bool, certificates: Certificates) -> None:
    async with listening(says(OK), certificates.options()) as (server, port), tunnels(port) as (made, proxy):
        agent = codec_agent(reactor, "127.0.0.1" if verify else "codec.example.com", verify=verify,
                            trust_root=certificates.trust_root, proxy_url=f"http://u:p@127.0.0.1:{proxy}")
        answer = await exchange(agent, b"GET", b"https://codec.example.com/", headers={"X-Test": "1"}, body=None,
                                clock=reactor)
        assert answer.body == b"hi"
        assert made.heads[0].startswith(b"CONNECT codec.example.com:443 HTTP/1.1\r\n")
        assert b"X-Test" not in made.heads[0]
        assert b"Proxy-Authorization" not in server.received


async def test_plain_http_to_an_endpoint_asks_the_proxy_for_the_whole_url() -> None:
    async with listening(says(OK)) as (server, port):
        agent = codec_agent(reactor, "codec.example.com", verify=True, proxy_url=f"http://u:p@127.0.0.1:{port}")
        await exchange(agent, b"GET", b"http://codec.example.com:8080/x", headers={}, body=None, clock=reactor)
        assert server.received.startswith(b"GET http://codec.example.com:8080/x HTTP/1.1\r\n")
        assert b"Proxy-Authorization: Basic dTpw\r\n" in server.received
        assert b"Host: codec.example.com:8080\r\n" in server.received
