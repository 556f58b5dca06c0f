"""Where a request comes from, and under what address its sender knows us, also behind proxies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network

_HOST = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_HOPS_LIMIT = 32
_HOP_LIMIT = 80


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """The IP address in a hop of X-Forwarded-For, which may carry a port; None where there is none."""
    return _address_of(text) if len(text) <= _HOP_LIMIT else None


@lru_cache(maxsize=8192)  # the same clients come again and again
def _address_of(text: str) -> IPv4Address | IPv6Address | None:
    text = text.strip(' \t"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def network_of(address: str) -> str:
    """What an address counts as: itself, or its network of 64 bits with IPv6, since who has one has them all."""
    parsed = address_of(address)
    if parsed is None:
        return address
    return str(IPv6Address(int(parsed) >> 64 << 64)) if isinstance(parsed, IPv6Address) else str(parsed)


def is_within(address: str, networks: Sequence[Network]) -> bool:
    """Whether `address` lies in one of `networks`."""
    parsed = address_of(address)
    return parsed is not None and any(parsed in network for network in networks)


def client_address(peer: str, forwarded_for: Sequence[str], trusted_proxies: Sequence[Network]) -> str:
    """The address of the client: the rightmost hop that is no trusted proxy.

    `forwarded_for` are all values of X-Forwarded-For. What stands left of a hop that cannot be read, or that is
    not trusted, anybody may have written.
    """
    client = _plain(peer)
    hops = ",".join(forwarded_for).split(",") if forwarded_for else []
    for hop in reversed(hops[-_HOPS_LIMIT:]):
        if not is_within(client, trusted_proxies):
            break
        address = address_of(hop)
        if address is None:
            break
        client = str(address)
    return client


@lru_cache(maxsize=8192)
def _plain(peer: str) -> str:
    parsed = address_of(peer)
    return peer if parsed is None else str(parsed)


def base_url(hosts: Sequence[str], *, secure: bool, local: str, forwarded_proto: str = "") -> str:
    """Scheme, host and port as the client addressed them.

    `hosts` are all values of the Host header; anything but one plain host gives way to `local`, as a hostile one
    would end up in answers. `forwarded_proto` is that of a trusted proxy.
    """
    scheme = forwarded_proto.rpartition(",")[2].strip().lower()
    if scheme not in ("http", "https"):
        scheme = "https" if secure else "http"
    host = hosts[0].strip() if len(hosts) == 1 else ""
    return f"{scheme}://{host if _HOST.fullmatch(host) else local}"
