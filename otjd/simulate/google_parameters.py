"""The query parameters and JSON bodies of the Calendar API, read as strictly as a simulated Google takes them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from otjd.simulate.google_errors import GoogleError, bad_parameter

QUOTA_USER_LENGTH = 40
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_LARGEST = 2 ** 31 - 1
_YEARS = range(1900, 9000)

Values = Mapping[str, Any]
Reader = Callable[[str, str], Any]


def _text(_: str, value: str) -> str:
    return value


def _boolean(name: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise bad_parameter(name, f"Invalid boolean value: '{value}'.")
    return value.lower() == "true"


def _positive(name: str, value: str) -> int:
    if not (value.isascii() and value.lstrip("-").isdigit() and len(value) < 12 and 1 <= int(value) <= _LARGEST):
        raise bad_parameter(name, f"Invalid value '{value}'. Values must be within the range: [1, {_LARGEST}]")
    return int(value)


def one_of(*allowed: str) -> Reader:
    """Reads one of these words."""
    def read(name: str, value: str) -> str:
        if value not in allowed:
            raise bad_parameter(name, f"Invalid value '{value}'. Allowed values: [{', '.join(allowed)}]")
        return value
    return read


def moment(_: str, value: object) -> datetime:
    """A time of RFC 3339 with its offset, in UTC.

    :raises GoogleError: it is none.
    """
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise GoogleError(400, "badRequest")
    try:
        found = datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise GoogleError(400, "badRequest") from None
    if found.year not in _YEARS:
        raise GoogleError(400, "badRequest")
    return found


def zone(name: str, value: object) -> tzinfo:
    """A time zone by its IANA name.

    :raises GoogleError: there is none of that name.
    """
    try:
        return ZoneInfo(str(value))
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        raise bad_parameter(name, f"Invalid time zone definition: '{value}'.") from None


GENERAL: Mapping[str, Reader] = {
    "alt": one_of("json"), "fields": _text, "key": _text, "prettyPrint": _boolean, "quotaUser": _text,
    "userIp": _text}
LIST: Mapping[str, Reader] = {
    "alwaysIncludeEmail": _boolean, "iCalUID": _text, "maxAttendees": _positive, "maxResults": _positive,
    "orderBy": one_of("startTime", "updated"), "pageToken": _text, "q": _text, "showDeleted": _boolean,
    "showHiddenInvitations": _boolean, "singleEvents": _boolean, "syncToken": _text, "timeMax": moment,
    "timeMin": moment, "timeZone": zone, "updatedMin": moment}
REPEATED: Mapping[str, Reader] = {
    "eventTypes": one_of("birthday", "default", "focusTime", "fromGmail", "outOfOffice", "workingLocation"),
    "privateExtendedProperty": _text, "sharedExtendedProperty": _text}


def read_query(query: Sequence[tuple[str, str]], *known: Mapping[str, Reader]) -> dict[str, Any]:
    """The parameters of a query by name; those of `REPEATED`, where it is among `known`, as sorted tuples.

    :raises GoogleError: one is unknown, given twice, or cannot be used.
    """
    readers = {name: reader for table in (GENERAL, *known) for name, reader in table.items()}
    values: dict[str, Any] = {}
    for name, value in query:
        if name not in readers:
            text = (f'Invalid JSON payload received. Unknown name "{name[:80]}": Cannot bind query parameter. '
                    f"Field '{name[:80]}' could not be found in request message.")
            raise GoogleError(400, "badRequest", text)
        read = readers[name](name, value)
        if name in REPEATED:
            values[name] = tuple(sorted({*values.get(name, ()), read}))
        elif name in values:
            raise bad_parameter(name, f"Parameter '{name}' was given more than once.")
        else:
            values[name] = read
    if len(values.get("quotaUser", "")) > QUOTA_USER_LENGTH:
        raise bad_parameter("quotaUser", f"Invalid value: longer than {QUOTA_USER_LENGTH} characters.")
    return values


def read_body(body: bytes, content_type: str, known: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
    """The members of a JSON object, each of its type.

    :raises GoogleError: it is none, or has a member that is unknown or of another type.
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise GoogleError(400, "badContent", f"Unsupported content with type: {content_type[:80] or '(none)'}")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise GoogleError(400, "parseError") from None
    if not isinstance(found, dict):
        raise GoogleError(400, "parseError")
    for name, value in found.items():
        if name not in known:
            text = f'Invalid JSON payload received. Unknown name "{name[:80]}": Cannot find field.'
            raise GoogleError(400, "badRequest", text)
        if not isinstance(value, known[name]) or isinstance(value, bool) is not (known[name] is bool):
            raise GoogleError(400, "invalid", f"Invalid value for: {name}", location=name)
    return found
