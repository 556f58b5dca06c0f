"""The rules of a profile: tried in ascending priority, the first that yields an alias wins, then the fallback."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from otjd.meetings.model import DialProtocol, Invitation
from otjd.rules.budget import LimitExceededError
from otjd.rules.event import MeetingEvent
from otjd.rules.fallback import fallback
from otjd.rules.meeting_type import Clock, Finder, Found, MeetingType
from otjd.rules.registry import KNOWN, supported
from otjd.rules.rule import LENGTHS, Rule, RuleError
from otjd.rules.templates import Template, TemplateFailure, compile_template

__all__ = ["FALLBACK", "CompiledRule", "Engine", "Match", "Outcome", "Rule", "RuleError", "RuleFailure",
           "compile_rule", "problems"]

ALIAS_LIMIT = 1000
FALLBACK = "fallback"
"""The `meeting_type` of a match that no rule made."""


@dataclass(frozen=True, slots=True)
class Match:
    """What to dial, and what found it. `rule` is empty for the fallback."""

    alias: str
    protocol: DialProtocol
    rule: str
    meeting_type: str
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RuleFailure:
    """A rule that could not be applied to one meeting, and why."""

    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one invitation: the match, if any, and the rules that failed on the way."""

    match: Match | None
    failures: tuple[RuleFailure, ...] = ()


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule, ready to be applied from any thread."""

    rule: Rule
    find: Finder
    transform: Template | None

    def match(self, event: MeetingEvent) -> Match | None:
        """Apply the rule.

        :raises RuleNotApplied: it failed, or made something that cannot be dialled.
        """
        try:
            found = self.find(event)
            alias = None if found is None else self._alias(found)
        except TimeoutError:
            raise RuleNotApplied("its expression took too long") from None
        except (LimitExceededError, TemplateFailure) as failure:
            raise RuleNotApplied(str(failure)) from None
        except Exception as error:  # whatever an invitation provokes must not stop the other rules
            raise RuleNotApplied(f"{type(error).__name__}: {error}") from error
        if found is None or not alias:
            return None
        if not is_alias(alias):
            raise RuleNotApplied(f"{alias[:100]!r} cannot be dialled: an alias has no blanks and at most "
                                 f"{ALIAS_LIMIT} characters")
        return Match(alias, DialProtocol.SIP, self.rule.name, self.rule.meeting_type, found.variables)

    def _alias(self, found: Found) -> str:
        alias = found.alias
        if alias is None:
            if self.transform is None:
                raise RuleNotApplied(f"{self.rule.meeting_type} has no transform")
            alias = self.transform.render(**found.variables)
        return alias.strip()


class RuleNotApplied(Exception):  # noqa: N818 - says what it means
    """A rule could not be applied to a meeting."""


def is_alias(text: str) -> bool:
    """Whether this can be dialled: 1 to 1,000 characters without blanks, control or invisible characters."""
    return 0 < len(text) <= ALIAS_LIMIT and not any(unicodedata.category(c)[0] in "CZ" for c in text)


class Engine:
    """The enabled rules of one profile. May be used from several threads at a time.

    `unsupported` holds the enabled rules of a type that this version does not know how to read: they are skipped.

    :raises RuleError: a rule cannot be used; see `problems` for all of them.
    """

    def __init__(self, rules: Iterable[Rule], *, clock: Callable[[], float]) -> None:
        enabled = sorted((rule for rule in rules if rule.enabled), key=lambda rule: rule.priority)
        compiled = [(rule, compile_rule(rule, clock=clock)) for rule in enabled]
        self._rules = tuple(c for _, c in compiled if c is not None)
        self.unsupported = tuple(rule for rule, c in compiled if c is None)

    def match(self, invitation: Invitation) -> Match | None:
        """What to dial, or None."""
        return self.evaluate(invitation).match

    def evaluate(self, invitation: Invitation) -> Outcome:
        """What to dial, and which rules failed. Never raises, whatever the invitation holds.

        Quoted lines of the body are looked at after all rules found nothing in the rest, and the fallback after
        that (invitations.md section 4, decisions 2 and 6).
        """
        event = MeetingEvent(invitation)
        quoted = event.quoted
        failures: dict[int, RuleFailure] = {}
        for part in (event, quoted) if quoted else (event,):
            match = self._by_rules(part, failures)
            if match is not None:
                return Outcome(match, tuple(failures.values()))
        address = fallback(event) or (fallback(quoted) if quoted else None)
        found = address if address and is_alias(address[0]) else None
        return Outcome(Match(*found, "", FALLBACK, {}) if found else None, tuple(failures.values()))

    def _by_rules(self, event: MeetingEvent, failures: dict[int, RuleFailure]) -> Match | None:
        for place, compiled in enumerate(self._rules):
            if place in failures:
                continue
            try:
                match = compiled.match(event)
            except RuleNotApplied as failure:
                failures[place] = RuleFailure(compiled.rule.name, str(failure))
            else:
                if match is not None:
                    return match
        return None


def compile_rule(rule: Rule, *, clock: Clock) -> CompiledRule | None:
    """The rule, ready to be applied; None where this version does not support its type yet.

    :raises RuleError: it cannot be used.
    """
    for field, limit in LENGTHS.items():
        if len(getattr(rule, field)) > limit:
            raise RuleError(rule.name, field, f"it has {len(getattr(rule, field))} characters, at most {limit} "
                            "are allowed")
    if rule.meeting_type not in KNOWN:
        near = difflib.get_close_matches(rule.meeting_type, KNOWN, n=1)
        hint = f"; did you mean {near[0]}?" if near else f", expected one of {', '.join(KNOWN)}"
        raise RuleError(rule.name, "meeting_type", f"found {rule.meeting_type!r}, which is no type{hint}")
    meeting_type = supported().get(rule.meeting_type)
    if meeting_type is None:
        return None
    return CompiledRule(rule, meeting_type.prepare(rule, clock), _transform(rule, meeting_type, clock))


def _transform(rule: Rule, meeting_type: MeetingType, clock: Clock) -> Template | None:
    if not meeting_type.default_transform:
        return None
    source = meeting_type.default_transform if rule.default_processing_enabled else rule.transform_rule
    if not source.strip():
        raise RuleError(rule.name, "transform_rule",
                        "it is empty; give it, or set default_processing_enabled to true")
    try:
        return compile_template(source, clock=clock)
    except TemplateFailure as failure:
        raise RuleError(rule.name, "transform_rule", str(failure)) from None


def problems(rules: Iterable[Rule]) -> list[str]:
    """What is wrong with each of these rules, in their order; disabled ones too."""
    found = []
    for rule in rules:
        try:
            compile_rule(rule, clock=lambda: 0.0)
        except RuleError as error:
            found.append(str(error))
    return found
