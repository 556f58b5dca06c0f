"""How a key of the configuration is described: once, beside its field, for the reader and for the reference."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Union, cast

from otjd.config.problems import one_of
from otjd.config.secret import EXPECTED, Secret
from otjd.config.shapes import Network, Shape


@dataclass(frozen=True, slots=True)
class Key:
    """What a field's type and default do not say: its meaning, its limits, its shape.

    `unit` names what a number counts. `choices` and `shape` apply to each element of an array. `needed` asks an
    array for one element at least; with `or_one` a single value may stand there without brackets.
    """

    doc: str
    unit: str = ""
    minimum: int = 0
    maximum: int | None = None
    longest: int | None = None
    choices: tuple[str, ...] = ()
    shape: Shape | None = None
    needed: bool = False
    or_one: bool = False


def key(doc: str, *, unit: str = "", limits: tuple[int, int | None] = (0, None), longest: int | None = None,
        choices: tuple[str, ...] = (), shape: Shape | None = None, needed: bool = False,
        or_one: bool = False) -> Mapping[str, Key]:
    """Metadata for a dataclass field that is a key of the configuration; see `Key`."""
    return {"key": Key(doc, unit, *limits, longest, choices, shape, needed, or_one)}


@dataclass(frozen=True, slots=True)
class Entry:
    """A key of a table: its name, its type without `None` and without `tuple`, and its description."""

    name: str
    type: Any
    is_array: bool
    is_optional: bool
    key: Key
    field: Field[Any]

    @property
    def is_table(self) -> bool:
        """Whether it is a table, or an array of tables, of its own."""
        return is_dataclass(self.type)

    @property
    def is_secret(self) -> bool:
        """Whether its value must never be shown."""
        return self.type is Secret

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that it may have; empty when it is not a choice."""
        if isinstance(self.type, type) and issubclass(self.type, StrEnum):
            return tuple(self.type)
        return self.key.choices

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
        return self.field.default is MISSING and self.field.default_factory is MISSING

    @property
    def default(self) -> Any:
        """The value when the key is absent; only for keys that are not required."""
        if self.field.default_factory is not MISSING:
            return self.field.default_factory()
        return self.field.default

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        if self.is_table:
            return f"an array of tables, [[{self.name}]]" if self.is_array else f"a table, [{self.name}]"
        one = self._expected_one()
        if not self.is_array:
            return one
        if self.key.or_one:
            return f"{one}, or an array of them"
        return f"an array{' of at least one' if self.key.needed else ''}, each {one}"

    def _expected_one(self) -> str:
        if self.choices:
            return one_of(self.choices)
        if self.type is bool:
            return "true or false"
        if self.type is int:
            return self._expected_number()
        if self.type is Path:
            return "a path"
        if self.type == Network:
            return "a network such as 10.0.0.0/8"
        if self.is_secret:
            what = EXPECTED if self.key.shape is None else f"{self.key.shape.expected}, as {EXPECTED}"
        else:
            what = "a text" if self.key.shape is None else self.key.shape.expected
        return what if self.key.longest is None else f"{what}, at most {self.key.longest} characters"

    def _expected_number(self) -> str:
        what = f"a whole number of {self.key.unit}" if self.key.unit else "a whole number"
        if self.key.maximum is None:
            return f"{what}, {self.key.minimum} or more"
        return f"{what} from {self.key.minimum} to {self.key.maximum}"


def entries(table: type[Any]) -> Mapping[str, Entry]:
    """The keys of a table of the configuration by name, in their order."""
    return _entries(cast("Any", table))


@cache
def _entries(table: type[Any]) -> Mapping[str, Entry]:
    hints = typing.get_type_hints(table)
    found = {}
    for field in fields(table):
        hint = hints[field.name]
        is_array = typing.get_origin(hint) is tuple
        if is_array:
            hint = typing.get_args(hint)[0]
        members = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, Union) else ()
        is_optional = types.NoneType in members
        if is_optional:
            hint = next(m for m in members if m is not types.NoneType)
        found[field.name] = Entry(field.name, hint, is_array, is_optional, field.metadata["key"], field)
    return found
