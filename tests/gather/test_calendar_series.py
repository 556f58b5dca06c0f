"""Series of events over a window: rules, extra and left-out dates, moved and cancelled occurrences, bombs."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from otjd.gather.icalendar_reader import read_calendar
from otjd.meetings.model import CalendarItemType, Window
from tests.gather.calendars import AUTUMN, calendar, event, expanded, read, times

OSLO = ("UID:s", "DTSTART;TZID=Europe/Oslo:20260105T100000", "DTEND;TZID=Europe/Oslo:20260105T110000")
MONDAYS = (*OSLO, "RRULE:FREQ=WEEKLY;BYDAY=MO", "SUMMARY:weekly")
LATE_OCTOBER = Window(datetime(2026, 10, 12, tzinfo=UTC), datetime(2026, 11, 10, tzinfo=UTC))


def span(start: str, end: str) -> Window:
    return Window(datetime.fromisoformat(f"{start}T00:00Z"), datetime.fromisoformat(f"{end}T00:00Z"))


@pytest.mark.parametrize(("zone", "window", "expected"), [
    ("Europe/Oslo", span("2026-03-20", "2026-04-07"), ["03-23 09:00", "03-30 08:00", "04-06 08:00"]),
    ("Europe/Oslo", span("2026-10-19", "2026-11-03"), ["10-19 08:00", "10-26 09:00", "11-02 09:00"]),
    ("America/New_York", span("2026-03-01", "2026-03-17"), ["03-02 15:00", "03-09 14:00", "03-16 14:00"]),
    ("America/New_York", span("2026-10-26", "2026-11-10"), ["10-26 14:00", "11-02 15:00", "11-09 15:00"]),
    ("W. Europe Standard Time", span("2026-10-19", "2026-11-03"), ["10-19 08:00", "10-26 09:00", "11-02 09:00"]),
])
def test_a_weekly_meeting_keeps_its_time_of_day_over_a_change_of_the_clocks(zone: str, window: Window,
                                                                            expected: list[str]) -> None:
    found = expanded(event("UID:s", f"DTSTART;TZID={zone}:20260105T100000", f"DTEND;TZID={zone}:20260105T110000",
                           "RRULE:FREQ=WEEKLY;BYDAY=MO"), window=window)
    assert times(found) == expected
    assert all((i.end_time - i.start_time).total_seconds() == 3600 for i in found)


def test_a_time_that_the_clocks_skip_is_read_with_the_offset_before_the_change() -> None:
    skipped = expanded(event("UID:s", "DTSTART;TZID=Europe/Oslo:20260328T023000", "DURATION:PT1H",
                             "RRULE:FREQ=DAILY;COUNT=3"), window=span("2026-03-20", "2026-04-10"))
    assert times(skipped) == ["03-28 01:30", "03-29 01:30", "03-30 00:30"]
    twice = expanded(event("UID:t", "DTSTART;TZID=Europe/Oslo:20261025T023000", "DURATION:PT1H"))
    assert times(twice) == ["10-25 00:30"]


def test_a_meeting_over_the_change_of_the_clocks_keeps_its_exact_length() -> None:
    nights = expanded(event("UID:s", "DTSTART;TZID=Europe/Oslo:20261023T220000",
                            "DTEND;TZID=Europe/Oslo:20261024T060000", "RRULE:FREQ=DAILY;COUNT=3"))
    assert [(i.end_time - i.start_time).total_seconds() / 3600 for i in nights] == [8, 8, 8]


def test_a_series_in_utc_does_not_follow_the_clocks() -> None:
    assert times(expanded(event("UID:s", "DTSTART:20261019T080000Z", "RRULE:FREQ=WEEKLY;COUNT=3"))) == [
        "10-19 08:00", "10-26 08:00", "11-02 08:00"]


def test_occurrences_have_the_uid_of_the_series_and_their_own_start() -> None:
    found = expanded(event(*MONDAYS), window=LATE_OCTOBER)
    assert [(i.uid, i.occurrence, i.item_type) for i in found[1:3]] == [
        ("s", "20261019T080000Z", CalendarItemType.OCCURRENCE),
        ("s", "20261026T090000Z", CalendarItemType.OCCURRENCE)]


@pytest.mark.parametrize("exdate", [
    "EXDATE;TZID=Europe/Oslo:20261019T100000,20261026T100000",
    "EXDATE;TZID=Europe/Oslo:20261019T100000\nEXDATE:20261026T090000Z",
    "EXDATE:20261019T100000\nEXDATE;VALUE=DATE:20261026",
])
def test_left_out_dates_leave_occurrences_out(exdate: str) -> None:
    found = expanded(event(*MONDAYS, exdate), window=LATE_OCTOBER)
    assert times(found) == ["10-12 08:00", "11-02 09:00", "11-09 09:00"]


def test_a_left_out_time_in_utc_does_not_hit_another_occurrence_of_that_local_time() -> None:
    found = expanded(event("UID:s", "DTSTART;TZID=Europe/Oslo:20261027T090000",
                           "RRULE:FREQ=DAILY;COUNT=2;BYHOUR=9,10", "EXDATE:20261027T090000Z"))
    assert times(found) == ["10-27 08:00"]


def test_extra_dates_come_in_addition_and_may_have_their_own_length() -> None:
    found = expanded(event(*OSLO, "RDATE;TZID=Europe/Oslo:20261020T120000,20261027T120000",
                           "RDATE;VALUE=PERIOD:20261028T080000Z/PT3H,20261029T080000Z/20261029T083000Z",
                           "RDATE;VALUE=DATE:20261030"))
    assert times(found) == ["10-20 10:00", "10-27 11:00", "10-28 08:00", "10-29 08:00", "10-30 09:00"]
    assert [(i.end_time - i.start_time).total_seconds() / 60 for i in found] == [60, 60, 180, 30, 60]


def test_a_period_that_makes_no_sense_has_no_length_or_that_of_the_series() -> None:
    found = expanded(event(*OSLO, "RDATE;VALUE=PERIOD:20261028T080000Z/20261028T070000Z,20261029T080000/"
                           "20261029T093000Z"))
    assert [(i.end_time - i.start_time).total_seconds() / 60 for i in found] == [0, 60]


def test_a_moved_occurrence_is_where_it_was_moved_to_and_keeps_its_identity() -> None:
    found = expanded(event(*MONDAYS), event(
        "UID:s", "RECURRENCE-ID;TZID=Europe/Oslo:20261026T100000", "DTSTART:20261027T130000Z",
        "DTEND:20261027T140000Z", "SUMMARY:moved"), window=LATE_OCTOBER)
    assert times(found) == ["10-12 08:00", "10-19 08:00", "10-27 13:00", "11-02 09:00", "11-09 09:00"]
    assert (found[2].subject, found[2].occurrence, found[2].item_type) == (
        "moved", "20261026T090000Z", CalendarItemType.EXCEPTION)


@pytest.mark.parametrize("recurrence_id", [
    "RECURRENCE-ID:20261026T090000Z", "RECURRENCE-ID;TZID=America/New_York:20261026T050000",
    "RECURRENCE-ID;VALUE=DATE:20261026", "RECURRENCE-ID;TZID=Europe/Oslo:20261026T100000"])
def test_a_moved_occurrence_is_known_by_its_original_start_in_any_form(recurrence_id: str) -> None:
    moved = event("UID:s", recurrence_id, "DTSTART:20261027T130000Z")
    found = expanded(event(*MONDAYS), moved, window=LATE_OCTOBER)
    assert times(found) == ["10-12 08:00", "10-19 08:00", "10-27 13:00", "11-02 09:00", "11-09 09:00"]
    assert found[2].occurrence == "20261026T090000Z"


def test_an_occurrence_may_be_moved_into_or_out_of_the_window() -> None:
    into = event("UID:s", "RECURRENCE-ID;TZID=Europe/Oslo:20260601T100000", "DTSTART:20261013T130000Z")
    out = event("UID:s", "RECURRENCE-ID;TZID=Europe/Oslo:20261019T100000", "DTSTART:20270113T130000Z")
    assert times(expanded(event(*MONDAYS), into, out, window=LATE_OCTOBER)) == [
        "10-12 08:00", "10-13 13:00", "10-26 09:00", "11-02 09:00", "11-09 09:00"]


def test_a_cancelled_occurrence_is_there_as_cancelled() -> None:
    found = expanded(event(*MONDAYS), event(
        "UID:s", "RECURRENCE-ID;TZID=Europe/Oslo:20261026T100000", "DTSTART;TZID=Europe/Oslo:20261026T100000",
        "STATUS:CANCELLED"), window=LATE_OCTOBER)
    assert [i.occurrence for i in found if i.is_cancelled] == ["20261026T090000Z"]
    assert len(found) == 5


def test_a_change_of_this_and_all_later_occurrences_moves_them_together() -> None:
    found = expanded(event(*MONDAYS), event(
        "UID:s", "RECURRENCE-ID;RANGE=THISANDFUTURE;TZID=Europe/Oslo:20261026T100000",
        "DTSTART;TZID=Europe/Oslo:20261027T120000", "DTEND;TZID=Europe/Oslo:20261027T123000", "SUMMARY:new time"),
        window=LATE_OCTOBER)
    assert [(i.start_time.strftime("%m-%d %H:%M"), i.occurrence, i.subject) for i in found] == [
        ("10-12 08:00", "20261012T080000Z", "weekly"), ("10-19 08:00", "20261019T080000Z", "weekly"),
        ("10-27 11:00", "20261026T090000Z", "new time"), ("11-03 11:00", "20261102T090000Z", "new time")]
    assert (found[3].end_time - found[3].start_time).total_seconds() == 1800


def test_of_two_versions_of_an_event_the_newer_counts() -> None:
    old = event(*OSLO, "RRULE:FREQ=DAILY", "SEQUENCE:1", "DTSTAMP:20260101T000000Z")
    new = event(*MONDAYS, "SEQUENCE:2", "DTSTAMP:20250101T000000Z")
    for order in ((old, new), (new, old)):
        assert len(expanded(*order, window=LATE_OCTOBER)) == 5
    moves = [event("UID:s", "RECURRENCE-ID:20261026T090000Z", f"DTSTART:20261027T{hour}0000Z", f"DTSTAMP:{stamp}")
             for hour, stamp in (("13", "20260102T000000Z"), ("14", "20260101T000000Z"))]
    assert "10-27 13:00" in times(expanded(event(*MONDAYS), *moves, window=LATE_OCTOBER))


def test_occurrences_of_a_series_that_is_not_here_as_a_whole_stand_for_themselves() -> None:
    found = expanded(*(event("UID:s", f"RECURRENCE-ID:202610{day}T080000Z", f"DTSTART:202610{day}T100000Z")
                       for day in (20, 21)))
    assert [(i.occurrence, i.item_type) for i in found] == [
        ("20261020T080000Z", CalendarItemType.EXCEPTION), ("20261021T080000Z", CalendarItemType.EXCEPTION)]


def test_the_end_of_a_series_counts_in_every_form() -> None:
    for until in ("20261026", "20261026T100000", "20261026T090000Z", "20261026T235959"):
        found = expanded(event(*OSLO, f"RRULE:FREQ=WEEKLY;UNTIL={until}"), window=LATE_OCTOBER)
        assert times(found) == ["10-12 08:00", "10-19 08:00", "10-26 09:00"], until
    assert expanded(event(*OSLO, "RRULE:FREQ=WEEKLY;UNTIL=20260601"), window=LATE_OCTOBER) == []
    assert times(expanded(event(*OSLO, "RRULE:FREQ=WEEKLY;COUNT=42"), window=LATE_OCTOBER)) == [
        "10-12 08:00", "10-19 08:00"]


def test_a_series_of_whole_days_runs_from_midnight_to_midnight_of_the_calendar() -> None:
    days = ("UID:d", "DTSTART;VALUE=DATE:20261023", "DTEND;VALUE=DATE:20261024", "RRULE:FREQ=DAILY;UNTIL=20261027")
    dates = ("EXDATE;VALUE=DATE:20261024", "EXDATE;TZID=Europe/Oslo:20261026T000000", "RDATE;VALUE=DATE:20261101")
    found = expanded("X-WR-TIMEZONE:Europe/Oslo", event(*days, *dates))
    assert times(found) == ["10-22 22:00", "10-24 22:00", "10-26 23:00", "10-31 23:00"]
    assert [(i.end_time - i.start_time).total_seconds() / 3600 for i in found] == [24, 25, 24, 24]
    assert all(i.is_all_day for i in found)


@pytest.mark.parametrize("recurrence_id", ["RECURRENCE-ID;VALUE=DATE:20261024", "RECURRENCE-ID:20261024T000000"])
def test_a_whole_day_of_a_series_may_become_a_meeting_of_an_hour(recurrence_id: str) -> None:
    found = expanded(event("UID:d", "DTSTART;VALUE=DATE:20261023", "RRULE:FREQ=DAILY;COUNT=3"),
                     event("UID:d", recurrence_id, "DTSTART:20261024T100000Z", "DTEND:20261024T110000Z"))
    assert times(found) == ["10-23 00:00", "10-24 10:00", "10-25 00:00"]
    assert found[1].occurrence == "20261024T000000Z"
    assert not found[1].is_all_day


def test_a_meeting_of_a_series_may_become_a_whole_day() -> None:
    found = expanded(event(*MONDAYS), event("UID:s", "RECURRENCE-ID;TZID=Europe/Oslo:20261026T100000",
                                            "DTSTART;VALUE=DATE:20261026"), window=LATE_OCTOBER)
    assert times(found) == ["10-12 08:00", "10-19 08:00", "10-26 00:00", "11-02 09:00", "11-09 09:00"]
    assert found[2].is_all_day
    assert found[2].occurrence == "20261026T090000Z"


def test_several_rules_and_long_meetings_reach_into_the_window() -> None:
    found = expanded(event("UID:s", "DTSTART:20260930T220000Z", "DURATION:PT4H",
                           "RRULE:FREQ=MONTHLY;BYMONTHDAY=-1", "RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=2TU"))
    assert times(found) == ["09-30 22:00", "10-13 22:00", "10-31 22:00", "11-30 22:00"]


BOMBS = [
    ("FREQ=SECONDLY", "expected a series that repeats hourly or less often"),
    ("FREQ=MINUTELY;COUNT=3", "expected a series that repeats hourly or less often"),
    ("FREQ=YEARLY;BYSECOND=0,1,2,3,4;BYMINUTE=0,1,2,3,4", "expected at most 24 occurrences a day"),
    ("FREQ=HOURLY;BYMINUTE=0,30", "expected at most 24 occurrences a day"),
    ("FREQ=HOURLY", "which has about"),
    ("FREQ=DAILY;BYHOUR=1,2,3,4,5,6,7,8,9,10,11,12", "which has about"),
    ("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", "which no day fulfils"),
    ("FREQ=MONTHLY;BYMONTH=4,6;BYMONTHDAY=-31", "which no day fulfils"),
    ("FREQ=DAILY;BYSETPOS=5;BYDAY=MO", "weekly or less often"),
    ("FREQ=DAILY;INTERVAL=0", "an INTERVAL and COUNT of at least 1"),
    ("FREQ=DAILY;COUNT=-1", "an INTERVAL and COUNT of at least 1"),
    ("FREQ=YEARLY;BYEASTER=0", "found BYEASTER in"),
    ("RSCALE=HEBREW;FREQ=YEARLY", "expected the Gregorian calendar"),
    ("FREQ=MONTHLY;BYSETPOS=0", "the series cannot be expanded"),
    ("FREQ=DAILY;INTERVAL=2000000000;BYMONTH=1", None),
    ("FREQ=YEARLY;BYDAY=MO;BYSETPOS=300", None),
    ("FREQ=DAILY;COUNT=1000000000", None),
]


@pytest.mark.parametrize(("rule", "problem"), BOMBS)
def test_a_rule_that_costs_too_much_is_refused_and_costs_no_other_event(rule: str, problem: str | None) -> None:
    found = read(event("UID:bomb", "DTSTART:19700101T000000Z", f"RRULE:{rule}"),
                 event("UID:good", "DTSTART:20261020T080000Z"))
    assert "good" in {i.uid for i in found.invitations(AUTUMN)}
    if problem is None:
        assert found.problems == ()
    else:
        assert len(found.problems) == 1
        assert found.problems[0].startswith("room.ics, line ")
        assert problem in found.problems[0]


def test_hourly_meetings_are_expanded_while_they_are_few() -> None:
    found = expanded(event("UID:h", "DTSTART:20261001T000000Z", "RRULE:FREQ=HOURLY;INTERVAL=6"),
                     window=span("2026-10-02", "2026-10-03"))
    assert times(found) == ["10-02 00:00", "10-02 06:00", "10-02 12:00", "10-02 18:00"]


def test_a_series_that_takes_too_long_is_left_out_and_not_tried_again() -> None:
    clock = iter([0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 3.0, 3.0, 10.0, 10.0, 10.0])
    found = read_calendar(calendar(event(*MONDAYS), event("UID:b", "DTSTART:20261020T080000Z")), "room.ics",
                          cpu_time=lambda: next(clock))
    for _ in range(2):
        assert times(found.invitations(AUTUMN)) == ["10-20 08:00"]
        assert found.problems == ("room.ics, line 4: the series takes more than 1.5 s to expand",)
    assert next(clock, None) is None


def test_a_calendar_whose_series_take_too_long_together_is_unreadable() -> None:
    clock = iter([0.0] * 4 + [2.0 * n for n in range(20)])
    found = read_calendar(calendar(*(event(f"UID:{n}", "DTSTART:20261001T000000Z", "RRULE:FREQ=DAILY")
                                     for n in range(3))), "room.ics", cpu_time=lambda: next(clock))
    with pytest.raises(ValueError, match=r"^room.ics, line 9: the series up to here took 3 seconds to expand"):
        found.invitations(AUTUMN)
