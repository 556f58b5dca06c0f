"""A bounded run of the fuzzers; docs/development.md tells how to run them for long."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import SEEDS, everything

ROOT = Path(__file__).parent.parent.parent
RUNS, MEMORY_MB = 10_000, 400
APART = (sys.executable, "-c", "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))")
"""A process takes over the most memory that its parent ever held: this one stands between, with little."""


@settings(max_examples=300)
@given(data=st.data())
def test_no_damage_to_a_seed_raises(data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(SEEDS["everything"]))
    start = data.draw(st.integers(1, len(seed)))
    everything(seed[:start] + data.draw(st.binary(max_size=12)) + seed[start + data.draw(st.integers(0, 40)):])


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
def test_atheris_finds_nothing_in_a_short_run_with_little_memory(tmp_path: Path) -> None:
    done = subprocess.run(
        [*APART, sys.executable, "-m", "tests.fuzz.run", "everything", str(tmp_path), f"-runs={RUNS}", "-seed=1",
         "-timeout=20", f"-rss_limit_mb={MEMORY_MB}"], cwd=ROOT, capture_output=True, check=False, text=True,
        timeout=300, env={k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")})
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"Done {RUNS} runs" in done.stderr
    assert not list(tmp_path.glob("finding-*"))
