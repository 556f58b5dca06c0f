"""The parts of an event, each with its text, its links and its addresses, for types that look for these."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from urllib.parse import unquote

from otjd.rules.event import MeetingEvent
from otjd.rules.links import original
from otjd.rules.patterns import END_OF_HOST, WebAddress, around_each_at, property_links, web_address
from otjd.rules.text import links_in

_WITH_ADDRESS = re.compile(r"(?:sips?|mailto):", re.IGNORECASE)
_SCHEMELESS = re.compile(r"(?<![\w.@/=&?#%:+~$-])(?:[A-Za-z0-9-]{1,63}\.){1,5}[A-Za-z]{2,10}/[^\s<>\"]{1,500}")
_TOP_LEVEL = re.compile(r"\.[A-Za-z]{2,10}/")
_HOST_BEFORE = re.compile(r"[A-Za-z0-9.-]+\Z")
_HOST_LIMIT = 400
_PERSON = re.compile(r"\b(?:im|conf|callto|pres|lync|skype|xmpp):\s{0,3}<?(?:sips?:)?\Z", re.IGNORECASE)
_PUNCTUATION = ".,;:!?'*|)]}"
_ICALENDAR_LINKS = ("X-GOOGLE-CONFERENCE", "X-GOOGLE-HANGOUT")
_LINK_LIMIT = 8000
_MANY = 300
_BEFORE = 200
_START = r"(?<![A-Za-z0-9_\u00c0-\u024f\u0370-\u052f.+%@/=&?#~!$-])"
"""An address begins here; scripts that set no blanks between words may stand directly before it."""

END_OF_PATH = r"(?=/?\Z|[^\x00-\u024f])"
"""A path ends here, or a script goes on that sets no blanks before its words."""


@dataclass(frozen=True, slots=True)
class Address:
    """`user`@`domain`, the domain in lower case, and up to 200 characters of the text before it.

    `match` is for named groups within the user part.
    """

    user: str
    domain: str
    before: str
    match: re.Match[str]


def address_pattern(user: str, domain: str) -> re.Pattern[str]:
    """An expression for an address in a text, for `Part.addresses`; `user` and `domain` are expressions."""
    return re.compile(rf"{_START}(?P<user>{user})@(?P<domain>{domain}){END_OF_HOST}", re.IGNORECASE)


class Part:
    """One part of an event: a text, and links that a mail filter may have rewritten undone.

    `links` is asked for the links when they are first needed.
    """

    def __init__(self, text: str, links: Callable[[], tuple[str, ...]] = tuple) -> None:
        self.text = text
        self._links = links

    @cached_property
    def links(self) -> tuple[str, ...]:
        """The links in their order."""
        return self._links()

    def addresses(self, pattern: re.Pattern[str]) -> Iterator[Address]:
        """The addresses of the text, then those of its links; none of presence and none of a person's calls."""
        for match in islice(around_each_at(self.text, pattern), _MANY):
            before = self.text[max(0, match.start() - _BEFORE):match.start()]
            if not _PERSON.search(before):
                yield _address(match, before)
        for link in self.links:
            if _WITH_ADDRESS.match(link):
                address = unquote(link)
                found = pattern.match(address, address.index(":") + 1)
                if found is not None:
                    yield _address(found, address[:found.start()])

    def web_addresses(self) -> tuple[WebAddress, ...]:
        """The web addresses of the links, then those that the text has without `https://`."""
        return self._web_addresses

    @cached_property
    def _web_addresses(self) -> tuple[WebAddress, ...]:
        bare = (f"https://{link.rstrip(_PUNCTUATION)}" for link in islice(_schemeless(self.text), _MANY))
        found = (web_address(original(link)) for links in (self.links, bare) for link in links)
        return tuple(address for address in found if address is not None)


def _schemeless(text: str) -> Iterator[str]:
    """What looks like a web address without `https://`: around each slash behind what may be a domain."""
    end = 0
    for slash in _TOP_LEVEL.finditer(text):
        if slash.start() < end:
            continue
        near = max(end, slash.start() - _HOST_LIMIT)
        near = max(near, *(text.rfind(delimiter, near, slash.start()) + 1 for delimiter in " \n/"))
        host = _HOST_BEFORE.search(text, near, slash.start())
        found = _SCHEMELESS.match(text, host.start()) if host else None
        if found:
            end = found.end()
            yield found[0]


def _address(match: re.Match[str], before: str) -> Address:
    return Address(match["user"], match["domain"].lower(), before, match)


def of_properties(event: MeetingEvent) -> Part:
    """What the calendar itself knows of the online meeting."""
    return event.once(_of_properties)


def _of_properties(event: MeetingEvent) -> Part:
    extensions = (event.properties.get(name) for name in _ICALENDAR_LINKS)
    links = (original(link.strip()) for link in extensions if isinstance(link, str) and len(link) < _LINK_LIMIT)
    return Part("", lambda: (*property_links(event), *links))


def of_body(event: MeetingEvent) -> Part:
    """The body."""
    return event.once(_of_body)


def _of_body(event: MeetingEvent) -> Part:
    return Part(event.body.text, lambda: event.body.links)


def of_location(event: MeetingEvent) -> Part:
    """The location."""
    return event.once(_of_location)


def _of_location(event: MeetingEvent) -> Part:
    return Part(event.location, lambda: links_in(event.location))


def parts(event: MeetingEvent) -> Iterator[Part]:
    """Properties, body and location, each read when it is its turn."""
    yield of_properties(event)
    yield of_body(event)
    yield of_location(event)
