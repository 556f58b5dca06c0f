"""Requests to Microsoft Graph, written: calendar views, changes of one, free time, subscriptions. Pure.

Source: learn.microsoft.com/graph/api: user-list-calendarview, event-delta, calendar-getschedule,
subscription-post-subscriptions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from otjd.meetings.model import Window
from otjd.protocol.timezones import write_date_time

PUBLIC_STRINGS = "{00020329-0000-0000-C000-000000000046}"

NAMED_PROPERTIES = (
    "SkypeTeamsMeetingUrl", "SkypeTeamsProperties", "TeamsVtcConferenceId", "TeamsVtcTenantId",
    "SchedulingServiceUpdateUrl", "SchedulingServiceMeetingOptionsUrl", "OnlineMeetingConfLink",
    "OnlineMeetingExternalLink", "OnlineMeetingInternalLink", "OnlineMeetingConferenceId", "ConferenceTelURI",
    "OnlineMeetingTollNumber", "UCCapabilities", "UCInband", "UCMeetingSetting")
"""What Teams and Skype for Business leave in an event for programs to read."""

MARK_FIELDS = ("id", "changeKey", "start", "end")
EVENT_FIELDS = (*MARK_FIELDS, "iCalUId", "seriesMasterId", "type", "originalStart", "originalStartTimeZone",
                "subject", "location", "organizer", "body", "isAllDay", "isCancelled", "sensitivity", "showAs",
                "responseStatus", "onlineMeeting", "onlineMeetingUrl")
"""Not createdDateTime and lastModifiedDateTime: calendarView does not give them with $select."""

MARK_PAGE = 500
EVENT_PAGE = 50
DELTA_PAGE = 200

IMMUTABLE_ID = 'IdType="ImmutableId"'
UTC_TIMES = 'outlook.timezone="UTC"'
HTML_BODIES = 'outlook.body-content-type="html"'

SCHEDULE_LONGEST = timedelta(days=62)
SCHEDULE_STEP_MIN = 30

SUBSCRIPTION_LIFE = timedelta(minutes=4220)
"""Ten minutes less than Graph allows: its clock may be behind, and it refuses what ends too late."""
CHANGES = "created,updated,deleted"


@dataclass(frozen=True, slots=True)
class GraphRequest:
    """One request, without its token. `is_repeatable`: it does the same when it arrives twice."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    is_repeatable: bool = True


class GraphApi:
    """Requests to the Graph at `domain`, a host that may carry a port."""

    def __init__(self, domain: str) -> None:
        self.base = f"https://{domain}/v1.0"

    def marks(self, room: str, window: Window, page_size: int = MARK_PAGE) -> GraphRequest:
        """What tells whether the events in a window are still the same ones."""
        return self._view(room, window, {"$select": ",".join(MARK_FIELDS), "$top": page_size}, UTC_TIMES)

    def events(self, room: str, window: Window, page_size: int = EVENT_PAGE) -> GraphRequest:
        """The events in a window, with their bodies and named properties."""
        named = " or ".join(f"id eq '{property_id(name)}'" for name in NAMED_PROPERTIES)
        return self._view(room, window, {
            "$select": ",".join(EVENT_FIELDS), "$expand": f"singleValueExtendedProperties($filter={named})",
            "$top": page_size}, UTC_TIMES, HTML_BODIES)

    def _view(self, room: str, window: Window, options: Mapping[str, object], *preferences: str) -> GraphRequest:
        query = _query({**_span(window), **options})
        return GraphRequest("GET", f"{self._user(room)}/calendarView?{query}", _prefer(IMMUTABLE_ID, *preferences))

    def delta(self, room: str, window: Window) -> GraphRequest:
        """The beginning of a round of changes; a window is fixed for all that follow."""
        return GraphRequest("GET", f"{self._user(room)}/calendarView/delta?{_query(_span(window))}",
                            _delta_preferences())

    def follow(self, link: str, request: GraphRequest) -> GraphRequest:
        """The next page of an answer to `request`, or the next round of changes.

        :raises ValueError: it leads elsewhere; the token must not go there.
        """
        there = urlsplit(link)
        if _server(link) != _server(self.base) or not there.path.startswith("/v1.0/"):
            raise ValueError(f"found a link to {there.scheme}://{there.hostname}{there.path}"[:200]
                             + f", expected one that begins with {self.base}/")
        return GraphRequest("GET", link, request.headers)

    def resume(self, link: str) -> GraphRequest:
        """The next round of changes.

        :raises ValueError: as `follow` does.
        """
        return self.follow(link, GraphRequest("GET", link, _delta_preferences()))

    def schedules(self, mailbox: str, rooms: Sequence[str], window: Window) -> GraphRequest:
        """When rooms are busy, asked in the name of a mailbox; of long windows the first 62 days."""
        body = {"schedules": list(rooms), "startTime": _moment(window.start),
                "endTime": _moment(min(window.end, window.start + SCHEDULE_LONGEST)),
                "availabilityViewInterval": SCHEDULE_STEP_MIN}
        return self._send("POST", f"{self._user(mailbox)}/calendar/getSchedule", body, UTC_TIMES)

    def subscribe(self, room: str, notification_url: str, client_state: str, expires: datetime) -> GraphRequest:
        """Ask to be told of changes of a room."""
        body = {"changeType": CHANGES, "notificationUrl": notification_url,
                "lifecycleNotificationUrl": notification_url, "resource": f"/users/{room}/events",
                "expirationDateTime": write_date_time(expires), "clientState": client_state}
        return self._send("POST", f"{self.base}/subscriptions", body, IMMUTABLE_ID, is_repeatable=False)

    def renew(self, subscription: str, expires: datetime) -> GraphRequest:
        """Let a subscription live on; this authorizes it again as well."""
        return self._send("PATCH", self._subscription(subscription),
                          {"expirationDateTime": write_date_time(expires)})

    def unsubscribe(self, subscription: str) -> GraphRequest:
        """End a subscription."""
        return GraphRequest("DELETE", self._subscription(subscription))

    def _send(self, method: str, url: str, body: Mapping[str, Any], *preferences: str,
              is_repeatable: bool = True) -> GraphRequest:
        headers = {"Content-Type": "application/json", **(_prefer(*preferences) if preferences else {})}
        return GraphRequest(method, url, headers, json.dumps(body).encode(), is_repeatable)

    def _user(self, room: str) -> str:
        return f"{self.base}/users/{quote(room, safe='@')}"

    def _subscription(self, subscription: str) -> str:
        return f"{self.base}/subscriptions/{quote(subscription, safe='')}"


def _server(url: str) -> tuple[str, str]:
    """Scheme and host, with the port where it is not the usual one.

    :raises ValueError: there are none.
    """
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower().removesuffix(":443")


def property_id(name: str) -> str:
    """How Graph names one of the named properties."""
    return f"String {PUBLIC_STRINGS} Name {name}"


def _query(options: Mapping[str, object]) -> str:
    return urlencode(options, safe="$,:", quote_via=quote)


def _span(window: Window) -> dict[str, object]:
    return {"startDateTime": write_date_time(window.start), "endDateTime": write_date_time(window.end)}


def _prefer(*preferences: str) -> dict[str, str]:
    return {"Prefer": ", ".join(preferences)}


def _delta_preferences() -> dict[str, str]:
    return _prefer(IMMUTABLE_ID, UTC_TIMES, f"odata.maxpagesize={DELTA_PAGE}")


def _moment(time: datetime) -> dict[str, str]:
    return {"dateTime": write_date_time(time).removesuffix("Z"), "timeZone": "UTC"}
