from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from otjd.operate.board import AlarmName

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "etc" / "otjd.service"
TWISTD = "/opt/otjd/bin/twistd"


def settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        key, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def test_the_unit_starts_reloads_and_stops_as_the_contract_says() -> None:
    unit = settings()
    assert unit["ExecStart"] == [f"{TWISTD} --nodaemon --pidfile= otjd --config /etc/otjd/otjd.toml"]
    assert unit["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert int(unit["TimeoutStopSec"][0]) > 5
    assert (unit["StateDirectory"], unit["StateDirectoryMode"]) == (["otjd"], ["0700"])


def test_what_the_unit_forbids_leaves_callbacks_of_pyopenssl_alive() -> None:
    assert "MemoryDenyWriteExecute" not in settings()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / "otjd.service"  # verify looks for the program
    copy.write_text(UNIT.read_text().replace(TWISTD, shutil.which("true") or ""))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True,
                          check=False, timeout=60)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "otjd.service" in line]) == (0, [])


def test_the_operators_page_tells_what_to_do_about_every_alarm() -> None:
    page = (ROOT / "docs" / "operating.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `otj_")]
    named = {name for row in rows for name in AlarmName if f"`{name}`" in row.split("|")[1]}
    assert named == set(AlarmName)
