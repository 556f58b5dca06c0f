"""`otjd simulate exchange`: rooms whose bookings change, on a simulated Exchange."""

from __future__ import annotations

import argparse
from typing import Any

from rich.markup import escape
from twisted.internet.defer import Deferred

from otjd.seam import deferred
from otjd.simulate.commands import listening
from otjd.simulate.exchange import ExchangeServer
from otjd.simulate.exchange_settings import OTHER_MAKE, ExchangeSettings, ServiceAccount
from otjd.simulate.room_commands import ShownRooms, add_room_options


def add_exchange_parser(subparsers: Any) -> None:
    """Add `exchange` to the sub-parsers of `otjd simulate`."""
    parser = subparsers.add_parser(
        "exchange", help="an Exchange whose rooms are booked again and again, to read calendars from",
        description="A simulated Exchange: Autodiscover and EWS for a service account that impersonates rooms. "
                    "Something is booked, moved, edited or cancelled again and again.")
    add_room_options(parser)
    parser.add_argument("--username", default="svc-otj@example.com", help="the service account (%(default)s)")
    parser.add_argument("--password", default="exchange", help="its password (%(default)s)")
    parser.add_argument("--schemes", nargs="+", choices=("ntlm", "basic"), default=None,
                        help="how it may sign in (ntlm basic)")
    parser.add_argument("--like", choices=("microsoft", "other"), default="microsoft",
                        help="other: a server that speaks EWS and is not Microsoft's, with its ways (%(default)s)")
    parser.add_argument("--extended-protection", choices=("none", "allow", "require"), default="none",
                        help="whether NTLM must name the TLS connection (%(default)s)")


def run_exchange(options: argparse.Namespace, reactor: Any) -> Deferred[None]:
    """Simulate an Exchange until the process ends."""
    return deferred(_run(options, reactor))


async def _run(options: argparse.Namespace, reactor: Any) -> None:
    rooms = ShownRooms(options)
    ways: dict[str, Any] = dict(OTHER_MAKE) if options.like == "other" else {"schemes": ("ntlm", "basic")}
    if options.schemes:
        ways["schemes"] = tuple(options.schemes)
    server = ExchangeServer(rooms.calendars, ExchangeSettings(
        accounts=(ServiceAccount(options.username, options.password),),
        extended_protection=options.extended_protection, latency_s=(options.latency, options.latency), **ways),
        clock=reactor)
    server.base_url = f"https://{options.address}"
    url = listening(options, lambda certificate, key: server.listen(
        reactor, certificate, key, address=options.address, port=options.port))
    autodiscover = f"{url}/autodiscover/autodiscover.{'xml' if options.like == 'other' else 'svc'}"
    greeting = (f"[bold]Exchange {escape(server.settings.version)}[/] at {escape(url)}/EWS/Exchange.asmx, "
                f"Autodiscover at {escape(autodiscover)}, user {escape(options.username)}, "
                f"password {escape(options.password)}, {options.rooms} rooms from room1@example.com on; "
                "Ctrl-C ends it")
    await rooms.show(reactor, greeting, lambda: server.requests, server.stop)
