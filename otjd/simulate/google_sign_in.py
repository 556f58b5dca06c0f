"""Signing in to a simulated Google: assertions of service accounts, consent of users, the tokens for either."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from otjd.simulate.codec_http import Answer
from otjd.simulate.google_errors import SignInError, json_answer, page
from otjd.simulate.google_settings import ConsentClient, GoogleSettings, ServiceAccount

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPE = "https://www.googleapis.com/auth/"
AUDIENCES = ("https://oauth2.googleapis.com/token", "https://www.googleapis.com/oauth2/v4/token",
             "https://accounts.google.com/o/oauth2/token")
ASSERTION_LIFE = timedelta(hours=1)
SKEW = timedelta(minutes=5)
CODE_LIFE = timedelta(minutes=10)
REFRESH_TOKENS = 100
"""So many live refresh tokens may a user have for a client; the oldest goes without a word."""

_SCOPES = frozenset({
    "calendar", "calendar.acls", "calendar.acls.readonly", "calendar.app.created", "calendar.calendarlist",
    "calendar.calendarlist.readonly", "calendar.calendars", "calendar.calendars.readonly", "calendar.events",
    "calendar.events.freebusy", "calendar.events.owned", "calendar.events.owned.readonly",
    "calendar.events.public.readonly", "calendar.events.readonly", "calendar.freebusy", "calendar.readonly",
    "calendar.settings.readonly", "userinfo.email", "userinfo.profile"})
_PLAIN_SCOPES = frozenset({"openid", "email", "profile"})
_BAD_TIME = ("Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
             "Check your iat and exp values in the JWT claim.")
_NOT_ALLOWED = ("Client is unauthorized to retrieve access tokens using this method, or client not authorized for "
                "any of the scopes requested.")


@dataclass(frozen=True, slots=True)
class Grant:
    """Who may do what with an access token, and until when. `scopes` are without their common beginning.

    Requests are counted for `counted_as`: the service account, also where it acts in the name of a user.
    """

    user: str
    counted_as: str
    scopes: frozenset[str]
    expires: datetime


@dataclass(frozen=True, slots=True)
class _Code:
    client: ConsentClient
    redirect_uri: str
    scope: str
    challenge: str
    is_offline: bool
    expires: datetime


@dataclass(frozen=True, slots=True)
class _Refresh:
    client: ConsentClient
    scope: str


class SignIn:
    """The token endpoint and the consent page.

    `refusal`, while it is set, is what every request for a token is told, such as
    `SignInError("invalid_grant", "Token has been expired or revoked.")`. With `denies_consent` users say no.
    """

    def __init__(self, settings: GoogleSettings, *, now: Callable[[], datetime],
                 random_bytes: Callable[[int], bytes]) -> None:
        self.refusal: SignInError | None = None
        self.denies_consent = False
        self.audiences = set(AUDIENCES)
        self._settings = settings
        self._now = now
        self._random_bytes = random_bytes
        self._accounts = {a.email: a for a in settings.service_accounts}
        self._clients = {c.client_id: c for c in settings.consent_clients}
        self._tokens: dict[str, Grant] = {}
        self._codes: dict[str, _Code] = {}
        self._refresh: dict[str, _Refresh] = {}

    def grant(self, authorization: str) -> Grant | None:
        """What the token of this Authorization header allows now; None where it is no valid token."""
        scheme, _, token = authorization.partition(" ")
        found = self._tokens.get(token.strip()) if scheme.lower() == "bearer" else None
        return found if found is not None and self._now() < found.expires else None

    def expire_tokens(self) -> None:
        """Have no access token be valid any more."""
        self._tokens.clear()

    def revoke(self) -> None:
        """Have no refresh token and no access token be valid any more, as when users withdraw their consent."""
        self._refresh.clear()
        self._tokens.clear()

    # --- the consent page ---

    def consent(self, query: Mapping[str, str]) -> Answer:
        """Answer a browser that was sent here: back at once with a code, or a page where that is not safe."""
        client = self._clients.get(query.get("client_id", ""))
        if client is None:
            return page(401, "Error 401: invalid_client. The OAuth client was not found.")
        wrong = _why_not(query, client)
        if wrong:
            return page(400, f"Error 400: {wrong}")
        redirect_uri, scope = query["redirect_uri"], query["scope"]
        back = {"state": query["state"]} if "state" in query else {}
        if self.denies_consent:
            return _redirect(redirect_uri, {**back, "error": "access_denied"})
        code = "4/0" + self._secret(48)
        challenge = query.get("code_challenge", "")
        method = query.get("code_challenge_method", "plain")
        self._codes[code] = _Code(client, redirect_uri, scope, f"{method}:{challenge}" if challenge else "",
                                  query.get("access_type") == "offline", self._now() + CODE_LIFE)
        return _redirect(redirect_uri, {**back, "code": code, "scope": scope})

    # --- the token endpoint ---

    def token(self, body: bytes, content_type: str, authorization: str) -> Answer:
        """Answer a request for a token.

        :raises SignInError: there is none.
        """
        if self.refusal is not None:
            raise self.refusal
        if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
            raise SignInError("invalid_request", "Missing required parameter: grant_type")
        form = _form(body)
        match form.get("grant_type"):
            case "urn:ietf:params:oauth:grant-type:jwt-bearer":
                return self._by_assertion(form.get("assertion", ""))
            case "authorization_code":
                return self._by_code(form, authorization)
            case "refresh_token":
                return self._by_refresh_token(form, authorization)
            case None:
                raise SignInError("invalid_request", "Required parameter is missing: grant_type")
            case other:
                raise SignInError("unsupported_grant_type", f"Invalid grant_type: {other[:80]}")

    def _by_assertion(self, assertion: str) -> Answer:
        header, claims, signature = _parts(assertion)
        account = self._accounts.get(str(claims.get("iss", "")))
        if account is None:
            raise SignInError("invalid_grant", "Invalid grant: account not found")
        if header.get("alg") != "RS256" or header.get("kid", account.key_id) != account.key_id or not _is_signed(
                account, assertion, signature):
            raise SignInError("invalid_grant", "Invalid JWT Signature.")
        if claims.get("aud") not in self.audiences:
            raise SignInError("invalid_grant", "Invalid JWT: Failed audience check. The right audience is "
                                               f"{AUDIENCES[0]}")
        self._check_time(claims)
        scopes = _scopes(str(claims.get("scope", "")))
        user = str(claims.get("sub") or account.email)
        if user not in {account.email} | account.delegated:
            raise SignInError("unauthorized_client", _NOT_ALLOWED, 401)
        return json_answer(self._issue(user, scopes, account.email))

    def _check_time(self, claims: Mapping[str, Any]) -> None:
        issued, expires = claims.get("iat"), claims.get("exp")
        if not (isinstance(issued, int | float) and isinstance(expires, int | float)):
            raise SignInError("invalid_grant", _BAD_TIME)
        now, skew = self._now().timestamp(), SKEW.total_seconds()
        if not (issued <= now + skew and now < expires + skew and issued < expires
                and expires - issued <= ASSERTION_LIFE.total_seconds()):
            raise SignInError("invalid_grant", _BAD_TIME)

    def _client(self, form: Mapping[str, str], authorization: str) -> ConsentClient:
        client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
        if authorization.lower().startswith("basic "):
            try:
                pair = base64.b64decode(authorization[6:], validate=True).decode()
            except ValueError:
                pair = ""
            client_id, _, secret = pair.partition(":")
        if not client_id:
            raise SignInError("invalid_request", "Could not determine client ID from request.")
        client = self._clients.get(client_id)
        if client is None:
            raise SignInError("invalid_client", "The OAuth client was not found.", 401)
        if not hmac.compare_digest(secret.encode(), client.client_secret.encode()):
            raise SignInError("invalid_client", "Unauthorized", 401)
        return client

    def _by_code(self, form: Mapping[str, str], authorization: str) -> Answer:
        client = self._client(form, authorization)
        code = self._codes.pop(form.get("code", ""), None)  # a code is good for one attempt
        if code is None or code.client is not client or self._now() >= code.expires:
            raise SignInError("invalid_grant", "Malformed auth code.")
        if form.get("redirect_uri") != code.redirect_uri:
            raise SignInError("redirect_uri_mismatch", "Bad Request")
        if code.challenge:
            verifier = form.get("code_verifier", "")
            if not verifier:
                raise SignInError("invalid_grant", "Missing code verifier.")
            if code.challenge not in (f"plain:{verifier}", f"S256:{_s256(verifier)}"):
                raise SignInError("invalid_grant", "Invalid code verifier.")
        answer = self._issue(client.user, _scopes(code.scope), client.user) | {"scope": code.scope}
        if code.is_offline:
            answer["refresh_token"] = self._new_refresh_token(client, code.scope)
        return json_answer(answer)

    def _new_refresh_token(self, client: ConsentClient, scope: str) -> str:
        live = [token for token, found in self._refresh.items() if found.client is client]
        for token in live[:max(0, len(live) - REFRESH_TOKENS + 1)]:
            del self._refresh[token]
        token = "1//" + self._secret(48)
        self._refresh[token] = _Refresh(client, scope)
        return token

    def _by_refresh_token(self, form: Mapping[str, str], authorization: str) -> Answer:
        client = self._client(form, authorization)
        token = form.get("refresh_token")
        if token is None:
            raise SignInError("invalid_request", "Missing required parameter: refresh_token")
        known = self._refresh.get(token)
        if known is None or known.client is not client:
            raise SignInError("invalid_grant", "Token has been expired or revoked.")
        return json_answer(self._issue(client.user, _scopes(known.scope), client.user) | {"scope": known.scope})

    def _issue(self, user: str, scopes: frozenset[str], counted_as: str) -> dict[str, Any]:
        now = self._now()
        for old in [t for t, found in self._tokens.items() if found.expires <= now]:
            del self._tokens[old]
        token = "ya29." + self._secret(64)
        self._tokens[token] = Grant(user, counted_as, scopes, now + self._settings.token_life)
        return {"access_token": token, "expires_in": int(self._settings.token_life.total_seconds()),
                "token_type": "Bearer"}

    def _secret(self, length: int) -> str:
        return base64.urlsafe_b64encode(self._random_bytes(length)).decode().rstrip("=")


def _why_not(query: Mapping[str, str], client: ConsentClient) -> str:
    method = query.get("code_challenge_method", "plain")
    if query.get("redirect_uri", "") not in client.redirect_uris:
        return "redirect_uri_mismatch"
    for name in ("response_type", "scope"):
        if not query.get(name):
            return f"invalid_request. Missing required parameter: {name}"
    if query["response_type"] != "code":
        return "unsupported_response_type"
    if method not in ("plain", "S256") or ("code_challenge_method" in query and not query.get("code_challenge")):
        return "invalid_request. Invalid parameter: code_challenge_method"
    try:
        _scopes(query["scope"])
    except SignInError:
        return "invalid_scope. Some requested scopes were invalid."
    return ""


def _form(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=50)
    except ValueError:
        raise SignInError("invalid_request", "Bad Request") from None
    if len({name for name, _ in pairs}) != len(pairs):
        raise SignInError("invalid_request", "Parameter not allowed more than once.")
    return dict(pairs)


def _redirect(uri: str, parameters: Mapping[str, str]) -> Answer:
    joint = "&" if urlsplit(uri).query else "?"
    return Answer(302, b"", headers=((b"Location", f"{uri}{joint}{urlencode(parameters)}".encode()),))


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _parts(assertion: str) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    try:
        header, claims, signature = assertion.split(".")
        values = json.loads(_decoded(header)), json.loads(_decoded(claims)), _decoded(signature)
    except (ValueError, RecursionError):
        raise SignInError("invalid_grant", "Bad Request") from None
    if not (isinstance(values[0], dict) and isinstance(values[1], dict)):
        raise SignInError("invalid_grant", "Bad Request")
    return values


def _is_signed(account: ServiceAccount, assertion: str, signature: bytes) -> bool:
    try:
        account.public_key.verify(signature, assertion.rpartition(".")[0].encode(), PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


def _s256(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def _scopes(text: str) -> frozenset[str]:
    names = text.split()
    short = [n.removeprefix(SCOPE) for n in names if n not in _PLAIN_SCOPES]
    if not names or any(n not in _SCOPES for n in short) or any(
            n not in _PLAIN_SCOPES and not n.startswith(SCOPE) for n in names):
        raise SignInError("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
    return frozenset(short)
