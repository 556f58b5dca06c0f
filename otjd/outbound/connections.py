"""Connections to HTTP servers, kept alive between requests, with limits that Twisted's own have not."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IAddress, IHandshakeListener, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.web._newclient import HTTP11ClientProtocol, Request, RequestNotSent
from twisted.web.client import (
    HTTPConnectionPool,
    RequestTransmissionFailed,
    ResponseNeverReceived,
    _HTTP11ClientFactory,
)
from twisted.web.iweb import IResponse
from zope.interface import implementer

from otjd.outbound.errors import RequestError, StaleError, UntrustedError, causes_of
from otjd.outbound.trust import code_of_refusal

HANDSHAKE_TIMEOUT_S = 15.0
HEAD_LIMIT = 256 * 1024
"""Bytes of an answer before its body."""

IDLE_S = 60
"""How long a connection without a request is kept: less than what servers do, so that they seldom close first."""

_UNANSWERED = (RequestNotSent, RequestTransmissionFailed, ResponseNeverReceived)


class Pool(HTTPConnectionPool):
    """The connections of one client; they are kept only with `keep`, at most so many to one server."""

    def __init__(self, reactor: Any, *, keep: int = 0) -> None:
        super().__init__(reactor, persistent=keep > 0)  # type: ignore[no-untyped-call]
        self.maxPersistentPerHost = keep
        self.cachedConnectionTimeout = IDLE_S
        self._factory = partial(_Factory, self)  # type: ignore[assignment]
        self.retryAutomatically = False
        self.numbers = itertools.count(1)
        self.open: set[Connection] = set()
        self.emptied: Deferred[None] | None = None
        self.clock: IReactorTime = reactor

    def left(self, connection: Connection) -> None:
        """A connection has ended."""
        self.open.discard(connection)
        if not self.open and self.emptied is not None:
            emptied, self.emptied = self.emptied, None
            emptied.callback(None)

    def drop_all(self) -> Deferred[None]:
        """End every connection, whatever it is doing; fires when all are gone."""
        self.closeCachedConnections()  # type: ignore[no-untyped-call]
        if not self.open:
            return succeed(None)
        self.emptied = Deferred()
        emptied = self.emptied
        for connection in tuple(self.open):
            connection.transport.abortConnection()
        return emptied


class _Factory(_HTTP11ClientFactory):
    noisy = False  # its start and end are no news for the operator

    def __init__(self, pool: Pool, quiescent: Callable[[Any], None], metadata: str) -> None:
        super().__init__(quiescent, metadata)  # type: ignore[no-untyped-call]
        self._pool = pool

    def buildProtocol(self, _: IAddress | None) -> Connection:
        return Connection(self._pool, self._quiescentCallback)


@implementer(IHandshakeListener)
class Connection(HTTP11ClientProtocol):
    """One connection. Its responses bear `certificate` and `connection`, as in `Answer`."""

    transport: Any

    def __init__(self, pool: Pool, quiescent: Callable[[Any], None]) -> None:
        super().__init__(self._keep)  # type: ignore[no-untyped-call]
        self._keep_in_pool = quiescent
        self._pool = pool
        self._number = next(pool.numbers)
        self._certificate: bytes | None = None
        self._requests = 0
        self._is_waiting = False
        self._head = 0
        self._ending: Failure | None = None
        self._handshake: Any = None

    def connectionMade(self) -> None:
        """Begin, and wait for the TLS handshake if there is one."""
        super().connectionMade()
        self._pool.open.add(self)
        if isinstance(self.transport, TLSMemoryBIOProtocol):
            self._handshake = self._pool.clock.callLater(HANDSHAKE_TIMEOUT_S, self._end,
                                                         f"no TLS handshake within {HANDSHAKE_TIMEOUT_S:g} s")

    def handshakeCompleted(self) -> None:
        """TLS is established, and the certificate accepted."""
        self._stop_waiting()
        certificate = self.transport.getPeerCertificate()
        if certificate is not None:
            self._certificate = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)

    def request(self, request: Request) -> Deferred[IResponse]:
        """Send a request; StaleError where a kept connection ended before anything was answered."""
        self._requests += 1
        self._is_waiting = True
        self._head = 0
        asked: Deferred[IResponse] = super().request(request)
        if self._requests > 1:
            asked.addErrback(self._stale)
        return asked.addCallback(self._answered)

    def _answered(self, response: Any) -> IResponse:
        self._is_waiting = False
        response.certificate = self._certificate
        response.connection = self._number
        found: IResponse = response
        return found

    def _keep(self, _: Any) -> None:
        """Go back to the pool, unless the server is about to close, which Twisted only sees in lower case."""
        parser: Any = self._parser
        said = b",".join(parser.connHeaders.getRawHeaders(b"connection", [])).lower()
        is_old = parser.response.version[1:] < (1, 1)
        if b"close" in said or (is_old and b"keep-alive" not in said):
            self.transport.loseConnection()
        else:
            self._keep_in_pool(self)

    def _stale(self, failure: Failure) -> Failure:
        is_unanswered = isinstance(failure.value, _UNANSWERED) and not any(
            isinstance(cause, CancelledError) for cause in causes_of(failure.value))
        if is_unanswered and not self._head and self._ending is None:
            return Failure(StaleError())  # type: ignore[no-untyped-call]
        return failure

    def dataReceived(self, data: bytes) -> None:
        """Read on, unless the head of the answer has no end."""
        if self._is_waiting:
            self._head += len(data)
        super().dataReceived(data)  # type: ignore[no-untyped-call]
        if self._is_waiting and self._head > HEAD_LIMIT:
            self._end(f"the answer has more than {HEAD_LIMIT} bytes before its body")

    def _end(self, reason: str) -> None:
        self._ending = Failure(RequestError(reason))  # type: ignore[no-untyped-call]
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the request under way why there is no answer."""
        self._stop_waiting()
        if self._ending is not None:
            reason = self._ending
        elif isinstance(reason.value, SSL.Error) and (code := code_of_refusal(self.transport)):
            reason = Failure(UntrustedError(code))  # type: ignore[no-untyped-call]
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        self._pool.left(self)

    def _stop_waiting(self) -> None:
        if self._handshake is not None and self._handshake.active():
            self._handshake.cancel()
        self._handshake = None
