"""Calendars in iCalendar form (RFC 5545): what a room's file, or an invitation, holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from time import thread_time

from otjd.gather.calendar_events import BrokenEventError, Event, read_event, uid_of
from otjd.gather.calendar_series import RefusedRuleError, Series, check_rule, expand, series_of
from otjd.gather.calendar_zones import Zones, named_zone
from otjd.gather.content_lines import Component, UnreadableCalendarError, quoted, read_components
from otjd.meetings.model import Invitation, Window

__all__ = ["Calendar", "UnreadableCalendarError", "read_calendar"]

EVENT_LIMIT = 20_000
"""VEVENTs of a calendar."""

OCCURRENCE_LIMIT = 2_000
"""Invitations of a room in one window: far more than an endpoint shows."""

READING_LIMIT_S = 10.0
"""Seconds of processor time for the reading of a file; one of the greatest size takes about three."""

SERIES_LIMIT_S = 1.5
"""Seconds of processor time for one series; one that takes longer is left out, and not tried again."""

EXPANSION_LIMIT_S = 3.0
"""Seconds of processor time for all series of a calendar."""

Problem = tuple[int, str]
"""The number of a line, and what is wrong there."""


@dataclass(slots=True)
class _Content:
    """What was read so far."""

    events: dict[str, list[tuple[Event, Zones]]] = field(default_factory=dict)
    broken: dict[str, Problem] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    first: Invitation | Problem | None = None
    number_of_events: int = 0


class Calendar:
    """What a file holds.

    Whole days, and times that name no zone, are those of the calendar's zone: X-WR-TIMEZONE where the file has it,
    else the default that `read_calendar` was given. Safe to use in a thread, one at a time.
    """

    def __init__(self, source: str, content: _Content, cpu_time: Callable[[], float]) -> None:
        self.source = source
        self._first = content.first
        self._broken = content.broken
        self._read_problems = content.problems
        self._cpu_time = cpu_time
        self._series: dict[str, tuple[Series, Zones]] = {}
        for uid, entries in content.events.items():
            zones = entries[-1][1]
            self._series[uid] = (series_of((event for event, _ in entries), zones), zones)
        self._refused: dict[str, Problem] = {}
        self._surplus = 0

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read, or was left out of the last expansion; each names the file and the line."""
        found = sorted({*self._read_problems, *self._refused.values()})
        told = [f"{self.source}, line {number}: {problem}" for number, problem in found]
        if self._surplus:
            told.append(f"{self.source}: {self._surplus} occurrences are left out, only the first "
                        f"{OCCURRENCE_LIMIT} of the window are kept")
        return tuple(told)

    def keep_from(self, previous: Calendar) -> None:
        """Take over, of the events that are broken here, what an earlier version of the file said of them."""
        for uid in self._broken:
            if uid in previous._series:
                self._series[uid] = previous._series[uid]

    def first_invitation(self) -> Invitation:
        """The first VEVENT, unexpanded.

        :raises UnreadableCalendarError: there is none, or it is broken.
        """
        if isinstance(self._first, Invitation):
            return self._first
        number, problem = self._first or (1, "the calendar has no VEVENT")
        raise UnreadableCalendarError(self.source, number, problem)

    def invitations(self, window: Window) -> list[Invitation]:
        """What has a part in the window, ascending by start, cancelled occurrences among it.

        Series that cannot be expanded are left out and become `problems`.

        :raises UnreadableCalendarError: all series together take too long.
        """
        found: list[Invitation] = []
        begun = self._cpu_time()
        for uid, (series, zones) in self._series.items():
            if uid in self._refused:
                continue
            before = self._cpu_time()
            number = series.events[0].number
            if before - begun > EXPANSION_LIMIT_S:
                raise UnreadableCalendarError(self.source, number, "the series up to here took "
                                              f"{EXPANSION_LIMIT_S:g} seconds to expand; expected a calendar of "
                                              "fewer or shorter series")
            try:
                expanded = list(expand(series, zones, window))
            except RefusedRuleError as error:
                self._refused[uid] = (error.number, str(error))
            except Exception as error:  # the library raises what it meets: a series must not cost the others
                self._refused[uid] = (number, f"the series cannot be expanded: {error or type(error).__name__}")
            else:
                if self._cpu_time() - before > SERIES_LIMIT_S:
                    self._refused[uid] = (number, f"the series takes more than {SERIES_LIMIT_S:g} s to expand")
                else:
                    found.extend(expanded)
        found.sort(key=lambda i: (i.start_time, i.end_time, i.uid, i.occurrence))
        self._surplus = max(0, len(found) - OCCURRENCE_LIMIT)
        return found[:OCCURRENCE_LIMIT]


def read_calendar(content: bytes, source: str, *, default_zone: tzinfo = UTC,
                  cpu_time: Callable[[], float] = thread_time) -> Calendar:
    """Read a file; `source` is its name in errors and problems.

    An event that cannot be read costs itself, not the others: it becomes one of `Calendar.problems`.

    :param default_zone: of times without a zone and whole days where the file has no X-WR-TIMEZONE.
    :raises UnreadableCalendarError: it is no calendar, is cut off, or none of its events can be read.
    """
    read = _Content()
    begun = cpu_time()
    for calendar in read_components(content, source):
        zones = Zones(calendar.named("VTIMEZONE"), _zone(calendar, read, default_zone))
        method = calendar.first("METHOD")
        is_cancelled = method is not None and method.text.partition(":")[2].strip().upper() == "CANCEL"
        for component in calendar.named("VEVENT"):
            read.number_of_events += 1
            if read.number_of_events > EVENT_LIMIT:
                raise UnreadableCalendarError(source, component.number, "the calendar has more than "
                                              f"{EVENT_LIMIT} events; expected an export of a shorter time")
            if cpu_time() - begun > READING_LIMIT_S:
                raise UnreadableCalendarError(source, component.number, "reading the calendar up to here took "
                                              f"{READING_LIMIT_S:g} seconds; expected an export of a shorter time")
            _read_event(component, zones, read, is_cancelled=is_cancelled)
    if read.broken and not read.events:
        number, problem = min(read.broken.values())
        raise UnreadableCalendarError(source, number, problem)
    return Calendar(source, read, cpu_time)


def _read_event(component: Component, zones: Zones, read: _Content, *, is_cancelled: bool) -> None:
    read.problems.extend(component.problems)
    try:
        event = read_event(component, zones, is_cancelled=is_cancelled)
        for number, rule in event.rules:
            check_rule(number, rule)
    except (BrokenEventError, RefusedRuleError) as error:
        _note_broken(component, (error.number, str(error)), read)
    except Exception as error:  # the library raises what it meets: an event must not cost the others
        _note_broken(component, (component.number, f"the VEVENT cannot be read: {error or type(error).__name__}"),
                     read)
    else:
        read.events.setdefault(event.template.uid, []).append((event, zones))
        read.first = read.first or event.template


def _note_broken(component: Component, problem: Problem, read: _Content) -> None:
    read.problems.append(problem)
    read.first = read.first or problem
    try:
        uid = uid_of(component)
    except BrokenEventError:
        uid = f"line {component.number}"
    read.broken.setdefault(uid, problem)


def _zone(calendar: Component, read: _Content, default: tzinfo) -> tzinfo:
    """The zone of the calendar itself."""
    line = calendar.first("X-WR-TIMEZONE")
    name = line.text.partition(":")[2].strip() if line else ""
    if line is None or not name:
        return default
    zone = named_zone(name)
    if zone is None:
        problem = f"found the time zone {quoted(name)}, expected a name such as Europe/Oslo"
        read.problems.append((line.number, problem))
    return zone or default
