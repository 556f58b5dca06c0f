"""What an EWS request asks to be told of each item: the kind of body, and properties beyond the usual ones."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lxml import etree

from otjd.protocol import markup
from otjd.protocol.soap import schema_violation

_SETS_BY_GUID = {
    "6ed8da90-450b-101b-98da-00aa003f1305": "Meeting",
    "00020329-0000-0000-c000-000000000046": "PublicStrings",
}


class BodyType(StrEnum):
    """The form of a body."""

    HTML = "HTML"
    TEXT = "Text"


@dataclass(frozen=True, slots=True)
class ExtendedField:
    """A MAPI property that is asked for. `property_set` is a name of DistinguishedPropertySetId, empty where a
    property is asked for by its tag; `guid` is how the client named the set, where it did not use that name.
    `name` or `number` tells the property."""

    property_set: str
    property_type: str
    name: str = ""
    number: int | None = None
    guid: str = ""


@dataclass(frozen=True, slots=True)
class ItemShape:
    """What to tell of an item beyond the properties that are always told; None: not this body."""

    body: BodyType = BodyType.HTML
    unique_body: BodyType | None = None
    normalized_body: BodyType | None = None
    text_body: bool = False
    mime_content: bool = False
    extended: tuple[ExtendedField, ...] = ()


def read_shape(element: etree._Element | None) -> ItemShape:
    """Read an ItemShape. Properties count wherever below it they stand: a misspelled container does no harm.

    :raises SoapFault: a body type does not exist.
    """
    if element is None:
        return ItemShape()
    fields: set[str] = set()
    extended: dict[ExtendedField, None] = {}
    for inner in element.iter():
        kind = markup.local_name(inner)
        if kind == "FieldURI":
            fields.add(inner.get("FieldURI", "").strip())
        elif kind == "ExtendedFieldURI" and (field := _read_extended(inner)) is not None:
            extended[field] = None
    return ItemShape(
        body=_body_type(element, "BodyType"),
        unique_body=_body_type(element, "UniqueBodyType") if "item:UniqueBody" in fields else None,
        normalized_body=_body_type(element, "NormalizedBodyType") if "item:NormalizedBody" in fields else None,
        text_body="item:TextBody" in fields,
        mime_content=("item:MimeContent" in fields
                      or markup.content(markup.child(element, "IncludeMimeContent")) in ("true", "1")),
        extended=tuple(extended))


def _body_type(shape: etree._Element, name: str) -> BodyType:
    element = markup.child(shape, name)
    asked = markup.content(element)
    if asked == "Text":
        return BodyType.TEXT
    if asked in ("", "HTML", "Best"):  # HTML is the richest form there is
        return BodyType.HTML
    raise schema_violation(f"The value '{asked[:40]}' of '{name}' is not one of Best, HTML and Text.", element)


def _tag(text: str) -> int | None:
    """The number of a property tag, which is hexadecimal after `0x` and decimal otherwise."""
    try:
        return int(text, 0) if text.isascii() and text.isalnum() and len(text) < 8 else None
    except ValueError:
        return None


def _read_extended(element: etree._Element) -> ExtendedField | None:
    """A property of one of the sets that there is something of; None for others, which no item has."""
    tag = element.get("PropertyTag", "").strip()
    if tag:
        return ExtendedField("", element.get("PropertyType", "").strip(), number=_tag(tag))
    guid = element.get("PropertySetId", "").strip()
    property_set = element.get("DistinguishedPropertySetId", "").strip() or _SETS_BY_GUID.get(guid.lower(), "")
    number = element.get("PropertyId", "").strip()
    name = element.get("PropertyName", "").strip()
    if property_set not in _SETS_BY_GUID.values() or not (name or (number.isascii() and number.isdigit()
                                                                   and len(number) < 10)):
        return None
    return ExtendedField(
        property_set=property_set, property_type=element.get("PropertyType", "").strip(), name=name,
        number=None if name else int(number),
        guid="" if element.get("DistinguishedPropertySetId") else guid)
