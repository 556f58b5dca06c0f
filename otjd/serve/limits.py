"""Limits: what one client, and all of them together, may take of this node."""

from __future__ import annotations

from dataclasses import dataclass

from otjd.protocol.ews_requests import IDS_LIMIT
from otjd.protocol.markup import DEPTH_LIMIT, ELEMENTS_LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The table `[calendar_service.limits]`, under the same names; sizes in bytes, times in seconds.

    `body_bytes` is that of a request, `headers` and `header_bytes` what stands before it; `request_s` how long it
    may take from its first byte to its last, `idle_s` how long a connection may be silent. `connections` counts
    all of the calendar service, `connections_per_address` those of one address, a network of 64 bits for IPv6.
    """

    body_bytes: int = 1024 * 1024
    header_bytes: int = 16 * 1024
    headers: int = 100
    xml_depth: int = DEPTH_LIMIT
    xml_elements: int = ELEMENTS_LIMIT
    ids_per_request: int = IDS_LIMIT
    request_s: float = 30.0
    idle_s: float = 120.0
    connections: int = 20_000
    connections_per_address: int = 10_000
