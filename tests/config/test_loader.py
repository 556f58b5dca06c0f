"""What a configuration becomes, and what is said of a file that cannot be read at all."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from otjd.config.loader import ConfigError, load
from otjd.config.model import (
    CalendarService,
    Config,
    FileIntegration,
    GlobalYesNo,
    Listener,
    Log,
    Node,
    Operator,
    PolyFamily,
    Secret,
)
from otjd.meetings.model import EndpointType
from otjd.meetings.presentation import ReplaceSubject
from tests.config.samples import CISCO, ENOUGH, POLY, Read, assert_clean, the_problem


@pytest.mark.parametrize("toml", ["", "[node]\n", "\ufeff[node]\n"])
def test_everything_has_a_default(read: Read, toml: str) -> None:
    loaded = read(toml)
    assert_clean(loaded)
    assert loaded.config == Config()
    assert loaded.config.node == Node(name="otj1", state_dir=Path("/var/lib/otjd"), fips=False)
    assert loaded.config.log == Log(level="info", format="text", file=None, wire=False, wire_directory=None,
                                    wire_size_mb=10, wire_files=3, wire_endpoints=())
    assert loaded.config.calendar_service == CalendarService(
        authentication=("digest", "ntlm"), trusted_proxies=(), throttle_failed_logins=True, digest_sha256=False,
        server_version="15.1.2507.6", tolerate_unknown_versions=False,
        subscriptions_per_user=20, streams_per_user=10, join_details=None, listeners=())
    assert loaded.config.operator == Operator(address="127.0.0.1", port=8080, username="", password=Secret(""))
    assert loaded.or_raise() is loaded.config


def test_a_profile_an_endpoint_and_a_rule_have_the_defaults_of_the_contract(read: Read) -> None:
    config = read(ENOUGH + CISCO + """
[[rules]]
name = "webex"
profile = "default"
priority = 10
meeting_type = "webex"
""").or_raise()
    profile, = config.profiles
    assert (profile.start_buffer, profile.end_buffer, profile.display_upcoming_meetings) == (5, 0, 7)
    assert profile.enable_non_video_meetings
    assert profile.enable_private_meetings
    assert profile.process_alias_private_meetings
    assert profile.replace_subject_type is ReplaceSubject.PRIVATE
    assert profile.replace_subject_template == ""
    assert profile.replace_empty_subject
    assert profile.ep_use_https
    assert profile.ep_verify_certificate
    assert not profile.use_webex
    assert profile.webex_api_domain == "webexapis.com"
    endpoint, = config.endpoints
    assert endpoint.endpoint_type is EndpointType.CISCO
    assert endpoint.api_port is None
    assert endpoint.use_https is endpoint.verify_cert is GlobalYesNo.GLOBAL
    assert endpoint.poly_raise_alarms_for_this_endpoint
    assert endpoint.poly_family is PolyFamily.AUTO
    assert endpoint.authentication == ()
    rule, = config.rules
    assert rule.enabled
    assert rule.default_processing_enabled
    assert not rule.include_pin


def test_what_later_steps_use_is_read_too(read: Read) -> None:
    loaded = read("""
[web_proxy]
url = "http://user:secret@proxy.example.com:8080"
[[exchange_integrations]]
name = "onprem"
service_account_username = "svc-otj@example.com"
service_account_password = "secret"
autodiscover_urls = ["https://mail.example.com/autodiscover/autodiscover.svc"]
[[graph_integrations]]
name = "m365"
client_id = "00000000-0000-0000-0000-000000000000"
client_secret = "secret"
oauth_token_url = "https://login.microsoftonline.com/t/oauth2/v2.0/token"
graph_api_domain = "graph.example.com:8443"
notification_url = "https://otj.example.com/notifications/m365"
[[google_integrations]]
name = "workspace"
use_user_consent = true
client_id = "id"
client_secret = "secret"
redirect_uri = "https://otj.example.com/oauth/workspace"
""")
    assert_clean(loaded)
    config = loaded.or_raise()
    assert config.web_proxy.url.reveal() == "http://user:secret@proxy.example.com:8080"
    exchange, graph, google = config.integrations
    assert [i.kind for i in config.integrations] == ["exchange", "graph", "google"]
    assert exchange is config.exchange_integrations[0]
    assert config.exchange_integrations[0].find_items_request_quota == 1_000_000
    assert config.exchange_integrations[0].authentication_method == "BASIC"
    assert graph is config.graph_integrations[0]
    assert config.graph_integrations[0].request_quota == 1_000_000
    assert google is config.google_integrations[0]
    assert config.google_integrations[0].maximum_number_of_api_requests == 900_000
    assert config.google_integrations[0].token_endpoint == "https://oauth2.googleapis.com/token"
    assert config.google_integrations[0].auth_endpoint == "https://accounts.google.com/o/oauth2/v2/auth"
    assert config.google_integrations[0].api_url == "https://www.googleapis.com/calendar/v3"


def test_relative_paths_are_relative_to_the_file_and_empty_ones_are_none(read: Read, tmp_path: Path) -> None:
    config = read("""
[node]
state_dir = "state"
[log]
file = "otjd.log"
[operator]
status_file = ""
[[file_integrations]]
name = "demo"
directory = "calendars"
""").or_raise()
    assert config.node.state_dir == tmp_path / "state"
    assert not config.node.state_dir.exists()
    assert config.log.file == tmp_path / "otjd.log"
    assert config.operator.status_file is None
    assert config.file_integrations == (FileIntegration(name="demo", directory=tmp_path / "calendars"),)


def test_a_relative_name_of_the_file_itself_works(read: Read, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    read('[node]\nstate_dir = "state"\n')
    monkeypatch.chdir(tmp_path)
    assert load(Path("otjd.toml"), environ={}).or_raise().node.state_dir == tmp_path / "state"


def test_networks_are_read_with_single_addresses_among_them(read: Read) -> None:
    toml = '[calendar_service]\ntrusted_proxies = ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]\n'
    assert read(toml).or_raise().calendar_service.trusted_proxies == tuple(
        map(ip_network, ("10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32")))


def test_endpoints_of_both_files_are_taken_the_toml_first(read: Read) -> None:
    loaded = read('endpoints_csv = "endpoints.csv"\n' + ENOUGH + POLY,
                  "name,endpoint_type,api_address,room_resource_email,mjx_endpoint_group_name\n"
                  "Lounge,CISCO,192.0.2.20,lounge@example.com,rooms\n")
    assert_clean(loaded)
    assert [e.name for e in loaded.or_raise().endpoints] == ["Boardroom", "Lounge"]


def test_listeners_keep_their_own_floor_of_tls(read: Read) -> None:
    config = read(ENOUGH.replace("port = 0", 'port = 8443\nminimum_tls = "1.0"\naddress = "::1"')).or_raise()
    assert config.calendar_service.listeners == (
        Listener(address="::1", port=8443, minimum_tls="1.0", plaintext=True),)


@pytest.mark.parametrize(("toml", "where", "found"), [
    ("[node]\nname = otj1\n", "line 2, column 8", "Invalid value"),
    ("[node\n", "line 1, column 6", "Expected ']'"),
    ('[node]\nname = "a"\nname = "b"\n', "line 3, column 11", "Cannot overwrite a value"),
    ("[node]\n[log]\n[node]\n", "line 3, column 6", "Cannot declare node twice"),
    ('[node]\nname = "otj1', "line 2, column 13", "Unterminated string"),
    ("[node]\nname = ", "line 2, column 8", "Invalid value"),
])
def test_a_mistake_in_the_toml_names_line_and_column(read: Read, tmp_path: Path, toml: str, where: str,
                                                     found: str) -> None:
    problem = the_problem(read(toml))
    assert (problem.file, problem.where) == (tmp_path / "otjd.toml", where)
    assert found in problem.found
    assert problem.expected == "valid TOML"
    assert str(problem).startswith(f"{tmp_path / 'otjd.toml'}: {where}: found ")


def test_a_mistake_beside_a_secret_does_not_show_it(read: Read) -> None:
    assert "hunter2" not in str(the_problem(read('[operator]\npassword = "hunter2\n')))


def test_a_number_too_long_for_python_is_a_problem_and_no_crash(read: Read) -> None:
    assert the_problem(read(f"[operator]\nport = {'9' * 5000}\n")).expected == "valid TOML"


def test_a_file_that_is_not_utf_8_names_the_line_and_the_byte(read: Read) -> None:
    problem = the_problem(read('[node]\nname = "Köln"\n'.encode("latin-1")))
    assert (problem.where, problem.expected) == ("line 2", "a file encoded as UTF-8")
    assert "0xF6" in problem.found


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    problem = the_problem(load(tmp_path / "gone.toml", environ={}))
    assert (problem.file, problem.where) == (tmp_path / "gone.toml", "")
    assert "No such file" in problem.found
    assert problem.expected == "the configuration file"


def test_a_folder_in_place_of_the_file_is_a_problem(tmp_path: Path) -> None:
    assert "directory" in the_problem(load(tmp_path, environ={})).found


def test_or_raise_raises_with_every_problem(read: Read) -> None:
    loaded = read("[node]\nfips = 1\nnam = 2\n")
    with pytest.raises(ConfigError) as caught:
        loaded.or_raise()
    assert caught.value.problems == loaded.problems
    assert len(loaded.problems) == 2
    assert str(caught.value) == "\n".join(map(str, loaded.problems))
