"""Nothing that a client sends or a calendar holds makes the emulated Exchange fail."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otjd.meetings.model import Meeting, Organizer
from otjd.protocol.markup import text
from tests.serve.ews_support import (
    NOW,
    UNKNOWN_ID,
    Exchange,
    body_of,
    busy_room,
    calendar_view,
    codes,
    convert,
    envelope,
    get_folder,
    get_item,
    meeting,
    page,
    page_view,
    pairs,
    subjects,
)
from tests.serve.test_ews_directory import BERLIN, availability, configuration, zones
from tests.serve.test_ews_notifications import get_events, unsubscribe
from tests.serve.test_ews_streams import listen


@pytest.fixture
def exchange() -> Exchange:
    return busy_room()


PIECES = st.sampled_from([
    "<m:FindItem>", "</m:FindItem>", "<m:GetItem>", "<t:Mailbox>", "</t:Mailbox>", "<m:ItemIds>", "<t:And>",
    '<t:ItemId Id="a"/>', "<m:Restriction>", "<t:IsLessThan>", '<m:CalendarView StartDate="x" EndDate="y"/>',
    "<m:ParentFolderIds>", "<m:GetUserAvailabilityRequest>", "<t:TimeZone>", "<t:Bias>9</t:Bias>",
    '<t:DistinguishedFolderId Id="calendar"/>', "<![CDATA[", "]]>", "<!--", "-->", "&#x0;", "&amp;", "<?x?>",
    "<!DOCTYPE x>", "\x00", "ö", "'", '"', "<", ">"])
FUZZ = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@FUZZ
@given(body=st.binary(max_size=400), content_type=st.text(max_size=60))
def test_no_bytes_make_the_service_raise(exchange: Exchange, body: bytes, content_type: str) -> None:
    assert exchange.post(body, content_type=content_type).error == "ErrorSchemaValidation"


@FUZZ
@given(pieces=st.lists(PIECES | st.text(max_size=5), max_size=30))
def test_no_pieces_of_requests_make_the_service_raise(exchange: Exchange, pieces: list[str]) -> None:
    reply = exchange.post(envelope("".join(pieces)).encode("utf-8", "replace"))
    assert reply.status in (200, 500)
    assert reply.error != "ErrorInternalServerError"


@FUZZ
@given(data=st.data())
def test_no_damage_to_a_request_makes_the_service_raise(exchange: Exchange, data: st.DataObject) -> None:
    good = envelope(data.draw(st.sampled_from([
        calendar_view(), page_view(page(Offset=0, BasePoint="End")), get_item(UNKNOWN_ID), get_folder("calendar"),
        convert("EwsId", UNKNOWN_ID, "OwaId"), availability(zone=BERLIN), zones("UTC"), configuration(),
        page_view('<m:FractionalPageItemView Numerator="1" Denominator="2"/>')])))
    start = data.draw(st.integers(0, len(good) - 1))
    damaged = good[:start] + data.draw(st.text(max_size=8)) + good[start + data.draw(st.integers(0, 12)):]
    reply = exchange.post(damaged.encode("utf-8", "replace"))
    assert reply.error != "ErrorInternalServerError"


TEXT = st.text(max_size=40)
EVERYTHING = "<t:IncludeMimeContent>true</t:IncludeMimeContent>"
MEETINGS = st.builds(
    lambda uid, minutes, length, subject, alias, name, email, private: meeting(
        uid, NOW + timedelta(minutes=minutes), length, subject=subject, alias=alias or None, is_private=private,
        organizer=Organizer(name, email)),
    TEXT, st.integers(-600, 6000), st.integers(0, 3000), TEXT, TEXT, TEXT, TEXT, st.booleans())


@FUZZ
@given(shown=st.lists(MEETINGS, max_size=4, unique_by=lambda m: m.id))
def test_whatever_a_calendar_holds_every_answer_is_valid(exchange: Exchange, shown: list[Meeting]) -> None:
    exchange.show(*shown)
    reply = exchange.post(envelope(calendar_view(NOW - timedelta(days=30), NOW + timedelta(days=30))))
    found = [i for i, _ in pairs(body_of(reply))]
    assert len(found) == reply.meetings
    if found:
        items = exchange.ask(get_item(*found, shape=EVERYTHING))
        assert codes(items) == ["NoError"] * len(found)
        assert all(s.strip() for s in subjects(items))
    free = exchange.post(envelope(availability(start="2026-02-20T00:00:00", end="2026-03-20T00:00:00")))
    assert free.error == ""


MARKED = st.tuples(st.sampled_from([b"\x01otjdN", b"\x01otjdW", b"\x01otjdI", b""]), st.binary(max_size=40)).map(
    lambda parts: base64.b64encode(parts[0] + parts[1]).decode())


@FUZZ
@given(subscription_id=MARKED | st.text(max_size=40), watermark=MARKED | st.text(max_size=40))
def test_no_id_and_no_watermark_makes_the_service_raise(
        exchange: Exchange, subscription_id: str, watermark: str) -> None:
    for asked in (get_events(text(subscription_id), text(watermark)), unsubscribe(text(subscription_id)),
                  listen(text(subscription_id))):
        assert exchange.post(envelope(asked)).error in (
            "ErrorInvalidSubscription", "ErrorSubscriptionNotFound", "ErrorSchemaValidation")
