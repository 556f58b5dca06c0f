"""How fast answers of calendar systems become cached meetings, beside the same bytes parsed alone, in turns.

The answers are those of the simulated Exchange, Microsoft 365 and Google: rooms of 10 to 40 events with HTML
bodies of 5 to 20 kB. They go through the readers of the sources, a profile of six rules, and the cache: first when
nothing is known of a room, then again when nothing has changed, as is mostly so. "Parsed alone" is json.loads or
lxml over the answer; "with bodies" is that and lxml over the HTML bodies in it, in which the addresses to dial
stand.

    python bench/ingest.py            60 rooms of each system
    python bench/ingest.py --smoke    a few, to see that it runs
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import google.auth.crypt
import google.auth.jwt
from lxml import etree, html
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bench.rules import body
from otjd.gather.exchange import BATCH_BYTES, ITEMS_AT_ONCE
from otjd.gather.intake import Intake, ProfileRules
from otjd.gather.source import Occurrence
from otjd.meetings.cache import MeetingCache
from otjd.meetings.model import Invitation, Organizer, Room, Window
from otjd.meetings.presentation import Policy
from otjd.protocol import ews_client_calendar as ews
from otjd.protocol.ews_client import read_answer, request
from otjd.protocol.google_calendar import events_url
from otjd.protocol.google_events import read_events as read_google
from otjd.protocol.graph_events import read_events as read_graph
from otjd.protocol.graph_events import read_marks
from otjd.protocol.graph_requests import GraphApi, GraphRequest
from otjd.protocol.soap import write_envelope
from otjd.rules.engine import Engine, Rule
from otjd.rules.text import HTML_LIMIT
from otjd.seam import deferred
from otjd.simulate.calendars import Calendars
from otjd.simulate.exchange_core import Exchange
from otjd.simulate.exchange_settings import UNLIMITED, ExchangeSettings, ServiceAccount
from otjd.simulate.google_api import GoogleApi, read_call
from otjd.simulate.google_settings import GoogleSettings, make_service_account
from otjd.simulate.graph_call import Call
from otjd.simulate.graph_query import preferences_of, read_query
from otjd.simulate.graph_rooms import Rooms
from otjd.simulate.graph_settings import GraphApp, GraphSettings
from otjd.simulate.graph_views import Views

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
WINDOW = Window(NOW, NOW + timedelta(days=7))
SCOPE = "https://www.googleapis.com/auth/calendar.readonly"
TARGET = 4.0
PASSES = 3

Read = Callable[[Sequence[bytes]], tuple[Sequence[Invitation], Any]]
"""From the answers about a room to what its calendar holds, and what is remembered of it."""

ReadAgain = Callable[[bytes, Any], Collection[Occurrence]]
"""From an answer about a room of which something is remembered to what is as it was."""


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds of processor time: parsing alone, the bodies alone, to the invitations, to the cache; then the same
    when nothing has changed."""

    parsing: float
    bodies: float
    reading: float
    whole: float
    parsing_again: float
    again: float


@dataclass(frozen=True, slots=True)
class System:
    """A calendar system: how its answers are read and parsed alone, and its answers by room.

    `later` are those that come when nothing has changed; rooms that are not in it are answered as at first.
    """

    name: str
    read: Read
    read_again: ReadAgain
    parse: Callable[[bytes], object]
    answers: dict[str, list[bytes]] = field(default_factory=dict)
    later: dict[str, bytes] = field(default_factory=dict)


def calendars(rooms: int, chance: random.Random) -> Calendars:
    """Rooms with their bookings of a week; every third is told by the properties of Teams."""
    made = Calendars(lambda: NOW)
    for number in range(rooms):
        room = f"room{number}@example.com"
        made.add_room(room)
        for place in range(chance.randrange(10, 41)):
            start = NOW + timedelta(hours=4 * place)
            teams = {"TeamsVtcConferenceId": f"12{place:07d}", "SkypeTeamsMeetingUrl":
                     "https://teams.microsoft.com/l/meetup-join/19%3ameeting_x%40thread.v2/0"}
            made.book(room, start, start + timedelta(hours=1), subject=f"Planning {place}", location="Room 4",
                      body_html=body(chance.randrange(4_000, 19_000), chance),
                      organizer=Organizer("Ada Berg", "ada@example.com"),
                      properties={} if place % 3 else teams)
    return made


def exchange_answers(world: Calendars) -> dict[str, list[bytes]]:
    """FindItem, then GetItem in the batches of the source."""
    account = ServiceAccount("svc@example.com", "x")
    server = Exchange(world, ExchangeSettings((account,), throttling=UNLIMITED), clock=Clock())

    def ask(operation: str, room: str) -> bytes:
        call = server.read(request(operation, room), "text/xml; charset=utf-8", account, lambda _: "", "")
        return write_envelope(call.dialect, server.version.header(), server.answer(call))

    found = {}
    for room in world.rooms():
        listing = ask(ews.find_items(room, WINDOW.start, WINDOW.end), room)
        items = ews.read_page(read_answer(listing)).items
        found[room] = [listing, *(ask(ews.get_items(batch), room)
                                  for batch in ews.batches(items, ITEMS_AT_ONCE, BATCH_BYTES))]
    return found


def graph_answers(world: Calendars, ask: Callable[[GraphApi, str], GraphRequest]) -> dict[str, list[bytes]]:
    """A page of the calendar view."""
    app = GraphApp("11111111-2222-3333-4444-555555555555", "x")
    views = Views(world, Rooms(world), GraphSettings((app,)), {})
    found = {}
    for room in world.rooms():
        asked = ask(GraphApi("graph.microsoft.com"), room)
        parts = urlsplit(asked.url)
        headers = {name.lower(): value for name, value in asked.headers.items()}
        call = Call(app, "GET", f"https://{parts.netloc}", parts.path.removeprefix("/v1.0/"),
                    read_query(parts.query), headers, preferences_of(headers))
        found[room] = [views.calendar_view(call, room).body]
    return found


def google_answers(world: Calendars) -> dict[str, list[bytes]]:
    """A page of events.list."""
    account, key = make_service_account("otj@project.iam.gserviceaccount.com")
    api = GoogleApi(world, GoogleSettings((account,)), clock=Clock(), post=lambda *_: succeed(200))
    begin = int(NOW.timestamp())
    claims = {"iss": json.loads(key)["client_email"], "aud": json.loads(key)["token_uri"], "scope": SCOPE,
              "iat": begin, "exp": begin + 3600}
    signer: Any = google.auth.crypt.RSASigner
    encode: Any = google.auth.jwt.encode
    assertion = encode(signer.from_service_account_info(json.loads(key)), claims).decode()
    form = f"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}"
    kinds = {"content-type": "application/x-www-form-urlencoded"}
    token = json.loads(api.answer(read_call("POST", "/token", (), form.encode(),
                                            lambda name: kinds.get(name, ""))).body)["access_token"]
    headers = {"authorization": f"Bearer {token}"}
    found = {}
    for room in world.rooms():
        parts = urlsplit(events_url("https://www.googleapis.com/calendar/v3", room, WINDOW))
        answer = api.answer(read_call("GET", parts.path, parse_qsl(parts.query), b"",
                                      lambda name: headers.get(name, "")))
        found[room] = [answer.body]
    return found


def from_exchange(answers: Sequence[bytes]) -> tuple[Sequence[Invitation], Any]:
    """The list of items, then these; remembered by version."""
    items = ews.read_page(read_answer(answers[0])).items
    batches = ews.batches(items, ITEMS_AT_ONCE, BATCH_BYTES)
    told = [one for batch, answer in zip(batches, answers[1:], strict=True)
            for one in ews.read_items(read_answer(answer), len(batch))]
    memory = {item.version: (one.invitation.uid, one.invitation.occurrence)
              for item, one in zip(items, told, strict=True) if one.invitation is not None}
    return [one.invitation for one in told if one.invitation is not None], memory


def from_graph(answers: Sequence[bytes]) -> tuple[Sequence[Invitation], Any]:
    """Events, remembered by their marks."""
    changed = read_graph(answers[0], {}, HTML_LIMIT + 1).changed
    return [one for _, one in changed], {mark: (one.uid, one.occurrence) for mark, one in changed}


def from_google(answers: Sequence[bytes]) -> tuple[Sequence[Invitation], Any]:
    """Events, remembered as entries."""
    page = read_google(answers[0])
    return page.fresh, (page.entries, page.role)


def systems(rooms: int) -> tuple[System, ...]:
    """All three, with their answers."""
    world = calendars(rooms, random.Random(1))  # noqa: S311 - the same rooms in every run
    exchange = exchange_answers(world)
    graph = graph_answers(world, lambda api, room: api.events(room, WINDOW))
    marks = graph_answers(world, lambda api, room: api.marks(room, WINDOW))
    return (
        System("exchange", from_exchange,
               lambda answer, known: [known[item.version] for item in ews.read_page(read_answer(answer)).items],
               etree.fromstring, exchange),
        System("graph", from_graph, lambda answer, known: read_marks(answer, known).known.values(),
               json.loads, graph, {room: answers[0] for room, answers in marks.items()}),
        System("google", from_google, lambda answer, known: read_google(answer, *known).same,
               json.loads, google_answers(world)))


def profile() -> ProfileRules:
    """A profile with six rules, as many have."""
    types = ("teams", "zoom", "webex", "hangouts", "pexipinfinity", "domain")
    rules = [Rule(name=name, priority=place, meeting_type=name, domain="vc.example.com")
             for place, name in enumerate(types, 1)]
    return ProfileRules(integration="bench", policy=Policy(), engine=Engine(rules, clock=time.thread_time))


def at_once(job: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    """In place of a thread."""
    return succeed(job(*arguments))


def take(system: System, room: Room, intake: Intake) -> Took:
    """One room from its answers into the cache, after the same bytes parsed alone."""
    answers = system.answers[room.email]
    began = time.process_time()
    for answer in answers:
        system.parse(answer)
    parsed = time.process_time()
    invitations, memory = system.read(answers)
    read = time.process_time()
    deferred(intake.deliver("bench", room.email, invitations))
    cached = time.process_time()
    for invitation in invitations:
        html.document_fromstring(invitation.body_html or invitation.body_text)
    bodies = time.process_time()
    return Took(parsed - began, bodies - cached, read - parsed, cached - parsed,
                *take_again(system, room, intake, memory))


def take_again(system: System, room: Room, intake: Intake, memory: Any) -> tuple[float, float]:
    """The room once more, nothing of it having changed: its answer parsed alone, then to the cache."""
    answer = system.later.get(room.email, system.answers[room.email][0])
    began = time.process_time()
    system.parse(answer)
    parsed = time.process_time()
    deferred(intake.deliver("bench", room.email, (), system.read_again(answer, memory)))
    return parsed - began, time.process_time() - parsed


def run(system: System) -> None:
    """All rooms of a system, PASSES times, of which the quickest of each room counts."""
    rooms = [Room(room, "p") for room in system.answers]
    passes = []
    for _ in range(PASSES):
        cache = MeetingCache()
        cache.configure({room: timedelta(days=7) for room in rooms})
        intake = Intake(cache, now=lambda: NOW, in_thread=at_once)
        intake.configure({"p": profile()})
        passes.append([take(system, room, intake) for room in rooms])
    took = Took(*(sum(min(getattr(one, part.name) for one in times) for times in zip(*passes, strict=True))
                  for part in fields(Took)))
    meetings = [meeting for room in rooms for meeting in cache.agenda(room).meetings]
    size = sum(len(answer) for answers in system.answers.values() for answer in answers)
    with_bodies = took.whole / (took.parsing + took.bodies)
    print(f"{system.name:9}{len(meetings):9,}{sum(m.is_joinable for m in meetings):9,}{size / 1e6:6.1f}"
          f"{len(meetings) / took.whole:11,.0f}{len(meetings) / took.parsing:11,.0f}"
          f"{took.whole / took.parsing:8.1f}{took.reading / took.parsing:8.1f}{with_bodies:8.2f}"
          f"{len(meetings) / took.again:11,.0f}{took.again / took.parsing_again:8.1f}"
          f"{'' if with_bodies <= TARGET else '   more than the target'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    smoke = parser.parse_args().smoke
    print("a second of processor time: meetings from answer to cache (cached), and from the answer parsed alone\n"
          "(parsed); how many times parsing alone to the cache (cache), of these to the invitations (read);\n"
          f"to the cache as times of parsing with bodies (bodies; target: at most {TARGET:g}); then when nothing\n"
          "has changed: meetings a second (again/s), and as times of parsing that answer alone (again)")
    print(f"{'system':9}{'meetings':>9}{'joinable':>9}{'MB':>6}{'cached/s':>11}{'parsed/s':>11}{'cache':>8}"
          f"{'read':>8}{'bodies':>8}{'again/s':>11}{'again':>8}")
    for system in systems(4 if smoke else 60):
        run(system)


if __name__ == "__main__":
    main()
