"""One VEVENT as a value: what it says of its meeting, and how it repeats.

Sources: RFC 5545 section 3.6.1 and 3.8, RFC 9073 (STYLED-DESCRIPTION), [MS-OXCICAL] (X-ALT-DESC,
X-MICROSOFT-CDO-BUSYSTATUS, X-MICROSOFT-CDO-ALLDAYEVENT).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import unquote

from icalendar.parser import Contentline
from icalendar.prop import vDDDTypes, vRecur

from otjd.gather.calendar_zones import UnknownZoneError, Zones
from otjd.gather.content_lines import Component, Line, quoted
from otjd.meetings.model import CalendarItemType, FreeBusyStatus, Invitation, Organizer

DATES_LIMIT = 5_000
"""Dates in the RDATEs, and in the EXDATEs, of one event."""

RULES_LIMIT = 10
"""RRULEs of one event; RFC 5545 wants at most one."""

PROPERTY_LIMIT = 16_000
"""Characters of an X- property that is handed to the rules."""

PROPERTIES_LIMIT = 200
"""X- properties of one event that are handed to the rules."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_YEAR, _LAST_YEAR = 1600, 9000  # room on both sides for zones and windows
_VOLATILE = {"DTSTAMP", "CREATED", "LAST-MODIFIED", "SEQUENCE"}
_HTML = re.compile(r"<(?:a|b|body|br|div|font|html|li|p|span|table|u|ul)\b[^<>]{0,2000}>", re.IGNORECASE)
_DATA_HTML = re.compile(r"data:text/html[^,]{0,100},", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Event:
    """One VEVENT. `template` is its invitation, unexpanded: of a series the first occurrence.

    `start` and `end` are dates for an all-day event, else aware datetimes in the event's own zone; so are
    `recurrence_id` (None for a single event or a whole series), `extra` (RDATE, with its own duration or None) and
    `excluded` (EXDATE). `stamp` tells the newer of two versions of the same event.
    """

    number: int
    template: Invitation
    start: date
    end: date
    recurrence_id: date | None = None
    is_for_all_after: bool = False
    rules: tuple[tuple[int, vRecur], ...] = ()
    extra: tuple[tuple[date, timedelta | None], ...] = ()
    excluded: tuple[date, ...] = ()
    stamp: tuple[int, datetime] = (0, _EPOCH)

    @property
    def is_recurring(self) -> bool:
        """Whether it stands for a series."""
        return bool(self.rules or self.extra)


class BrokenEventError(ValueError):
    """A VEVENT that cannot be read: `number` is the line, the text what was found and what is expected."""

    def __init__(self, number: int, problem: str) -> None:
        super().__init__(problem)
        self.number = number


def to_utc(moment: date, zones: Zones) -> datetime:
    """A moment in UTC; a date is its midnight in the calendar's zone.

    A local time that a change to daylight-saving time skips is read with the offset before the change, one that
    occurs twice is the first (RFC 5545 section 3.3.5).
    """
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time(), zones.default)
    return moment.astimezone(UTC)


def occurrence_id(moment: date, zones: Zones) -> str:
    """The identity of an occurrence: its original start as `YYYYMMDDTHHMMSSZ`."""
    return to_utc(moment, zones).strftime("%Y%m%dT%H%M%SZ")


def uid_of(component: Component) -> str:
    """The UID of a VEVENT; one without gets the hash of all that does not change from export to export."""
    line = component.first("UID")
    if line is not None and (uid := _Property(line).value.strip()):
        return uid
    lines = sorted(entry.text for entry in component.lines if entry.name not in _VOLATILE)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read_event(component: Component, zones: Zones, *, is_cancelled: bool = False) -> Event:
    """Read one VEVENT; `is_cancelled` holds for all events of a calendar with METHOD:CANCEL.

    :raises BrokenEventError: it has no start, or a time, duration or rule in it cannot be read.
    """
    properties = _Properties(component, zones)
    start = properties.moment("DTSTART")
    if start is None:
        raise BrokenEventError(component.number, "the VEVENT has no DTSTART")
    end = _end(properties, start)
    recurrence_id = properties.moment("RECURRENCE-ID", start)
    is_range = properties.parameter("RECURRENCE-ID", "RANGE").upper() == "THISANDFUTURE"
    rules = () if recurrence_id else tuple(properties.rules())
    extra = () if recurrence_id else tuple(properties.dates("RDATE", start))
    is_all_day = (not isinstance(start, datetime)
                  or (properties.text("X-MICROSOFT-CDO-ALLDAYEVENT").upper() == "TRUE" and _is_midnight(start)))
    template = Invitation(
        uid=uid_of(component), start_time=to_utc(start, zones), end_time=to_utc(end, zones),
        occurrence=(occurrence_id(recurrence_id or start, zones) if recurrence_id or rules or extra else ""),
        subject=properties.text("SUMMARY").strip(), location=properties.text("LOCATION").strip(),
        body_text=properties.text("DESCRIPTION"), body_html=_html(properties),
        organizer=_organizer(properties), is_all_day=is_all_day,
        is_private=properties.text("CLASS").upper() in {"PRIVATE", "CONFIDENTIAL"},
        is_cancelled=is_cancelled or properties.text("STATUS").upper() == "CANCELLED",
        item_type=(CalendarItemType.EXCEPTION if recurrence_id else CalendarItemType.OCCURRENCE if rules or extra
                   else CalendarItemType.SINGLE),
        free_busy=_free_busy(properties), created_time=properties.instant("CREATED"),
        last_modified_time=properties.instant("LAST-MODIFIED"), properties={"ics": properties.extensions()})
    return Event(component.number, template, start, end, recurrence_id, is_range, rules, extra,
                 () if recurrence_id else tuple(moment for moment, _ in properties.dates("EXDATE", start)),
                 (properties.sequence(), properties.instant("DTSTAMP") or _EPOCH))


def _is_midnight(start: date) -> bool:
    return isinstance(start, datetime) and start.time() == time()


def _end(properties: _Properties, start: date) -> date:
    """DTEND; else DTSTART and DURATION; else one day for a date, an instant for a time. Never before the start."""
    end = properties.moment("DTEND")
    if end is None:
        duration = properties.duration()
        if duration is None:
            return start if isinstance(start, datetime) else start + timedelta(days=1)
        if not isinstance(start, datetime):
            duration = timedelta(days=max(1, -(-duration // timedelta(days=1))))
        try:
            end = start + duration
        except OverflowError:
            raise properties.broken("DURATION", "a duration that ends in this age") from None
    if not isinstance(start, datetime):
        day = end.date() if isinstance(end, datetime) else end
        return max(day, start + timedelta(days=1))
    if not isinstance(end, datetime):
        end = datetime.combine(end, time(), start.tzinfo)
    return max(end, start)


def _html(properties: _Properties) -> str:
    """The HTML body: Outlook's, RFC 9073's, Thunderbird's (a data: address), or a description that is HTML."""
    for name in ("X-ALT-DESC", "STYLED-DESCRIPTION"):
        if properties.parameter(name, "FMTTYPE").lower() == "text/html":
            return properties.text(name)
    address = properties.parameter("DESCRIPTION", "ALTREP")
    prefix = _DATA_HTML.match(address)
    if prefix is not None and ";base64" not in prefix[0].lower():
        return unquote(address[prefix.end():])
    description = properties.text("DESCRIPTION")
    return description if _HTML.search(description) else ""


def _organizer(properties: _Properties) -> Organizer:
    address = unquote(properties.text("ORGANIZER")).strip()
    if address[:7].lower() == "mailto:":
        address = address[7:].strip()
    elif ":" in address or "@" not in address:
        address = properties.parameter("ORGANIZER", "EMAIL")
    name = properties.parameter("ORGANIZER", "CN").strip().strip('"').strip()
    return Organizer(name, address if "@" in address else "")


def _free_busy(properties: _Properties) -> FreeBusyStatus:
    status = properties.text("X-MICROSOFT-CDO-BUSYSTATUS").upper()
    if properties.text("TRANSP").upper() == "TRANSPARENT" or status == "FREE":
        return FreeBusyStatus.FREE
    if "TENTATIVE" in {status, properties.text("STATUS").upper()}:
        return FreeBusyStatus.TENTATIVE
    return FreeBusyStatus.BUSY


class _Property:
    """One line: its parameters and its value, unescaped."""

    def __init__(self, line: Line) -> None:
        self.number = line.number
        try:
            content_line = Contentline(line.text)  # type: ignore[no-untyped-call]
            _, parameters, self.value = content_line.parts()
            self.parameters: Mapping[str, Any] = parameters
        except ValueError:
            raise BrokenEventError(line.number, f"found {quoted(line.text)}, expected {line.name}:value") from None


class _Properties:
    """The properties of one VEVENT, by name; of several with one name the first unless said otherwise."""

    def __init__(self, component: Component, zones: Zones) -> None:
        self._component = component
        self._zones = zones
        self._read: dict[str, _Property | None] = {}

    def _first(self, name: str) -> _Property | None:
        if name not in self._read:
            line = self._component.first(name)
            self._read[name] = _Property(line) if line is not None else None
        return self._read[name]

    def text(self, name: str) -> str:
        found = self._first(name)
        return found.value if found else ""

    def parameter(self, name: str, parameter: str) -> str:
        """A parameter; the first value where it holds several."""
        found = self._first(name)
        value = found.parameters.get(parameter, "") if found else ""
        return str(value[0] if isinstance(value, list) else value)

    def extensions(self) -> dict[str, str]:
        """The X- properties, by name in capitals, without the body and what is too long to be of use."""
        found: dict[str, str] = {}
        for line in self._component.lines:
            if (line.name.startswith("X-") and line.name not in found and line.name != "X-ALT-DESC"
                    and len(line.text) <= PROPERTY_LIMIT and len(found) < PROPERTIES_LIMIT):
                found[line.name] = _Property(line).value
        return found

    def broken(self, name: str, expected: str) -> BrokenEventError:
        """The error for a property whose value is none."""
        line = self._component.first(name)
        if line is None:
            return BrokenEventError(self._component.number, f"the VEVENT has no {name}; expected {expected}")
        return BrokenEventError(line.number, f"found {quoted(line.text)}, expected {expected}")

    def sequence(self) -> int:
        text = self.text("SEQUENCE")
        return int(text) if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) else 0

    def instant(self, name: str) -> datetime | None:
        """A time of no consequence for the meeting: None where it cannot be read."""
        try:
            moment = self.moment(name)
        except BrokenEventError:
            return None
        return to_utc(moment, self._zones) if moment is not None else None

    def duration(self) -> timedelta | None:
        found = self._first("DURATION")
        if found is None:
            return None
        value = _value(found.value)
        if not isinstance(value, timedelta):
            raise self.broken("DURATION", "a duration such as PT1H")
        return value

    def moment(self, name: str, like: date | None = None) -> date | None:
        """A date or an aware datetime; where it names no zone, that of `like`."""
        found = self._first(name)
        if found is None:
            return None
        zone, text = self._zone_and_text(found)
        moment = _value(text)
        if not isinstance(moment, date):
            raise self.broken(name, "a time such as 20260131T090000Z or 20260131")
        return self._placed(found, moment, zone, like)

    def dates(self, name: str, like: date) -> Iterable[tuple[date, timedelta | None]]:
        """The moments of all lines of this name, each with its own duration where it is a period.

        `like` is the start of their series.
        """
        total = 0
        for line in (line for line in self._component.lines if line.name == name):
            entry = _Property(line)
            zone, text = self._zone_and_text(entry)
            texts = [part.strip() for part in text.split(",") if part.strip()]
            total += len(texts)
            if total > DATES_LIMIT:
                raise BrokenEventError(entry.number, f"the VEVENT has more than {DATES_LIMIT} dates in {name}")
            for part in texts:
                value = _value(part)
                duration = None
                if isinstance(value, tuple):
                    value, end = value
                    duration = end if isinstance(end, timedelta) else _span(value, end)
                if not isinstance(value, date):
                    raise BrokenEventError(entry.number, f"found {quoted(part)} in {name}, expected times such as "
                                           "20260131T090000Z or 20260131")
                yield self._placed(entry, value, zone, like), duration

    def rules(self) -> Iterable[tuple[int, vRecur]]:
        """The RRULEs, each with its line."""
        lines = [line for line in self._component.lines if line.name == "RRULE"]
        if len(lines) > RULES_LIMIT:
            raise BrokenEventError(lines[0].number, f"the VEVENT has {len(lines)} RRULEs, at most {RULES_LIMIT} "
                                   "are read")
        for line in lines:
            text = _Property(line).value
            try:
                rule = vRecur.from_ical(text.strip())
            except ValueError:
                rule = vRecur()
            if "FREQ" not in rule:
                raise BrokenEventError(line.number, f"found {quoted(text)}, expected a rule such as "
                                       "FREQ=WEEKLY;BYDAY=MO")
            yield line.number, rule

    def _zone_and_text(self, found: _Property) -> tuple[str, str]:
        """TZID and value; the names of some zones hold a colon and are written without quotation marks."""
        tzid = found.parameters.get("TZID", "")
        tzid = str(tzid[0] if isinstance(tzid, list) else tzid)
        before, colon, text = found.value.rpartition(":")
        return (f"{tzid}:{before}" if tzid and colon else tzid), (text if tzid else found.value)

    def _placed(self, found: _Property, moment: date, tzid: str, like: date | None) -> date:
        """A moment in its zone: floating times take that of `like`, else the calendar's."""
        if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
            raise BrokenEventError(found.number, f"found the year {moment.year}, expected one from {_FIRST_YEAR} "
                                   f"to {_LAST_YEAR}")
        if not isinstance(moment, datetime) or moment.tzinfo is not None:
            return moment
        if not tzid:
            zone = like.tzinfo if isinstance(like, datetime) else None
            return moment.replace(tzinfo=zone or self._zones.default)
        try:
            return moment.replace(tzinfo=self._zones.find(tzid))
        except UnknownZoneError as error:
            raise BrokenEventError(found.number, str(error)) from None


def _value(text: str) -> Any:
    """A date, naive or UTC datetime, time, duration or period; None for anything else."""
    try:
        return vDDDTypes.from_ical(text.strip())  # type: ignore[no-untyped-call]
    except (ValueError, OverflowError, TypeError):
        return None


def _span(start: date, end: date) -> timedelta | None:
    """From start to end where both are times of the same kind and in order."""
    try:
        return max(end - start, timedelta())
    except TypeError:
        return None
