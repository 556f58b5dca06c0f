"""Pace: how often to sweep and to read, from the number of rooms, the budget and what requests cost. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

DAY_S = 86_400
RESERVE = 0.1
"""Part of the quota that only reads of changed rooms and first reads may use."""

KEPT_SHARE = 0.03
"""Part of the quota that the pace of content reads leaves alone, so that it seldom has to stop at its limit."""

SWEEP_SHARE = 0.5
"""Most of the quota that sweeps may use; also what reading every room all the time may use where there are few."""

FASTEST_SWEEP_S = 15.0
FASTEST_READ_S = 30.0
TOLD_SWEEP_S = 60.0
"""Rooms whose changes are told of are swept this often at most, since a notice may be lost."""

BACKSTOP_S = 900.0
"""And read in full this often at most."""

NEAR_S = 3600.0
"""A meeting that starts within an hour is near: its room is read before others."""

SOON_S = 7200.0
"""A meeting that starts within two hours is soon: its room should be read every ten minutes."""

SOON_READ_S = 480.0

FAR_FACTOR = 3.0
"""A room without a meeting soon may wait this many times longer than if all were read in turn."""

LONGEST_READ_S = 6 * 3600.0

SHORTEST_STALE_S = 90.0
"""What is known of a room is not called stale before it is this old."""

CATCH_UP_S = 300.0
"""First reads, and those after an outage, are spread over this time where there are very many rooms."""

FIRST_PER_S = 50.0
"""First reads a second, where the system answers so fast: less than a third of what Google allows a project in a
minute, and half of what Microsoft Graph was seen to take of a tenant (sources.md section 9)."""

SAVED_OVER_S = 8 * 3600.0
"""What was not used is used up over this time: the quiet of the night serves the day."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What requests cost: rooms of a sweep (0: there are none), requests of a sweep and of a read."""

    sweep_size: int
    sweep_cost: int
    read_cost: int


@dataclass(frozen=True, slots=True)
class Pace:
    """`sweep_s`: every room is swept this often, 0 for never. `near_s`, `soon_s`, `far_s`: a room with a near
    meeting, one soon, or none, should be read this often. `reads_per_s`: content reads that the budget allows at
    an even pace; `first_per_s`: first reads. `requests_per_s`: what may be used in all, the reserve left out."""

    sweep_s: float
    near_s: float
    soon_s: float
    far_s: float
    reads_per_s: float
    first_per_s: float
    requests_per_s: float


def pace(rooms: int, quota: int, costs: Costs) -> Pace:
    """How often to ask for `rooms` rooms with `quota` requests in 24 hours."""
    read_cost = max(1, costs.read_cost)
    first = max(FIRST_PER_S, rooms / CATCH_UP_S)
    usable = quota * (1 - RESERVE) / DAY_S
    if rooms * read_cost * DAY_S / FASTEST_READ_S <= quota * SWEEP_SHARE:
        each = FASTEST_READ_S
        return Pace(0.0, each, each, each, max(1.0, 1.25 * rooms / each), max(first, rooms / each), usable)
    sweep_s = sweeps = 0.0
    if costs.sweep_size > 0:
        requests = math.ceil(rooms / costs.sweep_size) * max(1, costs.sweep_cost)
        sweep_s = max(FASTEST_SWEEP_S, requests * DAY_S / (quota * SWEEP_SHARE))
        sweeps = requests / sweep_s
    reads = (usable - sweeps) / read_cost
    in_turn_s = rooms / reads
    far_s = min(max(FASTEST_READ_S, FAR_FACTOR * in_turn_s), max(LONGEST_READ_S, in_turn_s))
    return Pace(sweep_s, FASTEST_READ_S, min(SOON_READ_S, far_s), far_s, reads, first, usable)
