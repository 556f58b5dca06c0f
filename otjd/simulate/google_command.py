"""`otjd simulate google`: rooms whose bookings change, on a simulated Google."""

from __future__ import annotations

import argparse
import os
import secrets
from pathlib import Path
from typing import Any, get_args

from rich.markup import escape
from twisted.internet.defer import Deferred

from otjd.seam import deferred
from otjd.simulate.commands import listening, refuse
from otjd.simulate.google import GoogleServer
from otjd.simulate.google_settings import (
    ConsentClient,
    GoogleSettings,
    Role,
    ServiceAccount,
    make_service_account,
    service_account_of,
)
from otjd.simulate.room_commands import ShownRooms, add_room_options

ACCOUNT = "otjd@simulated.iam.gserviceaccount.com"
USER = "otjd@example.com"


def add_google_parser(subparsers: Any) -> None:
    """Add `google` to the sub-parsers of `otjd simulate`."""
    parser = subparsers.add_parser(
        "google", help="a Google whose rooms are booked again and again, to read calendars from",
        description="A simulated Google: tokens and the Calendar API for a service account or a user's consent. "
                    "Something is booked, moved, edited or cancelled again and again.")
    add_room_options(parser)
    parser.add_argument("--key-file", type=Path, default=Path("google-key.json"), metavar="FILE",
                        help="JSON key file of the service account, made where there is none (%(default)s)")
    parser.add_argument("--redirect-uri", default="", metavar="URI",
                        help="where a user's consent is sent to; without it only the service account signs in")
    parser.add_argument("--role", choices=get_args(Role), default="reader",
                        help="how the rooms are shared (%(default)s)")
    parser.add_argument("--trust", type=Path, metavar="FILE",
                        help="authorities, in PEM form, of who may be told of changes; without it the system's")


def run_google(options: argparse.Namespace, reactor: Any) -> Deferred[None]:
    """Simulate a Google until the process ends."""
    return deferred(_run(options, reactor))


def _account(path: Path) -> ServiceAccount:
    try:
        if path.exists():
            return service_account_of(path.read_text())
        account, key_file = make_service_account(ACCOUNT)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(key_file)
    except (OSError, ValueError) as error:
        raise refuse(f"{path} cannot be used as key file: {error}") from None
    return account


async def _run(options: argparse.Namespace, reactor: Any) -> None:
    rooms = ShownRooms(options)
    consent = ConsentClient("simulated.apps.googleusercontent.com", secrets.token_urlsafe(18),
                            (options.redirect_uri,), USER)
    settings = GoogleSettings(
        (_account(options.key_file),), (consent,) if options.redirect_uri else (), default_role=options.role,
        latency_s=(options.latency, options.latency))
    try:
        server = GoogleServer(rooms.calendars, reactor=reactor, settings=settings, trusted=options.trust)
    except (OSError, ValueError) as error:
        raise refuse(f"{options.trust} cannot be used: {error}") from None
    url = listening(options, lambda certificate, key: server.listen(
        certificate, key, address=options.address, port=options.port))
    greeting = (f"[bold]Google Calendar[/] at {escape(url)}/calendar/v3, tokens at {escape(url)}/token, key file "
                f"{escape(str(options.key_file))}, {options.rooms} rooms from room1@example.com on; "
                "Ctrl-C ends it")
    if options.redirect_uri:
        greeting += (f"\nConsent at {escape(url)}/o/oauth2/v2/auth, client_id {consent.client_id}, "
                     f"client_secret {escape(consent.client_secret)}")
    await rooms.show(reactor, greeting, lambda: server.api.requests, server.stop)
