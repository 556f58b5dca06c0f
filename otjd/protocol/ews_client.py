"""What otjd sends to an Exchange server, and the frame of what comes back: envelopes, Faults and error codes.

Answers are read by local name, whatever their prefixes and order: servers differ there (ews.md section 9).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

from lxml import etree

from otjd.protocol import markup
from otjd.protocol.soap import MESSAGES, SOAP_11, TYPES, write_envelope
from otjd.protocol.timezones import read_date_time

CONTENT_TYPE = SOAP_11.content_type
VERSION = "Exchange2010_SP2"
"""The version asked for: it has everything that is read here, and all servers since 2010 SP2 take it."""

ANSWER_LIMITS = markup.DocumentLimits(elements=250_000)
BUSY_PAUSE = timedelta(seconds=30)
"""How long to leave a server alone that says it is busy and not for how long."""

_USUAL_LENGTH = len("2026-01-01T00:00:00Z")
LONGEST_PAUSE = timedelta(hours=1)


class Concern(Enum):
    """Whom an error concerns, and what to do next."""

    MAILBOX = "mailbox"
    PATIENCE = "patience"
    ACCOUNT = "account"
    REQUEST = "request"


_IMPERSONATION = ("the service account may not impersonate this mailbox: run New-ManagementRoleAssignment -Role "
                  "ApplicationImpersonation -User <service account>, or widen the scope of the assignment")
_MOVING = "the mailbox is being moved or failed over; it is asked again"
_STORE = ("the mailbox database is not available: see Get-MailboxDatabaseCopyStatus on the Exchange server; it is "
          "asked again")
_DIRECTORY = "the Exchange server has no contact with Active Directory; it is asked again"
_REACH = "the Exchange server cannot reach the server of this mailbox; it is asked again"
_SERVER = "the Exchange server had an error of its own; its event log says more; it is asked again"
_WORDS: dict[str, str] = {
    "ErrorNonExistentMailbox": "there is no mailbox of this address: correct the room's address, or create the "
                               "room mailbox",
    "ErrorMailRecipientNotFound": "there is no mailbox of this address: correct the room's address, or create the "
                                  "room mailbox",
    "ErrorCannotFindUser": "there is no mailbox of this address: correct the room's address",
    "ErrorInvalidSmtpAddress": "this is no e-mail address of a mailbox: correct the room's address",
    "ErrorInvalidMailbox": "this is no e-mail address of a mailbox: correct the room's address",
    "ErrorNonPrimarySmtpAddress": "this is not the primary address of the mailbox: use the one that Get-Mailbox "
                                  "shows as PrimarySmtpAddress",
    "ErrorMissingEmailAddress": "the account has no mailbox: create one with Enable-Mailbox, or use "
                                "ApplicationImpersonation on a room that has one",
    "ErrorNameResolutionNoMailbox": "the account has no mailbox",
    "ErrorImpersonateUserDenied": _IMPERSONATION,
    "ErrorImpersonationDenied": _IMPERSONATION,
    "ErrorImpersonationFailed": "Exchange could not impersonate this mailbox; its user may be missing in Active "
                                "Directory",
    "ErrorAccessDenied": "the service account may not read this calendar: assign ApplicationImpersonation to it, "
                         "or check that EwsEnabled is not $false in Get-CASMailbox of the room",
    "ErrorFolderNotFound": "the mailbox has no calendar folder",
    "ErrorNoCalendar": "the mailbox has no calendar folder",
    "ErrorMailboxStoreUnavailable": _STORE,
    "ErrorMailboxLogonFailed": _STORE,
    "ErrorMailboxMoveInProgress": _MOVING,
    "ErrorMailboxFailover": _MOVING,
    "ErrorWrongServerVersion": _MOVING,
    "ErrorMailboxConfiguration": "the mailbox is not set up right; see Get-Mailbox",
    "ErrorInvalidLicense": "the mailbox has no licence for this",
    "ErrorAccountDisabled": "the account is disabled in Active Directory: enable it",
    "ErrorPasswordExpired": "the service account's password has expired: set a new one, here and there",
    "ErrorPasswordChangeRequired": "the service account must change its password at the next sign-in: set "
                                   "one, and clear that mark",
    "ErrorUserNotAllowedByPolicy": "a policy keeps otjd from using EWS: see EwsApplicationAccessPolicy of "
                                   "Get-OrganizationConfig and Get-CASMailbox",
    "ErrorOrganizationAccessBlocked": "EWS is blocked for this organization: see EwsEnabled of "
                                      "Get-OrganizationConfig",
    "ErrorServerBusy": "the server is busy, or the budget of its throttling policy is spent; a ThrottlingPolicy "
                       "of its own for the service account helps",
    "ErrorTooManyObjectsOpened": "the server is busy",
    "ErrorInsufficientResources": "the server is busy",
    "ErrorExceededConnectionCount": "there are more connections than the throttling policy allows; raise "
                                    "EwsMaxConcurrency of the service account's ThrottlingPolicy",
    "ErrorExceededSubscriptionCount": "there are more subscriptions than the throttling policy allows; raise "
                                      "EwsMaxSubscriptions of the ThrottlingPolicy",
    "ErrorExceededFindCountLimit": "the throttling policy allows fewer items in an answer; raise "
                                   "EwsFindCountLimit",
    "ErrorInvalidServerVersion": f"the server does not know {VERSION}: it needs Exchange 2010 SP2 or later",
    "ErrorIncorrectSchemaVersion": f"the server does not know {VERSION}: it needs Exchange 2010 SP2 or later",
    "ErrorCalendarViewRangeTooBig": "the window is too long: lower display_upcoming_meetings of the profile",
    "ErrorADUnavailable": _DIRECTORY, "ErrorADOperation": _DIRECTORY, "ErrorADSessionFilter": _DIRECTORY,
    "ErrorConnectionFailed": _REACH, "ErrorProxyRequestProcessingFailed": _REACH, "ErrorCrossSiteRequest": _REACH,
    "ErrorNoRespondingCASInDestinationSite": _REACH, "ErrorProxyCallFailed": _REACH,
    "ErrorNoApplicableProxyCASServersAvailable": _REACH, "ErrorProxyRequestNotAllowed": _REACH,
    "ErrorInternalServerError": _SERVER, "ErrorInternalServerTransientError": _SERVER,
    "ErrorTimeoutExpired": "the server took too long; it is asked again",
    "ErrorNoFreeBusyAccess": "the service account may not see when the room is busy: give it AvailabilityOnly or "
                             "more with Set-MailboxFolderPermission <room>:\\Calendar",
    "ErrorFreeBusyGenerationFailed": "the server cannot tell when the room is busy; its calendar is read instead",
}
_CONCERNS = {code: concern for concern, codes in {
    Concern.PATIENCE: ("ErrorServerBusy", "ErrorTooManyObjectsOpened", "ErrorInsufficientResources",
                       "ErrorExceededConnectionCount"),
    Concern.ACCOUNT: ("ErrorPasswordExpired", "ErrorPasswordChangeRequired", "ErrorUserNotAllowedByPolicy",
                      "ErrorOrganizationAccessBlocked"),
    Concern.REQUEST: ("ErrorInvalidServerVersion", "ErrorIncorrectSchemaVersion", "ErrorSchemaValidation",
                      "ErrorInvalidRequest"),
}.items() for code in codes}
CODES = frozenset(_WORDS)
"""The codes that have words of their own."""

_IMPOSSIBLE = re.compile(
    rb"&#(?:x0*(?:[0-8bcef]|1[0-9a-f]|d[89a-f][0-9a-f]{2}|fff[ef])|0*(?:[0-8]|1[124-9]|2\d|3[01]));"
    rb"|[\x00-\x08\x0b\x0c\x0e-\x1f]", re.IGNORECASE)
_TRANSIENT = frozenset(code for code, words in _WORDS.items() if words.endswith("it is asked again"))


class EwsError(Exception):
    """What a server refused: `code` is one of Exchange's, the text says it in words with what to do.

    `pause` is how long to wait where the server asks for patience.
    """

    def __init__(self, code: str, message: str = "", pause: timedelta = BUSY_PAUSE) -> None:
        said = " ".join(message.split())[:200]
        super().__init__(f"{_WORDS.get(code) or said or 'the server refused'} ({code})")
        self.code = code
        self.pause = pause

    @property
    def concern(self) -> Concern:
        """Whom it concerns: the mailbox, unless the code says otherwise."""
        return _CONCERNS.get(self.code, Concern.MAILBOX)

    @property
    def is_transient(self) -> bool:
        """Whether the same question may be answered a little later, as far as the code tells."""
        return self.code in _TRANSIENT or self.concern is Concern.PATIENCE


class UnreadableAnswerError(Exception):
    """What came is no answer of Exchange; the text says what it was."""


@dataclass(frozen=True, slots=True)
class Message:
    """One ResponseMessage of an answer: its element, and what is wrong, None where nothing is."""

    element: etree._Element
    error: EwsError | None


def request(operation: str, impersonate: str = "") -> bytes:
    """An envelope around an operation, which is XML text; `impersonate` is the address of a mailbox."""
    header = f'<t:RequestServerVersion Version="{VERSION}"/>'
    if impersonate:
        header += ("<t:ExchangeImpersonation><t:ConnectingSID><t:PrimarySmtpAddress>"
                   f"{markup.text(impersonate)}</t:PrimarySmtpAddress></t:ConnectingSID></t:ExchangeImpersonation>")
    return write_envelope(SOAP_11, header, operation).replace(
        b"<s:Envelope ", f'<s:Envelope xmlns:m="{MESSAGES}" xmlns:t="{TYPES}" '.encode(), 1)


def read_answer(body: bytes, content_type: str = "") -> etree._Element:
    """The child of Body, such as FindItemResponse.

    :raises EwsError: it is a Fault, whatever the status of HTTP.
    :raises UnreadableAnswerError: it is no answer of Exchange.
    """
    try:
        root = _document(body, content_type)
    except markup.UnreadableError as error:
        raise UnreadableAnswerError(f"an answer that cannot be read: {error.violation}") from None
    outside = markup.child(root, "Body")
    inside = next(iter(outside), None) if outside is not None else None
    if markup.local_name(root) != "Envelope" or inside is None:
        raise UnreadableAnswerError(f"no SOAP answer but <{markup.local_name(root)[:40]}>")
    if markup.local_name(inside) == "Fault":
        raise _fault(inside)
    return inside


def _document(body: bytes, content_type: str) -> etree._Element:
    try:
        return markup.read_document(body, content_type, ANSWER_LIMITS)
    except markup.UnreadableError:
        # Exchange writes control characters of a subject or body as references, which XML does not allow
        cleaned = _IMPOSSIBLE.sub(b" ", body)
        if cleaned == body:
            raise
        return markup.read_document(cleaned, content_type, ANSWER_LIMITS)


def _fault(fault: etree._Element) -> EwsError:
    """The error of a Fault; some servers send one without detail."""
    code = message = ""
    for element in fault.iter():
        match markup.local_name(element):
            case "ResponseCode":
                code = markup.content(element)
            case "Message" | "faultstring" | "Text" if not message:
                message = markup.content(element)
    if not code:
        code = markup.content(markup.child(fault, "faultcode")).rpartition(":")[2] or "Fault"
    return EwsError(code[:80], message, _pause(fault))


def messages(answer: etree._Element) -> Iterator[Message]:
    """The ResponseMessages of an answer, in order."""
    inside = markup.child(answer, "ResponseMessages")
    if inside is not None:
        for element in inside:
            yield Message(element, error_of(element))


def error_of(message: etree._Element) -> EwsError | None:
    """What is wrong with a ResponseMessage; a warning is none."""
    code = markup.content(markup.child(message, "ResponseCode")) or "NoError"
    kind = message.get("ResponseClass", "")
    if kind in ("Success", "Warning") or (code == "NoError" and kind != "Error"):
        return None
    return EwsError(code[:80], markup.content(markup.child(message, "MessageText")), _pause(message))


def only_message(answer: etree._Element) -> etree._Element:
    """The one ResponseMessage of an answer.

    :raises EwsError: it is an error.
    :raises UnreadableAnswerError: there is none.
    """
    for message in messages(answer):
        if message.error is not None:
            raise message.error
        return message.element
    raise UnreadableAnswerError(f"{markup.local_name(answer)[:60]} without a ResponseMessage")


def _pause(element: etree._Element) -> timedelta:
    """BackOffMilliseconds, wherever it stands."""
    for value in element.iter():
        if markup.local_name(value) == "Value" and value.get("Name") == "BackOffMilliseconds":
            text = markup.content(value)
            if text.isascii() and text.isdigit() and len(text) < 10:
                return min(timedelta(milliseconds=int(text)), LONGEST_PAUSE)
    return BUSY_PAUSE


def mailbox_folder(room: str) -> str:
    """The calendar of a mailbox, as XML text."""
    return ('<t:DistinguishedFolderId Id="calendar"><t:Mailbox><t:EmailAddress>'
            f"{markup.text(room)}</t:EmailAddress></t:Mailbox></t:DistinguishedFolderId>")


def instant(element: etree._Element | None) -> datetime | None:
    """A time in UTC, which it is too where no zone is named; None where there is none that can be read."""
    if element is None:
        return None
    text = markup.content(element)
    try:
        if len(text) == _USUAL_LENGTH and text.endswith("Z"):
            return datetime.fromisoformat(text)
        return read_date_time(text, UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def written(time: datetime) -> str:
    """A time as requests bear it."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
