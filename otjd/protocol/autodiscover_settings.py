"""What Autodiscover's SOAP service tells of a mailbox and of a domain: the names of settings, and their values."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from otjd.protocol.ews_requests import VERSIONS
from otjd.protocol.ews_responses import ServerVersion
from otjd.protocol.markup import visible

Settings = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Directory:
    """What the client that asks may know: the settings of a mailbox and those of a domain, by their names; None
    where there is no such mailbox or domain, or not for this client."""

    of_user: Callable[[str], Settings | None]
    of_domain: Callable[[str], Settings | None]


def user_settings(*, email: str, base_url: str, version: ServerVersion) -> Settings:
    """The settings of the mailbox `email`, whose server's address is `base_url` (`https://otj.example.com`)."""
    url, base = _ews_url(base_url), visible(base_url)
    return {
        "UserDisplayName": visible(email),
        "UserDN": f"/o=otjd/ou=Exchange Administrative Group/cn=Recipients/cn={visible(email)}",
        "UserDeploymentId": str(uuid.uuid5(uuid.NAMESPACE_URL, base)),
        "AutoDiscoverSMTPAddress": visible(email),
        "InternalEwsUrl": url, "ExternalEwsUrl": url,
        "EwsSupportedSchemas": ", ".join(sorted(VERSIONS)),  # exchangelib needs the last one to be one of these
        "CasVersion": _numbers(version), "ExternalEwsVersion": _numbers(version)}


def domain_settings(*, base_url: str, version: ServerVersion) -> Settings:
    """The settings of a domain whose mailboxes are on the server with this address."""
    return {"ExternalEwsUrl": _ews_url(base_url), "ExternalEwsVersion": _numbers(version)}


def _ews_url(base_url: str) -> str:
    return visible(f"{base_url}/EWS/Exchange.asmx")


def _numbers(version: ServerVersion) -> str:
    """As Exchange writes it here: `15.01.2507.006`."""
    return f"{version.major:02}.{version.minor:02}.{version.major_build:04}.{version.minor_build:03}"


KNOWN_DOMAIN_SETTINGS = frozenset({"ExternalEwsUrl", "ExternalEwsVersion"})

_MANAGED_API = """
    ActiveDirectoryServer AlternateMailboxes AutoDiscoverSMTPAddress CasVersion CertPrincipalName
    CrossOrganizationSharingEnabled DocumentSharingLocations EcpConnectUrlFragment EcpDeliveryReportUrlFragment
    EcpEmailSubscriptionsUrlFragment EcpExtensionInstallationUrlFragment EcpPhotoUrlFragment
    EcpPublishingUrlFragment EcpRetentionPolicyTagsUrlFragment EcpTeamMailboxCreatingUrlFragment
    EcpTeamMailboxEditingUrlFragment EcpTeamMailboxUrlFragment EcpTextMessagingUrlFragment
    EcpVoicemailUrlFragment EwsPartnerUrl EwsSupportedSchemas ExchangeRpcUrl ExternalEcpConnectUrl
    ExternalEcpDeliveryReportUrl ExternalEcpEmailSubscriptionsUrl ExternalEcpExtensionInstallationUrl
    ExternalEcpPhotoUrl ExternalEcpPublishingUrl ExternalEcpRetentionPolicyTagsUrl
    ExternalEcpTeamMailboxCreatingUrl ExternalEcpTeamMailboxEditingUrl ExternalEcpTeamMailboxHidingUrl
    ExternalEcpTeamMailboxUrl ExternalEcpTextMessagingUrl ExternalEcpUrl ExternalEcpVoicemailUrl
    ExternalEmwsUrl ExternalEwsUrl ExternalEwsVersion ExternalImap4Connections ExternalMailboxServer
    ExternalMailboxServerAuthenticationMethods ExternalMailboxServerRequiresSSL ExternalOABUrl
    ExternalOutlookServiceUrl ExternalPhotosUrl ExternalPop3Connections ExternalServerExclusiveConnect
    ExternalSmtpConnections ExternalUMUrl ExternalWebClientUrls GroupingInformation InternalEcpConnectUrl
    InternalEcpDeliveryReportUrl InternalEcpEmailSubscriptionsUrl InternalEcpExtensionInstallationUrl
    InternalEcpPhotoUrl InternalEcpPublishingUrl InternalEcpRetentionPolicyTagsUrl
    InternalEcpTeamMailboxCreatingUrl InternalEcpTeamMailboxEditingUrl InternalEcpTeamMailboxHidingUrl
    InternalEcpTeamMailboxUrl InternalEcpTextMessagingUrl InternalEcpUrl InternalEcpVoicemailUrl
    InternalEmwsUrl InternalEwsUrl InternalImap4Connections InternalMailboxServer
    InternalMailboxServerAuthenticationMethods InternalMailboxServerDN InternalOABUrl InternalOutlookServiceUrl
    InternalPhotosUrl InternalPop3Connections InternalRpcClientServer InternalRpcHttpAuthenticationMethod
    InternalRpcHttpConnectivityRequiresSsl InternalRpcHttpServer InternalServerExclusiveConnect
    InternalSmtpConnections InternalUMUrl InternalWebClientUrls InteropExternalEwsUrl InteropExternalEwsVersion
    MailboxDN MailboxVersion MapiHttpEnabled MobileMailboxPolicy MobileMailboxPolicyInterop
    PublicFolderInformation PublicFolderServer RedirectUrl SPMySiteHostURL ShowGalAsDefaultView
    SiteMailboxCreationURL UserDN UserDeploymentId UserDisplayName UserMSOnline
"""
KNOWN_USER_SETTINGS = frozenset(_MANAGED_API.split())
"""The names that Microsoft's managed API for EWS has; what is not among them is no setting at all."""
