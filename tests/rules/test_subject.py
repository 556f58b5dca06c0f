"""The replaced subject."""

from __future__ import annotations

import pytest

from otjd.meetings.model import Organizer
from otjd.rules.subject import subject_renderer
from otjd.rules.templates import TemplateFailure
from tests.rules.support import invitation

EXTERNAL = """{% set domain = pex_regex_search("@([a-z0-9.-]+.com)", calendar_event.organizer_email) %}
{% if domain[0] != "example.com" %}
  External: {{ calendar_event.subject }}
{% endif %}"""


def rendered(template: str, **more: object) -> str | None:
    render = subject_renderer(template, lambda: 0.0)
    assert render is not None
    return render(invitation(**more))  # type: ignore[arg-type]


def test_the_vendors_examples_work() -> None:
    assert rendered("{{ calendar_event.organizer_full_name }}'s meeting") == "Pat Moe's meeting"
    assert rendered(EXTERNAL, subject="Budget", organizer=Organizer("Kim", "kim@other.com")) == "External: Budget"
    assert rendered(EXTERNAL, subject="Budget") == ""
    assert rendered(EXTERNAL, subject="Budget", organizer=Organizer("Kim", "kim@other.org")) == "External: Budget"


def test_without_a_template_nothing_is_rendered() -> None:
    assert subject_renderer("  ", lambda: 0.0) is None


def test_a_template_that_fails_is_told_from_one_that_renders_nothing() -> None:
    assert rendered("{{ calendar_event.subject }}{{ 1 / 0 }}", subject="secret") is None


def test_a_template_that_does_not_compile_is_refused() -> None:
    with pytest.raises(TemplateFailure, match="line 1"):
        subject_renderer("{{", lambda: 0.0)
