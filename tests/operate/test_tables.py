from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor as global_reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.threads import deferToThread

from otjd.operate import fetching
from otjd.operate.access import Access
from otjd.operate.board import AlarmLevel, AlarmName, IntegrationState
from otjd.operate.fetching import UnreachableError, fetch
from otjd.operate.status import encode, endpoints_document, status_document
from otjd.operate.tables import status_command
from tests.operate.served import LOCKED, OPEN, Served, serve
from tests.operate.world import START, World

reactor: Any = global_reactor
BASE = "http://localhost:8080"


@pytest.fixture
def world() -> World:
    return World()


class Terminal:
    """What the command wrote and what it complained of."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.complaints: list[str] = []

    def run(self, fetch: Callable[[str], Any], *, as_json: bool = False, url: str = BASE) -> int:
        return status_command(url, as_json, fetch=fetch, write=self.written.append,
                              complain=self.complaints.append, now=START + timedelta(minutes=5), width=200)

    @property
    def text(self) -> str:
        return "\n".join(self.written)

    def row(self, name: str) -> list[str]:
        (line,) = [line for line in self.text.splitlines() if name in line]
        return [cell.strip() for cell in line.strip()[1:-1].split("│")]


def node(world: World) -> Callable[[str], Any]:
    def answer(url: str) -> Any:
        path = url.removeprefix(BASE)
        document = {"/status.json": status_document, "/api/v1/endpoints": endpoints_document}[path]
        return json.loads(encode(document(world.snapshot())))
    return answer


def test_a_healthy_node_is_shown_as_tables(world: World) -> None:
    world.board.endpoint_contacted("Group 500", meetings=2)
    world.board.integration_succeeded("files")
    world.board.count_requests("m365", 12)
    terminal = Terminal()
    assert terminal.run(node(world)) == 0
    assert terminal.row("otj1") == ["otj1", "oslo", "0.1.0", "no", "5 min"]
    assert terminal.row("Group 500") == ["Group 500", "POLY", "boardroom@example.com", "5 min ago", "2", ""]
    assert terminal.row("HDX") == ["HDX", "POLY", "cabin@example.com", "never", "0", ""]
    assert terminal.row("files") == ["files", "file", "ok", "5 min ago", "0", ""]
    assert terminal.row("m365") == ["m365", "graph", "ok", "never", "12 of 1000000", ""]
    # rooms, fresh, stale, never read; meetings, joinable; endpoints, in contact
    assert re.search(r"│ 3 +│ 1 +│ 1 +│ 1 +│ 3 +│ 2 +│ 4 +│ 1 +│", terminal.text)
    assert "No alarms." in terminal.text
    assert not terminal.complaints


@pytest.mark.parametrize(("level", "code"), [
    (AlarmLevel.WARNING, 0), (AlarmLevel.ERROR, 1), (AlarmLevel.CRITICAL, 1)])
@pytest.mark.parametrize("as_json", [True, False])
def test_an_alarm_of_level_error_or_critical_is_an_exit_code(
        world: World, level: AlarmLevel, code: int, as_json: bool) -> None:
    world.board.raise_alarm(AlarmName.CONFIGURATION, "otj1", "line 3: unknown key", level)
    terminal = Terminal()
    assert terminal.run(node(world), as_json=as_json) == code
    assert "line 3: unknown key" in terminal.text
    assert "No alarms." not in terminal.text


def test_json_is_the_status_document(world: World) -> None:
    terminal = Terminal()
    assert terminal.run(node(world), as_json=True) == 0
    assert json.loads(terminal.text) == status_document(world.snapshot())


def test_names_from_outside_neither_style_nor_drive_the_terminal(world: World) -> None:
    world.board.endpoint_failed("Room Kit", "[red]x[/red] \x1b[2J\n[/]", alarm=False)
    world.board.integration_failed("m365", "[bold", IntegrationState.UNAUTHORIZED)
    terminal = Terminal()
    assert terminal.run(node(world)) == 0
    assert terminal.row("Room Kit")[-1] == r"[red]x[/red] \x1b[2J\n[/]"
    assert "\x1b" not in terminal.text
    assert terminal.row("m365")[2:] == ["unauthorized", "never", "0 of 1000000", "[bold"]


@pytest.mark.parametrize(("passed", "shown"), [
    (timedelta(seconds=-40), "0 s ago"), (timedelta(seconds=119), "119 s ago"),
    (timedelta(minutes=2), "2 min ago"), (timedelta(minutes=119), "119 min ago"),
    (timedelta(hours=47), "47 h ago"), (timedelta(days=30), "30 d ago")])
def test_a_time_is_told_in_the_unit_that_tells_most(world: World, passed: timedelta, shown: str) -> None:
    world.time = START.replace(microsecond=0) + timedelta(minutes=5, microseconds=654321) - passed
    world.board.endpoint_contacted("HDX")
    terminal = Terminal()
    terminal.run(node(world))
    assert terminal.row("HDX")[3] == shown


@pytest.mark.parametrize("url", ["http://localhost:8080/", "http://localhost:8080/status.json"])
def test_an_address_may_end_as_people_write_it(world: World, url: str) -> None:
    assert Terminal().run(node(world), url=url) == 0


@pytest.mark.parametrize("answer", [[], {}, {"alarms": None}, "text", {"node": {}}, None])
@pytest.mark.parametrize("as_json", [True, False])
def test_an_answer_of_another_service_is_not_taken_for_a_status(answer: Any, as_json: bool) -> None:
    terminal = Terminal()
    assert terminal.run(lambda url: answer, as_json=as_json, url="http://me:hunter2@localhost:8080") == 2
    (complaint,) = terminal.complaints
    assert "http://localhost:8080 is not the status of otjd" in complaint
    assert "hunter2" not in complaint


def test_a_node_that_does_not_answer_is_told_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    def unreachable(url: str) -> Any:
        raise UnreachableError("refused; is otjd running?\x1b")

    written: list[str] = []
    assert status_command("http://localhost:1", False, fetch=unreachable, write=written.append) == 2
    assert capsys.readouterr().err == "otjd status: refused; is otjd running?\\x1b\n"
    assert not written


async def fetched(served: Served, path: str = "/status.json", login: str = "", scheme: str = "http") -> Any:
    return await deferToThread(fetch, f"{scheme}://{login}127.0.0.1:{served.port}{path}")


async def complaint(served: Served, path: str = "/status.json", login: str = "", scheme: str = "http") -> str:
    with pytest.raises(UnreachableError) as raised:
        await fetched(served, path, login, scheme)
    return str(raised.value)


async def test_a_document_is_fetched_from_a_running_node() -> None:
    async with serve() as served:
        assert await fetched(served) == status_document(served.world.snapshot())
        base = f"http://127.0.0.1:{served.port}"
        written: list[str] = []
        assert await deferToThread(lambda: status_command(base, False, fetch=fetch, write=written.append)) == 0
        assert "Room Kit" in written[0]


async def test_the_login_comes_from_the_address() -> None:
    async with serve(Access("å", "p:s/@")) as served:
        assert (await fetched(served, login="%C3%A5:p%3As%2F%40@"))["node"]["name"] == "otj1"
        assert "hunter2" not in await complaint(served, login="admin:hunter2@")


async def test_the_password_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTJD_OPERATOR_PASSWORD", "s3cret")
    async with serve(LOCKED) as served:
        assert (await fetched(served))["node"]["name"] == "otj1"
        assert (await fetched(served, login="admin@"))["node"]["name"] == "otj1"
        assert "answered 401" in await complaint(served, login="other@")
        assert "answered 401" in await complaint(served, login="admin:wrong@")  # the address goes first


@pytest.fixture(autouse=True)
def no_password_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTJD_OPERATOR_PASSWORD", raising=False)


async def test_a_refusal_says_what_to_do() -> None:
    async with serve(LOCKED) as served:
        assert "OTJD_OPERATOR_PASSWORD" in await complaint(served)
    async with serve(OPEN) as served:
        assert "is it the address of the operator service" in await complaint(served, "/nowhere")


class Saying(Protocol):
    """Answers whatever it is asked with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(self._answer)
        self.transport.loseConnection()


def saying(answer: bytes, context: Any = None) -> Any:
    factory: Any = Factory()
    factory.buildProtocol = lambda _: Saying(answer)
    if context is not None:
        return reactor.listenSSL(0, factory, context, interface="127.0.0.1")
    return reactor.listenTCP(0, factory, interface="127.0.0.1")


@pytest.mark.parametrize(("answer", "told"), [
    (b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/\r\nContent-Length: 0\r\n\r\n", "it redirects"),
    (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "as localhost"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "did not answer with JSON"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", "did not answer with JSON"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n" + b"1" * 200, "answered more than"),
    (b"SSH-2.0-OpenSSH\r\n", "cannot be read"),
    (b"", "cannot be read")])
async def test_other_services_are_told_apart(answer: bytes, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "SIZE_LIMIT", 100)
    port = saying(answer)
    try:
        with pytest.raises(UnreachableError, match=told):
            await deferToThread(fetch, f"http://127.0.0.1:{port.getHost().port}/status.json")
    finally:
        await port.stopListening()


async def test_nobody_listening_and_a_silent_server_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    port = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
    url = f"http://127.0.0.1:{port.getHost().port}/status.json"
    monkeypatch.setattr(fetching, "TIMEOUT_S", 0.05)
    with pytest.raises(UnreachableError, match="firewall"):
        await deferToThread(fetch, url)
    await port.stopListening()
    with pytest.raises(UnreachableError, match="is otjd running"):
        await deferToThread(fetch, url)


@pytest.fixture
def own_certificate(tmp_path: Path) -> Any:
    """A TLS context with a certificate that nobody trusts."""
    import subprocess
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", "/CN=127.0.0.1", "-keyout", tmp_path / "key", "-out", tmp_path / "crt"],
        check=True, capture_output=True)
    return DefaultOpenSSLContextFactory(str(tmp_path / "key"), str(tmp_path / "crt"))  # type: ignore[no-untyped-call]


async def test_a_certificate_that_is_not_trusted_is_refused(own_certificate: Any) -> None:
    port = saying(b"", own_certificate)
    try:
        with pytest.raises(UnreachableError, match="SSL_CERT_FILE"):
            await deferToThread(fetch, f"https://127.0.0.1:{port.getHost().port}/status.json")
    finally:
        await port.stopListening()


@pytest.mark.parametrize("url", ["ftp://localhost/", "file:///etc/passwd", "localhost:8080", "http://", "http://a:b",
                                 "http://[::1", "http://x:99999999"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UnreachableError, match="expected http"):
        fetch(url)


def test_a_name_that_cannot_be_looked_up_is_told() -> None:
    with pytest.raises(UnreachableError, match=r"cannot be read: .*; are the address and port right"):
        fetch(f"http://{'x' * 70}.example/status.json")


async def test_a_server_without_tls_is_told_apart() -> None:
    port = saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    try:
        with pytest.raises(UnreachableError, match="is it http:// instead"):
            await deferToThread(fetch, f"https://127.0.0.1:{port.getHost().port}/status.json")
    finally:
        await port.stopListening()
