"""Damaged and very long invitations of the types that read links, addresses and entry points."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otjd.rules.engine import FALLBACK, Engine
from otjd.rules.event import MeetingEvent
from otjd.rules.registry import supported
from tests.rules.support import damaged, invitation, rule

DOMAIN = "vc.rule.example"
KINDS = ("pexipinfinity", "pexipservice", "hangouts", "googlemeetsipguestjoin", "webex", "zoom", "bluejeans",
         "gotomeeting")
ENGINES = {kind: Engine([rule(kind, domain=DOMAIN, company_id="7d0b", include_pin=True)], clock=time.thread_time)
           for kind in KINDS}
OWN = {DOMAIN, "zoomcrc.com", "bjn.vc", "pexip.me", "google.pexip.me"}
PIECES = st.sampled_from([
    "", " ", "\n", "\u00a0", "\u200b", "@", ".", ":", "/", "?", "&amp;", "=", "%", "%40", "%00", "<", ">", "#",
    "0", "123456789", "1234567890123", "evil.example", ".evil.example", "@evil.example", "> ", "x", "é", "会",
    "١٢٣", "\ud800", "\\", "\"", "{{", "[", "]", "sip:", "https://", "pexip://", "Dial ", "<a href='", "<br>",
])


VALUES = st.one_of(st.none(), st.integers(), st.lists(st.text(max_size=3), max_size=2), st.just({}),
                   *(damaged(text, PIECES) for text in (
                       "sip:2417036985521@gmeet.example.com", "https://meet.google.com/abc-defg-hij", "addOn",
                       "https://us02web.zoom.us/j/88239814437", "sip:24880384769@site.webex.com", "hangoutsMeet",
                       "https://tel.meet/abc-defg-hij?pin=2417036985521", "2417036985521", "sip")))
ENTRIES = st.lists(st.one_of(VALUES, st.fixed_dictionaries({}, optional={
    "entryPointType": st.one_of(st.just("sip"), VALUES), "uri": VALUES, "pin": VALUES, "passcode": VALUES})),
    max_size=4)
CONFERENCES = st.fixed_dictionaries({}, optional={
    "conferenceId": VALUES, "entryPoints": st.one_of(ENTRIES, VALUES),
    "conferenceSolution": st.one_of(VALUES, st.fixed_dictionaries(
        {"key": st.one_of(VALUES, st.fixed_dictionaries({"type": VALUES}))}))})


def check(kind: str, text: str, **more: Any) -> None:
    for meeting in (invitation(text, **more), invitation(html=text, **more), invitation(location=text, **more)):
        outcome = ENGINES[kind].evaluate(meeting)
        assert not outcome.failures
        if outcome.match is None or outcome.match.meeting_type == FALLBACK:
            continue
        host = outcome.match.alias.rpartition("@")[2].lower()
        body = MeetingEvent(meeting).body
        assert host in OWN or host in unquote(unquote(f"{text} {more} {body} {body.links}")).lower()


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(KINDS).flatmap(
    lambda kind: st.tuples(st.just(kind), damaged(supported()[kind].example, PIECES))))
def test_a_damaged_invitation_never_fails_a_rule_nor_leads_elsewhere(case: tuple[str, str]) -> None:
    check(*case)


@pytest.mark.parametrize("hidden", ["%00", "%E2%80%8B", "\x7f", "%C2%A0"])
def test_a_hidden_character_in_a_link_of_the_app_is_no_name(hidden: str) -> None:
    check("pexipinfinity", f"pexip://{hidden}meet.1@vc.example.com")
    assert ENGINES["pexipinfinity"].match(invitation(f"pexip://{hidden}m@vc.example.com pexip://b@vc.example.com"))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(KINDS), VALUES, st.one_of(CONFERENCES, VALUES))
def test_damaged_data_of_google_never_fails_a_rule_nor_leads_elsewhere(kind: str, link: object,
                                                                      conference: object) -> None:
    check(kind, "", properties={"google": {"hangoutLink": link, "conferenceData": conference}})


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_gives_an_alias(kind: str) -> None:
    outcome = Engine([rule(kind)], clock=time.thread_time).evaluate(invitation(supported()[kind].example))
    assert outcome.match is not None
    assert outcome.match.meeting_type == kind


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("piece", [
    "1111111111111@a.b ", "dial a@x.webex.com ", "video: x@a.webex.com ", "1.1.1.1 ", "inroomlink.goto.com ID ",
    "bjn.vc ID ", "pexip://a ", "https://zoom.us/j/123456789 123 456 789 abcdef ", "h.323 Passcode: 1\n", "a.bc/",
    ",1#", "1 ", "a-", "12345678",
])
def test_the_work_grows_no_faster_than_the_text(kind: str, piece: str) -> None:
    def work(length: int) -> float:
        meeting = invitation((piece * (length // len(piece) + 1))[:length])
        begin = time.thread_time()
        ENGINES[kind].evaluate(meeting)
        return time.thread_time() - begin

    short, long = (min(work(length), work(length)) for length in (20_000, 160_000))
    assert long < 40 * max(short, 0.002)
