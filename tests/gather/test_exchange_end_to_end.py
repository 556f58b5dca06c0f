"""The source against the simulated Exchange, which was built from the same documents by other hands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from otjd.config.integrations import AuthenticationMethod, ExchangeIntegration
from otjd.config.secret import Secret
from otjd.gather.budget import Budget
from otjd.gather.calendar_gatherer import CalendarGatherer
from otjd.gather.exchange import ExchangeSource
from otjd.gather.exchange_streaming import COALESCE_S
from otjd.gather.exchange_turns import MOST_AT_ONCE
from otjd.gather.source import Occurrence, RoomError, ThrottledError, UnauthorizedError, UnreachableError
from otjd.meetings.model import CalendarItemType, Invitation, Window
from otjd.operate.board import AlarmName, IntegrationStatus, StatusBoard
from otjd.outbound.client import HttpClient
from otjd.rules.properties import flat_properties
from otjd.seam import deferred
from otjd.simulate.certificates import Certificates, make_certificates
from otjd.simulate.exchange_settings import Fault, ServiceAccount, Throttling
from otjd.sources import Surroundings, exchange_client
from tests.outbound.servers import reactor, until
from tests.simulate.exchange_world import ACCOUNT, ADA, LOUNGE, NOW, ROOM, VAULT, World
from tests.simulate.exchange_world import world as simulated

WINDOW = Window(NOW - timedelta(days=1), NOW + timedelta(days=7))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"), ["exchange.example.com"], NOW)


class Tokens:
    """Tokens of the simulated service account."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.issued = 0
        self.kept = ""

    async def token(self) -> str:
        if not self.kept:
            self.issued += 1
            self.kept = self.world.server.access.issue_token(ACCOUNT.username)
        return self.kept

    def forget(self) -> None:
        self.kept = ""


class Reader:
    """The source, with what it told and spent."""

    def __init__(self, world: World, *, scheme: str = "basic", password: str = "right", username: str = "",
                 is_found: bool = False) -> None:
        self.world = world
        self.spent: list[int] = []
        self.changed: list[str] = []
        self.http = HttpClient(reactor, ca_file=world.certificates.ca_certificate,
                               connections_per_host=MOST_AT_ONCE)
        integration = ExchangeIntegration(
            name="onprem", authentication_method=AuthenticationMethod(scheme.upper()),
            service_account_username=username or ACCOUNT.username, service_account_password=Secret(password),
            ews_url="" if is_found else world.url,
            autodiscover_urls=(f"https://localhost:{world.port}/autodiscover/autodiscover.svc",))
        self.tokens = Tokens(world) if scheme == "oauth" else None
        around = Surroundings(reactor=world.clock, now=lambda: world.now, in_thread=deferToThread,
                              spend=self.spent.append)
        self.source = ExchangeSource(exchange_client(integration, self.http, self.tokens, around),
                                     clock=world.clock, in_thread=deferToThread, jitter=lambda: 0.0)

    async def read(self, memory: Any = None, room: str = ROOM) -> Any:
        return await self.source.read(room, WINDOW, memory)

    async def listen(self, *rooms: str) -> None:
        """Have these rooms subscribed after they were read."""
        for room in rooms:
            await self.read(room=room)
        self.source.start(self.changed.append)
        self.source.watch(rooms)
        await self.until(lambda: all(self.source.is_told_of(room) for room in rooms))

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until something holds, while time passes."""
        def passing() -> bool:
            if holds():
                return True
            self.world.clock.advance(0.1)
            return False

        await until(passing)

    async def news(self) -> list[str]:
        """What was told by the time that a wait for more would end."""
        await until(lambda: self.pending)
        self.world.clock.advance(COALESCE_S)
        told, self.changed[:] = list(self.changed), []
        return sorted(told)

    @property
    def pending(self) -> Any:
        return self.source._streams._pending

    async def close(self) -> None:
        await self.source.stop()
        await self.http.close()


@asynccontextmanager
async def reading(certificates: Certificates, *, settings: dict[str, Any] | None = None,
                  **reader: Any) -> AsyncIterator[tuple[World, Reader]]:
    async with simulated(certificates, **(settings or {})) as world:
        made = Reader(world, **reader)
        try:
            yield world, made
        finally:
            await made.close()


async def test_bookings_come_with_all_that_rules_need(certificates: Certificates) -> None:
    async with reading(certificates) as (world, reader):
        booking = world.book(body_html="<p>Join <a href='https://x.example/1'>here</a></p>", location="Oslo",
                             is_private=True, properties={"TeamsVtcConferenceId": "1150093344"})
        series = world.book(minutes=120, rule="FREQ=DAILY;COUNT=3")
        found = await reader.read()
        first, *others = sorted(found.invitations, key=lambda one: one.start_time)
        assert (first.uid, first.subject, first.location, first.organizer) == (booking.uid, "Weekly", "Oslo", ADA)
        assert "https://x.example/1" in first.body_html
        assert (first.is_private, first.start_time, first.end_time) == (True, booking.start_time, booking.end_time)
        assert flat_properties(first.properties)["teams_vtc_conference_id"] == "1150093344"
        assert {one.uid for one in others} == {series.uid}
        assert [one.occurrence for one in others] == [
            f"{series.start_time + timedelta(days=n):%Y%m%dT%H%M%SZ}" for n in range(3)]
        assert {one.item_type for one in others} == {CalendarItemType.OCCURRENCE}
        assert sum(reader.spent) == found.requests == 2


async def test_only_what_changed_is_asked_for_again(certificates: Certificates) -> None:
    async with reading(certificates) as (world, reader):
        bookings = [world.book(minutes=60 * n) for n in range(1, 31)]
        first = await reader.read()
        assert (len(first.invitations), first.requests) == (30, 5)
        world.calendars.change(ROOM, bookings[4].id, subject="Changed")
        world.calendars.cancel(ROOM, bookings[5].id)
        second = await reader.read(first.memory)
        assert [one.subject for one in second.invitations] == ["Changed"]
        assert len(second.unchanged) == 28
        assert (await reader.read(second.memory)).requests == 1


async def test_a_moved_occurrence_stays_the_same_occurrence(certificates: Certificates) -> None:
    async with reading(certificates) as (world, reader):
        series = world.book(rule="FREQ=DAILY;COUNT=3")
        first = await reader.read()
        stamp = f"{series.start_time + timedelta(days=1):%Y%m%dT%H%M%SZ}"
        start = series.start_time + timedelta(hours=30)
        world.calendars.change_occurrence(ROOM, series.id, stamp, start_time=start,
                                          end_time=start + timedelta(hours=1))
        second = await reader.read(first.memory)
        moved = [one for one in second.invitations if one.item_type is CalendarItemType.EXCEPTION]
        assert [(one.uid, one.occurrence) for one in moved] == [(series.uid, stamp)]
        assert {one.occurrence for one in second.invitations} | {o for _, o in second.unchanged} == {
            one.occurrence for one in first.invitations}


async def test_more_meetings_than_the_policy_allows_in_one_answer_are_all_read(certificates: Certificates) -> None:
    async with reading(certificates) as (world, reader):
        for n in range(700):
            world.book(minutes=n)
        assert len((await reader.read()).invitations) == 700


async def test_sweeps_tell_which_rooms_changed(certificates: Certificates) -> None:
    async with reading(certificates) as (world, reader):
        rooms = [ROOM, LOUNGE, VAULT, "nobody@example.com"]
        world.book(LOUNGE)
        before = await reader.source.sweep(rooms, WINDOW)
        assert [isinstance(before.get(room), bytes) for room in rooms] == [True, True, True, False]
        assert isinstance(before["nobody@example.com"], RoomError)
        assert await reader.source.sweep(rooms[:3], WINDOW) == {room: before[room] for room in rooms[:3]}
        world.book(ROOM)
        after = await reader.source.sweep(list(reversed(rooms)), WINDOW)
        assert [room for room in rooms[:3] if after[room] != before[room]] == [ROOM]
        world.pass_time(timedelta(seconds=30))
        again = await reader.source.sweep(rooms, WINDOW)
        assert {room: again[room] for room in rooms[:3]} == {room: after[room] for room in rooms[:3]}


async def test_streams_tell_of_changes_a_moment_later(certificates: Certificates) -> None:
    async with reading(certificates, settings={"groups": 1}) as (world, reader):
        await reader.listen(ROOM, LOUNGE)
        assert await reader.news() == sorted([ROOM, LOUNGE]), "what happened before is looked at once"
        booking = world.book(ROOM)
        assert await reader.news() == [ROOM]
        world.calendars.change(ROOM, booking.id, subject="Again")
        world.calendars.change(ROOM, booking.id, subject="And again")
        world.book(LOUNGE)
        assert await reader.news() == sorted([ROOM, LOUNGE])
        world.calendars.cancel(ROOM, booking.id)
        assert await reader.news() == [ROOM]
        assert world.server.requests["GetStreamingEvents"] == 1


async def test_what_is_read_after_it_was_subscribed_is_not_read_twice(certificates: Certificates) -> None:
    async with reading(certificates) as (world, reader):
        reader.source.start(reader.changed.append)
        reader.source.watch([ROOM])
        await reader.until(lambda: reader.source.is_told_of(ROOM))
        assert not reader.pending
        world.book(ROOM)
        assert await reader.news() == [ROOM]


@pytest.mark.parametrize("is_found", [True, False])
async def test_rooms_of_other_groups_have_streams_of_their_own(certificates: Certificates, *,
                                                               is_found: bool) -> None:
    """Autodiscover tells the groups; without it the server refuses a stranger, who then begins another."""
    account = ServiceAccount(ACCOUNT.username, "right")
    settings = {"groups": 3, "accounts": (account,)}
    async with reading(certificates, settings=settings, is_found=is_found) as (world, reader):
        rooms = [f"r{n}@example.com" for n in range(12)]
        rooms_in_order = sorted(rooms)
        for room in rooms:
            world.calendars.add_room(room)
        await reader.listen(*rooms)
        await reader.until(lambda: not reader.pending)
        assert sorted(reader.changed) == rooms_in_order
        reader.changed.clear()
        groups = {world.server.group(room) for room in rooms}
        assert len(world.server.streams) == len(groups) > 1
        for room in rooms:
            world.book(room)
        await until(lambda: len(reader.pending) == len(rooms))
        assert await reader.news() == rooms_in_order


async def test_a_stream_that_breaks_is_opened_again_and_its_rooms_are_read(certificates: Certificates) -> None:
    async with reading(certificates) as (world, reader):
        await reader.listen(ROOM, LOUNGE)
        await reader.news()
        await world.server.site.close()
        await until(lambda: not reader.source.is_told_of(ROOM))
        world.book(ROOM)
        await reader.until(lambda: reader.source.is_told_of(ROOM))
        assert await reader.news() == sorted([ROOM, LOUNGE])
        assert world.server.requests["Subscribe"] == 2, "they were still there"


async def test_subscriptions_that_the_server_forgot_are_made_anew(certificates: Certificates) -> None:
    async with reading(certificates) as (world, reader):
        await reader.listen(ROOM, LOUNGE)
        await reader.news()
        world.server.subscriptions.forget()
        await until(lambda: not reader.source.is_told_of(ROOM))
        await reader.until(lambda: reader.source.is_told_of(ROOM) and reader.source.is_told_of(LOUNGE))
        await reader.until(lambda: not reader.pending)
        assert set(reader.changed) == {ROOM, LOUNGE}
        reader.changed.clear()
        world.book(LOUNGE)
        assert await reader.news() == [LOUNGE]


async def test_a_stream_that_ends_by_its_time_is_opened_again_without_reading_everything(
        certificates: Certificates) -> None:
    async with reading(certificates) as (world, reader):
        await reader.listen(ROOM)
        await reader.news()
        world.pass_time(timedelta(minutes=30))
        await reader.until(lambda: world.server.requests["GetStreamingEvents"] == 2)
        await reader.until(lambda: reader.source.is_told_of(ROOM))
        assert not reader.pending
        world.book(ROOM)
        assert await reader.news() == [ROOM]


async def test_rooms_come_and_go_while_a_stream_is_open(certificates: Certificates) -> None:
    async with reading(certificates) as (world, reader):
        await reader.listen(ROOM)
        await reader.news()
        reader.source.watch([ROOM, LOUNGE])
        await reader.until(lambda: reader.source.is_told_of(LOUNGE))
        reader.source.watch([LOUNGE])
        assert not reader.source.is_told_of(ROOM)
        await reader.until(lambda: world.server.requests["Unsubscribe"] == 1)
        await reader.until(lambda: reader.source.is_told_of(LOUNGE) and not reader.pending)
        world.clock.advance(COALESCE_S)
        reader.changed.clear()
        world.book(ROOM)
        world.book(LOUNGE)
        assert await reader.news() == [LOUNGE]


async def test_a_room_that_may_not_be_impersonated_costs_no_other(certificates: Certificates) -> None:
    async with reading(certificates) as (_, reader):
        with pytest.raises(RoomError, match="ApplicationImpersonation"):
            await reader.read(room=VAULT)
        with pytest.raises(RoomError, match="there is no mailbox"):
            await reader.read(room="nobody@example.com")
        reader.source.start(reader.changed.append)
        reader.source.watch([ROOM, VAULT])
        await reader.until(lambda: reader.source.is_told_of(ROOM))
        assert not reader.source.is_told_of(VAULT)


@pytest.mark.parametrize("scheme", ["basic", "ntlm"])
async def test_a_wrong_password_is_tried_once_by_all_who_ask(certificates: Certificates, scheme: str) -> None:
    async with reading(certificates, scheme=scheme, password="wrong") as (world, reader):
        reader.source.start(reader.changed.append)
        reader.source.watch([ROOM, LOUNGE])
        asked = [deferred(reader.read(room=room)) for room in (ROOM, LOUNGE) * 4]
        asked.append(deferred(reader.source.sweep([ROOM], WINDOW)))
        for one in asked:
            with pytest.raises(UnauthorizedError):
                await one
        world.clock.advance(60)
        with pytest.raises(UnauthorizedError):
            await reader.read()
        assert sum(world.server.access.refused.values()) == 1


async def test_a_password_that_was_changed_is_tried_twice_at_most(certificates: Certificates) -> None:
    async with reading(certificates) as (world, reader):
        await reader.read()
        world.server.access.change_password(ACCOUNT.username, "new")
        for _ in range(3):
            with pytest.raises(UnauthorizedError):
                await reader.read()
        assert sum(world.server.access.refused.values()) == 2


async def test_a_token_that_ended_is_replaced(certificates: Certificates) -> None:
    async with reading(certificates, scheme="oauth", settings={"schemes": ("bearer",)}) as (world, reader):
        world.book()
        assert len((await reader.read()).invitations) == 1
        world.server.access.revoke_tokens()
        assert len((await reader.read()).invitations) == 1
        assert reader.tokens is not None
        assert reader.tokens.issued == 2


@pytest.mark.parametrize("protection", ["none", "allow", "require"])
async def test_ntlm_is_bound_to_the_servers_certificate(certificates: Certificates, protection: str) -> None:
    settings = {"extended_protection": protection}
    async with reading(certificates, scheme="ntlm", settings=settings) as (world, reader):
        world.book()
        assert len((await reader.read()).invitations) == 1
        await reader.read()
        assert world.server.access.unbound == 0
        assert world.server.access.handshakes == 1, "the connection is signed in"


async def test_ntlm_carries_streams_beside_reads(certificates: Certificates) -> None:
    async with reading(certificates, scheme="ntlm", username="EXAMPLE\\svc-otj") as (world, reader):
        await reader.listen(ROOM)
        await reader.news()
        world.book()
        assert await reader.news() == [ROOM]
        assert len((await reader.read()).invitations) == 1


async def test_autodiscover_finds_the_server(certificates: Certificates) -> None:
    async with reading(certificates, is_found=True) as (world, reader):
        world.book()
        assert len((await reader.read()).invitations) == 1
        with pytest.raises(RoomError):
            await reader.read(room="nobody@example.com")


async def test_autodiscover_finds_hundreds_of_rooms_that_are_asked_for_together(
        certificates: Certificates) -> None:
    of_all = ServiceAccount(ACCOUNT.username, ACCOUNT.password)
    async with reading(certificates, settings={"accounts": (of_all,)}, is_found=True) as (world, reader):
        rooms = [f"r{number}@example.com" for number in range(250)]
        for room in rooms:
            world.calendars.add_room(room)
        asked = [deferred(reader.read(room=room)) for room in rooms]
        reader.source.watch(rooms)
        for one in asked:
            assert not (await one).invitations


async def test_a_busy_server_is_left_alone_for_as_long_as_it_says(certificates: Certificates) -> None:
    async with reading(certificates) as (world, reader):
        world.server.faults.append(Fault("busy", back_off=timedelta(seconds=42)))
        with pytest.raises(ThrottledError) as caught:
            await reader.read()
        assert (caught.value.retry_after, caught.value.room) == (timedelta(seconds=42), ROOM)


@pytest.mark.parametrize(("kind", "error"), [
    ("error", RoomError), ("503", ThrottledError), ("reset", UnreachableError), ("truncated", UnreachableError),
    ("html", UnreachableError)])
async def test_faults_are_told_apart_and_the_next_read_works(certificates: Certificates, kind: Any,
                                                             error: type[Exception]) -> None:
    async with reading(certificates) as (world, reader):
        world.book()
        await reader.read()
        # a kept connection that ends may have been closed before: the request goes out once more
        world.server.faults.append(Fault(kind, times=2 if kind == "reset" else 1))
        with pytest.raises(error):
            await reader.read()
        assert len((await reader.read()).invitations) == 1


async def test_a_single_refusal_of_a_right_password_is_overlooked(certificates: Certificates) -> None:
    async with reading(certificates) as (world, reader):
        await reader.read()
        world.server.faults.append(Fault("401", times=1))
        assert (await reader.read()).invitations == []


@pytest.mark.parametrize("allowed", [5, 10, MOST_AT_ONCE])
async def test_as_many_requests_are_under_way_as_the_policy_allows(certificates: Certificates,
                                                                    allowed: int) -> None:
    """Exchange 2010 allows 10 and later ones 27, an administrator any number: what is refused is asked again."""
    settings = {"throttling": Throttling(max_concurrency=allowed), "latency_s": (0.5, 0.5)}
    async with reading(certificates, settings=settings) as (world, reader):
        async def read_often() -> None:
            for _ in range(25):
                assert (await reader.read({})).invitations == []

        asked = [deferred(read_often()) for _ in range(30)]
        await reader.until(lambda: all(one.called for one in asked))
        for one in asked:
            await one
        # on a busy machine some are on their way when others are answered
        assert 0.8 * allowed <= world.server.budgets.peak <= allowed
        refused = world.server.faulted["ErrorExceededConnectionCount"]
        assert refused <= 15
        assert reader.source.at_once <= allowed
        assert len(reader.spent) == 25 * 30 + refused


async def test_streams_open_beside_reads_where_the_policy_counts_them_alike(certificates: Certificates) -> None:
    settings = {"throttling": Throttling(max_concurrency=10), "latency_s": (0.5, 0.5), "groups": 1}
    async with reading(certificates, settings=settings) as (world, reader):
        found = [deferred(reader.read()) for _ in range(400)]  # how many are too many
        await reader.until(lambda: all(one.called for one in found))
        refused = world.server.faulted["ErrorExceededConnectionCount"]
        assert refused
        asked = [deferred(reader.read()) for _ in range(300)]
        reader.source.start(reader.changed.append)
        reader.source.watch([ROOM, LOUNGE])
        await reader.until(lambda: reader.source.is_told_of(ROOM) and reader.source.is_told_of(LOUNGE))
        assert not all(one.called for one in asked)
        await reader.until(lambda: all(one.called for one in asked))
        assert world.server.faulted["ErrorExceededConnectionCount"] == refused


class Gathered(Reader):
    """The gatherer over the source, and what it delivered."""

    def __init__(self, world: World, **reader: Any) -> None:
        super().__init__(world, **reader)
        self.held: dict[str, set[str]] = {}
        self.failed: dict[str, str] = {}
        self.board = StatusBoard(lambda: world.now)
        self.board.configure([], [IntegrationStatus("onprem", "exchange")])
        budget = Budget(name="onprem", quota=1_000_000, clock=world.clock, now=lambda: world.now,
                        in_thread=deferToThread)
        self.gatherer = CalendarGatherer(
            name="onprem", source=self.source, deliver=self.deliver, upcoming=lambda _: [],
            room_failed=self.failed.__setitem__, board=self.board, clock=world.clock, now=lambda: world.now,
            budget=budget, jitter=lambda: 0.0)

    async def deliver(self, email: str, invitations: Sequence[Invitation],
                      unchanged: frozenset[Occurrence]) -> None:
        self.held[email] = {one.uid for one in invitations} | {uid for uid, _ in unchanged}

    async def seconds_until(self, holds: Callable[[], object]) -> float:
        """How many simulated seconds pass until something holds."""
        before = self.world.now

        def passing() -> bool:
            if holds():
                return True
            self.world.now += timedelta(milliseconds=100)
            self.world.clock.advance(0.1)
            return False

        await until(passing)
        return (self.world.now - before).total_seconds()

    async def close(self) -> None:
        await self.gatherer.stop()
        await self.http.close()


async def test_the_gatherer_is_told_of_changes_between_its_reads(certificates: Certificates) -> None:
    async with simulated(certificates) as world:
        one = Gathered(world)
        one.gatherer.configure(dict.fromkeys((ROOM, LOUNGE, VAULT), timedelta(days=7)))
        one.gatherer.start()
        await one.seconds_until(lambda: ROOM in one.held and LOUNGE in one.held and VAULT in one.failed)
        assert "ApplicationImpersonation" in one.failed[VAULT]
        await one.seconds_until(lambda: one.source.is_told_of(ROOM) and not one.pending)
        booking = world.book(ROOM)
        assert await one.seconds_until(lambda: one.held[ROOM]) < 10
        world.calendars.cancel(ROOM, booking.id)
        assert await one.seconds_until(lambda: not one.held[ROOM]) < 10
        await one.close()
        assert not one.source.is_told_of(ROOM)


async def test_the_gatherer_stops_asking_with_a_wrong_password(certificates: Certificates) -> None:
    async with simulated(certificates) as world:
        one = Gathered(world, password="wrong")
        one.gatherer.configure(dict.fromkeys((ROOM, LOUNGE), timedelta(days=7)))
        one.gatherer.start()
        await one.seconds_until(lambda: any(
            alarm.name is AlarmName.INTEGRATION_UNAUTHORIZED for alarm in one.board.alarms()))
        for _ in range(200):
            world.now += timedelta(seconds=1)
            world.clock.advance(1)
            await deferLater(reactor, 0.001)
        assert sum(world.server.access.refused.values()) == 1
        await one.close()
