"""Single invitations from files."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.message import EmailMessage

import pytest

from otjd.gather.invitation_files import SIZE_LIMIT, UnreadableInvitationError, read_invitation, read_invitations
from otjd.meetings.model import Organizer
from otjd.rules.rule import Rule
from tests.rules.support import alias, rule

ICS = ("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//y\r\nBEGIN:VEVENT\r\nUID:u1\r\nDTSTAMP:20260302T080000Z\r\n"
       "DTSTART:20260302T090000Z\r\nDTEND:20260302T093000Z\r\nSUMMARY:Board\r\nLOCATION:Room 1\r\n"
       "ORGANIZER;CN=Pat Moe:mailto:pat@example.com\r\n{}END:VEVENT\r\nEND:VCALENDAR\r\n")
DESCRIPTION = "DESCRIPTION:sip:board@vc.example.com\r\n"


def mail(*, html: str = "", text: str = "") -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = "Møte"
    message["From"] = "Pat Møe <pat@example.com>"
    message["Date"] = "Mon, 02 Mar 2026 10:00:00 +0100"
    message["Message-ID"] = "<m1@example.com>"
    message.set_content(text or "plain ø")
    if html:
        message.add_alternative(html, subtype="html")
    return message


def test_a_json_file_is_an_invitation_with_or_without_rules() -> None:
    meeting, rules = read_invitation("x.json", b'\xef\xbb\xbf{"subject": "S", "rule": {"meeting_type": "zoom"}}')
    assert meeting.subject == "S"
    assert rules == (Rule("zoom 1", 1, "zoom"),)
    assert read_invitation("x.JSON", b"{}")[1] is None


def test_a_json_file_may_hold_several() -> None:
    read = read_invitations("x.json", json.dumps([{"subject": "a"}, {"subject": "b", "rule": {}}]).encode())
    assert [(meeting.subject, rules) for meeting, rules in read] == [("a", None), ("b", ())]


def test_an_icalendar_file_is_its_first_event() -> None:
    for name in ("x.ics", "-"):
        meeting, rules = read_invitation(name, ICS.format(DESCRIPTION).encode())
        assert (meeting.subject, meeting.location, meeting.body_text.strip()) == ("Board", "Room 1",
                                                                                  "sip:board@vc.example.com")
        assert meeting.start_time == datetime(2026, 3, 2, 9, tzinfo=UTC)
        assert meeting.organizer == Organizer("Pat Moe", "pat@example.com")
        assert rules is None


def test_a_mail_without_a_calendar_gives_subject_sender_and_body() -> None:
    for name in ("x.eml", "-"):
        meeting, rules = read_invitation(name, mail(html="<p>rich ø</p>").as_bytes())
        assert (meeting.subject, meeting.organizer) == ("Møte", Organizer("Pat Møe", "pat@example.com"))
        assert (meeting.body_html.strip(), meeting.body_text.strip()) == ("<p>rich ø</p>", "plain ø")
        assert meeting.start_time == datetime(2026, 3, 2, 9, tzinfo=UTC)
        assert meeting.uid == "<m1@example.com>"
        assert rules is None


def test_the_calendar_part_of_a_mail_is_the_invitation_and_the_mail_its_body() -> None:
    message = mail(html="<p><a href='sip:x@y.example'>Join</a></p>")
    message.add_alternative(ICS.format(DESCRIPTION).encode(), "text", "calendar", params={"method": "REQUEST"})
    meeting, _ = read_invitation("x.eml", message.as_bytes())
    assert (meeting.subject, meeting.location) == ("Board", "Room 1")
    assert "sip:x@y.example" in meeting.body_html
    assert meeting.body_text.strip() == "sip:board@vc.example.com"


def test_a_calendar_without_description_takes_the_body_of_the_mail() -> None:
    message = mail(text="sip:x@y.example")
    message.add_attachment(ICS.format("").encode(), "text", "calendar", filename="invite.ics")
    meeting, _ = read_invitation("x.eml", message.as_bytes())
    assert (meeting.subject, meeting.body_text.strip()) == ("Board", "sip:x@y.example")


def test_a_covering_letter_does_not_hide_the_invitation_that_is_attached() -> None:
    message = mail(html="<p>see the attachment</p>")
    message.add_attachment(ICS.format(DESCRIPTION).encode(), "text", "calendar", filename="invite.ics")
    meeting, _ = read_invitation("x.eml", message.as_bytes())
    assert meeting.body_html == ""
    assert meeting.body_text.strip() == "sip:board@vc.example.com"


def test_a_mail_that_was_forwarded_as_an_attachment_is_the_invitation() -> None:
    meeting, _ = read_invitation("x.eml", forwarded(mail(html="<p>sip:x@y.example</p>")))
    assert "sip:x@y.example" in meeting.body_html
    assert meeting.body_text.startswith("FYI")
    assert (meeting.subject, meeting.organizer.email) == ("Møte", "pat@example.com")


def test_the_calendar_of_a_mail_that_was_forwarded_as_an_attachment_is_the_invitation() -> None:
    inner = mail(html="<p>sip:x@y.example</p>")
    inner.add_alternative(ICS.format("").encode(), "text", "calendar", params={"method": "REQUEST"})
    meeting, _ = read_invitation("x.eml", forwarded(inner))
    assert (meeting.subject, meeting.location) == ("Board", "Room 1")
    assert "sip:x@y.example" in meeting.body_html


def forwarded(inner: EmailMessage) -> bytes:
    outer = EmailMessage()
    outer["Subject"], outer["From"] = "FW: Møte", "kim@example.com"
    outer.set_content("FYI")
    outer.add_attachment(inner)
    return outer.as_bytes()


OUTLOOK = """\
<div style="border:none;border-top:solid #E1E1E1 1.0pt"><p class="MsoNormal"><b>From:</b> Pat Moe
&lt;pat@example.com&gt;<br><b>Sent:</b> Monday, March 2, 2026 10:00 AM<br><b>Subject:</b> Board</p></div>{}"""
GMAIL = """\
<div dir="ltr"><br><br><div class="gmail_quote gmail_quote_container"><div dir="ltr" class="gmail_attr">
---------- Forwarded message ---------<br>From: <strong>Pat Moe</strong> <span>&lt;<a
href="mailto:pat@example.com">pat@example.com</a>&gt;</span><br>Subject: Board<br></div>{}</div></div>"""


@pytest.mark.parametrize("layout", [OUTLOOK, GMAIL])
def test_an_invitation_that_was_forwarded_within_a_mail_is_found(layout: str) -> None:
    link = ('<p><a href="https://nam12.safelinks.protection.outlook.com/?url=https%3A%2F%2Fzoom.us%2Fj%2F830174629'
            '&amp;data=05">Join Zoom Meeting</a></p>')
    meeting, _ = read_invitation("x.eml", mail(html=layout.format(link)).as_bytes())
    assert alias(meeting, rule("zoom")) == "830174629@zoomcrc.com"


def test_a_text_that_was_forwarded_within_a_mail_is_found() -> None:
    text = ("---------- Forwarded message ---------\nFrom: Pat Moe <pat@example.com>\nSubject: Board\n\n"
            "> Join Zoom Meeting\n> https://zoom.us/j/830174629\n")
    meeting, _ = read_invitation("x.eml", mail(text=text).as_bytes())
    assert alias(meeting, rule("zoom")) == "830174629@zoomcrc.com"


@pytest.mark.parametrize("raw", [
    b"From: Pat <pat@example.com>\nSubject: x\nContent-Type: text/plain; charset=nonsense\n\nsip:x@y.example\n",
    b"From: Pat <pat@example.com>\nSubject: x\nDate: never\n\nsip:x@y.example\n",
    b"From: Pat <pat@example.com>\nSubject: x\nMessage-ID: <<>\nDate:\n\nsip:x@y.example\n",
    b"From - Mon Mar  2 10:00:00 2026\nFrom: Pat <pat@example.com>\nSubject: x\n\nsip:x@y.example\n",
    (b"From: Pat <pat@example.com>\nSubject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\n"
     b"Content-Type: text/plain\n\nsip:x@y.example\n--b\nContent-Type: text/html\n"
     b"Content-Disposition: attachment\n\n<p>not the body</p>\n"),
])
def test_a_mail_that_is_not_quite_right_is_read_as_far_as_it_goes(raw: bytes) -> None:
    meeting, _ = read_invitation("-", raw)
    assert (meeting.subject, meeting.organizer.email) == ("x", "pat@example.com")
    assert meeting.body_text.strip() == "sip:x@y.example"
    assert meeting.body_html == ""


@pytest.mark.parametrize(("name", "content", "problem"), [
    ("x.json", b"{", "x.json: this is no JSON: "),
    ("x.json", b"\xff\xfe\x00", "x.json: "),
    ("x.json", b"5", "x.json: expected an object, found a number"),
    ("x.json", b"[]", "x.json: the list is empty"),
    ("x.json", b'{"subject": 5}', "x.json: subject: expected text, found a number"),
    ("x.json", b'{"rule": {"domain": "x"}}', 'x.json: rule "rule 1", meeting_type: it is missing'),
    ("x.json", b"[" * 100_000, "x.json: "),
    ("x.eml", b"\n\nhello", "x.eml: this is no mail: it has no headers"),
    ("x.ics", b"hello", "x.ics: line 1: found 'hello', expected BEGIN:VCALENDAR"),
    ("x.ics", b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n", "x.ics: line 1: the calendar has no VEVENT"),
    ("x.eml", b"Subject: x\nContent-Type: text/calendar\n\nBEGIN:NOTHING\n",
     "x.eml: part text/calendar, line 1: found 'BEGIN:NOTHING'"),
    ("-", b"hello world", "-: found neither JSON, nor iCalendar, nor a mail; expected a file that ends in .json,"),
    ("x.msg", b"\xd0\xcf\x11\xe0", "x.msg: this is no message of Outlook: it is not an OLE"),
    ("-", b"", "-: found neither"),
    ("x.json", b" " * (SIZE_LIMIT + 1), f"x.json: it has more than {SIZE_LIMIT} bytes"),
])
def test_what_cannot_be_read_is_said_with_the_name_of_the_file(name: str, content: bytes, problem: str) -> None:
    with pytest.raises(UnreadableInvitationError) as refused:
        read_invitations(name, content)
    assert problem in str(refused.value)
