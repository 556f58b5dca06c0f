"""One HTTP exchange with an endpoint: a connection of its own, bounded in time and size, no redirect followed.

With verification the endpoint's certificate must be good to this machine's trust roots and for the configured name
or address, over TLS 1.2 or later. Without it anybody may answer in the endpoint's place, so that old TLS adds no
danger: TLS 1.0 and weak certificates are taken too, which TC software needs.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from OpenSSL import SSL
from twisted.internet import error as internet_error
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IOpenSSLClientConnectionCreator, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions, TLSVersion, optionsForClientTLS
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone, _HTTP11ClientFactory
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from otjd.seam import deferred

CONNECT_TIMEOUT_S = 10.0
EXCHANGE_TIMEOUT_S = 30.0
"""For everything from the look-up of the name to the last byte of the answer (cisco.md 2.4)."""

ANSWER_LIMIT = 1024 * 1024
"""Bytes of an answer's body."""

_DETAIL_LIMIT = 300


class TransportError(Exception):
    """No answer came: the message says why, for the operator."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; the names of headers are in lower case."""

    status: int
    body: bytes = field(repr=False)
    headers: dict[str, str] = field(default_factory=dict)


def codec_agent(reactor: Any, host: str, *, verify: bool, trust_root: Any = None) -> IAgent:
    """An agent for the endpoint at `host`, a name or an address. Its connections are not kept.

    `trust_root` (IOpenSSLTrustRoot) takes the place of this machine's trust roots.
    """
    policy = _Policy(host, verify=verify, trust_root=trust_root)
    pool = HTTPConnectionPool(reactor, persistent=False)  # type: ignore[no-untyped-call]
    pool._factory = _QuietFactory
    agent: IAgent = Agent(  # type: ignore[no-untyped-call]
        reactor, contextFactory=policy, connectTimeout=CONNECT_TIMEOUT_S, pool=pool)
    return agent


class _QuietFactory(_HTTP11ClientFactory):
    noisy = False  # its start and end are no news for the operator


async def exchange(agent: IAgent, method: bytes, url: bytes, *, headers: dict[str, str], body: bytes | None,
                   clock: IReactorTime, timeout_s: float = EXCHANGE_TIMEOUT_S) -> Answer:
    """One request and its answer, whatever its status.

    :raises TransportError: there is no answer, or it is too late or too large.
    """

    def too_late(_: object, limit_s: float) -> Answer:
        raise TransportError(f"no answer within {limit_s:g} s")

    return await deferred(_exchange(agent, method, url, headers, body)).addTimeout(timeout_s, clock, too_late)


async def _exchange(agent: IAgent, method: bytes, url: bytes, headers: dict[str, str],
                    body: bytes | None) -> Answer:
    raw = Headers({name: [value] for name, value in headers.items()})
    producer = None if body is None else _Body(body)
    try:
        response = await agent.request(method, url, raw, producer)
        found = {str(name.decode("ascii", "replace")).lower(): values[-1].decode("utf-8", "replace")
                 for name, values in response.headers.getAllRawHeaders()}
        return Answer(response.code, await _read(response), found)
    except TransportError:
        raise
    except Exception as error:
        raise TransportError(explain(error)) from error


def _read(response: IResponse) -> Deferred[bytes]:
    collector = _Collector()
    response.deliverBody(collector)  # type: ignore[no-untyped-call]
    return collector.done


class _Collector(Protocol):
    """Collects the body of an answer, up to the limit."""

    def __init__(self) -> None:
        self.done: Deferred[bytes] = Deferred(self._cancelled)
        self._body = BytesIO()

    def dataReceived(self, data: bytes) -> None:
        if self.done.called:
            return
        self._body.write(data)
        if self._body.tell() > ANSWER_LIMIT:
            self.done.errback(TransportError(f"the answer has more than {ANSWER_LIMIT} bytes"))
            self._drop()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if isinstance(reason.value, ResponseDone | PotentialDataLoss):
            # without a length the end of the connection is the end of the answer
            self.done.callback(self._body.getvalue())
        else:
            self.done.errback(reason)

    def _cancelled(self, _: Deferred[bytes]) -> None:
        self._drop()

    def _drop(self) -> None:
        # Twisted's stand-in for the connection cannot abort it, and closing waits for the far side
        connection = getattr(self.transport, "_producer", None)
        if connection is not None:
            connection.abortConnection()


@implementer(IBodyProducer)
class _Body:
    """A body that is sent in one piece; bodies are below 1 MB."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._body)
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def pauseProducing(self) -> None:
        """Nothing is left to pause."""

    def resumeProducing(self) -> None:
        """Nothing is left to resume."""

    def stopProducing(self) -> None:
        """Nothing is left to stop."""


@implementer(IPolicyForHTTPS)
class _Policy:
    def __init__(self, host: str, *, verify: bool, trust_root: Any) -> None:
        self._host = host
        self._verify = verify
        self._trust_root = trust_root

    def creatorForNetloc(self, hostname: bytes,  # noqa: ARG002 - the interface's
                         port: int) -> IOpenSSLClientConnectionCreator:  # noqa: ARG002
        if not self._verify:
            return _Unverified(self._host)
        return optionsForClientTLS(self._host, trustRoot=self._trust_root,
                                   extraCertificateOptions={"raiseMinimumTo": TLSVersion.TLSv1_2})


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    """TLS with whoever answers, in whatever version it speaks."""

    def __init__(self, host: str) -> None:
        self._server_name = b"" if is_address(host) else host.rstrip(".").encode("idna")
        options = CertificateOptions(verify=False, insecurelyLowerMinimumTo=TLSVersion.TLSv1_0)
        self._context = options.getContext()
        self._context.set_cipher_list(b"ALL:!aNULL:!eNULL:@SECLEVEL=0")

    def clientConnectionForTLS(
            self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: ARG002 - the interface's
        connection = SSL.Connection(self._context, None)
        if self._server_name:
            connection.set_tlsext_host_name(self._server_name)
        return connection


def is_address(host: str) -> bool:
    """Whether `host` is an IP address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


_NO_CONNECTION = f"no connection within {CONNECT_TIMEOUT_S:g} s"
_PLAIN_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (internet_error.ConnectionRefusedError, "the connection was refused: nothing listens at this host and port"),
    (internet_error.DNSLookupError, "the host name is not known to DNS"),
    (internet_error.NoRouteError, "there is no route to the address"),
    (internet_error.TimeoutError, _NO_CONNECTION),
    (internet_error.TCPTimedOutError, _NO_CONNECTION),
)


def explain(error: BaseException) -> str:
    """Why there was no answer, in words for the operator."""
    causes = list(_causes(error))
    for cause in causes:
        if words := _words_for(cause):
            return words
    if any(isinstance(cause, internet_error.ConnectionClosed) for cause in causes):
        return "the connection was lost before the answer was complete"
    last = causes[-1]
    if isinstance(last, internet_error.ConnectError) or not str(last):
        return f"the connection failed: {type(last).__name__} {last}".rstrip()[:_DETAIL_LIMIT]
    return f"what came is no HTTP answer: {last}"[:_DETAIL_LIMIT]


def _words_for(cause: BaseException) -> str:
    """What one cause says for itself; empty where it takes others to understand it."""
    if isinstance(cause, TransportError):
        return str(cause)
    if type(cause).__module__.startswith("service_identity"):
        return ("the certificate is for another name or address: connect by a name that it bears, install one for "
                "this name, or set verify_cert to NO")
    if isinstance(cause, SSL.Error):
        return _tls_words(cause)
    return next((words for kind, words in _PLAIN_WORDS if isinstance(cause, kind)), "")


def _tls_words(error: SSL.Error) -> str:
    reasons = [str(entry[-1]) for entry in (error.args[0] if error.args else ()) if entry]
    text = ", ".join(reasons) or "the endpoint broke it off"
    if "certificate verify failed" in text:
        return ("the certificate is not trusted by this machine: install one from an authority that it trusts, or "
                "set verify_cert to NO")
    return f"the TLS handshake failed: {text}"[:_DETAIL_LIMIT]


def _causes(error: BaseException) -> Iterator[BaseException]:
    """`error` and everything that it wraps, the outermost first."""
    yield error
    for reason in getattr(error, "reasons", ()):
        value = reason.value if isinstance(reason, Failure) else reason
        if isinstance(value, BaseException):
            yield from _causes(value)
