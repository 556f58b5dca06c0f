"""Small files in the state directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from otjd.gather.state_files import read_state, write_privately, write_state


def test_what_was_kept_comes_back_and_is_for_the_service_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "m365.json"
    write_state(path, {"a": 1})
    write_state(path, {"a": {"b": "ü"}})
    assert read_state(path) == {"a": {"b": "ü"}}
    assert [one.stat().st_mode & 0o777 for one in (path.parent, path)] == [0o700, 0o600]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff", b"[" * 100_000])
def test_what_cannot_be_read_counts_as_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m365.json"
    assert read_state(path) == {}
    write_privately(path, content)
    assert read_state(path) == {}
