"""A booking as MimeContent: an iCalendar object with its series and exceptions, in a MIME message."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any

from icalendar import Calendar, Event, vRecur

from otjd.simulate.calendars import Booking
from otjd.simulate.exchange_wire import original_start


def mime_content(booking: Booking) -> str:
    """The element. Times of a series are in the zone in which it was booked, which is told with it."""
    calendar = Calendar()
    calendar.add("PRODID", "-//otjd//simulated Exchange//EN")
    calendar.add("VERSION", "2.0")
    calendar.add("METHOD", "REQUEST")
    series = _event(booking, {})
    if booking.rule:
        series.add("RRULE", vRecur.from_ical(booking.rule))
    calendar.add_component(series)
    for mark, changes in booking.exceptions.items():
        original = _at(original_start(mark) or booking.start_time, booking)
        if changes is None:
            series.add("EXDATE", original)
            continue
        length = booking.end_time - booking.start_time
        exception = _event(booking, {"start_time": original, "end_time": original + length, **changes})
        exception.add("RECURRENCE-ID", original)
        calendar.add_component(exception)
    calendar.add_missing_timezones()
    message = EmailMessage()
    message["Subject"] = " ".join(booking.subject.split())
    message.set_content(booking.subject)
    message.add_alternative(calendar.to_ical(), maintype="text", subtype="calendar",
                            params={"charset": "utf-8", "method": "REQUEST"})
    return f'<t:MimeContent CharacterSet="UTF-8">{b64encode(message.as_bytes()).decode("ascii")}</t:MimeContent>'


def _event(booking: Booking, changes: Mapping[str, Any]) -> Event:
    fields = {name: changes.get(name, getattr(booking, name))
              for name in ("start_time", "end_time", "subject", "location", "body_html")}
    event = Event()
    event.add("UID", booking.uid)
    event.add("DTSTAMP", booking.modified_time.astimezone(UTC))
    event.add("DTSTART", _at(fields["start_time"], booking))
    event.add("DTEND", _at(fields["end_time"], booking))
    event.add("SUMMARY", fields["subject"])
    event.add("LOCATION", fields["location"])
    event.add("X-ALT-DESC", fields["body_html"], parameters={"FMTTYPE": "text/html"})
    return event


def _at(time: datetime, booking: Booking) -> datetime:
    return time.astimezone(booking.start_time.tzinfo)
