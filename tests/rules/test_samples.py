"""Whole invitations, and the alias that must come out."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from otjd.rules.engine import Engine
from otjd.rules.invitation_json import invitation_from_json
from otjd.rules.registry import supported

OWN = sorted((Path(__file__).parent.parent / "data" / "invitations").glob("*.json"))
SHARED = sorted((Path(__file__).parents[3] / "shared" / "invitations").glob("*.json"))
BY_THE_FALLBACK = {"multi-05-no-rule-matches-then-fallback"}
"""Samples whose rules must find nothing, so that types that are not read yet do not matter."""


def check(path: Path) -> None:
    sample = json.loads(path.read_text("utf-8"))
    meeting, rules = invitation_from_json(sample)
    assert rules is not None
    outcome = Engine(rules, clock=time.thread_time).evaluate(meeting)
    assert not outcome.failures
    alias = outcome.match.alias if outcome.match else None
    assert acceptable(alias, sample), f"{sample['id']}: {alias!r}, expected {sample['expected_alias']!r}"
    if outcome.match:
        found = dict(outcome.match.variables)
        assert {k: found.get(k) for k in sample["expected_variables"]} == sample["expected_variables"]


def acceptable(alias: str | None, sample: dict[str, Any]) -> bool:
    kind = sample["alias_check"]
    if kind == "one_of":
        return alias in sample["expected_alias_any_of"]
    if kind == "pattern":
        return alias is not None and re.fullmatch(sample["expected_alias_pattern"], alias) is not None
    return bool(alias == (None if kind == "null" else sample["expected_alias"]))


def decided_here(path: Path) -> bool:
    """Whether the alias depends only on types that are read, and on the fallback."""
    sample = json.loads(path.read_text("utf-8"))
    if path.stem in BY_THE_FALLBACK or sample["alias_check"] == "null":
        return True
    rules = sample.get("rules") or [sample["rule"]]
    return all(rule["meeting_type"] in supported() for rule in rules if rule)


@pytest.mark.parametrize("path", OWN, ids=lambda p: p.stem)
def test_own_sample(path: Path) -> None:
    check(path)


@pytest.mark.parametrize("path", [p for p in SHARED if decided_here(p)], ids=lambda p: p.stem)
def test_shared_sample(path: Path) -> None:
    check(path)


def test_the_shared_samples_are_there() -> None:
    if not SHARED:
        pytest.skip("the sample invitations are not beside the checkout (../shared/invitations)")
    assert len([p for p in SHARED if decided_here(p)]) >= 20
