"""Subscriptions and notifications of EWS: requests read, answers written.

GetStreamingEvents differs from all other answers. It is a row of envelopes without XML declaration and with a
default namespace, as Exchange writes it: evolution-ews looks for the text `</Envelope>` between them, and
Microsoft's managed API reads them as one XML fragment. Each tells of one subscription, since evolution-ews reads
no more. `Notification` and the ids of `ErrorSubscriptionIds` are in the namespace of messages, where Microsoft's
client and exchangelib look for them; the published schema has them among the types.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice

from lxml import etree

from otjd.meetings.model import Meeting
from otjd.protocol import ews_ids, markup
from otjd.protocol.ews_responses import MESSAGE_TEXTS, response, success
from otjd.protocol.request_parts import FolderRef, check_count, folders, part
from otjd.protocol.soap import Dialect, schema_violation
from otjd.protocol.timezones import write_date_time

IDS_LIMIT = 200
"""Subscriptions in one GetStreamingEvents."""

RANDOM_BYTES = 24
"""Of a subscription's id: nobody guesses another's."""

EPOCH_BYTES = 8
"""Of a watermark: those that were given out before a restart are told apart."""

_ID_MARK = b"\x01otjdN"
_WATERMARK_MARK = b"\x01otjdW"
_NUMBER_BYTES = 8


class EventKind(StrEnum):
    """What can be subscribed to. The first three happen here: a room's items are never moved, copied or mailed,
    and a change of free and busy times is told as the change of its item."""

    CREATED = "CreatedEvent"
    MODIFIED = "ModifiedEvent"
    DELETED = "DeletedEvent"
    MOVED = "MovedEvent"
    COPIED = "CopiedEvent"
    NEW_MAIL = "NewMailEvent"
    FREE_BUSY_CHANGED = "FreeBusyChangedEvent"


class SubscriptionKind(StrEnum):
    """How the events of a subscription reach its client."""

    PULL = "PullSubscriptionRequest"
    STREAMING = "StreamingSubscriptionRequest"
    PUSH = "PushSubscriptionRequest"


@dataclass(frozen=True, slots=True)
class Event:
    """A meeting was added, changed or removed."""

    kind: EventKind
    at: datetime
    meeting: Meeting


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Tell of events. `watermark` is empty where there is none; `timeout` counts for pull subscriptions."""

    kind: SubscriptionKind
    event_kinds: frozenset[EventKind]
    folders: tuple[FolderRef, ...] = ()
    all_folders: bool = False
    watermark: str = ""
    timeout: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class GetEvents:
    """What happened since `watermark`?"""

    subscription_id: str
    watermark: str


@dataclass(frozen=True, slots=True)
class GetStreamingEvents:
    """Tell what happens, for as long as `timeout`; each id once."""

    subscription_ids: tuple[str, ...]
    timeout: timedelta


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Tell no more."""

    subscription_id: str


Request = Subscribe | GetEvents | GetStreamingEvents | Unsubscribe


def _subscribe(element: etree._Element) -> Subscribe:
    request = next((e for e in element if markup.local_name(e) in set(SubscriptionKind)), None)
    if request is None:
        raise schema_violation("The element 'Subscribe' has incomplete content.", element)
    kind = SubscriptionKind(markup.local_name(request))
    kinds = tuple(_event_kind(e) for e in markup.children(part(request, "EventTypes"), "EventType"))
    if not kinds:
        raise schema_violation("The element 'EventTypes' has incomplete content.", request)
    return Subscribe(
        kind, frozenset(kinds),
        folders=folders(request, "FolderIds") if markup.child(request, "FolderIds") is not None else (),
        all_folders=request.get("SubscribeToAllFolders", "").strip().lower() in ("true", "1"),
        watermark=markup.content(markup.child(request, "Watermark")),
        timeout=_minutes(request, "Timeout", 1440) if kind is SubscriptionKind.PULL else timedelta())


def _event_kind(element: etree._Element) -> EventKind:
    name = markup.content(element)
    if name not in set(EventKind):
        raise schema_violation(f"The element 'EventType' is invalid: '{name[:40]}' is not one of "
                               f"{', '.join(EventKind)}.", element)
    return EventKind(name)


def _minutes(element: etree._Element, name: str, longest: int) -> timedelta:
    text = markup.content(part(element, name))
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= longest):
        raise schema_violation(f"The element '{name}' is invalid: '{text[:40]}' is not a whole number of minutes "
                               f"from 1 to {longest}.", element)
    return timedelta(minutes=int(text))


def _text(element: etree._Element, name: str) -> str:
    text = markup.content(part(element, name))
    if not text:
        raise schema_violation(f"The element '{name}' is empty.", element)
    return text


def _get_streaming_events(element: etree._Element) -> GetStreamingEvents:
    ids = tuple(dict.fromkeys(map(markup.content, markup.children(part(element, "SubscriptionIds"),
                                                                  "SubscriptionId"))))
    check_count(ids, IDS_LIMIT, "SubscriptionIds")
    if not ids or "" in ids:
        raise schema_violation("The element 'SubscriptionIds' has incomplete content.", element)
    return GetStreamingEvents(ids, _minutes(element, "ConnectionTimeout", 30))


READERS: dict[str, Callable[[etree._Element], Request]] = {
    "Subscribe": _subscribe,
    "GetEvents": lambda e: GetEvents(_text(e, "SubscriptionId"), _text(e, "Watermark")),
    "GetStreamingEvents": _get_streaming_events,
    "Unsubscribe": lambda e: Unsubscribe(_text(e, "SubscriptionId"))}
"""What reads each operation; each raises SoapFault for what is outside the schema."""


def subscription_id(random: bytes) -> str:
    """An id from RANDOM_BYTES random bytes: 40 characters of base64."""
    return base64.b64encode(_ID_MARK + random).decode("ascii")


def is_subscription_id(text: str) -> bool:
    """Whether an id may have been given out by otjd."""
    raw = _decoded(text)
    return raw.startswith(_ID_MARK) and len(raw) == len(_ID_MARK) + RANDOM_BYTES


def write_watermark(epoch: bytes, number: int) -> str:
    """The watermark of an event, of a log that is known by `epoch`."""
    return base64.b64encode(_WATERMARK_MARK + epoch + number.to_bytes(_NUMBER_BYTES, "big")).decode("ascii")


def read_watermark(text: str) -> tuple[bytes, int] | None:
    """Epoch and number of a watermark; None where it is none."""
    raw = _decoded(text)
    if not raw.startswith(_WATERMARK_MARK) or len(raw) != len(_WATERMARK_MARK) + EPOCH_BYTES + _NUMBER_BYTES:
        return None
    rest = raw[len(_WATERMARK_MARK):]
    return rest[:EPOCH_BYTES], int.from_bytes(rest[EPOCH_BYTES:], "big")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def subscribed(text_id: str, watermark: str = "") -> str:
    """What Subscribe answers; streaming subscriptions have no watermark."""
    mark = f"<m:Watermark>{watermark}</m:Watermark>" if watermark else ""
    return f"<m:SubscriptionId>{text_id}</m:SubscriptionId>{mark}"


def event(told: Event, room_email: str, change_key: str, watermark: str = "") -> str:
    """An event; `change_key` is that of the item. Only pulled events have a watermark: of streamed ones
    Microsoft's managed API reads the time stamp first."""
    mark = f"<t:Watermark>{watermark}</t:Watermark>" if watermark else ""
    return (f"<t:{told.kind}>{mark}<t:TimeStamp>{write_date_time(told.at)}</t:TimeStamp>"
            f'<t:ItemId Id="{ews_ids.item_id(told.meeting.id)}" ChangeKey="{change_key}"/>'
            f'<t:ParentFolderId Id="{ews_ids.folder_id(room_email, "calendar")}"/></t:{told.kind}>')


def status_event(watermark: str = "") -> str:
    """Nothing happened, and the subscription is alive."""
    mark = f"<t:Watermark>{watermark}</t:Watermark>" if watermark else ""
    return f"<t:StatusEvent>{mark}</t:StatusEvent>"


def pulled(text_id: str, previous: str, events: Iterable[str]) -> str:
    """What GetEvents answers, whole: exchangelib asks on with the same watermark where there are more events."""
    return (f"<m:Notification><t:SubscriptionId>{text_id}</t:SubscriptionId><t:PreviousWatermark>{previous}"
            f"</t:PreviousWatermark><t:MoreEvents>false</t:MoreEvents>{''.join(events)}</m:Notification>")


def streamed(text_id: str, events: Iterable[str]) -> str:
    """A message of GetStreamingEvents with events."""
    return success("GetStreamingEvents", "<m:Notifications><m:Notification>"
                   f"<t:SubscriptionId>{text_id}</t:SubscriptionId>{''.join(events)}</m:Notification>"
                   "</m:Notifications>")


def connection_status(status: str) -> str:
    """A message of GetStreamingEvents that says `OK`, at the begin, or `Closed`, at the end."""
    return success("GetStreamingEvents", f"<m:ConnectionStatus>{status}</m:ConnectionStatus>")


def stream_error(code: str, ids: Iterable[str] = ()) -> str:
    """The message with which GetStreamingEvents ends; `ids` are the subscriptions that are to blame."""
    listed = "".join(f"<m:SubscriptionId>{markup.text(i)}</m:SubscriptionId>" for i in islice(ids, IDS_LIMIT))
    blamed = f"<m:ErrorSubscriptionIds>{listed}</m:ErrorSubscriptionIds>" if listed else ""
    return ('<m:GetStreamingEventsResponseMessage ResponseClass="Error"><m:MessageText>'
            f"{markup.text(MESSAGE_TEXTS[code])}</m:MessageText><m:ResponseCode>{code}</m:ResponseCode>"
            f"<m:DescriptiveLinkKey>0</m:DescriptiveLinkKey>{blamed}<m:ConnectionStatus>Closed</m:ConnectionStatus>"
            "</m:GetStreamingEventsResponseMessage>")


def stream_envelope(dialect: Dialect, header: str, message: str) -> bytes:
    """One of the envelopes that GetStreamingEvents answers with."""
    return (f'<Envelope xmlns="{dialect.envelope}"><Header>{header}</Header><Body>'
            f"{response('GetStreamingEvents', (message,))}</Body></Envelope>").encode()
