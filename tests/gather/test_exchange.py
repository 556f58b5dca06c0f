from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from lxml import etree
from twisted.internet.threads import deferToThread

from otjd.gather.exchange import BLIND_SWEEPS, GREATEST_ITEM, SWEEPS_REST_S, ExchangeSource
from otjd.gather.source import RoomError, ThrottledError, UnauthorizedError, UnreachableError
from otjd.meetings.model import CalendarItemType, Window
from otjd.protocol.soap import SOAP_11, SoapFault, write_fault
from otjd.seam import deferred
from tests.gather.exchange_world import Reply, World, listed, refused, response, told, world
from tests.outbound.servers import Certificates, until
from tests.protocol.test_ews_client_availability import availability, event, events, mailbox
from tests.serve.ews_support import NAMESPACES, NOW

ROOM = "room@example.com"
WINDOW = Window(NOW - timedelta(days=1), NOW + timedelta(days=7))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@asynccontextmanager
async def source(certificates: Certificates,
                 **replies: Reply | bytes) -> AsyncIterator[tuple[ExchangeSource, World]]:
    async with world(certificates, **replies) as made:
        exchange = ExchangeSource(made.client, clock=made.clock, in_thread=deferToThread, jitter=lambda: 0.0)
        try:
            yield exchange, made
        finally:
            await exchange.stop()


def fault(code: str, **values: str) -> bytes:
    return write_fault(SoapFault(code, "Because.", values=values), SOAP_11)


def batch_sizes(made: World) -> list[int]:
    return [request.body.count(b"<t:ItemId ") for name, request in made.exchange.asked if name == "GetItem"]


async def test_items_are_told_in_batches_of_ten_and_only_when_they_are_new(certificates: Certificates) -> None:
    items = [(f"i{n}", "k1") for n in range(25)]
    async with source(certificates, FindItem=lambda *_: listed(*items),
                      GetItem=lambda _, r: told(r)) as (exchange, made):
        first = await exchange.read(ROOM, WINDOW, None)
        assert [one.uid for one in first.invitations] == [f"uid-i{n}" for n in range(25)]
        assert (first.unchanged, first.requests, batch_sizes(made)) == (frozenset(), 5, [10, 10, 5])
        items[3] = ("i3", "k2")
        del items[10]
        second = await exchange.read(ROOM, WINDOW, first.memory)
        assert [one.uid for one in second.invitations] == ["uid-i3"]
        assert second.unchanged == {(f"uid-i{n}", "") for n in range(25) if n not in (3, 10)}
        third = await exchange.read(ROOM, WINDOW, second.memory)
        assert (third.invitations, len(third.unchanged), third.requests) == ([], 24, 1)
        assert made.spent == [1] * (5 + 2 + 1)


async def test_a_room_is_read_by_impersonation_with_its_anchor(certificates: Certificates) -> None:
    async with source(certificates, FindItem=listed()) as (exchange, made):
        assert (await exchange.read(ROOM, WINDOW, None)).invitations == []
        (_, request), (_, series) = made.exchange.asked
        root = etree.fromstring(request.body)
        assert root.findtext(".//t:ConnectingSID/t:PrimarySmtpAddress", namespaces=NAMESPACES) == ROOM
        assert request.getHeader("X-AnchorMailbox") == ROOM
        assert b"CalendarView" not in series.body
        view = root.find(".//m:CalendarView", NAMESPACES)
        assert view is not None
        assert (view.get("StartDate"), view.get("EndDate")) == ("2026-03-01T08:00:00Z", "2026-03-09T08:00:00Z")


async def test_a_listing_that_does_not_end_is_continued_from_its_last_start(certificates: Certificates) -> None:
    pages = [listed(("a", "1"), is_last=False, more="<t:Start>2026-03-02T10:00:00Z</t:Start>"),
             listed(("a", "1"), ("b", "1"))]
    starts: list[str | None] = []

    def page(_: Any, root: etree._Element) -> bytes:
        starts.append(root.xpath("string(.//@StartDate)"))  # type: ignore[arg-type]
        return pages.pop(0)

    async with source(certificates, FindItem=page, GetItem=lambda _, r: told(r)) as (exchange, _):
        reading = await exchange.read(ROOM, WINDOW, None)
        assert [one.uid for one in reading.invitations] == ["uid-a", "uid-b"]
        assert starts == ["2026-03-01T08:00:00Z", "2026-03-02T10:00:00Z"]


async def test_a_listing_that_never_ends_is_the_rooms_error(certificates: Certificates) -> None:
    endless = listed(("a", "1"), is_last=False, more="<t:Start>2026-03-02T10:00:00Z</t:Start>")
    async with source(certificates, FindItem=endless) as (exchange, made):
        with pytest.raises(RoomError, match="more than 500 meetings"):
            await exchange.read(ROOM, WINDOW, None)
        assert len(made.exchange.asked) == 2


@pytest.mark.parametrize(("code", "kind", "words"), [
    ("ErrorNonExistentMailbox", RoomError, "there is no mailbox"),
    ("ErrorImpersonateUserDenied", RoomError, "New-ManagementRoleAssignment"),
    ("ErrorAccessDenied", RoomError, "may not read this calendar"),
    ("ErrorMailboxStoreUnavailable", RoomError, "the mailbox database is not available"),
    ("ErrorInternalServerError", RoomError, "an error of its own"),
    ("ErrorPasswordExpired", UnauthorizedError, "has expired"),
    ("ErrorInvalidServerVersion", UnreachableError, "Exchange 2010 SP2 or later")])
@pytest.mark.parametrize("as_fault", [True, False])
async def test_refusals_are_told_apart(certificates: Certificates, code: str, kind: type[Exception], words: str, *,
                                       as_fault: bool) -> None:
    reply = fault(code) if as_fault else refused("FindItem", code)
    async with source(certificates, FindItem=reply) as (exchange, _):
        with pytest.raises(kind, match=words):
            await exchange.read(ROOM, WINDOW, None)


async def test_a_busy_server_says_for_how_long_and_for_which_room(certificates: Certificates) -> None:
    busy = fault("ErrorServerBusy", BackOffMilliseconds="7000")
    async with source(certificates, FindItem=busy) as (exchange, made):
        rooms = []
        for n in range(3):
            with pytest.raises(ThrottledError) as caught:
                await exchange.read(f"r{n}@example.com", WINDOW, None)
            rooms.append(caught.value.room)
            assert caught.value.retry_after == timedelta(seconds=7)
        assert rooms == ["r0@example.com", "r1@example.com", ""], "by then it is the server"
        made.clock.advance(60)
        with pytest.raises(ThrottledError) as caught:
            await exchange.read(ROOM, WINDOW, None)
        assert caught.value.room == ROOM


@pytest.mark.parametrize(("status", "headers", "kind", "words"), [
    (503, {"Retry-After": "12"}, ThrottledError, "busy"), (403, {}, UnreachableError, "forbids"),
    (404, {}, UnreachableError, "no EWS at this URL"), (500, {}, UnreachableError, "no SOAP answer"),
    (302, {"Location": "https://owa.example.com/"}, UnreachableError, "leads to https://owa.example.com/"),
    (200, {}, UnreachableError, "no SOAP answer")])
async def test_what_stands_before_exchange_is_not_taken_for_it(certificates: Certificates, status: int,
                                                               headers: dict[str, str], kind: type[Exception],
                                                               words: str) -> None:
    def page(request: Any, _: etree._Element) -> bytes:
        request.setResponseCode(status)
        for name, value in headers.items():
            request.setHeader(name, value)
        return b"<html><body>no</body></html>"

    async with source(certificates, FindItem=page) as (exchange, _):
        with pytest.raises(kind, match=words):
            await exchange.read(ROOM, WINDOW, None)


async def test_a_front_end_may_say_until_when_it_is_to_be_left_alone(certificates: Certificates) -> None:
    def page(request: Any, _: etree._Element) -> bytes:
        request.setResponseCode(503)
        request.setHeader("Date", "Mon, 02 Mar 2026 08:00:00 GMT")
        request.setHeader("Retry-After", "Mon, 02 Mar 2026 08:02:00 GMT")
        return b"<html><body>busy</body></html>"

    async with source(certificates, FindItem=page) as (exchange, _):
        with pytest.raises(ThrottledError) as caught:
            await exchange.read(ROOM, WINDOW, None)
        assert caught.value.retry_after == timedelta(minutes=2)


async def test_an_item_that_was_deleted_meanwhile_is_gone_and_a_broken_one_is_left_out_once(
        certificates: Certificates, logged_events: list[dict[str, Any]]) -> None:
    def some(_: Any, root: etree._Element) -> bytes:
        return told(root) if len(root.findall(".//{*}ItemId")) == 1 else (
            told(root).replace(b'Success"><m:ResponseCode>NoError', b'Error"><m:ResponseCode>ErrorItemNotFound', 1)
            .replace(b'Success"><m:ResponseCode>NoError', b'Error"><m:ResponseCode>ErrorItemCorrupt', 1))

    three = listed(("a", "1"), ("b", "1"), ("c", "1"))
    async with source(certificates, FindItem=three, GetItem=some) as (exchange, _):
        first = await exchange.read(ROOM, WINDOW, None)
        assert [one.uid for one in first.invitations] == ["uid-c"]
        assert len(first.memory) == 2
        assert any("ErrorItemCorrupt" in str(e.get("error")) for e in logged_events)
        second = await exchange.read(ROOM, WINDOW, first.memory)
        assert [one.uid for one in second.invitations] == ["uid-a"]
        assert second.unchanged == {("uid-c", "")}


async def test_a_passing_error_of_one_item_does_not_make_its_meeting_vanish(certificates: Certificates) -> None:
    async with source(certificates, FindItem=listed(("a", "1")),
                      GetItem=refused("GetItem", "ErrorMailboxMoveInProgress")) as (exchange, _):
        with pytest.raises(RoomError, match="is being moved"):
            await exchange.read(ROOM, WINDOW, None)


async def test_an_answer_that_cannot_be_read_costs_one_item_its_body(certificates: Certificates) -> None:
    def mangled(_: Any, root: etree._Element) -> bytes:
        asks_for_bodies = "item:Body" in [e.get("FieldURI") for e in root.iterfind(".//{*}FieldURI")]
        ids = [e.get("Id") for e in root.iterfind(".//{*}ItemId")]
        if "b" in ids and asks_for_bodies:
            return b"<broken"
        return told(root, '<t:Body BodyType="Text">body</t:Body>')

    async with source(certificates, FindItem=listed(("a", "1"), ("b", "1")), GetItem=mangled) as (exchange, made):
        reading = await exchange.read(ROOM, WINDOW, None)
        assert {one.uid for one in reading.invitations} == {"uid-a", "uid-b"}
        assert batch_sizes(made) == [2, 1, 1, 1]


async def test_great_items_are_asked_for_alone_and_the_greatest_without_body(certificates: Certificates) -> None:
    great = listed(("a", "1"), ("b", "1"), more=f"<t:Size>{GREATEST_ITEM + 1}</t:Size>")
    async with source(certificates, FindItem=great, GetItem=lambda _, r: told(r)) as (exchange, made):
        await exchange.read(ROOM, WINDOW, None)
        assert batch_sizes(made) == [1, 1]
        assert all(b"item:Body" not in request.body for name, request in made.exchange.asked if name == "GetItem")


async def test_bodies_of_five_megabytes_are_read(certificates: Certificates) -> None:
    body = f'<t:Body BodyType="HTML">{"&lt;p&gt;" * 500_000}</t:Body>'
    async with source(certificates, FindItem=listed(("a", "1")),
                      GetItem=lambda _, r: told(r, body)) as (exchange, _):
        reading = await exchange.read(ROOM, WINDOW, None)
        assert len(reading.invitations[0].body_html) == 1_500_000


SERIES = b"""BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:inner\r\nDTSTAMP:20260301T080000Z\r
DTSTART:20260302T080000Z\r\nDTEND:20260302T090000Z\r\nRRULE:FREQ=DAILY;COUNT=3\r\nSUMMARY:Daily\r\nEND:VEVENT\r
BEGIN:VEVENT\r\nUID:inner\r\nDTSTAMP:20260301T080000Z\r\nRECURRENCE-ID:20260303T080000Z\r
DTSTART:20260303T100000Z\r\nDTEND:20260303T110000Z\r\nSUMMARY:Moved\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"""


MESSAGE = (b"MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\n"
           b"Content-Type: text/plain\r\n\r\nDaily\r\n--x\r\nContent-Type: text/calendar; charset=utf-8\r\n"
           b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(SERIES) + b"\r\n--x--\r\n")
MASTER = "<t:CalendarItemType>RecurringMaster</t:CalendarItemType>"


@pytest.mark.parametrize("content", [SERIES, MESSAGE])
@pytest.mark.parametrize(("in_list", "in_item"), [
    (MASTER, MASTER), ("", MASTER), ("", "<t:IsRecurring>true</t:IsRecurring>")])
async def test_a_series_that_the_server_does_not_expand_is_expanded_here(
        certificates: Certificates, content: bytes, in_list: str, in_item: str) -> None:
    mime = f"<t:MimeContent>{base64.b64encode(content).decode()}</t:MimeContent>"
    async with source(certificates, FindItem=listed(("a", "1"), more=in_list),
                      GetItem=lambda _, r: told(r, mime, in_item)) as (exchange, _):
        reading = await exchange.read(ROOM, WINDOW, None)
        found = [(one.occurrence, one.start_time.hour, one.subject, one.item_type) for one in reading.invitations]
        assert found == [("20260302T080000Z", 8, "Meeting a", CalendarItemType.OCCURRENCE),
                         ("20260303T080000Z", 10, "Moved", CalendarItemType.EXCEPTION),
                         ("20260304T080000Z", 8, "Meeting a", CalendarItemType.OCCURRENCE)]
        assert {one.uid for one in reading.invitations} == {"uid-a"}
        again = await exchange.read(ROOM, WINDOW, reading.memory)
        assert (again.invitations, len(again.unchanged)) == ([], 3)
        later = Window(WINDOW.start + timedelta(days=2), WINDOW.end + timedelta(days=2))
        moved = await exchange.read(ROOM, later, again.memory)
        assert [one.occurrence for one in moved.invitations] == ["20260303T080000Z", "20260304T080000Z"]


@pytest.mark.parametrize("answer", [refused("FindItem", "ErrorUnsupportedPathForQuery"), b"<html/>",
                                    response("FindItem", "<m:RootFolder/>")])
async def test_a_server_that_does_not_list_series_is_read_all_the_same(certificates: Certificates,
                                                                       answer: bytes) -> None:
    async with source(certificates, FindItem=listed(("a", "1")), FindSeries=answer,
                      GetItem=lambda _, r: told(r)) as (exchange, made):
        assert len((await exchange.read(ROOM, WINDOW, None)).invitations) == 1
        assert len((await exchange.read(ROOM, WINDOW, None)).invitations) == 1
        assert made.exchange.operations.count("FindSeries") == (1 if b"RootFolder" not in answer else 2)


async def test_a_passing_trouble_with_the_list_of_series_makes_no_meeting_vanish(
        certificates: Certificates) -> None:
    async with source(certificates, FindItem=listed(), FindSeries=refused("FindItem", "ErrorInternalServerError"),
                      GetItem=lambda _, r: told(r)) as (exchange, _):
        with pytest.raises(RoomError, match="ErrorInternalServerError"):
            await exchange.read(ROOM, WINDOW, None)


async def test_what_is_listed_among_series_and_is_none_is_asked_for_once(certificates: Certificates) -> None:
    async with source(certificates, FindItem=listed(("a", "1")), FindSeries=listed(("a", "1"), ("b", "1")),
                      GetItem=lambda _, r: told(r)) as (exchange, made):
        first = await exchange.read(ROOM, WINDOW, None)
        assert [one.uid for one in first.invitations] == ["uid-a"]
        exchange._expansion.found_hidden(made.url)
        second = await exchange.read(ROOM, WINDOW, first.memory)
        third = await exchange.read(ROOM, WINDOW, second.memory)
        assert (second.requests, third.requests) == (2, 2)
        made.exchange.replies["FindItem"] = listed(("a", "1"), ("b", "1"))
        assert [one.uid for one in (await exchange.read(ROOM, WINDOW, third.memory)).invitations] == ["uid-b"]


@pytest.mark.parametrize("mime", ["!", base64.b64encode(b"nonsense").decode(), ""])
async def test_a_series_that_cannot_be_read_costs_itself(certificates: Certificates, mime: str) -> None:
    def answered(_: Any, root: etree._Element) -> bytes:
        if "a" in [one.get("Id") for one in root.iterfind(".//{*}ItemId")]:
            return told(root, f"<t:MimeContent>{mime}</t:MimeContent>", MASTER)
        return told(root)

    items = response("FindItem", '<m:RootFolder><t:Items><t:CalendarItem><t:ItemId Id="a" ChangeKey="1"/>'
                                 f'{MASTER}</t:CalendarItem><t:CalendarItem><t:ItemId Id="b" ChangeKey="1"/>'
                                 "</t:CalendarItem></t:Items></m:RootFolder>")
    async with source(certificates, FindItem=items, GetItem=answered) as (exchange, _):
        assert [one.uid for one in (await exchange.read(ROOM, WINDOW, None)).invitations] == ["uid-b"]


async def test_all_bodies_of_a_room_together_are_bounded(certificates: Certificates,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otjd.gather.exchange.BODIES_LIMIT", 400_000)
    body = f'<t:Body BodyType="Text">{"x" * 250_000}</t:Body>'
    async with source(certificates, FindItem=listed(*((f"i{n}", "1") for n in range(4))),
                      GetItem=lambda _, r: told(r, body)) as (exchange, _):
        reading = await exchange.read(ROOM, WINDOW, None)
        assert [len(one.body_text) for one in reading.invitations] == [250_000, 250_000, 100_000, 100_000]


async def test_at_most_ten_requests_are_under_way(certificates: Certificates) -> None:
    held: list[Any] = []

    def hold(request: Any, _: etree._Element) -> None:
        held.append(request)

    async with source(certificates, FindItem=hold) as (exchange, made):
        made.exchange.replies["FindItem"] = listed()
        await exchange.read(ROOM, WINDOW, None)
        made.exchange.replies["FindItem"] = hold
        asked = [deferred(exchange.read(f"r{n}@example.com", WINDOW, None)) for n in range(12)]
        await until(lambda: len(held) == 10)
        made.exchange.replies["FindItem"] = listed()
        for request in held:
            request.write(listed())
            request.finish()
        assert [len((await one).invitations) for one in asked] == [0] * 12
        assert made.exchange.operations.count("FindItem") == 13


async def test_a_sweep_gives_a_fingerprint_for_each_room_it_can(certificates: Certificates) -> None:
    rooms = ["a@example.com", "b@example.com", "c@example.com"]
    reply = availability(events(event()), mailbox("", "ErrorMailRecipientNotFound"), events())
    async with source(certificates, GetUserAvailability=reply) as (exchange, made):
        found = await exchange.sweep(rooms, WINDOW)
        assert isinstance(found["a@example.com"], bytes)
        assert isinstance(found["b@example.com"], RoomError)
        assert found["a@example.com"] != found["c@example.com"]
        again = await exchange.sweep(rooms, WINDOW)
        assert again["a@example.com"] == found["a@example.com"]
        ((_, request), _) = made.exchange.asked
        assert b"ExchangeImpersonation" not in request.body, "what is seen must not depend on the first room"


@pytest.mark.parametrize("reply", [
    availability(mailbox("", "ErrorFreeBusyGenerationFailed")), fault("ErrorInvalidRequest"), b"<html/>"])
async def test_sweeps_that_tell_nothing_are_given_up_for_a_while(
        certificates: Certificates, reply: bytes, logged_events: list[dict[str, Any]]) -> None:
    async with source(certificates, GetUserAvailability=reply) as (exchange, made):
        for _ in range(BLIND_SWEEPS):
            assert exchange.sweep_size == 100
            with suppress(RoomError):
                assert not any(isinstance(a, bytes) for a in (await exchange.sweep([ROOM], WINDOW)).values())
        assert exchange.sweep_size == 0
        assert any("read without" in str(e.get("log_format")) for e in logged_events)
        made.clock.advance(SWEEPS_REST_S)
        assert exchange.sweep_size == 100


async def test_a_sweep_of_a_busy_server_concerns_all_rooms(certificates: Certificates) -> None:
    async with source(certificates, GetUserAvailability=fault("ErrorServerBusy")) as (exchange, _):
        with pytest.raises(ThrottledError) as caught:
            await exchange.sweep([ROOM], WINDOW)
        assert caught.value.room == ""
        assert exchange.sweep_size == 100


async def test_no_secret_is_in_what_is_said(certificates: Certificates) -> None:
    async with source(certificates, FindItem=response("FindItem")) as (exchange, made):
        made.exchange.password = "another"
        with pytest.raises(UnauthorizedError) as caught:
            await exchange.read(ROOM, WINDOW, None)
        assert "correct horse" not in repr(caught.value) + str(vars(made.client.login)["_gate"].__dict__)
