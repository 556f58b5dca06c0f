"""The documents that a simulated codec writes: lists of bookings, status, command schema, sub-documents."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from lxml import etree

from otjd.simulate.codec_profiles import Profile
from otjd.simulate.codec_store import BookingStore, StoredBooking


def element(tag: str, *content: etree._Element | str, **attributes: str) -> etree._Element:
    """An element of these children or this text, with these attributes."""
    made = etree.Element(tag, attrib=attributes)
    for part in content:
        if isinstance(part, str):
            made.text = part
        else:
            made.append(part)
    return made


def utc_text(moment: datetime) -> str:
    """`2026-03-02T08:00:00Z`."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def document(root: etree._Element) -> bytes:
    """The bytes of a whole answer."""
    return b'<?xml version="1.0"?>\n' + etree.tostring(root, pretty_print=True)


def _texts(tag: str, **texts: str) -> etree._Element:
    return element(tag, *[element(name, text) for name, text in texts.items()])


def _dial_info(booking: StoredBooking) -> etree._Element:
    info = element("DialInfo")
    if booking.number:
        call = element("Call", element("Number", booking.number), item="1", maxOccurrence="n")
        call.extend([element(name, value) for name, value in
                     (("Protocol", booking.protocol), ("CallType", booking.call_type)) if value])
        info.append(element("Calls", call))
    info.append(element("ConnectMode", booking.connect_mode))
    return info


def booking_element(booking: StoredBooking, number: int, profile: Profile) -> etree._Element:
    """One `Booking` of a list, its children in the order that devices print."""
    newer, older = profile.availability, not profile.availability
    children: list[tuple[bool, etree._Element | tuple[str, str]]] = [
        (True, ("Id", booking.id)), (newer, ("MeetingId", booking.meeting_id)), (True, ("Title", booking.title)),
        (True, ("Agenda", booking.agenda)), (True, ("Privacy", "Private" if booking.private else "Public")),
        (True, _texts("Organizer", FirstName=booking.first_name, LastName=booking.last_name, Email=booking.email,
                      Id="")),
        (True, _texts("Time", StartTime=utc_text(booking.start), StartTimeBuffer=str(booking.start_buffer_s),
                      EndTime=utc_text(booking.end), EndTimeBuffer=str(booking.end_buffer_s))),
        (True, ("MaximumMeetingExtension", "0")), (newer, ("MeetingExtensionAvailability", "")),
        (True, ("BookingStatus", "OK")), (True, ("BookingStatusMessage", "")),
        (newer, ("MeetingPlatform", booking.platform)), (newer, ("Cancellable", "False")),
        (True, _texts("Webex", Enabled="False", Url="", MeetingNumber="", Password="", HostKey="")),
        (True, ("Encryption", "BestEffort")), (older, ("Role", "Master")), (True, ("Recording", "Disabled")),
        (True, _dial_info(booking))]
    present = [element(*child) if isinstance(child, tuple) else child for shown, child in children if shown]
    return element("Booking", *present, item=str(number), maxOccurrence="n")


def bookings_list(name: str, bookings: Iterable[StoredBooking], store: BookingStore,
                  profile: Profile) -> etree._Element:
    """The result of `Bookings List`, in an element of this name."""
    items = [booking_element(b, n, profile) for n, b in enumerate(bookings, 1)]
    updated = utc_text(store.last_updated) if store.last_updated else ""
    return element(name, _texts("ResultInfo", TotalRows=str(len(items))), element("LastUpdated", updated), *items,
                   status="OK")


def status_document(store: BookingStore, now: datetime, profile: Profile) -> etree._Element:
    """`/status.xml`: what the simulation has to tell of unit, clock and bookings."""
    bookings = element("Bookings")
    if profile.current_booking:
        current = store.current(now)
        bookings.append(_texts("Current", Id=current.id if current else ""))
    if profile.availability:
        state, until = store.availability(now)
        bookings.append(_texts("Availability", Status=state, TimeStamp=utc_text(until) if until else ""))
    unit = element("SystemUnit", element("Hardware", _texts("Module", SerialNumber="SIMULATED01")),
                   element("ProductId", profile.product),
                   _texts("Software", DisplayName=profile.software, Version=profile.software))
    return element("Status", bookings, unit, _texts("Time", SystemTime=utc_text(now)),
                   product="Cisco Codec", version=profile.software, apiVersion="4")


def _number(name: str, least: int, most: int) -> etree._Element:
    values = element("ValueSpace", type="Integer", min=str(least), max=str(most))
    return element(name, values, item="1", required="False")


def command_document(profile: Profile) -> etree._Element:
    """`/command.xml`: the commands of the simulation with their arguments."""
    booking_id = element("Id", element("ValueSpace", type="String", maxLength="128"), item="1", required="True")
    listing = [_number("DayOffset", 0, 365), _number("Days", 1, 365), _number("Limit", 1, 65534),
               _number("Offset", 0, 65534)]
    bookings = element("Bookings", element("Clear", command="True"), element("Get", booking_id, command="True"),
                       element("List", *listing, command="True"))
    if profile.bookings_put:
        bookings.append(element("Put", command="True", multiline="True", role="Admin"))
    return element("Command", bookings)


def _attributes(original: etree._Element) -> dict[str, str]:
    return {str(name): str(value) for name, value in original.items()}


def sub_document(root: etree._Element, location: str) -> etree._Element | None:
    """The part of a document that a simple path such as `/Status/Bookings/Current` names, inside its root.

    None where nothing is there. The path is compared name by name; it is no general XPath.
    """
    names = location.removeprefix("/").split("/")
    if names[0] != root.tag or any(not name.isalnum() for name in names):
        return None
    pruned = etree.Element(root.tag, attrib=_attributes(root))
    found, place = [root], pruned
    for depth, name in enumerate(names[1:], 1):
        found = [child for parent in found for child in parent if child.tag == name]
        if found and depth < len(names) - 1:
            place = etree.SubElement(place, name, attrib=_attributes(found[0]))
    if not found:
        return None
    if len(names) == 1:
        return root
    place.extend(found)
    return pruned
