"""Where a domain has a service, by its SRV records in DNS (RFC 2782)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from twisted.names import dns
from twisted.names.client import Resolver
from twisted.names.error import DomainError, ResolverError

Lookup = Callable[[str], Awaitable[tuple[str, int]]]
"""From a name such as `_autodiscover._tcp.example.com` to host and port; LookupError where there are none."""

TIMEOUTS_S = (1, 3)
"""How long each DNS server is given, in each round."""

_HOST = re.compile("[a-z0-9.-]{1,253}")
RESOLVER_FILE = "/etc/resolv.conf"


def service_lookup(reactor: Any, servers: Sequence[tuple[str, int]] = ()) -> Lookup:
    """Looks records up at `servers`, or at those of this machine."""
    kept: list[Resolver] = []

    async def look_up(name: str) -> tuple[str, int]:
        try:
            if not kept:
                kept.append(Resolver(  # type: ignore[no-untyped-call]
                    resolv=None if servers else RESOLVER_FILE, servers=list(servers), reactor=reactor))
            answers, _, _ = await kept[0].lookupService(name, TIMEOUTS_S)  # type: ignore[no-untyped-call]
        except (DomainError, ResolverError, TimeoutError, OSError, ValueError) as error:
            raise LookupError(f"DNS has no SRV record {name} ({type(error).__name__})") from error
        found = [answer.payload for answer in answers if answer.type == dns.SRV]
        # the one that the domain prefers; weights divide load, and one request is none
        for record in sorted(found, key=lambda one: (one.priority, -one.weight)):
            host = record.target.name.decode("ascii", "replace").rstrip(".").lower()
            if _HOST.fullmatch(host):
                return host, record.port
        raise LookupError(f"DNS has no SRV record {name}")

    return look_up
