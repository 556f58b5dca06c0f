"""`otjd simulate graph`."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import treq
from twisted.web.client import Agent

from otjd.simulate.certificates import make_certificates
from otjd.simulate.graph_command import add_graph_parser, run_graph
from otjd.simulate.poly_http import tls_policy
from tests.simulate.graph_world import FORM, reactor
from tests.simulate.test_commands import Ending, shown


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_graph_parser(parser.add_subparsers(dest="kind"))
    return parser.parse_args(["graph", *arguments])


async def test_a_graph_prints_its_address_and_what_happens_until_the_process_ends(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, ending = make_certificates(tmp_path, [], datetime.now(UTC)), Ending()
    running = run_graph(options("--certificate", str(made.certificate), "--key", str(made.private_key),
                                "--rooms", "2", "--change-every", "0.3"), ending)
    output = await shown(capsys, r"no requests yet")
    (url,) = re.findall(r"(https://127\.0\.0\.1:\d+)/v1\.0", output)
    (token_url,) = re.findall(r"https://\S+/oauth2/v2\.0/token", output)
    agent: Any = Agent(reactor, tls_policy(made.ca_certificate, verify=True))  # type: ignore[no-untyped-call]
    given = await treq.post(token_url, data={**FORM, "client_secret": "graph"}, agent=agent)
    token = (await given.json())["access_token"]
    response = await treq.get(f"{url}/v1.0/users/room2@example.com/calendarView", agent=agent, params={
        "startDateTime": "2020-01-01", "endDateTime": "2024-01-01"}, headers={"Authorization": f"Bearer {token}"})
    assert (response.code, (await response.json())["value"]) == (200, [])
    await shown(capsys, r"(booked|moved|edited|cancelled) .*room\d@example.com; calendarView\s+1, token\s+1")
    await ending.shutdown()
    await running


@pytest.mark.parametrize(("arguments", "text"), [
    (("--rooms", "0"), "from 1 to"), (("--schedules", "0"), "1 or more"), (("--certificate", "x"), "go together"),
    (("--address", "203.0.113.9"), "cannot listen"), (("--trust", "/nowhere/ca.crt"), "/nowhere/ca.crt")])
async def test_what_keeps_it_from_starting_is_said(arguments: tuple[str, ...], text: str,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        await run_graph(options(*arguments), Ending())
    assert raised.value.code == 2
    assert text in capsys.readouterr().err
