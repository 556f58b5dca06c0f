"""`otjd simulate exchange`: rooms whose bookings change, on a simulated Exchange."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from random import Random
from typing import Any

from rich.markup import escape
from rich.text import Text
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from otjd.seam import deferred
from otjd.simulate.busy_rooms import BusyRooms, Happening
from otjd.simulate.calendars import Calendars
from otjd.simulate.commands import Screen, add_server_options, listening, refuse, until_shutdown
from otjd.simulate.exchange import ExchangeServer
from otjd.simulate.exchange_settings import ExchangeSettings, ServiceAccount

ROOMS_LIMIT = 10_000


def add_exchange_parser(subparsers: Any) -> None:
    """Add `exchange` to the sub-parsers of `otjd simulate`."""
    parser = subparsers.add_parser(
        "exchange", help="an Exchange whose rooms are booked again and again, to read calendars from",
        description="A simulated Exchange: Autodiscover and EWS for a service account that impersonates rooms. "
                    "Something is booked, moved, edited or cancelled again and again.")
    add_server_options(parser)
    parser.add_argument("--rooms", type=int, default=3, metavar="N",
                        help="number of rooms, room1@example.com and on (%(default)s)")
    parser.add_argument("--username", default="svc-otj@example.com", help="the service account (%(default)s)")
    parser.add_argument("--password", default="exchange", help="its password (%(default)s)")
    parser.add_argument("--schemes", nargs="+", choices=("ntlm", "basic"), default=["ntlm", "basic"],
                        help="how it may sign in (ntlm basic)")
    parser.add_argument("--extended-protection", choices=("none", "allow", "require"), default="none",
                        help="whether NTLM must name the TLS connection (%(default)s)")
    parser.add_argument("--change-every", type=float, default=20.0, metavar="S",
                        help="seconds between changes; 0: none (%(default)g)")
    parser.add_argument("--latency", type=float, default=0.05, metavar="S",
                        help="seconds that an answer takes (%(default)g)")


def run_exchange(options: argparse.Namespace, reactor: Any) -> Deferred[None]:
    """Simulate an Exchange until the process ends."""
    return deferred(_run(options, reactor))


async def _run(options: argparse.Namespace, reactor: Any) -> None:
    if not 1 <= options.rooms <= ROOMS_LIMIT:
        raise refuse(f"--rooms must be from 1 to {ROOMS_LIMIT}")
    if options.change_every < 0 or options.latency < 0:
        raise refuse("--change-every and --latency must not be negative")
    calendars = Calendars(lambda: datetime.now(UTC))
    rooms = BusyRooms(calendars, [f"room{n + 1}@example.com" for n in range(options.rooms)],
                      chance=Random())  # noqa: S311 - what happens in a demonstration
    rooms.fill()
    server = ExchangeServer(calendars, ExchangeSettings(
        accounts=(ServiceAccount(options.username, options.password),), schemes=tuple(options.schemes),
        extended_protection=options.extended_protection, latency_s=(options.latency, options.latency)),
        clock=reactor)
    server.base_url = f"https://{options.address}"
    url = listening(options, lambda certificate, key: server.listen(
        reactor, certificate, key, address=options.address, port=options.port))
    happened: list[Happening] = []

    def happen() -> None:
        happened[:] = [rooms.happen()]

    changing = LoopingCall(happen)
    changing.clock = reactor
    if options.change_every:
        changing.start(options.change_every, now=False)
    screen = Screen(reactor, lambda _: (tuple(happened), _picture(happened, server)))
    screen.say(f"[bold]Exchange {escape(server.settings.version)}[/] at {escape(url)}/EWS/Exchange.asmx, "
               f"Autodiscover at {escape(url)}/autodiscover/autodiscover.svc, user {escape(options.username)}, "
               f"password {escape(options.password)}, {options.rooms} rooms from room1@example.com on; "
               "Ctrl-C ends it")

    async def stop() -> None:
        if changing.running:
            changing.stop()
        await server.stop()

    await until_shutdown(reactor, screen, stop)


def _picture(happened: list[Happening], server: ExchangeServer) -> Text:
    """The last thing that happened, and how often the server was asked for what."""
    asked = ", ".join(f"{name} {count}" for name, count in sorted(server.requests.items())) or "no requests yet"
    if not happened:
        return Text(asked, "dim")
    (last,) = happened
    what = f"{last.booking.subject} {last.booking.start_time.astimezone():%a %d %b %H:%M}, {last.room}; "
    return Text.assemble((f"{last.kind} ", "bold"), what, (asked, "dim"))
