"""What a list of events is made of: singles, series, their exceptions and instances, and what was deleted."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from otjd.meetings.model import Window
from otjd.simulate.calendars import Booking, Calendars, Change, ChangeKind, instances_of

STAMP = "%Y%m%dT%H%M%SZ"
INSTANCES = 730
"""So many instances of one series are listed at most."""

HORIZON = timedelta(days=14 * 365)
"""So far into the future a series without an end is expanded."""

EARLIER = timedelta(days=31)
"""So far before the start of its series an exception is looked for."""

DELETED_SERIES = timedelta(days=183)
"""So far from its deletion the instances of a deleted series are listed as cancelled."""

BEGINNING = datetime(1900, 1, 1, tzinfo=UTC)
END = datetime(9000, 1, 1, tzinfo=UTC)
ALWAYS = Window(BEGINNING, END)


@dataclass(frozen=True, slots=True)
class Entry:
    """One item of a list.

    Of an occurrence, `series` is the series and `occurrence` its original start, and `booking` is as the
    occurrence is shown; of a series itself, or a single booking, `occurrence` is empty. `revision` is that of the
    last change to it.
    """

    booking: Booking
    revision: int
    updated: datetime
    occurrence: str = ""
    is_cancelled: bool = False

    @property
    def series_id(self) -> str:
        """The id of the event, or of the series it belongs to."""
        return event_id(self.booking.id)

    @property
    def id(self) -> str:
        """The id of this entry."""
        if not self.occurrence:
            return self.series_id
        stamp = self.occurrence[:8] if self.booking.is_all_day else self.occurrence
        return f"{self.series_id}_{stamp}"

    @property
    def original_start(self) -> datetime:
        """When an occurrence would have begun by its series."""
        return datetime.strptime(self.occurrence, STAMP).replace(tzinfo=UTC)


@lru_cache(maxsize=1 << 16)
def event_id(booking_id: str) -> str:
    """The id of a booking in the alphabet of event ids."""
    return base64.b32hexencode(booking_id.encode()).decode().rstrip("=").lower()


@dataclass(slots=True)
class Mark:
    """What is known of a booking: its last state, and when it and each of its exceptions last changed."""

    booking: Booking
    revision: int
    updated: datetime
    is_deleted: bool = False
    exceptions: dict[str, tuple[int, datetime]] = field(default_factory=dict)

    @property
    def touched(self) -> int:
        """The revision of the last change to it or to an exception."""
        return max([self.revision, *(revision for revision, _ in self.exceptions.values())])


class Journal:
    """The bookings of one room with what happened to which, kept up to date with the calendars."""

    def __init__(self, calendars: Calendars, room: str) -> None:
        self._calendars = calendars
        self._room = room
        self._marks: dict[str, Mark] = {}
        self.revision = 0

    def marks(self) -> tuple[Mark, ...]:
        """All bookings there are or were, as they are now, by their ids."""
        changes = self._calendars.changes_since(self._room, self.revision)
        for change in changes:
            self._note(change)
        if changes:
            self.revision = changes[-1].revision
            self._marks = dict(sorted(self._marks.items()))
        return tuple(self._marks.values())

    def _note(self, change: Change) -> None:
        booking = change.booking
        mark = self._marks.get(booking.id)
        if change.kind is not ChangeKind.UPDATED or mark is None:
            mark = self._marks[booking.id] = Mark(booking, change.revision, booking.modified_time,
                                                  change.kind is ChangeKind.DELETED)
            mark.exceptions.update((s, (change.revision, booking.modified_time)) for s in booking.exceptions)
            return
        before, mark.booking, mark.is_deleted = mark.booking, booking, False
        if _own(before) != _own(booking):
            mark.revision, mark.updated = change.revision, booking.modified_time
        for stamp, changed in booking.exceptions.items():
            if stamp not in before.exceptions or before.exceptions[stamp] != changed:
                mark.exceptions[stamp] = change.revision, booking.modified_time


def _own(booking: Booking) -> Booking:
    return replace(booking, exceptions={}, revision=0, modified_time=BEGINNING)


def within(entry: Entry, window: Window) -> bool:
    """Whether it ends after the start of the window and starts before its end, both exclusive."""
    start, end = entry.booking.start_time, entry.booking.end_time
    return end > window.start and start < window.end


def unexpanded(mark: Mark, window: Window, since: int, *, deleted: bool) -> Iterator[Entry]:
    """A booking and the exceptions of a series; with `since`, those that changed after this revision."""
    booking = mark.booking
    if mark.is_deleted:
        if deleted and mark.revision > since and within(_whole(mark), window):
            yield replace(_whole(mark), is_cancelled=True)
        return
    if mark.revision > since and (_occurs(booking, window) if booking.rule else within(_whole(mark), window)):
        yield _whole(mark)
    for stamp, changed in booking.exceptions.items():
        entry = _exception(mark, stamp)
        if entry.revision > since and within(entry, window):
            yield replace(entry, is_cancelled=changed is None)


def expanded(mark: Mark, window: Window, since: int, now: datetime, *, deleted: bool) -> Iterator[Entry]:
    """A single booking, or every instance of a series of which anything changed after the revision `since`."""
    booking = mark.booking
    if mark.touched <= since or (mark.is_deleted and not deleted):
        return
    if not booking.rule:
        if within(_whole(mark), window):
            yield replace(_whole(mark), is_cancelled=mark.is_deleted)
        return
    until = (mark.updated + DELETED_SERIES) if mark.is_deleted else (now + HORIZON)
    span = Window(max(window.start, booking.start_time - EARLIER), min(window.end, until))
    if span.start >= span.end:
        return
    listed = 0
    for instance in instances_of(booking, span):
        revision, updated = mark.exceptions.get(instance.occurrence, (mark.revision, mark.updated))
        entry = Entry(instance.booking, max(revision, mark.revision), max(updated, mark.updated),
                      instance.occurrence, mark.is_deleted)
        if within(entry, span):
            yield entry
            listed += 1
            if listed == INSTANCES:
                return
    if deleted and not mark.is_deleted:
        cancelled = (_exception(mark, stamp) for stamp, changed in booking.exceptions.items() if changed is None)
        yield from (replace(e, is_cancelled=True) for e in cancelled if within(e, span))


def _whole(mark: Mark) -> Entry:
    return Entry(mark.booking, mark.revision, mark.updated)


def _exception(mark: Mark, stamp: str) -> Entry:
    booking = mark.booking
    start = datetime.strptime(stamp, STAMP).replace(tzinfo=UTC)
    times = {"start_time": start, "end_time": start + (booking.end_time - booking.start_time)}
    shown = replace(booking, **{**times, **(booking.exceptions[stamp] or {})})
    revision, updated = mark.exceptions[stamp]
    return Entry(shown, revision, updated, stamp)


def _occurs(booking: Booking, window: Window) -> bool:
    if window == ALWAYS:
        return True
    start = max(window.start, booking.start_time - EARLIER)
    return start < window.end and next(iter(instances_of(booking, Window(start, window.end))), None) is not None
