from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otjd.meetings.model import DialProtocol
from otjd.protocol.cisco_bookings import Booking
from otjd.protocol.cisco_results import (
    BODY_LIMIT,
    CLEAR_RESULT,
    Listed,
    Verdict,
    is_sign_in_page,
    list_differences,
    read_list_result,
    read_put_result,
    read_version,
)

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
BOOKING = Booking("b-1", "Planning", "room7@video.example.com", DialProtocol.SIP, "Ada", "", START,
                  START + timedelta(minutes=45))
LISTED = Listed("b-1", START, START + timedelta(minutes=45), "room7@video.example.com")


@pytest.mark.parametrize("body", [
    b'<Command><BookingsPutResult status="OK"/></Command>',
    b'<?xml version="1.0"?>\n<Command>\n<BookingsPutResult status="OK"/>\n</Command>\n',
    b'\xef\xbb\xbf<Command><BookingsPutResult item="1" status="OK"></BookingsPutResult></Command>',
    b'<Command xmlns="urn:x"><!-- note --><PutResult status="OK"/></Command>',
])
def test_the_expected_result_with_status_ok_is_success(body: bytes) -> None:
    result = read_put_result(body)
    assert result.ok
    assert not result.command_is_missing


@pytest.mark.parametrize(("body", "verdict", "reason"), [
    (b'<?xml version="1.0"?>\n<ActionError>\n  <Reason>No action detected in document</Reason>\n</ActionError>',
     Verdict.REFUSED, "No action detected in document (ActionError)"),
    (b'<Command><Result status="Error"><Reason>Unknown command</Reason><XPath>/Put</XPath></Result></Command>',
     Verdict.UNKNOWN_COMMAND, "Unknown command"),
    (b"<ActionError><Reason>unknown command</Reason></ActionError>", Verdict.UNKNOWN_COMMAND, "unknown command"),
    (b"<Command/>", Verdict.NO_RESULT, ""),
    (b"<Command>\n</Command>", Verdict.NO_RESULT, ""),
    (b'<Command><BookingsPutResult status="ParameterError"/></Command>', Verdict.REFUSED,
     "BookingsPutResult with status 'ParameterError'"),
    (b'<Command><BookingsPutResult status="ParameterError">Bad Id</BookingsPutResult></Command>', Verdict.REFUSED,
     "Bad Id (BookingsPutResult with status 'ParameterError')"),
    ((b'<Command><BookingsPutResult status="Error"><Err>1</Err><Reason> Not\n now </Reason></BookingsPutResult>'
     b"</Command>"), Verdict.REFUSED, "Not now (BookingsPutResult with status 'Error')"),
    (b"<Command><BookingsPutResult/></Command>", Verdict.REFUSED, "BookingsPutResult with status ''"),
    (b'<Command><BookingsPutResult status="ok"/></Command>', Verdict.REFUSED,
     "BookingsPutResult with status 'ok'"),
    (b'<Command><VolumeSetResult status="OK"/></Command>', Verdict.REFUSED,
     "VolumeSetResult where PutResult is expected"),
    (b'<Command><BookingsPutResult status="OK"/><Result status="Error"/></Command>', Verdict.REFUSED,
     "Result with status 'Error'"),
    (b'<Configuration><BookingsPutResult status="OK"/></Configuration>', Verdict.REFUSED, "Configuration"),
    (b"<success/>", Verdict.REFUSED, "success"),
    (b"", Verdict.UNREADABLE, "it is empty"),
    (b" \n", Verdict.UNREADABLE, "it is empty"),
    (b"OK", Verdict.UNREADABLE, "not well-formed XML"),
    (b'<Command><BookingsPutResult status="OK"/>', Verdict.UNREADABLE, "not well-formed XML"),
    (b"\xff\xfe\x00", Verdict.UNREADABLE, "not well-formed XML"),
    (b'<!DOCTYPE Command><Command><BookingsPutResult status="OK"/></Command>', Verdict.UNREADABLE,
     "it has a document type"),
    (b'<!DOCTYPE c [<!ENTITY o "OK">]><Command><BookingsPutResult status="&o;"/></Command>', Verdict.UNREADABLE,
     "it has a document type"),
    (b"<Command>" + b" " * BODY_LIMIT + b"</Command>", Verdict.UNREADABLE, "more than"),
    (b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", Verdict.SIGN_IN_PAGE, ""),
    (b"\n<HTML><form action='/web/signin/open'>", Verdict.SIGN_IN_PAGE, ""),
    (b'<?xml version="1.0"?><!-- x --><html xmlns="http://www.w3.org/1999/xhtml"/>', Verdict.SIGN_IN_PAGE, ""),
])
def test_anything_else_is_failure_and_keeps_its_reason(body: bytes, verdict: Verdict, reason: str) -> None:
    result = read_put_result(body)
    assert not result.ok
    assert result.verdict is verdict
    assert result.reason.startswith(reason)
    assert result.command_is_missing is (verdict in (Verdict.UNKNOWN_COMMAND, Verdict.NO_RESULT))
    assert str(result).startswith(verdict.value)


def test_each_command_has_its_own_result() -> None:
    cleared = b'<Command><BookingsClearResult status="OK"/></Command>'
    assert read_put_result(cleared, CLEAR_RESULT).ok
    assert not read_put_result(cleared).ok


@given(st.binary(max_size=200))
def test_no_answer_makes_the_reader_stumble(body: bytes) -> None:
    assert not read_put_result(body).ok
    assert read_list_result(body)[1] == ()
    assert read_version(body) == ""


@pytest.mark.parametrize("body", [
    (b'<?xml version="1.0"?><Status product="Cisco Codec" version="x" apiVersion="4"><SystemUnit><Software>'
    b"<Version>ce9.15.3.25.7aad3ba5fb8</Version></Software></SystemUnit></Status>"),
    (b'<Status><Peripherals><Software><Version>1.2</Version></Software></Peripherals><SystemUnit item="1">'
    b'<Software item="1"><Name item="1">s</Name><Version item="1">\nce9.15.3.25.7aad3ba5fb8 </Version>'
    b"</Software></SystemUnit></Status>"),
])
def test_the_version_is_found_in_both_documents(body: bytes) -> None:
    assert read_version(body) == "ce9.15.3.25.7aad3ba5fb8"


@pytest.mark.parametrize("body", [
    b"<EmptyResult/>", b"<Status/>", b"<Fault><XPathError/></Fault>", b"",
    b"<Other><SystemUnit><Software><Version>ce9.1</Version></Software></SystemUnit></Other>"])
def test_an_answer_without_a_version_has_none(body: bytes) -> None:
    assert read_version(body) == ""


LIST = (b'<Command><%s status="OK"><ResultInfo><TotalRows>2</TotalRows></ResultInfo><LastUpdated/>'
        b'<Booking item="1" maxOccurrence="n"><Id>b-1</Id><Time><StartTime>2026-03-02T08:00:00Z</StartTime>'
        b"<EndTime>2026-03-02T08:45:00Z</EndTime></Time><DialInfo><Calls><Call item='1'>"
        b"<Number>room7@video.example.com</Number></Call></Calls></DialInfo></Booking>"
        b"<Booking><Id>b-2</Id><Time><StartTime>soon</StartTime><EndTime>2026-03-02T08:45:00</EndTime></Time>"
        b"</Booking></%s></Command>")


@pytest.mark.parametrize("name", [b"BookingsListResult", b"Bookings"])
def test_the_list_is_read_under_both_names_of_its_result(name: bytes) -> None:
    result, listed = read_list_result(LIST % (name, name))
    assert result.ok
    assert listed == (LISTED, Listed("b-2", None, None, ""))


def test_a_list_may_be_the_root_itself() -> None:
    whole = LIST % (b"Bookings", b"Bookings")
    result, listed = read_list_result(whole.removeprefix(b"<Command>").removesuffix(b"</Command>"))
    assert result.ok
    assert listed[0] == LISTED
    assert not read_list_result(b'<Bookings status="Error"/>')[0].ok
    assert not read_put_result(b'<Bookings status="OK"/>').ok


def test_an_empty_list_and_a_refused_one_are_told_apart() -> None:
    empty, none = read_list_result(
        b'<Command><BookingsListResult status="OK"><ResultInfo><TotalRows>0</TotalRows></ResultInfo>'
        b"</BookingsListResult></Command>")
    assert empty.ok
    assert none == ()
    refused, _ = read_list_result(b'<Command><BookingsListResult status="Error"/></Command>')
    assert not refused.ok


@pytest.mark.parametrize(("listed", "difference"), [
    ([LISTED], ""),
    ([Listed("b-1", START.replace(microsecond=5), None, "SIP:Room7@video.example.com")], ""),
    ([], "b-1 is missing"),
    ([LISTED, Listed("x", START, START, "")], "x was not sent"),
    ([Listed("b-1", START + timedelta(hours=1), LISTED.end, LISTED.number)],
     "b-1 starts 2026-03-02T09:00:00Z, not 2026-03-02T08:00:00Z"),
    ([Listed("b-1", START, START, LISTED.number)], "b-1 ends 2026-03-02T08:00:00Z, not 2026-03-02T08:45:00Z"),
    ([Listed("b-1", START, LISTED.end, "other@example.com")],
     "b-1 has the number 'other@example.com', not 'room7@video.example.com'"),
    ([Listed(f"x{n}", START, START, "") for n in range(4)],
     "b-1 is missing; x0 was not sent; x1 was not sent; and 2 more"),
])
def test_a_list_is_held_against_what_was_sent(listed: list[Listed], difference: str) -> None:
    assert list_differences([BOOKING], listed) == difference


def test_a_sign_in_page_is_known_by_its_beginning_alone() -> None:
    assert is_sign_in_page(b"<!doctype HTML><html>")
    assert not is_sign_in_page(b"<Command><html/></Command>")
    assert not is_sign_in_page(b"x" * 100_000)
    assert not is_sign_in_page(b"<!---->" * 500)
    assert not is_sign_in_page(b"<!--" * 1000)
