"""Changes of a calendar view as the simulated Graph tells them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.simulate.graph_world import DAY, HOUR, NOW, ROOM, WEEK, Reply, World, world


async def first(w: World, query: dict[str, str] | None = None, prefer: str = "") -> Reply:
    return await w.view(query, prefer=prefer, what="calendarView/delta")


async def rest(w: World, reply: Reply, prefer: str = "") -> tuple[list[dict[str, Any]], str]:
    """All entries of a round, and its deltaLink."""
    found: list[dict[str, Any]] = []
    while True:
        assert reply.status == 200, reply.body
        found += reply.json["value"]
        if "@odata.deltaLink" in reply.json:
            return found, str(reply.json["@odata.deltaLink"])
        reply = await w.ask("GET", reply.json["@odata.nextLink"], headers={"Prefer": prefer} if prefer else None)


async def following(w: World, link: str) -> tuple[list[tuple[str, str]], str]:
    """What the next round tells, as kind or subject and id, and its deltaLink."""
    found, link = await rest(w, await w.ask("GET", link))
    return [("removed" if "@removed" in e else e.get("subject", e["type"]), e["id"]) for e in found], link


async def test_the_first_round_tells_everything_and_the_next_ones_what_changed() -> None:
    async with world() as w:
        w.calendars.book(ROOM, NOW, NOW + HOUR, subject="one", id="1")
        w.calendars.book(ROOM, NOW, NOW + HOUR, subject="two", id="2")
        found, link = await rest(w, await first(w))
        ids = {e["subject"]: e["id"] for e in found}
        assert ids.keys() == {"one", "two"}
        assert (await following(w, link))[0] == []
        w.calendars.change(ROOM, "1", subject="uno")
        w.calendars.cancel(ROOM, "2")
        w.calendars.book(ROOM, NOW, NOW + HOUR, subject="three", id="3")
        told, link = await following(w, link)
        assert sorted(told) == sorted([("uno", ids["one"]), ("removed", ids["two"]), ("three", told[-1][1])])
        assert (await following(w, link))[0] == []


async def test_the_window_stays_that_of_the_first_round_and_what_leaves_it_is_removed() -> None:
    async with world() as w:
        w.calendars.book(ROOM, NOW, NOW + HOUR, subject="one", id="1")
        found, link = await rest(w, await first(w, DAY))
        later = NOW + timedelta(days=3)
        w.calendars.change(ROOM, "1", start_time=later, end_time=later + HOUR)
        assert (await following(w, link))[0] == [("removed", found[0]["id"])]
        w.calendars.book(ROOM, later, later + HOUR, subject="outside", id="2")
        told, link = await following(w, link)
        assert {kind for kind, _ in told} == {"removed"}  # as documented: also what never was in the window


async def test_a_series_is_told_by_its_master_its_occurrences_in_brief_and_its_exceptions() -> None:
    async with world() as w:
        w.calendars.book(ROOM, NOW, NOW + HOUR, subject="Daily", rule="FREQ=DAILY;COUNT=4", id="s")
        w.calendars.change_occurrence(ROOM, "s", "20260303T080000Z", subject="Other")
        found, link = await rest(w, await first(w))
        assert sorted(e["type"] for e in found) == ["exception", "occurrence", "occurrence", "occurrence",
                                                    "seriesMaster"]
        brief = next(e for e in found if e["type"] == "occurrence")
        assert brief.keys() == {"@odata.type", "@odata.etag", "id", "seriesMasterId", "type", "start", "end"}
        w.calendars.cancel_occurrence(ROOM, "s", "20260304T080000Z")
        told, link = await following(w, link)
        (gap,) = [identity for kind, identity in told if kind == "removed"]
        w.calendars.cancel(ROOM, "s")
        told, link = await following(w, link)
        assert {kind for kind, _ in told} == {"removed"}
        assert {e["id"] for e in found} - {gap} == {identity for _, identity in told}


async def test_pages_of_the_size_preferred_lead_to_the_delta_link_without_loss_under_change() -> None:
    async with world() as w:
        for number in range(12):
            w.calendars.book(ROOM, NOW, NOW + HOUR, subject=str(number), id=f"{number:02}")
        reply = await first(w, prefer="odata.maxpagesize=5")
        assert len(reply.json["value"]) == 5
        assert reply.header("Preference-Applied") == "odata.maxpagesize=5"
        w.calendars.cancel(ROOM, "00")  # told already
        w.calendars.change(ROOM, "11", subject="eleven")
        found, link = await rest(w, reply, prefer="odata.maxpagesize=5")
        assert w.server.counts["delta"] == 3
        assert {e["subject"] for e in found} == {*map(str, range(11)), "eleven"}
        told, _ = await following(w, link)
        assert {kind for kind, _ in told} == {"removed", "eleven"}  # a replay is allowed, a loss is not


@pytest.mark.parametrize("option", ["$select=subject", "$expand=x", "$filter=x", "$orderby=x", "$search=x",
                                    "$top=5"])
async def test_options_of_other_views_are_refused(option: str) -> None:
    async with world() as w:
        name, _, value = option.partition("=")
        reply = await first(w, {**WEEK, name: value})
        assert (reply.status, reply.code) == (400, "ErrorInvalidUrlQuery")


async def test_a_first_round_needs_a_window() -> None:
    async with world() as w:
        assert (await first(w, {})).code == "ErrorInvalidParameter"


async def test_dead_tokens_are_gone_and_forged_ones_malformed() -> None:
    async with world(delta_life=timedelta(hours=1), token_life=timedelta(days=1)) as w:
        w.calendars.add_room("other@example.com")
        _, link = await rest(w, await first(w))
        for wrong in (link.replace("boardroom", "other"), f"{link.partition('=')[0]}=eA"):
            reply = await w.ask("GET", wrong)
            assert (reply.status, reply.code) == (400, "ErrorInvalidUrlQuery")
        w.pass_time(3599)
        _, renewed = await rest(w, await w.ask("GET", link))
        w.pass_time(2)
        reply = await w.ask("GET", link)
        assert (reply.status, reply.code) == (410, "SyncStateNotFound")
        assert (await w.ask("GET", renewed)).status == 200
        w.server.deltas.expire_all()
        assert (await w.ask("GET", renewed)).status == 410


async def test_rounds_without_end_can_be_had() -> None:
    async with world() as w:
        w.server.deltas.endless = True
        reply = await first(w)
        for _ in range(5):
            link = reply.json["@odata.nextLink"]
            reply = await w.ask("GET", link)
            assert "@odata.deltaLink" not in reply.json
            assert reply.json["@odata.nextLink"] != link
