"""What an endpoint is told of a meeting."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import timedelta
from typing import Any

import icalendar
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from otjd.meetings.model import CalendarItemType, DialProtocol, FreeBusyStatus, Meeting, Organizer
from otjd.protocol.poly_token import decode_token
from otjd.serve.calls import Account
from otjd.serve.ews_meetings import KEPT_LENGTH
from otjd.serve.join_details import Details, JoinDetails
from otjd.serve.join_style import JoinStyle
from tests.serve.ews_support import (
    NOW,
    ROOM,
    Exchange,
    account,
    calendar_view,
    get_item,
    meeting,
    pairs,
    schema,
    texts,
)

# poly.md 6.1: what the strictest known reader needs of each item, and what else it should find
NEEDED = (
    "ItemClass", "Subject", "Sensitivity", "UID", "Start", "End", "IsAllDayEvent", "LegacyFreeBusyStatus",
    "Location", "IsMeeting", "IsCancelled", "IsRecurring", "CalendarItemType", "MyResponseType", "Organizer",
    "Duration", "RequiredAttendees", "TimeZone", "AppointmentState", "ReminderMinutesBeforeStart",
    "HasAttachments", "DateTimeCreated", "LastModifiedTime")


def read(shown: Meeting, *, shape: str = "", **more: Any) -> etree._Element:
    """The one item that GetItem answers."""
    exchange = Exchange(**more)
    exchange.show(shown)
    ((item_id, _),) = pairs(exchange.ask(calendar_view()))
    return exchange.ask(get_item(item_id, shape=shape))[0][-1][0]


def told(shown: Meeting, name: str) -> str:
    (text,) = texts(read(shown), f"t:{name}")
    return text


def body(item: etree._Element) -> str:
    return texts(item, "t:Body")[0]


TEXT = "<t:BodyType>Text</t:BodyType>"


def test_the_schema_is_beside_the_checkout() -> None:
    if schema() is None:
        pytest.skip("the EWS schema is not beside the checkout (../shared/ews-schema): answers were not validated")
    assert schema() is not None


@pytest.mark.parametrize("name", NEEDED)
def test_every_property_that_readers_need_is_in_lists_and_in_items(name: str) -> None:
    exchange = Exchange()
    exchange.show(meeting("a"))
    listed = exchange.ask(calendar_view())
    (item_id,) = texts(listed, ".//t:ItemId/@Id")
    assert len(texts(listed, f".//t:CalendarItem/t:{name}")) == 1
    assert len(texts(exchange.ask(get_item(item_id)), f".//t:CalendarItem/t:{name}")) == 1


@pytest.mark.parametrize("base", ["IdOnly", "Default", "AllProperties", "", "Everything"])
@pytest.mark.parametrize("more", ["", '<t:FieldURI FieldURI="calendar:Nothing"/>',
                                  '<t:IndexedFieldURI FieldURI="item:InternetMessageHeader" FieldIndex="X-A"/>'])
def test_every_shape_is_answered_alike(base: str, more: str) -> None:
    shape = f"<t:BaseShape>{base}</t:BaseShape>" if base else ""
    asked = f"<m:ItemShape>{shape}<t:AdditionalProperties>{more}</t:AdditionalProperties></m:ItemShape>"
    exchange = Exchange()
    exchange.show(meeting("a"))
    ((item_id, _),) = pairs(exchange.ask(calendar_view()))
    usual = exchange.ask(get_item(item_id))[0]
    named = f'<m:GetItem>{asked}<m:ItemIds><t:ItemId Id="{item_id}" ChangeKey="old"/></m:ItemIds></m:GetItem>'
    assert etree.tostring(exchange.ask(named)[0]) == etree.tostring(usual)


def test_a_meeting_is_told_as_it_is() -> None:
    item = read(meeting("a", NOW + timedelta(hours=1), 90, subject="Weekly & more <ö>", alias="room@example.com",
                        free_busy=FreeBusyStatus.TENTATIVE, created_time=NOW - timedelta(days=2),
                        last_modified_time=NOW - timedelta(days=1, microseconds=-1)))
    expected = {
        "Subject": "Weekly & more <ö>", "Start": "2026-03-02T09:00:00Z", "End": "2026-03-02T10:30:00Z",
        "Location": "sip:room@example.com", "LegacyFreeBusyStatus": "Tentative", "Duration": "PT1H30M",
        "DateTimeCreated": "2026-02-28T08:00:00Z", "LastModifiedTime": "2026-03-01T08:00:00Z",
        "Sensitivity": "Normal", "ItemClass": "IPM.Appointment", "CalendarItemType": "Single",
        "IsRecurring": "false", "IsCancelled": "false", "MyResponseType": "Accept"}
    assert {name: texts(item, f"t:{name}")[0] for name in expected} == expected
    assert texts(item, "t:Organizer/t:Mailbox/*") == ["Ada Berg", "ada@example.com", "SMTP"]
    attendees = texts(item, "t:RequiredAttendees/t:Attendee/t:Mailbox/t:EmailAddress")
    assert attendees == ["ada@example.com", ROOM.email]
    assert "t:RecurrenceId" not in etree.tostring(item).decode()


def test_private_and_all_day_meetings_say_so() -> None:
    assert told(meeting("a", is_private=True), "Sensitivity") == "Private"
    all_day = meeting("a", NOW.replace(hour=0), 24 * 60, is_all_day=True)
    assert told(all_day, "IsAllDayEvent") == "true"
    assert told(all_day, "Duration") == "P1D"


@pytest.mark.parametrize("kind", [CalendarItemType.OCCURRENCE, CalendarItemType.EXCEPTION])
def test_an_occurrence_names_its_original_start(kind: CalendarItemType) -> None:
    item = read(meeting("series", occurrence="20260302T070000Z", item_type=kind))
    assert texts(item, "t:ItemClass|t:CalendarItemType|t:IsRecurring") == [
        "IPM.Appointment.Occurrence", "true", str(kind)]
    assert texts(item, "t:RecurrenceId|t:OriginalStart") == ["2026-03-02T07:00:00Z"] * 2
    master = told(meeting("series"), "UID")
    uid = texts(item, "t:UID")[0]
    assert uid[32:40] == "07EA0302"
    assert uid[:32] + "0" * 8 + uid[40:] == master


@pytest.mark.parametrize(("organizer", "name", "mailbox"), [
    (Organizer("Ada", "ada@example.com"), "Ada", ["Ada", "ada@example.com", "SMTP"]),
    (Organizer("Ada", ""), "Ada", ["Ada"]),
    (Organizer("", "ada@example.com"), "ada@example.com", ["ada@example.com", "ada@example.com", "SMTP"]),
    (Organizer("\r", "ada@example.com "), "ada@example.com", ["ada@example.com", "ada@example.com", "SMTP"]),
    (Organizer(" ", "\x01"), ROOM.email, [ROOM.email, ROOM.email, "SMTP"]),
    (Organizer(), ROOM.email, [ROOM.email, ROOM.email, "SMTP"]),
])
@pytest.mark.parametrize("subject", ["", " \x02", "\r"])
def test_an_empty_subject_becomes_the_organizers_name(organizer: Organizer, name: str, mailbox: list[str],
                                                      subject: str) -> None:
    item = read(meeting("a", subject=subject, organizer=organizer))
    assert texts(item, "t:Subject") == [name]
    assert texts(item, "t:Organizer/t:Mailbox/*") == mailbox


def test_a_meeting_that_ends_when_it_starts_is_shown_for_a_minute() -> None:
    item = read(meeting("a", NOW, 0))
    assert texts(item, "t:Start|t:End|t:Duration") == ["2026-03-02T08:00:00Z", "2026-03-02T08:01:00Z", "PT1M"]


@pytest.mark.parametrize(("alias", "protocol", "uri", "line"), [
    ("room@example.com", DialProtocol.SIP, "sip:room@example.com", "SIP: room@example.com"),
    ("10.0.0.1##42", DialProtocol.H323, "h323:10.0.0.1##42", "H.323: 10.0.0.1##42"),
    ("SIPS:room@example.com", DialProtocol.SIP, "SIPS:room@example.com", "SIP: room@example.com"),
    ("h323:10.0.0.1", DialProtocol.SIP, "h323:10.0.0.1", "H.323: 10.0.0.1"),
])
def test_location_and_body_carry_what_to_dial(alias: str, protocol: DialProtocol, uri: str, line: str) -> None:
    item = read(meeting("a", alias=alias, dial_protocol=protocol), shape=TEXT)
    assert texts(item, "t:Location") == [uri]
    lines = body(item).split("\r\n")
    assert lines[:4] == [f"Join by video: {uri}", line, "", "--=BEGIN POLYCOM VMR ENCODED TOKEN=--"]
    assert len(lines) == 6
    token = decode_token(body(item))
    assert token is not None
    assert token["POLYCOM-VMRNUMBER"] == uri.partition(":")[2]


@pytest.mark.parametrize("body_type", ["", TEXT, "<t:BodyType>HTML</t:BodyType>"])
def test_nothing_to_dial_is_an_empty_body_and_an_empty_location(body_type: str) -> None:
    item = read(meeting("a"), shape=body_type)
    assert texts(item, "t:Location") == [""]
    assert texts(item, "t:Body") == [""]
    assert texts(item, "t:Body/@BodyType") == ["Text" if "Text" in body_type else "HTML"]


def test_the_html_body_holds_the_same_lines() -> None:
    item = read(meeting("a", alias="a&b@example.com"))
    assert body(item).startswith("<html><body>Join by video: sip:a&amp;b@example.com<br>\r\nSIP: a&amp;b@")
    assert body(item).endswith("--=END POLYCOM VMR ENCODED TOKEN=--</body></html>")
    token = decode_token(body(item))
    assert token is not None
    assert token["POLYCOM-VMRNUMBER"] == "a&b@example.com"


def test_further_bodies_are_given_when_asked_for() -> None:
    fields = "".join(f'<t:FieldURI FieldURI="item:{n}"/>' for n in ("TextBody", "UniqueBody", "NormalizedBody"))
    asked = (f"{TEXT}<t:NormalizedBodyType>Text</t:NormalizedBodyType><t:AdditionalProperties>{fields}"
             "</t:AdditionalProperties>")
    item = read(meeting("a", alias="room@example.com"), shape=asked)
    found = {name: (texts(item, f"t:{name}/@BodyType"), texts(item, f"t:{name}")[0].startswith("<html>"))
             for name in ("Body", "UniqueBody", "NormalizedBody", "TextBody")}
    assert found == {"Body": (["Text"], False), "UniqueBody": (["HTML"], True),
                     "NormalizedBody": (["Text"], False), "TextBody": (["Text"], False)}


def extended(**attributes: str) -> str:
    inside = " ".join(f'{name}="{value}"' for name, value in attributes.items())
    return f"<t:ExtendedFieldURI {inside}/>"


def public(name: str, kind: str = "String") -> str:
    return extended(DistinguishedPropertySetId="PublicStrings", PropertyName=name, PropertyType=kind)


def asked_properties(*fields: str) -> str:
    return f"<t:AdditionalProperties>{''.join(fields)}</t:AdditionalProperties>"


MEETING_SET = "6ED8DA90-450B-101B-98DA-00AA003F1305"
SERIES = meeting("series", occurrence="20260302T070000Z", item_type=CalendarItemType.OCCURRENCE,
                 alias="room@example.com")


@pytest.mark.parametrize("in_list", [True, False])
def test_asked_mapi_properties_are_told_as_far_as_they_exist(in_list: bool) -> None:
    shape = asked_properties(
        extended(DistinguishedPropertySetId="Meeting", PropertyId="3", PropertyType="Binary"),
        extended(PropertySetId=MEETING_SET, PropertyId="35", PropertyType="Binary"),
        public("POLYCOM-VMRNUMBER"), public("POLYCOM-VMRNUMBER", "Integer"), public("UCMeetingSettings"),
        extended(DistinguishedPropertySetId="Meeting", PropertyId="3", PropertyType="String"),
        extended(DistinguishedPropertySetId="Meeting", PropertyId="4", PropertyType="Binary"),
        extended(PropertyTag="0x0FFF", PropertyType="Binary"), extended(PropertyTag="x", PropertyType="String"))
    exchange = Exchange()
    exchange.show(SERIES)
    messages = exchange.ask(calendar_view(shape=shape))
    if not in_list:
        messages = exchange.ask(get_item(*texts(messages, ".//t:ItemId/@Id"), shape=shape))
    uid = bytes.fromhex(texts(messages, ".//t:UID")[0])
    clean = uid[:16] + bytes(4) + uid[20:]
    assert texts(messages, ".//t:ExtendedProperty/t:Value") == [
        base64.b64encode(uid).decode(), base64.b64encode(clean).decode(), "room@example.com"]
    assert texts(messages, ".//t:ExtendedFieldURI/@PropertyId") == ["3", "35"]
    assert texts(messages, ".//t:ExtendedFieldURI/@PropertySetId") == [MEETING_SET]


@pytest.mark.parametrize("in_list", [True, False])
def test_properties_that_gateways_need_are_told_by_their_tags(in_list: bool) -> None:
    shape = asked_properties(*(extended(PropertyTag=tag, PropertyType=kind) for tag, kind in (
        ("0xe23", "Integer"), ("0x0037", "String"), ("12296", "SystemTime"), ("0x3007", "Integer"),
        ("0x10f3", "String"), ("0x3007", "SystemTime"))))
    exchange = Exchange()
    shown = meeting("a", created_time=NOW, last_modified_time=NOW + timedelta(hours=1), subject="A")
    exchange.show(shown)
    messages = exchange.ask(calendar_view(shape=shape))
    if not in_list:
        messages = exchange.ask(get_item(*texts(messages, ".//t:ItemId/@Id"), shape=shape))
    number, *others = texts(messages, ".//t:ExtendedProperty/t:Value")
    assert 0 < int(number) < 2**31
    assert others == ["A", "2026-03-02T09:00:00Z", f"{shown.id}.EML", "2026-03-02T08:00:00Z"]
    assert texts(messages, ".//t:ExtendedFieldURI/@PropertyTag") == ["0xe23", "0x37", "0x3008", "0x10f3", "0x3007"]


MIME = "<t:IncludeMimeContent>true</t:IncludeMimeContent>"


def event_of(shown: Meeting, shape: str = MIME) -> Any:
    item = read(shown, shape=shape)
    (encoded,) = texts(item, "t:MimeContent")
    (event,) = icalendar.Calendar.from_ical(base64.b64decode(encoded)).walk("VEVENT")
    return event


@pytest.mark.parametrize("shape", [MIME, asked_properties('<t:FieldURI FieldURI="item:MimeContent"/>')])
def test_mime_content_is_the_meeting_as_a_calendar_object(shape: str) -> None:
    shown = meeting("a", alias="room@example.com", is_private=True, subject='Grüße, "all"; <all>\n\x07')
    event = event_of(shown, shape)
    assert (event["SUMMARY"], event["LOCATION"], event["CLASS"]) == (
        'Grüße, "all"; <all>', "sip:room@example.com", "PRIVATE")
    assert (event.decoded("DTSTART"), event.decoded("DTEND")) == (shown.start_time, shown.end_time)
    assert event["ORGANIZER"] == "mailto:ada@example.com"
    assert event["ORGANIZER"].params["CN"] == "Ada Berg"
    assert event["UID"] == told(shown, "UID")
    assert "room@example.com" in event["DESCRIPTION"]


def test_an_occurrence_is_a_calendar_object_of_its_own() -> None:
    event = event_of(SERIES)
    assert "RECURRENCE-ID" not in event
    assert event["UID"] == told(SERIES, "UID") != told(meeting("series", alias="room@example.com"), "UID")


@pytest.mark.parametrize(("status", "told_as"), [
    (FreeBusyStatus.FREE, ("CONFIRMED", "TRANSPARENT")), (FreeBusyStatus.BUSY, ("CONFIRMED", "OPAQUE")),
    (FreeBusyStatus.TENTATIVE, ("TENTATIVE", "OPAQUE"))])
def test_a_calendar_object_tells_how_the_room_is_blocked(status: FreeBusyStatus, told_as: tuple[str, str]) -> None:
    event = event_of(meeting("a", free_busy=status))
    assert (event["STATUS"], event["TRANSP"]) == told_as


def test_no_calendar_object_is_given_unasked() -> None:
    assert not texts(read(meeting("a"), shape=MIME.replace("true", "false")), "t:MimeContent")


@given(st.text(), st.text(), st.text())
def test_whatever_a_calendar_holds_becomes_a_calendar_object(subject: str, name: str, email: str) -> None:
    event = event_of(meeting("a", subject=subject, organizer=Organizer(name, email)))
    assert event["SUMMARY"]


def test_a_meeting_without_alias_has_no_polycom_properties() -> None:
    shape = asked_properties(public("POLYCOM-VMRNUMBER"))
    assert not texts(read(meeting("a"), shape=shape), "t:ExtendedProperty")


def test_ids_and_change_keys_survive_a_restart() -> None:
    exchange = Exchange()
    exchange.show(meeting("a"), meeting("b", alias="room@example.com"))
    before = pairs(exchange.ask(calendar_view()))
    again = Exchange()
    again.show(meeting("a", last_modified_time=NOW), meeting("b", alias="room@example.com", created_time=NOW))
    assert pairs(again.ask(calendar_view())) == before


CHANGES: list[dict[str, Any]] = [
    {"subject": "Other"}, {"organizer": Organizer("Bob")}, {"alias": "other@example.com"}, {"is_private": True},
    {"start_time": NOW + timedelta(minutes=1)}, {"end_time": NOW + timedelta(hours=2)}, {"is_all_day": True},
    {"free_busy": FreeBusyStatus.FREE}, {"dial_protocol": DialProtocol.H323},
    {"item_type": CalendarItemType.EXCEPTION}]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_a_visible_change_changes_the_change_key_and_not_the_id(change: dict[str, Any]) -> None:
    exchange = Exchange()
    first = meeting("a", alias="room@example.com")
    exchange.show(first)
    ((item_id, key),) = pairs(exchange.ask(calendar_view()))
    exchange.show(replace(first, last_modified_time=NOW))
    assert pairs(exchange.ask(calendar_view())) == [(item_id, key)]
    exchange.show(replace(first, **change))
    ((new_id, new_key),) = pairs(exchange.ask(calendar_view()))
    assert new_id == item_id
    assert new_key != key
    assert pairs(exchange.ask(get_item(item_id))) == [(new_id, new_key)]


def test_another_template_changes_the_change_key() -> None:
    exchange = Exchange()
    exchange.show(meeting("a", alias="room@example.com"))
    ((item_id, key),) = pairs(exchange.ask(calendar_view()))
    exchange.template = "Dial {{ uri }}"
    exchange.restart()
    ((new_id, new_key),) = pairs(exchange.ask(calendar_view()))
    assert new_id == item_id
    assert new_key != key
    assert body(exchange.ask(get_item(item_id, shape=TEXT))[0][-1][0]) == "Dial sip:room@example.com"


@pytest.mark.parametrize("kept", [1, 2, 4_000])
def test_what_is_kept_never_hides_a_change(kept: int) -> None:
    exchange = Exchange(settings={"details_kept": kept})
    exchange.template = "Dial {{ alias }}"
    exchange.restart()
    for host in ("one", "two", "three"):
        exchange.show(*(meeting(uid, alias=f"{uid}@{host}.example.com") for uid in "abc"))
        for _ in range(2):
            ids = [item_id for item_id, _ in pairs(exchange.ask(calendar_view()))]
            found = texts(exchange.ask(get_item(*ids, shape=TEXT)), ".//t:Body")
            assert sorted(found) == [f"Dial {uid}@{host}.example.com" for uid in "abc"]


def styled(name: str, **style: Any) -> Account:
    """Another endpoint of the room."""
    return account(username=name, endpoint=name, style=JoinStyle(**style))


def read_as(exchange: Exchange, who: Account) -> tuple[tuple[str, str], str]:
    """Id and ChangeKey of the one meeting, and the text of its body, as an endpoint sees them."""
    (pair,) = pairs(exchange.ask(calendar_view(), account=who))
    return pair, body(exchange.ask(get_item(pair[0], shape=TEXT), account=who)[0][-1][0])


def test_endpoints_of_one_room_each_get_their_own_body_under_the_same_id() -> None:
    exchange = Exchange()
    exchange.show(meeting("a", alias="room@example.com"))
    hdx, trio, split = styled("hdx", family="hdx"), styled("trio", family="trio"), styled("split", split=True)
    for _ in range(2):  # the second time from what is kept
        seen = [read_as(exchange, who) for who in (hdx, trio, split, hdx)]
        (hdx_pair, hdx_body), (trio_pair, trio_body), (split_pair, split_body), again = seen
        assert again == (hdx_pair, hdx_body)
        assert hdx_pair[0] == trio_pair[0] == split_pair[0]
        assert len({hdx_pair[1], trio_pair[1], split_pair[1]}) == 3
        assert trio_body == "Join by video: sip:room@example.com"
        tokens = [decode_token(text) for text in (hdx_body, split_body)]
        assert [t and t["POLYCOM-VMRNUMBER"] for t in tokens] == ["room@example.com", "room"]


def test_a_changed_text_changes_the_change_key_of_those_endpoints_that_show_it() -> None:
    exchange = Exchange()
    dropping, appending = styled("dropping"), styled("appending", invitation_text="append")
    seen = []
    for text in ("Agenda 1", "Agenda 2"):
        exchange.show(meeting("a", alias="room@example.com", invitation_text=text))
        seen.append({who.username: read_as(exchange, who) for who in (dropping, appending)})
    before, after = seen
    assert before["dropping"] == after["dropping"]
    assert "Agenda" not in before["dropping"][1]
    assert before["appending"][0][0] == after["appending"][0][0] == before["dropping"][0][0]
    assert before["appending"][0][1] != after["appending"][0][1]
    assert after["appending"][1].endswith("\r\n\r\nAgenda 2")


def test_a_long_body_is_made_anew_for_every_answer_and_a_short_one_is_kept() -> None:
    exchange = Exchange()
    appending = styled("appending", invitation_text="append")
    for length, is_kept in ((100, True), (KEPT_LENGTH, False)):
        exchange.show(meeting("a", alias="room@example.com", invitation_text="x" * length))
        assert read_as(exchange, appending) == read_as(exchange, appending)
        assert bool(exchange.service._answers._texts._kept) is is_kept


def test_what_is_kept_of_join_details_is_bounded_over_all_endpoints() -> None:
    exchange = Exchange(settings={"details_kept": 3})
    exchange.show(*(meeting(uid, alias="room@example.com") for uid in "abc"))
    ids = [item_id for item_id, _ in pairs(exchange.ask(calendar_view()))]
    kept = exchange.service._answers._texts._kept
    for family in ("hdx", "trio", "group"):
        exchange.ask(get_item(*ids), account=styled(family, family=family))
        assert len(kept) == 3


def test_where_more_are_read_in_turn_than_are_kept_some_are_kept_all_the_same(
        monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = Exchange(settings={"details_kept": 8})
    exchange.show(*(meeting(str(n), alias=f"room{n}@example.com") for n in range(16)))
    ids = [item_id for item_id, _ in pairs(exchange.ask(calendar_view()))]
    made: list[str] = []
    original = JoinDetails.of

    def counted(self: JoinDetails, shown: Meeting, *style: Any) -> Details:
        made.append(shown.uid)
        return original(self, shown, *style)

    monkeypatch.setattr(JoinDetails, "of", counted)
    for _ in range(10):
        for item_id in ids:
            exchange.ask(get_item(item_id, shape=TEXT))
    assert len(made) < 0.75 * 160
    assert len(set(made[-40:])) > 8  # and not always the same
