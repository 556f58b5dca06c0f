"""The annotated example, the generated reference, and what `otjd check` prints."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from otjd.config.check import report
from otjd.config.keys import entries
from otjd.config.loader import Loaded, load
from otjd.config.model import Config, Secret
from otjd.config.reference import reference
from otjd.meetings.model import EndpointType
from tests.config.samples import CISCO, ENOUGH, Read, assert_clean, make_certificate, make_key

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "etc" / "otjd.toml"


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """A copy of etc/ with the files that the example names."""
    etc = tmp_path / "etc"
    certs = tmp_path / "certs"
    for folder in (etc, certs, etc / "calendars"):
        folder.mkdir()
    key, pem = make_key()
    certificate = make_certificate(key)
    for file, content in {
            etc / "otjd.toml": EXAMPLE.read_bytes(),
            etc / "endpoints.csv": EXAMPLE.with_name("endpoints.csv").read_bytes(),
            certs / "otjd.crt": certificate, certs / "otjd.key": pem, etc / "exchange-ca.crt": certificate,
            etc / "google.key": pem, etc / "state.key": b"A" * 43 + b"=\n",
            etc / "poly_body.txt.j2": b"{{ alias }}"}.items():
        file.write_bytes(content)
        file.chmod(0o600)
    for name in ("operator.password", "graph.secret", "library.password", "board.password", "cisco"):
        (etc / name).write_text("secret\n")
        (etc / name).chmod(0o600)
    return etc


def read_example(etc: Path) -> Loaded:
    return load(etc / "otjd.toml", environ={
        "OTJ_EXCHANGE_PASSWORD": "secret", "OTJ_WEBEX_SECRET": "secret", "CREDENTIALS_DIRECTORY": str(etc)})


def switch_everything_on(etc: Path) -> None:
    text = (etc / "otjd.toml").read_text()
    (etc / "otjd.toml").write_text(re.sub(r"^#(?=[a-z\[])", "", text, flags=re.MULTILINE))


def test_the_example_is_clean_and_has_one_endpoint_of_each_common_type(etc: Path) -> None:
    loaded = read_example(etc)
    assert_clean(loaded)
    assert [e.endpoint_type for e in loaded.or_raise().endpoints] == [EndpointType.POLY, EndpointType.CISCO]


def test_the_example_with_everything_switched_on_is_clean_and_covers_every_section(etc: Path) -> None:
    switch_everything_on(etc)
    loaded = read_example(etc)
    assert_clean(loaded)
    config = loaded.or_raise()
    assert all(getattr(config, field.name) for field in fields(Config))
    assert config.graph_integrations[0].client_secret == Secret("secret")
    assert {e.endpoint_type for e in config.endpoints} == set(EndpointType)


def test_the_example_shows_the_defaults_where_it_says_nothing_else(etc: Path) -> None:
    """What an operator reads as the usual value is the usual value."""
    config = read_example(etc).or_raise()
    for table in (config.log, config.calendar_service, config.profiles[0], config.endpoint_groups[0]):
        for name, entry in entries(type(table)).items():
            if not entry.is_required and name not in ("listeners", "location"):
                assert getattr(table, name) == entry.default, name


def test_the_reference_in_docs_is_what_would_be_printed() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text() == reference(), "run: make docs"


def test_the_reference_is_printed_by_its_module() -> None:
    done = subprocess.run([sys.executable, "-m", "otjd.config.reference"], cwd=ROOT, capture_output=True,
                          text=True, check=True)
    assert done.stdout == reference()


def test_the_reference_describes_every_key_of_every_table_with_its_default() -> None:
    text = reference()
    assert "| `start_buffer` | a whole number of minutes from 0 to 180 | `5` |" in text
    assert "| `poly_password` | secret, at most 100 characters | `\"\"` |" in text
    assert "| `api_port` | a whole number from 1 to 65535 | none |" in text
    assert "| `meeting_type` | one of pexipinfinity, " in text
    assert "`[[calendar_service.listeners]]`" in text
    tables: list[type] = [Config]
    for table in tables:
        for entry in entries(table).values():
            assert entry.key.doc.endswith("."), entry.name
            if entry.is_table:
                tables.append(entry.type)
                assert f"{entry.name}]" in text
            else:
                assert f"| `{entry.name}` |" in text
    assert len(tables) == 17


def test_check_prints_a_summary_of_a_clean_configuration(read: Read) -> None:
    assert report(read(ENOUGH + CISCO)) == (
        ["no problems, 0 warnings: 1 integration, 1 profile, 1 endpoint group, 1 endpoint, 0 rules"], 0)


def test_check_prints_warnings_without_counting_them_as_problems(read: Read, tmp_path: Path) -> None:
    (tmp_path / "calendars").rmdir()
    loaded = read(ENOUGH + CISCO)
    lines, code = report(loaded)
    assert code == 0
    assert lines[0] == f"warning: {loaded.warnings[0]}"
    assert 'file_integrations[1] "demo".directory: found no folder' in lines[0]
    assert lines[1].startswith("no problems, 1 warning: ")


def test_check_prints_every_problem_and_fails(read: Read, tmp_path: Path) -> None:
    loaded = read((ENOUGH + CISCO).replace("192.0.2.20", "").replace("port = 0", "prot = 0"))
    lines, code = report(loaded)
    assert code == 1
    assert lines == [*(f"problem: {problem}" for problem in loaded.problems),
                     "2 problems, 0 warnings: the configuration cannot be used"]
    assert lines[0] == (
        f'problem: {tmp_path / "otjd.toml"}: calendar_service.listeners[1].prot: found the unknown key "prot"; '
        'expected a key that otjd knows (the nearest known key is "port")')
