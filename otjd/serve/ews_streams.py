"""EventStream: a GetStreamingEvents that is held open, telling of events until its time is over."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from otjd.meetings.model import Meeting
from otjd.protocol import ews_notifications as written
from otjd.serve.answer_parts import Refused
from otjd.serve.calls import Account, Outlet
from otjd.serve.ews_subscriptions import Subscription, Subscriptions

EVENTS_TOLD = 100
"""Events of one envelope, so that a client that does not read is noticed before much is written for it."""


@dataclass(frozen=True, slots=True)
class StreamWriter:
    """How envelopes are written from messages, and the ChangeKeys of the items that meetings are shown as."""

    envelope: Callable[[str], bytes]
    change_key: Callable[[Meeting], str]


class EventStream:
    """Tells one client of the events of `subscriptions`; a `calls.Held`.

    While the client does not read nothing is written: the events wait in the log of the room. A heartbeat is sent
    whenever nothing else was for `heartbeat_s`.
    """

    def __init__(self, outlet: Outlet, account: Account, subscriptions: Iterable[Subscription], *,
                 registry: Subscriptions, writer: StreamWriter, timeout: timedelta, heartbeat_s: float) -> None:
        self.account = account
        self._outlet = outlet
        self._subscriptions = tuple(subscriptions)
        self._registry = registry
        self._writer = writer
        self._heartbeat_s = heartbeat_s
        self._is_over = False
        for subscription in self._subscriptions:
            if subscription.stream is not None:
                subscription.stream.refuse("ErrorNewEventStreamConnectionOpened", subscription)
            subscription.stream = self
        registry.stream_opened(self)
        self._end = outlet.call_later(timeout.total_seconds(), self.close)
        self._heartbeat = outlet.call_later(heartbeat_s, self._beat)
        self.changed()

    def changed(self) -> None:
        """Tell what there is to tell, as far as the client takes it."""
        for subscription in self._subscriptions:
            try:
                self._tell(subscription)
            except Refused as refused:
                self._registry.end(subscription, refused.code)

    ready = changed

    def close(self) -> None:
        """The time is over, or the service stops."""
        self._finish(written.connection_status("Closed"))

    def refuse(self, code: str, subscription: Subscription) -> None:
        """A subscription cannot go on, and this ends with it."""
        self._finish(written.stream_error(code, (subscription.id,)), code)

    def gone(self) -> None:
        """The client has left."""
        self._over()

    def _tell(self, subscription: Subscription) -> None:
        while self._outlet.is_ready and not self._is_over:
            events = tuple(islice(subscription.events_after(subscription.position), EVENTS_TOLD))
            is_last = len(events) < EVENTS_TOLD
            subscription.position = subscription.log.last if is_last else events[-1][0]
            if not events:
                return
            self._write(written.streamed(subscription.id, (
                written.event(event, self.account.room.email, self._writer.change_key(event.meeting))
                for _, event in events)))

    def _beat(self) -> None:
        self._heartbeat = self._outlet.call_later(self._heartbeat_s, self._beat)
        for subscription in self._subscriptions:
            if self._outlet.is_ready and not self._is_over:
                self._write(written.streamed(subscription.id, (written.status_event(),)))

    def _write(self, message: str) -> None:
        self._heartbeat.reset(self._heartbeat_s)
        self._outlet.write(self._writer.envelope(message))

    def _finish(self, message: str, error: str = "") -> None:
        if not self._is_over:
            self._over()
            self._outlet.write(self._writer.envelope(message))
            self._outlet.finish(error)

    def _over(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        for call in (self._end, self._heartbeat):
            if call.active():
                call.cancel()
        self._registry.stream_ended(self, self._subscriptions)
