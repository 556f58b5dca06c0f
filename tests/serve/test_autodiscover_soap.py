from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from otjd.protocol import autodiscover_soap
from otjd.protocol.autodiscover_client import Outcome, get_user_settings, read_user_settings
from otjd.protocol.autodiscover_settings import KNOWN_USER_SETTINGS
from otjd.protocol.autodiscover_soap import ADDRESSING, AUTODISCOVER
from otjd.serve import autodiscover
from otjd.serve.autodiscover import SoapAutodiscover
from otjd.serve.calls import Call, Reply
from tests.conftest import LoggedFailures
from tests.serve.autodiscover_support import GET_URL, domains, envelope, message, settings, users
from tests.serve.ews_support import ACCOUNT, SOAP_11, SOAP_12, schema

SERVICE = SoapAutodiscover(server_version="15.1.2507.6")
NAMES = {"a": AUTODISCOVER, "w": ADDRESSING, "s": SOAP_11}
ROOM = ACCOUNT.room.email
URL = "https://otj.example.com:8443/EWS/Exchange.asmx"


def ask(body: str | bytes, *, service: SoapAutodiscover = SERVICE, method: str = "POST",
        base_url: str = "https://otj.example.com:8443", content_type: str = "text/xml; charset=utf-8",
        ) -> Reply:
    octets = body.encode("utf-8", "replace") if isinstance(body, str) else body
    reply = service(Call(ACCOUNT, "digest", method, "/autodiscover/autodiscover.svc", base_url, content_type,
                         octets))
    if method == "POST":
        check(reply)
    return reply


def check(reply: Reply) -> None:
    """Hold an answer against what every answer must be."""
    root = etree.fromstring(reply.body)
    validator = schema("autodiscover/autodiscover-soap.xsd")
    if reply.status == 200 and validator is not None:
        validator.assertValid(root[1][0])
        (version,) = root[0].iterfind("a:ServerVersionInfo", NAMES)
        validator.assertValid(version)
    elif reply.status != 200:
        (found,) = root.iterfind(".//{*}ResponseCode")
        assert found.text == reply.error
        assert not any(word in reply.body for word in (b"spyne", b"Traceback", b"lxml", b".py"))


def asked(operation: str, **more: Any) -> etree._Element:
    """The Response of an answer."""
    reply = ask(envelope(operation, **more))
    assert (reply.status, reply.operation) == (200, operation[3:].partition("RequestMessage")[0])
    response = etree.fromstring(reply.body)[1][0][0]
    assert response.tag == f"{{{AUTODISCOVER}}}Response"
    return response


def texts(element: etree._Element, path: str) -> list[str | None]:
    return [e.text for e in element.iterfind(path, NAMES)]


def test_the_own_mailbox_is_told_its_settings_in_the_manner_of_exchange() -> None:
    reply = ask(envelope(message("GetUserSettings", users(ROOM) + settings("ExternalEwsUrl", "MailboxDN")),
                         header="<w:MessageID>urn:uuid:1&amp;2</w:MessageID>"))
    assert (reply.status, reply.content_type, reply.operation, reply.error) == (
        200, "text/xml; charset=utf-8", "GetUserSettings", "")
    assert reply.body.decode() == (
        '<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">'
        '<s:Header><a:Action s:mustUnderstand="1" xmlns:a="http://www.w3.org/2005/08/addressing">'
        "http://schemas.microsoft.com/exchange/2010/Autodiscover/Autodiscover/GetUserSettingsResponse</a:Action>"
        '<a:RelatesTo xmlns:a="http://www.w3.org/2005/08/addressing">urn:uuid:1&amp;2</a:RelatesTo>'
        '<h:ServerVersionInfo xmlns:h="http://schemas.microsoft.com/exchange/2010/Autodiscover">'
        "<h:MajorVersion>15</h:MajorVersion><h:MinorVersion>1</h:MinorVersion>"
        "<h:MajorBuildNumber>2507</h:MajorBuildNumber><h:MinorBuildNumber>6</h:MinorBuildNumber>"
        "<h:Version>V2017_07_11</h:Version></h:ServerVersionInfo></s:Header><s:Body>"
        '<GetUserSettingsResponseMessage xmlns="http://schemas.microsoft.com/exchange/2010/Autodiscover" '
        'xmlns:i="http://www.w3.org/2001/XMLSchema-instance"><Response><ErrorCode>NoError</ErrorCode>'
        "<ErrorMessage/><UserResponses><UserResponse><ErrorCode>NoError</ErrorCode>"
        "<ErrorMessage>No error.</ErrorMessage>"
        '<RedirectTarget i:nil="true"/><UserSettingErrors><UserSettingError>'
        "<ErrorCode>SettingIsNotAvailable</ErrorCode>"
        "<ErrorMessage>The setting 'MailboxDN' is not available.</ErrorMessage>"
        "<SettingName>MailboxDN</SettingName></UserSettingError></UserSettingErrors><UserSettings>"
        '<UserSetting i:type="StringSetting">'
        f"<Name>ExternalEwsUrl</Name><Value>{URL}</Value></UserSetting></UserSettings>"
        "</UserResponse></UserResponses></Response></GetUserSettingsResponseMessage></s:Body></s:Envelope>")


def test_every_setting_that_there_is_has_its_value() -> None:
    (user,) = asked(message("GetUserSettings", users(ROOM) + settings(*sorted(KNOWN_USER_SETTINGS)))).iterfind(
        ".//a:UserResponse", NAMES)
    told: dict[str | None, Any] = dict(zip(texts(user, ".//a:Name"), texts(user, ".//a:Value"), strict=True))
    assert told.pop("UserDeploymentId")
    assert told == {
        "UserDisplayName": ROOM, "AutoDiscoverSMTPAddress": ROOM, "ExternalEwsUrl": URL, "InternalEwsUrl": URL,
        "UserDN": f"/o=otjd/ou=Exchange Administrative Group/cn=Recipients/cn={ROOM}",
        "CasVersion": "15.01.2507.006", "ExternalEwsVersion": "15.01.2507.006",
        "EwsSupportedSchemas": "Exchange2007, Exchange2007_SP1, Exchange2010, Exchange2010_SP1, Exchange2010_SP2, "
                               "Exchange2013, Exchange2013_SP1, Exchange2016"}
    assert set(texts(user, ".//a:UserSettingError/a:ErrorCode")) == {"SettingIsNotAvailable"}
    assert len(told) + 1 + len(texts(user, ".//a:SettingName")) == len(KNOWN_USER_SETTINGS)


@pytest.mark.parametrize("mailbox", [ROOM.upper(), f" {ROOM}\n", ACCOUNT.username])
def test_the_own_mailbox_may_be_named_in_its_forms(mailbox: str) -> None:
    assert texts(asked(message("GetUserSettings", users(mailbox) + settings("UserDisplayName"))),
                 ".//a:Value") == [ROOM]


def test_each_user_and_each_setting_fails_alone_and_in_the_order_asked() -> None:
    body = message("GetUserSettings", users("lounge@example.com", ROOM, "", "<![CDATA[a&b]]>") + settings(
        "Nonsense", "CasVersion", "MobileMailboxPolicy", "CasVersion"))
    reply = ask(envelope(body))
    assert reply.error == "InvalidUser"
    response = etree.fromstring(reply.body)[1][0][0]
    assert texts(response, "a:ErrorCode") == ["NoError"]
    assert texts(response, "a:UserResponses/a:UserResponse/a:ErrorCode") == [
        "InvalidUser", "NoError", "InvalidUser", "InvalidUser"]
    assert texts(response, ".//a:Name") == ["CasVersion"]
    assert list(zip(texts(response, ".//a:SettingName"), texts(response, ".//a:UserSettingError/a:ErrorCode"),
                    strict=True)) == [
        ("Nonsense", "InvalidSetting"), ("MobileMailboxPolicy", "SettingIsNotAvailable")]
    assert texts(response, ".//a:UserResponse/a:ErrorMessage")[-1] == "Invalid user: 'a&b'"


def test_another_room_and_no_room_at_all_look_the_same() -> None:
    response = asked(message("GetUserSettings", users("lounge@example.com", "nobody@example.com")
                             + settings("ExternalEwsUrl")))
    there, nowhere = (etree.tostring(user) for user in response.iterfind(".//a:UserResponse", NAMES))
    assert there.replace(b"lounge", b"nobody") == nowhere


def test_a_domain_is_told_where_its_calendars_are() -> None:
    response = asked(message("GetDomainSettings", domains("Example.com", "elsewhere.example") + settings(
        "ExternalEwsUrl", "ExternalEwsVersion", "UserDN")))
    assert texts(response, ".//a:DomainResponse/a:ErrorCode") == ["NoError", "InvalidDomain"]
    assert texts(response, ".//a:Value") == [URL, "15.01.2507.006"]
    assert texts(response, ".//a:DomainSettingError/a:ErrorCode") == ["InvalidSetting"]
    (first, *_) = response.iterfind(".//a:DomainSetting", NAMES)
    assert first.items() == [(f"{{{INSTANCE}}}type", "DomainStringSetting")]


@pytest.mark.parametrize(("domain", "error"), [
    ("example.com", "NotFederated"), ("elsewhere.example", "InvalidDomain"), ("", "InvalidRequest")])
def test_no_domain_is_federated(domain: str, error: str) -> None:
    reply = ask(envelope(message("GetFederationInformation", f"<a:Domain>{domain}</a:Domain>")))
    assert reply.error == error
    assert texts(etree.fromstring(reply.body), ".//a:ErrorCode") == [error]


INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
DEFAULT_NAMESPACES = (
    f'<Envelope xmlns="{SOAP_11}"><Header><Action xmlns="{ADDRESSING}">x</Action></Header><Body>'
    f'<GetUserSettingsRequestMessage xmlns="{AUTODISCOVER}"><Request><Users><User><Mailbox>{ROOM}</Mailbox></User>'
    "</Users><RequestedSettings><Setting>ExternalEwsUrl</Setting></RequestedSettings></Request>"
    "</GetUserSettingsRequestMessage></Body></Envelope>")


@pytest.mark.parametrize("body", [
    DEFAULT_NAMESPACES, DEFAULT_NAMESPACES.replace(f' xmlns="{AUTODISCOVER}"', ' xmlns="urn:other"'),
    DEFAULT_NAMESPACES.replace("http://schemas.microsoft", "https://schemas.microsoft"),
    DEFAULT_NAMESPACES.replace("<Request>", "<Request><RequestedVersion>V1</RequestedVersion><New><a/></New>"),
    DEFAULT_NAMESPACES.replace("<Users>", f'<Users i:type="x:Odd" xmlns:i="{INSTANCE}">'),
    DEFAULT_NAMESPACES.replace("<Header>", "<Header/><Other>").replace("</Header>", "</Other>"),
    DEFAULT_NAMESPACES.replace("<Mailbox>", '<Mailbox id="1" href="#2">'),
    envelope(message("GetUserSettings", settings("ExternalEwsUrl") + users(ROOM)), version=""),
    envelope(GET_URL, soap=SOAP_12), envelope(GET_URL, version="V2017_07_11")])
def test_a_request_is_read_in_every_form(body: str) -> None:
    reply = ask(body)
    assert (reply.status, reply.error) == (200, "")
    assert texts(etree.fromstring(reply.body), ".//a:Value") == [URL]


def test_soap_1_2_is_answered_in_kind() -> None:
    good, bad = ask(envelope(GET_URL, soap=SOAP_12)), ask(envelope("<a:Odd/>", soap=SOAP_12))
    for reply in (good, bad):
        assert reply.content_type == "application/soap+xml; charset=utf-8"
        assert etree.fromstring(reply.body).tag == f"{{{SOAP_12}}}Envelope"
    assert b"<s:Value>s:Sender</s:Value>" in bad.body


@pytest.mark.parametrize("request_", [
    message("GetUserSettings", ""), message("GetUserSettings", users(ROOM)), "<a:GetUserSettingsRequestMessage/>",
    message("GetUserSettings", settings("UserDN")), message("GetUserSettings", users() + settings("UserDN")),
    message("GetUserSettings", users(ROOM) + settings()), message("GetUserSettings", users(ROOM) + settings("")),
    message("GetUserSettings", users(*[f"u{n}@example.com" for n in range(101)]) + settings("UserDN")),
    message("GetUserSettings", users(ROOM) + settings(*[f"S{n}" for n in range(129)])),
    message("GetUserSettings", users(*[ROOM] * 3) + settings("UserDN")),
    message("GetDomainSettings", domains("example.com")),
    message("GetDomainSettings", settings("ExternalEwsUrl"))])
def test_what_lacks_something_or_asks_for_too_much_is_an_invalid_request(request_: str) -> None:
    reply = ask(envelope(request_))
    response = etree.fromstring(reply.body)[1][0][0]
    assert (reply.status, reply.error) == (200, "InvalidRequest")
    assert [etree.QName(e).localname for e in response] == ["ErrorCode", "ErrorMessage"]
    assert texts(response, "a:ErrorMessage")[0]


def test_a_hundred_users_are_answered() -> None:
    response = asked(message("GetUserSettings", users(ROOM, *[f"u{n}@example.com" for n in range(99)])
                             + settings("ExternalEwsUrl")))
    assert texts(response, ".//a:UserResponse/a:ErrorCode") == ["NoError"] + ["InvalidUser"] * 99


@pytest.mark.parametrize(("body", "status", "code"), [
    ("", 500, "ErrorSchemaValidation"), ("rubbish", 500, "ErrorSchemaValidation"),
    ("<a/>", 500, "ErrorSchemaValidation"), (envelope(""), 500, "ErrorSchemaValidation"),
    (f"<!DOCTYPE a>{envelope(GET_URL).partition('?>')[2]}", 500, "ErrorSchemaValidation"),
    (envelope("<a:b>" * 20 + "</a:b>" * 20), 500, "ErrorSchemaValidation"),
    (envelope(message("GetUserSettings", users(*["a"] * 600))), 500, "ErrorSchemaValidation"),
    (envelope(message("GetOrganizationRelationshipSettings", "")), 500, "ErrorInvalidOperation"),
    (envelope(GET_URL.replace("GetUserSettings", "get_user_settings")), 500, "ErrorInvalidOperation"),
    (envelope(GET_URL, version="Exchange1999"), 500, "ErrorInvalidServerVersion"),
    (envelope(GET_URL) + " " * 65_536, 413, "ErrorMessageSizeExceeded")])
def test_what_cannot_be_read_is_a_well_formed_fault(body: str, status: int, code: str) -> None:
    reply = ask(body)
    assert (reply.status, reply.error) == (status, code)


def test_other_methods_are_refused() -> None:
    assert ask(envelope(GET_URL), method="PUT").status == 405


def test_an_unknown_version_may_be_tolerated() -> None:
    tolerant = SoapAutodiscover(server_version="15.1.2507.6", tolerate_unknown_versions=True)
    assert ask(envelope(GET_URL, version="Exchange2031"), service=tolerant).status == 200


def test_another_version_of_exchange_is_told_as_such() -> None:
    older = SoapAutodiscover(server_version="14.3.123.4")
    reply = ask(envelope(message("GetUserSettings", users(ROOM) + settings("CasVersion"))), service=older)
    root = etree.fromstring(reply.body)
    assert texts(root, ".//a:ServerVersionInfo/*") == ["14", "3", "123", "4", "Exchange2010_SP2"]
    assert texts(root, ".//a:Value") == ["14.03.0123.004"]


def test_a_long_message_id_is_not_repeated() -> None:
    reply = ask(envelope(GET_URL, header=f"<w:MessageID>{'x' * 300}</w:MessageID>"))
    assert b"RelatesTo" not in reply.body


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_description_names_the_operations_and_our_address(method: str) -> None:
    reply = ask("", method=method, base_url="https://a&b")
    assert (reply.status, reply.content_type) == (200, "text/xml; charset=utf-8")
    root = etree.fromstring(reply.body)
    soap = "{http://schemas.xmlsoap.org/wsdl/soap/}"
    assert [e.get("location") for e in root.iter(f"{soap}address")] == ["https://a&b/Autodiscover/Autodiscover.svc"]
    assert sorted(str(e.get("soapAction")) for e in root.iter(f"{soap}operation")) == [
        f"{AUTODISCOVER}/Autodiscover/{name}" for name in (
            "GetDomainSettings", "GetFederationInformation", "GetUserSettings")]


def test_a_bug_of_ours_is_logged_and_not_told(
        monkeypatch: pytest.MonkeyPatch, logged_failures: LoggedFailures) -> None:
    def broken(**_: Any) -> Any:
        raise LookupError("secret of the house")

    monkeypatch.setattr(autodiscover, "user_settings", broken)
    reply = ask(envelope(GET_URL))
    assert (reply.status, reply.error) == (500, "ErrorInternalServerError")
    assert b"secret" not in reply.body
    (event,) = logged_failures.flush(LookupError)
    assert event["endpoint"] == ACCOUNT.endpoint


def test_the_application_is_made_once() -> None:
    before = autodiscover_soap._server()
    SoapAutodiscover(server_version="15.2.1.0")
    assert autodiscover_soap._server() is before


@given(st.binary(max_size=200)
       | st.text(max_size=40).map(lambda t: envelope(message("GetUserSettings", users(t) + settings(t))))
       | st.text(st.sampled_from("<>/a:Users\"' =&;#xnil1"), max_size=60).map(lambda t: envelope(
           message("GetUserSettings", t))), st.text(max_size=40))
def test_nothing_makes_the_service_raise(body: str | bytes, host: str) -> None:
    reply = ask(body, base_url=f"https://{host}")
    assert reply.error in {"ErrorSchemaValidation", "InvalidRequest", "InvalidUser", "ErrorInvalidServerVersion"}


@given(st.text(max_size=40))
def test_whatever_a_client_calls_us_the_answer_is_well_formed(host: str) -> None:
    reply = ask(envelope(GET_URL), base_url=f"https://{host}")
    assert (reply.status, reply.error) == (200, "")
    etree.fromstring(ask("", method="GET", base_url=f"https://{host}").body)


def test_our_own_client_reads_what_it_is_told() -> None:
    mailboxes = (ROOM, "lounge@example.com")
    reply = ask(get_user_settings("https://otj.example.com", mailboxes))
    own, other = read_user_settings(reply.body, reply.content_type, mailboxes).values()
    assert (own.outcome, own.external_url, own.internal_url) == (Outcome.FOUND, URL, URL)
    assert other.outcome is Outcome.UNKNOWN


def test_an_address_with_odd_letters_is_told_whole() -> None:
    odd = replace(ACCOUNT, room=replace(ACCOUNT.room, email="öl&<r>@example.com"))
    reply = SERVICE(Call(odd, "digest", "POST", "/", "https://otj", "text/xml", envelope(
        message("GetUserSettings", users("ÖL&amp;&lt;r&gt;@example.com") + settings("AutoDiscoverSMTPAddress")),
    ).encode()))
    assert texts(etree.fromstring(reply.body), ".//a:Value") == ["öl&<r>@example.com"]
