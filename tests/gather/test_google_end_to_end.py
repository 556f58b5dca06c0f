"""GoogleSource against the simulated Google, signed in by Google's own library, over TLS on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from otjd.gather.budget import Budget
from otjd.gather.calendar_gatherer import CalendarGatherer
from otjd.gather.consent import google_consent
from otjd.gather.google import GoogleSource
from otjd.gather.oauth import google_service_tokens, google_user_tokens
from otjd.gather.source import RoomError, RoomReading, ThrottledError, UnauthorizedError, UnreachableError
from otjd.gather.token_store import TokenStore
from otjd.gather.tokens import TokenSource
from otjd.meetings.model import EndpointType, FreeBusyStatus, Invitation, Organizer, Window
from otjd.operate.board import EndpointFacts, IntegrationStatus, StatusBoard
from otjd.outbound.client import HttpClient
from otjd.simulate.calendars import Calendars
from otjd.simulate.certificates import Certificates, make_certificates
from otjd.simulate.google import GoogleServer
from otjd.simulate.google_settings import (
    ConsentClient,
    Fault,
    FaultKind,
    GoogleSettings,
    Quotas,
    make_service_account,
)
from tests.outbound.servers import Clocked, reactor, until, web

ROOM = "board@resource.calendar.google.com"
OTHER = "other@resource.calendar.google.com"
ACCOUNT, KEY_FILE = make_service_account("otj@project.iam.gserviceaccount.com")
HOUR = timedelta(hours=1)
SignIn = Callable[[HttpClient, Any, str], Awaitable[TokenSource]]
"""From HTTP, reactor and the address of a Google to what gives its tokens."""

LONG = "<p>What is to be said before the meeting.</p>" * 1500
MEET = {"conferenceId": "abc-defg-hij", "entryPoints": [
    {"entryPointType": "video", "uri": "https://meet.google.com/abc-defg-hij"},
    {"entryPointType": "sip", "uri": "sip:2417036985521@gmeet.example.com"}]}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"), ["localhost"], datetime.now(UTC))


@dataclass
class World:
    """Calendars, the Google that shows them, and the source that reads them. What is waited for is waited for on
    a clock of the test's own; time begins now, since what signs in is dated."""

    clock: Clock
    calendars: Calendars
    google: GoogleServer
    source: Any = None
    spent: list[int] = field(default_factory=list)
    budget: Budget | None = None
    statuses: list[int] = field(default_factory=list)

    def spend(self, requests: int) -> None:
        self.spent.append(requests)
        if self.budget is not None:
            self.budget.spend(requests)

    @property
    def now(self) -> datetime:
        return self.calendars.now()

    @property
    def window(self) -> Window:
        return Window(self.now - timedelta(days=1), self.now + timedelta(days=7))

    def book(self, hours: float, room: str = ROOM, length: timedelta = HOUR, **fields: Any) -> Any:
        start = self.now.replace(minute=0, second=0, microsecond=0) + hours * HOUR
        return self.calendars.book(room, start, start + length, **fields)

    async def read(self, memory: Any = None, room: str = ROOM) -> RoomReading:
        reading: RoomReading = await self.source.read(room, self.window, memory)
        return reading

    def truth(self, room: str = ROOM, window: Window | None = None) -> dict[tuple[str, str], tuple[Any, ...]]:
        """What the calendars hold, in the terms that are compared."""
        return {(i.booking.uid, i.occurrence): (i.booking.start_time, i.booking.end_time, i.booking.subject,
                                                i.booking.body_html, i.booking.is_private)
                for i in self.calendars.instances(room, window or self.window)}


def held(invitation: Invitation) -> tuple[Any, ...]:
    return (invitation.start_time, invitation.end_time, invitation.subject, invitation.body_text,
            invitation.is_private)


def taken(reading: RoomReading, known: dict[Any, Any]) -> dict[tuple[str, str], tuple[Any, ...]]:
    """What is known of a room after a reading."""
    return ({key: known[key] for key in reading.unchanged}
            | {(i.uid, i.occurrence): held(i) for i in reading.invitations})


@asynccontextmanager
async def world_of(certificates: Certificates, *, is_told: bool = False, sign_in: SignIn | None = None,
                   **settings: Any) -> AsyncIterator[World]:
    clocked = Clocked()
    begin = datetime.now(UTC).replace(microsecond=0)
    calendars = Calendars(lambda: begin + timedelta(seconds=clocked.clock.seconds()))
    calendars.add_room(ROOM)
    google = GoogleServer(calendars, reactor=reactor, clock=clocked.clock, trusted=certificates.ca_certificate,
                          settings=GoogleSettings(**{"service_accounts": (ACCOUNT,), "default_role": "writer",
                                                     **settings}))
    api = f"https://localhost:{google.listen(certificates.certificate, certificates.private_key)}"
    http = HttpClient(reactor, ca_file=certificates.ca_certificate)
    world = World(clocked.clock, calendars, google)

    def deliver(request: Any) -> bytes:
        headers = {name.decode().lower(): values[-1].decode()
                   for name, values in request.requestHeaders.getAllRawHeaders()}
        world.statuses.append(world.source.handle(headers))
        request.setResponseCode(world.statuses[-1])
        return b""

    pair = PrivateCertificate.loadPEM(  # type: ignore[no-untyped-call]
        certificates.certificate.read_bytes() + certificates.private_key.read_bytes())
    async with web(deliver, pair.options()) as (_, hook):
        world.source = GoogleSource(
            integration="workspace", http=http, spend=world.spend, account=ACCOUNT.email,
            tokens=await sign_in(http, clocked, api) if sign_in else google_service_tokens(
                http, reactor=clocked, in_thread=deferToThread, integration="workspace", client_email="",
                private_key=KEY_FILE, token_endpoint=f"{api}/token"),
            api_url=f"{api}/calendar/v3", clock=clocked.clock, now=calendars.now, in_thread=deferToThread,
            jitter=lambda: 0.0,
            notification_url=f"https://localhost:{hook}/notifications/workspace" if is_told else "")
        try:
            yield world
        finally:
            await world.source.stop()
            await http.close()
            await google.stop()


async def test_a_calendar_is_read_as_it_is(certificates: Certificates) -> None:
    async with world_of(certificates) as world:
        world.book(1, subject="Budget", body_html="<b>Join</b>", location="Oslo", conference=MEET,
                   organizer=Organizer("Ann", "ann@example.com"))
        series = world.book(2, subject="Weekly", rule="FREQ=DAILY;COUNT=5")
        first, second, third = [i.occurrence for i in world.calendars.instances(ROOM, world.window)
                                if i.booking.uid == series.uid][:3]
        world.calendars.cancel_occurrence(ROOM, series.id, first)
        world.calendars.change_occurrence(ROOM, series.id, second, subject="Moved",
                                          start_time=world.now + 30 * HOUR, end_time=world.now + 31 * HOUR)
        world.book(5, subject="Secret", is_private=True)
        world.book(6, subject="Maybe", free_busy=FreeBusyStatus.TENTATIVE)
        world.book(24 * 20, subject="Later")
        reading = await world.read()
        assert taken(reading, {}) == world.truth()
        found = {i.subject: i for i in reading.invitations}
        assert found["Budget"].organizer == Organizer("Ann", "ann@example.com")
        assert found["Budget"].location == "Oslo"
        assert found["Budget"].properties["google"]["conferenceData"]["entryPoints"][1]["uri"].startswith("sip:24")
        assert found["Budget"].properties["google"]["hangoutLink"] == "https://meet.google.com/abc-defg-hij"
        assert found["Moved"].occurrence == second
        assert found["Weekly"].occurrence >= third
        assert found["Maybe"].free_busy is FreeBusyStatus.TENTATIVE
        assert "Later" not in found


async def test_what_a_calendar_shows_depends_on_how_it_is_shared(certificates: Certificates) -> None:
    async with world_of(certificates) as world:
        world.book(1, subject="Secret", is_private=True)
        memory = None
        for role, subject in (("writer", "Secret"), ("reader", ""), ("owner", "Secret")):
            world.google.api.share(ROOM, role)  # type: ignore[arg-type]
            reading = await world.read(memory)
            memory = reading.memory
            assert [(i.is_private, i.subject) for i in reading.invitations] == [(True, subject)]
        world.google.api.share(ROOM, "freeBusyReader")
        with pytest.raises(RoomError, match="may only see when"):
            await world.read()
        world.google.api.share(ROOM, "none")
        with pytest.raises(RoomError, match="404 notFound"):
            await world.read()
        with pytest.raises(RoomError, match="share it with otj@project"):
            await world.read(room="nobody@example.com")


def stir(world: World, chance: Random, step: int, body: str) -> None:
    """Have something happen to the calendar of ROOM, or to what is known of it."""
    calendars = world.calendars
    one = chance.choice(calendars.bookings(ROOM))
    stamps = [i.occurrence for i in calendars.instances(ROOM, world.window)
              if i.booking.id == one.id and i.occurrence]
    match chance.randrange(11):
        case 0:
            world.book(chance.randrange(200), subject=f"new {step}", body_html=body)
        case 1:
            world.book(chance.randrange(100), subject=f"series {step}", rule="FREQ=DAILY;COUNT=20")
        case 2:
            calendars.change(ROOM, one.id, subject=f"changed {step}")
        case 3:
            calendars.change(ROOM, one.id, exceptions={}, start_time=one.start_time + HOUR,
                             end_time=one.end_time + HOUR)
        case 4 if len(calendars.bookings(ROOM)) > 3:
            calendars.cancel(ROOM, one.id)
        case 5 if stamps:
            calendars.change_occurrence(ROOM, one.id, chance.choice(stamps), subject=f"exception {step}")
        case 6 if stamps:
            stamp = chance.choice(stamps)
            start = datetime.strptime(f"{stamp}+0000", "%Y%m%dT%H%M%SZ%z") + chance.randrange(-100, 200) * HOUR
            calendars.change_occurrence(ROOM, one.id, stamp, start_time=start, end_time=start + HOUR)
        case 7 if stamps:
            calendars.cancel_occurrence(ROOM, one.id, chance.choice(stamps))
        case 8:
            world.google.api.lists.expire_sync_tokens()
        case 9:
            world.clock.advance(chance.randrange(1, 8000))


@pytest.mark.parametrize(("body", "seed"), [("short", 1), (LONG, 2), (LONG, 3)])
async def test_every_change_is_found_whatever_happens_to_tokens_and_pages(body: str, seed: int,
                                                                          certificates: Certificates) -> None:
    chance = Random(seed)  # noqa: S311 - chance, not secrecy
    async with world_of(certificates, short_pages=0.5, token_life=timedelta(hours=23)) as world:
        for number in range(4):
            world.book(number, subject=str(number), body_html=body)
        world.book(1, subject="Series", rule="FREQ=DAILY;COUNT=30")
        await world.read()  # signs in before the clock moves on
        memory: Any = None
        known: dict[Any, Any] = {}
        for step in range(50):
            stir(world, chance, step, body)
            reading = await world.read(memory)
            known, memory = taken(reading, known), reading.memory
            window = world.window
            shown = {key: value for key, value in known.items() if window.overlaps(value[0], value[1])}
            assert shown == world.truth(), step
        assert sum(world.spent) == world.google.api.requests["events.list"]


async def test_a_quiet_large_calendar_costs_one_small_request(certificates: Certificates) -> None:
    async with world_of(certificates) as world:
        world.book(1, subject="Long", body_html=LONG)
        reading = await world.read()
        reading = await world.read(reading.memory)
        for _ in range(3):
            reading = await world.read(reading.memory)
            assert (reading.requests, list(reading.invitations), len(reading.unchanged)) == (1, [], 1)
        world.book(2, subject="New")
        reading = await world.read(reading.memory)
        assert [i.subject for i in reading.invitations] == ["New"]


async def test_a_sweep_tells_of_times_that_changed_and_of_nothing_else(certificates: Certificates) -> None:
    rooms = [ROOM, *(f"room{n}@resource.calendar.google.com" for n in range(49))]
    async with world_of(certificates) as world:
        for room in rooms[1:]:
            world.calendars.add_room(room)
        booked = world.book(1, subject="Budget")
        window = world.window

        async def swept() -> dict[str, Any]:
            return dict(await world.source.sweep(rooms, window))

        first = await swept()
        assert first.keys() == set(rooms)
        world.calendars.change(ROOM, booked.id, subject="Another")
        assert await swept() == first
        world.calendars.change(ROOM, booked.id, end_time=booked.end_time + HOUR)
        second = await swept()
        assert {room for room in rooms if first[room] != second[room]} == {ROOM}
        world.google.api.share(ROOM, "none")
        world.google.api.troubles[rooms[1]] = "internalError"
        third = await swept()
        assert isinstance(third.pop(ROOM), RoomError)
        assert third.keys() == set(rooms[2:])
        assert sum(world.spent) == world.google.api.requests["freebusy.query"] == 4


async def test_a_sweep_of_a_year_is_cut_to_what_google_takes(certificates: Certificates) -> None:
    async with world_of(certificates, free_busy_range=timedelta(days=31)) as world:
        year = Window(world.now, world.now + timedelta(days=365))
        with pytest.raises(UnreachableError, match="longer than Google allows"):
            await world.source.sweep([ROOM], year)
        assert (await world.source.sweep([ROOM], year)).keys() == {ROOM}


async def test_changes_are_told_of_by_channels(certificates: Certificates) -> None:
    news: list[str] = []
    async with world_of(certificates, is_told=True) as world:
        world.calendars.add_room(OTHER)
        world.source.start(news.append)
        world.source.watch([ROOM, OTHER])

        def are_told(*rooms: str) -> bool:
            world.clock.advance(0.5)
            return all(world.source.is_told_of(room) for room in rooms)

        await until(lambda: are_told(ROOM, OTHER))
        assert news == []
        booked = world.book(1)
        await until(lambda: are_told() and news)
        assert set(news) == {ROOM}
        world.calendars.cancel(ROOM, booked.id)
        await until(lambda: are_told() and len(news) >= 2)
        assert {channel.room for channel in world.google.api.channels.live()} == {ROOM, OTHER}
        world.source.watch([OTHER])
        await until(lambda: are_told() and len(world.google.api.channels.live()) == 1)
        assert not world.source.is_told_of(ROOM)
        assert set(world.statuses) == {200}


async def test_requests_beyond_a_limit_ask_for_patience(certificates: Certificates) -> None:
    async with world_of(certificates, quotas=Quotas(per_user=2, per_project=None)) as world:
        world.calendars.add_room(OTHER)
        for _ in range(2):
            await world.read()
        with pytest.raises(ThrottledError, match="userRateLimitExceeded"):
            await world.read()
        await world.read(room=OTHER)
        assert await world.source.sweep([OTHER], world.window)
        world.clock.advance(60)
        await world.read()


@pytest.mark.parametrize(("kind", "status", "words"), [
    ("reset", 0, "lost|closed|no HTTP answer"), ("truncated", 0, "lost|break|complete"),
    ("html", 404, "api_url"), ("error", 403, "api_url|may not")])
async def test_what_breaks_costs_one_reading(kind: FaultKind, status: int, words: str,
                                             certificates: Certificates) -> None:
    async with world_of(certificates) as world:
        world.book(1)
        await world.read()
        world.google.api.faults.append(Fault(kind, status=status or 503, times=20 if kind == "reset" else 1,
                                             reason="somethingNew", operation="events.list"))
        with pytest.raises((UnreachableError, RoomError), match=words):
            await world.read()
        world.google.api.faults.clear()
        assert len((await world.read()).invitations) == 1


async def test_an_access_token_that_ends_is_replaced(certificates: Certificates) -> None:
    async with world_of(certificates, token_life=timedelta(minutes=4)) as world:
        await world.read()
        world.clock.advance(200)
        await world.read()
        world.clock.advance(20)
        await world.read()
        assert world.google.api.refused["authError"] == 0
        assert world.google.api.requests["token"] == 2


async def test_a_key_that_was_revoked_is_told_of(certificates: Certificates) -> None:
    other, _ = make_service_account(ACCOUNT.email)
    async with world_of(certificates, service_accounts=(other,)) as world:
        with pytest.raises(UnauthorizedError, match=r"workspace: .*invalid_grant"):
            await world.read()
        assert world.spent == []


async def test_a_user_who_signed_in_reads_until_that_is_revoked(certificates: Certificates,
                                                                 tmp_path: Path) -> None:
    back = "http://127.0.0.1:8080/oauth"
    client = ConsentClient("otjd.apps.googleusercontent.com", "s3cr3t", (back,), "otj@example.com")

    async def sign_in(http: HttpClient, clocked: Any, api: str) -> TokenSource:
        consent = google_consent(
            integration="workspace", auth_endpoint=f"{api}/o/oauth2/v2/auth", token_endpoint=f"{api}/token",
            client_id=client.client_id, client_secret=client.client_secret, redirect_uri=back)
        sent_back = await http.request("GET", consent.link("state", "v" * 43))
        code = consent.code_from(sent_back.headers["location"], "state")
        store = TokenStore(tmp_path, "workspace")
        store.save(await consent.exchange(http, code, "v" * 43))
        return google_user_tokens(http, reactor=clocked, in_thread=deferToThread, consent=consent, store=store)

    async with world_of(certificates, sign_in=sign_in, consent_clients=(client,)) as world:
        world.book(1, subject="Budget")
        assert [i.subject for i in (await world.read()).invitations] == ["Budget"]
        world.google.api.sign_in.expire_tokens()
        world.clock.advance(20)
        await world.read()
        world.google.api.sign_in.revoke()
        world.clock.advance(20)
        with pytest.raises(UnauthorizedError, match=r"sign in again by: otjd authorize 'workspace'"):
            await world.read()


async def test_a_gatherer_keeps_rooms_up_to_date(certificates: Certificates) -> None:
    rooms = [f"room{n}@resource.calendar.google.com" for n in range(12)]
    shown: dict[str, dict[Any, Any]] = {room: {} for room in rooms}
    async with world_of(certificates, is_told=True) as world:
        for room in rooms:
            world.calendars.add_room(room)
            world.book(1, room, subject="first")
        board = StatusBoard(world.calendars.now)
        board.configure([EndpointFacts(r, EndpointType.POLY, r, "default") for r in rooms],
                        [IntegrationStatus("workspace", "google")])
        budget = world.budget = Budget(name="workspace", quota=10_000, clock=world.clock, now=world.calendars.now,
                                       in_thread=deferToThread)

        async def deliver(room: str, invitations: Any, unchanged: Any) -> None:
            shown[room] = taken(RoomReading(invitations, unchanged), shown[room])

        gatherer = CalendarGatherer(
            name="workspace", source=world.source, deliver=deliver, upcoming=lambda _: [], board=board,
            room_failed=lambda *_: None, clock=world.clock, now=world.calendars.now, budget=budget,
            jitter=lambda: 0.0)
        gatherer.configure({room: timedelta(days=7) for room in rooms})
        gatherer.start()

        def is_shown() -> bool:
            world.clock.advance(0.25)
            return all(shown[room] == world.truth(room) for room in rooms)

        await until(is_shown)
        for number, room in enumerate(rooms):
            world.book(number + 2, room, subject="second")
        await until(is_shown)
        for room in rooms:
            for booking in world.calendars.bookings(room):
                world.calendars.change(room, booking.id, subject="changed")
        await until(is_shown)
        await gatherer.stop()
        asked = world.google.api.requests
        assert budget.used() >= asked["events.list"] + asked["freebusy.query"] + asked["events.watch"]
