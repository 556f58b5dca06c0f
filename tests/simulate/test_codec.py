from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import treq
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.web.client import Agent, ResponseFailed

from otjd.simulate.certificates import make_certificates
from otjd.simulate.codec import Codec, Switches
from otjd.simulate.codec_payloads import Limits
from otjd.simulate.codec_profiles import PROFILES
from otjd.simulate.poly_http import tls_policy
from tests.simulate.codec_world import (
    AUTH,
    NOON,
    Bench,
    bench,
    command,
    json_booking,
    put_document,
    xml_booking,
    xml_document,
)

reactor: Any = global_reactor
WRONG = ("admin", "wrong")


async def settle() -> None:
    await deferLater(reactor, 0.02)


# --- logins ---

@pytest.mark.parametrize("profile", PROFILES)
async def test_every_path_asks_for_a_login_with_the_recorded_answer(profile: str) -> None:
    async with bench(profile) as b:
        for method, path in (("GET", "/status.xml"), ("GET", "/getxml?location=/Status"), ("GET", "/nowhere"),
                             ("POST", "/putxml"), ("POST", "/bookingsputxml"), ("POST", "/xmlapi/session/begin")):
            response, body = await b.ask(method, path, auth=None)
            assert response.code == 401
            assert response.headers.getRawHeaders("www-authenticate") == ['Basic realm="CISCO-Endpoint"']
            assert response.headers.getRawHeaders("content-type") == ["text/plain; charset=UTF-8"]
            assert body.startswith(b"401 Unauthorized")


@pytest.mark.parametrize("header", ["Digest x", "Basic", "Basic ???",
                                    "Basic " + base64.b64encode(b"admin").decode()])
async def test_credentials_that_cannot_be_read_are_refused(header: str) -> None:
    async with bench() as b:
        assert await b.status_of("GET", "/status.xml", auth=None, headers={"Authorization": header}) == 401


async def test_failed_logins_lock_the_user_out_even_with_the_right_password() -> None:
    async with bench("roomos26", rate_limit=False) as b:
        for _ in range(5):
            assert await b.status_of("GET", "/status.xml", auth=WRONG) == 401
        assert await b.status_of("GET", "/status.xml") == 401
        assert b.codec.exchanges[-1].outcome == "locked"
        b.clock.advance(299)
        assert await b.status_of("GET", "/status.xml") == 401
        b.clock.advance(1)
        assert await b.status_of("GET", "/status.xml") == 200


async def test_a_good_login_forgives_failed_ones_and_requests_without_credentials_do_not_count() -> None:
    async with bench("roomos26", rate_limit=False) as b:
        for auth in (WRONG, WRONG, WRONG, WRONG, AUTH, WRONG, WRONG, WRONG, WRONG, None, None):
            await b.status_of("GET", "/status.xml", auth=auth)
        assert await b.status_of("GET", "/status.xml") == 200


async def test_other_users_names_do_not_lock_the_user() -> None:
    async with bench("roomos26", rate_limit=False) as b:
        for _ in range(6):
            assert await b.status_of("GET", "/status.xml", auth=("eve", "x")) == 401
        assert await b.status_of("GET", "/status.xml") == 200


async def test_by_default_older_software_never_locks_out() -> None:
    async with bench("ce9") as b:
        for _ in range(8):
            await b.status_of("GET", "/status.xml", auth=WRONG)
        assert await b.status_of("GET", "/status.xml") == 200


@pytest.mark.parametrize(("kind", "status", "sign"), [("page", 200, b"<html>"), ("redirect", 302, b"")])
async def test_a_failed_login_may_look_like_a_sign_in_page(kind: Any, status: int, sign: bytes) -> None:
    async with bench("tc7", switches=Switches(login_failure=kind)) as b:
        response, body = await b.ask("GET", "/status.xml", auth=WRONG)
        assert response.code == status
        assert sign in body
        if kind == "redirect":
            assert response.headers.getRawHeaders("location") == ["/web/signin"]


@pytest.mark.parametrize(("refusal", "put_status", "private_status"),
                         [("error", 200, 403), ("401", 401, 401), ("403", 403, 403)])
async def test_an_integrator_may_read_but_not_push(refusal: Any, put_status: int, private_status: int) -> None:
    async with bench(role="integrator", switches=Switches(role_refusal=refusal)) as b:
        assert await b.status_of("GET", "/status.xml") == 200
        assert await b.status_of("POST", "/putxml", put_document(json_booking())) == put_status
        assert await b.push(xml_booking()) == private_status
        assert (await b.run(command("List")))[0].get("status") == "OK"
        assert b.codec.bookings == ()
        assert [(p.kind, p.accepted) for p in b.codec.pushes] == [("json", False), ("xml", False)]


async def test_the_role_user_may_push_by_the_private_path_but_not_put() -> None:
    async with bench(role="user") as b:
        status, reason = await b.put(json_booking())
        assert (status, "role" in (reason or "")) == ("Error", True)
        assert await b.push(xml_booking()) == 200
        assert len(b.codec.bookings) == 1


# --- sessions ---

async def test_a_session_cookie_stands_for_the_login_until_the_session_ends() -> None:
    async with bench("roomos11", rate_limit=False) as b:
        response, _ = await b.ask("POST", "/xmlapi/session/begin")
        assert response.code == 204
        (cookie,) = response.headers.getRawHeaders("set-cookie")
        assert cookie.startswith("SessionId=")
        headers = {"Cookie": cookie.split(";")[0]}
        assert await b.status_of("GET", "/status.xml", auth=None, headers=headers) == 200
        assert await b.status_of("POST", "/xmlapi/session/end", auth=None, headers=headers) == 204
        assert await b.status_of("GET", "/status.xml", auth=None, headers=headers) == 401
        assert await b.status_of("POST", "/xmlapi/session/end") == 204
        assert b.codec.exchanges[-1].outcome == "there was no session"


async def test_twenty_sessions_are_the_most() -> None:
    async with bench() as b:
        assert [await b.status_of("POST", "/xmlapi/session/begin") for _ in range(21)] == [204] * 20 + [503]
        b.codec.reboot()
        assert await b.status_of("POST", "/xmlapi/session/begin") == 204


async def test_tc_software_has_no_sessions_and_redirects() -> None:
    async with bench("tc7") as b:
        assert await b.status_of("POST", "/xmlapi/session/begin") == 302
        assert await b.status_of("POST", "/xmlapi/session/end") == 302


# --- rate limit ---

async def test_with_basic_one_request_a_second_is_processed_thirty_wait_and_the_rest_gets_503() -> None:
    async with bench("roomos11") as b:
        assert await b.status_of("GET", "/status.xml") == 200
        waiting = [ensureDeferred(b.status_of("GET", "/status.xml")) for _ in range(30)]
        while b.codec.waiting < 30:
            await settle()
        assert await b.status_of("GET", "/status.xml") == 503
        assert not any(d.called for d in waiting)
        b.clock.advance(1)
        while not any(d.called for d in waiting):
            await settle()
        assert sum(d.called for d in waiting) == 1
        for _ in range(29):
            b.clock.advance(1)
        assert [await d for d in waiting] == [200] * 30


async def test_with_a_session_fifteen_requests_a_second_are_processed() -> None:
    async with bench("roomos26") as b:
        response, _ = await b.ask("POST", "/xmlapi/session/begin")
        headers = {"Cookie": response.headers.getRawHeaders("set-cookie")[0].split(";")[0]}
        waiting = [ensureDeferred(b.status_of("GET", "/status.xml", auth=None, headers=headers))
                   for _ in range(91)]
        while b.codec.waiting < 90:
            await settle()
        assert await b.status_of("GET", "/status.xml", auth=None, headers=headers) == 503
        b.clock.pump([1 / 15] * 91)
        assert [await d for d in waiting] == [200] * 91


async def test_a_caller_who_leaves_the_queue_makes_room() -> None:
    async with bench("roomos11") as b:
        await b.status_of("GET", "/status.xml")
        leaving: Deferred[Any] = ensureDeferred(b.ask("GET", "/status.xml"))
        while not b.codec.waiting:
            await settle()
        leaving.addErrback(lambda _: None)
        leaving.cancel()
        while b.codec.waiting:
            await settle()


async def test_older_software_has_no_rate_limit() -> None:
    async with bench("ce9") as b:
        assert [await b.status_of("GET", "/status.xml") for _ in range(40)] == [200] * 40


# --- HTTP ---

async def test_tc_software_answers_417_to_expect_and_takes_nothing_in() -> None:
    async with bench("tc7") as b:
        token = base64.b64encode(b"admin:codec")
        body = xml_document(xml_booking()).encode()
        answer = await b.converse(b"POST /bookingsputxml HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                                  b"Authorization: Basic %s\r\nContent-Length: %d\r\n\r\n%s"
                                  % (token, len(body), body))
        assert answer.startswith(b"HTTP/1.1 417 ")
        assert b.codec.bookings == ()
        assert [(e.method, e.path, e.status) for e in b.codec.exchanges] == [("POST", "/bookingsputxml", 417)]


async def test_newer_software_continues_on_expect() -> None:
    async with bench("ce9") as b:
        answer = await b.converse(b"GET /status.xml HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                                  b"Connection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 100 ")


async def test_a_body_over_the_limit_gets_413_and_is_not_kept() -> None:
    async with bench(limits=Limits(body_bytes=2000)) as b:
        assert await b.status_of("POST", "/bookingsputxml", xml_document(*[xml_booking()] * 40)) == 413
        assert b.codec.bookings == ()
        assert await b.push(xml_booking()) == 200


async def test_methods_and_paths_that_do_not_exist_are_refused() -> None:
    async with bench() as b:
        assert await b.status_of("POST", "/status.xml") == 405
        assert await b.status_of("GET", "/putxml") == 405
        assert await b.status_of("GET", "/xmlapi/session/begin") == 405
        assert await b.status_of("GET", "/web/signin") == 404
        response, body = await b.ask("HEAD", "/status.xml")
        assert (response.code, body) == (200, b"")


async def test_https_with_its_own_certificate_is_served_and_gives_a_secure_cookie(tmp_path: Path) -> None:
    made = make_certificates(tmp_path, ["localhost"], datetime.now(UTC))
    codec = Codec("roomos26", now=lambda: NOON, clock=Clock())
    port = codec.listen(reactor, made.certificate, made.private_key)
    plain = codec.listen_http(reactor, redirect_to=port)
    other = codec.listen_http(reactor, redirect_to=port, status=301)
    agent = Agent(reactor, tls_policy(made.ca_certificate, verify=True))  # type: ignore[no-untyped-call]
    try:
        response = await treq.post(f"https://127.0.0.1:{port}/xmlapi/session/begin", agent=agent, auth=AUTH)
        await response.content()
        assert response.code == 204
        (cookie,) = response.headers.getRawHeaders("set-cookie")
        assert cookie.startswith("SecureSessionId=")
        assert cookie.endswith("; Path=/; secure; HttpOnly; SameSite=Strict")
        for http_port, status in ((plain, 307), (other, 301)):
            response = await treq.post(f"http://127.0.0.1:{http_port}/putxml?a=b", agent=agent,
                                       allow_redirects=False)
            await response.content()
            assert response.code == status
            assert response.headers.getRawHeaders("location") == [f"https://127.0.0.1:{port}/putxml?a=b"]
    finally:
        await codec.stop()
        await settle()


def test_an_unknown_profile_is_named_with_those_that_exist() -> None:
    with pytest.raises(ValueError, match=r"no profile 'ce99'; there are tc7, .*roomos26"):
        Codec("ce99", now=lambda: NOON, clock=Clock())


# --- faults ---

async def fails(b: Bench, document: str) -> None:
    with pytest.raises(ResponseFailed):
        await b.ask("POST", "/bookingsputxml", document)


async def test_a_reset_comes_before_and_a_lost_answer_after_the_list_was_replaced() -> None:
    async with bench() as b:
        b.codec.fail("reset", times=1)
        await fails(b, xml_document(xml_booking()))
        assert b.codec.bookings == ()
        b.codec.fail("lost", times=1)
        await fails(b, xml_document(xml_booking()))
        assert len(b.codec.bookings) == 1
        assert await b.push() == 200
        assert [e.status for e in b.codec.exchanges] == [None, None, 200]


async def test_a_503_strikes_as_often_as_told_and_only_its_path() -> None:
    async with bench() as b:
        b.codec.fail("503", times=2, path="/putxml")
        assert await b.status_of("GET", "/status.xml") == 200
        assert [await b.status_of("POST", "/putxml", command("List")) for _ in range(3)] == [503, 503, 200]


async def test_answers_may_break_off_or_be_empty_although_the_command_was_run() -> None:
    async with bench() as b:
        b.codec.fail("truncated", times=1)
        _, body = await b.ask("POST", "/putxml", put_document(json_booking()))
        assert body.startswith(b"<?xml")
        assert not body.rstrip().endswith(b"</Command>")
        assert len(b.codec.bookings) == 1
        b.codec.fail("empty")
        assert [(await b.ask("POST", "/putxml", command("List")))[1] for _ in range(2)] == [b"", b""]
        b.codec.heal()
        assert (await b.run(command("List")))[0].get("status") == "OK"


async def test_a_slow_answer_takes_25_seconds() -> None:
    async with bench() as b:
        b.codec.fail("slow", times=2)
        slow = ensureDeferred(b.status_of("GET", "/status.xml"))
        while not b.codec.waiting:
            await settle()
        b.clock.advance(24.9)
        await settle()
        assert not slow.called
        b.clock.advance(0.1)
        assert await slow == 200
        impatient: Deferred[Any] = ensureDeferred(b.ask("GET", "/status.xml")).addErrback(lambda _: None)
        while not b.codec.waiting:
            await settle()
        impatient.cancel()
        while b.codec.waiting:
            await settle()


async def test_a_request_may_never_be_answered() -> None:
    async with bench() as b:
        b.codec.fail("timeout", times=1)
        waiting: Deferred[Any] = ensureDeferred(b.ask("GET", "/status.xml"))
        while not b.codec.exchanges:
            await settle()
        assert b.codec.exchanges[0].outcome == "never answered"
        assert not waiting.called
        waiting.addErrback(lambda _: None)


async def test_stopping_drops_what_is_in_progress() -> None:
    async with bench("roomos11") as b:
        b.codec.fail("slow", times=1)
        pending: list[Deferred[Any]] = [ensureDeferred(b.ask("GET", "/status.xml")) for _ in range(3)]
        for request in pending:
            request.addErrback(lambda failure: failure.type)
        while b.codec.waiting < 3:
            await settle()
        await b.codec.stop()
        assert [issubclass(await d, ResponseFailed) for d in pending] == [True] * 3
        assert b.codec.waiting == 0


# --- what it holds and shows ---

async def test_join_is_offered_from_the_start_buffer_to_the_end_buffer() -> None:
    async with bench() as b:
        await b.push(xml_booking("a"), xml_booking("b", calls="", mode="Manual"))
        start, end = NOON, NOON + timedelta(minutes=45)
        for moment, offered in ((start - timedelta(seconds=301), False), (start - timedelta(seconds=300), True),
                                (end, True), (end + timedelta(seconds=59), True),
                                (end + timedelta(seconds=60), False)):
            assert [x.id for x in b.codec.joinable(moment)] == (["a"] if offered else []), moment


async def test_overlapping_meetings_offer_more_than_one_join() -> None:
    async with bench() as b:
        await b.put(json_booking("a"), json_booking("b"))
        assert [x.id for x in b.codec.joinable(NOON)] == ["a", "b"]


async def test_a_reboot_empties_the_list_and_ends_sessions_unless_it_keeps_them() -> None:
    changes: list[int] = []
    async with bench(on_change=lambda: changes.append(1)) as b:
        await b.put(json_booking())
        b.codec.reboot(keep=True)
        assert [x.id for x in b.codec.bookings] == ["b-1"]
        b.codec.reboot()
        assert list(b.codec.bookings) == []
        assert len(changes) == 3


async def test_a_reboot_drops_connections() -> None:
    async with bench() as b:
        b.codec.fail("timeout", times=1)
        waiting = ensureDeferred(b.ask("GET", "/status.xml"))
        while not b.codec.exchanges:
            await settle()
        b.codec.reboot()
        with pytest.raises(ResponseFailed):
            await waiting


async def test_a_client_of_another_library_is_served_alike() -> None:
    import requests

    async with bench("ce9") as b:
        document = put_document(json_booking()).encode()
        answer = await deferToThread(lambda: requests.post(b.url + "/putxml", document, auth=AUTH, timeout=20))
        assert answer.status_code == 200
        assert answer.text == ('<?xml version="1.0"?>\n<Command>\n  <BookingsPutResult status="OK" item="1"/>\n'
                               "</Command>\n")
