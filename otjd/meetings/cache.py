"""MeetingCache: the agenda of every room, and what changed in it.

Plain data without clock, files or sockets: the time is a parameter, keeping it on disk is somebody else's work.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from operator import attrgetter

from otjd.meetings.model import Meeting, Room, Window

KEPT_BACK = timedelta(days=1)
"""How long a finished meeting stays in the agenda."""

RETIRED_FOR = timedelta(minutes=10)
"""How long a meeting that left the agenda can still be found by its id: endpoints ask for the ids of their last
list, and some drop the whole batch when one of them is unknown."""


class Freshness(StrEnum):
    """How far an agenda can be trusted."""

    FRESH = "fresh"
    STALE = "stale"
    NEVER_READ = "never_read"


_start = attrgetter("start_time")


@dataclass(frozen=True, slots=True)
class Agenda:
    """The meetings of one room in its window, ascending by start.

    `revision` is 24 hexadecimal digits that change only when something visible changed, and are the same
    after a restart; `read_at` is the time of the last successful reading of the calendar.
    """

    room: Room
    meetings: tuple[Meeting, ...] = ()
    revision: str = ""
    freshness: Freshness = Freshness.NEVER_READ
    read_at: datetime | None = None

    def overlapping(self, window: Window) -> tuple[Meeting, ...]:
        """The meetings that have a part in `window`."""
        begin = window.start
        begun = self.meetings[:bisect_left(self.meetings, window.end, key=_start)]
        # Window.overlaps without what is known of these: it would be called thousands of times a second
        return tuple([m for m in begun if m.end_time > begin or m.start_time == m.end_time == begin])


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed in one room: new meetings, new versions of known ones, and those that are gone."""

    agenda: Agenda
    added: tuple[Meeting, ...] = ()
    changed: tuple[Meeting, ...] = ()
    removed: tuple[Meeting, ...] = ()


class UnknownRoomError(KeyError):
    """A room that no endpoint of this node belongs to."""


Subscriber = Callable[[Difference], None]


class MeetingCache:
    """The agenda of every room that this node serves.

    Subscribers are called at once, in the order in which they came, with a Difference whenever the revision of an
    agenda changed; a subscriber must not raise. A room is known from `configure` on and never read until
    `replace` or `restore` was called for it.
    """

    def __init__(self) -> None:
        self._ahead: dict[Room, timedelta] = {}
        self._agendas: dict[Room, Agenda] = {}
        self._by_id: dict[Room, dict[str, Meeting]] = {}
        self._retired: dict[Room, dict[str, tuple[datetime, Meeting]]] = {}
        self._subscribers: list[Subscriber] = []

    def configure(self, rooms: Mapping[Room, timedelta]) -> None:
        """Serve exactly these rooms; each with how far ahead its agenda reaches. Known agendas are kept."""
        self._ahead = dict(rooms)
        for gone in self._agendas.keys() - rooms.keys():
            del self._agendas[gone], self._by_id[gone], self._retired[gone]
        for room in rooms:
            if room not in self._agendas:
                self._agendas[room] = Agenda(room)
                self._by_id[room] = {}
                self._retired[room] = {}

    def rooms(self) -> tuple[Room, ...]:
        """Every configured room."""
        return tuple(self._agendas)

    def __contains__(self, room: Room) -> bool:
        return room in self._agendas

    def agenda(self, room: Room) -> Agenda:
        """The agenda of `room`.

        :raises UnknownRoomError: the room is not configured.
        """
        try:
            return self._agendas[room]
        except KeyError:
            raise UnknownRoomError(room) from None

    def agendas(self) -> tuple[Agenda, ...]:
        """The agendas of all rooms."""
        return tuple(self._agendas.values())

    def window(self, room: Room, now: datetime) -> Window:
        """The span that the agenda of `room` covers at `now`."""
        return Window(now - KEPT_BACK, now + self._ahead[room])

    def find(self, room: Room, meeting_id: str, now: datetime) -> Meeting | None:
        """The meeting with this id, also for ten minutes after it left the agenda; None for an unknown one."""
        if room not in self._agendas:
            return None
        if (meeting := self._by_id[room].get(meeting_id)) is not None:
            return meeting
        retired_at, meeting = self._retired[room].get(meeting_id, (now, None))
        return meeting if now - retired_at < RETIRED_FOR else None

    def replace(self, room: Room, meetings: Iterable[Meeting], now: datetime) -> None:
        """Set what was just read from the calendar of `room`, whole. Meetings outside its window are left out.

        :raises UnknownRoomError: the room is not configured.
        """
        self._set(room, meetings, now, freshness=Freshness.FRESH, read_at=now)

    def restore(self, room: Room, meetings: Iterable[Meeting], read_at: datetime, now: datetime) -> None:
        """Set what was known before a restart: stale, and only where nothing was read in the meantime."""
        if room in self._agendas and self.agenda(room).freshness is Freshness.NEVER_READ:
            self._set(room, meetings, now, freshness=Freshness.STALE, read_at=read_at)

    def mark_stale(self, room: Room) -> None:
        """The calendar of `room` cannot be read: keep what is known and say so."""
        agenda = self.agenda(room)
        if agenda.freshness is Freshness.FRESH:
            self._agendas[room] = replace(agenda, freshness=Freshness.STALE)

    def advance(self, now: datetime) -> None:
        """Let the windows of all agendas move on: meetings that are over for a day leave them."""
        for agenda in tuple(self._agendas.values()):
            retired = self._retired[agenda.room]
            for gone in [key for key, (at, _) in retired.items() if now - at >= RETIRED_FOR]:
                del retired[gone]
            if any(m.end_time <= now - KEPT_BACK for m in agenda.meetings):
                self._set(agenda.room, agenda.meetings, now,
                          freshness=agenda.freshness, read_at=agenda.read_at)

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` with every Difference from now on; the returned callable ends that."""
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    def _set(self, room: Room, meetings: Iterable[Meeting], now: datetime,
             *, freshness: Freshness, read_at: datetime | None) -> None:
        before = self.agenda(room)
        known = self._by_id[room]
        window = self.window(room, now)
        current: dict[str, Meeting] = {}
        for meeting in meetings:
            if window.overlaps(meeting.start_time, meeting.end_time):
                old = known.get(meeting.id)
                # the version that was served stays while nothing visible changed
                current[meeting.id] = old if old and old.change_key == meeting.change_key else meeting
        ordered = tuple(sorted(current.values(), key=lambda m: (m.start_time, m.end_time, m.id)))
        agenda = Agenda(room, ordered, _revision(ordered), freshness, read_at)
        self._agendas[room] = agenda
        self._by_id[room] = current
        if agenda.revision == before.revision:
            return
        removed = tuple(m for m in before.meetings if m.id not in current)
        self._retire(room, removed, current, now)
        self._publish(Difference(
            agenda,
            added=tuple(m for m in ordered if m.id not in known),
            changed=tuple(m for m in ordered if m.id in known and m is not known[m.id]),
            removed=removed))

    def _retire(self, room: Room, removed: Iterable[Meeting], current: Mapping[str, Meeting],
                now: datetime) -> None:
        retired = self._retired[room]
        for returned in retired.keys() & current.keys():
            del retired[returned]
        retired.update((m.id, (now, m)) for m in removed)

    def _publish(self, difference: Difference) -> None:
        for subscriber in tuple(self._subscribers):
            subscriber(difference)


def _revision(meetings: Iterable[Meeting]) -> str:
    return hashlib.sha256("".join(m.change_key for m in meetings).encode()).hexdigest()[:24]
