from __future__ import annotations

from pathlib import Path

import pytest

from otjd.rules.registry import KNOWN, supported
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
