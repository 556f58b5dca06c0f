"""Calendar views of Microsoft Graph, read: pages of events, what tells whether one changed, and invitations. Pure.

Source: the `event` of Graph v1.0; [MS-OXOCAL] 2.2.1.27 for global object ids.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from otjd.meetings.model import CalendarItemType, FreeBusyStatus, Invitation, Organizer
from otjd.protocol.timezones import read_date_time, time_zone

LONGEST_LINK = 16_000
TEXT_LIMIT = 2_000
"""Characters of a subject, a location or a name that are kept; Exchange allows 255."""

PROPERTY_LIMIT = 16_000
PROPERTIES_LIMIT = 50
_MARK_BYTES = 12
_TYPES = {"singleInstance": CalendarItemType.SINGLE, "occurrence": CalendarItemType.OCCURRENCE,
          "exception": CalendarItemType.EXCEPTION}
_FREE_BUSY = {"free": FreeBusyStatus.FREE, "workingElsewhere": FreeBusyStatus.FREE,
              "tentative": FreeBusyStatus.TENTATIVE}
_GLOBAL_ID = re.compile(r"(040000008200E00074C5B7101A82E008)[0-9A-F]{8}([0-9A-F]{40,})", re.IGNORECASE)
_RULES_READ = ("type", "sensitivity", "onlineMeetingUrl")
_UTC = {"utc", "etc/utc", "tzone://microsoft/utc", ""}

Mark = bytes
"""Stands for one event as it is: another one where the event has changed in any way."""

Occurrence = tuple[str, str]
"""`uid` and `occurrence` of an Invitation."""


class GraphFormatError(ValueError):
    """An answer that is not what Graph answers; the text says what was found and what is expected."""


@dataclass(frozen=True, slots=True)
class MarkPage:
    """A page of marks. `known` are those that were known, `changed` the times of the events behind the others."""

    known: Mapping[Mark, Occurrence]
    changed: tuple[tuple[datetime, datetime], ...]
    next_link: str = ""


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of events: those that were known, new or changed ones, and what is wrong with others."""

    known: Mapping[Mark, Occurrence]
    changed: tuple[tuple[Mark, Invitation], ...]
    problems: tuple[str, ...] = ()
    next_link: str = ""


@dataclass(frozen=True, slots=True)
class DeltaPage:
    """A page of changes: how many entries it has, and the link to the next page or the next round."""

    changes: int
    next_link: str = ""
    delta_link: str = ""


def read_object(body: bytes) -> dict[str, Any]:
    """A JSON object.

    :raises GraphFormatError: it is none.
    """
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise GraphFormatError("Graph answered with something else than a JSON object: is graph_api_domain right?")
    return found


def read_marks(body: bytes, known: Mapping[Mark, Occurrence]) -> MarkPage:
    """A page of what `GraphApi.marks` asks for; `known` are the marks of the reading before.

    :raises GraphFormatError: it is no page.
    """
    page = read_object(body)
    unchanged: dict[Mark, Occurrence] = {}
    changed: list[tuple[datetime, datetime]] = []
    for event in _events(page):
        mark = _mark(event)
        if mark in known:
            unchanged[mark] = known[mark]
            continue
        try:
            changed.append(_times(event))
        except ValueError:
            continue  # it is told of when it is read with the rest
    return MarkPage(unchanged, tuple(changed), _link(page, "@odata.nextLink"))


def read_events(body: bytes, known: Mapping[Mark, Occurrence], body_limit: int) -> EventPage:
    """A page of what `GraphApi.events` asks for; of each body `body_limit` characters are kept.

    :raises GraphFormatError: it is no page.
    """
    page = read_object(body)
    unchanged: dict[Mark, Occurrence] = {}
    changed: list[tuple[Mark, Invitation]] = []
    problems: list[str] = []
    for event in _events(page):
        mark = _mark(event)
        if mark in known:
            unchanged[mark] = known[mark]
        elif event.get("type") != "seriesMaster":
            try:
                changed.append((mark, _invitation(event, body_limit)))
            except ValueError as error:
                problems.append(f"{_text(event.get('subject'))[:80]!r}: {error}")
    return EventPage(unchanged, tuple(changed), tuple(problems), _link(page, "@odata.nextLink"))


def read_delta(body: bytes) -> DeltaPage:
    """A page of changes.

    :raises GraphFormatError: it is no page.
    """
    page = read_object(body)
    changes = sum(1 for _ in _events(page))
    return DeltaPage(changes, _link(page, "@odata.nextLink"), _link(page, "@odata.deltaLink"))


def _events(page: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    value = page.get("value")
    if not isinstance(value, list):
        raise GraphFormatError("Graph answered without a list named value: is graph_api_domain right?")
    return (entry for entry in value if isinstance(entry, dict))


def _link(page: Mapping[str, Any], name: str) -> str:
    link = page.get(name) or ""
    if not isinstance(link, str) or len(link) > LONGEST_LINK or not (link.isascii() and link.isprintable()):
        raise GraphFormatError(f"`{name}` is no link")  # without it a part would be taken for the whole
    return link


def _mark(event: Mapping[str, Any]) -> Mark:
    """The change key counts up with every change; of a series it is that of all, so the times go in too."""
    parts = (_text(event.get("id")), _text(event.get("changeKey") or event.get("@odata.etag")),
             *(_text(_object(event.get(name)).get(part)) for name in ("start", "end")
               for part in ("dateTime", "timeZone")))
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=_MARK_BYTES).digest()


def _times(event: Mapping[str, Any]) -> tuple[datetime, datetime]:
    start, end = (_moment(event.get(name), name) for name in ("start", "end"))
    return start, max(start, end)


def _moment(value: Any, name: str) -> datetime:
    given = _object(value)
    zone = named_zone(_text(given.get("timeZone")))
    if zone is None:
        raise ValueError(f"its {name} is in the time zone {given.get('timeZone')!r:.60}, expected UTC")
    return read_date_time(_text(given.get("dateTime")), zone)


@lru_cache(maxsize=256)
def named_zone(name: str) -> tzinfo | None:
    """The zone of a Windows or IANA name; None for another."""
    if name.lower() in _UTC:
        return UTC
    zone = time_zone(name)
    if zone is None:
        try:
            zone = ZoneInfo(name)
        except (ValueError, OSError, LookupError):
            return None
    return zone


def _invitation(event: Mapping[str, Any], body_limit: int) -> Invitation:
    start, end = _times(event)
    is_all_day = event.get("isAllDay") is True
    if is_all_day:
        start, end = _as_local_days(event, start, end)
    item_type = _TYPES.get(_text(event.get("type")), CalendarItemType.SINGLE)
    html, text = _body(event.get("body"), body_limit)
    return Invitation(
        uid=_uid(event), occurrence="" if item_type is CalendarItemType.SINGLE else _occurrence(event, start),
        start_time=start, end_time=end, subject=_text(event.get("subject")).strip()[:TEXT_LIMIT],
        location=_text(_object(event.get("location")).get("displayName")).strip()[:TEXT_LIMIT],
        body_html=html, body_text=text, organizer=_organizer(event.get("organizer")),
        is_private=event.get("sensitivity") in ("private", "confidential"), is_all_day=is_all_day,
        is_cancelled=event.get("isCancelled") is True or _is_declined(event),
        item_type=item_type, free_busy=_FREE_BUSY.get(_text(event.get("showAs")), FreeBusyStatus.BUSY),
        properties={"graph": _properties(event)})


def _as_local_days(event: Mapping[str, Any], start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Whole days begin at midnight where they were booked; Graph shows them at that hour in whatever zone."""
    zone = named_zone(_text(event.get("originalStartTimeZone")))
    if zone is None or start.time() != time() or end.time() != time():
        return start, end
    return (start.replace(tzinfo=zone).astimezone(UTC), end.replace(tzinfo=zone).astimezone(UTC))


def _uid(event: Mapping[str, Any]) -> str:
    """What is the same for all occurrences: of an Exchange id the date of the occurrence is taken out."""
    given = _text(event.get("iCalUId"))
    match = _GLOBAL_ID.fullmatch(given)
    uid = f"{match[1]}00000000{match[2]}".upper() if match else given
    uid = uid or _text(event.get("seriesMasterId")) or _text(event.get("id"))
    if not uid:
        raise ValueError("it has neither iCalUId nor id")
    return uid[:TEXT_LIMIT]


def _occurrence(event: Mapping[str, Any], start: datetime) -> str:
    try:
        original = read_date_time(_text(event.get("originalStart")))
    except ValueError:
        original = start
    return original.strftime("%Y%m%dT%H%M%SZ")


def _is_declined(event: Mapping[str, Any]) -> bool:
    return _object(event.get("responseStatus")).get("response") == "declined"


def _body(value: Any, limit: int) -> tuple[str, str]:
    """The body as HTML and as text, of which one is empty."""
    content = _text(_object(value).get("content"))[:limit]
    return ("", content) if _text(_object(value).get("contentType")).lower() == "text" else (content, "")


def _organizer(value: Any) -> Organizer:
    found = _object(_object(value).get("emailAddress"))
    address = _text(found.get("address"))[:TEXT_LIMIT]
    # of somebody whom the directory does not know any more it is one of X.500
    return Organizer(_text(found.get("name"))[:TEXT_LIMIT], address if "@" in address else "")


def _properties(event: Mapping[str, Any]) -> dict[str, Any]:
    """The members of an event that rules read."""
    found: dict[str, Any] = {name: event[name][:PROPERTY_LIMIT] for name in _RULES_READ
                             if isinstance(event.get(name), str)}
    join_url = _object(event.get("onlineMeeting")).get("joinUrl")
    if isinstance(join_url, str):
        found["onlineMeeting"] = {"joinUrl": join_url[:PROPERTY_LIMIT]}
    named = event.get("singleValueExtendedProperties")
    if isinstance(named, list):
        found["singleValueExtendedProperties"] = [
            {"id": _text(entry.get("id"))[:200], "value": entry["value"][:PROPERTY_LIMIT]}
            for entry in map(_object, named[:PROPERTIES_LIMIT]) if isinstance(entry.get("value"), str)]
    return found


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
