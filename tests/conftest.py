"""Fixtures of every test."""

from __future__ import annotations

import gc
import inspect
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from hypothesis import settings
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer, provider

# The same examples in every run, so that a run tells about a change and not about chance. New ones are looked for
# by HYPOTHESIS_PROFILE=explore, also with more of them: pytest --hypothesis-seed=N tests/...
settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let `async def` tests run on the reactor without a decorator each; skip those whose program is missing."""
    for item in items:
        for mark in item.iter_markers("needs"):
            if shutil.which(mark.args[0]) is None:
                item.add_marker(pytest.mark.skip(reason=f"{mark.args[0]} is not installed"))
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.obj = pytest_twisted.ensureDeferred(item.obj)


@pytest.fixture(scope="module", autouse=True)
def quick_collection() -> None:
    """Leave what was imported and collected so far out of the collections that follow every test."""
    gc.collect()
    gc.freeze()


@implementer(ILogObserver)
class LoggedFailures:
    """What was logged as a failure, at error or at critical level during a test."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_format") == "Unhandled error in Deferred:" and "log_failure" not in event:
            return  # a heading: the event with the failure follows
        if "log_failure" in event or event.get("log_level") in (LogLevel.error, LogLevel.critical):
            self.events.append(event)

    def flush(self, *types: type[BaseException]) -> list[LogEvent]:
        """Take out, as expected, the failures of these types; without types every event."""
        gc.collect()
        taken = [e for e in self.events
                 if not types or ("log_failure" in e and e["log_failure"].check(*types))]
        self.events = [e for e in self.events if not any(e is t for t in taken)]
        return taken

    def describe(self) -> str:
        """One paragraph an event, with its traceback."""
        return "\n".join(
            f"{formatEvent(e)}\n{e['log_failure'].getTraceback() if 'log_failure' in e else ''}"
            for e in self.events)


@pytest.fixture(autouse=True)
def logged_failures() -> Iterator[LoggedFailures]:
    """Fail the test when something was logged as a failure, or an errback went unhandled."""
    failures = LoggedFailures()
    globalLogPublisher.addObserver(failures)
    try:
        yield failures
        gc.collect()  # an unhandled errback is logged when its Deferred is collected
    finally:
        globalLogPublisher.removeObserver(failures)
    if failures.events:
        pytest.fail(f"failures were logged during this test:\n{failures.describe()}", pytrace=False)


@pytest.fixture
def logged_events() -> Iterator[list[dict[str, Any]]]:
    """Every event that was logged during the test."""
    events: list[dict[str, Any]] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        events.append(event)

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)
