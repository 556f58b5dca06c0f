"""What a simulated Exchange makes of requests, without the HTTP around them."""

from __future__ import annotations

import os
import random
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

from twisted.internet.interfaces import IReactorTime

from otjd.protocol import ews_availability, markup, soap
from otjd.protocol.ews_notifications import READERS, GetEvents, GetStreamingEvents, Subscribe, Unsubscribe
from otjd.protocol.ews_requests import VERSIONS, read_header, read_request
from otjd.protocol.ews_responses import ServerVersion, response, success
from otjd.protocol.ews_time_zones import GetServerTimeZones, server_time_zones
from otjd.protocol.markup import DocumentLimits
from otjd.protocol.soap import Envelope, SoapFault, read_envelope, schema_violation
from otjd.simulate.calendars import Calendars, Change
from otjd.simulate.exchange_access import Access
from otjd.simulate.exchange_autodiscover import Referral, Settings
from otjd.simulate.exchange_availability import answer as answer_availability
from otjd.simulate.exchange_mailbox import Mailboxes
from otjd.simulate.exchange_notifications import Stream, Subscription, Subscriptions, subscribed
from otjd.simulate.exchange_settings import ExchangeSettings, Fault, ServiceAccount
from otjd.simulate.exchange_throttling import Budgets
from otjd.simulate.exchange_wire import Call, Denied, each, fault

DOCUMENT_LIMITS = DocumentLimits(elements=50_000)


class Exchange:
    """An Exchange that shows `calendars`.

    What may be changed while it runs: `faults` strike in their order; `troubles` are response codes by room of
    mailboxes that cannot be used for now; `stripped` are rooms that delete bodies and subjects; `no_free_busy` are
    rooms whose busy times cannot be told; `hidden` those of which only the times may be known; `referrals` are
    what Autodiscover says of an address in place of its settings. `base_url` is where clients find it.

    What it counts: `requests` by operation, `rooms_asked` by operation and room, `faulted` by response code.
    """

    def __init__(self, calendars: Calendars, settings: ExchangeSettings, *, clock: IReactorTime,
                 random_bytes: Callable[[int], bytes] = os.urandom, seed: int = 0) -> None:
        self.calendars = calendars
        self.settings = settings
        self.clock = clock
        self.version = ServerVersion.of(settings.version)
        self.access = Access(settings, now=calendars.now, random_bytes=random_bytes)
        self.budgets = Budgets(settings.throttling, now=calendars.now)
        self.subscriptions = Subscriptions(settings, now=calendars.now, random_bytes=random_bytes)
        self.streams: set[Stream] = set()
        self.base_url = "https://exchange.example.com"
        self.faults: list[Fault] = []
        self.troubles: dict[str, str] = {}
        self.stripped: set[str] = set()
        self.no_free_busy: set[str] = set()
        self.hidden: set[str] = set()
        self.referrals: dict[str, Referral] = {}
        self.requests: Counter[str] = Counter()
        self.rooms_asked: Counter[tuple[str, str]] = Counter()
        self.faulted: Counter[str] = Counter()
        self._mailboxes = Mailboxes(calendars, self.troubles, self.stripped, settings.throttling.find_count_limit,
                                    expands=settings.make == "microsoft")
        self._random = random.Random(seed)  # noqa: S311 - how long an answer takes
        self._stop_listening = calendars.subscribe(self._changed)
        self._handlers: dict[str, Callable[[Call, Any], str]] = {
            "GetFolder": self._mailboxes.get_folder, "FindItem": self._mailboxes.find_item,
            "GetItem": self._mailboxes.get_item, "SyncFolderItems": self._mailboxes.sync_folder_items,
            "ConvertId": self._mailboxes.convert_id, "ResolveNames": self._mailboxes.resolve_names,
            "GetServerTimeZones": self._get_server_time_zones, "GetUserAvailability": self._get_user_availability,
            "Subscribe": self._subscribe, "Unsubscribe": self._unsubscribe, "GetEvents": self._get_events}

    def read(self, body: bytes, content_type: str, account: ServiceAccount, headers: Callable[[str], str],
             cookie: str) -> Call:
        """A request of an account, if it is one that Exchange would take; `headers` gives those of HTTP by name.

        :raises SoapFault: it would not.
        """
        envelope = read_envelope(body, content_type, DOCUMENT_LIMITS)
        name = envelope.name.removesuffix("Request")  # which GetUserAvailability alone has
        self.requests[name] += 1
        self._check_schema(envelope)
        header = read_header(envelope)
        if header.version not in VERSIONS | {""}:
            raise fault("ErrorInvalidServerVersion")
        if name not in self._handlers and name != "GetStreamingEvents":
            raise SoapFault("ErrorInvalidOperation", f"The operation '{name[:60]}' is not simulated.")
        call = Call(account, envelope.dialect, envelope.operation, name, header.version, header.zone,
                    anchor=headers("x-anchormailbox").lower(), cookie=cookie,
                    prefers_affinity=headers("x-preferserveraffinity").lower() == "true")
        if header.impersonated is not None:
            call = replace(call, room=self._impersonated(account, header.impersonated.lower()))
        self.rooms_asked[name, call.room] += 1
        return call

    def answer(self, call: Call) -> str:
        """The body of the answer to a call that is not GetStreamingEvents.

        :raises SoapFault: it cannot be answered.
        """
        envelope = Envelope(call.dialect, None, call.operation)
        reader = READERS.get(call.name)
        request = reader(call.operation) if reader is not None else read_request(envelope, call.zone)
        return self._handlers[call.name](call, request)

    def streamed(self, call: Call) -> tuple[tuple[Subscription, ...], timedelta, tuple[str, ...]]:
        """The subscriptions that a GetStreamingEvents asks for, for how long, and which of them are invalid in it;
        it is open from then on.

        :raises StreamRefused: it is answered with an error.
        """
        request = cast(GetStreamingEvents, READERS[call.name](call.operation))
        found, bad, foreign = [], {}, []
        for text_id in request.subscription_ids:
            try:
                subscription = self.subscriptions.find(call, text_id, self.backend(call))
                if self.settings.make == "other" and subscription.room != call.room:
                    foreign.append(text_id)
                else:
                    found.append(subscription)
            except Denied as denied:
                bad[text_id] = denied.code
        if bad:
            raise StreamRefused(next(iter(bad.values())), tuple(bad))
        try:
            self.budgets.hang(self.charged(call))
        except Denied as denied:
            raise StreamRefused(denied.code) from None
        return tuple(found), request.timeout, tuple(foreign)

    @staticmethod
    def charged(call: Call) -> str:
        """To whom a hanging connection is charged."""
        return call.room or call.account.username

    def fault_for(self, call: Call) -> Fault | None:
        """The fault that strikes a call, if one does; counts it."""
        return next((f for f in self.faults if f.strikes(call.name, call.room)), None)

    def latency_s(self) -> float:
        """How long the next answer takes."""
        return self._random.uniform(*self.settings.latency_s)

    def group(self, room: str) -> int:
        """The number of the availability group that a room's mailbox is in."""
        return zlib.crc32(room.encode()) % self.settings.groups

    def home(self, room: str) -> str:
        """The mailbox server of a room."""
        server = zlib.crc32(f"{room} server".encode()) % self.settings.backends
        return f"ex{self.group(room):02d}{server:02d}"

    def backend(self, call: Call) -> str:
        """The server that a call is answered by: that of its cookie, its anchor, or the impersonated mailbox."""
        if call.cookie:
            return call.cookie
        return self.home(call.anchor or call.room) if call.anchor or call.room else "ex0000"

    def settings_of(self, address: str) -> Settings | None:
        """What Autodiscover tells of an address; None for one without mailbox."""
        if not self.calendars.has_room(address):
            return None
        url = f"{self.base_url}/EWS/Exchange.asmx"
        return {"ExternalEwsUrl": url, "InternalEwsUrl": url, "UserDisplayName": address,
                "AutoDiscoverSMTPAddress": address, "EwsSupportedSchemas": ", ".join(sorted(VERSIONS)),
                "ExternalEwsVersion": self.settings.version,
                "GroupingInformation": f"dag{self.group(address):02d}.example.com"}

    def close(self) -> None:
        """End all streams, and listen to the calendars no more."""
        self._stop_listening()
        for stream in tuple(self.streams):
            stream.close()

    def _check_schema(self, envelope: Envelope) -> None:
        if self.settings.validate is None:
            return
        # of RequestServerVersion each release of the schema knows its own value alone
        headers = [] if envelope.header is None else [
            e for e in envelope.header
            if markup.namespace(e) == soap.TYPES and markup.local_name(e) != "RequestServerVersion"]
        for element in (*headers, envelope.operation):
            violation = self.settings.validate(element)
            if violation:
                raise schema_violation(violation, element)

    def _impersonated(self, account: ServiceAccount, address: str) -> str:
        if not self.calendars.has_room(address):
            raise fault("ErrorNonExistentMailbox" if self.settings.make == "microsoft" else "ErrorCannotFindUser")
        if not account.may_impersonate(address):
            raise fault("ErrorImpersonateUserDenied")
        return address

    def _changed(self, change: Change) -> None:
        if self.settings.event_delay_s:
            self.clock.callLater(self.settings.event_delay_s, self.subscriptions.changed, change)
        else:
            self.subscriptions.changed(change)

    def _get_user_availability(self, _: Call, request: ews_availability.GetUserAvailability) -> str:
        is_other = self.settings.make == "other"

        def trouble(room: str) -> str:
            cannot = is_other or room in self.no_free_busy or room in self.troubles
            return "ErrorFreeBusyGenerationFailed" if cannot else ""

        return answer_availability(request, self.calendars, trouble=trouble, has_views=not is_other,
                                   shows_details=lambda room: room not in self.hidden)

    def _get_server_time_zones(self, _: Call, request: GetServerTimeZones) -> str:
        return response("GetServerTimeZones", (server_time_zones(request, self.calendars.now().year),))

    def _subscribe(self, call: Call, request: Subscribe) -> str:
        def begin(request: Subscribe) -> str:
            room = self._room_of(call, request)
            backend = self.backend(call)
            if self.settings.affinity and not self._is_in_group(backend, room):
                raise Denied("ErrorProxyRequestNotAllowed")
            return subscribed(self.subscriptions.subscribe(call, room, request, backend))

        return response("Subscribe", each("Subscribe", (request,), begin))

    def _room_of(self, call: Call, request: Subscribe) -> str:
        """The one mailbox that a Subscribe is about."""
        if request.all_folders == bool(request.folders):
            raise Denied("ErrorInvalidSubscriptionRequest")
        rooms = {self._mailboxes.folder(call, f)[0] for f in request.folders} or {call.room}
        if len(rooms) > 1 or not call.room:
            raise Denied("ErrorInvalidSubscriptionRequest")
        self._mailboxes.check(call, call.room)
        return call.room

    def _is_in_group(self, backend: str, room: str) -> bool:
        return backend.startswith(f"ex{self.group(room):02d}")

    def _unsubscribe(self, call: Call, request: Unsubscribe) -> str:
        def end(text_id: str) -> str:
            subscription = self.subscriptions.find(call, text_id, self.backend(call))
            self.subscriptions.end(subscription)
            if subscription.listener is not None:
                subscription.listener.refuse("ErrorSubscriptionUnsubscribed", subscription)
            return success("Unsubscribe", "")

        return response("Unsubscribe", each("Unsubscribe", (request.subscription_id,), end))

    def _get_events(self, call: Call, request: GetEvents) -> str:
        def tell(text_id: str) -> str:
            subscription = self.subscriptions.find(call, text_id, self.backend(call))
            return self.subscriptions.get_events(subscription, request.watermark)

        return response("GetEvents", each("GetEvents", (request.subscription_id,), tell))


class StreamRefused(Exception):  # noqa: N818 - an answer, not a mistake of ours
    """A GetStreamingEvents that ends as it begins; `ids` are the subscriptions to blame."""

    def __init__(self, code: str, ids: tuple[str, ...] = ()) -> None:
        super().__init__(code)
        self.code = code
        self.ids = ids


