"""GoogleSource: the room calendars of a Google Workspace, by the Google Calendar API v3."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from otjd.gather.google_api import GoogleApi, RefusedError, SyncTokenError, Tally, WindowError
from otjd.gather.google_notifications import Channels
from otjd.gather.source import RoomError, RoomReading, Spend, UnreachableError
from otjd.gather.tokens import TokenSource
from otjd.meetings.model import Invitation, Window
from otjd.outbound.client import HttpClient
from otjd.protocol.google_calendar import (
    CALENDARS_A_SWEEP,
    changes_url,
    events_url,
    free_busy_body,
    free_busy_url,
)
from otjd.protocol.google_errors import only_times
from otjd.protocol.google_events import SEES_NO_EVENTS, EventsPage, read_changes, read_events, read_free_busy
from otjd.seam import InThread

TOKEN_FROM_BYTES = 64 * 1024
"""From this size on, or where it takes more than one page, an answer is worth avoiding.

A sync token tells by one small answer that nothing changed, and costs a request more where something did. In
requests it is cheaper only for calendars of several pages; in bytes and time always. Of small calendars the whole
is read: that is one request in either case.
"""

MARGIN = timedelta(days=1)
"""A room that is asked by sync token is read this much further ahead, since time passes without a change: half of
it, and as much of the other half as the room's name gives, so that rooms are not read again together."""

TOKENS_SPREAD = 8
"""When many sync tokens are lost at once, rooms get new ones at one of so many reads."""

PAGES_LIMIT = 50
EVENTS_LIMIT = 20_000
BYTES_LIMIT = 64 * 1024 * 1024
REACH = timedelta(days=60)
SHORTEST_REACH = timedelta(days=7)
"""How far ahead a sweep looks: halved, down to this, where Google finds that too long."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What is kept of a reading of a room for the next one.

    `versions` are those of its occurrences, a number each. Where the room is asked by `sync_token`, `entries` are
    the occurrences, with their ends, that were read up to `until`. `reads_to_token` counts down to a new token.
    """

    versions: array[int] = field(default_factory=lambda: array("q"))
    role: str = ""
    is_large: bool = False
    sync_token: str = ""
    entries: tuple[tuple[str, str, datetime], ...] = ()
    until: datetime | None = None
    reads_to_token: int = 0


class GoogleSource:
    """A CalendarSource over the Google Calendar API.

    :param http: used for this integration alone; `tokens` give its access tokens.
    :param account: who signs in, as the operator knows it: room calendars have to be shared with it.
    :param spend: called before each request, see `otjd.gather.source.Spend`. Google's limit of a minute,
        `google_calendar.REQUESTS_A_MINUTE` for the project, is to be kept there; that of a user cannot be
        reached, since each room counts as one (`quotaUser`).
    :param notification_url: where Google can reach `handle`; empty: no notifications.
    :param jitter: gives numbers in [0, 1).
    """

    kind = "google"
    sweep_cost = 1
    read_cost = 1
    _log = Logger()

    def __init__(self, *, integration: str, http: HttpClient, tokens: TokenSource, api_url: str, spend: Spend,
                 clock: IReactorTime, now: Callable[[], datetime], in_thread: InThread,
                 jitter: Callable[[], float], account: str = "the account that signs in",
                 notification_url: str = "") -> None:
        self.sweep_size = CALENDARS_A_SWEEP
        self._integration = integration
        self._api = GoogleApi(http=http, tokens=tokens, spend=spend, clock=clock, jitter=jitter, account=account)
        self._api_url = api_url
        self._account = account
        self._in_thread = in_thread
        self._reach = REACH
        self._told_of_hidden: set[str] = set()
        self._channels = Channels(integration=integration, api=self._api, api_url=api_url,
                                  address=notification_url, clock=clock, now=now, jitter=jitter)

    # news

    def start(self, changed: Callable[[str], None]) -> None:
        """Begin to listen for notifications, where they can be had."""
        self._channels.start(changed)

    def watch(self, rooms: Collection[str]) -> None:
        """Have a channel for each of these rooms, where there are notifications."""
        self._channels.watch(rooms)

    def is_told_of(self, room: str) -> bool:
        """Whether a channel of this room is open, and something came by it."""
        return self._channels.is_open(room)

    def handle(self, headers: Mapping[str, str]) -> int:
        """Take a notification, by its headers, names in lower case; gives the status to answer with."""
        return self._channels.handle(headers)

    async def stop(self) -> None:
        """End what listens. Channels that are open end by themselves: what they say is answered with 404."""
        await self._channels.stop()

    # sweeps

    async def sweep(self, rooms: Sequence[str], window: Window) -> Mapping[str, bytes | RoomError]:
        """When rooms are busy, by one free/busy query; see CalendarSource."""
        looked_at = Window(window.start, min(window.end, window.start + self._reach))
        try:
            answer = await self._api.ask("POST", free_busy_url(self._api_url, rooms),
                                         body=free_busy_body(rooms, looked_at))
        except WindowError:
            self._reach = max(SHORTEST_REACH, self._reach / 2)
            raise
        found: dict[str, bytes | str] = await self._read_answer(read_free_busy, answer.body)
        said: dict[str, bytes | RoomError] = {}
        for room in rooms:
            one = found.get(room.lower())
            if isinstance(one, bytes):
                said[room] = one
            elif one == "notFound":
                said[room] = RoomError(only_times(self._account, room).replace("may only see", "cannot see"))
            elif one == "tooManyCalendarsRequested":
                self.sweep_size = max(1, min(self.sweep_size, len(rooms) // 2))
        return said

    # reads

    async def read(self, room: str, window: Window, memory: Any) -> RoomReading:
        """What a room holds; see CalendarSource."""
        known = memory if isinstance(memory, Memory) else Memory()
        tally = Tally()
        covers = known.until is not None and window.end <= known.until
        is_asking = covers if known.sync_token else known.is_large and known.reads_to_token <= 0
        if is_asking:
            try:
                changes, following = await self._changes(room, known, window, tally)
            except (SyncTokenError, RefusedError):
                known = replace(known, sync_token="", reads_to_token=1 + int(_share(room) * TOKENS_SPREAD))
            else:
                if known.sync_token and not changes:
                    return _as_it_was(following, window, tally.requests)
                known = following
        return await self._whole(room, window, known, tally)

    async def _changes(self, room: str, known: Memory, window: Window, tally: Tally) -> tuple[int, Memory]:
        """How much changed since the sync token, and the next one; without one, the first.

        :raises SyncTokenError: it is no longer valid.
        """
        page_token, changes = "", 0
        for _ in range(PAGES_LIMIT):
            url = changes_url(self._api_url, room, sync_token=known.sync_token, since=window.start,
                              page_token=page_token)
            answer = await self._api.ask("GET", url, room=room, tally=tally)
            page = await self._read_answer(read_changes, answer.body)
            changes += page.changes
            page_token = page.next_page
            if not page_token and page.next_sync:
                return changes, replace(known, sync_token=page.next_sync)
            if not page_token:
                raise SyncTokenError(f"No sync token came for {room}")
        raise SyncTokenError(f"The changes of {room} have more than {PAGES_LIMIT} pages")

    async def _whole(self, room: str, window: Window, known: Memory, tally: Tally) -> RoomReading:
        """The occurrences of a window, page by page."""
        if known.sync_token:
            window = Window(window.start, window.end + MARGIN * (1 + _share(room)) / 2)
        reading = _Reading()
        page_token = ""
        for _ in range(PAGES_LIMIT):
            answer = await self._api.ask("GET", events_url(self._api_url, room, window, page_token), room=room,
                                         tally=tally, limit=BYTES_LIMIT - reading.size)
            page: EventsPage = await self._read_answer(read_events, answer.body, known.versions, known.role,
                                                       reading.taken)
            reading.add(page, len(answer.body))
            page_token = page.next_page
            if page.role in SEES_NO_EVENTS:
                raise RoomError(only_times(self._account, room))
            if not page_token or len(reading.versions) > EVENTS_LIMIT or reading.size >= BYTES_LIMIT:
                break
        if page_token:
            raise RoomError(f"{room} holds more than {EVENTS_LIMIT} meetings, or more than can be read, until "
                            f"{window.end:%d.%m.%Y}: lower display_upcoming_meetings of its profile")
        self._tell_of(room, reading)
        return RoomReading(reading.fresh, frozenset(reading.same), reading.memory(known, window), tally.requests)

    def _tell_of(self, room: str, reading: _Reading) -> None:
        if reading.unreadable:
            self._log.warn("{number} events of {room} have no time that can be read and are left out",
                           number=reading.unreadable, room=room, integration=self._integration)
        if not reading.hidden:
            self._told_of_hidden.discard(room)
        elif room not in self._told_of_hidden:
            self._told_of_hidden.add(room)
            self._log.warn("{number} private meetings of {room} come without details, since its calendar is "
                           "shared with {account} as {role}: share it with the permission 'Make changes to "
                           "events' where they are to be joined", number=reading.hidden, room=room,
                           account=self._account, role=reading.role, integration=self._integration)

    async def _read_answer(self, read: Callable[..., Any], *arguments: Any) -> Any:
        """What an answer holds, read in a thread: some are large.

        :raises UnreachableError: it cannot be read.
        """
        try:
            return await self._in_thread(read, *arguments)
        except ValueError as error:
            raise UnreachableError(f"An answer of Google Calendar cannot be read: {error}") from error


@dataclass(slots=True)
class _Reading:
    """What the pages of a reading come to."""

    role: str = ""
    size: int = 0
    pages: int = 0
    versions: array[int] = field(default_factory=lambda: array("q"))
    entries: list[tuple[str, str, datetime]] = field(default_factory=list)
    fresh: list[Invitation] = field(default_factory=list)
    same: list[tuple[str, str]] = field(default_factory=list)
    taken: dict[tuple[str, str], str] = field(default_factory=dict)
    unreadable: int = 0
    hidden: int = 0

    def add(self, page: EventsPage, size: int) -> None:
        """Take up a page of so many bytes."""
        self.role = page.role
        self.size += size
        self.pages += 1
        self.versions.extend(page.versions)
        self.entries += page.entries
        self.fresh += page.fresh
        self.same += page.same
        self.taken = page.taken
        self.unreadable += page.unreadable
        self.hidden += page.hidden

    def memory(self, known: Memory, window: Window) -> Memory:
        """What to keep of it."""
        return Memory(versions=self.versions, role=self.role, sync_token=known.sync_token,
                      is_large=self.size >= TOKEN_FROM_BYTES or self.pages > 1,
                      entries=tuple(self.entries) if known.sync_token else (),
                      until=window.end if known.sync_token else None,
                      reads_to_token=max(0, known.reads_to_token - 1))


def _as_it_was(known: Memory, window: Window, requests: int) -> RoomReading:
    """A reading that found no change: all that is not over is as it was."""
    entries = tuple(entry for entry in known.entries if entry[2] > window.start)
    return RoomReading((), frozenset((uid, occurrence) for uid, occurrence, _ in entries),
                       replace(known, entries=entries), requests)


def _share(room: str) -> float:
    """A number in [0, 1) of a room's own."""
    return hashlib.sha256(room.lower().encode("utf-8", "surrogatepass")).digest()[0] / 256
