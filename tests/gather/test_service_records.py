"""SRV records, asked of a DNS server on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from twisted.names import dns
from twisted.names.authority import FileAuthority
from twisted.names.common import ResolverBase
from twisted.names.server import DNSServerFactory

from otjd.gather.service_records import Lookup, service_lookup
from tests.outbound.servers import reactor

NAME = "_autodiscover._tcp.example.com"


class Zone(FileAuthority):
    """What a zone file would say."""

    def __init__(self, records: dict[bytes, list[Any]]) -> None:
        ResolverBase.__init__(self)  # type: ignore[no-untyped-call]
        self.soa: Any = (b"example.com", records[b"example.com"][0])
        self.records: Any = records


@asynccontextmanager
async def serving(*records: Any) -> AsyncIterator[Lookup]:
    soa = dns.Record_SOA(b"ns.example.com", b"admin.example.com")  # type: ignore[no-untyped-call]
    zone = Zone({b"example.com": [soa], NAME.encode(): list(records)})
    factory = DNSServerFactory(authorities=[zone])  # type: ignore[no-untyped-call]
    protocol = dns.DNSDatagramProtocol(factory)  # type: ignore[no-untyped-call]
    port = reactor.listenUDP(0, protocol, interface="127.0.0.1")
    try:
        yield service_lookup(reactor, [("127.0.0.1", port.getHost().port)])
    finally:
        await port.stopListening()


def record(priority: int, weight: int, port: int, target: str) -> Any:
    return dns.Record_SRV(priority, weight, port, target.encode())  # type: ignore[no-untyped-call]


async def test_the_preferred_record_is_taken() -> None:
    async with serving(record(20, 0, 1, "c.example.com"), record(10, 1, 2, "b.example.com"),
                       record(10, 5, 444, "A.example.com")) as look_up:
        assert await look_up(NAME) == ("a.example.com", 444)


@pytest.mark.parametrize("records", [(), (record(0, 0, 0, "."),), (record(0, 0, 1, "a/b.example.com"),)])
async def test_a_domain_without_the_service_has_none(records: tuple[Any, ...]) -> None:
    async with serving(*records) as look_up:
        with pytest.raises(LookupError, match=NAME):
            await look_up(NAME)
        with pytest.raises(LookupError):
            await look_up("_autodiscover._tcp.other.example.com")
