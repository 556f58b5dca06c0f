"""One HTTP exchange with an endpoint: a connection of its own, bounded in time and size, no redirect followed.

With verification the endpoint's certificate must be good to this machine's trust roots and for the configured name
or address, over TLS 1.2 or later. Without it anybody may answer in the endpoint's place, so that old TLS adds no
danger: TLS 1.0 and weak certificates are taken too, which TC software needs.
"""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IReactorTime
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IPolicyForHTTPS
from zope.interface import implementer

from otjd.outbound.answers import Answer, Body, head_of, read
from otjd.outbound.connections import Pool
from otjd.outbound.errors import Remedies, RequestError, explain
from otjd.outbound.proxy import agent as agent_through
from otjd.outbound.proxy import proxy_of
from otjd.outbound.trust import VerifiedTls
from otjd.seam import deferred

EXCHANGE_TIMEOUT_S = 30.0
"""For everything from the look-up of the name to the last byte of the answer (cisco.md 2.4)."""

ANSWER_LIMIT = 1024 * 1024
"""Bytes of an answer's body."""

_REMEDIES = Remedies(
    name="connect by a name that it bears, install one for this name, or set verify_cert to NO",
    trust="install one from an authority that it trusts, or set verify_cert to NO")


def codec_agent(reactor: Any, host: str, *, verify: bool, trust_root: Any = None, proxy_url: str = "") -> IAgent:
    """An agent for the endpoint at `host`, a name or an address. Its connections are not kept.

    `trust_root` (IOpenSSLTrustRoot) takes the place of this machine's trust roots; the proxy at `proxy_url` is on
    the way where it is given.
    """
    tls = VerifiedTls(host=host, trust_root=trust_root) if verify else _AnyTls(host)
    return agent_through(reactor, Pool(reactor), tls, proxy_of(proxy_url))


async def exchange(agent: IAgent, method: bytes, url: bytes, *, headers: dict[str, str], body: bytes | None,
                   clock: IReactorTime, timeout_s: float = EXCHANGE_TIMEOUT_S) -> Answer:
    """One request and its answer, whatever its status.

    :raises RequestError: there is no answer, or it is too late or too large.
    """

    def too_late(_: object, limit_s: float) -> Answer:
        raise RequestError(f"no answer within {limit_s:g} s")

    return await deferred(_exchange(agent, method, url, headers, body)).addTimeout(timeout_s, clock, too_late)


async def _exchange(agent: IAgent, method: bytes, url: bytes, headers: dict[str, str],
                    body: bytes | None) -> Answer:
    raw = Headers({name: [value] for name, value in headers.items()})
    try:
        response = await agent.request(method, url, raw, None if body is None else Body(body))
        return replace(head_of(response), body=await read(response, ANSWER_LIMIT))
    except Exception as error:
        raise RequestError(explain(error, _REMEDIES)) from error


@implementer(IPolicyForHTTPS)
class _AnyTls:
    def __init__(self, host: str) -> None:
        self._creator = _Unverified(host)

    def creatorForNetloc(self, hostname: bytes,  # noqa: ARG002 - the interface's
                         port: int) -> IOpenSSLClientConnectionCreator:  # noqa: ARG002
        return self._creator


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
