"""The budget of one template: time, and the size of what it makes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, time, timedelta
from typing import Any

from jinja2 import Undefined

TIME_LIMIT_S = 0.05
"""Seconds that one rendering, or one search with an operator's expression, may take."""

VALUE_LIMIT = 1_000_000
"""Characters of one value that a template may make."""

TOTAL_LIMIT = 4_000_000
"""Characters of all values that one rendering may make."""

INTEGER_BITS = 4096

_Small = bool | float | date | time | timedelta | Undefined | None


class LimitExceededError(Exception):
    """A template or expression asked for more time or memory than it may use."""


class Budget:
    """What one rendering may still use. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float], time_limit_s: float = TIME_LIMIT_S) -> None:
        self._clock = clock
        self._time_limit_s = time_limit_s
        self._deadline = clock() + time_limit_s
        self._left = TOTAL_LIMIT

    def remaining_s(self) -> float:
        """Seconds left, more than 0.

        :raises LimitExceededError: the time is used up.
        """
        left = self._deadline - self._clock()
        if left <= 0:
            raise LimitExceededError(f"it took longer than {self._time_limit_s * 1000:.0f} ms")
        return left

    def charge(self, value: Any) -> Any:
        """Take the size of a value that was just made from the budget; give it back.

        :raises LimitExceededError: the value is too large, too much was made, or the time is used up.
        """
        self.spend(size_of(value))
        return value

    def spend(self, size: int) -> None:
        """Take `size` characters from the budget, before they are made where that is possible."""
        self.remaining_s()
        self._left -= size
        if size > VALUE_LIMIT or self._left < 0:
            raise LimitExceededError(f"it makes more than {VALUE_LIMIT} characters")


def size_of(value: Any) -> int:
    """The size of a plain value, written out: a part that occurs twice counts twice.

    :raises LimitExceededError: it is too large.
    :raises TypeError: it holds something other than plain values.
    """
    size = 0
    pending = [value]
    while pending:
        item = pending.pop()
        size += 8
        if isinstance(item, str | bytes):
            size += len(item)
        elif isinstance(item, _Small):
            continue
        elif isinstance(item, int):
            if item.bit_length() > INTEGER_BITS:
                raise LimitExceededError("a number is too large")
            size += item.bit_length() // 3
        elif isinstance(item, range):
            size += 8 * len(item)
        elif isinstance(item, list | tuple | set | frozenset):
            pending.extend(item)
        elif isinstance(item, dict):
            pending.extend(item.keys())
            pending.extend(item.values())
        else:
            raise TypeError(f"{type(item).__name__} cannot be used as a value")
        if size + 8 * len(pending) > VALUE_LIMIT:
            raise LimitExceededError(f"it makes more than {VALUE_LIMIT} characters")
    return size
