from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.logger import Logger

from otjd.operate.logs import LogFile, LogOutput, Writer


def said(output: LogOutput, message: str) -> None:
    Logger("otjd.test", observer=output).info(message)


def words(path: Path) -> list[str]:
    return [line.split()[-1] for line in path.read_text().splitlines()]


def test_a_log_file_is_appended_to_and_not_for_everybody_to_read(tmp_path: Path) -> None:
    path = tmp_path / "otjd.log"
    for word in ("one", "two"):
        output = LogOutput(path=path)
        said(output, word)
        output.close()
    assert words(path) == ["one", "two"]
    assert path.stat().st_mode & 0o007 == 0


def test_a_moved_file_is_followed_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "otjd.log"
    output = LogOutput(path=path)
    said(output, "one")
    path.rename(tmp_path / "otjd.log.1")
    said(output, "two")
    path.unlink()
    said(output, "three")
    output.close()
    assert words(tmp_path / "otjd.log.1") == ["one"]
    assert words(path) == ["three"]


def test_reopening_takes_the_name_again(tmp_path: Path) -> None:
    path = tmp_path / "otjd.log"
    output = LogOutput(path=path)
    path.rename(tmp_path / "otjd.log.1")
    output.reopen()
    assert path.exists()
    output.close()


def test_a_file_that_cannot_be_opened_again_is_written_on(tmp_path: Path) -> None:
    folder, moved = tmp_path / "log", tmp_path / "moved"
    folder.mkdir()
    output = LogOutput(path=folder / "otjd.log")
    folder.rename(moved)
    with pytest.raises(FileNotFoundError):
        output.reopen()
    for word in ("one", "two"):
        said(output, word)
    assert words(moved / "otjd.log")[1:] == ["one", "two"]
    assert "cannot be opened" in (moved / "otjd.log").read_text().splitlines()[0]
    folder.mkdir()
    said(output, "three")
    output.close()
    assert words(folder / "otjd.log") == ["three"]


def test_a_folder_that_cannot_be_looked_into_keeps_the_file(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = LogFile(tmp_path / "otjd.log")

    def denied(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", denied)
        file.write("still here")
    file.close()
    assert (tmp_path / "otjd.log").read_text() == "still here"


def test_a_new_configuration_takes_over(tmp_path: Path) -> None:
    stream = io.StringIO()
    output = LogOutput(stream=stream)
    said(output, "one")
    output.reopen()  # nothing to open
    output.configure(level="info", log_format="json", path=tmp_path / "otjd.log")
    said(output, "two")
    output.configure(level="warn", log_format="text", path=tmp_path / "other.log")
    said(output, "three")
    output.configure(level="info", log_format="text", path=None)
    said(output, "four")
    assert [line.split()[-1] for line in stream.getvalue().splitlines()] == ["one", "four"]
    assert json.loads((tmp_path / "otjd.log").read_text())["message"] == "two"
    assert (tmp_path / "other.log").read_text() == ""


def test_a_configuration_that_fails_changes_nothing(tmp_path: Path) -> None:
    output = LogOutput(path=tmp_path / "otjd.log")
    with pytest.raises(FileNotFoundError):
        output.configure(level="debug", log_format="json", path=tmp_path / "none" / "otjd.log")
    with pytest.raises(ValueError, match="level"):
        output.configure(level="loud", log_format="json", path=tmp_path / "other.log")
    said(output, "one")
    output.close()
    assert words(tmp_path / "otjd.log") == ["one"]


def test_a_stream_that_knows_ascii_only_takes_every_character() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "ascii")
    said(LogOutput(stream=stream), "Møterom")
    assert b"M\\xf8terom" in raw.getvalue()


def test_stdout_is_the_stream_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    said(LogOutput(), "hello")
    assert capsys.readouterr().out.endswith("] hello\n")


def test_a_file_takes_what_utf8_cannot_carry(tmp_path: Path) -> None:
    file: Writer = LogFile(tmp_path / "otjd.log")
    file.write("half \ud800\n")
    file.flush()
    assert (tmp_path / "otjd.log").read_text() == "half \\ud800\n"


TWISTD_FILE = """
from pathlib import Path
from twisted.application.service import Application, Service
from twisted.internet import reactor
from twisted.logger import ILogObserver, Logger
from otjd.operate.logs import LogOutput

class Once(Service):
    def startService(self):
        print("printed")
        Logger("otjd.test").warn("Hello {room}", room="a@b.c")
        reactor.callWhenRunning(reactor.stop)

application = Application("test")
application.setComponent(ILogObserver, LogOutput(log_format="json", path=PATH))
Once().setServiceParent(application)
"""


@pytest.mark.parametrize("to_file", [True, False])
def test_twistd_logs_through_it(tmp_path: Path, to_file: bool) -> None:
    path = tmp_path / "otjd.log"
    (tmp_path / "test.tac").write_text(TWISTD_FILE.replace("PATH", f"Path({str(path)!r})" if to_file else "None"))
    done = subprocess.run(
        [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-ny", "test.tac", "--pidfile="],
        capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})
    lines = [json.loads(line) for line in (path.read_text() if to_file else done.stdout).splitlines()]
    assert ("Hello a@b.c", "warn", "a@b.c") in [(e["message"], e["level"], e.get("room")) for e in lines]
    assert "printed" in [e["message"] for e in lines]
    assert not to_file or not done.stdout
