"""A simulated Cisco endpoint that takes bookings the way devices of several generations do, and no other way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from OpenSSL import crypto
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import VerifyError
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorTime
from twisted.internet.ssl import PrivateCertificate
from twisted.python.failure import Failure
from twisted.web.server import Site

from otjd.simulate.codec_access import SESSION_COOKIES, Caller, Gate, Lane, Role
from otjd.simulate.codec_commands import NO_ACTION, Commands, PushKind
from otjd.simulate.codec_documents import command_document, document, status_document, sub_document
from otjd.simulate.codec_http import (
    SLOW_S,
    TEXT,
    Answer,
    CodecRequest,
    CodecSite,
    Connections,
    Fault,
    FaultKind,
    Redirect,
    reset,
    send,
)
from otjd.simulate.codec_payloads import Limits, Malformed, Refused, bookings_from_xml, parse_xml
from otjd.simulate.codec_profiles import PROFILES, LoginFailure
from otjd.simulate.codec_store import BookingStore, StoredBooking

MAX_SESSIONS = 20
KEPT_EXCHANGES = 10_000
SIGN_IN_PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body><form></form></body></html>\n"


@dataclass(frozen=True, slots=True)
class Switches:
    """How the simulation behaves where devices differ or where nothing is known."""

    login_failure: LoginFailure = "401"
    role_refusal: Literal["401", "403", "error"] = "error"
    """A role that may not push is answered with this status, or `status="Error"` (403 on the private path)."""
    malformed: Literal["400", "action-error"] = "400"
    """What `/putxml` answers to XML that is not well-formed."""
    private_answer: Literal["empty", "success", "echo"] = "empty"
    """The body under the 200 of `/bookingsputxml`."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request that came in, and what became of it."""

    at: datetime
    method: str
    path: str
    status: int | None
    """None where nothing was answered."""
    outcome: str


@dataclass(frozen=True, slots=True)
class Push:
    """An attempt to replace or clear the list."""

    at: datetime
    kind: PushKind
    outcome: str
    """`replaced`, or the reason of the refusal."""

    @property
    def accepted(self) -> bool:
        """Whether the list was replaced."""
        return self.outcome == "replaced"


class Codec:
    """One codec of a profile (`tc7`, `ce9_6`, `ce9`, `roomos11`, `roomos26`).

    `now` gives the aware UTC time of the codec's clock; `clock` counts seconds for locks, rate limit and slowness.
     To control it: `fail`, `heal`, `reboot`, `teams_mode`.
    To look at: `bookings`, `joinable`, `pushes`, `exchanges`.
    """

    def __init__(self, profile_name: str, *, username: str = "admin", password: str = "codec",  # noqa: S107
                 now: Callable[[], datetime], clock: IReactorTime, role: Role = "admin", timezone: tzinfo = UTC,
                 limits: Limits | None = None, switches: Switches | None = None,
                 max_failed_logins: int | None = None, rate_limit: bool | None = None,
                 teams_mode: bool = False, on_change: Callable[[], None] | None = None) -> None:
        if profile_name not in PROFILES:
            raise ValueError(f"no profile {profile_name!r}; there are {', '.join(PROFILES)}")
        self.profile = PROFILES[profile_name]
        self.teams_mode = teams_mode
        self.on_change = on_change
        self.exchanges: deque[Exchange] = deque(maxlen=KEPT_EXCHANGES)
        self.pushes: list[Push] = []
        self._now = now
        self._clock = clock
        self._role = role
        self._limits = limits or Limits()
        self._switches = switches or Switches()
        self._store = BookingStore(timezone)
        attempts = self.profile.max_failed_logins if max_failed_logins is None else max_failed_logins
        self.gate = Gate(username, password, clock=clock, max_failed_logins=attempts,
                         lockout_s=self.profile.lockout_s, max_sessions=MAX_SESSIONS)
        limited = self.profile.rate_limit if rate_limit is None else rate_limit
        self._lanes = {False: Lane(clock, 1, 30), True: Lane(clock, 15, 90)} if limited else {}
        self._commands = Commands(self.profile, self._store, limits=self._limits, now=now,
                                  may_put=lambda: self._role == "admin",
                                  in_teams_mode=lambda: self.teams_mode and self.profile.teams_rooms,
                                  replaced=self._note_push)
        self._faults: list[Fault] = []
        self._slow: set[IDelayedCall] = set()
        self._ports: list[IListeningPort] = []
        self._connections: list[Connections] = []

    # --- what it shows, and test controls ---

    @property
    def bookings(self) -> tuple[StoredBooking, ...]:
        """The list as it was pushed, in that order."""
        return self._store.bookings

    def joinable(self, now: datetime) -> tuple[StoredBooking, ...]:
        """The bookings that show a Join button at this time; more than one where meetings overlap."""
        return tuple(b for b in self.bookings if b.joinable(now))

    @property
    def waiting(self) -> int:
        """How many requests are held back: by the rate limit, or because the codec is slow."""
        return sum(lane.waiting for lane in self._lanes.values()) + len(self._slow)

    def fail(self, kind: FaultKind, *, times: int | None = None, path: str | None = None) -> None:
        """Have a fault from now on: `times` times or until `heal`, with requests of `path` or with all."""
        self._faults.append(Fault(kind, times, path))

    def heal(self) -> None:
        """Have no faults any more."""
        self._faults.clear()

    def reboot(self, *, keep: bool = False) -> None:
        """Lose sessions and connections, and the bookings too unless they are to be kept."""
        self.gate.sessions.clear()
        for connections in self._connections:
            for connection in list(connections.protocols):
                transport: Any = connection.transport
                transport.abortConnection()
        if not keep:
            self._store.bookings, self._store.last_updated = (), None
        self._changed()

    # --- listening ---

    def site(self) -> Site:
        """A site that serves this codec, to listen with; `listen` does that too."""
        return CodecSite(self._serve, clock=self._clock, body_limit=self._limits.body_bytes,
                         refuses_expect=self.profile.refuses_expect,
                         note_refused=lambda request: self._record(request, 417, "Expect is not understood"))

    def listen(self, reactor: Any, certificate: Path, private_key: Path, *, address: str = "127.0.0.1",
               port: int = 0) -> int:
        """Serve HTTPS with a PEM certificate and key; returns the port.

        :raises ValueError: the files are no certificate with its key.
        """
        pem = b"\n".join(path.read_bytes() for path in (certificate, private_key))
        try:
            options = PrivateCertificate.loadPEM(pem).options()  # type: ignore[no-untyped-call]
        except (crypto.Error, VerifyError) as error:
            raise ValueError(f"{certificate} and {private_key} are no certificate with its key: {error}") from None
        return self._listening(reactor.listenSSL(port, self._connected(self.site()), options, interface=address))

    def listen_http(self, reactor: Any, *, address: str = "127.0.0.1", port: int = 0,
                    redirect_to: int | None = None, status: int = 307) -> int:
        """Serve plain HTTP, or redirect all of it to the HTTPS port `redirect_to`; returns the port."""
        if redirect_to is None:
            site: Site = self.site()
        else:
            site = Site(Redirect(redirect_to, status), reactor=self._clock)  # type: ignore[no-untyped-call]
            site.noisy = False
        return self._listening(reactor.listenTCP(port, self._connected(site), interface=address))

    def _connected(self, site: Site) -> Connections:
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
        for call in self._slow:
            call.cancel()
        for lane in self._lanes.values():
            lane.close()
        self._slow.clear()
        self._ports.clear()
        for connections in self._connections:
            await connections.close()

    # --- serving ---

    def _record(self, request: CodecRequest, status: int | None, outcome: str) -> None:
        self.exchanges.append(Exchange(self._now(), request.method.decode("ascii", "replace"),
                                       request.path.decode("ascii", "replace"), status, outcome))

    def _note_push(self, kind: PushKind, outcome: str) -> None:
        self.pushes.append(Push(self._now(), kind, outcome))
        if outcome == "replaced":
            self._changed()

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()

    def _reply(self, request: CodecRequest, answer: Answer) -> None:
        self._record(request, answer.status, answer.outcome)
        send(request, answer)

    def _serve(self, request: CodecRequest) -> None:
        path = request.path.decode("ascii", "replace")
        fault = next((f.kind for f in self._faults if f.strikes(path)), None)
        if fault == "timeout":
            self._record(request, None, "never answered")
        elif fault == "reset":
            self._record(request, None, "reset")
            reset(request)
        elif fault == "503":
            self._reply(request, Answer(503, b"Service Unavailable\n", TEXT, outcome="fault"))
        elif request.too_big:
            self._reply(request, Answer(413, b"Request Entity Too Large\n", TEXT, outcome="too big"))
        else:
            self._admit(request, path, fault)

    def _admit(self, request: CodecRequest, path: str, fault: FaultKind | None) -> None:
        cookie = next((c for c in map(request.getCookie, SESSION_COOKIES) if c), None)
        caller = self.gate.admit(request.getHeader(b"authorization"), cookie)
        if caller is None:
            self._reply(request, self._login_failure())
            return

        def run() -> None:
            self._finish(request, self._handle(request, path, caller), fault)

        lane = self._lanes.get(caller.session is not None)
        if lane is None:
            run()
            return
        leave = lane.enter(run)
        if leave is None:
            self._reply(request, Answer(503, b"Too many requests\n", TEXT, outcome="over the rate limit"))
        elif not request.finished:
            request.notifyFinish().addErrback(lambda _: leave())

    def _login_failure(self) -> Answer:
        if self._switches.login_failure == "page":
            return Answer(200, SIGN_IN_PAGE, b"text/html; charset=utf-8", outcome="login refused")
        if self._switches.login_failure == "redirect":
            return Answer(302, headers=((b"location", b"/web/signin"),), outcome="login refused")
        return Answer(401, b"401 Unauthorized\n", TEXT, ((b"www-authenticate", b'Basic realm="CISCO-Endpoint"'),),
                      "locked" if self.gate.locked else "login refused")

    def _finish(self, request: CodecRequest, answer: Answer, fault: FaultKind | None) -> None:
        if fault == "lost":
            self._record(request, None, f"lost after {answer.outcome}")
            reset(request)
        elif fault == "truncated":
            body = answer.body[:len(answer.body) * 2 // 3]
            self._reply(request, Answer(answer.status, body, answer.content_type, answer.headers, "truncated"))
        elif fault == "empty":
            self._reply(request, Answer(200, outcome="empty"))
        elif fault == "slow":
            def late() -> None:
                self._slow.discard(call)
                self._reply(request, answer)

            def gone(_: Failure) -> None:
                if call.active():
                    call.cancel()
                self._slow.discard(call)

            call = self._clock.callLater(SLOW_S, late)
            self._slow.add(call)
            request.notifyFinish().addErrback(gone)
        else:
            self._reply(request, answer)

    def _handle(self, request: CodecRequest, path: str, caller: Caller) -> Answer:
        reading = {"/status.xml": self._status, "/command.xml": self._schema, "/getxml": self._getxml}
        writing = {"/putxml": self._putxml, "/formputxml": self._putxml, "/bookingsputxml": self._private}
        if path in reading:
            return reading[path](request) if request.method in (b"GET", b"HEAD") else _wrong_method(b"GET")
        if path in writing:
            return writing[path](request) if request.method == b"POST" else _wrong_method(b"POST")
        if path in ("/xmlapi/session/begin", "/xmlapi/session/end"):
            return self._session(request, path, caller) if request.method == b"POST" else _wrong_method(b"POST")
        return Answer(404, b"404 Not Found\n", TEXT, outcome="no such path")

    def _session(self, request: CodecRequest, path: str, caller: Caller) -> Answer:
        if not self.profile.sessions:
            return Answer(302, headers=((b"location", b"/web/signin"),), outcome="has no sessions")
        if path.endswith("/end"):
            ended = self.gate.end_session(caller.session)
            return Answer(204, outcome="session ended" if ended else "there was no session")
        session = self.gate.begin_session()
        if session is None:
            return Answer(503, b"Too many sessions\n", TEXT, outcome="too many sessions")
        if request.isSecure():  # type: ignore[no-untyped-call]
            cookie = b"SecureSessionId=" + session + b"; Path=/; secure; HttpOnly; SameSite=Strict"
        else:
            cookie = b"SessionId=" + session + b"; Path=/; HttpOnly; SameSite=Strict"
        return Answer(204, headers=((b"set-cookie", cookie),), outcome="session begun")

    def _status(self, _: CodecRequest) -> Answer:
        return Answer(200, document(status_document(self._store, self._now(), self.profile)))

    def _schema(self, _: CodecRequest) -> Answer:
        return Answer(200, document(command_document(self.profile)))

    def _getxml(self, request: CodecRequest) -> Answer:
        location = (request.args or {}).get(b"location", [b""])[0].decode("utf-8", "replace")
        for whole in (status_document(self._store, self._now(), self.profile), command_document(self.profile)):
            part = sub_document(whole, location)
            if part is not None:
                return Answer(200, document(part))
        nothing = (b"<EmptyResult/>" if self.profile.current_booking
                   else b"<Fault><XPathError>No match on XPath expression</XPathError></Fault>")
        return Answer(200, document(parse_xml(nothing)), outcome="no match")

    def _putxml(self, request: CodecRequest) -> Answer:
        body = ((request.args or {}).get(b"xmldoc", [b""])[0] if request.path == b"/formputxml"
                else _body(request))
        try:
            root = parse_xml(body)
        except Malformed as error:
            if self._switches.malformed == "action-error":
                return Answer(200, NO_ACTION, outcome=str(error))
            return Answer(400, b"400 Bad Request\n", TEXT, outcome=str(error))
        refusal = self._switches.role_refusal
        if refusal != "error" and self._role != "admin" and root.find("Bookings/Put") is not None:
            return self._role_refused("json", int(refusal))
        answer = self._commands.run(root)
        if answer is None:
            return Answer(200, NO_ACTION, outcome="no action")
        statuses = {child.get("status") for child in answer}
        return Answer(200, document(answer), outcome="ok" if statuses == {"OK"} else "error")

    def _role_refused(self, kind: PushKind, status: int) -> Answer:
        reason = f"the role {self._role} may not push"
        self._note_push(kind, reason)
        return Answer(status, f"{status}\n".encode(), TEXT, outcome=reason)

    def _private(self, request: CodecRequest) -> Answer:
        body = _body(request)
        if self._role in ("integrator", "roomcontrol"):
            refusal = self._switches.role_refusal
            return self._role_refused("xml", 403 if refusal == "error" else int(refusal))
        try:
            bookings = bookings_from_xml(body, self._limits)
        except Refused as refused:
            self._note_push("xml", str(refused))
            return Answer(400, b"400 Bad Request\n", TEXT, outcome=str(refused))
        self._store.replace(bookings, self._now())
        self._note_push("xml", "replaced")
        bodies = {"empty": b"", "success": b"<success/>", "echo": body}
        return Answer(200, bodies[self._switches.private_answer], outcome="replaced")


def _body(request: CodecRequest) -> bytes:
    content = request.content or BytesIO()
    content.seek(0)
    return content.read()


def _wrong_method(allowed: bytes) -> Answer:
    return Answer(405, b"405 Method Not Allowed\n", TEXT, ((b"allow", allowed),), "wrong method")
