"""The seam between `async def` and Deferred: the only place where one is turned into the other."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")

InThread = Callable[..., Deferred[Any]]
"""Runs a job with its arguments in a thread, of the shape of `twisted.internet.threads.deferToThread`."""


def deferred(coroutine: Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
    """Run `coroutine` now, up to its first wait; the Deferred fires with its result or failure."""
    return Deferred.fromCoroutine(coroutine)
