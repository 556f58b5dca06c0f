"""Log events as lines, text for people or JSON; nothing from outside ends a line or drives a terminal."""

from __future__ import annotations

import json
import math
import string
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from typing import Any

from twisted.logger import LogEvent, formatEvent

from otjd.operate.escape import visible

KEY_FIELDS = ("integration", "room", "endpoint", "attempt", "delay_s")
"""Fields that a text line ends with where its message does not hold them."""

LIMIT = 16_384
"""Characters of a message, a field or a traceback that are written."""

_DEPTH = 4
# what twisted.python.log adds for its own observers
_LEGACY = frozenset({"message", "time", "system", "format", "isError", "failure", "why", "printed", "logLevel"})


def text_line(event: LogEvent) -> str:
    """An event as one line: time, namespace#level, message, key fields; a traceback follows, indented by a tab."""
    message = _message(event)
    failure = event.get("log_failure")
    if failure is not None:
        message = ": ".join(filter(None, (message, _error(failure))))
    if not message:
        return ""
    named = _named_in(event.get("log_format"))
    fields = "".join(f" {key}={_quoted(event[key])}" for key in KEY_FIELDS
                     if key not in named and event.get(key) is not None)
    line = f"{_time(event)} [{_namespace(event)}#{_level(event)}] {visible(message)}{fields}\n"
    if failure is not None:
        line += "".join(f"\t{visible(part)}\n" for part in _traceback(failure).splitlines())
    return line


def json_line(event: LogEvent) -> str:
    """An event as one JSON object in ASCII: time, level, namespace, message, and its named fields.

    A failure adds `error` and `traceback`. A field that has the name of one of these gets `_` at its end; one that
    has no JSON form, as an object of the program, is left out.
    """
    line: dict[str, Any] = {"time": _time(event), "level": _level(event), "namespace": _namespace(event),
                            "message": _message(event)}
    failure = event.get("log_failure")
    if failure is not None:
        line |= {"error": _error(failure), "traceback": _traceback(failure)}
    own = frozenset(line)
    for key, value in event.items():
        if not key.startswith("log_") and not (key in _LEGACY and "isError" in event):
            plain = _plain(value, _DEPTH)
            if plain is not _NO_JSON:
                line[f"{key}_" if key in own else key] = plain
    return json.dumps(line) + "\n"


def _message(event: LogEvent) -> str:
    return formatEvent(event)[:LIMIT]


def _time(event: LogEvent) -> str:
    moment = datetime.fromtimestamp(event.get("log_time", 0.0), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _level(event: LogEvent) -> str:
    level = event.get("log_level")
    return level.name if level is not None else "info"


def _namespace(event: LogEvent) -> str:
    return visible(str(event.get("log_namespace") or event.get("log_system") or "-"))


def _error(failure: Any) -> str:
    return f"{failure.type.__name__}: {failure.getErrorMessage()}"[:LIMIT]


def _traceback(failure: Any) -> str:
    text: str = failure.getTraceback()
    return text[-LIMIT:]  # its end says most


@lru_cache(maxsize=1024)
def _named_in(log_format: object) -> frozenset[str]:
    """The fields that a format string writes into its message."""
    try:
        parts = list(string.Formatter().parse(str(log_format or "")))
    except ValueError:
        return frozenset()
    return frozenset((name or "").replace("(", ".").replace("[", ".").split(".")[0] for _, name, _, _ in parts)


def _quoted(value: object) -> str:
    text = visible(str(value)[:LIMIT])
    return json.dumps(text, ensure_ascii=False) if not text or set(text) & set(' "=') else text


_NO_JSON = object()


def _plain(value: object, depth: int) -> Any:  # noqa: PLR0911 - one return a kind of value
    """`value` in the types of JSON, or _NO_JSON."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return _plain(value.value, depth)
    if isinstance(value, str):
        return str(value)[:LIMIT]
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Exception):
        return f"{type(value).__name__}: {value}"[:LIMIT]
    if depth and isinstance(value, Mapping):
        return {str(key): plain for key, inner in value.items()
                if (plain := _plain(inner, depth - 1)) is not _NO_JSON}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [plain for inner in value if (plain := _plain(inner, depth - 1)) is not _NO_JSON]
    return _NO_JSON
