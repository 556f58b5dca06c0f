"""The HTTP side of a simulated Graph."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from otjd.simulate.codec_http import Answer

BODY_LIMIT = 4 * 1024 * 1024
_WORTH_PACKING = 2048


class GraphSite(Site):
    """A site whose every request goes to one function."""

    noisy = False

    def __init__(self, serve: Callable[[Any], None], reactor: Any) -> None:
        super().__init__(_Front(serve), reactor=reactor)  # type: ignore[no-untyped-call]


class _Front(Resource):
    def __init__(self, serve: Callable[[Any], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.isLeaf = True
        self._serve = serve

    def render(self, request: Request) -> int:
        """Serve whatever the method."""
        self._serve(request)
        return NOT_DONE_YET


def gzipped(answer: Answer) -> Answer:
    """The answer packed, where that is worth it."""
    if len(answer.body) < _WORTH_PACKING:
        return answer
    return replace(answer, body=gzip.compress(answer.body, 1, mtime=0),
                   headers=(*answer.headers, (b"Content-Encoding", b"gzip"), (b"Vary", b"Accept-Encoding")))


def truncate(request: Any, answer: Answer) -> None:
    """Send the first half of an answer, then reset the connection."""
    request.setResponseCode(answer.status)
    request.setHeader(b"content-type", answer.content_type)
    request.setHeader(b"content-length", str(len(answer.body)).encode())
    request.write(answer.body[:len(answer.body) // 2])
    channel = request.channel
    if channel is not None:
        channel.transport.unregisterProducer()  # TLS would wait for what is not coming
        channel.transport.loseConnection()
