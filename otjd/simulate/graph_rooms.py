"""The occurrences in the rooms of a simulated Graph, expanded and written once for as long as nothing changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from otjd.meetings.model import Window
from otjd.simulate.calendars import Booking, Calendars, Change, Instance
from otjd.simulate.graph_events import event
from otjd.simulate.graph_query import Shape

_BEFORE, _AFTER = timedelta(hours=1), timedelta(hours=12)
_KEPT_TEXT = 1024
"""Characters of an event that are kept: what only marks it, so that thousands of rooms find room in memory."""


@dataclass(slots=True)
class Shown:
    """An occurrence, and the JSON that was last written of it."""

    instance: Instance
    room: str
    _shape: Shape | None = None
    _text: str = ""

    def text(self, shape: Shape, attendees: int) -> str:
        """It as JSON."""
        if shape == self._shape:
            return self._text
        text = json.dumps(event(self.instance, self.room, shape, attendees), separators=(",", ":"))
        if len(text) <= _KEPT_TEXT:
            self._shape, self._text = shape, text
        return text


@dataclass(slots=True)
class _Expanded:
    window: Window
    shown: list[Shown] = field(default_factory=list)


class Rooms:
    """What is in the calendars, by room and window; a change of a room has it expanded anew."""

    def __init__(self, calendars: Calendars) -> None:
        self._calendars = calendars
        self._expanded: dict[str, _Expanded] = {}
        self._kept: dict[str, tuple[object, str]] = {}
        self.close: Callable[[], None] = calendars.subscribe(self._changed)

    def _changed(self, change: Change) -> None:
        self._expanded.pop(change.room, None)
        self._kept.pop(change.room, None)

    def shown(self, room: str, window: Window) -> list[Shown]:
        """The occurrences that overlap a window, by start; the room is in lower case."""
        known = self._expanded.get(room)
        if known is None or window.start < known.window.start or window.end > known.window.end:
            wide = Window(window.start - _BEFORE, window.end + _AFTER)
            known = _Expanded(wide, [Shown(i, room) for i in self._calendars.instances(room, wide)])
            self._expanded[room] = known
        return [s for s in known.shown
                if window.overlaps(s.instance.booking.start_time, s.instance.booking.end_time)]

    def kept(self, room: str, asked: object) -> str | None:
        """What was last answered to a question about a room, if nothing has changed since."""
        question, text = self._kept.get(room, (None, ""))
        return text if question == asked else None

    def keep(self, room: str, asked: object, text: str) -> None:
        """Keep an answer until the room changes or another question is asked."""
        self._kept[room] = asked, text

    def changed_after(self, room: str, age: timedelta) -> dict[str, Booking | None]:
        """The bookings of a room that changed within this time, as they were before: None for one that was not."""
        if not age:
            return {}
        moment = self._calendars.now() - age
        before: dict[str, Booking | None] = {}
        changed: set[str] = set()
        for change in self._calendars.changes_since(room, 0):
            if change.booking.modified_time > moment:
                changed.add(change.booking.id)
            else:
                before[change.booking.id] = None if change.kind == "deleted" else change.booking
        return {booking_id: before.get(booking_id) for booking_id in changed}
