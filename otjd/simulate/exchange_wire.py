"""Parts that the answers of a simulated Exchange are made of: errors in its words, ids, and the call they answer.

An ItemId tells mailbox, booking and, of one in a series, the original start. Clients treat it as opaque.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import TypeVar

from lxml import etree

from otjd.protocol.ews_ids import change_key
from otjd.protocol.ews_responses import MESSAGE_TEXTS
from otjd.protocol.markup import text
from otjd.protocol.soap import Dialect, SoapFault
from otjd.simulate.calendars import Booking
from otjd.simulate.exchange_settings import ServiceAccount

T = TypeVar("T")

_ID_MARK = b"\0\0\x2e\0AA"
STAMP = "%Y%m%dT%H%M%SZ"

TEXTS = {
    **MESSAGE_TEXTS,
    "ErrorConnectionFailed": "An internal server error occurred. Try again later.",
    "ErrorExceededFindCountLimit": "You have exceeded the maximum number of objects that can be returned for the "
                                   "find operation. Use paging to reduce the result size and try your request "
                                   "again.",
    "ErrorImpersonateUserDenied": "The account does not have permission to impersonate the requested user.",
    "ErrorInternalServerError": "An internal server error occurred. The operation failed.",
    "ErrorInternalServerTransientError": "An internal server error occurred. Try again later.",
    "ErrorInvalidPropertyForOperation": "The property is not valid for this operation.",
    "ErrorInvalidServerVersion": "The specified server version is invalid.",
    "ErrorMailboxMoveInProgress": "Mailbox move in progress. Try again later.",
    "ErrorMailboxStoreUnavailable": "The mailbox database is temporarily unavailable.",
    "ErrorMissingEmailAddress": "When making a request as an account that does not have a mailbox, you must "
                                "specify the mailbox primary SMTP address for any distinguished folder Ids.",
    "ErrorProxyRequestNotAllowed": "The request must be sent to the server that holds the mailbox.",
    "ErrorServerBusy": "The server cannot service this request right now. Try again later.",
    "ErrorSubscriptionAccessDenied": "User is not the owner of the subscription.",
    "ErrorTokenSerializationDenied": "The caller does not have the right to serialize a token.",
}
"""What is said with each code."""

CONTAINERS = {"GetItem": "<m:Items/>", "GetFolder": "<m:Folders/>"}


class Denied(Exception):  # noqa: N818 - an answer, not a mistake of ours
    """One response message is an error of this code; the others of the answer are not touched."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Call:
    """A request that is signed in. `room` is the mailbox that it impersonates, empty for none; `anchor` and
    `cookie` say by which server it wants to be answered."""

    account: ServiceAccount
    dialect: Dialect
    operation: etree._Element
    name: str
    version: str = ""
    zone: tzinfo = UTC
    room: str = ""
    anchor: str = ""
    cookie: str = ""
    prefers_affinity: bool = False


def fault(code: str) -> SoapFault:
    """The Fault of this code, in Exchange's words."""
    return SoapFault(code, TEXTS.get(code, "The request failed."))


def error(operation: str, code: str) -> str:
    """A response message that answers with an error."""
    return (f'<m:{operation}ResponseMessage ResponseClass="Error">'
            f"<m:MessageText>{text(TEXTS.get(code, 'The request failed.'))}</m:MessageText>"
            f"<m:ResponseCode>{code}</m:ResponseCode><m:DescriptiveLinkKey>0</m:DescriptiveLinkKey>"
            f"{CONTAINERS.get(operation, '')}</m:{operation}ResponseMessage>")


def item_id(room: str, booking_id: str, occurrence: str = "") -> str:
    """The ItemId of a booking, or of one occurrence of a series."""
    raw = _ID_MARK + "\0".join((room, booking_id, occurrence)).encode()
    return base64.b64encode(raw).decode("ascii")


def read_item_id(text_id: str) -> tuple[str, str, str]:
    """Room, booking and occurrence of an ItemId.

    :raises Denied: it is none that was given out here.
    """
    if not text_id:
        raise Denied("ErrorInvalidIdEmpty")
    try:
        raw = base64.b64decode(text_id, validate=True)
        parts = raw.removeprefix(_ID_MARK).decode().split("\0")
    except (binascii.Error, UnicodeError, ValueError):
        raise Denied("ErrorInvalidIdMalformed") from None
    if not raw.startswith(_ID_MARK) or len(parts) != 3:
        raise Denied("ErrorInvalidIdMalformed")
    return parts[0], parts[1], parts[2]


def change_key_of(booking: Booking) -> str:
    """The ChangeKey of a booking: another one after every change."""
    return change_key("item", booking.id, str(booking.revision))


def original_start(occurrence: str) -> datetime | None:
    """The original start of an occurrence; None where there is none."""
    return datetime.strptime(occurrence, STAMP).replace(tzinfo=UTC) if occurrence else None


def each(operation: str, asked: Iterable[T], answer: Callable[[T], str]) -> list[str]:
    """A response message for each thing asked; one that is denied does not spoil the others."""
    told = []
    for one in asked:
        try:
            told.append(answer(one))
        except Denied as denied:
            told.append(error(operation, denied.code))
    return told
