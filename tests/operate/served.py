"""The operator's site of a small node, on a port of loopback."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import treq
from twisted.internet import reactor as global_reactor
from twisted.internet.task import deferLater
from twisted.web.client import Agent

from otjd.operate.access import Access
from otjd.operate.site import OperatorSite, Route
from otjd.operate.threads import in_threads_of
from tests.operate.world import World

reactor: Any = global_reactor
OPEN = Access()
LOCKED = Access("admin", "s3cret")


class Served:
    """The site of a world on a port of loopback."""

    def __init__(self, site: OperatorSite, port: int, world: World) -> None:
        self.site = site
        self.port = port
        self.world = world

    async def ask(self, path: str, method: str = "GET", **options: Any) -> tuple[Any, bytes]:
        """The response, and its body."""
        agent = Agent(reactor)  # type: ignore[no-untyped-call]
        response = await treq.request(method, f"http://127.0.0.1:{self.port}{path}", agent=agent, **options)
        return response, await response.content()

    async def document(self, path: str) -> Any:
        response, body = await self.ask(path)
        assert response.code == 200
        assert response.headers.getRawHeaders("content-type") == ["application/json"]
        return json.loads(body)


@asynccontextmanager
async def serve(access: Access = OPEN, ready: bool = True,
                routes: Mapping[str, Route] | None = None) -> AsyncIterator[Served]:
    world = World()
    site = OperatorSite(snapshot=world.snapshot, ready=lambda: ready, access=access,
                        in_thread=in_threads_of(reactor), reactor=reactor, routes=routes)
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    try:
        yield Served(site, port.getHost().port, world)
    finally:
        await port.stopListening()
        await deferLater(reactor, 0.01)  # let the server side of closed connections end
