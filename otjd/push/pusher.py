"""CiscoPusher: all Cisco endpoints of this node, each pushed to on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IAgent

from otjd.meetings.cache import Difference, MeetingCache
from otjd.meetings.model import Room
from otjd.operate.board import StatusBoard
from otjd.push.cisco import CiscoEndpoint, CodecClient
from otjd.push.endpoint_pusher import EndpointPusher
from otjd.push.transport import codec_agent
from otjd.push.turns import Turns
from otjd.seam import deferred

AgentFor = Callable[[CiscoEndpoint], IAgent]

START_SPACING_S = 0.02
"""Between the starts of two endpoints."""


class CiscoPusher:
    """Sends every endpoint the list of its room: when the room changed, once an hour, and after failures.

    Every endpoint has its own loop, so that a slow or dead one delays no other; `limit` bounds how many are spoken
    to at once. `clock` is the reactor unless `agent_for` gives the agents; `now` gives the aware UTC time and
    `jitter` numbers in [0, 1).
    """

    def __init__(self, cache: MeetingCache, board: StatusBoard, *, clock: IReactorTime,
                 now: Callable[[], datetime], jitter: Callable[[], float], agent_for: AgentFor | None = None,
                 limit: int = 64) -> None:
        self._cache = cache
        self._board = board
        self._clock = clock
        self._now = now
        self._jitter = jitter
        self._agent_for = agent_for or self._own_agent
        self._turns = Turns(limit, clock)
        self._pushers: dict[str, EndpointPusher] = {}
        self._names_by_room: dict[Room, list[str]] = {}
        self._ending: set[Deferred[None]] = set()
        self._unsubscribe: Callable[[], None] | None = None

    def configure(self, endpoints: Iterable[CiscoEndpoint]) -> None:
        """Push to exactly these endpoints.

        One that did not change goes on as it was, also in a wait after a refused login; one that changed starts
        anew as soon as its old loop has ended.
        """
        wanted = {e.name: e for e in endpoints}
        ended: dict[str, Deferred[None]] = {}
        for name, pusher in tuple(self._pushers.items()):
            if wanted.get(name) != pusher.endpoint:
                ended[name] = self._end(self._pushers.pop(name))
        self._names_by_room = {}
        for endpoint in wanted.values():
            self._names_by_room.setdefault(endpoint.room, []).append(endpoint.name)
        new = [e for e in wanted.values() if e.name not in self._pushers]
        for place, endpoint in enumerate(new):
            pusher = self._pushers[endpoint.name] = self._pusher(endpoint)
            if self._unsubscribe is None:
                continue
            if endpoint.name in ended:
                ended[endpoint.name].addCallback(partial(_start, pusher))
            else:
                pusher.start(place * START_SPACING_S)

    def start(self) -> None:
        """Begin to push, and follow the changes of the rooms."""
        self._unsubscribe = self._cache.subscribe(self._changed)
        for place, pusher in enumerate(self._pushers.values()):
            pusher.start(place * START_SPACING_S)

    async def stop(self) -> None:
        """End at once, dropping requests in progress: after the next start everything is sent anew."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        for pusher in self._pushers.values():
            self._end(pusher)
        self._pushers = {}
        for ending in tuple(self._ending):
            done: Deferred[None] = Deferred()
            ending.addBoth(done.callback)
            await done

    def _changed(self, difference: Difference) -> None:
        for name in self._names_by_room.get(difference.agenda.room, ()):
            if name in self._pushers:
                self._pushers[name].trigger()

    def _end(self, pusher: EndpointPusher) -> Deferred[None]:
        ending = deferred(pusher.stop())
        self._ending.add(ending)

        def ended(result: None) -> None:
            self._ending.discard(ending)
            return result

        return ending.addBoth(ended)

    def _pusher(self, endpoint: CiscoEndpoint) -> EndpointPusher:
        client = CodecClient(endpoint, self._agent_for(endpoint), self._clock)
        return EndpointPusher(endpoint, client, self._cache, self._board, clock=self._clock, now=self._now,
                              jitter=self._jitter, turns=self._turns)

    def _own_agent(self, endpoint: CiscoEndpoint) -> IAgent:
        return codec_agent(self._clock, endpoint.host, verify=endpoint.verify, proxy_url=endpoint.proxy_url)


def _start(pusher: EndpointPusher, _: None) -> None:
    pusher.start()
