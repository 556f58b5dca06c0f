"""Rule: how an operator wants the alias of one type of meeting to be found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Rule:
    """One meeting processing rule; the fields, their defaults and limits are those of infinity.md section 4."""

    name: str
    priority: int
    meeting_type: str
    enabled: bool = True
    domain: str = ""
    company_id: str = ""
    include_pin: bool = False
    default_processing_enabled: bool = True
    transform_rule: str = ""
    custom_template: str = ""
    match_string: str = ""
    replace_string: str = ""


class RuleError(ValueError):
    """A rule cannot be used. The text names the rule, the field, what was found and what is expected."""

    def __init__(self, rule: str, field: str, problem: str) -> None:
        super().__init__(f'rule "{rule}", {field}: {problem}')
        self.rule = rule
        self.field = field
        self.problem = problem


LENGTHS = {"name": 250, "domain": 255, "company_id": 36, "transform_rule": 512, "custom_template": 10240,
           "match_string": 250, "replace_string": 250}
"""Characters that a field may hold."""

_TYPES = {f.name: {"str": str, "int": int, "bool": bool}[str(f.type)] for f in fields(Rule)}
_WORDS = {str: "text", int: "a whole number", bool: "true or false"}


def rule_from_mapping(given: Mapping[str, Any], position: int = 1) -> Rule:
    """A rule as JSON gives it, by field names; keys that no rule has are ignored.

    Name and priority may be left out: they are then made of `position`, counted from 1. Where
    `default_processing_enabled` is left out, giving a `replace_string` or a `transform_rule` means that it is to
    be used.

    :raises RuleError: a field has a value of the wrong type, or `meeting_type` is missing.
    """
    name = given.get("name") or f"{given.get('meeting_type', 'rule')} {position}"
    values: dict[str, Any] = {"name": name, "priority": position}
    values["default_processing_enabled"] = not (given.get("replace_string") or given.get("transform_rule"))
    for key, kind in _TYPES.items():
        value = given.get(key)
        if value is None:
            continue
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise RuleError(str(name), key, f"found {value!r}, expected {_WORDS[kind]}")
        values[key] = value
    if "meeting_type" not in values:
        raise RuleError(str(name), "meeting_type", "it is missing; name a type such as domain or regex")
    return Rule(**{**values, "name": str(name)})
