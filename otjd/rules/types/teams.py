"""`teams`: a Teams meeting by the video id in the properties of the event (invitations.md section 2.3).

The body is not looked at: the ids in it may be those of another tenant, or for telephones.
"""

from __future__ import annotations

import re

from otjd.rules.event import MeetingEvent
from otjd.rules.meeting_type import Clock, Finder, Found, MeetingType, Place
from otjd.rules.patterns import ungrouped
from otjd.rules.rule import Rule, RuleError

_DOMAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,253}[A-Za-z0-9])?")
_ID = re.compile(r"[0-9]{6,16}")


def _prepare(rule: Rule, _: Clock) -> Finder:
    domain = rule.domain.strip().strip(".@")
    if not domain:
        raise RuleError(rule.name, "domain", "it is empty; name the domain at which Teams meetings are dialled")
    if not _DOMAIN.fullmatch(domain):
        raise RuleError(rule.name, "domain", f"found {rule.domain!r}, expected a domain such as teams.example.com")

    def find(event: MeetingEvent) -> Found | None:
        given = event.properties.get("teams_vtc_conference_id")
        meeting_id = ungrouped(given) if isinstance(given, str) else ""
        return Found({"meeting_id": meeting_id, "domain": domain}) if _ID.fullmatch(meeting_id) else None

    return find


TYPE = MeetingType("teams", _prepare, variables=("meeting_id", "domain"), looks_in=(Place.PROPERTIES,),
                   default_transform="{{meeting_id}}@{{domain}}",
                   looks_for="the property TeamsVtcConferenceId",
                   example_properties={"teams_vtc_conference_id": "1180924475"},
                   example="""\
Microsoft Teams meeting
Join on your computer, mobile app or room device
Meeting ID: 241 772 905 113
""")
