"""What must hold between the tables of a configuration: names that exist, names that are unique."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any

from otjd.config.access_checks import check_access
from otjd.config.integrations import (
    ExchangeIntegration,
    FileIntegration,
    GoogleIntegration,
    GraphIntegration,
)
from otjd.config.problems import nearest, shown
from otjd.config.reader import Element, Findings
from otjd.config.rooms import Endpoint, EndpointGroup, PolyFamily, Profile, Rule
from otjd.config.rule_checks import check_rules
from otjd.config.services import CalendarService, Log, Node


def cross_check(findings: Findings) -> None:
    """Note everything that does not fit together."""
    integrations: list[Element[Any]] = [
        *findings.of(FileIntegration), *findings.of(ExchangeIntegration), *findings.of(GraphIntegration),
        *findings.of(GoogleIntegration)]
    profiles, groups, endpoints = findings.of(Profile), findings.of(EndpointGroup), findings.of(Endpoint)
    for elements, what in ((integrations, "integration"), (profiles, "profile"), (groups, "endpoint group"),
                           (endpoints, "endpoint")):
        unique(findings, elements, "name", lambda e: e.value.name, f"a name that no other {what} has")
    unique(findings, findings.of(Rule), "name", lambda e: (e.value.profile, e.value.name),
           "a name that no other rule of the profile has", because_of=("profile",))
    unique(findings, findings.of(Rule), "priority", lambda e: (e.value.profile, e.value.priority),
           "a priority that no other rule of the profile has", because_of=("profile",))
    _exists(findings, profiles, "integration", integrations)
    _exists(findings, groups, "profile", profiles)
    _exists(findings, findings.of(Rule), "profile", profiles)
    _exists(findings, endpoints, "mjx_endpoint_group_name", groups)
    _locations(findings)
    _kept_texts(findings)
    _wire_endpoints(findings, [e.value.name for e in endpoints])
    check_rules(findings)
    check_access(findings)


def unique(findings: Findings, elements: Iterable[Element[Any]], name: str,
           identity: Callable[[Element[Any]], Hashable], expected: str, *,
           because_of: tuple[str, ...] = ()) -> None:
    """Note every element whose identity an earlier one has already."""
    first: dict[Hashable, Element[Any]] = {}
    for element in elements:
        if element.faulty & {name, *because_of}:
            continue
        before = first.setdefault(identity(element), element)
        if before is not element:
            file = "" if before.place.file == element.place.file else f" of {before.place.file}"
            findings.problem(element, name, shown(getattr(element.value, name)), expected,
                             f"{before.place.where}{file} has it too")


def _exists(findings: Findings, elements: Iterable[Element[Any]], name: str,
            known: Iterable[Element[Any]]) -> None:
    """Note every element whose `name` is not the name of a known element."""
    names = [e.value.name for e in known if e.value.name]
    what = {"mjx_endpoint_group_name": "endpoint group"}.get(name, name)
    for element in elements:
        wanted = getattr(element.value, name)
        if wanted not in names:
            hint = f'the nearest is "{nearest(wanted, names)}"' if names else f"there is no {what}"
            findings.problem(element, name, shown(wanted), f"the name of an {what}" if what[0] in "aeiou" else
                             f"the name of a {what}", hint)


def _locations(findings: Findings) -> None:
    """Warn of groups that this node does not serve: right with several nodes, a typing error with one."""
    for node in findings.of(Node):
        here = node.value.location
        for group in findings.of(EndpointGroup):
            if here and group.value.location not in ("", here) and "location" not in node.faulty:
                findings.warning(group, "location", shown(group.value.location), f"{shown(here)}, as in [node]",
                                 "this node does not serve the group; right if another one does")


def _kept_texts(findings: Findings) -> None:
    """Warn where an endpoint that dials what a token says is not given one."""
    for service in findings.of(CalendarService):
        for endpoint in findings.of(Endpoint):
            of_endpoint = endpoint.value.invitation_text
            if (of_endpoint or service.value.invitation_text) == "keep" and (
                    endpoint.value.poly_family in (PolyFamily.HDX, PolyFamily.GROUP)):
                found = '"keep"' if of_endpoint else '"keep", as in [calendar_service]'
                findings.warning(endpoint, "invitation_text", found, '"drop" or "append"',
                                 "HDX and Group dial what a token says, and find none in the invitation: no Join "
                                 "button", because_of=("poly_family",))


def _wire_endpoints(findings: Findings, names: list[str]) -> None:
    """Warn of endpoints that do not exist: a capture that stays empty must not keep the service from starting."""
    for log in findings.of(Log):
        for wanted in log.value.wire_endpoints:
            if wanted not in names:
                findings.warning(log, "wire_endpoints", shown(wanted), "the name of an endpoint",
                                 f'the nearest is "{nearest(wanted, names)}"' if names else "there is no endpoint")
