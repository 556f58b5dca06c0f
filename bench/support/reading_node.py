"""A node that reads a calendar system, in a process of its own, for bench/freshness.py.

    python -m bench.support.reading_node DIRECTORY

It runs DIRECTORY/otjd.toml and prints how many seconds it took until all rooms were read. From then on it notes
what meetings show, and when. Told anything, it prints that as a line of JSON, with the state of the integration.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.task import LoopingCall
from twisted.logger import globalLogBeginner

from bench.support.processes import Parent, listen_to_parent
from otjd.config.loader import load
from otjd.meetings.cache import Difference
from otjd.node import Node
from otjd.operate.board import AlarmName
from otjd.operate.logs import LogOutput
from otjd.seam import deferred

LOOK_EVERY_S = 0.5


class Reading:
    """Notes when a text was first shown, and when a meeting vanished."""

    def __init__(self, directory: Path) -> None:
        loaded = load(directory / "otjd.toml", environ={})
        if loaded.config is None:
            raise SystemExit("\n".join(map(str, loaded.problems)))
        globalLogBeginner.beginLoggingTo(
            [LogOutput(level=loaded.config.log.level, path=loaded.config.log.file)], redirectStandardIO=False)
        self.shown: dict[str, float] = {}
        self.vanished: dict[str, float] = {}
        self._began = time.time()
        self._node = Node(loaded.config, installed_reactor)
        self._node.cache.subscribe(self._note)
        self._looking = LoopingCall(self.look)

    def begin(self) -> None:
        """Listen and read."""
        reactor: Any = installed_reactor
        self._node.listen()
        self._began = time.time()
        self._looking.a = (listen_to_parent(reactor, self.told),)
        self._looking.start(LOOK_EVERY_S)
        deferred(self._node.start())
        reactor.addSystemEventTrigger("before", "shutdown", lambda: deferred(self._node.stop()))

    def told(self, parent: Parent, _: str) -> None:
        """Say what was seen so far."""
        (state,) = self._node.board.integrations()
        alarms = Counter(str(alarm.name) for alarm in self._node.board.alarms()
                         if alarm.name is not AlarmName.POLY_ENDPOINT)  # there are no endpoints
        parent.say(json.dumps({
            "shown": self.shown, "vanished": self.vanished, "state": str(state.state),
            "sweep_interval_s": state.sweep_interval_s, "content_interval_s": state.content_interval_s,
            "used": state.requests_last_24h, "last_error": state.last_error, "alarms": alarms}))

    def look(self, parent: Parent) -> None:
        """Say it when all rooms were read."""
        if all(agenda.read_at is not None for agenda in self._node.cache.agendas()):
            self._looking.stop()
            parent.say(str(time.time() - self._began))

    def _note(self, difference: Difference) -> None:
        if self._looking.running:
            return
        now = time.time()
        for meeting in (*difference.added, *difference.changed):
            for text in (meeting.subject, meeting.alias or ""):
                if text.lower().startswith("change"):
                    self.shown.setdefault(text, now)
        for meeting in difference.removed:
            self.vanished.setdefault(meeting.subject, now)


def main() -> None:
    Reading(Path(sys.argv[1])).begin()
    reactor: Any = installed_reactor
    reactor.run()


if __name__ == "__main__":
    main()
