"""What the parts of otjd ask a configuration."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from otjd.config.model import (
    Access,
    CalendarService,
    Config,
    Endpoint,
    EndpointGroup,
    FileIntegration,
    GlobalYesNo,
    Node,
    Profile,
    Rule,
    Secret,
    WebProxy,
)

DEMO = FileIntegration(name="demo", directory=Path("/calendars"))
PROFILE = Profile(name="default", integration="demo", ep_username="otj", ep_password=Secret("codec"))
GROUP = EndpointGroup(name="rooms", profile="default")
LOUNGE = Endpoint(name="Lounge", api_address="192.0.2.20", room_resource_email="lounge@example.com",
                  mjx_endpoint_group_name="rooms")
CONFIG = Config(file_integrations=(DEMO,), profiles=(replace(PROFILE, name="other"), PROFILE),
                endpoint_groups=(replace(GROUP, name="lobby", profile="other"), GROUP), endpoints=(LOUNGE,))


def with_profile(profile: Profile) -> Config:
    return replace(CONFIG, profiles=(profile,))


def test_names_lead_from_an_endpoint_to_its_calendars() -> None:
    assert CONFIG.group_of(LOUNGE) is GROUP
    assert CONFIG.profile_of(LOUNGE) is PROFILE
    assert CONFIG.integration(PROFILE.integration) is DEMO
    assert CONFIG.profile("other").name == "other"
    assert CONFIG.group("lobby").profile == "other"


@pytest.mark.parametrize("look_up", [CONFIG.profile, CONFIG.group, CONFIG.integration])
def test_a_name_that_does_not_exist_raises(look_up: object) -> None:
    assert callable(look_up)
    with pytest.raises(KeyError, match="nobody"):
        look_up("nobody")


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        CONFIG.node.name = "x"  # type: ignore[misc]


def test_an_endpoint_inherits_from_its_profile() -> None:
    assert CONFIG.access(LOUNGE) == Access(
        port=443, username="otj", password=Secret("codec"), use_https=True, verify=True)
    lax = with_profile(replace(PROFILE, ep_use_https=False, ep_verify_certificate=False))
    assert lax.access(LOUNGE) == Access(
        port=80, username="otj", password=Secret("codec"), use_https=False, verify=False)


@pytest.mark.parametrize(("own", "switched"), [(GlobalYesNo.YES, True), (GlobalYesNo.NO, False)])
@pytest.mark.parametrize("inherited", [True, False])
def test_the_switches_of_an_endpoint_go_before_those_of_its_profile(
        own: GlobalYesNo, switched: bool, inherited: bool) -> None:
    config = with_profile(replace(PROFILE, ep_use_https=inherited, ep_verify_certificate=inherited))
    access = config.access(replace(LOUNGE, use_https=own, verify_cert=own))
    assert access.use_https is access.verify is switched
    assert access.port == (443 if switched else 80)


def test_credentials_and_port_of_an_endpoint_go_before_those_of_its_profile() -> None:
    own = replace(LOUNGE, api_port=8443, api_username="me", api_password=Secret("mine"))
    access = CONFIG.access(own)
    assert (access.port, access.username, access.password) == (8443, "me", Secret("mine"))


def test_a_group_may_bypass_the_proxy() -> None:
    assert not CONFIG.uses_proxy(LOUNGE)
    proxied = replace(CONFIG, web_proxy=WebProxy(url=Secret("http://proxy:8080")))
    assert proxied.uses_proxy(LOUNGE)
    assert not replace(proxied, endpoint_groups=(replace(GROUP, disable_proxy=True),)).uses_proxy(LOUNGE)


def test_schemes_are_those_of_the_endpoint_then_of_the_node_and_basic_alone_in_fips_mode() -> None:
    assert CONFIG.schemes(LOUNGE) == ("digest", "ntlm")
    config = replace(CONFIG, calendar_service=CalendarService(authentication=("basic",)))
    assert config.schemes(LOUNGE) == ("basic",)
    assert config.schemes(replace(LOUNGE, authentication=("ntlm",))) == ("ntlm",)
    fips = replace(CONFIG, node=Node(fips=True))
    assert fips.schemes(replace(LOUNGE, authentication=("ntlm",))) == ("basic",)


@pytest.mark.parametrize(("node", "group", "served"), [
    ("", "", True), ("oslo", "", True), ("", "oslo", True), ("oslo", "oslo", True), ("oslo", "bergen", False)])
def test_a_node_serves_the_groups_of_its_location(node: str, group: str, served: bool) -> None:
    config = replace(CONFIG, node=Node(location=node), endpoint_groups=(replace(GROUP, location=group),))
    assert config.is_served_here(LOUNGE) is served


def test_the_rules_of_a_profile_come_by_priority_disabled_ones_too() -> None:
    def rule(name: str, priority: int, profile: str = "default") -> Rule:
        return Rule(name=name, priority=priority, profile=profile, meeting_type="webex", enabled=priority != 2)

    config = replace(CONFIG, rules=(rule("c", 3), rule("x", 1, "other"), rule("b", 2), rule("a", 1)))
    assert [r.name for r in config.rules_of("default")] == ["a", "b", "c"]
