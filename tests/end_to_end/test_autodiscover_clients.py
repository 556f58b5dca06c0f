"""Independent clients of Autodiscover's SOAP service, as its own process: exchangelib, zeep, curl, and Microsoft's
managed API for EWS in its JavaScript port where that is installed (see test_calendar_clients).
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import exchangelib
import pytest
import requests
import zeep
from exchangelib.autodiscover import discovery
from exchangelib.autodiscover.protocol import AutodiscoverProtocol
from requests.auth import HTTPBasicAuth
from requests_ntlm import HttpNtlmAuth

from tests.end_to_end.world import ROOT, World

ROOM = "boardroom@example.com"
MANAGED_API = ROOT / "tests" / "data" / "clients" / "autodiscover_client.js"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("world"), schemes=("digest", "ntlm", "basic"))
    world.poly("Boardroom Group 500", ROOM, "boardroom")
    world.poly("Lounge", "lounge@example.com", "lounge")
    world.start()
    try:
        yield world
    finally:
        assert world.ended_well()


@pytest.fixture(autouse=True)
def _trusting(served: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that verify the certificate, against the development CA."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(served.certificates.ca_certificate))


def address(served: World) -> str:
    return f"https://127.0.0.1:{served.calendar_port}/autodiscover/autodiscover.svc"


CREDENTIALS = exchangelib.Credentials("boardroom", "poly-secret")


@pytest.mark.parametrize("scheme", [exchangelib.DIGEST, exchangelib.NTLM, exchangelib.BASIC, None])
def test_exchangelib_is_told_every_setting_that_there_is(served: World, scheme: str | None) -> None:
    protocol = AutodiscoverProtocol(config=exchangelib.Configuration(
        service_endpoint=address(served), auth_type=scheme, credentials=CREDENTIALS))
    told = protocol.get_user_settings(ROOM)
    told.raise_errors()
    assert (told.ews_url, told.autodiscover_smtp_address) == (served.url, ROOM)
    assert told.version.api_version == "Exchange2016"
    assert told.user_settings["cas_version"] == "15.01.2507.006"
    assert told.user_settings_errors["mailbox_dn"][0] == "SettingIsNotAvailable"
    assert {code for code, _ in told.user_settings_errors.values()} == {"SettingIsNotAvailable"}


def test_exchangelib_is_told_nothing_of_another_room(served: World) -> None:
    protocol = AutodiscoverProtocol(config=exchangelib.Configuration(
        service_endpoint=address(served), auth_type=exchangelib.BASIC, credentials=CREDENTIALS))
    with pytest.raises(exchangelib.errors.ErrorNonExistentMailbox):
        protocol.get_user_settings("lounge@example.com").raise_errors()


def test_exchangelib_discovers_its_calendar_server(served: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class Discovery(discovery.Autodiscovery):  # type: ignore[misc]
        """Asks this server whatever the address, and no name server."""

        def _ensure_valid_hostname(self, url: str) -> None:
            pass

        def _attempt_response(self, url: str) -> Any:
            return super()._attempt_response(address(served))

    monkeypatch.setattr(discovery, "autodiscover_cache", {})  # its own is a file
    found = Discovery(ROOM, CREDENTIALS)._step_1(hostname="example.com")
    assert found.ews_url == served.url


@pytest.mark.parametrize("auth", [HTTPBasicAuth, HttpNtlmAuth])
def test_zeep_builds_a_client_from_the_description(served: World, auth: Any) -> None:
    session = requests.Session()
    session.auth = auth("boardroom", "poly-secret")
    transport: Any = zeep.Transport
    client_of: Any = zeep.Client  # the library has no types
    client = client_of(f"{address(served)}?wsdl", transport=transport(session=session))
    told = client.service.GetUserSettings(
        {"Users": {"User": [{"Mailbox": ROOM}, {"Mailbox": "x@example.com"}]},
         "RequestedSettings": {"Setting": ["ExternalEwsUrl", "MailboxDN", "Nonsense"]}},
        _soapheaders={"RequestedServerVersion": "Exchange2013"})
    assert told.header.ServerVersionInfo.MajorBuildNumber == 2507
    assert told.body.Response.ErrorCode == "NoError"
    own, other = told.body.Response.UserResponses.UserResponse
    assert [(s.Name, s.Value) for s in own.UserSettings.UserSetting] == [("ExternalEwsUrl", served.url)]
    assert [(e.SettingName, e.ErrorCode) for e in own.UserSettingErrors.UserSettingError] == [
        ("MailboxDN", "SettingIsNotAvailable"), ("Nonsense", "InvalidSetting")]
    assert (other.ErrorCode, other.RedirectTarget, other.UserSettings) == ("InvalidUser", None, None)


@pytest.mark.parametrize("auth", [None, ("boardroom", "poly-secret")])
def test_clients_see_before_they_sign_in_that_there_is_soap(served: World, auth: tuple[str, str] | None) -> None:
    plain = address(served).replace(".svc", ".xml")
    answer = requests.get(plain, auth=auth, timeout=10)
    assert (answer.status_code, answer.headers["X-SOAP-Enabled"]) == (200 if auth else 401, "True")
    assert "X-SOAP-Enabled" not in requests.get(served.url, auth=auth, timeout=10).headers


@pytest.mark.needs("curl")
@pytest.mark.parametrize("scheme", ["--digest", "--ntlm", "--basic", "--anyauth"])
def test_curl_gets_the_answer_to_what_the_documentation_shows(served: World, scheme: str) -> None:
    asked = (ROOT / "tests" / "data" / "ews" / "get_domain_settings.xml").read_bytes()
    done = subprocess.run(
        ["curl", "--silent", "--fail", "--cacert", served.certificates.ca_certificate, scheme,
         "--user", "boardroom:poly-secret", "--header", "Content-Type: text/xml; charset=utf-8",
         "--data-binary", "@-", address(served)], input=asked, capture_output=True, check=True, timeout=30)
    assert f"<Name>ExternalEwsUrl</Name><Value>{served.url}</Value>".encode() in done.stdout


def _managed_api_is_installed() -> bool:
    try:
        return not subprocess.run(["node", "-e", "require('ews-javascript-api'); require('@ewsjs/xhr')"],
                                  capture_output=True, check=False).returncode
    except OSError:
        return False


@pytest.mark.needs("node")
@pytest.mark.parametrize("scheme", ["basic", "ntlm"])
def test_the_managed_api_reads_what_it_is_told(served: World, scheme: str) -> None:
    if not _managed_api_is_installed():
        pytest.skip("ews-javascript-api and @ewsjs/xhr are not where NODE_PATH says")
    done = subprocess.run(["node", MANAGED_API, address(served), "boardroom", "poly-secret", scheme, ROOM],
                          capture_output=True, check=False, timeout=60)
    assert not done.returncode, done.stderr.decode()
    told = json.loads(done.stdout)
    url, schemas, name, policy = told["settings"]
    assert (url, name, policy) == (served.url, ROOM, None)
    assert schemas.endswith("Exchange2013_SP1, Exchange2016")
    assert told["missing"] == [["SettingIsNotAvailable", "MobileMailboxPolicy"]]
    assert (told["error"], told["other"], told["domain"]) == ("NoError", "InvalidUser", served.url)
    assert told["found"] == address(served)
    assert told["server"] == [15, "V2017_07_11"]
