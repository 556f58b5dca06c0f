"""What a simulated Google refuses, in the words and shapes of the Calendar API's errors guide."""

from __future__ import annotations

import json
from collections.abc import Mapping

from otjd.simulate.codec_http import Answer

JSON = b"application/json; charset=UTF-8"
HTML = b"text/html; charset=UTF-8"

_USAGE = frozenset({"userRateLimitExceeded", "rateLimitExceeded", "quotaExceeded", "dailyLimitExceeded",
                    "accessNotConfigured"})
_CALENDAR = frozenset({"fullSyncRequired", "updatedMinTooLongAgo", "timeRangeEmpty", "timeRangeTooLong"})
_MESSAGES = {
    "authError": "Invalid Credentials",
    "backendError": "Backend Error",
    "internalError": "Internal Error",
    "notFound": "Not Found",
    "badRequest": "Bad Request",
    "parseError": "Parse Error",
    "forbidden": "Forbidden",
    "insufficientPermissions": "Insufficient Permission",
    "userRateLimitExceeded": "User Rate Limit Exceeded",
    "rateLimitExceeded": "Rate Limit Exceeded",
    "quotaExceeded": "Calendar usage limits exceeded.",
    "dailyLimitExceeded": "Daily Limit Exceeded",
    "accessNotConfigured": "Google Calendar API has not been used in this project before or it is disabled.",
    "required": "Login Required",
    "fullSyncRequired": "Sync token is no longer valid, a full sync is required.",
    "updatedMinTooLongAgo": "The requested minimum modification time lies too far in the past.",
    "timeRangeEmpty": "The specified time range is empty.",
    "timeRangeTooLong": "The requested time range is too long.",
    "syncTokenWithRequestRestrictions": "Sync token cannot be used with other request restrictions.",
    "syncTokenWithNonDefaultOrdering": "Sync token cannot be used with non-default ordering.",
}
_HEADERS = frozenset({"Authorization"})


class GoogleError(Exception):
    """A refusal of the Calendar API."""

    def __init__(self, status: int, reason: str, message: str = "", *, location: str = "") -> None:
        self.status = status
        self.reason = reason
        self.message = message or _MESSAGES.get(reason, reason)
        self.location = location
        super().__init__(f"{status} {reason}: {self.message}")

    def answer(self) -> Answer:
        """What is sent back."""
        domain = "usageLimits" if self.reason in _USAGE else "calendar" if self.reason in _CALENDAR else "global"
        detail = {"domain": domain, "reason": self.reason, "message": self.message}
        if self.location:
            kind = "header" if self.location in _HEADERS else "parameter"
            detail |= {"locationType": kind, "location": self.location}
        body = {"error": {"errors": [detail], "code": self.status, "message": self.message}}
        challenge = (b"WWW-Authenticate", b'Bearer realm="https://accounts.google.com/", error="invalid_token"')
        return json_answer(body, self.status, headers=(challenge,) if self.status == 401 else (),
                           outcome=self.reason)


class SignInError(Exception):
    """A refusal of the token endpoint."""

    def __init__(self, error: str, description: str = "", status: int = 400, *, subtype: str = "") -> None:
        self.error = error
        self.description = description
        self.status = status
        self.subtype = subtype
        super().__init__(f"{error}: {description}")

    def answer(self) -> Answer:
        """What is sent back."""
        body = {"error": self.error, "error_description": self.description, "error_subtype": self.subtype}
        return json_answer({name: value for name, value in body.items() if value}, self.status, outcome=self.error)


def not_found() -> GoogleError:
    """No such calendar, or it is not shared: the same to who asks."""
    return GoogleError(404, "notFound")


def bad_parameter(name: str, message: str) -> GoogleError:
    """A query parameter that cannot be used."""
    return GoogleError(400, "invalidParameter", message, location=name)


def json_answer(body: Mapping[str, object], status: int = 200, *,
                headers: tuple[tuple[bytes, bytes], ...] = (), outcome: str = "ok") -> Answer:
    """An answer of JSON."""
    return text_answer(json.dumps(body, ensure_ascii=False, separators=(",", ":")), status, headers=headers,
                       outcome=outcome)


def text_answer(text: str, status: int = 200, *, headers: tuple[tuple[bytes, bytes], ...] = (),
                outcome: str = "ok") -> Answer:
    """An answer of JSON that is written already."""
    return Answer(status, text.encode("utf-8", "surrogatepass"), JSON,
                  (*headers, (b"Cache-Control", b"private")), outcome)


def page(status: int, title: str) -> Answer:
    """A page for people."""
    text = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><p>{title}</p></body></html>\n"
    return Answer(status, text.encode(), HTML, outcome=title)
