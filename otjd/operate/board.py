"""StatusBoard: the one interface through which every part reports how it is doing."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from twisted.logger import Logger

from otjd.meetings.model import EndpointType

BUDGET_WINDOW = timedelta(hours=24)
"""How far back requests are counted."""

BUDGET_STEP = timedelta(minutes=1)
"""Requests of one step are counted together, so that a busy day takes 1,440 numbers, not a million."""

DETAILS_LIMIT = 8096
"""Characters of an alarm's details or of a last error that are kept: part of them comes from outside."""


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
    CONNECTION_LIMIT = "otj_connection_limit"


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

GATHERER_ALARMS = {
    "exchange": AlarmName.EXCHANGE_GATHERER,
    "graph": AlarmName.GRAPH_GATHERER,
    "google": AlarmName.GOOGLE_GATHERER,
    "file": AlarmName.FILE_GATHERER,
}
"""The alarm of each kind of integration; its instance is a room's address, or the integration when all fail."""

_INTEGRATION_ALARMS = frozenset({AlarmName.INTEGRATION_UNAUTHORIZED, AlarmName.QUOTA_EXCEEDED})


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
    """What the configuration says of an endpoint. `username` is what a Poly endpoint signs in with."""

    name: str
    endpoint_type: EndpointType
    room_email: str
    profile_name: str
    address: str = ""
    raise_alarms: bool = True
    username: str = ""


@dataclass(frozen=True, slots=True)
class EndpointState:
    """What is known of an endpoint: its facts, since when it is configured, and its last contact."""

    facts: EndpointFacts
    address: str = ""
    last_contact_time: datetime | None = None
    last_error: str | None = None
    number_of_meetings: int = 0
    last_operation: str = ""
    last_user_agent: str = ""
    last_scheme: str = ""
    configured_at: datetime | None = None


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


@dataclass(frozen=True, slots=True)
class RoomReport:
    """What an integration has to say of a room. `detector` is how a change is noticed first: `push` (news of it
    comes), `sweep` (many rooms are asked when they are busy), `poll` (it is read again and again)."""

    integration: str
    last_success: datetime | None = None
    last_error: str | None = None
    requests_last_24h: int = 0
    detector: str = "poll"


class StatusBoard:
    """Holds what was last reported. `now` gives the aware UTC time."""

    _log = Logger()

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.started_at = now()
        self._rule_failures: Counter[tuple[str, str]] = Counter()
        self._alarms: dict[tuple[AlarmName, str], Alarm] = {}
        self._endpoints: dict[str, EndpointState] = {}
        self._integrations: dict[str, IntegrationStatus] = {}
        self._requests: dict[str, deque[tuple[datetime, int]]] = {}
        self._counted: dict[str, Callable[[], int]] = {}
        self._rooms: dict[str, RoomReport] = {}

    def configure(self, endpoints: Iterable[EndpointFacts], integrations: Iterable[IntegrationStatus]) -> None:
        """Show exactly these endpoints and integrations; what is known of them is kept.

        Alarms of endpoints, rooms and integrations that are gone, or that no longer raise alarms, are lowered. An
        endpoint whose type changed is another device: it starts anew.
        """
        self._endpoints = {facts.name: self._state_of(facts) for facts in endpoints}
        before, self._integrations = self._integrations, {i.name: self._status_of(i) for i in integrations}
        self._counted = {name: used for name, used in self._counted.items() if name in self._integrations
                         and name in before and self._integrations[name].kind == before[name].kind}
        rooms = {state.facts.room_email.strip().lower() for state in self._endpoints.values()}
        self._rooms = {email: report for email, report in self._rooms.items()
                       if email in rooms and report.integration in self._integrations}
        for name, instance in tuple(self._alarms):
            if not self._may_stay(name, instance, rooms):
                self.lower_alarm(name, instance)

    def _state_of(self, facts: EndpointFacts) -> EndpointState:
        state = self._endpoints.get(facts.name)
        if state is None or state.facts.endpoint_type is not facts.endpoint_type:
            return EndpointState(facts, configured_at=self._now())
        if state.facts.address != facts.address:
            return replace(state, facts=facts, address="")
        return replace(state, facts=facts)

    def _status_of(self, configured: IntegrationStatus) -> IntegrationStatus:
        known = self._integrations.get(configured.name)
        if known is None or known.kind != configured.kind:
            return configured
        return replace(known, quota_24h=configured.quota_24h,
                       sweep_interval_s=configured.sweep_interval_s or known.sweep_interval_s,
                       content_interval_s=configured.content_interval_s or known.content_interval_s)

    def _may_stay(self, name: AlarmName, instance: str, rooms: Container[str]) -> bool:
        if name in ENDPOINT_ALARMS.values():
            state = self._endpoints.get(instance)
            return (state is not None and state.facts.raise_alarms
                    and ENDPOINT_ALARMS[state.facts.endpoint_type] is name)
        if name in _INTEGRATION_ALARMS:
            integration = self._integrations.get(instance)  # files have neither quota nor sign-in
            return integration is not None and integration.kind != "file"
        if name in GATHERER_ALARMS.values():
            of_kind = {i.name for i in self._integrations.values() if GATHERER_ALARMS.get(i.kind) is name}
            return instance in of_kind or (bool(of_kind) and instance.strip().lower() in rooms)
        return True

    def raise_alarm(self, name: AlarmName, instance: str, details: str,
                    level: AlarmLevel = AlarmLevel.ERROR) -> None:
        """Raise an alarm, or renew the details of a raised one; the time of the first raising stays."""
        key = (name, instance)
        raised = self._alarms.get(key)
        if raised is None:
            self._log.warn("Alarm {alarm} raised for {instance}: {details}", alarm=str(name), instance=instance,
                           details=details[:DETAILS_LIMIT], **self._subject(name, instance))
        self._alarms[key] = Alarm(name, instance, level, details[:DETAILS_LIMIT],
                                  raised.raised_at if raised else self._now())

    def lower_alarm(self, name: AlarmName, instance: str) -> None:
        """Lower an alarm; one that is not raised is left alone."""
        if self._alarms.pop((name, instance), None) is not None:
            self._log.info("Alarm {alarm} lowered for {instance}", alarm=str(name), instance=instance,
                           **self._subject(name, instance))

    def _subject(self, name: AlarmName, instance: str) -> dict[str, str]:
        """The field that names what an alarm is about, as every log line about it must."""
        if name in ENDPOINT_ALARMS.values():
            return {"endpoint": instance}
        if name in _INTEGRATION_ALARMS or (name in GATHERER_ALARMS.values() and instance in self._integrations):
            return {"integration": instance}
        return {"room": instance} if name in GATHERER_ALARMS.values() else {}

    def alarms(self) -> tuple[Alarm, ...]:
        """All raised alarms, the oldest first."""
        return tuple(sorted(self._alarms.values(), key=lambda a: (a.raised_at, a.name, a.instance)))

    def endpoint_contacted(self, endpoint: str, *, address: str | None = None, meetings: int | None = None,
                           operation: str = "", user_agent: str = "", scheme: str = "") -> None:
        """An endpoint was served or took a push; lowers its alarm. An unknown endpoint is left alone."""
        state = self._endpoints.get(endpoint)
        if state is None:
            return
        # not by `replace`, which is slow: every request is a contact
        self._endpoints[endpoint] = EndpointState(
            facts=state.facts, last_contact_time=self._now(), last_error=None, configured_at=state.configured_at,
            address=state.address if address is None else address,
            number_of_meetings=state.number_of_meetings if meetings is None else meetings,
            last_operation=operation or state.last_operation,
            last_user_agent=user_agent or state.last_user_agent,
            last_scheme=scheme or state.last_scheme)
        if self._alarms:
            self.lower_alarm(ENDPOINT_ALARMS[state.facts.endpoint_type], endpoint)

    def endpoint_failed(self, endpoint: str, error: str, *, alarm: bool = True,
                        level: AlarmLevel = AlarmLevel.ERROR) -> None:
        """Something went wrong with an endpoint; raises its alarm unless the endpoint or the caller forbids it."""
        state = self._endpoints.get(endpoint)
        if state is None:
            return
        self._endpoints[endpoint] = replace(state, last_error=error[:DETAILS_LIMIT])
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
            self._integrations[integration] = replace(status, state=state, last_error=error[:DETAILS_LIMIT])

    def integration_planned(self, integration: str, *, quota_24h: int, sweep_interval_s: float,
                            content_interval_s: float) -> None:
        """How often an integration asks at present, and what it may spend."""
        status = self._integrations.get(integration)
        if status is not None:
            self._integrations[integration] = replace(
                status, quota_24h=quota_24h, sweep_interval_s=sweep_interval_s,
                content_interval_s=content_interval_s)

    def room_reported(self, email: str, report: RoomReport) -> None:
        """What is known of a room's calendar, by its address in small letters."""
        if report.last_error is not None and len(report.last_error) > DETAILS_LIMIT:
            report = replace(report, last_error=report.last_error[:DETAILS_LIMIT])
        self._rooms[email] = report

    def room_reports(self) -> dict[str, RoomReport]:
        """What was last reported of each room, by its address."""
        return dict(self._rooms)

    def rule_failed(self, profile: str, rule: str) -> None:
        """A rule could not be applied to a meeting."""
        self._rule_failures[profile, rule] += 1

    def rule_failures(self) -> dict[tuple[str, str], int]:
        """How often rules failed since the start, by profile and rule."""
        return dict(self._rule_failures)

    def requests_counted_by(self, integration: str, used: Callable[[], int]) -> None:
        """Ask `used` for the requests of the last 24 hours of an integration that keeps count of them itself."""
        self._counted[integration] = used

    def count_requests(self, integration: str, requests: int = 1) -> None:
        """Count requests sent to an integration that does not count them itself; they are shown for 24 hours, to
        the minute."""
        counted = self._requests.setdefault(integration, deque())
        now = self._now()
        if counted and timedelta() <= now - counted[-1][0] < BUDGET_STEP:
            since, before = counted[-1]
            counted[-1] = (since, before + requests)
        else:
            self._forget_old(counted, now)
            counted.append((now, requests))

    def integrations(self) -> tuple[IntegrationStatus, ...]:
        """All configured integrations, in the order of the configuration."""
        now = self._now()
        statuses = []
        for status in self._integrations.values():
            if (used := self._counted.get(status.name)) is not None:
                statuses.append(replace(status, requests_last_24h=used()))
                continue
            counted = self._requests.get(status.name, deque())
            self._forget_old(counted, now)
            statuses.append(replace(status, requests_last_24h=sum(n for _, n in counted)))
        return tuple(statuses)

    @staticmethod
    def _forget_old(counted: deque[tuple[datetime, int]], now: datetime) -> None:
        while counted and now - counted[0][0] > BUDGET_WINDOW:
            counted.popleft()
