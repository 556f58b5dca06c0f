"""`otjd authorize`: a person signs in to an integration, and the refresh token is kept for the node."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any, cast
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Site

from otjd.config.model import Config
from otjd.gather.consent import Consent, ConsentError, WrongAddressError
from otjd.gather.token_store import TokenStoreError
from otjd.seam import deferred
from otjd.sign_in import CloudIntegration, consent_of, http_client, token_store

PATIENCE_S = 1800.0
LOOPBACK = {"127.0.0.1": "127.0.0.1", "localhost": "127.0.0.1", "::1": "::1"}
"""Hosts of redirect addresses that this command can listen on, each with the interface."""

LONGEST_LINE = 65536

PAGE_SENT_S = 0.2
"""The command ends so long after it has answered a browser whose sign-in was refused."""

Write = Callable[[str], object]
Attach = Callable[[Protocol], Callable[[], object]]


class SignIn:
    """One sign-in under way. `code` fires with the code, or fails with ConsentError."""

    def __init__(self, consent: Consent) -> None:
        self.consent = consent
        self.state = secrets.token_urlsafe(32)
        self.verifier = secrets.token_urlsafe(64)
        self.code: Deferred[str] = Deferred()

    def take(self, address: str) -> None:
        """An address that the browser came back to.

        :raises WrongAddressError: it is not of this sign-in, which goes on.
        :raises ConsentError: the sign-in was refused.
        """
        code = self.consent.code_from(address, self.state)
        if not self.code.called:
            self.code.callback(code)

    def fail(self, error: ConsentError) -> None:
        """The sign-in is over, without success."""
        if not self.code.called:
            self.code.errback(error)


class _Back(Resource):
    """Where the browser comes back to."""

    def __init__(self, sign_in: SignIn, path: str, reactor: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.isLeaf = True
        self._sign_in = sign_in
        self._reactor = reactor
        self._path = path or "/"

    def render_GET(self, request: Any) -> bytes:
        """Take the answer to the sign-in; everything else is none."""
        request.setHeader("Content-Type", "text/html; charset=utf-8")
        request.setHeader("Cache-Control", "no-store")
        request.setHeader("Referrer-Policy", "no-referrer")
        if request.path.decode("latin-1") != self._path:
            return self._page(request, 404, "There is nothing here.")
        try:
            self._sign_in.take(request.uri.decode("latin-1"))
        except WrongAddressError as error:
            return self._page(request, 400, str(error))
        except ConsentError as error:  # it ends the process, and the browser is to have its page before
            self._reactor.callLater(PAGE_SENT_S, self._sign_in.fail, error)
        return self._page(request, 200, "otjd has the answer: whether it worked is said where the sign-in was "
                                        "begun. This window may be closed.")

    @staticmethod
    def _page(request: Any, status: int, text: str) -> bytes:
        request.setResponseCode(status)
        return f"<!doctype html><title>otjd</title><p>{escape(text)}</p>".encode()


class _Pasted(Protocol):
    """Takes pasted addresses, one a line."""

    def __init__(self, sign_in: SignIn, complain: Write, *, is_only_way: bool) -> None:
        self._sign_in = sign_in
        self._complain = complain
        self._is_only_way = is_only_way
        self._rest = b""

    def dataReceived(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:LONGEST_LINE]
        for line in lines:
            self._take(line)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - the interface's
        self._take(self._rest)
        if self._is_only_way:
            self._sign_in.fail(ConsentError("no address of this sign-in was entered"))

    def _take(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").strip()
        if text:
            try:
                self._sign_in.take(text)
            except WrongAddressError as error:
                self._complain(f"otjd: {error}\n")
            except ConsentError as error:
                self._sign_in.fail(error)


def attach_to_stdin(protocol: Protocol) -> Callable[[], object]:
    """Let a protocol have what is typed, piped or in a file; gives what ends that."""
    mode = os.fstat(sys.stdin.fileno()).st_mode
    if os.isatty(sys.stdin.fileno()) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        terminal = StandardIO(protocol)  # type: ignore[no-untyped-call]
        return cast("Callable[[], object]", terminal.loseConnection)
    protocol.dataReceived(sys.stdin.buffer.read(LONGEST_LINE))  # a file, which cannot be waited for
    protocol.connectionLost(connectionDone)
    return lambda: None


@dataclass(frozen=True, slots=True)
class Terminal:
    """Who is at it: `write` and `complain` say something, `attach` gives a protocol what is entered.

    `attach` returns what ends that.
    """

    write: Write
    complain: Write
    attach: Attach = attach_to_stdin


def run(config: Config, name: str, reactor: Any, terminal: Terminal) -> Deferred[None]:
    """Sign in; ends with SystemExit: 0 signed in, 1 not signed in, 2 there is nothing to sign in to."""
    return deferred(_run(config, name, reactor, terminal))


async def _run(config: Config, name: str, reactor: Any, terminal: Terminal) -> None:
    consents = {i.name: c for i in config.integrations if (c := consent_of(i)) is not None}
    if name not in consents:
        known = ", ".join(consents) or "none"
        terminal.complain(f"otjd: no integration {name!r} needs a sign-in; those that do: {known}. They are "
                          "Exchange with authentication_method OAUTH, and Google with use_user_consent\n")
        raise SystemExit(2)
    try:
        await _sign_in(config, consents[name], reactor, terminal)
    except (ConsentError, TokenStoreError) as error:
        terminal.complain(f"otjd: {error}\n")
        raise SystemExit(1) from None
    terminal.write(f"Signed in to {name}. A running node finds it by itself.")
    raise SystemExit(0)


async def _sign_in(config: Config, consent: Consent, reactor: Any, terminal: Terminal) -> None:
    integration = cast("CloudIntegration", config.integration(consent.integration))
    store = token_store(config, integration)
    store.check()
    sign_in = SignIn(consent)
    port = _listen(sign_in, reactor)
    terminal.write("Open this address in a browser and sign in:\n\n"
                   f"{consent.link(sign_in.state, sign_in.verifier)}\n\n"
                   f"The browser then comes back to {consent.redirect_uri}\n"
                   + ("and all is done. Where it cannot, as it runs on another machine, paste the address of the "
                      "page it ends on here." if port is not None else
                      "which may show nothing: paste the whole address of that page here."))
    detach = terminal.attach(_Pasted(sign_in, terminal.complain, is_only_way=port is None))
    try:
        code = await sign_in.code.addTimeout(PATIENCE_S, reactor, _too_late)
    finally:
        detach()
        if port is not None:
            await port.stopListening()
    http = http_client(config, integration, reactor)
    try:
        token = await consent.exchange(http, code, sign_in.verifier)
    finally:
        await http.close()
    await deferToThreadPool(reactor, reactor.getThreadPool(), store.save, token)


def _too_late(_: object, limit_s: float) -> str:
    raise ConsentError(f"nobody signed in within {limit_s / 60:g} minutes: start again")


def _listen(sign_in: SignIn, reactor: Any) -> Any:
    """Listen where the browser comes back to; None where that is elsewhere or in use."""
    back = urlsplit(sign_in.consent.redirect_uri)
    if back.scheme != "http" or back.hostname not in LOOPBACK:
        return None
    site = Site(_Back(sign_in, back.path, reactor))  # type: ignore[no-untyped-call]
    site.noisy = False
    try:
        return reactor.listenTCP(back.port or 80, site, interface=LOOPBACK[back.hostname])
    except CannotListenError:
        return None
