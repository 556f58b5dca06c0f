from __future__ import annotations

from datetime import timedelta

import pytest

from otjd.meetings.model import Window
from otjd.protocol.ews_client import EwsError, UnreadableAnswerError, request
from otjd.protocol.ews_client_availability import (
    FINGERPRINT_BYTES,
    LONGEST_WINDOW,
    get_user_availability,
    read_availability,
)
from otjd.protocol.soap import SOAP_11, SoapFault, write_fault
from tests.protocol.test_ews_client import answer
from tests.serve.ews_support import NOW, OTHER_ROOM, ROOM, Exchange, busy_room, meeting

WINDOW = Window(NOW - timedelta(days=1), NOW + timedelta(days=7))
TYPES = 'xmlns="http://schemas.microsoft.com/exchange/services/2006/types"'


def event(subject: str = "Plan", end: str = "09:00") -> str:
    return (f"<CalendarEvent><StartTime>2026-03-02T08:00:00</StartTime><EndTime>2026-03-02T{end}:00</EndTime>"
            f"<BusyType>Busy</BusyType><CalendarEventDetails><Subject>{subject}</Subject></CalendarEventDetails>"
            "</CalendarEvent>")


def mailbox(inside: str, code: str = "NoError") -> str:
    """As Exchange writes it: with default namespaces on the elements within."""
    return (f'<FreeBusyResponse><ResponseMessage ResponseClass="{"Success" if code == "NoError" else "Error"}">'
            f"<MessageText>Why.</MessageText><ResponseCode>{code}</ResponseCode></ResponseMessage>"
            f"<FreeBusyView>{inside}</FreeBusyView></FreeBusyResponse>")


def events(*inside: str) -> str:
    return mailbox(f"<FreeBusyViewType {TYPES}>Detailed</FreeBusyViewType><CalendarEventArray {TYPES}>"
                   f"{''.join(inside)}</CalendarEventArray><WorkingHours {TYPES}><TimeZone/></WorkingHours>")


def availability(*mailboxes: str) -> bytes:
    return answer('<GetUserAvailabilityResponse xmlns="http://schemas.microsoft.com/exchange/services/2006/messages">'
                  f"<FreeBusyResponseArray>{''.join(mailboxes)}</FreeBusyResponseArray>"
                  "</GetUserAvailabilityResponse>")


def fingerprint(*inside: str) -> bytes:
    found = read_availability(availability(events(*inside)), "", ["a@x"])["a@x"]
    assert isinstance(found, bytes)
    assert len(found) == FINGERPRINT_BYTES
    return found


def test_a_fingerprint_changes_with_times_and_subjects_alone() -> None:
    assert fingerprint(event()) == fingerprint(event())
    different = [fingerprint(), fingerprint(event()), fingerprint(event("Other")), fingerprint(event(end="10:00")),
                 fingerprint(event(), event())]
    assert len(set(different)) == len(different)


def test_a_room_without_events_has_a_fingerprint_in_any_spelling() -> None:
    none = mailbox(f"<FreeBusyViewType {TYPES}>Detailed</FreeBusyViewType>")
    empty = mailbox(f"<FreeBusyViewType {TYPES}>FreeBusy</FreeBusyViewType><CalendarEventArray {TYPES}/>")
    found = read_availability(availability(none, empty), "", ["a@x", "b@x"])
    assert found["a@x"] == found["b@x"] == fingerprint()


def test_errors_are_of_one_mailbox_and_blind_views_say_nothing() -> None:
    found = read_availability(availability(
        mailbox("", "ErrorMailRecipientNotFound"), events(event()),
        mailbox(f"<FreeBusyViewType {TYPES}>MergedOnly</FreeBusyViewType>")), "", ["a@x", "b@x", "c@x"])
    assert isinstance(found["a@x"], EwsError)
    assert found["a@x"].code == "ErrorMailRecipientNotFound"
    assert found["b@x"] == fingerprint(event())
    assert "c@x" not in found


def test_an_answer_about_other_mailboxes_is_refused() -> None:
    with pytest.raises(UnreadableAnswerError, match="2 mailboxes, 1 were asked for"):
        read_availability(availability(events(), events()), "", ["a@x"])
    with pytest.raises(UnreadableAnswerError):
        read_availability(b"<html>Sign in</html>", "", ["a@x"])
    with pytest.raises(EwsError, match="ErrorServerBusy"):
        read_availability(write_fault(SoapFault("ErrorServerBusy", "Busy."), SOAP_11), "", ["a@x"])


def sweep(exchange: Exchange, window: Window = WINDOW) -> dict[str, bytes | EwsError]:
    rooms = [ROOM.email, OTHER_ROOM.email]
    return dict(read_availability(exchange.post(request(get_user_availability(rooms, window))).body, "", rooms))


def test_another_servers_answers_are_read() -> None:
    """The emulator in otjd.serve answers as the reference of EWS says; a room sees itself there alone."""
    exchange = busy_room()
    before = sweep(exchange)
    assert isinstance(before[ROOM.email], bytes)
    exchange.show(meeting("now", NOW - timedelta(minutes=10)), meeting("later", NOW + timedelta(hours=3)))
    assert sweep(exchange)[ROOM.email] != before[ROOM.email]


def test_a_window_is_cut_to_what_servers_take() -> None:
    long, cut = Window(NOW, NOW + timedelta(days=400)), Window(NOW, NOW + LONGEST_WINDOW)
    assert get_user_availability(["a@x"], long) == get_user_availability(["a@x"], cut)
    assert get_user_availability(["<&"], long).count("&lt;&amp;") == 1
