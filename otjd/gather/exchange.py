"""ExchangeSource: the calendars of an Exchange server on premises, read by EWS."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from otjd.gather.exchange_client import ExchangeClient
from otjd.gather.exchange_series import AHEAD, Expansion, Series, occurrences_of
from otjd.gather.exchange_streaming import Streams
from otjd.gather.source import Occurrence, RoomError, RoomReading
from otjd.meetings.model import Invitation, Window
from otjd.outbound.client import Answer
from otjd.protocol.ews_client import Concern, EwsError, UnreadableAnswerError, read_answer
from otjd.protocol.ews_client_availability import MAILBOXES, get_user_availability, read_availability
from otjd.protocol.ews_client_calendar import (
    BODY_LIMIT,
    PAGE,
    Listed,
    Told,
    batches,
    find_items,
    find_series,
    get_items,
    read_items,
    read_page,
)
from otjd.seam import InThread

_log = Logger()

ITEMS_AT_ONCE = 10
"""Items of one GetItem: what Microsoft advises, so that it ends within a minute."""

BATCH_BYTES = 8 * 1024 * 1024
"""Bytes of the items of one GetItem; a greater one is asked for alone."""

GREATEST_ITEM = 40 * 1024 * 1024
"""Bytes of an item beyond which its body is not asked for."""

BODIES_LIMIT = 32 * 1024 * 1024
"""Characters of all bodies of one reading; beyond it bodies are cut to SHORT_BODY."""

SHORT_BODY = 100_000
PAGES = 20
SERIES_PAGES = 4
_NO_SERIES = b"no series: "
BLIND_SWEEPS = 3
"""Sweeps in a row that tell nothing, after which there are none for SWEEPS_REST_S."""

SWEEPS_REST_S = 6 * 3600.0

Memory = Mapping[bytes, Occurrence | Series | None]
"""What was read: the version of each item, and which occurrence it is, or which it was expanded to; None for one
that cannot be shown."""


class ExchangeSource:
    """A CalendarSource over EWS.

    What a room holds is listed by FindItem; GetItem is asked only for items whose ChangeKey is new.
    """

    kind = "exchange"
    sweep_cost = 1
    read_cost = 1

    def __init__(self, client: ExchangeClient, *, clock: IReactorTime, in_thread: InThread,
                 jitter: Callable[[], float]) -> None:
        self.sweep_size = MAILBOXES
        self._client = client
        self._clock = clock
        self._in_thread = in_thread
        self._begun: set[str] = set()
        self._streams = Streams(client, clock=clock, jitter=jitter, was_read=self._begun.__contains__)
        self._expansion = Expansion()
        self._blind_sweeps = 0
        self._rest: IDelayedCall | None = None

    @property
    def at_once(self) -> int:
        """See CalendarSource."""
        return self._client.turns.for_reads

    def start(self, changed: Callable[[str], None]) -> None:
        """See CalendarSource."""
        self._streams.start(changed)

    def watch(self, rooms: Collection[str]) -> None:
        """See CalendarSource."""
        self._begun.intersection_update(rooms)
        self._streams.watch(rooms)

    def is_told_of(self, room: str) -> bool:
        """See CalendarSource."""
        return self._streams.is_told_of(room)

    async def stop(self) -> None:
        """See CalendarSource."""
        if self._rest is not None:
            self._rest.cancel()
            self._see_again()
        await self._streams.stop()
        await self._client.login.close()

    # when rooms are busy

    async def sweep(self, rooms: Sequence[str], window: Window) -> Mapping[str, bytes | RoomError]:
        """See CalendarSource."""
        try:
            # as the account itself: what is seen must not depend on which room is asked for first
            answers = await self._client.ask(
                await self._located(rooms), get_user_availability(rooms, window),
                lambda body, kind: read_availability(body, kind, rooms), is_impersonated=False)
        except UnreadableAnswerError as error:
            self._was_blind()
            raise RoomError(f"Exchange does not tell when rooms are busy: {error}") from error
        except EwsError as error:
            if error.concern in (Concern.MAILBOX, Concern.REQUEST):
                self._was_blind()
                raise RoomError(f"Exchange does not tell when rooms are busy: {error}") from error
            raise self._client.refusal("", error) from error
        found = {room: RoomError(f"{room}: {answer}") if isinstance(answer, EwsError) else answer
                 for room, answer in answers.items()}
        if any(isinstance(answer, bytes) for answer in found.values()):
            self._blind_sweeps = 0
        else:
            self._was_blind()
        return found

    async def _located(self, rooms: Sequence[str]) -> str:
        """The first room that has a server, which answers for the others too."""
        for room in rooms:
            try:
                await self._client.locator.locate(room)
            except RoomError:
                continue
            return room
        raise RoomError("No server is known for any of these rooms")

    def _was_blind(self) -> None:
        """A sweep told nothing; when that goes on, calendars are read without."""
        self._blind_sweeps += 1
        if self._blind_sweeps >= BLIND_SWEEPS and self.sweep_size:
            _log.warn("Exchange does not tell when rooms are busy: their calendars are read without, next "
                      "attempt in {delay_s} s", delay_s=SWEEPS_REST_S)
            self.sweep_size = 0
            self._rest = self._clock.callLater(SWEEPS_REST_S, self._see_again)

    def _see_again(self) -> None:
        self.sweep_size, self._blind_sweeps, self._rest = MAILBOXES, 0, None

    # what a calendar holds

    async def read(self, room: str, window: Window, memory: Any) -> RoomReading:
        """See CalendarSource."""
        self._begun.add(room)
        try:
            return await _Reading(self._client, self._in_thread, self._expansion, room=room, window=window,
                                  known=memory).read()
        except (EwsError, UnreadableAnswerError) as error:
            raise self._client.refusal(room, error) from error


class _Reading:
    """One reading of a room."""

    def __init__(self, client: ExchangeClient, in_thread: InThread, expansion: Expansion, *, room: str,
                 window: Window, known: Memory | None) -> None:
        self._client = client
        self._in_thread = in_thread
        self._expansion = expansion
        self._room = room
        self._window = window
        self._known = known or {}
        self._is_first = known is None
        self._requests = 0
        self._memory: dict[bytes, Occurrence | Series | None] = {}
        self._unchanged: set[Occurrence] = set()
        self._expanded: set[bytes] = set()
        self._invitations: list[Invitation] = []
        self._characters = 0

    async def read(self) -> RoomReading:
        items = await self._list()
        url = (await self._client.locator.locate(self._room)).url
        self._expansion.learn(url, items)
        masters = [item for item in items if item.is_master]
        new = [item for item in items if not item.is_master and not self._is_known(item)]
        for batch in batches(new, ITEMS_AT_ONCE, BATCH_BYTES):
            for item, told in zip(batch, await self._told(batch), strict=True):
                if told.is_master:
                    masters.append(item)
                else:
                    self._take(item, told)
        has_series = any(isinstance(one, Series) for one in self._known.values())
        hidden: list[Listed] = []
        if self._expansion.has_to_be_listed(url, if_unknown=self._is_first or has_series):
            seen = {item.item_id for item in items}
            hidden = [item for item in await self._list_series(url) if item.item_id not in seen]
        masters += [item for item in hidden if not self._is_known_as_none(item)]
        for batch in batches([m for m in masters if not self._is_known(m)], ITEMS_AT_ONCE, BATCH_BYTES):
            for master, told in zip(batch, await self._told(batch, as_icalendar=True), strict=True):
                await self._take_series(master, told)
        if self._expanded & {master.version for master in hidden}:
            self._expansion.found_hidden(url)
        return RoomReading(self._invitations, frozenset(self._unchanged), self._memory, self._requests)

    def _is_known(self, item: Listed) -> bool:
        """Whether it is as it was; then it is remembered on."""
        if item.version in self._memory:
            return True
        if item.version not in self._known:
            return False
        known = self._known[item.version]
        if isinstance(known, Series):
            if known.until < self._window.end:
                return False
            self._unchanged |= known.occurrences
        elif known is not None:
            self._unchanged.add(known)
        self._memory[item.version] = known
        return True

    def _is_known_as_none(self, item: Listed) -> bool:
        """Whether it was listed among series and is none."""
        key = _NO_SERIES + item.version
        if key in self._known:
            self._memory[key] = None
        return key in self._known

    async def _list(self) -> list[Listed]:
        """All items of the window, page by page."""
        found: dict[str, Listed] = {}
        start = self._window.start
        for _ in range(PAGES):
            page = await self._client.ask(self._room, find_items(self._room, start, self._window.end),
                                          lambda body, kind: read_page(read_answer(body, kind)), heard=self._heard)
            before = len(found)
            found.update((item.item_id, item) for item in page.items)
            if page.is_last or not page.items:
                return list(found.values())
            last = page.items[-1].start
            if last is None or len(found) == before or last < start:
                break
            start = last
        raise RoomError(f"{self._room}: the calendar has more than {PAGE} meetings at one time, or {PAGE * PAGES} "
                        "in all: is this a room?")

    async def _list_series(self, url: str) -> list[Listed]:
        """The masters of all series, which a view did not expand; none where the server does not list them."""
        found: dict[str, Listed] = {}
        for _ in range(SERIES_PAGES):
            try:
                page = await self._client.ask(self._room, find_series(self._room, len(found)),
                                              lambda body, kind: read_page(read_answer(body, kind)),
                                              heard=self._heard)
            except (EwsError, UnreadableAnswerError) as error:
                if isinstance(error, EwsError) and (error.is_transient or error.concern is Concern.ACCOUNT):
                    raise
                _log.info("{url} does not list series, which is of no matter where it expands them: {error}",
                          url=url, room=self._room, error=str(error))
                self._expansion.refused_list(url)
                return []
            before = len(found)
            found.update((item.item_id, item) for item in page.items)
            if page.is_last or len(found) == before:
                break
        return [item for item in found.values() if item.is_master or not item.kind]

    async def _told(self, batch: Sequence[Listed], *, as_icalendar: bool = False) -> list[Told]:
        """What Exchange says of items; one whose answer cannot be read costs itself, and its body first."""
        try:
            return await self._asked(batch, with_body=sum(item.size for item in batch) <= GREATEST_ITEM,
                                     as_icalendar=as_icalendar)
        except UnreadableAnswerError:
            if len(batch) > 1:
                return [(await self._told([item], as_icalendar=as_icalendar))[0] for item in batch]
        try:
            return await self._asked(batch, with_body=False, as_icalendar=False)
        except UnreadableAnswerError as error:
            return [Told(error=EwsError("ErrorItemCorrupt", str(error)))]

    async def _asked(self, batch: Sequence[Listed], *, with_body: bool, as_icalendar: bool) -> list[Told]:
        return await self._client.ask(
            self._room, get_items(batch, with_body=with_body, as_icalendar=as_icalendar),
            lambda body, kind: _patient(read_items(read_answer(body, kind), len(batch))), heard=self._heard)

    def _heard(self, _: Answer) -> None:
        self._requests += 1

    def _take(self, item: Listed, told: Told) -> None:
        """Keep what was said of an item.

        :raises EwsError: it is of a kind that may be gone at the next attempt: the meeting must not vanish.
        """
        if told.error is not None and (told.error.is_transient or told.error.concern is not Concern.MAILBOX):
            raise told.error
        if told.error is not None and told.error.code == "ErrorItemNotFound":
            return  # it was deleted since it was listed
        invitation = told.invitation
        if told.error is not None or invitation is None:
            _log.warn("A meeting of {room} cannot be read and is left out: {error}", room=self._room,
                      error=str(told.error or "it has no time"))
            self._memory[item.version] = None
            return
        self._keep(invitation)
        self._memory[item.version] = (invitation.uid, invitation.occurrence)

    def _keep(self, invitation: Invitation) -> None:
        limit = BODY_LIMIT if self._characters < BODIES_LIMIT else SHORT_BODY
        if len(invitation.body_html) + len(invitation.body_text) > limit:
            invitation = replace(invitation, body_html=invitation.body_html[:limit],
                                 body_text=invitation.body_text[:limit])
        self._characters += len(invitation.body_html) + len(invitation.body_text)
        self._invitations.append(invitation)

    async def _take_series(self, item: Listed, told: Told) -> None:
        """Keep the occurrences of a series that the server did not expand itself."""
        if told.error is not None:
            self._take(item, told)
            return
        if not told.is_master:
            self._memory[_NO_SERIES + item.version] = None
            return
        found: list[Invitation] = []
        until = self._window.end + AHEAD
        if told.invitation is not None and told.icalendar:
            found = await self._in_thread(occurrences_of, told.invitation, told.icalendar,
                                          Window(self._window.start, until))
        for invitation in found:
            self._keep(invitation)
            if self._window.overlaps(invitation.start_time, invitation.end_time):
                self._expanded.add(item.version)
        self._memory[item.version] = Series(frozenset((one.uid, one.occurrence) for one in found), until)


def _patient(told: list[Told]) -> list[Told]:
    """What was told, unless the server asks for patience, which it may do item by item.

    :raises EwsError: it does.
    """
    for one in told:
        if one.error is not None and one.error.concern is Concern.PATIENCE:
            raise one.error
    return told
