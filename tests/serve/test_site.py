"""The calendar site in memory: routes, logins, limits, times, log lines and what the board is told."""

from __future__ import annotations

import base64
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from lxml import etree
from twisted.internet.address import IPv4Address

from otjd.operate.logs import LogOutput
from otjd.serve.calls import Account, Call, Reply
from otjd.serve.limits import Limits
from otjd.serve.site import SiteSettings
from tests.conftest import LoggedFailures
from tests.serve.clients import NtlmClient, basic, digest
from tests.serve.http_world import (
    BOARDROOM,
    LOUNGE,
    NOW,
    PATH,
    PROXY,
    Answer,
    Site,
    Wire,
    read_answers,
    request,
)

RIGHT = basic("boardroom", "poly-secret")
WRONG = basic("boardroom", "wrong-secret")
BODY_LIMIT = Limits().body_bytes


def lines(events: list[dict[str, Any]]) -> list[str]:
    """What an operator's log would show, without its time and namespace."""
    from io import StringIO

    out = StringIO()
    output = LogOutput(stream=out)
    for event in events:
        output(event)
    return [line.partition("] ")[2] for line in out.getvalue().splitlines()]


@pytest.fixture
def world() -> Site:
    return Site()


@pytest.fixture
def wire(world: Site) -> Wire:
    return world.connect()


@pytest.mark.parametrize("path", [
    PATH, "/ews/exchange.asmx", "/EWS/EXCHANGE.ASMX/", "//ews//Exchange.asmx", "/EWS/Exchange%2Easmx",
    "/EWS/Exchange.asmx?x=1", "https://otj.example.com/EWS/Exchange.asmx", "HTTP://10.0.0.9:443/ews/exchange.asmx"])
def test_a_route_is_found_whatever_its_letter_case_slashes_and_form(world: Site, wire: Wire, path: str) -> None:
    answer = wire.ask(path=path, Authorization=RIGHT)
    assert (answer.status, answer.body) == (200, b"<answer/>")
    assert world.calls[0].path.lower().strip("/").replace("//", "/") == "ews/exchange.asmx"


def test_a_service_is_called_with_everything_it_needs_and_no_credentials(world: Site, wire: Wire) -> None:
    wire.ask(Authorization=RIGHT, Cookie="exchangecookie=1", Content_Type="text/xml", User_Agent="Poly\t1\x9b2",
             X_AnchorMailbox="room@example.com")
    assert world.calls == [Call(
        account=BOARDROOM, scheme="basic", method="POST", path=PATH, base_url="http://otj.example.com",
        content_type="text/xml", body=b"<ask/>", client_address="10.0.0.1", user_agent="Poly 1 2")]


def test_an_anchor_mailbox_is_a_hint_for_routing_and_no_more(world: Site, wire: Wire) -> None:
    answer = wire.ask(Authorization=RIGHT, X_AnchorMailbox=LOUNGE.room.email)
    assert (answer.status, answer.body) == (200, b"<answer/>")
    assert world.calls[0].account == BOARDROOM


def test_an_answer_has_the_headers_of_exchange_and_no_banner(wire: Wire) -> None:
    answer = wire.ask(Authorization=RIGHT)
    assert answer.header("content-type") == "text/xml; charset=utf-8"
    assert answer.header("cache-control") == "private"
    assert answer.header("content-length") == "9"
    assert answer.header("server") == "otjd"
    assert answer.header("date").endswith("GMT")
    assert answer.all("transfer-encoding") == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_service_hears_of_get_head_and_post(world: Site, wire: Wire, method: str) -> None:
    answer = wire.ask(method, body=b"", Authorization=RIGHT)
    assert answer.status == 200
    assert answer.header("content-length") == "9"
    assert world.calls[0].method == method


@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "DELETE", "post", "x" * 100])
def test_another_method_is_refused_with_those_allowed(world: Site, wire: Wire, method: str) -> None:
    answer = wire.ask(method, Authorization=RIGHT)
    assert (answer.status, answer.header("allow")) == (405, "GET, HEAD, POST")
    assert not world.calls


@pytest.mark.parametrize("path", ["/", "/EWS", "/owa", "/../etc/passwd", "/%00", "/<script>", "*"])
def test_another_path_is_a_short_plain_404(wire: Wire, path: str) -> None:
    answer = wire.ask("GET", path)
    assert answer.status == 404
    assert answer.header("content-type").startswith("text/plain")
    assert len(answer.body) < 40
    assert answer.all("www-authenticate") == []
    assert not wire.is_closed


@pytest.mark.parametrize("path", ["/healthz", "/HealthZ/"])
def test_health_is_told_to_everybody(world: Site, wire: Wire, path: str) -> None:
    for ready, status, body in ((True, 200, b"ok\n"), (False, 503, b"starting\n")):
        world.ready = ready
        answer = wire.ask("GET", path, b"")
        assert (answer.status, answer.body) == (status, body)


def test_without_credentials_the_body_is_drained_and_the_connection_stays_open(world: Site, wire: Wire) -> None:
    answer = wire.ask(body=b"x" * 100_000)
    assert answer.status == 401
    assert [c.split()[0] for c in answer.all("www-authenticate")] == ["Digest", "NTLM", "Basic"]
    assert (answer.body, answer.header("content-length")) == (b"", "0")
    assert not wire.is_closed
    header = digest(answer.all("www-authenticate")[0], "boardroom", "poly-secret")
    assert wire.ask(Authorization=header).status == 200
    assert [c.scheme for c in world.calls] == ["digest"]


def test_a_body_that_nobody_signs_in_to_send_is_not_kept(wire: Wire) -> None:
    wire.send(request(Content_Length="500000", body=b""))
    wire.send(b"x" * 400_000)
    (pending,) = wire.channel.requests
    assert pending.content.getvalue() == b""
    assert wire.send(b"x" * 100_000)[0].status == 401


@pytest.mark.parametrize("first", [("POST", b""), ("POST", b"<ask/>" * 1000), ("GET", b"")])
def test_ntlm_takes_three_legs_of_any_method_and_then_none(
        world: Site, wire: Wire, first: tuple[str, bytes]) -> None:
    client = NtlmClient("boardroom", "poly-secret")
    challenge = wire.ask(first[0], body=first[1], Authorization=client.first)
    assert challenge.status == 401
    signed_in = wire.ask(Authorization=client.second(challenge.header("www-authenticate")))
    assert (signed_in.status, signed_in.header("persistent-auth")) == (200, "true")
    silent = wire.ask(body=b"<second/>")
    assert (silent.status, silent.all("persistent-auth")) == (200, [])
    assert [(c.account, c.scheme, c.body) for c in world.calls] == [
        (BOARDROOM, "ntlm", b"<ask/>"), (BOARDROOM, "ntlm", b"<second/>")]
    assert world.connect().ask().status == 401


def test_pipelined_requests_are_answered_in_order(world: Site, wire: Wire) -> None:
    sent = b"".join(request(body=f"<n{n}/>".encode(), Authorization=RIGHT) for n in range(20))
    answers = wire.send(sent + request("GET", "/nothing"))
    assert [a.status for a in answers] == [200] * 20 + [404]
    assert [c.body for c in world.calls] == [f"<n{n}/>".encode() for n in range(20)]


def test_a_request_that_comes_byte_by_byte_is_read(world: Site, wire: Wire) -> None:
    for byte in request(Authorization=RIGHT)[:-1]:
        assert wire.send(bytes([byte])) == []
    assert wire.send(b">")[0].status == 200
    assert world.calls[0].body == b"<ask/>"


def test_a_chunked_body_is_read(world: Site, wire: Wire) -> None:
    head = request(Authorization=RIGHT, Transfer_Encoding="chunked", Content_Length="", body=b"")
    (answer,) = wire.send(head + b"3\r\n<as\r\n3\r\nk/>\r\n0\r\n\r\n")
    assert answer.status == 200
    assert world.calls[0].body == b"<ask/>"


def test_a_client_that_expects_100_gets_it(world: Site, wire: Wire) -> None:
    head = request(Authorization=RIGHT, Expect="100-continue", body=b"", Content_Length="6")
    (go_on,) = wire.send(head)
    assert go_on.status == 100
    assert wire.send(b"<ask/>")[0].status == 200
    assert world.calls[0].body == b"<ask/>"


def test_the_largest_body_is_read_and_one_byte_more_refused(world: Site, wire: Wire) -> None:
    assert wire.ask(body=b"x" * BODY_LIMIT, Authorization=RIGHT).status == 200
    assert len(world.calls[0].body) == BODY_LIMIT
    answer = wire.ask(body=b"x" * (BODY_LIMIT + 1), Authorization=RIGHT)
    assert answer.status == 413
    assert answer.header("connection") == "close"
    assert str(BODY_LIMIT) in answer.body.decode()


def test_a_client_that_expects_100_for_too_much_gets_413_at_once(wire: Wire) -> None:
    answers = wire.send(request(Expect="100-continue", body=b"", Content_Length="10000000"))
    assert [a.status for a in answers] == [413]


def test_a_refused_client_may_end_what_it_is_sending_and_is_then_cut(world: Site, wire: Wire) -> None:
    assert wire.ask(body=b"", Content_Length="10000000").status == 413
    for _ in range(8):
        world.reactor.advance(0.9)
        assert wire.send(b"x" * 65536) == []
        assert not wire.is_closed
    assert wire.send(request(Authorization=RIGHT)) == []
    world.reactor.advance(1.0)
    assert wire.is_closed
    assert not world.calls
    assert not world.reactor.getDelayedCalls()


def test_a_refused_client_that_never_stops_is_cut_all_the_same(world: Site, wire: Wire) -> None:
    wire.send(request(body=b"", Content_Length="100000000"))
    for _ in range(20):
        if not wire.is_closed:
            wire.send(b"x")
            world.reactor.advance(0.6)
    assert wire.is_closed
    assert not world.reactor.getDelayedCalls()


def test_chunks_are_refused_when_they_become_too_many_and_are_not_kept(wire: Wire) -> None:
    wire.send(request(Authorization=RIGHT, Transfer_Encoding="chunked", Content_Length="", body=b""))
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    answers = [a for _ in range(40) for a in wire.send(chunk)]
    assert [a.status for a in answers] == [413]
    assert len(wire.channel.requests[0].content.getvalue()) <= BODY_LIMIT


@pytest.mark.parametrize(("sent", "status"), [
    (b"nonsense\r\n\r\n", 400),
    (b"GET /healthz HTTP/1.1\r\nno colon here\r\n\r\n", 400),
    (b"GET /healthz HTTP/1.1\r\nbad name: x\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nContent-Length: " + b"0" * 5000 + b"\r\nHost: x\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + b"".join(b"h%d: x\r\n" % n for n in range(150)) + b"\r\n", 431),
    (b"GET / HTTP/1.1\r\n" + b"".join(b"h%d: %b\r\n" % (n, b"x" * 4000) for n in range(9)) + b"\r\n", 431),
    (b"GET / HTTP/1.1\r\nh: " + b"x" * 40_000, 431),
])
def test_what_is_no_request_is_refused_once_and_the_connection_ends(
        world: Site, wire: Wire, sent: bytes, status: int, logged_events: list[dict[str, Any]]) -> None:
    assert [a.status for a in wire.send(sent + request(Authorization=RIGHT))] == [status]
    world.reactor.advance(2)
    assert wire.is_closed
    assert not world.calls
    assert len(lines(logged_events)) == 1
    assert lines(logged_events)[0].startswith(f"A request of 10.0.0.1 was refused with {status}: ")


@pytest.mark.parametrize(("authorization", "status"), [(RIGHT, 200), (basic("boardroom", "wrong"), 401)])
def test_who_has_an_answer_finds_it_in_the_log_and_on_the_board(
        world: Site, wire: Wire, logged_events: list[dict[str, Any]], authorization: str, status: int) -> None:
    known: list[tuple[int, bool]] = []
    send = wire.transport.write

    def write(data: bytes) -> None:
        state = world.endpoint()
        known.append((len(lines(logged_events)), bool(state.last_contact_time or state.last_error)))
        send(data)

    wire.transport.write = write
    assert wire.ask(Authorization=authorization).status == status
    assert known == [(1, True)]


def test_an_idle_connection_is_ended_after_two_minutes(world: Site, wire: Wire,
                                                       logged_events: list[dict[str, Any]]) -> None:
    wire.ask("GET", "/healthz", b"")
    world.reactor.advance(119)
    assert not wire.is_closed
    world.reactor.advance(1)
    assert wire.is_closed
    assert lines(logged_events) == []
    assert not world.reactor.getDelayedCalls()


def test_a_request_that_trickles_in_is_ended_after_thirty_seconds(world: Site, wire: Wire) -> None:
    answers = []
    for byte in request(Authorization=RIGHT)[:60]:
        answers += wire.send(bytes([byte]))
        world.reactor.advance(1)
    answers += wire.read()
    assert [a.status for a in answers] == [408]
    assert wire.is_closed
    assert not world.reactor.getDelayedCalls()


def test_time_between_requests_does_not_count_against_the_next(world: Site, wire: Wire) -> None:
    for _ in range(5):
        assert wire.ask(Authorization=RIGHT).status == 200
        world.reactor.advance(29)
    assert wire.ask(Authorization=RIGHT).status == 200


def test_a_client_that_asks_for_it_is_disconnected_after_the_answer(wire: Wire) -> None:
    assert wire.ask(Authorization=RIGHT, Connection="close").status == 200
    assert wire.is_closed


@pytest.mark.parametrize(("version", "connection", "stays", "told"), [
    ("1.1", "", True, []), ("1.1", "keep-alive", True, []), ("1.1", "close", False, ["close"]),
    ("1.1", "TE, Close", False, ["close"]), ("1.0", "", False, ["close"]), ("1.0", "close", False, ["close"]),
    ("1.0", "Keep-Alive", True, ["Keep-Alive"]), ("1.0", "keep-alive, close", False, ["close"])])
def test_a_connection_stays_open_as_its_client_asks(
        wire: Wire, version: str, connection: str, stays: bool, told: list[str]) -> None:
    sent = request(Authorization=RIGHT, Connection=connection).replace(b"HTTP/1.1", f"HTTP/{version}".encode())
    (answer,) = wire.send(sent)
    assert (answer.status, answer.all("connection")) == (200, told)
    assert wire.is_closed is not stays


def test_ntlm_signs_in_a_client_of_http_1_0_that_keeps_its_connection(world: Site, wire: Wire) -> None:
    def ask(authorization: str = "") -> Answer:
        sent = request(Authorization=authorization, Connection="Keep-Alive").replace(b"HTTP/1.1", b"HTTP/1.0")
        (answer,) = wire.send(sent)
        return answer

    client = NtlmClient("boardroom", "poly-secret")
    challenge = ask(client.first)
    assert challenge.status == 401
    assert ask(client.second(challenge.header("www-authenticate"))).status == 200
    assert ask().status == 200
    assert [call.scheme for call in world.calls] == ["ntlm", "ntlm"]


@pytest.mark.parametrize("sent", [
    request(Expect="100-continue", body=b"", Content_Length="10000000"),
    request(Expect="100-continue", body=b"", h="x" * 20_000),
    request(Expect="100-continue", body=b"", Content_Length="x")])
def test_who_is_refused_is_not_told_to_go_on(wire: Wire, sent: bytes) -> None:
    assert [a.status // 100 for a in wire.send(sent)] == [4]


def test_a_client_of_http_1_0_is_never_told_to_go_on(wire: Wire) -> None:
    sent = request(Authorization=RIGHT, Expect="100-continue").replace(b"HTTP/1.1", b"HTTP/1.0")
    assert [a.status for a in wire.send(sent)] == [200]


def test_a_pipelined_request_waits_for_its_turn_before_it_is_told_to_go_on(world: Site, wire: Wire) -> None:
    for _ in range(5):
        world.connect().ask(Authorization=WRONG)
    late = request(Authorization=WRONG) + request(Authorization=RIGHT, Expect="100-continue", body=b"",
                                                  Content_Length="6")
    assert wire.send(late) == []
    world.reactor.advance(0.25)
    assert [a.status for a in wire.read()] == [401, 100]
    assert [a.status for a in wire.send(b"<ask/>")] == [200]


CHAIN = SiteSettings(authentication=("basic",), trusted_proxies=(
    ip_network("192.0.2.0/24"), ip_network("2001:db8:ffff::/48")))


@pytest.mark.parametrize(("peer", "forwarded", "address"), [
    ("192.0.2.1", "6.6.6.6, 1.2.3.4, 192.0.2.7, 2001:db8:ffff::1", "1.2.3.4"),
    ("192.0.2.1", "192.0.2.9, 1.2.3.4, 192.0.2.7", "1.2.3.4"),
    ("192.0.2.1", "6.6.6.6, [2001:db8::9]:50000, [2001:db8:ffff::1]:443", "2001:db8::9"),
    ("192.0.2.1", "1.2.3.4:50000,192.0.2.7:443", "1.2.3.4"), ("192.0.2.1", "192.0.2.7, 192.0.2.8", "192.0.2.7"),
    ("192.0.2.1", "6.6.6.6, 10.0.0.7, 192.0.2.7", "10.0.0.7"), ("10.0.0.7", "1.2.3.4, 192.0.2.7", "10.0.0.7"),
    ("192.0.2.1", ", ".join(["1.2.3.4", *["192.0.2.7"] * 100]), "192.0.2.7")])
def test_of_several_proxies_the_first_that_is_not_trusted_is_the_client(
        peer: str, forwarded: str, address: str) -> None:
    world = Site(settings=CHAIN)
    world.connect(peer).ask(Authorization=RIGHT, X_Forwarded_For=forwarded)
    assert world.calls[0].client_address == address


def test_two_lines_of_forwarded_addresses_are_one(world: Site) -> None:
    twice = request(Authorization=RIGHT, X_Forwarded_For="6.6.6.6, 1.2.3.4").replace(
        b"\r\n\r\n", b"\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n", 1)
    world.connect(PROXY).send(twice)
    assert world.calls[0].client_address == "1.2.3.4"


def test_failures_count_against_the_client_behind_the_proxy_whatever_it_forges() -> None:
    world = Site(settings=CHAIN)
    for n in range(5):
        world.connect("192.0.2.1").ask(Authorization=WRONG, X_Forwarded_For=f"6.6.6.{n}, 1.2.3.4")
    assert world.connect("192.0.2.1").send(request(Authorization=WRONG, X_Forwarded_For="9.9.9.9, 1.2.3.4")) == []
    assert world.connect("192.0.2.1").ask(Authorization=WRONG, X_Forwarded_For="1.2.3.5").status == 401
    assert world.connect("192.0.2.1").ask(Authorization=RIGHT, X_Forwarded_For="1.2.3.4").status == 200


@pytest.mark.parametrize(("peer", "forwarded", "address"), [
    ("10.0.0.1", "1.2.3.4", "10.0.0.1"),  # not a proxy that is trusted
    (PROXY, "1.2.3.4", "1.2.3.4"), (PROXY, "6.6.6.6, 1.2.3.4", "1.2.3.4"),
    (PROXY, "1.2.3.4, 192.0.2.1", "1.2.3.4"),
    (PROXY, "", PROXY), (PROXY, "unknown", PROXY), (PROXY, "[2001:db8::1]:443", "2001:db8::1"),
    (PROXY, "1.2.3.4:5678", "1.2.3.4"), (PROXY, "1.2.3.4, junk, 192.0.2.1", PROXY),
    (PROXY, "::ffff:1.2.3.4", "1.2.3.4")])
def test_the_address_behind_a_trusted_proxy_is_that_of_the_client(world: Site, peer: str, forwarded: str,
                                                                 address: str) -> None:
    world.connect(peer).ask(Authorization=RIGHT, X_Forwarded_For=forwarded)
    assert world.calls[0].client_address == address
    assert world.endpoint().address == address


@pytest.mark.parametrize(("peer", "host", "proto", "url"), [
    ("10.0.0.1", "otj.example.com", "", "http://otj.example.com"),
    ("10.0.0.1", "OTJ:8443", "", "http://OTJ:8443"),
    ("10.0.0.1", "[2001:db8::1]:8443", "", "http://[2001:db8::1]:8443"),
    ("10.0.0.1", "otj.example.com", "https", "http://otj.example.com"),
    (PROXY, "otj.example.com", "https", "https://otj.example.com"),
    (PROXY, "otj.example.com", "http, HTTPS", "https://otj.example.com"),
    (PROXY, "otj.example.com", "gopher", "http://otj.example.com"),
    ("10.0.0.1", "", "", "http://10.0.0.9:443"),
    ("10.0.0.1", "a.example/evil", "", "http://10.0.0.9:443"),
    ("10.0.0.1", "<script>", "", "http://10.0.0.9:443"),
    ("10.0.0.1", "user@a.example", "", "http://10.0.0.9:443")])
def test_our_own_address_is_what_the_client_called_us_if_that_is_harmless(
        world: Site, peer: str, host: str, proto: str, url: str) -> None:
    world.connect(peer).ask(Authorization=RIGHT, Host=host, X_Forwarded_Proto=proto)
    assert world.calls[0].base_url == url


def test_two_hosts_in_one_request_are_not_believed(world: Site, wire: Wire) -> None:
    wire.ask(Authorization=RIGHT, host="other.example.com")
    assert world.calls[0].base_url == "http://10.0.0.9:443"


def test_a_success_is_reported_to_the_board_and_logged_in_one_line(
        world: Site, wire: Wire, logged_events: list[dict[str, Any]]) -> None:
    assert wire.ask(Authorization=RIGHT, User_Agent="Poly/1.0").status == 200
    state = world.endpoint()
    assert (state.last_contact_time, state.address, state.number_of_meetings, state.last_operation,
            state.last_user_agent, state.last_scheme, state.last_error) == (
        NOW, "10.0.0.1", 3, "FindItem", "Poly/1.0", "basic", None)
    (line,) = lines(logged_events)
    assert line == ("FindItem of Boardroom Group 500 at 10.0.0.1 answered 200 in 0 ms (basic, Poly/1.0) "
                    "room=boardroom@example.com")


def test_a_success_like_the_one_before_is_no_news(
        world: Site, wire: Wire, logged_events: list[dict[str, Any]]) -> None:
    for user_agent in ("Poly/1.0", "Poly/1.0", "Poly/2.0", "Poly/2.0"):
        wire.ask(Authorization=RIGHT, User_Agent=user_agent)
    assert [event["user_agent"] for event in logged_events] == ["Poly/1.0", "Poly/2.0"]
    world.reply = Reply(200, b"<x/>", operation="GetItem", error="ErrorItemNotFound")
    wire.ask(Authorization=RIGHT, User_Agent="Poly/2.0")
    wire.ask(Authorization=RIGHT, User_Agent="Poly/2.0")
    assert [event["error"] for event in logged_events[2:]] == ["ErrorItemNotFound"] * 2


def test_every_success_is_logged_for_debugging(
        world: Site, wire: Wire, logged_events: list[dict[str, Any]]) -> None:
    world.site.reconfigure(accounts=world.accounts, settings=replace(world.settings, is_detailed=True))
    for _ in range(3):
        wire.ask(Authorization=RIGHT)
    assert [event["log_level"].name for event in logged_events] == ["info", "debug", "debug"]


@pytest.mark.parametrize(("reply", "in_contact"), [
    (Reply(200, b"<x/>", operation="GetItem", error="ErrorItemNotFound"), True),
    (Reply(500, b"<x/>", operation="LaunchRocket", error="ErrorInvalidRequest"), False),
    (Reply(415, b"", content_type=""), False)])
def test_an_error_in_the_answer_is_shown_without_an_alarm(
        world: Site, wire: Wire, reply: Reply, in_contact: bool, logged_events: list[dict[str, Any]]) -> None:
    world.reply = reply
    assert wire.ask(Authorization=RIGHT).status == reply.status
    assert (world.endpoint().last_contact_time is not None) is in_contact
    assert world.endpoint().last_error == (
        f"{reply.operation}: {reply.error}" if reply.error else f"POST: status {reply.status}")
    assert world.board.alarms() == ()
    assert len(lines(logged_events)) == 1
    assert logged_events[0]["log_level"].name == "warn"


def test_a_wrong_password_is_one_line_and_shown_without_an_alarm(
        world: Site, wire: Wire, logged_events: list[dict[str, Any]]) -> None:
    assert wire.ask(Authorization=WRONG).status == 401
    assert world.endpoint().last_error == "Login from 10.0.0.1 failed: wrong password"
    assert world.board.alarms() == ()
    (line,) = lines(logged_events)
    assert line == ("Login of 10.0.0.1 with basic failed: wrong password; answered 401 in 0 ms (POST "
                    '/EWS/Exchange.asmx, no user agent) endpoint="Boardroom Group 500"')


def test_an_unknown_user_is_one_line_and_touches_no_endpoint(
        world: Site, wire: Wire, logged_events: list[dict[str, Any]]) -> None:
    assert wire.ask(Authorization=basic("nobody\nFORGED\x1b[2J", "x")).status == 401
    assert [e.last_error for e in world.board.endpoints()] == [None, None]
    (line,) = lines(logged_events)
    assert 'unknown user name "nobody' in line
    assert "\x1b" not in line


def test_the_first_legs_of_a_login_are_lines_for_debugging(
        wire: Wire, logged_events: list[dict[str, Any]]) -> None:
    wire.ask()
    wire.ask(Authorization=NtlmClient("boardroom", "x").first)
    assert lines(logged_events) == []
    assert [e["log_level"].name for e in logged_events] == ["debug", "debug"]


def test_a_bug_in_a_service_is_a_soap_fault_that_tells_nothing(
        world: Site, wire: Wire, logged_failures: LoggedFailures) -> None:
    def broken(_: Call) -> Reply:
        raise KeyError("secret detail")

    world.site.reconfigure(accounts=world.accounts, settings=world.settings, routes={PATH.lower(): broken})
    answer = wire.ask(Authorization=RIGHT)
    assert answer.status == 500
    assert answer.header("content-type") == "text/xml; charset=utf-8"
    fault: Any = etree.fromstring(answer.body).find(".//{*}ResponseCode")
    assert fault.text == "ErrorInternalServerError"
    assert b"secret detail" not in answer.body
    (event,) = logged_failures.flush(KeyError)
    assert event["endpoint"] == BOARDROOM.endpoint
    assert world.endpoint().last_error == "POST: ErrorInternalServerError"
    assert wire.ask("GET", "/healthz").status == 200


def test_a_bug_of_the_site_is_answered_too(world: Site, wire: Wire, logged_failures: LoggedFailures) -> None:
    def broken() -> bool:
        raise ZeroDivisionError

    world.site._ready = broken
    assert wire.ask("GET", "/healthz").status == 500
    assert len(logged_failures.flush(ZeroDivisionError)) == 1


def test_an_address_that_keeps_failing_waits_and_a_right_password_does_not(
        world: Site, logged_events: list[dict[str, Any]]) -> None:
    delays = []
    for _ in range(12):
        wire = world.connect()
        answers = wire.send(request(Authorization=WRONG))
        waited = 0.0
        while not answers:
            world.reactor.advance(0.25)
            waited += 0.25
            answers = wire.read()
        assert [a.status for a in answers] == [401]
        delays.append(waited)
    assert delays == [0, 0, 0, 0, 0, 0.25, 0.5, 1, 2, 4, 4, 4]
    assert world.connect().ask(Authorization=RIGHT).status == 200
    assert world.connect("10.0.0.2").ask(Authorization=WRONG).status == 401
    shown = lines(logged_events)
    assert len(shown) == 14
    assert "which was delayed because the address keeps failing, in 4000 ms" in shown[11]
    assert shown[11].endswith("delay_s=4.0")
    assert "delay" not in shown[4]


def test_a_delayed_answer_forgets_a_client_that_went_away(world: Site) -> None:
    for _ in range(5):
        world.connect().ask(Authorization=WRONG)
    wire = world.connect()
    assert wire.send(request(Authorization=WRONG)) == []
    wire.close()
    world.reactor.advance(10)
    assert wire.transport.value() == b""


def test_failures_are_forgiven_after_a_while_and_never_by_a_success(world: Site) -> None:
    for _ in range(5):
        world.connect().ask(Authorization=WRONG)
    world.connect().ask(Authorization=RIGHT)
    assert world.connect().send(request(Authorization=WRONG)) == []
    world.reactor.advance(601)
    assert world.connect().ask(Authorization=WRONG).status == 401


def test_throttling_can_be_switched_off() -> None:
    world = Site(settings=SiteSettings(authentication=("basic",), throttle_failed_logins=False))
    assert [world.connect().ask(Authorization=WRONG).status for _ in range(20)] == [401] * 20


def test_the_next_request_on_a_connection_waits_for_a_delayed_answer(world: Site) -> None:
    for _ in range(5):
        world.connect().ask(Authorization=WRONG)
    wire = world.connect()
    assert wire.send(request(Authorization=WRONG) + request(Authorization=RIGHT)) == []
    world.reactor.advance(0.25)
    assert [a.status for a in wire.read()] == [401, 200]


def test_a_reload_changes_accounts_and_settings_and_keeps_connections(world: Site, wire: Wire) -> None:
    client = NtlmClient("boardroom", "poly-secret")
    challenge = wire.ask(Authorization=client.first).header("www-authenticate")
    wire.ask(Authorization=client.second(challenge))
    moved = replace(BOARDROOM, room=LOUNGE.room)
    world.site.reconfigure(accounts=[moved], settings=SiteSettings(authentication=("ntlm",)))
    assert wire.ask().status == 200
    assert world.calls[-1].account == moved
    assert world.connect().ask().all("www-authenticate") == ["NTLM"]
    world.site.reconfigure(accounts=[replace(moved, password="new")], settings=SiteSettings())
    assert wire.ask().status == 401
    assert not wire.is_closed


def test_a_reload_that_is_wrong_changes_nothing(world: Site, wire: Wire) -> None:
    with pytest.raises(ValueError, match="kerberos"):
        world.site.reconfigure(accounts=[], settings=SiteSettings(authentication=("kerberos",)))
    assert wire.ask(Authorization=RIGHT).status == 200


def test_fips_mode_offers_basic_alone() -> None:
    world = Site(settings=SiteSettings(fips=True))
    assert world.connect().ask().all("www-authenticate") == ['Basic realm="otjd"']
    assert world.connect().ask(Authorization=RIGHT).status == 200


def test_no_secret_is_logged_whatever_becomes_of_a_login(
        world: Site, wire: Wire, logged_events: list[dict[str, Any]]) -> None:
    wire.ask(Authorization=WRONG)
    wire.ask(Authorization=RIGHT)
    wire.ask(Authorization="Basic " + base64.b64encode(b"no-colon-secret").decode())
    challenge = wire.ask().all("www-authenticate")[0]
    header = digest(challenge, "boardroom", "poly-secret")
    wire.ask(Authorization=header)
    wire.ask(Authorization=header)
    shown = str(logged_events)
    for secret in ("poly-secret", "wrong-secret", "no-colon-secret", WRONG.split()[1], "response="):
        assert secret not in shown


async def test_connections_are_ended_on_request_those_that_do_not_let_go_too() -> None:
    from otjd.seam import deferred

    world = Site()
    polite, rude = world.connect(), world.connect()
    rude.transport.loseConnection = lambda: None
    done = deferred(world.site.close_connections())
    assert polite.is_closed
    assert not done.called
    world.reactor.advance(1)
    assert done.called
    assert not world.site.connections
    await world.site.close_connections()
    assert not world.reactor.getDelayedCalls()


def test_an_account_may_be_served_by_several_names_at_once() -> None:
    world = Site(accounts=(BOARDROOM, Account("boardroom2", "x", BOARDROOM.endpoint, BOARDROOM.room)))
    assert world.connect().ask(Authorization=basic("boardroom2", "x")).status == 200
    assert world.endpoint().last_contact_time == NOW


def test_answers_are_read_by_their_length_alone() -> None:
    with pytest.raises(AssertionError):
        read_answers(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n1234")


def many(headers: int) -> Any:
    return {f"h{n}": "x" for n in range(headers)}


def limited(**limits: int) -> Site:
    return Site(settings=SiteSettings(authentication=("basic",), limits=Limits(**limits)))


@pytest.mark.parametrize(("limits", "sent", "status"), [
    ({"body_bytes": 20_000}, request(Authorization=RIGHT, body=b"x" * 20_000), 200),
    ({"body_bytes": 20_000}, request(Authorization=RIGHT, body=b"x" * 20_001), 413),
    ({"headers": 20}, request(Authorization=RIGHT, **many(17)), 200),
    ({"headers": 20}, request(Authorization=RIGHT, **many(18)), 431),
    ({"header_bytes": 4096}, request(Authorization=RIGHT, h="x" * 3900), 200),
    ({"header_bytes": 4096}, request(Authorization=RIGHT, h="x" * 4096), 431),
    ({"header_bytes": 40_000}, request(Authorization=RIGHT, h="x" * 39_000), 200)])
def test_the_size_of_a_request_is_limited_as_configured(limits: dict[str, int], sent: bytes, status: int) -> None:
    assert [a.status for a in limited(**limits).connect().send(sent)] == [status]


def test_the_time_of_a_request_and_of_silence_are_limited_as_configured() -> None:
    world = limited(request_s=3, idle_s=7)
    slow, silent = world.connect(), world.connect()
    silent.ask("GET", "/healthz", b"")
    slow.send(b"POST / HT")
    world.reactor.advance(3)
    assert [a.status for a in slow.read()] == [408]
    world.reactor.advance(3)
    assert not silent.is_closed
    world.reactor.advance(1)
    assert silent.is_closed


def test_a_reload_changes_the_limits_of_the_next_request_on_open_connections_too() -> None:
    world = limited()
    wire = world.connect()
    body = b"x" * 30_000
    assert wire.ask(body=body, Authorization=RIGHT).status == 200
    world.site.reconfigure(accounts=world.accounts, settings=SiteSettings(
        authentication=("basic",), limits=Limits(body_bytes=20_000, idle_s=9)))
    assert wire.ask(body=body, Authorization=RIGHT).status == 413
    later = world.connect()
    world.reactor.advance(9)
    assert later.is_closed


def test_a_connection_is_counted_from_its_beginning_to_its_end() -> None:
    world = limited(connections=2)
    first, second = world.connect(), world.connect()
    assert world.site.buildProtocol(IPv4Address("TCP", "10.0.0.3", 50000)) is None
    first.close()
    assert world.connect("10.0.0.3").ask("GET", "/healthz", b"").status == 200
    assert not second.is_closed
    assert world.site.gate.connections == 2
