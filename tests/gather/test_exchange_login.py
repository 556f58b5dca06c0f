"""Basic and tokens against a scripted server, NTLM against the server side that otjd has for endpoints."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from twisted.internet.task import Clock

from otjd.gather.exchange_login import (
    IDLE_SESSIONS,
    REFUSED_FOR_S,
    BasicLogin,
    Gate,
    Login,
    NtlmLogin,
    Post,
    TokenLogin,
    channel_binding,
)
from otjd.gather.source import UnauthorizedError, UnreachableError
from otjd.outbound.client import Answer, HttpClient
from otjd.protocol.ntlm import NEGOTIATE, ServerNames, message_type, read_negotiate, write_challenge
from otjd.seam import deferred
from otjd.serve.site import SiteSettings
from otjd.simulate.certificates import make_certificates
from tests.outbound.servers import Certificates, listening, reactor, until, web
from tests.serve.http_world import BOARDROOM, Served

ACCOUNT = "svc-otj@example.com"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def served_by(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_certificates(tmp_path_factory.mktemp("served"), ["otj.example.com"], datetime.now(UTC))


class Basic:
    """Knows one password, and counts what it is given."""

    def __init__(self, password: str = "right",
                 offers: tuple[str, ...] = ("Negotiate", 'Basic realm="x"')) -> None:
        self.password = password
        self.offers = offers
        self.given: list[str] = []
        self.held: list[Any] = []
        self.is_slow = False

    def __call__(self, request: Any) -> bytes | None:
        given = request.getPassword().decode()
        self.given.append(given)
        if self.is_slow:
            return None
        if given == self.password and 'Basic realm="x"' in self.offers:
            return b"<fine/>"
        request.setResponseCode(401)
        request.responseHeaders.setRawHeaders("WWW-Authenticate", list(self.offers))
        return b""


@asynccontextmanager
async def basic(certificates: Certificates, server: Basic,
                password: str = "right") -> AsyncIterator[tuple[BasicLogin, Clock, Post, Any]]:
    clock = Clock()
    http = HttpClient(reactor, ca_file=certificates.ca_file)
    async with web(server, certificates.options()) as (resource, port):
        try:
            yield (BasicLogin(http, Gate(clock, ACCOUNT), ACCOUNT, password), clock,
                   Post(f"https://localhost:{port}/EWS/Exchange.asmx", b"<ask/>"), resource)
        finally:
            await http.close()


async def test_a_wrong_password_is_sent_once_however_many_ask(certificates: Certificates) -> None:
    server = Basic()
    async with basic(certificates, server, "wrong") as (login, clock, post, _):
        asked = [deferred(login.send(post)) for _ in range(8)]
        for one in asked:
            with pytest.raises(UnauthorizedError, match="refuses svc-otj@example"):
                await one
        with pytest.raises(UnauthorizedError):
            await login.send(post)
        assert server.given == ["wrong"]
        clock.advance(REFUSED_FOR_S)
        server.password = "wrong"
        assert (await login.send(post)).body == b"<fine/>"
        assert server.given == ["wrong", "wrong"]


async def test_requests_go_side_by_side_once_the_account_was_accepted(certificates: Certificates) -> None:
    server = Basic()
    async with basic(certificates, server) as (login, _, post, resource):
        assert (await login.send(post)).status == 200
        server.is_slow = True
        asked = [deferred(login.send(post)) for _ in range(3)]
        await until(lambda: len(resource.held) == 3)
        for request in resource.held:
            request.finish()
        assert [(await one).status for one in asked] == [200] * 3


async def test_an_account_that_was_accepted_is_tried_once_more_after_a_refusal(certificates: Certificates) -> None:
    server = Basic()
    async with basic(certificates, server) as (login, _, post, _resource):
        await login.send(post)
        server.password = "new"
        for _ in range(2):
            with pytest.raises(UnauthorizedError):
                await login.send(post)
        assert server.given == ["right"] * 3


async def test_a_way_to_sign_in_that_is_not_offered_is_named(certificates: Certificates) -> None:
    async with basic(certificates, Basic(offers=("Negotiate", "NTLM"))) as (login, _, post, _resource):
        with pytest.raises(UnauthorizedError, match=r"does not offer Basic sign-in \(it offers Negotiate, NTLM\)"):
            await login.send(post)


@pytest.mark.parametrize("line", [
    'Negotiate, NTLM, Bearer client_id="1, NTLM", error="x"', 'negotiate , ntlm, bearer realm = "a, b"'])
async def test_all_ways_to_sign_in_may_be_offered_on_one_line(certificates: Certificates, line: str) -> None:
    async with basic(certificates, Basic(offers=(line,))) as (login, _, post, _resource):
        with pytest.raises(UnauthorizedError, match=r"(?i)it offers Negotiate, NTLM, Bearer\)"):
            await login.send(post)


async def test_ntlm_goes_on_where_other_ways_stand_on_the_same_line(certificates: Certificates) -> None:
    given: list[str] = []

    def server(request: Any) -> bytes:
        given.append(request.getHeader("Authorization") or "")
        proof = b64decode(given[-1].partition(" ")[2])
        if message_type(proof) == NEGOTIATE:
            challenge = write_challenge(read_negotiate(proof), bytes(range(8)), datetime.now(UTC),
                                        ServerNames("EXAMPLE", "EX01", "example.com", "ex01.example.com"))
            request.setResponseCode(401)
            told = b64encode(challenge).decode()
            request.setHeader("WWW-Authenticate", f'Basic realm="x", NTLM {told}, Negotiate')
        return b""

    http = HttpClient(reactor, ca_file=certificates.ca_file)
    login: Login = NtlmLogin(http, Gate(Clock(), ACCOUNT), ACCOUNT, "x")
    async with web(server, certificates.options()) as (_, port):
        assert (await login.send(Post(f"https://localhost:{port}/", b""))).status == 200
        assert len(given) == 2
        await login.close()
        await http.close()


async def test_a_server_that_is_away_does_not_count_as_a_refusal() -> None:
    http = HttpClient(reactor)
    login = BasicLogin(http, Gate(Clock(), ACCOUNT), ACCOUNT, "x")
    async with listening(lambda transport: transport.abortConnection()) as (_, port):
        for _ in range(2):
            with pytest.raises(UnreachableError):
                await login.send(Post(f"http://127.0.0.1:{port}/", b""))
    await http.close()


async def test_nothing_long_is_begun_by_an_account_that_is_not_proven(certificates: Certificates) -> None:
    server = Basic()
    async with basic(certificates, server) as (login, _, post, _resource):
        stream = Post(post.url, b"", stream=lambda _: None, idle_s=5)
        with pytest.raises(UnreachableError, match="not signed in"):
            await login.send(stream)
        await login.send(post)
        assert (await login.send(stream)).status == 200
        assert len(server.given) == 2


class Tokens:
    def __init__(self) -> None:
        self.number = 1

    async def token(self) -> str:
        return f"token{self.number}"

    def forget(self) -> None:
        self.number += 1


@pytest.mark.parametrize(("accepted", "expected"), [("token1", 1), ("token2", 2), ("none", 2)])
async def test_a_refused_token_is_replaced_once(certificates: Certificates, accepted: str, expected: int) -> None:
    given: list[str] = []

    def server(request: Any) -> bytes:
        given.append(request.getHeader("Authorization").removeprefix("Bearer "))
        request.setResponseCode(200 if given[-1] == accepted else 401)
        return b"<fine/>"

    http = HttpClient(reactor, ca_file=certificates.ca_file)
    async with web(server, certificates.options()) as (_, port):
        asked = deferred(TokenLogin(http, Tokens(), ACCOUNT).send(Post(f"https://localhost:{port}/", b"")))
        if accepted == "none":
            with pytest.raises(UnauthorizedError, match="access token"):
                await asked
        else:
            assert (await asked).status == 200
        assert len(given) == expected
        await http.close()


@asynccontextmanager
async def ntlm(served_by: Any, username: str = BOARDROOM.username, password: str = BOARDROOM.password,
               **site: Any) -> AsyncIterator[tuple[NtlmLogin, Served, Post]]:
    http = HttpClient(reactor, ca_file=served_by.ca_certificate)
    login = NtlmLogin(http, Gate(Clock(), username), username, password)
    settings = site.pop("settings", SiteSettings(authentication=("ntlm",)))
    async with Served(served_by, reactor, settings=settings, **site) as served:
        try:
            yield login, served, Post(f"https://localhost:{served.port}/EWS/Exchange.asmx", b"<ask/>")
        finally:
            await login.close()
            await http.close()


async def test_ntlm_signs_a_connection_in_and_uses_it_again(served_by: Any) -> None:
    async with ntlm(served_by) as (login, served, post):
        answers = [await login.send(post) for _ in range(3)]
        assert [one.body for one in answers] == [b"<answer/>"] * 3
        assert len({one.connection for one in answers}) == 1
        assert [call.body for call in served.world.calls] == [b"<ask/>"] * 3
        assert {call.scheme for call in served.world.calls} == {"ntlm"}


@pytest.mark.parametrize("username", ["boardroom", "EXAMPLE\\boardroom", "boardroom@example.com"])
async def test_ntlm_knows_users_with_and_without_a_domain(served_by: Any, username: str) -> None:
    async with ntlm(served_by, username) as (login, _, post):
        assert (await login.send(post)).status == 200


async def test_ntlm_requests_side_by_side_have_connections_of_their_own(served_by: Any) -> None:
    async with ntlm(served_by) as (login, _, post):
        await login.send(post)
        answers = [await one for one in [deferred(login.send(post)) for _ in range(4)]]
        assert [one.status for one in answers] == [200] * 4
        assert len(login._idle[post.server]) <= min(4, IDLE_SESSIONS)


async def test_ntlm_signs_in_again_on_a_new_connection(served_by: Any) -> None:
    async with ntlm(served_by) as (login, served, post):
        first = await login.send(post)
        await served.world.site.close_connections()
        second = await login.send(post)
        assert (second.status, second.connection != first.connection) == (200, True)


async def test_ntlm_with_a_wrong_password_is_tried_once(served_by: Any) -> None:
    async with ntlm(served_by, password="wrong") as (login, served, post):
        asked = [deferred(login.send(post)) for _ in range(4)]
        for one in asked:
            with pytest.raises(UnauthorizedError, match="Extended Protection"):
                await one
        assert not served.world.calls


async def test_ntlm_that_is_not_offered_is_named(served_by: Any) -> None:
    async with ntlm(served_by, settings=SiteSettings(authentication=("basic",))) as (login, _, post):
        with pytest.raises(UnauthorizedError, match=r"does not offer NTLM sign-in \(it offers Basic\)"):
            await login.send(post)


@pytest.mark.parametrize("challenge", ["NTLM !", "NTLM TlRMTVNTUAACAAAA", "NTLM"])
async def test_a_challenge_that_cannot_be_read_is_no_crash(certificates: Certificates, challenge: str) -> None:
    def server(request: Any) -> bytes:
        request.setResponseCode(401)
        request.setHeader("WWW-Authenticate", challenge)
        return b""

    http = HttpClient(reactor, ca_file=certificates.ca_file)
    login: Login = NtlmLogin(http, Gate(Clock(), ACCOUNT), ACCOUNT, "x")
    async with web(server, certificates.options()) as (_, port):
        with pytest.raises((UnreachableError, UnauthorizedError)):
            await login.send(Post(f"https://localhost:{port}/", b""))
        await login.close()
        await http.close()


def test_without_tls_there_is_no_channel_to_bind_to() -> None:
    assert channel_binding(None) is None


def test_secrets_are_in_no_representation() -> None:
    login = BasicLogin(HttpClient(reactor), Gate(Clock(), ACCOUNT), ACCOUNT, "s3cr3t")
    assert "s3cr3t" not in repr(login) + repr(Post("https://x/", b"s3cr3t")) + repr(Answer(200, b"s3cr3t"))
