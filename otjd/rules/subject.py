"""The subject that a profile shows in place of the booked one (`replace_subject_template`)."""

from __future__ import annotations

from collections.abc import Callable

from otjd.meetings.model import Invitation
from otjd.rules.event import MeetingEvent
from otjd.rules.templates import TemplateFailure, compile_template


def subject_renderer(template_source: str,
                     clock: Callable[[], float]) -> Callable[[Invitation], str | None] | None:
    """A function from an invitation to its shown subject; None for an empty template.

    The template sees `calendar_event` as custom rules do. Where it fails, the function gives None, not an
    empty text: a template that fails does not say that the subject may be shown.

    :raises TemplateFailure: it does not compile.
    """
    if not template_source.strip():
        return None
    template = compile_template(template_source, clock=clock)

    def render(invitation: Invitation) -> str | None:
        try:
            return template.render(calendar_event=MeetingEvent(invitation).calendar_event).strip()
        except TemplateFailure:
            return None

    return render
