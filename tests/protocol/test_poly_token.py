from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otjd.protocol.poly_token import BEGIN, END, decode_token, encode_token, vmr_token, vmr_values, without_tokens

VALUES = {"POLYCOM-VERSION": "1", "POLYCOM-VMRNUMBER": "123456@visio.example", "POLYCOM-MEETINGPASSWORD": ""}


def decoded_text(token: str) -> str:
    inside = token.removeprefix(BEGIN).removesuffix(END)
    return base64.b64decode("".join(inside.split()), validate=True).decode()


@pytest.mark.parametrize("line_ending", ["\r\n", "\n"])
@pytest.mark.parametrize("wrap", [0, 76, 1])
def test_a_token_comes_back_with_either_line_ending_wrapped_or_not(line_ending: str, wrap: int) -> None:
    token = encode_token(VALUES, line_ending=line_ending, wrap=wrap)
    assert decode_token(f"Dear all,\n\n{token}\n-- \nAda") == VALUES
    assert decoded_text(token) == line_ending.join((
        "POLYCOM-VERSION=1", "POLYCOM-VMRNUMBER=123456@visio.example", "POLYCOM-MEETINGPASSWORD=", ""))
    lines = token.split("\n")
    assert (lines[0], lines[-1]) == (BEGIN, END)
    assert all(len(line) <= wrap for line in lines[1:-1]) or not wrap


def test_a_token_inside_html_is_read() -> None:
    first, *encoded, last = encode_token(VALUES, wrap=20).split("\n")
    html = f"<p>{first}<br>\r\n{'<br/>&#xD;'.join(encoded)}<span style='x'></span>{last}</p>"
    assert decode_token(html) == VALUES


@pytest.mark.parametrize("text", [
    "", "no token", BEGIN, f"{END}{BEGIN}", f"{BEGIN}not base64!{END}", f"{BEGIN}QUJ{END}",
    f"{BEGIN}QQ&amp;{END}"])
def test_no_token_or_a_broken_one_is_none(text: str) -> None:
    assert decode_token(text) is None


def test_an_unterminated_last_line_and_lines_without_a_key_do_no_harm() -> None:
    encoded = base64.b64encode(b"nonsense\nA=1=2\nB=3").decode()
    assert decode_token(f"{BEGIN}{encoded}{END}") == {"A": "1=2", "B": "3"}


def test_a_value_cannot_break_out_of_its_line() -> None:
    assert decode_token(encode_token({"A": "1\r\nB=2\n"})) == {"A": "1 B=2 "}


def test_the_whole_alias_is_the_number() -> None:
    values = decode_token(vmr_token("room@video.example.com"))
    assert values == vmr_values("room@video.example.com")
    assert values["POLYCOM-VMRNUMBER"] == "room@video.example.com"
    assert values["POLYCOM-SIGNALINGPREFIX"] == values["POLYCOM-SIGNALINGPOSTFIX"] == ""


def test_a_split_token_has_scheme_number_and_domain_apart() -> None:
    values = vmr_values("room@video.example.com", split=True)
    assert [values[f"POLYCOM-{k}"] for k in ("SIGNALINGPREFIX", "VMRNUMBER", "SIGNALINGPOSTFIX")] == [
        "sip:", "room", "video.example.com"]
    assert vmr_values("10.0.0.1##1234", split=True)["POLYCOM-VMRNUMBER"] == "10.0.0.1##1234"


@pytest.mark.parametrize(("text", "left"), [
    ("", ""), ("no token", "no token"), (f"a{BEGIN}x{END}b{BEGIN}{END}c", "abc"), (f"a{BEGIN}b", f"a{BEGIN}b"),
    (f"{END}a{BEGIN}{BEGIN}b{END}", f"{END}a")])
def test_tokens_are_taken_out_of_a_text(text: str, left: str) -> None:
    assert without_tokens(text) == left


LINE = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]))


@given(st.dictionaries(LINE.filter(lambda k: "=" not in k), LINE, min_size=1), st.integers(0, 100))
def test_any_values_come_back(values: dict[str, str], wrap: int) -> None:
    assert decode_token(encode_token(values, wrap=wrap)) == values


@given(st.text())
def test_no_text_makes_reading_fail(text: str) -> None:
    decode_token(f"{BEGIN}{text}{END}")
