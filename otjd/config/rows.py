"""endpoints.csv in the vendor's import format: rows of text into tables as a TOML file would hold them.

The header is optional and may name the columns in any order; without one the vendor's order is fixed. Values may
stand in double quotes. The last row of a name wins. Letter case matters everywhere (vendor's deployment guide,
"Adding OTJ endpoints in bulk").
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otjd.config.keys import Entry, entries
from otjd.config.problems import Problem, nearest, shown
from otjd.config.rooms import Endpoint

COLUMNS = (
    "name", "description", "endpoint_type", "api_address", "api_port", "api_username", "api_password",
    "poly_username", "poly_password", "poly_raise_alarms_for_this_endpoint", "webex_device_id", "verify_cert",
    "use_https", "room_resource_email", "mjx_endpoint_group_name")
"""The vendor's columns, in the order of a file without a header."""

SWITCHES = {"TRUE": True, "YES": True, "FALSE": False, "NO": False}
ANY_ORDER = tuple(entries(Endpoint))
"""Columns that a header may name: the vendor's, and what otjd adds."""


@dataclass(frozen=True, slots=True)
class Row:
    """One endpoint as a table of the values that were given."""

    line: int
    table: dict[str, object]


@dataclass(slots=True)
class Sheet:
    """What a CSV file gives, and what is wrong with it."""

    rows: list[Row] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def read_rows(file: Path, content: bytes) -> Sheet:
    """The rows of a CSV file, one for each name, in the order of the file."""
    sheet = Sheet()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        sheet.problems.append(Problem(file, f"line {line}", f"the byte 0x{content[error.start]:02X}, which is not "
                                      "UTF-8", "a file encoded as UTF-8", "save it as CSV UTF-8"))
        return sheet
    records = _records(file, text, sheet)
    first = next(records, None)
    if first is None:
        return sheet
    columns = _header(file, first, sheet)
    if columns is None:
        return sheet
    has_header = columns is not COLUMNS
    found: dict[object, Row] = {}
    for line, cells in records if has_header else _chain(first, records):
        row = _row(file, line, cells, columns, sheet, exactly=not has_header)
        if row is None:
            continue
        name = row.table.get("name")
        if name in found:
            sheet.warnings.append(Problem(
                file, f"line {line}, column name", f"{shown(name)} again, first in line {found[name].line}",
                "each name once", f"the last row wins: line {found[name].line} is passed over"))
            del found[name]
        found[name if name is not None else line] = row
    for row in found.values():
        _convert(file, row, sheet)
        sheet.rows.append(row)
    return sheet


def _chain(first: tuple[int, list[str]], rest: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    yield first
    yield from rest


def _records(file: Path, text: str, sheet: Sheet) -> Iterator[tuple[int, list[str]]]:
    """Every record that is not blank, with the number of its first line."""
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            sheet.problems.append(Problem(
                file, f"line {line}", f"a row that is not CSV: {error}", "values separated by commas",
                "a value with a comma or a quote in it stands in double quotes, and its quotes are doubled"))
            return
        if any(cell.strip() for cell in cells):
            yield line, cells


def _header(file: Path, first: tuple[int, list[str]], sheet: Sheet) -> Sequence[str] | None:
    """The columns in the order of the file; `COLUMNS` itself when there is no header, None for a useless one."""
    line, cells = first
    if len(cells) == 1 and cells[0].count(";") > 1:
        sheet.problems.append(Problem(file, f"line {line}", "values separated by semicolons",
                                      "values separated by commas", "save it with commas"))
        return None
    names = [cell.strip() for cell in cells]
    known = {name.lower() for name in ANY_ORDER}
    if sum(name.lower() in known for name in names) < 2:
        return COLUMNS
    faults = len(sheet.problems)
    for number, name in enumerate(names, 1):
        if not name and number > len(COLUMNS):
            continue  # a spreadsheet writes empty cells to the right
        if name not in ANY_ORDER:
            sheet.problems.append(Problem(
                file, f"line {line}, column {number}", f"the unknown column {shown(name)}",
                "the name of a column in the header", f'the nearest known one is "{nearest(name, ANY_ORDER)}"'))
        elif name in names[:number - 1]:
            sheet.problems.append(Problem(file, f"line {line}, column {number}", f"the column {name} again",
                                          "each column once"))
    for name in (n for n, entry in entries(Endpoint).items() if entry.is_required and n not in names):
        sheet.problems.append(Problem(file, f"line {line}", f"a header without the column {name}",
                                      f"a header with {name}"))
    return names if len(sheet.problems) == faults else None


def _row(file: Path, line: int, cells: list[str], columns: Sequence[str], sheet: Sheet, *,
         exactly: bool) -> Row | None:
    while len(cells) > len(columns) and not cells[-1].strip():
        cells = cells[:-1]
    if len(cells) > len(columns) or (exactly and len(cells) < len(columns)):
        sheet.problems.append(Problem(
            file, f"line {line}", f"{len(cells)} values", f"{len(columns)} values",
            "a value with a comma in it stands in double quotes" if len(cells) > len(columns) else
            "without a header every column must be there, empty ones too"))
        return None
    known = entries(Endpoint)
    table: dict[str, object] = {}
    for name, cell in zip(columns, cells, strict=False):
        text = cell if name in known and known[name].is_secret else cell.strip()
        if text:
            table[name] = text
    return Row(line, table)


def _convert(file: Path, row: Row, sheet: Sheet) -> None:
    """Turn texts into what TOML would have given; a text that is wrong is noted and taken out."""
    for name, entry in entries(Endpoint).items():
        text = row.table.get(name)
        if isinstance(text, str):
            value, expected = _value(entry, text)
            if expected:
                hint = f'the nearest is "{nearest(text, SWITCHES)}"' if entry.type is bool else ""
                where = f"line {row.line}, column {name}"
                sheet.problems.append(Problem(file, where, shown(text), expected, hint))
                del row.table[name]
            else:
                row.table[name] = value


def _value(entry: Entry, text: str) -> tuple[Any, str]:
    """The value, or, when the text is wrong, what is expected."""
    if entry.type is bool:
        return SWITCHES.get(text), "" if text in SWITCHES else "TRUE, YES, FALSE or NO"
    if entry.type is int:
        fine = text.isascii() and text.isdigit() and len(text) < 10
        return int(text) if fine else None, "" if fine else entry.expected
    if entry.is_array:
        return text.replace(";", " ").split(), ""
    return text, ""
