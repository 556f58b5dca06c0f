"""`freebusy.query`: when rooms are busy, up to 50 in one request."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Any

from otjd.meetings.model import FreeBusyStatus, Window
from otjd.simulate.calendars import Calendars, Change
from otjd.simulate.google_errors import GoogleError
from otjd.simulate.google_events import rfc3339, with_milliseconds
from otjd.simulate.google_parameters import moment, zone

LARGEST_EXPANSION = 50
LARGEST_GROUP = 100
MEMBERS: Mapping[str, type] = {"timeMin": str, "timeMax": str, "timeZone": str, "groupExpansionMax": int,
                               "calendarExpansionMax": int, "items": list}

Span = tuple[datetime, datetime]


class FreeBusy:
    """Answers `freebusy.query`. What was written of a room is kept until its calendar changes."""

    def __init__(self, calendars: Calendars, longest: timedelta) -> None:
        self._calendars = calendars
        self._longest = longest
        self._known: dict[str, tuple[tuple[Window, tzinfo], str]] = {}

    def told(self, change: Change) -> None:
        """A calendar changed."""
        self._known.pop(change.room, None)

    def answer(self, body: Mapping[str, Any], error_of: Callable[[str], str]) -> str:
        """When the rooms of a request are busy, as JSON; `error_of` says why one cannot be told of, or nothing.

        :raises GoogleError: the request cannot be used.
        """
        window = self._window(body)
        at = zone("timeZone", body.get("timeZone", "UTC"))
        allowed = _limit(body, "calendarExpansionMax", LARGEST_EXPANSION)
        _limit(body, "groupExpansionMax", LARGEST_GROUP)
        asked = dict.fromkeys(_ids(body.get("items", [])))
        too_many = "tooManyCalendarsRequested" if len(asked) > allowed else ""
        calendars = ",".join(
            f"{json.dumps(one)}:{self._calendar(one.lower(), window, at, too_many or error_of(one.lower()))}"
            for one in asked)
        return (f'{{"kind":"calendar#freeBusy","timeMin":"{with_milliseconds(window.start)}",'
                f'"timeMax":"{with_milliseconds(window.end)}","calendars":{{{calendars}}}}}')

    def _calendar(self, room: str, window: Window, at: tzinfo, reason: str) -> str:
        if reason:
            return json.dumps({"errors": [{"domain": "global", "reason": reason}], "busy": []})
        known = self._known.get(room)
        if known is None or known[0] != (window, at):
            spans = [(max(i.booking.start_time, window.start), min(i.booking.end_time, window.end))
                     for i in self._calendars.instances(room, window)
                     if i.booking.free_busy is not FreeBusyStatus.FREE]
            busy = [{"start": rfc3339(start, at), "end": rfc3339(end, at)} for start, end in merged(spans)]
            known = self._known[room] = (window, at), json.dumps({"busy": busy})
        return known[1]

    def _window(self, body: Mapping[str, Any]) -> Window:
        for name in ("timeMin", "timeMax"):
            if name not in body:
                raise GoogleError(400, "required", f"Missing {name} parameter.", location=name)
        window = Window(moment("timeMin", body["timeMin"]), moment("timeMax", body["timeMax"]))
        if window.start >= window.end:
            raise GoogleError(400, "timeRangeEmpty", location="timeMax")
        if window.end - window.start > self._longest:
            raise GoogleError(400, "timeRangeTooLong", location="timeMax")
        return window


def merged(spans: list[Span]) -> tuple[Span, ...]:
    """Spans of time, those that touch or overlap made one, by start; empty ones are left out."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if start >= end:
            continue
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return tuple(found)


def _limit(body: Mapping[str, Any], name: str, largest: int) -> int:
    value = body.get(name, largest)
    if not 1 <= value <= largest:
        raise GoogleError(400, "invalid", f"Invalid value for: {name}", location=name)
    return int(value)


def _ids(items: list[Any]) -> list[str]:
    for item in items:
        if not isinstance(item, dict) or set(item) != {"id"} or not isinstance(item["id"], str):
            raise GoogleError(400, "invalid", "Invalid value for: items", location="items")
    return [item["id"] for item in items]
