from __future__ import annotations

import pytest

from otjd.operate.access import Access

OPEN = Access()
LOCKED = Access("admin", "s3cret")


def status(access: Access, *, username: bytes = b"", password: bytes = b"",
           hosts: tuple[str, ...] = ("localhost",), client: str = "127.0.0.1") -> int | None:
    refusal = access.refusal(username=username, password=password, hosts=hosts, client=client)
    return None if refusal is None else refusal.status


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:8080", "127.5.6.7:1",
                                  "[::1]", "[::1]:8080", " localhost:8080 "])
def test_without_a_login_this_machine_is_let_in_under_its_own_names(host: str) -> None:
    assert status(OPEN, hosts=(host,)) is None


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "localhost.evil.example", "",
                                  "10.0.0.1:8080", "[fe80::1]:80", "127.0.0.1.evil.example", "[", "otj.example"])
def test_without_a_login_a_foreign_name_is_refused(host: str) -> None:
    assert status(OPEN, hosts=(host,)) == 403


def test_without_a_login_exactly_one_host_must_be_named() -> None:
    assert status(OPEN, hosts=()) == 403
    assert status(OPEN, hosts=("localhost", "localhost")) == 403


def test_configured_names_are_own_names() -> None:
    access = Access(hosts=("otj.example", "[2001:db8::7]"))
    assert status(access, hosts=("OTJ.example:8080",)) is None
    assert status(access, hosts=("[2001:db8::7]:8080",)) is None
    assert status(access, hosts=("other.example",)) == 403


@pytest.mark.parametrize("client", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_without_a_login_clients_of_this_machine_are_let_in(client: str) -> None:
    assert status(OPEN, client=client) is None


@pytest.mark.parametrize("client", ["10.0.0.7", "::ffff:10.0.0.7", "fe80::1", "", "unix"])
def test_without_a_login_clients_from_elsewhere_are_refused(client: str) -> None:
    assert status(OPEN, client=client) == 403


def test_the_login_lets_in_from_anywhere_under_any_name() -> None:
    assert status(LOCKED, username=b"admin", password=b"s3cret", hosts=("otj.example",), client="10.0.0.7") is None


@pytest.mark.parametrize(("username", "password"), [
    (b"", b""), (b"admin", b""), (b"admin", b"s3cre"), (b"admin", b"s3crett"), (b"Admin", b"s3cret"),
    (b"", b"s3cret"), (b"\xff", b"s3cret")])
def test_a_wrong_login_is_refused_even_from_this_machine(username: bytes, password: bytes) -> None:
    assert status(LOCKED, username=username, password=password) == 401


def test_a_login_may_hold_any_character() -> None:
    assert status(Access("ådne", "p:ä s"), username="ådne".encode(), password="p:ä s".encode()) is None


def test_the_password_does_not_show_in_a_log() -> None:
    assert "s3cret" not in repr(LOCKED)
