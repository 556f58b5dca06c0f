from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from otjd.poller import Backoff, Poller
from otjd.seam import deferred


class Job:
    """A job whose runs the test ends."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[float | None]] = []
        self.failures: list[tuple[Exception, int, float]] = []

    async def run(self) -> float | None:
        self.waiting.append(Deferred())
        return await self.waiting[-1]

    def failed(self, error: Exception, attempt: int, delay_s: float) -> None:
        self.failures.append((error, attempt, delay_s))

    @property
    def runs(self) -> int:
        return len(self.waiting)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def job() -> Job:
    return Job()


@pytest.fixture
def poller(clock: Clock, job: Job) -> Iterator[Poller]:
    yield Poller(job.run, clock=clock, interval_s=60, jitter=lambda: 0.0, failed=job.failed,
                 backoff=Backoff(5, 20))
    for waiting in job.waiting:
        if not waiting.called:
            waiting.callback(None)


def test_runs_at_once_and_an_interval_after_each_end(poller: Poller, job: Job, clock: Clock) -> None:
    poller.start()
    assert job.runs == 1
    clock.advance(1000)
    assert job.runs == 1  # one at a time
    job.waiting[-1].callback(None)
    clock.advance(59)
    assert job.runs == 1
    clock.advance(1)
    assert job.runs == 2


def test_a_run_may_say_when_the_next_is_due(poller: Poller, job: Job, clock: Clock) -> None:
    poller.start(delay_s=3)
    assert job.runs == 0
    clock.advance(3)
    job.waiting[-1].callback(7.0)
    clock.advance(7)
    assert job.runs == 2


def test_triggers_during_a_run_coalesce_into_one_more(poller: Poller, job: Job, clock: Clock) -> None:
    poller.start()
    for _ in range(5):
        poller.trigger()
    assert job.runs == 1
    job.waiting[-1].callback(None)
    clock.advance(0)
    assert job.runs == 2
    job.waiting[-1].callback(None)
    clock.advance(59)
    assert job.runs == 2


def test_a_trigger_between_runs_starts_one_and_replaces_the_planned_one(
        poller: Poller, job: Job, clock: Clock) -> None:
    poller.start()
    job.waiting[-1].callback(None)
    clock.advance(30)
    poller.trigger()
    assert job.runs == 2
    job.waiting[-1].callback(None)
    clock.advance(59)
    assert job.runs == 2


def test_errors_are_reported_backed_off_and_never_end_the_loop(poller: Poller, job: Job, clock: Clock) -> None:
    poller.start()
    for delay in (5, 10, 20, 20):
        job.waiting[-1].errback(ValueError("down"))
        runs = job.runs
        clock.advance(delay - 0.1)
        assert job.runs == runs
        clock.advance(0.1)
        assert job.runs == runs + 1
    assert [(attempt, delay) for _, attempt, delay in job.failures] == [(1, 5), (2, 10), (3, 20), (4, 20)]
    job.waiting[-1].callback(None)
    clock.advance(60)
    job.waiting[-1].errback(ValueError("down again"))
    assert job.failures[-1][1] == 1


def test_a_trigger_does_not_break_a_backoff_unless_in_a_hurry(poller: Poller, job: Job, clock: Clock) -> None:
    poller.start()
    poller.trigger()
    job.waiting[-1].errback(ValueError("down"))
    clock.advance(1)
    poller.trigger()
    assert job.runs == 1
    poller.trigger(hurry=True)
    assert job.runs == 2


def test_jitter_adds_at_most_a_tenth() -> None:
    assert Backoff(10, 100).delay_s(1, 0.5) == 10.5
    assert Backoff(10, 100).delay_s(1000, 0.0) == 100


def test_stop_waits_for_the_run_in_progress_and_ends_the_loop(poller: Poller, job: Job, clock: Clock) -> None:
    poller.start()
    stopped = deferred(poller.stop())
    assert not stopped.called
    job.waiting[-1].callback(None)
    assert stopped.called
    clock.advance(1000)
    poller.trigger()
    assert job.runs == 1
    assert not clock.getDelayedCalls()


def test_stop_between_runs_is_immediate(poller: Poller, job: Job, clock: Clock) -> None:
    poller.start()
    job.waiting[-1].callback(None)
    assert deferred(poller.stop()).called
    assert not clock.getDelayedCalls()
