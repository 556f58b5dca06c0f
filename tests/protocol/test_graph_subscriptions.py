"""Subscriptions of Graph and the notices that come of them, read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otjd.protocol.graph_events import GraphFormatError
from otjd.protocol.graph_subscriptions import Created, Lifecycle, Notice, read_notices, read_subscription


def delivery(*notices: Any) -> bytes:
    return json.dumps({"value": notices, "validationTokens": []}).encode()


def test_a_subscription_has_an_id_and_an_end() -> None:
    body = json.dumps({"id": "7f105c7d", "expirationDateTime": "2026-11-24T11:00:00.0000000Z", "x": 1}).encode()
    assert read_subscription(body) == Created("7f105c7d", datetime(2026, 11, 24, 11, tzinfo=UTC))


@pytest.mark.parametrize("body", [
    b"", b"[]", b"{}", b'{"id": 5}', b'{"id": "5"}', b'{"id": "5", "expirationDateTime": "later"}',
    b'{"id": "", "expirationDateTime": "2026-11-24T11:00:00Z"}'])
def test_what_is_no_subscription_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(GraphFormatError):
        read_subscription(body)


def test_a_delivery_may_mix_changes_and_events_of_the_lifecycle() -> None:
    change = {"subscriptionId": "1", "clientState": "s", "changeType": "updated", "resource": "Users/x/Events/y",
              "resourceData": {"id": "y"}, "tenantId": "t",
              "subscriptionExpirationDateTime": "2026-11-24T11:00:00Z"}
    assert read_notices(delivery(
        change, {"subscriptionId": "2", "clientState": "t", "lifecycleEvent": "missed"},
        {"subscriptionId": "3", "clientState": "u", "lifecycleEvent": "reauthorizationRequired"},
        {"subscriptionId": "4", "clientState": "v", "lifecycleEvent": "subscriptionRemoved"})) == [
            Notice("1", "s"), Notice("2", "t", Lifecycle.MISSED), Notice("3", "u", Lifecycle.REAUTHORIZE),
            Notice("4", "v", Lifecycle.REMOVED)]


def test_notices_without_an_id_a_secret_or_a_known_kind_are_passed_over() -> None:
    assert read_notices(delivery(
        5, {}, {"subscriptionId": "1"}, {"clientState": "s"}, {"subscriptionId": 1, "clientState": "s"},
        {"subscriptionId": "1", "clientState": "s", "lifecycleEvent": "born"},
        {"subscriptionId": "1", "clientState": "s", "lifecycleEvent": {"a": []}})) == []


def test_of_a_huge_delivery_a_part_is_looked_at() -> None:
    assert len(read_notices(delivery(*[{"subscriptionId": "1", "clientState": "s"}] * 6000))) == 5000


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"value": 5}', b"{" * 100_000, b"\xff\x00", b"1" * 10_000])
def test_what_is_no_delivery_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(GraphFormatError):
        read_notices(body)


@given(st.recursive(st.none() | st.integers() | st.text(max_size=9), lambda inner: st.lists(inner, max_size=3) | (
    st.dictionaries(st.sampled_from(["value", "subscriptionId", "clientState", "lifecycleEvent"]), inner,
                    max_size=4)), max_leaves=12))
def test_whatever_a_stranger_sends_is_a_delivery_or_none(content: Any) -> None:
    try:
        found = read_notices(json.dumps(content).encode())
    except GraphFormatError:
        assert not (isinstance(content, dict) and isinstance(content.get("value"), list))
    else:
        assert all(isinstance(one.subscription, str) and isinstance(one.client_state, str) for one in found)


def test_secrets_are_not_shown() -> None:
    assert "s3cr3t" not in repr(Notice("1", "s3cr3t"))
