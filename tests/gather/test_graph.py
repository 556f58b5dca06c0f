"""Graph as a source: sweeps, and what happens when it refuses, over real TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from otjd.gather.source import (
    BudgetSpentError,
    RoomError,
    SourceError,
    ThrottledError,
    UnauthorizedError,
    UnreachableError,
)
from otjd.seam import deferred
from tests.gather.graph_world import NOW, ROOM, WINDOW, Fault, World, calendar, error, world
from tests.outbound.servers import Certificates, until
from tests.protocol.graph_answers import event

ROOMS = [f"room{number}@example.com" for number in range(120)]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest_twisted.async_yield_fixture  # type: ignore[untyped-decorator]
async def here(certificates: Certificates) -> AsyncIterator[World]:
    async with world(certificates) as found:
        found.graph.rooms |= {room: calendar([event(0, NOW)]) for room in ROOMS}
        found.graph.rooms[ROOM] = calendar(event(number, NOW) for number in range(3))
        yield found


def failing(here: World, *faults: Fault, kind: str = "") -> None:
    """Answer these, one after the other, to what is asked."""
    left = list(faults)
    here.graph.fault = lambda asked: left.pop(0) if left and asked.startswith(kind) else None


# sweeps

async def test_a_sweep_gives_fingerprints_that_tell_of_changes(here: World) -> None:
    rooms = ROOMS[:3]
    before = await here.source.sweep(rooms, WINDOW)
    assert before.keys() == set(rooms)
    here.graph.rooms[rooms[1]] = calendar([event(0, NOW + timedelta(minutes=5))])
    after = await here.source.sweep(rooms, WINDOW)
    assert [before[room] == after[room] for room in rooms] == [True, False, True]
    assert here.spent == 2


async def test_a_room_without_free_time_is_told_apart(here: World) -> None:
    found = await here.source.sweep([ROOM, "nobody@example.com"], WINDOW)
    assert isinstance(found[ROOM], bytes)
    assert isinstance(found["nobody@example.com"], RoomError)


@pytest.mark.parametrize(("accepted", "size", "tried"), [
    (500, 100, [100]), (60, 50, [100, 50]), (20, 20, [100, 50])])
async def test_how_many_rooms_a_sweep_may_have_is_tried_once(here: World, accepted: int, size: int,
                                                             tried: list[int]) -> None:
    here.graph.most_schedules = accepted
    here.source.watch(ROOMS)
    assert here.source.sweep_size == 20
    for sizes in ([*tried, 20], [20]):
        await here.source.sweep(ROOMS[:20], WINDOW)
        assert [int(one.split()[2]) for one in here.asked()] == sizes
        assert here.source.sweep_size == size


async def test_a_size_that_is_not_accepted_any_more_is_given_up(here: World) -> None:
    here.graph.most_schedules = 100
    here.source.watch(ROOMS)
    await here.source.sweep(ROOMS[:20], WINDOW)
    here.graph.most_schedules = 20
    with pytest.raises(UnreachableError, match="Too many schedules"):
        await here.source.sweep(ROOMS[:100], WINDOW)
    assert here.source.sweep_size == 20
    assert len(await here.source.sweep(ROOMS[:20], WINDOW)) == 20


async def test_trouble_during_the_trial_leaves_it_for_the_next_sweep(here: World) -> None:
    here.graph.most_schedules = 100
    here.source.watch(ROOMS)
    failing(here, error(500, "InternalServerError"))
    assert len(await here.source.sweep(ROOMS[:20], WINDOW)) == 20
    assert here.source.sweep_size == 20
    await here.source.sweep(ROOMS[:20], WINDOW)
    assert here.source.sweep_size == 100


async def test_sweeps_at_the_same_time_try_it_once(here: World) -> None:
    here.source.watch(ROOMS)
    sweeps = [deferred(here.source.sweep(ROOMS[first:first + 20], WINDOW)) for first in (0, 20, 40)]
    for sweep in sweeps:
        await sweep
    assert sorted(int(one.split()[2]) for one in here.asked()) == [20, 20, 20, 50, 100]


async def test_a_size_that_is_answered_in_part_is_not_taken(here: World) -> None:
    here.graph.most_schedules = 100
    here.source.watch([*ROOMS[:20], *(f"nobody{number}@example.com" for number in range(80))])
    await here.source.sweep(ROOMS[:20], WINDOW)
    assert here.source.sweep_size == 20


async def test_large_answers_to_a_sweep_are_read_in_a_thread(here: World) -> None:
    here.graph.rooms[ROOM] = calendar(event(number, NOW) for number in range(1000))
    assert (await here.source.sweep([ROOM], WINDOW)).keys() == {ROOM}
    assert await here.source.sweep([], WINDOW) == {}


async def test_few_rooms_are_not_tried_for_more(here: World) -> None:
    here.source.watch(ROOMS[:20])
    await here.source.sweep(ROOMS[:20], WINDOW)
    assert len(here.asked()) == 1


async def test_every_room_lends_its_mailbox_in_turn(here: World) -> None:
    for _ in range(6):
        await here.source.sweep(ROOMS[:3], WINDOW)
    assert [one.split()[1] for one in here.asked()] == [*ROOMS[:3], *ROOMS[:3]]


async def test_where_a_mailbox_cannot_be_asked_another_one_is(here: World) -> None:
    failing(here, error(404, "MailboxNotEnabledForRESTAPI"), error(429, "ApplicationThrottled"))
    assert len(await here.source.sweep(ROOMS[:4], WINDOW)) == 4
    assert len(here.asked()) == 3
    failing(here, *[error(404, "MailboxNotEnabledForRESTAPI")] * 3)
    with pytest.raises(RoomError, match="no mailbox in Exchange Online"):
        await here.source.sweep(ROOMS[:4], WINDOW)
    failing(here, error(429, "TooManyRequests"))
    with pytest.raises(ThrottledError):
        await here.source.sweep(ROOMS[:4], WINDOW)


async def test_a_room_that_a_sweep_found_changed_is_read_at_once(here: World) -> None:
    first = await here.source.read(ROOM, WINDOW, None)
    await here.source.sweep([ROOM], WINDOW)
    here.graph.rooms[ROOM]["AAkALg0="] = event(0, NOW + timedelta(minutes=5), version=2)
    await here.source.sweep([ROOM], WINDOW)
    here.asked()
    second = await here.source.read(ROOM, WINDOW, first.memory)
    assert (here.asked(), len(second.invitations), len(second.unchanged)) == (["events"], 1, 2)
    await here.source.read(ROOM, WINDOW, second.memory)
    assert here.asked() == ["marks"]


async def test_what_is_no_answer_of_graph_is_said_to_be_none(here: World) -> None:
    for answer in (b"<html>", b"[]", b'{"value": 5}'):
        failing(here, (200, {}, answer), (200, {}, answer))
        with pytest.raises(UnreachableError, match="Graph answered"):
            await here.source.sweep([ROOM], WINDOW)
        with pytest.raises(UnreachableError, match="Graph answered"):
            await here.source.read(ROOM, WINDOW, None)


# refusals

async def test_a_token_that_is_refused_is_replaced_once(here: World) -> None:
    expired = error(401, "InvalidAuthenticationToken", "Lifetime validation failed, the token is expired.")
    failing(here, expired)
    reading = await here.source.read(ROOM, WINDOW, None)
    assert here.graph.tokens == ["t1", "t2"]
    assert (reading.requests, here.spent) == (2, 2)
    failing(here, expired, expired)
    with pytest.raises(UnauthorizedError, match=r"oauth_token_url must be of the same cloud.*token is expired"):
        await here.source.read(ROOM, WINDOW, None)
    assert here.graph.tokens[2:] == ["t2", "t3"]


async def test_a_token_that_serves_other_rooms_and_is_refused_for_one_costs_no_other(here: World) -> None:
    await here.source.read(ROOMS[0], WINDOW, None)
    here.tokens.forget = lambda: None  # type: ignore[method-assign]
    failing(here, *[error(401, "UnknownError", "")] * 2)
    with pytest.raises(RoomError, match=r"room@example\.com: .*other rooms can be read"):
        await here.source.read(ROOM, WINDOW, None)


REFUSALS: list[tuple[Fault, type[SourceError], str]] = [
    (error(403, "ErrorAccessDenied", "Access to OData is disabled: [RAOP] : Blocked"), RoomError,
     "Test-ApplicationAccessPolicy -Identity room@example.com -AppId 1234-client"),
    (error(403, "Authorization_RequestDenied"), UnauthorizedError, "grant admin consent"),
    (error(400, "ErrorInvalidParameter"), RoomError, "room@example.com: the request was not accepted"),
    (error(404, "ErrorItemNotFound"), RoomError, "room@example.com: what was asked for is not there"),
    (error(500, "InternalServerError"), UnreachableError, "in trouble"),
    ((404, {}, b"<html>Not Found</html>"), UnreachableError, "graph_api_domain"),
    ((302, {"Location": "https://example.com/login"}, b""), UnreachableError, "graph_api_domain"),
]


@pytest.mark.parametrize(("fault", "kind", "words"), REFUSALS)
async def test_a_refusal_concerns_a_room_the_sign_in_or_graph(here: World, fault: Fault, kind: type[SourceError],
                                                             words: str) -> None:
    failing(here, fault)
    with pytest.raises(kind, match=words) as caught:
        await here.source.read(ROOM, WINDOW, None)
    assert isinstance(caught.value, RoomError) == (kind is RoomError)
    assert "t1" not in str(caught.value)


@pytest.mark.parametrize(("fault", "room", "wait_s"), [
    (error(429, "ApplicationThrottled", "over its MailboxConcurrency limit.", retry_after="7"), ROOM, 7),
    (error(429, "TooManyRequests", retry_after="90"), "", 90),
    (error(503, "ServiceUnavailable", retry_after="12"), "", 12),
    (error(503, "ErrorMailboxMoveInProgress"), ROOM, 60)])
async def test_patience_is_asked_for_a_mailbox_or_for_all(here: World, fault: Fault, room: str,
                                                          wait_s: float) -> None:
    failing(here, fault)
    with pytest.raises(ThrottledError) as caught:
        await here.source.read(ROOM, WINDOW, None)
    assert (caught.value.room, caught.value.retry_after) == (room, timedelta(seconds=wait_s))


async def test_nothing_is_asked_without_a_budget(here: World) -> None:
    here.allowed = 1
    here.graph.rooms[ROOM] = calendar(event(number, NOW) for number in range(60))
    with pytest.raises(BudgetSpentError):
        await here.source.read(ROOM, WINDOW, None)
    assert here.asked() == ["events"]


def given_up(failure: Failure) -> None:
    failure.trap(SourceError)  # type: ignore[no-untyped-call]


async def test_no_more_than_four_requests_reach_a_mailbox_at_the_same_time(here: World) -> None:
    here.graph.fault = lambda _: (200, {}, None)
    readings: list[Deferred[Any]] = [deferred(here.source.read(ROOM, WINDOW, None)) for _ in range(6)]
    other = deferred(here.source.read(ROOMS[0], WINDOW, None))
    await until(lambda: len(here.graph.asked) == 5)
    for reading in [*readings, other]:
        reading.addErrback(given_up)
    assert here.spent == 5
    await here.source.stop()


async def test_news_that_could_not_be_read_stay_news(here: World) -> None:
    first = await here.source.read(ROOM, WINDOW, None)
    await here.source.sweep([ROOM], WINDOW)
    here.graph.rooms[ROOM].clear()
    await here.source.sweep([ROOM], WINDOW)
    failing(here, error(500, "InternalServerError"))
    with pytest.raises(UnreachableError):
        await here.source.read(ROOM, WINDOW, first.memory)
    here.asked()
    assert (await here.source.read(ROOM, WINDOW, first.memory)).unchanged == frozenset()
    assert here.asked() == ["events"]


async def test_without_notifications_nothing_is_told(here: World) -> None:
    here.source.start(lambda _: None)
    here.source.watch([ROOM])
    assert not here.source.is_told_of(ROOM)
    await here.source.stop()
