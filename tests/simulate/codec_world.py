"""A simulated codec on a port of loopback, with the clocks in hand."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape

import treq
from lxml import etree
from twisted.internet import reactor as global_reactor
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.web.client import Agent

from otjd.simulate.codec import Codec

reactor: Any = global_reactor
AUTH = ("admin", "codec")
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def json_booking(booking_id: str = "b-1", **changes: Any) -> dict[str, Any]:
    """A booking of `Bookings Put`; a change to None takes the field out."""
    booking = {"Id": booking_id, "Title": "Planning & review", "Number": "room7@video.example.com",
               "Protocol": "SIP", "Organizer": {"Name": "Ada Berg"},
               "Time": {"StartTime": "2026-03-02T12:00:00Z", "Duration": 45, "StartTimeBuffer": 300,
                        "EndTimeBuffer": 0}, **changes}
    return {name: value for name, value in booking.items() if value is not None}


def put_document(*bookings: dict[str, Any]) -> str:
    return put_text(json.dumps({"Bookings": list(bookings)}))


def put_text(body: str) -> str:
    return f'<Command><Bookings><Put command="True"><body>{escape(body)}</body></Put></Bookings></Command>'


def xml_booking(booking_id: str = "b-1", *, start: str = "2026-03-02T12:00:00Z", end: str = "2026-03-02T12:45:00Z",
                calls: str = "<Calls><Call><Number>room7@video.example.com</Number><Protocol>SIP</Protocol>"
                             "<CallType>Video</CallType></Call></Calls>", mode: str = "OBTP",
                title: str = "<Title>Planning &amp; review</Title>", buffers: str = "300", privacy: str = "Public",
                ) -> str:
    return (f"<Booking><Id>{booking_id}</Id>{title}<Privacy>{privacy}</Privacy>"
            "<Organizer><FirstName>Ada</FirstName><LastName>Berg</LastName><Email>ada@example.com</Email></Organizer>"
            f"<Time><StartTime>{start}</StartTime><StartTimeBuffer>{buffers}</StartTimeBuffer>"
            f"<EndTime>{end}</EndTime><EndTimeBuffer>60</EndTimeBuffer></Time>"
            f"<DialInfo>{calls}<ConnectMode>{mode}</ConnectMode></DialInfo></Booking>")


def xml_document(*bookings: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Bookings status="OK">{"".join(bookings)}</Bookings>'


def command(name: str, **arguments: str) -> str:
    inside = "".join(f"<{key}>{value}</{key}>" for key, value in arguments.items())
    return f'<Command><Bookings><{name} command="True">{inside}</{name}></Bookings></Command>'


class Bench:
    """A codec and how to talk to it."""

    def __init__(self, codec: Codec, clock: Clock, now: list[datetime], url: str) -> None:
        self.codec = codec
        self.clock = clock
        self.url = url
        self._now = now

    @property
    def now(self) -> datetime:
        return self._now[0]

    @now.setter
    def now(self, value: datetime) -> None:
        self._now[0] = value

    async def ask(self, method: str, path: str, body: str | bytes | None = None, *,
                  auth: tuple[str, str] | None = AUTH, **options: Any) -> tuple[Any, bytes]:
        """The response, and its body."""
        data = body.encode() if isinstance(body, str) else body
        response = await treq.request(method, self.url + path, data=data, auth=auth, allow_redirects=False,
                                      agent=Agent(reactor), **options)  # type: ignore[no-untyped-call]
        return response, await response.content()

    async def status_of(self, method: str, path: str, body: str | bytes | None = None, **options: Any) -> int:
        response, _ = await self.ask(method, path, body, **options)
        return int(response.code)

    async def run(self, document: str, **options: Any) -> etree._Element:
        """The root of what `/putxml` answers under 200."""
        headers = {"Content-Type": "text/xml"}
        response, body = await self.ask("POST", "/putxml", document, headers=headers, **options)
        assert response.code == 200, body
        return etree.fromstring(body)

    async def put(self, *bookings: dict[str, Any]) -> tuple[str | None, str | None]:
        """Status and Reason of the answer to `Bookings Put`."""
        result = (await self.run(put_document(*bookings)))[0]
        return result.get("status"), result.findtext("Reason")

    async def push(self, *bookings: str) -> int:
        return await self.status_of("POST", "/bookingsputxml", xml_document(*bookings))

    async def converse(self, data: bytes) -> bytes:
        """All that comes back over a raw connection until the codec closes it."""
        port = int(self.url.rpartition(":")[2])

        def talk() -> bytes:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                connection.sendall(data)
                received = b""
                while piece := connection.recv(65536):
                    received += piece
                return received

        result: bytes = await deferToThread(talk)
        return result


@asynccontextmanager
async def bench(profile: str = "ce9", **options: Any) -> AsyncIterator[Bench]:
    clock, now = Clock(), [NOON]
    codec = Codec(profile, now=lambda: now[0], clock=clock, **options)
    port = codec.listen_http(reactor)
    try:
        yield Bench(codec, clock, now, f"http://127.0.0.1:{port}")
    finally:
        await codec.stop()
        await deferLater(reactor, 0.01)  # let the client's side of closed connections end
