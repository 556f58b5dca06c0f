"""Times of EWS requests and answers: xs:dateTime, and the time zones that clients name as Windows does."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

_BY_WINDOWS_NAME = {name.casefold(): key for name, key in WINDOWS_TO_OLSON.items()}

WINDOWS_ZONES = {name.casefold(): name for name in WINDOWS_TO_OLSON}
"""The ids of the time zones of Windows as they are written, by the same without letter case."""

_DATE_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,30}))?"
                        r"(?:([Zz])|([+-])(\d\d):?(\d\d))?", re.ASCII)
_EARLIEST = datetime.min.replace(tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC)


def time_zone(name: str) -> tzinfo | None:
    """The zone of this Windows name (`W. Europe Standard Time`, `UTC`), in any letter case; None for another."""
    key = _BY_WINDOWS_NAME.get(name.strip().casefold())
    return ZoneInfo(key) if key is not None else None


def read_date_time(text: str, zone: tzinfo = UTC) -> datetime:
    """The aware UTC time of an xs:dateTime with or without fraction and offset; without one it is in `zone`.

    Times that cannot be told in UTC, at the ends of the calendar, become the first or the last that can.

    :raises ValueError: it is no xs:dateTime.
    """
    match = _DATE_TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"'{text.strip()[:40]}' is not a date and time")
    year, month, day, hour, minute, second, fraction, utc, sign, offset_hours, offset_minutes = match.groups()
    end_of_day = (hour, minute, second) == ("24", "00", "00")
    microsecond = int((fraction or "0").ljust(6, "0")[:6])
    local = datetime(int(year), int(month), int(day), 0 if end_of_day else int(hour),  # noqa: DTZ001 - comes next
                     int(minute), int(second), microsecond)
    if utc:
        zone = UTC
    elif sign:
        if int(offset_hours) > 14 or int(offset_minutes) > 59:
            raise ValueError(f"'{text.strip()[:40]}' has an offset that does not exist")
        offset = timedelta(hours=int(offset_hours), minutes=int(offset_minutes))
        zone = timezone(-offset if sign == "-" else offset)
    try:
        aware = local.replace(tzinfo=zone).astimezone(UTC)
        return aware + timedelta(days=1) if end_of_day else aware
    except OverflowError:
        return _EARLIEST if local.year == 1 else _LATEST


@lru_cache(maxsize=8192)  # meetings begin and end at few times of a day, and each is told again and again
def write_date_time(time: datetime) -> str:
    """`YYYY-MM-DDThh:mm:ssZ`, the form that every known client reads; fractions are cut off."""
    utc = time.astimezone(UTC)
    return f"{utc.year:04}-{utc.month:02}-{utc.day:02}T{utc.hour:02}:{utc.minute:02}:{utc.second:02}Z"
