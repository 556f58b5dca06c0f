"""Credentials never come through, in whatever form they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otjd.serve.redaction import REMOVED, body, headers

SECRET = "hunter2"


@pytest.mark.parametrize("written", [
    "<Password>hunter2</Password>", "<o:Password Type='x'>hunter2</o:Password>", "<PASSWORD>hunter2</PASSWORD>",
    "<t:OldPassword>hunter2</t:OldPassword>", "<Password><![CDATA[hunter2]]></Password>",
    "<Password>a<b>hunter2</b>c</Password>", "<Password>hunter2", '<Password note=">">hunter2</Password>',
    "<Password Value='hunter2'/>", "<wsse:BinarySecurityToken>hunter2</wsse:BinarySecurityToken>",
    '<user password="hunter2"/>', "<user Password = 'hunter2'/>", "user=a&password=hunter2&b=1",
    "<ClientSecret>\nhunter2\n</ClientSecret>", '<x password="hunter2', "<Password >hunter2</Password >",
    '{"password": "hunter2"}', "{'userPassword' : 'hunter2'}", "<User><Pwd>hunter2</Pwd></User>",
    "&lt;Password&gt;hunter2&lt;/Password&gt;"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_no_password_is_left_in_a_body(written: str, encoding: str) -> None:
    kept = body(f"<before/>{written}<after/>".encode(encoding))
    assert SECRET not in kept
    assert REMOVED in kept
    assert "<before/>" in kept


def test_what_stands_around_a_password_stays() -> None:
    text = "<a>1</a><Password>x</Password><b>2</b><Password/><c>3</c>"
    assert body(text.encode()) == f"<a>1</a><Password>{REMOVED}</Password><b>2</b><Password>{REMOVED}<c>3</c>"


def test_what_could_drive_a_terminal_is_escaped_and_lines_stay() -> None:
    assert body(b"a\r\n\tb\x1b[2J\x00\xff") == "a\r\n\tb\\x1b[2J\\x00\\xff"
    assert body("\u202egpj".encode()) == "\\x202egpj"


@pytest.mark.parametrize(("name", "value", "kept"), [
    ("Authorization", "Basic Ym9hcmQ6aHVudGVyMg==", f"Basic {REMOVED}"),
    ("authorization", "NTLM TlRMTVNTUAADAAAA", f"NTLM {REMOVED}"),
    ("Authorization", "hunter2", REMOVED), ("Authorization", "hunter2 hunter2", REMOVED),
    ("Proxy-Authorization", "Basic hunter2", f"Basic {REMOVED}"),
    ("Authorization", 'Digest username="a", nonce="b", qop=auth, nc=00000001, algorithm=MD5, response="hunter2"',
     f"Digest qop=auth nc=00000001 algorithm=MD5 {REMOVED}"),
    ("Cookie", "exchangecookie=hunter2", REMOVED), ("Set-Cookie", "a=b", REMOVED),
    ("Authentication-Info", 'rspauth="hunter2"', REMOVED), ("X-Auth-Token", "hunter2", REMOVED),
    ("X-Api-Key", "hunter2", REMOVED), ("User-Agent", "Polycom", "Polycom"),
    ("WWW-Authenticate", 'Basic realm="otjd"', 'Basic realm="otjd"')])
def test_headers_keep_their_scheme_and_lose_their_credentials(name: str, value: str, kept: str) -> None:
    assert headers([(name, value)]) == [(name, kept)]


@given(st.binary(max_size=200))
def test_no_body_makes_it_fail(octets: bytes) -> None:
    body(octets).encode("utf-8", "backslashreplace")


@pytest.mark.parametrize("piece", ["<Password", "<Password>", "<password ", "password=", "<a:", "password", '"',
                                   "password.", "secret =", "</password ", "a-", "<password a",
                                   'password"', 'password" :', "pwd&gt;", "<pwd>"])
def test_reading_a_hostile_body_is_linear(piece: str) -> None:
    """Were it not, this would take hours."""
    assert body(("<" + piece * (1_000_000 // len(piece))).encode())
