"""The files of a folder of calendars: which are there, whether they changed, and what is in them.

Everything here blocks and belongs in a thread.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from otjd.gather.content_lines import SIZE_LIMIT

SUFFIX = ".ics"

SETTLED_AFTER = timedelta(seconds=2)
"""Younger than this a file may change again without its times showing it: file systems count in ticks."""

Signature = tuple[int, int, int, int]
"""Inode, size, time of the last change of the content and of the inode, in nanoseconds."""


class CalendarFileError(Exception):
    """A file that cannot be read; the text names it and says what to do. One that `is_passing` may be back."""

    def __init__(self, text: str, *, is_passing: bool = False) -> None:
        super().__init__(text)
        self.is_passing = is_passing


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the folder."""

    path: Path
    signature: Signature


@dataclass(frozen=True, slots=True)
class FileContent:
    """What a file held. `is_settled` is false where it may have changed since without showing it."""

    content: bytes
    digest: str
    signature: Signature
    is_settled: bool


def scan(directory: Path, rooms: Collection[str]) -> dict[str, Entry]:
    """The files of these rooms, by address in small letters; those that are not there are left out.

    :raises OSError: the folder cannot be read.
    """
    found: dict[str, Entry] = {}
    with os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda e: e.name):  # of two names that differ in case the smaller letters
            name = entry.name.lower()
            room = name.removesuffix(SUFFIX)
            if room == name or room not in rooms:
                continue
            try:
                found[room] = Entry(Path(entry.path), _signature(entry.stat()))
            except OSError:  # gone again, or a link to nothing: reading it tells
                found[room] = Entry(Path(entry.path), (0, 0, 0, 0))
    return found


def read(path: Path, now: datetime) -> FileContent:
    """Read a calendar's file whole.

    :raises CalendarFileError: it is gone, is no regular file within its folder, is too big, or cannot be opened.
    """
    try:
        target = path.resolve(strict=True)
        if not target.is_relative_to(path.parent.resolve()):
            raise CalendarFileError(f"{path} is a link to {target}; expected a file within the folder")
        descriptor = os.open(target, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise CalendarFileError(f"{path} is no regular file; expected a file in iCalendar form")
            if before.st_size > SIZE_LIMIT:
                raise CalendarFileError(f"{path} has {before.st_size} bytes, at most {SIZE_LIMIT} are read; "
                                        "export a shorter time")
            content = file.read(SIZE_LIMIT + 1)
            signature = _signature(os.fstat(descriptor))
    except (FileNotFoundError, NotADirectoryError):
        raise CalendarFileError(f"{path} does not exist; write the calendar of this room there",
                                is_passing=True) from None
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CalendarFileError(f"{path} cannot be read: {reason}; let the account that runs otjd read "
                                "it") from None
    unchanged = signature == _signature(before) and len(content) == before.st_size
    changed_at = datetime.fromtimestamp(max(signature[2:]) / 1e9, UTC)
    is_settled = unchanged and abs(now - changed_at) >= SETTLED_AFTER
    return FileContent(content, hashlib.sha256(content).hexdigest(), signature, is_settled)


def _signature(status: os.stat_result) -> Signature:
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
