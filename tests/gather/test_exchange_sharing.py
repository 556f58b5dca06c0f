"""Streams of a server that tells of one mailbox in each, as one that is not Microsoft's was seen to."""

from __future__ import annotations

import pytest

from otjd.gather.exchange_sharing import LONE_STREAMS, TEARS, Sharing
from otjd.protocol.ews_client_streaming import SUBSCRIPTIONS
from otjd.simulate.certificates import Certificates, make_certificates
from otjd.simulate.exchange_settings import OTHER_MAKE
from tests.gather.test_exchange_end_to_end import reading
from tests.simulate.exchange_world import LOUNGE, NOW, ROOM


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"), ["exchange.example.com"], NOW)


async def test_each_room_gets_a_stream_of_its_own(certificates: Certificates) -> None:
    async with reading(certificates, settings=dict(OTHER_MAKE)) as (world, reader):
        await reader.listen(ROOM, LOUNGE)
        assert world.server.faulted["ErrorInvalidSubscription"] == TEARS
        assert {len(stream.subscriptions) for stream in world.server.streams} == {1}
        await reader.until(lambda: not reader.pending)
        reader.changed.clear()
        world.book(LOUNGE)
        world.clock.advance(4.7)
        assert await reader.news() == [LOUNGE]
        for _ in range(10):
            world.clock.advance(50)  # it beats, so that it is not taken for dead
        assert all(reader.source.is_told_of(room) for room in (ROOM, LOUNGE))


def test_a_stream_is_shared_again_where_that_was_a_passing_trouble() -> None:
    sharing = Sharing()
    assert not sharing.tore("ErrorInvalidSubscription", 1, 20)
    sharing.held(20)
    assert not sharing.tore("ErrorInvalidSubscription", 1, 20)
    assert not sharing.tore("ErrorSubscriptionNotFound", 1, 20)
    assert not sharing.tore("ErrorInvalidSubscription", 5, 20)
    assert sharing.limit == SUBSCRIPTIONS
    assert sharing.allows(1000)
    assert sharing.tore("ErrorInvalidSubscription", 1, 20)
    assert sharing.limit == 1
    assert [sharing.allows(n) for n in (0, LONE_STREAMS - 1, LONE_STREAMS)] == [True, True, False]
