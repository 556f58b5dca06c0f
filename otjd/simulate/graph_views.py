"""Calendar views, single events and free/busy of a simulated Graph."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from otjd.meetings.model import FreeBusyStatus, Window
from otjd.protocol.timezones import read_date_time, time_zone
from otjd.simulate.calendars import Booking, Calendars, Instance, UnknownBookingError, instances_of
from otjd.simulate.codec_http import Answer
from otjd.simulate.graph_call import Call, answer, page
from otjd.simulate.graph_errors import GraphError, bad_parameter, bad_request
from otjd.simulate.graph_events import event, read_event_id, series_master
from otjd.simulate.graph_query import (
    TOP_LIMIT,
    applied,
    count_of,
    refuse_what_is_not_simulated,
    shape_of,
    window_of,
)
from otjd.simulate.graph_rooms import Rooms
from otjd.simulate.graph_settings import GraphSettings, Mailbox

JsonObject = dict[str, Any]

_STAMP = "%Y%m%dT%H%M%SZ"
_SLOT = {FreeBusyStatus.FREE: "0", FreeBusyStatus.TENTATIVE: "1", FreeBusyStatus.BUSY: "2"}
_INTERVAL = 30
_LONGEST_SCHEDULE = timedelta(days=62)
_WORKING_HOURS = {"daysOfWeek": ["monday", "tuesday", "wednesday", "thursday", "friday"],
                  "startTime": "08:00:00.0000000", "endTime": "17:00:00.0000000", "timeZone": {"name": "UTC"}}


_SEAL = secrets.token_bytes(16)
_SEAL_LENGTH = 8


def _seal(raw: bytes) -> bytes:
    return hmac.digest(_SEAL, raw, "sha256")[:_SEAL_LENGTH]


def write_token(found: Mapping[str, Any]) -> str:
    """An opaque token of a link, good for as long as this process runs."""
    raw = json.dumps(found).encode()
    return base64.urlsafe_b64encode(_seal(raw) + raw).decode().rstrip("=")


def read_token(text: str) -> JsonObject:
    """What is in a token.

    :raises GraphError: it is none.
    """
    try:
        sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        sealed = b""
    seal, raw = sealed[:_SEAL_LENGTH], sealed[_SEAL_LENGTH:]
    if not hmac.compare_digest(seal, _seal(raw)):
        raise GraphError(400, "ErrorInvalidUrlQuery", "Badly formed token.")
    found: JsonObject = json.loads(raw)
    return found


class Views:
    """Answers what is asked of one mailbox. `mailboxes` names those that are not simply there to be read."""

    def __init__(self, calendars: Calendars, rooms: Rooms, settings: GraphSettings,
                 mailboxes: Mapping[str, Mailbox]) -> None:
        self._calendars = calendars
        self._rooms = rooms
        self._settings = settings
        self._mailboxes = mailboxes

    def calendar_view(self, call: Call, room: str) -> Answer:
        """A page of the occurrences in a window."""
        window = window_of(call.query)
        refuse_what_is_not_simulated(call.query)
        shape = shape_of(call.query, call.preferences, basics=not call.app.may_read)
        size = count_of(call.query, "$top", self._settings.page_size, lowest=1, highest=TOP_LIMIT)
        token = read_token(call.query["$skiptoken"]) if "$skiptoken" in call.query else {}
        skip = int(token.get("skip", 0)) if token else count_of(call.query, "$skip", 0)
        shown = self._rooms.shown(room, window)
        texts = [one.text(shape, self._settings.attendees) for one in shown[skip:skip + size]]
        link = f',"@odata.count":{len(shown)}' if call.query.get("$count", "").lower() == "true" else ""
        if skip + size < len(shown):
            again = {**_spelt(call.query), "$skiptoken": write_token({"skip": skip + size})}
            again.pop("$skip", None)
            link += f',"@odata.nextLink":{json.dumps(f"{call.url}?{urlencode(again, quote_via=quote)}")}'
        return page(call.context(f"users('{quote(room, safe='')}')/calendarView"), texts, link,
                    headers=applied(call.preferences))

    def event(self, call: Call, room: str, identity: str) -> Answer:
        """One event by its id: a single one, an occurrence or a series."""
        shape = shape_of(call.query, call.preferences, basics=not call.app.may_read)
        owner, booking_id, occurrence = read_event_id(identity)
        found = self._event(room, booking_id, occurrence) if owner == room else None
        if found is None:
            raise GraphError(404, "ErrorItemNotFound", "The specified object was not found in the store.")
        attendees = self._settings.attendees
        is_master = found.booking.rule and not found.occurrence
        shown = (series_master(found.booking, room, shape, attendees) if is_master
                 else event(found, room, shape, attendees))
        context = call.context(f"users('{quote(room, safe='')}')/events/$entity")
        return answer({"@odata.context": context, **shown}, headers=applied(call.preferences))

    def _event(self, room: str, booking_id: str, occurrence: str) -> Instance | None:
        try:
            booking = self._calendars.find(room, booking_id)
        except UnknownBookingError:
            return None
        if not occurrence:
            return Instance(booking)
        try:
            start = datetime.strptime(occurrence, _STAMP).replace(tzinfo=UTC)
        except ValueError:
            return None
        around = Window(start - timedelta(days=31), start + timedelta(days=31))
        return next((i for i in instances_of(booking, around) if i.occurrence == occurrence), None)

    # --- free/busy ---

    def schedules(self, call: Call, _: str) -> Answer:
        """Free/busy of several mailboxes; one that fails does not spoil the others."""
        body = {name.lower(): value for name, value in call.json().items()}
        asked = body.get("schedules")
        if not isinstance(asked, list) or not asked or not all(isinstance(one, str) for one in asked):
            raise bad_parameter("The value of the parameter 'schedules' is empty or invalid.")
        if len(asked) > self._settings.schedules_limit:
            raise GraphError(400, "ErrorMailboxDataArrayTooBig",
                             "There are too many target users in the EmailAddress array. The allowed size = "
                             f"{self._settings.schedules_limit}; the actual size = {len(asked)}.")
        window = Window(_moment(body, "startTime"), _moment(body, "endTime"))
        minutes = body.get("availabilityviewinterval", _INTERVAL)
        if type(minutes) is not int or not 5 <= minutes <= 1440:
            raise GraphError(400, "ErrorInvalidMergedFreeBusyInterval",
                             "The specified value for MergedFreeBusyInterval is invalid. It must be between 5 and "
                             "1440 minutes.")
        if window.end - window.start < timedelta(minutes=minutes):
            raise GraphError(400, "ErrorInvalidTimeInterval", "The start time must be less than the end time.")
        if window.end - window.start > _LONGEST_SCHEDULE:
            raise GraphError(400, "ErrorTimeIntervalTooBig", "The requested time duration specified for FreeBusy "
                             f"view options is too long. The allowed limit = {_LONGEST_SCHEDULE.days} days.")
        texts = [self._schedule(one, window, timedelta(minutes=minutes)) for one in asked]
        return page(call.context("Collection(microsoft.graph.scheduleInformation)"), texts,
                    headers=applied(call.preferences))

    def _schedule(self, asked: str, window: Window, interval: timedelta) -> str:
        room = asked.strip().lower()
        state = self._mailboxes.get(room, Mailbox.READABLE)
        if not self._calendars.has_room(room) or state is Mailbox.UNKNOWN:
            return _failed(asked, "ErrorMailRecipientNotFound",
                           f"Unable to resolve e-mail address {asked} to an Active Directory object.")
        if state is not Mailbox.READABLE:
            return _failed(asked, "ErrorNoFreeBusyAccess", "The caller does not have access to free/busy data.")
        question = asked, window, interval
        known = self._rooms.kept(room, question)
        if known is not None:
            return known
        instances = [one.instance for one in self._rooms.shown(room, window)]
        fresh = self._rooms.changed_after(room, self._settings.schedule_delay)
        if fresh:
            instances = self._as_they_were(instances, fresh, window)
        text = json.dumps({"scheduleId": asked, "availabilityView": _view(instances, window, interval),
                           "scheduleItems": [_item(i) for i in instances], "workingHours": _WORKING_HOURS},
                          separators=(",", ":"))
        if not fresh:
            self._rooms.keep(room, question, text)
        return text

    def _as_they_were(self, shown: Iterable[Instance], fresh: Mapping[str, Booking | None],
                      window: Window) -> list[Instance]:
        """The occurrences as free/busy still knows them, before what is fresh happened."""
        before = [i for booking in fresh.values() if booking for i in instances_of(booking, window)]
        kept = [i for i in shown if i.booking.id not in fresh]
        return sorted((*kept, *before), key=lambda i: i.booking.start_time)


def _spelt(query: Mapping[str, str]) -> JsonObject:
    """The parameters of a link, with the names of the window as they are documented."""
    names = {"startdatetime": "startDateTime", "enddatetime": "endDateTime"}
    return {names.get(name, name): value for name, value in query.items()}


def _moment(body: Mapping[str, Any], name: str) -> datetime:
    given = body.get(name.lower())
    if not isinstance(given, dict):
        raise bad_request(f"The parameter '{name}' is required: an object of dateTime and timeZone.")
    members = {key.lower(): value for key, value in given.items()}
    zone_name = str(members.get("timezone", "UTC"))
    zone = UTC if zone_name.upper() == "UTC" else time_zone(zone_name)
    if zone is None:
        raise GraphError(400, "TimeZoneNotSupportedException", "A valid TimeZone value must be specified. The "
                         f"following TimeZone value is not supported: '{zone_name}'.")
    try:
        return read_date_time(str(members.get("datetime", "")), zone)
    except ValueError:
        raise bad_parameter(f"The value of the parameter '{name}' is not a date and time.") from None


def _failed(asked: str, code: str, message: str) -> str:
    return json.dumps({"scheduleId": asked, "availabilityView": "",
                       "error": {"message": message, "responseCode": code}})


def _view(instances: Iterable[Instance], window: Window, interval: timedelta) -> str:
    """A digit for each interval: the busiest status in it."""
    slots = ["0"] * -(-(window.end - window.start) // interval)
    for one in instances:
        booking = one.booking
        first = max(0, (booking.start_time - window.start) // interval)
        last = min(len(slots), -(-(booking.end_time - window.start) // interval))
        digit = _SLOT[booking.free_busy]
        for place in range(first, last):
            slots[place] = max(slots[place], digit)
    return "".join(slots)


def _item(instance: Instance) -> JsonObject:
    booking = instance.booking
    told = {"isPrivate": booking.is_private, "status": booking.free_busy.lower()}
    if not booking.is_private:
        told.update(subject=booking.subject, location=booking.location)
    return {**told, "start": _utc(booking.start_time), "end": _utc(booking.end_time)}


def _utc(time: datetime) -> JsonObject:
    return {"dateTime": f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond:06d}0", "timeZone": "UTC"}
