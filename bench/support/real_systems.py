"""A whole node against a simulated calendar system, each a process, in real time: for bench/freshness.py."""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.support.calendar_server import ENDPOINT, PASSWORD
from bench.support.changing_rooms import CLIENT_ID, CLIENT_SECRET, TENANT, USERNAME
from bench.support.changing_rooms import PASSWORD as EXCHANGE_PASSWORD
from bench.support.processes import Helper, cpu_s, helper, resident_mb
from otjd.simulate.certificates import make_certificates

KINDS = ("exchange", "graph", "google")
DAY_S = 86_400
ASK_EVERY_S = 1.0

CONFIGURATION = """\
[node]
name = "bench"
location = "here"
state_dir = "state"

[log]
file = "otjd.log"

[calendar_service]
authentication = ["basic"]

[[calendar_service.listeners]]
address = "127.0.0.1"
port = {node_port}
certificate = "otjd.crt"
private_key = "otjd.key"

[operator]
port = 0

[[{kind}_integrations]]
name = "calendars"
ca_file = "ca.crt"
{integration}

[[profiles]]
name = "default"
integration = "calendars"

[[endpoint_groups]]
name = "rooms"
location = "here"
profile = "default"
"""

INTEGRATIONS = {
    "exchange": f"""\
service_account_username = "{USERNAME}"
service_account_password = "{EXCHANGE_PASSWORD}"
ews_url = "https://localhost:{{port}}/EWS/Exchange.asmx"
find_items_request_quota = {{quota}}
""",
    "graph": f"""\
client_id = "{CLIENT_ID}"
client_secret = "{CLIENT_SECRET}"
oauth_token_url = "https://localhost:{{port}}/{TENANT}/oauth2/v2.0/token"
graph_api_domain = "localhost:{{port}}"
request_quota = {{quota}}
notification_url = "{{notification_url}}"
""",
    "google": f"""\
client_email = "{USERNAME}"
private_key = {{{{ file = "google.json" }}}}
token_endpoint = "https://localhost:{{port}}/token"
api_url = "https://localhost:{{port}}/calendar/v3"
maximum_number_of_api_requests = {{quota}}
notification_url = "{{notification_url}}"
""",
}


@dataclass(frozen=True, slots=True)
class Trial:
    """What is tried: a calendar system with so many rooms, changed for `change_s` at `per_day` a room and day.

    What is not known `settle_s` after the last change counts as missed.
    """

    kind: str
    push: bool = False
    rooms: int = 4000
    meetings: int = 8
    change_s: float = 600.0
    per_day: float = 20.0
    settle_s: float = 1800.0
    quota: int = 0

    def allowed(self) -> int:
        """Requests of 24 hours."""
        return self.quota or (900_000 if self.kind == "google" else 1_000_000)


@dataclass(frozen=True, slots=True)
class Known:
    """A change, and how many seconds later it was known; infinite: it was not."""

    late_s: float
    is_content_only: bool
    is_near: bool


def write_configuration(trial: Trial, directory: Path, port: int) -> None:
    """The configuration of the node that reads."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        node_port = free.getsockname()[1]
    url = f"https://localhost:{node_port}/notifications/calendars" if trial.push else ""
    integration = INTEGRATIONS[trial.kind].format(port=port, quota=trial.allowed(), notification_url=url)
    text = CONFIGURATION.format(kind=trial.kind, node_port=node_port, integration=integration)
    text += "".join(ENDPOINT.format(number=n, password=PASSWORD) for n in range(trial.rooms))
    (directory / "otjd.toml").write_text(text)


def run(trial: Trial, directory: Path) -> None:
    """Try it, and print what came of it."""
    directory.mkdir(parents=True, exist_ok=True)
    make_certificates(directory, (), datetime.now(UTC))
    print(f"\n{trial.kind}, {trial.rooms} rooms of {3 * trial.meetings} meetings in three days, quota "
          f"{trial.allowed():,}, {'with' if trial.push else 'without'} notices of changes; load before "
          f"{os.getloadavg()[0]:.1f}", flush=True)
    with helper("bench.support.changing_rooms", trial.kind, directory, trial.rooms, trial.meetings,
                "push" if trial.push else "polled") as system:
        write_configuration(trial, directory, int(system.line()))
        with helper("bench.support.reading_node", directory) as node:
            _measure(trial, system, node)


def _measure(trial: Trial, system: Helper, node: Helper) -> None:
    began_s = float(node.line())
    print(f"  all rooms read after {began_s:.0f} s, for {cpu_s(node.pid):.1f} s CPU; "
          f"{resident_mb(node.pid):.0f} MB", flush=True)
    used_s, system_used_s, began = cpu_s(node.pid), cpu_s(system.pid), time.monotonic()
    system.say(f"change {trial.change_s} {trial.per_day}")
    told: Any = json.loads(system.line())
    took_s = time.monotonic() - began
    used_s, system_used_s = cpu_s(node.pid) - used_s, cpu_s(system.pid) - system_used_s
    requests = sum(told["requests"].values())
    print(f"  {len(told['made'])} changes in {took_s:.0f} s; {requests} requests ("
          + ", ".join(f"{name} {number}" for name, number in told["requests"].items())
          + f"), at this pace {requests / took_s * DAY_S:,.0f} a day")
    print(f"  node {used_s / took_s:.3f} of a core, {resident_mb(node.pid):.0f} MB; "
          f"calendar system {system_used_s / took_s:.3f} of a core, load {os.getloadavg()[0]:.1f}", flush=True)
    deadline = time.monotonic() + trial.settle_s
    while True:
        node.say("what")
        seen: Any = json.loads(node.line())
        known = [known_of(made, seen) for made in told["made"]]
        if time.monotonic() >= deadline or all(one.late_s < math.inf for one in known):
            break
        time.sleep(ASK_EVERY_S)
    _print_late("  changes of time", [k.late_s for k in known if not k.is_content_only])
    _print_late("  of content alone", [k.late_s for k in known if k.is_content_only])
    _print_late("  of these, near", [k.late_s for k in known if k.is_content_only and k.is_near])
    _print_late("  all", [k.late_s for k in known])
    missed = sum(one.late_s == math.inf for one in known)
    after_s = time.monotonic() - began - took_s
    print(f"  {missed} not known {after_s:.0f} s after the last; "
          + ", ".join(f"{name} {seen[name]}" for name in seen.keys() - {"shown", "vanished"}), flush=True)


def known_of(made: dict[str, Any], seen: dict[str, dict[str, float]]) -> Known:
    """When a change was known to the node."""
    at = seen["vanished" if made["vanishes"] else "shown"].get(made["text"], math.inf)
    return Known(at - made["at"], made["is_content_only"], made["is_near"])


def _print_late(name: str, late_s: Sequence[float]) -> None:
    ordered = sorted(late_s)
    if not ordered:
        print(f"{name:18} none")
        return
    shares = "  ".join(f"p{share} {ordered[min(len(ordered) - 1, len(ordered) * share // 100)]:7.1f}"
                       for share in (50, 95, 99))
    print(f"{name:18} {shares}  max {ordered[-1]:7.1f} s of {len(ordered)}", flush=True)
