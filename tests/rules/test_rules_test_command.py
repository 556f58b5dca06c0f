"""`otjd rules test`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from otjd.rules.engine import Rule
from otjd.rules_test import Trial, run
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
            json_lines: bool = False, explain: bool = False) -> Ran:
    written: list[str] = []
    complaints: list[str] = []

    def read(name: str) -> bytes:
        if name not in FILES:
            raise FileNotFoundError(2, "No such file or directory", name)
        return json.dumps(FILES[name]).encode()

    code = run(rules, Trial(rule_name, json_lines, explain), names, read=read, write=written.append,
               clock=lambda: 0.0, complain=complaints.append)
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
    run((), Trial("x", as_json=True), ["-"], read=lambda _: b"", write=lambda _: None, clock=lambda: 0.0)
    assert capsys.readouterr().err == 'otjd: no rule of this profile is named "x"; it has: none\n'


CONTRACT_KEYS = ["invitation", "alias", "protocol", "rule", "meeting_type", "variables"]
TEAMS = rule("teams", name="teams", domain="t.example", priority=1)
OFF = rule("zoom", name="off", enabled=False, priority=2)
BROKEN = rule("custom", name="broken", custom_template="{{ 1 // 0 }}", priority=3)
EXPLAINED = """\
code.json: 12@codes.example (SIP)
  rule: "codes", type regex
  1: 12
  what the rules see:
    body: text, 28 characters of text
    location: none
    property: none
  the rules in their order:
      1 "teams" (teams): nothing
        looked at: properties
        looked for: the property TeamsVtcConferenceId
        why not: the invitation has no properties
      2 "off" (zoom): skipped, it is disabled
      3 "broken" (custom): failed
        looked at: body, location, properties
        looked for: what custom_template makes of the event
        template (its own): {{ 1 // 0 }}
        why: ZeroDivisionError: integer division or modulo by zero
      5 "codes" (regex): 12@codes.example
        looked at: body, location
        looked for: what match_string matches in the text, a link, the location
            or the HTML source: room (\\d+)
        1 = 12
            body: room 12 board@vc.example.com
        template (its own): \\1@codes.example
     10 "rooms" (domain): not reached, an earlier one matched
    fallback: not reached, an earlier one matched"""


def test_explained_each_rule_says_where_it_looked_and_what_it_found_or_why_not() -> None:
    ran = try_out("code.json", rules=(CODES, ROOMS, TEAMS, OFF, BROKEN), explain=True)
    assert ran.written == [EXPLAINED]
    assert not ran.complaints


def test_the_explanation_shows_the_template_and_says_whose_it_is() -> None:
    own = replace(ROOMS, default_processing_enabled=False, transform_rule="{{meeting_id}}@b.example")
    for given, line in ((ROOMS, "        template (default): {{meeting_id}}@{{domain}}"),
                        (own, "        template (its own): {{meeting_id}}@b.example")):
        assert line in try_out("room.json", rules=(given,), explain=True).written[0].splitlines()


def test_the_explanation_tells_a_template_that_made_nothing_from_a_text_that_had_nothing(
        monkeypatch: pytest.MonkeyPatch) -> None:
    empty = replace(ROOMS, default_processing_enabled=False, transform_rule="{% if false %}x{% endif %}")
    assert "why not: its template makes nothing of these variables" in try_out(
        "room.json", rules=(empty,), explain=True).written[0]
    assert "why not: there is none of it" in try_out("nothing.json", explain=True).written[0]
    monkeypatch.setitem(FILES, "empty.json", {})
    assert "why not: the invitation has no body and no location; a room" in try_out(
        "empty.json", explain=True).written[0]


def test_the_explanation_shows_restored_links_and_quoted_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILES, "mail.json", {"body_text": (
        "https://eur01.safelinks.protection.outlook.com/?url=https%3A%2F%2Fzoom.us%2Fj%2F830174629&data=x\n"
        "> see board@vc.example.com\n")})
    (written,) = try_out("mail.json", rules=(ROOMS,), explain=True).written
    lines = written.splitlines()
    assert "    rewritten, restored: https://zoom.us/j/830174629" in lines
    assert '     10 "rooms" (domain): nothing' in lines
    assert '     10 "rooms" (domain) on quoted lines: board@vc.example.com' in lines
    assert "            body: see board@vc.example.com" in lines


def test_the_explanation_fits_a_terminal_and_cannot_upset_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILES, "wide.json", {
        "body_text": f"board@vc.example.com https://a.example/{'x' * 400}\x1b[31m", "location": "y" * 300})
    (written,) = try_out("wide.json", explain=True).written
    assert max(map(len, written.splitlines())) <= 80
    assert "\x1b" not in written


def test_with_json_the_explanation_is_one_key_more_and_only_when_asked_for() -> None:
    plain = try_out("code.json", "missing.json", json_lines=True).lines
    told = try_out("code.json", "missing.json", json_lines=True, explain=True).lines
    assert [list(line) for line in plain] == [CONTRACT_KEYS, CONTRACT_KEYS]
    assert [list(line) for line in told] == [[*CONTRACT_KEYS, "explanation"]] * 2
    assert [{key: line[key] for key in CONTRACT_KEYS} for line in told] == plain
    explanation = told[0]["explanation"]
    assert isinstance(explanation, dict)
    assert [(step["rule"], step["result"], step["alias"]) for step in explanation["steps"]] == [
        ("codes", "matched", "12@codes.example"), ("rooms", "not reached", None), (None, "not reached", None)]
    assert told[1]["explanation"] is None


def test_without_an_invitation_each_enabled_rule_is_tried_alone_on_the_example_of_its_type() -> None:
    ran = try_out(rules=(TEAMS, OFF, ROOMS), json_lines=True)
    assert [(line["invitation"], line["alias"]) for line in ran.lines] == [
        ('the example of "teams"', "1180924475@t.example"), ('the example of "rooms"', "boardroom@vc.example.com")]
    assert ran.code == 0
    (only,) = try_out(rules=(TEAMS, OFF, ROOMS), rule_name="off", json_lines=True).lines
    assert only["alias"] == "83017462955@zoomcrc.com"


def test_a_rule_that_makes_nothing_of_the_example_of_its_type_counts_as_one_without_alias() -> None:
    silent = replace(ROOMS, default_processing_enabled=False, transform_rule="{% if false %}x{% endif %}")
    assert try_out(rules=(TEAMS, silent)).code == 1


def test_rules_without_an_example_need_an_invitation() -> None:
    ran = try_out(rules=(CODES,))
    assert ran.code == 2
    assert ran.complaints == [
        'otjd: rule "codes" was not tried: type regex has no example; give an INVITATION',
        "otjd: there is nothing to try; give an INVITATION"]


def otjd(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([Path(sys.executable).with_name("otjd"), *arguments], input=stdin, capture_output=True,
                          check=False)


def test_the_command_explains_what_comes_by_standard_input(tmp_path: Path) -> None:
    config = tmp_path / "otjd.toml"
    config.write_text(CONFIG.format(tmp_path))
    ran = otjd("rules", "test", "--config", str(config), "--profile", "default", "--explain", "-",
               stdin=b'{"location": "board@vc.example.com"}')
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert b'      1 "rooms" (domain): board@vc.example.com\n' in ran.stdout
    assert b"            location: board@vc.example.com\n" in ran.stdout
    assert otjd("rules", "test", "--config", str(config), "--profile", "default").returncode == 0
    assert otjd("rules", "test", "--config", str(config), "--profile", "other").returncode == 2


CONFIG = """\
[node]
name = "n"
location = "oslo"
state_dir = "{0}"
[calendar_service]
[[file_integrations]]
name = "demo"
directory = "{0}"
[[profiles]]
name = "default"
integration = "demo"
[[rules]]
name = "rooms"
profile = "default"
priority = 1
meeting_type = "domain"
domain = "vc.example.com"
"""


def test_check_names_file_line_key_and_place_of_every_mistake_in_templates_and_expressions(tmp_path: Path) -> None:
    config = tmp_path / "otjd.toml"
    config.write_text(CONFIG.format(tmp_path).replace(
        'integration = "demo"\n', 'integration = "demo"\nreplace_subject_template = "{{ a b }}"\n') + '''\
[[rules]]
name = "codes"
profile = "default"
priority = 2
meeting_type = "regex"
match_string = 'room (\\d+'
[[rules]]
name = "own"
profile = "default"
priority = 3
enabled = false
meeting_type = "custom"
custom_template = """
{% if calendar_event.subject %}
  {{ calendar_event.subject | upcase }}
{% endif %}
"""
''')
    ran = otjd("check", "--config", str(config))
    first, second, third, last = ran.stdout.decode().replace(f"problem: {config}: ", "").splitlines()
    assert ran.returncode == 1
    assert first == ('line 24, rules[2] "codes".match_string: found \'room (\\\\d+\', which is no '
                     "valid expression: line 1, column 10: missing )")
    assert second.startswith('line 31, rules[3] "own".custom_template: line 2, column 31, found '
                             "'upcase }}': there is no filter 'upcase'; available are abs, ")
    assert third == ('line 12, profiles[1] "default".replace_subject_template: line 1, column 6, '
                     "found 'b }}': expected token 'end of print statement', got 'b'")
    assert last == "3 problems, 0 warnings: the configuration cannot be used"


def test_a_configuration_that_cannot_be_used_is_not_taken_for_an_invitation_without_alias(tmp_path: Path) -> None:
    (tmp_path / "otjd.toml").write_text("[nod]\n")
    ran = otjd("rules", "test", "--config", str(tmp_path / "otjd.toml"), "--profile", "default", "-", stdin=b"{}")
    assert ran.returncode == 2
    assert b'"nod"' in ran.stderr
