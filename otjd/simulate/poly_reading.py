"""Reading the answers of a calendar service as strictly as the strictest known client of this field.

It compares prefixes as text: `m:` and `t:`, whatever they are bound to. What it rejects it names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from lxml import etree

from otjd.simulate.poly_http import PolyError
from otjd.simulate.poly_requests import ItemKey

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
TIME_CHARACTERS = 31
APPOINTMENT = "IPM.Appointment"
OCCURRENCES = ("IPM.Appointment.Occurrence", "IPM.OLE.CLASS.")


class Unusable(Exception):  # noqa: N818 - of an item, not of the program
    """An item is not taken; the text says why."""


@dataclass(frozen=True, slots=True)
class ReadItem:
    """What a GetItem told of one item."""

    key: ItemKey
    uid: str
    item_class: str
    subject: str
    organizer: str
    start: datetime
    end: datetime
    location: str
    body: str
    sensitivity: str
    is_cancelled: bool


def _name(element: etree._Element) -> str:
    if not isinstance(element.tag, str):
        return ""
    local = etree.QName(element).localname
    return f"{element.prefix}:{local}" if element.prefix else local


def _child(element: etree._Element, path: str) -> etree._Element | None:
    for name in path.split("/"):
        found = next((child for child in element if _name(child) == name), None)
        if found is None:
            return None
        element = found
    return element


def _text(element: etree._Element, path: str) -> str | None:
    found = _child(element, path)
    return None if found is None else (found.text or "")


def _needed(element: etree._Element, path: str) -> str:
    text = _text(element, path)
    if text is None:
        raise Unusable(f"{path} is missing")
    return text


def _attribute(element: etree._Element, name: str, source: str) -> str | None:
    value = element.get(name)
    # the text is searched: what a parser takes, such as single quotes, is not enough
    return value if value is not None and f'{name}="{value}"' in source else None


def _document(status: int, data: bytes, operation: str) -> tuple[etree._Element, str]:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        source = data.decode()
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise PolyError(status, None, f"the answer to {operation} is no XML: {error}") from None
    fault = next((e for e in root.iter() if _name(e).endswith(":Fault")), None)
    if fault is not None:
        raise PolyError(status, _fault_code(fault), fault.findtext("faultstring") or "a SOAP fault")
    if status != 200:
        raise PolyError(status, None, f"status {status} for {operation}")
    return root, source


def _fault_code(fault: etree._Element) -> str | None:
    return next((e.text for e in fault.iter() if _name(e).endswith(":ResponseCode")), None)


def messages(status: int, data: bytes, operation: str) -> tuple[list[etree._Element], str]:
    """The response messages of an answer, every one of which is a success, and the answer's text.

    :raises PolyError: a fault, a failing message, no message, or anything else than an answer to `operation`.
    """
    if not data:
        raise PolyError(status, None, f"the answer to {operation} is empty")
    root, source = _document(status, data, operation)
    wanted = f"m:{operation}ResponseMessage"
    found = [e for e in root.iter() if _name(e) == wanted]
    if not found:
        raise PolyError(status, None, f"no {wanted} in the answer")
    for message in found:
        response_class = _attribute(message, "ResponseClass", source)
        code = _text(message, "m:ResponseCode")
        if response_class != "Success":
            text = _text(message, "m:MessageText") or f"ResponseClass is {response_class!r}"
            raise PolyError(status, code, f"{operation}: {text}")
    return found, source


def found_items(status: int, data: bytes) -> tuple[list[ItemKey], list[str]]:
    """The items that a FindItem lists, and why others in it are passed over.

    :raises PolyError: see `messages`.
    """
    answers, source = messages(status, data, "FindItem")
    keys: list[ItemKey] = []
    ignored: list[str] = []
    for answer in answers:
        for item in _items(answer, "m:RootFolder/t:Items"):
            try:
                key = _key(item, source)
                _needed(item, "t:MyResponseType")
                keys.append(key)
            except Unusable as error:
                ignored.append(f"FindItem: {error}")
    return keys, ignored


def read_items(status: int, data: bytes) -> tuple[list[ReadItem], list[str]]:
    """The items that a GetItem brings, and why others in it are removed.

    :raises PolyError: see `messages`; one failing message spoils the whole answer.
    """
    answers, source = messages(status, data, "GetItem")
    read: list[ReadItem] = []
    ignored: list[str] = []
    for answer in answers:
        for item in _items(answer, "m:Items"):
            try:
                read.append(_read(item, source))
            except Unusable as error:
                ignored.append(f"GetItem: {error}")
    return read, ignored


def _items(answer: etree._Element, path: str) -> list[etree._Element]:
    container = _child(answer, path)
    return [] if container is None else list(container)


def _key(item: etree._Element, source: str) -> ItemKey:
    if _name(item) != "t:CalendarItem":
        raise Unusable(f"the item is {_name(item)}, not t:CalendarItem")
    item_id = _child(item, "t:ItemId")
    if item_id is None:
        raise Unusable("t:ItemId is missing")
    identifier, change_key = (_attribute(item_id, name, source) for name in ("Id", "ChangeKey"))
    if not identifier or not change_key:
        raise Unusable("t:ItemId has no Id or no ChangeKey")
    return ItemKey(identifier, change_key)


def _moment(item: etree._Element, path: str) -> datetime:
    text = _needed(item, path)[:TIME_CHARACTERS]
    if not TIME.fullmatch(text):
        raise Unusable(f"{path} is {text!r}, not like 2026-03-02T08:00:00Z")
    try:
        return datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=UTC)
    except ValueError:
        raise Unusable(f"{path} is {text!r}, which is no time") from None


def _read(item: etree._Element, source: str) -> ReadItem:
    key = _key(item, source)
    item_class = _needed(item, "t:ItemClass")
    if item_class != APPOINTMENT and not item_class.startswith(OCCURRENCES):
        raise Unusable(f"t:ItemClass is {item_class!r}")
    body = _child(item, "t:Body")
    if body is None or _attribute(body, "BodyType", source) is None:
        raise Unusable("t:Body or its BodyType is missing")
    start, end = _moment(item, "t:Start"), _moment(item, "t:End")
    if end <= start:
        raise Unusable("t:End is not after t:Start")
    return ReadItem(
        key=key, uid=_needed(item, "t:UID"), item_class=item_class, subject=_needed(item, "t:Subject"),
        organizer=_needed(item, "t:Organizer/t:Mailbox/t:Name"), start=start, end=end,
        location=_text(item, "t:Location") or "", body=body.text or "",
        sensitivity=_text(item, "t:Sensitivity") or "Normal", is_cancelled=_text(item, "t:IsCancelled") == "true")
