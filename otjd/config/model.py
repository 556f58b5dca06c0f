"""The whole configuration as one frozen value. Every field is named as its key; see docs/configuration.md."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from otjd.config.integrations import (
    AuthenticationMethod,
    ExchangeIntegration,
    FileIntegration,
    GoogleIntegration,
    GraphIntegration,
    Integration,
)
from otjd.config.keys import key
from otjd.config.rooms import (
    MEETING_TYPES,
    Endpoint,
    EndpointGroup,
    GlobalYesNo,
    PolyFamily,
    Profile,
    Rule,
)
from otjd.config.secret import Secret
from otjd.config.services import CalendarService, Listener, Log, Node, Operator, WebProxy

__all__ = [
    "MEETING_TYPES", "Access", "AuthenticationMethod", "CalendarService", "Config", "Endpoint", "EndpointGroup",
    "ExchangeIntegration", "FileIntegration", "GlobalYesNo", "GoogleIntegration", "GraphIntegration",
    "Integration", "Joining", "Listener", "Log", "Node", "Operator", "PolyFamily", "Profile", "Rule", "Secret",
    "WebProxy"]

N = TypeVar("N", Integration, Profile, EndpointGroup)


@dataclass(frozen=True, slots=True)
class Access:
    """How the API of a Cisco endpoint is reached, with what the endpoint inherits from its profile."""

    port: int
    username: str
    password: Secret
    use_https: bool
    verify: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Joining:
    """How a Poly endpoint is told what to dial, besides by the template of its family."""

    token_form: str
    token_line_ending: str
    token_wrap: int
    invitation_text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The file as a whole."""

    endpoints_csv: Path | None = field(default=None, metadata=key(
        "CSV file of further endpoints in the vendor's import format."))
    node: Node = field(default_factory=Node, metadata=key("This node."))
    log: Log = field(default_factory=Log, metadata=key("The log."))
    calendar_service: CalendarService = field(default_factory=CalendarService, metadata=key(
        "What Poly endpoints connect to."))
    operator: Operator = field(default_factory=Operator, metadata=key("Status, metrics and sign-in."))
    web_proxy: WebProxy = field(default_factory=WebProxy, metadata=key("The proxy for outbound requests."))
    file_integrations: tuple[FileIntegration, ...] = field(default=(), metadata=key("Folders of iCalendar files."))
    exchange_integrations: tuple[ExchangeIntegration, ...] = field(default=(), metadata=key("Exchange servers."))
    graph_integrations: tuple[GraphIntegration, ...] = field(default=(), metadata=key("Microsoft 365 tenants."))
    google_integrations: tuple[GoogleIntegration, ...] = field(default=(), metadata=key("Google Workspaces."))
    profiles: tuple[Profile, ...] = field(default=(), metadata=key("What endpoints show."))
    endpoint_groups: tuple[EndpointGroup, ...] = field(default=(), metadata=key("Endpoints that share a profile."))
    endpoints: tuple[Endpoint, ...] = field(default=(), metadata=key("Endpoints, besides those of the CSV file."))
    rules: tuple[Rule, ...] = field(default=(), metadata=key("How aliases are found in invitations."))

    @property
    def integrations(self) -> tuple[Integration, ...]:
        """The integrations of every kind; each has its `kind` and a `name` that is unique among all."""
        return (*self.file_integrations, *self.exchange_integrations, *self.graph_integrations,
                *self.google_integrations)

    def integration(self, name: str) -> Integration:
        """The integration of this name.

        :raises KeyError: there is none; `load` has seen to it that every name in use exists.
        """
        return _named(self.integrations, name)

    def profile(self, name: str) -> Profile:
        """The profile of this name.

        :raises KeyError: there is none; `load` has seen to it that every name in use exists.
        """
        return _named(self.profiles, name)

    def group(self, name: str) -> EndpointGroup:
        """The endpoint group of this name.

        :raises KeyError: there is none; `load` has seen to it that every name in use exists.
        """
        return _named(self.endpoint_groups, name)

    def group_of(self, endpoint: Endpoint) -> EndpointGroup:
        """The group of an endpoint."""
        return self.group(endpoint.mjx_endpoint_group_name)

    def profile_of(self, endpoint: Endpoint) -> Profile:
        """The profile of an endpoint, by way of its group."""
        return self.profile(self.group_of(endpoint).profile)

    def is_served_here(self, endpoint: Endpoint) -> bool:
        """Whether this node is to serve the endpoint: node and group name one location, or one names none."""
        location = self.group_of(endpoint).location
        return not location or not self.node.location or location == self.node.location

    def access(self, endpoint: Endpoint) -> Access:
        """How to reach the API of a Cisco endpoint: its own values, then the profile's, then the usual ports."""
        profile = self.profile_of(endpoint)
        use_https = _resolved(endpoint.use_https, profile.ep_use_https)
        own = bool(endpoint.api_username or endpoint.api_password)
        return Access(
            port=endpoint.api_port or (443 if use_https else 80),
            username=endpoint.api_username if own else profile.ep_username,
            password=endpoint.api_password if own else profile.ep_password,
            use_https=use_https,
            verify=_resolved(endpoint.verify_cert, profile.ep_verify_certificate))

    def uses_proxy(self, endpoint: Endpoint) -> bool:
        """Whether requests to the API of a Cisco endpoint go through the web proxy."""
        return bool(self.web_proxy.url) and not self.group_of(endpoint).disable_proxy

    def schemes(self, endpoint: Endpoint) -> tuple[str, ...]:
        """The authentication schemes offered to a Poly endpoint, in order; Basic alone on a node in FIPS mode."""
        if self.node.fips:
            return ("basic",)
        return endpoint.authentication or self.calendar_service.authentication

    def joining(self, endpoint: Endpoint) -> Joining:
        """How a Poly endpoint is told what to dial, with what it takes over from [calendar_service]."""
        service = self.calendar_service
        return Joining(
            token_form=endpoint.token_form or service.token_form,
            token_line_ending=endpoint.token_line_ending or service.token_line_ending,
            token_wrap=service.token_wrap if endpoint.token_wrap is None else endpoint.token_wrap,
            invitation_text=endpoint.invitation_text or service.invitation_text)

    def rules_of(self, profile: str) -> tuple[Rule, ...]:
        """All rules of a profile, disabled ones too, in ascending priority."""
        return tuple(sorted((r for r in self.rules if r.profile == profile), key=lambda r: r.priority))


def _resolved(own: GlobalYesNo, profile: bool) -> bool:
    return profile if own is GlobalYesNo.GLOBAL else own is GlobalYesNo.YES


def _named(among: Iterable[N], name: str) -> N:
    for one in among:
        if one.name == name:
            return one
    raise KeyError(name)
