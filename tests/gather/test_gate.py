"""The gate: whether a calendar system may be asked, by the answers it gave."""

from __future__ import annotations

import pytest

from otjd.gather.gate import Access, Gate


def gate(most: int = 16) -> Gate:
    return Gate(most, jitter=lambda: 0.0)


def test_a_single_failure_shuts_nothing() -> None:
    shut = gate()
    shut.failed(0.0)
    shut.failed(0.0)
    shut.answered(0.0)
    shut.failed(0.0)
    assert shut.access is Access.OPEN


def test_a_system_that_is_down_is_probed_at_growing_intervals_up_to_a_minute() -> None:
    down, at, waits = gate(), 0.0, []
    for _ in range(3):
        down.failed(at)
    for _ in range(20):
        down.failed(at)  # those that were under way
    for _ in range(8):
        assert (down.access, down.width) == (Access.DOWN, 1)
        assert down.is_shut(at)
        waits.append(down.opens_at - at)
        at = down.opens_at
        assert not down.is_shut(at)
        down.failed(at)
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]
    assert down.answered(at) is True
    assert (down.access, down.is_shut(at)) == (Access.OPEN, False)


def test_throttling_halves_what_runs_at_once_and_answers_bring_it_back() -> None:
    busy = gate()
    for _ in range(5):
        busy.throttled(0.0, 10.0)  # one burst
    assert busy.width == 8
    assert busy.is_shut(9.0)
    assert not busy.is_shut(10.0)
    busy.throttled(10.0, 10.0)
    assert busy.width == 4
    for _ in range(200):
        busy.answered(25.0)
    assert (busy.access, busy.width) == (Access.OPEN, 16)


@pytest.mark.parametrize(("asked_s", "paused_s"), [(-5.0, 1.0), (0.0, 1.0), (30.0, 30.0), (1e9, 3600.0)])
def test_a_pause_is_neither_none_nor_for_ever(asked_s: float, paused_s: float) -> None:
    busy = gate()
    busy.throttled(0.0, asked_s)
    assert busy.opens_at == paused_s


def test_a_refused_sign_in_is_tried_again_after_half_an_hour_or_a_reload() -> None:
    refused = gate()
    refused.refused(0.0)
    refused.failed(1.0)
    assert (refused.access, refused.opens_at) == (Access.UNAUTHORIZED, 1800.0)
    refused.reset()
    assert not refused.is_shut(2.0)


def test_what_the_system_takes_at_once_may_change() -> None:
    growing = gate(10)
    growing.answered(0.0)
    growing.most = 27
    assert growing.width == 27
    growing.throttled(0.0, 10.0)
    assert growing.width == 13
    growing.most = 5
    assert growing.width == 5
