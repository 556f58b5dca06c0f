"""Invitations as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from otjd.meetings.model import Organizer
from otjd.rules.invitation_json import InvitationJsonError, invitation_from_json
from otjd.rules.rule import Rule, RuleError, rule_from_mapping


def test_every_part_is_read() -> None:
    meeting, rules = invitation_from_json({
        "id": "x1", "subject": "S", "location": "L", "body_text": "T", "body_html": "<p>H",
        "organizer": {"name": "Pat", "email": "pat@example.com"}, "start_time": "2026-03-02T10:00:00+01:00",
        "end_time": "2026-03-02T09:30:00Z", "is_private": True, "properties": {"graph": {}}, "tags": [],
        "note": 5})
    assert (meeting.uid, meeting.subject, meeting.location, meeting.body_text, meeting.body_html) == (
        "x1", "S", "L", "T", "<p>H")
    assert meeting.organizer == Organizer("Pat", "pat@example.com")
    assert meeting.start_time == datetime(2026, 3, 2, 9, tzinfo=UTC)
    assert meeting.end_time == datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
    assert meeting.is_private
    assert meeting.properties == {"graph": {}}
    assert rules is None


def test_everything_is_optional() -> None:
    meeting, rules = invitation_from_json({"subject": None, "start_time": "2026-03-02T10:00:00"})
    assert meeting.start_time == meeting.end_time == datetime(2026, 3, 2, 10, tzinfo=UTC)
    assert rules is None


def test_rules_of_its_own_are_read() -> None:
    assert invitation_from_json({"rule": {}})[1] == ()
    assert invitation_from_json({"rules": []})[1] == ()
    assert invitation_from_json({"rule": {"meeting_type": "zoom", "include_pin": True}})[1] == (
        Rule("zoom 1", 1, "zoom", include_pin=True),)
    assert invitation_from_json({"rule": {"meeting_type": "zoom"}, "rules": [
        {"meeting_type": "webex", "x": 1}, {"meeting_type": "s4b", "priority": 9, "name": "mine"}]})[1] == (
        Rule("webex 1", 1, "webex"), Rule("mine", 9, "s4b"))


@pytest.mark.parametrize(("given", "expected"), [
    ({}, True), ({"replace_string": r"\1"}, False), ({"transform_rule": "x"}, False),
    ({"replace_string": r"\1", "default_processing_enabled": True}, True),
    ({"default_processing_enabled": False}, False)])
def test_a_replacement_that_is_given_is_used_unless_told_otherwise(given: dict[str, Any], expected: bool) -> None:
    assert rule_from_mapping({"meeting_type": "regex", **given}).default_processing_enabled is expected


@pytest.mark.parametrize(("data", "problem"), [
    (5, "expected an object, found a number"), ([], "expected an object, found a list"),
    ({"subject": 5}, "subject: expected text, found a number"),
    ({"body_text": ["x"]}, "body_text: expected text, found a list"),
    ({"organizer": "Pat"}, "organizer: expected an object, found text"),
    ({"organizer": {"name": True}}, "organizer.name: expected text, found true or false"),
    ({"is_private": "yes"}, "is_private: expected true or false, found text"),
    ({"properties": []}, "properties: expected an object"),
    ({"start_time": "tomorrow"}, "start_time: expected a time such as 2026-01-31T09:00:00Z, found 'tomorrow'"),
    ({"rule": []}, "rule: expected an object"), ({"rules": {}}, "rules: expected a list"),
    ({"rules": [5]}, "rules: expected a list of objects")])
def test_a_value_of_the_wrong_type_is_named(data: object, problem: str) -> None:
    with pytest.raises(InvitationJsonError) as refused:
        invitation_from_json(data)
    assert problem in str(refused.value)


@pytest.mark.parametrize(("given", "problem"), [
    ({"domain": "x"}, 'rule "rule 1", meeting_type: it is missing'),
    ({"meeting_type": "zoom", "priority": "1"}, "priority: found '1', expected a whole number"),
    ({"meeting_type": "zoom", "priority": True}, "priority: found True, expected a whole number"),
    ({"meeting_type": "zoom", "include_pin": 1}, 'rule "zoom 1", include_pin: found 1, expected true or false'),
    ({"meeting_type": "zoom", "name": ["x"]}, "name: found ['x'], expected text"),
    ({"meeting_type": 5}, "meeting_type: found 5, expected text")])
def test_a_rule_of_the_wrong_shape_is_named(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(RuleError) as refused:
        invitation_from_json({"rule": given})
    assert problem in str(refused.value)
