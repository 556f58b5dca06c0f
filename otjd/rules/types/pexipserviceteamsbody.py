"""`pexipserviceteamsbody`: a Teams meeting at a tenant with the Pexip Service (invitations.md section 2.6).

Only the link tells this service from others whose keys are `teams@<domain>`; the key and id lines are not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from otjd.rules.event import MeetingEvent
from otjd.rules.meeting_type import MeetingType, Place, by
from otjd.rules.patterns import WebAddress, is_domain, web_addresses
from otjd.rules.rule import Rule

_PATH = re.compile(r"/teams/([A-Za-z0-9.-]{1,255})/([0-9]{4,20})/?")


def find(event: MeetingEvent, _: Rule) -> Mapping[str, str] | None:
    """Domain and id of the first link to the instructions of the Pexip Service."""
    return next((found for address in web_addresses(event) if (found := instructions(address))), None)


def instructions(address: WebAddress) -> dict[str, str] | None:
    """What `https://pexip.me/teams/<domain>/<id>` says; None for any other link."""
    match = _PATH.fullmatch(address.path) if address.is_at("pexip.me") else None
    if match is None or not is_domain(match[1]):
        return None
    return {"meeting_id": match[2], "domain": match[1]}


TYPE = MeetingType("pexipserviceteamsbody", by(find), variables=("meeting_id", "domain"),
                   looks_in=(Place.BODY, Place.LOCATION), signs=(r"pexip\.me",),
                   default_transform="{{meeting_id}}@{{domain}}",
                   looks_for="a link pexip.me/teams/<domain>/<id>",
                   example="""\
Microsoft Teams meeting
Meeting ID: 228 417 906 035 284
Join on a video conferencing device
Tenant key: teams@vc.example.com
Video ID: 119 586 382 6
More info<https://pexip.me/teams/vc.example.com/1195863826>
""")
