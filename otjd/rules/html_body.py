"""The HTML of a body as one string with marks, in which blocks, lines and links can be told apart.

lxml parses and a stylesheet writes the string, both in C; what is left to Python is a few operations on the whole
of it. HTML that no parser takes is read tag by tag.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from itertools import islice

import re2  # type: ignore[import-untyped]  # the package has no type information
from lxml import etree

BLOCK = "\x7f"
"""A block begins or ends here: a new line, unless one has just begun. It is the only mark in most bodies, so that
these stay ASCII, with which all goes faster."""

LINE = "\x8d"
"""A line ends here."""

TARGET = "\x90"
"""The target of a link belongs here, behind its label."""

_LINK, _LABEL, _END = "\x8f", TARGET, "\x8f\x9d"
"""A link: its target follows, then its label, then its end. Begin and end share a character, so that both are
found quickly in one pass."""

_MARKS = f"{LINE}{_LABEL}{_END}"
_NO_BLOCK = "\x81"
"""A control character like BLOCK, in the place of those in the source: no alias has it either.

No character set in use has these five characters, and who writes them as entities does no more than he could with
tags.
"""

LINKS_LIMIT = 2000
"""Links of a body that are looked at."""

_TAGS_LIMIT = 50_000
_QUOTED_ENDS = 20
_WITHOUT_END = 10_000
_OVERLONG_TAG = re.compile(r"<[^>]{20000}")  # twice as many, so that it spans one whole block without an end
_QUOTED_END = re.compile(r"=[ \t\r\n]{0,20}[\"'][^\"'>]{0,1000}>")
_ANY_QUOTED_END = re2.compile(rb"=[ \t\r\n]*[\"'][^\"'>]*>")
_BLOCKS = ("address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "div", "dl", "dt",
           "fieldset", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li",
           "main", "nav", "ol", "option", "p", "pre", "section", "table", "tbody", "tfoot", "thead", "tr", "ul")
_CELLS = ("td", "th")
_HIDDEN = ("script", "style", "head", "title", "template", "noscript", "object")
_STYLESHEET = f"""\
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
<xsl:output method="text"/>
<xsl:template match="{'|'.join(_BLOCKS)}">{BLOCK}<xsl:apply-templates/>{BLOCK}</xsl:template>
<xsl:template match="br">{LINE}<xsl:apply-templates/></xsl:template>
<xsl:template match="{'|'.join(_CELLS)}"><xsl:apply-templates/><xsl:text> </xsl:text></xsl:template>
<xsl:template match="{'|'.join(_HIDDEN)}"/>
<xsl:template match="a|area">{_LINK}<xsl:choose>
<xsl:when test="string(@originalsrc)"><xsl:value-of select="@originalsrc"/></xsl:when>
<xsl:otherwise><xsl:value-of select="@href"/></xsl:otherwise>
</xsl:choose>{_LABEL}<xsl:apply-templates/>{_END}</xsl:template>
<xsl:template match="pre//text()"><xsl:value-of select="translate(., '&#10;&#13;', '{LINE}')"/></xsl:template>
</xsl:stylesheet>
"""
_TAG = re.compile(r"<(/?)([a-z][a-z0-9:]{0,20})\b([^<>]*)>?", re.IGNORECASE)
_HREF = re.compile(r"\b(originalsrc|href)\s{0,5}=\s{0,5}(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))", re.IGNORECASE)
_LINK_MARK = re.compile(f"{_LINK}(?:([^{_LABEL}{_END}]*){_LABEL}|{_END[1]})")
_LINK_MARKS = re.compile(f"{_LINK}[^{_LABEL}{_END}]*{_LABEL}|[{_LABEL}{_END}]")
_LABEL_PARTS = 50


@dataclass(frozen=True, slots=True)
class Marked:
    """The text of a body with BLOCK, LINE and TARGET in it, and the targets of its links in their order.

    `shown` are those that TARGET stands for, in the order in which it does.
    """

    text: str
    shown: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()


_WRITE = etree.XSLT(etree.XML(_STYLESHEET))
"""May be called from several threads at a time: a stylesheet is only read, and each call has its own context."""


def read_html(source: str) -> Marked:
    """Read the HTML of a body. Never fails; what nobody sees is left out."""
    for mark in (*_MARKS, "\x00"):
        if mark in source:
            source = source.replace(mark, "")
    if BLOCK in source:
        source = source.replace(BLOCK, _NO_BLOCK)
    return _links_apart(_parsed(source) or _tag_by_tag(source))


def _parsed(source: str) -> str | None:
    """What the parser makes of it; None where it does not read it to its end."""
    encoded = source.encode("utf-8", "replace")
    if _is_monstrous(source, encoded):
        return None
    parser = etree.HTMLParser(encoding="utf-8", huge_tree=False, no_network=True, remove_comments=True,
                              remove_pis=True)
    try:
        tree = etree.fromstring(encoded, parser=parser)
        if tree is None or len(parser.error_log.filter_from_fatals()):
            return None
        return str(_WRITE(tree))
    except (etree.LxmlError, ValueError):
        return None


def _is_monstrous(source: str, encoded: bytes) -> bool:
    """Whether a tag may have thousands of attributes, for which the parser takes quadratic time."""
    ends = (source.find(">", at, at + _WITHOUT_END) for at in range(0, len(source) - _WITHOUT_END, _WITHOUT_END))
    if -1 in ends and _OVERLONG_TAG.search(source):
        return True
    if _ANY_QUOTED_END.search(encoded) is None:  # tells in a fraction of the time
        return False
    return any(True for _ in islice(_QUOTED_END.finditer(source), _QUOTED_ENDS, None))


def _tag_by_tag(source: str) -> str:
    """Read HTML that no parser takes: its first 50,000 tags."""
    written: list[str] = []
    at = 0
    hidden = ""
    for count, match in enumerate(_TAG.finditer(source)):
        if count == _TAGS_LIMIT:
            return "".join(written)
        closing, tag, attributes = bool(match[1]), match[2].lower(), match[3]
        if not hidden:
            written.append(html.unescape(source[at:match.start()]))
        at = match.end()
        if hidden:
            hidden = "" if closing and tag == hidden else hidden
        elif tag in ("script", "style") and not closing:
            hidden = tag
        elif tag == "a":
            written.append(_END if closing else _LINK + _target(attributes) + _LABEL)
        elif tag == "br":
            written.append(LINE)
        elif tag in _BLOCKS:
            written.append(BLOCK)
        elif tag in _CELLS:
            written.append(" ")
    if not hidden:
        written.append(html.unescape(source[at:]))
    return "".join(written)


def _target(attributes: str) -> str:
    found = {m[1].lower(): m[2] or m[3] or m[4] or "" for m in _HREF.finditer(attributes)}
    return html.unescape(found.get("originalsrc") or found.get("href") or "")


def _without_links(written: str) -> str:
    return _LINK_MARKS.sub("", written) if any(mark in written for mark in _LABEL + _END) else written


def _links_apart(written: str) -> Marked:
    """The links of the string apart from its text: the first 2,000."""
    if _LINK not in written:
        return Marked(_without_links(written))
    text: list[str] = []
    shown: list[str] = []
    targets: list[str] = []
    open_links: list[tuple[str, int]] = []
    at = 0
    for mark in islice(_LINK_MARK.finditer(written), 2 * LINKS_LIMIT):
        text.append(_without_links(written[at:mark.start()]))
        at = mark.end()
        if mark[1] is not None:
            target = "".join(mark[1].split())
            target = "" if target.startswith("#") else target
            open_links.append((target, len(text)))
            if target:
                targets.append(target)
        elif open_links:
            target, begin = open_links.pop()
            if target and target != "".join(text[begin:begin + _LABEL_PARTS]).replace(TARGET, "").strip():
                text[-1] += TARGET
                shown.append(target)
    text.append(_without_links(written[at:]))
    return Marked("".join(text), tuple(shown), tuple(targets))
