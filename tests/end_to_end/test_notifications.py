"""Streaming notifications of the service as its own process, with exchangelib as client."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from typing import Any

import exchangelib
import pytest
from exchangelib.properties import CreatedEvent, DeletedEvent
from exchangelib.protocol import BaseProtocol

from tests.end_to_end.world import World, event, wait_until

ROOM = "boardroom@example.com"
NOW = datetime.now(UTC).replace(microsecond=0, second=0)


@pytest.mark.parametrize("scheme", [exchangelib.NTLM, exchangelib.DIGEST])
def test_a_stream_tells_of_changed_files_and_ends_whole_at_reload_and_stop(
        world: World, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(world.certificates.ca_certificate))
    monkeypatch.setattr(BaseProtocol, "TIMEOUT", 10)
    world.poly("Boardroom Group 500", ROOM, "boardroom")
    world.write_calendar(ROOM, event("weekly", NOW), event("lunch", NOW))
    world.start()
    calendar = exchangelib.Account(
        ROOM, autodiscover=False, access_type=exchangelib.DELEGATE, config=exchangelib.Configuration(
            service_endpoint=world.url, auth_type=scheme,
            credentials=exchangelib.Credentials("boardroom", "poly-secret"))).calendar
    assert {i.subject for i in calendar.all().only("subject")} == {"weekly", "lunch"}
    subscription_id = calendar.subscribe_to_streaming()

    # what happens between two connections is told on the next
    world.write_calendar(ROOM, event("weekly", NOW), event("lunch", NOW), event("first", NOW))
    wait_until(lambda: len(world.meetings(ROOM)) == 3, "the new meeting is not there")
    heard: list[type[Any]] = []
    for notification in calendar.get_streaming_events(subscription_id, connection_timeout=1):
        heard += [type(e) for e in notification.events]
        if heard == [CreatedEvent]:
            world.write_calendar(ROOM, event("weekly", NOW, minutes=45), event("first", NOW))
        else:
            world.extra = "\n[log]\nlevel = \"debug\"\n"
            world.write_config()
            world.send(signal.SIGHUP)
    assert sorted(k.__name__ for k in heard) == ["CreatedEvent", "DeletedEvent", "ModifiedEvent"]

    # the subscription is still there, and the connection as well
    world.write_calendar(ROOM)
    heard = []
    for notification in calendar.get_streaming_events(subscription_id, connection_timeout=1):
        heard += [type(e) for e in notification.events]
        if len(heard) == 2:
            world.send(signal.SIGTERM)
    assert heard == [DeletedEvent] * 2
    assert world.process is not None
    assert world.process.wait(5) is not None
    world.process = None
    assert "Configuration reloaded" in world.log
    assert world.log.count("GetStreamingEvents of Boardroom Group 500 at 127.0.0.1 ended") == 2
    assert "Traceback" not in world.log
