"""One room's calendar, read from Microsoft Graph with as few requests and as little data as its changes take.

The first reading takes all events with their bodies, one request for 50. A later one takes only what marks them,
one request for 500; where some changed it takes the events of the span in which they lie. Where a room is known to
have changed, and has no more events than fit on a page, it takes these at once.

Rooms with more events than one page of marks holds are watched by `delta`, which takes one request whatever their
number as long as nothing changed. It has no $select and its window stands still: it costs a round over all events,
with their bodies, once a day, which only pays where marks would take two requests or more each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TypeVar

from twisted.logger import Logger

from otjd.gather.graph_client import GoneError, GraphClient, RefusedError, Tally, TooMuchError
from otjd.gather.source import Occurrence, RoomError, RoomReading, UnreachableError
from otjd.meetings.model import Invitation, Window
from otjd.protocol.graph_events import (
    EventPage,
    GraphFormatError,
    Mark,
    MarkPage,
    read_delta,
    read_events,
    read_marks,
)
from otjd.protocol.graph_requests import EVENT_PAGE, MARK_PAGE, GraphApi, GraphRequest
from otjd.rules.text import HTML_LIMIT
from otjd.seam import InThread

PAGES_LIMIT = 1000
"""Pages of one answer; Graph has been seen to give links without end."""

EVENTS_LIMIT = 10_000
DELTA_PAGES_LIMIT = 60
SMALLER_PAGES = {EVENT_PAGE: 5, 5: 1}
"""What to ask for where so many events are more than an answer may be."""

BODIES_LIMIT = 64_000_000
SHORT_BODY = 20_000
"""Once the bodies of a reading have so many characters, of the others this many are kept."""

LARGE = 100_000
"""Answers of more bytes than this are read in a thread."""

DELTA_AHEAD = timedelta(days=1)

Page = TypeVar("Page", MarkPage, EventPage)


@dataclass(frozen=True, slots=True)
class Delta:
    """Where the changes of a room go on, within a window."""

    link: str = field(repr=False)
    window: Window


@dataclass(frozen=True, slots=True)
class Memory:
    """What is kept of a reading: its marks, how many events an answer may hold, where changes go on, and whether
    they are told at all."""

    known: Mapping[Mark, Occurrence]
    page_size: int = EVENT_PAGE
    delta: Delta | None = None
    has_delta: bool = True


class GraphReader:
    """Reads rooms. `in_thread` has the shape of `twisted.internet.threads.deferToThread`."""

    _log = Logger()

    def __init__(self, client: GraphClient, api: GraphApi, in_thread: InThread, integration: str) -> None:
        self._client = client
        self._api = api
        self._in_thread = in_thread
        self._integration = integration

    async def read(self, room: str, window: Window, memory: Memory | None, *, has_news: bool) -> RoomReading:
        """What a room holds; `has_news`: something has probably changed since `memory`.

        :raises SourceError: it could not be read.
        """
        tally = Tally()
        try:
            if memory is None:
                return await self._whole(room, window, Memory({}), tally)
            if memory.has_delta and len(memory.known) > MARK_PAGE:
                return await self._by_delta(room, window, memory, tally)
            memory = replace(memory, delta=None)
            if has_news and len(memory.known) <= memory.page_size:
                return await self._whole(room, window, memory, tally)
            return await self._changed(room, window, memory, tally)
        except (RefusedError, GoneError) as error:
            raise RoomError(str(error)) from error
        except GraphFormatError as error:
            raise UnreachableError(str(error)) from error

    async def _whole(self, room: str, window: Window, memory: Memory, tally: Tally) -> RoomReading:
        """All events of a window, with their bodies."""
        known, changed, page_size = await self._events(room, window, memory, tally)
        return _reading(known, changed, replace(memory, page_size=page_size), tally)

    async def _changed(self, room: str, window: Window, memory: Memory, tally: Tally) -> RoomReading:
        """What marks the events of a window; those that changed with their bodies."""
        pages = await self._pages(self._api.marks(room, window), room,
                                  lambda body: read_marks(body, memory.known), tally)
        known = {mark: occurrence for page in pages for mark, occurrence in page.known.items()}
        times = [span for page in pages for span in page.changed]
        changed: dict[Mark, Invitation] = {}
        page_size = memory.page_size
        if times:
            # the end of a view is exclusive, and a meeting may have no length
            span = Window(min(start for start, _ in times), max(end for _, end in times) + timedelta(seconds=1))
            also, changed, page_size = await self._events(room, span, memory, tally)
            known |= also
        return _reading(known, changed, replace(memory, page_size=page_size), tally)

    async def _by_delta(self, room: str, window: Window, memory: Memory, tally: Tally) -> RoomReading:
        """Nothing but a question for changes where there are none."""
        delta = memory.delta
        try:
            if delta is not None and window.end <= delta.window.end:
                changes, delta = await self._round(self._api.resume(delta.link), room, delta.window, tally)
                if not changes:
                    return _reading(memory.known, {}, replace(memory, delta=delta), tally)
            else:
                _, delta = await self._first_round(room, window, tally)
        except GoneError:
            _, delta = await self._first_round(room, window, tally)
        except RefusedError as error:
            self._log.warn("{integration} does not tell the changes of {room}: all its events are looked at each "
                           "time: {error}", integration=self._integration, room=room, error=str(error))
            return await self._changed(room, window, replace(memory, delta=None, has_delta=False), tally)
        return await self._changed(room, delta.window, replace(memory, delta=delta), tally)

    async def _first_round(self, room: str, window: Window, tally: Tally) -> tuple[int, Delta]:
        wide = Window(window.start, window.end + DELTA_AHEAD)
        return await self._round(self._api.delta(room, wide), room, wide, tally)

    async def _round(self, request: GraphRequest, room: str, window: Window, tally: Tally) -> tuple[int, Delta]:
        """All pages of changes: how many there are, and where they go on."""
        changes = 0
        for _ in range(DELTA_PAGES_LIMIT):
            page = read_delta((await self._client.ask(request, room, tally)).body)
            changes += page.changes
            if page.delta_link:
                self._follow(page.delta_link, request)
                return changes, Delta(page.delta_link, window)
            if not page.next_link:
                break
            request = self._follow(page.next_link, request)
        raise RefusedError(f"{room}: the changes have no end")

    async def _events(self, room: str, window: Window, memory: Memory,
                      tally: Tally) -> tuple[dict[Mark, Occurrence], dict[Mark, Invitation], int]:
        """The events of a window: marks of those that were known, the others, and how many an answer may hold."""
        kept = 0

        def read(body: bytes) -> EventPage:
            nonlocal kept
            page = read_events(body, memory.known, HTML_LIMIT + 1 if kept < BODIES_LIMIT else SHORT_BODY)
            kept += sum(len(one.body_html) + len(one.body_text) for _, one in page.changed)
            return page

        page_size = memory.page_size
        while True:
            try:
                pages = await self._pages(self._api.events(room, window, page_size), room, read, tally)
                break
            except TooMuchError as error:
                if page_size not in SMALLER_PAGES:
                    raise RoomError(f"{room}: one of its events is too large: {error}") from error
                page_size = SMALLER_PAGES[page_size]
                kept = 0
        for problem in [problem for page in pages for problem in page.problems][:10]:
            self._log.warn("A meeting in {room} was left out: {problem}", room=room, problem=problem,
                           integration=self._integration)
        if kept >= BODIES_LIMIT:
            self._log.warn("The bodies of the meetings in {room} are very long: some were cut", room=room,
                           integration=self._integration)
        return ({mark: occurrence for page in pages for mark, occurrence in page.known.items()},
                {mark: invitation for page in pages for mark, invitation in page.changed}, page_size)

    async def _pages(self, request: GraphRequest, room: str, read: Callable[[bytes], Page],
                     tally: Tally) -> list[Page]:
        """All pages of an answer."""
        pages: list[Page] = []
        seen = {request.url}
        events = 0
        while True:
            body = (await self._client.ask(request, room, tally)).body
            page: Page = await self._in_thread(read, body) if len(body) > LARGE else read(body)
            pages.append(page)
            events += len(page.known) + len(page.changed)
            if not page.next_link:
                return pages
            request = self._follow(page.next_link, request)
            if events > EVENTS_LIMIT or len(pages) >= PAGES_LIMIT or request.url in seen:
                raise RoomError(f"{room}: its calendar has no end after {events} events on {len(pages)} pages; "
                                "lower display_upcoming_meetings of the profile if it really holds so many")
            seen.add(request.url)

    def _follow(self, link: str, request: GraphRequest) -> GraphRequest:
        try:
            return self._api.follow(link, request)
        except ValueError as error:
            raise GraphFormatError(f"Graph's answer leads elsewhere: {error}") from error


def _reading(known: Mapping[Mark, Occurrence], changed: Mapping[Mark, Invitation], memory: Memory,
             tally: Tally) -> RoomReading:
    """What was read, with one entry for an occurrence: where an event changed while it was read the later one."""
    marks = {mark: (one.uid, one.occurrence) for mark, one in changed.items()}
    fresh = dict(zip(marks.values(), changed.values(), strict=True))
    still = {mark: occurrence for mark, occurrence in known.items() if occurrence not in fresh}
    return RoomReading(list(fresh.values()), frozenset(still.values()), replace(memory, known=still | marks),
                       tally.requests)
