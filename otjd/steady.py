"""Time that goes on evenly whatever happens to the machine's clock.

Twisted's reactors time by `time.time()`: when that is set back by an hour, no timer of the process fires for an
hour, and when it is set forward everything that waits has waited too long. What is about meetings or kept on disk
goes by the time of day all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from twisted.internet.interfaces import IReactorTime


def make_steady(reactor: Any) -> None:
    """Let a reactor time by a clock that nobody sets; what is timed already keeps the time that is left to it.

    A reactor that does not go by `time.time()`, or no longer does, stays as it is. What Twisted dates by the
    reactor, the access log of `twisted.web`, is not written here: the sites keep logs of their own.
    """
    if reactor.seconds is not time.time:
        return
    ahead_s = time.time() - time.monotonic()
    # getDelayedCalls leaves out those that were cancelled, which would stay ahead of all others in the heap
    for call in (*reactor._pendingTimedCalls, *reactor._newTimedCalls):
        call.time -= ahead_s
        call.seconds = time.monotonic
    reactor.seconds = time.monotonic


def steady_now(clock: IReactorTime, now: Callable[[], datetime]) -> Callable[[], datetime]:
    """A `now` that begins with the time of day and then goes as evenly as `clock`: for what lasts a while and ends
    with the process."""
    start = now() - timedelta(seconds=clock.seconds())
    return lambda: start + timedelta(seconds=clock.seconds())
