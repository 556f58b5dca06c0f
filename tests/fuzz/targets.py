"""What is fuzzed: each target takes bytes that a stranger may send, and raises nothing, whatever they are.

    python -m tests.fuzz.run TARGET FOLDER [options of libFuzzer]
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from otjd.meetings.model import Room
from otjd.operate.board import StatusBoard
from otjd.protocol.ews_requests import read_header, read_request
from otjd.protocol.proxy_header import ProxyHeaderError, read_proxy_header
from otjd.protocol.soap import SOAP_11, SOAP_12, SoapFault, read_envelope, write_fault
from otjd.serve.auth import SCHEMES, Authenticator, Refused
from otjd.serve.autodiscover import SoapAutodiscover
from otjd.serve.calls import Account, Call, Reply
from otjd.serve.schemes import Connection
from otjd.serve.site import CalendarSite, SiteSettings
from tests.serve.autodiscover_support import GET_URL, domains, message, settings
from tests.serve.autodiscover_support import envelope as autodiscover_of
from tests.serve.clients import NtlmClient, basic
from tests.serve.clients import digest as digest_of
from tests.serve.ews_support import (
    UNKNOWN_ID,
    calendar_view,
    convert,
    envelope,
    get_folder,
    get_item,
    page,
    page_view,
)
from tests.serve.http_world import PATH, request

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ACCOUNT = Account("boardroom", "poly-secret", "Boardroom", Room("boardroom@example.com", "default"))
NTLM_FIRST = base64.b64encode(b"NTLMSSP\0\x01\0\0\0\x37\x82\x08\xe2" + bytes(24)).decode()


def _random_bytes() -> Callable[[int], bytes]:
    numbers = count()
    return lambda n: hashlib.sha256(str(next(numbers)).encode()).digest()[:n]


def _authenticator() -> Authenticator:
    return Authenticator([ACCOUNT], schemes=SCHEMES, secret=b"secret", now=lambda: NOW,
                         random_bytes=_random_bytes(), digest_sha256=True)


def requests(data: bytes) -> None:
    """A body that is sent to the emulated Exchange."""
    try:
        envelope = read_envelope(data, "text/xml")
        read_request(envelope, read_header(envelope).zone)
    except SoapFault as fault:
        write_fault(fault, fault.dialect or SOAP_11)


AUTODISCOVER = SoapAutodiscover(server_version="15.1.2507.6")


def autodiscover(data: bytes) -> None:
    """A body that is sent to Autodiscover's SOAP service; every answer is one that can be read."""
    reply = AUTODISCOVER(Call(ACCOUNT, "basic", "POST", "/", "https://otj.example.com", "text/xml", data))
    assert read_envelope(reply.body, reply.content_type).name
    assert reply.error != "ErrorInternalServerError"


AUTHENTICATOR = _authenticator()


def credentials(data: bytes) -> None:
    """An Authorization header of any scheme."""
    AUTHENTICATOR.judge(data.decode("latin-1"), Connection(), method="POST", target="/EWS/Exchange.asmx",
                        address="10.0.0.1")


def digest(data: bytes) -> None:
    """The parameters of a Digest login."""
    credentials(b"Digest " + data)


def ntlm(data: bytes) -> None:
    """The last message of an NTLM handshake, or its only one."""
    connection = Connection()
    if data[:1] != b"\0":
        AUTHENTICATOR.judge(f"NTLM {NTLM_FIRST}", connection, method="POST", target="/", address="10.0.0.1")
    AUTHENTICATOR.judge(f"NTLM {base64.b64encode(data[1:]).decode()}", connection, method="POST", target="/",
                        address="10.0.0.1")


def proxy(data: bytes) -> None:
    """The beginning of a connection of a load balancer."""
    try:
        read_proxy_header(data)
    except ProxyHeaderError:
        return


CLOCK = Clock()
SITE = CalendarSite(
    routes={"/ews/exchange.asmx": lambda _: Reply(200, b"<answer/>")}, accounts=[ACCOUNT],
    settings=SiteSettings(authentication=SCHEMES, throttle_failed_logins=False), board=StatusBoard(lambda: NOW),
    ready=lambda: True, reactor=CLOCK, now=lambda: NOW, random_bytes=_random_bytes())


def http(data: bytes) -> None:
    """All that a client sends on a connection, in two pieces."""
    address: Any = IPv4Address("TCP", "10.0.0.1", 50000)
    channel: Any = SITE.buildProtocol(address)
    transport: Any = StringTransport
    channel.makeConnection(transport(hostAddress=address, peerAddress=address))
    for piece in (data[:len(data) // 2], data[len(data) // 2:]):
        if piece:
            channel.dataReceived(piece)
    channel.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]
    CLOCK.advance(100)


def _seeds_of_logins() -> dict[str, list[bytes]]:
    """Logins that are right but for the nonce or challenge, which was another one."""
    lines = _authenticator().judge(None, Connection(), method="POST", target=PATH, address="")
    assert isinstance(lines, Refused)
    digests = [digest_of(line, "boardroom", "poly-secret").encode()
               for line in lines.challenges if line.startswith("Digest")]
    client = NtlmClient("boardroom", "poly-secret")
    challenged = _authenticator().judge(client.first, Connection(), method="POST", target=PATH, address="")
    assert isinstance(challenged, Refused)
    messages = [client.first, client.second(challenged.challenges[0])]
    tokens = [base64.b64decode(m.removeprefix("NTLM ")) for m in messages]
    return {"digest": [line.removeprefix(b"Digest ") for line in digests],
            "ntlm": [first + token for token in tokens for first in (b"\0", b"\1")],
            "credentials": [*digests, *(m.encode() for m in messages), basic("boardroom", "poly-secret").encode()]}


GET_DOMAIN = message("GetDomainSettings", domains("example.com") + settings("ExternalEwsUrl"))
OPERATIONS = (calendar_view(), page_view(page(Offset=0, BasePoint="End")), get_item(UNKNOWN_ID),
              get_folder("calendar"), convert("EwsId", UNKNOWN_ID, "OwaId"))
SEEDS = {
    **_seeds_of_logins(),
    "requests": [envelope(operation, soap=dialect.envelope).encode()
                 for operation in OPERATIONS for dialect in (SOAP_11, SOAP_12)],
    "autodiscover": [autodiscover_of(operation, soap=dialect.envelope).encode()
                     for operation in (GET_URL, GET_DOMAIN) for dialect in (SOAP_11, SOAP_12)],
    "proxy": [b"PROXY TCP4 10.1.2.3 192.0.2.9 50000 443\r\n", b"PROXY UNKNOWN\r\n",
              b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12), b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0"],
    "http": [request(Authorization=basic("boardroom", "poly-secret")), request("GET", "/healthz", b"") * 3,
             request(Expect="100-continue", Transfer_Encoding="chunked", Content_Length="", body=b"")
             + b"3\r\n<as\r\n3\r\nk/>\r\n0\r\n\r\n"]}
"""What each target begins with, so that it need not invent XML or HTTP first."""

ONE_BY_ONE: dict[str, Callable[[bytes], None]] = {
    "requests": requests, "autodiscover": autodiscover, "credentials": credentials, "digest": digest, "ntlm": ntlm,
    "proxy": proxy, "http": http}


def everything(data: bytes) -> None:
    """All of them, as the first byte says."""
    targets = tuple(ONE_BY_ONE.values())
    if data:
        targets[data[0] % len(targets)](data[1:])


TARGETS = {**ONE_BY_ONE, "everything": everything}
SEEDS["everything"] = [bytes([n]) + seed for n, name in enumerate(ONE_BY_ONE) for seed in SEEDS[name]]
