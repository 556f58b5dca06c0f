"""Reading the query and the preferences of a request to a simulated Graph, as strictly as the original."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from urllib.parse import unquote_plus
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from otjd.meetings.model import Window
from otjd.protocol.timezones import read_date_time, time_zone
from otjd.simulate.graph_errors import GraphError, bad_parameter, bad_query, bad_request, not_simulated

TOP_LIMIT = 1000
RANGE_LIMIT = timedelta(days=1825)

EVENT_MEMBERS = (
    "allowNewTimeProposals", "attendees", "body", "bodyPreview", "categories", "changeKey", "createdDateTime",
    "end", "hasAttachments", "hideAttendees", "iCalUId", "id", "importance", "isAllDay", "isCancelled", "isDraft",
    "isOnlineMeeting", "isOrganizer", "isReminderOn", "lastModifiedDateTime", "location", "locations",
    "onlineMeeting", "onlineMeetingProvider", "onlineMeetingUrl", "organizer", "originalEndTimeZone",
    "originalStart", "originalStartTimeZone", "recurrence", "reminderMinutesBeforeStart", "responseRequested",
    "responseStatus", "sensitivity", "seriesMasterId", "showAs", "start", "subject", "transactionId", "type",
    "webLink")
"""Properties of an event that can be selected."""

_KNOWN_OPTIONS = frozenset({"$count", "$deltatoken", "$expand", "$filter", "$format", "$orderby", "$search",
                            "$select", "$skip", "$skiptoken", "$top"})
_BY_LOWER_NAME = {name.lower(): name for name in EVENT_MEMBERS}
_EXPANDABLE = {"attachments", "calendar", "extensions", "instances", "multivalueextendedproperties"}
_PROPERTY_TYPES = frozenset({
    "ApplicationTime", "Binary", "Boolean", "CLSID", "Currency", "Double", "Float", "Integer", "Object", "Short",
    "String", "SystemTime"})
_NAMED = re.compile(r"(\w+) (\{[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\}) "
                    r"(?:Name (\S.*)|Id (0x[0-9a-fA-F]+))")
_TAGGED = re.compile(r"(\w+) (0x[0-9a-fA-F]{1,4})")
_CONDITION = re.compile(r"\s*(?:id|Id) +eq +'((?:[^']|'')*)'\s*")
_OR = re.compile(r"(?<=[\s'])or(?=\s)")
_PREFERENCE = re.compile(r'\s*([\w.\-]+)(?:\s*=\s*(?:"([^"]*)"|([^\s",;]+)))?\s*(?:;[^,]*)?(?:,|$)')


@dataclass(frozen=True, slots=True)
class Shape:
    """How events are to be shown: what is selected (None: everything), the ids of the extended properties that
    are expanded, the time zone, the kind of the body and of the ids. `basics` leaves out what Calendars.ReadBasic
    may not see.
    """

    select: frozenset[str] | None = None
    expand: tuple[str, ...] = ()
    zone_name: str = "UTC"
    is_text: bool = False
    immutable: bool = False
    basics: bool = False

    @property
    def zone(self) -> tzinfo:
        """The time zone of start and end."""
        return _zone(self.zone_name)


def read_query(raw: str) -> dict[str, str]:
    """The parameters of a query; the names of OData's own in lower case, as of the window.

    :raises GraphError: one of OData's own is not known, or is there twice.
    """
    found: dict[str, str] = {}
    for part in filter(None, raw.split("&")):
        name, _, value = part.partition("=")
        try:
            option, text = unquote_plus(name, errors="strict"), unquote_plus(value, errors="strict")
        except UnicodeDecodeError:
            raise bad_query("The query is not UTF-8.") from None
        key = option.lower()
        if key.startswith("$") and key not in _KNOWN_OPTIONS:
            raise bad_query(f"The query parameter '{option}' is not supported.")
        if key in found:
            raise bad_query(f"Query option '{option}' was specified more than once, but it must be specified at "
                            "most once.")
        found[key] = text
    return found


def window_of(query: Mapping[str, str]) -> Window:
    """The span of time that is asked for; times without an offset are UTC.

    :raises GraphError: it is missing, cannot be read, or is no span.
    """
    if not query.get("startdatetime") or not query.get("enddatetime"):
        raise bad_parameter("This request requires a time window specified by the query string parameters "
                            "StartDateTime and EndDateTime.")
    start, end = (_time(query[key.lower()], key) for key in ("StartDateTime", "EndDateTime"))
    if end < start:
        raise bad_parameter("The value of the parameter 'EndDateTime' is earlier than that of 'StartDateTime'.")
    if end - start > RANGE_LIMIT:
        raise GraphError(400, "ErrorCalendarViewRangeTooBig", "Your request can't be completed. The range between "
                         "the start and end dates is greater than the allowed range. Maximum number of days: "
                         f"{RANGE_LIMIT.days}")
    return Window(start, end)


def _time(value: str, name: str) -> datetime:
    try:
        return read_date_time(value if "T" in value else f"{value}T00:00:00")
    except ValueError:
        raise bad_parameter(f"The value '{value}' of parameter '{name}' is invalid.") from None


def count_of(query: Mapping[str, str], option: str, otherwise: int, *, lowest: int = 0,
             highest: int | None = None) -> int:
    """The number of `$top` or `$skip`.

    :raises GraphError: it is none, or out of its range.
    """
    value = query.get(option)
    if value is None:
        return otherwise
    if not re.fullmatch(r"\d{1,9}", value) or int(value) < lowest:
        raise bad_request(f"Invalid value '{value}' for {option} query option found. The {option} query option "
                          "requires a non-negative integer value.")
    if highest is not None and int(value) > highest:
        raise bad_request(f"The query specified in the URI is not valid. The limit of '{highest}' for "
                          f"{option[1:].capitalize()} query has been exceeded. The value from the incoming "
                          f"request is '{value}'.")
    return int(value)


def preferences_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The preferences in the header Prefer, by their names in lower case (RFC 7240)."""
    return {m[1].lower(): m[2] if m[2] is not None else m[3] or ""
            for m in _PREFERENCE.finditer(headers.get("prefer", "")) if m[0]}


def shape_of(query: Mapping[str, str], preferences: Mapping[str, str], *, basics: bool) -> Shape:
    """How events are asked for.

    :raises GraphError: something is asked for that there is not.
    """
    zone_name = preferences.get("outlook.timezone", "UTC")
    try:
        _zone(zone_name)
    except LookupError:
        raise GraphError(400, "TimeZoneNotSupportedException", "A valid TimeZone value must be specified. The "
                         f"following TimeZone value is not supported: '{zone_name}'.") from None
    expand = tuple(_expanded(query["$expand"])) if "$expand" in query else ()
    if expand and basics:
        raise GraphError(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.")
    return Shape(_selected(query["$select"]) if "$select" in query else None, expand, zone_name,
                 preferences.get("outlook.body-content-type", "").lower() == "text",
                 preferences.get("idtype", "").lower() == "immutableid", basics)


def page_size_of(preferences: Mapping[str, str]) -> int:
    """The page size that is preferred; 0 where none is, or none that can be."""
    wanted = preferences.get("odata.maxpagesize", "")
    return int(wanted) if re.fullmatch(r"[0-9]{1,9}", wanted) else 0


def applied(preferences: Mapping[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    """The header that tells which preferences were honoured."""
    told = []
    if "outlook.timezone" in preferences:
        told.append(f'outlook.timezone="{preferences["outlook.timezone"]}"')
    if preferences.get("outlook.body-content-type", "").lower() in ("text", "html"):
        told.append(f'outlook.body-content-type="{preferences["outlook.body-content-type"]}"')
    if page_size_of(preferences):
        told.append(f"odata.maxpagesize={page_size_of(preferences)}")
    if preferences.get("idtype", "").lower() == "immutableid":
        told.append('IdType="ImmutableId"')
    return ((b"Preference-Applied", ", ".join(told).encode("ascii", "replace")),) if told else ()


def refuse_what_is_not_simulated(query: Mapping[str, str]) -> None:
    """A filter or a search would give other events: better none than all.

    :raises GraphError: there is one.
    """
    for option in ("$filter", "$search"):
        if option in query:
            raise not_simulated(option)
    if query.get("$orderby", "start/dateTime").lower() not in ("start/datetime", "start/datetime asc"):
        raise not_simulated("another order than by start")


def _zone(name: str) -> tzinfo:
    if name.upper() == "UTC":
        return UTC
    known = time_zone(name)
    if known is not None:
        return known
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise LookupError(name) from None


def _selected(text: str) -> frozenset[str]:
    chosen = set()
    for raw in text.split(","):
        name = raw.strip()
        if name == "*":
            return frozenset(EVENT_MEMBERS)
        if name.lower() not in _BY_LOWER_NAME:
            raise bad_query(f"Could not find a property named '{name}' on type 'microsoft.graph.event'.")
        chosen.add(_BY_LOWER_NAME[name.lower()])
    return frozenset(chosen)


def _expanded(text: str) -> Iterator[str]:
    """The ids of extended properties that an `$expand` asks for."""
    for item in _split_at_top(text):
        name, parenthesis, options = item.strip().partition("(")
        if name.lower() in _EXPANDABLE:
            raise not_simulated(f"$expand={name}")
        if name.lower() != "singlevalueextendedproperties":
            raise bad_query(f"Parsing OData Select and Expand failed: Could not find a property named '{name}' on "
                            "type 'microsoft.graph.event'.")
        if not parenthesis or not options.endswith(")"):
            raise bad_query("Parsing OData Select and Expand failed: singleValueExtendedProperties must be "
                            "expanded with a $filter on id.")
        key, equals, condition = options[:-1].partition("=")
        if key.strip().lower() != "$filter" or not equals:
            raise bad_query(f"Parsing OData Select and Expand failed: Term '{options[:-1]}' is not valid in a "
                            "$select or $expand expression.")
        yield from _property_ids(condition)


def _split_at_top(text: str) -> Iterator[str]:
    """The parts between commas that are in no parentheses and no quotes."""
    depth, quoted, begun = 0, False, 0
    for place, sign in enumerate(text):
        if sign == "'":
            quoted = not quoted
        elif not quoted:
            depth += (sign == "(") - (sign == ")")
            if sign == "," and depth == 0:
                yield text[begun:place]
                begun = place + 1
    if depth or quoted:
        raise bad_query("Parsing OData Select and Expand failed: parentheses or quotes are not closed.")
    yield text[begun:]


def _property_ids(condition: str) -> Iterator[str]:
    place = 0
    while True:
        match = _CONDITION.match(condition, place)
        if match is None:
            raise bad_query("Parsing OData Select and Expand failed: Syntax error at position "
                            f"{place} in '{condition}'.")
        yield _property_id(match[1].replace("''", "'"))
        place = match.end()
        if place == len(condition):
            return
        conjunction = _OR.match(condition, place)
        if conjunction is None:
            raise bad_query("Parsing OData Select and Expand failed: Syntax error at position "
                            f"{place} in '{condition}'.")
        place = conjunction.end()


def _property_id(text: str) -> str:
    """The id as Graph writes it: the GUID in lower case."""
    named, tagged = _NAMED.fullmatch(text), _TAGGED.fullmatch(text)
    kind = (named or tagged or [None, ""])[1]
    if kind not in _PROPERTY_TYPES:
        raise GraphError(400, "ErrorInvalidExtendedProperty",
                         "The extended property attribute combination is invalid.")
    if named is None:
        return text
    return f"{kind} {named[2].lower()} " + (f"Name {named[3]}" if named[3] else f"Id {named[4].lower()}")
