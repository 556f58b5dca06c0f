"""The HTTP client of a simulated Poly endpoint: one connection, kept alive, with a login on it."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import Certificate, CertificateOptions, trustRootFromCertificates
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    FileBodyProducer,
    HTTPConnectionPool,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from otjd.seam import deferred
from otjd.simulate.http_auth import Login, LoginFailed, Step

BODY_LIMIT = 16 * 1024 * 1024
"""Bytes of an answer."""

ROUNDS = 4
"""Requests that one exchange may take: an opening, a challenge, a handshake or a stale nonce."""

NO_ANSWER = (ResponseFailed, RequestTransmissionFailed, RequestGenerationFailed, ConnectionClosed, ConnectError,
             DNSLookupError, SSL.Error)


class PolyError(Exception):
    """A poll failed; what was displayed stays.

    `status` is the HTTP status, None where there was no answer; `response_code` that of EWS, such as
    `ErrorServerBusy`, where there was one.
    """

    def __init__(self, status: int | None, response_code: str | None, text: str) -> None:
        self.status = status
        self.response_code = response_code
        self.text = text
        super().__init__(" ".join(str(part) for part in (status, response_code, text) if part is not None))


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    def __init__(self, hostname: bytes) -> None:
        self._hostname = hostname
        self._options = CertificateOptions(verify=False)

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: ARG002
        """A connection that takes any certificate."""
        connection = SSL.Connection(self._options.getContext(), None)
        connection.set_tlsext_host_name(self._hostname)
        return connection


@implementer(IPolicyForHTTPS)
class AnyCertificate:
    """Verifies nothing, as endpoints come from the factory."""

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:  # noqa: ARG002
        """What makes connections to this host."""
        return _Unverified(hostname)


def tls_policy(ca_file: Path | None, *, verify: bool) -> IPolicyForHTTPS:
    """Trust the certificates in a PEM file, or those that the system trusts, or, without `verify`, anyone."""
    if not verify:
        return AnyCertificate()
    if ca_file is None:
        return BrowserLikePolicyForHTTPS()  # type: ignore[no-untyped-call]
    ends = b"-----END CERTIFICATE-----"
    blocks = [part + ends for part in ca_file.read_bytes().split(ends)[:-1]]
    trust = trustRootFromCertificates(  # type: ignore[no-untyped-call]
        [Certificate.loadPEM(block) for block in blocks])
    return BrowserLikePolicyForHTTPS(trust)  # type: ignore[no-untyped-call]


class _Collector(Protocol):
    def __init__(self, limit: int) -> None:
        self.done: Deferred[bytes] = Deferred(self._cancel)
        self._limit = limit
        self._data = bytearray()

    def _cancel(self, _: Deferred[bytes]) -> None:
        self._abort()

    def _abort(self) -> None:
        transport: Any = self.transport
        abort = getattr(transport, "abortConnection", None) or transport.loseConnection
        abort()

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > self._limit and not self.done.called:
            self.done.errback(PolyError(None, None, f"the answer is longer than {self._limit} bytes"))
            self._abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if isinstance(reason.value, ResponseDone):
            self.done.callback(bytes(self._data))
        else:
            self.done.errback(reason)


class PolyConnection:
    """Posts documents to one URL over one connection and logs in as the server asks.

    Like libcurl it opens Digest and NTLM with an empty body. `agent` replaces the own one, which connects with
    `reactor`.
    """

    def __init__(self, url: str, login: Login, *, reactor: Any, clock: IReactorTime, policy: IPolicyForHTTPS,
                 timeout_s: float, agent: IAgent | None = None) -> None:
        self._url = url.encode("ascii")
        parts = urlsplit(url)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._login = login
        self._clock = clock
        self._timeout_s = timeout_s
        self._pool: HTTPConnectionPool | None = None
        if agent is None:
            self._pool = HTTPConnectionPool(reactor, persistent=True)  # type: ignore[no-untyped-call]
            self._pool.maxPersistentPerHost = 1
            self._pool.retryAutomatically = False
            agent = Agent(reactor, policy, timeout_s, pool=self._pool)  # type: ignore[no-untyped-call]
        self._agent = agent
        self._is_used = False
        self.requests = 0

    async def post(self, body: bytes, action: str) -> tuple[int, bytes]:
        """Status and body of the answer to a document with this SOAPAction.

        :raises PolyError: no answer in time, or no login.
        """
        if self._is_used:
            try:
                return await self._exchange(body, action)
            except NO_ANSWER:
                self._forget()  # the server has closed the kept connection in the meantime, as it may
        try:
            return await self._exchange(body, action)
        except NO_ANSWER as error:
            self._forget()
            raise PolyError(None, None, f"no answer: {_reason(error)}") from error

    async def close(self) -> None:
        """Close the connection."""
        self._forget()
        if self._pool is not None:
            await self._pool.closeCachedConnections()  # type: ignore[no-untyped-call]

    def _forget(self) -> None:
        self._is_used = False
        self._login.disconnected()

    async def _exchange(self, body: bytes, action: str) -> tuple[int, bytes]:
        step = self._login.opening("POST", self._target)
        for _ in range(ROUNDS):
            status, challenges, answer = await self._request(b"" if step.is_probe else body, action, step)
            if status != 401 and step.is_probe:
                raise PolyError(status, None, "the server answers the opening of a login with no challenge")
            if status != 401:
                self._login.accepted()
                return status, answer
            try:
                step = self._login.response(challenges, "POST", self._target)
            except LoginFailed as error:
                raise PolyError(401, None, str(error)) from None
        self._forget()
        raise PolyError(401, None, "the server asks for a login again and again")

    async def _request(self, body: bytes, action: str, step: Step) -> tuple[int, tuple[str, ...], bytes]:
        self.requests += 1
        fetching = deferred(self._fetch(body, action, step))
        return await fetching.addTimeout(self._timeout_s, self._clock, self._expired)

    def _expired(self, _result: object, timeout_s: float) -> NoReturn:
        self._forget()
        raise PolyError(None, None, f"no answer within {timeout_s:g} s")

    async def _fetch(self, body: bytes, action: str, step: Step) -> tuple[int, tuple[str, ...], bytes]:
        headers = Headers({b"Content-Type": [b"text/xml; charset=utf-8"], b"SOAPAction": [action.encode()],
                           b"User-Agent": [b"otjd-simulate"], b"Accept": [b"*/*"]})
        if step.authorization is not None:
            headers.setRawHeaders(b"Authorization", [step.authorization.encode()])
        producer = FileBodyProducer(BytesIO(body))  # type: ignore[no-untyped-call]
        response: IResponse = await self._agent.request(b"POST", self._url, headers, producer)
        collector = _Collector(BODY_LIMIT)
        response.deliverBody(collector)  # type: ignore[no-untyped-call]
        answer = await collector.done
        self._is_used = True
        challenges = tuple(value.decode("utf-8", "replace")
                           for value in response.headers.getRawHeaders(b"WWW-Authenticate", []))
        return response.code, challenges, answer


def _reason(error: Exception) -> str:
    inner = getattr(error, "reasons", None)
    if inner:
        return "; ".join(_reason(failure.value) for failure in inner)
    return str(error) or type(error).__name__
