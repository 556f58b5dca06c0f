"""Prints docs/configuration.md: `python -m otjd.config.reference`. Every key is described beside its field."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from otjd.config.keys import Entry, entries
from otjd.config.model import Config, Endpoint
from otjd.config.problems import shown
from otjd.config.rows import ANY_ORDER, COLUMNS
from otjd.config.secret import Secret

INTRODUCTION = """\
# Configuration

<!-- Made by `make docs` from the descriptions in otjd/config; edit those. -->

otjd reads one TOML file, `etc/otjd.toml` unless another one is named, and optionally a CSV file of endpoints.
`otjd check --config FILE` reads both and everything they name, and prints each problem with the file, the key,
the value found and what is expected. All problems are printed at once; with one or more the service does not
start, and a reload (SIGHUP) keeps the configuration that it has. Warnings do not keep it from starting.

- An unknown key is a problem that names the nearest known one. Letter case matters in keys and values.
- In messages the elements of an array are counted from 1: `profiles[2] "default".start_buffer`.
- A relative path is relative to the folder of the TOML file.
- Names tie the tables together: an endpoint names its group, a group its profile, a profile its integration, and a
  rule its profile. Each name exists once among its kind, the integrations of all kinds together.

## Secrets

A value of type *secret* may be written in four ways:

| written | is |
|---|---|
| `"text"` | the secret itself |
| `{ file = "path" }` | the content of a file, without the line end after it |
| `{ env = "NAME" }` | the value of an environment variable |
| `{ credential = "name" }` | a credential of systemd (`LoadCredential=` in the unit) |

Secrets are never printed or logged. A file that holds one and that all users may read gives a warning.
"""

CSV = """\
## The CSV file of endpoints

`endpoints_csv` names a file in the vendor's import format, encoded as UTF-8. Values are separated by commas and
may stand in double quotes; a value with a comma in it must. Letter case matters. A header is optional; it may name
the columns in any order and leave out those that are not needed. Without a header each row has these columns in
this order:

```
{columns}
```

A header may also name {further}. A blank value is the default of the key in `[[endpoints]]`.
`poly_raise_alarms_for_this_endpoint` is TRUE, YES, FALSE or NO. When a name is there twice the last row wins, with
a warning; a name that an `[[endpoints]]` table has as well is a problem.
"""


def _plain(default: Any) -> str:
    """A default as it stands in TOML."""
    if isinstance(default, Path):
        default = str(default)
    if default is None:
        return "none"
    if isinstance(default, Secret):
        default = ""
    return f"`{shown(default)}`"


def _kind(entry: Entry) -> str:
    kind = "secret" if entry.is_secret else entry.expected
    if entry.is_secret and entry.key.longest is not None:
        kind += f", at most {entry.key.longest} characters"
    return kind


def _row(entry: Entry) -> str:
    default = "**required**" if entry.is_required else _plain(entry.default)
    cells = (f"`{entry.name}`", _kind(entry), default, entry.key.doc)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _table(table: type[Any], heading: str) -> Iterator[str]:
    """A table's section, followed by those of the tables in it."""
    yield f"## {heading}\n"
    yield f"{inspect.getdoc(table)}\n"
    yield from _keys(table)
    yield ""
    for entry in entries(table).values():
        if entry.is_table:
            inner = f"{heading.strip('`[]')}.{entry.name}"
            yield from _table(entry.type, f"`[[{inner}]]`" if entry.is_array else f"`[{inner}]`")


def _keys(table: type[Any]) -> Iterator[str]:
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    yield from (_row(entry) for entry in entries(table).values() if not entry.is_table)


def _lines() -> Iterator[str]:
    yield INTRODUCTION
    yield "## The top of the file\n"
    yield from _keys(Config)
    yield ""
    for entry in entries(Config).values():
        if entry.is_table:
            yield from _table(entry.type, f"`[[{entry.name}]]`" if entry.is_array else f"`[{entry.name}]`")
        if entry.type is Endpoint:
            further = ", ".join(f"`{name}`" for name in ANY_ORDER if name not in COLUMNS)
            yield CSV.format(columns=",".join(COLUMNS), further=further)


def reference() -> str:
    """docs/configuration.md."""
    return "\n".join(_lines()).rstrip("\n") + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
