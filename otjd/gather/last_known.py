"""LastKnown: the meetings of every room on disk, so that a restart during an outage shows them at once.

Meetings as endpoints show them: the text of an invitation is written only where an endpoint is to show it.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from otjd.meetings.cache import Agenda
from otjd.meetings.model import CalendarItemType, DialProtocol, FreeBusyStatus, Meeting, Organizer, Room
from otjd.seam import InThread, deferred

FILE_NAME = "last_known.sqlite"

SET_ASIDE_SUFFIX = ".unreadable"

SCHEMA_VERSION = 1

REFRESHED_EVERY = timedelta(minutes=5)
"""How often the time of the last reading is written while no meeting changes."""

_BUSY_TIMEOUT_S = 2.0
_APPLICATION_ID = 0x6F746A64  # "otjd"
_SCHEMA = f"""
BEGIN;
CREATE TABLE agendas (
    email TEXT NOT NULL, profile TEXT NOT NULL, read_at TEXT NOT NULL, meetings TEXT NOT NULL,
    PRIMARY KEY (email, profile)) WITHOUT ROWID;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_TEXT = "invitation_text"
_KEPT = tuple(f.name for f in fields(Meeting) if f.init and f.name != _TEXT)
_TIMES = {"start_time", "end_time", "created_time", "last_modified_time"}
_ENUMS: Mapping[str, Callable[[str], Any]] = {
    "dial_protocol": DialProtocol, "item_type": CalendarItemType, "free_busy": FreeBusyStatus}

Known = tuple[Room, datetime, tuple[Meeting, ...]]
"""A room, when its calendar was last read, and what was in it."""

class _ForeignDatabaseError(Exception):
    """A database of another program or version."""


def meeting_to_json(meeting: Meeting) -> dict[str, Any]:
    """A meeting as JSON values; `meeting_from_json` gives it back exactly."""
    values: dict[str, Any] = {name: getattr(meeting, name) for name in _KEPT}
    for name in _TIMES:
        values[name] = values[name].isoformat() if values[name] is not None else None
    values["organizer"] = [meeting.organizer.name, meeting.organizer.email]
    if meeting.invitation_text:  # without one it has the form that earlier versions read and write
        values[_TEXT] = meeting.invitation_text
    return values


def meeting_from_json(values: Mapping[str, Any]) -> Meeting:
    """The meeting that `meeting_to_json` was given.

    :raises ValueError: it is none; also KeyError, TypeError, AttributeError.
    """
    arguments = {name: values[name] for name in _KEPT}
    for name in _TIMES:
        arguments[name] = datetime.fromisoformat(values[name]) if values[name] is not None else None
    for name, enum in _ENUMS.items():
        arguments[name] = enum(values[name])
    name, email = values["organizer"]
    arguments["organizer"] = Organizer(name, email)
    return Meeting(**arguments, invitation_text=str(values.get(_TEXT, "")))


class LastKnown:
    """Keeps what the agendas hold in `<state_dir>/last_known.sqlite`.

    Nothing here blocks the caller, and no trouble with the disk stops the service: it is logged, and what could
    not be written is tried again with the next change. Writes follow each other; what changes during one is
    written together afterwards, so that `kill -9` loses what the write in progress held, and no more.

    :param in_thread: runs what blocks, of the shape of `twisted.internet.threads.deferToThread`.
    """

    _log = Logger()

    def __init__(self, state_dir: Path, *, in_thread: InThread = deferToThread) -> None:
        self._path = state_dir / FILE_NAME
        self._in_thread = in_thread
        self._database: sqlite3.Connection | None = None
        self._written: dict[Room, tuple[str, datetime]] = {}
        self._pending: dict[Room, Agenda | None] = {}
        self._loaded: set[Room] = set()
        self._writing: Deferred[None] | None = None
        self._is_closed = False
        self._has_failed = False
        self._turn = DeferredLock()

    async def load(self) -> list[Known]:
        """Open the database and read what it holds; an empty list where there is nothing, or nothing readable.

        A database that is damaged or of another version is set aside and a new one begun.
        """
        try:
            known: list[Known] = await self._in_turn(self._open_and_read)
        except (sqlite3.Error, OSError) as error:
            self._fail(error)
            return []
        self._loaded = {room for room, _, _ in known}
        return known

    def keep(self, agenda: Agenda) -> None:
        """Write an agenda soon, unless it is there already. One that was never read is left alone."""
        if agenda.read_at is None or self._is_closed:
            return
        revision, read_at = self._written.get(agenda.room, (None, agenda.read_at))
        if revision == agenda.revision and timedelta() <= agenda.read_at - read_at < REFRESHED_EVERY:
            return
        self._put(agenda.room, agenda)

    def forget_all_but(self, rooms: Iterable[Room]) -> None:
        """Take every other room off the disk: it is no longer configured."""
        if not self._is_closed:
            for gone in {*self._loaded, *self._written, *self._pending} - set(rooms):
                self._put(gone, None)

    async def close(self) -> None:
        """Write what is still to be written and close the database."""
        self._is_closed = True
        if self._writing is not None:
            await self._writing
        if self._pending:
            await self._write_all()
        await self._in_turn(self._close)

    def _in_turn(self, job: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Run a job in a thread, after those before it."""
        return self._turn.run(self._in_thread, job, *arguments)

    def _put(self, room: Room, agenda: Agenda | None) -> None:
        """Write an agenda, or take a room off the disk, with the next batch."""
        self._pending[room] = agenda
        self._written.pop(room, None)  # what is on disk is no longer what should be
        if self._writing is None:
            self._writing = Deferred()
            deferred(self._write_all())

    async def _write_all(self) -> None:
        """Write until nothing is left or the disk fails."""
        while self._pending:
            batch, self._pending = self._pending, {}
            try:
                is_whole = await self._in_turn(self._write, batch)
            except (sqlite3.Error, OSError) as error:
                self._pending = batch | self._pending
                self._fail(error)
                break
            except Exception:  # our own bug, which the same batch would meet again
                self._log.failure("The meetings of {rooms} rooms were not kept", rooms=len(batch))
                continue
            self._note_written(batch, is_whole=is_whole)
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.callback(None)

    def _note_written(self, batch: Mapping[Room, Agenda | None], *, is_whole: bool) -> None:
        self._has_failed = False
        if not is_whole:
            self._written.clear()  # the rooms of other batches are written when they come again
        for room, agenda in batch.items():
            if agenda is None or agenda.read_at is None:
                self._loaded.discard(room)
            elif room not in self._pending:
                self._written[room] = (agenda.revision, agenda.read_at)

    def _fail(self, error: Exception) -> None:
        """Somebody has to look at the disk; said once until it works again."""
        if not self._has_failed:
            self._log.critical("The last known meetings cannot be kept in {path}: {error}; a restart during an "
                               "outage of the calendars would show none. Check node.state_dir: it must be "
                               "writable, and the disk must not be full", path=str(self._path), error=str(error))
        self._has_failed = True

    # what follows runs in a thread, one job at a time

    def _open_and_read(self) -> list[Known]:
        database = self._opened()
        known = []
        for email, profile, read_at, meetings in database.execute(
                "SELECT email, profile, read_at, meetings FROM agendas ORDER BY email, profile"):
            try:
                known.append((Room(email, profile), datetime.fromisoformat(read_at),
                              tuple(meeting_from_json(values) for values in json.loads(meetings))))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                self._log.warn("The last known meetings of {room} are left out: {error!r}", room=str(email),
                               error=error)
        return known

    def _opened(self) -> sqlite3.Connection:
        """The database, opened or made; one that cannot be used is set aside."""
        if self._database is not None:
            return self._database
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._database = self._connected()
        except (_ForeignDatabaseError, sqlite3.DatabaseError) as error:
            if isinstance(error, sqlite3.DatabaseError) and not _is_damage(error):
                raise
            self._set_aside(error)
            self._database = self._connected()
        return self._database

    def _connected(self) -> sqlite3.Connection:
        # made here rather than by SQLite, whose files would be readable by everybody; those beside it follow suit
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        if self._path.stat().st_mode & 0o077:
            self._path.chmod(0o600)
        database = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None,
                                   check_same_thread=False)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            _prepare(database)
        except BaseException:
            database.close()
            raise
        return database

    def _set_aside(self, error: Exception) -> None:
        self._close()
        aside = self._path.with_name(self._path.name + SET_ASIDE_SUFFIX)
        self._log.warn("The last known meetings in {path} cannot be read: {error}; the file is set aside as "
                       "{aside} and a new one begun", path=str(self._path), error=str(error), aside=str(aside))
        self._path.replace(aside)
        for beside in ("-wal", "-shm"):
            self._path.with_name(self._path.name + beside).unlink(missing_ok=True)

    def _write(self, batch: Mapping[Room, Agenda | None]) -> bool:
        """Write a batch; false when the database was damaged, and now holds this batch alone."""
        try:
            self._write_to(self._opened(), batch)
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self._set_aside(error)
            self._write_to(self._opened(), batch)
            return False
        return True

    @staticmethod
    def _write_to(database: sqlite3.Connection, batch: Mapping[Room, Agenda | None]) -> None:
        database.execute("BEGIN IMMEDIATE")
        try:
            for room, agenda in batch.items():
                if agenda is None or agenda.read_at is None:
                    database.execute("DELETE FROM agendas WHERE email = ? AND profile = ?",
                                     (room.email, room.profile))
                else:
                    meetings = json.dumps([meeting_to_json(m) for m in agenda.meetings], separators=(",", ":"))
                    database.execute("INSERT OR REPLACE INTO agendas VALUES (?, ?, ?, ?)",
                                     (room.email, room.profile, agenda.read_at.isoformat(), meetings))
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise

    def _close(self) -> None:
        if self._database is not None:
            with closing(self._database):
                self._database = None


def _prepare(database: sqlite3.Connection) -> None:
    """Make the tables of an empty database; check those of another.

    :raises _ForeignDatabaseError: they are not ours, or damaged.
    """
    (version,) = database.execute("PRAGMA user_version").fetchone()
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (version, application, tables) == (0, 0, 0):
        database.executescript(_SCHEMA)
        return
    if (version, application) != (SCHEMA_VERSION, _APPLICATION_ID):
        raise _ForeignDatabaseError(f"it has version {version} of application {application:#x}, expected "
                                    f"{SCHEMA_VERSION} of {_APPLICATION_ID:#x}")
    (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise _ForeignDatabaseError(f"it is damaged: {verdict}")


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", None)  # an extended code holds the plain one in its low byte
    return code is not None and code & 0xFF in _CORRUPT
