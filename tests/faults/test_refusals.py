"""A calendar system asks for patience, forgets tokens or refuses them, for a while."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path

import pytest

from otjd.meetings.cache import Freshness
from tests.faults.test_answers import says
from tests.faults.world import LATER, ROOMS, SOON, SYSTEMS, TOMORROW, facing

TOO_MANY = b'{"error": {"code": 429, "message": "Too many requests", "errors": [{"reason": "rateLimitExceeded"}]}}'
GONE = b'{"error": {"code": "SyncStateNotFound", "message": "The sync state generation is not found"}}'
TOKEN_SYSTEMS = [name for name in SYSTEMS if name != "exchange"]

PATIENCE = {
    "without a time": {}, "none": {"retry_after": "0"}, "less than none": {"retry_after": "-3600"},
    "text": {"retry_after": "soon"},
    "a date": {"retry_after": format_datetime(datetime.now(UTC) + timedelta(days=3650), usegmt=True)},
    "ten years": {"retry_after": "315360000"}}


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("given", PATIENCE)
async def test_a_system_that_asks_everybody_for_patience_gets_it_within_reason(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, given: str) -> None:
    async with facing(system, tmp_path) as world:
        # the longest pause outlives a token, and the next is dated by the library's own clock
        monkeypatch.setattr("google.auth._helpers.utcnow", lambda: world.now().replace(tzinfo=None))
        world.between.strike(says(429, TOO_MANY, "application/json", **PATIENCE[given]))
        world.change("Changed")
        await world.past(300, step_s=5)
        assert 1 <= world.between.struck <= 100
        await world.until(lambda: {world.shown(r)[1] for r in ROOMS} == {Freshness.STALE}, 1000, "stale", step_s=9)
        await world.until(lambda: "cloud" in world.alarms(), 60, "an alarm")
        assert re.search("429|patience|limit|quota|busy", world.alarms()["cloud"])
        world.between.heal()
        await world.until(lambda: world.show("Changed"), 4100, "all rooms read again", step_s=15)
        await world.until(lambda: not world.alarms(), 60, "no alarm")


@pytest.mark.parametrize("system", SYSTEMS)
async def test_one_room_that_is_asked_for_patience_costs_no_other(tmp_path: Path, system: str) -> None:
    async with facing(system, tmp_path) as world:
        world.between.strike(says(429, TOO_MANY, "application/json", retry_after="7"), room=LATER)
        world.change("Changed")
        await world.until(lambda: world.show("Changed", (SOON, TOMORROW)), 300, "the others")
        await world.past(300, step_s=5)
        world.change("Again")
        await world.until(lambda: world.show("Again", (SOON, TOMORROW)), 300, "the others once more")
        await world.until(lambda: [*world.alarms()] == [LATER], 60, "an alarm of the room alone")
        world.between.heal()
        await world.until(lambda: world.show("Again"), 600, "the room itself")


@pytest.mark.parametrize("system", TOKEN_SYSTEMS)
async def test_tokens_that_are_revoked_are_replaced(tmp_path: Path, system: str) -> None:
    async with facing(system, tmp_path) as world:
        for number in range(3):
            await world.past(30)
            world.system.revoke()
            world.change(f"Changed {number}")
            await world.until(partial(world.show, f"Changed {number}"), 60, "all rooms")
            assert not world.alarms()
        assert len(world.between.tokens) == 4


@pytest.mark.parametrize("system", TOKEN_SYSTEMS)
async def test_a_system_that_refuses_every_token_is_asked_again_half_an_hour_later(
        tmp_path: Path, system: str) -> None:
    async with facing(system, tmp_path) as world:
        await world.past(30)
        world.between.strike(says(401, b'{"error": {"code": 401, "message": "Invalid"}}', "application/json"))
        world.change("Changed")
        await world.until(lambda: "cloud" in world.alarms(), 120, "an alarm")
        await world.until(lambda: {world.shown(r)[1] for r in ROOMS} == {Freshness.STALE}, 1000, "old", step_s=9)
        assert world.between.struck <= 12
        world.between.heal()
        await world.until(lambda: world.show("Changed"), 1900, "all rooms", step_s=10)
        await world.until(lambda: not world.alarms(), 60, "no alarm")


@pytest.mark.parametrize("system", TOKEN_SYSTEMS)
@pytest.mark.parametrize("status", [502, 200])
async def test_a_token_service_that_fails_ends_nothing_while_tokens_last(
        tmp_path: Path, system: str, status: int) -> None:
    async with facing(system, tmp_path) as world:
        world.between.strike(says(status, b"<html>no</html>", "text/html"), tokens=True)
        world.change("Before")
        await world.until(lambda: world.show("Before"), 60, "all rooms")
        await world.past(3600, step_s=30)
        world.change("Changed")
        await world.until(lambda: "cloud" in world.alarms(), 300, "an alarm", step_s=5)
        assert "token service" in world.alarms()["cloud"]
        await world.until(lambda: {world.shown(r) == (["Before"], Freshness.STALE) for r in ROOMS} == {True}, 1000,
                          "stale", step_s=10)
        world.between.heal()
        await world.until(lambda: world.show("Changed"), 150, "all rooms")
        await world.until(lambda: not world.alarms(), 60, "no alarm")


@pytest.mark.parametrize("system", TOKEN_SYSTEMS)
async def test_what_is_gone_is_asked_for_anew_and_found_again(tmp_path: Path, system: str) -> None:
    async with facing(system, tmp_path) as world:
        for room in ("", LATER):
            world.between.strike(says(410, GONE, "application/json"), room=room)
            world.change("Gone")
            await world.until(world.alarms, 1000, "an alarm", step_s=5)
            struck = world.between.struck
            await world.past(300, step_s=10)
            assert world.between.struck - struck <= 40
            world.between.heal()
            world.change("Back")
            await world.until(lambda: world.show("Back"), 4000, "all rooms", step_s=10)
            await world.until(lambda: not world.alarms(), 60, "no alarm")
