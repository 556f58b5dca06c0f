from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from otjd.config.loader import Loaded, load
from tests.config.samples import Read


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Write otjd.toml, and endpoints.csv where one is given, into a folder beside `calendars`, and load it."""
    (tmp_path / "calendars").mkdir()

    def read(toml: str | bytes, csv: str | bytes | None = None, *,
             environ: Mapping[str, str] | None = None) -> Loaded:
        for name, content in (("otjd.toml", toml), ("endpoints.csv", csv)):
            if content is not None:
                file = tmp_path / name
                file.write_bytes(content.encode() if isinstance(content, str) else content)
                file.chmod(0o600)
        return load(tmp_path / "otjd.toml", environ=environ or {})

    return read
