"""Reads tables as tomllib gives them into the dataclasses of the configuration, noting all that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from otjd.config.keys import Entry, entries
from otjd.config.problems import Problem, nearest, shown
from otjd.config.secret import Secret, Unresolved, resolve
from otjd.config.shapes import Network, network

T = TypeVar("T")

FAULT: Any = object()
"""Stands for a value that could not be read; the problem has been noted."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a table stands: `where` is `profiles[2] "default"` in a TOML file and `line 7` in a CSV file."""

    file: Path
    where: str = ""
    is_row: bool = False

    def at(self, name: str) -> str:
        """Where one of its keys stands."""
        if self.is_row:
            return f"{self.where}, column {name}"
        return f"{self.where}.{name}" if self.where else name


@dataclass(frozen=True, slots=True)
class Element(Generic[T]):
    """A table that was read: its value, its place, the keys that it gave, and those of them that were wrong.

    A key that was wrong has a placeholder in `value`, which checks across tables must not judge.
    """

    value: T
    place: Place
    given: frozenset[str] = frozenset()
    faulty: frozenset[str] = frozenset()


@dataclass(slots=True)
class Findings:
    """What was read and what was found wrong or doubtful on the way."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    elements: list[Element[Any]] = field(default_factory=list)
    secret_files: list[tuple[Path, str, Path]] = field(default_factory=list)
    """File and key that name a file of a secret, and that file."""
    with_secrets: set[Path] = field(default_factory=set)
    """Files of the configuration that hold a secret themselves."""

    def of(self, table: type[T]) -> list[Element[T]]:
        """Every element of this type, in the order of the files."""
        return [cast("Element[T]", e) for e in self.elements if type(e.value) is table]

    def problem(self, element: Element[Any], name: str, found: str, expected: str, hint: str = "",
                *, because_of: tuple[str, ...] = ()) -> None:
        """Note a problem of a key, unless it or one of the keys that it is `because_of` was wrong in itself."""
        if not element.faulty & {name, *because_of}:
            self.problems.append(Problem(element.place.file, element.place.at(name), found, expected, hint))

    def warning(self, element: Element[Any], name: str, found: str, expected: str, hint: str = "",
                *, because_of: tuple[str, ...] = ()) -> None:
        """Note a doubt about a key, unless it or one of the keys that it is `because_of` was wrong in itself."""
        if not element.faulty & {name, *because_of}:
            self.warnings.append(Problem(element.place.file, element.place.at(name), found, expected, hint))


class Reader:
    """Reads tables of one configuration. Relative paths are relative to `directory`."""

    def __init__(self, directory: Path, environ: Mapping[str, str], homes: Mapping[str, str]) -> None:
        self.findings = Findings()
        self._directory = directory
        self._environ = environ
        self._homes = homes

    def table(self, table: type[T], raw: Mapping[str, object], place: Place) -> Element[T]:
        """Read a table; what it lacks or has wrong is noted and replaced by its default or a placeholder."""
        known = entries(table)
        for name in raw:
            if name not in known:
                self._unknown(name, known, place)
        values, faulty = {}, set()
        for name, entry in known.items():
            if entry.is_table and not entry.is_array:
                value = self._nested(entry, raw.get(name, {}), place)
            elif name in raw:
                value = self._value(entry, raw[name], place)
            elif entry.is_required:
                self._note(place, name, "nothing", entry.expected,
                           "it cannot be blank" if place.is_row else "the key has no default")
                value = FAULT
            else:
                continue
            if value is FAULT:
                faulty.add(name)
                value = placeholder(entry)
            values[name] = value
        element = Element(table(**values), place, frozenset(raw), frozenset(faulty))
        self.findings.elements.append(element)
        return element

    def _note(self, place: Place, name: str, found: str, expected: str, hint: str = "") -> None:
        self.findings.problems.append(Problem(place.file, place.at(name), found, expected, hint))

    def _unknown(self, name: str, known: Mapping[str, Entry], place: Place) -> None:
        home = self._homes.get(name)
        hint = f'"{name}" is a key of {home}' if home else f'the nearest known key is "{nearest(name, known)}"'
        self._note(place, name, f"the unknown key {shown(name)}", "a key that otjd knows", hint)

    def _nested(self, entry: Entry, raw: object, place: Place) -> Any:
        if not isinstance(raw, dict):
            hint = f"write [{place.at(entry.name)}] with single brackets" if isinstance(raw, list) else ""
            self._note(place, entry.name, shown(raw), f"a table, [{place.at(entry.name)}]", hint)
            return FAULT
        return self.table(entry.type, raw, replace(place, where=place.at(entry.name))).value

    def _value(self, entry: Entry, raw: object, place: Place) -> Any:
        if not entry.is_array or (entry.key.or_one and isinstance(raw, str)):
            return self._single(entry, raw, place)
        if not isinstance(raw, list):
            hint = f"write [[{place.at(entry.name)}]] with double brackets" if entry.is_table else ""
            self._note(place, entry.name, shown(raw), entry.expected, hint)
            return FAULT
        if entry.is_table:
            return tuple(self._element(entry, element, place, number) for number, element in enumerate(raw, 1)
                         if self._is_table(entry, element, place, number))
        values = [self._one(entry, element, place, f"{entry.name}[{n}]") for n, element in enumerate(raw, 1)]
        if FAULT in values:
            return FAULT
        if (entry.key.needed and not values) or len(set(values)) < len(values):
            self._note(place, entry.name, shown(raw), entry.expected, "each of them once" if values else "")
            return FAULT
        return tuple(values)

    def _single(self, entry: Entry, raw: object, place: Place) -> Any:
        """A value without brackets, also where an array could stand; an empty text is no value then."""
        value = self._one(entry, raw, place, entry.name) if raw or not entry.is_array else None
        if not entry.is_array or value is FAULT:
            return value
        return () if value is None else (value,)

    def _is_table(self, entry: Entry, raw: object, place: Place, number: int) -> bool:
        if isinstance(raw, dict):
            return True
        self._note(place, f"{entry.name}[{number}]", shown(raw), entry.expected)
        return False

    def _element(self, entry: Entry, raw: object, place: Place, number: int) -> Any:
        table = cast("dict[str, object]", raw)
        name = table.get("name")
        where = f"{place.at(entry.name)}[{number}]" + (f" {shown(name)}" if isinstance(name, str) and name else "")
        return self.table(entry.type, table, replace(place, where=where)).value

    def _one(self, entry: Entry, raw: object, place: Place, name: str) -> Any:
        if entry.is_secret:
            return self._secret(entry, raw, place, name)
        value, hint = convert(entry, raw, self._directory)
        if value is FAULT:
            self._note(place, name, shown(raw), replace(entry, is_array=False).expected, hint)
        return value

    def _secret(self, entry: Entry, raw: object, place: Place, name: str) -> Any:
        got = resolve(raw, directory=self._directory, environ=self._environ)
        if isinstance(got, Unresolved):
            self._note(place, name, got.found, got.expected, got.hint)
            return FAULT
        if got.file is not None:
            self.findings.secret_files.append((place.file, place.at(name), got.file))
        elif isinstance(raw, str) and raw:
            self.findings.with_secrets.add(place.file)
        text = got.secret.reveal()
        if entry.is_required and not text:
            self._note(place, name, '""', entry.expected)
            return FAULT
        if entry.key.longest is not None and len(text) > entry.key.longest:
            self._note(place, name, f"a secret of {len(text)} characters", entry.expected)
            return FAULT
        if text and entry.key.shape is not None and (hint := entry.key.shape.fault(text)) is not None:
            self._note(place, name, "a value that is not shown", entry.expected, hint)
            return FAULT
        return got.secret


def placeholder(entry: Entry) -> Any:
    """A value of the right type in place of one that could not be read."""
    if not entry.is_required:
        return entry.default
    if entry.type is Path:
        return Path("/")
    return Secret() if entry.is_secret else entry.type()


def convert(entry: Entry, raw: object, directory: Path) -> tuple[Any, str]:
    """The value that TOML's `raw` stands for, or FAULT with a hint, which may be empty."""
    if entry.type is bool:
        return (raw, "") if isinstance(raw, bool) else (FAULT, "without quotes" if isinstance(raw, str) else "")
    if entry.type is int:
        return _whole_number(entry, raw)
    if not isinstance(raw, str):
        return FAULT, "put it in quotes" if isinstance(raw, int | float) and not isinstance(raw, bool) else ""
    return _from_text(entry, raw, directory)


def _from_text(entry: Entry, raw: str, directory: Path) -> tuple[Any, str]:
    if entry.choices:
        return _choice(entry, raw)
    if entry.type is Path:
        return _path(entry, raw, directory)
    if entry.type == Network:
        return network(raw) or FAULT, ""
    return _text(entry, raw)


def _whole_number(entry: Entry, raw: object) -> tuple[Any, str]:
    if isinstance(raw, bool) or not isinstance(raw, int):
        return FAULT, "without quotes" if isinstance(raw, str) and raw.isdecimal() else ""
    fine = entry.key.minimum <= raw and (entry.key.maximum is None or raw <= entry.key.maximum)
    return (raw, "") if fine else (FAULT, "")


def _choice(entry: Entry, raw: str) -> tuple[Any, str]:
    if raw not in entry.choices:
        return FAULT, f'the nearest is "{nearest(raw, entry.choices)}"'
    return (entry.type(raw) if issubclass(entry.type, StrEnum) else raw), ""


def _path(entry: Entry, raw: str, directory: Path) -> tuple[Any, str]:
    if not raw and entry.is_optional:
        return None, ""
    return (FAULT, "") if not raw or "\0" in raw else (directory / raw, "")


def _text(entry: Entry, raw: str) -> tuple[Any, str]:
    if not raw:
        if entry.is_required or entry.is_array:
            return FAULT, "it cannot be empty"
        return (FAULT, "leave the key away for its default") if entry.default else (raw, "")
    if entry.key.longest is not None and len(raw) > entry.key.longest:
        return FAULT, f"it has {len(raw)} characters"
    if entry.key.shape is not None and (hint := entry.key.shape.fault(raw)) is not None:
        return FAULT, hint
    return raw, ""
