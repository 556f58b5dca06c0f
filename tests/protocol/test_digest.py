from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otjd.protocol.digest import (
    MD5,
    SHA_256,
    DigestError,
    NonceCounts,
    challenge,
    make_nonce,
    names_same_target,
    nonce_time,
    proven_secret,
    read_credentials,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECRET = b"shared by all nodes"
LIFETIME = timedelta(minutes=5)

RFC_2617 = ('username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
            'uri="/dir/index.html", qop=auth, nc=00000001, cnonce="0a4f113b", '
            'response="6629fae49393a05397450978507c4ef1", opaque="5ccc069c403ebaf9f0171e9517f40e41"')
RFC_7616 = ('username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm={algorithm}, '
            'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, '
            'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, response="{response}", '
            'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"')
MINIMAL = {"username": '"u"', "realm": '"r"', "nonce": '"n"', "uri": '"/"', "response": '"0"', "qop": "auth",
           "nc": "00000001", "cnonce": '"c"'}


def header(**changes: str | None) -> str:
    return ", ".join(f"{k.replace('_', '*')}={v}" for k, v in {**MINIMAL, **changes}.items() if v is not None)


def test_the_example_of_rfc_2617_proven_secret() -> None:
    credentials = read_credentials(RFC_2617)
    assert credentials.algorithm == MD5
    assert proven_secret(credentials, password="Circle Of Life", method="GET")
    assert not proven_secret(credentials, password="Circle of Life", method="GET")


@pytest.mark.parametrize(("algorithm", "response"), [
    (MD5, "8ca523f5e9506fed4657c9700eebdbec"),
    (SHA_256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1")])
def test_the_examples_of_rfc_7616_are_right(algorithm: str, response: str) -> None:
    credentials = read_credentials(RFC_7616.format(algorithm=algorithm, response=response))
    assert credentials.algorithm == algorithm
    assert proven_secret(credentials, password="Circle of Life", method="GET")
    assert not proven_secret(credentials, password="Circle of Life", method="POST")


def test_parameters_are_read_quoted_or_not_in_any_order_and_case() -> None:
    read = read_credentials(
        'QOP="auth",NC="00000002" , cnonce=abc,algorithm="MD5",response="00" ,uri=/EWS/Exchange.asmx,'
        'nonce=n0nce,Realm="a \\"b\\"",username=boardroom,')
    assert (read.usernames, read.realm, read.nonce, read.uri, read.count, read.qop) == (
        ("boardroom",), 'a "b"', "n0nce", "/EWS/Exchange.asmx", 2, "auth")


def test_a_backslash_in_the_user_name_is_read_escaped_and_as_it_stands() -> None:
    assert read_credentials(header(username='"DOM\\user"')).usernames == ("DOM\\user", "DOMuser")
    assert read_credentials(header(username='"DOM\\\\user"')).usernames == ("DOM\\\\user", "DOM\\user")


@pytest.mark.parametrize(("changes", "words"), [
    ({"username": None}, "no username"),
    ({"username": '""'}, "no username"),
    ({"qop": None, "cnonce": None}, "no qop and no cnonce"),
    ({"qop": "auth-int"}, "qop 'auth-int'"),
    ({"algorithm": "MD5-sess"}, "algorithm 'MD5-SESS'"),
    ({"nc": "00000000"}, "nc '00000000'"),
    ({"nc": "123456789"}, "nc"),
    ({"nc": "-1"}, "nc"),
    ({"username_": "UTF-8''J%C3%A4s"}, "encoded or hashed user name"),
    ({"userhash": "true"}, "encoded or hashed user name"),
    ({"extra": '"unfinished'}, "cannot be read"),
    ({"USERNAME": '"again"'}, "'username' twice"),
    ({f"p{n}": "x" for n in range(40)}, "too many"),
])
def test_what_is_not_accepted_is_named(changes: dict[str, str | None], words: str) -> None:
    with pytest.raises(DigestError, match=words):
        read_credentials(header(**changes))


@given(st.text(alphabet=st.characters(max_codepoint=255)) | st.lists(
    st.sampled_from([*MINIMAL, "=", ",", '"', "\\", " ", "algorithm", "é", "MD5"])).map("".join))
def test_no_text_raises_anything_but_digest_error(text: str) -> None:
    try:
        credentials = read_credentials(text)
    except DigestError:
        return
    assert not proven_secret(credentials, password="p", method="GET")


def test_credentials_that_begin_well_and_never_end_are_refused_at_once() -> None:
    for text in ("a" * 60_000, "a=b, " * 12_000 + "!", 'a="' + "\\x" * 30_000, "a=" + " " * 60_000 + "b c"):
        with pytest.raises(DigestError):
            read_credentials(text)


def test_a_password_counts_in_utf_8_and_in_latin_1() -> None:
    def md5(text: bytes) -> str:
        return hashlib.md5(text, usedforsecurity=False).hexdigest()

    for encoding in ("utf-8", "latin-1"):
        secret, request = md5(b"u:r:" + "pässwörd".encode(encoding)), md5(b"GET:/")
        response = md5(f"{secret}:n:00000001:c:auth:{request}".encode())
        for spelled in (response, response.upper()):
            credentials = read_credentials(header(response=spelled))
            assert proven_secret(credentials, password="pässwörd", method="GET")
            assert not proven_secret(credentials, password="password€", method="GET")


def test_a_challenge_has_one_form_and_says_stale_only_when_it_is() -> None:
    assert challenge(realm="otjd", nonce="n") == 'Digest realm="otjd", nonce="n", qop="auth", algorithm=MD5'
    assert challenge(realm="otjd", nonce="n", algorithm=SHA_256, stale=True).endswith(
        'qop="auth", algorithm=SHA-256, stale=true')


def test_a_nonce_tells_its_time_to_those_who_share_the_secret_alone() -> None:
    nonce = make_nonce(SECRET, NOW, bytes(range(12)))
    assert nonce_time(SECRET, nonce) == NOW
    assert nonce_time(b"another", nonce) is None
    assert nonce != make_nonce(SECRET, NOW, bytes(12))
    for position in range(len(nonce)):
        changed = nonce[:position] + ("0" if nonce[position] != "0" else "1") + nonce[position + 1:]
        assert nonce_time(SECRET, changed) is None


@given(st.text())
def test_a_strange_nonce_is_nobodys(nonce: str) -> None:
    assert nonce_time(SECRET, nonce) is None


def test_counts_may_skip_and_arrive_out_of_order_but_never_twice() -> None:
    counts = NonceCounts(LIFETIME)
    order = [3, 1, 2, 200, 199, 73, 500]
    assert [counts.use("n", NOW, count, NOW) for count in order] == [True] * len(order)
    assert [counts.use("n", NOW, count, NOW) for count in (500, 200, 372)] == [False] * 3
    assert counts.use("n", NOW, 499, NOW)
    assert not counts.use("n", NOW, 499, NOW)
    assert counts.use("n", NOW, 0xFFFFFFFF, NOW)
    assert counts.use("other", NOW, 1, NOW)


@given(st.lists(st.integers(min_value=1, max_value=400)))
def test_no_order_of_counts_lets_one_be_used_twice(order: list[int]) -> None:
    counts = NonceCounts(LIFETIME)
    accepted = [count for count in order if counts.use("n", NOW, count, NOW)]
    assert len(accepted) == len(set(accepted))
    highest = 0
    for count in order:
        if highest - count < NonceCounts.WINDOW:
            assert count in accepted
        highest = max(highest, count)


def test_nonces_are_forgotten_after_their_lifetime() -> None:
    counts = NonceCounts(LIFETIME)
    assert counts.use("old", NOW, 1, NOW)
    assert counts.use("new", NOW + LIFETIME, 1, NOW + LIFETIME + timedelta(seconds=1))
    assert len(counts) == 1


def test_a_nonce_that_was_forgotten_too_early_is_refused_not_replayed() -> None:
    counts = NonceCounts(LIFETIME, limit=3)
    made = [NOW + timedelta(seconds=s) for s in range(5)]
    for number, moment in enumerate(made):
        assert counts.use(f"n{number}", moment, 1, made[-1])
    assert len(counts) == 3
    assert not counts.use("n0", made[0], 1, made[-1])
    assert not counts.use("n0", made[0], 2, made[-1])
    assert counts.use("n4", made[4], 2, made[-1])


@pytest.mark.parametrize(("uri", "same"), [
    ("/EWS/Exchange.asmx", True), ("/ews/exchange.ASMX", True), ("/EWS/Exchange%2Easmx", True),
    ("https://otj.example.com/EWS/Exchange.asmx", True), ("EWS/Exchange.asmx", True),
    ("/EWS/Services.wsdl", False), ("/EWS/Exchange.asmx?x=1", False), ("https://otj.example.com", False),
    ("", False)])
def test_the_uri_must_be_the_target_of_the_request(uri: str, same: bool) -> None:
    assert names_same_target(uri, "/EWS/Exchange.asmx") is same
    assert names_same_target(uri, "https://otj.example.com:443/EWS/Exchange.asmx") is same
