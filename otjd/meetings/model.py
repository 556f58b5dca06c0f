"""The values that travel through otjd: Invitation (as booked), Meeting (as shown), and their parts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any


class DialProtocol(StrEnum):
    """How an alias is dialled."""

    SIP = "SIP"
    H323 = "H323"


class CalendarItemType(StrEnum):
    """Place of an item in a series, in the words of EWS (t:CalendarItemType)."""

    SINGLE = "Single"
    OCCURRENCE = "Occurrence"
    EXCEPTION = "Exception"


class FreeBusyStatus(StrEnum):
    """How the room is blocked, in the words of EWS (t:LegacyFreeBusyStatus)."""

    FREE = "Free"
    TENTATIVE = "Tentative"
    BUSY = "Busy"


class EndpointType(StrEnum):
    """Families of endpoints, in the words of the configuration."""

    CISCO = "CISCO"
    POLY = "POLY"
    WEBEX = "WEBEX"


@dataclass(frozen=True, slots=True)
class Organizer:
    """Who booked a meeting; both parts may be empty."""

    name: str = ""
    email: str = ""

    @property
    def display_name(self) -> str:
        """The name, or the address where there is no name."""
        return self.name or self.email


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open span of time [start, end) of aware UTC datetimes."""

    start: datetime
    end: datetime

    def overlaps(self, start: datetime, end: datetime) -> bool:
        """Whether [start, end) has a part in this window; an empty span counts by its start."""
        return start < self.end and (end > self.start or start == end == self.start)


@dataclass(frozen=True, slots=True)
class Room:
    """A room resource as one profile sees it. E-mail addresses are compared without letter case."""

    email: str
    profile: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "email", self.email.strip().lower())


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a room calendar holds for one occurrence.

    `uid` is the calendar's identity of the booking (the same for all occurrences of a series), `occurrence`
    the original start of this occurrence as `YYYYMMDDTHHMMSSZ`, empty for a single booking. `body_html` and
    `body_text` may both be empty. `properties` holds at most one of the keys `graph`, `ews`, `google`, `ics`
    (that API's own object) or the flat keys of `calendar_event.properties`.
    """

    uid: str
    start_time: datetime
    end_time: datetime
    occurrence: str = ""
    subject: str = ""
    location: str = ""
    body_text: str = ""
    body_html: str = ""
    organizer: Organizer = Organizer()
    is_private: bool = False
    is_all_day: bool = False
    is_cancelled: bool = False
    item_type: CalendarItemType = CalendarItemType.SINGLE
    free_busy: FreeBusyStatus = FreeBusyStatus.BUSY
    created_time: datetime | None = None
    last_modified_time: datetime | None = None
    properties: Mapping[str, Any] = field(default_factory=dict, hash=False)


def _encoded(text: str) -> bytes:
    # a calendar may hold half of a surrogate pair; it must not cost the room its meetings
    return text.encode("utf-8", "surrogatepass")


def meeting_id(room_email: str, uid: str, occurrence: str = "") -> str:
    """A stable id of 32 hexadecimal digits, the same for every endpoint of the room and after every restart."""
    text = "\0".join((room_email.strip().lower(), uid, occurrence))
    return hashlib.sha256(_encoded(text)).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Meeting:
    """What an endpoint shows. `alias` is None where there is nothing to dial: no Join button.

    `change_key` is 24 hexadecimal digits over every visible field, so that it changes exactly when something
    visible changed; `last_modified_time` and `created_time` are not part of it. `invitation_text` is the text of
    the invitation, kept only where an endpoint of the room is to show it.
    """

    id: str
    uid: str
    start_time: datetime
    end_time: datetime
    occurrence: str = ""
    subject: str = ""
    organizer: Organizer = Organizer()
    alias: str | None = None
    dial_protocol: DialProtocol = DialProtocol.SIP
    matched_rule: str = ""
    is_private: bool = False
    is_all_day: bool = False
    item_type: CalendarItemType = CalendarItemType.SINGLE
    free_busy: FreeBusyStatus = FreeBusyStatus.BUSY
    created_time: datetime | None = None
    last_modified_time: datetime | None = None
    invitation_text: str = field(default="", repr=False)
    change_key: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        visible = (self.id, self.uid, self.occurrence, self.start_time.isoformat(), self.end_time.isoformat(),
                   self.subject, self.organizer.name, self.organizer.email, self.alias or "",
                   self.dial_protocol if self.alias else "", self.matched_rule, str(self.is_private),
                   str(self.is_all_day), self.item_type, self.free_busy,
                   *((self.invitation_text,) if self.invitation_text else ()))
        digest = hashlib.sha256(_encoded("\0".join(visible))).hexdigest()
        object.__setattr__(self, "change_key", digest[:24])

    def without_text(self) -> Meeting:
        """The same meeting as endpoints see it that do not show the text of invitations."""
        return replace(self, invitation_text="") if self.invitation_text else self

    @property
    def is_joinable(self) -> bool:
        """Whether an endpoint can offer a Join button."""
        return self.alias is not None

    @property
    def duration(self) -> timedelta:
        """From start to end."""
        return self.end_time - self.start_time
