"""exchangelib, an independent client, against the simulated Exchange over TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import exchangelib
import pytest
import pytest_twisted
from exchangelib.autodiscover.protocol import AutodiscoverProtocol
from exchangelib.errors import (
    ErrorFreeBusyGenerationFailed,
    ErrorImpersonateUserDenied,
    ErrorMailRecipientNotFound,
    ErrorServerBusy,
    UnauthorizedError,
)
from exchangelib.extended_properties import ExtendedProperty
from exchangelib.items import CalendarItem
from exchangelib.properties import CreatedEvent, DeletedEvent, ModifiedEvent, StatusEvent
from exchangelib.protocol import CachingProtocol
from exchangelib.services import GetUserSettings
from twisted.internet.task import deferLater

from otjd.seam import deferred
from otjd.simulate.certificates import Certificates
from otjd.simulate.exchange_settings import Fault
from tests.simulate.exchange_world import ADA, LOUNGE, NOW, ROOM, VAULT, World, in_thread, reactor, world


class ConferenceId(ExtendedProperty):  # type: ignore[misc]
    distinguished_property_set_id = "PublicStrings"
    property_name = "TeamsVtcConferenceId"
    property_type = "String"


@pytest_twisted.async_yield_fixture  # type: ignore[untyped-decorator]
async def served(server_certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server_certificates.ca_certificate))
    CachingProtocol.clear_cache()
    async with world(server_certificates) as made:
        yield made
    CachingProtocol.clear_cache()


def account(served: World, room: str = ROOM, *, scheme: str = exchangelib.BASIC, password: str = "right",
            ) -> exchangelib.Account:
    return exchangelib.Account(
        room, autodiscover=False, access_type=exchangelib.IMPERSONATION, default_timezone=exchangelib.UTC,
        config=exchangelib.Configuration(service_endpoint=served.url, auth_type=scheme, credentials=(
            exchangelib.Credentials("svc-otj@example.com", password))))


def week(of: exchangelib.Account) -> list[Any]:
    return list(of.calendar.view(NOW, NOW + timedelta(days=7)))


async def test_an_impersonated_calendar_is_viewed_with_occurrences_and_bodies(served: World) -> None:
    served.book(location="sip:weekly@video.example.com", body_html="<p>Join <b>here</b></p>", is_private=True)
    series = served.book(minutes=24 * 60, subject="Daily", rule="FREQ=DAILY;COUNT=3")
    served.calendars.change_occurrence(ROOM, series.id, "20260304T080000Z", subject="Daily, moved",
                                       start_time=NOW + timedelta(days=2, hours=2),
                                       end_time=NOW + timedelta(days=2, hours=3))
    served.calendars.cancel_occurrence(ROOM, series.id, "20260305T080000Z")
    served.book(LOUNGE, subject="Not here")
    weekly, first, moved = await in_thread(lambda: week(account(served)))
    assert (weekly.subject, weekly.location, weekly.sensitivity) == (
        "Weekly", "sip:weekly@video.example.com", "Private")
    assert (weekly.body, weekly.text_body) == ("<p>Join <b>here</b></p>", "Join here")
    assert (weekly.organizer.name, weekly.organizer.email_address) == (ADA.name, ADA.email)
    assert (weekly.start, weekly.end) == (NOW + timedelta(hours=1), NOW + timedelta(minutes=90))
    assert (first.subject, first.type, first.recurrence_id) == ("Daily", "Occurrence", NOW + timedelta(days=1))
    assert (moved.subject, moved.type, moved.original_start) == (
        "Daily, moved", "Exception", NOW + timedelta(days=2))
    assert first.uid == moved.uid == series.uid
    assert served.server.requests["GetItem"] == 1


async def test_a_named_property_is_read(served: World) -> None:
    CalendarItem.register("conference_id", ConferenceId)
    try:
        served.book(properties={"TeamsVtcConferenceId": "1132"})
        served.book(minutes=120, subject="Plain")
        first, second = await in_thread(lambda: week(account(served)))
    finally:
        CalendarItem.deregister("conference_id")
    assert (first.conference_id, second.conference_id) == ("1132", None)


async def test_a_room_outside_the_scope_is_refused_by_name(served: World) -> None:
    with pytest.raises(ErrorImpersonateUserDenied):
        await in_thread(lambda: week(account(served, VAULT)))


async def test_ntlm_signs_the_connection_in_once(served: World) -> None:
    served.book()
    items = await in_thread(lambda: week(account(served, scheme=exchangelib.NTLM)))
    assert [i.subject for i in items] == ["Weekly"]
    assert served.server.access.attempts == {"svc-otj@example.com": served.server.access.handshakes}
    assert served.server.access.handshakes < served.server.requests.total() / 2


async def test_extended_protection_takes_clients_that_name_this_connection(
        served: World, server_certificates: Certificates) -> None:
    async with world(server_certificates, extended_protection="require") as strict:
        strict.book()
        items = await in_thread(lambda: week(account(strict, scheme=exchangelib.NTLM)))
        assert [i.subject for i in items] == ["Weekly"]
        assert strict.server.access.unbound == 0
        strict.server.access.binding = bytes(range(16))
        CachingProtocol.clear_cache()
        with pytest.raises(UnauthorizedError):
            await in_thread(lambda: week(account(strict, scheme=exchangelib.NTLM)))
        assert strict.server.access.unbound > 0
        assert not strict.server.access.is_locked("svc-otj@example.com")


async def test_free_busy_tells_each_room_or_why_not(served: World) -> None:
    served.book(minutes=60)

    def ask(*addresses: str) -> list[Any]:
        protocol = account(served).protocol
        rooms = [(address, "Room", False) for address in addresses]
        start = exchangelib.EWSDateTime.from_datetime(NOW).astimezone(exchangelib.UTC)
        return list(protocol.get_free_busy_info(rooms, start, start + timedelta(hours=4), 30))

    busy, idle = await in_thread(ask, ROOM, LOUNGE)
    assert busy.merged == "00200000"
    (event,) = busy.calendar_events
    assert (event.start, event.end, event.busy_type) == (
        NOW + timedelta(hours=1), NOW + timedelta(minutes=90), "Busy")
    assert event.details.subject == "Weekly"
    assert (idle.merged, idle.calendar_events) == ("00000000", [])
    served.server.no_free_busy.add(LOUNGE)
    with pytest.raises(ErrorFreeBusyGenerationFailed):
        await in_thread(ask, LOUNGE)
    (unknown,) = await in_thread(ask, "nobody@example.com")
    assert isinstance(unknown, ErrorMailRecipientNotFound)


async def test_a_stream_tells_what_is_booked_changed_and_cancelled(served: World) -> None:
    def listen() -> list[Any]:
        calendar = account(served).calendar
        subscription_id = calendar.subscribe_to_streaming()
        ready.append(1)
        told = []
        for notification in calendar.get_streaming_events(subscription_id, connection_timeout=1):
            told += [type(event) for event in notification.events]
        calendar.unsubscribe(subscription_id)
        return told

    ready: list[int] = []
    done = deferred(in_thread(listen))
    while not (ready and served.server.streams):
        await deferLater(reactor, 0.01)
    booking = served.book()
    served.calendars.change(ROOM, booking.id, subject="Another")
    served.calendars.cancel(ROOM, booking.id)
    served.book(LOUNGE)
    served.pass_time(timedelta(seconds=61))
    assert await done == [CreatedEvent, ModifiedEvent, DeletedEvent, StatusEvent]
    assert len(served.server.subscriptions) == 0


async def test_events_are_pulled(served: World) -> None:
    calendar = await in_thread(lambda: account(served).calendar)
    subscription_id, watermark = await in_thread(calendar.subscribe_to_pull)
    booking = served.book()
    served.calendars.change(ROOM, booking.id, subject="Another")
    notifications = await in_thread(lambda: list(calendar.get_events(subscription_id, watermark)))
    assert [type(e) for n in notifications for e in n.events] == [CreatedEvent, ModifiedEvent]


async def test_items_are_synchronised(served: World) -> None:
    kept, gone = served.book(subject="Kept"), served.book(minutes=90, subject="Gone")

    def sync(state: str | None) -> tuple[list[tuple[str, str | None]], str]:
        calendar = account(served).calendar
        calendar.item_sync_state = state
        changes = [(kind, getattr(item, "subject", None)) for kind, item in
                   calendar.sync_items(sync_state=state, only_fields=["subject"])]
        return changes, calendar.item_sync_state

    changes, state = await in_thread(sync, None)
    assert changes == [("create", "Kept"), ("create", "Gone")]
    served.calendars.change(ROOM, kept.id, subject="Kept on")
    served.calendars.cancel(ROOM, gone.id)
    changes, _ = await in_thread(sync, state)
    assert changes == [("update", "Kept on"), ("delete", None)]


async def test_a_busy_server_says_for_how_long(served: World) -> None:
    reader = await in_thread(lambda: account(served).calendar)
    served.server.faults.append(Fault("busy", back_off=timedelta(seconds=77)))
    with pytest.raises(ErrorServerBusy) as caught:
        await in_thread(lambda: list(reader.view(NOW, NOW + timedelta(days=1))))
    assert caught.value.back_off == 77


async def test_autodiscover_tells_address_and_group(served: World) -> None:
    def discover() -> Any:
        protocol = AutodiscoverProtocol(config=exchangelib.Configuration(
            service_endpoint=served.url.replace("/EWS/Exchange.asmx", "/Autodiscover/Autodiscover.svc"),
            auth_type=exchangelib.BASIC, credentials=exchangelib.Credentials("svc-otj@example.com", "right")))
        return list(GetUserSettings(protocol=protocol).call(
            users=[ROOM], settings=["external_ews_url", "grouping_information", "mailbox_dn"]))

    (found,) = await in_thread(discover)
    assert found.user_settings["external_ews_url"] == served.url
    assert found.user_settings["grouping_information"] == "dag00.example.com"
