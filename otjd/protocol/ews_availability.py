"""GetUserAvailability: the free/busy view of a mailbox ([MS-OXWAVLS]).

Times of this operation are wall times in the zone that the request defines, in the request and in the answer.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo

from lxml import etree

from otjd.meetings.model import CalendarItemType, Meeting, Window
from otjd.protocol import ews_ids, markup
from otjd.protocol.markup import text
from otjd.protocol.request_parts import number, part
from otjd.protocol.soap import MESSAGES, TYPES, SoapFault, schema_violation
from otjd.protocol.timezones import read_date_time
from otjd.protocol.zone_rules import LAST, ChangeDay, ZoneRule

MAILBOXES_LIMIT = 100
"""Mailboxes in one request."""

WINDOW_LIMIT = timedelta(days=42)
"""The longest span of a request."""

SHORTEST_INTERVAL_MIN, LONGEST_INTERVAL_MIN, USUAL_INTERVAL_MIN = 5, 1440, 30
"""Bounds of MergedFreeBusyIntervalInMinutes, and what it is where a request does not say."""

_OFFSET_LIMIT_MIN = 14 * 60
_NO_DATA = "4"
_DIGITS = {"Free": "0", "Tentative": "1", "Busy": "2"}
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_TIME = re.compile(r"(\d\d):(\d\d):(\d\d)(?:\.\d{1,9})?", re.ASCII)
_VIEWS = {"None": (False, False, False), "MergedOnly": (True, False, False), "FreeBusy": (False, True, False),
          "FreeBusyMerged": (True, True, False), "Detailed": (False, True, True),
          "DetailedMerged": (True, True, True)}


@dataclass(frozen=True, slots=True)
class RequestedView:
    """What a FreeBusyViewType stands for: the merged digits, the events, and their details."""

    name: str
    has_merged: bool
    has_events: bool
    has_details: bool


@dataclass(frozen=True, slots=True)
class GetUserAvailability:
    """Tell when these mailboxes are busy within `window`. `working_zone` is the request's zone as XML text."""

    mailboxes: tuple[str, ...]
    window: Window
    interval: timedelta
    view: RequestedView
    zone: tzinfo
    working_zone: str
    wants_suggestions: bool = False


@dataclass(frozen=True, slots=True)
class BusyTime:
    """A meeting as a free/busy view shows it."""

    meeting: Meeting
    start: datetime
    end: datetime
    subject: str
    location: str


def read_get_user_availability(element: etree._Element, zone: tzinfo) -> GetUserAvailability:
    """Read the request; without a TimeZone of its own its times are in `zone`.

    :raises SoapFault: a part is missing or outside its type, or more is asked for than is answered.
    """
    defined, rule = markup.child(element, "TimeZone"), ZoneRule(timedelta())
    if defined is not None:
        rule = _read_zone(defined)
        zone = rule.zone()
    mailboxes = tuple(markup.content(markup.child(markup.child(e, "Email"), "Address"))
                      for e in markup.children(part(element, "MailboxDataArray"), "MailboxData"))
    if not mailboxes:
        raise schema_violation("The element 'MailboxDataArray' has incomplete content.", element)
    if len(mailboxes) > MAILBOXES_LIMIT:
        raise SoapFault("ErrorMailboxDataArrayTooBig", f"The request names {len(mailboxes)} mailboxes; at most "
                                                       f"{MAILBOXES_LIMIT} are allowed.")
    options = part(element, "FreeBusyViewOptions")
    span = part(options, "TimeWindow")
    return GetUserAvailability(
        mailboxes, _window(_read_time(span, "StartTime", zone), _read_time(span, "EndTime", zone)),
        _interval(options), _view(options), zone, _written_zone(rule),
        wants_suggestions=markup.child(element, "SuggestionsViewOptions") is not None)


def _read_time(element: etree._Element, name: str, zone: tzinfo) -> datetime:
    found = part(element, name)
    try:
        return read_date_time(markup.content(found), zone)
    except ValueError as error:
        raise schema_violation(f"The element '{name}' is invalid: {error}.", found) from None


def _window(start: datetime, end: datetime) -> Window:
    if end <= start:
        raise SoapFault("ErrorInvalidTimeInterval", "FreeBusyViewOptions.TimeWindow is invalid: its end is not "
                                                    "after its start.")
    if end - start > WINDOW_LIMIT:
        raise SoapFault("ErrorTimeIntervalTooBig", "FreeBusyViewOptions.TimeWindow is too long: at most "
                                                   f"{WINDOW_LIMIT.days} days are allowed.")
    return Window(start, end)


def _interval(options: etree._Element) -> timedelta:
    found = markup.child(options, "MergedFreeBusyIntervalInMinutes")
    minutes = USUAL_INTERVAL_MIN if found is None else _number(found)
    if not SHORTEST_INTERVAL_MIN <= minutes <= LONGEST_INTERVAL_MIN:
        raise SoapFault("ErrorInvalidMergedFreeBusyInterval", "MergedFreeBusyIntervalInMinutes must be from "
                        f"{SHORTEST_INTERVAL_MIN} to {LONGEST_INTERVAL_MIN}.")
    return timedelta(minutes=minutes)


def _view(options: etree._Element) -> RequestedView:
    """The view that is asked for; a list of several stands for all that they show together."""
    names = markup.content(markup.child(options, "RequestedView")).split()[:len(_VIEWS)] or ["FreeBusy"]
    if any(name not in _VIEWS for name in names):
        raise schema_violation(f"The value '{' '.join(names)[:60]}' of 'RequestedView' is not one of "
                               f"{', '.join(_VIEWS)}.", options)
    merged, events, details = (any(shown) for shown in zip(*(_VIEWS[name] for name in names), strict=True))
    name = next(name for name, shown in _VIEWS.items() if shown == (merged, events or details, details))
    return RequestedView(name, merged, events, details)


def _number(element: etree._Element) -> int:
    return number(markup.content(element), f"The element '{markup.local_name(element)}'", element)


def _read_zone(element: etree._Element) -> ZoneRule:
    """A SerializableTimeZone: biases are minutes to add to local time to get UTC."""
    bias = _number(part(element, "Bias"))
    offsets, days = [], []
    for name in ("StandardTime", "DaylightTime"):
        found = markup.child(element, name)
        minutes = bias + (_number(part(found, "Bias")) if found is not None else 0)
        if abs(minutes) > _OFFSET_LIMIT_MIN:
            raise SoapFault("ErrorTimeZone", "The time zone of the request is invalid: it is "
                                             f"{minutes} minutes from UTC.")
        offsets.append(timedelta(minutes=-minutes))
        days.append(None if found is None else _read_day(found))
    if offsets[0] == offsets[1] or None in days:
        return ZoneRule(offsets[0])
    return ZoneRule(offsets[0], offsets[1], *days)


def _read_day(element: etree._Element) -> ChangeDay | None:
    """The day of a change; None where there is none, which is written as month 0."""
    month = _number(part(element, "Month"))
    if month == 0:
        return None
    occurrence, weekday = _number(part(element, "DayOrder")), markup.content(part(element, "DayOfWeek"))
    if markup.content(markup.child(element, "Year")) not in ("", "0"):  # then it is one day of one year
        occurrence, weekday = _weekday_of(_number(part(element, "Year")), month, occurrence)
    time = _TIME.fullmatch(markup.content(part(element, "Time")))
    occurrence = LAST if occurrence == -1 else occurrence
    if time is None or not (1 <= month <= 12 and 1 <= occurrence <= LAST and weekday in _WEEKDAYS
                            and int(time[1]) < 24 and int(time[2]) < 60 and int(time[3]) < 60):
        raise SoapFault("ErrorTimeZone", "The time zone of the request is invalid: a change of its clocks is on "
                                         "no day of the year.")
    return ChangeDay(month, _WEEKDAYS.index(weekday), occurrence,
                     timedelta(hours=int(time[1]), minutes=int(time[2]), seconds=int(time[3])))


def _weekday_of(year: int, month: int, day: int) -> tuple[int, str]:
    """Which weekday of its month a date is, and that weekday; 0 where there is no such date."""
    try:
        weekday = date(year, month, day).weekday()
    except (ValueError, OverflowError):
        return 0, ""
    is_last = day + 7 > monthrange(year, month)[1]
    return LAST if is_last else (day - 1) // 7 + 1, _WEEKDAYS[weekday]


def _written_zone(rule: ZoneRule) -> str:
    bias = -int(rule.standard.total_seconds()) // 60
    saved = 0 if rule.daylight is None else int((rule.standard - rule.daylight).total_seconds()) // 60
    return (f"<t:TimeZone><t:Bias>{bias}</t:Bias>"
            f"<t:StandardTime>{_written_day(0, rule.standard_begins)}</t:StandardTime>"
            f"<t:DaylightTime>{_written_day(saved, rule.daylight_begins)}</t:DaylightTime></t:TimeZone>")


def _written_day(bias: int, day: ChangeDay | None) -> str:
    midnight = datetime(2000, 1, 1, tzinfo=UTC)
    time, order, month, weekday = midnight, 0, 0, "Sunday"
    if day is not None:
        time, order, month, weekday = midnight + day.time, day.occurrence, day.month, _WEEKDAYS[day.weekday]
    return (f"<t:Bias>{bias}</t:Bias><t:Time>{time:%H:%M:%S}</t:Time><t:DayOrder>{order}</t:DayOrder>"
            f"<t:Month>{month}</t:Month><t:DayOfWeek>{weekday}</t:DayOfWeek>")


def merged_free_busy(busy: Iterable[BusyTime], window: Window, interval: timedelta, known: Window) -> str:
    """A digit for each interval of `window`: the busiest of its meetings, or 4 where it lies outside `known`."""
    count = -((window.start - window.end) // interval)
    digits = [_DIGITS["Free"]] * count
    for time in busy:
        digit = _DIGITS[time.meeting.free_busy]
        first = max(0, (time.start - window.start) // interval)
        behind = min(count, -((window.start - time.end) // interval))
        for at in range(first, behind):
            digits[at] = max(digits[at], digit)
    first, behind = (known.start - window.start) // interval, -((window.start - known.end) // interval)
    for at in (*range(min(first, count)), *range(max(0, behind), count)):
        if digits[at] == _DIGITS["Free"]:
            digits[at] = _NO_DATA
    return "".join(digits)


def free_busy_view(request: GetUserAvailability, busy: Iterable[BusyTime], known: Window) -> str:
    """What is answered for a mailbox whose meetings within the window are `busy`, in the order of their starts."""
    times, view = list(busy), request.view
    merged = events = hours = ""
    if view.has_merged:
        merged = merged_free_busy(times, request.window, request.interval, known)
        merged = f"<t:MergedFreeBusy>{merged}</t:MergedFreeBusy>"
    if view.has_events:
        inside = "".join(_event(time, request.zone, has_details=view.has_details) for time in times)
        events = f"<t:CalendarEventArray>{inside}</t:CalendarEventArray>"
        hours = f"<t:WorkingHours>{request.working_zone}{_WORKING_PERIODS}</t:WorkingHours>"
    return ('<m:FreeBusyResponse><m:ResponseMessage ResponseClass="Success"><m:ResponseCode>NoError'
            f"</m:ResponseCode></m:ResponseMessage><m:FreeBusyView><t:FreeBusyViewType>{view.name}</t:FreeBusyViewType>"
            f"{merged}{events}{hours}</m:FreeBusyView></m:FreeBusyResponse>")


# what a new mailbox of Exchange has
_WORKING_PERIODS = ("<t:WorkingPeriodArray><t:WorkingPeriod><t:DayOfWeek>Monday Tuesday Wednesday Thursday Friday"
                    "</t:DayOfWeek><t:StartTimeInMinutes>480</t:StartTimeInMinutes><t:EndTimeInMinutes>1020"
                    "</t:EndTimeInMinutes></t:WorkingPeriod></t:WorkingPeriodArray>")


def _event(time: BusyTime, zone: tzinfo, *, has_details: bool) -> str:
    start, end = (f"{at.astimezone(zone):%Y-%m-%dT%H:%M:%S}" for at in (time.start, time.end))
    meeting, details = time.meeting, ""
    if has_details:
        in_series = meeting.item_type is not CalendarItemType.SINGLE
        is_exception = meeting.item_type is CalendarItemType.EXCEPTION
        details = (f"<t:CalendarEventDetails><t:ID>{ews_ids.hexadecimal_item_id(meeting.id)}</t:ID>"
                   f"<t:Subject>{text(time.subject)}</t:Subject><t:Location>{text(time.location)}</t:Location>"
                   f"<t:IsMeeting>true</t:IsMeeting><t:IsRecurring>{markup.boolean(in_series)}</t:IsRecurring>"
                   f"<t:IsException>{markup.boolean(is_exception)}</t:IsException><t:IsReminderSet>true</t:IsReminderSet>"
                   f"<t:IsPrivate>{markup.boolean(meeting.is_private)}</t:IsPrivate></t:CalendarEventDetails>")
    return (f"<t:CalendarEvent><t:StartTime>{start}</t:StartTime><t:EndTime>{end}</t:EndTime>"
            f"<t:BusyType>{meeting.free_busy}</t:BusyType>{details}</t:CalendarEvent>")


def unknown_mailbox(address: str) -> str:
    """What is answered for a mailbox that is not there."""
    return ('<m:FreeBusyResponse><m:ResponseMessage ResponseClass="Error"><m:MessageText>Unable to resolve e-mail '
            f"address {text(address[:256])} to a mailbox.</m:MessageText>"
            "<m:ResponseCode>ErrorMailRecipientNotFound</m:ResponseCode>"
            "<m:DescriptiveLinkKey>0</m:DescriptiveLinkKey></m:ResponseMessage><m:FreeBusyView>"
            "<t:FreeBusyViewType>None</t:FreeBusyViewType></m:FreeBusyView></m:FreeBusyResponse>")


_NO_SUGGESTIONS = ('<m:SuggestionsResponse><m:ResponseMessage ResponseClass="Error"><m:MessageText>Meeting times '
                   "are not suggested by this server.</m:MessageText><m:ResponseCode>ErrorInvalidOperation"
                   "</m:ResponseCode><m:DescriptiveLinkKey>0</m:DescriptiveLinkKey></m:ResponseMessage>"
                   "</m:SuggestionsResponse>")


def availability(responses: Iterable[str], *, wants_suggestions: bool) -> str:
    """The body of the answer. Suggestions are not made here."""
    suggestions = _NO_SUGGESTIONS if wants_suggestions else ""
    return (f'<m:GetUserAvailabilityResponse xmlns:m="{MESSAGES}" xmlns:t="{TYPES}"><m:FreeBusyResponseArray>'
            f"{''.join(responses)}</m:FreeBusyResponseArray>{suggestions}</m:GetUserAvailabilityResponse>")
