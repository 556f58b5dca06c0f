"""Channels: made, heard of, replaced and ended, against a scripted Google over real TLS."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from otjd.gather.google_notifications import EVERY_S, LONGEST_LOOK_S
from otjd.protocol.google_calendar import CHANNEL_LIFE
from tests.gather.google_world import HOOK, NOON, ROOM, Asked, World, error, google
from tests.outbound.servers import Certificates, until

OTHER = "other@resource.calendar.google.com"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


async def after(world: World, requests: int, seconds: float = 0.0) -> None:
    """Let time pass until so many requests in all were answered."""
    world.clock.pump([EVERY_S] * int(seconds / EVERY_S))
    await until(lambda: _is_there(world, requests))


def _is_there(world: World, requests: int) -> bool:
    world.clock.advance(EVERY_S)
    return len(world.asked) >= requests and not world.source._channels._under_way


def message(channel: Asked, state: str = "exists", **changes: str) -> dict[str, str]:
    """The headers of a notification; `changes` by the end of their names."""
    return {"x-goog-channel-id": channel.body["id"], "x-goog-channel-token": channel.body["token"],
            "x-goog-resource-state": state, "x-goog-resource-id": "res", "x-goog-message-number": "1",
            **{f"x-goog-{name.replace('_', '-')}": value for name, value in changes.items()}}


async def test_a_room_gets_a_channel_that_is_open_once_something_came_by_it(certificates: Certificates) -> None:
    news: list[str] = []
    async with google(certificates, notification_url=HOOK) as world:
        world.source.start(news.append)
        world.source.watch([ROOM])
        await after(world, 1)
        (made,) = world.asked
        assert made.method == "calendar.events.watch"
        assert made.body["address"] == HOOK
        assert len(made.body["id"]) <= 64
        assert 32 <= len(made.body["token"]) <= 256
        assert made.body["id"] != made.body["token"]
        assert not world.source.is_told_of(ROOM)
        assert world.source.handle(message(made, "sync")) == 200
        assert world.source.is_told_of(ROOM.upper())
        assert news == []
        assert world.source.handle(message(made)) == 200
        assert news == [ROOM]


async def test_what_comes_by_no_channel_of_ours_is_answered_with_404(certificates: Certificates) -> None:
    news: list[str] = []
    async with google(certificates, notification_url=HOOK) as world:
        world.source.start(news.append)
        world.source.watch([ROOM])
        await after(world, 1)
        (made,) = world.asked
        for headers in ({}, message(made, channel_id="x"), message(made, channel_token="x"),
                        message(made, channel_token=""), message(made, channel_token="\udcff\u1234")):
            assert world.source.handle(headers) == 404
        assert not world.source.is_told_of(ROOM)
        assert news == []


async def test_a_message_that_comes_before_the_answer_is_taken(certificates: Certificates) -> None:
    async with google(certificates, notification_url=HOOK) as world:
        statuses = []

        def answer(asked: Asked) -> tuple[int, Any]:
            statuses.append(world.source.handle(message(asked, "sync")))
            return world._as_google(asked)

        world.answer = answer
        world.source.start(lambda _: None)
        world.source.watch([ROOM])
        await after(world, 1)
        assert statuses == [200]
        assert world.source.is_told_of(ROOM)


async def test_without_an_address_there_are_no_channels(certificates: Certificates) -> None:
    async with google(certificates) as world:
        world.source.start(lambda _: None)
        world.source.watch([ROOM])
        world.clock.pump([1.0] * 100)
        assert not world.source.is_told_of(ROOM)
        assert not world.asked


async def test_channels_are_made_one_after_another(certificates: Certificates) -> None:
    rooms = [f"room{n}@example.com" for n in range(20)]
    async with google(certificates, notification_url=HOOK) as world:
        world.source.start(lambda _: None)
        world.source.watch(rooms)
        await until(lambda: len(world.asked) == 1)
        world.clock.advance(EVERY_S / 2)
        assert len(world.source._channels._under_way) <= 1
        await after(world, 20)
        assert {one.given["calendarId"] for one in world.asked} == set(rooms)
        world.clock.pump([EVERY_S] * 100)
        assert len(world.asked) == 20


async def test_a_channel_is_replaced_before_its_end_and_the_old_one_ended(certificates: Certificates) -> None:
    news: list[str] = []
    async with google(certificates, notification_url=HOOK) as world:
        world.source.start(news.append)
        world.source.watch([ROOM])
        await after(world, 1)
        old = world.asked[0]
        world.source.handle(message(old, "sync"))
        world.clock.pump([LONGEST_LOOK_S] * int(CHANNEL_LIFE.total_seconds() * 0.85 / LONGEST_LOOK_S))
        assert len(world.asked) == 1
        assert world.source.is_told_of(ROOM)
        world.answer = lambda asked: (200, {"resourceId": "res2"}) if asked.body.get("token") else (204, None)
        world.clock.pump([LONGEST_LOOK_S] * int(CHANNEL_LIFE.total_seconds() * 0.07 / LONGEST_LOOK_S))
        await after(world, 3)
        _, new, ended = world.asked
        assert (new.method, ended.method) == ("calendar.events.watch", "calendar.channels.stop")
        assert new.body["id"] != old.body["id"]
        assert new.body["token"] != old.body["token"]
        assert ended.body == {"id": old.body["id"], "resourceId": "res"}
        assert world.source.is_told_of(ROOM)
        assert (world.source.handle(message(old)), world.source.handle(message(new))) == (404, 200)


async def test_a_channel_by_which_nothing_comes_any_more_counts_until_its_end(certificates: Certificates) -> None:
    async with google(certificates, notification_url=HOOK) as world:
        world.source.start(lambda _: None)
        world.source.watch([ROOM])
        await after(world, 1)
        made = world.asked[0]
        world.source.handle(message(made, "sync"))
        world.answer = lambda _: error(403, "forbidden")
        world.clock.pump([LONGEST_LOOK_S] * int(CHANNEL_LIFE.total_seconds() / LONGEST_LOOK_S + 1))
        assert not world.source.is_told_of(ROOM)
        assert world.source.handle(message(made)) in (200, 404)


async def test_a_room_that_is_gone_has_its_channel_ended(certificates: Certificates) -> None:
    async with google(certificates, notification_url=HOOK) as world:
        world.source.start(lambda _: None)
        world.source.watch([ROOM, OTHER])
        await after(world, 2)
        made = {one.given["calendarId"]: one for one in world.asked}
        world.source.watch([OTHER])
        await after(world, 3)
        assert world.asked[2].body == {"id": made[ROOM].body["id"], "resourceId": "res"}
        assert world.source.handle(message(made[ROOM])) == 404
        assert world.source.handle(message(made[OTHER])) == 200


async def test_a_room_without_channel_costs_the_others_nothing(certificates: Certificates) -> None:
    async with google(certificates, notification_url=HOOK) as world:
        def answer(asked: Asked) -> tuple[int, Any]:
            return error(404, "notFound") if asked.given.get("calendarId") == ROOM else world._as_google(asked)

        world.answer = answer
        world.source.start(lambda _: None)
        world.source.watch([ROOM, OTHER])
        await after(world, 2, 60)
        assert {one.given["calendarId"] for one in world.asked} == {ROOM, OTHER}
        assert len(world.asked) == 2
        await after(world, 3, 600)
        assert world.asked[2].given["calendarId"] == ROOM


@pytest.mark.parametrize("fault", [error(401, "push.webhookUrlUnauthorized"), error(429, "rateLimitExceeded"),
                                   (200, b"<html>"), (200, {"id": "no resource"})])
async def test_what_concerns_all_rooms_lets_all_wait(fault: Any, certificates: Certificates,
                                                     logged_events: list[dict[str, Any]]) -> None:
    async with google(certificates, notification_url=HOOK) as world:
        world.faults = [fault]
        world.source.start(lambda _: None)
        world.source.watch([ROOM, OTHER])
        await until(lambda: world.asked and not world.source._channels._under_way)
        world.clock.pump([EVERY_S] * 100)
        assert len(world.asked) == 1
        await after(world, 3, 60)
        assert len(world.asked) == 3
        assert sum("no further notifications" in (e.get("log_format") or "") for e in logged_events) == 1


@pytest.mark.parametrize(("is_reached", "times"), [(False, 1), (True, 0)])
async def test_silence_is_told_of_where_google_does_not_reach_us(
        is_reached: bool, times: int, certificates: Certificates, logged_events: list[dict[str, Any]]) -> None:
    async with google(certificates, notification_url=HOOK) as world:
        world.source.start(lambda _: None)
        world.source.watch([ROOM, OTHER])
        await after(world, 2)
        if is_reached:
            world.source.handle(message(world.asked[1], "sync"))
        world.clock.pump([LONGEST_LOOK_S] * 40)
        said = [e for e in logged_events if "does Google reach" in (e.get("log_format") or "")]
        assert [e["address"] for e in said] == [HOOK] * times


async def test_nothing_is_taken_after_the_end(certificates: Certificates) -> None:
    async with google(certificates, notification_url=HOOK) as world:
        world.source.start(lambda _: None)
        world.source.watch([ROOM, OTHER])
        await until(lambda: world.asked)
        await world.source.stop()
        assert [world.source.handle(message(one)) for one in world.asked] == [404] * len(world.asked)
        assert not world.source.is_told_of(ROOM)


async def test_a_life_that_google_shortens_is_kept(certificates: Certificates) -> None:
    async with google(certificates, notification_url=HOOK) as world:
        soon = NOON + timedelta(hours=1)
        world.answer = lambda _: (200, {"resourceId": "r", "expiration": str(int(soon.timestamp() * 1000))})
        world.source.start(lambda _: None)
        world.source.watch([ROOM])
        await after(world, 1)
        world.source.handle(message(world.asked[0], "sync"))
        world.clock.pump([60.0] * 45)
        assert world.source.is_told_of(ROOM)
        world.clock.pump([60.0] * 20)
        assert not world.source.is_told_of(ROOM)
