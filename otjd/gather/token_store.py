"""Refresh tokens on disk: one file for each integration, for its owner alone, encrypted where there is a key."""

from __future__ import annotations

import json
import os
import secrets
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from otjd.gather.state_files import state_file_name

FOLDER = "tokens"
LONGEST_FILE = 65536
VERSION = 1

Stamp = tuple[int, int, int]
"""Inode, modification time and size of a file: another one, another file."""


class TokenStoreError(Exception):
    """A token cannot be read or kept; the text says what to do and holds no secret."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A refresh token, and the file that it is from."""

    refresh_token: str = field(repr=False)
    stamp: Stamp


class TokenStore:
    """The refresh token of one integration. Every method touches the disk.

    `key` is 32 bytes in base64, standard or URL-safe; empty: the file is not encrypted.
    """

    def __init__(self, state_dir: Path, integration: str, key: str = "") -> None:
        self._state_dir = state_dir
        self._integration = integration
        self._fernet = Fernet(fernet_key(key)) if key else None
        self.path = state_dir / FOLDER / state_file_name(integration)

    def stamp(self) -> Stamp | None:
        """Which file is there; None where there is none.

        :raises TokenStoreError: it cannot be told.
        """
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(error) from error
        return (found.st_ino, found.st_mtime_ns, found.st_size)

    def load(self) -> Stored | None:
        """The token; None where there is none yet.

        :raises TokenStoreError: there is one, but it cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                found = os.fstat(file.fileno())
                content = file.read(LONGEST_FILE + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(error) from error
        try:
            values = json.loads(content)
            token = self._decrypted(values)
        except (ValueError, KeyError, TypeError) as error:
            raise TokenStoreError(f"{self.path} holds no token that this version can read: remove it and sign in "
                                  "again") from error
        return Stored(token, (found.st_ino, found.st_mtime_ns, found.st_size))

    def save(self, refresh_token: str, *, instead_of: Stamp | None = None) -> Stamp | None:
        """Keep a token, whole or not at all, over a power cut too.

        With `instead_of` only where that file is still there: a sign-in in the meantime goes before. Gives the new
        file, None where it was not written.

        :raises TokenStoreError: it cannot be written; the old one stays.
        """
        if instead_of is not None and self.stamp() != instead_of:
            return None
        values: dict[str, object] = {"version": VERSION, "integration": self._integration}
        if self._fernet is None:
            values["refresh_token"] = refresh_token
        else:
            values["encrypted"] = self._fernet.encrypt(refresh_token.encode()).decode("ascii")
        try:
            self._write(json.dumps(values, indent=1).encode())
        except OSError as error:
            raise self._unwritable(error.strerror) from error
        return self.stamp()

    def check(self) -> None:
        """See to it that a token can be kept.

        :raises TokenStoreError: it cannot.
        """
        try:
            folder = self._folder()
        except OSError as error:
            raise self._unwritable(error.strerror) from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise self._unwritable("Permission denied")

    def _decrypted(self, values: Mapping[str, object]) -> str:
        if values["version"] != VERSION:
            raise ValueError("another version")
        encrypted = values.get("encrypted")
        if not isinstance(encrypted, str):
            return _text(values["refresh_token"])
        if self._fernet is None:
            raise TokenStoreError(f"{self.path} is encrypted, and node.state_key is not set: give the key that it "
                                  "was written with, or sign in again")
        try:
            return self._fernet.decrypt(encrypted.encode()).decode()
        except InvalidToken as error:
            raise TokenStoreError(f"{self.path} was written with another node.state_key: give that one, or sign "
                                  "in again") from error

    def _write(self, content: bytes) -> None:
        folder = self._folder()
        fresh = folder / f".{self.path.name}.{secrets.token_hex(8)}"
        number = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(number)
            if os.geteuid() == 0:  # signed in by root for a service that is not
                owner = self._state_dir.stat()
                os.chown(folder, owner.st_uid, owner.st_gid)
                os.chown(fresh, owner.st_uid, owner.st_gid)
            fresh.replace(self.path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _folder(self) -> Path:
        folder = self.path.parent
        self._state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        return folder

    def _unwritable(self, reason: str | None) -> TokenStoreError:
        return TokenStoreError(f"{self.path} cannot be written: {reason}. It must be possible to write into "
                               "node.state_dir, as the service's user or as root")

    def _unreadable(self, error: OSError) -> TokenStoreError:
        return TokenStoreError(f"{self.path} cannot be read: {error.strerror}. The service's user must own it")


def fernet_key(text: str) -> bytes:
    """The key for Fernet.

    :raises ValueError: it is not 32 bytes in base64.
    """
    raw = b64decode(text.translate(str.maketrans("-_", "+/")), validate=True)
    if len(raw) != 32:
        raise ValueError("expected 32 bytes in base64")
    return urlsafe_b64encode(raw)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("no token")
    return value
