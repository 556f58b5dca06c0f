from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from lxml import etree

from otjd.meetings.model import Meeting
from otjd.protocol.ews_restrictions import read_restriction, read_sort_order
from otjd.protocol.soap import SoapFault

NINE = datetime(2026, 3, 2, 9, tzinfo=UTC)
MEETING = Meeting(id="0" * 32, uid="a", subject="Weekly", start_time=NINE, end_time=NINE + timedelta(hours=1))
UNKNOWN = ('<IsEqualTo><FieldURI FieldURI="item:Categories"/><FieldURIOrConstant><Constant Value="x"/>'
           "</FieldURIOrConstant></IsEqualTo>")
IN_ORDER = ('<IsLessThan><FieldURI FieldURI="calendar:Start"/><FieldURIOrConstant>'
            '<FieldURI FieldURI="calendar:End"/></FieldURIOrConstant></IsLessThan>')


def compare(name: str, field: str, value: str) -> str:
    return (f'<{name}><FieldURI FieldURI="calendar:{field}"/><FieldURIOrConstant><Constant Value="{value}"/>'
            f"</FieldURIOrConstant></{name}>")


TRUE = compare("IsLessThan", "Start", "2026-03-02T10:00:00Z")
FALSE = compare("IsGreaterThan", "Start", "2026-03-02T10:00:00Z")


def value(inside: str) -> bool | None:
    condition = read_restriction(etree.fromstring(f"<Restriction>{inside}</Restriction>"), UTC)
    assert condition is not None
    return condition(MEETING)


def test_no_restriction_is_none() -> None:
    assert read_restriction(None, UTC) is None


@pytest.mark.parametrize(("name", "at_nine", "at_eight"), [
    ("IsEqualTo", True, False), ("IsNotEqualTo", False, True), ("IsGreaterThan", False, True),
    ("IsGreaterThanOrEqualTo", True, True), ("IsLessThan", False, False), ("IsLessThanOrEqualTo", True, False)])
def test_start_and_end_are_compared_with_times(name: str, at_nine: bool, at_eight: bool) -> None:
    assert value(compare(name, "Start", "2026-03-02T09:00:00Z")) is at_nine
    assert value(compare(name, "Start", "2026-03-02T09:00:00+01:00")) is at_eight
    assert value(compare(name, "End", "2026-03-02T10:00:00")) is at_nine


@pytest.mark.parametrize(("inside", "expected"), [
    (TRUE, True), (FALSE, False), (UNKNOWN, None), ("", True), ("<Exists/>", None), ("<And/>", None),
    ("<Or/>", None), (f"<And>{TRUE}{TRUE}</And>", True), (f"<And>{TRUE}{FALSE}</And>", False),
    (f"<And>{UNKNOWN}{TRUE}</And>", None), (f"<And>{UNKNOWN}{FALSE}</And>", False),
    (f"<Or>{FALSE}{TRUE}</Or>", True), (f"<Or>{FALSE}{FALSE}</Or>", False), (f"<Or>{UNKNOWN}{FALSE}</Or>", None),
    (f"<Or>{UNKNOWN}{TRUE}</Or>", True),
    (f"<Not>{FALSE}</Not>", True), (f"<Not>{TRUE}</Not>", False), (f"<Not>{UNKNOWN}</Not>", None),
    (IN_ORDER, True),
    ('<IsLessThan><FieldURI FieldURI="calendar:Start"/></IsLessThan>', None),
])
def test_what_is_unknown_neither_lets_in_nor_keeps_out(inside: str, expected: bool | None) -> None:
    assert value(inside) is expected


@pytest.mark.parametrize(("field", "wanted", "expected"), [
    ("item:Subject", "weekly", True), ("item:Subject", "week", False),
    ("item:Sensitivity", "Private", False), ("calendar:IsAllDayEvent", "False", True),
    ("calendar:IsAllDayEvent", "1", False), ("calendar:IsCancelled", " 0 ", True),
    ("calendar:IsRecurring", "true", False),
    ("calendar:LegacyFreeBusyStatus", "Busy", True),
    ("calendar:MyResponseType", "Accept", True), ("calendar:Location", "", True),
    ("calendar:Location", "x", False)])
def test_texts_and_truths_are_compared_in_any_letter_case(field: str, wanted: str, expected: bool) -> None:
    inside = f'<FieldURI FieldURI="{field}"/><FieldURIOrConstant><Constant Value="{wanted}"/></FieldURIOrConstant>'
    assert value(f"<IsEqualTo>{inside}</IsEqualTo>") is expected
    assert value(f"<IsNotEqualTo>{inside}</IsNotEqualTo>") is not expected
    assert value(f"<IsLessThan>{inside}</IsLessThan>") is None


@pytest.mark.parametrize(("how", "wanted", "expected"), [
    ('ContainmentMode="Substring" ContainmentComparison="Exact"', "eek", True),
    ('ContainmentMode="Substring" ContainmentComparison="Exact"', "EEK", False),
    ('ContainmentMode="Substring" ContainmentComparison="IgnoreCase"', "EEK", True),
    ('ContainmentMode="FullString" ContainmentComparison="IgnoreCase"', "WEEKLY", True),
    ('ContainmentMode="FullString" ContainmentComparison="Exact"', "Week", False),
    ('ContainmentMode="Prefixed" ContainmentComparison="Exact"', "Week", True),
    ('ContainmentMode="Prefixed" ContainmentComparison="Exact"', "eek", False),
    ('ContainmentMode="PrefixOnWords" ContainmentComparison="IgnoreCase"', "week", True),
    ('ContainmentMode="Substring" ContainmentComparison="Loose"', "x", None),
    ("", "x", False)])
def test_a_subject_is_searched_as_the_client_asks(how: str, wanted: str, expected: bool | None) -> None:
    inside = f'<FieldURI FieldURI="item:Subject"/><Constant Value="{wanted}"/>'
    assert value(f"<Contains {how}>{inside}</Contains>") is expected


@pytest.mark.parametrize(("field", "wanted"), [
    ("item:ItemClass", "IPM.Appointment"), ("calendar:CalendarItemType", "RecurringMaster")])
def test_who_asks_for_appointments_or_masters_is_told_of_occurrences(field: str, wanted: str) -> None:
    assert value(f'<IsEqualTo><FieldURI FieldURI="{field}"/><FieldURIOrConstant><Constant Value="{wanted}"/>'
                 "</FieldURIOrConstant></IsEqualTo>") is None


def test_what_no_meeting_tells_by_itself_is_unknown_to_a_search() -> None:
    assert value('<Contains><FieldURI FieldURI="item:Body"/><Constant Value="x"/></Contains>') is None
    assert value('<Contains><FieldURI FieldURI="item:Subject"/></Contains>') is None
    assert value('<Exists><FieldURI FieldURI="item:Subject"/></Exists>') is True
    searched = '<Contains><FieldURI FieldURI="item:Subject"/><Constant Value="x"/></Contains>'
    condition = read_restriction(etree.fromstring(f"<Restriction>{searched}</Restriction>"), UTC)
    assert condition is not None
    assert condition(replace(MEETING, subject="")) is None


def test_a_time_that_is_none_fails_schema_validation() -> None:
    with pytest.raises(SoapFault, match="'soon' is not a date and time"):
        value(compare("IsLessThan", "Start", "soon"))


@pytest.mark.parametrize("inside", ["<Not>" * 40 + TRUE + "</Not>" * 40, f"<And>{TRUE * 300}</And>"])
def test_a_restriction_has_limits(inside: str) -> None:
    with pytest.raises(SoapFault) as raised:
        value(inside)
    assert raised.value.code == "ErrorRestrictionTooComplex"


def test_sort_orders_are_read_as_far_as_they_are_known() -> None:
    element = etree.fromstring(
        '<SortOrder><FieldOrder Order="Descending"><FieldURI FieldURI="calendar:Start"/></FieldOrder>'
        '<FieldOrder Order="Ascending"><ExtendedFieldURI PropertyTag="0xe23"/></FieldOrder>'
        '<FieldOrder Order="Ascending"><FieldURI FieldURI="item:Subject"/></FieldOrder></SortOrder>')
    start, subject = read_sort_order(element)
    assert (start.key(MEETING), start.descending) == (NINE, True)
    assert (subject.key(MEETING), subject.descending) == ("weekly", False)
    assert read_sort_order(None) == ()
