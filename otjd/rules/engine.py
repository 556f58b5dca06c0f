"""The rules of a profile: tried in ascending priority, the first that yields an alias wins, then the fallback."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from otjd.meetings.model import DialProtocol, Invitation
from otjd.rules.budget import LimitExceededError
from otjd.rules.event import MeetingEvent
from otjd.rules.fallback import FALLBACK, fallback
from otjd.rules.meeting_type import Clock, Finder, Found, Place
from otjd.rules.registry import KNOWN, may_be_of, supported
from otjd.rules.rule import LENGTHS, Rule, RuleError
from otjd.rules.templates import Template, TemplateFailure, compile_template

__all__ = ["FALLBACK", "CompiledRule", "Engine", "Match", "Outcome", "Result", "Rule", "RuleError", "RuleFailure",
           "Step", "compile_rule", "problems"]

ALIAS_LIMIT = 1000


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


class Result(StrEnum):
    """What came of a rule, or of the fallback, for one invitation."""

    MATCHED = "matched"
    NOTHING = "nothing"
    FAILED = "failed"
    DISABLED = "disabled"
    UNSUPPORTED = "unsupported"
    NOT_REACHED = "not reached"


@dataclass(frozen=True, slots=True)
class Step:
    """One rule, tried on one invitation or passed over; without a `rule`, the fallback.

    `quoted` says that the quoted lines of the body were looked at in place of the rest. `variables` may be there
    without a match: they were found, and the template failed or made nothing of them. `template` is the one that
    makes the alias of them, empty for types that make it themselves. `reason` says why a rule failed.
    """

    rule: Rule | None
    result: Result
    looks_in: tuple[Place, ...] = ()
    quoted: bool = False
    match: Match | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    template: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule, ready to be applied from any thread."""

    rule: Rule
    find: Finder
    looks_in: tuple[Place, ...] = ()
    template: str = ""
    transform: Template | None = None
    _nothing: tuple[Step, Step] = field(init=False, repr=False)
    """The step where nothing was found, as most often: on own and on quoted lines."""

    def __post_init__(self) -> None:
        own, quoted = (Step(self.rule, Result.NOTHING, self.looks_in, quoted, template=self.template)
                       for quoted in (False, True))
        object.__setattr__(self, "_nothing", (own, quoted))

    def apply(self, event: MeetingEvent, *, quoted: bool = False) -> Step:
        """What this rule makes of an event. Never raises, whatever the event holds."""
        found = match = None
        reason = ""
        try:
            found = self.find(event) if may_be_of(event, self.rule.meeting_type) else None
            if found is None:
                return self._nothing[quoted]
            match = self._match(found)
        except TimeoutError:
            reason = "its expression took too long"
        except (RuleNotApplied, LimitExceededError, TemplateFailure) as failure:
            reason = str(failure)
        except Exception as error:  # whatever an invitation provokes must not stop the other rules
            reason = f"{type(error).__name__}: {error}"
        result = Result.FAILED if reason else Result.MATCHED if match else Result.NOTHING
        return Step(self.rule, result, self.looks_in, quoted, match, found.variables if found else {},
                    self.template, reason)

    def _match(self, found: Found) -> Match | None:
        alias = self._alias(found)
        if not alias:
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
        self.rules = tuple(sorted(rules, key=lambda rule: rule.priority))
        compiled = [(rule, compile_rule(rule, clock=clock)) for rule in self.rules if rule.enabled]
        self._rules = tuple(c for _, c in compiled if c is not None)
        self.unsupported = tuple(rule for rule, c in compiled if c is None)

    def match(self, invitation: Invitation) -> Match | None:
        """What to dial, or None."""
        return self.evaluate(invitation).match

    def evaluate(self, invitation: Invitation | MeetingEvent) -> Outcome:
        """What to dial, and which rules failed. Never raises, whatever the invitation holds."""
        event = invitation if isinstance(invitation, MeetingEvent) else MeetingEvent(invitation)
        return outcome_of(self._steps(event))

    def explain(self, invitation: Invitation) -> tuple[Step, ...]:
        """Every rule in its order with what came of it, those that were skipped too; the fallback is the last.

        Rules that were tried once more on the quoted lines of the body come a second time, before the fallback.
        `outcome_of` makes of the steps what `evaluate` gives.
        """
        steps = list(self._steps(MeetingEvent(invitation)))
        tried = {id(step.rule): step for step in steps if step.rule is not None and not step.quoted}
        last = [step for step in steps if step.quoted or step.rule is None]
        if steps[-1].rule is not None:
            last.append(Step(None, Result.NOT_REACHED))
        return (*(tried.get(id(rule)) or self._passed_over(rule) for rule in self.rules), *last)

    def _passed_over(self, rule: Rule) -> Step:
        if not rule.enabled:
            return Step(rule, Result.DISABLED)
        return Step(rule, Result.UNSUPPORTED if rule in self.unsupported else Result.NOT_REACHED)

    def _steps(self, event: MeetingEvent) -> Iterator[Step]:
        """The rules as they are tried, up to the one that matches; when none does, the fallback.

        Quoted lines of the body are looked at after all rules found nothing in the rest, and the fallback after
        that (invitations.md section 4, decisions 2 and 6).
        """
        failed = set()
        for place, compiled in enumerate(self._rules):
            step = compiled.apply(event)
            yield step
            if step.match is not None:
                return
            if step.result is Result.FAILED:
                failed.add(place)
        quoted = event.quoted
        if quoted is not None:
            for place, compiled in enumerate(self._rules):
                if place not in failed:
                    step = compiled.apply(quoted, quoted=True)
                    yield step
                    if step.match is not None:
                        return
        yield _fall_back(event, quoted)


def _fall_back(event: MeetingEvent, quoted: MeetingEvent | None) -> Step:
    address = fallback(event) if may_be_of(event, FALLBACK) else None
    from_quoted = address is None and quoted is not None
    if from_quoted and quoted is not None and may_be_of(quoted, FALLBACK):
        address = fallback(quoted)
    match = Match(*address, "", FALLBACK, {}) if address and is_alias(address[0]) else None
    result = Result.MATCHED if match else Result.NOTHING
    return Step(None, result, (Place.BODY, Place.LOCATION), from_quoted, match)


def outcome_of(steps: Iterable[Step]) -> Outcome:
    """What came of an invitation, by the steps that were taken."""
    failures: list[RuleFailure] = []
    match = None
    for step in steps:
        if step.rule is not None and step.result is Result.FAILED:
            failures.append(RuleFailure(step.rule.name, step.reason))
        match = step.match or match
    return Outcome(match, tuple(failures))


def compile_rule(rule: Rule, *, clock: Clock) -> CompiledRule | None:
    """The rule, ready to be applied; None where this version does not support its type yet.

    :raises RuleError: it cannot be used.
    """
    for name, limit in LENGTHS.items():
        if len(getattr(rule, name)) > limit:
            raise RuleError(rule.name, name, f"it has {len(getattr(rule, name))} characters, at most {limit} "
                            "are allowed")
    if rule.meeting_type not in KNOWN:
        near = difflib.get_close_matches(rule.meeting_type, KNOWN, n=1)
        hint = f"; did you mean {near[0]}?" if near else f", expected one of {', '.join(KNOWN)}"
        raise RuleError(rule.name, "meeting_type", f"found {rule.meeting_type!r}, which is no type{hint}")
    meeting_type = supported().get(rule.meeting_type)
    if meeting_type is None:
        return None
    find = meeting_type.prepare(rule, clock)
    if not meeting_type.default_transform:
        return CompiledRule(rule, find, meeting_type.looks_in)
    source = meeting_type.default_transform if rule.default_processing_enabled else rule.transform_rule
    return CompiledRule(rule, find, meeting_type.looks_in, source, _transform(rule, source, clock))


def _transform(rule: Rule, source: str, clock: Clock) -> Template:
    if not source.strip():
        raise RuleError(rule.name, "transform_rule",
                        "it is empty; give it, or set default_processing_enabled to true")
    try:
        return compile_template(source, clock=clock)
    except TemplateFailure as failure:
        raise RuleError(rule.name, "transform_rule", str(failure)) from None


def problems(rules: Iterable[Rule]) -> list[str]:
    """What is wrong with each of these rules, in their order; disabled ones too."""
    return [str(problem) for problem in map(problem_of, rules) if problem is not None]


def problem_of(rule: Rule) -> RuleError | None:
    """What is wrong with a rule, if anything."""
    try:
        compile_rule(rule, clock=lambda: 0.0)
    except RuleError as error:
        return error
    return None
