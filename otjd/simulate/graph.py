"""A simulated Microsoft Graph, with its token service: calendars, free/busy, delta, subscriptions, batches.

It refuses what the original refuses, in the original's words, and keeps its limits (sources.md, 3). The calendars
behind it may change at any time.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import unquote

from OpenSSL import crypto
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.error import VerifyError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Site

from otjd.seam import deferred
from otjd.simulate.calendars import Calendars
from otjd.simulate.codec_http import Answer, Connections, reset, send
from otjd.simulate.graph_batch import batch
from otjd.simulate.graph_call import JSON, VERSION, Call
from otjd.simulate.graph_deliveries import Deliveries
from otjd.simulate.graph_delta import Deltas
from otjd.simulate.graph_errors import (
    GraphError,
    bad_request,
    blocked,
    new_id,
    no_consent,
    no_mailbox,
    no_such_user,
    of_status,
)
from otjd.simulate.graph_events import user_id
from otjd.simulate.graph_http import BODY_LIMIT, GraphSite, gzipped, truncate
from otjd.simulate.graph_limits import Limits
from otjd.simulate.graph_query import preferences_of, read_query
from otjd.simulate.graph_rooms import Rooms
from otjd.simulate.graph_settings import Fault, GraphApp, GraphSettings, Mailbox
from otjd.simulate.graph_subscriptions import Subscriptions
from otjd.simulate.graph_tokens import Tokens
from otjd.simulate.graph_views import Views

_USERS = re.compile(r"users\('([^']*)'\)", re.IGNORECASE)
_PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in to the network</title></head><body></body></html>\n"

Handler = Callable[[Call, str], Any]


@dataclass(frozen=True, slots=True)
class _Asked:
    base: str
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class GraphServer:
    """A Graph that shows `calendars`.

    `counts` counts requests by operation, as Graph counts them: each one of a batch; `statuses` by operation and
    status. `mailboxes` names the rooms that are not simply there to be read, in lower case. `faults` are had in
    their order.
    """

    _log = Logger()

    def __init__(self, calendars: Calendars, *, reactor: Any, settings: GraphSettings) -> None:
        self.settings = settings
        self.mailboxes: dict[str, Mailbox] = {}
        self.faults: list[Fault] = []
        self.counts: Counter[str] = Counter()
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.by_room: Counter[str] = Counter()
        self.tokens = Tokens(settings, calendars.now)
        self.limits = Limits(settings, calendars.now)
        self._reactor = reactor
        self._random = Random(settings.seed)  # noqa: S311 - latencies, no secrets
        self._calendars = calendars
        self._users: dict[str, str] = {}
        self._rooms = Rooms(calendars)
        self._views = Views(calendars, self._rooms, settings, self.mailboxes)
        self.deltas = Deltas(calendars, settings)
        self.deliveries = Deliveries(reactor, settings, self._random)
        self.subscriptions = Subscriptions(calendars, settings, self.deliveries, self._readable)
        self._ports: list[IListeningPort] = []
        self._connections: list[Connections] = []
        self._under_way: set[Deferred[Any]] = set()

    # --- listening ---

    def listen(self, certificate: Path, private_key: Path, *, address: str = "127.0.0.1", port: int = 0) -> int:
        """Serve HTTPS with a PEM certificate and key; returns the port.

        :raises ValueError: the files are no certificate with its key.
        """
        pem = b"\n".join(path.read_bytes() for path in (certificate, private_key))
        try:
            options = PrivateCertificate.loadPEM(pem).options()  # type: ignore[no-untyped-call]
        except (crypto.Error, VerifyError) as error:
            raise ValueError(f"{certificate} and {private_key} are no certificate with its key: {error}") from None
        return self._listening(self._reactor.listenSSL(port, self._site(), options, interface=address))

    def listen_http(self, *, address: str = "127.0.0.1", port: int = 0) -> int:
        """Serve plain HTTP; returns the port."""
        return self._listening(self._reactor.listenTCP(port, self._site(), interface=address))

    def _site(self) -> Connections:
        site: Site = GraphSite(self._begin, self._reactor)
        self._connections.append(Connections(site))
        return self._connections[-1]

    def _listening(self, port: IListeningPort) -> int:
        self._ports.append(port)
        number: int = port.getHost().port  # type: ignore[attr-defined]
        return number

    async def stop(self) -> None:
        """Close ports and connections; what was in progress is dropped."""
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        self._ports.clear()
        for one in tuple(self._under_way):
            one.cancel()
        await self.deliveries.close()
        self.subscriptions.close()
        self._rooms.close()
        for connections in self._connections:
            await connections.close()
        self._connections.clear()

    # --- requests ---

    def _begin(self, request: Any) -> None:
        serving = deferred(self._serve(request))
        self._under_way.add(serving)
        request.notifyFinish().addErrback(lambda _: serving.cancel())
        serving.addErrback(_cancelled)
        serving.addBoth(lambda _: self._under_way.discard(serving))

    async def _serve(self, request: Any) -> None:
        host = (request.getHeader(b"host") or b"localhost").decode("ascii", "replace")
        base = f"{'https' if request.isSecure() else 'http'}://{host}"
        path, _, query = request.uri.decode("ascii", "replace").partition("?")
        method, body = request.method.decode("ascii", "replace"), request.content.read(BODY_LIMIT + 1)
        segments = path.strip("/").split("/")
        if len(body) > BODY_LIMIT:
            found = self._refused(GraphError(413, "RequestEntityTooLarge", "The request is too large."))
        elif segments[0].lower() == VERSION:
            headers = {name.decode("latin-1").lower(): ",".join(v.decode("latin-1") for v in values)
                       for name, values in request.requestHeaders.getAllRawHeaders()}
            found = await self._graph(_Asked(base, method, "/".join(segments[1:]), query, headers, body))
        else:
            found = await self._sign_in(base, host, method, segments, body)
        self._finish(request, found)

    def _finish(self, request: Any, found: Answer) -> None:
        if found.outcome == "reset":
            reset(request)
        elif found.outcome == "truncated":
            truncate(request, found)
        else:
            send(request, gzipped(found) if b"gzip" in (request.getHeader(b"accept-encoding") or b"") else found)

    async def _sign_in(self, base: str, host: str, method: str, segments: list[str], body: bytes) -> Answer:
        tenant, rest = unquote(segments[0]), "/".join(segments[1:]).lower()
        if rest == "v2.0/.well-known/openid-configuration" and method == "GET":
            return self.tokens.configuration(tenant, base)
        if rest != "oauth2/v2.0/token" or method != "POST":
            return self._refused(bad_request(f"Invalid version: {segments[0]}."))
        fault = self._fault("token", "")
        await self._pause(fault)
        return self._count("token", "", self._faulty(fault) or self.tokens.token(tenant, body, host))

    async def _graph(self, asked: _Asked) -> Answer:
        """Answer a request, whether it came alone or in a batch."""
        operation, room, found = "other", "", Answer(500)
        leave: Callable[[], None] | None = None
        try:
            app = self.tokens.app_of(asked.headers.get("authorization", ""))
            segments = [unquote(s) for s in _USERS.sub(r"users/\1", asked.path).strip("/").split("/")]
            call = Call(app, asked.method, asked.base, asked.path, read_query(asked.query), asked.headers,
                        preferences_of(asked.headers), asked.body)
            operation, subject, handler = self._route(call, segments)
            room = self._known(subject) or "" if subject else ""
            fault = self._fault(operation, room)
            leave = self.limits.enter(app.client_id, room)
            await self._pause(fault)
            faulty = self._faulty(fault)
            if faulty is not None and fault is not None and fault.kind != "truncated":
                found = faulty
            else:
                argument = self._readable(app, subject) if subject else segments[1] if len(segments) > 1 else ""
                result = handler(call, argument)
                found = result if isinstance(result, Answer) else await result
                if faulty is not None:
                    found = Answer(found.status, found.body, found.content_type, found.headers, "truncated")
        except GraphError as error:
            found = self._refused(error)
        except CancelledError:
            raise  # the caller has gone
        except Exception:
            self._log.failure("A request of the simulated Graph could not be answered: {method} {path}",
                              method=asked.method, path=asked.path)
            found = self._refused(of_status(500))
        finally:
            if leave is not None:
                leave()
        return self._count(operation, room, found)

    def _route(self, call: Call, segments: list[str]) -> tuple[str, str, Handler]:
        """The operation, the user that it is about (empty: none), and what answers it.

        :raises GraphError: there is nothing.
        """
        lower = [segment.lower() for segment in segments]
        if lower == ["$batch"] and call.method == "POST":
            return "$batch", "", lambda c, _: batch(c, self._step)
        if lower[0] == "subscriptions":
            return "subscriptions", "", self._subscription_handler(call.method, lower)
        if lower[0] != "users" or len(lower) < 3:
            raise bad_request(f"Resource not found for the segment '{segments[-1]}'.")
        user, rest = segments[1], lower[3:] if lower[2] == "calendar" else lower[2:]
        rest = [segment.removeprefix("microsoft.graph.").removesuffix("()") for segment in rest]
        wanted = "POST" if rest == ["getschedule"] else "GET"
        found: tuple[str, Handler] | None = None
        if rest == ["calendarview"]:
            found = "calendarView", self._views.calendar_view
        elif rest == ["calendarview", "delta"]:
            found = "delta", self.deltas.delta
        elif rest == ["getschedule"] and lower[2] == "calendar":
            found = "getSchedule", self._views.schedules
        elif len(rest) == 2 and rest[0] == "events":
            found = "event", lambda c, room: self._views.event(c, room, segments[-1])
        if found is None:
            raise bad_request(f"Resource not found for the segment '{segments[-1]}'.")
        if call.method != wanted:
            raise GraphError(405, "MethodNotAllowed", "The HTTP method is not supported for this resource.")
        return found[0], user, found[1]

    def _subscription_handler(self, method: str, lower: list[str]) -> Handler:
        own = self.subscriptions
        handlers: dict[tuple[str, int], Handler] = {
            ("POST", 1): own.create, ("GET", 1): own.list, ("GET", 2): own.show, ("PATCH", 2): own.renew,
            ("DELETE", 2): own.delete}
        if len(lower) == 3 and lower[2] == "reauthorize" and method == "POST":
            return own.reauthorize
        handler = handlers.get((method, len(lower)))
        if handler is None:
            raise GraphError(405, "MethodNotAllowed", "The HTTP method is not supported for this resource.")
        return handler

    async def _step(self, call: Call, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        path, _, query = url.partition("?")
        own = {"authorization": call.headers.get("authorization", ""), **headers}
        if path.lower().strip("/") == "$batch":
            return self._refused(bad_request("A batch cannot hold another one."))
        return await self._graph(_Asked(call.base, method, path, query, own, body))

    # --- mailboxes ---

    def _known(self, user: str) -> str | None:
        """The room of an address or an object id, in lower case."""
        room = user.lower()
        if self._calendars.has_room(room):
            return room
        if room not in self._users:
            self._users = {user_id(one): one for one in self._calendars.rooms()}
        return self._users.get(room)

    def _readable(self, app: GraphApp, user: str) -> str:
        """The room of a user whose calendar the application may read.

        :raises GraphError: it may not, or there is none.
        """
        room = self._known(user)
        state = self.mailboxes.get(room or user.lower(), Mailbox.READABLE)
        if not app.may_read_basics:
            raise no_consent()
        if room is None or state is Mailbox.UNKNOWN:
            raise no_such_user(user)
        if state is Mailbox.NOT_IN_THE_CLOUD:
            raise no_mailbox()
        if state is Mailbox.BLOCKED:
            raise blocked()
        return room

    # --- faults and counting ---

    def _fault(self, operation: str, room: str) -> Fault | None:
        return next((fault for fault in self.faults if fault.strikes(operation, room)), None)

    async def _pause(self, fault: Fault | None) -> None:
        shortest, longest = self.settings.latency_s
        pause_s = self._random.uniform(shortest, longest) if longest else 0.0
        if fault is not None and fault.kind == "stall":
            await Deferred()
        if fault is not None and fault.kind == "slow":
            pause_s += fault.delay_s
        if pause_s:
            await deferLater(self._reactor, pause_s)

    def _faulty(self, fault: Fault | None) -> Answer | None:
        """What a fault has for an answer; None where it has none of its own."""
        if fault is None or fault.kind == "slow":
            return None
        if fault.kind == "status":
            return self._refused(of_status(fault.status, fault.retry_after_s))
        if fault.kind == "html":
            return Answer(200, _PAGE, b"text/html", outcome="html")
        return Answer(500, _PAGE, outcome=fault.kind)

    def _refused(self, error: GraphError) -> Answer:
        body = error.body(self._calendars.now(), new_id())
        return Answer(error.status, body, JSON, error.headers(), error.code)

    def _count(self, operation: str, room: str, found: Answer) -> Answer:
        self.counts[operation] += 1
        self.statuses[operation, found.status] += 1
        if room:
            self.by_room[room] += 1
        return found


def _cancelled(failure: Failure) -> None:
    failure.trap(CancelledError)  # type: ignore[no-untyped-call]
