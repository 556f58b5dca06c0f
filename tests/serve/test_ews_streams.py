"""GetStreamingEvents, held open by the calendar site: in memory where time matters, and over real TLS."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import exchangelib
import pytest
from exchangelib.properties import CreatedEvent, DeletedEvent
from exchangelib.protocol import CachingProtocol
from lxml import etree
from twisted.internet.defer import maybeDeferred
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.logger import LogLevel

from otjd.serve.calls import Account, Held, Outlet, Reply
from otjd.serve.ews_subscriptions import EVENTS_KEPT, STREAMING_KEPT
from otjd.serve.held import STALLED_S, UNHEARD_S
from otjd.serve.limits import Limits
from otjd.serve.site import SiteSettings
from otjd.serve.wire_log import WireLog, WireSettings, file_name
from otjd.simulate.certificates import Certificates
from tests.serve.clients import basic
from tests.serve.ews_support import (
    ACCOUNT,
    NAMESPACES,
    NOW,
    busy_room,
    check,
    codes,
    envelope,
    meeting,
    texts,
)
from tests.serve.http_world import Served, Site, Wire, closed, request
from tests.serve.test_ews_notifications import BESIDE, names, subscribe, unsubscribe

HEARTBEAT_S = 45
INBOX = '<m:FolderIds><t:DistinguishedFolderId Id="inbox"/></m:FolderIds>'


def listen(*ids: str, minutes: int | str = 30) -> str:
    wanted = "".join(f"<t:SubscriptionId>{i}</t:SubscriptionId>" for i in ids)
    return (f"<m:GetStreamingEvents><m:SubscriptionIds>{wanted}</m:SubscriptionIds>"
            f"<m:ConnectionTimeout>{minutes}</m:ConnectionTimeout></m:GetStreamingEvents>")


def documents(body: bytes) -> list[etree._Element]:
    """The ResponseMessages of every envelope, each of which is held against the schema."""
    found = re.findall(rb"<Envelope .*?</Envelope>", body, re.DOTALL)
    assert b"".join(found) == body
    for document in found:
        check(Reply(200, document))
    return [etree.fromstring(document)[-1][0][0] for document in found]


class Client:
    """One connection to the site, on which GetStreamingEvents was sent."""

    def __init__(self, room: World, asked: str, *, user: Account = ACCOUNT, version: str = "HTTP/1.1") -> None:
        self.wire = Wire(room.world, "10.0.0.1")
        sent = request(body=envelope(asked).encode(), Authorization=basic(user.username, user.password),
                       Content_Type="text/xml; charset=utf-8")
        self.wire.channel.dataReceived(sent.replace(b"HTTP/1.1", version.encode(), 1))
        self.head, _, rest = self.taken().partition(b"\r\n\r\n")
        self.is_chunked = b"chunked" in self.head.lower()
        self._rest = rest

    def taken(self) -> bytes:
        """What has arrived since the last time."""
        data: bytes = self.wire.transport.value()
        self.wire.transport.clear()
        return data

    def read(self) -> list[etree._Element]:
        """The messages that have arrived since the last time."""
        data, self._rest = self._rest + self.taken(), b""
        if not self.is_chunked:
            return documents(data)
        found = []
        while data:
            size, _, data = data.partition(b"\r\n")
            chunk, end, data = data[:int(size, 16)], data[int(size, 16):][:2], data[int(size, 16) + 2:]
            assert end == b"\r\n"
            if not chunk:
                self.is_complete = True
                assert not data
            else:
                (document,) = documents(chunk)  # a chunk holds exactly one
                found.append(document)
        return found

    is_complete = False

    def told(self) -> list[str]:
        """What has arrived, as names of events, connection status and error codes."""
        found = []
        for messages in self.read():
            code = codes(messages)[0]
            found += names(messages) + texts(messages, ".//m:ConnectionStatus") + ([code] if code != "NoError"
                                                                                   else [])
        return found


class World:
    """The busy room behind the site, with a clock that both go by."""

    def __init__(self, wire_log: WireLog | None = None, **settings: Any) -> None:
        self.exchange = busy_room()
        self.exchange.settings = settings
        self.exchange.restart()
        self.world = Site(accounts=(ACCOUNT, BESIDE), service=self.exchange.service,
                          settings=SiteSettings(authentication=("basic",)), now=lambda: self.exchange.now,
                          wire_log=wire_log)

    def advance(self, seconds: float) -> None:
        self.exchange.now += timedelta(seconds=seconds)
        self.world.reactor.advance(seconds)

    def subscribed(self, user: Account = ACCOUNT, **asked: Any) -> str:
        (made,) = texts(self.exchange.ask(subscribe("Streaming", **asked), account=user), ".//m:SubscriptionId")
        return made

    def client(self, *ids: str, **more: Any) -> Client:
        return Client(self, listen(*ids), **more)

    @property
    def calls(self) -> int:
        return len(self.world.reactor.getDelayedCalls())


@pytest.fixture
def room() -> World:
    return World()


def test_an_answer_starts_at_once_and_stays_open(room: World) -> None:
    client = room.client(room.subscribed())
    assert b"HTTP/1.1 200 OK" in client.head
    assert b"transfer-encoding: chunked" in client.head.lower()
    assert b"content-length" not in client.head.lower()
    assert b"Content-Type: text/xml; charset=utf-8" in client.head
    assert client.told() == ["OK"]
    assert not client.is_complete


def test_a_change_is_told_as_it_happens(room: World) -> None:
    subscription_id = room.subscribed()
    client = room.client(subscription_id)
    client.read()
    room.exchange.show(meeting("new"))
    (messages,) = client.read()
    assert names(messages) == ["CreatedEvent", *["DeletedEvent"] * 3]
    assert texts(messages, ".//m:Notification/t:SubscriptionId") == [subscription_id]
    assert [e.tag for e in messages.find(".//{*}CreatedEvent")] == [  # type: ignore[union-attr]
        f"{{{NAMESPACES['t']}}}{name}" for name in ("TimeStamp", "ItemId", "ParentFolderId")]
    assert not texts(messages, ".//m:ConnectionStatus")


def test_every_subscription_has_its_own_envelope(room: World) -> None:
    ids = room.subscribed(), room.subscribed(types=("DeletedEvent",)), room.subscribed(folders=INBOX)
    client = room.client(*ids, ids[0])
    client.read()
    room.exchange.show()
    first, second = client.read()
    assert texts(first, ".//t:SubscriptionId") == [ids[0]]
    assert texts(second, ".//t:SubscriptionId") == [ids[1]]
    room.advance(HEARTBEAT_S)
    assert [texts(m, ".//t:SubscriptionId")[0] for m in client.read()] == list(ids)


def test_a_heartbeat_is_sent_when_nothing_else_was(room: World) -> None:
    client = room.client(room.subscribed())
    assert client.told() == ["OK"]
    room.advance(HEARTBEAT_S - 1)
    assert client.told() == []
    room.advance(1)
    assert client.told() == ["StatusEvent"]
    room.advance(HEARTBEAT_S - 1)
    room.exchange.show()
    assert client.told() == ["DeletedEvent"] * 3
    room.advance(HEARTBEAT_S - 1)
    assert client.told() == []
    room.advance(1)
    assert client.told() == ["StatusEvent"]


def test_heartbeats_keep_the_endpoint_in_contact(room: World) -> None:
    room.client(room.subscribed())
    for _ in range(20):
        room.advance(HEARTBEAT_S)
        state = room.world.endpoint(ACCOUNT)
        assert (state.last_contact_time, state.last_operation) == (room.exchange.now, "GetStreamingEvents")


def test_the_silence_of_a_listening_client_is_no_reason_to_close(room: World) -> None:
    client = room.client(room.subscribed())
    for _ in range(int(5 * Limits().idle_s)):
        room.advance(1)
    assert not client.wire.is_closed
    room.exchange.show()
    assert client.told()[-1] == "DeletedEvent"


def test_an_answer_ends_with_its_timeout_and_the_connection_serves_on(room: World) -> None:
    client = Client(room, listen(room.subscribed(), minutes=1))
    room.advance(59)
    assert client.told() == ["OK", "StatusEvent"]
    room.advance(1)
    assert client.told() == ["Closed"]
    assert client.is_complete
    answer = client.wire.ask(body=envelope(unsubscribe("x")).encode(), Content_Type="text/xml",
                             Authorization=basic(ACCOUNT.username, ACCOUNT.password))
    assert answer.status == 200


def test_a_client_may_be_silent_as_long_after_an_answer_that_took_longer_as_after_any(room: World) -> None:
    minutes = int(Limits().idle_s // 60) + 1
    client = Client(room, listen(room.subscribed(), minutes=minutes))
    for _ in range(minutes):
        room.advance(60)
    assert client.told()[-1] == "Closed"
    room.advance(Limits().idle_s - 1)
    assert not client.wire.is_closed
    room.advance(1)
    assert client.wire.is_closed


def test_a_client_of_http_1_0_is_told_until_the_connection_closes(room: World) -> None:
    client = room.client(room.subscribed(), version="HTTP/1.0")
    assert b"chunked" not in client.head.lower()
    assert client.told() == ["OK"]
    room.exchange.show()
    assert client.told() == ["DeletedEvent"] * 3
    room.advance(30 * 60)
    assert client.told()[-1] == "Closed"
    assert client.wire.is_closed


def test_soap_1_2_is_answered_in_kind(room: World) -> None:
    soap = "http://www.w3.org/2003/05/soap-envelope"
    asked = envelope(listen(room.subscribed()), soap=soap)
    reply = room.exchange.post(asked, content_type="application/soap+xml; charset=utf-8")
    assert reply.content_type.startswith("application/soap+xml")
    assert etree.fromstring(reply.body).tag == f"{{{soap}}}Envelope"


def test_what_happened_between_two_connections_is_told_on_the_second(room: World) -> None:
    subscription_id = room.subscribed()
    room.exchange.show(meeting("new"))
    client = room.client(subscription_id)
    assert client.told() == ["OK", "CreatedEvent", *["DeletedEvent"] * 3]
    client.wire.close()
    room.exchange.show()
    assert room.client(subscription_id).told() == ["OK", "DeletedEvent"]


def test_a_client_that_leaves_is_forgotten_at_once(room: World) -> None:
    before = room.calls
    client = room.client(room.subscribed())
    client.wire.close()
    assert room.calls == before
    assert room.exchange.subscriptions.streams_of(ACCOUNT) == []
    room.exchange.show()  # nobody is written to


def test_a_streaming_subscription_waits_half_an_hour_for_its_client(room: World) -> None:
    subscription_id = room.subscribed()
    client = room.client(subscription_id)
    room.advance(STREAMING_KEPT.total_seconds() - 1)
    client.wire.close()
    room.exchange.now += STREAMING_KEPT - timedelta(seconds=1)
    assert room.client(subscription_id).told() == ["OK"]
    unused = room.subscribed()
    room.exchange.now += STREAMING_KEPT
    assert room.client(unused).told() == ["Closed", "ErrorInvalidSubscription"]


def test_unknown_subscriptions_are_named(room: World) -> None:
    mine, theirs = room.subscribed(), room.subscribed(BESIDE)
    pull = texts(room.exchange.ask(subscribe()), ".//m:SubscriptionId")[0]
    reply = room.exchange.post(envelope(listen(mine, "rub<bish".replace("<", "&lt;"), theirs, pull)))
    assert (reply.error, reply.hold) == ("ErrorInvalidSubscription", None)
    (messages,) = documents(reply.body)
    assert codes(messages) == ["ErrorInvalidSubscription"]
    assert texts(messages, ".//m:ErrorSubscriptionIds/m:SubscriptionId") == ["rub<bish", theirs, pull]


@pytest.mark.parametrize(("asked", "code"), [
    (listen(), "ErrorSchemaValidation"), (listen(""), "ErrorSchemaValidation"),
    (listen("x", minutes=0), "ErrorSchemaValidation"), (listen("x", minutes=31), "ErrorSchemaValidation"),
    (listen("x", minutes="1.5"), "ErrorSchemaValidation"),
    (listen(*(f"x{n}" for n in range(201))), "ErrorExceededFindCountLimit")])
def test_what_cannot_be_read_is_a_fault(room: World, asked: str, code: str) -> None:
    assert room.exchange.fault(asked) == code


def test_a_room_that_was_never_read_is_busy(room: World) -> None:
    subscription_id = room.subscribed()
    room.exchange.cache.configure({})
    assert room.exchange.fault(listen(subscription_id)) == "ErrorServerBusy"


def test_a_second_connection_takes_over_from_the_first(room: World) -> None:
    subscription_id = room.subscribed()
    first = room.client(subscription_id)
    second = room.client(subscription_id)
    assert first.told() == ["OK", "Closed", "ErrorNewEventStreamConnectionOpened"]
    assert first.is_complete
    room.exchange.show()
    assert second.told() == ["OK", *["DeletedEvent"] * 3]
    assert len(room.exchange.subscriptions.streams_of(ACCOUNT)) == 1


def test_unsubscribing_ends_the_stream(room: World) -> None:
    subscription_id = room.subscribed()
    client = room.client(subscription_id)
    room.exchange.ask(unsubscribe(subscription_id))
    *_, last = client.read()
    assert codes(last) == ["ErrorSubscriptionUnsubscribed"]
    assert texts(last, ".//m:ErrorSubscriptionIds/m:SubscriptionId") == [subscription_id]
    assert client.is_complete


def test_a_user_has_a_limited_number_of_streams() -> None:
    room = World(streams_per_user=2)
    ids = [room.subscribed() for _ in range(3)]
    clients = [room.client(i) for i in ids]
    assert [c.told()[-1] for c in clients] == ["OK", "OK", "ErrorExceededConnectionCount"]
    assert room.client(room.subscribed(BESIDE), user=BESIDE).told() == ["OK"]
    assert room.client(ids[0]).told() == ["OK"]  # takes over from the first
    clients[1].wire.close()
    assert room.client(ids[2]).told() == ["OK"]


def full(client: Client) -> None:
    """The buffers between us and the client are full."""
    client.wire.transport.producer.pauseProducing()


def emptied(client: Client) -> None:
    client.wire.transport.producer.resumeProducing()


def test_nothing_is_written_for_a_client_that_does_not_read(room: World) -> None:
    client = room.client(room.subscribed())
    client.read()
    full(client)
    room.exchange.show(meeting("new"))
    room.exchange.show()
    assert client.told() == []
    emptied(client)
    assert client.told() == ["CreatedEvent", *["DeletedEvent"] * 4]
    room.advance(STALLED_S)
    assert not client.wire.is_closed


def test_a_client_that_reads_nothing_for_long_is_cut_off(room: World) -> None:
    before = room.calls
    client = room.client(room.subscribed())
    full(client)
    room.advance(STALLED_S - 1)
    assert not client.wire.is_closed
    room.advance(1)
    assert client.wire.is_closed
    assert room.exchange.subscriptions.streams_of(ACCOUNT) == []
    assert room.calls == before


def test_a_client_that_stopped_reading_is_cut_off_when_its_answer_ends(room: World) -> None:
    client = Client(room, listen(room.subscribed(), minutes=1))
    room.advance(50)
    full(client)
    room.advance(10)
    assert client.wire.is_closed
    assert room.exchange.subscriptions.streams_of(ACCOUNT) == []


def test_who_falls_too_far_behind_is_told_to_subscribe_anew(room: World) -> None:
    subscription_id = room.subscribed()
    client = room.client(subscription_id)
    client.read()
    full(client)
    room.exchange.show(*(meeting(f"m{n}", NOW + timedelta(minutes=n)) for n in range(EVENTS_KEPT)))
    room.exchange.show(meeting("new"))
    emptied(client)
    assert client.told() == ["Closed", "ErrorMissedNotificationEvents"]
    assert room.client(subscription_id).told() == ["Closed", "ErrorInvalidSubscription"]


def test_unwanted_events_do_not_put_a_subscription_behind(room: World) -> None:
    client = room.client(room.subscribed(types=("ModifiedEvent",)))
    room.exchange.show()
    for round_ in range(EVENTS_KEPT):
        room.exchange.show(*([meeting("new")] if round_ % 2 == 0 else []))
    assert client.told() == ["OK"]
    room.exchange.show(meeting("last"))
    room.exchange.show(meeting("last", subject="Changed"))
    assert client.told() == ["ModifiedEvent"]


def test_many_changes_come_in_envelopes_of_a_hundred(room: World) -> None:
    client = room.client(room.subscribed())
    client.read()
    room.exchange.show(*(meeting(f"m{n}", NOW + timedelta(minutes=n)) for n in range(247)))
    told = client.read()
    assert [len(names(m)) for m in told] == [100, 100, 50]
    assert len({i for m in told for i in texts(m, ".//t:ItemId/@Id")}) == 250


def test_a_new_configuration_ends_streams_whole(room: World) -> None:
    subscription_id = room.subscribed()
    client = room.client(subscription_id)
    room.world.site.reconfigure(accounts=(ACCOUNT,), settings=SiteSettings(authentication=("basic",)))
    assert client.told() == ["OK", "Closed"]
    assert client.is_complete
    assert not client.wire.is_closed
    assert room.client(subscription_id).told() == ["OK"]


async def test_a_stop_ends_streams_whole(room: World) -> None:
    before = room.calls
    client = room.client(room.subscribed())
    await room.world.site.close_connections()
    assert client.told() == ["OK", "Closed"]
    assert client.is_complete
    assert client.wire.is_closed
    assert room.calls == before


def test_each_end_is_logged_with_its_reason(room: World, logged_events: list[dict[str, Any]]) -> None:
    ids = [room.subscribed() for _ in range(3)]
    clients = [room.client(i) for i in ids]
    clients[0].wire.channel.connectionLost(closed())
    room.exchange.ask(unsubscribe(ids[1]))
    room.advance(60)
    full(clients[2])
    room.advance(STALLED_S)
    ended = [e for e in logged_events if "ended after" in e["log_format"]]
    assert [e["reason"] for e in ended] == [
        "the client left", "ErrorSubscriptionUnsubscribed", "the client read nothing for 30 s"]
    assert {(e["operation"], e["endpoint"], e["room"], e["address"]) for e in ended} == {
        ("GetStreamingEvents", ACCOUNT.endpoint, ACCOUNT.room.email, "10.0.0.1")}
    assert [e["elapsed_s"] for e in ended] == [0, 0, 90]
    assert {e["log_level"] for e in ended} == {LogLevel.info}


def test_the_usual_end_is_no_news(room: World, logged_events: list[dict[str, Any]]) -> None:
    Client(room, listen(room.subscribed(), minutes=1))
    room.advance(60)
    (ended,) = [e for e in logged_events if "ended after" in e["log_format"]]
    assert (ended["log_level"], ended["reason"]) == (LogLevel.debug, "it is complete")


def test_what_is_streamed_is_in_the_wire_log(tmp_path: Path) -> None:
    log = WireLog(now=lambda: NOW, in_thread=maybeDeferred)
    log.configure(WireSettings(directory=tmp_path, size=100_000, files=1))
    room = World(wire_log=log)
    room.client(room.subscribed())
    room.exchange.show()
    written = (tmp_path / file_name(ACCOUNT.endpoint)).read_text()
    assert "GetStreamingEvents" in written
    assert "<m:ConnectionStatus>OK" in written
    assert "<t:DeletedEvent>" in written


def test_a_stream_that_fails_on_our_side_ends_with_its_connection(logged_failures: Any) -> None:
    def hold(outlet: Outlet) -> Held:
        raise ZeroDivisionError

    room = World()
    room.world.service = lambda _: Reply(200, b"<Envelope/>", hold=hold)
    client = room.client("x")
    assert client.wire.is_closed
    assert len(logged_failures.flush(ZeroDivisionError)) == 1


# Over real TLS, with exchangelib

@pytest.fixture
def reactor() -> Any:
    from twisted.internet import reactor

    return reactor


@pytest.fixture
def exchangelib_account(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.ca_certificate))
    CachingProtocol.clear_cache()

    def make(url: str) -> exchangelib.Account:
        return exchangelib.Account(
            ACCOUNT.room.email, autodiscover=False, access_type=exchangelib.DELEGATE,
            default_timezone=exchangelib.UTC, config=exchangelib.Configuration(
                service_endpoint=url, auth_type=exchangelib.BASIC, max_connections=2,
                credentials=exchangelib.Credentials(ACCOUNT.username, ACCOUNT.password)))

    yield make
    CachingProtocol.clear_cache()


async def test_exchangelib_hears_of_changes_as_they_happen(
        reactor: Any, certificates: Certificates, exchangelib_account: Callable[[str], Any]) -> None:
    exchange = busy_room()

    def listener(url: str) -> list[Any]:
        calendar = exchangelib_account(url).calendar
        with calendar.streaming_subscription() as subscription_id:
            heard = []
            blockingCallFromThread(reactor, exchange.show, meeting("new"))
            for notification in calendar.get_streaming_events(subscription_id, connection_timeout=1):
                heard += [(type(e), e.item_id.id) for e in notification.events]
                assert notification.subscription_id == subscription_id
                if len(heard) == 4:
                    blockingCallFromThread(reactor, exchange.show)
                else:
                    blockingCallFromThread(reactor, served.world.site.reconfigure, accounts=(ACCOUNT,),
                                           settings=SiteSettings(authentication=("basic",)))
        return heard

    async with Served(certificates, reactor, accounts=(ACCOUNT,), service=exchange.service,
                      settings=SiteSettings(authentication=("basic",))) as served:
        heard = await deferToThread(listener, served.url())
    assert [kind for kind, _ in heard] == [CreatedEvent, *[DeletedEvent] * 4]
    assert heard[0] == (CreatedEvent, heard[-1][1])


async def test_a_client_that_lost_its_power_is_found_out_by_the_system(
        reactor: Any, certificates: Certificates) -> None:
    exchange = busy_room()
    (subscription_id,) = texts(exchange.ask(subscribe("Streaming")), ".//m:SubscriptionId")
    sent = request(body=envelope(listen(subscription_id)).encode(), Content_Type="text/xml",
                   Authorization=basic(ACCOUNT.username, ACCOUNT.password))
    limits: list[int] = []

    def look() -> None:
        (channel,) = served.world.site.connections
        limits.append(channel.transport.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))

    def client() -> None:
        with served.socket() as connection:
            blockingCallFromThread(reactor, look)
            connection.sendall(sent)
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
            blockingCallFromThread(reactor, look)

    async with Served(certificates, reactor, accounts=(ACCOUNT,), service=exchange.service,
                      settings=SiteSettings(authentication=("basic",))) as served:
        await deferToThread(client)
    assert limits == [0, UNHEARD_S * 1000]


async def test_a_client_that_reads_nothing_fills_no_memory(reactor: Any, certificates: Certificates) -> None:
    exchange = busy_room()
    (subscription_id,) = texts(exchange.ask(subscribe("Streaming")), ".//m:SubscriptionId")
    sent = request(body=envelope(listen(subscription_id)).encode(), Content_Type="text/xml",
                   Authorization=basic(ACCOUNT.username, ACCOUNT.password))

    def all_new(round_: int) -> None:
        exchange.show(*(meeting(f"m{round_}-{n}", NOW + timedelta(minutes=n)) for n in range(100)))

    def silent(served: Served) -> bytes:
        with served.socket() as connection:
            connection.sendall(sent)
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
            for round_ in range(300):  # 60,000 events, which are 20 MB
                blockingCallFromThread(reactor, all_new, round_)
            received = b""
            while not received.endswith(b"\r\n0\r\n\r\n"):
                received += connection.recv(65536)
            return received

    async with Served(certificates, reactor, accounts=(ACCOUNT,), service=exchange.service,
                      settings=SiteSettings(authentication=("basic",))) as served:
        received = await deferToThread(silent, served)
    assert b"ErrorMissedNotificationEvents" in received[-1000:]
    assert len(received) < 10_000_000
