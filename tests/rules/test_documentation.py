from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from otjd.rules.registry import KNOWN, supported
from otjd.rules_test import Trial, run
from tests.rules.support import alias, match, rule

PAGE = (Path(__file__).parent.parent.parent / "docs" / "rules.md").read_text()


def test_every_type_that_may_be_configured_is_supported() -> None:
    assert set(supported()) == set(KNOWN)


@pytest.mark.parametrize("name", KNOWN)
def test_the_operators_page_tells_of_every_type_its_variables_and_transform(name: str) -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")]
    assert supported()[name].default_transform.replace("|", "\\|") in row
    assert all(f"`{variable}`" in row for variable in supported()[name].variables)


@pytest.mark.parametrize("name", sorted(set(KNOWN) - {"regex", "regex_re2", "custom"}))
def test_a_rule_of_a_type_finds_its_alias_in_the_example_of_the_type(name: str) -> None:
    tried = rule(name, domain="vc.example.com", company_id="company-1")
    example = supported()[name].example_for(tried)
    assert example is not None
    found = match(example, tried)
    assert found is not None
    assert found.meeting_type == name
    assert alias(example) is None, "the fallback needs no rule"


@pytest.mark.parametrize("name", KNOWN)
def test_every_type_says_what_it_looks_for(name: str) -> None:
    assert supported()[name].looks_for


MAIL = b"""\
From: Pat Moe <pat@example.com>
Subject: Planning

Join Zoom Meeting
https://nam12.safelinks.protection.outlook.com/?url=https%3A%2F%2Fus02web.zoom.us%2Fj%2F83017462955%3Fpwd%3DcUpQd1hr\
&data=05&reserved=0

Meeting ID: 830 1746 2955
Passcode: v8Kq2m

Join by H.323
162.255.37.11 (US West)
Meeting ID: 830 1746 2955
Passcode: 041927
"""
RULES = (rule("teams", name="Teams by our CVI", priority=10, domain="video.example.com"),
         rule("zoom", name="Zoom", priority=20, include_pin=True),
         rule("regex", name="Extensions", priority=30, match_string="[0-9]{4}"),
         rule("domain", name="Old rooms", priority=40, domain="old.example.com", enabled=False))


def test_the_operators_page_shows_what_the_rule_tester_prints() -> None:
    written: list[str] = []
    run(RULES, Trial(explain=True), ["zoom.eml"], read=lambda _: MAIL, write=written.append, clock=lambda: 0.0)
    transcript = PAGE.split("--explain zoom.eml\n")[1].split("\n\n")[0]
    assert textwrap.dedent(transcript) == written[0]
