from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol

from otjd.meetings.model import Organizer, Room
from otjd.operate.board import AlarmName
from otjd.push.cisco import CiscoEndpoint
from otjd.simulate.codec import Codec, Switches
from tests.push.world import BOARDROOM, PASSWORD, T0, ScriptedCodec, World, meeting, reactor, world

PROFILES = ("tc7", "ce9_6", "ce9", "roomos11", "roomos26")
HOUR_S = 3600


def ids(codec: Codec) -> list[str]:
    return [b.id for b in codec.bookings]


async def in_step(w: World, codec: Codec, *numbers: int) -> None:
    """Wait until the codec holds these meetings and the board knows that it does."""
    wanted = [f"m{n}" for n in numbers]
    await w.until(lambda: ids(codec) == wanted and w.state().last_contact_time is not None
                  and w.state().number_of_meetings == len(wanted) and not w.alarms, f"for {wanted}")


@pytest.mark.parametrize("profile", PROFILES)
async def test_every_generation_of_codec_shows_what_the_calendar_holds(profile: str) -> None:
    async with world() as w:
        codec = w.codec(profile)
        w.start()
        w.book(meeting(0, subject="Überblick <&> 計画", is_private=True), meeting(1, organizer=Organizer()))
        await in_step(w, codec, 0, 1)
        first, second = codec.bookings
        assert (first.title, first.number, first.protocol, first.private) == (
            "Überblick <&> 計画", "room0@video.example.com", "SIP", True)
        assert (first.start, first.end) == (T0, T0 + timedelta(minutes=45))
        assert (first.start_buffer_s, first.end_buffer_s, first.email) == (300, 0, "ada@example.com")
        assert first.organizer == "Ada Berg"
        assert (second.organizer, second.private) == ("", False)
        assert [b.id for b in codec.joinable(T0 + timedelta(minutes=55))] == ["m1"]
        kind = "xml" if profile in ("tc7", "ce9_6") else "json"
        assert {p.kind for p in codec.pushes} == {kind}
        assert w.state().address == "127.0.0.1"
        assert w.state().last_operation == ("bookingsputxml" if kind == "xml" else "Bookings Put")


@pytest.mark.parametrize("profile", PROFILES)
async def test_changes_and_an_emptied_calendar_are_pushed(profile: str) -> None:
    async with world() as w:
        codec = w.codec(profile)
        w.start()
        w.book(meeting(0), meeting(1))
        await in_step(w, codec, 0, 1)
        w.book(meeting(1, alias="other@video.example.com"))
        await w.until(lambda: [b.number for b in codec.bookings] == ["other@video.example.com"])
        w.book()
        await w.until(lambda: not codec.bookings and w.state().number_of_meetings == 0)
        assert not w.alarms


async def test_a_change_reaches_the_codec_with_the_next_request() -> None:
    async with world() as w:
        codec = w.codec("roomos11")
        w.start()
        w.book(meeting(0))
        await in_step(w, codec, 0)
        await w.flow(60)
        before, requests = w.clock.seconds(), len(codec.exchanges)
        w.book(meeting(0), meeting(1))
        await w.until(lambda: len(codec.bookings) == 2, step_s=0.0)
        assert w.clock.seconds() == before
        assert len(codec.exchanges) == requests + 1


async def test_requests_keep_their_distance_and_never_meet_the_rate_limit() -> None:
    async with world() as w:
        codec = w.codec("roomos11")
        w.start()
        for number in range(6):
            w.book(*(meeting(n) for n in range(number + 1)))
            await w.until(lambda count=number + 1: len(codec.bookings) == count)  # type: ignore[misc]
        times = [e.at for e in codec.exchanges]
        assert all(later - earlier >= timedelta(seconds=1) for earlier, later in itertools.pairwise(times))
        assert {e.status for e in codec.exchanges} == {200}


async def test_meetings_without_number_are_sent_as_each_generation_can_show_them() -> None:
    async with world() as w:
        codecs = {p: w.codec(p, p) for p in PROFILES}
        w.start()
        w.book(meeting(0, alias=None), meeting(1))
        await w.until(lambda: all(codec.bookings for codec in codecs.values()))
        shown = {profile: [(b.id, b.number, b.connect_mode) for b in c.bookings] for profile, c in codecs.items()}
        joinable = ("m1", "room1@video.example.com", "OBTP")
        assert shown == {p: [joinable] if p == "ce9" else [("m0", "", "Manual"), joinable] for p in PROFILES}
        assert not w.alarms


async def test_a_room_that_was_never_read_is_not_pushed_and_one_restored_from_disk_is() -> None:
    async with world() as w:
        codec = w.codec("roomos11")
        w.start()
        await w.flow(2 * HOUR_S, step_s=60)
        assert not codec.exchanges
        w.cache.restore(BOARDROOM, [meeting(5)], T0, w.now())
        await in_step(w, codec, 5)


async def test_a_room_restored_before_the_start_is_pushed_and_an_empty_room_is_cleared() -> None:
    async with world() as w:
        codec = w.codec("ce9_6")
        w.configure()
        w.book()
        w.pusher.start()
        await w.until(lambda: w.state().last_contact_time is not None)
        assert [p.kind for p in codec.pushes] == ["xml"]


async def test_meetings_that_are_over_are_not_pushed() -> None:
    async with world() as w:
        codec = w.codec("roomos11")
        w.start()
        w.book(meeting(-3), meeting(1))
        await in_step(w, codec, 1)


async def test_every_hour_the_version_is_asked_and_the_list_sent_again() -> None:
    async with world() as w:
        codec = w.codec("roomos11")
        w.start()
        w.book(meeting(20))
        await in_step(w, codec, 20)
        await w.flow(HOUR_S - 60, step_s=10)
        assert len(codec.pushes) == 1
        await w.until(lambda: len(codec.pushes) == 2)
        assert timedelta(minutes=59) < codec.pushes[1].at - codec.pushes[0].at <= timedelta(minutes=61)
        assert [e.path for e in codec.exchanges] == ["/getxml", "/putxml"] * 2


async def test_a_codec_that_lost_its_list_has_it_back_after_the_hour() -> None:
    async with world() as w:
        codec = w.codec("roomos11")
        w.start()
        w.book(meeting(20))
        await in_step(w, codec, 20)
        codec.reboot()
        assert not codec.bookings
        await w.flow(HOUR_S - 60, step_s=10)
        await in_step(w, codec, 20)


async def test_a_codec_that_was_away_is_found_again() -> None:
    async with world() as w:
        codec = w.codec("roomos11")
        port = w.endpoints["Studio"].port
        w.start()
        w.book(meeting(20))
        await in_step(w, codec, 20)
        await codec.stop()
        w.book(meeting(20), meeting(21))
        await w.until(lambda: w.alarms)
        assert w.alarms[0].name is AlarmName.CISCO_ENDPOINT
        assert "the connection was refused" in w.alarms[0].details
        assert str(port) in w.alarms[0].details
        w.book(meeting(22))
        codec.listen_http(reactor, port=port)
        await in_step(w, codec, 22)


@pytest.mark.parametrize("fault", ["503", "truncated", "empty", "lost", "reset"])
@pytest.mark.parametrize("profile", ["ce9_6", "roomos26"])
async def test_after_any_fault_everything_is_sent_again(profile: str, fault: Any) -> None:
    async with world() as w:
        codec = w.codec(profile)
        codec.fail(fault, times=1, path="/putxml")
        w.start()
        w.book(meeting(20))
        await w.until(lambda: w.alarms)
        await in_step(w, codec, 20)
        assert len(codec.pushes) >= (2 if profile == "ce9_6" or fault in ("truncated", "empty", "lost") else 1)


async def test_every_failure_is_one_line_and_an_alarm_that_success_lowers(
        logged_events: list[dict[str, Any]]) -> None:
    async with world() as w:
        codec = w.codec("roomos26", teams_mode=True)
        w.start()
        w.book(meeting(20))
        await w.until(lambda: len([p for p in codec.pushes if not p.accepted]) == 3, step_s=0.2)
        await w.until(lambda: len([e for e in logged_events if e.get("attempt")]) == 3)
        lines = [e for e in logged_events if e.get("attempt")]
        assert [(e["endpoint"], e["attempt"], e["delay_s"], e["log_level"].name) for e in lines] == [
            ("Studio", 1, 5, "warn"), ("Studio", 2, 10, "warn"), ("Studio", 3, 20, "warn")]
        assert "Microsoft Teams" in w.alarms[0].details
        assert w.state().last_error == w.alarms[0].details
        codec.teams_mode = False
        await in_step(w, codec, 20)
        assert w.state().last_error is None


async def test_a_refused_login_is_not_tried_again_for_an_hour() -> None:
    async with world() as w:
        codec = w.codec("roomos26")
        w.endpoint(w.endpoints["Studio"].port, password="wrong")
        w.start()
        w.book(meeting(20))
        await w.until(lambda: w.alarms)
        assert 'StatusCode="401"' in w.alarms[0].details
        assert "5 failed logins" in w.alarms[0].details
        assert len(codec.exchanges) == 1
        w.book(meeting(21))
        w.configure()  # the same configuration again: nothing that could help has changed
        await w.flow(HOUR_S - 10, step_s=5)
        assert len(codec.exchanges) == 1
        await w.until(lambda: len(codec.exchanges) == 2)
        assert not codec.gate.locked


async def test_after_a_refused_login_a_changed_configuration_is_tried_at_once() -> None:
    async with world() as w:
        codec = w.codec("roomos26")
        right = w.endpoints["Studio"]
        w.endpoint(right.port, password="wrong")
        w.start()
        w.book(meeting(20))
        await w.until(lambda: w.alarms)
        w.endpoints["Studio"] = right
        w.configure()
        await in_step(w, codec, 20)


@pytest.mark.parametrize(("login_failure", "words"), [
    ("page", "sign-in page"), ("redirect", 'StatusCode="302": the endpoint redirects to its sign-in page')])
async def test_a_sign_in_page_is_a_refused_login(login_failure: Any, words: str) -> None:
    async with world() as w:
        codec = w.codec("tc7", switches=Switches(login_failure=login_failure))
        w.endpoint(w.endpoints["Studio"].port, password="wrong")
        w.start()
        w.book(meeting(20))
        await w.until(lambda: w.alarms)
        assert words in w.alarms[0].details
        await w.flow(HOUR_S - 60, step_s=5)
        assert len(codec.exchanges) == 1


async def test_a_redirect_to_https_is_named_with_its_remedy_and_never_followed(
        logged_events: list[dict[str, Any]]) -> None:
    async with world() as w:
        codec = w.codec("roomos11")
        https = w.endpoints["Studio"].port
        w.endpoint(codec.listen_http(reactor, redirect_to=https))
        w.start()
        w.book(meeting(20))
        await w.until(lambda: w.alarms)
        message = 'Non-200 status code returned when trying to upload OBTP bookings to endpoint StatusCode="307"'
        assert w.alarms[0].details.startswith(message)
        assert "set use_https" in w.alarms[0].details
        (line,) = [e for e in logged_events if e.get("attempt")]
        assert (line["status_code"], line["endpoint"]) == (307, "Studio")
        assert line["log_format"].startswith("Non-200 status code returned when trying to upload OBTP bookings to "
                                             'endpoint StatusCode="{status_code}" endpoint="{endpoint}"')
        assert not codec.exchanges


async def test_a_busy_codec_is_left_alone_as_long_as_it_asks() -> None:
    async with world() as w:
        busy = ScriptedCodec({"/getxml": (503, b"", {"Retry-After": "120"})})
        w.endpoint(w.listen(busy.site()))
        w.start()
        w.book(meeting(20))
        await w.until(lambda: w.alarms)
        assert 'StatusCode="503"' in w.alarms[0].details
        w.book(meeting(21))
        await w.flow(118)
        assert len(busy.seen) == 1
        await w.until(lambda: len(busy.seen) == 2)


async def test_a_busy_codec_that_does_not_say_how_long_is_left_alone_for_longer_each_time() -> None:
    async with world() as w:
        codec = w.codec("roomos11")
        codec.fail("503")
        w.start()
        w.book(meeting(20))
        for count in range(1, 5):
            await w.until(lambda count=count: len(codec.exchanges) == count)  # type: ignore[misc]
            await w.until(lambda count=count: len(w.alarms) == 1)  # type: ignore[misc]
        times = [e.at for e in codec.exchanges]
        gaps = [round((b - a).total_seconds() / 10) * 10 for a, b in itertools.pairwise(times)]
        assert gaps == [30, 60, 120]
        codec.heal()
        await w.flow(235)
        await in_step(w, codec, 20)


class Silence(Protocol):
    """Accepts and says nothing."""


async def test_dead_and_silent_codecs_delay_no_other() -> None:
    silence = Factory.forProtocol(Silence)
    silence.noisy = False
    async with world(limit=2) as w:
        room = Room("dead@example.com", "default")
        port = w.listen(silence)
        for number in range(6):
            w.endpoint(port, f"Silent {number}", room=room)
        codec = w.codec("roomos11")
        w.start()
        w.book(meeting(20), room=room)
        w.book(meeting(20))
        await w.until(lambda: codec.bookings)
        assert not w.alarms  # the silent ones have not even timed out
        await w.until(lambda: len(w.alarms) == 6)
        assert all("no answer within 30 s" in a.details for a in w.alarms)
        w.book(meeting(21))
        await w.until(lambda: ids(codec) == ["m21"])


async def test_an_upgrade_changes_the_interface_with_the_next_hourly_push() -> None:
    async with world() as w:
        codec = w.codec("ce9_6")
        w.start()
        w.book(meeting(20))
        await in_step(w, codec, 20)
        port = w.endpoints["Studio"].port
        await codec.stop()
        newer = Codec("roomos26", password=PASSWORD, now=w.now, clock=w.clock)
        w.codecs.append(newer)
        newer.listen_http(reactor, port=port)
        await w.flow(HOUR_S - 60, step_s=10)
        await in_step(w, newer, 20)
        assert [p.kind for p in newer.pushes] == ["json"]


PUT_OK = (200, b'<Command><BookingsPutResult status="OK"/></Command>')
CLEAR_OK = (200, b'<Command><BookingsClearResult status="OK"/></Command>')
UNKNOWN = (200, b'<Command><Result status="Error"><Reason>Unknown command</Reason></Result></Command>')
EMPTY_LIST = (200, b'<Command><BookingsListResult status="OK"/></Command>')


def version(text: str) -> tuple[int, bytes]:
    software = f"<Software><Version>{text}</Version></Software>"
    return 200, f"<Status><SystemUnit>{software}</SystemUnit></Status>".encode()


@pytest.mark.parametrize("refusal", [UNKNOWN, (200, b"<Command/>")])
async def test_a_codec_without_the_command_gets_the_private_xml_and_is_not_asked_again(refusal: Any) -> None:
    async with world() as w:
        codec = ScriptedCodec({"/getxml": version("ce9.13.1"), "/putxml": refusal, "/bookingsputxml": (200, b"")})
        w.endpoint(w.listen(codec.site()))
        w.start()
        w.book(meeting(20))
        await w.until(lambda: w.state().last_contact_time is not None)
        assert codec.paths == ["/getxml", "/putxml", "/bookingsputxml", "/putxml"]
        assert [b"<Put" in s.body for s in codec.seen] == [False, True, False, False]
        assert b"<List" in codec.seen[-1].body
        assert (w.state().last_operation, w.alarms) == ("bookingsputxml", ())
        w.book(meeting(21))
        await w.until(lambda: len(codec.seen) == 6)
        assert codec.paths[4:] == ["/bookingsputxml", "/putxml"]


async def test_a_version_that_must_have_the_command_is_not_sent_the_private_xml() -> None:
    async with world() as w:
        codec = ScriptedCodec({"/getxml": version("ce11.5.2"), "/putxml": UNKNOWN})
        w.endpoint(w.listen(codec.site()))
        w.start()
        w.book(meeting(20))
        await w.until(lambda: w.alarms)
        assert "Unknown command" in w.alarms[0].details
        assert codec.paths == ["/getxml", "/putxml"]


async def test_the_version_is_looked_for_in_both_places_and_without_one_the_command_is_tried() -> None:
    async with world() as w:
        codec = ScriptedCodec({"/getxml": (200, b"<EmptyResult/>"), "/status.xml": version("ce11.24.1"),
                               "/putxml": PUT_OK})
        w.endpoint(w.listen(codec.site()))
        w.endpoint(w.listen((other := ScriptedCodec({"/putxml": PUT_OK})).site()), "Other")
        w.endpoint(w.listen((third := ScriptedCodec({"/bookingsputxml": (200, b"<ok/>")})).site()), "Third")
        w.start()
        w.book(meeting(20, alias=None))
        await w.until(lambda: all(w.state(n).last_contact_time for n in ("Studio", "Third")))
        assert codec.paths == ["/getxml", "/status.xml", "/putxml"]
        assert third.paths == ["/getxml", "/status.xml", "/putxml", "/bookingsputxml", "/putxml"]
        await w.until(lambda: w.alarms)
        assert "ClearResult is expected" in w.alarms[0].details  # it says that it put, but was to clear
        assert other.paths == ["/getxml", "/status.xml", "/putxml"]


async def test_a_private_list_that_was_not_taken_is_a_failure() -> None:
    async with world() as w:
        codec = ScriptedCodec({"/getxml": version("TC7.3"), "/bookingsputxml": (200, b""), "/putxml": EMPTY_LIST})
        w.endpoint(w.listen(codec.site()))
        w.start()
        w.book(meeting(20))
        await w.until(lambda: w.alarms)
        assert "m20 is missing" in w.alarms[0].details
        assert w.state().last_contact_time is None


async def test_a_private_list_that_cannot_be_emptied_is_cleared_by_command() -> None:
    left = (200, b'<Command><Bookings status="OK"><Booking><Id>x</Id></Booking></Bookings></Command>')
    async with world() as w:
        codec = ScriptedCodec({"/getxml": version("TC7.3.9"), "/bookingsputxml": (200, b""),
                               "/putxml": lambda seen: left if b"List" in seen.body else CLEAR_OK})
        w.endpoint(w.listen(codec.site()))
        w.start()
        w.book()
        await w.until(lambda: w.state().last_contact_time is not None)
        assert codec.paths == ["/getxml", "/bookingsputxml", "/putxml", "/putxml"]
        assert b"<Clear" in codec.seen[-1].body


async def test_a_change_comes_before_the_verification_of_an_older_list() -> None:
    async with world() as w:
        codec = w.codec("ce9_6")
        w.start()
        w.book(meeting(20))
        await w.until(lambda: len(codec.pushes) == 1)
        w.book(meeting(21))
        await in_step(w, codec, 21)
        assert [e.path for e in codec.exchanges] == ["/getxml", "/bookingsputxml", "/bookingsputxml", "/putxml"]


async def test_requests_are_the_documented_ones() -> None:
    async with world() as w:
        codec = ScriptedCodec({"/getxml": version("ce11.24.1"), "/putxml": PUT_OK})
        w.endpoint(w.listen(codec.site()), password="pässword:1")
        w.start()
        w.book(meeting(20))
        await w.until(lambda: w.state().last_contact_time is not None)
        asked, put = codec.seen
        assert (asked.method, asked.uri) == ("GET", "/getxml?location=/Status/SystemUnit/Software/Version")
        assert (put.method, put.uri, put.headers["content-type"]) == ("POST", "/putxml", "text/xml")
        assert put.headers["authorization"] == "Basic YWRtaW46cMOkc3N3b3JkOjE="
        assert put.headers["connection"].lower() == "close"
        assert int(put.headers["content-length"]) == len(put.body)
        assert not {"expect", "cookie", "transfer-encoding"} & put.headers.keys()


@pytest.mark.parametrize(("software", "path"), [("TC7.3.9", "/bookingsputxml"), ("ce11.5.2", "/putxml")])
async def test_a_sign_in_page_after_the_version_is_a_refused_login_too(software: str, path: str) -> None:
    async with world() as w:
        codec = ScriptedCodec({"/getxml": version(software), path: (200, b"<!DOCTYPE html><html/>")})
        w.endpoint(w.listen(codec.site()))
        w.start()
        w.book(meeting(20))
        await w.until(lambda: w.alarms)
        assert "sign-in page" in w.alarms[0].details
        assert "next attempt in 60 minutes" in w.alarms[0].details


@pytest.mark.parametrize(("status", "words"), [
    (403, "role Admin"), (404, "does not have this address"), (413, "too large"), (500, "cannot do it"),
    (302, "redirects")])
async def test_other_statuses_are_named_and_tried_again(status: int, words: str) -> None:
    async with world() as w:
        codec = ScriptedCodec({"/getxml": version("ce11.24.1"), "/putxml": (status, b"")})
        w.endpoint(w.listen(codec.site()))
        w.start()
        w.book(meeting(20))
        await w.until(lambda: w.alarms)
        assert f'StatusCode="{status}"' in w.alarms[0].details
        assert words in w.alarms[0].details
        codec.answers["/putxml"] = PUT_OK
        await w.until(lambda: not w.alarms)


async def test_stopping_drops_what_is_in_progress_and_leaves_nothing() -> None:
    async with world() as w:
        codec = ScriptedCodec({"/getxml": None})
        w.endpoint(w.listen(codec.site()))
        w.start()
        w.book(meeting(20))
        await w.until(lambda: codec.seen)
        await w.pusher.stop()
        assert not w.alarms
        w.book(meeting(21))
        await w.flow(10)
        assert len(codec.seen) == 1


async def test_a_reload_keeps_what_did_not_change_and_ends_what_is_gone() -> None:
    async with world() as w:
        codec = w.codec("roomos11")
        gone = w.codec("roomos11", "Gone")
        w.start()
        w.book(meeting(20))
        await in_step(w, codec, 20)
        await w.until(lambda: gone.bookings)
        del w.endpoints["Gone"]
        added = w.codec("ce9", "Added")
        requests = len(codec.exchanges), len(gone.exchanges)
        w.configure()
        await w.until(lambda: ids(added) == ["m20"])
        assert (len(codec.exchanges), len(gone.exchanges)) == requests
        w.book(meeting(21))
        await w.until(lambda: ids(codec) == ids(added) == ["m21"])
        assert ids(gone) == ["m20"]


async def test_a_changed_endpoint_starts_anew_after_its_old_loop_ended() -> None:
    async with world() as w:
        codec = w.codec("roomos11")
        codec.fail("timeout", times=1)
        w.start()
        w.book(meeting(20))
        await w.until(lambda: codec.exchanges)
        changed = replace(w.endpoints["Studio"], start_buffer=timedelta(minutes=15))
        for minutes in (10, 15):  # two reloads in a row
            w.endpoints["Studio"] = replace(changed, start_buffer=timedelta(minutes=minutes))
            w.configure()
        await in_step(w, codec, 20)
        assert [b.start_buffer_s for b in codec.bookings] == [900]
        assert len(codec.pushes) == 1


async def test_endpoints_of_a_room_that_is_gone_wait() -> None:
    async with world() as w:
        codec = w.codec("roomos11")
        w.pusher.configure(w.endpoints.values())
        w.pusher.start()
        await w.flow(5)
        assert not codec.exchanges


async def test_a_fault_of_our_own_is_logged_and_does_not_end_the_loop(
        monkeypatch: pytest.MonkeyPatch, logged_failures: Any) -> None:
    async with world() as w:
        codec = w.codec("roomos11")
        w.start()
        with monkeypatch.context() as patch:
            patch.setattr("otjd.push.endpoint_pusher.bookings_of", lambda *_, **__: 1 / 0)
            w.book(meeting(20))
            await w.until(lambda: w.alarms)
        assert "A fault of otjd: ZeroDivisionError" in w.alarms[0].details
        assert len(logged_failures.flush(ZeroDivisionError)) == 1
        await in_step(w, codec, 20)


def test_passwords_do_not_show() -> None:
    endpoint = CiscoEndpoint("x", BOARDROOM, "10.1.2.3", 443, "admin", "secret-word")
    assert "secret-word" not in repr(endpoint)
