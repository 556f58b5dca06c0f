"""EndpointPusher: keeps the list of one Cisco endpoint what its room's agenda says."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from otjd.meetings.cache import Agenda, Freshness, MeetingCache
from otjd.operate.board import StatusBoard
from otjd.poller import Backoff, Poller
from otjd.protocol.cisco_bookings import Booking, bookings_of, expressible
from otjd.protocol.cisco_versions import SoftwareVersion, Writer, features_of
from otjd.push.cisco import (
    VERSION_PATHS,
    BusyError,
    CiscoEndpoint,
    CodecClient,
    MissingCommandError,
    NotAuthorizedError,
    PushError,
    RefusedError,
)
from otjd.push.converge import REPUSH_S, Known, Step, next_step, rest_s
from otjd.push.turns import Turns
from otjd.seam import deferred

T = TypeVar("T")

SPACING_S = 1.1
"""Between an answer and the next request: with Basic authentication endpoints work off one a second."""

LOCKED_OUT_S = 3600.0
"""How long nothing is tried after a refused login: some firmware locks a user after five of them."""

BUSY = Backoff(first_s=30.0, limit_s=300.0)
"""How long a busy endpoint is left alone that does not say for how long."""

NON_200 = "Non-200 status code returned when trying to upload OBTP bookings to endpoint"


class EndpointPusher:
    """Pushes when the agenda changed and once an hour; one request at a time, with room between them."""

    _log = Logger()

    def __init__(self, endpoint: CiscoEndpoint, client: CodecClient, cache: MeetingCache, board: StatusBoard, *,
                 clock: IReactorTime, now: Callable[[], datetime], jitter: Callable[[], float],
                 turns: Turns) -> None:
        self.endpoint = endpoint
        self._client = client
        self._cache = cache
        self._board = board
        self._clock = clock
        self._now = now
        self._jitter = jitter
        self._turns = turns
        self._known = Known()
        self._sent: tuple[Booking, ...] = ()
        self._repush_s = REPUSH_S
        self._last_answer_s: float | None = None
        self._quiet_until_s = 0.0
        self._busy_in_a_row = 0
        self._stopped = False
        self._work: Deferred[float] | None = None
        self._poller = Poller(self._run, clock=clock, interval_s=REPUSH_S, jitter=jitter, failed=self._failed)

    def start(self, delay_s: float = 0.0) -> None:
        """Begin, after `delay_s`; one that was stopped stays so."""
        if not self._stopped:
            self._poller.start(delay_s)

    def trigger(self) -> None:
        """The agenda changed."""
        self._poller.trigger()

    async def stop(self) -> None:
        """End at once; a request in progress is dropped, and its outcome does not count."""
        self._stopped = True
        if self._work is not None:
            self._work.cancel()
        await self._poller.stop()

    async def _run(self) -> float:
        if (quiet_s := self._quiet_until_s - self._clock.seconds()) > 0:
            return quiet_s
        self._work = deferred(self._converge())
        try:
            return await self._work
        except Exception as error:
            if self._stopped:
                return REPUSH_S
            self._known = self._known.doubted()
            if isinstance(error, NotAuthorizedError):
                return self._keep_quiet(error, LOCKED_OUT_S, 1)
            if isinstance(error, BusyError):
                self._busy_in_a_row += 1
                wait_s = BUSY.delay_s(self._busy_in_a_row, self._jitter())
                if error.retry_after_s is not None:
                    wait_s = max(error.retry_after_s, SPACING_S)
                return self._keep_quiet(error, wait_s, self._busy_in_a_row)
            raise
        finally:
            self._work = None

    def _keep_quiet(self, error: PushError, wait_s: float, attempt: int) -> float:
        self._quiet_until_s = self._clock.seconds() + wait_s
        self._failed(error, attempt, wait_s)
        return wait_s

    async def _converge(self) -> float:
        """Take step after step until there is nothing to do; gives the seconds until there may be."""
        while True:
            agenda = self._agenda()
            step = next_step(agenda.revision if agenda else None, self._known, self._clock.seconds(),
                             repush_s=self._repush_s)
            if agenda is None or step is Step.REST:
                return rest_s(self._known, self._clock.seconds(), repush_s=self._repush_s)
            if await self._waited():
                continue  # the agenda may have changed meanwhile
            if step is Step.ASK_VERSION:
                await self._ask_version()
            elif step is Step.PUT:
                await self._put(agenda)
            else:
                await self._verify()

    def _agenda(self) -> Agenda | None:
        """The agenda of the room; None while it was never read: that is not an empty room."""
        room = self.endpoint.room
        if room not in self._cache:
            return None
        agenda = self._cache.agenda(room)
        return None if agenda.freshness is Freshness.NEVER_READ else agenda

    async def _ask_version(self) -> None:
        version: SoftwareVersion | None = None
        for path in VERSION_PATHS:
            await self._waited()
            version = await self._request(partial(self._client.version, path))
            if version is not None:
                break
        else:
            self._log.info("{endpoint} tells no software version that is known: Bookings Put is tried first",
                           endpoint=self.endpoint.name)
        self._known = self._known.answered(version, self._clock.seconds())

    async def _put(self, agenda: Agenda) -> None:
        now = self._now()
        bookings = bookings_of(agenda.meetings, now=now, start_buffer=self.endpoint.start_buffer,
                               end_buffer=self.endpoint.end_buffer)
        writer = self._known.writer
        features = features_of(self._known.version)
        if writer is Writer.XML:
            self._sent = bookings
            await self._request(partial(self._client.put_xml, bookings))
        else:
            self._sent = expressible(bookings, features)
            try:
                await self._request(partial(self._client.put_json, bookings, features, now))
            except MissingCommandError as error:
                if writer is not Writer.PUT_ELSE_XML:
                    raise
                self._log.info("{endpoint} has no Bookings Put ({reason}): bookingsputxml is used",
                               endpoint=self.endpoint.name, reason=str(error))
                self._known = self._known.lacks_put()
                return
        self._repush_s = REPUSH_S * (1 - self._jitter() / 20)  # what was pushed together drifts apart
        self._known = self._known.took(agenda.revision, self._clock.seconds(), verified=writer is not Writer.XML)
        if writer is not Writer.XML:
            self._succeeded(Writer.PUT)

    async def _verify(self) -> None:
        """The private XML is answered with 200 whatever became of it; the endpoint's list tells."""
        sent = self._sent
        try:
            differences = await self._request(partial(self._client.differences, sent))
        except MissingCommandError as error:
            self._log.info("{endpoint} does not list its bookings ({reason}): its word is taken for them",
                           endpoint=self.endpoint.name, reason=str(error))
            differences = ""
        if differences and not sent:
            await self._waited()
            await self._request(self._client.clear)
        elif differences:
            raise RefusedError(f"the endpoint took the list, but holds another one: {differences}", 200)
        self._known = self._known.confirmed()
        self._succeeded(Writer.XML)

    def _succeeded(self, writer: Writer) -> None:
        self._busy_in_a_row = 0
        self._board.endpoint_contacted(self.endpoint.name, address=self.endpoint.host, meetings=len(self._sent),
                                       operation=writer.value)
        self._log.info("{endpoint} took {meetings} meetings by {operation}", endpoint=self.endpoint.name,
                       room=self.endpoint.room.email, meetings=len(self._sent), operation=writer.value)

    async def _request(self, ask: Callable[[], Coroutine[Deferred[Any], Any, T]]) -> T:
        try:
            return await self._turns.run(ask)
        finally:
            self._last_answer_s = self._clock.seconds()

    async def _waited(self) -> bool:
        """Keep the distance to the last request; whether that took any time."""
        if self._last_answer_s is None:
            return False
        wait_s = self._last_answer_s + SPACING_S - self._clock.seconds()
        if wait_s <= 0:
            return False
        await deferLater(self._clock, wait_s)
        return True

    def _failed(self, error: Exception, attempt: int, delay_s: float) -> None:
        name = self.endpoint.name
        if not isinstance(error, PushError):
            self._known = self._known.doubted()
            fault = Failure(error)  # type: ignore[no-untyped-call]
            self._log.failure("The push to {endpoint} failed by a fault of otjd", failure=fault, endpoint=name,
                              attempt=attempt, delay_s=round(delay_s))
            self._board.endpoint_failed(name, f"A fault of otjd: {type(error).__name__}")
            return
        reason = f"{error}; next attempt in {_words(delay_s)}"
        if isinstance(error, NotAuthorizedError):
            reason += " or when the configuration changes: some firmware locks a user after 5 failed logins"
        if error.status is None or error.status == 200:
            self._log.warn("The bookings could not be uploaded to endpoint {endpoint}: {reason}", endpoint=name,
                           reason=reason, attempt=attempt, delay_s=round(delay_s))
            self._board.endpoint_failed(name, f"The bookings could not be uploaded: {reason}")
        else:
            self._log.warn(NON_200 + ' StatusCode="{status_code}" endpoint="{endpoint}": {reason}',
                           status_code=error.status, endpoint=name, reason=reason, attempt=attempt,
                           delay_s=round(delay_s))
            self._board.endpoint_failed(name, f'{NON_200} StatusCode="{error.status}": {reason}')


def _words(delay_s: float) -> str:
    return f"{delay_s:.0f} seconds" if delay_s < 120 else f"{delay_s / 60:.0f} minutes"
