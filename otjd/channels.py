"""SteadyChannel: twisted.web's HTTP/1.1, for clients that may mean harm."""

from __future__ import annotations

from typing import Any

from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel

LENGTH_DIGITS = 18
"""Digits of the length of a body; more are a mistake or an attack."""


class SteadyChannel(HTTPChannel):
    """A connection of which a client cannot make an exception, memory that grows, or one that never ends.

    A connection that is to end, but whose client does not read its answer or, with TLS, does not agree, is cut
    after `letting_go_s`.
    """

    callLater: Any  # noqa: N815 - set by the factory
    _abortingCall: Any  # noqa: N815 - twisted.web's name
    _is_over = False

    @property
    def letting_go_s(self) -> float:
        """Seconds that a client may take to let go of the connection."""
        return 60.0

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """The connection ended."""
        self._is_over = True
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def loseConnection(self) -> None:
        """End the connection when what was written is sent, and with TLS when the client agrees."""
        if self._abortingCall is None and not self._is_over:
            self._abortingCall = self.callLater(self.letting_go_s, self.forceAbortClient)
        super().loseConnection()  # type: ignore[no-untyped-call]

    def timeoutConnection(self) -> None:
        """The client has been silent for too long."""
        if self._abortingCall is not None:
            self._abortingCall.cancel()
        self._abortingCall = self.callLater(self.abortTimeout, self.forceAbortClient)
        self.loseConnection()

    def pauseProducing(self) -> None:
        """The client does not read its answers: none of its further requests is answered until it does.

        twisted.web would answer them all, and keep the answers, where the first is being answered at this moment.
        """
        super().pauseProducing()  # type: ignore[no-untyped-call]
        self.paused = True
        self._networkProducer.pauseProducing()

    def resumeProducing(self) -> None:
        """The client goes on reading."""
        self.paused = False
        super().resumeProducing()  # type: ignore[no-untyped-call]
        self._networkProducer.resumeProducing()
        if self._buffer:
            self.dataReceived(b"")  # type: ignore[no-untyped-call]

    def _maybeChooseTransferDecoder(self, header: bytes, data: bytes) -> bool:
        # twisted.web makes a number of it whatever its length, and Python makes none of more than 4,300 digits
        if header == b"Content-Length" and len(data) > LENGTH_DIGITS:
            return bool(self._failChooseTransferDecoder())
        return bool(super()._maybeChooseTransferDecoder(header, data))  # type: ignore[no-untyped-call]
