"""A real node before simulated calendar systems, with something between them that spoils what is said."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, eventAsText, globalLogPublisher
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface import implementer

from otjd.config.loader import load
from otjd.meetings.cache import Freshness
from otjd.node import Node
from otjd.operate.board import IntegrationStatus
from otjd.outbound.client import Answer, HttpClient, RequestError
from otjd.seam import deferred
from otjd.simulate.calendars import Calendars
from otjd.simulate.certificates import Certificates
from otjd.simulate.codec_http import Connections
from otjd.simulate.exchange import ExchangeServer
from otjd.simulate.exchange_settings import ExchangeSettings, ServiceAccount
from otjd.simulate.google import GoogleServer
from otjd.simulate.google_settings import GoogleSettings, make_service_account
from otjd.simulate.google_settings import ServiceAccount as GoogleAccount
from otjd.simulate.graph import GraphServer
from otjd.simulate.graph_settings import GraphApp, GraphSettings
from tests.end_to_end.world import World
from tests.outbound.servers import Clocked, reactor

SOON, LATER, TOMORROW = ROOMS = ("soon@example.com", "later@example.com", "tomorrow@example.com")
"""In order of their next meeting."""

STARTS = {SOON: timedelta(hours=3), LATER: timedelta(hours=8), TOMORROW: timedelta(hours=20)}
PASSWORD, CLIENT_SECRET = "right-p4ssword", "s3cret~value"
GRAPH_APP = GraphApp("11111111-2222-3333-4444-555555555555", CLIENT_SECRET)
_BEARER = re.compile(rb"Bearer (\S{8,})")

Fault = Callable[[Any, Answer], None]
"""Answers a request, which is given with its true answer."""


class System(Protocol):
    """A simulated calendar system."""

    port: int

    def configuration(self, port: int, ca_file: Path) -> str:
        """The integration `cloud`, which is asked at this port."""

    def revoke(self) -> None:
        """Let no access token count any more."""

    async def close(self) -> None:
        """End."""


class Exchange:
    def __init__(self, world: World, calendars: Calendars, clocked: Any) -> None:
        account = ServiceAccount("svc-otj@example.com", PASSWORD, frozenset(ROOMS))
        self.server = ExchangeServer(calendars, ExchangeSettings(accounts=(account,)), clock=clocked)
        self.port = self.server.listen(reactor, world.certificates.certificate, world.certificates.private_key)

    def configuration(self, port: int, ca_file: Path) -> str:
        return f"""
[[exchange_integrations]]
name = "cloud"
service_account_username = "svc-otj@example.com"
service_account_password = "{PASSWORD}"
ews_url = "https://localhost:{port}/EWS/Exchange.asmx"
find_items_request_quota = 60000
ca_file = "{ca_file}"
"""

    def revoke(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        await self.server.stop()


class Graph:
    def __init__(self, world: World, calendars: Calendars, clocked: Any) -> None:
        self.server = GraphServer(calendars, reactor=clocked, settings=GraphSettings(apps=(GRAPH_APP,)))
        self.port = self.server.listen(world.certificates.certificate, world.certificates.private_key)

    def configuration(self, port: int, ca_file: Path) -> str:
        return f"""
[[graph_integrations]]
name = "cloud"
client_id = "{GRAPH_APP.client_id}"
client_secret = "{CLIENT_SECRET}"
oauth_token_url = "https://localhost:{port}/contoso.onmicrosoft.com/oauth2/v2.0/token"
graph_api_domain = "localhost:{port}"
request_quota = 60000
ca_file = "{ca_file}"
"""

    def revoke(self) -> None:
        self.server.tokens.revoke_all()

    async def close(self) -> None:
        await self.server.stop()


@cache
def _service_account() -> tuple[GoogleAccount, str]:
    return make_service_account("otjd@project.iam.gserviceaccount.com")


class Google:
    def __init__(self, world: World, calendars: Calendars, clocked: Any) -> None:
        account, key_file = _service_account()
        self.key_file = world.directory / "google.key"
        self.key_file.write_text(key_file)
        self.key_file.chmod(0o600)
        self.server = GoogleServer(calendars, reactor=clocked,
                                   settings=GoogleSettings(service_accounts=(account,)))
        self.port = self.server.listen(world.certificates.certificate, world.certificates.private_key)

    def configuration(self, port: int, ca_file: Path) -> str:
        self.server.api.sign_in.audiences.add(f"https://localhost:{port}/token")
        return f"""
[[google_integrations]]
name = "cloud"
private_key = {{ file = "{self.key_file}" }}
token_endpoint = "https://localhost:{port}/token"
api_url = "https://localhost:{port}/calendar/v3"
maximum_number_of_api_requests = 60000
ca_file = "{ca_file}"
"""

    def revoke(self) -> None:
        self.server.api.sign_in.expire_tokens()

    async def close(self) -> None:
        await self.server.stop()


SYSTEMS: dict[str, Callable[[World, Calendars, Any], System]] = {
    "exchange": Exchange, "graph": Graph, "google": Google}


class Between(Resource):
    """What the node takes for the calendar system: passes everything on, but for what a fault strikes.

    `counted` are the requests that a budget has to count; `read` the rooms in the order in which they were read;
    `tokens` what must not be in the log.
    """

    def __init__(self, http: HttpClient, port: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.isLeaf = True
        self.fault: Fault | None = None
        self.of_room = ""
        self.strikes_tokens = False
        self.under_way = 0
        self.counted = 0
        self.struck = 0
        self.read: list[str] = []
        self.tokens: set[bytes] = set()
        self._http = http
        self._port = port
        self._streams: set[Deferred[Any]] = set()

    def strike(self, fault: Fault, *, room: str = "", tokens: bool = False) -> None:
        """Have a fault from now on, of one room or of all; streams that are open break off."""
        self.fault, self.of_room, self.strikes_tokens, self.struck = fault, room, tokens, 0
        self.drop_streams()

    def heal(self) -> None:
        self.fault = None
        self.read.clear()

    def drop_streams(self) -> None:
        for one in tuple(self._streams):
            one.cancel()

    def render(self, request: Any) -> int:
        deferred(self._serve(request)).addErrback(self._lost, request)
        return NOT_DONE_YET

    def _lost(self, failure: Any, request: Any) -> None:
        failure.trap(RequestError, CancelledError)
        if request.channel is not None:
            request.channel.transport.abortConnection()

    async def _serve(self, request: Any) -> None:
        body = request.content.read()
        url = f"https://localhost:{self._port}{request.uri.decode()}"
        headers = {name.decode(): values[0].decode() for name, values in request.requestHeaders.getAllRawHeaders()
                   if name.lower() in {b"authorization", b"content-type", b"prefer", b"host", b"x-anchormailbox"}}
        self.tokens.update(_BEARER.findall(headers.get("Authorization", "").encode()))
        text = f"{unquote(request.uri.decode())} {body.decode('latin-1')}".lower()
        rooms = [room for room in ROOMS if room in text]
        is_token = request.path.endswith(b"/token")
        self.counted += not is_token
        strikes = (self.fault is not None and is_token is self.strikes_tokens
                   and (not self.of_room or rooms == [self.of_room]))
        if b"GetStreamingEvents" in body:
            if strikes and self.fault is not None:  # the true answer would never end
                self.fault(request, Answer(200, b"<Envelope><Header/></Envelope>", {"content-type": "text/xml"}))
            else:
                await self._stream(request, url, headers, body)
            return
        self.under_way += 1
        try:
            answer = await self._http.request(request.method.decode(), url, headers=headers, body=body or None,
                                              repeatable=True)
        finally:
            self.under_way -= 1
        if strikes and self.fault is not None:
            self.struck += 1
            self.fault(request, answer)
            return
        if len(rooms) == 1 and rooms[0] not in self.read and (request.method == b"GET" or b"FindItem" in body):
            self.read.append(rooms[0])
        send(request, answer)

    async def _stream(self, request: Any, url: str, headers: dict[str, str], body: bytes) -> None:
        def begun(head: Answer) -> None:
            request.setResponseCode(head.status)
            request.setHeader("content-type", head.headers.get("content-type", ""))

        running = deferred(self._http.stream("POST", url, headers=headers, body=body, received=request.write,
                                             idle_s=3600.0, started=begun))
        self._streams.add(running)
        request.notifyFinish().addErrback(lambda _: running.cancel())
        try:
            await running
        finally:
            self._streams.discard(running)
        request.finish()


def head(request: Any, status: int, headers: dict[str, str], length: int) -> None:
    """The head of an answer."""
    request.setResponseCode(status)
    for name, value in headers.items():
        request.setHeader(name, value)
    request.setHeader("content-length", str(length))


def send(request: Any, answer: Answer) -> None:
    """An answer as it should be, unless the client has gone."""
    if request._disconnected:
        return
    kept = {name: value for name, value in answer.headers.items()
            if name in {"content-type", "retry-after", "location", "preference-applied", "www-authenticate"}}
    head(request, answer.status, kept, len(answer.body))
    request.write(answer.body)
    request.finish()


@implementer(ILogObserver)
class Log:
    """What was logged."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        self.events.append(event)

CALM_TURNS = 12
"""Turns of the reactor in which nothing happens: a connection and its handshake take fewer."""


class FaultWorld:
    """The node, what it reads through `between`, and the time of both. Every room has one meeting, which `change`
    gives another subject."""

    def __init__(self, system: str, directory: Path) -> None:
        self.files = World(directory)
        self.files.operator_port = 0
        self._start = datetime.now(UTC).replace(microsecond=0)
        self.clocked: Any = Clocked()
        self.calendars = Calendars(self.now)
        self.bookings: dict[str, str] = {}
        for room in ROOMS:
            self.calendars.add_room(room)
            at = self._start + STARTS[room]
            self.bookings[room] = self.calendars.book(room, at, at + timedelta(hours=1), subject="As it was").id
            self.files.poly(room, room, room.partition("@")[0])
        self.system = SYSTEMS[system](self.files, self.calendars, self.clocked)
        self._http = HttpClient(reactor, ca_file=self.files.certificates.ca_certificate, connections_per_host=50)
        self.between = Between(self._http, self.system.port)
        site = Site(self.between)  # type: ignore[no-untyped-call]
        site.noisy = False
        self._connections = Connections(site)
        self._listening: Any = None
        self.port = 0
        self.log = Log()
        self.proxy = ""
        self.turn_s = 0.0
        self.node: Node

    def now(self) -> datetime:
        """The time of day."""
        return self._start + timedelta(seconds=self.clocked.seconds())

    def listen(self, certificates: Certificates | None = None) -> None:
        """Stand between the two from now on, at the same port each time."""
        paths = certificates or self.files.certificates
        pem = paths.certificate.read_bytes() + paths.private_key.read_bytes()
        options = PrivateCertificate.loadPEM(pem).options()  # type: ignore[no-untyped-call]
        self._listening = reactor.listenSSL(self.port, self._connections, options, interface="127.0.0.1")
        self.port = self._listening.getHost().port

    async def vanish(self) -> None:
        """Nobody listens, and what was open is closed."""
        self.between.drop_streams()
        await self._listening.stopListening()
        await self._connections.close()
        await self.settled()

    def change(self, subject: str) -> None:
        """Give every meeting this subject."""
        for room, booking in self.bookings.items():
            self.calendars.change(room, booking, subject=subject)

    def shown(self, room: str) -> tuple[list[str], Freshness]:
        """What an endpoint in this room is shown."""
        (agenda,) = [a for a in self.node.cache.agendas() if a.room.email == room]
        return [m.subject for m in agenda.meetings], agenda.freshness

    def show(self, subject: str, rooms: tuple[str, ...] = ROOMS) -> bool:
        """Whether these rooms show this, freshly read."""
        return all(self.shown(room) == ([subject], Freshness.FRESH) for room in rooms)

    def alarms(self) -> dict[str, str]:
        """The details of all alarms that are not about endpoints, by instance."""
        return {a.instance: a.details for a in self.node.board.alarms() if "endpoint" not in a.name}

    @property
    def cloud(self) -> IntegrationStatus:
        (found,) = [i for i in self.node.board.integrations() if i.name == "cloud"]
        return found

    async def settled(self) -> None:
        """Wait until nothing happens any more without time passing."""
        calm = 0
        while calm < CALM_TURNS:
            team = reactor.getThreadPool()._team.statistics()
            threads = team.busyWorkerCount + team.backloggedWorkCount
            # a thread gets on only while the reactor sleeps
            await deferLater(reactor, max(self.turn_s, 0.001 if threads else 0.0))
            calm = 0 if self.between.under_way or threads else calm + 1

    async def until(self, holds: Callable[[], object], within_s: float, what: str, *, step_s: float = 1.0) -> None:
        """Let time pass until something holds."""
        for _ in range(int(within_s / step_s) + 1):
            await self.settled()
            if holds():
                return
            self.clocked.clock.advance(step_s)
        raise AssertionError(f"not within {within_s:g} s: {what}; {[self.shown(r) for r in ROOMS]} "
                             f"{self.alarms()} {self.cloud}")

    async def past(self, time_s: float, *, step_s: float = 5.0) -> None:
        """Let time pass."""
        for _ in range(int(time_s / step_s)):
            await self.settled()
            self.clocked.clock.advance(step_s)

    def told(self) -> str:
        """The whole log."""
        return "\n".join(eventAsText(event) for event in self.log.events)


@asynccontextmanager
async def facing(system: str, directory: Path, *, proxy: str = "",
                 began: Callable[[FaultWorld], object] = id) -> AsyncIterator[FaultWorld]:
    """A node that has read all rooms; `began` is called before it starts.

    At the end it must have counted every request and told no secret.
    """
    world = FaultWorld(system, directory)
    globalLogPublisher.addObserver(world.log)
    world.listen()
    began(world)
    files = world.files
    files.extra = world.system.configuration(world.port, files.certificates.ca_certificate)
    if proxy:
        world.turn_s = 0.001  # a tunnel takes more turns than can be told
        files.extra += f'\n[web_proxy]\nurl = "{proxy}"\n'
    files.write_config()
    files.config.write_text(files.config.read_text().replace('integration = "files"', 'integration = "cloud"'))
    world.node = Node(load(files.config, environ={}).or_raise(), world.clocked, world.now)
    world.node.listen()
    await world.node.start()
    try:
        await world.until(lambda: world.show("As it was"), 60, "the first reading")
        yield world
        await world.settled()
        assert world.between.counted <= world.cloud.requests_last_24h <= 60_000
        told = world.told()
        secrets = {PASSWORD, CLIENT_SECRET, *(token.decode() for token in world.between.tokens)}
        assert not [secret for secret in secrets if secret in told]
        assert "Traceback" not in told
    finally:
        stopping = deferred(world.node.stop())
        while not stopping.called:
            await world.settled()
            world.clocked.clock.advance(1.0)
        await stopping
        await world.vanish()
        await world._http.close()
        await world.system.close()
        globalLogPublisher.removeObserver(world.log)
