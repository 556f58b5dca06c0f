"""What is told of the steps of the rules."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest

from otjd.meetings.model import Invitation
from otjd.rules.engine import Engine, Rule, outcome_of
from otjd.rules.explanation import EXCERPT_LIMIT, LINKS_SHOWN, Explanation, Told, explanation
from otjd.rules.invitation_json import invitation_from_json
from otjd.rules_explained import WIDTH, explained
from tests.rules.support import invitation, rule
from tests.rules.test_samples import OWN, SHARED


def explain(meeting: Invitation, *rules: Rule) -> Explanation:
    return explanation(meeting, Engine(rules, clock=time.thread_time).explain(meeting))


def first(meeting: Invitation, *rules: Rule) -> Told:
    return explain(meeting, *rules).steps[0]


def places(told: Told) -> dict[str, tuple[str, str]]:
    return {v.name: (v.place, v.text) for v in told.variables}


@pytest.mark.parametrize("path", [*OWN, *SHARED], ids=lambda p: p.stem)
def test_what_is_explained_is_what_happens(path: Path) -> None:
    meeting, rules = invitation_from_json(json.loads(path.read_text("utf-8")))
    engine = Engine(rules or (), clock=time.thread_time)
    steps = engine.explain(meeting)
    assert outcome_of(steps) == engine.evaluate(meeting)
    told = explanation(meeting, steps)
    assert [step.alias for step in told.steps if step.alias] == (
        [alias] if (alias := getattr(engine.match(meeting), "alias", None)) else [])
    assert all(len(line) <= WIDTH for line in explained(told))


def test_a_value_is_shown_with_the_line_in_which_it_stands_however_it_is_grouped() -> None:
    told = first(invitation("Hello\nMeeting ID: 830 1746 2955\nhttps://zoom.us/j/83017462955"), rule("zoom"))
    assert places(told)["meeting_id"] == ("body", "Meeting ID: 830 1746 2955")
    assert places(told)["pin"] == places(told)["domain"] == ("", "")


def test_a_value_may_stand_in_a_link_a_location_or_a_property() -> None:
    zoom = rule("zoom")
    html = "<a href='https://zoom.us/j/83017462955'>Join</a>"
    assert places(first(invitation(html=html), zoom))["meeting_id"] == ("link", "https://zoom.us/j/83017462955")
    encoded = base64.b64encode(b"https://zoom.us/j/83017462955").decode()
    wrapped = f"Join<https://eu-west-1.protection.sophos.com/?d=zoom.us&u={encoded}&i=x>"
    assert places(first(invitation(wrapped), zoom))["meeting_id"] == (
        "restored link", "https://zoom.us/j/83017462955")
    assert places(first(invitation(location="https://zoom.us/j/83017462955"), zoom))["meeting_id"] == (
        "location", "https://zoom.us/j/83017462955")
    teams = first(invitation(properties={"teams_vtc_conference_id": "1180924475"}),
                  rule("teams", domain="t.example"))
    assert places(teams)["meeting_id"] == ("property teams_vtc_conference_id", "1180924475")


def test_a_google_event_is_searched_in_depth() -> None:
    google = {"conferenceData": {"entryPoints": [{"entryPointType": "sip", "uri": "sip:3306127749058@g.example"}]}}
    told = first(invitation(properties={"google": google}), rule("hangouts"))
    assert places(told)["meeting_id"][0] == "property conferenceData"


def test_a_custom_template_that_makes_nothing_is_shown_with_its_reason() -> None:
    told = first(invitation("x"), rule("custom", custom_template="{% if false %}\n  x{% endif %}"))
    assert (told.template, told.template_is_default) == ("{% if false %}\n  x{% endif %}", False)
    assert told.reason == "its template makes nothing of this invitation"


def test_long_texts_and_many_links_are_cut() -> None:
    links = "".join(f"<a href='https://a.example/{n}'>x</a>" for n in range(50))
    seen = explain(invitation(html=f"<p>{'x' * 5000} board@vc.example.com</p>{links}"),
                   rule("domain", domain="vc.example.com"))
    assert (len(seen.seen.links), seen.seen.more_links) == (LINKS_SHOWN, 50 - LINKS_SHOWN)
    assert all(len(v.text) <= EXCERPT_LIMIT + 1 for step in seen.steps for v in step.variables)
