"""A room with meetings behind the emulated Exchange, and answers that are held against Microsoft's schema."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from lxml import etree

from otjd.meetings.cache import MeetingCache
from otjd.meetings.model import Meeting, Organizer, Room, meeting_id
from otjd.protocol import ews_ids
from otjd.serve.calls import Account, Call, Reply
from otjd.serve.ews import EwsService, EwsSettings
from otjd.serve.ews_subscriptions import Subscriptions
from otjd.serve.join_details import JoinDetails

SCHEMAS = Path(__file__).parent.parent.parent.parent / "shared" / "ews-schema"
DATA = Path(__file__).parent.parent / "data" / "ews"
SOAP_11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP_12 = "http://www.w3.org/2003/05/soap-envelope"
NAMESPACES = {
    "s": SOAP_11, "m": "http://schemas.microsoft.com/exchange/services/2006/messages",
    "t": "http://schemas.microsoft.com/exchange/services/2006/types",
    "e": "http://schemas.microsoft.com/exchange/services/2006/errors"}
NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
ROOM = Room("boardroom@example.com", "default")
OTHER_ROOM = Room("lounge@example.com", "default")
UNKNOWN_ID = ews_ids.item_id("0" * 32)
ACCOUNT = Account("Boardroom-1", "secret", "Boardroom Group 500", ROOM)


@cache
def schema(name: str = "interop/messages.xsd") -> etree.XMLSchema | None:
    """One of the published schemas; None where they are not beside the checkout."""
    path = SCHEMAS / name
    return etree.XMLSchema(etree.parse(path)) if path.exists() else None


@cache
def availability_schema() -> etree.XMLSchema:
    """What the published schema lacks: the answer of GetUserAvailability, as it is documented."""
    return etree.XMLSchema(etree.parse(DATA / "availability_messages.xsd"))


def check_body(answer: etree._Element) -> None:
    """Hold the answer in a Body against the schema."""
    name = etree.QName(answer).localname
    if name == "GetUserAvailabilityResponse":
        availability_schema().assertValid(answer)
    elif (validator := schema()) is not None:
        if name == "GetUserConfigurationResponse":
            # the published schema leaves the level of ResponseMessages out, which the reference and clients have
            answer = deepcopy(answer)
            answer.tag = f"{{{NAMESPACES['m']}}}GetServerTimeZonesResponse"
        validator.assertValid(as_published(answer))


@cache
def known_codes() -> frozenset[str]:
    """Every response code of the schema; empty where it is not beside the checkout."""
    path = SCHEMAS / "interop" / "messages.xsd"
    if not path.exists():
        return frozenset()
    return frozenset(str(e.get("value")) for e in etree.parse(path).iterfind(
        ".//{http://www.w3.org/2001/XMLSchema}enumeration"))


def meeting(uid: str, start: datetime = NOW, minutes: float = 30, *, room: Room = ROOM, **more: Any) -> Meeting:
    more.setdefault("subject", uid.capitalize())
    more.setdefault("organizer", Organizer("Ada Berg", "ada@example.com"))
    return Meeting(id=meeting_id(room.email, uid, more.get("occurrence", "")), uid=uid, start_time=start,
                   end_time=start + timedelta(minutes=minutes), **more)


def random_bytes() -> Callable[[int], bytes]:
    numbers = count()
    return lambda n: hashlib.sha256(str(next(numbers)).encode()).digest()[:n]


def ticking() -> Any:
    ticks = count()
    return lambda: next(ticks) / 1e6


@dataclass
class Exchange:
    """The emulated Exchange with its cache; every answer that it gives is checked."""

    template: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    now: datetime = NOW

    def __post_init__(self) -> None:
        self.cache = MeetingCache()
        self.cache.configure({ROOM: timedelta(days=400), OTHER_ROOM: timedelta(days=400)})
        self.subscriptions = Subscriptions(self.cache, now=lambda: self.now, lasting=lambda: self.now,
                                           random_bytes=random_bytes())
        self.restart()

    def restart(self) -> None:
        """A new service over the same cache, as after a reload."""
        self.service = EwsService(self.cache, self.subscriptions, now=lambda: self.now, settings=EwsSettings(
            join_details=JoinDetails(self.template, clock=ticking()), **self.settings))

    def show(self, *meetings: Meeting, room: Room = ROOM) -> None:
        self.cache.replace(room, meetings, self.now)

    def post(self, body: str | bytes, *, account: Account = ACCOUNT, content_type: str = "text/xml; charset=utf-8",
             method: str = "POST", path: str = "/EWS/Exchange.asmx") -> Reply:
        octets = body.encode() if isinstance(body, str) else body
        reply = self.service(Call(account, "digest", method, path, "https://otj.example.com", content_type,
                                  octets))
        if method == "POST":
            check(reply)
        return reply

    def ask(self, operation: str, *, header: str = "", account: Account = ACCOUNT, version: str = "Exchange2013",
            ) -> etree._Element:
        """The ResponseMessages of a successful answer."""
        reply = self.post(envelope(operation, header=header, version=version), account=account)
        assert reply.status == 200, reply.body
        return body_of(reply)[0][0]

    def fault(self, operation: str, **more: Any) -> str:
        """The code of the fault that is the answer."""
        reply = self.post(envelope(operation, **more))
        assert reply.status == 500
        return reply.error


def busy_room() -> Exchange:
    """A room with three meetings, and another with one."""
    exchange = Exchange()
    exchange.show(meeting("now", NOW - timedelta(minutes=10)), meeting("later", NOW + timedelta(hours=2)),
                  meeting("tomorrow", NOW + timedelta(days=1)))
    exchange.show(meeting("theirs", room=OTHER_ROOM), room=OTHER_ROOM)
    return exchange


def envelope(operation: str, *, header: str = "", version: str = "Exchange2013", soap: str = SOAP_11) -> str:
    asked = f'<t:RequestServerVersion Version="{version}"/>' if version else ""
    return (f'<?xml version="1.0" encoding="utf-8"?>\n<s:Envelope xmlns:s="{soap}" xmlns:m="{NAMESPACES["m"]}" '
            f'xmlns:t="{NAMESPACES["t"]}"><s:Header>{asked}{header}</s:Header><s:Body>{operation}</s:Body>'
            "</s:Envelope>")


def body_of(reply: Reply) -> etree._Element:
    root = etree.fromstring(reply.body)
    body = root[-1]
    assert body.tag.endswith("}Body")
    return body


def check(reply: Reply) -> None:
    """Hold an answer against what every answer must be."""
    assert reply.content_type in ("text/xml; charset=utf-8", "application/soap+xml; charset=utf-8")
    root = etree.fromstring(reply.body)
    body = root[-1]
    if reply.status == 200:
        assert [e.tag for e in root[0]] == [f"{{{NAMESPACES['t']}}}ServerVersionInfo"]
        validator = schema()
        if validator is not None:
            validator.assertValid(root[0][0])
        check_body(body[0])
    else:
        assert len(root) == 1, "a fault has no header"
        (code,) = body.iterfind(".//e:ResponseCode", NAMESPACES)
        assert code.text == reply.error
        assert not known_codes() or code.text in known_codes()


def as_published(answer: etree._Element) -> etree._Element:
    """An answer with its streamed notifications where the schema has them: among the types.

    Exchange, and with it Microsoft's own client, exchangelib and ewsjs, has them among the messages.
    """
    moved = deepcopy(answer)
    for path in ("m:Notifications/m:Notification", "m:ErrorSubscriptionIds/m:SubscriptionId"):
        for element in moved.iterfind(f".//{path}", NAMESPACES):
            element.tag = f"{{{NAMESPACES['t']}}}{element.tag.rpartition('}')[2]}"
    return moved


TWO_HOURS_AGO, IN_A_WEEK = NOW - timedelta(hours=2), NOW + timedelta(days=7)


def calendar_view(start: datetime = TWO_HOURS_AGO, end: datetime = IN_A_WEEK, *,
                  folder: str = '<t:DistinguishedFolderId Id="calendar"/>', more: str = "",
                  shape: str = "") -> str:
    span = f'StartDate="{start:%Y-%m-%dT%H:%M:%SZ}" EndDate="{end:%Y-%m-%dT%H:%M:%SZ}"'
    return ('<m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape>'
            f"{shape}</m:ItemShape><m:CalendarView {more} {span}/>"
            f"<m:ParentFolderIds>{folder}</m:ParentFolderIds></m:FindItem>")


def page_view(view: str = "", *, restriction: str = "", order: str = "", folder: str = "calendar") -> str:
    shape = "<m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape>"
    return (f'<m:FindItem Traversal="Shallow">{shape}{view}'
            f'{restriction}{order}<m:ParentFolderIds><t:DistinguishedFolderId Id="{folder}"/>'
            "</m:ParentFolderIds></m:FindItem>")


def get_item(*ids: str, shape: str = "") -> str:
    refs = "".join(i if i.startswith("<") else f'<t:ItemId Id="{i}"/>' for i in ids)
    return (f"<m:GetItem><m:ItemShape><t:BaseShape>AllProperties</t:BaseShape>{shape}</m:ItemShape>"
            f"<m:ItemIds>{refs}</m:ItemIds></m:GetItem>")


def get_folder(*folders: str) -> str:
    refs = "".join(f if f.startswith("<") else f'<t:DistinguishedFolderId Id="{f}"/>' for f in folders)
    return ("<m:GetFolder><m:FolderShape><t:BaseShape>Default</t:BaseShape></m:FolderShape>"
            f"<m:FolderIds>{refs}</m:FolderIds></m:GetFolder>")


def page(**attributes: Any) -> str:
    inside = " ".join(f'{name}="{value}"' for name, value in attributes.items())
    return f"<m:IndexedPageItemView {inside}/>"


def convert(source: str, text: str, destination: str) -> str:
    return (f'<m:ConvertId DestinationFormat="{destination}"><m:SourceIds><t:AlternateId Format="{source}" '
            f'Id="{text}" Mailbox="blah@blah.com"/></m:SourceIds></m:ConvertId>')


def texts(element: etree._Element, path: str) -> list[str]:
    """The texts, or with `@` the attributes, at an XPath with the prefixes of answers."""
    found = element.xpath(path, namespaces=NAMESPACES)
    assert isinstance(found, list)
    return [str(f) if isinstance(f, str) else f.text or "" for f in found]  # type: ignore[union-attr]


def codes(messages: Iterable[etree._Element]) -> list[str]:
    return [texts(message, "m:ResponseCode")[0] for message in messages]


def subjects(messages: etree._Element) -> list[str]:
    return texts(messages, ".//t:Subject")


def pairs(messages: etree._Element) -> list[tuple[str, str]]:
    """Id and ChangeKey of every item."""
    return list(zip(texts(messages, ".//t:CalendarItem/t:ItemId/@Id"),
                    texts(messages, ".//t:CalendarItem/t:ItemId/@ChangeKey"), strict=True))


def account(**more: Any) -> Account:
    return replace(ACCOUNT, **more)
