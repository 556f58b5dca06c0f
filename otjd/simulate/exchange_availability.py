"""GetUserAvailability of a simulated Exchange: when rooms are busy, a hundred of them in one request."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from otjd.meetings.model import Window
from otjd.protocol.ews_availability import GetUserAvailability, availability
from otjd.protocol.markup import boolean, text
from otjd.simulate.calendars import Calendars, Instance
from otjd.simulate.exchange_wire import item_id

_DIGITS = {"Free": 0, "Tentative": 1, "Busy": 2}
_PRIVATE = "Private Appointment"

ERRORS = {
    "ErrorMailRecipientNotFound": "Unable to resolve e-mail address {} to an Active Directory object.",
    "ErrorFreeBusyGenerationFailed": "Unable to generate free/busy information for mailbox {}.",
    "ErrorNoFreeBusyAccess": "The caller does not have access to the free/busy data of {}.",
}

_WORKING = ("<t:WorkingPeriodArray><t:WorkingPeriod><t:DayOfWeek>Monday Tuesday Wednesday Thursday Friday"
            "</t:DayOfWeek><t:StartTimeInMinutes>480</t:StartTimeInMinutes><t:EndTimeInMinutes>1020"
            "</t:EndTimeInMinutes></t:WorkingPeriod></t:WorkingPeriodArray>")


def answer(request: GetUserAvailability, calendars: Calendars, *, trouble: Callable[[str], str],
           shows_details: Callable[[str], bool], has_views: bool = True) -> str:
    """The body of the answer; `has_views`: errors have an empty view beside them.

    `trouble` says of a room with which of ERRORS it is answered, if with any; `shows_details` whether the caller
    may know more of its bookings than when they are.
    """
    def one(address: str) -> str:
        room = address.lower()
        code = trouble(room) if calendars.has_room(room) else "ErrorMailRecipientNotFound"
        if code:
            return _refused(address, code, has_view=has_views)
        return _view(request, room, calendars.instances(room, request.window), has_details=shows_details(room))

    return availability(map(one, request.mailboxes), wants_suggestions=request.wants_suggestions)


def _refused(address: str, code: str, *, has_view: bool) -> str:
    view = "<m:FreeBusyView><t:FreeBusyViewType>None</t:FreeBusyViewType></m:FreeBusyView>" if has_view else ""
    return ('<m:FreeBusyResponse><m:ResponseMessage ResponseClass="Error"><m:MessageText>'
            f"{text(ERRORS.get(code, ERRORS['ErrorFreeBusyGenerationFailed']).format(address[:256]))}"
            f"</m:MessageText><m:ResponseCode>{code}</m:ResponseCode><m:DescriptiveLinkKey>0"
            f"</m:DescriptiveLinkKey></m:ResponseMessage>{view}</m:FreeBusyResponse>")


def _view(request: GetUserAvailability, room: str, instances: tuple[Instance, ...], *, has_details: bool) -> str:
    view = request.view
    details = view.has_details and has_details
    name = view.name if details or not view.has_details else view.name.replace("Detailed", "FreeBusy")
    parts = [f"<t:FreeBusyViewType>{name}</t:FreeBusyViewType>"]
    if view.has_merged:
        parts.append(f"<t:MergedFreeBusy>{_merged(instances, request.window, request.interval)}"
                     "</t:MergedFreeBusy>")
    if view.has_events:
        parts.append("<t:CalendarEventArray>")
        parts += [_event(request, room, i, has_details=details) for i in instances]
        parts.append(f"</t:CalendarEventArray><t:WorkingHours>{request.working_zone}{_WORKING}</t:WorkingHours>")
    return ('<m:FreeBusyResponse><m:ResponseMessage ResponseClass="Success"><m:ResponseCode>NoError'
            f"</m:ResponseCode></m:ResponseMessage><m:FreeBusyView>{''.join(parts)}</m:FreeBusyView>"
            "</m:FreeBusyResponse>")


def _merged(instances: tuple[Instance, ...], window: Window, interval: timedelta) -> str:
    """A digit for each interval: the busiest of the bookings in it."""
    digits = [0] * -((window.start - window.end) // interval)
    for instance in instances:
        booking = instance.booking
        first = max(0, (booking.start_time - window.start) // interval)
        for at in range(first, min(len(digits), -((window.start - booking.end_time) // interval))):
            digits[at] = max(digits[at], _DIGITS[booking.free_busy])
    return "".join(map(str, digits))


def _event(request: GetUserAvailability, room: str, instance: Instance, *, has_details: bool) -> str:
    booking = instance.booking
    told = ""
    if has_details:
        subject, location = (_PRIVATE, "") if booking.is_private else (booking.subject, booking.location)
        told = (f"<t:CalendarEventDetails><t:ID>{_hexadecimal(room, instance)}</t:ID><t:Subject>{text(subject)}"
                f"</t:Subject><t:Location>{text(location)}</t:Location><t:IsMeeting>true</t:IsMeeting>"
                f"<t:IsRecurring>{boolean(bool(instance.occurrence))}</t:IsRecurring>"
                f"<t:IsException>{boolean(instance.is_exception)}</t:IsException>"
                "<t:IsReminderSet>false</t:IsReminderSet>"
                f"<t:IsPrivate>{boolean(booking.is_private)}</t:IsPrivate></t:CalendarEventDetails>")
    return (f"<t:CalendarEvent><t:StartTime>{_wall(booking.start_time, request)}</t:StartTime>"
            f"<t:EndTime>{_wall(booking.end_time, request)}</t:EndTime>"
            f"<t:BusyType>{booking.free_busy}</t:BusyType>{told}</t:CalendarEvent>")


def _hexadecimal(room: str, instance: Instance) -> str:
    return item_id(room, instance.booking.id, instance.occurrence).encode().hex().upper()


def _wall(time: datetime, request: GetUserAvailability) -> str:
    local = time if request.zone is UTC else time.astimezone(request.zone)
    return local.replace(tzinfo=None, microsecond=0).isoformat()
