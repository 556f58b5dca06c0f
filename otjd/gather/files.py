"""FileGatherer: the calendars of one folder, one iCalendar file a room."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from otjd.gather.calendar_folder import SUFFIX, CalendarFileError, Entry, Signature, read, scan
from otjd.gather.icalendar_reader import Calendar, UnreadableCalendarError, read_calendar
from otjd.meetings.cache import KEPT_BACK
from otjd.meetings.model import Invitation, Window
from otjd.operate.board import AlarmLevel, AlarmName, IntegrationState, StatusBoard
from otjd.poller import Poller
from otjd.seam import InThread, deferred

INTERVAL_S = 1.0
"""Seconds between two looks at the folder; a change shows within two."""

EXPAND_EVERY = timedelta(minutes=10)
"""How often the series of an unchanged file are expanded anew, since the window moves on."""

PATIENCE = 2
"""Looks at a file that is cut off, or gone, before it counts as broken: somebody may be writing it."""

LONGEST_PATIENCE = 30
"""The same for one that keeps changing."""

AT_ONCE = 4
"""Files that are read at the same time."""

TOLD_LIMIT = 10
"""Rooms, and problems of one room, that an alarm tells of."""

Deliver = Callable[[str, list[Invitation]], Coroutine[Deferred[Any], Any, None]]
"""Takes a room's address in small letters and what its calendar holds now, whole."""


@dataclass(slots=True)
class _Room:
    """What is known of one room's file."""

    ahead: timedelta
    signature: Signature | None = None
    digest: str = ""
    is_settled: bool = False
    calendar: Calendar | None = None
    expanded_at: datetime | None = None
    problems: tuple[str, ...] = ()
    error: str | None = None
    waits: int = 0
    waits_in_all: int = 0
    is_busy: bool = False
    has_tripped: bool = False

    @property
    def is_read(self) -> bool:
        """Whether the file was good when it was last looked at."""
        return self.error is None and self.calendar is not None


@dataclass(frozen=True, slots=True)
class _Reading:
    """What came of reading a file; `calendar` and `invitations` are None where it holds what it held."""

    signature: Signature
    digest: str
    is_settled: bool
    calendar: Calendar | None = None
    invitations: list[Invitation] | None = None


class UnreadableFileError(Exception):
    """A file that holds no calendar, with what it looked like."""

    def __init__(self, error: UnreadableCalendarError, signature: Signature, *, is_settled: bool) -> None:
        super().__init__(str(error))
        self.is_passing = error.is_truncated
        self.signature = signature
        self.is_settled = is_settled


def read_room(path: Path, known_digest: str, previous: Calendar | None, window: Window, now: datetime) -> _Reading:
    """Read and expand one file; blocks, belongs in a thread.

    :raises CalendarFileError: it cannot be read.
    :raises UnreadableFileError: it holds no calendar.
    """
    file = read(path, now)
    if previous is not None and file.digest == known_digest:
        return _Reading(file.signature, file.digest, file.is_settled)
    try:
        calendar = read_calendar(file.content, str(path))
        if previous is not None:
            calendar.keep_from(previous)
        invitations = calendar.invitations(window)
    except UnreadableCalendarError as error:
        raise UnreadableFileError(error, file.signature, is_settled=file.is_settled) from None
    return _Reading(file.signature, file.digest, file.is_settled, calendar, invitations)


class FileGatherer:
    """Keeps the rooms of one file integration up to date: `<directory>/<room's address>.ics`, any letter case.

    A room whose file cannot be read is reported to `room_failed(email, error)` once and raises an alarm that names
    file and line; its last good meetings are left to whoever took them. No room waits for another.

    :param deliver: takes what was read; awaited.
    :param in_thread: runs what blocks, of the shape of `twisted.internet.threads.deferToThread`.
    """

    _log = Logger()

    def __init__(self, *, name: str, directory: Path, deliver: Deliver, room_failed: Callable[[str, str], None],
                 board: StatusBoard, clock: IReactorTime, now: Callable[[], datetime], in_thread: InThread,
                 jitter: Callable[[], float]) -> None:
        self._name = name
        self._directory = directory
        self._deliver = deliver
        self._room_failed = room_failed
        self._board = board
        self._now = now
        self._in_thread = in_thread
        self._rooms: dict[str, _Room] = {}
        self._directory_error: str | None = None
        self._directory_waits = 0
        self._slots = DeferredSemaphore(AT_ONCE)
        self._working: set[Deferred[None]] = set()
        self._is_stopped = False
        self._poller = Poller(self._look, clock=clock, interval_s=INTERVAL_S, jitter=jitter, failed=self._broke)

    def configure(self, rooms: Mapping[str, timedelta]) -> None:
        """Read exactly these rooms, by address; each with how far ahead its series are expanded."""
        wanted = {email.strip().lower(): ahead for email, ahead in rooms.items()}
        for gone in self._rooms.keys() - wanted.keys():
            del self._rooms[gone]
            self._board.lower_alarm(AlarmName.FILE_GATHERER, gone)
        for email, ahead in wanted.items():
            room = self._rooms.setdefault(email, _Room(ahead))
            if room.ahead != ahead:
                room.ahead = ahead
                room.expanded_at = None
        self.trigger()

    def refresh(self) -> None:
        """Hand over every calendar anew, as after the rules that look at them have changed."""
        for room in self._rooms.values():
            room.expanded_at = None
        self.trigger()

    def start(self) -> None:
        """Look at the folder now and every second from now on."""
        self._is_stopped = False
        self._poller.start()

    async def stop(self) -> None:
        """End after the files that are being read."""
        self._is_stopped = True
        await self._poller.stop()
        for work in tuple(self._working):
            await work

    def trigger(self) -> None:
        """Look at the folder now."""
        self._poller.trigger(hurry=True)

    async def _look(self) -> None:
        try:
            entries = await self._in_thread(scan, self._directory, frozenset(self._rooms))
        except OSError as error:
            self._directory_lost(error)
        else:
            self._directory_error = None
            self._directory_waits = 0
            for email, room in self._rooms.items():
                if not room.is_busy:
                    self._consider(email, room, entries.get(email))
        self._report()

    def _directory_lost(self, error: OSError) -> None:
        self._directory_waits += 1
        if self._directory_waits <= PATIENCE and any(room.is_read for room in self._rooms.values()):
            return
        self._directory_error = (f"The folder {self._directory} cannot be read: {error.strerror or error}; it must"
                                 " exist and the account that runs otjd must be allowed to read it")
        for email, room in self._rooms.items():
            room.signature = None
            self._fail(email, room, self._directory_error)

    def _consider(self, email: str, room: _Room, entry: Entry | None) -> None:
        """Start whatever has to be done about a room."""
        if entry is None:
            room.signature = None
            path = self._directory / f"{email}{SUFFIX}"
            self._wait_or_fail(email, room, f"{path} does not exist; write the calendar of this room there",
                               is_patient=room.is_read)
        elif entry.signature != room.signature or not room.is_settled:
            self._work(email, room, self._read(email, room, entry))
        elif (room.error is None or room.has_tripped) and self._is_due(room):
            self._work(email, room, self._expand(email, room))

    def _is_due(self, room: _Room) -> bool:
        return room.expanded_at is None or not timedelta() <= self._now() - room.expanded_at < EXPAND_EVERY

    def _work(self, email: str, room: _Room, job: Coroutine[Deferred[Any], Any, None]) -> None:
        """Run a job of a room when there is a free slot; the next look does not wait for it."""
        room.is_busy = True

        async def run() -> None:
            try:
                await job
            except Exception:  # our own bug: it must not cost the other rooms
                self._log.failure("The calendar of {room} could not be taken over", room=email,
                                  integration=self._name)
                room.has_tripped = True
                room.expanded_at = self._now()
                self._fail(email, room, f"The calendar of {email} could not be taken over; the log says why")
            room.is_busy = False
            self._report()

        def done(_: None) -> None:
            self._working.discard(work)

        work: Deferred[None] = self._slots.run(lambda: deferred(run()))
        self._working.add(work)
        work.addErrback(lambda failure: self._log.failure("Reporting on {room} failed", failure, room=email,
                                                          integration=self._name))
        work.addCallback(done)

    async def _read(self, email: str, room: _Room, entry: Entry) -> None:
        if not self._is_current(email, room):
            return
        self._board.count_requests(self._name)
        try:
            reading = await self._in_thread(read_room, entry.path, room.digest, room.calendar, self._window(room),
                                            self._now())
        except CalendarFileError as error:
            room.signature = None
            self._wait_or_fail(email, room, str(error), is_patient=error.is_passing and room.is_read)
        except UnreadableFileError as error:
            if room.signature != error.signature:
                room.waits = 0
            room.signature, room.is_settled = error.signature, error.is_settled
            self._wait_or_fail(email, room, str(error), is_patient=error.is_passing)
        else:
            room.signature, room.is_settled = reading.signature, reading.is_settled
            room.waits = room.waits_in_all = 0
            if reading.calendar is not None:
                room.calendar, room.digest = reading.calendar, reading.digest
                await self._take(email, room, reading.invitations)
            elif room.error is not None:
                await self._expand(email, room)

    async def _expand(self, email: str, room: _Room) -> None:
        if not self._is_current(email, room) or room.calendar is None:
            return
        try:
            invitations = await self._in_thread(room.calendar.invitations, self._window(room))
        except UnreadableCalendarError as error:
            self._fail(email, room, str(error))
        else:
            await self._take(email, room, invitations)

    async def _take(self, email: str, room: _Room, invitations: list[Invitation]) -> None:
        """Hand over what a room's file holds now."""
        if not self._is_current(email, room) or room.calendar is None:
            room.expanded_at = None  # whoever starts this again hears of it
            return
        room.expanded_at = self._now()
        room.problems = room.calendar.problems
        await self._deliver(email, invitations)
        room.error = None
        room.has_tripped = False

    def _wait_or_fail(self, email: str, room: _Room, error: str, *, is_patient: bool) -> None:
        """Give whoever is writing the file a moment before it counts as broken."""
        room.waits += 1
        room.waits_in_all += 1
        if is_patient and room.error is None and room.waits <= PATIENCE and room.waits_in_all <= LONGEST_PATIENCE:
            room.is_settled = False
        else:
            self._fail(email, room, error)

    def _fail(self, email: str, room: _Room, error: str) -> None:
        is_new = room.error is None
        room.error = error
        if not is_new:
            return
        try:
            self._room_failed(email, error)
        except Exception:  # our own bug: it must not cost the other rooms
            self._log.failure("The failure of {room} could not be told", room=email, integration=self._name)

    def _window(self, room: _Room) -> Window:
        now = self._now()
        return Window(now - KEPT_BACK, now + room.ahead)

    def _is_current(self, email: str, room: _Room) -> bool:
        return self._rooms.get(email) is room and not self._is_stopped

    def _broke(self, _error: Exception, attempt: int, delay_s: float) -> None:
        """A bug, since `_look` expects what can go wrong; the poller calls this while it handles the error."""
        self._log.failure("Looking at the folder of {integration} failed, next attempt in {delay_s} s",
                          integration=self._name, attempt=attempt, delay_s=delay_s)

    def _report(self) -> None:
        """Tell the status board how the rooms are doing: their alarms, or one for all when all fail."""
        if self._is_stopped:
            return
        errors = {email: room.error for email, room in self._rooms.items() if room.error is not None}
        all_fail = bool(errors) and len(errors) == len(self._rooms)
        shared = self._directory_error
        if shared is None and all_fail and len(errors) > 1:
            told = [*errors.values()][:TOLD_LIMIT]
            shared = f"None of the {len(errors)} calendars can be read: {'; '.join(told)}"
        if shared is not None:
            self._board.raise_alarm(AlarmName.FILE_GATHERER, self._name, shared)
        else:
            self._board.lower_alarm(AlarmName.FILE_GATHERER, self._name)
        for email, room in self._rooms.items():
            if shared is not None or (room.error is None and not room.problems):
                self._board.lower_alarm(AlarmName.FILE_GATHERER, email)
            elif room.error is not None:
                self._board.raise_alarm(AlarmName.FILE_GATHERER, email, room.error)
            else:
                self._board.raise_alarm(AlarmName.FILE_GATHERER, email, _told(room.problems), AlarmLevel.WARNING)
        self._report_state(shared, errors, all_fail=all_fail)

    def _report_state(self, shared: str | None, errors: Mapping[str, str], *, all_fail: bool) -> None:
        if shared is not None or all_fail:
            self._board.integration_failed(self._name, shared or next(iter(errors.values())),
                                           IntegrationState.FAILED)
            return
        if any(room.is_read for room in self._rooms.values()) or not self._rooms:
            self._board.integration_succeeded(self._name)
        problems = [*errors.values(), *(_told(room.problems) for room in self._rooms.values() if room.problems)]
        if problems:
            self._board.integration_failed(self._name, problems[0], IntegrationState.DEGRADED)


def _told(problems: tuple[str, ...]) -> str:
    more = len(problems) - TOLD_LIMIT
    return "; ".join(problems[:TOLD_LIMIT]) + (f"; and {more} more" if more > 0 else "")
