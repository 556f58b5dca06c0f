"""What the rules saw of an invitation, and why each of them gave what it gave: for people who try rules out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from otjd.meetings.model import Invitation
from otjd.rules.engine import FALLBACK, Result, Step
from otjd.rules.event import MeetingEvent
from otjd.rules.meeting_type import Place
from otjd.rules.registry import supported
from otjd.rules.rule import Rule

LINKS_SHOWN = 20
EXCERPT_LIMIT = 200
"""Characters of a line, a link or a property that are shown."""

_VALUE_LIMIT = 100
_BETWEEN = r"[\s\u00a0-]{0,2}"
"""Ids are printed in groups."""

_ADDRESSES = "a sip:, sips: or h323: address"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the rules have to look at. Counts are in characters; `restored` are links that were rewritten."""

    properties: tuple[str, ...]
    body: str
    text: int
    quoted: int
    links: tuple[str, ...]
    more_links: int
    restored: tuple[str, ...]
    location: str


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable, and where its value stands: a place and the line there; empty where it was computed."""

    name: str
    value: str
    place: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """One step, explained. `rule` and `priority` are None for the fallback."""

    rule: str | None
    priority: int | None
    meeting_type: str
    result: Result
    quoted: bool
    looked_in: tuple[str, ...]
    looks_for: str
    variables: tuple[Variable, ...]
    template: str
    template_is_default: bool
    alias: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was seen, and every rule in its order with the fallback at the end."""

    seen: Seen
    steps: tuple[Told, ...]


def explanation(invitation: Invitation, steps: Iterable[Step]) -> Explanation:
    """The steps of `Engine.explain` for this invitation, explained."""
    event = MeetingEvent(invitation)
    return Explanation(_seen(event), tuple(_told(event, step) for step in steps))


def _seen(event: MeetingEvent) -> Seen:
    body, quoted = event.body, event.quoted
    return Seen(properties=tuple(f"{name}: {_excerpt(_plain(value))}" for name, value in event.properties.items()),
                body="HTML" if body.html else "text" if body.text else "none",
                text=len(body.text), quoted=len(quoted.body.text) if quoted else 0,
                links=tuple(map(_excerpt, body.links[:LINKS_SHOWN])),
                more_links=max(0, len(body.links) - LINKS_SHOWN),
                restored=tuple(map(_excerpt, event.restored_links[:LINKS_SHOWN])), location=event.location)


def _told(event: MeetingEvent, step: Step) -> Told:
    rule = step.rule
    looked_at = (event.quoted if step.quoted else None) or event
    return Told(
        rule=rule.name if rule else None, priority=rule.priority if rule else None,
        meeting_type=rule.meeting_type if rule else FALLBACK, result=step.result, quoted=step.quoted,
        looked_in=tuple(map(str, step.looks_in)), looks_for=_looks_for(rule) if rule else _ADDRESSES,
        variables=tuple(_variable(looked_at, step.looks_in, *pair) for pair in step.variables.items()),
        template=_template(step),
        template_is_default=bool(step.template and rule and rule.default_processing_enabled),
        alias=step.match.alias if step.match else None, reason=_reason(looked_at, step))


def _template(step: Step) -> str:
    """What made the alias, or failed to: for the types that an operator writes himself it is his own text."""
    rule = step.rule
    if step.template or rule is None or step.result not in (Result.MATCHED, Result.NOTHING, Result.FAILED):
        return step.template if step.variables else ""
    return rule.custom_template or (rule.replace_string if rule.meeting_type.startswith("regex") else "")


def _looks_for(rule: Rule) -> str:
    known = supported().get(rule.meeting_type)
    looks_for = known.looks_for.replace("{domain}", rule.domain) if known else ""
    return f"{looks_for}: {rule.match_string}" if rule.match_string else looks_for


def _reason(event: MeetingEvent, step: Step) -> str:
    if step.result is not Result.NOTHING:
        return step.reason
    if step.variables and step.template:
        return "its template makes nothing of these variables"
    if step.rule is not None and not step.template and step.rule.custom_template:
        return "its template makes nothing of this invitation"
    filled = {Place.BODY: bool(event.body.text or event.body.links), Place.LOCATION: bool(event.location),
              Place.PROPERTIES: bool(event.properties)}
    empty = [place for place in step.looks_in if not filled[place]]
    if empty != list(step.looks_in):
        return "there is none of it"
    listed = " and no ".join(map(str, empty))
    hint = "; a room's calendar may have deleted the body" if Place.BODY in empty else ""
    return f"the invitation has no {listed}{hint}"


def _variable(event: MeetingEvent, looks_in: Iterable[Place], name: str, value: str) -> Variable:
    if not value or len(value) > _VALUE_LIMIT:
        return Variable(name, value[:EXCERPT_LIMIT])
    spaced = re.compile(_BETWEEN.join(map(re.escape, value)), re.IGNORECASE)
    for place, text in _texts(event, looks_in):
        match = spaced.search(text)
        if match is not None:
            begin = text.rfind("\n", 0, match.start()) + 1
            end = text.find("\n", match.end())
            return Variable(name, value, place, _excerpt(text[begin:end if end >= 0 else None]))
    return Variable(name, value)


def _texts(event: MeetingEvent, looks_in: Iterable[Place]) -> Iterator[tuple[str, str]]:
    """The texts in which a value may stand, each with the name of its place."""
    for place in looks_in:
        if place is Place.PROPERTIES:
            yield from ((f"property {name}", _plain(value)) for name, value in event.properties.items())
        elif place is Place.LOCATION:
            yield "location", event.location
        else:
            yield "body", event.body.text
            rewritten = set(event.restored_links)
            yield from (("restored link" if link in rewritten else "link", link) for link in event.body.links)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= EXCERPT_LIMIT else f"{line[:EXCERPT_LIMIT]}…"
