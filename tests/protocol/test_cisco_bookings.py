from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from otjd.meetings.model import DialProtocol, Meeting, Organizer
from otjd.protocol.cisco_bookings import (
    CLEAR,
    MOST_BOOKINGS,
    Booking,
    bookings_of,
    bookings_put,
    bookings_xml,
    expressible,
    without_scheme,
)
from otjd.protocol.cisco_versions import Features

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
OLD = Features()
NEW = Features(meetings_without_number=True)


def meeting(**changes: Any) -> Meeting:
    values: dict[str, Any] = {
        "id": "b-1001", "uid": "1", "start_time": START, "end_time": START + 45 * MINUTE,
        "subject": "Planning & review", "organizer": Organizer("Ada Berg", "ada@example.com"),
        "alias": "room7@video.example.com"}
    return Meeting(**{**values, **changes})


def bookings(*meetings: Meeting, now: datetime = START, start_buffer: timedelta = 5 * MINUTE,
             end_buffer: timedelta = timedelta()) -> tuple[Booking, ...]:
    return bookings_of(meetings, now=now, start_buffer=start_buffer, end_buffer=end_buffer)


def put_entries(body: bytes) -> list[dict[str, Any]]:
    """The bookings of a putxml document, read as an endpoint would."""
    root = etree.fromstring(body)
    assert [e.tag for e in root.iter()] == ["Command", "Bookings", "Put", "body"]
    put = root.find("Bookings/Put")
    assert put is not None
    assert put.items() == [("command", "True")]
    entries: list[dict[str, Any]] = json.loads(put.findtext("body") or "")["Bookings"]
    return entries


def json_entry(booking: Booking, *, now: datetime = START, features: Features = NEW) -> dict[str, Any]:
    return put_entries(bookings_put([booking], features=features, now=now))[0]


def test_the_private_xml_is_the_documented_one_to_the_letter() -> None:
    expected = """<?xml version="1.0" encoding="UTF-8"?>
<Bookings status="OK">
  <Booking item="1">
    <Id>b-1001</Id><Title>Planning &amp; review</Title><Agenda/><Privacy>Public</Privacy>
    <Organizer><FirstName>Ada</FirstName><LastName>Berg</LastName><Email/></Organizer>
    <Time>
      <StartTime>2026-03-02T08:00:00Z</StartTime><StartTimeBuffer>300</StartTimeBuffer>
      <EndTime>2026-03-02T08:45:00Z</EndTime><EndTimeBuffer>0</EndTimeBuffer>
    </Time>
    <MaximumMeetingExtension>0</MaximumMeetingExtension>
    <BookingStatus>OK</BookingStatus><BookingStatusMessage/>
    <Webex><Enabled>False</Enabled><MeetingNumber/><Password/></Webex>
    <Encryption>BestEffort</Encryption><Role>Master</Role><Recording>Disabled</Recording>
    <DialInfo>
      <Calls><Call item="1"><Number>room7@video.example.com</Number><Protocol>SIP</Protocol>\
<CallRate>6000</CallRate><CallType>Video</CallType></Call></Calls>
      <ConnectMode>OBTP</ConnectMode>
    </DialInfo>
  </Booking>
</Bookings>
"""
    body = bookings_xml(bookings(meeting(organizer=Organizer("Ada Berg"))))
    assert re.sub(r">\s+<", "><", body.decode()) == re.sub(r">\s+<", "><", expected)


def test_the_json_is_the_documented_one() -> None:
    body = bookings_put(bookings(meeting()), features=OLD, now=START)
    assert b"Planning &amp; review" in body
    assert put_entries(body) == [{
        "Id": "b-1001", "Title": "Planning & review", "Privacy": "Public",
        "Number": "room7@video.example.com", "Protocol": "SIP",
        "Organizer": {"Name": "Ada Berg", "Email": "ada@example.com"},
        "Time": {"StartTime": "2026-03-02T08:00:00Z", "Duration": 45, "StartTimeBuffer": 300, "EndTimeBuffer": 0}}]


def test_an_empty_list_has_a_form_of_its_own_in_each() -> None:
    root = etree.fromstring(bookings_xml(()))
    assert (root.tag, root.items(), len(root)) == ("Bookings", [("status", "OK")], 0)
    assert bookings_put((), features=NEW, now=START) == CLEAR
    assert CLEAR == b'<Command><Bookings><Clear command="True"/></Bookings></Command>'


def test_buffers_are_seconds_in_both_and_never_negative() -> None:
    (booking,) = bookings(meeting(), start_buffer=10 * MINUTE, end_buffer=2 * MINUTE)
    root = etree.fromstring(bookings_xml([booking]))
    assert root.findtext("Booking/Time/StartTimeBuffer") == "600"
    assert root.findtext("Booking/Time/EndTimeBuffer") == "120"
    assert json_entry(booking)["Time"]["StartTimeBuffer"] == 600
    assert json_entry(booking)["Time"]["EndTimeBuffer"] == 120
    assert bookings(meeting(), start_buffer=-MINUTE)[0].start_buffer_s == 0


def test_private_meetings_say_so() -> None:
    (booking,) = bookings(meeting(is_private=True))
    assert b"<Privacy>Private</Privacy>" in bookings_xml([booking])
    assert json_entry(booking)["Privacy"] == "Private"


def test_h323_stays_h323() -> None:
    (booking,) = bookings(meeting(alias="h323:1234@example.com", dial_protocol=DialProtocol.H323))
    assert b"<Number>1234@example.com</Number><Protocol>H323</Protocol>" in bookings_xml([booking])
    assert (json_entry(booking)["Number"], json_entry(booking)["Protocol"]) == ("1234@example.com", "H323")


def test_a_meeting_without_number_is_manual_without_a_call_in_xml() -> None:
    root = etree.fromstring(bookings_xml(bookings(meeting(alias=None))))
    dial = root.find("Booking/DialInfo")
    assert dial is not None
    assert etree.tostring(dial) == b"<DialInfo><ConnectMode>Manual</ConnectMode></DialInfo>"


def test_a_meeting_without_number_has_no_protocol_in_json_from_11_24_1_on_and_is_left_out_before() -> None:
    both = bookings(meeting(alias=None), meeting(id="b-2"))
    entries = put_entries(bookings_put(both, features=NEW, now=START))
    assert {(e["Id"], e["Number"], e["Protocol"], e.get("MeetingPlatform")) for e in entries} == {
        ("b-1001", "", "None", "None"), ("b-2", "room7@video.example.com", "SIP", None)}
    assert [e["Id"] for e in put_entries(bookings_put(both, features=OLD, now=START))] == ["b-2"]
    assert [b.id for b in expressible(both, OLD)] == ["b-2"]
    assert bookings_put(bookings(meeting(alias=None)), features=OLD, now=START) == CLEAR


def test_a_number_too_long_to_dial_is_no_number() -> None:
    assert bookings(meeting(alias="1" * 255))[0].number == "1" * 255
    assert bookings(meeting(alias="1" * 256))[0].number == ""


@pytest.mark.parametrize(("number", "bare"), [
    ("sip:a@b.example", "a@b.example"), ("SIPS:a@b.example", "a@b.example"), ("a@b.example", "a@b.example"),
    ("h323:sip:1", "sip:1"), ("", "")])
def test_the_scheme_of_a_number_is_left_off(number: str, bare: str) -> None:
    assert without_scheme(number) == bare


def test_meetings_that_are_over_are_left_out_unless_their_end_buffer_runs() -> None:
    ended = meeting(end_time=START + 10 * MINUTE)
    assert bookings(ended, now=START + 10 * MINUTE - timedelta(seconds=1))
    assert not bookings(ended, now=START + 10 * MINUTE)
    assert bookings(ended, now=START + 10 * MINUTE, end_buffer=MINUTE)
    assert not bookings(ended, now=START + 11 * MINUTE, end_buffer=MINUTE)


def test_the_soonest_come_first_and_their_number_is_bounded() -> None:
    many = [meeting(id=f"m{n:04}", start_time=START + n * MINUTE, end_time=START + (n + 1) * MINUTE)
            for n in reversed(range(MOST_BOOKINGS + 5))]
    found = bookings(*many)
    assert [b.id for b in found] == [f"m{n:04}" for n in range(MOST_BOOKINGS)]


def test_times_are_whole_seconds_in_utc_and_a_started_minute_counts() -> None:
    odd = meeting(start_time=START.replace(microsecond=700_000), end_time=START + timedelta(seconds=61.5))
    (booking,) = bookings(odd)
    assert b"<StartTime>2026-03-02T08:00:00Z</StartTime>" in bookings_xml([booking])
    assert b"<EndTime>2026-03-02T08:01:01Z</EndTime>" in bookings_xml([booking])
    assert json_entry(booking)["Time"]["Duration"] == 2


def test_a_meeting_without_length_lasts_a_minute() -> None:
    (booking,) = bookings(meeting(end_time=START), now=START - MINUTE)
    assert b"<EndTime>2026-03-02T08:01:00Z</EndTime>" in bookings_xml([booking])
    assert json_entry(booking)["Time"]["Duration"] == 1


@pytest.mark.parametrize(("hours_later", "day", "minutes"), [
    (-30, 2, 1440), (0, 2, 1440), (23, 2, 1440), (24, 3, 1440), (50, 4, 600), (57, 4, 600), (58, 4, 600)])
def test_json_has_the_running_day_of_a_meeting_of_days(hours_later: int, day: int, minutes: int) -> None:
    (booking,) = bookings(meeting(end_time=START + timedelta(hours=58)), now=START - timedelta(days=7))
    time = json_entry(booking, now=START + timedelta(hours=hours_later))["Time"]
    assert (time["StartTime"], time["Duration"]) == (f"2026-03-0{day}T08:00:00Z", minutes)


def test_a_meeting_of_exactly_two_days_never_shrinks_to_nothing() -> None:
    (booking,) = bookings(meeting(end_time=START + timedelta(days=2)))
    time = json_entry(booking, now=START + timedelta(days=2))["Time"]
    assert (time["StartTime"], time["Duration"]) == ("2026-03-03T08:00:00Z", 1440)


@pytest.mark.parametrize(("organizer", "name", "parts", "email"), [
    (Organizer("Ada Berg", "a@example.com"), "Ada Berg", ("Ada", "Berg"), "a@example.com"),
    (Organizer("Berg, Ada (Oslo)"), "Berg, Ada (Oslo)", ("Berg,", "Ada (Oslo)"), ""),
    (Organizer("Ada"), "Ada", ("Ada", ""), ""),
    (Organizer("", "a@example.com"), "a@example.com", ("a@example.com", ""), "a@example.com"),
    (Organizer(), "", ("", ""), ""),
])
def test_organizers_of_all_kinds(organizer: Organizer, name: str, parts: tuple[str, str], email: str) -> None:
    (booking,) = bookings(meeting(organizer=organizer))
    assert booking.organizer_name == name
    assert booking.organizer_first_and_last == parts
    assert booking.organizer_email == email
    entry = json_entry(booking)["Organizer"]
    assert entry == ({"Name": name, "Email": email} if email else {"Name": name})


def test_titles_in_any_script_arrive_whole_and_the_wire_is_ascii() -> None:
    title = "Überblick – 計画 🎉 <b>\"quoted\"</b> ]]> \\u0041"
    (booking,) = bookings(meeting(subject=title))
    for body in (bookings_xml([booking]), bookings_put([booking], features=OLD, now=START)):
        assert body.isascii()
    assert etree.fromstring(bookings_xml([booking])).findtext("Booking/Title") == title
    assert json_entry(booking)["Title"] == title


hostile = st.text(st.characters(codec=None), max_size=300)


@given(title=hostile, name=hostile, email=hostile, alias=hostile)
def test_any_text_gives_well_formed_documents_of_bounded_clean_lines(
        title: str, name: str, email: str, alias: str) -> None:
    found = bookings(meeting(subject=title, organizer=Organizer(name, email), alias=alias or None))
    root = etree.fromstring(bookings_xml(found))
    (entry,) = put_entries(bookings_put(found, features=NEW, now=START))
    seen = [entry["Title"], entry["Organizer"]["Name"], entry["Organizer"].get("Email", "")]
    assert root.findtext("Booking/Title") == seen[0]
    assert root.findtext("Booking/Organizer/Email") == seen[2]
    assert (root.findtext("Booking/DialInfo/Calls/Call/Number") or "") == entry["Number"]
    for text in (*seen, entry["Number"]):
        assert not re.search("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", text)
    assert all(len(text) <= 128 for text in seen)
    assert len(entry["Number"]) <= 255
