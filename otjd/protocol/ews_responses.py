"""EWS answers, written as text with the literal prefixes s:, m:, t: and h: (poly.md 6, ews.md 3)."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from urllib.parse import quote, unquote_to_bytes

from otjd.protocol import ews_ids
from otjd.protocol.markup import attribute, boolean, text
from otjd.protocol.soap import MESSAGES, TYPES

_SCHEMA_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
_LATEST_VERSION = "V2017_07_11"
_EXCHANGE_2013_SP1_BUILD = 847

MESSAGE_TEXTS = {
    "ErrorAccessDenied": "Access is denied. Check credentials and try again.",
    "ErrorCalendarCannotUseIdForOccurrenceId": "The Id is not that of a recurring master.",
    "ErrorCalendarCannotUseIdForRecurringMasterId": "The Id is not that of an occurrence of a recurring master.",
    "ErrorCalendarEndDateIsEarlierThanStartDate": "EndDate is earlier than StartDate",
    "ErrorCalendarViewRangeTooBig": "The specified view range exceeds the maximum range of two years.",
    "ErrorCannotUseFolderIdForItemId": "Id must be an item Id.",
    "ErrorCannotUseItemIdForFolderId": "Id must be a folder Id.",
    "ErrorExceededConnectionCount": "You have exceeded the available concurrent connections for your account. Try "
                                    "again once your other requests have completed.",
    "ErrorExceededSubscriptionCount": "You have exceeded the available subscriptions for your account. Remove "
                                      "unnecessary subscriptions and try your request again.",
    "ErrorFolderNotFound": "The specified folder could not be found in the store.",
    "ErrorInvalidAttachmentId": "The attachment Id is not valid: no item has attachments.",
    "ErrorInvalidIdEmpty": "Id is empty.",
    "ErrorInvalidIdMalformed": "Id is malformed.",
    "ErrorInvalidOperation": "Push notifications are not offered by this server; subscribe to pull or streaming "
                             "notifications.",
    "ErrorInvalidPagingMaxRows": "Max Rows must be greater than zero.",
    "ErrorInvalidPullSubscriptionId": "The subscription Id is not that of a pull subscription.",
    "ErrorInvalidSubscription": "The subscription Id is not valid.",
    "ErrorInvalidSubscriptionRequest": "Either FolderIds or SubscribeToAllFolders is needed, and not both.",
    "ErrorInvalidSyncStateData": "Synchronization state data is corrupt or otherwise invalid.",
    "ErrorInvalidWatermark": "The watermark is not valid.",
    "ErrorItemNotFound": "The specified object was not found in the store.",
    "ErrorMissedNotificationEvents": "There were more events than are kept: read the folder and subscribe again.",
    "ErrorNameResolutionNoResults": "No results were found.",
    "ErrorNewEventStreamConnectionOpened": "Another connection was opened for the same subscription.",
    "ErrorNonExistentMailbox": "The SMTP address has no mailbox associated with it.",
    "ErrorSubscriptionAccessDenied": "The subscription was made by another account.",
    "ErrorSubscriptionNotFound": "The subscription was not found; it may have expired.",
    "ErrorSubscriptionUnsubscribed": "The subscription was ended by its client.",
}
"""What is said with each code that a response message may have."""


_CONTAINERS = {"GetItem": "<m:Items/>", "GetFolder": "<m:Folders/>", "CreateItem": "<m:Items/>",
               "UpdateItem": "<m:Items/>", "GetAttachment": "<m:Attachments/>"}


@dataclass(frozen=True, slots=True)
class ServerVersion:
    """The version of Exchange that is reported, with the name that goes with its numbers."""

    major: int
    minor: int
    major_build: int
    minor_build: int

    @classmethod
    def of(cls, version: str) -> ServerVersion:
        """From text such as `15.1.2507.6`; what is missing or no number is 0."""
        parts = [*version.strip().split("."), "", "", "", ""][:4]
        return cls(*(int(part) if part.isascii() and part.isdigit() else 0 for part in parts))

    @property
    def name(self) -> str:
        """The `Version` that clients can live with: some take a request version's name over for all they ask."""
        if self.major <= 8:
            return "Exchange2007_SP1" if self.minor else "Exchange2007"
        if self.major == 14:
            return ("Exchange2010", "Exchange2010_SP1", "Exchange2010_SP2")[min(self.minor, 2)]
        if (self.major, self.minor) == (15, 0):
            return "Exchange2013_SP1" if self.major_build >= _EXCHANGE_2013_SP1_BUILD else "Exchange2013"
        return _LATEST_VERSION

    def header(self) -> str:
        """The ServerVersionInfo of every answer."""
        return (f'<h:ServerVersionInfo MajorVersion="{self.major}" MinorVersion="{self.minor}" '
                f'MajorBuildNumber="{self.major_build}" MinorBuildNumber="{self.minor_build}" '
                f'Version="{self.name}" xmlns:h="{TYPES}"/>')


def response(operation: str, messages: Iterable[str]) -> str:
    """The body of an answer from its response messages."""
    return (f'<m:{operation}Response xmlns:m="{MESSAGES}" xmlns:t="{TYPES}"><m:ResponseMessages>'
            f'{"".join(messages)}</m:ResponseMessages></m:{operation}Response>')


def success(operation: str, content: str) -> str:
    """A response message that answers with `content`."""
    return (f'<m:{operation}ResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode>'
            f"{content}</m:{operation}ResponseMessage>")


def error(operation: str, code: str) -> str:
    """A response message that answers with an error; the operation's empty container comes with it."""
    container = _CONTAINERS.get(operation, "")
    return (f'<m:{operation}ResponseMessage ResponseClass="Error"><m:MessageText>{text(MESSAGE_TEXTS[code])}'
            f"</m:MessageText><m:ResponseCode>{code}</m:ResponseCode><m:DescriptiveLinkKey>0</m:DescriptiveLinkKey>"
            f"{container}</m:{operation}ResponseMessage>")


def items(written: str) -> str:
    """What GetItem answers for one item."""
    return f"<m:Items>{written}</m:Items>"


def root_folder(written: Iterable[str], *, total: int, is_last: bool, next_offset: int | None = None,
                is_fraction: bool = False) -> str:
    """What FindItem answers for one folder; `next_offset` only where the client pages, and `is_fraction` where it
    does so by fractions."""
    offset = "" if next_offset is None else f'IndexedPagingOffset="{next_offset}" '
    if is_fraction:
        offset = f'NumeratorOffset="{next_offset}" AbsoluteDenominator="{total}" '
    return (f'<m:RootFolder {offset}TotalItemsInView="{total}" IncludesLastItemInRange="{boolean(is_last)}">'
            f"<t:Items>{''.join(written)}</t:Items></m:RootFolder>")


@dataclass(frozen=True, slots=True)
class FolderFacts:
    """How a distinguished folder is shown: its element, class, name and parent; root has no parent."""

    element: str
    folder_class: str
    display_name: str
    parent: str = "msgfolderroot"


FOLDER_FACTS = {
    "root": FolderFacts("Folder", "", "Root", ""),
    "msgfolderroot": FolderFacts("Folder", "IPF.Note", "Top of Information Store", "root"),
    "calendar": FolderFacts("CalendarFolder", "IPF.Appointment", "Calendar"),
    "inbox": FolderFacts("Folder", "IPF.Note", "Inbox"),
    "contacts": FolderFacts("ContactsFolder", "IPF.Contact", "Contacts"),
    "deleteditems": FolderFacts("Folder", "IPF.Note", "Deleted Items"),
    "drafts": FolderFacts("Folder", "IPF.Note", "Drafts"),
    "junkemail": FolderFacts("Folder", "IPF.Note", "Junk Email"),
    "outbox": FolderFacts("Folder", "IPF.Note", "Outbox"),
    "sentitems": FolderFacts("Folder", "IPF.Note", "Sent Items"),
    "tasks": FolderFacts("TasksFolder", "IPF.Task", "Tasks"),
    "journal": FolderFacts("Folder", "IPF.Journal", "Journal"),
    "notes": FolderFacts("Folder", "IPF.StickyNote", "Notes"),
    "conversationhistory": FolderFacts("Folder", "IPF.Note", "Conversation History"),
    "syncissues": FolderFacts("Folder", "IPF.Note", "Sync Issues"),
    "conflicts": FolderFacts("Folder", "IPF.Note", "Conflicts", "syncissues"),
    "localfailures": FolderFacts("Folder", "IPF.Note", "Local Failures", "syncissues"),
    "serverfailures": FolderFacts("Folder", "IPF.Note", "Server Failures", "syncissues"),
    "recipientcache": FolderFacts("ContactsFolder", "IPF.Contact.RecipientCache", "Recipient Cache", "contacts"),
    "quickcontacts": FolderFacts("ContactsFolder", "IPF.Contact.MOC.QuickContacts", "Quick Contacts", "contacts"),
    "imcontactlist": FolderFacts("ContactsFolder", "IPF.Contact.MOC.ImContactList", "IM Contact List", "contacts"),
    "peopleconnect": FolderFacts("ContactsFolder", "IPF.Contact.PeopleConnect", "PeopleConnect", "contacts"),
    "mecontact": FolderFacts("ContactsFolder", "IPF.Contact", "MeContact", "contacts"),
    "searchfolders": FolderFacts("Folder", "", "Finder", "root"),
    "voicemail": FolderFacts("Folder", "IPF.Note", "Voice Mail", "searchfolders"),
    "todosearch": FolderFacts("Folder", "IPF.Task", "To-Do Search", "root"),
    "mycontacts": FolderFacts("Folder", "IPF.Contact", "MyContacts", "root"),
    "directory": FolderFacts("Folder", "", "Directory", "root"),
    "favorites": FolderFacts("Folder", "IPF.Note", "Favorites", "root"),
    "personmetadata": FolderFacts("Folder", "", "PersonMetadata", "root"),
    "publicfoldersroot": FolderFacts("Folder", "", "IPM_SUBTREE", ""),
    "recoverableitemsroot": FolderFacts("Folder", "", "Recoverable Items", "root"),
    "adminauditlogs": FolderFacts("Folder", "", "AdminAuditLogs", "recoverableitemsroot"),
    "archiveroot": FolderFacts("Folder", "", "Root", ""),
    "archivemsgfolderroot": FolderFacts("Folder", "IPF.Note", "Top of Information Store", "archiveroot"),
    "archivedeleteditems": FolderFacts("Folder", "IPF.Note", "Deleted Items", "archivemsgfolderroot"),
    "archiveinbox": FolderFacts("Folder", "IPF.Note", "Inbox", "archivemsgfolderroot"),
    "archiverecoverableitemsroot": FolderFacts("Folder", "", "Recoverable Items", "archiveroot"),
} | {
    f"{place}recoverableitems{name.lower()}": FolderFacts("Folder", "", name, f"{place}recoverableitemsroot")
    for place in ("", "archive") for name in ("Deletions", "Versions", "Purges", "DiscoveryHolds")}

_READ_ONLY = ("<t:EffectiveRights><t:CreateAssociated>false</t:CreateAssociated>"
              "<t:CreateContents>false</t:CreateContents><t:CreateHierarchy>false</t:CreateHierarchy>"
              "<t:Delete>false</t:Delete><t:Modify>false</t:Modify><t:Read>true</t:Read></t:EffectiveRights>")


@cache  # of a few names, and asked for again and again
def folders_within(parent: str, *, is_deep: bool) -> tuple[str, ...]:
    """The names of the folders in `parent`; with `is_deep` each is followed by those in it."""
    found: tuple[str, ...] = ()
    for name, facts in FOLDER_FACTS.items():
        if facts.parent == parent:
            found += (name, *(folders_within(name, is_deep=True) if is_deep else ()))
    return found


def found_folders(written: Sequence[str], *, total: int, is_last: bool, next_offset: int | None = None) -> str:
    """What FindFolder answers for one parent; `next_offset` only where the client pages."""
    offset = "" if next_offset is None else f'IndexedPagingOffset="{next_offset}" '
    return (f'<m:RootFolder {offset}TotalItemsInView="{total}" IncludesLastItemInRange="{boolean(is_last)}">'
            f"<t:Folders>{''.join(written)}</t:Folders></m:RootFolder>")


def item_changes(state: str, is_last: bool, *, created: Iterable[str], updated: Iterable[str],
                 deleted: Iterable[tuple[str, str]]) -> str:
    """What SyncFolderItems answers: items as they are written, of deleted ones meeting id and ChangeKey."""
    gone = (f'<t:ItemId Id="{ews_ids.item_id(key)}" ChangeKey="{attribute(change_key)}"/>'
            for key, change_key in deleted)
    told = "".join(f"<t:{kind}>{content}</t:{kind}>" for kind, contents in
                   (("Create", created), ("Update", updated), ("Delete", gone)) for content in contents)
    return (f"<m:SyncState>{state}</m:SyncState><m:IncludesLastItemInRange>{'true' if is_last else 'false'}"
            f"</m:IncludesLastItemInRange><m:Changes>{told}</m:Changes>")


def folder_changes(state: str, created: Iterable[str]) -> str:
    """What SyncFolderHierarchy answers."""
    told = "".join(f"<t:Create>{content}</t:Create>" for content in created)
    return (f"<m:SyncState>{state}</m:SyncState><m:IncludesLastFolderInRange>true</m:IncludesLastFolderInRange>"
            f"<m:Changes>{told}</m:Changes>")


def resolution(room_email: str) -> str:
    """What ResolveNames answers: the one mailbox there is."""
    address = text(room_email)
    return ('<m:ResolutionSet TotalItemsInView="1" IncludesLastItemInRange="true"><t:Resolution><t:Mailbox>'
            f"<t:Name>{address}</t:Name><t:EmailAddress>{address}</t:EmailAddress>"
            "<t:RoutingType>SMTP</t:RoutingType><t:MailboxType>Mailbox</t:MailboxType></t:Mailbox></t:Resolution>"
            "</m:ResolutionSet>")


def folder(name: str, room_email: str, total: int | None) -> str:
    """A folder as it is told of; `total` is the number of its items, None where that is not known."""
    facts = FOLDER_FACTS[name]
    child_folders = len(folders_within(name, is_deep=False))
    folder_id = ews_ids.folder_id(room_email, name)
    key = ews_ids.change_key("folder", room_email, name, str(total))
    parent = f'<t:ParentFolderId Id="{ews_ids.folder_id(room_email, facts.parent)}"/>' if facts.parent else ""
    folder_class = f"<t:FolderClass>{facts.folder_class}</t:FolderClass>" if facts.folder_class else ""
    count = "" if total is None else f"<t:TotalCount>{total}</t:TotalCount>"
    unread = "<t:UnreadCount>0</t:UnreadCount>" if facts.element == "Folder" else ""
    return (f'<t:{facts.element}><t:FolderId Id="{folder_id}" ChangeKey="{key}"/>{parent}{folder_class}'
            f"<t:DisplayName>{facts.display_name}</t:DisplayName>{count}"
            f"<t:ChildFolderCount>{child_folders}</t:ChildFolderCount>{_READ_ONLY}{unread}</t:{facts.element}>")


def convert_id(text_id: str, source: str, destination: str) -> str | None:
    """An id in another format; None for one that was never given out.

    The formats differ in how the same bytes are written: `HexEntryId` in hexadecimal digits, `OwaId` as base64
    for a URL, all others as base64.
    """
    encoded = text_id
    if source == "HexEntryId":
        try:
            encoded = base64.b64encode(bytes.fromhex(text_id)).decode("ascii")
        except ValueError:
            return None
    elif source == "OwaId":
        encoded = unquote_to_bytes(text_id).decode("ascii", "replace")
    known = ews_ids.raw_id(encoded)
    if known is None:
        return None
    if destination == "HexEntryId":
        return known[1].hex().upper()
    return quote(encoded, safe="") if destination == "OwaId" else encoded


def alternate_id(converted: str, destination: str, mailbox: str) -> str:
    """What ConvertId answers for one id."""
    return (f'<m:AlternateId xmlns:xsi="{_SCHEMA_INSTANCE}" xsi:type="t:AlternateIdType" Format="{destination}" '
            f'Id="{attribute(converted)}" Mailbox="{attribute(mailbox)}"/>')
