"""The Graph source against WireMock: answers as Microsoft documents them, and servers and networks that fail.

Shapes: learn.microsoft.com/graph/api: user-list-calendarview, calendar-getschedule, event-delta,
subscription-post-subscriptions; graph/throttling.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.threads import deferToThread

from otjd.config.model import Config, GraphIntegration, Node, Secret
from otjd.gather.source import RoomReading, ThrottledError, UnreachableError
from otjd.meetings.model import FreeBusyStatus, Organizer, Window
from otjd.outbound.client import HttpClient
from otjd.protocol.graph_requests import NAMED_PROPERTIES
from otjd.seam import deferred
from otjd.sources import CalendarSystem, Surroundings, calendar_system
from tests.interop.wiremock import Asked, WireMock, wiremock
from tests.outbound.servers import Certificates, Clocked, reactor, until

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
WINDOW = Window(NOW - timedelta(days=1), NOW + timedelta(days=7))
ROOM = "AdeleV@contoso.onmicrosoft.com"
TENANT = "/contoso.onmicrosoft.com/oauth2/v2.0/token"
USER = f"/v1.0/users/{ROOM}"
VIEW, DELTA, SCHEDULE = f"{USER}/calendarView", f"{USER}/calendarView/delta", f"{USER}/calendar/getSchedule"
SUBSCRIPTION = "7f105c7d-2dc5-4530-97cd-4e7ae6534c07"
TOKEN = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiIsIng1dCI6Ik1uQ19WWmNBVGZNNXBP"
SECRET = "s3cret~value"


def event(number: int = 0, **changes: Any) -> dict[str, Any]:
    """An event in the shape of Microsoft's examples."""
    return {
        "@odata.etag": 'W/"ZlnW4RIAV06KYYwlrfNZvQAAKGWwbw=="', "id": f"AAMkAGIAAAoZDOFAAA={number}",
        "changeKey": "ZlnW4RIAV06KYYwlrfNZvQAAKGWwbw==", "originalStartTimeZone": "Pacific Standard Time",
        "originalEndTimeZone": "Pacific Standard Time", "responseStatus": {
            "response": "accepted", "time": "2026-11-10T10:00:00Z"},
        "iCalUId": f"040000008200E00074C5B7101A82E00807E0{number:04}", "isAllDay": False, "isCancelled": False,
        "sensitivity": "normal", "showAs": "busy", "type": "singleInstance", "seriesMasterId": None,
        "subject": "Plan summer company picnic", "body": {"contentType": "html", "content":
            "<html><head></head><body><p>Let's kick-start this event planning!</p></body></html>"},
        "start": {"dateTime": "2026-11-24T11:00:00.0000000", "timeZone": "UTC"},
        "end": {"dateTime": "2026-11-24T12:00:00.0000000", "timeZone": "UTC"},
        "location": {"displayName": "Conf Room 3; Fourth Coffee", "locationType": "default",
                     "uniqueId": "Conf Room 3", "uniqueIdType": "private"},
        "organizer": {"emailAddress": {"name": "Dana Swope", "address": "danas@contoso.onmicrosoft.com"}},
        "onlineMeetingUrl": None, "onlineMeeting": {
            "joinUrl": "https://teams.microsoft.com/l/meetup-join/19%3ameeting_x%40thread.v2/0"},
        "singleValueExtendedProperties@odata.context": "https://graph.microsoft.com/v1.0/$metadata#x",
        "singleValueExtendedProperties": [
            {"id": "String {00020329-0000-0000-c000-000000000046} Name TeamsVtcConferenceId",
             "value": "1121073487"}],
        **changes}


def listing(*events: Any, **links: str) -> dict[str, Any]:
    return {"@odata.context": f"https://graph.microsoft.com/v1.0/$metadata#users('{ROOM}')/calendarView",
            "value": list(events), **{f"@odata.{name}": link for name, link in links.items()}}


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[tuple[int, int]]:
    with wiremock(tmp_path_factory.mktemp("wiremock"), certificates) as ports:
        yield ports


@dataclass
class Cloud:
    """A WireMock that stands for Microsoft 365, and the source of an integration as a node makes it."""

    mock: WireMock
    system: CalendarSystem
    clocked: Clocked
    base: str

    async def read(self, memory: Any = None) -> RoomReading:
        return await self.system.source.read(ROOM, WINDOW, memory)

    async def asked(self, path: str = "") -> list[Asked]:
        return [one for one in await self.mock.asked() if path in ("", one.path)]


@asynccontextmanager
async def cloud_at(ports: tuple[int, int], certificates: Certificates, directory: Path,
                   notification_url: str = "") -> AsyncIterator[Cloud]:
    https, admin = ports
    integration = GraphIntegration(
        name="m365", client_id="11111111-2222-3333-4444-555555555555", client_secret=Secret(SECRET),
        oauth_token_url=f"https://localhost:{https}{TENANT}", graph_api_domain=f"localhost:{https}",
        ca_file=certificates.ca_file, notification_url=notification_url)
    config = Config(node=Node(state_dir=directory), graph_integrations=(integration,))
    clocked = Clocked()
    http = HttpClient(reactor)
    mock = WireMock(http, admin)
    system = calendar_system(config, integration, Surroundings(
        reactor=clocked, now=lambda: NOW + timedelta(seconds=clocked.clock.seconds()), in_thread=deferToThread,
        spend=lambda _: None))
    await mock.reset()
    await mock.answers("POST", TENANT, {"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599,
                                        "access_token": TOKEN})
    await mock.answers("GET", VIEW, listing(event()))
    try:
        yield Cloud(mock, system, clocked, f"https://localhost:{https}/v1.0")
    finally:
        await system.source.stop()
        await system.close()
        await http.close()


Ports = tuple[int, int]


async def test_an_event_is_read_as_documented(ports: Ports, certificates: Certificates, tmp_path: Path) -> None:
    async with cloud_at(ports, certificates, tmp_path) as cloud:
        (found,) = (await cloud.read()).invitations
        assert found.subject == "Plan summer company picnic"
        assert found.start_time == datetime(2026, 11, 24, 11, tzinfo=UTC)
        assert found.end_time == datetime(2026, 11, 24, 12, tzinfo=UTC)
        assert found.location == "Conf Room 3; Fourth Coffee"
        assert found.organizer == Organizer("Dana Swope", "danas@contoso.onmicrosoft.com")
        assert "kick-start" in found.body_html
        assert found.free_busy is FreeBusyStatus.BUSY
        assert "1121073487" in json.dumps(found.properties)


async def test_requests_bear_what_microsoft_asks_for_and_the_secret_goes_for_a_token_alone(
        ports: Ports, certificates: Certificates, tmp_path: Path) -> None:
    async with cloud_at(ports, certificates, tmp_path) as cloud:
        await cloud.read((await cloud.read()).memory)
        token, whole, marks = await cloud.asked()
        assert (token.method, token.path) == ("POST", TENANT)
        assert {"grant_type=client_credentials", "client_secret=s3cret~value",
                "scope=https%3A%2F%2Flocalhost%2F.default"} <= {*token.body.split("&")}
        assert "authorization" not in token.headers
        for request in (whole, marks):
            assert (request.method, request.path) == ("GET", VIEW)
            assert request.headers["authorization"] == f"Bearer {TOKEN}"
            assert request.headers["user-agent"].startswith("otjd")
            assert "gzip" in request.headers["accept-encoding"]
            assert {'IdType="ImmutableId"', 'outlook.timezone="UTC"'} <= {*request.headers["prefer"].split(", ")}
            assert SECRET not in str(request)
        assert 'outlook.body-content-type="html"' in whole.headers["prefer"]
        assert all(name in whole.url for name in NAMED_PROPERTIES)


async def test_pages_are_followed_to_their_end(ports: Ports, certificates: Certificates, tmp_path: Path) -> None:
    async with cloud_at(ports, certificates, tmp_path) as cloud:
        await cloud.mock.answers("GET", VIEW, listing(
            event(1), nextLink=f"{cloud.base}/users/{ROOM}/calendarView?startDateTime=x&$skip=10"))
        await cloud.mock.answers("GET", VIEW, listing(event(2)), query={"$skip": "10"})
        reading = await cloud.read()
        assert [one.uid[-4:] for one in reading.invitations] == ["0001", "0002"]
        first, second = await cloud.asked(VIEW)
        assert first.headers["prefer"] == second.headers["prefer"]


@pytest.mark.parametrize("link", ["https://127.0.0.1:{port}/v1.0/users/x", "https://localhost:{port}/beta/users/x",
                                  "http://localhost:{port}/v1.0/users/x"])
async def test_a_link_to_another_place_is_not_followed(ports: Ports, certificates: Certificates, tmp_path: Path,
                                                       link: str) -> None:
    async with cloud_at(ports, certificates, tmp_path) as cloud:
        await cloud.mock.answers("GET", VIEW, listing(event(), nextLink=link.format(port=ports[0])))
        with pytest.raises(UnreachableError, match="leads elsewhere"):
            await cloud.read()
        assert [one.path for one in await cloud.asked()] == [TENANT, VIEW]


async def test_a_redirect_takes_the_token_nowhere(ports: Ports, certificates: Certificates,
                                                  tmp_path: Path) -> None:
    async with cloud_at(ports, certificates, tmp_path) as cloud:
        await cloud.mock.answers("GET", VIEW, status=302,
                                 headers={"Location": f"https://127.0.0.1:{ports[0]}{VIEW}"})
        with pytest.raises(UnreachableError):
            await cloud.read()
        assert {one.headers["host"] for one in await cloud.asked()} == {f"localhost:{ports[0]}"}


async def test_a_throttled_request_is_repeated_when_microsoft_says(ports: Ports, certificates: Certificates,
                                                                   tmp_path: Path) -> None:
    async with cloud_at(ports, certificates, tmp_path) as cloud:
        await cloud.mock.answers("GET", VIEW, {"error": {
            "code": "ApplicationThrottled", "message": "Application is over its MailboxConcurrency limit.",
            "innerError": {"code": "429", "request-id": "94fb3b52", "date": "2026-11-23T09:00:00"}}},
            status=429, headers={"Retry-After": "7"}, once="throttled")
        with pytest.raises(ThrottledError, match="MailboxConcurrency") as caught:
            await cloud.read()
        assert (caught.value.retry_after, caught.value.room) == (timedelta(seconds=7), ROOM)
        assert len((await cloud.read()).invitations) == 1


LOST = "the connection was lost before the answer was complete"


@pytest.mark.parametrize(("how", "words"), [
    ({"fault": "CONNECTION_RESET_BY_PEER"}, LOST), ({"fault": "EMPTY_RESPONSE"}, LOST),
    ({"fault": "MALFORMED_RESPONSE_CHUNK"}, LOST), ({"fault": "RANDOM_DATA_THEN_CLOSE"}, LOST),
    ({"status": 503}, "503"), ({"body": "<html>Sign in</html>"}, "something else than a JSON object")])
async def test_a_failure_costs_one_reading_and_the_next_is_whole(ports: Ports, certificates: Certificates,
                                                                 tmp_path: Path, how: Any, words: str) -> None:
    async with cloud_at(ports, certificates, tmp_path) as cloud:
        memory = (await cloud.read()).memory
        await cloud.mock.answers("GET", VIEW, listing(event(changeKey="new")))
        await cloud.mock.answers("GET", VIEW, **how)
        with pytest.raises(UnreachableError, match=words):
            await cloud.read(memory)
        await cloud.mock.answers("GET", VIEW, listing(event(changeKey="new")))
        assert len((await cloud.read(memory)).invitations) == 1


async def test_a_body_that_comes_slowly_is_read_and_one_that_does_not_end_is_given_up(
        ports: Ports, certificates: Certificates, tmp_path: Path) -> None:
    async with cloud_at(ports, certificates, tmp_path) as cloud:
        body = listing(*(event(n) for n in range(20)))
        await cloud.mock.answers("GET", VIEW, body,
                                 chunkedDribbleDelay={"numberOfChunks": 5, "totalDuration": 300})
        assert len((await cloud.read()).invitations) == 20
        await cloud.mock.answers("GET", VIEW, body,
                                 chunkedDribbleDelay={"numberOfChunks": 100, "totalDuration": 20_000})
        waiting = deferred(cloud.read())
        given_up: list[Any] = []
        waiting.addErrback(given_up.append)

        def is_given_up() -> bool:
            cloud.clocked.clock.advance(1)
            return bool(given_up)

        await until(is_given_up)
        assert given_up[0].check(UnreachableError)
        assert "within 60 s" in given_up[0].getErrorMessage()
        await cloud.mock.answers("GET", VIEW, listing(event()))
        assert len((await cloud.read()).invitations) == 1


async def test_free_time_is_read_as_documented(ports: Ports, certificates: Certificates, tmp_path: Path) -> None:
    other, gone = "meganb@contoso.onmicrosoft.com", "nobody@contoso.onmicrosoft.com"
    item = {"status": "Busy", "isPrivate": False, "subject": "Let's go for lunch", "location": "Harry's Bar",
            "start": {"dateTime": "2026-11-24T12:00:00.0000000", "timeZone": "UTC"},
            "end": {"dateTime": "2026-11-24T14:00:00.0000000", "timeZone": "UTC"}}
    hours = {"daysOfWeek": ["monday", "tuesday"], "startTime": "08:00:00.0000000", "endTime": "17:00:00.0000000",
             "timeZone": {"name": "Pacific Standard Time"}}
    context = {"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#Collection(scheduleInformation)"}

    def schedules(*items: Any) -> Any:
        return {**context, "value": [
            {"scheduleId": ROOM.lower(), "availabilityView": "000220000", "scheduleItems": [*items],
             "workingHours": hours},
            {"scheduleId": other, "availabilityView": "200220010", "scheduleItems": [item], "workingHours": hours},
            {"scheduleId": gone, "availabilityView": "", "scheduleItems": [], "error": {
                "message": "Proxy web request failed.", "responseCode": "ErrorMailRecipientNotFound"}}]}

    async with cloud_at(ports, certificates, tmp_path) as cloud:
        rooms = [ROOM, other, gone]
        await cloud.mock.answers("POST", SCHEDULE, schedules(item))
        before = await cloud.system.source.sweep(rooms, WINDOW)
        await cloud.mock.answers("POST", SCHEDULE.replace(ROOM, other),  # each mailbox is asked in its turn
                                 schedules(item, {**item, "subject": "Review"}))
        after = await cloud.system.source.sweep(rooms, WINDOW)
        assert before[ROOM] != after[ROOM]
        assert isinstance(before[other], bytes)
        assert before[other] == after[other]
        assert "there is no such user" in str(after[gone])
        (asked,) = await cloud.asked(SCHEDULE)
        assert json.loads(asked.body)["schedules"] == rooms
        assert asked.headers["prefer"] == 'outlook.timezone="UTC"'
        assert asked.headers["content-type"] == "application/json"


async def test_changes_of_a_large_calendar_are_followed_and_begun_anew_when_their_token_dies(
        ports: Ports, certificates: Certificates, tmp_path: Path) -> None:
    async with cloud_at(ports, certificates, tmp_path) as cloud:
        delta = f"{cloud.base}/users/{ROOM}/calendarView/delta"
        await cloud.mock.answers("GET", VIEW, listing(*(event(n) for n in range(501))))
        reading = await cloud.read()
        assert len(reading.invitations) == 501
        await cloud.mock.answers("GET", DELTA, listing(
            event(1), {"@removed": {"reason": "deleted"}, "id": "AAMkAGIAAAoZ"},
            nextLink=f"{delta}?$skiptoken=R0usm"))
        await cloud.mock.answers("GET", DELTA, listing(deltaLink=f"{delta}?$deltatoken=D1"),
                                 query={"$skiptoken": "R0usm"})
        await cloud.mock.answers("GET", DELTA, listing(deltaLink=f"{delta}?$deltatoken=D2"),
                                 query={"$deltatoken": "D1"})
        reading = await cloud.read(reading.memory)
        assert (reading.requests, len(reading.unchanged)) == (3, 501)  # two pages of changes, one of marks
        reading = await cloud.read(reading.memory)
        assert (reading.requests, len(reading.unchanged)) == (1, 501)
        await cloud.mock.answers("GET", DELTA, {"error": {
            "code": "SyncStateNotFound", "message": "The sync state generation is not found; continue with a full "
                                                    "sync"}}, status=410, query={"$deltatoken": "D2"})
        reading = await cloud.read(reading.memory)
        assert (reading.requests, len(reading.unchanged)) == (4, 501)
        first = (await cloud.asked(DELTA))[0]
        assert "odata.maxpagesize=200" in first.headers["prefer"]
        assert not any(name in first.url for name in ("$select", "$top", "$expand"))


async def test_a_subscription_is_made_as_documented_and_ended(ports: Ports, certificates: Certificates,
                                                              tmp_path: Path) -> None:
    url = "https://otj.example.com/notifications/m365"
    async with cloud_at(ports, certificates, tmp_path, url) as cloud:
        ends = NOW + timedelta(minutes=4230)
        await cloud.mock.answers("POST", "/v1.0/subscriptions", {
            "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#subscriptions/$entity",
            "id": SUBSCRIPTION, "resource": f"/users/{ROOM}/events",
            "applicationId": "24d3b144-21ae-4080-943f-7067b395b913", "changeType": "created,updated,deleted",
            "clientState": None, "notificationUrl": url, "lifecycleNotificationUrl": url,
            "expirationDateTime": ends.isoformat(), "creatorId": "8ee44408-0679-472c-bc2a-692812af3437",
            "latestSupportedTlsVersion": "v1_2"}, status=201)
        await cloud.mock.answers("PATCH", f"/v1.0/subscriptions/{SUBSCRIPTION}", {
            "id": SUBSCRIPTION, "expirationDateTime": (ends + timedelta(days=2)).isoformat()})
        await cloud.mock.answers("DELETE", f"/v1.0/subscriptions/{SUBSCRIPTION}", status=204)
        source = cloud.system.source
        source.start(lambda _: None)
        source.watch([ROOM])
        await until(lambda: source.is_told_of(ROOM))
        (asked,) = await cloud.asked("/v1.0/subscriptions")
        body = json.loads(asked.body)
        assert (body["resource"], body["notificationUrl"]) == (f"/users/{ROOM}/events", url)
        assert len(body["clientState"]) <= 128
        assert NOW < datetime.fromisoformat(body["expirationDateTime"]) <= ends
        cloud.clocked.clock.advance(timedelta(minutes=4230).total_seconds() / 2 + 120)
        await eventually(cloud, "PATCH")
        source.watch([])
        await eventually(cloud, "DELETE")


async def eventually(cloud: Cloud, method: str) -> None:
    """Wait until such a request for the subscription has come."""
    for _ in range(200):
        if any(one.method == method for one in await cloud.asked(f"/v1.0/subscriptions/{SUBSCRIPTION}")):
            return
        cloud.clocked.clock.advance(0.5)
    raise AssertionError(f"no {method} came")
