"""An Exchange that says what a test wrote, over real TLS; every request is held against the published schema."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from lxml import etree
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from otjd.gather.exchange_autodiscover import FixedPlace
from otjd.gather.exchange_client import ExchangeClient
from otjd.gather.exchange_login import BasicLogin, Gate
from otjd.outbound.client import HttpClient
from tests.outbound.servers import Certificates, Web, reactor, web
from tests.protocol.test_ews_client import answer
from tests.serve.ews_support import schema

ACCOUNT = "EXAMPLE\\svc-otj"
PASSWORD = "correct horse"
PATH = "/EWS/Exchange.asmx"
Reply = Callable[[Any, etree._Element], bytes | None]


def response(operation: str, *inside: str, kind: str = "Success", code: str = "NoError") -> bytes:
    """An answer of one message for each of `inside`."""
    each = "".join(f'<m:{operation}ResponseMessage ResponseClass="{kind}"><m:ResponseCode>{code}</m:ResponseCode>'
                   f"{one}</m:{operation}ResponseMessage>" for one in inside or ("",))
    return answer(f"<m:{operation}Response><m:ResponseMessages>{each}</m:ResponseMessages>"
                  f"</m:{operation}Response>")


def refused(operation: str, code: str) -> bytes:
    return response(operation, kind="Error", code=code)


def listed(*items: tuple[str, str], is_last: bool = True, more: str = "") -> bytes:
    """FindItem's answer with items of id and ChangeKey."""
    each = "".join(f'<t:CalendarItem><t:ItemId Id="{one}" ChangeKey="{key}"/>{more}</t:CalendarItem>'
                   for one, key in items)
    last = str(is_last).lower()
    return response("FindItem", f'<m:RootFolder IncludesLastItemInRange="{last}"><t:Items>{each}</t:Items>'
                                "</m:RootFolder>")


def told(root: etree._Element, body: str = "", more: str = "") -> bytes:
    """GetItem's answer: a meeting for each id that was asked for."""
    ids = [str(one.get("Id")) for one in root.iterfind(".//{*}ItemId")]
    return response("GetItem", *(
        f'<m:Items><t:CalendarItem><t:ItemId Id="{one}"/><t:Subject>Meeting {one}</t:Subject>{body}'
        f"<t:UID>uid-{one}</t:UID><t:Start>2026-03-02T08:00:00Z</t:Start><t:End>2026-03-02T09:00:00Z</t:End>{more}"
        "</t:CalendarItem></m:Items>" for one in ids))


@dataclass
class Scripted:
    """Answers requests by operation; `asked` are the operations, with the requests, in order.

    FindItem without a CalendarView, which asks for series, is called FindSeries.
    """

    replies: dict[str, Reply | bytes] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    passwords: list[str] = field(default_factory=list)
    password: str = PASSWORD
    offers: tuple[str, ...] = ("Negotiate", "NTLM", 'Basic realm="exchange"')

    def __call__(self, request: Any) -> bytes | None:
        sent = request.getPassword().decode()
        if sent:
            self.passwords.append(sent)
        if sent != self.password:
            request.setResponseCode(401)
            request.responseHeaders.setRawHeaders("WWW-Authenticate", list(self.offers))
            return b""
        request.setHeader("Content-Type", "text/xml; charset=utf-8")
        root = etree.fromstring(request.body)[-1][0]
        name = etree.QName(root).localname.removesuffix("Request")
        if root.find("{*}IndexedPageItemView") is not None:
            name = "FindSeries"
        if (validator := schema()) is not None and name != "GetUserAvailability":
            validator.assertValid(root)
        self.asked.append((name, request))
        reply = self.replies.get(name, listed()) if name == "FindSeries" else self.replies[name]
        found = reply if isinstance(reply, bytes) else reply(request, root)
        if found is not None and b"Fault>" in found:
            request.setResponseCode(500)
        return found

    @property
    def operations(self) -> list[str]:
        return [name for name, _ in self.asked]


@dataclass
class World:
    """The server, and a client of it."""

    exchange: Scripted
    client: ExchangeClient
    clock: Clock
    web: Web
    url: str
    spent: list[int]


@asynccontextmanager
async def world(certificates: Certificates, **replies: Reply | bytes) -> AsyncIterator[World]:
    exchange = Scripted(dict(replies))
    spent: list[int] = []
    clock = Clock()
    http = HttpClient(reactor, ca_file=certificates.ca_file, connections_per_host=20)
    async with web(exchange, certificates.options()) as (server, port):
        url = f"https://localhost:{port}{PATH}"
        client = ExchangeClient(login=BasicLogin(http, Gate(clock, ACCOUNT), ACCOUNT, PASSWORD),
                                locator=FixedPlace(url), spend=spent.append, clock=clock, in_thread=deferToThread)
        try:
            yield World(exchange, client, clock, server, url, spent)
        finally:
            await http.close()
