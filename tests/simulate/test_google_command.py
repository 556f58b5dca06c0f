"""`otjd simulate google`."""

from __future__ import annotations

import argparse
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httplib2
import pytest
from google.oauth2 import service_account
from google_auth_httplib2 import AuthorizedHttp
from twisted.internet.threads import deferToThread

from otjd.simulate.certificates import make_certificates
from otjd.simulate.google_command import add_google_parser, run_google
from tests.simulate.google_world import KEY_FILE, READ
from tests.simulate.test_commands import Ending, shown


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_google_parser(parser.add_subparsers(dest="kind"))
    return parser.parse_args(["google", *arguments])


def ask(url: str, key_file: Path, ca: Path) -> tuple[int, Any]:
    make: Any = service_account.Credentials.from_service_account_info
    credentials = make(json.loads(key_file.read_text()) | {"token_uri": f"{url}/token"}, scopes=[READ])
    http = AuthorizedHttp(credentials, http=httplib2.Http(ca_certs=str(ca), timeout=10))
    response, content = http.request(f"{url}/calendar/v3/calendars/room2%40example.com/events")
    return response.status, json.loads(content)


async def test_a_google_prints_its_address_and_what_happens_until_the_process_ends(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, ending, key = make_certificates(tmp_path, [], datetime.now(UTC)), Ending(), tmp_path / "key.json"
    running = run_google(options("--certificate", str(made.certificate), "--key", str(made.private_key),
                                 "--rooms", "2", "--change-every", "0.3", "--key-file", str(key),
                                 "--redirect-uri", "http://127.0.0.1:8123/"), ending)
    output = await shown(capsys, r"no requests yet")
    assert "client_id simulated.apps.googleusercontent.com" in output
    assert key.stat().st_mode & 0o777 == 0o600
    (url,) = re.findall(r"(https://127\.0\.0\.1:\d+)/calendar/v3", output)
    status, body = await deferToThread(ask, url, key, made.ca_certificate)
    assert status == 200
    assert body["items"]
    await shown(capsys, r"(booked|moved|edited|cancelled) .*room\d@example.com; events.list\s+1, token\s+1")
    await ending.shutdown()
    await running


async def test_a_key_file_that_is_there_is_used_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, ending, key = make_certificates(tmp_path, [], datetime.now(UTC)), Ending(), tmp_path / "key.json"
    key.write_text(KEY_FILE)
    running = run_google(options("--certificate", str(made.certificate), "--key", str(made.private_key),
                                 "--key-file", str(key), "--change-every", "0.3"), ending)
    output = await shown(capsys, r"no requests yet")
    (url,) = re.findall(r"(https://127\.0\.0\.1:\d+)/calendar/v3", output)
    assert (await deferToThread(ask, url, key, made.ca_certificate))[0] == 200
    assert key.read_text() == KEY_FILE
    await ending.shutdown()
    await running


@pytest.mark.parametrize(("arguments", "text"), [
    (("--rooms", "0"), "from 1 to"), (("--latency", "-1"), "negative"), (("--certificate", "x"), "go together"),
    (("--key-file", "/nowhere/key.json"), "cannot be used as key file"), (("--key-file", "{here}"), "no key file"),
    (("--trust", "/nowhere/ca.crt"), "cannot be used")])
async def test_what_keeps_it_from_starting_is_said(tmp_path: Path, arguments: tuple[str, ...], text: str,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    here = tmp_path / "here.json"
    here.write_text("{}")
    given = [a.format(here=here) for a in arguments]
    with pytest.raises(SystemExit) as raised:
        await run_google(options("--key-file", str(tmp_path / "key.json"), *given), Ending())
    assert raised.value.code == 2
    assert text in capsys.readouterr().err
