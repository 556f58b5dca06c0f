"""Faults that a simulated calendar server has on command: which requests they strike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

Kind = TypeVar("Kind", bound=str)


@dataclass(slots=True)
class Striking(Generic[Kind]):
    """A fault for the next `times` requests (None: until it is taken away) of an operation and a room, or of any.

    `after` requests that it could strike go well before it does.
    """

    kind: Kind
    times: int | None = 1
    operation: str | None = None
    room: str | None = None
    after: int = 0

    def strikes(self, operation: str, room: str) -> bool:
        """Whether it strikes a request of this operation for this room; counts it."""
        if self.times == 0 or self.operation not in (None, operation) or self.room not in (None, room):
            return False
        if self.after:
            self.after -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True
