from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock, deferLater

from otjd.simulate.certificates import make_certificates
from otjd.simulate.codec_http import Connections
from otjd.simulate.poly import PRIVATE_SUBJECT, PolyEndpoint, PolyError, PolyRoom
from otjd.simulate.poly_dialling import sip_address, token_number
from tests.conftest import LoggedFailures
from tests.simulate.ews_double import PASSWORD, USER, EwsDouble, answer, fault, found, item, message, read, serve

reactor: Any = global_reactor
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
NAMES = {"m": "http://schemas.microsoft.com/exchange/services/2006/messages",
         "t": "http://schemas.microsoft.com/exchange/services/2006/types"}


@asynccontextmanager
async def world(directory: Path, served: str = "digest",
                **options: Any) -> AsyncIterator[tuple[EwsDouble, PolyEndpoint]]:
    """A calendar service of this scheme, and an endpoint that logs in by it unless an option says otherwise."""
    async with serve(served, directory) as (double, url):
        double.items["QUJD"] = item()
        settings = {"username": USER, "password": PASSWORD, "now": lambda: NOON, "reactor": reactor,
                    "scheme": served, **options}
        endpoint = PolyEndpoint(settings.pop("url", url), **settings)
        try:
            yield double, endpoint
        finally:
            await endpoint.close()


# --- logging in ---

@pytest.mark.parametrize("scheme", ["digest", "ntlm", "basic"])
async def test_each_scheme_logs_in_once_and_stays_on_one_connection(scheme: str, tmp_path: Path) -> None:
    async with world(tmp_path, scheme) as (double, endpoint):
        for _ in range(3):
            assert [m.subject for m in await endpoint.poll()] == ["Weekly"]
        assert len(double.channels) == 1
        assert len(double.calls("FindItem")) == 3
        assert endpoint.requests == {"digest": 5, "ntlm": 5, "basic": 5}[scheme]
        if scheme == "digest":
            assert len(double.counts) == 4  # each request has its own count
        if scheme == "ntlm":
            assert double.authorizations[2:] == [""] * 3  # the connection is what was authenticated


@pytest.mark.parametrize(("scheme", "empty"), [("digest", 1), ("ntlm", 1), ("basic", 0)])
async def test_digest_and_ntlm_open_with_an_empty_body(scheme: str, empty: int, tmp_path: Path) -> None:
    async with world(tmp_path, scheme) as (double, endpoint):
        await endpoint.poll()
        assert double.empty_bodies == empty


@pytest.mark.parametrize("scheme", ["digest", "ntlm", "basic"])
async def test_a_wrong_password_is_said_to_be_refused_and_the_next_poll_tries_anew(
        scheme: str, tmp_path: Path) -> None:
    async with world(tmp_path, scheme, password="wrong") as (_, endpoint):
        for _ in range(2):
            with pytest.raises(PolyError, match="refuses this user name or password") as raised:
                await endpoint.poll()
            assert raised.value.status == 401


@pytest.mark.parametrize(("scheme", "challenges"), [
    ("digest", ["NTLM", 'Basic realm="x"']), ("ntlm", ['Basic realm="x"']), ("basic", ["NTLM"])])
async def test_a_scheme_that_is_not_offered_is_named(scheme: str, challenges: list[str], tmp_path: Path) -> None:
    async with world(tmp_path, "basic", scheme=scheme) as (double, endpoint):
        double.challenges["basic"] = challenges
        with pytest.raises(PolyError, match=r"does not offer .*; it offers (NTLM|Basic)"):
            await endpoint.poll()


async def test_a_stale_nonce_is_replaced_without_asking_anybody(tmp_path: Path) -> None:
    async with world(tmp_path, "digest") as (double, endpoint):
        await endpoint.poll()
        double.nonces.append("n1")
        double.counts.clear()
        await endpoint.poll()
        assert "stale" not in double.authorizations[-1]
        assert 'nonce="n1"' in double.authorizations[-1]


async def test_digest_without_qop_and_beside_other_challenges_is_answered(tmp_path: Path) -> None:
    async with world(tmp_path, "digest") as (double, endpoint):
        double.qop = double.extra = ""
        double.challenges["digest"] = ["NTLM", 'Digest realm="r", nonce="x", algorithm=SHA-256, qop="auth"']
        assert len(await endpoint.poll()) == 1
        assert "nc=" not in double.authorizations[-1]


@pytest.mark.parametrize("challenge", ['Digest realm="r"', 'Digest realm="r", nonce="n", qop="auth-int"',
                                       'Digest realm="r", nonce="n", algorithm=SHA-256'])
async def test_a_digest_challenge_that_cannot_be_answered_is_an_error(challenge: str, tmp_path: Path) -> None:
    async with world(tmp_path, "basic", scheme="digest") as (double, endpoint):
        double.challenges["basic"] = [challenge]
        with pytest.raises(PolyError):
            await endpoint.poll()


@pytest.mark.parametrize("challenge", ["NTLM ???", "NTLM TlRMTVNTUAA=", "NTLM"])
async def test_an_ntlm_challenge_that_cannot_be_read_is_an_error(challenge: str, tmp_path: Path) -> None:
    async with world(tmp_path, "basic", scheme="ntlm") as (double, endpoint):
        double.challenges["basic"] = [challenge]
        with pytest.raises(PolyError, match="NTLM"):
            await endpoint.poll()


async def test_ntlm_shakes_hands_again_on_a_new_connection(tmp_path: Path) -> None:
    async with world(tmp_path, "ntlm") as (double, endpoint):
        await endpoint.poll()
        double.contexts.clear()  # the server forgets who is at the other end
        assert len(await endpoint.poll()) == 1
        await endpoint.close()
        assert len(await endpoint.poll()) == 1
        assert len(double.channels) == 2


async def test_a_domain_goes_before_the_user_name(tmp_path: Path) -> None:
    async with world(tmp_path, "basic", domain="CORP") as (double, endpoint):
        with pytest.raises(PolyError):
            await endpoint.poll()
        sent = base64.b64decode(double.authorizations[-1].split(" ")[1]).decode()
        assert sent == f"CORP\\{USER}:{PASSWORD}"


async def test_a_server_that_asks_for_no_login_is_an_error_for_one_that_opens_with_a_probe(tmp_path: Path) -> None:
    async with world(tmp_path, "basic", scheme="ntlm") as (double, endpoint):
        double.scheme = "none"
        double._answer = lambda body: (400, "")  # type: ignore[method-assign]
        with pytest.raises(PolyError, match="no challenge") as raised:
            await endpoint.poll()
        assert raised.value.status == 400


# --- HTTP ---

async def test_a_connection_that_the_server_closed_meanwhile_is_opened_again(tmp_path: Path) -> None:
    async with world(tmp_path, "ntlm") as (double, endpoint):
        await endpoint.poll()
        for channel in double.channels:
            channel.transport.abortConnection()
        assert len(await endpoint.poll()) == 1


async def test_no_answer_in_time_is_an_error_and_the_display_stays(tmp_path: Path) -> None:
    clock = Clock()
    async with world(tmp_path, "basic", clock=clock) as (double, endpoint):
        shown = await endpoint.poll()
        double.is_silent = True
        asked = endpoint.requests
        polling = ensureDeferred(endpoint.poll())
        while endpoint.requests == asked:
            await deferLater(reactor, 0.01)
        clock.advance(5)
        with pytest.raises(PolyError, match="no answer within 5 s") as raised:
            await polling
        assert raised.value.status is None
        assert endpoint.displayed == shown


async def test_a_refused_connection_is_an_error(tmp_path: Path) -> None:
    async with world(tmp_path, url="http://127.0.0.1:9/EWS/Exchange.asmx") as (_, endpoint):
        with pytest.raises(PolyError, match="no answer: ") as raised:
            await endpoint.poll()
        assert (raised.value.status, raised.value.response_code) == (None, None)


async def test_an_answer_without_end_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otjd.simulate.poly_http.BODY_LIMIT", 2000)
    async with world(tmp_path, "basic") as (double, endpoint):
        double.answers["FindItem"] = lambda _: (200, "<a>" + "x" * 100_000)
        with pytest.raises(PolyError, match="longer than 2000 bytes"):
            await endpoint.poll()


async def test_an_answer_that_stops_in_the_middle_is_given_up_in_time(tmp_path: Path) -> None:
    clock = Clock()
    async with world(tmp_path, "basic", clock=clock) as (double, endpoint):
        await endpoint.poll()
        double.is_half_silent = True
        asked = len(double.seen)
        polling = ensureDeferred(endpoint.poll())
        while len(double.seen) == asked:
            await deferLater(reactor, 0.01)
        await deferLater(reactor, 0.02)
        clock.advance(5)
        with pytest.raises(PolyError, match="no answer within 5 s"):
            await polling


async def test_a_nonce_that_is_always_stale_is_not_answered_for_ever(tmp_path: Path) -> None:
    async with world(tmp_path, "basic", scheme="digest") as (double, endpoint):
        double.challenges["basic"] = ['Digest realm="r", nonce="n", qop="auth", stale=true']
        with pytest.raises(PolyError, match="again and again"):
            await endpoint.poll()


async def test_over_tls_an_unknown_authority_is_refused_unless_any_is_taken(tmp_path: Path) -> None:
    from twisted.internet.ssl import PrivateCertificate
    from twisted.web.server import Site

    made = make_certificates(tmp_path / "own", ["localhost"], datetime.now(UTC))
    other = make_certificates(tmp_path / "other", ["localhost"], datetime.now(UTC))
    double = EwsDouble("basic")
    double.items["QUJD"] = item()
    pem = made.certificate.read_bytes() + made.private_key.read_bytes()
    options = PrivateCertificate.loadPEM(pem).options()  # type: ignore[no-untyped-call]
    connections = Connections(Site(double, reactor=reactor))  # type: ignore[no-untyped-call]
    port = reactor.listenSSL(0, connections, options, interface="127.0.0.1")
    url = f"https://localhost:{port.getHost().port}/EWS/Exchange.asmx"
    try:
        for trust, works in (({"ca_file": made.ca_certificate}, True), ({"verify": False}, True),
                             ({"ca_file": other.ca_certificate}, False), ({}, False)):
            endpoint = PolyEndpoint(url, USER, PASSWORD, scheme="basic", now=lambda: NOON, reactor=reactor,
                                    **trust)
            if works:
                assert len(await endpoint.poll()) == 1
            else:
                with pytest.raises(PolyError, match="certificate verify failed"):
                    await endpoint.poll()
            await endpoint.close()
    finally:
        await port.stopListening()
        await connections.close()
        await deferLater(reactor, 0.02)


# --- the requests ---

async def test_shape_a_asks_for_one_view_and_for_all_items_at_once(tmp_path: Path) -> None:
    async with world(tmp_path, "basic", mailbox="room@example.com") as (double, endpoint):
        double.items["SECOND=="] = item("SECOND==", "S")
        await endpoint.poll()
        (find,), (get,) = double.calls("FindItem"), double.calls("GetItem")
        (view,) = find.findall(".//m:CalendarView", NAMES)
        assert view.items() == [("MaxEntriesReturned", "100"), ("StartDate", "2026-03-02T10:00:00Z"),
                                ("EndDate", "2026-03-03T12:00:00Z")]
        assert find.findtext(".//t:EmailAddress", namespaces=NAMES) == "room@example.com"
        assert find.findtext(".//t:BaseShape", namespaces=NAMES) == "Default"
        (version,) = find.findall(".//t:RequestServerVersion", NAMES)
        assert version.get("Version") == "Exchange2007_SP1"
        assert [e.items() for e in get.findall(".//t:ItemId", NAMES)] == [
            [("Id", "QUJD"), ("ChangeKey", "REVG")], [("Id", "SECOND=="), ("ChangeKey", "S")]]
        (body_type,) = get.findall(".//t:BodyType", NAMES)
        assert (body_type.prefix, body_type.text) == ("t", "Text")
        assert b"<BaseShape xmlns=" in etree.tostring(get)


async def test_shape_b_asks_for_two_views_and_for_each_item_alone_without_change_key(tmp_path: Path) -> None:
    async with world(tmp_path, "basic", shape="b") as (double, endpoint):
        double.items["SECOND=="] = item("SECOND==", "S")
        assert len(await endpoint.poll()) == 2
        assert [operation for operation, _ in double.seen] == ["FindItem", "GetItem", "GetItem"] * 2
        views = [e.attrib for find in double.calls("FindItem") for e in find.findall(".//m:CalendarView", NAMES)]
        assert [(v["StartDate"], v["EndDate"], v["MaxEntriesReturned"]) for v in views] == [
            ("2026-03-02T12:00:00Z", "2026-03-04T23:59:00Z", "1024"),
            ("2026-03-02T12:00:00Z", "2026-03-09T23:59:00Z", "1024")]
        assert [e.items() for get in double.calls("GetItem") for e in get.findall(".//t:ItemId", NAMES)] == [
            [("Id", "QUJD")], [("Id", "SECOND==")]] * 2
        find = etree.tostring(double.calls("FindItem")[0]).decode()
        assert "<t:AditionalProperties>" in find
        assert "EmailAddress" not in find
        assert "<m:FindItem " in find
        await endpoint.poll()
        assert len(double.calls("GetItem")) == 8  # nothing is remembered


async def test_shape_a_reads_only_what_has_changed_and_drops_what_is_gone(tmp_path: Path) -> None:
    async with world(tmp_path, "basic") as (double, endpoint):
        double.items["B="] = item("B=", "1", Subject="<t:Subject>Before</t:Subject>")
        await endpoint.poll()
        await endpoint.poll()
        assert endpoint.items_read == 2
        double.items["B="] = item("B=", "1", Subject="<t:Subject>Unnoticed</t:Subject>")
        assert {m.subject for m in await endpoint.poll()} == {"Weekly", "Before"}
        double.items["B="] = item("B=", "2", Subject="<t:Subject>After</t:Subject>")
        assert {m.subject for m in await endpoint.poll()} == {"Weekly", "After"}
        assert endpoint.items_read == 3
        del double.items["QUJD"]
        assert [m.subject for m in await endpoint.poll()] == ["After"]


# --- strict reading ---

async def displayed(directory: Path, find: str, get: str | None = None) -> tuple[list[str], tuple[str, ...]]:
    """The subjects shown after these two answers, and what was passed over."""
    async with world(directory, "basic") as (double, endpoint):
        double.answers["FindItem"] = lambda _: (200, find)
        double.answers["GetItem"] = lambda _: (200, read(item()) if get is None else get)
        meetings = await endpoint.poll()
        return [m.subject for m in meetings], endpoint.ignored


async def test_the_plain_item_is_shown(tmp_path: Path) -> None:
    assert await displayed(tmp_path, found(item())) == (["Weekly"], ())


@pytest.mark.parametrize(("listed", "reason"), [
    (item(without="MyResponseType"), "t:MyResponseType is missing"),
    (item(without="ItemId"), "t:ItemId is missing"),
    (item(ItemId='<t:ItemId Id="QUJD"/>'), "no Id or no ChangeKey"),
    (item(ItemId="<t:ItemId Id='QUJD' ChangeKey='REVG'/>"), "no Id or no ChangeKey"),
    (item(ItemId='<t:ItemId ChangeKey="REVG"/>'), "no Id or no ChangeKey"),
    (item().replace("t:CalendarItem", "t:MeetingRequest"), "t:MeetingRequest, not t:CalendarItem"),
    (f'<x:CalendarItem xmlns:x="{NAMES["t"]}"/>', "x:CalendarItem, not t:CalendarItem"),
    (f'<CalendarItem xmlns="{NAMES["t"]}"/>', "CalendarItem, not t:CalendarItem"),
    ("<!-- nothing -->", "not t:CalendarItem")])
async def test_a_listed_item_is_passed_over(listed: str, reason: str, tmp_path: Path) -> None:
    subjects, ignored = await displayed(tmp_path, found(listed))
    assert subjects == []
    assert len(ignored) == 1
    assert reason in ignored[0]


@pytest.mark.parametrize(("got", "reason"), [
    *((item(without=name), f"t:{name}") for name in ("ItemClass", "Subject", "Organizer", "UID", "Body", "Start",
                                                     "End", "ItemId")),
    (item(Body="<t:Body>Hello</t:Body>"), "BodyType"),
    (item(Organizer="<t:Organizer><t:Mailbox/></t:Organizer>"), "t:Organizer/t:Mailbox/t:Name is missing"),
    (item(ItemClass="<t:ItemClass>IPM.Note</t:ItemClass>"), "IPM.Note"),
    (item(End="<t:End>2026-03-02T12:00:00Z</t:End>"), "t:End is not after t:Start"),
    (item(End="<t:End>2026-03-02T13:00:00.000Z</t:End>"), "t:End is"),
    (item(End="<t:End>2026-03-02T13:00:00+00:00</t:End>"), "t:End is"),
    (item(End="<t:End>2026-02-30T13:00:00Z</t:End>"), "no time")])
async def test_an_item_that_lacks_something_is_removed(got: str, reason: str, tmp_path: Path) -> None:
    subjects, ignored = await displayed(tmp_path, found(item()), read(got))
    assert subjects == []
    assert len(ignored) == 1
    assert reason in ignored[0]


@pytest.mark.parametrize("item_class", ["IPM.Appointment.Occurrence", "IPM.OLE.CLASS.{00061055-0000}"])
async def test_occurrences_and_an_empty_body_are_taken(item_class: str, tmp_path: Path) -> None:
    got = item(ItemClass=f"<t:ItemClass>{item_class}</t:ItemClass>", Body='<t:Body BodyType="Text"/>')
    assert await displayed(tmp_path, found(item()), read(got)) == (["Weekly"], ())


async def test_a_cancelled_meeting_is_not_shown(tmp_path: Path) -> None:
    got = item(IsCancelled="<t:IsCancelled>true</t:IsCancelled>")
    assert await displayed(tmp_path, found(item()), read(got)) == ([], ())


@pytest.mark.parametrize(("find", "get", "code"), [
    (answer("FindItem", message("FindItem", "", response_class="Error", code="ErrorAccessDenied")), None,
     "ErrorAccessDenied"),
    (answer("FindItem", message("FindItem", "", response_class="Warning")), None, "NoError"),
    (answer("FindItem"), None, None), ("", None, None), ("<html><p></html>", None, None),
    (found(item()).replace("m:", "x:").replace("xmlns:m", "xmlns:x"), None, None),
    (found(item()).replace('"Success"', "'Success'"), None, "NoError"),
    (found(item()), answer("GetItem"), None), (fault("ErrorServerBusy"), None, "ErrorServerBusy")])
async def test_an_answer_that_is_no_success_fails_the_poll(find: str, get: str | None, code: str | None,
                                                           tmp_path: Path) -> None:
    with pytest.raises(PolyError) as raised:
        await displayed(tmp_path, find, get)
    assert raised.value.response_code == code
    assert raised.value.status == 200


async def test_one_failing_item_spoils_the_batch_and_the_display_stays(tmp_path: Path) -> None:
    async with world(tmp_path, "basic") as (double, endpoint):
        shown = await endpoint.poll()
        double.items["B="] = item("B=", "1")
        failed = message("GetItem", "<m:Items/>", response_class="Error", code="ErrorItemNotFound")
        succeeded = message("GetItem", f"<m:Items>{item('C=', '1')}</m:Items>")
        double.answers["GetItem"] = lambda _: (200, answer("GetItem", succeeded, failed))
        with pytest.raises(PolyError, match="ErrorItemNotFound GetItem: It failed"):
            await endpoint.poll()
        assert endpoint.displayed == shown
        del double.answers["GetItem"]
        assert len(await endpoint.poll()) == 2


@pytest.mark.parametrize(("status", "text", "expected"), [
    (500, fault("ErrorServerBusy"), "500 ErrorServerBusy Not now."), (503, found(), "503 status 503 for FindItem"),
    (503, "", "503 the answer to FindItem is empty"), (500, "<p>", "500 the answer to FindItem is no XML")])
async def test_another_status_than_200_fails_the_poll(status: int, text: str, expected: str,
                                                      tmp_path: Path) -> None:
    async with world(tmp_path, "basic") as (double, endpoint):
        double.answers["FindItem"] = lambda _: (status, text)
        with pytest.raises(PolyError) as raised:
            await endpoint.poll()
        assert str(raised.value).startswith(expected)


# --- what it shows and dials ---

def token(text: str, *, wrap: int = 10_000, line: str = "\n") -> str:
    encoded = base64.b64encode(text.encode()).decode()
    lines = [encoded[i:i + wrap] for i in range(0, len(encoded), wrap)]
    return line.join(("--=BEGIN POLYCOM VMR ENCODED TOKEN=--", *lines, "--=END POLYCOM VMR ENCODED TOKEN=--"))


CRLF = "\r\n"
WHOLE = "POLYCOM-VERSION=1\r\nPOLYCOM-VMRNUMBER=room7@video.example.com\r\nPOLYCOM-SIGNALINGPOSTFIX=\r\n"
SPLIT = ("POLYCOM-DIALINPREFIX=75\nPOLYCOM-VMRNUMBER=22222\nPOLYCOM-SIGNALINGPREFIX=sip:\n"
         "POLYCOM-SIGNALINGPOSTFIX=example.com\n")


@pytest.mark.parametrize(("body", "number"), [
    (token(WHOLE), "room7@video.example.com"),
    (f"Hello\r\n\r\n{token(WHOLE, wrap=76, line=CRLF)}\r\n", "room7@video.example.com"),
    (token(SPLIT, wrap=20, line="<br>\n"), "7522222@example.com"),
    (token("POLYCOM-DIALINPREFIX=75\nPOLYCOM-VMRNUMBER=22222\n"), "7522222"),
    (token("POLYCOM-VERSION=1\nPOLYCOM-VMRNUMBER=22222"), None),  # the last line has no end
    (token("POLYCOM-VMRNUMBER=\n"), None), (token(WHOLE, wrap=20, line="&nbsp;"), None),
    (token(WHOLE, wrap=20, line=" "), None), (token(WHOLE).replace("END", "FIN"), None), ("no token", None),
    ("--=BEGIN POLYCOM VMR ENCODED TOKEN=--\n/w==\n--=END POLYCOM VMR ENCODED TOKEN=--", None)])
def test_the_token_is_read_as_the_known_reader_does(body: str, number: str | None) -> None:
    assert token_number(body) == number


@pytest.mark.parametrize(("text", "address"), [
    ("sip:a@b.example", "a@b.example"), ("Join SIP:a@b.example.", "a@b.example"),
    ("<sip:a@b.example>", "a@b.example"),
    ("sips:a@b.example;x=y", "sips:a@b.example"), ("a@b.example", None), ("sip:a", None), ("gossip:a@b.c", None)])
def test_a_sip_uri_is_found_in_free_text(text: str, address: str | None) -> None:
    assert sip_address(text) == address


LOCATED = "<t:Location>sip:loc@example.com</t:Location>"
NOWHERE = "<t:Location>Room 7</t:Location>"


def body(text: str) -> str:
    return f'<t:Body BodyType="Text">{text}</t:Body>'


@pytest.mark.parametrize(("family", "location", "text", "expected"), [
    ("hdx", LOCATED, token(WHOLE), ("room7@video.example.com", "token")), ("hdx", LOCATED, "none", (None, None)),
    ("group", NOWHERE, "sip:b@example.com", (None, None)),
    ("trio", LOCATED, token(WHOLE), ("loc@example.com", "location")),
    ("trio", NOWHERE, "sip:b@example.com", ("b@example.com", "body")),
    ("trio", NOWHERE, token(WHOLE), (None, None)),
    ("videoos", LOCATED, token(WHOLE), ("room7@video.example.com", "token")),
    ("debut", LOCATED, "none", ("loc@example.com", "location"))])
async def test_each_family_looks_in_its_own_place(family: Any, location: str, text: str, expected: Any,
                                                  tmp_path: Path) -> None:
    async with world(tmp_path, "basic", family=family) as (double, endpoint):
        double.items["QUJD"] = item(Location=location, Body=body(text))
        (meeting,) = await endpoint.poll()
        assert (meeting.dial, meeting.dial_source) == expected


@pytest.mark.parametrize(("options", "subject", "organizer"), [
    ({}, PRIVATE_SUBJECT, ""), ({"family": "trio"}, PRIVATE_SUBJECT, "Ada"),
    ({"show_private": True}, "Weekly", "Ada")])
async def test_private_meetings_are_hidden_on_the_endpoint(options: Any, subject: str, organizer: str,
                                                           tmp_path: Path) -> None:
    async with world(tmp_path, "basic", **options) as (double, endpoint):
        double.items["QUJD"] = item(Sensitivity="<t:Sensitivity>Private</t:Sensitivity>", Body=body(token(WHOLE)))
        (meeting,) = await endpoint.poll()
        assert (meeting.subject, meeting.organizer, meeting.private) == (subject, organizer, True)
        assert meeting.dial  # dialling stays possible


async def test_meetings_are_in_the_order_of_time(tmp_path: Path) -> None:
    async with world(tmp_path, "basic") as (double, endpoint):
        double.items["E="] = item("E=", "1", Start="<t:Start>2026-03-02T09:00:00Z</t:Start>")
        assert [m.start.hour for m in await endpoint.poll()] == [9, 12]


# --- polling again and again ---

async def test_a_room_polls_keeps_its_display_over_an_error_and_recovers(
        tmp_path: Path, logged_failures: LoggedFailures) -> None:
    clock, changes = Clock(), []
    async with world(tmp_path, "basic") as (double, endpoint):
        room = PolyRoom(endpoint, clock=clock, interval_s=2, jitter=lambda: 0.0,
                        on_change=lambda: changes.append((len(room.display), room.last_error is None)))

        async def until(count: int) -> None:
            while len(changes) < count:
                await deferLater(reactor, 0.01)

        room.start()
        await until(1)
        double.answers["FindItem"] = lambda _: (500, fault("ErrorServerBusy"))
        clock.advance(2)
        await until(2)
        assert isinstance(room.last_error, PolyError)
        assert room.last_error.response_code == "ErrorServerBusy"
        double.answers.clear()
        clock.advance(2)
        await until(3)
        await room.stop()
        assert changes == [(1, True), (1, False), (1, True)]
        assert room.polls == 2
        assert clock.getDelayedCalls() == []


async def test_a_mistake_of_our_own_is_logged_as_an_error_and_polling_goes_on(
        tmp_path: Path, logged_failures: LoggedFailures) -> None:
    clock = Clock()
    async with world(tmp_path, "basic") as (_, endpoint):
        endpoint.poll = broken  # type: ignore[method-assign]
        room = PolyRoom(endpoint, clock=clock, interval_s=2, jitter=lambda: 0.0)
        room.start()
        assert isinstance(room.last_error, ZeroDivisionError)
        assert len(clock.getDelayedCalls()) == 1
        await room.stop()
        assert len(logged_failures.flush()) == 1


async def broken() -> Any:
    raise ZeroDivisionError
