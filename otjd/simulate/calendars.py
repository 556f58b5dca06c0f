"""The calendars behind a simulated calendar server: rooms, their bookings, series, and what changed when.

Each server shows them in its own words; what changes them, such as a test or a benchmark, need not know which.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from dateutil.rrule import rrulestr

from otjd.meetings.model import FreeBusyStatus, Organizer, Window

_STAMP = "%Y%m%dT%H%M%SZ"
_OCCURRENCES_LIMIT = 1000
NOBODY = Organizer()


class ChangeKind(StrEnum):
    """What happened to a booking."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Booking:
    """A booking of a room; with `rule`, the value of an RRULE, a series that begins with it.

    A series keeps its time of day in the zone of `start_time`. `exceptions` holds changed fields by the original
    start of an occurrence (`YYYYMMDDTHHMMSSZ`), None for one that was cancelled. `properties` are named String
    properties of PublicStrings, `conference` the conferenceData of a Google event. `revision` counts up over all
    calendars.
    """

    id: str
    uid: str
    start_time: datetime
    end_time: datetime
    subject: str = ""
    location: str = ""
    body_html: str = ""
    organizer: Organizer = NOBODY
    is_private: bool = False
    is_all_day: bool = False
    is_cancelled: bool = False
    free_busy: FreeBusyStatus = FreeBusyStatus.BUSY
    rule: str = ""
    exceptions: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict, hash=False)
    properties: Mapping[str, str] = field(default_factory=dict, hash=False)
    conference: Mapping[str, Any] = field(default_factory=dict, hash=False)
    created_time: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    modified_time: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Instance:
    """One occurrence as it is shown: `booking` with its exception applied.

    `occurrence` is the original start of one of a series, empty for a single booking.
    """

    booking: Booking
    occurrence: str = ""
    is_exception: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """What happened, in the order of `revision`; of a deleted booking the last state."""

    kind: ChangeKind
    room: str
    booking: Booking
    revision: int


Told = Callable[[Change], None]


class UnknownBookingError(KeyError):
    """No such room, or no such booking in it."""


class Calendars:
    """The calendars of rooms, by e-mail address in lower case. `now` gives the aware UTC time."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._rooms: dict[str, dict[str, Booking]] = {}
        self._changes: dict[str, list[Change]] = {}
        self._told: list[Told] = []
        self.revision = 0

    def now(self) -> datetime:
        """The aware UTC time of these calendars."""
        return self._now()

    def add_room(self, room: str) -> None:
        """Have a calendar for this room; one that is there already stays."""
        self._rooms.setdefault(room.lower(), {})

    def remove_room(self, room: str) -> None:
        """Have it no more, without telling of its bookings."""
        self._rooms.pop(room.lower(), None)

    def rooms(self) -> tuple[str, ...]:
        """All rooms."""
        return tuple(self._rooms)

    def has_room(self, room: str) -> bool:
        """Whether there is a calendar of this room."""
        return room.lower() in self._rooms

    def subscribe(self, told: Told) -> Callable[[], None]:
        """Call `told` with each change from now on; gives what ends that."""
        self._told.append(told)
        return lambda: self._told.remove(told)

    def bookings(self, room: str) -> tuple[Booking, ...]:
        """Single bookings and series of a room, by start.

        :raises UnknownBookingError: no such room.
        """
        return tuple(sorted(self._room(room).values(), key=lambda b: (b.start_time, b.id)))

    def find(self, room: str, booking_id: str) -> Booking:
        """One booking.

        :raises UnknownBookingError: it is not there.
        """
        try:
            return self._room(room)[booking_id]
        except KeyError:
            raise UnknownBookingError(f"{room} has no booking {booking_id}") from None

    def book(self, room: str, start: datetime, end: datetime, **fields: Any) -> Booking:
        """Book a room; `fields` are those of Booking. Its id and uid are made where they are not given."""
        self.revision += 1
        number = f"booking{self.revision:08d}"
        given = {"id": number, "uid": f"{number}@calendars.example", **fields}
        now = self._now()
        booking = Booking(start_time=start, end_time=end, created_time=now, modified_time=now,
                          revision=self.revision, **given)
        self._room(room)[booking.id] = booking
        self._tell(ChangeKind.CREATED, room, booking)
        return booking

    def change(self, room: str, booking_id: str, **fields: Any) -> Booking:
        """Change fields of a booking, or of all occurrences of a series."""
        known = self.find(room, booking_id)
        self.revision += 1
        booking = replace(known, modified_time=self._now(), revision=self.revision, **fields)
        self._room(room)[booking_id] = booking
        self._tell(ChangeKind.UPDATED, room, booking)
        return booking

    def change_occurrence(self, room: str, booking_id: str, occurrence: str, **fields: Any) -> Booking:
        """Change fields of one occurrence of a series."""
        known = self.find(room, booking_id)
        before = known.exceptions.get(occurrence) or {}
        return self.change(room, booking_id, exceptions={**known.exceptions, occurrence: {**before, **fields}})

    def cancel_occurrence(self, room: str, booking_id: str, occurrence: str) -> Booking:
        """Cancel one occurrence of a series."""
        known = self.find(room, booking_id)
        return self.change(room, booking_id, exceptions={**known.exceptions, occurrence: None})

    def cancel(self, room: str, booking_id: str) -> None:
        """Delete a booking, or a whole series."""
        booking = self.find(room, booking_id)
        del self._room(room)[booking_id]
        self.revision += 1
        self._tell(ChangeKind.DELETED, room, replace(booking, revision=self.revision, modified_time=self._now()))

    def changes_since(self, room: str, revision: int) -> tuple[Change, ...]:
        """What happened in a room after this revision, the oldest first."""
        changes = self._changes.get(room.lower(), [])
        return tuple(changes[bisect_right(changes, revision, key=lambda c: c.revision):])

    def instances(self, room: str, window: Window) -> tuple[Instance, ...]:
        """The occurrences that overlap a window, by start."""
        found = [i for b in self._room(room).values() for i in instances_of(b, window)]
        return tuple(sorted(found, key=lambda i: (i.booking.start_time, i.booking.id)))

    def _room(self, room: str) -> dict[str, Booking]:
        try:
            return self._rooms[room.lower()]
        except KeyError:
            raise UnknownBookingError(f"there is no room {room}") from None

    def _tell(self, kind: ChangeKind, room: str, booking: Booking) -> None:
        change = Change(kind, room.lower(), booking, booking.revision)
        self._changes.setdefault(change.room, []).append(change)
        for told in tuple(self._told):
            told(change)


def instances_of(booking: Booking, window: Window) -> Iterator[Instance]:
    """The occurrences of one booking that overlap a window; at most 1,000 of a series are looked at."""
    if not booking.rule:
        if window.overlaps(booking.start_time, booking.end_time):
            yield Instance(booking)
        return
    length = booking.end_time - booking.start_time
    rule = rrulestr(booking.rule, dtstart=booking.start_time)
    margin = length + timedelta(days=31)  # an exception may lie elsewhere than where its series has it
    starts = rule.xafter(window.start - margin, count=_OCCURRENCES_LIMIT, inc=True)
    for start in starts:
        if start > window.end + margin:
            return
        stamp = start.astimezone(UTC).strftime(_STAMP)
        changed = booking.exceptions.get(stamp, {})
        if changed is None:
            continue
        shown = replace(booking, **{"start_time": start, "end_time": start + length, **changed})
        if window.overlaps(shown.start_time, shown.end_time):
            yield Instance(shown, stamp, is_exception=bool(changed))
