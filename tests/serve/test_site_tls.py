"""The calendar site behind real TLS on loopback, with curl, requests and raw sockets as clients."""

from __future__ import annotations

import resource
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import requests
import requests_ntlm
from requests.auth import HTTPBasicAuth, HTTPDigestAuth
from twisted.internet.threads import deferToThread

from otjd.serve.calls import Reply
from otjd.serve.limits import Limits
from otjd.serve.site import SiteSettings
from otjd.simulate.certificates import Certificates, make_certificates
from tests.serve.clients import basic
from tests.serve.http_world import NOW, PATH, Served, read_answers, request

ALL = SiteSettings(authentication=("digest", "ntlm", "basic"), throttle_failed_logins=False)
RIGHT = basic("boardroom", "poly-secret")
BODY_LIMIT = Limits().body_bytes

pytestmark = pytest.mark.needs("curl")


@pytest.fixture
def reactor() -> Any:
    from twisted.internet import reactor

    return reactor


def curl(served: Served, *options: str, user: str = "boardroom:poly-secret", path: str = PATH,
         body: bytes | None = b"<ask/>") -> tuple[list[int], bytes]:
    """The status of every answer, and the body of the last."""
    sent = [] if body is None else ["--header", "Content-Type: text/xml", "--data-binary", "@-"]
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--cacert", str(served.certificates.ca_certificate), "--include",
         "--max-time", "30", *(["--user", user] if user else []), *sent, *options, served.url(path)],
        input=body, capture_output=True, check=True, timeout=40)
    statuses = [int(line.split()[1]) for line in done.stdout.split(b"\r\n") if line.startswith(b"HTTP/")]
    return statuses, done.stdout.rpartition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(("option", "scheme", "statuses"), [
    ("--digest", "digest", [401, 200]), ("--ntlm", "ntlm", [401, 200]), ("--basic", "basic", [200]),
    ("--anyauth", "digest", [401, 200])])
async def test_curl_signs_in_with_every_scheme(
        reactor: Any, certificates: Certificates, option: str, scheme: str, statuses: list[int]) -> None:
    async with Served(certificates, reactor, settings=ALL) as served:
        assert await deferToThread(curl, served, option) == (statuses, b"<answer/>")
        (call,) = served.world.calls
        assert (call.scheme, call.body, call.method) == (scheme, b"<ask/>", "POST")
        assert call.base_url == f"https://127.0.0.1:{served.port}"


@pytest.mark.parametrize("option", ["--digest", "--ntlm", "--basic", "--anyauth"])
@pytest.mark.parametrize("user", ["boardroom:wrong", "Boardroom:poly-secret", "nobody:x"])
async def test_curl_with_a_wrong_login_gets_401_and_nothing_else(
        reactor: Any, certificates: Certificates, option: str, user: str) -> None:
    async with Served(certificates, reactor, settings=ALL) as served:
        statuses, body = await deferToThread(curl, served, option, user=user)
        assert set(statuses) == {401}
        assert body == b""
        assert not served.world.calls


@pytest.mark.parametrize("scheme", ["digest", "ntlm", "basic"])
async def test_curl_any_takes_the_one_scheme_that_is_offered(
        reactor: Any, certificates: Certificates, scheme: str) -> None:
    async with Served(certificates, reactor, settings=SiteSettings(authentication=(scheme,))) as served:
        statuses, _ = await deferToThread(curl, served, "--anyauth")
        assert statuses[-1] == 200
        assert served.world.calls[-1].scheme == scheme


async def test_curl_in_fips_mode_signs_in_with_basic(reactor: Any, certificates: Certificates) -> None:
    async with Served(certificates, reactor, settings=SiteSettings(fips=True)) as served:
        assert (await deferToThread(curl, served, "--anyauth"))[0] == [401, 200]
        assert (await deferToThread(curl, served, "--digest"))[0][-1] == 401
        assert (await deferToThread(curl, served, "--ntlm"))[0][-1] == 401


async def test_clients_of_two_digest_lines_answer_either(reactor: Any, certificates: Certificates) -> None:
    settings = SiteSettings(authentication=("digest",), digest_sha256=True)
    async with Served(certificates, reactor, settings=settings) as served:
        assert (await deferToThread(curl, served, "--digest"))[0] == [401, 200]
        answers = await deferToThread(ask_twice, served, HTTPDigestAuth("boardroom", "poly-secret"))
        assert answers == [200, 200]


def ask_twice(served: Served, auth: Any) -> list[int]:
    """The status of two requests of one session, so with a connection and a nonce that may be used again."""
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(served.certificates.ca_certificate)
        return [session.post(served.url(), data=b"<ask/>", auth=auth, timeout=30).status_code for _ in range(2)]


@pytest.mark.parametrize(("auth", "scheme"), [
    (HTTPDigestAuth("boardroom", "poly-secret"), "digest"), (HTTPBasicAuth("boardroom", "poly-secret"), "basic"),
    (requests_ntlm.HttpNtlmAuth("EXAMPLE\\boardroom", "poly-secret"), "ntlm"),
    (requests_ntlm.HttpNtlmAuth("boardroom@example.com", "poly-secret"), "ntlm"),
    (requests_ntlm.HttpNtlmAuth("boardroom", "poly-secret"), "ntlm")])
async def test_requests_signs_in_and_stays_signed_in(
        reactor: Any, certificates: Certificates, auth: Any, scheme: str) -> None:
    async with Served(certificates, reactor, settings=ALL) as served:
        assert await deferToThread(ask_twice, served, auth) == [200, 200]
        assert [(c.scheme, c.body) for c in served.world.calls] == [(scheme, b"<ask/>")] * 2
        assert len(served.world.site.connections) <= 1


@pytest.mark.parametrize("auth", [
    HTTPDigestAuth("boardroom", "wrong"), requests_ntlm.HttpNtlmAuth("boardroom", "wrong"),
    HTTPDigestAuth("BOARDROOM", "poly-secret"), requests_ntlm.HttpNtlmAuth("BOARDROOM", "poly-secret")])
async def test_requests_with_a_wrong_login_gets_401(reactor: Any, certificates: Certificates, auth: Any) -> None:
    async with Served(certificates, reactor, settings=ALL) as served:
        assert await deferToThread(ask_twice, served, auth) == [401, 401]


@pytest.mark.parametrize("options", [
    ["--basic", "--header", "Expect:"], ["--basic"], ["--header", "Transfer-Encoding: chunked", "--basic"],
    ["--header", "Transfer-Encoding: chunked", "--header", "Expect:", "--digest"]])
async def test_ten_megabytes_get_413_and_take_no_memory(
        reactor: Any, certificates: Certificates, options: list[str]) -> None:
    async with Served(certificates, reactor, settings=ALL) as served:
        body = b"x" * 10_000_000
        await deferToThread(curl, served, "--basic")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        statuses, answer = await deferToThread(curl, served, *options, body=body)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert statuses[-1] == 413
        assert str(BODY_LIMIT).encode() in answer
        assert len(served.world.calls) == 1
        assert after - before < 8 * 1024  # KiB; curl's own copy of the body is not ours


async def test_a_client_that_sends_all_before_it_reads_gets_its_413_too(
        reactor: Any, certificates: Certificates) -> None:
    def ask(served: Served) -> tuple[list[int], bytes]:
        with served.socket() as client:
            client.sendall(request(body=b"x" * 10_000_000, Authorization=RIGHT))
            data = receive_all(client)
        return [a.status for a in read_answers(data)], data

    async with Served(certificates, reactor, settings=ALL) as served:
        statuses, _ = await deferToThread(ask, served)
        assert statuses == [413]
        assert not served.world.calls


def receive_all(client: Any) -> bytes:
    """What comes until the server ends the connection."""
    data = b""
    while part := client.recv(65536):
        data += part
    return data


async def test_pipelined_requests_are_answered_in_order_over_tls(reactor: Any, certificates: Certificates) -> None:
    def ask(served: Served) -> list[int]:
        with served.socket() as client:
            sent = [request(body=f"<n{n}/>".encode(), Authorization=RIGHT) for n in range(50)]
            client.sendall(b"".join(sent) + request("GET", "/healthz", b"", Connection="close"))
            return [a.status for a in read_answers(receive_all(client))]

    async with Served(certificates, reactor, settings=ALL) as served:
        assert await deferToThread(ask, served) == [200] * 51
        assert [c.body for c in served.world.calls] == [f"<n{n}/>".encode() for n in range(50)]


async def test_a_client_that_does_not_read_gets_no_more_answers_until_it_does(
        reactor: Any, certificates: Certificates) -> None:
    many = 80  # the answers are more than the system keeps

    def ask(served: Served) -> tuple[int, int]:
        with served.socket() as client:
            client.sendall(b"".join(request(body=f"<n{n}/>".encode(), Authorization=RIGHT) for n in range(many))
                           + request("GET", "/healthz", b"", Connection="close"))
            for _ in range(5):  # when these are answered, what was sent before has been read
                with served.socket() as other:
                    other.sendall(request("GET", "/healthz", b"", Connection="close"))
                    receive_all(other)
            early = len(served.world.calls)
            return early, b"".join(iter(lambda: client.recv(65536), b"")).count(b"HTTP/1.1 200 ")

    async with Served(certificates, reactor, settings=ALL, reply=Reply(200, bytes(256 * 1024))) as served:
        early, answers = await deferToThread(ask, served)
        assert 0 < early < many
        assert answers == many + 1
        assert [c.body for c in served.world.calls] == [f"<n{n}/>".encode() for n in range(many)]


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
async def test_a_client_that_does_not_let_go_of_a_closed_connection_is_cut(
        reactor: Any, certificates: Certificates, version: str) -> None:
    def ask(served: Served) -> bytes:
        with served.socket() as client:
            sent = request("GET", "/healthz", b"", Connection="close")
            client.sendall(sent.replace(b"HTTP/1.1", version.encode()))
            client.recv(4096)
            with socket.socket(fileno=client.detach()) as below:  # where nobody agrees to the end of TLS
                below.settimeout(20)
                try:
                    return b"".join(iter(lambda: below.recv(4096), b""))
                except ConnectionResetError:
                    return b""

    settings = SiteSettings(authentication=("basic",), limits=Limits(idle_s=0.5))
    async with Served(certificates, reactor, settings=settings) as served:
        await deferToThread(ask, served)
        assert not served.world.site.connections


async def test_a_client_that_waits_for_100_is_told_to_go_on(reactor: Any, certificates: Certificates) -> None:
    def ask(served: Served) -> tuple[bytes, list[int]]:
        with served.socket() as client:
            client.sendall(request(body=b"", Content_Length="6", Expect="100-continue", Connection="close",
                                   Authorization=RIGHT))
            first = client.recv(4096)
            client.sendall(b"<ask/>")
            return first, [a.status for a in read_answers(receive_all(client))]

    async with Served(certificates, reactor, settings=ALL) as served:
        assert await deferToThread(ask, served) == (b"HTTP/1.1 100 Continue\r\n\r\n", [200])


async def test_a_client_of_http_1_0_is_answered_and_its_connection_closed(
        reactor: Any, certificates: Certificates) -> None:
    def ask(sent: bytes) -> bytes:
        with served.socket() as client:
            client.sendall(sent)
            return receive_all(client)

    async with Served(certificates, reactor, settings=ALL) as served:
        got = await deferToThread(ask, b"GET /healthz HTTP/1.0\r\n\r\n")
        assert got.startswith(b"HTTP/1.0 200 ")
        assert got.endswith(b"\r\n\r\nok\n")
        (head,) = read_answers(await deferToThread(ask, b"HEAD /healthz HTTP/1.0\r\n\r\n"), head=True)
        assert (head.status, head.header("content-length")) == (200, "3")


async def test_many_clients_at_once_are_served(reactor: Any, certificates: Certificates) -> None:
    from twisted.internet.defer import gatherResults

    async with Served(certificates, reactor, settings=ALL) as served:
        answers = await gatherResults([
            deferToThread(ask_twice, served, auth) for auth in (
                HTTPDigestAuth("boardroom", "poly-secret"), requests_ntlm.HttpNtlmAuth("boardroom", "poly-secret"),
                HTTPDigestAuth("lounge", "lounge-secret"), requests_ntlm.HttpNtlmAuth("lounge", "lounge-secret"))])
        assert answers == [[200, 200]] * 4
        names = [c.account.username for c in served.world.calls]
        assert sorted(names) == ["boardroom"] * 4 + ["lounge"] * 4


async def test_open_connections_are_ended_when_the_site_is(reactor: Any, certificates: Certificates) -> None:
    def hold(served: Served) -> bytes:
        with served.socket() as client:
            client.sendall(request("GET", "/healthz", b""))
            client.recv(4096)
            return receive_all(client)

    async with Served(certificates, reactor) as served:
        held = deferToThread(hold, served)
        while not served.world.site.connections:
            await deferToThread(time.sleep, 0.02)
    assert await held == b""
    assert not served.world.site.connections


async def test_http_2_is_not_offered(reactor: Any, certificates: Certificates) -> None:
    def negotiate(served: Served) -> str | None:
        context = ssl.create_default_context(cafile=certificates.ca_certificate)
        context.set_alpn_protocols(["h2", "http/1.1"])
        with (socket.create_connection(("127.0.0.1", served.port), timeout=20) as plain,
              context.wrap_socket(plain, server_hostname="otj.example.com") as client):
            return client.selected_alpn_protocol()

    async with Served(certificates, reactor) as served:
        assert await deferToThread(negotiate, served) is None
        assert (await deferToThread(curl, served, "--http2", "--basic", path="/healthz", body=None))[0] == [200]


def tls_events(events: list[dict[str, Any]]) -> list[str]:
    return [e["log_format"].format(**e) for e in events if e.get("log_namespace", "").startswith("otjd")]


async def run_curl(*arguments: str) -> int:
    done = await deferToThread(subprocess.run, ["curl", "--silent", *arguments], check=False, timeout=30)
    return int(done.returncode)


async def test_a_client_with_an_old_tls_is_one_line(
        reactor: Any, certificates: Certificates, logged_events: list[dict[str, Any]]) -> None:
    async with Served(certificates, reactor) as served:
        assert await run_curl("--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", "--insecure", served.url())
    (line,) = tls_events(logged_events)
    assert line == ("TLS with 127.0.0.1 failed: unsupported protocol; it speaks an older TLS than this listener's "
                    "minimum_tls")


async def test_a_client_that_does_not_trust_our_certificate_is_one_line(
        reactor: Any, certificates: Certificates, tmp_path: Path, logged_events: list[dict[str, Any]]) -> None:
    other = make_certificates(tmp_path, [], NOW)
    async with Served(certificates, reactor) as served:
        assert await run_curl("--cacert", str(other.ca_certificate), served.url())
    (line,) = tls_events(logged_events)
    assert line.endswith("it does not trust the authority of our certificate")


async def test_a_client_that_goes_away_before_tls_is_no_line(
        reactor: Any, certificates: Certificates, logged_events: list[dict[str, Any]]) -> None:
    def connect() -> None:
        socket.create_connection(("127.0.0.1", served.port), timeout=20).close()

    async with Served(certificates, reactor) as served:
        await deferToThread(connect)
    assert tls_events(logged_events) == []


async def test_a_client_that_speaks_http_to_the_tls_port_is_one_line(
        reactor: Any, certificates: Certificates, logged_events: list[dict[str, Any]]) -> None:
    async with Served(certificates, reactor) as served:
        assert await run_curl(f"http://127.0.0.1:{served.port}/")
    (line,) = tls_events(logged_events)
    assert "HTTP, not HTTPS" in line
