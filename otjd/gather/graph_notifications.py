"""GraphNotifications: Microsoft Graph tells of changes by itself, through one subscription for each room."""

from __future__ import annotations

import hmac
import html
import secrets
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from otjd.gather.graph_client import GoneError, GraphClient, RefusedError
from otjd.gather.graph_kept import Kept, read_kept, write_kept
from otjd.gather.source import BudgetSpentError, RoomError, SourceError, ThrottledError
from otjd.poller import Poller
from otjd.protocol.graph_events import GraphFormatError
from otjd.protocol.graph_requests import SUBSCRIPTION_LIFE, GraphApi
from otjd.protocol.graph_subscriptions import Lifecycle, read_notices, read_subscription
from otjd.seam import InThread, deferred

AT_ONCE = 4
"""Subscriptions that are asked for at the same time: each is a request, and Graph calls back during it."""

ROUND = 200
"""Subscriptions that are seen to until their ids are kept."""

LOOK_EVERY_S = 60.0
SETTLE_S = 0.2
"""Notices are gathered for this long, and answered at once: a change makes several."""

LATE_S = 600.0
"""A notice that has not come after this time, three times what Microsoft says, does not come."""

RETRY_FIRST_S = 60.0
RETRY_LIMIT_S = 3600.0
BODY_LIMIT = 2 * 1024 * 1024
TOKEN_LIMIT = 2_000
STOP_DELETES = 20
STOP_WAIT_S = 1.5
SHORTEST_LIFE = timedelta(minutes=2)
_REACHABLE = ". notification_url must be reachable for Microsoft, with a certificate of a public authority"
PLAIN = "text/plain; charset=utf-8"

Reply = tuple[int, str, bytes]
"""Status, content type and body of an answer."""


@dataclass(slots=True, eq=False)
class _Room:
    """A room and its subscription: `id` is empty where there is none, `due_s` when it is to be seen to,
    `noticed_s` when a notice came, or could not come yet."""

    email: str
    id: str = ""
    client_state: str = field(default="", repr=False)
    expires: datetime | None = None
    due_s: float = 0.0
    noticed_s: float = 0.0
    failures: int = 0


class GraphNotifications:
    """Subscribes rooms, keeps the subscriptions alive, and takes the notices.

    A notice only says that a room should be read: what it is of, and whether it is true, the read shows. A
    subscription is renewed when half its life is over. Ids are kept in the file `state`, so that a restart goes on
    with what is there.

    :param url: where Graph sends notices to, from outside.
    :param now: the aware UTC time.
    """

    _log = Logger()

    def __init__(self, client: GraphClient, api: GraphApi, *, url: str, integration: str, clock: IReactorTime,
                 now: Callable[[], datetime], jitter: Callable[[], float], in_thread: InThread,
                 state: Path | None = None) -> None:
        self._client = client
        self._api = api
        self._url = url
        self._integration = integration
        self._clock = clock
        self._now = now
        self._jitter = jitter
        self._in_thread = in_thread
        self._state = state
        self._rooms: dict[str, _Room] = {}
        self._by_id: dict[str, _Room] = {}
        self._unwanted: set[str] = set()
        self._known: Mapping[str, Kept] | None = None
        self._changed: Callable[[str], None] = lambda _: None
        self._told: set[str] = set()
        self._settling: IDelayedCall | None = None
        self._wait_until_s = 0.0
        self._unannounced_s: float | None = None
        self._is_silent = False
        self._problem = ""
        self._failures = 0
        self._is_unsaved = False
        self._is_running = False
        self._poller = Poller(self._look, clock=clock, interval_s=LOOK_EVERY_S, jitter=jitter, failed=self._broke)

    # from outside

    def start(self, changed: Callable[[str], None]) -> None:
        """Subscribe from now on; `changed(room)` is called with each room that there is news of."""
        self._changed = changed
        self._is_running = True
        self._poller.start()

    def watch(self, rooms: Collection[str]) -> None:
        """Be told of exactly these rooms."""
        for gone in self._rooms.keys() - set(rooms):
            self._drop(self._rooms.pop(gone), is_wanted=False)
        for email in rooms:
            if email not in self._rooms:
                self._rooms[email] = _Room(email)
                if self._known is not None:
                    self._take_up(self._rooms[email])
        self._poller.trigger(hurry=True)

    def is_told_of(self, room: str) -> bool:
        """Whether there is a subscription for this room that is alive, and notices come."""
        found = self._rooms.get(room)
        return found is not None and self._is_alive(found) and not self._is_silent

    def unannounced(self, room: str) -> None:
        """A change of this room was found without a notice of it: it may still come."""
        found = self._rooms.get(room)
        at = self._clock.seconds()
        if found is not None and self._is_alive(found) and at - found.noticed_s > LATE_S:
            self._unannounced_s = at if self._unannounced_s is None else self._unannounced_s

    def handle(self, query: Mapping[bytes, list[bytes]], body: bytes) -> Reply:
        """The answer to a request at `url`, at once; `query` are its arguments, decoded, as twisted.web has them.

        Anybody may ask: the handshake gives back the text that came, as text, and a notice counts with the secret
        of its subscription alone. A stranger learns nothing from the answer.
        """
        tokens = query.get(b"validationToken")
        if tokens:
            token = tokens[0].decode("utf-8", "replace")
            if len(token) > TOKEN_LIMIT or not token.isprintable():
                return 400, PLAIN, b""
            return 200, PLAIN, html.escape(token, quote=False).encode()
        if len(body) > BODY_LIMIT:
            return 413, PLAIN, b""
        try:
            notices = read_notices(body)
        except GraphFormatError:
            return 400, PLAIN, b""
        for notice in notices:
            room = self._by_id.get(notice.subscription)
            if room is not None and hmac.compare_digest(notice.client_state.encode("utf-8", "replace"),
                                                        room.client_state.encode()):
                self._noticed(room, notice.lifecycle)
        return 202, PLAIN, b""

    async def stop(self) -> None:
        """End. Subscriptions stay for the next start where their ids are kept; a few others are ended."""
        self._is_running = False
        if self._settling is not None and self._settling.active():
            self._settling.cancel()
        await self._in_time(self._poller.stop())
        if self._state is not None:
            await self._save()
            return
        live = [room.id for room in self._rooms.values() if room.id]
        if len(live) <= STOP_DELETES:
            for one in [deferred(self._in_time(self._unsubscribe(number))) for number in live]:
                await one

    async def _in_time(self, job: Coroutine[Deferred[Any], Any, None]) -> None:
        """Wait for a job, though not long: requests under way are given up with the client."""
        try:
            await deferred(job).addTimeout(STOP_WAIT_S, self._clock)
        except DeferredTimeoutError:
            self._log.info("{integration} was stopped before all was said", integration=self._integration)

    # notices

    def _noticed(self, room: _Room, lifecycle: Lifecycle) -> None:
        room.noticed_s = self._clock.seconds()
        self._unannounced_s = None
        if self._is_silent:
            self._is_silent = False
            self._log.info("Notices of {integration} come again", integration=self._integration)
        if lifecycle is not Lifecycle.NONE:
            self._log.info("Graph says {event} of the subscription for {room}", event=lifecycle.value,
                           room=room.email, integration=self._integration)
        if lifecycle is Lifecycle.REAUTHORIZE:
            self._see_to(room)
            return
        if lifecycle is Lifecycle.REMOVED:
            self._drop(room, is_wanted=True)
            self._see_to(room)
        self._tell(room)

    def _see_to(self, room: _Room) -> None:
        room.due_s = self._clock.seconds()
        self._poller.trigger(hurry=True)

    def _tell(self, room: _Room) -> None:
        self._told.add(room.email)
        if self._settling is None and self._is_running:
            self._settling = self._clock.callLater(SETTLE_S, self._settled)

    def _settled(self) -> None:
        self._settling = None
        told, self._told = self._told, set()
        for email in told & self._rooms.keys():
            self._changed(email)

    # subscriptions

    def _is_alive(self, room: _Room) -> bool:
        return room.id != "" and room.expires is not None and self._now() < room.expires

    def _listen(self) -> None:
        """Believe no longer that notices come where one is overdue and none of any room came since."""
        since_s = self._unannounced_s
        if since_s is not None and not self._is_silent and self._clock.seconds() - since_s > LATE_S:
            self._is_silent = True
            self._log.warn("Graph told nothing of changes for {late_s:.0f} s though there were some, the rooms of "
                           "{integration} are polled. Does notification_url still end at this node?",
                           late_s=LATE_S, integration=self._integration)

    async def _look(self) -> float:
        """See to what is due; gives when something is due again."""
        self._listen()
        if self._known is None:
            self._known = await self._load()
            for room in self._rooms.values():
                self._take_up(room)
            self._unwanted.update(one.id for one in self._known.values() if one.id not in self._by_id)
        if self._clock.seconds() >= self._wait_until_s:
            due = [room for room in self._rooms.values() if room.due_s <= self._clock.seconds()]
            await self._all(sorted(due, key=lambda room: room.due_s)[:1 if self._problem else ROUND])
            for number in tuple(self._unwanted)[:STOP_DELETES]:
                self._unwanted.discard(number)
                await self._unsubscribe(number)
        await self._save()
        at = self._clock.seconds()
        due_s = min((room.due_s for room in self._rooms.values()), default=at + LOOK_EVERY_S)
        return min(LOOK_EVERY_S, max(1.0, max(self._wait_until_s, due_s) - at))

    async def _all(self, rooms: list[_Room]) -> None:
        """See to rooms, a few at a time, until Graph asks for patience or the stop comes."""
        rooms.reverse()

        async def some() -> None:
            while rooms and self._is_running and self._clock.seconds() >= self._wait_until_s:
                room = rooms.pop()
                if self._rooms.get(room.email) is room:
                    await self._see(room)

        for one in [deferred(some()) for _ in range(min(AT_ONCE, len(rooms)))]:
            await one

    async def _see(self, room: _Room) -> None:
        """Make or renew the subscription of a room."""
        try:
            if self._is_alive(room):
                await self._renew(room)
            else:
                self._drop(room, is_wanted=True)
                await self._subscribe(room)
        except ThrottledError as error:
            wait_s = error.retry_after.total_seconds() * (1 + self._jitter() / 10)
            if error.room:
                room.due_s = self._clock.seconds() + wait_s
            else:
                self._wait_until_s = self._clock.seconds() + wait_s
        except (SourceError, GraphFormatError) as error:
            self._failed(room, error)
        else:
            room.failures = self._failures = 0
            self._problem = ""

    async def _subscribe(self, room: _Room) -> None:
        state = secrets.token_urlsafe(32)
        expires = self._now() + SUBSCRIPTION_LIFE
        answer = await self._client.ask(self._api.subscribe(room.email, self._url, state, expires), room.email)
        made = read_subscription(answer.body)
        if self._rooms.get(room.email) is not room:
            self._unwanted.add(made.id)
            return
        room.id, room.client_state = made.id, state
        room.noticed_s = self._clock.seconds()
        self._by_id[made.id] = room
        self._lives_until(room, made.expires)
        self._tell(room)  # what changed before nobody told

    async def _renew(self, room: _Room) -> None:
        number = room.id
        request = self._api.renew(number, self._now() + SUBSCRIPTION_LIFE)
        try:
            answer = await self._client.ask(request, room.email)
        except (GoneError, RoomError, RefusedError) as error:
            self._log.info("The subscription for {room} cannot be renewed, it is made anew", room=room.email,
                           integration=self._integration)
            self._drop(room, is_wanted=not isinstance(error, RefusedError))
            await self._subscribe(room)
            return
        if room.id == number:
            self._lives_until(room, read_subscription(answer.body).expires)

    async def _unsubscribe(self, number: str) -> None:
        try:
            await self._client.ask(self._api.unsubscribe(number), "")
        except SourceError as error:
            self._log.debug("A subscription was not ended, it does so by itself: {error}", error=str(error),
                            integration=self._integration)

    def _lives_until(self, room: _Room, expires: datetime) -> None:
        left = max(min(expires - self._now(), SUBSCRIPTION_LIFE * 4), SHORTEST_LIFE)
        room.expires = expires
        room.due_s = self._clock.seconds() + left.total_seconds() / 2 * (1 - self._jitter() / 10)
        self._is_unsaved = True

    def _drop(self, room: _Room, *, is_wanted: bool) -> None:
        if room.id:
            self._by_id.pop(room.id, None)
            if not is_wanted:
                self._unwanted.add(room.id)
            room.id, room.client_state, room.expires = "", "", None
            self._is_unsaved = True

    def _failed(self, room: _Room, error: Exception) -> None:
        """Let a room wait; or all, and try only one of them next, where the others would fare no better."""
        is_handshake = isinstance(error, RefusedError) and "validation" in str(error).lower()
        if not is_handshake and isinstance(error, RoomError | GoneError | RefusedError | GraphFormatError):
            room.failures += 1
            room.due_s = self._clock.seconds() + self._wait_s(room.failures)
            is_news = room.failures == 1
        else:
            is_news = not self._problem
            self._problem = str(error)
            at = self._clock.seconds()
            if at >= self._wait_until_s:  # several may have been under way
                self._failures += 1
            self._wait_until_s = max(self._wait_until_s, at + self._wait_s(self._failures))
        if is_news and not isinstance(error, BudgetSpentError):  # which the reads tell of
            self._log.warn("Graph does not tell of changes in {room}, it is polled: {error}{hint}",
                           room=room.email, integration=self._integration, error=str(error),
                           hint=_REACHABLE if is_handshake else "")

    def _wait_s(self, failures: int) -> float:
        return min(RETRY_LIMIT_S, RETRY_FIRST_S * 2.0 ** min(failures - 1, 20)) * (1 + self._jitter() / 10)

    def _broke(self, _error: Exception, attempt: int, delay_s: float) -> None:
        """A bug; the poller calls this while it handles the error."""
        self._log.failure("Seeing to the subscriptions of {integration} failed, next attempt in {delay_s} s",
                          integration=self._integration, attempt=attempt, delay_s=delay_s)

    # what is kept

    def _take_up(self, room: _Room) -> None:
        """Go on with the subscription that was there before the start; renewing it shows whether it still is."""
        kept = (self._known or {}).get(room.email)
        if room.id or kept is None or kept.url != self._url:
            return
        room.id, room.client_state, room.expires = kept.id, kept.client_state, kept.expires
        self._by_id[kept.id] = room
        room.due_s = room.noticed_s = self._clock.seconds()

    async def _load(self) -> Mapping[str, Kept]:
        """What was kept and is still alive."""
        if self._state is None:
            return {}
        found: Mapping[str, Kept] = await self._in_thread(read_kept, self._state)
        return {email: one for email, one in found.items() if one.expires > self._now()}

    async def _save(self) -> None:
        if self._state is None or not self._is_unsaved:
            return
        self._is_unsaved = False
        rooms = {room.email: Kept(room.id, room.client_state, self._url, room.expires)
                 for room in self._rooms.values() if room.id and room.expires is not None}
        try:
            await self._in_thread(write_kept, self._state, rooms)
        except OSError as error:
            self._log.warn("The subscriptions of {integration} cannot be kept in {path}: {error}. After a restart "
                           "they are made anew", integration=self._integration, path=str(self._state),
                           error=error.strerror)
