"""Google's calendars and both token services as `emulate` has them, read by a node and by its sources."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread

from otjd import sign_in
from otjd.config.model import Config, GoogleIntegration, GraphIntegration, Node, Secret
from otjd.gather.source import RoomError, UnauthorizedError
from otjd.meetings.model import Window
from otjd.outbound.client import HttpClient
from otjd.sources import CalendarSystem, Surroundings, calendar_system
from tests.end_to_end.world import World, running
from tests.interop.servers import free_ports, node, started, tls_before
from tests.outbound.servers import Certificates, Clocked, reactor, until
from tests.protocol.google_discovery import validator
from tests.test_gathering import configuration, shown

ROOM = "boardroom@example.com"
USER = "svc@example.com"
BACK = "http://127.0.0.1:8080/oauth"
CLIENT_ID, CLIENT_SECRET = "otjd.apps.googleusercontent.com", "s3cr3t"
APP_ID, APP_SECRET = "11111111-2222-3333-4444-555555555555", "s3cret~value"
HAND = "hand"
"""The token of a person who books by hand."""

SEED = {
    "tokens": {HAND: {"login": USER, "scopes": ["https://www.googleapis.com/auth/calendar"]}},
    "google": {
        "users": [{"email": USER, "name": "Service"}],
        "oauth_clients": [{"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "name": "otjd",
                           "redirect_uris": [BACK]}],
        "calendars": [{"id": ROOM, "user_email": USER, "summary": "Boardroom", "time_zone": "Europe/Oslo"}]},
    "microsoft": {
        "users": [{"email": USER, "name": "Service"}],
        "oauth_clients": [{"client_id": APP_ID, "client_secret": APP_SECRET, "name": "otjd",
                           "redirect_uris": [BACK]}]},
}
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """Of Google and of Microsoft."""
    command = node("emulate", "dist/index.js")
    directory = tmp_path_factory.mktemp("emulate")
    (directory / "seed.json").write_text(json.dumps(SEED))
    first = free_ports(2)
    with started([*command, "start", "-p", str(first), "-s", "google,microsoft", "--seed", "seed.json"],
                 first, first + 1, log=directory / "emulate.log"):
        yield first, first + 1


@dataclass
class Google:
    """A Google at `base`, and who signs in to it and books."""

    base: str
    http: HttpClient
    config: Config
    integration: GoogleIntegration

    async def sign_in(self) -> None:
        """As a person does: follow the link, choose the user, come back with a code."""
        consent = sign_in.consent_of(self.integration)
        assert consent is not None
        page = await self.http.request("GET", consent.link("state", "v" * 43))
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.body.decode()))
        back = await self.http.request(
            "POST", f"{self.base}/o/oauth2/v2/auth/callback", body=urlencode(fields).encode(),
            headers={"Content-Type": "application/x-www-form-urlencoded"})
        assert (page.status, back.status, fields["email"]) == (200, 302, USER)
        code = consent.code_from(back.headers["location"], "state")
        sign_in.token_store(self.config, self.integration).save(await consent.exchange(self.http, code, "v" * 43))

    async def by_hand(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self.http.request(
            method, f"{self.base}/calendar/v3/{path}", body=json.dumps(body).encode() if body else None,
            headers={"Authorization": f"Bearer {HAND}", "Content-Type": "application/json"})
        assert answer.status in (200, 204), answer.body
        return json.loads(answer.body or b"null")

    async def book(self, subject: str, hours: float, **more: Any) -> str:
        start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=hours)
        event = await self.by_hand("POST", f"calendars/{quote(ROOM)}/events", {
            "summary": subject, "start": {"dateTime": start.isoformat()},
            "end": {"dateTime": (start + HOUR).isoformat()}, **more})
        return str(event["id"])

    async def cancel(self, event: str) -> None:
        await self.by_hand("DELETE", f"calendars/{quote(ROOM)}/events/{event}")

    async def clear(self) -> None:
        for event in (await self.by_hand("GET", f"calendars/{quote(ROOM)}/events"))["items"]:
            await self.cancel(event["id"])


@asynccontextmanager
async def google_at(ports: tuple[int, int], certificates: Certificates, directory: Path) -> AsyncIterator[Google]:
    http = HttpClient(reactor, ca_file=certificates.ca_file)
    async with tls_before(ports[0], certificates) as port:
        base = f"https://localhost:{port}"
        integration = GoogleIntegration(
            name="cloud", use_user_consent=True, client_id=CLIENT_ID, client_secret=Secret(CLIENT_SECRET),
            redirect_uri=BACK, auth_endpoint=f"{base}/o/oauth2/v2/auth", token_endpoint=f"{base}/oauth2/token",
            api_url=f"{base}/calendar/v3", ca_file=certificates.ca_file)
        config = Config(node=Node(state_dir=directory), google_integrations=(integration,))
        google = Google(base, http, config, integration)
        try:
            yield google
        finally:
            await google.clear()
            await http.close()


@asynccontextmanager
async def reading(google: Google, **different: Any) -> AsyncIterator[tuple[CalendarSystem, Clocked]]:
    """The source of the integration, as a node makes it."""
    clocked = Clocked()
    system = calendar_system(google.config, replace(google.integration, **different), Surroundings(
        reactor=clocked, now=lambda: datetime.now(UTC), in_thread=deferToThread, spend=lambda _: None))
    try:
        yield system, clocked
    finally:
        await system.source.stop()
        await system.close()


def week() -> Window:
    now = datetime.now(UTC)
    return Window(now - timedelta(days=1), now + timedelta(days=7))


async def subjects(system: CalendarSystem, room: str = ROOM) -> list[str]:
    return [one.subject for one in (await system.source.read(room, week(), None)).invitations]


@contextmanager
def passing(clocked: Clocked) -> Iterator[None]:
    """Time passes, for what ends too."""
    calls = LoopingCall(clocked.clock.advance, 0.1)
    calls.start(0.005)
    try:
        yield
    finally:
        calls.stop()


async def test_a_node_shows_what_is_booked_by_hand(ports: tuple[int, int], certificates: Certificates,
                                                   tmp_path: Path) -> None:
    world = World(tmp_path)
    world.operator_port = 0
    world.poly("Boardroom", ROOM, "boardroom")
    async with google_at(ports, certificates, tmp_path / "state") as google:
        await google.sign_in()
        first = await google.book("Budget", 1, description="Join: sip:4711@video.example.com")
        world.extra = f"""
[[google_integrations]]
name = "cloud"
use_user_consent = true
client_id = "{CLIENT_ID}"
client_secret = "{CLIENT_SECRET}"
redirect_uri = "{BACK}"
auth_endpoint = "{google.integration.auth_endpoint}"
token_endpoint = "{google.integration.token_endpoint}"
api_url = "{google.integration.api_url}"
ca_file = "{certificates.ca_file}"
"""
        clocked = Clocked()
        def shows(*meetings: tuple[str, str | None]) -> bool:
            return shown(otjd) == list(meetings)

        with passing(clocked):
            async with running(configuration(world), clocked) as otjd:
                await until(lambda: shows(("Budget", "4711@video.example.com")))
                await google.book("Review", 3)
                await until(lambda: shows(("Budget", "4711@video.example.com"), ("Review", None)))
                await google.cancel(first)
                await until(lambda: shows(("Review", None)))


async def test_events_and_busy_times_are_read_by_a_sign_in(ports: tuple[int, int], certificates: Certificates,
                                                           tmp_path: Path) -> None:
    async with google_at(ports, certificates, tmp_path) as google, reading(google) as (system, _):
        with pytest.raises(UnauthorizedError, match="nobody has signed in yet"):
            await subjects(system)
        await google.sign_in()
        assert await subjects(system) == []
        before = await system.source.sweep([ROOM], week())
        event = await google.book("Budget", 2, location="sip:4711@video.example.com")
        (found,) = (await system.source.read(ROOM, week(), None)).invitations
        assert (found.subject, found.location) == ("Budget", "sip:4711@video.example.com")
        assert found.end_time - found.start_time == HOUR
        assert before[ROOM] != (await system.source.sweep([ROOM], week()))[ROOM]
        await google.cancel(event)
        assert await subjects(system) == []
        assert before == await system.source.sweep([ROOM], week())


async def test_a_calendar_that_is_not_shared_is_the_rooms_error(ports: tuple[int, int], certificates: Certificates,
                                                                tmp_path: Path) -> None:
    async with google_at(ports, certificates, tmp_path) as google, reading(google) as (system, _):
        await google.sign_in()
        with pytest.raises(RoomError, match=r"nowhere@example\.com"):
            await subjects(system, "nowhere@example.com")
        swept = await system.source.sweep([ROOM, "nowhere@example.com"], week())
        assert [*swept] == [ROOM]  # the other is left out of the answer


async def test_a_token_that_ends_is_renewed_and_one_that_was_revoked_is_told_of(
        ports: tuple[int, int], certificates: Certificates, tmp_path: Path) -> None:
    async with google_at(ports, certificates, tmp_path) as google, reading(google) as (system, clocked):
        await google.sign_in()
        await google.book("Budget", 2)
        assert await subjects(system) == ["Budget"]
        clocked.clock.advance(3600)  # what was said of its life
        assert await subjects(system) == ["Budget"]
        sign_in.token_store(google.config, google.integration).save("made-up")
        clocked.clock.advance(3600)
        with pytest.raises(UnauthorizedError, match=r"invalid_grant.*sign in again by: otjd authorize 'cloud'"):
            await subjects(system)


async def test_a_wrong_client_secret_is_told_of(ports: tuple[int, int], certificates: Certificates,
                                                tmp_path: Path) -> None:
    async with google_at(ports, certificates, tmp_path) as google:
        await google.sign_in()
        async with reading(google, client_secret=Secret("wrong")) as (system, _):
            with pytest.raises(UnauthorizedError, match="invalid_client"):
                await subjects(system)


async def test_what_emulate_answers_is_as_google_describes_it(ports: tuple[int, int], certificates: Certificates,
                                                              tmp_path: Path) -> None:
    async with google_at(ports, certificates, tmp_path) as google:
        await google.book("Budget", 2)
        validator("Events").validate(await google.by_hand("GET", f"calendars/{quote(ROOM)}/events"))


@asynccontextmanager
async def microsoft_at(ports: tuple[int, int], certificates: Certificates,
                       secret: str = APP_SECRET) -> AsyncIterator[tuple[Any, Clocked, HttpClient]]:
    """What gives the tokens of an app registration. The path of its service bears no tenant."""
    async with tls_before(ports[1], certificates) as port:
        integration = GraphIntegration(
            name="m365", client_id=APP_ID, client_secret=Secret(secret), ca_file=certificates.ca_file,
            oauth_token_url=f"https://localhost:{port}/oauth2/v2.0/token")
        config = Config(graph_integrations=(integration,))
        http, clocked = sign_in.http_client(config, integration, reactor), Clocked()
        try:
            yield sign_in.token_source(config, integration, http, reactor=clocked,
                                       in_thread=deferToThread), clocked, http
        finally:
            await http.close()


async def test_an_app_registration_gets_tokens_and_new_ones_when_they_end(ports: tuple[int, int],
                                                                          certificates: Certificates) -> None:
    async with microsoft_at(ports, certificates) as (tokens, clocked, _):
        first = await tokens.token()
        assert first.startswith("microsoft_")
        assert await tokens.token() == first
        clocked.clock.advance(3600)
        second = await tokens.token()
        assert second != first
        tokens.forget()  # it has just come
        assert await tokens.token() == second
        clocked.clock.advance(20)
        tokens.forget()
        assert await tokens.token() != second


async def test_a_wrong_secret_of_an_app_registration_is_told_of(ports: tuple[int, int],
                                                                certificates: Certificates) -> None:
    async with microsoft_at(ports, certificates, "wrong") as (tokens, _, _):
        with pytest.raises(UnauthorizedError, match=r"m365: .*invalid_client"):
            await tokens.token()
