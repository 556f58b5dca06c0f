"""File descriptors: how many connections the system lets this process hold."""

from __future__ import annotations

import resource

SPARE = 512
"""Descriptors for everything besides the connections of endpoints: files, calendars, pushes, the log."""


def connections_that_fit() -> int:
    """Connections that endpoints may hold while there are descriptors to spare."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft - SPARE, soft // 2) if soft != resource.RLIM_INFINITY else 2**31


def make_room(connections: int) -> None:
    """Raise the limit of this process, as far as the system lets it, so that so many connections fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + SPARE
    if soft != resource.RLIM_INFINITY and soft < needed:
        most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
