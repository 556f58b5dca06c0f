"""Meeting rooms of Pexip, and BlueJeans and GoTo meetings by their lines for room systems."""

from __future__ import annotations

import pytest

from tests.rules.support import alias, invitation, rule

INFINITY = rule("pexipinfinity")
SERVICE = rule("pexipservice")
BLUEJEANS = rule("bluejeans")
GOTO = rule("gotomeeting")
ROOM = "meet.0482@vc.example.com"


@pytest.mark.parametrize("meeting", [
    invitation(f"pexip://{ROOM}"), invitation(f"App: (pexip://{ROOM})."), invitation(f"Open<pexip://{ROOM}>"),
    invitation(f"pexip://{ROOM}?pin=1234."), invitation(f"PEXIP://{ROOM}/"), invitation(f"> pexip://{ROOM}"),
    invitation(f"pexip://0482\npexip://{ROOM}"), invitation(location=f"pexip://{ROOM}; Room 4"),
    invitation(f"pexip://{ROOM}<mailto:{ROOM}>"), invitation(html=f"<a href='pexip://{ROOM}'>Open</a>"),
    invitation(html=f"pexip://<a href='mailto:{ROOM}'>{ROOM}</a><br>"),
    invitation(html="<a href='pexip://meet.0482%40vc.example.com'>Open</a>"),
])
def test_pexip_infinity_dials_the_link_of_the_app(meeting: object) -> None:
    assert alias(meeting, INFINITY) == ROOM  # type: ignore[arg-type]


@pytest.mark.parametrize("text", [
    "pexip://", "pexip://0482", "pexip://@vc.example.com", "pexip://a@", "pexip://a@b@c.example", "pexip://a@host",
    f"notpexip://{ROOM}", f"https://evil.example/?u=pexip://{ROOM}",
    f"https://join.example.com/webapp/#/?conference={ROOM}",
    "This meeting will be hosted in a Virtual Meeting Room. Joining instructions will be sent to you soon.",
])
def test_pexip_infinity_needs_name_and_domain_of_such_a_link(text: str) -> None:
    assert alias(invitation(text), INFINITY) is None


@pytest.mark.parametrize("text", [
    "https://pexip.me/meet/coffee.corner", "https://pexip.me/meet/coffee.corner/?pin=12",
    "pexip.me/meet/coffee.corner", "https://pexip.me/meet/coffee.corner@pexip.me", "sip:coffee.corner@pexip.me",
    "Video: coffee.corner@pexip.me.",
    "> coffee.corner@pexip.me", "<a href='sip:coffee.corner@pexip.me'>video</a>",
    "help@pexip.me coffee.corner@PEXIP.me",
    "https://pexip.me/teams/vc.example.com/1184429073 coffee.corner@pexip.me",
])
def test_pexip_service_dials_the_room_of_link_or_address(text: str) -> None:
    assert alias(invitation(text), SERVICE) == "coffee.corner@pexip.me"


@pytest.mark.parametrize("text", [
    "x@notpexip.me", "x@pexip.me.evil.example", "help@pexip.me", "teams@pexip.me", "x@google.pexip.me",
    "https://pexip.me.evil.example/meet/12", "https://notpexip.me/meet/12", "https://pexip.me/meet/",
    "https://pexip.me/teams/vc.example.com/1184429073", "https://evil.example/x@pexip.me",
])
def test_pexip_service_leaves_teams_links_mailboxes_and_lookalikes(text: str) -> None:
    assert alias(invitation(text), SERVICE) is None


@pytest.mark.parametrize(("text", "pin"), [
    ("https://bluejeans.com/051946748?src=calendarLink", ""), ("bluejeans.com/051946748", ""),
    ("https://www.bluejeans.com/051946748/browser", ""), ("https://bluejeans.com/051946748/0471?src=x", "0471"),
    ("https://bluejeans.com/111 https://bluejeans.com/051946748.", ""), ("dial 051946748@bjn.vc", ""),
    ("sip:051946748.0471@bjn.vc", "0471"), ("https://bluejeans.com/051946748\nParticipant Passcode: 9012", ""),
    ("1.) Dial: 199.48.152.152 or bjn.vc\n2.) Enter Meeting ID: 051 946 748 -or- use a pairing code", ""),
    ("<p>Dial: <b>bjn.vc</b></p><p>Enter Meeting&nbsp;ID:&nbsp;<span>051946748</span></p>", ""),
])
def test_bluejeans_dials_the_id_and_if_asked_the_passcode_of_the_link(text: str, pin: str) -> None:
    assert alias(invitation(text), BLUEJEANS) == "051946748@bjn.vc"
    assert (alias(invitation(text), rule("bluejeans", include_pin=True))
            == (f"051946748.{pin}@bjn.vc" if pin else "051946748@bjn.vc"))


@pytest.mark.parametrize("text", [
    "https://bluejeans.com/111", "https://bluejeans.com/numbers", "https://bluejeans.com/pat.moe",
    "https://bluejeans.com.evil.example/151946748", "https://notbluejeans.com/151946748",
    "151946748@bjn.vc.evil.example", "130885024@teams.bjn.vc VTC Conference ID: 1291418316", "ID: 151946748",
])
def test_bluejeans_leaves_the_test_room_teams_and_lookalikes(text: str) -> None:
    assert alias(invitation(text), BLUEJEANS) is None


@pytest.mark.parametrize(("text", "expected"), [
    ("Dial: 67.217.95.2##012917365\nCisco devices: 012917365@67.217.95.2", "012917365@67.217.95.2"),
    ("Cisco-Geräte: 012917365@67.217.95.2", "012917365@67.217.95.2"),
    ("67.217.95.2##012917365.", "012917365@67.217.95.2"),
    ("Dial in or type:\n67.217.95.2 or inroomlink.goto.com\nMeeting ID:\n012 917 365", "012917365@67.217.95.2"),
    ("Dial in or type: inroomlink.goto.com\nMeeting ID: 012-917-365", "012917365@inroomlink.goto.com"),
    ("012917365@inroomlink.goto.com\n012917365@67.217.95.2", "012917365@67.217.95.2"),
    ("https://meet.goto.com/012917365\nCisco devices: 012917365@78.108.112.9", "012917365@78.108.112.9"),
    ("sip:desk@example.com\nhttps://global.gotomeeting.com/join/012917365\n10.0.0.1##012917365",
     "012917365@10.0.0.1"),
    ("<p>Cisco devices: <a href='sip:012917365@67.217.95.2'>dial</a></p>", "012917365@67.217.95.2"),
])
def test_goto_dials_the_id_at_the_address_of_the_lines_for_rooms(text: str, expected: str) -> None:
    assert alias(invitation(text), GOTO) == expected


@pytest.mark.parametrize("text", [
    "https://global.gotomeeting.com/join/706931774\nAccess Code: 706-931-774", "https://gotomeet.me/pat",
    "https://zoom.us/j/534178113 H.323: 162.255.37.11##534178113 534178113@162.255.37.11",
    "https://meet.goto.com/706931774\nZoom: 162.255.37.11##534178113", "534178113@67.217.95.256",
    "534178113@67.217.95.2.evil.example", "Meeting ID: 706-931-774",
    "https://inroomlink.goto.com.evil.example Meeting ID: 706-931-774",
])
def test_goto_leaves_telephones_other_services_and_lookalikes(text: str) -> None:
    assert alias(invitation(text), GOTO) is None
