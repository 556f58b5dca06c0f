"""What is wrong with a configuration, said so that an operator can put it right."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

LONGEST_VALUE_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, or, as a warning, doubtful.

    `where` is the path of a key (`profiles[2] "default".start_buffer`, elements counted from 1), a line and column
    of a CSV file (`line 7, column verify_cert`) or empty for the file as a whole. `found` never holds a secret.
    """

    file: Path
    where: str
    found: str
    expected: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}: {self.where}" if self.where else str(self.file)
        return f"{place}: found {self.found}; expected {self.expected}" + (f" ({self.hint})" if self.hint else "")


class ConfigError(Exception):
    """A configuration that cannot be used; `problems` holds everything that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that looks most like `word`, without regard to letter case; None when nothing is known."""
    return max(known, key=lambda k: SequenceMatcher(None, word.lower(), k.lower()).ratio(), default=None)


def shown(value: object) -> str:
    """A value as it stands in TOML, cut when it is long."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, list | tuple):
        text = f"[{', '.join(map(shown, value))}]"
    else:
        text = str(value)
    return text if len(text) <= LONGEST_VALUE_SHOWN else f"{text[:LONGEST_VALUE_SHOWN]}…"


def one_of(words: Iterable[str]) -> str:
    """`one of A, B, C`, in the order given."""
    words = tuple(words)
    return f"one of {', '.join(words)}" if len(words) > 1 else "".join(words)
