from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from otjd.meetings.cache import MeetingCache
from otjd.operate.board import StatusBoard
from otjd.push.cisco import CiscoEndpoint
from otjd.push.pusher import CiscoPusher
from otjd.simulate.certificates import make_certificates
from otjd.simulate.codec import Codec
from tests.push.world import BOARDROOM, PASSWORD, meeting, reactor, until


@pytest.mark.parametrize(("host", "use_https", "url"), [
    ("10.1.2.3", True, "https://10.1.2.3:8443"), ("2001:db8::5", False, "http://[2001:db8::5]:8443"),
    ("codec_1.example.com", True, "https://codec_1.example.com:8443")])
def test_hosts_of_all_kinds_have_their_url(host: str, use_https: bool, url: str) -> None:
    assert CiscoEndpoint("x", BOARDROOM, host, 8443, "admin", "", use_https=use_https).base_url == url


async def test_a_certificate_of_its_own_will_do_where_that_is_allowed(tmp_path: Path) -> None:
    """The pusher as the service makes it: the real clock, its own agents, real TLS."""
    def now() -> datetime:
        return datetime.now(UTC)

    files = make_certificates(tmp_path, [], now())
    codec = Codec("ce9", password=PASSWORD, now=now, clock=reactor)
    port = codec.listen(reactor, files.certificate, files.private_key)
    cache, board = MeetingCache(), StatusBoard(now)
    cache.configure({BOARDROOM: timedelta(days=7)})
    pusher = CiscoPusher(cache, board, clock=reactor, now=now, jitter=lambda: 0.0)
    strict = CiscoEndpoint("strict", BOARDROOM, "localhost", port, "admin", PASSWORD)
    lenient = CiscoEndpoint("lenient", BOARDROOM, "localhost", port, "admin", PASSWORD, verify=False)
    try:
        pusher.configure([strict])
        pusher.start()
        cache.replace(BOARDROOM, [meeting(0, start_time=now(), end_time=now() + timedelta(hours=1))], now())
        pusher.configure([strict, lenient])
        await until(lambda: codec.bookings)
        assert [b.id for b in codec.joinable(now())] == ["m0"]
        assert [e.path for e in codec.exchanges] == ["/getxml", "/putxml"]  # none by the strict one
    finally:
        await pusher.stop()
        await codec.stop()
