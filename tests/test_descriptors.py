"""How many connections the configuration and the system allow."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from otjd.config.loader import load
from otjd.config.services import Limits as Configured
from otjd.descriptors import SPARE, connections_that_fit, make_room
from otjd.listeners import limits_of
from otjd.serve.limits import Limits


@pytest.fixture
def hard() -> Iterator[int]:
    """A soft limit of 2,000 descriptors; gives the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (2000, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def limits(directory: Path, toml: str) -> Limits:
    path = directory / "otjd.toml"
    path.write_text(f"[calendar_service.limits]\n{toml}\n")
    return limits_of(load(path, environ={}).or_raise())


def test_the_defaults_of_the_configuration_are_those_of_the_service() -> None:
    assert Limits(**asdict(Configured())) == Limits()


def test_the_limits_of_the_configuration_are_those_of_the_service(tmp_path: Path) -> None:
    found = limits(tmp_path, "body_bytes = 20000\nconnections = 11")
    assert (found.body_bytes, found.connections) == (20000, 11)


@pytest.mark.usefixtures("hard")
def test_no_more_connections_are_taken_than_the_system_lets_us_hold(tmp_path: Path) -> None:
    assert limits(tmp_path, "connections = 200000").connections == 2000 - SPARE


def test_the_soft_limit_is_raised_where_it_is_too_low_and_never_lowered(hard: int) -> None:
    make_room(2000)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (2000 + SPARE, hard)
    assert connections_that_fit() == 2000
    make_room(10)
    assert connections_that_fit() == 2000


def test_the_hard_limit_is_the_most_there_is(hard: int) -> None:
    make_room(2 * hard)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
