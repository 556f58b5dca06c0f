"""What is logged of a request to the calendar service: one line each, with nothing in it that is secret."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from twisted.logger import Logger, LogLevel

from otjd.serve.auth import Refused
from otjd.serve.calls import Call, Reply
from otjd.serve.wire_log import NOTHING, Message, WireLog

USER_AGENT_SHOWN = 200
PATH_SHOWN = 200

INTERNAL_ERROR = (
    b'<?xml version="1.0" encoding="utf-8"?>'
    b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>'
    b'<faultcode xmlns:a="http://schemas.microsoft.com/exchange/services/2006/types">a:ErrorInternalServerError'
    b'</faultcode><faultstring xml:lang="en-US">An internal server error occurred. The operation failed.'
    b'</faultstring><detail>'
    b'<e:ResponseCode xmlns:e="http://schemas.microsoft.com/exchange/services/2006/errors">ErrorInternalServerError'
    b'</e:ResponseCode><e:Message xmlns:e="http://schemas.microsoft.com/exchange/services/2006/errors">'
    b'An internal server error occurred. The operation failed.</e:Message></detail></s:Fault></s:Body>'
    b'</s:Envelope>')
"""What Exchange answers, with status 500, when it is at fault itself."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")

_TLS_HINTS = {
    "unsupported protocol": "; it speaks an older TLS than this listener's minimum_tls",
    "tlsv1 alert protocol version": "; it does not speak a TLS that this listener accepts, see minimum_tls",
    "no shared cipher": "; it may need a listener with an older minimum_tls",
    "tlsv1 alert unknown ca": "; it does not trust the authority of our certificate",
    "ssl/tls alert unknown ca": "; it does not trust the authority of our certificate",
    "http request": "; it speaks HTTP, not HTTPS, to this port",
}


def printable(text: str, limit: int = USER_AGENT_SHOWN) -> str:
    """Text of a client as it may be logged and shown: short, and without control characters."""
    return _printable(text[:limit])


@lru_cache(maxsize=1024)  # the same clients come again and again
def _printable(text: str) -> str:
    return _CONTROL.sub(" ", text).strip()


@dataclass(frozen=True, slots=True)
class Visit:
    """A request under way; `path` is decoded, `user_agent` printable, `clock` gives seconds as `started` does.

    `captured` is the request as it came, for the wire log; None while that is off. `peer` is the far end of the
    connection, with its port. `answer_headers` gives the headers that were sent, once they were.
    """

    started: float
    clock: Callable[[], float]
    method: str
    path: str
    address: str
    user_agent: str
    captured: Message | None = None
    peer: str = ""
    answer_headers: Callable[[], Sequence[tuple[str, str]]] = tuple

    def fields(self) -> dict[str, Any]:
        """What every line about it holds."""
        return {"method": printable(self.method, 20), "path": printable(self.path, PATH_SHOWN),
                "address": self.address, "user_agent": self.user_agent or "no user agent",
                "elapsed_ms": round((self.clock() - self.started) * 1000)}


class VisitLog:
    """Writes the lines: warnings at most for what a client does wrong, debugging for the first legs of a login."""

    _log = Logger()

    def __init__(self, wire: WireLog | None = None) -> None:
        self._wire = wire
        self._known: dict[str, tuple[str, str, str]] = {}
        self.is_detailed = False
        """Whether each request is logged that went well, for debugging."""

    def answered(self, visit: Visit, call: Call, reply: Reply) -> None:
        """A service answered. What went well is news only where the endpoint has not come like this before: with
        thousands of polls a minute nobody would find anything else in the log."""
        contact = (visit.address, visit.user_agent, call.scheme)
        level = LogLevel.debug
        if reply.error or reply.status >= 400:
            level = LogLevel.warn
        elif self._known.get(call.account.endpoint) != contact:
            self._known[call.account.endpoint] = contact
            level = LogLevel.info
        if level is not LogLevel.debug or self.is_detailed:
            self._log.emit(
                level, "{operation} of {endpoint} at {address} answered {status}{with_error} in {elapsed_ms} ms "
                "({scheme}, {user_agent})",
                operation=reply.operation or call.method, endpoint=call.account.endpoint, status=reply.status,
                with_error=f" {reply.error}" if reply.error else "", error=reply.error, scheme=call.scheme,
                room=call.account.room.email, **visit.fields())
        if visit.captured is not None:
            self._capture(visit, call.account.endpoint, reply.body, room=call.account.room.email,
                          scheme=call.scheme, operation=reply.operation or call.method, status=reply.status,
                          error=reply.error)

    def sent(self, visit: Visit, call: Call, document: bytes) -> None:
        """A further document of an answer that is held open was sent; for the wire log alone."""
        if visit.captured is not None:
            self._capture(replace(visit, captured=NOTHING), call.account.endpoint, document, scheme=call.scheme,
                          room=call.account.room.email, operation="part of an open answer")

    def challenged(self, visit: Visit, outcome: Refused, delay_s: float) -> None:
        """A request was answered 401."""
        fields = visit.fields() | {"scheme": outcome.scheme or "no scheme", "error": outcome.reason, "status": 401}
        if outcome.endpoint:
            fields["endpoint"] = outcome.endpoint
        if delay_s:
            fields["delay_s"] = delay_s
        self._capture(visit, outcome.endpoint, scheme=outcome.scheme, status=401, error=outcome.reason)
        if not outcome.is_failure:
            self._log.debug("{method} {path} of {address} answered 401 with a challenge ({scheme}, {user_agent}) "
                            "{error}", **fields)
        else:
            late = ", which was delayed because the address keeps failing," if delay_s else ""
            self._log.warn("Login of {address} with {scheme} failed: {error}; answered 401{late} in {elapsed_ms} "
                           "ms ({method} {path}, {user_agent})", late=late, **fields)

    def refused(self, visit: Visit, status: int, error: str) -> None:
        """A request was answered before anybody asked who sends it; `/healthz` is of no interest."""
        is_health = status in (200, 503)
        level = LogLevel.debug if is_health else LogLevel.info
        self._log.emit(level, "{method} {path} of {address} answered {status} {error} in {elapsed_ms} ms "
                       "({user_agent})", status=status, error=error, **visit.fields())
        if not is_health:
            self._capture(visit, status=status, error=error)

    def noticed(self, visit: Visit, reply: Reply) -> None:
        """A calendar system told of changes, or somebody in its place."""
        level = LogLevel.info if reply.status >= 400 else LogLevel.debug
        if level is LogLevel.info or self.is_detailed:
            self._log.emit(level, "Notice of {address} at {path} answered {status}{with_error} ({user_agent})",
                           status=reply.status, error=reply.error,
                           with_error=f" {reply.error}" if reply.error else "", **visit.fields())

    def cut_off(self, address: str, status: int, error: str) -> None:
        """A request was refused before it was read whole."""
        self._log.warn("A request of {address} was refused with {status}: {error}", address=address, status=status,
                       error=error)
        self._capture_failure(address, status=status, error=error)

    def tls_failed(self, address: str, error: str) -> None:
        """A client and we did not agree on TLS."""
        self._log.warn("TLS with {address} failed: {error}{hint}", address=address, error=error,
                       hint=_TLS_HINTS.get(error, ""))
        self._capture_failure(address, error=f"TLS failed: {error}")

    def broken(self, visit: Visit, endpoint: str = "") -> None:
        """An answer could not be made, and that is a bug of ours; called where the exception is handled."""
        fields = visit.fields() | ({"endpoint": endpoint} if endpoint else {})
        self._log.failure("{method} {path} of {address} could not be answered", **fields)

    def _capture(self, visit: Visit, endpoint: str = "", answer: bytes = b"", **facts: object) -> None:
        """Keep the request and its answer as they were on the wire, where that is asked for."""
        if self._wire is not None and visit.captured is not None:
            self._wire.record(endpoint, {**visit.fields(), "peer": visit.peer, **facts}, visit.captured,
                              Message(visit.answer_headers(), answer))

    def _capture_failure(self, address: str, **facts: object) -> None:
        """Keep that a client came no further than this."""
        if self._wire is not None:
            self._wire.record("", {"address": address, **facts})
