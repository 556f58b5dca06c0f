"""What to do next for an endpoint: from the wanted list and what the endpoint acknowledged. No clock, no network.

Times are seconds of any clock that runs evenly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from otjd.protocol.cisco_versions import SoftwareVersion, Writer, writer_for

REPUSH_S = 3600.0
"""Every list is sent again after this time, whether something changed or not (deployment guide)."""

VERSION_HOLDS_S = 60.0
"""Before a push that is due for its age the version is asked again, unless it was a moment ago."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A list that the endpoint took: the agenda's revision, how, when, and whether that is certain."""

    revision: str
    writer: Writer
    at_s: float
    verified: bool


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an endpoint.

    `version` counts where `asked_at_s` is set; None then is an endpoint that tells no known version.
    `without_put` holds the version, as it reports it, for which `Bookings Put` turned out to be missing.
    """

    version: SoftwareVersion | None = None
    asked_at_s: float | None = None
    acknowledged: Acknowledged | None = None
    without_put: str | None = None

    @property
    def writer(self) -> Writer:
        """The interface to use."""
        writer = writer_for(self.version)
        if writer is Writer.PUT_ELSE_XML and self.without_put == self._version_text:
            return Writer.XML
        return writer

    @property
    def _version_text(self) -> str:
        return str(self.version or "")

    def answered(self, version: SoftwareVersion | None, now_s: float) -> Known:
        """After the endpoint told its version. What another version took is not held against this one."""
        kept = self.acknowledged if version == self.version else None
        return replace(self, version=version, asked_at_s=now_s, acknowledged=kept)

    def took(self, revision: str, now_s: float, *, verified: bool) -> Known:
        """After the endpoint took a list."""
        return replace(self, acknowledged=Acknowledged(revision, self.writer, now_s, verified))

    def confirmed(self) -> Known:
        """After the list that the endpoint holds was seen to be the one that was sent."""
        acknowledged = self.acknowledged
        return self if acknowledged is None else replace(
            self, acknowledged=replace(acknowledged, verified=True))

    def lacks_put(self) -> Known:
        """After the endpoint turned out not to have `Bookings Put`."""
        return replace(self, without_put=self._version_text, acknowledged=None)

    def doubted(self) -> Known:
        """After any failure: nothing counts but which command is missing."""
        return Known(without_put=self.without_put)


class Step(Enum):
    """The next thing to do."""

    ASK_VERSION = "ask the endpoint for its version"
    PUT = "send the list"
    VERIFY = "compare the endpoint's list"
    REST = "nothing"


def next_step(revision: str | None, known: Known, now_s: float, *, repush_s: float = REPUSH_S) -> Step:
    """What to do now. `revision` is that of the wanted list, None where the room was never read: an unread room is
    no empty room, and is not pushed."""
    if revision is None:
        return Step.REST
    acknowledged = known.acknowledged
    due = acknowledged is None or now_s - acknowledged.at_s >= repush_s
    if known.asked_at_s is None or (due and now_s - known.asked_at_s >= VERSION_HOLDS_S):
        return Step.ASK_VERSION
    if acknowledged is None or due or acknowledged.revision != revision:
        return Step.PUT
    return Step.REST if acknowledged.verified else Step.VERIFY


def rest_s(known: Known, now_s: float, *, repush_s: float = REPUSH_S) -> float:
    """Seconds until the list is due for its age, unless something changes before."""
    if known.acknowledged is None:
        return repush_s
    return max(0.0, known.acknowledged.at_s + repush_s - now_s)
