"""A simulated Exchange on loopback: real TLS, schema-checked in both directions, with the clocks in hand."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import treq
from lxml import etree
from twisted.internet import reactor as global_reactor
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.web.client import Agent, HTTPConnectionPool

from otjd.meetings.model import Organizer
from otjd.simulate.calendars import Calendars
from otjd.simulate.certificates import Certificates
from otjd.simulate.exchange import ExchangeServer
from otjd.simulate.exchange_settings import ExchangeSettings, ServiceAccount
from otjd.simulate.poly_http import tls_policy
from tests.serve.ews_support import DATA, NAMESPACES, check_body, schema

reactor: Any = global_reactor
NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
ROOM, LOUNGE, VAULT = "boardroom@example.com", "lounge@example.com", "vault@example.com"
ADA = Organizer("Ada Berg", "ada@example.com")
ACCOUNT = ServiceAccount("svc-otj@example.com", "right", frozenset({ROOM, LOUNGE}))
AUTODISCOVER = "http://schemas.microsoft.com/exchange/2010/Autodiscover"


@cache
def _availability() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(DATA / "availability_request_messages.xsd"))


def validate(element: etree._Element) -> str:
    """What in a request is against the schema, as far as that is beside the checkout."""
    name = etree.QName(element)
    found = _availability() if name.localname == "GetUserAvailabilityRequest" else schema(
        "autodiscover/autodiscover-soap.xsd" if name.namespace == AUTODISCOVER else "interop/messages.xsd")
    if found is None or found.validate(etree.fromstring(etree.tostring(element))):
        return ""
    return str(found.error_log).partition(": ")[2]


class World:
    """The server, its calendars, and how to talk to it."""

    def __init__(self, certificates: Certificates, **settings: Any) -> None:
        self.now = NOW
        self.clock = Clock()
        self.certificates = certificates
        self.calendars = Calendars(lambda: self.now)
        for room in (ROOM, LOUNGE, VAULT):
            self.calendars.add_room(room)
        settings = {"accounts": (ACCOUNT,), "validate": validate, **settings}
        self.server = ExchangeServer(self.calendars, ExchangeSettings(**settings), clock=self.clock)
        self.server.base_url = "https://localhost"
        self.port = self.server.listen(reactor, certificates.certificate, certificates.private_key)
        self.url = f"https://localhost:{self.port}/EWS/Exchange.asmx"
        self._pool = HTTPConnectionPool(reactor)  # type: ignore[no-untyped-call]
        self._policy = tls_policy(certificates.ca_certificate, verify=True)
        self.agent: Any = Agent(reactor, self._policy, pool=self._pool)  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        await self._pool.closeCachedConnections()  # type: ignore[no-untyped-call]
        await self.server.stop()

    def pass_time(self, span: timedelta) -> None:
        """Let time pass, in steps as timers need them."""
        for _ in range(int(span.total_seconds())):
            self.now += timedelta(seconds=1)
            self.clock.advance(1)

    def book(self, room: str = ROOM, minutes: float = 60, **fields: Any) -> Any:
        start = NOW + timedelta(minutes=minutes)
        fields = {"subject": "Weekly", "organizer": ADA, **fields}
        return self.calendars.book(room, start, start + timedelta(minutes=30), **fields)

    async def request(self, body: str | bytes, *, headers: dict[str, str] | None = None, username: str = "",
                      password: str = "right", path: str = "/EWS/Exchange.asmx", method: str = "POST",
                      authorization: str | None = None) -> Any:
        """The response, without its body."""
        if authorization is None:
            text = f"{username or ACCOUNT.username}:{password}"
            authorization = f"Basic {base64.b64encode(text.encode()).decode()}"
        sent = {"Content-Type": "text/xml; charset=utf-8", "Authorization": authorization, **(headers or {})}
        return await treq.request(method, f"https://localhost:{self.port}{path}", headers={
            k: v for k, v in sent.items() if v}, data=body if isinstance(body, bytes) else body.encode(),
            agent=self.agent, browser_like_redirects=False, unbuffered=True)

    async def ask(self, operation: str, **more: Any) -> etree._Element:
        """The child of Body in an answer with status 200, held against the schema."""
        response = await self.request(envelope(operation, **_taken(more)), **more)
        body = await treq.content(response)
        assert response.code == 200, (response.code, body)
        answer = etree.fromstring(body)[-1][0]
        check_body(answer)
        return answer

    async def fault(self, operation: str, **more: Any) -> tuple[str, etree._Element]:
        """The response code of a Fault, and the Fault."""
        response = await self.request(envelope(operation, **_taken(more)), **more)
        body = await treq.content(response)
        assert response.code == 500, (response.code, body)
        fault = etree.fromstring(body)[-1][0]
        (code,) = fault.iterfind(".//e:ResponseCode", NAMESPACES)
        return code.text or "", fault

    async def stream(self, ids: list[str], minutes: int = 1, **more: Any) -> Reading:
        """A GetStreamingEvents that is open."""
        listed = "".join(f"<t:SubscriptionId>{i}</t:SubscriptionId>" for i in ids)
        operation = (f"<m:GetStreamingEvents><m:SubscriptionIds>{listed}</m:SubscriptionIds>"
                     f"<m:ConnectionTimeout>{minutes}</m:ConnectionTimeout></m:GetStreamingEvents>")
        response = await self.request(envelope(operation, **_taken(more)), **more)
        assert response.code == 200
        reading = Reading(response)
        reading.ended = treq.collect(response, reading.received)
        reading.ended.addErrback(lambda _: None)
        return reading


class Reading:
    """Envelopes as they come."""

    ended: Any

    def __init__(self, response: Any) -> None:
        self._data = b""
        self._response = response

    def pause(self) -> None:
        """Read no more for now."""
        self._response.original._transport.pauseProducing()

    def resume(self) -> None:
        """Read on."""
        self._response.original._transport.resumeProducing()

    def leave(self) -> None:
        """Go away in the middle."""
        self._response.original._transport.loseConnection()

    def received(self, data: bytes) -> None:
        self._data += data

    @property
    def messages(self) -> list[etree._Element]:
        parts = self._data.split(b"</Envelope>")[:-1]
        return [etree.fromstring(part + b"</Envelope>")[-1][0] for part in parts]

    async def until(self, holds: Callable[[str], bool]) -> str:
        """The text of all that came, once that holds."""
        for _ in range(2000):
            text = self._data.decode()
            if holds(text):
                for message in self.messages:
                    check_body(message)
                return text
            await deferLater(reactor, 0.005)
        raise AssertionError(self._data)


def _taken(more: dict[str, Any]) -> dict[str, Any]:
    return {key: more.pop(key) for key in ("room", "version", "header") if key in more}


def envelope(operation: str, *, room: str = ROOM, version: str = "Exchange2013_SP1", header: str = "") -> str:
    impersonation = ("<t:ExchangeImpersonation><t:ConnectingSID><t:PrimarySmtpAddress>"
                     f"{room}</t:PrimarySmtpAddress></t:ConnectingSID></t:ExchangeImpersonation>") if room else ""
    return (f'<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="{NAMESPACES["s"]}" '
            f'xmlns:m="{NAMESPACES["m"]}" xmlns:t="{NAMESPACES["t"]}"><s:Header>'
            f'<t:RequestServerVersion Version="{version}"/>{impersonation}{header}</s:Header>'
            f"<s:Body>{operation}</s:Body></s:Envelope>")


def subscribe(kind: str = "Streaming", *, events: str = "Created Modified Deleted", more: str = "") -> str:
    types = "".join(f"<t:EventType>{e}Event</t:EventType>" for e in events.split())
    return (f"<m:Subscribe><m:{kind}SubscriptionRequest><t:FolderIds><t:DistinguishedFolderId Id='calendar'/>"
            f"</t:FolderIds><t:EventTypes>{types}</t:EventTypes>{more}</m:{kind}SubscriptionRequest></m:Subscribe>")


@asynccontextmanager
async def world(certificates: Certificates, **settings: Any) -> AsyncIterator[World]:
    made = World(certificates, **settings)
    try:
        yield made
    finally:
        await made.close()


async def in_thread(job: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a client that blocks."""
    return await deferToThread(job, *arguments)


