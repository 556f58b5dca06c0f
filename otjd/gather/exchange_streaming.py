"""Streams: news of changes in rooms, by EWS streaming notifications in groups of mailboxes of one server."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from otjd.gather.exchange_autodiscover import Place
from otjd.gather.exchange_client import ExchangeClient
from otjd.gather.exchange_group import Group, Shared
from otjd.gather.exchange_sharing import Sharing
from otjd.gather.source import SourceError
from otjd.poller import Poller
from otjd.seam import deferred

COALESCE_S = 2.0
"""How long to wait after an event: one change makes several, and their result is not there at once."""

ASSIGN_EVERY_S = 300.0
LOCATED_AT_ONCE = 100
GROUPS_AT_ONCE = 3
"""Groups that subscribe at a time, so that the first ones listen soon."""


class Streams:
    """Subscribes rooms and tells of what happens in them; where that does not work rooms are read without.

    :param was_read: see Shared.
    """

    _log = Logger()

    def __init__(self, client: ExchangeClient, *, clock: IReactorTime, jitter: Callable[[], float],
                 was_read: Callable[[str], bool]) -> None:
        self._locator = client.locator
        self._clock = clock
        self._sharing = Sharing()
        self._shared = Shared(client=client, clock=clock, jitter=jitter, was_read=was_read, sharing=self._sharing,
                              happened=self._happened, leave=self._leave, turns=DeferredSemaphore(GROUPS_AT_ONCE))
        self._changed: Callable[[str], None] = lambda _: None
        self._rooms: dict[str, None] = {}
        self._groups: list[Group] = []
        self._group_of: dict[str, Group] = {}
        self._pending: dict[str, IDelayedCall] = {}
        self._work: Deferred[None] | None = None
        self._poller = Poller(self._run, clock=clock, interval_s=ASSIGN_EVERY_S, jitter=jitter, failed=self._broke)

    def start(self, changed: Callable[[str], None]) -> None:
        """Begin to listen; `changed(room)` is called a little after something happened."""
        self._changed = changed
        self._poller.start()

    def watch(self, rooms: Collection[str]) -> None:
        """Listen to exactly these rooms; new ones are subscribed in this order, as far as groups allow."""
        self._rooms = dict.fromkeys(rooms)
        for room in self._group_of.keys() - self._rooms.keys():
            self._group_of.pop(room).remove(room)
        self._poller.trigger(hurry=True)

    def is_told_of(self, room: str) -> bool:
        """Whether a stream is open that tells of this room."""
        group = self._group_of.get(room)
        return group is not None and group.is_told_of(room)

    async def stop(self) -> None:
        """End all streams."""
        self._rooms = {}
        stopping = deferred(self._poller.stop())
        if self._work is not None:
            self._work.cancel()
        await stopping
        for group in self._groups:
            await group.stop()
        for call in self._pending.values():
            call.cancel()
        self._pending.clear()
        self._groups.clear()
        self._group_of.clear()

    def _happened(self, room: str) -> None:
        """Something happened in a room: tell of it, with what else comes in the next moments."""
        if room not in self._pending and room in self._rooms:
            self._pending[room] = self._clock.callLater(COALESCE_S, self._tell, room)

    def _tell(self, room: str) -> None:
        del self._pending[room]
        if room in self._rooms:
            self._changed(room)

    def _leave(self, room: str) -> None:
        """The room is somewhere else now: it is given to another group."""
        self._group_of.pop(room, None)
        self._poller.trigger()

    async def _run(self) -> float | None:
        self._work = deferred(self._assign())
        with suppress(CancelledError):  # this ends
            await self._work
        self._work = None
        return None

    async def _assign(self) -> None:
        """Put rooms into groups of one server and one affinity."""
        missing = [room for room in self._rooms if room not in self._group_of]
        for at in range(0, len(missing), LOCATED_AT_ONCE):
            asked = {room: deferred(self._place(room)) for room in missing[at:at + LOCATED_AT_ONCE]}
            for room, location in asked.items():
                place = await location
                if place is not None and room in self._rooms and room not in self._group_of:
                    self._join(room, place)

    async def _place(self, room: str) -> Place | None:
        try:
            return await self._locator.locate(room)
        except SourceError:
            return None  # reading the room tells why

    def _join(self, room: str, place: Place) -> None:
        for group in self._groups:
            if group.place == place and group.has_room and room not in group.strangers:
                break
        else:
            if not self._sharing.allows(len(self._groups)):
                return
            group = Group(self._shared, place)
            self._groups.append(group)
        self._group_of[room] = group
        group.add(room)

    def _broke(self, error: Exception, attempt: int, delay_s: float) -> None:
        """A bug, since `_assign` expects what can go wrong; the poller calls this while it handles the error."""
        self._log.failure("Assigning rooms to streams failed: {error}, next attempt in {delay_s} s",
                          error=str(error), attempt=attempt, delay_s=delay_s)
