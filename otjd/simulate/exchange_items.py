"""Bookings as `t:CalendarItem`: exactly the properties that a shape asks for, in the order of the schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from lxml import etree, html

from otjd.protocol import ews_ids, markup
from otjd.protocol.ews_shapes import ExtendedField, read_shape
from otjd.protocol.markup import attribute, text
from otjd.protocol.request_parts import part
from otjd.protocol.soap import SoapFault
from otjd.protocol.timezones import write_date_time
from otjd.simulate.calendars import Booking, Instance
from otjd.simulate.exchange_icalendar import mime_content
from otjd.simulate.exchange_wire import Denied, change_key_of, item_id, original_start

_ACCEPTED_MEETING = 3
_TEXT_CONTENT = etree.XPath("string()")


@dataclass(frozen=True, slots=True)
class Item:
    """An occurrence, a single booking or, with `is_master`, a series as a whole, in the calendar of `room`."""

    room: str
    instance: Instance
    is_master: bool = False

    @property
    def booking(self) -> Booking:
        """What is booked, with what is different on this occasion."""
        return self.instance.booking

    @property
    def kind(self) -> str:
        """The t:CalendarItemType."""
        if self.is_master:
            return "RecurringMaster"
        if not self.instance.occurrence:
            return "Single"
        return "Exception" if self.instance.is_exception else "Occurrence"


@dataclass(frozen=True, slots=True)
class Shape:
    """What is asked of each item: the base shape, and names of FieldURI; `body` is Best, HTML or Text."""

    base: str
    fields: frozenset[str] = frozenset()
    extended: tuple[ExtendedField, ...] = ()
    body: str = "Best"
    unique_body: str = "Best"
    mime_content: bool = False


def read_item_shape(element: etree._Element) -> Shape:
    """The ItemShape of a request.

    :raises SoapFault: there is none, or it is not of the schema.
    """
    shape = part(element, "ItemShape")
    tolerant = read_shape(shape)
    fields = frozenset(e.get("FieldURI", "") for e in
                       markup.children(markup.child(shape, "AdditionalProperties"), "FieldURI"))
    return Shape(markup.content(part(shape, "BaseShape")), fields, tolerant.extended,
                 markup.content(markup.child(shape, "BodyType")) or "Best",
                 markup.content(markup.child(shape, "UniqueBodyType")) or "Best", tolerant.mime_content)


def _tag(name: str, value: str) -> str:
    return f"<t:{name}>{text(value)}</t:{name}>"


def _flag(name: str, value: bool) -> str:
    return f"<t:{name}>{'true' if value else 'false'}</t:{name}>"


def _time(name: str, value: datetime | None) -> str:
    return f"<t:{name}>{write_date_time(value)}</t:{name}>" if value is not None else ""


def _mailbox(name: str, email: str, *, name_only: bool = False) -> str:
    address = "" if name_only or not email else _tag("EmailAddress", email) + "<t:RoutingType>SMTP</t:RoutingType>"
    return f"<t:Mailbox>{_tag('Name', name or email)}{address}</t:Mailbox>"


def _organizer(item: Item, *, name_only: bool = False) -> str:
    organizer = item.booking.organizer
    inside = _mailbox(organizer.name, organizer.email or item.room, name_only=name_only)
    return f"<t:Organizer>{inside}</t:Organizer>"


def _attendee(mailbox: str, answer: str) -> str:
    return f"<t:Attendee>{mailbox}<t:ResponseType>{answer}</t:ResponseType></t:Attendee>"


def _attendees(item: Item) -> str:
    organizer = item.booking.organizer
    if not organizer.email:
        return ""
    return ("<t:RequiredAttendees>" + _attendee(_mailbox(organizer.name, organizer.email), "Organizer")
            + "</t:RequiredAttendees>")


def _resources(item: Item) -> str:
    return f"<t:Resources>{_attendee(_mailbox(item.room, item.room), 'Accept')}</t:Resources>"


@lru_cache(maxsize=16)
def _plain(body_html: str) -> str:
    if not body_html.strip():
        return ""
    return str(_TEXT_CONTENT(html.fromstring(f"<div>{body_html}</div>"))).strip()


def _body(name: str, booking: Booking, kind: str) -> str:
    if kind == "Text" or (kind == "Best" and not booking.body_html):
        return f'<t:{name} BodyType="Text">{text(_plain(booking.body_html))}</t:{name}>'
    return f'<t:{name} BodyType="HTML">{text(booking.body_html)}</t:{name}>'


def _extended(item: Item, shape: Shape) -> str:
    """The named properties of PublicStrings that are asked for; those that the item does not have are left out."""
    found = ""
    for field in shape.extended:
        value = item.booking.properties.get(field.name)
        if value is None or field.property_set != "PublicStrings" or field.property_type != "String":
            continue
        where = (f'PropertySetId="{attribute(field.guid)}"' if field.guid
                 else f'DistinguishedPropertySetId="{field.property_set}"')
        found += (f'<t:ExtendedProperty><t:ExtendedFieldURI {where} PropertyName="{attribute(field.name)}" '
                  f'PropertyType="String"/>{_tag("Value", value)}</t:ExtendedProperty>')
    return found


def _change_marks(item: Item) -> str:
    mark = item.instance.occurrence
    return (f'<t:ItemId Id="{item_id(item.room, item.booking.id, mark)}" '
            f'ChangeKey="{change_key_of(item.booking)}"/>')


_UTC_ZONE = 'Id="UTC" Name="(UTC) Coordinated Universal Time"/>'
_Writer = Callable[[Item, Shape], str]


def _always(written: str) -> _Writer:
    return lambda _item, _shape: written


_WRITERS: Mapping[str, _Writer] = {
    "item:ItemId": lambda i, _: _change_marks(i),
    "item:ParentFolderId": lambda i, _: f'<t:ParentFolderId Id="{ews_ids.folder_id(i.room, "calendar")}"/>',
    "item:ItemClass": lambda i, _: _tag("ItemClass", "IPM.Appointment" if not i.instance.occurrence else
                                        "IPM.Appointment.Occurrence"),
    "item:Subject": lambda i, _: _tag("Subject", i.booking.subject),
    "item:Sensitivity": lambda i, _: _tag("Sensitivity", "Private" if i.booking.is_private else "Normal"),
    "item:Body": lambda i, s: _body("Body", i.booking, s.body),
    "item:DateTimeReceived": lambda i, _: _time("DateTimeReceived", i.booking.created_time),
    "item:Size": lambda i, _: _tag("Size", str(1000 + len(i.booking.body_html))),
    "item:Importance": _always(_tag("Importance", "Normal")),
    "item:DateTimeSent": lambda i, _: _time("DateTimeSent", i.booking.created_time),
    "item:DateTimeCreated": lambda i, _: _time("DateTimeCreated", i.booking.created_time),
    "item:ReminderIsSet": _always(_flag("ReminderIsSet", False)),
    "item:ReminderMinutesBeforeStart": _always(_tag("ReminderMinutesBeforeStart", "15")),
    "item:HasAttachments": _always(_flag("HasAttachments", False)),
    "extended": _extended,
    "item:LastModifiedTime": lambda i, _: _time("LastModifiedTime", i.booking.modified_time),
    "item:UniqueBody": lambda i, s: _body("UniqueBody", i.booking, s.unique_body),
    "item:TextBody": lambda i, _: _body("TextBody", i.booking, "Text"),
    "calendar:UID": lambda i, _: _tag("UID", i.booking.uid),
    "calendar:RecurrenceId": lambda i, _: _time("RecurrenceId", original_start(i.instance.occurrence)),
    "calendar:DateTimeStamp": lambda i, _: _time("DateTimeStamp", i.booking.modified_time),
    "calendar:Start": lambda i, _: _time("Start", i.booking.start_time),
    "calendar:End": lambda i, _: _time("End", i.booking.end_time),
    "calendar:OriginalStart": lambda i, _: _time("OriginalStart", original_start(i.instance.occurrence)),
    "calendar:IsAllDayEvent": lambda i, _: _flag("IsAllDayEvent", i.booking.is_all_day),
    "calendar:LegacyFreeBusyStatus": lambda i, _: _tag("LegacyFreeBusyStatus", i.booking.free_busy),
    "calendar:Location": lambda i, _: _tag("Location", i.booking.location),
    "calendar:IsMeeting": _always(_flag("IsMeeting", True)),
    "calendar:IsCancelled": _always(_flag("IsCancelled", False)),
    "calendar:IsRecurring": lambda i, _: _flag("IsRecurring", bool(i.instance.occurrence)),
    "calendar:CalendarItemType": lambda i, _: _tag("CalendarItemType", i.kind),
    "calendar:MyResponseType": _always(_tag("MyResponseType", "Accept")),
    "calendar:Organizer": lambda i, _: _organizer(i),
    "calendar:RequiredAttendees": lambda i, _: _attendees(i),
    "calendar:Resources": lambda i, _: _resources(i),
    "calendar:AppointmentSequenceNumber": _always(_tag("AppointmentSequenceNumber", "0")),
    "calendar:AppointmentState": _always(_tag("AppointmentState", str(_ACCEPTED_MEETING))),
    "calendar:StartTimeZone": _always(f"<t:StartTimeZone {_UTC_ZONE}"),
    "calendar:EndTimeZone": _always(f"<t:EndTimeZone {_UTC_ZONE}"),
}

_DEFAULT = frozenset({"item:Subject", "item:HasAttachments", "item:Body", "calendar:Start", "calendar:End",
                      "calendar:LegacyFreeBusyStatus", "calendar:Location", "calendar:CalendarItemType",
                      "calendar:Organizer", "calendar:RequiredAttendees", "calendar:Resources"})
_ON_REQUEST = frozenset({"item:UniqueBody", "item:TextBody", "calendar:StartTimeZone", "calendar:EndTimeZone"})
_NOT_IN_LISTS = frozenset({"item:Body", "item:UniqueBody", "item:TextBody", "item:MimeContent",
                           "calendar:RequiredAttendees", "calendar:OptionalAttendees", "calendar:Resources"})
_SHORT_IN_LISTS: Mapping[str, _Writer] = {"calendar:Organizer": lambda i, _: _organizer(i, name_only=True)}
_SINCE = {"item:UniqueBody": 2010, "calendar:StartTimeZone": 2010, "calendar:EndTimeZone": 2010,
          "item:TextBody": 2013}


def check_version(shape: Shape, version: str) -> None:
    """Let pass a shape whose properties the version of the request knows; without one it is Exchange 2007.

    :raises SoapFault: ErrorIncorrectSchemaVersion.
    """
    asked = int(version[8:12]) if version[8:12].isdigit() else 2007
    newer = [name for name in shape.fields if _SINCE.get(name, 2007) > asked]
    if newer:
        raise SoapFault("ErrorIncorrectSchemaVersion", f"The property {newer[0]} is not available in the version "
                                                       "of the request.")


@lru_cache(maxsize=128)
def _writers(base: str, fields: frozenset[str], *, in_list: bool) -> tuple[_Writer, ...]:
    wanted = {"item:ItemId", "extended", *fields}
    if base == "AllProperties":
        wanted |= _WRITERS.keys() - _ON_REQUEST
    elif base == "Default":
        wanted |= _DEFAULT
    if in_list:
        wanted -= _NOT_IN_LISTS
        return tuple(_SHORT_IN_LISTS.get(name, writer) for name, writer in _WRITERS.items() if name in wanted)
    return tuple(writer for name, writer in _WRITERS.items() if name in wanted)


def check_list_shape(shape: Shape) -> None:
    """Let pass a shape that FindItem can answer: neither bodies nor attendees are in the folder's table.

    :raises Denied: ErrorInvalidPropertyForOperation.
    """
    if shape.fields & _NOT_IN_LISTS:
        raise Denied("ErrorInvalidPropertyForOperation")


def write_item(item: Item, shape: Shape, *, in_list: bool = False) -> str:
    """The item with what `shape` asks for; `in_list` without what lists never have."""
    inside = "".join(write(item, shape) for write in _writers(shape.base, shape.fields, in_list=in_list))
    if shape.mime_content and not in_list:
        inside = mime_content(item.booking) + inside
    return f"<t:CalendarItem>{inside}</t:CalendarItem>"


def master(room: str, booking: Booking) -> Item:
    """A single booking, or a series as a whole."""
    return Item(room, Instance(booking), is_master=bool(booking.rule))
