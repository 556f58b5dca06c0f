"""The body of an invitation as text and links (invitations.md section 0, "Reading the text")."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import cached_property

import re2  # type: ignore[import-untyped]  # the package has no type information

from otjd.meetings.model import Invitation
from otjd.rules.html_body import BLOCK, LINE, LINKS_LIMIT, TARGET, Marked, read_html
from otjd.rules.links import may_be_rewritten, original

HTML_LIMIT = 2_000_000
"""Characters of a body that are read."""

TEXT_LIMIT = 400_000
"""Characters of text that are searched."""

TRAILING_LIMIT = 10

_INVISIBLE = "\u200b\u200c\u200e\u200f\u2060\ufeff\u00ad\x00"
_BLANKS = tuple(c for c in map(chr, range(0x3001)) if c.isspace() and c not in " \n")
_ASCII_INVISIBLE, _ASCII_BLANKS = (tuple(filter(str.isascii, those)) for those in (_INVISIBLE, _BLANKS))
_MANY_LINES = re.compile(r"\n{3,}")
_QUOTED = re.compile(r"[ \t]{0,3}>[> \t]*")
_DELIMITED = re.compile(r"<([a-z][a-z0-9+.-]{1,15}:[^<>\s]{1,8000})>", re.IGNORECASE)
_MAY_BE_DELIMITED = re2.compile(rb"<[A-Za-z][A-Za-z0-9+.-]{1,15}:")
_BARE = re.compile(r"://(?:(?<=\b(https)://)|(?<=\b(http)://)|(?<=\b(pexip)://))[^\s<>\"]{1,8000}", re.IGNORECASE)
"""Begins with what is rare and the same in all, so that it is found quickly; the scheme is its only group."""

_CLOSERS = {")": "(", "]": "[", "}": "{"}
_LOOKS_LIKE_HTML = re.compile(r"<(?:br|/?p|/?div|/?span|/?b|/a|/?ul|/?li|/?html|/?body|/?table)\b[^<>]{0,300}>",
                              re.IGNORECASE)


@dataclass(frozen=True)
class BodyText:
    """A body, ready to be searched.

    `text` is what a reader sees, `marked` the text with every link in `<>` behind its label as Outlook writes it,
    `html` the source where there is one, `targets` are those of its links as they stand there. `quoted` holds the
    lines quoted with `>`, which are to be searched after the rest gave nothing.
    """

    text: str = ""
    marked: str = ""
    html: str = ""
    targets: tuple[str, ...] = ()
    quoted: BodyText | None = None

    @cached_property
    def links(self) -> tuple[str, ...]:
        """The targets of its links in their order, rewritten ones undone."""
        return _restored(self._found)

    @cached_property
    def restored(self) -> tuple[str, ...]:
        """Those links that may not stand in `marked` as they are."""
        if self.quoted is not None or len(self.marked) >= TEXT_LIMIT:
            return self.links
        known = frozenset(self._found)
        return tuple(link for link in self.links if link not in known)

    @cached_property
    def _found(self) -> tuple[str, ...]:
        return _found_in(self.marked, self.targets)


@dataclass(frozen=True, slots=True)
class RawBody:
    """A body before it is laid out, in which can be seen at a fraction of the cost what is not in it.

    `plain` and `html` are its forms, `read` is what the HTML holds, with plain blanks and nothing invisible.
    """

    plain: str
    html: str
    read: Marked

    def searchable(self) -> tuple[str, ...]:
        """Text, with BLOCK in it, and targets of links: every word that a BodyText of this body has in its text,
        and those of its links that no mail filter rewrote."""
        text = self.read.text.replace(TARGET, "").replace(LINE, "\n")
        other = self.plain if self.plain is not self.html or not text.strip(f"{BLOCK} \n") else ""
        return text, _with_plain_blanks(visible(other)), visible("\n".join(self.read.targets))


def read_raw(invitation: Invitation) -> RawBody:
    """Read the body, the HTML form where there is one."""
    plain, source = _forms(invitation)
    if not source.strip():
        return RawBody(plain, "", Marked(""))
    read = read_html(source)
    text = _with_plain_blanks(visible(read.text).replace("\n", " ").replace("\u2028", LINE))
    return RawBody(plain, source, Marked(text, read.shown, read.targets))


def lay_out(raw: RawBody) -> BodyText:
    """Text, links and source of a body. The HTML form is preferred where it holds anything."""
    if raw.html:
        text, marked = _laid_out(raw.read)
        read = _divided(text, marked, raw.html, raw.read.targets)
        if read.text or read.links or not raw.plain.strip():
            return read
    text = _tidy(raw.plain)
    return _divided(text, text, "", ())


def read_body(invitation: Invitation) -> BodyText:
    """Text, links and source of the body."""
    return lay_out(read_raw(invitation))


def whole_text(raw: RawBody) -> str:
    """The body as plain text, quoted lines where they stand, links in `<>` behind their labels."""
    return (_laid_out(raw.read)[1] if raw.html else "") or _tidy(raw.plain)


def _forms(invitation: Invitation) -> tuple[str, str]:
    """The plain and the HTML form of the body."""
    plain = invitation.body_text[:HTML_LIMIT]
    source = invitation.body_html[:HTML_LIMIT]
    return plain, plain if not source.strip() and _is_html(plain) else source


def _is_html(plain: str) -> bool:
    """Whether a body that came as text is HTML all the same, as the descriptions of Google events are."""
    return "<" in plain and _LOOKS_LIKE_HTML.search(plain) is not None and not _has_delimited(plain)


def _has_delimited(text: str) -> bool:
    """Whether a link stands in `<>`. RE2 tells in half the time that none does."""
    if text.isascii() and _MAY_BE_DELIMITED.search(text.encode()) is None:
        return False
    return _DELIMITED.search(text) is not None


def _divided(text: str, marked: str, source: str, targets: tuple[str, ...]) -> BodyText:
    if ">" not in text:
        return BodyText(text, marked, source, targets)
    own, quoted = _unquoted(text)
    own_marked, quoted_marked = (own, quoted) if marked is text else _unquoted(marked)
    inner = None
    if quoted.strip():
        inner = BodyText(quoted, quoted_marked)
        targets = tuple(link for link in targets if link not in inner.links or f"<{link}>" in own_marked)
    return BodyText(own, own_marked, source, targets, inner)


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


def links_in(text: str) -> tuple[str, ...]:
    """The links of a text in their order: each once, rewritten ones undone."""
    return _restored(_found_in(text))


def _found_in(text: str, first: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The links of a text as they stand there, behind those that are known: each once."""
    if ":" not in text:
        return tuple(dict.fromkeys(first[:LINKS_LIMIT]))
    places = [(m.start(1), m[1]) for m in _DELIMITED.finditer(text)] if "<" in text else []
    places += _bare(text, {start for start, _ in places})
    found = [*first, *(link for _, link in sorted(places))]
    return tuple(dict.fromkeys(found[:LINKS_LIMIT]))


def _restored(found: tuple[str, ...]) -> tuple[str, ...]:
    """The links as they were before mail filters and mail programs changed them."""
    if not found:
        return ()
    joined = visible("\n".join(found)).replace("&amp;", "&")  # no link has a line end
    links = joined.split("\n")
    if may_be_rewritten(joined):
        links = [visible(original(link.strip())) for link in links]
    return tuple(dict.fromkeys(link for link in links if link))


def _bare(text: str, delimited: Container[int]) -> Iterator[tuple[int, str]]:
    """Where web addresses stand in a text without delimiters, and these without the punctuation behind them."""
    end = 0
    for match in _BARE.finditer(text):
        scheme = match.lastindex or 0
        start = match.start(scheme)
        if start >= end:  # else it is the end of a link that was too long
            end = match.end()
            if start not in delimited:
                yield start, _trimmed(match[scheme] + match[0])


def _trimmed(link: str) -> str:
    """A bare link without the punctuation of the sentence around it."""
    if link[-1:].isalnum():
        return link
    for _ in range(TRAILING_LIMIT):
        last = link[-1:]
        if last and (last in ".,;:!?'*|" or (last in _CLOSERS and link.count(last) > link.count(_CLOSERS[last]))):
            link = link[:-1]
        else:
            break
    return link


def visible(text: str) -> str:
    """The text without the characters that nobody sees, which Outlook and others put between words."""
    for character in _ASCII_INVISIBLE if text.isascii() else _INVISIBLE:
        if character in text:
            text = text.replace(character, "")
    return text


def _tidy(text: str) -> str:
    """Line ends as `\n`, blanks of every kind as one blank, invisible characters removed."""
    text = visible(text).replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n")
    return _joined([line.strip() for line in _with_plain_blanks(text).split("\n")])


def _laid_out(read: Marked) -> tuple[str, str]:
    """The lines of an HTML body, tidied in the same way, and the same with targets behind the labels of links.

    The blocks that hold a target are laid out twice, all others once.
    """
    text = read.text
    if not read.shown:
        return (laid_out := _joined(_lines(text))), laid_out
    own: list[str] = []
    marked: list[str] = []
    targets = iter(read.shown)
    at = 0
    while (target := text.find(TARGET, at)) >= 0:
        begin = text.rfind(BLOCK, at, target) + 1 or at
        end = text.find(BLOCK, target)
        end = end if end >= 0 else len(text)
        between = _lines(text[at:begin])
        block, *behind = text[begin:end].split(TARGET)
        own += between
        own += _lines("".join((block, *behind)))
        marked += between
        marked += _lines("".join((block, *(f"<{visible(next(targets))}>{piece}" for piece in behind))))
        at = end
    rest = _lines(text[at:])
    return _joined(own + rest), _joined(marked + rest)


def _lines(text: str) -> list[str]:
    """The lines of some blocks: each begins on a new one, and those without any text leave none."""
    if LINE not in text:
        return [line for block in text.split(BLOCK) if (line := block.strip())]
    lines: list[str] = []
    for block in text.split(BLOCK):
        if LINE in block:
            lines += (line.strip() for line in block.split(LINE))
            if not lines[-1]:
                lines.pop()  # the block itself ends that line
        elif stripped := block.strip():
            lines.append(stripped)
    return lines


def _with_plain_blanks(text: str) -> str:
    for blank in _ASCII_BLANKS if text.isascii() else _BLANKS:
        if blank in text:
            text = text.replace(blank, " ")
    return text


def _with_single_blanks(text: str) -> str:
    while "  " in text:
        text = text.replace("  ", " ")
    return text


def _joined(lines: list[str]) -> str:
    text = _with_single_blanks("\n".join(lines))
    if "" in lines and "\n\n\n" in text:
        text = _MANY_LINES.sub("\n\n", text)
    return text.strip("\n")[:TEXT_LIMIT]
