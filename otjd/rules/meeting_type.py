"""MeetingType: what a module in `otjd.rules.types` has to give.

To add a type, add a module there that sets `TYPE` to a MeetingType, or `TYPES` to several. Most need no more than
a function that looks for the variables in one event, and the transform that makes the alias of them:

    TYPE = MeetingType("pexipservice", by(find), variables=("meeting_id", "domain"),
                       default_transform="{{meeting_id}}@pexip.me")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from otjd.meetings.model import Invitation
from otjd.rules.event import MeetingEvent
from otjd.rules.rule import Rule

_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)

Clock = Callable[[], float]
"""Gives monotonic seconds."""


class Place(StrEnum):
    """Where a type looks."""

    BODY = "body"
    LOCATION = "location"
    PROPERTIES = "properties"


@dataclass(frozen=True, slots=True)
class Found:
    """The variables of a meeting. `alias` is set by types that make it themselves, without a transform."""

    variables: Mapping[str, str]
    alias: str | None = None


Finder = Callable[[MeetingEvent], Found | None]
"""Looks at one event; None where it is no meeting of this type. An exception fails the rule for this meeting."""

Prepare = Callable[[Rule, Clock], Finder]
"""Makes a rule's Finder once. Raises RuleError where the rule cannot work."""


@dataclass(frozen=True, slots=True)
class MeetingType:
    """One type of meeting, by the machine name of `meeting_type`."""

    name: str
    prepare: Prepare
    variables: tuple[str, ...] = ()
    looks_in: tuple[Place, ...] = (Place.BODY,)
    signs: tuple[str, ...] = ()
    """RE2 expressions in lower case, one of which is in every invitation of this type: see `otjd.rules.signs`.

    Empty for types that may find something in any.
    """
    default_transform: str = ""
    """A template over the variables; empty for types that make the alias themselves."""
    looks_for: str = ""
    """What it needs to find, for people who wonder why a rule gave nothing; `{domain}` is that of the rule."""
    example: str = ""
    """The text of an invitation of this type, invented, in the layout of the provider, for trying a rule.

    `{domain}` in it stands for the domain of the rule.
    """
    example_properties: Mapping[str, str] = field(default_factory=dict)
    """The properties of that invitation, by the keys of `calendar_event.properties`."""

    def example_for(self, rule: Rule) -> Invitation | None:
        """The example as an invitation for this rule; None where the type has none."""
        if not self.example:
            return None
        return Invitation(uid="example", start_time=_NO_TIME, end_time=_NO_TIME,
                          body_text=self.example.replace("{domain}", rule.domain),
                          properties=self.example_properties)


def by(find: Callable[[MeetingEvent, Rule], Mapping[str, str] | None]) -> Prepare:
    """A `prepare` for types that need nothing but a function from event and rule to variables."""
    def prepare(rule: Rule, _: Clock) -> Finder:
        def finder(event: MeetingEvent) -> Found | None:
            variables = find(event, rule)
            return None if variables is None else Found(variables)
        return finder
    return prepare
