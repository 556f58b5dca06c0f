"""The lines of an iCalendar file and the components that they make, each with its number in the file.

The library reads values; which line they stand on, and which component a broken line belongs to, it does not say.
Sources: RFC 5545 section 3.1 (content lines, folding) and 3.4 (the iCalendar object).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

SIZE_LIMIT = 10 * 1024 * 1024
"""Bytes of a calendar that is read."""

LINE_LIMIT = 1_000_000
"""Bytes of an unfolded line; a longer one holds something embedded, nothing that an endpoint shows."""

DEPTH_LIMIT = 8
"""Components within components: a calendar needs three."""

QUOTE_LIMIT = 60
"""Characters of a line that an error quotes."""

_NAME = re.compile(rb"([A-Za-z0-9-]{1,200})[ \t]{0,10}[;:]")
_MARKER = re.compile(rb"(BEGIN|END)[ \t]{0,10}:[ \t]{0,10}([A-Za-z0-9-]{1,200})[ \t]{0,10}", re.IGNORECASE)


class UnreadableCalendarError(ValueError):
    """A file is no calendar that can be read; the text names it, the line, what was found and what is expected.

    `is_truncated` tells that only its end may be missing: somebody may still be writing it.
    """

    def __init__(self, source: str, line: int, problem: str, *, is_truncated: bool = False) -> None:
        super().__init__(f"{source}, line {line}: {problem}")
        self.source = source
        self.line = line
        self.problem = problem
        self.is_truncated = is_truncated


@dataclass(frozen=True, slots=True)
class Line:
    """One unfolded line: the property's name in capitals, the text, the number of its first line in the file."""

    number: int
    name: str
    text: str


@dataclass(slots=True)
class Component:
    """One component: its name in capitals, the number of its BEGIN line, its lines and its components.

    `problems` are (line number, what is wrong) of the lines in it that are none of iCalendar.
    """

    name: str
    number: int
    lines: list[Line] = field(default_factory=list)
    components: list[Component] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)

    def named(self, name: str) -> Iterator[Component]:
        """The components directly within this one that have this name."""
        return (component for component in self.components if component.name == name)

    def first(self, name: str) -> Line | None:
        """The first line of this property."""
        return next((line for line in self.lines if line.name == name), None)


def quoted(text: bytes | str) -> str:
    """Text from a file for a message: shortened, on one line, printable."""
    if isinstance(text, bytes):
        text = text[:4 * QUOTE_LIMIT].decode("utf-8", "replace")
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:QUOTE_LIMIT])
    return f"'{shown}{'...' if len(text) > QUOTE_LIMIT else ''}'"


def read_components(content: bytes, source: str) -> list[Component]:
    """The calendars (components VCALENDAR) of a file, at least one.

    A line that is none of iCalendar is a problem of the VEVENT that it stands in; elsewhere, and when components
    are not closed, are closed in another order or hold bytes that are not UTF-8, the file is unreadable.

    :raises UnreadableCalendarError: it is.
    """
    if len(content) > SIZE_LIMIT:
        raise UnreadableCalendarError(source, 1, f"the file has {len(content)} bytes; at most {SIZE_LIMIT} are "
                                      "read")
    reader = _Reader(source)
    number = 0
    lines = list(_unfolded(content.removeprefix(b"\xef\xbb\xbf")))
    for number, text in lines:
        try:
            reader.take(number, text)
        except UnreadableCalendarError as error:
            # what looks wrong in the last line may only be the part of it that is written by now
            error.is_truncated = error.is_truncated or number == lines[-1][0]
            raise
    reader.finish(number)
    return reader.calendars


def _unfolded(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Numbered lines without empty ones, unfolded as bytes: some writers fold in the middle of a character."""
    parts: list[bytes] = []
    begun = 0
    for number, line in enumerate(content.split(b"\n"), 1):
        text = line.removesuffix(b"\r")
        if parts and text[:1] in (b" ", b"\t"):
            parts.append(text[1:])
        elif text.strip():
            if parts:
                yield begun, b"".join(parts)
            parts, begun = [text], number
    if parts:
        yield begun, b"".join(parts)


class _Reader:
    """Takes line after line and knows which component is open."""

    def __init__(self, source: str) -> None:
        self.calendars: list[Component] = []
        self._source = source
        self._open: list[Component] = []

    def take(self, number: int, text: bytes) -> None:
        marker = _MARKER.fullmatch(text)
        if marker is None:
            self._property(number, text)
        elif marker[1].upper() == b"BEGIN":
            self._begin(number, marker[2].decode().upper(), text)
        else:
            self._end(number, marker[2].decode().upper(), text)

    def finish(self, last: int) -> None:
        """The file ended after line `last`."""
        if self._open:
            inner = self._open[-1]
            further = "" if inner is self._open[0] else ", and END:VCALENDAR"
            raise self._error(last, f"the file ends here; expected END:{inner.name} for the BEGIN in line "
                              f"{inner.number}{further}", is_truncated=True)
        if not self.calendars:
            raise self._error(1, "the file is empty; expected BEGIN:VCALENDAR", is_truncated=True)

    def _begin(self, number: int, name: str, text: bytes) -> None:
        if not self._open:
            if name != "VCALENDAR":
                raise self._error(number, f"found {quoted(text)}, expected BEGIN:VCALENDAR")
            self.calendars.append(Component(name, number))
            self._open.append(self.calendars[-1])
            return
        if len(self._open) == DEPTH_LIMIT:
            raise self._error(number, f"found {quoted(text)} within {DEPTH_LIMIT} components, expected its END")
        component = Component(name, number)
        self._open[-1].components.append(component)
        self._open.append(component)

    def _end(self, number: int, name: str, text: bytes) -> None:
        if not self._open:
            raise self._error(number, f"found {quoted(text)}, expected BEGIN:VCALENDAR")
        if (inner := self._open[-1]).name != name:
            raise self._error(number, f"found {quoted(text)}, expected END:{inner.name} for the BEGIN in line "
                              f"{inner.number}")
        self._open.pop()

    def _property(self, number: int, text: bytes) -> None:
        if not self._open:
            raise self._error(number, f"found {quoted(text)}, expected BEGIN:VCALENDAR")
        name = _NAME.match(text)
        if name is None:
            problem = f"found {quoted(text)}, expected a property such as SUMMARY:text"
            event = next((c for c in self._open if c.name == "VEVENT"), None)
            if event is None:
                raise self._error(number, problem)
            event.problems.append((number, problem))
        elif len(text) <= LINE_LIMIT:
            try:
                line = text.decode("utf-8")
            except UnicodeDecodeError as error:
                raise self._error(number, f"found the byte 0x{text[error.start]:02x} in {quoted(text)}, expected "
                                  "text in UTF-8; save the file in that encoding") from None
            self._open[-1].lines.append(Line(number, name[1].decode().upper(), line))

    def _error(self, number: int, problem: str, *, is_truncated: bool = False) -> UnreadableCalendarError:
        return UnreadableCalendarError(self._source, number, problem, is_truncated=is_truncated)
