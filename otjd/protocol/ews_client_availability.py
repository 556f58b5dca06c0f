"""When rooms are busy: GetUserAvailability for many of them, and a fingerprint of what each answer says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from otjd.meetings.model import Window
from otjd.protocol import markup
from otjd.protocol.ews_client import EwsError, UnreadableAnswerError, read_answer

MAILBOXES = 100
"""Mailboxes that one request may name."""

LONGEST_WINDOW = timedelta(days=42)
"""Servers refuse a longer one by default (ErrorTimeIntervalTooBig)."""

FINGERPRINT_BYTES = 16
_NAME = rb"(?:[A-Za-z_][\w.-]{0,30}:)?"
_REST = rb"(?:\s[^>]{0,300})?>"


def _opened(name: bytes) -> bytes:
    return rb"<" + _NAME + name + _REST


# the names alone, since an expression that begins with a word is found many times faster
_RESPONSE = re.compile(rb"FreeBusyResponse[\s>]")
_EVENTS = b"CalendarEventArray"
_BEFORE_NAME = re.compile(rb"<" + _NAME + rb"\Z")
_NAME_BYTES = 33
_VIEW = re.compile(_opened(b"FreeBusyViewType") + rb"\s*([A-Za-z ]{1,60})<")
_CODE = re.compile(_opened(b"ResponseCode") + rb"\s*([A-Za-z]{1,80})\s*<")
_TEXT = re.compile(_opened(b"MessageText") + rb"([^<]{0,2000})<")
_BLIND = (b"None", b"MergedOnly")
"""Views that show no events: of them nothing can be told."""

_NO_CHANGE = ("<t:Bias>0</t:Bias><t:Time>00:00:00</t:Time><t:DayOrder>0</t:DayOrder><t:Month>0</t:Month>"
              "<t:DayOfWeek>Sunday</t:DayOfWeek>")


def get_user_availability(rooms: Sequence[str], window: Window) -> str:
    """Ask when these rooms are busy in the window, of which the first LONGEST_WINDOW counts; times are in UTC."""
    end = min(window.end, window.start + LONGEST_WINDOW)
    mailboxes = "".join(
        f"<t:MailboxData><t:Email><t:Address>{markup.text(room)}</t:Address></t:Email>"
        "<t:AttendeeType>Room</t:AttendeeType><t:ExcludeConflicts>false</t:ExcludeConflicts></t:MailboxData>"
        for room in rooms)
    return ("<m:GetUserAvailabilityRequest><t:TimeZone><t:Bias>0</t:Bias>"
            f"<t:StandardTime>{_NO_CHANGE}</t:StandardTime><t:DaylightTime>{_NO_CHANGE}</t:DaylightTime></t:TimeZone>"
            f"<m:MailboxDataArray>{mailboxes}</m:MailboxDataArray><t:FreeBusyViewOptions><t:TimeWindow>"
            f"<t:StartTime>{_local(window.start)}</t:StartTime><t:EndTime>{_local(end)}</t:EndTime></t:TimeWindow>"
            "<t:MergedFreeBusyIntervalInMinutes>30</t:MergedFreeBusyIntervalInMinutes>"
            "<t:RequestedView>Detailed</t:RequestedView></t:FreeBusyViewOptions></m:GetUserAvailabilityRequest>")


def _local(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S}"


def read_availability(body: bytes, content_type: str, rooms: Sequence[str]) -> Mapping[str, bytes | EwsError]:
    """A fingerprint, or what is wrong, for each room that something is said of.

    The events of a hundred rooms are many thousands of elements. Only whether they changed matters, so that their
    text is taken as it is and no tree is built.

    :raises EwsError: the whole request was refused.
    :raises UnreadableAnswerError: it is no answer to this request.
    """
    starts = [match.start() for match in _RESPONSE.finditer(body) if _is_opened(body, match.start())]
    if len(starts) != len(rooms):
        read_answer(body, content_type)
        raise UnreadableAnswerError(f"free and busy times of {len(starts)} mailboxes, {len(rooms)} were asked for")
    found: dict[str, bytes | EwsError] = {}
    for room, start, end in zip(rooms, starts, [*starts[1:], len(body)], strict=True):
        fingerprint = _fingerprint(body[start:end])
        if fingerprint is not None:
            found[room] = fingerprint
    return found


def _fingerprint(part: bytes) -> bytes | EwsError | None:
    code = _CODE.search(part)
    if code is not None and code[1] != b"NoError":
        text = _TEXT.search(part)
        return EwsError(code[1].decode("ascii"), text[1].decode("utf-8", "replace") if text else "")
    events = _events(part)
    if events is None:
        view = _VIEW.search(part)
        if view is None or view[1].strip() in _BLIND:
            return None
    return blake2b(events or b"", digest_size=FINGERPRINT_BYTES).digest()


def _is_opened(body: bytes, at: int) -> bool:
    """Whether the name at this place is that of a start tag."""
    return _BEFORE_NAME.search(body[max(0, at - _NAME_BYTES):at]) is not None


def _events(part: bytes) -> bytes | None:
    """What stands within CalendarEventArray, None where it is not there."""
    first, last = part.find(_EVENTS), part.rfind(_EVENTS)
    begin, end = part.find(b">", first) + 1, part.rfind(b"<", 0, last)
    if first < 0 or not begin or not _is_opened(part, first):
        return None
    return part[begin:end] if first < last else b""
