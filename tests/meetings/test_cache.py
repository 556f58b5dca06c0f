from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from otjd.meetings.cache import Difference, Freshness, MeetingCache, UnknownRoomError
from otjd.meetings.model import Meeting, Room, Window, meeting_id

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
ROOM = Room("boardroom@example.com", "default")


def meeting(uid: str, start: datetime = NOW, minutes: int = 30, **fields: object) -> Meeting:
    return Meeting(id=meeting_id(ROOM.email, uid), uid=uid, start_time=start,
                   end_time=start + timedelta(minutes=minutes), **fields)  # type: ignore[arg-type]


@pytest.fixture
def cache() -> MeetingCache:
    cache = MeetingCache()
    cache.configure({ROOM: timedelta(days=7)})
    return cache


def test_a_room_address_is_the_same_in_any_letter_case() -> None:
    assert Room("BoardRoom@Example.com", "default") == ROOM


def test_a_configured_room_was_never_read(cache: MeetingCache) -> None:
    assert cache.agenda(ROOM).freshness is Freshness.NEVER_READ


def test_an_unconfigured_room_is_unknown(cache: MeetingCache) -> None:
    with pytest.raises(UnknownRoomError):
        cache.agenda(Room("other@example.com", "default"))
    with pytest.raises(UnknownRoomError):
        cache.replace(Room("boardroom@example.com", "other"), [], NOW)


def test_an_agenda_is_ordered_by_start_and_limited_to_its_window(cache: MeetingCache) -> None:
    cache.replace(ROOM, [
        meeting("later", NOW + timedelta(hours=2)), meeting("now"),
        meeting("last week", NOW - timedelta(days=6)), meeting("next month", NOW + timedelta(days=30)),
        meeting("yesterday", NOW - timedelta(hours=24, minutes=10)),
    ], NOW)
    assert [m.uid for m in cache.agenda(ROOM).meetings] == ["yesterday", "now", "later"]
    assert cache.agenda(ROOM).read_at == NOW


def test_the_revision_changes_only_when_something_visible_did(cache: MeetingCache) -> None:
    seen: list[Difference] = []
    cache.subscribe(seen.append)
    cache.replace(ROOM, [meeting("a", subject="A")], NOW)
    first = cache.agenda(ROOM)
    touched = meeting("a", subject="A", last_modified_time=NOW + timedelta(minutes=1))
    cache.replace(ROOM, [touched], NOW + timedelta(minutes=1))
    assert cache.agenda(ROOM).revision == first.revision
    assert cache.agenda(ROOM).meetings[0] is first.meetings[0]
    cache.replace(ROOM, [meeting("a", subject="B")], NOW + timedelta(minutes=2))
    assert cache.agenda(ROOM).revision != first.revision
    assert len(seen) == 2


def test_differences_name_what_was_added_changed_and_removed(cache: MeetingCache) -> None:
    cache.replace(ROOM, [meeting("kept"), meeting("moved"), meeting("gone")], NOW)
    seen: list[Difference] = []
    end = cache.subscribe(seen.append)
    cache.replace(ROOM, [meeting("kept"), meeting("moved", NOW + timedelta(hours=1)), meeting("new")], NOW)
    (difference,) = seen
    assert [m.uid for m in difference.added] == ["new"]
    assert [m.uid for m in difference.changed] == ["moved"]
    assert [m.uid for m in difference.removed] == ["gone"]
    end()
    cache.replace(ROOM, [], NOW)
    assert len(seen) == 1


def test_a_stale_room_keeps_its_meetings_and_its_revision(cache: MeetingCache) -> None:
    cache.replace(ROOM, [meeting("a")], NOW)
    before = cache.agenda(ROOM)
    cache.mark_stale(ROOM)
    after = cache.agenda(ROOM)
    assert after.freshness is Freshness.STALE
    assert (after.meetings, after.revision, after.read_at) == (before.meetings, before.revision, NOW)
    cache.replace(ROOM, [meeting("a")], NOW + timedelta(minutes=1))
    assert cache.agenda(ROOM).freshness is Freshness.FRESH


def test_a_room_that_was_never_read_does_not_become_stale(cache: MeetingCache) -> None:
    cache.mark_stale(ROOM)
    assert cache.agenda(ROOM).freshness is Freshness.NEVER_READ


def test_restored_meetings_are_stale_and_have_the_revision_they_had(cache: MeetingCache) -> None:
    cache.replace(ROOM, [meeting("a")], NOW)
    before = cache.agenda(ROOM)
    other = MeetingCache()
    other.configure({ROOM: timedelta(days=7)})
    other.restore(ROOM, before.meetings, NOW, NOW + timedelta(hours=1))
    assert other.agenda(ROOM).freshness is Freshness.STALE
    assert other.agenda(ROOM).revision == before.revision
    assert other.agenda(ROOM).read_at == NOW


def test_nothing_is_restored_over_what_was_read_or_into_an_unknown_room(cache: MeetingCache) -> None:
    cache.replace(ROOM, [meeting("read")], NOW)
    cache.restore(ROOM, [meeting("old")], NOW - timedelta(hours=1), NOW)
    cache.restore(Room("gone@example.com", "default"), [meeting("old")], NOW, NOW)
    assert [m.uid for m in cache.agenda(ROOM).meetings] == ["read"]


def test_a_removed_meeting_is_still_found_by_its_id_for_ten_minutes(cache: MeetingCache) -> None:
    gone = meeting("gone")
    cache.replace(ROOM, [gone], NOW)
    cache.replace(ROOM, [], NOW)
    assert cache.find(ROOM, gone.id, NOW + timedelta(minutes=9)) == gone
    assert cache.find(ROOM, gone.id, NOW + timedelta(minutes=10)) is None
    assert cache.find(ROOM, "0" * 32, NOW) is None
    assert cache.find(Room("other@example.com", "default"), gone.id, NOW) is None


def test_a_meeting_that_returns_is_found_in_its_new_version(cache: MeetingCache) -> None:
    cache.replace(ROOM, [meeting("a", subject="old")], NOW)
    cache.replace(ROOM, [], NOW)
    cache.replace(ROOM, [meeting("a", subject="new")], NOW)
    found = cache.find(ROOM, meeting_id(ROOM.email, "a"), NOW)
    assert found is not None
    assert found.subject == "new"


def test_time_alone_takes_finished_meetings_out_of_a_stale_agenda(cache: MeetingCache) -> None:
    cache.replace(ROOM, [meeting("a"), meeting("b", NOW + timedelta(hours=3))], NOW)
    cache.mark_stale(ROOM)
    seen: list[Difference] = []
    cache.subscribe(seen.append)
    cache.advance(NOW + timedelta(hours=1))
    assert not seen
    cache.advance(NOW + timedelta(days=1, hours=1))
    assert [m.uid for m in seen[0].removed] == ["a"]
    assert cache.agenda(ROOM).freshness is Freshness.STALE
    later = NOW + timedelta(days=1, hours=2)
    cache.advance(later)
    assert cache.find(ROOM, meeting_id(ROOM.email, "a"), later) is None


def test_reconfiguring_keeps_known_rooms_and_forgets_the_others(cache: MeetingCache) -> None:
    cache.replace(ROOM, [meeting("a")], NOW)
    other = Room("other@example.com", "default")
    cache.configure({ROOM: timedelta(days=7), other: timedelta(days=1)})
    assert cache.agenda(ROOM).meetings
    assert set(cache.rooms()) == {ROOM, other}
    cache.configure({other: timedelta(days=1)})
    assert [a.room for a in cache.agendas()] == [other]


def test_overlapping_follows_the_calendar_view_of_ews(cache: MeetingCache) -> None:
    cache.replace(ROOM, [
        meeting("ends at start", NOW - timedelta(minutes=30)),
        meeting("runs into it", NOW - timedelta(minutes=10)),
        meeting("inside", NOW + timedelta(minutes=10)), meeting("empty at start", NOW, minutes=0),
        meeting("starts at end", NOW + timedelta(hours=1)),
    ], NOW)
    found = cache.agenda(ROOM).overlapping(Window(NOW, NOW + timedelta(hours=1)))
    assert [m.uid for m in found] == ["runs into it", "empty at start", "inside"]
