"""`otjd status`: the status of a running node as tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from io import StringIO
from typing import IO, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from otjd.operate.escape import visible
from otjd.operate.fetching import UnreachableError, fetch

__all__ = ["ago", "fetch", "screen", "status_command", "table"]

STYLES = {"warning": "yellow", "degraded": "yellow", "error": "red", "failed": "red", "unauthorized": "red",
          "critical": "bold red"}
BAD_LEVELS = frozenset({"error", "critical"})


def status_command(url: str, as_json: bool, *, fetch: Callable[[str], Any], write: Callable[[str], None],
                   complain: Callable[[str], None] | None = None, now: datetime | None = None,
                   width: int | None = None) -> int:
    """Write the status of the node whose operator service is at `url`.

    As tables, or as its `/status.json` document. `fetch` gives the JSON document at an address or raises
    UnreachableError, `complain` takes what went wrong (default: stderr), `width` is in characters. Returns the
    exit code: 0 well, 1 an alarm of level error or critical is raised, 2 no usable answer.
    """
    base = url.rstrip("/").removesuffix("/status.json")
    try:
        status = fetch(f"{base}/status.json")
        if as_json:
            write(json.dumps(status, indent=2))
        else:
            endpoints = fetch(f"{base}/api/v1/endpoints")["endpoints"]
            write(_tables(status, endpoints, now or datetime.now(UTC), width))
        return int(any(alarm["level"] in BAD_LEVELS for alarm in status["alarms"]))
    except UnreachableError as error:
        problem = visible(str(error))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problem = (f"the answer of {visible(_without_login(base))} is not the status of otjd, or of another "
                   f"version ({type(error).__name__}: {visible(str(error))})")
    (complain or _to_stderr)(f"otjd status: {problem}\n")
    return 2


def _to_stderr(text: str) -> None:
    sys.stderr.write(text)


def _tables(status: Mapping[str, Any], endpoints: Iterable[Mapping[str, Any]], now: datetime,
            width: int | None) -> str:
    out = StringIO()
    console = screen(out, width)
    node, rooms, meetings = status["node"], status["rooms"], status["meetings"]
    contact = status["endpoints"]
    console.print(table("Node", ("Name", "Location", "Version", "FIPS", "Running for"), [
        (node["name"], node["location"], node["version"], "yes" if node["fips"] else "no",
         ago(node["started_at"], now).removesuffix(" ago"))]))
    console.print(table("Rooms, meetings, endpoints", (
        "Rooms", "Fresh", "Stale", "Never read", "Meetings", "Joinable", "Endpoints", "In contact"), [
            (rooms["total"], rooms["fresh"], rooms["stale"], rooms["never_read"], meetings["total"],
             meetings["joinable"], contact["total"], contact["in_contact"])]))
    console.print(table("Integrations", (
        "Name", "Kind", "State", "Last success", "Requests in 24 h", "Last error"), [
        (one["name"], one["kind"], one["state"], ago(one["last_success"], now), _budget(one),
         one["last_error"] or "") for one in status["integrations"]]))
    console.print(table("Endpoints", ("Name", "Type", "Room", "Last contact", "Meetings", "Last error"), [
        (one["endpoint_name"], one["endpoint_type"], one["room_email"], ago(one["last_contact_time"], now),
         one["number_of_meetings"], one["last_error"] or "") for one in endpoints]))
    if status["alarms"]:
        console.print(table("Alarms", ("Level", "Alarm", "Of", "Raised", "Details"), [
            (one["level"], one["name"], one["instance"], ago(one["raised_at"], now), one["details"])
            for one in status["alarms"]]))
    else:
        console.print("No alarms.")
    return out.getvalue()


def screen(out: IO[str], width: int | None = None) -> Console:
    """What prints tables to `out`, in `width` characters, as they look where stdout goes."""
    # a terminal is as wide as it is; in a pipe nothing needs to be cut
    return Console(file=out, width=width or max(Console().width, 100), highlight=False,
                   force_terminal=Console().is_terminal and width is None)


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Table:
    """A table of what may come from outside."""
    made = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        # Text, not markup: a name may hold brackets
        made.add_row(*(Text(visible(str(cell)), style=STYLES.get(str(cell), "")) for cell in row))
    return made


def ago(moment: str | None, now: datetime) -> str:
    """How long ago an RFC 3339 time is, in the largest unit that tells something."""
    if moment is None:
        return "never"
    seconds = max(0, int((now - datetime.fromisoformat(moment)).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def _budget(integration: Mapping[str, Any]) -> str:
    used, quota = integration["requests_last_24h"], integration["quota_24h"]
    return f"{used} of {quota}" if quota else str(used)


def _without_login(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"
