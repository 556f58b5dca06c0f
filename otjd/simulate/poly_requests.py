"""The requests of a Poly endpoint, in the two shapes that are known.

Shape A is that of Polycom's reader of 2009 and later: default namespaces, one GetItem for all that changed.
Shape B imitates traffic that was seen in the field: prefixes, two views, one GetItem for each item, ids without
ChangeKey, and a misspelled element.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

Shape = Literal["a", "b"]

SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
TYPES = "http://schemas.microsoft.com/exchange/services/2006/types"
MESSAGES = "http://schemas.microsoft.com/exchange/services/2006/messages"
VERSION = "Exchange2007_SP1"
ONLINE_MEETING = ("OnlineMeetingExternalLink", "OnlineMeetingConfLink", "UCMeetingSettings")


@dataclass(frozen=True, slots=True)
class ItemKey:
    """An ItemId with its ChangeKey."""

    id: str
    change_key: str


def action(operation: str) -> str:
    """The SOAPAction of an operation."""
    return f"{MESSAGES}/{operation}"


def views(shape: Shape, now: datetime) -> tuple[tuple[datetime, datetime], ...]:
    """The spans of time that one poll asks for, one FindItem each."""
    if shape == "a":
        return ((now - timedelta(hours=2), now + timedelta(days=1)),)
    ends = [(now + timedelta(days=days)).replace(hour=23, minute=59, second=0) for days in (2, 7)]
    return tuple((now, end) for end in ends)


def find_item(shape: Shape, view: tuple[datetime, datetime], mailbox: str) -> bytes:
    """A FindItem over the calendar, of `mailbox` or, where that is empty, of the login."""
    return _find_item_a(view, mailbox) if shape == "a" else _find_item_b(view, mailbox)


def get_item(shape: Shape, keys: Iterable[ItemKey]) -> bytes:
    """A GetItem for these ids; shape B leaves the ChangeKeys out."""
    return _get_item_a(keys) if shape == "a" else _get_item_b(keys)


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _view(view: tuple[datetime, datetime], most: int) -> str:
    return f'MaxEntriesReturned="{most}" StartDate="{_time(view[0])}" EndDate="{_time(view[1])}"'


def _envelope_a(content: str) -> bytes:
    return (f'<?xml version="1.0" encoding="utf-8"?>\n<soap:Envelope xmlns:soap="{SOAP}" xmlns:t="{TYPES}">'
            f'<soap:Header><RequestServerVersion Version="{VERSION}" xmlns="{TYPES}"/></soap:Header>'
            f"<soap:Body>{content}</soap:Body></soap:Envelope>").encode()


def _fields_a(*fields: str) -> str:
    named = "".join(f'<FieldURI FieldURI="{field}"/>' for field in fields)
    return f'<AdditionalProperties xmlns="{TYPES}">{named}</AdditionalProperties>'


def _find_item_a(view: tuple[datetime, datetime], mailbox: str) -> bytes:
    of = f"<Mailbox><EmailAddress>{escape(mailbox)}</EmailAddress></Mailbox>" if mailbox else ""
    return _envelope_a(
        f'<FindItem Traversal="Shallow" xmlns="{MESSAGES}"><ItemShape>'
        f'<BaseShape xmlns="{TYPES}">Default</BaseShape>{_fields_a("item:ItemClass", "calendar:MyResponseType")}'
        f"</ItemShape><CalendarView {_view(view, 100)}/><ParentFolderIds>"
        f'<DistinguishedFolderId Id="calendar" xmlns="{TYPES}">{of}</DistinguishedFolderId>'
        "</ParentFolderIds></FindItem>")


def _get_item_a(keys: Iterable[ItemKey]) -> bytes:
    fields = _fields_a("item:ItemClass", "item:Subject", "item:Body", "calendar:MyResponseType", "calendar:Start",
                       "calendar:End", "calendar:Organizer", "calendar:UID")
    ids = "".join(f'<ItemId Id={quoteattr(key.id)} ChangeKey={quoteattr(key.change_key)} xmlns="{TYPES}"/>'
                  for key in keys)
    return _envelope_a(
        f'<GetItem xmlns="{MESSAGES}"><ItemShape><BaseShape xmlns="{TYPES}">Default</BaseShape>'
        f"<t:BodyType>Text</t:BodyType>{fields}</ItemShape><ItemIds>{ids}</ItemIds></GetItem>")


def _envelope_b(content: str) -> bytes:
    return (f'<?xml version="1.0" encoding="utf-8"?>\n<soap:Envelope xmlns:soap="{SOAP}" xmlns:m="{MESSAGES}" '
            f'xmlns:t="{TYPES}"><soap:Header><t:RequestServerVersion Version="{VERSION}"/></soap:Header>'
            f"<soap:Body>{content}</soap:Body></soap:Envelope>").encode()


def _properties_b() -> str:
    return "".join('<t:ExtendedFieldURI DistinguishedPropertySetId="PublicStrings" '
                   f'PropertyName="{name}" PropertyType="String"/>' for name in ONLINE_MEETING)


def _find_item_b(view: tuple[datetime, datetime], mailbox: str) -> bytes:
    of = f"<t:Mailbox><t:EmailAddress>{escape(mailbox)}</t:EmailAddress></t:Mailbox>" if mailbox else ""
    fields = "".join(f'<t:FieldURI FieldURI="{field}"/>' for field in (
        "item:Subject", "calendar:Start", "item:Body", "calendar:CalendarItemType", "calendar:RecurrenceId"))
    return _envelope_b(
        '<m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>AllProperties</t:BaseShape>'
        f"<t:AditionalProperties>{fields}"
        '<t:ExtendedFieldURI DistinguishedPropertySetId="Meeting" PropertyId="3" PropertyType="Binary"/>'
        f"{_properties_b()}</t:AditionalProperties></m:ItemShape><m:CalendarView {_view(view, 1024)}/>"
        f'<m:ParentFolderIds><t:DistinguishedFolderId Id="calendar">{of}</t:DistinguishedFolderId>'
        "</m:ParentFolderIds></m:FindItem>")


def _get_item_b(keys: Iterable[ItemKey]) -> bytes:
    ids = "".join(f"<t:ItemId Id={quoteattr(key.id)}/>" for key in keys)
    return _envelope_b(
        "<m:GetItem><m:ItemShape><t:BaseShape>AllProperties</t:BaseShape><t:BodyType>Text</t:BodyType>"
        f"<t:AdditionalProperties>{_properties_b()}</t:AdditionalProperties></m:ItemShape>"
        f"<m:ItemIds>{ids}</m:ItemIds></m:GetItem>")
