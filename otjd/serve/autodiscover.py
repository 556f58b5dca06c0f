"""Autodiscover for endpoints that ask before they are told: it answers with our own address."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from datetime import datetime

from otjd.protocol import autodiscover, soap
from otjd.protocol.autodiscover import AutodiscoverError
from otjd.protocol.soap import SoapFault
from otjd.serve.answer_parts import is_own
from otjd.serve.calls import Call, Reply

BODY_LIMIT = 64 * 1024
"""Bytes of a request."""


class PoxAutodiscover:
    """Answers calls to /Autodiscover/Autodiscover.xml; a `calls.Service`.

    A call to a path that ends in `.svc` is SOAP Autodiscover, which is answered with a fault. `now` gives the
    aware UTC time.
    """

    def __init__(self, *, now: Callable[[], datetime]) -> None:
        self._now = now

    def __call__(self, call: Call) -> Reply:
        """Answer a call. Never raises for what a client sent."""
        if call.path.rstrip("/").lower().endswith(".svc"):
            return _no_soap(call)
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


def _no_soap(call: Call) -> Reply:
    dialect = soap.dialect_of(call.content_type)
    fault = SoapFault("ErrorInvalidOperation", "SOAP Autodiscover is not available on this server. Use "
                                               "/Autodiscover/Autodiscover.xml.")
    return Reply(fault.status, soap.write_fault(fault, dialect), dialect.content_type,
                 operation="Autodiscover.svc", error=fault.code)
