"""A meeting as a `t:CalendarItem`, in the element order of the schema.

Everything that does not depend on the request is written once, as `ItemText`; the body and what is asked for
beyond the usual are put between its parts. All properties of poly.md section 6.1 are always there, whatever the
BaseShape.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple, Protocol

from otjd.meetings.model import CalendarItemType, DialProtocol, Meeting
from otjd.protocol import ews_ids
from otjd.protocol.ews_shapes import BodyType, ExtendedField, ItemShape
from otjd.protocol.markup import attribute, text, visible
from otjd.protocol.timezones import write_date_time

REMINDER_MINUTES = 5
"""What is told as reminder: the default of the devices' own setting."""

SHORTEST = timedelta(minutes=1)
"""Length that is shown of a meeting that ends when it starts: clients drop items whose End is not after Start."""

_ACCEPTED_MEETING = 3
"""AppointmentState of a meeting (1) that was received (2)."""

_GLOBAL_OBJECT_ID, _CLEAN_GLOBAL_OBJECT_ID = 3, 35

# property tags: what gateways to IMAP and CalDAV need of each item
_SUBJECT, _ARTICLE_NUMBER, _CREATION_TIME, _MODIFICATION_TIME, _NAME_IN_URLS = 0x37, 0xE23, 0x3007, 0x3008, 0x10F3

_SCHEMES = ("sip:", "sips:", "h323:", "tel:")
_ITEM_START = "<t:CalendarItem>"
_CLASS, _CLASS_IN_SERIES = "IPM.Appointment", "IPM.Appointment.Occurrence"


class Bodies(Protocol):
    """The two forms of a body; both may be empty."""

    @property
    def text(self) -> str:
        """Plain."""
        ...

    @property
    def html(self) -> str:
        """A document."""
        ...


class ItemText(NamedTuple):
    """A calendar item in the pieces between which something may be inserted."""

    before_body: str
    before_extended: str
    before_other_bodies: str
    rest: str


class _Person(NamedTuple):
    """Whose meeting it is: never an empty name, and the texts that tell of it."""

    name: str
    email: str
    mailbox: str
    attendee: str


@lru_cache(maxsize=8192)  # the same people and rooms come again and again
def _person(name: str, email: str) -> _Person | None:
    """None where there is nothing to see."""
    shown = visible(name) or visible(email)
    if not shown:
        return None
    mailbox = _mailbox(shown, visible(email))
    return _Person(shown, visible(email), mailbox, _attendee(mailbox, "Organizer"))


def _organizer(meeting: Meeting, room_email: str) -> _Person:
    """The organizer, or the mailbox itself where none is named."""
    organizer = _person(meeting.organizer.name, meeting.organizer.email)
    if organizer is None or organizer.name == room_email:
        mailbox = _mailbox(room_email, room_email)
        return _Person(room_email, room_email, mailbox, _attendee(mailbox, "Organizer"))
    return organizer


def shown_subject(meeting: Meeting, room_email: str) -> str:
    """The subject, or whose meeting it is where there is none. Never empty."""
    return visible(meeting.subject) or _organizer(meeting, room_email).name


def organizer_mailbox(meeting: Meeting, room_email: str) -> tuple[str, str]:
    """Name and address of whose meeting it is; the address is empty where none is known."""
    organizer = _organizer(meeting, room_email)
    return organizer.name, organizer.email


def created_time(meeting: Meeting) -> datetime:
    """When it was booked, as far as that is known."""
    return meeting.created_time or meeting.last_modified_time or meeting.start_time


def modified_time(meeting: Meeting) -> datetime:
    """When it was changed last, as far as that is known."""
    return meeting.last_modified_time or created_time(meeting)


def dial_uri(meeting: Meeting) -> str:
    """What to dial as a URI, such as `sip:room@video.example.com`; empty where there is nothing to dial."""
    if not meeting.alias:
        return ""
    if ":" in meeting.alias and meeting.alias.lower().startswith(_SCHEMES):
        return meeting.alias
    return f"{'h323' if meeting.dial_protocol is DialProtocol.H323 else 'sip'}:{meeting.alias}"


class _OfRoom(NamedTuple):
    parent_folder: str
    attendee: str


@lru_cache(maxsize=8192)
def _of_room(room_email: str) -> _OfRoom:
    """What all items of a room have in common."""
    return _OfRoom(f'<t:ParentFolderId Id="{ews_ids.folder_id(room_email, "calendar")}"/>',
                   _attendee(_mailbox(room_email, room_email), "Accept"))


def item_text(meeting: Meeting, *, room_email: str, change_key: str, location: str = "") -> ItemText:
    """Write what every answer tells of `meeting`; `change_key` as `ews_ids` makes it."""
    in_series = meeting.item_type is not CalendarItemType.SINGLE
    of_room = _of_room(room_email)
    organizer = _organizer(meeting, room_email)
    when, duration = _when(meeting.start_time, meeting.end_time)
    recurrence_id = original_start = ""
    if meeting.occurrence and (original := _occurrence_start(meeting.occurrence)):
        recurrence_id = f"<t:RecurrenceId>{write_date_time(original)}</t:RecurrenceId>"
        original_start = f"<t:OriginalStart>{write_date_time(original)}</t:OriginalStart>"
    return ItemText(
        before_body=(
            f'{_ITEM_START}<t:ItemId Id="{ews_ids.item_id(meeting.id)}" ChangeKey="{change_key}"/>'
            f"{of_room.parent_folder}"
            f"<t:ItemClass>{_CLASS_IN_SERIES if in_series else _CLASS}</t:ItemClass>"
            f"<t:Subject>{text(visible(meeting.subject) or organizer.name)}</t:Subject>"
            f"<t:Sensitivity>{'Private' if meeting.is_private else 'Normal'}</t:Sensitivity>"),
        before_extended=(
            f"<t:Importance>Normal</t:Importance><t:DateTimeCreated>{write_date_time(created_time(meeting))}"
            "</t:DateTimeCreated>"
            "<t:ReminderIsSet>true</t:ReminderIsSet>"
            f"<t:ReminderMinutesBeforeStart>{REMINDER_MINUTES}</t:ReminderMinutesBeforeStart>"
            "<t:HasAttachments>false</t:HasAttachments>"),
        before_other_bodies=f"<t:LastModifiedTime>{write_date_time(modified_time(meeting))}"
                            "</t:LastModifiedTime>",
        rest=(
            f"<t:UID>{ews_ids.global_object_id(meeting.uid, meeting.occurrence).hex().upper()}</t:UID>"
            f"{recurrence_id}"
            f"{when}"
            f"{original_start}<t:IsAllDayEvent>{'true' if meeting.is_all_day else 'false'}</t:IsAllDayEvent>"
            f"<t:LegacyFreeBusyStatus>{meeting.free_busy}</t:LegacyFreeBusyStatus>"
            f"<t:Location>{text(location)}</t:Location><t:IsMeeting>true</t:IsMeeting>"
            "<t:IsCancelled>false</t:IsCancelled>"
            f"<t:IsRecurring>{'true' if in_series else 'false'}</t:IsRecurring>"
            f"<t:CalendarItemType>{meeting.item_type}</t:CalendarItemType><t:MyResponseType>Accept</t:MyResponseType>"
            f"<t:Organizer>{organizer.mailbox}</t:Organizer>"
            f"<t:RequiredAttendees>{organizer.attendee}"
            f"{of_room.attendee}</t:RequiredAttendees>"
            f"{duration}<t:TimeZone>(UTC) Coordinated Universal Time</t:TimeZone>"
            f"<t:AppointmentState>{_ACCEPTED_MEETING}</t:AppointmentState>"
            '<t:StartTimeZone Id="UTC" Name="(UTC) Coordinated Universal Time"/>'
            '<t:EndTimeZone Id="UTC" Name="(UTC) Coordinated Universal Time"/></t:CalendarItem>'))


def item_with_bodies(written: ItemText, bodies: Bodies, shape: ItemShape, extended: str, mime: str = "") -> str:
    """The item with its body, and with the other bodies that are asked for; `extended` and `mime` are XML text."""
    others = ""
    if shape.unique_body is not None:
        others += _body("UniqueBody", shape.unique_body, bodies)
    if shape.normalized_body is not None:
        others += _body("NormalizedBody", shape.normalized_body, bodies)
    if shape.text_body:
        others += _body("TextBody", BodyType.TEXT, bodies)
    start = written.before_body
    if mime:
        start = f"{_ITEM_START}{mime}{start.removeprefix(_ITEM_START)}"
    return "".join((start, _body("Body", shape.body, bodies), written.before_extended, extended,
                    written.before_other_bodies, others, written.rest))


def item_without_bodies(written: ItemText, extended: str) -> str:
    """The item as a list shows it; `extended` is XML text."""
    if not extended:
        return "".join(written)
    return "".join((written.before_body, written.before_extended, extended, written.before_other_bodies,
                    written.rest))


def extended_properties(meeting: Meeting, tokens: Mapping[str, str], fields: Iterable[ExtendedField]) -> str:
    """Those of the asked MAPI properties that the meeting has; the others are left out, as Exchange does.

    `tokens` are its POLYCOM-* properties.
    """
    return "".join(_extended_property(field, value) for field in fields
                   if (value := _extended_value(field, meeting, tokens)) is not None)


def _extended_value(field: ExtendedField, meeting: Meeting, tokens: Mapping[str, str]) -> str | None:
    if not field.property_set:
        return _tagged_value(field, meeting)
    if field.property_set == "PublicStrings":
        return tokens.get(field.name) if field.property_type == "String" else None
    if field.property_type != "Binary" or field.number not in (_GLOBAL_OBJECT_ID, _CLEAN_GLOBAL_OBJECT_ID):
        return None
    occurrence = meeting.occurrence if field.number == _GLOBAL_OBJECT_ID else ""
    return base64.b64encode(ews_ids.global_object_id(meeting.uid, occurrence)).decode("ascii")


def _tagged_value(field: ExtendedField, meeting: Meeting) -> str | None:
    values = {
        (_SUBJECT, "String"): visible(meeting.subject),
        (_ARTICLE_NUMBER, "Integer"): str(int(meeting.id[:8], 16) >> 1 or 1),  # positive, hardly ever twice
        (_CREATION_TIME, "SystemTime"): write_date_time(created_time(meeting)),
        (_MODIFICATION_TIME, "SystemTime"): write_date_time(modified_time(meeting)),
        (_NAME_IN_URLS, "String"): f"{meeting.id}.EML"}
    return values.get((field.number or 0, field.property_type))


def _extended_property(field: ExtendedField, value: str) -> str:
    if not field.property_set:
        return (f'<t:ExtendedProperty><t:ExtendedFieldURI PropertyTag="0x{field.number:x}" '
                f'PropertyType="{field.property_type}"/><t:Value>{text(value)}</t:Value></t:ExtendedProperty>')
    in_set = (f'PropertySetId="{attribute(field.guid)}"' if field.guid
              else f'DistinguishedPropertySetId="{field.property_set}"')
    which = f'PropertyName="{attribute(field.name)}"' if field.name else f'PropertyId="{field.number}"'
    return (f'<t:ExtendedProperty><t:ExtendedFieldURI {in_set} {which} PropertyType="{field.property_type}"/>'
            f"<t:Value>{text(value)}</t:Value></t:ExtendedProperty>")


def _body(name: str, body_type: BodyType, bodies: Bodies) -> str:
    body = bodies.html if body_type is BodyType.HTML else bodies.text
    return f'<t:{name} BodyType="{body_type}">{text(body)}</t:{name}>'


def _mailbox(name: str, email: str) -> str:
    address = f"<t:EmailAddress>{text(email)}</t:EmailAddress><t:RoutingType>SMTP</t:RoutingType>" if email else ""
    return f"<t:Mailbox><t:Name>{text(name)}</t:Name>{address}</t:Mailbox>"


def _attendee(mailbox: str, response: str) -> str:
    return f"<t:Attendee>{mailbox}<t:ResponseType>{response}</t:ResponseType></t:Attendee>"


@lru_cache(maxsize=8192)  # meetings begin and end at few times of a day, and each is told again and again
def _when(start: datetime, end: datetime) -> tuple[str, str]:
    """Start with End, and Duration."""
    end = max(end, start + SHORTEST)
    return (f"<t:Start>{write_date_time(start)}</t:Start><t:End>{write_date_time(end)}</t:End>",
            f"<t:Duration>{_duration(end - start)}</t:Duration>")


def _duration(length: timedelta) -> str:
    """An ISO 8601 duration in the form of Exchange, such as `PT1H30M`."""
    minutes, seconds = divmod(int(length.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    time = "".join(f"{n}{unit}" for n, unit in ((hours, "H"), (minutes, "M"), (seconds, "S")) if n)
    return f"P{f'{days}D' if days else ''}{f'T{time}' if time else ''}"


def _occurrence_start(occurrence: str) -> datetime | None:
    try:
        return datetime.strptime(occurrence, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
