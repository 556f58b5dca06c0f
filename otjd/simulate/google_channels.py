"""Notification channels of a simulated Google: `events.watch`, `channels.stop`, and the messages themselves."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import DeferredSemaphore
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from otjd.seam import deferred
from otjd.simulate.calendars import Change
from otjd.simulate.google_errors import GoogleError
from otjd.simulate.google_settings import Push

MEMBERS: Mapping[str, type | tuple[type, ...]] = {
    "kind": str, "id": str, "resourceId": str, "resourceUri": str, "token": str, "expiration": (str, int),
    "type": str, "address": str, "payload": bool, "params": dict}
ID_LENGTH = 64
TOKEN_LENGTH = 256
DELIVERIES_AT_ONCE = 50
AGENT = "APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)"

_ID = re.compile(r"[A-Za-z0-9\-_+/=]+", re.ASCII)

Post = Callable[[str, Mapping[str, str]], Awaitable[int]]
"""Posts nothing but these headers to an address, and gives the status; raises what kept it from arriving."""


@dataclass(slots=True)
class Channel:
    """A channel; `number` is that of its last message."""

    id: str
    user: str
    room: str
    address: str
    token: str
    expires: datetime
    resource_id: str
    resource_uri: str
    number: int = 0

    def headers(self, state: str) -> dict[str, str]:
        """The headers of its next message."""
        self.number += 1
        headers = {"X-Goog-Channel-ID": self.id,
                   "X-Goog-Channel-Expiration": self.expires.strftime("%a, %d %b %Y %H:%M:%S GMT"),
                   "X-Goog-Resource-State": state, "X-Goog-Message-Number": str(self.number),
                   "X-Goog-Resource-ID": self.resource_id, "X-Goog-Resource-URI": self.resource_uri,
                   "Accept": "*/*", "User-Agent": AGENT}
        return headers | ({"X-Goog-Channel-Token": self.token} if self.token else {})


class Channels:
    """All channels. `counts` says how many messages were `sent`, `delivered`, `dropped`, `failed`, `retried`."""

    def __init__(self, push: Push, *, now: Callable[[], datetime], clock: IReactorTime, post: Post,
                 seed: int) -> None:
        self.push = push
        self.counts: Counter[str] = Counter()
        self._now = now
        self._clock = clock
        self._post = post
        self._random = Random(seed)  # noqa: S311 - which messages are late or lost
        self._channels: dict[str, Channel] = {}
        self._of_room: dict[str, dict[str, Channel]] = {}
        self._waiting: set[IDelayedCall] = set()
        self._lanes = DeferredSemaphore(DELIVERIES_AT_ONCE)

    def live(self) -> tuple[Channel, ...]:
        """The channels that have not ended."""
        for channel in [c for c in self._channels.values() if c.expires <= self._now()]:
            self._forget(channel)
        return tuple(self._channels.values())

    def watch(self, room: str, body: Mapping[str, Any], user: str, uri: str) -> dict[str, Any]:
        """Open a channel for the events of a room.

        :raises GoogleError: the request cannot be used.
        """
        for name in ("id", "type", "address"):
            if not body.get(name):
                raise GoogleError(400, "required", f"Missing required field: {name}", location=name)
        channel_id, address, token = body["id"], body["address"], body.get("token", "")
        if len(channel_id) > ID_LENGTH or not _ID.fullmatch(channel_id):
            raise GoogleError(400, "invalid", "Channel id must be at most 64 characters of [A-Za-z0-9\\-_\\+/=]+",
                              location="id")
        if body["type"] not in ("web_hook", "webhook"):
            raise GoogleError(400, "push.channelTypeNotSupported", f"Unknown channel type: {body['type'][:40]}")
        if not address.startswith("https://") or not urlsplit(address).hostname:
            raise GoogleError(400, "push.webhookUrlNotHttps", f"WebHook callback must be HTTPS: {address}")
        if len(token) > TOKEN_LENGTH:
            raise GoogleError(400, "invalid", f"Channel token is longer than {TOKEN_LENGTH} characters",
                              location="token")
        expires = self._expiry(body)
        self.live()
        if channel_id in self._channels:
            raise GoogleError(400, "channelIdNotUnique", f"Channel id {channel_id} not unique")
        resource_id = base64.urlsafe_b64encode(hashlib.sha256(room.encode()).digest()[:20]).decode().rstrip("=")
        channel = Channel(channel_id, user, room, address, token, expires, resource_id, uri)
        self._channels[channel_id] = channel
        self._of_room.setdefault(room, {})[channel_id] = channel
        self._later(0.0, lambda: self._deliver(channel, channel.headers("sync"), 1))
        answer = {"kind": "api#channel", "id": channel_id, "resourceId": resource_id, "resourceUri": uri,
                  "expiration": str(int(expires.timestamp() * 1000))}
        return answer | ({"token": token} if token else {})

    def stop(self, body: Mapping[str, Any], user: str) -> None:
        """End a channel.

        :raises GoogleError: there is no such channel of this user.
        """
        for name in ("id", "resourceId"):
            if not body.get(name):
                raise GoogleError(400, "required", f"Missing required field: {name}", location=name)
        channel = self._channels.get(body["id"])
        if channel is None or channel.resource_id != body["resourceId"] or channel.user != user:
            raise GoogleError(404, "notFound", f"Channel '{body['id'][:64]}' not found")
        self._forget(channel)

    def told(self, change: Change) -> None:
        """A calendar changed: tell its channels, unless the message gets lost."""
        for channel in tuple(self._of_room.get(change.room, {}).values()):
            if channel.expires <= self._now():
                self._forget(channel)
                continue
            for _ in range(self.push.copies):
                headers = channel.headers("exists")
                if self._random.random() < self.push.dropped:
                    self.counts["dropped"] += 1
                else:
                    self._deliver_later(channel, headers)

    def close(self) -> None:
        """Send nothing more."""
        for call in self._waiting:
            call.cancel()
        self._waiting.clear()
        self._channels.clear()
        self._of_room.clear()

    def _deliver_later(self, channel: Channel, headers: Mapping[str, str]) -> None:
        self._later(self._random.uniform(*self.push.delay_s), lambda: self._deliver(channel, headers, 1))

    def _expiry(self, body: Mapping[str, Any]) -> datetime:
        now = self._now()
        ttl = body.get("params", {}).get("ttl", self.push.default_life.total_seconds())
        try:
            expires = now + timedelta(seconds=int(ttl))
            if "expiration" in body:
                expires = datetime.fromtimestamp(int(body["expiration"]) / 1000, UTC)
        except (ValueError, TypeError, OverflowError, OSError):
            raise GoogleError(400, "invalid", "Invalid value for: expiration", location="expiration") from None
        if expires <= now:
            raise GoogleError(400, "invalid", "Channel expiration must be in the future", location="expiration")
        return min(expires, now + self.push.longest_life).replace(microsecond=0)

    def _forget(self, channel: Channel) -> None:
        del self._channels[channel.id]
        of_room = self._of_room[channel.room]
        del of_room[channel.id]
        if not of_room:
            del self._of_room[channel.room]

    def _later(self, delay_s: float, act: Callable[[], None]) -> None:
        def run() -> None:
            self._waiting.discard(call)
            act()

        call = self._clock.callLater(delay_s, run)
        self._waiting.add(call)

    def _deliver(self, channel: Channel, headers: Mapping[str, str], attempt: int) -> None:
        if self._channels.get(channel.id) is channel:
            self.counts["sent"] += 1
            self._lanes.run(lambda: deferred(self._try(channel, headers, attempt)))

    async def _try(self, channel: Channel, headers: Mapping[str, str], attempt: int) -> None:
        try:
            status = await self._post(channel.address, headers)
        except Exception:  # whatever keeps a message from its receiver, it did not arrive
            status = 503
        if 200 <= status < 300:
            self.counts["delivered"] += 1
        elif 500 <= status <= 504 and attempt < self.push.attempts and channel.id in self._channels:
            self.counts["retried"] += 1
            self._later(self.push.retry_s * 2.0 ** (attempt - 1),
                        lambda: self._deliver(channel, headers, attempt + 1))
        else:
            self.counts["failed"] += 1
