"""A simulated Google on loopback, Google's own client for it, and the schemas that answers are held against."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httplib2
import treq
from google.oauth2 import service_account
from google_auth_httplib2 import AuthorizedHttp
from googleapiclient.discovery import build
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.web.client import Agent

from otjd.simulate.calendars import Booking, Calendars
from otjd.simulate.certificates import Certificates, make_certificates
from otjd.simulate.codec_http import Answer
from otjd.simulate.google import GoogleServer
from otjd.simulate.google_api import Call
from otjd.simulate.google_settings import ConsentClient, Fault, GoogleSettings, make_service_account
from otjd.simulate.poly_http import tls_policy
from tests.protocol.google_discovery import validator

ROOM = "boardroom@example.com"
OTHER = "huddle@example.com"
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
READ = "https://www.googleapis.com/auth/calendar.readonly"
REDIRECT = "http://127.0.0.1:8123/"
ACCOUNT, KEY_FILE = make_service_account("otjd@project.iam.gserviceaccount.com",
                                         delegated=frozenset({"admin@example.com"}))
CONSENT = ConsentClient("123.apps.googleusercontent.com", "GOCSPX-secret", (REDIRECT,), "svc@example.com")
SETTINGS = GoogleSettings((ACCOUNT,), (CONSENT,))
NOW = datetime.now(UTC).replace(hour=8, minute=0, second=0, microsecond=0)
"""Eight in the morning of today: bookings lie around it."""

_BODIES = {"events.list": "Events", "events.watch": "Channel", "freebusy.query": "FreeBusyResponse"}


def violations(name: str, value: Any) -> list[str]:
    """What is wrong with a value by a schema of the discovery document."""
    return [f"{list(e.absolute_path)}: {e.message}" for e in validator(name).iter_errors(value)]


def _certificates(directory: Path) -> Certificates:
    """Made once for all tests: keys take their time."""
    if not (directory / "otjd.crt").exists():
        return make_certificates(directory, [], NOW)
    return Certificates(directory / "otjd.crt", directory / "otjd.key", directory / "ca.crt", directory / "ca.key")


class World:
    """A server with two rooms, and ways to ask it. Time stands still unless `now` is moved."""

    def __init__(self, directory: Path, settings: GoogleSettings) -> None:
        self.now = datetime.now(UTC)
        self.calendars = Calendars(lambda: self.now)
        self.calendars.add_room(ROOM)
        self.calendars.add_room(OTHER)
        self._files = _certificates(directory.parent / "google-certificates")
        self.server = GoogleServer(self.calendars, reactor=reactor, settings=settings,
                                   trusted=self._files.ca_certificate)
        self.api = self.server.api
        self.violations: list[str] = []
        self._answer = self.api.answer
        self.api.answer = self._checked  # type: ignore[method-assign]
        self.port = self.server.listen(self._files.certificate, self._files.private_key)
        self.url = f"https://127.0.0.1:{self.port}"
        self.policy = tls_policy(self._files.ca_certificate, verify=True)
        self._treq = HTTPClient(Agent(reactor, self.policy))  # type: ignore[no-untyped-call]
        self._token = ""

    @property
    def files(self) -> Certificates:
        """Certificate, key and CA of the server, for a receiver of notifications too."""
        return self._files

    def _checked(self, call: Call, fault: Fault | None = None) -> Answer:
        answer = self._answer(call, fault)
        if answer.status == 200 and call.operation in _BODIES:
            self.violations += violations(_BODIES[call.operation], json.loads(answer.body))
        return answer

    def book(self, hours: float = 0.0, room: str = ROOM, **fields: Any) -> Booking:
        """Book an hour, so many hours from now."""
        start = NOW + hours * HOUR
        return self.calendars.book(room, start, start + HOUR, **fields)

    # --- Google's own client, in a thread ---

    def credentials(self, scopes: tuple[str, ...] = (READ,), **changed: Any) -> Any:
        """Credentials of the service account as google-auth makes them."""
        info = json.loads(KEY_FILE) | {"token_uri": f"{self.url}/token"} | changed
        make: Any = service_account.Credentials.from_service_account_info
        return make(info, scopes=list(scopes))

    def http(self) -> Any:
        """An HTTP connection as Google's libraries use it."""
        return httplib2.Http(ca_certs=str(self._files.ca_certificate), timeout=10)

    def client(self, credentials: Any = None) -> Any:
        """Google's client of the Calendar API."""
        return build("calendar", "v3", static_discovery=True, cache_discovery=False,
                     http=AuthorizedHttp(credentials or self.credentials(), http=self.http()),
                     client_options={"api_endpoint": f"{self.url}/calendar/v3/"})

    async def run(self, job: Callable[[], Any]) -> Any:
        """Do in a thread what blocks."""
        return await deferToThread(job)

    async def events(self, client: Any = None, **parameters: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """All events of the pages of a list, and the last page, as Google's client gets them."""
        def follow() -> tuple[list[dict[str, Any]], dict[str, Any]]:
            events = (client or self.client()).events()
            request = events.list(**{"calendarId": ROOM, **parameters})
            found: list[dict[str, Any]] = []
            while True:
                page = request.execute()
                found += page.get("items", [])
                request = events.list_next(request, page)
                if request is None:
                    return found, page
        made: tuple[list[dict[str, Any]], dict[str, Any]] = await self.run(follow)
        return made

    # --- by hand ---

    async def token(self) -> str:
        """An access token of the service account."""
        if not self._token:
            credentials = self.credentials()
            await self.run(lambda: credentials.refresh(_request(self.http())))
            self._token = credentials.token
        return self._token

    async def ask(self, method: str, path: str, *, query: Mapping[str, Any] | str = "", body: Any = None,
                  headers: Mapping[str, str] | None = None, form: Mapping[str, str] | None = None,
                  ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, body and headers of an answer; signed in unless `headers` say otherwise."""
        given = {"Authorization": f"Bearer {await self.token()}"} if headers is None else dict(headers)
        text = query if isinstance(query, str) else urlencode(query, doseq=True)
        data = None
        if body is not None:
            given["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        response = await self._treq.request(method, f"{self.url}{path}{'?' if text else ''}{text}", headers=given,
                                            data=form if form is not None else data, allow_redirects=False,
                                            timeout=10, reactor=reactor)
        content = await treq.content(response)
        kind = response.headers.getRawHeaders("content-type", [""])[0]
        got = {n.decode().lower(): v[0].decode() for n, v in response.headers.getAllRawHeaders()}
        return response.code, json.loads(content) if kind.startswith("application/json") else content, got

    async def page(self, room: str = ROOM, /, **query: Any) -> tuple[int, Any]:
        """Status and body of a page of events."""
        path = f"/calendar/v3/calendars/{quote(room, safe='')}/events"
        status, body, _ = await self.ask("GET", path, query=query)
        return status, body

    async def free_busy(self, rooms: list[str], *, hours: float = 24.0, **more: Any) -> tuple[int, Any]:
        """Status and body of an answer about free time from now on."""
        asked = {"timeMin": NOW.isoformat(), "timeMax": (NOW + hours * HOUR).isoformat(),
                 "items": [{"id": room} for room in rooms], **more}
        status, body, _ = await self.ask("POST", "/calendar/v3/freeBusy", body=asked)
        return status, body


def _request(http: Any) -> Any:
    from google_auth_httplib2 import Request
    return Request(http)


def reason(body: Any) -> tuple[int, str]:
    """Code and reason of an error, whose members are those that Google gives."""
    error = body["error"]
    assert set(error) == {"errors", "code", "message"}
    assert {"domain", "reason", "message"} <= set(error["errors"][0])
    return error["code"], error["errors"][0]["reason"]


@asynccontextmanager
async def google(directory: Path, settings: GoogleSettings = SETTINGS) -> AsyncIterator[World]:
    """A world for the time of a test; every answer in it was as the schemas say."""
    world = World(directory, settings)
    try:
        yield world
    finally:
        await world.server.stop()
    assert not world.violations
