"""Requests that a simulated Graph makes itself: the validation of notification URLs, and notifications."""

from __future__ import annotations

import json
from random import Random
from typing import Any, NoReturn
from urllib.parse import quote_plus, urlsplit

import treq
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from twisted.web.client import Agent

from otjd.seam import deferred
from otjd.simulate.graph_errors import GraphError, invalid_subscription, new_id
from otjd.simulate.graph_settings import GraphSettings
from otjd.simulate.poly_http import NO_ANSWER, tls_policy

_JSON = {"Content-Type": "application/json; charset=utf-8"}
_TEXT = {"Content-Type": "text/plain; charset=utf-8"}
_LONGEST_PAUSE_S = 600.0


class Deliveries:
    """Posts notifications to their URLs; those that wait for the same URL go together.

    `delivered`, `dropped` and `lost` count notifications, `attempts` requests. The next `lose` notifications are
    lost without a trace.
    """

    def __init__(self, reactor: Any, settings: GraphSettings, random: Random) -> None:
        self._reactor = reactor
        self._settings = settings
        self._random = random
        trust = tls_policy(settings.notification_ca_file, verify=True)
        self._agent = Agent(reactor, trust)  # type: ignore[no-untyped-call]
        self._waiting: dict[str, list[dict[str, Any]]] = {}
        self._later: set[IDelayedCall] = set()
        self._under_way: set[Deferred[Any]] = set()
        self.delivered = self.dropped = self.lost = self.attempts = self.lose = 0

    async def validate(self, url: str) -> None:
        """Ask the receiver to repeat a token, as for a new subscription.

        :raises GraphError: it is no https URL, or the token does not come back in time.
        """
        if not _is_https(url):
            raise invalid_subscription("Notification endpoint must use https protocol.")
        token = f"Validation: Testing client application reachability for subscription Request-Id: {new_id()}"
        target = f"{url}{'&' if '?' in url else '?'}validationToken={quote_plus(token)}"
        try:
            status, kind, body = await self._post(target, b"", _TEXT, self._settings.validation_timeout_s)
        except defer.TimeoutError:
            raise _unvalidated("Subscription validation request timed out.") from None
        except NO_ANSWER as error:
            raise _unvalidated("Subscription validation request failed. Notification endpoint could not be "
                               f"reached: {type(error).__name__}.") from None
        if status != 200:
            raise _unvalidated("Subscription validation request failed. Notification endpoint must respond with "
                               "200 OK to validation request.")
        if not kind.lower().startswith("text/plain") or body != token.encode():
            raise _unvalidated("Subscription validation request failed. Response must exactly match "
                               "validationToken query parameter.")

    def deliver(self, url: str, notification: dict[str, Any]) -> None:
        """Have a notification delivered after the delay that changes take to be told."""
        if self.lose:
            self.lose -= 1
            self.lost += 1
            return
        if url in self._waiting:
            self._waiting[url].append(notification)
            return
        self._waiting[url] = [notification]
        self._call_later(self._random.uniform(*self._settings.notification_delay_s), lambda: self._flush(url))

    async def close(self) -> None:
        """Deliver nothing more."""
        for call in self._later:
            call.cancel()
        self._later.clear()
        for request in tuple(self._under_way):
            request.cancel()

    def _flush(self, url: str) -> None:
        self._attempt(url, self._waiting.pop(url), 0.0, self._settings.retry_first_s)

    def _attempt(self, url: str, notifications: list[dict[str, Any]], age_s: float, pause_s: float) -> None:
        attempt = deferred(self._try(url, notifications, age_s, pause_s))
        self._under_way.add(attempt)
        attempt.addErrback(_cancelled)
        attempt.addBoth(lambda _: self._under_way.discard(attempt))

    async def _try(self, url: str, notifications: list[dict[str, Any]], age_s: float, pause_s: float) -> None:
        self.attempts += 1
        try:
            status, _, _ = await self._post(url, json.dumps({"value": notifications}).encode(), _JSON,
                                            self._settings.notification_timeout_s)
        except (defer.TimeoutError, *NO_ANSWER):
            status = 0
        if 200 <= status < 300:
            self.delivered += len(notifications)
        elif age_s + pause_s > self._settings.retry_for.total_seconds():
            self.dropped += len(notifications)
        else:
            longer = min(2 * pause_s, _LONGEST_PAUSE_S)
            self._call_later(pause_s, lambda: self._attempt(url, notifications, age_s + pause_s, longer))

    def _call_later(self, delay_s: float, do: Any) -> None:
        def now() -> None:
            self._later.discard(call)
            do()

        call: IDelayedCall = self._reactor.callLater(delay_s, now)
        self._later.add(call)

    async def _post(self, url: str, body: bytes, headers: dict[str, str],
                    timeout_s: float) -> tuple[int, str, bytes]:
        async def ask() -> tuple[int, str, bytes]:
            response = await treq.post(url, data=body, headers=headers, agent=self._agent, allow_redirects=False)
            kind = response.headers.getRawHeaders("content-type", [""])[0]
            return response.code, kind, await response.content()

        return await deferred(ask()).addTimeout(timeout_s, self._reactor, _too_late)


def _is_https(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" and bool(parts.hostname) and parts.port != 0 and url.isascii()
    except ValueError:
        return False


def _cancelled(failure: Failure) -> None:
    failure.trap(CancelledError)  # type: ignore[no-untyped-call]


def _too_late(_: object, limit_s: float) -> NoReturn:
    raise defer.TimeoutError(f"no answer within {limit_s:g} s")


def _unvalidated(message: str) -> GraphError:
    return GraphError(400, "ValidationError", message)
