"""What a token service says against a sign-in, in words for the operator."""

from __future__ import annotations

import json
import re
from typing import Any

from otjd.gather.source import SourceError, UnauthorizedError, UnreachableError

_SHOWN_LIMIT = 300
_AADSTS = re.compile(r"AADSTS(\d+)")
_MICROSOFT = {  # learn.microsoft.com/entra/identity-platform/reference-error-codes
    "7000215": "client_secret is wrong: it must be the secret's Value, not its Secret ID",
    "7000222": "the client secret has expired: make another under Certificates & secrets of the app registration",
    "700016": "no such app in this tenant: compare client_id and the tenant in the URL, and grant admin consent",
    "90002": "there is no such tenant: correct the tenant in the URL that gives tokens",
    "900023": "this is not the name of a tenant: correct the tenant in the URL that gives tokens",
    "65001": "nobody has consented: grant admin consent to the app's permissions",
    "50034": "the account does not exist in this directory",
    "50057": "the account is disabled",
    "50076": "the account needs multi-factor authentication: sign in again",
    "50079": "the account must enrol for multi-factor authentication",
    "50173": "the password was changed or the sign-in revoked: sign in again",
    "53003": "a Conditional Access policy blocks it: the tenant's administrator must let it through",
    "70000": "the grant is not valid: sign in again",
    "70008": "the sign-in has expired: sign in again",
    "700082": "the sign-in has expired, as it was not used for long: sign in again",
    "700084": "the sign-in has expired: sign in again",
    "7000218": "the app is not a public client: allow public client flows in the app registration",
}
_STANDARD = {  # RFC 6749 5.2
    "invalid_client": "client id or client secret is wrong, or the client was deleted",
    "unauthorized_client": "this client may not do this: look at its permissions and at the kind of client it is",
    "invalid_grant": "the sign-in has expired or was revoked, or the clock of this machine is wrong",
    "invalid_scope": "the permission asked for is not known there",
    "access_denied": "access was denied",
    "invalid_rapt": "the administrator of the Workspace wants a new sign-in",
    "admin_policy_enforced": "a policy of the Workspace forbids it",
    "org_internal": "the OAuth client is for members of its own organization alone",
    "deleted_client": "the OAuth client was deleted",
    "disabled_client": "the OAuth client is disabled",
}
_LATER = ("temporarily_unavailable", "server_error", "slow_down", "internal_failure")


def token_problem(status: int, body: bytes, who: str) -> SourceError:
    """What an answer of a token service means that gives no token.

    UnauthorizedError where a person must act, UnreachableError where it may be different later. `who` says whose
    sign-in this is.
    """
    answer = fields_of(body)
    error, description = answer.get("error", ""), answer.get("error_description", "")
    if status == 200:
        return UnreachableError(f"{who}: the token service answered without an access token")
    if status in (408, 429) or status >= 500 or error in _LATER:
        found = f"{status} {error}".strip()
        return UnreachableError(f"{who}: the token service cannot answer at present ({found})")
    if not error:
        return UnauthorizedError(f"{who}: the token service answered {status} without a reason: is its URL right?")
    return UnauthorizedError(f"{who}: {words(error, description)}")


def words(error: str, description: str) -> str:
    """What an OAuth error means and what to do, followed by what the service said itself."""
    said = " ".join(f"{error}: {description}".split())[:_SHOWN_LIMIT].rstrip(": ")
    codes = _AADSTS.findall(description)
    meaning = next((_MICROSOFT[code] for code in codes if code in _MICROSOFT), _STANDARD.get(error, ""))
    return f"{meaning} ({said})" if meaning else f"the token service refused ({said})"


def fields_of(body: bytes) -> dict[str, str]:
    """The texts and numbers of a JSON object, as texts; empty for anything else."""
    try:
        answer: Any = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(answer, dict):
        return {}
    return {name: str(value) for name, value in answer.items()
            if isinstance(value, str | int | float) and not isinstance(value, bool)}
