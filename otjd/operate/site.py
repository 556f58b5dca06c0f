"""OperatorSite: the addresses that people and monitoring read, over HTTP.

`/healthz` answers everybody; all else needs the operator's login, or, where none is set, a client on this machine
(`otjd.operate.access`). Every answer has a length and the security headers; whatever is no page is JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from twisted.internet.defer import DeferredSemaphore
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from otjd.channels import SteadyChannel
from otjd.operate.access import REALM, Access
from otjd.operate.pages import CONTENT_SECURITY_POLICY, overview_page
from otjd.operate.status import (
    Snapshot,
    alarms_document,
    encode,
    endpoints_document,
    integrations_document,
    meeting_rows,
    rooms_document,
    rule_failures_document,
    status_document,
)
from otjd.operate.threads import InThread
from otjd.seam import deferred

BODY_LIMIT = 64 * 1024
"""Bytes of a request's body that are read; more is answered 413."""

AT_ONCE = 2
"""Answers built at the same time: each may hold every meeting of the node."""

WAITING = 32
"""Requests that may wait for their turn; further ones are answered 503."""

JSON = "application/json"
HTML = "text/html; charset=utf-8"

_HEADERS = {
    "Server": "otjd",
    "Cache-Control": "no-store",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_Request = Any  # twisted.web.server.Request, which carries no types

Render = Callable[[Snapshot, Mapping[str, str]], bytes]
"""Builds an answer in a thread from a snapshot and the query's parameters alone."""


@dataclass(frozen=True, slots=True)
class Route:
    """What an address answers, and the query parameters it knows."""

    render: Render
    parameters: tuple[str, ...] = ()
    content_type: str = JSON


ROUTES: Mapping[str, Route] = {
    "/": Route(lambda snapshot, _: overview_page(snapshot, [path for path in ROUTES if path != "/"]),
               content_type=HTML),
    "/status.json": Route(lambda snapshot, _: encode(status_document(snapshot))),
    "/api/v1/meetings": Route(lambda snapshot, query: encode({"meetings": meeting_rows(snapshot, **query)}),
                              ("room", "endpoint", "profile")),
    "/api/v1/endpoints": Route(lambda snapshot, _: encode(endpoints_document(snapshot))),
    "/api/v1/rooms": Route(lambda snapshot, _: encode(rooms_document(snapshot))),
    "/api/v1/integrations": Route(lambda snapshot, _: encode(integrations_document(snapshot))),
    "/api/v1/alarms": Route(lambda snapshot, _: encode(alarms_document(snapshot))),
    "/api/v1/rule_failures": Route(lambda snapshot, _: encode(rule_failures_document(snapshot))),
}


class BadQueryError(ValueError):
    """A query that an address does not understand; the text says why."""


class BoundedRequest(Request):
    """A request whose body is kept in memory and cut off at BODY_LIMIT with 413."""

    _too_large = False

    def gotLength(self, length: int | None) -> None:
        """The headers were read: refuse what is announced as too long."""
        self.content: BytesIO = BytesIO()
        self._received = 0
        if length is not None and length > BODY_LIMIT:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        """A piece of the body: refuse what turns out too long."""
        self._received += len(data)
        if self._received > BODY_LIMIT:
            self._refuse()
        elif not self._too_large:
            self.content.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The request was read whole: answer it, unless it was refused before."""
        if not self._too_large:
            super().requestReceived(command, path, version)  # type: ignore[no-untyped-call]

    def _refuse(self) -> None:
        if self._too_large:
            return
        self._too_large = True
        channel: Any = self.channel
        body = encode({"error": f"The body is longer than the {BODY_LIMIT} bytes that are read here."})
        channel.transport.write(
            b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        channel.loseConnection()


class OperatorSite(Site):
    """The operator's HTTP site, to be listened with, plain or behind TLS.

    `snapshot` gives what is shown, `ready` whether the node can serve. `access` may be set anew at any time, as
    after a reload. `routes` are added to those of this module.
    """

    protocol: Any = SteadyChannel
    _log = Logger()
    noisy = False  # the listener says what is listened on

    def __init__(self, *, snapshot: Callable[[], Snapshot], ready: Callable[[], bool], access: Access,
                 in_thread: InThread, reactor: IReactorTime, routes: Mapping[str, Route] | None = None) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            _Root(self), requestFactory=BoundedRequest, parsePOSTFormSubmission=False, reactor=reactor)
        self.access = access
        self._snapshot = snapshot
        self._ready = ready
        self._in_thread = in_thread
        self._routes = {**ROUTES, **(routes or {})}
        self._turns = DeferredSemaphore(AT_ONCE)

    def log(self, request: Any) -> None:
        """One line a request, at debug level: monitoring asks every few seconds."""
        self._log.debug("{method} {path} answered {status} to {client}", method=_text(request.method),
                        path=_text(request.path), status=request.code, client=_client(request))

    async def serve(self, request: _Request) -> None:
        """Answer `request`; a client that went away in the meantime is not written to."""
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        for name, value in _HEADERS.items():
            request.setHeader(name, value)
        path = _text(request.path)
        if path == "/healthz":
            self._answer_health(request)
            return
        refusal = self.access.refusal(
            username=request.getUser(), password=request.getPassword(), client=_client(request),
            hosts=tuple(request.requestHeaders.getRawHeaders("host", ())))
        if refusal is not None:
            self._refuse(request, refusal.status, refusal.error)
            return
        route = self._routes.get(path)
        if route is None:
            _reply(request, 404, encode({"error": f"There is nothing at {path}.",
                                         "known": [*sorted(self._routes), "/healthz"]}))
        elif self._is_read(request):
            await self._show(request, route, gone)

    async def _show(self, request: _Request, route: Route, gone: list[object]) -> None:
        try:
            query = _query(request, route.parameters)
        except BadQueryError as error:
            _reply(request, 400, encode({"error": str(error), "known": list(route.parameters)}))
            return
        if len(self._turns.waiting) >= WAITING:
            request.setHeader("Retry-After", "5")
            _reply(request, 503, encode({"error": "Too many requests wait for an answer; try again later."}))
            return
        await self._turns.acquire()
        try:
            if not gone:
                snapshot = self._snapshot()
                body = await self._in_thread(lambda: route.render(snapshot, query))
        finally:
            self._turns.release()
        if not gone:
            _reply(request, 200, body, route.content_type)

    def _answer_health(self, request: _Request) -> None:
        if self._is_read(request):
            ready = self._ready()
            _reply(request, 200 if ready else 503, encode({"ready": ready}))

    def _refuse(self, request: _Request, status: int, error: str) -> None:
        if status == 401:
            request.setHeader("WWW-Authenticate", f'Basic realm="{REALM}", charset="UTF-8"')
            if request.requestHeaders.hasHeader("authorization"):
                self._log.warn("Sign-in to the operator's addresses was refused to {client}: wrong user name or "
                               "password", client=_client(request))
        _reply(request, status, encode({"error": error}))

    @staticmethod
    def _is_read(request: _Request) -> bool:
        """Whether the method is one that is served here; answers 405 where it is not."""
        if request.method in (b"GET", b"HEAD"):
            return True
        request.setHeader("Allow", "GET, HEAD")
        _reply(request, 405, encode({"error": f"{_text(request.method)} is not served here; use GET."}))
        return False


class _Root(Resource):
    isLeaf = True  # noqa: N815 - twisted.web's name

    def __init__(self, site: OperatorSite) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._site = site

    def render(self, request: _Request) -> int:
        deferred(self._site.serve(request)).addErrback(self._broken, request)
        return NOT_DONE_YET

    def _broken(self, failure: Failure, request: _Request) -> None:
        self._site._log.failure("The answer to {path} could not be built", failure, path=_text(request.path))
        if not (request._disconnected or request.finished):
            _reply(request, 500, encode({"error": "The answer could not be built; the log says why."}))


def _reply(request: _Request, status: int, body: bytes, content_type: str = JSON) -> None:
    request.setResponseCode(status)
    request.setHeader("Content-Type", content_type)
    request.setHeader("Content-Length", str(len(body)))
    request.write(body)  # leaves the body out for HEAD
    request.finish()


def _query(request: _Request, known: tuple[str, ...]) -> dict[str, str]:
    """The parameters of the query.

    :raises BadQueryError: a parameter is unknown, given twice, or not UTF-8.
    """
    query = {}
    for key, values in request.args.items():
        name = _text(key)
        if name not in known:
            expected = f"it has {', '.join(known)}" if known else "it has none"
            raise BadQueryError(f"This address has no parameter {name}: {expected}.")
        if len(values) != 1:
            raise BadQueryError(f"The parameter {name} is given {len(values)} times; give it once.")
        try:
            query[name] = values[0].decode("utf-8")
        except UnicodeDecodeError:
            raise BadQueryError(f"The value of {name} is not UTF-8.") from None
    return query


def _client(request: _Request) -> str:
    return str(getattr(request.getClientAddress(), "host", ""))


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
