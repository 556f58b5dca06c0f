"""What the tests of the rules share."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from otjd.meetings.model import Invitation, Organizer
from otjd.rules.engine import Engine, Match, Outcome, Rule
from otjd.rules.rule import rule_from_mapping

START = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
END = datetime(2026, 3, 2, 10, 0, 5, tzinfo=UTC)


def invitation(text: str = "", *, html: str = "", location: str = "", **more: Any) -> Invitation:
    more.setdefault("organizer", Organizer("Pat Moe", "pat.moe@example.com"))
    return Invitation(uid="1", start_time=START, end_time=END, body_text=text, body_html=html, location=location,
                      **more)


@st.composite
def damaged(draw: st.DrawFn, text: str, pieces: st.SearchStrategy[str]) -> str:
    """The text with some of its characters replaced by some of these pieces."""
    for _ in range(draw(st.integers(1, 6))):
        begin = draw(st.integers(0, len(text)))
        end = min(len(text), begin + draw(st.integers(0, 12)))
        text = text[:begin] + draw(pieces) + text[end:]
    return text


def rule(meeting_type: str, **more: Any) -> Rule:
    return rule_from_mapping({"meeting_type": meeting_type, **more})


def evaluate(meeting: Invitation, *rules: Rule) -> Outcome:
    return Engine(rules, clock=time.thread_time).evaluate(meeting)


def match(meeting: Invitation, *rules: Rule) -> Match | None:
    outcome = evaluate(meeting, *rules)
    assert not outcome.failures
    return outcome.match


def alias(meeting: Invitation, *rules: Rule) -> str | None:
    found = match(meeting, *rules)
    return found.alias if found else None
