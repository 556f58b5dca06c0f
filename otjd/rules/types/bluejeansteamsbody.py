"""`bluejeansteamsbody`: a Teams meeting at a tenant with BlueJeans (invitations.md section 2.8).

The link to the instructions has no ids, so that the lines are read.
"""

from __future__ import annotations

from collections.abc import Mapping

from otjd.rules.cvi import address_of, coordinates
from otjd.rules.event import MeetingEvent
from otjd.rules.meeting_type import MeetingType, by
from otjd.rules.rule import Rule

_ADDRESS = address_of(r"teams\.bjn\.vc", r"[0-9]{6,12}")


def find(event: MeetingEvent, _: Rule) -> Mapping[str, str] | None:
    """Tenant key and id of the lines."""
    line = next(coordinates(event.body.text, _ADDRESS), None)
    if line is None:
        return None
    return {"tenant_id": line.key, "meeting_id": line.meeting_id, "domain": line.domain}


TYPE = MeetingType("bluejeansteamsbody", by(find), variables=("meeting_id", "domain", "tenant_id"),
                   signs=(r"teams\.bjn\.vc",),
                   default_transform="{{tenant_id}}.{{meeting_id}}@teams.bjn.vc",
                   looks_for="<tenant>@teams.bjn.vc with a VTC conference id behind it",
                   example="""\
Join Microsoft Teams Meeting
Join with a video conferencing device
130885024@teams.bjn.vc VTC Conference ID: 1291418316
Alternate VTC dialing instructions<https://support.bluejeans.com/knowledge/vtc-dial-in-options-for-teams>
""")
