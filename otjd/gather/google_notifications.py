"""Channels: how Google tells that a room's calendar has changed (Google's guide to push notifications).

A channel belongs to one room and ends by itself. It cannot be prolonged: before its end a new one takes its
place, and the old one is ended. What Google delivers has no body: the headers say which channel has news. A
channel counts as open once anything came by it, which proves that Google reaches this node.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hmac import compare_digest
from secrets import token_urlsafe
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from otjd.gather.google_api import GoogleApi, PushError
from otjd.gather.source import RoomError, SourceError, UnreachableError
from otjd.poller import Backoff, Poller
from otjd.protocol.google_calendar import CHANNEL_LIFE, stop_body, stop_url, watch_body, watch_url
from otjd.protocol.google_events import read_channel
from otjd.seam import deferred

EVERY_S = 0.25
"""Channels are made, and ended, one after another at this distance: reads come first."""

AT_ONCE = 4
LONGEST_LOOK_S = 30.0
EARLY = 0.2
"""Part of a channel's life before its end in which it is replaced, at a time of chance."""

SHORTEST_LIFE = timedelta(minutes=1)
ROOM_BACKOFF = Backoff(600.0, 6 * 3600.0)
BACKOFF = Backoff(60.0, 3600.0)
SILENCE_S = 300.0
"""When nothing came by any channel in this time after the first was made, it is said."""

OK, NOT_FOUND = 200, 404


@dataclass(slots=True, eq=False)
class Channel:
    """A channel of a room; `resource_id` is empty until Google has told it."""

    id: str
    token: str
    room: str
    ends: datetime
    resource_id: str = ""


@dataclass(slots=True, eq=False)
class _Room:
    """A room with the channel that it has, and when the next one is due, in seconds of the clock.

    It is `told_until` the end of the last channel by which something came.
    """

    email: str
    due_s: float
    channel: Channel | None = None
    told_until: datetime | None = None
    failures: int = 0
    is_busy: bool = False


class Channels:
    """The channels of one integration's rooms. Without an `address` there are none.

    :param address: the https URL that Google is to deliver to.
    :param new_secret: gives random texts of at most 64 characters.
    """

    _log = Logger()

    def __init__(self, *, integration: str, api: GoogleApi, api_url: str, address: str, clock: IReactorTime,
                 now: Callable[[], datetime], jitter: Callable[[], float],
                 new_secret: Callable[[], str] = lambda: token_urlsafe(32)) -> None:
        self._integration = integration
        self._api = api
        self._api_url = api_url
        self._address = address
        self._clock = clock
        self._now = now
        self._jitter = jitter
        self._new_secret = new_secret
        self._changed: Callable[[str], None] = lambda _: None
        self._rooms: dict[str, _Room] = {}
        self._by_id: dict[str, Channel] = {}
        self._ending: list[Channel] = []
        self._under_way: set[Deferred[Any]] = set()
        self._failures = 0
        self._not_before_s = 0.0
        self._silent_since_s: float | None = None
        self._has_heard = False
        self._poller = Poller(self._look, clock=clock, interval_s=LONGEST_LOOK_S, jitter=jitter,
                              failed=self._broke)

    def start(self, changed: Callable[[str], None]) -> None:
        """Make channels from now on, and call `changed(room)` for what comes by them."""
        if self._address:
            self._changed = changed
            self._poller.start()

    def watch(self, rooms: Collection[str]) -> None:
        """Have a channel for exactly these rooms."""
        wanted = {room.lower(): room for room in rooms} if self._address else {}
        for gone in self._rooms.keys() - wanted.keys():
            channel = self._rooms.pop(gone).channel
            if channel is not None:
                self._ending.append(channel)
        for key, room in wanted.items():
            if key not in self._rooms:
                self._rooms[key] = _Room(room, self._clock.seconds())
        self._poller.trigger()

    def is_open(self, room: str) -> bool:
        """Whether news of this room is expected to come."""
        known = self._rooms.get(room.lower())
        return known is not None and known.told_until is not None and self._now() < known.told_until

    def handle(self, headers: Mapping[str, str]) -> int:
        """Take a notification, by its headers, names in lower case; gives the status to answer with.

        404 for a channel that is not ours, or no longer: Google then stops to deliver it.
        """
        channel = self._by_id.get(headers.get("x-goog-channel-id", ""))
        token = headers.get("x-goog-channel-token", "")
        if channel is None or not compare_digest(channel.token.encode(), token.encode("utf-8", "surrogatepass")):
            return NOT_FOUND
        room = self._rooms.get(channel.room.lower())
        if room is None:
            return NOT_FOUND
        self._has_heard = True
        room.told_until = max(channel.ends, room.told_until or channel.ends)
        if headers.get("x-goog-resource-state") != "sync":
            self._changed(room.email)
        return OK

    async def stop(self) -> None:
        """Make no more channels."""
        await self._poller.stop()
        for one in tuple(self._under_way):
            one.cancel()
        self._by_id.clear()
        for room in self._rooms.values():
            room.told_until = None

    # making and ending channels

    async def _look(self) -> float:
        """Begin what is due, one thing at a time; gives the seconds until the next look."""
        at = self._clock.seconds()
        self._check_silence(at)
        if at < self._not_before_s:
            return min(LONGEST_LOOK_S, self._not_before_s - at)
        if len(self._under_way) >= AT_ONCE:
            return EVERY_S
        self._drop_ended()
        if self._ending:
            self._begin(self._end(self._ending.pop()))
            return EVERY_S
        idle = [room for room in self._rooms.values() if not room.is_busy]
        if not idle:
            return LONGEST_LOOK_S
        room = min(idle, key=lambda one: one.due_s)
        if room.due_s > at:
            return min(LONGEST_LOOK_S, room.due_s - at)
        room.is_busy = True
        self._begin(self._open(room))
        return EVERY_S

    def _check_silence(self, at: float) -> None:
        if self._has_heard or self._silent_since_s is None or at - self._silent_since_s < SILENCE_S:
            return
        self._silent_since_s = float("inf")  # said once
        self._log.warn("Nothing has come by the channels of {integration}: does Google reach {address}, and is "
                       "its certificate of a public authority? Until then changes are looked for",
                       integration=self._integration, address=self._address)

    def _begin(self, job: Any) -> None:
        work: Deferred[Any] = deferred(job)
        self._under_way.add(work)
        work.addBoth(self._ended, work)

    def _ended(self, outcome: object, work: Deferred[Any]) -> None:
        self._under_way.discard(work)
        if isinstance(outcome, Failure) and not isinstance(outcome.value, CancelledError):
            self._log.failure("A channel of {integration} failed", outcome, integration=self._integration)

    def _drop_ended(self) -> None:
        now = self._now()
        for channel in [one for one in self._by_id.values() if one.ends <= now]:
            del self._by_id[channel.id]

    async def _open(self, room: _Room) -> None:
        """Make the next channel of a room, and have the one before ended."""
        channel = Channel(self._new_secret(), self._new_secret(), room.email, self._now() + CHANNEL_LIFE)
        self._by_id[channel.id] = channel  # what comes first may come before the answer
        try:
            answer = await self._api.ask(
                "POST", watch_url(self._api_url, room.email), room=room.email,
                body=watch_body(channel.id, channel.token, self._address), repeatable=False)
            channel.resource_id, ends = _channel(answer.body)
        except SourceError as error:
            self._by_id.pop(channel.id, None)
            self._note(room, error)
            return
        finally:
            room.is_busy = False
        self._take(room, channel, ends)

    def _take(self, room: _Room, channel: Channel, ends: datetime | None) -> None:
        now = self._now()
        if ends is not None:
            channel.ends = min(max(ends, now + SHORTEST_LIFE), now + CHANNEL_LIFE)
            if room.told_until is not None and room.told_until > channel.ends:
                room.told_until = channel.ends
        self._failures = room.failures = 0
        if room.channel is None and self._silent_since_s is None:
            self._silent_since_s = self._clock.seconds()
        if self._rooms.get(room.email.lower()) is not room:
            self._ending.append(channel)
            return
        if room.channel is not None:
            self._ending.append(room.channel)
        room.channel = channel
        life_s = (channel.ends - now).total_seconds()
        room.due_s = self._clock.seconds() + life_s * (1 - EARLY * (1 + self._jitter()) / 2)

    async def _end(self, channel: Channel) -> None:
        """End a channel; where that fails it ends by itself."""
        self._by_id.pop(channel.id, None)
        if channel.ends <= self._now():
            return
        try:
            await self._api.ask("POST", stop_url(self._api_url, channel.room), room=channel.room,
                                body=stop_body(channel.id, channel.resource_id), repeatable=False)
        except SourceError as error:
            self._log.debug("A channel for {room} was not ended: {error}", room=channel.room, error=str(error),
                            integration=self._integration)

    def _note(self, room: _Room, error: SourceError) -> None:
        """Let the room wait, or all of them where the error is not the room's."""
        at = self._clock.seconds()
        if isinstance(error, RoomError):
            room.failures += 1
            room.due_s = at + ROOM_BACKOFF.delay_s(room.failures, self._jitter())
            self._log.info("There are no notifications for {room}: {error}", room=room.email, error=str(error),
                           integration=self._integration)
            return
        self._failures += 1
        self._not_before_s = at + BACKOFF.delay_s(self._failures, self._jitter())
        if self._failures == 1 or isinstance(error, PushError):
            self._log.warn("There are no further notifications for {integration} at present: {error}",
                           integration=self._integration, room=room.email, error=str(error))

    def _broke(self, _error: Exception, attempt: int, delay_s: float) -> None:
        self._log.failure("The channels of {integration} failed, next attempt in {delay_s} s",
                          integration=self._integration, attempt=attempt, delay_s=delay_s)


def _channel(body: bytes) -> tuple[str, datetime | None]:
    try:
        return read_channel(body)
    except ValueError as error:
        raise UnreachableError(f"An answer of Google Calendar cannot be read: {error}") from error
