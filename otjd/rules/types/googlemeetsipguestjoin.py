"""`googlemeetsipguestjoin`: a Google Meet meeting as a SIP guest (invitations.md section 2.11).

The alias has the code without its hyphens, and behind it the company id where the rule has one (section 4, 1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from otjd.rules.event import MeetingEvent
from otjd.rules.meeting_type import MeetingType, Place, by
from otjd.rules.parts import END_OF_PATH, Part, of_body, of_location, of_properties
from otjd.rules.patterns import mapping
from otjd.rules.rule import Rule

_CODE = re.compile(r"[a-z]{3}-[a-z]{4}-[a-z]{3}")
_PATH = re.compile(rf"/({_CODE.pattern}){END_OF_PATH}")


def find(event: MeetingEvent, rule: Rule) -> Mapping[str, str] | None:
    """The code of the meeting, with its hyphens."""
    code = next(_codes(event), None)
    return None if code is None else {"meeting_id": code, "company_id": rule.company_id.strip()}


def _codes(event: MeetingEvent) -> Iterator[str]:
    yield from _linked(of_properties(event))
    yield from _conference_id(event)
    yield from _linked(of_location(event))
    yield from _linked(of_body(event))


def _linked(part: Part) -> Iterator[str]:
    for address in part.web_addresses():
        match = _PATH.match(address.path) if address.is_at("meet.google.com") else None
        if match:
            yield match[1]


def _conference_id(event: MeetingEvent) -> Iterator[str]:
    conference = mapping(event.properties.get("conferenceData"))
    kind = mapping(mapping(conference.get("conferenceSolution")).get("key")).get("type")
    code = conference.get("conferenceId")
    if kind == "hangoutsMeet" and isinstance(code, str) and _CODE.fullmatch(code):
        yield code


TYPE = MeetingType("googlemeetsipguestjoin", by(find), variables=("meeting_id", "company_id"),
                   looks_in=(Place.PROPERTIES, Place.LOCATION, Place.BODY),
                   signs=(r"meet\.google\.com",),
                   default_transform="{{meeting_id|replace('-', '')}}"
                                     "{% if company_id %}.{{company_id}}{% endif %}@google.pexip.me",
                   looks_for="a Meet code of 3-4-3 letters, such as meet.google.com/bcd-fghj-klm",
                   example="""\
Google Meet joining info
Video call link: https://meet.google.com/bcd-fghj-klm
Or dial: (US) +1 254-555-0142 PIN: 501 662 347#
More phone numbers: https://tel.meet/bcd-fghj-klm?pin=3306127749058
""")
