"""CalendarGatherer: the rooms of one calendar system, asked as its planner says."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from otjd.gather.budget import Budget
from otjd.gather.gate import BEHIND_S, Access, Gate
from otjd.gather.health import MISSED, Health
from otjd.gather.pace import SHORTEST_STALE_S, Costs
from otjd.gather.planner import Planner
from otjd.gather.questions import Read, Sweep, soonest_first
from otjd.gather.source import (
    BudgetSpentError,
    CalendarSource,
    Occurrence,
    RoomError,
    RoomReading,
    SourceError,
    ThrottledError,
    UnauthorizedError,
    UnreachableError,
)
from otjd.gather.steady import SteadyTime
from otjd.meetings.cache import KEPT_BACK
from otjd.meetings.model import Invitation, Window
from otjd.operate.board import AlarmName, StatusBoard
from otjd.poller import Poller
from otjd.seam import deferred

ANSWER_LIMIT_S = 180.0
"""A question that is not answered by then, with all its pages, has failed."""

LEAP_S = 60.0
REPORT_EVERY_S = 1.0
CHECK_EVERY_S = 60.0
OUTAGE_S = 60.0
"""After an outage of this length every room is read again, in order of its next meeting."""

LONGEST_SILENCE_S = 900.0
SPENT_PAUSE_S = 60.0
RAISE = "Raise the quota of the integration where the calendar system allows it"
SPENT = f"The requests of 24 hours are spent; calendars are read again as they become free. {RAISE}"
SUFFICES = 0.89
"""Part of the quota that was used when it counts as sufficient again."""

PROMISED_READ_S = 600.0
"""A room with a meeting in the next two hours is read this often, or an alarm says that the quota is too small."""

Deliver = Callable[[str, Sequence[Invitation], frozenset[Occurrence]], Coroutine[Deferred[Any], Any, None]]
"""Takes a room's address, its new and changed occurrences, and those that are as they were."""

Upcoming = Callable[[str], Sequence[datetime]]
"""When the meetings that are known of a room start, ascending."""

T = TypeVar("T")


@dataclass(slots=True)
class _Room:
    """What is kept for the next read of a room; `version` counts what makes a reading under way worthless."""

    ahead: timedelta
    memory: Any = None
    occurrences: int = 0
    version: int = 0


class CalendarGatherer:
    """Keeps the rooms of one integration up to date, with the outside of a FileGatherer.

    A room that cannot be read is reported to `room_failed(email, error)` after three attempts; its last good
    meetings are left to whoever took them. No room waits for another.

    :param deliver: takes what was read; awaited.
    :param upcoming: tells when the known meetings of a room start: rooms are read in that order.
    :param budget: the requests that the source spends.
    """

    _log = Logger()

    def __init__(self, *, name: str, source: CalendarSource, deliver: Deliver, upcoming: Upcoming,
                 room_failed: Callable[[str, str], None], board: StatusBoard, clock: IReactorTime,
                 now: Callable[[], datetime], budget: Budget, jitter: Callable[[], float],
                 planner: Planner | None = None) -> None:
        self._name = name
        self._source = source
        self._deliver = deliver
        self._upcoming = upcoming
        self._board = board
        self._clock = clock
        self._now = now
        self._budget = budget
        self._time = SteadyTime(clock.seconds, LEAP_S)
        self._planner = planner or Planner(is_told_of=source.is_told_of, jitter=jitter)
        self._gate = Gate(source.at_once, jitter)
        self._health = Health(name=name, kind=source.kind, board=board, room_failed=room_failed, now=now)
        self._rooms: dict[str, _Room] = {}
        self._error = self._sweep_error = ""
        self._started_at = self._time()
        self._reported_at = self._checked_at = float("-inf")
        self._spent_until = float("-inf")
        self._short_since: float | None = None
        self._calls: set[Deferred[Any]] = set()
        self._working: set[Deferred[None]] = set()
        self._reading = 0
        self._is_running = False
        self._poller = Poller(self._look, clock=clock, interval_s=LEAP_S / 2, jitter=jitter, failed=self._broke)
        board.requests_counted_by(name, budget.used)

    # from outside

    def configure(self, rooms: Mapping[str, timedelta]) -> None:
        """Read exactly these rooms, by address; each with how far ahead."""
        wanted = {email.strip().lower(): ahead for email, ahead in rooms.items()}
        for gone in self._rooms.keys() - wanted.keys():
            del self._rooms[gone]
        self._health.configure(wanted)
        self._planner.configure({email: self._starts(email) for email in wanted})
        for email, ahead in wanted.items():
            room = self._rooms.setdefault(email, _Room(ahead))
            if room.ahead != ahead:
                room.ahead = ahead
                self._forget(email, room)
        if self._is_running:
            self._source.watch(soonest_first(self._planner.rooms, self._now().timestamp()))
            self._hurry()

    def refresh(self) -> None:
        """Read every calendar whole again, as after the rules that look at them, or a sign-in, have changed."""
        self._gate.reset()
        self._spent_until = float("-inf")
        for email, room in self._rooms.items():
            self._forget(email, room)
        self._planner.hurry()
        self._hurry()

    def start(self) -> None:
        """Ask from now on."""
        self._is_running = True
        self._started_at = self._time()
        self._planner.configure({email: self._starts(email) for email in self._rooms})
        self._source.start(self.trigger)
        self._source.watch(soonest_first(self._planner.rooms, self._now().timestamp()))
        self._poller.start()

    async def stop(self) -> None:
        """End: questions under way are given up, what was answered is handed over first."""
        self._is_running = False
        await self._poller.stop()
        for call in tuple(self._calls):
            call.cancel()
        for work in tuple(self._working):
            await work
        await self._source.stop()

    def trigger(self, room: str) -> None:
        """There is news of a room: read it soon."""
        self._planner.changed(room.strip().lower())
        self._hurry()

    # looking

    def _hurry(self) -> None:
        self._poller.trigger(hurry=True)

    def _forget(self, email: str, room: _Room) -> None:
        room.memory = None
        room.version += 1
        self._planner.owe([email])

    def _starts(self, email: str) -> list[float]:
        return [start.timestamp() for start in self._upcoming(email)]

    async def _look(self) -> float:
        at = self._time()
        if at < self._spent_until:
            look_again_s = self._spent_until - at
        elif self._gate.is_shut(at):
            look_again_s = self._gate.opens_at - at
        elif self._gate.is_probing:
            look_again_s = LEAP_S / 2
            self._probe(at)
        else:
            source = self._source
            self._gate.most = source.at_once
            plan = self._planner.plan(at, self._now().timestamp(), self._budget.left(),
                                      Costs(source.sweep_size, source.sweep_cost, source.read_cost),
                                      max(0, self._gate.width - self._reading))
            for sweep in plan.sweeps:
                self._work(self._sweep(sweep))
            for read in plan.reads:
                self._work(self._read(read))
            look_again_s = plan.look_again_s
        self._report(at)
        # what has changed since it was last told is told soon
        return min(look_again_s, REPORT_EVERY_S if at > self._reported_at else LEAP_S / 2)

    def _probe(self, at: float) -> None:
        if self._working or self._budget.left().now < self._source.read_cost:
            return
        read = self._planner.probe(at, self._now().timestamp())
        if read is not None:
            self._work(self._read(read))

    def _work(self, job: Coroutine[Deferred[Any], Any, None]) -> None:
        """Let a job run; the next look does not wait for it."""
        def done(_: None) -> None:
            self._working.discard(work)
            if self._is_running:
                self._hurry()

        work: Deferred[None] = deferred(job)
        work.addErrback(lambda failure: self._log.failure("A question to {integration} failed", failure,
                                                          integration=self._name))
        self._working.add(work)
        work.addCallback(done)

    async def _call(self, question: Coroutine[Deferred[Any], Any, T]) -> T:
        """The answer to a question, within a limit of time.

        :raises SourceError: as the source does; UnreachableError also where it took too long or was given up.
        """
        call = deferred(question)
        self._calls.add(call)
        call.addTimeout(ANSWER_LIMIT_S, self._clock)
        try:
            return await call
        except DeferredTimeoutError:
            raise UnreachableError(f"No answer within {ANSWER_LIMIT_S:.0f} seconds") from None
        except CancelledError:
            raise UnreachableError("The question was given up") from None
        finally:
            self._calls.discard(call)

    # asking

    async def _sweep(self, sweep: Sweep) -> None:
        begun_at = self._time()
        ahead = max((self._rooms[email].ahead for email in sweep.rooms if email in self._rooms),
                    default=timedelta())
        window = sweep.window(self._now(), ahead)
        try:
            answers = await self._call(self._source.sweep(sweep.rooms, window))
        except SourceError as error:
            self._sweep_error = f"It cannot be asked when rooms are busy: {error}"
            self._planner.was_not_swept(self._time())
            self._note(error)
        except Exception:  # our own bug: it must not cost the reads
            self._log.failure("A sweep of {integration} failed", integration=self._name)
            self._planner.was_not_swept(self._time())
        else:
            self._answered()
            self._sweep_error = ""
            self._planner.was_swept(self._time(), begun_at, window, {
                email: None if isinstance(answer, RoomError) else answer for email, answer in answers.items()})

    async def _read(self, read: Read) -> None:
        room = self._rooms.get(read.room)
        if room is None:
            return
        version = room.version
        now = self._now()
        self._reading += 1
        try:
            reading = await self._call(self._source.read(
                read.room, Window(now - KEPT_BACK, now + room.ahead), room.memory))
            if self._rooms.get(read.room) is room:
                await self._take(read.room, room, reading, version)
        except SourceError as error:
            if self._rooms.get(read.room) is room:
                self._was_not_read(read.room, error)
        except Exception:  # our own bug: it must not cost the other rooms
            self._log.failure("The calendar of {room} could not be taken over", room=read.room,
                              integration=self._name)
            room.memory = None
            self._was_not_read(read.room, RoomError(
                f"The calendar of {read.room} could not be taken over; the log says why"))
        finally:
            self._reading -= 1

    async def _take(self, email: str, room: _Room, reading: RoomReading, version: int) -> None:
        """Hand over what a room holds, and remember for the next time what was handed over."""
        self._answered()
        await self._deliver(email, reading.invitations, reading.unchanged)
        occurrences = len(reading.invitations) + len(reading.unchanged)
        has_news = bool(reading.invitations) or occurrences != room.occurrences
        room.occurrences = occurrences
        self._health.room_read(email, self._time(), reading.requests, self._planner.detector(email))
        self._planner.was_read(email, starts=self._starts(email), has_news=has_news)
        if room.version == version:
            room.memory = reading.memory
        else:
            self._planner.owe([email])

    def _was_not_read(self, email: str, error: SourceError) -> None:
        """Let a room wait, and the integration where the error is not the room's."""
        at = self._time()
        is_own = self._is_running and not isinstance(error, UnauthorizedError | BudgetSpentError)
        if not is_own:
            self._planner.was_let_go(email)
        elif isinstance(error, ThrottledError):
            is_own = bool(error.room) or self._gate.is_alone(email)
            wait_s = min(3600.0, max(1.0, error.retry_after.total_seconds())) + (0.0 if is_own else BEHIND_S)
            self._planner.was_not_read(email, at, retry_after_s=wait_s)
        else:
            self._planner.was_not_read(email, at)
        if is_own:
            self._health.room_failed(email, str(error), at, self._source.read_cost, self._planner.detector(email),
                                     is_certain=isinstance(error, RoomError))
        if not (is_own and isinstance(error, ThrottledError)):
            self._note(error, email)

    def _answered(self) -> None:
        """The system answered; where it had been away the rooms are read anew."""
        at = self._time()
        if self._health.answered_at is None:
            self._reported_at = float("-inf")  # the first answer is news
        away_s = at - (self._health.answered_at or self._started_at)
        self._health.answered(at)
        self._error = ""
        if self._gate.answered(at):
            self._log.info("{integration} answers again", integration=self._name)
            self._planner.hurry()
            if away_s >= OUTAGE_S:
                self._planner.owe(self._rooms)

    def _note(self, error: SourceError, email: str = "") -> None:
        """What an error says of the integration as a whole."""
        at = self._time()
        before = self._gate.access
        if isinstance(error, RoomError) or (isinstance(error, ThrottledError) and error.room):
            self._gate.answered(at)
            return
        if not self._is_running:
            return
        self._error = str(error)
        if isinstance(error, ThrottledError):
            self._gate.throttled(at, error.retry_after.total_seconds(), email)
        elif isinstance(error, UnauthorizedError):
            self._gate.refused(at, is_looked_for=error.is_looked_for)
        elif isinstance(error, BudgetSpentError):
            self._spent_until = at + SPENT_PAUSE_S
        else:
            self._gate.failed(at)
        if self._gate.access is not before:
            self._log.warn("{integration} is {access}: {error}", integration=self._name,
                           access=self._gate.access.value, error=self._error)
            self._reported_at = float("-inf")

    # telling

    def _report(self, at: float) -> None:
        if at - self._reported_at < REPORT_EVERY_S or not self._is_running:
            return
        self._reported_at = at
        sweep_s = self._planner.sweep_interval_s(at)
        if at - self._checked_at >= CHECK_EVERY_S:
            self._checked_at = at
            self._check_rooms(at)
        self._check_answers(at, sweep_s)
        self._health.report(self._gate.access, self._trouble(at))
        self._board.integration_planned(
            self._name, quota_24h=self._budget.quota, sweep_interval_s=round(sweep_s, 1),
            content_interval_s=round(self._planner.content_interval_s(at), 1))
        self._report_quota(at)

    def _is_spent(self, at: float) -> bool:
        return at < self._spent_until or self._planner.is_starved(self._budget.left())

    def _trouble(self, at: float) -> str:
        """What is wrong with the integration as a whole, empty where nothing is."""
        if self._gate.access is Access.OPEN:
            return SPENT if self._is_spent(at) else self._sweep_error
        return self._error

    def _check_answers(self, at: float, sweep_s: float) -> None:
        """Rooms are stale when the system was silent for three intervals; those never read at once."""
        trouble = self._trouble(at)
        if self._gate.is_probing or self._is_spent(at):
            self._health.mark_stale(self._health.unknown(), trouble)
        silent_s = at - (self._health.answered_at or self._started_at)
        if silent_s > min(max(SHORTEST_STALE_S, MISSED * sweep_s), LONGEST_SILENCE_S):
            self._health.mark_stale(self._rooms, trouble or f"No answer for {silent_s:.0f} seconds")

    def _check_rooms(self, at: float) -> None:
        """Look for rooms that were not read for too long."""
        late, short = self._planner.overdue(at, self._now().timestamp(), PROMISED_READ_S + CHECK_EVERY_S)
        self._health.mark_stale(late, self._trouble(at) or "It was not read for three intervals")
        if not short or self._gate.access is not Access.OPEN:
            self._short_since = None
        elif self._short_since is None:
            self._short_since = at

    def _report_quota(self, at: float) -> None:
        """Raise the alarm of a quota that is spent, or too small for what is soon; lower it when it suffices."""
        left = self._budget.left()
        details = ""
        if self._is_spent(at):
            details = f"{SPENT} ({left.used} of {left.quota} were sent)"
        elif self._short_since is not None and at - self._short_since >= PROMISED_READ_S:
            details = (f"{left.quota} requests in 24 hours are too few for {len(self._rooms)} rooms: some with a"
                       f" meeting in the next two hours are not read every 10 minutes. {RAISE}")
        if details:
            self._board.raise_alarm(AlarmName.QUOTA_EXCEEDED, self._name, details)
        elif left.used < left.quota * SUFFICES and self._short_since is None:
            self._board.lower_alarm(AlarmName.QUOTA_EXCEEDED, self._name)

    def _broke(self, _error: Exception, attempt: int, delay_s: float) -> None:
        """A bug, since `_look` expects what can go wrong; the poller calls this while it handles the error."""
        self._log.failure("Planning for {integration} failed, next attempt in {delay_s} s",
                          integration=self._name, attempt=attempt, delay_s=delay_s)
