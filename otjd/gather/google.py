"""GoogleSource: the room calendars of a Google Workspace, by the Google Calendar API v3."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from otjd.gather.google_api import GoogleApi, RefusedError, SyncTokenError, Tally, TooMuchError, WindowError
from otjd.gather.google_notifications import Channels
from otjd.gather.source import READS_AT_ONCE, RoomError, RoomReading, Spend, UnreachableError
from otjd.gather.tokens import TokenSource
from otjd.meetings.model import Window
from otjd.outbound.client import HttpClient
from otjd.protocol.google_calendar import (
    CALENDARS_A_SWEEP,
    EVENTS_A_PAGE,
    changes_url,
    events_url,
    free_busy_body,
    free_busy_url,
)
from otjd.protocol.google_errors import only_times
from otjd.protocol.google_events import (
    SEES_NO_DETAILS,
    SEES_NO_EVENTS,
    ChangesPage,
    Entries,
    EventsPage,
    apply_changes,
    read_changes,
    read_events,
    read_free_busy,
)
from otjd.rules.text import HTML_LIMIT
from otjd.seam import InThread

TOKEN_FROM_BYTES = 16 * 1024
"""From this size on, or where it takes more than one page, a calendar is not read whole each time.

With a sync token a quiet calendar answers with next to nothing, and a changed one with what changed; where a
series changed the whole is read as well, which is a request more than without. A smaller calendar comes whole in
a few packets.
"""

MARGIN = timedelta(days=1)
"""A room that is asked by sync token is read this much further ahead, since time passes without a change: half of
it, and as much of the other half as the room's name gives, so that rooms are not read again together."""

TOKENS_SPREAD = 8
"""When many sync tokens are lost at once, rooms get new ones at one of so many reads."""

SMALLER_PAGES = {EVENTS_A_PAGE: 25, 25: 5, 5: 1}
"""What to ask for where so many events are more than an answer may be."""

PAGES_LIMIT = 50
SMALL_PAGES_LIMIT = 1000
EVENTS_LIMIT = 20_000
BODY = HTML_LIMIT + 1
"""So many characters of a description are kept: one more than the rules look at, which tells that it was cut."""

BODIES_LIMIT = 64_000_000
SHORT_BODY = 20_000
"""Once the bodies of a reading have so many characters, of the others this many are kept."""

REACH = timedelta(days=60)
SHORTEST_REACH = timedelta(days=7)
"""How far ahead a sweep looks: halved, down to this, where Google finds that too long."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What is kept of a reading of a room for the next one.

    `entries` are its occurrences, shared by `role`. Where the room is asked by `sync_token` they reach up to
    `until`. `reads_to_token` counts down to a new token; `page_size` is how many events are asked for at once.
    """

    entries: Entries = field(default_factory=Entries)
    role: str = ""
    is_large: bool = False
    sync_token: str = ""
    until: datetime | None = None
    reads_to_token: int = 0
    page_size: int = EVENTS_A_PAGE

    @property
    def pages_limit(self) -> int:
        """So many pages are read: more where each has few events."""
        return PAGES_LIMIT if self.page_size == EVENTS_A_PAGE else SMALL_PAGES_LIMIT


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
    at_once = READS_AT_ONCE
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
        if covers if known.sync_token else known.is_large and known.reads_to_token <= 0:
            try:
                changes = await self._changes(room, known, window, tally)
            except (SyncTokenError, RefusedError, TooMuchError):
                known = replace(known, sync_token="", reads_to_token=1 + int(_share(room) * TOKENS_SPREAD))
            else:
                is_first = not known.sync_token
                known = replace(known, sync_token=changes.next_sync)
                if not is_first and known.until is not None:
                    page: EventsPage | None = await self._in_thread(
                        apply_changes, known.entries, known.role, changes, Window(window.start, known.until))
                    if page is not None:
                        return self._reading(room, page, replace(known, entries=page.entries), tally)
        while True:
            try:
                return await self._whole(room, window, known, tally)
            except SyncTokenError as error:
                raise RoomError(str(error)) from error
            except TooMuchError as error:
                if known.page_size not in SMALLER_PAGES:
                    raise RoomError(f"{room}: one of its events is too large: {error}") from error
                known = replace(known, page_size=SMALLER_PAGES[known.page_size])

    async def _changes(self, room: str, known: Memory, window: Window, tally: Tally) -> ChangesPage:
        """What changed since the sync token, on one page; without a token what the next one begins with.

        :raises SyncTokenError: the token is no longer valid, or there is none for the next time.
        """
        items: list[Any] = []
        page_token = ""
        for _ in range(known.pages_limit):
            answer = await self._api.ask("GET", changes_url(
                self._api_url, room, sync_token=known.sync_token, since=window.start, page_token=page_token,
                page_size=known.page_size), room=room, tally=tally)
            page: ChangesPage = await self._read_answer(read_changes, answer.body, SHORT_BODY if items else BODY)
            items += page.items if known.sync_token else ()
            page_token = page.next_page
            if not page_token and page.next_sync:
                return replace(page, items=items)
            if not page_token or len(items) > EVENTS_LIMIT:
                break
        raise SyncTokenError(f"No sync token came for {room}")

    async def _whole(self, room: str, window: Window, known: Memory, tally: Tally) -> RoomReading:
        """The occurrences of a window, page by page."""
        if known.sync_token:
            window = Window(window.start, window.end + MARGIN * (1 + _share(room)) / 2)
        whole = EventsPage("")
        size = pages = kept = 0
        page_token = ""
        while pages == 0 or page_token:
            answer = await self._api.ask("GET", events_url(
                self._api_url, room, window, page_token, page_size=known.page_size), room=room, tally=tally)
            page: EventsPage = await self._read_answer(read_events, answer.body, known.entries, known.role,
                                                       whole.taken, BODY if kept < BODIES_LIMIT else SHORT_BODY)
            if page.role in SEES_NO_EVENTS:
                raise RoomError(only_times(self._account, room))
            whole.add(page)
            size += len(answer.body)
            pages += 1
            kept += sum(len(invitation.body_text) for invitation in page.fresh)
            page_token = page.next_page
            if page_token and (pages >= known.pages_limit or len(whole.entries) > EVENTS_LIMIT):
                raise RoomError(f"{room} holds more than {EVENTS_LIMIT} meetings, or more than can be read, until "
                                f"{window.end:%d.%m.%Y}: lower display_upcoming_meetings of its profile")
        return self._reading(room, whole, Memory(
            entries=whole.entries, role=whole.role, is_large=size >= TOKEN_FROM_BYTES or pages > 1,
            sync_token=known.sync_token, until=window.end if known.sync_token else None,
            reads_to_token=max(0, known.reads_to_token - 1), page_size=known.page_size), tally)

    def _reading(self, room: str, page: EventsPage, memory: Memory, tally: Tally) -> RoomReading:
        self._tell_of(room, page)
        return RoomReading(page.fresh, frozenset(page.same), memory, tally.requests)

    def _tell_of(self, room: str, reading: EventsPage) -> None:
        if reading.unreadable:
            self._log.warn("{number} events of {room} have no time that can be read and are left out",
                           number=reading.unreadable, room=room, integration=self._integration)
        if reading.role not in SEES_NO_DETAILS:
            self._told_of_hidden.discard(room)
        if reading.hidden and room not in self._told_of_hidden:
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


def _share(room: str) -> float:
    """A number in [0, 1) of a room's own."""
    return hashlib.sha256(room.lower().encode("utf-8", "surrogatepass")).digest()[0] / 256
