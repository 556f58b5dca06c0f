from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from otjd.config.model import (
    AuthenticationMethod,
    Config,
    ExchangeIntegration,
    FileIntegration,
    GoogleIntegration,
    GraphIntegration,
    Node,
    Secret,
    WebProxy,
)
from otjd.outbound.client import RequestError
from otjd.sign_in import consent_of, http_client, token_source, token_store
from otjd.sources import account_of
from tests.outbound.servers import Certificates, web

GRAPH = GraphIntegration(name="m365", client_id="0-1", client_secret=Secret("s3cr3t"), oauth_token_url="https://x/")
ONPREM = ExchangeIntegration(name="onprem", service_account_username="svc@example.com")
ONLINE = replace(ONPREM, name="online", authentication_method=AuthenticationMethod.OAUTH, oauth_client_id="0-2",
                 oauth_auth_endpoint="https://login.example.com/common/oauth2/v2.0/authorize",
                 oauth_token_endpoint="https://login.example.com/common/oauth2/v2.0/token",
                 oauth_redirect_uri="http://127.0.0.1:8400/back")
SERVICE_ACCOUNT = GoogleIntegration(name="workspace", client_email="otj@example.com", private_key=Secret("key"))
USER = GoogleIntegration(name="user", use_user_consent=True, client_id="0-3", client_secret=Secret("s3cr3t"),
                         redirect_uri="http://127.0.0.1:8400/back")


@pytest.mark.parametrize(("disable_proxy", "words"), [
    (False, r"the web proxy 127\.0\.0\.1:2 cannot be reached"), (True, r"http://127\.0\.0\.1:1: the connection")])
async def test_an_integration_may_bypass_the_web_proxy(disable_proxy: bool, words: str) -> None:
    config = Config(web_proxy=WebProxy(url=Secret("http://127.0.0.1:2")))
    http = http_client(config, replace(GRAPH, disable_proxy=disable_proxy), reactor)
    with pytest.raises(RequestError, match=words):
        await http.request("GET", "http://127.0.0.1:1/")
    await http.close()


@pytest.mark.parametrize("integration", [FileIntegration(name="f", directory=Path()), ONPREM, GRAPH,
                                         SERVICE_ACCOUNT])
def test_where_nobody_signs_in_there_is_no_consent(integration: Any) -> None:
    assert consent_of(integration) is None


def test_the_link_for_exchange_asks_for_the_account_and_for_offline_access() -> None:
    consent = consent_of(ONLINE)
    assert consent is not None
    link = urlsplit(consent.link("st/ate", "verifier"))
    assert link.geturl().startswith("https://login.example.com/common/oauth2/v2.0/authorize?")
    assert {name: value for name, (value,) in parse_qs(link.query).items()} == {
        "response_type": "code", "client_id": "0-2", "redirect_uri": "http://127.0.0.1:8400/back",
        "scope": "https://outlook.office365.com/EWS.AccessAsUser.All offline_access", "state": "st/ate",
        "code_challenge": "iMnq5o6zALKXGivsnlom_0F5_WYda32GHkxlV7mq7hQ", "code_challenge_method": "S256",
        "login_hint": "svc@example.com"}


def test_the_link_for_google_asks_for_a_refresh_token() -> None:
    consent = consent_of(USER)
    assert consent is not None
    asked = parse_qs(urlsplit(consent.link("s", "v")).query)
    assert (asked["prompt"], asked["access_type"]) == (["consent"], ["offline"])
    assert asked["scope"] == ["https://www.googleapis.com/auth/calendar.readonly"]
    assert "s3cr3t" not in consent.link("s", "v") + repr(consent)


def test_azure_ad_of_the_first_version_is_asked_for_a_resource() -> None:
    consent = consent_of(replace(ONLINE, oauth_auth_endpoint="https://login.example.com/common/oauth2/authorize"))
    assert consent is not None
    assert parse_qs(urlsplit(consent.link("s", "v")).query)["resource"] == ["https://outlook.office365.com"]


async def test_graph_tokens_are_for_the_cloud_of_the_api(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    async with web(lambda _: b'{"access_token": "a1"}', certificates.options()) as (server, port):
        integration = replace(GRAPH, graph_api_domain="microsoftgraph.chinacloudapi.cn:8443",
                              oauth_token_url=f"https://localhost:{port}/t/token", ca_file=certificates.ca_file)
        http = http_client(Config(), integration, reactor)
        source = token_source(Config(), integration, http, reactor=reactor, in_thread=deferToThread)
        assert source is not None
        assert await source.token() == "a1"
        (request,) = server.handled
        assert parse_qs(request.body.decode())["scope"] == ["https://microsoftgraph.chinacloudapi.cn/.default"]
        await http.close()


@pytest.mark.parametrize(("integration", "words"), [
    (SERVICE_ACCOUNT, "workspace: private_key is neither"), (USER, "user: nobody has signed in"),
    (ONLINE, "online: nobody has signed in")])
async def test_every_kind_of_sign_in_has_its_tokens(integration: Any, words: str, tmp_path: Path) -> None:
    config = Config(node=Node(state_dir=tmp_path))
    http = http_client(config, integration, reactor)
    source = token_source(config, integration, http, reactor=reactor, in_thread=deferToThread)
    assert source is not None
    with pytest.raises(Exception, match=words):
        await source.token()
    assert token_source(config, ONPREM, http, reactor=reactor, in_thread=deferToThread) is None
    await http.close()


def test_refresh_tokens_are_encrypted_by_the_key_of_the_node(tmp_path: Path) -> None:
    key = Secret("A" * 43 + "=")
    token_store(Config(node=Node(state_dir=tmp_path, state_key=key)), USER).save("1//secret")
    assert b"1//secret" not in token_store(Config(node=Node(state_dir=tmp_path)), USER).path.read_bytes()


@pytest.mark.parametrize(("integration", "named"), [
    (SERVICE_ACCOUNT, "otj@example.com"),
    (replace(SERVICE_ACCOUNT, client_email="", private_key=Secret('{"client_email": "key@example.com"}')),
     "key@example.com"),
    (replace(SERVICE_ACCOUNT, client_email="", private_key=Secret("{")), "the account that signed in"),
    (USER, "the account that signed in")])
def test_who_signs_in_to_google_is_named_as_calendars_are_shared_with_it(
        integration: GoogleIntegration, named: str) -> None:
    assert account_of(integration) == named
