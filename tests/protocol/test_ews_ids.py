from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otjd.meetings.model import meeting_id
from otjd.protocol import ews_ids
from otjd.protocol.ews_ids import IdKind


def test_an_item_id_leads_back_to_its_meeting() -> None:
    known = meeting_id("boardroom@example.com", "uid")
    given_out = ews_ids.item_id(known)
    found = ews_ids.raw_id(given_out)
    assert found is not None
    assert (found[0], ews_ids.meeting_id(found[1])) == (IdKind.ITEM, known)
    assert len(given_out) <= 200
    assert base64.b64encode(base64.b64decode(given_out, validate=True)).decode() == given_out


def test_folder_ids_differ_by_room_and_folder_and_lead_back_to_the_name() -> None:
    rooms = ("a@example.com", "b@example.com")
    ids = [ews_ids.folder_id(room, name) for room in rooms for name in ews_ids.FOLDERS]
    assert len(set(ids)) == 2 * len(ews_ids.FOLDERS)
    calendar = ews_ids.folder_id("a@example.com", "calendar")
    assert ews_ids.folder_name("a@example.com", calendar) == "calendar"
    assert ews_ids.folder_name("b@example.com", calendar) is None
    found = ews_ids.raw_id(calendar)
    assert found is not None
    assert found[0] is IdKind.FOLDER


@pytest.mark.parametrize("text", [
    "", "DUMMY", "QUJD", "AAMkAGI=", "ö", "A" * 600, ews_ids.item_id("0" * 32)[:-4],
    ews_ids.item_id("0" * 32) + "AAAA", ews_ids.item_id("0" * 32).rstrip("=") + "\n"])
def test_ids_of_another_maker_are_not_known(text: str) -> None:
    assert ews_ids.raw_id(text) is None


@given(st.text() | st.binary().map(lambda b: base64.b64encode(b).decode()))
def test_no_text_makes_reading_an_id_fail(text: str) -> None:
    found = ews_ids.raw_id(text)
    assert found is None or base64.b64encode(found[1]).decode() == text


def test_a_change_key_depends_on_each_part() -> None:
    assert ews_ids.change_key("a", "bc") == ews_ids.change_key("a", "bc")
    different = (("a", "bc"), ("ab", "c"), ("a", "bc", ""), ("\ud800",))
    assert len({ews_ids.change_key(*parts) for parts in different}) == 4


def test_a_foreign_uid_is_wrapped_as_microsoft_shows_it() -> None:
    # [MS-ASEMAIL] 4.3, example 2
    assert base64.b64encode(ews_ids.global_object_id("{81412D3C-2A24-4E9D-B20E-11F7BBE92799}")) == (
        b"BAAAAIIA4AB0xbcQGoLgCAAAAAAAAAAAAAAAAAAAAAAAAAAAMwAAAHZDYWwtVWlkAQAAAHs4MTQxMkQzQy0yQTI0LTRFOUQt"
        b"QjIwRS0xMUY3QkJFOTI3OTl9AA==")


OUTLOOK = ("040000008200E00074C5B7101A82E00800000000E040C9C12685C40100000000000000001000"
           "00000BF0ED4B6E4EE94E9E39E3867B378EF3")


@pytest.mark.parametrize("uid", [OUTLOOK, OUTLOOK.lower()])
def test_a_uid_that_is_a_global_object_id_stays_what_it_is(uid: str) -> None:
    assert ews_ids.global_object_id(uid).hex().upper() == OUTLOOK


@pytest.mark.parametrize("uid", [OUTLOOK, "weekly@example.com", "x" * 5000])
def test_an_occurrence_differs_from_its_master_in_hexadecimal_digits_32_to_39_only(uid: str) -> None:
    master = ews_ids.global_object_id(uid).hex()
    occurrence = ews_ids.global_object_id(uid, "20040916T120000Z").hex()
    assert occurrence[32:40] == "07d40910"
    assert occurrence[:32] + "00000000" + occurrence[40:] == master


@pytest.mark.parametrize("uid", [
    OUTLOOK[:-1], OUTLOOK[:80], OUTLOOK[:-1] + "x", OUTLOOK * 20, "", "\ud800", "ö" * 400])
def test_any_uid_has_a_global_object_id_of_bounded_length(uid: str) -> None:
    made = ews_ids.global_object_id(uid, "nonsense")
    assert made[16:40].startswith(bytes(20))
    assert int.from_bytes(made[36:40], "little") == len(made) - 40
    assert made[40:48] == b"vCal-Uid"
    assert len(made) <= 512


def test_long_uids_stay_apart() -> None:
    assert ews_ids.global_object_id("x" * 5000 + "1") != ews_ids.global_object_id("x" * 5000 + "2")
