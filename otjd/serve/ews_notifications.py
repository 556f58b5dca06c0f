"""What the emulated Exchange answers to Subscribe, GetEvents, GetStreamingEvents and Unsubscribe."""

from __future__ import annotations

from collections.abc import Callable

from otjd.meetings.model import Meeting
from otjd.protocol import ews_notifications as written
from otjd.protocol import ews_responses
from otjd.protocol.ews_notifications import (
    EventKind,
    GetEvents,
    GetStreamingEvents,
    Subscribe,
    SubscriptionKind,
    Unsubscribe,
)
from otjd.serve.answer_parts import Answer, Refused
from otjd.serve.calls import Account, Held, Outlet
from otjd.serve.ews_answers import Answers, folder_name
from otjd.serve.ews_streams import EventStream, StreamWriter
from otjd.serve.ews_subscriptions import STREAMING_KEPT, Subscription, Subscriptions
from otjd.serve.join_style import JoinStyle


class Notifications:
    """Answers for an account out of `subscriptions`; the two limits are those of one user."""

    def __init__(self, subscriptions: Subscriptions, answers: Answers, *,
                 change_key: Callable[[Meeting, JoinStyle], str], subscriptions_limit: int, streams_limit: int,
                 heartbeat_s: float) -> None:
        self._subscriptions = subscriptions
        self._answers = answers
        self._change_key = change_key
        self._subscriptions_limit = subscriptions_limit
        self._streams_limit = streams_limit
        self._heartbeat_s = heartbeat_s

    def answer(self, request: Subscribe | GetEvents | Unsubscribe, account: Account) -> Answer:
        """Answer at once.

        :raises SoapFault: the room was never read; ErrorServerBusy.
        """
        operation = type(request).__name__
        try:
            match request:
                case Subscribe():
                    content = self._subscribed(request, account)
                case GetEvents():
                    content = self._pulled(request, account)
                case Unsubscribe():
                    found = self._subscriptions.find(request.subscription_id, account)
                    self._subscriptions.end(found, "ErrorSubscriptionUnsubscribed")
                    content = ""
        except Refused as refused:
            return Answer([ews_responses.error(operation, refused.code)], refused.code)
        return Answer([ews_responses.success(operation, content)])

    def stream(self, request: GetStreamingEvents, account: Account, envelope: Callable[[str], bytes],
               ) -> tuple[Answer, Callable[[Outlet], Held] | None]:
        """The first message of an answer, and what holds it open; None where it is an error.

        :raises SoapFault: the room was never read; ErrorServerBusy.
        """
        self._answers.agenda(account)
        found, unknown = [], []
        for wanted in request.subscription_ids:
            try:
                found.append(self._streaming(wanted, account))
            except Refused:
                unknown.append(wanted)
        # connections that this one takes over end with it
        taken = {id(s.stream) for s in found}
        others = [s for s in self._subscriptions.streams_of(account) if id(s) not in taken]
        if unknown or len(others) >= self._streams_limit:
            code = "ErrorInvalidSubscription" if unknown else "ErrorExceededConnectionCount"
            return Answer([written.stream_error(code, unknown)], code), None

        writer = StreamWriter(envelope, lambda meeting: self._change_key(meeting, account.style))

        def hold(outlet: Outlet) -> Held:
            return EventStream(outlet, account, found, registry=self._subscriptions, timeout=request.timeout,
                               writer=writer, heartbeat_s=self._heartbeat_s)
        return Answer([written.connection_status("OK")]), hold

    def _subscribed(self, request: Subscribe, account: Account) -> str:
        if request.kind is SubscriptionKind.PUSH:
            raise Refused("ErrorInvalidOperation")
        if bool(request.folders) == request.all_folders:
            raise Refused("ErrorInvalidSubscriptionRequest")
        names = [folder_name(ref, account) for ref in request.folders]
        self._answers.agenda(account)  # else everything that is there already would be told as new
        has_calendar = request.all_folders or "calendar" in names
        is_pull = request.kind is SubscriptionKind.PULL
        made = self._subscriptions.subscribe(
            account, request.kind, request.event_kinds if has_calendar else frozenset[EventKind](),
            kept_for=request.timeout if is_pull else STREAMING_KEPT, watermark=request.watermark,
            limit=self._subscriptions_limit)
        return written.subscribed(made.id, made.log.watermark(made.position) if is_pull else "")

    def _pulled(self, request: GetEvents, account: Account) -> str:
        self._answers.agenda(account)
        found = self._subscriptions.find(request.subscription_id, account)
        if found.kind is not SubscriptionKind.PULL:
            raise Refused("ErrorInvalidPullSubscriptionId")
        self._subscriptions.renew(found)
        number = found.log.number(request.watermark)
        events = [written.event(event, account.room.email, self._change_key(event.meeting, account.style),
                                found.log.watermark(n)) for n, event in found.events_after(number)]
        return written.pulled(found.id, found.log.watermark(number), events or [
            written.status_event(found.log.watermark(found.log.last))])

    def _streaming(self, wanted: str, account: Account) -> Subscription:
        found = self._subscriptions.find(wanted, account)
        if found.kind is not SubscriptionKind.STREAMING:
            raise Refused("ErrorInvalidSubscription")
        return found
