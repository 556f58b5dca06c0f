"""What Microsoft Graph says against a request, in words for the operator, with the command that mends it. Pure.

Source: learn.microsoft.com/graph: errors, throttling, throttling-limits, auth-limit-mailbox-access.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any

from otjd.protocol.retry_after import retry_after_s

_SHOWN_LIMIT = 300
_BODY_LIMIT = 100_000
USUAL_WAIT = timedelta(seconds=30)
"""Where Graph asks for patience without saying how long."""

MOVE_WAIT = timedelta(minutes=1)
SHORTEST_WAIT = timedelta(seconds=1)


class Cause(Enum):
    """Whom an error concerns, and what it takes."""

    UNSIGNED = "the token is not valid (any more)"
    ROOM = "one room cannot be read"
    ROOM_BUSY = "one room's mailbox asks for patience"
    BUSY = "Graph asks for patience"
    REFUSED = "a person must act"
    REQUEST = "the request is not accepted"
    GONE = "what was referred to is not there any more"
    UNREACHABLE = "Graph is in trouble, or this is not Graph"


@dataclass(frozen=True, slots=True)
class GraphProblem:
    """An error of Graph. `retry_after` is how long to wait where it asks for patience."""

    cause: Cause
    text: str
    code: str = ""
    retry_after: timedelta = USUAL_WAIT


_NO_USER = ("there is no such user in this tenant: compare room_resource_email with the user principal name that "
            "Get-Mailbox -RecipientTypeDetails RoomMailbox | Format-Table UserPrincipalName prints")
_NO_MAILBOX = ("it has no mailbox in Exchange Online: it is on premises (then it belongs to an "
               "exchange_integration), has no licence, or is disabled. "
               "Get-Mailbox -Identity {room} | Format-List RecipientTypeDetails, AccountDisabled tells")
_ROOM = {
    "ErrorInvalidUser": _NO_USER,
    "ResourceNotFound": _NO_USER,
    "Request_ResourceNotFound": _NO_USER,
    "ErrorNonExistentMailbox": _NO_USER,
    "ErrorMailRecipientNotFound": _NO_USER,
    "MailboxNotEnabledForRESTAPI": _NO_MAILBOX,
    "MailboxNotSupportedForRESTAPI": _NO_MAILBOX,
    "MailboxNotHostedInExchangeOnline": _NO_MAILBOX,
    "ErrorNoFreeBusyAccess": "its free time is not shared with this app",
    "ErrorProxyRequestNotAllowed": "its free time is kept in another organization, which does not give it",
}
_ROOM_BUSY = frozenset({
    "ErrorMailboxStoreUnavailable", "ErrorMailboxMoveInProgress", "ErrorMailboxFailover", "MailboxInfoStale",
    "ErrorTimeoutExpired", "ErrorFreeBusyGenerationFailed", "ErrorServerBusy"})
_LOST = frozenset({"SyncStateNotFound", "SyncStateInvalid", "ErrorInvalidSyncStateData", "resyncRequired"})
_POLICY = ("an application access policy keeps the app from this mailbox. "
           "Test-ApplicationAccessPolicy -Identity {room} -AppId {client} tells which, and "
           "Add-DistributionGroupMember -Identity <group of the policy> -Member {room} lets it in; "
           "a change takes 30 minutes to 2 hours")
_CONSENT = ("the app may not read this mailbox. Where no room can be read, nobody has consented: in the Entra "
            "admin center give the app registration the application permission Calendars.Read, and grant admin "
            "consent. Where others can, its scope in RBAC for Applications leaves this one out: "
            "Test-ServicePrincipalAuthorization -Identity {client} -Resource {room} tells")
_PRIVILEGES = ("the app has not been given what it needs: in the Entra admin center give the app registration the "
               "application permission Calendars.Read, and grant admin consent")
_OTHER_CLOUD = ("Graph refuses the token: graph_api_domain and oauth_token_url must be of the same cloud, and the "
                "tenant that of the mailboxes")
_NOT_GRAPH = "what answers is not Graph: is graph_api_domain right, or does a proxy stand in between?"


def problem(status: int, headers: Mapping[str, str], body: bytes, *, room: str, client: str) -> GraphProblem:
    """What an answer means that is not a success.

    `headers` are by name in lower case, `room` the mailbox of the request ("" for none), `client` the client id.
    """
    code, message = read_error(body)
    cause = _cause(status, code, has_wait="retry-after" in headers, has_room=room != "")
    words = _words(cause, code, message).format(room=room or "<room>", client=client or "<client_id>")
    of_room = cause in {Cause.ROOM, Cause.ROOM_BUSY, Cause.REQUEST, Cause.GONE} and room
    said = f"{status} {code}: {message}".rstrip(": ")
    is_moving = cause is Cause.ROOM_BUSY and "retry-after" not in headers
    return GraphProblem(cause, f"{f'{room}: ' if of_room else ''}{words} ({said})", code,
                        MOVE_WAIT if is_moving else retry_after(headers))


def _cause(status: int, code: str, *, has_wait: bool, has_room: bool) -> Cause:
    if status == 401:
        cause = Cause.UNSIGNED
    elif status == 429:  # Exchange's own limits are those of an app and a mailbox
        cause = Cause.ROOM_BUSY if has_room and code == "ApplicationThrottled" else Cause.BUSY
    elif status == 410 or code in _LOST:
        cause = Cause.GONE
    elif has_room and code in _ROOM_BUSY:
        cause = Cause.ROOM_BUSY
    elif code and (status in {403, 404} or (has_room and code in _ROOM)):
        cause = _refusal(status, code, has_room=has_room)
    elif code and 400 <= status < 500 and status != 408:
        cause = Cause.REQUEST
    else:
        cause = Cause.BUSY if status in {503, 504} and has_wait else Cause.UNREACHABLE
    return cause


def _refusal(status: int, code: str, *, has_room: bool) -> Cause:
    if has_room and code in _ROOM:
        return Cause.ROOM
    if status == 404:
        return Cause.GONE
    return Cause.ROOM if has_room and code != "Authorization_RequestDenied" else Cause.REFUSED


def _words(cause: Cause, code: str, message: str) -> str:
    match cause:
        case Cause.UNSIGNED:
            words = _OTHER_CLOUD
        case Cause.ROOM_BUSY | Cause.BUSY:
            words = "Graph asks for patience"
        case Cause.REQUEST:
            words = "the request was not accepted"
        case Cause.GONE:
            words = "what was asked for is not there"
        case Cause.UNREACHABLE:
            words = "Graph is in trouble" if code else _NOT_GRAPH
        case _:
            words = _refused(code, message)
    return words


def _refused(code: str, message: str) -> str:
    if code in _ROOM:
        return _ROOM[code]
    if "AccessPolicy" in message or "RAOP" in message or "Access to OData is disabled" in message:
        return _POLICY
    if code == "ErrorAccessDenied":
        return _CONSENT
    return _PRIVILEGES if code == "Authorization_RequestDenied" else "Graph refuses it"


def room_words(code: str, room: str) -> str:
    """What is wrong with a room of this error code; empty where that is not known."""
    return _ROOM.get(code, "").format(room=room)


def is_passing(code: str) -> bool:
    """Whether an error of a room goes by itself."""
    return not code or code in _ROOM_BUSY


def read_error(body: bytes) -> tuple[str, str]:
    """Code and message of an error body; empty where it has none."""
    try:
        found: Any = json.loads(body) if len(body) <= _BODY_LIMIT else None
    except (ValueError, RecursionError):
        return "", ""
    error = found.get("error") if isinstance(found, dict) else None
    if not isinstance(error, dict):
        return "", ""
    code, message = (" ".join(str(error.get(name) or "").split())[:_SHOWN_LIMIT] for name in ("code", "message"))
    return code, message


def retry_after(headers: Mapping[str, str]) -> timedelta:
    """How long Graph asks to wait; 30 seconds where it does not say, an hour at most."""
    given_s = retry_after_s(headers.get("retry-after", ""), headers.get("date", ""))
    return USUAL_WAIT if given_s is None else max(timedelta(seconds=given_s), SHORTEST_WAIT)
