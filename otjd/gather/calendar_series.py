"""A series of events, expanded over a window: RRULE, RDATE, EXDATE, moved and cancelled occurrences.

The library does the arithmetic, on local times without a zone: a weekly meeting at ten stays at ten. Its work is
bounded here, since it walks from the start of the series on: a rule comes from whoever can invite the room.
Source: RFC 5545 section 3.3.10, 3.8.4.4 (RANGE=THISANDFUTURE) and 3.8.5.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Any

import icalendar
from icalendar.prop import vDDDLists, vDDDTypes, vInt, vRecur
from recurring_ical_events import CalendarQuery

from otjd.gather.calendar_events import Event, occurrence_id, to_utc
from otjd.gather.calendar_zones import Zones
from otjd.gather.content_lines import quoted
from otjd.meetings.model import CalendarItemType, Invitation, Window

INSTANTS_LIMIT = 200_000
"""Instants of a rule from the start of the series to the end of the window: 547 years of days."""

_MARK = "X-OTJD-EVENT"
_MARGIN = timedelta(days=2)  # local times against UTC, on both sides
_DAYS = {"HOURLY": 1, "DAILY": 1, "WEEKLY": 7, "MONTHLY": 28, "YEARLY": 365}
_PARTS = {"FREQ", "UNTIL", "COUNT", "INTERVAL", "WKST", "BYMONTH", "BYMONTHDAY", "BYDAY", "BYYEARDAY", "BYWEEKNO",
          "BYSETPOS", "BYHOUR", "BYMINUTE", "BYSECOND", "RSCALE", "SKIP"}
_DAY_PARTS = {"BYMONTH", "BYMONTHDAY", "BYDAY", "BYYEARDAY", "BYWEEKNO"}
_FOR_LONG_PERIODS = {"BYYEARDAY", "BYWEEKNO", "BYSETPOS"}


class RefusedRuleError(ValueError):
    """A rule that no room's calendar needs and that would cost too much: `number` is its line."""

    def __init__(self, number: int, problem: str) -> None:
        super().__init__(problem)
        self.number = number


@dataclass(frozen=True, slots=True)
class Series:
    """The events of one UID: the newest version of each. `core` is None where only occurrences of it are known."""

    core: Event | None
    modified: tuple[Event, ...]

    @property
    def events(self) -> tuple[Event, ...]:
        """All of them, the series as a whole first."""
        return (self.core, *self.modified) if self.core else self.modified


def series_of(events: Iterable[Event], zones: Zones) -> Series:
    """Put together what belongs to one UID; of two versions of the same event the newer one, or the later one."""
    core: Event | None = None
    modified: dict[str, Event] = {}
    for event in events:
        if event.recurrence_id is None:
            if core is None or event.stamp >= core.stamp:
                core = event
        else:
            key = occurrence_id(event.recurrence_id, zones)
            if key not in modified or event.stamp >= modified[key].stamp:
                modified[key] = event
    return Series(core, tuple(modified.values()))


def expand(series: Series, zones: Zones, window: Window) -> Iterator[Invitation]:
    """The invitations of a series that have a part in the window.

    :raises RefusedRuleError: a rule would take too long.
    :raises ValueError: the library cannot make sense of it; also OverflowError, TypeError.
    """
    core = series.core
    if core is None or not core.is_recurring:
        # a single event, or occurrences of a series that the room was not invited to as a whole
        yield from (e.template for e in series.events
                    if window.overlaps(e.template.start_time, e.template.end_time))
        return
    local = _Local(core, zones)
    if _is_over(series, core, local, window):
        return
    for number, rule in core.rules:
        _refuse_costly(number, rule, local.naive(core.start), min(_until(rule, local), local.naive(window.end)))
    last = local.naive(window.end) + _MARGIN
    for component in CalendarQuery(_calendar(series, local)).between(local.naive(window.start) - _MARGIN, last):
        event = series.events[int(component[_MARK])]
        invitation = _occurrence(event, core, component, local)
        if window.overlaps(invitation.start_time, invitation.end_time):
            yield invitation


class _Local:
    """The local times of a series: without a zone, in that of its start."""

    def __init__(self, core: Event, zones: Zones) -> None:
        self.zones = zones
        self.is_all_day = not isinstance(core.start, datetime)
        self.zone: tzinfo = (core.start.tzinfo if isinstance(core.start, datetime) else None) or zones.default

    def naive(self, moment: date) -> datetime:
        """A moment as local time."""
        if isinstance(moment, datetime):
            return moment.astimezone(self.zone).replace(tzinfo=None)
        return datetime.combine(moment, time())

    def like_core(self, moment: date, at: date) -> date:
        """A moment in the manner of the start of the series: a date for all-day ones, else local time.

        A whole day stands for the occurrence at the time of day of `at`.
        """
        if self.is_all_day:
            return self.naive(moment).date() if isinstance(moment, datetime) else moment
        if isinstance(moment, datetime):
            return self.naive(moment)
        return datetime.combine(moment, self.naive(at).time())

    def utc(self, moment: date) -> datetime:
        """A local time or date back in UTC."""
        if isinstance(moment, datetime):
            return to_utc(moment.replace(tzinfo=self.zone), self.zones)
        return to_utc(moment, self.zones)


def _calendar(series: Series, local: _Local) -> icalendar.Calendar:
    """The series as the library wants it: times and rules only, and a mark that tells which event is which."""
    container = icalendar.Calendar()
    for index, event in enumerate(series.events):
        component = icalendar.Event()
        component["UID"] = "series"
        component[_MARK] = str(index)
        start, end = (event.start, event.end) if local.is_all_day and not isinstance(event.start, datetime) else (
            local.naive(event.start), local.naive(event.end))
        component["DTSTART"] = vDDDTypes(start)
        component["DTEND"] = vDDDTypes(max(start, end))
        component["SEQUENCE"] = vInt(0)
        if event.recurrence_id is not None and series.core is not None:
            moment = vDDDTypes(local.like_core(event.recurrence_id, series.core.start))
            if event.is_for_all_after:
                moment.params["RANGE"] = "THISANDFUTURE"
            component["RECURRENCE-ID"] = moment
        if event.rules:
            component["RRULE"] = [_with_local_end(rule, local) for _, rule in event.rules]
        if event.extra:
            component["RDATE"] = vDDDLists([_extra(moment, duration, event, local)
                                            for moment, duration in event.extra])
        if event.excluded:
            component["EXDATE"] = vDDDLists([_excluded(moment, local) for moment in event.excluded])
        container.add_component(component)
    return container


def _extra(moment: date, duration: timedelta | None, event: Event,
           local: _Local) -> date | tuple[datetime, timedelta]:
    start = local.like_core(moment, event.start)
    return (start, duration) if duration is not None and isinstance(start, datetime) else start


def _excluded(moment: date, local: _Local) -> date:
    """An EXDATE; a whole day excludes what is on it."""
    if isinstance(moment, datetime):
        return local.naive(moment).date() if local.is_all_day else local.naive(moment)
    return moment


def _until(rule: vRecur, local: _Local) -> datetime:
    """The local time of the end of a rule; a day counts to its end."""
    end = _first(rule, "UNTIL", None)
    if end is None:
        return datetime.combine(date(9999, 12, 31), time())
    if not isinstance(end, datetime):
        return datetime.combine(end, time(23, 59, 59))
    return end if end.tzinfo is None else local.naive(end)


def _with_local_end(rule: vRecur, local: _Local) -> vRecur:
    if "UNTIL" not in rule:
        return rule
    end = _until(rule, local)
    return vRecur({**rule, "UNTIL": [end.date() if local.is_all_day else end]})


def _is_over(series: Series, core: Event, local: _Local, window: Window) -> bool:
    """Whether nothing of a series is left at the start of the window, so that it need not be walked."""
    first = local.naive(window.start) - _MARGIN - (core.template.end_time - core.template.start_time)
    return not core.extra and not any(e.is_for_all_after for e in series.modified) and all(
        _until(rule, local) < first for _, rule in core.rules) and all(
        e.template.end_time < window.start - _MARGIN for e in series.events)


def _occurrence(event: Event, core: Event, component: icalendar.Event, local: _Local) -> Invitation:
    """One occurrence that the library found, with the times and the identity that it has in the world."""
    start: Any = _moment(component, "DTSTART")
    end: Any = _moment(component, "DTEND")
    first: Any = _own_start(event, local)
    last: Any = _own_end(event, local)
    original: Any = start
    if event.recurrence_id is not None:
        original = local.like_core(event.recurrence_id, core.start)
        if start == first:
            return replace(event.template, occurrence=occurrence_id(local.utc(original), local.zones))
        original = start - (first - original)  # RANGE=THISANDFUTURE: moved together with the first
    begins = local.utc(start)
    if isinstance(start, datetime) and end - start == last - first:
        duration = event.template.end_time - event.template.start_time  # exact: RFC 5545 section 3.8.5.3
    else:
        duration = local.utc(end) - begins  # whole days, or a period with its own duration
    return replace(event.template, start_time=begins, end_time=begins + duration,
                   occurrence=occurrence_id(local.utc(original), local.zones),
                   item_type=CalendarItemType.OCCURRENCE if event is core else CalendarItemType.EXCEPTION)


def _moment(component: icalendar.Event, name: str) -> Any:
    value: Any = component[name]
    return value.dt


def _own_start(event: Event, local: _Local) -> date:
    return event.start if local.is_all_day and not isinstance(event.start, datetime) else local.naive(event.start)


def _own_end(event: Event, local: _Local) -> date:
    return event.end if local.is_all_day and not isinstance(event.end, datetime) else local.naive(event.end)


def check_rule(number: int, rule: vRecur) -> None:
    """Refuse a rule that would repeat within the hour, or that the library would follow to the year 9999.

    :raises RefusedRuleError: it does.
    """
    frequency = str(rule["FREQ"][0]).upper()
    text = _text(rule)
    if frequency not in _DAYS:
        raise RefusedRuleError(number, f"found {text}, expected a series that repeats hourly or less often")
    if unknown := sorted(rule.keys() - _PARTS):
        raise RefusedRuleError(number, f"found {unknown[0]} in {text}, expected the parts of a rule that RFC 5545 "
                               "section 3.3.10 names")
    if str(_first(rule, "RSCALE", "GREGORIAN")).upper() != "GREGORIAN":
        raise RefusedRuleError(number, f"found {text}, expected the Gregorian calendar")
    if _first(rule, "INTERVAL", 1) < 1 or _first(rule, "COUNT", 1) < 1:
        raise RefusedRuleError(number, f"found {text}, expected an INTERVAL and COUNT of at least 1")
    if frequency in {"HOURLY", "DAILY"} and rule.keys() & _FOR_LONG_PERIODS:
        raise RefusedRuleError(number, f"found {text}, expected BYYEARDAY, BYWEEKNO and BYSETPOS in series that "
                               "repeat weekly or less often")
    if _instants_a_day(rule, frequency) > 24:
        raise RefusedRuleError(number, f"found {text}, expected at most 24 occurrences a day")
    if not _has_a_day(rule):
        raise RefusedRuleError(number, f"found {text}, which no day fulfils")


def _text(rule: vRecur) -> str:
    return quoted(";".join(f"{part}={','.join(map(str, values))}" for part, values in rule.items()))


def _first(rule: vRecur, part: str, default: Any) -> Any:
    values = rule.get(part)
    return values[0] if values else default


def _count(values: Sequence[object] | None) -> int:
    return max(1, len(set(map(str, values or ()))))


def _instants_a_day(rule: vRecur, frequency: str) -> int:
    hours = 24 if frequency == "HOURLY" else _count(rule.get("BYHOUR"))
    return hours * _count(rule.get("BYMINUTE")) * _count(rule.get("BYSECOND"))


def _has_a_day(rule: vRecur) -> bool:
    """Whether one of the months has one of the days of the month."""
    days = [abs(int(day)) for day in rule.get("BYMONTHDAY") or (1,)]
    months = [int(month) for month in rule.get("BYMONTH") or range(1, 13)]
    return any(1 <= month <= 12 and 1 <= day <= calendar.monthrange(2024, month)[1]
               for month in months for day in days)


def _refuse_costly(number: int, rule: vRecur, start: datetime, end: datetime) -> None:
    """Refuse a rule with too many instants between two local times.

    :raises RefusedRuleError: it has.
    """
    frequency = str(rule["FREQ"][0]).upper()
    instants = max(0, (end - start).days + 1) * _instants_a_day(rule, frequency)
    if not rule.keys() & _DAY_PARTS:
        instants //= _DAYS[frequency] * _first(rule, "INTERVAL", 1)
    if instants > INSTANTS_LIMIT:
        raise RefusedRuleError(number, f"found {_text(rule)}, which has about {instants} occurrences from its "
                               f"start on; expected at most {INSTANTS_LIMIT}")
