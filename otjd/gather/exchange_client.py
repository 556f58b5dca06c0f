"""ExchangeClient: questions about mailboxes put to the servers that hold them, and their refusals in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import TypeVar

from twisted.internet.interfaces import IReactorTime

from otjd.gather.exchange_autodiscover import Locator
from otjd.gather.exchange_login import Login, Post
from otjd.gather.exchange_turns import Turns
from otjd.gather.source import (
    RoomError,
    SourceError,
    Spend,
    ThrottledError,
    UnauthorizedError,
    UnreachableError,
)
from otjd.outbound.client import Answer
from otjd.protocol.ews_client import (
    BUSY_PAUSE,
    Concern,
    EwsError,
    UnreadableAnswerError,
    read_answer,
    request,
)
from otjd.protocol.retry_after import retry_after_s
from otjd.seam import InThread

T = TypeVar("T")

TOO_MANY = "ErrorExceededConnectionCount"
ATTEMPTS = 3
"""How often a request is sent that came while too many were under way; the server did nothing for it."""

SMALL = 64 * 1024
"""Bytes of an answer that is read on the spot; more goes to a thread."""

THRONG = 3
"""Mailboxes that are told to wait within THRONG_S before it counts as the server that is busy."""

THRONG_S = 30.0
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class ExchangeClient:
    """Asks as the service account, for a mailbox by impersonation; `turns` says how many requests at a time."""

    def __init__(self, *, login: Login, locator: Locator, spend: Spend, clock: IReactorTime,
                 in_thread: InThread) -> None:
        self.login = login
        self.locator = locator
        self.spend = spend
        self._clock = clock
        self._in_thread = in_thread
        self.turns = Turns(clock.seconds)
        self._told_to_wait: dict[str, float] = {}

    async def ask(self, room: str, operation: str, read: Callable[[bytes, str], T], *,
                  is_impersonated: bool = True, subscribes: bool = False,
                  headers: Mapping[str, str] = NO_HEADERS, heard: Callable[[Answer], None] | None = None) -> T:
        """What `read` makes of the answer; it runs in a thread where the answer is long.

        `heard` is called with the answer before that. What `subscribes` leaves most turns to others.

        :raises SourceError: it was refused, or there is no answer; RoomError where that concerns this room alone.
        :raises EwsError: `read` raised it: a refusal that its caller puts into words by `refusal`.
        :raises UnreadableAnswerError: the answer is not one.
        """
        place = await self.locator.locate(room)
        post = Post(place.url, request(operation, room if is_impersonated else ""),
                    {"X-AnchorMailbox": room, **headers}, again=lambda: self.spend(1))
        attempts = 0
        while True:
            attempts += 1
            answer, under_way = await self._sent(room, post, subscribes=subscribes)
            if heard is not None:
                heard(answer)
            try:
                return await self._understood(answer, read)
            except EwsError as error:
                if error.code != TOO_MANY:
                    if error.concern is Concern.PATIENCE:
                        self.turns.refused()
                    raise
                self.turns.refused(limit=under_way - 1)
                if attempts == ATTEMPTS:
                    raise

    async def _sent(self, room: str, post: Post, *, subscribes: bool) -> tuple[Answer, int]:
        """The answer to a request when its turn came, and how many were under way by then."""
        async with self.turns.turn(subscribes=subscribes) as under_way:
            self.spend(1)
            try:
                answer = await self.login.send(post)
            except UnreachableError:
                self.locator.failed(room)
                raise
            if answer.status == 200:
                self.turns.answered()
        try:
            check_status(answer, post.server)
        except ThrottledError:
            self.turns.refused()
            raise
        return answer, under_way

    async def _understood(self, answer: Answer, read: Callable[[bytes, str], T]) -> T:
        kind = answer.headers.get("content-type", "")
        job = read if answer.status == 200 else _only_fault
        if len(answer.body) <= SMALL:
            return job(answer.body, kind)  # type: ignore[return-value]
        found: T = await self._in_thread(job, answer.body, kind)
        return found

    def refusal(self, room: str, error: EwsError | UnreadableAnswerError) -> SourceError:
        """What a refusal means for the calendar of a room."""
        if isinstance(error, UnreadableAnswerError):
            return UnreachableError(f"Exchange sent {error}: is this URL that of EWS, and nothing before it that "
                                    "asks for a sign-in of its own?")
        match error.concern:
            case Concern.PATIENCE:
                return ThrottledError(str(error), error.pause, self._who_waits(room))
            case Concern.ACCOUNT:
                return UnauthorizedError(str(error))
            case Concern.REQUEST:
                return UnreachableError(str(error))
        return RoomError(f"{room}: {error}")

    def _who_waits(self, room: str) -> str:
        """The room that is to wait, whose budget was used; empty where so many are that it is the server."""
        at = self._clock.seconds()
        self._told_to_wait = {known: since for known, since in self._told_to_wait.items() if at - since < THRONG_S}
        self._told_to_wait[room] = at
        return room if room and len(self._told_to_wait) < THRONG else ""


def _only_fault(body: bytes, content_type: str) -> None:
    """Read the answer of status 500: it must be a Fault."""
    read_answer(body, content_type)
    raise UnreadableAnswerError("status 500 without a Fault")


def check_status(answer: Answer, server: str) -> None:
    """Raise what a status means that is not Exchange's own.

    :raises SourceError: it is one.
    """
    status = answer.status
    if status in (200, 500):
        return
    if status in (429, 503):
        raise ThrottledError(f"{server} is busy (status {status})", _retry_after(answer))
    words = {
        403: "forbids it: check that EWS is not blocked for the service account (Get-CASMailbox), and what stands "
             "before the server",
        404: "has no EWS at this URL: it ends in /EWS/Exchange.asmx as a rule",
    }.get(status, "failed")
    if 300 <= status < 400:
        words = (f"leads to {answer.headers.get('location', '?')[:100]}, which is not followed: set ews_url to "
                 "the URL of /EWS/Exchange.asmx itself")
    raise UnreachableError(f"{server} {words} (status {status})")


def _retry_after(answer: Answer) -> timedelta:
    said_s = retry_after_s(answer.headers.get("retry-after", ""), answer.headers.get("date", ""))
    return BUSY_PAUSE if said_s is None else timedelta(seconds=said_s)
