"""Access tokens for Microsoft 365, Google and Exchange, by the libraries of their makers over our own HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

import google.auth.exceptions
import google.auth.transport
import google.oauth2.credentials
import google.oauth2.service_account
import msal
from twisted.internet.threads import blockingCallFromThread
from twisted.logger import Logger

from otjd.gather.consent import FORM, GOOGLE_SCOPE, TOKEN_ANSWER_LIMIT, TOKEN_TIMEOUT_S, Consent
from otjd.gather.oauth_errors import token_problem
from otjd.gather.source import SourceError, UnauthorizedError, UnreachableError
from otjd.gather.token_store import TokenStore
from otjd.gather.tokens import KeptToken, SignedIn, Token, TokenSource
from otjd.outbound.client import Answer, HttpClient, RequestError
from otjd.seam import InThread, deferred


class _Wire:
    """HTTP for libraries that block, from their thread; remembers what came, to explain it."""

    def __init__(self, http: HttpClient, reactor: Any) -> None:
        self._http = http
        self._reactor = reactor
        self.answer: Answer | None = None

    def ask(self, method: str, url: str, headers: Mapping[str, str] | None, body: bytes | None) -> Answer:
        self.answer = None
        request = self._http.request(method, url, headers=dict(headers or {}), body=body,
                                     timeout_s=TOKEN_TIMEOUT_S, limit=TOKEN_ANSWER_LIMIT)
        self.answer = cast("Answer", blockingCallFromThread(self._reactor, deferred, request))  # type: ignore[arg-type]
        return self.answer


class _Library:
    """Fetches tokens by a library, in a thread; `job` is given HTTP and gives the token."""

    _log = Logger()

    def __init__(self, http: HttpClient, reactor: Any, in_thread: InThread, who: str) -> None:
        self._http = http
        self._reactor = reactor
        self._in_thread = in_thread
        self._who = who

    async def fetch(self, job: Callable[[_Wire], Token]) -> Token:
        wire = _Wire(self._http, self._reactor)
        try:
            token: Token = await self._in_thread(job, wire)
        except SourceError:
            raise
        except (RequestError, google.auth.exceptions.TransportError) as error:
            raise UnreachableError(f"{self._who}: token service: {error}") from error
        except Exception as error:
            if wire.answer is None:
                self._log.failure("{who}: the sign-in failed for a reason of its own", who=self._who)
                raise UnreachableError(f"{self._who}: the sign-in failed: {type(error).__name__}") from error
            raise token_problem(wire.answer.status, wire.answer.body, self._who) from error
        return token


def graph_tokens(http: HttpClient, *, reactor: Any, in_thread: InThread, integration: str, token_url: str,
                 client_id: str, client_secret: str, scope: str) -> TokenSource:
    """Tokens of an app registration by client credentials, through msal."""
    library = _Library(http, reactor, in_thread, integration)

    def job(wire: _Wire) -> Token:
        app = msal.ConfidentialClientApplication(
            client_id, client_credential=client_secret, authority=_authority(token_url),
            http_client=_MsalHttp(wire, token_url), instance_discovery=False)
        got = app.acquire_token_for_client(scopes=[scope])
        return Token.of(got["access_token"], got.get("expires_in"))

    return KeptToken(lambda: library.fetch(job), reactor)


def _authority(token_url: str) -> str:
    parts = urlsplit(token_url)
    return f"https://{parts.netloc}/{parts.path.strip('/').partition('/')[0] or 'tenant'}"


class _MsalHttp:
    """What msal takes for HTTP. It asks where tokens are given; that is configured, so nobody is asked."""

    def __init__(self, wire: _Wire, token_url: str) -> None:
        self._wire = wire
        self._token_url = token_url

    def get(self, url: str, **_: Any) -> _MsalAnswer:
        authority = url.partition("/v2.0/")[0]
        known = {"issuer": authority, "authorization_endpoint": f"{authority}/oauth2/v2.0/authorize",
                 "token_endpoint": f"{authority}/oauth2/v2.0/token"}
        return _MsalAnswer(Answer(200, json.dumps(known).encode()))

    def post(self, _: str, *, data: Any = None, headers: Mapping[str, str] | None = None,
             **__: Any) -> _MsalAnswer:
        return _MsalAnswer(self._wire.ask("POST", self._token_url, {"Content-Type": FORM, **(headers or {})},
                                          urlencode(data or {}).encode()))


class _MsalAnswer:
    def __init__(self, answer: Answer) -> None:
        self.status_code = answer.status
        self.text = answer.body.decode("utf-8", "replace")
        self.headers = dict(answer.headers)

    def raise_for_status(self) -> None:
        if self.status_code >= 400:
            raise LookupError(self.status_code)


def google_service_tokens(http: HttpClient, *, reactor: Any, in_thread: InThread, integration: str,
                          client_email: str, private_key: str, token_endpoint: str) -> TokenSource:
    """Tokens of a service account by a signed assertion, through google-auth.

    `private_key` is PEM or the whole JSON key file, whose `client_email` serves where the other is empty.
    """
    library = _Library(http, reactor, in_thread, integration)

    def job(wire: _Wire) -> Token:
        try:
            info = service_account(client_email, private_key) | {"token_uri": token_endpoint}
            credentials = google.oauth2.service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
                info, scopes=[GOOGLE_SCOPE])
        except (ValueError, TypeError, google.auth.exceptions.GoogleAuthError) as error:
            raise UnauthorizedError(
                f"{integration}: private_key is neither a PEM key, with client_email beside it, nor the JSON key "
                "file of a service account: make a new key in the Google Cloud console") from error
        credentials.refresh(_GoogleHttp(wire))
        return _google_token(credentials)

    return KeptToken(lambda: library.fetch(job), reactor)


def service_account(client_email: str, private_key: str) -> dict[str, Any]:
    """A service account as google-auth takes it, from PEM with an address or from the whole JSON key file.

    :raises ValueError: it begins like a key file and is no JSON.
    """
    if not private_key.lstrip().startswith("{"):
        return {"client_email": client_email, "private_key": private_key}
    info: dict[str, Any] = json.loads(private_key)
    return {**info, "client_email": client_email or info.get("client_email")}


def _google_token(credentials: Any) -> Token:
    life = credentials.expiry - datetime.now(UTC).replace(tzinfo=None) if credentials.expiry else None
    if not isinstance(credentials.token, str) or not credentials.token:
        raise LookupError("no token")
    return Token.of(credentials.token, life.total_seconds() if life else None)


class _GoogleHttp(google.auth.transport.Request):
    """What google-auth takes for HTTP."""

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    def __call__(self, url: str, method: str = "GET", body: bytes | None = None,
                 headers: Mapping[str, str] | None = None, timeout: float | None = None,  # noqa: ARG002
                 **_: Any) -> _GoogleAnswer:
        try:
            return _GoogleAnswer(self._wire.ask(method, url, headers, body))
        except RequestError as error:
            raise google.auth.exceptions.TransportError(  # type: ignore[no-untyped-call]
                str(error)) from error


class _GoogleAnswer(google.auth.transport.Response):
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    @property
    def status(self) -> int:
        return self._answer.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._answer.headers

    @property
    def data(self) -> bytes:
        return self._answer.body


def exchange_tokens(http: HttpClient, *, reactor: Any, in_thread: InThread, consent: Consent,
                    store: TokenStore) -> TokenSource:
    """Tokens of the service account's sign-in to Exchange."""
    signed_in = SignedIn(consent, store, in_thread)

    async def ask(refresh_token: str) -> tuple[Token, str]:
        values = await consent.refresh(http, refresh_token)
        return Token.of(values["access_token"], values.get("expires_in")), values.get("refresh_token", "")

    return KeptToken(lambda: signed_in.renew(ask), reactor, signed_in.is_current)


def google_user_tokens(http: HttpClient, *, reactor: Any, in_thread: InThread, consent: Consent,
                       store: TokenStore) -> TokenSource:
    """Tokens of a user's sign-in to Google, through google-auth."""
    library = _Library(http, reactor, in_thread, consent.integration)
    signed_in = SignedIn(consent, store, in_thread)

    async def ask(refresh_token: str) -> tuple[Token, str]:
        credentials = google.oauth2.credentials.Credentials(  # type: ignore[no-untyped-call]
            None, refresh_token=refresh_token, token_uri=consent.token_endpoint, client_id=consent.client_id,
            client_secret=consent.client_secret)

        def job(wire: _Wire) -> Token:
            credentials.refresh(_GoogleHttp(wire))  # type: ignore[no-untyped-call]
            return _google_token(credentials)

        try:
            token = await library.fetch(job)
        except UnauthorizedError as error:
            raise consent.sign_in_again(error) from error
        return token, credentials.refresh_token or ""

    return KeptToken(lambda: signed_in.renew(ask), reactor, signed_in.is_current)
