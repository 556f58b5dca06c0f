"""From a change in a simulated Graph, by tokens, TLS, reads, sweeps and notices, to what is delivered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from otjd.gather.budget import Budget
from otjd.gather.calendar_gatherer import CalendarGatherer
from otjd.gather.graph import GraphSource
from otjd.gather.graph_client import GraphClient
from otjd.gather.graph_notifications import GraphNotifications
from otjd.gather.oauth import graph_tokens
from otjd.gather.source import (
    Occurrence,
    RoomError,
    RoomReading,
    ThrottledError,
    UnauthorizedError,
    UnreachableError,
)
from otjd.meetings.model import CalendarItemType, FreeBusyStatus, Invitation, Organizer, Window
from otjd.operate.board import AlarmName, IntegrationState, IntegrationStatus, StatusBoard
from otjd.outbound.client import HttpClient
from otjd.protocol.graph_requests import MARK_PAGE, GraphApi
from otjd.simulate.calendars import Calendars
from otjd.simulate.certificates import make_certificates
from otjd.simulate.graph import GraphServer
from otjd.simulate.graph_settings import Fault, GraphApp, GraphSettings, Mailbox
from tests.outbound.servers import Certificates, Clocked, reactor, until, web

APP = GraphApp("11111111-2222-3333-4444-555555555555", "s3cret~value")
ROOM, OTHER = "board@example.com", "lobby@example.com"
HOUR = timedelta(hours=1)
GLOBAL_ID = "040000008200E00074C5B7101A82E00800000000B0AA4F6F2B5AD8010000000000000000100000001C6EB5D3A2F04B4F"


class Cloud:
    """Calendars, a Graph that shows them, and a source that reads it; `pass_time` moves the clocks of all."""

    def __init__(self, certificates: Certificates, folder: Path, **settings: Any) -> None:
        self.moment = datetime.now(UTC).replace(microsecond=0)
        self.calendars = Calendars(lambda: self.moment)
        for room in (ROOM, OTHER):
            self.calendars.add_room(room)
        self.server = GraphServer(self.calendars, reactor=reactor, settings=GraphSettings(
            (APP,), notification_ca_file=certificates.ca_file, **settings))
        paths = make_certificates(folder, ["localhost"], self.moment)
        self.port = self.server.listen(paths.certificate, paths.private_key)
        self.http = HttpClient(reactor, ca_file=paths.ca_certificate)
        self.clocked = Clocked()
        self.tokens = graph_tokens(
            self.http, reactor=self.clocked, in_thread=deferToThread, integration="m365", client_id=APP.client_id,
            client_secret=APP.client_secret, scope="https://localhost/.default",
            token_url=f"https://localhost:{self.port}/contoso.onmicrosoft.com/oauth2/v2.0/token")
        self.budget = Budget(name="m365", quota=100_000, clock=reactor, now=lambda: self.moment,
                             in_thread=deferToThread)
        self.client = GraphClient(self.http, self.tokens, self.budget.spend, APP.client_id)
        self.api = GraphApi(f"localhost:{self.port}")
        self.notifications: GraphNotifications | None = None
        self.source = self.made()

    def made(self, url: str = "", state: Path | None = None) -> GraphSource:
        if url:
            self.notifications = GraphNotifications(
                self.client, self.api, url=url, integration="m365", clock=reactor, now=lambda: self.moment,
                jitter=lambda: 0.0, in_thread=deferToThread, state=state)
        return GraphSource(self.client, self.api, integration="m365", in_thread=deferToThread,
                           notifications=self.notifications)

    @property
    def window(self) -> Window:
        return Window(self.moment - timedelta(days=1), self.moment + timedelta(days=7))

    def book(self, hours: float, subject: str, room: str = ROOM, **fields: Any) -> str:
        start = self.moment + hours * HOUR
        return self.calendars.book(room, start, start + HOUR, subject=subject, **fields).id

    def pass_time(self, time: timedelta) -> None:
        self.moment += time
        self.clocked.clock.advance(time.total_seconds())

    async def read(self, memory: Any = None, room: str = ROOM) -> RoomReading:
        return await self.source.read(room, self.window, memory)

    async def stop(self) -> None:
        await self.source.stop()
        await self.server.stop()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest_twisted.async_yield_fixture  # type: ignore[untyped-decorator]
async def cloud(certificates: Certificates, tmp_path: Path) -> AsyncIterator[Cloud]:
    found = Cloud(certificates, tmp_path)
    yield found
    await found.stop()


def subjects(reading: RoomReading) -> list[str]:
    return sorted(one.subject for one in reading.invitations)


async def test_bookings_come_as_they_were_made(cloud: Cloud) -> None:
    properties = {"SkypeTeamsMeetingUrl": "https://teams.microsoft.com/l/x", "TeamsVtcConferenceId": "109"}
    cloud.book(2, "Plans", uid=GLOBAL_ID, location="Board room", body_html="<p>Join here</p>", is_private=True,
               organizer=Organizer("Kim Berg", "kim@example.com"), free_busy=FreeBusyStatus.TENTATIVE,
               properties=properties)
    (found,) = (await cloud.read()).invitations
    assert found == Invitation(
        uid=GLOBAL_ID, start_time=cloud.moment + 2 * HOUR, end_time=cloud.moment + 3 * HOUR, subject="Plans",
        location="Board room", body_html=found.body_html, organizer=Organizer("Kim Berg", "kim@example.com"),
        is_private=True, free_busy=FreeBusyStatus.TENTATIVE, properties=found.properties)
    assert "<p>Join here</p>" in found.body_html
    graph = found.properties["graph"]
    assert {one["id"].split()[-1]: one["value"] for one in graph["singleValueExtendedProperties"]} == properties
    assert graph["onlineMeeting"] == {"joinUrl": "https://teams.microsoft.com/l/x"}


async def test_a_series_is_read_with_what_differs_and_what_was_cancelled(cloud: Cloud) -> None:
    series = cloud.book(1, "Standup", rule="FREQ=DAILY;COUNT=5", uid=GLOBAL_ID)
    stamps = [f"{cloud.moment + HOUR + timedelta(days=day):%Y%m%dT%H%M%SZ}" for day in range(5)]
    cloud.calendars.change_occurrence(ROOM, series, stamps[1], subject="Long standup")
    cloud.calendars.cancel_occurrence(ROOM, series, stamps[2])
    first = await cloud.read()
    assert {(one.uid, one.occurrence) for one in first.invitations} == {
        (GLOBAL_ID, stamp) for stamp in stamps if stamp != stamps[2]}
    assert {one.occurrence: one.item_type for one in first.invitations}[stamps[1]] is CalendarItemType.EXCEPTION
    cloud.calendars.cancel_occurrence(ROOM, series, stamps[3])
    second = await cloud.read(first.memory)
    assert {occurrence for _, occurrence in second.unchanged} | {one.occurrence for one in second.invitations} == {
        stamps[0], stamps[1], stamps[4]}


async def test_only_what_changed_is_read_again(cloud: Cloud) -> None:
    ids = [cloud.book(hour, f"Meeting {hour}") for hour in range(1, 61)]
    first = await cloud.read()
    assert (len(first.invitations), first.requests) == (60, 2)
    cloud.calendars.change(ROOM, ids[9], subject="Changed")
    cloud.calendars.cancel(ROOM, ids[0])
    second = await cloud.read(first.memory)
    assert (subjects(second), len(second.unchanged), second.requests) == (["Changed"], 58, 2)
    third = await cloud.read(second.memory)
    assert (subjects(third), len(third.unchanged), third.requests) == ([], 59, 1)
    assert cloud.budget.used() == cloud.server.counts["calendarView"] == 5


async def test_a_large_room_is_watched_by_delta(cloud: Cloud) -> None:
    for minutes in range(MARK_PAGE + 20):
        cloud.book(minutes / 10, f"Meeting {minutes}")
    memory = (await cloud.read()).memory
    memory = (await cloud.read(memory)).memory
    for _ in range(3):
        reading = await cloud.read(memory)
        assert (reading.requests, len(reading.unchanged)) == (1, MARK_PAGE + 20)
        memory = reading.memory
    cloud.book(1.5, "New")
    reading = await cloud.read(memory)
    assert (subjects(reading), len(reading.unchanged)) == (["New"], MARK_PAGE + 20)
    cloud.server.deltas.expire_all()
    reading = await cloud.read(reading.memory)
    assert (subjects(reading), len(reading.unchanged)) == ([], MARK_PAGE + 21)
    assert (await cloud.read(reading.memory)).requests == 1
    cloud.pass_time(timedelta(days=2))
    assert (await cloud.read(reading.memory)).requests > 1


async def test_sweeps_see_bookings_and_tell_rooms_apart(cloud: Cloud) -> None:
    rooms, window = [ROOM, OTHER, "nobody@example.com"], cloud.window
    cloud.book(1, "Plans")
    before = await cloud.source.sweep(rooms, window)
    cloud.book(3, "Review", OTHER)
    after = await cloud.source.sweep(rooms, window)
    assert [before[room] == after[room] for room in rooms[:2]] == [True, False]
    assert isinstance(after["nobody@example.com"], RoomError)


@pytest.mark.parametrize(("limit", "size"), [(20, 20), (100, 100)])
async def test_how_many_rooms_a_sweep_may_have_is_found_out(certificates: Certificates, tmp_path: Path, limit: int,
                                                            size: int) -> None:
    cloud = Cloud(certificates, tmp_path, schedules_limit=limit)
    rooms = [f"room{number}@example.com" for number in range(150)]
    for room in rooms:
        cloud.calendars.add_room(room)
    cloud.source.watch(rooms)
    assert len(await cloud.source.sweep(rooms[:20], cloud.window)) == 20
    assert cloud.source.sweep_size == size
    assert len(await cloud.source.sweep(rooms[:size], cloud.window)) == size
    await cloud.stop()


@pytest.mark.parametrize(("state", "words"), [
    (Mailbox.UNKNOWN, "there is no such user"), (Mailbox.NOT_IN_THE_CLOUD, "no mailbox in Exchange Online"),
    (Mailbox.BLOCKED, f"Test-ApplicationAccessPolicy -Identity {ROOM} -AppId {APP.client_id}")])
async def test_why_a_room_cannot_be_read_is_told(cloud: Cloud, state: Mailbox, words: str) -> None:
    cloud.server.mailboxes[ROOM] = state
    with pytest.raises(RoomError, match=words):
        await cloud.read()
    assert (await cloud.read(room=OTHER)).invitations == []


async def test_an_expired_token_costs_one_more_request(cloud: Cloud) -> None:
    await cloud.read()
    cloud.moment += timedelta(hours=2)
    cloud.clocked.clock.advance(60)
    assert (await cloud.read()).requests == 2
    assert cloud.server.tokens.given == 2


async def test_a_wrong_secret_is_told_with_what_to_do(cloud: Cloud) -> None:
    tokens = graph_tokens(
        cloud.http, reactor=cloud.clocked, in_thread=deferToThread, integration="m365", client_id=APP.client_id,
        client_secret="wrong", scope="https://graph.microsoft.com/.default",
        token_url=f"https://localhost:{cloud.port}/contoso.onmicrosoft.com/oauth2/v2.0/token")
    source = GraphSource(GraphClient(cloud.http, tokens, cloud.budget.spend, APP.client_id), cloud.api,
                         integration="m365", in_thread=deferToThread)
    with pytest.raises(UnauthorizedError, match="not its Secret ID"):
        await source.read(ROOM, cloud.window, None)
    assert cloud.budget.used() == 0


@pytest.mark.parametrize(("fault", "kind"), [
    (Fault("status", status=429, retry_after_s=5), ThrottledError),
    (Fault("status", status=503, retry_after_s=5), ThrottledError),
    (Fault("status", status=500), UnreachableError), (Fault("status", status=504), UnreachableError),
    (Fault("truncated"), UnreachableError), (Fault("html"), UnreachableError),
    (Fault("reset", times=None), UnreachableError)])
async def test_a_fault_is_told_and_the_next_reading_is_whole(cloud: Cloud, fault: Fault,
                                                            kind: type[Exception]) -> None:
    cloud.book(1, "Plans")
    fault.operation = "calendarView"
    cloud.server.faults.append(fault)
    with pytest.raises(kind):
        await cloud.read()
    cloud.server.faults.clear()
    assert subjects(await cloud.read()) == ["Plans"]


class Receiver:
    """Where Graph's notices come in, over TLS."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def __call__(self, request: Any) -> bytes:
        assert self.cloud.notifications is not None
        status, kind, body = self.cloud.notifications.handle(request.args, request.body)
        request.setResponseCode(status)
        request.setHeader("Content-Type", kind)
        return body


async def test_notices_tell_of_changes_after_a_handshake(cloud: Cloud, certificates: Certificates) -> None:
    news: list[str] = []
    async with web(Receiver(cloud), certificates.options()) as (_, port):
        cloud.source = cloud.made(f"https://localhost:{port}/notifications/m365")
        cloud.source.start(news.append)
        cloud.source.watch([ROOM, OTHER])
        await until(lambda: cloud.source.is_told_of(ROOM) and cloud.source.is_told_of(OTHER) and len(news) == 2)
        assert all(len(one.client_state or "") >= 40 for one in cloud.server.subscriptions.all())
        news.clear()
        cloud.book(1, "Plans")
        await until(lambda: news == [ROOM])
        (subscription,) = [one for one in cloud.server.subscriptions.all() if one.room == ROOM]
        for event in ("reauthorizationRequired", "missed"):
            cloud.server.subscriptions.tell(subscription.id, event)
        await until(lambda: not subscription.must_be_reauthorized and news == [ROOM] * 2)
        cloud.server.subscriptions.tell(subscription.id, "subscriptionRemoved")
        await until(lambda: any(one.room == ROOM and one.id != subscription.id
                                for one in cloud.server.subscriptions.all()))
        await until(lambda: cloud.source.is_told_of(ROOM))
        await cloud.source.stop()
        assert cloud.server.subscriptions.all() == ()


async def test_an_address_that_graph_cannot_reach_is_told_and_leaves_polling(
        cloud: Cloud, logged_events: list[dict[str, Any]]) -> None:
    cloud.source = cloud.made("https://localhost:9/notifications/m365")
    cloud.source.start(lambda _: None)
    cloud.source.watch([ROOM])
    await until(lambda: any("it is polled" in str(one.get("log_format")) for one in logged_events))
    assert not cloud.source.is_told_of(ROOM)


async def test_a_gatherer_delivers_what_a_notice_tells_of(cloud: Cloud, certificates: Certificates) -> None:
    delivered: dict[str, list[str]] = {}

    async def deliver(room: str, invitations: Any, unchanged: frozenset[Occurrence]) -> None:
        delivered.setdefault(room, []).extend(one.subject for one in invitations)

    clock = Clock()
    board = StatusBoard(lambda: cloud.moment)
    board.configure((), (IntegrationStatus("m365", "graph"),))
    async with web(Receiver(cloud), certificates.options()) as (_, port):
        cloud.source = cloud.made(f"https://localhost:{port}/notifications/m365")
        gatherer = CalendarGatherer(
            name="m365", source=cloud.source, deliver=deliver, upcoming=lambda _: [], budget=cloud.budget,
            board=board, room_failed=lambda *_: None, clock=clock, now=lambda: cloud.moment, jitter=lambda: 0.0)
        gatherer.configure({ROOM: timedelta(days=7), OTHER: timedelta(days=7)})
        gatherer.start()

        def is_delivered(*expected: str) -> bool:
            clock.advance(0.5)
            return delivered.get(ROOM) == list(expected) and cloud.source.is_told_of(ROOM)

        await until(is_delivered)
        cloud.book(2, "Plans")
        await until(lambda: is_delivered("Plans"))
        assert board.integrations()[0].state is IntegrationState.OK
        assert not [one for one in board.alarms() if one.name is AlarmName.QUOTA_EXCEEDED]
        await gatherer.stop()
    assert cloud.budget.used() == sum(cloud.server.counts[name] for name in
                                      ("calendarView", "subscriptions", "getSchedule", "delta"))
