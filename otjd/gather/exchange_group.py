"""Group: mailboxes of one Exchange server that are subscribed, and listened to by one stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from otjd.gather.exchange_autodiscover import Place
from otjd.gather.exchange_client import ExchangeClient, check_status
from otjd.gather.exchange_login import Post
from otjd.gather.exchange_sharing import Sharing
from otjd.gather.source import RoomError, SourceError, ThrottledError, UnreachableError
from otjd.outbound.client import Answer
from otjd.poller import Backoff, Poller
from otjd.protocol.ews_client import Concern, EwsError, UnreadableAnswerError, read_answer, request
from otjd.protocol.ews_client_streaming import (
    Envelopes,
    News,
    get_streaming_events,
    read_news,
    read_subscription,
    subscribe,
    unsubscribe,
)
from otjd.seam import deferred

SILENCE_S = 150.0
"""A stream that is silent for so long is dead: servers send a heartbeat every minute or less."""

IDLE_S = 300.0
"""After this time a group without rooms looks again; a new room makes it look at once."""

REFUSED_FOR_S = 900.0
"""How long a room is left without a subscription that was refused one."""

GATHER_S = 1.0
"""How long a new group waits for more rooms before it begins."""

SUBSCRIBED_AT_ONCE = 8
"""Subscriptions that a group asks for at a time; `Turns` says how many of them are under way."""

BACKOFF = Backoff(first_s=5.0, limit_s=1800.0)
"""Each attempt may have to subscribe all rooms anew, so that the last ones are far apart."""

ELSEWHERE = "ErrorProxyRequestNotAllowed"
"""The mailbox is on other servers than the anchor of its group, which cannot be known without Autodiscover."""

AFFINITY_COOKIE = "X-BackEndOverrideCookie"
_PASSING = frozenset({"ErrorServerBusy", "ErrorExceededConnectionCount", "ErrorTooManyObjectsOpened",
                      "ErrorInsufficientResources"})
"""After these the subscriptions are still there; after all others they are made anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all groups of an integration share.

    `was_read` is whether a read of a room has begun; if not, its first read will see what happened before it was
    subscribed. `happened` is to be called when something happened in a room, `leave` when it belongs to another
    group. `turns` are those of groups that subscribe, `sharing` says how many mailboxes a stream may have.
    """

    client: ExchangeClient
    clock: IReactorTime
    jitter: Callable[[], float]
    was_read: Callable[[str], bool]
    happened: Callable[[str], None]
    leave: Callable[[str], None]
    turns: DeferredSemaphore
    sharing: Sharing


class Group:
    """Mailboxes that share one stream."""

    _log = Logger()

    def __init__(self, shared: Shared, place: Place) -> None:
        self.place = place
        self._shared = shared
        self._rooms: dict[str, None] = {}
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
        self._poller = Poller(self._run, clock=shared.clock, interval_s=0.0, jitter=shared.jitter,
                              failed=self._failed, backoff=BACKOFF)

    @property
    def has_room(self) -> bool:
        """Whether another mailbox may share the stream."""
        return len(self._rooms) < self._shared.sharing.limit

    def is_told_of(self, room: str) -> bool:
        """Whether the stream is open and tells of this room."""
        return self._is_open and room in self._ids

    def add(self, room: str) -> None:
        """Listen to this room too, from the next turn of the loop on."""
        self._rooms[room] = None
        self._interrupt()

    def remove(self, room: str) -> None:
        """Listen to this room no more."""
        self._rooms.pop(room, None)
        self._refused.pop(room, None)
        if room in self._ids:
            self._obsolete[room] = self._ids.pop(room)
            self._interrupt()

    async def stop(self) -> None:
        """End the stream, and what leads to it."""
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
                          BACKOFF.delay_s(self._times_throttled, self._shared.jitter()))
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
            return IDLE_S
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
            await self._shared.turns.acquire()
            try:
                if not self._ids:  # the anchor first: its answer brings the cookie for the others
                    await self._subscribe_one(min(missing))
                    continue
                await self._subscribe_several(missing)
            finally:
                self._shared.turns.release()

    async def _subscribe_several(self, missing: list[str]) -> None:
        """Subscribe these, a few at a time; after an error no more are begun."""
        left = deque(missing)
        errors: list[Exception] = []

        async def some() -> None:
            while left and not (errors or self._is_stopped):
                room = left.popleft()
                if room in self._rooms:
                    try:
                        await self._subscribe_one(room)
                    except Exception as error:
                        errors.append(error)

        await DeferredList([deferred(some()) for _ in missing[:SUBSCRIBED_AT_ONCE]])
        if errors:
            raise errors[0]

    async def _subscribe_one(self, room: str) -> None:
        client = self._shared.client
        try:
            if await client.locator.locate(room) != self.place:
                self._leave(room)
                return
            self._anchor = self._anchor or room
            identity = await client.ask(room, subscribe(), read_subscription, subscribes=True,
                                        headers=self._headers(), heard=self._heed_cookie)
        except EwsError as error:
            if error.code == ELSEWHERE and room != self._anchor:
                self.strangers.add(room)
                self._leave(room)
            else:
                self._note(room, client.refusal(room, error))
        except UnreadableAnswerError as error:
            self._note(room, client.refusal(room, error))
        except (RoomError, ThrottledError) as error:
            self._note(room, error)
        else:
            self._refused.pop(room, None)
            if room not in self._rooms:
                self._obsolete[room] = identity
                return
            self._ids[room] = identity
            if self._shared.was_read(room):
                self._shared.happened(room)  # whatever happened before it was subscribed

    def _leave(self, room: str) -> None:
        self._rooms.pop(room, None)
        self._shared.leave(room)

    def _missing(self) -> list[str]:
        """The rooms without a subscription, but for those that were refused one a little while ago."""
        at = self._shared.clock.seconds()
        return [room for room in self._rooms if room not in self._ids
                and at - self._refused.get(room, float("-inf")) >= REFUSED_FOR_S]

    def _note(self, room: str, error: SourceError) -> None:
        if not (isinstance(error, RoomError) or (isinstance(error, ThrottledError) and error.room)):
            raise error
        self._log.info("{room} is read without notifications for now: {error}", room=room, error=str(error))
        self._refused[room] = self._shared.clock.seconds()
        if self._anchor == room:
            self._anchor = ""

    def _heed_cookie(self, answer: Answer) -> None:
        for line in answer.all_of("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            if name.strip().lower() == AFFINITY_COOKIE.lower() and not self._cookie:
                self._cookie = value.strip()[:1000]

    async def _unsubscribe(self, room: str, identity: str) -> None:
        try:
            await self._shared.client.ask(room, unsubscribe(identity), read_answer, subscribes=True,
                                           headers=self._headers())
        except (SourceError, EwsError, UnreadableAnswerError) as error:
            self._log.info("A subscription of {room} was left to end by itself: {error}", room=room,
                           error=str(error))

    # the stream

    async def _listen(self) -> None:
        """Listen until the server ends the stream, which it does after its time, or a room comes or goes.

        :raises SourceError: it broke off.
        """
        client = self._shared.client
        anchor = self._anchor if self._anchor in self._ids else min(self._ids)
        rooms = {identity: room for room, identity in self._ids.items()}
        envelopes = Envelopes()

        def received(data: bytes) -> None:
            for envelope in envelopes.feed(data):
                self._hear(read_news(envelope), rooms)

        stream = await self._begun(Post(
            self.place.url, request(get_streaming_events(list(rooms)), anchor), self._headers(), stream=received,
            idle_s=SILENCE_S))
        if stream is None:
            return
        was_open = False
        try:
            answer = await stream
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

    async def _begun(self, post: Post) -> Deferred[Answer] | None:
        """The end of the stream, once it was answered; None where a room came or went before its turn.

        It takes a turn until then, since a server may count it like any other request so far.
        """
        def is_answered(_: object = None) -> None:
            if not answered.called:
                answered.callback(None)

        def has_ended(outcome: Answer | Failure) -> None:
            if not ended.called:
                ended.callback(outcome)  # a failure too
            is_answered()

        async with self._shared.client.turns.turn(subscribes=True):
            if self._missing() or self._obsolete or not self._ids:
                return None
            self._shared.client.spend(1)
            ended: Deferred[Answer] = Deferred(lambda _: stream.cancel())
            answered: Deferred[None] = Deferred(lambda _: stream.cancel())
            stream = deferred(self._shared.client.login.send(replace(post, started=is_answered)))
            self._stream = stream
            # what waits must not go on while the stream itself is being cancelled, so it waits for something else
            stream.addBoth(has_ended)
            try:
                await answered
            except CancelledError:
                ended.addErrback(lambda _: None)  # it ends later, when nobody waits any more
                raise
        return ended

    def _hear(self, news: News, rooms: Mapping[str, str]) -> None:
        """Take one envelope.

        :raises EwsError: the stream is of no more use.
        """
        for identity in news.lost:
            room = rooms.get(identity)
            if room is not None and self._ids.get(room) == identity:
                del self._ids[room]
        if news.error is not None:
            if not self._is_open and self._shared.sharing.tore(news.error.code, len(self._ids), len(rooms)):
                for room in self._rooms.keys() - self._ids.keys():
                    self._leave(room)
            raise news.error
        if not self._is_open:
            self._shared.sharing.held(len(rooms))
        self._is_open = True
        if self._has_gap:
            self._has_gap = False
            for room in tuple(self._ids):
                self._shared.happened(room)
        for identity in news.changed:
            if identity in rooms:
                self._shared.happened(rooms[identity])

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
