"""Signing in to a simulated Google, with google-auth, and by hand where that would not make the mistake."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from google.auth import crypt, jwt
from google.auth.exceptions import RefreshError
from google.oauth2.credentials import Credentials
from google_auth_httplib2 import Request

from otjd.simulate.google_errors import SignInError
from otjd.simulate.google_settings import make_service_account
from tests.simulate.google_world import (
    ACCOUNT,
    CONSENT,
    KEY_FILE,
    READ,
    REDIRECT,
    SETTINGS,
    World,
    google,
    reason,
)

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
AUDIENCE = "https://oauth2.googleapis.com/token"
VERIFIER = "v" * 50
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
CALENDAR = "/calendar/v3/calendars/boardroom%40example.com/events"


async def refused(w: World, credentials: Any) -> tuple[str, str]:
    def refresh() -> None:
        credentials.refresh(Request(w.http()))

    with pytest.raises(RefreshError) as caught:
        await w.run(refresh)
    body = caught.value.args[1]
    return body["error"], body["error_description"]


async def post(w: World, form: Mapping[str, str], **headers: str) -> tuple[int, Any]:
    status, body, _ = await w.ask("POST", "/token", form=form, headers=headers)
    return status, body


def assertion(w: World, key_file: str = KEY_FILE, **changed: Any) -> dict[str, str]:
    issued = int(w.now.timestamp())
    claims = {"iss": ACCOUNT.email, "aud": AUDIENCE, "scope": READ, "iat": issued, "exp": issued + 3600, **changed}
    make: Any = crypt.RSASigner.from_service_account_info
    encode: Any = jwt.encode
    return {"grant_type": GRANT, "assertion": encode(make(json.loads(key_file)), claims).decode()}


# --- service accounts ---

async def test_a_service_account_gets_a_token_that_opens_calendars(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        w.book(subject="Review")
        assert [e["summary"] for e in (await w.events())[0]] == ["Review"]
        status, body = await post(w, assertion(w))
        assert status == 200
        assert set(body) == {"access_token", "expires_in", "token_type"}
        assert body["expires_in"] == 3599


async def test_the_address_of_the_simulation_is_an_audience_as_well_as_googles(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        for audience in (AUDIENCE, f"{w.url}/token"):
            assert (await post(w, assertion(w, aud=audience)))[0] == 200


async def test_a_service_account_acts_for_delegated_users_only(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        credentials = w.credentials().with_subject("admin@example.com")
        await w.run(lambda: credentials.refresh(Request(w.http())))
        assert credentials.token
        error, _ = await refused(w, w.credentials().with_subject("stranger@example.com"))
        assert error == "unauthorized_client"


async def test_a_wrong_key_an_unknown_account_and_a_wrong_scope_are_told_apart(tmp_path: Path) -> None:
    _, stolen = make_service_account(ACCOUNT.email)
    async with google(tmp_path) as w:
        key = json.loads(stolen)["private_key"]
        assert await refused(w, w.credentials(private_key=key)) == ("invalid_grant", "Invalid JWT Signature.")
        assert await refused(w, w.credentials(private_key_id="0" * 40)) == ("invalid_grant",
                                                                            "Invalid JWT Signature.")
        assert await refused(w, w.credentials(client_email="x@y.iam.gserviceaccount.com")) == (
            "invalid_grant", "Invalid grant: account not found")
        error, _ = await refused(w, w.credentials(("https://www.googleapis.com/auth/calender",)))
        assert error == "invalid_scope"


@pytest.mark.parametrize("changed", [
    {"aud": "https://example.com/token"}, {"iat": 0, "exp": 3600}, {"exp": 10 ** 12}, {"iat": "now"},
    {"iss": None}])
async def test_an_assertion_with_wrong_claims_is_refused(tmp_path: Path, changed: Mapping[str, Any]) -> None:
    async with google(tmp_path) as w:
        status, body = await post(w, assertion(w, **changed))
        assert (status, body["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c", "e30.e30.e30", "W10.W10.AA"])
async def test_what_is_no_assertion_is_refused(tmp_path: Path, text: str) -> None:
    async with google(tmp_path) as w:
        status, body = await post(w, {"grant_type": GRANT, "assertion": text})
        assert (status, body["error"]) == (400, "invalid_grant")


async def test_unknown_grants_and_forms_are_refused(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        assert (await post(w, {"grant_type": "password"}))[1]["error"] == "unsupported_grant_type"
        assert (await post(w, {"assertion": "x"}))[1]["error"] == "invalid_request"
        _, body, _ = await w.ask("POST", "/token", body={"grant_type": GRANT}, headers={})
        assert body["error"] == "invalid_request"


async def test_signing_in_is_refused_on_command(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        w.api.sign_in.refusal = SignInError("invalid_grant", "reauth related error (invalid_rapt)",
                                            subtype="invalid_rapt")
        assert (await refused(w, w.credentials()))[0] == "invalid_grant"
        assert w.api.refused["invalid_grant"] == 1


# --- access tokens ---

async def test_a_token_that_expired_is_refused_and_googles_client_gets_another(tmp_path: Path) -> None:
    async with google(tmp_path, replace(SETTINGS, token_life=timedelta(minutes=4))) as w:
        client = w.client()
        await w.events(client)
        w.now += timedelta(minutes=4)
        await w.events(client)
        assert w.api.refused["authError"] == 1
        assert w.api.requests["token"] == 2


@pytest.mark.parametrize(("headers", "why"), [
    ({}, "required"), ({"Authorization": "Bearer ya29.no"}, "authError"),
    ({"Authorization": "Basic eA=="}, "authError")])
async def test_nothing_is_shown_without_a_token(tmp_path: Path, headers: Mapping[str, str], why: str) -> None:
    async with google(tmp_path) as w:
        status, body, got = await w.ask("GET", CALENDAR, headers=headers)
        assert (status, reason(body)) == (401, (401, why))
        assert got["www-authenticate"].startswith("Bearer")


async def test_a_token_is_good_for_its_scope_only(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        _, body = await post(w, assertion(w, scope="https://www.googleapis.com/auth/calendar.freebusy"))
        headers = {"Authorization": f"Bearer {body['access_token']}"}
        status, body, _ = await w.ask("GET", CALENDAR, headers=headers)
        assert (status, reason(body)) == (403, (403, "insufficientPermissions"))
        _, body, _ = await w.ask("POST", "/calendar/v3/freeBusy", headers=headers, body={})
        assert reason(body) == (400, "required")


# --- consent of a user ---

def consent(**changed: str) -> dict[str, str]:
    return {"client_id": CONSENT.client_id, "redirect_uri": REDIRECT, "response_type": "code", "scope": READ,
            "state": "s1", "access_type": "offline", "code_challenge": CHALLENGE, "code_challenge_method": "S256",
            **changed}


async def visit(w: World, **changed: str) -> dict[str, str]:
    status, _, headers = await w.ask("GET", "/o/oauth2/v2/auth", query=consent(**changed), headers={})
    assert status == 302
    assert headers["location"].startswith(f"{REDIRECT}?")
    return {name: values[0] for name, values in parse_qs(urlsplit(headers["location"]).query).items()}


def exchange(code: str, **changed: str) -> dict[str, str]:
    return {"grant_type": "authorization_code", "code": code, "client_id": CONSENT.client_id,
            "client_secret": CONSENT.client_secret, "redirect_uri": REDIRECT, "code_verifier": VERIFIER, **changed}


async def test_consent_brings_a_code_and_that_a_refresh_token_that_google_auth_uses(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        w.book(subject="Review")
        back = await visit(w)
        assert back["state"] == "s1"
        status, body = await post(w, exchange(back["code"]))
        assert status == 200
        assert body["scope"] == READ
        credentials = Credentials(  # type: ignore[no-untyped-call]
            None, refresh_token=body["refresh_token"], token_uri=f"{w.url}/token", client_id=CONSENT.client_id,
            client_secret=CONSENT.client_secret)
        assert [e["summary"] for e in (await w.events(w.client(credentials)))[0]] == ["Review"]
        w.api.sign_in.revoke()
        assert await refused(w, credentials) == ("invalid_grant", "Token has been expired or revoked.")


async def test_there_is_no_refresh_token_without_offline_access(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        back = await visit(w, access_type="online")
        assert "refresh_token" not in (await post(w, exchange(back["code"])))[1]


async def test_a_code_is_good_once_for_who_asked_for_it_and_not_for_long(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        async def error(**changed: str) -> str:
            code = (await visit(w))["code"]
            answer: str = (await post(w, exchange(code, **changed)))[1]["error_description"]
            return answer

        code = (await visit(w))["code"]
        assert (await post(w, exchange(code)))[0] == 200
        assert (await post(w, exchange(code)))[1]["error"] == "invalid_grant"
        assert await error(code_verifier="w" * 50) == "Invalid code verifier."
        assert await error(code_verifier="") == "Missing code verifier."
        assert (await post(w, exchange((await visit(w))["code"], redirect_uri="http://x/")))[1]["error"] == (
            "redirect_uri_mismatch")
        code = (await visit(w))["code"]
        w.now += timedelta(minutes=10)
        assert (await post(w, exchange(code)))[1]["error"] == "invalid_grant"


async def test_a_client_must_say_who_it_is_also_by_basic_authentication(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        form = {"grant_type": "refresh_token", "refresh_token": "1//none"}
        assert (await post(w, form))[1]["error"] == "invalid_request"
        for client, secret, status, error in (("nobody", "x", 401, "invalid_client"),
                                              (CONSENT.client_id, "wrong", 401, "invalid_client"),
                                              (CONSENT.client_id, CONSENT.client_secret, 400, "invalid_grant")):
            given = {"client_id": client, "client_secret": secret}
            basic = base64.b64encode(f"{client}:{secret}".encode()).decode()
            for answer in (await post(w, {**form, **given}), await post(w, form, Authorization=f"Basic {basic}")):
                assert (answer[0], answer[1]["error"]) == (status, error)


async def test_who_denies_consent_is_sent_back_with_an_error(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        w.api.sign_in.denies_consent = True
        assert await visit(w) == {"error": "access_denied", "state": "s1"}


@pytest.mark.parametrize(("changed", "status"), [
    ({"client_id": "nobody"}, 401), ({"redirect_uri": "http://evil/"}, 400), ({"response_type": "token"}, 400),
    ({"scope": ""}, 400), ({"scope": "calendar"}, 400), ({"code_challenge_method": "S512"}, 400),
    ({"code_challenge": ""}, 400)])
async def test_a_wrong_request_for_consent_is_a_page_and_no_redirect(tmp_path: Path, changed: Mapping[str, str],
                                                                     status: int) -> None:
    async with google(tmp_path) as w:
        got, body, headers = await w.ask("GET", f"/o/oauth2/v2/auth?{urlencode(consent(**changed))}", headers={})
        assert got == status
        assert b"Error" in body
        assert "location" not in headers


async def test_the_oldest_of_more_than_a_hundred_refresh_tokens_goes_without_a_word(tmp_path: Path) -> None:
    async with google(tmp_path) as w:
        first = ""
        for _ in range(101):
            _, body = await post(w, exchange((await visit(w))["code"]))
            first = first or body["refresh_token"]
        form = {"grant_type": "refresh_token", "client_id": CONSENT.client_id,
                "client_secret": CONSENT.client_secret}
        assert (await post(w, {**form, "refresh_token": first}))[1]["error"] == "invalid_grant"
        assert (await post(w, {**form, "refresh_token": body["refresh_token"]}))[0] == 200
