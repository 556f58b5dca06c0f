"""Answers of the Google Calendar API v3: events as invitations, free/busy times, sync tokens, channels."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from otjd.meetings.model import CalendarItemType, FreeBusyStatus, Invitation, Organizer, Window

SEES_NO_EVENTS = ("none", "freeBusyReader")
"""Roles that see times at most (`accessRole`)."""

SEES_NO_DETAILS = ("reader", "writerWithoutPrivateAccess")
"""Roles that do not see what a private event is about."""

NO_BOOKINGS = ("workingLocation", "birthday")
"""Values of `eventType` that do not book anything."""

NO_LIMIT = 1 << 62
LONGEST_TOKEN = 4096

Key = tuple[str, str]
"""`uid` and `occurrence` of an Invitation."""

_PRIVATE = ("private", "confidential")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class UnreadableAnswerError(ValueError):
    """What came is not what this request is answered with."""


class Entries:
    """What is kept of the occurrences of a room: 32 bytes each besides uid and occurrence.

    `keys` are (uid, occurrence) of each. The numbers stand for the id of the event and of its series, for all that
    tells one state of it from another, and for its end in seconds of 1970.
    """

    __slots__ = ("_numbers", "keys")

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self._numbers = array("q")

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[tuple[Key, int, int, int, int]]:
        numbers = iter(self._numbers)
        return zip(self.keys, numbers, numbers, numbers, numbers, strict=True)

    def add(self, key: Key, event: int, series: int, version: int, end: int) -> None:
        """Add one."""
        self.keys.append(key)
        self._numbers.extend((event, series, version, end))

    def extend(self, others: Entries) -> None:
        """Add all of these."""
        self.keys += others.keys
        self._numbers += others._numbers

    def by_version(self) -> dict[int, Key]:
        """The keys by what tells whether an occurrence is as it was."""
        return dict(zip(self._numbers[2::4], self.keys, strict=True))


@dataclass(slots=True)
class EventsPage:
    """A page of a room's occurrences, or what became of them by changes.

    `fresh` are those whose version was not known, `same` the others. `unreadable` counts events without a time
    that can be read, `hidden` private ones whose details are not shown. `taken` has the number of each event so
    far by (uid, occurrence).
    """

    role: str
    next_page: str = ""
    entries: Entries = field(default_factory=Entries)
    fresh: list[Invitation] = field(default_factory=list)
    same: list[Key] = field(default_factory=list)
    unreadable: int = 0
    hidden: int = 0
    taken: dict[Key, int] = field(default_factory=dict)

    def add(self, page: EventsPage) -> None:
        """Take up the next page."""
        self.role, self.next_page, self.taken = page.role, page.next_page, page.taken
        self.entries.extend(page.entries)
        self.fresh += page.fresh
        self.same += page.same
        self.unreadable += page.unreadable
        self.hidden += page.hidden


@dataclass(frozen=True, slots=True)
class ChangesPage:
    """A page of what changed, series not expanded, with the token of the next page or of the next round."""

    role: str
    zone: tzinfo
    items: list[Any]
    next_page: str
    next_sync: str


def read_events(body: bytes, known: Entries | None = None, known_role: str = "",
                taken: Mapping[Key, int] | None = None, body_limit: int = NO_LIMIT) -> EventsPage:
    """A page of `events_url`; of each description `body_limit` characters are kept.

    :param known: those of the reading before; they count for nothing where `known_role`, by which the calendar was
        shared with us then, has changed.
    :param taken: that of the page before.
    :raises UnreadableAnswerError: it is none.
    """
    answer = _object(body)
    page = EventsPage(_text(answer.get("accessRole")), _token(answer, "nextPageToken"), taken=dict(taken or {}))
    unchanged = known.by_version() if known is not None and page.role == known_role else {}
    _take_all(page, _cut(_items(answer), body_limit), _zone(_text(answer.get("timeZone"))), unchanged)
    return page


def apply_changes(known: Entries, known_role: str, changes: ChangesPage, window: Window) -> EventsPage | None:
    """What the occurrences of a window are after changes; None where the whole has to be read.

    That is so where a series changed: its occurrences have to be asked for. `known` are the occurrences of the
    window as they were before, shared by `known_role`.
    """
    if changes.role != known_role:
        return None
    gone: set[int] = set()
    there: list[dict[str, Any]] = []
    for item in changes.items:
        if not isinstance(item, dict) or item.get("recurrence"):
            return None
        gone.add(hash(_text(item.get("id"))))
        if item.get("status") != "cancelled":
            there.append(item)
    page = EventsPage(changes.role)
    for key, event, series, version, end in known:
        if event not in gone and series not in gone and end > window.start.timestamp():
            page.entries.add(key, event, series, version, end)
            page.same.append(key)
            page.taken[key] = event
    _take_all(page, there, changes.zone, known.by_version(), window)
    return None if len(page.taken) < len(page.entries) else page


def _take_all(page: EventsPage, items: list[Any], zone: tzinfo, unchanged: Mapping[int, Key],
              window: Window | None = None) -> None:
    for item in items:
        if not isinstance(item, dict):
            page.unreadable += 1
        elif item.get("eventType") not in NO_BOOKINGS:
            try:
                _take(page, item, zone, unchanged, window)
            except (ValueError, OverflowError):
                page.unreadable += 1


def _take(page: EventsPage, item: dict[str, Any], zone: tzinfo, unchanged: Mapping[int, Key],
          window: Window | None) -> None:
    """Add one event to its page, if it has a part in the window."""
    event_id, series_id = _text(item.get("id")), _text(item.get("recurringEventId"))
    start, end = _time(item.get("start"), zone), _time(item.get("end"), zone)
    if window is not None and not (start < window.end and end > window.start):
        return
    occurrence, was_moved = "", False
    if series_id:
        original = item.get("originalStartTime")
        original_start = start if original == item.get("start") else _time(original, zone)
        was_moved = original_start != start
        occurrence = _occurrence(original, original_start)
    event = hash(event_id)
    key = (_text(item.get("iCalUID")) or series_id or event_id, occurrence)
    if page.taken.setdefault(key, event) != event:
        key = (event_id, occurrence)  # two bookings that share a uid: both are shown
    end_s = end.timestamp()
    version = hash((key, event_id, _text(item.get("etag")), _text(item.get("updated")), start.timestamp(), end_s))
    key = unchanged.get(version, key)  # the same texts as the cache has, rather than copies of them
    page.entries.add(key, event, hash(series_id) if series_id else 0, version, int(end_s))
    if item.get("visibility") in _PRIVATE and page.role in SEES_NO_DETAILS and "summary" not in item:
        page.hidden += 1
    if version in unchanged:
        page.same.append(key)
    else:
        item_type = (CalendarItemType.SINGLE if not occurrence else
                     CalendarItemType.EXCEPTION if was_moved else CalendarItemType.OCCURRENCE)
        page.fresh.append(_invitation(item, key, start, max(start, end), item_type))


def _invitation(item: dict[str, Any], key: tuple[str, str], start: datetime, end: datetime,
                item_type: CalendarItemType) -> Invitation:
    """An event as an invitation. A booking that the room has declined does not take place in it."""
    uid, occurrence = key
    return Invitation(
        uid=uid, occurrence=occurrence, start_time=start, end_time=end, item_type=item_type,
        subject=_text(item.get("summary")), location=_text(item.get("location")),
        body_text=_text(item.get("description")),  # text or HTML: the rules tell which
        organizer=_organizer(item), is_private=item.get("visibility") in _PRIVATE,
        is_all_day="date" in _mapping(item.get("start")),
        is_cancelled=item.get("status") == "cancelled" or _is_declined(item),
        free_busy=(FreeBusyStatus.FREE if item.get("transparency") == "transparent" else
                   FreeBusyStatus.TENTATIVE if item.get("status") == "tentative" else FreeBusyStatus.BUSY),
        created_time=_time_or_none(item.get("created")), last_modified_time=_time_or_none(item.get("updated")),
        properties={"google": item})


def _organizer(item: Mapping[str, Any]) -> Organizer:
    """Who organizes; where that is the room's own calendar, who made the booking."""
    organizer, creator = _mapping(item.get("organizer")), _mapping(item.get("creator"))
    who = creator if organizer.get("self") is True and creator and creator.get("self") is not True else organizer
    return Organizer(_text(who.get("displayName")), _text(who.get("email")))


def _is_declined(item: Mapping[str, Any]) -> bool:
    attendees = item.get("attendees")
    for attendee in map(_mapping, attendees if isinstance(attendees, list) else ()):
        if attendee.get("self") is True:
            return bool(attendee.get("responseStatus") == "declined")
    return False


def _occurrence(original: Any, start: datetime) -> str:
    """The original start of an occurrence; of an all-day one its date, in whatever zone the calendar is."""
    day = _mapping(original).get("date")
    if isinstance(day, str):
        return date.fromisoformat(day).strftime("%Y%m%dT000000Z")
    iso = start.isoformat()  # a third of what strftime takes
    return f"{iso[:4]}{iso[5:7]}{iso[8:13]}{iso[14:16]}{iso[17:19]}Z"


def _time(value: Any, zone: tzinfo) -> datetime:
    """`{dateTime, timeZone}` or the `{date}` of an all-day event, which is one of the calendar's zone.

    :raises ValueError: it is neither; OverflowError where it is at the ends of time.
    """
    if not isinstance(value, dict):
        raise ValueError("no time")  # noqa: TRY004 - what came is wrong, not what called
    text = value.get("dateTime")
    if isinstance(text, str):
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            name = _text(value.get("timeZone"))
            at = at.replace(tzinfo=_zone(name) if name else zone)
        return at.astimezone(UTC)
    day = date.fromisoformat(_text(value.get("date")))
    return datetime.combine(day, datetime.min.time(), zone).astimezone(UTC)


def _time_or_none(text: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo is not None else None
    except (TypeError, ValueError, OverflowError):
        return None


@lru_cache(maxsize=200)
def _zone(name: str) -> tzinfo:
    """A zone by its IANA name; UTC where there is none of that name."""
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def read_changes(body: bytes, body_limit: int = NO_LIMIT) -> ChangesPage:
    """A page of `changes_url`; of each description `body_limit` characters are kept.

    :raises UnreadableAnswerError: it is none.
    """
    answer = _object(body)
    return ChangesPage(_text(answer.get("accessRole")), _zone(_text(answer.get("timeZone"))),
                       _cut(_items(answer), body_limit), _token(answer, "nextPageToken"),
                       _token(answer, "nextSyncToken"))


def read_free_busy(body: bytes) -> dict[str, bytes | str]:
    """Of each calendar, by its id in lower case, a fingerprint of when it is busy, or the reason of its error.

    :raises UnreadableAnswerError: it is no answer to `free_busy_url`.
    """
    calendars = _object(body).get("calendars")
    if not isinstance(calendars, dict):
        raise UnreadableAnswerError("there is no object `calendars`")
    found: dict[str, bytes | str] = {}
    for name, value in calendars.items():
        calendar = _mapping(value)
        errors, busy = calendar.get("errors"), calendar.get("busy", [])
        if errors:
            found[name.lower()] = _text(_mapping(errors[0]).get("reason") if isinstance(errors, list) else "")
        elif isinstance(busy, list):
            spans = sorted(f"{_mapping(span).get('start')}/{_mapping(span).get('end')}" for span in busy)
            found[name.lower()] = hashlib.sha256("\n".join(spans).encode("utf-8", "surrogatepass")).digest()
    return found


def read_channel(body: bytes) -> tuple[str, datetime | None]:
    """The `resourceId` of a channel that was made, and when it ends where that is told.

    :raises UnreadableAnswerError: it is no channel.
    """
    answer = _object(body)
    resource_id, expiration = _text(answer.get("resourceId")), str(answer.get("expiration", ""))
    if not resource_id:
        raise UnreadableAnswerError("the channel has no `resourceId`")
    if not (expiration.isascii() and expiration.isdecimal() and len(expiration) <= 14):
        return resource_id, None
    return resource_id, _EPOCH + timedelta(milliseconds=int(expiration))


def _object(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnreadableAnswerError("it is not JSON") from error
    if not isinstance(answer, dict):
        raise UnreadableAnswerError("it is no JSON object")
    return answer


def _items(answer: Mapping[str, Any]) -> list[Any]:
    items = answer.get("items", [])
    if not isinstance(items, list):
        raise UnreadableAnswerError("`items` is no list")
    return items


def _cut(items: list[Any], body_limit: int) -> list[Any]:
    """The items, with long descriptions cut."""
    for item in items:
        if isinstance(item, dict) and len(_text(item.get("description"))) > body_limit:
            item["description"] = item["description"][:body_limit]
    return items


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _token(answer: Mapping[str, Any], name: str) -> str:
    """A token to ask on with; without it a part would be taken for the whole."""
    token = answer.get(name) or ""
    if not isinstance(token, str) or len(token) > LONGEST_TOKEN or not (token.isascii() and token.isprintable()):
        raise UnreadableAnswerError(f"`{name}` is no token")
    return token


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
