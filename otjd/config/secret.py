"""Secrets: values that show themselves only to those who ask, and where they come from."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from otjd.config.problems import nearest, shown

LONGEST_SECRET_FILE = 65536
SOURCES = ("file", "env", "credential")
EXPECTED = 'a text, { file = "path" }, { env = "NAME" } or { credential = "name" }'


class Secret:
    """A text that neither `repr`, `str` nor a log line gives away. False when it is empty."""

    __slots__ = ("_value",)

    def __init__(self, value: str = "") -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret('***')" if self._value else "Secret('')"


@dataclass(frozen=True, slots=True)
class Unresolved:
    """Why a secret could not be had; the texts are those of a Problem."""

    found: str
    expected: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A secret, and the file that it was read from, if any."""

    secret: Secret
    file: Path | None = None


def resolve(raw: object, *, directory: Path, environ: Mapping[str, str]) -> Resolved | Unresolved:
    """Get a secret from where the configuration says it is.

    :param raw: a text, or a table with one of the keys of `SOURCES`.
    :param directory: what a relative `file` is relative to.
    :param environ: the environment; systemd names the folder of its credentials in it.
    """
    if isinstance(raw, str):
        return Resolved(Secret(raw))
    if not isinstance(raw, dict):
        hint = "put it in quotes" if isinstance(raw, int | float) else ""
        return Unresolved(f"a value of another type ({type(raw).__name__}, not shown)", EXPECTED, hint)
    if len(raw) != 1:
        return Unresolved(f"a table with {len(raw)} keys", EXPECTED)
    return _from_source(*next(iter(raw.items())), directory, environ)


def _from_source(source: str, name: object, directory: Path, environ: Mapping[str, str]) -> Resolved | Unresolved:
    if source not in SOURCES:
        return Unresolved(f"the unknown key {shown(source)}", EXPECTED,
                          f'the nearest known key is "{nearest(source, SOURCES)}"')
    if not isinstance(name, str) or not name or "\0" in name:
        return Unresolved(f"{source} = {shown(name)}", EXPECTED)
    if source == "env":
        return _from_environment(name, environ)
    return _from_file(directory / name) if source == "file" else _from_credential(name, environ)


def _from_environment(name: str, environ: Mapping[str, str]) -> Resolved | Unresolved:
    if value := environ.get(name):
        return Resolved(Secret(value))
    found = "is empty" if name in environ else "is not set"
    return Unresolved(f'the environment variable "{name}", which {found}', "the secret in it",
                      "set it where the service is started")


def _from_credential(name: str, environ: Mapping[str, str]) -> Resolved | Unresolved:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return Unresolved(f'credential = "{name}", but CREDENTIALS_DIRECTORY is not set',
                          "to be started by systemd with this credential",
                          f"add LoadCredential={name}:/path/of/the/secret to the unit")
    if "/" in name or name in (".", ".."):
        return Unresolved(f"credential = {shown(name)}", "the name of a credential, without a path")
    return _from_file(Path(folder) / name)


def _from_file(path: Path) -> Resolved | Unresolved:
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST_SECRET_FILE + 1)
        text = content.decode("utf-8-sig").rstrip("\r\n")
    except FileNotFoundError:
        return Unresolved(f"no file {path}", "a file that holds the secret")
    except OSError as error:
        return Unresolved(f"{path}, which cannot be read: {error.strerror}", "a file that the service may read")
    except UnicodeDecodeError:
        return Unresolved(f"{path}, which is not UTF-8 text", "a file that holds the secret as UTF-8 text")
    if not text:
        return Unresolved(f"the empty file {path}", "a file that holds the secret")
    if len(content) > LONGEST_SECRET_FILE:
        return Unresolved(f"{path} of more than {LONGEST_SECRET_FILE} bytes", "a file that holds one secret")
    return Resolved(Secret(text), path)
