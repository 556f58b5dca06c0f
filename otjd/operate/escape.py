"""Text from outside, made fit for a log line or a terminal."""

from __future__ import annotations

import re

# control characters end lines and drive terminals; U+2028/2029 end lines for some readers; the bidirectional
# ones reorder what a person sees; a lone surrogate cannot be written as UTF-8
_HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str) -> str:
    r"""`text` on one line: line ends, control and bidirectional characters as escapes (`\n`, `\x1b`, `\u202e`)."""
    return _HARMFUL.sub(lambda m: _SHORT.get(m[0]) or _escape(m[0]), text)


def _escape(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
