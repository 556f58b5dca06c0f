"""In which line of a TOML file a key stands; tomllib does not tell."""

from __future__ import annotations

import re
import tomllib

_KEY = r"^[ \t]*(?:{0}|\"{0}\"|'{0}')[ \t]*="
_HEADING = r"^[ \t]*\[\[[ \t]*{}[ \t]*\]\]"
_NEXT = r"^[ \t]*\["


def key_line(text: str, table: str, number: int, key: str) -> int | None:
    """The line of a key in the element `number`, both from 1, of the array of tables `[[table]]`.

    `text` is the whole file, which is valid TOML. Without the key it is the line of the heading; None where the
    array is written in another form.
    """
    text = text.replace("\r\n", "\n")
    heading = _heading(text, table, number)
    if heading is None:
        return None
    begin, end = heading.span()
    for match in re.compile(f"{_KEY.format(re.escape(key))}|{_NEXT}", re.MULTILINE).finditer(text, end):
        if _is_whole(text[begin:match.start()]):
            at = begin if match[0].lstrip().startswith("[") else match.start()
            return text.count("\n", 0, at) + 1
    return text.count("\n", 0, begin) + 1


def _heading(text: str, table: str, number: int) -> re.Match[str] | None:
    headings = list(re.finditer(_HEADING.format(re.escape(table)), text, re.MULTILINE))
    if len(headings) != len(tomllib.loads(text).get(table, ())):  # some stand within texts
        headings = [heading for heading in headings if _is_whole(text[:heading.start()])]
    return headings[number - 1] if 1 <= number <= len(headings) else None


def _is_whole(before: str) -> bool:
    """Whether this is TOML, so that what follows does not stand within a text or an array."""
    try:
        tomllib.loads(before)
    except tomllib.TOMLDecodeError:
        return False
    return True
