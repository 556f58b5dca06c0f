"""Calendars for tests, written by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from otjd.gather.icalendar_reader import Calendar, read_calendar
from otjd.meetings.model import Invitation, Window

DATA = Path(__file__).parent.parent / "data" / "calendars"
AUTUMN = Window(datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))


def event(*lines: str) -> str:
    """One VEVENT."""
    return "\n".join(("BEGIN:VEVENT", *lines, "END:VEVENT"))


def calendar(*parts: str) -> bytes:
    """A calendar of these components and properties, with the line ends of RFC 5545."""
    text = "\n".join(("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//test//EN", *parts, "END:VCALENDAR", ""))
    return text.replace("\n", "\r\n").encode()


def read(*parts: str) -> Calendar:
    """The same, read."""
    return read_calendar(calendar(*parts), "room.ics")


def expanded(*parts: str, window: Window = AUTUMN) -> list[Invitation]:
    """The invitations of a calendar without problems."""
    found = read(*parts)
    invitations = found.invitations(window)
    assert found.problems == ()
    return invitations


def times(invitations: list[Invitation]) -> list[str]:
    """The starts, in short: `10-26 09:00`."""
    return [i.start_time.strftime("%m-%d %H:%M") for i in invitations]


def soon(uid: str = "a", *, summary: str = "", hours: float = 1, now: datetime = AUTUMN.start) -> str:
    """An event that starts in some hours and lasts one."""
    start = now + timedelta(hours=hours)
    return event(f"UID:{uid}", f"SUMMARY:{summary or uid}", f"DTSTART:{start:%Y%m%dT%H%M%SZ}", "DURATION:PT1H")
