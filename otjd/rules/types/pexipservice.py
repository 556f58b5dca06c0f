"""`pexipservice`: a meeting room of the Pexip Service (invitations.md section 2.2).

The text of current invitations is not documented: the link to the room and its address are read, wherever they
are. Links to Teams meetings on the same host belong to `pexipserviceteamsbody`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from otjd.rules.event import MeetingEvent
from otjd.rules.mailboxes import is_mailbox
from otjd.rules.meeting_type import MeetingType, Place, by
from otjd.rules.parts import END_OF_PATH, Part, address_pattern, parts
from otjd.rules.rule import Rule

_USER = r"[A-Za-z0-9_](?:[A-Za-z0-9._+~-]{0,98}[A-Za-z0-9_])?"
_ADDRESS = address_pattern(_USER, r"pexip\.me")
_PATH = re.compile(rf"/meet/({_USER})(?:@pexip\.me)?{END_OF_PATH}", re.IGNORECASE)


def find(event: MeetingEvent, _: Rule) -> Mapping[str, str] | None:
    """The room of the first link, else of the first address."""
    return next((found for part in parts(event) if (found := _room(part))), None)


def _room(part: Part) -> dict[str, str] | None:
    for address in part.web_addresses():
        match = _PATH.match(unquote(address.path)) if address.is_at("pexip.me") else None
        if match:
            return {"meeting_id": match[1], "domain": "pexip.me"}
    for found in part.addresses(_ADDRESS):
        if found.user.lower() != "teams" and not is_mailbox(found.user):
            return {"meeting_id": found.user, "domain": "pexip.me"}
    return None


TYPE = MeetingType("pexipservice", by(find), variables=("meeting_id", "domain"),
                   looks_in=(Place.BODY, Place.LOCATION), signs=(r"pexip\.me",),
                   default_transform="{{meeting_id}}@pexip.me",
                   looks_for="a link pexip.me/meet/<id>, or <id>@pexip.me",
                   example="""\
Please select one of the following alternatives to join my meeting:
From a browser: https://pexip.me/meet/70361825
From a Video system: 70361825@pexip.me
""")
