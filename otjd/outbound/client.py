"""HttpClient: requests to servers whose certificates are verified, directly or through the web proxy."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from otjd.outbound.answers import Answer, Body, head_of, pass_on, read
from otjd.outbound.connections import Pool
from otjd.outbound.errors import RequestError, StaleError, causes_of, explain
from otjd.outbound.proxy import agent, proxy_of
from otjd.outbound.trust import VerifiedTls
from otjd.seam import deferred

__all__ = ["Answer", "HttpClient", "RequestError"]

T = TypeVar("T")

ANSWER_LIMIT = 32 * 1024 * 1024
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_URL = re.compile(r"https?://[!-~]+", re.IGNORECASE)
UNREADABLE = "a URL that cannot be read"
REPEATABLE = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")
"""Methods whose requests do the same when they arrive twice (RFC 9110 9.2.2)."""


USER_AGENT = "otjd (gzip)"
"""Google packs its answers only for clients whose name says that they take it."""


class HttpClient:
    """Requests over kept-alive connections, at most `connections_per_host` at a time to one server; more wait.

    Certificates are always verified, over TLS 1.2 or later, against this machine's trust roots and those in the
    PEM file `ca_file`. All requests go through `proxy_url` where it is given. No redirect is followed.

    :raises ValueError: `proxy_url` is not one of a proxy.
    """

    def __init__(self, reactor: Any, *, ca_file: Path | None = None, proxy_url: str = "",
                 connections_per_host: int = 8, user_agent: str = USER_AGENT) -> None:
        self._reactor = reactor
        self._ca_file = ca_file
        self._proxy_url = proxy_url
        self._limit = connections_per_host
        self._user_agent = user_agent
        self._streams_count = False
        self._pool = Pool(reactor, keep=connections_per_host)
        tls = VerifiedTls(ca_file=ca_file)
        self._agent = agent(reactor, self._pool, tls, proxy_of(proxy_url), tls)
        self._turns: dict[str, DeferredSemaphore] = {}
        self._under_way: set[Deferred[Any]] = set()
        self._is_closed = False

    def single_connection(self) -> HttpClient:
        """A client of the same settings with one connection, for requests and streams one after another.

        NTLM authenticates a connection: `Answer.connection` tells whether it is still the same one.
        """
        client = HttpClient(self._reactor, ca_file=self._ca_file, proxy_url=self._proxy_url,
                            connections_per_host=1, user_agent=self._user_agent)
        client._streams_count = True
        return client

    async def close(self) -> None:
        """End all requests, with RequestError, and all connections; further requests are refused."""
        self._is_closed = True
        for one in tuple(self._under_way):
            one.cancel()
        await self._pool.drop_all()

    async def request(self, method: str, url: str, *, headers: Mapping[str, str] = NO_HEADERS,
                      body: bytes | None = None, timeout_s: float = 60.0, limit: int = ANSWER_LIMIT,
                      repeatable: bool | None = None, again: Callable[[], None] = lambda: None) -> Answer:
        """One request and its answer, whatever its status; `limit` is in bytes of the unpacked body.

        A repeatable request, which by itself is one of the methods REPEATABLE, is sent once more where a kept
        connection turns out to be closed; `again` is called before that, and what it raises is raised here.

        :raises RequestError: there is no answer within `timeout_s`, or none that can be used.
        """
        has_turn = has_begun = False
        is_repeatable = method in REPEATABLE if repeatable is None else repeatable

        async def ask() -> Answer:
            nonlocal has_turn, has_begun
            has_turn = True
            wanted = {"Accept-Encoding": "gzip", **headers}
            response = await self._ask(method, url, wanted, body,
                                       again if is_repeatable else None)
            has_begun = True
            head = head_of(response)
            with _in_words(url):
                return replace(head, body=await read(response, limit, head.headers.get("content-encoding", "")))

        def too_late(_: object, limit_s: float) -> Answer:
            what = ("the answer was not complete" if has_begun else "no answer" if has_turn else
                    f"none of the {self._limit} connections to it became free")
            raise RequestError(f"{_server(url)}: {what} within {limit_s:g} s")

        return await self._run(url, self._in_turn(url, ask, counts=True), timeout_s, too_late)

    async def stream(self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None,
                     received: Callable[[bytes], None], idle_s: float,
                     started: Callable[[Answer], None] | None = None) -> Answer:
        """One request whose answer is given to `received` as it comes, until the server ends it.

        `started` is called with the answer's status and headers before that, and they are what is returned, with
        an empty body. What either raises ends the stream and is raised here. Streams are not counted among the
        connections of a server, except by a single connection. Cancel the wait to end it early.

        :raises RequestError: there is no answer, it breaks off, or nothing came for `idle_s`.
        """
        own: Exception | None = None
        is_late = False

        async def ask() -> Answer:
            response = await self._ask(method, url, headers, body, None)
            head = head_of(response)
            deadline.reset(idle_s)
            if started is not None:
                started(head)
            with _in_words(url, lambda error: error is not own):
                await pass_on(response, pass_one)
            return head

        def pass_one(data: bytes) -> None:
            nonlocal own
            deadline.reset(idle_s)
            try:
                received(data)
            except Exception as error:
                own = error
                raise

        def stop() -> None:
            nonlocal is_late
            is_late = True
            running.cancel()

        deadline = self._reactor.callLater(idle_s, stop)
        running = deferred(self._run(url, self._in_turn(url, ask, counts=self._streams_count)))
        try:
            return await running
        except CancelledError:
            if is_late:
                raise RequestError(f"{_server(url)}: nothing came for {idle_s:g} s") from None
            raise
        finally:
            if deadline.active():
                deadline.cancel()

    async def _run(self, url: str, asking: Coroutine[Deferred[Any], Any, T], timeout_s: float = 0,
                   too_late: Callable[[object, float], T] | None = None) -> T:
        """Let a request run; its errors are put into words, and `close` can end it."""
        running = deferred(asking)
        self._under_way.add(running)
        try:
            if too_late is not None:
                running.addTimeout(timeout_s, self._reactor, too_late)
            return await running
        except RequestError:
            raise
        except Exception as error:
            if not _is_cancelled(error):
                raise
            if self._is_closed:
                raise RequestError(f"{_server(url)}: the client was closed") from error
            raise CancelledError from error
        finally:
            self._under_way.discard(running)

    async def _in_turn(self, url: str, ask: Callable[[], Coroutine[Deferred[Any], Any, T]], *, counts: bool) -> T:
        """Ask when a connection to the server is free."""
        if self._is_closed:
            raise RequestError(f"{_server(url)}: the client was closed")
        key = _server(url)
        if not _URL.fullmatch(url) or key == UNREADABLE:
            raise RequestError(f"{key} is no URL that can be asked for")
        if not counts:
            return await ask()
        turns = self._turns.setdefault(key, DeferredSemaphore(self._limit))
        await turns.acquire()
        try:
            return await ask()
        finally:
            turns.release()
            if turns.tokens == turns.limit:
                self._turns.pop(key, None)

    async def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None,
                   again: Callable[[], None] | None) -> IResponse:
        """Send a request; where there is `again`, once more, after it, where kept connections turn out to be
        closed."""
        raw = Headers({name: [value] for name, value in {"User-Agent": self._user_agent, **headers}.items()})
        for _ in range(self._limit if again is not None else 0):  # there are no more kept connections
            try:
                return await self._send(method, url, raw, body, is_last=False)
            except StaleError:
                if again is not None:
                    again()
        return await self._send(method, url, raw, body, is_last=True)

    async def _send(self, method: str, url: str, headers: Headers, body: bytes | None, *,
                    is_last: bool) -> IResponse:
        with _in_words(url, lambda error: is_last or not isinstance(error, StaleError)):
            return await self._agent.request(method.encode("ascii"), url.encode("ascii"), headers,
                                             None if body is None else Body(body))


@contextmanager
def _in_words(url: str, concerned: Callable[[Exception], bool] = lambda _: True) -> Iterator[None]:
    """Make RequestErrors of what `concerned` holds for, except that somebody cancelled."""
    try:
        yield
    except Exception as error:
        if not concerned(error) or _is_cancelled(error):
            raise
        raise RequestError(f"{_server(url)}: {explain(error)}") from error


def _is_cancelled(error: Exception) -> bool:
    return any(isinstance(cause, CancelledError) for cause in causes_of(error))


def _server(url: str) -> str:
    """Scheme, host and port of a URL: never its path or query, which may hold a secret, nor a password."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or "?"
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return UNREADABLE
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"
