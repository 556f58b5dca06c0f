"""`teamssipguestjoin`: a Teams meeting of a tenant without interop, as a guest (invitations.md section 2.4).

Where the invitation prints meeting id and passcode, and the rule has a company id, the alias is made of these, as
the form of the blob for the join link is not documented. Otherwise it is the documented one, with the company id
behind the tenant. Meetings with coordinates for video systems are left to the types that read those: they cannot
be joined this way.
"""

from __future__ import annotations

import re

from otjd.rules.cvi import address_of, coordinates
from otjd.rules.event import MeetingEvent
from otjd.rules.guest_join import DOMAIN, meeting_blob, passcode_blob
from otjd.rules.meeting_type import Clock, Finder, Found, MeetingType, Place
from otjd.rules.registry import may_be_of
from otjd.rules.rule import Rule, RuleError
from otjd.rules.teams_join import id_and_passcode, join_links
from otjd.rules.types import (
    bluejeansteamsbody,
    ciscoteamsbody,
    pexipinfinityteamsbody,
    pexipserviceteamsbody,
    polyteamsbody,
)

_COMPANY = re.compile(r"[A-Za-z0-9._-]{0,36}")
_ANY_KEY = address_of()
_BODY_TYPES = (bluejeansteamsbody, ciscoteamsbody, pexipinfinityteamsbody, pexipserviceteamsbody, polyteamsbody)
_VARIABLES = ("base32_encoded_blob", "tenant_id", "organizer_id", "thread_id", "message_id", "meeting_id",
              "passcode", "passcode_blob_b32", "company_id")


def _prepare(rule: Rule, _: Clock) -> Finder:
    company_id = rule.company_id.strip()
    if not _COMPANY.fullmatch(company_id):
        raise RuleError(rule.name, "company_id", f"found {rule.company_id!r}, expected letters, digits and "
                        "hyphens, as in 7d0b6a4e-93c1-4f58-8a2e-5c1f0e9b3d27")

    def find(event: MeetingEvent) -> Found | None:
        variables = None if has_coordinates(event, rule) else _variables(event, company_id)
        if variables is None:
            return None
        alias = _alias(variables)
        if alias is None:
            return None
        return Found(variables, alias if rule.default_processing_enabled else None)

    return find


def has_coordinates(event: MeetingEvent, rule: Rule) -> bool:
    """Whether the meeting has an address of its own for video systems, of whichever provider."""
    if event.properties.get("teams_vtc_conference_id"):
        return True
    if any(may_be_of(event, module.TYPE.name) and module.find(event, rule) for module in _BODY_TYPES):
        return True
    return any(True for _ in coordinates(event.body.text, _ANY_KEY, only_video_labels=True))


def _variables(event: MeetingEvent, company_id: str) -> dict[str, str] | None:
    link = next(join_links(event), None)
    printed = id_and_passcode(event)
    if link is None and printed is None:
        return None
    variables = dict.fromkeys(_VARIABLES, "") | {"company_id": company_id}
    if link is not None:
        variables |= {"base32_encoded_blob": meeting_blob(link.thread_id, link.message_id, link.organizer_id),
                      "tenant_id": link.tenant_id, "organizer_id": link.organizer_id, "thread_id": link.thread_id,
                      "message_id": link.message_id}
    if printed is not None:
        variables |= {"meeting_id": printed.meeting_id, "passcode": printed.passcode,
                      "passcode_blob_b32": passcode_blob(printed.passcode)}
    return variables


def _alias(found: dict[str, str]) -> str | None:
    """The dial string; None where neither form can be made."""
    company_id = found["company_id"]
    if found["meeting_id"] and company_id:
        return f"{found['meeting_id']}.{found['passcode_blob_b32']}..{company_id}@{DOMAIN}"
    if not found["tenant_id"]:
        return None
    parts = [found["base32_encoded_blob"], found["tenant_id"], *([company_id] if company_id else [])]
    return f"{'.'.join(parts)}@{DOMAIN}"


TYPE = MeetingType("teamssipguestjoin", _prepare, variables=_VARIABLES,
                   looks_in=(Place.PROPERTIES, Place.BODY, Place.LOCATION),
                   signs=(r"teams\.(?:microsoft|cloud\.microsoft)", r"microsoft\s+teams"),
                   default_transform="{{base32_encoded_blob}}.{{tenant_id}}@pex.ms",
                   looks_for="a meetup-join link, or a meeting id with its passcode, and no CVI coordinates",
                   example="""\
Microsoft Teams meeting
Join: https://teams.microsoft.com/meet/228311905577042?p=8qWnb4RkzLtVx71mCd
Meeting ID: 228 311 905 577 042
Passcode: mB4nQ7Xc
Need help?<https://aka.ms/JoinTeamsMeeting> | System reference<https://teams.microsoft.com/l/meetup-join/\
19%3ameeting_ZDIzZWFlMjYtYmNiYy01ODdhLWJlZmMtMzVhZmIyNDZmZTFh%40thread.v2/0?context=%7b%22Tid%22%3a%22\
a00be0b8-bd3d-5185-b0f9-3d3ffbd58f28%22%2c%22Oid%22%3a%2267b545d4-18d5-5bcd-8e83-b23d494d6a4b%22%7d>
""")
