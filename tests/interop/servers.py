"""Servers of other makes, started as their own processes, and TLS before those that have none."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import deferLater
from twisted.protocols.portforward import ProxyClientFactory, ProxyFactory, ProxyServer

from tests.end_to_end.world import free_port
from tests.outbound.servers import Certificates, reactor

MODULES = Path(__file__).parent / "node_modules"
START_LIMIT_S = 90.0
END_LIMIT_S = 10.0


def node(package: str, file: str) -> list[str]:
    """The command that runs a file of an npm package; where it cannot be run, the test is skipped."""
    return [_program("node"), str(_installed(package) / file)]


def jar(package: str, file: str) -> list[str]:
    """The command that runs a jar file of an npm package; where it cannot be run, the test is skipped."""
    return [_program("java"), "-jar", str(_installed(package) / file)]


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def _installed(package: str) -> Path:
    path = MODULES / package
    if not path.is_dir():
        pytest.skip(f"the npm package {package} is not installed: make interop")
    return path


def free_ports(count: int) -> int:
    """The first of so many ports in a row that are free."""
    for _ in range(100):
        first = free_port()
        if all(_is_free(first + n) for n in range(count)):
            return first
    raise AssertionError(f"there are no {count} free ports in a row")


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


@contextmanager
def started(command: list[str], *ports: int, log: Path) -> Iterator[None]:
    """The program runs, in the directory of its log, and listens on all of these ports."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                   cwd=log.parent)
    try:
        limit = time.monotonic() + START_LIMIT_S
        for port in ports:
            while not _answers(port):
                said = log.read_text(errors="replace")[-2000:]
                assert process.poll() is None, f"{command} ended:\n{said}"
                assert time.monotonic() < limit, f"{command} does not listen on port {port}:\n{said}"
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class _Inside(ProxyClientFactory):
    noisy = False


class _Front(ProxyServer):
    clientProtocolFactory = _Inside  # noqa: N815


@asynccontextmanager
async def tls_before(port: int, certificates: Certificates) -> AsyncIterator[int]:
    """A port with TLS whose bytes go to a port without, and back, as they are."""
    factory: Any = ProxyFactory("127.0.0.1", port)
    factory.protocol = _Front
    factory.noisy = False
    listening = reactor.listenSSL(0, factory, certificates.options(), interface="127.0.0.1")
    try:
        yield listening.getHost().port
    finally:
        await listening.stopListening()
        await deferLater(reactor, 0.02)  # connections that were closed say so
