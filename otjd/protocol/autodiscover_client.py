"""Where mailboxes are: Autodiscover asked by its SOAP GetUserSettings, or in its older plain XML (ews.md 7)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from lxml import etree

from otjd.protocol import markup
from otjd.protocol.autodiscover import OUTLOOK_REQUEST, OUTLOOK_RESPONSE
from otjd.protocol.ews_client import UnreadableAnswerError, read_answer
from otjd.protocol.soap import DECLARATION, SOAP_11

NAMESPACE = "http://schemas.microsoft.com/exchange/2010/Autodiscover"
ADDRESSING = "http://www.w3.org/2005/08/addressing"
MAILBOXES = 50
"""Mailboxes of one request. Exchange refuses more than 90 as a whole (MaxUsersPerGetUserSettingsRequest)."""

SOAP_PATH = "/autodiscover/autodiscover.svc"
POX_PATH = "/autodiscover/autodiscover.xml"
_SETTINGS = ("ExternalEwsUrl", "InternalEwsUrl", "GroupingInformation")
_EWS_URL = re.compile(r"https://(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?(?:/[!-~]{0,500})?",
                      re.IGNORECASE)
_VERSION = "Exchange2010_SP2"
_NO_MAILBOX = ("InvalidUser", "InvalidDomain")


class Outcome(Enum):
    """What is said of one mailbox."""

    FOUND = "found"
    OTHER_ADDRESS = "other address"
    OTHER_URL = "other url"
    BUSY = "busy"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Settings:
    """What Autodiscover says of one mailbox: where its EWS is, or `target` to ask instead, or `words` why not.

    `grouping` is what mailboxes that share a stream have in common.
    """

    outcome: Outcome
    external_url: str = ""
    internal_url: str = ""
    grouping: str = ""
    target: str = ""
    words: str = ""


def get_user_settings(url: str, mailboxes: Sequence[str]) -> bytes:
    """Ask the service at `url` where these mailboxes are."""
    users = "".join(f"<a:User><a:Mailbox>{markup.text(one)}</a:Mailbox></a:User>" for one in mailboxes)
    settings = "".join(f"<a:Setting>{name}</a:Setting>" for name in _SETTINGS)
    return (f'{DECLARATION}<s:Envelope xmlns:s="{SOAP_11.envelope}" xmlns:a="{NAMESPACE}" '
            f'xmlns:wsa="{ADDRESSING}">'
            f"<s:Header><a:RequestedServerVersion>{_VERSION}</a:RequestedServerVersion>"
            f"<wsa:Action>{NAMESPACE}/Autodiscover/GetUserSettings</wsa:Action>"
            f"<wsa:To>{markup.text(url)}</wsa:To></s:Header><s:Body><a:GetUserSettingsRequestMessage><a:Request>"
            f"<a:Users>{users}</a:Users><a:RequestedSettings>{settings}</a:RequestedSettings></a:Request>"
            "</a:GetUserSettingsRequestMessage></s:Body></s:Envelope>").encode()


def read_user_settings(body: bytes, content_type: str, mailboxes: Sequence[str]) -> Mapping[str, Settings]:
    """What is said of each mailbox; they are answered in the order asked.

    :raises EwsError: it is a Fault.
    :raises UnreadableAnswerError: it is no such answer.
    """
    answer = read_answer(body, content_type)
    response = markup.child(answer, "Response")
    users = markup.child(response, "UserResponses")
    found = [] if users is None else [_settings(user) for user in markup.children(users, "UserResponse")]
    if response is not None and markup.content(markup.child(response, "ErrorCode")) not in ("", "NoError"):
        return dict.fromkeys(mailboxes, _settings(response))
    if len(found) != len(mailboxes):
        raise UnreadableAnswerError(f"settings of {len(found)} mailboxes where {len(mailboxes)} were asked for")
    return dict(zip(mailboxes, found, strict=True))


def _settings(user: etree._Element) -> Settings:
    code = markup.content(markup.child(user, "ErrorCode")) or "NoError"
    target = markup.content(markup.child(user, "RedirectTarget"))
    match code:
        case "NoError":
            values = _values(markup.child(user, "UserSettings"))
            return _found(values.get("ExternalEwsUrl", ""), values.get("InternalEwsUrl", ""),
                          values.get("GroupingInformation", ""))
        case "RedirectAddress":
            return Settings(Outcome.OTHER_ADDRESS, target=target)
        case "RedirectUrl":
            return Settings(Outcome.OTHER_URL, target=target)
        case "ServerBusy":
            return Settings(Outcome.BUSY, words="the Autodiscover service is busy (ServerBusy)")
    said = " ".join(markup.content(markup.child(user, "ErrorMessage")).split())[:200]
    words = "Autodiscover knows no such mailbox" if code in _NO_MAILBOX else "Autodiscover cannot tell where it is"
    return Settings(Outcome.UNKNOWN, words=f"{words}: {said or code} ({code[:80]})")


def _values(settings: etree._Element | None) -> Mapping[str, str]:
    return {markup.content(markup.child(one, "Name")): markup.content(markup.child(one, "Value"))
            for one in markup.children(settings, "UserSetting")}


def _found(external: str, internal: str, grouping: str = "") -> Settings:
    urls = [url if _EWS_URL.fullmatch(url) else "" for url in (external, internal)]
    if any(urls):
        return Settings(Outcome.FOUND, urls[0], urls[1], grouping)
    return Settings(Outcome.UNKNOWN, words="Autodiscover names no https URL of EWS: set ExternalUrl with "
                                           "Set-WebServicesVirtualDirectory, or ews_url here")


def get_settings_pox(mailbox: str) -> bytes:
    """Ask in plain XML where one mailbox is."""
    return (f'{DECLARATION}<Autodiscover xmlns="{OUTLOOK_REQUEST}"><Request><EMailAddress>{markup.text(mailbox)}'
            f"</EMailAddress><AcceptableResponseSchema>{OUTLOOK_RESPONSE}</AcceptableResponseSchema></Request>"
            "</Autodiscover>").encode()


def read_settings_pox(body: bytes, content_type: str) -> Settings:
    """What is said of that mailbox.

    :raises UnreadableAnswerError: it is no such answer.
    """
    try:
        root = markup.read_document(body, content_type)
    except markup.UnreadableError as unreadable:
        raise UnreadableAnswerError(f"an answer that cannot be read: {unreadable.violation}") from None
    response = markup.child(root, "Response")
    if markup.local_name(root) != "Autodiscover" or response is None:
        raise UnreadableAnswerError(f"no answer of Autodiscover but <{markup.local_name(root)[:40]}>")
    error = markup.child(response, "Error")
    if error is not None:
        said = " ".join(markup.content(markup.child(error, "Message")).split())[:200]
        code = markup.content(markup.child(error, "ErrorCode"))[:20]
        return Settings(Outcome.UNKNOWN, words=f"Autodiscover knows no such mailbox: {said} ({code})")
    account = markup.child(response, "Account")
    match markup.content(markup.child(account, "Action")):
        case "redirectAddr":
            return Settings(Outcome.OTHER_ADDRESS, target=markup.content(markup.child(account, "RedirectAddr")))
        case "redirectUrl":
            return Settings(Outcome.OTHER_URL, target=markup.content(markup.child(account, "RedirectUrl")))
    urls = {markup.content(markup.child(one, "Type")): markup.content(markup.child(one, "EwsUrl"))
            for one in markup.children(account, "Protocol")}
    return _found(urls.get("EXPR", ""), urls.get("EXCH", ""))
