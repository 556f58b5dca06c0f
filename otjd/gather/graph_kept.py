"""Subscriptions of Microsoft Graph, kept over a restart: they live on there, and tell their secrets only once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from otjd.gather.state_files import read_state, write_state
from otjd.protocol.timezones import read_date_time, write_date_time


@dataclass(frozen=True, slots=True)
class Kept:
    """One subscription; `url` is where its notices go, `expires` its end."""

    id: str
    client_state: str = field(repr=False)
    url: str
    expires: datetime


def read_kept(path: Path) -> Mapping[str, Kept]:
    """What was kept, by room; nothing of what cannot be read, since it can be made anew. Blocks."""
    found = {room: _kept(values) for room, values in read_state(path).items()}
    return {room: kept for room, kept in found.items() if kept is not None}


def write_kept(path: Path, rooms: Mapping[str, Kept]) -> None:
    """Keep subscriptions, by room. Blocks.

    :raises OSError: that is not possible.
    """
    write_state(path, {room: {"id": kept.id, "client_state": kept.client_state, "url": kept.url,
                              "expires": write_date_time(kept.expires)} for room, kept in rooms.items()})


def _kept(values: Any) -> Kept | None:
    try:
        number, client_state, url = (values[name] for name in ("id", "client_state", "url"))
        expires = read_date_time(values["expires"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    are_texts = all(isinstance(text, str) and text for text in (number, client_state, url))
    return Kept(number, client_state, url, expires) if are_texts else None
