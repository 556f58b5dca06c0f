from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import LegacyLogObserverWrapper, Logger, LogLevel, LogPublisher
from twisted.python import log as legacy
from twisted.python.failure import Failure

from otjd.meetings.model import EndpointType
from otjd.operate.escape import visible
from otjd.operate.log_lines import LIMIT
from otjd.operate.logs import LogOutput, observer
from tests.conftest import LoggedFailures

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


class Log:
    """A logger of its own, and what an observer wrote of it."""

    def __init__(self, log_format: str = "text", level: str = "info", namespace: str = "otjd.test") -> None:
        self.out = io.StringIO()
        self.publisher = LogPublisher(observer(level, log_format, self.out))
        self.logger = Logger(namespace, observer=self.publisher)

    @property
    def text(self) -> str:
        return self.out.getvalue()

    @property
    def event(self) -> dict[str, Any]:
        (line,) = self.text.splitlines()
        loaded: dict[str, Any] = json.loads(line)
        return loaded


def throw(error: Exception) -> None:
    raise error


def failure(error: Exception) -> Failure:
    try:
        throw(error)
    except type(error):
        return Failure()  # type: ignore[no-untyped-call]
    raise AssertionError


def test_a_text_line_has_time_origin_level_and_message() -> None:
    log = Log()
    log.logger.error("Calendar of {room} is unreadable", room="cabin@example.com")
    assert re.fullmatch(TIME + r" \[otjd\.test#error\] Calendar of cabin@example\.com is unreadable\n", log.text)


def test_a_text_line_ends_with_the_key_fields_that_its_message_lacks() -> None:
    log = Log()
    log.logger.info("Push to {endpoint} in {delay_s:.1f} s", endpoint="Room Kit", room="a@b.c", integration="m365",
                    attempt=2, delay_s=1.5, secret="hunter2")
    assert log.text.endswith('] Push to Room Kit in 1.5 s integration=m365 room=a@b.c attempt=2\n')


@pytest.mark.parametrize(("value", "shown"), [
    ("Room Kit", 'endpoint="Room Kit"'), ('say "x"', r'endpoint="say \"x\""'), ("a=b", 'endpoint="a=b"'),
    ("", 'endpoint=""'), ("Møterom", "endpoint=Møterom"), ("a\nb", r"endpoint=a\nb")])
def test_key_fields_are_quoted_where_they_would_be_misread(value: str, shown: str) -> None:
    log = Log()
    log.logger.info("pushed", endpoint=value)
    assert log.text.endswith(f"pushed {shown}\n")


def test_a_key_field_without_value_is_left_out() -> None:
    log = Log()
    log.logger.info("pushed", endpoint=None)
    assert log.text.endswith("] pushed\n")


def test_fields_written_by_attribute_or_call_count_as_written() -> None:
    log = Log()
    log.logger.info("{room.real} {endpoint()} {integration[0]}", room=1, endpoint=lambda: "x", integration="y")
    assert log.text.endswith("] 1 x y\n")


HOSTILE = "x\r\n2026-01-01T00:00:00.000Z [otjd#critical] forged\x1b[2J\u2028\u202e\x85\ud800\x00"


def test_nothing_from_outside_begins_a_line_of_text() -> None:
    log = Log()
    log.logger.info("Subject {subject}", subject=HOSTILE, room=HOSTILE, endpoint=HOSTILE)
    log.logger.failure("Request of {room} failed", failure(ValueError(HOSTILE)), room=HOSTILE)
    lines = log.text.splitlines()
    assert [line for line in lines if re.match(TIME, line)] == [lines[0], lines[1]]
    assert all(line.startswith("\t") for line in lines[2:])
    assert log.text.isprintable() or set(log.text) - {"\n", "\t"} == {c for c in log.text if c.isprintable()}
    assert r"x\r\n2026-01-01T00:00:00.000Z [otjd#critical] forged\x1b[2J\u2028\u202e\x85\ud800\x00" in lines[0]


def test_nothing_from_outside_begins_a_line_of_json() -> None:
    log = Log("json")
    log.logger.info("Subject {subject}", subject=HOSTILE)
    assert log.text.isascii()
    assert log.event["subject"] == HOSTILE
    assert log.event["message"] == f"Subject {HOSTILE}"


def test_a_json_line_has_the_named_fields() -> None:
    log = Log("json")
    at = datetime(2026, 3, 2, 8, tzinfo=UTC)
    log.logger.error("Pushed to {endpoint}", endpoint="Room Kit", kind=EndpointType.CISCO, attempt=3, delay_s=0.5,
                     ok=False, nothing=None, at=at, rooms=("a", {"b": [1]}), far=float("inf"),
                     why=ValueError("no"))
    event = log.event
    assert re.fullmatch(TIME, event.pop("time"))
    assert event == {
        "level": "error", "namespace": "otjd.test", "message": "Pushed to Room Kit", "endpoint": "Room Kit",
        "kind": "CISCO", "attempt": 3, "delay_s": 0.5, "ok": False, "nothing": None,
        "at": "2026-03-02T08:00:00+00:00", "rooms": ["a", {"b": [1]}], "far": "inf", "why": "ValueError: no"}


def test_fields_without_a_json_form_are_left_out() -> None:
    log = Log("json")
    endless: list[Any] = []
    endless.append(endless)
    log.logger.info("x", thing=object(), data=b"\xff", inside={"thing": object(), "n": 1}, endless=endless)
    assert not log.event.keys() & {"thing", "data", "log_source", "log_logger", "log_format"}
    assert log.event["inside"] == {"n": 1}
    assert log.event["endless"] == [[[[]]]]


def test_a_field_never_replaces_what_a_line_says_of_itself() -> None:
    log = Log("json")
    log.logger.info("real", message="forged", time=0, namespace="other", error="mine")
    event = log.event
    assert (event["message"], event["level"], event["namespace"]) == ("real", "info", "otjd.test")
    assert (event["message_"], event["time_"], event["namespace_"]) == ("forged", 0, "other")
    assert event["error"] == "mine"


@dataclass
class Login:
    username: str
    password: str = field(repr=False)


def failure_beside_a_secret(password: str) -> Failure:
    assert password
    return failure(ValueError("refused"))


def test_no_secret_is_added_to_a_line() -> None:
    for log in (Log(), Log("json")):
        login = Login("svc", "hunter2")
        failed = failure_beside_a_secret(login.password)
        log.logger.failure("Sign-in of {login.username} failed", failed, login=login)
        assert "Sign-in of svc failed: ValueError" in log.text or log.event["error"] == "ValueError: refused"
        assert "hunter2" not in log.text


def test_a_failure_is_told_with_its_traceback() -> None:
    log = Log()
    log.logger.failure("Push failed", failure(ValueError("no route")), endpoint="HDX")
    first, *rest = log.text.splitlines()
    assert first.endswith("[otjd.test#critical] Push failed: ValueError: no route endpoint=HDX")
    assert rest[0] == "\tTraceback (most recent call last):"
    assert any("in failure" in line for line in rest)


def test_a_failure_in_json_has_error_and_traceback() -> None:
    log = Log("json")
    log.logger.failure("Push failed", failure(ValueError("no route")))
    assert log.event["error"] == "ValueError: no route"
    assert "in failure" in log.event["traceback"]
    assert log.event["message"] == "Push failed"


def test_a_failure_without_message_is_told_too() -> None:
    log = Log()
    log.logger.emit(LogLevel.critical, log_failure=failure(ValueError("alone")))
    assert "#critical] ValueError: alone\n" in log.text


def test_an_event_without_anything_to_say_is_no_line_of_text() -> None:
    log = Log()
    log.logger.emit(LogLevel.info)
    assert log.text == ""


def test_a_format_string_that_is_broken_is_told_nevertheless() -> None:
    log = Log()
    log.logger.info("{room", room="a@b.c")
    assert log.text.count("\n") == 1
    assert "a@b.c" in log.text


def test_long_messages_and_fields_are_cut() -> None:
    text, lines = Log(), Log("json")
    for log in (text, lines):
        log.logger.info("{body}", body="x" * 1_000_000, room="y" * 1_000_000, whole=["z" * 1_000_000])
    assert len(text.text) < 3 * LIMIT
    assert len(lines.event["message"]) == len(lines.event["body"]) == len(lines.event["whole"][0]) == LIMIT


@pytest.mark.parametrize(("level", "written"), [
    ("debug", ["debug", "info", "warn", "error", "critical"]), ("info", ["info", "warn", "error", "critical"]),
    ("warn", ["warn", "error", "critical"]), ("critical", ["critical"])])
def test_less_important_events_are_left_out(level: str, written: list[str]) -> None:
    log = Log("json", level=level)
    for name in ("debug", "info", "warn", "error", "critical"):
        log.logger.emit(LogLevel.levelWithName(name), name)
    assert [json.loads(line)["level"] for line in log.text.splitlines()] == written


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_events_of_the_old_log_are_written_too(log_format: str, logged_failures: LoggedFailures) -> None:
    out = io.StringIO()
    watching = observer("info", log_format, out)
    legacy_publisher: Any = legacy.LogPublisher(  # type: ignore[no-untyped-call]
        publishPublisher=LogPublisher(watching))
    legacy_publisher.msg("old news", system="elsewhere", room="a@b.c")
    line = out.getvalue()
    assert "old news" in line
    assert "a@b.c" in line
    if log_format == "json":
        assert set(json.loads(line)) == {"time", "level", "namespace", "message", "room"}


def test_what_another_observer_adds_for_the_old_log_is_left_out() -> None:
    out = io.StringIO()
    old: Any = list  # takes an event
    publisher = LogPublisher(LegacyLogObserverWrapper(old), observer("info", "json", out))
    Logger("otjd.test", observer=publisher).info("hello {room}", room="a@b.c")
    assert set(json.loads(out.getvalue())) == {"time", "level", "namespace", "message", "room"}


@pytest.mark.parametrize(("level", "log_format"), [("loud", "text"), ("info", "xml")])
def test_an_unknown_level_or_format_is_refused_with_the_known_ones(
        level: str, log_format: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected one of .*(debug|json)"):
        LogOutput(level=level, log_format=log_format, path=tmp_path / "otjd.log")


@pytest.mark.parametrize(("text", "shown"), [
    ("plain Ø 🎉 \\", "plain Ø 🎉 \\"), ("a\tb\r\nc", r"a\tb\r\nc"), ("\x1b[31m\x7f\x9b", r"\x1b[31m\x7f\x9b"),
    ("\u2028\u200f\u2066", r"\u2028\u200f\u2066"), ("\ud83d", r"\ud83d"), ("", "")])
def test_harmful_characters_are_shown_as_escapes(text: str, shown: str) -> None:
    assert visible(text) == shown
