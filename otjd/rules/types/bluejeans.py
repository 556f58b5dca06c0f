"""`bluejeans`: a BlueJeans meeting (invitations.md section 2.16). The service ended; the type stays.

With `include_pin` the passcode of the link, or of an address that holds one, is appended.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from otjd.rules.event import MeetingEvent
from otjd.rules.meeting_type import MeetingType, Place, by
from otjd.rules.parts import END_OF_PATH, Part, address_pattern, parts
from otjd.rules.patterns import digit_groups, ungrouped
from otjd.rules.rule import Rule

_ID = r"[0-9]{5,20}"
_PATH = re.compile(rf"/(?P<id>{_ID})(?:/(?P<pin>[0-9]{{3,10}}))?(?:/(?:browser|webrtc))?{END_OF_PATH}")
_ADDRESS = address_pattern(rf"(?P<id>{_ID})(?:\.(?P<pin>[0-9]{{3,10}}))?", r"bjn\.vc")
_ROOM_LINES = re.compile(r"(?<![\w.@/-])bjn\.vc(?![\w@-])(?!\.\w)[^@]{0,80}?\bID[ *]{0,3}[:：]?[\s*]{0,5}"
                         rf"(?P<id>{digit_groups(7, 20)})", re.IGNORECASE)


def find(event: MeetingEvent, rule: Rule) -> Mapping[str, str] | None:
    """Id and passcode of the first link, else of an address, else the id of the lines for room systems."""
    match = next((found for part in parts(event) if (found := _meeting(part))), None)
    if match is None:
        return None
    return {"meeting_id": ungrouped(match["id"]), "pin": match.groupdict().get("pin") or "",
            "include_pin": "true" if rule.include_pin else ""}


def _meeting(part: Part) -> re.Match[str] | None:
    for link in part.web_addresses():
        found = _PATH.match(link.path) if link.is_at("bluejeans.com", "*.bluejeans.com") else None
        if found:
            return found
    address = next(part.addresses(_ADDRESS), None)
    return address.match if address else _ROOM_LINES.search(part.text)


TYPE = MeetingType("bluejeans", by(find), variables=("meeting_id", "pin", "include_pin"),
                   looks_in=(Place.BODY, Place.LOCATION),
                   signs=(r"bluejeans\.com", r"bjn\.vc"),
                   default_transform="{{meeting_id}}{% if include_pin and pin %}.{{pin}}{% endif %}@bjn.vc",
                   looks_for="a link to a BlueJeans meeting with its id, or <id>@bjn.vc",
                   example="""\
To join the meeting on a computer or mobile phone:
https://bluejeans.com/402817365?src=calendarLink

Connecting directly from a room system?
1.) Dial: 199.48.152.152 or bjn.vc
2.) Enter Meeting ID: 402817365
""")
