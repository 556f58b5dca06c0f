"""Who may read the operator's addresses. Pure: what a request says in, a refusal or None out."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

REALM = "otjd"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered: HTTP status and a sentence that says what to do."""

    status: int
    error: str


@dataclass(frozen=True, slots=True)
class Access:
    """The login of the operator; without a user name the addresses are open to this machine alone.

    Without a login a page of a stranger, in a browser on this machine, could read them under a name of its own
    that resolves to 127.0.0.1 (DNS rebinding). So they answer only to `localhost`, to loopback addresses and to
    `hosts`, and only to clients on this machine.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    hosts: tuple[str, ...] = ()

    def refusal(self, *, username: bytes, password: bytes, hosts: tuple[str, ...], client: str) -> Refusal | None:
        """Why a request is refused; None lets it in.

        `hosts` are all values of its Host header, `client` is the address it comes from, empty when unknown.
        """
        if self.username:
            known = _same(username, self.username) & _same(password, self.password)
            return None if known else Refusal(401, "Sign in with the [operator] username and password.")
        if not _is_loopback(client):
            return Refusal(403, "Without [operator] username and password only this machine is answered.")
        if len(hosts) != 1 or not self._is_own(_without_port(hosts[0])):
            return Refusal(403, "Without [operator] username and password only requests to localhost or to a "
                                "loopback address are answered; this one names another host.")
        return None

    def _is_own(self, host: str) -> bool:
        return host == "localhost" or _is_loopback(host) or host in {h.strip("[]").lower() for h in self.hosts}


def _same(given: bytes, expected: str) -> bool:
    # digests are of one length: the comparison tells nothing about the secret's
    return hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(expected.encode()).digest())


def _is_loopback(text: str) -> bool:
    try:
        address: IPv4Address | IPv6Address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


def _without_port(host: str) -> str:
    """The name or address of a Host header (RFC 9110, section 7.2), in lower case and without brackets."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host
