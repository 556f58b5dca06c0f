"""Subscriptions that are kept over a restart."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from otjd.gather.graph_kept import Kept, read_kept, write_kept

ROOM = "room@example.com"
KEPT = Kept("7f105c7d", "s3cr3t", "https://otj.example.com/notifications/m365", datetime(2026, 11, 26, tzinfo=UTC))


def test_what_is_kept_comes_back_and_its_secret_is_not_shown(tmp_path: Path) -> None:
    write_kept(tmp_path / "kept.json", {ROOM: KEPT})
    assert read_kept(tmp_path / "kept.json") == {ROOM: KEPT}
    assert "s3cr3t" not in repr(KEPT)


@pytest.mark.parametrize("spoilt", [
    {"id": 5}, {"id": ""}, {"client_state": None}, {"url": []}, {"expires": "never"}, {"expires": 5}])
def test_what_is_of_no_use_costs_no_other(tmp_path: Path, spoilt: dict[str, Any]) -> None:
    path = tmp_path / "kept.json"
    write_kept(path, {ROOM: KEPT, "b": KEPT})
    content = json.loads(path.read_bytes())
    content["b"] |= spoilt
    path.write_text(json.dumps({**content, "c": [], "d": None, "e": "x", "f": {}}))
    assert read_kept(path) == {ROOM: KEPT}
