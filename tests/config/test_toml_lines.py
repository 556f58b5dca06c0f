from __future__ import annotations

import tomllib

import pytest

from otjd.config.toml_lines import key_line

TEXT = '''\
top = 1
[[rules]]
name = "a"
"match_string" = "("
[[profiles]]
name = "p"
[[ rules ]]
name = "b"
custom_template = """
[[rules]]
match_string = "not a key"
"""
  'match_string' = "["

[[rules]]
name = "c"
[node]
match_string = "another table's"
'''


@pytest.mark.parametrize(("number", "key", "line"), [
    (1, "name", 3), (1, "match_string", 4), (2, "custom_template", 9), (2, "match_string", 13), (3, "name", 16)])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_line_of_a_key_is_found(number: int, key: str, line: int, newline: str) -> None:
    assert key_line(TEXT.replace("\n", newline), "rules", number, key) == line


def test_without_the_key_it_is_the_line_of_the_heading() -> None:
    assert key_line(TEXT, "rules", 3, "match_string") == 15
    assert key_line(TEXT, "profiles", 1, "match_string") == 5


def test_an_array_in_another_form_has_no_line() -> None:
    text = 'rules = [\n  { name = "a" },\n]\n'
    assert tomllib.loads(text)["rules"] == [{"name": "a"}]
    assert key_line(text, "rules", 1, "name") is None
    assert key_line(TEXT, "rules", 4, "name") is None
