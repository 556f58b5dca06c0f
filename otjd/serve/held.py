"""HeldAnswer: an answer that is held open, chunk by chunk, for as long as its client reads it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.logger import Logger, LogLevel
from zope.interface import implementer

from otjd.serve.calls import Call, Held, Outlet, Reply

UNHEARD_S = 60.0
"""How long what was sent may go unacknowledged: who lost its power or its network is found out after that."""

STALLED_S = 30.0
"""How long a client may leave what it was sent unread, once the buffers of its connection are full."""


@implementer(IPushProducer)
class HeldAnswer:
    """The client's side of `reply`, a `calls.Outlet`; the head of the answer is written already.

    With HTTP/1.1 each document is a chunk of its own, with HTTP/1.0 the answer ends with the connection. `told` is
    called with every document that was sent, `over` once, when nothing more will be.
    """

    _log = Logger()

    def __init__(self, request: Any, call: Call, reply: Reply, *, clock: IReactorTime,
                 told: Callable[[bytes], None], over: Callable[[HeldAnswer], None]) -> None:
        self._request = request
        self._call = call
        self._reply = reply
        self._clock = clock
        self._told = told
        self._over = over
        self._started = clock.seconds()
        self._stalled: IDelayedCall | None = None
        self._held: Held | None = None
        self._is_over = False
        # an earlier answer on this connection may not have been read either
        self.is_ready = not request.channel._waitingForTransport

    def start(self, hold: Callable[[Outlet], Held]) -> None:
        """Send the first part of the answer, then let what `hold` makes go on with it."""
        self._request.notifyFinish().addErrback(lambda _: self._gone())
        self._request.registerProducer(self, True)
        _notice_silence(self._request.channel.transport)
        if self._request.clientproto == b"HTTP/1.0":
            self._request.setHeader("Connection", "close")
        self._request.write(self._reply.body)
        self._held = hold(self)

    def write(self, document: bytes) -> None:
        """Send a part of the answer, whole."""
        self._request.write(document)
        self._told(document)

    def finish(self, error: str = "") -> None:
        """That was all; the connection may be used for the next request."""
        if self.is_ready:
            self._request.unregisterProducer()
            self._request.finish()
        else:
            self._request.channel.transport.abortConnection()
        self._ended(error or "it is complete", is_news=bool(error))

    def call_later(self, delay_s: float, job: Callable[[], None]) -> IDelayedCall:
        """Have `job` called after a while."""
        return self._clock.callLater(delay_s, job)

    def close(self) -> None:
        """End the answer now, as one that was complete."""
        if self._held is not None:
            self._held.close()

    def pauseProducing(self) -> None:
        """The buffers of the connection are full."""
        if self.is_ready:
            self.is_ready = False
            self._stalled = self._clock.callLater(STALLED_S, self._give_up)

    def resumeProducing(self) -> None:
        """The client has read what it was sent."""
        if self._stalled is not None and self._stalled.active():
            self._stalled.cancel()
        if not self.is_ready:
            self.is_ready = True
            if self._held is not None and not self._is_over:
                self._held.ready()

    def stopProducing(self) -> None:
        """The connection is lost, as `notifyFinish` tells too."""

    def _give_up(self) -> None:
        self._gone(f"the client read nothing for {STALLED_S:g} s")
        self._request.channel.transport.abortConnection()

    def _gone(self, reason: str = "the client left") -> None:
        if not self._is_over:
            self._ended(reason, is_news=True)
            if self._held is not None:
                self._held.gone()

    def _ended(self, reason: str, *, is_news: bool) -> None:
        if self._is_over:
            return
        self._is_over = True
        if self._stalled is not None and self._stalled.active():
            self._stalled.cancel()
        self._over(self)
        self._log.emit(LogLevel.info if is_news else LogLevel.debug,
                       "{operation} of {endpoint} at {address} ended after {elapsed_s} s: {reason}",
                       operation=self._reply.operation, endpoint=self._call.account.endpoint,
                       room=self._call.account.room.email, address=self._call.client_address,
                       elapsed_s=round(self._clock.seconds() - self._started), reason=reason)


def _notice_silence(transport: Any) -> None:
    """Have the system end a connection whose client acknowledges nothing.

    Of itself it goes on trying for a quarter of an hour, and every heartbeat would count as a contact.
    """
    connection = getattr(transport, "socket", None)
    if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(UNHEARD_S * 1000))
