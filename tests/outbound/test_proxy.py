from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from otjd.outbound.client import HttpClient, RequestError
from otjd.outbound.proxy import HEAD_LIMIT, TUNNEL_TIMEOUT_S, proxy_of
from otjd.seam import deferred
from tests.outbound.servers import Certificates, Clocked, listening, reactor, says, tunnels, until, web

REFUSED = b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n"
HANDSHAKE_FAILURE = bytes.fromhex("15030300020228")
"""A TLS alert, fatal: handshake_failure."""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@asynccontextmanager
async def client(proxy_url: str, use: Any = reactor, **options: Any) -> AsyncIterator[HttpClient]:
    made = HttpClient(use, proxy_url=proxy_url, **options)
    try:
        yield made
    finally:
        await made.close()


class Running(ProcessProtocol):
    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()
        self.output = b""

    def errReceived(self, data: bytes) -> None:
        self.output += data

    outReceived = errReceived  # noqa: N815 - the name that Twisted calls

    def processEnded(self, reason: Failure) -> None:
        assert isinstance(reason.value, ProcessDone | ProcessTerminated)
        self.ended.callback(None)


@asynccontextmanager
async def independent_proxy(directory: Path, *options: str) -> AsyncIterator[int]:
    """A proxy that others wrote: PyPI's proxy.py."""
    port_file = directory / "port"
    process = Running()
    transport = reactor.spawnProcess(process, sys.executable, [
        sys.executable, "-m", "proxy", "--hostname", "127.0.0.1", "--port", "0", "--port-file", str(port_file),
        "--num-workers", "1", "--num-acceptors", "1", "--data-dir", str(directory), *options], env=None)
    try:
        await until(lambda: process.ended.called or (port_file.exists() and port_file.read_text().strip()))
        assert not process.ended.called, process.output.decode()
        yield int(port_file.read_text())
    finally:
        if not process.ended.called:
            transport.signalProcess("TERM")
        await process.ended


def hello(request: Any) -> bytes:
    return b"hello"


async def test_https_and_http_go_through_a_proxy_that_asks_for_a_password(
        certificates: Certificates, tmp_path: Path) -> None:
    async with (independent_proxy(tmp_path, "--basic-auth", "svc:p@ss:word") as proxy,
                web(hello, certificates.options()) as (secure, https), web(hello) as (plain, http),
                client(f"http://svc:p%40ss%3Aword@127.0.0.1:{proxy}", ca_file=certificates.ca_file) as asking):
        connections = set()
        for _ in range(2):
            got = await asking.request("GET", f"https://localhost:{https}/x?y")
            assert (got.status, got.body) == (200, b"hello")
            connections.add(got.connection)
        assert len(connections) == 1
        assert secure.handled[0].uri == b"/x?y"
        assert secure.handled[0].getHeader("proxy-authorization") is None
        assert (await asking.request("POST", f"http://127.0.0.1:{http}/x", body=b"ask")).body == b"hello"
        assert plain.handled[0].body == b"ask"


@pytest.mark.parametrize(("login", "words"), [
    ("", r"the web proxy 127\.0\.0\.1:\d+ asks for a user name and password \(407\): put them into web_proxy.url"),
    ("svc:wrong@", r"does not accept the user name and password of web_proxy\.url \(407\)")])
async def test_what_a_proxy_says_of_the_password_is_told(
        login: str, words: str, certificates: Certificates, tmp_path: Path) -> None:
    async with (independent_proxy(tmp_path, "--basic-auth", "svc:right") as proxy,
                web(hello, certificates.options()) as (secure, https), web(hello) as (plain, http),
                client(f"http://{login}127.0.0.1:{proxy}", ca_file=certificates.ca_file) as asking):
        for url in (f"https://localhost:{https}/", f"http://localhost:{http}/"):
            with pytest.raises(RequestError, match=words) as caught:
                await asking.request("GET", url)
            assert "wrong" not in str(caught.value)
        assert secure.handled == plain.handled == []


async def test_the_certificate_behind_a_tunnel_must_be_the_targets(
        certificates: Certificates, tmp_path: Path) -> None:
    async with (independent_proxy(tmp_path) as proxy,
                web(hello, certificates.options(), interface="127.0.0.2") as (secure, https),
                client(f"http://127.0.0.1:{proxy}", ca_file=certificates.ca_file) as asking):
        with pytest.raises(RequestError, match=r"https://127\.0\.0\.2:\d+: the certificate is for another name"):
            await asking.request("GET", f"https://127.0.0.2:{https}/")
        assert secure.handled == []


@pytest.mark.parametrize(("answer", "words"), [
    (REFUSED % b"403 Forbidden", r"does not allow connections to calendar\.example\.com:443 \(403\)"),
    (REFUSED % b"502 Bad Gateway", r"could not reach calendar\.example\.com:443 itself \(502\)"),
    (REFUSED % b"504 Gateway Timeout", r"could not reach calendar\.example\.com:443 itself \(504\)"),
    (REFUSED % b"418 I'm a teapot", r"refused CONNECT calendar\.example\.com:443: 418 I'm a teapot"),
    (b"HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\r\n",
     "asks for Negotiate or NTLM authentication .* only Basic is supported"),
    (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "did not answer as an HTTP proxy does"),
    (b"HTTP/1.1 200 OK\r\n" + b"X" * HEAD_LIMIT, f"more than {HEAD_LIMIT} bytes of headers"),
    (b"HTTP/1.1 200 Connection established\r\n\r\n" + HANDSHAKE_FAILURE, "handshake failure"),
    (b"HTTP/1.1 102 Wait\r\n\r\nHTTP/1.0 200\n\n" + HANDSHAKE_FAILURE, "handshake failure")])
async def test_what_a_proxy_answers_to_connect_is_told(answer: bytes, words: str) -> None:
    async with listening(says(answer)) as (server, port), client(f"http://127.0.0.1:{port}") as asking:
        with pytest.raises(RequestError, match=words):
            await asking.request("GET", "https://calendar.example.com/secret")
        head = server.received.partition(b"\r\n\r\n")[0]
        assert head == b"CONNECT calendar.example.com:443 HTTP/1.1\r\nHost: calendar.example.com:443"


async def test_a_proxy_that_closes_is_told() -> None:
    async with listening(lambda t: t.loseConnection()) as (_, port), client(f"http://127.0.0.1:{port}") as asking:
        with pytest.raises(RequestError, match=r"broke off CONNECT calendar\.example\.com:443"):
            await asking.request("GET", "https://calendar.example.com/")


async def test_where_no_proxy_is_the_proxy_is_named() -> None:
    async with listening(says(b"")) as (_, port):
        pass
    async with client(f"http://u:secret@127.0.0.1:{port}") as asking:
        for url in ("https://calendar.example.com/", "http://calendar.example.com/"):
            with pytest.raises(RequestError, match=f"the web proxy 127.0.0.1:{port} cannot be reached: .*refused"):
                await asking.request("GET", url)


async def test_a_proxy_that_never_answers_is_told() -> None:
    use = Clocked()
    async with listening(says(b"")) as (server, port), client(f"http://127.0.0.1:{port}", use) as asking:
        asked = deferred(asking.request("GET", "https://calendar.example.com/"))
        await until(lambda: b"\r\n\r\n" in server.received)
        use.clock.advance(TUNNEL_TIMEOUT_S)
        with pytest.raises(RequestError, match=r"did not answer CONNECT calendar\.example\.com:443 within 30 s"):
            await asked
    assert use.clock.getDelayedCalls() == []


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_tunnel_is_made_of_an_answer_that_comes_byte_by_byte(
        scheme: str, certificates: Certificates) -> None:
    """Also where the proxy itself is spoken to over TLS."""
    async with (web(hello, certificates.options()) as (server, port),
                tunnels(port, certificates.options() if scheme == "https" else None) as (made, proxy),
                client(f"{scheme}://u:p@localhost:{proxy}", ca_file=certificates.ca_file) as asking):
        assert (await asking.request("GET", "https://localhost:4711/")).body == b"hello"
        assert (await asking.request("GET", "https://[::1]/")).body == b"hello"
        assert [head.split(b"\r\n")[0] for head in made.heads] == [
            b"CONNECT localhost:4711 HTTP/1.1", b"CONNECT [::1]:443 HTTP/1.1"]
        assert b"Proxy-Authorization: Basic " + b64encode(b"u:p") in made.heads[0]
        assert server.handled[0].getHeader("host") == "localhost:4711"


def test_a_proxy_is_read_from_its_url() -> None:
    assert proxy_of("") is None
    proxy = proxy_of("http://us%3Aer:p%C3%A4ss@proxy.example.com:3128")
    assert proxy is not None
    assert (proxy.host, proxy.port, proxy.tls) == ("proxy.example.com", 3128, False)
    assert proxy.authorization == f"Basic {b64encode('us:er:päss'.encode()).decode()}"
    assert "päss" not in f"{proxy} {proxy!r}"
    secure = proxy_of("https://[2001:db8::1]")
    assert secure is not None
    assert (secure.host, secure.port, secure.tls, secure.authorization) == ("2001:db8::1", 443, True, "")
    with pytest.raises(ValueError, match="a proxy is written as"):
        proxy_of("socks5://proxy")
