"""The service as its own process, from start to kill -9: what its operator relies on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.world import ROOT, World, event, free_port, wait_until

BOARDROOM, STUDIO, LOUNGE = "boardroom@example.com", "studio@example.com", "lounge@example.com"
NOW = datetime.now(UTC).replace(microsecond=0, second=0)


class CodecProcess:
    """`otjd simulate codec` as its own process."""

    def __init__(self, profile: str, port: int, directory: Path) -> None:
        self.log = directory / f"codec-{port}.log"
        self.process = subprocess.Popen(
            [str(Path(sys.executable).with_name("otjd")), "simulate", "codec", "--profile", profile,
             "--port", str(port), "--username", "admin", "--password", "codec-secret"],
            stdout=self.log.open("wb"), stderr=subprocess.STDOUT, env={**os.environ, "COLUMNS": "160"})

    def shows(self, text: str) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        # the newest table is the last thing that was printed
        return text in self.log.read_text().rpartition("Subject")[2]

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture
def rooms(world: World) -> Iterator[tuple[World, dict[str, CodecProcess]]]:
    """Three file rooms: two Poly endpoints in one, a codec in another, one of each in the third."""
    ports = {"tc7": free_port(), "roomos11": free_port()}
    world.poly("Boardroom Group 500", BOARDROOM, "boardroom")
    world.poly("Boardroom Trio", BOARDROOM, "boardroom-trio")
    world.cisco("Studio SX20", STUDIO, ports["tc7"])
    world.poly("Lounge X50", LOUNGE, "lounge")
    world.cisco("Lounge Room Kit", LOUNGE, ports["roomos11"])
    for room in (BOARDROOM, STUDIO, LOUNGE):
        world.write_calendar(room, event(f"first-{room}", NOW, alias="first@video.example.com", subject="First"))
    codecs = {p: CodecProcess(p, port, world.directory) for p, port in ports.items()}
    yield world, codecs
    for codec in codecs.values():
        codec.end()


def contact(world: World, name: str) -> str | None:
    (found,) = [e["last_contact_time"] for e in world.get("/api/v1/endpoints")["endpoints"]
                if e["endpoint_name"] == name]
    assert found is None or isinstance(found, str)
    return found


def subjects(world: World, room: str) -> set[str]:
    return {m["subject"] for m in world.meetings(room)}


def test_meetings_reach_codecs_and_a_change_of_the_file_follows(
        rooms: tuple[World, dict[str, CodecProcess]]) -> None:
    world, codecs = rooms
    world.start()
    for codec in codecs.values():
        wait_until(partial(codec.shows, "First"), "the codec shows the first meeting")
    for room in (STUDIO, LOUNGE):
        world.write_calendar(room, event("second", NOW + timedelta(hours=1), alias="second@video.example.com",
                                         subject="Second"))
    for codec in codecs.values():
        wait_until(partial(codec.shows, "second@video.example.com"), "the codec shows the change")
        assert not codec.shows("First")
    status = world.get("/status.json")
    assert status["rooms"] == {"total": 3, "fresh": 3, "stale": 0, "never_read": 0}
    assert status["endpoints"]["by_type"] == {"CISCO": 2, "POLY": 3, "WEBEX": 0}
    assert status["alarms"] == []
    wait_until(partial(contact, world, "Studio SX20"), "the list of the codec was verified")
    assert contact(world, "Lounge Room Kit")
    assert contact(world, "Boardroom Trio") is None
    assert world.ended_well()


def test_after_kill_9_and_without_the_folder_every_meeting_is_served_as_stale(world: World) -> None:
    world.poly("Boardroom", BOARDROOM, "boardroom")
    world.poly("Lounge", LOUNGE, "lounge")
    world.write_calendar(BOARDROOM, event("a", NOW, alias="a@video.example.com"), event("b", NOW))
    world.write_calendar(LOUNGE, event("c", NOW))
    world.start()
    wait_until(lambda: len(world.get("/api/v1/meetings")["meetings"]) == 3, "three meetings")
    before = world.get("/api/v1/meetings")["meetings"]
    wait_until(lambda: kept_meetings(world) == 3, "the meetings are on disk")
    world.end(signal.SIGKILL)
    shutil.rmtree(world.calendars)
    world.start()
    after = world.get("/api/v1/meetings")["meetings"]
    assert [{**m, "stale": False} for m in after] == before
    assert all(m["stale"] for m in after)
    wait_until(lambda: world.get("/status.json")["alarms"], "an alarm")
    status = world.get("/status.json")
    assert status["rooms"] == {"total": 2, "fresh": 0, "stale": 2, "never_read": 0}
    assert [(a["name"], a["instance"]) for a in status["alarms"]] == [("otj_file_gatherer_error", "files")]
    assert status["integrations"][0]["state"] == "failed"


def kept_meetings(world: World) -> int:
    import sqlite3

    (database,) = [p for p in (world.directory / "state").iterdir() if p.suffix in {".sqlite", ".db", ".sqlite3"}]
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        text = json.dumps([[str(v) for row in connection.execute(f"SELECT * FROM {t}") for v in row]  # noqa: S608
                           for t in tables])
    return sum(text.count(m["id"]) for m in world.get("/api/v1/meetings")["meetings"])


def test_sighup_takes_over_a_valid_configuration_and_refuses_a_broken_one(world: World) -> None:
    world.poly("Boardroom", BOARDROOM, "boardroom")
    world.write_calendar(BOARDROOM, event("a", NOW, alias="a@other.example.org"))
    world.start()
    wait_until(lambda: world.meetings(BOARDROOM), "a meeting")
    assert world.meetings(BOARDROOM)[0]["alias"] is None
    world.extra = """
[[rules]]
name = "their domain"
profile = "default"
priority = 20
meeting_type = "domain"
domain = "other.example.org"
"""
    world.poly("Lounge", LOUNGE, "lounge")
    world.write_calendar(LOUNGE, event("c", NOW))
    world.write_config()
    world.send(signal.SIGHUP)
    wait_until(lambda: world.meetings(BOARDROOM)[0]["alias"] == "a@other.example.org", "the new rule")
    assert world.meetings(BOARDROOM)[0]["matched_meeting_processing_rule"] == "their domain"
    wait_until(lambda: world.meetings(LOUNGE), "the new room")

    world.extra += "[[rules]]\nname = 7\n"
    world.write_config()
    world.send(signal.SIGHUP)
    alarms = wait_until(lambda: world.get("/api/v1/alarms")["alarms"], "an alarm")
    assert [(a["name"], a["instance"]) for a in alarms] == [("otj_configuration_error", "otj1")]
    assert "rules" in alarms[0]["details"]
    assert world.meetings(BOARDROOM)[0]["alias"] == "a@other.example.org"

    world.extra = ""
    world.write_config()
    world.send(signal.SIGHUP)
    wait_until(lambda: not world.get("/api/v1/alarms")["alarms"], "the alarm is lowered")
    assert world.ended_well()


def test_a_file_that_cannot_be_read_keeps_the_last_good_meetings(world: World) -> None:
    world.poly("Boardroom", BOARDROOM, "boardroom")
    world.poly("Lounge", LOUNGE, "lounge")
    world.write_calendar(BOARDROOM, event("a", NOW))
    world.write_calendar(LOUNGE, event("c", NOW))
    world.start()
    wait_until(lambda: subjects(world, BOARDROOM) == {"a"}, "the meeting")
    (world.calendars / f"{BOARDROOM}.ics").write_text("BEGIN:VCALENDAR\nthis is no calendar\nEND:VCALENDAR\n")
    (alarm,) = wait_until(lambda: world.get("/api/v1/alarms")["alarms"], "an alarm")
    assert (alarm["name"], alarm["instance"]) == ("otj_file_gatherer_error", BOARDROOM)
    assert f"{BOARDROOM}.ics" in alarm["details"]
    assert "line 2" in alarm["details"]
    assert [(m["subject"], m["stale"]) for m in world.meetings(BOARDROOM)] == [("a", True)]
    assert [m["stale"] for m in world.meetings(LOUNGE)] == [False]
    world.write_calendar(BOARDROOM, event("b", NOW))
    wait_until(lambda: not world.get("/api/v1/alarms")["alarms"], "the alarm is lowered")
    assert subjects(world, BOARDROOM) == {"b"}


def test_a_configuration_with_problems_prints_them_all_and_does_not_start(world: World) -> None:
    world.extra = '[[profiles]]\nname = "x"\nintegration = "nowhere"\nstart_bufer = 7\n'
    world.write_config()
    done = subprocess.run([str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "otjd", "--config",
                           world.config], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    for expected in ("start_bufer", "start_buffer", "nowhere"):
        assert expected in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def run_otjd(*arguments: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(Path(sys.executable).with_name("otjd")), *map(str, arguments)],
                          capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, "COLUMNS": "160"})


def test_otjd_status_shows_the_running_node(world: World) -> None:
    world.poly("Boardroom Group 500", BOARDROOM, "boardroom")
    world.write_calendar(BOARDROOM, event("a", NOW))
    world.start()
    shown = run_otjd("status", "--url", f"http://127.0.0.1:{world.operator_port}")
    assert shown.returncode == 0
    assert "Boardroom Group 500" in shown.stdout
    raw = run_otjd("status", "--json", "--url", f"http://127.0.0.1:{world.operator_port}")
    assert json.loads(raw.stdout)["node"]["name"] == "otj1"
    assert world.ended_well()
    assert run_otjd("status", "--url", f"http://127.0.0.1:{world.operator_port}").returncode == 2


def test_otjd_check_and_rules_test_use_the_same_configuration(world: World) -> None:
    world.poly("Boardroom", BOARDROOM, "boardroom")
    world.write_calendar(BOARDROOM, event("a", NOW, alias="a@video.example.com"))
    world.write_config()
    checked = run_otjd("check", "--config", world.config)
    assert checked.returncode == 0, checked.stdout
    tested = run_otjd("rules", "test", "--config", world.config, "--profile", "default", "--json",
                      world.calendars / f"{BOARDROOM}.ics")
    assert tested.returncode == 0
    line = json.loads(tested.stdout)
    assert (line["alias"], line["protocol"], line["rule"]) == ("a@video.example.com", "SIP", "our domain")
    world.extra = """
[[rules]]
name = "x"
profile = "default"
priority = 20
meeting_type = "regex"
match_string = "("
"""
    world.write_config()
    broken = run_otjd("check", "--config", world.config)
    assert broken.returncode == 1
    assert '"x".match_string' in broken.stdout
    assert "Traceback" not in broken.stderr
    refused = subprocess.run([Path(sys.executable).with_name("twistd"), "-n", "--pidfile=", "otjd", "--config",
                              world.config], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    assert '"x".match_string' in refused.stderr
    assert "Traceback" not in refused.stderr


def test_demo_shows_both_kinds_of_endpoint_and_leaves_nothing_behind(tmp_path: Path) -> None:
    shown = subprocess.run([str(Path(sys.executable).with_name("otjd")), "demo", "--seconds", "12"],
                           capture_output=True, text=True, timeout=90, check=False,
                           env={**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "160"})
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "https://127.0.0.1:" in shown.stdout
    for text in ("Poly", "Cisco", "Join"):
        assert text in shown.stdout
    assert "Traceback" not in shown.stdout + shown.stderr
    assert not list(tmp_path.iterdir())


def test_demo_says_what_is_wrong_with_a_folder_and_takes_any_name_of_one(tmp_path: Path) -> None:
    def demo(folder: Path) -> tuple[int, str]:
        ran = subprocess.run([str(Path(sys.executable).with_name("otjd")), "demo", "--seconds", "1", "--directory",
                              str(folder)], capture_output=True, text=True, timeout=90, check=False)
        return ran.returncode, ran.stdout + ran.stderr

    (tmp_path / "file").write_text("")
    code, printed = demo(tmp_path / "file")
    assert code == 1
    assert f"{tmp_path / 'file'} cannot be used: File exists" in printed
    code, printed = demo(tmp_path / 'my "own" [red] \\ calendars')
    assert (code, "calendar service" in printed) == (0, True), printed
