from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from otjd.gather.source import UnauthorizedError, UnreachableError
from otjd.gather.tokens import KeptToken, Token
from otjd.seam import deferred


class Service:
    """Gives tokens a1, a2, ... or what the test says, when the test says."""

    def __init__(self, life_s: float = 3600.0) -> None:
        self.clock = Clock()
        self.life_s = life_s
        self.asked: list[Deferred[Token]] = []
        self.kept = KeptToken(self.fetch, self.clock)

    async def fetch(self) -> Token:
        self.asked.append(Deferred())
        return await self.asked[-1]

    def give(self) -> None:
        self.asked[-1].callback(Token(f"a{len(self.asked)}", self.life_s))

    async def first(self) -> None:
        asked = deferred(self.kept.token())
        self.give()
        assert await asked == "a1"


async def test_a_token_is_kept_until_shortly_before_its_end() -> None:
    service = Service()
    await service.first()
    service.clock.advance(3299)
    assert await service.kept.token() == "a1"
    service.clock.advance(1)
    asked = deferred(service.kept.token())
    service.give()
    assert await asked == "a2"


async def test_all_who_wait_share_one_request_and_one_may_leave() -> None:
    service = Service()
    waiting = [deferred(service.kept.token()) for _ in range(3)]
    waiting[0].cancel()
    with pytest.raises(CancelledError):
        await waiting[0]
    service.give()
    assert [await one for one in waiting[1:]] == ["a1", "a1"]
    assert len(service.asked) == 1


async def test_an_error_reaches_all_who_wait_and_the_next_tries_again() -> None:
    service = Service()
    waiting = [deferred(service.kept.token()) for _ in range(2)]
    service.asked[-1].errback(UnauthorizedError("wrong secret"))
    for one in waiting:
        with pytest.raises(UnauthorizedError, match="wrong secret"):
            await one
    again = deferred(service.kept.token())
    service.give()
    assert await again == "a2"


async def test_a_token_that_is_still_valid_bridges_an_outage() -> None:
    service = Service()
    await service.first()
    service.clock.advance(3400)
    asked = deferred(service.kept.token())
    service.asked[-1].errback(UnreachableError("down"))
    assert await asked == "a1"
    service.clock.advance(200)
    asked = deferred(service.kept.token())
    service.asked[-1].errback(UnreachableError("down"))
    with pytest.raises(UnreachableError):
        await asked


async def test_a_revoked_sign_in_is_told_though_the_token_would_last() -> None:
    service = Service()
    await service.first()
    service.clock.advance(3400)
    asked = deferred(service.kept.token())
    service.asked[-1].errback(UnauthorizedError("revoked"))
    with pytest.raises(UnauthorizedError):
        await asked


async def test_a_refused_token_is_replaced_once_for_all_who_were_refused() -> None:
    service = Service()
    await service.first()
    service.clock.advance(60)
    service.kept.forget()
    asked = deferred(service.kept.token())
    service.give()
    assert await asked == "a2"
    service.kept.forget()  # told by a request that still had a1
    assert await service.kept.token() == "a2"


async def test_a_token_of_an_earlier_sign_in_is_replaced_within_seconds() -> None:
    service = Service()
    looks: list[bool] = []
    current = True

    async def is_current() -> bool:
        looks.append(current)
        return current

    service.kept = KeptToken(service.fetch, service.clock, is_current)
    await service.first()
    service.clock.advance(10)
    assert [await service.kept.token() for _ in range(3)] == ["a1"] * 3
    current = False
    assert await service.kept.token() == "a1"
    service.clock.advance(10)
    asked = deferred(service.kept.token())
    service.give()
    assert await asked == "a2"
    assert looks == [True, False]


@pytest.mark.parametrize(("expires_in", "life_s"), [
    (3599, 3599), ("3599", 3599), (None, 300), ("soon", 300), (-5, 300), ("nan", 300), (1e9, 300), ("inf", 300)])
def test_the_life_of_a_token_is_what_the_service_says_within_reason(expires_in: object, life_s: float) -> None:
    assert Token.of("x", expires_in).life_s == life_s
    assert "x" not in repr(Token("x", 1)).removeprefix("Token(life_s")
