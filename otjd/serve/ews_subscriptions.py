"""Who wants to be told of what: subscriptions of the emulated Exchange, and the last events of each room.

One log of events serves all subscriptions of a room; a subscription is no more than a place in it. So what is kept
is bounded by the rooms, not by what clients do or leave undone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import Protocol
from weakref import WeakValueDictionary

from otjd.meetings.cache import Difference, MeetingCache
from otjd.meetings.model import Room
from otjd.protocol.ews_notifications import (
    EPOCH_BYTES,
    RANDOM_BYTES,
    Event,
    EventKind,
    SubscriptionKind,
    is_subscription_id,
    read_watermark,
    subscription_id,
    write_watermark,
)
from otjd.serve.answer_parts import Refused
from otjd.serve.calls import Account

EVENTS_KEPT = 500
"""Events of a room that are kept; who is further behind reads the calendar anew."""

STREAMING_KEPT = timedelta(minutes=30)
"""How long a streaming subscription lives without a connection."""

SWEEP = timedelta(minutes=1)
"""How often the expired subscriptions of everybody are dropped."""


class EventLog:
    """The last events of one room, numbered from 1; `last` is the number of the latest."""

    def __init__(self, epoch: bytes) -> None:
        self._epoch = epoch
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self.last = 0

    def append(self, event: Event) -> None:
        """This happened."""
        self._events.append(event)
        self.last += 1

    def after(self, number: int) -> Iterator[tuple[int, Event]]:
        """The events after the one with this number.

        :raises Refused: not all of them are kept; ErrorMissedNotificationEvents.
        """
        dropped = self.last - len(self._events)
        if number < dropped:
            raise Refused("ErrorMissedNotificationEvents")
        return enumerate(islice(self._events, number - dropped, None), number + 1)

    def watermark(self, number: int) -> str:
        """The watermark of the event with this number."""
        return write_watermark(self._epoch, number)

    def number(self, watermark: str) -> int:
        """The number of the event with this watermark.

        :raises Refused: there was none; ErrorInvalidWatermark.
        """
        known = read_watermark(watermark)
        if known is None or known[0] != self._epoch or known[1] > self.last:
            raise Refused("ErrorInvalidWatermark")
        return known[1]


class Stream(Protocol):
    """A connection on which events are told."""

    account: Account

    def changed(self) -> None:
        """There may be something to tell."""
        ...

    def refuse(self, code: str, subscription: Subscription) -> None:
        """End with an error, because of a subscription."""
        ...


@dataclass(slots=True, eq=False)
class Subscription:
    """A place in the log of a room; `position` is the number of the last event that was streamed."""

    id: str
    account: Account
    kind: SubscriptionKind
    event_kinds: frozenset[EventKind]
    kept_for: timedelta
    log: EventLog
    position: int
    expires_at: datetime
    stream: Stream | None = None

    def events_after(self, number: int) -> Iterator[tuple[int, Event]]:
        """The events after this number that the client wants to be told of.

        :raises Refused: not all of them are kept; ErrorMissedNotificationEvents.
        """
        if not self.event_kinds:  # of another folder than the calendar
            return iter(())
        return ((n, event) for n, event in self.log.after(number) if event.kind in self.event_kinds)


class Subscriptions:
    """All subscriptions of a node; they stay when the configuration changes, and end with the process.

    They expire by `lasting`, a time that nobody sets; events bear that of `now`. `random_bytes(n)` gives the
    unguessable part of their ids.
    """

    def __init__(self, cache: MeetingCache, *, now: Callable[[], datetime], lasting: Callable[[], datetime],
                 random_bytes: Callable[[int], bytes]) -> None:
        self._cache = cache
        self._now = now
        self._lasting = lasting
        self._random_bytes = random_bytes
        self._by_id: dict[str, Subscription] = {}
        self._of_user: dict[str, dict[str, Subscription]] = {}
        self._streams: dict[Room, list[Stream]] = {}
        # a log goes with the last subscription that has a place in it
        self._logs: WeakValueDictionary[Room, EventLog] = WeakValueDictionary()
        self._sweep_at = lasting() + SWEEP
        cache.subscribe(self._changed)

    def __len__(self) -> int:
        return len(self._by_id)

    def subscribe(self, account: Account, kind: SubscriptionKind, event_kinds: frozenset[EventKind], *,
                  kept_for: timedelta, watermark: str = "", limit: int) -> Subscription:
        """Tell `account` of what happens in its room from now on, or since `watermark`.

        :raises Refused: it has `limit` subscriptions (ErrorExceededSubscriptionCount), or the watermark is
            wrong (ErrorInvalidWatermark) or too old (ErrorMissedNotificationEvents).
        """
        now = self._lasting()
        self._sweep(now, account.username)
        if len(self._of_user.get(account.username, ())) >= limit:
            raise Refused("ErrorExceededSubscriptionCount")
        log = self._logs.get(account.room) or EventLog(self._random_bytes(EPOCH_BYTES))
        position = log.number(watermark) if watermark else log.last
        log.after(position)
        self._logs[account.room] = log
        made = Subscription(subscription_id(self._random_bytes(RANDOM_BYTES)), account, kind, event_kinds,
                            kept_for, log, position, now + kept_for)
        self._by_id[made.id] = self._of_user.setdefault(account.username, {})[made.id] = made
        return made

    def find(self, wanted: str, account: Account) -> Subscription:
        """The subscription with this id.

        :raises Refused: it is no id (ErrorInvalidSubscription), of none that is alive
            (ErrorSubscriptionNotFound), or of another login (ErrorSubscriptionAccessDenied: as at Exchange, and
            nothing is given away, since an id cannot be guessed).
        """
        if not is_subscription_id(wanted):
            raise Refused("ErrorInvalidSubscription")
        found = self._by_id.get(wanted)
        if found is not None and self._is_over(found, self._lasting()):
            self._drop(found)
            found = None
        if found is None:
            raise Refused("ErrorSubscriptionNotFound")
        if found.account.username != account.username:
            raise Refused("ErrorSubscriptionAccessDenied")
        if found.account.room != account.room:  # a new configuration gave the login to another room
            raise Refused("ErrorSubscriptionNotFound")
        return found

    def renew(self, subscription: Subscription) -> None:
        """The client showed interest."""
        subscription.expires_at = self._lasting() + subscription.kept_for

    def end(self, subscription: Subscription, code: str) -> None:
        """Forget a subscription; the connection on which it is told of ends with this code."""
        self._drop(subscription)
        if subscription.stream is not None:
            subscription.stream.refuse(code, subscription)

    def streams_of(self, account: Account) -> list[Stream]:
        """The open connections of an account."""
        return [s for s in self._streams.get(account.room, ()) if s.account.username == account.username]

    def stream_opened(self, stream: Stream) -> None:
        """Events are told on this connection from now on."""
        self._streams.setdefault(stream.account.room, []).append(stream)

    def stream_ended(self, stream: Stream, subscriptions: tuple[Subscription, ...]) -> None:
        """Nothing is told on this connection any more; its subscriptions wait for another."""
        streams = self._streams[stream.account.room]
        streams.remove(stream)
        if not streams:
            del self._streams[stream.account.room]
        for subscription in subscriptions:
            if subscription.stream is stream:
                subscription.stream = None
                self.renew(subscription)

    def rewritten(self, rooms: Iterable[Room]) -> None:
        """The items of these rooms are written in another way than before: all of them are modified."""
        for room in rooms:
            if room in self._cache:
                agenda = self._cache.agenda(room)
                self._changed(Difference(agenda, changed=agenda.meetings))

    def _changed(self, difference: Difference) -> None:
        room = difference.agenda.room
        log = self._logs.get(room)
        if log is None:
            return
        now = self._now()
        for kind, meeting in chain(((EventKind.CREATED, m) for m in difference.added),
                                   ((EventKind.MODIFIED, m) for m in difference.changed),
                                   ((EventKind.DELETED, m) for m in difference.removed)):
            log.append(Event(kind, now, meeting))
        for stream in tuple(self._streams.get(room, ())):
            stream.changed()

    def _is_over(self, subscription: Subscription, now: datetime) -> bool:
        return subscription.stream is None and now >= subscription.expires_at

    def _sweep(self, now: datetime, username: str) -> None:
        """Drop what has expired: of one user always, of all from time to time."""
        everybody = now >= self._sweep_at
        if everybody:
            self._sweep_at = now + SWEEP
        for subscription in tuple((self._by_id if everybody else self._of_user.get(username, {})).values()):
            if self._is_over(subscription, now):
                self._drop(subscription)

    def _drop(self, subscription: Subscription) -> None:
        del self._by_id[subscription.id]
        own = self._of_user[subscription.account.username]
        del own[subscription.id]
        if not own:
            del self._of_user[subscription.account.username]
