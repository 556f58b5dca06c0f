"""Which types of meeting an invitation may be of at all, found in one pass over it.

Each type names expressions (`MeetingType.signs`) of which one matches wherever its own, slower ones find
something. RE2 looks for those of all types at once, so that most rules need not look at most invitations. A sign
may match too often, but must never be missing: it is looked for in everything that a type may look at, with
rewritten links undone, percent-encoded characters decoded and letter case folded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

import re2  # type: ignore[import-untyped]  # the package has no type information

from otjd.rules.event import MeetingEvent
from otjd.rules.fallback import FALLBACK, SCHEMES
from otjd.rules.html_body import BLOCK
from otjd.rules.links import SIGNS, folded
from otjd.rules.meeting_type import MeetingType, Place
from otjd.rules.parts import of_body, of_location, of_properties

_REWRITTEN = "a rewritten link"
_TARGET = re.compile(r"<\S+")
"""The text in which links have their targets beside them has each of these, and else what the text itself has."""

_OWN_DATA = ("conferenceData", "uc_capabilities")
"""Properties of a shape of their own: where one is there, types that look at properties are always tried."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The names of the types that an event may be of, and all that was looked through, in lower case."""

    names: frozenset[str]
    text: str


class Signs:
    """Looks for the signs of these types; `names` are the types that have any, with FALLBACK for its addresses."""

    def __init__(self, types: Iterable[MeetingType]) -> None:
        with_signs = [found for found in types if found.signs]
        self.names = frozenset((FALLBACK, *(found.name for found in with_signs)))
        self._with_properties = frozenset(found.name for found in with_signs if Place.PROPERTIES in found.looks_in)
        self._sought = re2.Set.SearchSet()
        self._named: list[str] = []
        for name, signs in (*((found.name, found.signs) for found in with_signs),
                            (FALLBACK, map(re2.escape, SCHEMES)), (_REWRITTEN, map(re2.escape, SIGNS))):
            for sign in signs:
                self._sought.Add(sign.replace(r"\s", rf"[\s{BLOCK}]"))
                self._named.append(name)
        self._sought.Compile()

    def in_properties(self, event: MeetingEvent) -> frozenset[str]:
        """The types of which the properties alone have a sign: their body need not be read to know."""
        own = self._with_properties if any(event.properties.get(name) for name in _OWN_DATA) else frozenset()
        links = of_properties(event).links
        return own | self._in(folded(_decoded("\n".join(links)))) if links else own

    def seen(self, event: MeetingEvent) -> Seen:
        """The types of which an event has a sign in any place."""
        text = _before_layout(event)
        names = self._in(text) if text is not None else frozenset((_REWRITTEN,))
        if text is None or _REWRITTEN in names:
            text = _laid_out(event)
            names = self._in(text)
            if _REWRITTEN in names:
                restored = (found.link for part in (of_body(event), of_location(event))
                            for found in part.web_addresses())
                names |= self._in(folded("\n".join(restored)))
        return Seen(names | event.once(self.in_properties), text)

    def _in(self, text: str) -> frozenset[str]:
        places = self._sought.Match(text.encode("utf-8", "replace")) or ()  # None where there is none
        return frozenset(self._named[place] for place in places)


def _before_layout(event: MeetingEvent) -> str | None:
    """What the event holds, its body not laid out, in lower case; None where that may change what it holds."""
    body, location = event.searchable, of_location(event)
    if body is None:
        return None
    return folded("\n".join(map(_decoded, (*body, location.text, *location.links))))


def _laid_out(event: MeetingEvent) -> str:
    """What the event holds in lower case: text and links of all its parts."""
    body, location = of_body(event), of_location(event)
    places = [body.text, location.text, _decoded("\n".join((*body.links, *location.links)))]
    if event.body.marked is not event.body.text:
        places += _TARGET.findall(event.body.marked)
    return folded("\n".join(places))


def _decoded(text: str) -> str:
    """The text, and where it has percent-encoded characters these decoded as well."""
    return f"{text}\n{unquote(text)}" if "%" in text else text
