"""The way through a web proxy: CONNECT for https, whole URLs for http (RFC 9110 9.3.6), Basic authentication."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, ProxyAgent
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from otjd.outbound.connections import Pool
from otjd.outbound.errors import CONNECT_TIMEOUT_S, RequestError, explain
from otjd.outbound.trust import VerifiedTls

TUNNEL_TIMEOUT_S = 30.0
"""For the proxy's answer to CONNECT: it looks the name up and connects first."""

HEAD_LIMIT = 16 * 1024
"""Bytes of that answer."""

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: ([^\r\n]*))?\r?\n")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_CHALLENGE = re.compile(rb"^proxy-authenticate:[ \t]*([!-~]+)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Proxy:
    """A web proxy. `tls` is true where the proxy itself is spoken to over TLS."""

    host: str
    port: int
    tls: bool
    username: str = ""
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"the web proxy {self.host}:{self.port}"

    @property
    def authorization(self) -> str:
        """The value of Proxy-Authorization; empty where there is no user."""
        if not self.username:
            return ""
        return f"Basic {b64encode(f'{self.username}:{self.password}'.encode()).decode('ascii')}"


def proxy_of(url: str) -> Proxy | None:
    """The proxy of a URL such as `http://user:p%40ss@proxy:8080`; None for an empty one.

    :raises ValueError: it is no such URL.
    """
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a proxy is written as http://user:password@host:port")
    tls = parts.scheme == "https"
    return Proxy(parts.hostname, parts.port or (443 if tls else 80), tls, unquote(parts.username or ""),
                 unquote(parts.password or ""))


def agent(reactor: Any, pool: Pool, tls: IPolicyForHTTPS, proxy: Proxy | None,
          proxy_tls: IPolicyForHTTPS | None = None) -> IAgent:
    """An agent whose connections are those of `pool`, all of them through `proxy` where there is one."""
    ways = _Ways(reactor, tls, proxy, proxy_tls or VerifiedTls())
    direct: IAgent = Agent.usingEndpointFactory(reactor, ways, pool)  # type: ignore[no-untyped-call]
    if proxy is None:
        return direct
    asked: IAgent = ProxyAgent(ways.to_proxy(proxy), reactor, pool)  # type: ignore[no-untyped-call]
    return _ProxiedAgent(proxy, direct, asked)


@implementer(IAgentEndpointFactory)
class _Ways:
    """How a server is reached."""

    def __init__(self, reactor: Any, tls: IPolicyForHTTPS, proxy: Proxy | None,
                 proxy_tls: IPolicyForHTTPS) -> None:
        self._reactor = reactor
        self._tls = tls
        self.proxy = proxy
        self._proxy_tls = proxy_tls

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        host = uri.host.decode("ascii")
        if uri.scheme not in (b"http", b"https"):
            raise RequestError(f"{uri.scheme.decode('ascii')} is neither http nor https")
        way: IStreamClientEndpoint = HostnameEndpoint(self._reactor, host, uri.port, timeout=CONNECT_TIMEOUT_S)
        if self.proxy is not None:
            way = _Tunnel(self.to_proxy(self.proxy), self._reactor, self.proxy, host, uri.port)
        if uri.scheme == b"http":
            return way
        return wrapClientTLS(self._tls.creatorForNetloc(uri.host, uri.port), way)

    def to_proxy(self, proxy: Proxy) -> IStreamClientEndpoint:
        way = HostnameEndpoint(self._reactor, proxy.host, proxy.port, timeout=CONNECT_TIMEOUT_S)
        if not proxy.tls:
            return _Named(way, proxy)
        creator = self._proxy_tls.creatorForNetloc(proxy.host.encode("ascii"), proxy.port)
        return _Named(wrapClientTLS(creator, way), proxy)


@implementer(IStreamClientEndpoint)
class _Named:
    """An endpoint whose errors say that it was the proxy which could not be reached."""

    def __init__(self, way: IStreamClientEndpoint, proxy: Proxy) -> None:
        self._way = way
        self._proxy = proxy

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        def failed(failure: Failure) -> None:
            error = cast("BaseException", failure.value)
            raise RequestError(f"{self._proxy} cannot be reached: {explain(error)}") from error

        return self._way.connect(protocolFactory).addErrback(failed)


@implementer(IStreamClientEndpoint)
class _Tunnel:
    """A connection through a proxy, made by CONNECT."""

    def __init__(self, way: IStreamClientEndpoint, reactor: Any, proxy: Proxy, host: str, port: int) -> None:
        self._way = way
        self._reactor = reactor
        self._proxy = proxy
        self._target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        def too_late(_: object, limit_s: float) -> IProtocol:
            raise RequestError(f"{self._proxy} did not answer CONNECT {self._target} within {limit_s:g} s")

        def connected(tunnel: Any) -> Deferred[IProtocol]:
            ready: Deferred[IProtocol] = tunnel.ready
            return ready.addTimeout(TUNNEL_TIMEOUT_S, self._reactor, too_late)

        request = f"CONNECT {self._target} HTTP/1.1\r\nHost: {self._target}\r\n"
        if self._proxy.authorization:
            request += f"Proxy-Authorization: {self._proxy.authorization}\r\n"
        factory = _TunnelFactory(self._proxy, self._target, f"{request}\r\n".encode("ascii"), protocolFactory)
        return self._way.connect(factory).addCallback(connected)


class _TunnelFactory(Factory):
    noisy = False

    def __init__(self, proxy: Proxy, target: str, request: bytes, wrapped: IProtocolFactory) -> None:
        self.proxy = proxy
        self.target = target
        self.request = request
        self.wrapped = wrapped

    def buildProtocol(self, addr: Any) -> _TunnelProtocol:
        return _TunnelProtocol(self, addr)


class _TunnelProtocol(Protocol):
    """Asks for the tunnel, then is the wire between the proxy's connection and the protocol that goes through."""

    transport: Any

    def __init__(self, factory: _TunnelFactory, address: Any) -> None:
        self._made_by = factory
        self._address = address
        self._head = b""
        self._inner: Any = None
        self.ready: Deferred[IProtocol] = Deferred(self._cancelled)

    def connectionMade(self) -> None:
        self.transport.write(self._made_by.request)

    def dataReceived(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.dataReceived(data)
            return
        if self.ready.called:
            return
        self._head += data
        end = _HEAD_END.search(self._head)
        if end is None:
            if len(self._head) > HEAD_LIMIT:
                self._fail(f"answered CONNECT with more than {HEAD_LIMIT} bytes of headers")
            return
        rest = self._head[end.end():]
        self._head = self._head[:end.end()]
        self._answered(rest)

    def _answered(self, rest: bytes) -> None:
        line = _STATUS_LINE.match(self._head)
        if line is None:
            self._fail("did not answer as an HTTP proxy does")
        elif (status := int(line[1])) // 100 == 1:
            self._head = b""
            self.dataReceived(rest)
        elif status // 100 == 2:
            self._begin(rest)
        else:
            made_by = self._made_by
            schemes = [scheme.decode("ascii") for scheme in _CHALLENGE.findall(self._head)]
            phrase = (line[2] or b"").decode("utf-8", "replace")[:80]
            self._fail(refusal(status, made_by.target, has_login=bool(made_by.proxy.username), schemes=schemes)
                       or f"refused CONNECT {made_by.target}: {status} {phrase}")

    def _begin(self, rest: bytes) -> None:
        self._head = b""
        self._inner = self._made_by.wrapped.buildProtocol(self._address)
        self._inner.makeConnection(self.transport)
        self.ready.callback(self._inner)
        if rest:
            self._inner.dataReceived(rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._inner is not None:
            self._inner.connectionLost(reason)
        else:
            self._fail(f"broke off CONNECT {self._made_by.target}: {explain(cast('BaseException', reason.value))}")

    def _fail(self, words: str) -> None:
        if not self.ready.called:
            self.ready.errback(RequestError(f"{self._made_by.proxy} {words}"))
        self._drop()

    def _cancelled(self, _: Deferred[IProtocol]) -> None:
        self._drop()

    def _drop(self) -> None:
        self.transport.abortConnection()


def refusal(status: int, target: str, *, has_login: bool, schemes: list[str]) -> str:
    """What a proxy means by a status that is its own; empty where it may mean anything."""
    if status == 407:
        if schemes and "basic" not in (s.lower() for s in schemes):
            return f"asks for {' or '.join(schemes)[:80]} authentication (407), and only Basic is supported here"
        return ("does not accept the user name and password of web_proxy.url (407)" if has_login else
                "asks for a user name and password (407): put them into web_proxy.url")
    if status == 403:
        return f"does not allow connections to {target} (403): its administrator must allow this host and port"
    if status in (502, 503, 504):
        return f"could not reach {target} itself ({status})"
    return ""


@implementer(IAgent)
class _ProxiedAgent:
    """https through tunnels, http by asking the proxy with the whole URL."""

    def __init__(self, proxy: Proxy, tunnelled: IAgent, asked: IAgent) -> None:
        self._proxy = proxy
        self._tunnelled = tunnelled
        self._asked = asked

    def request(self, method: bytes, uri: bytes, headers: Headers | None = None,
                bodyProducer: IBodyProducer | None = None) -> Deferred[IResponse]:
        parsed = URI.fromBytes(uri)  # type: ignore[no-untyped-call]
        if parsed.scheme != b"http":
            return self._tunnelled.request(method, uri, headers, bodyProducer)
        own = Headers() if headers is None else headers.copy()
        if self._proxy.authorization:
            own.setRawHeaders("Proxy-Authorization", [self._proxy.authorization])

        def answered(response: IResponse) -> IResponse:
            if response.code == 407:
                asked = [v.split()[0].decode("ascii", "replace") for v in
                         response.headers.getRawHeaders(b"proxy-authenticate", []) if v.split()]
                raise RequestError(f"{self._proxy} " + refusal(
                    407, parsed.netloc.decode("ascii"), has_login=bool(self._proxy.username), schemes=asked))
            return response

        return self._asked.request(method, uri, own, bodyProducer).addCallback(answered)
