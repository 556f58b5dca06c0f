"""A room, its cache and board, a pusher over real loopback sockets, and time that flows as fast as the network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import Clock, deferLater
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from otjd.meetings.cache import MeetingCache
from otjd.meetings.model import EndpointType, Meeting, Organizer, Room
from otjd.operate.board import Alarm, EndpointFacts, EndpointState, StatusBoard
from otjd.push.cisco import CiscoEndpoint
from otjd.push.pusher import CiscoPusher
from otjd.push.transport import codec_agent
from otjd.simulate.codec import Codec
from tests.outbound.servers import PATIENCE, reactor, until

__all__ = ["BOARDROOM", "PASSWORD", "T0", "ScriptedCodec", "Seen", "World", "meeting", "reactor", "until", "world"]

T0 = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
BOARDROOM = Room("boardroom@example.com", "default")
PASSWORD = "codec-secret"
STEP_S = 0.05


def meeting(number: int, **changes: Any) -> Meeting:
    """The meeting of the `number`th hour from T0 on."""
    start = T0 + timedelta(hours=number)
    values: dict[str, Any] = {
        "id": f"m{number}", "uid": f"m{number}", "start_time": start, "end_time": start + timedelta(minutes=45),
        "subject": f"Meeting {number}", "organizer": Organizer("Ada Berg", "ada@example.com"),
        "alias": f"room{number}@video.example.com"}
    return Meeting(**{**values, **changes})


@dataclass
class World:
    """`trust_root` takes the place of the machine's where TLS is verified."""

    clock: Clock = field(default_factory=Clock)
    trust_root: Any = None
    limit: int = 64
    codecs: list[Codec] = field(default_factory=list)
    ports: list[IListeningPort] = field(default_factory=list)
    endpoints: dict[str, CiscoEndpoint] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cache = MeetingCache()
        self.board = StatusBoard(self.now)
        self.pusher = CiscoPusher(
            self.cache, self.board, clock=self.clock, now=self.now, jitter=lambda: 0.0, limit=self.limit,
            agent_for=lambda e: codec_agent(reactor, e.host, verify=e.verify, trust_root=self.trust_root))

    def now(self) -> datetime:
        return T0 + timedelta(seconds=self.clock.seconds())

    def codec(self, profile: str, name: str = "Studio", *, room: Room = BOARDROOM, **options: Any) -> Codec:
        """A simulated codec on plain HTTP, and an endpoint for it."""
        codec = Codec(profile, password=PASSWORD, now=self.now, clock=self.clock, **options)
        self.codecs.append(codec)
        self.endpoint(codec.listen_http(reactor), name, room=room)
        return codec

    def endpoint(self, port: int, name: str = "Studio", **changes: Any) -> CiscoEndpoint:
        values: dict[str, Any] = {
            "name": name, "room": BOARDROOM, "host": "127.0.0.1", "port": port, "username": "admin",
            "password": PASSWORD, "use_https": False, "verify": False, "start_buffer": timedelta(minutes=5)}
        self.endpoints[name] = CiscoEndpoint(**{**values, **changes})
        return self.endpoints[name]

    def listen(self, factory: Any) -> int:
        """Serve a protocol of the test's own; returns the port."""
        self.ports.append(reactor.listenTCP(0, factory, interface="127.0.0.1"))
        return int(self.ports[-1].getHost().port)  # type: ignore[attr-defined]

    def configure(self) -> None:
        """Let endpoints, rooms and board be what `endpoints` says."""
        found = self.endpoints.values()
        self.cache.configure({e.room: timedelta(days=7) for e in found})
        self.board.configure([EndpointFacts(e.name, EndpointType.CISCO, e.room.email, e.room.profile)
                              for e in found], [])
        self.pusher.configure(found)

    def start(self) -> None:
        self.configure()
        self.pusher.start()

    def book(self, *meetings: Meeting, room: Room = BOARDROOM) -> None:
        """The calendar was read, and holds this."""
        self.cache.replace(room, meetings, self.now())

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        return self.board.alarms()

    def state(self, name: str = "Studio") -> EndpointState:
        return next(s for s in self.board.endpoints() if s.facts.name == name)

    async def until(self, holds: Callable[[], object], what: str = "", *, step_s: float = STEP_S) -> None:
        """Let time and network go on, a little at a time, until something holds."""
        for _ in range(PATIENCE):
            if holds():
                return
            self.clock.advance(step_s)
            await deferLater(reactor, 0.001)
        raise AssertionError(f"waited in vain {what}; alarms: {self.alarms}")

    async def flow(self, seconds: float, *, step_s: float = 1.0) -> None:
        """Let time pass."""
        end = self.clock.seconds() + seconds
        while (left := end - self.clock.seconds()) > 1e-6:
            self.clock.advance(min(step_s, left))
            await deferLater(reactor, 0)

    async def end(self) -> None:
        await self.pusher.stop()
        for codec in self.codecs:
            await codec.stop()
        for port in self.ports:
            await maybeDeferred(port.stopListening)
        await deferLater(reactor, 0.01)  # connections that were dropped say so


@asynccontextmanager
async def world(**options: Any) -> AsyncIterator[World]:
    """A world that ends with its test, leaving nothing behind."""
    made = World(**options)
    try:
        yield made
    finally:
        await made.end()
        assert made.clock.getDelayedCalls() == []


@dataclass
class Seen:
    """A request as the scripted codec got it."""

    method: str
    uri: str
    headers: dict[str, str]
    body: bytes


class ScriptedCodec(Resource):
    """A codec whose every answer the test writes: by path, (status, body, headers); None never answers."""

    def __init__(self, answers: dict[str, Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.isLeaf = True
        self.answers = answers
        self.seen: list[Seen] = []
        self.open: list[Any] = []

    @property
    def paths(self) -> list[str]:
        return [s.uri.split("?")[0] for s in self.seen]

    def site(self) -> Site:
        site = Site(self)  # type: ignore[no-untyped-call]
        site.noisy = False
        return site

    def render(self, request: Any) -> Any:
        headers = {k.decode().lower(): v[-1].decode() for k, v in request.requestHeaders.getAllRawHeaders()}
        self.seen.append(Seen(request.method.decode(), request.uri.decode(), headers, request.content.read()))
        answer = self.answers.get(request.path.decode(), (404, b""))
        if callable(answer):
            answer = answer(self.seen[-1])
        if answer is None:
            self.open.append(request)
            return NOT_DONE_YET
        status, body, *more = answer
        request.setResponseCode(status)
        for name, value in (more[0] if more else {}).items():
            request.setHeader(name, value)
        return body
