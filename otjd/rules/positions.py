"""Where in a template or an expression a mistake stands, by line and column, both counted from 1."""

from __future__ import annotations

from collections.abc import Iterator

import jinja2
from jinja2.lexer import Lexer, newline_re

SHOWN = 30
"""Characters that are shown of a mistake."""


def position(text: str, offset: int) -> str:
    """`line 1, column 5`."""
    return f"line {text.count(chr(10), 0, offset) + 1}, column {offset - text.rfind(chr(10), 0, offset)}"


class Placed(int):
    """The number of a line, with the place of the token that it was given for."""

    offset: int
    source: str

    @classmethod
    def at(cls, source: str, offset: int) -> Placed:
        """The line of this offset."""
        placed = cls(source.count("\n", 0, offset) + 1)
        placed.offset, placed.source = offset, source
        return placed


class PlacingLexer(Lexer):
    """Jinja2's lexer, whose line numbers know the column too; nodes and errors carry them on unchanged."""

    def tokeniter(self, source: str, name: str | None, filename: str | None = None,
                  state: str | None = None) -> Iterator[tuple[int, str, str]]:
        """The tokens with a Placed as line number."""
        text = "\n".join(newline_re.split(source)[::2])
        offset = 0
        try:
            for _, token, value in super().tokeniter(source, name, filename, state):
                begin = text.find(value, offset)
                offset = begin if begin >= 0 else offset
                yield Placed.at(text, offset), token, value
                offset += len(value)
        except jinja2.TemplateSyntaxError as error:
            offset += len(text[offset:]) - len(text[offset:].lstrip())
            error.lineno = Placed.at(text, offset)
            raise


def told(error: jinja2.TemplateSyntaxError) -> str:
    """What is wrong with a template, with line, column and what stands there."""
    line, message = error.lineno, error.message or "it is no template"
    if not isinstance(line, Placed):
        return f"line {line}: {message}"
    found = line.source[line.offset:line.offset + SHOWN].split("\n")[0]
    return f"{position(line.source, line.offset)}, found {found!r}: {message}"
