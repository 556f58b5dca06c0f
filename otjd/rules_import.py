"""`otjd rules import`: meeting processing rules as the vendor's REST API gives them, printed as TOML."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import tomli_w

from otjd.config.model import Rule as RuleConfig
from otjd.config.problems import shown
from otjd.config.reader import Findings, Place, Reader
from otjd.config.rule_checks import check_rules
from otjd.rules.engine import problem_of
from otjd.rules.rule import Rule, RuleError, rule_from_mapping

_DEFAULTS = {f.name: f.default for f in fields(Rule)}
_OF_THE_SERVER = frozenset({"id", "description", "mjx_integration", "resource_uri"})
_URI = re.compile(r"(?:.*/)?mjx_integration/(\d{1,18})/?")


class ImportFailure(ValueError):  # noqa: N818 - what it says
    """A file that is no export; the text says what was found and what is expected."""


@dataclass(frozen=True, slots=True)
class _Imported:
    """A rule of the export, and the id of the profile ("integration") that it belongs to there."""

    rule: Rule
    description: str
    integration: str


def run(content: bytes, profiles: Sequence[str], *, write: Callable[[str], None],
        complain: Callable[[str], object]) -> int:
    """Print the rules of an export as `[[rules]]`; gives the exit code.

    `content` is the answer of the vendor's `mjx_meeting_processing_rule`: an object with `objects`, a list, or one
    rule. `profiles` holds the name of the profile, or `ID=NAME` for each of several: the id is at the end of the
    URI in `mjx_integration`. 0: all can be used here. 1: some cannot, and are named. 2: this is no export.
    """
    names = dict(_named(profile) for profile in profiles)
    told: list[str] = []
    try:
        imported = _imported(content, told)
    except ImportFailure as failure:
        complain(f"otjd rules import: {failure}\n")
        return 2
    if "" not in names:
        told += [f"rules of the profile with id {shown(i)} were left out; name it with --profile {i or 'ID'}=NAME"
                 for i in dict.fromkeys(one.integration for one in imported) if i not in names]
        imported = [one for one in imported if one.integration in names]
    elif len(many := sorted({one.integration for one in imported} - set(names))) > 1:
        told.append(f"the rules are of {len(many)} profiles, with the ids {', '.join(map(shown, many))}; "
                    "name each with --profile ID=NAME")
    of = {id(one): names.get(one.integration, names.get("", "")) for one in imported}
    imported.sort(key=lambda one: (list(names.values()).index(of[id(one)]), one.rule.priority))
    tables = [_table(one, of[id(one)]) for one in imported]
    write("\n".join(f"[[rules]]\n{tomli_w.dumps(table, multiline_strings=True)}" for table in tables))
    told += _problems(tables, [one.rule for one in imported])
    for problem in told:
        complain(f"problem: {problem}\n")
    return 1 if told else 0


def _named(profile: str) -> tuple[str, str]:
    number, equals, name = profile.partition("=")
    return (number, name) if equals and number.isdecimal() else ("", profile)


def _imported(content: bytes, told: list[str]) -> list[_Imported]:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ImportFailure(f"found no JSON ({error}); expected what the REST API answers") from None
    objects = data.get("objects", [data]) if isinstance(data, Mapping) else data
    if not isinstance(objects, list) or not all(isinstance(o, Mapping) for o in objects):
        raise ImportFailure('expected a list of rules, or an object with such a list as "objects"')
    if not any("meeting_type" in o for o in objects):
        raise ImportFailure("found no object with a meeting_type; expected meeting processing rules")
    told += _of_page(data, len(objects))
    return list(_rules(objects, told))


def _of_page(data: Any, count: int) -> Iterator[str]:
    """That the server had more to give."""
    meta = data.get("meta") if isinstance(data, Mapping) else None
    total = meta.get("total_count") if isinstance(meta, Mapping) else None
    if isinstance(total, int) and total > count:
        yield f"the export holds {count} of {total} rules; ask for all of them with ?limit={total}"


def _rules(objects: list[Mapping[str, Any]], told: list[str]) -> Iterator[_Imported]:
    for position, given in enumerate(objects, 1):
        try:
            rule = rule_from_mapping({"default_processing_enabled": True, **given}, position)
        except RuleError as error:
            told.append(str(error))
            continue
        unknown = [name for name in given if name not in _DEFAULTS and name not in _OF_THE_SERVER]
        if unknown:
            told.append(f"rule {shown(rule.name)} has fields that are not known here and were left out: "
                        f"{', '.join(unknown)}")
        description = given.get("description")
        yield _Imported(rule, description if isinstance(description, str) else "",
                        _integration(given.get("mjx_integration")))


def _integration(given: object) -> str:
    """The id of a profile: given as a URI, as a number, or as the whole object."""
    if isinstance(given, Mapping):
        given = given.get("id") or given.get("resource_uri")
    match = _URI.fullmatch(given) if isinstance(given, str) else None
    return match[1] if match else str(given) if isinstance(given, int) else ""


def _table(one: _Imported, profile: str) -> dict[str, Any]:
    rule = one.rule
    values: dict[str, Any] = {"name": rule.name, "profile": profile}
    if one.description:
        values["description"] = one.description
    # the vendor's server fills it in with what default processing does anyway
    unused = {"transform_rule"} if rule.default_processing_enabled else set()
    if rule.default_processing_enabled and not rule.meeting_type.startswith("regex"):
        unused.add("replace_string")
    for name, default in _DEFAULTS.items():
        value = getattr(rule, name)
        if name != "name" and value != default and name not in unused:
            values[name] = value
    return values


def _problems(tables: Sequence[Mapping[str, Any]], rules: Sequence[Rule]) -> Iterator[str]:
    """What `otjd check` would say of them."""
    for table, rule in zip(tables, rules, strict=True):
        findings = _read(table)
        yield from (f"{p.where}: found {p.found}; expected {p.expected}" + (f" ({p.hint})" if p.hint else "")
                    for p in findings.problems)
        problem = None if findings.problems else problem_of(rule)
        if problem is not None:
            yield str(problem)
    times = Counter((table["profile"], table["priority"]) for table in tables)
    for (profile, priority), count in times.items():
        if count > 1:
            same = ", ".join(shown(t["name"]) for t in tables
                             if (t["profile"], t["priority"]) == (profile, priority))
            yield (f"{count} rules of profile {shown(profile)} have priority {priority}; "
                   f"give each one of its own: {same}")


def _read(table: Mapping[str, Any]) -> Findings:
    reader = Reader(Path(), {}, {})
    reader.table(RuleConfig, table, Place(Path(), f"rule {shown(table['name'])}"))
    check_rules(reader.findings)
    return reader.findings
