"""Streams: news of changes in rooms, by EWS streaming notifications in groups of mailboxes of one server."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from otjd.gather.exchange_autodiscover import Place
from otjd.gather.exchange_client import ExchangeClient, check_status
from otjd.gather.exchange_login import Post
from otjd.gather.source import RoomError, SourceError, ThrottledError, UnreachableError
from otjd.outbound.client import Answer
from otjd.poller import Backoff, Poller
from otjd.protocol.ews_client import Concern, EwsError, UnreadableAnswerError, read_answer, request
from otjd.protocol.ews_client_streaming import (
    SUBSCRIPTIONS,
    Envelopes,
    News,
    get_streaming_events,
    read_news,
    read_subscription,
    subscribe,
    unsubscribe,
)
from otjd.seam import deferred

COALESCE_S = 2.0
"""How long to wait after an event: one change makes several, and their result is not there at once."""

SILENCE_S = 150.0
"""A stream that is silent for so long is dead: servers send a heartbeat every minute or less."""

ASSIGN_EVERY_S = 300.0
REFUSED_FOR_S = 900.0
"""How long a room is left without a subscription that was refused one."""

GATHER_S = 1.0
"""How long a new group waits for more rooms before it begins."""

LOCATED_AT_ONCE = 100
SUBSCRIBED_AT_ONCE = 3
"""Subscriptions made at a time, so that reads get their turn."""

BACKOFF = Backoff(first_s=5.0, limit_s=1800.0)
"""Each attempt may have to subscribe all rooms anew, so that the last ones are far apart."""

ELSEWHERE = "ErrorProxyRequestNotAllowed"
"""The mailbox is on other servers than the anchor of its group, which cannot be known without Autodiscover."""

AFFINITY_COOKIE = "X-BackEndOverrideCookie"
_PASSING = frozenset({"ErrorServerBusy", "ErrorExceededConnectionCount", "ErrorTooManyObjectsOpened",
                      "ErrorInsufficientResources"})
"""After these the subscriptions are still there; after all others they are made anew."""


class Streams:
    """Subscribes rooms and tells of what happens in them; where that does not work rooms are read without."""

    _log = Logger()

    def __init__(self, client: ExchangeClient, *, clock: IReactorTime, jitter: Callable[[], float]) -> None:
        self.client = client
        self.clock = clock
        self.jitter = jitter
        self.turns = DeferredSemaphore(SUBSCRIBED_AT_ONCE)
        self._changed: Callable[[str], None] = lambda _: None
        self._rooms: frozenset[str] = frozenset()
        self._groups: list[_Group] = []
        self._group_of: dict[str, _Group] = {}
        self._pending: dict[str, IDelayedCall] = {}
        self._work: Deferred[None] | None = None
        self._poller = Poller(self._run, clock=clock, interval_s=ASSIGN_EVERY_S, jitter=jitter, failed=self._broke)

    def start(self, changed: Callable[[str], None]) -> None:
        """Begin to listen; `changed(room)` is called a little after something happened."""
        self._changed = changed
        self._poller.start()

    def watch(self, rooms: Collection[str]) -> None:
        """Listen to exactly these rooms."""
        self._rooms = frozenset(rooms)
        for room in self._group_of.keys() - self._rooms:
            self._group_of.pop(room).remove(room)
        self._poller.trigger(hurry=True)

    def is_told_of(self, room: str) -> bool:
        """Whether a stream is open that tells of this room."""
        group = self._group_of.get(room)
        return group is not None and group.is_told_of(room)

    async def stop(self) -> None:
        """End all streams."""
        self._rooms = frozenset()
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

    def happened(self, room: str) -> None:
        """Something happened in a room: tell of it, with what else comes in the next moments."""
        if room not in self._pending and room in self._rooms:
            self._pending[room] = self.clock.callLater(COALESCE_S, self._tell, room)

    def _tell(self, room: str) -> None:
        del self._pending[room]
        if room in self._rooms:
            self._changed(room)

    def leave(self, room: str) -> None:
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
        missing = sorted(self._rooms - self._group_of.keys())
        for at in range(0, len(missing), LOCATED_AT_ONCE):
            asked = {room: deferred(self._place(room)) for room in missing[at:at + LOCATED_AT_ONCE]}
            for room, location in asked.items():
                place = await location
                if place is not None and room in self._rooms and room not in self._group_of:
                    self._join(room, place)

    async def _place(self, room: str) -> Place | None:
        try:
            return await self.client.locator.locate(room)
        except SourceError:
            return None  # reading the room tells why

    def _join(self, room: str, place: Place) -> None:
        for group in self._groups:
            if group.place == place and group.has_room and room not in group.strangers:
                break
        else:
            group = _Group(self, place)
            self._groups.append(group)
        self._group_of[room] = group
        group.add(room)

    def _broke(self, error: Exception, attempt: int, delay_s: float) -> None:
        """A bug, since `_assign` expects what can go wrong; the poller calls this while it handles the error."""
        self._log.failure("Assigning rooms to streams failed: {error}, next attempt in {delay_s} s",
                          error=str(error), attempt=attempt, delay_s=delay_s)


class _Group:
    """Mailboxes that share one stream."""

    _log = Logger()

    def __init__(self, streams: Streams, place: Place) -> None:
        self.place = place
        self._streams = streams
        self._clock = streams.clock
        self._rooms: set[str] = set()
        self._ids: dict[str, str] = {}
        self._obsolete: dict[str, str] = {}
        self._refused: dict[str, float] = {}
        self.strangers: set[str] = set()
        self._cookie = ""
        self._anchor = ""
        self._stream: Deferred[Answer] | None = None
        self._work: Deferred[float] | None = None
        self._is_started = False
        self._is_open = False
        self._has_gap = False
        self._times_throttled = 0
        self._is_stopped = False
        self._poller = Poller(self._run, clock=streams.clock, interval_s=0.0, jitter=streams.jitter,
                              failed=self._failed, backoff=BACKOFF)

    @property
    def has_room(self) -> bool:
        """Whether another mailbox may share the stream."""
        return len(self._rooms) < SUBSCRIPTIONS

    def is_told_of(self, room: str) -> bool:
        return self._is_open and room in self._ids

    def add(self, room: str) -> None:
        """Listen to this room too, from the next turn of the loop on."""
        self._rooms.add(room)
        self._interrupt()

    def remove(self, room: str) -> None:
        self._rooms.discard(room)
        self._refused.pop(room, None)
        if room in self._ids:
            self._obsolete[room] = self._ids.pop(room)
            self._interrupt()

    async def stop(self) -> None:
        self._is_stopped = True
        stopping = deferred(self._poller.stop())
        if self._work is not None:
            self._work.cancel()
        await stopping

    def _interrupt(self) -> None:
        """End the stream, to open it anew with other rooms."""
        if self._stream is not None:
            self._stream.cancel()
        elif not self._is_started:
            self._is_started = True
            self._poller.start(GATHER_S)
        else:
            self._poller.trigger()

    async def _run(self) -> float:
        self._work = deferred(self._turn())
        try:
            delay_s = await self._work
        except CancelledError:
            return 0.0  # this ends
        except ThrottledError as error:
            self._times_throttled += 1
            delay_s = max(error.retry_after.total_seconds(),
                          BACKOFF.delay_s(self._times_throttled, self._streams.jitter()))
            self._failed(error, self._times_throttled, delay_s)
            return delay_s
        finally:
            self._work = None
        self._times_throttled = 0
        return delay_s

    async def _turn(self) -> float:
        """Subscribe, and listen for as long as the server lets."""
        for room, identity in tuple(self._obsolete.items()):
            del self._obsolete[room]
            await self._unsubscribe(room, identity)
        await self._subscribe()
        if not self._rooms:
            return ASSIGN_EVERY_S
        if not self._ids:
            return REFUSED_FOR_S
        if not self._is_stopped:
            await self._listen()
        return 0.0

    # subscriptions

    def _headers(self) -> Mapping[str, str]:
        affinity = {"X-AnchorMailbox": self._anchor, "X-PreferServerAffinity": "true"}
        if self._cookie:
            affinity["Cookie"] = f"{AFFINITY_COOKIE}={self._cookie}"
        return affinity

    async def _subscribe(self) -> None:
        """Subscribe the rooms that have no subscription.

        :raises SourceError: that cannot be done at present.
        """
        while not self._is_stopped and (missing := self._missing()):
            room = min(missing)
            await self._streams.turns.acquire()
            try:
                if await self._streams.client.locator.locate(room) != self.place:
                    self._leave(room)
                    continue
                self._anchor = self._anchor or room
                identity = await self._streams.client.ask(room, subscribe(), read_subscription,
                                                          headers=self._headers(), heard=self._heed_cookie)
            except EwsError as error:
                if error.code == ELSEWHERE and room != self._anchor:
                    self.strangers.add(room)
                    self._leave(room)
                else:
                    self._note(room, self._streams.client.refusal(room, error))
            except UnreadableAnswerError as error:
                self._note(room, self._streams.client.refusal(room, error))
            except (RoomError, ThrottledError) as error:
                self._note(room, error)
            else:
                self._refused.pop(room, None)
                if room in self._rooms:
                    self._ids[room] = identity
                    self._streams.happened(room)  # whatever happened before it was subscribed
                else:
                    self._obsolete[room] = identity
            finally:
                self._streams.turns.release()

    def _leave(self, room: str) -> None:
        self._rooms.discard(room)
        self._streams.leave(room)

    def _missing(self) -> set[str]:
        """The rooms without a subscription, but for those that were refused one a little while ago."""
        at = self._clock.seconds()
        return {room for room in self._rooms - self._ids.keys()
                if at - self._refused.get(room, float("-inf")) >= REFUSED_FOR_S}

    def _note(self, room: str, error: SourceError) -> None:
        if not (isinstance(error, RoomError) or (isinstance(error, ThrottledError) and error.room)):
            raise error
        self._log.info("{room} is read without notifications for now: {error}", room=room, error=str(error))
        self._refused[room] = self._clock.seconds()
        if self._anchor == room:
            self._anchor = ""

    def _heed_cookie(self, answer: Answer) -> None:
        for line in answer.all_of("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            if name.strip().lower() == AFFINITY_COOKIE.lower() and not self._cookie:
                self._cookie = value.strip()[:1000]

    async def _unsubscribe(self, room: str, identity: str) -> None:
        try:
            await self._streams.client.ask(room, unsubscribe(identity), read_answer, headers=self._headers())
        except (SourceError, EwsError, UnreadableAnswerError) as error:
            self._log.info("A subscription of {room} was left to end by itself: {error}", room=room,
                           error=str(error))

    # the stream

    async def _listen(self) -> None:
        """Listen until the server ends the stream, which it does after its time, or a room comes or goes.

        :raises SourceError: it broke off.
        """
        client = self._streams.client
        anchor = self._anchor if self._anchor in self._ids else min(self._ids)
        rooms = {identity: room for room, identity in self._ids.items()}
        envelopes = Envelopes()

        def received(data: bytes) -> None:
            for envelope in envelopes.feed(data):
                self._hear(read_news(envelope), rooms)

        heads: list[Answer] = []
        client.spend(1)
        self._stream = deferred(client.login.send(Post(
            self.place.url, request(get_streaming_events(list(rooms)), anchor), self._headers(), stream=received,
            started=heads.append, idle_s=SILENCE_S)))
        was_open = False
        try:
            answer = await self._stream
            was_open = self._is_open
            check_status(answer, self.place.url)
        except CancelledError:
            return  # a room came or went, or this ends
        except EwsError as error:
            self._has_gap = True
            self._resubscribe_after(error)
            raise client.refusal(anchor, error) from error
        except UnreadableAnswerError as error:
            self._has_gap = True
            raise client.refusal(anchor, error) from error
        except SourceError:
            self._has_gap = True
            raise
        finally:
            self._stream, self._is_open = None, False
        if not was_open:
            raise UnreachableError("The stream of notifications ended before it began")

    def _hear(self, news: News, rooms: Mapping[str, str]) -> None:
        """Take one envelope.

        :raises EwsError: the stream is of no more use.
        """
        for identity in news.lost:
            room = rooms.get(identity)
            if room is not None and self._ids.get(room) == identity:
                del self._ids[room]
        if news.error is not None:
            raise news.error
        self._is_open = True
        if self._has_gap:
            self._has_gap = False
            for room in tuple(self._ids):
                self._streams.happened(room)
        for identity in news.changed:
            if identity in rooms:
                self._streams.happened(rooms[identity])

    def _resubscribe_after(self, error: EwsError) -> None:
        """Forget the subscriptions that are of no more use."""
        if error.code in _PASSING or error.concern is Concern.ACCOUNT:
            return
        if len(self._ids) < len(self._rooms) - len(self._refused):
            return  # the server named those that are lost
        self._ids.clear()
        self._cookie = self._anchor = ""

    def _failed(self, error: Exception, attempt: int, delay_s: float) -> None:
        if not isinstance(error, SourceError):  # our own bug
            self._log.failure("Listening to {rooms} rooms failed, next attempt in {delay_s} s",
                              rooms=len(self._rooms), delay_s=delay_s)
        elif attempt == 1:
            self._log.warn("{rooms} rooms are read without notifications for now: {error}", rooms=len(self._rooms),
                           error=str(error), delay_s=delay_s)
