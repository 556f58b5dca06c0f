"""XML as it crosses the wire: hostile documents read into elements, text written into answers.

Documents are read with lxml without network, without entities and without document type declarations; answers are
never built as trees, but as text from the two functions at the end.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from lxml import etree

DEPTH_LIMIT = 64
"""Levels of elements that are read; the deepest request of a known client has 12."""

ELEMENTS_LIMIT = 20_000
"""Elements that are read; a thousand ids take little more than a thousand."""

VIOLATION_LIMIT = 300
"""Characters of a parser's complaint that are handed on."""

_FIRST_BYTES = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"),
                (codecs.BOM_UTF16_BE, "utf-16-be"), (b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"))
# Python knows many more "encodings", some of them costly; these are what XML in this field is written in.
_ENCODINGS = {"utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "ascii", "ascii": "ascii", "iso-8859-1": "latin-1",
              "latin1": "latin-1", "iso-8859-15": "iso8859-15", "windows-1252": "cp1252",
              "utf-16": "utf-16", "utf-16le": "utf-16-le", "utf-16be": "utf-16-be"}
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([A-Za-z0-9._:-]{1,40})", re.IGNORECASE)
_DECLARATION = re.compile(r"\A\s*<\?xml\s[^>]{0,200}\?>")
_DECLARED = re.compile(rb"\A\s*<\?xml\s[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"']")
_PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False,
                          huge_tree=False, remove_comments=True, remove_pis=True, collect_ids=False)


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """How large a document may be: levels of elements, of which libxml2 reads 256 at most, and elements."""

    depth: int = DEPTH_LIMIT
    elements: int = ELEMENTS_LIMIT


USUAL = DocumentLimits()


class UnreadableError(ValueError):
    """A document that is not read; `violation` says why, `line` and `position` where it is known, else 0."""

    def __init__(self, violation: str, line: int = 0, position: int = 0) -> None:
        super().__init__(violation)
        self.violation = violation[:VIOLATION_LIMIT]
        self.line = line
        self.position = position


def read_document(body: bytes, content_type: str = "", limits: DocumentLimits = USUAL) -> etree._Element:
    """The root element of `body`.

    A byte order mark counts before the charset of `content_type`, and that before the XML declaration.

    :raises UnreadableError: it is not well-formed, has a document type declaration or is beyond `limits`.
    """
    text = _decoded(body, content_type)
    if "<!DOCTYPE" in text:
        raise UnreadableError("For security reasons a document type declaration (DTD) is not allowed.")
    # counted before the tree is built, because an element takes fifty times the memory of its text; the first
    # count, which takes in end tags, is the quick one
    if text.count("<") > limits.elements and _starts(text) > limits.elements:
        raise UnreadableError(f"The document has more than {limits.elements} elements.")
    # the text is handed on as UTF-8, whatever the declaration says; lines and columns stay where they are
    plain = _DECLARATION.sub(lambda match: re.sub(r"[^\r\n]", " ", match[0]), text)
    try:
        root = etree.fromstring(plain.encode(), _PARSER)
    except etree.XMLSyntaxError as error:
        line, position = error.position
        raise UnreadableError(error.msg or "The document is not well-formed.", line or 0, position or 0) from None
    if _too_deep(limits.depth)(root):
        raise UnreadableError(f"The document is nested more than {limits.depth} levels deep.")
    return root


def _starts(text: str) -> int:
    """The number of elements, or a little more where comments or CDATA hold what looks like some."""
    return text.count("<") - text.count("</") - text.count("<!") - text.count("<?")


@cache
def _too_deep(depth: int) -> etree.XPath:
    return etree.XPath(f"boolean({'/*' * (depth + 1)})")


def _decoded(body: bytes, content_type: str) -> str:
    encoding = next((name for mark, name in _FIRST_BYTES if body.startswith(mark)), "")
    if not encoding:
        charset, declared = _CHARSET.search(content_type), _DECLARED.match(body)
        name = charset[1] if charset else declared[1].decode("ascii") if declared else "utf-8"
        encoding = _ENCODINGS.get(name.lower(), "")
        if not encoding:
            raise UnreadableError(f"The encoding '{name}' is not supported.")
    try:
        return body.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise UnreadableError(f"The document is not encoded as {encoding}.") from None


def local_name(element: etree._Element) -> str:
    """The name of an element without its namespace."""
    return str(element.tag).rpartition("}")[2]


def namespace(element: etree._Element) -> str:
    """The namespace of an element; empty where it has none."""
    return str(element.tag).rpartition("}")[0].removeprefix("{")


def children(element: etree._Element | None, name: str) -> Iterator[etree._Element]:
    """The children of this name, in whatever namespace: some clients get their default namespaces wrong."""
    if element is not None:
        yield from element.iterchildren(f"{{*}}{name}")


def child(element: etree._Element | None, name: str) -> etree._Element | None:
    """The first child of this name."""
    return next(element.iterchildren(f"{{*}}{name}"), None) if element is not None else None


def content(element: etree._Element | None) -> str:
    """The text of an element without blanks around it; empty where there is no element."""
    return (element.text or "").strip() if element is not None else ""


_IMPOSSIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_SPECIAL = re.compile("[&<>\r\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_SPECIAL_IN_ATTRIBUTE = re.compile("[&<>\"\r\n\t\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#xD;", "\n": "&#xA;", "\t": "&#x9;"}


def _escaped(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[0], "")


def visible(value: str) -> str:
    """`value` without what XML cannot hold and without blanks around it: empty where there is nothing to see."""
    return (value if value.isprintable() else _IMPOSSIBLE.sub("", value)).strip()


def text(value: str) -> str:
    """`value` as the text of an element: escaped as Exchange does, without what XML cannot hold."""
    if not _SPECIAL.search(value):
        return value
    escaped = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#xD;")
    return _IMPOSSIBLE.sub("", escaped)


def attribute(value: str) -> str:
    """`value` as an attribute between double quotes."""
    return _SPECIAL_IN_ATTRIBUTE.sub(_escaped, value)


def boolean(value: bool) -> str:
    """`value` as an xs:boolean."""
    return "true" if value else "false"
