"""CalendarSite: the HTTP side of what Poly endpoints connect to. It knows who asks, services know the answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, cast
from urllib.parse import unquote

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.web.http import HTTPFactory, parse_qs

from otjd.operate.board import StatusBoard
from otjd.serve.auth import SCHEMES, Accepted, Authenticator, Refused
from otjd.serve.calls import (
    TEXT_XML,
    Account,
    Call,
    Held,
    Notice,
    NoticeService,
    Outlet,
    Reply,
    Service,
)
from otjd.serve.channel import LimitedChannel, header_texts
from otjd.serve.gate import Gate
from otjd.serve.held import HeldAnswer
from otjd.serve.limits import Limits
from otjd.serve.origin import Network, base_url, client_address, is_within
from otjd.serve.throttle import Throttle
from otjd.serve.visits import INTERNAL_ERROR, Visit, VisitLog, printable
from otjd.serve.wire_log import Message, WireLog

METHODS = ("GET", "HEAD", "POST")
PLAIN = "text/plain; charset=utf-8"
SECRET_BYTES = 32
CLOSE_WITHIN_S = 1.0

_ABSOLUTE = re.compile(r"\Ahttps?://[^/]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSettings:
    """The part of `[node]` and `[calendar_service]` that is of use here, under the same names."""

    authentication: tuple[str, ...] = SCHEMES[:2]
    fips: bool = False
    digest_sha256: bool = False
    trusted_proxies: tuple[Network, ...] = ()
    throttle_failed_logins: bool = True
    limits: Limits = field(default_factory=Limits)
    is_detailed: bool = False
    """Whether every request is logged."""


class CalendarSite(HTTPFactory):
    """To be listened with, on any number of ports, plain or behind TLS.

    `routes` are services by path, in lower case and without a slash at the end. `ready` says whether the node can
    serve, for `/healthz`. `secret` seals Digest nonces, for nodes that share it; by default a random one.
    `wire_log` is told everything that was on the wire. `notices` are services that calendar systems send POST
    requests to without signing in, by path as `routes`. `announced` are headers of every answer at such a path,
    before a login too: what clients look for to know what they may ask.
    """

    protocol: Any = LimitedChannel  # no HTTP/2: NTLM authenticates a connection
    noisy = False

    def __init__(self, *, routes: Mapping[str, Service], accounts: Iterable[Account], settings: SiteSettings,
                 board: StatusBoard, ready: Callable[[], bool], reactor: IReactorTime,
                 now: Callable[[], datetime], random_bytes: Callable[[int], bytes],
                 secret: bytes | None = None, wire_log: WireLog | None = None,
                 announced: Mapping[str, Mapping[str, str]] = MappingProxyType({})) -> None:
        super().__init__(timeout=settings.limits.idle_s, reactor=reactor)
        self.connections: set[LimitedChannel] = set()
        self._routes = dict(routes)
        self._announced = announced
        self.notices: Mapping[str, NoticeService] = {}
        self._board = board
        self._ready = ready
        self._throttle = Throttle(reactor)
        self._settings = settings
        self.gate = Gate(board, reactor, settings.limits, settings.trusted_proxies)
        self._held: set[HeldAnswer] = set()
        self._wire_log = wire_log
        self._visits = VisitLog(wire_log)
        self._visits.is_detailed = settings.is_detailed
        self._authenticator = Authenticator(
            accounts, schemes=settings.authentication, fips=settings.fips, digest_sha256=settings.digest_sha256,
            secret=secret or random_bytes(SECRET_BYTES), now=now, random_bytes=random_bytes)

    def reconfigure(self, *, accounts: Iterable[Account], settings: SiteSettings,
                    routes: Mapping[str, Service] | None = None) -> None:
        """Let these take over from the next request on; connections stay, and stay signed in where they may. An
        answer that is held open ends, so that its client asks again.

        :raises ValueError: a scheme is unknown; then nothing changes.
        """
        self._authenticator.reconfigure(accounts, schemes=settings.authentication, fips=settings.fips,
                                        digest_sha256=settings.digest_sha256)
        self._settings = settings
        self._visits.is_detailed = settings.is_detailed
        self.timeOut = settings.limits.idle_s
        self.gate.reconfigure(settings.limits, settings.trusted_proxies)
        if routes is not None:
            self._routes = dict(routes)
        self._close_held()

    @property
    def limits(self) -> Limits:
        """What clients may take."""
        return self._settings.limits

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Take a connection; None, so that it is closed at once, where there are too many."""
        address = str(getattr(addr, "host", ""))
        if not self.gate.enter(address):
            return None
        channel = cast("LimitedChannel", super().buildProtocol(addr))
        channel.came_from = address
        return channel

    def gone(self, channel: LimitedChannel) -> None:
        """A connection ended."""
        if channel in self.connections:
            self.connections.remove(channel)
            self.gate.leave(channel.came_from)

    async def close_connections(self) -> None:
        """End what is still connected, within a second; to be called when no port is listened on any more."""
        self._close_held()
        ends = []
        for channel in tuple(self.connections):
            gone: Deferred[None] = Deferred()
            channel.when_gone.append(gone)
            ends.append(gone)
            channel.loseConnection()
        if ends:
            late = self.reactor.callLater(CLOSE_WITHIN_S, self._abort_connections)
            await DeferredList(ends)
            if late.active():
                late.cancel()

    def _close_held(self) -> None:
        for held in tuple(self._held):
            held.close()

    def _abort_connections(self) -> None:
        for channel in tuple(self.connections):
            channel.transport.abortConnection()

    def startFactory(self) -> None:
        """Nothing to start: the log has no file of its own."""

    def stopFactory(self) -> None:
        """Nothing to stop."""

    def log(self, request: Any) -> None:
        """Nothing: `VisitLog` writes a line that says more."""

    def serve(self, request: Any) -> None:
        """Answer a request that was read whole."""
        visit = self._visit(request)
        try:
            self._dispatch(request, visit)
        except Exception:  # whatever is wrong with us, the client gets an answer
            self._visits.broken(visit)
            if not (request.startedWriting or request.finished):
                request.prepare(500, INTERNAL_ERROR, TEXT_XML)
                request.send()
            elif not request.finished:  # an answer that was to be held open
                request.loseConnection()

    def _dispatch(self, request: Any, visit: Visit) -> None:
        path = _routed(visit.path)
        service = self._routes.get(path)
        notices = self.notices.get(path)
        if notices is not None:
            self._notice(request, visit, notices)
        elif service is None and path != "/healthz":
            self._refuse(request, visit, 404, "There is nothing here.")
        elif visit.method not in METHODS:
            request.setHeader("Allow", ", ".join(METHODS))
            self._refuse(request, visit, 405, f"Expected {' or '.join(METHODS)}.")
        elif service is None:
            ready = self._ready()
            self._refuse(request, visit, 200 if ready else 503, "ok" if ready else "starting")
        else:
            if path in self._announced:
                for name, value in self._announced[path].items():
                    request.setHeader(name, value)
            outcome = self._authenticator.judge(
                _last(request, b"authorization"), request.channel.login, method=visit.method,
                target=request.uri.decode("latin-1"), address=visit.address)
            if isinstance(outcome, Refused):
                self._challenge(request, visit, outcome)
            else:
                self._call(request, visit, outcome, service)

    def _visit(self, request: Any) -> Visit:
        target = request.path.decode("latin-1")
        if not target.startswith("/"):
            target = _ABSOLUTE.sub("", target)
        path = (unquote(target) if "%" in target else target) or "/"
        visit = Visit(
            started=self.reactor.seconds(), clock=self.reactor.seconds, method=request.method.decode("latin-1"),
            path=path, address=self._address(request), user_agent=printable(_last(request, b"user-agent")))
        if self._wire_log is None or not self._wire_log.is_on:
            return visit
        return replace(
            visit, captured=Message(header_texts(request.requestHeaders), request.content.getvalue()),
            peer=f"{_peer(request)} port {getattr(request.getClientAddress(), 'port', '')}",
            answer_headers=request.answer_headers)

    def _address(self, request: Any) -> str:
        return client_address(_peer(request), _all(request, b"x-forwarded-for"), self._settings.trusted_proxies)

    def _refuse(self, request: Any, visit: Visit, status: int, text: str) -> None:
        request.prepare(status, f"{text}\n".encode(), PLAIN)
        self._visits.refused(visit, status, text)
        request.send()

    def _challenge(self, request: Any, visit: Visit, outcome: Refused) -> None:
        """Answer 401, late where an address keeps failing."""
        if outcome.is_failure and outcome.endpoint:
            self._board.endpoint_failed(outcome.endpoint, f"Login from {visit.address} failed: {outcome.reason}",
                                        alarm=False)
        delay_s = 0.0
        if outcome.is_failure and self._settings.throttle_failed_logins:
            delay_s = self._throttle.failed(visit.address)
        if delay_s:
            waiting = self.reactor.callLater(delay_s, self._send_challenge, request, visit, outcome, delay_s)
            request.notifyFinish().addErrback(lambda _: waiting.cancel() if waiting.active() else None)
        else:
            self._send_challenge(request, visit, outcome, delay_s)

    def _send_challenge(self, request: Any, visit: Visit, outcome: Refused, delay_s: float) -> None:
        request.responseHeaders.setRawHeaders("WWW-Authenticate", outcome.challenges)
        request.prepare(401, b"", "")
        self._visits.challenged(visit, outcome, delay_s)
        request.send()

    def takes_notices(self, target: bytes) -> bool:
        """Whether what is sent to this target counts without a login."""
        return bool(self.notices) and _routed(unquote(target.partition(b"?")[0].decode("latin-1"))) in self.notices

    def _notice(self, request: Any, visit: Visit, service: NoticeService) -> None:
        """Let a calendar system tell of changes."""
        if visit.method != "POST":
            request.setHeader("Allow", "POST")
            self._refuse(request, visit, 405, "Expected POST.")
            return
        query = parse_qs(request.uri.partition(b"?")[2], keep_blank_values=1)  # type: ignore[no-untyped-call]
        headers = {name.lower(): value for name, value in header_texts(request.requestHeaders)}
        reply = service(Notice(query, headers, request.content.getvalue()))
        request.prepare(reply.status, reply.body, reply.content_type)
        self._visits.noticed(visit, reply)
        request.send()

    def _call(self, request: Any, visit: Visit, accepted: Accepted, service: Service) -> None:
        call = self._call_of(request, visit, accepted)
        for name, value in accepted.headers:
            request.setHeader(name, value)
        try:
            reply = service(call)
        except Exception:  # a bug of ours; the endpoint gets what Exchange would say
            self._visits.broken(visit, call.account.endpoint)
            reply = Reply(500, INTERNAL_ERROR, error="ErrorInternalServerError")
        if reply.hold is None:
            request.prepare(reply.status, reply.body, reply.content_type)
        else:
            request.begin(reply.status, reply.content_type)
        self._visits.answered(visit, call, reply)
        self._report(call, reply)
        if reply.hold is None:
            request.send()
        else:
            self._hold(request, visit, call, reply, reply.hold)

    def _hold(self, request: Any, visit: Visit, call: Call, reply: Reply, hold: Callable[[Outlet], Held]) -> None:
        """Let a service go on with an answer; each part of it is a contact of the endpoint."""
        def told(document: bytes) -> None:
            self._visits.sent(visit, call, document)
            self._report(call, reply)

        held = HeldAnswer(request, call, reply, clock=self.reactor, told=told, over=self._held.discard)
        self._held.add(held)
        held.start(hold)

    def _call_of(self, request: Any, visit: Visit, accepted: Accepted) -> Call:
        proxies = self._settings.trusted_proxies
        trusted = bool(proxies) and is_within(_peer(request), proxies)
        local = request.getHost()
        host = f"[{local.host}]" if ":" in local.host else local.host
        return Call(
            account=accepted.account, scheme=accepted.scheme, method=visit.method, path=visit.path,
            base_url=base_url(_all(request, b"host"), secure=request.isSecure(), local=f"{host}:{local.port}",
                              forwarded_proto=_last(request, b"x-forwarded-proto") if trusted else ""),
            content_type=_last(request, b"content-type"), body=request.content.getvalue(),
            client_address=visit.address, user_agent=visit.user_agent)

    def _report(self, call: Call, reply: Reply) -> None:
        """Tell the board: who is answered is in contact, even if what it asked for was wrong."""
        endpoint = call.account.endpoint
        if reply.status < 400:
            self._board.endpoint_contacted(
                endpoint, address=call.client_address, operation=reply.operation, user_agent=call.user_agent,
                scheme=call.scheme, meetings=reply.meetings)
        if reply.error or reply.status >= 400:
            error = reply.error or f"status {reply.status}"
            self._board.endpoint_failed(endpoint, f"{reply.operation or call.method}: {error}", alarm=False)

    def refused(self, channel: LimitedChannel, status: int, error: str) -> None:
        """A request was refused before it was read whole."""
        request = channel.requests[-1] if channel.requests else None
        address = str(getattr(channel.getPeer(), "host", ""))  # type: ignore[no-untyped-call]
        self._visits.cut_off(self._address(request) if request is not None else address, status, error)

    def tls_failed(self, channel: LimitedChannel, error: str) -> None:
        """A client and we did not agree on TLS."""
        self._visits.tls_failed(str(getattr(channel.getPeer(), "host", "")), error)  # type: ignore[no-untyped-call]


@lru_cache(maxsize=64)
def _routed(path: str) -> str:
    """A path as routes are named: in lower case, without doubled slashes and without one at the end."""
    return re.sub(r"/{2,}", "/", path).rstrip("/").lower()


def _all(request: Any, header: bytes) -> list[str]:
    return [v.decode("latin-1") for v in request.requestHeaders.getRawHeaders(header, ())]


def _last(request: Any, header: bytes) -> str:
    values: Sequence[bytes] = request.requestHeaders.getRawHeaders(header, ())
    return values[-1].decode("latin-1") if values else ""


def _peer(request: Any) -> str:
    return str(getattr(request.getClientAddress(), "host", ""))
