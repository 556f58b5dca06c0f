"""The text of meetings, written once and kept for the next answer."""

from __future__ import annotations

from collections.abc import Sequence

from otjd.meetings.model import Meeting, Room
from otjd.protocol.ews_ids import change_key
from otjd.protocol.ews_items import (
    Bodies,
    ItemText,
    Shown,
    extended_properties,
    item_text,
    item_with_bodies,
    item_without_bodies,
)
from otjd.protocol.ews_shapes import ExtendedField, ItemShape
from otjd.serve.calls import Account
from otjd.serve.join_details import Details, JoinDetails, dial_uri
from otjd.serve.join_style import DROP, JoinStyle

_FORMAT = "1"
"""Part of every ChangeKey: to be counted up when what is written of the same meeting changes visibly."""


KEPT_LENGTH = 4000
"""Characters of a body up to which it is kept for the next answer: a long one, as with the text of an invitation,
is made again, or those of many rooms would fill the memory."""


class _Written:
    """One meeting as it was written; its join details come when the first body is asked for."""

    __slots__ = ("details", "meeting", "text")

    def __init__(self, meeting: Meeting, text: ItemText) -> None:
        self.meeting = meeting
        self.text = text
        self.details: Details | None = None


class MeetingTexts:
    """Writes meetings as calendar items, and keeps what was written of the last `limit` ones.

    Endpoints of one room that are told in different ways what to dial have texts of their own.
    """

    def __init__(self, join_details: JoinDetails, limit: int) -> None:
        self._join_details = join_details
        self._limit = limit
        self._kept: dict[tuple[Room, JoinStyle, str], _Written] = {}

    def for_list(self, account: Account, meeting: Meeting, extended: Sequence[ExtendedField]) -> str:
        """The item as FindItem shows it."""
        written = self._written(account, meeting)
        return item_without_bodies(written.text, self._extended(written, extended, account.style))

    def for_reading(self, account: Account, meeting: Meeting, shape: ItemShape) -> str:
        """The item as GetItem shows it, with its body."""
        written = self._written(account, meeting)
        details = self._details(written, account.style)
        return item_with_bodies(written.text, Bodies(details.text, details.html), shape,
                                self._extended(written, shape.extended, account.style))

    def change_key(self, meeting: Meeting, style: JoinStyle) -> str:
        """The ChangeKey of the item that a meeting is shown as to endpoints of this style."""
        if style.invitation_text == DROP:
            meeting = meeting.without_text()  # another endpoint of the room shows it
        return change_key(_FORMAT, meeting.change_key, self._join_details.digest(style))

    def _extended(self, written: _Written, fields: Sequence[ExtendedField], style: JoinStyle) -> str:
        if not fields:
            return ""
        return extended_properties(written.meeting, self._details(written, style).tokens, fields)

    def _details(self, written: _Written, style: JoinStyle) -> Details:
        if written.details is not None:
            return written.details
        details = self._join_details.of(written.meeting, style)
        if len(details.text) <= KEPT_LENGTH:
            written.details = details
        return details

    def _written(self, account: Account, meeting: Meeting) -> _Written:
        room, style = account.room, account.style
        key = (room, style, meeting.id)
        kept = self._kept.get(key)
        # the cache hands out the same object as long as nothing visible changed
        if kept is not None and kept.meeting is meeting:
            return kept
        shown = Shown(room.email, self.change_key(meeting, style), dial_uri(meeting))
        written = _Written(meeting, item_text(meeting, shown))
        if kept is None and len(self._kept) >= self._limit:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = written
        return written
