"""An explanation of what rules made of an invitation, as lines for a terminal of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from otjd.rules.engine import Result
from otjd.rules.explanation import Explanation, Seen, Told, Variable

WIDTH = 80
_SKIPPED = {Result.DISABLED: "skipped, it is disabled", Result.NOT_REACHED: "not reached, an earlier one matched",
            Result.UNSUPPORTED: "skipped, this version does not support its type"}


def printable(text: str) -> str:
    """The text without what could upset a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def explained(told: Explanation) -> Iterator[str]:
    """What was seen, then each rule in its order, then the fallback."""
    yield "  what the rules see:"
    yield from _of_seen(told.seen)
    yield "  the rules in their order:"
    for step in told.steps:
        yield from _of_step(step)


def _of_seen(seen: Seen) -> Iterator[str]:
    body = "none" if seen.body == "none" else f"{seen.body}, {seen.text} characters of text"
    yield from _line(4, "body: ", body + (f", and {seen.quoted} in quoted lines" if seen.quoted else ""))
    yield from _several("link", seen.links)
    if seen.more_links:
        yield from _line(4, "", f"and {seen.more_links} more links")
    yield from _several("rewritten, restored", seen.restored)
    yield from _line(4, "location: ", seen.location or "none")
    yield from _several("property", seen.properties or ("none",))


def _several(what: str, values: Iterable[str]) -> Iterator[str]:
    for value in values:
        yield from _line(4, f"{what}: ", value)


def _of_step(step: Told) -> Iterator[str]:
    name = "fallback" if step.rule is None else f'{step.priority:>3} "{step.rule}" ({step.meeting_type})'
    came = _SKIPPED.get(step.result) or step.alias or ("failed" if step.result is Result.FAILED else "nothing")
    yield from _line(4, f"{name}{' on quoted lines' if step.quoted else ''}: ", came)
    if step.result in _SKIPPED:
        return
    yield from _line(8, "looked at: ", ", ".join(step.looked_in))
    if step.looks_for:
        yield from _line(8, "looked for: ", step.looks_for)
    if step.result is Result.NOTHING:
        yield from _line(8, "why not: ", step.reason)
    for variable in step.variables:
        yield from _of_variable(variable)
    if step.template:
        kind = "default" if step.template_is_default else "its own"
        yield from _line(8, f"template ({kind}): ", " ".join(step.template.split()))
    if step.result is Result.FAILED:
        yield from _line(8, "why: ", step.reason)


def _of_variable(variable: Variable) -> Iterator[str]:
    yield from _line(8, f"{variable.name} = ", variable.value or "(empty)")
    if variable.place:
        yield from _line(12, f"{variable.place}: ", variable.text)


def _line(indent: int, label: str, text: str) -> Iterator[str]:
    """One line, or several where it is longer than a terminal is wide; a link is broken too."""
    yield from textwrap.wrap(printable(f"{label}{text}"), WIDTH, initial_indent=" " * indent,
                             subsequent_indent=" " * (indent + 4), break_on_hyphens=False)
