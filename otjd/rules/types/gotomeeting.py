"""`gotomeeting`: a GoTo Meeting by its lines for room systems (invitations.md section 2.17).

The domain is the address of the service as printed, preferably the IP address. A link or an access code alone
gives no alias. Other services print the like, so that an IP address counts only in an invitation of this one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import re2  # type: ignore[import-untyped]  # the package has no type information

from otjd.rules.event import MeetingEvent
from otjd.rules.links import folded, for_re2
from otjd.rules.meeting_type import MeetingType, Place, by
from otjd.rules.parts import END_OF_PATH, Part, address_pattern, of_body, of_location, parts
from otjd.rules.patterns import digit_groups, ungrouped
from otjd.rules.rule import Rule

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IP = rf"(?:{_OCTET}\.){{3}}{_OCTET}"
_IN_ROOM = r"inroomlink\.goto\.com"
_ID = r"[0-9]{3}-?[0-9]{3}-?[0-9]{3}"
_ADDRESS = address_pattern(_ID, rf"{_IP}|{_IN_ROOM}")
_DIAL = re.compile(rf"(?<![\w.@/=-])(?P<domain>{_IP}|{_IN_ROOM})##(?P<id>{_ID})(?![\w@#-])(?!\.\w)",
                   re.IGNORECASE)
_LINES = re.compile(rf"(?<![\w.@/-])(?:(?P<ip>{_IP})[^\n@\d]{{1,20}}?)?(?<![\w.@/-]){_IN_ROOM}(?![\w@/-])"
                    rf"(?!\.\w)[^@\d]{{0,80}}?\bID[ *]{{0,3}}[:：]?[\s*]{{0,5}}(?P<id>{digit_groups(9, 9)})",
                    re.IGNORECASE)
_OWN_IPS = ("67.217.95.2", "78.108.112.2")
_OF_THIS_SERVICE = re.compile(r"go\s?to\s?meet(?:ing)?|inroomlink\.goto\.com|meet\.goto\.com|\bcisco devices\b|"
                              r"video-conferencing room or system", re.IGNORECASE)
_ANY_OF_THIS_SERVICE = re2.compile(_OF_THIS_SERVICE.pattern.replace(r"\b", ""))  # tells in less time of most texts
_HOSTS = ("global.gotomeeting.com", "www.gotomeeting.com", "gotomeeting.com", "app.gotomeeting.com",
          "www1.gotomeeting.com", "www2.gotomeeting.com", "www3.gotomeeting.com", "www4.gotomeeting.com",
          "meet.goto.com", "app.goto.com")
_PATH = re.compile(r"/(?:join/|meeting/)?([0-9]{9})" + END_OF_PATH)


def find(event: MeetingEvent, _: Rule) -> Mapping[str, str] | None:
    """Id and address of the lines for room systems; None where they are of another meeting than the link."""
    linked = {match[1] for part in parts(event) for address in part.web_addresses()
              if address.is_at(*_HOSTS) and (match := _PATH.match(address.path))}
    candidates = [found for part in (of_body(event), of_location(event)) for found in _candidates(part)]
    own = bool(candidates) and (bool(linked) or any(map(_is_of_this_service, (event.body.text, event.location))))
    usable = [(meeting_id, domain) for meeting_id, domain in candidates
              if (own or domain in _OWN_IPS) and (not linked or meeting_id in linked)]
    usable.sort(key=lambda found: found[1] == "inroomlink.goto.com")
    return {"meeting_id": usable[0][0], "domain": usable[0][1]} if usable else None


def _is_of_this_service(text: str) -> bool:
    may_be = _ANY_OF_THIS_SERVICE.search(for_re2(folded(text)))
    return may_be is not None and _OF_THIS_SERVICE.search(text) is not None


def _candidates(part: Part) -> Iterator[tuple[str, str]]:
    for address in part.addresses(_ADDRESS):
        yield ungrouped(address.user), address.domain
    if "##" in part.text:
        for match in _DIAL.finditer(part.text):
            yield ungrouped(match["id"]), match["domain"]
    if "inroomlink.goto.com" in folded(part.text):
        for match in _LINES.finditer(part.text):
            yield ungrouped(match["id"]), match["ip"] or "inroomlink.goto.com"


TYPE = MeetingType("gotomeeting", by(find), variables=("meeting_id", "domain"),
                   looks_in=(Place.BODY, Place.LOCATION),
                   signs=(r"inroomlink\.goto\.com", "[0-9]@[0-9]", "[0-9]##[0-9]"),
                   default_transform="{{meeting_id}}@{{domain}}",
                   looks_for="the lines for room systems: <address>##<id>, or <id>@<address>",
                   example="""\
Please join my meeting from your computer, tablet or smartphone.
https://global.gotomeeting.com/join/305718264

Access Code: 305-718-264

Joining from a video-conferencing room or system?
Dial: 67.217.95.2##305718264
Cisco devices: 305718264@67.217.95.2
""")
