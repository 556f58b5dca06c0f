"""Listeners: what is listened on for endpoints and for the operator, and what answers there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger

from otjd import __version__, wiring
from otjd.config.model import Config
from otjd.descriptors import connections_that_fit
from otjd.meetings.cache import MeetingCache
from otjd.meetings.model import Room
from otjd.operate.access import Access
from otjd.operate.board import StatusBoard
from otjd.operate.site import OperatorSite
from otjd.operate.status import NodeFacts, Snapshot, take_snapshot
from otjd.operate.threads import in_threads_of
from otjd.serve.autodiscover import SOAP_ENABLED, PoxAutodiscover, SoapAutodiscover
from otjd.serve.calls import NoticeService, Service
from otjd.serve.ews import EwsService, EwsSettings
from otjd.serve.ews_subscriptions import Subscriptions
from otjd.serve.limits import Limits
from otjd.serve.ports import ProxyFactory, TlsFactory, listen
from otjd.serve.site import CalendarSite, SiteSettings
from otjd.serve.tls import CertificateError, ReloadingContextFactory
from otjd.serve.wire_log import WireLog
from otjd.steady import steady_now

BACKLOG = 1024
"""Connections that may wait to be accepted: after a restart all endpoints come at once."""


@dataclass(frozen=True, slots=True)
class Place:
    """What is listened on; `certificates` are files with those of their keys, none for plain HTTP."""

    kind: str
    address: str
    port: int
    certificates: tuple[tuple[Path, Path], ...] = ()
    minimum_tls: str = "1.2"
    proxy_protocol: bool = False

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Opened:
    """A listening port, and what its TLS connections are made of."""

    port: IListeningPort
    context: ReloadingContextFactory | None


class CannotOpenError(Exception):
    """A place cannot be listened on; the text says which, why, and what to do."""


def places(config: Config) -> tuple[Place, ...]:
    """Everything that the configuration asks to be listened on; the operator's place comes last."""
    calendar = tuple(
        Place("calendar", x.address, x.port,
              () if x.plaintext else tuple(zip(x.certificate, x.private_key, strict=True)),
              x.minimum_tls, x.proxy_protocol)
        for x in config.calendar_service.listeners)
    operator = config.operator
    pair = () if operator.certificate is None or operator.private_key is None else (
        (operator.certificate, operator.private_key),)
    return (*calendar, Place("operator", operator.address, operator.port, pair, operator.minimum_tls))


class Listeners:
    """The listening ports of a node and the sites behind them."""

    _log = Logger()

    def __init__(self, config: Config, reactor: Any, cache: MeetingCache, board: StatusBoard, *,
                 now: Callable[[], datetime], ready: Callable[[], bool],
                 random_bytes: Callable[[int], bytes]) -> None:
        self._reactor = reactor
        self._cache = cache
        self._board = board
        self._now = now
        self._opened: dict[Place, Opened] = {}
        self._config = config
        self._wire_log = WireLog(now=now, in_thread=in_threads_of(reactor))
        self._wire_log.configure(wiring.wire_settings(config))
        lasting = steady_now(reactor, now)
        self._subscriptions = Subscriptions(cache, now=now, lasting=lasting, random_bytes=random_bytes)
        self._texts = _texts_of(config)
        self._calendar = CalendarSite(
            routes=self._routes(config), accounts=wiring.accounts(config), settings=_site_settings(config),
            board=board, ready=ready, reactor=reactor, now=lasting, random_bytes=random_bytes,
            wire_log=self._wire_log, announced={"/autodiscover/autodiscover.xml": SOAP_ENABLED})
        self._operator = OperatorSite(snapshot=self.snapshot, ready=ready, access=_access(config),
                                      in_thread=in_threads_of(reactor), reactor=reactor)

    def take_notices(self, notices: Mapping[str, NoticeService]) -> None:
        """Let these, by integration, take the notices of calendar systems from now on."""
        self._calendar.notices = {f"/notifications/{name.lower()}": take for name, take in notices.items()}

    @property
    def calendar_port(self) -> int:
        """The port of the first open listener of the calendar service."""
        return self._port("calendar")

    @property
    def operator_port(self) -> int:
        """The port of the operator's addresses."""
        return self._port("operator")

    def snapshot(self) -> Snapshot:
        """What the operator is shown now."""
        node = self._config.node
        return take_snapshot(NodeFacts(node.name, node.location, __version__, node.fips), self._board, self._cache,
                             self._now())

    def contexts(self) -> Iterator[tuple[str, ReloadingContextFactory]]:
        """Each listener with TLS, and what its connections are made of."""
        for place, opened in self._opened.items():
            if opened.context is not None:
                yield str(place), opened.context

    def certificate_ends(self) -> Iterator[tuple[str, datetime]]:
        """Each listener with the end of the certificate that it uses."""
        for name, context in self.contexts():
            yield name, context.certificate_end

    def open(self) -> None:
        """Open everything.

        :raises CannotOpenError: for the first place that cannot be opened.
        """
        for place in places(self._config):
            self._open(place)

    async def reconfigure(self, config: Config) -> list[str]:
        """Let this configuration take over; connections and unchanged ports stay. Gives what could not be done.

        Where a port cannot be opened, those that were to be closed stay open until a later reload opens all.
        """
        self._config = config
        before, self._texts = self._texts, _texts_of(config)
        self._calendar.reconfigure(routes=self._routes(config), accounts=wiring.accounts(config),
                                   settings=_site_settings(config))
        self._subscriptions.rewritten(room for room, texts in self._texts.items() if before.get(room) != texts)
        self._wire_log.configure(wiring.wire_settings(config))
        self._operator.access = _access(config)
        wanted = places(config)
        ports = {place.port for place in wanted if place not in self._opened}
        in_the_way = [place for place in self._opened if place not in wanted and place.port in ports]
        await self._close(in_the_way)
        refused = []
        for place in wanted:
            try:
                if place in self._opened:
                    self._renew(place)
                else:
                    self._open(place)
            except (CannotOpenError, CertificateError) as error:
                refused.append(str(error))
        if not refused:
            await self._close([place for place in self._opened if place not in wanted])
        else:  # a node must be reached where it was while it cannot be where it is to be
            for place in in_the_way:
                with suppress(CannotOpenError):
                    self._open(place)
        return refused

    async def close(self) -> None:
        """Close all ports and connections."""
        await self._close(tuple(self._opened))
        await self._calendar.close_connections()
        await self._wire_log.close()

    def _routes(self, config: Config) -> dict[str, Service]:
        service = config.calendar_service
        ews = EwsService(self._cache, self._subscriptions, now=self._now, settings=EwsSettings(
            join_details=wiring.join_details(config), server_version=service.server_version,
            tolerate_unknown_versions=service.tolerate_unknown_versions, limits=limits_of(config),
            subscriptions_per_user=service.subscriptions_per_user, streams_per_user=service.streams_per_user))
        autodiscover = SoapAutodiscover(server_version=service.server_version,
                                        tolerate_unknown_versions=service.tolerate_unknown_versions)
        return {"/ews/exchange.asmx": ews, "/ews/services.wsdl": ews,
                "/autodiscover/autodiscover.xml": PoxAutodiscover(now=self._now),
                "/autodiscover/autodiscover.svc": autodiscover}

    def _open(self, place: Place) -> None:
        context = None
        try:
            if place.certificates:
                context = ReloadingContextFactory(*place.certificates, minimum_tls=place.minimum_tls)
            port = listen(self._reactor, place.port, self._factory(place, context), backlog=BACKLOG,
                          interface=place.address)
        except CannotListenError as error:
            reason = getattr(error.socketError, "strerror", None) or error.socketError
            raise CannotOpenError(f"{place} ({place.kind}) cannot be listened on: {reason}. Is another process "
                                  "there, or does the port need a privilege?") from None
        except CertificateError as error:
            raise CannotOpenError(f"{place} ({place.kind}): {error}") from None
        self._opened[place] = Opened(port, context)
        self._log.info("The {kind} service listens on {address} port {port}", kind=place.kind,
                       address=place.address, port=port.getHost().port)

    def _factory(self, place: Place, context: ReloadingContextFactory | None) -> IProtocolFactory:
        """What answers at a place, with the layers before it."""
        factory: IProtocolFactory = self._calendar if place.kind == "calendar" else self._operator
        if context is not None:
            factory = TlsFactory(context, factory, self._reactor)
        if place.proxy_protocol:
            factory = ProxyFactory(factory, gate=self._calendar.gate, clock=self._reactor,
                                   trusted=lambda: self._config.calendar_service.trusted_proxies)
        return factory

    def _renew(self, place: Place) -> None:
        context = self._opened[place].context
        if context is not None:
            context.reload()

    async def _close(self, closing: Iterable[Place]) -> None:
        for place in closing:
            await maybeDeferred(self._opened.pop(place).port.stopListening)

    def _port(self, kind: str) -> int:
        return next(int(opened.port.getHost().port)  # type: ignore[attr-defined]
                    for place, opened in self._opened.items() if place.kind == kind)


def _texts_of(config: Config) -> dict[Room, frozenset[int]]:
    """What the items of each room are written by, for all of its endpoints."""
    details = wiring.join_details(config)
    texts: dict[Room, frozenset[int]] = {}
    for account in wiring.accounts(config):
        texts[account.room] = texts.get(account.room, frozenset()) | {details.digest(account.style)}
    return texts


def _site_settings(config: Config) -> SiteSettings:
    service = config.calendar_service
    return SiteSettings(
        authentication=service.authentication, fips=config.node.fips, digest_sha256=service.digest_sha256,
        trusted_proxies=service.trusted_proxies, throttle_failed_logins=service.throttle_failed_logins,
        limits=limits_of(config), is_detailed=config.log.level == "debug")


def limits_of(config: Config) -> Limits:
    """The limits of the calendar service, without more connections than may be open."""
    asked = Limits(**asdict(config.calendar_service.limits))
    return replace(asked, connections=min(asked.connections, connections_that_fit()))


def _access(config: Config) -> Access:
    return Access(config.operator.username, config.operator.password.reveal())
