"""What happens to streams when a server misbehaves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from lxml import etree
from twisted.internet.task import deferLater

from otjd.gather.exchange_group import REFUSED_FOR_S
from otjd.gather.exchange_streaming import COALESCE_S, Streams
from tests.gather.exchange_world import Reply, World, refused, response, world
from tests.outbound.servers import Certificates, reactor, until
from tests.protocol.test_ews_client_streaming import news, notification

ROOM, LOUNGE = "a@example.com", "b@example.com"
OPEN = news("<m:ConnectionStatus>OK</m:ConnectionStatus>")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


class Server:
    """Subscribes everybody, and streams what the test says."""

    def __init__(self) -> None:
        self.open: list[Any] = []
        self.headers: list[tuple[str, str | None, str | None]] = []
        self.cookie = ""

    def subscribe(self, request: Any, _: etree._Element) -> bytes:
        self.note("Subscribe", request)
        if self.cookie:
            for cookie in ("other=1; path=/", f"X-BackEndOverrideCookie={self.cookie}; path=/; secure"):
                request.responseHeaders.addRawHeader("Set-Cookie", cookie)
        room = etree.fromstring(request.body).findtext(".//{*}PrimarySmtpAddress")
        return response("Subscribe", f"<m:SubscriptionId>s-{room}</m:SubscriptionId>")

    def stream(self, request: Any, _: etree._Element) -> None:
        self.note("Stream", request)
        request.write(OPEN)
        self.open.append(request)
        request.notifyFinish().addErrback(lambda _: self.open.remove(request))

    def note(self, name: str, request: Any) -> None:
        self.headers.append((name, request.getHeader("X-AnchorMailbox"), request.getHeader("Cookie")))

    def end(self) -> None:
        self.open.pop().finish()


class Listening:
    def __init__(self, made: World, server: Server) -> None:
        self.world = made
        self.server = server
        self.changed: list[str] = []
        self.streams = Streams(made.client, clock=made.clock, jitter=lambda: 0.0, was_read=lambda _: True)

    async def begin(self, *rooms: str) -> None:
        self.streams.start(self.changed.append)
        self.streams.watch(rooms)
        await self.until(lambda: all(self.streams.is_told_of(room) for room in rooms))
        self.world.clock.advance(COALESCE_S)
        self.changed.clear()

    async def until(self, holds: Callable[[], object]) -> None:
        def passing() -> bool:
            if holds():
                return True
            self.world.clock.advance(0.1)
            return False

        await until(passing)


@asynccontextmanager
async def listening(certificates: Certificates, **replies: Reply | bytes) -> AsyncIterator[Listening]:
    server = Server()
    async with world(certificates, **{"Subscribe": server.subscribe, "GetStreamingEvents": server.stream,
                                      "Unsubscribe": response("Unsubscribe"), **replies}) as made:
        listening = Listening(made, server)
        try:
            yield listening
        finally:
            await listening.streams.stop()
            await until(lambda: not server.open)


async def test_events_of_one_moment_are_told_once(certificates: Certificates) -> None:
    async with listening(certificates) as one:
        await one.begin(ROOM, LOUNGE)
        (stream,) = one.server.open
        for _ in range(3):
            stream.write(news("<m:Notifications>" + notification(f"s-{ROOM}", "ModifiedEvent", "CreatedEvent")
                              + notification(f"s-{LOUNGE}", "StatusEvent") + "</m:Notifications>"))
        await until(lambda: one.streams._pending)
        await deferLater(reactor, 0.05)
        assert one.changed == []
        one.world.clock.advance(COALESCE_S)
        assert one.changed == [ROOM]


async def test_a_group_keeps_its_anchor_and_its_cookie(certificates: Certificates) -> None:
    async with listening(certificates) as one:
        one.server.cookie = "server7"
        await one.begin(ROOM, LOUNGE)
        cookie = "X-BackEndOverrideCookie=server7"
        assert one.server.headers == [("Subscribe", ROOM, None), ("Subscribe", ROOM, cookie),
                                      ("Stream", ROOM, cookie)]
        impersonated = [etree.fromstring(r.body).findtext(".//{*}PrimarySmtpAddress") for _, r in
                        one.world.exchange.asked]
        assert impersonated == [ROOM, LOUNGE, ROOM]


async def test_a_stream_that_breaks_off_backs_off_and_then_looks_at_all_rooms(certificates: Certificates) -> None:
    async with listening(certificates) as one:
        await one.begin(ROOM, LOUNGE)
        one.world.exchange.replies["GetStreamingEvents"] = refused("GetStreamingEvents", "ErrorServerBusy")
        one.server.open[0].transport.abortConnection()
        await until(lambda: not one.streams.is_told_of(ROOM))
        for _ in range(300):
            one.world.clock.advance(1)
            await deferLater(reactor, 0.001)
        asked = one.world.exchange.operations.count("GetStreamingEvents")
        assert 4 <= asked <= 9, "5, 10, 20, 40, ... seconds apart"
        one.world.exchange.replies["GetStreamingEvents"] = one.server.stream
        await one.until(lambda: one.streams.is_told_of(LOUNGE))
        one.world.clock.advance(COALESCE_S)
        assert sorted(one.changed) == [ROOM, LOUNGE]
        assert one.world.exchange.operations.count("Subscribe") == 2


async def test_a_stream_that_is_not_answered_is_opened_again(certificates: Certificates) -> None:
    def broken(request: Any, _: etree._Element) -> None:
        request.transport.abortConnection()

    async with listening(certificates, GetStreamingEvents=broken) as one:
        one.streams.start(one.changed.append)
        one.streams.watch([ROOM])
        await one.until(lambda: one.world.exchange.operations.count("GetStreamingEvents") >= 2)
        one.world.exchange.replies["GetStreamingEvents"] = one.server.stream
        await one.until(lambda: one.streams.is_told_of(ROOM))


async def test_a_stream_is_given_up_before_it_is_answered(certificates: Certificates) -> None:
    def silent(_: Any, __: etree._Element) -> None:
        """No answer, ever."""

    async with listening(certificates, GetStreamingEvents=silent) as one:
        one.streams.start(one.changed.append)
        one.streams.watch([ROOM])
        await one.until(lambda: one.world.exchange.operations.count("GetStreamingEvents") == 1)
        one.streams.watch([ROOM, LOUNGE])
        await one.until(lambda: one.world.exchange.operations.count("GetStreamingEvents") == 2)


@pytest.mark.parametrize("code", [
    "ErrorInvalidWatermark", "ErrorMissedNotificationEvents", "ErrorReadEventsFailed",
    "ErrorProxyRequestNotAllowed", "ErrorSubscriptionNotFound"])
async def test_errors_that_cost_the_subscriptions_make_them_anew(certificates: Certificates, code: str) -> None:
    async with listening(certificates) as one:
        await one.begin(ROOM, LOUNGE)
        one.server.open[0].write(news("", "Error", code))
        one.server.end()
        await one.until(lambda: one.world.exchange.operations.count("Subscribe") == 4)
        await one.until(lambda: one.streams.is_told_of(ROOM))


async def test_a_silent_stream_is_given_up(certificates: Certificates) -> None:
    async with listening(certificates) as one:
        sent: dict[str, Any] = {}
        whole = one.world.client.login.send

        async def send(post: Any) -> Any:
            if post.stream is not None:
                sent["idle_s"] = post.idle_s
            return await whole(post)

        one.world.client.login.send = send  # type: ignore[method-assign]
        await one.begin(ROOM)
        assert 60 < sent["idle_s"] <= 180


async def test_a_room_that_is_refused_a_subscription_is_asked_for_again_later(certificates: Certificates) -> None:
    async with listening(certificates) as one:
        def some(request: Any, root: etree._Element) -> bytes:
            room = etree.fromstring(request.body).findtext(".//{*}PrimarySmtpAddress")
            if room == ROOM and one.world.clock.seconds() < REFUSED_FOR_S:
                return refused("Subscribe", "ErrorExceededSubscriptionCount")
            return one.server.subscribe(request, root)

        one.world.exchange.replies["Subscribe"] = some
        one.streams.start(one.changed.append)
        one.streams.watch([ROOM, LOUNGE])
        await one.until(lambda: one.streams.is_told_of(LOUNGE))
        assert not one.streams.is_told_of(ROOM)
        one.world.clock.advance(REFUSED_FOR_S)
        one.server.end()
        await one.until(lambda: one.streams.is_told_of(ROOM))


async def test_a_server_without_notifications_is_left_alone(certificates: Certificates,
                                                            logged_events: list[dict[str, Any]]) -> None:
    async with listening(certificates, Subscribe=refused("Subscribe", "ErrorAccessDenied")) as one:
        one.streams.start(one.changed.append)
        one.streams.watch([ROOM, LOUNGE])
        await one.until(lambda: len(one.world.exchange.asked) == 2)
        for _ in range(100):
            one.world.clock.advance(5)
            await deferLater(reactor, 0.001)
        assert len(one.world.exchange.asked) == 2
        assert any("without notifications" in str(e.get("log_format")) for e in logged_events)


async def test_what_is_no_stream_is_not_taken_for_one(certificates: Certificates) -> None:
    async with listening(certificates, GetStreamingEvents=b"<html>hello</html>") as one:
        one.streams.start(one.changed.append)
        one.streams.watch([ROOM])
        await one.until(lambda: "GetStreamingEvents" in one.world.exchange.operations)
        await deferLater(reactor, 0.05)
        assert not one.streams.is_told_of(ROOM)


async def test_stopping_does_not_wait_for_answers(certificates: Certificates) -> None:
    async with listening(certificates) as one:
        one.world.exchange.replies["Subscribe"] = lambda *_: None
        one.streams.start(one.changed.append)
        one.streams.watch([ROOM])
        await one.until(lambda: "Subscribe" in one.world.exchange.operations)
        await one.streams.stop()
        assert not one.streams.is_told_of(ROOM)
