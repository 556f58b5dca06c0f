from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from otjd.meetings.model import EndpointType
from otjd.operate.board import (
    DETAILS_LIMIT,
    AlarmLevel,
    AlarmName,
    EndpointState,
    IntegrationState,
    IntegrationStatus,
)
from tests.operate.world import GROUP_500, HDX, ROOM_KIT, START, World


@pytest.fixture
def world() -> World:
    return World()


def state(world: World, name: str) -> EndpointState:
    return next(s for s in world.board.endpoints() if s.facts.name == name)


def status(world: World, name: str) -> IntegrationStatus:
    return next(s for s in world.board.integrations() if s.name == name)


def raised(world: World) -> list[tuple[str, str]]:
    return [(str(a.name), a.instance) for a in world.board.alarms()]


def test_an_endpoint_is_shown_from_configuration_on(world: World) -> None:
    shown = state(world, "Room Kit")
    assert (shown.last_contact_time, shown.last_error, shown.number_of_meetings) == (None, None, 0)
    assert shown.configured_at == START


def test_a_contact_is_kept_and_lowers_the_alarm(world: World) -> None:
    world.board.endpoint_failed("Room Kit", "307 instead of 200")
    assert raised(world) == [("otj_cisco_endpoint_error", "Room Kit")]
    world.time += timedelta(minutes=1)
    world.board.endpoint_contacted("Room Kit", address="10.0.0.9", meetings=3, operation="Bookings Put",
                                   user_agent="otjd", scheme="basic")
    shown = state(world, "Room Kit")
    assert shown.last_contact_time == world.time
    assert (shown.last_error, shown.address, shown.number_of_meetings) == (None, "10.0.0.9", 3)
    assert (shown.last_operation, shown.last_user_agent, shown.last_scheme) == ("Bookings Put", "otjd", "basic")
    assert not raised(world)


def test_a_contact_that_says_less_keeps_what_was_known(world: World) -> None:
    world.board.endpoint_contacted("Group 500", address="10.1.1.1", meetings=2, operation="FindItem",
                                   user_agent="Polycom", scheme="digest")
    world.board.endpoint_contacted("Group 500")
    shown = state(world, "Group 500")
    assert (shown.address, shown.number_of_meetings, shown.last_operation) == ("10.1.1.1", 2, "FindItem")
    assert (shown.last_user_agent, shown.last_scheme) == ("Polycom", "digest")


def test_reports_about_strangers_are_left_alone(world: World) -> None:
    before = (world.board.endpoints(), world.board.integrations())
    world.board.endpoint_contacted("nobody")
    world.board.endpoint_failed("nobody", "gone")
    world.board.integration_succeeded("nobody")
    world.board.integration_failed("nobody", "gone")
    assert (world.board.endpoints(), world.board.integrations()) == before
    assert not world.board.alarms()


def test_an_endpoint_without_alarms_keeps_its_error_and_raises_none(world: World) -> None:
    world.configure([replace(ROOM_KIT, raise_alarms=False)])
    world.board.endpoint_failed("Room Kit", "refused")
    assert state(world, "Room Kit").last_error == "refused"
    assert not world.board.alarms()


def test_a_caller_may_report_an_error_without_an_alarm(world: World) -> None:
    world.board.endpoint_failed("Group 500", "wrong password", alarm=False)
    assert state(world, "Group 500").last_error == "wrong password"
    assert not world.board.alarms()


def test_a_raised_alarm_keeps_its_time_and_renews_the_rest(world: World) -> None:
    world.board.raise_alarm(AlarmName.CONFIGURATION, "otj1", "first")
    world.time += timedelta(hours=1)
    world.board.raise_alarm(AlarmName.CONFIGURATION, "otj1", "second", AlarmLevel.CRITICAL)
    (alarm,) = world.board.alarms()
    assert (alarm.details, alarm.level, alarm.raised_at) == ("second", AlarmLevel.CRITICAL, START)


def test_alarms_come_oldest_first(world: World) -> None:
    world.board.raise_alarm(AlarmName.QUOTA_EXCEEDED, "m365", "spent")
    world.time += timedelta(seconds=1)
    world.board.raise_alarm(AlarmName.CONFIGURATION, "otj1", "refused")
    assert [a.name for a in world.board.alarms()] == [AlarmName.QUOTA_EXCEEDED, AlarmName.CONFIGURATION]


def test_details_and_errors_from_outside_are_cut(world: World) -> None:
    world.board.endpoint_failed("Room Kit", "x" * 100_000)
    world.board.integration_failed("m365", "y" * 100_000)
    assert len(world.board.alarms()[0].details) == DETAILS_LIMIT
    assert len(state(world, "Room Kit").last_error or "") == DETAILS_LIMIT
    assert len(status(world, "m365").last_error or "") == DETAILS_LIMIT


@pytest.mark.parametrize(("name", "instance", "field"), [
    (AlarmName.POLY_ENDPOINT, "Group 500", "endpoint"),
    (AlarmName.QUOTA_EXCEEDED, "m365", "integration"),
    (AlarmName.INTEGRATION_UNAUTHORIZED, "m365", "integration"),
    (AlarmName.GRAPH_GATHERER, "m365", "integration"),
    (AlarmName.GRAPH_GATHERER, "cabin@example.com", "room"),
    (AlarmName.CONFIGURATION, "otj1", None),
])
def test_log_lines_of_an_alarm_name_what_it_is_about(
        world: World, logged_events: list[dict[str, Any]], name: AlarmName, instance: str,
        field: str | None) -> None:
    world.board.raise_alarm(name, instance, "details")
    world.board.raise_alarm(name, instance, "renewed, not logged again")
    world.board.lower_alarm(name, instance)
    world.board.lower_alarm(name, instance)
    lines = [e for e in logged_events if e.get("alarm") == str(name)]
    assert len(lines) == 2
    for line in lines:
        assert {key: line[key] for key in ("endpoint", "integration", "room") if key in line} == (
            {field: instance} if field else {})


def test_configuring_anew_keeps_what_is_known(world: World) -> None:
    world.board.endpoint_contacted("Group 500", address="10.1.1.1", meetings=2)
    world.board.integration_succeeded("files")
    world.time += timedelta(hours=1)
    world.configure([replace(GROUP_500, profile_name="vip"), HDX])
    shown = state(world, "Group 500")
    assert (shown.facts.profile_name, shown.last_contact_time, shown.address) == ("vip", START, "10.1.1.1")
    assert shown.configured_at == START
    assert status(world, "files").last_success == START


def test_an_endpoint_of_another_type_starts_anew(world: World) -> None:
    world.board.endpoint_contacted("Group 500", address="10.1.1.1", meetings=2)
    world.time += timedelta(hours=1)
    world.configure([replace(GROUP_500, endpoint_type=EndpointType.CISCO)])
    shown = state(world, "Group 500")
    assert (shown.last_contact_time, shown.address, shown.configured_at) == (None, "", world.time)


def test_a_newly_configured_address_replaces_the_one_last_seen(world: World) -> None:
    world.board.endpoint_contacted("Room Kit", address="10.0.0.5")
    world.configure([replace(ROOM_KIT, address="10.0.0.6")])
    assert state(world, "Room Kit").address == ""
    assert state(world, "Room Kit").last_contact_time == START


def test_alarms_of_what_is_gone_are_lowered_and_the_others_stay(world: World) -> None:
    board = world.board
    for endpoint in ("Group 500", "Room Kit", "HDX"):
        board.endpoint_failed(endpoint, "silent")
    board.raise_alarm(AlarmName.QUOTA_EXCEEDED, "m365", "spent")
    board.raise_alarm(AlarmName.INTEGRATION_UNAUTHORIZED, "old tenant", "revoked")
    board.raise_alarm(AlarmName.GRAPH_GATHERER, "m365", "all fail")
    board.raise_alarm(AlarmName.FILE_GATHERER, "Boardroom@example.com", "unreadable")
    board.raise_alarm(AlarmName.FILE_GATHERER, "cabin@example.com", "unreadable")
    board.raise_alarm(AlarmName.EXCHANGE_GATHERER, "boardroom@example.com", "no such mailbox")
    board.raise_alarm(AlarmName.CONFIGURATION, "otj1", "refused")
    world.configure([replace(ROOM_KIT, raise_alarms=False), GROUP_500,
                     replace(HDX, endpoint_type=EndpointType.CISCO, room_email="attic@example.com")])
    assert sorted(raised(world)) == [
        ("otj_configuration_error", "otj1"), ("otj_file_gatherer_error", "Boardroom@example.com"),
        ("otj_graph_gatherer_error", "m365"), ("otj_poly_endpoint_error", "Group 500"),
        ("otj_quota_exceeded", "m365")]


def test_an_integration_tells_how_it_is_doing(world: World) -> None:
    world.board.integration_failed("m365", "401", IntegrationState.UNAUTHORIZED)
    assert status(world, "m365").state is IntegrationState.UNAUTHORIZED
    assert status(world, "m365").last_error == "401"
    world.board.integration_succeeded("m365")
    assert (status(world, "m365").state, status(world, "m365").last_error) == (IntegrationState.OK, None)
    assert status(world, "m365").last_success == START


def test_an_integration_of_another_kind_starts_anew_and_one_of_the_same_takes_its_new_limits(world: World) -> None:
    world.board.integration_failed("m365", "503")
    world.board.integration_failed("files", "no such folder")
    world.board.configure([], [IntegrationStatus("m365", "exchange"),
                               IntegrationStatus("files", "file", quota_24h=9, sweep_interval_s=5)])
    assert status(world, "m365") == IntegrationStatus("m365", "exchange")
    files = status(world, "files")
    assert (files.last_error, files.quota_24h, files.sweep_interval_s) == ("no such folder", 9, 5)


def test_an_integration_that_became_one_of_files_has_no_alarm_of_quota_or_sign_in(world: World) -> None:
    world.board.raise_alarm(AlarmName.QUOTA_EXCEEDED, "m365", "spent")
    world.board.raise_alarm(AlarmName.INTEGRATION_UNAUTHORIZED, "m365", "revoked")
    world.board.configure([], [IntegrationStatus("m365", "file")])
    assert raised(world) == []


def test_requests_are_counted_for_24_hours(world: World) -> None:
    world.board.count_requests("m365")
    world.board.count_requests("m365", 4)
    world.time += timedelta(hours=23)
    world.board.count_requests("m365", 10)
    assert status(world, "m365").requests_last_24h == 15
    world.time += timedelta(hours=2)
    assert status(world, "m365").requests_last_24h == 10
    assert status(world, "files").requests_last_24h == 0


def test_counting_takes_no_more_room_than_a_number_a_minute(world: World) -> None:
    for _ in range(30 * 60):  # 30 hours, ten requests a minute, never looked at
        for _ in range(10):
            world.time += timedelta(seconds=6)
            world.board.count_requests("m365")
    assert len(world.board._requests["m365"]) <= 24 * 60 + 2
    assert status(world, "m365").requests_last_24h == pytest.approx(24 * 600, abs=20)
