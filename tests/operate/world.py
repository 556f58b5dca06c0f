"""A small node to look at: three rooms, four endpoints, two integrations, at a fixed time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from otjd.meetings.cache import MeetingCache
from otjd.meetings.model import EndpointType, Meeting, Organizer, Room, meeting_id
from otjd.operate.board import EndpointFacts, IntegrationStatus, StatusBoard
from otjd.operate.status import NodeFacts, Snapshot, take_snapshot

START = datetime(2026, 3, 2, 8, 0, 0, 654321, tzinfo=UTC)
NODE = NodeFacts("otj1", "oslo", "0.1.0")
BOARDROOM = Room("boardroom@example.com", "default")
BOARDROOM_VIP = Room("boardroom@example.com", "vip")
CABIN = Room("cabin@example.com", "default")
GROUP_500 = EndpointFacts("Group 500", EndpointType.POLY, "Boardroom@Example.com", "default", username="boardroom")
ROOM_KIT = EndpointFacts("Room Kit", EndpointType.CISCO, "boardroom@example.com", "default", address="10.0.0.5")
STUDIO = EndpointFacts("Studio X", EndpointType.POLY, "boardroom@example.com", "vip")
HDX = EndpointFacts("HDX", EndpointType.POLY, "cabin@example.com", "default")


def meeting(room: Room, uid: str, start: datetime, alias: str | None = "1234@example.com",
            **fields: Any) -> Meeting:
    return Meeting(id=meeting_id(room.email, uid), uid=uid, start_time=start, end_time=start + timedelta(hours=1),
                   alias=alias, **{"subject": uid, **fields})


class World:
    """Board and cache under a time that the test sets."""

    def __init__(self) -> None:
        self.time = START
        self.board = StatusBoard(self.now)
        self.cache = MeetingCache()
        self.cache.configure(dict.fromkeys((BOARDROOM, BOARDROOM_VIP, CABIN), timedelta(days=7)))
        self.configure((GROUP_500, ROOM_KIT, STUDIO, HDX))
        standup = meeting(BOARDROOM, "standup", START + timedelta(hours=2), matched_rule="by our CVI",
                          organizer=Organizer("Ada Ås", "ada@example.com"), last_modified_time=START)
        lunch = meeting(BOARDROOM, "lunch", START + timedelta(hours=1), alias=None, is_private=True)
        self.cache.replace(BOARDROOM, [standup, lunch], START)
        self.cache.replace(BOARDROOM_VIP, [standup], START)
        self.cache.mark_stale(BOARDROOM_VIP)

    def configure(self, endpoints: Iterable[EndpointFacts]) -> None:
        self.board.configure(endpoints, [
            IntegrationStatus("files", "file", sweep_interval_s=2.0, content_interval_s=2.5),
            IntegrationStatus("m365", "graph", quota_24h=1_000_000, sweep_interval_s=30, content_interval_s=30)])

    def now(self) -> datetime:
        return self.time

    def snapshot(self) -> Snapshot:
        return take_snapshot(NODE, self.board, self.cache, self.time)


class _Received(Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.ended: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.ended.callback(self.data)


async def converse(reactor: Any, port: int, request: bytes) -> bytes:
    """Everything that a server on loopback says to `request` until it closes the connection."""
    received: _Received = await connectProtocol(  # type: ignore[no-untyped-call]
        HostnameEndpoint(reactor, "127.0.0.1", port), _Received())
    assert received.transport is not None
    received.transport.write(request)
    return await received.ended.addTimeout(20, reactor)
