"""Changes of a calendar view since the last time, as a simulated Graph tells them (sources.md, 3.2).

The window, and how far a client is, are in the token alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from otjd.meetings.model import Window
from otjd.simulate.calendars import Booking, Calendars, UnknownBookingError, instances_of
from otjd.simulate.codec_http import Answer
from otjd.simulate.graph_call import Call, page
from otjd.simulate.graph_errors import GraphError, bad_request, sync_state_not_found
from otjd.simulate.graph_events import brief_occurrence, event, event_id, series_master
from otjd.simulate.graph_query import TOP_LIMIT, Shape, applied, page_size_of, shape_of, window_of
from otjd.simulate.graph_settings import GraphSettings
from otjd.simulate.graph_views import read_token, write_token

JsonObject = dict[str, Any]
Key = tuple[str, str]
"""A booking, and the original start of an occurrence; empty for a single one and for a series as a whole."""

_REFUSED = ("$orderby", "$filter", "$select", "$expand", "$search", "$top")


class Deltas:
    """Answers delta. With `endless` set, rounds go on and on without ever coming to their deltaLink."""

    def __init__(self, calendars: Calendars, settings: GraphSettings) -> None:
        self._calendars = calendars
        self._settings = settings
        self._generation = 1
        self.endless = False

    def expire_all(self) -> None:
        """Let all tokens be dead that were given out so far."""
        self._generation += 1

    def delta(self, call: Call, room: str) -> Answer:
        """A page of a round: the first round tells everything in the window, the others what changed."""
        if any(option in call.query for option in _REFUSED):
            raise GraphError(400, "ErrorInvalidUrlQuery", "The following parameters are not supported with change "
                             f"tracking over the 'CalendarView' resource: '{', '.join(_REFUSED)}'.")
        shape = shape_of({}, call.preferences, basics=not call.app.may_read)
        state = self._state(call, room)
        window = Window(*(datetime.fromtimestamp(s, UTC) for s in state["window"]))
        found = self._changed(room, window, state["since"], shape) if "since" in state else self._all(
            room, window, shape)
        after = state.get("after")
        entries = sorted((e for e in found if after is None or list(e[0]) > after), key=lambda e: e[0])
        size = self._size(call)
        if len(entries) > size:
            last = list(entries[size - 1][0])
            link = self._link(call, "nextLink", "$skiptoken", {**state, "after": last})
        elif self.endless:
            link = self._link(call, "nextLink", "$skiptoken", {**state, "turn": state.get("turn", 0) + 1})
        else:
            following = {key: value for key, value in state.items() if key not in ("after", "turn", "until")}
            link = self._link(call, "deltaLink", "$deltatoken", {
                **following, "since": state["until"], "given": self._calendars.now().timestamp()})
        texts = [json.dumps(entry, separators=(",", ":")) for _, entry in entries[:size]]
        return page(call.context("Collection(event)"), texts, link, headers=applied(call.preferences))

    def _size(self, call: Call) -> int:
        return min(page_size_of(call.preferences) or self._settings.page_size, TOP_LIMIT)

    def _state(self, call: Call, room: str) -> JsonObject:
        """Where the round is, from its token; without one, a first round begins."""
        token = call.query.get("$skiptoken") or call.query.get("$deltatoken")
        if token is None:
            window = window_of(call.query)
            return {"room": room, "window": [window.start.timestamp(), window.end.timestamp()],
                    "until": self._calendars.revision, "generation": self._generation,
                    "given": self._calendars.now().timestamp()}
        state = read_token(token)
        if state.get("room") != room or not isinstance(state.get("window"), list):
            raise GraphError(400, "ErrorInvalidUrlQuery", "Badly formed token.")
        life, age_s = self._settings.delta_life, self._calendars.now().timestamp() - state["given"]
        if state["generation"] != self._generation or (life is not None and age_s > life.total_seconds()):
            raise sync_state_not_found()
        if "$deltatoken" in call.query and "since" not in state:
            raise bad_request("The token is not one of a deltaLink.")
        return {"until": self._calendars.revision, **state}

    def _link(self, call: Call, name: str, option: str, state: JsonObject) -> str:
        return f',"@odata.{name}":{json.dumps(f"{call.url}?{option}={write_token(state)}")}'

    # --- what there is to tell ---

    def _all(self, room: str, window: Window, shape: Shape) -> Iterator[tuple[Key, JsonObject]]:
        for booking in self._calendars.bookings(room):
            yield from self._entries(booking, room, window, shape)

    def _changed(self, room: str, window: Window, since: int, shape: Shape) -> Iterator[tuple[Key, JsonObject]]:
        changed = {c.booking.id for c in self._calendars.changes_since(room, since)}
        before: dict[str, Booking] = {}
        shown: dict[str, set[Key]] = {booking_id: set() for booking_id in changed}
        for change in self._calendars.changes_since(room, 0) if changed else ():
            booking_id = change.booking.id
            if booking_id not in changed:
                continue
            if change.revision <= since:
                before[booking_id] = change.booking
            else:
                shown[booking_id].update(_keys(change.booking, window))
        for booking_id in changed:
            if booking_id in before:
                shown[booking_id].update(_keys(before[booking_id], window))
            try:
                now = dict(self._entries(self._calendars.find(room, booking_id), room, window, shape))
            except UnknownBookingError:
                now = {}
            yield from now.items()
            for key in (shown[booking_id] or {(booking_id, "")}) - now.keys():
                yield key, {"@odata.type": "#microsoft.graph.event", "@removed": {"reason": "deleted"},
                            "id": event_id(room, *key, immutable=shape.immutable)}

    def _entries(self, booking: Booking, room: str, window: Window,
                 shape: Shape) -> Iterator[tuple[Key, JsonObject]]:
        attendees, kind = self._settings.attendees, {"@odata.type": "#microsoft.graph.event"}
        is_first = True
        for one in instances_of(booking, window):
            if one.occurrence and is_first:
                yield (booking.id, ""), kind | series_master(booking, room, shape, attendees)
            is_first = False
            is_brief = one.occurrence and not one.is_exception
            yield (booking.id, one.occurrence), (brief_occurrence(one, room, shape) if is_brief
                                                 else kind | event(one, room, shape, attendees))


def _keys(booking: Booking, window: Window) -> set[Key]:
    found = {(booking.id, one.occurrence) for one in instances_of(booking, window)}
    return found | {(booking.id, "")} if found else found
