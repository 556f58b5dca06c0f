"""The parts that EWS requests are made of, read one at a time.

What is missing or outside its type is a fault: ErrorSchemaValidation.
"""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from datetime import datetime, tzinfo

from lxml import etree

from otjd.protocol import markup
from otjd.protocol.ews_ids import FOLDERS
from otjd.protocol.soap import SoapFault, schema_violation
from otjd.protocol.timezones import read_date_time

FOLDERS_LIMIT = 100
"""Folders in one request."""


@dataclass(frozen=True, slots=True)
class FolderRef:
    """A folder that is asked for: by distinguished name, perhaps of a mailbox, or by id."""

    name: str = ""
    mailbox: str = ""
    id: str = ""


def part(element: etree._Element, name: str) -> etree._Element:
    """The child of this name.

    :raises SoapFault: there is none.
    """
    found = markup.child(element, name)
    if found is None:
        raise schema_violation(f"The element '{name}' is missing.", element)
    return found


def required(element: etree._Element, name: str) -> str:
    """The value of an attribute, without blanks around it.

    :raises SoapFault: there is none.
    """
    value = element.get(name)
    if value is None:
        raise schema_violation(f"The required attribute '{name}' is missing.", element)
    return value.strip()


def check_some(found: Sized, name: str, element: etree._Element) -> None:
    """Let entries pass, unless there are none.

    :raises SoapFault: there are none.
    """
    if not found:
        raise schema_violation(f"The element '{name}' has incomplete content.", element)


def check_count(found: Sized, limit: int, name: str) -> None:
    """Let up to `limit` entries pass.

    :raises SoapFault: there are more.
    """
    if len(found) > limit:
        raise SoapFault("ErrorExceededFindCountLimit", f"'{name}' has {len(found)} entries; at most {limit} are "
                                                       "answered in one request.")


def time(element: etree._Element, name: str, zone: tzinfo) -> datetime:
    """The time in an attribute; without offset it is in `zone`.

    :raises SoapFault: it is no time.
    """
    try:
        return read_date_time(required(element, name), zone)
    except ValueError as error:
        raise schema_violation(f"The '{name}' attribute is invalid: {error}.", element) from None


def integer(element: etree._Element, name: str) -> int | None:
    """The whole number in an attribute; None where there is no such attribute.

    :raises SoapFault: it is no number of 32 bits.
    """
    value = element.get(name)
    return None if value is None else number(value, f"The '{name}' attribute", element)


def number(text: str, what: str, element: etree._Element) -> int:
    """The whole number that is written as `text`; `what` names it in the fault.

    :raises SoapFault: it is no number of 32 bits.
    """
    try:
        found = int(text.strip()) if len(text) < 20 and "_" not in text else None
    except ValueError:
        found = None
    if found is None or not -2**31 <= found < 2**31:
        raise schema_violation(f"{what} is invalid: '{text[:40]}' is not a whole number.", element)
    return found


def folders(element: etree._Element, name: str) -> tuple[FolderRef, ...]:
    """The folders that are named in the child of this name.

    :raises SoapFault: there are none or too many, or one that EWS does not have.
    """
    refs = []
    for entry in part(element, name):
        kind = markup.local_name(entry)
        if kind == "DistinguishedFolderId":
            folder = required(entry, "Id").lower()
            if folder not in FOLDERS:
                raise schema_violation("The 'Id' attribute is invalid: there is no distinguished folder "
                                       f"'{folder[:60]}'.", entry)
            mailbox = markup.child(markup.child(entry, "Mailbox"), "EmailAddress")
            refs.append(FolderRef(name=folder, mailbox=markup.content(mailbox)))
        elif kind == "FolderId":
            refs.append(FolderRef(id=required(entry, "Id")))
    found = tuple(refs)
    check_some(found, name, element)
    check_count(found, FOLDERS_LIMIT, name)
    return found
