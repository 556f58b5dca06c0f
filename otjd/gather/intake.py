"""Intake: what a calendar holds becomes what the endpoints of each profile show."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from twisted.logger import Logger

from otjd.meetings.cache import MeetingCache, UnknownRoomError
from otjd.meetings.model import Invitation, Meeting, Room
from otjd.meetings.presentation import Dial, Policy, is_shown, may_show_text, present, wants_alias
from otjd.rules.engine import Engine, Outcome
from otjd.rules.text import whole_text
from otjd.seam import InThread


@dataclass(frozen=True, slots=True)
class ProfileRules:
    """What a profile makes of an invitation."""

    integration: str
    policy: Policy
    engine: Engine
    replacement: Callable[[Invitation], str | None] | None = None


@dataclass(frozen=True, slots=True)
class Considered:
    """One shown invitation: the meeting that came of it and what the rules had to say."""

    invitation: Invitation
    meeting: Meeting
    outcome: Outcome | None


def consider(room: Room, invitations: Sequence[Invitation], profile: ProfileRules,
             with_text: bool = False) -> list[Considered]:
    """Apply the rules and the policy of a profile; safe to run in a thread. Meetings get the text of their
    invitation only `with_text`."""
    considered = []
    for invitation in invitations:
        if invitation.is_cancelled:
            continue
        outcome = profile.engine.evaluate(invitation) if wants_alias(invitation, profile.policy) else None
        match = outcome.match if outcome else None
        dial = Dial(match.alias, match.protocol, match.rule) if match else None
        if not is_shown(invitation, dial, profile.policy):
            continue
        text = whole_text(invitation) if with_text and may_show_text(invitation, profile.policy) else ""
        meeting = present(invitation, room.email, dial, profile.policy, profile.replacement, text=text)
        if meeting is not None:
            considered.append(Considered(invitation, meeting, outcome))
    return considered


class Intake:
    """Takes what was read from calendars into the cache, for every profile that shows the room."""

    _log = Logger()

    def __init__(self, cache: MeetingCache, *, now: Callable[[], datetime], in_thread: InThread) -> None:
        self._cache = cache
        self._now = now
        self._in_thread = in_thread
        self._profiles: Mapping[str, ProfileRules] = {}
        self._with_text: frozenset[Room] = frozenset()
        self._heard_of: set[tuple[str, str]] = set()

    def configure(self, profiles: Mapping[str, ProfileRules], with_text: Collection[Room] = ()) -> None:
        """Use these profiles, by name, from the next delivery on; `with_text` are the rooms with an endpoint that
        shows the text of invitations."""
        self._profiles = dict(profiles)
        self._with_text = frozenset(with_text)

    def rooms(self, integration: str, email: str) -> tuple[Room, ...]:
        """The rooms of the cache that show this calendar of this integration."""
        return tuple(room for room in (Room(email, name) for name, profile in self._profiles.items()
                                       if profile.integration == integration)
                     if room in self._cache)

    def has_heard_of(self, room: Room) -> bool:
        """Whether the calendar of this room was read, or failed to be, since the start."""
        profile = self._profiles.get(room.profile)
        return profile is not None and (profile.integration, room.email) in self._heard_of

    async def deliver(self, integration: str, email: str, invitations: Sequence[Invitation]) -> None:
        """Take what the calendar `email` of an integration holds now, whole."""
        for room in self.rooms(integration, email):
            profile = self._profiles[room.profile]
            considered = await self._in_thread(consider, room, invitations, profile,
                                               room in self._with_text)
            try:
                self._report(room, considered)
                self._cache.replace(room, [c.meeting for c in considered], self._now())
            except UnknownRoomError:
                continue  # taken out of the configuration in the meantime
        self._heard_of.add((integration, email.lower()))

    def failed(self, integration: str, email: str, _error: str) -> None:
        """A calendar could not be read: what is known of it is stale. The gatherer has said why."""
        for room in self.rooms(integration, email):
            self._cache.mark_stale(room)
        self._heard_of.add((integration, email.lower()))

    def _report(self, room: Room, considered: Sequence[Considered]) -> None:
        """Log what the operator should know of meetings that are new or changed."""
        known = {m.change_key for m in self._cache.agenda(room).meetings}
        for item in considered:
            if item.meeting.change_key in known or item.outcome is None:
                continue
            for failure in item.outcome.failures:
                self._log.warn("Rule {rule} failed for a meeting in {room}: {reason}", room=room.email,
                               meeting=item.meeting.id, rule=failure.rule, reason=failure.reason)
            body = item.invitation.body_text or item.invitation.body_html
            if item.meeting.alias is None and not body.strip():
                self._log.warn("Could not find an alias for this meeting which had no body. "
                               "This could be a meeting room configuration issue.",
                               room=room.email, meeting=item.meeting.id)
