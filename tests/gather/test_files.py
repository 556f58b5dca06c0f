"""The gatherer of a folder of calendars, on real files; the clock is the test's own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from otjd.gather import calendar_folder, files
from otjd.gather.files import FileGatherer
from otjd.meetings.model import Invitation
from otjd.operate.board import AlarmLevel, IntegrationState, IntegrationStatus, StatusBoard
from otjd.seam import InThread
from tests.gather.calendars import AUTUMN, calendar, event, soon, times

BOARDROOM, LOUNGE = "boardroom@example.com", "lounge@example.com"
WEEK = timedelta(days=7)


def at_once(job: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    return maybeDeferred(job, *arguments)


class World:
    """A folder, a gatherer of it, and what it told."""

    def __init__(self, directory: Path, in_thread: InThread = at_once) -> None:
        self.directory = directory
        self.clock = Clock()
        self.now_is = AUTUMN.start
        self.board = StatusBoard(self.now)
        self.board.configure([], [IntegrationStatus("files", "file")])
        self.delivered: list[tuple[str, list[Invitation]]] = []
        self.failed: list[tuple[str, str]] = []
        self.before_delivery: Callable[[str], Deferred[None] | None] = lambda _: None
        self.gatherer = FileGatherer(
            name="files", directory=directory, deliver=self.deliver, board=self.board, clock=self.clock,
            now=self.now, room_failed=lambda email, error: self.failed.append((email, error)),
            in_thread=in_thread, jitter=lambda: 0.0)
        self.gatherer.configure({BOARDROOM: WEEK, "Lounge@Example.com ": WEEK})

    def now(self) -> datetime:
        return self.now_is

    async def deliver(self, email: str, invitations: list[Invitation]) -> None:
        wait = self.before_delivery(email)
        if wait is not None:
            await wait
        self.delivered.append((email, invitations))

    def write(self, email: str, *parts: str) -> Path:
        """Write a room's calendar the careful way: aside, then in place."""
        path = self.directory / f"{email}.ics"
        path.with_suffix(".tmp").write_bytes(calendar(*parts))
        return path.with_suffix(".tmp").replace(path)

    def path(self, email: str) -> Path:
        return self.directory / f"{email}.ics"

    def look(self, looks: int = 1) -> None:
        """Let the gatherer look at the folder."""
        for _ in range(looks):
            self.clock.advance(1)

    def taken(self) -> list[tuple[str, list[str]]]:
        """What was delivered since the last question, as rooms and subjects."""
        taken = [(email, [i.subject for i in invitations]) for email, invitations in self.delivered]
        self.delivered.clear()
        return taken

    def alarms(self) -> list[tuple[str, str]]:
        assert {a.name for a in self.board.alarms()} <= {"otj_file_gatherer_error"}
        return [(a.instance, a.level) for a in self.board.alarms()]

    def details(self) -> str:
        (alarm,) = self.board.alarms()
        return alarm.details

    @property
    def status(self) -> IntegrationStatus:
        return self.board.integrations()[0]


@pytest.fixture
def world(tmp_path: Path) -> World:
    folder = tmp_path / "calendars"
    folder.mkdir()
    world = World(folder)
    world.write(BOARDROOM, soon("one"))
    world.write(LOUNGE, soon("two"))
    return world


async def test_every_room_is_read_at_the_start_and_nothing_more_while_nothing_changes(world: World) -> None:
    world.write("stranger@example.com", soon("x"))
    (world.directory / "notes.txt").write_text("x")
    world.gatherer.start()
    assert sorted(world.taken()) == [(BOARDROOM, ["one"]), (LOUNGE, ["two"])]
    assert world.status.state is IntegrationState.OK
    assert world.status.last_success == AUTUMN.start
    assert world.status.requests_last_24h == 2
    world.look(5)
    assert world.taken() == []
    assert world.status.requests_last_24h == 2
    assert world.alarms() == []
    await world.gatherer.stop()


async def test_a_change_shows_at_the_next_look_for_that_room_alone(world: World) -> None:
    world.gatherer.start()
    world.taken()
    world.write(LOUNGE, soon("two"), soon("three", hours=2))
    world.look()
    assert world.taken() == [(LOUNGE, ["two", "three"])]
    world.write(BOARDROOM)
    world.gatherer.trigger()
    assert world.taken() == [(BOARDROOM, [])]
    await world.gatherer.stop()
    world.write(BOARDROOM, soon("never seen"))
    world.look(3)
    assert world.taken() == []


async def test_a_change_is_seen_even_where_size_and_time_stay(world: World) -> None:
    path = world.write(BOARDROOM, soon("one"))
    times_before = path.stat().st_mtime_ns
    world.gatherer.start()
    world.taken()
    world.write(BOARDROOM, soon("six"))
    os.utime(path, ns=(times_before, times_before))
    world.look()
    assert world.taken() == [(BOARDROOM, ["six"])]
    await world.gatherer.stop()


async def test_a_young_file_is_compared_until_it_has_settled(world: World,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendar_folder, "_signature", lambda status: (1, 1, status.st_mtime_ns, 0))
    path = world.path(BOARDROOM)
    world.gatherer.configure({BOARDROOM: WEEK})
    stamp = path.stat().st_mtime_ns
    world.now_is = datetime.fromtimestamp(stamp / 1e9, UTC)
    world.gatherer.start()
    world.taken()
    path.write_bytes(calendar(soon("six", now=world.now_is)))  # within the same tick of the file system
    os.utime(path, ns=(stamp, stamp))
    world.look()
    assert world.taken() == [(BOARDROOM, ["six"])]
    reads = world.status.requests_last_24h
    world.now_is += timedelta(seconds=3)
    world.look(5)
    assert world.status.requests_last_24h == reads + 1
    assert world.taken() == []
    await world.gatherer.stop()


async def test_names_of_files_and_rooms_match_in_any_letter_case(world: World) -> None:
    world.path(LOUNGE).rename(world.directory / "LOUNGE@Example.COM.ICS")
    world.gatherer.start()
    assert (LOUNGE, ["two"]) in world.taken()
    await world.gatherer.stop()


async def test_a_broken_file_keeps_the_room_raises_an_alarm_and_recovers(world: World) -> None:
    world.gatherer.start()
    world.taken()
    path = world.path(BOARDROOM)
    path.write_text("BEGIN:VCALENDAR\nthis is no calendar\nEND:VCALENDAR\n")
    world.look()
    expected = f"{path}, line 2: found 'this is no calendar', expected a property such as SUMMARY:text"
    assert world.failed == [(BOARDROOM, expected)]
    assert world.alarms() == [(BOARDROOM, AlarmLevel.ERROR)]
    assert world.details() == expected
    assert (world.status.state, world.status.last_error) == (IntegrationState.DEGRADED, expected)
    world.look(3)
    assert len(world.failed) == 1
    assert world.taken() == []
    world.write(BOARDROOM, soon("back"))
    world.look()
    assert world.taken() == [(BOARDROOM, ["back"])]
    assert world.alarms() == []
    assert world.status.state is IntegrationState.OK
    await world.gatherer.stop()


async def test_a_file_that_comes_back_as_it_was_is_good_again(world: World) -> None:
    world.gatherer.start()
    world.taken()
    path = world.path(BOARDROOM)
    good = path.read_bytes()
    path.write_text("rubbish\nrubbish\n")
    world.look()
    assert len(world.failed) == 1
    path.write_bytes(good)
    world.look()
    assert world.taken() == [(BOARDROOM, ["one"])]
    assert world.alarms() == []
    await world.gatherer.stop()


async def test_a_half_written_file_is_given_time_before_it_counts_as_broken(world: World) -> None:
    world.gatherer.start()
    world.taken()
    path = world.path(BOARDROOM)
    whole = calendar(soon("new"))
    for half in (b"", whole[:40], whole[:-20]):
        path.write_bytes(half)
        world.look()
    assert (world.failed, world.alarms()) == ([], [])
    path.write_bytes(whole)
    world.look()
    assert world.taken() == [(BOARDROOM, ["new"])]
    path.write_bytes(whole.removesuffix(b"END:VCALENDAR\r\n"))
    world.look(2)
    assert world.failed == []
    world.look()
    assert [email for email, _ in world.failed] == [BOARDROOM]
    assert world.details() == f"{path}, line 9: the file ends here; expected END:VCALENDAR for the BEGIN in line 1"
    await world.gatherer.stop()


async def test_a_file_that_never_gets_finished_is_told_in_the_end(world: World) -> None:
    world.gatherer.start()
    whole = calendar(soon("new"))
    for looks in range(files.LONGEST_PATIENCE + 1):
        assert world.failed == [], looks
        world.path(BOARDROOM).write_bytes(whole[:20 + looks])
        world.look()
    assert [email for email, _ in world.failed] == [BOARDROOM]
    await world.gatherer.stop()


async def test_a_missing_file_is_told_with_its_path_and_what_to_do(world: World) -> None:
    world.path(LOUNGE).unlink()
    world.gatherer.start()
    expected = f"{world.path(LOUNGE)} does not exist; write the calendar of this room there"
    assert world.failed == [(LOUNGE, expected)]
    assert world.alarms() == [(LOUNGE, AlarmLevel.ERROR)]
    world.taken()
    world.path(BOARDROOM).unlink()
    world.look(2)
    assert len(world.failed) == 1  # it may be back in a moment
    world.look()
    assert [email for email, _ in world.failed] == [LOUNGE, BOARDROOM]
    assert world.alarms() == [("files", AlarmLevel.ERROR)]  # none is left
    assert world.details().startswith("None of the 2 calendars can be read: ")
    assert world.status.state is IntegrationState.FAILED
    world.write(LOUNGE, soon("back"))
    world.look()
    assert world.alarms() == [(BOARDROOM, AlarmLevel.ERROR)]
    await world.gatherer.stop()


async def test_without_the_folder_there_is_one_alarm_for_the_integration(world: World) -> None:
    away = world.directory.with_name("away")
    world.directory.rename(away)
    world.gatherer.start()
    assert sorted(email for email, _ in world.failed) == [BOARDROOM, LOUNGE]
    assert world.alarms() == [("files", AlarmLevel.ERROR)]
    assert world.details() == (f"The folder {world.directory} cannot be read: No such file or directory; it must "
                               "exist and the account that runs otjd must be allowed to read it")
    assert world.status.state is IntegrationState.FAILED
    away.rename(world.directory)
    world.look()
    assert len(world.taken()) == 2
    assert (world.alarms(), world.status.state) == ([], IntegrationState.OK)
    world.directory.rename(away)
    world.look(2)
    assert world.alarms() == []  # somebody may be putting another one in its place
    world.look()
    assert world.alarms() == [("files", AlarmLevel.ERROR)]
    away.rename(world.directory)
    world.look()
    assert len(world.taken()) == 2  # the same content, but no longer in doubt
    await world.gatherer.stop()


async def test_one_room_alone_has_an_alarm_of_its_own_and_the_integration_failed(world: World) -> None:
    world.gatherer.configure({BOARDROOM: WEEK})
    world.path(BOARDROOM).write_text("x\ny\n")
    world.gatherer.start()
    assert world.alarms() == [(BOARDROOM, AlarmLevel.ERROR)]
    assert world.status.state is IntegrationState.FAILED
    await world.gatherer.stop()


async def test_a_broken_event_is_a_warning_and_its_last_good_form_stays(world: World) -> None:
    world.gatherer.start()
    world.taken()
    world.write(BOARDROOM, event("UID:one", "DTSTART:soon"), soon("other", hours=2))
    world.look()
    assert world.taken() == [(BOARDROOM, ["one", "other"])]
    assert world.failed == []
    assert world.alarms() == [(BOARDROOM, AlarmLevel.WARNING)]
    assert world.details().startswith(f"{world.path(BOARDROOM)}, line 6: found 'DTSTART:soon'")
    assert world.status.state is IntegrationState.DEGRADED
    world.write(BOARDROOM, *(event(f"UID:{n}", "DTSTART:soon") for n in range(12)), soon("other"))
    world.look()
    assert world.details().endswith("; and 2 more")
    world.write(BOARDROOM, soon("other"))
    world.look()
    assert world.alarms() == []
    await world.gatherer.stop()


async def test_series_are_expanded_anew_as_the_window_moves_on(world: World) -> None:
    world.write(BOARDROOM, event("UID:s", "DTSTART:20261001T120000Z", "RRULE:FREQ=DAILY", "SUMMARY:daily"))
    world.gatherer.start()
    world.taken()
    reads = world.status.requests_last_24h
    world.now_is += timedelta(minutes=9)
    world.look()
    assert world.delivered == []
    world.now_is += timedelta(minutes=1)
    world.look()
    assert len(world.taken()) == 2
    assert world.status.requests_last_24h == reads  # nothing was read
    world.now_is += timedelta(days=1)
    world.look()
    delivered = dict(world.delivered)
    assert times(delivered[BOARDROOM]) == [f"10-0{day} 12:00" for day in range(1, 9)]
    world.taken()
    world.now_is -= timedelta(days=1)  # the clock was put right
    world.look()
    assert len(world.taken()) == 2
    await world.gatherer.stop()


async def test_rooms_may_come_go_and_reach_further(world: World) -> None:
    world.gatherer.start()
    world.taken()
    world.path(LOUNGE).write_text("x\ny\n")
    world.look()
    assert world.alarms() == [(LOUNGE, AlarmLevel.ERROR)]
    third = world.write("third@example.com", soon("far", hours=24 * 20))
    world.gatherer.configure({BOARDROOM: WEEK, "third@example.com": WEEK})
    assert world.alarms() == []
    assert world.taken() == [("third@example.com", [])]
    world.gatherer.configure({BOARDROOM: WEEK, "third@example.com": timedelta(days=30)})
    assert world.taken() == [("third@example.com", ["far"])]
    assert third.exists()
    world.gatherer.configure({})
    world.look()
    assert world.status.state is IntegrationState.OK
    await world.gatherer.stop()


async def test_a_refresh_hands_over_unchanged_calendars_anew(world: World) -> None:
    world.gatherer.start()
    world.taken()
    (world.directory / f"{LOUNGE}.ics").write_bytes(b"no calendar")
    world.look(5)
    world.gatherer.refresh()
    assert world.taken() == [(BOARDROOM, ["one"])]
    world.look(5)
    assert world.taken() == []
    await world.gatherer.stop()


async def test_files_that_are_none_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path = world.path(LOUNGE)
    world.gatherer.start()
    secret = world.directory.with_name("secret.ics")
    secret.write_bytes(calendar(soon("secret")))

    def problem() -> str:
        world.look(3)
        assert world.alarms() == [(LOUNGE, AlarmLevel.ERROR)]
        details = world.details()
        path.unlink()
        world.write(LOUNGE, soon("two"))
        world.look()
        assert world.alarms() == []
        return details

    path.unlink()
    path.symlink_to(secret)
    assert problem() == f"{path} is a link to {secret}; expected a file within the folder"
    path.unlink()
    os.mkfifo(path)
    assert problem() == f"{path} is no regular file; expected a file in iCalendar form"
    path.unlink()
    path.symlink_to(path)
    assert problem().startswith(f"{path} cannot be read: ")
    path.unlink()
    path.symlink_to(world.directory / "nowhere.ics")
    assert problem() == f"{path} does not exist; write the calendar of this room there"
    monkeypatch.setattr(calendar_folder, "SIZE_LIMIT", 1000)
    path.write_bytes(b"x" * 1001)
    assert problem() == f"{path} has 1001 bytes, at most 1000 are read; export a shorter time"
    path.unlink()
    path.symlink_to(world.write("within@example.com", soon("within")))
    world.look()
    assert world.taken()[-1] == (LOUNGE, ["within"])
    await world.gatherer.stop()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_file_that_must_not_be_read_is_told_until_it_may_be(world: World) -> None:
    world.path(LOUNGE).chmod(0)
    world.gatherer.start()
    assert "cannot be read: Permission denied; let the account that runs otjd read it" in world.details()
    world.path(LOUNGE).chmod(0o600)
    world.look()
    assert world.alarms() == []
    await world.gatherer.stop()


async def test_a_room_that_takes_long_delays_no_other_and_stop_waits_for_it(world: World) -> None:
    slow: Deferred[None] = Deferred()
    world.before_delivery = lambda email: slow if email == BOARDROOM else None
    world.gatherer.start()
    assert world.taken() == [(LOUNGE, ["two"])]
    world.write(BOARDROOM, soon("changed meanwhile"))
    world.write(LOUNGE, soon("three"))
    world.look()
    assert world.taken() == [(LOUNGE, ["three"])]
    stopped = Deferred.fromCoroutine(world.gatherer.stop())
    assert not stopped.called
    slow.callback(None)
    await stopped
    assert world.taken() == [(BOARDROOM, ["one"])]


async def test_what_was_read_while_stopping_is_delivered_after_a_new_start(world: World) -> None:
    waiting: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def later(job: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        waiting.append((done, job, arguments))
        return done

    def run_all() -> None:
        while waiting:
            done, job, arguments = waiting.pop(0)
            maybeDeferred(job, *arguments).chainDeferred(done)

    slow = World(world.directory, later)
    slow.gatherer.configure({BOARDROOM: WEEK})
    slow.gatherer.start()
    done, job, arguments = waiting.pop()
    done.callback(job(*arguments))  # the look at the folder; the reading waits
    stopped = Deferred.fromCoroutine(slow.gatherer.stop())
    run_all()
    await stopped
    assert slow.taken() == []
    slow.gatherer.start()
    run_all()
    assert slow.taken() == [(BOARDROOM, ["one"])]
    last = Deferred.fromCoroutine(slow.gatherer.stop())
    run_all()
    await last


async def test_a_bug_of_whoever_takes_a_calendar_is_logged_and_tried_again_later(world: World,
                                                                                 logged_failures: Any) -> None:
    def trip(email: str) -> None:
        if email == BOARDROOM:
            raise KeyError("tripped")

    world.before_delivery = trip
    world.gatherer.start()
    assert len(logged_failures.flush(KeyError)) == 1
    assert world.taken() == [(LOUNGE, ["two"])]
    assert world.failed == [(BOARDROOM, f"The calendar of {BOARDROOM} could not be taken over; the log says why")]
    world.look(5)
    assert logged_failures.flush(KeyError) == []
    world.before_delivery = lambda _: None
    world.now_is += timedelta(minutes=10)
    world.look()
    assert (BOARDROOM, ["one"]) in world.taken()
    assert world.alarms() == []
    await world.gatherer.stop()


async def test_a_bug_of_whoever_hears_of_failures_costs_no_other_room(world: World, logged_failures: Any,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    def trip(email: str, error: str) -> None:
        raise KeyError(email)

    monkeypatch.setattr(world.gatherer, "_room_failed", trip)
    world.path(BOARDROOM).unlink()
    world.gatherer.start()
    assert len(logged_failures.flush(KeyError)) == 1
    assert world.taken() == [(LOUNGE, ["two"])]
    await world.gatherer.stop()


async def test_a_bug_while_looking_is_logged_and_does_not_end_the_looking(world: World, logged_failures: Any,
                                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(files, "scan", lambda *_: 1 / 0)
        world.gatherer.start()
    assert len(logged_failures.flush(ZeroDivisionError)) == 1
    world.clock.advance(5)
    assert len(world.taken()) == 2
    await world.gatherer.stop()


async def test_a_calendar_that_gets_too_costly_to_expand_is_told(world: World,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    world.gatherer.start()
    world.taken()
    monkeypatch.setattr("otjd.gather.icalendar_reader.EXPANSION_LIMIT_S", -1.0)
    world.now_is += timedelta(minutes=10)
    world.look()
    assert len(world.failed) == 2
    assert "the series up to here took" in world.details()
    await world.gatherer.stop()


async def test_real_threads_do_the_reading(tmp_path: Path) -> None:
    world = World(tmp_path, deferToThread)
    jobs: list[str] = []

    def in_thread(job: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        def run() -> Any:
            jobs.append(threading.current_thread().name)
            return job(*arguments)

        return deferToThread(run)

    world.gatherer._in_thread = in_thread
    arrived: Deferred[None] = Deferred()

    def note(_: str) -> None:
        if len(world.delivered) == 1:  # this is the second
            arrived.callback(None)

    world.before_delivery = note
    world.write(BOARDROOM, soon("one"))
    world.write(LOUNGE, soon("two"))
    world.gatherer.start()
    await arrived
    await world.gatherer.stop()
    assert sorted(world.taken()) == [(BOARDROOM, ["one"]), (LOUNGE, ["two"])]
    assert threading.current_thread().name not in jobs
