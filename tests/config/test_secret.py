"""Secrets: where they come from, that they stay hidden, and what is said when they cannot be had."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from otjd.config.loader import load
from otjd.config.model import Secret
from tests.config.samples import ENOUGH, POLY, Read, assert_clean, the_problem, the_warning

WHERE = 'endpoints[1] "Boardroom".poly_password'


def with_password(source: str) -> str:
    return ENOUGH + POLY.replace('"secret"', source)


def test_a_secret_shows_itself_to_those_who_ask_only() -> None:
    secret = Secret("hunter2")
    assert secret.reveal() == "hunter2"
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    assert copy.deepcopy(secret) == secret


def test_secrets_are_compared_by_value_and_empty_ones_are_false() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("ä")
    assert Secret("a") != "a"
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a")
    assert not Secret()


def test_a_whole_configuration_shows_no_secret(read: Read) -> None:
    config = read(with_password('"hunter2"')).or_raise()
    assert config.endpoints[0].poly_password.reveal() == "hunter2"
    assert "hunter2" not in repr(config)


@pytest.mark.parametrize(("content", "secret"), [
    ("hunter2", "hunter2"), ("hunter2\n", "hunter2"), ("hunter2\r\n", "hunter2"),
    ("\ufeff hün ter \n", " hün ter "),
    ("one\ntwo\n", "one\ntwo"),
])
def test_a_secret_from_a_file_is_its_text_without_the_line_end(
        read: Read, tmp_path: Path, content: str, secret: str) -> None:
    file = tmp_path / "boardroom.password"
    file.write_bytes(content.encode())
    file.chmod(0o600)
    loaded = read(with_password('{ file = "boardroom.password" }'))
    assert_clean(loaded)
    assert loaded.or_raise().endpoints[0].poly_password == Secret(secret)


def test_a_secret_from_the_environment(read: Read) -> None:
    loaded = read(with_password('{ env = "BOARDROOM" }'), environ={"BOARDROOM": "hunter2"})
    assert_clean(loaded)
    assert loaded.or_raise().endpoints[0].poly_password == Secret("hunter2")


def test_a_secret_from_a_systemd_credential(read: Read, tmp_path: Path) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "boardroom").write_text("hunter2\n")
    (folder / "boardroom").chmod(0o400)
    loaded = read(with_password('{ credential = "boardroom" }'), environ={"CREDENTIALS_DIRECTORY": str(folder)})
    assert_clean(loaded)
    assert loaded.or_raise().endpoints[0].poly_password == Secret("hunter2")


@pytest.fixture
def odd_files(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "long").write_text("x" * 65537)


@pytest.mark.parametrize(("source", "environ", "found", "hint"), [
    ('{ file = "gone" }', {}, "no file ", ""),
    ('{ file = "calendars" }', {}, "calendars, which cannot be read: Is a directory", ""),
    ('{ file = "empty" }', {}, "the empty file ", ""),
    ('{ file = "binary" }', {}, "binary, which is not UTF-8 text", ""),
    ('{ file = "long" }', {}, "long of more than 65536 bytes", ""),
    ('{ file = "" }', {}, 'file = ""', ""),
    ("{ file = 5 }", {}, "file = 5", ""),
    ('{ env = "BOARDROOM" }', {}, 'the environment variable "BOARDROOM", which is not set', "set it"),
    ('{ env = "BOARDROOM" }', {"BOARDROOM": ""}, 'the environment variable "BOARDROOM", which is empty', "set it"),
    ('{ credential = "boardroom" }', {}, "CREDENTIALS_DIRECTORY is not set", "LoadCredential=boardroom"),
    ('{ credential = "../boardroom" }', {"CREDENTIALS_DIRECTORY": "/run"}, 'credential = "../boardroom"', ""),
    ('{ credential = "gone" }', {"CREDENTIALS_DIRECTORY": "/nowhere"}, "no file /nowhere/gone", ""),
    ('{ flie = "x" }', {}, 'the unknown key "flie"', 'the nearest known key is "file"'),
    ('{ file = "x", env = "y" }', {}, "a table with 2 keys", ""),
    ("{}", {}, "a table with 0 keys", ""),
    ("1234", {}, "a value of another type (int, not shown)", "put it in quotes"),
    ('["hunter2"]', {}, "a value of another type (list, not shown)", ""),
    (f'"{"x" * 101}"', {}, "a secret of 101 characters", ""),
])
@pytest.mark.usefixtures("odd_files")
def test_a_secret_that_cannot_be_had_says_why_and_shows_nothing(
        read: Read, source: str, environ: dict[str, str], found: str, hint: str) -> None:
    problem = the_problem(read(with_password(source), environ=environ))
    assert problem.where == WHERE
    assert found in problem.found
    assert hint in problem.hint
    assert problem.expected
    assert "hunter2" not in str(problem)
    assert "1234" not in str(problem)


def test_an_empty_secret_is_not_enough_where_one_is_required(read: Read) -> None:
    problem = the_problem(read("""
[[graph_integrations]]
name = "m365"
client_id = "00000000-0000-0000-0000-000000000000"
client_secret = ""
oauth_token_url = "https://login.example.com/token"
"""))
    assert (problem.where, problem.found) == ('graph_integrations[1] "m365".client_secret', '""')


def test_a_configuration_with_secrets_that_all_may_read_gives_a_warning(read: Read, tmp_path: Path) -> None:
    read(with_password('"hunter2"'))
    (tmp_path / "otjd.toml").chmod(0o644)
    warning = the_warning(load(tmp_path / "otjd.toml", environ={}))
    assert (warning.file, warning.where) == (tmp_path / "otjd.toml", "")
    assert warning.found == "a file with secrets that all users may read (mode 0644)"
    assert warning.hint == f"chmod o-rwx {tmp_path / 'otjd.toml'}"


def test_an_open_file_of_a_secret_gives_a_warning_that_names_the_key(read: Read, tmp_path: Path) -> None:
    file = tmp_path / "boardroom.password"
    file.write_text("hunter2")
    file.chmod(0o604)
    warning = the_warning(read(with_password(f'{{ file = "{file}" }}').replace('ep_username = "otj"\n', "")
                               .replace('ep_password = "codec"\n', "")))
    assert (warning.where, warning.found) == (WHERE, f"{file}, which all users may read (mode 0604)")


def test_an_open_configuration_without_secrets_is_fine(read: Read, tmp_path: Path) -> None:
    read("[node]\n")
    (tmp_path / "otjd.toml").chmod(0o644)
    assert_clean(load(tmp_path / "otjd.toml", environ={}))
