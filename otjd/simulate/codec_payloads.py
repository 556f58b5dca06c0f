"""Reading what is pushed to a codec: the private XML and the public JSON, each as strictly as a device might.

Both give bookings or raise `Refused` with the reason; neither is lenient where a device is not known to be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from lxml import etree

from otjd.simulate.codec_profiles import Profile
from otjd.simulate.codec_store import StoredBooking

XML_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
JSON_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,9})?Z")
UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
XML_PROTOCOLS = frozenset({"", "SIP", "H323", "ISDN", "IP", "Spark", "WebRTC"})
CONNECT_MODES = frozenset({"OBTP", "Manual"})
WEBRTC_PLATFORMS = frozenset({"MicrosoftTeams", "GoogleMeet"})


class Refused(Exception):  # noqa: N818 - it is an answer, not an accident
    """The payload is not taken; the text is the reason."""


class Malformed(Refused):
    """The payload is not well-formed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the codec takes at most."""

    body_bytes: int = 1024 * 1024
    title_characters: int = 128
    id_characters: int = 128
    number_characters: int = 255
    bookings: int | None = None


def parse_xml(data: bytes) -> etree._Element:
    """The root element, read without entities, DTD or network.

    :raises Malformed: not well-formed.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False,
                             remove_comments=True, remove_pis=True)
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise Malformed(f"the document is not well-formed: {error}") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise Malformed("a document type is not allowed")
    return root


def _check_sizes(bookings: list[StoredBooking], limits: Limits) -> list[StoredBooking]:
    if limits.bookings is not None and len(bookings) > limits.bookings:
        raise Refused(f"{len(bookings)} bookings, at most {limits.bookings} are stored")
    for booking in bookings:
        for name, text, most in (("Id", booking.id, limits.id_characters),
                                 ("Title", booking.title, limits.title_characters),
                                 ("Number", booking.number, limits.number_characters)):
            if len(text) > most:
                raise Refused(f"{name} of booking {booking.id[:40]!r} has {len(text)} characters, at most {most}")
        for text in (booking.id, booking.title, booking.number, booking.organizer, booking.email, booking.agenda,
                     booking.meeting_id):
            if UNPRINTABLE.search(text):
                raise Refused("a text has control characters")
    return bookings


# --- private XML -------------------------------------------------------------------------------------------------

def bookings_from_xml(data: bytes, limits: Limits) -> list[StoredBooking]:
    """Read the body of `POST /bookingsputxml`.

    :raises Refused: not well-formed, another root, or a booking without what a button needs.
    """
    root = parse_xml(data)
    if root.tag != "Bookings":
        raise Refused(f"the root is {root.tag!r}, not 'Bookings'")
    clear = root.find("Clear")
    if clear is not None:
        if clear.get("command") != "True" or len(root) > 1:
            raise Refused("Clear stands alone and has command=\"True\"")
        return []
    if root.get("status") != "OK":
        raise Refused("Bookings has no status=\"OK\"")
    return _check_sizes([_xml_booking(element) for element in root.findall("Booking")], limits)


def _text(element: etree._Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _needed(element: etree._Element, path: str) -> str:
    text = _text(element, path)
    if not text:
        raise Refused(f"a booking has no {path}")
    return text


def _xml_time(element: etree._Element, path: str) -> datetime:
    text = _needed(element, path)
    if not XML_TIME.fullmatch(text):
        raise Refused(f"{path} is {text[:40]!r}, not like 2026-03-02T08:00:00Z")
    return _utc(text.removesuffix("Z"))


def _utc(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise Refused(f"{text!r} is no time") from None


def _xml_seconds(element: etree._Element, path: str) -> int:
    text = _text(element, path)
    if text and not re.fullmatch(r"[0-9]{1,6}", text):
        raise Refused(f"{path} is {text[:40]!r}, not a number of seconds")
    return int(text or 0)


def _one_of(name: str, value: str, allowed: frozenset[str]) -> str:
    if value not in allowed:
        raise Refused(f"{name} is {value[:40]!r}, expected one of {', '.join(sorted(allowed - {''}))}")
    return value


def _xml_booking(element: etree._Element) -> StoredBooking:
    if element.find("Title") is None:
        raise Refused("a booking has no Title")
    start, end = _xml_time(element, "Time/StartTime"), _xml_time(element, "Time/EndTime")
    if end < start:
        raise Refused("EndTime is before StartTime")
    calls = element.findall("DialInfo/Calls/Call")
    number = _needed(calls[0], "Number") if calls else ""
    first, last = _text(element, "Organizer/FirstName"), _text(element, "Organizer/LastName")
    return StoredBooking(
        id=_needed(element, "Id"), title=_text(element, "Title"), number=number,
        protocol=_one_of("Protocol", _text(calls[0], "Protocol"), XML_PROTOCOLS) if calls else "",
        organizer=f"{first} {last}".strip(), start=start, end=end,
        start_buffer_s=_xml_seconds(element, "Time/StartTimeBuffer"),
        end_buffer_s=_xml_seconds(element, "Time/EndTimeBuffer"),
        private=_one_of("Privacy", _text(element, "Privacy"), frozenset({"", "Public", "Private"})) == "Private",
        first_name=first, last_name=last, email=_text(element, "Organizer/Email"), agenda=_text(element, "Agenda"),
        platform=_text(element, "MeetingPlatform"), call_type=_text(calls[0], "CallType") if calls else "",
        connect_mode=_one_of("ConnectMode", _needed(element, "DialInfo/ConnectMode"), CONNECT_MODES),
        meeting_id=_text(element, "MeetingId"))


# --- public JSON -------------------------------------------------------------------------------------------------

def bookings_from_json(text: str, profile: Profile, limits: Limits) -> list[StoredBooking]:
    """Read the multiline JSON of `xCommand Bookings Put`; fields that it does not know are let pass.

    :raises Refused: no JSON, a required field is missing, or a value that the profile does not know.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"the body is no JSON: {error}") from None
    entries = document.get("Bookings") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise Refused("the body is no object with a list of Bookings")
    bookings = [_json_booking(entry, profile) for entry in entries]
    if len({b.id for b in bookings}) < len(bookings):
        raise Refused("two bookings have the same Id")
    return _check_sizes(bookings, limits)


def _field(entry: Mapping[str, Any], name: str, kind: type, *, required: bool = True) -> Any:
    value = entry.get(name)
    if value is None and not required:
        return kind()
    if value is None:
        raise Refused(f"{name} is missing")
    if not isinstance(value, kind) or isinstance(value, bool):
        raise Refused(f"{name} is {str(value)[:40]!r}, expected {kind.__name__}")
    return value


def _choice(entry: Mapping[str, Any], name: str, allowed: frozenset[str], default: str) -> str:
    value: str = _field(entry, name, str, required=False) or default
    return value if value == default else _one_of(name, value, allowed)


def _json_seconds(entry: Mapping[str, Any], name: str) -> int:
    value: int = _field(entry, name, int, required=False)
    if not 0 <= value < 1_000_000:
        raise Refused(f"{name} is {value}, not a number of seconds")
    return value


def _json_times(time: Mapping[str, Any]) -> tuple[datetime, datetime]:
    text: str = _field(time, "StartTime", str)
    match = JSON_TIME.fullmatch(text)
    if match is None:
        raise Refused(f"StartTime is {text[:40]!r}, not like 2026-03-02T08:00:00Z")
    minutes: int = _field(time, "Duration", int)
    start = _utc(match[1])
    try:
        end = start + timedelta(minutes=minutes)
    except OverflowError:
        end = start - timedelta(minutes=1)
    if end < start:
        raise Refused(f"Duration is {minutes}, not a number of minutes")
    return start, end


def _json_booking(entry: Any, profile: Profile) -> StoredBooking:
    if not isinstance(entry, dict):
        raise Refused(f"a booking is {str(entry)[:40]!r}, not an object")
    protocol = _one_of("Protocol", _field(entry, "Protocol", str), profile.put_protocols)
    number: str = _field(entry, "Number", str)
    if not number and protocol != "None":
        raise Refused("Number is empty")
    platform = _choice(entry, "MeetingPlatform", profile.put_platforms, "") if profile.put_platforms else ""
    if protocol == "WebRTC" and platform not in WEBRTC_PLATFORMS:
        raise Refused("WebRTC is for the meeting platforms MicrosoftTeams and GoogleMeet alone")
    _choice(entry, "Encryption", frozenset({"On", "Off"}), "")
    organizer: dict[str, Any] = _field(entry, "Organizer", dict)
    name: str = _field(organizer, "Name", str)
    time: dict[str, Any] = _field(entry, "Time", dict)
    start, end = _json_times(time)
    booking_id: str = _field(entry, "Id", str)
    if not booking_id:
        raise Refused("Id is empty")
    return StoredBooking(
        id=booking_id, title=_field(entry, "Title", str), number=number, protocol=protocol, organizer=name,
        start=start, end=end, start_buffer_s=_json_seconds(time, "StartTimeBuffer"),
        end_buffer_s=_json_seconds(time, "EndTimeBuffer"),
        private=_choice(entry, "Privacy", frozenset({"Public", "Private"}), "Public") == "Private",
        first_name=name, email=_field(organizer, "Email", str, required=False),
        agenda=_field(entry, "Agenda", str, required=False), platform=platform,
        call_type=_choice(entry, "CallType", frozenset({"Audio", "Video"}), ""),
        connect_mode="OBTP" if protocol != "None" else "Manual",
        meeting_id=_field(entry, "MeetingId", str, required=False))
