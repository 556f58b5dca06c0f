"""endpoints.csv in the vendor's import format."""

from __future__ import annotations

from pathlib import Path

import pytest

from otjd.config.loader import load
from otjd.config.model import Config, Endpoint, GlobalYesNo, PolyFamily, Secret
from otjd.config.rows import COLUMNS
from otjd.meetings.model import EndpointType
from tests.config.samples import ENOUGH, POLY, Read, assert_clean, the_problem, the_warning

TOML = 'endpoints_csv = "endpoints.csv"\n' + ENOUGH
HEADER = ",".join(COLUMNS) + "\n"
GROUP_500 = "Boardroom,\"Group 500, first floor\",POLY,,,,,board,s3cret,TRUE,,,,boardroom@example.com,rooms\n"
ROOM_KIT = "Lounge,,CISCO,192.0.2.20,8443,otj,codec,,,NO,,NO,YES,lounge@example.com,rooms\n"
SHORT = "name,endpoint_type,api_address,room_resource_email,mjx_endpoint_group_name\n"

BOARDROOM = Endpoint(
    name="Boardroom", description="Group 500, first floor", endpoint_type=EndpointType.POLY, poly_username="board",
    poly_password=Secret("s3cret"), room_resource_email="boardroom@example.com", mjx_endpoint_group_name="rooms")
LOUNGE = Endpoint(
    name="Lounge", endpoint_type=EndpointType.CISCO, api_address="192.0.2.20", api_port=8443, api_username="otj",
    api_password=Secret("codec"), poly_raise_alarms_for_this_endpoint=False, verify_cert=GlobalYesNo.NO,
    use_https=GlobalYesNo.YES, room_resource_email="lounge@example.com", mjx_endpoint_group_name="rooms")


def test_the_columns_are_those_of_the_vendor_in_its_order() -> None:
    assert ",".join(COLUMNS) == (
        "name,description,endpoint_type,api_address,api_port,api_username,api_password,poly_username,poly_password,"
        "poly_raise_alarms_for_this_endpoint,webex_device_id,verify_cert,use_https,room_resource_email,"
        "mjx_endpoint_group_name")


@pytest.mark.parametrize("csv", [
    HEADER + GROUP_500 + ROOM_KIT,
    GROUP_500 + ROOM_KIT,
    "\ufeff" + HEADER + GROUP_500 + ROOM_KIT,
    "\ufeff" + GROUP_500 + ROOM_KIT,
    (HEADER + GROUP_500 + ROOM_KIT).replace("\n", "\r\n"),
    "\n" + HEADER + "\n,,,,,,,,,,,,,,\n" + GROUP_500 + "   \n" + ROOM_KIT.rstrip("\n"),
    (HEADER + GROUP_500 + ROOM_KIT).replace("POLY", '"POLY"').replace("Lounge", '  "Lounge"'),
    (HEADER + GROUP_500 + ROOM_KIT).replace("\n", ",,\n"),
])
def test_header_byte_order_mark_quotes_and_line_ends_are_taken_as_they_come(read: Read, csv: str) -> None:
    loaded = read(TOML, csv)
    assert_clean(loaded)
    assert loaded.or_raise().endpoints == (BOARDROOM, LOUNGE)


def test_a_header_may_name_the_columns_in_any_order_and_leave_some_away(read: Read) -> None:
    loaded = read(TOML, "mjx_endpoint_group_name,poly_password,room_resource_email,endpoint_type,name,"
                        "poly_username,description\n"
                        'rooms,s3cret,boardroom@example.com,POLY,Boardroom,board,"Group 500, first floor"\n')
    assert_clean(loaded)
    assert loaded.or_raise().endpoints == (BOARDROOM,)


def test_a_header_may_name_what_otjd_adds(read: Read) -> None:
    config = read(TOML, HEADER.strip() + ",authentication,poly_family,token_form,token_wrap\n"
                  + GROUP_500.strip() + ",ntlm basic,hdx,split,76\n" + ROOM_KIT).or_raise()
    assert config.endpoints[0].authentication == ("ntlm", "basic")
    assert config.endpoints[0].poly_family is PolyFamily.HDX
    assert (config.endpoints[0].token_form, config.endpoints[0].token_wrap) == ("split", 76)
    assert config.endpoints[1].authentication == ()
    assert config.endpoints[1].token_wrap is None


@pytest.mark.parametrize(("text", "alarms"), [("", True), ("TRUE", True), ("YES", True), ("FALSE", False),
                                              ("NO", False)])
def test_alarms_are_raised_unless_switched_off(read: Read, text: str, alarms: bool) -> None:
    config = read(TOML, ROOM_KIT.replace("NO", text, 1)).or_raise()
    assert config.endpoints[0].poly_raise_alarms_for_this_endpoint is alarms


def test_text_that_is_not_ascii_is_kept(read: Read) -> None:
    config = read(TOML, GROUP_500.replace("Boardroom", "Sitzungsraum Zürich 会議")).or_raise()
    assert config.endpoints[0].name == "Sitzungsraum Zürich 会議"


def test_lines_and_quotes_within_quotes_are_kept_and_lines_counted_on(read: Read) -> None:
    row = GROUP_500.replace("first floor", 'first\nfloor ""new""')
    assert read(TOML, HEADER + row).or_raise().endpoints[0].description == 'Group 500, first\nfloor "new"'
    problem = the_problem(read(TOML, HEADER + row + ROOM_KIT.replace("192.0.2.20", "!")))
    assert problem.where == "line 4, column api_address"


def test_blanks_at_the_ends_of_a_password_are_part_of_it_when_quoted(read: Read) -> None:
    config = read(TOML, GROUP_500.replace("s3cret", '" s3cret "')).or_raise()
    assert config.endpoints[0].poly_password == Secret(" s3cret ")


def test_the_last_row_of_a_name_wins_with_a_warning(read: Read, tmp_path: Path) -> None:
    loaded = read(TOML, HEADER + GROUP_500.replace("POLY", "wrong") + ROOM_KIT + GROUP_500)
    warning = the_warning(loaded)
    assert (warning.file, warning.where) == (tmp_path / "endpoints.csv", "line 4, column name")
    assert warning.found == '"Boardroom" again, first in line 2'
    assert "the last row wins" in warning.hint
    assert loaded.or_raise().endpoints == (LOUNGE, BOARDROOM)


def test_names_that_differ_in_letter_case_are_different_names(read: Read) -> None:
    loaded = read(TOML, ROOM_KIT + ROOM_KIT.replace("Lounge", "LOUNGE").replace("192.0.2.20", "192.0.2.21"))
    assert_clean(loaded)
    assert [e.name for e in loaded.or_raise().endpoints] == ["Lounge", "LOUNGE"]


def test_a_name_in_both_files_is_a_problem(read: Read, tmp_path: Path) -> None:
    problem = the_problem(read(TOML + POLY, GROUP_500))
    assert (problem.file, problem.where) == (tmp_path / "endpoints.csv", "line 1, column name")
    assert (problem.found, problem.expected) == ('"Boardroom"', "a name that no other endpoint has")
    assert problem.hint == f'endpoints[1] "Boardroom" of {tmp_path / "otjd.toml"} has it too'


@pytest.mark.parametrize(("old", "new", "column", "said"), [
    (",NO,YES,", ",no,YES,", "verify_cert", 'found "no"; expected one of GLOBAL, YES, NO (the nearest is "NO")'),
    (",NO,YES,", ",NO,TRUE,", "use_https", 'found "TRUE"; expected one of GLOBAL, YES, NO'),
    (",NO,,", ",True,,", "poly_raise_alarms_for_this_endpoint",
     'found "True"; expected TRUE, YES, FALSE or NO (the nearest is "TRUE")'),
    ("CISCO", "Cisco", "endpoint_type", 'found "Cisco"; expected one of CISCO, POLY, WEBEX'),
    ("8443", "https", "api_port", 'found "https"; expected a whole number from 1 to 65535'),
    ("8443", "84430", "api_port", "found 84430; expected a whole number from 1 to 65535"),
    ("8443", "9" * 20, "api_port", f'found "{"9" * 20}"; expected a whole number from 1 to 65535'),
    ("lounge@example.com", "lounge", "room_resource_email",
     'found "lounge"; expected an e-mail address, at most 150 characters'),
    ("lounge@example.com", "", "room_resource_email",
     "found nothing; expected an e-mail address, at most 150 characters (it cannot be blank)"),
    ("192.0.2.20", "", "api_address", "found nothing; expected api_address for an endpoint of type CISCO"),
    (",rooms", ",lobby", "mjx_endpoint_group_name",
     'found "lobby"; expected the name of an endpoint group (the nearest is "rooms")'),
    (",rooms", ",", "mjx_endpoint_group_name", "found nothing; expected a text (it cannot be blank)"),
    ("Lounge", "", "name", "found nothing; expected a name of printable characters, at most 250 characters"),
    (",codec,", ",,", "api_password", "found nothing; expected api_password beside api_username, or neither"),
])
def test_a_wrong_value_names_line_and_column(read: Read, old: str, new: str, column: str, said: str) -> None:
    problem = the_problem(read(TOML, HEADER + GROUP_500 + ROOM_KIT.replace(old, new, 1)))
    assert problem.file.name == "endpoints.csv"
    assert problem.where == f"line 3, column {column}"
    assert str(problem).startswith(f"{problem.file}: line 3, column {column}: {said}")


@pytest.mark.parametrize(("csv", "where", "found", "hint"), [
    (HEADER.replace("verify_cert", "verify_cret") + ROOM_KIT, "line 1, column 12",
     'the unknown column "verify_cret"', 'the nearest known one is "verify_cert"'),
    (HEADER.replace("name", "Name", 1) + ROOM_KIT, "line 1, column 1", 'the unknown column "Name"',
     'the nearest known one is "name"'),
    (SHORT.replace("api_address", "name") + ROOM_KIT, "line 1, column 3", "the column name again", ""),
    (SHORT.replace(",room_resource_email", "") + "x\n", "line 1",
     "a header without the column room_resource_email", ""),
    (HEADER.replace(",", ";") + ROOM_KIT.replace(",", ";"), "line 1", "values separated by semicolons", "commas"),
    (ROOM_KIT.replace("Lounge,,", "Lounge,Room Kit, small,"), "line 1", "16 values", "double quotes"),
    (ROOM_KIT.replace(",rooms", ""), "line 1", "14 values", "every column"),
    (SHORT + "Lounge,CISCO,192.0.2.20,lounge@example.com,rooms,more\n", "line 2", "6 values", "double quotes"),
    (ROOM_KIT.replace("Lounge", '"Lounge" x'), "line 1", "a row that is not CSV: ", "double quotes"),
    (GROUP_500 + ROOM_KIT.replace("Lounge", '"Lounge'), "line 2", "a row that is not CSV: unexpected end of data",
     "double quotes"),
])
def test_a_file_that_is_not_laid_out_as_it_should_be(read: Read, csv: str, where: str, found: str,
                                                     hint: str) -> None:
    problem = read(TOML, csv).problems[0]
    assert problem.file.name == "endpoints.csv"
    assert problem.where == where
    assert problem.found.startswith(found)
    assert hint in problem.hint


def test_all_problems_of_all_lines_are_reported_in_their_order(read: Read) -> None:
    csv = HEADER + GROUP_500.replace("POLY", "POLI").replace("@", " ") + ROOM_KIT.replace("NO,YES", "x,y")
    assert [p.where for p in read(TOML, csv).problems] == [
        "line 2, column endpoint_type", "line 2, column room_resource_email", "line 3, column verify_cert",
        "line 3, column use_https"]


def test_a_password_is_not_shown_when_its_row_is_wrong(read: Read) -> None:
    loaded = read(TOML, GROUP_500.replace("s3cret", "s3cret" * 20).replace("POLY", "poly"))
    assert [p.where for p in loaded.problems] == ["line 1, column endpoint_type", "line 1, column poly_password"]
    assert "s3cret" not in "".join(map(str, loaded.problems))


def test_a_file_in_another_encoding_names_the_line(read: Read) -> None:
    csv = (HEADER + GROUP_500.replace("first", "größte")).encode("latin-1")
    problem = the_problem(read(TOML, csv))
    assert (problem.where, problem.expected) == ("line 2", "a file encoded as UTF-8")
    assert "0xF6" in problem.found


@pytest.mark.parametrize("csv", ["", "\n\n", HEADER])
def test_a_file_without_endpoints_is_fine(read: Read, csv: str) -> None:
    loaded = read(TOML, csv)
    assert_clean(loaded)
    assert loaded.or_raise().endpoints == Config().endpoints


def test_a_file_that_is_not_there_is_a_problem_of_the_key_that_names_it(read: Read, tmp_path: Path) -> None:
    problem = the_problem(read(TOML))
    assert (problem.file, problem.where) == (tmp_path / "otjd.toml", "endpoints_csv")
    assert str(tmp_path / "endpoints.csv") in problem.found


def test_a_file_with_passwords_that_all_may_read_gives_a_warning(read: Read, tmp_path: Path) -> None:
    read(TOML, GROUP_500)
    (tmp_path / "endpoints.csv").chmod(0o644)
    warning = the_warning(load(tmp_path / "otjd.toml", environ={}))
    assert warning.file == tmp_path / "endpoints.csv"


def test_thousands_of_rows_are_read(read: Read) -> None:
    rows = "".join(ROOM_KIT.replace("Lounge", f"Room {n}").replace("192.0.2.20", f"10.0.{n // 250}.{n % 250}")
                   for n in range(4000))
    loaded = read(TOML, HEADER + rows)
    assert_clean(loaded)
    assert len(loaded.or_raise().endpoints) == 4000
