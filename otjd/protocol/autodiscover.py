"""Autodiscover in its POX form ("plain old XML"): where a mailbox's EWS is (ews.md section 7)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from otjd.protocol import markup
from otjd.protocol.soap import DECLARATION

OUTLOOK_REQUEST = "http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"
OUTLOOK_RESPONSE = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
RESPONSE = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"

INVALID_REQUEST, NO_SUCH_SCHEMA, NO_SUCH_ADDRESS = 600, 601, 500

ERROR_TEXTS = {
    INVALID_REQUEST: "Invalid Request",
    NO_SUCH_SCHEMA: "Provider is not available",
    NO_SUCH_ADDRESS: "The email address can't be found.",
}
"""What is said with each code."""


class AutodiscoverError(Exception):
    """A request that is answered with an Error; `code` is one of ERROR_TEXTS."""

    def __init__(self, code: int) -> None:
        super().__init__(f"{code} {ERROR_TEXTS[code]}")
        self.code = code


@dataclass(frozen=True, slots=True)
class AutodiscoverRequest:
    """Whose settings are asked for."""

    email: str


def read_pox(body: bytes, content_type: str = "") -> AutodiscoverRequest:
    """Read a POX request, whatever its prefixes.

    :raises AutodiscoverError: it cannot be read (600), or the answer is wanted in another schema (601).
    """
    try:
        root = markup.read_document(body, content_type)
    except markup.UnreadableError:
        raise AutodiscoverError(INVALID_REQUEST) from None
    if markup.local_name(root) != "Autodiscover":
        raise AutodiscoverError(INVALID_REQUEST)
    request = markup.child(root, "Request")
    email = markup.content(markup.child(request, "EMailAddress"))
    wanted = [markup.content(schema) for schema in markup.children(request, "AcceptableResponseSchema")]
    if not email:
        raise AutodiscoverError(INVALID_REQUEST)
    if wanted and OUTLOOK_RESPONSE not in wanted:
        raise AutodiscoverError(NO_SUCH_SCHEMA)
    return AutodiscoverRequest(email)


def write_pox(*, email: str, ews_url: str) -> bytes:
    """The settings of the mailbox `email`: its EWS is at `ews_url`, from inside and outside."""
    url = markup.text(ews_url)
    return (f'{DECLARATION}<Autodiscover xmlns="{RESPONSE}"><Response xmlns="{OUTLOOK_RESPONSE}">'
            f"<User><DisplayName>{markup.text(email)}</DisplayName>"
            f"<AutoDiscoverSMTPAddress>{markup.text(email)}</AutoDiscoverSMTPAddress></User>"
            "<Account><AccountType>email</AccountType><Action>settings</Action>"
            f"<Protocol><Type>EXCH</Type><ASUrl>{url}</ASUrl><EwsUrl>{url}</EwsUrl></Protocol>"
            f"<Protocol><Type>EXPR</Type><EwsUrl>{url}</EwsUrl></Protocol></Account></Response></Autodiscover>"
            ).encode()


def write_pox_error(code: int, *, now: datetime, server_id: int) -> bytes:
    """The answer for an error; `server_id` is a number that stays the same for this server."""
    return (f'{DECLARATION}<Autodiscover xmlns="{RESPONSE}"><Response>'
            f'<Error Time="{now:%H:%M:%S.%f}0" Id="{server_id}"><ErrorCode>{code}</ErrorCode>'
            f"<Message>{ERROR_TEXTS[code]}</Message><DebugData/></Error></Response></Autodiscover>").encode()
