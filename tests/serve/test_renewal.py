"""Certificates that are renewed by replacing their files, with real handshakes."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from otjd.operate.board import AlarmName, StatusBoard
from otjd.serve.renewal import CHECK_S, PATIENCE, Renewal
from otjd.serve.tls import ReloadingContextFactory
from otjd.simulate.certificates import make_certificates
from tests.serve.http_world import NOW, Served, read_answers, request

SOON = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def reactor() -> Any:
    from twisted.internet import reactor

    return reactor


def at_once(job: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    return maybeDeferred(job, *arguments)


class Watched:
    """A listener's certificate, and what looks after it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files = make_certificates(directory, [], SOON)
        self.context = ReloadingContextFactory((self.files.certificate, self.files.private_key))
        self.contexts = {"0.0.0.0:443": self.context}
        self.clock = Clock()
        self.board = StatusBoard(lambda: NOW)
        self.renewals = 0
        self.renewal = Renewal(self.contexts.items, self.board, clock=self.clock, in_thread=at_once,
                               renewed=self.count)
        self.renewal.start()

    def count(self) -> None:
        self.renewals += 1

    def looks(self, times: int) -> None:
        for _ in range(times):
            self.clock.advance(CHECK_S)

    def renew(self, days: int = 30) -> None:
        make_certificates(self.directory, [], SOON, days=days)

    @property
    def is_renewed(self) -> bool:
        return self.context.certificate_end == SOON + timedelta(days=30)

    def alarms(self) -> list[str]:
        return [a.instance for a in self.board.alarms() if a.name is AlarmName.CONFIGURATION]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_files_that_stay_as_they_are_are_not_read(watched: Watched) -> None:
    before = watched.context.stamp
    watched.looks(5)
    assert (watched.renewals, watched.context.stamp) == (0, before)


def test_new_files_are_used_when_they_have_settled(watched: Watched) -> None:
    watched.renew()
    watched.looks(1)
    assert not watched.is_renewed
    watched.looks(1)
    assert watched.is_renewed
    watched.looks(3)
    assert watched.renewals == 1


def test_a_file_that_keeps_its_time_and_size_is_new_by_its_inode(watched: Watched) -> None:
    pair = [watched.files.certificate, watched.files.private_key]
    old = [path.stat() for path in pair]
    kept = [path.rename(path.with_suffix(".old")) for path in pair]
    watched.renew()
    for path, stat in zip(pair, old, strict=True):
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    watched.looks(2)
    assert watched.is_renewed
    assert all(path.exists() for path in kept)


def test_a_half_written_pair_is_waited_for_without_an_alarm(watched: Watched) -> None:
    key = watched.files.private_key.read_bytes()
    watched.renew()
    new_key = watched.files.private_key.read_bytes()
    watched.files.private_key.write_bytes(key)  # the certificate was written first
    watched.looks(PATIENCE)
    assert not watched.is_renewed
    watched.files.private_key.write_bytes(new_key)
    watched.looks(2)
    assert watched.is_renewed
    assert watched.alarms() == []


def test_a_pair_that_stays_broken_has_an_alarm_until_it_is_whole(
        watched: Watched, logged_events: list[dict[str, Any]]) -> None:
    certificate = watched.files.certificate.read_bytes()
    watched.files.certificate.write_bytes(certificate[:300])
    watched.looks(PATIENCE + 5)
    assert watched.alarms() == ["0.0.0.0:443"]
    assert len([e for e in logged_events if "is not used" in str(e.get("details"))
                and e["log_format"] == "{details}"]) == 1
    watched.renew()
    watched.looks(2)
    assert watched.is_renewed
    assert watched.alarms() == []


def test_files_that_are_put_back_or_removed_with_their_listener_leave_no_alarm(watched: Watched) -> None:
    watched.files.private_key.unlink()
    watched.looks(PATIENCE + 1)
    assert watched.alarms() == ["0.0.0.0:443"]
    watched.contexts.clear()
    watched.looks(1)
    assert watched.alarms() == []


async def test_a_reload_in_the_meantime_is_no_second_renewal(watched: Watched) -> None:
    watched.renew()
    watched.looks(1)
    watched.context.reload()
    watched.looks(3)
    assert (watched.is_renewed, watched.renewals) == (True, 0)
    await watched.renewal.stop()
    assert not watched.clock.getDelayedCalls()


async def test_open_connections_stay_when_a_certificate_is_renewed(reactor: Any, watched: Watched) -> None:
    def ask(client: ssl.SSLSocket) -> list[int]:
        client.sendall(request("GET", "/healthz", b""))
        return [a.status for a in read_answers(client.recv(65536))]

    def serial(client: ssl.SSLSocket) -> object:
        return (client.getpeercert() or {})["serialNumber"]

    def renew(served: Served) -> tuple[list[int], bool]:
        with served.socket() as before:
            answers = ask(before)
            watched.renew()
            watched.looks(2)
            with served.socket() as after:
                return answers + ask(before) + ask(after), serial(before) != serial(after)

    async with Served(watched.files, reactor) as served:
        watched.contexts["0.0.0.0:443"] = served.contexts
        assert await deferToThread(renew, served) == ([200] * 3, True)
