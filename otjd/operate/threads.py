"""Work that would hold up the reactor, handed to its thread pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.threads import deferToThreadPool

T = TypeVar("T")


class InThread(Protocol):
    """Runs `work` in a thread; the Deferred fires with its result or failure."""

    def __call__(self, work: Callable[[], T], /) -> Deferred[T]:
        """Run `work`, which must touch nothing that the reactor's thread changes."""
        ...


def in_threads_of(reactor: IReactorThreads) -> InThread:
    """What runs work in the thread pool of `reactor`."""
    def run(work: Callable[[], T], /) -> Deferred[T]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), work)
    return run
