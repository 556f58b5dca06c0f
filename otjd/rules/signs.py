"""Which types of meeting an invitation may be of at all, found in one pass over it.

Each type names expressions (`MeetingType.signs`) of which one matches wherever its own, slower ones find
something. RE2 looks for those of all types at once, so that most rules need not look at most invitations. A sign
may match too often, but must never be missing: it is looked for in everything that a type may look at, with
rewritten links undone, percent-encoded characters decoded and letter case folded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from urllib.parse import unquote

import re2  # type: ignore[import-untyped]  # the package has no type information

from otjd.rules.event import MeetingEvent
from otjd.rules.fallback import FALLBACK, SCHEMES
from otjd.rules.links import SIGNS, folded
from otjd.rules.meeting_type import MeetingType, Place
from otjd.rules.parts import Part, parts

_REWRITTEN = "a rewritten link"
_TARGET = re.compile(r"<\S+")
"""The text in which links have their targets beside them has each of these, and else what the text itself has."""

_OWN_DATA = ("conferenceData", "uc_capabilities")
"""Properties of a shape of their own: where one is there, types that look at properties are always tried."""


def absent(types: Iterable[MeetingType]) -> Callable[[MeetingEvent], frozenset[str]]:
    """Makes a function that gives the names of those of these types of which an event cannot be.

    FALLBACK is among them where the event has no address for the fallback.
    """
    with_signs = [found for found in types if found.signs]
    sought = re2.Set.SearchSet()
    named: list[str] = []
    for name, signs in (*((found.name, found.signs) for found in with_signs),
                        (FALLBACK, map(re2.escape, SCHEMES)), (_REWRITTEN, map(re2.escape, SIGNS))):
        for sign in signs:
            sought.Add(sign)
            named.append(name)
    sought.Compile()
    everything = frozenset((FALLBACK, *(found.name for found in with_signs)))
    with_properties = frozenset(found.name for found in with_signs if Place.PROPERTIES in found.looks_in)

    def seen_in(text: str) -> set[str]:
        places = sought.Match(folded(text).encode("utf-8", "replace")) or ()  # None where there is none
        return {named[place] for place in places}

    def find(event: MeetingEvent) -> frozenset[str]:
        own, body, location = parts(event)
        seen = seen_in(_everything_in(event, own, body, location))
        if _REWRITTEN in seen:
            restored = (address.link for part in (body, location) for address in part.web_addresses())
            seen |= seen_in("\n".join(restored))
        if any(event.properties.get(name) for name in _OWN_DATA):
            seen |= with_properties
        return everything - seen

    return find


def _everything_in(event: MeetingEvent, *those: Part) -> str:
    """The text and links of these parts, each on its own line."""
    links = "\n".join(link for part in those for link in part.links)
    places = [*(part.text for part in those), links]
    if event.body.marked is not event.body.text:
        places += _TARGET.findall(event.body.marked)
    if "%" in links:
        places.append(unquote(links))
    return "\n".join(places)
