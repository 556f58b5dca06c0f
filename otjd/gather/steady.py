"""SteadyTime: seconds for measuring how long ago something was, whatever happens to the machine's clock."""

from __future__ import annotations

from collections.abc import Callable


class SteadyTime:
    """Seconds since it was made, which never go back and never leap.

    A clock that is set back stands still here; one that is set forward, or a machine that slept, counts as
    `longest_s` seconds. It has to be asked more often than that.
    """

    def __init__(self, seconds: Callable[[], float], longest_s: float) -> None:
        self._seconds = seconds
        self._longest_s = longest_s
        self._last = seconds()
        self._elapsed_s = 0.0

    def __call__(self) -> float:
        """The seconds now."""
        reading = self._seconds()
        self._elapsed_s += min(max(0.0, reading - self._last), self._longest_s)
        self._last = reading
        return self._elapsed_s
