"""Time zones as rules: the offsets of a zone, and the days of the year on which it goes from one to the other.

Read off a zone of the time zone database for GetServerTimeZones, and made into a zone again from what a
GetUserAvailability request tells.
"""

from __future__ import annotations

import struct
from calendar import monthrange
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from io import BytesIO
from zoneinfo import ZoneInfo

LAST = 5
"""As occurrence of a weekday: the last one of the month."""

_YEARS_COMPARED = 7
"""Within this many years each weekday is once the fourth and once the fifth that is the last of its month."""

_STEP = timedelta(days=7)

# A time zone file (RFC 9636) without any past, to be followed by a rule in the notation of POSIX: twice a header
# that counts one type of local time and its name, and these.
_ZONE_FILE = 2 * (b"TZif2" + bytes(15) + struct.pack(">6L", 0, 0, 0, 0, 1, 4) + bytes(6) + b"UTC\0")


@dataclass(frozen=True, slots=True)
class ChangeDay:
    """The day of every year on which clocks change: a weekday (Monday is 0), its occurrence in the month (1 to 4,
    or LAST), and the wall time before the change, as time since midnight."""

    month: int
    weekday: int
    occurrence: int
    time: timedelta

    def posix(self) -> str:
        """This day in the notation of POSIX."""
        return f"M{self.month}.{self.occurrence}.{(self.weekday + 1) % 7}/{_posix(self.time)}"


@dataclass(frozen=True, slots=True)
class ZoneRule:
    """The offset of standard time from UTC; where there is daylight saving time also its offset, and when the two
    begin."""

    standard: timedelta
    daylight: timedelta | None = None
    standard_begins: ChangeDay | None = None
    daylight_begins: ChangeDay | None = None

    def zone(self) -> tzinfo:
        """A zone that keeps this rule in every year."""
        if self.daylight is None or self.standard_begins is None or self.daylight_begins is None:
            return timezone(self.standard)
        rule = (f"<STD>{_posix(-self.standard)}<DST>{_posix(-self.daylight)},{self.daylight_begins.posix()},"
                f"{self.standard_begins.posix()}")
        return ZoneInfo.from_file(BytesIO(_ZONE_FILE + f"\n{rule}\n".encode("ascii")))


def _posix(length: timedelta) -> str:
    seconds = int(length.total_seconds())
    minutes, seconds = divmod(abs(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{'-' if length < timedelta() else ''}{hours}:{minutes:02}:{seconds:02}"


def rule_of(zone: tzinfo, year: int) -> ZoneRule:
    """The rule that a zone of the database keeps in `year` and, where it can be told, in the years after it.

    A zone that changes its clocks other than twice in that year counts as one that does not, with the offset of
    the year's end.
    """
    changes = list(_changes(zone, year))
    if len(changes) != 2:
        return ZoneRule(_offset(zone, datetime(year, 12, 31, tzinfo=UTC)))
    later = [list(_changes(zone, year + n)) for n in range(1, _YEARS_COMPARED)]
    comparable = [changes, *(found for found in later if len(found) == 2)]
    days = [_change_day([found[place][0] for found in comparable]) for place in (0, 1)]
    first, second = changes[0][1], changes[1][1]  # the offsets that begin with the two changes
    if first > second:
        return ZoneRule(second, first, days[1], days[0])
    return ZoneRule(first, second, days[0], days[1])


def _offset(zone: tzinfo, instant: datetime) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta()


def _changes(zone: tzinfo, year: int) -> Iterator[tuple[datetime, timedelta]]:
    """The changes of a year: wall time before the change, without zone, and the offset after it."""
    begin, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    before = _offset(zone, begin)
    while begin < end:
        step = min(begin + _STEP, end)
        after = _offset(zone, step)
        if after != before:
            low, high = begin, step
            while high - low > timedelta(minutes=1):
                middle = low + (high - low) // 2
                low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
            instant = high.replace(second=0, microsecond=0)
            yield (instant + before).replace(tzinfo=None), after
        begin, before = step, after


def _change_day(walls: Sequence[datetime]) -> ChangeDay:
    """The rule that the changes of several years keep; where they keep none, that of the first year."""
    for candidates in (walls, [wall - timedelta(seconds=1) for wall in walls], walls[:1]):
        months = {(wall.month, wall.weekday(), wall.time()) for wall in candidates}
        occurrences = {(wall.day - 1) // 7 + 1 for wall in candidates}
        are_last = all(wall.day + 7 > monthrange(wall.year, wall.month)[1] for wall in candidates)
        if len(months) == 1 and (are_last or len(occurrences) == 1):
            break
    wall = candidates[0]
    midnight = datetime(wall.year, wall.month, wall.day)  # noqa: DTZ001 - a wall time
    return ChangeDay(wall.month, wall.weekday(), LAST if are_last else (wall.day - 1) // 7 + 1, wall - midnight)
