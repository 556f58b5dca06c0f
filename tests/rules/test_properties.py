"""Properties of every calendar come out in one form."""

from __future__ import annotations

from typing import Any

import pytest

from otjd.rules.properties import flat_properties

GUID = "00020329-0000-0000-C000-000000000046"


def graph(name: str, value: str, guid: str = GUID) -> dict[str, str]:
    return {"id": f"String {{{guid}}} Name {name}", "value": value}


def ews(name: str, value: str, **uri: str) -> dict[str, Any]:
    return {"ExtendedFieldURI": {"PropertyName": name, "PropertyType": "String",
                                 **(uri or {"DistinguishedPropertySetId": "PublicStrings"})}, "Value": value}


def test_graph() -> None:
    assert flat_properties({"graph": {
        "sensitivity": "private", "type": "occurrence", "isOnlineMeeting": True,
        "singleValueExtendedProperties": [
            graph("TeamsVtcConferenceId", "12", GUID.lower()), graph("TeamsVtcTenantId", "t@x"),
            graph("UCCapabilities", "no", "00000000-0000-0000-0000-000000000000"), {"id": 5}, "junk"]}}) == {
        "teams_vtc_conference_id": "12", "TeamsVtcConferenceId": "12", "TeamsVtcTenantId": "t@x",
        "sensitivity": "Private", "calendar_item_type": "Occurrence", "is_recurring": True}


def test_exchange() -> None:
    assert flat_properties({"ews": {
        "ItemClass": "IPM.Appointment", "Sensitivity": "Normal", "IsRecurring": False,
        "CalendarItemType": "Single",
        "ExtendedProperty": [ews("OnlineMeetingConfLink", "conf:x"),
                             ews("UCCapabilities", "a@b", PropertySetId=GUID),
                             ews("TeamsVtcConferenceId", "no", PropertySetId="other"), {"Value": "x"}]}}) == {
        "online_meeting_conf_link": "conf:x", "OnlineMeetingConfLink": "conf:x", "uc_capabilities": "a@b",
        "UCCapabilities": "a@b", "item_class": "IPM.Appointment", "sensitivity": "Normal", "is_recurring": False,
        "calendar_item_type": "Single"}
    assert flat_properties({"ews": {"ExtendedProperty": ews("UCCapabilities", "x")}})["uc_capabilities"] == "x"


def test_google_stays_as_it_is() -> None:
    event = {"hangoutLink": "https://meet.google.com/abc-defg-hij"}
    assert flat_properties({"google": event}) == event


def test_icalendar() -> None:
    assert flat_properties({"ics": {"x-microsoft-onlinemeetingconflink": "conf:x", "X-OTHER": "1"}}) == {
        "online_meeting_conf_link": "conf:x", "OnlineMeetingConfLink": "conf:x", "X-OTHER": "1"}


@pytest.mark.parametrize("raw", [
    "X-MICROSOFT-SKYPETEAMSMEETINGURL;VALUE=TEXT:https://a\\,b\r\n \\;c\\n\r\nnothing\r\n",
    ["X-MICROSOFT-SKYPETEAMSMEETINGURL:https://a\\,b", " \\;c\\n"]])
def test_raw_icalendar_is_unfolded_and_unescaped(raw: object) -> None:
    assert flat_properties({"ics_raw": raw}) == {"SkypeTeamsMeetingUrl": "https://a,b;c\n"}


def test_flat_keys_stay() -> None:
    assert flat_properties({"uc_capabilities": "x"}) == {"uc_capabilities": "x"}
    assert flat_properties({}) == {}


@pytest.mark.parametrize("name", ["graph", "ews", "google", "ics", "ics_raw"])
@pytest.mark.parametrize("junk", [None, 5, "x", [], {}])
def test_values_of_another_shape_are_passed_over(name: str, junk: object) -> None:
    assert flat_properties({name: junk}) == {}


@pytest.mark.parametrize("given", [
    {"ews": {"ExtendedProperty": 5}}, {"ews": {"ExtendedProperty": [{"ExtendedFieldURI": 5}, 6]}},
    {"ews": {"ExtendedProperty": [{"ExtendedFieldURI": {"DistinguishedPropertySetId": "PublicStrings"}}]}},
    {"graph": {"singleValueExtendedProperties": "x"}}, {"graph": {"type": "unknown"}}])
def test_parts_of_another_shape_are_passed_over(given: dict[str, object]) -> None:
    assert flat_properties(given) == {}
