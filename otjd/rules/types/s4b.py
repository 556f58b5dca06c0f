"""`s4b`: a Skype for Business meeting by its conference URI in the properties (invitations.md section 2.12).

The body is not used: a part of its link may be a tenant's short name instead of a SIP domain (section 4, 5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from otjd.rules.event import MeetingEvent
from otjd.rules.meeting_type import MeetingType, Place, by
from otjd.rules.patterns import DOMAIN, is_domain
from otjd.rules.rule import Rule

_LINK_LIMIT = 2000
_CONFERENCE = re.compile(
    rf"\s{{0,5}}<?(?:conf:)?sips?:([A-Za-z0-9._+~!'*=$&-]{{1,100}})@({DOMAIN});(?:[^;?\s]{{1,200}};){{0,5}}"
    r"opaque=app:conf:focus:id:([A-Za-z0-9]{8})(?![A-Za-z0-9:._-])", re.IGNORECASE)


def find(event: MeetingEvent, _: Rule) -> Mapping[str, str] | None:
    """Organizer and focus id of OnlineMeetingConfLink; None for the one that Teams sets."""
    given = event.properties.get("online_meeting_conf_link")
    if not isinstance(given, str):
        return None
    link = given[:_LINK_LIMIT].replace("\\;", ";").replace("%3F", "?").replace("%3f", "?")
    match = _CONFERENCE.match(link)
    if match is None or not is_domain(match[2]):
        return None
    return {"focus_id": match[3], "user": match[1], "domain": match[2]}


TYPE = MeetingType("s4b", by(find), variables=("focus_id", "user", "domain"), looks_in=(Place.PROPERTIES,),
                   default_transform="__sfb__{{focus_id}}.{{user}}@{{domain}}",
                   looks_for="the property OnlineMeetingConfLink with a conference of Skype for Business",
                   example_properties={
                       "online_meeting_conf_link": "conf:sip:pat.moe@example.com;gruu;opaque=app:conf:focus:id:"
                                                   "7Q3ZHF6K?conversation-id=R5TN1xjmc8"},
                   example="""\
Join Skype Meeting<https://meet.example.com/pat.moe/7Q3ZHF6K>
""")
