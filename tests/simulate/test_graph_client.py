"""The simulated Graph asked by Microsoft's own client. It is 390 MB: `pip install -e .[graph-client]`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from twisted.internet.threads import deferToThread

from otjd.meetings.model import Organizer
from otjd.simulate.graph_settings import Fault
from tests.simulate.graph_world import HOUR, NOW, ROOM, WEEK, World, world

msgraph: Any = pytest.importorskip("msgraph", reason="msgraph-sdk is not installed")
PROPERTY = "String {00020329-0000-0000-C000-000000000046} Name TeamsVtcConferenceId"


class Bearer:
    """What the client calls to have a request authenticated."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def authenticate_request(self, request: Any, _: Any = None) -> None:
        request.headers.try_add("Authorization", f"Bearer {self._token}")


async def by_client(w: World, use: Callable[[Any], Awaitable[Any]]) -> Any:
    """What `use` gives, called with the client on an event loop of its own."""
    import httpx
    from msgraph_core import GraphClientFactory

    async def run() -> Any:
        async with GraphClientFactory.create_with_default_middleware(client=httpx.AsyncClient()) as http:
            adapter = msgraph.GraphRequestAdapter(Bearer(w.token), http)
            adapter.base_url = f"{w.url}/v1.0"
            return await use(msgraph.GraphServiceClient(request_adapter=adapter))

    return await deferToThread(asyncio.run, run())


def settings(builder: Any, prefer: str = "", **query: Any) -> Any:
    """The configuration of a request of this builder's module."""
    from kiota_abstractions.base_request_configuration import RequestConfiguration

    parameters = next(v for k, v in vars(builder).items() if k.endswith("GetQueryParameters"))
    configuration = RequestConfiguration(query_parameters=parameters(**query))
    if prefer:
        configuration.headers.add("Prefer", prefer)
    return configuration


WINDOW = {"start_date_time": WEEK["startDateTime"], "end_date_time": WEEK["endDateTime"]}


async def test_a_calendar_view_is_read_with_its_pages_and_extended_properties() -> None:
    from msgraph.generated.users.item.calendar_view.calendar_view_request_builder import CalendarViewRequestBuilder

    async def use(client: Any) -> list[Any]:
        builder = client.users.by_user_id(ROOM).calendar_view
        page = await builder.get(settings(
            CalendarViewRequestBuilder, 'outlook.timezone="UTC"', **WINDOW, top=2,
            expand=[f"singleValueExtendedProperties($filter=id eq '{PROPERTY}')"]))
        found = list(page.value)
        while page.odata_next_link:
            page = await builder.with_url(page.odata_next_link).get()
            found += page.value
        return found

    async with world(attendees=2) as w:
        for number in range(5):
            w.calendars.book(ROOM, NOW + number * HOUR, NOW + (number + 1) * HOUR, subject=str(number),
                             organizer=Organizer("Ada", "ada@example.com"),
                             properties={"TeamsVtcConferenceId": f"99{number}"})
        found = await by_client(w, use)
        assert [e.subject for e in found] == ["0", "1", "2", "3", "4"]
        assert [e.single_value_extended_properties[0].value for e in found] == [f"99{n}" for n in range(5)]
        first = found[0]
        assert (first.start.date_time, first.start.time_zone) == ("2026-03-02T08:00:00.0000000", "UTC")
        assert [one.value for one in (first.show_as, first.type, first.sensitivity)] == [
            "busy", "singleInstance", "normal"]
        assert first.organizer.email_address.address == "ada@example.com"
        assert [a.type.value for a in first.attendees] == ["resource", "required", "required"]
        assert first.created_date_time == NOW
        assert w.server.counts["calendarView"] == 3


async def test_changes_are_read_by_delta() -> None:
    from msgraph.generated.users.item.calendar_view.delta.delta_request_builder import DeltaRequestBuilder

    async with world() as w:
        w.calendars.book(ROOM, NOW, NOW + HOUR, subject="one", id="1", rule="FREQ=WEEKLY;BYDAY=MO;COUNT=3")

        async def use(client: Any) -> tuple[Any, Any]:
            builder = client.users.by_user_id(ROOM).calendar_view.delta
            first = await builder.get(settings(DeltaRequestBuilder, **WINDOW))
            w.calendars.cancel(ROOM, "1")
            return first, await builder.with_url(first.odata_delta_link).get()

        first, second = await by_client(w, use)
        assert [e.type.value for e in first.value] == ["seriesMaster", "occurrence"]
        pattern = first.value[0].recurrence.pattern
        assert (pattern.type.value, [d.value for d in pattern.days_of_week]) == ("weekly", ["monday"])
        assert {e.id for e in second.value} == {e.id for e in first.value}
        assert all("@removed" in e.additional_data for e in second.value)


async def test_free_busy_is_read() -> None:
    from msgraph.generated.models.date_time_time_zone import DateTimeTimeZone
    from msgraph.generated.users.item.calendar.get_schedule.get_schedule_post_request_body import (
        GetSchedulePostRequestBody,
    )

    async def use(client: Any) -> Any:
        body = GetSchedulePostRequestBody(
            schedules=[ROOM, "nobody@example.com"], availability_view_interval=60,
            start_time=DateTimeTimeZone(date_time="2026-03-02T08:00:00", time_zone="UTC"),
            end_time=DateTimeTimeZone(date_time="2026-03-02T10:00:00", time_zone="UTC"))
        return await client.users.by_user_id(ROOM).calendar.get_schedule.post(body)

    async with world() as w:
        w.calendars.book(ROOM, NOW, NOW + HOUR, subject="one")
        good, bad = (await by_client(w, use)).value
        assert (good.availability_view, good.schedule_items[0].subject) == ("20", "one")
        assert good.schedule_items[0].status.value == "busy"
        assert good.working_hours.time_zone.name == "UTC"
        assert bad.error.response_code == "ErrorMailRecipientNotFound"


async def test_an_error_is_told_with_its_code_and_a_throttled_request_is_made_again_after_the_time_told() -> None:
    from kiota_abstractions.api_error import APIError
    from msgraph.generated.users.item.calendar_view.calendar_view_request_builder import CalendarViewRequestBuilder

    async def use(client: Any) -> tuple[Any, Any]:
        async def view(user: str) -> Any:
            return await client.users.by_user_id(user).calendar_view.get(
                settings(CalendarViewRequestBuilder, **WINDOW))

        with pytest.raises(APIError) as raised:
            await view("nobody@example.com")
        return raised.value, await view(ROOM)

    async with world() as w:
        w.server.faults.append(Fault("status", status=429, retry_after_s=1, room=ROOM))
        error, page = await by_client(w, use)
        assert (error.response_status_code, error.error.code) == (404, "ErrorInvalidUser")
        assert error.error.inner_error.request_id
        assert page.value == []
        assert w.server.statuses["calendarView", 429] == 1


async def test_what_is_wrong_with_a_subscription_is_told() -> None:
    from kiota_abstractions.api_error import APIError
    from msgraph.generated.models.subscription import Subscription

    async def use(client: Any) -> Any:
        with pytest.raises(APIError) as raised:
            await client.subscriptions.post(Subscription(
                change_type="created", notification_url="http://localhost/x", resource=f"/users/{ROOM}/events",
                expiration_date_time=datetime(2026, 3, 3, tzinfo=UTC), client_state="x"))
        return raised.value, await client.subscriptions.get()

    async with world() as w:
        error, listed = await by_client(w, use)
        assert "https" in error.error.message
        assert listed.value == []
