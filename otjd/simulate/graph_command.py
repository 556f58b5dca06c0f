"""`otjd simulate graph`: rooms whose bookings change, on a simulated Microsoft Graph."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.markup import escape
from twisted.internet.defer import Deferred

from otjd.seam import deferred
from otjd.simulate.commands import listening, refuse
from otjd.simulate.graph import GraphServer
from otjd.simulate.graph_settings import GraphApp, GraphSettings
from otjd.simulate.room_commands import ShownRooms, add_room_options


def add_graph_parser(subparsers: Any) -> None:
    """Add `graph` to the sub-parsers of `otjd simulate`."""
    parser = subparsers.add_parser(
        "graph", help="a Microsoft Graph whose rooms are booked again and again, to read calendars from",
        description="A simulated Microsoft Graph with its token service, for an app registration that may read "
                    "calendars. Something is booked, moved, edited or cancelled again and again.")
    add_room_options(parser)
    parser.add_argument("--tenant", default="contoso.onmicrosoft.com", help="the tenant's domain (%(default)s)")
    parser.add_argument("--client-id", default="11111111-2222-3333-4444-555555555555", metavar="ID",
                        help="client id of the app registration (%(default)s)")
    parser.add_argument("--client-secret", default="graph", metavar="SECRET", help="its secret (%(default)s)")
    parser.add_argument("--schedules", type=int, default=20, metavar="N",
                        help="rooms that one getSchedule may be about (%(default)s)")
    parser.add_argument("--trust", type=Path, metavar="FILE",
                        help="authorities, in PEM form, that sign the certificates of notification URLs")


def run_graph(options: argparse.Namespace, reactor: Any) -> Deferred[None]:
    """Simulate a Graph until the process ends."""
    return deferred(_run(options, reactor))


async def _run(options: argparse.Namespace, reactor: Any) -> None:
    rooms = ShownRooms(options)
    if options.schedules < 1:
        raise refuse("--schedules must be 1 or more")
    settings = GraphSettings(
        apps=(GraphApp(options.client_id, options.client_secret),), tenant=options.tenant,
        schedules_limit=options.schedules, latency_s=(options.latency, options.latency),
        notification_ca_file=options.trust)
    try:
        server = GraphServer(rooms.calendars, reactor=reactor, settings=settings)
    except (OSError, ValueError) as error:
        raise refuse(f"{options.trust} cannot be used: {error}") from None
    url = listening(options, lambda certificate, key: server.listen(
        certificate, key, address=options.address, port=options.port))
    greeting = (f"[bold]Microsoft Graph[/] at {escape(url)}/v1.0, tokens at "
                f"{escape(url)}/{escape(options.tenant)}/oauth2/v2.0/token, client {escape(options.client_id)}, "
                f"secret {escape(options.client_secret)}, {options.rooms} rooms from room1@example.com on; "
                "Ctrl-C ends it")
    await rooms.show(reactor, greeting, lambda: server.counts, server.stop)
