"""Bodies of Outlook messages in rich text: HTML that is wrapped in it, or text ([MS-OXRTFCP], [MS-OXRTFEX])."""

from __future__ import annotations

import codecs
import re
import struct
from dataclasses import dataclass, replace

from compressed_rtf import decompress  # type: ignore[import-untyped]  # the package has no type information

COMPRESSED_LIMIT = 1_000_000
"""Bytes of compressed rich text that are read."""

_HEADER_BYTES = 16
_LIMIT = 4_000_000
_GROUPS_LIMIT = 1000
_TOKEN = re.compile(
    r"\\(?:(?P<word>[a-z]{1,32})(?P<number>-?[0-9]{1,10})? ?|'(?P<byte>[0-9a-f]{2})|(?P<symbol>[^a-z]))"
    r"|(?P<brace>[{}])|[\r\n]+|(?P<text>[^\\{}\r\n]+)", re.IGNORECASE)
_LINK = re.compile(r'HYPERLINK\s{1,10}"([^"\s]{1,8000})"')
_HIDDEN = frozenset({"fonttbl", "colortbl", "stylesheet", "info", "pict", "object", "header", "footer", "pntext",
                     "listtext"})
_WORDS = {"par": "\n", "line": "\n", "tab": "\t", "cell": "\t", "row": "\n", "lquote": "\u2018",
          "rquote": "\u2019", "ldblquote": "\u201c",
          "rdblquote": "\u201d", "bullet": "\u2022", "endash": "\u2013", "emdash": "\u2014"}
_SYMBOLS = {"~": "\u00a0", "_": "-", "\\": "\\", "{": "{", "}": "}", "\n": "\n", "\r": "\n"}


class UnreadableRichTextError(ValueError):
    """This is no rich text that can be read; the text says why."""


@dataclass(frozen=True, slots=True)
class _Group:
    """What holds until a brace closes. `link` is the target of the field that is read."""

    hidden: bool = False
    tag: bool = False
    instruction: bool = False
    only_rich: bool = False
    replaced: int = 1


class _Reader:
    """Reads rich text into HTML, where it was made of HTML, or text with links in `<>` behind their labels."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.is_html = "\\fromhtml" in source[:1000]
        self._group = _Group()
        self._outer: list[_Group] = []
        self._found: list[str] = []
        self._bytes = bytearray()
        self._instruction: list[str] = []
        self._link = ""
        self._skip = 0
        self._starred = False
        page = re.search(r"\\ansicpg([0-9]{3,5})", source[:1000])
        self._encoding = _known(f"cp{page[1]}") if page else "cp1252"

    def read(self) -> str:
        for token in _TOKEN.finditer(self._source):
            if token["byte"]:
                self._byte(int(token["byte"], 16))
                continue
            self._flush()
            if token["brace"]:
                self._brace(token["brace"])
            elif token["word"]:
                self._word(token["word"].lower(), token["number"])
            elif token["symbol"]:
                self._symbol(token["symbol"])
            elif token["text"]:
                self._text(token["text"])
        self._flush()
        return "".join(self._found)

    def _brace(self, brace: str) -> None:
        self._starred, self._skip = False, 0
        if brace == "{":
            if len(self._outer) >= _GROUPS_LIMIT:
                raise UnreadableRichTextError("its groups are nested too deeply")
            self._outer.append(self._group)
        elif self._outer:
            if self._group.instruction and not self._outer[-1].instruction:
                link = _LINK.search("".join(self._instruction))
                self._link = link[1] if link else ""
                self._instruction.clear()
            self._group = self._outer.pop()

    def _word(self, word: str, number: str | None) -> None:
        starred, self._starred = self._starred, False
        if word == "htmltag":
            self._group = replace(self._group, tag=True, hidden=not self.is_html)
        elif word == "fldinst":
            self._group = replace(self._group, instruction=True, hidden=True)
        elif word == "htmlrtf":
            self._group = replace(self._group, only_rich=number != "0")
        elif starred or word in _HIDDEN:
            self._group = replace(self._group, hidden=True)
        elif word == "uc":
            self._group = replace(self._group, replaced=min(10, max(0, int(number or 1))))
        elif word == "u" and number:
            self._write(_character(int(number)))
            self._skip = self._group.replaced
        elif word in _WORDS:
            self._write(_WORDS[word])

    def _symbol(self, symbol: str) -> None:
        if symbol == "*":
            self._starred = True
        elif symbol in _SYMBOLS:
            self._text(_SYMBOLS[symbol])

    def _byte(self, value: int) -> None:
        if self._skip:
            self._skip -= 1
        else:
            self._bytes.append(value)

    def _text(self, text: str) -> None:
        skipped = min(self._skip, len(text))
        self._skip -= skipped
        self._write(text[skipped:])

    def _flush(self) -> None:
        if self._bytes:
            self._write(self._bytes.decode(self._encoding, "replace"))
            self._bytes.clear()

    def _write(self, text: str) -> None:
        if self._group.instruction:
            self._instruction.append(text)
        elif self._group.hidden or (self.is_html and self._group.only_rich and not self._group.tag):
            return
        else:
            self._found.append(text)
            if self._link and text.strip() and not self.is_html:
                self._found.append(f"<{self._link}>")
                self._link = ""


def read_rich_text(compressed: bytes) -> tuple[str, str]:
    """HTML and text, one of them empty, of the property PidTagRtfCompressed.

    :raises UnreadableRichTextError: it is damaged, or too large.
    """
    if len(compressed) > COMPRESSED_LIMIT:
        raise UnreadableRichTextError(f"it has {len(compressed)} bytes, at most {COMPRESSED_LIMIT} are read")
    if len(compressed) < _HEADER_BYTES:
        raise UnreadableRichTextError("it is cut off")
    try:
        source = decompress(compressed)
    except Exception as error:  # the library raises Exception itself
        raise UnreadableRichTextError(str(error) or type(error).__name__) from None
    size = min(_LIMIT, struct.unpack_from("<I", compressed, 4)[0])
    reader = _Reader(source[:size].decode("cp1252", "replace"))
    body = reader.read().rstrip("\0")
    return (body, "") if reader.is_html else ("", body)


def _known(encoding: str) -> str:
    try:
        return codecs.lookup(encoding).name
    except LookupError:
        return "utf-8" if encoding == "cp65001" else "cp1252"


def _character(number: int) -> str:
    number &= 0xFFFF
    return "" if 0xD800 <= number < 0xE000 or number == 0 else chr(number)
