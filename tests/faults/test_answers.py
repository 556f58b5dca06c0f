"""A calendar system, or what stands before it, answers as it should not: other rooms go on, what was known is kept
and called stale in time, an alarm says what is wrong, and afterwards everything is read again by itself."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from otjd.meetings.cache import Freshness
from otjd.outbound.client import Answer
from tests.faults.world import LATER, ROOMS, SOON, SYSTEMS, TOMORROW, Fault, facing, head, send

LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><form>Password</form></body></html>"


def breaks_off(request: Any, answer: Answer) -> None:
    stalls_midway(request, answer)
    request.channel.loseConnection()


def promises_too_much(request: Any, answer: Answer) -> None:
    head(request, answer.status, {"content-type": answer.headers["content-type"]}, len(answer.body) + 100)
    request.write(answer.body)


def stalls(_request: Any, _answer: Answer) -> None:
    """Says nothing."""


def stalls_midway(request: Any, answer: Answer) -> None:
    head(request, answer.status, {"content-type": answer.headers["content-type"]}, len(answer.body))
    request.write(answer.body[:len(answer.body) // 2])


def is_cut(request: Any, answer: Answer) -> None:
    send(request, Answer(200, answer.body[:len(answer.body) * 2 // 3], answer.headers))


def is_damaged(request: Any, answer: Answer) -> None:
    packed = bytearray(gzip.compress(answer.body))
    packed[len(packed) // 2] ^= 0xFF
    packed[-6] ^= 0xFF  # of the checksum
    head(request, 200, {"content-type": answer.headers["content-type"], "content-encoding": "gzip"}, len(packed))
    request.write(bytes(packed))
    request.finish()


def is_reset(request: Any, _answer: Answer) -> None:
    request.channel.transport.abortConnection()


def says(status: int, body: bytes = b"", kind: str = "", **headers: str) -> Fault:
    def fault(request: Any, answer: Answer) -> None:
        given = {"content-type": kind or answer.headers.get("content-type", "text/plain"),
                 **{name.replace("_", "-"): value for name, value in headers.items()}}
        head(request, status, given, len(body))
        request.write(body)
        request.finish()
    return fault


@dataclass(frozen=True)
class Case:
    """A fault, words of its alarm, and how long it takes at most until the alarm and until all is well again."""

    fault: Fault
    words: str
    alarm_s: float = 300.0
    back_s: float = 150.0


CASES = {
    "a connection that is closed in the middle of a body": Case(breaks_off, "closed|broke|lost|complete"),
    "a length that is never reached": Case(promises_too_much, "not complete within", 1000),
    "silence": Case(stalls, "no answer within", 1000),
    "silence in the middle of a body": Case(stalls_midway, "not complete within", 1000),
    "a body that is cut": Case(is_cut, "cannot be read|JSON|sent "),
    "damaged gzip": Case(is_damaged, "gzip data are damaged"),
    "a reset": Case(is_reset, "closed|reset|lost"),
    "an empty answer": Case(says(200), "cannot be read|empty|not XML|JSON|sent "),
    "a login page": Case(says(200, LOGIN_PAGE, "text/html; charset=utf-8"), "cannot be read|JSON|sign-in|sent "),
    "a list": Case(says(200, b"[]"), "cannot be read|JSON|sent "),
    "null": Case(says(200, b"null"), "cannot be read|JSON|sent "),
    "another document": Case(says(200, b"<other><a>1</a></other>"), "cannot be read|JSON|sent "),
    "a redirect to elsewhere": Case(says(302, location="https://elsewhere.example.net/login"), "302"),
    "a bad gateway": Case(says(502, LOGIN_PAGE, "text/html"), "502|in trouble|not Graph"),
    "an error without a reason": Case(says(500), "500|in trouble|not Graph|cannot be read"),
    "an upgrade of nothing": Case(says(204), "204|cannot be read|JSON|sent "),
    "teapots": Case(says(418, b"short and stout", "text/plain"), "418"),
}


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("name", CASES)
async def test_what_is_known_is_kept_and_what_changed_is_read_once_it_is_over(
        tmp_path: Path, system: str, name: str) -> None:
    case = CASES[name]
    async with facing(system, tmp_path) as world:
        world.between.strike(case.fault)
        world.change("Changed")
        await world.until(lambda: "cloud" in world.alarms(), case.alarm_s, "an alarm")
        assert re.search(case.words, world.alarms()["cloud"]), world.alarms()
        await world.until(lambda: {world.shown(r) == (["As it was"], Freshness.STALE) for r in ROOMS} == {True},
                          1000, "all rooms stale", step_s=10)
        await world.past(300, step_s=15)
        struck = world.between.struck
        await world.past(600, step_s=15)
        assert 1 <= world.between.struck - struck <= 60, "it is asked now and then, and not more"
        world.between.heal()
        await world.until(lambda: world.show("Changed"), case.back_s, "all rooms read again")
        others = world.between.read[1:]  # the first was the attempt that showed that it is over
        assert others == sorted(others, key=ROOMS.index)
        await world.until(lambda: not world.alarms(), 60, "no alarm")


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("name", ["silence", "a body that is cut", "a login page", "an error without a reason"])
async def test_one_room_in_trouble_costs_no_other(tmp_path: Path, system: str, name: str) -> None:
    case = CASES[name]
    async with facing(system, tmp_path) as world:
        world.between.strike(case.fault, room=LATER)
        world.change("Changed")
        await world.until(lambda: world.show("Changed", (SOON, TOMORROW)), 300, "the other rooms")
        assert world.shown(LATER)[0] == ["As it was"]
        await world.until(lambda: world.shown(LATER)[1] is Freshness.STALE, 1500, "the room is stale", step_s=10)
        world.change("Again")
        await world.until(lambda: world.show("Again", (SOON, TOMORROW)), 300, "the other rooms again")
        assert LATER in world.alarms() or "cloud" in world.alarms()
        world.between.heal()
        await world.until(lambda: world.show("Again"), 4000, "the room is read again", step_s=15)
        await world.until(lambda: not world.alarms(), 60, "no alarm")
