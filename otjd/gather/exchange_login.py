"""How the service account signs in to Exchange: Basic, NTLM or a bearer token; a bad password is tried once."""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.hashes import MD5, SHA1
from ntlm_auth.gss_channel_bindings import GssChannelBindingsStruct
from ntlm_auth.ntlm import NtlmContext
from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IReactorTime

from otjd.gather.exchange_turns import MOST_AT_ONCE
from otjd.gather.source import UnauthorizedError, UnreachableError
from otjd.gather.tokens import TokenSource
from otjd.outbound.client import Answer, HttpClient, RequestError
from otjd.protocol.ntlm import nt_hash

REFUSED_FOR_S = 1500.0
"""How long nothing is tried after the server refused the account: less than the time after which the gatherer
probes, so that each probe is one attempt."""

REQUEST_LIMIT_S = 70.0
"""Exchange gives up after a minute itself."""

ANSWER_LIMIT = 64 * 1024 * 1024
IDLE_SESSIONS = MOST_AT_ONCE
"""Connections kept for NTLM, to one server: a handshake for each request would cost more than they do."""

# one line may bear several challenges (RFC 9110 11.6.1): a scheme is a word that no = follows
_SCHEME = re.compile(r"(?:^|,)\s*([A-Za-z][A-Za-z0-9-]*)(?=\s*(?:,|$)|\s+[^\s=,])")
_NTLM = re.compile(r"(?:^|,)\s*NTLM\s+([A-Za-z0-9+/=]+)\s*(?:,|$)", re.IGNORECASE)
_SIGNED_IN = (200, 500)
"""Statuses that come from Exchange itself; others may come from what stands before it."""


@dataclass(frozen=True, slots=True)
class Post:
    """A request. `stream` is given what comes as it comes; without it the answer is read whole.

    `started` is then called with the answer's head, and `idle_s` is the longest silence. `again` is called before
    it is sent once more.
    """

    url: str
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: Callable[[bytes], None] | None = None
    started: Callable[[Answer], None] | None = None
    idle_s: float = 0.0
    again: Callable[[], None] = lambda: None

    @property
    def server(self) -> str:
        """Scheme, host and port."""
        return "{0.scheme}://{0.netloc}".format(urlsplit(self.url))


class Login(Protocol):
    """Sends requests as the service account."""

    async def send(self, post: Post) -> Answer:
        """The answer, whatever its status but 401.

        :raises UnauthorizedError: the account is not accepted.
        :raises UnreachableError: there is no answer.
        """
        ...

    async def close(self) -> None:
        """End the connections that are its own."""
        ...


async def _send(http: HttpClient, post: Post, authorization: str, *, body: bytes | None = None,
                repeatable: bool = True) -> Answer:
    """One request; all requests of EWS here read, so that they may arrive twice."""
    headers = {"Content-Type": "text/xml; charset=utf-8", "Accept": "text/xml", **post.headers}
    if authorization:
        headers["Authorization"] = authorization
    content = post.body if body is None else body
    try:
        if post.stream is not None and body is None:
            return await http.stream("POST", post.url, headers=headers, body=content, received=post.stream,
                                     idle_s=post.idle_s, started=post.started)
        return await http.request("POST", post.url, headers=headers, body=content, timeout_s=REQUEST_LIMIT_S,
                                  limit=ANSWER_LIMIT, repeatable=repeatable, again=post.again)
    except RequestError as error:
        raise UnreachableError(str(error)) from error


def _schemes(answer: Answer) -> list[str]:
    """The ways to sign in that a 401 offers."""
    return [scheme for line in answer.all_of("www-authenticate") for scheme in _SCHEME.findall(line)]


class Gate:
    """Lets an account that has not been accepted yet try once at a time, and one that was refused not at all."""

    def __init__(self, clock: IReactorTime, account: str) -> None:
        self.account = account
        self._clock = clock
        self._lock = DeferredLock()
        self._is_proven = False
        self._refused_at: float | None = None
        self._words = ""

    async def attempt(self, send: Callable[[], Awaitable[Answer]], refusal: Callable[[Answer], str], *,
                      is_long: bool = False) -> Answer:
        """The answer to `send`, which signs in; `refusal` puts a 401 into words.

        An account that was accepted before is tried once more after a 401, since servers now and then refuse by
        mistake. What is long is not tried before something short was accepted.
        """
        self._check()
        if self._is_proven:
            answer = await send()
            if answer.status != 401:
                return answer
            self._is_proven = False
        if is_long:
            raise UnreachableError(f"{self.account} is not signed in at present")
        await self._lock.acquire()
        try:
            self._check()
            answer = await send()
            if answer.status == 401:
                self._refused_at = self._clock.seconds()
                self._words = refusal(answer)
                self._check()
            elif answer.status in _SIGNED_IN:
                self._is_proven = True
            return answer
        finally:
            self._lock.release()

    def _check(self) -> None:
        if self._refused_at is not None:
            if self._clock.seconds() - self._refused_at < REFUSED_FOR_S:
                raise UnauthorizedError(self._words)
            self._refused_at = None


class BasicLogin:
    """Signs every request with name and password."""

    def __init__(self, http: HttpClient, gate: Gate, username: str, password: str) -> None:
        self._http = http
        self._gate = gate
        self._authorization = f"Basic {b64encode(f'{username}:{password}'.encode()).decode('ascii')}"

    async def send(self, post: Post) -> Answer:
        """See Login."""
        return await self._gate.attempt(
            lambda: _send(self._http, post, self._authorization),
            lambda answer: _refusal(answer, post, self._gate.account, "Basic",
                                    "Set-WebServicesVirtualDirectory -BasicAuthentication $true"),
            is_long=post.stream is not None)

    async def close(self) -> None:
        """See Login."""


def _refusal(answer: Answer, post: Post, account: str, scheme: str, command: str) -> str:
    """Why the account was refused."""
    offered = _schemes(answer)
    if scheme.lower() not in (one.lower() for one in offered):
        return (f"{post.server} does not offer {scheme} sign-in (it offers "
                f"{', '.join(offered)[:100] or 'nothing'}): switch it on with {command}, or set another "
                "authentication_method")
    return (f"{post.server} refuses {account} (401): the name or the password is wrong, or the account is locked "
            "or disabled; it is not tried again for a while, so that it is not locked. If this is not your "
            "Exchange server, set ews_url or autodiscover_urls")


class TokenLogin:
    """Signs every request with an access token."""

    def __init__(self, http: HttpClient, tokens: TokenSource, account: str) -> None:
        self._http = http
        self._tokens = tokens
        self._account = account

    async def send(self, post: Post) -> Answer:
        """See Login; a token that is refused is replaced once."""
        for is_first in (True, False):
            if not is_first:
                post.again()
            answer = await _send(self._http, post, f"Bearer {await self._tokens.token()}")
            if answer.status != 401:
                return answer
            self._tokens.forget()
        raise UnauthorizedError(
            f"{post.server} refuses the access token of {self._account} (401): check that the sign-in was done as "
            "this account, and that OAuth is set up on the Exchange server")

    async def close(self) -> None:
        """See Login."""


class NtlmLogin:
    """Signs connections in by NTLMv2, each by a handshake of its own, bound to the server's certificate.

    `username` is `DOMAIN\\name` or `name@domain`.
    """

    def __init__(self, http: HttpClient, gate: Gate, username: str, password: str) -> None:
        self._http = http
        self._gate = gate
        domain, slash, name = username.partition("\\")
        self._domain, self._name = (domain, name) if slash else ("", username)
        # the library takes "LM hash:NT hash" for a password, and current systems have no MD4 for it
        self._secret = f"{'0' * 32}:{nt_hash(password).hex()}"
        self._idle: dict[str, list[_Session]] = {}
        self._is_closed = False

    async def send(self, post: Post) -> Answer:
        """See Login."""
        idle = self._idle.setdefault(post.server, [])
        session = idle.pop() if idle and post.stream is None else _Session(self._http.single_connection())
        is_kept = False
        try:
            answer = await self._ask(session, post)
            is_kept = not self._is_closed and post.stream is None and len(idle) < IDLE_SESSIONS
            return answer
        finally:
            if is_kept:
                idle.append(session)
            else:
                await session.http.close()

    async def close(self) -> None:
        """See Login."""
        self._is_closed = True
        sessions = [session for idle in self._idle.values() for session in idle]
        self._idle.clear()
        for session in sessions:
            await session.http.close()

    async def _ask(self, session: _Session, post: Post) -> Answer:
        if session.connection:
            answer = await _send(session.http, post, "")
            if answer.status != 401:
                return answer  # the connection is signed in, or nothing has to be
        return await self._gate.attempt(
            lambda: self._shake_hands(session, post), lambda answer: self._refusal(answer, post),
            is_long=post.stream is not None)

    async def _shake_hands(self, session: _Session, post: Post) -> Answer:
        """The three messages of NTLM, the last with the request itself."""
        for _ in range(2):
            context = NtlmContext(self._name, self._secret)
            first = await _send(session.http, post, _token(context.step()), body=b"")
            challenge = _challenge(first)
            if challenge is None:
                return first
            context.domain = self._domain
            context.cbt_data = channel_binding(first.certificate)
            try:
                proof = context.step(challenge)
            except Exception as error:  # the library reads without checks
                raise UnreachableError(f"{post.server}: an NTLM challenge that cannot be read") from error
            answer = await _send(session.http, post, _token(proof), repeatable=False)
            session.connection = answer.connection
            if answer.connection == first.connection:
                return answer
        raise UnreachableError(f"{post.server} ends the connection during the NTLM handshake: a load balancer or "
                               "proxy before it must keep connections")

    def _refusal(self, answer: Answer, post: Post) -> str:
        words = _refusal(answer, post, self._gate.account, "NTLM",
                         "Set-WebServicesVirtualDirectory -WindowsAuthentication $true")
        return words + (". With Extended Protection on, a load balancer that ends TLS makes it fail as well: it "
                        "must bear the certificate of Exchange" if "refuses" in words else "")


@dataclass(slots=True)
class _Session:
    """A client of one connection, and the number of the one that is signed in, 0 where none is."""

    http: HttpClient
    connection: int = 0


def _token(message: bytes) -> str:
    return f"NTLM {b64encode(message).decode('ascii')}"


def _challenge(answer: Answer) -> bytes | None:
    """The second message, in a 401."""
    for line in answer.all_of("www-authenticate") if answer.status == 401 else ():
        if match := _NTLM.search(line):
            try:
                return b64decode(match[1], validate=True)
            except Base64Error:
                return None
    return None


def channel_binding(certificate: bytes | None) -> GssChannelBindingsStruct | None:
    """What binds a sign-in to the server's certificate, for Extended Protection (RFC 5929 section 4)."""
    if certificate is None:
        return None
    algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    name = "sha256" if algorithm is None or isinstance(algorithm, MD5 | SHA1) else algorithm.name
    binding = GssChannelBindingsStruct()
    binding[GssChannelBindingsStruct.APPLICATION_DATA] = (
        b"tls-server-end-point:" + hashlib.new(name, certificate).digest())
    return binding
