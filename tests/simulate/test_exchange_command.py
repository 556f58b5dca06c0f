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
from otjd.simulate.exchange_command import add_exchange_parser, run_exchange
from otjd.simulate.poly_http import tls_policy
from tests.serve.ews_support import NAMESPACES
from tests.simulate.exchange_world import envelope, reactor
from tests.simulate.test_commands import Ending, shown
from tests.simulate.test_exchange import availability


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_exchange_parser(parser.add_subparsers(dest="kind"))
    return parser.parse_args(["exchange", *arguments])


async def test_an_exchange_prints_its_address_and_what_happens_until_the_process_ends(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, ending = make_certificates(tmp_path, [], datetime.now(UTC)), Ending()
    running = run_exchange(options("--certificate", str(made.certificate), "--key", str(made.private_key),
                                   "--rooms", "2", "--change-every", "0.3", "--schemes", "basic"), ending)
    output = await shown(capsys, r"no requests yet")
    (url,) = re.findall(r"https://127\.0\.0\.1:\d+/EWS/Exchange\.asmx", output)
    agent: Any = Agent(reactor, tls_policy(made.ca_certificate, verify=True))  # type: ignore[no-untyped-call]
    response = await treq.post(url, envelope(availability("room2@example.com"), room="").encode(), agent=agent,
                               auth=("svc-otj@example.com", "exchange"), headers={"Content-Type": "text/xml"})
    assert response.code == 200
    assert NAMESPACES["m"].encode() in await treq.content(response)
    output = await shown(capsys, r"(booked|moved|edited|cancelled) .*room\d@example.com; GetUserAvailability")
    assert re.search(r"GetUserAvailability\s+1", output)
    await ending.shutdown()
    await running


async def test_another_make_is_announced_by_its_ways(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, ending = make_certificates(tmp_path, [], datetime.now(UTC)), Ending()
    running = run_exchange(options("--certificate", str(made.certificate), "--key", str(made.private_key),
                                   "--like", "other", "--change-every", "0.3"), ending)
    output = await shown(capsys, r"no requests yet")
    assert "autodiscover.xml" in output
    (url,) = re.findall(r"https://127\.0\.0\.1:\d+/EWS/Exchange\.asmx", output)
    agent: Any = Agent(reactor, tls_policy(made.ca_certificate, verify=True))  # type: ignore[no-untyped-call]
    response = await treq.post(url, envelope("<m:GetFolder/>", room="nobody@example.com").encode(), agent=agent,
                               auth=("svc-otj@example.com", "exchange"), headers={"Content-Type": "text/xml"})
    assert response.code == 200
    assert b"ErrorCannotFindUser" in await treq.content(response)
    await ending.shutdown()
    await running


@pytest.mark.parametrize(("arguments", "text"), [
    (("--rooms", "0"), "from 1 to"), (("--latency", "-1"), "negative"), (("--certificate", "x"), "go together"),
    (("--address", "203.0.113.9"), "cannot listen")])
async def test_what_keeps_it_from_starting_is_said(arguments: tuple[str, ...], text: str,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        await run_exchange(options(*arguments), Ending())
    assert raised.value.code == 2
    assert text in capsys.readouterr().err
