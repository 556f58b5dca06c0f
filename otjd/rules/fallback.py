"""The fallback that is always on: the first `sip:`, `sips:` or `h323:` address (invitations.md 2.18, 4.2)."""

from __future__ import annotations

import re
from itertools import islice
from urllib.parse import unquote

from otjd.meetings.model import DialProtocol
from otjd.rules.event import MeetingEvent

FALLBACK = "fallback"
"""The `meeting_type` of a match that no rule made."""

SCHEMES = ("sip:", "sips:", "h323:")
"""One of these begins every address, in any letter case."""

_SCHEME = re.compile(r"(sips?|h323):([ ]{0,3})", re.IGNORECASE)
_IN_WEB_ADDRESS = re.compile(r"https?://[^\s<>\"]*\Z", re.IGNORECASE)
_PERSON = re.compile(r"\bim:\s{0,3}<?\Z|\b(?:conf|callto|pres|lync|skype|xmpp):<?\Z", re.IGNORECASE)
_CANDIDATES = 1000
_TOKEN_LIMIT = 300
_ADDRESS_LIMIT = 1000
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_NAME = rf"{_LABEL}(?:\.{_LABEL}){{0,20}}"
_PORT = r"(?::\d{2,5}(?!\d))?"
_SIP = re.compile(rf"[^\s<>\"'()\[\]{{}},;:@?|\\]{{1,300}}@(?:{_NAME}|\[[0-9A-Fa-f:.]{{2,45}}\]){_PORT}")
_SIP_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL}){{1,20}}{_PORT}(?![\w@])")
_H323 = re.compile(r"[^\s<>\"'()\[\]{},;?|\\]{1,300}")
_H323_CERTAIN = re.compile(r"(?:\d{1,3}\.){3}\d{1,3}|.+@.+|.+##.+")
_RETIRED = re.compile(r"@lync\.webex\.com\Z", re.IGNORECASE)


def fallback(event: MeetingEvent) -> tuple[str, DialProtocol] | None:
    """Address and protocol of the first URI in the body, else in the location; None where there is none."""
    for place in (event.body.marked, *event.restored_links, event.location):
        found = first_address(place)
        if found is not None:
            return found
    return None


def first_address(text: str) -> tuple[str, DialProtocol] | None:
    """The first address in text order that can be dialled, without scheme, parameters and punctuation."""
    for match in islice(_SCHEME.finditer(text), _CANDIDATES):
        if not _stands_alone(text, match.start()):
            continue
        rest = text[match.end():match.end() + _ADDRESS_LIMIT]
        is_h323 = match[1].lower() == "h323"
        alias = _h323(rest, spaced=bool(match[2])) if is_h323 else _sip(rest, spaced=bool(match[2]))
        if alias and not _RETIRED.search(alias):
            return alias, DialProtocol.H323 if is_h323 else DialProtocol.SIP
    return None


def _stands_alone(text: str, at: int) -> bool:
    """Whether a word begins here, outside a web address and not as the address of a person."""
    before = text[max(0, at - _TOKEN_LIMIT):at]
    if not before:
        return True
    if before[-1] in "-_./=?&%#+@~\\$!" or has_case(before[-1]):
        return False
    return _IN_WEB_ADDRESS.search(before) is None and _PERSON.search(before) is None


def has_case(character: str) -> bool:
    """Whether this is a digit, or a letter of a script that sets words apart with blanks."""
    return character.isdigit() or character.lower() != character.upper()


def _sip(rest: str, *, spaced: bool) -> str:
    match = _SIP.match(rest)
    if match is None and "%40" in rest[:300]:
        match = _SIP.match(unquote(rest[:300]))
    if match is None and not spaced:
        match = _SIP_HOST.match(rest)
    return match[0] if match else ""


def _h323(rest: str, *, spaced: bool) -> str:
    match = _H323.match(rest)
    address = match[0].rstrip(".,:;!*") if match else ""
    if spaced and not _H323_CERTAIN.fullmatch(address):
        return ""
    return address if any(c.isdigit() or c in ".@" for c in address) else ""
