"""The calendars behind simulated calendar servers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from otjd.meetings.model import Window
from otjd.simulate.calendars import Calendars, ChangeKind, UnknownBookingError

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
ROOM = "Boardroom@example.com"
HOUR = timedelta(hours=1)
WEEK = Window(NOW, NOW + timedelta(days=7))


@pytest.fixture
def calendars() -> Calendars:
    made = Calendars(lambda: NOW)
    made.add_room(ROOM)
    return made


def test_a_booking_is_found_by_any_spelling_of_its_room(calendars: Calendars) -> None:
    booking = calendars.book(ROOM, NOW, NOW + HOUR, subject="Review")
    assert calendars.find("boardroom@EXAMPLE.com", booking.id).subject == "Review"
    assert [i.booking for i in calendars.instances("boardroom@example.com", WEEK)] == [booking]


def test_a_series_is_shown_by_its_occurrences_with_their_exceptions(calendars: Calendars) -> None:
    series = calendars.book(ROOM, NOW, NOW + HOUR, subject="Daily", rule="FREQ=DAILY;COUNT=4")
    calendars.cancel_occurrence(ROOM, series.id, "20260303T080000Z")
    moved = NOW + timedelta(days=2, hours=3)
    calendars.change_occurrence(ROOM, series.id, "20260304T080000Z", start_time=moved, end_time=moved + HOUR)
    calendars.change_occurrence(ROOM, series.id, "20260304T080000Z", subject="Moved")
    shown = [(i.occurrence, i.booking.start_time, i.booking.subject, i.is_exception)
             for i in calendars.instances(ROOM, WEEK)]
    assert shown == [("20260302T080000Z", NOW, "Daily", False), ("20260304T080000Z", moved, "Moved", True),
                     ("20260305T080000Z", NOW + timedelta(days=3), "Daily", False)]


def test_an_occurrence_that_was_moved_into_the_window_is_shown(calendars: Calendars) -> None:
    later = NOW + timedelta(days=9)
    series = calendars.book(ROOM, later, later + HOUR, rule="FREQ=DAILY;COUNT=2")
    calendars.change_occurrence(ROOM, series.id, "20260311T080000Z", start_time=NOW, end_time=NOW + HOUR)
    assert [i.booking.start_time for i in calendars.instances(ROOM, WEEK)] == [NOW]


def test_every_change_is_told_once_and_kept_in_order(calendars: Calendars) -> None:
    told: list[tuple[ChangeKind, str]] = []
    end = calendars.subscribe(lambda change: told.append((change.kind, change.booking.subject)))
    booking = calendars.book(ROOM, NOW, NOW + HOUR, subject="one")
    calendars.change(ROOM, booking.id, subject="two")
    calendars.cancel(ROOM, booking.id)
    assert told == [(ChangeKind.CREATED, "one"), (ChangeKind.UPDATED, "two"), (ChangeKind.DELETED, "two")]
    assert [c.kind for c in calendars.changes_since(ROOM, booking.revision)] == [ChangeKind.UPDATED,
                                                                                 ChangeKind.DELETED]
    end()
    calendars.book(ROOM, NOW, NOW + HOUR)
    assert len(told) == 3


def test_what_is_not_there_is_told(calendars: Calendars) -> None:
    with pytest.raises(UnknownBookingError, match=r"no room nobody@example\.com"):
        calendars.book("nobody@example.com", NOW, NOW + HOUR)
    with pytest.raises(UnknownBookingError, match="no booking x"):
        calendars.cancel(ROOM, "x")
