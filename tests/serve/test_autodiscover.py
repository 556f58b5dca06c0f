from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from otjd.protocol.autodiscover import OUTLOOK_REQUEST, OUTLOOK_RESPONSE, RESPONSE
from otjd.serve.autodiscover import PoxAutodiscover
from otjd.serve.calls import Call, Reply
from tests.serve.ews_support import ACCOUNT, NOW, schema

SERVICE = PoxAutodiscover(now=lambda: NOW)


def ask(body: str | bytes, *, method: str = "POST", path: str = "/autodiscover/autodiscover.xml",
        base_url: str = "https://otj.example.com:8443", content_type: str = "text/xml") -> Reply:
    octets = body.encode("utf-8", "replace") if isinstance(body, str) else body
    reply = SERVICE(Call(ACCOUNT, "digest", method, path, base_url, content_type, octets))
    validator = schema("autodiscover/autodiscover-pox.xsd")
    if validator is not None and reply.status == 200:
        validator.assertValid(etree.fromstring(reply.body))
    return reply


def request(email: str) -> str:
    return (f'<Autodiscover xmlns="{OUTLOOK_REQUEST}"><Request><EMailAddress>{email}</EMailAddress>'
            f"<AcceptableResponseSchema>{OUTLOOK_RESPONSE}</AcceptableResponseSchema></Request></Autodiscover>")


@pytest.mark.parametrize("email", [ACCOUNT.room.email, "BoardRoom@Example.com", ACCOUNT.username])
def test_the_own_mailbox_is_at_the_address_that_the_client_used(email: str) -> None:
    reply = ask(request(email))
    url = "https://otj.example.com:8443/EWS/Exchange.asmx"
    assert (reply.status, reply.content_type, reply.operation, reply.error) == (
        200, "text/xml; charset=utf-8", "Autodiscover", "")
    root = etree.fromstring(reply.body)
    names = {"o": OUTLOOK_RESPONSE}
    assert [e.text for e in root.iterfind(".//o:EwsUrl", names)] == [url, url]
    assert [e.text for e in root.iterfind(".//o:Type", names)] == ["EXCH", "EXPR"]
    assert root.findtext(".//o:AutoDiscoverSMTPAddress", None, names) == ACCOUNT.room.email


def code(reply: Reply) -> str:
    found = etree.fromstring(reply.body).findtext(f".//{{{RESPONSE}}}ErrorCode")
    assert found == reply.error
    return str(found)


@pytest.mark.parametrize(("body", "more", "expected"), [
    (request("lounge@example.com"), {}, "500"), (request(""), {}, "600"), ("rubbish", {}, "600"), ("", {}, "600"),
    ("<!DOCTYPE a>" + request(ACCOUNT.room.email), {}, "600"),
    (request(ACCOUNT.room.email).replace("/2006a", "/2007"), {}, "601"),
    (request(ACCOUNT.room.email) + " " * 100_000, {}, "600"),
    (request(ACCOUNT.room.email), {"method": "GET"}, "600"),
])
def test_errors_are_told_in_the_answer(body: str, more: dict[str, Any], expected: str) -> None:
    reply = ask(body, **more)
    assert reply.status == 200
    assert code(reply) == expected


@given(st.binary(max_size=200) | st.text(max_size=40).map(request), st.text(max_size=40))
def test_nothing_makes_the_service_raise(body: str | bytes, host: str) -> None:
    assert code(ask(body, base_url=f"https://{host}")) in {"500", "600", "601"}
