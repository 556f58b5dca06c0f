"""The fallback: the first SIP or H.323 address of body and location."""

from __future__ import annotations

import pytest

from otjd.meetings.model import DialProtocol
from otjd.rules.engine import FALLBACK
from tests.rules.support import alias, invitation, match, rule


@pytest.mark.parametrize(("text", "expected"), [
    ("sip:red@vc.example.com", "red@vc.example.com"),
    ("Video: SIP:red@vc.example.com.", "red@vc.example.com"),
    ("Dial (sip:red@vc.example.com), thanks", "red@vc.example.com"),
    ("sips:red@vc.example.com!", "red@vc.example.com"),
    ("SIP: red@vc.example.com", "red@vc.example.com"),
    ("Join<sip:7001@vc.example.com;transport=tls?subject=x>, thanks", "7001@vc.example.com"),
    ('"sip:7001@vc.example.com?subject=x"', "7001@vc.example.com"),
    ("sip:7001@vc.example.com:5061 or else", "7001@vc.example.com:5061"),
    ("sip:7001@vc.example.com: enter the PIN", "7001@vc.example.com"),
    ("sip:7001@[2001:db8::1]", "7001@[2001:db8::1]"),
    ("sip:7001%40vc.example.com", "7001@vc.example.com"),
    ("sip:bridge.example.com", "bridge.example.com"),
    ("sip:first@a.example then sip:second@b.example", "first@a.example"),
    ("Video:sip:red@vc.example.com", "red@vc.example.com"),
    ("SIP: sip:red@vc.example.com", "red@vc.example.com"),
    ("ビデオsip:red@vc.example.comで参加", "red@vc.example.com"),
    ("See https://x.example/ sip:red@vc.example.com", "red@vc.example.com"),
    ("gossip:x@y.example and sip:red@vc.example.com", "red@vc.example.com"),
    ("Dial sip:615734291.site@lync.webex.com or sip:615734291@site.webex.com", "615734291@site.webex.com"),
])
def test_the_first_sip_address_is_the_alias(text: str, expected: str) -> None:
    found = match(invitation(text))
    assert found is not None
    assert (found.alias, found.protocol, found.rule, found.meeting_type, dict(found.variables)) == (
        expected, DialProtocol.SIP, "", FALLBACK, {})


@pytest.mark.parametrize(("text", "expected"), [
    ("h323:10.1.2.3##12345.", "10.1.2.3##12345"), ("H323: 10.1.2.3", "10.1.2.3"), ("h323:room@vc.example.com",
                                                                                   "room@vc.example.com"),
    ("h323:12345", "12345"), ("<h323:12345;x=y>", "12345"), ("H323: room@vc.example.com,", "room@vc.example.com")])
def test_the_scheme_decides_the_protocol(text: str, expected: str) -> None:
    found = match(invitation(text))
    assert found is not None
    assert (found.alias, found.protocol) == (expected, DialProtocol.H323)


@pytest.mark.parametrize("text", [
    "gossip:pat@example.com", "https://x.example/?topic=sip:red@vc.example.com", "?topic=sip:x@y.example",
    "https://x.example/a,sip:red@vc.example.com", "conf:sip:pat@example.com;gruu;opaque=app:conf:focus:id:1",
    "im:<sip:pat@example.com>", "IM: sip:pat@example.com", "pat@example.com tel:+4721000000",
    "mailto:pat@example.com",
    "sip:", "sip: yes", "sip:@x.example", "sip:pat@", "SIP: bridge.example.com", "H323: supported", "h323:",
    "h323:abc",
    "H323: 12345", "Dial sip:615734291.site@lync.webex.com", "x_sip:a@b.example", "a-sip:a@b.example",
    "ésip:a@b.example",
])
def test_what_is_no_address_of_a_meeting_is_not_taken(text: str) -> None:
    assert alias(invitation(text)) is None


def test_the_body_goes_before_the_location_and_the_location_before_quoted_lines() -> None:
    assert alias(invitation("sip:body@x.example", location="sip:room@x.example")) == "body@x.example"
    assert alias(invitation("> sip:old@x.example", location="sip:room@x.example")) == "room@x.example"
    assert alias(invitation("See below\n> sip:old@x.example")) == "old@x.example"


def test_an_address_that_stands_in_a_target_only_is_found_in_text_order() -> None:
    html = "<a href='sip:first@x.example'>Join</a> or sip:second@x.example"
    assert alias(invitation(html=html)) == "first@x.example"
    assert alias(invitation(html="<a href='im:&lt;sip:pat@x.example&gt;'>IM</a>")) is None


def test_an_address_in_a_rewritten_link_is_found() -> None:
    link = "https://nam01.safelinks.protection.outlook.com/?url=sip%3Ared%40x.example&data=1"
    assert alias(invitation(f"Join<{link}>")) == "red@x.example"


def test_a_matching_rule_goes_before_the_fallback() -> None:
    text = "sip:first@a.example\nboard@vc.example.com"
    assert alias(invitation(text), rule("domain", domain="vc.example.com")) == "board@vc.example.com"
    assert alias(invitation(text), rule("domain", domain="other.example")) == "first@a.example"


def test_rules_look_at_quoted_lines_before_the_fallback_looks_anywhere() -> None:
    text = "sip:first@a.example\n> board@vc.example.com"
    assert alias(invitation(text), rule("domain", domain="vc.example.com")) == "board@vc.example.com"
