"""`otjd authorize`, with an authorization server of the test's own and browsers that come back, or do not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.threads import deferToThread

from otjd.authorize import PATIENCE_S, Terminal, run
from otjd.config.model import (
    AuthenticationMethod,
    Config,
    ExchangeIntegration,
    FileIntegration,
    GoogleIntegration,
    Node,
    Secret,
)
from otjd.gather.consent import challenge
from otjd.outbound.client import Answer, HttpClient
from otjd.seam import deferred
from otjd.sign_in import token_store
from tests.end_to_end.world import free_port
from tests.outbound.servers import Certificates, Clocked, until, web

reactor: Any = installed_reactor
GOOD = {"access_token": "a1", "refresh_token": "1//r1", "expires_in": 3599}


@dataclass
class SignInWorld:
    """A terminal, an authorization server, a configuration with one integration of each kind."""

    directory: Path
    token_url: str
    ca_file: Path
    port: int = field(default_factory=free_port)
    said: str = ""
    complaints: str = ""
    entered: Protocol | None = None
    detached: int = 0

    @property
    def redirect(self) -> str:
        return f"http://127.0.0.1:{self.port}/back"

    @property
    def config(self) -> Config:
        user: dict[str, Any] = {"redirect_uri": self.redirect, "ca_file": self.ca_file}
        return Config(
            node=Node(state_dir=self.directory / "state"),
            file_integrations=(FileIntegration(name="files", directory=self.directory),),
            exchange_integrations=(
                ExchangeIntegration(name="online", service_account_username="svc@example.com",
                                    authentication_method=AuthenticationMethod.OAUTH, oauth_client_id="c1",
                                    oauth_auth_endpoint="https://login.example.com/authorize?p=x",
                                    oauth_token_endpoint=self.token_url, oauth_redirect_uri=self.redirect,
                                    ca_file=self.ca_file),
                ExchangeIntegration(name="onprem", service_account_username="svc")),
            google_integrations=(
                GoogleIntegration(name="user", use_user_consent=True, client_id="c2",
                                  client_secret=Secret("s3cr3t"), token_endpoint=self.token_url, **user),))

    def write(self, text: str) -> None:
        self.said += f"{text}\n"

    def complain(self, text: str) -> None:
        self.complaints += text

    def attach(self, protocol: Protocol) -> Callable[[], object]:
        self.entered = protocol

        def detach() -> None:
            self.detached += 1
        return detach

    def begin(self, name: str, use: Any = reactor, config: Config | None = None) -> Deferred[int]:
        """Run the command; fires with its exit code."""
        async def code() -> int:
            with pytest.raises(SystemExit) as ended:
                await run(config or self.config, name, use, Terminal(self.write, self.complain, self.attach))
            return int(ended.value.code or 0)

        return deferred(code())

    @property
    def asked(self) -> dict[str, str]:
        """What is in the link."""
        link = next(line for line in self.said.splitlines() if line.startswith("https://"))
        return {name: value[-1] for name, value in parse_qs(urlsplit(link).query).items()}

    def back(self, **changes: str) -> str:
        """The address that the browser comes back to."""
        values = {"code": "the code", "state": self.asked["state"], **changes}
        return f"{self.redirect}?{urlencode({n: v for n, v in values.items() if v})}"

    def enter(self, text: str) -> None:
        assert self.entered is not None
        self.entered.dataReceived(text.encode())

    async def browse(self, url: str) -> Answer:
        http = HttpClient(reactor)
        try:
            return await http.request("GET", url)
        finally:
            await http.close()

    def token(self, name: str) -> str | None:
        stored = token_store(self.config, self.config.integration(name)).load()
        return stored.refresh_token if stored else None


@asynccontextmanager
async def world(tmp_path: Path, status: int = 200, answer: Any = None) -> AsyncIterator[tuple[SignInWorld, Any]]:
    certificates = Certificates(tmp_path / "certs")

    def give(request: Any) -> bytes:
        request.setResponseCode(status)
        return json.dumps(GOOD if answer is None else answer).encode()

    async with web(give, certificates.options()) as (server, port):
        yield SignInWorld(tmp_path, f"https://localhost:{port}/token", certificates.ca_file), server


@pytest.mark.parametrize(("name", "client"), [
    ("online", {"client_id": "c1"}), ("user", {"client_id": "c2", "client_secret": "s3cr3t"})])
async def test_a_browser_that_comes_back_signs_in(name: str, client: dict[str, str], tmp_path: Path) -> None:
    async with world(tmp_path) as (here, server):
        done = here.begin(name)
        page = await here.browse(here.back())
        assert (page.status, "This window may be closed" in page.body.decode()) == (200, True)
        assert await done == 0
        asked = {n: v[-1] for n, v in parse_qs(server.handled[0].body.decode()).items()}
        verifier = asked.pop("code_verifier")
        assert challenge(verifier) == here.asked["code_challenge"]
        assert len(verifier) >= 43
        assert asked == {"grant_type": "authorization_code", "code": "the code", "redirect_uri": here.redirect,
                         **client}
        assert here.token(name) == "1//r1"
        assert here.complaints == ""
        assert here.detached == 1
        for secret in ("the code", "1//r1", "s3cr3t", verifier):
            assert secret not in here.said


async def test_an_address_that_is_pasted_signs_in_too(tmp_path: Path) -> None:
    async with world(tmp_path) as (here, _):
        done = here.begin("user")
        here.enter("\n  what?\n")
        here.enter(here.back(state="another") + "\n")
        here.enter(here.back(code="") + "\n")
        assert here.complaints.count("\n") == 3
        assert "belongs to another sign-in" in here.complaints
        whole = f" {here.back()}&scope=x#\n"
        here.enter(whole[:40])
        here.enter(whole[40:])
        assert await done == 0
        assert here.token("user") == "1//r1"


@pytest.mark.parametrize("around", ['"{}"', "<{}>", " '{}' \r"])
async def test_what_surrounds_a_pasted_address_does_no_harm(around: str, tmp_path: Path) -> None:
    async with world(tmp_path) as (here, _):
        done = here.begin("online")
        here.enter(around.format(here.back()) + "\n")
        assert await done == 0
        assert here.complaints == ""


async def test_other_requests_to_the_redirect_address_do_not_disturb_the_sign_in(tmp_path: Path) -> None:
    async with world(tmp_path) as (here, server):
        done = here.begin("user")
        for url, status, words in (
                (here.redirect.replace("back", "other"), 404, "nothing here"),
                (here.redirect, 400, "no code or state"),
                (here.back(state="<script>"), 400, "another sign-in"),
                (here.back(state="", error="access_denied"), 400, "no code or state")):
            page = await here.browse(url)
            assert (page.status, words in page.body.decode()) == (status, True)
            assert b"<script>" not in page.body
        assert not done.called
        assert server.handled == []
        await here.browse(here.back())
        assert await done == 0


@pytest.mark.parametrize(("changes", "words"), [
    ({"code": "", "error": "access_denied"}, "cancelled or the permission not given (access_denied)"),
    ({"code": "", "error": "invalid_scope", "error_description": "AADSTS65001: no."}, "grant admin consent"),
])
async def test_a_sign_in_that_was_refused_is_told(changes: dict[str, str], words: str, tmp_path: Path) -> None:
    async with world(tmp_path) as (here, server):
        done = here.begin("online")
        await here.browse(here.back(**changes))
        assert await done == 1
        assert words in here.complaints
        assert server.handled == []
        assert here.token("online") is None


@pytest.mark.parametrize(("name", "status", "answer", "words"), [
    ("user", 200, {"access_token": "a1"}, "no refresh token: remove the app's access"),
    ("online", 200, {"access_token": "a1"}, "no refresh token: the app registration must allow"),
    ("user", 400, {"error": "invalid_grant", "error_description": "Bad Request"}, "the code was used already"),
    ("user", 401, {"error": "invalid_client"}, "client id or client secret is wrong"),
    ("online", 400, {"error": "invalid_client", "error_description": "AADSTS7000218: x"}, "not a public client"),
    ("online", 503, {}, "cannot answer at present (503)"),
    ("online", 200, [], "without an access token"),
])
async def test_why_there_is_no_token_for_a_code_is_told(
        name: str, status: int, answer: Any, words: str, tmp_path: Path) -> None:
    async with world(tmp_path, status, answer) as (here, _):
        done = here.begin(name)
        here.enter(here.back() + "\n")
        assert await done == 1
        assert words in here.complaints
        assert here.token(name) is None


async def test_a_redirect_address_elsewhere_or_in_use_is_pasted(tmp_path: Path) -> None:
    async with world(tmp_path) as (here, _), web(lambda _: b"") as (_, port):
        here.port = port  # a node's operator service, for one
        done = here.begin("user")
        assert "paste the whole address" in here.said
        here.enter(here.back() + "\n")
        assert await done == 0
        (user,) = here.config.google_integrations
        elsewhere = replace(here.config, google_integrations=(
            replace(user, redirect_uri="https://otj.example.com/back"),))
        done = here.begin("user", config=elsewhere)
        assert here.entered is not None
        here.entered.connectionLost(connectionDone)
        assert await done == 1
        assert "no address of this sign-in was entered" in here.complaints


async def test_nobody_is_waited_for_for_ever(tmp_path: Path) -> None:
    use = Clocked()
    async with world(tmp_path) as (here, _):
        done = here.begin("user", use)
        use.clock.advance(PATIENCE_S)
        assert await done == 1
        assert "nobody signed in within 30 minutes" in here.complaints


@pytest.mark.parametrize("name", ["files", "onprem", "unknown"])
async def test_an_integration_that_needs_no_sign_in_is_told(name: str, tmp_path: Path) -> None:
    async with world(tmp_path) as (here, _):
        assert await here.begin(name) == 2
        assert "those that do: online, user." in here.complaints


async def test_a_place_that_cannot_be_written_is_told_before_anyone_signs_in(tmp_path: Path) -> None:
    async with world(tmp_path) as (here, _):
        (tmp_path / "state").write_text("")
        assert await here.begin("user") == 1
        assert "cannot be written" in here.complaints
        assert here.said == ""


CONFIGURATION = """
[node]
state_dir = "state"
state_key = "{key}"

[[google_integrations]]
name = "user"
use_user_consent = true
client_id = "c2"
client_secret = "s3cr3t"
token_endpoint = "{token_url}"
redirect_uri = "{redirect}"
ca_file = "{ca_file}"
"""


def command(config: Path, stdin: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", "from otjd.cli import main; main()", "authorize", "user", "--config", str(config)],
        stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


async def asking(here: SignInWorld, directory: Path) -> subprocess.Popen[bytes]:
    """The command, once it has shown its link."""
    file = directory / "otjd.toml"
    file.write_text(CONFIGURATION.format(key="A" * 43 + "=", token_url=here.token_url, redirect=here.redirect,
                                         ca_file=here.ca_file))
    file.chmod(0o600)
    process = command(file, subprocess.PIPE)
    assert process.stdout is not None
    output = process.stdout
    os.set_blocking(output.fileno(), False)

    def has_link() -> bool:
        here.said += (output.read() or b"").decode()
        return "here." in here.said

    await until(has_link)
    return process


async def test_the_command_takes_the_address_from_its_standard_input(tmp_path: Path) -> None:
    async with world(tmp_path) as (here, _):
        process = await asking(here, tmp_path)
        assert process.stdin is not None
        process.stdin.write(here.back().encode())
        output, errors = await deferToThread(process.communicate)
        assert (process.returncode, errors) == (0, b"")
        assert b"Signed in to user" in output
        (kept,) = (tmp_path / "state" / "tokens").iterdir()
        assert "encrypted" in json.loads(kept.read_bytes())


async def test_a_browser_whose_sign_in_was_refused_has_its_page_before_the_command_ends(tmp_path: Path) -> None:
    async with world(tmp_path) as (here, _):
        process = await asking(here, tmp_path)
        page = await here.browse(here.back(error="access_denied", code=""))
        assert (page.status, "This window may be closed" in page.body.decode()) == (200, True)
        _, errors = await deferToThread(process.communicate)
        assert (process.returncode, b"access_denied" in errors) == (1, True)


@pytest.mark.parametrize("file", ["address", "/dev/null"])
async def test_a_file_may_be_the_standard_input(file: str, tmp_path: Path) -> None:
    async with world(tmp_path) as (here, _):
        config = tmp_path / "otjd.toml"
        config.write_text(CONFIGURATION.format(key="A" * 43 + "=", token_url=here.token_url, ca_file=here.ca_file,
                                               redirect="https://otj.example.com/back"))
        config.chmod(0o600)
        (tmp_path / "address").write_text("https://otj.example.com/back?code=x&state=guessed")
        with (tmp_path / file).open() as entered:
            process = command(config, entered)
        _, errors = await deferToThread(process.communicate)
        assert process.returncode == 1
        assert (b"another sign-in" in errors) == (file == "address")
        assert b"no address of this sign-in was entered" in errors
