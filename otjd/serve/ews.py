"""The emulated Exchange: answers the EWS requests of a room's endpoints from the meeting cache.

A login sees its own room and nothing else; a mailbox in a request is a check, never the key (poly.md 5.5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from twisted.logger import Logger

from otjd.meetings.cache import MeetingCache
from otjd.protocol import ews_notifications, ews_responses, ews_wsdl, soap
from otjd.protocol.ews_notifications import READERS, GetStreamingEvents
from otjd.protocol.ews_requests import OPERATIONS, VERSIONS, Header, read_header, read_request
from otjd.protocol.ews_responses import ServerVersion
from otjd.protocol.markup import DocumentLimits
from otjd.protocol.soap import Dialect, Envelope, SoapFault
from otjd.serve.answer_parts import Answer, is_own
from otjd.serve.calls import Account, Call, Reply
from otjd.serve.ews_answers import Answers
from otjd.serve.ews_known import KnownRequests, ReadRequest
from otjd.serve.ews_meetings import MeetingTexts
from otjd.serve.ews_notifications import Notifications
from otjd.serve.ews_subscriptions import Subscriptions
from otjd.serve.join_details import JoinDetails
from otjd.serve.limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class EwsSettings:
    """How the emulated Exchange behaves. `server_version` is what it reports; `details_kept` is the number of
    meetings whose join details are kept for the next answer; `heartbeat_s` is how often an open stream says that
    it is alive, as often as Exchange does: Microsoft's client gives up after twice that."""

    join_details: JoinDetails
    server_version: str = "15.1.2507.6"
    tolerate_unknown_versions: bool = False
    limits: Limits = field(default_factory=Limits)
    details_kept: int = 16_000
    subscriptions_per_user: int = 20
    streams_per_user: int = 10
    heartbeat_s: float = 45.0


class EwsService:
    """Answers calls to /EWS/Exchange.asmx and /EWS/Services.wsdl; a `calls.Service`."""

    _log = Logger()

    def __init__(self, cache: MeetingCache, subscriptions: Subscriptions, *, now: Callable[[], datetime],
                 settings: EwsSettings) -> None:
        self._cache = cache
        self._settings = settings
        self._limits = settings.limits
        self._document_limits = DocumentLimits(self._limits.xml_depth, self._limits.xml_elements)
        self._version = ServerVersion.of(settings.server_version)
        self._header = self._version.header()
        self._versions = VERSIONS | {self._version.name}  # a client may take over the name that it was told
        texts = MeetingTexts(settings.join_details, settings.details_kept)
        self._answers = Answers(cache, texts, now=now)
        self._known = KnownRequests()
        self._notifications = Notifications(
            subscriptions, self._answers, change_key=texts.change_key,
            subscriptions_limit=settings.subscriptions_per_user, streams_limit=settings.streams_per_user,
            heartbeat_s=settings.heartbeat_s)

    def __call__(self, call: Call) -> Reply:
        """Answer a call. Never raises: a bug of ours is logged and answered as Exchange answers one of its own."""
        if call.method in ("GET", "HEAD"):
            wsdl = ews_wsdl.description(OPERATIONS | READERS.keys(), f"{call.base_url}/EWS/Exchange.asmx")
            return Reply(200, wsdl, operation=call.method)
        dialect = soap.dialect_of(call.content_type)
        operation = ""
        try:
            read = self._known.find(call.content_type, call.body) if call.method == "POST" else None
            if read is None:
                envelope = self._envelope(call)
                dialect, operation = envelope.dialect, envelope.name[:60]
                header = read_header(envelope)
                self._check(header, call.account)
                read = self._read(envelope, header)
                self._known.keep(call.content_type, call.body, read, lambda body: self._read_alike(call, body))
            else:
                dialect, operation = read.dialect, read.operation
                self._check(read.header, call.account)
            if isinstance(read.request, ews_notifications.Request):
                return self._notified(read.request, call.account, dialect)
            answer = self._answers.answer(read.request, call.account)
        except SoapFault as fault:
            return _fault(fault, dialect, operation)
        except Exception:
            self._log.failure("The emulated Exchange failed on {operation} of endpoint {endpoint}",
                              operation=operation, endpoint=call.account.endpoint, room=call.account.room.email)
            return _fault(SoapFault("ErrorInternalServerError", "An internal server error occurred. The operation "
                                    "failed.", is_ours=True), dialect, operation)
        return self._reply(operation, answer, dialect)

    def _read(self, envelope: Envelope, header: Header) -> ReadRequest:
        reader = READERS.get(envelope.name)
        request = (read_request(envelope, header.zone, ids_limit=self._limits.ids_per_request) if reader is None
                   else reader(envelope.operation))
        return ReadRequest(envelope.dialect, envelope.name[:60], header, request)

    def _read_alike(self, call: Call, body: bytes) -> ReadRequest:
        envelope = soap.read_envelope(body, call.content_type, self._document_limits)
        return self._read(envelope, read_header(envelope))

    def _notified(self, request: ews_notifications.Request, account: Account, dialect: Dialect) -> Reply:
        if not isinstance(request, GetStreamingEvents):
            return self._reply(type(request).__name__, self._notifications.answer(request, account), dialect)
        envelope = partial(ews_notifications.stream_envelope, dialect, self._header)
        answer, hold = self._notifications.stream(request, account, envelope)
        return Reply(200, envelope("".join(answer.messages)), dialect.content_type, operation="GetStreamingEvents",
                     error=answer.error, hold=hold)

    def _reply(self, operation: str, answer: Answer, dialect: Dialect) -> Reply:
        body = answer.body or ews_responses.response(operation, answer.messages)
        return Reply(200, soap.write_envelope(dialect, self._header, body), dialect.content_type,
                     operation=operation, error=answer.error, meetings=answer.meetings)

    def _envelope(self, call: Call) -> Envelope:
        if call.method != "POST":
            raise SoapFault("ErrorInvalidRequest", "Requests are sent with POST.", status=405)
        if len(call.body) > self._limits.body_bytes:
            raise SoapFault("ErrorMessageSizeExceeded", "The request has more than "
                            f"{self._limits.body_bytes} bytes.", status=413)
        return soap.read_envelope(call.body, call.content_type, self._document_limits)

    def _check(self, header: Header, account: Account) -> None:
        tolerant = self._settings.tolerate_unknown_versions or not header.version
        if not tolerant and header.version not in self._versions:
            raise SoapFault("ErrorInvalidServerVersion", "The specified server version is invalid.")
        if header.impersonated is not None and not (
                header.impersonated and is_own(header.impersonated, account)):
            raise SoapFault("ErrorImpersonateUserDenied",
                            "The account does not have permission to impersonate the requested user.")


def _fault(fault: SoapFault, dialect: Dialect, operation: str) -> Reply:
    dialect = fault.dialect or dialect
    return Reply(fault.status, soap.write_fault(fault, dialect), dialect.content_type, operation=operation,
                 error=fault.code)
