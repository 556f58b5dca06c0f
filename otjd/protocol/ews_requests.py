"""EWS requests as values: read by name, whatever the prefixes, tolerant of what is unknown.

Faults are for what cannot be read: a required part that is missing, a value outside its type (poly.md 5.4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from enum import Enum

from lxml import etree

from otjd.protocol import ews_availability, ews_directory, ews_time_zones, markup
from otjd.protocol.ews_restrictions import Condition, SortField, read_restriction, read_sort_order
from otjd.protocol.ews_shapes import ItemShape, read_shape
from otjd.protocol.request_parts import (
    FolderRef,
    check_count,
    check_some,
    folders,
    integer,
    number,
    part,
    required,
    time,
)
from otjd.protocol.soap import Envelope, SoapFault, schema_violation

IDS_LIMIT = 1000
"""Ids of items in one request, unless the caller of `read_request` allows another number."""

_ID_LISTS = ("ItemIds", "SourceIds", "Items", "ItemChanges", "AttachmentIds", "Ignore")

CHANGES_LIMIT = 512
"""Changes of one SyncFolderItems; the schema's own limit."""

VERSIONS = frozenset({"Exchange2007", "Exchange2007_SP1", "Exchange2010", "Exchange2010_SP1", "Exchange2010_SP2",
                      "Exchange2013", "Exchange2013_SP1", "Exchange2016"})
"""The names of RequestServerVersion."""

_MEETING_RESPONSES = frozenset({"AcceptItem", "TentativelyAcceptItem", "DeclineItem"})
_ID_FORMATS = frozenset({"EwsLegacyId", "EwsId", "EntryId", "HexEntryId", "StoreId", "OwaId"})


@dataclass(frozen=True, slots=True)
class Header:
    """What the SOAP header asks for: `version` is empty where there is none, `impersonated` None."""

    version: str = ""
    zone: tzinfo = UTC
    impersonated: str | None = None


class ItemRefKind(Enum):
    """How an item is asked for."""

    ITEM = "ItemId"
    OCCURRENCE = "OccurrenceItemId"
    MASTER = "RecurringMasterItemId"


@dataclass(frozen=True, slots=True)
class ItemRef:
    """An item that is asked for."""

    id: str
    kind: ItemRefKind = ItemRefKind.ITEM


@dataclass(frozen=True, slots=True)
class CalendarView:
    """A span of time, and at most how many items of it; None: all."""

    start: datetime
    end: datetime
    max_entries: int | None = None


@dataclass(frozen=True, slots=True)
class PageView:
    """A page of a list: from `offset` on, or with `from_end` from that far before its end towards its begin, or
    with `fraction` from that part of it on, a numerator and a denominator."""

    offset: int = 0
    max_entries: int | None = None
    from_end: bool = False
    fraction: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class GetFolder:
    """Tell about folders."""

    folders: tuple[FolderRef, ...]


@dataclass(frozen=True, slots=True)
class FindItem:
    """List the items of folders; with `is_hidden` those that are deleted or go along with the folder itself."""

    shape: ItemShape
    view: CalendarView | PageView
    restriction: Condition | None
    order: tuple[SortField, ...]
    folders: tuple[FolderRef, ...]
    is_hidden: bool = False


@dataclass(frozen=True, slots=True)
class GetItem:
    """Tell about items."""

    shape: ItemShape
    items: tuple[ItemRef, ...]


@dataclass(frozen=True, slots=True)
class AlternateId:
    """An id in one of the formats of ConvertId."""

    id: str
    format: str


@dataclass(frozen=True, slots=True)
class ConvertId:
    """Give ids in another format."""

    destination: str
    ids: tuple[AlternateId, ...]


@dataclass(frozen=True, slots=True)
class FindFolder:
    """List the folders in others; with `is_deep` those in them too, with `is_hidden` those that are deleted.
    `page` is None where the client wants all. `display_name`: only folders of this name; empty: all."""

    parents: tuple[FolderRef, ...]
    is_deep: bool = False
    page: PageView | None = None
    display_name: str = ""
    is_hidden: bool = False


@dataclass(frozen=True, slots=True)
class ResolveNames:
    """Find mailboxes by a part of their name or address."""

    entry: str


@dataclass(frozen=True, slots=True)
class GetAttachment:
    """Give attachments."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """CreateItem, UpdateItem or DeleteItem: for each of its parts, whether it is the response to a meeting."""

    operation: str
    is_response: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class SyncFolderItems:
    """Tell what changed in a folder since `state`, which is empty at first; at most `limit` changes. Of the
    ItemIds `ignored` the client wants to be told neither that they are new nor that they changed."""

    shape: ItemShape
    folder: FolderRef
    state: str
    limit: int
    ignored: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SyncFolderHierarchy:
    """Tell which folders there are since `state`; without `folder` in the whole mailbox."""

    folder: FolderRef
    state: str


Request = (GetFolder | FindItem | GetItem | ConvertId | FindFolder | ResolveNames | Change | GetAttachment
           | SyncFolderItems | SyncFolderHierarchy | ews_availability.GetUserAvailability
           | ews_directory.GetRoomLists | ews_directory.GetRooms | ews_directory.GetUserConfiguration
           | ews_time_zones.GetServerTimeZones)


def read_header(envelope: Envelope) -> Header:
    """Read the header; a time zone that is not known, and not defined in it, counts as UTC."""
    header = envelope.header
    version = markup.child(header, "RequestServerVersion")
    definition = markup.child(markup.child(header, "TimeZoneContext"), "TimeZoneDefinition")
    zone = ews_time_zones.read_defined_zone(definition) if definition is not None else None
    impersonation = markup.child(header, "ExchangeImpersonation")
    impersonated = None
    if impersonation is not None:
        connecting = markup.child(impersonation, "ConnectingSID")
        impersonated = "" if connecting is None else markup.content(next(iter(connecting), None))
    return Header(version.get("Version", "").strip() if version is not None else "", zone or UTC, impersonated)


def read_request(envelope: Envelope, zone: tzinfo = UTC, *, ids_limit: int = IDS_LIMIT) -> Request:
    """Read the operation. Times without zone are in `zone`; `ids_limit` items at most are asked for at once.

    :raises SoapFault: it cannot be read, or is one that is not served: ErrorInvalidOperation, since clients answer
        ErrorInvalidRequest by trying every version they know (ews.md section 4).
    """
    read = _OPERATIONS.get(envelope.name)
    if read is None:
        raise SoapFault("ErrorInvalidOperation", f"The operation '{envelope.name[:60]}' is not available on this "
                                                 "server.")
    for name in _ID_LISTS:
        asked = markup.child(envelope.operation, name)
        if asked is not None:
            check_count(asked, ids_limit, name)
    return read(envelope.operation, zone)


def _get_folder(element: etree._Element, _: tzinfo) -> GetFolder:
    return GetFolder(folders(element, "FolderIds"))


def _find_item(element: etree._Element, zone: tzinfo) -> FindItem:
    parents = folders(element, "ParentFolderIds")
    view: CalendarView | PageView = PageView()
    if (calendar := markup.child(element, "CalendarView")) is not None:
        view = CalendarView(time(calendar, "StartDate", zone), time(calendar, "EndDate", zone),
                            integer(calendar, "MaxEntriesReturned"))
    elif (page := markup.child(element, "IndexedPageItemView")) is not None:
        view = _indexed_page(page, "MaxEntriesReturned")
    elif (page := markup.child(element, "FractionalPageItemView")) is not None:
        view = PageView(max_entries=integer(page, "MaxEntriesReturned"), fraction=_fraction(page))
    return FindItem(read_shape(markup.child(element, "ItemShape")), view,
                    read_restriction(markup.child(element, "Restriction"), zone),
                    read_sort_order(markup.child(element, "SortOrder")), parents,
                    is_hidden=element.get("Traversal", "").strip() in ("SoftDeleted", "Associated"))


def _fraction(page: etree._Element) -> tuple[int, int]:
    numerator, denominator = (number(required(page, name), f"The '{name}' attribute", page)
                              for name in ("Numerator", "Denominator"))
    if not 0 <= numerator <= denominator or not denominator:
        raise schema_violation(f"The page from {numerator}/{denominator} of a list on does not exist.", page)
    return numerator, denominator


def _get_item(element: etree._Element, _: tzinfo) -> GetItem:
    refs = tuple(_item_refs(part(element, "ItemIds")))
    check_some(refs, "ItemIds", element)
    return GetItem(read_shape(markup.child(element, "ItemShape")), refs)


def _convert_id(element: etree._Element, _: tzinfo) -> ConvertId:
    ids = tuple(AlternateId(required(e, "Id"), _format(e, "Format"))
                for e in markup.children(part(element, "SourceIds"), "AlternateId"))
    check_some(ids, "SourceIds", element)
    return ConvertId(_format(element, "DestinationFormat"), ids)


def _find_folder(element: etree._Element, _: tzinfo) -> FindFolder:
    traversal, view = element.get("Traversal", "").strip(), markup.child(element, "IndexedPageFolderView")
    return FindFolder(folders(element, "ParentFolderIds"), traversal == "Deep",
                      None if view is None else _indexed_page(view, "MaxFoldersReturned"),
                      _display_name(markup.child(element, "Restriction")), is_hidden=traversal == "SoftDeleted")


def _indexed_page(view: etree._Element, limit: str) -> PageView:
    return PageView(max(0, integer(view, "Offset") or 0), integer(view, limit),
                    view.get("BasePoint", "").strip() == "End")


def _display_name(restriction: etree._Element | None) -> str:
    """The name that folders must have; empty where something else is asked of them, or nothing."""
    condition = markup.child(restriction, "IsEqualTo")
    field = markup.child(condition, "FieldURI")
    constant = markup.child(markup.child(condition, "FieldURIOrConstant"), "Constant")
    if field is None or constant is None or field.get("FieldURI", "").strip() != "folder:DisplayName":
        return ""
    return constant.get("Value", "")


def _resolve_names(element: etree._Element, _: tzinfo) -> ResolveNames:
    return ResolveNames(markup.content(part(element, "UnresolvedEntry")))


def _change(parts: str) -> Callable[[etree._Element, tzinfo], Change]:
    def read(element: etree._Element, _: tzinfo) -> Change:
        is_response = tuple(markup.local_name(e) in _MEETING_RESPONSES for e in part(element, parts))
        check_some(is_response, parts, element)
        return Change(markup.local_name(element), is_response)
    return read


def _get_attachment(element: etree._Element, _: tzinfo) -> GetAttachment:
    ids = tuple(required(e, "Id") for e in markup.children(part(element, "AttachmentIds"), "AttachmentId"))
    check_some(ids, "AttachmentIds", element)
    return GetAttachment(ids)


def _sync_folder_items(element: etree._Element, _: tzinfo) -> SyncFolderItems:
    limit = markup.content(part(element, "MaxChangesReturned")).strip()
    if not (limit.isascii() and limit.isdigit() and len(limit) < 4 and 1 <= int(limit) <= CHANGES_LIMIT):
        raise schema_violation(f"The element 'MaxChangesReturned' is invalid: '{limit[:40]}' is not a whole "
                               f"number from 1 to {CHANGES_LIMIT}.", element)
    return SyncFolderItems(read_shape(markup.child(element, "ItemShape")), folders(element, "SyncFolderId")[0],
                           markup.content(markup.child(element, "SyncState")).strip(), int(limit),
                           frozenset(e.get("Id", "").strip()
                                     for e in markup.children(markup.child(element, "Ignore"), "ItemId")))


def _sync_folder_hierarchy(element: etree._Element, _: tzinfo) -> SyncFolderHierarchy:
    whole = markup.child(element, "SyncFolderId") is None
    return SyncFolderHierarchy(FolderRef(name="msgfolderroot") if whole else folders(element, "SyncFolderId")[0],
                               markup.content(markup.child(element, "SyncState")).strip())


_OPERATIONS: dict[str, Callable[[etree._Element, tzinfo], Request]] = {
    "GetFolder": _get_folder, "FindItem": _find_item, "GetItem": _get_item, "ConvertId": _convert_id,
    "FindFolder": _find_folder, "ResolveNames": _resolve_names, "CreateItem": _change("Items"),
    "UpdateItem": _change("ItemChanges"), "DeleteItem": _change("ItemIds"),
    "GetAttachment": _get_attachment,
    "SyncFolderItems": _sync_folder_items, "SyncFolderHierarchy": _sync_folder_hierarchy,
    "GetUserAvailabilityRequest": ews_availability.read_get_user_availability,
    "GetServerTimeZones": ews_time_zones.read_get_server_time_zones,
    "GetUserConfiguration": ews_directory.read_get_user_configuration,
    "GetRoomLists": ews_directory.read_get_room_lists, "GetRooms": ews_directory.read_get_rooms}

OPERATIONS = frozenset(_OPERATIONS)
"""The names of the requests that are read."""





def _item_refs(element: etree._Element) -> Iterator[ItemRef]:
    for entry in element:
        kind = markup.local_name(entry)
        if kind == "OccurrenceItemId":
            yield ItemRef(required(entry, "RecurringMasterId"), ItemRefKind.OCCURRENCE)
        elif kind == "RecurringMasterItemId":
            yield ItemRef(required(entry, "OccurrenceId"), ItemRefKind.MASTER)
        elif kind == "ItemId":
            yield ItemRef(required(entry, "Id"))


def _format(element: etree._Element, name: str) -> str:
    value = required(element, name)
    if value not in _ID_FORMATS:
        raise schema_violation(f"The '{name}' attribute is invalid: there is no format '{value[:40]}'.", element)
    return value

