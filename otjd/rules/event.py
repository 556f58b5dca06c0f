"""MeetingEvent: an invitation made ready for the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar, cast

from otjd.meetings.model import Invitation
from otjd.rules.properties import flat_properties
from otjd.rules.text import TEXT_LIMIT, BodyText, RawBody, lay_out, read_raw, visible, whole_text

T = TypeVar("T")

_LOCATION_LIMIT = 10_000


class MeetingEvent:
    """What the types of meeting look at: body, location and properties, each read once and only when asked for."""

    def __init__(self, invitation: Invitation, body: BodyText | None = None) -> None:
        self.invitation = invitation
        self._body = body
        self.location = " ".join(visible(invitation.location[:_LOCATION_LIMIT]).split())
        self._found: dict[Callable[[MeetingEvent], object], object] = {}

    def once(self, find: Callable[[MeetingEvent], T]) -> T:
        """What `find` gives for this event, found once for all types that ask for it."""
        if find not in self._found:
            self._found[find] = find(self)
        return cast("T", self._found[find])

    @cached_property
    def _raw(self) -> RawBody:
        return read_raw(self.invitation)

    @cached_property
    def searchable(self) -> tuple[str, ...] | None:
        """What the body holds before it is laid out (`RawBody.searchable`); None where lines of it may be quoted,
        and where it is so long that the limits of the laid out text are to be kept."""
        if self._body is not None:
            return None
        held = self._raw.searchable()
        return None if any(len(text) > TEXT_LIMIT or ">" in text for text in held) else held

    @cached_property
    def body(self) -> BodyText:
        """Its text and links."""
        return lay_out(self._raw) if self._body is None else self._body

    @property
    def whole_text(self) -> str:
        """The body as plain text, quoted lines where they stand."""
        return whole_text(self._raw)

    @property
    def quoted(self) -> MeetingEvent | None:
        """The same event with the quoted part of its body in place of the rest."""
        if self.searchable is not None:
            return None
        return MeetingEvent(self.invitation, self.body.quoted) if self.body.quoted else None

    @cached_property
    def properties(self) -> Mapping[str, Any]:
        """The keys of `calendar_event.properties`."""
        return flat_properties(self.invitation.properties)

    def places(self) -> Iterator[str]:
        """Where an alias may stand, in the order in which it is looked for: text, links, location."""
        yield self.body.text
        yield from self.body.links
        yield self.location

    @cached_property
    def restored_links(self) -> tuple[str, ...]:
        """The links of the body that do not stand in it as they are: a mail filter had rewritten them."""
        return tuple(link for link in self.body.restored if link not in self.body.marked)

    @cached_property
    def calendar_event(self) -> dict[str, Any]:
        """The object that templates see (invitations.md section 0).

        `body` is the text with the targets of links behind their labels, and at the end the links that a mail
        filter had rewritten, in their original form.
        """
        invitation = self.invitation
        first, last = _names(invitation.organizer.name)
        return {
            "subject": invitation.subject,
            "organizer_full_name": invitation.organizer.name,
            "organizer_first_name": first,
            "organizer_last_name": last,
            "organizer_email": invitation.organizer.email,
            "start_time": _time(invitation.start_time),
            "end_time": _time(invitation.end_time),
            "is_private": invitation.is_private,
            "body": "\n".join([self.body.marked, *self.restored_links])[:TEXT_LIMIT],
            "location": self.location,
            "properties": self.properties,
        }


def _time(at: datetime) -> dict[str, int]:
    return {"year": at.year, "month": at.month, "day": at.day, "hour": at.hour, "minute": at.minute,
            "second": at.second}


def _names(full: str) -> tuple[str, str]:
    """First and last name; `Last, First` is understood too."""
    last, comma, first = full.partition(",")
    if not comma:
        first, _, last = full.strip().partition(" ")
    return first.strip(), last.strip()
