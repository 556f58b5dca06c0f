"""A simulated Google on a port: faults, latency, listening and closing, and messages to those who watch."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl

from twisted.internet import ssl
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IPolicyForHTTPS
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from otjd.seam import deferred
from otjd.simulate.calendars import Calendars
from otjd.simulate.codec_http import Answer, Connections, reset, send, send_half
from otjd.simulate.google_api import Call, GoogleApi, read_call
from otjd.simulate.google_channels import Post
from otjd.simulate.google_errors import page
from otjd.simulate.google_settings import Fault, GoogleSettings
from otjd.simulate.poly_http import tls_policy

BODY_LIMIT = 1024 * 1024
DELIVERY_TIMEOUT_S = 10.0
WORTH_PACKING = 1024
"""Answers of fewer bytes are not packed."""


class GoogleResource(Resource):
    """Serves `api` at every address; `clock` counts the seconds that an answer takes."""

    _log = Logger()

    def __init__(self, api: GoogleApi, clock: IReactorTime) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.isLeaf = True
        self._api = api
        self._clock = clock

    def render(self, request: Any) -> int:
        """Serve whatever the method."""
        left: Deferred[None] = Deferred()
        request.notifyFinish().addErrback(lambda _: left.callback(None))
        deferred(self._serve(request, left)).addErrback(self._failed, request)
        return NOT_DONE_YET

    def _failed(self, failure: Any, request: Any) -> None:
        self._log.failure("the simulated Google failed", failure)
        send(request, Answer(500, b""))

    async def _serve(self, request: Any, left: Deferred[None]) -> None:
        body = request.content.read(BODY_LIMIT + 1)
        if len(body) > BODY_LIMIT:
            send(request, page(413, "Error 413 (Request Entity Too Large)!!1"))
            return
        path, _, query = request.uri.decode("latin-1").partition("?")
        pairs = parse_qsl(query, keep_blank_values=True)
        call = read_call(request.method.decode("latin-1"), path, pairs, body, lambda n: request.getHeader(n) or "")
        fault = self._api.fault_for(call)
        await self._wait(self._api.latency_s())
        if fault is None or await self._strike(request, call, fault, left):
            answer = self._api.answer(call, fault if fault is not None and fault.kind == "error" else None)
            answer = _packed(answer, call)
            if fault is not None and fault.kind == "truncated":
                send_half(request, answer)
            else:
                send(request, answer)

    async def _strike(self, request: Any, call: Call, fault: Fault, left: Deferred[None]) -> bool:
        """Have a fault; whether the request is answered all the same."""
        match fault.kind:
            case "stall":
                self._api.requests[call.operation] += 1
                await left
            case "reset":
                self._api.requests[call.operation] += 1
                reset(request)
            case "html":
                self._api.requests[call.operation] += 1
                send(request, page(fault.status, f"Error {fault.status}"))
            case "slow":
                await self._wait(fault.delay_s)
                return True
            case _:
                return True
        return False

    async def _wait(self, delay_s: float) -> None:
        if delay_s > 0:
            await deferLater(self._clock, delay_s)


def _packed(answer: Answer, call: Call) -> Answer:
    """The answer in gzip, where both headers ask for that, as Google wants it."""
    if len(answer.body) < WORTH_PACKING or not all(
            "gzip" in call.headers(name).lower() for name in ("accept-encoding", "user-agent")):
        return answer
    return replace(answer, body=gzip.compress(answer.body, 1), headers=(
        *answer.headers, (b"Content-Encoding", b"gzip"), (b"Vary", b"Accept-Encoding")))


class _Ignored(Protocol):
    """Reads a body to its end, so that the connection can be used again."""


def poster(reactor: Any, policy: IPolicyForHTTPS) -> tuple[Post, Callable[[], Deferred[None]]]:
    """What posts notifications over HTTPS, and what closes its connections."""
    pool = HTTPConnectionPool(reactor)  # type: ignore[no-untyped-call]
    agent = Agent(reactor, policy, DELIVERY_TIMEOUT_S, pool=pool)  # type: ignore[no-untyped-call]

    async def post(url: str, headers: Mapping[str, str]) -> int:
        asked: Deferred[Any] = agent.request(b"POST", url.encode(), Headers({n: [v] for n, v in headers.items()}))
        response = await asked.addTimeout(DELIVERY_TIMEOUT_S, reactor)
        response.deliverBody(_Ignored())
        return int(response.code)

    return post, pool.closeCachedConnections


class GoogleServer:
    """A simulated Google that shows `calendars`. `api` is to be controlled and looked at.

    `clock` counts the seconds of latency and delays, in place of `reactor`. Receivers of notifications must have a
    certificate that the authorities in the PEM file `trusted` have signed; without one, those that the system
    trusts. `site` is the factory of its connections.
    """

    def __init__(self, calendars: Calendars, *, reactor: Any, settings: GoogleSettings,
                 clock: IReactorTime | None = None, trusted: Path | None = None, seed: int = 0) -> None:
        clock = clock or cast(IReactorTime, reactor)
        post, self._close_posts = poster(reactor, tls_policy(trusted, verify=True))
        self.api = GoogleApi(calendars, settings, clock=clock, post=post, seed=seed)
        site = Site(GoogleResource(self.api, clock), reactor=reactor)  # type: ignore[no-untyped-call]
        site.noisy = False
        self.site = Connections(site)
        self._reactor = reactor
        self._ports: list[Any] = []

    def listen(self, certificate: Path, key: Path, *, address: str = "127.0.0.1", port: int = 0) -> int:
        """Serve HTTPS; gives the port. `certificate` may hold a chain, in PEM form.

        :raises OSError: a file cannot be read.
        :raises CannotListenError: the address cannot be used.
        """
        pair = ssl.PrivateCertificate.loadPEM(  # type: ignore[no-untyped-call]
            certificate.read_bytes() + key.read_bytes())
        listening = self._reactor.listenSSL(port, self.site, pair.options(), interface=address)
        return self._listening("https", listening)

    def listen_http(self, *, address: str = "127.0.0.1", port: int = 0) -> int:
        """Serve plain HTTP, which Google does not, to clients that are tried without certificates; gives the port.

        :raises CannotListenError: the address cannot be used.
        """
        return self._listening("http", self._reactor.listenTCP(port, self.site, interface=address))

    def _listening(self, scheme: str, listening: Any) -> int:
        self._ports.append(listening)
        host = listening.getHost()
        self.api.base_url = f"{scheme}://{host.host}:{host.port}"
        self.api.sign_in.audiences.add(f"{self.api.base_url}/token")
        return int(host.port)

    async def stop(self) -> None:
        """Listen no more, and close what is open."""
        for port in self._ports:
            await port.stopListening()
        self._ports.clear()
        self.api.close()
        await self.site.close()
        await self._close_posts()
