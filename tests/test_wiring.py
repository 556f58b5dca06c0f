"""What a profile of the configuration makes of meetings: from the TOML file to what an endpoint shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from otjd.config.loader import load
from otjd.gather.intake import consider
from otjd.meetings.model import Invitation, Meeting, Organizer, Room
from otjd.wiring import profile_rules
from tests.rules.support import END, START

CONFIG = """\
[node]
name = "n"
location = "oslo"
state_dir = "{0}"
[[calendar_service.listeners]]
plaintext = true
[[file_integrations]]
name = "files"
directory = "{0}"
[[profiles]]
name = "default"
integration = "files"
{1}
[[rules]]
name = "rooms"
profile = "default"
priority = 1
meeting_type = "domain"
domain = "vc.example.com"
"""
BUDGET = Invitation(uid="u1", start_time=START, end_time=END, subject="Budget", body_text="board@vc.example.com",
                    organizer=Organizer("Alice Parkes", "alice@example.com"))
PRIVATE = replace(BUDGET, is_private=True)
GUEST = replace(BUDGET, organizer=Organizer("Kim Other", "kim@partner.com"))
UNTITLED = replace(BUDGET, subject="")

ORGANIZERS_MEETING = """
replace_subject_type = "PRIVATE"
replace_subject_template = "{{ calendar_event.organizer_full_name }}'s meeting"
"""
EXTERNAL = """
replace_subject_type = "ALL"
replace_subject_template = '''
{% set domain = pex_regex_search("@([a-z0-9.-]+.com)", calendar_event.organizer_email) %}
{% if domain[0] != "example.com" %}
  External: {{ calendar_event.subject }}
{% endif %}
'''
"""
FAILING = """
replace_subject_type = "ALL"
replace_subject_template = "{{ calendar_event.subject }} {{ 1 // 0 }}"
"""




def shown(directory: Path, profile: str, invitation: Invitation) -> Meeting | None:
    """The meeting that an endpoint of a profile with these keys shows."""
    file = directory / "otjd.toml"
    file.write_text(CONFIG.format(directory, profile))
    rules = profile_rules(load(file, environ={}).or_raise())["default"]
    considered = consider(Room("board@example.com", "default"), [invitation], rules)
    return considered[0].meeting if considered else None


@pytest.mark.parametrize(("profile", "invitation", "subject"), [
    ("", BUDGET, "Budget"),
    ("", PRIVATE, "Alice Parkes"),
    ('replace_subject_type = "NEVER"', PRIVATE, "Budget"),
    ('replace_subject_type = "ALL"', BUDGET, "Alice Parkes"),
    ('replace_subject_type = "ALL"', PRIVATE, "Alice Parkes"),
    (ORGANIZERS_MEETING, PRIVATE, "Alice Parkes's meeting"),
    (ORGANIZERS_MEETING, BUDGET, "Budget"),
    (EXTERNAL, GUEST, "External: Budget"),
    (EXTERNAL, BUDGET, "Budget"),
    (EXTERNAL, PRIVATE, "Alice Parkes"),
    (EXTERNAL, replace(GUEST, is_private=True), "External: Budget"),
    (FAILING, BUDGET, "Alice Parkes"),
    (FAILING, PRIVATE, "Alice Parkes"),
    ("", UNTITLED, "Alice Parkes"),
    ("replace_empty_subject = false", UNTITLED, ""),
    ('replace_empty_subject = false\nreplace_subject_type = "ALL"', UNTITLED, "Alice Parkes"),
    ("", replace(UNTITLED, organizer=Organizer("", "alice@example.com")), "alice@example.com"),
])
def test_the_subject_is_the_one_that_the_profile_lets_through(
        tmp_path: Path, profile: str, invitation: Invitation, subject: str) -> None:
    meeting = shown(tmp_path, profile, invitation)
    assert meeting is not None
    assert meeting.subject == subject


@pytest.mark.parametrize(("profile", "invitation", "alias"), [
    ("", PRIVATE, "board@vc.example.com"),
    ("process_alias_private_meetings = false", PRIVATE, None),
    ("process_alias_private_meetings = false", BUDGET, "board@vc.example.com"),
    ("process_alias_private_meetings = false\nenable_non_video_meetings = false", PRIVATE, None),
    ("enable_non_video_meetings = true", replace(BUDGET, body_text=""), None),
])
def test_private_meetings_are_shown_with_or_without_their_alias(
        tmp_path: Path, profile: str, invitation: Invitation, alias: str | None) -> None:
    meeting = shown(tmp_path, profile, invitation)
    assert meeting is not None
    assert (meeting.alias, meeting.matched_rule) == (alias, "rooms" if alias else "")
    assert meeting.is_private == invitation.is_private


@pytest.mark.parametrize(("profile", "invitation"), [
    ("enable_private_meetings = false", PRIVATE),
    ("enable_private_meetings = false\nprocess_alias_private_meetings = false", PRIVATE),
    ("enable_non_video_meetings = false", replace(BUDGET, body_text="")),
    ("enable_non_video_meetings = false", replace(PRIVATE, body_text="")),
])
def test_what_the_profile_leaves_out_is_not_shown(
        tmp_path: Path, profile: str, invitation: Invitation) -> None:
    assert shown(tmp_path, profile, invitation) is None
    assert shown(tmp_path, "", invitation) is not None
