"""What `otjd check --live` found of one thing, and the commands that show or mend why a server does not answer."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from enum import StrEnum

_SERVER = re.compile(r"https?://(?:\[[0-9a-fA-F:]+\]|[\w.-]+)(?::\d+)?")


class State(StrEnum):
    """What came of a check."""

    OK = "ok"
    FAILED = "failed"
    UNTESTED = "untested"
    """It cannot be contacted from here."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `hint` says what to do; it may be there for what works, too."""

    what: str
    name: str
    address: str
    state: State
    found: str
    hint: str = ""

    def as_json(self) -> dict[str, str]:
        """The members of the JSON object of this row."""
        return asdict(self)


def network_hint(error: str, *, trust: str) -> str:
    """How to look into why a server did not answer; `trust` is how it is made trusted.

    `error` is the text of an error that names the server as a URL; without one there is nothing to say.
    """
    server = _SERVER.search(error)
    if server is None:
        return ""
    url = server[0]
    scheme, _, place = url.partition("://")
    host, _, port = place.rpartition(":") if re.search(r":\d+$", place) else (place, "", "")
    port = port or ("443" if scheme == "https" else "80")
    if "web proxy" in error:
        return "correct [web_proxy] url, or set disable_proxy where the proxy is not needed"
    if "certificate" in error or "TLS" in error:
        return f"{trust}; which certificate comes: openssl s_client -connect {host}:{port} -showcerts </dev/null"
    if "DNS" in error:
        return f"correct the host name, or this machine's DNS: getent hosts {host}"
    if "refused" in error or "no connection" in error or "no route" in error:
        return f"correct host and port, or open the firewall from this machine: nc -vz {host} {port}"
    return f"see what answers there: curl -v {url}/"
