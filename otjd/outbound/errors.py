"""Why a request had no answer, in words for the operator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from OpenSSL import SSL
from twisted.internet import error as internet_error
from twisted.python.failure import Failure

CONNECT_TIMEOUT_S = 10.0
"""For the look-up of a name and the TCP connection to one of its addresses."""

_DETAIL_LIMIT = 300
_NO_CONNECTION = f"no connection within {CONNECT_TIMEOUT_S:g} s"
_PLAIN_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (internet_error.ConnectionRefusedError, "the connection was refused: nothing listens at this host and port"),
    (internet_error.DNSLookupError, "the host name is not known to DNS"),
    (internet_error.NoRouteError, "there is no route to the address"),
    (internet_error.TimeoutError, _NO_CONNECTION),
    (internet_error.TCPTimedOutError, _NO_CONNECTION),
)
_VERIFICATION = {  # X509_V_ERR_... of OpenSSL's x509_vfy.h
    2: "its authority is unknown",
    9: "it is not valid yet: are the clocks right?",
    10: "it has expired",
    18: "it is signed by itself",
    19: "its authority is unknown",
    20: "its authority is unknown",
    21: "its authority is unknown, or an intermediate certificate is missing",
    23: "it has been revoked",
    24: "a certificate of its chain is not one of an authority",
    26: "it is not meant for a server",
}


class RequestError(Exception):
    """No answer came, or none that can be used: the message says why, and holds no secret."""


class TooLargeError(RequestError):
    """The answer has more bytes than were asked to be taken; what `HttpClient` raises names this as its cause."""


class StaleError(Exception):
    """A kept connection ended before anything was answered: most likely the server had closed it already."""

    def __init__(self) -> None:
        super().__init__("the server closed the connection before it answered")


class UntrustedError(Exception):
    """The server's certificate was not accepted; `code` is OpenSSL's X509_V_ERR number."""

    def __init__(self, code: int) -> None:
        super().__init__(_VERIFICATION.get(code, f"verification error {code}"))


@dataclass(frozen=True, slots=True)
class Remedies:
    """What to do about a certificate for another name, and about one of an unknown authority."""

    name: str = "use a name that it bears"
    trust: str = "name the PEM file of its authority as ca_file"


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """`error` and everything that it wraps, the outermost first."""
    yield error
    for reason in getattr(error, "reasons", ()):
        value = reason.value if isinstance(reason, Failure) else reason
        if isinstance(value, BaseException):
            yield from causes_of(value)


def explain(error: BaseException, remedies: Remedies = Remedies()) -> str:
    """Why there was no answer, in words for the operator."""
    causes = list(causes_of(error))
    for cause in causes:
        if words := _words_for(cause, remedies):
            return words
    if any(isinstance(cause, internet_error.ConnectionClosed) for cause in causes):
        return "the connection was lost before the answer was complete"
    last = causes[-1]
    if isinstance(last, internet_error.ConnectError) or not str(last):
        return f"the connection failed: {type(last).__name__} {last}".rstrip()[:_DETAIL_LIMIT]
    return f"what came is no HTTP answer: {last}"[:_DETAIL_LIMIT]


def _words_for(cause: BaseException, remedies: Remedies) -> str:
    """What one cause says for itself; empty where it takes others to understand it."""
    if isinstance(cause, RequestError | StaleError):
        return str(cause)
    if isinstance(cause, UntrustedError):
        return f"the certificate is not trusted by this machine, {cause}: {remedies.trust}"
    if type(cause).__module__.startswith("service_identity"):
        return f"the certificate is for another name or address: {remedies.name}"
    if isinstance(cause, SSL.Error):
        reasons = [str(entry[-1]) for entry in (cause.args[0] if cause.args else ()) if entry]
        text = ", ".join(reasons) or "the far side broke it off"
        return f"the TLS handshake failed: {text}"[:_DETAIL_LIMIT]
    return next((words for kind, words in _PLAIN_WORDS if isinstance(cause, kind)), "")
