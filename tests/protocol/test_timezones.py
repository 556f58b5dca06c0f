from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otjd.protocol.timezones import read_date_time, time_zone, write_date_time


@pytest.mark.parametrize(("text", "expected"), [
    ("2025-01-01T08:00:00Z", datetime(2025, 1, 1, 8, tzinfo=UTC)),
    ("2025-01-01T08:00:00", datetime(2025, 1, 1, 8, tzinfo=UTC)),
    (" 2026-11-23T00:00:00.000Z\n", datetime(2026, 11, 23, tzinfo=UTC)),
    ("2009-08-27T08:00:57.701875+03:00", datetime(2009, 8, 27, 5, 0, 57, 701875, tzinfo=UTC)),
    ("2009-08-27T08:00:57.7018751234-0330", datetime(2009, 8, 27, 11, 30, 57, 701875, tzinfo=UTC)),
    ("2025-12-31T24:00:00Z", datetime(2026, 1, 1, tzinfo=UTC)),
    ("0001-01-01T00:00:00+14:00", datetime.min.replace(tzinfo=UTC)),
    ("9999-12-31T23:00:00-14:00", datetime.max.replace(tzinfo=UTC)),
    ("9999-12-31T24:00:00Z", datetime.max.replace(tzinfo=UTC)),
])
def test_every_form_of_xs_date_time_is_read(text: str, expected: datetime) -> None:
    assert read_date_time(text) == expected


@pytest.mark.parametrize("text", [
    "", "yesterday", "2025-01-01", "2025-01-01T08:00", "2025-13-01T00:00:00Z", "2025-02-30T00:00:00Z",
    "2025-01-01T25:00:00Z", "2025-01-01T08:00:61Z", "2025-01-01T08:00:00+15:00", "2025-01-01T08:00:00+01:60",
    "0000-01-01T00:00:00Z", "12025-01-01T00:00:00Z", "２０２５-01-01T00:00:00Z", "2025-01-01T24:00:01Z"])
def test_what_is_no_xs_date_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        read_date_time(text)


def test_a_time_without_zone_is_in_the_zone_of_the_request() -> None:
    berlin = time_zone("w. europe standard time")
    assert berlin is not None
    assert read_date_time("2025-07-01T08:00:00", berlin) == datetime(2025, 7, 1, 6, tzinfo=UTC)
    assert read_date_time("2025-01-01T08:00:00", berlin) == datetime(2025, 1, 1, 7, tzinfo=UTC)
    assert read_date_time("2025-01-01T08:00:00Z", berlin) == datetime(2025, 1, 1, 8, tzinfo=UTC)
    assert read_date_time("0001-01-01T00:00:00", berlin) == datetime.min.replace(tzinfo=UTC)


@pytest.mark.parametrize(("name", "hours"), [
    ("UTC", 0), (" utc ", 0), ("Eastern Standard Time", -5), ("China Standard Time", 8)])
def test_windows_names_of_zones_are_known(name: str, hours: int) -> None:
    zone = time_zone(name)
    assert zone is not None
    assert zone.utcoffset(datetime(2025, 1, 1)) == timedelta(hours=hours)  # noqa: DTZ001 - it is in that zone


@pytest.mark.parametrize("name", ["", "Nowhere Standard Time", "../../etc/passwd", "Europe/Berlin\0"])
def test_other_names_are_not_known(name: str) -> None:
    assert time_zone(name) is None


def test_times_are_written_in_utc_without_fraction() -> None:
    in_oslo = datetime(2025, 1, 1, 8, 0, 59, 999999, timezone(timedelta(hours=1)))
    assert write_date_time(in_oslo) == "2025-01-01T07:00:59Z"
    assert write_date_time(datetime.min.replace(tzinfo=UTC)) == "0001-01-01T00:00:00Z"


@given(st.datetimes(timezones=st.timezones()))
def test_what_is_written_is_read_again(time: datetime) -> None:
    try:
        utc = time.astimezone(UTC)
    except OverflowError:
        return
    assert read_date_time(write_date_time(time)) == utc.replace(microsecond=0)


@given(st.text(), st.sampled_from(["UTC", "W. Europe Standard Time"]))
def test_no_text_makes_reading_fail_otherwise(text: str, zone: str) -> None:
    with contextlib.suppress(ValueError):
        assert read_date_time(text, time_zone(zone) or UTC).tzinfo is UTC
