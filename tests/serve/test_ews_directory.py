"""What the emulated Exchange answers about free time, time zones, stored settings and lists of rooms."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from lxml import etree

from otjd.meetings.model import CalendarItemType, FreeBusyStatus, Organizer
from otjd.protocol import ews_ids
from otjd.protocol.timezones import WINDOWS_ZONES
from tests.serve.ews_support import (
    NAMESPACES,
    NOW,
    ROOM,
    Exchange,
    body_of,
    busy_room,
    codes,
    convert,
    envelope,
    meeting,
    texts,
)

MIDNIGHT = NOW.replace(hour=0)


def change(bias: int, month: int, order: int = 5, time: str = "02:00:00", day: str = "Sunday") -> str:
    return (f"<t:Bias>{bias}</t:Bias><t:Time>{time}</t:Time><t:DayOrder>{order}</t:DayOrder>"
            f"<t:Month>{month}</t:Month><t:DayOfWeek>{day}</t:DayOfWeek>")


NEVER = change(0, 0, order=0, time="00:00:00")


def zone(bias: int, standard: str = NEVER, daylight: str = NEVER) -> str:
    return (f"<t:TimeZone><t:Bias>{bias}</t:Bias><t:StandardTime>{standard}</t:StandardTime>"
            f"<t:DaylightTime>{daylight}</t:DaylightTime></t:TimeZone>")


UTC_ZONE = zone(0)
BERLIN = zone(-60, change(0, 10, time="03:00:00"), change(-60, 3))
BERLIN_IN_2026 = zone(-60, change(0, 10, order=25, time="03:00:00", day="Monday") + "<t:Year>2026</t:Year>",
                      change(-60, 3, order=29) + "<t:Year>2026</t:Year>")
SYDNEY = zone(-600, change(0, 4, order=1, time="03:00:00"), change(-60, 10, order=1))


def availability(*mailboxes: str, start: str = "2026-03-02T00:00:00", end: str = "2026-03-03T00:00:00",
                 view: str = "DetailedMerged", interval: str = "60", zone: str = UTC_ZONE, more: str = "") -> str:
    named = "".join(f"<t:MailboxData><t:Email><t:Address>{m}</t:Address></t:Email><t:AttendeeType>Room"
                    "</t:AttendeeType><t:ExcludeConflicts>false</t:ExcludeConflicts></t:MailboxData>"
                    for m in mailboxes or (ROOM.email,))
    name = "MergedFreeBusyIntervalInMinutes"
    minutes = f"<t:{name}>{interval}</t:{name}>" if interval else ""
    shown = f"<t:RequestedView>{view}</t:RequestedView>" if view else ""
    return (f"<m:GetUserAvailabilityRequest>{zone}<m:MailboxDataArray>{named}</m:MailboxDataArray>"
            f"<t:FreeBusyViewOptions><t:TimeWindow><t:StartTime>{start}</t:StartTime><t:EndTime>{end}</t:EndTime>"
            f"</t:TimeWindow>{minutes}{shown}</t:FreeBusyViewOptions>{more}</m:GetUserAvailabilityRequest>")


def ask(exchange: Exchange, request: str) -> etree._Element:
    reply = exchange.post(envelope(request))
    assert reply.status == 200, reply.body
    return body_of(reply)[0]


def children(element: etree._Element, path: str) -> list[str]:
    found = element.find(path, NAMESPACES)
    return [] if found is None else [etree.QName(child).localname for child in found]


@pytest.fixture
def exchange() -> Exchange:
    return busy_room()


# GetUserAvailability

def test_the_merged_view_has_the_busiest_digit_of_each_interval(exchange: Exchange) -> None:
    exchange.show(meeting("early", MIDNIGHT + timedelta(minutes=90)),
                  meeting("maybe", MIDNIGHT + timedelta(hours=3), 90, free_busy=FreeBusyStatus.TENTATIVE),
                  meeting("sure", MIDNIGHT + timedelta(hours=4, minutes=15), 5),
                  meeting("free", MIDNIGHT + timedelta(hours=6), 60, free_busy=FreeBusyStatus.FREE),
                  meeting("moment", MIDNIGHT + timedelta(hours=7), 0),
                  meeting("late", MIDNIGHT + timedelta(hours=23, minutes=59), 180))
    answer = ask(exchange, availability())
    assert texts(answer, ".//t:MergedFreeBusy") == ["020120020000000000000002"]


@pytest.mark.parametrize(("interval", "length"), [("5", 288), ("1440", 1), ("7", 206), ("", 48)])
def test_there_is_a_digit_for_each_interval_that_begins(exchange: Exchange, interval: str, length: int) -> None:
    (digits,) = texts(ask(exchange, availability(interval=interval)), ".//t:MergedFreeBusy")
    assert len(digits) == length


def test_what_lies_outside_the_known_time_is_no_data(exchange: Exchange) -> None:
    exchange.cache.configure({ROOM: timedelta(days=2)})
    answer = ask(exchange, availability(start="2026-02-28T08:00:00", end="2026-03-06T08:00:00", interval="1440"))
    assert texts(answer, ".//t:MergedFreeBusy") == ["422244"]


EVENTS, WHOLE = ["FreeBusyViewType", "CalendarEventArray", "WorkingHours"], [
    "FreeBusyViewType", "MergedFreeBusy", "CalendarEventArray", "WorkingHours"]


@pytest.mark.parametrize(("view", "shown", "has_details"), [
    ("None", ["FreeBusyViewType"], False), ("MergedOnly", ["FreeBusyViewType", "MergedFreeBusy"], False),
    ("FreeBusy", EVENTS, False), ("FreeBusyMerged", WHOLE, False), ("Detailed", EVENTS, True),
    ("DetailedMerged", WHOLE, True), ("", EVENTS, False)])
def test_each_view_shows_what_it_stands_for(exchange: Exchange, view: str, shown: list[str],
                                            has_details: bool) -> None:
    answer = ask(exchange, availability(view=view))
    assert children(answer, ".//m:FreeBusyView") == shown
    assert texts(answer, ".//t:FreeBusyViewType") == [view or "FreeBusy"]
    assert bool(texts(answer, ".//t:CalendarEventDetails")) is has_details


@pytest.mark.parametrize(("views", "name"), [
    ("MergedOnly Detailed", "DetailedMerged"), ("FreeBusy MergedOnly", "FreeBusyMerged"),
    ("None FreeBusy", "FreeBusy")])
def test_views_can_be_combined(exchange: Exchange, views: str, name: str) -> None:
    assert texts(ask(exchange, availability(view=views)), ".//t:FreeBusyViewType") == [name]


def test_events_carry_their_details(exchange: Exchange) -> None:
    single = meeting("one", NOW, alias="one@video.example.com", is_private=True, subject="A & B")
    moved = meeting("two", NOW + timedelta(hours=1), occurrence="20260301T090000Z", subject="",
                    item_type=CalendarItemType.EXCEPTION, free_busy=FreeBusyStatus.TENTATIVE,
                    organizer=Organizer("Ada Berg"))
    exchange.show(single, moved)
    answer = ask(exchange, availability(view="Detailed"))
    assert texts(answer, ".//t:CalendarEvent/*[not(*)]") == [
        "2026-03-02T08:00:00", "2026-03-02T08:30:00", "Busy", "2026-03-02T09:00:00", "2026-03-02T09:30:00",
        "Tentative"]
    first, second = answer.iterfind(".//t:CalendarEventDetails", NAMESPACES)
    assert [e.text for e in first][1:] == ["A & B", "sip:one@video.example.com", "true", "false", "false", "true",
                                           "true"]
    assert [e.text for e in second][1:] == ["Ada Berg", None, "true", "true", "true", "true", "false"]


def test_the_id_of_an_event_can_be_converted_into_that_of_its_item(exchange: Exchange) -> None:
    exchange.show(meeting("one"))
    (hexadecimal,) = texts(ask(exchange, availability(view="Detailed")), ".//t:CalendarEventDetails/t:ID")
    converted = texts(exchange.ask(convert("HexEntryId", hexadecimal, "EwsId")), ".//m:AlternateId/@Id")
    assert converted == [ews_ids.item_id(meeting("one").id)]


@pytest.mark.parametrize(("request_zone", "day", "shown"), [
    (BERLIN, "2026-03-28", "2026-03-28T13:00:00"), (BERLIN, "2026-03-30", "2026-03-30T14:00:00"),
    (BERLIN_IN_2026, "2026-03-28", "2026-03-28T13:00:00"), (BERLIN_IN_2026, "2026-03-30", "2026-03-30T14:00:00"),
    (BERLIN_IN_2026, "2026-10-26", "2026-10-26T13:00:00"),
    (BERLIN.replace("</t:Month>", "</t:Month><t:Year>0</t:Year>"), "2026-03-30", "2026-03-30T14:00:00"),
    (BERLIN, "2026-10-24", "2026-10-24T14:00:00"), (BERLIN, "2026-10-26", "2026-10-26T13:00:00"),
    (SYDNEY, "2026-03-30", "2026-03-30T23:00:00"), (SYDNEY, "2026-04-10", "2026-04-10T22:00:00"),
    (zone(300), "2026-03-30", "2026-03-30T07:00:00"), ("", "2026-03-30", "2026-03-30T12:00:00")])
def test_times_are_those_of_the_zone_of_the_request(exchange: Exchange, request_zone: str, day: str,
                                                    shown: str) -> None:
    noon = datetime.fromisoformat(f"{day}T12:00:00+00:00")
    exchange.show(meeting("noon", noon))
    answer = ask(exchange, availability(zone=request_zone, start=shown, end=f"{shown[:14]}30:00"))
    assert texts(answer, ".//t:CalendarEvent/t:StartTime") == [shown]
    assert texts(answer, ".//t:MergedFreeBusy") == ["2"]


def test_without_a_zone_in_the_request_that_of_its_header_counts(exchange: Exchange) -> None:
    header = '<t:TimeZoneContext><t:TimeZoneDefinition Id="W. Europe Standard Time"/></t:TimeZoneContext>'
    exchange.show(meeting("one"))
    reply = exchange.post(envelope(availability(zone="", view="FreeBusy"), header=header))
    assert texts(body_of(reply), ".//t:CalendarEvent/t:StartTime") == ["2026-03-02T09:00:00"]


def test_times_with_an_offset_count_as_they_are_written(exchange: Exchange) -> None:
    exchange.show(meeting("one"))
    answer = ask(exchange, availability(zone=BERLIN, start="2026-03-02T10:00:00+02:00",
                                        end="2026-03-02T09:00:00.000Z", view="FreeBusy"))
    assert texts(answer, ".//t:CalendarEvent/t:StartTime") == ["2026-03-02T09:00:00"]


def test_working_hours_are_told_in_the_zone_of_the_request(exchange: Exchange) -> None:
    answer = ask(exchange, availability(zone=SYDNEY, view="FreeBusy"))
    assert texts(answer, ".//t:WorkingHours/t:TimeZone//*[not(*)]") == [
        "-600", "0", "03:00:00", "1", "4", "Sunday", "-60", "02:00:00", "1", "10", "Sunday"]
    assert texts(answer, ".//t:WorkingPeriod/*") == ["Monday Tuesday Wednesday Thursday Friday", "480", "1020"]


def test_other_mailboxes_fail_alone_and_tell_nothing(exchange: Exchange) -> None:
    reply = exchange.post(envelope(availability("lounge@example.com", ROOM.email.upper(), "nobody@x", "")))
    answer = body_of(reply)[0]
    assert texts(answer, ".//m:ResponseCode") == ["ErrorMailRecipientNotFound", "NoError",
                                                  "ErrorMailRecipientNotFound", "ErrorMailRecipientNotFound"]
    assert texts(answer, ".//t:FreeBusyViewType") == ["None", "DetailedMerged", "None", "None"]
    assert reply.error == "ErrorMailRecipientNotFound"


def test_a_room_that_was_never_read_is_busy_not_free(exchange: Exchange) -> None:
    exchange.cache.configure({})
    assert exchange.fault(availability()) == "ErrorServerBusy"
    assert texts(ask(exchange, availability("lounge@example.com")), ".//t:FreeBusyViewType") == ["None"]


def test_suggestions_are_declined_beside_the_view(exchange: Exchange) -> None:
    more = "<t:SuggestionsViewOptions><t:GoodThreshold>49</t:GoodThreshold></t:SuggestionsViewOptions>"
    answer = ask(exchange, availability(more=more))
    assert texts(answer, "m:SuggestionsResponse//m:ResponseCode") == ["ErrorInvalidOperation"]
    assert texts(answer, ".//t:FreeBusyViewType") == ["DetailedMerged"]


@pytest.mark.parametrize(("asked", "code"), [
    ({"interval": "4"}, "ErrorInvalidMergedFreeBusyInterval"),
    ({"interval": "1441"}, "ErrorInvalidMergedFreeBusyInterval"),
    ({"interval": "many"}, "ErrorSchemaValidation"),
    ({"view": "Everything"}, "ErrorSchemaValidation"),
    ({"start": "2026-03-03T00:00:00"}, "ErrorInvalidTimeInterval"),
    ({"end": "2026-04-13T00:00:01"}, "ErrorTimeIntervalTooBig"),
    ({"end": "tomorrow"}, "ErrorSchemaValidation"),
    ({"zone": zone(2**31 - 1)}, "ErrorTimeZone"), ({"zone": zone(-841)}, "ErrorTimeZone"),
    ({"zone": "<t:TimeZone/>"}, "ErrorSchemaValidation"),
    ({"zone": zone(0, change(0, 13), change(-60, 3))}, "ErrorTimeZone"),
    ({"zone": zone(0, change(0, 10), change(-60, 3, order=6))}, "ErrorTimeZone"),
    *(({"zone": zone(0, change(0, 10), change(-60, month, order=day) + f"<t:Year>{year}</t:Year>")}, code)
      for year, month, day, code in ((2026, 2, 30, "ErrorTimeZone"), (-1, 3, 1, "ErrorTimeZone"),
                                     (2**31 - 1, 3, 1, "ErrorTimeZone"), (2026, 3, -5, "ErrorTimeZone"),
                                     ("soon", 3, 1, "ErrorSchemaValidation"))),
    ({"zone": zone(0, change(0, 10), change(-60, 3, day="Someday"))}, "ErrorTimeZone"),
    ({"zone": zone(0, change(0, 10), change(-60, 3, time="24:00:00"))}, "ErrorTimeZone"),
])
def test_a_request_that_makes_no_sense_is_a_fault(exchange: Exchange, asked: dict[str, Any], code: str) -> None:
    assert exchange.fault(availability(**asked)) == code


def test_the_longest_window_and_the_most_mailboxes_are_answered(exchange: Exchange) -> None:
    others = [f"room{n}@example.com" for n in range(99)]
    answer = ask(exchange, availability(*others, ROOM.email, end="2026-04-13T00:00:00", interval="5"))
    assert len(texts(answer, ".//t:FreeBusyViewType")) == 100
    assert [len(digits) for digits in texts(answer, ".//t:MergedFreeBusy")] == [42 * 288]
    assert exchange.fault(availability(*others, ROOM.email, ROOM.email)) == "ErrorMailboxDataArrayTooBig"


def test_the_same_mailbox_many_times_in_a_request_is_refused(exchange: Exchange) -> None:
    assert texts(ask(exchange, availability(*[ROOM.email] * 4)), ".//m:ResponseCode") == ["NoError"] * 4
    assert exchange.fault(availability(*[ROOM.email] * 5)) == "ErrorExceededFindCountLimit"


@pytest.mark.parametrize("part", ["MailboxDataArray", "MailboxData", "FreeBusyViewOptions", "TimeWindow",
                                  "StartTime"])
def test_a_request_without_a_required_part_is_a_schema_violation(exchange: Exchange, part: str) -> None:
    assert exchange.fault(availability().replace(f":{part}>", ":Nothing>")) == "ErrorSchemaValidation"


def test_windows_at_the_ends_of_the_calendar_are_no_data(exchange: Exchange) -> None:
    for start, end in (("0001-01-01T00:00:00", "0001-01-02T00:00:00"),
                       ("9999-12-31T00:00:00", "9999-12-31T23:59:59")):
        answer = ask(exchange, availability(start=start, end=end, zone=SYDNEY))
        assert set(*texts(answer, ".//t:MergedFreeBusy")) == {"4"}


# GetServerTimeZones

def zones(*ids: str, full: str = "true") -> str:
    named = f"<m:Ids>{''.join(f'<t:Id>{i}</t:Id>' for i in ids)}</m:Ids>" if ids else ""
    return f'<m:GetServerTimeZones ReturnFullTimeZoneData="{full}">{named}</m:GetServerTimeZones>'


def test_every_time_zone_of_windows_is_told_with_its_rules(exchange: Exchange) -> None:
    messages = exchange.ask(zones())
    assert set(texts(messages, ".//t:TimeZoneDefinition/@Id")) == set(WINDOWS_ZONES.values())
    assert len(list(messages.iterfind(".//t:Periods", NAMESPACES))) == len(WINDOWS_ZONES)


def test_a_zone_with_daylight_saving_time_tells_when_it_begins_and_ends(exchange: Exchange) -> None:
    messages = exchange.ask(zones("W. Europe Standard Time"))
    assert texts(messages, ".//t:TimeZoneDefinition/@Name") == ["(UTC+01:00) Berlin"]
    assert texts(messages, ".//t:Period/@Name") == ["Standard", "Daylight"]
    assert texts(messages, ".//t:Period/@Bias") == ["-PT60M", "-PT120M"]
    daylight, standard = messages.iterfind(".//t:RecurringDayTransition", NAMESPACES)
    periods = texts(messages, ".//t:Period/@Id")
    assert [e.text for e in daylight] == [periods[1], "PT120M", "3", "Sunday", "-1"]
    assert [e.text for e in standard] == [periods[0], "PT180M", "10", "Sunday", "-1"]


def test_a_zone_without_daylight_saving_time_has_one_period(exchange: Exchange) -> None:
    messages = exchange.ask(zones("India Standard Time", "UTC", "Newfoundland Standard Time"))
    assert texts(messages, ".//t:TimeZoneDefinition/@Name") == [
        "(UTC+05:30) Calcutta", "(UTC) Coordinated Universal Time", "(UTC-03:30) St Johns"]
    assert texts(messages, ".//t:Period/@Bias") == ["-PT330M", "PT0M", "PT210M", "PT150M"]


@pytest.mark.parametrize("full", ["false", "0"])
def test_names_are_told_alone_where_that_is_all_that_is_asked(exchange: Exchange, full: str) -> None:
    messages = exchange.ask(zones(full=full))
    assert len(texts(messages, ".//t:TimeZoneDefinition/@Id")) == len(WINDOWS_ZONES)
    assert not texts(messages, ".//t:TimeZoneDefinition/*")


def test_asked_zones_are_told_once_in_any_letter_case_and_unknown_ones_left_out(exchange: Exchange) -> None:
    messages = exchange.ask(zones("utc", "Middle-earth Standard Time", "UTC"))
    assert texts(messages, ".//t:TimeZoneDefinition/@Id") == ["UTC"]
    assert exchange.fault('<m:GetServerTimeZones><m:Ids/></m:GetServerTimeZones>') == "ErrorSchemaValidation"
    assert exchange.fault(zones(*["UTC"] * 1001)) == "ErrorExceededFindCountLimit"


# GetUserConfiguration, GetRoomLists, GetRooms

def configuration(name: str = "OWA.UserOptions", folder: str = "root", properties: str = "All") -> str:
    return (f'<m:GetUserConfiguration><m:UserConfigurationName Name="{name}">'
            f'<t:DistinguishedFolderId Id="{folder}"/></m:UserConfigurationName>'
            f"<m:UserConfigurationProperties>{properties}</m:UserConfigurationProperties>"
            "</m:GetUserConfiguration>")


def test_the_options_of_the_mailbox_tell_its_time_zone(exchange: Exchange) -> None:
    messages = exchange.ask(configuration())
    assert codes(messages) == ["NoError"]
    assert texts(messages, ".//t:DictionaryEntry//t:Value") == ["timezone", "UTC"]
    assert texts(messages, ".//t:UserConfigurationName/@Name") == ["OWA.UserOptions"]
    (item_id,) = texts(messages, ".//m:UserConfiguration/t:ItemId/@Id")
    assert ews_ids.raw_id(item_id) is not None


@pytest.mark.parametrize(("properties", "shown"), [
    ("Id", ["ItemId"]), ("Dictionary", ["Dictionary"]), ("XmlData", []),
    ("Id Dictionary", ["ItemId", "Dictionary"])])
def test_the_options_tell_what_is_asked_for(exchange: Exchange, properties: str, shown: list[str]) -> None:
    messages = exchange.ask(configuration(properties=properties))
    assert children(messages, ".//m:UserConfiguration")[1:] == shown


@pytest.mark.parametrize(("request_", "code"), [
    (configuration("Calendar"), "ErrorItemNotFound"), (configuration(folder="calendar"), "ErrorItemNotFound"),
    (configuration(folder="voicemail"), "ErrorItemNotFound")])
def test_other_settings_are_not_there(exchange: Exchange, request_: str, code: str) -> None:
    assert codes(exchange.ask(request_)) == [code]


@pytest.mark.parametrize("request_", [
    configuration(properties="Everything"), "<m:GetUserConfiguration/>", configuration().replace("Name=", "Nome="),
    configuration(folder="nowhere"), "<m:GetRooms/>"])
def test_requests_outside_their_types_are_schema_violations(exchange: Exchange, request_: str) -> None:
    assert exchange.fault(request_) == "ErrorSchemaValidation"


@pytest.mark.parametrize(("request_", "container"), [
    ("<m:GetRoomLists/>", "RoomLists"),
    ("<m:GetRooms><m:RoomList><t:EmailAddress>all@example.com</t:EmailAddress></m:RoomList></m:GetRooms>",
     "Rooms")])
def test_there_are_no_lists_of_rooms(exchange: Exchange, request_: str, container: str) -> None:
    answer = ask(exchange, request_)
    assert answer.get("ResponseClass") == "Success"
    assert [etree.QName(e).localname for e in answer] == ["ResponseCode", container]
    assert len(answer[1]) == 0
