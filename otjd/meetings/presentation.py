"""What a profile lets an endpoint show of an invitation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from otjd.meetings.model import DialProtocol, Invitation, Meeting, meeting_id

SUBJECT_LIMIT = 1000
"""Characters of a subject that are kept (protocols: status resource `mjx_meeting`)."""


INVITATION_TEXT_LIMIT = 20_000
"""Characters of an invitation's text that are kept, where an endpoint is to show it."""


class ReplaceSubject(StrEnum):
    """Whose subjects are replaced (`replace_subject_type`)."""

    ALL = "ALL"
    NEVER = "NEVER"
    PRIVATE = "PRIVATE"


@dataclass(frozen=True, slots=True)
class Policy:
    """The part of a profile that decides what is shown, with the defaults of the configuration."""

    enable_non_video_meetings: bool = True
    enable_private_meetings: bool = True
    process_alias_private_meetings: bool = True
    replace_subject_type: ReplaceSubject = ReplaceSubject.PRIVATE
    replace_empty_subject: bool = True


@dataclass(frozen=True, slots=True)
class Dial:
    """What to dial, and the name of the rule that found it."""

    alias: str
    protocol: DialProtocol = DialProtocol.SIP
    rule: str = ""


def wants_alias(invitation: Invitation, policy: Policy) -> bool:
    """Whether the rules need to look at this invitation at all."""
    return not invitation.is_private or policy.process_alias_private_meetings


def is_shown(invitation: Invitation, dial: Dial | None, policy: Policy) -> bool:
    """Whether an endpoint gets to see this invitation."""
    if invitation.is_cancelled:
        return False
    if invitation.is_private:
        if not policy.enable_private_meetings:
            return False
        if not policy.process_alias_private_meetings:
            return True  # shown with its Join button disabled, by the operator's wish
    return dial is not None or policy.enable_non_video_meetings


def may_show_text(invitation: Invitation, policy: Policy) -> bool:
    """Whether an endpoint may be given the text of this invitation.

    That of a private one only where the profile hides nothing else of it: its subject would give away less.
    """
    return not invitation.is_private or (
        policy.process_alias_private_meetings and policy.replace_subject_type is ReplaceSubject.NEVER)


def shown_subject(invitation: Invitation, policy: Policy,
                  replacement: Callable[[Invitation], str | None] | None = None) -> str:
    """The subject to show, on one line, cut at 1,000 characters.

    `replacement` renders the profile's template; without one, and where it fails (None), the organizer's name
    replaces the subject. A template that renders nothing leaves the subject of a meeting that is not private as it
    is (vendor's deployment guide, "External:" example).
    """
    subject = invitation.subject
    if policy.replace_subject_type is ReplaceSubject.ALL or (
            policy.replace_subject_type is ReplaceSubject.PRIVATE and invitation.is_private):
        rendered = replacement(invitation) if replacement else None
        if rendered and rendered.strip():
            subject = rendered
        elif rendered is None or invitation.is_private:
            subject = invitation.organizer.display_name
    if not subject.strip() and policy.replace_empty_subject:
        subject = invitation.organizer.display_name
    return " ".join(subject.split())[:SUBJECT_LIMIT]


def present(invitation: Invitation, room_email: str, dial: Dial | None, policy: Policy,
            replacement: Callable[[Invitation], str | None] | None = None, *, text: str = "") -> Meeting | None:
    """The meeting that endpoints of the room show; None where the profile hides the invitation.

    `text` is that of the invitation where an endpoint of the room is to show it; see `may_show_text`.
    """
    if dial is not None and not wants_alias(invitation, policy):
        dial = None
    if not is_shown(invitation, dial, policy):
        return None
    return Meeting(
        id=meeting_id(room_email, invitation.uid, invitation.occurrence),
        uid=invitation.uid,
        occurrence=invitation.occurrence,
        start_time=invitation.start_time,
        end_time=invitation.end_time,
        subject=shown_subject(invitation, policy, replacement),
        organizer=invitation.organizer,
        alias=dial.alias if dial else None,
        dial_protocol=dial.protocol if dial else DialProtocol.SIP,
        matched_rule=dial.rule if dial else "",
        is_private=invitation.is_private,
        is_all_day=invitation.is_all_day,
        item_type=invitation.item_type,
        free_busy=invitation.free_busy,
        created_time=invitation.created_time,
        last_modified_time=invitation.last_modified_time,
        invitation_text=text[:INVITATION_TEXT_LIMIT] if may_show_text(invitation, policy) else "",
    )
