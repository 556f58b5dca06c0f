"""What the emulated Exchange answers about free time, time zones, stored settings and lists of rooms."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from otjd.meetings.cache import Agenda, MeetingCache
from otjd.meetings.model import Meeting, Window
from otjd.protocol import ews_availability, ews_directory, ews_time_zones
from otjd.protocol.ews_availability import BusyTime, GetUserAvailability
from otjd.protocol.ews_directory import GetRoomLists, GetRooms, GetUserConfiguration
from otjd.protocol.ews_items import SHORTEST, dial_uri, shown_subject
from otjd.protocol.ews_time_zones import GetServerTimeZones
from otjd.protocol.request_parts import FolderRef
from otjd.protocol.soap import SoapFault
from otjd.serve.answer_parts import CALENDARS_LIMIT, Answer, Refused, each, is_own
from otjd.serve.calls import Account

DirectoryRequest = GetUserAvailability | GetServerTimeZones | GetUserConfiguration | GetRoomLists | GetRooms


class Directory:
    """Answers these requests of an account.

    `agenda` gives the account's agenda or raises SoapFault where it was never read; `folder` gives the name of a
    folder of its mailbox or raises Refused.
    """

    def __init__(self, cache: MeetingCache, *, now: Callable[[], datetime], agenda: Callable[[Account], Agenda],
                 folder: Callable[[FolderRef, Account], str]) -> None:
        self._cache = cache
        self._now = now
        self._agenda = agenda
        self._folder = folder

    def answer(self, request: DirectoryRequest, account: Account) -> Answer:
        """Answer `request`.

        :raises SoapFault: the room was never read, or more is asked for than is answered.
        """
        match request:
            case GetUserAvailability():
                return self._availability(request, account)
            case GetServerTimeZones():
                return Answer((ews_time_zones.server_time_zones(request, self._now().year),))
            case GetUserConfiguration():
                return each("GetUserConfiguration", (request,), lambda asked: self._configuration(asked, account))
            case GetRoomLists():
                return Answer(body=ews_directory.empty_list("GetRoomLists", "RoomLists"))
            case GetRooms():
                return Answer(body=ews_directory.empty_list("GetRooms", "Rooms"))

    def _availability(self, request: GetUserAvailability, account: Account) -> Answer:
        if sum(is_own(mailbox, account) for mailbox in request.mailboxes) > CALENDARS_LIMIT:
            raise SoapFault("ErrorExceededFindCountLimit", "The same mailbox is named more than "
                                                           f"{CALENDARS_LIMIT} times in one request.")
        view = error = ""
        responses = []
        for mailbox in request.mailboxes:
            if is_own(mailbox, account):
                view = view or self._view(request, account)
                responses.append(view)
            else:
                error = error or "ErrorMailRecipientNotFound"
                responses.append(ews_availability.unknown_mailbox(mailbox))
        return Answer(error=error, body=ews_availability.availability(
            responses, wants_suggestions=request.wants_suggestions))

    def _view(self, request: GetUserAvailability, account: Account) -> str:
        meetings = self._agenda(account).overlapping(request.window)
        known: Window = self._cache.window(account.room, self._now())
        return ews_availability.free_busy_view(request, (_busy(m, account) for m in meetings), known)

    def _configuration(self, request: GetUserConfiguration, account: Account) -> str:
        folder = self._folder(request.folder, account)
        if (request.name, folder) != (ews_directory.WEB_OPTIONS, "root"):
            raise Refused("ErrorItemNotFound")
        return ews_directory.web_options(account.room.email, folder, request.properties)


def _busy(meeting: Meeting, account: Account) -> BusyTime:
    end = max(meeting.end_time, meeting.start_time + SHORTEST)
    subject = shown_subject(meeting, account.room.email)
    return BusyTime(meeting, meeting.start_time, end, subject, dial_uri(meeting))
