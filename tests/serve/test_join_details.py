from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from otjd.meetings.model import DialProtocol
from otjd.protocol.ews_items import dial_uri
from otjd.protocol.poly_token import BEGIN, decode_token, vmr_token
from otjd.rules.templates import TemplateFailure
from otjd.serve.join_details import JoinDetails, built_in_template
from otjd.serve.join_style import JoinStyle
from tests.serve.ews_support import NOW, meeting

ROOM = meeting("a", NOW, 45, alias="room@example.com", subject="Weekly")


def clock(step_s: float = 1e-6) -> Callable[[], float]:
    ticks = count()
    return lambda: next(ticks) * step_s


def details(source: str | None = None, **more: Any) -> JoinDetails:
    return JoinDetails(source, clock=clock(), **more)


def test_the_built_in_body_has_address_and_token() -> None:
    made = details().of(ROOM)
    assert made.uri == "sip:room@example.com"
    lines = made.text.split("\r\n")
    assert lines[:3] == ["Join by video: sip:room@example.com", "SIP: room@example.com", ""]
    assert decode_token(made.text) == decode_token(made.html) == made.tokens
    assert made.html == f"<html><body>{'<br>'.join(lines)}</body></html>".replace("<br>", "<br>\r\n")


def test_without_an_alias_nothing_is_told() -> None:
    made = details().of(meeting("a"))
    assert (made.uri, made.text, made.html, dict(made.tokens)) == ("", "", "", {})


@pytest.mark.parametrize(("alias", "protocol", "uri"), [
    (None, DialProtocol.SIP, ""), ("a@b", DialProtocol.SIP, "sip:a@b"), ("1##2", DialProtocol.H323, "h323:1##2"),
    ("sip:a@b", DialProtocol.H323, "sip:a@b"), ("sipper@b", DialProtocol.SIP, "sip:sipper@b")])
def test_a_uri_has_one_scheme(alias: str | None, protocol: DialProtocol, uri: str) -> None:
    assert dial_uri(meeting("a", alias=alias, dial_protocol=protocol)) == uri


def test_an_operators_template_sees_the_meeting() -> None:
    source = ("{{ subject }} by {{ organizer }}\n{{ start }} to {{ end }}\n{{ alias }} {{ uri }} {{ protocol }}\n"
              "{{ split_token }}")
    lines = details(source).of(ROOM).text.split("\r\n")
    assert lines[:3] == ["Weekly by Ada Berg", "2026-03-02 08:00:00+00:00 to 2026-03-02 08:45:00+00:00",
                         "room@example.com sip:room@example.com SIP"]
    token = decode_token("\n".join(lines))
    assert token is not None
    assert (token["POLYCOM-SIGNALINGPREFIX"], token["POLYCOM-VMRNUMBER"]) == ("sip:", "room")


def test_the_token_may_be_wrapped_and_end_its_lines_otherwise() -> None:
    template = details("{{ token }}")
    made = template.of(ROOM, JoinStyle(line_ending="\n", wrap=20))
    assert all(len(line) <= 20 for line in made.text.split("\r\n")[1:-1])
    assert made.text != template.of(ROOM, JoinStyle(wrap=20)).text
    assert decode_token(made.text) == made.tokens


def test_a_template_that_does_not_compile_is_refused() -> None:
    with pytest.raises(TemplateFailure):
        details("{{ alias")


@pytest.mark.parametrize("source", ["{{ missing.part }}", "{{ alias * 10000 }}", "{{ 1 // 0 }}"])
def test_a_failing_template_falls_back_with_one_warning(source: str, logged_events: list[dict[str, Any]]) -> None:
    failing = details(source)
    for _ in range(3):
        assert failing.of(ROOM).text == details().of(ROOM).text
    (event,) = [e for e in logged_events if e.get("key") == "join_details"]
    assert event["log_level"].name == "warn"
    assert event["reason"]


def test_a_machine_too_slow_for_any_template_still_tells_what_to_dial() -> None:
    made = JoinDetails(None, clock=clock(step_s=10)).of(ROOM)
    assert made.text.startswith("sip:room@example.com\r\n\r\n--=BEGIN")
    assert decode_token(made.text) == made.tokens


FAMILIES = ("auto", "hdx", "group", "trio", "videoos", "debut")
H323 = meeting("h", alias="room@example.com", dial_protocol=DialProtocol.H323)
ORIGINAL = "Agenda: budget\nDial +47 22 22 22 22"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_given_the_address_and_without_an_alias_nothing(family: str) -> None:
    made = details().of(ROOM, JoinStyle(family))
    assert "Join by video: sip:room@example.com" in made.text
    assert "otjd" not in made.text
    assert details().of(meeting("a"), JoinStyle(family)).text == ""


@pytest.mark.parametrize(("family", "has_token", "has_line"), [
    ("auto", True, True), ("hdx", True, False), ("group", True, True), ("trio", False, False),
    ("videoos", True, True), ("debut", True, True)])
def test_a_family_is_given_what_it_looks_for(family: str, has_token: bool, has_line: bool) -> None:
    made = details().of(ROOM, JoinStyle(family))
    assert (decode_token(made.text) is not None) is has_token
    assert ("\r\nSIP: room@example.com" in made.text) is has_line


@pytest.mark.parametrize("family", FAMILIES)
def test_an_h323_meeting_names_no_sip_address_in_either_form_of_the_token(family: str) -> None:
    for split in (False, True):
        made = details().of(H323, JoinStyle(family, split=split))
        assert "h323:room@example.com" in made.text
        assert "sip:" not in made.text.lower()
        assert made.tokens["POLYCOM-VMRNUMBER"] == "room@example.com"
        assert made.tokens["POLYCOM-SIGNALINGPREFIX"] == ""


def test_a_split_token_is_so_in_the_body_and_in_the_properties() -> None:
    made = details().of(ROOM, JoinStyle(split=True))
    assert decode_token(made.text) == made.tokens
    assert [made.tokens[f"POLYCOM-{key}"] for key in ("SIGNALINGPREFIX", "VMRNUMBER", "SIGNALINGPOSTFIX")] == [
        "sip:", "room", "example.com"]


def test_a_family_may_have_its_own_template_and_the_others_the_common_one() -> None:
    made = details("for {{ family }}", by_family={"trio": "mine"})
    assert made.of(ROOM, JoinStyle("trio")).text == "mine"
    assert made.of(ROOM, JoinStyle("debut")).text == "for debut"
    assert made.of(ROOM, JoinStyle("hdx")).text == "for hdx"
    alone = details(by_family={"trio": "mine"})
    assert alone.of(ROOM, JoinStyle("group")).text == details().of(ROOM).text


def test_a_failing_template_of_a_family_falls_back_to_the_built_in_one_of_that_family(
        logged_events: list[dict[str, Any]]) -> None:
    made = details("common", by_family={"trio": "{{ 1 // 0 }}"})
    assert made.of(ROOM, JoinStyle("trio")).text == details().of(ROOM, JoinStyle("trio")).text
    assert [e["key"] for e in logged_events if "key" in e] == ["join_details_by_family.trio"]


def invited(alias: str | None = "room@example.com", text: str = ORIGINAL) -> Any:
    return meeting("a", alias=alias, invitation_text=text)


def test_the_text_of_the_invitation_is_dropped_appended_or_kept() -> None:
    ours = details().of(ROOM).text
    original = ORIGINAL.replace("\n", "\r\n")
    shown = {what: details().of(invited(), JoinStyle(invitation_text=what))
             for what in ("drop", "append", "keep")}
    assert {what: made.text for what, made in shown.items()} == {
        "drop": ours, "append": f"{ours}\r\n\r\n{original}", "keep": original}
    assert all(made.tokens and made.uri for made in shown.values())
    assert shown["keep"].html == "<html><body>Agenda: budget<br>\r\nDial +47 22 22 22 22</body></html>"


@pytest.mark.parametrize("what", ["append", "keep"])
def test_an_invitation_without_text_gets_our_lines_alone(what: str) -> None:
    assert details().of(invited(text=" \n"), JoinStyle(invitation_text=what)).text == details().of(ROOM).text


@pytest.mark.parametrize("what", ["append", "keep"])
def test_a_meeting_without_an_alias_shows_its_text_without_anyones_token(what: str) -> None:
    made = details().of(invited(None, f"Before\n{vmr_token('old@example.com')}\nAfter"),
                        JoinStyle(invitation_text=what))
    assert made.text.replace("\r\n\r\n", "\r\n") == "Before\r\nAfter"
    assert (made.uri, dict(made.tokens)) == ("", {})


def test_an_appended_text_has_no_token_beside_ours() -> None:
    made = details().of(invited(text=vmr_token("old@example.com")), JoinStyle("trio", invitation_text="append"))
    assert BEGIN not in made.text


def test_markup_in_an_invitation_stays_text() -> None:
    made = details().of(invited(text="<script>&"), JoinStyle(invitation_text="keep"))
    assert made.html == "<html><body>&lt;script&gt;&amp;</body></html>"


def test_the_digest_changes_with_everything_that_changes_the_text() -> None:
    usual = JoinStyle()
    different = [details().digest(usual), details("x").digest(usual), details("y").digest(usual),
                 *(details().digest(style) for style in (
                     JoinStyle(wrap=76), JoinStyle(line_ending="\n"), JoinStyle(split=True), JoinStyle("trio"),
                     JoinStyle(invitation_text="keep")))]
    assert len(set(different)) == len(different)
    assert details(built_in_template()).digest(usual) == details().digest(usual)
    assert details().digest(JoinStyle("group")) == details().digest(usual)
