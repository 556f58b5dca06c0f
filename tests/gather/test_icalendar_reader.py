"""What a VEVENT becomes, and what is said of a file that holds none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otjd.gather import icalendar_reader
from otjd.gather.icalendar_reader import UnreadableCalendarError, read_calendar
from otjd.meetings.model import CalendarItemType, FreeBusyStatus, Organizer, Window
from tests.gather.calendars import AUTUMN, DATA, calendar, event, expanded, read, soon, times

START = "DTSTART:20261020T080000Z"


def at(day: int, hour: int, minute: int = 0, month: int = 10) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def test_an_export_of_google_calendar_is_read() -> None:
    found = read_calendar((DATA / "google.ics").read_bytes(), "google.ics")
    by_start = {i.start_time: i for i in found.invitations(AUTUMN)}
    assert found.problems == ()
    single = by_start[at(20, 8)]
    assert single.uid == "5k2m8q0single@google.com"
    assert single.item_type is CalendarItemType.SINGLE
    assert single.occurrence == ""
    assert single.end_time == at(20, 8, 30)
    assert single.subject == "Budsjettmøte – første utkast"
    assert single.organizer == Organizer("Kari Nordmann", "kari@example.com")
    assert single.body_text.endswith("Join with Google Meet: https://meet.google.com/abc-defg-hij")
    assert "Budget, and more" in single.body_html  # its description is HTML
    assert single.created_time == datetime(2026, 9, 30, 12, tzinfo=UTC)
    assert single.last_modified_time == datetime(2026, 9, 30, 12, 15, tzinfo=UTC)
    assert single.properties == {"ics": {"X-GOOGLE-CONFERENCE": "https://meet.google.com/abc-defg-hij"}}
    weekly = [i for i in by_start.values() if i.uid == "7weekly@google.com"]
    assert times(weekly) == ["10-05 08:00", "10-12 08:00", "10-26 09:00", "11-03 12:00", "11-09 09:00",
                             "11-16 09:00", "11-23 09:00", "11-30 09:00"]
    moved = by_start[at(3, 12, month=11)]
    assert (moved.subject, moved.occurrence) == ("Ukestart (flyttet)", "20261102T090000Z")
    assert moved.item_type is CalendarItemType.EXCEPTION
    whole_days = by_start[at(20, 22)]
    assert whole_days.is_all_day
    assert whole_days.is_private
    assert whole_days.end_time == at(22, 22)
    assert whole_days.free_busy is FreeBusyStatus.FREE
    assert whole_days.organizer == Organizer()


def test_an_export_of_outlook_is_read() -> None:
    found = read_calendar((DATA / "outlook.ics").read_bytes(), "outlook.ics")
    invitations = found.invitations(AUTUMN)
    assert found.problems == ()
    review = next(i for i in invitations if i.subject == "Review, part two")
    assert review.start_time == at(27, 9)
    assert review.location == "Microsoft Teams Meeting; Boardroom"
    assert review.organizer == Organizer("Doe, Jane", "jane.doe@example.com")
    assert review.is_private
    assert review.free_busy is FreeBusyStatus.TENTATIVE
    link = "https://teams.microsoft.com/l/meetup-join/19%3ameeting_x%40thread.v2/0"
    assert f'<a href="{link}?context=%7b%7d">Join, now</a></p>\n</body>' in review.body_html
    assert review.properties["ics"]["X-MICROSOFT-SKYPETEAMSMEETINGURL"] == link
    assert "X-ALT-DESC" not in review.properties["ics"]
    standup = [i for i in invitations if i.subject.startswith("Standup")]
    assert times(standup) == ["10-19 07:00", "11-02 13:00", "11-09 08:00"]


def test_an_export_of_thunderbird_is_read() -> None:
    found = read_calendar((DATA / "thunderbird.ics").read_bytes(), "thunderbird.ics")
    invitations = found.invitations(AUTUMN)
    assert found.problems == ()
    assert [(i.start_time.strftime("%m-%d %H:%M"), i.is_cancelled) for i in invitations] == [
        ("10-29 13:00", False), ("10-30 13:00", False), ("10-31 13:00", True), ("11-01 14:00", False),
        ("11-02 14:00", False)]
    assert invitations[0].body_html == '<body>Join <a href="https://example.zoom.us/j/91234567890">here</a></body>'
    assert invitations[0].body_text == "Join here"


@pytest.mark.parametrize(("line", "organizer"), [
    ('ORGANIZER;CN="Doe, Jane":MAILTO:jane@example.com', Organizer("Doe, Jane", "jane@example.com")),
    ("ORGANIZER:mailto:jane@example.com", Organizer("", "jane@example.com")),
    ("ORGANIZER;CN=Jane:jane@example.com", Organizer("Jane", "jane@example.com")),
    ("ORGANIZER;CN=Jane;EMAIL=jane@example.com:urn:uuid:1", Organizer("Jane", "jane@example.com")),
    ("ORGANIZER;CN=Jane:invalid:nomail", Organizer("Jane", "")),
    ("ORGANIZER;CN=Jane;EMAIL=nobody:invalid:nomail", Organizer("Jane", "")),
    ("ORGANIZER:", Organizer()),
    ("COMMENT:nobody", Organizer()),
])
def test_an_organizer_is_read_in_every_form(line: str, organizer: Organizer) -> None:
    assert expanded(event("UID:a", START, line))[0].organizer == organizer


@pytest.mark.parametrize(("lines", "private", "cancelled", "free_busy"), [
    ((), False, False, FreeBusyStatus.BUSY),
    (("CLASS:PUBLIC", "STATUS:CONFIRMED", "TRANSP:OPAQUE"), False, False, FreeBusyStatus.BUSY),
    (("CLASS:PRIVATE",), True, False, FreeBusyStatus.BUSY),
    (("CLASS:confidential",), True, False, FreeBusyStatus.BUSY),
    (("STATUS:CANCELLED",), False, True, FreeBusyStatus.BUSY),
    (("STATUS:TENTATIVE",), False, False, FreeBusyStatus.TENTATIVE),
    (("TRANSP:TRANSPARENT",), False, False, FreeBusyStatus.FREE),
    (("X-MICROSOFT-CDO-BUSYSTATUS:FREE",), False, False, FreeBusyStatus.FREE),
    (("X-MICROSOFT-CDO-BUSYSTATUS:TENTATIVE",), False, False, FreeBusyStatus.TENTATIVE),
    (("X-MICROSOFT-CDO-BUSYSTATUS:OOF",), False, False, FreeBusyStatus.BUSY),
])
def test_class_status_and_transparency_are_read(lines: tuple[str, ...], private: bool, cancelled: bool,
                                                free_busy: FreeBusyStatus) -> None:
    found = expanded(event("UID:a", START, *lines))[0]
    assert (found.is_private, found.is_cancelled, found.free_busy) == (private, cancelled, free_busy)


def test_the_method_cancel_cancels_every_event() -> None:
    assert all(i.is_cancelled for i in expanded("METHOD:CANCEL", soon("a"), soon("b")))


@pytest.mark.parametrize(("lines", "duration"), [
    (("DTEND:20261020T093000Z",), timedelta(minutes=90)),
    (("DURATION:PT45M",), timedelta(minutes=45)),
    (("DTEND:20261021",), timedelta(hours=16)),
    ((), timedelta()),
    (("DTEND:20261020T080000Z",), timedelta()),
    (("DTEND:20261020T070000Z",), timedelta()),
    (("DURATION:-PT1H",), timedelta()),
])
def test_an_end_comes_from_dtend_or_duration_and_is_never_before_the_start(lines: tuple[str, ...],
                                                                           duration: timedelta) -> None:
    invitation = expanded(event("UID:a", START, *lines))[0]
    assert invitation.end_time - invitation.start_time == duration


@pytest.mark.parametrize(("lines", "days"), [
    ((), 1), (("DTEND;VALUE=DATE:20261022",), 2), (("DTEND;VALUE=DATE:20261020",), 1), (("DURATION:P3D",), 3),
    (("DURATION:PT30H",), 2), (("DURATION:PT0S",), 1), (("DTEND:20261021T000000Z",), 1),
])
def test_a_whole_day_lasts_from_midnight_to_midnight(lines: tuple[str, ...], days: int) -> None:
    invitation = expanded(event("UID:a", "DTSTART;VALUE=DATE:20261020", *lines))[0]
    assert invitation.is_all_day
    assert (invitation.start_time, invitation.end_time) == (at(20, 0), at(20 + days, 0))


def test_a_whole_day_without_value_parameter_or_with_a_zone_is_one() -> None:
    assert expanded(event("UID:a", "DTSTART:20261020"))[0].is_all_day
    in_oslo = expanded(event("UID:a", "DTSTART;TZID=Europe/Oslo;VALUE=DATE:20261020"))[0]
    assert (in_oslo.is_all_day, in_oslo.start_time) == (True, at(20, 0))  # the zone of the calendar counts
    of_outlook = expanded(event("UID:a", "DTSTART:20261020T000000", "DTEND:20261021T000000",
                                "X-MICROSOFT-CDO-ALLDAYEVENT:TRUE"))[0]
    assert of_outlook.is_all_day


def test_floating_times_are_those_of_the_calendar_else_of_the_given_zone() -> None:
    floating = event("UID:a", "DTSTART:20261020T100000", "DTEND:20261020T110000")
    assert expanded(floating)[0].start_time == at(20, 10)
    assert expanded("X-WR-TIMEZONE:America/New_York", floating)[0].start_time == at(20, 14)
    given_zone = read_calendar(calendar(floating), "room.ics", default_zone=timezone(timedelta(hours=2)))
    assert given_zone.invitations(AUTUMN)[0].start_time == at(20, 8)


def test_an_unknown_zone_of_the_calendar_is_a_problem_and_the_default_is_used() -> None:
    found = read("X-WR-TIMEZONE:Nowhere/Land", event("UID:a", "DTSTART:20261020T100000"))
    assert found.invitations(AUTUMN)[0].start_time == at(20, 10)
    (problem,) = found.problems
    assert problem == "room.ics, line 4: found the time zone 'Nowhere/Land', expected a name such as Europe/Oslo"


def test_a_time_in_utc_ignores_a_zone_beside_it() -> None:
    assert expanded(event("UID:a", "DTSTART;TZID=Europe/Oslo:20261020T100000Z"))[0].start_time == at(20, 10)


def test_bodies_are_found_where_each_program_puts_them() -> None:
    styled = expanded(event("UID:a", START, "STYLED-DESCRIPTION;VALUE=TEXT;FMTTYPE=text/html:<p>Join\\, now</p>",
                            "DESCRIPTION:Join, now"))[0]
    assert (styled.body_html, styled.body_text) == ("<p>Join, now</p>", "Join, now")
    plain = expanded(event("UID:a", START, "DESCRIPTION:1 < 2 > 0\\nC:\\\\new"))[0]
    assert (plain.body_html, plain.body_text) == ("", "1 < 2 > 0\nC:\\new")
    other = expanded(event("UID:a", START, "X-ALT-DESC;FMTTYPE=text/rtf:{rtf}",
                           'DESCRIPTION;ALTREP="data:text/html;base64,PGI+":x'))[0]
    assert other.body_html == ""


def test_extensions_are_handed_on_by_name_in_capitals_but_no_giants() -> None:
    invitation = expanded(event("UID:a", START, "x-meeting:one\\, two", "X-MEETING:again", "X-BIG:" + "y" * 20_000,
                                "ATTACH:not an extension"))[0]
    assert invitation.properties == {"ics": {"X-MEETING": "one, two"}}


def test_an_event_without_uid_gets_one_that_stays_from_export_to_export() -> None:
    def uid(*lines: str) -> str:
        return expanded(event(START, "SUMMARY:a", *lines))[0].uid

    assert uid("DTSTAMP:20260101T000000Z") == uid("DTSTAMP:20260202T000000Z", "SEQUENCE:4")
    assert uid() != uid("LOCATION:elsewhere")
    assert len(uid()) == 64


def test_times_of_no_consequence_may_be_unreadable() -> None:
    invitation = expanded(event("UID:a", START, "CREATED:yesterday", "LAST-MODIFIED:0000", "SEQUENCE:many"))[0]
    assert (invitation.created_time, invitation.last_modified_time) == (None, None)


def test_only_what_has_a_part_in_the_window_is_there_by_start() -> None:
    window = Window(at(20, 8), at(20, 9))
    parts = [event(f"UID:{uid}", f"DTSTART:20261020T{start}Z", f"DTEND:20261020T{end}Z") for uid, start, end in (
        ("after", "090000", "100000"), ("late", "085900", "093000"), ("instant", "080000", "080000"),
        ("over", "070000", "080000"), ("running", "070000", "080001"))]
    assert [i.uid for i in expanded(*parts, window=window)] == ["running", "instant", "late"]


def test_the_first_invitation_is_that_of_the_first_event_unexpanded() -> None:
    found = read(event("UID:s", "DTSTART:20200106T100000Z", "RRULE:FREQ=DAILY", "SUMMARY:series"), soon("b"))
    first = found.first_invitation()
    assert (first.uid, first.start_time.year, first.item_type) == ("s", 2020, CalendarItemType.OCCURRENCE)
    with pytest.raises(UnreadableCalendarError, match=r"^room.ics, line 1: the calendar has no VEVENT"):
        read().first_invitation()
    with pytest.raises(UnreadableCalendarError, match="line 4: the VEVENT has no DTSTART"):
        read(event("UID:a"), soon("b")).first_invitation()


def test_an_empty_calendar_is_a_good_one() -> None:
    assert expanded() == []


BROKEN = [
    (("UID:b",), "line 8: the VEVENT has no DTSTART"),
    (("UID:b", "DTSTART:tomorrow"), "line 10: found 'DTSTART:tomorrow', expected a time such as 20260131T090000Z"),
    (("UID:b", "DTSTART:20261332T990000Z"), "line 10: found 'DTSTART:20261332T990000Z', expected a time"),
    (("UID:b", "DTSTART:PT1H"), "line 10: found 'DTSTART:PT1H', expected a time"),
    (("UID:b", "DTSTART:00010101T000000Z"), "line 10: found the year 1, expected one from 1600"),
    (("UID:b", "DTSTART:99990101T000000Z"), "line 10: found the year 9999, expected one from 1600"),
    (("UID:b", START, "DTEND:later"), "line 11: found 'DTEND:later', expected a time"),
    (("UID:b", START, "DURATION:later"), "line 11: found 'DURATION:later', expected a duration such as PT1H"),
    (("UID:b", START, "DURATION:P9000000D"), "line 11: found 'DURATION:P9000000D', expected a duration"),
    (("UID:b", "DTSTART;TZID=Nowhere/Land:20261020T080000"), "line 10: found the time zone 'Nowhere/Land': it is"),
    (("UID:b", START, "RRULE:often"), "line 11: found 'often', expected a rule such as FREQ=WEEKLY"),
    (("UID:b", START, "RRULE:FREQ=SOMETIMES"), "line 11: found 'FREQ=SOMETIMES', expected a rule"),
    (("UID:b", START, *["RRULE:FREQ=DAILY"] * 11), "line 11: the VEVENT has 11 RRULEs, at most 10 are read"),
    (("UID:b", START, "RDATE:PT1H"), "line 11: found 'PT1H' in RDATE, expected times"),
    (("UID:b", START, "RDATE:20261021T080000Z,soon"), "line 11: found 'soon' in RDATE, expected times such as"),
    (("UID:b", START, "EXDATE:" + ",".join(["20261021"] * 5001)), "line 11: the VEVENT has more than 5000 dates"),
    (("UID:b", 'DTSTART;TZID="Europe/Oslo:20261020T080000'), "line 10: found 'DTSTART;TZID="),
    (("UID;=:b", START), "line 9: found 'UID;=:b', expected UID:value"),
]


@pytest.mark.parametrize(("lines", "problem"), BROKEN)
def test_a_broken_event_costs_itself_alone_and_is_told_with_its_line(lines: tuple[str, ...], problem: str) -> None:
    found = read(event("UID:good", START), event(*lines))
    assert [i.uid for i in found.invitations(AUTUMN)] == ["good"]
    assert len(found.problems) == 1
    assert f"room.ics, {problem}" in found.problems[0]


def test_a_file_without_a_single_good_event_is_unreadable() -> None:
    with pytest.raises(UnreadableCalendarError, match=r"^room.ics, line 6: found 'DTSTART:x'"):
        read(event("UID:a", "DTSTART:x"), event("UID:b", "DTSTART:y"))


def test_a_stray_line_within_an_event_is_told_and_the_event_stays() -> None:
    found = read(event("UID:a", START, "DESCRIPTION:first", "second line that nobody folded", "SUMMARY:a"))
    assert found.invitations(AUTUMN)[0].subject == "a"
    (problem,) = found.problems
    assert problem == ("room.ics, line 8: found 'second line that nobody folded', expected a property such as "
                       "SUMMARY:text")


def test_what_was_known_of_a_broken_event_can_be_taken_over() -> None:
    good = read(event("UID:b", START, "SUMMARY:known"), soon("a"))
    broken = read(event("UID:b", "DTSTART:x"), soon("a"), event("UID:c", "DTSTART:y"))
    broken.keep_from(good)
    assert {i.subject for i in broken.invitations(AUTUMN)} == {"known", "a"}
    once_more = read(event("UID:b", "DTSTART:z"), soon("d"))
    once_more.keep_from(broken)
    assert {i.subject for i in once_more.invitations(AUTUMN)} == {"known", "d"}


def test_a_calendar_with_too_many_events_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(icalendar_reader, "EVENT_LIMIT", 2)
    with pytest.raises(UnreadableCalendarError, match="has more than 2 events"):
        read(soon("a"), soon("b"), soon("c"))


def test_a_calendar_that_takes_too_long_to_read_is_unreadable() -> None:
    clock = iter(range(0, 100, 6))
    with pytest.raises(UnreadableCalendarError, match="line 10: reading the calendar up to here took 10 seconds"):
        read_calendar(calendar(soon("a"), soon("b")), "room.ics", cpu_time=lambda: next(clock))


def test_more_occurrences_than_a_room_can_show_are_left_out_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(icalendar_reader, "OCCURRENCE_LIMIT", 3)
    found = read(event("UID:a", "DTSTART:20261001T100000Z", "RRULE:FREQ=DAILY;COUNT=5"))
    assert times(found.invitations(AUTUMN)) == ["10-01 10:00", "10-02 10:00", "10-03 10:00"]
    assert found.problems == ("room.ics: 2 occurrences are left out, only the first 3 of the window are kept",)
    assert len(found.invitations(Window(AUTUMN.start, at(3, 0)))) == 2
    assert not found.problems


def test_two_calendars_in_one_file_keep_their_own_zones() -> None:
    def in_zone(zone: str, uid: str) -> bytes:
        return calendar(f"X-WR-TIMEZONE:{zone}", event(f"UID:{uid}", "DTSTART:20261020T100000"))

    found = read_calendar(in_zone("Europe/Oslo", "a") + in_zone("Asia/Tokyo", "b"), "both.ics")
    assert {i.uid: i.start_time.hour for i in found.invitations(AUTUMN)} == {"a": 8, "b": 1}


@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_no_bytes_raise_anything_but_the_error_for_unreadable_calendars(content: bytes) -> None:
    try:
        read_calendar(content, "fuzz.ics").invitations(AUTUMN)
    except UnreadableCalendarError as error:
        assert str(error).startswith("fuzz.ics, line ")  # noqa: PT017 - either way is good


TOKENS = st.sampled_from([
    "BEGIN:VCALENDAR", "END:VCALENDAR", "BEGIN:VEVENT", "END:VEVENT", "BEGIN:VTIMEZONE", "END:VTIMEZONE",
    "BEGIN:STANDARD", "END:STANDARD", "TZID:Z", "TZOFFSETFROM:+0100", "TZOFFSETTO:+0200",
    "DTSTART:20261020T100000", "DTSTART;TZID=Z:20261020T100000", "DTSTART;VALUE=DATE:20261020",
    "DTEND:20261020T110000Z", "DURATION:PT1H",
    "DURATION:-P1D", "UID:a", "UID:b", "RRULE:FREQ=DAILY", "RRULE:FREQ=WEEKLY;UNTIL=20261101", "RRULE:FREQ=YEARLY",
    "RRULE:FREQ=DAILY;UNTIL=00010101T000000Z", "RRULE:FREQ=DAILY;BYDAY=XX", "RRULE:FREQ=MONTHLY;BYSETPOS=0",
    "RDATE:20261022T100000", "RDATE;VALUE=PERIOD:20261022T100000Z/PT1H", "RDATE;VALUE=PERIOD:20261022/20261023",
    "EXDATE:20261021T100000", "EXDATE;VALUE=DATE:20261021", "RECURRENCE-ID:20261021T100000Z",
    "RECURRENCE-ID;RANGE=THISANDFUTURE:20261021T100000", "RECURRENCE-ID;VALUE=DATE:20261021", "SEQUENCE:7",
    "X-WR-TIMEZONE:Europe/Oslo", "SUMMARY", "ORGANIZER;CN=\"a:mailto:x", "", " folded", ";", ":", "METHOD:CANCEL",
])


@given(st.lists(TOKENS | st.text(max_size=12), max_size=30).map(lambda body: [
    "BEGIN:VCALENDAR", "BEGIN:VEVENT", "DTSTART;TZID=Europe/Oslo:20261020T100000", *body, "END:VEVENT",
    "END:VCALENDAR"]))
@settings(max_examples=300, deadline=None)
def test_no_mixture_of_lines_raises_anything_but_the_error_for_unreadable_calendars(lines: list[str]) -> None:
    content = "\r\n".join(lines).encode("utf-8", "surrogatepass")
    try:
        found = read_calendar(content, "fuzz.ics").invitations(AUTUMN)
    except UnreadableCalendarError as error:
        assert error.line >= 1  # noqa: PT017 - either way is good
    else:
        assert all(i.start_time <= i.end_time for i in found)
