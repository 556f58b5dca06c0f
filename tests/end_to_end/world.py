"""A world around the service: calendars, certificates, a configuration, and `twistd` as its own process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from random import SystemRandom
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.task import deferLater

from otjd.config.model import Config
from otjd.node import Node
from otjd.simulate.certificates import Certificates, make_certificates

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 30.0
READ_PATIENCE_S = 120.0
"""Where a change is shown at the next read, half a minute later, on a machine that does other things as well."""

CONFIGURATION = """
[node]
name = "otj1"
location = "oslo"
state_dir = "state"
{node}

[calendar_service]
authentication = {schemes}
throttle_failed_logins = false

[[calendar_service.listeners]]
address = "127.0.0.1"
port = {calendar_port}
certificate = "{certificate}"
private_key = "{private_key}"

[operator]
port = {operator_port}

[[file_integrations]]
name = "files"
directory = "calendars"

[[profiles]]
name = "default"
integration = "files"
ep_username = "admin"
ep_password = "codec-secret"
ep_verify_certificate = false

[[endpoint_groups]]
name = "oslo-rooms"
location = "oslo"
profile = "default"

[[rules]]
name = "our domain"
profile = "default"
priority = 10
meeting_type = "domain"
domain = "video.example.com"
"""

POLY = """
[[endpoints]]
name = "{name}"
endpoint_type = "POLY"
poly_username = "{username}"
poly_password = "{password}"
room_resource_email = "{room}"
mjx_endpoint_group_name = "oslo-rooms"
"""

CISCO = """
[[endpoints]]
name = "{name}"
endpoint_type = "CISCO"
api_address = "127.0.0.1"
api_port = {port}
room_resource_email = "{room}"
mjx_endpoint_group_name = "oslo-rooms"
"""


def free_port() -> int:
    """A port that is free, of those that the system gives to no one by itself: tests run side by side."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", SystemRandom().randrange(10_000, 32_768)))
            return int(probe.getsockname()[1])


def wait_until(holds: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Wait, with patience but not for ever, until `holds` gives something true."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {patience_s:g} s in vain: {what}")


def event(uid: str, start: datetime, *, minutes: int = 30, subject: str = "", alias: str = "",
          more: str = "") -> str:
    """A VEVENT that invites to an alias, where one is given."""
    description = f"DESCRIPTION:Join by video\\n{alias}\n" if alias else ""
    return (f"BEGIN:VEVENT\nUID:{uid}\nDTSTAMP:20260101T000000Z\nDTSTART:{start:%Y%m%dT%H%M%SZ}\n"
            f"DTEND:{start + timedelta(minutes=minutes):%Y%m%dT%H%M%SZ}\nSUMMARY:{subject or uid}\n"
            f"ORGANIZER;CN=Ada Berg:mailto:ada@example.com\n{description}{more}END:VEVENT\n")


@cache
def _made_once() -> TemporaryDirectory[str]:
    directory = TemporaryDirectory(prefix="otjd-tests-")
    make_certificates(Path(directory.name), ["localhost"], datetime.now(UTC))
    return directory


def certificates_in(directory: Path) -> Certificates:
    """Certificates of `localhost`, as `make_certificates` writes them; the keys, which take long, are shared."""
    shutil.copytree(_made_once().name, directory)
    return Certificates(*(directory / name for name in ("otjd.crt", "otjd.key", "ca.crt", "ca.key")))


@dataclass
class World:
    """Everything on disk, and the running service."""

    directory: Path
    schemes: tuple[str, ...] = ("digest", "ntlm")
    calendar_port: int = field(default_factory=free_port)
    operator_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    endpoints: str = ""
    extra: str = ""
    node: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.calendars.mkdir()
        self.certificates = certificates_in(self.directory / "certs")

    @property
    def calendars(self) -> Path:
        return self.directory / "calendars"

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.calendar_port}/EWS/Exchange.asmx"

    @property
    def config(self) -> Path:
        return self.directory / "otjd.toml"

    @property
    def log(self) -> str:
        return (self.directory / "otjd.log").read_text()

    def poly(self, name: str, room: str, username: str, password: str = "poly-secret") -> None:
        self.endpoints += POLY.format(name=name, room=room, username=username, password=password)

    def cisco(self, name: str, room: str, port: int) -> None:
        self.endpoints += CISCO.format(name=name, room=room, port=port)

    def write_calendar(self, room: str, *events: str) -> None:
        text = f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//otjd//tests//EN\n{''.join(events)}END:VCALENDAR\n"
        (self.calendars / f"{room}.ics").write_bytes(text.replace("\n", "\r\n").encode())

    def write_config(self) -> None:
        self.config.write_text(CONFIGURATION.format(
            schemes=json.dumps(list(self.schemes)), calendar_port=self.calendar_port,
            operator_port=self.operator_port, node=self.node, certificate=self.certificates.certificate,
            private_key=self.certificates.private_key) + self.endpoints + self.extra)

    def start(self) -> None:
        self.write_config()
        with (self.directory / "otjd.log").open("ab") as log:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("twistd"), "-n", "--pidfile=", "otjd", "--config", self.config],
                cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.environment})
        wait_until(self.is_ready, "the node is not ready")

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the service ended:\n{self.log}"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.operator_port}/healthz") as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.operator_port}{path}") as answer:
            return json.load(answer)

    def meetings(self, room: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get(f"/api/v1/meetings?room={room}")["meetings"]
        return found

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        self.process = None
        return code

    def ended_well(self) -> bool:
        """End by SIGTERM; `twistd` then passes the signal on to itself, as Unix processes should."""
        return self.end() in (0, -signal.SIGTERM)


async def until(holds: Callable[[], Any], reactor: Any, looks: int = 400) -> None:
    """Wait until something holds, looking twenty times a second."""
    for _ in range(looks):
        if holds():
            return
        await deferLater(reactor, 0.05)
    raise AssertionError("waited in vain")


@asynccontextmanager
async def running(config: Config, reactor: Any) -> AsyncIterator[Node]:
    """A node in this process, listening and started."""
    node = Node(config, reactor)
    node.listen()
    await node.start()
    try:
        yield node
    finally:
        await node.stop()
