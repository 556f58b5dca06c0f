"""How soon a change in one of many room calendars is known, against the formula T = max(30 s, 2 N 86400 / Q).

    python bench/freshness.py                              a day in compressed time; takes some minutes
    python bench/freshness.py --real exchange --minutes 10 a node and a simulated Exchange, in real time
    python bench/freshness.py --smoke                      a little of everything, to see that it runs

The scheduler runs over a simulated calendar system that answers within 50 to 250 ms, in compressed time: 20
changes a room and day, 95 % of them from 7 to 19 h, a fifth to a meeting of the next half hour, 16 % of them to
title, link or body alone. The formula is that of reading every room in turn by two nodes; it runs through the same
gatherer.

With `--real` a whole node reads a simulated calendar system over TLS, each in a process of its own; with `--push`
it is told of changes. Changes are timed by the clock that both share, from the calendar to the cache.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.support import real_systems
from bench.support.real_systems import Trial
from otjd.gather.pace import DAY_S, Costs, Pace
from otjd.gather.planner import Planner
from otjd.protocol.google_calendar import REQUESTS_A_MINUTE
from tests.gather.day import HOUR_S, Day, quantile

MINUTE_S = 60
SETTLING_S = 3 * HOUR_S
"""Time after the last change until a change that is still unknown counts as missed."""


class InTurn(Planner):
    """Reads every room in turn, by the formula."""

    def new_pace(self, rooms: int, quota: int, costs: Costs) -> Pace:
        each = max(30.0, 2 * rooms * costs.read_cost * DAY_S / quota)
        return Pace(0.0, each, each, each, 1.02 * rooms / each, max(5.0, rooms / each), quota / DAY_S)


@dataclass(frozen=True, slots=True)
class System:
    """A calendar system: rooms of a sweep, requests of a read, quota of 24 hours, limit of a minute."""

    name: str
    sweep_size: int
    quota: int
    per_minute: int | None = None
    nodes: int = 1
    planner: type[Planner] = Planner


SYSTEMS = (System("formula", 0, 1_000_000, nodes=2, planner=InTurn),
           System("google", 50, 900_000, REQUESTS_A_MINUTE), System("graph", 20, 1_000_000),
           System("exchange", 100, 1_000_000))


def run(system: System, rooms: int, hours: float, scale: float) -> None:
    """One simulated day, and a line of what came of it."""
    begun, used = time.perf_counter(), time.process_time()
    day = Day(rooms, int(system.quota * scale), sweep_size=system.sweep_size, per_minute=system.per_minute,
              planner=system.planner)
    day.gatherer.start()
    day.schedule_changes(20 * rooms, hours * HOUR_S)
    day.run(hours * HOUR_S + SETTLING_S)
    outcome = day.end()
    seconds = hours * HOUR_S + SETTLING_S
    late, near = outcome.late_s, outcome.near_content_late_s
    print(f"{system.name:10} {system.nodes * outcome.requests / seconds * DAY_S:12,.0f}"
          f" {system.nodes * outcome.most_in_a_day:12,}"
          f" {quantile(late, 0.5):8.1f} {quantile(late, 0.95):8.1f} {quantile(late, 0.99):8.1f} {max(late):8.1f}"
          f" {quantile(near, 0.5):8.1f} {quantile(near, 0.95):8.1f} {outcome.changes:8,} {outcome.missed:7}"
          f" {outcome.near_s / MINUTE_S / seconds * DAY_S:11,.0f}"
          f" {(time.process_time() - used) / seconds:8.4f} {time.perf_counter() - begun:7.1f}")


def compressed(rooms: int, hours: float, scale: float, only: str | None) -> None:
    """A day of each system, in the time that it takes to compute."""
    print(f"{rooms} rooms, {hours:g} h; seconds from the change to the delivery; 'near': of title, link or\n"
          "body of a meeting that starts within an hour; 'minutely': requests a day that would read the rooms of\n"
          "all such meetings once a minute")
    print(f"{'system':10} {'requests/day':>12} {'most in 24 h':>12} {'p50':>8} {'p95':>8} {'p99':>8} {'max':>8}"
          f" {'near p50':>8} {'near p95':>8} {'changes':>8} {'missed':>7} {'minutely':>11} {'CPU s/s':>8}"
          f" {'took s':>7}")
    for system in SYSTEMS:
        if only in {None, system.name}:
            run(system, rooms, hours, scale)


def real(trials: list[Trial]) -> None:
    """Whole nodes, one after the other."""
    for trial in trials:
        with tempfile.TemporaryDirectory(prefix="otjd-bench-") as name:
            real_systems.run(trial, Path(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", type=int, default=4000)
    parser.add_argument("--hours", type=float, default=24.0, help="hours of the day to simulate")
    parser.add_argument("--only", choices=[s.name for s in SYSTEMS], help="this system alone")
    parser.add_argument("--real", choices=real_systems.KINDS, help="a whole node, which reads this system")
    parser.add_argument("--push", action="store_true", help="with notices of changes")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long rooms change, in real time")
    parser.add_argument("--settle", type=float, default=30.0, metavar="MINUTES",
                        help="after these a change counts as missed (%(default)g)")
    parser.add_argument("--changes", type=float, default=20.0, help="changes a room and day, in real time")
    parser.add_argument("--quota", type=int, default=0, help="requests in 24 hours, in real time")
    parser.add_argument("--smoke", action="store_true", help="a tiny run that shows that it works")
    options = parser.parse_args()
    if options.smoke:
        compressed(200, 9.0, 0.02, options.only)
        real([Trial("exchange", push=True, rooms=5, change_s=1.0, per_day=80_000, settle_s=20.0)])
    elif options.real:
        real([Trial(options.real, options.push, options.rooms, change_s=options.minutes * 60, quota=options.quota,
                    per_day=options.changes, settle_s=options.settle * 60)])
    else:
        compressed(options.rooms, options.hours, 1.0, options.only)


if __name__ == "__main__":
    main()
