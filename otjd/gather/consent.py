"""A person's consent: the link to sign in, what comes back, and the tokens in exchange (RFC 6749, RFC 7636)."""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlencode, urlsplit

from otjd.gather.oauth_errors import fields_of, token_problem, words
from otjd.gather.source import UnauthorizedError, UnreachableError
from otjd.outbound.client import Answer, HttpClient, RequestError

TOKEN_TIMEOUT_S = 30.0
TOKEN_ANSWER_LIMIT = 1024 * 1024
GOOGLE_SCOPE = "https://www.googleapis.com/auth/calendar.readonly"
FORM = "application/x-www-form-urlencoded"


class ConsentError(Exception):
    """The sign-in did not succeed; the text says why and what to do."""


class WrongAddressError(ConsentError):
    """What came is no answer to this sign-in; the right one may still come."""


@dataclass(frozen=True, slots=True)
class Consent:
    """Where and as whom a person signs in for an integration.

    `extra` goes into the link beside what every sign-in has; `offline` says what to do where no refresh token
    comes.
    """

    integration: str
    auth_endpoint: str
    token_endpoint: str
    client_id: str
    redirect_uri: str
    scope: str
    offline: str
    client_secret: str = field(default="", repr=False)
    extra: Mapping[str, str] = field(default_factory=dict)

    def link(self, state: str, verifier: str) -> str:
        """The address of the sign-in page."""
        query = urlencode({"response_type": "code", "client_id": self.client_id, "redirect_uri": self.redirect_uri,
                           "scope": self.scope, "state": state, "code_challenge": challenge(verifier),
                           "code_challenge_method": "S256", **self.extra})
        return f"{self.auth_endpoint}{'&' if '?' in self.auth_endpoint else '?'}{query}"

    def code_from(self, address: str, state: str) -> str:
        """The code in the address that the browser was sent back to, whole or its query alone.

        :raises WrongAddressError: it is not of this sign-in.
        :raises ConsentError: the sign-in was refused.
        """
        address = address.strip(" \t\r\n\"'<>")  # as it was copied out of a mail or a shell
        try:
            values = parse_qs(urlsplit(address).query or address, max_num_fields=50)
        except ValueError as error:
            raise WrongAddressError("this is not the address that the browser came back to") from error
        came = {name: value[-1] for name, value in values.items()}
        if "state" not in came or not ("code" in came or "error" in came):
            raise WrongAddressError("this is not the address that the browser came back to: it has no code or "
                                    "state")
        if not hmac.compare_digest(came["state"].encode(), state.encode()):
            raise WrongAddressError("this answer belongs to another sign-in (its state differs): use the link "
                                    "printed last, and the address that comes back from it")
        if "error" in came:
            raise ConsentError(_refused(came["error"], came.get("error_description", "")))
        return came["code"]

    async def exchange(self, http: HttpClient, code: str, verifier: str) -> str:
        """The refresh token for a code.

        :raises ConsentError: there is none.
        """
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self.redirect_uri,
                "code_verifier": verifier}
        try:
            answer = await self.ask(http, form)
        except UnreachableError as error:
            raise ConsentError(f"{error}; start again") from error
        values = fields_of(answer.body)
        if answer.status == 200 and values.get("access_token"):
            if token := values.get("refresh_token"):
                return token
            raise ConsentError(f"the token service gave no refresh token: {self.offline}")
        if values.get("error") == "invalid_grant":
            said = words("invalid_grant", values.get("error_description", ""))
            raise ConsentError("the code was used already, is too old, or was given for another redirect address: "
                               f"start again; {said}")
        raise ConsentError(str(token_problem(answer.status, answer.body, self.token_endpoint)))

    async def ask(self, http: HttpClient, form: Mapping[str, str]) -> Answer:
        """Ask the token service as this client.

        :raises UnreachableError: there is no answer.
        """
        whole = {**form, "client_id": self.client_id}
        if self.client_secret:
            whole["client_secret"] = self.client_secret
        headers = {"Content-Type": FORM, "Accept": "application/json"}
        try:
            return await http.request("POST", self.token_endpoint, headers=headers, body=urlencode(whole).encode(),
                                      timeout_s=TOKEN_TIMEOUT_S, limit=TOKEN_ANSWER_LIMIT)
        except RequestError as error:
            raise UnreachableError(f"token service: {error}") from error

    async def refresh(self, http: HttpClient, refresh_token: str) -> Mapping[str, str]:
        """A new access token, with `expires_in` and perhaps another `refresh_token`.

        :raises UnauthorizedError: the sign-in is no longer valid.
        :raises UnreachableError: there is no usable answer.
        """
        answer = await self.ask(http, {"grant_type": "refresh_token", "refresh_token": refresh_token})
        values = fields_of(answer.body)
        if answer.status == 200 and values.get("access_token"):
            return values
        problem = token_problem(answer.status, answer.body, self.integration)
        raise self.sign_in_again(problem) if isinstance(problem, UnauthorizedError) else problem

    def sign_in_again(self, problem: Exception | str) -> UnauthorizedError:
        """The error with the command that mends it."""
        return UnauthorizedError(f"{problem}; sign in again by: otjd authorize {self.integration!r}")


def challenge(verifier: str) -> str:
    """The S256 challenge of a verifier."""
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode("ascii")


def _refused(error: str, description: str) -> str:
    if error == "access_denied":
        return ("the sign-in was cancelled or the permission not given (access_denied): sign in as an account "
                "that may read the rooms, and accept")
    return words(error, description)


def exchange_consent(*, integration: str, auth_endpoint: str, token_endpoint: str, client_id: str,
                     redirect_uri: str, username: str) -> Consent:
    """The sign-in of the service account that reads Exchange by EWS."""
    resource = "https://outlook.office365.com"
    is_first_version = "/v2.0/" not in auth_endpoint and auth_endpoint.endswith("/oauth2/authorize")
    extra = {"login_hint": username}
    if is_first_version:
        extra["resource"] = resource  # Azure AD v1 has no scopes
    return Consent(integration=integration, auth_endpoint=auth_endpoint, token_endpoint=token_endpoint,
                   client_id=client_id, redirect_uri=redirect_uri, extra=extra,
                   scope=f"{resource}/EWS.AccessAsUser.All offline_access",
                   offline="the app registration must allow the delegated permission offline_access")


def google_consent(*, integration: str, auth_endpoint: str, token_endpoint: str, client_id: str,
                   client_secret: str, redirect_uri: str) -> Consent:
    """The sign-in of the user who may read the rooms' Google calendars."""
    return Consent(integration=integration, auth_endpoint=auth_endpoint, token_endpoint=token_endpoint,
                   client_id=client_id, client_secret=client_secret, redirect_uri=redirect_uri,
                   scope=GOOGLE_SCOPE, extra={"access_type": "offline", "prompt": "consent"},
                   offline="remove the app's access at https://myaccount.google.com/permissions and sign in "
                           "again by the link as it is, with prompt=consent and access_type=offline")
