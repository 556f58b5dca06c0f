"""Subscriptions to change notifications of a simulated Graph (sources.md, 3.5)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import unquote

from otjd.protocol.timezones import read_date_time
from otjd.simulate.calendars import Calendars, Change
from otjd.simulate.codec_http import Answer
from otjd.simulate.graph_call import Call, answer
from otjd.simulate.graph_deliveries import Deliveries
from otjd.simulate.graph_errors import (
    GraphError,
    invalid_subscription,
    new_id,
    no_consent,
    not_simulated,
)
from otjd.simulate.graph_events import change_key, event_id, user_id
from otjd.simulate.graph_settings import TENANT_ID, GraphApp, GraphSettings

LifecycleEvent = Literal["reauthorizationRequired", "subscriptionRemoved", "missed"]

_RESOURCE = re.compile(r"/?users(?:/([^/]+)|\('([^']+)'\))/(?:calendar/)?events/?", re.IGNORECASE)
_ZONED = re.compile(r".*T.*(?:Z|[+-]\d\d:?\d\d)", re.IGNORECASE)
_CHANGES = frozenset({"created", "updated", "deleted"})
_CLIENT_STATE_LIMIT = 128
_URL_LIMIT = 2048


@dataclass(slots=True)
class Subscription:
    """What an application wants to be told of. It is told nothing while it must be authorized again."""

    id: str
    app: str
    room: str
    resource: str
    changes: frozenset[str]
    notification_url: str
    lifecycle_url: str | None
    client_state: str | None
    ends: datetime
    is_immutable: bool = False
    must_be_reauthorized: bool = False


class Subscriptions:
    """All subscriptions. `room_of` gives the room of a user's id or address, or raises GraphError."""

    def __init__(self, calendars: Calendars, settings: GraphSettings, deliveries: Deliveries,
                 room_of: Callable[[GraphApp, str], str]) -> None:
        self._calendars = calendars
        self._settings = settings
        self._deliveries = deliveries
        self._room_of = room_of
        self._all: dict[str, Subscription] = {}
        self._by_room: dict[str, dict[str, Subscription]] = {}
        self.close: Callable[[], None] = calendars.subscribe(self._changed)

    def all(self) -> tuple[Subscription, ...]:
        """Those that have not ended."""
        for one in [s for s in self._all.values() if s.ends <= self._calendars.now()]:
            self._remove(one)
        return tuple(self._all.values())

    # --- requests ---

    async def create(self, call: Call, _: str) -> Answer:
        """Make one, after both of its URLs have answered."""
        body = call.json()
        if not call.app.may_read:
            raise no_consent()
        for name in ("changeType", "notificationUrl", "resource", "expirationDateTime"):
            if not body.get(name):
                raise invalid_subscription(f"{name} is a required property for subscription creation.")
        if body.get("includeResourceData"):
            raise not_simulated("includeResourceData")
        room = self._room(call, body["resource"])
        changes = self._change_types(body["changeType"])
        ends = self._end(body["expirationDateTime"])
        state, lifecycle_url = body.get("clientState"), body.get("lifecycleNotificationUrl")
        if state is not None and not (isinstance(state, str) and len(state) <= _CLIENT_STATE_LIMIT):
            raise invalid_subscription("clientState must be a string of at most "
                                       f"{_CLIENT_STATE_LIMIT} characters.")
        self._count(room)
        for url in (body["notificationUrl"], lifecycle_url):
            if url is not None:
                if not isinstance(url, str) or len(url) > _URL_LIMIT:
                    raise invalid_subscription("Notification endpoint must be a URL.")
                await self._deliveries.validate(url)
        self._count(room)
        made = Subscription(new_id(), call.app.client_id, room, body["resource"], changes,
                            body["notificationUrl"], lifecycle_url, state, ends,
                            call.preferences.get("idtype", "").lower() == "immutableid")
        self._all[made.id] = made
        self._by_room.setdefault(room, {})[made.id] = made
        return answer({**_entity(call), **_shown(made), "clientState": state}, 201)

    def list(self, call: Call, _: str) -> Answer:
        """Those of the application."""
        own = [_shown(s) for s in self.all() if s.app == call.app.client_id]
        return answer({"@odata.context": call.context("subscriptions"), "value": own})

    def show(self, call: Call, identity: str) -> Answer:
        """One."""
        return answer({**_entity(call), **_shown(self._own(call, identity))})

    async def renew(self, call: Call, identity: str) -> Answer:
        """Move its end; that is an authorization as well."""
        known, body = self._own(call, identity), call.json()
        if not body.keys() <= {"expirationDateTime", "notificationUrl", "@odata.type"}:
            raise invalid_subscription("Only expirationDateTime and notificationUrl can be changed.")
        url = body.get("notificationUrl")
        ends = self._end(body["expirationDateTime"]) if "expirationDateTime" in body else known.ends
        if url is not None and url != known.notification_url:
            await self._deliveries.validate(str(url))
            known = self._own(call, identity)
            known.notification_url = str(url)
        known.ends, known.must_be_reauthorized = ends, False
        return answer({**_entity(call), **_shown(known)})

    def reauthorize(self, call: Call, identity: str) -> Answer:
        """Let it be told of changes again."""
        self._own(call, identity).must_be_reauthorized = False
        return Answer(204)

    def delete(self, call: Call, identity: str) -> Answer:
        """End it."""
        self._remove(self._own(call, identity))
        return Answer(204)

    # --- on command ---

    def tell(self, subscription_id: str, event: LifecycleEvent) -> None:
        """Send a lifecycle notification, and do what it tells of.

        :raises KeyError: there is no such subscription.
        """
        known = self._all[subscription_id]
        if event == "reauthorizationRequired":
            known.must_be_reauthorized = True
        elif event == "subscriptionRemoved":
            self._remove(known)
        if known.lifecycle_url is not None:
            self._deliveries.deliver(known.lifecycle_url, {
                "lifecycleEvent": event, **self._head(known), "resource": known.resource})

    # --- inside ---

    def _changed(self, change: Change) -> None:
        for one in tuple(self._by_room.get(change.room, {}).values()):
            if one.ends <= self._calendars.now():
                self._remove(one)
            elif change.kind in one.changes and not one.must_be_reauthorized:
                self._deliveries.deliver(one.notification_url, self._notification(one, change))

    def _head(self, one: Subscription) -> dict[str, Any]:
        return {"subscriptionId": one.id, "subscriptionExpirationDateTime": _stamp(one.ends),
                "clientState": one.client_state, "tenantId": TENANT_ID}

    def _notification(self, one: Subscription, change: Change) -> dict[str, Any]:
        identity = event_id(change.room, change.booking.id, immutable=one.is_immutable)
        resource = f"Users/{user_id(change.room)}/Events/{identity}"
        return {**self._head(one), "changeType": change.kind.value, "resource": resource,
                "resourceData": {"@odata.type": "#Microsoft.Graph.Event", "@odata.id": resource,
                                 "@odata.etag": f'W/"{change_key(change.booking)}"', "id": identity}}

    def _own(self, call: Call, identity: str) -> Subscription:
        known = next((s for s in (self._all.get(identity),) if s and s.ends > self._calendars.now()), None)
        if known is None or known.app != call.app.client_id:
            raise GraphError(404, "ResourceNotFound", "The object was not found.")
        return known

    def _remove(self, one: Subscription) -> None:
        self._all.pop(one.id, None)
        self._by_room.get(one.room, {}).pop(one.id, None)

    def _count(self, room: str) -> None:
        live = [s for s in self._by_room.get(room, {}).values() if s.ends > self._calendars.now()]
        if len(live) >= self._settings.subscriptions_per_mailbox:
            raise GraphError(403, "ExtensionError", "Operation: Create; Exception: [Status Code: Forbidden; "
                             "Reason: The maximum number of active subscriptions of the mailbox is exceeded.]")

    def _room(self, call: Call, resource: Any) -> str:
        match = _RESOURCE.fullmatch(resource) if isinstance(resource, str) else None
        if match is None:
            raise invalid_subscription(f"Resource '{resource}' is not supported.")
        return self._room_of(call.app, unquote(match[1] or match[2]))

    def _change_types(self, text: Any) -> frozenset[str]:
        found = frozenset(part.strip().lower() for part in str(text).split(","))
        if not found <= _CHANGES:
            raise invalid_subscription(f"changeType '{text}' is not supported.")
        return found

    def _end(self, text: Any) -> datetime:
        try:
            ends = read_date_time(text if isinstance(text, str) and _ZONED.fullmatch(text) else "")
        except ValueError:
            raise invalid_subscription("Could not process subscription creation payload. Are all property names "
                                       "spelled and camelCased properly?") from None
        now = self._calendars.now()
        if ends <= now:
            raise invalid_subscription("Subscription expiration must be in the future.")
        if ends > now + self._settings.subscription_life:
            minutes = int(self._settings.subscription_life.total_seconds() // 60)
            raise invalid_subscription(f"Subscription expiration can only be {minutes} minutes in the future.")
        return ends


def _entity(call: Call) -> dict[str, Any]:
    return {"@odata.context": call.context("subscriptions/$entity")}


def _stamp(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond:06d}0Z"


def _shown(one: Subscription) -> dict[str, Any]:
    return {"id": one.id, "resource": one.resource, "applicationId": one.app,
            "changeType": ",".join(sorted(one.changes)), "clientState": None,
            "notificationUrl": one.notification_url, "notificationQueryOptions": None,
            "lifecycleNotificationUrl": one.lifecycle_url, "expirationDateTime": _stamp(one.ends),
            "creatorId": user_id(one.app), "includeResourceData": None, "latestSupportedTlsVersion": "v1_2",
            "encryptionCertificate": None, "encryptionCertificateId": None, "notificationUrlAppId": None}
