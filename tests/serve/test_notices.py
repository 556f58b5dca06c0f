"""What calendar systems tell of changes by themselves: taken without a login, at configured paths alone."""

from __future__ import annotations

import pytest

from otjd.serve.calls import Notice, Reply
from tests.serve.http_world import PATH, Site, Wire

NOTICES = "/notifications/m365"


@pytest.fixture
def told() -> list[Notice]:
    return []


@pytest.fixture
def world(told: list[Notice]) -> Site:
    world = Site()

    def take(notice: Notice) -> Reply:
        told.append(notice)
        return Reply(202, b"thanks", "text/plain")

    world.site.notices = {NOTICES: take}
    return world


@pytest.fixture
def wire(world: Site) -> Wire:
    return world.connect()


def test_a_notice_is_taken_without_a_login(wire: Wire, told: list[Notice]) -> None:
    answer = wire.ask(path="/Notifications/M365/?validationToken=a%20b&x=", body=b'{"value": []}', X_Token="t")
    assert (answer.status, answer.body) == (202, b"thanks")
    (notice,) = told
    assert (notice.query, notice.body, notice.headers["x-token"]) == (
        {b"validationToken": [b"a b"], b"x": [b""]}, b'{"value": []}', "t")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_a_notice_is_a_post_request(wire: Wire, told: list[Notice], method: str) -> None:
    answer = wire.ask(method=method, path=NOTICES, body=b"")
    assert (answer.status, answer.header("allow")) == (405, "POST")
    assert told == []


def test_the_body_of_a_stranger_counts_nowhere_else(world: Site, wire: Wire, told: list[Notice]) -> None:
    assert wire.ask(path="/notifications/other", body=b"x").status == 404
    assert wire.ask(path=PATH, body=b"x").status == 401
    assert told == []
    assert world.calls == []


def test_a_notice_that_is_too_long_is_refused(wire: Wire, told: list[Notice]) -> None:
    assert wire.ask(path=NOTICES, body=b"x" * (1024 * 1024 + 1)).status == 413
    assert told == []


def test_a_notice_is_taken_only_while_it_is_configured(world: Site, wire: Wire, told: list[Notice]) -> None:
    world.site.notices = {}
    assert wire.ask(path=NOTICES, body=b"x").status == 404
    assert told == []
