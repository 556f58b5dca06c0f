"""Where the mailboxes of rooms are: Autodiscover, asked for many rooms at once, and kept for a day."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeVar
from urllib.parse import urljoin, urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from otjd.gather.exchange_login import Login, Post
from otjd.gather.service_records import Lookup
from otjd.gather.source import RoomError, SourceError, Spend, ThrottledError, UnreachableError
from otjd.outbound.client import Answer, HttpClient, RequestError
from otjd.protocol import autodiscover_client as wire
from otjd.protocol.autodiscover_client import Outcome, Settings
from otjd.protocol.ews_client import EwsError, UnreadableAnswerError
from otjd.seam import deferred

T = TypeVar("T")

KEPT_S = 86400.0
RETRY_S = 300.0
"""How long what was found is kept although its server does not answer."""

FAILURE_S = 60.0
"""How long a domain is left alone whose service was not found."""

REDIRECTS = 5
HTTPS = 443
PROBE_LIMIT_S = 20.0
PROBE_ANSWER_LIMIT = 1024 * 1024
_SRV = "_autodiscover._tcp"
_REDIRECTED = (301, 302, 303, 307, 308)
_ABSENT = (404, 405, 410, 501)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a mailbox is; `grouping` is what mailboxes that share a stream have in common."""

    url: str
    grouping: str = ""


class Locator(Protocol):
    """Knows where mailboxes are."""

    async def locate(self, room: str) -> Place:
        """Where this one is.

        :raises SourceError: it cannot be told; RoomError where that concerns this room alone.
        """
        ...

    def failed(self, room: str) -> None:
        """The server of this mailbox did not answer."""
        ...


class FixedPlace:
    """All mailboxes are behind one URL."""

    def __init__(self, url: str) -> None:
        self._place = Place(url)

    async def locate(self, _: str) -> Place:
        """See Locator."""
        return self._place

    def failed(self, room: str) -> None:
        """See Locator; there is no other place."""


class _AbsentError(UnreachableError):
    """The server has no such service."""


class _MovedError(UnreachableError):
    """The server, which was signed in to, leads to the URL `target`."""

    def __init__(self, url: str, target: str) -> None:
        super().__init__(f"{url} leads to {target[:100]}")
        self.target = target


@dataclass(slots=True)
class _Known:
    urls: tuple[str, ...]
    grouping: str
    found_at: float
    turn: int = 0


@dataclass(frozen=True, slots=True)
class _Service:
    """An Autodiscover service that answered; `is_soap` tells in which way."""

    url: str
    is_soap: bool = True


class Autodiscover:
    """Finds EWS for rooms: at the URLs of the operator first, then where their mail domain would have it.

    Redirects are followed to https only, and name and password go to no host but those of the operator's URLs and
    those inside the mail domains of the room and of the account. Of two URLs the external one is taken, and the
    internal one while that does not answer.
    """

    _log = Logger()

    def __init__(self, *, login: Login, http: HttpClient, urls: Sequence[str], account: str, clock: IReactorTime,
                 spend: Spend, look_up: Lookup) -> None:
        self._login = login
        self._http = http
        self._urls = tuple(urls)
        self._hosts = {_host(url) for url in urls}
        self._domain = _domain(account)
        self._clock = clock
        self._spend = spend
        self._look_up = look_up
        self._known: dict[str, _Known] = {}
        self._services: dict[str, _Service] = {}
        self._failures: dict[str, tuple[float, SourceError]] = {}
        self._waiting: dict[str, list[Deferred[Place]]] = {}
        self._is_asking = False

    async def locate(self, room: str) -> Place:
        """See Locator."""
        known = self._known.get(room)
        if known is not None and self._clock.seconds() - known.found_at < KEPT_S:
            return Place(known.urls[known.turn], known.grouping)
        waiting: Deferred[Place] = Deferred()
        self._waiting.setdefault(room, []).append(waiting)
        if not self._is_asking:
            self._is_asking = True
            deferred(self._work())
        return await waiting

    def failed(self, room: str) -> None:
        """See Locator: the other URL is next, or the question where the mailbox is."""
        known = self._known.get(room)
        if known is None:
            return
        known.turn += 1
        if known.turn == len(known.urls):
            known.turn = 0
            if self._clock.seconds() - known.found_at >= RETRY_S:
                del self._known[room]

    async def _work(self) -> None:
        """Ask for those who wait, as many as one request takes."""
        try:
            while self._waiting:
                domain = _domain(next(iter(self._waiting)))
                rooms = [room for room in self._waiting if _domain(room) == domain][:wire.MAILBOXES]
                self._answer(rooms, await self._settings(domain, rooms))
        finally:
            self._is_asking = False

    async def _settings(self, domain: str, rooms: Sequence[str]) -> Mapping[str, Place | SourceError]:
        found: dict[str, Place | SourceError] = {}
        try:
            answers = await self._ask(domain, rooms, rooms[0])
            for room in rooms:
                try:
                    found[room] = await self._place(room, answers[room])
                except SourceError as error:
                    found[room] = error
        except SourceError as error:
            return dict.fromkeys(rooms, error)
        except Exception:  # our own bug: whoever waits must not wait for ever
            self._log.failure("Autodiscover for {domain} failed", domain=domain)
            return dict.fromkeys(rooms, UnreachableError("Autodiscover failed; the log says why"))
        return found

    def _answer(self, rooms: Sequence[str], places: Mapping[str, Place | SourceError]) -> None:
        for room in rooms:
            place = places[room]
            for one in self._waiting.pop(room, ()):
                if one.called:
                    continue  # given up meanwhile
                if isinstance(place, Place):
                    one.callback(place)
                else:
                    one.errback(place)

    async def _place(self, room: str, settings: Settings) -> Place:
        """Follow what was said of a room to its end."""
        address, seen = room, {room.lower()}
        for _ in range(REDIRECTS):
            match settings.outcome:
                case Outcome.FOUND:
                    urls = tuple(dict.fromkeys(filter(None, (settings.external_url, settings.internal_url))))
                    self._known[room] = _Known(urls, settings.grouping, self._clock.seconds())
                    return Place(urls[0], settings.grouping)
                case Outcome.UNKNOWN:
                    raise RoomError(f"{room}: {settings.words}")
                case Outcome.BUSY:
                    raise ThrottledError(settings.words, timedelta(seconds=FAILURE_S))
            target = settings.target
            if target.lower() in seen or not target:
                raise RoomError(f"{room}: Autodiscover leads round in a circle, to {target[:100]}")
            seen.add(target.lower())
            if settings.outcome is Outcome.OTHER_ADDRESS:
                address = target
                answers = await self._ask(_domain(address), [address], room)
            else:
                self._check(target, room)
                answers, _ = await self._ask_at(target, [address], room)
            settings = answers[address]
        raise RoomError(f"{room}: Autodiscover leads on more than {REDIRECTS} times")

    def _is_own(self, host: str, room: str) -> bool:
        """Whether a host or domain lies in the mail domain of the room or of the account."""
        return any(host == own or host.endswith(f".{own}") for own in (_domain(room), self._domain) if own)

    def _check(self, url: str, room: str) -> None:
        """Refuse a redirect that must not be followed with credentials.

        :raises UnreachableError: it is one.
        """
        host = _host(url)
        if not url.lower().startswith("https://") or not host:
            raise UnreachableError(f"Autodiscover leads to {url[:100]}, which is not https: it is not followed")
        if host not in self._hosts and not self._is_own(host, room):
            raise UnreachableError(f"Autodiscover leads to the host {host[:100]}, which is in no domain of this "
                                   "integration: if it is yours, add its URL to autodiscover_urls")

    async def _ask(self, domain: str, addresses: Sequence[str], room: str) -> Mapping[str, Settings]:
        """Ask the service of a domain, which is looked for where it is not known, for the sake of a room.

        :raises SourceError: there is no answer.
        """
        service = self._services.get(domain)
        if service is not None:
            try:
                return await self._settings_of(service, addresses)
            except UnreachableError:
                del self._services[domain]
        at, failure = self._failures.get(domain, (0.0, None))
        if failure is not None and self._clock.seconds() - at < FAILURE_S:
            raise failure
        try:
            answers, self._services[domain] = await self._search(domain, addresses, room)
        except UnreachableError as error:
            self._failures[domain] = (self._clock.seconds(), error)
            raise
        return answers

    async def _search(self, domain: str, addresses: Sequence[str],
                      room: str) -> tuple[Mapping[str, Settings], _Service]:
        """Ask one candidate after the other."""
        problems: list[str] = []
        candidates = [*self._urls]
        if self._is_own(domain, room):
            candidates += [f"https://{domain}{wire.SOAP_PATH}", f"https://autodiscover.{domain}{wire.SOAP_PATH}",
                           f"http://autodiscover.{domain}{wire.POX_PATH}", f"{_SRV}.{domain}"]
        for url in dict.fromkeys(candidates):
            try:
                return await self._ask_at(await self._target(url, room), addresses, room)
            except UnreachableError as error:
                problems.append(str(error))
        raise UnreachableError(f"Autodiscover found no service for {domain or 'a room without a mail domain'}: "
                               f"{'; '.join(problems)}. Set ews_url, or autodiscover_urls")

    async def _target(self, candidate: str, room: str) -> str:
        """The URL that a candidate stands for."""
        if candidate.startswith("https://"):
            return candidate
        if candidate.startswith("http://"):
            return await self._redirected(candidate, room)
        try:
            host, port = await self._look_up(candidate)
        except LookupError as error:
            raise UnreachableError(str(error)) from error
        url = f"https://{host}{'' if port == HTTPS else f':{port}'}{wire.SOAP_PATH}"
        self._check(url, room)
        return url

    async def _redirected(self, url: str, room: str) -> str:
        """Where the unencrypted host of a domain leads to; it is asked without credentials."""
        answer = await self._without_login("GET", url)
        if answer.status not in _REDIRECTED:
            raise UnreachableError(f"{url} leads nowhere (status {answer.status})")
        return self._moved(_target(url, answer), room)

    async def _ask_at(self, url: str, addresses: Sequence[str],
                      room: str) -> tuple[Mapping[str, Settings], _Service]:
        """Ask at a URL, where it asks for a sign-in; its redirects are followed.

        :raises SourceError: there is no answer.
        """
        for _ in range(REDIRECTS):
            answer = await self._without_login("POST", url, wire.get_user_settings(url, addresses))
            if answer.status in _REDIRECTED:
                url = self._moved(_target(url, answer), room)
                continue
            try:
                if answer.status in _ABSENT:
                    return await self._ask_in_older_form(url, addresses)
                service = _Service(url)
                self._check_service(service, answer, addresses)
                try:
                    return await self._settings_of(service, addresses), service
                except _AbsentError:
                    return await self._ask_in_older_form(url, addresses)
            except _MovedError as moved:
                url = self._moved(moved.target, room)
        raise UnreachableError(f"{url} leads on more than {REDIRECTS} times")

    def _moved(self, target: str, room: str) -> str:
        self._check(target, room)
        return _soap_of(target)

    async def _ask_in_older_form(self, url: str,
                                 addresses: Sequence[str]) -> tuple[Mapping[str, Settings], _Service]:
        """Ask beside a URL where there is no SOAP service."""
        service = _Service(_pox_of(url), is_soap=False)
        answer = await self._without_login("POST", service.url, wire.get_settings_pox(addresses[0]))
        if answer.status in _REDIRECTED:
            raise _MovedError(service.url, _target(service.url, answer))
        self._check_service(service, answer, addresses)
        return await self._settings_of(service, addresses), service

    @staticmethod
    def _check_service(service: _Service, answer: Answer, addresses: Sequence[str]) -> None:
        """Refuse what is none, before it is signed in to: many a web site has a page for every address."""
        if answer.status not in (200, 401):
            raise UnreachableError(f"{service.url} is no Autodiscover service (status {answer.status})")
        try:
            if answer.status == 200:
                _read_soap(answer, addresses) if service.is_soap else _read_pox(answer)
        except UnreadableAnswerError as error:
            raise UnreachableError(f"{service.url} is no Autodiscover service: {error}") from error
        except EwsError:
            return  # it says so as a service does

    async def _settings_of(self, service: _Service, addresses: Sequence[str]) -> Mapping[str, Settings]:
        if service.is_soap:
            return await self._read(service, wire.get_user_settings(service.url, addresses),
                                    lambda answer: _read_soap(answer, addresses))
        return {one: await self._read(service, wire.get_settings_pox(one), _read_pox) for one in addresses}

    async def _read(self, service: _Service, body: bytes, read: Callable[[Answer], T]) -> T:
        self._spend(1)
        answer = await self._login.send(Post(service.url, body))
        if answer.status in _ABSENT:
            raise _AbsentError(f"{service.url} is not there (status {answer.status})")
        if answer.status in _REDIRECTED:
            raise _MovedError(service.url, _target(service.url, answer))
        if answer.status != 200:
            raise UnreachableError(f"{service.url} answers with status {answer.status}")
        try:
            return read(answer)
        except (EwsError, UnreadableAnswerError) as error:
            raise UnreachableError(f"{service.url}: {error}") from error

    async def _without_login(self, method: str, url: str, body: bytes | None = None) -> Answer:
        self._spend(1)
        try:
            return await self._http.request(
                method, url, headers={"Content-Type": "text/xml; charset=utf-8"}, body=body,
                timeout_s=PROBE_LIMIT_S, limit=PROBE_ANSWER_LIMIT, repeatable=True)
        except RequestError as error:
            raise UnreachableError(str(error)) from error


def _read_soap(answer: Answer, addresses: Sequence[str]) -> Mapping[str, Settings]:
    return wire.read_user_settings(answer.body, answer.headers.get("content-type", ""), addresses)


def _read_pox(answer: Answer) -> Settings:
    return wire.read_settings_pox(answer.body, answer.headers.get("content-type", ""))


def _target(url: str, answer: Answer) -> str:
    """Where a redirect leads to; its Location may be relative (RFC 9110 10.2.2)."""
    location = answer.headers.get("location", "")
    try:
        return urljoin(url, location) if location else ""
    except ValueError:
        return location


def _domain(address: str) -> str:
    return address.rpartition("@")[2].strip().lower() if "@" in address else ""


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _soap_of(url: str) -> str:
    return url[:-3] + "svc" if url.lower().endswith(".xml") else url


def _pox_of(url: str) -> str:
    return url[:-3] + "xml" if url.lower().endswith(".svc") else url
