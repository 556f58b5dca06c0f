"""Every value of a wrong type, size or shape, and every unknown key, is named with what is expected."""

from __future__ import annotations

import pytest

from tests.config.samples import CISCO, ENOUGH, POLY, Read, assert_clean, the_problem

RULE = """
[[rules]]
name = "r"
profile = "default"
priority = 10
meeting_type = "webex"
"""


@pytest.mark.parametrize(("toml", "where", "found", "expected"), [
    ("[node]\nfips = 1\n", "node.fips", "1", "true or false"),
    ("[node]\nname = 7\n", "node.name", "7", "a name of printable characters, at most 250 characters"),
    ('[node]\nname = " otj1"\n', "node.name", '" otj1"',
     "a name of printable characters, at most 250 characters"),
    ('[node]\nname = "a\\nb"\n', "node.name", '"a\\nb"',
     "a name of printable characters, at most 250 characters"),
    ('[node]\nstate_dir = ""\n', "node.state_dir", '""', "a path"),
    ('[node]\nstate_dir = "a\\u0000b"\n', "node.state_dir", '"a\\u0000b"', "a path"),
    ("[node]\nstate_dir = 1979-05-27\n", "node.state_dir", "1979-05-27", "a path"),
    ('[log]\nlevel = "warning"\n', "log.level", '"warning"', "one of debug, info, warn, error, critical"),
    ('[log]\nformat = "xml"\n', "log.format", '"xml"', "one of text, json"),
    ("[log]\nformat = true\n", "log.format", "true", "one of text, json"),
    ('[calendar_service]\nauthentication = ["kerberos"]\n', "calendar_service.authentication[1]", '"kerberos"',
     "one of digest, ntlm, basic"),
    ('[calendar_service]\nauthentication = "digest"\n', "calendar_service.authentication", '"digest"',
     "an array of at least one, each one of digest, ntlm, basic"),
    ("[calendar_service]\nauthentication = []\n", "calendar_service.authentication", "[]",
     "an array of at least one, each one of digest, ntlm, basic"),
    ('[calendar_service]\nauthentication = ["ntlm", "ntlm"]\n', "calendar_service.authentication",
     '["ntlm", "ntlm"]', "an array of at least one, each one of digest, ntlm, basic"),
    ('[calendar_service]\ntrusted_proxies = ["10.0.0.0/40"]\n', "calendar_service.trusted_proxies[1]",
     '"10.0.0.0/40"', "a network such as 10.0.0.0/8"),
    ('[calendar_service]\nserver_version = "2016"\n', "calendar_service.server_version", '"2016"',
     "an Exchange version of four numbers, such as 15.1.2507.6"),
    ("[[calendar_service.listeners]]\nplaintext = true\nport = 65536\n", "calendar_service.listeners[1].port",
     "65536", "a whole number from 0 to 65535"),
    ('[[calendar_service.listeners]]\nplaintext = true\naddress = "otj.example.com"\n',
     "calendar_service.listeners[1].address", '"otj.example.com"',
     "an IP address of this machine, such as 0.0.0.0 or ::"),
    ('[[calendar_service.listeners]]\nplaintext = true\nminimum_tls = 1.2\n',
     "calendar_service.listeners[1].minimum_tls", "1.2", "one of 1.0, 1.1, 1.2, 1.3"),
    ("[operator]\nport = true\n", "operator.port", "true", "a whole number from 0 to 65535"),
    ("[operator]\nport = 80.5\n", "operator.port", "80.5", "a whole number from 0 to 65535"),
    ("[operator]\nport = -1\n", "operator.port", "-1", "a whole number from 0 to 65535"),
    ("node = 5\n", "node", "5", "a table, [node]"),
    ("calendar_service = { listeners = [1] }\n", "calendar_service.listeners[1]", "1",
     "an array of tables, [[listeners]]"),
    ("rules = [[]]\n", "rules[1]", "[]", "an array of tables, [[rules]]"),
])
def test_a_wrong_value_is_named_with_what_is_expected(
        read: Read, toml: str, where: str, found: str, expected: str) -> None:
    problem = the_problem(read(toml))
    assert problem.file.name == "otjd.toml"
    assert (problem.where, problem.found, problem.expected) == (where, found, expected)


@pytest.mark.parametrize(("line", "found", "expected"), [
    ("start_buffer = 181", "181", "a whole number of minutes from 0 to 180"),
    ("end_buffer = -1", "-1", "a whole number of minutes from 0 to 180"),
    ("display_upcoming_meetings = 366", "366", "a whole number of days from 0 to 365"),
    ('replace_subject_type = "Private"', '"Private"', "one of ALL, NEVER, PRIVATE"),
    (f'replace_subject_template = "{"x" * 513}"', f'"{"x" * 79}…', "a text, at most 512 characters"),
    ('webex_api_domain = "https://webexapis.com"', '"https://webexapis.com"',
     "a host name, which may carry a port, at most 192 characters"),
    ('webex_redirect_uri = "otj.example"', '"otj.example"', "an http or https URL, at most 255 characters"),
    (f'description = "{"x" * 251}"', f'"{"x" * 79}…', "a text, at most 250 characters"),
])
def test_a_wrong_value_of_a_profile_names_the_profile(read: Read, line: str, found: str, expected: str) -> None:
    problem = the_problem(read(ENOUGH.replace("integration =", f"{line}\nintegration =")))
    key = line.split(" ", 1)[0]
    assert (problem.where, problem.found, problem.expected) == (f'profiles[1] "default".{key}', found, expected)


@pytest.mark.parametrize(("line", "found", "expected"), [
    ('endpoint_type = "cisco"', '"cisco"', "one of CISCO, POLY, WEBEX"),
    ("api_port = 0", "0", "a whole number from 1 to 65535"),
    ("use_https = true", "true", "one of GLOBAL, YES, NO"),
    ('verify_cert = "yes"', '"yes"', "one of GLOBAL, YES, NO"),
    ('poly_raise_alarms_for_this_endpoint = "YES"', '"YES"', "true or false"),
    ('poly_family = "x50"', '"x50"', "one of auto, hdx, group, trio, videoos, debut"),
    ('api_username = "a:b"', '"a:b"', "a user name without a colon, at most 100 characters"),
    (f'poly_username = "{"u" * 151}"', f'"{"u" * 79}…', "a user name without a colon, at most 150 characters"),
])
def test_a_wrong_value_of_an_endpoint_names_the_endpoint(read: Read, line: str, found: str, expected: str) -> None:
    problem = the_problem(read(ENOUGH + CISCO + line))
    key = line.split(" ", 1)[0]
    assert (problem.where, problem.found, problem.expected) == (f'endpoints[1] "Lounge".{key}', found, expected)


@pytest.mark.parametrize(("address", "hint"), [
    ("https://192.0.2.20", "scheme"), ("192.0.2.20:443", "port"), ("[2001:db8::1]", "brackets"), ("192.0.2", "IP"),
    ("192.0.2.256", "IP"), ("lounge room", ""), ("-x.example.com", ""), ("a..b", ""),
])
def test_an_address_that_cannot_be_one_says_what_to_change(read: Read, address: str, hint: str) -> None:
    problem = the_problem(read(ENOUGH + CISCO.replace("192.0.2.20", address)))
    assert problem.where == 'endpoints[1] "Lounge".api_address'
    assert problem.found == f'"{address}"'
    assert problem.expected == "a host name or an IP address, at most 255 characters"
    assert hint in problem.hint


@pytest.mark.parametrize("address", ["codec", "codec.example.com", "codec_1.example.com.", "2001:db8::1", "::1"])
def test_host_names_and_addresses_of_both_families_are_addresses(read: Read, address: str) -> None:
    assert_clean(read(ENOUGH + CISCO.replace("192.0.2.20", address)))


@pytest.mark.parametrize("email", ["lounge", "@example.com", "lounge@", "a@b@c", "a b@example.com", ""])
def test_a_room_needs_an_address_with_one_at_sign(read: Read, email: str) -> None:
    problem = the_problem(read(ENOUGH + CISCO.replace("lounge@example.com", email)))
    assert problem.where == 'endpoints[1] "Lounge".room_resource_email'
    assert problem.found == f'"{email}"'
    assert problem.expected == "an e-mail address, at most 150 characters"


@pytest.mark.parametrize(("line", "where", "found", "expected"), [
    ("priority = 10", "priority", "201", "a whole number from 1 to 200"),
    ('meeting_type = "webex"', "meeting_type", '"googlemeet"', "one of pexipinfinity, pexipservice, teams, "),
    ('profile = "default"', "domain", '"user@example.com"', "a domain, at most 255 characters"),
    ('profile = "default"', "company_id", f'"{"c" * 37}"', "a text, at most 36 characters"),
    ('profile = "default"', "match_string", f'"{"m" * 251}"', "a text, at most 250 characters"),
    ('profile = "default"', "custom_template", f'"{"m" * 10241}"', "a text, at most 10240 characters"),
])
def test_a_wrong_value_of_a_rule_names_the_rule(read: Read, line: str, where: str, found: str,
                                                expected: str) -> None:
    wrong = f"{where} = {found}"
    toml = RULE.replace(line, wrong if line.startswith(where) else f"{line}\n{wrong}")
    problem = the_problem(read(ENOUGH + toml))
    assert problem.where == f'rules[1] "r".{where}'
    assert problem.found.rstrip("…") in found
    assert problem.expected.startswith(expected)


@pytest.mark.parametrize("meeting_type", ["bluejeans", "bluejeansteamsbody", "hangouts", "teamssipguestjoin"])
def test_meeting_types_have_their_machine_names(read: Read, meeting_type: str) -> None:
    assert_clean(read(ENOUGH + RULE.replace('"webex"', f'"{meeting_type}"')))


@pytest.mark.parametrize(("key", "value", "expected", "hint"), [
    ("client_id", '"otjd"', "a GUID such as 00000000-0000-0000-0000-000000000000", "Application"),
    ("oauth_token_url", '"https://login.microsoftonline.com/<tenant>/oauth2/v2.0/token"',
     "an http or https URL, at most 255 characters", "angle brackets"),
    ("oauth_token_url", '"https://login example.com/"', "an http or https URL, at most 255 characters", ""),
    ("oauth_token_url", '"https://login.example.com:99999/"', "an http or https URL, at most 255 characters", ""),
    ("oauth_token_url", '"ftp://login.example.com/"', "an http or https URL, at most 255 characters", ""),
    ("notification_url", '"http://otj.example.com/notifications/m365"', "an https URL, at most 255 characters",
     "https only"),
    ("graph_api_domain", '"graph.microsoft.com:x"', "a host name, which may carry a port, at most 192 characters",
     ""),
    ("request_quota", "9999", "a whole number from 10000 to 10000000", ""),
    ("request_quota", '"1000000"', "a whole number from 10000 to 10000000", "without quotes"),
])
def test_a_wrong_value_of_an_integration_names_the_integration(read: Read, key: str, value: str, expected: str,
                                                               hint: str) -> None:
    right = {"name": '"m365"', "client_id": '"00000000-0000-0000-0000-000000000000"', "client_secret": '"s"',
             "oauth_token_url": '"https://login.example.com/token"'}
    toml = "[[graph_integrations]]\n" + "".join(f"{k} = {v}\n" for k, v in (right | {key: value}).items())
    problem = the_problem(read(toml))
    assert (problem.where, problem.found) == (f'graph_integrations[1] "m365".{key}', value)
    assert problem.expected == expected
    assert hint in problem.hint


def test_an_autodiscover_url_ends_in_svc(read: Read) -> None:
    problem = the_problem(read("""
[[exchange_integrations]]
name = "onprem"
service_account_username = "svc"
service_account_password = "secret"
autodiscover_urls = ["https://a.example.com/autodiscover.svc", "https://b.example.com/autodiscover.xml"]
"""))
    assert problem.where == 'exchange_integrations[1] "onprem".autodiscover_urls[2]'
    assert problem.found == '"https://b.example.com/autodiscover.xml"'
    assert "ends in .svc" in problem.expected


def test_kerberos_is_named_as_unknown_with_the_methods_there_are(read: Read) -> None:
    problem = the_problem(read("""
[[exchange_integrations]]
name = "onprem"
authentication_method = "KERBEROS"
service_account_username = "svc"
"""))
    assert (problem.found, problem.expected) == ('"KERBEROS"', "one of BASIC, NTLM, OAUTH")


@pytest.mark.parametrize(("url", "hint"), [
    ("proxy.example.com:8080", "%XX"), ("http://user:pa ss@proxy:8080", "%XX"),
    ("http://user:secret@proxy/x", "path"),
])
def test_a_proxy_is_a_url_and_its_password_is_not_shown(read: Read, url: str, hint: str) -> None:
    problem = the_problem(read(f'[web_proxy]\nurl = "{url}"\n'))
    assert (problem.where, problem.found) == ("web_proxy.url", "a value that is not shown")
    assert problem.expected.startswith("a proxy as http://user:password@host:port")
    assert hint in problem.hint


@pytest.mark.parametrize("value", ["short", "A" * 43, "A" * 42 + "?="])
def test_a_key_for_tokens_has_32_bytes(value: str, read: Read) -> None:
    problem = the_problem(read(f'[node]\nstate_key = "{value}"\n'))
    assert (problem.where, problem.found) == ("node.state_key", "a value that is not shown")
    assert "openssl rand -base64 32" in str(problem)


@pytest.mark.parametrize(("toml", "where", "hint"), [
    ("[node]\nnmae = 1\n", "node.nmae", 'the nearest known key is "name"'),
    ("[calendar_service]\nauthentification = 1\n", "calendar_service.authentification",
     'the nearest known key is "authentication"'),
    ("[[calendar_service.listeners]]\nplaintext = true\nmin_tls = '1.0'\n",
     "calendar_service.listeners[1].min_tls", 'the nearest known key is "minimum_tls"'),
    ("[profile]\n", "profile", 'the nearest known key is "profiles"'),
    ("[Node]\n", "Node", 'the nearest known key is "node"'),
    ('state_dir = "x"\n', "state_dir", '"state_dir" is a key of [node]'),
    ("[node]\npriority = 5\n", "node.priority", '"priority" is a key of [[rules]]'),
    ('[log]\nendpoints_csv = "x"\n', "log.endpoints_csv", '"endpoints_csv" is a key of the top of the file'),
    (ENOUGH + POLY + "poly_passwd = 1", 'endpoints[1] "Boardroom".poly_passwd',
     'the nearest known key is "poly_password"'),
])
def test_an_unknown_key_names_the_nearest_known_one(read: Read, toml: str, where: str, hint: str) -> None:
    problem = the_problem(read(toml))
    assert (problem.where, problem.hint) == (where, hint)
    assert problem.found == f'the unknown key "{where.rpartition(".")[2]}"'


@pytest.mark.parametrize(("toml", "where", "hint"), [
    ("[profiles]\nname = 'x'\n", "profiles", "write [[profiles]] with double brackets"),
    ("[[node]]\nname = 'x'\n", "node", "write [node] with single brackets"),
    ("[calendar_service.listeners]\nport = 0\n", "calendar_service.listeners",
     "write [[calendar_service.listeners]] with double brackets"),
])
def test_single_and_double_brackets_are_told_apart(read: Read, toml: str, where: str, hint: str) -> None:
    problem = the_problem(read(toml))
    assert (problem.where, problem.hint) == (where, hint)


@pytest.mark.parametrize(("table", "missing"), [
    ("file_integrations", {"name", "directory"}),
    ("exchange_integrations", {"name", "service_account_username"}),
    ("graph_integrations", {"name", "client_id", "client_secret", "oauth_token_url"}),
    ("profiles", {"name", "integration"}),
    ("endpoint_groups", {"name", "profile"}),
    ("endpoints", {"name", "room_resource_email", "mjx_endpoint_group_name"}),
    ("rules", {"name", "profile", "priority", "meeting_type"}),
])
def test_what_has_no_default_must_be_there(read: Read, table: str, missing: set[str]) -> None:
    found = {p.where for p in read(f"[[{table}]]\n").problems if p.hint == "the key has no default"}
    assert found == {f"{table}[1].{name}" for name in missing}


def test_an_empty_text_is_not_enough_where_one_is_required(read: Read) -> None:
    problem = the_problem(read(ENOUGH.replace('name = "rooms"', 'name = ""')))
    assert (problem.where, problem.found, problem.hint) == ("endpoint_groups[1].name", '""', "it cannot be empty")


@pytest.mark.parametrize(("table", "key"), [
    ("[node]", "name"), ("[operator]", "address"), ("[calendar_service]", "server_version"),
    ("[[calendar_service.listeners]]\nplaintext = true", "address")])
def test_an_empty_text_is_no_value_where_the_default_is_one(read: Read, table: str, key: str) -> None:
    problem = the_problem(read(f'{table}\n{key} = ""\n'))
    assert problem.where.endswith(key)
    assert (problem.found, problem.hint) == ('""', "leave the key away for its default")


def test_all_problems_are_reported_at_once_and_none_twice(read: Read) -> None:
    loaded = read("""
[node]
fips = "no"
nmae = 1
[[profiles]]
name = "default"
integration = "demo"
start_buffer = 300
[[endpoint_groups]]
name = "rooms"
profile = 7
[[endpoints]]
name = "Boardroom"
endpoint_type = "POLI"
room_resource_email = "boardroom"
mjx_endpoint_group_name = "rooms"
""")
    assert [p.where for p in loaded.problems] == [
        "node.nmae", "node.fips", 'profiles[1] "default".start_buffer', 'endpoint_groups[1] "rooms".profile',
        'endpoints[1] "Boardroom".endpoint_type', 'endpoints[1] "Boardroom".room_resource_email',
        'profiles[1] "default".integration']
