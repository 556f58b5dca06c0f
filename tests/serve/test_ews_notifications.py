"""Subscribe, GetEvents and Unsubscribe of the emulated Exchange; streams are in test_ews_streams."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from lxml import etree

from otjd.meetings.model import Room
from otjd.protocol import ews_ids
from otjd.serve.ews_subscriptions import EVENTS_KEPT, SWEEP
from tests.serve.ews_support import (
    NOW,
    OTHER_ROOM,
    ROOM,
    Exchange,
    account,
    busy_room,
    codes,
    get_item,
    meeting,
    pairs,
    texts,
)

EVENT_TYPES = ("CreatedEvent", "ModifiedEvent", "DeletedEvent")
CALENDAR = '<m:FolderIds><t:DistinguishedFolderId Id="calendar"/></m:FolderIds>'
THEIRS = account(username="lounge", room=OTHER_ROOM)
BESIDE = account(username="Boardroom-2", endpoint="Boardroom Trio")
"""Another endpoint of the same room."""


@pytest.fixture
def exchange() -> Exchange:
    return busy_room()


def subscribe(kind: str = "Pull", *, folders: str = CALENDAR, types: tuple[str, ...] = EVENT_TYPES, more: str = "",
              timeout: int | str = 10, watermark: str = "") -> str:
    wanted = "".join(f"<t:EventType>{t}</t:EventType>" for t in types)
    rest = f"<t:Watermark>{watermark}</t:Watermark>" if watermark else ""
    rest += {"Pull": f"<t:Timeout>{timeout}</t:Timeout>", "Streaming": "",
             "Push": "<t:StatusFrequency>1</t:StatusFrequency><t:URL>https://example.com/</t:URL>"}[kind]
    return (f"<m:Subscribe><m:{kind}SubscriptionRequest {more}>{folders}<t:EventTypes>{wanted}</t:EventTypes>"
            f"{rest}</m:{kind}SubscriptionRequest></m:Subscribe>")


def get_events(subscription_id: str, watermark: str) -> str:
    return (f"<m:GetEvents><m:SubscriptionId>{subscription_id}</m:SubscriptionId>"
            f"<m:Watermark>{watermark}</m:Watermark></m:GetEvents>")


def unsubscribe(subscription_id: str) -> str:
    return f"<m:Unsubscribe><m:SubscriptionId>{subscription_id}</m:SubscriptionId></m:Unsubscribe>"


def names(messages: etree._Element) -> list[str]:
    """The events of a notification, by name."""
    return [str(e.tag).rpartition("}")[2] for e in messages.iterfind(".//{*}Notification/*")
            if str(e.tag).endswith("Event")]


class Puller:
    """A client that subscribes at once, and asks on with the last watermark that it was told."""

    def __init__(self, exchange: Exchange, *, by: str = "", **asked: Any) -> None:
        self.exchange = exchange
        messages = exchange.ask(by or subscribe(**asked))
        (self.id,) = texts(messages, ".//m:SubscriptionId")
        (self.watermark,) = texts(messages, ".//m:Watermark")

    def ask(self) -> list[str]:
        messages = self.exchange.ask(get_events(self.id, self.watermark))
        if codes(messages) != ["NoError"]:
            return codes(messages)
        assert texts(messages, ".//t:SubscriptionId") == [self.id]
        assert texts(messages, ".//t:PreviousWatermark") == [self.watermark]
        assert texts(messages, ".//t:MoreEvents") == ["false"]
        self.watermark = texts(messages, ".//t:Watermark")[-1]
        return names(messages)


def test_a_puller_is_told_once_what_was_added_changed_and_removed(exchange: Exchange) -> None:
    puller = Puller(exchange)
    assert puller.ask() == ["StatusEvent"]
    exchange.show(meeting("now", NOW - timedelta(minutes=10)), meeting("later", NOW + timedelta(hours=3)),
                  meeting("new"))
    assert puller.ask() == ["CreatedEvent", "ModifiedEvent", "DeletedEvent"]
    assert puller.ask() == ["StatusEvent"]


def test_an_event_names_the_item_its_version_its_folder_and_the_time(exchange: Exchange) -> None:
    puller = Puller(exchange)
    exchange.now += timedelta(seconds=30)
    new = meeting("new")
    exchange.show(new)
    messages = exchange.ask(get_events(puller.id, puller.watermark))
    created = messages.find(".//{*}CreatedEvent")
    assert created is not None
    assert [str(e.tag).rpartition("}")[2] for e in created] == [
        "Watermark", "TimeStamp", "ItemId", "ParentFolderId"]
    assert texts(created, "t:TimeStamp") == ["2026-03-02T08:00:30Z"]
    assert texts(created, "t:ParentFolderId/@Id") == [ews_ids.folder_id(ROOM.email, "calendar")]
    (item_id,) = texts(created, "t:ItemId/@Id")
    assert item_id == ews_ids.item_id(new.id)
    assert pairs(exchange.ask(get_item(item_id))) == [(item_id, texts(created, "t:ItemId/@ChangeKey")[0])]


def test_a_lost_answer_can_be_asked_for_again(exchange: Exchange) -> None:
    puller = Puller(exchange)
    first = puller.watermark
    exchange.show()
    assert puller.ask() == ["DeletedEvent"] * 3
    puller.watermark = first
    assert puller.ask() == ["DeletedEvent"] * 3


def test_a_watermark_in_the_middle_goes_on_from_there(exchange: Exchange) -> None:
    puller = Puller(exchange)
    exchange.show()
    messages = exchange.ask(get_events(puller.id, puller.watermark))
    puller.watermark = texts(messages, ".//t:Watermark")[1]
    assert puller.ask() == ["DeletedEvent"]


@pytest.mark.parametrize(("asked", "told"), [
    (subscribe(types=("DeletedEvent",)), ["DeletedEvent"]),
    (subscribe(types=("NewMailEvent", "MovedEvent", "CopiedEvent", "FreeBusyChangedEvent")), ["StatusEvent"]),
    (subscribe(folders='<m:FolderIds><t:DistinguishedFolderId Id="inbox"/></m:FolderIds>'), ["StatusEvent"]),
    (subscribe(folders="", more='SubscribeToAllFolders="true"'), ["CreatedEvent", "DeletedEvent"]),
    (subscribe(folders='<m:FolderIds><t:DistinguishedFolderId Id="inbox"/><t:FolderId Id="'
               f'{ews_ids.folder_id(ROOM.email, "calendar")}"/></m:FolderIds>'),
     ["CreatedEvent", "DeletedEvent"]),
])
def test_only_what_was_subscribed_to_is_told(exchange: Exchange, asked: str, told: list[str]) -> None:
    exchange.show(meeting("now"))
    puller = Puller(exchange, by=asked)
    exchange.show(meeting("new"))
    assert puller.ask() == told
    assert puller.ask() == ["StatusEvent"]


@pytest.mark.parametrize(("asked", "code"), [
    (subscribe("Push"), "ErrorInvalidOperation"),
    (subscribe(folders=""), "ErrorInvalidSubscriptionRequest"),
    (subscribe(more='SubscribeToAllFolders="true"'), "ErrorInvalidSubscriptionRequest"),
    (subscribe(folders=f'<m:FolderIds><t:FolderId Id="{ews_ids.folder_id(OTHER_ROOM.email, "calendar")}"/>'
               "</m:FolderIds>"), "ErrorFolderNotFound"),
    (subscribe(folders='<m:FolderIds><t:FolderId Id="x"/></m:FolderIds>'), "ErrorInvalidIdMalformed"),
    (subscribe(folders='<m:FolderIds><t:DistinguishedFolderId Id="calendar"><t:Mailbox><t:EmailAddress>'
               "lounge@example.com</t:EmailAddress></t:Mailbox></t:DistinguishedFolderId></m:FolderIds>"),
     "ErrorNonExistentMailbox"),
    (subscribe(watermark="rubbish"), "ErrorInvalidWatermark"),
    (get_events("rubbish", "x"), "ErrorInvalidSubscription"),
    (unsubscribe("rubbish"), "ErrorInvalidSubscription"),
])
def test_what_cannot_be_is_refused_with_the_code_of_exchange(exchange: Exchange, asked: str, code: str) -> None:
    assert codes(exchange.ask(asked)) == [code]
    assert len(exchange.subscriptions) == 0


@pytest.mark.parametrize("asked", [
    subscribe(timeout=0), subscribe(timeout=1441), subscribe(timeout="x"), subscribe(timeout=""),
    subscribe(types=()), subscribe(types=("Meeting",)), "<m:Subscribe/>", "<m:Subscribe><m:Else/></m:Subscribe>",
    get_events("", "x"), get_events("x", ""), "<m:GetEvents/>", "<m:Unsubscribe/>", unsubscribe(" "),
    subscribe().replace("EventTypes", "Types"), subscribe(folders="<m:FolderIds/>")])
def test_what_cannot_be_read_is_a_fault(exchange: Exchange, asked: str) -> None:
    assert exchange.fault(asked) == "ErrorSchemaValidation"


def test_a_subscription_ends_when_nobody_asked_for_its_timeout(exchange: Exchange) -> None:
    puller = Puller(exchange)
    exchange.now += timedelta(minutes=9)
    assert puller.ask() == ["StatusEvent"]
    exchange.now += timedelta(minutes=9)
    assert puller.ask() == ["StatusEvent"]
    exchange.now += timedelta(minutes=10)
    assert puller.ask() == ["ErrorSubscriptionNotFound"]
    assert len(exchange.subscriptions) == 0


def test_unsubscribing_ends_a_subscription(exchange: Exchange) -> None:
    puller = Puller(exchange)
    assert codes(exchange.ask(unsubscribe(puller.id))) == ["NoError"]
    assert puller.ask() == ["ErrorSubscriptionNotFound"]
    assert codes(exchange.ask(unsubscribe(puller.id))) == ["ErrorSubscriptionNotFound"]


@pytest.mark.parametrize("other", [THEIRS, BESIDE])
def test_a_subscription_belongs_to_the_login_that_made_it(exchange: Exchange, other: object) -> None:
    puller = Puller(exchange)
    for asked in (get_events(puller.id, puller.watermark), unsubscribe(puller.id)):
        assert codes(exchange.ask(asked, account=other)) == [  # type: ignore[arg-type]
            "ErrorSubscriptionAccessDenied"]
    assert puller.ask() == ["StatusEvent"]


def test_a_login_that_moved_to_another_room_has_no_subscription_of_the_old_one(exchange: Exchange) -> None:
    puller = Puller(exchange)
    moved = account(room=OTHER_ROOM)
    assert codes(exchange.ask(get_events(puller.id, puller.watermark), account=moved)) == [
        "ErrorSubscriptionNotFound"]


def test_another_room_is_never_told_of(exchange: Exchange) -> None:
    puller = Puller(exchange)
    exchange.show(meeting("more", room=OTHER_ROOM), room=OTHER_ROOM)
    assert puller.ask() == ["StatusEvent"]


def test_a_streaming_subscription_is_not_pulled(exchange: Exchange) -> None:
    messages = exchange.ask(subscribe("Streaming"))
    assert not texts(messages, ".//m:Watermark")
    (subscription_id,) = texts(messages, ".//m:SubscriptionId")
    assert codes(exchange.ask(get_events(subscription_id, "x"))) == ["ErrorInvalidPullSubscriptionId"]


def test_ids_are_short_base64_and_never_twice_the_same(exchange: Exchange) -> None:
    ids = [Puller(exchange).id for _ in range(5)]
    assert len(set(ids)) == 5
    assert all(len(i) <= 200 and set(i) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
               for i in ids)


def test_wrong_watermarks_are_refused(exchange: Exchange) -> None:
    puller = Puller(exchange)
    (foreign,) = texts(exchange.ask(subscribe(), account=THEIRS), ".//m:Watermark")
    exchange.show()
    ahead = texts(exchange.ask(get_events(puller.id, puller.watermark)), ".//t:Watermark")[-1]
    later = Puller(busy_room())
    for watermark in ("x", "eA==", puller.id, foreign):
        puller.watermark = watermark
        assert puller.ask() == ["ErrorInvalidWatermark"]
    later.watermark = ahead  # of the future
    assert later.ask() == ["ErrorInvalidWatermark"]


def test_a_new_subscription_goes_on_where_another_ended(exchange: Exchange) -> None:
    old, keeper = Puller(exchange), Puller(exchange)
    exchange.show()
    exchange.ask(unsubscribe(old.id))
    new = Puller(exchange, watermark=old.watermark)
    assert new.watermark == old.watermark
    assert new.ask() == keeper.ask() == ["DeletedEvent"] * 3


def test_watermarks_of_a_room_end_with_its_last_subscription(exchange: Exchange) -> None:
    old = Puller(exchange)
    exchange.ask(unsubscribe(old.id))
    assert codes(exchange.ask(subscribe(watermark=old.watermark))) == ["ErrorInvalidWatermark"]


def test_who_is_too_far_behind_is_told_to_start_anew(exchange: Exchange) -> None:
    exchange.show()
    puller = Puller(exchange)
    exchange.show(*(meeting(f"m{n}", NOW + timedelta(minutes=n)) for n in range(EVENTS_KEPT)))
    first = puller.watermark
    assert puller.ask() == ["CreatedEvent"] * EVENTS_KEPT
    exchange.show()
    assert puller.ask() == ["DeletedEvent"] * EVENTS_KEPT
    puller.watermark = first
    assert puller.ask() == ["ErrorMissedNotificationEvents"]
    assert codes(exchange.ask(subscribe(watermark=first))) == ["ErrorMissedNotificationEvents"]
    assert Puller(exchange).ask() == ["StatusEvent"]


def test_another_folder_is_never_behind(exchange: Exchange) -> None:
    puller = Puller(exchange, folders='<m:FolderIds><t:DistinguishedFolderId Id="inbox"/></m:FolderIds>')
    exchange.show(*(meeting(f"m{n}", NOW + timedelta(minutes=n)) for n in range(EVENTS_KEPT + 1)))
    assert puller.ask() == ["StatusEvent"]


def test_a_user_has_a_limited_number_of_subscriptions(exchange: Exchange) -> None:
    exchange.settings = {"subscriptions_per_user": 3}
    exchange.restart()
    pullers = [Puller(exchange), Puller(exchange)]
    exchange.ask(subscribe("Streaming"))
    assert codes(exchange.ask(subscribe())) == ["ErrorExceededSubscriptionCount"]
    assert codes(exchange.ask(subscribe(), account=BESIDE)) == ["NoError"]
    exchange.ask(unsubscribe(pullers[0].id))
    assert codes(exchange.ask(subscribe())) == ["NoError"]


def test_expired_subscriptions_make_room_for_others(exchange: Exchange) -> None:
    exchange.settings = {"subscriptions_per_user": 1}
    exchange.restart()
    Puller(exchange)
    exchange.ask(subscribe(), account=BESIDE)
    assert len(exchange.subscriptions) == 2
    exchange.now += timedelta(minutes=10)
    Puller(exchange)  # the own one is dropped, and those of others, since a minute has passed
    assert len(exchange.subscriptions) == 1
    assert timedelta(minutes=10) > SWEEP


def test_subscriptions_outlive_a_reload(exchange: Exchange) -> None:
    puller = Puller(exchange)
    exchange.show()
    exchange.restart()
    assert puller.ask() == ["DeletedEvent"] * 3


def test_a_room_that_was_never_read_is_busy(exchange: Exchange) -> None:
    puller = Puller(exchange)
    exchange.cache.configure({Room("boardroom@example.com", "other"): timedelta(days=1)})
    assert exchange.fault(subscribe()) == "ErrorServerBusy"
    assert exchange.fault(get_events(puller.id, puller.watermark)) == "ErrorServerBusy"
