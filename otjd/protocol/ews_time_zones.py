"""Time zones of EWS: those of Windows with the rules that the time zone database has for them, which
GetServerTimeZones tells, and those that a request defines itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta, tzinfo
from functools import lru_cache

from lxml import etree

from otjd.protocol import markup
from otjd.protocol.ews_responses import success
from otjd.protocol.markup import attribute, text
from otjd.protocol.request_parts import check_count, check_some, part
from otjd.protocol.timezones import WINDOWS_ZONES, time_zone
from otjd.protocol.zone_rules import LAST, ChangeDay, ZoneRule, rule_of

ZONES_LIMIT = 1000
"""Zones in one request; there are about 140."""

_FARTHEST = timedelta(hours=14)
_DURATION = re.compile(r"(-)?PT(?=\d)(?:(\d{1,4})H)?(?:(\d{1,5})M)?(?:(\d{1,6})(?:\.0+)?S)?", re.ASCII)
_OCCURRENCES = {"-1": LAST, "1": 1, "2": 2, "3": 3, "4": 4, "5": LAST}
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class GetServerTimeZones:
    """Tell of these time zones, or of all; with `is_full` also their rules."""

    ids: tuple[str, ...] | None
    is_full: bool


def read_get_server_time_zones(element: etree._Element, _: tzinfo) -> GetServerTimeZones:
    """Read the request.

    :raises SoapFault: an empty list of zones, or too many.
    """
    is_full = element.get("ReturnFullTimeZoneData", "true").strip().lower() not in ("false", "0")
    if markup.child(element, "Ids") is None:
        return GetServerTimeZones(None, is_full)
    ids = tuple(markup.content(e) for e in markup.children(part(element, "Ids"), "Id"))
    check_some(ids, "Ids", element)
    check_count(ids, ZONES_LIMIT, "Ids")
    return GetServerTimeZones(ids, is_full)


def read_defined_zone(definition: etree._Element) -> tzinfo | None:
    """The zone of a TimeZoneDefinition: that of its Id, else by the rules that come with it, of which the last
    ones count. None where neither can be read."""
    known = time_zone(definition.get("Id", ""))
    if known is not None:
        return known
    periods = {e.get("Id"): _duration(e.get("Bias", ""))
               for e in markup.children(markup.child(definition, "Periods"), "Period")}
    groups = list(markup.children(markup.child(definition, "TransitionsGroups"), "TransitionsGroup"))
    changes = []
    for change in groups[-1] if groups else ():
        bias = periods.get(markup.content(markup.child(change, "To")))
        if bias is None or abs(bias) > _FARTHEST:
            return None
        changes.append((-bias, _read_change(change)))
    match changes:
        case [(offset, _)]:
            return ZoneRule(offset).zone()
        case [_, _]:
            (standard, standard_begins), (daylight, daylight_begins) = sorted(changes, key=lambda c: c[0])
            if standard_begins and daylight_begins:
                return ZoneRule(standard, daylight, standard_begins, daylight_begins).zone()
    return None


def _read_change(change: etree._Element) -> ChangeDay | None:
    """The day of a RecurringDayTransition; None for any other."""
    month, weekday, occurrence, time = (markup.content(markup.child(change, name)) for name in
                                        ("Month", "DayOfWeek", "Occurrence", "TimeOffset"))
    length = _duration(time)
    if (weekday not in _WEEKDAYS or occurrence not in _OCCURRENCES or length is None
            or not (month.isascii() and month.isdigit() and len(month) < 3 and 1 <= int(month) <= 12)
            or not timedelta() <= length < timedelta(days=1)):
        return None
    return ChangeDay(int(month), _WEEKDAYS.index(weekday), _OCCURRENCES[occurrence], length)


def _duration(text: str) -> timedelta | None:
    """The length of an xs:duration of hours, minutes and seconds."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        return None
    sign, hours, minutes, seconds = match.groups()
    length = timedelta(hours=int(hours or 0), minutes=int(minutes or 0), seconds=int(seconds or 0))
    return -length if sign else length


def server_time_zones(request: GetServerTimeZones, year: int) -> str:
    """The response message, with the rules of `year`. Zones that there are not are left out."""
    names = WINDOWS_ZONES.values() if request.ids is None else dict.fromkeys(
        WINDOWS_ZONES[key] for asked in request.ids if (key := asked.casefold()) in WINDOWS_ZONES)
    definitions = "".join(_definition(name, year, request.is_full) for name in names)
    return success("GetServerTimeZones", f"<m:TimeZoneDefinitions>{definitions}</m:TimeZoneDefinitions>")


@lru_cache(maxsize=1024)
def _definition(name: str, year: int, is_full: bool) -> str:
    zone = time_zone(name)
    rule = ZoneRule(timedelta()) if zone is None else rule_of(zone, year)
    head = f'<t:TimeZoneDefinition Id="{attribute(name)}" Name="{attribute(_display_name(name, zone, rule))}"'
    if not is_full:
        return f"{head}/>"
    standard, daylight = (f"trule:Microsoft/Registry/{name}/1-{kind}" for kind in ("Standard", "Daylight"))
    periods = _period("Standard", standard, rule.standard)
    if rule.daylight is None or rule.standard_begins is None or rule.daylight_begins is None:
        changes = f"<t:Transition>{_to(standard)}</t:Transition>"
    else:
        periods += _period("Daylight", daylight, rule.daylight)
        changes = _change(daylight, rule.daylight_begins) + _change(standard, rule.standard_begins)
    return (f"{head}><t:Periods>{periods}</t:Periods><t:TransitionsGroups>"
            f'<t:TransitionsGroup Id="0">{changes}</t:TransitionsGroup></t:TransitionsGroups>'
            '<t:Transitions><t:Transition><t:To Kind="Group">0</t:To></t:Transition></t:Transitions>'
            "</t:TimeZoneDefinition>")


def _display_name(name: str, zone: tzinfo | None, rule: ZoneRule) -> str:
    """Offset and city, such as `(UTC+01:00) Berlin`; the id where the zone is not that of a city."""
    if name == "UTC":
        return "(UTC) Coordinated Universal Time"
    minutes = int(rule.standard.total_seconds()) // 60
    offset = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}" if minutes else ""
    region, _, city = str(zone).rpartition("/")
    return f"(UTC{offset}) {name if region in ('', 'Etc') else city.replace('_', ' ')}"


def _period(name: str, key: str, offset: timedelta) -> str:
    minutes = -int(offset.total_seconds()) // 60  # a bias: what to add to local time to get UTC
    bias = f"{'-' if minutes < 0 else ''}PT{abs(minutes)}M"
    return f'<t:Period Bias="{bias}" Name="{name}" Id="{attribute(key)}"/>'


def _to(period: str) -> str:
    return f'<t:To Kind="Period">{text(period)}</t:To>'


def _change(period: str, day: ChangeDay) -> str:
    minutes, seconds = divmod(int(day.time.total_seconds()), 60)
    time = f"PT{minutes}M{f'{seconds}S' if seconds else ''}"
    return (f"<t:RecurringDayTransition>{_to(period)}<t:TimeOffset>{time}</t:TimeOffset>"
            f"<t:Month>{day.month}</t:Month><t:DayOfWeek>{_WEEKDAYS[day.weekday]}</t:DayOfWeek>"
            f"<t:Occurrence>{-1 if day.occurrence == LAST else day.occurrence}</t:Occurrence>"
            "</t:RecurringDayTransition>")
