"""Who may talk to a simulated codec, and how often: logins, locking, sessions, the rate limit."""

from __future__ import annotations

import hmac
import secrets
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from twisted.internet.interfaces import IDelayedCall, IReactorTime

SESSION_COOKIES = (b"SecureSessionId", b"SessionId")
Role = Literal["admin", "user", "integrator", "roomcontrol"]


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller: by name and password, or by session cookie."""

    session: bytes | None = None


def basic_credentials(header: bytes | None) -> tuple[str, str] | None:
    """User name and password of an `Authorization: Basic` header; None where there are none."""
    scheme, _, token = (header or b"").strip().partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        text = b64decode(token.strip(), validate=True).decode()
    except ValueError:
        return None
    username, colon, password = text.partition(":")
    return (username, password) if colon else None


def _same(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode(), right.encode())


class Gate:
    """Checks logins and session cookies; locks the user after too many failed logins in a row, for a while."""

    def __init__(self, username: str, password: str, *, clock: IReactorTime, max_failed_logins: int,
                 lockout_s: float, max_sessions: int) -> None:
        self._username = username
        self._password = password
        self._clock = clock
        self._max_failed_logins = max_failed_logins
        self._lockout_s = lockout_s
        self._max_sessions = max_sessions
        self._failed = 0
        self._locked_until: float | None = None
        self.sessions: set[bytes] = set()

    @property
    def locked(self) -> bool:
        """Whether logins are refused, the right password included."""
        return self._locked_until is not None and self._clock.seconds() < self._locked_until

    def admit(self, authorization: bytes | None, cookie: bytes | None) -> Caller | None:
        """The caller behind a request's credentials, or None."""
        if cookie is not None and cookie in self.sessions:
            return Caller(cookie)
        credentials = basic_credentials(authorization)
        if credentials is None or self.locked:
            return None
        username, password = credentials
        if _same(username, self._username) & _same(password, self._password):
            self._failed, self._locked_until = 0, None
            return Caller()
        if _same(username, self._username):
            self._count_failure()
        return None

    def _count_failure(self) -> None:
        self._failed += 1
        if self._max_failed_logins and self._failed >= self._max_failed_logins:
            self._locked_until = self._clock.seconds() + self._lockout_s
            self._failed = 0

    def begin_session(self) -> bytes | None:
        """A new session cookie, or None where all sessions are taken. Sessions never end by themselves."""
        if len(self.sessions) >= self._max_sessions:
            return None
        cookie = secrets.token_hex(32).encode()
        self.sessions.add(cookie)
        return cookie

    def end_session(self, cookie: bytes | None) -> bool:
        """End a session; whether there was one."""
        if cookie is None or cookie not in self.sessions:
            return False
        self.sessions.remove(cookie)
        return True


class Lane:
    """Lets `per_second` requests through each second, holds up to `queue` more, and refuses the rest."""

    def __init__(self, clock: IReactorTime, per_second: float, queue: int) -> None:
        self._clock = clock
        self._interval_s = 1 / per_second
        self._queue = queue
        self._next = 0.0
        self._waiting: dict[int, IDelayedCall] = {}
        self._count = 0

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return len(self._waiting)

    def enter(self, run: Callable[[], None]) -> Callable[[], None] | None:
        """Run now or in turn. Gives what takes the waiting request out again; None where the queue is full."""
        now = self._clock.seconds()
        turn = max(now, self._next)
        if turn <= now:
            self._next = now + self._interval_s
            run()
            return lambda: None
        if len(self._waiting) >= self._queue:
            return None
        self._next = turn + self._interval_s
        self._count += 1
        ticket = self._count

        def leave() -> None:
            call = self._waiting.pop(ticket, None)
            if call is not None and call.active():
                call.cancel()

        def take_turn() -> None:
            self._waiting.pop(ticket, None)
            run()

        self._waiting[ticket] = self._clock.callLater(turn - now, take_turn)
        return leave

    def close(self) -> None:
        """Forget everything that waits."""
        for call in self._waiting.values():
            call.cancel()
        self._waiting.clear()
