"""The machine's clock is set while the service runs as its own process, as by NTP or on a virtual machine."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.auth import HTTPDigestAuth
from twisted.internet.threads import deferToThread

from otjd.gather.state_files import state_file_name
from otjd.simulate.calendars import Calendars
from tests.end_to_end.test_calendar_clients import FIND_ITEM
from tests.end_to_end.world import READ_PATIENCE_S, World, event, wait_until
from tests.test_gathering import ROOM, Exchange

FILE_ROOM = "studio@example.com"
HALF_HOUR = timedelta(minutes=30)

CLOUD = """
[[profiles]]
name = "cloud"
integration = "cloud"

[[endpoint_groups]]
name = "cloud-rooms"
location = "oslo"
profile = "cloud"

[[endpoints]]
name = "Boardroom"
endpoint_type = "POLY"
poly_username = "boardroom"
poly_password = "poly-secret"
room_resource_email = "boardroom@example.com"
mjx_endpoint_group_name = "cloud-rooms"
"""


def utc_now() -> datetime:
    return datetime.now(UTC)


class SetClock:
    """A clock of the service's process alone, set by a file that libfaketime reads; the monotonic one goes on."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "clock"
        self.set("+0")

    def set(self, offset: str) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.write_text(offset + "\n")
        fresh.replace(self._path)

    def environment(self) -> dict[str, str]:
        shown = subprocess.run(["faketime", "-m", "-f", "+0", "env"], capture_output=True, text=True, check=True,
                               env={"PATH": os.environ["PATH"]})
        (library,) = [line for line in shown.stdout.splitlines() if line.startswith("LD_PRELOAD=")]
        return {"LD_PRELOAD": library.partition("=")[2], "FAKETIME_TIMESTAMP_FILE": str(self._path),
                "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}


class Stepped:
    """The running service, what is booked in its two rooms, and what it shows of that."""

    def __init__(self, world: World, calendars: Calendars) -> None:
        self.world = world
        self.calendars = calendars
        self._start = utc_now().replace(second=0, microsecond=0)
        self._booking = calendars.book(ROOM, self._start, self._start + HALF_HOUR, subject="Begun").id
        self._write("Begun")

    def _write(self, subject: str) -> None:
        self.world.write_calendar(FILE_ROOM, event(f"in-{subject}", self._start, subject=subject))

    async def shows_a_change(self, subject: str) -> None:
        """Change a meeting of each room; the service shows both before long."""
        self._write(subject)
        self.calendars.change(ROOM, self._booking, subject=subject)
        await self.shows(subject)

    async def shows(self, subject: str) -> None:
        await deferToThread(
            wait_until, lambda: [self._subjects(room) for room in (FILE_ROOM, ROOM)] == [[subject], [subject]],
            f"both rooms show {subject}", READ_PATIENCE_S)

    def _subjects(self, room: str) -> list[str]:
        return [m["subject"] for m in self.world.meetings(room)]

    async def lets_in(self) -> None:
        """An endpoint signs in with Digest, with a nonce of now."""
        answer = await deferToThread(
            requests.post, self.world.url, FIND_ITEM, auth=HTTPDigestAuth("boardroom", "poly-secret"),
            verify=False, timeout=20)
        assert answer.status_code == 200

    async def cloud(self) -> dict[str, Any]:
        document = await deferToThread(self.world.get, "/api/v1/integrations")
        (found,) = [i for i in document["integrations"] if i["name"] == "cloud"]
        return dict(found)

    async def restarted(self) -> None:
        await deferToThread(self.world.ended_well)
        await deferToThread(self.world.start)


@pytest.mark.needs("faketime")
@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
async def test_a_clock_that_is_set_forward_and_back_holds_nothing_up_and_gives_no_requests_back(
        world: World, tmp_path: Path) -> None:
    from twisted.internet import reactor

    clock = SetClock(tmp_path)
    calendars = Calendars(utc_now)
    calendars.add_room(ROOM)
    exchange = Exchange(world, calendars, reactor)
    world.schemes = ("digest",)
    world.environment = clock.environment()
    world.poly("Studio", FILE_ROOM, "studio")
    world.extra = exchange.configuration(world) + CLOUD
    service = Stepped(world, calendars)
    try:
        await deferToThread(world.start)
        await service.shows("Begun")
        await service.lets_in()
        for offset in ("+3600", "-3600"):
            before = (await service.cloud())["requests_last_24h"]
            assert before > 0
            clock.set(offset)
            await service.shows_a_change(f"At {offset}")
            await service.lets_in()
            assert (await service.cloud())["requests_last_24h"] >= before
            assert (await service.cloud())["state"] == "ok"
            assert not (await deferToThread(world.get, "/api/v1/alarms"))["alarms"]
        for offset in ("+3600", "-3600"):  # set while the service does not run
            before = (await service.cloud())["requests_last_24h"]
            clock.set(offset)
            await service.restarted()
            assert (await service.cloud())["requests_last_24h"] >= before
        await service.shows_a_change("At the end")
        kept = json.loads((tmp_path / "state" / f"budget-{state_file_name('cloud')}").read_text())
        assert abs(datetime.fromisoformat(kept["saved_at"]) - (utc_now() - timedelta(hours=1))) < HALF_HOUR
        assert "Traceback" not in world.log
    finally:
        if world.process is not None:
            await deferToThread(world.end)
        await exchange.close()
