"""`domain`: the first address in a domain that the operator names (invitations.md section 2.18)."""

from __future__ import annotations

import re

from otjd.rules.event import MeetingEvent
from otjd.rules.fallback import has_case
from otjd.rules.meeting_type import Clock, Finder, Found, MeetingType, Place
from otjd.rules.registry import may_hold
from otjd.rules.rule import Rule, RuleError

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_USER = re.compile(r"[A-Za-z0-9_+~][A-Za-z0-9_.+~-]*\Z")
_NOT_BEFORE_A_USER = tuple("%!$^&")
_WEB_AUTHORITY = re.compile(r"https?://[^\s/?#<>\"]*\Z", re.IGNORECASE)
_USER_LIMIT = 64
_SCHEME_LIMIT = 300


def _prepare(rule: Rule, _: Clock) -> Finder:
    domain = rule.domain.strip().strip(".@").lower()
    if not domain:
        raise RuleError(rule.name, "domain", "it is empty; name the domain whose addresses are aliases")
    if not re.fullmatch(rf"{_LABEL}(?:\.{_LABEL})*", domain):
        raise RuleError(rule.name, "domain", f"found {rule.domain!r}, expected a domain such as vc.example.com")
    host = re.compile(rf"@((?:{_LABEL}\.){{0,20}}{re.escape(domain)})(?![A-Za-z0-9_@-])(?!\.[A-Za-z0-9])",
                      re.IGNORECASE)

    def find(event: MeetingEvent) -> Found | None:
        if not may_hold(event, domain):
            return None
        return next((found for place in event.places() if "@" in place and (found := _first(host, place))), None)

    return find


def _first(host: re.Pattern[str], text: str) -> Found | None:
    for match in host.finditer(text):
        user = _user_before(text, match.start())
        if user:
            return Found({"meeting_id": user, "domain": match[1]})
    return None


def _user_before(text: str, at: int) -> str:
    """What stands before the @, where that is the user part of an address."""
    user = _USER.search(text[max(0, at - _USER_LIMIT - 1):at])
    if user is None or len(user[0]) > _USER_LIMIT:
        return ""
    before = text[max(0, at - len(user[0]) - _SCHEME_LIMIT):at - len(user[0])]
    if before and (before.endswith(_NOT_BEFORE_A_USER) or has_case(before[-1])):
        return ""  # a piece of something longer
    return "" if _WEB_AUTHORITY.search(before) else user[0]


TYPE = MeetingType("domain", _prepare, variables=("meeting_id", "domain"), looks_in=(Place.BODY, Place.LOCATION),
                   default_transform="{{meeting_id}}@{{domain}}",
                   looks_for="<user>@{domain}, or at a subdomain of it",
                   example="Join from a video system: boardroom@{domain}\n")
