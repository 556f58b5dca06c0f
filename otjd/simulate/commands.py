"""`otjd simulate codec` and `otjd simulate poly`, and the tables that show what simulated endpoints show."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from otjd.seam import deferred
from otjd.simulate.certificates import make_certificates
from otjd.simulate.codec import Codec
from otjd.simulate.codec_profiles import PROFILES
from otjd.simulate.poly import DisplayedMeeting, PolyEndpoint, PolyError, PolyRoom

JOIN_MARK = "▶"
"""Stands before what Join would dial, while Join is offered."""

EARLY = timedelta(minutes=5)
"""So long before the start of a meeting a Poly endpoint reminds of it and offers Join."""

REFRESH_S = 0.5

Row = tuple[datetime, datetime, str, str, str, bool]


def _table(title: str, rows: Iterable[Row]) -> Table:
    table = Table(title=Text(title) if title else None, title_justify="left", expand=False)
    for heading, is_whole in (("Time", True), ("Subject", False), ("Organizer", False), ("Join", True)):
        table.add_column(heading, no_wrap=is_whole, overflow="fold")
    for start, end, subject, organizer, number, joinable in rows:
        join = Text(f"{JOIN_MARK} {number}", "bold green") if joinable else Text(f"  {number}" if number else "")
        table.add_row(_span(start, end), Text(subject), Text(organizer), join)
    return table


def _span(start: datetime, end: datetime) -> str:
    first, last = start.astimezone(), end.astimezone()
    closing = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%a %d %b %H:%M}"
    return f"{first:%a %d %b %H:%M}–{closing}"


def codec_table(codec: Codec, now: datetime, *, title: str = "") -> Table:
    """The bookings of a codec, in the order pushed; those with a Join button at `now` are marked."""
    joinable = codec.joinable(now)
    return _table(title, ((b.start, b.end, b.title, b.organizer, b.number, b in joinable) for b in codec.bookings))


def poly_table(displayed: Iterable[DisplayedMeeting], now: datetime, *, title: str = "") -> Table:
    """The meetings on a Poly endpoint; those that offer Join at `now` are marked."""
    return _table(title, ((m.start, m.end, m.subject, m.organizer, m.dial or "",
                           m.dial is not None and m.start - EARLY <= now < m.end) for m in displayed))


def _now() -> datetime:
    return datetime.now(UTC)


class Screen:
    """Prints a picture whenever its state has changed: news from outside, or a Join that came or went.

    `render(now)` gives the state, to be compared, and the picture.
    """

    def __init__(self, reactor: Any, render: Callable[[datetime], tuple[object, object]],
                 console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stdout, highlight=False)
        self._render = render
        self._last: object = None
        self._looking = LoopingCall(self.look)
        self._looking.clock = reactor

    def start(self) -> Deferred[Any]:
        """Look again and again from now on; the Deferred fails when that fails."""
        return self._looking.start(REFRESH_S)

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, soft_wrap=True)

    def look(self) -> None:
        """Print, if there is something new."""
        state, picture = self._render(_now())
        if state != self._last:
            self._last = state
            self._console.print(f"[dim]{datetime.now().astimezone():%H:%M:%S}[/]")
            self._console.print(picture)
            self._console.file.flush()

    def stop(self) -> None:
        """Print no more."""
        if self._looking.running:
            self._looking.stop()


async def until_shutdown(reactor: Any, screen: Screen, stop: Callable[[], Any]) -> None:
    """Show the screen until the process ends or the output is gone, then `stop`; the process waits for that."""
    ending: Deferred[None] = Deferred()
    stopped: Deferred[None] = Deferred()

    def end(failure: Failure | None = None) -> Deferred[None]:
        if not ending.called:
            ending.callback(None) if failure is None else ending.errback(failure)
        return stopped

    reactor.addSystemEventTrigger("before", "shutdown", end)
    screen.start().addErrback(end)
    try:
        await ending
    finally:
        screen.stop()
        await stop()
        stopped.callback(None)


# --- command line ------------------------------------------------------------------------------------------------

def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add what everything simulated that listens can be told."""
    parser.add_argument("--address", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="port to listen on; 0: any free one")
    parser.add_argument("--certificate", type=Path, metavar="FILE",
                        help="certificate in PEM form; without it one is made for this run")
    parser.add_argument("--key", type=Path, metavar="FILE", help="the certificate's key in PEM form")


def add_parsers(subparsers: Any) -> None:
    """Add `codec` and `poly` to the sub-parsers of `otjd simulate`."""
    codec = subparsers.add_parser(
        "codec", help="a Cisco endpoint that takes bookings and shows which have a Join button",
        description="A simulated Cisco endpoint: takes bookings over HTTPS as the devices do and shows them.")
    codec.add_argument("--profile", choices=sorted(PROFILES), default="roomos11",
                       help="generation of the endpoint's software (%(default)s)")
    add_server_options(codec)
    codec.add_argument("--username", default="admin", help="user name that otjd must log in with (%(default)s)")
    codec.add_argument("--password", default="codec", help="its password (%(default)s)")
    codec.add_argument("--http", action="store_true", help="serve plain HTTP in place of HTTPS")
    poly = subparsers.add_parser(
        "poly", help="a Poly endpoint that reads its calendar and shows what it would display and dial",
        description="A simulated Poly endpoint: reads a calendar service as the devices do and shows it.")
    poly.add_argument("--url", required=True, help="calendar service, such as https://otjd/EWS/Exchange.asmx")
    poly.add_argument("--username", required=True, help="user name of the endpoint")
    poly.add_argument("--password", required=True, help="its password")
    poly.add_argument("--domain", default="", help="its domain; normally blank")
    poly.add_argument("--scheme", choices=("digest", "ntlm", "basic"), default="digest",
                      help="how to log in (%(default)s)")
    poly.add_argument("--mailbox", default="", help="room resource email, where the endpoint is given one")
    poly.add_argument("--shape", choices=("a", "b"), default="a",
                      help="a: one view of a day, changed items in one request; b: two views, one request an item")
    poly.add_argument("--family", choices=("hdx", "group", "trio", "videoos", "debut"), default="group",
                      help="decides where the address to dial is looked for (%(default)s)")
    poly.add_argument("--show-private", action="store_true", help="show private meetings as the others")
    poly.add_argument("--interval", type=float, default=60.0, metavar="S",
                      help="seconds between polls (%(default)g)")
    trust = poly.add_mutually_exclusive_group()
    trust.add_argument("--insecure", action="store_true", help="take any certificate")
    trust.add_argument("--ca", type=Path, metavar="FILE", help="trust the authorities in this PEM file alone")
    poly.add_argument("--once", action="store_true", help="poll once, print, end; exit code 1 if that fails")


def run_codec(options: argparse.Namespace, reactor: Any) -> Deferred[None]:
    """Simulate a codec until the process ends."""
    return deferred(_run_codec(options, reactor))


def run_poly(options: argparse.Namespace, reactor: Any) -> Deferred[None]:
    """Simulate a Poly endpoint until the process ends, or for one poll."""
    return deferred(_run_poly(options, reactor))


def refuse(text: str) -> SystemExit:
    """What ends a command that cannot do what it is told; the reason is printed."""
    sys.stderr.write(f"otjd: {text}\n")
    return SystemExit(2)


def listening(options: argparse.Namespace, listen: Callable[[Path, Path], int]) -> str:
    """Listen with the certificate and key of the options, or with some that are made; gives the address."""
    if (options.certificate is None) != (options.key is None):
        raise refuse("--certificate and --key go together")
    with TemporaryDirectory(prefix="otjd-simulate-") as directory:
        certificate, key = options.certificate, options.key
        try:
            if certificate is None:
                made = make_certificates(Path(directory), [options.address], _now())
                certificate, key = made.certificate, made.private_key
            port = listen(certificate, key)
        except (OSError, CannotListenError, ValueError) as error:
            raise refuse(f"the server cannot listen: {error}") from None
    return f"https://{options.address}:{port}"


def _listen(codec: Codec, options: argparse.Namespace, reactor: Any) -> str:
    if not options.http:
        return listening(options, lambda certificate, key: codec.listen(
            reactor, certificate, key, address=options.address, port=options.port))
    try:
        port = codec.listen_http(reactor, address=options.address, port=options.port)
    except (OSError, CannotListenError, ValueError) as error:
        raise refuse(f"the server cannot listen: {error}") from None
    return f"http://{options.address}:{port}"


async def _run_codec(options: argparse.Namespace, reactor: Any) -> None:
    codec = Codec(options.profile, username=options.username, password=options.password, now=_now, clock=reactor)
    url = _listen(codec, options, reactor)
    screen = Screen(reactor, lambda now: ((codec.bookings, codec.joinable(now)), codec_table(codec, now)))
    screen.say(f"[bold]{escape(codec.profile.product)}[/] {escape(codec.profile.software)} at {escape(url)}, "
               f"user {escape(options.username)}; Ctrl-C ends it")
    await until_shutdown(reactor, screen, codec.stop)


def _endpoint(options: argparse.Namespace, reactor: Any) -> PolyEndpoint:
    try:
        return PolyEndpoint(
            options.url, options.username, options.password, scheme=options.scheme, mailbox=options.mailbox,
            domain=options.domain, shape=options.shape, family=options.family, show_private=options.show_private,
            now=_now, reactor=reactor, ca_file=options.ca, verify=not options.insecure)
    except (OSError, ValueError) as error:
        raise refuse(f"the endpoint cannot be set up: {error}") from None


async def _run_poly(options: argparse.Namespace, reactor: Any) -> None:
    endpoint = _endpoint(options, reactor)
    if options.once:
        await _poll_once(endpoint)
        return
    room = PolyRoom(endpoint, clock=reactor, interval_s=options.interval)

    def render(now: datetime) -> tuple[object, object]:
        table = poly_table(room.display, now)
        offered = [m for m in room.display if m.start - EARLY <= now < m.end]
        error = str(room.last_error) if room.last_error is not None else ""
        table.caption = Text(error, "red") if error else None
        return (room.display, offered, error, room.polls > 0), table

    screen = Screen(reactor, render)
    screen.say(f"Poly endpoint [bold]{escape(options.username)}[/] at {escape(options.url)}, every "
               f"{options.interval:g} s; Ctrl-C ends it")
    room.start()
    await until_shutdown(reactor, screen, room.stop)


async def _poll_once(endpoint: PolyEndpoint) -> None:
    console = Console(file=sys.stdout, highlight=False)
    try:
        console.print(poly_table(await endpoint.poll(), _now()))
        for reason in endpoint.ignored:
            console.print(f"[yellow]not shown:[/] {escape(reason)}", soft_wrap=True)
    except PolyError as error:
        console.print(f"[red]{escape(str(error))}[/]", soft_wrap=True)
        raise SystemExit(1) from None
    finally:
        await endpoint.close()
