"""What a simulated Graph refuses, with Microsoft's codes and words."""

from __future__ import annotations

import json
from datetime import datetime
from uuid import uuid4

CHALLENGE = (b'Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", '
             b'client_id="00000003-0000-0000-c000-000000000000"')

STATUS_CODES = {400: "BadRequest", 401: "InvalidAuthenticationToken", 403: "ErrorAccessDenied",
                404: "ErrorItemNotFound", 410: "SyncStateNotFound", 429: "ApplicationThrottled",
                500: "InternalServerError", 502: "BadGateway", 503: "ServiceUnavailable", 504: "GatewayTimeout"}
_STATUS_TEXTS = {
    410: "The sync state generation is not found; generation=1, generationInStore=2.",
    429: "Application is over its MailboxConcurrency limit.",
    500: "An internal server error occurred. The operation failed.",
    503: "The service is temporarily unavailable. Please retry.",
    504: "The service did not answer in time.",
}


class GraphError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The headers that go with it."""
        found = []
        if self.retry_after_s is not None:
            found.append((b"Retry-After", str(self.retry_after_s).encode()))
        if self.status == 401:
            found.append((b"WWW-Authenticate", CHALLENGE))
        return tuple(found)

    def body(self, now: datetime, request_id: str) -> bytes:
        """The error as JSON."""
        inner = {"date": f"{now:%Y-%m-%dT%H:%M:%S}", "request-id": request_id, "client-request-id": request_id}
        return json.dumps({"error": {"code": self.code, "message": self.message, "innerError": inner}}).encode()


def of_status(status: int, retry_after_s: int | None = None) -> GraphError:
    """The usual error of this status."""
    return GraphError(status, STATUS_CODES.get(status, "UnknownError"),
                      _STATUS_TEXTS.get(status, "The request failed."), retry_after_s)


def bad_query(message: str) -> GraphError:
    """A query that cannot be read."""
    return GraphError(400, "RequestBroker--ParseUri", message)


def bad_parameter(message: str) -> GraphError:
    """A value that is out of its range."""
    return GraphError(400, "ErrorInvalidParameter", message)


def bad_request(message: str) -> GraphError:
    """A request that is none of this service."""
    return GraphError(400, "BadRequest", message)


def bad_token(message: str) -> GraphError:
    """A token that does not open anything."""
    return GraphError(401, "InvalidAuthenticationToken", message)


def not_simulated(what: str) -> GraphError:
    """Something that Graph has and this simulation has not."""
    return GraphError(501, "NotImplemented", f"{what} is not simulated.")


def no_such_user(user: str) -> GraphError:
    """An address, or an object id, that is nobody's."""
    if "@" in user:
        return GraphError(404, "ErrorInvalidUser", f"The requested user '{user}' is invalid.")
    return GraphError(404, "ResourceNotFound", "Resource could not be discovered.")


def no_mailbox() -> GraphError:
    """A user whose mailbox is not in Exchange Online."""
    return GraphError(404, "MailboxNotEnabledForRESTAPI", "REST API is not yet supported for this mailbox.")


def blocked() -> GraphError:
    """A mailbox that a policy keeps from the application."""
    return GraphError(403, "ErrorAccessDenied", "Access to OData is disabled: [RAOP] : Blocked by tenant "
                                                "configured AppOnly AccessPolicy settings.")


def no_consent() -> GraphError:
    """An application without the permission."""
    return GraphError(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.")


def sync_state_not_found() -> GraphError:
    """A token of delta that has died."""
    return of_status(410)


def invalid_subscription(message: str) -> GraphError:
    """A subscription that cannot be had."""
    return GraphError(400, "InvalidRequest", message)


def new_id() -> str:
    """The id of a request."""
    return str(uuid4())
