"""Answers to the byte: some readers match prefixes, quotes and order as text."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from otjd.meetings.model import CalendarItemType, Organizer
from otjd.protocol import ews_ids
from tests.serve.ews_support import (
    NOW,
    OTHER_ROOM,
    UNKNOWN_ID,
    Exchange,
    body_of,
    calendar_view,
    codes,
    envelope,
    get_folder,
    get_item,
    meeting,
    pairs,
    subjects,
)

DATA = Path(__file__).parent.parent / "data" / "ews"
WEEKLY = meeting("weekly", NOW + timedelta(hours=1), 60, subject='Weekly "A" & B <ö>', alias="alias@example.com",
                 created_time=NOW - timedelta(days=7), last_modified_time=NOW - timedelta(days=1))
DAILY = meeting("daily@example.com", NOW + timedelta(hours=3), 15, subject="", occurrence="20260302T103000Z",
                item_type=CalendarItemType.EXCEPTION, organizer=Organizer("Grace"), is_private=True,
                created_time=NOW - timedelta(days=7), last_modified_time=NOW - timedelta(days=2))


@pytest.fixture
def exchange() -> Exchange:
    exchange = Exchange()
    exchange.show(WEEKLY, DAILY)
    return exchange


def ids(exchange: Exchange) -> list[str]:
    return [i for i, _ in pairs(exchange.ask(calendar_view()))]


def test_find_item(exchange: Exchange) -> None:
    assert exchange.post(envelope(calendar_view())).body == (DATA / "find_item.xml").read_bytes()


def test_get_item_as_text(exchange: Exchange) -> None:
    reply = exchange.post(envelope(get_item(*ids(exchange), UNKNOWN_ID, shape="<t:BodyType>Text</t:BodyType>")))
    assert reply.body == (DATA / "get_item_text.xml").read_bytes()


def test_get_item_as_html(exchange: Exchange) -> None:
    reply = exchange.post(envelope(get_item(ids(exchange)[0])))
    assert reply.body == (DATA / "get_item_html.xml").read_bytes()


def test_get_folder(exchange: Exchange) -> None:
    others = ews_ids.folder_id(OTHER_ROOM.email, "calendar")
    reply = exchange.post(envelope(get_folder("calendar", "root", f'<t:FolderId Id="{others}"/>')))
    assert reply.body == (DATA / "get_folder.xml").read_bytes()


# poly.md 5.3: an imitation of endpoint traffic, misspelling included
AS_AN_ENDPOINT = """<?xml version="1.0" encoding="utf-8"?>
<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"
  xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"
  xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages">
 <soap:Header><t:RequestServerVersion Version="Exchange2007_SP1"/></soap:Header>
 <soap:Body>{}</soap:Body></soap:Envelope>"""
SHAPE = """<m:ItemShape><t:BaseShape>AllProperties</t:BaseShape>{}<t:AditionalProperties>
 <t:FieldURI FieldURI="item:Subject"/><t:FieldURI FieldURI="calendar:Start"/><t:FieldURI FieldURI="item:Body"/>
 <t:ExtendedFieldURI DistinguishedPropertySetId="PublicStrings" PropertyName="OnlineMeetingConfLink"
  PropertyType="String"/></t:AditionalProperties></m:ItemShape>"""
FIND_AS_AN_ENDPOINT = f"""<m:FindItem Traversal="Shallow">{SHAPE.format("")}
 <m:CalendarView MaxEntriesReturned="1024" StartDate="2026-03-02T08:00:00Z" EndDate="2026-03-04T23:59:59Z"/>
 <m:ParentFolderIds><t:DistinguishedFolderId Id="calendar"><t:Mailbox>
  <t:EmailAddress>boardroom@example.com</t:EmailAddress></t:Mailbox></t:DistinguishedFolderId>
 </m:ParentFolderIds></m:FindItem>"""
GET_AS_AN_ENDPOINT = f"""<m:GetItem Traversal="Shallow">{SHAPE.format("<t:BodyType>Text</t:BodyType>")}
 <m:ItemIds><t:ItemId Id="{{}}"/></m:ItemIds></m:GetItem>"""


def test_an_endpoint_lists_and_reads_each_item(exchange: Exchange) -> None:
    listed = body_of(exchange.post(AS_AN_ENDPOINT.format(FIND_AS_AN_ENDPOINT)))[0][0]
    assert subjects(listed) == ['Weekly "A" & B <ö>', "Grace"]
    for item_id, key in pairs(listed):
        read = body_of(exchange.post(AS_AN_ENDPOINT.format(GET_AS_AN_ENDPOINT.format(item_id))))[0][0]
        assert codes(read) == ["NoError"]
        assert pairs(read) == [(item_id, key)]
