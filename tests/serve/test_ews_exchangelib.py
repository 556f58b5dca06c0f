"""exchangelib against the emulated Exchange, with its HTTP replaced by a call."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import exchangelib
import pytest
import requests
from exchangelib.properties import CreatedEvent, DeletedEvent, ModifiedEvent, StatusEvent
from exchangelib.protocol import BaseProtocol, CachingProtocol
from requests.adapters import BaseAdapter

from otjd.meetings.model import CalendarItemType
from otjd.serve.calls import Call
from tests.serve.ews_support import ACCOUNT, NOW, ROOM, Exchange, check, meeting


@pytest.fixture
def exchange() -> Exchange:
    exchange = Exchange()
    exchange.show(
        meeting("weekly", NOW + timedelta(hours=1), alias="weekly@video.example.com", subject="Weekly & <ö>"),
        meeting("series", NOW + timedelta(days=1), occurrence="20260303T070000Z", alias="series@video.example.com",
                item_type=CalendarItemType.EXCEPTION),
        meeting("holiday", NOW.replace(hour=0) + timedelta(days=2), 24 * 60, is_all_day=True),
        meeting("secret", NOW + timedelta(days=3), is_private=True))
    return exchange


@pytest.fixture
def asked(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What exchangelib asks for, while its requests go to `exchange`."""
    operations: list[str] = []

    class Adapter(BaseAdapter):
        def __init__(self, **_: Any) -> None:
            super().__init__()

        def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
            headers = {str(k).lower(): str(v) for k, v in request.headers.items()}
            body: Any = request.body or b""
            reply = exchange.service(Call(
                ACCOUNT, "basic", str(request.method), "/EWS/Exchange.asmx", "https://otj.example.com",
                headers.get("content-type", ""), body.encode() if isinstance(body, str) else body))
            check(reply)
            operations.append(f"{reply.operation} {reply.error}".strip())
            response = requests.Response()
            response.status_code = reply.status
            response._content = reply.body
            response.url = str(request.url)
            response.request = request
            response.headers["Content-Type"] = reply.content_type
            return response

        def close(self) -> None:
            pass

    monkeypatch.setattr(BaseProtocol, "HTTP_ADAPTER_CLS", Adapter)
    CachingProtocol.clear_cache()
    yield operations
    CachingProtocol.clear_cache()


def account(email: str = ROOM.email) -> exchangelib.Account:
    return exchangelib.Account(
        email, autodiscover=False, access_type=exchangelib.DELEGATE, default_timezone=exchangelib.UTC,
        config=exchangelib.Configuration(service_endpoint="https://otj.example.com/EWS/Exchange.asmx",
                                         auth_type=exchangelib.BASIC,
                                         credentials=exchangelib.Credentials("Boardroom-1", "secret")))


def test_a_view_lists_the_window_and_reads_all_items_at_once(asked: list[str]) -> None:
    items = list(account().calendar.view(NOW, NOW + timedelta(days=7)))
    assert [i.subject for i in items] == ["Weekly & <ö>", "Series", "Holiday", "Secret"]
    assert asked == ["ConvertId ErrorInvalidIdMalformed", "GetFolder", "GetFolder", "FindItem", "GetItem"]
    weekly, series, holiday, secret = items
    assert weekly.location == "sip:weekly@video.example.com"
    assert "POLYCOM VMR ENCODED TOKEN" in weekly.text_body
    assert "POLYCOM VMR ENCODED TOKEN" in weekly.body
    assert (weekly.organizer.name, weekly.organizer.email_address) == ("Ada Berg", "ada@example.com")
    assert (weekly.start, weekly.end) == (NOW + timedelta(hours=1), NOW + timedelta(minutes=90))
    assert (series.type, series.is_recurring) == ("Exception", True)
    assert series.original_start == NOW.replace(hour=7) + timedelta(days=1)
    assert (holiday.is_all_day, holiday.start, holiday.end) == (True, date(2026, 3, 4), date(2026, 3, 4))
    assert secret.sensitivity == "Private"
    assert not secret.location


def test_each_item_can_be_read_by_its_id(asked: list[str]) -> None:
    calendar = account().calendar
    for item in calendar.view(NOW, NOW + timedelta(days=7)).only("id", "changekey", "subject"):
        read = calendar.get(id=item.id, changekey=item.changekey)
        assert (read.subject, read.id, read.changekey) == (item.subject, item.id, item.changekey)


def test_filter_and_count_page_through_the_calendar(exchange: Exchange, asked: list[str]) -> None:
    exchange.show(*(meeting(f"m{n}", NOW + timedelta(hours=n)) for n in range(250)))
    calendar = account().calendar
    assert calendar.all().count() == 250
    found = calendar.filter(start__lt=NOW + timedelta(hours=205), end__gt=NOW + timedelta(hours=1)).only("subject")
    assert [i.subject for i in found] == [f"M{n}" for n in range(1, 205)]
    latest = calendar.all().only("subject").order_by("-start")[:2]
    assert [i.subject for i in latest] == ["M249", "M248"]


def test_filters_list_what_matches_and_nothing_else(asked: list[str]) -> None:
    calendar = account().calendar

    def found(**conditions: Any) -> list[str]:
        return [i.subject for i in calendar.filter(**conditions).only("subject")]

    assert found(subject="Holiday") == ["Holiday"]
    assert found(subject="Nothing") == []
    assert found(subject__contains="e", subject__icontains="WEEK") == ["Weekly & <ö>"]
    assert found(subject__istartswith="se") == ["Series", "Secret"]
    assert found(subject__in=["Series", "Holiday"]) == ["Series", "Holiday"]
    assert found(is_all_day=True) == ["Holiday"]
    assert found(is_recurring=True, subject__exists=True) == ["Series"]
    assert found(sensitivity="Private") == ["Secret"]
    assert found(is_cancelled=True) == []
    assert found(location__contains="video.example.com") == ["Weekly & <ö>", "Series"]
    assert [i.subject for i in calendar.exclude(subject="Series").only("subject").order_by("-subject")] == [
        "Weekly & <ö>", "Secret", "Holiday"]


def test_other_folders_are_there_and_empty(asked: list[str]) -> None:
    own = account()
    assert [own.inbox.all().count(), own.msg_folder_root.all().count(), own.root.all().count()] == [0, 0, 0]
    assert own.calendar.total_count == 4


def test_another_mailbox_is_refused(asked: list[str]) -> None:
    with pytest.raises(exchangelib.errors.ErrorNonExistentMailbox):
        list(account("lounge@example.com").calendar.view(NOW, NOW + timedelta(days=1)))


def test_what_is_not_served_is_asked_for_once_only(asked: list[str]) -> None:
    calendar = account().calendar
    before = len(asked)
    with pytest.raises(exchangelib.errors.ErrorInvalidOperation):
        calendar.subscribe_to_push("https://example.com/")
    assert asked[before:] == ["Subscribe ErrorInvalidOperation"]


def test_changes_are_pulled(exchange: Exchange, asked: list[str]) -> None:
    calendar = account().calendar
    with calendar.pull_subscription() as (subscription_id, watermark):
        (quiet,) = calendar.get_events(subscription_id, watermark)
        assert [type(e) for e in quiet.events] == [StatusEvent]
        exchange.show(meeting("weekly", NOW + timedelta(hours=2), subject="Moved"), meeting("new"))
        (told,) = calendar.get_events(subscription_id, quiet.events[-1].watermark)
        assert [type(e) for e in told.events] == [CreatedEvent, ModifiedEvent, *[DeletedEvent] * 3]
        assert (told.subscription_id, told.more_events) == (subscription_id, False)
        moved = told.events[1]
        assert (moved.timestamp, moved.parent_folder_id.id) == (NOW, calendar.id)
        assert calendar.get(id=moved.item_id.id, changekey=moved.item_id.changekey).subject == "Moved"
    with pytest.raises(exchangelib.errors.ErrorSubscriptionNotFound):
        list(calendar.get_events(subscription_id, watermark))


def test_items_and_folders_are_kept_in_step(exchange: Exchange, asked: list[str]) -> None:
    calendar = account().calendar
    assert [change for change, _ in calendar.sync_items(only_fields=["subject"])] == ["create"] * 4
    exchange.show(meeting("weekly", NOW + timedelta(hours=2), subject="Moved"), meeting("new"))
    changes = list(calendar.sync_items(only_fields=["subject"]))
    assert sorted(change for change, _ in changes) == ["create", "delete", "delete", "delete", "update"]
    assert [item.subject for change, item in changes if change == "update"] == ["Moved"]
    assert list(calendar.sync_items()) == []
    assert "Calendar" in [folder.name for _, folder in account().root.sync_hierarchy()]


def test_a_room_that_was_never_read_is_busy_with_a_back_off(exchange: Exchange, asked: list[str]) -> None:
    calendar = account().calendar
    exchange.cache.configure({})
    with pytest.raises(exchangelib.errors.ErrorServerBusy) as busy:
        list(calendar.view(NOW, NOW + timedelta(days=1)))
    assert busy.value.back_off == 10


def test_folders_are_walked_names_resolved_and_changes_denied(asked: list[str]) -> None:
    own = account()
    assert {"Calendar", "Inbox", "Sent Items"} <= {f.name for f in own.root.walk()}
    (resolved,) = own.protocol.resolve_names(["boardroom@example.com"])
    assert resolved.email_address == "boardroom@example.com"
    item = next(iter(own.calendar.view(NOW, NOW + timedelta(days=1))))
    with pytest.raises(exchangelib.errors.ErrorAccessDenied):
        item.delete()
    start = exchangelib.EWSDateTime.from_datetime(NOW)
    booking = exchangelib.CalendarItem(account=own, folder=own.calendar, subject="Mine", start=start, end=start)
    with pytest.raises(exchangelib.errors.ErrorAccessDenied):
        booking.save()


def test_free_time_is_told_in_the_zone_that_was_asked_in(asked: list[str]) -> None:
    own = account()
    berlin = exchangelib.EWSTimeZone("Europe/Berlin")
    start = exchangelib.EWSDateTime(2026, 3, 2, 0, 0, tzinfo=berlin)
    found = list(own.protocol.get_free_busy_info(
        [(own, "Room", False), ("lounge@example.com", "Required", False)], start, start + timedelta(days=3),
        merged_free_busy_interval=60))
    assert asked[1:] == ["GetServerTimeZones", "GetUserAvailabilityRequest ErrorMailRecipientNotFound"]
    view, missing = found
    assert isinstance(missing, exchangelib.errors.ErrorMailRecipientNotFound)
    assert view.view_type == "DetailedMerged"
    assert view.merged == "0" * 10 + "2" + "0" * 22 + "2" + "0" * 15 + "2" * 23
    assert [(e.start, e.details.subject) for e in view.calendar_events][:2] == [
        (NOW + timedelta(hours=1), "Weekly & <ö>"), (NOW + timedelta(days=1), "Series")]
    assert view.working_hours_timezone.bias == -60
    assert [(str(p.start), str(p.end)) for p in view.working_hours] == [("08:00:00", "17:00:00")]


def test_time_zones_and_lists_of_rooms_are_told(asked: list[str]) -> None:
    own = account()
    known = {z.id: z for z in own.protocol.get_timezones(return_full_timezone_data=True)}
    assert {"UTC", "W. Europe Standard Time", "Pacific Standard Time"} <= set(known)
    for zone in known.values():
        zone.get_std_and_dst(for_year=2026)
    assert list(own.protocol.get_roomlists()) == []
    assert list(own.protocol.get_rooms("rooms@example.com")) == []


def test_stored_settings_are_read(asked: list[str]) -> None:
    own = account()
    options = own.root.get_user_configuration(name="OWA.UserOptions")
    assert options.dictionary == {"timezone": "UTC"}
    with pytest.raises(exchangelib.errors.ErrorItemNotFound):
        own.calendar.get_user_configuration(name="Calendar")
