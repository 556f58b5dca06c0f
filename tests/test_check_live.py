"""`otjd check --live`, against simulated servers and codecs over real TLS, and servers that fail as tests say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread

from otjd.config.model import (
    AuthenticationMethod,
    Config,
    Endpoint,
    EndpointGroup,
    ExchangeIntegration,
    FileIntegration,
    GlobalYesNo,
    GoogleIntegration,
    GraphIntegration,
    Integration,
    Listener,
    Node,
    Operator,
    Profile,
    Secret,
)
from otjd.config.services import CalendarService
from otjd.live.command import LIMIT_S, Terminal, run
from otjd.live.integrations import MOST_REQUESTS, ROOMS_TRIED
from otjd.meetings.model import EndpointType
from otjd.push.endpoint_pusher import SPACING_S
from otjd.seam import deferred
from otjd.simulate.calendars import Calendars
from otjd.simulate.certificates import Certificates, make_certificates
from otjd.simulate.codec import Codec
from otjd.simulate.exchange_settings import Fault
from otjd.simulate.google import GoogleServer
from otjd.simulate.google_settings import Fault as GoogleFault
from otjd.simulate.google_settings import GoogleSettings, make_service_account
from otjd.simulate.graph import GraphServer
from otjd.simulate.graph_settings import GraphApp, GraphSettings, Mailbox
from tests.end_to_end.world import event
from tests.outbound.servers import Clocked, reactor, until, web
from tests.simulate.exchange_world import ACCOUNT, ADA, LOUNGE, NOW, ROOM, VAULT, World, world

HOUR = timedelta(hours=1)
EMAIL = "otj@project.iam.gserviceaccount.com"
KINDS = {ExchangeIntegration: "exchange", GraphIntegration: "graph", GoogleIntegration: "google",
         FileIntegration: "file"}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"), ["otj.example.com"], datetime.now(UTC))


def tls(certificates: Certificates) -> Any:
    pem = certificates.certificate.read_bytes() + certificates.private_key.read_bytes()
    return PrivateCertificate.loadPEM(pem).options()  # type: ignore[no-untyped-call]


@dataclass
class Live:
    """A configuration with one profile, and what the command says of it."""

    directory: Path
    integrations: list[Integration] = field(default_factory=list)
    rooms: list[str] = field(default_factory=lambda: [ROOM])
    endpoints: list[Endpoint] = field(default_factory=list)
    now: datetime = NOW
    use: Any = reactor
    said: str = ""
    complaints: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> Config:
        of_kind: dict[str, Any] = {
            f"{kind}_integrations": tuple(i for i in self.integrations if isinstance(i, one))
            for one, kind in KINDS.items()}
        name = self.integrations[0].name if self.integrations else ""
        poly = [Endpoint(name=f"poly{n}", endpoint_type=EndpointType.POLY, poly_username=f"poly{n}",
                         poly_password=Secret("x"), room_resource_email=room, mjx_endpoint_group_name="all")
                for n, room in enumerate(self.rooms)]
        values = {"node": Node(state_dir=self.directory / "state"), "operator": Operator(port=1), **self.more}
        return Config(**of_kind, **values, endpoints=(*poly, *self.endpoints),
                      endpoint_groups=(EndpointGroup(name="all", profile="p"),),
                      profiles=(Profile(name="p", integration=name, ep_username="admin",
                                        ep_password=Secret("codec"), ep_verify_certificate=False),))

    async def check(self, *, as_json: bool = True, **terminal: Any) -> int:
        """Run the command; the exit code."""
        def say(text: str) -> None:
            self.said += text

        def complain(text: str) -> None:
            self.complaints += text

        with pytest.raises(SystemExit) as ended:
            await run(self.config, "otjd.toml", self.use, lambda: self.now, Terminal(say, complain, **terminal),
                      as_json=as_json)
        return int(ended.value.code or 0)

    async def row(self, name: str) -> dict[str, str]:
        """What is found of one thing; the exit code says whether anything failed."""
        code = await self.check()
        rows = {row["name"]: row for row in json.loads(self.said)["checks"]}
        assert code == any(row["state"] == "failed" for row in rows.values())
        found: dict[str, str] = rows[name]
        return found


def exchange(here: World, **changes: Any) -> ExchangeIntegration:
    return ExchangeIntegration(**{
        "name": "onprem", "service_account_username": ACCOUNT.username,
        "service_account_password": Secret("right"), "ews_url": here.url,
        "ca_file": here.certificates.ca_certificate, **changes})


@asynccontextmanager
async def codec(certificates: Certificates, **options: Any) -> AsyncIterator[tuple[Codec, Endpoint]]:
    made = Codec("ce9", now=lambda: NOW, clock=Clock(), **options)
    port = made.listen(reactor, certificates.certificate, certificates.private_key)
    try:
        yield made, Endpoint(name="kit", endpoint_type=EndpointType.CISCO, api_address="localhost", api_port=port,
                             room_resource_email=ROOM, mjx_endpoint_group_name="all")
    finally:
        await made.stop()
        await deferLater(reactor, 0.01)


@asynccontextmanager
async def graph(certificates: Certificates, **app: Any) -> AsyncIterator[tuple[GraphServer, Calendars,
                                                                               GraphIntegration]]:
    """A tenant with two rooms, and an integration for it."""
    calendars = rooms(lambda: NOW)
    known = GraphApp("11111111-2222-3333-4444-555555555555", "s3cret~value", **app)
    server = GraphServer(calendars, reactor=reactor, settings=GraphSettings((known,)))
    port = server.listen(certificates.certificate, certificates.private_key)
    try:
        yield server, calendars, GraphIntegration(
            name="m365", client_id=known.client_id, client_secret=Secret(known.client_secret),
            oauth_token_url=f"https://localhost:{port}/contoso.onmicrosoft.com/oauth2/v2.0/token",
            graph_api_domain=f"localhost:{port}", ca_file=certificates.ca_certificate)
    finally:
        await server.stop()
        await deferLater(reactor, 0.01)


@asynccontextmanager
async def google(certificates: Certificates) -> AsyncIterator[tuple[GoogleServer, Calendars, GoogleIntegration]]:
    """A Workspace with two rooms, and an integration for it. Its time is that by which sign-ins are signed."""
    calendars = rooms(lambda: datetime.now(UTC))
    account, key_file = make_service_account(EMAIL)
    server = GoogleServer(calendars, reactor=reactor, settings=GoogleSettings((account,)))
    port = server.listen(certificates.certificate, certificates.private_key)
    try:
        yield server, calendars, GoogleIntegration(
            name="workspace", client_email=EMAIL, private_key=Secret(key_file),
            token_endpoint=f"https://localhost:{port}/token", api_url=f"https://localhost:{port}/calendar/v3",
            ca_file=certificates.ca_certificate)
    finally:
        await server.stop()
        await deferLater(reactor, 0.01)


def rooms(now: Callable[[], datetime]) -> Calendars:
    calendars = Calendars(now)
    for room in (ROOM, LOUNGE):
        calendars.add_room(room)
    return calendars


async def test_what_answers_is_told(certificates: Certificates, tmp_path: Path) -> None:
    async with world(certificates) as here, codec(certificates) as (_, kit):
        here.book(body_html="<p>sip:alpha@video.example.com</p>")
        here.book(minutes=120, subject="Ada Berg")
        service = CalendarService(listeners=(Listener(
            certificate=(certificates.certificate,), private_key=(certificates.private_key,)),))
        live = Live(tmp_path, [exchange(here)], endpoints=[kit], more={"calendar_service": service})
        assert await live.check() == 0
        rows = {row["name"]: row for row in json.loads(live.said)["checks"]}
        assert list(rows) == ["calendar service", "onprem", "poly0", "kit"]
        assert rows["onprem"]["found"] == (
            f"signed in; {ROOM} was read: 2 meetings in 7 days, 1 to join, 1 with a body, 1 with the organizer's "
            "name as subject")
        assert (rows["onprem"]["hint"], rows["onprem"]["address"]) == ("", here.url)
        assert rows["kit"]["found"] == ("Cisco Webex Room Kit, ce9.15.3.25.7aad3ba5fb8; bookings by Bookings Put, "
                                        "else bookingsputxml")
        assert rows["poly0"]["state"] == "untested"
        assert "certificate for otj.example.com, localhost" in rows["calendar service"]["found"]


@pytest.mark.parametrize("scheme", [AuthenticationMethod.BASIC, AuthenticationMethod.NTLM])
async def test_a_wrong_password_is_tried_once(scheme: AuthenticationMethod, certificates: Certificates,
                                              tmp_path: Path) -> None:
    async with world(certificates) as here, codec(certificates, password="right") as (kit, endpoint):
        integration = exchange(here, authentication_method=scheme, service_account_password=Secret("no"))
        live = Live(tmp_path, [integration], [ROOM, LOUNGE, VAULT], [endpoint])
        row = await live.row("onprem")
        assert f"refuses {ACCOUNT.username} (401)" in row["found"]
        assert "Unlock-ADAccount svc-otj" in row["hint"]
        assert here.server.access.attempts.total() == 1
        row = {one["name"]: one for one in json.loads(live.said)["checks"]}["kit"]
        assert (row["state"], "(status 401)" in row["found"]) == ("failed", True)
        assert "ep_password of its profile" in row["hint"]
        assert len(kit.exchanges) == 1


async def test_a_room_that_cannot_be_read_is_told_and_others_are_tried(
        certificates: Certificates, tmp_path: Path) -> None:
    async with world(certificates) as here:
        here.book(LOUNGE)
        live = Live(tmp_path, [exchange(here)], ["nobody@example.com", LOUNGE])
        row = await live.row("onprem")
        assert row["found"].startswith("nobody@example.com: ")
        assert f"{LOUNGE} was read: 1 meeting" in row["found"]
        assert "RoomMailbox" in row["hint"]
        live = Live(tmp_path, [exchange(here)], [f"nobody{n}@example.com" for n in range(9)])
        row = await live.row("onprem")
        assert "nor can nobody1@example.com, nobody2@example.com be read" in row["found"]
        assert here.server.requests["FindItem"] == 3 + ROOMS_TRIED


async def test_a_room_outside_the_scope_of_impersonation_has_the_command_for_it(
        certificates: Certificates, tmp_path: Path) -> None:
    async with world(certificates) as here:
        row = await Live(tmp_path, [exchange(here)], [VAULT]).row("onprem")
        assert row["hint"] == ("New-ManagementRoleAssignment -Name otjd -Role ApplicationImpersonation -User "
                               f"{ACCOUNT.username}")


async def test_a_server_that_autodiscover_finds_is_read(certificates: Certificates, tmp_path: Path) -> None:
    async with world(certificates) as here:
        url = f"https://localhost:{here.port}/autodiscover/autodiscover.svc"
        row = await Live(tmp_path, [exchange(here, ews_url="", autodiscover_urls=(url,))]).row("onprem")
        assert (row["address"], row["state"]) == ("Autodiscover", "ok")


async def test_meetings_without_body_have_the_command_for_it(certificates: Certificates, tmp_path: Path) -> None:
    async with world(certificates) as here:
        here.book()
        row = await Live(tmp_path, [exchange(here)]).row("onprem")
        assert row["state"] == "ok"
        assert row["hint"] == (f"no meeting has a body: Set-CalendarProcessing -Identity {ROOM} -DeleteComments "
                               "$false -DeleteSubject $false -AddOrganizerToSubject $false -RemovePrivateProperty "
                               "$false -ProcessExternalMeetingMessages $true")


async def test_subjects_that_are_replaced_have_the_command_for_it(
        certificates: Certificates, tmp_path: Path) -> None:
    async with world(certificates) as here:
        here.book(subject=f" {ADA.name.upper()}", body_html="Agenda")
        row = await Live(tmp_path, [exchange(here)]).row("onprem")
        assert row["hint"].startswith("subjects are replaced: Set-CalendarProcessing")


async def test_a_full_room_takes_few_requests(certificates: Certificates, tmp_path: Path) -> None:
    async with world(certificates) as here:
        for number in range(120):
            here.book(minutes=60 * number, body_html="Agenda")
        row = await Live(tmp_path, [exchange(here)]).row("onprem")
        assert "24 meetings in 1 day" in row["found"]
        assert here.server.requests.total() <= MOST_REQUESTS


@pytest.mark.parametrize("is_trusted", [True, False])
async def test_an_untrusted_certificate_and_a_refused_connection_are_told_apart(
        is_trusted: bool, certificates: Certificates, tmp_path: Path) -> None:
    async with world(certificates) as here, codec(certificates) as (_, kit):
        endpoint = replace(kit, verify_cert=GlobalYesNo.YES)
        integration = exchange(here, ca_file=None)
        if is_trusted:
            endpoint, integration = replace(kit, api_port=1), exchange(here, ews_url="https://localhost:1/x.asmx")
        live = Live(tmp_path, [integration], endpoints=[endpoint])
        await live.row("kit")
        for row in json.loads(live.said)["checks"]:
            if row["name"] != "poly0":
                assert row["state"] == "failed"
                assert ("was refused" if is_trusted else "is not trusted by this machine") in row["found"]
                assert ("nc -vz localhost 1" if is_trusted else
                        f"openssl s_client -connect {row['address'].split('/')[2]} -showcerts") in row["hint"]


async def only_exchange_is_asked(here: Any) -> None:
    """Wait until the Exchange was asked, and what runs in threads for other rows has ended and was taken."""
    await until(lambda: here.server.requests["FindItem"] and not reactor.getThreadPool().working)
    await deferLater(reactor, 0)


async def test_a_server_that_does_not_answer_costs_its_row_30_seconds(
        certificates: Certificates, tmp_path: Path) -> None:
    async with world(certificates) as here:
        here.server.faults.append(Fault("stall", None))
        clocked = Clocked()
        live = Live(tmp_path, [exchange(here)], use=clocked)
        done = deferred(live.row("onprem"))
        await only_exchange_is_asked(here)
        clocked.clock.advance(LIMIT_S)
        row = await done
        assert (row["state"], row["found"]) == ("failed", "no answer within 30 s")
        assert '"state": "untested"' in live.said  # the endpoint


class Interruptible(Clocked):
    """A reactor that can be told to stop; `stop` is what is done before."""

    def addSystemEventTrigger(self, phase: str, event: str, do: Callable[[], Any]) -> None:
        assert (phase, event) == ("before", "shutdown")
        self.stop = do


async def test_a_thousand_endpoints_are_told_of_in_their_order(tmp_path: Path) -> None:
    live = Live(tmp_path, rooms=[f"room{n}@example.com" for n in range(1000)])
    await live.check()
    rows = [row["name"] for row in json.loads(live.said)["checks"] if row["what"] == "Poly endpoint"]
    assert rows == [f"poly{n}" for n in range(1000)]


async def test_an_interruption_ends_what_is_under_way(certificates: Certificates, tmp_path: Path) -> None:
    async with world(certificates) as here:
        here.server.faults.append(Fault("stall", None))
        use = Interruptible()
        live = Live(tmp_path, [exchange(here)], use=use)
        done = deferred(live.check())
        await only_exchange_is_asked(here)
        await use.stop()
        assert await done == 130
        assert live.complaints == "otjd: interrupted after 1 of 2 checks\n"
        assert live.said == ""


async def test_a_room_of_microsoft_365_is_read(certificates: Certificates, tmp_path: Path) -> None:
    async with graph(certificates) as (server, calendars, integration):
        calendars.book(ROOM, NOW + HOUR, NOW + 2 * HOUR, subject="Weekly", body_html="sip:alpha@video.example.com")
        row = await Live(tmp_path, [integration]).row("m365")
        assert row["found"] == (f"signed in; {ROOM} was read: 1 meeting in 7 days, 1 to join, 1 with a body, "
                                "0 with the organizer's name as subject")
        assert server.counts == {"token": 1, "calendarView": 1}


@pytest.mark.parametrize(("roles", "mailbox", "words", "hint"), [
    ((), Mailbox.READABLE, "grant admin consent", "az ad app permission admin-consent --id 11111111-2222"),
    (("Calendars.Read",), Mailbox.BLOCKED, "application access policy", "Test-ServicePrincipalAuthorization"),
    (("Calendars.Read",), Mailbox.UNKNOWN, "no such user in this tenant", "RecipientTypeDetails RoomMailbox"),
])
async def test_a_refusal_of_graph_has_the_command_for_it(  # noqa: PLR0917 - pytest gives them by name
        roles: tuple[str, ...], mailbox: Mailbox, words: str, hint: str, certificates: Certificates,
        tmp_path: Path) -> None:
    async with graph(certificates, roles=frozenset(roles)) as (server, _, integration):
        server.mailboxes[ROOM] = mailbox
        row = await Live(tmp_path, [integration]).row("m365")
        assert (words in row["found"], hint in row["hint"]) == (True, True)


async def test_an_expired_secret_of_graph_is_told(certificates: Certificates, tmp_path: Path) -> None:
    async with graph(certificates, secret_expired=True) as (server, _, integration):
        row = await Live(tmp_path, [integration], [ROOM, LOUNGE]).row("m365")
        assert "the client secret has expired" in row["found"]
        assert row["hint"].startswith("Get-MgApplication -Filter \"appId eq '11111111-2222-3333-4444-")
        assert server.counts == {"token": 1}


async def test_a_google_calendar_that_shows_too_little_has_its_sharing_told(
        certificates: Certificates, tmp_path: Path) -> None:
    async with google(certificates) as (server, calendars, integration):
        now = calendars.now()
        calendars.book(ROOM, now + HOUR, now + 2 * HOUR, subject="Secret", is_private=True)
        live = Live(tmp_path, [integration], now=now)
        row = await live.row("workspace")
        assert (row["state"], f"1 private meeting without details: share the calendar with {EMAIL}" in row["hint"]
                ) == ("ok", True)
        server.api.share(ROOM, "freeBusyReader")
        live.said = ""
        row = await live.row("workspace")
        assert (row["state"], row["hint"].startswith(f"share {ROOM} with {EMAIL}")) == ("failed", True)


async def test_a_project_without_the_calendar_api_has_the_command_for_it(
        certificates: Certificates, tmp_path: Path) -> None:
    async with google(certificates) as (server, calendars, integration):
        server.api.faults.append(GoogleFault(
            "error", operation="events.list", status=403, reason="accessNotConfigured"))
        row = await Live(tmp_path, [integration], now=calendars.now()).row("workspace")
        assert row["hint"] == "gcloud services enable calendar-json.googleapis.com --project=project"


async def test_a_sign_in_that_nobody_made_is_asked_for(tmp_path: Path) -> None:
    integration = GoogleIntegration(name="user", use_user_consent=True, client_id="c", client_secret=Secret("s"),
                                    redirect_uri="http://127.0.0.1:8080/back")
    row = await Live(tmp_path, [integration]).row("user")
    assert "nobody has signed in yet" in row["found"]
    assert row["hint"] == "otjd authorize 'user' --config otjd.toml"


async def test_files_are_looked_at(tmp_path: Path) -> None:
    live = Live(tmp_path, [FileIntegration(name="files", directory=tmp_path / "calendars")], [ROOM, LOUNGE])
    assert "No such file or directory" in (await live.row("files"))["found"]
    (tmp_path / "calendars").mkdir()
    file = tmp_path / "calendars" / f"{ROOM}.ics"
    one = event("e1", NOW + timedelta(hours=1), alias="sip:alpha@video.example.com")
    file.write_text(f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//x//EN\n{one}END:VCALENDAR\n")
    live.said = ""
    row = await live.row("files")
    assert row["found"] == (f"1 of 2 rooms have no file: {LOUNGE}; {ROOM} was read: 1 meeting in 7 days, "
                            "1 to join, 1 with a body, 0 with the organizer's name as subject")
    assert row["hint"] == f"write the calendar of each to {tmp_path}/calendars/<room>.ics"
    live = Live(tmp_path, live.integrations, [ROOM])
    assert (await live.row("files"))["state"] == "ok"
    file.write_text("nothing")
    live.said = ""
    assert (await live.row("files"))["state"] == "failed"


async def test_an_integration_that_no_room_is_read_from_is_not_asked(tmp_path: Path) -> None:
    integration = ExchangeIntegration(name="onprem", service_account_username="svc", ews_url="https://localhost:1")
    row = await Live(tmp_path, [integration], []).row("onprem")
    assert (row["state"], "no endpoint of this node" in row["found"]) == ("untested", True)


@pytest.mark.parametrize(("known", "state", "words"), [
    ({}, "untested", "does not know it yet"),
    ({"last_contact_time": None}, "untested", "it has not yet"),
    ({"last_contact_time": "2026-03-02T07:57:00Z", "in_contact": True, "number_of_meetings": 3,
      "endpoint_address": "192.0.2.7"}, "ok", "last contact 3 min ago, 3 meetings"),
    ({"last_contact_time": "2026-03-01T08:00:00Z", "in_contact": False, "last_error": "a login failed"},
     "failed", "24 h ago, 0 meetings; a login failed"),
])
async def test_a_node_that_runs_is_asked_for_poly_endpoints(
        known: dict[str, Any], state: str, words: str, tmp_path: Path) -> None:
    asked = []

    def node(request: Any) -> bytes:
        asked.append((request.path, request.getUser(), request.getPassword()))
        return json.dumps({"endpoints": [{"endpoint_name": "poly0", **known}] if known else []}).encode()

    async with web(node) as (_, port):
        live = Live(tmp_path, [], [ROOM, LOUNGE], more={"operator": Operator(
            port=port, username="ad:min", password=Secret("p@ss/"))})
        row = await live.row("poly0")
        assert (row["state"], words in row["found"]) == (state, True)
        assert row["address"] == known.get("endpoint_address", "")
        assert asked == [(b"/api/v1/endpoints", b"ad", b"min:p@ss/")]  # once for all; the name is cut by HTTP


async def test_a_codec_without_the_small_document_is_asked_for_the_whole_one(tmp_path: Path) -> None:
    answers = {b"/status.xml": b"<Status><SystemUnit><ProductId>SX20</ProductId><Software><Version>TC7.3.9"
                               b"</Version></Software></SystemUnit></Status>"}

    def old(request: Any) -> bytes:
        request.setResponseCode(200 if request.path in answers else 404)
        return answers.get(request.path, b"")

    clocked = Clocked()
    async with web(old) as (server, port):
        kit = Endpoint(name="kit", endpoint_type=EndpointType.CISCO, api_address="127.0.0.1", api_port=port,
                       use_https=GlobalYesNo.NO, room_resource_email=ROOM, mjx_endpoint_group_name="all")
        live = Live(tmp_path, [], [], [kit], use=clocked)
        done = deferred(live.row("kit"))
        await until(lambda: server.handled and clocked.clock.getDelayedCalls()[1:])
        clocked.clock.advance(SPACING_S)
        assert (await done)["found"] == "SX20, TC7.3.9; bookings by bookingsputxml"


async def test_a_fault_costs_its_row_alone(certificates: Certificates, tmp_path: Path, monkeypatch: Any,
                                           logged_failures: Any) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("otjd.live.integrations.calendar_system", broken)
    async with codec(certificates) as (_, kit):
        live = Live(tmp_path, [GoogleIntegration(name="workspace")], endpoints=[kit])
        row = await live.row("workspace")
        assert row["found"] == "a fault of otjd: ZeroDivisionError"
        assert '"state": "ok"' in live.said
        assert len(logged_failures.flush(ZeroDivisionError)) == 1


async def test_the_table_has_whole_lines_of_what_to_do(certificates: Certificates, tmp_path: Path) -> None:
    async with codec(certificates, password="another") as (_, kit):
        live = Live(tmp_path, [], [], [replace(kit, name="kit [red]\n")])
        assert await live.check(as_json=False, width=80) == 1
        assert "1 checked, 1 failed" in live.said
        (line,) = (line for line in live.said.splitlines() if line.startswith("kit [red]\\n: "))
        assert line.endswith("(Users in the web pages of the endpoint)")


@pytest.mark.parametrize(("rooms", "is_shown"), [(2, False), (20, True)])
async def test_a_progress_bar_is_shown_when_there_are_many(rooms: int, is_shown: bool, tmp_path: Path) -> None:
    drawn = StringIO()
    live = Live(tmp_path, [], [f"room{n}@example.com" for n in range(rooms)])
    assert await live.check(progress=Console(file=drawn, force_terminal=True)) == 0
    assert ("20/20" in drawn.getvalue()) == is_shown
    assert len(json.loads(live.said)["checks"]) == rooms


CONFIGURATION = """
[node]
state_dir = "state"

[operator]
port = 0

[[calendar_service.listeners]]
certificate = "{certificates.certificate}"
private_key = "{certificates.private_key}"

[[exchange_integrations]]
name = "onprem"
service_account_username = "{account}"
service_account_password = "{password}"
ews_url = "{url}"
ca_file = "{certificates.ca_certificate}"

[[profiles]]
name = "p"
integration = "onprem"

[[endpoint_groups]]
name = "g"
profile = "p"

[[endpoints]]
name = "poly"
endpoint_type = "POLY"
poly_username = "poly"
poly_password = "x"
room_resource_email = "{room}"
mjx_endpoint_group_name = "{group}"
"""


@pytest.mark.parametrize(("password", "group", "code", "words"), [
    ("right", "g", 0, "boardroom@example.com was read"),
    ("wrong", "g", 1, '"hint": "it was tried once'),
    ("right", "h", 1, "problem: "),
])
async def test_the_command_ends_with_what_came_of_it(  # noqa: PLR0917 - pytest gives them by name
        password: str, group: str, code: int, words: str, certificates: Certificates, tmp_path: Path) -> None:
    async with world(certificates) as here:
        file = tmp_path / "otjd.toml"
        file.write_text(CONFIGURATION.format(account=ACCOUNT.username, password=password, url=here.url, room=ROOM,
                                             certificates=certificates, group=group))
        file.chmod(0o600)
        ended: Any = await deferToThread(subprocess.run, [
            sys.executable, "-c", "from otjd.cli import main; main()", "check", "--config", str(file), "--live",
            *(["--json"] if code else [])], capture_output=True, check=False, env={**os.environ, "COLUMNS": "300"})
        assert ended.returncode == code
        output = ended.stderr if group == "h" else ended.stdout
        assert words in output.decode()
        assert here.server.requests.total() == (2 if code == 0 else group == "g")
        assert (ended.stdout == b"") == (group == "h")
