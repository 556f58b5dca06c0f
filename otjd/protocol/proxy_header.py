"""The header of the PROXY protocol, versions 1 and 2, with which a load balancer says who connected to it.

Source: "The PROXY protocol, versions 1 & 2" of the HAProxy project, sections 2.1 and 2.2.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

FIRST_LIMIT = 107
"""Bytes of a header of version 1, with the end of its line."""

EXTENSIONS_LIMIT = 4096
"""Bytes of a header of version 2 after its first 16: addresses, and extensions that are not read."""

_FIRST = b"PROXY "
_SECOND = b"\r\n\r\n\0\r\nQUIT\n"
_START = struct.Struct("!12sBBH")
_STREAMS = {0x11: (struct.Struct("!4s4sHH"), IPv4Address), 0x21: (struct.Struct("!16s16sHH"), IPv6Address)}
_FAMILIES = {"TCP4": 4, "TCP6": 6}
_LOCAL, _PROXY = 0x20, 0x21


class ProxyHeaderError(ValueError):
    """What a connection begins with is no such header; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A header: its length in bytes and, unless the balancer speaks for itself, host and port of the client and
    of what the client connected to."""

    length: int
    source: tuple[str, int] | None = None
    destination: tuple[str, int] | None = None


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """The header at the beginning of `data`; None as long as it is not whole.

    :raises ProxyHeaderError: there is none, or one that is malformed or too long.
    """
    if data.startswith(_FIRST):
        return _read_first(data)
    if data.startswith(_SECOND):
        return _read_second(data)
    if _FIRST.startswith(data) or _SECOND.startswith(data):
        return None
    raise ProxyHeaderError("the connection does not begin with a PROXY header")


def _read_first(data: bytes) -> ProxyHeader | None:
    line, end, _ = data[:FIRST_LIMIT].partition(b"\r\n")
    if not end:
        if len(data) >= FIRST_LIMIT:
            raise ProxyHeaderError(f"a PROXY header of version 1 with more than {FIRST_LIMIT} bytes")
        return None
    length = len(line) + len(end)
    words = line.decode("latin-1").split(" ")
    if words[1] == "UNKNOWN":
        return ProxyHeader(length)
    if len(words) != 6 or words[1] not in _FAMILIES:
        raise ProxyHeaderError("a malformed PROXY header of version 1")
    source, destination = (_address(text, _FAMILIES[words[1]]) for text in words[2:4])
    return ProxyHeader(length, (source, _port(words[4])), (destination, _port(words[5])))


def _address(text: str, version: int) -> str:
    try:
        address = ip_address(text)
    except ValueError:
        address = None
    if address is None or address.version != version:
        raise ProxyHeaderError("a PROXY header of version 1 with an address that is none")
    return str(address)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise ProxyHeaderError("a PROXY header of version 1 with a port that is none")
    return int(text)


def _read_second(data: bytes) -> ProxyHeader | None:
    if len(data) < _START.size:
        return None
    _, command, family, extent = _START.unpack_from(data)
    if command not in (_LOCAL, _PROXY):
        raise ProxyHeaderError("a PROXY header of version 2 with an unknown version or command")
    if extent > EXTENSIONS_LIMIT:
        raise ProxyHeaderError(f"a PROXY header of version 2 with more than {EXTENSIONS_LIMIT} bytes")
    length = _START.size + extent
    if len(data) < length:
        return None
    if command == _LOCAL or family not in _STREAMS:
        return ProxyHeader(length)  # as the protocol asks: what is not TCP keeps the address of the connection
    layout, address = _STREAMS[family]
    if extent < layout.size:
        raise ProxyHeaderError("a PROXY header of version 2 that is too short for its addresses")
    source, destination, source_port, destination_port = layout.unpack_from(data, _START.size)
    return ProxyHeader(length, (str(address(source)), source_port), (str(address(destination)), destination_port))
