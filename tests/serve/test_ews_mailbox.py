"""What the emulated Exchange answers to FindFolder, ResolveNames, and requests that would change something."""

from __future__ import annotations

import pytest

from otjd.protocol import ews_ids
from tests.serve.ews_support import OTHER_ROOM, ROOM, UNKNOWN_ID, Exchange, busy_room, codes, texts

SHAPE = "<m:FolderShape><t:BaseShape>Default</t:BaseShape></m:FolderShape>"


@pytest.fixture
def exchange() -> Exchange:
    return busy_room()


def find_folder(*parents: str, traversal: str = "Shallow", view: str = "") -> str:
    ids = "".join(f'<t:DistinguishedFolderId Id="{p}"/>' for p in parents)
    return (f'<m:FindFolder Traversal="{traversal}">{SHAPE}{view}<m:ParentFolderIds>{ids}</m:ParentFolderIds>'
            "</m:FindFolder>")


def names(exchange: Exchange, request: str) -> list[str]:
    return texts(exchange.ask(request), ".//t:DisplayName")


def test_folders_are_found_in_their_parents(exchange: Exchange) -> None:
    assert names(exchange, find_folder("root"))[0] == "Top of Information Store"
    below = names(exchange, find_folder("msgfolderroot"))
    assert {"Calendar", "Inbox"} <= set(below)
    deep = names(exchange, find_folder("root", traversal="Deep"))
    assert {"Top of Information Store", "Conflicts", "Voice Mail", *below} < set(deep)
    assert names(exchange, find_folder("calendar", "inbox")) == []


@pytest.mark.parametrize(("field", "name", "found"), [
    ("folder:DisplayName", "CALENDAR", ["Calendar"]), ("folder:DisplayName", "temporary", []),
    ("folder:FolderClass", "IPF.Appointment", ["Calendar", "Inbox"])])
def test_folders_can_be_found_by_name_and_other_conditions_keep_none_out(
        exchange: Exchange, field: str, name: str, found: list[str]) -> None:
    restriction = (f'<m:Restriction><t:IsEqualTo><t:FieldURI FieldURI="{field}"/><t:FieldURIOrConstant>'
                   f'<t:Constant Value="{name}"/></t:FieldURIOrConstant></t:IsEqualTo></m:Restriction>')
    assert names(exchange, find_folder("msgfolderroot", view=restriction))[:2] == found


def test_each_parent_is_answered_for_itself(exchange: Exchange) -> None:
    others = ews_ids.folder_id(OTHER_ROOM.email, "calendar")
    asked = find_folder("root").replace("</m:Par", f'<t:FolderId Id="{others}"/></m:Par')
    assert codes(exchange.ask(asked)) == ["NoError", "ErrorFolderNotFound"]


def test_a_client_that_pages_gets_one_page(exchange: Exchange) -> None:
    view = '<m:IndexedPageFolderView MaxFoldersReturned="100" Offset="0" BasePoint="Beginning"/>'
    messages = exchange.ask(find_folder("root", view=view))
    assert texts(messages, ".//m:RootFolder/@*") == ["8", "8", "true"]


def test_pages_of_folders_are_as_long_as_asked_and_follow_each_other(exchange: Exchange) -> None:
    whole, pages, offset, is_last = names(exchange, find_folder("root")), [], "0", "false"
    while is_last == "false":
        view = f'<m:IndexedPageFolderView MaxFoldersReturned="3" Offset="{offset}" BasePoint="Beginning"/>'
        messages = exchange.ask(find_folder("root", view=view))
        pages.append(texts(messages, ".//t:DisplayName"))
        offset, total, is_last = texts(messages, ".//m:RootFolder/@*")
        assert total == "8"
    assert pages == [whole[:3], whole[3:6], whole[6:]]
    none = '<m:IndexedPageFolderView MaxFoldersReturned="0" Offset="0" BasePoint="Beginning"/>'
    assert codes(exchange.ask(find_folder("root", view=none))) == ["ErrorInvalidPagingMaxRows"]


def test_no_folders_are_deleted(exchange: Exchange) -> None:
    assert names(exchange, find_folder("root", traversal="SoftDeleted")) == []


def test_the_calendar_that_is_found_is_the_one_that_can_be_listed(exchange: Exchange) -> None:
    messages = exchange.ask(find_folder("root", traversal="Deep"))
    assert texts(messages, ".//t:CalendarFolder/t:FolderId/@Id") == [ews_ids.folder_id(ROOM.email, "calendar")]
    assert texts(messages, ".//t:CalendarFolder/t:TotalCount") == ["3"]


def resolve(entry: str) -> str:
    return (f'<m:ResolveNames ReturnFullContactData="false"><m:UnresolvedEntry>{entry}</m:UnresolvedEntry>'
            "</m:ResolveNames>")


@pytest.mark.parametrize("entry", ["boardroom@example.com", "BoardRoom@Example.com", "smtp:boardroom@example.com",
                                   "boardroom", "Boardroom-1"])
def test_the_own_mailbox_is_resolved(exchange: Exchange, entry: str) -> None:
    assert texts(exchange.ask(resolve(entry)), ".//t:EmailAddress") == ["boardroom@example.com"]


@pytest.mark.parametrize("entry", ["lounge@example.com", "lounge", "ada", "example.com", ""])
def test_nobody_else_is_in_the_directory(exchange: Exchange, entry: str) -> None:
    assert codes(exchange.ask(resolve(entry))) == ["ErrorNameResolutionNoResults"]


def test_responses_to_meetings_succeed_and_everything_else_is_denied(exchange: Exchange) -> None:
    before = exchange.cache.agenda(ROOM)
    reference = f'<t:ReferenceItemId Id="{UNKNOWN_ID}"/>'
    created = exchange.ask('<m:CreateItem MessageDisposition="SendAndSaveCopy"><m:Items>'
                           f"<t:AcceptItem>{reference}</t:AcceptItem><t:CalendarItem/>"
                           f"<t:TentativelyAcceptItem>{reference}</t:TentativelyAcceptItem>"
                           f"<t:DeclineItem>{reference}</t:DeclineItem></m:Items></m:CreateItem>")
    assert codes(created) == ["NoError", "ErrorAccessDenied", "NoError", "NoError"]
    updated = exchange.ask('<m:UpdateItem ConflictResolution="AutoResolve"><m:ItemChanges><t:ItemChange>'
                           f'<t:ItemId Id="{UNKNOWN_ID}"/><t:Updates/></t:ItemChange>'
                           "</m:ItemChanges></m:UpdateItem>")
    assert codes(updated) == ["ErrorAccessDenied"]
    deleted = exchange.ask('<m:DeleteItem DeleteType="HardDelete"><m:ItemIds>'
                           f'<t:ItemId Id="{UNKNOWN_ID}"/><t:ItemId Id="{UNKNOWN_ID}"/>'
                           "</m:ItemIds></m:DeleteItem>")
    assert codes(deleted) == ["ErrorAccessDenied", "ErrorAccessDenied"]
    assert exchange.cache.agenda(ROOM) is before


def test_no_item_has_attachments(exchange: Exchange) -> None:
    asked = '<t:AttachmentId Id="abc"/><t:AttachmentId Id="def"/>'
    messages = exchange.ask(f"<m:GetAttachment><m:AttachmentIds>{asked}</m:AttachmentIds></m:GetAttachment>")
    assert codes(messages) == ["ErrorInvalidAttachmentId"] * 2


@pytest.mark.parametrize("request_", [
    "<m:GetAttachment/>", "<m:GetAttachment><m:AttachmentIds/></m:GetAttachment>",
    "<m:CreateItem/>", "<m:CreateItem><m:Items/></m:CreateItem>", "<m:ResolveNames/>", "<m:FindFolder/>",
    "<m:DeleteItem><m:ItemIds/></m:DeleteItem>"])
def test_what_lacks_a_required_part_is_a_schema_violation(exchange: Exchange, request_: str) -> None:
    assert exchange.fault(request_) == "ErrorSchemaValidation"
