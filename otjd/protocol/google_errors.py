"""Errors of the Google Calendar API v3, told apart, in words for the operator (Google's guide to API errors)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

_SHOWN_LIMIT = 300


class Concern(Enum):
    """What an error asks of whoever sent the request."""

    ROOM = auto()
    """This calendar cannot be read; others can."""

    PATIENCE = auto()
    """Too many requests: wait a little, then longer."""

    LONG_PATIENCE = auto()
    """A quota is spent: wait long."""

    TOKEN = auto()
    """The access token is not valid: get another one."""

    SIGN_IN = auto()
    """A person must act before anything can be read."""

    FULL_SYNC = auto()
    """The sync token is no longer valid."""

    RANGE = auto()
    """The window is longer than may be asked for."""

    PUSH = auto()
    """Notifications cannot be had like this."""

    LATER = auto()
    """The server failed; worth another attempt."""

    REQUEST = auto()
    """The request was not understood."""


@dataclass(frozen=True, slots=True)
class Problem:
    """An error: what it concerns, Google's own reason for it, and words."""

    concern: Concern
    reason: str
    words: str


_SHARE = ("open its settings in Google Calendar and share it with {account} with the permission "
          "'See all event details', or 'Make changes to events' for the details of private meetings")
_NOT_SHARED = ("Google knows no calendar {room} that is shared with {account}: check the address; where it is "
               f"right, {_SHARE}")
_ONLY_TIMES = "{account} may only see when {room} is busy: " + _SHARE
_NO_SCOPE = "The sign-in of {account} does not include Google Calendar: sign in again and allow calendars"
_NOT_ENABLED = ("The Google Calendar API is not enabled in the project: enable it in the Google Cloud console "
                "under APIs & Services")
_REFUSED = "Google does not accept the access token of {account}"
_OF_PROJECT = "More requests in a minute than Google allows the project"
_OF_USER = "More requests in a minute than Google allows a user"
_OF_DAY = ("The project's requests of the day are spent: raise its quota in the Google Cloud console, or lower "
           "maximum_number_of_api_requests")
_POLICY = "A policy of the Workspace's administrator keeps {account} from its calendars"

_REASONS: dict[str, tuple[Concern, str]] = {
    "notFound": (Concern.ROOM, _NOT_SHARED),
    "deleted": (Concern.ROOM, "The calendar {room} was deleted"),
    "requiredAccessLevel": (Concern.ROOM, _ONLY_TIMES),
    "forbidden": (Concern.ROOM, _NOT_SHARED),
    "fullSyncRequired": (Concern.FULL_SYNC, "The sync token of {room} is no longer valid"),
    "updatedMinTooLongAgo": (Concern.FULL_SYNC, "The sync token of {room} is too old"),
    "timeRangeTooLong": (Concern.RANGE, "The window is longer than Google allows"),
    "userRateLimitExceeded": (Concern.PATIENCE, _OF_USER),
    "rateLimitExceeded": (Concern.PATIENCE, _OF_PROJECT),
    "RATE_LIMIT_EXCEEDED": (Concern.PATIENCE, _OF_PROJECT),
    "quotaExceeded": (Concern.LONG_PATIENCE, "Google's usage limits of calendars are exceeded"),
    "dailyLimitExceeded": (Concern.LONG_PATIENCE, _OF_DAY),
    "authError": (Concern.TOKEN, _REFUSED),
    "insufficientPermissions": (Concern.SIGN_IN, _NO_SCOPE),
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": (Concern.SIGN_IN, _NO_SCOPE),
    "accessNotConfigured": (Concern.SIGN_IN, _NOT_ENABLED),
    "SERVICE_DISABLED": (Concern.SIGN_IN, _NOT_ENABLED),
    "domainPolicy": (Concern.SIGN_IN, _POLICY),
    "push.webhookUrlUnauthorized": (Concern.PUSH, "Google does not deliver to notification_url"),
    "push.webhookUrlNotHttps": (Concern.PUSH, "notification_url must begin with https://"),
    "pushNotSupportedForRequestedResource": (Concern.PUSH, "Google sends no notifications of {room}"),
}
_STATUSES: dict[int, tuple[Concern, str]] = {
    401: (Concern.TOKEN, _REFUSED),
    403: (Concern.ROOM, "{account} may not read {room}"),
    404: (Concern.ROOM, _NOT_SHARED),
    410: (Concern.FULL_SYNC, "What was asked for of {room} is not there any more"),
    429: (Concern.PATIENCE, "Google asks for patience"),
}


def problem_of(status: int, body: bytes, *, account: str, room: str = "") -> Problem:
    """What an answer means that is neither 200 nor 204. `account` is who asks, `room` what was asked for."""
    reasons, message, is_google = _said(body)
    known = next((reason for reason in reasons if reason in _REASONS), "")
    reason = known or (reasons[0] if reasons else "")
    if status >= 500:
        concern, words = Concern.LATER, "Google Calendar cannot answer at present"
    elif known:
        concern, words = _REASONS[known]
    elif reason.startswith("push"):
        concern, words = Concern.PUSH, "Google makes no channel for notifications"
    elif not is_google and status not in (401, 429):
        concern, words = Concern.REQUEST, "What answers is not the Google Calendar API: is api_url right?"
    else:
        concern, words = _STATUSES.get(status, (Concern.REQUEST, "Google Calendar refused the request"))
    said = f"{status} {reason}".strip() + (f": {message}" if message else "")
    return Problem(concern, reason, f"{words.format(account=account, room=room or 'of the room')} ({said})")


def only_times(account: str, room: str) -> str:
    """What is said of a room whose calendar shows us nothing but times."""
    return _ONLY_TIMES.format(account=account, room=room)


def _said(body: bytes) -> tuple[list[str], str, bool]:
    """The reasons of an error, its message, and whether the body is one of Google's errors at all."""
    try:
        answer: Any = json.loads(body)
    except (ValueError, RecursionError):
        return [], "", False
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        return [], "", False
    message = error.get("message")
    return (list(_reasons(error)), " ".join(message.split())[:_SHOWN_LIMIT] if isinstance(message, str) else "",
            True)


def _reasons(error: dict[str, Any]) -> Iterator[str]:
    for name in ("details", "errors"):
        entries = error.get(name)
        for entry in entries[:20] if isinstance(entries, list) else ():
            reason = entry.get("reason") if isinstance(entry, dict) else None
            if isinstance(reason, str):
                yield reason[:100]
