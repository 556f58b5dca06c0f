"""Free time as Microsoft Graph tells it, read into fingerprints. Pure.

Source: learn.microsoft.com/graph/api/calendar-getschedule, the `scheduleInformation` of Graph v1.0.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from otjd.protocol.graph_errors import is_passing, room_words
from otjd.protocol.graph_events import GraphFormatError, read_object

_FINGERPRINT_BYTES = 16
_ITEM_FIELDS = ("status", "subject", "location", "isPrivate", "isMeeting", "isRecurring", "start", "end")


@dataclass(frozen=True, slots=True)
class Schedules:
    """What an answer says: fingerprints by room, and what is wrong with other rooms. Those that are in neither
    cannot be told at present."""

    fingerprints: Mapping[str, bytes]
    problems: Mapping[str, str]
    answered: int


def read_schedules(body: bytes, rooms: Sequence[str]) -> Schedules:
    """The answer to `GraphApi.schedules` for these rooms.

    :raises GraphFormatError: it is none.
    """
    value = read_object(body).get("value")
    if not isinstance(value, list):
        raise GraphFormatError("Graph answered without a list of schedules")
    wanted = {room.lower(): room for room in rooms}
    fingerprints: dict[str, bytes] = {}
    problems: dict[str, str] = {}
    for place, schedule in enumerate(value[:len(rooms)]):
        if not isinstance(schedule, dict):
            continue
        room = wanted.get(str(schedule.get("scheduleId", rooms[place])).lower())
        if room is None:
            continue
        error = schedule.get("error")
        if isinstance(error, dict):
            code, message = (" ".join(str(error.get(name) or "").split())[:200]
                             for name in ("responseCode", "message"))
            if not is_passing(code):
                words = room_words(code, room) or "its free time cannot be told"
                problems[room] = f"{room}: {words} ({code}: {message})"
        else:
            fingerprints[room] = _fingerprint(schedule)
    return Schedules(fingerprints, problems, len(value))


def _fingerprint(schedule: Mapping[str, Any]) -> bytes:
    """The busy times with what is told of them, in whatever order; the outline where they are not told."""
    items = schedule.get("scheduleItems")
    known = sorted(json.dumps([item.get(name) for name in _ITEM_FIELDS], sort_keys=True)
                   for item in (items if isinstance(items, list) else ()) if isinstance(item, dict))
    outline = schedule.get("availabilityView", "") if not known else ""
    return hashlib.blake2b(json.dumps([known, outline]).encode(), digest_size=_FINGERPRINT_BYTES).digest()
