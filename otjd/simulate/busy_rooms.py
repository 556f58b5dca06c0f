"""Rooms in which something happens: bookings to begin with, then one change after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from otjd.meetings.model import Organizer
from otjd.simulate.calendars import Booking, Calendars

PEOPLE = (Organizer("Ada Berg", "ada.berg@example.com"), Organizer("Bo Dahl", "bo.dahl@example.com"),
          Organizer("Cem Ekici", "cem.ekici@example.com"), Organizer("Dora Fox", "dora.fox@example.com"))
SUBJECTS = ("Weekly", "Project review", "Budget", "Interview", "Design", "Customer call", "Planning",
            "Retrospective")
MINUTES = (15, 30, 30, 45, 60, 60, 90)
_QUARTER = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Happening:
    """What was done to a booking: `kind` is `booked`, `cancelled`, `moved`, or `edited`, which free and busy times
    do not show."""

    kind: str
    room: str
    booking: Booking


class BusyRooms:
    """Books `rooms` of `calendars` and changes what is booked; `chance` decides where and what.

    Meetings have their dial string at `domain` in a body of their own.
    """

    def __init__(self, calendars: Calendars, rooms: Sequence[str], *, chance: Random,
                 domain: str = "video.example.com") -> None:
        self._calendars = calendars
        self._rooms = tuple(rooms)
        self._chance = chance
        self._domain = domain
        for room in self._rooms:
            calendars.add_room(room)

    def fill(self, *, days: int = 3, meetings: int = 8) -> None:
        """Book every room for so many meetings on each of so many days from now on."""
        for room in self._rooms:
            for day in range(days):
                for number in range(meetings):
                    self._book(room, timedelta(days=day, minutes=number * (24 * 60 // meetings) / 2))

    def happen(self) -> Happening:
        """Change something, in about equal parts: a new booking, one that is moved, cancelled, or edited."""
        room = self._chance.choice(self._rooms)
        now = self._calendars.now()
        coming = [b for b in self._calendars.bookings(room) if b.end_time > now]
        kind = self._chance.choice(("booked", "cancelled", "moved", "edited")) if coming else "booked"
        if kind == "booked":
            return Happening(kind, room, self._book(room, timedelta(hours=self._chance.randrange(24))))
        booking = self._chance.choice(coming)
        if kind == "cancelled":
            self._calendars.cancel(room, booking.id)
        elif kind == "moved":
            by = _QUARTER * self._chance.choice((-2, -1, 1, 2, 4))
            booking = self._calendars.change(room, booking.id, start_time=booking.start_time + by,
                                             end_time=booking.end_time + by)
        else:
            booking = self._calendars.change(room, booking.id, body_html=self._body())
        return Happening(kind, room, booking)

    def _book(self, room: str, after: timedelta) -> Booking:
        start = _at_quarter(self._calendars.now() + after + _QUARTER * self._chance.randrange(4))
        length = timedelta(minutes=self._chance.choice(MINUTES))
        return self._calendars.book(
            room, start, start + length, subject=self._chance.choice(SUBJECTS),
            organizer=self._chance.choice(PEOPLE), location=room.partition("@")[0], body_html=self._body(),
            is_private=self._chance.random() < 0.1)

    def _body(self) -> str:
        alias = f"meet.{self._chance.randrange(10_000, 99_999)}@{self._domain}"
        return f"<html><body><p>Join: <a href='sip:{alias}'>sip:{alias}</a></p></body></html>"


def _at_quarter(time: datetime) -> datetime:
    return time.replace(minute=time.minute // 15 * 15, second=0, microsecond=0)
