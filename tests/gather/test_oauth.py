"""Tokens fetched by the libraries that Microsoft and Google publish, from token services over real TLS."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from twisted.internet.threads import deferToThread

from otjd.gather.consent import exchange_consent, google_consent
from otjd.gather.oauth import exchange_tokens, google_service_tokens, google_user_tokens, graph_tokens
from otjd.gather.source import UnauthorizedError, UnreachableError
from otjd.gather.token_store import TokenStore
from otjd.gather.tokens import TokenSource
from otjd.outbound.client import HttpClient
from otjd.seam import deferred
from tests.outbound.servers import Certificates, Clocked, reactor, tunnels, until, web

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                        serialization.NoEncryption()).decode()
EMAIL = "otj@project.iam.gserviceaccount.com"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@dataclass
class TokenService:
    """Answers with tokens a1, a2, ...; `fault` (status, JSON or bytes) goes before."""

    fault: tuple[int, Any] | None = None
    more: dict[str, Any] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    url: str = ""

    def __call__(self, request: Any) -> bytes:
        self.paths.append(request.uri.decode())
        self.asked.append({k: v[-1] for k, v in parse_qs(request.body.decode()).items()})
        status, answer = self.fault or (200, {"access_token": f"a{len(self.asked)}", "expires_in": 3599,
                                              "token_type": "Bearer", **self.more})
        request.setResponseCode(status)
        request.setHeader("Content-Type", "application/json")
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode()


@asynccontextmanager
async def service(certificates: Certificates,
                  path: str = "/token") -> AsyncIterator[tuple[TokenService, HttpClient]]:
    tokens = TokenService()
    http = HttpClient(reactor, ca_file=certificates.ca_file)
    async with web(tokens, certificates.options()) as (_, port):
        tokens.url = f"https://localhost:{port}{path}"
        try:
            yield tokens, http
        finally:
            await http.close()


def graph(tokens: TokenService, http: HttpClient, **changes: Any) -> TokenSource:
    values = {"integration": "m365", "token_url": tokens.url, "client_id": "0000-11", "client_secret": "s3cr3t",
              "scope": "https://graph.microsoft.com/.default"}
    return graph_tokens(http, reactor=reactor, in_thread=deferToThread, **{**values, **changes})


TENANT_PATH = "/contoso.example/oauth2/v2.0/token"


async def test_graph_tokens_come_by_client_credentials_from_the_configured_url(certificates: Certificates) -> None:
    async with service(certificates, TENANT_PATH) as (tokens, http):
        source = graph(tokens, http)
        assert await source.token() == await source.token() == "a1"
        (asked,) = tokens.asked
        assert tokens.paths == [TENANT_PATH]
        assert {name: asked[name] for name in ("grant_type", "client_id", "client_secret", "scope")} == {
            "grant_type": "client_credentials", "client_id": "0000-11", "client_secret": "s3cr3t",
            "scope": "https://graph.microsoft.com/.default"}


@pytest.mark.parametrize("path", ["/", "/adfs/oauth2/token", "/a/b/c?d=e"])
async def test_any_token_url_will_do(path: str, certificates: Certificates) -> None:
    async with service(certificates, path) as (tokens, http):
        assert await graph(tokens, http).token() == "a1"
        assert tokens.paths == [path]


AADSTS = "AADSTS{}: it is so.\r\nTrace ID: 1234 Correlation ID: 5678"


@pytest.mark.parametrize(("status", "error", "code", "words"), [
    (401, "invalid_client", 7000215, r"the secret's Value, not its Secret ID \(invalid_client: AADSTS7000215"),
    (401, "invalid_client", 7000222, "client secret has expired"),
    (400, "unauthorized_client", 700016, "no such app in this tenant"),
    (400, "invalid_request", 90002, "there is no such tenant"),
    (400, "invalid_client", 1, r"client id or client secret is wrong.*AADSTS1"),
    (400, "something_else", 1, r"the token service refused \(something_else: AADSTS1: it is so\. Trace ID"),
])
async def test_why_microsoft_refuses_is_told(status: int, error: str, code: int, words: str,
                                             certificates: Certificates) -> None:
    async with service(certificates, TENANT_PATH) as (tokens, http):
        tokens.fault = (status, {"error": error, "error_description": AADSTS.format(code)})
        with pytest.raises(UnauthorizedError, match=words) as caught:
            await graph(tokens, http).token()
        assert str(caught.value).startswith("m365: ")
        assert "s3cr3t" not in str(caught.value)
        assert len(tokens.asked) == 1


@pytest.mark.parametrize("kind", [graph, "google"])
@pytest.mark.parametrize(("fault", "error", "words"), [
    ((200, {"hello": 1}), UnreachableError, "without an access token"),
    ((200, b"<html>"), UnreachableError, "without an access token"),
    ((200, b"[1]"), UnreachableError, "without an access token"),
    ((404, b"<html>"), UnauthorizedError, "answered 404 without a reason: is its URL right"),
    ((400, b"\xff\xfe"), UnauthorizedError, "answered 400 without a reason"),
    ((400, [1]), UnauthorizedError, "answered 400 without a reason"),
])
async def test_an_answer_that_is_none_is_told(
        kind: Any, fault: tuple[int, Any], error: type[Exception], words: str, certificates: Certificates) -> None:
    async with service(certificates, TENANT_PATH) as (tokens, http):
        tokens.fault = fault
        with pytest.raises(error, match=words):
            await (google if kind == "google" else kind)(tokens, http).token()


async def test_a_token_service_in_trouble_is_worth_another_attempt(certificates: Certificates) -> None:
    async with service(certificates, TENANT_PATH) as (tokens, http):
        source = graph(tokens, http)
        tokens.fault = (503, b"")
        with pytest.raises(UnreachableError, match=r"cannot answer at present \(503\)"):
            await source.token()
        tokens.fault = None
        assert await source.token() == "a2"


@pytest.mark.parametrize("kind", [graph, "google"])
async def test_a_token_service_that_is_not_reached_is_told(kind: Any, certificates: Certificates) -> None:
    async with service(certificates) as (tokens, http):
        tokens.url = "https://localhost:1/token"
        with pytest.raises(UnreachableError, match=r"token service: https://localhost:1: .*was refused"):
            await (google if kind == "google" else kind)(tokens, http).token()


async def test_tokens_come_through_the_web_proxy(certificates: Certificates) -> None:
    async with service(certificates, TENANT_PATH) as (tokens, _):
        port = int(tokens.url.split(":")[2].split("/")[0])
        async with tunnels(port) as (made, proxy):
            http = HttpClient(reactor, ca_file=certificates.ca_file, proxy_url=f"http://127.0.0.1:{proxy}")
            assert await graph(tokens, http).token() == "a1"
            assert len(made.heads) == 1
            await http.close()


async def test_closing_ends_a_thread_that_waits_for_a_token(certificates: Certificates) -> None:
    async with web(lambda _: None, certificates.options()) as (server, port):
        http = HttpClient(reactor, ca_file=certificates.ca_file)
        asking = deferred(graph(TokenService(url=f"https://localhost:{port}{TENANT_PATH}"), http).token())
        await until(lambda: server.held)
        await http.close()
        with pytest.raises(UnreachableError, match="the client was closed"):
            await asking


def google(tokens: TokenService, http: HttpClient, **changes: Any) -> TokenSource:
    values = {"integration": "workspace", "client_email": EMAIL, "private_key": PEM, "token_endpoint": tokens.url}
    return google_service_tokens(http, reactor=reactor, in_thread=deferToThread, **{**values, **changes})


def decoded(part: str) -> Any:
    return json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))


@pytest.mark.parametrize("changes", [
    {}, {"private_key": json.dumps({"type": "service_account", "client_email": EMAIL, "private_key": PEM,
                                    "token_uri": "https://elsewhere.invalid/"}), "client_email": ""}])
async def test_a_service_account_signs_its_assertion(changes: dict[str, Any], certificates: Certificates) -> None:
    async with service(certificates) as (tokens, http):
        source = google(tokens, http, **changes)
        assert await source.token() == await source.token() == "a1"
        (asked,) = tokens.asked
        assert asked["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        head, claims, signature = asked["assertion"].split(".")
        KEY.public_key().verify(urlsafe_b64decode(signature + "=="), f"{head}.{claims}".encode(),
                                padding.PKCS1v15(), hashes.SHA256())
        said = decoded(claims)
        assert (said["iss"], said["aud"]) == (EMAIL, "https://oauth2.googleapis.com/token")
        assert said["scope"] == "https://www.googleapis.com/auth/calendar.readonly"


@pytest.mark.parametrize("changes", [{"private_key": "nonsense"}, {"private_key": "{"}, {"private_key": ""},
                                     {"private_key": "{}"}, {"private_key": "[]"}])
async def test_a_key_that_is_none_is_told(changes: dict[str, Any], certificates: Certificates) -> None:
    async with service(certificates) as (tokens, http):
        with pytest.raises(UnauthorizedError, match="private_key is neither"):
            await google(tokens, http, **changes).token()
        assert tokens.asked == []


async def test_a_clock_that_is_wrong_or_a_key_that_was_deleted_is_told(certificates: Certificates) -> None:
    async with service(certificates) as (tokens, http):
        tokens.fault = (400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
        with pytest.raises(UnauthorizedError, match=r"clock.*\(invalid_grant: Invalid JWT Signature\.\)"):
            await google(tokens, http).token()


def stored(tmp_path: Path) -> TokenStore:
    store = TokenStore(tmp_path, "x", b64encode(bytes(32)).decode())
    store.save("r0")
    return store


def by_user(kind: str, tokens: TokenService, http: HttpClient, store: TokenStore,
            reactor: Any = reactor) -> TokenSource:
    common = {"integration": "x", "auth_endpoint": "https://a/", "token_endpoint": tokens.url, "client_id": "c",
              "redirect_uri": "http://127.0.0.1/"}
    if kind == "google":
        return google_user_tokens(http, reactor=reactor, in_thread=deferToThread, store=store,
                                  consent=google_consent(**common, client_secret="s3cr3t"))
    return exchange_tokens(http, reactor=reactor, in_thread=deferToThread, store=store,
                           consent=exchange_consent(**common, username="svc@example.com"))


KINDS = pytest.mark.parametrize("kind", ["google", "exchange"])


@KINDS
async def test_a_sign_in_gives_tokens_and_its_successor_is_kept(
        kind: str, certificates: Certificates, tmp_path: Path) -> None:
    async with service(certificates) as (tokens, http):
        store = stored(tmp_path)
        source = by_user(kind, tokens, http, store)
        tokens.more = {"refresh_token": "r1"}
        assert await source.token() == "a1"
        (asked,) = tokens.asked
        assert (asked["grant_type"], asked["refresh_token"], asked["client_id"]) == ("refresh_token", "r0", "c")
        assert asked.get("client_secret") == ("s3cr3t" if kind == "google" else None)
        found = store.load()
        assert found is not None
        assert found.refresh_token == "r1"


@KINDS
async def test_a_revoked_sign_in_is_asked_for_once_until_somebody_signs_in_again(
        kind: str, certificates: Certificates, tmp_path: Path) -> None:
    async with service(certificates) as (tokens, http):
        store = stored(tmp_path)
        source = by_user(kind, tokens, http, store)
        tokens.fault = (400, {"error": "invalid_grant", "error_description": "Token has been revoked."})
        for _ in range(3):
            with pytest.raises(UnauthorizedError, match=r"expired or was revoked.*otjd authorize 'x'") as raised:
                await source.token()
            assert raised.value.is_looked_for
        assert len(tokens.asked) == 1
        tokens.fault = None
        store.save("r9")
        assert await source.token() == "a2"
        assert tokens.asked[-1]["refresh_token"] == "r9"


@KINDS
async def test_who_signs_in_anew_is_used_though_the_token_before_is_valid(
        kind: str, certificates: Certificates, tmp_path: Path) -> None:
    use = Clocked()
    async with service(certificates) as (tokens, http):
        store = stored(tmp_path)
        tokens.more = {"refresh_token": "r1"}
        source = by_user(kind, tokens, http, store, use)
        assert await source.token() == "a1"
        use.clock.advance(10)
        assert await source.token() == "a1"  # its own successor is no new sign-in
        store.save("r9")
        use.clock.advance(10)
        assert await source.token() == "a2"
        assert tokens.asked[-1]["refresh_token"] == "r9"


@KINDS
async def test_without_a_sign_in_nobody_is_asked(kind: str, certificates: Certificates, tmp_path: Path) -> None:
    async with service(certificates) as (tokens, http):
        store = TokenStore(tmp_path, "x", b64encode(bytes(32)).decode())
        source = by_user(kind, tokens, http, store)
        with pytest.raises(UnauthorizedError, match=r"nobody has signed in yet; sign in .*authorize") as raised:
            await source.token()
        assert raised.value.is_looked_for
        assert tokens.asked == []
        store.save("r1")
        assert await source.token() == "a1"
        other = TokenStore(tmp_path, "x", b64encode(b"1" * 32).decode())
        with pytest.raises(UnauthorizedError, match=r"another node\.state_key"):
            await by_user(kind, tokens, http, other).token()


@KINDS
async def test_an_outage_of_the_token_service_does_not_end_the_sign_in(
        kind: str, certificates: Certificates, tmp_path: Path) -> None:
    async with service(certificates) as (tokens, http):
        store = stored(tmp_path)
        source = by_user(kind, tokens, http, store)
        url, tokens.url = tokens.url, "https://localhost:1/"
        with pytest.raises(UnreachableError, match="refused"):
            await by_user(kind, tokens, http, store).token()
        tokens.url = url
        assert await source.token() == "a1"
