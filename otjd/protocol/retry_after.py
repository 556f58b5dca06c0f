"""`Retry-After`: how long a server asks to be left alone (RFC 9110 10.2.3)."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

MOST_RETRY_AFTER_S = 3600.0
"""The longest wait that anybody can ask for."""


def retry_after_s(value: str, date: str = "") -> float | None:
    """Seconds that a `Retry-After` asks for, at most an hour; None for none.

    The form of a date is counted from the answer's own `Date`: the clock of the other side may be wrong.
    """
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), MOST_RETRY_AFTER_S)
    try:
        span = parsedate_to_datetime(text) - parsedate_to_datetime(date)
    except (TypeError, ValueError):
        return None
    return min(max(span.total_seconds(), 0.0), MOST_RETRY_AFTER_S)
