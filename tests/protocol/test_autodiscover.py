from __future__ import annotations

from datetime import UTC, datetime

import pytest

from otjd.protocol.autodiscover import (
    OUTLOOK_REQUEST,
    OUTLOOK_RESPONSE,
    AutodiscoverError,
    read_pox,
    write_pox,
    write_pox_error,
)

SCHEMA = f"<AcceptableResponseSchema>{OUTLOOK_RESPONSE}</AcceptableResponseSchema>"
EMAIL = "<EMailAddress> room@example.com </EMailAddress>"


def request(inside: str) -> bytes:
    return f'<Autodiscover xmlns="{OUTLOOK_REQUEST}"><Request>{inside}</Request></Autodiscover>'.encode()


@pytest.mark.parametrize("body", [
    request(EMAIL + SCHEMA), request(SCHEMA + EMAIL), request(EMAIL),
    request(EMAIL).replace(b"<", b"<a:").replace(b"<a:/", b"</a:").replace(b"xmlns=", b"xmlns:a=")])
def test_a_request_is_read_whatever_its_prefixes(body: bytes) -> None:
    assert read_pox(body).email == "room@example.com"


@pytest.mark.parametrize(("body", "code"), [
    (b"", 600), (b"rubbish", 600), (b"<a/>", 600), (b"<Autodiscover/>", 600), (request(SCHEMA), 600),
    (b"<!DOCTYPE a>" + request(EMAIL), 600),
    (request(f"{EMAIL}<AcceptableResponseSchema>urn:mobilesync</AcceptableResponseSchema>"), 601),
    (request(f"{EMAIL}<AcceptableResponseSchema/>"), 601),
])
def test_what_cannot_be_answered_has_its_code(body: bytes, code: int) -> None:
    with pytest.raises(AutodiscoverError) as raised:
        read_pox(body)
    assert raised.value.code == code


def test_the_answer_escapes_what_it_is_given() -> None:
    assert b"<EwsUrl>https://a&amp;b/</EwsUrl>" in write_pox(email="a@b", ews_url="https://a&b/")


def test_an_error_tells_time_and_server() -> None:
    error = write_pox_error(600, now=datetime(2026, 3, 2, 8, 9, 10, 5, UTC), server_id=42)
    assert b'<Error Time="08:09:10.0000050" Id="42"><ErrorCode>600</ErrorCode>' in error
