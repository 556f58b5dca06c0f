"""Access tokens: kept while they are valid, renewed in time, one request for all who wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from otjd.gather.consent import Consent
from otjd.gather.source import UnauthorizedError, UnreachableError
from otjd.gather.token_store import Stamp, TokenStore, TokenStoreError
from otjd.seam import InThread, deferred

EARLY_S = 300.0
"""How long before its end a token is renewed; short-lived ones in the last fifth of their time."""

LONGEST_LIFE_S = 86400.0
USUAL_LIFE_S = 300.0
"""Where the token service does not say."""

YOUNG_S = 10.0
"""A token is not thrown away so soon after it came: the refusal was of the one before."""


class TokenSource(Protocol):
    """Gives access tokens."""

    async def token(self) -> str:
        """A token that is valid now.

        :raises UnauthorizedError: a person must act.
        :raises UnreachableError: there is none at present.
        """
        ...

    def forget(self) -> None:
        """The calendar system refused the token: get another one next time."""
        ...


@dataclass(frozen=True, slots=True)
class Token:
    """An access token and how long it is valid."""

    value: str = field(repr=False)
    life_s: float

    @classmethod
    def of(cls, value: str, expires_in: object) -> Token:
        """A token of a token service, which may say anything of its life."""
        try:
            life_s = float(str(expires_in))
        except ValueError:
            life_s = USUAL_LIFE_S
        return cls(value, life_s if 0 < life_s < LONGEST_LIFE_S else USUAL_LIFE_S)


LOOK_EVERY_S = 10.0
"""How often a token is compared with the sign-in that it is from."""


class KeptToken:
    """A TokenSource over something that fetches tokens.

    `is_current` tells whether the last one fetched is still of the sign-in that is kept now.
    """

    def __init__(self, fetch: Callable[[], Awaitable[Token]], clock: IReactorTime,
                 is_current: Callable[[], Awaitable[bool]] | None = None) -> None:
        self._fetch = fetch
        self._clock = clock
        self._is_current = is_current
        self._looked_at = 0.0
        self._token: Token | None = None
        self._came_at = 0.0
        self._waiting: list[Deferred[Token]] = []
        self._is_fetching = False

    async def token(self) -> str:
        """A token that is valid now; where renewing fails for a while, the old one as long as it is valid."""
        await self._look()
        token, age_s = self._token, self._clock.seconds() - self._came_at
        if token is not None and age_s < token.life_s - min(EARLY_S, token.life_s / 5):
            return token.value
        try:
            return (await self._fetched()).value
        except UnreachableError:
            if token is not None and token is self._token and self._clock.seconds() - self._came_at < token.life_s:
                return token.value
            raise

    async def _look(self) -> None:
        token = self._token
        if token is None or self._is_current is None or self._clock.seconds() - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = self._clock.seconds()
        if not await self._is_current() and token is self._token:
            self._token = None

    def forget(self) -> None:
        """Get another token next time, unless this one has just come."""
        if self._clock.seconds() - self._came_at >= YOUNG_S:
            self._token = None

    def _fetched(self) -> Deferred[Token]:
        waiting: Deferred[Token] = Deferred()
        self._waiting.append(waiting)
        if not self._is_fetching:
            self._is_fetching = True
            deferred(self._fetch_for_all())
        return waiting

    async def _fetch_for_all(self) -> None:
        """Fetch a token for all who wait; who goes away in the meantime does not end it for the others."""
        outcome: Token | Failure
        try:
            outcome = self._token = await self._fetch()
            self._came_at = self._looked_at = self._clock.seconds()
        except Exception:  # handed to those who wait
            outcome = Failure()  # type: ignore[no-untyped-call]
        self._is_fetching = False
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.called:
                one.callback(outcome)  # a Failure makes it an errback


class SignedIn:
    """The refresh token of a person's sign-in, from the store; one that was refused is not sent again.

    It is read each time it is needed, so that a running node takes a new sign-in up.
    """

    _log = Logger()

    def __init__(self, consent: Consent, store: TokenStore, in_thread: InThread) -> None:
        self._consent = consent
        self._store = store
        self._in_thread = in_thread
        self._refused: tuple[Stamp | None, UnauthorizedError] | None = None
        self._used: Stamp | None = None

    async def is_current(self) -> bool:
        """Whether nobody has signed in since the last token came."""
        try:
            stamp: Stamp | None = await self._in_thread(self._store.stamp)
        except TokenStoreError:
            return True  # said when the file is needed
        return stamp == self._used

    async def renew(self, ask: Callable[[str], Awaitable[tuple[Token, str]]]) -> Token:
        """A token by `ask`, which is given the refresh token and gives the one that takes its place, or ""."""
        try:
            return await self._renewed(ask)
        except UnauthorizedError as error:
            error.is_looked_for = True
            raise

    async def _renewed(self, ask: Callable[[str], Awaitable[tuple[Token, str]]]) -> Token:
        try:
            stored = await self._in_thread(self._store.load)
        except TokenStoreError as error:
            raise UnauthorizedError(f"{self._consent.integration}: {error}") from error
        if stored is None:
            raise self._consent.sign_in_again(f"{self._consent.integration}: nobody has signed in yet")
        if self._refused is not None and self._refused[0] == stored.stamp:
            raise self._refused[1]
        try:
            token, successor = await ask(stored.refresh_token)
        except UnauthorizedError as error:
            self._refused = (stored.stamp, error)
            raise
        self._used = stored.stamp
        if successor and successor != stored.refresh_token:
            await self._keep(successor, stored.stamp)
        return token

    async def _keep(self, refresh_token: str, instead_of: Stamp) -> None:
        try:
            self._used = await self._in_thread(self._store.save, refresh_token, instead_of=instead_of)
        except TokenStoreError as error:
            self._log.critical(
                "The new refresh token of {integration} was not kept, and the old one may end: {error}",
                integration=self._consent.integration, error=str(error))
