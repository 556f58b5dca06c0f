"""`otjd rules import`: meeting processing rules as the vendor's REST API gives them, printed as TOML."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from itertools import pairwise
from typing import Any

import tomli_w

from otjd.rules.engine import problems
from otjd.rules.rule import Rule, RuleError, rule_from_mapping

_DEFAULTS = {f.name: f.default for f in fields(Rule)}
_WITHOUT_USE = {"transform_rule", "replace_string"}
"""Filled in by the vendor's server with what default processing does anyway."""


class ImportFailure(ValueError):  # noqa: N818 - what it says
    """A file that is no export; the text says what was found and what is expected."""


def run(content: bytes, profile: str, *, write: Callable[[str], None], complain: Callable[[str], object]) -> int:
    """Print the rules of an export as `[[rules]]` of `profile`; gives the exit code.

    `content` is the answer of the vendor's `mjx_meeting_processing_rule`: an object with `objects`, a list, or one
    rule. 0: all can be used here. 1: some cannot, and are named. 2: this is no export.
    """
    try:
        found = list(_rules(content))
    except ImportFailure as failure:
        complain(f"otjd rules import: {failure}\n")
        return 2
    told = [str(problem) for problem in found if isinstance(problem, RuleError)]
    rules = sorted((r for r in found if isinstance(r, Rule)), key=lambda r: r.priority)
    write("\n".join(_toml(rule, profile) for rule in rules))
    told += problems(rules)
    told += [f'rule "{b.name}", priority: found {b.priority}, which rule "{a.name}" has already; give it one of '
             "its own" for a, b in pairwise(rules) if a.priority == b.priority]
    for problem in told:
        complain(f"problem: {problem}\n")
    return 1 if told else 0


def _rules(content: bytes) -> Iterator[Rule | RuleError]:
    try:
        data = json.loads(content)
    except ValueError as error:
        raise ImportFailure(f"found no JSON ({error}); expected what the REST API answers") from None
    objects = data.get("objects", [data]) if isinstance(data, Mapping) else data
    if not isinstance(objects, list) or not all(isinstance(o, Mapping) for o in objects):
        raise ImportFailure('expected a list of rules, or an object with such a list as "objects"')
    if not any("meeting_type" in o for o in objects):
        raise ImportFailure("found no object with a meeting_type; expected meeting processing rules")
    for position, given in enumerate(objects, 1):
        try:
            yield rule_from_mapping({"default_processing_enabled": True, **given}, position)
        except RuleError as error:
            yield error


def _toml(rule: Rule, profile: str) -> str:
    values: dict[str, Any] = {"name": rule.name, "profile": profile}
    for name, default in _DEFAULTS.items():
        value = getattr(rule, name)
        if name != "name" and value != default and not (rule.default_processing_enabled and name in _WITHOUT_USE):
            values[name] = value
    return f"[[rules]]\n{tomli_w.dumps(values, multiline_strings=True)}"
