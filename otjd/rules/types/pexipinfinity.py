"""`pexipinfinity`: a meeting room of Pexip Infinity by its link for the app (invitations.md section 2.1).

A link without a domain gives no alias, as nothing tells which domain the room's own calls need (section 4, 8).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from otjd.rules.event import MeetingEvent
from otjd.rules.meeting_type import MeetingType, Place, by
from otjd.rules.parts import of_body, of_location
from otjd.rules.patterns import DOMAIN, is_domain
from otjd.rules.rule import Rule

_LINK = re.compile(rf"pexip://([^\s@/?#:;,<>\"'()\[\]\\]{{1,250}})@({DOMAIN})(?::[0-9]{{1,5}})?(?:[/?#;,].*)?",
                   re.IGNORECASE | re.DOTALL)


def find(event: MeetingEvent, _: Rule) -> Mapping[str, str] | None:
    """Name and domain of the first `pexip://` link that has both."""
    for part in (of_body(event), of_location(event)):
        for link in part.links:
            if link[:8].lower() != "pexip://":
                continue
            match = _LINK.fullmatch(unquote(link))
            if match and match[1].isprintable() and is_domain(match[2]):
                return {"meeting_id": match[1], "domain": match[2]}
    return None


TYPE = MeetingType("pexipinfinity", by(find), variables=("meeting_id", "domain"),
                   looks_in=(Place.BODY, Place.LOCATION), signs=("pexip://",),
                   default_transform="{{meeting_id}}@{{domain}}",
                   looks_for="a link pexip://<meeting id>@<domain>",
                   example="""\
Please join my Pexip Virtual Meeting Room in one of the following ways:

From a VC endpoint or a Skype/Lync client:
meet.50718264@vc.example.com

From a web browser:
https://join.example.com/webapp/#/?conference=meet.50718264@vc.example.com

From a Pexip Infinity Connect client:
pexip://meet.50718264@vc.example.com
""")
