"""The time zones that a calendar names: IANA's, its own VTIMEZONEs, and those of Windows.

A VTIMEZONE is kept with the calendar that defines it: the library would keep it for the whole process, and two
rooms may mean different zones by "Customized Time Zone".
"""

from __future__ import annotations

import re
import zoneinfo
from calendar import monthrange
from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from io import StringIO

from dateutil.tz import tzical
from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from otjd.gather.content_lines import Component, Line, quoted

OBSERVANCE_LIMIT = 500
"""Observances (STANDARD, DAYLIGHT) of a zone; the longest histories have about a hundred."""

RULES_LIMIT = 20
"""Observances of a zone that come every year; each is walked from its start on."""

ZONE_LIMIT = 100
"""VTIMEZONEs of a calendar that are kept."""

_WANTED = frozenset({"DTSTART", "RRULE", "RDATE", "TZOFFSETFROM", "TZOFFSETTO", "TZNAME"})
_YEARLY = re.compile(  # one onset a year, such as FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU, or BYDAY=SU;BYMONTHDAY=8,9,...
    r"(?:(?:FREQ=YEARLY|INTERVAL=[1-9][0-9]?|WKST=[A-Z]{2}|UNTIL=[0-9TZ]{8,16}|COUNT=[1-9][0-9]{0,3}"
    r"|BYMONTH=(?:[1-9]|1[0-2])|BYDAY=[+-]?[1-5]?(?:MO|TU|WE|TH|FR|SA|SU)"
    r"|BYMONTHDAY=-?[1-9][0-9]?(?:,-?[1-9][0-9]?){0,6})(?:;|\Z))+", re.ASCII)
_DAY_ONLY = re.compile(r"[0-9]{8}\Z")
_OF_EXCHANGE = {"tzone://microsoft/utc": "UTC"}


class UnknownZoneError(ValueError):
    """A zone that is neither known nor defined; the text says so."""


@lru_cache(1)
def _iana_names() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


class Zones:
    """The zones of one calendar: `definitions` are its VTIMEZONEs, `default` holds for times that name none."""

    def __init__(self, definitions: Iterable[Component], default: tzinfo) -> None:
        self.default = default
        self._found: dict[str, tzinfo] = {}
        self._definitions: dict[str, Component] = {}
        for definition in definitions:
            tzid = definition.first("TZID")
            if tzid is not None and len(self._definitions) < ZONE_LIMIT:
                self._definitions.setdefault(_clean(tzid.text.partition(":")[2]), definition)

    def find(self, tzid: str) -> tzinfo:
        """The zone of this TZID.

        :raises UnknownZoneError: there is none, or its VTIMEZONE cannot be read.
        """
        name = _clean(tzid)
        if name not in self._found:
            self._found[name] = self._look_up(name)
        return self._found[name]

    def _look_up(self, name: str) -> tzinfo:
        known = named_zone(name, windows=False)
        if known is not None:
            return known
        problem = "it is neither known nor defined by a VTIMEZONE"
        definition = self._definitions.get(name)
        if definition is not None:
            try:
                return defined_zone(definition)
            except ValueError as error:
                problem = f"its VTIMEZONE in line {definition.number} cannot be read: {error}"
        known = named_zone(name)
        if known is None:
            raise UnknownZoneError(f"found the time zone {quoted(name)}: {problem}; expected a name such as "
                                   "Europe/Oslo, or a VTIMEZONE of that name")
        return known


def _clean(tzid: str) -> str:
    return tzid.strip().strip('"').strip().replace("\\,", ",").replace("\\;", ";")


def named_zone(name: str, *, windows: bool = True) -> tzinfo | None:
    """A zone by its IANA name, also behind a vendor's prefix (RFC 5545 section 3.8.3.1), or its Windows name."""
    name = _OF_EXCHANGE.get(name.lower(), name)
    candidates = [name]
    if name.startswith("/"):
        parts = name.strip("/").split("/")
        candidates.extend("/".join(parts[start:]) for start in range(min(len(parts), 10)))
    if windows and name in WINDOWS_TO_OLSON:
        candidates.append(WINDOWS_TO_OLSON[name])
    found = next((candidate for candidate in candidates if candidate in _iana_names()), None)
    return zoneinfo.ZoneInfo(found) if found else None


def defined_zone(definition: Component) -> tzinfo:
    """The zone that a VTIMEZONE defines.

    :raises ValueError: it cannot be read; the text says why.
    """
    observances = [c for c in definition.components if c.name in {"STANDARD", "DAYLIGHT"}]
    if len(observances) > OBSERVANCE_LIMIT:
        raise ValueError(f"it has {len(observances)} observances, at most {OBSERVANCE_LIMIT} are read")
    if sum(o.first("RRULE") is not None for o in observances) > RULES_LIMIT:
        raise ValueError(f"it has more than {RULES_LIMIT} observances with an RRULE")
    # the reader of zones prefers a STANDARD one for times before the first onset, and trips over a lone DAYLIGHT
    if observances and all(o.name == "DAYLIGHT" for o in observances):
        observances = [Component("STANDARD", o.number, o.lines) for o in observances]
    text = ["BEGIN:VTIMEZONE", "TZID:zone"]
    for observance in observances:
        text.append(f"BEGIN:{observance.name}")
        text.extend(_observance_line(line) for line in observance.lines if line.name in _WANTED)
        text.append(f"END:{observance.name}")
    text.append("END:VTIMEZONE")
    try:
        zone: tzinfo | None = tzical(StringIO("\n".join(text))).get()
        datetime(2026, 1, 1, tzinfo=zone).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError, AttributeError) as error:
        raise ValueError(str(error)) from None
    if zone is None:
        raise ValueError("it defines nothing")
    return zone


def _observance_line(line: Line) -> str:
    """A line of an observance as the reader of zones wants it: no parameters, local time, a time of day."""
    value = line.text.partition(":")[2].strip()
    if line.name == "RRULE":
        value = value.upper().rstrip(";")
        if _YEARLY.fullmatch(value) is None or not _has_an_onset(value):
            raise ValueError(f"line {line.number}: found {quoted(value)}, expected one onset a year")
    elif line.name in {"DTSTART", "RDATE"}:
        times = [time.strip().removesuffix("Z") for time in value.split(",")]
        value = ",".join(f"{time}T000000" if _DAY_ONLY.match(time) else time for time in times)
    return f"{line.name}:{value}"


def _has_an_onset(rule: str) -> bool:
    """Whether the rule has a day in the year: the reader of zones would look for one up to the year 9999."""
    parts = dict(part.split("=") for part in rule.split(";") if part)
    days = [abs(int(day)) for day in parts.get("BYMONTHDAY", "1").split(",")]
    return "FREQ" in parts and min(days) <= monthrange(2024, int(parts.get("BYMONTH", "1")))[1]
