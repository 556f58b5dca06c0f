"""`polys4bbody`: a Skype for Business meeting at a tenant with Poly RealConnect (invitations.md section 2.13)."""

from __future__ import annotations

from collections.abc import Mapping

from otjd.rules.cvi import address_of, coordinates
from otjd.rules.event import MeetingEvent
from otjd.rules.meeting_type import MeetingType, Place, by
from otjd.rules.patterns import web_addresses
from otjd.rules.rule import Rule
from otjd.rules.types.polyteamsbody import KEY, key_and_conf

_ADDRESS = address_of(r"v\.plcm\.vc", KEY)


def find(event: MeetingEvent, _: Rule) -> Mapping[str, str] | None:
    """Tenant key and id: of the link to the instructions, else of the lines."""
    for address in web_addresses(event):
        found = key_and_conf(address) if not address.path.startswith("/teams") else None
        if found is not None:
            return {**found, "domain": "v.plcm.vc"}
    line = next(coordinates(event.body.text, _ADDRESS), None)
    if line is None:
        return None
    return {"tenant_id": line.key, "meeting_id": line.meeting_id, "domain": line.domain}


TYPE = MeetingType("polys4bbody", by(find), variables=("meeting_id", "domain", "tenant_id"),
                   looks_in=(Place.BODY, Place.LOCATION),
                   signs=(r"plcm\.vc",),
                   default_transform="{{tenant_id}}.{{meeting_id}}@v.plcm.vc",
                   looks_for="<tenant>@v.plcm.vc with a VTC conference id behind it",
                   example="""\
Join Skype Meeting<https://meet.example.com/pat.moe/IB88RLZZ>
Join with a video conferencing device
12345678@v.plcm.vc
VTC Conference ID: 111962549
""")
