"""A load generator that costs little itself: many TLS connections in one loop of epoll, each driven by a script.

    python -m bench.support.load closed  PORT SECONDS CONNECTIONS ENDPOINTS
    python -m bench.support.load poll    PORT SECONDS ENDPOINTS light|heavy EVERY_S
    python -m bench.support.load restart PORT SECONDS ENDPOINTS WITHIN_S [autodiscover]

`closed` asks as fast as answers come, for one endpoint after the other, with Basic. `poll` lets every endpoint
poll in turn, with Digest where it is offered, on a kept connection; without a pause where EVERY_S is 0. `restart`
lets all endpoints connect within a time, half with NTLM and half with Digest, and list their meetings or ask
Autodiscover. Each prints one line of JSON: `requests`, `failed`, `seconds`, `p50_ms`, `p99_ms`, `cpu_s`.
"""

from __future__ import annotations

import base64
import errno
import heapq
import json
import os
import re
import resource
import select
import socket
import ssl
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count, cycle

from bench.support.calendar_server import PASSWORD
from bench.support.sign_in import digest, ntlm_first, ntlm_second

PATH = "/EWS/Exchange.asmx"
AUTODISCOVER = "/Autodiscover/Autodiscover.svc"
SETTINGS = ("InternalEwsUrl", "ExternalEwsUrl", "EwsSupportedSchemas", "UserDisplayName", "CasVersion",
            "MobileMailboxPolicy")
SHAPES = {"light": (1, 2), "heavy": (2, 10)}
"""How many FindItems and GetItems a poll consists of."""

_ENVELOPE = ('<?xml version="1.0" encoding="utf-8"?><soap:Envelope '
             'xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/" '
             'xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types" '
             'xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages"><soap:Header>'
             '<t:RequestServerVersion Version="Exchange2010_SP2"/></soap:Header><soap:Body>{}</soap:Body>'
             '</soap:Envelope>')
ITEM_ID = re.compile(rb'<t:ItemId Id="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, header lines and body."""

    status: int
    head: bytes
    body: bytes

    def challenge(self, scheme: str) -> str:
        """The WWW-Authenticate line of a scheme."""
        found = re.search(rb"(?im)^www-authenticate: *(" + scheme.encode() + rb" [^\r]*)", self.head)
        return found[1].decode() if found else ""


Script = Generator["bytes | float", Answer, None]
"""Yields a request to be sent, or the time at which to go on; is sent the answer to each request."""


def find_item(days: int = 1) -> bytes:
    """A calendar view of `days` from this hour on; it holds an hourly meeting 24 times a day."""
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return _ENVELOPE.format(
        '<m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>Default</t:BaseShape></m:ItemShape>'
        f'<m:CalendarView StartDate="{start:%Y-%m-%dT%H:%M:%SZ}" '
        f'EndDate="{start + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}" MaxEntriesReturned="10"/>'
        '<m:ParentFolderIds><t:DistinguishedFolderId Id="calendar"/></m:ParentFolderIds></m:FindItem>').encode()


def get_item(item_id: bytes) -> bytes:
    """One meeting with its body."""
    return _ENVELOPE.format(
        '<m:GetItem><m:ItemShape><t:BaseShape>AllProperties</t:BaseShape><t:BodyType>Text</t:BodyType></m:ItemShape>'
        f'<m:ItemIds><t:ItemId Id="{item_id.decode()}"/></m:ItemIds></m:GetItem>').encode()


def get_user_settings(number: int) -> bytes:
    """Where the calendar of an endpoint's room is, as Microsoft's managed API asks for it."""
    wanted = "".join(f"<a:Setting>{name}</a:Setting>" for name in SETTINGS)
    return ('<?xml version="1.0" encoding="utf-8"?><soap:Envelope '
            'xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/" '
            'xmlns:a="http://schemas.microsoft.com/exchange/2010/Autodiscover"><soap:Header>'
            "<a:RequestedServerVersion>Exchange2010_SP2</a:RequestedServerVersion></soap:Header><soap:Body>"
            "<a:GetUserSettingsRequestMessage><a:Request><a:Users><a:User>"
            f"<a:Mailbox>room{number}@example.com</a:Mailbox></a:User></a:Users>"
            f"<a:RequestedSettings>{wanted}</a:RequestedSettings></a:Request></a:GetUserSettingsRequestMessage>"
            "</soap:Body></soap:Envelope>").encode()


def request(body: bytes, authorization: str, path: str = PATH) -> bytes:
    """An HTTP request."""
    header = f"Authorization: {authorization}\r\n" if authorization else ""
    head = (f"POST {path} HTTP/1.1\r\nHost: otj.example.com\r\nUser-Agent: bench/1.0\r\n"
            f"Content-Type: text/xml; charset=utf-8\r\nContent-Length: {len(body)}\r\n{header}\r\n")
    return head.encode() + body


def basic(user: str) -> str:
    """What an endpoint signs in with by Basic."""
    return "Basic " + base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()


@dataclass
class Tally:
    """What was measured."""

    latencies: list[float] = field(default_factory=list)
    failed: int = 0
    ends_at: float = 0.0


class Client:
    """One connection and the script that it follows; it connects when it first has something to send."""

    def __init__(self, script: Script, port: int, context: ssl.SSLContext, tally: Tally) -> None:
        self.script = script
        self.wakes_at = 0.0
        self._port = port
        self._context = context
        self._tally = tally
        self._socket: ssl.SSLSocket | None = None
        self._is_ready = False
        self._waiting = b""
        self._received = b""
        self._began = 0.0
        self.wants_write = True

    def fileno(self) -> int:
        """That of the connection."""
        return self._socket.fileno() if self._socket is not None else -1

    def close(self) -> None:
        """Let go of the connection."""
        if self._socket is not None:
            self._socket.close()

    def go_on(self, answer: Answer | None) -> bool | None:
        """Follow the script: True where a request is under way, False where it pauses, None at its end."""
        try:
            step = self.script.send(answer) if answer is not None else next(self.script)
        except StopIteration:
            return None
        if isinstance(step, float):
            self.wakes_at = step
            return False
        self._waiting, self._began = step, time.monotonic()
        if self._socket is None:
            self._connect()
        elif self._is_ready:
            self._send()
        return True

    def ready(self) -> Answer | None:
        """Do what the connection is ready for; gives the answer when it is whole.

        :raises OSError: the connection failed.
        """
        assert self._socket is not None
        try:
            if not self._is_ready:
                self._socket.do_handshake()
                self._is_ready, self.wants_write = True, False
                self._send()
                return None
            while data := self._socket.recv(65536):
                self._received += data
                if (answer := self._whole()) is not None:
                    self._tally.latencies.append(time.monotonic() - self._began)
                    return answer
            raise ConnectionError("closed by the server")
        except ssl.SSLWantReadError:
            self.wants_write = False
        except ssl.SSLWantWriteError:
            self.wants_write = True
        return None

    def _connect(self) -> None:
        plain = socket.socket()
        plain.setblocking(False)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = plain.connect_ex(("127.0.0.1", self._port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
        self._socket = self._context.wrap_socket(plain, server_hostname="localhost", do_handshake_on_connect=False)

    def _send(self) -> None:
        assert self._socket is not None
        sent = self._socket.send(self._waiting)
        if sent != len(self._waiting):
            raise ConnectionError("a request did not fit into the socket's buffer")
        self._waiting = b""

    def _whole(self) -> Answer | None:
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return None
        length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        if len(rest) < length:
            return None
        self._received = rest[length:]
        return Answer(int(head[9:12]), head, rest[:length])


class Loop:
    """Lets clients follow their scripts until all are done, or it is `until`."""

    def __init__(self, clients: list[Client], tally: Tally, until: float) -> None:
        self._clients = clients
        self._tally = tally
        self._until = until
        self._poll = select.epoll()
        self._asking: dict[int, Client] = {}
        self._sleeping: list[tuple[float, int, Client]] = []
        self._order = count()

    def run(self) -> None:
        """Do it."""
        for client in self._clients:
            self._advance(client, None)
        while (self._asking or self._sleeping) and (now := time.monotonic()) < self._until:
            while self._sleeping and self._sleeping[0][0] <= now:
                self._advance(heapq.heappop(self._sleeping)[2], None)
            next_at = min(self._until, self._sleeping[0][0]) if self._sleeping else self._until
            for number, _ in self._poll.poll(max(0.0, min(next_at - now, 0.5))):
                if number in self._asking:
                    self._ready(self._asking[number], number)
        for client in self._clients:
            client.close()

    def _ready(self, client: Client, number: int) -> None:
        wanted = client.wants_write
        try:
            answer = client.ready()
        except OSError:
            self._lost(client)
            return
        if client.wants_write is not wanted:
            self._poll.modify(number, select.EPOLLOUT if client.wants_write else select.EPOLLIN)
        if answer is not None:
            self._advance(client, answer)

    def _advance(self, client: Client, answer: Answer | None) -> None:
        before = client.fileno()
        try:
            is_asking = client.go_on(answer)
        except OSError:
            self._lost(client)
            return
        self._tally.ends_at = time.monotonic()
        self._asking.pop(before, None)
        if is_asking:
            self._asking[client.fileno()] = client
            if client.fileno() != before:
                self._poll.register(client.fileno(), select.EPOLLOUT)
        elif is_asking is False:
            heapq.heappush(self._sleeping, (client.wakes_at, next(self._order), client))

    def _lost(self, client: Client) -> None:
        self._tally.failed += 1
        self._asking.pop(client.fileno(), None)
        client.close()


def closed(endpoints: range, until: float, tally: Tally) -> Script:
    """Ask for one endpoint after the other, with Basic."""
    view = find_item()
    asked = cycle([request(view, basic(f"room{number}")) for number in endpoints])
    while time.monotonic() < until:
        tally.failed += (yield next(asked)).status != 200


def polling(number: int, shape: str, starts_at: float, tally: Tally, *, until: float, pause_s: float) -> Script:
    """What one endpoint does all day: sign in with Digest once, or Basic where that is not to be had, then poll on
    the same connection."""
    finds, gets = SHAPES[shape]
    yield starts_at
    user, view = f"room{number}", find_item()
    challenge, counter = (yield request(view, "")).challenge("Digest"), count(1)

    def authorization() -> str:
        return digest(challenge, user, PASSWORD, PATH, next(counter)) if challenge else basic(user)

    at = starts_at
    while at < until:
        found: list[bytes] = []
        for nth in range(finds + gets):
            body = view if nth < finds else get_item(found[nth % len(found)])
            answer = yield request(body, authorization())
            if answer.status == 401:  # the nonce is too old
                challenge, counter = answer.challenge("Digest"), count(1)
                answer = yield request(body, authorization())
            tally.failed += answer.status != 200 or b'"Success"' not in answer.body
            found = found or ITEM_ID.findall(answer.body)
        at += pause_s
        if pause_s:
            yield at
        elif time.monotonic() >= until:
            return


def signing_in(number: int, starts_at: float, tally: Tally, asks: str) -> Script:
    """Connect, sign in and list the meetings, as after a restart of the node, or ask Autodiscover."""
    yield starts_at
    body, path, good = find_item(), PATH, b'"Success"'
    if asks == "autodiscover":
        body, path, good = get_user_settings(number), AUTODISCOVER, b"<Name>ExternalEwsUrl</Name>"
    user = f"room{number}"
    if number % 2:
        answer = yield request(b"", ntlm_first(), path)
        answer = yield request(body, ntlm_second(answer.challenge("NTLM"), user, PASSWORD), path)
    else:
        answer = yield request(body, "", path)
        answer = yield request(body, digest(answer.challenge("Digest"), user, PASSWORD, path, 1), path)
    tally.failed += answer.status != 200 or good not in answer.body


def scripts(kind: str, arguments: list[str], began: float, until: float, tally: Tally) -> list[Script]:
    """The scripts of all connections of one kind of load."""
    number = int(arguments[0])
    if kind == "closed":
        endpoints = int(arguments[1])
        return [closed(range(n % endpoints, endpoints, number), until, tally) for n in range(number)]
    if kind == "poll":
        every_s = float(arguments[2])
        return [polling(n, arguments[1], began + n * every_s / number, tally, until=until, pause_s=every_s)
                for n in range(number)]
    spread = float(arguments[1]) / number
    return [signing_in(n, began + n * spread, tally, "".join(arguments[2:])) for n in range(number)]


def main() -> None:
    kind, port, seconds, *arguments = sys.argv[1:]
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the benchmark's own certificate
    tally = Tally()
    began = time.monotonic()
    until = began + float(seconds)
    clients = [Client(s, int(port), context, tally) for s in scripts(kind, arguments, began, until, tally)]
    Loop(clients, tally, until + 1.0).run()  # the last answers may be under way when the time is over
    ordered = sorted(tally.latencies) or [0.0]
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({
        "requests": len(tally.latencies), "failed": tally.failed, "seconds": tally.ends_at - began,
        "p50_ms": ordered[len(ordered) // 2] * 1000, "p99_ms": ordered[int(len(ordered) * 0.99)] * 1000,
        "cpu_s": used.ru_utime + used.ru_stime}))


if __name__ == "__main__":
    main()
