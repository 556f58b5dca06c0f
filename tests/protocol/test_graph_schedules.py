"""Free time of Graph, read into fingerprints."""

from __future__ import annotations

import json
from typing import Any

import pytest

from otjd.protocol.graph_events import GraphFormatError
from otjd.protocol.graph_schedules import Schedules, read_schedules

A, B = "a@example.com", "b@example.com"


def item(start: str, **members: Any) -> dict[str, Any]:
    return {"isPrivate": False, "status": "busy", "subject": "Plans", "location": "",
            "start": {"dateTime": start, "timeZone": "UTC"},
            "end": {"dateTime": "2026-11-23T12:00", "timeZone": "UTC"}, **members}


def schedule(room: str, *items: Any, view: str = "0022", **members: Any) -> dict[str, Any]:
    return {"scheduleId": room, "availabilityView": view, "scheduleItems": list(items), "workingHours": {},
            **members}


def read(*schedules: Any) -> Schedules:
    return read_schedules(json.dumps({"value": schedules}).encode(), [A, B])


FIRST, SECOND = item("2026-11-23T09:00"), item("2026-11-23T10:00")
BEFORE = read(schedule(A, FIRST, SECOND)).fingerprints[A]


@pytest.mark.parametrize("changed", [
    [FIRST], [FIRST, item("2026-11-23T10:30")], [FIRST, item("2026-11-23T10:00", subject="Other plans")],
    [FIRST, item("2026-11-23T10:00", isPrivate=True)], [FIRST, item("2026-11-23T10:00", status="tentative")], []])
def test_every_change_that_can_be_seen_shows(changed: list[Any]) -> None:
    assert read(schedule(A, *changed)).fingerprints[A] != BEFORE


def test_what_means_the_same_looks_the_same() -> None:
    assert read(schedule(A.upper(), SECOND, FIRST, view="2222")).fingerprints == {A: BEFORE}
    assert read(schedule(A, FIRST, SECOND), schedule(B)).fingerprints[A] == BEFORE


def test_where_only_the_outline_is_told_it_counts() -> None:
    outlines = {read(schedule(A, view=view)).fingerprints[A] for view in ("00", "02", "22")}
    assert len(outlines) == 3


def test_a_room_that_cannot_be_told_of_is_named_and_passing_trouble_leaves_it_out() -> None:
    def failed(room: str, code: str) -> dict[str, Any]:
        return {"scheduleId": room, "error": {"responseCode": code, "message": "Unable to resolve."}}

    found = read(failed(A, "ErrorMailRecipientNotFound"), failed(B, "ErrorServerBusy"))
    assert (dict(found.fingerprints), set(found.problems), found.answered) == ({}, {A}, 2)
    assert "there is no such user" in found.problems[A]
    assert "ErrorMailRecipientNotFound: Unable to resolve." in found.problems[A]
    assert "cannot be told (ErrorStrange" in read(failed(A, "ErrorStrange")).problems[A]


def test_strangers_and_nonsense_are_passed_over() -> None:
    found = read(schedule("c@example.com"), 7)
    assert (found.fingerprints, found.problems) == ({}, {})
    assert read({"scheduleId": A, "scheduleItems": [5, {}], "availabilityView": {}}).fingerprints.keys() == {A}


@pytest.mark.parametrize("body", [b"", b"{}", b'{"value": 5}'])
def test_what_is_no_answer_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(GraphFormatError):
        read_schedules(body, [A])
