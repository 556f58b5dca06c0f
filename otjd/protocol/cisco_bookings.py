"""The list of bookings of a Cisco endpoint, in the two forms that endpoints take it.

The private XML of `POST /bookingsputxml` for TC and early CE, and the JSON of `xCommand Bookings Put` within
`POST /putxml` for later ones. Both replace the whole list. Everything is written in ASCII, so that no charset can
be misunderstood on the way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.sax.saxutils import escape

from otjd.meetings.model import DialProtocol, Meeting
from otjd.protocol.cisco_versions import Features

TEXT_LIMIT = 128
"""Characters of titles and names: the limit of `Bookings Book`, the strictest that is published."""

NUMBER_LIMIT = 255
"""Characters of a dialled string: the limit of `Dial` on TC."""

MOST_BOOKINGS = 500
"""The soonest bookings that are sent; no limit is published, and a list without one would have no end."""

SHORTEST = timedelta(minutes=1)
LONGEST = timedelta(days=1)
"""The span of `Duration`, 1 to 1440 minutes as `Bookings Book` takes it."""

CLEAR = b'<Command><Bookings><Clear command="True"/></Bookings></Command>'
"""`xCommand Bookings Clear`: the documented way to an empty list."""

LIST = b'<Command><Bookings><List command="True"/></Bookings></Command>'
"""`xCommand Bookings List`, everything that is stored."""

_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\u007e\u0085\u00a0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SCHEME = re.compile(r"(?:sips?|h323):", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Booking:
    """One entry of the list. Times are whole seconds; `number` is empty where there is nothing to dial.

    Texts are on one line, free of what XML cannot hold, and within the limits above.
    """

    id: str
    title: str
    number: str
    protocol: DialProtocol
    organizer_name: str
    organizer_email: str
    start: datetime
    end: datetime
    start_buffer_s: int = 0
    end_buffer_s: int = 0
    is_private: bool = False

    @property
    def organizer_first_and_last(self) -> tuple[str, str]:
        """The name in two parts that read as it when shown one after the other."""
        first, _, last = self.organizer_name.partition(" ")
        return first, last


def bookings_of(meetings: Iterable[Meeting], *, now: datetime, start_buffer: timedelta,
                end_buffer: timedelta) -> tuple[Booking, ...]:
    """The bookings to show at `now`, the soonest first: those that can still be joined, or are still to come."""
    pending = sorted((m for m in meetings if m.end_time + end_buffer > now),
                     key=lambda m: (m.start_time, m.end_time, m.id))
    return tuple(_booking(m, start_buffer, end_buffer) for m in pending[:MOST_BOOKINGS])


def _booking(meeting: Meeting, start_buffer: timedelta, end_buffer: timedelta) -> Booking:
    start = _whole_seconds(meeting.start_time)
    return Booking(
        id=meeting.id,
        title=_line(meeting.subject, TEXT_LIMIT),
        number=_number(meeting.alias or ""),
        protocol=meeting.dial_protocol,
        organizer_name=_line(meeting.organizer.display_name, TEXT_LIMIT),
        organizer_email=_line(meeting.organizer.email, TEXT_LIMIT),
        start=start,
        end=max(_whole_seconds(meeting.end_time), start + SHORTEST),
        start_buffer_s=_seconds(start_buffer),
        end_buffer_s=_seconds(end_buffer),
        is_private=meeting.is_private)


def bookings_xml(bookings: Sequence[Booking]) -> bytes:
    """The body of `POST /bookingsputxml`.

    A booking without a number has the connect mode Manual and no call, as bookings made by TMS have.
    """
    if not bookings:
        return b'<?xml version="1.0" encoding="UTF-8"?>\n<Bookings status="OK"/>\n'
    entries = "\n".join(_entry(b, item) for item, b in enumerate(bookings, 1))
    document = f'<?xml version="1.0" encoding="UTF-8"?>\n<Bookings status="OK">\n{entries}\n</Bookings>\n'
    return document.encode("ascii", "xmlcharrefreplace")


def _entry(booking: Booking, item: int) -> str:
    first, last = booking.organizer_first_and_last
    return (
        f'<Booking item="{item}">'
        f'{_element("Id", booking.id)}{_element("Title", booking.title)}<Agenda/>'
        f'{_element("Privacy", _privacy(booking))}'
        f'<Organizer>{_element("FirstName", first)}{_element("LastName", last)}'
        f'{_element("Email", booking.organizer_email)}</Organizer>'
        f'<Time><StartTime>{utc_text(booking.start)}</StartTime>'
        f'<StartTimeBuffer>{booking.start_buffer_s}</StartTimeBuffer>'
        f'<EndTime>{utc_text(booking.end)}</EndTime><EndTimeBuffer>{booking.end_buffer_s}</EndTimeBuffer></Time>'
        '<MaximumMeetingExtension>0</MaximumMeetingExtension>'
        '<BookingStatus>OK</BookingStatus><BookingStatusMessage/>'
        '<Webex><Enabled>False</Enabled><MeetingNumber/><Password/></Webex>'
        '<Encryption>BestEffort</Encryption><Role>Master</Role><Recording>Disabled</Recording>'
        f'<DialInfo>{_calls(booking)}</DialInfo></Booking>')


def _calls(booking: Booking) -> str:
    if not booking.number:
        return "<ConnectMode>Manual</ConnectMode>"
    return (f'<Calls><Call item="1">{_element("Number", booking.number)}{_element("Protocol", booking.protocol)}'
            '<CallRate>6000</CallRate><CallType>Video</CallType></Call></Calls><ConnectMode>OBTP</ConnectMode>')


def expressible(bookings: Iterable[Booking], features: Features) -> tuple[Booking, ...]:
    """The bookings that `Bookings Put` of a version can express.

    Before 11.24.1 every booking needs a number, and one without might cost the whole list: it is left out.
    """
    return tuple(b for b in bookings if b.number or features.meetings_without_number)


def bookings_put(bookings: Iterable[Booking], *, features: Features, now: datetime) -> bytes:
    """The body of `POST /putxml` with `xCommand Bookings Put`; with `Bookings Clear` where there is no booking.

    A booking of more than a day is sent as the day of it that runs at `now`, at first its first one: `Duration`
    is documented up to 1440 minutes.
    """
    entries = [_json_entry(b, now) for b in expressible(bookings, features)]
    if not entries:
        return CLEAR
    text = json.dumps({"Bookings": entries}, separators=(",", ":"))
    document = f'<Command><Bookings><Put command="True"><body>{escape(text)}</body></Put></Bookings></Command>'
    return document.encode("ascii")


def _json_entry(booking: Booking, now: datetime) -> dict[str, Any]:
    start = booking.start
    if booking.end - start > LONGEST and now > start:
        start += min((now - start) // LONGEST, (booking.end - SHORTEST - start) // LONGEST) * LONGEST
    # a started minute is a minute, so that Join does not go before the meeting ends
    minutes = -((start - min(booking.end, start + LONGEST)) // timedelta(minutes=1))
    organizer = {"Name": booking.organizer_name}
    if booking.organizer_email:
        organizer["Email"] = booking.organizer_email
    dial = {"Number": booking.number, "Protocol": str(booking.protocol)}
    if not booking.number:
        dial = {"Number": "", "Protocol": "None", "MeetingPlatform": "None"}
    return {"Id": booking.id, "Title": booking.title, "Privacy": _privacy(booking), **dial,
            "Organizer": organizer,
            "Time": {"StartTime": utc_text(start), "Duration": minutes,
                     "StartTimeBuffer": booking.start_buffer_s, "EndTimeBuffer": booking.end_buffer_s}}


def utc_text(moment: datetime) -> str:
    """Whole seconds in UTC, `2026-03-02T08:00:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def without_scheme(number: str) -> str:
    """A dialled string without `sip:`, `sips:` or `h323:`; endpoints want it so."""
    return _SCHEME.sub("", number, count=1) if _SCHEME.match(number) else number


def _element(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>" if text else f"<{name}/>"


def _privacy(booking: Booking) -> str:
    return "Private" if booking.is_private else "Public"


def _line(text: str, limit: int) -> str:
    return " ".join(_NOT_IN_XML.sub("", text).split())[:limit].rstrip()


def _number(alias: str) -> str:
    """What to dial; nothing where it is too long: a part of it would call somebody else."""
    number = without_scheme(_line(alias, len(alias)))
    return number if len(number) <= NUMBER_LIMIT else ""


def _seconds(span: timedelta) -> int:
    return max(0, int(span.total_seconds()))


def _whole_seconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)
