"""The HTTP/1.1 side of a connection, with limits: of sizes, of time, and of what is kept in memory.

twisted.web reads the protocol; here is what it leaves open: a body is never written to a temporary file, a request
has a time by which it must have arrived, and a refusal reaches a client that is still sending.
"""

from __future__ import annotations

import time
from functools import lru_cache
from io import BytesIO
from typing import Any, Protocol

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener
from twisted.python.failure import Failure
from twisted.web.http import Request, datetimeToString
from twisted.web.http_headers import Headers
from zope.interface import implementer

from otjd.channels import SteadyChannel
from otjd.serve.limits import Limits
from otjd.serve.schemes import Connection

LINGER_QUIET_S = 1.0
LINGER_S = 10.0
"""A refused client may go on sending until it is quiet, or this long, so that it gets to read its answer: closing
with unread data would reset the connection."""

REASONS = {400: "Bad Request", 408: "Request Timeout", 413: "Content Too Large",
           431: "Request Header Fields Too Large"}

_TRIVIAL_TLS_ERRORS = frozenset({"", "unexpected eof while reading"})


class Host(Protocol):
    """What a connection needs of the factory that made it."""

    connections: set[Any]
    limits: Limits

    def serve(self, request: Any) -> None:
        """Answer a request that was read whole."""
        ...

    def takes_notices(self, target: bytes) -> bool:
        """Whether what is sent to this target counts without a login."""
        ...

    def gone(self, channel: Any) -> None:
        """A connection ended."""
        ...

    def refused(self, channel: Any, status: int, error: str) -> None:
        """A request was refused before it was read whole."""
        ...

    def tls_failed(self, channel: Any, error: str) -> None:
        """A client and we did not agree on TLS."""
        ...


class BoundedRequest(Request):
    """A request whose body is kept in memory, up to a limit, and only where somebody signs in to send it."""

    channel: Any
    content: BytesIO
    is_whole = False
    """Whether it was answered as a whole, whose length is told."""

    _head = b""
    _body = b""

    def gotLength(self, length: int | None) -> None:
        """The headers were read: refuse what is announced as too long."""
        self.content = BytesIO()
        self._received = 0
        # without a login the answer is 401, whatever the body
        self._is_kept = (self.requestHeaders.hasHeader("authorization") or self.channel.login.account is not None
                         or self.channel.factory.takes_notices(self.channel._path))
        self._limit = self.channel.factory.limits.body_bytes
        if length is not None and length > self._limit:
            self.channel.refuse(413, f"a body of {length} bytes; expected up to {self._limit}")

    def handleContentChunk(self, data: bytes) -> None:
        """A piece of the body: refuse what turns out too long."""
        self._received += len(data)
        if self._received > self._limit:
            self.channel.refuse(413, f"a body of more than {self._limit} bytes")
        elif self._is_kept:
            self.content.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The request was read whole; bodies are taken as they are, never as forms."""
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self.channel.factory.serve(self)

    def begin(self, status: int, content_type: str) -> None:
        """Make the head of an answer that is to be written in parts."""
        self.setResponseCode(status)
        for name, value in (*_USUAL, (b"Date", _date(int(time.time()))), (b"Content-Type", content_type.encode())):
            self.responseHeaders.setRawHeaders(name, (value,))

    def prepare(self, status: int, body: bytes, content_type: str) -> None:
        """Make a whole answer, for `send`. `responseHeaders` go with it; those of all answers are written as they
        stand."""
        self.setResponseCode(status)
        head = [b"%b %d %b\r\n" % (self.clientproto, status, self.code_message)]
        head += [b"%b: %b\r\n" % (name, value)
                 for name, values in self.responseHeaders.getAllRawHeaders() for value in values]
        head.append(_usual_head(int(time.time()), content_type))
        head.append(b"Content-Length: %d\r\n\r\n" % len(body))
        self._head, self._body = b"".join(head), body

    def send(self) -> None:
        """Send the prepared answer, in one write. The client has it from then on: what it may look for, such as a
        line in the log, is to be there before."""
        self.startedWriting, self.is_whole = 1, True
        if not self._disconnected:
            self.channel.write(self._head if self.method == b"HEAD" else self._head + self._body)
        self.finish()  # type: ignore[no-untyped-call]

    def answer_headers(self) -> list[tuple[str, str]]:
        """The headers of the answer that was prepared or begun."""
        if not self._head:
            return header_texts(self.responseHeaders)
        lines = self._head.decode("latin-1").split("\r\n")[1:-2]
        return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]


def header_texts(headers: Headers) -> list[tuple[str, str]]:
    """Every header with each of its values."""
    return [(name.decode("latin-1"), value.decode("latin-1"))
            for name, values in headers.getAllRawHeaders() for value in values]


_USUAL = ((b"Server", b"otjd"), (b"Cache-Control", b"private"))


@lru_cache(maxsize=16)
def _usual_head(second: int, content_type: str) -> bytes:
    usual = [*_USUAL, (b"Date", _date(second))]
    if content_type:
        usual.append((b"Content-Type", content_type.encode()))
    return b"".join(b"%b: %b\r\n" % header for header in usual)


def _date(second: int) -> bytes:
    return bytes(datetimeToString(second))  # type: ignore[no-untyped-call]


@implementer(IHandshakeListener)
class LimitedChannel(SteadyChannel):
    """One connection, of the address `came_from`; `login` is who NTLM has signed in on it.

    `when_gone` fires when it has ended.
    """

    requestFactory = BoundedRequest  # noqa: N815 - twisted.web's name
    factory: Host
    transport: Any
    callLater: Any  # noqa: N815 - set by the factory, and untyped in TimeoutMixin
    timeOut: Any  # noqa: N815 - seconds
    setRawMode: Any  # noqa: N815

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.login = Connection()
        self.came_from = ""
        self._deadline: Any = None
        self._linger_ends: Any = None
        self._quiet: Any = None
        self._silence: Any = None
        self._had_data = False
        self._is_read = False
        self._is_secure = False
        self.when_gone: list[Deferred[None]] = []

    @property
    def is_lingering(self) -> bool:
        """Whether the connection was refused and only waits for its end."""
        return self._linger_ends is not None

    def connectionMade(self) -> None:
        """A client connected."""
        self._is_secure = super().isSecure()  # type: ignore[no-untyped-call]
        if self._is_secure:
            limits = self.factory.limits
            # before it is set for the first time: to set it sooner costs a search through all that wait
            self.timeOut = min(limits.request_s, limits.idle_s)
        super().connectionMade()  # type: ignore[no-untyped-call]
        self.factory.connections.add(self)

    def isSecure(self) -> bool:
        """Whether the client came by TLS."""
        return self._is_secure

    def setTimeout(self, period: Any) -> Any:
        """Let the client be silent for so many seconds, with None for as long as it likes; gives what held before.

        TimeoutMixin's own timer is cancelled for each request and made anew after it, this one is only put off.
        """
        before, self.timeOut = self.timeOut, period
        if self._silence is not None:
            self.resetTimeout()
        elif period is not None:
            self._silence = self.callLater(period, self._silent)
        return before

    def resetTimeout(self) -> None:
        """The client was heard."""
        if self._silence is not None and self.timeOut is not None:
            self._silence.reset(self.timeOut)

    def _silent(self) -> None:
        self._silence = None
        if self.timeOut is not None:
            self.timeoutConnection()

    @property
    def letting_go_s(self) -> float:
        """As long as a client may be silent."""
        return self.factory.limits.idle_s

    def handshakeCompleted(self) -> None:
        """The client agreed on TLS, for which it has the time of a request; now it may be silent."""
        self.setTimeout(self.factory.limits.idle_s)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """The client went away, or never agreed on TLS."""
        for call in (self._deadline, self._linger_ends, self._quiet, self._silence):
            if call is not None and call.active():
                call.cancel()
        super().connectionLost(reason)
        self.factory.gone(self)
        if not self._had_data and isinstance(reason.value, SSL.Error):
            error = _words(reason.value)
            if error not in _TRIVIAL_TLS_ERRORS:
                self.factory.tls_failed(self, error)
        while self.when_gone:
            self.when_gone.pop().callback(None)

    def dataReceived(self, data: bytes) -> None:
        """Something arrived."""
        self._had_data = True
        if self.is_lingering:
            if self._quiet.active():
                self._quiet.reset(LINGER_QUIET_S)
            return
        if self._deadline is None and not self._handlingRequest:
            limits = self.factory.limits
            self.maxHeaders = limits.headers
            self.totalHeadersSize = self.MAX_LENGTH = limits.header_bytes
        self._is_read = False
        super().dataReceived(data)  # type: ignore[no-untyped-call]
        if not (self._is_read or self._handlingRequest) and self._deadline is None:
            self._expect_rest()

    def _expect_rest(self) -> None:
        """Most requests arrive whole; the others have a time by which they must have."""
        if not (self.is_lingering or self.paused) and self in self.factory.connections:
            self._deadline = self.callLater(self.factory.limits.request_s, self._too_slow)

    def rawDataReceived(self, data: bytes) -> None:
        """A part of a body, or of the next request."""
        if not self.is_lingering:
            super().rawDataReceived(data)

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: ARG002
        """A line of the headers is too long."""
        self.refuse(431, "a header line that is too long")

    def allContentReceived(self) -> None:
        """A request was read whole."""
        if self.is_lingering:
            return
        self._is_read = True
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        super().allContentReceived()  # type: ignore[no-untyped-call]

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        """Whether the connection stays open after an answer: old clients that ask for it need that for NTLM."""
        values = request.requestHeaders.getRawHeaders(b"connection", ())
        if not values and version == b"HTTP/1.1":
            return True
        asked = b",".join(values).lower()
        tokens = {token.strip() for token in asked.split(b",")}
        if b"close" not in tokens and version == b"HTTP/1.1":
            return True
        stays = b"close" not in tokens and b"keep-alive" in tokens and version == b"HTTP/1.0"
        request.responseHeaders.setRawHeaders(b"Connection", [b"Keep-Alive" if stays else b"close"])
        return stays

    def requestDone(self, request: Any) -> None:
        """A request was answered; without a length an answer of HTTP/1.0 ends with its connection."""
        if request.clientproto == b"HTTP/1.0" and not request.is_whole:
            self.persistent = False
        super().requestDone(request)  # type: ignore[no-untyped-call]

    def refuse(self, status: int, error: str) -> None:
        """Answer a request that is not read to its end, then close when the client has become quiet."""
        if self.is_lingering:
            return
        body = f"{REASONS[status]}: {error}.\n".encode()
        self.transport.write(
            b"HTTP/1.1 %d %b\r\nServer: otjd\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (status, REASONS[status].encode(), len(body), body))
        self._linger_ends = self.callLater(LINGER_S, self.transport.abortConnection)
        self._quiet = self.callLater(LINGER_QUIET_S, self.timeoutConnection)
        self.setTimeout(None)
        self.setRawMode()
        self.factory.refused(self, status, error)

    def _too_slow(self) -> None:
        self._deadline = None
        self.refuse(408, f"the request did not arrive within {self.factory.limits.request_s:g} s")

    def _respondToBadRequestAndDisconnect(self) -> None:
        """What twisted.web finds malformed."""
        if self._receivedHeaderSize > self.totalHeadersSize or self._receivedHeaderCount > self.maxHeaders:
            self.refuse(431, f"more than {self.maxHeaders} headers or {self.totalHeadersSize} bytes of them")
        else:
            self.refuse(400, "this is not HTTP/1.1")

    def _send100Continue(self) -> None:
        if not self.is_lingering:
            super()._send100Continue()  # type: ignore[no-untyped-call]


def _words(error: SSL.Error) -> str:
    """The reason that OpenSSL gives last."""
    return str(error.args[0][-1][-1]) if error.args and error.args[0] else ""
