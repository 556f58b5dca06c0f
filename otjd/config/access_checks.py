"""What endpoints, listeners and integrations need in order to reach each other."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote, urlsplit

from otjd.config.integrations import (
    AuthenticationMethod,
    ExchangeIntegration,
    GoogleIntegration,
    GraphIntegration,
)
from otjd.config.problems import shown
from otjd.config.reader import Element, Findings
from otjd.config.rooms import Endpoint, EndpointGroup, PolyFamily, Profile
from otjd.config.services import CalendarService, Listener, Node, Operator
from otjd.config.shapes import is_ip_address, is_loopback, is_plain_http_across_a_network
from otjd.meetings.model import EndpointType


def check_access(findings: Findings) -> None:
    """Check endpoints, what they connect to, and where calendars come from."""
    profiles = _profiles_by_group(findings)
    for endpoint in findings.of(Endpoint):
        _endpoint(findings, endpoint, profiles.get(endpoint.value.mjx_endpoint_group_name))
    _unique_logins(findings)
    _unique_devices(findings)
    for profile in findings.of(Profile):
        _profile(findings, profile)
    _listeners(findings)
    _proxied(findings)
    for operator in findings.of(Operator):
        _operator(findings, operator)
    for node in findings.of(Node):
        if node.value.fips:
            _fips(findings)
    _integrations(findings)


def _needs(findings: Findings, element: Element[Any], names: tuple[str, ...], why: str, *,
           because_of: tuple[str, ...] = ()) -> None:
    for name in names:
        if not getattr(element.value, name):
            findings.problem(element, name, "nothing", f"{name} {why}", because_of=because_of)


def _both_or_neither(findings: Findings, element: Element[Any], names: tuple[str, str]) -> None:
    for name, other in (names, names[::-1]):
        if getattr(element.value, other) and not getattr(element.value, name):
            findings.problem(element, name, "nothing", f"{name} beside {other}, or neither of them",
                             because_of=(other,))


def _endpoint(findings: Findings, element: Element[Endpoint], profile: Element[Profile] | None) -> None:
    needed = {EndpointType.CISCO: ("api_address",), EndpointType.POLY: ("poly_username", "poly_password"),
              EndpointType.WEBEX: ("webex_device_id",)}
    kind = element.value.endpoint_type
    _needs(findings, element, needed[kind], f"for an endpoint of type {kind}", because_of=("endpoint_type",))
    _both_or_neither(findings, element, ("api_username", "api_password"))
    if profile is None or "endpoint_type" in element.faulty:
        return
    if kind is EndpointType.WEBEX and not profile.value.use_webex and "use_webex" not in profile.faulty:
        findings.problem(element, "endpoint_type", "WEBEX", "use_webex = true in its profile "
                         f"{shown(profile.value.name)}", "without it nothing can be sent to the endpoint")
    own = {"api_username", "api_password"} & (element.given | element.faulty)
    if kind is EndpointType.CISCO and not own and not profile.value.ep_username:
        findings.warning(element, "api_username", "nothing, nor an ep_username in its profile "
                         f"{shown(profile.value.name)}", "the user name that the endpoint's API asks for")


def _profiles_by_group(findings: Findings) -> dict[str, Element[Profile]]:
    """The profile of each group; without the groups that name none that exists."""
    profiles = {p.value.name: p for p in findings.of(Profile) if p.value.name}
    return {g.value.name: profiles[g.value.profile] for g in findings.of(EndpointGroup)
            if g.value.name and g.value.profile in profiles}


def _unique_logins(findings: Findings) -> None:
    logins: dict[str, Element[Endpoint]] = {}
    for element in findings.of(Endpoint):
        name = element.value.poly_username
        if element.value.endpoint_type is EndpointType.POLY and name:
            before = logins.setdefault(name, element)
            if before is not element:
                findings.problem(element, "poly_username", shown(name), "a user name that no other endpoint has",
                                 f"the endpoint {shown(before.value.name)} has it too")


def _unique_devices(findings: Findings) -> None:
    devices: dict[tuple[str, int | None], Element[Endpoint]] = {}
    for element in findings.of(Endpoint):
        value = element.value
        if value.endpoint_type is EndpointType.CISCO and value.api_address:
            before = devices.setdefault((value.api_address.lower(), value.api_port), element)
            if before is not element:
                findings.warning(element, "api_address", shown(value.api_address), "one endpoint for each device",
                                 f"the endpoint {shown(before.value.name)} has this address too: they overwrite "
                                 "each other's meetings", because_of=("api_port",))


def _profile(findings: Findings, element: Element[Profile]) -> None:
    _both_or_neither(findings, element, ("ep_username", "ep_password"))
    if element.value.use_webex:
        _needs(findings, element, ("webex_client_id", "webex_client_secret", "webex_redirect_uri"),
               "because use_webex is true", because_of=("use_webex",))


def _listeners(findings: Findings) -> None:
    listeners = findings.of(Listener)
    every: list[Element[Listener] | Element[Operator]] = [*listeners, *findings.of(Operator)]
    for number, element in enumerate(every):
        before = next((e for e in every[:number] if _collide(element.value, e.value)
                       and not e.faulty & {"address", "port"}), None)
        if before is not None:
            findings.problem(element, "port", f"{element.value.port} on {element.value.address}",
                             "an address and port that nothing else listens on",
                             f"{before.place.where} listens there", because_of=("address",))
    polys = [e for e in findings.of(Endpoint) if e.value.endpoint_type is EndpointType.POLY]
    for service in findings.of(CalendarService):
        if polys and not listeners:
            findings.problem(service, "listeners", "none", "at least one [[calendar_service.listeners]]",
                             f"Poly endpoints such as {shown(polys[0].value.name)} have nothing to connect to")


def _collide(one: Listener | Operator, other: Listener | Operator) -> bool:
    if one.port != other.port or not one.port:
        return False
    first, second = (a.replace("localhost", "127.0.0.1") for a in (one.address, other.address))
    if not is_ip_address(first) or not is_ip_address(second):
        return False
    a, b = ip_address(first), ip_address(second)
    return a.version == b.version and (a == b or a.is_unspecified or b.is_unspecified)


def _operator(findings: Findings, element: Element[Operator]) -> None:
    value = element.value
    _both_or_neither(findings, element, ("username", "password"))
    if is_loopback(value.address) or "address" in element.faulty:
        return
    if not value.username and not value.password:
        _needs(findings, element, ("username", "password"),
               f"because {value.address} can be reached from other machines")
    if value.certificate is None:
        findings.warning(element, "certificate", "nothing", "a certificate, because "
                         f"{value.address} can be reached from other machines",
                         "the password crosses the network in the clear")


def _proxied(findings: Findings) -> None:
    for service in findings.of(CalendarService):
        if not service.value.trusted_proxies and "trusted_proxies" not in service.faulty:
            for listener in findings.of(Listener):
                if listener.value.proxy_protocol:
                    findings.problem(listener, "proxy_protocol", "true", "the networks of the load balancers in "
                                     "calendar_service.trusted_proxies", "without them no connection is taken")


def _fips(findings: Findings) -> None:
    """In FIPS mode Digest and NTLM are off (deployment guide, secure mode); HDX needs NTLM."""
    offering: list[Element[CalendarService] | Element[Endpoint]] = [
        *findings.of(CalendarService), *findings.of(Endpoint)]
    for element in offering:
        weak = [s for s in element.value.authentication if s != "basic"]
        if weak and "authentication" in element.given:
            findings.warning(element, "authentication", shown(weak), '["basic"]',
                             "node.fips is true: only Basic is offered")
    for endpoint in findings.of(Endpoint):
        if endpoint.value.poly_family is PolyFamily.HDX:
            findings.warning(endpoint, "poly_family", "hdx", "another family, because node.fips is true",
                             "HDX needs NTLM and cannot connect")
    for listener in findings.of(Listener):
        if listener.value.minimum_tls in ("1.0", "1.1") and not listener.value.plaintext:
            findings.warning(listener, "minimum_tls", shown(listener.value.minimum_tls),
                             '"1.2" or "1.3", because node.fips is true')


def _integrations(findings: Findings) -> None:
    for exchange in findings.of(ExchangeIntegration):
        method = exchange.value.authentication_method
        needed = ("service_account_password",) if method is not AuthenticationMethod.OAUTH else (
            "oauth_client_id", "oauth_auth_endpoint", "oauth_token_endpoint", "oauth_redirect_uri")
        _needs(findings, exchange, needed, f"for authentication_method {method}",
               because_of=("authentication_method",))
        _clear_text(findings, exchange, ("ews_url", "oauth_token_endpoint"))
    for graph in findings.of(GraphIntegration):
        _clear_text(findings, graph, ("oauth_token_url",))
        _notifications(findings, graph)
    for google in findings.of(GoogleIntegration):
        if google.value.use_user_consent:
            _needs(findings, google, ("client_id", "client_secret", "redirect_uri"),
                   "because use_user_consent is true", because_of=("use_user_consent",))
        _clear_text(findings, google, ("token_endpoint", "api_url"))
        _notifications(findings, google)


def _clear_text(findings: Findings, element: Element[Any], names: tuple[str, ...]) -> None:
    for name in names:
        url = getattr(element.value, name)
        if is_plain_http_across_a_network(url):
            findings.warning(element, name, shown(url), "https", "credentials cross the network in the clear")


def _notifications(findings: Findings, element: Element[GraphIntegration] | Element[GoogleIntegration]) -> None:
    url = element.value.notification_url
    own = f"/notifications/{element.value.name}"
    if url and unquote(urlsplit(url).path) != own:
        findings.warning(element, "notification_url", shown(url), f"a URL that ends in {own}",
                         "right only if what stands before this node changes the path", because_of=("name",))
