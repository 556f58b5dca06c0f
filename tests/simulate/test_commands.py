from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import treq
from rich.console import Console
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.web.client import Agent

from otjd.simulate.certificates import make_certificates
from otjd.simulate.codec import Codec
from otjd.simulate.commands import add_parsers, codec_table, poly_table, run_codec, run_poly
from otjd.simulate.poly import DisplayedMeeting
from otjd.simulate.poly_http import tls_policy
from tests.simulate.codec_world import AUTH, bench, json_booking, xml_booking, xml_document
from tests.simulate.ews_double import PASSWORD, USER, fault, item, serve

reactor: Any = global_reactor
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


class Ending:
    """The reactor, but its shutdown is in our hands."""

    def __init__(self) -> None:
        self._triggers: list[Callable[[], Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def addSystemEventTrigger(self, phase: str, event: str, call: Callable[[], Any]) -> None:
        assert (phase, event) == ("before", "shutdown")
        self._triggers.append(call)

    async def shutdown(self) -> None:
        for trigger in self._triggers:
            await trigger()


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_parsers(parser.add_subparsers(dest="endpoint"))
    return parser.parse_args(arguments)


def lines(table: Any) -> list[str]:
    console = Console(width=160, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(table)
    console.file.close()
    return console.export_text().splitlines()


async def shown(capsys: pytest.CaptureFixture[str], pattern: str, so_far: str = "") -> str:
    """The output, as soon as the pattern is in it."""
    while not re.search(pattern, so_far):
        await deferLater(reactor, 0.02)
        so_far += capsys.readouterr().out
    return so_far


# --- tables ---

async def test_the_codecs_table_marks_the_bookings_with_a_join_button_now() -> None:
    async with bench() as b:
        later = {"StartTime": "2026-03-02T13:00:00Z", "Duration": 45, "StartTimeBuffer": 300}
        await b.put(json_booking(),
                    json_booking("b-2", Title="[bold]Later", Number="later@example.com", Time=later))
        table = lines(codec_table(b.codec, NOON, title="Room 7"))
        assert table[0].strip() == "Room 7"
        (first,) = [line for line in table if "Planning & review" in line]
        (second,) = [line for line in table if "[bold]Later" in line]
        assert "▶ room7@video.example.com" in first
        assert "Ada Berg" in first
        assert "later@example.com" in second
        assert "▶" not in second
        local = (NOON + timedelta(hours=1)).astimezone()
        assert f"{local:%a %d %b %H:%M}–{local + timedelta(minutes=45):%H:%M}" in second


def meeting(**changes: Any) -> DisplayedMeeting:
    values = {"subject": "Weekly", "organizer": "Ada", "start": NOON, "end": NOON + timedelta(hours=1),
              "private": False, "dial": "weekly@example.com", "dial_source": "token", **changes}
    return DisplayedMeeting(**values)


@pytest.mark.parametrize(("after", "marked"), [(timedelta(minutes=-6), False), (timedelta(minutes=-5), True),
                                               (timedelta(minutes=59), True), (timedelta(hours=1), False)])
def test_the_poly_table_marks_join_from_five_minutes_before_the_start(after: timedelta, marked: bool) -> None:
    (row,) = [line for line in lines(poly_table([meeting()], NOON + after)) if "Weekly" in line]
    assert ("▶ weekly@example.com" in row) is marked
    assert "weekly@example.com" in row


def test_a_meeting_without_anything_to_dial_has_no_join() -> None:
    over_night = meeting(dial=None, dial_source=None, end=NOON + timedelta(hours=30))
    (row,) = [line for line in lines(poly_table([over_night], NOON)) if "Weekly" in line]
    assert "▶" not in row
    assert f"–{over_night.end.astimezone():%a %d %b %H:%M}" in row


# --- otjd simulate codec ---

def test_the_options_have_the_defaults_that_help_tells() -> None:
    codec, poly = options("codec"), options("poly", "--url", "u", "--username", "n", "--password", "p")
    assert (codec.profile, codec.address, codec.port, codec.username, codec.password) == (
        "roomos11", "127.0.0.1", 0, "admin", "codec")
    assert (poly.scheme, poly.shape, poly.family, poly.interval) == ("digest", "a", "group", 60.0)
    assert not poly.once


@pytest.mark.parametrize("is_plain", [True, False])
async def test_a_codec_prints_its_address_and_each_change_until_the_process_ends(
        is_plain: bool, capsys: pytest.CaptureFixture[str]) -> None:
    ending = Ending()
    arguments = ["codec", "--profile", "tc7", *(["--http"] if is_plain else [])]
    running = run_codec(options(*arguments), ending)
    output = await shown(capsys, r"Subject")
    (url,) = re.findall(r"https?://127\.0\.0\.1:\d+", output)
    assert url.startswith("http:" if is_plain else "https:")
    agent = Agent(reactor, tls_policy(None, verify=False))  # type: ignore[no-untyped-call]
    document = xml_document(xml_booking()).encode()
    response = await treq.post(f"{url}/bookingsputxml", document, agent=agent, auth=AUTH)
    assert response.code == 200
    await response.content()
    assert "Planning" in await shown(capsys, "Planning")
    await ending.shutdown()
    await running


async def test_a_codec_uses_the_certificate_that_it_is_given(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, ending = make_certificates(tmp_path, ["localhost"], datetime.now(UTC)), Ending()
    running = run_codec(options("codec", "--certificate", str(made.certificate), "--key", str(made.private_key)),
                        ending)
    (url,) = re.findall(r"https://\S+:\d+", await shown(capsys, "Subject"))
    agent = Agent(reactor, tls_policy(made.ca_certificate, verify=True))  # type: ignore[no-untyped-call]
    response = await treq.get(f"{url}/status.xml", agent=agent, auth=AUTH)
    await response.content()
    assert response.code == 200
    await ending.shutdown()
    await running


@pytest.mark.parametrize(("arguments", "text"), [
    (("--certificate", "x.crt"), "go together"), (("--certificate", "none.crt", "--key", "none.key"), "none.crt"),
    (("--http", "--address", "203.0.113.9"), "cannot listen")])
async def test_what_keeps_a_codec_from_listening_is_said(arguments: tuple[str, ...], text: str,
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        await run_codec(options("codec", *arguments), Ending())
    assert raised.value.code == 2
    assert text in capsys.readouterr().err


async def test_a_certificate_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = tmp_path / "x"
    made.write_text("no certificate")
    with pytest.raises(SystemExit):
        await run_codec(options("codec", "--certificate", str(made), "--key", str(made)), Ending())
    assert "cannot listen" in capsys.readouterr().err


async def test_a_key_of_another_certificate_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = (make_certificates(tmp_path / name, ["localhost"], datetime.now(UTC)) for name in ("one", "two"))
    with pytest.raises(SystemExit):
        await run_codec(options("codec", "--certificate", str(one.certificate), "--key", str(two.private_key)),
                        Ending())
    assert "are no certificate with its key" in capsys.readouterr().err


async def test_output_that_cannot_be_written_ends_the_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otjd.simulate.commands.codec_table", broken)
    ending = Ending()
    with pytest.raises(BrokenPipeError):
        await run_codec(options("codec", "--http"), ending)
    await ending.shutdown()


def broken(codec: Codec, now: datetime) -> Any:
    raise BrokenPipeError


# --- otjd simulate poly ---

def poly(url: str, *arguments: str) -> argparse.Namespace:
    return options("poly", "--url", url, "--username", USER, "--password", PASSWORD, *arguments)


async def test_one_poll_prints_what_is_shown_and_why_other_items_are_not(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with serve("ntlm", tmp_path) as (double, url):
        double.items = {"QUJD": item(), "B=": item("B=", "1", without="MyResponseType")}
        await run_poly(poly(url, "--once", "--scheme", "ntlm", "--family", "trio"), reactor)
        output = capsys.readouterr().out
        assert "weekly@video.example.com" in output
        assert "not shown: FindItem: t:MyResponseType is missing" in output


async def test_one_poll_that_fails_says_why_and_exits_with_1(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with serve("basic", tmp_path) as (double, url):
        double.answers["FindItem"] = lambda _: (500, fault("ErrorServerBusy"))
        with pytest.raises(SystemExit) as raised:
            await run_poly(poly(url, "--once", "--scheme", "basic"), reactor)
        assert raised.value.code == 1
        assert "500 ErrorServerBusy Not now." in capsys.readouterr().out


async def test_an_endpoint_polls_and_prints_each_change_and_error_until_the_process_ends(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ending = Ending()
    async with serve("basic", tmp_path) as (double, url):
        double.items["QUJD"] = item()
        running: Deferred[None] = run_poly(poly(url, "--scheme", "basic", "--interval", "0.05"), ending)
        await shown(capsys, "Weekly")
        double.items["QUJD"] = item("QUJD", "2", Subject="<t:Subject>Moved</t:Subject>")
        await shown(capsys, "Moved")
        double.answers["FindItem"] = lambda _: (500, fault("ErrorServerBusy"))
        assert "Moved" in await shown(capsys, "ErrorServerBusy")
        await ending.shutdown()
        await running


async def test_an_authority_file_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        await run_poly(poly("https://localhost/", "--ca", "/nowhere/ca.crt"), reactor)
    assert raised.value.code == 2
    assert "/nowhere/ca.crt" in capsys.readouterr().err


def test_a_codec_of_the_tables_needs_no_reactor() -> None:
    codec = Codec("ce9", now=lambda: NOON, clock=Clock())
    assert len(codec_table(codec, NOON).rows) == 0
