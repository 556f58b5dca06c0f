from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from otjd.rules.registry import KNOWN
from otjd.rules_import import run

EXPORT: dict[str, Any] = {"meta": {"limit": 100, "total_count": 3}, "objects": [
    {"id": 2, "name": "Our domain", "description": "", "priority": 50, "enabled": True, "meeting_type": "domain",
     "mjx_integration": "/api/admin/configuration/v1/mjx_integration/1/", "default_processing_enabled": True,
     "transform_rule": "{{meeting_id}}@{{domain}}", "custom_template": "", "match_string": "",
     "replace_string": "", "domain": "vc.example.com", "company_id": "", "include_pin": False,
     "resource_uri": "/x/2/"},
    {"id": 1, "name": "Zoom", "priority": 10, "enabled": False, "meeting_type": "zoom", "include_pin": True,
     "default_processing_enabled": False, "transform_rule": "{{meeting_id}}@zoom.example.com"},
    {"id": 3, "name": "Links", "priority": 60, "enabled": True, "meeting_type": "regex",
     "default_processing_enabled": False, "match_string": r"https://([^\s]+)/meet/(\d+)",
     "replace_string": r"\2@\1"},
]}


def imported(export: Any, *profiles: str) -> tuple[int, list[dict[str, Any]], str]:
    out: list[str] = []
    errors: list[str] = []
    content = export if isinstance(export, bytes) else json.dumps(export).encode()
    code = run(content, profiles or ("oslo",), write=out.append, complain=errors.append)
    return code, tomllib.loads("".join(out)).get("rules", []), "".join(errors)


def test_an_export_becomes_rules_in_order_of_priority_with_what_matters() -> None:
    code, rules, errors = imported(EXPORT)
    assert (code, errors) == (0, "")
    assert rules == [
        {"name": "Zoom", "profile": "oslo", "priority": 10, "meeting_type": "zoom", "enabled": False,
         "include_pin": True, "default_processing_enabled": False,
         "transform_rule": "{{meeting_id}}@zoom.example.com"},
        {"name": "Our domain", "profile": "oslo", "priority": 50, "meeting_type": "domain",
         "domain": "vc.example.com"},
        {"name": "Links", "profile": "oslo", "priority": 60, "meeting_type": "regex",
         "default_processing_enabled": False, "match_string": r"https://([^\s]+)/meet/(\d+)",
         "replace_string": r"\2@\1"}]


def test_the_replacement_of_an_expression_is_kept_whether_or_not_the_export_says_default_processing() -> None:
    links = {**EXPORT["objects"][2], "default_processing_enabled": True}
    (rule,) = imported(links)[1]
    assert (rule["replace_string"], "default_processing_enabled" in rule) == (r"\2@\1", False)


def test_a_list_and_a_single_rule_are_exports_too() -> None:
    assert [r["name"] for r in imported(EXPORT["objects"])[1]] == ["Zoom", "Our domain", "Links"]
    assert [r["name"] for r in imported(EXPORT["objects"][0])[1]] == ["Our domain"]


def test_templates_of_several_lines_come_through() -> None:
    template = "{% if calendar_event.subject %}\n  \"quoted\" \\d '''\n{% endif %}"
    rule = {"name": "T", "priority": 1, "meeting_type": "custom", "custom_template": template}
    assert imported(rule)[1][0]["custom_template"] == template


def test_what_cannot_be_used_is_named_and_the_rest_is_printed() -> None:
    broken = [{"name": "A", "priority": 1, "meeting_type": "regex", "match_string": "("},
              {"name": "B", "priority": "first", "meeting_type": "domain", "domain": "example.com"},
              {"name": "C", "priority": 1, "meeting_type": "googlemeet"}]
    code, rules, errors = imported(broken)
    assert code == 1
    assert [r["name"] for r in rules] == ["A", "C"]
    for expected in ('rule "A", match_string', 'rule "B", priority: found \'first\'',
                     'rule "C".meeting_type: found',
                     '2 rules of profile "oslo" have priority 1; give each one of its own: "A", "C"'):
        assert expected in errors


@pytest.mark.parametrize("content", [b"", b"<html>", b"7", b"[7]", b"{}", b'{"objects": {}}', b"\xff", b"[]"])
def test_what_is_no_export_is_refused_in_one_line(content: bytes) -> None:
    code, rules, errors = imported(content)
    assert (code, rules) == (2, [])
    assert errors.count("\n") == 1
    assert "expected" in errors


def of(uri: object, name: str = "R", priority: int = 1, **more: object) -> dict[str, object]:
    return {"name": name, "priority": priority, "meeting_type": "zoom", "mjx_integration": uri} | more


@pytest.mark.parametrize("uri", [
    "/api/admin/configuration/v1/mjx_integration/7/", "https://mgr.example.com/api/x/mjx_integration/7", 7,
    {"id": 7, "name": "OTJ"}, {"resource_uri": "/api/admin/configuration/v1/mjx_integration/7/"}])
def test_rules_of_several_profiles_are_told_apart_by_the_reference_to_their_profile(uri: object) -> None:
    export = {"objects": [of("/api/mjx_integration/12/", "B"), of(uri, "A")]}
    code, rules, errors = imported(export, "7=oslo", "12=bergen")
    assert (code, errors) == (0, "")
    assert [(r["name"], r["profile"]) for r in rules] == [("A", "oslo"), ("B", "bergen")]


def test_rules_of_several_profiles_under_one_name_are_said() -> None:
    export = [of("/mjx_integration/1/", "A", 1), of("/mjx_integration/2/", "B", 2)]
    code, rules, errors = imported(export)
    assert (code, [r["profile"] for r in rules]) == (1, ["oslo", "oslo"])
    assert errors == ('problem: the rules are of 2 profiles, with the ids "1", "2"; name each with --profile '
                      "ID=NAME\n")


def test_rules_of_a_profile_that_was_not_named_are_left_out_and_said() -> None:
    export = [of("/mjx_integration/1/", "A"), of("/mjx_integration/2/", "B"), of(None, "C")]
    code, rules, errors = imported(export, "1=oslo")
    assert (code, [r["name"] for r in rules]) == (1, ["A"])
    assert 'problem: rules of the profile with id "2" were left out; name it with --profile 2=NAME' in errors
    assert 'problem: rules of the profile with id "" were left out' in errors


def test_descriptions_come_along_and_what_the_server_adds_does_not() -> None:
    (rule,) = imported(of(None, description="Ours", id=3, resource_uri="/x/3/", enabled=False, domain=None))[1]
    assert rule == {"name": "R", "profile": "oslo", "description": "Ours", "priority": 1, "meeting_type": "zoom",
                    "enabled": False}


def test_a_field_that_is_not_known_is_left_out_and_said() -> None:
    code, (rule,), errors = imported(of(None, display_count=2))
    assert code == 1
    assert "display_count" not in rule
    assert 'rule "R" has fields that are not known here and were left out: display_count' in errors


def test_a_page_of_an_export_is_said_to_be_one() -> None:
    code, _, errors = imported({"meta": {"limit": 1, "total_count": 3, "next": "/x/?offset=1"},
                                "objects": [of(None)]})
    assert code == 1
    assert errors == "problem: the export holds 1 of 3 rules; ask for all of them with ?limit=3\n"


def test_what_check_would_not_take_is_said_at_once() -> None:
    code, rules, errors = imported([of(None, "A", 300), of(None, "x" * 300, 2),
                                    of(None, "T", 3, meeting_type="teams")])
    assert (code, len(rules)) == (1, 3)
    assert 'rule "A".priority: found 300; expected' in errors
    assert "it has 300 characters" in errors
    assert 'rule "T".domain: found nothing; expected domain for meeting_type "teams"' in errors


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
"""


def test_what_was_imported_is_taken_by_check(tmp_path: Path) -> None:
    everything = {"objects": [of("/mjx_integration/1/", f"{name} rule", place, meeting_type=name,
        transform_rule="{{in}}", replace_string="", domain="vc.example.com" if name in ("domain", "teams") else "",
        match_string=r"room (\d+)" if name.startswith("regex") else "",
        custom_template="{% if true %}\n\"x\"{% endif %}" if name == "custom" else "")
        for place, name in enumerate(KNOWN, 1)]}
    otjd = Path(sys.executable).with_name("otjd")
    read = subprocess.run([otjd, "rules", "import", "-"], input=json.dumps(everything | EXPORTED_META),
                          capture_output=True, text=True, check=True)
    assert read.stderr == ""
    config = tmp_path / "otjd.toml"
    config.write_text(CONFIG.format(tmp_path) + read.stdout)
    checked = subprocess.run([otjd, "check", "--config", str(config)], capture_output=True, text=True, check=False)
    assert checked.stdout.endswith(f"{len(KNOWN)} rules\n")
    assert checked.returncode == 0


EXPORTED_META = {"meta": {"limit": 1000, "next": None, "offset": 0, "previous": None, "total_count": len(KNOWN)}}


def test_the_command_reads_files_and_stdin(tmp_path: Path) -> None:
    otjd = str(Path(sys.executable).with_name("otjd"))
    path = tmp_path / "rules.json"
    path.write_text(json.dumps(EXPORT))
    read = subprocess.run([otjd, "rules", "import", str(path)], capture_output=True, text=True, check=True)
    piped = subprocess.run([otjd, "rules", "import", "-"], input=path.read_text(), capture_output=True, text=True,
                           check=True)
    assert tomllib.loads(read.stdout) == tomllib.loads(piped.stdout)
    assert [r["profile"] for r in tomllib.loads(read.stdout)["rules"]] == ["default"] * 3
    missing = subprocess.run([otjd, "rules", "import", str(tmp_path / "x")], capture_output=True, text=True,
                             check=False)
    assert missing.returncode == 2
    assert "No such file" in missing.stderr
