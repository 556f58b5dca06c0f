"""GraphSource: the room calendars of a Microsoft 365 tenant, by Microsoft Graph."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

from twisted.logger import Logger

from otjd.gather.graph_client import GoneError, GraphClient, RefusedError
from otjd.gather.graph_notifications import GraphNotifications
from otjd.gather.graph_reading import LARGE, GraphReader, Memory
from otjd.gather.source import (
    READS_AT_ONCE,
    RoomError,
    RoomReading,
    SourceError,
    ThrottledError,
    UnreachableError,
)
from otjd.meetings.model import Window
from otjd.protocol.graph_events import GraphFormatError
from otjd.protocol.graph_requests import GraphApi
from otjd.protocol.graph_schedules import Schedules, read_schedules
from otjd.seam import InThread

SWEEP_SIZE = 20
"""Rooms of one sweep that Graph has always been seen to accept."""

LARGER_SIZES = (100, 50)
"""What is tried once, since Microsoft gives no number: 100 is the limit of the same question in EWS."""

PROBES = 3
"""Attempts to find that out, where something else is in the way."""

MAILBOXES_TRIED = 3


class GraphSource:
    """Reads rooms through Graph, as `otjd.gather.source.CalendarSource` says.

    :param client: asks Graph, and is closed with the source.
    :param in_thread: runs what would hold up the reactor, of the shape of `deferToThread`.
    :param notifications: what Graph tells by itself; None where it is not to.
    """

    kind = "graph"
    sweep_cost = 1
    read_cost = 1
    at_once = READS_AT_ONCE
    _log = Logger()

    def __init__(self, client: GraphClient, api: GraphApi, *, integration: str, in_thread: InThread,
                 notifications: GraphNotifications | None = None) -> None:
        self.sweep_size = SWEEP_SIZE
        self._client = client
        self._api = api
        self._integration = integration
        self._in_thread = in_thread
        self._notifications = notifications
        self._reader = GraphReader(client, api, in_thread, integration)
        self._rooms: tuple[str, ...] = ()
        self._swept: dict[str, tuple[Window, bytes]] = {}
        self._news: set[str] = set()
        self._read_until: dict[str, datetime] = {}
        self._asked_by: dict[str, int] = {}
        self._turn = 0
        self._probes_left = PROBES

    def start(self, changed: Callable[[str], None]) -> None:
        """Begin to listen for notifications, where they are wanted."""
        def told(room: str) -> None:
            self._news.add(room)
            changed(room)

        if self._notifications is not None:
            self._notifications.start(told)

    def watch(self, rooms: Collection[str]) -> None:
        """Of interest are these rooms."""
        self._rooms = tuple(rooms)
        known = set(self._rooms)
        self._news &= known
        self._swept = {room: swept for room, swept in self._swept.items() if room in known}
        self._asked_by = {room: turn for room, turn in self._asked_by.items() if room in known}
        self._read_until = {room: end for room, end in self._read_until.items() if room in known}
        if self._notifications is not None:
            self._notifications.watch(self._rooms)

    def is_told_of(self, room: str) -> bool:
        """Whether Graph tells of this room's changes at present."""
        return self._notifications is not None and self._notifications.is_told_of(room)

    async def read(self, room: str, window: Window, memory: Memory | None) -> RoomReading:
        """What a room holds, as `CalendarSource.read` says."""
        has_news = room in self._news
        self._news.discard(room)
        try:
            reading = await self._reader.read(room, window, memory, has_news=has_news)
        except SourceError:
            if has_news:
                self._news.add(room)
            raise
        before = self._read_until.get(room)
        self._read_until[room] = window.end
        if self._notifications is not None and memory is not None and before is not None and any(
                one.start_time < before and not one.is_all_day for one in reading.invitations):
            self._notifications.unannounced(room)  # which knows whether it was announced
        return reading

    async def sweep(self, rooms: Sequence[str], window: Window) -> Mapping[str, bytes | RoomError]:
        """Fingerprints of when rooms are busy, as `CalendarSource.sweep` says."""
        if self._probes_left and len(rooms) >= SWEEP_SIZE < len(self._rooms):
            await self._probe(window)
        try:
            found = await self._schedules(rooms, window)
        except RefusedError as error:
            if len(rooms) <= SWEEP_SIZE:
                raise UnreachableError(str(error)) from error
            self._log.warn("{integration} tells of {size} rooms at a time no more: {error}", error=str(error),
                           integration=self._integration, size=len(rooms))
            self.sweep_size = SWEEP_SIZE
            raise UnreachableError(str(error)) from error
        for room, fingerprint in found.fingerprints.items():
            before = self._swept.get(room)
            self._swept[room] = (window, fingerprint)
            if before is not None and before != self._swept[room]:
                self._news.add(room)
        return {**found.fingerprints, **{room: RoomError(text) for room, text in found.problems.items()}}

    async def _probe(self, window: Window) -> None:
        """Find out how many rooms one question may be about: fewer requests for a sweep, so more sweeps."""
        left, self._probes_left = self._probes_left, 0
        for size in LARGER_SIZES:
            rooms = self._rooms[:size]
            try:
                found = await self._schedules(rooms, window)
            except RefusedError:
                continue
            except SourceError:  # nothing to do with the size; the sweep itself will say so
                self._probes_left = left - 1
                return
            if found.answered == len(rooms) and any(room in found.fingerprints for room in rooms[SWEEP_SIZE:]):
                self.sweep_size = size
                self._log.info("{integration} tells of {size} rooms at a time", integration=self._integration,
                               size=size)
                return

    async def _schedules(self, rooms: Sequence[str], window: Window) -> Schedules:
        """What Graph tells, asked in the name of one room after the other: each may be asked by few at once."""
        tried = sorted(rooms, key=lambda room: self._asked_by.get(room, 0))[:MAILBOXES_TRIED]
        for mailbox in tried:
            self._turn += 1
            self._asked_by[mailbox] = self._turn
            try:
                answer = await self._client.ask(self._api.schedules(mailbox, rooms, window), mailbox)
            except (RoomError, GoneError, ThrottledError) as error:
                if mailbox == tried[-1] or (isinstance(error, ThrottledError) and not error.room):
                    raise
                continue
            try:
                if len(answer.body) <= LARGE:
                    return read_schedules(answer.body, rooms)
                found: Schedules = await self._in_thread(read_schedules, answer.body, rooms)
            except GraphFormatError as error:
                raise UnreachableError(str(error)) from error
            return found
        return Schedules({}, {}, 0)

    async def stop(self) -> None:
        """End what listens, and close connections."""
        if self._notifications is not None:
            await self._notifications.stop()
        await self._client.close()
