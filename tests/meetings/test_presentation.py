from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from otjd.meetings.model import DialProtocol, Invitation, Organizer
from otjd.meetings.presentation import (
    INVITATION_TEXT_LIMIT,
    Dial,
    Policy,
    ReplaceSubject,
    present,
    shown_subject,
    wants_alias,
)

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
INVITATION = Invitation(uid="u1", start_time=START, end_time=START + timedelta(minutes=45), subject="Budget",
                        organizer=Organizer("Ada Berg", "ada@example.com"))
PRIVATE = replace(INVITATION, is_private=True)
DIAL = Dial("room7@video.example.com", DialProtocol.SIP, "our domain")
ROOM = "boardroom@example.com"


def test_a_video_meeting_shows_its_subject_and_alias() -> None:
    meeting = present(INVITATION, ROOM, DIAL, Policy())
    assert meeting is not None
    assert (meeting.subject, meeting.alias, meeting.matched_rule) == ("Budget", DIAL.alias, "our domain")


def test_the_subject_of_a_private_meeting_is_the_organizer_by_default() -> None:
    meeting = present(PRIVATE, ROOM, DIAL, Policy())
    assert meeting is not None
    assert meeting.subject == "Ada Berg"
    assert meeting.alias == DIAL.alias
    assert meeting.is_private


def test_cancelled_meetings_are_never_shown() -> None:
    assert present(replace(INVITATION, is_cancelled=True), ROOM, DIAL, Policy()) is None


def test_private_meetings_can_be_hidden() -> None:
    assert present(PRIVATE, ROOM, DIAL, Policy(enable_private_meetings=False)) is None
    assert present(INVITATION, ROOM, DIAL, Policy(enable_private_meetings=False)) is not None


def test_private_meetings_can_be_shown_without_their_alias() -> None:
    policy = Policy(process_alias_private_meetings=False, enable_non_video_meetings=False)
    meeting = present(PRIVATE, ROOM, DIAL, policy)
    assert meeting is not None
    assert meeting.alias is None
    assert meeting.matched_rule == ""
    assert not wants_alias(PRIVATE, policy)
    assert wants_alias(INVITATION, policy)


def test_the_text_of_an_invitation_is_kept_up_to_its_limit() -> None:
    meeting = present(INVITATION, ROOM, DIAL, Policy(), text="x" * (INVITATION_TEXT_LIMIT + 1))
    assert meeting is not None
    assert meeting.invitation_text == "x" * INVITATION_TEXT_LIMIT
    assert "xx" not in repr(meeting)


@pytest.mark.parametrize(("kind", "with_alias", "shown"), [
    (ReplaceSubject.PRIVATE, True, ""), (ReplaceSubject.ALL, True, ""), (ReplaceSubject.NEVER, False, ""),
    (ReplaceSubject.NEVER, True, "Agenda")])
def test_the_text_of_a_private_meeting_is_shown_only_where_nothing_of_it_is_hidden(
        kind: ReplaceSubject, with_alias: bool, shown: str) -> None:
    policy = Policy(replace_subject_type=kind, process_alias_private_meetings=with_alias)
    meeting = present(PRIVATE, ROOM, DIAL, policy, text="Agenda")
    assert meeting is not None
    assert meeting.invitation_text == shown


def test_the_change_key_follows_the_text_only_while_there_is_one() -> None:
    versions = [present(INVITATION, ROOM, DIAL, Policy(), text=text) for text in ("", "a", "b")]
    keys = [v.change_key for v in versions if v is not None]
    assert len(set(keys)) == 3
    assert {v.without_text().change_key for v in versions if v is not None} == {keys[0]}


def test_meetings_without_video_can_be_hidden() -> None:
    assert present(INVITATION, ROOM, None, Policy(enable_non_video_meetings=False)) is None
    shown = present(INVITATION, ROOM, None, Policy())
    assert shown is not None
    assert not shown.is_joinable


@pytest.mark.parametrize(("kind", "public", "private"), [
    (ReplaceSubject.ALL, "Ada Berg", "Ada Berg"),
    (ReplaceSubject.NEVER, "Budget", "Budget"),
    (ReplaceSubject.PRIVATE, "Budget", "Ada Berg"),
])
def test_whose_subject_is_replaced(kind: ReplaceSubject, public: str, private: str) -> None:
    policy = Policy(replace_subject_type=kind)
    assert shown_subject(INVITATION, policy) == public
    assert shown_subject(PRIVATE, policy) == private


def test_a_template_replaces_the_subject() -> None:
    policy = Policy(replace_subject_type=ReplaceSubject.ALL)
    assert shown_subject(INVITATION, policy, lambda i: f"{i.organizer.name}'s meeting") == "Ada Berg's meeting"


def test_a_template_that_yields_nothing_keeps_a_public_subject_and_hides_a_private_one() -> None:
    policy = Policy(replace_subject_type=ReplaceSubject.ALL)
    assert shown_subject(INVITATION, policy, lambda _: " \n") == "Budget"
    assert shown_subject(PRIVATE, policy, lambda _: " \n") == "Ada Berg"


def test_a_template_that_fails_lets_no_subject_through() -> None:
    policy = Policy(replace_subject_type=ReplaceSubject.ALL)
    assert shown_subject(INVITATION, policy, lambda _: None) == shown_subject(
        PRIVATE, policy, lambda _: None) == "Ada Berg"


def test_empty_subjects_become_the_organizer_where_the_profile_says_so() -> None:
    untitled = replace(INVITATION, subject=" ")
    assert shown_subject(untitled, Policy()) == "Ada Berg"
    assert shown_subject(untitled, Policy(replace_empty_subject=False)) == ""
    nameless = replace(untitled, organizer=Organizer(email="ada@example.com"))
    assert shown_subject(nameless, Policy()) == "ada@example.com"


def test_subjects_are_one_line_of_at_most_a_thousand_characters() -> None:
    assert shown_subject(replace(INVITATION, subject="a\r\nb\tc"), Policy()) == "a b c"
    assert len(shown_subject(replace(INVITATION, subject="x" * 5000), Policy())) == 1000


def test_half_of_a_surrogate_pair_in_a_booking_costs_nothing() -> None:
    meeting = present(replace(INVITATION, subject="x\ud800", uid="\ud800"), ROOM, DIAL, Policy())
    assert meeting is not None
    assert len(meeting.id) == 32
