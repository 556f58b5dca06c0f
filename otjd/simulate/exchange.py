"""A simulated Exchange, from which service accounts read the calendars of rooms: Autodiscover and EWS.

As strict as the original: it wants impersonation within the account's scope, refuses what the original refuses,
throttles, ends subscriptions, and fails on command. What it shows are `otjd.simulate.calendars`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from OpenSSL import crypto
from twisted.internet.error import VerifyError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.ssl import PrivateCertificate
from twisted.web.resource import Resource
from twisted.web.server import Site

from otjd.simulate.calendars import Calendars
from otjd.simulate.codec_http import Connections
from otjd.simulate.exchange_access import channel_binding
from otjd.simulate.exchange_core import Exchange
from otjd.simulate.exchange_http import AutodiscoverRedirect, ExchangeResource
from otjd.simulate.exchange_settings import ExchangeSettings


class ExchangeServer(Exchange):
    """An Exchange that listens. `site` makes the protocols of its connections, `redirect` those of plain HTTP.

    `clock` times what is waited for, `calendars` tell the time of day.
    """

    def __init__(self, calendars: Calendars, settings: ExchangeSettings, *, clock: IReactorTime,
                 random_bytes: Callable[[int], bytes] = os.urandom, seed: int = 0) -> None:
        super().__init__(calendars, settings, clock=clock, random_bytes=random_bytes, seed=seed)
        self.site = self._serving(ExchangeResource(self))
        self.redirect = self._serving(AutodiscoverRedirect(self))
        self._ports: list[Any] = []

    def _serving(self, resource: Resource) -> Connections:
        site = Site(resource, reactor=self.clock)  # type: ignore[no-untyped-call]
        site.noisy = False
        return Connections(site)

    def listen(self, reactor: Any, certificate: Path, key: Path, *, address: str = "127.0.0.1",
               port: int = 0) -> int:
        """Serve HTTPS; gives the port, which `base_url` has from then on. Both files are in PEM form.

        :raises OSError: a file cannot be read.
        :raises ValueError: the files are no certificate with its key.
        :raises CannotListenError: the address cannot be used.
        """
        pem = certificate.read_bytes()
        try:
            options = PrivateCertificate.loadPEM(  # type: ignore[no-untyped-call]
                b"\n".join((pem, key.read_bytes()))).options()
        except (crypto.Error, VerifyError) as error:
            raise ValueError(f"{certificate} and {key} are no certificate with its key: {error}") from None
        self.access.binding = channel_binding(pem)
        number = self._listening(reactor.listenSSL(port, self.site, options, interface=address))
        self.base_url = f"https://{urlsplit(self.base_url).hostname}:{number}"
        return number

    def listen_http(self, reactor: Any, *, address: str = "127.0.0.1", port: int = 0) -> int:
        """Send from plain HTTP to Autodiscover; gives the port.

        :raises CannotListenError: the address cannot be used.
        """
        return self._listening(reactor.listenTCP(port, self.redirect, interface=address))

    def _listening(self, port: Any) -> int:
        self._ports.append(port)
        number: int = port.getHost().port
        return number

    async def stop(self) -> None:
        """Listen no more, and close what is open."""
        while self._ports:
            await self._ports.pop().stopListening()
        self.close()
        for connections in (self.site, self.redirect):
            await connections.close()
