from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world whose service, if the test left it running, is killed."""
    world = World(tmp_path)
    yield world
    if world.process is not None:
        world.end(signal.SIGKILL)
