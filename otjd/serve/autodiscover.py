"""Autodiscover for endpoints that ask before they are told: it answers with our own address."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from datetime import datetime

from twisted.logger import Logger

from otjd.protocol import autodiscover, autodiscover_soap, soap
from otjd.protocol.autodiscover import AutodiscoverError
from otjd.protocol.autodiscover_settings import Directory, Settings, domain_settings, user_settings
from otjd.protocol.ews_requests import VERSIONS
from otjd.protocol.ews_responses import ServerVersion
from otjd.protocol.soap import Dialect, Envelope, SoapFault
from otjd.serve.answer_parts import is_own
from otjd.serve.calls import Call, Reply

BODY_LIMIT = 64 * 1024
"""Bytes of a request."""

SOAP_ENABLED = {"X-SOAP-Enabled": "True"}
"""Microsoft's managed API asks the POX address without a login, and SOAP only where the answer has this header."""


class PoxAutodiscover:
    """Answers calls to /Autodiscover/Autodiscover.xml; a `calls.Service`. `now` gives the aware UTC time."""

    def __init__(self, *, now: Callable[[], datetime]) -> None:
        self._now = now

    def __call__(self, call: Call) -> Reply:
        """Answer a call. Never raises for what a client sent."""
        try:
            email = self._asked(call)
        except AutodiscoverError as error:
            body = autodiscover.write_pox_error(error.code, now=self._now(),
                                                server_id=zlib.crc32(call.base_url.encode("utf-8", "replace")))
            return Reply(200, body, operation="Autodiscover", error=str(error.code))
        answer = autodiscover.write_pox(email=email, ews_url=f"{call.base_url}/EWS/Exchange.asmx")
        return Reply(200, answer, operation="Autodiscover")

    def _asked(self, call: Call) -> str:
        """The address of the account's room, if that is what is asked for."""
        if call.method != "POST" or len(call.body) > BODY_LIMIT:
            raise AutodiscoverError(autodiscover.INVALID_REQUEST)
        request = autodiscover.read_pox(call.body, call.content_type)
        if not is_own(request.email, call.account):
            raise AutodiscoverError(autodiscover.NO_SUCH_ADDRESS)
        return call.account.room.email


class SoapAutodiscover:
    """Answers calls to /Autodiscover/Autodiscover.svc; a `calls.Service`. GET gets the service's description.

    `server_version` and `tolerate_unknown_versions` are those of the emulated Exchange.
    """

    _log = Logger()

    def __init__(self, *, server_version: str, tolerate_unknown_versions: bool = False) -> None:
        self._version = ServerVersion.of(server_version)
        self._versions = VERSIONS | {self._version.name, ""}  # a client may take over the name that it was told
        self._is_tolerant = tolerate_unknown_versions
        autodiscover_soap.description("")  # makes what the first request would otherwise wait for

    def __call__(self, call: Call) -> Reply:
        """Answer a call. Never raises: a bug of ours is logged and answered as Exchange answers one of its own."""
        if call.method in ("GET", "HEAD"):
            wsdl = autodiscover_soap.description(f"{call.base_url}/Autodiscover/Autodiscover.svc")
            return Reply(200, wsdl, operation=call.method)
        dialect, operation = soap.dialect_of(call.content_type), ""
        try:
            envelope = _envelope(call)
            dialect, operation = envelope.dialect, autodiscover_soap.operation_of(envelope)[:60]
            self._check(envelope)
            answered = autodiscover_soap.answer(envelope, self._directory(call), self._version)
        except SoapFault as fault:
            return _fault(fault, dialect, operation)
        except Exception:
            self._log.failure("Autodiscover failed on {operation} of endpoint {endpoint}",
                              operation=operation, endpoint=call.account.endpoint, room=call.account.room.email)
            return _fault(SoapFault("ErrorInternalServerError", "An internal server error occurred. The operation "
                                    "failed.", is_ours=True), dialect, operation)
        return Reply(200, answered.document, dialect.content_type, operation=operation, error=answered.error)

    def _check(self, envelope: Envelope) -> None:
        if not self._is_tolerant and autodiscover_soap.requested_version(envelope) not in self._versions:
            raise SoapFault("ErrorInvalidServerVersion", "The specified server version is invalid.")

    def _directory(self, call: Call) -> Directory:
        """A login knows its own mailbox and the domain of that, and no other."""
        account, base_url, version = call.account, call.base_url, self._version

        def of_user(mailbox: str) -> Settings | None:
            own = is_own(mailbox, account)
            return user_settings(email=account.room.email, base_url=base_url, version=version) if own else None

        def of_domain(domain: str) -> Settings | None:
            own = domain.strip().lower() == account.room.email.rpartition("@")[2].lower()
            return domain_settings(base_url=base_url, version=version) if own else None

        return Directory(of_user, of_domain)


def _envelope(call: Call) -> Envelope:
    if call.method != "POST":
        raise SoapFault("ErrorInvalidRequest", "Requests are sent with POST.", status=405)
    if len(call.body) > BODY_LIMIT:
        raise SoapFault("ErrorMessageSizeExceeded", f"The request has more than {BODY_LIMIT} bytes.", status=413)
    return soap.read_envelope(call.body, call.content_type, autodiscover_soap.LIMITS)


def _fault(fault: SoapFault, dialect: Dialect, operation: str) -> Reply:
    dialect = fault.dialect or dialect
    return Reply(fault.status, soap.write_fault(fault, dialect), dialect.content_type, operation=operation,
                 error=fault.code)
