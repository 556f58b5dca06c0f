from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.ssl import CertificateOptions, PrivateCertificate, TLSVersion
from twisted.internet.task import deferLater

from otjd.outbound.client import Answer, HttpClient, RequestError
from otjd.outbound.connections import HANDSHAKE_TIMEOUT_S, HEAD_LIMIT
from otjd.seam import deferred
from otjd.simulate.certificates import make_certificates
from tests.outbound.servers import Certificates, Clocked, listening, reactor, says, until, web

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@asynccontextmanager
async def client(use: Any = reactor, **options: Any) -> AsyncIterator[HttpClient]:
    made = HttpClient(use, **options)
    try:
        yield made
    finally:
        await made.close()


def hello(request: Any) -> bytes:
    request.setHeader("X-One", "1")
    request.responseHeaders.addRawHeader(b"Set-Cookie", b"a=1")
    request.responseHeaders.addRawHeader(b"Set-Cookie", b"b=2")
    return b"hello"


async def test_an_answer_has_status_body_and_all_its_headers() -> None:
    async with web(hello) as (server, port), client() as http:
        got = await http.request("POST", f"http://127.0.0.1:{port}/a?b=c", headers={"X-Test": "1"}, body=b"ask")
        assert (got.status, got.body) == (200, b"hello")
        assert (got.headers["x-one"], got.headers["set-cookie"]) == ("1", "b=2")
        assert got.all_of("set-cookie") == ("a=1", "b=2")
        assert got.certificate is None
        (request,) = server.handled
        assert (request.method, request.uri, request.body) == (b"POST", b"/a?b=c", b"ask")
        assert request.getHeader("user-agent") == "otjd (gzip)"
        assert request.getHeader("x-test") == "1"


async def test_a_redirect_is_an_answer_like_any_other() -> None:
    def elsewhere(request: Any) -> bytes:
        request.redirect(b"http://elsewhere.invalid/")
        return b""

    async with web(elsewhere) as (_, port), client() as http:
        got = await http.request("GET", f"http://127.0.0.1:{port}/")
        assert (got.status, got.headers["location"]) == (302, "http://elsewhere.invalid/")


async def test_connections_are_kept() -> None:
    async with web(hello) as (server, port), client() as http:
        numbers = {(await http.request("GET", f"http://127.0.0.1:{port}/{n}")).connection for n in range(3)}
        assert len(numbers) == len(set(server.clients)) == 1


async def test_more_requests_than_connections_wait_for_their_turn() -> None:
    async with web(lambda _: None) as (server, port), client(connections_per_host=2) as http:
        asked = [deferred(http.request("GET", f"http://127.0.0.1:{port}/{n}")) for n in range(5)]
        await until(lambda: len(server.held) == 2)
        await deferLater(reactor, 0.02)
        assert len(server.handled) == 2
        server.handler = hello
        for held in server.held:
            held.finish()
        assert [(await one).status for one in asked] == [200] * 5
        assert len(set(server.clients)) == 2


async def test_a_request_that_is_cancelled_in_the_queue_gives_its_turn_away() -> None:
    async with web(lambda _: None) as (server, port), client(connections_per_host=1) as http:
        url = f"http://127.0.0.1:{port}/"
        first, second, third = (deferred(http.request("GET", url)) for _ in range(3))
        await until(lambda: server.held)
        second.cancel()
        with pytest.raises(CancelledError):
            await second
        server.handler = hello
        first.cancel()
        with pytest.raises(CancelledError):
            await first
        assert (await third).body == b"hello"


async def test_a_single_connection_carries_everything_one_after_another() -> None:
    async with web(hello) as (server, port), client(connections_per_host=8) as http:
        single = http.single_connection()
        url = f"http://127.0.0.1:{port}/"
        pieces: list[bytes] = []
        asked = [deferred(single.request("GET", url)) for _ in range(3)]
        asked.append(deferred(single.stream("GET", url, headers={}, body=None, received=pieces.append, idle_s=9)))
        assert len({(await one).connection for one in asked}) == 1
        assert len(set(server.clients)) == 1
        assert pieces == [b"hello"]
        await single.close()


@pytest.mark.parametrize(("method", "options", "retries"), [
    ("GET", {}, True), ("POST", {"body": b"x"}, False), ("POST", {"body": b"x", "repeatable": True}, True),
    ("GET", {"repeatable": False}, False)])
async def test_a_kept_connection_that_was_closed_is_replaced_where_that_is_safe(
        method: str, options: dict[str, Any], retries: bool) -> None:
    """The server closes at the moment in which the second request comes."""
    answered = 0

    def once(transport: Any) -> None:
        nonlocal answered
        answered += 1
        transport.write(OK)

    async with listening(once) as (server, port), client() as http:
        url = f"http://127.0.0.1:{port}/"
        await http.request("GET", url)
        kept: Any = server.open[0]
        kept.dataReceived = lambda data: kept.transport.abortConnection()
        server.received = b""
        if retries:
            assert (await http.request(method, url, **options)).connection == 2
        else:
            with pytest.raises(RequestError, match="closed the connection before it answered"):
                await http.request(method, url, **options)
        assert answered == 1 + retries
        await http.close()


@pytest.mark.parametrize(("head", "kept"), [
    (b"HTTP/1.1 200 OK\r\nConnection: Close\r\n", False), (b"HTTP/1.1 200 OK\r\nConnection: x, close\r\n", False),
    (b"HTTP/1.0 200 OK\r\n", False), (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n", True),
    (b"HTTP/1.1 204 None\r\nConnection: Close\r\n", False), (b"HTTP/1.1 401 No\r\n", True)])
async def test_a_connection_that_the_server_is_about_to_close_is_not_kept(head: bytes, kept: bool) -> None:
    async with listening(says(head + b"Content-Length: 0\r\n\r\n")) as (server, port), client() as http:
        url = f"http://127.0.0.1:{port}/"
        await http.request("POST", url, body=b"x")
        await deferLater(reactor, 0.02)
        assert len(server.open) == kept
        await http.close()


async def test_a_fresh_connection_that_breaks_off_is_not_tried_again() -> None:
    async with listening(lambda t: t.abortConnection()) as (server, port), client() as http:
        with pytest.raises(RequestError, match="the connection was lost before the answer was complete"):
            await http.request("GET", f"http://127.0.0.1:{port}/")
        assert server.connected == 1


async def test_gzip_is_unpacked() -> None:
    text = bytes(n * n % 251 for n in range(300_000))

    def packed(request: Any) -> bytes:
        assert request.getHeader("accept-encoding") == "gzip"
        request.setHeader("Content-Encoding", "gzip")
        return gzip.compress(text[:200_000]) + gzip.compress(text[200_000:])  # two members, as RFC 1952 allows

    async with web(packed) as (_, port), client() as http:
        assert (await http.request("GET", f"http://127.0.0.1:{port}/")).body == text
        assert (await http.request("HEAD", f"http://127.0.0.1:{port}/")).body == b""


BOMB = zlib.compressobj(wbits=31)
BOMB_BYTES = b"".join(BOMB.compress(bytes(1 << 20)) for _ in range(64)) + BOMB.flush()


@pytest.mark.parametrize(("encoding", "body", "words"), [
    ("gzip", BOMB_BYTES, "more than 1000000 bytes"),
    ("gzip", gzip.compress(b"hello" * 1000, mtime=0)[:30], "gzip data break off"),
    ("gzip", b"hello", "gzip data are damaged"),
    ("br", b"hello", "encoded as 'br', which was not asked for"),
    ("identity", bytes(1_000_001), "more than 1000000 bytes")])
async def test_an_answer_that_cannot_be_unpacked_within_its_limit_is_none(
        encoding: str, body: bytes, words: str) -> None:
    def answer(request: Any) -> bytes:
        request.setHeader("Content-Encoding", encoding)
        return body

    async with web(answer) as (_, port), client() as http:
        with pytest.raises(RequestError, match=rf"http://127\.0\.0\.1:{port}: the answer.*{words}"):
            await http.request("GET", f"http://127.0.0.1:{port}/", limit=1_000_000)


@pytest.mark.parametrize(("answer", "words"), [
    (b"", "no answer within 60 s"), (b"HTTP/1.1 200 OK\r\nCont", "no answer within 60 s"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "the answer was not complete within 60 s")])
async def test_what_was_late_is_told(answer: bytes, words: str) -> None:
    use = Clocked()
    async with listening(says(answer)) as (server, port), client(use) as http:
        asked = deferred(http.request("GET", f"http://127.0.0.1:{port}/secret"))
        await until(lambda: b"\r\n\r\n" in server.received)
        await deferLater(reactor, 0.02)
        use.clock.advance(59)
        assert server.open
        use.clock.advance(1)
        with pytest.raises(RequestError, match=words) as caught:
            await asked
        assert "secret" not in str(caught.value)
    assert use.clock.getDelayedCalls() == []


async def test_a_wait_for_a_free_connection_is_told() -> None:
    use = Clocked()
    async with web(lambda _: None) as (server, port), client(use, connections_per_host=1) as http:
        first, second = (deferred(http.request("GET", f"http://127.0.0.1:{port}/", timeout_s=limit_s))
                         for limit_s in (60, 30))
        await until(lambda: server.held)
        use.clock.advance(30)
        with pytest.raises(RequestError, match="none of the 1 connections to it became free within 30 s"):
            await second
        use.clock.advance(30)
        with pytest.raises(RequestError, match="no answer within 60 s"):
            await first


async def test_a_tls_handshake_that_never_ends_is_told() -> None:
    use = Clocked()
    async with listening(says(b"")) as (server, port), client(use) as http:
        asked = deferred(http.request("GET", f"https://127.0.0.1:{port}/"))
        await until(lambda: server.received)
        use.clock.advance(HANDSHAKE_TIMEOUT_S)
        with pytest.raises(RequestError, match="no TLS handshake within 15 s"):
            await asked


async def test_an_answer_whose_head_has_no_end_is_cut_off() -> None:
    endless = b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (HEAD_LIMIT // 6 + 1)
    async with listening(says(endless)) as (_, port), client() as http:
        with pytest.raises(RequestError, match="bytes before its body"):
            await http.request("GET", f"http://127.0.0.1:{port}/")


async def test_a_stream_gives_its_head_first_then_what_comes_as_it_comes() -> None:
    async with web(lambda _: None) as (server, port), client() as http:
        heads: list[Answer] = []
        pieces: list[bytes] = []
        streaming = deferred(http.stream("POST", f"http://127.0.0.1:{port}/", headers={"X-A": "1"}, body=b"go",
                                         received=pieces.append, idle_s=30, started=heads.append))
        await until(lambda: server.held)
        (held,) = server.held
        assert (held.body, held.getHeader("x-a")) == (b"go", "1")
        held.setHeader("X-Kind", "stream")
        held.write(b"one")
        await until(lambda: pieces == [b"one"])
        assert [h.headers["x-kind"] for h in heads] == ["stream"]
        held.write(b"two")
        held.finish()
        assert await streaming == heads[0]
        assert pieces == [b"one", b"two"]


async def test_a_stream_without_news_ends() -> None:
    use = Clocked()
    async with web(lambda _: None) as (server, port), client(use) as http:
        pieces: list[bytes] = []
        streaming = deferred(http.stream("GET", f"http://127.0.0.1:{port}/", headers={}, body=None,
                                         received=pieces.append, idle_s=30))
        await until(lambda: server.held)
        use.clock.advance(29)
        server.held[0].write(b"one")
        await until(lambda: pieces)
        use.clock.advance(29)
        assert not streaming.called
        use.clock.advance(1)
        with pytest.raises(RequestError, match="nothing came for 30 s"):
            await streaming
    assert use.clock.getDelayedCalls() == []


async def test_a_stream_is_no_obstacle_to_requests() -> None:
    async with web(lambda _: None) as (server, port), client(connections_per_host=1) as http:
        url = f"http://127.0.0.1:{port}/"
        streaming = deferred(http.stream("GET", url, headers={}, body=None, received=print, idle_s=30))
        await until(lambda: server.held)
        server.handler = hello
        assert (await http.request("GET", url)).body == b"hello"
        streaming.cancel()
        with pytest.raises(CancelledError):
            await streaming


async def test_what_the_reader_of_a_stream_raises_ends_it() -> None:
    def cannot(_: bytes) -> None:
        raise LookupError("not my XML")

    async with listening(says(OK + b"more")) as (_, port), client() as http:
        with pytest.raises(LookupError, match="not my XML"):
            await http.stream("GET", f"http://127.0.0.1:{port}/", headers={}, body=None, received=cannot, idle_s=9)


async def test_a_stream_that_breaks_off_is_told() -> None:
    half = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n"
    async with listening(says(half, close=True)) as (_, port), client() as http:
        with pytest.raises(RequestError, match="lost before the answer was complete"):
            await http.stream("GET", f"http://127.0.0.1:{port}/", headers={}, body=None, received=print, idle_s=9)


async def test_closing_ends_what_is_under_way_and_refuses_the_rest() -> None:
    async with listening(says(b"")) as (server, port):
        http = HttpClient(reactor)
        url = f"http://127.0.0.1:{port}/"
        asked: list[Deferred[Any]] = [
            deferred(http.request("GET", url)),
            deferred(http.stream("GET", url, headers={}, body=None, received=print, idle_s=9))]
        await until(lambda: len(server.open) == 2)
        await http.close()
        for one in asked:
            with pytest.raises(RequestError, match="the client was closed"):
                await one
        with pytest.raises(RequestError, match="the client was closed"):
            await http.request("GET", url)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_server_whose_authority_the_ca_file_names_is_trusted(
        host: str, certificates: Certificates) -> None:
    async with web(hello, certificates.options()) as (_, port), client(ca_file=certificates.ca_file) as http:
        for _ in range(2):
            got = await http.request("GET", f"https://{host}:{port}/")
            assert got.body == b"hello"
            own = x509.load_pem_x509_certificate(certificates.pem).public_bytes(Encoding.DER)
            assert got.certificate == own


async def test_the_authorities_of_the_machine_stay_trusted_and_the_server_is_told_its_name(
        certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[Any] = []
    options = certificates.options()
    options.getContext().set_tlsext_servername_callback(lambda asked: names.append(asked.get_servername()))
    other = make_certificates(tmp_path, [], datetime.now(UTC))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca_file))
    async with web(hello, options) as (_, port), client(ca_file=other.ca_certificate) as http:
        assert (await http.request("GET", f"https://localhost:{port}/")).body == b"hello"
        assert names == [b"localhost"]


async def test_a_server_of_an_unknown_authority_is_told_nothing(certificates: Certificates) -> None:
    async with listening(says(OK), certificates.options()) as (server, port), client() as http:
        with pytest.raises(RequestError, match=r"not trusted by this machine, its authority is unknown.* ca_file"):
            await http.request("GET", f"https://localhost:{port}/")
        assert server.received == b""


async def test_an_expired_certificate_is_told(tmp_path: Path) -> None:
    paths = make_certificates(tmp_path, [], datetime.now(UTC) - timedelta(days=20), days=10)
    pem = paths.certificate.read_bytes() + paths.private_key.read_bytes()
    options = PrivateCertificate.loadPEM(pem).options()  # type: ignore[no-untyped-call]
    async with listening(says(OK), options) as (server, port), client(ca_file=paths.ca_certificate) as http:
        with pytest.raises(RequestError, match="it has expired"):
            await http.request("GET", f"https://localhost:{port}/")
        assert server.received == b""


async def test_a_certificate_for_another_address_is_refused(certificates: Certificates) -> None:
    async with web(hello, certificates.options(), interface="127.0.0.2") as (server, port), \
            client(ca_file=certificates.ca_file) as http:
        with pytest.raises(RequestError, match="for another name or address"):
            await http.request("GET", f"https://127.0.0.2:{port}/")
        assert server.handled == []


async def test_tls_before_1_2_is_refused(certificates: Certificates) -> None:
    own = PrivateCertificate.loadPEM(certificates.pem)  # type: ignore[no-untyped-call]
    old = CertificateOptions(privateKey=own.privateKey.original, certificate=own.original,
                             insecurelyLowerMinimumTo=TLSVersion.TLSv1_1,
                             lowerMaximumSecurityTo=TLSVersion.TLSv1_1)
    old.getContext().set_cipher_list(b"ALL:@SECLEVEL=0")
    async with listening(says(OK), old) as (server, port), client(ca_file=certificates.ca_file) as http:
        with pytest.raises(RequestError, match="the TLS handshake failed"):
            await http.request("GET", f"https://localhost:{port}/")
        assert server.received == b""


async def test_a_ca_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    async with client(ca_file=tmp_path / "ca.pem") as http:
        with pytest.raises(RequestError, match=r"ca\.pem cannot be read as certificates in PEM"):
            await http.request("GET", "https://127.0.0.1:1/")


async def test_an_ipv6_address_is_reached_and_verified(certificates: Certificates) -> None:
    async with web(hello, certificates.options(), interface="::1") as (server, port), \
            client(ca_file=certificates.ca_file) as http:
        assert (await http.request("GET", f"https://[::1]:{port}/")).body == b"hello"
        assert server.handled[0].getHeader("host") == f"[::1]:{port}"


@pytest.mark.parametrize(("url", "words"), [
    ("http://nowhere.invalid/secret", "not known to DNS"), ("http://127.0.0.1:1/secret", "refused"),
    ("ftp://127.0.0.1/secret", "no URL that can be asked for"), ("http://a b/secret", "no URL"),
    ("http://a\r\nb/secret", "no URL"), ("http://[::1/secret", "a URL that cannot be read is no URL")])
async def test_why_there_is_no_answer_is_said_without_the_path(url: str, words: str) -> None:
    async with client() as http:
        with pytest.raises(RequestError, match=words) as caught:
            await http.request("GET", url)
        assert "secret" not in str(caught.value)


async def test_an_answer_and_a_client_show_no_secret() -> None:
    assert "token" not in repr(Answer(200, b"token", {"set-cookie": "token"}, lines=(("set-cookie", "token"),)))
    with pytest.raises(ValueError, match="a proxy is written as") as caught:
        HttpClient(reactor, proxy_url="socks://user:hunter2@proxy:1")
    assert "hunter2" not in str(caught.value)


async def test_a_request_that_took_too_long_on_a_kept_connection_is_not_sent_again(
        certificates: Certificates) -> None:
    use = Clocked()
    async with web(hello) as (server, port), client(use) as http:
        url = f"http://127.0.0.1:{port}/"
        await http.request("GET", url)
        server.handler = lambda _: None
        asked = deferred(http.request("GET", url, timeout_s=5))
        await until(lambda: len(server.handled) == 2)
        use.clock.advance(5)
        with pytest.raises(RequestError, match="5"):
            await asked
        assert len(server.handled) == 2
