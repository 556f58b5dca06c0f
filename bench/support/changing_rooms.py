"""A simulated calendar system whose rooms change, in a process of its own, for bench/freshness.py.

    python -m bench.support.changing_rooms KIND DIRECTORY ROOMS MEETINGS PUSH

It prints its port. Told `change SECONDS PER_DAY`, it makes that many changes a room and day and prints a line of
JSON when that is over: the changes, each with what shows in a meeting once it is known, and the requests that it
answered in the meantime.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet import reactor as installed_reactor

from bench.support.processes import Parent, listen_to_parent
from otjd.meetings.model import Organizer
from otjd.simulate.calendars import Booking, Calendars
from otjd.simulate.exchange import ExchangeServer
from otjd.simulate.exchange_settings import ExchangeSettings, ServiceAccount, Throttling
from otjd.simulate.google import GoogleServer
from otjd.simulate.google_settings import GoogleSettings, Push, make_service_account
from otjd.simulate.graph import GraphServer
from otjd.simulate.graph_settings import GraphApp, GraphSettings

LATENCY_S = (0.05, 0.25)
NOTICE_S = (1.0, 10.0)
"""How long notices take: no calendar system says (sources.md has what was seen)."""

DAY_S = 86_400
USERNAME = "svc-otj@example.com"
PASSWORD = "an-exchange-password"  # noqa: S105 - of a benchmark
CLIENT_ID = "11111111-2222-3333-4444-555555555555"
CLIENT_SECRET = "a-graph-secret"  # noqa: S105 - of a benchmark
TENANT = "contoso.onmicrosoft.com"
CONTENT_ONLY = 0.16
NEAR = 0.2
"""Part of the changes that are to a meeting of the next half hour."""

DAYS = 3
NEAR_BY = timedelta(minutes=30)
HOUR = timedelta(hours=1)
PARAGRAPH = "<p style=\"font-family:'Segoe UI',sans-serif\">Agenda: what was decided, and what is open.</p>"
ADA = Organizer("Ada Berg", "ada.berg@example.com")


@dataclass(frozen=True, slots=True)
class Made:
    """A change: when, and the text that a meeting shows from then on; one that `vanishes` with it instead."""

    at: float
    text: str
    vanishes: bool
    is_content_only: bool
    is_near: bool


class Rooms:
    """Bookings of `rooms`, a few a day, no two with the same subject; none is changed twice."""

    def __init__(self, rooms: int, meetings: int) -> None:
        self.calendars = Calendars(lambda: datetime.now(UTC))
        self._emails = [f"room{n}@example.com" for n in range(rooms)]
        self._chance = Random(1)  # noqa: S311 - what is changed, and when
        self._touched: set[str] = set()
        self.made: list[Made] = []
        for email in self._emails:
            self.calendars.add_room(email)
            for number in range(DAYS * meetings):
                self._book(email, timedelta(days=number / meetings), f"Meeting {email} {number}")

    def change(self) -> None:
        """Change something, as it happens in an office."""
        number = len(self.made)
        now = self.calendars.now()
        email, booking, is_near = self._pick(now)
        at = time.time()
        if self._chance.random() < CONTENT_ONLY:
            self._touched.add(booking.id)
            self.calendars.change(email, booking.id, body_html=_body(f"change.{number}"))
            self.made.append(Made(at, f"change.{number}@video.example.com", False, True, is_near))
            return
        match self._chance.randrange(3):
            case 0:
                after = self._chance.random() * (NEAR_BY if is_near else timedelta(days=DAYS))
                self._touched.add(self._book(email, after, f"Change {number}").id)
            case 1:
                self._touched.add(booking.id)
                self.calendars.change(email, booking.id, subject=f"Change {number}",
                                      end_time=booking.end_time + timedelta(minutes=15))
            case _:
                self.calendars.cancel(email, booking.id)
                self.made.append(Made(at, booking.subject, True, False, is_near))
                return
        self.made.append(Made(at, f"Change {number}", False, False, is_near))

    def _pick(self, now: datetime) -> tuple[str, Booking, bool]:
        """A booking that was not changed yet, and whether it starts within an hour."""
        wants_near = self._chance.random() < NEAR
        while True:
            email = self._chance.choice(self._emails)
            coming = [b for b in self.calendars.bookings(email)
                      if b.start_time > now and b.id not in self._touched]
            near = [b for b in coming if b.start_time < now + NEAR_BY]
            if chosen := near if wants_near else coming:
                booking = self._chance.choice(chosen)
                return email, booking, booking.start_time < now + HOUR

    def _book(self, email: str, after: timedelta, subject: str) -> Booking:
        start = (self.calendars.now() + after + timedelta(minutes=self._chance.randrange(1, 60))).replace(
            second=0, microsecond=0)
        return self.calendars.book(
            email, start, start + timedelta(minutes=30), subject=subject, organizer=ADA,
            location=email.partition("@")[0], body_html=_body(f"meet.{self._chance.randrange(10_000, 99_999)}"))


def _body(user: str) -> str:
    link = f"<p>Join: <a href='sip:{user}@video.example.com'>by video</a></p>"
    return f"<html><body>{PARAGRAPH * 20}{link}</body></html>"


class System:
    """A simulated calendar system over these rooms; its quotas are as they are by default."""

    def __init__(self, kind: str, directory: Path, calendars: Calendars, *, push: bool) -> None:
        reactor: Any = installed_reactor
        certificate, key, authority = (directory / name for name in ("otjd.crt", "otjd.key", "ca.crt"))
        self._server: Any
        if kind == "exchange":
            exchange = ExchangeServer(calendars, ExchangeSettings(
                accounts=(ServiceAccount(USERNAME, PASSWORD),), latency_s=LATENCY_S, event_delay_s=2.0,
                throttling=Throttling(hanging_connections=10 if push else 0)), clock=reactor)
            exchange.base_url = "https://localhost"
            self.port = exchange.listen(reactor, certificate, key)
            self._counted: Counter[str] = exchange.requests
        elif kind == "graph":
            graph = GraphServer(calendars, reactor=reactor, settings=GraphSettings(
                apps=(GraphApp(CLIENT_ID, CLIENT_SECRET),), tenant=TENANT, latency_s=LATENCY_S,
                notification_delay_s=NOTICE_S, notification_ca_file=authority))
            self.port = graph.listen(certificate, key)
            self._counted = graph.counts
        else:
            account, key_file = make_service_account(USERNAME)
            (directory / "google.json").write_text(key_file)
            google = GoogleServer(calendars, reactor=reactor, trusted=authority, settings=GoogleSettings(
                service_accounts=(account,), latency_s=LATENCY_S, push=Push(delay_s=NOTICE_S, dropped=0.01)))
            self.port = google.listen(certificate, key)
            self._counted = google.api.requests

    def requests(self) -> Counter[str]:
        """Requests so far by operation, those of a sign-in left out."""
        return Counter({name: number for name, number in self._counted.items()
                        if not name.startswith("(") and name not in ("token", "$batch")})


class Changing:
    """Makes changes when told to."""

    def __init__(self, rooms: Rooms, number: int, system: System) -> None:
        self._rooms = rooms
        self._number = number
        self._system = system
        self._before: Counter[str] = Counter()

    def told(self, parent: Parent, line: str) -> None:
        """`change SECONDS PER_DAY`."""
        _, seconds, per_day = line.split()
        self._before = self._system.requests()
        until = time.time() + float(seconds)
        self._next(parent, DAY_S / (float(per_day) * self._number), until)

    def _next(self, parent: Parent, every_s: float, until: float) -> None:
        reactor: Any = installed_reactor
        if time.time() < until:
            self._rooms.change()
            reactor.callLater(every_s, self._next, parent, every_s, until)
        else:
            requests = self._system.requests()
            requests.subtract(self._before)
            made = [asdict(one) for one in self._rooms.made]
            parent.say(json.dumps({"made": made, "requests": +requests}))


def main() -> None:
    kind, directory, rooms, meetings, push = sys.argv[1:]
    changing = Rooms(int(rooms), int(meetings))
    system = System(kind, Path(directory), changing.calendars, push=push == "push")
    print(system.port, flush=True)
    reactor: Any = installed_reactor
    listen_to_parent(reactor, Changing(changing, int(rooms), system).told)
    reactor.run()


if __name__ == "__main__":
    main()
