from __future__ import annotations

import base64
import json
from threading import Event
from typing import Any

import pytest
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater

from otjd.operate.access import Access
from otjd.operate.board import AlarmName, IntegrationState
from otjd.operate.pages import STYLE
from otjd.operate.site import AT_ONCE, BODY_LIMIT, ROUTES, WAITING, Route
from otjd.operate.status import (
    alarms_document,
    endpoints_document,
    integrations_document,
    meetings_document,
    rooms_document,
    status_document,
)
from tests.conftest import LoggedFailures
from tests.operate.served import LOCKED, OPEN, serve
from tests.operate.world import converse

reactor: Any = global_reactor


def request_head(path: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Connection: close", *headers, "", "")).encode()


async def test_every_document_is_served_as_it_is_built() -> None:
    async with serve() as served:
        snapshot = served.world.snapshot()
        for path, document in {
            "/status.json": status_document(snapshot),
            "/api/v1/meetings": meetings_document(snapshot),
            "/api/v1/meetings?room=Boardroom%40example.com&profile=vip":
                meetings_document(snapshot, room="boardroom@example.com", profile="vip"),
            "/api/v1/meetings?endpoint=Room+Kit": meetings_document(snapshot, endpoint="Room Kit"),
            "/api/v1/endpoints": endpoints_document(snapshot),
            "/api/v1/rooms": rooms_document(snapshot),
            "/api/v1/integrations": integrations_document(snapshot),
            "/api/v1/alarms": alarms_document(snapshot),
        }.items():
            assert await served.document(path) == document, path


async def test_failures_of_rules_are_counted_by_profile_and_rule() -> None:
    async with serve() as served:
        assert await served.document("/api/v1/rule_failures") == {"rule_failures": []}
        for profile, rule in (("vip", "codes"), ("default", "codes"), ("vip", "codes")):
            served.world.board.rule_failed(profile, rule)
        assert (await served.document("/api/v1/rule_failures"))["rule_failures"] == [
            {"profile_name": "default", "rule": "codes", "failures": 1},
            {"profile_name": "vip", "rule": "codes", "failures": 2}]


async def test_answers_show_the_node_as_it_is_now() -> None:
    async with serve() as served:
        served.world.board.endpoint_failed("Room Kit", "307")
        assert [a["instance"] for a in (await served.document("/api/v1/alarms"))["alarms"]] == ["Room Kit"]
        served.world.board.endpoint_contacted("Room Kit")
        assert (await served.document("/api/v1/alarms"))["alarms"] == []


@pytest.mark.parametrize("access", [OPEN, LOCKED])
@pytest.mark.parametrize("ready", [True, False])
async def test_health_is_told_to_everybody(ready: bool, access: Access) -> None:
    async with serve(access, ready=ready) as served:
        response, body = await served.ask("/healthz", headers={"Host": "balancer.example"})
        assert response.code == (200 if ready else 503)
        assert json.loads(body) == {"ready": ready}
        assert b"200" in await converse(reactor, served.port, b"GET /healthz HTTP/1.0\r\n\r\n") or not ready


async def test_every_answer_has_length_and_security_headers() -> None:
    async with serve() as served:
        for path in (*ROUTES, "/healthz", "/nowhere", "/status.json?x=1"):
            response, body = await served.ask(path)
            headers = {name.lower().decode(): values for name, values in response.headers.getAllRawHeaders()}
            assert response.length == len(body) > 0
            assert headers["x-content-type-options"] == [b"nosniff"]
            assert headers["cache-control"] == [b"no-store"]
            assert headers["x-frame-options"] == [b"DENY"]
            assert headers["cross-origin-resource-policy"] == [b"same-origin"]
            assert headers["content-security-policy"][0].startswith(b"default-src 'none';")
            assert headers["server"] == [b"otjd"]


async def test_an_unknown_address_is_answered_with_the_known_ones() -> None:
    async with serve() as served:
        for path in ("/nowhere", "/api/v1/meetings/", "/status.JSON", "/%2e%2e/etc/passwd"):
            response, body = await served.ask(path)
            assert response.code == 404
            assert set(json.loads(body)["known"]) == {*ROUTES, "/healthz"}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
async def test_other_methods_than_reading_are_refused(method: str) -> None:
    async with serve() as served:
        for path in ("/status.json", "/healthz"):
            response, body = await served.ask(path, method)
            assert response.code == 405
            assert response.headers.getRawHeaders("allow") == ["GET, HEAD"]
            assert method in json.loads(body)["error"]


async def test_head_has_the_headers_of_get_and_no_body() -> None:
    async with serve() as served:
        for path in ("/status.json", "/healthz", "/nowhere"):
            get, body = await served.ask(path)
            head, nothing = await served.ask(path, "HEAD")
            assert (head.code, nothing) == (get.code, b"")
            assert head.headers.getRawHeaders("content-length") == [str(len(body))]


@pytest.mark.parametrize(("query", "reason"), [
    ("romo=x", "no parameter romo"), ("room=a&room=b", "2 times"), ("room=%ff", "not UTF-8"),
    ("%ff=1", "no parameter")])
async def test_a_query_that_is_not_understood_is_refused(query: str, reason: str) -> None:
    async with serve() as served:
        response, body = await served.ask(f"/api/v1/meetings?{query}")
        answer = json.loads(body)
        assert response.code == 400
        assert reason in answer["error"]
        assert answer["known"] == ["room", "endpoint", "profile"]


async def test_an_address_without_parameters_says_so() -> None:
    async with serve() as served:
        response, body = await served.ask("/status.json?verbose=1")
        assert response.code == 400
        assert "it has none" in json.loads(body)["error"]


async def test_the_login_is_asked_for_everywhere_but_at_health() -> None:
    async with serve(LOCKED) as served:
        for path in (*ROUTES, "/nowhere"):
            response, body = await served.ask(path)
            assert response.code == 401
            assert response.headers.getRawHeaders("www-authenticate") == ['Basic realm="otjd", charset="UTF-8"']
            assert set(json.loads(body)) == {"error"}
        response, _ = await served.ask("/status.json", auth=("admin", "s3cret"))
        assert response.code == 200


async def test_a_wrong_login_is_refused_and_logged_without_it(logged_events: list[dict[str, Any]]) -> None:
    async with serve(LOCKED) as served:
        for user, password in (("admin", "wrong"), ("s3cret", "admin"), ("", "")):
            response, _ = await served.ask("/status.json", auth=(user, password))
            assert response.code == 401
        for header in ("Basic", "Basic !!", "Bearer abc", f"Basic {base64.b64encode(b'admin').decode()}"):
            response, _ = await served.ask("/status.json", headers={"Authorization": header})
            assert response.code == 401
    refused = [e for e in logged_events if "refused" in e.get("log_format", "")]
    assert len(refused) == 7
    assert all(e["client"] == "127.0.0.1" for e in refused)
    assert not [e for e in logged_events if "wrong" in str(e.get("password", "")) or "s3cret" in repr(e)]


async def test_a_reload_may_change_the_login() -> None:
    async with serve(LOCKED) as served:
        served.site.access = Access("admin", "n3w")
        assert (await served.ask("/status.json", auth=("admin", "s3cret")))[0].code == 401
        assert (await served.ask("/status.json", auth=("admin", "n3w")))[0].code == 200


async def test_without_a_login_a_rebound_name_is_refused() -> None:
    async with serve() as served:
        for headers in (("Host: evil.example",), (f"Host: evil.example:{served.port}",), (),
                        ("Host: localhost", "Host: evil.example")):
            answer = await converse(reactor, served.port, request_head("/status.json", *headers))
            assert answer.startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 400 "))
            assert b"otj1" not in answer
        answer = await converse(reactor, served.port, request_head("/status.json", "Host: localhost:8080"))
        assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_that_is_too_long_is_refused_before_it_is_read(chunked: bool) -> None:
    async with serve() as served:
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {BODY_LIMIT + 1}"
        body = b"%x\r\n%b\r\n" % (BODY_LIMIT + 1, b"x" * (BODY_LIMIT + 1)) if chunked else b""
        answer = await converse(reactor, served.port, request_head(
            "/status.json", "Host: localhost", length, method="POST") + body)
        head, _, text = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 413 ")
        assert str(BODY_LIMIT) in json.loads(text)["error"]


async def test_a_length_of_thousands_of_digits_is_refused() -> None:
    async with serve() as served:
        answer = await converse(reactor, served.port, request_head(
            "/status.json", "Host: localhost", f"Content-Length: {'9' * 5000}", method="POST"))
        assert answer.startswith(b"HTTP/1.1 400 ")


async def test_what_follows_a_refused_body_is_not_answered() -> None:
    async with serve() as served:
        chunk = b"%x\r\n%b\r\n" % (BODY_LIMIT, b"x" * BODY_LIMIT)
        answer = await converse(reactor, served.port, request_head(
            "/status.json", "Host: localhost", "Transfer-Encoding: chunked", method="POST")
            + chunk * 3 + b"0\r\n\r\n" + request_head("/status.json", "Host: localhost"))
        assert answer.count(b"HTTP/1.1") == 1


async def test_a_short_body_does_no_harm() -> None:
    async with serve() as served:
        response, _ = await served.ask("/status.json", data=b"x" * BODY_LIMIT)
        assert response.code == 200


async def test_the_overview_shows_names_as_text() -> None:
    async with serve() as served:
        served.world.board.endpoint_failed("Room Kit", "<script>alert(1)</script>")
        served.world.board.integration_failed("m365", "no answer & no hope", IntegrationState.DEGRADED)
        response, body = await served.ask("/")
        page = body.decode()
        assert response.headers.getRawHeaders("content-type") == ["text/html; charset=utf-8"]
        assert "<script>" not in page
        assert page.count("&lt;script&gt;alert(1)") == 2  # the alarm, and the endpoint's last error
        assert "no answer &amp; no hope" in page
        assert "0 of 4 in contact" in page
        for path in ROUTES:
            assert path == "/" or f'<a href="{path}">' in page
        assert STYLE in page


async def test_the_overview_of_a_healthy_node_has_nothing_to_complain_of() -> None:
    async with serve() as served:
        for name in ("Group 500", "Room Kit", "Studio X", "HDX"):
            served.world.board.endpoint_contacted(name)
        page = (await served.ask("/"))[1].decode()
        assert "<p>None.</p>" in page
        assert "4 of 4 in contact." in page
        assert "The others" not in page


async def test_other_parts_may_add_addresses() -> None:
    async with serve(routes={"/metrics": Route(lambda snapshot, query: query["name"].encode(), ("name",),
                                               "text/plain")}) as served:
        response, body = await served.ask("/metrics?name=up")
        assert (response.code, body) == (200, b"up")
        assert response.headers.getRawHeaders("content-type") == ["text/plain"]


async def test_an_answer_that_cannot_be_built_is_500_and_logged(logged_failures: LoggedFailures) -> None:
    def broken(snapshot: object, query: object) -> bytes:
        raise ZeroDivisionError("one of ours")

    async with serve(routes={"/broken": Route(broken)}) as served:
        response, body = await served.ask("/broken")
        assert response.code == 500
        assert b"one of ours" not in body
        assert (await served.ask("/status.json"))[0].code == 200
    assert len(logged_failures.flush(ZeroDivisionError)) == 1


async def test_what_is_built_at_once_and_what_waits_is_bounded() -> None:
    go_on = Event()
    running: list[int] = []

    def slow(snapshot: object, query: object) -> bytes:
        running.append(1)
        go_on.wait(30)
        return b"done"

    async with serve(routes={"/slow": Route(slow)}) as served:
        answers: list[Deferred[Any]] = [Deferred.fromCoroutine(served.ask("/slow"))
                                        for _ in range(AT_ONCE + WAITING)]
        while len(served.site._turns.waiting) < WAITING:
            await deferLater(reactor, 0.01)
        assert len(running) <= AT_ONCE
        response, _ = await served.ask("/slow")
        assert response.code == 503
        assert response.headers.getRawHeaders("retry-after") == ["5"]
        go_on.set()
        results: Any = await DeferredList(answers, fireOnOneErrback=True)
        assert [body for _, (_, body) in results] == [b"done"] * (AT_ONCE + WAITING)


async def test_a_client_that_went_away_is_not_written_to() -> None:
    go_on = Event()
    built: list[int] = []

    def slow(snapshot: object, query: object) -> bytes:
        built.append(1)
        go_on.wait(30)
        return b"late"

    async with serve(routes={"/slow": Route(slow)}) as served:
        asked: list[Deferred[Any]] = [Deferred.fromCoroutine(served.ask("/slow")) for _ in range(AT_ONCE + 1)]
        while not served.site._turns.waiting:
            await deferLater(reactor, 0.01)
        for one in asked:
            one.cancel()
        await DeferredList(asked, consumeErrors=True)
        await deferLater(reactor, 0.1)  # until the server has noticed
        go_on.set()
        assert (await served.ask("/status.json"))[0].code == 200
        assert len(built) == AT_ONCE  # the one that waited was not begun


async def test_requests_are_logged_at_debug_level_only(logged_events: list[dict[str, Any]]) -> None:
    async with serve() as served:
        await served.ask("/status.json?x=1")
        served.world.board.raise_alarm(AlarmName.CONFIGURATION, "otj1", "x")
    (line,) = [e for e in logged_events if e.get("path") == "/status.json"]
    assert (line["log_level"].name, line["status"], line["method"]) == ("debug", 400, "GET")
