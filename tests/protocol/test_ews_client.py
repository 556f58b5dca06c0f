from __future__ import annotations

from datetime import timedelta

import pytest
from lxml import etree

from otjd.protocol.ews_client import (
    BUSY_PAUSE,
    CODES,
    LONGEST_PAUSE,
    Concern,
    EwsError,
    UnreadableAnswerError,
    messages,
    only_message,
    read_answer,
    request,
)
from otjd.protocol.soap import SOAP_11, SOAP_12, SoapFault, write_fault
from tests.serve.ews_support import NAMESPACES, known_codes, schema
from tests.serve.ews_support import SOAP_11 as ENVELOPE

M, T = NAMESPACES["m"], NAMESPACES["t"]


def answer(inside: str) -> bytes:
    return (f'<s:Envelope xmlns:s="{ENVELOPE}" xmlns:m="{M}" xmlns:t="{T}"><s:Body>{inside}</s:Body></s:Envelope>'
            ).encode()


def message(inside: str, kind: str = "Error") -> bytes:
    return answer("<m:FindItemResponse><m:ResponseMessages>"
                  f'<m:FindItemResponseMessage ResponseClass="{kind}">{inside}</m:FindItemResponseMessage>'
                  "</m:ResponseMessages></m:FindItemResponse>")


def test_the_header_impersonates_by_address_and_validates() -> None:
    root = etree.fromstring(request("<m:FindItem/>", "a&b@example.com"))
    assert root.findtext(".//t:ExchangeImpersonation/t:ConnectingSID/t:PrimarySmtpAddress",
                         namespaces=NAMESPACES) == "a&b@example.com"
    validator = schema()
    if validator is not None:
        validator.assertValid(root[0][1])
    assert root[0][0].get("Version") == "Exchange2010_SP2"
    assert len(etree.fromstring(request("<m:FindItem/>"))[0]) == 1


def test_every_code_with_words_is_one_of_exchange() -> None:
    if known_codes():
        assert known_codes() >= CODES


@pytest.mark.parametrize("dialect", [SOAP_11, SOAP_12])
def test_a_fault_is_read_in_both_versions_of_soap(dialect: object) -> None:
    fault = SoapFault("ErrorServerBusy", "The server cannot service this request right now.",
                      values={"BackOffMilliseconds": "3500"})
    with pytest.raises(EwsError, match="ErrorServerBusy") as caught:
        read_answer(write_fault(fault, dialect))  # type: ignore[arg-type]
    assert caught.value.pause == timedelta(milliseconds=3500)
    assert caught.value.concern is Concern.PATIENCE


@pytest.mark.parametrize(("detail", "words"), [
    ('<faultcode xmlns:a="x">a:ErrorImpersonateUserDenied</faultcode><faultstring>No.</faultstring>',
     "ApplicationImpersonation"),
    ("<faultstring>Internal  mishap</faultstring>", "Internal mishap"),
    ("", "the server refused")])
def test_a_fault_without_detail_still_says_what_it_can(detail: str, words: str) -> None:
    with pytest.raises(EwsError, match=words) as caught:
        read_answer(answer(f"<s:Fault>{detail}</s:Fault>"))
    assert caught.value.concern is Concern.MAILBOX


@pytest.mark.parametrize(("text", "pause"), [
    ("0", timedelta()), ("99999999", LONGEST_PAUSE), ("-1", BUSY_PAUSE), ("soon", BUSY_PAUSE), ("", BUSY_PAUSE)])
def test_a_pause_is_bounded_and_there_is_one_without(text: str, pause: timedelta) -> None:
    inside = ("<m:ResponseCode>ErrorServerBusy</m:ResponseCode><m:MessageXml>"
              f'<t:Value Name="BackOffMilliseconds">{text}</t:Value></m:MessageXml>')
    with pytest.raises(EwsError) as caught:
        only_message(read_answer(message(inside)))
    assert caught.value.pause == pause


def test_errors_are_told_from_successes_and_warnings() -> None:
    for kind, code, is_error in (
            ("Success", "NoError", False), ("Warning", "ErrorBatchProcessingStopped", False),
            ("Error", "ErrorItemNotFound", True), ("", "NoError", False), ("Error", "", True)):
        found = read_answer(message(f"<m:ResponseCode>{code}</m:ResponseCode>", kind))
        (one,) = messages(found)
        assert (one.error is not None) is is_error, (kind, code)


@pytest.mark.parametrize("body", [b"", b"<html><body>Sign in</body></html>", b"\x89PNG", answer(""),
                                  b"<!DOCTYPE x><x/>", answer("<m:FindItemResponse>")])
def test_what_is_no_answer_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(UnreadableAnswerError):
        read_answer(body)


@pytest.mark.parametrize("character", ["&#x1F;", "&#31;", "&#x0;", "&#xFFFF;", "\x01"])
def test_characters_that_xml_cannot_hold_do_not_cost_the_answer(character: str) -> None:
    found = read_answer(message(f"<m:MessageText>a{character}b&#xA;&#x9;</m:MessageText>", "Success"))
    assert found.findtext(".//m:MessageText", namespaces=NAMESPACES) == "a b\n\t"


def test_messages_of_errors_are_cut_and_put_on_one_line() -> None:
    error = EwsError("ErrorOther", "long \n" * 100)
    assert "\n" not in str(error)
    assert len(str(error)) < 300
