"""What the simulated Graph refuses and how it fails: limits, mailboxes, faults, batches."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from twisted.internet.defer import gatherResults
from twisted.web.client import Agent, ResponseFailed, readBody
from twisted.web.http_headers import Headers

from otjd.seam import deferred
from otjd.simulate.graph_settings import Fault, GraphApp, Mailbox
from tests.simulate.graph_world import APP, HOUR, NOW, ROOM, WEEK, Reply, World, reactor, until, world

VIEW = f"/users/{ROOM}/calendarView?startDateTime={WEEK['startDateTime']}&endDateTime={WEEK['endDateTime']}"
OTHER = "other@example.com"


# --- limits ---

async def test_a_fifth_request_at_once_on_a_mailbox_is_throttled_and_other_mailboxes_are_not() -> None:
    async with world(latency_s=(5.0, 5.0)) as w:
        w.calendars.add_room(OTHER)
        waiting = [deferred(w.view()) for _ in range(4)]
        await until(lambda: w.server.limits.most_at_once.get(ROOM) == 4)
        fifth = await w.view()
        assert (fifth.status, fifth.code, fifth.header("Retry-After")) == (429, "ApplicationThrottled", "1")
        assert "MailboxConcurrency" in fifth.json["error"]["message"]
        other = deferred(w.view(room=OTHER))
        await until(lambda: OTHER in w.server.limits.most_at_once)
        w.pass_time(5)
        assert [r.status for r in await gatherResults([*waiting, other])] == [200] * 5
        again = deferred(w.view())
        await until(lambda: len(w.server.limits._at_once) == 1)
        w.pass_time(5)
        assert (await again).status == 200
        assert w.server.limits.throttled == 1


async def test_a_mailbox_takes_so_many_requests_in_ten_minutes() -> None:
    async with world(mailbox_requests=3) as w:
        w.calendars.add_room(OTHER)
        assert [(await w.view()).status for _ in range(4)] == [200, 200, 200, 429]
        refused = await w.view()
        assert 500 <= int(refused.header("Retry-After")) <= 600
        assert (await w.view(room=OTHER)).status == 200
        w.pass_time(int(refused.header("Retry-After")))
        assert (await w.view()).status == 200


async def test_an_application_takes_so_many_requests_in_ten_seconds() -> None:
    async with world(app_requests=2) as w:
        w.calendars.add_room(OTHER)
        assert [(await w.view(room=r)).status for r in (ROOM, OTHER, OTHER)] == [200, 200, 429]
        w.pass_time(10)
        assert (await w.view()).status == 200


async def test_requests_are_counted_by_operation_status_and_room() -> None:
    async with world() as w:
        await w.view()
        await w.view({})
        await w.view(what="calendarView/delta")
        await w.form()
        assert (w.server.counts["calendarView"], w.server.counts["delta"], w.server.counts["token"]) == (2, 1, 1)
        assert w.server.statuses["calendarView", 400] == 1
        assert w.server.by_room == {ROOM: 3}


# --- mailboxes ---

@pytest.mark.parametrize(("state", "status", "code"), [
    (Mailbox.UNKNOWN, 404, "ErrorInvalidUser"), (Mailbox.NOT_IN_THE_CLOUD, 404, "MailboxNotEnabledForRESTAPI"),
    (Mailbox.BLOCKED, 403, "ErrorAccessDenied")])
async def test_a_mailbox_that_cannot_be_read_says_why(state: Mailbox, status: int, code: str) -> None:
    async with world() as w:
        w.server.mailboxes[ROOM] = state
        reply = await w.view()
        assert (reply.status, reply.code) == (status, code)
        del w.server.mailboxes[ROOM]
        assert (await w.view()).status == 200


@pytest.mark.parametrize(("user", "code"), [("nobody@example.com", "ErrorInvalidUser"),
                                            ("nobody", "ResourceNotFound")])
async def test_nobody_has_no_calendar(user: str, code: str) -> None:
    async with world() as w:
        reply = await w.view(room=user)
        assert (reply.status, reply.code) == (404, code)


async def test_without_consent_nothing_can_be_read() -> None:
    async with world(apps=(GraphApp(APP.client_id, APP.client_secret, frozenset({"User.Read.All"})),)) as w:
        reply = await w.view()
        assert (reply.status, reply.code) == (403, "ErrorAccessDenied")
        assert "Check credentials" in reply.json["error"]["message"]


# --- faults ---

@pytest.mark.parametrize(("status", "code"), [(429, "ApplicationThrottled"), (503, "ServiceUnavailable"),
                                              (500, "InternalServerError"), (410, "SyncStateNotFound")])
async def test_a_status_on_command_strikes_as_often_as_it_is_told(status: int, code: str) -> None:
    async with world() as w:
        w.server.faults.append(Fault("status", times=2, status=status, retry_after_s=7, operation="calendarView"))
        for _ in range(2):
            reply = await w.view()
            assert (reply.status, reply.code, reply.header("Retry-After")) == (status, code, "7")
        assert (await w.view()).status == 200


async def test_a_fault_strikes_only_its_room_and_operation_and_only_after_so_many() -> None:
    async with world() as w:
        w.calendars.add_room(OTHER)
        w.server.faults.append(Fault("status", None, operation="calendarView", room=ROOM, after=1))
        assert (await w.view()).status == 200
        assert (await w.view()).status == 503
        assert (await w.view(room=OTHER)).status == 200
        assert (await w.view(what="calendarView/delta")).status == 200


async def test_an_answer_may_break_off_in_its_middle_or_not_come_at_all() -> None:
    async with world() as w:
        w.server.faults += [Fault("truncated"), Fault("reset")]
        for _ in range(2):
            with pytest.raises(ResponseFailed):
                await w.view()
        assert (await w.view()).status == 200


async def test_a_page_of_something_in_between_has_status_200() -> None:
    async with world() as w:
        w.server.faults.append(Fault("html"))
        reply = await w.view()
        assert (reply.status, reply.header("Content-Type")) == (200, "text/html")


async def test_a_slow_answer_comes_and_one_that_stalls_does_not() -> None:
    async with world() as w:
        w.server.faults += [Fault("slow", delay_s=60), Fault("stall")]
        slow = deferred(w.view())
        await until(lambda: w.server.limits.most_at_once.get(ROOM) == 1)
        stalled = deferred(w.view())
        await until(lambda: w.server.limits.most_at_once.get(ROOM) == 2)
        w.pass_time(59)
        assert not slow.called
        w.pass_time(1)
        assert (await slow).status == 200
        assert not stalled.called
        stalled.cancel()
        with pytest.raises(Exception):  # noqa: B017, PT011 - what kind is the client's affair
            await stalled
        await until(lambda: not w.server.limits._at_once)


async def test_the_token_service_fails_on_command_as_well() -> None:
    async with world() as w:
        w.server.faults.append(Fault("status", operation="token", status=503))
        assert [(await w.form()).status for _ in range(2)] == [503, 200]


# --- batches ---

def step(number: int, url: str = VIEW, **more: Any) -> dict[str, Any]:
    return {"id": str(number), "method": "GET", "url": url, **more}


async def ask_batch(w: World, *steps: dict[str, Any]) -> Reply:
    return await w.ask("POST", "/$batch", {"requests": list(steps)})


async def test_each_request_of_a_batch_is_judged_alone() -> None:
    async with world() as w:
        w.calendars.book(ROOM, NOW, NOW + HOUR, subject="one")
        w.server.faults.append(Fault("status", status=429, retry_after_s=9, after=1, operation="calendarView"))
        reply = await ask_batch(w, step(1), step(2), step(3, VIEW.replace(ROOM, "nobody%40example.com")),
                                step(4, dependsOn=["2"]), step(5, dependsOn=["1"]))
        assert reply.status == 200
        found = {one["id"]: one for one in reply.json["responses"]}
        assert {number: one["status"] for number, one in found.items()} == {"1": 200, "2": 429, "3": 404, "4": 424,
                                                                           "5": 200}
        assert found["1"]["body"]["value"][0]["subject"] == "one"
        assert found["2"]["headers"]["Retry-After"] == "9"
        assert w.server.counts["calendarView"] == 4  # each counts as one; what depended on a failure was not made


async def test_four_of_a_batch_are_under_way_at_once() -> None:
    async with world(latency_s=(1.0, 1.0)) as w:
        asked = deferred(ask_batch(w, *(step(n) for n in range(20))))
        await until(lambda: w.server.limits._apps)
        w.pass_time(1)  # the latency of the batch itself
        for _ in range(5):
            w.pass_time(1)
        reply = await asked
        assert [one["status"] for one in reply.json["responses"]] == [200] * 20
        assert w.server.limits.most_at_once[ROOM] == 4


@pytest.mark.parametrize("steps", [
    [step(n) for n in range(21)], [], [step(1), step(1)], [{"id": "1", "method": "GET"}],
    [step(1, dependsOn=["2"]), step(2)], [step(1, "https://graph.microsoft.com/v1.0/me")],
    [step(1, body={"a": 1})]])
async def test_a_batch_that_is_none_is_refused(steps: list[dict[str, Any]]) -> None:
    async with world() as w:
        reply = await ask_batch(w, *steps)
        assert (reply.status, reply.code) == (400, "BadRequest")
        assert w.server.counts["calendarView"] == 0


async def test_a_batch_within_a_batch_is_refused() -> None:
    async with world() as w:
        reply = await ask_batch(w, {"id": "1", "method": "POST", "url": "/$batch", "body": {},
                                    "headers": {"Content-Type": "application/json"}})
        assert [one["status"] for one in reply.json["responses"]] == [400]


# --- the wire ---

async def test_long_answers_are_packed_for_those_who_take_it() -> None:
    async with world() as w:
        for number in range(10):
            w.calendars.book(ROOM, NOW, NOW + HOUR, subject=str(number))
        found = {}
        for coding in ("gzip", "identity"):
            headers = Headers({"Authorization": [f"Bearer {w.token}"], "Accept-Encoding": [coding]})
            response = await Agent(reactor).request(  # type: ignore[no-untyped-call]
                b"GET", f"{w.url}/v1.0{VIEW}".encode(), headers)
            found[coding] = response.headers.getRawHeaders("Content-Encoding"), await readBody(response)
        assert (found["gzip"][0], found["identity"][0]) == (["gzip"], None)
        assert gzip.decompress(found["gzip"][1]) == found["identity"][1]
