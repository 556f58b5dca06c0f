from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from lxml import etree

from otjd.simulate.codec import Switches
from otjd.simulate.codec_payloads import Limits
from otjd.simulate.codec_profiles import PROFILES
from tests.simulate.codec_world import (
    NOON,
    bench,
    command,
    json_booking,
    put_document,
    put_text,
    xml_booking,
    xml_document,
)

NO_ACTION = (b'<?xml version="1.0"?>\n<ActionError>\n  <Reason>No action detected in document</Reason>\n'
             b"</ActionError>")
PUTS = ("ce9", "roomos11", "roomos26")


# --- /putxml ---

@pytest.mark.parametrize("document", ["<Command><Bookings><List/></Bookings></Command>",
                                      '<Command><Bookings><List command="true"/></Bookings></Command>',
                                      "<Configuration><A>1</A></Configuration>", "<Command/>",
                                      '<Bookings><List command="True"/></Bookings>'])
async def test_a_document_without_a_command_gets_the_recorded_action_error(document: str) -> None:
    async with bench() as b:
        response, body = await b.ask("POST", "/putxml", document)
        assert (response.code, body) == (200, NO_ACTION)


@pytest.mark.parametrize("document", ["", "no XML", "<Command>", "<Command></Commmand>",
                                      '<!DOCTYPE c [<!ENTITY e "x">]><Command>&e;</Command>'])
async def test_malformed_documents_are_refused_in_either_known_way(document: str) -> None:
    async with bench() as b:
        assert await b.status_of("POST", "/putxml", document) == 400
    async with bench(switches=Switches(malformed="action-error")) as b:
        response, body = await b.ask("POST", "/putxml", document)
        assert (response.code, body) == (200, NO_ACTION)


async def test_an_unknown_command_is_named_with_its_path() -> None:
    async with bench() as b:
        answer = await b.run(command("Snatch"))
        assert (answer[0].tag, answer[0].get("status")) == ("Result", "Error")
        assert answer[0].findtext("Reason") == "Unknown command"
        assert answer[0].findtext("XPath") == "/Bookings/Snatch"


@pytest.mark.parametrize("profile", ["tc7", "ce9_6"])
async def test_old_software_does_not_know_put(profile: str) -> None:
    async with bench(profile) as b:
        answer = await b.run(put_document(json_booking()))
        assert answer[0].findtext("Reason") == "Unknown command"
        assert b.codec.bookings == ()
        assert b.codec.pushes == []


async def test_several_commands_are_answered_in_order() -> None:
    async with bench("roomos26") as b:
        answer = await b.run('<Command><Bookings><List command="True"/><Clear command="True"/>'
                             '<Get command="True"><Id>x</Id></Get></Bookings></Command>')
        assert [r.tag for r in answer] == ["BookingsListResult", "BookingsClearResult", "BookingsGetResult"]


async def test_results_of_roomos_look_as_recorded_and_those_of_ce_have_an_item() -> None:
    async with bench("roomos26") as b:
        _, body = await b.ask("POST", "/putxml", command("Clear"))
        assert body == (b'<?xml version="1.0"?>\n<Command>\n  <BookingsClearResult status="OK"/>\n</Command>\n')
    async with bench("ce9") as b:
        assert sorted((await b.run(command("Clear")))[0].items()) == [("item", "1"), ("status", "OK")]


async def test_a_form_carries_the_same_documents() -> None:
    async with bench() as b:
        response, body = await b.ask("POST", "/formputxml", data_of_form(put_document(json_booking())),
                                     headers={"Content-Type": "application/x-www-form-urlencoded"})
        assert response.code == 200
        assert b'status="OK"' in body
        assert [x.id for x in b.codec.bookings] == ["b-1"]


def data_of_form(document: str) -> str:
    from urllib.parse import urlencode

    return urlencode({"xmldoc": document})


@pytest.mark.parametrize(("name", "arguments"), [
    ("List", {"Days": "0"}), ("List", {"Days": "366"}), ("List", {"DayOffset": "366"}), ("List", {"Limit": "0"}),
    ("List", {"Limit": "many"}), ("List", {"Offset": "-1"}), ("List", {"Offset": "65535"}), ("Get", {}),
    ("Get", {"Id": "x" * 129}), ("Put", {}), ("Put", {"body": "  "})])
async def test_bad_and_missing_arguments_are_parameter_errors(name: str, arguments: dict[str, str]) -> None:
    async with bench() as b:
        result = (await b.run(command(name, **arguments)))[0]
        assert (result.tag, result.get("status")) == (f"Bookings{name}Result", "ParameterError")


async def test_an_argument_that_the_software_does_not_have_gets_an_empty_command() -> None:
    async with bench("ce9") as b:
        answer = await b.run(command("List", ScheduleType="Current"))
        assert (answer.tag, len(answer)) == ("Command", 0)


# --- List, Get, Clear ---

async def ids(b: Any, **arguments: str) -> list[str]:
    result = (await b.run(command("List", **arguments)))[0]
    assert result.get("status") == "OK"
    found = [str(e.text) for e in result.findall("Booking/Id")]
    assert result.findtext("ResultInfo/TotalRows") == str(len(found))
    return found


async def test_list_is_narrowed_by_local_days_and_by_limit_and_offset() -> None:
    async with bench("ce9", timezone=timezone(timedelta(hours=2))) as b:
        def at(text: str) -> dict[str, Any]:
            return json_booking(text, Time={"StartTime": text, "Duration": 30})

        times = ["2026-03-01T21:00:00Z", "2026-03-01T22:00:00Z", "2026-03-02T21:30:00Z", "2026-03-02T22:00:00Z",
                 "2026-03-04T12:00:00Z"]
        assert await b.put(*map(at, times)) == ("OK", None)
        assert await ids(b) == times  # also what is past
        assert await ids(b, Days="1") == times[1:3]  # today begins at 22:00 UTC of the day before
        assert await ids(b, DayOffset="1", Days="1") == times[3:4]
        assert await ids(b, DayOffset="1") == times[3:]
        assert await ids(b, Limit="2", Offset="1") == times[1:3]
        assert await ids(b, Offset="4") == times[4:]


async def test_roomos_lists_what_runs_now_or_is_to_come() -> None:
    async with bench("roomos11", rate_limit=False) as b:
        await b.put(json_booking("past", Time={"StartTime": "2026-03-02T11:00:00Z", "Duration": 60}),
                    json_booking("now"), json_booking("next", Time={"StartTime": "2026-03-02T12:00:01Z",
                                                                    "Duration": 5}))
        assert await ids(b, ScheduleType="Current") == ["now"]
        assert await ids(b, ScheduleType="Upcoming") == ["next"]
        result = (await b.run(command("List", ScheduleType="Soon")))[0]
        assert result.get("status") == "ParameterError"


async def test_list_shows_a_booking_as_roomos_prints_it() -> None:
    async with bench("roomos26", rate_limit=False) as b:
        await b.put(json_booking(MeetingPlatform="Zoom", CallType="Video", Privacy="Private"))
        result = (await b.run(command("List")))[0]
        assert result.findtext("LastUpdated") == "2026-03-02T12:00:00Z"
        (booking,) = result.findall("Booking")
        assert [e.tag for e in booking] == [
            "Id", "MeetingId", "Title", "Agenda", "Privacy", "Organizer", "Time", "MaximumMeetingExtension",
            "MeetingExtensionAvailability", "BookingStatus", "BookingStatusMessage", "MeetingPlatform",
            "Cancellable", "Webex", "Encryption", "Recording", "DialInfo"]
        assert [(e.tag, e.text) for e in booking.findall("Time/*")] == [
            ("StartTime", "2026-03-02T12:00:00Z"), ("StartTimeBuffer", "300"),
            ("EndTime", "2026-03-02T12:45:00Z"), ("EndTimeBuffer", "0")]
        assert booking.items() == [("item", "1"), ("maxOccurrence", "n")]
        assert booking.findtext("Privacy") == "Private"
        assert booking.findtext("DialInfo/Calls/Call/Number") == "room7@video.example.com"
        assert booking.findtext("DialInfo/ConnectMode") == "OBTP"


async def test_tc_lists_under_its_own_name_and_without_newer_elements() -> None:
    async with bench("tc7") as b:
        await b.push(xml_booking(), xml_booking("b-2", calls="", mode="Manual"))
        result = (await b.run(command("List")))[0]
        assert (result.tag, result.get("status")) == ("Bookings", "OK")
        first, second = result.findall("Booking")
        assert {"MeetingId", "MeetingPlatform", "Cancellable"}.isdisjoint(e.tag for e in first)
        assert first.findtext("Role") == "Master"
        assert [e.tag for e in second.findall("DialInfo/*")] == ["ConnectMode"]
        got = (await b.run(command("Get", Id="b-2")))[0]
        assert (got.tag, got.findtext("Booking/Id")) == ("Bookings", "b-2")


async def test_an_empty_list_has_no_rows() -> None:
    async with bench() as b:
        assert await ids(b) == []


async def test_get_of_an_unknown_id_is_an_error_and_clear_empties_the_list() -> None:
    async with bench() as b:
        await b.put(json_booking())
        assert (await b.run(command("Get", Id="b-1")))[0].findtext("Booking/Title") == "Planning & review"
        assert (await b.run(command("Get", Id="b-9")))[0].get("status") == "Error"
        assert (await b.run(command("Clear")))[0].get("status") == "OK"
        assert b.codec.bookings == ()
        assert [p.kind for p in b.codec.pushes] == ["json", "clear"]


# --- Bookings Put ---

@pytest.mark.parametrize("profile", PUTS)
async def test_put_replaces_the_whole_list_and_keeps_the_order_and_what_is_past(profile: str) -> None:
    async with bench(profile, rate_limit=False) as b:
        past = json_booking("past", Time={"StartTime": "2020-01-01T00:00:00.250000000Z", "Duration": 5})
        assert await b.put(json_booking("z", Extra={"is": "let pass"}, EndTime="x"), past) == ("OK", None)
        assert [x.id for x in b.codec.bookings] == ["z", "past"]
        first = b.codec.bookings[0]
        assert (first.number, first.organizer, first.end - first.start) == (
            "room7@video.example.com", "Ada Berg", timedelta(minutes=45))
        assert (first.start_buffer_s, first.end_buffer_s, first.start) == (300, 0, NOON)
        assert await b.put(json_booking("only")) == ("OK", None)
        assert [x.id for x in b.codec.bookings] == ["only"]
        assert await b.put() == ("OK", None)
        assert b.codec.bookings == ()


TIME = {"StartTime": "2026-03-02T12:00:00Z", "Duration": 45}


@pytest.mark.parametrize(("changes", "reason"), [
    ({"Id": None}, "Id is missing"), ({"Id": ""}, "Id is empty"), ({"Id": 7}, "expected str"),
    ({"Id": "x" * 129}, "at most 128"), ({"Title": None}, "Title is missing"),
    ({"Title": "x" * 129}, "at most 128"),
    ({"Title": "a\x00b"}, "control characters"), ({"Number": None}, "Number is missing"),
    ({"Number": ""}, "Number is empty"), ({"Protocol": None}, "Protocol is missing"), ({"Protocol": "sip"}, "SIP"),
    ({"Organizer": None}, "Organizer is missing"), ({"Organizer": {}}, "Name is missing"),
    ({"Organizer": "Ada"}, "expected dict"), ({"Time": None}, "Time is missing"),
    ({"Time": {"Duration": 5}}, "StartTime is missing"),
    ({"Time": {"StartTime": "2026-03-02T12:00:00Z"}}, "Duration is missing"),
    ({"Time": {**TIME, "Duration": "45"}}, "expected int"), ({"Time": {**TIME, "Duration": True}}, "expected int"),
    ({"Time": {**TIME, "Duration": -1}}, "minutes"), ({"Time": {**TIME, "Duration": 10**15}}, "minutes"),
    ({"Time": {**TIME, "StartTime": "2026-03-02T12:00:00+00:00"}}, "StartTime is"),
    ({"Time": {**TIME, "StartTime": "2026-13-02T12:00:00Z"}}, "no time"),
    ({"Time": {**TIME, "StartTimeBuffer": "300"}}, "expected int"),
    ({"Time": {**TIME, "EndTimeBuffer": -1}}, "number of seconds"), ({"Privacy": "Secret"}, "Privacy is"),
    ({"CallType": "Text"}, "CallType is"), ({"Encryption": "BestEffort"}, "Encryption is")])
async def test_put_refuses_a_bad_booking_and_keeps_the_old_list(changes: dict[str, Any], reason: str) -> None:
    async with bench() as b:
        await b.put(json_booking("old"))
        status, text = await b.put(json_booking(**changes) if "Id" not in changes else
                                   {k: v for k, v in {**json_booking(), **changes}.items() if v is not None})
        assert status == "Error"
        assert reason in (text or "")
        assert [x.id for x in b.codec.bookings] == ["old"]
        assert [p.accepted for p in b.codec.pushes] == [True, False]


@pytest.mark.parametrize("body", ["not JSON", "[]", '"x"', "{}", '{"Bookings":{}}', '{"Bookings":[7]}',
                                  "[" * 100_000, "<Bookings><Booking><Id>1</Id></Booking></Bookings>"])
async def test_put_takes_nothing_but_an_object_with_a_list_of_bookings(body: str) -> None:
    async with bench() as b:
        result = (await b.run(put_text(body)))[0]
        assert (result.tag, result.get("status")) == ("BookingsPutResult", "Error")
        assert result.findtext("Reason")


async def test_put_refuses_the_same_id_twice_and_more_than_it_stores() -> None:
    async with bench(limits=Limits(bookings=2)) as b:
        assert await b.put(json_booking("a"), json_booking("a")) == ("Error", "two bookings have the same Id")
        assert (await b.put(*(json_booking(str(n)) for n in range(3))))[1] == "3 bookings, at most 2 are stored"


async def test_protocols_and_platforms_depend_on_the_profile() -> None:
    without_number = json_booking(Protocol="None", Number="", MeetingPlatform="None")
    teams = json_booking(Protocol="WebRTC", Number="https://teams.example.com/j", MeetingPlatform="MicrosoftTeams")
    async with bench("ce9") as b:
        assert (await b.put(without_number))[0] == "Error"
        assert (await b.put(teams))[0] == "Error"
        assert (await b.put(json_booking(MeetingPlatform="Anything")))[0] == "OK"
    async with bench("roomos11", rate_limit=False) as b:
        assert (await b.put(without_number))[0] == "OK"
        assert b.codec.joinable(NOON) == ()
        assert (await b.put(teams))[0] == "OK"
        assert (await b.put({**teams, "MeetingPlatform": "Zoom"}))[0] == "Error"
        assert (await b.put(json_booking(MeetingPlatform="Anything")))[0] == "Error"


async def test_put_is_not_available_in_teams_mode() -> None:
    async with bench("roomos26", teams_mode=True, rate_limit=False) as b:
        assert (await b.put(json_booking()))[0] == "Error"
        b.codec.teams_mode = False
        assert (await b.put(json_booking()))[0] == "OK"
    async with bench("ce9", teams_mode=True) as b:
        assert (await b.put(json_booking()))[0] == "OK"


# --- /bookingsputxml ---

@pytest.mark.parametrize("profile", PROFILES)
async def test_the_private_path_replaces_the_list_on_every_generation(profile: str) -> None:
    async with bench(profile, rate_limit=False) as b:
        assert await b.push(xml_booking("z"), xml_booking("a", privacy="Private")) == 200
        assert [x.id for x in b.codec.bookings] == ["z", "a"]
        first, second = b.codec.bookings
        assert (first.title, first.number, first.protocol, first.organizer, first.email) == (
            "Planning & review", "room7@video.example.com", "SIP", "Ada Berg", "ada@example.com")
        assert (first.start, first.end) == (NOON, NOON + timedelta(minutes=45))
        assert (first.start_buffer_s, first.end_buffer_s) == (300, 60)
        assert (first.private, second.private) == (False, True)
        assert await b.push() == 200
        assert b.codec.bookings == ()


@pytest.mark.parametrize("content_type", ["text/xml", "application/xml", "text/plain", ""])
async def test_the_private_path_does_not_look_at_the_content_type(content_type: str) -> None:
    async with bench("tc7") as b:
        assert await b.status_of("POST", "/bookingsputxml", xml_document(xml_booking()),
                                 headers={"Content-Type": content_type}) == 200
        assert len(b.codec.bookings) == 1


async def test_the_private_path_takes_bookings_without_declaration_and_with_item_numbers() -> None:
    async with bench("tc7") as b:
        numbered = xml_booking().replace("<Booking>", '<Booking item="1">').replace("<Call>", '<Call item="1">')
        assert await b.status_of("POST", "/bookingsputxml", f'<Bookings status="OK">{numbered}</Bookings>') == 200
        assert len(b.codec.bookings) == 1


@pytest.mark.parametrize(("kind", "expected"), [("empty", b""), ("success", b"<success/>"),
                                                ("echo", xml_document().encode())])
async def test_the_body_under_200_is_a_switch(kind: Any, expected: bytes) -> None:
    async with bench(switches=Switches(private_answer=kind)) as b:
        assert (await b.ask("POST", "/bookingsputxml", xml_document()))[1] == expected


async def test_the_private_path_clears() -> None:
    async with bench("tc7") as b:
        await b.push(xml_booking())
        assert await b.status_of("POST", "/bookingsputxml",
                                 '<Bookings><Clear command="True"></Clear></Bookings>') == 200
        assert b.codec.bookings == ()
        assert await b.status_of("POST", "/bookingsputxml", "<Bookings><Clear/></Bookings>") == 400


@pytest.mark.parametrize("document", [
    "", "x", "<Bookings/>", "<Booking/>", '<Bookings status="Error"/>', put_document(json_booking()),
    '{"Bookings": []}', xml_document("<Booking/>"), xml_document(xml_booking("")),
    xml_document(xml_booking("x" * 129)), xml_document(xml_booking(title="")),
    xml_document(xml_booking(title=f"<Title>{'x' * 129}</Title>")),
    xml_document(xml_booking(start="2026-03-02T12:00:00.5Z")),
    xml_document(xml_booking(start="2026-03-02T12:00:00+00:00")), xml_document(xml_booking(end="")),
    xml_document(xml_booking(end="2026-02-30T12:00:00Z")), xml_document(xml_booking(end="2026-03-02T11:00:00Z")),
    xml_document(xml_booking(buffers="5m")), xml_document(xml_booking(mode="Auto")),
    xml_document(xml_booking(mode="")), xml_document(xml_booking(privacy="Secret")),
    xml_document(xml_booking(calls="<Calls><Call><Protocol>SIP</Protocol></Call></Calls>")),
    xml_document(xml_booking(calls="<Calls><Call><Number>1</Number><Protocol>sip</Protocol></Call></Calls>"))])
async def test_the_private_path_refuses_what_is_no_list_of_bookings_and_keeps_the_old_one(document: str) -> None:
    async with bench() as b:
        await b.push(xml_booking("old"))
        assert await b.status_of("POST", "/bookingsputxml", document) == 400
        assert [x.id for x in b.codec.bookings] == ["old"]
        assert b.codec.exchanges[-1].outcome not in ("ok", "replaced")
        assert not b.codec.pushes[-1].accepted


# --- status and schema ---

@pytest.mark.parametrize(("profile", "begins"), [
    ("tc7", "TC7.3.9"), ("ce9_6", "ce9.6."), ("ce9", "ce9.15."), ("roomos11", "ce11.24."),
    ("roomos26", "ce26.7.1.12.67c6e508983")])
async def test_the_software_version_is_reported_as_by_devices(profile: str, begins: str) -> None:
    async with bench(profile, rate_limit=False) as b:
        _, body = await b.ask("GET", "/getxml?location=/Status/SystemUnit/Software/Version")
        root = etree.fromstring(body)
        version = root.findtext("SystemUnit/Software/Version") or ""
        assert version.startswith(begins)
        assert root.items() == [("product", "Cisco Codec"), ("version", version), ("apiVersion", "4")]
        assert [e.tag for e in root.iter()] == ["Status", "SystemUnit", "Software", "Version"]
        _, body = await b.ask("GET", "/status.xml")
        assert etree.fromstring(body).findtext("SystemUnit/Software/Version") == version


async def test_current_booking_and_availability_are_there_by_generation() -> None:
    async with bench("roomos11", rate_limit=False) as b:
        async def status(name: str) -> str | None:
            _, body = await b.ask("GET", "/getxml?location=/Status/Bookings")
            return etree.fromstring(body).findtext(f"Bookings/{name}")

        assert await status("Availability/Status") == "Free"
        assert await status("Current/Id") == ""
        earlier = {"StartTime": "2026-03-02T11:30:00Z", "Duration": 60}
        await b.put(json_booking("a"), json_booking("b", Time=earlier))
        assert await status("Current/Id") == "b"
        assert await status("Availability/Status") == "BookedUntil"
        assert await status("Availability/TimeStamp") == "2026-03-02T12:30:00Z"
        b.now = datetime(2026, 3, 2, 8, tzinfo=UTC)
        assert await status("Availability/Status") == "FreeUntil"
        assert await status("Availability/TimeStamp") == "2026-03-02T11:30:00Z"
    async with bench("ce9") as b:
        assert await status("Availability/Status") is None
        assert await status("Current/Id") == ""
    async with bench("tc7") as b:
        assert await status("Current/Id") is None


@pytest.mark.parametrize(("profile", "has_put"), [("tc7", False), ("ce9_6", False), ("ce9", True),
                                                  ("roomos26", True)])
async def test_the_schema_tells_whether_there_is_put(profile: str, has_put: bool) -> None:
    async with bench(profile, rate_limit=False) as b:
        for path in ("/command.xml", "/getxml?location=/Command/Bookings", "/getxml?location=/Command"):
            _, body = await b.ask("GET", path)
            commands = [str(e.tag) for e in etree.fromstring(body).findall("Bookings/*")]
            assert ("Put" in commands) is has_put, path
            assert {"Clear", "Get", "List"} <= set(commands)


@pytest.mark.parametrize("location", ["", "/", "/Status/Nowhere", "/Status/Bookings/Nowhere/Deep", "//Status",
                                      "/Status[1]", "/Configuration"])
async def test_a_location_that_names_nothing_gets_the_answer_of_its_generation(location: str) -> None:
    for profile, answer in (("ce9", "<EmptyResult/>"), ("tc7", "<Fault>")):
        async with bench(profile) as b:
            response, body = await b.ask("GET", "/getxml", params={"location": location})
            assert response.code == 200
            assert answer in body.decode()


def test_the_test_document_of_put_is_json_in_xml() -> None:
    body = etree.fromstring(put_document(json_booking())).findtext("Bookings/Put/body")
    assert json.loads(body or "")["Bookings"][0]["Title"] == "Planning & review"
