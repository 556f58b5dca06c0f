"""Finding EWS: the hosts of a domain are all on loopback, by a client that looks names up in the test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from lxml import etree
from twisted.internet.task import Clock, deferLater

from otjd.gather.exchange_autodiscover import FAILURE_S, KEPT_S, RETRY_S, Autodiscover, FixedPlace, Place
from otjd.gather.exchange_login import Post
from otjd.gather.source import RoomError, SourceError, ThrottledError, UnauthorizedError, UnreachableError
from otjd.outbound.client import Answer, RequestError
from otjd.protocol.autodiscover import read_pox, write_pox
from otjd.seam import deferred
from tests.outbound.servers import reactor
from tests.protocol.test_autodiscover_client import response, user

ROOM = "room@example.com"
EWS = "https://mail.example.com/EWS/Exchange.asmx"
SOAP = "/autodiscover/autodiscover.svc"
FOUND = user(ExternalEwsUrl=EWS, GroupingInformation="g1")
Reply = Callable[[str, list[str]], Answer]


def says(*users: str, code: str = "NoError") -> Reply:
    """The same for each mailbox where there is one, in their order where there are more."""
    return lambda _, rooms: Answer(200, response(*(users * len(rooms) if len(users) == 1 else users), code=code))


def redirects(target: str, status: int = 302) -> Answer:
    return Answer(status, b"", {"location": target})


@dataclass
class Net:
    """Hosts by URL. What is asked without a sign-in is answered by 401 where there is a service."""

    services: dict[str, Reply | Answer] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    signed_in: list[str] = field(default_factory=list)
    refuses: bool = False
    records: dict[str, tuple[str, int]] = field(default_factory=dict)

    async def request(self, method: str, url: str, **_: Any) -> Answer:
        self.asked.append((method, url))
        await deferLater(reactor, 0)
        service = self.services.get(url)
        if service is None:
            raise RequestError(f"{url}: the host name is not known to DNS")
        return service if isinstance(service, Answer) else Answer(401, b"")

    async def send(self, post: Post) -> Answer:
        self.signed_in.append(post.url)
        await deferLater(reactor, 0)
        if self.refuses:
            raise UnauthorizedError("wrong")
        service = self.services.get(post.url)
        if service is None:
            raise UnreachableError("away")
        if isinstance(service, Answer):
            return service
        if post.url.endswith("xml"):
            return service(post.url, [read_pox(post.body).email])
        rooms = [one.text or "" for one in etree.fromstring(post.body).iterfind(".//{*}Mailbox")]
        return service(post.url, rooms)

    async def look_up(self, name: str) -> tuple[str, int]:
        if name not in self.records:
            raise LookupError(f"DNS has no SRV record {name}")
        return self.records[name]

    async def close(self) -> None:
        """Nothing is open."""

    @property
    def hosts(self) -> set[str]:
        """Those that saw the account's name and password."""
        return {urlsplit(url).hostname or "" for url in self.signed_in}


@dataclass
class World:
    net: Net
    clock: Clock
    spent: list[int]
    finder: Autodiscover

    async def place(self, room: str = ROOM) -> Place:
        return await self.finder.locate(room)


def world(services: dict[str, Reply | Answer], urls: tuple[str, ...] = (),
          account: str = "svc@example.com") -> World:
    net, clock, spent = Net(dict(services)), Clock(), list[int]()
    http: Any = net
    return World(net, clock, spent, Autodiscover(login=net, http=http, urls=urls, account=account, clock=clock,
                                                 spend=spent.append, look_up=net.look_up))


@pytest.mark.parametrize("base", ["https://example.com", "https://autodiscover.example.com"])
async def test_the_hosts_of_the_mail_domain_are_tried(base: str) -> None:
    made = world({base + SOAP: says(FOUND)})
    assert await made.place() == Place(EWS, "g1")
    assert made.net.signed_in == [base + SOAP]


async def test_the_operators_urls_come_first() -> None:
    url = "https://exchange.hosted.example.net" + SOAP
    made = world({url: says(FOUND), "https://example.com" + SOAP: says(FOUND)}, urls=(url,))
    await made.place()
    assert made.net.asked == [("POST", url)]


async def test_plain_http_leads_on_without_a_sign_in() -> None:
    target = "https://mail.example.com/autodiscover/autodiscover.xml"
    service = target.replace(".xml", ".svc")
    made = world({"http://autodiscover.example.com/autodiscover/autodiscover.xml": redirects(target),
                  service: says(FOUND)})
    assert (await made.place()).url == EWS
    assert made.net.signed_in == [service]


@pytest.mark.parametrize(("port", "shown"), [(443, ""), (8443, ":8443")])
async def test_a_service_record_names_the_host(port: int, shown: str) -> None:
    made = world({f"https://mail.example.com{shown}{SOAP}": says(FOUND)})
    made.net.records["_autodiscover._tcp.example.com"] = ("mail.example.com", port)
    assert (await made.place()).url == EWS


async def test_a_service_record_never_takes_the_password_to_a_stranger() -> None:
    made = world({"https://evil.example.net" + SOAP: says(FOUND)})
    made.net.records["_autodiscover._tcp.example.com"] = ("evil.example.net", 443)
    with pytest.raises(UnreachableError, match="in no domain"):
        await made.place()
    assert not made.net.signed_in


@pytest.mark.parametrize("target", [
    "https://evil.example.net/autodiscover/autodiscover.xml", "http://mail.example.com/autodiscover/autodiscover.xml",
    "https://notexample.com/x.svc", "https://example.com@evil.example.net/x.svc", "ftp://example.com/", "", "https://["])
async def test_a_redirect_never_takes_the_password_to_a_stranger(target: str) -> None:
    for services in (
            {"http://autodiscover.example.com/autodiscover/autodiscover.xml": redirects(target)},
            {"https://example.com" + SOAP: redirects(target, 307)},
            {"https://example.com" + SOAP: says(user("RedirectUrl", target))}):
        made = world({**services, target: says(FOUND)})
        with pytest.raises(SourceError, match=r"not https|in no domain|leads"):
            await made.place()
        assert made.net.hosts <= {"example.com"}


def moved(target: str) -> Reply:
    """A service that leads on those who have signed in."""
    return lambda *_: redirects(target)


@pytest.mark.parametrize("target", [
    "https://mail.example.com" + SOAP, "//mail.example.com" + SOAP,
    "https://mail.example.com/autodiscover/autodiscover.xml"])
async def test_a_redirect_after_the_sign_in_is_followed(target: str) -> None:
    made = world({"https://example.com" + SOAP: moved(target), "https://mail.example.com" + SOAP: says(FOUND)})
    assert (await made.place()).url == EWS
    assert made.net.signed_in == ["https://example.com" + SOAP, "https://mail.example.com" + SOAP]
    made.clock.advance(KEPT_S)
    await made.place()
    assert made.net.signed_in[2:] == ["https://mail.example.com" + SOAP], "where it led to is kept"


async def test_a_redirect_after_the_sign_in_goes_to_no_stranger_and_not_round() -> None:
    stranger = "https://evil.example.net" + SOAP
    made = world({"https://example.com" + SOAP: moved(stranger), stranger: says(FOUND)})
    with pytest.raises(UnreachableError, match="in no domain"):
        await made.place()
    assert made.net.hosts == {"example.com"}
    made = world({"https://example.com" + SOAP: moved("https://example.com" + SOAP)})
    with pytest.raises(UnreachableError, match="more than 5 times"):
        await made.place()


async def test_a_redirect_may_be_relative() -> None:
    made = world({"https://example.com" + SOAP: redirects("/other" + SOAP),
                  "https://example.com/other" + SOAP: says(FOUND)})
    assert (await made.place()).url == EWS


async def test_a_host_that_the_operator_named_may_be_led_to() -> None:
    target = "https://exchange.hosted.example.net" + SOAP
    made = world({"https://example.com" + SOAP: says(user("RedirectUrl", target)), target: says(FOUND)},
                 urls=("https://exchange.hosted.example.net/none.svc",))
    assert (await made.place()).url == EWS


async def test_another_address_is_asked_for_instead() -> None:
    def by_address(_: str, rooms: list[str]) -> Answer:
        return Answer(200, response(*(FOUND if one.endswith("@eu.example.com") else
                                      user("RedirectAddress", "room@eu.example.com") for one in rooms)))

    made = world({"https://example.com" + SOAP: by_address,
                  "https://autodiscover.eu.example.com" + SOAP: by_address})
    assert (await made.place()).url == EWS
    assert made.net.hosts == {"example.com", "autodiscover.eu.example.com"}


async def test_an_address_of_a_strange_domain_is_not_looked_for_there() -> None:
    made = world({"https://example.com" + SOAP: says(user("RedirectAddress", "room@evil.example.net")),
                  "https://evil.example.net" + SOAP: says(FOUND)})
    with pytest.raises(SourceError, match=r"evil\.example\.net"):
        await made.place()
    assert made.net.hosts == {"example.com"}
    assert not any("evil" in url for _, url in made.net.asked)


async def test_a_circle_is_noticed() -> None:
    made = world({"https://example.com" + SOAP: says(user("RedirectAddress", ROOM))})
    with pytest.raises(RoomError, match="in a circle"):
        await made.place()


async def test_many_rooms_are_asked_for_at_once_and_each_gets_its_own_answer() -> None:
    def each(_: str, rooms: list[str]) -> Answer:
        return Answer(200, response(*(user("InvalidUser") if one.startswith("r7@") else
                                      user(ExternalEwsUrl=f"https://{one.partition('@')[0]}.example.com/ews")
                                      for one in rooms)))

    made = world({"https://example.com" + SOAP: each})
    rooms = [f"r{n}@example.com" for n in range(150)]
    asked = [deferred(made.finder.locate(room)) for room in rooms]
    for n, one in enumerate(asked):
        if n == 7:
            with pytest.raises(RoomError, match="knows no such mailbox"):
                await one
        else:
            assert (await one).url == f"https://r{n}.example.com/ews"
    assert len(made.net.signed_in) <= 4
    assert sum(made.spent) == len(made.net.signed_in) + len(made.net.asked)


async def test_what_was_found_is_kept_for_a_day() -> None:
    made = world({"https://example.com" + SOAP: says(FOUND)})
    await made.place()
    made.clock.advance(KEPT_S - 1)
    await made.place()
    assert len(made.net.signed_in) == 1
    made.clock.advance(1)
    await made.place()
    assert len(made.net.signed_in) == 2


async def test_the_internal_url_is_next_when_the_external_one_fails_and_then_autodiscover() -> None:
    both = user(ExternalEwsUrl=EWS, InternalEwsUrl="https://inside.example.com/EWS/Exchange.asmx")
    made = world({"https://example.com" + SOAP: says(both)})
    assert (await made.place()).url == EWS
    made.finder.failed(ROOM)
    assert (await made.place()).url.startswith("https://inside")
    made.finder.failed(ROOM)
    assert (await made.place()).url == EWS
    assert len(made.net.signed_in) == 1, "it was asked a moment ago"
    made.clock.advance(RETRY_S)
    for _ in range(2):
        made.finder.failed(ROOM)
    await made.place()
    assert len(made.net.signed_in) == 2
    made.finder.failed("unknown@example.com")


async def test_a_service_that_goes_away_is_looked_for_anew() -> None:
    made = world({"https://example.com" + SOAP: says(FOUND)})
    await made.place()
    made.net.services = {"https://autodiscover.example.com" + SOAP: says(FOUND)}
    assert (await made.place("other@example.com")).url == EWS


async def test_a_domain_without_a_service_says_what_was_tried_and_is_left_alone_for_a_while() -> None:
    made = world({})
    with pytest.raises(UnreachableError, match="ews_url") as caught:
        await made.place()
    assert str(caught.value).count("not known to DNS") == 3
    before = len(made.net.asked)
    with pytest.raises(UnreachableError):
        await made.place("other@example.com")
    assert len(made.net.asked) == before
    made.clock.advance(FAILURE_S)
    with pytest.raises(UnreachableError):
        await made.place()
    assert len(made.net.asked) > before


async def test_a_refused_password_is_not_taken_to_the_next_candidate() -> None:
    made = world({"https://example.com" + SOAP: says(FOUND),
                  "https://autodiscover.example.com" + SOAP: says(FOUND)})
    made.net.refuses = True
    with pytest.raises(UnauthorizedError):
        await made.place()
    assert len(made.net.signed_in) == 1


@pytest.mark.parametrize("page", [
    Answer(403, b""), Answer(200, b"<!DOCTYPE html><title>Welcome</title>", {"content-type": "text/html"}),
    Answer(200, b"")])
async def test_a_web_site_that_asks_for_no_sign_in_gets_none(page: Answer) -> None:
    made = world({"https://example.com" + SOAP: page,
                  "https://example.com/autodiscover/autodiscover.xml": page,
                  "https://autodiscover.example.com" + SOAP: says(FOUND)})
    await made.place()
    assert made.net.hosts == {"autodiscover.example.com"}


@pytest.mark.parametrize("soap", [Answer(404, b""), lambda *_: Answer(404, b"")])
async def test_a_server_with_the_older_form_alone_is_asked_in_it(soap: Reply | Answer) -> None:
    """It may say so at once, or only to those who have signed in."""
    pox = "https://example.com/autodiscover/autodiscover.xml"
    made = world({"https://example.com" + SOAP: soap,
                  pox: lambda _, rooms: Answer(200, write_pox(email=rooms[0], ews_url=EWS))})
    assert await made.place() == Place(EWS)
    assert made.net.signed_in[-1] == pox
    before = len(made.net.signed_in)
    await made.place("other@example.com")
    assert made.net.signed_in[before:] == [pox]


async def test_a_busy_service_asks_for_patience() -> None:
    made = world({"https://example.com" + SOAP: says(user("ServerBusy"))})
    with pytest.raises(ThrottledError):
        await made.place()


async def test_who_gives_up_waiting_disturbs_nobody() -> None:
    made = world({"https://example.com" + SOAP: says(FOUND)})
    first, second = deferred(made.finder.locate(ROOM)), deferred(made.finder.locate(ROOM))
    first.addErrback(lambda _: None)
    first.cancel()
    assert (await second).url == EWS


async def test_one_url_for_all_needs_no_search() -> None:
    place = FixedPlace(EWS)
    place.failed(ROOM)
    assert await place.locate(ROOM) == Place(EWS)
