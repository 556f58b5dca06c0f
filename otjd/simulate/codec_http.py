"""The HTTP side of a simulated codec: answers, faults on demand, limits of a request, listening and closing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolNegotiationFactory, IReactorTime
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

XML = b"text/xml; charset=utf-8"
TEXT = b"text/plain; charset=UTF-8"

FaultKind = Literal["timeout", "reset", "slow", "503", "truncated", "empty", "lost"]
"""What can go wrong with a request.

`timeout`: never answered; `reset`: the connection is reset; `503`; these three before anything is done.
`slow`: answered after 25 s; `truncated`: the answer breaks off; `empty`: 200 without a body; `lost`: all is done,
then the connection is reset in place of the answer.
"""
SLOW_S = 25.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back, and what to call it in the record."""

    status: int
    body: bytes = b""
    content_type: bytes = XML
    headers: tuple[tuple[bytes, bytes], ...] = ()
    outcome: str = "ok"


@dataclass(slots=True)
class Fault:
    """A fault to have: for the next `times` requests (None: until cleared), of one path or of any."""

    kind: FaultKind
    times: int | None = None
    path: str | None = None

    def strikes(self, path: str) -> bool:
        """Whether it strikes a request of this path; counts it."""
        if self.times == 0 or self.path not in (None, path):
            return False
        if self.times is not None:
            self.times -= 1
        return True


class CodecRequest(Request):
    """A request with a limit on its body and, on old software, no patience for `Expect`."""

    channel: Any  # the HTTPChannel; its `site` is the CodecSite
    received_bytes = 0
    refused = False

    @property
    def too_big(self) -> bool:
        """Whether the body was longer than the limit; the rest of it was dropped."""
        return bool(self.received_bytes > self.channel.site.body_limit)

    def gotLength(self, length: int | None) -> None:
        """Answer 417 before the channel could say 100."""
        super().gotLength(length)  # type: ignore[no-untyped-call]
        if self.channel.site.refuses_expect and self.requestHeaders.hasHeader("expect"):
            self.refused = True
            self.requestHeaders.removeHeader("expect")
            self.method, self.path = self.channel._command, self.channel._path  # set only after the body
            self.channel.site.note_refused(self)
            self.channel.transport.write(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n"
                                         b"Connection: close\r\n\r\n")
            self.channel.loseConnection()

    def handleContentChunk(self, data: bytes) -> None:
        """Keep the body up to the limit."""
        self.received_bytes += len(data)
        if not self.too_big:
            super().handleContentChunk(data)  # type: ignore[no-untyped-call]

    def process(self) -> None:
        """Hand the request on, unless it was refused already."""
        if not self.refused:
            super().process()  # type: ignore[no-untyped-call]


class CodecSite(Site):
    """A site whose every request goes to one function."""

    noisy = False

    def __init__(self, serve: Callable[[CodecRequest], None], *, clock: IReactorTime, body_limit: int,
                 refuses_expect: bool, note_refused: Callable[[CodecRequest], None]) -> None:
        self.body_limit = body_limit
        self.refuses_expect = refuses_expect
        self.note_refused = note_refused
        super().__init__(_Front(serve), requestFactory=CodecRequest,  # type: ignore[no-untyped-call]
                         reactor=clock)


class _Front(Resource):
    def __init__(self, serve: Callable[[CodecRequest], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.isLeaf = True
        self._serve = serve

    def render(self, request: Request) -> int:
        """Serve whatever the method."""
        self._serve(cast(CodecRequest, request))
        return NOT_DONE_YET


class Redirect(Resource):
    """Plain HTTP of a codec that wants HTTPS."""

    def __init__(self, port: int, status: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.isLeaf = True
        self._port = port
        self._status = status

    def render(self, request: Any) -> bytes:
        """Point to the same address under https."""
        host = request.getRequestHostname().decode("ascii", "replace")
        request.setResponseCode(self._status)
        request.setHeader(b"location", f"https://{host}:{self._port}".encode() + request.uri)
        return b""


def send(request: Any, answer: Answer) -> None:
    """Send an answer, unless the caller has gone."""
    if request._disconnected or request.finished:
        return
    request.setResponseCode(answer.status)
    if answer.status != 204:
        request.setHeader(b"content-type", answer.content_type)
        request.setHeader(b"content-length", str(len(answer.body)).encode())
    for name, value in answer.headers:
        request.responseHeaders.addRawHeader(name, value)
    if request.method != b"HEAD":
        request.write(answer.body)
    request.finish()


def send_half(request: Any, answer: Answer) -> None:
    """Begin to send an answer, and break off in its middle."""
    if request._disconnected or request.finished:
        return
    request.setResponseCode(answer.status)
    request.setHeader(b"content-type", answer.content_type)
    request.setHeader(b"content-length", str(len(answer.body)).encode())
    for name, value in answer.headers:
        request.responseHeaders.addRawHeader(name, value)
    request.write(answer.body[:len(answer.body) // 2])
    request.channel.loseConnection()


def reset(request: Any) -> None:
    """Reset the connection."""
    channel = request.channel  # None once the caller has gone
    if channel is not None:
        channel.transport.abortConnection()


@implementer(IProtocolNegotiationFactory)
class Connections(WrappingFactory):
    """Keeps count of open connections so that they can be closed."""

    noisy = False

    def __init__(self, wrapped: Site) -> None:
        super().__init__(wrapped)  # type: ignore[no-untyped-call]
        self._emptied: Deferred[None] | None = None

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1 alone, as TLS negotiates it."""
        return [b"http/1.1"]

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:
        """Note that a connection has closed."""
        super().unregisterProtocol(p)  # type: ignore[no-untyped-call]
        if not self.protocols and self._emptied is not None:
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)

    async def close(self) -> None:
        """Drop all connections and wait until they are gone."""
        if not self.protocols:
            return
        emptied: Deferred[None] = Deferred()
        self._emptied = emptied
        for connection in list(self.protocols):
            transport: Any = connection.transport
            transport.abortConnection()
        await emptied
