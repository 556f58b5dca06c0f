"""`ciscoteamsbody`: a Teams meeting at a tenant with Cisco Webex video integration (invitations.md section 2.9).

The alias has the id in front of the key, unlike those of other providers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from otjd.rules.cvi import KEY, address_of, coordinates
from otjd.rules.event import MeetingEvent
from otjd.rules.meeting_type import MeetingType, Place, by
from otjd.rules.patterns import WebAddress, is_domain, web_addresses
from otjd.rules.rule import Rule

_KEY = re.compile(KEY)
_CONF = re.compile(r"[0-9]{9,13}")
_ADDRESS = address_of(r"m\.webex\.com")


def find(event: MeetingEvent, _: Rule) -> Mapping[str, str] | None:
    """Id, key and domain: of the link to the instructions, else of the lines."""
    for address in web_addresses(event):
        found = instructions(address)
        if found is not None:
            return found
    line = next(coordinates(event.body.text, _ADDRESS), None)
    if line is None:
        return None
    return {"conf_id": line.meeting_id, "tenant_key": line.key, "domain": line.domain}


def instructions(address: WebAddress) -> dict[str, str] | None:
    """What `https://www.webex.com/msteams?confid=<id>&tenantkey=<key>&domain=<domain>` says; None for others."""
    if not address.is_at("webex.com", "*.webex.com") or address.path.rstrip("/").lower() != "/msteams":
        return None
    conf, key, domain = (address.parameters.get(name, "").strip() for name in ("confid", "tenantkey", "domain"))
    is_webex = is_domain(domain) and f".{domain.lower()}".endswith(".webex.com")
    if not (_CONF.fullmatch(conf) and _KEY.fullmatch(key) and is_webex):
        return None
    return {"conf_id": conf, "tenant_key": key, "domain": domain}


TYPE = MeetingType("ciscoteamsbody", by(find), variables=("conf_id", "tenant_key", "domain"),
                   looks_in=(Place.BODY, Place.LOCATION),
                   signs=("/msteams", r"@m\.webex\.com"),
                   default_transform="{{conf_id}}.{{tenant_key}}@{{domain}}",
                   looks_for="a webex.com/msteams link, or a tenant key at m.webex.com with a video id",
                   example="""\
Microsoft Teams meeting
Meeting ID: 228 417 906 035 284
Join on a video conferencing device
Tenant key: example@m.webex.com
Video ID: 119 856 382 6
More info<https://www.webex.com/msteams?confid=1198563826&tenantkey=example&domain=m.webex.com>
""")
