"""What the types by provider share."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otjd.rules.event import MeetingEvent
from otjd.rules.patterns import (
    END_OF_HOST,
    START_OF_USER,
    behind,
    digit_groups,
    is_domain,
    mapping,
    ungrouped,
    web_address,
    web_addresses,
)
from tests.rules.support import invitation


@pytest.mark.parametrize(("link", "host"), [
    ("https://Pexip.ME/teams/a", "pexip.me"), ("http://pexip.me:8443/x", "pexip.me"),
    ("https://pexip.me./x", "pexip.me"), ("HTTPS://a-b.example/", "a-b.example"),
    (" https://x_y.example ", "x_y.example"),
])
def test_a_web_address_has_its_host_in_lower_case_without_a_port(link: str, host: str) -> None:
    found = web_address(link)
    assert found is not None
    assert found.host == host


@pytest.mark.parametrize("link", [
    "mailto:a@b.example", "sip:a@b.example", "https://", "https://user@pexip.me/", "https://pexip.me@evil.example/",
    "https://pexip.me\\@evil.example/", "https://pexip.me:99999/", "https://[::1", "https://pexip.me:0/",
    "https://evil.example\\pexip.me/", "https://ex ample.example/", "//pexip.me/x", "pexip.me/x", "",
])
def test_what_may_mislead_about_its_host_is_no_web_address(link: str) -> None:
    assert web_address(link) is None


@pytest.mark.parametrize(("host", "names", "expected"), [
    ("zoom.us", ("zoom.us",), True), ("us02web.zoom.us", ("zoom.us",), False),
    ("us02web.zoom.us", ("*.zoom.us",), True),
    ("zoom.us", ("*.zoom.us",), False), ("notzoom.us", ("zoom.us", "*.zoom.us"), False),
    ("zoom.us.evil.example", ("zoom.us", "*.zoom.us"), False), ("a.b.zoom.us", ("x.example", "*.zoom.us"), True),
])
def test_a_host_is_compared_whole(host: str, names: tuple[str, ...], expected: bool) -> None:
    found = web_address(f"https://{host}/")
    assert found is not None
    assert found.is_at(*names) is expected


def test_parameters_are_decoded_once_and_the_first_of_a_name_counts() -> None:
    found = web_address("https://a.example/p?Conf=01&conf=2&d=x%2Ey&amp;prefix=a.&w&e=%2541&bad=%Z")
    assert found is not None
    assert dict(found.parameters) == {"conf": "01", "d": "x.y", "prefix": "a.", "w": "", "e": "%41", "bad": "%Z"}


def test_web_addresses_come_from_properties_then_body_then_location_with_filters_undone() -> None:
    event = MeetingEvent(invitation(
        "see https://body.example/1 and mailto:x@y.example", location="Room 1; https://www.google.com/url?q="
        "https%3A%2F%2Flocation.example%2F1&sa=D",
        properties={"google": {"hangoutLink": "https://meet.google.com/abc-defg-hij", "conferenceData": {
            "entryPoints": [{"uri": "https://video.example/1"}, {"uri": "tel:+1"}, {"uri": 5}, "x", {}]}}}))
    assert [a.host for a in web_addresses(event)] == ["meet.google.com", "video.example", "body.example",
                                                      "location.example"]


@pytest.mark.parametrize("properties", [
    {"google": {"conferenceData": "x"}}, {"google": {"conferenceData": {"entryPoints": {"a": 1}}}}, {"graph": []},
    {"graph": {"onlineMeeting": None, "onlineMeetingUrl": 7}}, {"google": None},
])
def test_properties_of_any_shape_give_no_links(properties: dict[str, object]) -> None:
    assert list(web_addresses(MeetingEvent(invitation(properties=properties)))) == []


def test_the_links_by_which_exchange_and_graph_know_a_meeting_are_found() -> None:
    graph = {"onlineMeeting": {"joinUrl": "https://a.example/"}, "onlineMeetingUrl": "https://b.example/"}
    assert [a.host for a in web_addresses(MeetingEvent(invitation(properties={"graph": graph})))] == [
        "a.example", "b.example"]
    ics = {"X-MICROSOFT-SKYPETEAMSMEETINGURL": "https://c.example/"}
    assert [a.host for a in web_addresses(MeetingEvent(invitation(properties={"ics": ics})))] == ["c.example"]


@pytest.mark.parametrize(("text", "expected"), [
    ("123 456 789 0", "1234567890"), ("0123456789", "0123456789"), ("012-345-678", "012345678"),
    ("123 456 789 0.", "1234567890"), ("(123456789)", "123456789"),
])
def test_an_id_is_read_in_its_groups_and_keeps_its_zeros(text: str, expected: str) -> None:
    found = re.search(digit_groups(9, 10), text)
    assert found is not None
    assert ungrouped(found[0]) == expected


@pytest.mark.parametrize("text", [
    "123 456 78", "123 456 789 01", "123 456 789#", "123 456 789 #", "+123456789", "123456789.5", "1,123456789",
    "１２３４５６７８９", "12 123  456", "5 123 456 789 0",
])
def test_a_part_of_a_longer_number_and_a_telephone_pin_are_no_ids(text: str) -> None:
    assert re.search(digit_groups(9, 10), text) is None


@pytest.mark.parametrize(("text", "expected"), [
    ("Pass: 1", "1"), ("Pass 1", "1"), ("Pass：1", "1"), ("Pass\n1", "1"), ("Pass:\n1", "1"), ("*Pass:* 1", "1"),
    ("Pass | 1", "1"), ("Pass:\n\n• 1", "1"), ("Pass x\nPass: 2", "2"), ("Pass: x", None),
    ("Pass:\n\n\n\n\n\n\n1", None),
])
def test_a_value_stands_behind_its_label_or_below(text: str, expected: str | None) -> None:
    found = next(behind(text, re.compile("Pass"), re.compile("[0-9]")), None)
    assert (found[0] if found else None) == expected


@pytest.mark.parametrize(("text", "expected"), [
    ("a@vc.example", True), ("sip:a@vc.example;x", True), ("a@vc.example.", True), ("a@vc.examples", False),
    ("a@vc.example.evil", False), ("x.a@vc.example", False), ("/a@vc.example", False), ("a@vc.example-x", False),
    ("=a@vc.example", False), ("a@vc.example@x", False),
])
def test_an_address_is_anchored_on_both_sides(text: str, expected: bool) -> None:
    found = re.search(rf"{START_OF_USER}a@vc\.example{END_OF_HOST}", text)
    assert (found is not None) is expected


@pytest.mark.parametrize(("text", "expected"), [
    ("a.example", True), ("a.b-c.example", True), ("example", False), ("-a.example", False), ("a..example", False),
    ("a.example.", False), ("a b.example", False), ("a@b.example", False), ("", False),
    ("a." * 130 + "example", False),
])
def test_a_domain_has_at_least_two_labels(text: str, expected: bool) -> None:
    assert is_domain(text) is expected


def test_what_is_no_mapping_is_taken_as_an_empty_one() -> None:
    assert mapping(None) == mapping([1]) == {}
    assert mapping({"a": 1}) == {"a": 1}


@given(st.lists(st.sampled_from(["a", "B.example", ".", "_", "-", "/", "?", "#", "&", "=", ":", "80", "0", "@",
                                 "[", "]", "%2f", " ", "\t", "\u00e9", "\\", ";"]), max_size=12).map("".join))
def test_plain_web_addresses_are_split_as_the_standard_library_splits_them(rest: str) -> None:
    address = web_address(f"HTTPS://a.{rest}")
    if address is not None:
        parts = urlsplit(f"https://a.{rest}".strip())
        assert address.host == (parts.hostname or "").rstrip(".")
        assert (address.path, address.fragment) == (parts.path, parts.fragment)
        pairs = parts.query.split("&") if parts.query else []
        assert set(address.parameters) == {pair.partition("=")[0].lower() for pair in pairs}
