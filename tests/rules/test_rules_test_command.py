"""`otjd rules test`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from otjd.rules.engine import Rule
from otjd.rules_test import run
from tests.rules.support import rule

ROOMS = rule("domain", name="rooms", domain="vc.example.com", priority=10)
CODES = rule("regex", name="codes", match_string=r"room (\d+)", replace_string=r"\1@codes.example", priority=5)
FILES = {
    "room.json": {"body_text": "board@vc.example.com"},
    "code.json": {"body_text": "room 12 board@vc.example.com"},
    "fallback.json": {"body_text": "h323:12345"},
    "nothing.json": {"body_text": "hello"},
    "own.json": {"body_text": "a@own.example board@vc.example.com",
                 "rule": {"meeting_type": "domain", "domain": "own.example"}},
    "none.json": {"body_text": "board@vc.example.com", "rule": {}},
    "zoom.json": {"body_text": "x", "rules": [
        {"meeting_type": "custom", "custom_template": "a b", "name": "mine"}]},
    "broken-rule.json": {"rule": {"meeting_type": "regex", "match_string": "("}},
    "several.json": [{"body_text": "a@vc.example.com"}, {"body_text": "b@vc.example.com"}],
    "broken.json": 5,
}


@dataclass(frozen=True)
class Ran:
    code: int
    written: list[str]
    complaints: list[str]

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.written]


def try_out(*names: str, rules: Sequence[Rule] = (CODES, ROOMS), rule_name: str | None = None,
            json_lines: bool = False) -> Ran:
    written: list[str] = []
    complaints: list[str] = []

    def read(name: str) -> bytes:
        if name not in FILES:
            raise FileNotFoundError(2, "No such file or directory", name)
        return json.dumps(FILES[name]).encode()

    code = run(rules, rule_name, json_lines, names, read=read, write=written.append, clock=lambda: 0.0,
               complain=complaints.append)
    return Ran(code, written, complaints)


def test_json_lines_come_in_the_order_given_with_the_keys_of_the_contract() -> None:
    ran = try_out("fallback.json", "nothing.json", "code.json", "room.json", json_lines=True)
    assert ran.lines == [
        {"invitation": "fallback.json", "alias": "12345", "protocol": "H323", "rule": "",
         "meeting_type": "fallback", "variables": {}},
        {"invitation": "nothing.json", "alias": None, "protocol": None, "rule": None, "meeting_type": None,
         "variables": {}},
        {"invitation": "code.json", "alias": "12@codes.example", "protocol": "SIP", "rule": "codes",
         "meeting_type": "regex", "variables": {"1": "12"}},
        {"invitation": "room.json", "alias": "board@vc.example.com", "protocol": "SIP", "rule": "rooms",
         "meeting_type": "domain", "variables": {"meeting_id": "board", "domain": "vc.example.com"}}]
    assert ran.code == 1
    assert not ran.complaints


@pytest.mark.parametrize(("names", "code"), [
    (("room.json",), 0), (("room.json", "nothing.json"), 1), (("broken.json", "nothing.json", "room.json"), 2),
    (("missing.json",), 2), (("broken-rule.json",), 2), (("none.json",), 1)])
def test_the_exit_code_tells_what_came_of_them(names: tuple[str, ...], code: int) -> None:
    assert try_out(*names).code == try_out(*names, json_lines=True).code == code


def test_rules_that_an_invitation_brings_take_the_place_of_the_profiles() -> None:
    ran = try_out("own.json", "none.json", "room.json", json_lines=True)
    assert [line["alias"] for line in ran.lines] == ["a@own.example", None, "board@vc.example.com"]


def test_a_file_of_several_invitations_gives_a_line_each() -> None:
    ran = try_out("several.json", json_lines=True)
    assert [(line["invitation"], line["alias"]) for line in ran.lines] == [
        ("several.json[1]", "a@vc.example.com"), ("several.json[2]", "b@vc.example.com")]


def test_one_rule_is_tried_alone_even_when_it_is_disabled() -> None:
    rules = (CODES, replace(ROOMS, enabled=False))
    assert try_out("code.json", rules=rules, rule_name="rooms", json_lines=True).lines[0]["alias"] == (
        "board@vc.example.com")
    ran = try_out("code.json", rule_name="roms")
    assert ran.code == 2
    assert ran.complaints == ['otjd: no rule of this profile is named "roms"; it has: codes, rooms']
    assert not ran.written


def test_a_rule_of_the_profile_that_cannot_work_is_said() -> None:
    ran = try_out("code.json", rules=(rule("domain", name="x"),))
    assert ran.code == 2
    assert ran.complaints == ['otjd: rule "x", domain: it is empty; name the domain whose addresses are aliases']


def test_without_json_alias_rule_and_variables_are_printed_for_people() -> None:
    ran = try_out("room.json", "fallback.json", "nothing.json", "zoom.json", "missing.json")
    assert ran.written == [
        ("room.json: board@vc.example.com (SIP)\n  rule: \"rooms\", type domain\n  meeting_id: board\n"
         "  domain: vc.example.com"),
        "fallback.json: 12345 (H323)\n  rule: none, the fallback",
        "nothing.json: no alias",
        ("zoom.json: no alias\n  rule \"mine\" failed: 'a b' cannot be dialled: an alias has no blanks and "
         "at most 1000 characters"),
        "unreadable: missing.json: No such file or directory"]
    assert not ran.complaints


def test_with_json_notes_go_elsewhere() -> None:
    ran = try_out("zoom.json", "missing.json", json_lines=True)
    assert [line["alias"] for line in ran.lines] == [None, None]
    assert ran.complaints == [
        ("otjd: zoom.json: rule \"mine\" failed: 'a b' cannot be dialled: an alias has no blanks and at most 1000 "
        "characters"), "otjd: missing.json: No such file or directory"]


def test_variables_cannot_upset_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILES, "escape.json", {"body_text": "room \x1b[31m 7"})
    given = rule("regex", name="x", match_string=r"room (\S+) (\d)", replace_string=r"\2@x")
    ran = try_out("escape.json", rules=(given,))
    assert "  1: \\x1b[31m" in ran.written[0]


def test_complaints_go_to_standard_error_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    run((), "x", True, ["-"], read=lambda _: b"", write=lambda _: None, clock=lambda: 0.0)
    assert capsys.readouterr().err == 'otjd: no rule of this profile is named "x"; it has: none\n'
