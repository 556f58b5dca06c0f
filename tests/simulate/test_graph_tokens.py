"""The token service beside the simulated Graph, asked by hand and by Microsoft's own library."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msal
import pytest
import requests
from twisted.internet.threads import deferToThread

from otjd.simulate.calendars import Calendars
from otjd.simulate.certificates import make_certificates
from otjd.simulate.graph import GraphServer
from otjd.simulate.graph_settings import GraphApp, GraphSettings
from tests.simulate.graph_world import APP, reactor, world


async def test_a_token_opens_until_it_ends() -> None:
    async with world() as w:
        reply = await w.form()
        assert reply.status == 200
        assert (reply.json["token_type"], reply.json["expires_in"]) == ("Bearer", 3599)
        assert reply.json["access_token"].count(".") == 2
        assert (await w.view()).status == 200
        w.pass_time(3598)
        assert (await w.view()).status == 200
        w.pass_time(1)
        late = await w.view()
        assert (late.status, late.code) == (401, "InvalidAuthenticationToken")
        assert "expired" in late.json["error"]["message"]
        assert late.header("WWW-Authenticate").startswith("Bearer realm=")


@pytest.mark.parametrize(("changes", "status", "error", "code"), [
    ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
    ({"client_secret": None}, 401, "invalid_client", 7000216),
    ({"client_assertion": "e30.e30.x", "client_secret": None}, 401, "invalid_client", 700027),
    ({"client_id": "00000000-0000-0000-0000-000000000000"}, 400, "unauthorized_client", 700016),
    ({"grant_type": None}, 400, "invalid_request", 900144),
    ({"scope": None}, 400, "invalid_request", 900144),
    ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
    ({"scope": "https://graph.microsoft.com/Calendars.Read"}, 400, "invalid_scope", 1002012),
    ({"scope": "https://graph.example.com/.default"}, 400, "invalid_resource", 500011),
    ({"path": "/fabrikam.onmicrosoft.com/oauth2/v2.0/token"}, 400, "invalid_request", 90002),
])
async def test_what_is_wrong_with_a_request_for_a_token_is_told_as_microsoft_tells_it(
        changes: dict[str, Any], status: int, error: str, code: int) -> None:
    async with world() as w:
        reply = await w.form(**changes)
        assert (reply.status, reply.json["error"], reply.json["error_codes"]) == (status, error, [code])
        assert reply.json["error_description"].startswith(f"AADSTS{code}: ")
        assert APP.client_secret not in reply.body.decode()


async def test_a_secret_that_has_expired_is_told_from_a_wrong_one() -> None:
    async with world() as w:
        w.server.tokens.replace(replace(APP, secret_expired=True))
        assert (await w.form()).json["error_codes"] == [7000222]
        assert (await w.view()).status == 200  # what was given before stays good


@pytest.mark.parametrize(("authorization", "message"), [
    ("", "Access token is empty."), ("Basic eDp5", "Access token is empty."),
    ("Bearer opaque", "there are no dots"), ("Bearer a.b.c", "Signing key")])
async def test_a_token_that_is_none_is_refused(authorization: str, message: str) -> None:
    async with world() as w:
        headers = {"Authorization": authorization} if authorization else None
        reply = await w.ask("GET", "/users/x/calendarView", headers=headers, token="")
        assert (reply.status, reply.code) == (401, "InvalidAuthenticationToken")
        assert message in reply.json["error"]["message"]


async def test_revoked_tokens_open_nothing_and_new_ones_are_given() -> None:
    async with world() as w:
        w.server.tokens.revoke_all()
        assert (await w.view()).status == 401
        w.token = (await w.form()).json["access_token"]
        assert (await w.view()).status == 200


async def test_a_scope_of_a_national_cloud_and_of_this_address_are_good() -> None:
    async with world() as w:
        for resource in ("https://graph.microsoft.us", "https://microsoftgraph.chinacloudapi.cn", w.url):
            assert (await w.form(scope=f"{resource}/.default")).status == 200


class OverHttps:
    """HTTP for msal that trusts the certificate of the simulation."""

    def __init__(self, ca_file: Path) -> None:
        self._session = requests.Session()
        self._session.trust_env = False  # REQUESTS_CA_BUNDLE would win over what follows
        self._session.verify = str(ca_file)

    def get(self, url: str, **options: Any) -> requests.Response:
        return self._session.get(url, timeout=20, **options)

    def post(self, url: str, **options: Any) -> requests.Response:
        return self._session.post(url, timeout=20, **options)

    def close(self) -> None:
        self._session.close()


@pytest.mark.parametrize(("secret", "error"), [(APP.client_secret, None), ("wrong", "invalid_client")])
async def test_msal_finds_the_endpoint_and_takes_tokens_and_errors(tmp_path: Path, secret: str,
                                                                    error: str | None) -> None:
    made = make_certificates(tmp_path, ["localhost"], datetime.now(UTC))
    server = GraphServer(Calendars(lambda: datetime.now(UTC)), reactor=reactor, settings=GraphSettings(apps=(
        GraphApp(APP.client_id, APP.client_secret),)))
    port = server.listen(made.certificate, made.private_key)
    http = OverHttps(made.ca_certificate)

    def sign_in() -> tuple[dict[str, Any], dict[str, Any]]:
        app = msal.ConfidentialClientApplication(
            APP.client_id, client_credential=secret, http_client=http, instance_discovery=False,
            authority=f"https://localhost:{port}/contoso.onmicrosoft.com")
        scopes = ["https://graph.microsoft.com/.default"]
        return app.acquire_token_for_client(scopes), app.acquire_token_for_client(scopes)

    try:
        first, second = await deferToThread(sign_in)
        assert first.get("error") == error
        if error is None:
            assert json.loads(json.dumps(first))["token_source"] == "identity_provider"
            assert second["token_source"] == "cache"
            assert server.tokens.given == 1
    finally:
        http.close()
        await server.stop()
