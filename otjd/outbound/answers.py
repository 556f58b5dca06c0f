"""Answers: what came back, read with a limit, and unpacked."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IBodyProducer, IResponse
from zope.interface import implementer

from otjd.outbound.errors import RequestError, TooLargeError

_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever its status.

    `headers` has the last value of each by its name in lower case, `lines` all of them. `certificate` is the
    server's in DER, None without TLS. `connection` counts the client's connections: what NTLM authenticated is the
    connection, and another number is another one.
    """

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    certificate: bytes | None = field(default=None, repr=False)
    connection: int = 0
    lines: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def all_of(self, name: str) -> tuple[str, ...]:
        """Every value of a header that may come several times; `name` in lower case."""
        return tuple(value for found, value in self.lines if found == name)


def head_of(response: IResponse) -> Answer:
    """The answer without its body."""
    lines = tuple((str(name.decode("ascii", "replace")).lower(), value.decode("utf-8", "replace"))
                  for name, values in response.headers.getAllRawHeaders() for value in values)
    seen: Any = response  # connections.py adds these two
    return Answer(response.code, b"", dict(lines), getattr(seen, "certificate", None),
                  getattr(seen, "connection", 0), lines)


def read(response: IResponse, limit: int, encoding: str = "") -> Deferred[bytes]:
    """The body, unpacked where `encoding` says gzip; RequestError where it has more than `limit` bytes."""
    body = BytesIO()

    def received(data: bytes) -> None:
        body.write(data)
        if body.tell() > limit:
            raise TooLargeError(f"the answer has more than {limit} bytes")

    unpack = _unpacker(encoding, received, limit)
    return pass_on(response, unpack).addCallback(lambda _: _finished(unpack, body))


def pass_on(response: IResponse, received: Callable[[bytes], None]) -> Deferred[None]:
    """Give the body to `received` as it comes; fires at its end, fails with what `received` raises."""
    collector = _Collector(received)
    response.deliverBody(collector)  # type: ignore[no-untyped-call]
    return collector.done


def _unpacker(encoding: str, received: Callable[[bytes], None], limit: int) -> Callable[[bytes], None]:
    match encoding.strip().lower():
        case "" | "identity":
            return received
        case "gzip" | "x-gzip":
            return _Gunzip(received, limit)
    raise RequestError(f"the answer is encoded as {encoding[:40]!r}, which was not asked for")


def _finished(unpack: Callable[[bytes], None], body: BytesIO) -> bytes:
    if isinstance(unpack, _Gunzip) and not unpack.is_whole:
        raise RequestError("the answer's gzip data break off")
    return body.getvalue()


class _Gunzip:
    """Unpacks gzip as it comes, and never more than a little above `limit` at once."""

    def __init__(self, received: Callable[[bytes], None], limit: int) -> None:
        self._received = received
        self._limit = limit
        self._member: Any = None

    @property
    def is_whole(self) -> bool:
        """Whether no member is unfinished; no data at all is whole too."""
        return self._member is None

    def __call__(self, data: bytes) -> None:
        try:
            while data:
                self._member = self._member or zlib.decompressobj(_GZIP)
                self._received(self._member.decompress(data, self._limit + 1))
                data = self._member.unconsumed_tail
                if self._member.eof:
                    data, self._member = self._member.unused_data, None
        except zlib.error as error:
            raise RequestError(f"the answer's gzip data are damaged: {error}") from error


class _Collector(Protocol):
    """Passes the body of an answer on."""

    def __init__(self, received: Callable[[bytes], None]) -> None:
        self.done: Deferred[None] = Deferred(self._cancelled)
        self._received = received

    def dataReceived(self, data: bytes) -> None:
        if self.done.called:
            return
        try:
            self._received(data)
        except Exception:  # whatever it is, it ends the reading and is raised there
            self.done.errback(Failure())  # type: ignore[no-untyped-call]
            self._drop()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if isinstance(reason.value, ResponseDone | PotentialDataLoss):
            # without a length the end of the connection is the end of the answer
            self.done.callback(None)
        else:
            self.done.errback(reason)

    def _cancelled(self, _: Deferred[None]) -> None:
        self._drop()

    def _drop(self) -> None:
        # Twisted's stand-in for the connection cannot abort it, and closing waits for the far side
        connection = getattr(self.transport, "_producer", None)
        if connection is not None:
            connection.abortConnection()


@implementer(IBodyProducer)
class Body:
    """A body that is sent in one piece."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Send it all."""
        consumer.write(self._body)
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def pauseProducing(self) -> None:
        """Nothing is left to pause."""

    def resumeProducing(self) -> None:
        """Nothing is left to resume."""

    def stopProducing(self) -> None:
        """Nothing is left to stop."""
