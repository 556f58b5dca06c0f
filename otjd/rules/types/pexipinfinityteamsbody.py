"""`pexipinfinityteamsbody`: a Teams meeting at a tenant with Pexip Infinity (invitations.md section 2.5).

Only the link to the instructions tells prefix and domain; key and id lines look alike at several providers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from otjd.rules.event import MeetingEvent
from otjd.rules.meeting_type import MeetingType, Place, by
from otjd.rules.patterns import WebAddress, is_domain, web_addresses
from otjd.rules.rule import Rule

_CONF = re.compile(r"(?:[A-Za-z0-9_-]{1,40}\.){0,4}[0-9]{4,20}")
_PREFIX = re.compile(r"[A-Za-z0-9._+-]{0,40}")


def find(event: MeetingEvent, _: Rule) -> Mapping[str, str] | None:
    """The parameters of the first link to the instructions of a Pexip Infinity node."""
    return next((found for address in web_addresses(event) if (found := instructions(address))), None)


def instructions(address: WebAddress) -> dict[str, str] | None:
    """What `https://<node>/teams/?conf=<id>&d=<domain>&prefix=<prefix>` says; None for any other link."""
    if address.path.rstrip("/") != "/teams":
        return None
    conf, domain = (address.parameters.get(name, "").strip() for name in ("conf", "d"))
    prefix = address.parameters.get("prefix", "").strip()
    if not (_CONF.fullmatch(conf) and is_domain(domain) and _PREFIX.fullmatch(prefix)):
        return None
    return {"meeting_id": conf, "domain": domain, "prefix": prefix}


TYPE = MeetingType("pexipinfinityteamsbody", by(find), variables=("meeting_id", "domain", "prefix"),
                   looks_in=(Place.BODY, Place.LOCATION), signs=(r"/teams/*\?",),
                   default_transform="{{prefix}}{{meeting_id}}@{{domain}}",
                   looks_for="a link /teams/?conf=<id>&ivr=<key>&d=<domain>",
                   example="""\
Microsoft Teams meeting
Meeting ID: 324 607 118 593
Join on a video conferencing device
Tenant key: teams@vc.example.com
Video ID: 122 710 964 4
More info<https://join.example.com/teams/?conf=1227109644&ivr=teams&d=vc.example.com&prefix=55&w>
""")
