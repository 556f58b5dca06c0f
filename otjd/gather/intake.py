"""Intake: what a calendar holds becomes what the endpoints of each profile show."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from twisted.logger import Logger

from otjd.gather.source import Occurrence
from otjd.meetings.cache import Freshness, MeetingCache, UnknownRoomError
from otjd.meetings.model import Invitation, Meeting, Room, meeting_id
from otjd.meetings.presentation import Dial, Policy, is_shown, may_show_text, present, wants_alias
from otjd.rules.engine import Engine, Outcome
from otjd.rules.event import MeetingEvent
from otjd.rules.text import HTML_LIMIT
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
        event = MeetingEvent(invitation)
        outcome = profile.engine.evaluate(event) if wants_alias(invitation, profile.policy) else None
        match = outcome.match if outcome else None
        dial = Dial(match.alias, match.protocol, match.rule) if match else None
        if not is_shown(invitation, dial, profile.policy):
            continue
        text = event.whole_text if with_text and may_show_text(invitation, profile.policy) else ""
        meeting = present(invitation, room.email, dial, profile.policy, profile.replacement, text=text)
        if meeting is not None:
            considered.append(Considered(invitation, meeting, outcome))
    return considered


class Intake:
    """Takes what was read from calendars into the cache, for every profile that shows the room.

    `rule_failed(profile, rule)` is told of each new or changed meeting for which a rule failed.
    """

    _log = Logger()

    def __init__(self, cache: MeetingCache, *, now: Callable[[], datetime], in_thread: InThread,
                 rule_failed: Callable[[str, str], None] = lambda _profile, _rule: None) -> None:
        self._cache = cache
        self._now = now
        self._in_thread = in_thread
        self._profiles: Mapping[str, ProfileRules] = {}
        self._with_text: frozenset[Room] = frozenset()
        self._heard_of: set[tuple[str, str]] = set()
        self._beyond: dict[Room, dict[str, Meeting]] = {}
        self._rule_failed = rule_failed

    def configure(self, profiles: Mapping[str, ProfileRules], with_text: Collection[Room] = ()) -> None:
        """Use these profiles, by name, from the next delivery on; `with_text` are the rooms with an endpoint that
        shows the text of invitations."""
        self._profiles = dict(profiles)
        self._with_text = frozenset(with_text)
        self._beyond = {room: meetings for room, meetings in self._beyond.items() if room in self._cache}

    def rooms(self, integration: str, email: str) -> tuple[Room, ...]:
        """The rooms of the cache that show this calendar of this integration."""
        return tuple(room for room in (Room(email, name) for name, profile in self._profiles.items()
                                       if profile.integration == integration)
                     if room in self._cache)

    def has_heard_of(self, room: Room) -> bool:
        """Whether the calendar of this room was read, or failed to be, since the start."""
        profile = self._profiles.get(room.profile)
        return profile is not None and (profile.integration, room.email) in self._heard_of

    def upcoming(self, integration: str, email: str) -> list[datetime]:
        """When the known meetings of a calendar start, ascending."""
        return sorted({m.start_time for room in self.rooms(integration, email)
                       for m in self._cache.agenda(room).meetings})

    async def deliver(self, integration: str, email: str, invitations: Sequence[Invitation],
                      unchanged: Iterable[Occurrence] = ()) -> None:
        """Take what the calendar `email` of an integration holds now.

        `unchanged` names occurrences that are as they were when they were last delivered: their meetings stay. Of
        a room that was never read nothing can stay, so it waits for its calendar to be delivered whole.
        """
        kept = [meeting_id(email, uid, occurrence) for uid, occurrence in unchanged]
        for room in self.rooms(integration, email):
            profile = self._profiles[room.profile]
            considered = await self._in_thread(consider, room, invitations, profile,
                                               room in self._with_text)
            try:
                if kept and self._cache.agenda(room).freshness is Freshness.NEVER_READ:
                    continue
                self._report(room, considered)
                self._replace(room, [c.meeting for c in considered], kept)
            except UnknownRoomError:
                self._beyond.pop(room, None)
                continue  # taken out of the configuration in the meantime
        self._heard_of.add((integration, email.lower()))

    def _replace(self, room: Room, meetings: Sequence[Meeting], kept: Sequence[str]) -> None:
        """Set the agenda of a room; meetings that it does not reach yet are remembered until it does."""
        now = self._now()
        known = self._beyond.pop(room, {})
        known.update((m.id, m) for m in self._cache.agenda(room).meetings)
        whole = {key: known[key] for key in kept if key in known} | {m.id: m for m in meetings}
        end = self._cache.window(room, now).end
        beyond = {key: meeting for key, meeting in whole.items() if meeting.start_time >= end}
        if beyond:
            self._beyond[room] = beyond
        self._cache.replace(room, whole.values(), now)

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
            if len(item.invitation.body_html or item.invitation.body_text) > HTML_LIMIT:
                self._log.warn("The body of a meeting in {room} has more than {limit} characters: the rest was "
                               "not looked at", room=room.email, meeting=item.meeting.id, limit=HTML_LIMIT)
            for failure in item.outcome.failures:
                self._rule_failed(room.profile, failure.rule)
                self._log.warn("Rule {rule} failed for a meeting in {room}: {reason}", room=room.email,
                               meeting=item.meeting.id, rule=failure.rule, reason=failure.reason)
            body = item.invitation.body_text or item.invitation.body_html
            if item.meeting.alias is None and not body.strip():
                self._log.warn("Could not find an alias for this meeting which had no body. "
                               "This could be a meeting room configuration issue.",
                               room=room.email, meeting=item.meeting.id)
