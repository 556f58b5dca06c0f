"""What a simulated codec does with a document posted to `/putxml`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Literal

from lxml import etree

from otjd.simulate.codec_documents import booking_element, bookings_list, element
from otjd.simulate.codec_payloads import Limits, Refused, bookings_from_json
from otjd.simulate.codec_profiles import Profile
from otjd.simulate.codec_store import BookingStore, StoredBooking

PushKind = Literal["xml", "json", "clear"]
"""By which way the list was to be replaced: the private XML, `Bookings Put`, or `Bookings Clear`."""

NO_ACTION = (b'<?xml version="1.0"?>\n<ActionError>\n  <Reason>No action detected in document</Reason>\n'
             b"</ActionError>")
"""The recorded answer to a document in which no element has `command="True"`."""

SCHEDULES = ("Current", "Upcoming")


class ParameterError(Exception):
    """An argument is missing or outside its values."""


class UnknownArgument(Exception):  # noqa: N818 - named as the device's schema would
    """An argument that the software does not have."""


def _error(name: str, reason: str) -> etree._Element:
    return element(name, element("Reason", reason), status="Error")


def _number(arguments: Mapping[str, str], name: str, least: int, most: int) -> int | None:
    text = arguments.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise ParameterError(f"{name} is not a number from {least} to {most}")
    return int(text)


class Commands:
    """The `Bookings` commands of one codec."""

    def __init__(self, profile: Profile, store: BookingStore, *, limits: Limits, now: Callable[[], datetime],
                 may_put: Callable[[], bool], in_teams_mode: Callable[[], bool],
                 replaced: Callable[[PushKind, str], None]) -> None:
        self._profile = profile
        self._store = store
        self._limits = limits
        self._now = now
        self._may_put = may_put
        self._in_teams_mode = in_teams_mode
        self._replaced = replaced
        self._commands: dict[str, Callable[[Mapping[str, str]], etree._Element]] = {
            "/Bookings/Clear": self._clear, "/Bookings/Get": self._get, "/Bookings/List": self._list}
        if profile.bookings_put:
            self._commands["/Bookings/Put"] = self._put

    def run(self, root: etree._Element) -> etree._Element | None:
        """The answer to a document; None where there is nothing to do in it."""
        if root.tag != "Command":
            return None
        actions = [e for e in root.iterdescendants() if e.get("command") == "True"]
        if not actions:
            return None
        results = [self._run_one(action) for action in actions]
        return element("Command", *[r for r in results if r is not None])

    def _run_one(self, action: etree._Element) -> etree._Element | None:
        parents = [str(e.tag) for e in action.iterancestors()][:-1]
        path = "/" + "/".join([*reversed(parents), str(action.tag)])
        command = self._commands.get(path)
        if command is None:
            return element("Result", element("Reason", "Unknown command"), element("XPath", path), status="Error")
        try:
            result = command({str(e.tag): (e.text or "") for e in action})
        except UnknownArgument:
            return None  # recorded: the answer to such a command is an empty Command
        except ParameterError as error:
            result = element(f"Bookings{action.tag}Result", element("Reason", str(error)), status="ParameterError")
        if self._profile.result_item:
            result.set("item", "1")
        return result

    def _only(self, arguments: Mapping[str, str], known: Sequence[str]) -> None:
        if not set(arguments) <= set(known):
            raise UnknownArgument

    def _clear(self, arguments: Mapping[str, str]) -> etree._Element:
        self._only(arguments, ())
        self._store.replace((), self._now())
        self._replaced("clear", "replaced")
        return element("BookingsClearResult", status="OK")

    def _get(self, arguments: Mapping[str, str]) -> etree._Element:
        self._only(arguments, ("Id",))
        booking_id = arguments.get("Id", "")
        if not 0 < len(booking_id) <= 128:
            raise ParameterError("Id has 1 to 128 characters")
        booking = self._store.find(booking_id)
        if booking is None:
            return _error("BookingsGetResult", "No booking has this Id")
        return element(self._profile.get_element, booking_element(booking, 1, self._profile), status="OK")

    def _list(self, arguments: Mapping[str, str]) -> etree._Element:
        schedule = ("ScheduleType",) if self._profile.schedule_type else ()
        self._only(arguments, ("Days", "DayOffset", "Limit", "Offset", *schedule))
        days, day_offset = _number(arguments, "Days", 1, 365), _number(arguments, "DayOffset", 0, 365)
        limit, offset = _number(arguments, "Limit", 1, 65534), _number(arguments, "Offset", 0, 65534) or 0
        now = self._now()
        if days is None and day_offset is None:
            bookings = list(self._store.bookings)  # also those of the past
        else:
            bookings = self._store.in_days(now, day_offset or 0, days)
        bookings = self._scheduled(bookings, arguments.get("ScheduleType"), now)
        end = None if limit is None else offset + limit
        return bookings_list(self._profile.list_element, bookings[offset:end], self._store, self._profile)

    def _scheduled(self, bookings: list[StoredBooking], schedule: str | None,
                   now: datetime) -> list[StoredBooking]:
        if schedule is None:
            return bookings
        if schedule not in SCHEDULES:
            raise ParameterError(f"ScheduleType is one of {', '.join(SCHEDULES)}")
        return [b for b in bookings if (b.ongoing(now) if schedule == "Current" else b.start > now)]

    def _put(self, arguments: Mapping[str, str]) -> etree._Element:
        self._only(arguments, ("body",))
        body = arguments.get("body", "")
        if not body.strip():
            raise ParameterError("the multiline body is missing")
        reason = ("" if self._may_put() else "The role of this user may not use this command") or (
            "Not available while Microsoft Teams is installed" if self._in_teams_mode() else "")
        if not reason:
            try:
                self._store.replace(bookings_from_json(body, self._profile, self._limits), self._now())
            except Refused as refused:
                reason = str(refused)
        self._replaced("json", reason or "replaced")
        return _error("BookingsPutResult", reason) if reason else element("BookingsPutResult", status="OK")

