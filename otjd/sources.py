"""The calendar systems of the configuration: how each is signed in to and asked, as a source for its gatherer."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from otjd import sign_in
from otjd.config.model import (
    AuthenticationMethod,
    Config,
    ExchangeIntegration,
    GoogleIntegration,
    GraphIntegration,
)
from otjd.gather.exchange import ExchangeSource
from otjd.gather.exchange_autodiscover import Autodiscover, FixedPlace, Locator
from otjd.gather.exchange_client import ExchangeClient
from otjd.gather.exchange_login import BasicLogin, Gate, Login, NtlmLogin, TokenLogin
from otjd.gather.google import GoogleSource
from otjd.gather.graph import GraphSource
from otjd.gather.graph_client import GraphClient
from otjd.gather.graph_notifications import GraphNotifications
from otjd.gather.oauth import service_account
from otjd.gather.service_records import service_lookup
from otjd.gather.source import CalendarSource, Spend
from otjd.gather.state_files import state_file_name
from otjd.gather.tokens import TokenSource
from otjd.outbound.client import HttpClient
from otjd.protocol.graph_requests import GraphApi
from otjd.seam import InThread
from otjd.serve.calls import Notice, NoticeService, Reply
from otjd.sign_in import CloudIntegration


@dataclass(frozen=True, slots=True)
class CalendarSystem:
    """A calendar system: its source, the client for all requests to it, and what takes its notices where it sends
    any."""

    source: CalendarSource
    http: HttpClient
    notices: NoticeService | None = None

    async def close(self) -> None:
        """Close the connections, once the source has stopped."""
        await self.http.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every source needs of the node that it runs in."""

    reactor: Any
    now: Callable[[], datetime]
    in_thread: InThread
    spend: Spend


def calendar_system(config: Config, integration: CloudIntegration, around: Surroundings) -> CalendarSystem:
    """The calendar system of an integration; nothing is asked of it yet."""
    http = sign_in.http_client(config, integration, around.reactor)
    tokens = sign_in.token_source(config, integration, http, reactor=around.reactor, in_thread=around.in_thread)
    match integration:
        case ExchangeIntegration():
            return CalendarSystem(_exchange(integration, http, tokens, around), http)
        case GraphIntegration():
            return _graph(config, integration, http, _needed(tokens), around)
        case GoogleIntegration():
            return _google(integration, http, _needed(tokens), around)


def _needed(tokens: TokenSource | None) -> TokenSource:
    if tokens is None:
        raise TypeError("only Exchange can be signed in to without a token")
    return tokens


def exchange_client(integration: ExchangeIntegration, http: HttpClient, tokens: TokenSource | None,
                    around: Surroundings) -> ExchangeClient:
    """What asks an Exchange server as the service account."""
    account = integration.service_account_username
    password = integration.service_account_password.reveal()
    gate = Gate(around.reactor, account)
    login: Login
    if tokens is not None:
        login = TokenLogin(http, tokens, account)
    elif integration.authentication_method is AuthenticationMethod.NTLM:
        login = NtlmLogin(http, gate, account, password)
    else:
        login = BasicLogin(http, gate, account, password)
    locator: Locator
    if integration.ews_url:
        locator = FixedPlace(integration.ews_url)
    else:
        locator = Autodiscover(login=login, http=http, urls=integration.autodiscover_urls, account=account,
                               clock=around.reactor, spend=around.spend, look_up=service_lookup(around.reactor))
    return ExchangeClient(login=login, locator=locator, spend=around.spend, clock=around.reactor,
                          in_thread=around.in_thread)


def _exchange(integration: ExchangeIntegration, http: HttpClient, tokens: TokenSource | None,
              around: Surroundings) -> ExchangeSource:
    return ExchangeSource(exchange_client(integration, http, tokens, around), clock=around.reactor,
                          in_thread=around.in_thread, jitter=random.random)


def _graph(config: Config, integration: GraphIntegration, http: HttpClient, tokens: TokenSource,
           around: Surroundings) -> CalendarSystem:
    client = GraphClient(http, tokens, around.spend, integration.client_id)
    api = GraphApi(integration.graph_api_domain)
    notifications = None
    if integration.notification_url:
        notifications = GraphNotifications(
            client, api, url=integration.notification_url, integration=integration.name, clock=around.reactor,
            now=around.now, jitter=random.random, in_thread=around.in_thread,
            state=config.node.state_dir / f"subscriptions-{state_file_name(integration.name)}")
    source = GraphSource(client, api, integration=integration.name, in_thread=around.in_thread,
                         notifications=notifications)
    if notifications is None:
        return CalendarSystem(source, http)
    handle = notifications.handle

    def take(notice: Notice) -> Reply:
        status, content_type, body = handle({k: list(v) for k, v in notice.query.items()}, notice.body)
        return Reply(status, body, content_type)

    return CalendarSystem(source, http, take)


def account_of(integration: GoogleIntegration) -> str:
    """Who signs in, for words about sharing."""
    if not integration.use_user_consent:
        with suppress(ValueError):  # a key that cannot be used is told of when it is
            found = service_account(integration.client_email, integration.private_key.reveal())
            if found["client_email"]:
                return str(found["client_email"])
    return "the account that signed in"


def _google(integration: GoogleIntegration, http: HttpClient, tokens: TokenSource,
            around: Surroundings) -> CalendarSystem:
    source = GoogleSource(
        integration=integration.name, http=http, tokens=tokens, api_url=integration.api_url, spend=around.spend,
        clock=around.reactor, now=around.now, in_thread=around.in_thread, jitter=random.random,
        account=account_of(integration),
        notification_url=integration.notification_url)

    def take(notice: Notice) -> Reply:
        return Reply(source.handle(notice.headers), b"", "text/plain; charset=utf-8")

    return CalendarSystem(source, http, take if integration.notification_url else None)
