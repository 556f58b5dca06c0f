"""Events as a simulated Graph shows them, made from bookings. Ids are opaque to clients; they tell all that they
name, so that nothing need be kept about them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote
from uuid import NAMESPACE_DNS, uuid5

from otjd.meetings.model import Organizer
from otjd.simulate.calendars import Booking, Instance
from otjd.simulate.graph_errors import GraphError
from otjd.simulate.graph_query import Shape

JsonObject = dict[str, Any]

_STAMP = "%Y%m%dT%H%M%SZ"
_MARKS = {False: "AAMkAG", True: "AAkALg"}
_PUBLIC_STRING = "String {00020329-0000-0000-c000-000000000046} Name "
_GLOBAL_OBJECT_ID = re.compile(r"040000008200E00074C5B7101A82E008[0-9A-F]{48,}", re.IGNORECASE)
_WITHOUT_SELECT = ("createdDateTime", "lastModifiedDateTime")
_NOT_BASIC = ("body", "bodyPreview")
_TAGS = re.compile(r"<(style|script)\b.*?</\1>|<[^>]*>", re.IGNORECASE | re.DOTALL)
_DAYS = {"MO": "monday", "TU": "tuesday", "WE": "wednesday", "TH": "thursday", "FR": "friday", "SA": "saturday",
         "SU": "sunday"}
_PLACES = {"1": "first", "2": "second", "3": "third", "4": "fourth", "-1": "last"}


@dataclass(frozen=True, slots=True)
class _Place:
    room: str
    shape: Shape
    attendees: int
    kind: str
    occurrence: str = ""


def user_id(room: str) -> str:
    """The object id of a room in the directory."""
    return str(uuid5(NAMESPACE_DNS, room.lower()))


def event_id(room: str, booking_id: str, occurrence: str = "", *, immutable: bool = False) -> str:
    """The id of a booking, or of one occurrence of a series."""
    raw = "\0".join((room.lower(), booking_id, occurrence)).encode()
    return _MARKS[immutable] + base64.urlsafe_b64encode(raw).decode()


def read_event_id(text: str) -> tuple[str, str, str]:
    """Room, booking and occurrence of an id of either kind.

    :raises GraphError: it is none that was given out here.
    """
    try:
        raw = base64.b64decode(text[6:], altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raw = ""
    parts = raw.split("\0")
    if text[:6] not in _MARKS.values() or len(parts) != 3:
        raise GraphError(400, "ErrorInvalidIdMalformed", "Id is malformed.")
    return parts[0], parts[1], parts[2]


@lru_cache(maxsize=16384)
def _change_key(booking_id: str, revision: int) -> str:
    return base64.b64encode(hashlib.sha256(f"{booking_id}\0{revision}".encode()).digest()[:18]).decode()


def change_key(booking: Booking) -> str:
    """Another one after every change; occurrences have that of their series."""
    return _change_key(booking.id, booking.revision)


def event(instance: Instance, room: str, shape: Shape, attendees: int = 0) -> JsonObject:
    """An event: a single one, an occurrence or an exception."""
    booking = instance.booking
    kind = "singleInstance" if not instance.occurrence else "exception" if instance.is_exception else "occurrence"
    return _shown(booking, _Place(room, shape, attendees, kind, instance.occurrence))


def series_master(booking: Booking, room: str, shape: Shape, attendees: int = 0) -> JsonObject:
    """The event that stands for a whole series."""
    return _shown(booking, _Place(room, shape, attendees, "seriesMaster"))


def brief_occurrence(instance: Instance, room: str, shape: Shape) -> JsonObject:
    """An occurrence as delta shows it: beside its times it says only to which series it belongs."""
    booking = instance.booking
    return {"@odata.type": "#microsoft.graph.event", **_etag(booking),
            "id": event_id(room, booking.id, instance.occurrence, immutable=shape.immutable),
            "seriesMasterId": event_id(room, booking.id, immutable=shape.immutable), "type": "occurrence",
            "start": _time(booking.start_time, shape), "end": _time(booking.end_time, shape)}


def _etag(booking: Booking) -> JsonObject:
    return {"@odata.etag": f'W/"{change_key(booking)}"'}


def _shown(booking: Booking, place: _Place) -> JsonObject:
    members, shape = _members(booking, place), place.shape
    if shape.select is not None:
        members = {name: value for name, value in members.items()
                   if name == "id" or (name in shape.select and name not in _WITHOUT_SELECT)}
    if shape.basics:
        for name in _NOT_BASIC:
            members.pop(name, None)
    asked = ((asked, asked.removeprefix(_PUBLIC_STRING)) for asked in shape.expand)
    expanded = [{"id": identity, "value": booking.properties[name]} for identity, name in asked
                if identity != name and name in booking.properties]
    return {**_etag(booking), **members, **({"singleValueExtendedProperties": expanded} if expanded else {})}


def _members(booking: Booking, place: _Place) -> JsonObject:
    room, shape, kind, occurrence = place.room, place.shape, place.kind, place.occurrence
    identity = event_id(room, booking.id, occurrence, immutable=shape.immutable)
    text = _as_text(booking.body_html)
    join_url = booking.properties.get("SkypeTeamsMeetingUrl")
    original = {"originalStart": f"{_moment(occurrence):%Y-%m-%dT%H:%M:%S}Z"} if occurrence else {}
    return {
        "id": identity, "createdDateTime": _stamp(booking.created_time),
        "lastModifiedDateTime": _stamp(booking.modified_time), "changeKey": change_key(booking), "categories": [],
        "transactionId": None, "originalStartTimeZone": "UTC", "originalEndTimeZone": "UTC",
        "iCalUId": _ical_uid(booking.uid, occurrence), "reminderMinutesBeforeStart": 15, "isReminderOn": False,
        "hasAttachments": False, "subject": booking.subject, "bodyPreview": text[:255], "importance": "normal",
        "sensitivity": "private" if booking.is_private else "normal", "isAllDay": booking.is_all_day,
        "isCancelled": booking.is_cancelled, "isOrganizer": False, "responseRequested": True,
        "seriesMasterId": event_id(room, booking.id, immutable=shape.immutable) if occurrence else None,
        "showAs": booking.free_busy.lower(), "type": kind,
        "webLink": f"https://outlook.office365.com/owa/?itemid={quote(identity, safe='')}&exvsurl=1"
                   "&path=/calendar/item",
        "onlineMeetingUrl": None, "isOnlineMeeting": join_url is not None,
        "onlineMeetingProvider": "unknown" if join_url is None else "teamsForBusiness", "isDraft": False,
        "allowNewTimeProposals": True, "hideAttendees": False, **original,
        "recurrence": _recurrence(booking) if kind == "seriesMaster" else None,
        "responseStatus": {"response": "accepted", "time": _stamp(booking.created_time)},
        "body": {"contentType": "text" if shape.is_text else "html",
                 "content": text if shape.is_text else _document(booking.body_html)},
        "start": _time(booking.start_time, shape), "end": _time(booking.end_time, shape),
        "location": _location(booking.location), "locations": [_location(booking.location)],
        "attendees": _attendees(booking, room, place.attendees), "organizer": _address(booking.organizer),
        "onlineMeeting": None if join_url is None else {"joinUrl": join_url},
    }


def _moment(occurrence: str) -> datetime:
    return datetime.strptime(occurrence, _STAMP).replace(tzinfo=UTC)


def _stamp(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{time.microsecond:06d}0Z"


def _time(time: datetime, shape: Shape) -> JsonObject:
    local = time.astimezone(shape.zone)
    return {"dateTime": f"{local:%Y-%m-%dT%H:%M:%S}.{local.microsecond:06d}0", "timeZone": shape.zone_name}


def _address(who: Organizer) -> JsonObject:
    return {"emailAddress": {"name": who.name, "address": who.email}}


def _location(name: str) -> JsonObject:
    if not name:
        return {"displayName": "", "locationType": "default", "uniqueIdType": "unknown", "address": {},
                "coordinates": {}}
    return {"displayName": name, "locationType": "default", "uniqueId": name, "uniqueIdType": "private"}


def _attendees(booking: Booking, room: str, more: int) -> list[JsonObject]:
    accepted = {"response": "accepted", "time": _stamp(booking.created_time)}
    people = [Organizer(f"Guest {number}", f"guest{number}@example.com") for number in range(1, more + 1)]
    return [{"type": "resource", "status": accepted, **_address(Organizer(room.partition("@")[0], room))},
            *({"type": "required", "status": {"response": "none", "time": "0001-01-01T00:00:00Z"}, **_address(one)}
              for one in people)]


def _document(body: str) -> str:
    if not body or "<html" in body[:200].lower():
        return body
    return ('<html><head>\r\n<meta http-equiv="Content-Type" content="text/html; charset=utf-8"></head><body>'
            f"{body}</body></html>")


def _as_text(body: str) -> str:
    return html.unescape(_TAGS.sub("", body.replace("<br>", "\r\n").replace("</p>", "\r\n"))).strip()


def _ical_uid(uid: str, occurrence: str) -> str:
    """The UID, in which Exchange's own kind bears the date of an occurrence."""
    if not occurrence or not _GLOBAL_OBJECT_ID.fullmatch(uid):
        return uid
    day = _moment(occurrence)
    return f"{uid[:32]}{day.year:04X}{day.month:02X}{day.day:02X}{uid[40:]}"


def _recurrence(booking: Booking) -> JsonObject:
    """The recurrence of a series, from its RRULE; the pattern of a rule that Outlook cannot have is daily."""
    rule = dict(part.split("=", 1) for part in booking.rule.upper().split(";") if "=" in part)
    start = booking.start_time
    days = re.findall(r"(-?\d)?(MO|TU|WE|TH|FR|SA|SU)", rule.get("BYDAY", ""))
    names = [_DAYS[day] for _, day in days] or [f"{start:%A}".lower()]
    place = next((_PLACES[number] for number, _ in days if number in _PLACES), None)
    pattern: JsonObject = {"interval": int(rule.get("INTERVAL", "1")), "month": 0, "dayOfMonth": 0,
                           "firstDayOfWeek": "sunday", "index": place or "first", "type": "daily"}
    frequency = rule.get("FREQ", "")
    if frequency == "WEEKLY":
        pattern.update(type="weekly", daysOfWeek=names)
    elif frequency in ("MONTHLY", "YEARLY"):
        kind = frequency.capitalize()
        pattern.update({"type": f"relative{kind}", "daysOfWeek": names} if place else
                       {"type": f"absolute{kind}", "dayOfMonth": start.day})
        if frequency == "YEARLY":
            pattern["month"] = start.month
    return {"pattern": pattern, "range": _range(rule, start)}


def _range(rule: Mapping[str, str], start: datetime) -> JsonObject:
    found: JsonObject = {"type": "noEnd", "startDate": f"{start:%Y-%m-%d}", "endDate": "0001-01-01",
                         "recurrenceTimeZone": "UTC", "numberOfOccurrences": 0}
    if "COUNT" in rule:
        found.update(type="numbered", numberOfOccurrences=int(rule["COUNT"]))
    elif "UNTIL" in rule:
        until = datetime.strptime(rule["UNTIL"][:8], "%Y%m%d").replace(tzinfo=UTC)
        found.update(type="endDate", endDate=f"{until:%Y-%m-%d}")
    return found
