from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred

from otjd.gather.intake import Intake, ProfileRules
from otjd.meetings.cache import Freshness, MeetingCache
from otjd.meetings.model import Invitation, Room
from otjd.meetings.presentation import Policy
from otjd.rules.engine import Engine, Rule
from otjd.rules.text import HTML_LIMIT

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
EMAIL = "boardroom@example.com"
ROOM = Room(EMAIL, "default")
OTHER_VIEW = Room(EMAIL, "guests")
NO_BODY = ("Could not find an alias for this meeting which had no body. "
           "This could be a meeting room configuration issue.")


def at_once(job: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    return maybeDeferred(job, *arguments)


def profile(domain: str = "video.example.com", integration: str = "files", **policy: Any) -> ProfileRules:
    rule = Rule(name=f"at {domain}", priority=1, meeting_type="domain", domain=domain)
    return ProfileRules(integration, Policy(**policy), Engine([rule], clock=time.monotonic))


def invitation(uid: str = "u1", **fields: Any) -> Invitation:
    values = {"start_time": NOW, "end_time": NOW + timedelta(hours=1), "subject": "Budget",
              "body_text": "Join: a@video.example.com or b@other.example.org", **fields}
    return Invitation(uid=uid, **values)


@pytest.fixture
def cache() -> MeetingCache:
    cache = MeetingCache()
    cache.configure({ROOM: timedelta(days=7), OTHER_VIEW: timedelta(days=7)})
    return cache


@pytest.fixture
def intake(cache: MeetingCache) -> Intake:
    intake = Intake(cache, now=lambda: NOW, in_thread=at_once)
    intake.configure({"default": profile(), "guests": profile("other.example.org")})
    return intake


async def test_every_profile_that_shows_the_room_gets_its_own_view(intake: Intake, cache: MeetingCache) -> None:
    await intake.deliver("files", EMAIL, [invitation()])
    (mine,), (theirs,) = cache.agenda(ROOM).meetings, cache.agenda(OTHER_VIEW).meetings
    assert (mine.alias, mine.matched_rule) == ("a@video.example.com", "at video.example.com")
    assert theirs.alias == "b@other.example.org"
    assert mine.id == theirs.id


async def test_another_integration_does_not_reach_the_room(intake: Intake, cache: MeetingCache) -> None:
    await intake.deliver("elsewhere", EMAIL, [invitation()])
    assert cache.agenda(ROOM).freshness is Freshness.NEVER_READ
    assert not intake.has_heard_of(ROOM)


async def test_cancelled_and_hidden_invitations_are_left_out(intake: Intake, cache: MeetingCache) -> None:
    intake.configure({"default": profile(enable_private_meetings=False, enable_non_video_meetings=False)})
    await intake.deliver("files", EMAIL, [
        invitation("cancelled", is_cancelled=True), invitation("private", is_private=True),
        invitation("no video", body_text="See you there"), invitation("shown")])
    assert [m.uid for m in cache.agenda(ROOM).meetings] == ["shown"]


async def test_a_failed_calendar_is_stale_and_heard_of(intake: Intake, cache: MeetingCache) -> None:
    await intake.deliver("files", EMAIL, [invitation()])
    intake.failed("files", EMAIL, "gone")
    assert cache.agenda(ROOM).freshness is Freshness.STALE
    assert intake.has_heard_of(ROOM)


async def test_a_room_that_left_the_configuration_while_it_was_read_is_left_alone(cache: MeetingCache) -> None:
    waiting: list[tuple[Deferred[Any], Any]] = []

    def later(job: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        waiting.append((Deferred(), job(*arguments)))
        return waiting[-1][0]

    intake = Intake(cache, now=lambda: NOW, in_thread=later)
    intake.configure({"default": profile()})
    delivery = Deferred.fromCoroutine(intake.deliver("files", EMAIL, [invitation()]))
    cache.configure({})
    fired, result = waiting[0]
    fired.callback(result)
    await delivery
    assert cache.rooms() == ()


async def test_only_rooms_that_show_it_hold_the_text_of_invitations(intake: Intake, cache: MeetingCache) -> None:
    intake.configure({"default": profile(), "guests": profile()}, [ROOM])
    html = invitation("html", body_html="<p>Agenda</p><blockquote>&gt; quoted</blockquote><a href='https://x'>y</a>")
    await intake.deliver("files", EMAIL, [invitation(), html, invitation("private", is_private=True)])
    shown = {m.uid: m.invitation_text for m in cache.agenda(ROOM).meetings}
    assert shown == {"u1": invitation().body_text, "html": "Agenda\n> quoted\ny<https://x>", "private": ""}
    assert not any(m.invitation_text for m in cache.agenda(OTHER_VIEW).meetings)


async def test_a_body_is_read_once_for_its_alias_and_for_its_text(intake: Intake, cache: MeetingCache) -> None:
    read = []

    class Body(str):
        def __getitem__(self, part: Any) -> str:
            read.append(part)
            return super().__getitem__(part)

    intake.configure({"default": profile()}, [ROOM])
    await intake.deliver("files", EMAIL, [invitation(body_text="", body_html=Body("<p>a@video.example.com</p>"))])
    (meeting,) = cache.agenda(ROOM).meetings
    assert meeting.alias == meeting.invitation_text == "a@video.example.com"
    assert len(read) == 1


def warnings(events: list[dict[str, Any]]) -> list[str]:
    return [e["log_format"] for e in events if e.get("log_namespace", "").startswith("otjd.gather")]


async def test_a_meeting_without_body_and_alias_is_logged_once(
        intake: Intake, logged_events: list[dict[str, Any]]) -> None:
    empty = invitation(body_text=" ")
    intake.configure({"default": profile()})
    for _ in range(3):
        await intake.deliver("files", EMAIL, [empty, invitation("with body", body_text="no address")])
    assert warnings(logged_events) == [NO_BODY]
    assert [e["room"] for e in logged_events if e["log_format"] == NO_BODY] == [EMAIL]


async def test_a_private_meeting_whose_alias_nobody_asked_for_is_not_logged(
        intake: Intake, cache: MeetingCache, logged_events: list[dict[str, Any]]) -> None:
    intake.configure({"default": profile(process_alias_private_meetings=False)})
    await intake.deliver("files", EMAIL, [invitation(body_text="", is_private=True)])
    assert len(cache.agenda(ROOM).meetings) == 1
    assert warnings(logged_events) == []


async def test_a_rule_that_fails_is_logged_with_room_and_reason(
        intake: Intake, cache: MeetingCache, logged_events: list[dict[str, Any]]) -> None:
    broken = Rule(name="broken", priority=1, meeting_type="custom", custom_template="{{ 1 / 0 }}")
    intake.configure({"default": ProfileRules("files", Policy(), Engine([broken], clock=time.monotonic))})
    await intake.deliver("files", EMAIL, [invitation()])
    (event,) = [e for e in logged_events if e.get("rule") == "broken"]
    assert event["room"] == EMAIL
    assert "ZeroDivisionError" in event["reason"]
    assert len(cache.agenda(ROOM).meetings) == 1


async def test_failures_of_rules_are_told_and_long_bodies_named_once(
        cache: MeetingCache, logged_events: list[dict[str, Any]]) -> None:
    failed: list[tuple[str, str]] = []
    intake = Intake(cache, now=lambda: NOW, in_thread=at_once,
                    rule_failed=lambda profile, rule: failed.append((profile, rule)))
    rule = Rule(name="odd", priority=1, meeting_type="custom", custom_template="{{ 1 // 0 }}")
    intake.configure({"default": ProfileRules("files", Policy(), Engine([rule], clock=time.thread_time))})
    for _ in range(2):
        await intake.deliver("files", EMAIL, [invitation(body_text="x" * (HTML_LIMIT + 1))])
    assert failed == [("default", "odd")]
    assert len([event for event in logged_events if event.get("limit") == HTML_LIMIT]) == 1


async def test_occurrences_that_did_not_change_keep_their_meetings(intake: Intake, cache: MeetingCache) -> None:
    await intake.deliver("files", EMAIL, [invitation("a"), invitation("b", occurrence="20260302T090000Z"),
                                          invitation("c")])
    before = {m.uid: m for m in cache.agenda(ROOM).meetings}
    await intake.deliver("files", EMAIL, [invitation("a", subject="Moved on"), invitation("d")],
                         frozenset({("b", "20260302T090000Z"), ("never delivered", "")}))
    after = {m.uid: m for m in cache.agenda(ROOM).meetings}
    assert sorted(after) == ["a", "b", "d"]
    assert after["b"] is before["b"]
    assert after["a"].subject == "Moved on"


async def test_a_room_that_was_never_read_takes_no_part_of_a_calendar(intake: Intake, cache: MeetingCache) -> None:
    await intake.deliver("files", EMAIL, [invitation("a")], frozenset({("b", "")}))
    assert cache.agenda(ROOM).freshness is Freshness.NEVER_READ
    await intake.deliver("files", EMAIL, [invitation("a"), invitation("b")])
    assert len(cache.agenda(ROOM).meetings) == 2


async def test_a_meeting_beyond_the_view_of_a_profile_enters_it_without_being_delivered_again(
        cache: MeetingCache) -> None:
    now = [NOW]
    intake = Intake(cache, now=lambda: now[0], in_thread=at_once)
    intake.configure({"default": profile()})
    far = invitation("far", start_time=NOW + timedelta(days=9), end_time=NOW + timedelta(days=9, hours=1))
    await intake.deliver("files", EMAIL, [far])
    for day in range(4):
        now[0] = NOW + timedelta(days=day)
        await intake.deliver("files", EMAIL, [], frozenset({("far", "")}))
        assert [m.uid for m in cache.agenda(ROOM).meetings] == (["far"] if day > 2 else [])
    await intake.deliver("files", EMAIL, [])
    assert cache.agenda(ROOM).meetings == ()


async def test_the_starts_of_what_is_known_are_told_in_order(intake: Intake) -> None:
    later = NOW + timedelta(hours=3)
    await intake.deliver("files", EMAIL, [invitation("b", start_time=later, end_time=later), invitation("a")])
    assert intake.upcoming("files", EMAIL) == [NOW, later]
    assert intake.upcoming("elsewhere", EMAIL) == []
