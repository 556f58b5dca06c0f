"""A simulated Poly endpoint: reads a room's calendar as the devices do, tells what it would show and dial."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.iweb import IAgent

from otjd.poller import Backoff, Poller
from otjd.simulate.http_auth import SchemeName, login_by
from otjd.simulate.poly_dialling import DialSource, Family, dial
from otjd.simulate.poly_http import PolyConnection, PolyError, tls_policy
from otjd.simulate.poly_reading import ReadItem, found_items, read_items
from otjd.simulate.poly_requests import ItemKey, Shape, action, find_item, get_item, views

PRIVATE_SUBJECT = "Private meeting"
HTTP_TIMEOUT_S = 5.0
"""After this time a Polycom client gives up on an answer."""

SHOWN_PRIVATE = frozenset({"Private", "Confidential", "Personal"})

__all__ = ["DisplayedMeeting", "PolyEndpoint", "PolyError", "PolyRoom"]


@dataclass(frozen=True, slots=True)
class DisplayedMeeting:
    """A meeting as the endpoint shows it; `dial` is what Join would call, None where there is no Join."""

    subject: str
    organizer: str
    start: datetime
    end: datetime
    private: bool
    dial: str | None
    dial_source: DialSource | None


class PolyEndpoint:
    """One endpoint with its login.

    `now` gives the aware UTC time. `reactor` connects and, unless `clock` is given, counts seconds; `agent`
    replaces its HTTP client. With `verify=False` any certificate is taken; `ca_file` is a PEM file of the
    authorities to trust in place of the system's. `family` decides where the address to dial is looked for, and
    what of private meetings is hidden unless `show_private`.
    """

    def __init__(self, url: str, username: str, password: str, *, scheme: SchemeName = "digest", mailbox: str = "",
                 domain: str = "", shape: Shape = "a", family: Family = "group", show_private: bool = False,
                 now: Callable[[], datetime], reactor: Any = None, clock: IReactorTime | None = None,
                 agent: IAgent | None = None, ca_file: Path | None = None, verify: bool = True,
                 timeout_s: float = HTTP_TIMEOUT_S, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._mailbox = mailbox
        self._shape: Shape = shape
        self._family: Family = family
        self._show_private = show_private
        self._now = now
        login = login_by(scheme, username, password, domain=domain, random_bytes=random_bytes)
        self._connection = PolyConnection(url, login, reactor=reactor, clock=clock or reactor, timeout_s=timeout_s,
                                          policy=tls_policy(ca_file, verify=verify), agent=agent)
        self._known: dict[ItemKey, DisplayedMeeting | None] = {}
        self.displayed: tuple[DisplayedMeeting, ...] = ()
        """What is on the screen; a poll that fails leaves it as it is."""
        self.ignored: tuple[str, ...] = ()
        """Why items of the last successful poll are not on the screen although they were sent."""
        self.items_read = 0
        """How many items were asked for by GetItem so far."""

    @property
    def requests(self) -> int:
        """How many HTTP requests were sent so far, those of logins included."""
        return self._connection.requests

    async def poll(self) -> tuple[DisplayedMeeting, ...]:
        """Read the calendar once and show what is in it, in the order of time.

        :raises PolyError: the calendar could not be read.
        """
        known: dict[ItemKey, DisplayedMeeting | None] = {}
        ignored: list[str] = []
        for view in views(self._shape, self._now()):
            keys, passed_over = found_items(*await self._connection.post(
                find_item(self._shape, view, self._mailbox), action("FindItem")))
            ignored += passed_over
            if self._shape == "a":
                # what has not changed is not read again
                batches = [[key for key in keys if key not in self._known]]
                known.update({key: self._known[key] for key in keys if key in self._known})
            else:
                batches = [[key] for key in keys]
            for batch in filter(None, batches):
                ignored += await self._read(batch, known)
        self._known = known
        self.ignored = tuple(ignored)
        self.displayed = tuple(sorted((m for m in known.values() if m is not None),
                                      key=lambda m: (m.start, m.end, m.subject)))
        return self.displayed

    async def _read(self, batch: list[ItemKey], known: dict[ItemKey, DisplayedMeeting | None]) -> list[str]:
        self.items_read += len(batch)
        items, ignored = read_items(*await self._connection.post(get_item(self._shape, batch), action("GetItem")))
        known.update(dict.fromkeys(batch))
        known.update({item.key: self._display(item) for item in items})
        return ignored

    def _display(self, item: ReadItem) -> DisplayedMeeting | None:
        if item.is_cancelled:
            return None
        number, source = dial(self._family, item.location, item.body)
        private = item.sensitivity in SHOWN_PRIVATE
        hidden = private and not self._show_private
        return DisplayedMeeting(
            subject=PRIVATE_SUBJECT if hidden else item.subject,
            organizer="" if hidden and self._family != "trio" else item.organizer,  # Trio shows the organizer
            start=item.start, end=item.end, private=private, dial=number, dial_source=source)

    async def close(self) -> None:
        """Close the connection to the calendar service."""
        await self._connection.close()


class PolyRoom:
    """Polls for an endpoint, again and again; for the demo and the command line."""

    _log = Logger()

    def __init__(self, endpoint: PolyEndpoint, *, clock: IReactorTime, interval_s: float,
                 jitter: Callable[[], float] = random.random, on_change: Callable[[], None] | None = None) -> None:
        self._endpoint = endpoint
        self._on_change = on_change
        self._poller = Poller(self._poll, clock=clock, interval_s=interval_s, jitter=jitter, failed=self._failed,
                              backoff=Backoff(first_s=interval_s, limit_s=max(interval_s, 60.0)))
        self.last_error: Exception | None = None
        """Why the last poll failed; None where it did not."""
        self.polls = 0
        """How many polls were successful."""

    @property
    def display(self) -> tuple[DisplayedMeeting, ...]:
        """The meetings on the screen."""
        return self._endpoint.displayed

    def start(self) -> None:
        """Poll at once and then every interval."""
        self._poller.start()

    async def stop(self) -> None:
        """End after the poll in progress and close the connection."""
        await self._poller.stop()
        await self._endpoint.close()

    async def _poll(self) -> None:
        before, had_error = self.display, self.last_error is not None
        await self._endpoint.poll()
        self.last_error = None
        self.polls += 1
        if before != self.display or had_error:
            self._changed()

    def _failed(self, error: Exception, attempt: int, delay_s: float) -> None:
        changed = str(error) != str(self.last_error)
        self.last_error = error
        if isinstance(error, PolyError):
            self._log.warn("The simulated endpoint could not read its calendar: {error}; again in {delay_s:.0f} s",
                           error=str(error), attempt=attempt, delay_s=delay_s)
        else:
            self._log.error("The simulated endpoint failed: {error!r}", error=error, attempt=attempt)
        if changed:
            self._changed()

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change()
