"""Every type of meeting that is understood: the modules of `otjd.rules.types`."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType

from otjd.rules import types
from otjd.rules.event import MeetingEvent
from otjd.rules.meeting_type import MeetingType
from otjd.rules.signs import Signs

KNOWN = (
    "pexipinfinity", "pexipservice", "teams", "teamssipguestjoin", "polyteamsbody", "ciscoteamsbody",
    "pexipserviceteamsbody", "pexipinfinityteamsbody", "hangouts", "googlemeetsipguestjoin", "s4b", "polys4bbody",
    "webex", "zoom", "gotomeeting", "domain", "regex", "regex_re2", "custom", "bluejeans", "bluejeansteamsbody")
"""The names that `meeting_type` may have (infinity.md section 4 and the contract), supported or not."""


@cache
def supported() -> Mapping[str, MeetingType]:
    """The types by name."""
    return MappingProxyType({found.name: found for found in _found()})


@cache
def _signs() -> Signs:
    return Signs(supported().values())


def may_be_of(event: MeetingEvent, name: str) -> bool:
    """Whether it is worth the time to look for a meeting of this type in an event; never wrongly False."""
    signs = _signs()
    return (name not in signs.names or name in event.once(signs.in_properties)
            or name in event.once(signs.seen).names)


def may_hold(event: MeetingEvent, word: str) -> bool:
    """Whether these ASCII letters in lower case may stand in text, links or location; never wrongly False."""
    return word in event.once(_signs().seen).text


def _found() -> Iterator[MeetingType]:
    for info in pkgutil.iter_modules(types.__path__):
        module = import_module(f"{types.__name__}.{info.name}")
        yield from getattr(module, "TYPES", ())
        if hasattr(module, "TYPE"):
            yield module.TYPE
