from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from twisted.internet.task import Clock

from otjd.operate.board import Alarm, AlarmLevel, AlarmName, EndpointState, StatusBoard
from otjd.operate.supervision import CERTIFICATE_CHECK_S, CONTACT_CHECK_S, Supervisor
from otjd.seam import deferred
from tests.conftest import LoggedFailures
from tests.operate.world import GROUP_500, ROOM_KIT, START, STUDIO, World


class Watched:
    """A supervised world whose time is that of its clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.world = World()
        self.board: StatusBoard = self.world.board
        self.world.configure([GROUP_500, ROOM_KIT])
        self.certificates: list[tuple[str, datetime]] = []
        self.broken: Exception | None = None
        self.supervisor = Supervisor(self.board, clock=self.clock, now=self.world.now, certificates=self._ends)

    def _ends(self) -> list[tuple[str, datetime]]:
        if self.broken is not None:
            raise self.broken
        return self.certificates

    def pass_time(self, **span: float) -> None:
        """Let time pass, a check interval at a time."""
        rest = timedelta(**span).total_seconds()
        while rest > 0:
            step = min(rest, CONTACT_CHECK_S)
            self.world.time += timedelta(seconds=step)
            self.clock.advance(step)
            rest -= step

    def alarm(self) -> Alarm:
        (alarm,) = self.board.alarms()
        return alarm

    def group_500(self) -> EndpointState:
        return self.board.endpoints()[0]


@pytest.fixture
def watched() -> Iterator[Watched]:
    watched = Watched()
    watched.supervisor.start()
    yield watched
    stopped = deferred(watched.supervisor.stop())
    assert stopped.called
    assert not watched.clock.getDelayedCalls()


def test_a_poly_endpoint_that_never_called_has_an_alarm_after_ten_minutes(watched: Watched) -> None:
    watched.pass_time(minutes=9, seconds=30)
    assert not watched.board.alarms()
    watched.pass_time(seconds=30)
    alarm = watched.alarm()
    assert (alarm.name, alarm.instance, alarm.level) == (AlarmName.POLY_ENDPOINT, "Group 500", AlarmLevel.ERROR)
    assert "since the node started" in alarm.details
    assert "user name boardroom" in alarm.details
    assert watched.group_500().last_error == alarm.details


def test_silence_is_counted_from_the_last_contact(watched: Watched) -> None:
    watched.pass_time(minutes=5)
    watched.board.endpoint_contacted("Group 500", address="10.1.1.1")
    watched.pass_time(minutes=9, seconds=30)
    assert not watched.board.alarms()
    watched.pass_time(seconds=30)
    assert "since 2026-03-02T08:05:00Z, then from 10.1.1.1." in watched.alarm().details


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_makes_no_endpoint_silent_and_hides_no_silence(watched: Watched, hours: int) -> None:
    watched.pass_time(minutes=5)
    watched.board.endpoint_contacted("Group 500")
    watched.pass_time(minutes=1)
    watched.world.time += timedelta(hours=hours)
    watched.pass_time(minutes=8)
    assert not watched.board.alarms()
    watched.board.endpoint_contacted("Group 500")
    watched.pass_time(minutes=9)
    assert not watched.board.alarms()
    watched.pass_time(minutes=1, seconds=30)  # a check later at most
    assert watched.alarm().name is AlarmName.POLY_ENDPOINT


def test_the_next_contact_lowers_the_alarm_and_later_silence_raises_it_again(watched: Watched) -> None:
    watched.pass_time(minutes=11)
    assert watched.alarm().raised_at == START + timedelta(minutes=10)
    watched.board.endpoint_contacted("Group 500")
    assert not watched.board.alarms()
    assert watched.group_500().last_error is None
    watched.pass_time(minutes=10)
    assert watched.alarm().raised_at == START + timedelta(minutes=21)


def test_an_alarm_stays_as_it_is_while_the_silence_lasts(watched: Watched) -> None:
    watched.pass_time(minutes=10)
    first = watched.alarm()
    watched.pass_time(hours=3)
    assert watched.alarm() == first


def test_an_endpoint_configured_later_has_its_own_ten_minutes(watched: Watched) -> None:
    watched.board.endpoint_contacted("Group 500")
    watched.pass_time(minutes=8)
    watched.board.endpoint_contacted("Group 500")
    watched.world.configure([GROUP_500, STUDIO])
    watched.pass_time(minutes=9)
    watched.board.endpoint_contacted("Group 500")
    assert not watched.board.alarms()
    watched.pass_time(minutes=1)
    assert watched.alarm().instance == "Studio X"
    assert "its poly_username" in watched.alarm().details


def test_an_error_that_says_more_than_silence_is_kept_and_quoted(watched: Watched) -> None:
    watched.board.endpoint_failed("Group 500", "wrong password", alarm=False)
    watched.pass_time(minutes=11)
    assert watched.alarm().details.endswith("Its last error: wrong password")
    assert watched.group_500().last_error == "wrong password"


@pytest.mark.parametrize("error", [None, "wrong password"])
def test_an_endpoint_without_alarms_raises_none(watched: Watched, error: str | None) -> None:
    watched.world.configure([replace(GROUP_500, raise_alarms=False)])
    if error is not None:
        watched.board.endpoint_failed("Group 500", error)
    watched.pass_time(hours=1)
    assert not watched.board.alarms()
    assert watched.group_500().last_error is not None


def test_endpoints_that_are_pushed_to_may_be_silent(watched: Watched) -> None:
    watched.world.configure([ROOM_KIT])
    watched.pass_time(hours=5)
    assert not watched.board.alarms()


@pytest.mark.parametrize(("left", "level"), [
    (timedelta(days=21), AlarmLevel.WARNING), (timedelta(days=8), AlarmLevel.WARNING),
    (timedelta(days=7), AlarmLevel.ERROR), (timedelta(), AlarmLevel.CRITICAL),
    (timedelta(days=-9), AlarmLevel.CRITICAL)])
def test_a_certificate_that_ends_soon_has_an_alarm(watched: Watched, left: timedelta, level: AlarmLevel) -> None:
    watched.certificates = [("0.0.0.0:443", START + left), ("0.0.0.0:4443", START + timedelta(days=365))]
    watched.supervisor.check()
    alarm = watched.alarm()
    assert (alarm.name, alarm.instance, alarm.level) == (AlarmName.CERTIFICATE_EXPIRING, "0.0.0.0:443", level)
    assert (START + left).strftime("%Y-%m-%dT%H:%M:%SZ") in alarm.details
    assert ("ended" if left <= timedelta() else "ends") in alarm.details


def test_a_certificate_that_ends_later_has_none(watched: Watched) -> None:
    watched.certificates = [("0.0.0.0:443", START + timedelta(days=21, seconds=1))]
    watched.supervisor.check()
    assert not watched.board.alarms()


def test_certificates_are_looked_at_every_hour_and_a_new_one_lowers_the_alarm(watched: Watched) -> None:
    watched.world.configure([])
    watched.certificates = [("0.0.0.0:443", START + timedelta(days=21, minutes=30))]
    watched.pass_time(seconds=CERTIFICATE_CHECK_S - 30)
    assert not watched.board.alarms()
    watched.pass_time(seconds=30)
    assert watched.alarm().instance == "0.0.0.0:443"
    watched.certificates = [("0.0.0.0:443", START + timedelta(days=365))]
    watched.pass_time(seconds=CERTIFICATE_CHECK_S)
    assert not watched.board.alarms()


def test_the_certificate_of_a_listener_that_is_gone_has_no_alarm(watched: Watched) -> None:
    watched.certificates = [("0.0.0.0:443", START), ("0.0.0.0:4443", START)]
    watched.supervisor.check()
    assert len(watched.board.alarms()) == 2
    watched.certificates = watched.certificates[1:]
    watched.supervisor.check()
    assert watched.alarm().instance == "0.0.0.0:4443"


def test_of_several_certificates_of_a_listener_the_first_to_end_counts(watched: Watched) -> None:
    watched.certificates = [("0.0.0.0:443", START + timedelta(days=days)) for days in (90, 3, 400)]
    watched.supervisor.check()
    assert "2026-03-05" in watched.alarm().details


def test_a_check_that_fails_is_logged_and_tried_again(
        watched: Watched, logged_failures: LoggedFailures) -> None:
    watched.broken = ValueError("no certificates")
    watched.supervisor.check()
    assert len(logged_failures.flush()) == 1
    watched.broken = None
    watched.certificates = [("0.0.0.0:443", START)]
    watched.pass_time(minutes=1)
    assert watched.alarm().instance == "0.0.0.0:443"


async def test_nothing_is_checked_before_start_and_after_stop() -> None:
    watched = Watched()
    watched.certificates = [("0.0.0.0:443", START)]
    watched.supervisor.check()
    assert not watched.board.alarms()
    watched.supervisor.start()
    await watched.supervisor.stop()
    watched.pass_time(hours=2)
    assert [a.name for a in watched.board.alarms()] == [AlarmName.CERTIFICATE_EXPIRING]
