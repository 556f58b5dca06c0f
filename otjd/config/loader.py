"""Reads etc/otjd.toml and everything it names into one frozen Config, or says everything that is wrong."""

from __future__ import annotations

import re
import stat
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from otjd.config.crosschecks import cross_check
from otjd.config.keys import entries
from otjd.config.model import Config, Endpoint
from otjd.config.named_files import check_files
from otjd.config.problems import ConfigError, Problem
from otjd.config.reader import Element, Findings, Place, Reader
from otjd.config.rows import read_rows

__all__ = ["ConfigError", "Loaded", "Problem", "load"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of reading a configuration; `config` is None as soon as there is one problem."""

    config: Config | None
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]

    def or_raise(self) -> Config:
        """The configuration.

        :raises ConfigError: it has problems; the error holds them.
        """
        if self.config is None:
            raise ConfigError(self.problems)
        return self.config


def load(path: Path, *, environ: Mapping[str, str]) -> Loaded:
    """Read a configuration and everything it names; never raises for what is in the files.

    :param path: the TOML file; relative paths in it are relative to its folder.
    :param environ: where secrets of the form `{ env = "NAME" }` and the folder of systemd credentials are found.
    """
    path = path.absolute()
    raw = _read_toml(path)
    if isinstance(raw, Problem):
        return Loaded(None, (raw,), ())
    reader = Reader(path.parent, environ, _homes())
    element = reader.table(Config, raw, Place(path))
    config, findings = element.value, reader.findings
    if config.endpoints_csv is not None:
        config = replace(config, endpoints=config.endpoints + _read_csv(config.endpoints_csv, reader, element))
    check_files(findings)
    cross_check(findings)
    _warn_of_open_files(findings)
    return Loaded(None if findings.problems else config, _in_order(path, findings.problems),
                  _in_order(path, findings.warnings))


def _in_order(path: Path, problems: list[Problem]) -> tuple[Problem, ...]:
    """Those of the TOML file as they were found, then those of the CSV file by line."""
    def rank(problem: Problem) -> tuple[bool, int]:
        line = re.match(r"line (\d+)", problem.where) if problem.file != path else None
        return problem.file != path, int(line[1]) if line else 0

    return tuple(sorted(problems, key=rank))


def _read_toml(path: Path) -> dict[str, Any] | Problem:
    text = ""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        return tomllib.loads(text)
    except OSError as error:
        return Problem(path, "", f"no readable file: {error.strerror}", "the configuration file")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return Problem(path, f"line {line}", f"the byte 0x{error.object[error.start]:02X}, which is not UTF-8",
                       "a file encoded as UTF-8")
    except ValueError as error:  # a TOMLDecodeError, or a number that Python refuses
        return _syntax_problem(path, text, str(error))


def _syntax_problem(path: Path, text: str, message: str) -> Problem:
    """Where the TOML breaks off. The line itself is not shown: it may hold a secret."""
    what, at, where = re.sub(r"\('(.*?)',?\)", lambda m: m[1].replace("', '", "."), message).rpartition(" (at ")
    hints = {"Invalid value": "a text stands in quotes; true and false are lower-case",
             "Cannot overwrite a value": "the key stands there twice",
             "Cannot declare": "the table stands there twice; elements of an array stand in [[double brackets]]"}
    hint = next((h for begin, h in hints.items() if message.startswith(begin)), "")
    place = where.removesuffix(")") if at else ""
    if place == "end of document":
        lines = text.split("\n")
        place = f"line {len(lines)}, column {len(lines[-1]) + 1}"
    return Problem(path, place, f"a mistake in the TOML: {what if at else message}", "valid TOML", hint)


def _homes() -> dict[str, str]:
    """Keys that are in one table only, with the heading of that table."""
    found = []
    for entry in entries(Config).values():
        if entry.is_table:
            heading = f"[[{entry.name}]]" if entry.is_array else f"[{entry.name}]"
            found += [(name, heading) for name in entries(entry.type)]
        else:
            found.append((entry.name, "the top of the file"))
    times = Counter(name for name, _ in found)
    return {name: heading for name, heading in found if times[name] == 1}


def _read_csv(file: Path, reader: Reader, element: Element[Config]) -> tuple[Endpoint, ...]:
    findings = reader.findings
    try:
        content = file.read_bytes()
    except OSError as error:
        findings.problem(element, "endpoints_csv", f"{file}, which cannot be read: {error.strerror}",
                         "a CSV file of endpoints")
        return ()
    sheet = read_rows(file, content)
    findings.problems += sheet.problems
    findings.warnings += sheet.warnings
    return tuple(reader.table(Endpoint, row.table, Place(file, f"line {row.line}", is_row=True)).value
                 for row in sheet.rows)


def _warn_of_open_files(findings: Findings) -> None:
    """Warn of files with secrets that everybody on this machine may read."""
    for file in sorted(findings.with_secrets):
        if mode := _open_mode(file):
            findings.warnings.append(Problem(
                file, "", f"a file with secrets that all users may read (mode {mode})",
                "a file that only the service may read", f"chmod o-rwx {file}"))
    for file, where, secret in findings.secret_files:
        if mode := _open_mode(secret):
            findings.warnings.append(Problem(
                file, where, f"{secret}, which all users may read (mode {mode})",
                "a file that only the service may read", f"chmod o-rwx {secret}"))


def _open_mode(file: Path) -> str:
    """The mode of a file that all users may read; empty when they may not, or when there is no such file."""
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
    except OSError:
        return ""  # that it cannot be read has been noted where it is read
    return f"{mode:04o}" if mode & stat.S_IROTH else ""
