"""A Google that answers as a test says, over TLS on loopback, and a source that asks it.

Every request is held against Google's description of its API.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from otjd.gather.google import GoogleSource
from otjd.meetings.model import Window
from otjd.outbound.client import HttpClient
from tests.outbound.servers import Certificates, Clocked, reactor, web
from tests.protocol.google_discovery import check_request

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
WINDOW = Window(NOON - timedelta(days=1), NOON + timedelta(days=7))
ROOM = "board@resource.calendar.google.com"
ACCOUNT = "otj@project.iam.gserviceaccount.com"
HOOK = "https://otj.example.com/notifications/workspace"


def event(number: int, **changes: Any) -> dict[str, Any]:
    start = NOON + timedelta(hours=number)
    times = {name: {"dateTime": at.isoformat()} for name, at in (
        ("start", start), ("end", start + timedelta(minutes=30)))}
    return {"id": f"e{number}", "etag": f'"{number}"', "iCalUID": f"e{number}@google.com", "summary": str(number),
            "status": "confirmed", **times, **changes}


def error(status: int, reason: str) -> tuple[int, Any]:
    return status, {"error": {"code": status, "message": "It is so.", "errors": [{"reason": reason}]}}


@dataclass
class Tokens:
    """Tokens t1, t2, ...: the next one whenever the last was refused."""

    number: int = 1

    async def token(self) -> str:
        return f"t{self.number}"

    def forget(self) -> None:
        self.number += 1


@dataclass
class Asked:
    """A request that came: the method of the API, its parameters, its body, and its token."""

    method: str
    given: dict[str, str]
    body: Any
    token: str


@dataclass
class World:
    """What Google holds: `events` of every room, in pages of `page_size`, and `faults` that go before.

    `answer`, where it is set, answers in place of all that.
    """

    clock: Clock
    events: list[dict[str, Any]] = field(default_factory=list)
    role: str = "writer"
    page_size: int = 1000
    changes: list[dict[str, Any]] = field(default_factory=list)
    syncs: int = 0
    faults: list[tuple[int, Any]] = field(default_factory=list)
    answer: Callable[[Asked], tuple[int, Any]] | None = None
    asked: list[Asked] = field(default_factory=list)
    spent: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    source: Any = None

    def __call__(self, request: Any) -> bytes:
        method, given = check_request(request.method.decode(), request.uri.decode(), request.body or None)
        token = (request.getHeader("authorization") or "").removeprefix("Bearer ")
        asked = Asked(method, given, json.loads(request.body) if request.body else None, token)
        self.asked.append(asked)
        status, answer = (self.faults.pop(0) if self.faults else
                          (self.answer or self._as_google)(asked))
        request.setResponseCode(status)
        request.setHeader("Content-Type", "application/json; charset=UTF-8")
        for name, value in self.headers.items():
            request.setHeader(name, value)
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode() if answer is not None else b""

    def _as_google(self, asked: Asked) -> tuple[int, Any]:
        given = asked.given
        match asked.method:
            case "calendar.freebusy.query":
                return 200, {"calendars": {one["id"]: {"busy": []} for one in asked.body["items"]}}
            case "calendar.events.watch":
                ends = str(int((NOON + timedelta(days=7)).timestamp() * 1000))
                return 200, {"id": asked.body["id"], "resourceId": "res", "expiration": ends}
            case "calendar.channels.stop":
                return 204, None
        if "singleEvents" not in given:
            items = self.changes if "syncToken" in given else self.events
            self.changes, self.syncs = [], self.syncs + 1
            return 200, {"accessRole": self.role, "timeZone": "UTC", "items": items,
                         "nextSyncToken": f"sync{self.syncs}"}
        first, size = int(given.get("pageToken", "0")), min(self.page_size, int(given["maxResults"]))
        more = {"nextPageToken": str(first + size)} if first + size < len(self.events) else {}
        return 200, {"accessRole": self.role, "timeZone": "UTC", "items": self.events[first:first + size], **more}

    @property
    def methods(self) -> list[str]:
        """What lists of events were asked for since the last look."""
        found = ["whole" if "singleEvents" in one.given else "changes" if "syncToken" in one.given else "first"
                 for one in self.asked]
        self.asked.clear()
        return found

    async def patiently(self, work: Any) -> Any:
        """What `work` comes to, letting the time pass that it waits for."""
        from otjd.seam import deferred
        from tests.outbound.servers import until
        done = deferred(work)

        def is_done() -> bool:
            self.clock.advance(0.5)
            return bool(done.called)

        await until(is_done)
        return await done


@asynccontextmanager
async def google(certificates: Certificates, *, notification_url: str = "",
                 tokens: Any = None) -> AsyncIterator[World]:
    clocked = Clocked()
    world = World(clocked.clock)
    http = HttpClient(reactor, ca_file=certificates.ca_file)
    async with web(world, certificates.options()) as (_, port):
        world.source = GoogleSource(
            integration="workspace", http=http, tokens=tokens or Tokens(), spend=world.spent.append,
            api_url=f"https://localhost:{port}/calendar/v3", clock=clocked.clock, in_thread=deferToThread,
            now=lambda: NOON + timedelta(seconds=clocked.clock.seconds()), jitter=lambda: 0.0, account=ACCOUNT,
            notification_url=notification_url)
        try:
            yield world
        finally:
            await world.source.stop()
            await http.close()
