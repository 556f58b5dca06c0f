"""From the configuration to the plain values that each part is handed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from otjd.config.keys import entries
from otjd.config.model import (
    Config,
    Endpoint,
    ExchangeIntegration,
    GoogleIntegration,
    GraphIntegration,
    Integration,
    Profile,
)
from otjd.config.model import Rule as RuleConfig
from otjd.config.problems import shown
from otjd.config.services import JoinDetailsByFamily
from otjd.config.toml_lines import key_line
from otjd.gather.intake import ProfileRules
from otjd.meetings.model import EndpointType, Room
from otjd.meetings.presentation import Policy
from otjd.operate.board import EndpointFacts, IntegrationStatus
from otjd.protocol.google_calendar import REQUESTS_A_MINUTE
from otjd.push.cisco import CiscoEndpoint
from otjd.rules.engine import Engine, Rule, problem_of
from otjd.rules.registry import supported
from otjd.rules.subject import subject_renderer
from otjd.rules.templates import TemplateFailure
from otjd.serve.calls import Account
from otjd.serve.join_details import JoinDetails
from otjd.serve.join_style import DROP, LINE_ENDINGS, SPLIT, JoinStyle
from otjd.serve.wire_log import WireSettings

FILE_SWEEP_S = 2


def room_of(config: Config, endpoint: Endpoint) -> Room:
    """The room of an endpoint as its profile sees it."""
    return Room(endpoint.room_resource_email, config.profile_of(endpoint).name)


def served_endpoints(config: Config) -> tuple[Endpoint, ...]:
    """The endpoints of this node."""
    return tuple(e for e in config.endpoints if config.is_served_here(e))


def rooms(config: Config) -> dict[Room, timedelta]:
    """Every room of this node with how far ahead its agenda reaches."""
    return {room_of(config, e): timedelta(days=config.profile_of(e).display_upcoming_meetings)
            for e in served_endpoints(config)}


def calendars(config: Config, integration: str) -> dict[str, timedelta]:
    """The room calendars to read from an integration, each with the longest view that a profile has of it."""
    reach: dict[str, timedelta] = {}
    for room, ahead in rooms(config).items():
        if config.profile(room.profile).integration == integration:
            reach[room.email] = max(ahead, reach.get(room.email, timedelta()))
    return reach


def engine_rule(rule: RuleConfig) -> Rule:
    """A rule of the configuration as the engine takes it."""
    return Rule(name=rule.name, priority=rule.priority, enabled=rule.enabled, meeting_type=rule.meeting_type,
                domain=rule.domain, company_id=rule.company_id, include_pin=rule.include_pin,
                default_processing_enabled=rule.default_processing_enabled, transform_rule=rule.transform_rule,
                custom_template=rule.custom_template, match_string=rule.match_string,
                replace_string=rule.replace_string)


def rules_of(config: Config, profile: str) -> tuple[Rule, ...]:
    """The rules of a profile, in their order of priority."""
    return tuple(engine_rule(r) for r in config.rules_of(profile))


def policy_of(profile: Profile) -> Policy:
    """The part of a profile that decides what is shown."""
    return Policy(enable_non_video_meetings=profile.enable_non_video_meetings,
                  enable_private_meetings=profile.enable_private_meetings,
                  process_alias_private_meetings=profile.process_alias_private_meetings,
                  replace_subject_type=profile.replace_subject_type,
                  replace_empty_subject=profile.replace_empty_subject)


def profile_rules(config: Config) -> Mapping[str, ProfileRules]:
    """Every profile by name.

    :raises RuleError: a rule does not compile.
    :raises TemplateFailure: a subject template does not compile.
    """
    return {p.name: ProfileRules(
        integration=p.integration, policy=policy_of(p),
        engine=Engine(rules_of(config, p.name), clock=time.thread_time),
        replacement=subject_renderer(p.replace_subject_template, time.thread_time)) for p in config.profiles}


def wire_settings(config: Config) -> WireSettings | None:
    """Where the wire log is written; None while it is off."""
    log = config.log
    if not log.wire:
        return None
    return WireSettings(directory=log.wire_directory or config.node.state_dir / "wire",
                        size=log.wire_size_mb * 1_000_000, files=log.wire_files,
                        endpoints=frozenset(log.wire_endpoints))


def accounts(config: Config) -> tuple[Account, ...]:
    """The logins of all Poly endpoints."""
    return tuple(Account(username=e.poly_username, password=e.poly_password.reveal(), endpoint=e.name,
                         room=room_of(config, e), schemes=config.schemes(e), style=join_style(config, e))
                 for e in served_endpoints(config) if e.endpoint_type is EndpointType.POLY)


def join_style(config: Config, endpoint: Endpoint) -> JoinStyle:
    """How a Poly endpoint is told what to dial."""
    joining = config.joining(endpoint)
    return JoinStyle(family=str(endpoint.poly_family), split=joining.token_form == SPLIT,
                     line_ending=LINE_ENDINGS[joining.token_line_ending], wrap=joining.token_wrap,
                     invitation_text=joining.invitation_text)


def rooms_with_text(config: Config) -> frozenset[Room]:
    """The rooms with an endpoint that shows the text of invitations."""
    return frozenset(room_of(config, e) for e in served_endpoints(config)
                     if e.endpoint_type is EndpointType.POLY and config.joining(e).invitation_text != DROP)


def cisco_endpoints(config: Config) -> tuple[CiscoEndpoint, ...]:
    """All Cisco endpoints to push to, with what they inherit from their profile."""
    found = []
    for endpoint in served_endpoints(config):
        if endpoint.endpoint_type is EndpointType.CISCO:
            profile = config.profile_of(endpoint)
            access = config.access(endpoint)
            found.append(CiscoEndpoint(
                name=endpoint.name, room=room_of(config, endpoint), host=endpoint.api_address, port=access.port,
                username=access.username, password=access.password.reveal(), use_https=access.use_https,
                verify=access.verify, start_buffer=timedelta(minutes=profile.start_buffer),
                end_buffer=timedelta(minutes=profile.end_buffer),
                proxy_url=config.web_proxy.url.reveal() if config.uses_proxy(endpoint) else ""))
    return tuple(found)


def endpoint_facts(config: Config) -> tuple[EndpointFacts, ...]:
    """What the status board shows of every endpoint from the configuration on."""
    return tuple(EndpointFacts(
        name=e.name, endpoint_type=e.endpoint_type, room_email=e.room_resource_email.lower(),
        profile_name=config.profile_of(e).name, address=e.api_address,
        raise_alarms=e.poly_raise_alarms_for_this_endpoint, username=e.poly_username)
        for e in served_endpoints(config))


def what_meetings_are_made_by(config: Config) -> tuple[object, ...]:
    """All that decides which meetings come of a calendar: with another one calendars are read anew."""
    return config.profiles, config.rules, rooms(config), rooms_with_text(config)


class Quota(NamedTuple):
    """Most requests in 24 hours, and in a minute where that is limited."""

    day: int
    minute: int | None = None


def quota_of(integration: Integration) -> Quota:
    """How many requests an integration may send; 0 a day means any number."""
    match integration:
        case ExchangeIntegration():
            return Quota(integration.find_items_request_quota)
        case GraphIntegration():
            return Quota(integration.request_quota)
        case GoogleIntegration():
            return Quota(integration.maximum_number_of_api_requests, REQUESTS_A_MINUTE)
    return Quota(0)


def integrations(config: Config) -> tuple[IntegrationStatus, ...]:
    """What the status board shows of every integration from the configuration on."""
    return tuple(
        IntegrationStatus(i.name, i.kind, sweep_interval_s=FILE_SWEEP_S, content_interval_s=FILE_SWEEP_S)
        if i.kind == "file" else IntegrationStatus(i.name, i.kind, quota_24h=quota_of(i).day)
        for i in config.integrations)


def rule_problems(config: Config, file: Path | None = None) -> list[str]:
    """What is wrong with rules and templates, a line each: they are compiled as the service would.

    `file` is where they were read from; with it each line says where in the file.
    """
    text = _text_of(file)
    found = []
    for number, rule in enumerate(config.rules, 1):
        wrong = problem_of(engine_rule(rule))
        if wrong is not None:
            place = f"{_place(file, text, 'rules', number, wrong.field)} {shown(rule.name)}.{wrong.field}"
            found.append(f"{place}: {wrong.problem}")
    for number, profile in enumerate(config.profiles, 1):
        try:
            subject_renderer(profile.replace_subject_template, time.thread_time)
        except TemplateFailure as error:
            key = "replace_subject_template"
            found.append(f"{_place(file, text, 'profiles', number, key)} {shown(profile.name)}.{key}: {error}")
    return found + [f"calendar_service.{key} {path}: {problem}" for key, path in _body_templates(config)
                    if (problem := _template_problem(path))]


def _text_of(file: Path | None) -> str:
    try:
        return file.read_text("utf-8-sig") if file else ""
    except (OSError, UnicodeDecodeError):
        return ""  # it has been read before; only the lines cannot be told now


def _place(file: Path | None, text: str, table: str, number: int, key: str) -> str:
    line = key_line(text, table, number, key) if text else None
    return f"{f'{file}: ' if file else ''}{f'line {line}, ' if line else ''}{table}[{number}]"


def notices(config: Config) -> list[str]:
    """What the configuration asks for that this version does not do, a line each."""
    found = [f'rule "{r.name}" of profile "{r.profile}" is skipped: meeting type {r.meeting_type} is not '
             "supported by this version" for r in config.rules if r.enabled and r.meeting_type not in supported()]
    found += [f'endpoint "{e.name}" is not served: type WEBEX is not supported by this version'
              for e in config.endpoints if e.endpoint_type is EndpointType.WEBEX]
    served = {e.name for e in served_endpoints(config)}
    found += [f'endpoint "{e.name}" is not served here: its group is at another location than this node, '
              f'"{config.node.location}"' for e in config.endpoints if e.name not in served]
    return found


def _body_templates(config: Config) -> list[tuple[str, Path]]:
    """The operator's templates of the body that Poly endpoints are given, by their keys."""
    service = config.calendar_service
    by_family = {f"join_details_by_family.{name}": getattr(service.join_details_by_family, name)
                 for name in entries(JoinDetailsByFamily)}
    return [(key, path) for key, path in {"join_details": service.join_details, **by_family}.items() if path]


def _template_problem(path: Path) -> str:
    """What is wrong with a template of the body; empty where nothing is."""
    try:
        JoinDetails(path.read_text("utf-8"), clock=time.thread_time)
    except (OSError, UnicodeDecodeError, TemplateFailure) as error:
        return str(error)
    return ""


def join_details(config: Config) -> JoinDetails:
    """The templates of the body that Poly endpoints are given.

    :raises OSError: an operator's template cannot be read.
    :raises TemplateFailure: one does not compile.
    """
    texts = {key: path.read_text("utf-8") for key, path in _body_templates(config)}
    return JoinDetails(texts.pop("join_details", None), clock=time.thread_time,
                       by_family={key.rpartition(".")[2]: text for key, text in texts.items()})
