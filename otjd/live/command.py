"""Runs the checks, so many at a time, and prints what came of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from io import StringIO
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text
from twisted.internet.defer import CancelledError, Deferred, DeferredList, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from otjd import wiring
from otjd.config.model import Config
from otjd.listeners import places
from otjd.live.endpoints import check_cisco, contacts, listener_row, poly_row, webex_row
from otjd.live.integrations import KINDS, Looking, address_of, check_integration
from otjd.live.rows import Row, State
from otjd.meetings.model import EndpointType
from otjd.operate.escape import visible
from otjd.operate.tables import screen, table
from otjd.seam import deferred

_log = Logger()

AT_ONCE = 64
LIMIT_S = 30.0
"""For one row."""

MANY = 8
"""Rows from which on a progress bar is shown."""

LIMIT_HINT = "see whether a firewall drops what is sent there, or try again when it is less busy"


@dataclass(frozen=True, slots=True)
class Check:
    """One row in the making: what is known of it before, and what makes it."""

    what: str
    name: str
    address: str
    work: Callable[[], Coroutine[Deferred[Any], Any, Row]]


@dataclass(frozen=True, slots=True)
class Terminal:
    """Who is at it. `progress` is where a progress bar is drawn; None: nowhere."""

    write: Callable[[str], object]
    complain: Callable[[str], object]
    progress: Console | None = None
    width: int | None = None


def run(config: Config, config_file: str, reactor: Any, now: Callable[[], datetime], terminal: Terminal, *,
        as_json: bool) -> Deferred[None]:
    """Contact everything; ends with SystemExit: 0 all is well, 1 something failed, 130 it was interrupted."""
    in_thread = partial(deferToThreadPool, reactor, reactor.getThreadPool())
    looking = Looking(config, config_file, wiring.profile_rules(config), reactor, now, in_thread)
    return deferred(_run(checks_of(looking), reactor, terminal, as_json=as_json))


def checks_of(looking: Looking) -> list[Check]:
    """Everything that is to be contacted, in the order of the table."""
    config = looking.config

    async def listener(place: Any) -> Row:
        row: Row = await looking.in_thread(listener_row, place, looking.now())
        return row

    async def poly(name: str) -> Row:
        return poly_row(name, await known.wait(), looking.now())

    async def webex(name: str) -> Row:
        return webex_row(name)

    known = _Once(lambda: looking.in_thread(contacts, config.operator))
    checks = [Check("listener", place.kind, str(place), partial(listener, place))
              for place in places(config) if place.certificates]
    checks += [Check(KINDS[i.kind], i.name, address_of(i), partial(check_integration, i, looking))
               for i in config.integrations]
    cisco = {endpoint.name: endpoint for endpoint in wiring.cisco_endpoints(config)}
    for endpoint in wiring.served_endpoints(config):
        name = endpoint.name
        if name in cisco:
            checks.append(Check("Cisco endpoint", name, cisco[name].base_url,
                                partial(check_cisco, cisco[name], looking.reactor)))
        elif endpoint.endpoint_type is EndpointType.POLY:
            checks.append(Check("Poly endpoint", name, "", partial(poly, name)))
        else:
            checks.append(Check("Webex endpoint", name, "", partial(webex, name)))
    return checks


@dataclass(slots=True)
class _Once:
    """The result of some work that is begun when it is first waited for."""

    begin: Callable[[], Deferred[Any]]
    _waiting: list[Deferred[Any]] = field(default_factory=list)
    _result: Any = None
    _is_done: bool = False

    async def wait(self) -> Any:
        if self._is_done:
            return await succeed(self._result)
        waiting: Deferred[Any] = Deferred()
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            self.begin().addBoth(self._done)
        return await waiting

    def _done(self, result: Any) -> None:
        """Hand it on; a Failure makes it an errback."""
        self._result, self._is_done = result, True
        for one in self._waiting:
            if not one.called:
                one.callback(result)


async def _run(checks: Sequence[Check], reactor: Any, terminal: Terminal, *, as_json: bool) -> None:
    todo = iter(enumerate(checks))
    made: dict[int, Row] = {}
    running: list[Deferred[None]] = []
    ended: Deferred[None] = Deferred()
    is_interrupted = False

    def interrupt() -> Deferred[None]:
        nonlocal is_interrupted
        is_interrupted = True
        for one in running:
            one.cancel()
        return ended

    async def work(advance: Callable[[], object]) -> None:
        for place, check in todo:
            made[place] = await _row(check, reactor)
            advance()

    trigger = reactor.addSystemEventTrigger("before", "shutdown", interrupt)
    try:
        with _progress(terminal, len(checks)) as advance:
            running += [deferred(work(advance)) for _ in range(AT_ONCE)]
            await DeferredList(running, consumeErrors=True)
    finally:
        ended.callback(None)
    rows = [made[place] for place in sorted(made)]
    if is_interrupted:
        terminal.complain(f"otjd: interrupted after {len(rows)} of {len(checks)} checks\n")
        raise SystemExit(130)
    reactor.removeSystemEventTrigger(trigger)
    terminal.write(_json(rows) if as_json else _table(rows, terminal.width))
    raise SystemExit(int(any(row.state is State.FAILED for row in rows)))


async def _row(check: Check, reactor: Any) -> Row:
    """What comes of one check within its time; a fault of its own costs that row alone."""
    def row(found: str, hint: str) -> Row:
        return Row(check.what, check.name, check.address, State.FAILED, found, hint)

    try:
        return await deferred(check.work()).addTimeout(
            LIMIT_S, reactor, lambda _, limit_s: row(f"no answer within {limit_s:g} s", LIMIT_HINT))
    except CancelledError:
        raise
    except Exception as error:
        _log.failure("The check of {name} failed by a fault of otjd", name=check.name)
        return row(f"a fault of otjd: {type(error).__name__}", "report it, with what is printed above")


@contextmanager
def _progress(terminal: Terminal, total: int) -> Iterator[Callable[[], object]]:
    """A progress bar while there is much to wait for; gives what says that one more is done."""
    if terminal.progress is None or total < MANY:
        yield lambda: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=terminal.progress, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("contacting", total=total)
        bar.refresh()

        def advance() -> None:
            bar.advance(task)
            bar.refresh()

        yield advance


def _json(rows: Sequence[Row]) -> str:
    return json.dumps({"checks": [row.as_json() for row in rows]}, indent=2)


def _table(rows: Sequence[Row], width: int | None) -> str:
    out = StringIO()
    console = screen(out, width)
    console.print(table("Contacted", ("What", "Name", "Address", "State", "Found"), [
        (row.what, row.name, row.address, row.state, row.found) for row in rows]))
    for row in rows:
        if row.hint:  # whole lines, to be copied
            console.print(Text.assemble((f"{visible(row.name)}: ", "bold"), visible(row.hint)), soft_wrap=True)
    failed = sum(row.state is State.FAILED for row in rows)
    console.print(f"{len(rows)} checked, {failed} failed")
    return out.getvalue()
