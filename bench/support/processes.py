"""Processes that a benchmark starts, and what they use."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineOnlyReceiver

ROOT = Path(__file__).parent.parent.parent
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Processor time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_mb(pid: int) -> float:
    """Memory that a process holds."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


@dataclass(frozen=True, slots=True)
class Helper:
    """A module that runs as a process of its own and talks in lines."""

    process: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        return self.process.pid

    def say(self, line: str) -> None:
        """Tell it something."""
        assert self.process.stdin is not None
        print(line, file=self.process.stdin, flush=True)

    def line(self) -> str:
        """The next line that it says.

        :raises SystemExit: it has ended.
        """
        assert self.process.stdout is not None
        found = self.process.stdout.readline()
        if not found:
            raise SystemExit(f"{self.process.args!r} has ended with status {self.process.wait()}")
        return found.rstrip("\n")


@contextmanager
def helper(module: str, *arguments: object) -> Iterator[Helper]:
    """Run a module until the end of the block: its standard input ends, which ends it."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        try:
            yield Helper(process)
        finally:
            process.stdin.close()


class Parent(LineOnlyReceiver):
    """The process that started this one: what it tells is handed on, and its end is the end of this one.

    Standard output does not block from then on: it must not be printed to, but told by `say`.
    """

    delimiter = b"\n"

    def __init__(self, reactor: Any, hear: Callable[[Parent, str], None]) -> None:
        self._reactor = reactor
        self._hear = hear

    def say(self, line: str) -> None:
        """Tell it something."""
        self.sendLine(line.encode())  # type: ignore[no-untyped-call]

    def lineReceived(self, line: bytes) -> None:
        """One line."""
        self._hear(self, line.decode())

    def connectionLost(self, reason: Any = None) -> None:  # noqa: ARG002
        """The benchmark is done."""
        if self._reactor.running:
            self._reactor.stop()


def listen_to_parent(reactor: Any, hear: Callable[[Parent, str], None] = lambda _parent, _line: None) -> Parent:
    """Call `hear` with each line of standard input; its end stops the reactor."""
    parent = Parent(reactor, hear)
    StandardIO(parent)  # type: ignore[no-untyped-call]
    return parent
