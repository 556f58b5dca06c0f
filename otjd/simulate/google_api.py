"""A simulated Google: signing in, and the parts of the Calendar API that show rooms and tell of changes.

As strict as the original: it wants a token of the right scope, refuses parameters that it does not know or that do
not go together, keeps its quotas, forgets tokens, and fails on command. What it shows are
`otjd.simulate.calendars`.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import quote, unquote, urlencode
from zoneinfo import ZoneInfo

from twisted.internet.interfaces import IReactorTime

from otjd.simulate.calendars import Calendars, Change
from otjd.simulate.codec_http import Answer
from otjd.simulate.google_channels import MEMBERS as CHANNEL_MEMBERS
from otjd.simulate.google_channels import Channels, Post
from otjd.simulate.google_entries import Journal
from otjd.simulate.google_errors import GoogleError, SignInError, json_answer, not_found, page, text_answer
from otjd.simulate.google_fields import (
    CHANNEL_SHAPE,
    EVENTS_SHAPE,
    FREE_BUSY_SHAPE,
    Selection,
    read_fields,
    select,
)
from otjd.simulate.google_free_busy import MEMBERS as FREE_BUSY_MEMBERS
from otjd.simulate.google_free_busy import FreeBusy
from otjd.simulate.google_lists import EventLists
from otjd.simulate.google_parameters import LIST, REPEATED, Reader, read_body, read_query
from otjd.simulate.google_settings import Fault, GoogleSettings, Role
from otjd.simulate.google_sign_in import Grant, SignIn
from otjd.simulate.google_usage import Usage

_EVENTS = frozenset({"calendar", "calendar.readonly", "calendar.events", "calendar.events.readonly",
                     "calendar.app.created", "calendar.events.freebusy", "calendar.events.owned",
                     "calendar.events.owned.readonly", "calendar.events.public.readonly"})
_FREE_BUSY = frozenset({"calendar", "calendar.readonly", "calendar.freebusy", "calendar.events.freebusy"})
_CALENDAR = re.compile(r"/calendar/v3/calendars/([^/]+)/(events|events/watch)")
_FIXED = {"/token": "token", "/oauth2/v4/token": "token", "/o/oauth2/v2/auth": "auth",
          "/calendar/v3/freeBusy": "freebusy.query", "/calendar/v3/channels/stop": "channels.stop"}
_METHODS = {"token": "POST", "auth": "GET", "freebusy.query": "POST", "channels.stop": "POST",
            "events.list": "GET", "events.watch": "POST"}
_SCOPES = {"events.list": _EVENTS, "events.watch": _EVENTS, "freebusy.query": _FREE_BUSY,
           "channels.stop": _EVENTS | _FREE_BUSY}
_PARAMETERS: dict[str, tuple[dict[str, Reader], ...]] = {
    "events.list": (dict(LIST), dict(REPEATED)), "events.watch": (dict(LIST), dict(REPEATED))}
_SHAPES: dict[str, Selection] = {"events.list": EVENTS_SHAPE, "events.watch": CHANNEL_SHAPE,
                                 "freebusy.query": FREE_BUSY_SHAPE, "channels.stop": {}}


@dataclass(frozen=True, slots=True)
class Call:
    """A request. `operation` is empty where there is nothing at its address, `room` the calendar it names."""

    method: str
    operation: str
    room: str
    query: Sequence[tuple[str, str]]
    body: bytes
    headers: Callable[[str], str]


def read_call(method: str, path: str, query: Sequence[tuple[str, str]], body: bytes,
              headers: Callable[[str], str]) -> Call:
    """A request by its parts; `path` is still encoded, `headers` gives those of HTTP by name."""
    found = _CALENDAR.fullmatch(path)
    operation, room = _FIXED.get(path, ""), ""
    if found is not None:
        operation = "events.list" if found[2] == "events" else "events.watch"
        room = unquote(found[1]).lower()
    return Call(method, operation if _METHODS.get(operation) == method else "", room, query, body, headers)


class GoogleApi:
    """A Google that shows `calendars`: requests in, answers out. `post` delivers notifications.

    What may be changed while it runs: `faults` strike in their order; `share` gives a room another role than the
    default one; `troubles` are reasons, such as `internalError`, why the free time of a room cannot be told;
    `sign_in`, `lists` and `channels` have switches of their own. `base_url` is where clients find it.

    What it counts: `requests` by operation, `rooms_asked` by operation and room, `refused` by reason, `usage`.
    """

    def __init__(self, calendars: Calendars, settings: GoogleSettings, *, clock: IReactorTime, post: Post,
                 random_bytes: Callable[[int], bytes] = os.urandom, seed: int = 0) -> None:
        self.calendars = calendars
        self.settings = settings
        self.base_url = "https://www.googleapis.com"
        self.faults: list[Fault] = []
        self._roles: dict[str, Role] = {}
        self.troubles: dict[str, str] = {}
        self.requests: Counter[str] = Counter()
        self.rooms_asked: Counter[tuple[str, str]] = Counter()
        self.refused: Counter[str] = Counter()
        self.usage = Usage(settings.quotas, calendars.now)
        self.sign_in = SignIn(settings, now=calendars.now, random_bytes=random_bytes)
        self.lists = EventLists(settings, now=calendars.now, secret=random_bytes(32), seed=seed)
        self.channels = Channels(settings.push, now=calendars.now, clock=clock, post=post, seed=seed)
        self.free_busy = FreeBusy(calendars, settings.free_busy_range)
        self._zone = ZoneInfo(settings.time_zone)
        self._journals: dict[str, Journal] = {}
        self._random = Random(seed)  # noqa: S311 - how long an answer takes
        self._stop_listening = calendars.subscribe(self._told)

    def share(self, room: str, role: Role) -> None:
        """Share a room by this role from now on; its sync tokens end with the change."""
        self._roles[room.lower()] = role
        self.lists.expire_sync_tokens(room.lower())

    def role(self, room: str) -> Role:
        """By which role a room, in lower case, is shared."""
        return self._roles.get(room, self.settings.default_role) if self.calendars.has_room(room) else "none"

    def latency_s(self) -> float:
        """How long this answer takes."""
        return self._random.uniform(*self.settings.latency_s)

    def fault_for(self, call: Call) -> Fault | None:
        """The fault that strikes this request, if any."""
        return next((f for f in self.faults if f.strikes(call.operation, call.room)), None)

    def close(self) -> None:
        """Listen to the calendars no more, and send nothing more."""
        self._stop_listening()
        self.channels.close()

    def answer(self, call: Call, fault: Fault | None = None) -> Answer:
        """What is sent back to a request, or to one that is struck by a fault of kind `error`."""
        self.requests[call.operation or "(unknown)"] += 1
        try:
            if not call.operation:
                return page(404, "Error 404 (Not Found)!!1")
            if call.operation in ("token", "auth"):
                return self._sign_in(call, fault)
            return self._api(call, fault)
        except GoogleError as refused:
            self.refused[refused.reason] += 1
            return refused.answer()
        except SignInError as refused:
            self.refused[refused.error] += 1
            return refused.answer()

    def _told(self, change: Change) -> None:
        self.free_busy.told(change)
        self.channels.told(change)

    def _sign_in(self, call: Call, fault: Fault | None) -> Answer:
        if fault is not None:
            raise SignInError(fault.reason, fault.reason, fault.status)
        if call.operation == "auth":
            return self.sign_in.consent(dict(call.query))
        return self.sign_in.token(call.body, call.headers("content-type"), call.headers("authorization"))

    def _api(self, call: Call, fault: Fault | None) -> Answer:
        grant = self._grant(call)
        values = read_query(call.query, *_PARAMETERS.get(call.operation, ()))
        self.usage.charge(values.get("quotaUser") or call.headers("x-goog-quota-user") or grant.counted_as)
        selection = read_fields(values.get("fields", ""), _SHAPES[call.operation])
        room = grant.user.lower() if call.room == "primary" else call.room
        self.rooms_asked[call.operation, room] += 1
        if fault is not None:
            raise GoogleError(fault.status, fault.reason)
        match call.operation:
            case "events.list":
                found = self._list(room, values)
            case "events.watch":
                found = self._watch(room, call, grant)
            case "freebusy.query":
                body = read_body(call.body, call.headers("content-type"), FREE_BUSY_MEMBERS)
                text = self.free_busy.answer(body, self._trouble)
                if selection is None:
                    return text_answer(text)
                found = json.loads(text)
            case _:
                self.channels.stop(read_body(call.body, call.headers("content-type"), CHANNEL_MEMBERS), grant.user)
                return Answer(204)
        return json_answer(select(found, selection))

    def _grant(self, call: Call) -> Grant:
        authorization = call.headers("authorization")
        if not authorization:
            raise GoogleError(401, "required", location="Authorization")
        grant = self.sign_in.grant(authorization)
        if grant is None:
            raise GoogleError(401, "authError", location="Authorization")
        if not grant.scopes & _SCOPES[call.operation]:
            raise GoogleError(403, "insufficientPermissions")
        return grant

    def _list(self, room: str, values: dict[str, Any]) -> dict[str, Any]:
        role = self._shared(room)
        journal = self._journals.get(room)
        if journal is None:
            journal = self._journals[room] = Journal(self.calendars, room)
        return self.lists.answer(room, journal, role, values, values.get("timeZone", self._zone))

    def _watch(self, room: str, call: Call, grant: Grant) -> dict[str, Any]:
        role = self._shared(room)
        if role == "freeBusyReader" and not self.settings.push.free_busy_reader_may_watch:
            raise GoogleError(403, "forbidden")
        body = read_body(call.body, call.headers("content-type"), CHANNEL_MEMBERS)
        kept = [(name, value) for name, value in call.query if name in LIST or name in REPEATED]
        uri = f"{self.base_url}/calendar/v3/calendars/{quote(room, safe='')}/events"
        return self.channels.watch(room, body, grant.user, f"{uri}?{urlencode([*kept, ('alt', 'json')])}")

    def _shared(self, room: str) -> Role:
        role = self.role(room)
        if role == "none":
            self._journals.pop(room, None)
            raise not_found()
        return role

    def _trouble(self, room: str) -> str:
        self.rooms_asked["freebusy.query", room] += 1
        return self.troubles.get(room, "") if self.role(room) != "none" else "notFound"
