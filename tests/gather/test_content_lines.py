"""Lines and components of iCalendar files, and the errors that name them."""

from __future__ import annotations

import pytest

from otjd.gather import content_lines
from otjd.gather.content_lines import UnreadableCalendarError, quoted, read_components
from tests.gather.calendars import calendar, event

EVENT = b"BEGIN:VEVENT\nSUMMARY:a\nEND:VEVENT\n"


def error_of(content: bytes) -> UnreadableCalendarError:
    with pytest.raises(UnreadableCalendarError) as caught:
        read_components(content, "room.ics")
    return caught.value


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_lines_are_unfolded_and_numbered_in_either_form_of_a_file(newline: bytes, start: bytes) -> None:
    lines = (b"BEGIN:VCALENDAR", b"BEGIN:VEVENT", b"SUMMARY:one", b"  two", b"\tthree", b"",
             b"location ; X=1:here", b"END:VEVENT", b"end:vcalendar")
    (found,) = read_components(start + newline.join(lines) + newline, "room.ics")
    (vevent,) = found.named("VEVENT")
    assert [(line.number, line.name, line.text) for line in vevent.lines] == [
        (3, "SUMMARY", "SUMMARY:one twothree"), (7, "LOCATION", "location ; X=1:here")]


def test_a_line_may_be_folded_in_the_middle_of_a_character() -> None:
    (found,) = read_components(b"BEGIN:VCALENDAR\r\nX-NAME:m\xc3\r\n \xb8te\r\nEND:VCALENDAR", "room.ics")
    assert found.lines[0].text == "X-NAME:møte"


@pytest.mark.parametrize(("content", "line", "problem"), [
    (b"", 1, "the file is empty; expected BEGIN:VCALENDAR"),
    (b"\r\n\r\n", 1, "the file is empty; expected BEGIN:VCALENDAR"),
    (b"\n<html>\n</html>\n", 2, "found '<html>', expected BEGIN:VCALENDAR"),
    (b"SUMMARY:a\nEND:VCALENDAR\n", 1, "found 'SUMMARY:a', expected BEGIN:VCALENDAR"),
    (b"BEGIN:VEVENT\nEND:VEVENT\n", 1, "found 'BEGIN:VEVENT', expected BEGIN:VCALENDAR"),
    (b"END:VCALENDAR\n\nx", 1, "found 'END:VCALENDAR', expected BEGIN:VCALENDAR"),
    (b"BEGIN:VCALENDAR\nno property\nEND:VCALENDAR\n", 2, "found 'no property', expected a property such as S"),
    (b"BEGIN:VCALENDAR\nBEGIN:VTIMEZONE\nno property\nEND:VTIMEZONE\nEND:VCALENDAR\n", 3, "found 'no property'"),
    (b"BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VCALENDAR\nEND:VEVENT\n", 3,
     "found 'END:VCALENDAR', expected END:VEVENT for the BEGIN in line 2"),
    (b"BEGIN:VCALENDAR\nX-A:caf\xe9\nEND:VCALENDAR\n", 2,
     "found the byte 0xe9 in 'X-A:caf\N{REPLACEMENT CHARACTER}', expected text in UTF-8"),
    (b"BEGIN:VCALENDAR\n" + b"BEGIN:X\n" * 9 + b"END:X\n", 9, "found 'BEGIN:X' within 8 components"),
    (b"BEGIN:VCALENDAR\nEND:VCALENDAR\nrubbish\nmore", 3, "found 'rubbish', expected BEGIN:VCALENDAR"),
    (b"\x00\x01\x02\nx\n", 1, "found '" + 3 * "\N{REPLACEMENT CHARACTER}" + "', expected BEGIN:VCALENDAR"),
])
def test_an_unreadable_file_is_told_with_its_line(content: bytes, line: int, problem: str) -> None:
    error = error_of(content)
    assert error.line == line
    assert problem in str(error)
    assert str(error).startswith(f"room.ics, line {line}: ")


def test_every_beginning_of_a_calendar_counts_as_cut_off() -> None:
    whole = calendar(event("UID:a", "SUMMARY:møte"))
    for length in range(len(whole) - 2):
        assert error_of(whole[:length]).is_truncated, whole[:length]
    assert len(read_components(whole[:-2], "room.ics")) == 1


def test_a_file_that_is_wrong_in_the_middle_is_not_cut_off() -> None:
    assert not error_of(b"BEGIN:VCALENDAR\nrubbish\nEND:VCALENDAR\n").is_truncated
    assert not error_of(b"rubbish\n" + EVENT).is_truncated


def test_stray_lines_are_problems_of_the_event_they_stand_in() -> None:
    (found,) = read_components(b"BEGIN:VCALENDAR\nBEGIN:VEVENT\nstray\nBEGIN:VALARM\nstray too\nEND:VALARM\n"
                               b"END:VEVENT\nEND:VCALENDAR\n", "room.ics")
    assert [number for number, _ in found.components[0].problems] == [3, 5]


def test_files_and_lines_that_are_too_long_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_lines, "LINE_LIMIT", 20)
    (found,) = read_components(b"BEGIN:VCALENDAR\nX-A:short\nX-B:" + b"y" * 20 + b"\nEND:VCALENDAR\n", "room.ics")
    assert [line.name for line in found.lines] == ["X-A"]
    monkeypatch.setattr(content_lines, "SIZE_LIMIT", 20)
    assert "the file has 21 bytes; at most 20 are read" in str(error_of(b"x" * 21))


def test_what_errors_quote_is_short_and_printable() -> None:
    assert quoted("x" * 61) == f"'{'x' * 60}...'"
    assert quoted("a\rb\x1b[31m") == "'a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}[31m'"
