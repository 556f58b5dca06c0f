"""`zoom`: a Zoom meeting by its address for room systems or its join link (invitations.md section 2.15).

A meeting id alone gives no alias, nor do links of ZoomGov, which this domain does not serve (section 4, 3 and 11).
With `include_pin` the numeric passcode is appended where there is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from otjd.rules.event import MeetingEvent
from otjd.rules.meeting_type import MeetingType, Place, by
from otjd.rules.parts import Part, address_pattern, parts
from otjd.rules.patterns import mapping
from otjd.rules.rule import Rule
from otjd.rules.zoom_pin import PIN, pins

_ADDRESS = address_pattern(r"(?P<id>[0-9]{9,11})(?:\.(?P<pin>[A-Za-z0-9_*!-]{0,32})"
                           r"(?:\.[0-9]{0,10}){0,5})?", r"(?:[a-z0-9-]{1,30}\.){0,2}zoomcrc\.com")
_HOSTS = ("zoom.us", "*.zoom.us", "zoom.com", "*.zoom.com", "zoom.com.cn", "*.zoom.com.cn",
          "zoom-x.de", "*.zoom-x.de")
_PATH = re.compile(r"/(?:j|w|s|wc/join|wc)/([0-9]{9,11})(?![A-Za-z0-9_-])", re.IGNORECASE)
_ENTRIES_LIMIT = 100


def find(event: MeetingEvent, rule: Rule) -> Mapping[str, str] | None:
    """Id and pin from properties, body or location, in each from an address before a link."""
    found = next((found for part in parts(event) if (found := _meeting(part))), None)
    if found is None:
        return None
    meeting_id, pin = found
    if not pin:
        pin = next(_of_entries(event, meeting_id), "")
    if not pin:
        pin = next(pins(f"{event.body.text}\n\n{event.location}", meeting_id), "")
    return {"meeting_id": meeting_id, "domain": "zoomcrc.com", "pin": pin,
            "include_pin": "true" if rule.include_pin else ""}


def _meeting(part: Part) -> tuple[str, str] | None:
    for address in part.addresses(_ADDRESS):
        pin = address.match["pin"] or ""
        return address.match["id"], pin if re.fullmatch(PIN, pin) else ""
    for link in part.web_addresses():
        match = _PATH.match(link.path) if link.is_at(*_HOSTS) else None
        if match:
            return match[1], ""
    return None


def _of_entries(event: MeetingEvent, meeting_id: str) -> Iterator[str]:
    """Numeric passcodes of this meeting's entry points in a Google event, those for SIP first."""
    given = mapping(event.properties.get("conferenceData")).get("entryPoints")
    entries: list[Mapping[str, Any]] = []
    if isinstance(given, list):
        entries = [mapping(entry) for entry in given[:_ENTRIES_LIMIT]]
    entries.sort(key=lambda entry: entry.get("entryPointType") != "sip")
    for entry in entries:
        if meeting_id in str(entry.get("uri"))[:1000]:
            for name in ("passcode", "password", "pin", "accessCode"):
                value = entry.get(name)
                if isinstance(value, str) and value != meeting_id and re.fullmatch(PIN, value):
                    yield value


TYPE = MeetingType("zoom", by(find), variables=("meeting_id", "domain", "pin", "include_pin"),
                   looks_in=(Place.PROPERTIES, Place.BODY, Place.LOCATION),
                   signs=(r"zoomcrc\.com", r"zoom\.us", r"zoom\.com", r"zoom-x\.de"),
                   default_transform="{{meeting_id}}{% if include_pin and pin %}.{{pin}}{% endif %}@zoomcrc.com",
                   looks_for="<id>@zoomcrc.com, or a Zoom join link with an id of 9 to 11 digits",
                   example="""\
Join Zoom Meeting
https://us02web.zoom.us/j/83017462955?pwd=cUpQd1hrT2xWbXVE

Meeting ID: 830 1746 2955
Passcode: v8Kq2m

Join by SIP
83017462955@zoomcrc.com

Join by H.323
162.255.37.11 (US West)
Meeting ID: 830 1746 2955
Passcode: 041927
""")
