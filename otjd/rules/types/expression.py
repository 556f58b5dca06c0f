"""`regex` and `regex_re2`: an expression that the operator wrote (invitations.md section 2.18).

`regex` is searched by the `regex` package under a time limit; `regex_re2` by RE2, in time linear in the text. The
text, each link, the location and then the HTML source are searched in this order.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol

import re2  # type: ignore[import-untyped]  # the package has no type information
import regex

from otjd.rules.budget import Budget, LimitExceededError
from otjd.rules.event import MeetingEvent
from otjd.rules.meeting_type import Clock, Finder, Found, MeetingType, Place
from otjd.rules.positions import position
from otjd.rules.rule import Rule, RuleError
from otjd.rules.text import TEXT_LIMIT

RESULT_LIMIT = 1000
_SAME_AMONG_OTHERS = re.compile(
    r"(?:[^\\^$()\[+*?{}]|\\[dDwWsS.:/@+*?()\[\]{}|-]|\[\^?\]?(?:[^\\\[\]]|\\[dDwWsS.:/@+*?()\[\]{}|-])*+\]|"
    r"\((?:\?:|\?P<\w+>)?(?!\?)|\)|[+*?}](?!\+)|\{)*+")
"""An expression without anchors, boundaries and the like: what it finds in a link it finds in all joined."""

_REFERENCE = re.compile(r"\\(?:(\d{1,2})|g<(\w{1,50})>|(.))", re.DOTALL)


class _Match(Protocol):
    def group(self, reference: int | str = 0, /) -> str | None: ...


Search = Callable[[str, Budget], _Match | None]


class _Expression(Protocol):
    groups: int
    groupindex: Any


def _with_regex(pattern: str) -> tuple[_Expression, Search]:
    compiled = regex.compile(pattern)

    def search(text: str, budget: Budget) -> _Match | None:
        match: _Match | None = compiled.search(text, timeout=budget.remaining_s())
        return match

    return compiled, search


def _with_re2(pattern: str) -> tuple[_Expression, Search]:
    options = re2.Options()
    options.log_errors = False
    compiled = re2.compile(pattern, options)

    def search(text: str, budget: Budget) -> _Match | None:
        budget.remaining_s()
        match: _Match | None = compiled.search(text)
        return match

    return compiled, search


def _preparing(compile_: Callable[[str], tuple[_Expression, Search]],
               invalid: type[Exception]) -> Callable[[Rule, Clock], Finder]:
    def prepare(rule: Rule, clock: Clock) -> Finder:
        if not rule.match_string:
            raise RuleError(rule.name, "match_string", "it is empty; give the expression to search for")
        try:
            expression, search = compile_(rule.match_string)
        except (invalid, RecursionError, OverflowError) as error:
            raise RuleError(rule.name, "match_string", f"found {rule.match_string!r}, which is no valid "
                            f"expression: {_reason(error, rule.match_string)}") from None
        among_others = _SAME_AMONG_OTHERS.fullmatch(rule.match_string) is not None
        replaces = bool(rule.replace_string) or not rule.default_processing_enabled
        if replaces:
            _check_replacement(rule, expression)

        def find(event: MeetingEvent) -> Found | None:
            match = _search(event, search, Budget(clock), among_others=among_others)
            if match is None:
                return None
            whole = match.group(0) or ""
            if len(whole) > TEXT_LIMIT // 10:
                raise LimitExceededError("it matches too much")
            return Found(_variables(match, expression), _expand(rule.replace_string, match) if replaces else whole)

        return find

    return prepare


def _reason(error: Exception, pattern: str) -> str:
    if isinstance(error, regex.error) and error.pos is not None:
        return f"{position(pattern, error.pos)}: {error.msg}"
    text = error.args[0] if error.args else error
    if not isinstance(error, re2.error):
        return str(text)
    reason = _text(text)
    return f"{position(pattern, _offset_in(pattern, reason))}: {reason}"


def _text(given: object) -> str:
    return given.decode("utf-8", "replace") if isinstance(given, bytes) else str(given)


def _offset_in(pattern: str, reason: str) -> int:
    """Where RE2 stumbled: it tells over what, not where. The shortest beginning that is wrong alike ends there."""
    kind, _, culprit = reason.partition(": ")
    for end in range(1, 0 if kind.startswith("missing ") else len(pattern) + 1):
        try:
            _with_re2(pattern[:end])
        except re2.error as error:
            if _text(error.args[0]).startswith(kind):
                return end - len(culprit) if pattern[:end].endswith(culprit) else end - 1
    return len(pattern)


def _search(event: MeetingEvent, search: Search, budget: Budget, *, among_others: bool) -> _Match | None:
    links: tuple[str, ...] = event.body.links
    if among_others and links and search("\n".join(links), budget) is None:
        links = ()
    for place in (event.body.text, *links, event.location, event.body.html[:TEXT_LIMIT]):
        match = search(place, budget)
        if match is not None:
            return match
    return None


def _variables(match: _Match, expression: _Expression) -> dict[str, str]:
    numbered = {str(n): (match.group(n) or "")[:RESULT_LIMIT] for n in range(1, min(expression.groups, 99) + 1)}
    return numbered | {name: (match.group(name) or "")[:RESULT_LIMIT] for name in expression.groupindex}


def _check_replacement(rule: Rule, expression: _Expression) -> None:
    if not rule.replace_string:
        raise RuleError(rule.name, "replace_string",
                        "it is empty; give it, or set default_processing_enabled to true to dial what was matched")
    for reference in _REFERENCE.finditer(rule.replace_string):
        number, name, _ = reference.groups()
        place = position(rule.replace_string, reference.start())
        if number and int(number) > expression.groups:
            raise RuleError(rule.name, "replace_string",
                            f"{place}: it uses group {number}; match_string has {expression.groups}")
        if name and not (name.isdigit() and int(name) <= expression.groups) and name not in expression.groupindex:
            raise RuleError(rule.name, "replace_string",
                            f"{place}: it uses group {name!r}, which match_string does not have")


def _expand(replacement: str, match: _Match) -> str:
    """The replacement with `\\1`, `\\g<1>` and `\\g<name>` filled in; a group that took no part gives nothing."""
    def fill(reference: re.Match[str]) -> str:
        number, name, other = reference.groups()
        if other:
            return str(other)
        key = number or name
        return (match.group(int(key) if key.isdigit() else key) or "")[:RESULT_LIMIT]
    return _REFERENCE.sub(fill, replacement)


_PLACES = (Place.BODY, Place.LOCATION)
_LOOKS_FOR = "what match_string matches in the text, a link, the location or the HTML source"
TYPES = (
    MeetingType("regex", _preparing(_with_regex, regex.error), looks_in=_PLACES, looks_for=_LOOKS_FOR),
    MeetingType("regex_re2", _preparing(_with_re2, re2.error), looks_in=_PLACES, looks_for=_LOOKS_FOR),
)
