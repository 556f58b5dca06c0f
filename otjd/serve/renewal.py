"""Renewal: certificates are used soon after their files change, and no connection is dropped for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from otjd.operate.board import AlarmName, StatusBoard
from otjd.poller import Poller
from otjd.serve.tls import CertificateError, ReloadingContextFactory, Stamp

CHECK_S = 10.0
PATIENCE = 3
"""So many readings in a row may fail while certificate and key are being replaced."""


@dataclass(slots=True)
class _Change:
    """Files that differ from those in use, since when they look so, and how often they could not be read."""

    stamp: Stamp
    failures: int = 0


class Renewal:
    """Looks every 10 seconds at the files of every listener, and reads those that changed and settled.

    `contexts` gives each listener's name with what its connections are made of, `renewed` is called after one took
    new files. What cannot be read is tried again; `otj_configuration_error` tells when it stays so.
    """

    _log = Logger()

    def __init__(self, contexts: Callable[[], Iterable[tuple[str, ReloadingContextFactory]]],
                 board: StatusBoard, *, clock: IReactorTime, in_thread: Callable[..., Deferred[Any]],
                 renewed: Callable[[], None]) -> None:
        self._contexts = contexts
        self._board = board
        self._in_thread = in_thread
        self._renewed = renewed
        self._changes: dict[str, _Change] = {}
        self._alarmed: set[str] = set()
        self._poller = Poller(self._check, clock=clock, interval_s=CHECK_S, jitter=lambda: 0.0,
                              failed=self._failed)

    def start(self) -> None:
        """Look from now on."""
        self._poller.start(CHECK_S)

    async def stop(self) -> None:
        """Look no more."""
        await self._poller.stop()

    async def _check(self) -> None:
        contexts = dict(self._contexts())
        for name in self._alarmed - contexts.keys():
            self._calm(name)
        for name, context in contexts.items():
            await self._look(name, context)

    async def _look(self, name: str, context: ReloadingContextFactory) -> None:
        stamp = await self._in_thread(context.stamp_now)
        if stamp == context.stamp:
            self._calm(name)
            return
        change = self._changes.get(name)
        if change is None or change.stamp != stamp:
            self._changes[name] = _Change(stamp)  # perhaps still being written
            return
        try:
            readings = await self._in_thread(context.read)
        except CertificateError as error:
            change.failures += 1
            if change.failures == PATIENCE:
                self._complain(name, str(error))
            return
        if readings.stamp == stamp:
            context.use(readings)
            self._log.info("The certificate of {listener} was renewed; it ends at {end}", listener=name,
                           end=f"{readings.end:%Y-%m-%dT%H:%M:%SZ}")
            self._calm(name)
            self._renewed()

    def _complain(self, name: str, error: str) -> None:
        details = f"The new certificate of {name} is not used, the old one stays: {error}"
        self._log.warn("{details}", details=details)
        self._alarmed.add(name)
        self._board.raise_alarm(AlarmName.CONFIGURATION, name, details)

    def _calm(self, name: str) -> None:
        self._changes.pop(name, None)
        if name in self._alarmed:
            self._alarmed.remove(name)
            self._board.lower_alarm(AlarmName.CONFIGURATION, name)

    def _failed(self, error: Exception, attempt: int, delay_s: float) -> None:
        self._log.error("Certificates could not be looked at, next try in {delay_s} s: {error}", error=error,
                        attempt=attempt, delay_s=delay_s)
