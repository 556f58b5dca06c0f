"""The documents of the operator's JSON addresses, built from one snapshot. Pure: no clock, no sockets.

The keys are those of the contract, section 4; what is there beyond it is listed in docs/operating.md. Times are
RFC 3339 in UTC with `Z`, in whole seconds.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from otjd.meetings.cache import Agenda, Freshness, MeetingCache
from otjd.meetings.model import EndpointType, Meeting, Room
from otjd.operate.board import Alarm, EndpointState, IntegrationStatus, RoomReport, StatusBoard

IN_CONTACT = {
    EndpointType.POLY: timedelta(minutes=10),
    EndpointType.CISCO: timedelta(hours=2),
    EndpointType.WEBEX: timedelta(hours=2),
}
"""An endpoint is in contact until its last contact is this long ago: a Poly endpoint asks at least every five
minutes; meetings are pushed to the others when they change and once an hour, so two hours are two pushes."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What the configuration says of this node, and the version that runs."""

    name: str
    location: str
    version: str
    fips: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that is shown, as it was at `taken_at`. It never changes, so a thread may read it."""

    node: NodeFacts
    taken_at: datetime
    started_at: datetime
    endpoints: tuple[EndpointState, ...]
    integrations: tuple[IntegrationStatus, ...]
    alarms: tuple[Alarm, ...]
    agendas: tuple[Agenda, ...]
    room_reports: Mapping[str, RoomReport] = field(default_factory=dict)
    rule_failures: Mapping[tuple[str, str], int] = field(default_factory=dict)


def take_snapshot(node: NodeFacts, board: StatusBoard, cache: MeetingCache, now: datetime) -> Snapshot:
    """What `board` and `cache` hold at `now`; cheap, to be called in the reactor's thread."""
    return Snapshot(node, now, board.started_at, board.endpoints(), board.integrations(), board.alarms(),
                    cache.agendas(), board.room_reports(), board.rule_failures())


def rfc3339(moment: datetime) -> str:
    """An aware datetime as RFC 3339 in UTC, whole seconds."""
    return moment.astimezone(UTC).isoformat()[:19] + "Z"


def in_contact(state: EndpointState, now: datetime) -> bool:
    """Whether the last contact of an endpoint is as recent as its type lets expect."""
    last = state.last_contact_time
    return last is not None and now - last < IN_CONTACT[state.facts.endpoint_type]


def status_document(snapshot: Snapshot) -> dict[str, Any]:
    """`/status.json`. Meetings are counted once a room, however many endpoints show them."""
    freshness = Counter(agenda.freshness for agenda in snapshot.agendas)
    types = Counter(state.facts.endpoint_type for state in snapshot.endpoints)
    node = snapshot.node
    return {
        "node": {"name": node.name, "location": node.location, "version": node.version, "fips": node.fips,
                 "started_at": rfc3339(snapshot.started_at)},
        "rooms": {"total": len(snapshot.agendas), "fresh": freshness[Freshness.FRESH],
                  "stale": freshness[Freshness.STALE], "never_read": freshness[Freshness.NEVER_READ]},
        "meetings": {"total": sum(len(agenda.meetings) for agenda in snapshot.agendas),
                     "joinable": sum(map(_joinable, snapshot.agendas))},
        "endpoints": {"total": len(snapshot.endpoints),
                      "in_contact": sum(in_contact(state, snapshot.taken_at) for state in snapshot.endpoints),
                      "by_type": {str(kind): types[kind] for kind in sorted(EndpointType)}},
        **integrations_document(snapshot),
        **alarms_document(snapshot),
    }


def meetings_document(snapshot: Snapshot, *, room: str = "", endpoint: str = "",
                      profile: str = "") -> dict[str, Any]:
    """`/api/v1/meetings`: one row per endpoint and meeting, ascending by start.

    `room` (without letter case), `endpoint` and `profile` keep the rows with that value; empty keeps all.
    """
    return {"meetings": list(meeting_rows(snapshot, room=room, endpoint=endpoint, profile=profile))}


def meeting_rows(snapshot: Snapshot, *, room: str = "", endpoint: str = "",
                 profile: str = "") -> Iterator[dict[str, Any]]:
    """The rows of `meetings_document` one at a time: a big node has hundreds of thousands."""
    agendas = {agenda.room: agenda for agenda in snapshot.agendas}
    shown: list[tuple[datetime, datetime, str, str, Meeting, Agenda]] = []
    for state in snapshot.endpoints:
        name, where = state.facts.name, _room_of(state)
        agenda = agendas.get(where)
        if (agenda is None or (endpoint and name != endpoint) or (profile and where.profile != profile)
                or (room and where.email != room.strip().lower())):
            continue
        shown.extend((m.start_time, m.end_time, name, m.id, m, agenda) for m in agenda.meetings)
    shown.sort(key=lambda row: row[:4])
    for _, _, name, _, meeting, agenda in shown:
        yield _meeting_row(meeting, agenda, name)


def endpoints_document(snapshot: Snapshot) -> dict[str, Any]:
    """`/api/v1/endpoints`: every configured endpoint, in the order of the configuration."""
    return {"endpoints": [{
        "endpoint_name": state.facts.name,
        "endpoint_type": str(state.facts.endpoint_type),
        "endpoint_address": state.address or state.facts.address,
        "room_email": _room_of(state).email,
        "profile_name": state.facts.profile_name,
        "current_node": snapshot.node.name,
        "last_contact_time": _optional(state.last_contact_time),
        "last_error": state.last_error,
        "number_of_meetings": state.number_of_meetings,
        "in_contact": in_contact(state, snapshot.taken_at),
        "last_operation": state.last_operation,
        "last_user_agent": state.last_user_agent,
        "last_authentication_scheme": state.last_scheme,
    } for state in snapshot.endpoints]}


def rooms_document(snapshot: Snapshot) -> dict[str, Any]:
    """`/api/v1/rooms`: every room as one profile sees it, with the endpoints in it."""
    endpoints: dict[Room, list[str]] = {}
    for state in snapshot.endpoints:
        endpoints.setdefault(_room_of(state), []).append(state.facts.name)
    integrations = {status.name: status for status in snapshot.integrations}
    return {"rooms": [{
        "room_email": agenda.room.email,
        "profile_name": agenda.room.profile,
        "freshness": str(agenda.freshness),
        "last_read_time": _optional(agenda.read_at),
        "number_of_meetings": len(agenda.meetings),
        "number_of_joinable_meetings": _joinable(agenda),
        "endpoints": endpoints.get(agenda.room, []),
        **_room_report(snapshot.room_reports.get(agenda.room.email), integrations),
    } for agenda in snapshot.agendas]}


def _room_report(report: RoomReport | None, integrations: Mapping[str, IntegrationStatus]) -> dict[str, Any]:
    """What the integration that reads a room has to say of it; null where it said nothing yet."""
    status = integrations.get(report.integration) if report is not None else None
    return {
        "integration": report and report.integration,
        "last_success": _optional(report.last_success) if report is not None else None,
        "last_error": report and report.last_error,
        "requests_last_24h": report and report.requests_last_24h,
        "detector": report and report.detector,
        "sweep_interval_s": _number(status.sweep_interval_s) if status is not None else None,
        "content_interval_s": _number(status.content_interval_s) if status is not None else None,
    }


def integrations_document(snapshot: Snapshot) -> dict[str, Any]:
    """`/api/v1/integrations`, and the same part of `/status.json`."""
    return {"integrations": [{
        "name": status.name,
        "kind": status.kind,
        "state": str(status.state),
        "last_success": _optional(status.last_success),
        "last_error": status.last_error,
        "requests_last_24h": status.requests_last_24h,
        "quota_24h": status.quota_24h,
        "sweep_interval_s": _number(status.sweep_interval_s),
        "content_interval_s": _number(status.content_interval_s),
    } for status in snapshot.integrations]}


def alarms_document(snapshot: Snapshot) -> dict[str, Any]:
    """`/api/v1/alarms`, and the same part of `/status.json`: the oldest first."""
    return {"alarms": [{
        "name": str(alarm.name),
        "level": str(alarm.level),
        "instance": alarm.instance,
        "details": alarm.details,
        "raised_at": rfc3339(alarm.raised_at),
    } for alarm in snapshot.alarms]}


def rule_failures_document(snapshot: Snapshot) -> dict[str, Any]:
    """`/api/v1/rule_failures`: rules that could not be applied to some meetings since the start."""
    return {"rule_failures": [{"profile_name": profile, "rule": rule, "failures": failures}
                              for (profile, rule), failures in sorted(snapshot.rule_failures.items())]}


def encode(document: Mapping[str, Any]) -> bytes:
    """A document as UTF-8 JSON with a line end.

    Its lists (or iterators) are written an item at a time, so that a thread that writes a long one lets the
    reactor's thread run in between.
    """
    parts = (f"{_text(key)}:{_list(value) if isinstance(value, Iterator | list) else _text(value)}"
             for key, value in document.items())
    # a calendar may hold half of a surrogate pair, which UTF-8 cannot carry
    return ("{" + ",".join(parts) + "}\n").encode("utf-8", "replace")


_text = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _list(items: Iterable[Any]) -> str:
    return "[" + ",".join(map(_text, items)) + "]"


def _meeting_row(meeting: Meeting, agenda: Agenda, endpoint: str) -> dict[str, Any]:
    return {
        "id": meeting.id,
        "subject": meeting.subject,
        "organizer_name": meeting.organizer.name,
        "organizer_email": meeting.organizer.email,
        "start_time": rfc3339(meeting.start_time),
        "end_time": rfc3339(meeting.end_time),
        "last_modified_time": _optional(meeting.last_modified_time),
        "alias": meeting.alias,
        "matched_meeting_processing_rule": meeting.matched_rule,
        "endpoint_name": endpoint,
        "room_email": agenda.room.email,
        "profile_name": agenda.room.profile,
        "private": meeting.is_private,
        "stale": agenda.freshness is not Freshness.FRESH,
    }


def _room_of(state: EndpointState) -> Room:
    return Room(state.facts.room_email, state.facts.profile_name)


def _joinable(agenda: Agenda) -> int:
    return len(agenda.meetings) - [meeting.alias for meeting in agenda.meetings].count(None)


def _optional(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)


def _number(seconds: float) -> float:
    return int(seconds) if float(seconds).is_integer() else seconds
