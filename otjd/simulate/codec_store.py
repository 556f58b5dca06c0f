"""The list of bookings that a simulated codec holds, and what it makes of it at a given time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo


@dataclass(frozen=True, slots=True)
class StoredBooking:
    """One booking as the codec keeps it, by whichever path it came."""

    id: str
    title: str
    number: str
    """What Join dials; empty where there is nothing to dial."""
    protocol: str
    organizer: str
    start: datetime
    end: datetime
    start_buffer_s: int = 0
    end_buffer_s: int = 0
    private: bool = False
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    agenda: str = ""
    platform: str = ""
    call_type: str = ""
    connect_mode: str = "OBTP"
    meeting_id: str = ""

    def joinable(self, now: datetime) -> bool:
        """Whether Join is offered: from the start buffer before the start to the end buffer after the end."""
        return bool(self.number) and (self.start - timedelta(seconds=self.start_buffer_s) <= now
                                      < self.end + timedelta(seconds=self.end_buffer_s))

    def ongoing(self, now: datetime) -> bool:
        """Whether the meeting itself runs, buffers aside."""
        return self.start <= now < self.end


class BookingStore:
    """The bookings in the order pushed. A push replaces them all; nothing is pruned; a reboot may empty it."""

    def __init__(self, timezone: tzinfo = UTC) -> None:
        self._timezone = timezone
        self.bookings: tuple[StoredBooking, ...] = ()
        self.last_updated: datetime | None = None

    def replace(self, bookings: Sequence[StoredBooking], now: datetime) -> None:
        """Put `bookings` in place of what was there."""
        self.bookings = tuple(bookings)
        self.last_updated = now

    def find(self, booking_id: str) -> StoredBooking | None:
        """The booking of this id; of several the first."""
        return next((b for b in self.bookings if b.id == booking_id), None)

    def in_days(self, now: datetime, offset: int, days: int | None) -> list[StoredBooking]:
        """The bookings of local days: `days` of them from `offset` days after today on; None is without end."""
        midnight = now.astimezone(self._timezone).replace(hour=0, minute=0, second=0, microsecond=0)
        first = midnight + timedelta(days=offset)
        last = None if days is None else first + timedelta(days=days)
        return [b for b in self.bookings if b.end > first and (last is None or b.start < last)]

    def current(self, now: datetime) -> StoredBooking | None:
        """The booking that runs now; where several do, the one that began first."""
        return min((b for b in self.bookings if b.ongoing(now)), key=lambda b: b.start, default=None)

    def availability(self, now: datetime) -> tuple[str, datetime | None]:
        """`Free`, or `FreeUntil` or `BookedUntil` with a time."""
        current = self.current(now)
        if current is not None:
            return "BookedUntil", current.end
        following = [b.start for b in self.bookings if b.start > now]
        return ("FreeUntil", min(following)) if following else ("Free", None)
