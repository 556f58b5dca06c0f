"""Damaged Teams and Skype invitations: no rule fails, and no alias leads to a host that nobody named."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import unquote

from hypothesis import given, settings
from hypothesis import strategies as st

from otjd.rules.engine import FALLBACK, Engine
from otjd.rules.event import MeetingEvent
from otjd.rules.registry import supported
from tests.rules.support import damaged, invitation, rule

DOMAIN = "vc.rule.example"
KINDS = ("teams", "teamssipguestjoin", "pexipinfinityteamsbody", "pexipserviceteamsbody", "polyteamsbody",
         "bluejeansteamsbody", "ciscoteamsbody", "s4b", "polys4bbody")
RULES = [rule(name, domain=DOMAIN, company_id="7d0b6a4e-93c1", include_pin=True) for name in KINDS]
ENGINES = {r.meeting_type: Engine([r], clock=time.thread_time) for r in RULES}
PIECES = st.sampled_from([
    "", " ", "\n", "\u00a0", "\u200b", "@", ".", ":", "/", "?", "&", "&amp;", "=", "%", "%2F", "%00", "<", ">",
    "#", "0", "9", "123456789", "evil.example", ".evil.example", "@evil.example", "> ", "teams@", "x", "é", "会",
    "١٢٣", "\ud800", "\\", "\"", "{", "}", "{{", "[", "]", "|", "sip:", "https://", "<a href='", "</a>", "<br>",
])
CONFERENCE = "conf:sip:kim@example.com;gruu;opaque=app:conf:focus:id:VWDXT1W2?conversation-id=R5"


def named_hosts(kind: str) -> tuple[str, ...]:
    return DOMAIN, "pex.ms", supported()[kind].default_transform.rpartition("@")[2].lower()


def check(kind: str, text: str, **more: Any) -> None:
    for meeting in (invitation(text, **more), invitation(html=text, **more), invitation(location=text, **more)):
        outcome = ENGINES[kind].evaluate(meeting)
        assert not outcome.failures
        if outcome.match is None or outcome.match.meeting_type == FALLBACK:
            continue
        host = outcome.match.alias.rpartition("@")[2].lower()
        event = MeetingEvent(meeting)
        read = event.body
        seen = (read, read.quoted, event.location, text, more)  # a reader does not see the tags within a word
        given_text = unquote(unquote(f"{seen}")).lower()
        assert host in named_hosts(kind) or host in given_text


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(KINDS).flatmap(
    lambda kind: st.tuples(st.just(kind), damaged(supported()[kind].example, PIECES))))
def test_a_damaged_invitation_never_fails_a_rule_nor_leads_elsewhere(case: tuple[str, str]) -> None:
    check(*case)


@settings(max_examples=200, deadline=None)
@given(damaged("118 092 447 5", PIECES), damaged(CONFERENCE, PIECES))
def test_a_damaged_property_never_fails_a_rule_nor_leads_elsewhere(video_id: str, conference: str) -> None:
    for kind in ("teams", "s4b"):
        for key, value in (("TEAMSVTCCONFERENCEID", video_id), ("ONLINEMEETINGCONFLINK", conference)):
            check(kind, "", properties={"ics": {f"X-MICROSOFT-{key}": value}})


def test_there_are_examples_to_damage() -> None:
    assert all(supported()[kind].example for kind in KINDS)
