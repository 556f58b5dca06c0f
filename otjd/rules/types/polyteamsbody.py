"""`polyteamsbody`: a Teams meeting at a tenant with Poly RealConnect (invitations.md section 2.7)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from otjd.rules.cvi import address_of, coordinates
from otjd.rules.event import MeetingEvent
from otjd.rules.meeting_type import MeetingType, Place, by
from otjd.rules.patterns import WebAddress, web_addresses
from otjd.rules.rule import Rule

KEY = r"[0-9]{6,12}"
_IN_LINK = re.compile(KEY), re.compile(r"[0-9]{9,13}")
_ADDRESS = address_of(r"t\.plcm\.vc", KEY)


def find(event: MeetingEvent, _: Rule) -> Mapping[str, str] | None:
    """Tenant key and id: of the link to the instructions, else of the lines."""
    for address in web_addresses(event):
        found = key_and_conf(address) if address.path.rstrip("/") == "/teams" else None
        if found is not None:
            return {**found, "domain": "t.plcm.vc"}
    line = next(coordinates(event.body.text, _ADDRESS), None)
    if line is None:
        return None
    return {"tenant_id": line.key, "meeting_id": line.meeting_id, "domain": line.domain}


def key_and_conf(address: WebAddress) -> dict[str, str] | None:
    """Key and id of a link to `dialin.plcm.vc`; None for one to another host, or without both."""
    found = [address.parameters.get(name, "").strip() for name in ("key", "conf")]
    if not address.is_at("dialin.plcm.vc"):
        return None
    if not all(known.fullmatch(value) for known, value in zip(_IN_LINK, found, strict=True)):
        return None
    return {"tenant_id": found[0], "meeting_id": found[1]}


TYPE = MeetingType("polyteamsbody", by(find), variables=("meeting_id", "domain", "tenant_id"),
                   looks_in=(Place.BODY, Place.LOCATION),
                   signs=(r"plcm\.vc",),
                   default_transform="{{tenant_id}}.{{meeting_id}}@t.plcm.vc",
                   looks_for="a dialin.plcm.vc/teams link, or <tenant>@t.plcm.vc with a video conference id",
                   example="""\
Microsoft Teams meeting
Meeting ID: 241 772 905 113
Join with a video conferencing device
522601028@t.plcm.vc
Video Conference ID: 114 301 682 4
Alternate VTC instructions<https://dialin.plcm.vc/teams/?key=522601028&conf=1143016824>
""")
