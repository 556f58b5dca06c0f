"""News of changes: subscriptions of mailboxes, and the row of envelopes that a server streams of many of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from otjd.protocol import markup
from otjd.protocol.ews_client import EwsError, UnreadableAnswerError, messages, only_message, read_answer

SUBSCRIPTIONS = 200
"""Subscriptions of one stream."""

CONNECTION_MIN = 30
"""Minutes after which a stream ends and is asked for anew: the longest that servers take."""

ENVELOPE_LIMIT = 4 * 1024 * 1024
"""Bytes of one envelope of a stream."""

_EVENTS = ("CreatedEvent", "DeletedEvent", "ModifiedEvent", "MovedEvent", "CopiedEvent", "FreeBusyChangedEvent")
_END = re.compile(rb"</(?:[A-Za-z_][\w.-]{0,30}:)?Envelope\s*>")
_TAIL = 64


def subscribe() -> str:
    """Tell of what happens in the calendar of the mailbox that is impersonated."""
    events = "".join(f"<t:EventType>{event}</t:EventType>" for event in _EVENTS)
    return ('<m:Subscribe><m:StreamingSubscriptionRequest><t:FolderIds><t:DistinguishedFolderId Id="calendar"/>'
            f"</t:FolderIds><t:EventTypes>{events}</t:EventTypes></m:StreamingSubscriptionRequest></m:Subscribe>")


def read_subscription(body: bytes, content_type: str) -> str:
    """The id of the new subscription.

    :raises EwsError: there is none.
    :raises UnreadableAnswerError: it is no such answer.
    """
    found = markup.content(markup.child(only_message(read_answer(body, content_type)), "SubscriptionId"))
    if not found:
        raise UnreadableAnswerError("SubscribeResponse without a SubscriptionId")
    return found


def unsubscribe(subscription: str) -> str:
    """End a subscription."""
    return (f"<m:Unsubscribe><m:SubscriptionId>{markup.text(subscription)}</m:SubscriptionId></m:Unsubscribe>")


def get_streaming_events(subscriptions: Sequence[str]) -> str:
    """Stream what happens to these subscriptions."""
    ids = "".join(f"<t:SubscriptionId>{markup.text(one)}</t:SubscriptionId>" for one in subscriptions)
    return (f"<m:GetStreamingEvents><m:SubscriptionIds>{ids}</m:SubscriptionIds>"
            f"<m:ConnectionTimeout>{CONNECTION_MIN}</m:ConnectionTimeout></m:GetStreamingEvents>")


@dataclass(frozen=True, slots=True)
class News:
    """One envelope of a stream.

    `changed` are subscriptions in whose calendars something happened; `lost` those that the server does not know
    any more, with `error`, which may also stand alone. `is_closing` tells that the server ends the stream.
    """

    changed: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()
    error: EwsError | None = None
    is_closing: bool = False


def read_news(body: bytes) -> News:
    """Read one envelope.

    :raises EwsError: it is a Fault.
    :raises UnreadableAnswerError: it is no such answer.
    """
    changed: set[str] = set()
    lost: set[str] = set()
    error, is_closing = None, False
    for message in messages(read_answer(body)):
        error = error or message.error
        for element in message.element.iter():
            match markup.local_name(element):
                case "Notification":
                    if any(markup.local_name(event) in _EVENTS for event in element):
                        changed.add(markup.content(markup.child(element, "SubscriptionId")))
                case "ErrorSubscriptionIds":
                    lost.update(markup.content(one) for one in markup.children(element, "SubscriptionId"))
                case "ConnectionStatus":
                    is_closing |= markup.content(element) == "Closed"
    return News(frozenset(changed), frozenset(lost), error, is_closing)


class Envelopes:
    """Cuts what a server streams into envelopes."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._looked = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The envelopes that are whole with these bytes.

        :raises UnreadableAnswerError: one has no end.
        """
        self._buffer += data
        while (match := _END.search(self._buffer, max(0, self._looked - _TAIL))) is not None:
            envelope = bytes(self._buffer[:match.end()])
            del self._buffer[:match.end()]
            self._looked = 0
            yield envelope.lstrip()
        self._looked = len(self._buffer)
        if self._looked > ENVELOPE_LIMIT:
            raise UnreadableAnswerError(f"a stream of more than {ENVELOPE_LIMIT} bytes without an envelope's end")
