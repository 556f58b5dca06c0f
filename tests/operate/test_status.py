from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from otjd.meetings.model import Meeting
from otjd.operate.board import AlarmLevel, AlarmName, IntegrationState, IntegrationStatus, RoomReport
from otjd.operate.status import (
    alarms_document,
    encode,
    endpoints_document,
    integrations_document,
    meeting_rows,
    meetings_document,
    rfc3339,
    rooms_document,
    status_document,
)
from tests.operate.world import BOARDROOM, START, World, meeting

INTEGRATION_KEYS = ["name", "kind", "state", "last_success", "last_error", "requests_last_24h", "quota_24h",
                    "sweep_interval_s", "content_interval_s"]
ALARM_KEYS = ["name", "level", "instance", "details", "raised_at"]


@pytest.fixture
def world() -> World:
    return World()


def rows(world: World, **filters: str) -> list[tuple[str, str]]:
    return [(row["subject"], row["endpoint_name"])
            for row in meetings_document(world.snapshot(), **filters)["meetings"]]


def test_status_has_exactly_the_keys_of_the_contract(world: World) -> None:
    world.board.raise_alarm(AlarmName.CONFIGURATION, "otj1", "refused")
    document = status_document(world.snapshot())
    assert list(document) == ["node", "rooms", "meetings", "endpoints", "integrations", "alarms"]
    assert list(document["node"]) == ["name", "location", "version", "fips", "started_at"]
    assert list(document["rooms"]) == ["total", "fresh", "stale", "never_read"]
    assert list(document["meetings"]) == ["total", "joinable"]
    assert list(document["endpoints"]) == ["total", "in_contact", "by_type"]
    assert [list(one) for one in document["integrations"]] == [INTEGRATION_KEYS] * 2
    assert [list(one) for one in document["alarms"]] == [ALARM_KEYS]


def test_status_tells_of_node_rooms_and_meetings(world: World) -> None:
    document = status_document(world.snapshot())
    assert document["node"] == {"name": "otj1", "location": "oslo", "version": "0.1.0", "fips": False,
                                "started_at": "2026-03-02T08:00:00Z"}
    assert document["rooms"] == {"total": 3, "fresh": 1, "stale": 1, "never_read": 1}
    # two endpoints show the boardroom's meetings, which are counted once
    assert document["meetings"] == {"total": 3, "joinable": 2}
    assert document["endpoints"] == {"total": 4, "in_contact": 0, "by_type": {"CISCO": 1, "POLY": 3, "WEBEX": 0}}


def test_an_empty_node_has_every_key_as_well() -> None:
    world = World()
    world.cache.configure({})
    world.board.configure([], [])
    document = status_document(world.snapshot())
    assert document["rooms"] == {"total": 0, "fresh": 0, "stale": 0, "never_read": 0}
    assert document["meetings"] == {"total": 0, "joinable": 0}
    assert document["endpoints"] == {"total": 0, "in_contact": 0, "by_type": {"CISCO": 0, "POLY": 0, "WEBEX": 0}}
    assert (document["integrations"], document["alarms"]) == ([], [])


@pytest.mark.parametrize(("endpoint", "silent", "is_in_contact"), [
    ("Group 500", timedelta(minutes=9, seconds=59), True), ("Group 500", timedelta(minutes=10), False),
    ("Room Kit", timedelta(hours=1, minutes=59), True), ("Room Kit", timedelta(hours=2), False)])
def test_contact_lasts_as_long_as_the_type_lets_expect(
        world: World, endpoint: str, silent: timedelta, is_in_contact: bool) -> None:
    world.board.endpoint_contacted(endpoint)
    world.time += silent
    assert status_document(world.snapshot())["endpoints"]["in_contact"] == int(is_in_contact)
    shown = next(row for row in endpoints_document(world.snapshot())["endpoints"]
                 if row["endpoint_name"] == endpoint)
    assert shown["in_contact"] is is_in_contact


def test_meetings_are_one_row_per_endpoint_and_meeting_ascending_by_start(world: World) -> None:
    assert rows(world) == [("lunch", "Group 500"), ("lunch", "Room Kit"),
                           ("standup", "Group 500"), ("standup", "Room Kit"), ("standup", "Studio X")]


def test_a_meeting_row_has_exactly_the_keys_of_the_contract(world: World) -> None:
    lunch, *_, last = meetings_document(world.snapshot())["meetings"]
    assert lunch == {
        "id": lunch["id"], "subject": "lunch", "organizer_name": "", "organizer_email": "",
        "start_time": "2026-03-02T09:00:00Z", "end_time": "2026-03-02T10:00:00Z", "last_modified_time": None,
        "alias": None, "matched_meeting_processing_rule": "", "endpoint_name": "Group 500",
        "room_email": "boardroom@example.com", "profile_name": "default", "private": True, "stale": False}
    assert list(lunch) == [
        "id", "subject", "organizer_name", "organizer_email", "start_time", "end_time", "last_modified_time",
        "alias", "matched_meeting_processing_rule", "endpoint_name", "room_email", "profile_name", "private",
        "stale"]
    assert last["alias"] == "1234@example.com"
    assert last["matched_meeting_processing_rule"] == "by our CVI"
    assert (last["organizer_name"], last["organizer_email"]) == ("Ada Ås", "ada@example.com")
    assert last["last_modified_time"] == "2026-03-02T08:00:00Z"
    assert (last["profile_name"], last["stale"], last["private"]) == ("vip", True, False)


def test_the_id_of_a_meeting_is_the_same_at_every_endpoint(world: World) -> None:
    assert len({row["id"] for row in meetings_document(world.snapshot())["meetings"]}) == 2


@pytest.mark.parametrize(("filters", "expected"), [
    ({"endpoint": "Room Kit"}, [("lunch", "Room Kit"), ("standup", "Room Kit")]),
    ({"endpoint": "room kit"}, []),
    ({"profile": "vip"}, [("standup", "Studio X")]),
    ({"room": " BOARDROOM@example.com", "profile": "vip"}, [("standup", "Studio X")]),
    ({"room": "cabin@example.com"}, []),
    ({"room": "boardroom@example.com", "endpoint": "Studio X", "profile": "default"}, [])])
def test_meetings_are_filtered(world: World, filters: dict[str, str], expected: list[tuple[str, str]]) -> None:
    assert rows(world, **filters) == expected


def test_an_empty_filter_keeps_all(world: World) -> None:
    assert rows(world, room="", endpoint="", profile="") == rows(world)


def test_endpoints_appear_from_configuration_on(world: World) -> None:
    world.board.endpoint_contacted("Group 500", address="10.1.1.1", meetings=2, operation="FindItem",
                                   user_agent="Polycom", scheme="digest")
    group, kit, *_ = endpoints_document(world.snapshot())["endpoints"]
    assert group == {
        "endpoint_name": "Group 500", "endpoint_type": "POLY", "endpoint_address": "10.1.1.1",
        "room_email": "boardroom@example.com", "profile_name": "default", "current_node": "otj1",
        "last_contact_time": "2026-03-02T08:00:00Z", "last_error": None, "number_of_meetings": 2,
        "in_contact": True, "last_operation": "FindItem", "last_user_agent": "Polycom",
        "last_authentication_scheme": "digest"}
    assert (kit["endpoint_address"], kit["last_contact_time"], kit["in_contact"]) == ("10.0.0.5", None, False)


def test_rooms_name_their_endpoints(world: World) -> None:
    boardroom, vip, cabin = rooms_document(world.snapshot())["rooms"]
    assert boardroom == {
        "room_email": "boardroom@example.com", "profile_name": "default", "freshness": "fresh",
        "last_read_time": "2026-03-02T08:00:00Z", "number_of_meetings": 2, "number_of_joinable_meetings": 1,
        "endpoints": ["Group 500", "Room Kit"], "integration": None, "last_success": None, "last_error": None,
        "requests_last_24h": None, "detector": None, "sweep_interval_s": None, "content_interval_s": None}
    assert (vip["freshness"], vip["endpoints"]) == ("stale", ["Studio X"])
    assert (cabin["freshness"], cabin["last_read_time"], cabin["endpoints"]) == ("never_read", None, ["HDX"])


def test_rooms_tell_what_their_integration_says_of_them(world: World) -> None:
    world.board.integration_planned("m365", quota_24h=500_000, sweep_interval_s=34.6, content_interval_s=864)
    world.board.room_reported("boardroom@example.com", RoomReport(
        "m365", last_success=START, last_error="503", requests_last_24h=12, detector="sweep"))
    boardroom = rooms_document(world.snapshot())["rooms"][0]
    assert {key: boardroom[key] for key in (
        "integration", "last_success", "last_error", "requests_last_24h", "detector", "sweep_interval_s",
        "content_interval_s")} == {
        "integration": "m365", "last_success": "2026-03-02T08:00:00Z", "last_error": "503",
        "requests_last_24h": 12, "detector": "sweep", "sweep_interval_s": 34.6, "content_interval_s": 864}
    world.board.configure([], world.board.integrations())
    assert world.board.room_reports() == {}


def test_an_integration_that_counts_its_requests_itself_is_asked(world: World) -> None:
    world.board.requests_counted_by("m365", lambda: 4711)
    assert integrations_document(world.snapshot())["integrations"][1]["requests_last_24h"] == 4711
    world.configure(())
    assert integrations_document(world.snapshot())["integrations"][1]["requests_last_24h"] == 4711
    world.board.configure([], [IntegrationStatus("m365", "file")])
    assert world.board.integrations()[0].requests_last_24h == 0, "another kind does not count this way"


def test_integrations_tell_state_and_budget(world: World) -> None:
    world.board.count_requests("m365", 7)
    world.board.integration_succeeded("files")
    world.board.integration_failed("m365", "503", IntegrationState.FAILED)
    files, m365 = integrations_document(world.snapshot())["integrations"]
    assert (files["state"], files["last_success"], files["last_error"]) == ("ok", "2026-03-02T08:00:00Z", None)
    assert m365 == {"name": "m365", "kind": "graph", "state": "failed", "last_success": None, "last_error": "503",
                    "requests_last_24h": 7, "quota_24h": 1_000_000, "sweep_interval_s": 30,
                    "content_interval_s": 30}
    assert b'"sweep_interval_s":2,"content_interval_s":2.5' in encode(integrations_document(world.snapshot()))


def test_alarms_tell_what_is_wrong_since_when(world: World) -> None:
    world.board.raise_alarm(AlarmName.CERTIFICATE_EXPIRING, "0.0.0.0:443", "ends soon", AlarmLevel.WARNING)
    assert alarms_document(world.snapshot()) == {"alarms": [
        {"name": "otj_certificate_expiring", "level": "warning", "instance": "0.0.0.0:443", "details": "ends soon",
         "raised_at": "2026-03-02T08:00:00Z"}]}


def test_a_snapshot_does_not_change_when_the_node_does(world: World) -> None:
    before = world.snapshot()
    shown = encode(status_document(before)) + encode(meetings_document(before))
    world.board.endpoint_contacted("Group 500")
    world.board.endpoint_failed("Room Kit", "refused")
    world.cache.replace(BOARDROOM, [], START)
    assert encode(status_document(before)) + encode(meetings_document(before)) == shown


def test_times_are_utc_in_whole_seconds() -> None:
    oslo = timezone(timedelta(hours=2))
    assert rfc3339(datetime(2026, 7, 1, 0, 30, 15, 999999, tzinfo=oslo)) == "2026-06-30T22:30:15Z"
    assert rfc3339(datetime(1, 1, 1, tzinfo=UTC)) == "0001-01-01T00:00:00Z"


def test_encoded_documents_are_json_whatever_a_calendar_holds(world: World) -> None:
    subjects = ['"quoted"\\', "line\nend\u2028\x00\x1b", "Møte 🎉", "</script>"]
    world.cache.replace(BOARDROOM, [meeting(BOARDROOM, f"{n}", START, subject=subject)
                                    for n, subject in enumerate(subjects)], START)
    snapshot = world.snapshot()
    listed: dict[str, Any] = json.loads(encode({"meetings": meeting_rows(snapshot, endpoint="Room Kit")}))
    assert {row["subject"] for row in listed["meetings"]} == set(subjects)
    assert listed == json.loads(encode(meetings_document(snapshot, endpoint="Room Kit")))


def test_half_of_a_surrogate_pair_does_not_break_a_document(world: World) -> None:
    world.board.endpoint_failed("Room Kit", "half \ud83d")
    assert json.loads(encode(alarms_document(world.snapshot())))["alarms"][0]["details"] == "half ?"


def test_rows_are_made_one_at_a_time(world: World) -> None:
    many: list[Meeting] = [meeting(BOARDROOM, f"{n}", START + timedelta(minutes=n)) for n in range(500)]
    world.cache.replace(BOARDROOM, many, START)
    first = next(meeting_rows(world.snapshot()))
    assert (first["subject"], first["endpoint_name"]) == ("0", "Group 500")
