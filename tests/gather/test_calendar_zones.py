"""Time zones that calendars name and define."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from otjd.gather.calendar_zones import UnknownZoneError, Zones
from otjd.gather.content_lines import read_components
from tests.gather.calendars import calendar, event, expanded, read, times

WINTER, SUMMER = datetime(2026, 1, 5, 12), datetime(2026, 7, 5, 12)  # noqa: DTZ001 - put into zones below


def zone_text(tzid: str, *, standard: str = "+0100", daylight: str = "+0200", extra: str = "") -> str:
    return "\n".join(("BEGIN:VTIMEZONE", f"TZID:{tzid}", "X-LIC-LOCATION:Somewhere", "BEGIN:STANDARD",
                      "DTSTART:19701025T030000", "RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU",
                      f"TZOFFSETFROM:{daylight}", f"TZOFFSETTO:{standard}", "END:STANDARD", "BEGIN:DAYLIGHT",
                      "DTSTART:19700329T020000", "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU",
                      f"TZOFFSETFROM:{standard}", f"TZOFFSETTO:{daylight}", *([extra] if extra else []),
                      "END:DAYLIGHT", "END:VTIMEZONE"))


def offsets(zones: Zones, name: str) -> tuple[float, float]:
    zone = zones.find(name)
    winter, summer = (moment.replace(tzinfo=zone).utcoffset() for moment in (WINTER, SUMMER))
    assert winter is not None
    assert summer is not None
    return winter / timedelta(hours=1), summer / timedelta(hours=1)


def zones_of(*parts: str) -> Zones:
    (found,) = read_components(calendar(*parts), "room.ics")
    return Zones(found.named("VTIMEZONE"), UTC)


@pytest.mark.parametrize(("name", "expected"), [
    ("Europe/Oslo", (1, 2)), ('"America/New_York"', (-5, -4)), ("UTC", (0, 0)),
    ("W. Europe Standard Time", (1, 2)),
    ("/freeassociation.sourceforge.net/Europe/Oslo", (1, 2)), ("tzone://Microsoft/Utc", (0, 0)),
    ("/Europe/Oslo", (1, 2)),
])
def test_zones_are_found_by_the_names_that_programs_use(name: str, expected: tuple[float, float]) -> None:
    assert offsets(zones_of(), name) == expected


@pytest.mark.parametrize("name", ["", "Nowhere", "../../etc/passwd", "/", "/a/b/c", "Europe", "\x00", "x" * 5000])
def test_an_unknown_zone_is_an_error_that_says_so(name: str) -> None:
    with pytest.raises(UnknownZoneError, match="neither known nor defined"):
        zones_of().find(name)


def test_a_calendar_may_define_its_own_zone() -> None:
    zones = zones_of(zone_text("Customized Time Zone", standard="+0330", daylight="+0430"))
    assert offsets(zones, "Customized Time Zone") == (3.5, 4.5)
    assert zones.find("Customized Time Zone") is zones.find('"Customized Time Zone"')


def test_two_files_may_mean_different_zones_by_one_name() -> None:
    def start(standard: str) -> list[str]:
        return times(expanded(zone_text("Mine", standard=standard), event(
            "UID:a", "DTSTART;TZID=Mine:20261102T100000")))

    assert (start("+0100"), start("-0500"), start("+0100")) == (["11-02 09:00"], ["11-02 15:00"], ["11-02 09:00"])


def test_a_zone_with_a_colon_in_its_unquoted_name_is_found() -> None:
    name = "(UTC+01:00) Amsterdam\\, Berlin"
    found = expanded(zone_text(name), event("UID:a", "DTSTART;TZID=(UTC+01:00) Amsterdam, Berlin:20261102T100000"))
    assert times(found) == ["11-02 09:00"]


def test_a_change_may_be_given_as_the_sunday_of_certain_days() -> None:
    rule = "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU"
    zones = zones_of(zone_text("Mine").replace(
        rule, "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=SU;BYMONTHDAY=25,26,27,28,29,30,31;"))
    assert offsets(zones, "Mine") == (1, 2)


def test_zones_with_histories_of_dates_and_without_standard_time_are_read() -> None:
    history = "\n".join(("BEGIN:VTIMEZONE", "TZID:History", "BEGIN:DAYLIGHT", "TZNAME:X",
                         "DTSTART;VALUE=DATE:20200101", "RDATE;VALUE=DATE-TIME:20250101T000000Z,20260601T000000",
                         "TZOFFSETFROM:+0000", "TZOFFSETTO:+053000", "END:DAYLIGHT", "END:VTIMEZONE"))
    assert offsets(zones_of(history), "History") == (5.5, 5.5)


@pytest.mark.parametrize(("text", "problem"), [
    (zone_text("Bad", standard="soon"), "cannot be read"),
    (zone_text("Bad", extra="RRULE:FREQ=SECONDLY"), "line 18: found 'FREQ=SECONDLY', expected one onset a year"),
    (zone_text("Bad", extra="RRULE:FREQ=YEARLY;INTERVAL=0"), "expected one onset a year"),
    (zone_text("Bad", extra="RRULE:FREQ=YEARLY;INTERVAL=x"), "expected one onset a year"),
    (zone_text("Bad", extra="RRULE:BYMONTH=3"), "expected one onset a year"),
    (zone_text("Bad", extra="RRULE:FREQ=YEARLY;BYDAY=MO,TU"), "expected one onset a year"),
    (zone_text("Bad", extra="RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"), "expected one onset a year"),
    ("BEGIN:VTIMEZONE\nTZID:Bad\n" + "BEGIN:STANDARD\nRRULE:FREQ=YEARLY\nEND:STANDARD\n" * 21
     + "END:VTIMEZONE", "more than 20 observances with an RRULE"),
    (zone_text("Bad", extra="RRULE:FREQ=YEARLY;UNTIL=TTTTTTTT"), "cannot be read"),
    (zone_text("Bad", extra="RRULE:FREQ=YEARLY;BYSECOND=1,2,3"), "expected one onset a year"),
    ("BEGIN:VTIMEZONE\nTZID:Bad\nEND:VTIMEZONE", "cannot be read"),
    ("BEGIN:VTIMEZONE\nTZID:Bad\nBEGIN:STANDARD\nTZOFFSETTO:+0100\nEND:STANDARD\nEND:VTIMEZONE", "cannot be read"),
    ("BEGIN:VTIMEZONE\nTZID:Bad\n" + "BEGIN:STANDARD\nEND:STANDARD\n" * 501 + "END:VTIMEZONE", "501 observances"),
])
def test_a_zone_that_cannot_be_read_is_a_problem_of_the_events_that_name_it(text: str, problem: str) -> None:
    found = read(text, event("UID:a", "DTSTART;TZID=Bad:20261102T100000"),
                 event("UID:b", "DTSTART:20261102T100000Z"))
    assert problem in found.problems[0]
    assert "its VTIMEZONE in line 4 cannot be read" in found.problems[0]
    assert len(found.problems) == 1


def test_a_windows_zone_with_a_broken_definition_is_still_known() -> None:
    broken = "BEGIN:VTIMEZONE\nTZID:W. Europe Standard Time\nEND:VTIMEZONE\nBEGIN:VTIMEZONE\nX-A:1\nEND:VTIMEZONE"
    assert offsets(zones_of(broken), "W. Europe Standard Time") == (1, 2)
