from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_twisted
import treq
from lxml import etree
from twisted.internet.task import deferLater

from otjd.simulate.certificates import Certificates
from otjd.simulate.exchange_settings import ServiceAccount, Throttling
from tests.serve.ews_support import codes, texts
from tests.simulate.exchange_world import ACCOUNT, LOUNGE, ROOM, World, envelope, reactor, subscribe, world

ID = ".//m:SubscriptionId"
PULL = "<t:Timeout>10</t:Timeout>"


@pytest_twisted.async_yield_fixture  # type: ignore[untyped-decorator]
async def served(server_certificates: Certificates) -> AsyncIterator[World]:
    async with world(server_certificates) as made:
        yield made


async def subscribed(served: World, **more: Any) -> str:
    (text_id,) = texts(await served.ask(subscribe(), **more), ID)
    return text_id


def unsubscribe(text_id: str) -> str:
    return f"<m:Unsubscribe><m:SubscriptionId>{text_id}</m:SubscriptionId></m:Unsubscribe>"


def get_events(text_id: str, watermark: str) -> str:
    return (f"<m:GetEvents><m:SubscriptionId>{text_id}</m:SubscriptionId><m:Watermark>{watermark}</m:Watermark>"
            "</m:GetEvents>")


def events(answer: etree._Element) -> list[str]:
    return [etree.QName(e).localname for n in answer.iter("{*}Notification") for e in n
            if etree.QName(e).localname.endswith("Event")]


async def test_a_stream_says_ok_then_each_event_then_a_heartbeat_then_that_it_is_over(served: World) -> None:
    text_id = await subscribed(served)
    reading = await served.stream([text_id], minutes=1)
    await reading.until(lambda t: "<m:ConnectionStatus>OK<" in t)
    served.book()
    await reading.until(lambda t: "CreatedEvent" in t)
    served.pass_time(timedelta(seconds=45))
    await reading.until(lambda t: "StatusEvent" in t)
    assert served.server.budgets.hanging == 1
    served.pass_time(timedelta(seconds=15))
    await reading.until(lambda t: "<m:ConnectionStatus>Closed<" in t)
    assert served.server.budgets.hanging == 0


async def test_what_happens_between_two_streams_is_told_by_the_next(served: World) -> None:
    text_id = await subscribed(served)
    booking = served.book()
    served.calendars.cancel(ROOM, booking.id)
    reading = await served.stream([text_id])
    await reading.until(lambda t: "CreatedEvent" in t and "DeletedEvent" in t)


async def test_a_client_that_leaves_frees_its_place(served: World) -> None:
    text_id = await subscribed(served)
    reading = await served.stream([text_id])
    await reading.until(lambda t: "OK" in t)
    reading.leave()
    while served.server.budgets.hanging:
        await deferLater(reactor, 0.01)
    assert not served.server.streams


async def test_a_client_that_does_not_read_is_told_that_it_missed_something(
        server_certificates: Certificates) -> None:
    async with world(server_certificates, max_events=50) as served:
        text_id = await subscribed(served)
        booking = served.book()
        reading = await served.stream([text_id])
        await reading.until(lambda t: "CreatedEvent" in t)
        reading.pause()
        (subscription,) = served.server.subscriptions.all()
        while not subscription.missed:
            for _ in range(200):
                served.calendars.change(ROOM, booking.id, subject="Again")
            await deferLater(reactor, 0)
        assert len(subscription.events) == 50
        reading.resume()
        await reading.until(lambda t: "ErrorMissedNotificationEvents" in t)


async def test_a_deleted_item_is_moved_where_a_room_keeps_what_it_deletes(
        server_certificates: Certificates) -> None:
    async with world(server_certificates, moves_deleted=True) as served:
        (text_id,) = texts(await served.ask(subscribe(events="Moved Deleted")), ID)
        booking = served.book()
        served.calendars.cancel(ROOM, booking.id)
        text = await (await served.stream([text_id])).until(lambda t: "MovedEvent" in t)
        assert "OldItemId" in text
        assert "DeletedEvent" not in text


async def test_an_event_comes_after_its_delay(server_certificates: Certificates) -> None:
    async with world(server_certificates, event_delay_s=5.0) as served:
        text_id = await subscribed(served)
        reading = await served.stream([text_id])
        text = await reading.until(lambda t: "OK" in t)
        served.book()
        assert "CreatedEvent" not in text
        served.pass_time(timedelta(seconds=5))
        await reading.until(lambda t: "CreatedEvent" in t)


async def test_a_second_stream_of_the_same_subscription_ends_the_first(served: World) -> None:
    text_id = await subscribed(served)
    first = await served.stream([text_id])
    await first.until(lambda t: "OK" in t)
    second = await served.stream([text_id])
    await first.until(lambda t: "ErrorNewEventStreamConnectionOpened" in t)
    served.book()
    await second.until(lambda t: "CreatedEvent" in t)


async def test_lost_subscriptions_end_their_streams_by_name(served: World) -> None:
    text_id = await subscribed(served)
    reading = await served.stream([text_id])
    await reading.until(lambda t: "OK" in t)
    served.server.subscriptions.forget(ROOM)
    text = await reading.until(lambda t: "ErrorSubscriptionNotFound" in t)
    assert text_id in text
    again = await served.stream([text_id, "nonsense"])
    text = await again.until(lambda t: "Closed" in t)
    assert "ErrorSubscriptionNotFound" in text


async def test_a_subscription_that_nobody_reads_ends(served: World) -> None:
    text_id = await subscribed(served)
    served.now += timedelta(minutes=31)
    assert codes((await served.ask(unsubscribe(text_id)))[0]) == ["ErrorSubscriptionNotFound"]


async def test_more_events_than_are_kept_are_said_to_be_missed(server_certificates: Certificates) -> None:
    async with world(server_certificates, max_events=2) as served:
        text_id = await subscribed(served)
        for _ in range(3):
            served.book()
        await (await served.stream([text_id])).until(lambda t: "ErrorMissedNotificationEvents" in t)
        assert len(served.server.subscriptions) == 0


async def test_subscriptions_and_hanging_connections_are_limited(server_certificates: Certificates) -> None:
    policy = Throttling(hanging_connections=1, max_subscriptions=2)
    async with world(server_certificates, throttling=policy) as served:
        first, second = await subscribed(served), await subscribed(served)
        assert codes((await served.ask(subscribe()))[0]) == ["ErrorExceededSubscriptionCount"]
        await subscribed(served, room=LOUNGE)
        await (await served.stream([first])).until(lambda t: "OK" in t)
        await (await served.stream([second])).until(lambda t: "ErrorExceededConnectionCount" in t)
        assert codes((await served.ask(unsubscribe(second)))[0]) == ["NoError"]
        await subscribed(served)


async def test_a_subscription_is_its_owners(server_certificates: Certificates) -> None:
    async with world(server_certificates, accounts=(ACCOUNT, ServiceAccount("other", "right"))) as served:
        text_id = await subscribed(served)
        answer = await served.ask(unsubscribe(text_id), username="other")
        assert codes(answer[0]) == ["ErrorSubscriptionAccessDenied"]


# --- affinity ---

async def test_the_cookie_of_the_first_subscribe_keeps_a_group_on_one_server(
        server_certificates: Certificates) -> None:
    async with world(server_certificates, accounts=(ServiceAccount(ACCOUNT.username, "right"),)) as served:
        rooms = [f"room{n}@example.com" for n in range(20)]
        for room in rooms:
            served.calendars.add_room(room)
        anchor = rooms[0]
        far = next(r for r in rooms if served.server.home(r) != served.server.home(anchor))
        asked = {"X-AnchorMailbox": anchor, "X-PreferServerAffinity": "true"}
        response = await served.request(envelope(subscribe(), room=anchor), headers=asked)
        (cookie,) = response.headers.getRawHeaders("Set-Cookie")
        assert cookie.startswith("X-BackEndOverrideCookie=")
        (first,) = texts(etree.fromstring(await treq.content(response)), ID)
        headers = {**asked, "Cookie": cookie.partition(";")[0]}
        second = await subscribed(served, room=far, headers=headers)
        stray = await subscribed(served, room=far)
        await (await served.stream([first, second], room=anchor, headers=headers)).until(lambda t: "OK" in t)
        text = await (await served.stream([first, stray], room=anchor, headers=headers)).until(
            lambda t: "ErrorSubscriptionNotFound" in t)
        assert stray in text
        assert f">{first}<" not in text


async def test_a_subscribe_at_a_server_of_another_group_is_not_passed_on(
        server_certificates: Certificates) -> None:
    async with world(server_certificates, groups=50) as served:
        assert served.server.group(ROOM) != served.server.group(LOUNGE)
        answer = await served.ask(subscribe(), room=ROOM, headers={"X-AnchorMailbox": LOUNGE})
        assert codes(answer[0]) == ["ErrorProxyRequestNotAllowed"]


# --- pull ---

async def test_pulled_events_have_watermarks(served: World) -> None:
    answer = await served.ask(subscribe("Pull", more=PULL))
    (text_id,), (begin,) = texts(answer, ID), texts(answer, ".//m:Watermark")
    nothing = await served.ask(get_events(text_id, begin))
    assert events(nothing) == ["StatusEvent"]
    booking = served.book()
    served.calendars.change(ROOM, booking.id, subject="New")
    answer = await served.ask(get_events(text_id, begin))
    assert events(answer) == ["CreatedEvent", "ModifiedEvent"]
    last = texts(answer, ".//t:Watermark")[-1]
    assert events(await served.ask(get_events(text_id, last))) == ["StatusEvent"]
    assert codes((await served.ask(get_events(text_id, begin)))[0]) == ["ErrorInvalidWatermark"]


@pytest.mark.parametrize(("asked", "code"), [
    (get_events("nonsense", "x"), "ErrorInvalidSubscription"),
    (unsubscribe("nonsense"), "ErrorInvalidSubscription"),
    (subscribe("Pull", more=f"<t:Watermark>AAAA</t:Watermark>{PULL}"), "ErrorInvalidWatermark")])
async def test_what_is_no_subscription_is_refused(served: World, asked: str, code: str) -> None:
    assert codes((await served.ask(asked))[0]) == [code]
