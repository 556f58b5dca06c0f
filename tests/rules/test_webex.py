"""Webex meetings by the address for video systems."""

from __future__ import annotations

import pytest

from tests.rules.support import alias, invitation, rule

WEBEX = rule("webex")
NUMBER = "24880384769@site.webex.com"
PERSONAL = "pat.moe@site.webex.com"
GRAPH_ID = "String {00020329-0000-0000-c000-000000000046} Name UCCapabilities"


@pytest.mark.parametrize(("text", "expected"), [
    ("Join from a video system or application\nDial 24880384769@site.webex.com\n", NUMBER),
    ("Dial: 24880384769@Site.WebEx.com.", NUMBER), ("Dial\u00a024880384769@site.webex.com", NUMBER),
    ("DIAL SIP:24880384769@site.webex.com", NUMBER), (f"Dial\n{NUMBER}<sip:{NUMBER}>", NUMBER),
    (f"Wählen Sie {NUMBER}", NUMBER), (f"{NUMBER} にダイヤルします", NUMBER), (f"ダイヤル{NUMBER}", NUMBER),
    (f"Join by video system\n{PERSONAL}", PERSONAL), (f"Composez {PERSONAL}", PERSONAL),
    (f"拨打 {PERSONAL}", PERSONAL), (f"Bel {PERSONAL}", PERSONAL), (f"> Dial {PERSONAL}", PERSONAL),
    ("Dial pr02774139796@meet265.webex.com", "pr02774139796@meet265.webex.com"),
    ("Dial voices.demo-405.my@webex.com", "voices.demo-405.my@webex.com"),
    ("Dial sip:615734291.site@lync.webex.com or 024880384@site.webex.com", "024880384@site.webex.com"),
    (("APPLICATIONDial sip:1630928616@site.webex.comYou can also dial 62.109.219.4 and enter your number.Dial "
      "sip:1630928616.site@lync.webex.com"), "1630928616@site.webex.com"),
    (f"Write to {PERSONAL}. 1469670001@site.webex.com or dial {NUMBER}", NUMBER),
])
def test_the_address_that_is_to_be_dialled_is_the_alias(text: str, expected: str) -> None:
    assert alias(invitation(text), WEBEX) == expected
    assert alias(invitation(location=text.removeprefix("> ")), WEBEX) == expected


@pytest.mark.parametrize("html", [
    f'<a href="sip:{PERSONAL}">From a room</a>', f"<p>Dial <a href='mailto:{PERSONAL}'>{PERSONAL}</a></p>",
    f"<p><b>Dial</b>&nbsp;<span>pat.moe</span><span>@site.webex.com</span></p><a href='mailto:{NUMBER}'></a>",
    '<a href="SIP:pat.moe%40site.webex.com">From a room</a>',
])
def test_html_gives_the_same_as_text(html: str) -> None:
    assert alias(invitation(html=html), WEBEX) == PERSONAL


@pytest.mark.parametrize("text", [
    f"Pat Moe\n{PERSONAL}", "Dial help@webex.com", "messenger@webex.com", "call support@site.webex.com",
    "Dial 1234567890@m.webex.com", "Dial 1234567890.site@lync.webex.com", "Dial 24880384769@notwebex.com",
    "Dial 24880384769@site.webex.com.evil.example", "Dial 24880384769@site.webex.comx",
    "https://24880384769@site.webex.com/x",
    "https://site.webex.com/site/j.php?MTID=m1\nMeeting number: 2463 118 2204",
    f"https://evil.example/?dial={NUMBER}", f"Pat <im:sip:{PERSONAL}>",
])
def test_mailboxes_lookalikes_and_other_services_give_nothing(text: str) -> None:
    assert alias(invitation(text), WEBEX) is None


@pytest.mark.parametrize("value", [NUMBER, f"<c><uri>sip:{NUMBER}</uri></c>", f"&lt;uri&gt;{NUMBER}&lt;/uri&gt;"])
def test_capabilities_of_the_meeting_are_read_after_body_and_location(value: str) -> None:
    properties = {"graph": {"singleValueExtendedProperties": [{"id": GRAPH_ID, "value": value}]}}
    assert alias(invitation(properties=properties), WEBEX) == NUMBER
    assert alias(invitation(f"Dial {PERSONAL}", properties=properties), WEBEX) == PERSONAL


def test_an_entry_point_of_google_is_read() -> None:
    entries = [{"entryPointType": "sip", "uri": f"sip:{NUMBER}"}]
    assert alias(invitation(properties={"google": {"conferenceData": {"entryPoints": entries}}}), WEBEX) == NUMBER
