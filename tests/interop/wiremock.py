"""A WireMock with TLS of its own, told by its admin API what to answer, and what was asked of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509 import load_pem_x509_certificates

from otjd.outbound.client import HttpClient
from tests.end_to_end.world import free_port
from tests.interop.servers import jar, started
from tests.outbound.servers import Certificates

_PASSWORD = "of-the-test"


@contextmanager
def wiremock(directory: Path, certificates: Certificates) -> Iterator[tuple[int, int]]:
    """Its ports for HTTPS and for its admin API."""
    command = jar("wiremock", "build/wiremock-standalone-3.13.2.jar")
    store = directory / "server.p12"
    key: Any = load_pem_private_key(certificates.pem, None)
    certificate, *others = load_pem_x509_certificates(certificates.pem)
    store.write_bytes(pkcs12.serialize_key_and_certificates(
        b"server", key, certificate, others, BestAvailableEncryption(_PASSWORD.encode())))
    https, admin = free_port(), free_port()
    with started([*command, "--port", str(admin), "--https-port", str(https), "--bind-address", "127.0.0.1",
                  "--https-keystore", str(store), "--keystore-type", "PKCS12", "--keystore-password", _PASSWORD,
                  "--key-manager-password", _PASSWORD, "--root-dir", str(directory), "--disable-banner"],
                 https, admin, log=directory / "wiremock.log"):
        yield https, admin


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    method: str
    url: str
    headers: dict[str, str]
    body: str

    @property
    def path(self) -> str:
        return urlsplit(self.url).path


class WireMock:
    """Tells a WireMock what to answer, the last word first."""

    def __init__(self, http: HttpClient, admin_port: int) -> None:
        self._http = http
        self._admin = f"http://127.0.0.1:{admin_port}/__admin"

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self._http.request(method, f"{self._admin}/{path}",
                                          headers={"Content-Type": "application/json"},
                                          body=None if body is None else json.dumps(body).encode())
        assert answer.status in (200, 201), answer.body
        return json.loads(answer.body or b"null")

    async def reset(self) -> None:
        """Forget what was told, and what was asked."""
        await self._ask("POST", "reset", {})

    async def answers(self, method: str, path: str, body: Any = None, *, status: int = 200, once: str = "",
                      query: dict[str, str] | None = None, headers: dict[str, str] | None = None,
                      **how: Any) -> None:
        """Answer requests of this path, with these in their query; `once`: only the first one of this name, then
        as was told before. `how` is as WireMock's documents have it."""
        request: dict[str, Any] = {"method": method, "urlPath": path}
        if query:
            request["queryParameters"] = {name: {"matches": value} for name, value in query.items()}
        response = {"status": status, "headers": {"Content-Type": "application/json", **(headers or {})}, **how}
        if body is not None:
            response["jsonBody"] = body
        scenario = {"scenarioName": once, "requiredScenarioState": "Started", "newScenarioState": "over"}
        await self._ask("POST", "mappings", {"request": request, "response": response,
                                             **(scenario if once else {})})

    async def asked(self) -> list[Asked]:
        """What was asked, in order; what was unexpected as well."""
        found = await self._ask("GET", "requests")
        return [Asked(one["method"], one["url"], {k.lower(): v for k, v in one["headers"].items()}, one["body"])
                for one in (entry["request"] for entry in reversed(found["requests"]))]
