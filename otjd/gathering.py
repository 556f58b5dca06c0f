"""Gathering: the gatherers of a node, one for each integration, and what they hand to the intake."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import gatherResults

from otjd import wiring
from otjd.config.model import Config, FileIntegration, Integration
from otjd.gather.budget import Budget
from otjd.gather.calendar_gatherer import CalendarGatherer
from otjd.gather.files import FileGatherer
from otjd.gather.intake import Intake
from otjd.gather.last_known import LastKnown
from otjd.gather.source import Occurrence
from otjd.gather.state_files import state_file_name
from otjd.meetings.cache import MeetingCache
from otjd.meetings.model import Invitation
from otjd.operate.board import StatusBoard
from otjd.seam import InThread, deferred
from otjd.serve.calls import NoticeService
from otjd.sources import CalendarSystem, Surroundings, calendar_system


class Gatherer(Protocol):
    """What keeps the rooms of one integration up to date."""

    def configure(self, rooms: Mapping[str, timedelta]) -> None:
        """Read exactly these rooms, by address; each with how far ahead."""
        ...

    def refresh(self) -> None:
        """Hand over every calendar anew."""
        ...

    def start(self) -> None:
        """Read from now on."""
        ...

    async def stop(self) -> None:
        """End."""
        ...


@dataclass(slots=True)
class _Running:
    """A gatherer and what it needs around it; files need nothing."""

    gatherer: Gatherer
    system: CalendarSystem | None = None
    budget: Budget | None = None
    is_started: bool = False

    async def start(self) -> None:
        self.is_started = True
        if self.budget is not None:
            await self.budget.load()
        self.gatherer.start()

    async def stop(self) -> None:
        await self.gatherer.stop()
        if self.budget is not None:
            await self.budget.close()
        if self.system is not None:
            await self.system.close()


class Gathering:
    """Keeps a gatherer for each integration of the configuration."""

    def __init__(self, reactor: Any, cache: MeetingCache, board: StatusBoard, intake: Intake,
                 last_known: LastKnown, *, now: Callable[[], datetime], in_thread: InThread) -> None:
        self._reactor = reactor
        self._cache = cache
        self._board = board
        self._intake = intake
        self._last_known = last_known
        self._now = now
        self._in_thread = in_thread
        self._running: dict[object, _Running] = {}
        self._names: dict[str, _Running] = {}

    def notices(self) -> dict[str, NoticeService]:
        """What takes the notices of calendar systems, by integration."""
        return {name: running.system.notices for name, running in self._names.items()
                if running.system is not None and running.system.notices is not None}

    def configure(self, config: Config) -> None:
        """Have a gatherer for each integration; those that are as before stay as they are."""
        known = self._running
        self._running = {_identity(config, i): known.get(_identity(config, i)) or self._made(config, i)
                         for i in config.integrations}
        self._names = {i.name: self._running[_identity(config, i)] for i in config.integrations}
        for name, running in self._names.items():
            running.gatherer.configure(wiring.calendars(config, name))

    async def start(self) -> None:
        """Read all calendars from now on."""
        await self.go_on(read_anew=False)

    async def stop(self) -> None:
        """End everything, all at a time."""
        await gatherResults([deferred(running.stop()) for running in self._running.values()])

    async def leave(self, config: Config) -> None:
        """End what a configuration, which comes next, does not have.

        The alarms of its rooms are lowered: what takes its place does not know of them.
        """
        wanted = {_identity(config, i) for i in config.integrations}
        for key, running in tuple(self._running.items()):
            if key not in wanted:
                await running.stop()
                running.gatherer.configure({})

    async def go_on(self, *, read_anew: bool) -> None:
        """Start what is new; with `read_anew` the calendars of the others are handed over again."""
        for running in tuple(self._running.values()):
            if not running.is_started:
                await running.start()
            elif read_anew:
                running.gatherer.refresh()

    def _made(self, config: Config, integration: Integration) -> _Running:
        name = integration.name

        async def deliver(email: str, invitations: Sequence[Invitation],
                          unchanged: Collection[Occurrence] = ()) -> None:
            await self._intake.deliver(name, email, invitations, unchanged)
            for room in self._intake.rooms(name, email):
                self._last_known.keep(self._cache.agenda(room))

        def failed(email: str, error: str) -> None:
            self._intake.failed(name, email, error)

        if isinstance(integration, FileIntegration):
            return _Running(FileGatherer(
                name=name, directory=integration.directory, deliver=deliver, room_failed=failed, board=self._board,
                clock=self._reactor, now=self._now, in_thread=self._in_thread, jitter=random.random))
        quota = wiring.quota_of(integration)
        budget = Budget(name=name, quota=quota.day, per_minute=quota.minute, clock=self._reactor, now=self._now,
                        in_thread=self._in_thread, path=budget_file(config, name))
        system = calendar_system(config, integration, Surroundings(
            reactor=self._reactor, now=self._now, in_thread=self._in_thread, spend=budget.spend))
        gatherer = CalendarGatherer(
            name=name, source=system.source, deliver=deliver, room_failed=failed, board=self._board,
            upcoming=lambda email: self._intake.upcoming(name, email), clock=self._reactor, now=self._now,
            budget=budget, jitter=random.random)
        return _Running(gatherer, system, budget)


def _identity(config: Config, integration: Integration) -> object:
    """What a gatherer was made from: another one takes its place when this changes."""
    if isinstance(integration, FileIntegration):
        return integration
    return integration, config.web_proxy, config.node.state_key


def budget_file(config: Config, integration: str) -> Path:
    """Where the requests of an integration are counted over restarts."""
    return config.node.state_dir / f"budget-{state_file_name(integration)}"
