"""Reading a room's calendar: FindItem with a CalendarView lists what there is, GetItem tells of what is new."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

from lxml import etree

from otjd.meetings.model import CalendarItemType, FreeBusyStatus, Invitation, Organizer
from otjd.protocol import markup
from otjd.protocol.ews_client import EwsError, instant, mailbox_folder, messages, only_message, written

PAGE = 500
"""Items of one FindItem: below the limit of 1,000 that servers set by default (EWSFindCountLimit)."""

BODY_LIMIT = 5_000_000
"""Characters of a body that are kept: the rules read no more."""

PROPERTY_LIMIT = 16_000
"""Characters of a named property that are kept."""

TEXT_LIMIT = 10_000
"""Characters of a subject, a location or a name."""

UID_LIMIT = 1_000

NAMED_PROPERTIES = (
    "TeamsVtcConferenceId", "TeamsVtcTenantId", "SkypeTeamsMeetingUrl", "SkypeTeamsProperties",
    "SchedulingServiceUpdateUrl", "SchedulingServiceMeetingOptionsUrl", "OnlineMeetingConfLink",
    "OnlineMeetingExternalLink", "OnlineMeetingInternalLink", "OnlineMeetingConferenceId", "ConferenceTelURI",
    "OnlineMeetingTollNumber", "UCCapabilities", "UCInband", "UCMeetingSetting", "UCOpenedConferenceID")
"""Named properties of PublicStrings that an online meeting may be told by, also where the body is gone."""

_NAMED = {name: {"DistinguishedPropertySetId": "PublicStrings", "PropertyName": name, "PropertyType": "String"}
          for name in NAMED_PROPERTIES}
_FIELDS = (
    "item:ItemClass", "item:Subject", "item:Sensitivity", "item:DateTimeCreated", "item:LastModifiedTime",
    "calendar:UID", "calendar:RecurrenceId", "calendar:Start", "calendar:End", "calendar:OriginalStart",
    "calendar:IsAllDayEvent", "calendar:LegacyFreeBusyStatus", "calendar:Location", "calendar:IsCancelled",
    "calendar:IsRecurring", "calendar:CalendarItemType", "calendar:Organizer")
_FREE_BUSY = {"Free": FreeBusyStatus.FREE, "WorkingElsewhere": FreeBusyStatus.FREE,
              "Tentative": FreeBusyStatus.TENTATIVE}
_STAMP = "%Y%m%dT%H%M%SZ"
MASTER = "RecurringMaster"
_RECURRING = 0x8223
"""PidLidRecurring (MS-OXPROPS 2.216)."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An item of a calendar as FindItem lists it; `size` is in bytes, with its attachments, `kind` its
    CalendarItemType, empty where the server does not say."""

    item_id: str
    change_key: str
    start: datetime | None
    size: int = 0
    kind: str = ""

    @property
    def is_master(self) -> bool:
        """Whether it stands for a whole series."""
        return self.kind == MASTER

    @property
    def is_occurrence(self) -> bool:
        """Whether it is one of a series."""
        return self.kind in ("Occurrence", "Exception")

    @property
    def version(self) -> bytes:
        """16 bytes that are others when the item is another or has changed."""
        both = f"{self.item_id}\0{self.change_key}"
        return blake2b(both.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Page:
    """One answer to FindItem; `is_last` tells whether it reaches the end of the window."""

    items: tuple[Listed, ...]
    is_last: bool


def find_items(room: str, start: datetime, end: datetime) -> str:
    """List what has a part in [start, end), occurrences expanded."""
    return _find(room, f'<m:CalendarView MaxEntriesReturned="{PAGE}" StartDate="{written(start)}" '
                       f'EndDate="{written(end)}"/>')


def find_series(room: str, offset: int) -> str:
    """List the masters of all series, from the one of this number on; a server may list other items as well."""
    return _find(room, f'<m:IndexedPageItemView MaxEntriesReturned="{PAGE}" Offset="{offset}" '
                       'BasePoint="Beginning"/><m:Restriction><t:IsEqualTo><t:ExtendedFieldURI '
                       f'DistinguishedPropertySetId="Appointment" PropertyId="{_RECURRING}" '
                       'PropertyType="Boolean"/><t:FieldURIOrConstant><t:Constant Value="true"/>'
                       "</t:FieldURIOrConstant></t:IsEqualTo></m:Restriction>")


def _find(room: str, view: str) -> str:
    fields = "".join(_field(name) for name in ("item:Size", "calendar:Start", "calendar:CalendarItemType"))
    return ('<m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape>'
            f"<t:AdditionalProperties>{fields}</t:AdditionalProperties></m:ItemShape>{view}"
            f"<m:ParentFolderIds>{mailbox_folder(room)}</m:ParentFolderIds></m:FindItem>")


def read_page(answer: etree._Element) -> Page:
    """Read a FindItemResponse.

    :raises EwsError: it is an error.
    :raises UnreadableAnswerError: it holds no message.
    """
    root = markup.child(only_message(answer), "RootFolder")
    inside = markup.child(root, "Items")
    items = tuple(_listed(inside)) if inside is not None else ()
    is_last = root is None or root.get("IncludesLastItemInRange", "true") in ("true", "1")
    return Page(items, is_last)


def _listed(items: etree._Element) -> Iterator[Listed]:
    for item in items:
        found = markup.child(item, "ItemId")
        if found is not None and found.get("Id"):
            size = markup.content(markup.child(item, "Size"))
            yield Listed(found.get("Id", ""), found.get("ChangeKey", ""), instant(markup.child(item, "Start")),
                         int(size) if size.isascii() and size.isdigit() and len(size) < 16 else 0,
                         markup.content(markup.child(item, "CalendarItemType"))[:TEXT_LIMIT])


def get_items(items: Iterable[Listed], *, with_body: bool = True, as_icalendar: bool = False) -> str:
    """Tell of these items, with their bodies in whichever form is the original, or as iCalendar objects."""
    mime = "<t:IncludeMimeContent>true</t:IncludeMimeContent>" if as_icalendar else ""
    kind = "<t:BodyType>Best</t:BodyType>" if with_body else ""
    fields = "".join(_field(name) for name in (*(("item:Body",) if with_body else ()), *_FIELDS))
    named = "".join('<t:ExtendedFieldURI DistinguishedPropertySetId="PublicStrings" '
                    f'PropertyName="{name}" PropertyType="String"/>' for name in NAMED_PROPERTIES)
    ids = "".join(f'<t:ItemId Id="{markup.attribute(item.item_id)}"/>' for item in items)
    return (f"<m:GetItem><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape>{mime}{kind}"
            f"<t:AdditionalProperties>{fields}{named}</t:AdditionalProperties></m:ItemShape>"
            f"<m:ItemIds>{ids}</m:ItemIds></m:GetItem>")


def _field(name: str) -> str:
    return f'<t:FieldURI FieldURI="{name}"/>'


@dataclass(frozen=True, slots=True)
class Told:
    """What GetItem said of one item: an Invitation, or what is wrong, or neither where it is not a meeting.

    `is_master` tells that it stands for a whole series. `icalendar` is base64, of what was asked for as such.
    """

    invitation: Invitation | None = None
    error: EwsError | None = None
    is_master: bool = False
    icalendar: str = ""


def read_items(answer: etree._Element, count: int) -> list[Told]:
    """Read a GetItemResponse, one for each of `count` ids in order; those that are missing count as gone."""
    told = [_told(message.element, message.error) for message in messages(answer)][:count]
    gone = Told(error=EwsError("ErrorItemNotFound", "the server did not tell of it"))
    return told + [gone] * (count - len(told))


def _told(message: etree._Element, error: EwsError | None) -> Told:
    if error is not None:
        return Told(error=error)
    inside = markup.child(message, "Items")
    item = next(iter(inside), None) if inside is not None else None
    if item is None:
        return Told(error=EwsError("ErrorItemNotFound", "the server did not tell of it"))
    parts: _Parts = {}
    named: list[etree._Element] = []
    for part in item:
        name = str(part.tag).rpartition("}")[2]
        if name == "ExtendedProperty":
            named.append(part)
        else:
            parts[name] = part
    kind = _text(parts, "CalendarItemType", TEXT_LIMIT)
    is_master = kind == MASTER or (not kind and _flag(parts, "IsRecurring"))
    return Told(_invitation(parts, named), None, is_master, markup.content(parts.get("MimeContent")))


_Parts = dict[str, etree._Element]
"""The properties of an item by their names."""


def _invitation(parts: _Parts, named: Sequence[etree._Element]) -> Invitation | None:
    start, end = instant(parts.get("Start")), instant(parts.get("End"))
    if start is None or end is None or end < start:
        return None
    kind = _text(parts, "CalendarItemType", TEXT_LIMIT)
    item_type = _TYPES.get(kind, CalendarItemType.SINGLE)
    occurrence = ""
    if item_type is not CalendarItemType.SINGLE:
        original = instant(parts.get("OriginalStart")) or instant(parts.get("RecurrenceId")) or start
        occurrence = original.strftime(_STAMP)
    body, is_html = _body(parts.get("Body"))
    sensitivity = _text(parts, "Sensitivity", TEXT_LIMIT)
    return Invitation(
        uid=_text(parts, "UID", UID_LIMIT) or _id_of(parts, item_type), start_time=start, end_time=end,
        occurrence=occurrence, subject=_text(parts, "Subject", TEXT_LIMIT),
        location=_text(parts, "Location", TEXT_LIMIT),
        body_html=body if is_html else "", body_text="" if is_html else body,
        organizer=_organizer(parts.get("Organizer")), is_private=sensitivity in ("Private", "Confidential"),
        is_all_day=_flag(parts, "IsAllDayEvent"), is_cancelled=_flag(parts, "IsCancelled"), item_type=item_type,
        free_busy=_FREE_BUSY.get(_text(parts, "LegacyFreeBusyStatus", TEXT_LIMIT), FreeBusyStatus.BUSY),
        created_time=instant(parts.get("DateTimeCreated")),
        last_modified_time=instant(parts.get("LastModifiedTime")),
        properties={"ews": _properties(parts, named)})


_TYPES = {kind.value: kind for kind in CalendarItemType}


def _id_of(parts: _Parts, item_type: CalendarItemType) -> str:
    """What stands for a UID where a server has none; an occurrence's id is its own."""
    found = parts.get("ItemId")
    identity = found.get("Id", "") if found is not None else ""
    digest = blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{item_type.value.lower()}-{digest}"


def _text(parts: _Parts, name: str, limit: int) -> str:
    return markup.content(parts.get(name))[:limit]


def _flag(parts: _Parts, name: str) -> bool:
    return markup.content(parts.get(name)) in ("true", "1")


def _body(element: etree._Element | None) -> tuple[str, bool]:
    if element is None:
        return "", False
    text = (element.text or "")[:BODY_LIMIT]
    return (text, element.get("BodyType") == "HTML") if text.strip() else ("", False)


def _organizer(element: etree._Element | None) -> Organizer:
    mailbox = markup.child(element, "Mailbox") if element is not None else None
    if mailbox is None:
        return Organizer()
    address = markup.content(markup.child(mailbox, "EmailAddress"))[:TEXT_LIMIT]
    # an address inside Exchange is one of X.500 where the directory does not know the organizer any more
    return Organizer(markup.content(markup.child(mailbox, "Name"))[:TEXT_LIMIT], address if "@" in address else "")


def _properties(parts: _Parts, named: Sequence[etree._Element]) -> dict[str, Any]:
    """The members of EWS's own object that rules read."""
    found: dict[str, Any] = {name: text for name in ("ItemClass", "Sensitivity", "CalendarItemType")
                             if (text := _text(parts, name, TEXT_LIMIT))}
    if "IsRecurring" in parts:
        found["IsRecurring"] = _flag(parts, "IsRecurring")
    extended = []
    for element in named[:2 * len(NAMED_PROPERTIES)]:
        uri = markup.child(element, "ExtendedFieldURI")
        name = uri.get("PropertyName", "") if uri is not None else ""
        if name in _NAMED:
            extended.append({"ExtendedFieldURI": _NAMED[name],
                             "Value": markup.content(markup.child(element, "Value"))[:PROPERTY_LIMIT]})
    if extended:
        found["ExtendedProperty"] = extended
    return found


def batches(items: Sequence[Listed], most: int, bytes_limit: int) -> Iterator[list[Listed]]:
    """The items in runs of at most `most`, which together have at most `bytes_limit` bytes, or are alone."""
    run: list[Listed] = []
    size = 0
    for item in items:
        if run and (len(run) >= most or size + item.size > bytes_limit):
            yield run
            run, size = [], 0
        run.append(item)
        size += item.size
    if run:
        yield run
