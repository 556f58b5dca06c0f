from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from otjd.protocol.ews_client import EwsError, UnreadableAnswerError, request
from otjd.protocol.ews_client_streaming import (
    ENVELOPE_LIMIT,
    Envelopes,
    News,
    get_streaming_events,
    read_news,
    read_subscription,
    subscribe,
    unsubscribe,
)
from tests.protocol.test_ews_client import answer
from tests.serve.ews_support import busy_room, schema


def news(inside: str, kind: str = "Success", code: str = "NoError") -> bytes:
    return answer("<m:GetStreamingEventsResponse><m:ResponseMessages>"
                  f'<m:GetStreamingEventsResponseMessage ResponseClass="{kind}"><m:ResponseCode>{code}'
                  f"</m:ResponseCode>{inside}</m:GetStreamingEventsResponseMessage></m:ResponseMessages>"
                  "</m:GetStreamingEventsResponse>")


def notification(identity: str, *events: str) -> str:
    told = "".join(f"<t:{event}><t:TimeStamp>2026-03-02T08:00:00Z</t:TimeStamp></t:{event}>" for event in events)
    return f"<m:Notification><t:SubscriptionId>{identity}</t:SubscriptionId>{told}</m:Notification>"


@pytest.mark.parametrize("operation", [subscribe(), unsubscribe("a&b"), get_streaming_events(["a", "b<"])])
def test_requests_validate_against_the_schema(operation: str) -> None:
    validator = schema()
    if validator is None:
        pytest.skip("the published schema is not beside the checkout")
    validator.assertValid(etree.fromstring(request(operation))[1][0])


def test_another_server_subscribes_and_ends_it() -> None:
    exchange = busy_room()
    identity = read_subscription(exchange.post(request(subscribe())).body, "")
    assert exchange.post(request(unsubscribe(identity))).status == 200
    with pytest.raises(EwsError):
        read_subscription(exchange.post(request(unsubscribe(identity))).body, "")


def test_changes_are_told_by_subscription_and_heartbeats_are_none() -> None:
    inside = ("<m:Notifications>" + notification("one", "CreatedEvent", "ModifiedEvent")
              + notification("two", "StatusEvent") + notification("three", "MovedEvent") + "</m:Notifications>")
    found = read_news(news(inside))
    assert found == News(changed=frozenset({"one", "three"}))


def test_the_status_of_the_connection_tells_of_its_end() -> None:
    assert not read_news(news("<m:ConnectionStatus>OK</m:ConnectionStatus>")).is_closing
    assert read_news(news("<m:ConnectionStatus>Closed</m:ConnectionStatus>")).is_closing


def test_lost_subscriptions_are_named() -> None:
    inside = ("<m:ErrorSubscriptionIds><m:SubscriptionId>one</m:SubscriptionId><t:SubscriptionId>two"
              "</t:SubscriptionId></m:ErrorSubscriptionIds>")
    found = read_news(news(inside, "Error", "ErrorSubscriptionNotFound"))
    assert found.lost == {"one", "two"}
    assert found.error is not None
    assert found.error.code == "ErrorSubscriptionNotFound"


def test_a_subscription_without_id_is_none() -> None:
    body = answer('<m:SubscribeResponse><m:ResponseMessages><m:SubscribeResponseMessage ResponseClass="Success">'
                  "<m:ResponseCode>NoError</m:ResponseCode></m:SubscribeResponseMessage></m:ResponseMessages>"
                  "</m:SubscribeResponse>")
    with pytest.raises(UnreadableAnswerError):
        read_subscription(body, "")


STREAM = [b'<?xml version="1.0"?><s:Envelope xmlns:s="x"><s:Body/></s:Envelope>', b"<Envelope>2</Envelope >",
          b"<soap11:Envelope>3</soap11:Envelope>"]


@given(st.lists(st.integers(1, 40), min_size=1))
def test_a_stream_is_cut_into_envelopes_however_it_arrives(sizes: list[int]) -> None:
    data = b"\r\n".join(STREAM) + b"<Envelope>unfinished"
    envelopes = Envelopes()
    found: list[bytes] = []
    at = turn = 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        found += envelopes.feed(data[at:at + size])
        at, turn = at + size, turn + 1
    assert found == STREAM


def test_an_envelope_without_end_is_not_kept_for_ever() -> None:
    envelopes = Envelopes()
    assert list(envelopes.feed(b"x" * ENVELOPE_LIMIT)) == []
    with pytest.raises(UnreadableAnswerError):
        list(envelopes.feed(b"x"))
