"""A Graph that answers what a test says, over TLS; every request is held against the description of the API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from twisted.internet.threads import deferToThread

from otjd.gather.graph import GraphSource
from otjd.gather.graph_client import GraphClient
from otjd.gather.source import BudgetSpentError
from otjd.meetings.model import Window
from otjd.outbound.client import HttpClient
from otjd.protocol.graph_requests import GraphApi, GraphRequest
from otjd.protocol.timezones import read_date_time
from tests.outbound.servers import Certificates, reactor, web
from tests.protocol.graph_schema import validated

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
WINDOW = Window(NOW - timedelta(days=1), NOW + timedelta(days=7))
ROOM = "room@example.com"

Fault = tuple[int, dict[str, str], Any]
"""Status, headers and JSON of an answer."""


def error(status: int, code: str, message: str = "It is so.", **headers: str) -> Fault:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, named, {"error": {"code": code, "message": message}}


def calendar(events: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in events}


class Graph:
    """`rooms` holds events by room and id; `fault` may answer in their place; `asked` tells what was asked."""

    def __init__(self) -> None:
        self.rooms: dict[str, dict[str, dict[str, Any]]] = {ROOM: {}}
        self.fault: Callable[[str], Fault | None] = lambda _: None
        self.asked: list[str] = []
        self.tokens: list[str] = []
        self.running: list[int] = []
        self.most_schedules = 20
        self.changes = 0
        self.made = 0
        self.bodies: list[Any] = []
        self.base = ""

    def __call__(self, request: Any) -> bytes | None:
        url = self.base + request.uri.decode().removeprefix("/v1.0")
        headers = {name: request.getHeader(name) for name in ("Prefer", "Content-Type") if request.getHeader(name)}
        validated(GraphRequest(request.method.decode(), url, headers, request.body or None))
        self.tokens.append(request.getHeader("Authorization").removeprefix("Bearer "))
        arguments = dict(parse_qsl(urlsplit(url).query))
        path = urlsplit(url).path.removeprefix("/v1.0/").split("/")
        self.bodies.append(json.loads(request.body or b"null"))
        kind, answer = self._answered(request.method.decode(), path, arguments, self.bodies[-1])
        self.asked.append(kind)
        status, more, value = self.fault(kind) or answer
        request.setResponseCode(status)
        request.setHeader("Content-Type", "application/json")
        for name, text in more.items():
            request.setHeader(name, text)
        return value if isinstance(value, bytes) or value is None else json.dumps(value).encode()

    def _answered(self, method: str, path: list[str], arguments: dict[str, str], body: Any) -> tuple[str, Fault]:
        if path[0] == "subscriptions":
            return self._subscriptions(method, path, body)
        room = self.rooms.get(path[1])
        if path[-1] == "getSchedule":
            return f"schedules {path[1]} {len(body['schedules'])}", self._schedules(body)
        if path[-1] == "delta":
            self.changes, count = 0, self.changes
            link = f"{self.base}/users/{path[1]}/calendarView/delta?$deltatoken={len(self.asked)}"
            return f"delta {arguments.get('$deltatoken', '')}".strip(), (200, {}, {
                "value": [{"id": str(number)} for number in range(count)], "@odata.deltaLink": link})
        kind = "events" if "$expand" in arguments else "marks"
        if room is None:
            return kind, error(404, "ErrorInvalidUser")
        return kind, (200, {}, self._view(room, arguments))

    def _view(self, room: dict[str, dict[str, Any]], arguments: dict[str, str]) -> dict[str, Any]:
        window = Window(*(read_date_time(arguments[name]) for name in ("startDateTime", "endDateTime")))
        found = [one for one in room.values() if window.overlaps(
            *(read_date_time(one[name]["dateTime"]) for name in ("start", "end")))]
        skip, top = int(arguments.get("$skip", "0")), int(arguments["$top"])
        names = {*arguments["$select"].split(","), "@odata.etag", *(
            ["singleValueExtendedProperties"] if "$expand" in arguments else [])}
        page: dict[str, Any] = {"value": [{name: one[name] for name in one.keys() & names}
                                          for one in found[skip:skip + top]]}
        if skip + top < len(found):
            rest = "&".join(f"{name}={value}" for name, value in (arguments | {"$skip": str(skip + top)}).items())
            page["@odata.nextLink"] = f"{self.base}/users/{ROOM}/calendarView?{rest}".replace(" ", "%20")
        return page

    def _schedules(self, body: Any) -> Fault:
        if len(body["schedules"]) > self.most_schedules:
            return error(400, "ErrorInvalidParameter", "Too many schedules.")
        return 200, {}, {"value": [
            {"scheduleId": room, "availabilityView": "0", "scheduleItems": [
                {"status": one["showAs"], "start": one["start"], "end": one["end"], "subject": one["subject"]}
                for one in self.rooms[room].values()]} if room in self.rooms else
            {"scheduleId": room, "error": {"responseCode": "ErrorMailRecipientNotFound", "message": "No."}}
            for room in body["schedules"]]}

    def _subscriptions(self, method: str, path: list[str], body: Any) -> tuple[str, Fault]:
        if method == "DELETE":
            return f"unsubscribe {path[1]}", (204, {}, b"")
        if method == "POST":
            self.made += 1
        number = f"s{self.made}" if method == "POST" else path[1]
        kind = f"subscribe {body['resource'].split('/')[2]}" if method == "POST" else f"renew {number}"
        return kind, (201, {}, {"id": number, "expirationDateTime": body["expirationDateTime"]})


class Tokens:
    """Tokens t1, t2, ...: another one each time it is forgotten."""

    def __init__(self) -> None:
        self.number = 1

    async def token(self) -> str:
        return f"t{self.number}"

    def forget(self) -> None:
        self.number += 1


class World:
    """A Graph and what asks it."""

    def __init__(self, graph: Graph, http: HttpClient, domain: str) -> None:
        self.graph = graph
        self.tokens = Tokens()
        self.spent = 0
        self.allowed = 10_000
        self.api = GraphApi(domain)
        self.client = GraphClient(http, self.tokens, self.spend, "1234-client")
        self.source = GraphSource(self.client, self.api, integration="m365", in_thread=deferToThread)

    def spend(self, requests: int) -> None:
        if self.spent + requests > self.allowed:
            raise BudgetSpentError("spent")
        self.spent += requests

    def asked(self) -> list[str]:
        """What was asked since the last question."""
        found, self.graph.asked = self.graph.asked, []
        return found


@asynccontextmanager
async def world(certificates: Certificates) -> AsyncIterator[World]:
    graph = Graph()
    http = HttpClient(reactor, ca_file=certificates.ca_file)
    async with web(graph, certificates.options()) as (_, port):
        graph.base = f"https://localhost:{port}/v1.0"
        try:
            yield World(graph, http, f"localhost:{port}")
        finally:
            await http.close()
