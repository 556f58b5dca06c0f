"""Which types of meeting an invitation may be of at all, found in one pass over it.

Each type names expressions (`MeetingType.signs`) of which one matches wherever its own, slower ones find
something. RE2 looks for those of all types at once, so that most rules need not look at most invitations. A sign
may match too often, but must never be missing: it is looked for in everything that a type may look at, with
rewritten links undone, percent-encoded characters decoded and letter case folded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import unquote

import re2  # type: ignore[import-untyped]  # the package has no type information

from otjd.rules.event import MeetingEvent
from otjd.rules.links import folded, may_be_rewritten
from otjd.rules.meeting_type import MeetingType, Place
from otjd.rules.parts import parts

_OWN_DATA = ("conferenceData", "uc_capabilities")
"""Properties of a shape of their own: where one is there, types that look at properties are always tried."""


def absent(types: Iterable[MeetingType]) -> Callable[[MeetingEvent], frozenset[str]]:
    """Makes a function that gives the names of those of these types of which an event cannot be."""
    with_signs = [found for found in types if found.signs]
    sought = re2.Set.SearchSet()
    named: list[str] = []
    for found in with_signs:
        for sign in found.signs:
            sought.Add(sign)
            named.append(found.name)
    sought.Compile()
    everything = frozenset(named)
    with_properties = frozenset(found.name for found in with_signs if Place.PROPERTIES in found.looks_in)

    def find(event: MeetingEvent) -> frozenset[str]:
        places = sought.Match(_everything_in(event).encode("utf-8", "replace")) or ()  # None where there is none
        seen = {named[place] for place in places}
        if any(event.properties.get(name) for name in _OWN_DATA):
            seen |= with_properties
        return everything - seen

    return find


def _everything_in(event: MeetingEvent) -> str:
    """All that a type may look for a sign in, each on its own line, folded."""
    own, body, location = parts(event)
    links = "\n".join((*own.links, *body.links, *location.links))
    places = [body.text, location.text, links]
    if event.body.marked is not body.text:
        places.append(event.body.marked)
    if "%" in links:
        places.append(unquote(links))
    if may_be_rewritten(body.text) or may_be_rewritten(location.text):
        places += (address.link for part in (body, location) for address in part.web_addresses())
    return folded("\n".join(places))
