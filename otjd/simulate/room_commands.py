"""What the commands that simulate calendar servers have in common: rooms that are booked again and again."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any

from rich.text import Text
from twisted.internet.task import LoopingCall

from otjd.simulate.busy_rooms import BusyRooms, Happening
from otjd.simulate.calendars import Calendars
from otjd.simulate.commands import Screen, add_server_options, refuse, until_shutdown

ROOMS_LIMIT = 10_000


def add_room_options(parser: argparse.ArgumentParser) -> None:
    """Add what every simulated calendar server can be told."""
    add_server_options(parser)
    parser.add_argument("--rooms", type=int, default=3, metavar="N",
                        help="number of rooms, room1@example.com and on (%(default)s)")
    parser.add_argument("--change-every", type=float, default=20.0, metavar="S",
                        help="seconds between changes; 0: none (%(default)g)")
    parser.add_argument("--latency", type=float, default=0.05, metavar="S",
                        help="seconds that an answer takes (%(default)g)")


class ShownRooms:
    """The rooms of a command, booked for some days, whose bookings then change until the process ends.

    :raises SystemExit: an option cannot be used; the reason is printed.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        if not 1 <= options.rooms <= ROOMS_LIMIT:
            raise refuse(f"--rooms must be from 1 to {ROOMS_LIMIT}")
        if options.change_every < 0 or options.latency < 0:
            raise refuse("--change-every and --latency must not be negative")
        self.calendars = Calendars(lambda: datetime.now(UTC))
        self._every_s = options.change_every
        self._last: Happening | None = None
        self._rooms = BusyRooms(self.calendars, [f"room{n + 1}@example.com" for n in range(options.rooms)],
                                chance=Random())  # noqa: S311 - what happens in a demonstration
        self._rooms.fill()

    async def show(self, reactor: Any, greeting: str, asked: Callable[[], Mapping[str, int]],
                   stop: Callable[[], Awaitable[None]]) -> None:
        """Print the greeting, then what happened and how often what was `asked` for; at the end `stop`."""
        changing = LoopingCall(self._happen)
        changing.clock = reactor
        if self._every_s:
            changing.start(self._every_s, now=False)
        screen = Screen(reactor, lambda _: (self._last, self._picture(asked())))
        screen.say(greeting)

        async def end() -> None:
            if changing.running:
                changing.stop()
            await stop()

        await until_shutdown(reactor, screen, end)

    def _happen(self) -> None:
        self._last = self._rooms.happen()

    def _picture(self, asked: Mapping[str, int]) -> Text:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(asked.items())) or "no requests yet"
        if self._last is None:
            return Text(counts, "dim")
        booking = self._last.booking
        what = f"{booking.subject} {booking.start_time.astimezone():%a %d %b %H:%M}, {self._last.room}; "
        return Text.assemble((f"{self._last.kind} ", "bold"), what, (counts, "dim"))
