"""What a simulated Exchange answers about mailboxes: folders, lists, items, and what changed in a folder."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

from dateutil.rrule import rrulestr
from lxml import etree

from otjd.meetings.model import Meeting, Window
from otjd.protocol import ews_ids
from otjd.protocol.ews_requests import (
    CalendarView,
    ConvertId,
    FindItem,
    GetFolder,
    GetItem,
    ItemRef,
    ItemRefKind,
    PageView,
    ResolveNames,
    SyncFolderItems,
)
from otjd.protocol.ews_responses import alternate_id, folder, response, root_folder, success
from otjd.protocol.ews_shapes import ExtendedField, read_shape
from otjd.protocol.markup import child, text
from otjd.protocol.request_parts import FolderRef
from otjd.protocol.timezones import write_date_time
from otjd.simulate.calendars import (
    Booking,
    Calendars,
    Change,
    ChangeKind,
    Instance,
    UnknownBookingError,
)
from otjd.simulate.exchange_items import (
    Item,
    Shape,
    check_list_shape,
    check_version,
    master,
    read_item_shape,
    write_item,
)
from otjd.simulate.exchange_wire import (
    Call,
    Denied,
    change_key_of,
    each,
    error,
    fault,
    item_id,
    original_start,
    read_item_id,
)

_VIEW_LIMIT = timedelta(days=2 * 366)
_LOCAL_COMMIT_TIME_MAX, _DELETED_COUNT_TOTAL = 0x670A, 0x670B
_RECURRING = str(0x8223)
_OLD_VERSIONS = ("", "Exchange2007", "Exchange2007_SP1", "Exchange2010")
_STATE_MARK = b"\0sync "


@dataclass(slots=True)
class Mailboxes:
    """Answers about the mailboxes of `calendars`.

    `troubles` are response codes of mailboxes, by room, that cannot be used for now; `stripped` are rooms whose
    processing settings delete the body and put the organizer's name in place of the subject. With `expands` views
    show the occurrences of series.
    """

    calendars: Calendars
    troubles: dict[str, str]
    stripped: set[str]
    find_count_limit: int
    expands: bool = True

    def get_folder(self, call: Call, request: GetFolder) -> str:
        """Tell about folders."""
        extended = read_shape(child(call.operation, "FolderShape")).extended

        def tell(ref: FolderRef) -> str:
            room, name = self.folder(call, ref)
            return success("GetFolder", f"<m:Folders>{self._folder(room, name, extended)}</m:Folders>")

        return response("GetFolder", each("GetFolder", request.folders, tell))

    def find_item(self, call: Call, request: FindItem) -> str:
        """List the items of folders."""
        shape = read_item_shape(call.operation)
        check_version(shape, call.version)

        def find(ref: FolderRef) -> str:
            room, name = self.folder(call, ref)
            check_list_shape(shape)
            if isinstance(request.view, CalendarView):
                if request.restriction is not None or request.order:
                    raise fault("ErrorInvalidOperation")  # a view is neither restricted nor sorted
                found, total, is_last = self._view(call, room, name, request.view)
                offset = None
            else:
                found, total, offset = self._page(room, name, request, request.view, call.operation)
                is_last = offset >= total
            written = (write_item(self._shown(item), shape, in_list=True) for item in found)
            return success("FindItem", root_folder(written, total=total, is_last=is_last, next_offset=offset))

        return response("FindItem", each("FindItem", request.folders, find))

    def get_item(self, call: Call, request: GetItem) -> str:
        """Tell about items."""
        shape = read_item_shape(call.operation)
        check_version(shape, call.version)

        def tell(ref: ItemRef) -> str:
            written = write_item(self._shown(self._item(call, ref)), shape)
            return success("GetItem", f"<m:Items>{written}</m:Items>")

        return response("GetItem", each("GetItem", request.items, tell))

    def sync_folder_items(self, call: Call, request: SyncFolderItems) -> str:
        """Tell what changed in a folder, masters alone: this operation knows nothing of calendars."""
        shape = read_item_shape(call.operation)

        def sync(ref: FolderRef) -> str:
            room, name = self.folder(call, ref)
            revision = _read_state(request.state, room)
            changes = self.calendars.changes_since(room, revision) if name == "calendar" else ()
            told, rest = changes[:request.limit], changes[request.limit:]
            last = told[-1].revision if told else revision
            written = "".join(_change(room, c, shape) for c in _collapsed(told))
            return success("SyncFolderItems", (
                f"<m:SyncState>{_write_state(room, last)}</m:SyncState><m:IncludesLastItemInRange>"
                f"{'false' if rest else 'true'}</m:IncludesLastItemInRange><m:Changes>{written}</m:Changes>"))

        return response("SyncFolderItems", each("SyncFolderItems", (request.folder,), sync))

    def convert_id(self, _: Call, request: ConvertId) -> str:
        """Give ids in another format; all formats of a simulated id look alike."""
        def convert(asked: str) -> str:
            room = read_item_id(asked)[0]
            return success("ConvertId", alternate_id(asked, request.destination, room))

        return response("ConvertId", each("ConvertId", (i.id for i in request.ids), convert))

    def resolve_names(self, _: Call, request: ResolveNames) -> str:
        """Find mailboxes whose address begins so."""
        asked = request.entry.lower().removeprefix("smtp:")
        found = [room for room in self.calendars.rooms() if room.startswith(asked)][:100]
        if not found:
            return response("ResolveNames", (error("ResolveNames", "ErrorNameResolutionNoResults"),))
        kind, told = "Success", "<m:ResponseCode>NoError</m:ResponseCode>"
        if len(found) > 1:
            kind = "Warning"
            told = ("<m:MessageText>Multiple results were found.</m:MessageText><m:ResponseCode>"
                    "ErrorNameResolutionMultipleResults</m:ResponseCode><m:DescriptiveLinkKey>0"
                    "</m:DescriptiveLinkKey>")
        resolutions = "".join(map(_resolution, found))
        message = (f'<m:ResolveNamesResponseMessage ResponseClass="{kind}">{told}<m:ResolutionSet '
                   f'TotalItemsInView="{len(found)}" IncludesLastItemInRange="true">{resolutions}'
                   "</m:ResolutionSet></m:ResolveNamesResponseMessage>")
        return response("ResolveNames", (message,))

    def folder(self, call: Call, ref: FolderRef) -> tuple[str, str]:
        """Room and name of a folder that is asked for.

        :raises Denied: it is not there, or not for this caller.
        """
        room = (ref.mailbox or call.room).lower()
        if not room:
            raise Denied("ErrorAccessDenied" if ref.id else "ErrorMissingEmailAddress")
        self.check(call, room)
        name = ews_ids.folder_name(room, ref.id) if ref.id else ref.name
        if name is None:
            raise Denied("ErrorInvalidIdMalformed" if ews_ids.raw_id(ref.id) is None else "ErrorFolderNotFound")
        if name.startswith("archive"):  # no mailbox here has one
            raise Denied("ErrorFolderNotFound")
        return room, name

    def check(self, call: Call, room: str) -> None:
        """Let pass who may use this mailbox, if it can be used.

        :raises Denied: who may not.
        """
        if not self.calendars.has_room(room):
            raise Denied("ErrorNonExistentMailbox")
        if room != call.room:
            raise Denied("ErrorAccessDenied")
        if room in self.troubles:
            raise Denied(self.troubles[room])

    def _folder(self, room: str, name: str, extended: Iterable[ExtendedField]) -> str:
        bookings = self.calendars.bookings(room) if name == "calendar" else ()
        changes = self.calendars.changes_since(room, 0) if extended and name == "calendar" else ()
        last = max((c.booking.modified_time for c in changes), default=None)
        deleted = sum(c.kind is ChangeKind.DELETED for c in changes)
        properties = ""
        for field in extended:
            value = {(_LOCAL_COMMIT_TIME_MAX, "SystemTime"): write_date_time(last) if last else None,
                     (_DELETED_COUNT_TOTAL, "Integer"): str(deleted)}.get((field.number or 0, field.property_type))
            if value is not None and not field.property_set:
                properties += (f'<t:ExtendedProperty><t:ExtendedFieldURI PropertyTag="0x{field.number:x}" '
                               f'PropertyType="{field.property_type}"/><t:Value>{value}</t:Value>'
                               "</t:ExtendedProperty>")
        head, mark, rest = folder(name, room, len(bookings)).partition("</t:ChildFolderCount>")
        return f"{head}{mark}{properties}{rest}"

    def _view(self, call: Call, room: str, name: str, view: CalendarView) -> tuple[list[Item], int, bool]:
        """The occurrences of a span, how many there are in all, and whether these are all."""
        if name != "calendar":
            raise Denied("ErrorCalendarFolderIsInvalidForCalendarView")
        if view.end < view.start:
            raise Denied("ErrorCalendarEndDateIsEarlierThanStartDate")
        if view.end - view.start > _VIEW_LIMIT:
            raise Denied("ErrorCalendarViewRangeTooBig")
        if view.max_entries is not None and view.max_entries <= 0:
            raise Denied("ErrorInvalidPagingMaxRows")
        window = Window(view.start, view.end)
        found = ([Item(room, i) for i in self.calendars.instances(room, window)] if self.expands else
                 [master(room, b) for b in self.calendars.bookings(room)
                  if window.overlaps(b.start_time, b.end_time)])
        limit = min(self.find_count_limit, view.max_entries or self.find_count_limit)
        if len(found) > self.find_count_limit and view.max_entries is None and call.version in _OLD_VERSIONS:
            raise Denied("ErrorExceededFindCountLimit")
        return found[:limit], len(found), len(found) <= limit

    def _page(self, room: str, name: str, request: FindItem, page: PageView,
              operation: etree._Element) -> tuple[list[Item], int, int]:
        """A page of singles and masters, how many there are in all, and the offset of the next page."""
        if page.fraction is not None or page.from_end:
            raise fault("ErrorInvalidOperation")
        if page.max_entries is not None and page.max_entries <= 0:
            raise Denied("ErrorInvalidPagingMaxRows")
        found = list(self.calendars.bookings(room)) if name == "calendar" else []
        if _asks_for_series(operation):
            found = [b for b in found if b.rule]
        meetings = [(b, Meeting(b.id, b.uid, b.start_time, b.end_time, subject=b.subject)) for b in found]
        if (restriction := request.restriction) is not None:
            meetings = [(b, m) for b, m in meetings if restriction(m) is not False]
        for order in reversed(request.order):
            meetings.sort(key=lambda pair: order.key(pair[1]), reverse=order.descending)
        limit = min(self.find_count_limit, page.max_entries or self.find_count_limit)
        end = min(page.offset + limit, len(meetings))
        return [master(room, b) for b, _ in meetings[page.offset:end]], len(meetings), end

    def _item(self, call: Call, ref: ItemRef) -> Item:
        room, booking_id, occurrence = read_item_id(ref.id)
        self.check(call, room)
        try:
            booking = self.calendars.find(room, booking_id)
        except UnknownBookingError:
            raise Denied("ErrorItemNotFound") from None
        if ref.kind is ItemRefKind.OCCURRENCE:
            raise Denied("ErrorCalendarOccurrenceIndexIsOutOfRecurrenceRange")
        if ref.kind is ItemRefKind.MASTER and not occurrence:
            raise Denied("ErrorCalendarCannotUseIdForRecurringMasterId")
        if not occurrence or ref.kind is ItemRefKind.MASTER:
            return master(room, booking)
        return Item(room, _occurrence(booking, occurrence))

    def _shown(self, item: Item) -> Item:
        """The item as its room keeps it."""
        if item.room not in self.stripped:
            return item
        booking = replace(item.booking, body_html="", subject=item.booking.organizer.display_name)
        return replace(item, instance=replace(item.instance, booking=booking))


def _asks_for_series(operation: etree._Element) -> bool:
    """Whether a restriction leaves nothing but series, the one of properties that are not EWS's own."""
    restriction = child(operation, "Restriction")
    fields = restriction.iterfind("{*}IsEqualTo/{*}ExtendedFieldURI") if restriction is not None else ()
    return any(field.get("PropertyId") == _RECURRING for field in fields)


def _resolution(room: str) -> str:
    address = text(room)
    return (f"<t:Resolution><t:Mailbox><t:Name>{address}</t:Name><t:EmailAddress>{address}</t:EmailAddress>"
            "<t:RoutingType>SMTP</t:RoutingType><t:MailboxType>Mailbox</t:MailboxType></t:Mailbox></t:Resolution>")


def _change(room: str, change: Change, shape: Shape) -> str:
    if change.kind is ChangeKind.DELETED:
        return (f'<t:Delete><t:ItemId Id="{item_id(room, change.booking.id)}" '
                f'ChangeKey="{change_key_of(change.booking)}"/></t:Delete>')
    kind = "Create" if change.kind is ChangeKind.CREATED else "Update"
    return f"<t:{kind}>{write_item(master(room, change.booking), shape, in_list=True)}</t:{kind}>"


def _occurrence(booking: Booking, occurrence: str) -> Instance:
    try:
        start = original_start(occurrence)
    except ValueError:
        raise Denied("ErrorInvalidIdMalformed") from None
    changed = booking.exceptions.get(occurrence, {})
    if start is None or changed is None or not booking.rule:
        raise Denied("ErrorItemNotFound")
    if rrulestr(booking.rule, dtstart=booking.start_time).before(start, inc=True) != start:
        raise Denied("ErrorItemNotFound")
    times = {"start_time": start, "end_time": start + (booking.end_time - booking.start_time)}
    return Instance(replace(booking, **{**times, **changed}), occurrence, is_exception=bool(changed))


def _collapsed(changes: Iterable[Change]) -> list[Change]:
    """One change a booking: what a client must do who knows how things were before these."""
    last: dict[str, Change] = {}
    for change in changes:
        before = last.pop(change.booking.id, None)
        if before is not None and before.kind is ChangeKind.CREATED:
            if change.kind is ChangeKind.DELETED:
                continue
            change = replace(change, kind=ChangeKind.CREATED)  # noqa: PLW2901 - the same change, told shorter
        last[change.booking.id] = change
    return list(last.values())


def _write_state(room: str, revision: int) -> str:
    return base64.b64encode(_STATE_MARK + f"{room} {revision}".encode()).decode("ascii")


def _read_state(state: str, room: str) -> int:
    if not state:
        return 0
    try:
        raw = base64.b64decode(state, validate=True)
        of, revision = raw.removeprefix(_STATE_MARK).decode().split(" ")
        number = int(revision)
    except (binascii.Error, ValueError):
        raise Denied("ErrorInvalidSyncStateData") from None
    if not raw.startswith(_STATE_MARK) or of != room:
        raise Denied("ErrorInvalidSyncStateData")
    return number
