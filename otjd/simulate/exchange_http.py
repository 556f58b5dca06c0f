"""The HTTP side of a simulated Exchange: signing in, faults, and answers that are held open."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from otjd.protocol import ews_notifications as notifications
from otjd.protocol import soap
from otjd.protocol.autodiscover import (
    NO_SUCH_ADDRESS,
    AutodiscoverError,
    read_pox,
    write_pox,
    write_pox_error,
)
from otjd.protocol.soap import SoapFault, dialect_of, write_envelope, write_fault
from otjd.seam import deferred
from otjd.simulate import exchange_autodiscover
from otjd.simulate.codec_http import Answer, reset, send, send_half
from otjd.simulate.exchange_access import Connection
from otjd.simulate.exchange_core import Exchange, StreamRefused
from otjd.simulate.exchange_notifications import Stream, stream_error
from otjd.simulate.exchange_settings import Fault, ServiceAccount
from otjd.simulate.exchange_throttling import busy
from otjd.simulate.exchange_wire import Call, fault

BODY_LIMIT = 16 * 1024 * 1024
COMPRESSED_BYTES = 1024
"""Shorter answers are not packed."""

COOKIE = "X-BackEndOverrideCookie"
_COOKIE_NUMBER = "~1941997017"
_HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Sign in to go on.</body></html>"


class ExchangeResource(Resource):
    """Serves `server` under /EWS and /Autodiscover, whatever the letter case."""

    _log = Logger()

    def __init__(self, server: Exchange) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.isLeaf = True
        self._server = server
        self._connections: WeakKeyDictionary[Any, Connection] = WeakKeyDictionary()

    def render(self, request: Any) -> int:
        """Serve whatever the method: NTLM may begin with any."""
        connection = self._connections.setdefault(request.channel, Connection())
        judged = self._server.access.judge((request.getHeader("authorization") or "").strip(), connection)
        if judged.account is None:
            self._server.requests["(challenge)" if judged.is_leg else "(unauthorized)"] += 1
            send(request, _unauthorized(judged.challenges))
            return NOT_DONE_YET
        if connection.account is not None:
            request.setHeader(b"Persistent-Auth", b"true")
        left: Deferred[None] = Deferred()
        request.notifyFinish().addErrback(lambda _: left.callback(None))
        deferred(self._serve(request, judged.account, left)).addErrback(self._failed, request)
        return NOT_DONE_YET

    def _failed(self, failure: Any, request: Any) -> None:
        self._log.failure("the simulated Exchange failed", failure)
        send(request, Answer(500, b""))

    async def _serve(self, request: Any, account: ServiceAccount, left: Deferred[None]) -> None:
        path = request.path.decode("latin-1").lower()
        is_microsoft = self._server.settings.make == "microsoft"
        content_type = request.getHeader("content-type") or ""
        body = request.content.read(BODY_LIMIT + 1)
        if request.method != b"POST":
            send(request, Answer(405, headers=((b"Allow", b"POST"),)))
        elif len(body) > BODY_LIMIT:
            send(request, Answer(413))
        elif not content_type.lower().startswith(("text/xml", "application/soap+xml")):
            send(request, Answer(415))
        elif path == f"/autodiscover/autodiscover.{'svc' if is_microsoft else 'xml'}":
            await (self._autodiscover if is_microsoft else self._older_autodiscover)(request, body, content_type)
        elif path == "/ews/exchange.asmx":
            await self._ews(request, account, body, content_type, left)
        else:
            send(request, Answer(404))

    async def _autodiscover(self, request: Any, body: bytes, content_type: str) -> None:
        server = self._server
        server.requests["GetUserSettings"] += 1
        await self._wait(server.latency_s())
        try:
            answer = exchange_autodiscover.answer(
                body, content_type, version=server.version, settings_of=server.settings_of,
                referral_of=server.referrals.get, validate=server.settings.validate)
        except SoapFault as refused:
            send(request, Answer(refused.status, write_fault(refused, soap.SOAP_11)))
        else:
            send(request, Answer(200, answer))

    async def _older_autodiscover(self, request: Any, body: bytes, content_type: str) -> None:
        server = self._server
        server.requests["Autodiscover"] += 1
        await self._wait(server.latency_s())
        code, known, email = NO_SUCH_ADDRESS, None, ""
        try:
            email = read_pox(body, content_type).email
            known = server.settings_of(email.lower())
        except AutodiscoverError as error:
            code = error.code
        send(request, Answer(200, write_pox_error(code, now=server.calendars.now(), server_id=1) if known is None
                             else write_pox(email=email, ews_url=known["ExternalEwsUrl"])))

    async def _ews(self, request: Any, account: ServiceAccount, body: bytes, content_type: str,
                   left: Deferred[None]) -> None:
        server, dialect = self._server, dialect_of(content_type)
        try:
            call = server.read(body, content_type, account, lambda n: request.getHeader(n) or "", _cookie(request))
            dialect = call.dialect
            strikes = server.fault_for(call)
            with server.budgets.request(account.username):
                if strikes is not None and not await self._strike(request, strikes, left):
                    return
                await self._wait(server.latency_s())
                if call.name == "GetStreamingEvents":
                    self._stream(request, call, left)
                    return
                written = write_envelope(dialect, server.version.header(), server.answer(call))
        except SoapFault as refused:
            server.faulted[refused.code] += 1
            dialect = refused.dialect or dialect
            status = refused.status if server.settings.make == "microsoft" else 200
            send(request, Answer(status, write_fault(refused, dialect), dialect.content_type.encode()))
            return
        if call.name == "Subscribe" and call.prefers_affinity:
            _set_cookie(request, server.backend(call))
        answer = Answer(200, written, dialect.content_type.encode())
        if server.settings.compresses and _takes_gzip(request) and len(written) > COMPRESSED_BYTES:
            answer = _packed(answer)
        if strikes is not None and strikes.kind == "truncated":
            send_half(request, answer)
        else:
            send(request, answer)

    async def _strike(self, request: Any, strikes: Fault, left: Deferred[None]) -> bool:
        """Have a fault; whether the request is served all the same.

        :raises SoapFault: that is the fault.
        """
        match strikes.kind:
            case "busy":
                raise busy(strikes.back_off)
            case "error":
                raise fault(strikes.code)
            case "503":
                send(request, Answer(503, b"Service Unavailable", b"text/html"))
            case "401":
                send(request, _unauthorized(self._server.access.challenges()))
            case "html":
                send(request, Answer(200, _HTML, b"text/html; charset=utf-8"))
            case "reset":
                reset(request)
            case "stall":
                await left
            case "slow":
                await self._wait(strikes.delay_s)
                return True
            case "truncated":
                return True
        return False

    async def _wait(self, delay_s: float) -> None:
        if delay_s > 0:
            await deferLater(self._server.clock, delay_s)

    def _stream(self, request: Any, call: Call, left: Deferred[None]) -> None:
        server = self._server
        request.setHeader(b"content-type", soap.SOAP_11.content_type.encode())
        outlet = _Outlet(request, call, server)
        request.registerProducer(outlet, True)
        try:
            subscriptions, timeout, foreign = server.streamed(call)
        except StreamRefused as refused:
            server.faulted[refused.code] += 1
            outlet.write(stream_error(refused.code, refused.ids))
            outlet.finish()
            return
        if foreign:
            server.faulted["ErrorInvalidSubscription"] += 1
            outlet.write(stream_error("ErrorInvalidSubscription", foreign, "OK"))
        self._open(outlet, call, subscriptions, timeout, left)

    def _open(self, outlet: _Outlet, call: Call, subscriptions: Any, timeout: timedelta,
              left: Deferred[None]) -> None:
        server = self._server

        def over(stream: Stream) -> None:
            server.budgets.unhang(server.charged(call))
            server.streams.discard(stream)

        stream = Stream(outlet, subscriptions, registry=server.subscriptions, now=server.calendars.now,
                        timeout=timeout, heartbeat_s=server.settings.heartbeat_s, over=over)
        if not stream.is_over:
            outlet.ready = stream.ready
            server.streams.add(stream)
            left.addCallback(lambda _: stream.gone())


@implementer(IPushProducer)
class _Outlet:
    """Envelopes into a chunked answer. `ready` is called when the client, who had not read, reads on."""

    def __init__(self, request: Any, call: Call, server: Exchange) -> None:
        self.is_ready = True
        self.ready: Callable[[], None] = lambda: None
        self._request = request
        self._dialect = call.dialect
        self._server = server

    def write(self, message: str) -> None:
        """Send a response message in an envelope of its own."""
        if not (self._request._disconnected or self._request.finished):
            header = self._server.version.header()
            self._request.write(notifications.stream_envelope(self._dialect, header, message))

    def finish(self) -> None:
        """End the answer."""
        if not (self._request._disconnected or self._request.finished):
            self._request.unregisterProducer()
            self._request.finish()

    def pauseProducing(self) -> None:
        """The client does not read."""
        self.is_ready = False

    def resumeProducing(self) -> None:
        """The client reads on."""
        self.is_ready = True
        self.ready()

    def stopProducing(self) -> None:
        """The client has left; that is told otherwise."""
        self.is_ready = False

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Callable[[], None]:
        """Call that later."""
        delayed = self._server.clock.callLater(delay_s, call)
        return lambda: delayed.cancel() if delayed.active() else None


class AutodiscoverRedirect(Resource):
    """Plain HTTP: sends who asks for Autodiscover without signing in to https."""

    def __init__(self, server: Exchange) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.isLeaf = True
        self._server = server

    def render(self, request: Any) -> bytes:
        """302 for GET of the one address; 403 for the rest, since SSL is required."""
        is_asked = request.method == b"GET" and request.path.lower() == b"/autodiscover/autodiscover.xml"
        request.setResponseCode(302 if is_asked else 403)
        if is_asked:
            request.setHeader(b"location", f"{self._server.base_url}/autodiscover/autodiscover.xml".encode())
        return b""


def _unauthorized(challenges: tuple[str, ...]) -> Answer:
    return Answer(401, headers=tuple((b"WWW-Authenticate", line.encode()) for line in challenges))


def _takes_gzip(request: Any) -> bool:
    return "gzip" in (request.getHeader("accept-encoding") or "").lower()


def _packed(answer: Answer) -> Answer:
    return replace(answer, body=gzip.compress(answer.body, compresslevel=1),
                   headers=((b"Content-Encoding", b"gzip"), (b"Vary", b"Accept-Encoding")))


def _cookie(request: Any) -> str:
    value = (request.getCookie(COOKIE.encode()) or b"").decode("latin-1")
    return str(value.removesuffix(_COOKIE_NUMBER)) if value.endswith(_COOKIE_NUMBER) else ""


def _set_cookie(request: Any, backend: str) -> None:
    request.addCookie(COOKIE, f"{backend}{_COOKIE_NUMBER}", path="/", httpOnly=True, secure=True)
