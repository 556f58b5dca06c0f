"""The body of an invitation as text and links (invitations.md section 0, "Reading the text")."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass

from lxml import etree
from lxml import html as lxml_html

from otjd.meetings.model import Invitation
from otjd.rules.links import original

HTML_LIMIT = 5_000_000
"""Characters of a body that are read."""

TEXT_LIMIT = 1_000_000
"""Characters of text that are searched."""

LINKS_LIMIT = 2000
TRAILING_LIMIT = 10

_BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "body", "br", "caption", "center", "dd", "div", "dl", "dt",
    "fieldset", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main",
    "nav", "ol", "option", "p", "pre", "section", "table", "tbody", "tfoot", "thead", "tr", "ul",
})
_CELLS = frozenset({"td", "th"})
_HIDDEN = frozenset({"script", "style", "head", "title", "template", "noscript", "object"})
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200e\u200f\u2060\ufeff\u00ad\x00"))
_BLANKS = re.compile(r"[^\S\n]+")
_MANY_LINES = re.compile(r"\n{3,}")
_QUOTED = re.compile(r"[ \t]{0,3}>[> \t]*")
_DELIMITED = re.compile(r"<([a-z][a-z0-9+.-]{1,15}:[^<>\s]{1,8000})>", re.IGNORECASE)
_BARE = re.compile(r"\b(?:https?|pexip)://[^\s<>\"]{1,8000}", re.IGNORECASE)
_CLOSERS = {")": "(", "]": "[", "}": "{"}
_LOOKS_LIKE_HTML = re.compile(r"<(?:br|/?p|/?div|/?span|/?b|/a|/?ul|/?li|/?html|/?body|/?table)\b[^<>]{0,300}>",
                              re.IGNORECASE)
_TAG = re.compile(r"<(/?)([a-z][a-z0-9:]{0,20})\b([^<>]*)>?", re.IGNORECASE)
_HREF = re.compile(r"\b(originalsrc|href)\s{0,5}=\s{0,5}(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class BodyText:
    """A body, ready to be searched.

    `text` is what a reader sees, `links` the targets of its links in their order, rewritten ones undone, `marked`
    the text with every link in `<>` behind its label as Outlook writes it, `html` the source where there is one.
    `quoted` holds the lines quoted with `>`, which are to be searched after the rest gave nothing.
    """

    text: str = ""
    links: tuple[str, ...] = ()
    html: str = ""
    marked: str = ""
    quoted: BodyText | None = None


def read_body(invitation: Invitation) -> BodyText:
    """Text, links and source of the body. The HTML form is preferred where it holds anything."""
    plain, source = _forms(invitation)
    if source.strip():
        read = _read_html(source)
        if read.text or read.links or not plain.strip():
            return read
    text = _tidy(plain)
    return _divided(text, text, "", ())


def whole_text(invitation: Invitation) -> str:
    """The body as plain text, quoted lines where they stand, links in `<>` behind their labels."""
    plain, source = _forms(invitation)
    return (_written(source).marked() if source.strip() else "") or _tidy(plain)


def _forms(invitation: Invitation) -> tuple[str, str]:
    """The plain and the HTML form of the body."""
    plain = invitation.body_text[:HTML_LIMIT]
    source = invitation.body_html[:HTML_LIMIT]
    return plain, plain if not source.strip() and _is_html(plain) else source


def _is_html(plain: str) -> bool:
    """Whether a body that came as text is HTML all the same, as the descriptions of Google events are."""
    return _LOOKS_LIKE_HTML.search(plain) is not None and _DELIMITED.search(plain) is None


def _divided(text: str, marked: str, source: str, links: Iterable[str]) -> BodyText:
    own, quoted = _unquoted(text)
    own_marked, quoted_marked = (own, quoted) if marked is text else _unquoted(marked)
    inner = None
    if quoted.strip():
        inner = BodyText(quoted, links_in(quoted_marked), "", quoted_marked)
        links = [link for link in links if link not in inner.links or f"<{link}>" in own_marked]
    return BodyText(own, links_in(own_marked, links), source, own_marked, inner)


def _unquoted(text: str) -> tuple[str, str]:
    """The lines that are not quoted, and those that are, without their marks."""
    own: list[str] = []
    quoted: list[str] = []
    for line in text.split("\n"):
        mark = _QUOTED.match(line)
        if mark:
            quoted.append(line[mark.end():])
        else:
            own.append(line)
    return "\n".join(own).strip("\n"), "\n".join(quoted).strip("\n")


def links_in(text: str, first: Iterable[str] = ()) -> tuple[str, ...]:
    """The links of a text in their order behind those that are known: each once, rewritten ones undone."""
    found = [*first]
    places = [(m.start(1), m[1]) for m in _DELIMITED.finditer(text)]
    delimited = {start for start, _ in places}
    places += [(m.start(), _trimmed(m[0])) for m in _BARE.finditer(text) if m.start() not in delimited]
    found += [link for _, link in sorted(places)]
    unescaped = (visible(original(visible(link).replace("&amp;", "&").strip())) for link in found[:LINKS_LIMIT])
    return tuple(dict.fromkeys(link for link in unescaped if link))


def _trimmed(link: str) -> str:
    """A bare link without the punctuation of the sentence around it."""
    for _ in range(TRAILING_LIMIT):
        last = link[-1:]
        if last and (last in ".,;:!?'*|" or (last in _CLOSERS and link.count(last) > link.count(_CLOSERS[last]))):
            link = link[:-1]
    return link


def visible(text: str) -> str:
    """The text without the characters that nobody sees, which Outlook and others put between words."""
    return text.translate(_INVISIBLE)


def _tidy(text: str) -> str:
    """Line ends as `\\n`, blanks of every kind as one blank, invisible characters removed."""
    text = visible(text).replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n")
    text = _BLANKS.sub(" ", text)
    lines = "\n".join(line.strip() for line in text.split("\n"))
    return _MANY_LINES.sub("\n\n", lines).strip("\n")[:TEXT_LIMIT]


def _read_html(source: str) -> BodyText:
    writer = _written(source)
    text, marked = writer.text(), writer.marked()
    return _divided(text, marked, source, writer.links)


def _written(source: str) -> _Writer:
    """An HTML body as a reader sees it."""
    writer = _Writer()
    try:
        parser = lxml_html.HTMLParser(encoding="utf-8", huge_tree=False, no_network=True, remove_comments=True,
                                      remove_pis=True)
        tree = lxml_html.document_fromstring(source.replace("\x00", "").encode("utf-8", "replace"), parser=parser)
        if any(entry.level >= etree.ErrorLevels.FATAL for entry in parser.error_log):
            raise etree.ParserError("it was not read to its end")
        _write_tree(tree, writer)
    except (etree.LxmlError, ValueError):
        writer = _Writer()
        _write_tags(source, writer)
    return writer


class _Writer:
    """Collects what a reader of an HTML body sees."""

    def __init__(self) -> None:
        self.links: list[str] = []
        self._parts: list[tuple[str, bool]] = []  # text, and whether it is a link's target
        self._open: list[tuple[str, int]] = []

    def write(self, text: str, as_it_is: bool = False) -> None:
        """Text between tags: unless `as_it_is`, line ends in it mean no more than blanks."""
        if text:
            self._parts.append((text if as_it_is else text.replace("\n", " ").replace("\r", " "), False))

    def break_line(self, *, always: bool = False) -> None:
        """The begin or end of a block; where a line has just ended only if `always`."""
        if not always:
            for text, _ in reversed(self._parts):
                if text.endswith("\n"):
                    return
                if text.strip():
                    break
        self._parts.append(("\n", False))

    def open_link(self, target: str) -> None:
        """A link begins."""
        target = "".join(target.split())
        self._open.append((target, len(self._parts)))
        if target and not target.startswith("#"):
            self.links.append(target)

    def close_link(self) -> None:
        """The link that was opened last ends."""
        if self._open:
            target, begin = self._open.pop()
            label = "".join(text for text, is_target in self._parts[begin:begin + 50] if not is_target).strip()
            if target and target != label and not target.startswith("#"):
                self._parts.append((f"<{target}>", True))

    def text(self) -> str:
        """What a reader sees."""
        return _tidy("".join(text for text, is_target in self._parts if not is_target))

    def marked(self) -> str:
        """The same, with the targets of links."""
        return _tidy("".join(text for text, _ in self._parts))


def _write_tree(tree: etree._Element, writer: _Writer) -> None:
    hidden = preformatted = 0
    for event, element in etree.iterwalk(tree, events=("start", "end")):
        tag = element.tag.lower() if isinstance(element.tag, str) else ""
        is_link = tag in ("a", "area")
        if event == "start":
            hidden += tag in _HIDDEN
            preformatted += tag == "pre"
            if hidden:
                continue
            if tag in _BLOCKS:
                writer.break_line(always=tag == "br")
            if is_link:
                writer.open_link(element.get("originalsrc") or element.get("href") or "")
            writer.write(element.text or "", as_it_is=preformatted > 0)
        else:
            if not hidden:
                _close(tag, is_link, writer)
            hidden -= tag in _HIDDEN
            preformatted -= tag == "pre"
            if not hidden:
                writer.write(element.tail or "", as_it_is=preformatted > 0)


def _close(tag: str, is_link: bool, writer: _Writer) -> None:
    if is_link:
        writer.close_link()
    if tag in _BLOCKS and tag != "br":
        writer.break_line()
    elif tag in _CELLS:
        writer.write(" ")


def _write_tags(source: str, writer: _Writer) -> None:
    """Read HTML that no parser takes, tag by tag."""
    at = 0
    hidden = ""
    for match in _TAG.finditer(source):
        closing, tag, attributes = bool(match[1]), match[2].lower(), match[3]
        if not hidden:
            writer.write(html.unescape(source[at:match.start()]))
        at = match.end()
        if hidden:
            hidden = "" if closing and tag == hidden else hidden
        elif tag in ("script", "style") and not closing:
            hidden = tag
        elif tag == "a" and not closing:
            found = {m[1].lower(): m[2] or m[3] or m[4] or "" for m in _HREF.finditer(attributes)}
            writer.open_link(html.unescape(found.get("originalsrc") or found.get("href") or ""))
        elif tag == "br":
            writer.break_line(always=True)
        else:
            _close(tag, tag == "a", writer)
    if not hidden:
        writer.write(html.unescape(source[at:]))
