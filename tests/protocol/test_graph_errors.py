"""Errors of Graph: whom they concern, and what is said of them. Texts are those that Microsoft documents."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from otjd.protocol.graph_errors import Cause, GraphProblem, problem, read_error

ROOM = "room@example.com"


def answer(status: int, code: str = "", message: str = "", room: str = ROOM, **headers: str) -> GraphProblem:
    body = json.dumps({"error": {"code": code, "message": message, "innerError": {"date": "2026-11-21"}}}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return problem(status, named, body if code or message else b"", room=room, client="1234-client")


RAOP = "Access to OData is disabled: [RAOP] : Blocked by tenant configured AppOnly AccessPolicy settings."
TABLE = [
    (404, "ErrorInvalidUser", "The requested user 'x' is invalid.", Cause.ROOM, "Get-Mailbox -Recipient"),
    (404, "ResourceNotFound", "Resource could not be discovered.", Cause.ROOM, "user principal name"),
    (404, "MailboxNotEnabledForRESTAPI", "REST API is not yet supported for this mailbox.", Cause.ROOM,
     "Get-Mailbox -Identity room@example.com"),
    (403, "ErrorAccessDenied", RAOP, Cause.ROOM,
     "Test-ApplicationAccessPolicy -Identity room@example.com -AppId 1234-client"),
    (403, "ErrorAccessDenied", "Access to OData is disabled.", Cause.ROOM, "30 minutes to 2 hours"),
    (403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.", Cause.ROOM,
     "Test-ServicePrincipalAuthorization -Identity 1234-client -Resource room@example.com"),
    (403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.", Cause.REFUSED,
     "grant admin consent"),
    (401, "InvalidAuthenticationToken", "Lifetime validation failed, the token is expired.", Cause.UNSIGNED,
     "of the same cloud"),
    (429, "ApplicationThrottled", "Application is over its MailboxConcurrency limit.", Cause.ROOM_BUSY,
     "patience"),
    (429, "TooManyRequests", "Too many requests", Cause.BUSY, "patience"),
    (503, "ErrorMailboxStoreUnavailable", "The mailbox store is unavailable.", Cause.ROOM_BUSY, "patience"),
    (410, "SyncStateNotFound", "The sync state generation is not found; generation id.", Cause.GONE, "not there"),
    (404, "ErrorItemNotFound", "The specified object was not found in the store.", Cause.GONE, "not there"),
    (400, "ErrorInvalidParameter", "The value is not valid.", Cause.REQUEST, "not accepted"),
    (500, "InternalServerError", "It failed.", Cause.UNREACHABLE, "in trouble"),
    (200 + 102, "", "", Cause.UNREACHABLE, "graph_api_domain"),
    (404, "", "", Cause.UNREACHABLE, "graph_api_domain"),
    (502, "", "", Cause.UNREACHABLE, "502"),
]


@pytest.mark.parametrize(("status", "code", "message", "cause", "words"), TABLE)
def test_every_error_is_told_apart_with_what_to_do(status: int, code: str, message: str, cause: Cause,
                                                   words: str) -> None:
    found = answer(status, code, message)
    assert found.cause is cause
    assert words in found.text
    assert (code or str(status)) in found.text
    assert "{" not in found.text


def test_an_error_of_no_room_never_speaks_of_one() -> None:
    assert answer(429, "ApplicationThrottled", room="").cause is Cause.BUSY
    assert answer(404, "ResourceNotFound", room="").cause is Cause.GONE
    assert answer(403, "ErrorAccessDenied", room="").cause is Cause.REFUSED


@pytest.mark.parametrize(("given", "wait_s"), [
    ("7", 7), ("0", 1), ("99999", 3600), ("soon", 30), ("-3", 30), ("", 30), ("9" * 5000, 3600),
    ("Mon, 02 Mar 2026 08:02:00 GMT", 120)])
def test_how_long_to_wait_is_taken_within_reason(given: str, wait_s: float) -> None:
    found = answer(429, "TooManyRequests", retry_after=given, date="Mon, 02 Mar 2026 08:00:00 GMT")
    assert found.retry_after == timedelta(seconds=wait_s)


def test_trouble_with_a_time_to_wait_is_patience_and_a_mailbox_that_moves_is_given_a_minute() -> None:
    for status in (503, 504):
        assert answer(status, retry_after="12").cause is Cause.BUSY
        assert answer(status, retry_after="12").retry_after == timedelta(seconds=12)
    assert answer(503).cause is Cause.UNREACHABLE
    assert answer(503, "ErrorMailboxMoveInProgress").retry_after == timedelta(minutes=1)


@pytest.mark.parametrize("body", [
    b"", b"<html>", b"[]", b'{"error": 5}', b'{"error": {"code": {}}}', b"[" * 50_000, b"\xff\xfe",
    b'{"error": {"code": "' + b"a" * 200_000 + b'"}}'])
def test_whatever_comes_as_an_error_is_taken(body: bytes) -> None:
    assert len("".join(read_error(body))) <= 600
    assert problem(400, {}, body, room=ROOM, client="").cause in {Cause.UNREACHABLE, Cause.REQUEST}
