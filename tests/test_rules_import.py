from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

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


def imported(export: Any) -> tuple[int, list[dict[str, Any]], str]:
    out: list[str] = []
    errors: list[str] = []
    content = export if isinstance(export, bytes) else json.dumps(export).encode()
    code = run(content, "oslo", write=out.append, complain=errors.append)
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
    for expected in ('rule "A", match_string', 'rule "B", priority: found \'first\'', 'rule "C", meeting_type',
                     'rule "C", priority: found 1, which rule "A" has already'):
        assert expected in errors


@pytest.mark.parametrize("content", [b"", b"<html>", b"7", b"[7]", b"{}", b'{"objects": {}}', b"\xff", b"[]"])
def test_what_is_no_export_is_refused_in_one_line(content: bytes) -> None:
    code, rules, errors = imported(content)
    assert (code, rules) == (2, [])
    assert errors.count("\n") == 1
    assert "expected" in errors


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
