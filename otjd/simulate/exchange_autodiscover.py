"""SOAP Autodiscover of a simulated Exchange: GetUserSettings, with redirects and errors on command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from lxml import etree

from otjd.protocol import markup
from otjd.protocol.ews_responses import ServerVersion
from otjd.protocol.markup import text
from otjd.protocol.soap import SOAP_11, Envelope, SoapFault, read_envelope, schema_violation, write_envelope

NAMESPACE = "http://schemas.microsoft.com/exchange/2010/Autodiscover"
ADDRESSING = "http://www.w3.org/2005/08/addressing"
ACTION = f"{NAMESPACE}/Autodiscover/GetUserSettings"
USERS_LIMIT = 90

ERRORS = {
    "InvalidUser": "The e-mail address '{}' cannot be found.",
    "ServerBusy": "The server is busy. Try again later.",
    "InternalServerError": "An internal server error occurred.",
}


@dataclass(frozen=True, slots=True)
class Referral:
    """What Autodiscover says of an address in place of its settings: go elsewhere with another address or to
    another URL, or one of ERRORS."""

    kind: Literal["RedirectAddress", "RedirectUrl", "InvalidUser", "ServerBusy", "InternalServerError"]
    target: str = ""


Settings = Mapping[str, str]
"""Values of user settings, by name."""


Validate = Callable[[etree._Element], str]


def answer(body: bytes, content_type: str, *, version: ServerVersion,
           settings_of: Callable[[str], Settings | None], referral_of: Callable[[str], Referral | None],
           validate: Validate | None) -> bytes:
    """The answer to a request. `settings_of` gives those of an address, None where there is no mailbox.

    :raises SoapFault: it is none that can be read.
    """
    envelope = _read(body, content_type, validate)
    request = markup.child(envelope.operation, "Request")
    names = [markup.content(e) for e in markup.children(markup.child(request, "RequestedSettings"), "Setting")]
    users = [markup.content(markup.child(e, "Mailbox")) for e in
             markup.children(markup.child(request, "Users"), "User")]
    asked = markup.content(markup.child(envelope.header, "RequestedServerVersion"))
    if not names or not users or not asked:
        return _write(version, _error("InvalidRequest", "The request lacks users, settings or a version."))
    if len(users) > USERS_LIMIT:
        return _write(version, _error("InvalidRequest", f"At most {USERS_LIMIT} users are allowed."))
    told = "".join(_user(user, names, settings_of(user.lower()), referral_of(user.lower())) for user in users)
    return _write(version, "<a:ErrorCode>NoError</a:ErrorCode><a:ErrorMessage/>"
                                f"<a:UserResponses>{told}</a:UserResponses>")


def _read(body: bytes, content_type: str, validate: Validate | None) -> Envelope:
    envelope = read_envelope(body, content_type)
    if envelope.name != "GetUserSettingsRequestMessage" or envelope.dialect is not SOAP_11:
        raise SoapFault("ErrorInvalidOperation", f"The operation '{envelope.name[:60]}' is not available.")
    violation = validate(envelope.operation) if validate is not None else ""
    action = markup.content(markup.child(envelope.header, "Action"))
    if violation or action != ACTION:
        raise schema_violation(violation or f"The action '{action[:200]}' is not that of the request.")
    return envelope


def _error(code: str, message: str) -> str:
    return f"<a:ErrorCode>{code}</a:ErrorCode><a:ErrorMessage>{text(message)}</a:ErrorMessage>"


def _user(user: str, names: list[str], settings: Settings | None, referral: Referral | None) -> str:
    if referral is not None and referral.target:
        parts = (f"{_error(referral.kind, 'Redirection.')}<a:RedirectTarget>{text(referral.target)}"
                 "</a:RedirectTarget><a:UserSettingErrors/><a:UserSettings/>")
    elif referral is not None or settings is None:
        code = referral.kind if referral is not None else "InvalidUser"
        parts = (_error(code, ERRORS[code].format(user[:256]))
                 + '<a:RedirectTarget i:nil="true"/><a:UserSettingErrors/><a:UserSettings/>')
    else:
        known = "".join(f'<a:UserSetting i:type="a:StringSetting"><a:Name>{text(n)}</a:Name>'
                        f"<a:Value>{text(settings[n])}</a:Value></a:UserSetting>" for n in names if n in settings)
        unknown = "".join("<a:UserSettingError><a:ErrorCode>SettingIsNotAvailable</a:ErrorCode><a:ErrorMessage>"
                          f"The setting '{text(n)}' is not available.</a:ErrorMessage>"
                          f"<a:SettingName>{text(n)}</a:SettingName></a:UserSettingError>"
                          for n in names if n not in settings)
        parts = (f'{_error("NoError", "No error.")}<a:RedirectTarget i:nil="true"/>'
                 f"<a:UserSettingErrors>{unknown}</a:UserSettingErrors><a:UserSettings>{known}</a:UserSettings>")
    return f"<a:UserResponse>{parts}</a:UserResponse>"


def _write(version: ServerVersion, inside: str) -> bytes:
    numbers = zip(("MajorVersion", "MinorVersion", "MajorBuildNumber", "MinorBuildNumber"),
                  (version.major, version.minor, version.major_build, version.minor_build), strict=True)
    told = "".join(f"<h:{name}>{number}</h:{name}>" for name, number in numbers)
    header = (f'<wsa:Action s:mustUnderstand="1" xmlns:wsa="{ADDRESSING}">{ACTION}Response</wsa:Action>'
              f'<h:ServerVersionInfo xmlns:h="{NAMESPACE}">{told}<h:Version>{version.name}</h:Version>'
              "</h:ServerVersionInfo>")
    return write_envelope(SOAP_11, header, (
        f'<a:GetUserSettingsResponseMessage xmlns:a="{NAMESPACE}" '
        f'xmlns:i="http://www.w3.org/2001/XMLSchema-instance"><a:Response>{inside}</a:Response>'
        "</a:GetUserSettingsResponseMessage>"))
