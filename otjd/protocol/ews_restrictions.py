"""Restrictions and sort orders of FindItem, as far as a list of meetings needs them.

Comparisons of times with a time, or with each other, are applied, and so are the questions whether a property of
plain text, or one that is true or false, is or holds something. Whatever else a restriction asks for counts as
unknown: it neither lets an item in nor keeps it out by itself, and an item that nothing certain keeps out is
listed. So a client may be given more than it asked for, never less.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, tzinfo

from lxml import etree

from otjd.meetings.model import CalendarItemType, Meeting
from otjd.protocol import markup
from otjd.protocol.ews_items import created_time, dial_uri, modified_time
from otjd.protocol.soap import SoapFault, schema_violation
from otjd.protocol.timezones import read_date_time

DEPTH_LIMIT = 20
CONDITIONS_LIMIT = 200

Condition = Callable[[Meeting], bool | None]
"""Whether a meeting meets a condition; None: unknown."""

Operand = Callable[[Meeting], datetime]

Text = Callable[[Meeting], str | None]
"""A property as it is written; None: unknown, such as a subject that is not told by the meeting alone."""

_COMPARISONS: dict[str, Callable[[datetime, datetime], bool]] = {
    "IsEqualTo": operator.eq, "IsNotEqualTo": operator.ne, "IsGreaterThan": operator.gt,
    "IsGreaterThanOrEqualTo": operator.ge, "IsLessThan": operator.lt, "IsLessThanOrEqualTo": operator.le}
_TIMES: dict[str, Operand] = {"calendar:Start": lambda m: m.start_time, "calendar:End": lambda m: m.end_time,
                              "item:DateTimeCreated": created_time, "item:LastModifiedTime": modified_time}
_SORT_KEYS: dict[str, Callable[[Meeting], datetime | str]] = {
    **_TIMES, "item:Subject": lambda m: m.subject.casefold(), "item:ItemId": lambda m: m.id}


_BOOLEANS: dict[str, Text] = {
    "calendar:IsAllDayEvent": lambda m: markup.boolean(m.is_all_day), "calendar:IsCancelled": lambda _: "false",
    "calendar:IsMeeting": lambda _: "true", "item:HasAttachments": lambda _: "false",
    "calendar:IsRecurring": lambda m: markup.boolean(m.item_type is not CalendarItemType.SINGLE)}
# not ItemClass and CalendarItemType: who asks for appointments or masters means series, which are occurrences here
_TEXTS: dict[str, Text] = {
    "item:Subject": lambda m: markup.visible(m.subject) or markup.visible(m.organizer.display_name) or None,
    "calendar:Location": dial_uri,
    "item:Sensitivity": lambda m: "Private" if m.is_private else "Normal",
    "calendar:LegacyFreeBusyStatus": lambda m: str(m.free_busy), "calendar:MyResponseType": lambda _: "Accept"}
_CONTAINMENTS: dict[str, Callable[[str, str], bool]] = {
    "FullString": operator.eq, "Prefixed": str.startswith,
    "PrefixOnWords": lambda text, wanted: any(word.startswith(wanted) for word in text.split())}
_BOOLEAN_VALUES = {"1": "true", "0": "false"}


@dataclass(frozen=True, slots=True)
class SortField:
    """One field to sort by."""

    key: Callable[[Meeting], datetime | str]
    descending: bool


def _unknown(_: Meeting) -> bool | None:
    return None


def _always(_: Meeting) -> bool | None:
    return True


def read_restriction(element: etree._Element | None, zone: tzinfo) -> Condition | None:
    """The condition of a Restriction; None where there is none. Times without zone are in `zone`.

    :raises SoapFault: a time is no time, or the restriction is too large.
    """
    if element is None:
        return None
    if sum(1 for _ in element.iter()) > 4 * CONDITIONS_LIMIT:
        raise _too_complex()
    return _all([_condition(inner, zone, 0) for inner in element])


def read_sort_order(element: etree._Element | None) -> tuple[SortField, ...]:
    """The fields of a SortOrder that can be sorted by, the most important first."""
    fields = []
    for order in markup.children(element, "FieldOrder"):
        key = _SORT_KEYS.get(_field(order))
        if key is not None:
            fields.append(SortField(key, order.get("Order", "").strip() == "Descending"))
    return tuple(fields[:len(_SORT_KEYS)])


def _too_complex() -> SoapFault:
    return SoapFault("ErrorRestrictionTooComplex", "The restriction has too many conditions.")


def _condition(element: etree._Element, zone: tzinfo, depth: int) -> Condition:
    if depth > DEPTH_LIMIT:
        raise _too_complex()
    name = markup.local_name(element)
    if name in _COMPARISONS:
        return _comparison(element, _COMPARISONS[name], zone)
    if name not in ("And", "Or", "Not"):
        return _containment(element) if name == "Contains" else _existence(element, name)
    inner = [_condition(child, zone, depth + 1) for child in element]
    if not inner:
        return _unknown
    if name == "Or":
        return _not(_all([_not(condition) for condition in inner]))
    return _not(_all(inner)) if name == "Not" else _all(inner)


def _all(conditions: list[Condition]) -> Condition:
    def all_of(meeting: Meeting) -> bool | None:
        known: bool | None = True
        for condition in conditions:
            value = condition(meeting)
            if value is False:
                return False
            if value is None:
                known = None
        return known

    return all_of


def _not(condition: Condition) -> Condition:
    def negated(meeting: Meeting) -> bool | None:
        value = condition(meeting)
        return None if value is None else not value

    return negated


def _comparison(element: etree._Element, compare: Callable[[datetime, datetime], bool], zone: tzinfo) -> Condition:
    left = _TIMES.get(_field(element))
    other = markup.child(element, "FieldURIOrConstant")
    constant = markup.child(other, "Constant")
    if constant is not None and compare in (operator.eq, operator.ne):
        told = _equality(_field(element), constant.get("Value", ""))
        if told is not None:
            return told if compare is operator.eq else _not(told)
    right: Operand | None
    if left is not None and constant is not None:
        try:
            time = read_date_time(constant.get("Value", ""), zone)
        except ValueError as error:
            raise schema_violation(f"The 'Value' attribute is invalid: {error}.", constant) from None
        right = lambda _: time  # noqa: E731 - an operand like the others
    else:
        right = _TIMES.get(_field(other))
    if left is None or right is None:
        return _unknown
    return lambda meeting: compare(left(meeting), right(meeting))


def _equality(field: str, value: str) -> Condition | None:
    """Whether a text is `value`, in any letter case as at Exchange; None where this is no field of text."""
    if field in _BOOLEANS:
        value = _BOOLEAN_VALUES.get(value.strip(), value.strip())
    text = _BOOLEANS.get(field) or _TEXTS.get(field)
    if text is None:
        return None
    wanted = value.casefold()
    return lambda meeting: None if (found := text(meeting)) is None else found.casefold() == wanted


def _containment(element: etree._Element) -> Condition:
    text, constant = _TEXTS.get(_field(element)), markup.child(element, "Constant")
    if text is None or constant is None:
        return _unknown
    comparison = element.get("ContainmentComparison", "").strip()
    if "Loose" in comparison or "NonSpacing" in comparison:  # é as e: more than is compared here
        return _unknown
    changed = str if comparison in ("", "Exact") else str.casefold
    holds = _CONTAINMENTS.get(element.get("ContainmentMode", "").strip(), operator.contains)
    wanted = changed(constant.get("Value", ""))
    return lambda meeting: None if (found := text(meeting)) is None else holds(changed(found), wanted)


def _existence(element: etree._Element, name: str) -> Condition:
    field = _field(element)
    is_known = field in _TIMES or field in _TEXTS or field in _BOOLEANS
    return _always if is_known and name == "Exists" else _unknown


def _field(element: etree._Element | None) -> str:
    field = markup.child(element, "FieldURI")
    return field.get("FieldURI", "").strip() if field is not None else ""
