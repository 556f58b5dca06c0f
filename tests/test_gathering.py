"""A node that reads its rooms from a calendar system: what is booked there is shown within seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import pytest

from otjd.config.loader import Loaded, load
from otjd.config.model import Config
from otjd.node import Node
from otjd.operate.board import IntegrationState, IntegrationStatus
from otjd.poller import Poller
from otjd.seam import deferred
from otjd.simulate.calendars import Calendars
from otjd.simulate.exchange import ExchangeServer
from otjd.simulate.exchange_settings import OTHER_MAKE, ExchangeSettings, ServiceAccount
from otjd.simulate.google import GoogleServer
from otjd.simulate.google_settings import GoogleSettings, make_service_account
from otjd.simulate.graph import GraphServer
from otjd.simulate.graph_settings import GraphApp, GraphSettings
from tests.end_to_end.world import World, running, until

ROOM = "boardroom@example.com"
HOUR = timedelta(hours=1)


@pytest.fixture
def reactor() -> Any:
    from twisted.internet import reactor

    return reactor


def utc_now() -> datetime:
    return datetime.now(UTC)


class Server(Protocol):
    """A simulated calendar server of this test."""

    def configuration(self, world: World) -> str:
        """The integration `cloud`."""

    async def close(self) -> None:
        """End."""


class Exchange:
    """An Exchange on loopback."""

    ways: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, world: World, calendars: Calendars, reactor: Any) -> None:
        account = ServiceAccount("svc-otj@example.com", "right", frozenset({ROOM}))
        self.server = ExchangeServer(calendars, ExchangeSettings(accounts=(account,), **self.ways), clock=reactor)
        self.port = self.server.listen(reactor, world.certificates.certificate, world.certificates.private_key)

    def configuration(self, world: World) -> str:
        return f"""
[[exchange_integrations]]
name = "cloud"
authentication_method = "NTLM"
service_account_username = "svc-otj@example.com"
service_account_password = "right"
ews_url = "https://localhost:{self.port}/EWS/Exchange.asmx"
ca_file = "{world.certificates.ca_certificate}"
"""

    async def close(self) -> None:
        await self.server.stop()


class OtherExchange(Exchange):
    """A server on loopback that speaks EWS and is not Microsoft's."""

    ways = MappingProxyType({**OTHER_MAKE, "event_delay_s": 0.0})

    def configuration(self, world: World) -> str:
        return super().configuration(world).replace('"NTLM"', '"BASIC"')


class Graph:
    """A Microsoft Graph on loopback, which tells the node of changes."""

    def __init__(self, world: World, calendars: Calendars, reactor: Any) -> None:
        self.app = GraphApp("11111111-2222-3333-4444-555555555555", "s3cret~value")
        self.server = GraphServer(calendars, reactor=reactor, settings=GraphSettings(
            apps=(self.app,), notification_ca_file=world.certificates.ca_certificate))
        self.port = self.server.listen(world.certificates.certificate, world.certificates.private_key)

    def configuration(self, world: World) -> str:
        return f"""
[[graph_integrations]]
name = "cloud"
client_id = "{self.app.client_id}"
client_secret = "{self.app.client_secret}"
oauth_token_url = "https://localhost:{self.port}/contoso.onmicrosoft.com/oauth2/v2.0/token"
graph_api_domain = "localhost:{self.port}"
notification_url = "https://localhost:{world.calendar_port}/notifications/cloud"
ca_file = "{world.certificates.ca_certificate}"
"""

    async def close(self) -> None:
        await self.server.stop()


class Google:
    """A Google on loopback, which tells the node of changes."""

    def __init__(self, world: World, calendars: Calendars, reactor: Any) -> None:
        account, key_file = make_service_account("otjd@project.iam.gserviceaccount.com")
        self.key_file = world.directory / "google.key"
        self.key_file.write_text(key_file)
        self.key_file.chmod(0o600)
        self.server = GoogleServer(calendars, reactor=reactor, settings=GoogleSettings(
            service_accounts=(account,)), trusted=world.certificates.ca_certificate)
        self.port = self.server.listen(world.certificates.certificate, world.certificates.private_key)

    def configuration(self, world: World) -> str:
        return f"""
[[google_integrations]]
name = "cloud"
private_key = {{ file = "{self.key_file}" }}
token_endpoint = "https://localhost:{self.port}/token"
api_url = "https://localhost:{self.port}/calendar/v3"
notification_url = "https://localhost:{world.calendar_port}/notifications/cloud"
ca_file = "{world.certificates.ca_certificate}"
"""

    async def close(self) -> None:
        await self.server.stop()


SYSTEMS: dict[str, Callable[[World, Calendars, Any], Server]] = {
    "exchange": Exchange, "exchange of another make": OtherExchange, "graph": Graph, "google": Google}


@pytest.fixture
def calendars() -> Calendars:
    made = Calendars(utc_now)
    made.add_room(ROOM)
    return made


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.operator_port = 0
    world.poly("Boardroom", ROOM, "boardroom")
    return world


def configuration(world: World) -> Config:
    world.write_config()
    text = world.config.read_text().replace('integration = "files"', 'integration = "cloud"')
    world.config.write_text(text)
    return load(world.config, environ={}).or_raise()


def shown(node: Node) -> list[tuple[str, str | None]]:
    return [(m.subject, m.alias) for agenda in node.cache.agendas() for m in agenda.meetings]


def book(calendars: Calendars, subject: str, number: str) -> str:
    start = utc_now().replace(minute=0, second=0, microsecond=0) + HOUR
    return calendars.book(ROOM, start, start + HOUR, subject=subject,
                          body_html=f"<p>Join: sip:{number}@video.example.com</p>").id


@pytest.mark.parametrize("system", SYSTEMS)
async def test_what_is_booked_changed_and_cancelled_is_shown_on_the_endpoint(
        world: World, calendars: Calendars, reactor: Any, system: str) -> None:
    server = SYSTEMS[system](world, calendars, reactor)
    booking = book(calendars, "Review", "4711")
    world.extra = server.configuration(world)
    async with running(configuration(world), reactor) as node:
        await until(lambda: shown(node) == [("Review", "4711@video.example.com")], reactor)
        assert node.is_ready()
        calendars.change(ROOM, booking, subject="Moved review")
        await until(lambda: [s for s, _ in shown(node)] == ["Moved review"], reactor)
        (cloud,) = [i for i in node.board.integrations() if i.name == "cloud"]
        assert (cloud.state, cloud.last_error) == (IntegrationState.OK, None)
        assert cloud.requests_last_24h > 0
        await until(lambda: node.board.integrations()[-1].last_success, reactor)
        assert node.board.room_reports()[ROOM].detector == "push"
        calendars.cancel(ROOM, booking)
        await until(lambda: shown(node) == [], reactor)
    await server.close()


def with_quota(world: World, system: Server, quota: int) -> Loaded:
    world.extra = system.configuration(world).replace("client_id", f"request_quota = {quota}\nclient_id")
    configuration(world)
    return load(world.config, environ={})


def cloud_status(node: Node) -> IntegrationStatus:
    return next(i for i in node.board.integrations() if i.name == "cloud")


async def test_reloads_that_overlap_leave_nothing_behind_that_asks(world: World, calendars: Calendars,
                                                                   reactor: Any) -> None:
    server = Graph(world, calendars, reactor)
    first = with_quota(world, server, 100_000).or_raise()
    async with running(first, reactor) as node:
        await until(lambda: cloud_status(node).last_success, reactor)
        loaded = [with_quota(world, server, 200_000 + number) for number in range(4)]
        for reload in [deferred(node.reload(one, lambda _: None)) for one in loaded]:
            await reload
        assert cloud_status(node).quota_24h == 200_003
        assert cloud_status(node).requests_last_24h < 100, "what the one before counted in advance is counted"
    assert [call for call in reactor.getDelayedCalls()
            if isinstance(getattr(call.func, "__self__", None), Poller)] == []
    await server.close()


async def test_the_alarm_of_a_room_ends_with_the_gatherer_that_raised_it(world: World, reactor: Any) -> None:
    calendars = Calendars(utc_now)
    server = Graph(world, calendars, reactor)
    world.poly("Lobby", "lobby@example.com", "lobby")
    calendars.add_room("lobby@example.com")
    async with running(with_quota(world, server, 100_000).or_raise(), reactor) as node:
        await until(lambda: [a.instance for a in node.board.alarms()] == [ROOM], reactor)
        calendars.add_room(ROOM)
        await node.reload(with_quota(world, server, 200_000), lambda _: None)
        await until(lambda: node.board.room_reports()[ROOM].last_success, reactor)
        assert node.board.alarms() == ()
    await server.close()
