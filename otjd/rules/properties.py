"""The properties of an event in one form, whichever calendar they came from (invitations.md section 1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

PUBLIC_STRINGS = "00020329-0000-0000-c000-000000000046"
"""The property set of all named properties here; GUIDs are compared without letter case."""

KEYS = {
    "TeamsVtcConferenceId": "teams_vtc_conference_id",
    "OnlineMeetingConfLink": "online_meeting_conf_link",
    "UCCapabilities": "uc_capabilities",
}
"""Named property to the key of `calendar_event.properties`; the others keep their own names."""

_NAMED = ("TeamsVtcConferenceId", "TeamsVtcTenantId", "SkypeTeamsMeetingUrl", "SkypeTeamsProperties",
          "SchedulingServiceUpdateUrl", "OnlineMeetingConfLink", "OnlineMeetingExternalLink",
          "OnlineMeetingInternalLink", "UCMeetingSetting", "UCMeetingSettingSent", "UCCapabilities",
          "UCCapabilitiesLength", "UCInband", "UCInbandLength", "ConferenceTelURI", "OnlineMeetingTollNumber",
          "OnlineMeetingConferenceId")
_BY_ICALENDAR_NAME = {f"X-MICROSOFT-{name.upper()}": name for name in _NAMED}
_GRAPH_ID = re.compile(r"\s*String\s+\{([0-9a-f-]{36})\}\s+Name\s+(\S+)\s*", re.IGNORECASE)
_GRAPH_TYPES = {"singleInstance": "Single", "occurrence": "Occurrence", "exception": "Exception",
                "seriesMaster": "RecurringMaster"}
_EWS_KEYS = {"ItemClass": "item_class", "Sensitivity": "sensitivity", "IsRecurring": "is_recurring",
             "CalendarItemType": "calendar_item_type"}
_ESCAPED = re.compile(r"\\([\\;,nN])")


def flat_properties(given: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of `calendar_event.properties`, from `Invitation.properties`. Unexpected shapes are passed over."""
    for name, read in _READERS.items():
        if name in given:
            return read(given[name])
    return dict(given)


def _named(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Named properties under their own names, and under their key where they have one."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        found[name] = value
        if name in KEYS:
            found[KEYS[name]] = value
    return found


def _graph(event: Any) -> dict[str, Any]:
    if not isinstance(event, Mapping):
        return {}
    pairs = []
    for entry in _list(event.get("singleValueExtendedProperties")):
        match = _GRAPH_ID.fullmatch(str(entry.get("id", "")))
        if match and match[1].lower() == PUBLIC_STRINGS:
            pairs.append((match[2], entry.get("value")))
    found = _named(pairs)
    if "sensitivity" in event:
        found["sensitivity"] = str(event["sensitivity"]).capitalize()
    if event.get("type") in _GRAPH_TYPES:
        found["calendar_item_type"] = _GRAPH_TYPES[event["type"]]
        found["is_recurring"] = event["type"] != "singleInstance"
    return found


def _ews(item: Any) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        return {}
    pairs = []
    for entry in _list(item.get("ExtendedProperty")):
        uri = entry.get("ExtendedFieldURI")
        if not isinstance(uri, Mapping):
            continue
        is_public = (uri.get("DistinguishedPropertySetId") == "PublicStrings"
                     or str(uri.get("PropertySetId", "")).strip("{}").lower() == PUBLIC_STRINGS)
        if is_public and isinstance(uri.get("PropertyName"), str):
            pairs.append((uri["PropertyName"], entry.get("Value")))
    return _named(pairs) | {key: item[name] for name, key in _EWS_KEYS.items() if name in item}


def _google(event: Any) -> dict[str, Any]:
    return dict(event) if isinstance(event, Mapping) else {}


def _ics(properties: Any) -> dict[str, Any]:
    if not isinstance(properties, Mapping):
        return {}
    upper = {str(name).upper(): value for name, value in properties.items()}
    return _named((_BY_ICALENDAR_NAME.get(name, name), value) for name, value in upper.items())


def _ics_raw(lines: Any) -> dict[str, Any]:
    """Properties as they stand in an iCalendar file: folded and escaped."""
    text = "\r\n".join(map(str, lines)) if isinstance(lines, list) else lines if isinstance(lines, str) else ""
    found: dict[str, str] = {}
    for line in re.sub(r"\r?\n[ \t]", "", text).splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found[name.partition(";")[0].strip()] = _ESCAPED.sub(
                lambda m: "\n" if m[1] in "nN" else m[1], value)
    return _ics(found)


def _list(value: Any) -> list[Mapping[str, Any]]:
    values = value if isinstance(value, list) else [value]
    return [entry for entry in values if isinstance(entry, Mapping)]


_READERS: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "graph": _graph, "ews": _ews, "google": _google, "ics": _ics, "ics_raw": _ics_raw}
