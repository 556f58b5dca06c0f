from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from otjd.protocol.zone_rules import LAST, ChangeDay, ZoneRule, rule_of

SUNDAY = 6


def offset(zone: tzinfo, instant: datetime) -> timedelta | None:
    return instant.astimezone(zone).utcoffset()


@pytest.mark.parametrize("key", WINDOWS_TO_OLSON.values())
def test_a_rule_tells_the_same_time_as_its_zone_all_year(key: str) -> None:
    zone = ZoneInfo(key)
    rebuilt = rule_of(zone, 2026).zone()
    hours = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(0, 365 * 24, 3))
    assert [hour for hour in hours if offset(rebuilt, hour) != offset(zone, hour)] == []


@pytest.mark.parametrize(("key", "rule"), [
    ("Europe/Berlin", ZoneRule(timedelta(hours=1), timedelta(hours=2),
                               ChangeDay(10, SUNDAY, LAST, timedelta(hours=3)),
                               ChangeDay(3, SUNDAY, LAST, timedelta(hours=2)))),
    ("America/New_York", ZoneRule(timedelta(hours=-5), timedelta(hours=-4),
                                  ChangeDay(11, SUNDAY, 1, timedelta(hours=2)),
                                  ChangeDay(3, SUNDAY, 2, timedelta(hours=2)))),
    ("Australia/Sydney", ZoneRule(timedelta(hours=10), timedelta(hours=11),
                                  ChangeDay(4, SUNDAY, 1, timedelta(hours=3)),
                                  ChangeDay(10, SUNDAY, 1, timedelta(hours=2)))),
    ("Asia/Kathmandu", ZoneRule(timedelta(hours=5, minutes=45))),
    ("UTC", ZoneRule(timedelta()))])
def test_rules_are_those_that_the_zones_are_known_for(key: str, rule: ZoneRule) -> None:
    assert rule_of(ZoneInfo(key), 2026) == rule


def test_a_change_at_the_end_of_a_day_counts_to_that_day() -> None:
    # Egypt ends its summer on the last Thursday of October at midnight, which is not always before a last Friday
    begins = rule_of(ZoneInfo("Africa/Cairo"), 2026).standard_begins
    assert begins == ChangeDay(10, 3, LAST, timedelta(days=1) - timedelta(seconds=1))


@pytest.mark.parametrize("year", [2025, 2026, 2027, 2030])
def test_a_rule_holds_in_other_years(year: int) -> None:
    zone, rebuilt = ZoneInfo("Europe/Berlin"), rule_of(ZoneInfo("Europe/Berlin"), 2026).zone()
    days = [datetime(year, 1, 1, 12, tzinfo=UTC) + timedelta(days=n) for n in range(365)]
    assert all(offset(rebuilt, day) == offset(zone, day) for day in days)


def test_a_zone_that_changed_once_in_a_year_counts_as_what_it_changed_to() -> None:
    # Kazakhstan became one zone on 1 March 2024
    assert rule_of(ZoneInfo("Asia/Almaty"), 2024) == ZoneRule(timedelta(hours=5))
