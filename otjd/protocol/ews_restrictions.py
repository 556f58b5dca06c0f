"""Restrictions and sort orders of FindItem, as far as a list of meetings needs them.

Comparisons of `calendar:Start` and `calendar:End` with a time, or with each other, are applied. Whatever else a
restriction asks for counts as unknown: it neither lets an item in nor keeps it out by itself, and an item that
nothing certain keeps out is listed. So a client may be given more than it asked for, never less.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, tzinfo

from lxml import etree

from otjd.meetings.model import Meeting
from otjd.protocol import markup
from otjd.protocol.soap import SoapFault, schema_violation
from otjd.protocol.timezones import read_date_time

DEPTH_LIMIT = 20
CONDITIONS_LIMIT = 200

Condition = Callable[[Meeting], bool | None]
"""Whether a meeting meets a condition; None: unknown."""

Operand = Callable[[Meeting], datetime]

_COMPARISONS: dict[str, Callable[[datetime, datetime], bool]] = {
    "IsEqualTo": operator.eq, "IsNotEqualTo": operator.ne, "IsGreaterThan": operator.gt,
    "IsGreaterThanOrEqualTo": operator.ge, "IsLessThan": operator.lt, "IsLessThanOrEqualTo": operator.le}
_TIMES: dict[str, Operand] = {"calendar:Start": lambda m: m.start_time, "calendar:End": lambda m: m.end_time}
_SORT_KEYS: dict[str, Callable[[Meeting], datetime | str]] = {
    **_TIMES, "item:Subject": lambda m: m.subject.casefold(), "item:ItemId": lambda m: m.id}


@dataclass(frozen=True, slots=True)
class SortField:
    """One field to sort by."""

    key: Callable[[Meeting], datetime | str]
    descending: bool


def _unknown(_: Meeting) -> bool | None:
    return None


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
        return _unknown
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


def _field(element: etree._Element | None) -> str:
    field = markup.child(element, "FieldURI")
    return field.get("FieldURI", "").strip() if field is not None else ""
