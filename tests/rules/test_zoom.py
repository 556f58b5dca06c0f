"""Zoom meetings by address and link, and the passcode for room systems."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.rules.support import alias, invitation, match, rule

ZOOM = rule("zoom")
WITH_PIN = rule("zoom", include_pin=True)
LINK = "https://us02web.zoom.us/j/88239814437?pwd=Qm9yZWFs"
ADDRESS = "88239814437@zoomcrc.com"


def safe_link(link: str) -> str:
    return f"https://nam11.safelinks.protection.outlook.com/?url={quote(link, safe='')}&data=05%7C02&reserved=0"


def google(*entries: object, kind: str = "addOn") -> dict[str, object]:
    return {"google": {"conferenceData": {"conferenceSolution": {"key": {"type": kind}},
                                          "entryPoints": list(entries)}}}


@pytest.mark.parametrize("text", [
    LINK, "Join<" + LINK + ">", safe_link(LINK), safe_link(safe_link(LINK)), "https://zoom.us/w/88239814437?tk=x",
    "https://zoom.us/s/88239814437", "https://x.zoom-x.de/j/88239814437/", "https://acme.zoom.com.cn/j/88239814437",
    "us02web.zoom.us/j/88239814437", f"({LINK}).", "https://zoom.us/j/88239814437に参加",
    "Join by SIP\n• 88239814437@zoomcrc.com", "SIP:88239814437@ZoomCRC.com", "> " + LINK,
    "SIP: 88239814437@zoomcrc.com<mailto:88239814437@zoomcrc.com>", "SIP: 88239814437@global.zoomcrc.com",
    "SIP: 88239814437.991122@zoomcrc.com", "88239814437.991122.1.123456..504@zoomcrc.com",
    "88239814437.E0vyjk@zoomcrc.com", "SIP 88239814437@zoomcrc.com, or sip:88239814438@zoomcrc.com",
])
def test_an_address_or_a_link_gives_the_alias(text: str) -> None:
    assert alias(invitation(text), ZOOM) == ADDRESS
    assert alias(invitation(location=text.removeprefix("> ")), ZOOM) == ADDRESS


@pytest.mark.parametrize("html", [
    f"<a href='{LINK}'>Join</a>", f'<a href="{safe_link(LINK)}" originalsrc="{LINK}">Join</a>',
    f'<a href="{safe_link(LINK)}">Join</a>'.replace("&", "&amp;"),
    '<a href="mailto:88239814437%40zoomcrc.com">room system</a>',
    "<p>SIP:&nbsp;<span>88239814437</span><span>@zoomcrc.com</span></p>",
])
def test_html_gives_the_same_as_text(html: str) -> None:
    assert alias(invitation(html=html), ZOOM) == ADDRESS


@pytest.mark.parametrize("text", [
    "88239814437@notzoomcrc.com", "88239814437@zoomcrc.com.evil.example", "188239814437@zoomcrc.com",
    "room88239814437@zoomcrc.com", "88239814437@zoomcrc.comx", "help@zoomcrc.com", "8823981@zoomcrc.com",
    "https://zoom.us.evil.example/j/88239814437", "https://notzoom.us/j/88239814437",
    "https://evil.example/zoom.us/j/88239814437", "https://evil.example/?u=https://zoom.us/j/88239814437",
    "https://zoom.us@evil.example/j/88239814437", "https://zoom.us/my/pat", "https://zoom.us/u/88239814437",
    "https://zoom.us/skype/88239814437", "https://zoom.us/rec/share/88239814437", "https://zoom.us/j/8823981",
    "https://zoom.us/j/882398144370", "https://zoom.us/j/88239814437a", "https://zoom.us/test",
    "https://x.zoom.us/meeting/register/88239814437", "https://agency.zoomgov.com/j/1614402288",
    "Meeting ID: 882 3981 4437\nPasscode: 991122", "+16699006833,,88239814437#,,,,*041234#",
])
def test_lookalikes_and_what_is_no_meeting_give_nothing(text: str) -> None:
    assert alias(invitation(text), WITH_PIN) is None


ID = "Meeting ID: 882 3981 4437\n"


@pytest.mark.parametrize(("text", "pin"), [
    (f"{LINK}\n{ID}Passcode: E0vyjk\nSIP\n{ADDRESS}\nJoin by H.323\n1.2.3.4\n{ID}Passcode: 036704", "036704"),
    (f"{LINK}\n{ID}Passcode: 111111\nSIP\n{ADDRESS}\nJoin by H.323\n1.2.3.4\n{ID}Passcode: 036704", "036704"),
    (f"Meeting ID:\n882 3981 4437\nPasscode:\n1507305560\nSIP:\n{ADDRESS}\nPasscode:\n1507305560", "1507305560"),
    (f"{LINK}\nMeeting-ID: 882 3981 4437\nKenncode: 041234", "041234"),
    (f"{LINK}\nミーティングID: 882 3981 4437\nパスコード: 041234", "041234"),
    ((f"ID de la reunión: 882 3981 4437\nContraseña: 7x@Kp2\nUnirse por SIP\n{ADDRESS}\nUnirse por H.323\n"
      "ID de la reunión: 882 3981 4437\nContraseña: 041234"), "041234"),
    (f"{LINK}\nID: 882-3981-4437\nEin unbekanntes Wort: 041234", "041234"),
    (f"{LINK}\n{ID}Passcode: E0vyjk\n+16699006833,,88239814437#,,,,*041234# US", "041234"),
    (f"{LINK}\n{ID}Passcode: E0vyjk\n+16699006833,,88239814437#,,,,,,0#,,041234# US", "041234"),
    (f"{LINK}\nH.323: 162.255.37.11##88239814437#041234", "041234"),
    ("SIP: 88239814437.041234@zoomcrc.com", "041234"), ("88239814437.04123.0.654321..504@zoomcrc.com", "04123"),
    (f"Join {LINK} {ID}Passcode: 041234 Find your local number: https://zoom.us/u/a", "041234"),
    (f"{LINK}\n{ID}Passcode: E0vyjk", ""), (f"{LINK}\n{ID}Passcode: 1234!ab", ""), (f"{LINK}\nPasscode: 123", ""),
    (f"{LINK}\n{ID}Host key: 123456", ""), (f"{LINK}\n+16699006833,,99999999999#,,,,*041234#", ""),
    (f"Microsoft Teams\nMeeting ID: 228 417 906 035\nPasscode: 123456\n\n{LINK}", ""),
    (f"Microsoft Teams\nMeeting ID: 228 417 906 035\nPasscode: 123456\n\n{LINK}\nPasscode: 041234", "041234"),
    (f"Webex meeting number: 2488 038 4769 Meeting password: 123456\n{LINK}", ""),
    (f"{LINK}\nTel: +88239814437\nEin unbekanntes Wort: 041234", ""),
    (f"{LINK}\nTel: 1,88239814437#\nEin unbekanntes Wort: 041234", ""),
    ("88239814437.E0vyjk@zoomcrc.com", ""), (LINK, ""),
])
def test_the_pin_is_the_numeric_passcode_and_the_alias_is_without_where_there_is_none(text: str, pin: str) -> None:
    found = match(invitation(text), WITH_PIN)
    assert found is not None
    assert found.variables["pin"] == pin
    assert found.alias == (f"88239814437.{pin}@zoomcrc.com" if pin else ADDRESS)
    assert alias(invitation(text), ZOOM) == ADDRESS


def test_a_transform_of_the_operator_may_use_the_pin() -> None:
    own = rule("zoom", transform_rule="{{meeting_id}}{% if pin %}**{{pin}}{% endif %}@{{domain}}")
    assert alias(invitation(f"{LINK}\nPasscode: 041234"), own) == "88239814437**041234@zoomcrc.com"


def test_entry_points_of_google_count_before_the_text() -> None:
    entries = [{"entryPointType": "video", "uri": LINK, "passcode": "999999"}, {"entryPointType": "sip"}, None,
               {"entryPointType": "sip", "uri": f"sip:{ADDRESS};transport=tls", "passcode": "041234"}]
    meeting = invitation("https://zoom.us/j/99999999999", properties=google(*entries))
    assert alias(meeting, ZOOM) == ADDRESS
    assert alias(meeting, WITH_PIN) == "88239814437.041234@zoomcrc.com"


@pytest.mark.parametrize("properties", [
    {"google": {"conferenceData": {"entryPoints": {"uri": LINK}}}}, {"google": {"conferenceData": [LINK]}},
    google({"entryPointType": "video", "uri": 5}), google("x"),
])
def test_entry_points_of_unexpected_shape_are_passed_over(properties: dict[str, object]) -> None:
    assert alias(invitation("SIP: " + ADDRESS, properties=properties), WITH_PIN) == ADDRESS


def test_the_own_text_counts_before_the_quoted() -> None:
    assert alias(invitation(f"{LINK}\n> SIP: 99999999999@zoomcrc.com"), ZOOM) == ADDRESS
