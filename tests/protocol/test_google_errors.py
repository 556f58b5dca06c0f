"""Google's errors, as its guide shows them, told apart."""

from __future__ import annotations

import json

import pytest

from otjd.protocol.google_errors import Concern, Problem, problem_of

ROOM = "room@resource.calendar.google.com"
ACCOUNT = "otj@project.iam.gserviceaccount.com"


def error(status: int, reason: str, message: str = "It is so.") -> bytes:
    return json.dumps({"error": {"errors": [{"domain": "global", "reason": reason, "message": message}],
                                 "code": status, "message": message}}).encode()


def problem(status: int, body: bytes) -> Problem:
    return problem_of(status, body, account=ACCOUNT, room=ROOM)


@pytest.mark.parametrize(("status", "reason", "concern", "words"), [
    (400, "timeRangeEmpty", Concern.REQUEST, "refused the request (400 timeRangeEmpty: It is so.)"),
    (400, "timeRangeTooLong", Concern.RANGE, "longer than Google allows"),
    (401, "authError", Concern.TOKEN, f"does not accept the access token of {ACCOUNT}"),
    (401, "somethingNew", Concern.TOKEN, "access token"),
    (401, "push.webhookUrlUnauthorized", Concern.PUSH, "notification_url"),
    (400, "push.somethingNew", Concern.PUSH, "no channel"),
    (403, "userRateLimitExceeded", Concern.PATIENCE, "allows a user"),
    (403, "rateLimitExceeded", Concern.PATIENCE, "allows the project"),
    (429, "rateLimitExceeded", Concern.PATIENCE, "allows the project"),
    (403, "quotaExceeded", Concern.LONG_PATIENCE, "usage limits"),
    (403, "dailyLimitExceeded", Concern.LONG_PATIENCE, "raise its quota"),
    (403, "accessNotConfigured", Concern.SIGN_IN, "enable it in the Google Cloud console"),
    (403, "insufficientPermissions", Concern.SIGN_IN, "does not include Google Calendar"),
    (403, "forbidden", Concern.ROOM, f"share it with {ACCOUNT}"),
    (403, "requiredAccessLevel", Concern.ROOM, f"only see when {ROOM} is busy"),
    (403, "somethingNew", Concern.ROOM, f"may not read {ROOM}"),
    (404, "notFound", Concern.ROOM, "'See all event details'"),
    (410, "fullSyncRequired", Concern.FULL_SYNC, "no longer valid"),
    (410, "updatedMinTooLongAgo", Concern.FULL_SYNC, "too old"),
    (410, "deleted", Concern.ROOM, "was deleted"),
    (412, "conditionNotMet", Concern.REQUEST, "refused"),
    (500, "backendError", Concern.LATER, "cannot answer at present (500 backendError: It is so.)"),
    (503, "rateLimitExceeded", Concern.LATER, "cannot answer"),
])
def test_an_error_says_whom_it_concerns_and_what_to_do(status: int, reason: str, concern: Concern,
                                                       words: str) -> None:
    found = problem(status, error(status, reason))
    assert found.concern is concern
    assert words in found.words
    assert found.reason == reason


def test_the_newer_form_of_errors_is_understood_too() -> None:
    body = {"error": {"code": 403, "message": "Request had insufficient authentication scopes.",
                      "errors": [{"reason": "insufficientPermissions"}], "status": "PERMISSION_DENIED",
                      "details": [{"reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT"}]}}
    assert problem(403, json.dumps(body).encode()).concern is Concern.SIGN_IN


@pytest.mark.parametrize("body", [b"", b"<html>Not found</html>", b"[]", b'{"error": "x"}', b"[" * 100_000,
                                  b'{"code": 404}'])
def test_what_is_not_googles_answer_is_told_from_a_calendar_that_is_not_there(body: bytes) -> None:
    assert problem(404, body).concern is Concern.REQUEST
    assert "api_url" in problem(404, body).words
    assert problem(502, body).concern is Concern.LATER
    assert problem(401, body).concern is Concern.TOKEN
    assert problem(429, body).concern is Concern.PATIENCE


def test_a_long_message_is_cut_and_stays_on_one_line() -> None:
    found = problem(400, error(400, "x", "a\nb {room} " + "y" * 5000))
    assert "a b {room} y" in found.words
    assert len(found.words) < 500
