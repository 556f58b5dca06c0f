"""Whatever happens to bookings, a client of a simulated Google that follows its tokens knows the truth."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from otjd.meetings.model import Window
from tests.simulate.google_world import DAY, HOUR, NOW, ROOM, World, google

STAMP = "%Y%m%dT%H%M%SZ"
Shown = dict[str, tuple[str, str]]


def happen(w: World, chance: Random) -> None:
    """Book, change or cancel something in the room, a series or one of its occurrences."""
    bookings = w.calendars.bookings(ROOM)
    kind = chance.choice(("single", "series", "change", "occurrence", "drop", "cancel"))
    rules = [b for b in bookings if b.rule]
    if kind in ("occurrence", "drop") and rules:
        series = chance.choice(rules)
        stamp = (series.start_time + chance.randrange(6) * DAY).strftime(STAMP)
        if kind == "drop":
            w.calendars.cancel_occurrence(ROOM, series.id, stamp)
        elif series.exceptions.get(stamp, {}) is not None:
            start = NOW + chance.randrange(100) * HOUR
            w.calendars.change_occurrence(ROOM, series.id, stamp, start_time=start, end_time=start + HOUR)
    elif kind == "change" and bookings:
        w.calendars.change(ROOM, chance.choice(bookings).id, subject=f"subject {chance.random()}")
    elif kind == "cancel" and bookings:
        w.calendars.cancel(ROOM, chance.choice(bookings).id)
    else:
        w.book(chance.randrange(100), rule="FREQ=DAILY;COUNT=5" if kind == "series" else "", subject=kind)


def facts(events: list[dict[str, Any]]) -> Iterator[tuple[str, tuple[str, str] | None]]:
    for event in events:
        shown = event["status"] != "cancelled"
        yield event["id"], (event["summary"], event["start"]["dateTime"]) if shown else None


async def follow(w: World, known: Shown, token: str, expanded: str) -> str:
    """Bring what is known up to date, page by page; gives the next token."""
    query = {"syncToken": token, "maxResults": 3, "singleEvents": expanded}
    while True:
        status, page = await w.page(**query)
        assert status == 200
        for event, fact in facts(page["items"]):
            if fact is None:
                known.pop(event, None)
                for instance in [k for k in known if k.startswith(f"{event}_")]:
                    del known[instance]  # a series that is gone takes its exceptions along
            else:
                known[event] = fact
        if "nextSyncToken" in page:
            return str(page["nextSyncToken"])
        query["pageToken"] = page["nextPageToken"]


@pytest.mark.parametrize("expanded", ["false", "true"])
@pytest.mark.parametrize("seed", range(4))
async def test_following_sync_tokens_leads_to_what_a_full_list_shows(tmp_path: Path, expanded: str,
                                                                     seed: int) -> None:
    chance, known = Random(seed), Shown()  # noqa: S311 - what happens
    async with google(tmp_path) as w:
        _, page = await w.page(singleEvents=expanded)
        token = page["nextSyncToken"]
        for _ in range(12):
            for _ in range(chance.randrange(4)):
                happen(w, chance)
            token = await follow(w, known, token, expanded)
            _, page = await w.page(singleEvents=expanded, maxResults=2500)
            assert known == {event: fact for event, fact in facts(page["items"]) if fact is not None}
        assert known


@pytest.mark.parametrize("seed", range(4))
async def test_instances_and_busy_times_are_those_of_the_calendar(tmp_path: Path, seed: int) -> None:
    chance = Random(seed)  # noqa: S311 - what happens
    window = Window(NOW + 20 * HOUR, NOW + 70 * HOUR)
    bounds = {"timeMin": window.start.strftime("%Y-%m-%dT%H:%M:%SZ"),
              "timeMax": window.end.strftime("%Y-%m-%dT%H:%M:%SZ")}
    async with google(tmp_path) as w:
        for _ in range(40):
            happen(w, chance)
        truth = w.calendars.instances(ROOM, window)
        assert truth
        _, page = await w.page(singleEvents="true", orderBy="startTime", **bounds)
        assert sorted((e["start"]["dateTime"], e["summary"]) for e in page["items"]) == sorted(
            (i.booking.start_time.strftime("%Y-%m-%dT%H:%M:%SZ"), i.booking.subject) for i in truth)
        assert [e["start"]["dateTime"] for e in page["items"]] == sorted(e["start"]["dateTime"]
                                                                         for e in page["items"])
        _, body, _ = await w.ask("POST", "/calendar/v3/freeBusy", body={**bounds, "items": [{"id": ROOM}]})
        minutes = {time for p in body["calendars"][ROOM]["busy"] for time in hours(p["start"], p["end"])}
        assert minutes == {time for i in truth for time in hours(i.booking.start_time, i.booking.end_time)
                           if window.start <= time < window.end}


def hours(start: str | datetime, end: str | datetime) -> Iterator[datetime]:
    """The full hours of a span, whose bookings begin with them."""
    at, until = (datetime.fromisoformat(t).astimezone(UTC) if isinstance(t, str) else t for t in (start, end))
    while at < until:
        yield at
        at += HOUR
