"""A simulated Graph on a port of loopback, with the clocks in hand."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import treq
from twisted.internet import reactor as global_reactor
from twisted.internet.task import Clock, deferLater
from twisted.web.client import Agent, HTTPConnectionPool

from otjd.simulate.calendars import Calendars
from otjd.simulate.graph import GraphServer
from otjd.simulate.graph_settings import GraphApp, GraphSettings

reactor: Any = global_reactor
NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
ROOM = "boardroom@example.com"
APP = GraphApp("11111111-2222-3333-4444-555555555555", "s3cret~value")
FORM = {"grant_type": "client_credentials", "client_id": APP.client_id, "client_secret": APP.client_secret,
        "scope": "https://graph.microsoft.com/.default"}
DAY = {"startDateTime": "2026-03-02T00:00:00Z", "endDateTime": "2026-03-03T00:00:00Z"}
WEEK = {"startDateTime": "2026-03-02T00:00:00Z", "endDateTime": "2026-03-09T00:00:00Z"}


class Hands:
    """The reactor, but its time is in our hands."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.callLater = self.clock.callLater
        self.seconds = self.clock.seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])

    def header(self, name: str) -> str:
        return str(self.headers.getRawHeaders(name, [""])[0])


class World:
    """A Graph and how to talk to it."""

    def __init__(self, server: GraphServer, calendars: Calendars, hands: Hands, now: list[datetime],
                 url: str) -> None:
        self.server = server
        self.calendars = calendars
        self.hands = hands
        self.url = url
        self.token = ""
        self._now = now
        self._pool = HTTPConnectionPool(reactor, persistent=False)  # type: ignore[no-untyped-call]
        self._agent = Agent(reactor, pool=self._pool)  # type: ignore[no-untyped-call]

    def pass_time(self, seconds: float) -> None:
        """Let time pass on all clocks."""
        self._now[0] += timedelta(seconds=seconds)
        self.hands.clock.advance(seconds)

    async def ask(self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None,
                  token: str | None = None) -> Reply:
        """A request with a token, and its answer; `path` is relative to the version, or a whole link."""
        token = self.token if token is None else token
        given = {**({"Authorization": f"Bearer {token}"} if token else {}),
                 **({"Content-Type": "application/json"} if body is not None else {}), **(headers or {})}
        url = path if path.startswith("http") else f"{self.url}/v1.0{path}"
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        response = await treq.request(method, url, headers=given, data=data, agent=self._agent,
                                      allow_redirects=False)
        return Reply(response.code, response.headers, await response.content())

    async def view(self, query: Mapping[str, str] | None = None, *, room: str = ROOM,
                   prefer: str = "", what: str = "calendarView") -> Reply:
        wanted = urlencode(WEEK if query is None else query, quote_via=quote)
        return await self.ask("GET", f"/users/{quote(room)}/{what}?{wanted}",
                              headers={"Prefer": prefer} if prefer else None)

    async def form(self, path: str = "/contoso.onmicrosoft.com/oauth2/v2.0/token", **changes: str | None) -> Reply:
        """A request for a token; a change to None takes the field out."""
        data = {name: value for name, value in {**FORM, **changes}.items() if value is not None}
        response = await treq.post(self.url + path, data=data, agent=self._agent)
        return Reply(response.code, response.headers, await response.content())

    async def close(self) -> None:
        await self._pool.closeCachedConnections()  # type: ignore[no-untyped-call]
        await self.server.stop()
        await deferLater(reactor, 0.01)  # let the client's side of closed connections end


@asynccontextmanager
async def world(**changes: Any) -> AsyncIterator[World]:
    hands, now = Hands(), [NOW]
    calendars = Calendars(lambda: now[0])
    calendars.add_room(ROOM)
    server = GraphServer(calendars, reactor=hands, settings=GraphSettings(**{"apps": (APP,), **changes}))
    made = World(server, calendars, hands, now, f"http://127.0.0.1:{server.listen_http()}")
    try:
        given = server.tokens.token(server.settings.tenant, urlencode(FORM).encode(), "")
        made.token = json.loads(given.body)["access_token"]
        yield made
    finally:
        await made.close()


async def until(condition: Any) -> None:
    """Wait until it holds."""
    while not condition():
        await deferLater(reactor, 0.005)
