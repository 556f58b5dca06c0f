"""`events.list`: full and incremental lists of a room's events, in pages, with sync tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from random import Random
from typing import Any

from otjd.meetings.model import Window
from otjd.simulate.calendars import Booking
from otjd.simulate.google_entries import ALWAYS, Entry, Journal, expanded, unexpanded
from otjd.simulate.google_errors import GoogleError
from otjd.simulate.google_events import EventWriter, etag, with_milliseconds
from otjd.simulate.google_settings import GoogleSettings, Role

DEFAULT_PAGE = 250
LARGEST_PAGE = 2500
OLDEST_UPDATE = timedelta(days=28)
"""How far in the past `updatedMin` may lie."""

_SEARCHES = ("iCalUID", "privateExtendedProperty", "q", "sharedExtendedProperty", "updatedMin")
_NEVER_WITH_SYNC_TOKEN = (*_SEARCHES, "timeMin", "timeMax")
_BRING_NO_SYNC_TOKEN = (*_SEARCHES, "orderBy")
_MUST_STAY = ("eventTypes", "maxAttendees", "showHiddenInvitations", "singleEvents")
_MAY_DIFFER = frozenset({"alt", "fields", "key", "maxResults", "pageToken", "prettyPrint", "quotaUser", "userIp"})

Key = tuple[str, str]


class Seals:
    """Makes and reads tokens that mean nothing to who holds them, and cannot be made by others."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def close(self, kind: str, values: list[Any]) -> str:
        """A token of these values."""
        data = json.dumps([kind, *values], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._sign(data) + data).decode()

    def open(self, kind: str, token: str) -> list[Any]:
        """The values of a token.

        :raises ValueError: it is none of this kind.
        """
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        signature, data = raw[:9], raw[9:]
        if not hmac.compare_digest(signature, self._sign(data)):
            raise ValueError("not one of ours")
        found, *values = json.loads(data)
        if found != kind:
            raise ValueError(f"a token of kind {found}")
        return list(values)

    def _sign(self, data: bytes) -> bytes:
        return hmac.digest(self._secret, data, hashlib.sha256)[:9]


class EventLists:
    """Answers `events.list`."""

    def __init__(self, settings: GoogleSettings, *, now: Callable[[], datetime], secret: bytes, seed: int) -> None:
        self._settings = settings
        self._now = now
        self._seals = Seals(secret)
        self._random = Random(seed)  # noqa: S311 - which pages are short
        self._issued = 0
        self._first_valid: dict[str, int] = {}

    def expire_sync_tokens(self, room: str = "") -> None:
        """Have no sync token of a room, or of any, be valid any more."""
        self._first_valid[room] = self._issued + 1

    def answer(self, room: str, journal: Journal, role: Role, values: Mapping[str, Any],
               zone: tzinfo) -> dict[str, Any]:
        """A page of the events of a room.

        :raises GoogleError: the parameters do not go together, or a token is not valid (any more).
        """
        self._check(values)
        marks = journal.marks()
        since = self._since(room, values) if "syncToken" in values else None
        after, revision = self._position(room, values, journal.revision)
        found = self._entries(marks, values, since)
        ordered = sorted(((_key(e, values), e) for e in found), key=lambda pair: pair[0])
        rest = (pair for pair in ordered if after is None or pair[0] > after)
        size = min(values.get("maxResults", DEFAULT_PAGE), LARGEST_PAGE)
        page = list(islice(rest, size + 1))
        more = len(page) > size
        if more and self._settings.short_pages and self._random.random() < self._settings.short_pages:
            size = self._random.randrange(size)
        page = page[:size]
        writer = EventWriter(room, role, zone, attendees=self._settings.attendees,
                             max_attendees=values.get("maxAttendees"))
        updated = max((m.updated for m in marks), default=datetime(2020, 1, 1, tzinfo=UTC))
        answer = {
            "kind": "calendar#events", "etag": etag(journal.revision), "summary": room,
            "updated": with_milliseconds(updated),
            "timeZone": str(zone), "accessRole": role, "defaultReminders": [],
            "items": [writer.write(entry) for _, entry in page]}
        if more:
            last = page[-1][0] if page else after
            return answer | {"nextPageToken": self._seals.close("page", [room, _digest(values), revision, last])}
        if not any(name in values for name in _BRING_NO_SYNC_TOKEN):
            answer["nextSyncToken"] = self._sync_token(room, values, revision)
        return answer

    def _check(self, values: Mapping[str, Any]) -> None:
        if "syncToken" in values:
            if "orderBy" in values:
                raise GoogleError(400, "syncTokenWithNonDefaultOrdering")
            if any(name in values for name in _NEVER_WITH_SYNC_TOKEN) or values.get("showDeleted") is False:
                raise GoogleError(400, "syncTokenWithRequestRestrictions")
        if values.get("orderBy") == "startTime" and not values.get("singleEvents"):
            raise GoogleError(400, "badRequest",
                              "The requested ordering is not available for the particular query.")
        if "timeMin" in values and "timeMax" in values and values["timeMin"] >= values["timeMax"]:
            raise GoogleError(400, "timeRangeEmpty", location="timeMax")
        if "updatedMin" in values and values["updatedMin"] < self._now() - OLDEST_UPDATE:
            raise GoogleError(410, "updatedMinTooLongAgo", location="updatedMin")

    def _entries(self, marks: tuple[Any, ...], values: Mapping[str, Any], since: int | None) -> list[Entry]:
        window = ALWAYS
        if since is None:
            window = Window(values.get("timeMin", window.start), values.get("timeMax", window.end))
        updated = values.get("updatedMin")
        deleted = since is not None or updated is not None or values.get("showDeleted", False)
        changed = [m for m in marks if since is None or m.touched > since]
        if values.get("singleEvents", False):
            now = self._now()
            found = [e for m in changed for e in expanded(m, window, since or 0, now, deleted=deleted)]
        else:
            found = [e for m in changed for e in unexpanded(m, window, since or 0, deleted=deleted)]
        if updated is not None:
            found = [e for e in found if e.updated >= updated]
        if "default" not in values.get("eventTypes", ("default",)):
            return []
        if "iCalUID" in values:
            found = [e for e in found if e.booking.uid == values["iCalUID"]]
        if any(name in values for name in ("privateExtendedProperty", "sharedExtendedProperty")):
            return []  # no booking has any
        if "q" in values:
            found = [e for e in found if _mentions(e.booking, values["q"])]
        return found

    def _position(self, room: str, values: Mapping[str, Any], revision: int) -> tuple[Key | None, int]:
        """What the last page ended with, and the revision that the first page was made at."""
        if "pageToken" not in values:
            return None, revision
        try:
            of, digest, first, last = self._seals.open("page", values["pageToken"])
        except ValueError:
            of, digest, first, last = "", "", 0, None
        if of != room or digest != _digest(values):
            raise GoogleError(400, "invalid", "Invalid page token value.", location="pageToken")
        return (None if last is None else (last[0], last[1])), first

    def _sync_token(self, room: str, values: Mapping[str, Any], revision: int) -> str:
        self._issued += 1
        return self._seals.close("sync", [room, _settled(values), revision, self._issued, self._now().timestamp()])

    def _since(self, room: str, values: Mapping[str, Any]) -> int:
        try:
            of, settled, revision, issued, at = self._seals.open("sync", values["syncToken"])
        except ValueError:
            of, settled, revision, issued, at = "", "", 0, 0, 0.0
        oldest = max(self._first_valid.get(room, 0), self._first_valid.get("", 0))
        life = self._settings.sync_token_life.total_seconds()
        if of != room or issued < oldest or self._now().timestamp() >= at + life:
            raise GoogleError(410, "fullSyncRequired", location="syncToken")
        if settled != _settled(values):
            raise GoogleError(400, "syncTokenWithRequestRestrictions")
        return int(revision)


def _key(entry: Entry, values: Mapping[str, Any]) -> Key:
    match values.get("orderBy"):
        case "startTime":
            return entry.booking.start_time.isoformat(), entry.id
        case "updated":
            return entry.updated.isoformat(timespec="microseconds"), entry.id
        case _:
            return "", entry.id


def _settled(values: Mapping[str, Any]) -> str:
    return json.dumps([values.get(name) or None for name in _MUST_STAY], default=str)


def _digest(values: Mapping[str, Any]) -> str:
    of = {name: str(value) for name, value in values.items() if name not in _MAY_DIFFER}
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:16]


def _mentions(booking: Booking, words: str) -> bool:
    text = " ".join((booking.subject, booking.location, booking.body_html, booking.organizer.name,
                     booking.organizer.email)).lower()
    return all(word in text for word in words.lower().split())
