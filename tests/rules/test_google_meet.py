"""Google Meet over the customer's gateway, and as a SIP guest."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.rules.support import alias, invitation, match, rule

MEET = rule("hangouts", domain="gmeet.example.com")
MEET_WITHOUT_DOMAIN = rule("hangouts")
GUEST = rule("googlemeetsipguestjoin")
PIN = "0122334455667"
ADDRESS = f"{PIN}@gmeet.example.com"
CODE = "abc-defg-hij"
LINK = f"https://meet.google.com/{CODE}"
TEL = f"https://tel.meet/{CODE}?pin={PIN}&hs=7"


def safe_link(link: str) -> str:
    return f"https://eur01.safelinks.protection.outlook.com/?url={quote(link, safe='')}&data=05%7C02&reserved=0"


def google(*entries: object, kind: object = "hangoutsMeet", **more: object) -> dict[str, object]:
    data = {"conferenceSolution": {"key": {"type": kind}}, "entryPoints": list(entries), **more}
    return {"google": {"conferenceData": data}}


@pytest.mark.parametrize("uri", [
    f"sip:{ADDRESS}", f"sips:{ADDRESS};transport=tls", f"SIP:{PIN}%40GMEET.example.com?x=y", f" sip:{ADDRESS} "])
def test_the_entry_point_for_sip_gives_pin_and_domain(uri: str) -> None:
    properties = google({"entryPointType": "video", "uri": LINK}, None, {"entryPointType": "sip", "uri": uri})
    for meet in (MEET, MEET_WITHOUT_DOMAIN, rule("hangouts", domain="other.example")):
        assert alias(invitation(TEL, properties=properties), meet) == ADDRESS


def test_an_entry_point_without_uri_has_its_pin_at_the_domain_of_the_rule() -> None:
    entry = {"entryPointType": "sip", "pin": PIN}
    assert alias(invitation(properties=google(entry)), MEET) == ADDRESS
    assert alias(invitation(properties=google(entry)), MEET_WITHOUT_DOMAIN) is None
    assert alias(invitation(properties=google({"entryPointType": "sip"})), MEET) is None
    assert alias(invitation(properties=google({"entryPointType": "sip", "pin": "199901399"})), MEET) is None


def test_entry_points_of_other_providers_give_nothing() -> None:
    entry = {"entryPointType": "sip", "uri": f"sip:{PIN}@zoomcrc.com"}
    assert alias(invitation(properties=google(entry)), MEET) is None
    assert alias(invitation(properties=google({"entryPointType": "sip", "uri": f"sip:{ADDRESS}"}, kind="addOn")),
                 MEET) is None


@pytest.mark.parametrize("properties", [
    google(kind=["x"]), {"google": {"conferenceData": {"entryPoints": "x", "conferenceSolution": 5}}},
    {"google": {"conferenceData": 5, "hangoutLink": 5}}, google({"entryPointType": "sip", "uri": 5, "pin": 7}),
])
def test_google_data_of_unexpected_shape_is_passed_over(properties: dict[str, object]) -> None:
    assert alias(invitation(f"{LINK} {ADDRESS}", properties=properties), MEET) == ADDRESS
    assert alias(invitation(LINK, properties=properties), GUEST) == "abcdefghij@google.pexip.me"


@pytest.mark.parametrize(("text", "expected"), [
    (f"Join from a video conferencing system: {ADDRESS}", ADDRESS), (f"<sip:{ADDRESS}>", ADDRESS),
    (f"{PIN}@eu.gmeet.example.com", f"{PIN}@eu.gmeet.example.com"), (f"> {ADDRESS}", ADDRESS),
    (f"Video: {PIN}@acme.onpexip.com", f"{PIN}@acme.onpexip.com"),
    (f"{LINK}\nVideo: {PIN}@other.example", f"{PIN}@other.example"),
    (f"{LINK}\n{PIN}@other.example\n{ADDRESS}", ADDRESS),
    (TEL, ADDRESS), (safe_link(TEL), ADDRESS), (f"More phone numbers<{TEL}>", ADDRESS),
    (f"tel.meet/{CODE}?pin={PIN}", ADDRESS),
])
def test_the_text_gives_the_address_and_at_last_the_pin_of_the_telephone_link(text: str, expected: str) -> None:
    assert alias(invitation(text), MEET) == expected


@pytest.mark.parametrize("text", [
    f"{LINK}\nOr dial: +1 254-555-0142 PIN: 199 901 399#", f"https://tel.meet/{CODE}?pin=199901399",
    f"https://tel.meet.evil.example/{CODE}?pin={PIN}", f"https://tel.meet/{CODE}1?pin={PIN}",
    f"{LINK} {PIN}@zoomcrc.com", f"{LINK} {PIN}@teams.bjn.vc", f"{LINK} 9{ADDRESS}",
    f"{LINK} 199901399@gmeet.example.com",
    f"Call 4915112345678@sip.example.net {LINK.replace('google', 'goggle')}",
])
def test_short_pins_other_services_and_lookalikes_give_nothing(text: str) -> None:
    assert alias(invitation(text), MEET) is None


def test_the_pin_of_the_telephone_link_needs_the_domain_of_the_rule() -> None:
    assert alias(invitation(TEL), MEET_WITHOUT_DOMAIN) is None
    assert alias(invitation(TEL), rule("hangouts", domain="no domain")) is None


@pytest.mark.parametrize("meeting", [
    invitation(f"Join: {LINK}."), invitation(f"Join<{LINK}?authuser=0&hs=122>"), invitation(safe_link(LINK)),
    invitation(html=f"<a href='{safe_link(LINK)}'>Join</a>"), invitation(f"> {LINK}"),
    invitation(html=f"<a href='https://www.google.com/url?q={LINK}&amp;sa=D'>Join</a>"),
    invitation(f"{LINK}。"), invitation(f"meet.google.com/{CODE}"), invitation(location=LINK),
    invitation(f"{LINK[:-3]}xyz", location=f"meet.google.com/{CODE}"),
    invitation(f"{LINK[:-3]}xyz", properties={"google": {"hangoutLink": LINK}}),
    invitation(properties=google(conferenceId=CODE)),
    invitation(properties=google({"entryPointType": "video", "uri": LINK})),
    invitation(properties={"ics": {"X-GOOGLE-CONFERENCE": LINK}}),
])
def test_a_guest_dials_the_code_without_hyphens(meeting: object) -> None:
    found = match(meeting, GUEST)  # type: ignore[arg-type]
    assert found is not None
    assert found.alias == "abcdefghij@google.pexip.me"
    assert found.variables["meeting_id"] == CODE


@pytest.mark.parametrize("text", [
    "https://meet.google.com/new", "https://meet.google.com/landing", f"https://tel.meet/{CODE}?pin={PIN}",
    f"https://stream.meet.google.com/{CODE}", f"{LINK}k", f"{LINK}1", f"{LINK}/x",
    "https://meet.google.com/ABC-DEFG-HIJ",
    "https://meet.google.com/abcd-efg-hij", f"https://meet.google.com.evil.example/{CODE}",
    f"https://xmeet.google.com/{CODE}", f"xmeet.google.com/{CODE}", f"https://evil.example/meet.google.com/{CODE}",
    CODE,
])
def test_what_is_no_meeting_gives_the_guest_nothing(text: str) -> None:
    assert alias(invitation(text), GUEST) is None
    assert alias(invitation(properties=google(conferenceId=text, kind="addOn")), GUEST) is None


def test_a_company_id_is_appended() -> None:
    guest = rule("googlemeetsipguestjoin", company_id="7d0b-93c1")
    assert alias(invitation(LINK), guest) == "abcdefghij.7d0b-93c1@google.pexip.me"


def test_a_transform_of_the_operator_may_keep_the_hyphens() -> None:
    guest = rule("googlemeetsipguestjoin", transform_rule="{{meeting_id}}@google.pexip.me")
    assert alias(invitation(LINK), guest) == f"{CODE}@google.pexip.me"
