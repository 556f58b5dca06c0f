"""Health: what a calendar gatherer tells the status board of its rooms and of the integration as a whole."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime

from twisted.logger import Logger

from otjd.gather.gate import Access
from otjd.operate.board import GATHERER_ALARMS, AlarmName, IntegrationState, RoomReport, StatusBoard

MISSED = 3
"""Attempts in a row, or intervals, that fail until what is known of a room counts as stale."""

TOLD_LIMIT = 10
_HOUR_S = 3600
_HOURS = 24


class Hours:
    """Numbers of the last 24 hours, by the hour."""

    __slots__ = ("_counts", "_hour")

    def __init__(self) -> None:
        self._counts = array("I", bytes(4 * _HOURS))
        self._hour = 0

    def add(self, at: float, number: int) -> int:
        """Count `number` at `at`; gives the sum."""
        hour = int(at // _HOUR_S)
        for passed in range(self._hour + 1, min(hour, self._hour + _HOURS) + 1):
            self._counts[passed % _HOURS] = 0
        self._hour = hour
        self._counts[hour % _HOURS] += number
        return sum(self._counts)


@dataclass(slots=True)
class RoomHealth:
    """How a room is doing: `error` of the attempts in a row that failed; `is_stale` where that was told."""

    error: str | None = None
    attempts: int = 0
    is_known: bool = False
    is_stale: bool = False
    last_success: datetime | None = None
    requests: Hours = field(default_factory=Hours)


class Health:
    """Gathers how the rooms of an integration are doing and tells the board when that changes.

    :param room_failed: told, once, of each room whose meetings are no longer what its calendar holds, and why.
    """

    _log = Logger()

    def __init__(self, *, name: str, kind: str, board: StatusBoard, room_failed: Callable[[str, str], None],
                 now: Callable[[], datetime]) -> None:
        self._name = name
        self._alarm = GATHERER_ALARMS[kind]
        self._board = board
        self._room_failed = room_failed
        self._now = now
        self.rooms: dict[str, RoomHealth] = {}
        self._failing: dict[str, str] = {}
        self._has_answered = False
        self.answered_at: float | None = None

    def configure(self, rooms: Collection[str]) -> None:
        """Report on exactly these rooms."""
        for gone in self.rooms.keys() - set(rooms):
            del self.rooms[gone]
            self._failing.pop(gone, None)
            self._board.lower_alarm(self._alarm, gone)
        for email in rooms:
            self.rooms.setdefault(email, RoomHealth())

    def answered(self, at: float) -> None:
        """The calendar system answered a question as it should."""
        self._has_answered = True
        self.answered_at = at

    def room_read(self, email: str, at: float, requests: int, detector: str) -> None:
        """A room was read and its meetings were taken over."""
        self.answered(at)
        room = self.rooms.get(email)
        if room is None:
            return
        room.error, room.attempts, room.is_known, room.is_stale = None, 0, True, False
        room.last_success = self._now()
        if self._failing.pop(email, None) is not None:
            self._board.lower_alarm(self._alarm, email)
        self._tell(email, room, at, requests, detector)

    def room_failed(self, email: str, error: str, at: float, requests: int, detector: str, *,
                    is_certain: bool) -> None:
        """An attempt to read a room failed; `is_certain` where that is not going to pass by itself."""
        room = self.rooms.get(email)
        if room is None:
            return
        room.attempts += 1
        log = self._log.warn if room.error is None else self._log.debug
        log("The calendar of {room} could not be read: {error}", room=email, integration=self._name, error=error,
            attempt=room.attempts)
        room.error = error
        if is_certain or room.attempts >= MISSED or not room.is_known:
            self._failing[email] = error
        if room.attempts >= MISSED or not room.is_known:
            self._mark_stale(email, room, error)
        self._tell(email, room, at, requests, detector)

    def mark_stale(self, emails: Collection[str], error: str) -> None:
        """These rooms were not read for so long that what is known of them may be wrong."""
        for email in emails:
            room = self.rooms.get(email)
            if room is not None:
                self._mark_stale(email, room, error)

    def unknown(self) -> list[str]:
        """Rooms of which nothing was read since the start."""
        return [email for email, room in self.rooms.items() if not room.is_known]

    def _mark_stale(self, email: str, room: RoomHealth, error: str) -> None:
        if room.is_stale:
            return
        room.is_stale = True
        try:
            self._room_failed(email, error)
        except Exception:  # our own bug: it must not cost the other rooms
            self._log.failure("The failure of {room} could not be told", room=email, integration=self._name)

    def _tell(self, email: str, room: RoomHealth, at: float, requests: int, detector: str) -> None:
        self._board.room_reported(email, RoomReport(
            integration=self._name, last_success=room.last_success, last_error=room.error,
            requests_last_24h=room.requests.add(at, requests), detector=detector))

    def report(self, access: Access, error: str) -> None:
        """Tell the board how the integration is doing; `error` says why it is not open, or what is short."""
        is_refused = access is Access.UNAUTHORIZED
        if is_refused:
            self._board.raise_alarm(AlarmName.INTEGRATION_UNAUTHORIZED, self._name, error)
        elif self._has_answered:
            self._board.lower_alarm(AlarmName.INTEGRATION_UNAUTHORIZED, self._name)
        if self._has_answered:
            self._board.integration_succeeded(self._name)
            self._has_answered = False
        is_old = access is Access.PAUSED and all(room.is_stale for room in self.rooms.values())
        shared = error if access is Access.DOWN or is_old else self._shared()
        if shared:
            self._board.raise_alarm(self._alarm, self._name, shared)
        elif not is_refused:
            self._board.lower_alarm(self._alarm, self._name)
        for email, problem in self._failing.items():
            if shared or is_refused:
                self._board.lower_alarm(self._alarm, email)
            else:
                self._board.raise_alarm(self._alarm, email, problem)
        if is_refused:
            self._board.integration_failed(self._name, error, IntegrationState.UNAUTHORIZED)
        elif shared:
            self._board.integration_failed(self._name, shared, IntegrationState.FAILED)
        elif error or self._failing:
            self._board.integration_failed(self._name, error or next(iter(self._failing.values())),
                                           IntegrationState.DEGRADED)

    def _shared(self) -> str:
        """What to say where no room at all can be read."""
        if not self._failing or len(self._failing) < len(self.rooms):
            return ""
        if len(self._failing) == 1:
            return next(iter(self._failing.values()))
        told = "; ".join([*self._failing.values()][:TOLD_LIMIT])
        return f"None of the {len(self._failing)} calendars can be read: {told}"
