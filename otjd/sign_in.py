"""How each calendar system is reached and signed in to, from the configuration."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from otjd.config.model import (
    AuthenticationMethod,
    Config,
    ExchangeIntegration,
    GoogleIntegration,
    GraphIntegration,
    Integration,
)
from otjd.gather.consent import Consent, exchange_consent, google_consent
from otjd.gather.exchange_turns import MOST_AT_ONCE
from otjd.gather.oauth import exchange_tokens, google_service_tokens, google_user_tokens, graph_tokens
from otjd.gather.source import READS_AT_ONCE
from otjd.gather.token_store import TokenStore
from otjd.gather.tokens import TokenSource
from otjd.outbound.client import HttpClient
from otjd.seam import InThread

CloudIntegration = ExchangeIntegration | GraphIntegration | GoogleIntegration


def http_client(config: Config, integration: CloudIntegration, reactor: Any) -> HttpClient:
    """The client for all requests of an integration, those for its tokens too."""
    connections = MOST_AT_ONCE if isinstance(integration, ExchangeIntegration) else READS_AT_ONCE
    return HttpClient(reactor, ca_file=integration.ca_file, connections_per_host=connections,
                      proxy_url="" if integration.disable_proxy else config.web_proxy.url.reveal())


def consent_of(integration: Integration) -> Consent | None:
    """The sign-in that a person makes for an integration; None where none is needed."""
    if isinstance(integration, ExchangeIntegration):
        if integration.authentication_method is not AuthenticationMethod.OAUTH:
            return None
        return exchange_consent(
            integration=integration.name, auth_endpoint=integration.oauth_auth_endpoint,
            token_endpoint=integration.oauth_token_endpoint, client_id=integration.oauth_client_id,
            redirect_uri=integration.oauth_redirect_uri, username=integration.service_account_username)
    if isinstance(integration, GoogleIntegration) and integration.use_user_consent:
        return google_consent(
            integration=integration.name, auth_endpoint=integration.auth_endpoint,
            token_endpoint=integration.token_endpoint, client_id=integration.client_id,
            client_secret=integration.client_secret.reveal(), redirect_uri=integration.redirect_uri)
    return None


def token_store(config: Config, integration: Integration) -> TokenStore:
    """Where the refresh token of an integration is kept."""
    return TokenStore(config.node.state_dir, integration.name, config.node.state_key.reveal())


def token_source(config: Config, integration: CloudIntegration, http: HttpClient, *, reactor: Any,
                 in_thread: InThread) -> TokenSource | None:
    """What gives the access tokens for an integration; None for Exchange with BASIC or NTLM."""
    if isinstance(integration, GraphIntegration):
        return graph_tokens(
            http, reactor=reactor, in_thread=in_thread, integration=integration.name,
            token_url=integration.oauth_token_url, client_id=integration.client_id,
            client_secret=integration.client_secret.reveal(),
            scope=f"https://{urlsplit(f'//{integration.graph_api_domain}').hostname}/.default")
    consent = consent_of(integration)
    if consent is None:
        if isinstance(integration, ExchangeIntegration):
            return None
        return google_service_tokens(
            http, reactor=reactor, in_thread=in_thread, integration=integration.name,
            client_email=integration.client_email, private_key=integration.private_key.reveal(),
            token_endpoint=integration.token_endpoint)
    tokens = exchange_tokens if isinstance(integration, ExchangeIntegration) else google_user_tokens
    return tokens(http, reactor=reactor, in_thread=in_thread, consent=consent,
                  store=token_store(config, integration))
