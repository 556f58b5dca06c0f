"""What a calendar system offers to whoever decides what to ask it next: sweeps, reads, and news of changes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from otjd.meetings.model import Invitation, Window

Occurrence = tuple[str, str]
"""`uid` and `occurrence` of an Invitation: which occurrence of which booking."""

Spend = Callable[[int], None]
"""Called with the number of requests directly before they are sent, as the calendar system counts them (each page,
each call of a batch, each retry; not those for tokens). Raises BudgetSpentError where they may not be sent."""


READS_AT_ONCE = 16
"""Reads of a calendar system that counts what is under way for each mailbox, or not at all."""


class SourceError(Exception):
    """A calendar system could not be asked, for a reason that concerns all its rooms.

    The text tells the operator what is wrong, what was found and what to do; it holds no secret.
    """


class RoomError(SourceError):
    """One room's calendar cannot be read (no such mailbox, not shared, no licence); the others can."""


class ThrottledError(SourceError):
    """The calendar system asks for patience. `room` is the address it spoke of, empty where it spoke of all."""

    def __init__(self, text: str, retry_after: timedelta, room: str = "") -> None:
        super().__init__(text)
        self.retry_after = retry_after
        self.room = room


class UnauthorizedError(SourceError):
    """The sign-in is missing, wrong, expired or revoked: a person must act, and asking again may lock it.

    `is_looked_for` where it is a person's, kept on disk: asking again only looks for another one there.
    """

    is_looked_for = False


class UnreachableError(SourceError):
    """Network, name, TLS, proxy or server failed: worth another attempt later."""


class BudgetSpentError(SourceError):
    """The requests of these 24 hours are spent."""


@dataclass(frozen=True, slots=True)
class RoomReading:
    """What a room's calendar holds in a window.

    `invitations` are the occurrences that are new or changed since the reading that `memory` came from; all of
    them where that was None. `unchanged` are those that are still as they were then; whatever is in neither is
    gone. `memory` is to be given to the next read of this room; what it is, the source alone knows, and it holds
    no bodies. `requests` is how many requests it took, as they were given to Spend.
    """

    invitations: Sequence[Invitation]
    unchanged: frozenset[Occurrence] = frozenset()
    memory: Any = None
    requests: int = 1


class CalendarSource(Protocol):
    """One configured calendar system. `kind` is exchange, graph or google.

    `sweep_size` is how many rooms one sweep may ask for, 0 where there are no sweeps; `sweep_cost` and `read_cost`
    are how many requests a sweep and an ordinary read take. `at_once` reads may be under way at the same time.
    Each may change while it runs.
    """

    kind: str
    sweep_size: int
    sweep_cost: int
    read_cost: int

    @property
    def at_once(self) -> int:
        """See above."""
        ...

    def start(self, changed: Callable[[str], None]) -> None:
        """Begin to listen for news, where the system has any; `changed(room)` only schedules a read."""
        ...

    def watch(self, rooms: Collection[str]) -> None:
        """These rooms, by address, are of interest from now on, the first ones first."""
        ...

    def is_told_of(self, room: str) -> bool:
        """Whether news of this room is expected to come by itself at present."""
        ...

    async def sweep(self, rooms: Sequence[str], window: Window) -> Mapping[str, bytes | RoomError]:
        """When each of these rooms is busy, as a fingerprint: one that differs tells of a change.

        It depends on nothing but what lies in the window, which stays the same for a day: not on the time of
        asking, nor on the other rooms. A room that is left out is one of which nothing can be said this time.

        :raises SourceError: none of them could be asked.
        """
        ...

    async def read(self, room: str, window: Window, memory: Any) -> RoomReading:
        """What a room's calendar holds; `memory` is that of the last reading of the same room and window length,
        or None to have it whole.

        :raises SourceError: it could not be read; RoomError where that concerns this room alone.
        """
        ...

    async def stop(self) -> None:
        """End what listens, and close connections."""
        ...
