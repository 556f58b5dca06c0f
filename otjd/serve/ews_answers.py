"""What the emulated Exchange answers to each operation, from the meeting cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from otjd.meetings.cache import Agenda, Freshness, MeetingCache, UnknownRoomError
from otjd.meetings.model import Meeting, Window
from otjd.protocol import ews_ids, ews_responses, ews_sync
from otjd.protocol.ews_ids import IdKind
from otjd.protocol.ews_requests import (
    AlternateId,
    CalendarView,
    Change,
    ConvertId,
    FindFolder,
    FindItem,
    GetAttachment,
    GetFolder,
    GetItem,
    ItemRef,
    ItemRefKind,
    PageView,
    Request,
    ResolveNames,
    SyncFolderHierarchy,
    SyncFolderItems,
)
from otjd.protocol.ews_shapes import ItemShape
from otjd.protocol.request_parts import FolderRef
from otjd.protocol.soap import SoapFault
from otjd.serve.answer_parts import CALENDARS_LIMIT, Answer, Refused, each, is_own
from otjd.serve.calls import Account
from otjd.serve.ews_directory import Directory
from otjd.serve.ews_meetings import MeetingTexts

BACK_OFF_MS = 10_000
"""How long a client is asked to wait while its room's calendar was never read."""

PAGE_LIMIT = 1000
"""Items of one page, where a client pages; Exchange's own limit."""

VIEW_LIMIT = timedelta(days=731)
"""The longest span of a CalendarView: two years, one of which may be a leap year."""

_OCCURRENCE_ERRORS = {ItemRefKind.OCCURRENCE: "ErrorCalendarCannotUseIdForOccurrenceId",
                      ItemRefKind.MASTER: "ErrorCalendarCannotUseIdForRecurringMasterId"}


@dataclass(frozen=True, slots=True)
class _Page:
    """The meetings of one answer, of how many, and where the next page begins where there are pages."""

    meetings: Sequence[Meeting]
    total: int
    is_last: bool
    next_offset: int | None = None
    is_fraction: bool = False


class Answers:
    """Answers requests of an account out of its room's agenda."""

    def __init__(self, cache: MeetingCache, texts: MeetingTexts, *, now: Callable[[], datetime]) -> None:
        self._cache = cache
        self._texts = texts
        self._now = now
        self._directory = Directory(cache, now=now, agenda=self.agenda, folder=folder_name)

    def answer(self, request: Request, account: Account) -> Answer:
        """Answer `request`; errors of single folders and items are in their messages.

        :raises SoapFault: the room was never read (ErrorServerBusy: an empty list would make endpoints forget
            theirs), or more is asked for than is answered.
        """
        match request:
            case FindItem():
                answer = self._find_item(request, account)
            case GetItem():
                answer = each("GetItem", request.items, lambda ref: self._item(ref, request.shape, account))
            case GetFolder():
                answer = each("GetFolder", request.folders, lambda ref: self._folder(ref, account))
            case FindFolder():
                answer = each("FindFolder", request.parents,
                              lambda ref: self._folders(ref, request, account))
            case ConvertId():
                answer = each("ConvertId", request.ids,
                              lambda alternate: self._converted(alternate, request.destination, account))
            case ResolveNames():
                answer = each("ResolveNames", (request.entry,), lambda entry: _resolved(entry, account))
            case SyncFolderItems():
                answer = each("SyncFolderItems", (request,), lambda sync: self._item_changes(sync, account))
            case SyncFolderHierarchy():
                answer = each("SyncFolderHierarchy", (request,),
                              lambda sync: self._folder_changes(sync, account))
            case Change():
                answer = each(request.operation, request.is_response, _changed)
            case GetAttachment():
                answer = each("GetAttachment", request.ids, _attachment)
            case _:
                answer = self._directory.answer(request, account)
        return answer

    def _find_item(self, request: FindItem, account: Account) -> Answer:
        listed: list[int] = []

        def content(ref: FolderRef) -> str:
            name = folder_name(ref, account)
            _check_view(request.view)
            # what is no calendar is empty; Exchange would refuse a CalendarView of it
            if name != "calendar" or request.is_hidden:
                page = _page(request, Agenda(account.room))
                return ews_responses.root_folder((), total=0, is_last=True, next_offset=page.next_offset,
                                                 is_fraction=page.is_fraction)
            if len(listed) >= CALENDARS_LIMIT:
                raise SoapFault("ErrorExceededFindCountLimit", "The same calendar is listed more than "
                                                               f"{CALENDARS_LIMIT} times in one request.")
            page = _page(request, self.agenda(account))
            listed.append(page.total)
            return ews_responses.root_folder(
                self._texts.for_list(account, page.meetings, request.shape.extended),
                total=page.total, is_last=page.is_last, next_offset=page.next_offset,
                is_fraction=page.is_fraction)

        answer = each("FindItem", request.folders, content)
        return Answer(answer.messages, answer.error, max(listed, default=None))

    def _item(self, ref: ItemRef, shape: ItemShape, account: Account) -> str:
        raw = _own_id(ref.id, IdKind.ITEM, "ErrorCannotUseFolderIdForItemId")
        if ref.kind is not ItemRefKind.ITEM:  # every item here is one occurrence, and none is a master
            raise Refused(_OCCURRENCE_ERRORS[ref.kind])
        self.agenda(account)
        meeting = self._cache.find(account.room, ews_ids.meeting_id(raw), self._now())
        if meeting is None:
            raise Refused("ErrorItemNotFound")
        return ews_responses.items(self._texts.for_reading(account, meeting, shape))

    def _folder(self, ref: FolderRef, account: Account) -> str:
        return f"<m:Folders>{self._written_folder(folder_name(ref, account), account)}</m:Folders>"

    def _folders(self, ref: FolderRef, request: FindFolder, account: Account) -> str:
        names = ews_responses.folders_within(folder_name(ref, account), is_deep=request.is_deep)
        wanted = request.display_name.casefold()
        names = tuple(n for n in names if wanted in ("", ews_responses.FOLDER_FACTS[n].display_name.casefold())
                      and not request.is_hidden)
        begin, end, is_last, next_offset = 0, len(names), True, None
        if request.page is not None:
            _check_view(request.page)
            begin, end, is_last, next_offset = _span(request.page, len(names))
        return ews_responses.found_folders([self._written_folder(name, account) for name in names[begin:end]],
                                           total=len(names), is_last=is_last, next_offset=next_offset)

    def _item_changes(self, request: SyncFolderItems, account: Account) -> str:
        meetings = {}
        if folder_name(request.folder, account) == "calendar":
            meetings = {m.id: m for m in self.agenda(account).meetings}
        try:
            known = ews_sync.read_state(request.state)
        except ews_sync.BrokenStateError:
            raise Refused("ErrorInvalidSyncStateData") from None
        current = {key: self._texts.change_key(m, account.style) for key, m in meetings.items()}
        changes = ews_sync.changes(known, current, request.limit)
        created, updated = (self._texts.for_list(account, [meetings[key] for key in keys if ews_ids.item_id(key)
                                                           not in request.ignored], request.shape.extended)
                            for keys in (changes.created, changes.updated))
        return ews_responses.item_changes(ews_sync.write_state(changes.known), changes.is_last, created=created,
                                          updated=updated, deleted=changes.deleted)

    def _folder_changes(self, request: SyncFolderHierarchy, account: Account) -> str:
        names = ews_responses.folders_within(folder_name(request.folder, account), is_deep=True)
        state = ews_sync.hierarchy_state(account.room.email)
        if request.state not in ("", state):
            raise Refused("ErrorInvalidSyncStateData")
        return ews_responses.folder_changes(state, [] if request.state else [
            self._written_folder(name, account) for name in names])

    def _written_folder(self, name: str, account: Account) -> str:
        total: int | None = 0
        if name == "calendar":
            agenda = self._known_agenda(account)
            total = len(agenda.meetings) if agenda is not None else None
        return ews_responses.folder(name, account.room.email, total)

    def _converted(self, alternate: AlternateId, destination: str, account: Account) -> str:
        if not alternate.id:
            raise Refused("ErrorInvalidIdEmpty")
        converted = ews_responses.convert_id(alternate.id, alternate.format, destination)
        if converted is None:
            raise Refused("ErrorInvalidIdMalformed")
        return ews_responses.alternate_id(converted, destination, account.room.email)

    def _known_agenda(self, account: Account) -> Agenda | None:
        try:
            agenda = self._cache.agenda(account.room)
        except UnknownRoomError:  # between a new configuration and the last connections of the old one
            return None
        return None if agenda.freshness is Freshness.NEVER_READ else agenda

    def agenda(self, account: Account) -> Agenda:
        """What is known of the account's room.

        :raises SoapFault: it was never read; ErrorServerBusy.
        """
        agenda = self._known_agenda(account)
        if agenda is None:
            raise SoapFault("ErrorServerBusy", "The server cannot service this request right now. "
                            "Try again later.", values={"BackOffMilliseconds": str(BACK_OFF_MS)}, is_ours=True)
        return agenda


def _resolved(entry: str, account: Account) -> str:
    """The account's own mailbox is the only one in this directory."""
    _, _, address = entry.rpartition(":")  # "smtp:" may stand before it
    if not is_own(address, account) and address.strip().lower() != account.room.email.partition("@")[0]:
        raise Refused("ErrorNameResolutionNoResults")
    return ews_responses.resolution(account.room.email)


def _changed(is_response: bool) -> str:
    """Nothing here can be changed; responses to meetings are taken, and change nothing (poly.md 5.1)."""
    if not is_response:
        raise Refused("ErrorAccessDenied")
    return "<m:Items/>"


def _attachment(_: str) -> str:
    """No item has attachments."""
    raise Refused("ErrorInvalidAttachmentId")


def _own_id(text: str, kind: IdKind, otherwise: str) -> bytes:
    if not text:
        raise Refused("ErrorInvalidIdEmpty")
    known = ews_ids.raw_id(text)
    if known is None:
        raise Refused("ErrorInvalidIdMalformed")
    if known[0] is not kind:
        raise Refused(otherwise)
    return known[1]


def folder_name(ref: FolderRef, account: Account) -> str:
    """Which of the room's folders is meant.

    :raises Refused: none of them.
    """
    if ref.name:
        if ref.mailbox and not is_own(ref.mailbox, account):
            raise Refused("ErrorNonExistentMailbox")
        return ref.name
    _own_id(ref.id, IdKind.FOLDER, "ErrorCannotUseItemIdForFolderId")
    name = ews_ids.folder_name(account.room.email, ref.id)
    if name is None:
        raise Refused("ErrorFolderNotFound")
    return name


def _check_view(view: CalendarView | PageView) -> None:
    if view.max_entries is not None and view.max_entries <= 0:
        raise Refused("ErrorInvalidPagingMaxRows")
    if isinstance(view, CalendarView):
        if view.end < view.start:
            raise Refused("ErrorCalendarEndDateIsEarlierThanStartDate")
        if view.end - view.start > VIEW_LIMIT:
            raise Refused("ErrorCalendarViewRangeTooBig")


def _page(request: FindItem, agenda: Agenda) -> _Page:
    """The meetings that a request asks for, ascending by start unless it asks for another order."""
    view = request.view
    meetings: Sequence[Meeting] = agenda.meetings
    if isinstance(view, CalendarView):
        meetings = agenda.overlapping(Window(view.start, view.end))
    condition = request.restriction
    if condition is not None:
        meetings = [m for m in meetings if condition(m) is not False]
    for field in reversed(request.order):
        meetings = sorted(meetings, key=field.key, reverse=field.descending)
    total = len(meetings)
    if isinstance(view, CalendarView):
        shown = meetings if view.max_entries is None else meetings[:view.max_entries]
        return _Page(shown, total, is_last=len(shown) == total)
    begin, end, is_last, next_offset = _span(view, total)
    return _Page(meetings[begin:end], total, is_last, next_offset, is_fraction=view.fraction is not None)


def _span(view: PageView, total: int) -> tuple[int, int, bool, int]:
    """Where a page of a list begins and ends, whether it is the last one, and the offset of the next."""
    limit = min(view.max_entries or PAGE_LIMIT, PAGE_LIMIT)
    if view.from_end:
        end = max(0, total - view.offset)
        begin = max(0, end - limit)
        return begin, end, begin == 0, total - begin
    begin = min(view.offset, total)
    if view.fraction is not None:
        begin = total * view.fraction[0] // view.fraction[1]
    end = min(total, begin + limit)
    return begin, end, end == total, end
