"""A simulated Google as a whole: free time, notifications, quotas and faults, with Google's own client."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from googleapiclient.errors import HttpError
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import deferLater
from twisted.web.client import ResponseFailed
from twisted.web.resource import Resource
from twisted.web.server import Site

from otjd.meetings.model import FreeBusyStatus
from otjd.simulate.google_settings import Fault, Push, Quotas
from tests.simulate.google_world import HOUR, NOW, OTHER, ROOM, SETTINGS, World, google, reason

reactor: Any = global_reactor
STOP = "/calendar/v3/channels/stop"
WATCH = f"/calendar/v3/calendars/{ROOM.replace('@', '%40')}/events/watch"


def zulu(hours: float = 0.0) -> str:
    return (NOW + hours * HOUR).strftime("%Y-%m-%dT%H:%M:%SZ")


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await deferLater(reactor, 0.01)
    raise AssertionError("it did not come about")


# --- free time ---

async def test_free_time_is_told_for_many_rooms_at_once(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        w.book(1)
        w.book(2)
        w.book(1.5)
        w.book(5, is_private=True)
        w.book(8, free_busy=FreeBusyStatus.FREE)
        w.book(-0.5, OTHER)
        asked = {"timeMin": zulu(), "timeMax": zulu(24),
                 "items": [{"id": ROOM}, {"id": OTHER}, {"id": "nobody@example.com"}]}
        client = w.client()
        answer = await w.run(lambda: client.freebusy().query(body=asked).execute())
        assert answer["calendars"] == {
            ROOM: {"busy": [{"start": zulu(1), "end": zulu(3)}, {"start": zulu(5), "end": zulu(6)}]},
            OTHER: {"busy": [{"start": zulu(), "end": zulu(0.5)}]},
            "nobody@example.com": {"errors": [{"domain": "global", "reason": "notFound"}], "busy": []}}
        assert answer["kind"] == "calendar#freeBusy"


async def test_fields_select_of_free_time_too(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        w.book(1)
        asked = {"timeMin": zulu(), "timeMax": zulu(24), "items": [{"id": ROOM}]}
        for fields, shown in (("calendars/*/busy/start", {"calendars": {ROOM: {"busy": [{"start": zulu(1)}]}}}),
                              ("kind", {"kind": "calendar#freeBusy"})):
            _, body, _ = await w.ask("POST", "/calendar/v3/freeBusy", query={"fields": fields}, body=asked)
            assert body == shown


async def test_free_time_follows_every_change(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        async def busy() -> list[str]:
            _, body = await w.free_busy([ROOM])
            return [b["start"] for b in body["calendars"][ROOM]["busy"]]

        series = w.book(1, rule="FREQ=DAILY")
        assert await busy() == [zulu(1)]
        w.calendars.change(ROOM, series.id, subject="other")
        assert await busy() == [zulu(1)]
        w.calendars.change_occurrence(ROOM, series.id, (NOW + HOUR).strftime("%Y%m%dT%H%M%SZ"),
                                      start_time=NOW + 3 * HOUR, end_time=NOW + 4 * HOUR)
        assert await busy() == [zulu(3)]
        w.calendars.cancel(ROOM, series.id)
        assert await busy() == []


async def test_free_time_of_too_many_rooms_is_told_for_none(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        rooms = [f"room{n}@example.com" for n in range(51)]
        for room in rooms:
            w.calendars.add_room(room)
        _, body = await w.free_busy(rooms)
        assert {c["errors"][0]["reason"] for c in body["calendars"].values()} == {"tooManyCalendarsRequested"}
        _, body = await w.free_busy(rooms[:50])
        assert all(c == {"busy": []} for c in body["calendars"].values())
        assert len(body["calendars"]) == 50
        _, body = await w.free_busy(rooms[:2], calendarExpansionMax=1)
        assert {c["errors"][0]["reason"] for c in body["calendars"].values()} == {"tooManyCalendarsRequested"}


async def test_the_free_time_of_a_room_may_be_in_trouble_or_shared_alone(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        w.book()
        w.api.troubles[ROOM] = "internalError"
        _, body = await w.free_busy([ROOM, OTHER])
        assert body["calendars"][ROOM]["errors"] == [{"domain": "global", "reason": "internalError"}]
        del w.api.troubles[ROOM]
        w.api.share(ROOM, "freeBusyReader")
        w.api.share(OTHER, "none")
        _, body = await w.free_busy([ROOM, OTHER])
        assert len(body["calendars"][ROOM]["busy"]) == 1
        assert body["calendars"][OTHER]["errors"][0]["reason"] == "notFound"


@pytest.mark.parametrize(("changed", "why"), [
    ({"timeMin": None}, "required"), ({"timeMax": zulu(-1)}, "timeRangeEmpty"),
    ({"timeMax": zulu(24 * 91)}, "timeRangeTooLong"), ({"timeMin": "today"}, "badRequest"),
    ({"calendarExpansionMax": 51}, "invalid"), ({"groupExpansionMax": 0}, "invalid"), ({"items": {}}, "invalid"),
    ({"items": ["a@example.com"]}, "invalid"), ({"items": [{"id": 5}]}, "invalid"), ({"rooms": []}, "badRequest"),
    ({"timeZone": "Mars/Base"}, "invalidParameter"), ({"timeMin": 5}, "invalid"),
    ({"calendarExpansionMax": True}, "invalid")])
async def test_wrong_requests_for_free_time_are_refused(tmp_path: Path, changed: Mapping[str, Any],
                                                        why: str) -> None:
    async with google(tmp_path) as w:
        asked = {"timeMin": zulu(), "timeMax": zulu(24), "items": [{"id": ROOM}], **changed}
        body = {name: value for name, value in asked.items() if value is not None}
        status, answer, _ = await w.ask("POST", "/calendar/v3/freeBusy", body=body)
        assert (status, reason(answer)) == (400, (400, why))


async def test_a_body_that_is_no_json_is_refused(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        assert reason((await w.ask("POST", "/calendar/v3/freeBusy", form={"a": "b"}))[1]) == (400, "badContent")
        for value in (["x"], "x"):
            assert reason((await w.ask("POST", "/calendar/v3/freeBusy", body=value))[1]) == (400, "parseError")


# --- notifications ---

class Receiver(Resource):
    """Takes notifications; `statuses` are answered in turn, then 200."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.isLeaf = True
        self.got: list[dict[str, str]] = []
        self.statuses: list[int] = []

    def render_POST(self, request: Any) -> bytes:
        """Note what came."""
        assert request.content.read() == b""
        self.got.append({n.decode().lower(): v[0].decode() for n, v in request.requestHeaders.getAllRawHeaders()})
        request.setResponseCode(self.statuses.pop(0) if self.statuses else 200)
        return b""

    @property
    def states(self) -> list[str]:
        """The states of what came."""
        return [headers["x-goog-resource-state"] for headers in self.got]


class Listening:
    def __init__(self, w: World) -> None:
        self.receiver = Receiver()
        site = Site(self.receiver)  # type: ignore[no-untyped-call]
        pem = w.files.certificate.read_bytes() + w.files.private_key.read_bytes()
        pair = PrivateCertificate.loadPEM(pem)  # type: ignore[no-untyped-call]
        self._port = reactor.listenSSL(0, site, pair.options(), interface="127.0.0.1")
        self.url = f"https://127.0.0.1:{self._port.getHost().port}/notifications/g"

    async def __aenter__(self) -> Listening:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._port.stopListening()


def channel(url: str, /, **changed: Any) -> dict[str, Any]:
    return {"id": "c1", "type": "web_hook", "address": url, "token": "secret", **changed}


async def test_a_watched_calendar_tells_of_its_changes_until_it_is_stopped(tmp_path: Path) -> None:
    async with google(tmp_path) as w, Listening(w) as at:
        client = w.client()
        made = await w.run(lambda: client.events().watch(calendarId=ROOM, body=channel(at.url)).execute())
        assert made["kind"] == "api#channel"
        assert made["token"] == "secret"
        assert int(made["expiration"]) == int(w.now.timestamp() + 604_800) * 1000
        await until(lambda: len(at.receiver.got) == 1)
        first = at.receiver.got[0]
        assert (first["x-goog-resource-state"], first["x-goog-message-number"]) == ("sync", "1")
        assert (first["x-goog-channel-id"], first["x-goog-channel-token"]) == ("c1", "secret")
        assert first["x-goog-resource-id"] == made["resourceId"]
        assert first["x-goog-resource-uri"] == made["resourceUri"]
        assert first["x-goog-channel-expiration"].endswith(" GMT")
        w.book()
        w.book(room=OTHER)
        await until(lambda: len(at.receiver.got) == 2)
        assert (at.receiver.states[1], at.receiver.got[1]["x-goog-message-number"]) == ("exists", "2")
        stop = {"id": made["id"], "resourceId": made["resourceId"]}
        await w.run(lambda: client.channels().stop(body=stop).execute())
        w.book(1)
        with pytest.raises(HttpError) as caught:
            await w.run(lambda: client.channels().stop(body=stop).execute())
        assert caught.value.status_code == 404
        assert w.api.channels.live() == ()
        assert at.receiver.states == ["sync", "exists"]


async def test_messages_come_several_times_late_or_not_at_all(tmp_path: Path) -> None:
    settings = replace(SETTINGS, push=Push(dropped=0.5, copies=3, delay_s=(0.0, 0.02)))
    async with google(tmp_path, settings) as w, Listening(w) as at:
        assert (await w.ask("POST", WATCH, body=channel(at.url)))[0] == 200
        for n in range(10):
            w.book(n)
        counts = w.api.channels.counts
        await until(lambda: counts["delivered"] + counts["dropped"] == 31)
        assert 0 < counts["dropped"] < 30
        assert len(at.receiver.got) == counts["delivered"]
        numbers = [int(h["x-goog-message-number"]) for h in at.receiver.got]
        assert len(set(numbers)) == len(numbers)
        assert max(numbers) <= 31


async def test_a_message_is_sent_again_where_the_receiver_has_trouble_and_not_where_it_refuses(
        tmp_path: Path) -> None:
    settings = replace(SETTINGS, push=Push(retry_s=0.01, attempts=3))
    async with google(tmp_path, settings) as w, Listening(w) as at:
        at.receiver.statuses = [503, 500, 200, 404, 503, 503, 503]
        assert (await w.ask("POST", WATCH, body=channel(at.url)))[0] == 200
        counts = w.api.channels.counts
        await until(lambda: counts["delivered"] == 1)
        assert at.receiver.states == ["sync"] * 3
        w.book()
        await until(lambda: counts["failed"] == 1)
        w.book()
        await until(lambda: counts["failed"] == 2)
        assert len(at.receiver.got) == 7


async def test_a_receiver_that_cannot_be_reached_costs_its_messages(tmp_path: Path) -> None:
    async with google(tmp_path, replace(SETTINGS, push=Push(retry_s=0.01, attempts=2))) as w:
        assert (await w.ask("POST", WATCH, body=channel("https://127.0.0.1:1/")))[0] == 200
        await until(lambda: w.api.channels.counts["failed"] == 1)
        assert w.api.channels.counts["retried"] == 1


async def test_a_channel_ends_by_itself(tmp_path: Path) -> None:
    async with google(tmp_path) as w, Listening(w) as at:
        ends = str(int((w.now + timedelta(minutes=5)).timestamp() * 1000))
        _, made, _ = await w.ask("POST", WATCH, body=channel(at.url, expiration=ends))
        assert made["expiration"][:-3] == ends[:-3]
        await w.ask("POST", WATCH, body=channel(at.url, id="c2", params={"ttl": "3600"}))
        await until(lambda: len(at.receiver.got) == 2)
        w.now += timedelta(minutes=6)
        w.book()
        await until(lambda: len(at.receiver.got) == 3)
        assert at.receiver.got[-1]["x-goog-channel-id"] == "c2"
        assert [c.id for c in w.api.channels.live()] == ["c2"]


@pytest.mark.parametrize(("changed", "why"), [
    ({"id": None}, "required"), ({"id": "x" * 65}, "invalid"), ({"id": "a b"}, "invalid"),
    ({"type": "mail"}, "push.channelTypeNotSupported"),
    ({"address": "http://127.0.0.1/"}, "push.webhookUrlNotHttps"), ({"address": None}, "required"),
    ({"token": "x" * 257}, "invalid"), ({"expiration": "0"}, "invalid"),
    ({"expiration": "soon"}, "invalid"), ({"params": {"ttl": "x"}}, "invalid"), ({"url": "x"}, "badRequest")])
async def test_wrong_channels_are_refused(tmp_path: Path, changed: Mapping[str, Any], why: str) -> None:
    async with google(tmp_path) as w:
        body = {n: v for n, v in channel("https://127.0.0.1:1/", **changed).items() if v is not None}
        status, answer, _ = await w.ask("POST", WATCH, body=body)
        assert (status, reason(answer)) == (400, (400, why))


async def test_the_id_of_a_channel_is_used_once_and_only_its_owner_stops_it(tmp_path: Path) -> None:
    async with google(tmp_path) as w, Listening(w) as at:
        _, made, _ = await w.ask("POST", WATCH, body=channel(at.url))
        assert reason((await w.ask("POST", WATCH, body=channel(at.url)))[1]) == (400, "channelIdNotUnique")
        right, wrong = {"id": "c1", "resourceId": made["resourceId"]}, {"id": "c1", "resourceId": "other"}
        assert reason((await w.ask("POST", STOP, body=wrong))[1]) == (404, "notFound")
        other = w.credentials().with_subject("admin@example.com")
        client = w.client(other)
        with pytest.raises(HttpError) as caught:
            await w.run(lambda: client.channels().stop(body=right).execute())
        assert caught.value.status_code == 404
        status, body, _ = await w.ask("POST", STOP, body=right)
        assert (status, body) == (204, b"")


async def test_who_sees_only_free_time_may_not_watch_unless_it_is_allowed(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        w.api.share(ROOM, "freeBusyReader")
        status, body, _ = await w.ask("POST", WATCH, body=channel("https://127.0.0.1:1/"))
        assert (status, reason(body)) == (403, (403, "forbidden"))
        w.api.share(ROOM, "none")
        assert (await w.ask("POST", WATCH, body=channel("https://127.0.0.1:1/")))[0] == 404


# --- quotas ---

async def test_a_user_has_so_many_requests_a_minute_and_each_quota_user_its_own(tmp_path: Path) -> None:
    async with google(tmp_path, replace(SETTINGS, quotas=Quotas(per_user=3, per_project=8))) as w:
        assert [(await w.page())[0] for _ in range(4)] == [200, 200, 200, 403]
        assert reason((await w.page())[1]) == (403, "userRateLimitExceeded")
        assert [(await w.page(quotaUser="a"))[0] for _ in range(4)] == [200, 200, 200, 403]
        assert [(await w.page(quotaUser="b"))[0] for _ in range(2)] == [200, 200]
        assert reason((await w.page(quotaUser="c"))[1]) == (403, "rateLimitExceeded")
        w.now += timedelta(seconds=60)
        assert (await w.page())[0] == 200
        assert w.api.usage.total == 13
        assert w.api.usage.most_a_day == 13
        assert w.api.refused == {"userRateLimitExceeded": 3 - 1 + 1, "rateLimitExceeded": 1}


async def test_a_header_names_the_quota_user_as_well(tmp_path: Path) -> None:
    async with google(tmp_path, replace(SETTINGS, quotas=Quotas(per_user=1))) as w:
        headers = {"Authorization": f"Bearer {await w.token()}", "X-Goog-Quota-User": "a"}
        path = f"/calendar/v3/calendars/{ROOM}/events"
        assert (await w.page())[0] == 200
        assert (await w.ask("GET", path, headers=headers))[0] == 200
        assert (await w.ask("GET", path, headers=headers))[0] == 403


async def test_one_that_acts_for_users_is_counted_as_one(tmp_path: Path) -> None:
    async with google(tmp_path, replace(SETTINGS, quotas=Quotas(per_user=1))) as w:
        client = w.client(w.credentials().with_subject("admin@example.com"))
        await w.events(client)
        assert (await w.page())[0] == 403


async def test_quotas_are_refused_with_429_where_that_is_set(tmp_path: Path) -> None:
    async with google(tmp_path, replace(SETTINGS, quotas=Quotas(per_user=1, refusal=429))) as w:
        await w.page()
        assert reason((await w.page())[1]) == (429, "rateLimitExceeded")


async def test_the_most_of_a_day_is_counted_over_any_24_hours(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        w.api.usage.quotas = Quotas(None, None)
        for hours, times in ((0, 3), (10, 2), (14, 4), (30, 1)):
            w.now += timedelta(hours=hours)
            for _ in range(times):
                w.api.usage.charge("someone")
        assert (w.api.usage.total, w.api.usage.most_a_day) == (10, 6)


# --- faults ---

async def test_errors_strike_on_command_as_often_as_said_and_where(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        w.api.faults.append(Fault("error", times=2, operation="events.list", room=ROOM, after=1))
        w.api.faults.append(Fault("error", operation="freebusy.query", status=403, reason="quotaExceeded"))
        assert [(await w.page())[0] for _ in range(4)] == [200, 503, 503, 200]
        assert reason((await w.free_busy([ROOM]))[1]) == (403, "quotaExceeded")
        assert (await w.free_busy([ROOM]))[0] == 200
        w.api.faults.append(Fault("error", operation="token", status=500, reason="internal_failure"))
        status, body, _ = await w.ask("POST", "/token", form={}, headers={})
        assert (status, body["error"]) == (500, "internal_failure")


async def test_googles_client_asks_again_after_a_server_error(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        w.book()
        w.api.faults.append(Fault("error", status=429, reason="rateLimitExceeded", operation="events.list"))
        client = w.client()
        page = await w.run(lambda: client.events().list(calendarId=ROOM).execute(num_retries=1))
        assert len(page["items"]) == 1
        assert w.api.requests["events.list"] == 2


async def test_answers_break_off_stall_or_are_no_json(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        await w.token()
        for fault in (Fault("truncated"), Fault("reset")):
            w.api.faults[:] = [fault]
            with pytest.raises(ResponseFailed):
                await w.page()
        w.api.faults[:] = [Fault("html", status=502)]
        status, body = await w.page()
        assert (status, body[:15]) == (502, b"<!DOCTYPE html>")
        w.api.faults[:] = [Fault("slow", delay_s=0.01)]
        assert (await w.page())[0] == 200
        w.api.faults[:] = [Fault("stall")]
        asked = Deferred.fromCoroutine(w.page())
        await until(lambda: w.api.requests["events.list"] == 5)
        asked.addErrback(lambda _: None)
        asked.cancel()
        assert (await w.page())[0] == 200


async def test_an_answer_takes_as_long_as_it_is_set(tmp_path: Path) -> None:
    async with google(tmp_path, replace(SETTINGS, latency_s=(0.01, 0.02))) as w:
        assert (await w.page())[0] == 200


async def test_an_answer_is_packed_where_both_headers_ask_for_it(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        w.book(body_html="x" * 5000)
        url, token = f"{w.url}/calendar/v3/calendars/{ROOM}/events", await w.token()

        def ask(agent: str) -> tuple[Any, bytes]:
            made: tuple[Any, bytes] = w.http().request(url, headers={
                "Authorization": f"Bearer {token}", "Accept-Encoding": "gzip", "User-Agent": agent})
            return made

        for agent, encoding in (("otjd (gzip)", "gzip"), ("otjd", None)):
            response, body = await w.run(partial(ask, agent))
            assert json.loads(body)["items"][0]["description"] == "x" * 5000
            assert response.get("-content-encoding") == encoding


# --- addresses ---

@pytest.mark.parametrize(("method", "path"), [
    ("GET", "/"), ("GET", "/calendar/v3/users/me/calendarList"), ("POST", "/calendar/v3/calendars/a/events"),
    ("GET", "/calendar/v3/freeBusy"), ("GET", "/calendar/v3/calendars/a/b/events")])
async def test_there_is_nothing_at_other_addresses(tmp_path: Path, method: str, path: str) -> None:
    async with google(tmp_path) as w:
        status, body, _ = await w.ask(method, path)
        assert status == 404
        assert body.startswith(b"<!DOCTYPE html>")


async def test_a_request_that_is_too_big_is_refused(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        status, _, _ = await w.ask("POST", "/calendar/v3/freeBusy", body={"timeZone": "x" * (1 << 20)})
        assert status == 413


async def test_requests_are_counted_by_operation_and_room(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        await w.page()
        await w.free_busy([ROOM, OTHER])
        assert w.api.requests == {"token": 1, "events.list": 1, "freebusy.query": 1}
        assert w.api.rooms_asked["freebusy.query", OTHER] == 1
        assert w.api.rooms_asked["events.list", ROOM] == 1
        assert json.dumps(sorted(w.api.refused)) == "[]"
