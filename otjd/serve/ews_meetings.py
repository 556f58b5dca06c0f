"""The text of meetings as calendar items.

Writing an item costs less than keeping it would: a node of 4,000 rooms is asked for more of them in turn than fit
into memory beside its connections. Join details, which come from a template, are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from otjd.meetings.model import Meeting
from otjd.protocol.ews_ids import item_change_key
from otjd.protocol.ews_items import (
    ItemText,
    dial_uri,
    extended_properties,
    item_text,
    item_with_bodies,
    item_without_bodies,
)
from otjd.protocol.ews_mime import mime_content
from otjd.protocol.ews_shapes import ExtendedField, ItemShape
from otjd.serve.calls import Account
from otjd.serve.join_details import Details, JoinDetails
from otjd.serve.join_style import DROP, JoinStyle

_FORMAT = 2
"""Part of every ChangeKey: to be counted up when what is written of the same meeting changes visibly."""


KEPT_LENGTH = 4000
"""Characters of a body up to which it is kept for the next answer: a long one, as with the text of an invitation,
is made again, or those of many rooms would fill the memory."""


class MeetingTexts:
    """Writes meetings as calendar items, and keeps the join details of `limit` of them.

    Endpoints of one room that are told in different ways what to dial have details of their own.
    """

    def __init__(self, join_details: JoinDetails, limit: int) -> None:
        self._join_details = join_details
        self._limit = limit
        self._kept: dict[tuple[str, JoinStyle], Details] = {}
        self._left_out = 0

    def for_list(self, account: Account, meetings: Iterable[Meeting],
                 extended: Sequence[ExtendedField]) -> list[str]:
        """The items as FindItem shows them."""
        shown = self._shown(account.style)
        return [item_without_bodies(self._item(account, m, shown), self._extended(account, m, extended))
                for m in meetings]

    def for_reading(self, account: Account, meeting: Meeting, shape: ItemShape) -> str:
        """The item as GetItem shows it, with its body."""
        details, mime = self._details(account, meeting), ""
        if shape.mime_content:
            mime = mime_content(meeting, account.room.email, dial_uri(meeting), details.text)
        return item_with_bodies(self._item(account, meeting, self._shown(account.style)), details, shape,
                                self._extended(account, meeting, shape.extended), mime)

    def change_key(self, meeting: Meeting, style: JoinStyle) -> str:
        """The ChangeKey of the item that a meeting is shown as to endpoints of this style."""
        return self._change_key(meeting, style, self._shown(style))

    def _shown(self, style: JoinStyle) -> int:
        return self._join_details.digest(style) ^ _FORMAT

    def _change_key(self, meeting: Meeting, style: JoinStyle, shown: int) -> str:
        if meeting.invitation_text and style.invitation_text == DROP:
            meeting = meeting.without_text()  # another endpoint of the room shows it
        return item_change_key(meeting.change_key, shown)

    def _item(self, account: Account, meeting: Meeting, shown: int) -> ItemText:
        return item_text(meeting, room_email=account.room.email, location=dial_uri(meeting),
                         change_key=self._change_key(meeting, account.style, shown))

    def _extended(self, account: Account, meeting: Meeting, fields: Sequence[ExtendedField]) -> str:
        return extended_properties(meeting, self._details(account, meeting).tokens, fields) if fields else ""

    def _details(self, account: Account, meeting: Meeting) -> Details:
        key = (meeting.id, account.style)
        kept = self._kept.get(key)
        # the cache hands out the same object as long as nothing visible changed
        if kept is not None and kept.meeting is meeting:
            return kept
        details = self._join_details.of(meeting, account.style)
        self._kept.pop(key, None)
        if len(details.text) <= KEPT_LENGTH and self._has_room():
            self._kept[key] = details
        return details

    def _has_room(self) -> bool:
        """Whether details may be kept. Where more are read in turn than there is room for, all had gone just
        before they are read again: but one in four takes the place of the oldest."""
        if len(self._kept) < self._limit:
            return True
        self._left_out = (self._left_out + 1) % 4
        if self._left_out:
            return False
        del self._kept[next(iter(self._kept))]
        return True
