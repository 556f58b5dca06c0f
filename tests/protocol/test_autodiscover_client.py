from __future__ import annotations

from datetime import datetime
from functools import cache

import pytest
from lxml import etree

from otjd.protocol.autodiscover import read_pox, write_pox, write_pox_error
from otjd.protocol.autodiscover_client import (
    NAMESPACE,
    Outcome,
    Settings,
    get_settings_pox,
    get_user_settings,
    read_settings_pox,
    read_user_settings,
)
from otjd.protocol.ews_client import UnreadableAnswerError
from tests.protocol.test_ews_client import answer
from tests.serve.ews_support import SCHEMAS

URL = "https://autodiscover.example.com/autodiscover/autodiscover.svc"


@cache
def soap_schema() -> etree.XMLSchema | None:
    path = SCHEMAS / "autodiscover" / "autodiscover-soap.xsd"
    return etree.XMLSchema(etree.parse(path)) if path.exists() else None


def user(code: str = "NoError", target: str = "", **settings: str) -> str:
    values = "".join(f"<a:UserSetting><a:Name>{name}</a:Name><a:Value>{value}</a:Value></a:UserSetting>"
                     for name, value in settings.items())
    return (f"<a:UserResponse><a:ErrorCode>{code}</a:ErrorCode><a:ErrorMessage>Words.</a:ErrorMessage>"
            f"<a:RedirectTarget>{target}</a:RedirectTarget><a:UserSettingErrors/><a:UserSettings>{values}"
            "</a:UserSettings></a:UserResponse>")


def response(*users: str, code: str = "NoError") -> bytes:
    return answer(f'<a:GetUserSettingsResponseMessage xmlns:a="{NAMESPACE}"><a:Response><a:ErrorCode>{code}'
                  f"</a:ErrorCode><a:ErrorMessage/><a:UserResponses>{''.join(users)}</a:UserResponses></a:Response>"
                  "</a:GetUserSettingsResponseMessage>")


def only(*users: str, code: str = "NoError") -> Settings:
    return read_user_settings(response(*users, code=code), "", ["a@example.com"])["a@example.com"]


def test_the_request_asks_for_many_mailboxes_and_validates() -> None:
    root = etree.fromstring(get_user_settings(URL, ["a@example.com", "b&c@example.com"]))
    validator = soap_schema()
    if validator is not None:
        validator.assertValid(root[1][0])
    spaces = {"a": NAMESPACE, "w": "http://www.w3.org/2005/08/addressing"}
    assert [e.text for e in root.iterfind(".//a:Mailbox", spaces)] == ["a@example.com", "b&c@example.com"]
    assert root.findtext(".//w:To", namespaces=spaces) == URL


def test_settings_come_in_the_order_asked() -> None:
    both = {"ExternalEwsUrl": "https://out/ews", "InternalEwsUrl": "https://in/ews"}
    body = response(user(**both, GroupingInformation="g1"), user("InvalidUser"))
    found = read_user_settings(body, "", ["a@example.com", "b@example.com"])
    assert found["a@example.com"] == Settings(Outcome.FOUND, "https://out/ews", "https://in/ews", "g1")
    assert found["b@example.com"].outcome is Outcome.UNKNOWN
    assert "Words." in found["b@example.com"].words


@pytest.mark.parametrize(("code", "outcome"), [
    ("RedirectAddress", Outcome.OTHER_ADDRESS), ("RedirectUrl", Outcome.OTHER_URL), ("ServerBusy", Outcome.BUSY),
    ("InternalServerError", Outcome.UNKNOWN)])
def test_redirects_and_errors_are_told_apart(code: str, outcome: Outcome) -> None:
    found = only(user(code, "elsewhere"))
    assert found.outcome is outcome
    assert found.target == ("elsewhere" if "Redirect" in code else "")


@pytest.mark.parametrize(("code", "words"), [
    ("InvalidUser", "no such mailbox"), ("InvalidDomain", "no such mailbox"),
    ("InternalServerError", "cannot tell where"), ("NotFederated", "cannot tell where")])
def test_a_service_in_trouble_does_not_deny_a_mailbox(code: str, words: str) -> None:
    assert words in only(user(code)).words
    assert code in only(user(code)).words


def test_a_refusal_of_the_whole_request_counts_for_each_mailbox() -> None:
    assert only(code="ServerBusy").outcome is Outcome.BUSY
    assert only(code="InvalidRequest").outcome is Outcome.UNKNOWN


def test_urls_that_are_not_https_are_not_taken() -> None:
    assert only(user(ExternalEwsUrl="http://out/ews", InternalEwsUrl="https://in/ews")) == Settings(
        Outcome.FOUND, "", "https://in/ews")
    for url in ("http://out/ews", "https://[", "https://a b/", "https://user@out/ews", "https://out:x/", "https://"):
        found = only(user(ExternalEwsUrl=url))
        assert (found.outcome, "ews_url" in found.words) == (Outcome.UNKNOWN, True), url


@pytest.mark.parametrize("body", [b"", b"<x/>", response(user(), user()), response()])
def test_what_does_not_answer_the_question_is_refused(body: bytes) -> None:
    with pytest.raises(UnreadableAnswerError):
        read_user_settings(body, "", ["a@example.com"])


def test_the_older_form_is_asked_and_read() -> None:
    """Against the half of the protocol that otjd serves to endpoints."""
    assert read_pox(get_settings_pox("a@example.com")).email == "a@example.com"
    found = read_settings_pox(write_pox(email="a@example.com", ews_url="https://otj/EWS/Exchange.asmx"), "")
    assert found == Settings(Outcome.FOUND, "https://otj/EWS/Exchange.asmx", "https://otj/EWS/Exchange.asmx")
    error = write_pox_error(500, now=datetime(2026, 3, 2), server_id=1)  # noqa: DTZ001 - only its clock is shown
    assert read_settings_pox(error, "").outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(("action", "outcome"), [
    ("<Action>redirectAddr</Action><RedirectAddr>b@example.com</RedirectAddr>", Outcome.OTHER_ADDRESS),
    ("<Action>redirectUrl</Action><RedirectUrl>b@example.com</RedirectUrl>", Outcome.OTHER_URL)])
def test_redirects_of_the_older_form_are_read(action: str, outcome: Outcome) -> None:
    body = f"<Autodiscover><Response><Account>{action}</Account></Response></Autodiscover>".encode()
    assert read_settings_pox(body, "") == Settings(outcome, target="b@example.com")


@pytest.mark.parametrize("body", [b"", b"<html/>", b"<Autodiscover/>"])
def test_what_is_not_the_older_form_is_refused(body: bytes) -> None:
    with pytest.raises(UnreadableAnswerError):
        read_settings_pox(body, "")
