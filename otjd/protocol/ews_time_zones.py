"""GetServerTimeZones: the time zones of Windows with the rules that the time zone database has for them."""

from __future__ import annotations

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
