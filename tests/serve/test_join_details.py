from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from otjd.meetings.model import DialProtocol
from otjd.protocol.poly_token import decode_token
from otjd.rules.templates import TemplateFailure
from otjd.serve.join_details import JoinDetails, built_in_template, dial_uri
from tests.serve.ews_support import NOW, meeting

ROOM = meeting("a", NOW, 45, alias="room@example.com", subject="Weekly")


def clock(step_s: float = 1e-6) -> Callable[[], float]:
    ticks = count()
    return lambda: next(ticks) * step_s


def details(source: str | None = None, **more: Any) -> JoinDetails:
    return JoinDetails(source, clock=clock(), **more)


def test_the_built_in_body_has_address_and_token() -> None:
    made = details().of(ROOM)
    assert made.uri == "sip:room@example.com"
    lines = made.text.split("\r\n")
    assert lines[:3] == ["Join by video: sip:room@example.com", "SIP: room@example.com", ""]
    assert decode_token(made.text) == decode_token(made.html) == made.tokens
    assert made.html == f"<html><body>{'<br>'.join(lines)}</body></html>".replace("<br>", "<br>\r\n")


def test_without_an_alias_nothing_is_told() -> None:
    made = details().of(meeting("a"))
    assert (made.uri, made.text, made.html, dict(made.tokens)) == ("", "", "", {})


@pytest.mark.parametrize(("alias", "protocol", "uri"), [
    (None, DialProtocol.SIP, ""), ("a@b", DialProtocol.SIP, "sip:a@b"), ("1##2", DialProtocol.H323, "h323:1##2"),
    ("sip:a@b", DialProtocol.H323, "sip:a@b"), ("sipper@b", DialProtocol.SIP, "sip:sipper@b")])
def test_a_uri_has_one_scheme(alias: str | None, protocol: DialProtocol, uri: str) -> None:
    assert dial_uri(meeting("a", alias=alias, dial_protocol=protocol)) == uri


def test_an_operators_template_sees_the_meeting() -> None:
    source = ("{{ subject }} by {{ organizer }}\n{{ start }} to {{ end }}\n{{ alias }} {{ uri }} {{ protocol }}\n"
              "{{ split_token }}")
    lines = details(source).of(ROOM).text.split("\r\n")
    assert lines[:3] == ["Weekly by Ada Berg", "2026-03-02 08:00:00+00:00 to 2026-03-02 08:45:00+00:00",
                         "room@example.com sip:room@example.com SIP"]
    token = decode_token("\n".join(lines))
    assert token is not None
    assert (token["POLYCOM-SIGNALINGPREFIX"], token["POLYCOM-VMRNUMBER"]) == ("sip:", "room")


def test_the_token_may_be_wrapped_and_end_its_lines_otherwise() -> None:
    made = details("{{ token }}", line_ending="\n", wrap=20).of(ROOM)
    assert all(len(line) <= 20 for line in made.text.split("\r\n")[1:-1])
    assert made.text != details("{{ token }}", wrap=20).of(ROOM).text
    assert decode_token(made.text) == made.tokens


def test_a_template_that_does_not_compile_is_refused() -> None:
    with pytest.raises(TemplateFailure):
        details("{{ alias")


@pytest.mark.parametrize("source", ["{{ missing.part }}", "{{ alias * 10000 }}", "{{ 1 // 0 }}"])
def test_a_failing_template_falls_back_with_one_warning(source: str, logged_events: list[dict[str, Any]]) -> None:
    failing = details(source)
    for _ in range(3):
        assert failing.of(ROOM).text == details().of(ROOM).text
    (event,) = [e for e in logged_events if "join_details" in e.get("log_format", "")]
    assert event["log_level"].name == "warn"
    assert event["reason"]


def test_a_machine_too_slow_for_any_template_still_tells_what_to_dial() -> None:
    made = JoinDetails(None, clock=clock(step_s=10)).of(ROOM)
    assert made.text.startswith("sip:room@example.com\r\n\r\n--=BEGIN")
    assert decode_token(made.text) == made.tokens


def test_the_digest_changes_with_everything_that_changes_the_text() -> None:
    different = [details(), details("x"), details("y"), details(wrap=76), details(line_ending="\n")]
    assert len({d.digest for d in different}) == 5
    assert details(built_in_template()).digest == details().digest
