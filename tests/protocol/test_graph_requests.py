"""Requests to Graph, held against the description of its API."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from otjd.meetings.model import Window
from otjd.protocol.graph_requests import NAMED_PROPERTIES, GraphApi, GraphRequest, property_id
from tests.protocol.graph_schema import validated

DAY = Window(datetime(2026, 11, 21, 8, 30, 5, 999, tzinfo=UTC), datetime(2026, 11, 22, tzinfo=UTC))
ROOM = "board room+1@example.com"
API = GraphApi("graph.microsoft.com")


def query(request: GraphRequest) -> dict[str, str]:
    return {name: one for name, (one,) in parse_qs(urlsplit(request.url).query, strict_parsing=True).items()}


def preferences(request: GraphRequest) -> set[str]:
    return set(request.headers["Prefer"].split(", "))


def test_marks_are_asked_for_without_bodies_and_properties() -> None:
    request = validated(API.marks(ROOM, DAY))
    assert urlsplit(request.url).path == "/v1.0/users/board%20room%2B1@example.com/calendarView"
    assert query(request) == {"startDateTime": "2026-11-21T08:30:05Z", "endDateTime": "2026-11-22T00:00:00Z",
                              "$select": "id,changeKey,start,end", "$top": "500"}
    assert preferences(request) == {'IdType="ImmutableId"', 'outlook.timezone="UTC"'}


def test_events_come_with_bodies_named_properties_utc_times_and_immutable_ids() -> None:
    request = validated(API.events(ROOM, DAY, 5))
    asked = query(request)
    assert asked["$top"] == "5"
    assert all(property_id(name) in asked["$expand"] for name in NAMED_PROPERTIES)
    assert {"body", "iCalUId", "onlineMeeting", "sensitivity"} <= set(asked["$select"].split(","))
    assert "attendees" not in asked["$select"]
    assert preferences(request) == {'IdType="ImmutableId"', 'outlook.timezone="UTC"',
                                    'outlook.body-content-type="html"'}


def test_delta_has_no_options_but_its_window_and_the_size_of_its_pages() -> None:
    request = validated(API.delta(ROOM, DAY))
    assert set(query(request)) == {"startDateTime", "endDateTime"}
    assert "odata.maxpagesize=200" in preferences(request)
    assert API.resume(f"{API.base}/users/x/calendarView/delta?$deltatoken=1").headers == request.headers


def test_free_time_is_asked_for_rooms_in_the_name_of_a_mailbox_for_62_days_at_most() -> None:
    rooms = ["a@example.com", "b@example.com"]
    long = Window(DAY.start, DAY.start + timedelta(days=366))
    request = validated(API.schedules(ROOM, rooms, long))
    assert urlsplit(request.url).path.endswith("/users/board%20room%2B1@example.com/calendar/getSchedule")
    assert json.loads(request.body or b"") == {
        "schedules": rooms, "availabilityViewInterval": 30,
        "startTime": {"dateTime": "2026-11-21T08:30:05", "timeZone": "UTC"},
        "endTime": {"dateTime": "2027-01-22T08:30:05", "timeZone": "UTC"}}


def test_a_subscription_is_for_the_events_of_a_room_and_its_lifecycle() -> None:
    url = "https://otj.example.com/notifications/m365"
    request = validated(API.subscribe("a@example.com", url, "s3cr3t", DAY.end))
    assert request.is_repeatable is False
    assert json.loads(request.body or b"") == {
        "changeType": "created,updated,deleted", "resource": "/users/a@example.com/events",
        "clientState": "s3cr3t", "notificationUrl": url, "lifecycleNotificationUrl": url,
        "expirationDateTime": "2026-11-22T00:00:00Z"}
    renewal = validated(API.renew("id/1", DAY.end))
    assert (renewal.method, renewal.url) == ("PATCH", f"{API.base}/subscriptions/id%2F1")
    assert json.loads(renewal.body or b"") == {"expirationDateTime": "2026-11-22T00:00:00Z"}
    assert validated(API.unsubscribe("1")).method == "DELETE"


def test_a_domain_of_a_national_cloud_may_carry_a_port() -> None:
    assert GraphApi("graph.microsoft.us:8443").marks(ROOM, DAY).url.startswith("https://graph.microsoft.us:8443/v1.0/")


def test_a_next_page_is_asked_for_as_the_first_one_was() -> None:
    first = API.events(ROOM, DAY)
    after = API.follow(f"{API.base}/users/x/calendarView?$skiptoken=1", first)
    assert (after.method, after.headers) == ("GET", first.headers)


@pytest.mark.parametrize(("domain", "host"), [
    ("graph.microsoft.com:443", "graph.microsoft.com"), ("graph.microsoft.com", "graph.microsoft.com:443"),
    ("graph.microsoft.com", "Graph.Microsoft.com"), ("localhost:8443", "localhost:8443")])
def test_a_link_may_leave_the_usual_port_out_or_name_it(domain: str, host: str) -> None:
    api = GraphApi(domain)
    link = f"https://{host}/v1.0/users/{ROOM}/calendarView?$skiptoken=x"
    assert api.follow(link, api.events(ROOM, DAY)).url == link


@pytest.mark.parametrize("link", [
    "https://graph.microsoft.com.example.net/v1.0/users/x", "http://graph.microsoft.com/v1.0/users/x",
    "https://graph.microsoft.com:444/v1.0/users", "https://graph.microsoft.com/beta/users", "//x/v1.0/", "",
    "https://user@graph.microsoft.com/v1.0/users"])
def test_no_token_goes_where_a_foreign_link_leads(link: str) -> None:
    with pytest.raises(ValueError, match=r"expected one that begins with https://graph\.microsoft\.com/v1\.0/"):
        API.follow(link, API.events(ROOM, DAY))
