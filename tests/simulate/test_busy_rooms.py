from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random

from otjd.meetings.model import Window
from otjd.simulate.busy_rooms import BusyRooms
from otjd.simulate.calendars import Calendars

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
ROOMS = ("one@example.com", "two@example.com")


def busy() -> tuple[Calendars, BusyRooms]:
    calendars = Calendars(lambda: NOON)
    rooms = BusyRooms(calendars, ROOMS, chance=Random(7), domain="dial.example")  # noqa: S311
    return calendars, rooms


def test_rooms_are_filled_for_the_days_to_come() -> None:
    calendars, rooms = busy()
    rooms.fill(days=2, meetings=5)
    for room in ROOMS:
        for day in range(2):
            start = NOON + timedelta(days=day)
            assert len(calendars.instances(room, Window(start, start + timedelta(days=1)))) >= 5
        assert all("@dial.example" in b.body_html for b in calendars.bookings(room))


def test_everything_happens_and_is_told_as_it_was() -> None:
    calendars, rooms = busy()
    rooms.fill(days=1, meetings=4)
    kinds: Counter[str] = Counter()
    for _ in range(200):
        before = {room: {b.id: b for b in calendars.bookings(room)} for room in ROOMS}
        happening = rooms.happen()
        kinds[happening.kind] += 1
        after = {b.id: b for b in calendars.bookings(happening.room)}
        old, new = before[happening.room].get(happening.booking.id), after.get(happening.booking.id)
        assert {"booked": old is None, "cancelled": new is None}.get(happening.kind, old != new)
        if happening.kind == "edited":
            assert old is not None
            assert new is not None
            assert (old.start_time, old.end_time) == (new.start_time, new.end_time)
    assert set(kinds) == {"booked", "cancelled", "moved", "edited"}
