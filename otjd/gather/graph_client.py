"""Requests to Microsoft Graph with a token, a few at a time to one mailbox, and its refusals told apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twisted.internet.defer import DeferredSemaphore

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
from otjd.protocol.graph_errors import Cause, GraphProblem, problem
from otjd.protocol.graph_requests import GraphRequest

AT_ONCE = 4
"""Requests to one mailbox at the same time: Graph's limit for an app."""

TIMEOUT_S = 60.0
ANSWER_LIMIT = 32 * 1024 * 1024
"""Five events with bodies of 5 MB fit."""


class RefusedError(SourceError):
    """The request itself was not accepted: another one may be."""


class TooMuchError(UnreachableError):
    """The answer is larger than what is taken: less may be asked for."""


class GoneError(SourceError):
    """What the request referred to is not there any more."""


_ERRORS: Mapping[Cause, type[SourceError]] = {
    Cause.UNSIGNED: UnauthorizedError, Cause.REFUSED: UnauthorizedError, Cause.ROOM: RoomError,
    Cause.REQUEST: RefusedError, Cause.GONE: GoneError, Cause.UNREACHABLE: UnreachableError}


@dataclass(slots=True)
class Tally:
    """How many requests something took."""

    requests: int = 0


class GraphClient:
    """Asks Graph. `spend` is called before each request; `client_id` goes into what operators are told to do."""

    def __init__(self, http: HttpClient, tokens: TokenSource, spend: Spend, client_id: str) -> None:
        self._http = http
        self._tokens = tokens
        self._spend = spend
        self._client_id = client_id
        self._proven = ""
        self._turns: dict[str, DeferredSemaphore] = {}

    async def ask(self, request: GraphRequest, room: str, tally: Tally | None = None) -> Answer:
        """The answer to a request that concerns the mailbox of `room` ("" for none), where it is a success.

        :raises SourceError: it is none; RefusedError, TooMuchError and GoneError where it is the request's fault.
        """
        turns = self._turns.setdefault(room, DeferredSemaphore(AT_ONCE))
        await turns.acquire()
        try:
            return await self._asked(request, room, tally or Tally())
        finally:
            turns.release()
            if turns.tokens == turns.limit:
                self._turns.pop(room, None)

    async def close(self) -> None:
        """End all requests and connections."""
        await self._http.close()

    async def _asked(self, request: GraphRequest, room: str, tally: Tally) -> Answer:
        token = await self._tokens.token()
        answer = await self._send(request, token, tally)
        if answer.status == 401:  # it may have been revoked, or Graph's clock is ahead
            self._tokens.forget()
            token = await self._tokens.token()
            answer = await self._send(request, token, tally)
        if 200 <= answer.status < 300:
            self._proven = token
            return answer
        found = problem(answer.status, answer.headers, answer.body, room=room, client=self._client_id)
        if found.cause is Cause.UNSIGNED and room and token == self._proven:
            raise RoomError(f"{room}: {found.text}; other rooms can be read by the same token")
        raise _error(found, room)

    async def _send(self, request: GraphRequest, token: str, tally: Tally) -> Answer:
        def count() -> None:
            self._spend(1)
            tally.requests += 1

        count()
        try:
            return await self._http.request(
                request.method, request.url, headers={**request.headers, "Authorization": f"Bearer {token}"},
                body=request.body, timeout_s=TIMEOUT_S, limit=ANSWER_LIMIT, repeatable=request.is_repeatable,
                again=count)
        except RequestError as error:
            kind = TooMuchError if isinstance(error.__cause__, TooLargeError) else UnreachableError
            raise kind(str(error)) from error


def _error(found: GraphProblem, room: str) -> SourceError:
    if found.cause in {Cause.BUSY, Cause.ROOM_BUSY}:
        return ThrottledError(found.text, found.retry_after, room if found.cause is Cause.ROOM_BUSY else "")
    return _ERRORS[found.cause](found.text)
