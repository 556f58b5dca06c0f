"""Where calendars come from: [[file_integrations]], [[exchange_integrations]], [[graph_…]], [[google_…]]."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from otjd.config.keys import key
from otjd.config.secret import Secret
from otjd.config.shapes import AUTHORITY, EMAIL, GUID, NAME, PUBLIC_URL, SVC_URL, URL

NAME_DOC = "Name of the integration, unique among all kinds; profiles refer to it."
DESCRIPTION_DOC = "What you want to note about it."
PROXY_DOC = "Do not use the web proxy of [web_proxy]."
CA_DOC = "PEM file of further certificate authorities to trust."
NOTIFICATION_DOC = ("Public https URL that ends at this node's `/notifications/<name>`, for notifications of "
                    "changes; empty: no notifications.")
QUOTA_DOC = "Most requests in 24 hours."
QUOTA = (10_000, 10_000_000)


class AuthenticationMethod(StrEnum):
    """How the service account signs in to Exchange."""

    BASIC = "BASIC"
    NTLM = "NTLM"
    OAUTH = "OAUTH"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileIntegration:
    """A folder of iCalendar files, one `<room email>.ics` a room, read again within 2 seconds of a change."""

    kind: ClassVar[str] = "file"
    name: str = field(metadata=key(NAME_DOC, longest=250, shape=NAME))
    description: str = field(default="", metadata=key(DESCRIPTION_DOC, longest=250))
    directory: Path = field(metadata=key("The folder."))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeIntegration:
    """An Exchange server on premises, read by EWS."""

    kind: ClassVar[str] = "exchange"
    name: str = field(metadata=key(NAME_DOC, longest=250, shape=NAME))
    description: str = field(default="", metadata=key(DESCRIPTION_DOC, longest=250))
    authentication_method: AuthenticationMethod = field(default=AuthenticationMethod.BASIC, metadata=key(
        "How the service account signs in."))
    service_account_username: str = field(metadata=key(
        "The service account that may read the room mailboxes.", longest=100, shape=NAME))
    service_account_password: Secret = field(default=Secret(), metadata=key(
        "Its password; needed for BASIC and NTLM.", longest=100))
    ews_url: str = field(default="", metadata=key(
        "URL of the server's `/EWS/Exchange.asmx`; empty: Autodiscover for each room.", longest=255, shape=URL))
    autodiscover_urls: tuple[str, ...] = field(default=(), metadata=key(
        "Autodiscover services to ask first.", longest=255, shape=SVC_URL))
    find_items_request_quota: int = field(default=1_000_000, metadata=key(QUOTA_DOC, limits=QUOTA))
    disable_proxy: bool = field(default=False, metadata=key(PROXY_DOC))
    ca_file: Path | None = field(default=None, metadata=key(CA_DOC))
    oauth_client_id: str = field(default="", metadata=key("Client id; needed for OAUTH.", longest=250))
    oauth_auth_endpoint: str = field(default="", metadata=key(
        "URL of the sign-in page; needed for OAUTH.", longest=255, shape=URL))
    oauth_token_endpoint: str = field(default="", metadata=key(
        "URL that gives tokens; needed for OAUTH.", longest=255, shape=URL))
    oauth_redirect_uri: str = field(default="", metadata=key(
        "URL of the operator service that the sign-in comes back to; needed for OAUTH.", longest=255, shape=URL))


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphIntegration:
    """Microsoft 365, read by Microsoft Graph."""

    kind: ClassVar[str] = "graph"
    name: str = field(metadata=key(NAME_DOC, longest=250, shape=NAME))
    description: str = field(default="", metadata=key(DESCRIPTION_DOC, longest=250))
    client_id: str = field(metadata=key("Application (client) ID of the app registration.", shape=GUID))
    client_secret: Secret = field(metadata=key("Value of its client secret.", longest=100))
    oauth_token_url: str = field(metadata=key(
        "URL that gives tokens, with your own tenant in it.", longest=255, shape=URL))
    graph_api_domain: str = field(default="graph.microsoft.com", metadata=key(
        "Where Graph is; differs for national clouds.", longest=192, shape=AUTHORITY))
    notification_url: str = field(default="", metadata=key(NOTIFICATION_DOC, longest=255, shape=PUBLIC_URL))
    request_quota: int = field(default=1_000_000, metadata=key(QUOTA_DOC, limits=QUOTA))
    disable_proxy: bool = field(default=False, metadata=key(PROXY_DOC))
    ca_file: Path | None = field(default=None, metadata=key(CA_DOC))


@dataclass(frozen=True, slots=True, kw_only=True)
class GoogleIntegration:
    """Google Workspace, read by the Google Calendar API."""

    kind: ClassVar[str] = "google"
    name: str = field(metadata=key(NAME_DOC, longest=250, shape=NAME))
    description: str = field(default="", metadata=key(DESCRIPTION_DOC, longest=250))
    client_email: str = field(default="", metadata=key(
        "Address of the service account; may stay empty where `private_key` is the JSON key file.",
        longest=256, shape=EMAIL))
    private_key: Secret = field(default=Secret(), metadata=key(
        "Private key of the service account: PEM, or the whole JSON key file.", longest=12288))
    use_user_consent: bool = field(default=False, metadata=key(
        "Sign in as a user in place of a service account; needs `client_id`, `client_secret` and `redirect_uri`."))
    client_id: str = field(default="", metadata=key("OAuth client id, for user consent.", longest=250))
    client_secret: Secret = field(default=Secret(), metadata=key("OAuth client secret, for user consent.",
                                                                 longest=250))
    redirect_uri: str = field(default="", metadata=key(
        "URL of the operator service that the sign-in comes back to, for user consent.", longest=255, shape=URL))
    auth_endpoint: str = field(default="https://accounts.google.com/o/oauth2/v2/auth", metadata=key(
        "URL of the sign-in page.", longest=255, shape=URL))
    token_endpoint: str = field(default="https://oauth2.googleapis.com/token", metadata=key(
        "URL that gives tokens.", longest=255, shape=URL))
    api_url: str = field(default="https://www.googleapis.com/calendar/v3", metadata=key(
        "URL of the Calendar API.", longest=255, shape=URL))
    maximum_number_of_api_requests: int = field(default=900_000, metadata=key(
        f"{QUOTA_DOC} The limits per minute are kept as well.", limits=(10_000, None)))
    notification_url: str = field(default="", metadata=key(NOTIFICATION_DOC, longest=255, shape=PUBLIC_URL))
    disable_proxy: bool = field(default=False, metadata=key(PROXY_DOC))
    ca_file: Path | None = field(default=None, metadata=key(CA_DOC))


Integration = FileIntegration | ExchangeIntegration | GraphIntegration | GoogleIntegration
