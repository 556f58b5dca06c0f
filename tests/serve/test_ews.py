"""The emulated Exchange: whose mailbox it is, versions, and what happens to requests that cannot be served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import zeep
from lxml import etree

from otjd.meetings.model import Meeting
from otjd.protocol.ews_notifications import READERS
from otjd.protocol.ews_requests import OPERATIONS
from otjd.serve.ews_known import KEPT_REQUESTS
from otjd.serve.limits import Limits
from tests.serve.ews_support import (
    ACCOUNT,
    NAMESPACES,
    OTHER_ROOM,
    ROOM,
    SCHEMAS,
    SOAP_12,
    UNKNOWN_ID,
    Exchange,
    account,
    body_of,
    busy_room,
    calendar_view,
    codes,
    envelope,
    get_folder,
    get_item,
    page_view,
    pairs,
    schema,
    subjects,
    texts,
)

SERVED = OPERATIONS | READERS.keys()


@pytest.fixture
def exchange() -> Exchange:
    return busy_room()


def named(folder: str, mailbox: str) -> str:
    return (f'<t:DistinguishedFolderId Id="{folder}"><t:Mailbox><t:EmailAddress>{mailbox}</t:EmailAddress>'
            "</t:Mailbox></t:DistinguishedFolderId>")


# whose mailbox

@pytest.mark.parametrize("mailbox", ["", ROOM.email, " Boardroom@Example.COM ", ACCOUNT.username, "boardroom-1"])
def test_the_rooms_address_and_the_user_name_are_the_own_mailbox(exchange: Exchange, mailbox: str) -> None:
    assert len(subjects(exchange.ask(calendar_view(folder=named("calendar", mailbox))))) == 3
    assert codes(exchange.ask(get_folder(named("calendar", mailbox)))) == ["NoError"]


@pytest.mark.parametrize("mailbox", [OTHER_ROOM.email, "boardroom", "boardroom@example.com.evil.example", "*"])
def test_another_mailbox_is_refused_in_a_valid_answer(exchange: Exchange, mailbox: str) -> None:
    assert codes(exchange.ask(calendar_view(folder=named("calendar", mailbox)))) == ["ErrorNonExistentMailbox"]
    assert codes(exchange.ask(get_folder(named("root", mailbox), "calendar"))) == [
        "ErrorNonExistentMailbox", "NoError"]


def test_each_login_sees_its_own_room_and_two_of_a_room_see_the_same(exchange: Exchange) -> None:
    theirs = account(username="lounge", room=OTHER_ROOM)
    assert subjects(exchange.ask(calendar_view(), account=theirs)) == ["Theirs"]
    twin = account(username="boardroom-2", endpoint="Trio")
    assert pairs(exchange.ask(calendar_view(), account=twin)) == pairs(exchange.ask(calendar_view()))


def impersonation(kind: str, value: str) -> str:
    return (f"<t:ExchangeImpersonation><t:ConnectingSID><t:{kind}>{value}</t:{kind}></t:ConnectingSID>"
            "</t:ExchangeImpersonation>")


@pytest.mark.parametrize(("header", "is_allowed"), [
    (impersonation("PrimarySmtpAddress", "BOARDROOM@example.com"), True),
    (impersonation("PrincipalName", "boardroom-1"), True),
    (impersonation("SmtpAddress", OTHER_ROOM.email), False), (impersonation("SID", "S-1-5-21"), False),
    (impersonation("SID", ""), False), ("<t:ExchangeImpersonation/>", False)])
def test_only_oneself_can_be_impersonated(exchange: Exchange, header: str, is_allowed: bool) -> None:
    if is_allowed:
        assert len(subjects(exchange.ask(calendar_view(), header=header))) == 3
    else:
        assert exchange.fault(calendar_view(), header=header) == "ErrorImpersonateUserDenied"


# rooms that are not read

def test_a_room_that_was_never_read_is_busy_and_never_empty() -> None:
    exchange = Exchange()
    for operation in (calendar_view(), page_view(), get_item(UNKNOWN_ID)):
        reply = exchange.post(envelope(operation))
        assert (reply.status, reply.error) == (500, "ErrorServerBusy")
        assert b'<t:Value Name="BackOffMilliseconds">10000</t:Value>' in reply.body
    assert subjects(exchange.ask(page_view(folder="inbox"))) == []
    messages = exchange.ask(get_folder("calendar"))
    assert codes(messages) == ["NoError"]
    assert not texts(messages, ".//t:TotalCount")


def test_a_stale_room_is_served(exchange: Exchange) -> None:
    exchange.cache.mark_stale(ROOM)
    assert len(subjects(exchange.ask(calendar_view()))) == 3


def test_an_empty_room_is_empty(exchange: Exchange) -> None:
    exchange.show()
    reply = exchange.post(envelope(calendar_view()))
    assert (reply.error, reply.meetings) == ("", 0)


def test_a_room_that_is_no_longer_configured_is_busy(exchange: Exchange) -> None:
    exchange.cache.configure({})
    assert exchange.fault(calendar_view()) == "ErrorServerBusy"


# versions

@pytest.mark.parametrize(("reported", "attributes"), [
    ("15.1.2507.6", ["15", "1", "2507", "6", "V2017_07_11"]), ("15.2.1", ["15", "2", "1", "0", "V2017_07_11"]),
    ("15.0.847.32", ["15", "0", "847", "32", "Exchange2013_SP1"]),
    ("15.0.516.32", ["15", "0", "516", "32", "Exchange2013"]),
    ("14.3.123.4", ["14", "3", "123", "4", "Exchange2010_SP2"]),
    ("14.1.x", ["14", "1", "0", "0", "Exchange2010_SP1"]),
    ("14", ["14", "0", "0", "0", "Exchange2010"]), ("8.3.0.0", ["8", "3", "0", "0", "Exchange2007_SP1"]),
    ("8", ["8", "0", "0", "0", "Exchange2007"]), ("20.1", ["20", "1", "0", "0", "V2017_07_11"])])
def test_the_configured_version_is_reported_with_the_name_that_goes_with_it(
        reported: str, attributes: list[str]) -> None:
    exchange = Exchange(settings={"server_version": reported})
    reply = exchange.post(envelope(get_folder("calendar")))
    assert texts(etree.fromstring(reply.body), "s:Header/t:ServerVersionInfo/@*") == attributes
    assert exchange.ask(get_folder("calendar"), version=attributes[-1]) is not None


@pytest.mark.parametrize("version", ["", "Exchange2007", "Exchange2007_SP1", "Exchange2010_SP2", "Exchange2016"])
def test_versions_that_exchange_knows_are_all_served_alike(exchange: Exchange, version: str) -> None:
    assert len(subjects(exchange.ask(calendar_view(), version=version))) == 3


def test_an_unknown_version_is_a_fault_unless_tolerated(exchange: Exchange) -> None:
    assert exchange.fault(calendar_view(), version="Exchange2019") == "ErrorInvalidServerVersion"
    exchange.settings["tolerate_unknown_versions"] = True
    exchange.restart()
    assert len(subjects(exchange.ask(calendar_view(), version="Exchange2019"))) == 3


# what cannot be served

SECRET = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd"><!ENTITY y "{}">]>'.format("ha" * 50)


@pytest.mark.parametrize(("body", "operation", "code"), [
    ("", "", "ErrorSchemaValidation"), ("not xml", "", "ErrorSchemaValidation"),
    ("<a><b></a>", "", "ErrorSchemaValidation"), ("<html><body/></html>", "", "ErrorSchemaValidation"),
    (SECRET + envelope("<m:GetItem>&x;&y;</m:GetItem>").partition("?>")[2], "", "ErrorSchemaValidation"),
    (SECRET + envelope(get_folder("&y;")).partition("?>")[2], "", "ErrorSchemaValidation"),
    (envelope("<m:GetItem>" * 100 + "</m:GetItem>" * 100), "", "ErrorSchemaValidation"),
    (envelope(""), "", "ErrorSchemaValidation"),
    (envelope("<m:FindItem/>"), "FindItem", "ErrorSchemaValidation"),
    (envelope("<m:LaunchRocket/>"), "LaunchRocket", "ErrorInvalidOperation"),
    (envelope(f"<m:{'x' * 500}/>"), "x" * 60, "ErrorInvalidOperation"),
])
def test_what_cannot_be_served_is_a_fault_that_names_operation_and_error(
        exchange: Exchange, body: str, operation: str, code: str) -> None:
    reply = exchange.post(body)
    assert (reply.status, reply.operation, reply.error) == (500, operation, code)
    assert reply.content_type == "text/xml; charset=utf-8"
    assert b"root:" not in reply.body
    assert b"haha" not in reply.body
    assert len(reply.body) < 3000


def test_a_body_beyond_the_limit_is_not_read(exchange: Exchange) -> None:
    reply = exchange.post(envelope(calendar_view()) + " " * 10_000_000)
    assert (reply.status, reply.error) == (413, "ErrorMessageSizeExceeded")


@pytest.mark.parametrize("operation", [calendar_view(), "<m:LaunchRocket/>"])
def test_soap_1_2_is_answered_in_kind(exchange: Exchange, operation: str) -> None:
    reply = exchange.post(envelope(operation, soap=SOAP_12), content_type="application/soap+xml; charset=utf-8")
    assert reply.content_type == "application/soap+xml; charset=utf-8"
    assert etree.fromstring(reply.body).tag == f"{{{SOAP_12}}}Envelope"


def test_the_envelope_decides_the_version_of_soap_before_the_content_type(exchange: Exchange) -> None:
    text, soap_12 = "text/xml; charset=utf-8", "application/soap+xml; charset=utf-8"
    assert exchange.post(envelope(calendar_view()), content_type=soap_12).content_type == text
    assert exchange.post(b"?", content_type=soap_12).content_type == soap_12
    assert exchange.post(f'<s:Envelope xmlns:s="{SOAP_12}"/>', content_type=text).content_type == soap_12


@pytest.mark.parametrize("content_type", ["", "text/xml", "text/xml; charset=UTF-8", "text/plain"])
def test_the_content_type_does_not_matter(exchange: Exchange, content_type: str) -> None:
    assert exchange.post(envelope(calendar_view()), content_type=content_type).meetings == 3


# what Microsoft's own description names, besides those of it that the published schema has
OTHER_OPERATIONS = (
    "ArchiveItem", "CreateFolderPath", "FindAvailableMeetingTimes", "FindMailboxStatisticsByKeywords",
    "FindMessageTrackingReport", "GetClientExtension", "GetImItemList", "GetInboxRules", "GetMailTips",
    "GetMessageTrackingReport", "GetPhoneCallInformation", "GetServiceConfiguration", "GetUserOofSettingsRequest",
    "PlayOnPhone", "SetUserOofSettingsRequest", "UpdateInboxRules")


def operations_of_microsoft() -> list[str]:
    """The elements of the schema that have an answer, and those above."""
    path, names = SCHEMAS / "interop" / "messages.xsd", set()
    if path.exists():
        elements = etree.parse(path).getroot().iterfind("{http://www.w3.org/2001/XMLSchema}element")
        names = {str(e.get("name")) for e in elements}
    return sorted(n for n in {*names, *OTHER_OPERATIONS} if f"{n}Response" in names or n in OTHER_OPERATIONS)


@pytest.mark.parametrize("operation", [n for n in operations_of_microsoft() if n not in SERVED])
def test_every_operation_that_is_not_served_is_a_fault_that_says_so(exchange: Exchange, operation: str) -> None:
    reply = exchange.post(envelope(f"<m:{operation}/>"))
    assert (reply.status, reply.operation, reply.error) == (500, operation, "ErrorInvalidOperation")
    assert b"<html" not in reply.body.lower()


def test_what_is_served_is_among_what_microsoft_describes() -> None:
    if schema() is None:
        pytest.skip("the published schema is not beside the checkout")
    assert set(operations_of_microsoft()) >= SERVED - {"GetUserAvailabilityRequest"}


def test_get_describes_the_service_to_a_soap_tool(exchange: Exchange, tmp_path: Path) -> None:
    reply = exchange.post(b"", method="GET", path="/EWS/Services.wsdl")
    assert (reply.status, reply.content_type) == (200, "text/xml; charset=utf-8")
    file = tmp_path / "Services.wsdl"
    file.write_bytes(reply.body)
    client: Any = zeep.Client  # the library has no types
    (service,) = client(str(file)).wsdl.services.values()
    (port,) = service.ports.values()
    assert port.binding_options["address"] == "https://otj.example.com/EWS/Exchange.asmx"
    described = {str(o.input.body.qname.localname): o for o in port.binding.all().values()}
    assert set(described) == SERVED
    assert {o.style for o in described.values()} == {"document"}
    assert described["FindItem"].soapaction == f"{NAMESPACES['m']}/FindItem"
    assert described["GetUserAvailabilityRequest"].output.body.qname.localname == "GetUserAvailabilityResponse"


def test_other_methods_are_refused(exchange: Exchange) -> None:
    reply = exchange.post(b"", method="PUT")
    assert (reply.status, reply.error) == (405, "ErrorInvalidRequest")


def test_a_bug_is_logged_and_answered_with_a_fault(
        exchange: Exchange, logged_failures: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    item_id = pairs(exchange.ask(calendar_view()))[0][0]

    def broken(*_: Any) -> Meeting:
        raise ZeroDivisionError

    monkeypatch.setattr(exchange.cache, "find", broken)
    reply = exchange.post(envelope(get_item(item_id)))
    assert (reply.status, reply.operation, reply.error) == (500, "GetItem", "ErrorInternalServerError")
    (event,) = logged_failures.flush(ZeroDivisionError)
    assert (event["endpoint"], event["room"]) == (ACCOUNT.endpoint, ROOM.email)


def test_the_reply_tells_the_log_what_was_asked_and_listed(exchange: Exchange) -> None:
    reply = exchange.post(envelope(calendar_view()))
    assert (reply.operation, reply.error, reply.meetings) == ("FindItem", "", 3)
    item_id = pairs(body_of(reply))[0][0]
    reply = exchange.post(envelope(get_item(item_id, "rubbish")))
    assert (reply.operation, reply.error, reply.meetings) == ("GetItem", "ErrorInvalidIdMalformed", None)


# limits

@pytest.mark.parametrize(("limits", "operation", "code"), [
    (Limits(ids_per_request=2), "<m:GetItem><m:ItemIds>" + '<t:ItemId Id="a"/>' * 3 + "</m:ItemIds></m:GetItem>",
     "ErrorExceededFindCountLimit"),
    (Limits(ids_per_request=2), '<m:DeleteItem DeleteType="HardDelete"><m:ItemIds>' + '<t:ItemId Id="a"/>' * 3
     + "</m:ItemIds></m:DeleteItem>", "ErrorExceededFindCountLimit"),
    (Limits(xml_elements=200), "<m:GetFolder>" + "<t:x/>" * 200 + "</m:GetFolder>", "ErrorSchemaValidation"),
    (Limits(xml_depth=16), "<m:GetFolder>" + "<t:x>" * 14 + "</t:x>" * 14 + "</m:GetFolder>",
     "ErrorSchemaValidation")])
def test_a_request_beyond_a_configured_limit_is_a_fault_and_the_next_is_served(
        limits: Limits, operation: str, code: str) -> None:
    exchange = Exchange(settings={"limits": limits})
    assert exchange.fault(operation) == code
    assert codes(exchange.ask(get_folder("calendar"))) == ["NoError"]


def test_what_is_asked_again_is_answered_as_things_are_then_and_for_who_asks(exchange: Exchange) -> None:
    asked = envelope(calendar_view())
    assert subjects(body_of(exchange.post(asked))) == ["Now", "Later", "Tomorrow"]
    stranger = account(username="other", endpoint="Other", room=OTHER_ROOM)
    exchange.show(room=OTHER_ROOM)
    assert subjects(body_of(exchange.post(asked, account=stranger))) == []
    exchange.show()
    assert subjects(body_of(exchange.post(asked))) == []


def test_who_may_not_ask_is_refused_though_another_asked_the_same(exchange: Exchange) -> None:
    impersonating = envelope(calendar_view(), header=(
        f"<t:ExchangeImpersonation><t:ConnectingSID><t:PrimarySmtpAddress>{ROOM.email}</t:PrimarySmtpAddress>"
        "</t:ConnectingSID></t:ExchangeImpersonation>"))
    assert exchange.post(impersonating).status == 200
    stranger = account(username="other", endpoint="Other", room=OTHER_ROOM)
    refused = exchange.post(impersonating, account=stranger)
    assert (refused.status, refused.error) == (500, "ErrorImpersonateUserDenied")


def test_what_is_remembered_of_requests_is_bounded(exchange: Exchange) -> None:
    for number in range(KEPT_REQUESTS + 10):
        exchange.post(envelope(calendar_view(more=f'MaxEntriesReturned="{number + 1}"')))
    assert len(exchange.service._known._known) == KEPT_REQUESTS
    newest = next(reversed(exchange.service._known._known))
    exchange.post(envelope(get_item(*("x" * 50 for _ in range(200)))))
    assert next(reversed(exchange.service._known._known)) == newest


def test_a_request_for_items_like_one_before_is_answered_as_if_it_were_the_first(exchange: Exchange) -> None:
    now, later, tomorrow = (item_id for item_id, _ in pairs(exchange.ask(calendar_view())))
    (folder,) = texts(exchange.ask(get_folder("calendar")), ".//t:FolderId/@Id")
    asked = [get_item(*refs) for refs in (
        (now,), (later,), (tomorrow,), (now, later), (later, now), (now, now), ("*",), ("*", now), (now, "*"),
        ("AAAA",), (folder,), ("",), (f'<t:ItemId ChangeKey="AAAA" Id="{now}"/>',),
        (f'<t:ItemId ChangeKey="BBBB" Id="{later}"/>',), (f'<t:ItemId Id="{now}" ChangeKey="A"/>',),
        (f"<t:ItemId Id='{now}'/>",), (f'<t:ItemId Id=" {now} "/>',),
        (f'<!-- <t:ItemId Id="{now}"/> -->', later), (f'<!-- <t:ItemId Id="{later}"/> -->', now),
        (f'<t:ItemId Id="{now}"/><x Id="{later}"/>',), (f'<x Id="{later}"/><t:ItemId Id="{now}"/>',),
        (f'<t:OccurrenceItemId RecurringMasterId="{now}" InstanceIndex="1"/>', now),
        (f'<t:OccurrenceItemId RecurringMasterId="{later}" InstanceIndex="1"/>', later))]
    for body in (*asked, *reversed(asked)):
        assert exchange.post(envelope(body)) == busy_room().post(envelope(body)), body


def test_requests_for_one_item_after_the_other_are_remembered_as_one(exchange: Exchange) -> None:
    ids = [item_id for item_id, _ in pairs(exchange.ask(calendar_view()))]
    before = len(exchange.service._known._known)
    for item_id in ids:
        exchange.ask(get_item(item_id))
    assert len(exchange.service._known._known) == before + 1
