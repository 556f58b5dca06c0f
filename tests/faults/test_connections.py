"""The way to a calendar system is lost and found; passwords change; answers have wrong values or very many."""

from __future__ import annotations

import json
import random
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.interfaces import IHostnameResolver
from zope.interface import implementer

from otjd.config.loader import load
from otjd.meetings.cache import Freshness
from otjd.outbound.client import Answer
from otjd.simulate.certificates import make_certificates
from tests.faults.world import PASSWORD, ROOMS, SOON, SYSTEMS, Fault, FaultWorld, facing, send
from tests.outbound.servers import Tunnels, reactor

WRONG: tuple[Any, ...] = (None, True, -1, 1e300, "", "x" * 70_000, [], [None], {}, {"a": []},
                          "9999-99-99T99:99:99Z", "0001-01-01T00:00:00.0000000", [[[]]], "\u0000\ud800")


@implementer(IHostnameResolver)
class Nowhere:
    """Finds no host."""

    def resolveHostName(self, resolutionReceiver: Any, *_: Any, **__: Any) -> Any:
        resolutionReceiver.resolutionBegan(None)
        resolutionReceiver.resolutionComplete()
        return resolutionReceiver


async def passes(world: FaultWorld, words: str) -> None:
    """What was spoilt is told of by an alarm, everything becomes stale and stays."""
    world.change("Changed")
    await world.until(lambda: re.search(words, world.alarms().get("cloud", "")), 300, f"an alarm with {words}")
    await world.until(lambda: {world.shown(r) == (["As it was"], Freshness.STALE) for r in ROOMS} == {True}, 1000,
                      "stale", step_s=9)


async def is_over(world: FaultWorld) -> None:
    """Everything is read again."""
    await world.until(lambda: world.show("Changed"), 200, "all rooms read again")
    await world.until(lambda: not world.alarms(), 60, "no alarm")


@pytest.mark.parametrize("system", SYSTEMS)
async def test_a_server_that_is_away_is_found_again(tmp_path: Path, system: str) -> None:
    async with facing(system, tmp_path) as world:
        await world.vanish()
        await passes(world, "refused")
        world.listen()
        await is_over(world)


@pytest.mark.parametrize("system", SYSTEMS)
async def test_a_certificate_that_is_not_trusted_is_told_nothing(tmp_path: Path, system: str) -> None:
    async with facing(system, tmp_path) as world:
        await world.vanish()
        counted = world.between.counted
        other = tmp_path / "other"
        other.mkdir()
        world.listen(make_certificates(other, ["localhost"], world.now()))
        await passes(world, "certificate")
        assert world.between.counted == counted
        await world.vanish()
        world.listen()
        await is_over(world)


@pytest.mark.parametrize("system", SYSTEMS)
async def test_a_name_that_is_not_found_for_a_while_is_asked_for_again(tmp_path: Path, system: str) -> None:
    async with facing(system, tmp_path) as world:
        world.clocked.nameResolver = Nowhere()
        await world.vanish()
        world.listen()
        await passes(world, "not found|no address|resolve|name")
        del world.clocked.nameResolver
        await is_over(world)


class Refusing(Tunnels):
    """A web proxy that answers with `refusal` as long as there is one."""

    refusal = b""

    def buildProtocol(self, address: Any) -> Any:
        made: Any = super().buildProtocol(address)
        if self.refusal:
            made.dataReceived = lambda _: made.transport.write(self.refusal)
        return made


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(("refusal", "words"), [
    (b"", "proxy"), (b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "407|password"),
    (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "502")])
async def test_a_web_proxy_that_fails_is_named_and_used_again(
        tmp_path: Path, system: str, refusal: bytes, words: str) -> None:
    proxy = Refusing(0)
    listening = reactor.listenTCP(0, proxy, interface="127.0.0.1")
    port = listening.getHost().port
    async with facing(system, tmp_path, proxy=f"http://otjd:pr0xy-secret@127.0.0.1:{port}",
                      began=lambda world: setattr(proxy, "port", world.port)) as world:
        proxy.refusal = refusal
        if not refusal:
            await listening.stopListening()
        await world.vanish()  # ends the tunnels
        world.listen()
        await passes(world, words)
        proxy.refusal = b""
        if not refusal:
            listening = reactor.listenTCP(port, proxy, interface="127.0.0.1")
        await is_over(world)
        assert "pr0xy-secret" not in world.told()
    await listening.stopListening()


def spoilt(chance: random.Random, found: Any) -> Any:
    """A document with one member of a wrong kind."""
    places = []

    def walk(part: Any) -> None:
        for key in (part if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()):
            places.append((part, key))
            walk(part[key])

    walk(found)
    if places:
        part, key = chance.choice(places)
        part[key] = chance.choice(WRONG)
    return found


def spoiling(seed: int) -> Fault:
    chance = random.Random(seed)  # noqa: S311 - the same in every run

    def fault(request: Any, answer: Answer) -> None:
        try:
            body = json.dumps(spoilt(chance, json.loads(answer.body))).encode()
        except ValueError:  # of Exchange: exchange a text for another
            texts = [*re.finditer(rb"(?<=>)[^<>]+(?=<)", answer.body)]
            if not texts:
                return send(request, answer)
            at = chance.choice(texts)
            wrong = str(chance.choice(WRONG)).encode("utf-8", "replace").replace(b"\0", b"&#1;")
            body = answer.body[:at.start()] + wrong + answer.body[at.end():]
        return send(request, Answer(answer.status, body, answer.headers))
    return fault


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("seed", range(3))
async def test_values_of_wrong_kinds_break_nothing(tmp_path: Path, system: str, seed: int) -> None:
    async with facing(system, tmp_path) as world:
        world.between.strike(spoiling(seed))
        for number in range(25):
            world.change(f"Change {number}")
            await world.past(60, step_s=6)
        world.between.heal()
        world.change("Changed")
        await world.until(lambda: world.show("Changed"), 4000, "all rooms read again", step_s=9)
        await world.until(lambda: not world.alarms(), 60, "no alarm")


@pytest.mark.parametrize("system", SYSTEMS)
async def test_a_room_of_500_meetings_and_bodies_of_megabytes_costs_no_other(tmp_path: Path, system: str) -> None:
    async with facing(system, tmp_path) as world:
        for number in range(500):
            at = world.now() + timedelta(minutes=15 * number)
            world.calendars.book(SOON, at, at + timedelta(minutes=10), subject=f"Meeting {number}",
                                 body_html="<p>Hello</p>" * (400_000 if number == 7 else 1))
        await world.until(lambda: len(world.shown(SOON)[0]) > 300, 200, "all meetings")
        world.change("Changed")
        await world.until(lambda: world.show("Changed", ROOMS[1:]), 200, "the other rooms")
        await world.until(lambda: "Changed" in world.shown(SOON)[0], 200, "the room itself")
        assert not world.alarms()


async def test_a_password_that_was_changed_in_the_configuration_is_tried_at_once_and_once(tmp_path: Path) -> None:
    async with facing("exchange", tmp_path) as world:
        server: Any = world.system
        server = server.server

        async def reloaded(password: str) -> int:
            """How often the account was refused after a reload with this password."""
            before = sum(server.access.refused.values())
            text = re.sub(r'service_account_password = ".*"', f'service_account_password = "{password}"',
                          world.files.config.read_text())
            world.files.config.write_text(text)
            await world.node.reload(load(world.files.config, environ={}), lambda _: None)
            await world.past(120, step_s=5)
            return int(sum(server.access.refused.values()) - before)

        assert await reloaded("wr0ng-one") == 1
        assert "refuses" in world.alarms()["cloud"]
        assert await reloaded("wr0ng-one") == 0
        assert await reloaded("wr0ng-two") == 1
        world.change("Changed")
        assert await reloaded(PASSWORD) == 0
        await world.until(lambda: world.show("Changed"), 60, "all rooms")
        await world.until(lambda: not world.alarms(), 60, "no alarm")
        assert "wr0ng" not in world.told()
