"""The wire log: what was on the wire comes back from its files, and no credentials with it."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThread

from otjd.serve import wire_log
from otjd.serve.calls import Reply
from otjd.serve.site import SiteSettings
from otjd.serve.visits import Visit
from otjd.serve.wire_log import Message, WireLog, WireSettings, file_name
from otjd.simulate.certificates import Certificates
from tests.conftest import LoggedFailures
from tests.serve.clients import NtlmClient, basic, digest
from tests.serve.http_world import BOARDROOM, LOUNGE, NOW, PATH, Served, Site, request

RIGHT = basic("boardroom", "poly-secret")
SECRETS = ("poly-secret", base64.b64encode(b"boardroom:poly-secret").decode(), "session-cookie")


def at_once(job: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    return maybeDeferred(job, *arguments)


class Later:
    """Runs jobs when asked to."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Deferred[Any], Callable[..., Any]]] = []

    def __call__(self, job: Callable[..., Any]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.jobs.append((done, job))
        return done

    def run(self) -> None:
        while self.jobs:
            done, job = self.jobs.pop(0)
            maybeDeferred(job).chainDeferred(done)


@pytest.fixture
def settings(tmp_path: Path) -> WireSettings:
    return WireSettings(directory=tmp_path / "state" / "wire", size=1_000_000, files=3)


def log_to(settings: WireSettings | None, in_thread: Callable[..., Deferred[Any]] = at_once) -> WireLog:
    log = WireLog(now=lambda: NOW, in_thread=in_thread)
    log.configure(settings)
    return log


def records(path: Path) -> Iterator[tuple[dict[str, Any], str, str]]:
    """What a program reads from a file: header, request and answer of each record."""
    with path.open("rb") as file:
        while line := file.readline():
            header = json.loads(line)
            request = file.read(header["request_length"]).decode()
            assert file.read(1) == b"\n"
            answer = file.read(header["answer_length"]).decode()
            assert file.read(2) == b"\n\n"
            yield header, request, answer


def of(settings: WireSettings, endpoint: str = BOARDROOM.endpoint) -> list[tuple[dict[str, Any], str, str]]:
    path = settings.directory / file_name(endpoint)
    return list(records(path)) if path.exists() else []


def test_a_request_and_its_answer_are_there_in_full_without_credentials(settings: WireSettings) -> None:
    world = Site(wire_log=log_to(settings), reply=Reply(200, b"<answer>\xc3\xb8</answer>", operation="FindItem"))
    world.connect("192.0.2.9").ask(Authorization=RIGHT, Cookie="session-cookie", User_Agent="Poly/1",
                                   body=b"<ask>\n<Password>poly-secret</Password></ask>")
    ((header, asked, answered),) = of(settings)
    assert asked == "<ask>\n<Password>(removed)</Password></ask>"
    assert answered == "<answer>\u00f8</answer>"
    headers = dict(header.pop("request_headers"))
    assert (headers["Authorization"], headers["Cookie"], headers["User-Agent"]) == (
        "Basic (removed)", "(removed)", "Poly/1")
    assert dict(header.pop("answer_headers"))["Content-Type"] == "text/xml; charset=utf-8"
    assert header == {
        "time": "2026-03-01T12:00:00.000Z", "endpoint": BOARDROOM.endpoint, "room": BOARDROOM.room.email,
        "address": "192.0.2.9", "peer": "192.0.2.9 port 50000", "user_agent": "Poly/1", "scheme": "basic",
        "operation": "FindItem",
        "method": "POST", "path": PATH, "status": 200, "error": "", "elapsed_ms": 0,
        "request_length": len(asked), "answer_length": len(answered.encode())}


def test_no_form_of_a_login_leaves_a_secret_in_any_file(settings: WireSettings) -> None:
    world = Site(wire_log=log_to(settings))
    wire = world.connect()
    challenge = wire.ask().all("www-authenticate")[0]
    header = digest(challenge, "boardroom", "poly-secret")
    wire.ask(Authorization=header)
    client = NtlmClient("boardroom", "poly-secret")
    last = wire.ask(Authorization=client.first)
    (ntlm,) = (line for line in last.all("www-authenticate") if line.startswith("NTLM "))
    proof = client.second(ntlm)
    wire.ask(Authorization=proof)
    wire.ask(Authorization=RIGHT, Cookie="session-cookie")
    wire.ask(Authorization=basic("boardroom", "poly-secret!"))
    wire.ask("GET", "/nothing", Authorization=RIGHT)
    files = list(settings.directory.iterdir())
    assert {f.name for f in files} == {file_name(""), file_name(BOARDROOM.endpoint)}
    text = "".join(f.read_text() for f in files)
    response = header.partition('response="')[2].partition('"')[0]
    for secret in (*SECRETS, response, proof.partition(" ")[2]):
        assert secret
        assert secret not in text


def test_who_did_not_sign_in_is_in_a_file_of_their_own(settings: WireSettings) -> None:
    world = Site(wire_log=log_to(settings))
    wire = world.connect()
    wire.ask(body=b"<first/>")
    wire.ask(Authorization=basic("nobody", "x"))
    wire.ask("GET", "/owa")
    wire.ask("GET", "/healthz")
    wire.ask(Authorization=basic("boardroom", "wrong"))
    world.connect().send(b"\x16\x03\x01 nonsense\r\n\r\n")
    unidentified = [(header.get("path"), header["status"]) for header, _, _ in of(settings, "")]
    assert unidentified == [(PATH, 401), (PATH, 401), ("/owa", 404), (None, 400)]
    assert [name for name, _ in of(settings, "")[0][0]["answer_headers"]].count("WWW-Authenticate") == 3
    ((header, _, _),) = of(settings)
    assert header["status"] == 401
    assert "wrong" in header["error"] or "password" in header["error"]


def test_only_chosen_endpoints_are_written_and_nothing_while_it_is_off(settings: WireSettings) -> None:
    log = log_to(replace(settings, endpoints=frozenset([LOUNGE.endpoint])))
    world = Site(wire_log=log)
    wire = world.connect()
    for headers in (RIGHT, basic("lounge", "lounge-secret")):
        wire.ask(Authorization=headers)
    assert not of(settings)
    assert len(of(settings, LOUNGE.endpoint)) == 1
    log.configure(None)
    wire.ask(Authorization=basic("lounge", "lounge-secret"))
    assert not log.is_on
    assert len(of(settings, LOUNGE.endpoint)) == 1


def test_parts_of_an_open_answer_are_kept_one_by_one(settings: WireSettings) -> None:
    world = Site(wire_log=log_to(settings))
    world.connect().ask(Authorization=RIGHT)
    visit = Visit(0.0, lambda: 0.5, "POST", PATH, "192.0.2.9", "Poly/1", captured=Message(body=b"<ask/>"))
    world.site._visits.sent(visit, world.calls[0], b"<event/>")
    header, asked, answered = of(settings)[-1]
    assert (header["operation"], asked, answered) == ("part of an open answer", "", "<event/>")


def test_files_are_for_the_account_of_otjd_alone(settings: WireSettings) -> None:
    log_to(settings).record("Board", {})
    assert stat.S_IMODE(settings.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(settings.directory.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(f.stat().st_mode) for f in settings.directory.iterdir()} == {0o600}


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", ".", "..", "-rf", "con\n", "\u00f8\u00e5", "x" * 250,
                                  "_unidentified", " ", "a\x00b", "\ud800"])
def test_every_name_of_an_endpoint_makes_a_safe_name_of_a_file(name: str, settings: WireSettings) -> None:
    log_to(settings).record(name, {})
    (file,) = settings.directory.iterdir()
    assert file.name.isascii()
    assert len(file.name) < 100
    assert not file.name.startswith(("_", ".."))
    assert file_name(name) != file_name(name + "x")


def test_names_that_look_alike_have_files_of_their_own() -> None:
    assert len({file_name(name) for name in ("a b", "a-b", "a/b", "A b")}) == 4


def test_a_full_file_makes_room_and_only_so_many_are_kept(settings: WireSettings) -> None:
    log = log_to(replace(settings, size=3000, files=3))
    for number in range(12):
        log.record("a", {"number": number}, Message(body=b"x" * 1000))
    name = file_name("a")
    assert sorted(f.name for f in settings.directory.iterdir()) == [name, f"{name}.1", f"{name}.2"]
    numbers = [[header["number"] for header, _, _ in records(settings.directory / f"{name}{suffix}")]
               for suffix in (".2", ".1", "")]
    assert numbers == [[6, 7], [8, 9], [10, 11]]
    assert all(f.stat().st_size <= 3000 for f in settings.directory.iterdir())


def test_a_record_larger_than_a_file_is_written_alone(settings: WireSettings) -> None:
    log = log_to(replace(settings, size=100, files=1))
    for number in range(2):
        log.record("a", {"number": number}, Message(body=b"x" * 1000))
    ((header, asked, _),) = of(settings, "a")
    assert (header["number"], len(asked)) == (1, 1000)


async def test_the_reactor_waits_for_no_disk_and_closing_writes_what_waits(settings: WireSettings) -> None:
    later = Later()
    log = log_to(settings, later)
    for number in range(3):
        log.record("a", {"number": number})
    assert not settings.directory.exists()
    assert len(later.jobs) == 1
    closing = Deferred.fromCoroutine(log.close())
    log.record("a", {"number": "too late"})
    later.run()
    await closing
    assert [header["number"] for header, _, _ in of(settings, "a")] == [0, 1, 2]


def test_what_waits_is_bounded_and_the_next_record_tells_what_was_lost(
        settings: WireSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_log, "WAITING_LIMIT", 10_000)
    later = Later()
    log = log_to(settings, later)
    for number in range(9):
        log.record("a", {"number": number}, answer=Message(body=b"x" * 3000))
    later.run()
    log.record("a", {"number": "last"})
    later.run()
    assert [(header["number"], header.get("lost")) for header, _, _ in of(settings, "a")] == [
        (0, None), (1, 7), ("last", None)]


def test_a_disk_that_fails_is_told_once_and_tried_again(
        settings: WireSettings, logged_failures: LoggedFailures) -> None:
    settings.directory.parent.mkdir()
    settings.directory.write_text("not a folder")
    log = log_to(settings)
    for _ in range(2):
        log.record("a", {})
    (event,) = logged_failures.flush()
    assert event["path"] == str(settings.directory)
    settings.directory.unlink()
    log.record("a", {})
    assert [header["lost"] for header, _, _ in of(settings, "a")] == [2]


def test_a_link_in_place_of_a_file_is_not_followed(
        settings: WireSettings, tmp_path: Path, logged_failures: LoggedFailures) -> None:
    target = tmp_path / "target"
    target.write_text("")
    settings.directory.mkdir(parents=True)
    (settings.directory / file_name("a")).symlink_to(target)
    log_to(settings).record("a", {})
    assert target.read_text() == ""
    assert logged_failures.flush()


async def test_over_real_tls_every_visit_is_kept_the_failed_handshake_too(
        settings: WireSettings, certificates: Certificates, tmp_path: Path) -> None:
    from twisted.internet import reactor

    log = WireLog(now=lambda: datetime.now(UTC), in_thread=deferToThread)
    log.configure(settings)
    async with Served(certificates, reactor, wire_log=log,
                      settings=SiteSettings(authentication=("basic",))) as served:
        def visit() -> bytes:
            with served.socket() as client:
                client.sendall(request(Authorization=RIGHT, User_Agent="curl/8"))
                return client.recv(65536)

        def speak_plain_http() -> None:
            import socket
            with socket.create_connection(("127.0.0.1", served.port), timeout=20) as client:
                client.sendall(request())
                client.recv(65536)

        assert b"200 OK" in await deferToThread(visit)
        await deferToThread(speak_plain_http)
    await log.close()
    ((header, asked, answered),) = of(settings)
    assert (header["address"], header["user_agent"], asked, answered) == (
        "127.0.0.1", "curl/8", "<ask/>", "<answer/>")
    ((failed, _, _),) = of(settings, "")
    assert failed["error"].startswith("TLS failed: ")
