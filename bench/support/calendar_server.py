"""The servers that bench/calendar_service.py measures, each in a process of its own.

    python -m bench.support.calendar_server otjd DIRECTORY MEETINGS
    python -m bench.support.calendar_server bare DIRECTORY

`otjd` is the calendar service as the node runs it, over a filled cache; `bare` a plain twisted.web resource that
checks Basic and returns the bytes of DIRECTORY/answer.xml. Each prints its port once it can be asked, and ends
when its standard input does.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.logger import globalLogBeginner
from twisted.web.resource import Resource
from twisted.web.server import Site

from bench.support.processes import listen_to_parent
from otjd import wiring
from otjd.config.loader import load
from otjd.config.model import Config
from otjd.listeners import BACKLOG, Listeners
from otjd.meetings.cache import MeetingCache
from otjd.meetings.model import Meeting, Organizer, Room, meeting_id
from otjd.node import utc_now
from otjd.operate.board import StatusBoard
from otjd.operate.logs import LogOutput
from otjd.serve.tls import ReloadingContextFactory
from otjd.simulate.certificates import make_certificates

PASSWORD = "a-poly-password"  # noqa: S105 - of a benchmark

CONFIGURATION = """\
[node]
name = "bench"
location = "here"
state_dir = "state"

[log]
file = "otjd.log"

[calendar_service]
authentication = ["digest", "ntlm", "basic"]

[[calendar_service.listeners]]
address = "127.0.0.1"
port = 0
certificate = "{certificate}"
private_key = "{private_key}"

[operator]
port = 0

[[file_integrations]]
name = "none"
directory = "."

[[profiles]]
name = "default"
integration = "none"

[[endpoint_groups]]
name = "rooms"
location = "here"
profile = "default"
"""

ENDPOINT = """
[[endpoints]]
name = "Endpoint {number}"
endpoint_type = "POLY"
poly_username = "room{number}"
poly_password = "{password}"
room_resource_email = "room{number}@example.com"
mjx_endpoint_group_name = "rooms"
"""


def write_world(directory: Path, endpoints: int) -> None:
    """Certificates and a configuration with a room for each endpoint."""
    certificates = make_certificates(directory, (), datetime.now(UTC))
    text = CONFIGURATION.format(certificate=certificates.certificate, private_key=certificates.private_key)
    text += "".join(ENDPOINT.format(number=n, password=PASSWORD) for n in range(endpoints))
    (directory / "otjd.toml").write_text(text)


def fill(cache: MeetingCache, config: Config, meetings: int, now: datetime) -> None:
    """Give each room so many meetings, one an hour, all with something to dial."""
    for room in wiring.rooms(config):
        cache.replace(room, [_meeting(room, n, now) for n in range(meetings)], now)


def _meeting(room: Room, number: int, now: datetime) -> Meeting:
    start = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=number)
    return Meeting(
        id=meeting_id(room.email, str(number)), uid=f"{room.email}-{number}", start_time=start,
        end_time=start + timedelta(minutes=50), subject=f"Quarterly review {number}",
        organizer=Organizer("Grace Hopper", "grace.hopper@example.com"),
        alias=f"{4000 + number}@video.example.com", matched_rule="our domain", created_time=now,
        last_modified_time=now)


class Bare(Resource):
    """Answers every request that signs in with the same bytes, or those of an item where it asks for one."""

    isLeaf = True  # noqa: N815 - twisted.web's name

    def __init__(self, body: bytes, item: bytes) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._body = body
        self._item = item

    def render(self, request: Any) -> bytes:
        """The bytes, or a challenge."""
        scheme, _, credentials = (request.getHeader(b"authorization") or b"").partition(b" ")
        _, _, password = base64.b64decode(credentials).partition(b":")
        if scheme != b"Basic" or not hmac.compare_digest(password, PASSWORD.encode()):
            request.setResponseCode(401)
            request.setHeader(b"WWW-Authenticate", b'Basic realm="bench"')
            return b""
        asked = request.content.read()
        request.setHeader(b"Content-Type", b"text/xml; charset=utf-8")
        return self._item if b"<m:GetItem>" in asked else self._body


def serve_otjd(reactor: Any, directory: Path, meetings: int) -> int:
    """The calendar service over a filled cache; gives its port."""
    loaded = load(directory / "otjd.toml", environ={})
    config = loaded.config
    if config is None:
        raise SystemExit("\n".join(map(str, loaded.problems)))
    globalLogBeginner.beginLoggingTo(
        [LogOutput(level=config.log.level, path=config.log.file)], redirectStandardIO=False)
    board, cache = StatusBoard(utc_now), MeetingCache()
    board.configure(wiring.endpoint_facts(config), wiring.integrations(config))
    cache.configure(wiring.rooms(config))
    fill(cache, config, meetings, datetime.now(UTC))
    listeners = Listeners(config, reactor, cache, board, now=utc_now, ready=lambda: True,
                          random_bytes=secrets.token_bytes)
    listeners.open()
    return listeners.calendar_port


def serve_bare(reactor: Any, directory: Path) -> int:
    """The plain resource over the same TLS; gives its port."""
    config = load(directory / "otjd.toml", environ={}).config
    assert config is not None
    listener = config.calendar_service.listeners[0]
    context = ReloadingContextFactory(*zip(listener.certificate, listener.private_key, strict=True))
    site = Site(Bare((directory / "answer.xml").read_bytes(), (directory / "item.xml").read_bytes()))  # type: ignore[no-untyped-call]
    site.displayTracebacks = False
    port = reactor.listenSSL(0, site, context, BACKLOG, "127.0.0.1")
    return int(port.getHost().port)


def main() -> None:
    reactor: Any = installed_reactor
    kind, directory = sys.argv[1], Path(sys.argv[2])
    port = serve_otjd(reactor, directory, int(sys.argv[3])) if kind == "otjd" else serve_bare(reactor, directory)
    print(port, flush=True)
    listen_to_parent(reactor)
    reactor.run()


if __name__ == "__main__":
    main()
