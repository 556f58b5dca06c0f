from __future__ import annotations

from otjd.protocol.cisco_versions import Writer, parse_version
from otjd.push.converge import REPUSH_S, Known, Step, next_step, rest_s

OLD = parse_version("TC7.3.9")
MIDDLE = parse_version("ce9.15.3")
NEW = parse_version("ce11.24.1")


def test_a_room_that_was_never_read_is_left_alone() -> None:
    assert next_step(None, Known(), 0) is Step.REST
    assert next_step(None, Known().answered(NEW, 0), 9) is Step.REST
    assert rest_s(Known(), 5) == REPUSH_S


def test_the_version_is_asked_then_the_list_is_sent_then_there_is_rest() -> None:
    known = Known()
    assert next_step("r1", known, 0) is Step.ASK_VERSION
    known = known.answered(NEW, 1)
    assert next_step("r1", known, 2) is Step.PUT
    known = known.took("r1", 3, verified=True)
    assert next_step("r1", known, 4) is Step.REST
    assert rest_s(known, 4) == REPUSH_S - 1


def test_what_is_not_certain_is_verified() -> None:
    known = Known().answered(OLD, 0).took("r1", 1, verified=False)
    assert next_step("r1", known, 2) is Step.VERIFY
    assert next_step("r1", known.confirmed(), 2) is Step.REST
    assert Known().confirmed() == Known()


def test_a_change_is_sent_at_once_even_before_the_last_list_is_verified() -> None:
    known = Known().answered(OLD, 0).took("r1", 1, verified=False)
    assert next_step("r2", known, 2) is Step.PUT
    assert next_step("r2", known.confirmed(), REPUSH_S) is Step.PUT


def test_after_an_hour_the_version_is_asked_again_and_the_list_sent_again() -> None:
    known = Known().answered(NEW, 0).took("r1", 1, verified=True)
    assert next_step("r1", known, REPUSH_S) is Step.REST
    assert rest_s(known, REPUSH_S) == 1
    assert next_step("r1", known, REPUSH_S + 1) is Step.ASK_VERSION
    known = known.answered(NEW, REPUSH_S + 1)
    assert next_step("r1", known, REPUSH_S + 2) is Step.PUT
    assert rest_s(known, REPUSH_S + 2) == 0


def test_another_version_has_acknowledged_nothing() -> None:
    known = Known().answered(OLD, 0).took("r1", 1, verified=True)
    assert known.answered(OLD, 10).acknowledged is not None
    upgraded = known.answered(NEW, 10)
    assert upgraded.acknowledged is None
    assert (known.writer, upgraded.writer) == (Writer.XML, Writer.PUT)


def test_any_doubt_forgets_all_but_the_missing_command() -> None:
    known = Known().answered(MIDDLE, 0)
    assert known.writer is Writer.PUT_ELSE_XML
    lacking = known.lacks_put()
    assert lacking.writer is Writer.XML
    assert next_step("r1", lacking, 1) is Step.PUT
    doubted = lacking.took("r1", 2, verified=True).doubted()
    assert next_step("r1", doubted, 3) is Step.ASK_VERSION
    assert doubted.answered(MIDDLE, 4).writer is Writer.XML


def test_a_missing_command_is_held_against_its_version_alone() -> None:
    lacking = Known().answered(MIDDLE, 0).lacks_put()
    assert lacking.answered(parse_version("ce9.15.17"), 1).writer is Writer.PUT_ELSE_XML
    assert lacking.answered(NEW, 1).writer is Writer.PUT


def test_an_endpoint_without_a_known_version_is_remembered_too() -> None:
    known = Known().answered(None, 0)
    assert known.writer is Writer.PUT_ELSE_XML
    assert known.lacks_put().writer is Writer.XML
    assert known.lacks_put().doubted().answered(None, 1).writer is Writer.XML
