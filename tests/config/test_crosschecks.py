"""Names that must exist or be unique, and what must fit together."""

from __future__ import annotations

import pytest

from tests.config.samples import CISCO, ENOUGH, POLY, Read, assert_clean, the_problem, the_warning

ANY = "0.0.0.0"  # noqa: S104 - nothing is opened here
LISTENER = '[[calendar_service.listeners]]\nplaintext = true\naddress = "{}"\nport = {}\n'


def rule(name: str = "r", priority: int = 10, meeting_type: str = "webex", more: str = "",
         profile: str = "default") -> str:
    return (f'[[rules]]\nname = "{name}"\nprofile = "{profile}"\npriority = {priority}\n'
            f'meeting_type = "{meeting_type}"\n{more}\n')


@pytest.mark.parametrize(("old", "new", "where", "what"), [
    ('integration = "demo"', 'integration = "dmeo"', 'profiles[1] "default".integration', "an integration"),
    ('profile = "default"', 'profile = "defualt"', 'endpoint_groups[1] "rooms".profile', "a profile"),
    ('group_name = "rooms"', 'group_name = "Rooms"', 'endpoints[1] "Lounge".mjx_endpoint_group_name',
     "an endpoint group"),
])
def test_an_unknown_name_is_named_with_the_nearest(read: Read, old: str, new: str, where: str, what: str) -> None:
    problem = the_problem(read((ENOUGH + CISCO).replace(old, new)))
    right, wrong = old.split(" = ")[1], new.split(" = ")[1]
    assert str(problem) == (
        f"{problem.file}: {where}: found {wrong}; expected the name of {what} (the nearest is {right})")


def test_a_rule_of_an_unknown_profile_is_a_problem(read: Read) -> None:
    problem = the_problem(read(ENOUGH + rule(profile="main")))
    assert (problem.where, problem.found) == ('rules[1] "r".profile', '"main"')


def test_a_name_of_which_there_is_none_at_all_says_so(read: Read) -> None:
    problem = the_problem(read('[[profiles]]\nname = "default"\nintegration = "m365"\n'))
    assert (problem.found, problem.hint) == ('"m365"', "there is no integration")


@pytest.mark.parametrize(("more", "where", "expected", "hint"), [
    ('[[exchange_integrations]]\nname = "demo"\nservice_account_username = "a"\nservice_account_password = "b"\n',
     'exchange_integrations[1] "demo".name', "a name that no other integration has",
     'file_integrations[1] "demo" has it too'),
    ('[[profiles]]\nname = "default"\nintegration = "demo"\n', 'profiles[2] "default".name',
     "a name that no other profile has", 'profiles[1] "default" has it too'),
    ('[[endpoint_groups]]\nname = "rooms"\nprofile = "default"\n', 'endpoint_groups[2] "rooms".name',
     "a name that no other endpoint group has", 'endpoint_groups[1] "rooms" has it too'),
    (CISCO + CISCO.replace("192.0.2.20", "192.0.2.21"), 'endpoints[2] "Lounge".name',
     "a name that no other endpoint has", 'endpoints[1] "Lounge" has it too'),
    (rule("r", 1) + rule("r", 2), 'rules[2] "r".name', "a name that no other rule of the profile has",
     'rules[1] "r" has it too'),
    (rule("a") + rule("b", more="enabled = false"), 'rules[2] "b".priority',
     "a priority that no other rule of the profile has", 'rules[1] "a" has it too'),
    (POLY + POLY.replace('"Boardroom"', '"Copy"'), 'endpoints[2] "Copy".poly_username',
     "a user name that no other endpoint has", 'the endpoint "Boardroom" has it too'),
])
def test_what_must_be_unique_is(read: Read, more: str, where: str, expected: str, hint: str) -> None:
    problem = the_problem(read(ENOUGH + more))
    assert (problem.where, problem.expected, problem.hint) == (where, expected, hint)


def test_rules_of_two_profiles_may_share_name_and_priority(read: Read) -> None:
    other = '[[profiles]]\nname = "other"\nintegration = "demo"\n'
    assert_clean(read(ENOUGH + other + rule() + rule(profile="other")))


def test_user_names_that_differ_in_letter_case_are_two(read: Read) -> None:
    other = POLY.replace('"Boardroom"', '"Copy"').replace('"boardroom"', '"Boardroom"')
    assert_clean(read(ENOUGH + POLY + other))


@pytest.mark.parametrize(("endpoint", "line", "key", "expected"), [
    (POLY, 'poly_username = "boardroom"\n', "poly_username", "poly_username for an endpoint of type POLY"),
    (POLY, 'poly_password = "secret"\n', "poly_password", "poly_password for an endpoint of type POLY"),
    (CISCO, 'api_address = "192.0.2.20"\n', "api_address", "api_address for an endpoint of type CISCO"),
])
def test_an_endpoint_has_what_its_type_needs(read: Read, endpoint: str, line: str, key: str,
                                             expected: str) -> None:
    problem = the_problem(read(ENOUGH + endpoint.replace(line, "")))
    assert problem.where.endswith(f".{key}")
    assert (problem.found, problem.expected) == ("nothing", expected)


WEBEX = """
[[endpoints]]
name = "Desk"
endpoint_type = "WEBEX"
webex_device_id = "Y2lz"
room_resource_email = "desk@example.com"
mjx_endpoint_group_name = "rooms"
"""
USE_WEBEX = ('use_webex = true\nwebex_client_id = "C1"\nwebex_client_secret = "s"\n'
             'webex_redirect_uri = "https://otj.example.com/oauth/webex"\n')


def test_a_webex_endpoint_needs_its_device_id(read: Read) -> None:
    problem = the_problem(read(ENOUGH.replace("ep_username", USE_WEBEX + "ep_username")
                               + WEBEX.replace('webex_device_id = "Y2lz"\n', "")))
    assert (problem.where, problem.found) == ('endpoints[1] "Desk".webex_device_id', "nothing")


def test_a_webex_endpoint_needs_a_profile_that_uses_webex(read: Read) -> None:
    problem = the_problem(read(ENOUGH + WEBEX))
    assert (problem.where, problem.found) == ('endpoints[1] "Desk".endpoint_type', "WEBEX")
    assert problem.expected == 'use_webex = true in its profile "default"'


def test_a_profile_that_uses_webex_needs_its_client(read: Read) -> None:
    loaded = read(ENOUGH.replace("ep_username", "use_webex = true\nep_username"))
    assert [p.where for p in loaded.problems] == [
        f'profiles[1] "default".webex_{name}' for name in ("client_id", "client_secret", "redirect_uri")]


def test_user_name_and_password_go_together(read: Read) -> None:
    loaded = read(ENOUGH.replace('ep_password = "codec"\n', "") + CISCO + 'api_password = "own"\n')
    assert [(p.where, p.found) for p in loaded.problems] == [
        ('endpoints[1] "Lounge".api_username', "nothing"), ('profiles[1] "default".ep_password', "nothing")]


def test_a_cisco_endpoint_without_any_credentials_gives_a_warning(read: Read) -> None:
    toml = ENOUGH.replace('ep_username = "otj"\nep_password = "codec"\n', "")
    warning = the_warning(read(toml + CISCO))
    assert warning.where == 'endpoints[1] "Lounge".api_username'
    assert_clean(read(toml + CISCO + 'api_username = "own"\napi_password = "own"\n'))


def test_two_cisco_endpoints_with_one_address_give_a_warning(read: Read) -> None:
    copy = CISCO.replace("Lounge", "Copy")
    warning = the_warning(read(ENOUGH + CISCO + copy))
    assert (warning.where, warning.found) == ('endpoints[2] "Copy".api_address', '"192.0.2.20"')
    assert '"Lounge"' in warning.hint
    assert_clean(read(ENOUGH + CISCO + "api_port = 4431\n" + copy + "api_port = 4432\n"))


def test_poly_endpoints_need_a_listener_and_cisco_endpoints_do_not(read: Read) -> None:
    without = ENOUGH.replace("[[calendar_service.listeners]]\nplaintext = true\nport = 0\n", "")
    problem = the_problem(read(without + POLY))
    assert (problem.where, problem.found) == ("calendar_service.listeners", "none")
    assert '"Boardroom"' in problem.hint
    assert_clean(read(without + CISCO))


@pytest.mark.parametrize(("one", "other"), [
    ((ANY, 8443), (ANY, 8443)), ((ANY, 8443), ("127.0.0.1", 8443)), (("::1", 1), ("::", 1)),
    (("127.0.0.1", 8443), ("localhost", 8443)),
])
def test_two_listeners_with_one_address_and_port_are_a_problem(
        read: Read, one: tuple[str, int], other: tuple[str, int]) -> None:
    problem = the_problem(read(LISTENER.format(*one) + LISTENER.format(*other)))
    assert problem.where == "calendar_service.listeners[2].port"
    assert problem.found == f"{other[1]} on {other[0]}"
    assert problem.hint == "calendar_service.listeners[1] listens there"


def test_the_operator_service_has_a_port_of_its_own(read: Read) -> None:
    problem = the_problem(read(LISTENER.format(ANY, 8080)))
    assert (problem.where, problem.hint) == ("operator.port", "calendar_service.listeners[1] listens there")


@pytest.mark.parametrize(("one", "other"), [
    ((ANY, 1), (ANY, 2)), (("127.0.0.1", 1), ("127.0.0.2", 1)), ((ANY, 0), (ANY, 0)),
])
def test_other_listeners_do_not_collide(read: Read, one: tuple[str, int], other: tuple[str, int]) -> None:
    assert_clean(read(LISTENER.format(*one) + LISTENER.format(*other)))


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_an_operator_service_on_loopback_needs_no_password(read: Read, address: str) -> None:
    assert_clean(read(f'[operator]\naddress = "{address}"\n'))


def test_an_operator_service_on_the_network_needs_a_password(read: Read) -> None:
    loaded = read('[operator]\naddress = "192.0.2.1"\n')
    assert [(p.where, p.found, p.expected) for p in loaded.problems] == [
        (f"operator.{n}", "nothing", f"{n} because 192.0.2.1 can be reached from other machines")
        for n in ("username", "password")]
    assert loaded.warnings[0].where == "operator.certificate"
    half = the_problem(read('[operator]\naddress = "192.0.2.1"\nusername = "admin"\n'))
    assert (half.where, half.expected) == ("operator.password", "password beside username, or neither of them")
    with_password = read('[operator]\naddress = "192.0.2.1"\nusername = "admin"\npassword = "secret"\n')
    assert the_warning(with_password).where == "operator.certificate"


def test_fips_takes_digest_and_ntlm_away_with_a_warning_when_they_were_asked_for(read: Read) -> None:
    assert_clean(read("[node]\nfips = true\n"))
    warning = the_warning(read('[node]\nfips = true\n[calendar_service]\nauthentication = ["basic", "ntlm"]\n'))
    assert (warning.where, warning.found) == ("calendar_service.authentication", '["ntlm"]')
    warning = the_warning(read("[node]\nfips = true\n" + ENOUGH + POLY + 'authentication = ["digest"]\n'))
    assert warning.where == 'endpoints[1] "Boardroom".authentication'
    assert_clean(read('[node]\nfips = true\n[calendar_service]\nauthentication = ["basic"]\n'))


@pytest.mark.parametrize("key", ["transform_rule", "domain", "match_string", "custom_template", "replace_string"])
def test_webex_needs_nothing_further(read: Read, key: str) -> None:
    assert_clean(read(ENOUGH + rule(more=f'{key} = ""')))


def test_fips_warns_of_hdx_which_needs_ntlm(read: Read) -> None:
    loaded = read("[node]\nfips = true\n" + ENOUGH + POLY + 'poly_family = "hdx"\n')
    assert the_warning(loaded).where == 'endpoints[1] "Boardroom".poly_family'


@pytest.mark.parametrize("family", ["hdx", "group"])
def test_a_text_that_is_kept_warns_where_only_a_token_is_dialled(read: Read, family: str) -> None:
    endpoint = ENOUGH + POLY + f'poly_family = "{family}"\n'
    warning = the_warning(read(endpoint + 'invitation_text = "keep"\n'))
    assert (warning.where, warning.found) == ('endpoints[1] "Boardroom".invitation_text', '"keep"')
    everywhere = '[calendar_service]\ninvitation_text = "keep"\n'
    assert "[calendar_service]" in the_warning(read(everywhere + endpoint)).found
    assert_clean(read(everywhere + endpoint + 'invitation_text = "append"\n'))
    assert_clean(read(everywhere + endpoint.replace(f'"{family}"', '"trio"')))


def test_the_wire_log_warns_of_an_endpoint_that_does_not_exist(read: Read) -> None:
    toml = '[log]\nwire_endpoints = ["{}"]\n' + ENOUGH + POLY
    assert_clean(read(toml.format("Boardroom")))
    warning = the_warning(read(toml.format("Boardrom")))
    assert (warning.where, warning.hint) == ("log.wire_endpoints", 'the nearest is "Boardroom"')
    assert the_warning(read('[log]\nwire_endpoints = ["x"]\n')).hint == "there is no endpoint"


@pytest.mark.parametrize(("meeting_type", "more", "key", "expected"), [
    ("teams", "", "domain", 'domain for meeting_type "teams"'),
    ("domain", "", "domain", 'domain for meeting_type "domain"'),
    ("regex", "", "match_string", 'match_string for meeting_type "regex"'),
    ("regex_re2", "", "match_string", 'match_string for meeting_type "regex_re2"'),
    ("custom", "", "custom_template", 'custom_template for meeting_type "custom"'),
    ("zoom", "default_processing_enabled = false", "transform_rule",
     "transform_rule, because default_processing_enabled is false"),
    ("regex", 'match_string = "x"\ndefault_processing_enabled = false', "replace_string",
     "replace_string, because default_processing_enabled is false"),
])
def test_a_rule_has_what_its_meeting_type_needs(read: Read, meeting_type: str, more: str, key: str,
                                                expected: str) -> None:
    problem = the_problem(read(ENOUGH + rule(meeting_type=meeting_type, more=more)))
    assert (problem.where, problem.found, problem.expected) == (f'rules[1] "r".{key}', "nothing", expected)


@pytest.mark.parametrize(("meeting_type", "more"), [
    ("teams", 'domain = "video.example.com"'),
    ("regex", 'match_string = "x"'),
    ("regex_re2", 'match_string = "x"\nreplace_string = "y"\ndefault_processing_enabled = false'),
    ("regex", 'match_string = "x"\nreplace_string = "y"'),
    ("custom", 'custom_template = "x"'),
    ("custom", 'custom_template = "x"\ndefault_processing_enabled = false'),
    ("zoom", 'include_pin = true\ntransform_rule = "{{ meeting_id }}"\ndefault_processing_enabled = false'),
    ("bluejeans", "include_pin = true"),
    ("teamssipguestjoin", 'company_id = "c"'),
])
def test_a_rule_with_what_it_needs_is_fine(read: Read, meeting_type: str, more: str) -> None:
    assert_clean(read(ENOUGH + rule(meeting_type=meeting_type, more=more)))


@pytest.mark.parametrize(("meeting_type", "more", "key"), [
    ("webex", "include_pin = true", "include_pin"),
    ("zoom", 'company_id = "c"', "company_id"),
    ("zoom", 'custom_template = "c"', "custom_template"),
    ("zoom", 'match_string = "c"', "match_string"),
    ("zoom", 'replace_string = "c"', "replace_string"),
    ("zoom", 'transform_rule = "c"', "transform_rule"),
    ("custom", 'custom_template = "c"\ntransform_rule = "c"', "transform_rule"),
    ("regex", 'match_string = "c"\ntransform_rule = "c"', "transform_rule"),
])
def test_a_value_without_effect_gives_a_warning(read: Read, meeting_type: str, more: str, key: str) -> None:
    warning = the_warning(read(ENOUGH + rule(meeting_type=meeting_type, more=more)))
    assert warning.where == f'rules[1] "r".{key}'
    assert "not use" in warning.found


def test_a_group_elsewhere_gives_a_warning(read: Read) -> None:
    group = ENOUGH.replace('name = "rooms"', 'name = "rooms"\nlocation = "bergen"')
    assert_clean(read(group))
    assert_clean(read('[node]\nlocation = "bergen"\n' + group))
    warning = the_warning(read('[node]\nlocation = "oslo"\n' + group))
    assert (warning.where, warning.found) == ('endpoint_groups[1] "rooms".location', '"bergen"')
    assert '"oslo"' in warning.expected


EXCHANGE = '[[exchange_integrations]]\nname = "onprem"\nservice_account_username = "svc"\n'


@pytest.mark.parametrize(("toml", "keys"), [
    (EXCHANGE, ["service_account_password"]),
    (EXCHANGE + 'authentication_method = "NTLM"\n', ["service_account_password"]),
    (EXCHANGE + 'authentication_method = "OAUTH"\n',
     ["oauth_client_id", "oauth_auth_endpoint", "oauth_token_endpoint", "oauth_redirect_uri"]),
    ('[[google_integrations]]\nname = "w"\nuse_user_consent = true\n',
     ["client_id", "client_secret", "redirect_uri"]),
    ('[[google_integrations]]\nname = "w"\n', ["private_key", "client_email"]),
])
def test_an_integration_has_what_its_way_of_signing_in_needs(read: Read, toml: str, keys: list[str]) -> None:
    loaded = read(toml)
    assert {p.where.rpartition(".")[2] for p in loaded.problems} == set(keys)
    assert {p.found for p in loaded.problems} == {"nothing"}


def test_credentials_in_the_clear_give_a_warning_except_on_loopback(read: Read) -> None:
    toml = EXCHANGE + 'service_account_password = "s"\news_url = "http://{}/EWS/Exchange.asmx"\n'
    warning = the_warning(read(toml.format("mail.example.com")))
    assert (warning.where, warning.expected) == ('exchange_integrations[1] "onprem".ews_url', "https")
    assert_clean(read(toml.format("127.0.0.1:8000")))


def test_a_notification_url_that_ends_elsewhere_gives_a_warning(read: Read) -> None:
    toml = """
[[graph_integrations]]
name = "m 365"
client_id = "00000000-0000-0000-0000-000000000000"
client_secret = "s"
oauth_token_url = "https://login.example.com/token"
notification_url = "https://otj.example.com/notifications/{}"
"""
    assert_clean(read(toml.format("m%20365")))
    warning = the_warning(read(toml.format("m365")))
    assert warning.where == 'graph_integrations[1] "m 365".notification_url'
    assert warning.expected == "a URL that ends in /notifications/m 365"


def test_a_key_that_is_wrong_in_itself_causes_no_further_problems(read: Read) -> None:
    toml = (ENOUGH + CISCO + rule("a") + rule("b", meeting_type="regex")
            ).replace('"192.0.2.20"', "7").replace('"regex"', '"regexp"')
    assert [p.where for p in read(toml).problems] == [
        'endpoints[1] "Lounge".api_address', 'rules[2] "b".meeting_type', 'rules[2] "b".priority']


def test_a_profile_whose_name_is_wrong_is_not_compared(read: Read) -> None:
    loaded = read(ENOUGH + '[[profiles]]\nname = 5\nintegration = "demo"\n[[profiles]]\nname = 6\n'
                           'integration = "demo"\n')
    assert [p.where for p in loaded.problems] == ["profiles[2].name", "profiles[3].name"]


BALANCED = '[[calendar_service.listeners]]\nport = 0\nplaintext = true\nproxy_protocol = true\n'


def test_a_listener_with_the_proxy_protocol_needs_proxies_to_trust(read: Read) -> None:
    problem = the_problem(read(BALANCED))
    assert problem.where == "calendar_service.listeners[1].proxy_protocol"
    assert "trusted_proxies" in problem.expected
    assert_clean(read('[calendar_service]\ntrusted_proxies = ["192.0.2.0/24"]\n' + BALANCED))
