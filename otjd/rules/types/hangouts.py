"""`hangouts`: a Google Meet meeting over the customer's own SIP gateway (invitations.md section 2.10).

The id is the pin of 13 digits; the pin of 9 digits for telephones never is. The pin of a `tel.meet` link is used
only where the rule names the domain (section 4, 4).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from otjd.rules.event import MeetingEvent
from otjd.rules.meeting_type import MeetingType, Place, by
from otjd.rules.parts import Address, Part, address_pattern, of_body, of_location, parts
from otjd.rules.patterns import DOMAIN, is_domain, mapping
from otjd.rules.rule import Rule

_PIN = re.compile(r"[0-9]{13}")
_ADDRESS = address_pattern(r"[0-9]{13}", DOMAIN)
_TEL_PATH = re.compile(r"/[a-z]{3}-[a-z]{4}-[a-z]{3}/?")
_MEET = re.compile(r"google\s{1,3}(?:meet|hangout)|(?<![\w.-])(?:meet\.google\.com|tel\.meet)/", re.IGNORECASE)
_OF_OTHERS = re.compile(r"(?:.*\.)?(?:zoomcrc\.com|zoom\.us|zoomgov\.com|webex\.com|bjn\.vc|plcm\.vc|pex\.ms|"
                        r"pexip\.me|rcv\.com|fuze\.me|lifesizecloud\.com|gmail\.com|google\.com|whatsapp\.net)")
_ENTRIES_LIMIT = 100


def find(event: MeetingEvent, rule: Rule) -> Mapping[str, str] | None:
    """The pin and its domain from Google's own data, from the text, and at last from a link for telephones."""
    own = rule.domain.strip().strip("@.").lower()
    if not is_domain(own):
        own = ""
    return _of_google(event, own) or _of_text(event, own) or _of_telephones(event, own)


def _entries(event: MeetingEvent) -> Iterator[Mapping[str, Any]]:
    """Entry points of type `sip`, unless another provider made them."""
    conference = mapping(event.properties.get("conferenceData"))
    kind = mapping(mapping(conference.get("conferenceSolution")).get("key")).get("type")
    entries = conference.get("entryPoints")
    if isinstance(entries, list) and kind != "addOn":
        yield from (e for e in map(mapping, entries[:_ENTRIES_LIMIT]) if e.get("entryPointType") == "sip")


def _of_google(event: MeetingEvent, own: str) -> dict[str, str] | None:
    entries = list(_entries(event))
    for entry in entries:
        uri = entry.get("uri")
        for found in _of_link(uri).addresses(_ADDRESS) if isinstance(uri, str) else ():
            if not _OF_OTHERS.fullmatch(found.domain):
                return _variables(found)
    for entry in entries:
        pin = entry.get("pin")
        if own and not entry.get("uri") and isinstance(pin, str) and _PIN.fullmatch(pin):
            return {"meeting_id": pin, "domain": own}
    return None


def _of_link(uri: str) -> Part:
    return Part("", lambda: (uri.strip(),))


def _of_text(event: MeetingEvent, own: str) -> dict[str, str] | None:
    """An address in the rule's domain first; one in another only where the invitation is one of Google Meet."""
    found = [address for part in (of_body(event), of_location(event)) for address in part.addresses(_ADDRESS)]
    for address in found:
        if own and (address.domain == own or address.domain.endswith(f".{own}")):
            return _variables(address)
    others = [address for address in found if not _OF_OTHERS.fullmatch(address.domain)]
    if others and not _is_meet(event):
        others = [address for address in others if address.domain.endswith(".onpexip.com")]
    return _variables(others[0]) if others else None


def _is_meet(event: MeetingEvent) -> bool:
    links = (address for part in parts(event) for address in part.web_addresses())
    return (any(_MEET.search(text) for text in (event.body.text, event.location, event.invitation.subject[:1000]))
            or any(address.is_at("meet.google.com", "tel.meet") for address in links))


def _of_telephones(event: MeetingEvent, own: str) -> dict[str, str] | None:
    for address in (address for part in parts(event) for address in part.web_addresses()):
        pin = address.parameters.get("pin", "")
        if own and address.is_at("tel.meet") and _TEL_PATH.fullmatch(address.path) and _PIN.fullmatch(pin):
            return {"meeting_id": pin, "domain": own}
    return None


def _variables(address: Address) -> dict[str, str]:
    return {"meeting_id": address.user, "domain": address.domain}


TYPE = MeetingType("hangouts", by(find), variables=("meeting_id", "domain"),
                   looks_in=(Place.PROPERTIES, Place.BODY, Place.LOCATION),
                   signs=("[0-9]{13}@", r"tel\.meet"),
                   default_transform="{{meeting_id}}@{{domain}}",
                   looks_for="<13 digits>@<domain>, or where the rule has a domain the pin of a tel.meet link",
                   example="""\
Join with Google Meet: https://meet.google.com/bcd-fghj-klm
Or dial: (US) +1 254-555-0142 PIN: 501 662 347#
More phone numbers: https://tel.meet/bcd-fghj-klm?pin=3306127749058&hs=7
Join from a video conferencing system: 3306127749058@gmeet.example.com
""")
