"""How fast a big node answers /status.json, against a plain Twisted resource that answers with the same bytes.

Both are asked in turns, over loopback, in this process; the ratio tells more than the requests a second, which
depend on the machine. Also tells how long the document with every meeting takes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import treq
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.resource import Resource
from twisted.web.server import Site

from otjd.meetings.cache import MeetingCache
from otjd.meetings.model import EndpointType, Meeting, Room, meeting_id
from otjd.operate.access import Access
from otjd.operate.board import EndpointFacts, StatusBoard
from otjd.operate.site import OperatorSite
from otjd.operate.status import NodeFacts, Snapshot, encode, status_document, take_snapshot
from otjd.operate.threads import in_threads_of

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
CONNECTIONS = 4


def big_node(endpoints: int, meetings: int) -> tuple[StatusBoard, MeetingCache]:
    """A node with a room an endpoint, half of the meetings joinable."""
    board, cache = StatusBoard(lambda: NOW), MeetingCache()
    rooms = [Room(f"room{n}@example.com", "default") for n in range(endpoints)]
    kinds = (EndpointType.POLY, EndpointType.CISCO)
    board.configure([EndpointFacts(f"endpoint {n}", kinds[n % 2], room.email, room.profile)
                     for n, room in enumerate(rooms)], [])
    cache.configure(dict.fromkeys(rooms, timedelta(days=30)))
    for number, room in enumerate(rooms):
        board.endpoint_contacted(f"endpoint {number}", meetings=meetings)
        starts = [NOW + timedelta(hours=n) for n in range(meetings)]
        cache.replace(room, [
            Meeting(id=meeting_id(room.email, str(n)), uid=str(n), start_time=start, end_time=start,
                    subject="Weekly", alias=f"{n}@example.com" if n % 2 else None)
            for n, start in enumerate(starts)], NOW)
    return board, cache


class Plain(Resource):
    """The same bytes, without otjd."""

    isLeaf = True  # noqa: N815 - twisted.web's name

    def __init__(self, body: bytes) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._body = body

    def render_GET(self, request: Any) -> bytes:
        request.setHeader("Content-Type", "application/json")
        return self._body


async def requests_a_second(agent: Any, url: str, requests: int) -> float:
    """Ask `url` over a few connections at a time."""
    left = iter(range(requests))

    async def one_after_another() -> None:
        for _ in left:
            response = await treq.get(url, agent=agent)
            assert response.code == 200
            await response.content()

    begun = time.perf_counter()
    await gatherResults([Deferred.fromCoroutine(one_after_another()) for _ in range(CONNECTIONS)])
    return requests / (time.perf_counter() - begun)


async def measure(reactor: Any, options: argparse.Namespace) -> None:
    board, cache = big_node(options.endpoints, options.meetings)

    def snapshot() -> Snapshot:
        return take_snapshot(NodeFacts("bench", "", "0"), board, cache, NOW)

    ours = OperatorSite(snapshot=snapshot, ready=lambda: True, access=Access(), reactor=reactor,
                        in_thread=in_threads_of(reactor))
    plain = Site(Plain(encode(status_document(snapshot()))), reactor=reactor)  # type: ignore[no-untyped-call]
    ports = [reactor.listenTCP(0, site, interface="127.0.0.1") for site in (ours, plain)]
    urls = [f"http://127.0.0.1:{port.getHost().port}/status.json" for port in ports]
    pool: Any = HTTPConnectionPool(reactor)  # type: ignore[no-untyped-call]
    agent: Any = Agent(reactor, pool=pool)  # type: ignore[no-untyped-call]
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(options.rounds):
        for rate, url in zip(rates, urls, strict=True):
            rate.append(await requests_a_second(agent, url, options.requests))
    begun = time.perf_counter()
    response = await treq.get(urls[0].replace("/status.json", "/api/v1/meetings"), agent=agent)
    size, seconds = len(await response.content()), time.perf_counter() - begun
    await pool.closeCachedConnections()
    for port in ports:
        await port.stopListening()
    await deferLater(reactor, 0.01)  # let the last connections end
    built, same = map(statistics.median, rates)
    print(f"{options.endpoints} endpoints, {options.meetings} meetings each, median of {options.rounds} rounds")
    print(f"/status.json        {built:9.0f} requests/s")
    print(f"the same, plain     {same:9.0f} requests/s")
    print(f"ratio               {built / same:9.2f}")
    print(f"/api/v1/meetings    {size / 1e6:9.1f} MB in {seconds:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoints", type=int, default=4000)
    parser.add_argument("--meetings", type=int, default=40)
    parser.add_argument("--requests", type=int, default=40, help="requests a round and address")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--smoke", action="store_true", help="a tiny run that shows that it works")
    options = parser.parse_args()
    if options.smoke:
        options.endpoints, options.meetings, options.requests, options.rounds = 20, 5, 8, 2
    react(lambda reactor: Deferred.fromCoroutine(measure(reactor, options)))


if __name__ == "__main__":
    main()
