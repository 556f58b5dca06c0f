"""How fast the calendar service answers endpoints, beside a bare twisted.web resource and nginx in the same run.

    python bench/calendar_service.py             4,000 endpoints, 40 meetings each; takes about five minutes
    python bench/calendar_service.py --smoke     a few of everything, to see that it runs

All servers are processes of their own, driven by another process over real TLS with the same certificate:
(a) `bare` checks Basic and returns the bytes of the calendar service's own answer, (b) nginx returns them from a
file, where it is installed. Turns alternate, so that all meet the same machine.
"""

from __future__ import annotations

import argparse
import getpass
import json
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from bench.support import processes  # noqa: E402 - found by the line above
from bench.support.calendar_server import write_world  # noqa: E402
from bench.support.load import ITEM_ID, PATH, SHAPES, basic, find_item, get_item  # noqa: E402

NGINX = """
daemon off; user {user}; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/nginx.log;
events {{ worker_connections 2048; }}
http {{
  access_log off; client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
  uwsgi_temp_path {directory}; scgi_temp_path {directory}; keepalive_requests 1000000000;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {directory}/otjd.crt; ssl_certificate_key {directory}/otjd.key;
    root {directory}; location / {{ rewrite ^ /answer.xml break; error_page 405 =200 /answer.xml; }}
  }}
}}
"""
FEW = "otjd, few rooms"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is asked of the service."""

    endpoints: int = 4000
    meetings: int = 40
    connections: int = 16
    turn_s: float = 5.0
    turns: int = 3
    every_s: float = 60.0
    within_s: float = 10.0


SMOKE = Sizes(endpoints=20, meetings=12, connections=2, turn_s=0.3, turns=1, every_s=0.5, within_s=0.2)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    pid: int
    port: int

    def cpu_s(self) -> float:
        """Processor time that it has used, in seconds."""
        return processes.cpu_s(self.pid)

    def resident_mb(self) -> float:
        """Memory that it holds."""
        return processes.resident_mb(self.pid)


@dataclass
class Figures:
    """What the turns of one server came to."""

    rates: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    resident_mb: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second, of the middle turn."""
        return statistics.median(self.rates)

    def line(self, name: str) -> str:
        """One line of the report."""
        return (f"{name:28} {self.rate:8.0f} requests/s   p50 {statistics.median(self.p50_ms):6.2f} ms   "
                f"p99 {statistics.median(self.p99_ms):6.2f} ms   "
                f"{statistics.median(self.cpu_ms):7.3f} s CPU per 1,000   {self.resident_mb:6.0f} MB")


@contextmanager
def python_server(kind: str, directory: Path, *arguments: object) -> Iterator[Server]:
    """One of bench/support/calendar_server.py."""
    with processes.helper("bench.support.calendar_server", kind, directory, *arguments) as process:
        yield Server(process.pid, int(process.line()))


@contextmanager
def nginx_server(directory: Path) -> Iterator[Server]:
    """nginx with one worker, which is what is measured."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    configuration = directory / "nginx.conf"
    configuration.write_text(NGINX.format(directory=directory, port=port, user=getpass.getuser()))
    with subprocess.Popen(["nginx", "-e", str(directory / "nginx.log"), "-c", str(configuration)]) as process:
        try:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            for _ in range(100):
                time.sleep(0.05)
                if found := children.read_text().split():
                    break
            yield Server(int(found[0]), port)
        finally:
            process.terminate()


def load(server: Server, kind: str, seconds: float, *arguments: object) -> dict[str, float]:
    """Drive a server; see bench/support/load.py for what is measured."""
    command = [sys.executable, "-m", "bench.support.load", kind, str(server.port), str(seconds),
               *map(str, arguments)]
    printed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    result: dict[str, float] = json.loads(printed)
    return result


def measure(server: Server, figures: Figures, seconds: float, connections: int, endpoints: int) -> None:
    """One turn of FindItems on kept connections."""
    before = server.cpu_s()
    result = load(server, "closed", seconds, connections, endpoints)
    if result["failed"]:
        raise SystemExit(f"{result['failed']:.0f} requests failed")
    figures.rates.append(result["requests"] / result["seconds"])
    figures.cpu_ms.append((server.cpu_s() - before) / result["requests"] * 1000)
    figures.p50_ms.append(result["p50_ms"])
    figures.p99_ms.append(result["p99_ms"])
    figures.resident_mb = server.resident_mb()


def take_turns(servers: dict[str, Server], sizes: Sizes, few: int) -> dict[str, Figures]:
    """All servers in turns; of `otjd, few rooms` only those are asked for."""
    figures = {name: Figures() for name in servers}
    for _ in range(sizes.turns):
        for name, server in servers.items():
            measure(server, figures[name], sizes.turn_s, sizes.connections,
                    few if name == FEW else sizes.endpoints)
    return figures


def answer_of(server: Server, directory: Path, body: bytes) -> bytes:
    """What the service answers an endpoint."""
    asked = urllib.request.Request(f"https://localhost:{server.port}{PATH}", data=body,
                                   headers={"Authorization": basic("room0"), "Content-Type": "text/xml"})
    context = ssl.create_default_context(cafile=str(directory / "ca.crt"))
    with urllib.request.urlopen(asked, context=context) as answer:  # noqa: S310
        return bytes(answer.read())


def save_answers(server: Server, directory: Path) -> int:
    """Keep what the service answers, for the servers that it is compared with; gives the length of a list."""
    listed = answer_of(server, directory, find_item())
    (directory / "answer.xml").write_bytes(listed)
    (directory / "item.xml").write_bytes(answer_of(server, directory, get_item(ITEM_ID.findall(listed)[0])))
    return len(listed)


def compare(sizes: Sizes, directory: Path) -> None:
    """FindItem of ten meetings, beside the bare resource and nginx; and whether the number of rooms matters."""
    few = min(40, sizes.endpoints)
    write_world(directory, sizes.endpoints)
    write_world(directory / "few", few)
    with ExitStack() as stack:
        servers = {"otjd": stack.enter_context(python_server("otjd", directory, sizes.meetings)),
                   FEW: stack.enter_context(python_server("otjd", directory / "few", sizes.meetings))}
        length = save_answers(servers["otjd"], directory)
        servers["bare twisted.web"] = stack.enter_context(python_server("bare", directory))
        if shutil.which("nginx"):
            servers["nginx"] = stack.enter_context(nginx_server(directory))
        figures = take_turns(servers, sizes, few)
    print(f"FindItem of 10 meetings ({length} bytes), Basic, {sizes.connections} kept connections:")
    for name, found in figures.items():
        print(found.line(name))
    print(f"ratio to the bare resource   {figures['otjd'].rate / figures['bare twisted.web'].rate:8.2f}")
    cpu = {name: statistics.median(found.cpu_ms) for name, found in figures.items()}
    print(f"{sizes.endpoints} rooms beside {few}         {cpu['otjd'] / cpu[FEW]:8.2f} times the CPU a request")


def restart(sizes: Sizes, directory: Path) -> None:
    """Every endpoint connects within ten seconds: full handshakes, half NTLM, half Digest."""
    with python_server("otjd", directory, sizes.meetings) as server:
        filled = server.resident_mb()
        result = load(server, "restart", 30, sizes.endpoints, sizes.within_s)
        print(f"\nAfter a restart, {sizes.endpoints} endpoints within {sizes.within_s:g} s, "
              f"{sizes.endpoints * sizes.meetings} meetings cached: all served after {result['seconds']:.1f} s, "
              f"{result['failed']:.0f} failed, p99 {result['p99_ms']:.0f} ms a request; "
              f"{filled:.0f} MB before, {server.resident_mb():.0f} MB after")


def autodiscover(sizes: Sizes, directory: Path) -> None:
    """Every endpoint connects within ten seconds and asks where its calendar is."""
    with python_server("otjd", directory, sizes.meetings) as server:
        before = server.cpu_s()
        result = load(server, "restart", 30, sizes.endpoints, sizes.within_s, "autodiscover")
        print(f"\nAutodiscover, {sizes.endpoints} endpoints within {sizes.within_s:g} s: all served after "
              f"{result['seconds']:.1f} s, {result['failed']:.0f} failed, p99 {result['p99_ms']:.0f} ms, "
              f"{(server.cpu_s() - before) / sizes.endpoints * 1000:.2f} ms CPU an endpoint with its sign-in")


def polled(server: Server, sizes: Sizes, shape: str) -> tuple[dict[str, float], float]:
    """Let every endpoint poll; what was measured, and the part of a core that it took once all had signed in."""
    with ThreadPoolExecutor(1) as threads:
        driven = threads.submit(load, server, "poll", sizes.every_s * 2.4, sizes.endpoints, shape, sizes.every_s)
        time.sleep(sizes.every_s * 1.3)
        before = server.cpu_s()
        time.sleep(sizes.every_s)
        cpu_s = server.cpu_s() - before
        return driven.result(), cpu_s / sizes.every_s


def poll(sizes: Sizes, directory: Path, shape: str) -> None:
    """Every endpoint polls once a minute, and the same of the bare resource; then as fast as it goes."""
    finds, gets = SHAPES[shape]
    with python_server("otjd", directory, sizes.meetings) as server:
        save_answers(server, directory)
        result, share = polled(server, sizes, shape)
        print(f"\n{sizes.endpoints} endpoints, each {finds} FindItem and {gets} GetItem every "
              f"{sizes.every_s:g} s with Digest: {result['requests'] / result['seconds']:.0f} requests/s, "
              f"p50 {result['p50_ms']:.2f} ms, p99 {result['p99_ms']:.2f} ms, {result['failed']:.0f} failed, "
              f"{share:.3f} of a core, {server.resident_mb():.0f} MB")
        before = server.cpu_s()
        result = load(server, "poll", sizes.turn_s, sizes.connections, shape, 0)
        polls = result["requests"] / (finds + gets)
        print(f"as fast as it goes: {result['requests'] / result['seconds']:.0f} requests/s, enough for "
              f"{polls / result['seconds'] * 60:.0f} endpoints; {polls / (server.cpu_s() - before) * 60:.0f} "
              "on a whole core")
    with python_server("bare", directory) as server:
        _, bare = polled(server, sizes, shape)
        print(f"the bare resource, asked alike with Basic: {bare:.3f} of a core; ratio {share / bare:.2f}")


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--only", choices=("compare", "restart", "autodiscover", "light", "heavy"))
    parser.add_argument("--endpoints", type=int)
    parser.add_argument("--meetings", type=int)
    return parser.parse_args(arguments)


def main() -> None:
    options = parsed()
    base = SMOKE if options.smoke else Sizes()
    sizes = replace(base, endpoints=options.endpoints or base.endpoints,
                    meetings=options.meetings or base.meetings)
    with tempfile.TemporaryDirectory(prefix="otjd-bench-") as name:
        directory = Path(name)
        if options.only in (None, "compare"):
            compare(sizes, directory)
        else:
            write_world(directory, sizes.endpoints)
        if options.only in (None, "restart"):
            restart(sizes, directory)
        if options.only in (None, "autodiscover"):
            autodiscover(sizes, directory)
        for shape in SHAPES:
            if options.only in (None, shape):
                poll(sizes, directory, shape)


if __name__ == "__main__":
    main()
