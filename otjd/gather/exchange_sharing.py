"""How many mailboxes may share a stream of notifications, as servers show it."""

from __future__ import annotations

from twisted.logger import Logger

from otjd.protocol.ews_client_streaming import SUBSCRIPTIONS

TEARS = 2
"""Streams in a row that told of one mailbox alone, after which each has a stream of its own."""

_FOREIGN = frozenset({"ErrorInvalidSubscription", "ErrorSubscriptionAccessDenied"})
"""Of subscriptions that belong to somebody else; those that a server has lost are told of otherwise."""

LONE_STREAMS = 50
"""Streams of one mailbox, each a connection of its own, that are held open; other rooms are read without."""


class Sharing:
    """Exchange lets one account listen to many mailboxes at once; others only to the one that is impersonated."""

    _log = Logger()

    def __init__(self) -> None:
        self._torn = 0

    @property
    def limit(self) -> int:
        """Mailboxes of one stream."""
        return 1 if self._torn >= TEARS else SUBSCRIPTIONS

    def allows(self, streams: int) -> bool:
        """Whether there may be another stream beside so many."""
        return self.limit > 1 or streams < LONE_STREAMS

    def held(self, mailboxes: int) -> None:
        """A stream of so many mailboxes was opened."""
        if mailboxes > 1:
            self._torn = 0

    def tore(self, code: str, kept: int, mailboxes: int) -> bool:
        """A stream of so many mailboxes was refused as it was opened, but for those that it kept; gives whether
        each mailbox must have a stream of its own from now on."""
        if code in _FOREIGN and kept == 1 < mailboxes:
            self._torn += 1
            if self._torn == TEARS:
                self._log.info("The server tells of one mailbox in a stream: {limit} rooms get a stream each, "
                               "others are read without", limit=LONE_STREAMS)
        return self.limit == 1
