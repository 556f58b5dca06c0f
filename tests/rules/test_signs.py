"""What tells in one pass of which types an invitation cannot be."""

from __future__ import annotations

import json
import re
import string
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otjd.meetings.model import Invitation
from otjd.rules.event import MeetingEvent
from otjd.rules.fallback import FALLBACK, fallback
from otjd.rules.invitation_json import invitation_from_json
from otjd.rules.links import folded, may_be_rewritten
from otjd.rules.meeting_type import Place
from otjd.rules.registry import may_be_of, may_hold, supported
from tests.rules.support import alias, damaged, invitation, rule

WITH_SIGNS = sorted(name for name, found in supported().items() if found.signs)
EXAMPLES = [found.example for found in supported().values() if found.example]
SAMPLES = [path for folder in (Path(__file__).parent.parent / "data", Path(__file__).parents[3] / "shared")
           for path in sorted((folder / "invitations").glob("*.json"))]
ASCII = re.compile(r"[a-z0-9.-]+")
PIECES = st.sampled_from([
    "@", ".", "%40", "%2e", "&amp;", "\u017f", "\u212a", "\u0130", "\u0131", "\u200b", "&#46;", "<b>", "</b>", "<",
    ">", " ", "\n", "/", "?", "#", ":", "A", "1", "=", "https://", "sip:", "mailto:",
    "https://nam01.safelinks.protection.outlook.com/?url=https%3A%2F%2F",
    "nam01.safelinks.protection.outlook.com/?url=https%3A%2F%2F", "https://www.google.com/url?q="])


def unmissed(meeting: Invitation) -> None:
    """Each type that finds something in it was thought possible."""
    event = MeetingEvent(meeting)
    for name in WITH_SIGNS:
        given_rule = rule(name, domain="vc.example.com", company_id="acme")
        finder = supported()[name].prepare(given_rule, time.thread_time)
        for part in (event, event.quoted):
            if part is not None and finder(part):
                assert may_be_of(part, name), name
    for part in (event, event.quoted):
        if part is not None and fallback(part):
            assert may_be_of(part, FALLBACK)
        if part is not None:
            words = (word for place in part.places() for word in ASCII.findall(folded(place)))
            assert all(may_hold(part, word) for word in words)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: p.stem)
def test_no_type_that_reads_a_sample_is_passed_over(path: Path) -> None:
    unmissed(invitation_from_json(json.loads(path.read_text("utf-8")))[0])


@pytest.mark.parametrize("name", WITH_SIGNS)
def test_the_example_of_a_type_shows_its_sign_and_plain_words_do_not(name: str) -> None:
    given_example = supported()[name].example_for(rule(name, domain="vc.example.com"))
    assert given_example is not None
    assert may_be_of(MeetingEvent(given_example), name)
    assert not may_be_of(MeetingEvent(invitation("Shall we meet in the large room at 10:30?")), name)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(EXAMPLES).flatmap(lambda text: damaged(text, PIECES)), st.booleans())
def test_no_type_is_passed_over_in_what_is_left_of_its_example(text: str, as_html: bool) -> None:
    unmissed(invitation(html=f"<p>{text}</p>") if as_html else invitation(text))
    unmissed(invitation("", location=text))


def test_properties_of_another_shape_hold_any_sign() -> None:
    event = MeetingEvent(invitation("", properties={"google": {"conferenceData": {"entryPoints": [{}]}}}))
    for name in WITH_SIGNS:
        assert may_be_of(event, name) == (Place.PROPERTIES in supported()[name].looks_in)


def test_rewritten_and_encoded_signs_are_seen() -> None:
    for text in ("<https://nam01.safelinks.protection.outlook.com/?url=https%3A%2F%2Fbluejeans%2Ecom%2F402817365>",
                 "nam01.safelinks.protection.outlook.com/?url=https%3A%2F%2Fbluejeans%2Ecom%2F402817365",
                 "<sip:402817365%40bjn%2Evc>"):
        assert may_be_of(MeetingEvent(invitation(text)), "bluejeans")


def test_a_word_that_only_tags_hold_together_is_seen() -> None:
    event = MeetingEvent(invitation(html="<p>room@vc.<b>exam</b><a href='https://x.example/'>ple</a>&#46;com</p>"))
    assert may_hold(event, "vc.example.com")
    assert not may_hold(event, "vc.example.org")


@pytest.mark.parametrize("name", ["teams", "zoom"])
def test_a_meeting_that_its_properties_tell_is_found_without_a_look_at_its_body(name: str) -> None:
    class Unread(str):
        def __getitem__(self, _: object) -> str:
            raise AssertionError("the body was read")

    sip = {"entryPointType": "sip", "uri": "sip:92345678901@zoomcrc.com", "passcode": "1234"}
    conference = {"entryPoints": [sip]}
    properties = {"teams_vtc_conference_id": "1180924475"} if name == "teams" else {"conferenceData": conference}
    meeting = invitation(Unread("Join"), html=Unread("<p>Join</p>"), properties=properties)
    assert alias(meeting, rule(name, domain="vc.example.com")) is not None


def test_folding_agrees_with_expressions_that_ignore_letter_case() -> None:
    alike = re.compile("[a-z]", re.IGNORECASE)
    everything = "".join(map(chr, range(0x110000)))
    for character in alike.findall(everything):
        assert folded(character) in string.ascii_lowercase
        assert re.fullmatch(folded(character), character, re.IGNORECASE)


def test_what_may_be_rewritten_is_known_in_any_letter_case() -> None:
    assert may_be_rewritten("see HTTPS://NAM01.\u017fAFELIN\u212aS.PROTECTION.OUTLOOK.COM/?url=x")
    assert not may_be_rewritten("https://www.example.com/")
