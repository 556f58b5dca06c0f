from __future__ import annotations

from twisted.internet.task import Clock

from otjd.serve import throttle
from otjd.serve.throttle import FREE_FAILURES, LONGEST_DELAY_S, Throttle


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    guard = Throttle(Clock())
    for number in range(FREE_FAILURES):
        assert guard.failed(f"2001:db8::{number:x}") == 0
    assert guard.failed("2001:db8::ffff") > 0
    assert guard.failed("2001:db8:0:1::1") == 0


def test_an_address_that_is_none_is_counted_by_its_text() -> None:
    guard = Throttle(Clock())
    assert [guard.failed("") for _ in range(FREE_FAILURES + 1)][-1] > 0


def test_delays_have_an_end_and_so_has_memory() -> None:
    guard = Throttle(Clock())
    assert max(guard.failed("10.0.0.1") for _ in range(5000)) == LONGEST_DELAY_S
    for number in range(throttle.ADDRESSES_LIMIT + 10):
        guard.failed(f"host {number}")
    assert len(guard._records) == throttle.ADDRESSES_LIMIT
    assert guard.failed("10.0.0.1") == 0  # the one that was silent for longest is forgotten first
