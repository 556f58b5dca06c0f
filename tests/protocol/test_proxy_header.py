"""Headers of the PROXY protocol: whole, in pieces, and malformed."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otjd.protocol.proxy_header import (
    EXTENSIONS_LIMIT,
    FIRST_LIMIT,
    ProxyHeader,
    ProxyHeaderError,
    read_proxy_header,
)

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
CLIENT, SERVER = ("10.1.2.3", 50000), ("192.0.2.9", 443)
CLIENT_6, SERVER_6 = ("2001:db8::7", 50000), ("2001:db8::9", 443)


def second(command: int = 0x21, family: int = 0x11, source: tuple[str, int] = CLIENT,
           destination: tuple[str, int] = SERVER, more: bytes = b"") -> bytes:
    """A header of version 2 as a balancer writes it."""
    body = (ip_address(source[0]).packed + ip_address(destination[0]).packed
            + struct.pack("!HH", source[1], destination[1]) + more)
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


WHOLE = [
    (b"PROXY TCP4 10.1.2.3 192.0.2.9 50000 443\r\n", CLIENT, SERVER),
    (b"PROXY TCP6 2001:db8::7 2001:DB8:0:0::9 50000 443\r\n", CLIENT_6, SERVER_6),
    (b"PROXY UNKNOWN\r\n", None, None),
    (b"PROXY UNKNOWN ffff::1 whatever 1 2\r\n", None, None),
    (second(), CLIENT, SERVER),
    (second(family=0x21, source=CLIENT_6, destination=SERVER_6), CLIENT_6, SERVER_6),
    (second(more=b"\x04\x00\x03\x00\x00\x00" + b"\xea" + struct.pack("!H", 300) + b"v" * 300), CLIENT, SERVER),
    (second(command=0x20), None, None),
    (SIGNATURE + b"\x20\x00\x00\x00", None, None),
    (second(family=0x12), None, None),
    (second(family=0x00), None, None),
    (SIGNATURE + b"\x21\x31" + struct.pack("!H", 216) + b"/" * 216, None, None),
]


@pytest.mark.parametrize(("sent", "source", "destination"), WHOLE)
def test_a_header_names_the_client_and_leaves_what_follows(
        sent: bytes, source: tuple[str, int] | None, destination: tuple[str, int] | None) -> None:
    header = ProxyHeader(len(sent), source, destination)
    assert read_proxy_header(sent) == header
    assert read_proxy_header(sent + b"\x16\x03\x01 a hello\r\n") == header


@pytest.mark.parametrize("sent", [sent for sent, _, _ in WHOLE])
def test_a_part_of_a_header_is_waited_for(sent: bytes) -> None:
    assert all(read_proxy_header(sent[:length]) is None for length in range(len(sent)))


@pytest.mark.parametrize("sent", [
    b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\n", b"PROXX", b"proxy TCP4 ", b"\r\n\r\n\x01",
    b"PROXY \r\n", b"PROXY TCP4\r\n", b"PROXY TCP4 10.1.2.3 192.0.2.9 50000\r\n",
    b"PROXY TCP4 10.1.2.3 192.0.2.9 50000 443 1\r\n", b"PROXY TCP4  10.1.2.3 192.0.2.9 50000 443\r\n",
    b"PROXY UDP4 10.1.2.3 192.0.2.9 50000 443\r\n", b"PROXY TCP4 10.1.2.300 192.0.2.9 50000 443\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::9 50000 443\r\n", b"PROXY TCP6 10.1.2.3 192.0.2.9 50000 443\r\n",
    b"PROXY TCP4 host 192.0.2.9 50000 443\r\n", b"PROXY TCP4 10.1.2.3 192.0.2.9 65536 443\r\n",
    b"PROXY TCP4 10.1.2.3 192.0.2.9 -1 443\r\n", b"PROXY TCP4 10.1.2.3 192.0.2.9 1 \xb2\r\n",
    b"PROXY TCP4 \xff 192.0.2.9 1 2\r\n", b"PROXY " + b"x" * 200, b"PROXY UNKNOWN " + b"x" * 100 + b"\r\n",
    SIGNATURE + b"\x11\x11\0\x0c" + b"\0" * 12, SIGNATURE + b"\x22\x11\0\x0c" + b"\0" * 12,
    SIGNATURE + b"\x21\x11\0\x0b" + b"\0" * 11, SIGNATURE + b"\x21\x21\0\x0c" + b"\0" * 12,
    SIGNATURE + b"\x21\x11\xff\xff", SIGNATURE + b"\x20\x00" + struct.pack("!H", EXTENSIONS_LIMIT + 1)])
def test_what_is_no_header_is_refused_before_it_grows(sent: bytes) -> None:
    with pytest.raises(ProxyHeaderError):
        read_proxy_header(sent)


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda b: b"PROXY TCP4 " + b),
                 st.binary(max_size=200).map(lambda b: SIGNATURE + b)))
@example(b"")
def test_no_bytes_raise_anything_else_and_nothing_is_waited_for_without_end(data: bytes) -> None:
    try:
        header = read_proxy_header(data)
    except ProxyHeaderError:
        return
    if header is None:
        assert len(data) < max(FIRST_LIMIT, 16 + EXTENSIONS_LIMIT)
    else:
        assert header.length <= len(data)
