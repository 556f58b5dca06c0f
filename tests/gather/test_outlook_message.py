"""Messages that Outlook saved."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import compressed_rtf  # type: ignore[import-untyped]  # the package has no type information
import pytest

from otjd.gather.invitation_files import UnreadableInvitationError, read_invitation
from otjd.meetings.model import Invitation, Organizer
from otjd.rules.event import MeetingEvent
from tests.gather.outlook import APPOINTMENT, COMMON, MEETING, PUBLIC, Name, Value, compound_file, saved_message
from tests.rules.support import alias, rule

START, END = datetime(2026, 3, 2, 9, tzinfo=UTC), datetime(2026, 3, 2, 9, 45, tzinfo=UTC)
HTML = "<html><body><p>Join: <a href='sip:bøard@vc.example.com'>here</a></p></body></html>"
REQUEST: dict[int | Name, Value] = {
    0x001A: "IPM.Schedule.Meeting.Request", 0x0037: "Board møte", 0x0042: "Pat Moe", 0x0065: "/O=X/CN=PAT",
    0x5D02: "pat@example.com", 0x0036: 2, (APPOINTMENT, 0x8208): "Room 1", (APPOINTMENT, 0x820D): START,
    (APPOINTMENT, 0x820E): END, (APPOINTMENT, 0x8223): True, (MEETING, 3): b"\x04\x00\x82\x00",
    (PUBLIC, "TeamsVtcConferenceId"): "1180924475", (PUBLIC, "OnlineMeetingConfLink"): "conf:sip:x@y.example",
    (COMMON, 0x8506): False, 0x1000: "Join: here<sip:board@vc.example.com>\r\n" + 300 * "long "}
RICH = (r"{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0\fswiss Arial;}}\pard Join {\field{\*\fldinst{HYPERLINK "
        r'"https://zoom.us/j/830174629"}}{\fldrslt{\ul the meeting}}}\par caf\'e9 \u8364? \{x\}\par}')
LINK = '<a href="https://zoom.us/j/830174629">'
WRAPPED = (r"{\rtf1\ansi\ansicpg1252\fromhtml1 \deff0{\fonttbl{\f0\fswiss Arial;}}{\*\htmltag18 <html>}"
           r"{\*\htmltag64 <p>}\htmlrtf {\htmlrtf0 Caf\'e9 {\*\htmltag84 " f"{LINK}}}"
           r"\htmlrtf {\field{\*\fldinst{HYPERLINK x}}{\fldrslt\htmlrtf0 Join\htmlrtf }\htmlrtf0 "
           r"\htmlrtf }\htmlrtf0 {\*\htmltag92 </a>}{\*\htmltag84 &lt;}"
           "\\htmlrtf <\\htmlrtf0 \r\n\\htmlrtf\\par}\\htmlrtf0{\\*\\htmltag72 </p>}{\\*\\htmltag27 </html>}}")


def read(content: bytes, name: str = "x.msg") -> Invitation:
    return read_invitation(name, content)[0]


def compressed(rich: str) -> bytes:
    content: bytes = compressed_rtf.compress(rich.encode("ascii"))
    return content


@pytest.mark.parametrize("name", ["x.msg", "x.MSG", "-"])
def test_a_saved_meeting_request_is_an_invitation(name: str) -> None:
    meeting = read(saved_message(REQUEST | {0x1013: HTML.encode(), 0x3FDE: 65001}), name)
    assert (meeting.subject, meeting.location, meeting.uid) == ("Board møte", "Room 1", "04008200")
    assert (meeting.start_time, meeting.end_time) == (START, END)
    assert meeting.organizer == Organizer("Pat Moe", "pat@example.com")
    assert meeting.is_private
    assert meeting.body_html == HTML
    assert meeting.body_text.startswith("Join: here<sip:board@vc.example.com>")


def test_the_named_properties_of_a_meeting_are_seen_by_the_rules() -> None:
    meeting = read(saved_message(REQUEST))
    assert dict(MeetingEvent(meeting).properties) == {
        "TeamsVtcConferenceId": "1180924475", "teams_vtc_conference_id": "1180924475",
        "OnlineMeetingConfLink": "conf:sip:x@y.example", "online_meeting_conf_link": "conf:sip:x@y.example",
        "item_class": "IPM.Schedule.Meeting.Request", "sensitivity": "Private", "is_recurring": True}
    assert alias(meeting, rule("teams", domain="t.example")) == "1180924475@t.example"


def test_html_that_is_wrapped_in_rich_text_is_unwrapped() -> None:
    meeting = read(saved_message({0x001A: "IPM.Appointment", 0x1009: compressed(WRAPPED)}))
    assert meeting.body_html == (
        '<html><p>Café <a href="https://zoom.us/j/830174629">Join</a>&lt;</p></html>')
    assert alias(meeting, rule("zoom")) == "830174629@zoomcrc.com"


def test_rich_text_is_read_where_there_is_no_other_body() -> None:
    meeting = read(saved_message({0x001A: "IPM.Appointment", 0x1009: compressed(RICH)}))
    assert meeting.body_html == ""
    assert meeting.body_text == "Join the meeting<https://zoom.us/j/830174629>\ncafé € {x}\n"


def test_damaged_rich_text_costs_nothing_where_there_is_a_text() -> None:
    damaged = compressed(RICH)[:-3] + b"xyz"
    assert read(saved_message({0x001A: "IPM.Appointment", 0x1000: "hello", 0x1009: damaged})).body_text == "hello"
    with pytest.raises(UnreadableInvitationError, match=r"x\.msg: its rich text cannot be read: CRC is invalid"):
        read(saved_message({0x001A: "IPM.Appointment", 0x1009: damaged}))


def test_texts_of_old_messages_are_in_their_code_page() -> None:
    meeting = read(saved_message({0x001A: "IPM.Appointment", 0x0037: "встреча", 0x3FFD: 1251}, string8="cp1251"))
    assert meeting.subject == "встреча"


def test_a_mail_is_an_invitation_by_its_body_and_sender() -> None:
    meeting = read(saved_message({0x001A: "IPM.Note", 0x0037: "FW: Board", 0x0C1A: "Kim",
                                  0x5D01: "kim@example.com", 0x1000: "sip:board@vc.example.com", 0x0039: START,
                                  0x1035: "<m1@example.com>"}))
    assert (meeting.subject, meeting.organizer) == ("FW: Board", Organizer("Kim", "kim@example.com"))
    assert (meeting.start_time, meeting.uid, meeting.is_private) == (START, "<m1@example.com>", False)


def test_a_meeting_that_was_forwarded_as_an_attachment_counts_in_place_of_the_mail() -> None:
    meeting = read(saved_message({0x001A: "IPM.Note", 0x0037: "FYI"}, attached=(REQUEST,)))
    assert (meeting.subject, meeting.location, meeting.start_time) == ("Board møte", "Room 1", START)


def test_a_calendar_file_that_is_attached_to_a_mail_counts_in_place_of_the_mail() -> None:
    calendar = (b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:u1\r\nDTSTART:20260302T090000Z\r\nSUMMARY:Board\r\n"
                b"END:VEVENT\r\nEND:VCALENDAR\r\n")
    note: dict[int | Name, Value] = {0x001A: "IPM.Note", 0x0037: "FYI"}
    assert read(saved_message(note, attached=(("pic.png", b"\x89"), ("invite.ics", calendar)))).subject == "Board"
    with pytest.raises(UnreadableInvitationError, match=r"x\.msg: attached calendar, line 1: found 'nothing'"):
        read(saved_message(note, attached=(("invite.ics", b"nothing"),)))


def test_what_is_too_long_in_a_message_is_passed_over() -> None:
    note: dict[int | Name, Value] = {0x001A: "IPM.Note", 0x0037: "x" * 200_000, 0x1000: "hello",
                                     0x0C1A: "Kim", 0x5D01: "kim@example.com"}
    meeting = read(saved_message(note))
    assert (meeting.subject, meeting.body_text, meeting.organizer.name) == ("", "hello", "Kim")


@pytest.mark.parametrize(("content", "problem"), [
    (b"", "this is no message of Outlook"),
    (b"hello" * 1000, "this is no message of Outlook"),
    (saved_message(REQUEST)[:2000], "this message of Outlook is damaged"),
    (compound_file({"Workbook": b"x" * 5000}), "an OLE compound file, but no message of Outlook"),
    (saved_message({0x001A: "IPM.Note", 0x1009: bytes(3_000_000)}), "rich text cannot be read: it has 3000000"),
    (saved_message({0x001A: "IPM.Note", 0x1009: b"x"}), "its rich text cannot be read: it is cut off"),
    (saved_message({0x001A: "IPM.Note", 0x1009: compressed_rtf.compress(b"{" * 5000)}), "nested too deeply"),
])
def test_what_is_no_message_is_said_in_one_line(content: bytes, problem: str) -> None:
    with pytest.raises(UnreadableInvitationError) as refused:
        read(content)
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_damaged_message_is_read_or_refused_and_nothing_else() -> None:
    whole = saved_message(REQUEST | {0x1009: compressed(WRAPPED)}, attached=(REQUEST, ("invite.ics", b"x")))
    chance = random.Random(7)  # noqa: S311 - the same damage in every run
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(chance.randrange(1, 30)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            read(bytes(damaged))
        except UnreadableInvitationError:
            refused += 1
    assert 0 < refused < 300
