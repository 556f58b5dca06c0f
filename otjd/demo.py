"""`otjd demo`: the real service over demo calendars, with simulated endpoints, in one process."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import globalLogBeginner, globalLogPublisher

from otjd.config.check import report
from otjd.config.loader import load
from otjd.listeners import CannotOpenError
from otjd.node import Node
from otjd.operate.logs import LogOutput
from otjd.seam import deferred
from otjd.simulate.certificates import Certificates, make_certificates
from otjd.simulate.codec import Codec
from otjd.simulate.commands import codec_table, poly_table
from otjd.simulate.poly import PolyEndpoint, PolyRoom

DEMO_DOMAIN = "example.com"
ROOMS_SHOWN = 4
"""Rooms of a folder of one's own that get simulated endpoints."""

REFRESH_S = 1.0
POLL_S = 2.0
"""How often the simulated Poly endpoint asks; a real one takes its time, 15 to 120 seconds."""

WORLD = """
[node]
name = "demo"
state_dir = "state"

[calendar_service]
authentication = ["digest", "ntlm", "basic"]

[[calendar_service.listeners]]
address = "127.0.0.1"
port = {calendar_port}
certificate = "{certificate}"
private_key = "{private_key}"

[operator]
port = {operator_port}

[[file_integrations]]
name = "files"
directory = {calendars}

[[profiles]]
name = "demo"
integration = "files"
ep_username = "admin"
ep_password = "{codec_password}"
ep_verify_certificate = false

[[endpoint_groups]]
name = "demo"
profile = "demo"

[[rules]]
name = "our video rooms"
profile = "demo"
priority = 10
meeting_type = "domain"
domain = "vc.{domain}"
"""

POLY_ENTRY = """
[[endpoints]]
name = "{name}"
endpoint_type = "POLY"
poly_username = "{username}"
poly_password = "{password}"
room_resource_email = "{room}"
mjx_endpoint_group_name = "demo"
"""

CODEC_ENTRY = """
[[endpoints]]
name = "{name}"
endpoint_type = "CISCO"
api_address = "127.0.0.1"
api_port = {port}
room_resource_email = "{room}"
mjx_endpoint_group_name = "demo"
"""


@dataclass(frozen=True, slots=True)
class Seat:
    """A simulated endpoint of the demo: its name, its room, and how it is shown."""

    name: str
    room: str
    table: Callable[[datetime], Table]


def demo_calendar(room: str, now: datetime) -> str:
    """A calendar with a meeting that runs now, a series, a private meeting and one without video."""
    half_hour = now.replace(minute=now.minute // 30 * 30, second=0, microsecond=0)

    def event(uid: str, start: datetime, minutes: int, subject: str, body: str, *, more: str = "") -> str:
        return (f"BEGIN:VEVENT\r\nUID:{uid}-{room}\r\nDTSTAMP:{now:%Y%m%dT%H%M%SZ}\r\n"
                f"DTSTART:{start:%Y%m%dT%H%M%SZ}\r\nDTEND:{start + timedelta(minutes=minutes):%Y%m%dT%H%M%SZ}\r\n"
                f"SUMMARY:{subject}\r\nORGANIZER;CN=Ada Berg:mailto:ada.berg@{DEMO_DOMAIN}\r\n"
                f"DESCRIPTION:{body}\r\n{more}END:VEVENT\r\n")

    invite = "Join from a room system\\: {0}@vc." + DEMO_DOMAIN
    return "".join((
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//otjd//demo//EN\r\n",
        event("planning", half_hour, 45, "Planning", invite.format("planning")),
        event("standup", half_hour + timedelta(hours=1), 15, "Daily stand-up", invite.format("standup"),
              more="RRULE:FREQ=DAILY;COUNT=5\r\n"),
        event("salary", half_hour + timedelta(hours=2), 30, "Salary review", invite.format("salary"),
              more="CLASS:PRIVATE\r\n"),
        event("partner", half_hour + timedelta(hours=3), 60, "Partner call", "Dial sip:partner@meet.example.net"),
        event("lunch", half_hour + timedelta(hours=4), 60, "Lunch", "No video today"),
        "END:VCALENDAR\r\n"))


def calendars_in(directory: Path, now: datetime) -> list[str]:
    """The rooms that have a calendar in `directory`; an empty one gets the demo calendars."""
    directory.mkdir(parents=True, exist_ok=True)
    rooms = sorted(f.stem for f in directory.iterdir() if f.suffix.lower() == ".ics" and "@" in f.stem)
    if not rooms and not any(directory.glob("*.ics")):
        rooms = [f"boardroom@{DEMO_DOMAIN}", f"studio@{DEMO_DOMAIN}"]
        for room in rooms:
            (directory / f"{room}.ics").write_bytes(demo_calendar(room, now).encode())
    return rooms


def _poly_seat(poly: PolyRoom, name: str, now: datetime) -> Table:
    return poly_table(poly.display, now, title=name)


class Demo:
    """The world of the demo: simulated endpoints around a real node."""

    def __init__(self, options: argparse.Namespace, reactor: Any, world: Path, console: Console,
                 on_shutdown: Callable[[Callable[[], None]], None]) -> None:
        self._options = options
        self._reactor = reactor
        self._world = world
        self._console = console
        self._on_shutdown = on_shutdown
        self._printed = ""
        self._password = secrets.token_urlsafe(9)
        self._codec_password = secrets.token_urlsafe(9)
        self._seats: list[Seat] = []
        self._stops: list[Callable[[], Any]] = []
        self._polys: list[tuple[str, str, str]] = []
        self._codecs: list[tuple[int, str]] = []

    def now(self) -> datetime:
        """The aware UTC time."""
        return datetime.now(UTC)

    async def run(self) -> None:
        """Show the world until somebody ends it, then take it down."""
        calendars = self._options.directory or self._world / "calendars"
        rooms = self._rooms_in(calendars)
        certificates = make_certificates(self._world / "certs", ["localhost"], self.now())
        entries = self._make_endpoints(rooms, certificates)
        config_path = self._world / "otjd.toml"
        config_path.write_text(WORLD.format(
            calendar_port=self._options.calendar_port, operator_port=self._options.operator_port,
            certificate=certificates.certificate, private_key=certificates.private_key, domain=DEMO_DOMAIN,
            calendars=json.dumps(str(calendars.absolute()), ensure_ascii=False),
            codec_password=self._codec_password) + entries)
        config_path.chmod(0o600)
        loaded = load(config_path, environ=os.environ)
        if loaded.config is None:
            self._console.print("\n".join(report(loaded)[0]))
            raise SystemExit(1)
        node = Node(loaded.config, self._reactor)
        try:
            node.listen()
            await node.start()
            self._start_polys(node, certificates)
            self._introduce(node, calendars, certificates)
            await self._show()
        except CannotOpenError as error:
            self._console.print(f"[red]{error}", soft_wrap=True)
            raise SystemExit(1) from None
        finally:
            for stop in self._stops:
                await stop()
            await node.stop()

    def _rooms_in(self, calendars: Path) -> list[str]:
        try:
            rooms = calendars_in(calendars, self.now())
            complaint = "" if rooms else (f"No file in {calendars} is named <room email>.ics, such as "
                                          "boardroom@example.com.ics: rename your exports and try again.")
        except OSError as error:
            complaint = (f"{error.filename} cannot be used: {error.strerror}. --directory expects a folder of "
                         "<room email>.ics files, or one that demo calendars can be written to.")
        if complaint:
            self._console.print(complaint, style="red", markup=False, soft_wrap=True)
            raise SystemExit(1)
        return rooms

    def _make_endpoints(self, rooms: Sequence[str], certificates: Certificates) -> str:
        """The entries of the configuration; a Poly endpoint and a codec, or one of each for every own room."""
        if self._options.directory is None:
            seats = [(rooms[0], "poly"), (rooms[-1], "codec")]
        else:
            seats = [(room, kind) for room in rooms[:ROOMS_SHOWN] for kind in ("poly", "codec")]
        return "".join(self._add_codec(room, certificates) if kind == "codec" else self._add_poly(room)
                       for room, kind in seats)

    def _add_codec(self, room: str, certificates: Certificates) -> str:
        codec = Codec("roomos11", username="admin", password=self._codec_password, now=self.now,
                      clock=self._reactor)
        port = codec.listen(self._reactor, certificates.certificate, certificates.private_key)
        self._stops.append(codec.stop)
        self._codecs.append((port, room))
        name = f"Cisco codec in {room}"
        self._seats.append(Seat(name, room, lambda now: codec_table(codec, now, title=name)))
        return CODEC_ENTRY.format(name=name, port=port, room=room)

    def _add_poly(self, room: str) -> str:
        name, username = f"Poly endpoint in {room}", room.partition("@")[0]
        self._polys.append((name, room, username))
        return POLY_ENTRY.format(name=name, username=username, password=self._password, room=room)

    def _start_polys(self, node: Node, certificates: Certificates) -> None:
        for number, (name, room, username) in enumerate(self._polys):
            endpoint = PolyEndpoint(
                f"https://127.0.0.1:{node.calendar_port}/EWS/Exchange.asmx", username, self._password,
                scheme="ntlm" if number % 2 else "digest", mailbox=room, reactor=self._reactor,
                shape="b", ca_file=certificates.ca_certificate, now=self.now)
            poly = PolyRoom(endpoint, clock=self._reactor, interval_s=POLL_S)
            poly.start()
            self._stops.append(poly.stop)
            self._seats.append(Seat(name, room, partial(_poly_seat, poly, name)))

    def _introduce(self, node: Node, calendars: Path, certificates: Certificates) -> None:
        say = partial(self._console.print, soft_wrap=True)
        say("[bold]otjd demo[/]: the real service, demo calendars, simulated endpoints")
        say(f"  calendar service  https://127.0.0.1:{node.calendar_port}/EWS/Exchange.asmx")
        for _, room, username in self._polys:
            say(f"    login           {username} / {self._password}  ({room})")
        say(f"    certificate     curl --cacert {certificates.ca_certificate}")
        for port, room in self._codecs:
            say(f"  simulated codec   https://127.0.0.1:{port}  admin / {self._codec_password}  ({room})")
        say(f"  operator          http://127.0.0.1:{node.operator_port}/status.json")
        say(f"  calendars         {calendars}/<room email>.ics: edit one and watch")
        say("  Ctrl-C ends the demo" + ("" if self._options.directory else " and removes everything it made"))

    def _tables(self) -> Group:
        now = self.now()
        shown = [seat.table(now) for seat in sorted(self._seats, key=lambda s: s.room)]
        return Group(*shown, Text(f"{now.astimezone():%H:%M:%S}", style="dim"))

    async def _show(self) -> None:
        """Show the tables until the process is asked to end, or the time is over."""
        ended: Deferred[None] = Deferred()
        self._on_shutdown(lambda: None if ended.called else ended.callback(None))
        timer = (self._reactor.callLater(self._options.seconds, ended.callback, None)
                 if self._options.seconds else None)
        if self._console.is_terminal:
            with Live(self._tables(), console=self._console, auto_refresh=False) as live:
                await self._repeat(lambda: live.update(self._tables(), refresh=True), ended)
        else:
            await self._repeat(self._print_changes, ended)
        if timer is not None and timer.active():
            timer.cancel()

    async def _repeat(self, refresh: Callable[[], None], ended: Deferred[None]) -> None:
        looking = LoopingCall(refresh)
        looking.clock = self._reactor
        looking.start(REFRESH_S).addErrback(lambda failure: None if ended.called else ended.errback(failure))
        try:
            await ended
        finally:
            if looking.running:
                looking.stop()

    def _print_changes(self) -> None:
        """Where the output is no terminal: print the tables whenever they changed."""
        plain = Console(width=self._console.width, record=True, file=StringIO())
        plain.print(Group(*self._tables().renderables[:-1]))
        text = plain.export_text()
        if text != self._printed:
            self._printed = text
            self._console.print(self._tables())
            self._console.file.flush()


def run_demo(options: argparse.Namespace, reactor: Any) -> Deferred[None]:
    """Run the demo on `reactor` until Ctrl-C, or for `options.seconds`."""
    return deferred(_run(options, reactor))


async def _run(options: argparse.Namespace, reactor: Any) -> None:
    console = Console(file=sys.stdout, highlight=False)
    taken_down: Deferred[None] = Deferred()
    endings: list[Callable[[], None]] = []

    def shut_down() -> Deferred[None]:
        for end in endings:
            end()
        return taken_down  # the process waits until nothing is left

    reactor.addSystemEventTrigger("before", "shutdown", shut_down)
    try:
        with TemporaryDirectory(prefix="otjd-demo-") as directory:
            world = Path(directory)
            output = LogOutput(level="info", log_format="text", path=world / "otjd.log")
            globalLogBeginner.beginLoggingTo([output], redirectStandardIO=False)
            try:
                await Demo(options, reactor, world, console, endings.append).run()
            finally:
                globalLogPublisher.removeObserver(output)
                output.close()
    finally:
        taken_down.callback(None)
