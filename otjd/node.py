"""Node: the parts of the service put together, started, stopped and configured anew."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Coroutine, Iterable
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from otjd import wiring
from otjd.config.loader import Loaded
from otjd.config.model import Config
from otjd.config.problems import Problem
from otjd.gather.intake import Intake
from otjd.gather.last_known import LastKnown
from otjd.gathering import Gathering
from otjd.listeners import Listeners
from otjd.meetings.cache import MeetingCache
from otjd.operate.board import AlarmName, StatusBoard
from otjd.operate.status_file import StatusFile
from otjd.operate.supervision import Supervisor
from otjd.poller import Poller
from otjd.push.pusher import CiscoPusher
from otjd.seam import deferred
from otjd.serve.renewal import Renewal

STOP_WITHIN_S = 3.0
"""Each part has this long to finish what it is doing when the node stops, of the five seconds for all."""

ADVANCE_S = 60.0
"""How often the windows of the agendas move on."""


def utc_now() -> datetime:
    """The aware UTC time."""
    return datetime.now(UTC)


class Node:
    """One running otjd. `listen` opens the listeners, `start` everything behind them."""

    _log = Logger()

    def __init__(self, config: Config, reactor: Any, now: Callable[[], datetime] = utc_now) -> None:
        self._reactor = reactor
        self._now = now
        self.board = StatusBoard(now)
        self.cache = MeetingCache()
        self._intake = Intake(self.cache, now=now, in_thread=self._in_thread, rule_failed=self.board.rule_failed)
        self._last_known = LastKnown(config.node.state_dir, in_thread=self._in_thread)
        self._gathering = Gathering(reactor, self.cache, self.board, self._intake, self._last_known, now=now,
                                    in_thread=self._in_thread)
        self._pusher = CiscoPusher(self.cache, self.board, clock=reactor, now=now, jitter=random.random)
        self._advancing = Poller(self._advance, clock=reactor, interval_s=ADVANCE_S, jitter=random.random,
                                 failed=self._advance_failed)
        self.listeners = Listeners(config, reactor, self.cache, self.board, now=now, ready=self.is_ready,
                                   random_bytes=secrets.token_bytes)
        self._supervisor = Supervisor(self.board, clock=reactor, now=now,
                                      certificates=self.listeners.certificate_ends)
        self._renewal = Renewal(self.listeners.contexts, self.board, clock=reactor, in_thread=self._in_thread,
                                renewed=self._supervisor.check)
        self._status_file: StatusFile | None = None
        self._started = False
        self._turn = DeferredLock()
        self._configure(config)

    @property
    def calendar_port(self) -> int:
        """The port of the first listener of the calendar service."""
        return self.listeners.calendar_port

    @property
    def operator_port(self) -> int:
        """The port of the operator's addresses."""
        return self.listeners.operator_port

    def warn(self, warnings: Iterable[Problem]) -> None:
        """Log what the configuration's reader, and the features of this version, have to say of it."""
        for warning in warnings:
            self._log.warn("Configuration: {warning}", warning=str(warning))
        for notice in wiring.notices(self._config):
            self._log.warn("Configuration: {warning}", warning=notice)

    def is_ready(self) -> bool:
        """Whether every room can be answered for: read, restored from disk, or known to be unreadable."""
        return self._started and all(
            agenda.read_at is not None or self._intake.has_heard_of(agenda.room)
            for agenda in self.cache.agendas())

    def listen(self) -> None:
        """Open the listeners.

        :raises CannotOpenError: a port cannot be opened; the message names it.
        """
        self.listeners.open()

    async def start(self) -> None:
        """Show what was known before, then read the calendars and serve the endpoints."""
        await self._turn.run(lambda: deferred(self._start()))

    async def _start(self) -> None:
        with_text = wiring.rooms_with_text(self._config)
        for room, read_at, meetings in await self._last_known.load():
            kept = meetings if room in with_text else [m.without_text() for m in meetings]
            self.cache.restore(room, kept, read_at, self._now())
        self._last_known.forget_all_but(self.cache.rooms())
        self._started = True
        await self._gathering.start()
        self._pusher.start()
        self._supervisor.start()
        self._renewal.start()
        self._advancing.start(ADVANCE_S)
        if self._status_file is not None:
            self._status_file.start()
        self._log.info("{node} serves {endpoints} endpoints in {rooms} rooms", node=self._config.node.name,
                       endpoints=len(self.board.endpoints()), rooms=len(self.cache.rooms()))

    async def stop(self) -> None:
        """Stop everything; what was read is on disk afterwards."""
        self._started = False
        await self._within_limit(self.listeners.close())
        await self._within_limit(self._pusher.stop())
        await self._within_limit(self._gathering.stop())
        await self._supervisor.stop()
        await self._within_limit(self._renewal.stop())
        await self._advancing.stop()
        if self._status_file is not None:
            await self._status_file.stop()
        await self._last_known.close()

    async def reload(self, loaded: Loaded, log_anew: Callable[[Config], None]) -> None:
        """Let a valid configuration take over; an invalid one changes nothing and raises an alarm.

        `log_anew` sets up the log that the configuration asks for, and may raise OSError. One that comes during
        another, or during the start, waits its turn: it must find what that one started, so as to end it.
        """
        await self._turn.run(lambda: deferred(self._reload(loaded, log_anew)))

    async def _reload(self, loaded: Loaded, log_anew: Callable[[Config], None]) -> None:
        if not self._started:
            return  # it is being stopped
        name = self._config.node.name
        if loaded.config is None:
            problems = [str(p) for p in loaded.problems]
        else:
            problems = wiring.rule_problems(loaded.config)
            try:
                if not problems:
                    log_anew(loaded.config)
            except OSError as error:
                problems.append(f"log.file {loaded.config.log.file}: {error}")
        if loaded.config is None or problems:
            details = f"The configuration was not reloaded, the old one stays: {'; '.join(problems)}"
            self._log.warn("{details}", details=details)
            self.board.raise_alarm(AlarmName.CONFIGURATION, name, details)
            return
        refused = await self._take_over(loaded.config)
        if not refused or loaded.config.node.name != name:
            self.board.lower_alarm(AlarmName.CONFIGURATION, name)
        if refused:
            details = f"The ports of before stay open, the rest was reloaded: {'; '.join(refused)}"
            self._log.warn("{details}", details=details)
            self.board.raise_alarm(AlarmName.CONFIGURATION, loaded.config.node.name, details)
        self.warn(loaded.warnings)
        self._log.info("Configuration reloaded")

    async def _take_over(self, config: Config) -> list[str]:
        """Let every part go over to a configuration; gives what could not be done."""
        if config.node.state_dir != self._config.node.state_dir:
            self._log.warn("node.state_dir is used from the next start on")
        if self._status_file is not None:
            await self._status_file.stop()
        read_anew = wiring.what_meetings_are_made_by(config) != wiring.what_meetings_are_made_by(self._config)
        await self._gathering.leave(config)
        if not self._started:
            return []  # it is being stopped
        self._configure(config)
        self._last_known.forget_all_but(self.cache.rooms())
        await self._gathering.go_on(read_anew=read_anew)
        if self._status_file is not None:
            self._status_file.start()
        refused = await self.listeners.reconfigure(config)
        self._supervisor.check()
        return refused

    def _configure(self, config: Config) -> None:
        self._config = config
        self.cache.configure(wiring.rooms(config))
        self.board.configure(wiring.endpoint_facts(config), wiring.integrations(config))
        self._intake.configure(wiring.profile_rules(config), wiring.rooms_with_text(config))
        self._pusher.configure(wiring.cisco_endpoints(config))
        self._gathering.configure(config)
        self.listeners.take_notices(self._gathering.notices())
        self._status_file = None
        if config.operator.status_file is not None:
            self._status_file = StatusFile(config.operator.status_file, self.listeners.snapshot,
                                           clock=self._reactor, in_thread=self._in_thread)

    def _in_thread(self, job: Callable[..., Any], *arguments: Any, **keywords: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), job, *arguments, **keywords)

    async def _within_limit(self, job: Coroutine[Deferred[Any], Any, None]) -> None:
        try:
            await deferred(job).addTimeout(STOP_WITHIN_S, self._reactor)
        except DeferredTimeoutError:
            self._log.warn("A part did not stop within {limit_s} s and is left behind", limit_s=STOP_WITHIN_S)

    async def _advance(self) -> None:
        self.cache.advance(self._now())

    def _advance_failed(self, error: Exception, _attempt: int, delay_s: float) -> None:
        self._log.error("The windows of the agendas did not move on: {error}", error=error, delay_s=delay_s)
