"""WireLog: requests of endpoints and their answers in full, one file an endpoint, credentials removed.

This is how captures of real endpoints are made. Each record is a line of JSON, then the body of the request, a
line end, the body of the answer, a line end, and an empty line. `request_length` and `answer_length` in the JSON
are the bytes of the bodies as they stand in the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from otjd.seam import InThread, deferred
from otjd.serve import redaction

UNIDENTIFIED = "_unidentified"
"""Name of the file of those who did not sign in; no endpoint's file begins so."""

WAITING_LIMIT = 16 * 1024 * 1024
"""Bytes that may wait to be written; what comes beyond is counted and left out."""

_NAME_SHOWN = 60
_OVERHEAD = 1024  # bytes of a record besides its bodies and headers, roughly


@dataclass(frozen=True, slots=True, kw_only=True)
class WireSettings:
    """Where it is written: at most `files` files of `size` bytes of each of these endpoints, by default of all."""

    directory: Path
    size: int
    files: int
    endpoints: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Message:
    """The headers and the body of a request or an answer, as they were on the wire."""

    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""

    @property
    def size(self) -> int:
        """Bytes, about."""
        return len(self.body) + sum(len(name) + len(value) for name, value in self.headers)


NOTHING = Message()


@dataclass(frozen=True, slots=True)
class _Record:
    settings: WireSettings
    endpoint: str
    facts: Mapping[str, Any]
    request: Message = field(repr=False)
    answer: Message = field(repr=False)

    @property
    def size(self) -> int:
        return _OVERHEAD + self.request.size + self.answer.size


class WireLog:
    """Takes what was said on the wire; off until `configure` gives it settings.

    It is written in threads, so nobody waits for the disk. Where the disk fails, or is slower than what comes in,
    records are lost, and the next one that is written tells how many. `now` gives the aware UTC time.
    """

    _log = Logger()

    def __init__(self, *, now: Callable[[], datetime], in_thread: InThread) -> None:
        self._now = now
        self._in_thread = in_thread
        self._settings: WireSettings | None = None
        self._is_closed = False
        self._waiting: list[_Record] = []
        self._waiting_bytes = 0
        self._lost = 0
        self._writing: Deferred[None] | None = None
        self._has_failed = False

    @property
    def is_on(self) -> bool:
        """Whether anything is kept."""
        return self._settings is not None and not self._is_closed

    def configure(self, settings: WireSettings | None) -> None:
        """Write so from now on; None: nothing."""
        self._settings = settings

    def record(self, endpoint: str, facts: Mapping[str, Any], request: Message = NOTHING,
               answer: Message = NOTHING) -> None:
        """Keep a request and its answer. `endpoint` is empty where nobody signed in; `facts` have JSON values."""
        settings = self._settings
        if settings is None or self._is_closed:
            return
        if endpoint and settings.endpoints and endpoint not in settings.endpoints:
            return
        moment = self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        entry = _Record(settings, endpoint, {"time": moment, "endpoint": endpoint, **facts}, request, answer)
        if self._waiting_bytes + entry.size > WAITING_LIMIT:
            self._lost += 1
            return
        self._waiting.append(entry)
        self._waiting_bytes += entry.size
        if self._writing is None:
            self._writing = Deferred()
            deferred(self._write_all())

    async def close(self) -> None:
        """Write what still waits; nothing is taken afterwards."""
        self._is_closed = True
        if self._writing is not None:
            await self._writing

    async def _write_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            lost, self._lost = self._lost, 0
            try:
                await self._in_thread(partial(_write, batch, lost))
                self._has_failed = False
            except OSError as error:
                self._lost += lost + len(batch)
                self._fail(batch[-1].settings, error)
            except Exception:  # a bug of ours must not end the writing
                self._lost += lost + len(batch)
                self._log.failure("The wire log lost {records} records", records=len(batch))
            self._waiting_bytes -= sum(entry.size for entry in batch)
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.callback(None)

    def _fail(self, settings: WireSettings, error: OSError) -> None:
        """Somebody has to look at the disk; said once until it works again."""
        if not self._has_failed:
            self._log.error("The wire log cannot be written to {path}: {error}. Check log.wire_directory: it must "
                            "be writable, and the disk must not be full", path=str(settings.directory),
                            error=str(error))
        self._has_failed = True


def file_name(endpoint: str) -> str:
    """The name of an endpoint's file, whatever the endpoint's name holds; different names, different files."""
    if not endpoint:
        return f"{UNIDENTIFIED}.log"
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", endpoint).strip("-.")[:_NAME_SHOWN]
    return f"{readable}-{hashlib.sha256(endpoint.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}.log"


# what follows runs in a thread, one batch at a time

def _write(batch: Iterable[_Record], lost: int) -> None:
    by_file: dict[tuple[WireSettings, str], list[bytes]] = {}
    for entry in batch:
        by_file.setdefault((entry.settings, file_name(entry.endpoint)), []).append(_written(entry, lost))
        lost = 0
    for (settings, name), records in by_file.items():
        _make(settings.directory)
        _append(settings.directory / name, records, settings)


def _written(entry: _Record, lost: int) -> bytes:
    request, answer = (redaction.body(m.body).encode("utf-8", "backslashreplace")
                       for m in (entry.request, entry.answer))
    line = {**entry.facts, "request_headers": redaction.headers(entry.request.headers),
            "request_length": len(request), "answer_headers": redaction.headers(entry.answer.headers),
            "answer_length": len(answer), **({"lost": lost} if lost else {})}
    return b"".join((json.dumps(line).encode("ascii"), b"\n", request, b"\n", answer, b"\n\n"))


def _make(directory: Path) -> None:
    """Make a folder, and those above it, for nobody else to read."""
    missing = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)


def _append(path: Path, records: Sequence[bytes], settings: WireSettings) -> None:
    """Append records to a file; one that would grow beyond its size makes room first."""
    at = 0
    while at < len(records):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            size = os.fstat(file.fileno()).st_size
            while at < len(records) and (not size or size + len(records[at]) <= settings.size):
                file.write(records[at])
                size += len(records[at])
                at += 1
        if at < len(records):
            _rotate(path, settings.files)


def _rotate(path: Path, files: int) -> None:
    """Let `name.log` become `name.log.1` and so on; the last one goes."""
    names = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, files))]
    names[-1].unlink(missing_ok=True)
    for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
        if newer.exists():
            newer.replace(older)
