"""Subscriptions of rooms and what Graph tells; the clock is the test's own, the requests are real."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from otjd.gather.graph import GraphSource
from otjd.gather.graph_notifications import GraphNotifications
from otjd.meetings.model import Window
from otjd.seam import deferred
from tests.gather.graph_world import NOW, ROOM, WINDOW, World, error, world
from tests.outbound.servers import Certificates, until
from tests.protocol.graph_answers import event

ROOMS = [ROOM, "second@example.com", "third@example.com"]
URL = "https://otj.example.com/notifications/m365"
HALF_S = 4220 * 60 / 2


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


class Told:
    """Notifications over a Graph, and what they told."""

    def __init__(self, here: World, state: Path | None = None, url: str = URL, starts_s: float = 0) -> None:
        self.here = here
        self.clock = Clock()
        self.clock.advance(starts_s)
        self.rooms: list[str] = []
        self.notifications = GraphNotifications(
            here.client, here.api, url=url, integration="m365", clock=self.clock, jitter=lambda: 0.0, state=state,
            now=lambda: NOW + timedelta(seconds=self.clock.seconds()), in_thread=deferToThread)

    async def start(self, *rooms: str) -> None:
        self.notifications.start(self.rooms.append)
        await self.watch(*rooms)

    async def watch(self, *rooms: str) -> None:
        self.notifications.watch(rooms)
        await self.seen_to()

    async def seen_to(self) -> None:
        """Wait until nothing is under way."""
        await until(lambda: self.notifications._poller._running is None)
        if any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
            self.clock.advance(0)
            await self.seen_to()

    async def after(self, seconds: float) -> None:
        """Let time pass in steps as long as somebody looks."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(min(30.0, end - self.clock.seconds()))
            await self.seen_to()

    def state_of(self, room: str) -> tuple[str, str]:
        """Id and secret of the latest subscription of a room."""
        made = [(number, body) for number, body in enumerate(
            (b for b in self.here.graph.bodies if b and "clientState" in b), 1) if f"/{room}/" in body["resource"]]
        number, body = made[-1]
        return f"s{number}", body["clientState"]

    def notify(self, room: str, **members: Any) -> tuple[int, str, bytes]:
        number, secret = self.state_of(room)
        return self.deliver({"subscriptionId": number, "clientState": secret, "changeType": "updated", **members})

    def deliver(self, *notices: Any) -> tuple[int, str, bytes]:
        return self.notifications.handle({}, json.dumps({"value": notices}).encode())

    def told(self) -> list[str]:
        """Rooms that there was news of since the last question."""
        self.clock.advance(0.5)
        found, self.rooms[:] = sorted(self.rooms), []
        return found


@pytest_twisted.async_yield_fixture  # type: ignore[untyped-decorator]
async def here(certificates: Certificates) -> AsyncIterator[World]:
    async with world(certificates) as found:
        yield found


@pytest_twisted.async_yield_fixture  # type: ignore[untyped-decorator]
async def told(here: World) -> AsyncIterator[Told]:
    found = Told(here)
    yield found
    await found.notifications.stop()


async def test_every_room_is_subscribed_once_with_a_secret_of_its_own(told: Told) -> None:
    await told.start(*ROOMS)
    assert sorted(told.here.asked()) == sorted(f"subscribe {room}" for room in ROOMS)
    assert all(map(told.notifications.is_told_of, ROOMS))
    secrets = {body["clientState"] for body in told.here.graph.bodies}
    assert len(secrets) == 3
    assert all(40 <= len(secret) <= 128 for secret in secrets)
    assert told.told() == sorted(ROOMS)  # what changed before nobody told
    await told.after(3600)
    assert told.here.asked() == []


async def test_a_notice_tells_of_its_room_once_however_many_come(told: Told) -> None:
    await told.start(*ROOMS)
    told.told()
    for _ in range(3):
        assert told.notify(ROOMS[1]) == (202, "text/plain; charset=utf-8", b"")
    assert told.rooms == []
    assert told.told() == [ROOMS[1]]


async def test_a_notice_without_the_secret_is_taken_and_forgotten(told: Told) -> None:
    await told.start(ROOM)
    told.told()
    number, secret = told.state_of(ROOM)
    for state in ("", "x", secret[:-1], secret + "x", "ü", "\ud800"):
        assert told.deliver({"subscriptionId": number, "clientState": state})[0] == 202
    assert told.deliver({"subscriptionId": "other", "clientState": secret})[0] == 202
    assert told.told() == []


@pytest.mark.parametrize(("token", "answer"), [
    (b"Validation: Testing client application reachability for subscription Request-Id: 1",
     b"Validation: Testing client application reachability for subscription Request-Id: 1"),
    ("größe".encode(), "größe".encode()),
    (b"<script>alert(1)</script>", b"&lt;script&gt;alert(1)&lt;/script&gt;")])
async def test_the_handshake_gives_the_token_back_as_text(told: Told, token: bytes, answer: bytes) -> None:
    assert told.notifications.handle({b"validationToken": [token]}, b"") == (
        200, "text/plain; charset=utf-8", answer)


@pytest.mark.parametrize(("query", "body", "status"), [
    ({b"validationToken": [b"x" * 3000]}, b"", 400), ({b"validationToken": [b"a\r\nb"]}, b"", 400),
    ({}, b"", 400), ({}, b"<x/>", 400), ({}, b" " * 3_000_000, 413),
    ({b"validationToken": []}, b'{"value": []}', 202)])
async def test_whatever_is_sent_is_answered(told: Told, query: dict[bytes, list[bytes]], body: bytes,
                                            status: int) -> None:
    assert told.notifications.handle(query, body)[0] == status


async def test_a_subscription_is_renewed_at_half_of_its_life(told: Told) -> None:
    await told.start(ROOM)
    told.here.asked()
    await told.after(HALF_S - 100)
    assert told.here.asked() == []
    await told.after(200)
    assert told.here.asked() == ["renew s1"]
    assert told.here.graph.bodies[-1]["expirationDateTime"].startswith("2026-11-27T18:")
    await told.after(HALF_S)
    assert told.here.asked() == ["renew s1"]
    assert told.notifications.is_told_of(ROOM)


async def test_the_life_that_graph_gives_is_the_one_that_counts(told: Told) -> None:
    short = {"id": "s1", "expirationDateTime": "2026-11-23T10:00:00Z"}
    told.here.graph.fault = lambda _: (201, {}, short)
    await told.start(ROOM)
    told.here.asked()
    await told.after(1900)
    assert told.here.asked() == ["renew s1"]


async def test_a_subscription_that_is_gone_is_made_anew(told: Told) -> None:
    await told.start(ROOM)
    told.told()
    told.here.graph.fault = lambda kind: error(404, "ResourceNotFound") if kind.startswith("renew") else None
    await told.after(HALF_S + 100)
    assert told.here.asked() == [f"subscribe {ROOM}", "renew s1", f"subscribe {ROOM}"]
    assert told.told() == [ROOM]
    assert told.notify(ROOM)[0] == 202
    assert told.told() == [ROOM]


async def test_lifecycle_events_renew_make_anew_and_have_the_room_read(told: Told) -> None:
    await told.start(ROOM)
    told.told()
    told.here.asked()
    told.notify(ROOM, lifecycleEvent="reauthorizationRequired")
    await told.seen_to()
    assert (told.here.asked(), told.told()) == (["renew s1"], [])
    told.notify(ROOM, lifecycleEvent="missed")
    await told.seen_to()
    assert (told.here.asked(), told.told()) == ([], [ROOM])
    told.notify(ROOM, lifecycleEvent="subscriptionRemoved")
    assert not told.notifications.is_told_of(ROOM)
    await told.seen_to()
    assert (told.here.asked(), told.told()) == ([f"subscribe {ROOM}"], [ROOM])


async def test_a_room_that_is_refused_does_not_hold_up_the_others(
        told: Told, logged_events: list[dict[str, Any]]) -> None:
    told.here.graph.fault = lambda kind: error(403, "ErrorAccessDenied") if kind.endswith(ROOM) else None
    await told.start(*ROOMS)
    assert [told.notifications.is_told_of(room) for room in ROOMS] == [False, True, True]
    (line,) = [one for one in logged_events if "it is polled" in one["log_format"]]
    assert (line["room"], line["hint"]) == (ROOM, "")
    told.here.asked()
    await told.after(3600)
    assert 3 <= len(told.here.asked()) <= 6


async def test_where_the_handshake_fails_all_wait_and_the_operator_is_told_once(
        told: Told, logged_events: list[dict[str, Any]]) -> None:
    told.here.graph.fault = lambda _: error(400, "ValidationError", "Subscription validation request failed.")
    await told.start(*ROOMS)
    assert len(told.here.asked()) <= 3
    await told.after(50)
    assert told.here.asked() == []
    await told.after(1200)
    assert 3 <= len(told.here.asked()) <= 5
    (line,) = [one for one in logged_events if "it is polled" in one["log_format"]]
    assert "notification_url must be reachable" in line["hint"]
    told.here.graph.fault = lambda _: None
    await told.after(3600)
    assert all(map(told.notifications.is_told_of, ROOMS))


@pytest.mark.parametrize(("code", "asked"), [("TooManyRequests", 3), ("ApplicationThrottled", 3)])
async def test_patience_is_kept(told: Told, code: str, asked: int) -> None:
    told.here.graph.fault = lambda _: error(429, code, retry_after="300")
    await told.start(*ROOMS)
    assert len(told.here.asked()) <= asked
    told.here.graph.fault = lambda _: None
    await told.after(290)
    assert told.here.asked() == []
    await told.after(60)
    assert all(map(told.notifications.is_told_of, ROOMS))


async def changed_unheard(told: Told) -> None:
    """A change that a read finds, and no notice tells of."""
    told.notifications.unannounced(ROOM)
    await told.after(700)


async def test_where_changes_are_found_and_no_notice_comes_the_rooms_are_polled_until_one_does(
        told: Told, logged_events: list[dict[str, Any]]) -> None:
    await told.start(*ROOMS)
    await told.after(700)
    await changed_unheard(told)
    assert not any(map(told.notifications.is_told_of, ROOMS))
    assert any(str(one.get("log_format")).startswith("Graph told nothing of changes") for one in logged_events)
    told.notify(ROOMS[1])
    assert all(map(told.notifications.is_told_of, ROOMS))
    assert len(told.here.asked()) == 3


async def test_a_change_that_was_told_of_shortly_before_or_after_it_was_read_is_no_sign(told: Told) -> None:
    await told.start(*ROOMS)
    await changed_unheard(told)  # the subscription is younger than the change may be
    assert told.notifications.is_told_of(ROOM)
    told.notify(ROOM)
    await changed_unheard(told)
    assert told.notifications.is_told_of(ROOM)
    told.notifications.unannounced(ROOM)
    await told.after(120)
    told.notify(ROOM)
    await told.after(700)
    assert told.notifications.is_told_of(ROOM)


async def test_a_source_tells_of_changes_that_it_found_unannounced(here: World) -> None:
    told = Told(here)
    source = GraphSource(here.client, here.api, integration="m365", in_thread=deferToThread,
                         notifications=told.notifications)
    source.start(told.rooms.append)
    source.watch([ROOM])
    await told.seen_to()
    await told.after(700)
    memory = (await source.read(ROOM, WINDOW, None)).memory
    far = WINDOW.end + timedelta(minutes=30)
    here.graph.rooms[ROOM] = {"far": event(1, far, id="far")}
    later = Window(WINDOW.start, far + timedelta(hours=1))
    memory = (await source.read(ROOM, later, memory)).memory  # it only came into the window
    await told.after(700)
    assert source.is_told_of(ROOM)
    here.graph.rooms[ROOM]["near"] = event(2, NOW, id="near")
    await source.read(ROOM, later, memory)
    await told.after(700)
    assert not source.is_told_of(ROOM)
    await told.notifications.stop()


async def test_a_room_that_is_of_no_interest_any_more_is_unsubscribed(told: Told) -> None:
    await told.start(*ROOMS)
    number, secret = told.state_of(ROOM)
    told.told()
    told.here.asked()
    await told.watch(*ROOMS[1:])
    assert told.here.asked() == [f"unsubscribe {number}"]
    told.deliver({"subscriptionId": number, "clientState": secret})
    assert told.told() == []
    assert not told.notifications.is_told_of(ROOM)


async def test_few_subscriptions_are_ended_at_the_end_where_nothing_is_kept(told: Told) -> None:
    await told.start(*ROOMS)
    told.here.asked()
    await told.notifications.stop()
    assert sorted(told.here.asked()) == ["unsubscribe s1", "unsubscribe s2", "unsubscribe s3"]


async def test_a_graph_that_does_not_answer_does_not_hold_up_the_end(here: World) -> None:
    here.graph.fault = lambda _: (200, {}, None)
    told = Told(here)
    told.notifications.start(told.rooms.append)
    told.notifications.watch(ROOMS)
    await until(lambda: len(here.graph.asked) == 3)
    end = deferred(told.notifications.stop())
    told.clock.advance(1.6)
    await end
    await here.client.close()


async def test_after_a_restart_the_subscriptions_go_on(here: World, tmp_path: Path) -> None:
    state = tmp_path / "state" / "m365.json"
    first = Told(here, state)
    await first.start(*ROOMS)
    await first.notifications.stop()
    assert sorted(here.asked()) == sorted(f"subscribe {room}" for room in ROOMS)
    assert state.stat().st_mode & 0o777 == 0o600
    second = Told(here, state, starts_s=60)
    await second.start(*ROOMS[:2])
    numbers = [second.state_of(room)[0] for room in ROOMS]
    assert sorted(here.asked()) == [
        *sorted(f"renew {number}" for number in numbers[:2]), f"unsubscribe {numbers[2]}"]
    second.notify(ROOM)
    assert second.told() == [ROOM]
    await second.notifications.stop()


@pytest.mark.parametrize("spoil", [
    lambda path: path.write_bytes(b"\x00"), lambda path: path.write_text("[]"), lambda path: path.unlink(),
    lambda path: path.write_text(json.dumps({ROOM: {"id": 5, "client_state": "", "expires": "never"}})),
    lambda path: path.write_text(path.read_text().replace("2026", "2020"))])
async def test_what_was_kept_and_is_of_no_use_is_made_anew(here: World, tmp_path: Path,
                                                           spoil: Callable[[Path], Any]) -> None:
    state = tmp_path / "m365.json"
    first = Told(here, state)
    await first.start(ROOM)
    await first.notifications.stop()
    spoil(state)
    second = Told(here, state)
    await second.start(ROOM)
    assert here.asked() == [f"subscribe {ROOM}"] * 2
    await second.notifications.stop()


async def test_what_is_left_of_another_address_or_of_rooms_that_are_gone_is_ended(
        here: World, tmp_path: Path) -> None:
    state = tmp_path / "m365.json"
    first = Told(here, state)
    await first.start(*ROOMS[:2])
    await first.notifications.stop()
    here.asked()
    second = Told(here, state, url="https://another.example.com/")
    await second.start(ROOM)
    assert sorted(here.asked()) == [f"subscribe {ROOM}", "unsubscribe s1", "unsubscribe s2"]
    await second.notifications.stop()


async def test_ids_that_cannot_be_kept_cost_nothing_but_a_line_in_the_log(
        here: World, tmp_path: Path, logged_events: list[dict[str, Any]]) -> None:
    (tmp_path / "file").write_text("")
    told = Told(here, tmp_path / "file" / "m365.json")
    await told.start(ROOM)
    assert told.notifications.is_told_of(ROOM)
    await told.notifications.stop()
    assert any("cannot be kept" in one["log_format"] for one in logged_events if one.get("log_format"))
