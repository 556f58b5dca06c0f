"""What Cisco endpoints answer: results of commands, the list of bookings, the software version.

HTTP 200 is not success: endpoints report the errors of commands with 200 and an error within the XML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from lxml import etree

from otjd.protocol.cisco_bookings import Booking, utc_text, without_scheme

BODY_LIMIT = 1024 * 1024
"""Bytes of an answer that are read as XML."""

PUT_RESULT = "PutResult"
CLEAR_RESULT = "ClearResult"
LIST_RESULT = "ListResult"
TC_LIST_RESULT = "Bookings"
"""How the names of results end: the last words of the command's path, and Result."""

_REASON_LIMIT = 300
_NAMED_LIMIT = 3
_HTML = re.compile(rb"\s*(?:<!--(?:(?!-->).)*-->\s*|<\?xml[^>]*>\s*)*(?:<!doctype\s+html|<html)",
                   re.IGNORECASE | re.DOTALL)
_BOM = b"\xef\xbb\xbf"


class Verdict(StrEnum):
    """What an answer with status 200 means."""

    OK = "ok"
    UNKNOWN_COMMAND = "the endpoint does not know the command"
    NO_RESULT = "the endpoint answered without a result"
    REFUSED = "the endpoint refused the command"
    SIGN_IN_PAGE = "the endpoint answered with its sign-in page"
    UNREADABLE = "the endpoint's answer cannot be read"


@dataclass(frozen=True, slots=True)
class PutResult:
    """The outcome of a command; `reason` is the endpoint's own word where it gave one."""

    verdict: Verdict
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether the endpoint took the command."""
        return self.verdict is Verdict.OK

    @property
    def command_is_missing(self) -> bool:
        """Whether the firmware does not have the command: it says so, or answers with nothing."""
        return self.verdict in (Verdict.UNKNOWN_COMMAND, Verdict.NO_RESULT)

    def __str__(self) -> str:
        return f"{self.verdict.value}: {self.reason}" if self.reason else self.verdict.value


@dataclass(frozen=True, slots=True)
class Listed:
    """A booking as an endpoint lists it; a time is None where it cannot be read."""

    id: str
    start: datetime | None
    end: datetime | None
    number: str


class _UnreadableError(ValueError):
    pass


def read_put_result(body: bytes, expected: str = PUT_RESULT) -> PutResult:
    """The outcome of the one command of a `POST /putxml`, from an answer with status 200.

    Success is a well-formed document with the root `Command` and, with `status="OK"`, a result whose name ends
    with `expected`.
    """
    return _command_result(body, (expected,))[0]


def read_list_result(body: bytes) -> tuple[PutResult, tuple[Listed, ...]]:
    """The outcome of `Bookings List`, and the bookings in the endpoint's order.

    TC names the result `Bookings`, within `Command` or as the root.
    """
    result, element = _command_result(body, (LIST_RESULT, TC_LIST_RESULT))
    if not result.ok or element is None:
        return result, ()
    return result, tuple(_listed(b) for b in _children(element) if _name(b) == "Booking")


def read_version(body: bytes) -> str:
    """The text of `SystemUnit/Software/Version` in `/status.xml` or in an answer of `getxml`; empty without it."""
    return read_unit(body)[1]


def read_unit(body: bytes) -> tuple[str, str]:
    """The texts of `ProductId` and `Software/Version` of `SystemUnit`, each empty without it."""
    try:
        root = _parse(body)
    except _UnreadableError:
        return "", ""
    found = [root.find(f".//{{*}}SystemUnit/{path}") for path in ("{*}ProductId", "{*}Software/{*}Version")]
    product, version = ("" if one is None or _name(root) != "Status" else _text(one) for one in found)
    return product, version


def is_sign_in_page(body: bytes) -> bool:
    """Whether this is a web page: some firmware answers so where the login is wrong."""
    return _HTML.match(body.removeprefix(_BOM), 0, 4096) is not None


def list_differences(sent: Iterable[Booking], listed: Iterable[Listed]) -> str:
    """How the endpoint's list differs from what was sent to it; empty where it holds exactly that.

    Compared are ids, times to the second and numbers; organizers are stored in other shapes.
    """
    wanted = {b.id: b for b in sent}
    found = {b.id: b for b in listed}
    differences = [f"{key} is missing" for key in wanted if key not in found]
    differences += [f"{key} was not sent" for key in found if key not in wanted]
    for key, booking in wanted.items():
        if key in found:
            differences += _field_differences(booking, found[key])
    more = len(differences) - _NAMED_LIMIT
    return "; ".join(differences[:_NAMED_LIMIT]) + (f"; and {more} more" if more > 0 else "")


def _field_differences(sent: Booking, listed: Listed) -> Iterator[str]:
    for name, wanted, found in (("starts", sent.start, listed.start), ("ends", sent.end, listed.end)):
        if found is not None and wanted != found.replace(microsecond=0):
            yield f"{sent.id} {name} {utc_text(found)}, not {utc_text(wanted)}"
    if sent.number.lower() != without_scheme(listed.number).lower():
        yield f"{sent.id} has the number {listed.number[:_REASON_LIMIT]!r}, not {sent.number!r}"


def _command_result(body: bytes, expected: tuple[str, ...]) -> tuple[PutResult, etree._Element | None]:
    """The outcome, and the element of the expected result where the outcome is good."""
    if is_sign_in_page(body):
        return PutResult(Verdict.SIGN_IN_PAGE), None
    try:
        root = _parse(body)
    except _UnreadableError as error:
        return PutResult(Verdict.UNREADABLE, str(error)), None
    return _outcome(root, expected)


def _outcome(root: etree._Element, expected: tuple[str, ...]) -> tuple[PutResult, etree._Element | None]:
    bare_list = _name(root) == TC_LIST_RESULT and TC_LIST_RESULT in expected
    if _name(root) != "Command" and not bare_list:
        return _refusal(root, _name(root)), None
    results = [root] if bare_list else list(_children(root))
    if not results:
        return PutResult(Verdict.NO_RESULT), None
    for element in results:
        if (status := element.get("status", "")) != "OK":
            return _refusal(element, f"{_name(element)} with status {status[:_REASON_LIMIT]!r}"), None
    for element in results:
        if _name(element).endswith(expected):
            return PutResult(Verdict.OK), element
    return PutResult(Verdict.REFUSED, f"{_name(results[0])} where {expected[0]} is expected"), None


def _refusal(element: etree._Element, where: str) -> PutResult:
    reason = _reason(element)
    if "unknown command" in reason.lower():
        return PutResult(Verdict.UNKNOWN_COMMAND, reason)
    return PutResult(Verdict.REFUSED, f"{reason} ({where})" if reason else where)


def _reason(element: etree._Element) -> str:
    """The text of `Reason`, else all text there is."""
    found = element.find(".//{*}Reason")
    return _text(element if found is None else found)


def _listed(booking: etree._Element) -> Listed:
    def text(path: str) -> str:
        found = booking.find(path)
        return "" if found is None else _text(found)

    return Listed(id=text("{*}Id"), start=_time(text("{*}Time/{*}StartTime")),
                  end=_time(text("{*}Time/{*}EndTime")), number=text("{*}DialInfo/{*}Calls/{*}Call/{*}Number"))


def _time(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def _parse(body: bytes) -> etree._Element:
    if len(body) > BODY_LIMIT:
        raise _UnreadableError(f"more than {BODY_LIMIT} bytes")
    if not body.strip():
        raise _UnreadableError("it is empty")
    # every call has a parser of its own: they keep state
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise _UnreadableError(f"not well-formed XML: {error}"[:_REASON_LIMIT]) from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise _UnreadableError("it has a document type")
    return root


def _children(element: etree._Element) -> Iterator[etree._Element]:
    return (child for child in element if isinstance(child.tag, str))


def _name(element: etree._Element) -> str:
    return str(etree.QName(element).localname)


def _text(element: etree._Element) -> str:
    return " ".join("".join(str(t) for t in element.itertext()).split())[:_REASON_LIMIT]
