"""GoogleApi: one request to the Google Calendar API, with what Google asks of those who send many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from otjd.gather.source import (
    RoomError,
    SourceError,
    Spend,
    ThrottledError,
    UnauthorizedError,
    UnreachableError,
)
from otjd.gather.tokens import TokenSource
from otjd.outbound.client import Answer, HttpClient, RequestError
from otjd.outbound.errors import TooLargeError
from otjd.protocol.google_errors import Concern, Problem, problem_of
from otjd.protocol.retry_after import retry_after_s

ATTEMPTS = 3
"""Where the server fails; Google asks for longer and longer waits, which no Retry-After tells."""

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 64.0
LONG_WAIT = timedelta(minutes=10)
"""Where a quota is spent rather than a limit of a minute."""

TIMEOUT_S = 60.0


class SyncTokenError(UnreachableError):
    """The sync token of a room is no longer valid."""


class TooMuchError(UnreachableError):
    """The answer is larger than an answer may be."""


class RefusedError(UnreachableError):
    """The request was not understood, or not by the Google Calendar API."""


class WindowError(UnreachableError):
    """The window is longer than may be asked for."""


class PushError(UnreachableError):
    """There are no notifications like this."""


_ERRORS: Mapping[Concern, type[SourceError]] = {
    Concern.ROOM: RoomError,
    Concern.TOKEN: UnauthorizedError,
    Concern.SIGN_IN: UnauthorizedError,
    Concern.FULL_SYNC: SyncTokenError,
    Concern.RANGE: WindowError,
    Concern.PUSH: PushError,
    Concern.REQUEST: RefusedError,
    Concern.LATER: UnreachableError,
}


@dataclass(slots=True)
class Tally:
    """Counts the requests that something took."""

    requests: int = 0


class GoogleApi:
    """Sends requests with a token, counts them, repeats those that may be, and tells errors apart."""

    def __init__(self, *, http: HttpClient, tokens: TokenSource, spend: Spend, clock: IReactorTime,
                 jitter: Callable[[], float], account: str) -> None:
        self._http = http
        self._tokens = tokens
        self._spend = spend
        self._clock = clock
        self._jitter = jitter
        self._account = account
        self._throttled = 0

    async def ask(self, method: str, url: str, *, body: bytes | None = None, room: str = "",
                  tally: Tally | None = None, repeatable: bool = True) -> Answer:
        """The answer to a request that only reads, or, where it is not `repeatable`, to one that may change
        something. `room` is the calendar that it is about, empty for several.

        :raises SourceError: it was refused, or there is no answer.
        """
        has_new_token = False
        for attempt in range(ATTEMPTS):
            answer = await self._send(method, url, body, tally, repeatable=repeatable)
            if answer.status in (200, 204):
                self._throttled = 0
                return answer
            problem = problem_of(answer.status, answer.body, account=self._account, room=room)
            is_last = attempt == ATTEMPTS - 1
            if problem.concern is Concern.TOKEN and not has_new_token and not is_last:
                self._tokens.forget()
                has_new_token = True
            elif problem.concern is Concern.LATER and repeatable and not is_last:
                await deferLater(self._clock, self._wait_s(attempt))
            else:
                break
        raise self._error(problem, answer)

    async def _send(self, method: str, url: str, body: bytes | None, tally: Tally | None, *,
                    repeatable: bool) -> Answer:
        headers = {"Authorization": f"Bearer {await self._tokens.token()}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"

        def count() -> None:
            self._spend(1)
            if tally is not None:
                tally.requests += 1

        count()
        try:
            return await self._http.request(method, url, headers=headers, body=body, timeout_s=TIMEOUT_S,
                                            repeatable=repeatable, again=count)
        except RequestError as error:
            kind = TooMuchError if isinstance(error.__cause__, TooLargeError) else UnreachableError
            raise kind(str(error)) from error

    def _wait_s(self, attempt: int) -> float:
        """Twice as long each time, up to the double of that at random."""
        return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(attempt, 10)) * (1 + self._jitter())

    def _error(self, problem: Problem, answer: Answer) -> SourceError:
        if problem.concern in (Concern.PATIENCE, Concern.LONG_PATIENCE):
            return ThrottledError(problem.words, self._patience(problem, answer))
        return _ERRORS[problem.concern](problem.words)

    def _patience(self, problem: Problem, answer: Answer) -> timedelta:
        """How long to wait: what the answer says, if it does, else longer each time."""
        said_s = retry_after_s(answer.headers.get("retry-after", ""), answer.headers.get("date", ""))
        if said_s is not None:
            return timedelta(seconds=said_s)
        if problem.concern is Concern.LONG_PATIENCE:
            return LONG_WAIT
        self._throttled += 1
        return timedelta(seconds=self._wait_s(self._throttled - 1))
