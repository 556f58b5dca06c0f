"""`otjd rules test`: what a profile's rules make of invitations (contract section 1)."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from otjd.gather.invitation_files import Read, UnreadableInvitationError, read_invitations
from otjd.rules.engine import Engine, Outcome, Rule, RuleError, outcome_of
from otjd.rules.explanation import Explanation, explanation
from otjd.rules.registry import supported
from otjd.rules_explained import explained, printable

EVERY_ONE_HAS_AN_ALIAS, SOME_HAVE_NONE, UNREADABLE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class _Tested:
    """One invitation: what came of it, or why it could not be read."""

    name: str
    outcome: Outcome | None = None
    unsupported: tuple[Rule, ...] = ()
    problem: str = ""
    explanation: Explanation | None = None


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")


@dataclass(frozen=True, slots=True)
class Trial:
    """How rules are to be tried: `rule` names the only one, `explain` asks for every step."""

    rule: str | None = None
    as_json: bool = False
    explain: bool = False


def run(rules: Sequence[Rule], trial: Trial, names: Sequence[str], *,
        read: Callable[[str], bytes], write: Callable[[str], None], clock: Callable[[], float],
        complain: Callable[[str], None] = _to_stderr) -> int:
    """Print alias, rule and variables of each invitation in the order of `names`; give the exit code.

    `rules` are the profile's; with a rule named only that one is tried, disabled or not. An invitation that brings
    rules of its own is tried with those instead. Without `names` each enabled rule is tried alone on the example
    of its type. `read` gives the content of a name and may raise OSError; `write` takes one line of output,
    `complain` one of what does not belong there.

    :returns: 0 every one has an alias, 1 some have none, 2 one is unreadable, or the rules are.
    """
    if trial.rule is not None:
        known = ", ".join(rule.name for rule in rules) or "none"
        rules = [replace(rule, enabled=True) for rule in rules if rule.name == trial.rule]
        if not rules:
            complain(f'otjd: no rule of this profile is named "{trial.rule}"; it has: {known}')
            return UNREADABLE
    try:
        engine = Engine(rules, clock=clock)
    except RuleError as error:
        complain(f"otjd: {error}")
        return UNREADABLE
    code = None
    tests = (tested for name in names for tested in _test(name, engine, trial, read, clock)) if names else (
        _on_examples(engine.rules, trial, clock, complain))
    for tested in tests:
        code = max(code or EVERY_ONE_HAS_AN_ALIAS, _exit_code(tested))
        if trial.as_json:
            write(json.dumps(_as_json(tested, trial)))
            _complain_of(tested, complain)
        else:
            write("\n".join(_described(tested)))
    if code is None:
        complain("otjd: there is nothing to try; give an INVITATION")
        return UNREADABLE
    return code


def _test(name: str, engine: Engine, trial: Trial, read: Callable[[str], bytes],
          clock: Callable[[], float]) -> Iterator[_Tested]:
    try:
        invitations = read_invitations(name, read(name))
    except OSError as error:
        yield _Tested(name, problem=f"{name}: {error.strerror or error}")
        return
    except UnreadableInvitationError as error:
        yield _Tested(name, problem=str(error))
        return
    for number, invitation in enumerate(invitations, 1):
        yield _apply(name if len(invitations) == 1 else f"{name}[{number}]", invitation, engine, trial, clock)


def _apply(name: str, invitation: Read, engine: Engine, trial: Trial, clock: Callable[[], float]) -> _Tested:
    meeting, own_rules = invitation
    if own_rules is not None:
        try:
            engine = Engine(own_rules, clock=clock)
        except RuleError as error:
            return _Tested(name, problem=f"{name}: {error}")
    if not trial.explain:
        return _Tested(name, engine.evaluate(meeting), engine.unsupported)
    steps = engine.explain(meeting)
    return _Tested(name, outcome_of(steps), engine.unsupported, explanation=explanation(meeting, steps))


def _on_examples(rules: Sequence[Rule], trial: Trial, clock: Callable[[], float],
                 complain: Callable[[str], None]) -> Iterator[_Tested]:
    """Each enabled rule alone on the example of its type."""
    for rule in rules:
        meeting_type = supported().get(rule.meeting_type)
        example = meeting_type.example_for(rule) if meeting_type else None
        if not rule.enabled:
            continue
        if example is None:
            complain(f'otjd: rule "{rule.name}" was not tried: type {rule.meeting_type} has no example; '
                     "give an INVITATION")
            continue
        yield _apply(f'the example of "{rule.name}"', (example, None), Engine([rule], clock=clock), trial, clock)


def _exit_code(tested: _Tested) -> int:
    if tested.outcome is None:
        return UNREADABLE
    return SOME_HAVE_NONE if tested.outcome.match is None else EVERY_ONE_HAS_AN_ALIAS


def _as_json(tested: _Tested, trial: Trial) -> dict[str, Any]:
    keys = _of_contract(tested)
    if trial.explain:
        keys["explanation"] = asdict(tested.explanation) if tested.explanation else None
    return keys


def _of_contract(tested: _Tested) -> dict[str, Any]:
    match = tested.outcome.match if tested.outcome else None
    if match is None:
        return {"invitation": tested.name, "alias": None, "protocol": None, "rule": None, "meeting_type": None,
                "variables": {}}
    return {"invitation": tested.name, "alias": match.alias, "protocol": match.protocol.value, "rule": match.rule,
            "meeting_type": match.meeting_type, "variables": dict(match.variables)}


def _notes(tested: _Tested) -> Iterator[str]:
    for rule in tested.unsupported:
        yield f'rule "{rule.name}" was not tried: this version does not support {rule.meeting_type}'
    for failure in tested.outcome.failures if tested.outcome else ():
        yield f'rule "{failure.rule}" failed: {failure.reason}'


def _complain_of(tested: _Tested, complain: Callable[[str], None]) -> None:
    if tested.problem:
        complain(f"otjd: {tested.problem}")
    for note in _notes(tested):
        complain(f"otjd: {tested.name}: {note}")


def _described(tested: _Tested) -> Iterator[str]:
    if tested.outcome is None:
        yield f"unreadable: {tested.problem}"
        return
    match = tested.outcome.match
    if match is None:
        yield f"{tested.name}: no alias"
    else:
        yield f"{tested.name}: {match.alias} ({match.protocol.value})"
        yield f'  rule: "{match.rule}", type {match.meeting_type}' if match.rule else "  rule: none, the fallback"
        yield from (f"  {name}: {printable(value)}" for name, value in match.variables.items())
    if tested.explanation is None:
        yield from (f"  {note}" for note in _notes(tested))
    else:
        yield from explained(tested.explanation)
