"""Autodiscover's SOAP service, on spyne: its types, its operations and its description (ews.md section 7).

spyne reads the elements of a request into values, finds the operation, turns what that gives into elements and
writes the WSDL. Around it, requests are read by our own hardened reader and made uniform, because clients write
them in many ways, and answers are written in Exchange's manner, because clients compare `StringSetting` as text.
Nothing but this module and `spyne_compatibility` knows spyne.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from lxml import etree

from otjd.protocol import (
    markup,
    spyne_compatibility,  # noqa: F401 - spyne does not load without it
)
from otjd.protocol.autodiscover_settings import (
    KNOWN_DOMAIN_SETTINGS,
    KNOWN_USER_SETTINGS,
    Directory,
    Settings,
)
from otjd.protocol.ews_responses import ServerVersion
from otjd.protocol.markup import DocumentLimits, child, content
from otjd.protocol.soap import Envelope, SoapFault, write_envelope

# isort: split
from spyne import Application, ComplexModel, Integer, MethodContext, Service, Unicode, XmlData, rpc
from spyne.interface.wsdl import Wsdl11
from spyne.protocol.soap import Soap11
from spyne.server import ServerBase

AUTODISCOVER = "http://schemas.microsoft.com/exchange/2010/Autodiscover"
ADDRESSING = "http://www.w3.org/2005/08/addressing"
_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"

LIMITS = DocumentLimits(depth=16, elements=1_000)
"""Of a request: a hundred users with all settings take half of it."""
USERS_LIMIT = 100
"""Users, or domains, of a request: as many as Exchange takes."""
SETTINGS_LIMIT = 128
"""Settings of a request; Exchange knows about a hundred."""
OWN_LIMIT = 2
"""How often a request may name what there are settings for; once is enough for every known client."""
MESSAGE_ID_LIMIT = 256
"""Characters of a MessageID that is repeated in the answer."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to a request, and the first error of the request or of one of its parts, empty if none."""

    document: bytes
    error: str


def requested_version(envelope: Envelope) -> str:
    """The RequestedServerVersion of a request; empty where there is none."""
    return content(child(envelope.header, "RequestedServerVersion"))


def operation_of(envelope: Envelope) -> str:
    """The operation that is asked for, such as `GetUserSettings`, whether it is served or not."""
    return envelope.name.removesuffix("Message").removesuffix("Request")


def answer(envelope: Envelope, directory: Directory, version: ServerVersion) -> Answered:
    """Answer a request by what `directory` knows, in the SOAP version of the request.

    :raises SoapFault: there is no such operation; ErrorInvalidOperation.
    """
    name = operation_of(envelope)
    if name not in OPERATIONS:
        raise SoapFault("ErrorInvalidOperation", f"The operation '{name[:60]}' is not offered. Those of this "
                                                 f"service are {', '.join(OPERATIONS)}.")
    for element in envelope.operation.iter():  # namespaces are often wrong, and no attribute says anything of use
        element.tag = f"{{{AUTODISCOVER}}}{markup.local_name(element)}"
        element.attrib.clear()
    context = _called(name, envelope.operation, directory)
    context.out_header = _ServerVersionInfo(
        MajorVersion=version.major, MinorVersion=version.minor, MajorBuildNumber=version.major_build,
        MinorBuildNumber=version.minor_build, Version=version.name)
    application = _server().app
    application.out_protocol.serialize(context, application.out_protocol.RESPONSE)
    header = _addressing(name, envelope.header) + _written(
        context.out_header_doc[0], "h:", f' xmlns:h="{AUTODISCOVER}"')
    body = _written(context.out_body_doc[0], "", f' xmlns="{AUTODISCOVER}" xmlns:i="{_INSTANCE}"')
    return Answered(write_envelope(envelope.dialect, header, body), _first_error(context.out_body_doc))


def _first_error(body: etree._Element) -> str:
    """The error of the request, or else of the first user or domain that has one; that of a setting is usual."""
    codes = ((code.text or "", code.getparent()) for code in body.iter(f"{{{AUTODISCOVER}}}ErrorCode"))
    return next((code for code, told_of in codes if code != "NoError" and told_of is not None
                 and not markup.local_name(told_of).endswith("SettingError")), "")


@cache
def _described() -> bytes:
    wsdl = Wsdl11(_server().app.interface)
    wsdl.build_interface_document(_ADDRESS)
    described: bytes = wsdl.get_interface_document()
    for name in OPERATIONS:
        described = described.replace(f'soapAction="{name}"'.encode(), f'soapAction="{_action(name)}"'.encode())
    return described


_ADDRESS = "urn:the-address-of-this-server"


def description(address: str) -> bytes:
    """The WSDL of the service at `address`."""
    return _described().replace(_ADDRESS.encode(), markup.attribute(address).encode())


def _called(name: str, request: etree._Element, directory: Directory) -> Any:
    """spyne's context of a call, with what the operation gave."""
    server = _server()
    asked = MethodContext(server, MethodContext.SERVER)
    asked.in_body_doc, asked.udc = request, directory
    asked.method_request_string = f"{{{AUTODISCOVER}}}{name}RequestMessage"
    protocol = server.app.in_protocol
    (context,) = protocol.generate_method_contexts(asked)
    protocol.deserialize(context, protocol.REQUEST)
    context.in_object = [context.in_object]
    # not process_request: that would turn a bug of ours into a message to the client
    context.out_object = [server.app.call_wrapper(context)]
    return context


def _action(name: str, kind: str = "") -> str:
    return f"{AUTODISCOVER}/Autodiscover/{name}{kind}"


def _addressing(name: str, header: etree._Element | None) -> str:
    """The headers of WS-Addressing: what this is, and which message it answers."""
    asked = content(child(header, "MessageID"))
    relates = f'<a:RelatesTo xmlns:a="{ADDRESSING}">{markup.text(asked)}</a:RelatesTo>'
    return (f'<a:Action s:mustUnderstand="1" xmlns:a="{ADDRESSING}">{_action(name, "Response")}</a:Action>'
            f'{relates if 0 < len(asked) <= MESSAGE_ID_LIMIT else ""}')


def _written(element: etree._Element, prefix: str = "", declarations: str = "") -> str:
    """An element of spyne's as text in Exchange's manner: with nil, and with types that have no prefix."""
    name = prefix + markup.local_name(element)
    attributes = "".join([f' i:{str(key).rpartition("}")[2]}="{str(value).rpartition(":")[2]}"'
                          for key, value in element.items()])
    inside = "".join([_written(part, prefix) for part in element]) or markup.text(element.text or "")
    return (f"<{name}{declarations}{attributes}>{inside}</{name}>" if inside
            else f"<{name}{declarations}{attributes}/>")


# The types of the service, with the members of each in the order of the schema.

def _type(name: str, extends: Any = ComplexModel, **members: Any) -> Any:
    """A type of the service: a sequence of `members`, after those of the type that it extends."""
    return type(extends)(name, (extends,), {"__namespace__": AUTODISCOVER, "_type_info": list(members.items())})


def _many(kind: Any) -> Any:
    return kind.customize(max_occurs="unbounded")


_Nullable = Unicode(min_occurs=1)  # written as nil where there is none
_RequestedServerVersion = _type("RequestedServerVersion", value=XmlData(Unicode))
_ServerVersionInfo = _type("ServerVersionInfo", MajorVersion=Integer, MinorVersion=Integer,
                           MajorBuildNumber=Integer, MinorBuildNumber=Integer, Version=Unicode)
_Request = _type("AutodiscoverRequest")
_Response = _type("AutodiscoverResponse", ErrorCode=Unicode, ErrorMessage=Unicode)
_RequestedSettings = _type("RequestedSettings", Setting=_many(Unicode))

_Users = _type("Users", User=_many(_type("User", Mailbox=Unicode)))
_UserSetting = _type("UserSetting", Name=Unicode)
_StringSetting = _type("StringSetting", _UserSetting, Value=Unicode)
_UserSettings = _type("UserSettings", UserSetting=_many(_UserSetting))
_UserSettingError = _type("UserSettingError", ErrorCode=Unicode, ErrorMessage=Unicode, SettingName=Unicode)
_UserSettingErrors = _type("UserSettingErrors", UserSettingError=_many(_UserSettingError))
_UserResponse = _type("UserResponse", _Response, RedirectTarget=_Nullable, UserSettingErrors=_UserSettingErrors,
                      UserSettings=_UserSettings)
_UserResponses = _type("ArrayOfUserResponse", UserResponse=_many(_UserResponse))

_Domains = _type("Domains", Domain=_many(Unicode))
_DomainSetting = _type("DomainSetting", Name=Unicode)
_DomainStringSetting = _type("DomainStringSetting", _DomainSetting, Value=Unicode)
_DomainSettings = _type("DomainSettings", DomainSetting=_many(_DomainSetting))
_DomainSettingError = _type("DomainSettingError", ErrorCode=Unicode, ErrorMessage=Unicode, SettingName=Unicode)
_DomainSettingErrors = _type("DomainSettingErrors", DomainSettingError=_many(_DomainSettingError))
_DomainResponse = _type("DomainResponse", _Response, DomainSettingErrors=_DomainSettingErrors,
                        DomainSettings=_DomainSettings, RedirectTarget=_Nullable)
_DomainResponses = _type("ArrayOfDomainResponse", DomainResponse=_many(_DomainResponse))

_TokenIssuers = _type("TokenIssuers", TokenIssuer=_many(_type("TokenIssuer", Endpoint=Unicode, Uri=Unicode)))


@dataclass(frozen=True, slots=True)
class _Operation:
    """An operation: the types of its Request, of its Response and of the messages that hold them, and what gives
    the members of the Response."""

    request: Any
    response: Any
    asked: Any
    answered: Any
    give: Callable[[Any, Directory], Mapping[str, Any]]


def _operation(name: str, give: Callable[[Any, Directory], Mapping[str, Any]], request: Mapping[str, Any],
               response: Mapping[str, Any]) -> _Operation:
    asked = _type(f"{name}Request", _Request, **request)
    answered = _type(f"{name}Response", _Response, **response)
    return _Operation(asked, answered, _type(f"{name}RequestMessage", Request=asked),
                      _type(f"{name}ResponseMessage", Response=answered), give)


# What the operations give.

class _InvalidRequestError(Exception):
    """A request that is answered with InvalidRequest; the text says what is wrong with it."""


def _user_settings(request: Any, directory: Directory) -> Mapping[str, Any]:
    users = [getattr(user, "Mailbox", None) or "" for user in _parts(request.Users, "User")]
    wanted = _wanted(request)
    return {"UserResponses": _UserResponses(UserResponse=[
        _UserResponse(
            **_verdict("User", name, settings),
            UserSettingErrors=_UserSettingErrors(UserSettingError=[
                _UserSettingError(**error) for error in _missing(settings, wanted, KNOWN_USER_SETTINGS)]),
            UserSettings=_UserSettings(UserSetting=[
                _StringSetting(**found) for found in _found(settings, wanted)]))
        for name, settings in _known("user", users, directory.of_user, wanted)])}


def _domain_settings(request: Any, directory: Directory) -> Mapping[str, Any]:
    domains = [domain or "" for domain in _parts(request.Domains, "Domain")]
    wanted = _wanted(request)
    return {"DomainResponses": _DomainResponses(DomainResponse=[
        _DomainResponse(
            **_verdict("Domain", name, settings),
            DomainSettingErrors=_DomainSettingErrors(DomainSettingError=[
                _DomainSettingError(**error) for error in _missing(settings, wanted, KNOWN_DOMAIN_SETTINGS)]),
            DomainSettings=_DomainSettings(DomainSetting=[
                _DomainStringSetting(**found) for found in _found(settings, wanted)]))
        for name, settings in _known("domain", domains, directory.of_domain, wanted)])}


def _federation(request: Any, directory: Directory) -> Mapping[str, Any]:
    if not request.Domain:
        raise _InvalidRequestError("The request names no domain.")
    if directory.of_domain(request.Domain) is None:
        return _verdict("Domain", request.Domain, None)
    return {"ErrorCode": "NotFederated", "ErrorMessage": "The domain is not federated."}


def _parts(collection: Any, name: str) -> Sequence[Any]:
    return getattr(collection, name, None) or ()


def _wanted(request: Any) -> Sequence[str]:
    """The names of the settings that are asked for, each once."""
    return list(dict.fromkeys(name for name in _parts(request.RequestedSettings, "Setting") if name))


def _known(word: str, names: Sequence[str], of: Callable[[str], Settings | None], wanted: Sequence[str],
           ) -> Sequence[tuple[str, Settings | None]]:
    """Each user or domain with its settings, as long as the request is not too large to be answered at once."""
    if not names or not wanted:
        raise _InvalidRequestError(f"The request names no {word}." if wanted else "The request names no setting.")
    if len(names) > USERS_LIMIT or len(wanted) > SETTINGS_LIMIT:
        raise _InvalidRequestError(f"The request names {len(names)} {word}s and {len(wanted)} settings; at most "
                                   f"{USERS_LIMIT} and {SETTINGS_LIMIT} are answered.")
    known = [(name, of(name)) for name in names]
    if sum(settings is not None for _, settings in known) > OWN_LIMIT:
        raise _InvalidRequestError(f"The request names the same {word} more than {OWN_LIMIT} times.")
    return known


def _verdict(word: str, name: str, settings: Settings | None) -> Mapping[str, str]:
    if settings is None:
        return {"ErrorCode": f"Invalid{word}", "ErrorMessage": f"Invalid {word.lower()}: '{name}'"}
    return {"ErrorCode": "NoError", "ErrorMessage": "No error."}


def _found(settings: Settings | None, wanted: Sequence[str]) -> Iterator[Mapping[str, str]]:
    if settings is not None:
        yield from ({"Name": name, "Value": settings[name]} for name in wanted if name in settings)


def _missing(settings: Settings | None, wanted: Sequence[str], known: frozenset[str],
             ) -> Iterator[Mapping[str, str]]:
    if settings is None:
        return
    for name in wanted:
        if name not in settings:
            code, why = (("SettingIsNotAvailable", "is not available") if name in known
                         else ("InvalidSetting", "is not valid"))
            yield {"ErrorCode": code, "ErrorMessage": f"The setting '{name}' {why}.", "SettingName": name}


_WANTED = {"RequestedSettings": _RequestedSettings, "RequestedVersion": Unicode}
OPERATIONS = {
    "GetUserSettings": _operation("GetUserSettings", _user_settings, {"Users": _Users, **_WANTED},
                                  {"UserResponses": _UserResponses}),
    "GetDomainSettings": _operation("GetDomainSettings", _domain_settings, {"Domains": _Domains, **_WANTED},
                                    {"DomainResponses": _DomainResponses}),
    "GetFederationInformation": _operation(
        "GetFederationInformation", _federation, {"Domain": Unicode},
        {"ApplicationUri": Unicode, "Domains": _Domains, "TokenIssuers": _TokenIssuers})}
"""What is served, by name."""


def _procedure(name: str, operation: _Operation) -> Any:
    """An operation as spyne takes it."""
    def called(context: Any, message: Any) -> Any:
        request = getattr(message, "Request", None) or operation.request()
        try:
            members = operation.give(request, context.udc)
        except _InvalidRequestError as error:
            members = {"ErrorCode": "InvalidRequest", "ErrorMessage": str(error)}
        return operation.answered(Response=operation.response(
            **{"ErrorCode": "NoError", "ErrorMessage": "", **members}))

    called.__name__ = name
    return rpc(operation.asked, _returns=operation.answered, _body_style="bare", _operation_name=name,
               _in_message_name=f"{name}RequestMessage", _out_message_name=f"{name}ResponseMessage")(called)


@cache
def _server() -> Any:
    """spyne's application, made once: it keeps each one that is made."""
    service = type(Service)("Autodiscover", (Service,), {
        "__in_header__": _RequestedServerVersion, "__out_header__": _ServerVersionInfo,
        **{name: _procedure(name, operation) for name, operation in OPERATIONS.items()}})
    server = ServerBase(Application([service], AUTODISCOVER, name="Autodiscover", in_protocol=Soap11(),
                                    out_protocol=Soap11(polymorphic=True, cleanup_namespaces=False),
                                    classes=(_StringSetting, _DomainStringSetting)))
    server.app.transport = "http://schemas.xmlsoap.org/soap/http"
    return server
