"""StatusBoard: the one interface through which every part reports how it is doing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from twisted.logger import Logger

from otjd.meetings.model import EndpointType

BUDGET_WINDOW = timedelta(hours=24)


class AlarmName(StrEnum):
    """The alarms of the product; the instance of each is named in the operator's guide."""

    POLY_ENDPOINT = "otj_poly_endpoint_error"
    CISCO_ENDPOINT = "otj_cisco_endpoint_error"
    WEBEX_ENDPOINT = "otj_webex_endpoint_error"
    EXCHANGE_GATHERER = "otj_exchange_gatherer_error"
    GRAPH_GATHERER = "otj_graph_gatherer_error"
    GOOGLE_GATHERER = "otj_google_gatherer_error"
    FILE_GATHERER = "otj_file_gatherer_error"
    INTEGRATION_UNAUTHORIZED = "otj_integration_unauthorized"
    QUOTA_EXCEEDED = "otj_quota_exceeded"
    CONFIGURATION = "otj_configuration_error"
    CERTIFICATE_EXPIRING = "otj_certificate_expiring"


class AlarmLevel(StrEnum):
    """How urgent an alarm is."""

    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


ENDPOINT_ALARMS = {
    EndpointType.POLY: AlarmName.POLY_ENDPOINT,
    EndpointType.CISCO: AlarmName.CISCO_ENDPOINT,
    EndpointType.WEBEX: AlarmName.WEBEX_ENDPOINT,
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that a person should look at, raised until the event that disproves it."""

    name: AlarmName
    instance: str
    level: AlarmLevel
    details: str
    raised_at: datetime


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """What the configuration says of an endpoint."""

    name: str
    endpoint_type: EndpointType
    room_email: str
    profile_name: str
    address: str = ""
    raise_alarms: bool = True


@dataclass(frozen=True, slots=True)
class EndpointState:
    """What is known of an endpoint: its facts and its last contact."""

    facts: EndpointFacts
    address: str = ""
    last_contact_time: datetime | None = None
    last_error: str | None = None
    number_of_meetings: int = 0
    last_operation: str = ""
    last_user_agent: str = ""
    last_scheme: str = ""


class IntegrationState(StrEnum):
    """How an integration is doing."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILED = "failed"
    UNAUTHORIZED = "unauthorized"


@dataclass(frozen=True, slots=True)
class IntegrationStatus:
    """One integration: `kind` is exchange, graph, google or file; a quota of 0 means none."""

    name: str
    kind: str
    state: IntegrationState = IntegrationState.OK
    last_success: datetime | None = None
    last_error: str | None = None
    requests_last_24h: int = 0
    quota_24h: int = 0
    sweep_interval_s: float = 0
    content_interval_s: float = 0


class StatusBoard:
    """Holds what was last reported. `now` gives the aware UTC time."""

    _log = Logger()

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.started_at = now()
        self._alarms: dict[tuple[AlarmName, str], Alarm] = {}
        self._endpoints: dict[str, EndpointState] = {}
        self._integrations: dict[str, IntegrationStatus] = {}
        self._requests: dict[str, deque[tuple[datetime, int]]] = {}

    def configure(self, endpoints: Iterable[EndpointFacts], integrations: Iterable[IntegrationStatus]) -> None:
        """Show exactly these endpoints and integrations; what is known of them is kept.

        Alarms of endpoints and integrations that are gone, or no longer raise alarms, are lowered by the caller's
        naming them no more.
        """
        kept = self._endpoints
        self._endpoints = {
            facts.name: replace(kept[facts.name], facts=facts) if facts.name in kept else EndpointState(facts)
            for facts in endpoints}
        known = self._integrations
        self._integrations = {
            i.name: replace(known[i.name], kind=i.kind, quota_24h=i.quota_24h, sweep_interval_s=i.sweep_interval_s,
                            content_interval_s=i.content_interval_s) if i.name in known else i
            for i in integrations}
        endpoint_alarms = set(ENDPOINT_ALARMS.values())
        for name, instance in tuple(self._alarms):
            if name in endpoint_alarms:
                state = self._endpoints.get(instance)
                if (state is None or not state.facts.raise_alarms
                        or ENDPOINT_ALARMS[state.facts.endpoint_type] is not name):
                    self.lower_alarm(name, instance)

    def raise_alarm(self, name: AlarmName, instance: str, details: str,
                    level: AlarmLevel = AlarmLevel.ERROR) -> None:
        """Raise an alarm, or renew the details of a raised one; the time of the first raising stays."""
        key = (name, instance)
        raised = self._alarms.get(key)
        if raised is None:
            self._log.warn("Alarm {alarm} raised for {instance}: {details}",
                           alarm=str(name), instance=instance, details=details)
        self._alarms[key] = Alarm(name, instance, level, details, raised.raised_at if raised else self._now())

    def lower_alarm(self, name: AlarmName, instance: str) -> None:
        """Lower an alarm; one that is not raised is left alone."""
        if self._alarms.pop((name, instance), None) is not None:
            self._log.info("Alarm {alarm} lowered for {instance}", alarm=str(name), instance=instance)

    def alarms(self) -> tuple[Alarm, ...]:
        """All raised alarms, the oldest first."""
        return tuple(sorted(self._alarms.values(), key=lambda a: (a.raised_at, a.name, a.instance)))

    def endpoint_contacted(self, endpoint: str, *, address: str | None = None, meetings: int | None = None,
                           operation: str = "", user_agent: str = "", scheme: str = "") -> None:
        """An endpoint was served or took a push; lowers its alarm. An unknown endpoint is left alone."""
        state = self._endpoints.get(endpoint)
        if state is None:
            return
        self._endpoints[endpoint] = replace(
            state, last_contact_time=self._now(), last_error=None,
            address=state.address if address is None else address,
            number_of_meetings=state.number_of_meetings if meetings is None else meetings,
            last_operation=operation or state.last_operation,
            last_user_agent=user_agent or state.last_user_agent,
            last_scheme=scheme or state.last_scheme)
        self.lower_alarm(ENDPOINT_ALARMS[state.facts.endpoint_type], endpoint)

    def endpoint_failed(self, endpoint: str, error: str, *, alarm: bool = True,
                        level: AlarmLevel = AlarmLevel.ERROR) -> None:
        """Something went wrong with an endpoint; raises its alarm unless the endpoint or the caller forbids it."""
        state = self._endpoints.get(endpoint)
        if state is None:
            return
        self._endpoints[endpoint] = replace(state, last_error=error)
        if alarm and state.facts.raise_alarms:
            self.raise_alarm(ENDPOINT_ALARMS[state.facts.endpoint_type], endpoint, error, level)

    def endpoints(self) -> tuple[EndpointState, ...]:
        """All configured endpoints, in the order of the configuration."""
        return tuple(self._endpoints.values())

    def integration_succeeded(self, integration: str) -> None:
        """An integration answered as it should."""
        status = self._integrations.get(integration)
        if status is not None:
            self._integrations[integration] = replace(
                status, state=IntegrationState.OK, last_success=self._now(), last_error=None)

    def integration_failed(self, integration: str, error: str,
                           state: IntegrationState = IntegrationState.DEGRADED) -> None:
        """An integration failed for some rooms (degraded), for all (failed), or refused the sign-in."""
        status = self._integrations.get(integration)
        if status is not None:
            self._integrations[integration] = replace(status, state=state, last_error=error)

    def count_requests(self, integration: str, requests: int = 1) -> None:
        """Count requests sent to an integration; they are shown for 24 hours."""
        self._requests.setdefault(integration, deque()).append((self._now(), requests))

    def integrations(self) -> tuple[IntegrationStatus, ...]:
        """All configured integrations, in the order of the configuration."""
        oldest = self._now() - BUDGET_WINDOW
        statuses = []
        for status in self._integrations.values():
            counted = self._requests.get(status.name, deque())
            while counted and counted[0][0] < oldest:
                counted.popleft()
            statuses.append(replace(status, requests_last_24h=sum(n for _, n in counted)))
        return tuple(statuses)
