"""The node in the test's own process, on real sockets: put together, configured anew, stopped."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import requests
import treq
from lxml import etree
from twisted.application.service import Application
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver

from otjd.config.loader import load
from otjd.config.model import Config
from otjd.listeners import CannotOpenError, places
from otjd.meetings.cache import Freshness
from otjd.node import Node
from otjd.operate.board import AlarmName
from otjd.operate.logs import LogOutput
from otjd.serve.wire_log import file_name
from otjd.service import Options, OtjdService, log_output, log_path, makeService
from otjd.simulate.codec import Codec
from otjd.simulate.poly import PolyEndpoint
from otjd.simulate.poly_dialling import Family
from otjd.wiring import cisco_endpoints, notices, rule_problems
from tests.end_to_end.world import World, event, free_port, running, until
from tests.outbound.servers import tunnels
from tests.serve.ews_support import codes, envelope, texts
from tests.serve.test_ews_notifications import get_events, names, subscribe

BOARDROOM, STUDIO = "boardroom@example.com", "studio@example.com"
NOW = datetime.now(UTC).replace(microsecond=0, second=0)

MORE_RULES = """
[[rules]]
name = "second"
profile = "default"
priority = 20
meeting_type = "domain"
domain = "other.example.org"
"""

BALANCED = """[[calendar_service.listeners]]
plaintext = true
proxy_protocol = true"""


@pytest.fixture
def reactor() -> Any:
    from twisted.internet import reactor

    return reactor


@pytest.fixture
def quiet_world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.calendar_port = world.operator_port = 0
    world.poly("Boardroom", BOARDROOM, "boardroom")
    world.write_calendar(BOARDROOM, event("a", NOW, alias="a@video.example.com"),
                         event("b", NOW + timedelta(hours=1), alias="b@other.example.org"))
    return world


def read(world: World) -> Config:
    world.write_config()
    return load(world.config, environ={}).or_raise()


def keep_log(_config: Config) -> None:
    """Nothing is logged elsewhere in these tests."""


def aliases(node: Node) -> list[str | None]:
    return [m.alias for agenda in node.cache.agendas() for m in agenda.meetings]


def poly(node: Node, world: World, reactor: Any, username: str = "boardroom",
         family: Family = "group") -> PolyEndpoint:
    return PolyEndpoint(f"https://127.0.0.1:{node.calendar_port}/EWS/Exchange.asmx", username, "poly-secret",
                        scheme="ntlm", mailbox=BOARDROOM, now=lambda: datetime.now(UTC), reactor=reactor,
                        ca_file=world.certificates.ca_certificate, family=family)


async def test_pushes_go_through_the_web_proxy_unless_the_group_is_to_bypass_it(
        quiet_world: World, reactor: Any) -> None:
    codec = Codec("ce9", username="admin", password="codec-secret", now=lambda: datetime.now(UTC), clock=reactor)
    port = codec.listen(reactor, quiet_world.certificates.certificate, quiet_world.certificates.private_key)
    quiet_world.cisco("Boardroom codec", BOARDROOM, port)
    async with tunnels(port) as (made, proxy):
        quiet_world.extra = f'[web_proxy]\nurl = "http://127.0.0.1:{proxy}"\n'
        async with running(read(quiet_world), reactor):
            await until(lambda: codec.bookings, reactor)
        through = len(made.heads)
        assert through > 0
        config = read(quiet_world)
        bypassing = replace(config, endpoint_groups=tuple(replace(g, disable_proxy=True)
                                                          for g in config.endpoint_groups))
        assert [e.proxy_url for e in cisco_endpoints(bypassing)] == [""]
        assert [e.proxy_url for e in cisco_endpoints(config)] == [f"http://127.0.0.1:{proxy}"]
    await codec.stop()


async def test_a_file_becomes_a_join_button_on_both_kinds_of_endpoint(quiet_world: World, reactor: Any) -> None:
    codec = Codec("ce9", username="admin", password="codec-secret", now=lambda: datetime.now(UTC), clock=reactor)
    port = codec.listen(reactor, quiet_world.certificates.certificate, quiet_world.certificates.private_key)
    quiet_world.cisco("Boardroom codec", BOARDROOM, port)
    async with running(read(quiet_world), reactor) as node:
        await until(node.is_ready, reactor)
        endpoint = poly(node, quiet_world, reactor)
        displayed = await endpoint.poll()
        assert [m.dial for m in displayed] == ["a@video.example.com", None]
        await until(lambda: codec.bookings, reactor)
        assert [b.number for b in codec.bookings] == ["a@video.example.com"]
        await until(lambda: all(s.last_contact_time for s in node.board.endpoints()), reactor)
        await endpoint.close()
    await codec.stop()


async def test_every_endpoint_of_a_room_gets_the_body_of_its_family(quiet_world: World, reactor: Any) -> None:
    quiet_world.poly("Boardroom HDX", BOARDROOM, "hdx")
    quiet_world.endpoints += 'poly_family = "hdx"\ntoken_form = "split"\ntoken_line_ending = "lf"\n'
    quiet_world.poly("Boardroom Trio", BOARDROOM, "trio")
    quiet_world.endpoints += 'poly_family = "trio"\n'
    quiet_world.poly("Boardroom Debut", BOARDROOM, "debut")
    quiet_world.endpoints += 'poly_family = "debut"\n'
    (quiet_world.directory / "debut.j2").write_text("{{ subject }}: {{ uri }}")
    quiet_world.extra = '[calendar_service.join_details_by_family]\ndebut = "debut.j2"\n'
    async with running(read(quiet_world), reactor) as node:
        await until(node.is_ready, reactor)
        found: dict[str, tuple[str | None, str | None]] = {}
        families: tuple[Family, ...] = ("hdx", "trio", "debut")
        for family in families:
            endpoint = poly(node, quiet_world, reactor, family, family)
            first, _ = await endpoint.poll()
            found[family] = (first.dial, first.dial_source)
            await endpoint.close()
    alias = "a@video.example.com"
    assert found == {"hdx": (alias, "token"), "trio": (alias, "location"), "debut": (alias, "location")}


async def test_the_text_of_invitations_is_held_only_while_an_endpoint_shows_it(
        quiet_world: World, reactor: Any) -> None:
    def held(node: Node) -> list[str]:
        return [m.invitation_text for m in node.cache.agenda(node.cache.rooms()[0]).meetings]

    quiet_world.endpoints += 'invitation_text = "append"\n'
    async with running(read(quiet_world), reactor) as node:
        await until(lambda: held(node), reactor)
        assert held(node) == ["Join by video\na@video.example.com", "Join by video\nb@other.example.org"]
    text = quiet_world.endpoints
    (quiet_world.calendars / f"{BOARDROOM}.ics").write_text("cannot be read")
    for setting, expected in (("append", True), ("drop", False)):
        quiet_world.endpoints = text.replace('"append"', f'"{setting}"')
        async with running(read(quiet_world), reactor) as node:  # from disk
            assert [bool(t) for t in held(node)] == [expected] * 2


async def test_a_reload_keeps_connections_and_meetings(quiet_world: World, reactor: Any) -> None:
    async with running(read(quiet_world), reactor) as node:
        await until(node.is_ready, reactor)
        port = node.calendar_port
        endpoint = poly(node, quiet_world, reactor)
        await endpoint.poll()
        requests = endpoint.requests
        quiet_world.extra = MORE_RULES
        read(quiet_world)
        await node.reload(load(quiet_world.config, environ={}), keep_log)
        assert node.calendar_port == port
        await until(lambda: aliases(node) == ["a@video.example.com", "b@other.example.org"], reactor)
        displayed = await endpoint.poll()
        assert [m.dial for m in displayed] == ["a@video.example.com", "b@other.example.org"]
        assert endpoint.requests == requests + 2  # the view and the changed item, on the connection that was there
        await endpoint.close()


async def test_the_wire_log_is_switched_by_a_reload_and_complete_when_the_node_stops(
        quiet_world: World, reactor: Any) -> None:
    folder = quiet_world.directory / "state" / "wire"
    async with running(read(quiet_world), reactor) as node:
        await until(node.is_ready, reactor)
        endpoint = poly(node, quiet_world, reactor)
        await endpoint.poll()
        assert not folder.exists()
        quiet_world.write_config()
        quiet_world.config.write_text("[log]\nwire = true\n" + quiet_world.config.read_text())
        await node.reload(load(quiet_world.config, environ={}), keep_log)
        quiet_world.write_calendar(BOARDROOM, event("c", NOW, alias="c@video.example.com"))
        await until(lambda: aliases(node) == ["c@video.example.com"], reactor)
        await endpoint.poll()
        await endpoint.close()
    text = (folder / file_name("Boardroom")).read_text()
    operations = [json.loads(line)["operation"] for line in text.splitlines() if line.startswith('{"')]
    assert operations == ["FindItem", "GetItem"]
    assert "sip:c@video.example.com" in text
    assert "poly-secret" not in text


async def test_a_reload_takes_other_listeners_folders_and_a_status_file(quiet_world: World, reactor: Any) -> None:
    async with running(read(quiet_world), reactor) as node:
        await until(node.is_ready, reactor)
        old_port = node.calendar_port
        other = quiet_world.directory / "other"
        other.mkdir()
        status_file = quiet_world.directory / "status.json"
        quiet_world.write_config()
        text = quiet_world.config.read_text().replace('directory = "calendars"', f'directory = "{other}"')
        text = text.replace("[operator]", f'[operator]\nstatus_file = "{status_file}"')
        text = text.replace('.listeners]]', '.listeners]]\nminimum_tls = "1.3"')
        text = text.replace('state_dir = "state"', 'state_dir = "state2"')
        quiet_world.config.write_text(text)
        await node.reload(load(quiet_world.config, environ={}), keep_log)
        assert node.calendar_port != old_port
        await until(status_file.exists, reactor)
        await until(node.board.alarms, reactor)
        assert node.cache.agendas()[0].freshness is Freshness.STALE
        assert len(node.cache.agendas()[0].meetings) == 2
        await node.reload(load(quiet_world.config, environ={}), keep_log)
        assert status_file.exists()


async def test_a_reload_that_cannot_be_used_changes_nothing_and_raises_an_alarm(
        quiet_world: World, reactor: Any) -> None:
    def unwritable(_config: Config) -> None:
        raise PermissionError(13, "Permission denied")

    async with running(read(quiet_world), reactor) as node:
        await until(node.is_ready, reactor)

        async def reloaded(log_anew: Callable[[Config], None] = keep_log) -> str:
            quiet_world.write_config()
            await node.reload(load(quiet_world.config, environ={}), log_anew)
            found = [a.details for a in node.board.alarms() if a.name is AlarmName.CONFIGURATION]
            return found[0] if found else ""

        quiet_world.extra = MORE_RULES.replace("second", "broken").replace(
            'meeting_type = "domain"', 'meeting_type = "custom"\ncustom_template = "{% if %}"')
        kept: list[Config] = []
        assert 'rules[2] "broken".custom_template: line 1, column 7' in await reloaded(kept.append)
        assert kept == []
        quiet_world.extra = "[[profiles]]\nname = 5\n"
        assert "profiles" in await reloaded()
        quiet_world.extra = MORE_RULES
        assert "Permission denied" in await reloaded(unwritable)
        assert aliases(node) == ["a@video.example.com", None]
        assert await reloaded() == ""


async def test_a_taken_port_is_named_at_the_start_and_at_a_reload(quiet_world: World, reactor: Any) -> None:
    async with running(read(quiet_world), reactor) as node:
        taken = node.operator_port
        (quiet_world.directory / "other").mkdir()
        other = World(quiet_world.directory / "other")
        other.calendar_port, other.operator_port = 0, taken
        second = Node(read(other), reactor)
        with pytest.raises(CannotOpenError, match=f"127.0.0.1:{taken} .*Address already in use"):
            second.listen()
        await second.stop()
        quiet_world.operator_port = node.calendar_port
        read(quiet_world)
        await node.reload(load(quiet_world.config, environ={}), keep_log)
        (alarm,) = [a for a in node.board.alarms() if a.name is AlarmName.CONFIGURATION]
        assert "Address already in use" in alarm.details


async def test_where_a_reload_cannot_listen_the_port_of_before_stays_open_until_one_can(
        quiet_world: World, reactor: Any, logged_events: list[dict[str, Any]]) -> None:
    async def reloaded(name: str, port: int, more: str = "") -> list[tuple[str, str]]:
        quiet_world.operator_port = port
        quiet_world.write_config()
        text = quiet_world.config.read_text().replace("otj1", name).replace("[operator]", f"[operator]\n{more}")
        quiet_world.config.write_text(text)
        await node.reload(load(quiet_world.config, environ={}), keep_log)
        return [(a.instance, a.details) for a in node.board.alarms() if a.name is AlarmName.CONFIGURATION]

    async def answers(port: int) -> bool:
        try:
            return bool((await deferToThread(requests.get, f"http://127.0.0.1:{port}/healthz", timeout=20)).ok)
        except requests.ConnectionError:
            return False

    async with running(read(quiet_world), reactor) as node:
        await until(node.is_ready, reactor)
        first, free = node.operator_port, free_port()
        ((instance, details),) = await reloaded("taken", node.calendar_port)
        assert (instance, await answers(first)) == ("taken", True)
        assert any(event.get("details") == details and "alarm" not in event for event in logged_events)
        assert await reloaded("free", free) == []
        assert (await answers(free), await answers(first)) == (True, False)
        ((instance, details),) = await reloaded(
            "elsewhere", free, 'address = "192.0.2.77"\nusername = "admin"\npassword = "x"')
        assert (instance, await answers(free)) == ("elsewhere", True)
        assert "192.0.2.77" in details


async def test_a_renewed_certificate_is_used_after_a_reload(quiet_world: World, reactor: Any) -> None:
    from otjd.simulate.certificates import make_certificates

    async with running(read(quiet_world), reactor) as node:
        (before,) = [end for _, end in node.listeners.certificate_ends()]
        make_certificates(quiet_world.directory / "certs", ["localhost"], datetime.now(UTC), days=30)
        await node.reload(load(quiet_world.config, environ={}), keep_log)
        (after,) = [end for _, end in node.listeners.certificate_ends()]
        assert after < before
        quiet_world.certificates.certificate.write_text("nothing")
        loaded = load(quiet_world.config, environ={})
        assert loaded.config is None


async def test_a_certificate_that_was_replaced_is_used_soon(
        quiet_world: World, reactor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from otjd.simulate.certificates import make_certificates

    monkeypatch.setattr("otjd.serve.renewal.CHECK_S", 0.05)
    async with running(read(quiet_world), reactor) as node:
        def end() -> datetime:
            (found,) = [end for _, end in node.listeners.certificate_ends()]
            return found

        before = end()
        make_certificates(quiet_world.directory / "certs", ["localhost"], datetime.now(UTC), days=10)
        await until(lambda: end() < before, reactor)
        await until(lambda: [a for a in node.board.alarms() if a.name is AlarmName.CERTIFICATE_EXPIRING], reactor)


async def test_a_listener_for_a_balancer_takes_the_proxy_protocol(quiet_world: World, reactor: Any) -> None:
    def ask(port: int, sent: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            try:
                client.sendall(sent + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return client.recv(4096)
            except ConnectionError:  # closed before all was sent
                return b""

    quiet_world.write_config()
    text = quiet_world.config.read_text()
    text = text.replace("[calendar_service]", '[calendar_service]\ntrusted_proxies = ["127.0.0.1"]')
    text = text.replace("[[calendar_service.listeners]]", BALANCED)
    quiet_world.config.write_text(text)
    node = Node(load(quiet_world.config, environ={}).or_raise(), reactor)
    node.listen()
    await node.start()
    try:
        await until(node.is_ready, reactor)
        header = b"PROXY TCP4 10.1.2.3 192.0.2.9 50000 443\r\n"
        assert (await deferToThread(ask, node.calendar_port, header)).startswith(b"HTTP/1.1 200 ")
        assert await deferToThread(ask, node.calendar_port, b"") == b""
        quiet_world.config.write_text(text.replace('["127.0.0.1"]', '["192.0.2.1"]'))
        await node.reload(load(quiet_world.config, environ={}), keep_log)
        assert await deferToThread(ask, node.calendar_port, header) == b""
    finally:
        await node.stop()


async def test_the_operator_addresses_are_served(quiet_world: World, reactor: Any) -> None:
    async with running(read(quiet_world), reactor) as node:
        await until(node.is_ready, reactor)
        answer = await treq.get(f"http://127.0.0.1:{node.operator_port}/status.json", persistent=False)
        status = cast("dict[str, Any]", await answer.json())
        assert status["node"]["name"] == "otj1"
        assert status["rooms"]["fresh"] == 1


def test_what_this_version_does_not_do_is_said(quiet_world: World, reactor: Any,
                                               logged_events: list[dict[str, Any]]) -> None:
    quiet_world.extra = """
[[graph_integrations]]
name = "m365"
client_id = "00000000-0000-0000-0000-000000000000"
client_secret = "x"
oauth_token_url = "https://login.microsoftonline.com/t/oauth2/v2.0/token"

[[profiles]]
name = "cloud"
integration = "m365"

[[endpoint_groups]]
name = "elsewhere"
location = "bergen"
profile = "cloud"

[[endpoints]]
name = "Far away"
endpoint_type = "POLY"
poly_username = "far"
poly_password = "away"
room_resource_email = "far@example.com"
mjx_endpoint_group_name = "elsewhere"
"""
    config = read(quiet_world)
    told = "\n".join(notices(config))
    assert '"Far away" is not served here' in told
    assert rule_problems(config) == []
    node = Node(config, reactor)
    (files, graph) = node.board.integrations()
    assert (files.kind, graph.kind, graph.quota_24h) == ("file", "graph", 1_000_000)
    node.warn(())
    assert sum("is not served here" in str(e.get("warning")) for e in logged_events) == 1


def test_templates_that_do_not_compile_are_problems(quiet_world: World) -> None:
    (quiet_world.directory / "body.j2").write_text("{% for %}")
    quiet_world.write_config()
    text = quiet_world.config.read_text()
    text = text.replace("[calendar_service]", '[calendar_service]\njoin_details = "body.j2"')
    text = text.replace('integration = "files"', 'integration = "files"\nreplace_subject_template = "{{"')
    quiet_world.config.write_text(text)
    subject, body = rule_problems(load(quiet_world.config, environ={}).or_raise())
    assert "replace_subject_template" in subject
    assert "body.j2" in body


def test_every_listener_and_the_operator_have_a_place(quiet_world: World) -> None:
    quiet_world.extra = '[[calendar_service.listeners]]\naddress = "::1"\nport = 8081\nplaintext = true\n'
    calendar, plain, operator = places(read(quiet_world))
    assert (str(plain), plain.certificates) == ("[::1]:8081", ())
    assert calendar.certificates == ((quiet_world.certificates.certificate, quiet_world.certificates.private_key),)
    assert operator.kind == "operator"


def options(path: Path, **told: object) -> Options:
    made = Options()  # type: ignore[no-untyped-call]
    made["config"] = str(path)
    made.parent = cast("Any", told or None)
    return made


async def test_the_service_starts_reloads_and_stops(quiet_world: World, reactor: Any, tmp_path: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    quiet_world.write_config()
    log = tmp_path / "log" / "otjd.log"
    log.parent.mkdir()
    service = makeService(options(quiet_world.config, nodaemon=True, logfile=str(log)))
    application = Application("otjd")  # type: ignore[no-untyped-call]
    service.setServiceParent(application)
    assert isinstance(application.getComponent(ILogObserver), LogOutput)
    caught: list[int] = []
    monkeypatch.setattr("signal.signal", lambda number, _: caught.append(number))
    service.privilegedStartService()
    service.startService()
    await until(service.node.is_ready, reactor)
    assert caught
    log.rename(log.with_suffix(".old"))
    await service.reload()
    assert log.exists()
    stopped = service.stopService()
    assert isinstance(stopped, Deferred)
    await stopped
    application.getComponent(ILogObserver).close()


async def test_a_service_whose_port_is_taken_says_so_and_ends(quiet_world: World, reactor: Any,
                                                              logged_failures: Any) -> None:
    async with running(read(quiet_world), reactor) as node:
        quiet_world.operator_port = node.operator_port
        quiet_world.write_config()
        service = OtjdService(quiet_world.config, read(quiet_world), None)
        with pytest.raises(SystemExit):
            service.privilegedStartService()
        (event_,) = logged_failures.flush()
        assert "cannot start" in event_["log_format"]
        await service.stopService()


def test_a_configuration_with_problems_ends_with_all_of_them(quiet_world: World,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    quiet_world.extra = "[nod]\n[[profile]]\n"
    quiet_world.write_config()
    with pytest.raises(SystemExit) as ended:
        makeService(options(quiet_world.config))
    assert ended.value.code == 1
    printed = capsys.readouterr().err
    assert '"node"' in printed
    assert '"profiles"' in printed


def test_a_log_file_that_cannot_be_opened_is_told_and_ends_the_start(quiet_world: World, tmp_path: Path,
                                                                     capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "loop.log").symlink_to("loop.log")
    quiet_world.extra = '[log]\nfile = "loop.log"\n'
    quiet_world.write_config()
    with pytest.raises(SystemExit) as ended:
        makeService(options(quiet_world.config))
    assert ended.value.code == 1
    assert f"log.file: found {tmp_path / 'loop.log'}, which cannot be opened: " in capsys.readouterr().err


def test_the_log_goes_where_the_configuration_or_twistd_says(quiet_world: World, tmp_path: Path) -> None:
    config = read(quiet_world)
    assert log_path(config, None) is None
    assert log_path(config, cast("Any", {"nodaemon": True, "logfile": ""})) is None
    assert log_path(config, cast("Any", {"nodaemon": False})) == Path("twistd.log").absolute()
    assert log_path(config, cast("Any", {"logfile": "/var/log/x"})) == Path("/var/log/x")
    assert log_output(config, cast("Any", {"syslog": True})) is None
    quiet_world.config.write_text('[log]\nfile = "own.log"\n')
    own = load(quiet_world.config, environ=os.environ).or_raise()
    assert log_path(own, cast("Any", {"logfile": "/var/log/x"})) == tmp_path / "own.log"


async def test_subscribers_hear_of_items_that_a_reload_writes_anew(quiet_world: World, reactor: Any) -> None:
    quiet_world.schemes = ("basic",)

    async def ask(operation: str) -> etree._Element:
        answer = await deferToThread(
            requests.post, f"https://localhost:{node.calendar_port}/EWS/Exchange.asmx", data=envelope(operation),
            auth=("boardroom", "poly-secret"), verify=str(quiet_world.certificates.ca_certificate), timeout=20,
            headers={"Content-Type": "text/xml; charset=utf-8"})
        return etree.fromstring(answer.content)[-1][0][0]

    async def reload(more: str) -> None:
        read(quiet_world)
        quiet_world.config.write_text(quiet_world.config.read_text().replace("throttle_failed_logins", more, 1))
        await node.reload(load(quiet_world.config, environ={}), keep_log)

    async with running(read(quiet_world), reactor) as node:
        await until(node.is_ready, reactor)
        made = await ask(subscribe())
        asked = get_events(texts(made, ".//m:SubscriptionId")[0], texts(made, ".//m:Watermark")[0])
        await reload("subscriptions_per_user = 1\nthrottle_failed_logins")
        assert names(await ask(asked)) == ["StatusEvent"]
        assert codes(await ask(subscribe())) == ["ErrorExceededSubscriptionCount"]
        (quiet_world.directory / "body.j2").write_text("Come and see.\n")
        await reload('join_details = "body.j2"\nthrottle_failed_logins')
        assert names(await ask(asked)) == ["ModifiedEvent"] * 2
        assert codes(await ask(subscribe())) == ["NoError"]
