from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock

from otjd.operate.board import AlarmName
from otjd.operate.status import status_document
from otjd.operate.status_file import INTERVAL_S, StatusFile, write_atomically
from otjd.operate.threads import in_threads_of
from tests.conftest import LoggedFailures
from tests.operate.world import World


def at_once(work: Callable[[], Any]) -> Deferred[Any]:
    return maybeDeferred(work)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def status_file(path: Path, world: World, clock: Clock, **options: Any) -> StatusFile:
    return StatusFile(path, world.snapshot, **{"clock": clock, "in_thread": at_once, **options})


async def test_the_file_is_the_status_document_and_is_written_every_ten_seconds(tmp_path: Path) -> None:
    path, world, clock = tmp_path / "status.json", World(), Clock()
    file = status_file(path, world, clock)
    file.start()
    assert json.loads(path.read_text()) == status_document(world.snapshot())
    world.board.raise_alarm(AlarmName.CONFIGURATION, "otj1", "refused")
    clock.advance(INTERVAL_S - 1)
    assert json.loads(path.read_text())["alarms"] == []
    clock.advance(1)
    assert len(json.loads(path.read_text())["alarms"]) == 1
    await file.stop()
    clock.advance(60)
    assert path.exists()
    assert names(tmp_path) == ["status.json"]
    assert not clock.getDelayedCalls()


async def test_everybody_may_read_the_file_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    before = os.umask(0o077)
    try:
        write_atomically(path, b"{}")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644


async def test_it_is_written_in_a_thread(tmp_path: Path) -> None:
    path, world, clock = tmp_path / "status.json", World(), Clock()
    file = status_file(path, world, clock, in_thread=in_threads_of(reactor))  # type: ignore[arg-type]
    file.start()
    await file.stop()  # waits for the run in progress
    assert json.loads(path.read_text())["node"]["name"] == "otj1"


async def test_a_reader_finds_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    write_atomically(path, b"old")
    with path.open("rb") as reader:
        write_atomically(path, b"new and longer")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new and longer"


async def test_a_file_that_cannot_be_written_is_reported_once_and_tried_again(
        tmp_path: Path, logged_failures: LoggedFailures, logged_events: list[dict[str, Any]]) -> None:
    folder = tmp_path / "gone"
    world, clock = World(), Clock()
    file = status_file(folder / "status.json", world, clock)
    file.start()
    clock.pump([INTERVAL_S] * 5)
    (event,) = logged_failures.flush()
    assert event["path"] == str(folder / "status.json")
    assert "No such file" in (file.last_error or "")
    folder.mkdir()
    clock.advance(INTERVAL_S)
    assert (folder / "status.json").exists()
    assert file.last_error is None
    assert [e for e in logged_events if "written again" in e.get("log_format", "")]
    folder.joinpath("status.json").unlink()
    folder.rmdir()
    clock.advance(INTERVAL_S)
    assert len(logged_failures.flush()) == 1  # a new failure is told anew
    await file.stop()


async def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "status.json"
    write_atomically(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fchmod", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["status.json"]


async def test_a_link_in_the_place_of_the_new_file_is_not_followed(tmp_path: Path) -> None:
    path, victim = tmp_path / "status.json", tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".status.json.new").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        write_atomically(path, b"{}")
    write_atomically(path, b"{}")
    assert victim.read_text() == "precious"


async def test_a_status_that_cannot_be_made_is_our_bug_and_tried_again(
        tmp_path: Path, logged_failures: LoggedFailures) -> None:
    world, clock = World(), Clock()
    broken = [ZeroDivisionError("ours")]

    def in_thread(work: Callable[[], Any]) -> Deferred[Any]:
        if broken:
            raise broken.pop()
        work()
        return succeed(None)

    file = status_file(tmp_path / "status.json", world, clock, in_thread=in_thread)
    file.start()
    assert len(logged_failures.flush()) == 1
    assert file.last_error == "ours"
    clock.advance(INTERVAL_S)
    assert file.last_error is None
    assert (tmp_path / "status.json").exists()
    await file.stop()
