"""Change notifications of Microsoft Graph: subscriptions and what comes of them, read. Pure.

Source: learn.microsoft.com/graph: change-notifications-delivery-webhooks, change-notifications-lifecycle-events.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from otjd.protocol.graph_events import GraphFormatError, read_object
from otjd.protocol.timezones import read_date_time

NOTICES_LIMIT = 5_000
"""Notices of one delivery that are looked at."""


class Lifecycle(Enum):
    """What a notice says of a subscription; NONE where it tells of a change in a calendar."""

    NONE = ""
    REAUTHORIZE = "reauthorizationRequired"
    REMOVED = "subscriptionRemoved"
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class Notice:
    """One of the notices of a delivery."""

    subscription: str
    client_state: str = field(repr=False)
    lifecycle: Lifecycle = Lifecycle.NONE


@dataclass(frozen=True, slots=True)
class Created:
    """A subscription that was made or renewed."""

    id: str
    expires: datetime


def read_subscription(body: bytes) -> Created:
    """The answer to a request for a subscription, or for its renewal.

    :raises GraphFormatError: it is none.
    """
    found = read_object(body)
    number = found.get("id")
    if not isinstance(number, str) or not 0 < len(number) <= 500:
        raise GraphFormatError("Graph answered with a subscription without an id")
    try:
        return Created(number, read_date_time(str(found.get("expirationDateTime"))))
    except ValueError as error:
        raise GraphFormatError(f"Graph answered with a subscription whose expirationDateTime {error}") from None


def read_notices(body: bytes) -> list[Notice]:
    """The notices of a delivery; anybody may have written it.

    :raises GraphFormatError: it is no delivery.
    """
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    value = found.get("value") if isinstance(found, dict) else None
    if not isinstance(value, list):
        raise GraphFormatError("no delivery of notices")
    return list(_notices(value[:NOTICES_LIMIT]))


def _notices(entries: list[Any]) -> Iterator[Notice]:
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        number, state, event = (entry.get(name) for name in ("subscriptionId", "clientState", "lifecycleEvent"))
        if not isinstance(number, str) or not isinstance(state, str):
            continue
        try:
            yield Notice(number, state, Lifecycle(event or ""))
        except ValueError:
            continue  # an event of a kind that is not known here
