"""What the types of meeting by provider share: web addresses, ids printed in groups, values behind their labels.

Every pattern here takes time linear in the text: what may repeat is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit

from otjd.rules.event import MeetingEvent
from otjd.rules.links import folded, original
from otjd.rules.text import links_in

DOMAIN = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?){1,20}"
"""A domain of at least two labels; anchor it with `fullmatch` or END_OF_HOST."""

END_OF_HOST = r"(?![A-Za-z0-9_@-])(?!\.[A-Za-z0-9_])"
"""Behind a host name in a text: neither a longer name nor the user part of something else goes on here."""

START_OF_USER = r"(?<![\w.+%@/=&?#-])"
"""Before the user part of an address in a text: it begins here, and is no part of a web address."""

SEPARATOR = r"[ *]{0,3}[:：]?[\s*•·|]{0,5}"
"""What may stand between a label and its value: a colon or none, a line end, marks of bold text or lists."""

_SEPARATOR = re.compile(SEPARATOR)
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9])?")
_DOMAIN = re.compile(DOMAIN)
_AFTER_AT = re.compile(r"[\w.-]{1,1500}")
_USER_LIMIT = 128
_LOOK_AHEAD = 20
_PLAIN = re.compile(r"https?://([a-z0-9_.-]+)(/[!\"$->@-~]*)?(?:\?([!\"$-~]*))?(?:#([!-~]*))?",
                    re.IGNORECASE | re.ASCII)
_PARAMETERS_LIMIT = 100
_LINKS_LIMIT = 100


@dataclass(frozen=True, slots=True)
class WebAddress:
    """An http or https address in its parts.

    `host` is in lower case without a port, `path` and `fragment` are as written, `parameters` are those of the
    query, names in lower case, values percent-decoded once; the first of a name counts.
    """

    link: str
    host: str
    path: str
    parameters: Mapping[str, str]
    fragment: str = ""

    def is_at(self, *hosts: str) -> bool:
        """Whether the host is one of these. `*.zoom.us` means any name below zoom.us, but not zoom.us itself."""
        exact, below = _divided(hosts)
        return self.host in exact or self.host.endswith(below)


@cache
def _divided(hosts: tuple[str, ...]) -> tuple[frozenset[str], tuple[str, ...]]:
    """The names, and the ends of the names that begin with `*`."""
    return (frozenset(host for host in hosts if not host.startswith("*.")),
            tuple(host[1:] for host in hosts if host.startswith("*.")))


def web_address(link: str) -> WebAddress | None:
    """The parts of a link; None where it is no plain web address, for one with a user name before its host."""
    plain = _PLAIN.fullmatch(link)
    if plain:
        host, path, query, fragment = plain[1].lower(), plain[2] or "", plain[3] or "", plain[4] or ""
    else:
        try:
            parts = urlsplit(link.strip())
            host, port = parts.hostname or "", parts.port
        except ValueError:
            return None
        if parts.scheme not in ("http", "https") or "@" in parts.netloc or port == 0:
            return None
        path, query, fragment = parts.path, parts.query, parts.fragment
    host = host.rstrip(".")
    if not _HOST.fullmatch(host):
        return None
    parameters: dict[str, str] = {}
    for pair in query.split("&", _PARAMETERS_LIMIT)[:_PARAMETERS_LIMIT] if query else ():
        name, _, value = pair.partition("=")
        parameters.setdefault(name.removeprefix("amp;").lower(), unquote(value))
    return WebAddress(link, host, path, parameters, fragment)


def web_addresses(event: MeetingEvent, holding: str = "") -> tuple[WebAddress, ...]:
    """Every web address of an event, mail filters undone: from properties, then body, then location.

    Only those that hold this text, in lower case, where one is given: they need not all be taken apart.
    """
    if not holding:
        return event.once(_web_addresses)
    return _apart(link for link in event.once(_links) if holding in folded(link))


def _web_addresses(event: MeetingEvent) -> tuple[WebAddress, ...]:
    return _apart(event.once(_links))


def _links(event: MeetingEvent) -> tuple[str, ...]:
    return (*property_links(event), *event.body.links, *links_in(event.location))


def _apart(links: Iterable[str]) -> tuple[WebAddress, ...]:
    return tuple(address for link in links if (address := web_address(link)) is not None)


def property_links(event: MeetingEvent) -> tuple[str, ...]:
    """The links by which the calendar itself knows the online meeting: of Exchange, Graph and Google."""
    known = event.properties
    graph = mapping(event.invitation.properties.get("graph"))
    conference = mapping(known.get("conferenceData"))
    entries = conference.get("entryPoints")
    found = [known.get("SkypeTeamsMeetingUrl"), mapping(graph.get("onlineMeeting")).get("joinUrl"),
             graph.get("onlineMeetingUrl"), known.get("hangoutLink")]
    if isinstance(entries, list):
        found += [mapping(entry).get("uri") for entry in entries[:_LINKS_LIMIT]]
    return tuple(original(link.strip()) for link in found if isinstance(link, str) and link.strip())


def mapping(value: Any) -> Mapping[str, Any]:
    """The value where it is a mapping, else an empty one: properties come in any shape."""
    return value if value is not None and isinstance(value, Mapping) else {}


def is_domain(text: str) -> bool:
    """Whether this is a domain of at least two labels and nothing else."""
    return len(text) <= 255 and _DOMAIN.fullmatch(text) is not None


def digit_groups(least: int, most: int) -> str:
    """An expression for an id of that many digits, together or in groups with one blank or hyphen between them.

    It takes whole numbers only, and none that a `#` ends: that is for telephones. See `ungrouped`.
    """
    return rf"[0-9](?<![\d+,.-][0-9])(?<!\d [0-9])(?:[ -]?[0-9]){{{least - 1},{most - 1}}}(?![ -]?\d|[.,]\d| ?#)"


def ungrouped(text: str) -> str:
    """An id without the blanks and hyphens between its groups; leading zeros stay."""
    return re.sub(r"[\s-]+", "", text)


def around_each_at(text: str, address: re.Pattern[str]) -> Iterator[re.Match[str]]:
    """What `address.finditer(text)` gives, without a look at what is far from any @.

    `address` has exactly one @, at most 128 characters before it, and behind it a group `domain` of letters,
    digits, dots and hyphens.
    """
    host_here = _from_at(address)
    end = 0
    at = text.find("@")
    while at >= 0:
        host = _AFTER_AT.match(text, at + 1) if host_here.match(text, at) else None
        match = address.search(text, max(end, at - _USER_LIMIT), host.end() + _LOOK_AHEAD) if host else None
        if match:
            yield match
        end = match.end() if match else at + 1
        at = text.find("@", end)


@cache
def _from_at(address: re.Pattern[str]) -> re.Pattern[str]:
    """What is left of the expression from its @ on."""
    return re.compile(address.pattern[address.pattern.index("@(?P<domain>"):], address.flags)


def behind(text: str, label: re.Pattern[str], value: re.Pattern[str]) -> Iterator[re.Match[str]]:
    """Matches of a value that stands behind a label, with or without a colon, or on the next line."""
    for found in label.finditer(text):
        separator = _SEPARATOR.match(text, found.end())
        match = value.match(text, separator.end() if separator else found.end())
        if match is not None:
            yield match
