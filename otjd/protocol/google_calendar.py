"""Requests of the Google Calendar API v3: addresses and bodies (its discovery document, revision 20261030)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

from otjd.meetings.model import Window

EVENTS_A_PAGE = 2500
"""The most that Google gives at once."""

CALENDARS_A_SWEEP = 50
"""The most calendars of one free/busy query (calendarExpansionMax)."""

REQUESTS_A_MINUTE = 10_000
"""Google's limit for a project; for one user of it, which each `quotaUser` counts as, USER_REQUESTS_A_MINUTE."""

USER_REQUESTS_A_MINUTE = 600
CHANNEL_LIFE = timedelta(seconds=604_800)

_ENTRY_POINT = "entryPointType,uri,label,pin,accessCode,meetingCode,passcode,password,regionCode"
_EVENT = ("id,etag,status,eventType,summary,description,location,start,end,iCalUID,recurringEventId,"
          "originalStartTime,organizer(email,displayName,self),creator(email,displayName,self),visibility,"
          "transparency,created,updated,hangoutLink,attendees(self,responseStatus),extendedProperties,"
          f"conferenceData(conferenceId,conferenceSolution(key,name),entryPoints({_ENTRY_POINT}))")
EVENT_FIELDS = f"accessRole,timeZone,nextPageToken,items({_EVENT})"
CHANGE_FIELDS = f"accessRole,timeZone,nextPageToken,nextSyncToken,items({_EVENT},recurrence)"


def quota_user(room: str) -> str:
    """What stands for a room where Google counts requests by user: 40 characters, the most it takes."""
    return hashlib.sha256(room.strip().lower().encode("utf-8", "surrogatepass")).hexdigest()[:40]


def stamp(at: datetime) -> str:
    """A time of RFC 3339 in UTC, whole seconds."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def events_url(api_url: str, room: str, window: Window, page_token: str = "", *,
               page_size: int = EVENTS_A_PAGE) -> str:
    """The occurrences in a window, those that were cancelled left out.

    `timeMin` bounds the end of events from below, `timeMax` their start from above, both exclusive.
    """
    return _url(api_url, f"{_calendar(room)}/events", room, {
        "singleEvents": "true", "orderBy": "startTime", "timeMin": stamp(window.start),
        "timeMax": stamp(window.end + timedelta(seconds=1)), "maxResults": str(page_size),
        "maxAttendees": "1", "pageToken": page_token, "fields": EVENT_FIELDS})


def changes_url(api_url: str, room: str, *, since: datetime | None = None, sync_token: str = "",
                page_token: str = "", page_size: int = EVENTS_A_PAGE) -> str:
    """What changed after `sync_token`, series not expanded; without one the first round, which gives a token for
    what ends after `since`."""
    return _url(api_url, f"{_calendar(room)}/events", room, {
        "maxResults": str(page_size), "maxAttendees": "1", "syncToken": sync_token,
        "timeMin": stamp(since) if since is not None and not sync_token else "",
        "pageToken": page_token, "fields": CHANGE_FIELDS})


def free_busy_url(api_url: str, rooms: Sequence[str]) -> str:
    """When rooms are busy; counted for the first of them."""
    return _url(api_url, "freeBusy", rooms[0] if rooms else "", {"fields": "calendars"})


def free_busy_body(rooms: Sequence[str], window: Window) -> bytes:
    """The body for `free_busy_url`, for at most CALENDARS_A_SWEEP rooms."""
    return json.dumps({"timeMin": stamp(window.start), "timeMax": stamp(window.end), "timeZone": "UTC",
                       "calendarExpansionMax": CALENDARS_A_SWEEP,
                       "items": [{"id": room} for room in rooms]}).encode()


def watch_url(api_url: str, room: str) -> str:
    """Where a channel for the changes of a room is made."""
    return _url(api_url, f"{_calendar(room)}/events/watch", room, {})


def watch_body(channel_id: str, token: str, address: str) -> bytes:
    """The body for `watch_url`: an id of at most 64 characters, a token of at most 256, an https address."""
    return json.dumps({"id": channel_id, "type": "web_hook", "address": address, "token": token,
                       "params": {"ttl": str(int(CHANNEL_LIFE.total_seconds()))}}).encode()


def stop_url(api_url: str, room: str) -> str:
    """Where a channel is ended."""
    return _url(api_url, "channels/stop", room, {})


def stop_body(channel_id: str, resource_id: str) -> bytes:
    """The body for `stop_url`."""
    return json.dumps({"id": channel_id, "resourceId": resource_id}).encode()


def _calendar(room: str) -> str:
    return f"calendars/{quote(room, safe='')}"


def _url(api_url: str, path: str, room: str, parameters: dict[str, str]) -> str:
    given = {name: value for name, value in parameters.items() if value}
    query = urlencode({**given, "quotaUser": quota_user(room), "prettyPrint": "false"})
    return f"{api_url.rstrip('/')}/{path}?{query}"
