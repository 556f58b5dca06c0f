"""`custom`: a template over the whole event makes the alias (vendor's deployment guide, custom meeting type)."""

from __future__ import annotations

from otjd.rules.event import MeetingEvent
from otjd.rules.meeting_type import Clock, Finder, Found, MeetingType, Place
from otjd.rules.rule import Rule, RuleError
from otjd.rules.templates import TemplateFailure, compile_template


def _prepare(rule: Rule, clock: Clock) -> Finder:
    if not rule.custom_template.strip():
        raise RuleError(rule.name, "custom_template", "it is empty; give the template that makes the alias")
    try:
        template = compile_template(rule.custom_template, clock=clock)
    except TemplateFailure as failure:
        raise RuleError(rule.name, "custom_template", str(failure)) from None

    def find(event: MeetingEvent) -> Found | None:
        alias = template.render(calendar_event=event.calendar_event).strip()
        return Found({}, alias) if alias else None

    return find


TYPE = MeetingType("custom", _prepare, looks_in=(Place.BODY, Place.LOCATION, Place.PROPERTIES),
                   looks_for="what custom_template makes of the event")
