"""Change notifications of the simulated Graph, delivered to a receiver over TLS."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import deferLater

from otjd.seam import deferred
from otjd.simulate.certificates import Certificates, make_certificates
from otjd.simulate.codec_http import Connections
from otjd.simulate.graph_events import event_id, user_id
from otjd.simulate.graph_http import GraphSite
from otjd.simulate.graph_settings import TENANT_ID, GraphApp
from tests.simulate.graph_world import APP, HOUR, NOW, ROOM, Reply, World, reactor, until, world

OPENAPI = Path(__file__).parents[3] / "shared" / "schemas" / "graph-calendar.openapi3.json"


def _repeated(token: bytes) -> tuple[int, bytes, bytes]:
    return 200, b"text/plain", token


class Receiver:
    """A notification URL: repeats tokens, keeps notifications, answers with `status`."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 202
        self.notifications: list[dict[str, Any]] = []
        self.posts = 0
        self.tokens: list[str] = []
        self.token_answer: Callable[[bytes], tuple[int, bytes, bytes] | None] = _repeated

    def serve(self, request: Any) -> None:
        token = request.args.get(b"validationToken")
        if token is not None:
            self.tokens.append(token[0].decode())
            answer = self.token_answer(token[0])
            if answer is None:
                return
            status, kind, body = answer
            request.setHeader(b"content-type", kind)
        else:
            self.posts += 1
            status, body = self.status, b""
            if 200 <= status < 300:
                self.notifications += json.loads(request.content.read())["value"]
        request.setResponseCode(status)
        request.write(body)
        request.finish()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"), ["localhost"], datetime.now(UTC))


@asynccontextmanager
async def receiving(certificates: Certificates, **changes: Any) -> AsyncIterator[tuple[World, Receiver]]:
    receiver = Receiver()
    pem = certificates.certificate.read_bytes() + certificates.private_key.read_bytes()
    tls = PrivateCertificate.loadPEM(pem)  # type: ignore[no-untyped-call]
    connections = Connections(GraphSite(receiver.serve, reactor))
    port = reactor.listenSSL(0, connections, tls.options(), interface="127.0.0.1")
    receiver.url = f"https://localhost:{port.getHost().port}/notifications/m365"
    try:
        async with world(notification_ca_file=certificates.ca_certificate, **changes) as w:
            yield w, receiver
    finally:
        await port.stopListening()
        await connections.close()


def wanted(receiver: Receiver, **changes: Any) -> dict[str, Any]:
    body = {"changeType": "created,updated,deleted", "notificationUrl": receiver.url,
            "resource": f"/users/{ROOM}/events", "expirationDateTime": "2026-03-05T06:00:00Z",
            "clientState": "s3cret", **changes}
    return {name: value for name, value in body.items() if value is not None}


async def subscribe(w: World, receiver: Receiver, **changes: Any) -> Reply:
    return await w.ask("POST", "/subscriptions", wanted(receiver, **changes))


async def test_a_subscription_is_told_of_every_change_after_its_url_has_answered(
        certificates: Certificates) -> None:
    async with receiving(certificates) as (w, receiver):
        made = await subscribe(w, receiver)
        assert made.status == 201, made.body
        (token,) = receiver.tokens
        assert token.startswith("Validation: Testing client application reachability")
        assert made.json["clientState"] == "s3cret"
        booking = w.calendars.book(ROOM, NOW, NOW + HOUR)
        w.calendars.change(ROOM, booking.id, subject="x")
        w.calendars.cancel(ROOM, booking.id)
        w.pass_time(0)
        await until(lambda: len(receiver.notifications) == 3)
        assert receiver.posts == 1
        assert [n["changeType"] for n in receiver.notifications] == ["created", "updated", "deleted"]
        identity = event_id(ROOM, booking.id)
        resource = f"Users/{user_id(ROOM)}/Events/{identity}"
        first = receiver.notifications[0]
        assert first["resourceData"].pop("@odata.etag").startswith('W/"')
        assert first == {
            "subscriptionId": made.json["id"], "subscriptionExpirationDateTime": "2026-03-05T06:00:00.0000000Z",
            "clientState": "s3cret", "tenantId": TENANT_ID, "changeType": "created", "resource": resource,
            "resourceData": {"@odata.type": "#Microsoft.Graph.Event", "@odata.id": resource, "id": identity}}
        await until(lambda: w.server.deliveries.delivered == 3)


@pytest.mark.skipif(not OPENAPI.exists(), reason=f"{OPENAPI} is not there")
async def test_a_subscription_is_one_by_microsofts_metadata(certificates: Certificates) -> None:
    document = json.loads(OPENAPI.read_text())
    known = document["components"]["schemas"]["microsoft.graph.subscription"]["properties"]
    types = {name: {"type": [part["type"], *(["null"] if part.get("nullable") else [])]}
             for name, part in known.items()}
    schema = {"type": "object", "properties": types, "additionalProperties": False}
    async with receiving(certificates) as (w, receiver):
        made = await subscribe(w, receiver, lifecycleNotificationUrl=receiver.url)
        listed = (await w.ask("GET", "/subscriptions")).json["value"]
        for one in (made.json, *listed):
            jsonschema.validate({k: v for k, v in one.items() if not k.startswith("@odata")}, schema)


async def test_both_urls_are_validated(certificates: Certificates) -> None:
    async with receiving(certificates) as (w, receiver):
        assert (await subscribe(w, receiver, lifecycleNotificationUrl=f"{receiver.url}?lifecycle=1")).status == 201
        assert len(set(receiver.tokens)) == 2


@pytest.mark.parametrize(("answer", "text"), [
    ((200, b"text/plain", b"other"), "exactly match"), ((202, b"text/plain", None), "200 OK"),
    ((200, b"text/html", None), "exactly match"), (None, "timed out")])
async def test_a_url_that_does_not_repeat_the_token_in_time_gets_no_subscription(
        certificates: Certificates, answer: tuple[int, bytes, bytes | None] | None, text: str) -> None:
    async with receiving(certificates) as (w, receiver):
        receiver.token_answer = lambda token: answer and (answer[0], answer[1], answer[2] or token)
        asked: Deferred[Reply] = deferred(subscribe(w, receiver))
        await until(lambda: receiver.tokens)
        if answer is None:
            w.pass_time(10)
        reply = await asked
        assert (reply.status, reply.code) == (400, "ValidationError")
        assert text in reply.json["error"]["message"]
        assert w.server.subscriptions.all() == ()


async def test_a_url_that_nobody_listens_at_or_nobody_trusts_gets_no_subscription(certificates: Certificates,
                                                                                  tmp_path: Path) -> None:
    async with receiving(certificates) as (w, receiver):
        asked = deferred(subscribe(w, receiver, notificationUrl="https://127.0.0.1:1/x"))
        while not asked.called:
            await deferLater(reactor, 0.005)
            w.pass_time(0.1)  # until the client has given up on the address
        assert (await asked).code == "ValidationError"
    other = make_certificates(tmp_path, ["localhost"], datetime.now(UTC))
    async with receiving(other) as (_, stranger), receiving(certificates) as (w, receiver):
        reply = await subscribe(w, receiver, notificationUrl=stranger.url)
        assert (reply.status, reply.code) == (400, "ValidationError")
        assert stranger.tokens == []


@pytest.mark.parametrize(("changes", "status", "text"), [
    ({"expirationDateTime": None}, 400, "expirationDateTime is a required property"),
    ({"expirationDateTime": "2026-03-05T06:30:01Z"}, 400, "can only be 4230 minutes"),
    ({"expirationDateTime": "2026-03-02T08:00:00Z"}, 400, "must be in the future"),
    ({"expirationDateTime": "2026-03-03T08:00:00"}, 400, "camelCased"),
    ({"changeType": "created,moved"}, 400, "changeType"),
    ({"resource": "/users/x/messages"}, 400, "not supported"),
    ({"resource": "/users/nobody@example.com/events"}, 404, "invalid"),
    ({"notificationUrl": "http://localhost/x"}, 400, "https"), ({"clientState": "x" * 129}, 400, "128"),
    ({"includeResourceData": True}, 501, "includeResourceData")])
async def test_a_subscription_that_cannot_be_had_is_refused(certificates: Certificates, changes: dict[str, Any],
                                                            status: int, text: str) -> None:
    async with receiving(certificates) as (w, receiver):
        reply = await subscribe(w, receiver, **changes)
        assert reply.status == status
        assert text in reply.json["error"]["message"]
        assert receiver.tokens == []


async def test_a_mailbox_takes_so_many_subscriptions(certificates: Certificates) -> None:
    async with receiving(certificates, subscriptions_per_mailbox=2) as (w, receiver):
        assert [(await subscribe(w, receiver)).status for _ in range(3)] == [201, 201, 403]


async def test_a_subscription_ends_by_itself_unless_it_is_renewed(certificates: Certificates) -> None:
    async with receiving(certificates, token_life=timedelta(days=9)) as (w, receiver):
        one, two = [(await subscribe(w, receiver)).json["id"] for _ in range(2)]
        w.pass_time(69 * 3600)
        later = {"expirationDateTime": "2026-03-07T08:00:00.0000000+00:00"}
        renewed = await w.ask("PATCH", f"/subscriptions/{one}", later)
        assert (renewed.status, renewed.json["expirationDateTime"]) == (200, "2026-03-07T08:00:00.0000000Z")
        w.pass_time(2 * 3600)
        w.calendars.book(ROOM, NOW, NOW + HOUR)
        w.pass_time(0)
        await until(lambda: receiver.notifications)
        assert [n["subscriptionId"] for n in receiver.notifications] == [one]
        assert (await w.ask("PATCH", f"/subscriptions/{two}", later)).code == "ResourceNotFound"
        assert [s["id"] for s in (await w.ask("GET", "/subscriptions")).json["value"]] == [one]


async def test_a_subscription_that_is_deleted_is_told_nothing_more(certificates: Certificates) -> None:
    async with receiving(certificates) as (w, receiver):
        one = (await subscribe(w, receiver)).json["id"]
        assert (await w.ask("GET", f"/subscriptions/{one}")).json["clientState"] is None
        assert (await w.ask("DELETE", f"/subscriptions/{one}")).status == 204
        assert (await w.ask("DELETE", f"/subscriptions/{one}")).status == 404
        w.calendars.book(ROOM, NOW, NOW + HOUR)
        assert not w.hands.clock.getDelayedCalls() or w.server.deliveries.attempts == 0


async def test_another_application_does_not_see_a_subscription(certificates: Certificates) -> None:
    other = GraphApp("99999999-2222-3333-4444-555555555555", "other~value")
    async with receiving(certificates, apps=(APP, other)) as (w, receiver):
        one = (await subscribe(w, receiver)).json["id"]
        w.token = (await w.form(client_id=other.client_id, client_secret=other.client_secret)).json["access_token"]
        assert (await w.ask("GET", f"/subscriptions/{one}")).status == 404
        assert (await w.ask("GET", "/subscriptions")).json["value"] == []


async def test_only_the_kinds_of_change_asked_for_are_told_and_in_the_ids_asked_for(
        certificates: Certificates) -> None:
    async with receiving(certificates) as (w, receiver):
        await w.ask("POST", "/subscriptions", wanted(receiver, changeType="deleted"),
                    headers={"Prefer": 'IdType="ImmutableId"'})
        booking = w.calendars.book(ROOM, NOW, NOW + HOUR)
        w.calendars.cancel(ROOM, booking.id)
        w.pass_time(0)
        await until(lambda: receiver.notifications)
        (told,) = receiver.notifications
        assert (told["changeType"], told["resourceData"]["id"]) == (
            "deleted", event_id(ROOM, booking.id, immutable=True))


async def test_changes_are_told_after_the_delay_and_together(certificates: Certificates) -> None:
    async with receiving(certificates, notification_delay_s=(30.0, 30.0)) as (w, receiver):
        w.calendars.add_room("other@example.com")
        await subscribe(w, receiver)
        await subscribe(w, receiver, resource="users/other@example.com/events")
        w.calendars.book(ROOM, NOW, NOW + HOUR)
        w.pass_time(29)
        w.calendars.book("other@example.com", NOW, NOW + HOUR)
        assert receiver.posts == 0
        w.pass_time(1)
        await until(lambda: len(receiver.notifications) == 2)
        assert receiver.posts == 1
        assert len({n["subscriptionId"] for n in receiver.notifications}) == 2


async def test_a_receiver_that_fails_is_asked_again_with_growing_pauses_and_then_no_more(
        certificates: Certificates) -> None:
    async with receiving(certificates, retry_for=timedelta(seconds=70)) as (w, receiver):
        await subscribe(w, receiver)
        receiver.status = 503
        w.calendars.book(ROOM, NOW, NOW + HOUR)
        w.pass_time(0)
        for number, pause_s in enumerate((10, 20, 40), 1):
            await until(lambda n=number: receiver.posts == n and w.hands.clock.getDelayedCalls())
            await until(lambda: any(c.getTime() > w.hands.clock.seconds() for c in w.server.deliveries._later))
            w.pass_time(pause_s)
        await until(lambda: w.server.deliveries.dropped == 1)
        assert receiver.posts == 4
        receiver.status = 202
        w.calendars.book(ROOM, NOW, NOW + HOUR)
        w.pass_time(0)
        await until(lambda: w.server.deliveries.delivered == 1)


async def test_notifications_are_lost_on_command_without_a_trace(certificates: Certificates) -> None:
    async with receiving(certificates) as (w, receiver):
        await subscribe(w, receiver)
        w.server.deliveries.lose = 1
        w.calendars.book(ROOM, NOW, NOW + HOUR, id="lost")
        w.calendars.book(ROOM, NOW, NOW + HOUR, id="told")
        w.pass_time(0)
        await until(lambda: receiver.notifications)
        assert [n["resourceData"]["id"] for n in receiver.notifications] == [event_id(ROOM, "told")]
        assert w.server.deliveries.lost == 1


async def test_lifecycle_events_go_to_their_own_url_and_do_what_they_say(certificates: Certificates) -> None:
    async with receiving(certificates) as (w, receiver):
        one = (await subscribe(w, receiver, lifecycleNotificationUrl=f"{receiver.url}?lifecycle=1")).json["id"]
        told = w.server.subscriptions.tell
        told(one, "reauthorizationRequired")
        w.calendars.book(ROOM, NOW, NOW + HOUR)  # nobody is told
        w.pass_time(0)
        await until(lambda: receiver.notifications)
        (event,) = receiver.notifications
        assert (event["lifecycleEvent"], event["subscriptionId"], event["clientState"]) == (
            "reauthorizationRequired", one, "s3cret")
        assert (await w.ask("POST", f"/subscriptions/{one}/reauthorize")).status == 204
        w.calendars.book(ROOM, NOW, NOW + HOUR)
        w.pass_time(0)
        await until(lambda: len(receiver.notifications) == 2)
        told(one, "missed")
        told(one, "subscriptionRemoved")
        w.pass_time(0)
        await until(lambda: len(receiver.notifications) == 4)
        assert [n.get("lifecycleEvent") for n in receiver.notifications[2:]] == ["missed", "subscriptionRemoved"]
        assert w.server.subscriptions.all() == ()
        with pytest.raises(KeyError):
            told(one, "missed")
