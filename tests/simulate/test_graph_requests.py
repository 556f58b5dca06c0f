"""Requests to the simulated Graph that nobody should send: each is refused, none is left without an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from twisted.internet.task import Clock

from otjd.seam import deferred
from otjd.simulate.calendars import Calendars
from otjd.simulate.codec_http import Answer
from otjd.simulate.graph import GraphServer, _Asked
from otjd.simulate.graph_settings import GraphSettings
from tests.simulate.graph_world import APP, FORM, HOUR, NOW, ROOM, world

VALUES = some.recursive(some.none() | some.booleans() | some.integers() | some.text(max_size=20),
                        lambda inner: some.lists(inner, max_size=3) | some.dictionaries(
                            some.text(max_size=8), inner, max_size=3), max_leaves=8)


def bodies(*names: str) -> Any:
    """Objects with some of these members, whatever they are."""
    return some.dictionaries(some.sampled_from(names), VALUES)


@pytest.fixture(scope="module")
def server() -> GraphServer:
    calendars = Calendars(lambda: NOW)
    calendars.add_room(ROOM)
    calendars.book(ROOM, NOW, NOW + HOUR)
    return GraphServer(calendars, reactor=Clock(), settings=GraphSettings((APP,), app_requests=10**9,
                                                                          mailbox_requests=10**9))


def answer(server: GraphServer, method: str, path: str, *, query: str = "", body: Any = None,
           prefer: str = "") -> Answer:
    """The answer, which must be there at once."""
    form = "&".join(f"{name}={value}" for name, value in FORM.items()).replace("~", "%7E")
    token = json.loads(server.tokens.token(server.settings.tenant, form.encode(), "").body)["access_token"]
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json", "prefer": prefer}
    found: list[Any] = []
    deferred(server._graph(_Asked("http://graph", method, path, query, headers,
                                  json.dumps(body).encode()))).addBoth(found.append)
    assert isinstance(found[0], Answer)
    assert found[0].status < 500 or found[0].status == 501
    return found[0]


@given(path=some.text(max_size=40) | some.lists(some.sampled_from(
    ["users", ROOM, "calendar", "calendarView", "delta", "events", "subscriptions", "$batch", "AAMkAGeA"])).map(
        "/".join), method=some.sampled_from(["GET", "POST", "PATCH", "DELETE", "PUT"]))
def test_any_path_is_answered(server: GraphServer, path: str, method: str) -> None:
    answer(server, method, path, body={})


@given(query=some.lists(some.tuples(some.sampled_from([
    "$top", "$skip", "$select", "$expand", "$skiptoken", "$deltatoken", "$count", "startDateTime", "endDateTime"]),
    some.text(max_size=30) | some.just("singleValueExtendedProperties($filter=id eq 'x')")), max_size=4).map(
        lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)),
    what=some.sampled_from(["calendarView", "calendarView/delta"]), prefer=some.text(max_size=30))
def test_any_query_is_answered(server: GraphServer, query: str, what: str, prefer: str) -> None:
    answer(server, "GET", f"users/{ROOM}/{what}", query=query, prefer=prefer)
    window = "startDateTime=2026-03-02&endDateTime=2026-03-03"
    answer(server, "GET", f"users/{ROOM}/{what}", query=f"{window}&{query}", prefer=prefer)


@given(body=bodies("schedules", "Schedules", "startTime", "endTime", "availabilityViewInterval") | VALUES)
def test_any_request_for_free_busy_is_answered(server: GraphServer, body: Any) -> None:
    answer(server, "POST", f"users/{ROOM}/calendar/getSchedule", body=body)


@given(step=bodies("id", "method", "url", "headers", "body", "dependsOn") | VALUES)
def test_any_batch_is_answered(server: GraphServer, step: Any) -> None:
    whole = {"id": "1", "method": "GET", "url": "/users/x/calendarView"} | (step if isinstance(step, dict) else {})
    for steps in ([step], [whole], step):
        answer(server, "POST", "$batch", body={"requests": steps})


@given(body=bodies("changeType", "notificationUrl", "resource", "expirationDateTime", "clientState",
                   "lifecycleNotificationUrl"))
def test_any_subscription_is_answered(server: GraphServer, body: dict[str, Any]) -> None:
    good = {"changeType": "created", "notificationUrl": "http://x", "resource": f"users/{ROOM}/events",
            "expirationDateTime": "2026-03-03T00:00:00Z"}
    answer(server, "POST", "subscriptions", body=body)
    answer(server, "POST", "subscriptions", body=good | body | {"notificationUrl": "http://x"})


@pytest.mark.parametrize("url", ["https://", "https://:443/x", "https://host:0/", "https://host:port/", "https://[::1/",
                                 "https://høst/", "ftp://host/", "x"])
def test_a_notification_url_that_is_none_is_refused(server: GraphServer, url: str) -> None:
    body = {"changeType": "created", "notificationUrl": url, "resource": f"users/{ROOM}/events",
            "expirationDateTime": "2026-03-03T00:00:00Z"}
    assert answer(server, "POST", "subscriptions", body=body).status == 400


async def test_a_body_that_is_too_large_is_refused() -> None:
    async with world() as w:
        reply = await w.ask("POST", "/subscriptions", b"x" * (4 * 1024 * 1024 + 1))
        assert (reply.status, reply.code) == (413, "RequestEntityTooLarge")


async def test_a_link_that_was_changed_leads_nowhere() -> None:
    async with world() as w:
        for number in range(11):
            w.calendars.book(ROOM, NOW, NOW + HOUR, subject=str(number))
        link = (await w.view()).json["@odata.nextLink"]
        assert len((await w.ask("GET", link)).json["value"]) == 1
        before, name, token = link.partition("skiptoken=")
        reply = await w.ask("GET", f"{before}{name}{'B' if token[0] == 'A' else 'A'}{token[1:]}")
        assert (reply.status, reply.code) == (400, "ErrorInvalidUrlQuery")
