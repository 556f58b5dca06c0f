"""A small calendar service for the simulated Poly endpoint: canned items, three ways to log in."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import spnego
from lxml import etree
from twisted.internet import reactor as global_reactor
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from otjd.simulate.codec_http import Connections
from otjd.simulate.poly_requests import MESSAGES, TYPES

reactor: Any = global_reactor
USER, PASSWORD = "boardroom", "s3cret Ä"
Answer = Callable[[str], tuple[int, str]]


def item(item_id: str = "QUJD", change_key: str = "REVG", *, without: str = "", **changes: str) -> str:
    """A `t:CalendarItem` in the order of the schema; `without` names an element to leave out."""
    elements = {
        "ItemId": f'<t:ItemId Id="{item_id}" ChangeKey="{change_key}"/>',
        "ItemClass": "<t:ItemClass>IPM.Appointment</t:ItemClass>", "Subject": "<t:Subject>Weekly</t:Subject>",
        "Sensitivity": "<t:Sensitivity>Normal</t:Sensitivity>", "Body": '<t:Body BodyType="Text">Hello</t:Body>',
        "UID": "<t:UID>0400</t:UID>", "Start": "<t:Start>2026-03-02T12:00:00Z</t:Start>",
        "End": "<t:End>2026-03-02T12:45:00Z</t:End>",
        "Location": "<t:Location>sip:weekly@video.example.com</t:Location>",
        "IsCancelled": "<t:IsCancelled>false</t:IsCancelled>",
        "MyResponseType": "<t:MyResponseType>Accept</t:MyResponseType>",
        "Organizer": "<t:Organizer><t:Mailbox><t:Name>Ada</t:Name></t:Mailbox></t:Organizer>", **changes}
    elements.pop(without, None)
    return f"<t:CalendarItem>{''.join(elements.values())}</t:CalendarItem>"


def message(operation: str, content: str, *, response_class: str = "Success", code: str = "NoError") -> str:
    text = "" if code == "NoError" else "<m:MessageText>It failed.</m:MessageText>"
    return (f'<m:{operation}ResponseMessage ResponseClass="{response_class}">{text}'
            f"<m:ResponseCode>{code}</m:ResponseCode>{content}</m:{operation}ResponseMessage>")


def answer(operation: str, *messages: str) -> str:
    return (f'<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">'
            f'<s:Body><m:{operation}Response xmlns:m="{MESSAGES}" xmlns:t="{TYPES}"><m:ResponseMessages>'
            f"{''.join(messages)}</m:ResponseMessages></m:{operation}Response></s:Body></s:Envelope>")


def found(*items: str) -> str:
    folder = f'<m:RootFolder TotalItemsInView="{len(items)}"><t:Items>{"".join(items)}</t:Items></m:RootFolder>'
    return answer("FindItem", message("FindItem", folder))


def read(*items: str) -> str:
    return answer("GetItem", *(message("GetItem", f"<m:Items>{i}</m:Items>") for i in items))


def fault(code: str) -> str:
    return ('<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault>'
            f"<faultcode>a:{code}</faultcode><faultstring>Not now.</faultstring><detail>"
            f'<e:ResponseCode xmlns:e="http://schemas.microsoft.com/exchange/services/2006/errors">{code}'
            "</e:ResponseCode></detail></s:Fault></s:Body></s:Envelope>")


class EwsDouble(Resource):
    """Serves `items` by id, or whatever `answers` gives for an operation. `seen` are the documents asked with."""

    def __init__(self, scheme: str = "none") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.isLeaf = True
        self.items: dict[str, str] = {}
        self.answers: dict[str, Answer] = {}
        self.seen: list[tuple[str, etree._Element]] = []
        self.authorizations: list[str] = []
        self.empty_bodies = 0
        self.challenges: dict[str, list[str]] = {"basic": ['Basic realm="r"'], "ntlm": ["NTLM"], "none": [],
                                                 "digest": []}
        self.scheme = scheme
        self.nonces = ["n0"]
        self.counts: set[str] = set()
        self.qop = ', qop="auth"'
        self.extra = ', opaque="o\\"o", algorithm=MD5'
        self.contexts: dict[Any, Any] = {}
        self.channels: set[Any] = set()
        self.is_silent = self.is_half_silent = False

    def calls(self, operation: str) -> list[etree._Element]:
        return [document for name, document in self.seen if name == operation]

    def render(self, request: Request) -> Any:
        content = request.content
        assert content is not None
        body = content.read()
        self.empty_bodies += not body
        self.channels.add(request.channel)
        if self.is_silent:
            return NOT_DONE_YET
        authorization = request.getHeader("authorization") or ""
        self.authorizations.append(authorization)
        challenges = getattr(self, f"_{self.scheme}")(authorization, request)
        if challenges is not None:
            request.setResponseCode(401)
            request.responseHeaders.setRawHeaders("WWW-Authenticate", challenges)
            return b""
        status, text = self._answer(body)
        request.setResponseCode(status)
        if self.is_half_silent:
            request.responseHeaders.setRawHeaders("Content-Length", ["100"])
            request.write(b"<half>")  # type: ignore[no-untyped-call]
            return NOT_DONE_YET
        return text.encode()

    def _answer(self, body: bytes) -> tuple[int, str]:
        root = etree.fromstring(body)
        operation = etree.QName(root[-1][0]).localname
        self.seen.append((operation, root))
        if operation in self.answers:
            return self.answers[operation](body.decode())
        if operation == "FindItem":
            return 200, found(*self.items.values())
        ids = [e.get("Id") or "" for e in root.iter(f"{{{TYPES}}}ItemId")]
        return 200, read(*(self.items[i] for i in ids))

    # --- None lets a request pass; else the challenges ---

    def _none(self, authorization: str, request: Request) -> list[str] | None:
        return None

    def _basic(self, authorization: str, request: Request) -> list[str] | None:
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return None if authorization == f"Basic {token}" else self.challenges["basic"]

    def _digest(self, authorization: str, request: Request) -> list[str] | None:
        def challenge(stale: str = "") -> list[str]:
            return [*self.challenges["digest"],
                    f'Digest realm="r \\"q\\"", nonce="{self.nonces[-1]}"{self.qop}{self.extra}{stale}']

        given = {m[1]: (m[2] or "").replace('\\"', '"') or m[3] for m in
                 re.finditer(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))', authorization)}
        if not authorization.startswith("Digest "):
            return challenge()
        if given["nonce"] != self.nonces[-1]:
            return challenge(", stale=true")

        def md5(text: str) -> str:
            return hashlib.md5(text.encode()).hexdigest()  # noqa: S324

        tail = (f":{given['nc']}:{given['cnonce']}:auth" if self.qop else "")
        secret, target = md5(f'{USER}:r "q":{PASSWORD}'), md5("POST:" + given["uri"])
        expected = md5(f"{secret}:{given['nonce']}{tail}:{target}")
        if given["response"] != expected or given["username"] != USER or given["uri"] != "/EWS/Exchange.asmx":
            return challenge()
        if self.qop:
            assert given["nc"] not in self.counts, "the count must rise"
            self.counts.add(given["nc"])
            assert given["qop"] == "auth"
        if self.extra:
            assert given["opaque"] == 'o"o'
        return None

    def _ntlm(self, authorization: str, request: Request) -> list[str] | None:
        context = self.contexts.get(request.channel)
        if context is not None and context.complete and not authorization:
            return None
        if not authorization.startswith("NTLM "):
            return self.challenges["ntlm"]
        token = base64.b64decode(authorization[5:])
        if context is None or context.complete:
            context = self.contexts[request.channel] = spnego.server(protocol="ntlm")
        try:
            reply = context.step(token)
        except spnego.exceptions.SpnegoError:
            del self.contexts[request.channel]
            return self.challenges["ntlm"]
        return None if context.complete else [f"NTLM {base64.b64encode(reply or b'').decode()}"]


@asynccontextmanager
async def serve(scheme: str, directory: Path) -> AsyncIterator[tuple[EwsDouble, str]]:
    """The double and its URL."""
    users = directory / "users"
    users.write_text(f":{USER}:{PASSWORD}\n")
    double = EwsDouble(scheme)
    site = Site(double, reactor=reactor)  # type: ignore[no-untyped-call]
    connections = Connections(site)
    port = reactor.listenTCP(0, connections, interface="127.0.0.1")
    with mock.patch.dict(os.environ, {"NTLM_USER_FILE": str(users)}):
        try:
            yield double, f"http://127.0.0.1:{port.getHost().port}/EWS/Exchange.asmx"
        finally:
            await port.stopListening()
            await connections.close()
            await deferLater(reactor, 0.01)
