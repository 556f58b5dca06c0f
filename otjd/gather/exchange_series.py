"""Series on servers that show them unexpanded: which servers do, and the occurrences of their iCalendar objects.

Exchange expands series in a CalendarView. Others have been seen to show the master of a series, and that only
while its first occurrence lies in the view: there masters are listed apart, and expanded here.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email import message_from_bytes
from email.errors import MessageError

from twisted.logger import Logger

from otjd.gather.icalendar_reader import UnreadableCalendarError, read_calendar
from otjd.gather.source import Occurrence
from otjd.meetings.model import CalendarItemType, Invitation, Window
from otjd.protocol.ews_client_calendar import Listed

_log = Logger()

AHEAD = timedelta(days=1)
"""So far beyond a window series are expanded: until then a series that did not change is not asked for again."""


@dataclass(frozen=True, slots=True)
class Series:
    """What is kept of a series that was expanded here: its occurrences up to a time."""

    occurrences: frozenset[Occurrence]
    until: datetime


class Expansion:
    """What is known of servers, by URL: whether they expand series themselves, and whether they can list them."""

    def __init__(self) -> None:
        self._expands: dict[str, bool] = {}
        self._cannot_list: set[str] = set()

    def learn(self, url: str, items: Iterable[Listed]) -> None:
        """Conclude from what a view shows; whoever shows an occurrence expands series."""
        for item in items:
            if item.is_occurrence:
                self._expands[url] = True
                return
            if item.is_master:
                self.found_hidden(url)

    def found_hidden(self, url: str) -> None:
        """A series has occurrences in a view that did not show them; where it has shown others, it has changed
        in between."""
        self._expands.setdefault(url, False)

    def refused_list(self, url: str) -> None:
        """It does not list series."""
        self._cannot_list.add(url)

    def has_to_be_listed(self, url: str, *, if_unknown: bool) -> bool:
        """Whether series have to be listed apart from a view; `if_unknown`: where that is not clear yet."""
        return url not in self._cannot_list and not self._expands.get(url, not if_unknown)


def occurrences_of(master: Invitation, icalendar: str, window: Window) -> list[Invitation]:
    """The occurrences of a series in a window; what they do not say themselves is as in the master.

    `icalendar` is an iCalendar object in base64, or a MIME message that holds one.
    """
    try:
        found = read_calendar(_calendar_in(b64decode(icalendar)), master.uid).invitations(window)
    except (UnreadableCalendarError, MessageError, ValueError, LookupError, RecursionError) as error:
        _log.warn("A series cannot be read and is left out: {error}", error=str(error))
        return []
    return [
        replace(one, uid=master.uid, properties=master.properties,
                body_html=one.body_html or ("" if one.body_text else master.body_html))
        if one.item_type is CalendarItemType.EXCEPTION else
        replace(master, start_time=one.start_time, end_time=one.end_time, occurrence=one.occurrence,
                item_type=one.item_type, is_cancelled=one.is_cancelled)
        for one in found]


def _calendar_in(content: bytes) -> bytes:
    """The iCalendar object, which Exchange gives as it is and other servers as a part of a message."""
    if b"BEGIN:VCALENDAR" in content[:200].upper():
        return content
    for part in message_from_bytes(content).walk():
        if part.get_content_type() == "text/calendar":
            inside = part.get_payload(decode=True)
            return inside if isinstance(inside, bytes) else b""
    return content
