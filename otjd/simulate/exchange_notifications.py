"""Subscriptions of a simulated Exchange: each lives on one server, has one owner, and ends when nobody asks."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from otjd.protocol import ews_ids
from otjd.protocol import ews_notifications as written
from otjd.protocol.ews_notifications import EventKind, SubscriptionKind
from otjd.protocol.ews_responses import success
from otjd.protocol.timezones import write_date_time
from otjd.simulate.calendars import Change, ChangeKind
from otjd.simulate.exchange_settings import ExchangeSettings
from otjd.simulate.exchange_wire import Call, Denied, change_key_of, error, item_id

_KINDS = {ChangeKind.CREATED: EventKind.CREATED, ChangeKind.UPDATED: EventKind.MODIFIED,
          ChangeKind.DELETED: EventKind.DELETED}


class Listener(Protocol):
    """A GetStreamingEvents that is held open."""

    def news(self, subscription: Subscription) -> None:
        """Tell what the subscription has."""
        ...

    def refuse(self, code: str, subscription: Subscription) -> None:
        """End with this error."""
        ...


@dataclass(slots=True, eq=False)
class Subscription:
    """Somebody wants to know of the changes of a room. `events` are numbered; `missed`: some of them are lost."""

    id: str
    owner: str
    room: str
    kind: SubscriptionKind
    event_kinds: frozenset[EventKind]
    backend: str
    life: timedelta
    asked_at: datetime
    events: deque[tuple[int, str]] = field(default_factory=deque)
    number: int = 0
    missed: bool = False
    listener: Listener | None = None

    def watermark(self, number: int) -> str:
        """The watermark after the event of this number."""
        return base64.b64encode(f"\0{self.id}:{number}".encode()).decode("ascii")

    def position(self, watermark: str) -> int:
        """The number of the event that a watermark stands for.

        :raises Denied: it is none of this subscription.
        """
        for number in (self.number, *(n for n, _ in self.events), *(n - 1 for n, _ in self.events)):
            if self.watermark(number) == watermark:
                return number
        raise Denied("ErrorInvalidWatermark")


class Subscriptions:
    """All subscriptions. `backend_of` gives the server of a call; `random_bytes` makes their ids."""

    def __init__(self, settings: ExchangeSettings, *, now: Callable[[], datetime],
                 random_bytes: Callable[[int], bytes]) -> None:
        self._settings = settings
        self._now = now
        self._random_bytes = random_bytes
        self._by_id: dict[str, Subscription] = {}
        self._by_room: dict[str, list[Subscription]] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def all(self) -> tuple[Subscription, ...]:
        """All that there are."""
        return tuple(self._by_id.values())

    def subscribe(self, call: Call, room: str, request: written.Subscribe, backend: str) -> Subscription:
        """A new subscription of a room.

        :raises Denied: the mailbox has as many as it may, or the request makes no sense.
        """
        if request.kind is SubscriptionKind.PUSH:
            raise Denied("ErrorInvalidSubscriptionRequest")
        self._expire(room)
        limit = self._settings.throttling.max_subscriptions
        known = self._by_room.setdefault(room, [])
        if limit is not None and len(known) >= limit:
            raise Denied("ErrorExceededSubscriptionCount")
        is_pull = request.kind is SubscriptionKind.PULL
        subscription = Subscription(
            written.subscription_id(self._random_bytes(written.RANDOM_BYTES)), call.account.username, room,
            request.kind, request.event_kinds, backend,
            request.timeout if is_pull else self._settings.subscription_life, self._now())
        if request.watermark:
            raise Denied("ErrorInvalidWatermark")  # it would be of a subscription that is no more
        self._by_id[subscription.id] = subscription
        known.append(subscription)
        return subscription

    def find(self, call: Call, text_id: str, backend: str) -> Subscription:
        """The subscription of this id, for its owner, on its own server.

        :raises Denied: there is none.
        """
        subscription = self._by_id.get(text_id)
        if subscription is None:
            known = written.is_subscription_id(text_id)
            raise Denied("ErrorSubscriptionNotFound" if known else "ErrorInvalidSubscription")
        if subscription.owner != call.account.username:
            raise Denied("ErrorSubscriptionAccessDenied")
        if self._is_over(subscription) or (self._settings.affinity and subscription.backend != backend):
            raise Denied("ErrorSubscriptionNotFound")
        return subscription

    def end(self, subscription: Subscription) -> None:
        """Have it no more."""
        if self._by_id.pop(subscription.id, None) is not None:
            self._by_room[subscription.room].remove(subscription)

    def forget(self, room: str | None = None) -> None:
        """Lose the subscriptions of a room, or all, as servers do when they start again or a mailbox moves."""
        for subscription in self.all():
            if room in (None, subscription.room):
                self.end(subscription)
                if subscription.listener is not None:
                    subscription.listener.refuse("ErrorSubscriptionNotFound", subscription)

    def changed(self, change: Change) -> None:
        """A room has changed: note it for everyone who wants to know."""
        for subscription in tuple(self._by_room.get(change.room, ())):
            told = self._event(subscription, change)
            if not told:
                continue
            subscription.number += 1
            subscription.events.append((subscription.number, told))
            if len(subscription.events) > self._settings.max_events:
                subscription.events.popleft()
                subscription.missed = True
            if subscription.listener is not None:
                subscription.listener.news(subscription)

    def get_events(self, subscription: Subscription, watermark: str) -> str:
        """What GetEvents answers.

        :raises Denied: the watermark is none, or there were too many events.
        """
        if subscription.kind is not SubscriptionKind.PULL:
            raise Denied("ErrorInvalidPullSubscriptionId")
        subscription.asked_at = self._now()
        position = subscription.position(watermark)
        if subscription.missed:
            self.end(subscription)
            raise Denied("ErrorMissedNotificationEvents")
        while subscription.events and subscription.events[0][0] <= position:
            subscription.events.popleft()
        events = [_with_watermark(told, subscription.watermark(n)) for n, told in subscription.events]
        if not events:
            events = [written.status_event(subscription.watermark(position))]
        return success("GetEvents", written.pulled(subscription.id, watermark, events))

    def _event(self, subscription: Subscription, change: Change) -> str:
        kind = _KINDS[change.kind]
        moves = kind is EventKind.DELETED and self._settings.moves_deleted
        if (EventKind.MOVED if moves else kind) not in subscription.event_kinds:
            return ""
        booking = change.booking
        calendar, deleted = (ews_ids.folder_id(change.room, n) for n in ("calendar", "deleteditems"))
        at = f"<t:TimeStamp>{write_date_time(self._now())}</t:TimeStamp>"
        own = f'Id="{item_id(change.room, booking.id)}" ChangeKey="{change_key_of(booking)}"/>'
        if moves:
            return (f'<t:MovedEvent>{at}<t:ItemId Id="{item_id(change.room, booking.id, "deleted")}" '
                    f'ChangeKey="{change_key_of(booking)}"/><t:ParentFolderId Id="{deleted}"/>'
                    f'<t:OldItemId {own}<t:OldParentFolderId Id="{calendar}"/></t:MovedEvent>')
        return (f'<t:{kind}>{at}<t:ItemId {own}<t:ParentFolderId Id="{calendar}"/></t:{kind}>')

    def _is_over(self, subscription: Subscription) -> bool:
        over = subscription.listener is None and self._now() - subscription.asked_at > subscription.life
        if over:
            self.end(subscription)
        return over

    def _expire(self, room: str) -> None:
        for subscription in tuple(self._by_room.get(room, ())):
            self._is_over(subscription)


def _with_watermark(told: str, watermark: str) -> str:
    head, mark, rest = told.partition("<t:TimeStamp>")
    return f"{head}<t:Watermark>{watermark}</t:Watermark>{mark}{rest}"


class Outlet(Protocol):
    """Where the envelopes of a GetStreamingEvents go; `is_ready` while the client keeps up."""

    is_ready: bool

    def write(self, message: str) -> None:
        """Send a response message in an envelope of its own."""
        ...

    def finish(self) -> None:
        """End the answer."""
        ...

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Callable[[], None]:
        """Call that later; gives what prevents it."""
        ...


class Stream:
    """A GetStreamingEvents that is held open until its time is over. `over` is called once, at its end.

    While the client does not read, events stay with their subscriptions, as many as those keep.
    """

    def __init__(self, outlet: Outlet, subscriptions: Iterable[Subscription], *, registry: Subscriptions,
                 now: Callable[[], datetime], timeout: timedelta, heartbeat_s: float,
                 over: Callable[[Stream], None]) -> None:
        self.subscriptions = tuple(subscriptions)
        self._outlet = outlet
        self._registry = registry
        self._now = now
        self._heartbeat_s = heartbeat_s
        self._over = over
        self.is_over = False
        self._stop_end = outlet.call_later(timeout.total_seconds(), self.close)
        self._stop_beat = outlet.call_later(heartbeat_s, self._beat)
        self._outlet.write(written.connection_status("OK"))
        for subscription in self.subscriptions:
            if subscription.listener is not None:
                subscription.listener.refuse("ErrorNewEventStreamConnectionOpened", subscription)
            subscription.listener = self
        self.ready()

    def ready(self) -> None:
        """The client keeps up: tell what there is."""
        for subscription in self.subscriptions:
            if subscription.events and not self.is_over:
                self.news(subscription)

    def news(self, subscription: Subscription) -> None:
        """Tell what the subscription has."""
        if not self._outlet.is_ready:
            return
        if subscription.missed:
            self._registry.end(subscription)
            self.refuse("ErrorMissedNotificationEvents", subscription)
            return
        events = [told for _, told in subscription.events]
        subscription.events.clear()
        self._outlet.write(written.streamed(subscription.id, events))

    def refuse(self, code: str, subscription: Subscription) -> None:
        """One subscription cannot go on, and this ends with it."""
        self._finish(stream_error(code, (subscription.id,)))

    def close(self) -> None:
        """The time is over."""
        self._finish(written.connection_status("Closed"))

    def gone(self) -> None:
        """The client has left."""
        if self.is_over:
            return
        self.is_over = True
        self._stop_end()
        self._stop_beat()
        for subscription in self.subscriptions:
            if subscription.listener is self:
                subscription.listener = None
                subscription.asked_at = self._now()
        self._over(self)

    def _beat(self) -> None:
        self._stop_beat = self._outlet.call_later(self._heartbeat_s, self._beat)
        for subscription in self.subscriptions:
            if self._outlet.is_ready:
                self._outlet.write(written.streamed(subscription.id, (written.status_event(),)))

    def _finish(self, message: str) -> None:
        if not self.is_over:
            self.gone()
            self._outlet.write(message)
            self._outlet.finish()


def stream_error(code: str, ids: Iterable[str] = (), status: str = "Closed") -> str:
    """The message with which a stream ends, unless `status` is OK; `ids` are the subscriptions to blame."""
    listed = "".join(f"<m:SubscriptionId>{i}</m:SubscriptionId>" for i in ids)
    blamed = f"<m:ErrorSubscriptionIds>{listed}</m:ErrorSubscriptionIds>" if listed else ""
    message = error("GetStreamingEvents", code)
    end = "</m:GetStreamingEventsResponseMessage>"
    return f"{message.removesuffix(end)}{blamed}<m:ConnectionStatus>{status}</m:ConnectionStatus>{end}"


def subscribed(subscription: Subscription) -> str:
    """The response message of Subscribe."""
    is_pull = subscription.kind is SubscriptionKind.PULL
    return success("Subscribe", written.subscribed(subscription.id, subscription.watermark(0) if is_pull else ""))
