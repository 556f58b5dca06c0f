"""What a rule must have for its meeting type, and what has no effect there."""

from __future__ import annotations

from otjd.config.problems import shown
from otjd.config.reader import Element, Findings
from otjd.config.rooms import Rule

REGULAR_EXPRESSIONS = ("regex", "regex_re2")
NEEDED = {
    "domain": ("domain", "teams"),
    "match_string": REGULAR_EXPRESSIONS,
    "custom_template": ("custom",),
}
"""Keys without which a meeting type cannot work (deployment guide, meeting processing rules)."""

EFFECTIVE = {
    "custom_template": ("custom",),
    "match_string": REGULAR_EXPRESSIONS,
    "replace_string": REGULAR_EXPRESSIONS,
    "company_id": ("teamssipguestjoin", "googlemeetsipguestjoin"),
    "include_pin": ("zoom", "bluejeans"),
}
"""Keys that mean something for some meeting types only."""


def check_rules(findings: Findings) -> None:
    """Check each rule against its meeting type."""
    for rule in findings.of(Rule):
        _needed(findings, rule)
        _effective(findings, rule)


def _needed(findings: Findings, rule: Element[Rule]) -> None:
    meeting_type = rule.value.meeting_type
    for name, types in NEEDED.items():
        if meeting_type in types and not getattr(rule.value, name):
            findings.problem(rule, name, "nothing", f"{name} for meeting_type {shown(meeting_type)}",
                             because_of=("meeting_type",))
    if rule.value.default_processing_enabled or meeting_type == "custom":
        return
    name = "replace_string" if meeting_type in REGULAR_EXPRESSIONS else "transform_rule"
    if not getattr(rule.value, name):
        findings.problem(rule, name, "nothing", f"{name}, because default_processing_enabled is false",
                         "or leave default_processing_enabled away",
                         because_of=("meeting_type", "default_processing_enabled"))


def _effective(findings: Findings, rule: Element[Rule]) -> None:
    value = rule.value
    for name, types in EFFECTIVE.items():
        if getattr(value, name) and value.meeting_type not in types:
            findings.warning(rule, name, f"a value that meeting_type {shown(value.meeting_type)} does not use",
                             f"it with {' and '.join(types)} only", because_of=("meeting_type",))
    if value.transform_rule and value.meeting_type in ("custom", *REGULAR_EXPRESSIONS):
        findings.warning(rule, "transform_rule",
                         f"a value that meeting_type {shown(value.meeting_type)} does not use",
                         "it with the other meeting types only", because_of=("meeting_type",))
    elif value.transform_rule and value.default_processing_enabled:
        findings.warning(rule, "transform_rule", "a value that is not used",
                         "no transform_rule, or default_processing_enabled = false",
                         because_of=("meeting_type", "default_processing_enabled"))
