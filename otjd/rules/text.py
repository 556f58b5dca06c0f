"""The body of an invitation as text and links (invitations.md section 0, "Reading the text")."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass

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
_MANY_LINES = re.compile(r"\n{3,}")
_QUOTED = re.compile(r"[ \t]{0,3}>[> \t]*")
_DELIMITED = re.compile(r"<([a-z][a-z0-9+.-]{1,15}:[^<>\s]{1,8000})>", re.IGNORECASE)
_BARE = re.compile(r"://(?:(?<=\b(https)://)|(?<=\b(http)://)|(?<=\b(pexip)://))[^\s<>\"]{1,8000}", re.IGNORECASE)
"""Begins with what is rare and the same in all, so that it is found quickly; the scheme is its only group."""

_CLOSERS = {")": "(", "]": "[", "}": "{"}
_LOOKS_LIKE_HTML = re.compile(r"<(?:br|/?p|/?div|/?span|/?b|/a|/?ul|/?li|/?html|/?body|/?table)\b[^<>]{0,300}>",
                              re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class BodyText:
    """A body, ready to be searched.

    `text` is what a reader sees, `links` the targets of its links in their order, rewritten ones undone, `marked`
    the text with every link in `<>` behind its label as Outlook writes it, `html` the source where there is one.
    `quoted` holds the lines quoted with `>`, which are to be searched after the rest gave nothing. `restored` are
    those links that may not stand in `marked` as they are.
    """

    text: str = ""
    links: tuple[str, ...] = ()
    html: str = ""
    marked: str = ""
    quoted: BodyText | None = None
    restored: tuple[str, ...] = ()


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
    return (_laid_out(read_html(source))[1] if source.strip() else "") or _tidy(plain)


def _forms(invitation: Invitation) -> tuple[str, str]:
    """The plain and the HTML form of the body."""
    plain = invitation.body_text[:HTML_LIMIT]
    source = invitation.body_html[:HTML_LIMIT]
    return plain, plain if not source.strip() and _is_html(plain) else source


def _is_html(plain: str) -> bool:
    """Whether a body that came as text is HTML all the same, as the descriptions of Google events are."""
    return "<" in plain and _LOOKS_LIKE_HTML.search(plain) is not None and _DELIMITED.search(plain) is None


def _read_html(source: str) -> BodyText:
    read = read_html(source)
    text, marked = _laid_out(read)
    return _divided(text, marked, source, read.targets)


def _divided(text: str, marked: str, source: str, targets: tuple[str, ...]) -> BodyText:
    if ">" not in text:
        return _body(text, marked, source, targets)
    own, quoted = _unquoted(text)
    own_marked, quoted_marked = (own, quoted) if marked is text else _unquoted(marked)
    inner = None
    if quoted.strip():
        inner = _body(quoted, quoted_marked, "", ())
        targets = tuple(link for link in targets if link not in inner.links or f"<{link}>" in own_marked)
    return _body(own, own_marked, source, targets, inner)


def _body(text: str, marked: str, source: str, targets: tuple[str, ...],
          quoted: BodyText | None = None) -> BodyText:
    found = _found_in(marked, targets)
    links = _restored(found)
    known = frozenset(found)
    whole = quoted is None and len(marked) < TEXT_LIMIT
    restored = links if not whole else () if links == found else tuple(link for link in links if link not in known)
    return BodyText(text, links, source, marked, quoted, restored)


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
    for character in _INVISIBLE:
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
    text = _with_plain_blanks(visible(read.text).replace("\n", " ").replace("\u2028", LINE))
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
    for blank in _BLANKS:
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
