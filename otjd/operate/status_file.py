"""StatusFile: `status.json` as a file, for monitoring that reads files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from otjd.operate.status import Snapshot, encode, status_document
from otjd.operate.threads import InThread
from otjd.poller import Poller

INTERVAL_S = 10.0
MODE = 0o644


class StatusFile:
    """Writes `path` every 10 seconds in a thread, whole or not at all; the last one stays when stopped.

    `last_error` says why the last try failed; None where it went well.
    """

    _log = Logger()

    def __init__(self, path: Path, snapshot: Callable[[], Snapshot], *, clock: IReactorTime,
                 in_thread: InThread) -> None:
        self._path = path.absolute()
        self._snapshot = snapshot
        self._in_thread = in_thread
        self._poller = Poller(self._run, clock=clock, interval_s=INTERVAL_S, jitter=lambda: 0.0,
                              failed=self._failed)
        self.last_error: str | None = None

    def start(self) -> None:
        """Write now and from now on."""
        self._poller.start()

    async def stop(self) -> None:
        """Write no more; a file being written is finished first."""
        await self._poller.stop()

    async def _run(self) -> None:
        snapshot = self._snapshot()
        try:
            await self._in_thread(lambda: write_atomically(self._path, encode(status_document(snapshot))))
        except OSError as error:
            if self.last_error is None:  # said once, not every ten seconds
                self._log.error("The status file {path} cannot be written: {error}. Check [operator] status_file "
                                "and that the service may write to its folder", path=str(self._path), error=error)
            self.last_error = str(error)
        else:
            if self.last_error is not None:
                self._log.info("The status file {path} is written again", path=str(self._path))
            self.last_error = None

    def _failed(self, error: Exception, attempt: int, delay_s: float) -> None:
        self.last_error = str(error)
        self._log.error("The status file could not be made, next try in {delay_s} s: {error}", error=error,
                        attempt=attempt, delay_s=delay_s)


def write_atomically(path: Path, content: bytes) -> None:
    """Put `content` in the place of `path`: a reader finds the old file or the new one, never a part.

    It is not forced to the disk: after a power cut a new one is written anyway.

    :raises OSError: that is not possible; the old file stays.
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        number = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)
        with os.fdopen(number, "wb") as file:
            os.fchmod(number, MODE)  # whatever the umask
            file.write(content)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
