"""The last known meetings on disk: what is written comes back, whatever happened in between."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, maybeDeferred

from otjd.gather.last_known import FILE_NAME, LastKnown, meeting_from_json, meeting_to_json
from otjd.meetings.cache import Agenda, Freshness, MeetingCache
from otjd.meetings.model import (
    CalendarItemType,
    DialProtocol,
    FreeBusyStatus,
    Meeting,
    Organizer,
    Room,
    meeting_id,
)
from otjd.seam import InThread

NOW = datetime(2026, 10, 1, 12, tzinfo=UTC)
BOARDROOM, LOUNGE = Room("boardroom@example.com", "default"), Room("lounge@example.com", "default")



def meeting(uid: str = "a", room: Room = BOARDROOM, **more: Any) -> Meeting:
    return Meeting(meeting_id(room.email, uid), uid, NOW, NOW + timedelta(hours=1), **more)


def agenda(room: Room = BOARDROOM, *meetings: Meeting, read_at: datetime = NOW) -> Agenda:
    return Agenda(room, meetings, "-".join(m.change_key for m in meetings), Freshness.FRESH, read_at)


def at_once(job: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    return maybeDeferred(job, *arguments)


class Later:
    """Runs jobs when asked to."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def __call__(self, job: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.jobs.append((done, job, arguments))
        return done

    def run(self) -> int:
        """Run everything that waits; the number of jobs."""
        count = 0
        while self.jobs:
            count += 1
            done, job, arguments = self.jobs.pop(0)
            maybeDeferred(job, *arguments).chainDeferred(done)
        return count


async def stored(directory: Path) -> dict[Room, tuple[datetime, tuple[Meeting, ...]]]:
    """What another process would find."""
    other = LastKnown(directory, in_thread=at_once)
    found = {room: (read_at, meetings) for room, read_at, meetings in await other.load()}
    await other.close()
    return found


async def opened(directory: Path, in_thread: InThread = at_once) -> LastKnown:
    kept = LastKnown(directory, in_thread=in_thread)
    await kept.load()
    return kept


async def test_what_was_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    directory = tmp_path / "var" / "state"
    kept = LastKnown(directory)  # in a real thread
    assert await kept.load() == []
    full = meeting(
        "ü\N{ROCKET}\n", subject="Møte", organizer=Organizer("Doe, Jane", "jane@example.com"), alias="a@b.example",
        dial_protocol=DialProtocol.H323, matched_rule="rule", is_private=True, is_all_day=True,
        item_type=CalendarItemType.EXCEPTION, free_busy=FreeBusyStatus.TENTATIVE, occurrence="20261001T120000Z",
        created_time=NOW - timedelta(days=2, microseconds=7), last_modified_time=NOW)
    kept.keep(agenda(BOARDROOM, full, meeting("b")))
    kept.keep(agenda(LOUNGE))
    kept.keep(Agenda(Room("never@example.com", "default")))
    await kept.close()
    found = await stored(directory)
    assert found == {BOARDROOM: (NOW, (full, meeting("b"))), LOUNGE: (NOW, ())}
    assert found[BOARDROOM][1][0].change_key == full.change_key
    assert found[BOARDROOM][1][0].last_modified_time == NOW


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TIMES = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(st.builds(Meeting, id=TEXT, uid=TEXT, start_time=TIMES, end_time=TIMES, occurrence=TEXT, subject=TEXT,
                 organizer=st.builds(Organizer, TEXT, TEXT), alias=st.none() | TEXT,
                 dial_protocol=st.sampled_from(DialProtocol), is_private=st.booleans(),
                 free_busy=st.sampled_from(FreeBusyStatus), created_time=st.none() | TIMES,
                 invitation_text=TEXT))
def test_every_meeting_comes_back_exactly(original: Meeting) -> None:
    import json

    copy = meeting_from_json(json.loads(json.dumps(meeting_to_json(original))))
    assert copy == original
    assert copy.change_key == original.change_key
    assert type(copy.dial_protocol) is DialProtocol


def test_the_form_on_disk_is_that_of_earlier_versions_where_no_text_is_kept() -> None:
    earlier = meeting_to_json(meeting())
    assert "invitation_text" not in earlier
    assert meeting_from_json(earlier) == meeting()
    assert meeting_to_json(meeting(invitation_text="Agenda"))["invitation_text"] == "Agenda"


async def test_only_the_account_that_runs_otjd_may_read_the_files(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    kept = await opened(directory)
    kept.keep(agenda(BOARDROOM, meeting()))
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in directory.iterdir()} == {0o600}
    await kept.close()
    (directory / FILE_NAME).chmod(0o644)
    await (await opened(directory)).close()
    assert stat.S_IMODE((directory / FILE_NAME).stat().st_mode) == 0o600


async def test_changes_during_a_write_are_written_together_and_only_the_last_of_a_room(tmp_path: Path) -> None:
    later = Later()
    loading = Deferred.fromCoroutine(opened(tmp_path, later))
    later.run()
    kept = await loading
    for uid in ("a", "b", "c"):
        kept.keep(agenda(BOARDROOM, meeting(uid)))
        kept.keep(agenda(LOUNGE, meeting(uid, LOUNGE)))
    assert len(later.jobs) == 1
    assert later.run() == 2
    assert {m.uid for _, meetings in (await stored(tmp_path)).values() for m in meetings} == {"c"}
    closing = Deferred.fromCoroutine(kept.close())
    later.run()
    await closing


async def test_closing_writes_what_is_pending_and_nothing_is_taken_afterwards(tmp_path: Path) -> None:
    later = Later()
    loading = Deferred.fromCoroutine(opened(tmp_path, later))
    later.run()
    kept = await loading
    kept.keep(agenda(BOARDROOM, meeting("a")))
    kept.keep(agenda(BOARDROOM, meeting("b")))
    closing = Deferred.fromCoroutine(kept.close())
    kept.keep(agenda(BOARDROOM, meeting("c")))
    kept.forget_all_but([])
    later.run()
    await closing
    assert [m.uid for m in (await stored(tmp_path))[BOARDROOM][1]] == ["b"]


async def test_an_unchanged_agenda_is_written_again_only_every_few_minutes(tmp_path: Path) -> None:
    later = Later()
    loading = Deferred.fromCoroutine(opened(tmp_path, later))
    later.run()
    kept = await loading
    kept.keep(agenda(BOARDROOM, meeting()))
    assert later.run() == 1
    kept.keep(agenda(BOARDROOM, meeting(), read_at=NOW + timedelta(minutes=4)))
    assert later.run() == 0
    kept.keep(agenda(BOARDROOM, meeting(), read_at=NOW + timedelta(minutes=5)))
    assert later.run() == 1
    kept.keep(agenda(BOARDROOM, meeting("b"), read_at=NOW + timedelta(minutes=5)))
    assert later.run() == 1
    kept.keep(agenda(BOARDROOM, meeting("b"), read_at=NOW))  # the clock was put back
    assert later.run() == 1
    closing = Deferred.fromCoroutine(kept.close())
    later.run()
    await closing


async def test_going_back_to_what_is_on_disk_replaces_what_is_pending(tmp_path: Path) -> None:
    later = Later()
    loading = Deferred.fromCoroutine(opened(tmp_path, later))
    later.run()
    kept = await loading
    kept.keep(agenda(BOARDROOM, meeting("a")))
    later.run()
    kept.keep(agenda(LOUNGE))
    kept.keep(agenda(BOARDROOM, meeting("b")))
    kept.keep(agenda(BOARDROOM, meeting("a")))
    later.run()
    assert [m.uid for m in (await stored(tmp_path))[BOARDROOM][1]] == ["a"]
    closing = Deferred.fromCoroutine(kept.close())
    later.run()
    await closing


async def test_rooms_that_are_no_longer_configured_are_forgotten(tmp_path: Path) -> None:
    kept = await opened(tmp_path)
    kept.keep(agenda(BOARDROOM, meeting()))
    kept.keep(agenda(LOUNGE, meeting("b", LOUNGE)))
    await kept.close()
    kept = await opened(tmp_path)
    kept.forget_all_but([LOUNGE, Room("new@example.com", "default")])
    assert set(await stored(tmp_path)) == {LOUNGE}
    kept.keep(agenda(BOARDROOM, meeting()))
    kept.forget_all_but([BOARDROOM])
    kept.forget_all_but([BOARDROOM])
    await kept.close()
    assert set(await stored(tmp_path)) == {BOARDROOM}


def damaged_head(path: Path) -> None:
    path.write_bytes(b"this is no database" * 100)


def damaged_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100:] = os.urandom(len(content) - 100)
    path.write_bytes(content)


def other_version(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()


def other_application(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE somebody_elses (x)")
    database.close()


@pytest.mark.parametrize("spoil", [damaged_head, damaged_middle, other_version, other_application])
async def test_a_database_that_cannot_be_used_is_set_aside_and_a_new_one_begun(
        tmp_path: Path, spoil: Callable[[Path], None], logged_events: list[dict[str, Any]]) -> None:
    kept = await opened(tmp_path)
    kept.keep(agenda(BOARDROOM, meeting()))
    await kept.close()
    spoil(tmp_path / FILE_NAME)
    kept = LastKnown(tmp_path, in_thread=at_once)
    assert await kept.load() == []
    kept.keep(agenda(LOUNGE, meeting("b", LOUNGE)))
    await kept.close()
    assert set(await stored(tmp_path)) == {LOUNGE}
    assert (tmp_path / f"{FILE_NAME}.unreadable").exists()
    assert [e["log_level"].name for e in logged_events if "set aside" in e["log_format"]] == ["warn"]


async def test_a_row_that_cannot_be_read_costs_that_room_alone(tmp_path: Path,
                                                              logged_events: list[dict[str, Any]]) -> None:
    kept = await opened(tmp_path)
    for name in ("a", "b", "c", "d"):
        kept.keep(agenda(Room(name, "default"), meeting()))
    await kept.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as database:
        database.execute("UPDATE agendas SET meetings = 'x' WHERE email = 'a'")
        database.execute("UPDATE agendas SET meetings = '[{}]' WHERE email = 'b'")
        database.execute("UPDATE agendas SET read_at = 'x' WHERE email = 'c'")
    database.close()
    assert set(await stored(tmp_path)) == {Room("d", "default")}
    assert [e["room"] for e in logged_events if e["log_level"].name == "warn"] == ["a", "b", "c"]


async def test_damage_during_the_run_costs_what_was_on_disk_and_no_more(tmp_path: Path) -> None:
    kept = await opened(tmp_path)
    kept.keep(agenda(BOARDROOM, meeting()))
    original = LastKnown._write_to
    broken = True

    def write(database: sqlite3.Connection, batch: Any) -> None:
        nonlocal broken
        if broken:
            broken = False
            error = sqlite3.DatabaseError("database disk image is malformed")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error
        original(database, batch)

    kept._write_to = write  # type: ignore[method-assign]
    kept.keep(agenda(LOUNGE, meeting("b", LOUNGE)))
    assert set(await stored(tmp_path)) == {LOUNGE}
    kept.keep(agenda(BOARDROOM, meeting()))  # unchanged, but no longer on disk
    await kept.close()
    assert set(await stored(tmp_path)) == {LOUNGE, BOARDROOM}


def failing(errors: Iterable[Exception | None]) -> InThread:
    """Jobs that fail in turn."""
    turn = iter(errors)

    def in_thread(job: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        def run() -> Any:
            error = next(turn, None)
            if error is not None:
                raise error
            return job(*arguments)

        return maybeDeferred(run)

    return in_thread


async def test_a_full_disk_is_told_once_and_what_was_not_written_is_written_later(tmp_path: Path,
                                                                                  logged_failures: Any) -> None:
    full = sqlite3.OperationalError("database or disk is full")
    kept = await opened(tmp_path, failing([None, full, full, None, full]))
    kept.keep(agenda(BOARDROOM, meeting("a")))
    kept.keep(agenda(LOUNGE, meeting("b", LOUNGE)))
    (event,) = logged_failures.flush()
    assert event["log_level"].name == "critical"
    assert "database or disk is full" in event["error"]
    kept.keep(agenda(BOARDROOM, meeting("c")))
    assert {m.uid for _, meetings in (await stored(tmp_path)).values() for m in meetings} == {"b", "c"}
    kept.keep(agenda(BOARDROOM, meeting("d")))
    assert len(logged_failures.flush()) == 1  # it had worked in between
    await kept.close()
    assert {m.uid for _, meetings in (await stored(tmp_path)).values() for m in meetings} == {"b", "d"}


async def test_a_directory_that_cannot_be_used_does_not_stop_the_service(tmp_path: Path,
                                                                         logged_failures: Any) -> None:
    (tmp_path / "file").write_text("in the way")
    kept = LastKnown(tmp_path / "file" / "state", in_thread=at_once)
    assert await kept.load() == []
    kept.keep(agenda(BOARDROOM, meeting()))
    await kept.close()
    assert len(logged_failures.flush()) == 1
    busy = await opened(tmp_path / "busy")
    holder = sqlite3.connect(tmp_path / "busy" / FILE_NAME, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    busy._database.execute("PRAGMA busy_timeout = 0")  # type: ignore[union-attr]
    busy.keep(agenda(BOARDROOM, meeting()))
    assert len(logged_failures.flush()) == 1
    assert (tmp_path / "busy" / FILE_NAME).exists()
    holder.execute("ROLLBACK")
    holder.close()
    await busy.close()
    assert set(await stored(tmp_path / "busy")) == {BOARDROOM}


async def test_a_bug_costs_its_batch_and_does_not_stop_the_writing(tmp_path: Path, logged_failures: Any) -> None:
    kept = await opened(tmp_path, failing([None, KeyError("bug")]))
    kept.keep(agenda(BOARDROOM, meeting()))
    assert len(logged_failures.flush(KeyError)) == 1
    kept.keep(agenda(LOUNGE))
    await kept.close()
    assert set(await stored(tmp_path)) == {LOUNGE}


async def test_a_cache_shows_what_was_kept_as_stale(tmp_path: Path) -> None:
    cache = MeetingCache()
    cache.configure({BOARDROOM: timedelta(days=7)})
    cache.replace(BOARDROOM, [meeting(), meeting("b")], NOW)
    kept = await opened(tmp_path)
    kept.keep(cache.agenda(BOARDROOM))
    await kept.close()
    restored = MeetingCache()
    restored.configure({BOARDROOM: timedelta(days=7)})
    for room, (read_at, meetings) in (await stored(tmp_path)).items():
        restored.restore(room, meetings, read_at, NOW + timedelta(minutes=1))
    assert restored.agenda(BOARDROOM) == replace(cache.agenda(BOARDROOM), freshness=Freshness.STALE)


KILLED = """
    import os, signal, sys
    from datetime import UTC, datetime, timedelta
    from pathlib import Path
    from twisted.internet.defer import maybeDeferred
    from otjd.gather.last_known import LastKnown
    from otjd.meetings.cache import Agenda
    from otjd.meetings.model import Meeting, Room
    from otjd.seam import deferred

    now = datetime(2026, 10, 1, 12, tzinfo=UTC)
    kept = LastKnown(Path(sys.argv[1]), in_thread=maybeDeferred)
    deferred(kept.load())
    for n in range(200):
        room = Room(f"room{n}@example.com", "default")
        kept.keep(Agenda(room, (Meeting(str(n), str(n), now, now + timedelta(hours=1)),), str(n), read_at=now))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_loses_nothing_that_was_written(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), tmp_path], check=False, timeout=60,
                          capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with sqlite3.connect(tmp_path / FILE_NAME) as database:
        assert database.execute("SELECT count(*) FROM agendas").fetchone() == (200,)
    database.close()
