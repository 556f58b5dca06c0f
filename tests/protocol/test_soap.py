from __future__ import annotations

import pytest
from lxml import etree

from otjd.protocol.soap import (
    SOAP_11,
    SOAP_12,
    Dialect,
    SoapFault,
    dialect_of,
    read_envelope,
    schema_violation,
    write_envelope,
    write_fault,
)


def request(inside: str, namespace: str = SOAP_11.envelope) -> bytes:
    return f'<x:Envelope xmlns:x="{namespace}">{inside}</x:Envelope>'.encode()


@pytest.mark.parametrize("dialect", [SOAP_11, SOAP_12])
def test_an_envelope_is_read_in_both_versions_of_soap(dialect: Dialect) -> None:
    body = '<x:Header/><x:Body><FindItem xmlns="urn:m"/><b/></x:Body>'
    envelope = read_envelope(request(body, dialect.envelope))
    assert envelope.dialect is dialect
    assert envelope.name == "FindItem"
    assert envelope.header is not None
    assert read_envelope(request("<x:Body><a/></x:Body>")).header is None


@pytest.mark.parametrize(("body", "violation"), [
    (b"not xml", "Start tag"),
    (b"<html/>", "'html' is not a SOAP envelope"),
    (request("<x:Body><a/></x:Body>", "urn:other"), "'Envelope' is not a SOAP envelope"),
    (request("<x:Body/>"), "'Body' is missing or empty"),
    (request("<x:Header/>"), "'Body' is missing or empty"),
])
def test_what_is_no_soap_request_fails_schema_validation(body: bytes, violation: str) -> None:
    with pytest.raises(SoapFault) as raised:
        read_envelope(body)
    assert raised.value.code == "ErrorSchemaValidation"
    assert violation in raised.value.violation


def test_a_fault_remembers_the_version_of_an_envelope_without_body() -> None:
    with pytest.raises(SoapFault) as raised:
        read_envelope(request("", SOAP_12.envelope))
    assert raised.value.dialect is SOAP_12


@pytest.mark.parametrize(("content_type", "dialect"), [
    ("text/xml; charset=utf-8", SOAP_11), ("", SOAP_11), ("application/soap+xml", SOAP_12),
    (' Application/SOAP+XML; charset=utf-8; action="x"', SOAP_12)])
def test_the_content_type_announces_the_version_of_soap(content_type: str, dialect: Dialect) -> None:
    assert dialect_of(content_type) is dialect


def test_a_fault_is_written_to_the_byte_as_exchange_writes_it() -> None:
    fault = SoapFault("ErrorInvalidServerVersion", "The specified server version is invalid.")
    assert write_fault(fault, SOAP_11) == (
        b'<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">'
        b'<s:Body><s:Fault><faultcode xmlns:a="http://schemas.microsoft.com/exchange/services/2006/types">'
        b'a:ErrorInvalidServerVersion</faultcode><faultstring xml:lang="en-US">The specified server version is '
        b'invalid.</faultstring><detail><e:ResponseCode xmlns:e="http://schemas.microsoft.com/exchange/services/2006/'
        b'errors">ErrorInvalidServerVersion</e:ResponseCode><e:Message xmlns:e="http://schemas.microsoft.com/exchange/'
        b'services/2006/errors">The specified server version is invalid.</e:Message></detail></s:Fault></s:Body>'
        b"</s:Envelope>")


def test_a_schema_violation_is_told_with_its_place() -> None:
    element = etree.fromstring(b'<a>\n<b Id="x"/></a>')[0]
    fault = write_fault(schema_violation("The 'Id' attribute <is> invalid.", element), SOAP_11)
    assert (b'<faultstring xml:lang="en-US">The request failed schema validation: The \'Id\' attribute &lt;is&gt; '
            b"invalid.</faultstring>") in fault
    assert b"<e:Message" in fault
    assert (b"<t:LineNumber>2</t:LineNumber><t:LinePosition>0</t:LinePosition><t:Violation>The 'Id' attribute "
            b"&lt;is&gt; invalid.</t:Violation></t:MessageXml></detail>") in fault


def test_a_busy_server_tells_the_back_off_as_the_first_value() -> None:
    fault = SoapFault("ErrorServerBusy", "Later.", values={"BackOffMilliseconds": "10000"}, is_ours=True)
    assert (b'<t:MessageXml xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types">'
            b'<t:Value Name="BackOffMilliseconds">10000</t:Value></t:MessageXml>') in write_fault(fault, SOAP_11)


@pytest.mark.parametrize(("is_ours", "role"), [(True, "s:Receiver"), (False, "s:Sender")])
def test_a_fault_of_soap_1_2_has_the_form_of_1_2(is_ours: bool, role: str) -> None:
    root = etree.fromstring(write_fault(SoapFault("ErrorServerBusy", "Later.", is_ours=is_ours), SOAP_12))
    names = {"s": SOAP_12.envelope, "e": "http://schemas.microsoft.com/exchange/services/2006/errors"}
    assert root.findtext("s:Body/s:Fault/s:Code/s:Value", None, names) == role
    assert root.findtext("s:Body/s:Fault/s:Code/s:Subcode/s:Value", None, names) == "a:ErrorServerBusy"
    assert root.findtext("s:Body/s:Fault/s:Reason/s:Text", None, names) == "Later."
    assert root.findtext("s:Body/s:Fault/s:Detail/e:ResponseCode", None, names) == "ErrorServerBusy"


def test_an_answer_without_header_has_no_header_element() -> None:
    assert b"Header" not in write_envelope(SOAP_11, "", "<a/>")
    assert b"<s:Header><h/></s:Header><s:Body><a/></s:Body>" in write_envelope(SOAP_11, "<h/>", "<a/>")
