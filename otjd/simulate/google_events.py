"""Events as the Calendar API writes them, according to what the reader of a calendar may see."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any

from otjd.meetings.model import FreeBusyStatus
from otjd.simulate.calendars import Booking
from otjd.simulate.google_entries import Entry
from otjd.simulate.google_settings import Role

SEES_PRIVATE: frozenset[Role] = frozenset({"writer", "owner"})
_ZONE = "UTC"  # series are expanded in UTC


def rfc3339(time: datetime, zone: tzinfo) -> str:
    """A time in this zone, to the second."""
    text = time.astimezone(zone).isoformat(timespec="seconds")
    return text.replace("+00:00", "Z")


def with_milliseconds(time: datetime) -> str:
    """A time in UTC, to the millisecond, as stamps are written."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def etag(revision: int) -> str:
    """The ETag of something that was last changed with this revision."""
    return f'"{3_000_000_000_000_000 + 2 * revision}"'


def _when(time: datetime, booking: Booking, zone: tzinfo) -> dict[str, str]:
    if booking.is_all_day:
        return {"date": time.astimezone(UTC).date().isoformat()}
    return {"dateTime": rfc3339(time, zone), "timeZone": _ZONE}


class EventWriter:
    """Writes the entries of one room's calendar.

    `zone` is the one of the answer, `attendees` how many there are besides room and organizer, `max_attendees`
    how many are listed before only the room is.
    """

    def __init__(self, room: str, role: Role, zone: tzinfo, *, attendees: int = 0,
                 max_attendees: int | None = None) -> None:
        self._room = room
        self._role = role
        self._zone = zone
        self._attendees = attendees
        self._max_attendees = max_attendees

    def write(self, entry: Entry) -> dict[str, Any]:
        """The event of an entry."""
        event: dict[str, Any] = {"kind": "calendar#event", "etag": etag(entry.revision), "id": entry.id,
                                 "status": "cancelled" if entry.is_cancelled else _status(entry.booking)}
        booking = entry.booking
        if entry.occurrence:
            event["recurringEventId"] = entry.series_id
            event["originalStartTime"] = _when(entry.original_start, booking, self._zone)
        if entry.is_cancelled:
            return event
        event |= {"start": _when(booking.start_time, booking, self._zone),
                  "end": _when(booking.end_time, booking, self._zone)}
        if self._role == "freeBusyReader":
            return event | {"visibility": "private"}
        event |= {"htmlLink": f"https://www.google.com/calendar/event?eid={entry.id}",
                  "created": with_milliseconds(booking.created_time), "updated": with_milliseconds(entry.updated),
                  "iCalUID": booking.uid, "sequence": entry.revision, "eventType": "default"}
        if booking.free_busy is FreeBusyStatus.FREE:
            event["transparency"] = "transparent"
        if booking.is_private:
            event["visibility"] = "private"
        if booking.rule and not entry.occurrence:
            event["recurrence"] = [f"RRULE:{booking.rule}"]
        if not booking.is_private or self._role in SEES_PRIVATE:
            event |= self._details(booking)
        return event

    def _details(self, booking: Booking) -> dict[str, Any]:
        person = {"email": booking.organizer.email or self._room}
        if booking.organizer.name:
            person["displayName"] = booking.organizer.name
        attendees = self._attendee_list(person)
        details: dict[str, Any] = {
            "summary": booking.subject, "location": booking.location, "description": booking.body_html,
            "creator": dict(person), "organizer": dict(person), "attendees": attendees,
            "hangoutLink": _hangout(booking.conference), "conferenceData": dict(booking.conference)}
        if self._max_attendees is not None and len(attendees) > self._max_attendees:
            details |= {"attendees": attendees[:1], "attendeesOmitted": True}
        return {name: value for name, value in details.items() if value} | {"reminders": {"useDefault": True}}

    def _attendee_list(self, organizer: Mapping[str, str]) -> list[dict[str, Any]]:
        room = {"email": self._room, "self": True, "resource": True, "responseStatus": "accepted"}
        if organizer["email"] == self._room:
            return [room]
        others = [{"email": f"guest{n}@example.com", "displayName": f"Guest {n}", "responseStatus": "needsAction"}
                  for n in range(self._attendees)]
        return [room, {**organizer, "organizer": True, "responseStatus": "accepted"}, *others]


def _status(booking: Booking) -> str:
    return "tentative" if booking.free_busy is FreeBusyStatus.TENTATIVE else "confirmed"


def _hangout(conference: Mapping[str, Any]) -> str:
    uris = [str(point.get("uri", "")) for point in conference.get("entryPoints", ())
            if point.get("entryPointType") == "video"]
    return next((uri for uri in uris if uri.startswith("https://meet.google.com/")), "")
