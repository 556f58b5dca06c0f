"""The calendar service as its own process: under FIPS, through a restart, and with renewed limits."""

from __future__ import annotations

import base64
import os
import signal
import socket
import ssl
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from tests.end_to_end.test_calendar_clients import FIND_ITEM
from tests.end_to_end.world import World, event, wait_until

ROOM = "boardroom@example.com"
NOW = datetime.now(UTC).replace(microsecond=0, second=0)

SHIM = '''
"""What a system in FIPS mode lacks: MD5 in hashlib, and packages that bring MD4."""
import hashlib
import pathlib
import sys

def refuse(*arguments, **keywords):
    raise ValueError("[digital envelope routines] unsupported")

def new(name, *arguments, _new=hashlib.new, **keywords):
    return refuse() if name.lower() in ("md4", "md5") else _new(name, *arguments, **keywords)

class NoMd4:
    def find_spec(self, name, path=None, target=None):
        if name in ("Cryptodome.Hash.MD4", "Crypto.Hash.MD4"):
            raise ImportError(f"{name} is not there")
        return None

hashlib.md5, hashlib.new = refuse, new
sys.meta_path.insert(0, NoMd4())
pathlib.Path(__file__).with_name("loaded").touch()
'''


LOGIN = base64.b64encode(b"boardroom:poly-secret").decode()
REQUEST = (f"POST /EWS/Exchange.asmx HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {LOGIN}\r\n"
           f"Content-Type: text/xml\r\nContent-Length: {len(FIND_ITEM)}\r\n\r\n{FIND_ITEM}").encode()


@pytest.fixture
def room(world: World) -> World:
    """One Poly endpoint with a meeting."""
    world.poly("Boardroom", ROOM, "boardroom")
    world.write_calendar(ROOM, event("a", NOW, alias="a@video.example.com"))
    return world


@pytest.mark.parametrize("mode", ["fips = true", "fips = false"])
def test_where_md5_and_md4_do_not_exist_basic_is_served_and_nothing_else_offered(room: World, mode: str) -> None:
    shim = room.directory / "shim"
    shim.mkdir()
    (shim / "sitecustomize.py").write_text(SHIM)
    room.environment["PYTHONPATH"] = os.pathsep.join([str(shim), *filter(None, [os.environ.get("PYTHONPATH")])])
    room.node = mode
    room.start()
    assert (shim / "loaded").exists()

    def ask(auth: tuple[str, str] | None = None) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False  # what else the environment says of proxies and authorities
            return session.post(room.url, data=FIND_ITEM, headers={"Content-Type": "text/xml; charset=utf-8"},
                                verify=str(room.certificates.ca_certificate), timeout=20, auth=auth)

    challenge = ask()
    assert challenge.status_code == 401
    assert challenge.headers["WWW-Authenticate"].startswith("Basic ")
    assert "Digest" not in challenge.headers["WWW-Authenticate"]
    assert "NTLM" not in challenge.headers["WWW-Authenticate"]
    answer = ask(("boardroom", "poly-secret"))
    assert (answer.status_code, answer.content.count(b"<t:CalendarItem>")) == (200, 1)
    assert ask(("boardroom", "wrong")).status_code == 401
    assert "Traceback" not in room.log
    assert room.ended_well()


@dataclass
class Client:
    """An endpoint that asks and asks on a connection that it keeps, and connects again when it is closed."""

    port: int
    ca_file: Path
    answers: int = 0
    closed: int = 0
    wrong: list[str] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        context = ssl.create_default_context(cafile=self.ca_file)
        while not self.is_over.is_set():
            try:
                plain = socket.create_connection(("127.0.0.1", self.port), timeout=20)
            except OSError:
                time.sleep(0.02)
                continue
            with suppress(OSError), plain, context.wrap_socket(plain, server_hostname="localhost") as secure:
                while not self.is_over.is_set() and self._ask(secure):
                    time.sleep(0.002)

    def _ask(self, secure: ssl.SSLSocket) -> bool:
        """Ask once; False where the connection was closed in place of an answer."""
        got = b""
        try:
            secure.sendall(REQUEST)
            while not is_whole(got):
                if not (more := secure.recv(65536)):
                    break
                got += more
        except OSError as error:
            if got:
                self.wrong.append(f"{error} after {got[:100]!r}")
        if not got:
            self.closed += 1
            return False
        if not is_whole(got) or not got.startswith(b"HTTP/1.1 200 ") or not got.endswith(b"</s:Envelope>"):
            self.wrong.append(f"half an answer: {got[:100]!r} … {got[-100:]!r}")
            return False
        self.answers += 1
        return True


def is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:]) if end else {}
    return bool(end) and len(body) >= int(headers[b"content-length"])


def test_through_a_restart_every_request_is_answered_whole_or_its_connection_closed(room: World) -> None:
    room.schemes = ("basic",)
    room.start()
    clients = [Client(room.calendar_port, room.certificates.ca_certificate) for _ in range(6)]
    threads = [threading.Thread(target=client.run, daemon=True) for client in clients]

    def everybody_got_more() -> None:
        before = [client.answers for client in clients]
        wait_until(lambda: all(c.answers >= n + 20 for c, n in zip(clients, before, strict=True)),
                   "twenty more answers for every client")

    try:
        for thread in threads:
            thread.start()
        for number in (signal.SIGTERM, signal.SIGHUP):
            everybody_got_more()
            if number is signal.SIGTERM:
                assert room.ended_well()
                room.start()
            else:
                room.send(number)
        everybody_got_more()
    finally:
        for client in clients:
            client.is_over.set()
        for thread in threads:
            thread.join(30)
    assert [wrong for client in clients for wrong in client.wrong] == []
    assert all(client.closed <= 1 for client in clients)  # by the restart, and not by the reload
    assert "Traceback" not in room.log
    assert room.ended_well()


@pytest.mark.skipif(sys.platform != "linux", reason="reads the limits of a process in /proc")
def test_the_process_raises_its_limit_of_open_files_to_what_the_connections_need(room: World) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        room.extra = "[calendar_service.limits]\nconnections = 3000\n"
        room.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert room.process is not None
    found = Path(f"/proc/{room.process.pid}/limits").read_text()
    (line,) = [line.split() for line in found.splitlines() if line.startswith("Max open files")]
    assert int(line[3]) == 3512
    assert room.ended_well()
