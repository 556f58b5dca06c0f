"""Every request of the Google and Graph sources, held by Prism against what Google and Microsoft publish.

Prism answers 422 to what violates the description, 404 to paths that it does not have, 401 to what has no token.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from twisted.internet.threads import deferToThread

from otjd.gather.google import GoogleSource
from otjd.gather.graph import GraphSource
from otjd.gather.graph_client import GraphClient
from otjd.meetings.model import Window
from otjd.outbound.client import Answer, HttpClient
from otjd.protocol import google_calendar
from otjd.protocol.graph_requests import GraphApi, GraphRequest
from tests.end_to_end.world import free_port
from tests.gather.graph_world import Tokens
from tests.interop import descriptions
from tests.interop.servers import node, started, tls_before
from tests.outbound.servers import Certificates, reactor

START = datetime(2026, 11, 23, 9, tzinfo=UTC)
WINDOW = Window(START - timedelta(days=1), START + timedelta(days=7))
ROOM = "board+1@example.com"
NOTIFICATIONS = "https://otj.example.com/notifications/cloud"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prism")


def prism(document: Path, *options: str) -> Iterator[int]:
    port = free_port()
    command = [*node("@stoplight/prism-cli", "dist/index.js"), "mock", "-h", "127.0.0.1", "-p", str(port)]
    with started([*command, *options, str(document)], port, log=document.with_suffix(".log")):
        yield port


@pytest.fixture(scope="module")
def graph_port(directory: Path) -> Iterator[int]:
    yield from prism(descriptions.graph(directory / "graph.json"))


@pytest.fixture(scope="module")
def google_port(directory: Path) -> Iterator[int]:
    yield from prism(descriptions.google(directory / "google.json"), "-d", "--seed", "otjd")


class Asking:
    """Sends requests to a Prism over TLS, with a token and our own HTTP."""

    def __init__(self, http: HttpClient, port: int) -> None:
        self.http = http
        self.domain = f"localhost:{port}"
        self.api_url = f"https://{self.domain}/calendar/v3"

    async def ask(self, method: str, url: str, body: bytes | None = None, **headers: str) -> Answer:
        kind = {"Content-Type": "application/json"} if body is not None else {}
        return await self.http.request(method, url, body=body,
                                       headers={"Authorization": "Bearer token", **kind, **headers})


@asynccontextmanager
async def asking(port: int, certificates: Certificates) -> AsyncIterator[Asking]:
    http = HttpClient(reactor, ca_file=certificates.ca_file)
    async with tls_before(port, certificates) as front:
        try:
            yield Asking(http, front)
        finally:
            await http.close()


GRAPH: dict[str, Callable[[GraphApi], GraphRequest]] = {
    "marks": lambda api: api.marks(ROOM, WINDOW),
    "events": lambda api: api.events(ROOM, WINDOW),
    "delta": lambda api: api.delta(ROOM, WINDOW),
    "follow": lambda api: api.follow(f"{api.marks(ROOM, WINDOW).url}&$skip=500", api.marks(ROOM, WINDOW)),
    "resume": lambda api: api.resume(f"{api.base}/users/{ROOM}/calendarView/delta?$deltatoken=R0usmcCM996atia_s"),
    "schedules": lambda api: api.schedules(ROOM, [ROOM, "lobby@example.com"], WINDOW),
    "subscribe": lambda api: api.subscribe(ROOM, NOTIFICATIONS, "state", START),
    "renew": lambda api: api.renew("7f105c7d-2dc5-4530-97cd-4e7ae6534c07", START),
    "unsubscribe": lambda api: api.unsubscribe("7f105c7d-2dc5-4530-97cd-4e7ae6534c07"),
}


def test_every_request_to_graph_is_tried() -> None:
    assert {name for name, _ in inspect.getmembers(GraphApi, inspect.isfunction) if name[0] != "_"} == {*GRAPH}


@pytest.mark.parametrize("kind", GRAPH)
async def test_a_request_to_graph_is_as_microsoft_describes_it(graph_port: int, certificates: Certificates,
                                                               kind: str) -> None:
    async with asking(graph_port, certificates) as prism:
        request = GRAPH[kind](GraphApi(prism.domain))
        answer = await prism.ask(request.method, request.url, request.body, **request.headers)
        assert answer.status in (200, 201, 204), answer.body


@pytest.mark.parametrize(("kind", "right", "wrong"), [
    ("marks", "startDateTime=", "start="), ("marks", "$top=500", "$top=many"),
    ("marks", "changeKey", "changeMark"),
    ("events", "$filter%3D", "$where%3D"), ("schedules", '"schedules"', '"rooms"'),
    ("subscribe", '"expirationDateTime": "2026', '"expirationDateTime": "tomorrow'),
])
async def test_what_microsoft_does_not_describe_is_refused(graph_port: int, certificates: Certificates, kind: str,
                                                           right: str, wrong: str) -> None:
    async with asking(graph_port, certificates) as prism:
        request = GRAPH[kind](GraphApi(prism.domain))
        url, body = request.url, (request.body or b"").decode()
        assert right in f"{url} {body}"
        answer = await prism.ask(request.method, url.replace(right, wrong),
                                 body.replace(right, wrong).encode() or None, **request.headers)
        assert answer.status == 422


GOOGLE: dict[str, Callable[[str], tuple[str, str, bytes | None]]] = {
    "events_url": lambda api: ("GET", google_calendar.events_url(api, ROOM, WINDOW, "page"), None),
    "changes_url": lambda api: ("GET", google_calendar.changes_url(api, ROOM, since=START), None),
    "changes_url with a token": lambda api: ("GET", google_calendar.changes_url(api, ROOM, sync_token="t="), None),
    "free_busy_url": lambda api: ("POST", google_calendar.free_busy_url(api, [ROOM]),
                                  google_calendar.free_busy_body([ROOM], WINDOW)),
    "watch_url": lambda api: ("POST", google_calendar.watch_url(api, ROOM),
                              google_calendar.watch_body("channel", "secret", NOTIFICATIONS)),
    "stop_url": lambda api: ("POST", google_calendar.stop_url(api, ROOM),
                             google_calendar.stop_body("channel", "resource")),
}


def test_every_request_to_google_is_tried() -> None:
    named = {name for name, _ in inspect.getmembers(google_calendar, inspect.isfunction) if name.endswith("_url")}
    assert named - {"_url"} == {name.partition(" ")[0] for name in GOOGLE}


@pytest.mark.parametrize("kind", GOOGLE)
async def test_a_request_to_google_is_as_google_describes_it(google_port: int, certificates: Certificates,
                                                             kind: str) -> None:
    async with asking(google_port, certificates) as prism:
        answer = await prism.ask(*GOOGLE[kind](prism.api_url))
        assert answer.status in (200, 204), answer.body


@pytest.mark.parametrize(("kind", "right", "wrong"), [
    ("events_url", "maxResults=2500", "maxResults=all"), ("events_url", "orderBy=startTime", "orderBy=start"),
    ("free_busy_url", '"items": [', '"items": [4, '), ("watch_url", '"params": {', '"params": 1, "x": {'),
])
async def test_what_google_does_not_describe_is_refused(google_port: int, certificates: Certificates, kind: str,
                                                        right: str, wrong: str) -> None:
    async with asking(google_port, certificates) as prism:
        method, url, body = GOOGLE[kind](prism.api_url)
        text = (body or b"").decode()
        assert right in f"{url} {text}"
        answer = await prism.ask(method, url.replace(right, wrong), text.replace(right, wrong).encode() or None)
        assert answer.status == 422


async def test_whatever_google_may_answer_is_read(google_port: int, certificates: Certificates) -> None:
    async with asking(google_port, certificates) as prism:
        source = GoogleSource(integration="workspace", http=prism.http, tokens=Tokens(), api_url=prism.api_url,
                              spend=lambda _: None, clock=reactor, now=lambda: START, in_thread=deferToThread,
                              jitter=lambda: 0.0)
        readings = [await source.read(ROOM, WINDOW, None) for _ in range(5)]
        assert any(reading.invitations for reading in readings)
        assert await source.sweep([ROOM], WINDOW) == {}  # calendars of other names are told of
        await source.stop()


async def test_whatever_graph_may_answer_is_read(graph_port: int, certificates: Certificates) -> None:
    async with asking(graph_port, certificates) as prism:
        client = GraphClient(prism.http, Tokens(), lambda _: None, "client")
        source = GraphSource(client, GraphApi(prism.domain), integration="m365", in_thread=deferToThread)
        assert (await source.read(ROOM, WINDOW, None)).invitations == []  # its example has the time "string"
        assert [*await source.sweep([ROOM], WINDOW)] == [ROOM]
