"""Turns: how many requests to Exchange are under way, and who comes next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred

from otjd.gather.exchange_turns import AT_ONCE, LIMIT_KEPT_S, MOST_AT_ONCE, Turns
from otjd.seam import deferred


class Crowd:
    """Requests that take a turn each until the test ends them."""

    def __init__(self) -> None:
        self.at = 0.0
        self.turns = Turns(lambda: self.at)
        self.under_way: list[tuple[str, Deferred[None]]] = []
        self.begun: list[str] = []
        self.asked: list[Deferred[None]] = []

    def ask(self, number: int = 1, *, subscribes: bool = False) -> list[Deferred[None]]:
        asked = [deferred(self._request("subscribe" if subscribes else "read")) for _ in range(number)]
        self.asked += asked
        return asked

    async def _request(self, name: str) -> None:
        with suppress(CancelledError):
            async with self.turns.turn(subscribes=name == "subscribe"):
                self.begun.append(name)
                end: Deferred[None] = Deferred()
                self.under_way.append((name, end))
                await end

    def answer(self, number: int = 1) -> None:
        for _ in range(number):
            self.turns.answered()
            self.under_way.pop(0)[1].callback(None)

    def end(self) -> None:
        for one in reversed(self.asked):
            one.cancel()

    def grow(self, requests: int = 1000) -> None:
        self.ask(requests)
        self.answer(600)

    def count(self, name: str) -> int:
        return sum(one == name for one, _ in self.under_way)


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    made = Crowd()
    yield made
    made.end()


def test_what_every_exchange_allows_grows_while_it_answers_to_what_most_allow(crowd: Crowd) -> None:
    crowd.ask(1000)
    assert len(crowd.under_way) == AT_ONCE
    crowd.answer(AT_ONCE)
    assert len(crowd.under_way) == AT_ONCE
    crowd.answer(1)
    assert len(crowd.under_way) == AT_ONCE + 1
    crowd.answer(600)
    assert len(crowd.under_way) == MOST_AT_ONCE


def test_what_is_not_used_does_not_grow(crowd: Crowd) -> None:
    for _ in range(1000):
        crowd.ask(5)
        crowd.answer(5)
    assert crowd.turns.width == AT_ONCE


def test_a_refusal_halves_it_once_for_a_burst_and_answers_bring_it_back(crowd: Crowd) -> None:
    crowd.grow()
    for _ in range(9):
        crowd.turns.refused()
    assert crowd.turns.width == MOST_AT_ONCE // 2
    crowd.at = 2.0
    crowd.turns.refused()
    assert crowd.turns.width == MOST_AT_ONCE // 4
    crowd.ask(1000)
    crowd.answer(800)
    assert crowd.turns.width == MOST_AT_ONCE


def test_a_number_that_was_too_many_is_not_tried_again_for_an_hour(crowd: Crowd) -> None:
    crowd.grow(10_000)
    crowd.turns.refused(limit=14)
    crowd.turns.refused(limit=12)
    crowd.answer(1000)
    assert (crowd.turns.width, len(crowd.under_way)) == (12, 12)
    crowd.at = LIMIT_KEPT_S
    crowd.answer(1000)
    assert crowd.turns.width == MOST_AT_ONCE


def test_subscriptions_leave_most_turns_to_reads_and_neither_waits_for_the_end_of_the_other(crowd: Crowd) -> None:
    crowd.ask(100, subscribes=True)
    crowd.ask(100)
    assert (crowd.count("subscribe"), crowd.count("read")) == (3, 7)
    assert crowd.turns.for_reads == 7
    crowd.answer(40)
    assert crowd.begun.count("subscribe") > 10
    assert crowd.begun.count("read") > 30


def test_at_one_at_a_time_both_still_go_on(crowd: Crowd) -> None:
    for burst in range(10):
        crowd.at = 2.0 * burst
        crowd.turns.refused(limit=1)
    crowd.ask(30, subscribes=True)
    crowd.ask(30)
    while crowd.under_way:
        assert len(crowd.under_way) == 1
        crowd.answer()
    assert crowd.begun[:9].count("subscribe") in (3, 4)
    assert len(crowd.begun) == 60


def test_without_subscriptions_all_turns_are_for_reads(crowd: Crowd) -> None:
    crowd.grow()
    assert crowd.turns.for_reads == MOST_AT_ONCE


@given(st.lists(st.tuples(st.sampled_from(["read", "subscribe", "answer", "refused", "limit", "cancel"]),
                          st.integers(0, 30)), max_size=60))
def test_whatever_happens_none_is_forgotten_and_none_is_too_many(steps: list[tuple[str, int]]) -> None:
    crowd = Crowd()
    asked = crowd.asked
    most = AT_ONCE
    for step, number in steps:
        crowd.at += 0.5
        match step:
            case "read" | "subscribe":
                crowd.ask(number, subscribes=step == "subscribe")
            case "answer":
                crowd.answer(min(number, len(crowd.under_way)))
            case "refused":
                crowd.turns.refused()
            case "limit":
                crowd.turns.refused(limit=number)
            case _ if number < len(asked):
                before = len(crowd.under_way)
                asked.pop(number).cancel()
                crowd.under_way = [(name, end) for name, end in crowd.under_way if not end.called]
                assert len(crowd.under_way) >= before - 1
        most = max(most, crowd.turns.width)
        assert len(crowd.under_way) <= most
        assert 1 <= crowd.turns.for_reads <= crowd.turns.width <= MOST_AT_ONCE
    while crowd.under_way:
        crowd.answer()
    assert all(one.called for one in asked)


@pytest.mark.parametrize("subscribes", [True, False])
def test_who_gives_up_while_it_waits_takes_no_turn(crowd: Crowd, *, subscribes: bool) -> None:
    crowd.ask(AT_ONCE)
    (waiting,) = crowd.ask(subscribes=subscribes)
    waiting.cancel()
    crowd.answer(AT_ONCE)
    assert len(crowd.begun) == AT_ONCE
    crowd.ask(AT_ONCE)
    assert len(crowd.under_way) == AT_ONCE
