"""The node itself and what it listens on: [node], [log], [calendar_service], [operator], [web_proxy]."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from otjd.config.keys import key
from otjd.config.secret import Secret
from otjd.config.shapes import INTERFACE, KEY_256, NAME, PROXY, VERSION, Network

LOG_LEVELS = ("debug", "info", "warn", "error", "critical")
LOG_FORMATS = ("text", "json")
AUTHENTICATION_SCHEMES = ("digest", "ntlm", "basic")
TLS_VERSIONS = ("1.0", "1.1", "1.2", "1.3")
TOKEN_LINE_ENDINGS = ("crlf", "lf")
TOKEN_FORMS = ("alias", "split")
TOKEN_WRAP_LIMITS = (0, 1000)
INVITATION_TEXTS = ("drop", "append", "keep")
LOWEST_TLS = "The lowest version of TLS that is accepted."


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """This node."""

    name: str = field(default="otj1", metadata=key("Name of the node, unique in its location.",
                                                   longest=250, shape=NAME))
    location: str = field(default="", metadata=key(
        "Where the node is. It serves the endpoint groups of this location and those without one; empty: all.",
        longest=250, shape=NAME))
    state_dir: Path = field(default=Path("/var/lib/otjd"), metadata=key(
        "Folder of the last known meetings and OAuth refresh tokens, made with mode 0700."))
    state_key: Secret = field(default=Secret(), metadata=key(
        "Key that encrypts OAuth refresh tokens in `state_dir`, as `openssl rand -base64 32` makes one; empty: "
        "they are not encrypted.", longest=64, shape=KEY_256))
    fips: bool = field(default=False, metadata=key(
        "Basic only for Poly endpoints, no Digest, no NTLM (HDX cannot connect then)."))


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What is logged, and how."""

    level: str = field(default="info", metadata=key("The least important events that are written.",
                                                    choices=LOG_LEVELS))
    format: str = field(default="text", metadata=key("Lines to read, or one JSON event a line.",
                                                     choices=LOG_FORMATS))
    file: Path | None = field(default=None, metadata=key("File to write to; empty: what twistd decides."))
    wire: bool = field(default=False, metadata=key(
        "Write calendar-service requests and answers in full, credentials removed, to a file for each endpoint."))
    wire_directory: Path | None = field(default=None, metadata=key(
        "Folder of these files, made with mode 0700; empty: `wire` in `node.state_dir`."))
    wire_size_mb: int = field(default=10, metadata=key(
        "How large such a file may grow before a new one is begun.", unit="megabytes", limits=(1, 10_000)))
    wire_files: int = field(default=3, metadata=key(
        "How many of them are kept of an endpoint, the one that is written included.", limits=(1, 100)))
    wire_endpoints: tuple[str, ...] = field(default=(), metadata=key(
        "Names of the endpoints whose requests are written; empty: all. Requests without a login always are.",
        shape=NAME))


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """An address that Poly endpoints connect to. Several may be open at once, each with its own floor of TLS."""

    address: str = field(default="0.0.0.0", metadata=key(  # noqa: S104 - endpoints come from outside
        "Address to listen on.", shape=INTERFACE))
    port: int = field(default=443, metadata=key("Port; 0 lets the system choose one.", limits=(0, 65535)))
    certificate: tuple[Path, ...] = field(default=(), metadata=key(
        "PEM file of the certificate, followed by those of its intermediate authorities; several, each with "
        "another kind of key (RSA, EC), for clients that take only one of them. Needed unless `plaintext` is "
        "true.",
        or_one=True))
    private_key: tuple[Path, ...] = field(default=(), metadata=key(
        "PEM file of the certificate's private key, not encrypted; of several certificates in the same order. "
        "Needed unless `plaintext` is true.", or_one=True))
    minimum_tls: str = field(default="1.2", metadata=key(
        f'{LOWEST_TLS} "1.0" belongs on a second listener for old HDX, Group and Trio.', choices=TLS_VERSIONS))
    plaintext: bool = field(default=False, metadata=key(
        "Without TLS; only for use behind a proxy that ends TLS."))
    proxy_protocol: bool = field(default=False, metadata=key(
        "Every connection begins with a header of the PROXY protocol, version 1 or 2, of one of "
        "`trusted_proxies`; all others are closed."))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client, and all of them together, may take of the calendar service. A reload changes them for
    requests and connections from then on.
    """

    body_bytes: int = field(default=1024 * 1024, metadata=key(
        "Longest body of a request.", unit="bytes", limits=(16 * 1024, 64 * 1024 * 1024)))
    header_bytes: int = field(default=16 * 1024, metadata=key(
        "Longest request line and headers, together.", unit="bytes", limits=(4 * 1024, 1024 * 1024)))
    headers: int = field(default=100, metadata=key("Headers of a request.", unit="headers", limits=(20, 1000)))
    xml_depth: int = field(default=64, metadata=key(
        "Levels of elements in a request.", unit="levels", limits=(16, 200)))
    xml_elements: int = field(default=20_000, metadata=key(
        "Elements in a request.", unit="elements", limits=(200, 1_000_000)))
    ids_per_request: int = field(default=1000, metadata=key(
        "Items that one request may ask for.", unit="items", limits=(1, 10_000)))
    request_s: int = field(default=30, metadata=key(
        "How long a request may take to arrive, from its first byte to its last; before the first one, how long a "
        "client may take to agree on TLS.", unit="seconds",
        limits=(1, 600)))
    idle_s: int = field(default=120, metadata=key(
        "How long a connection may be silent. NTLM clients sign in anew on each, so keep it above the interval in "
        "which endpoints ask.", unit="seconds", limits=(5, 86_400)))
    connections: int = field(default=20_000, metadata=key(
        "Connections in total; more are closed at once. The open files that the system allows may be fewer.",
        unit="connections", limits=(10, 200_000)))
    connections_per_address: int = field(default=10_000, metadata=key(
        "Connections of one address, or of one network of 64 bits with IPv6; those of `trusted_proxies` are not "
        "counted. Endpoints behind one NAT share theirs.", unit="connections", limits=(1, 200_000)))


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinDetailsByFamily:
    """Templates of the meeting body for the endpoints of one `poly_family`, in place of `join_details`."""

    auto: Path | None = field(default=None, metadata=key("For endpoints of which no family is told."))
    hdx: Path | None = field(default=None, metadata=key("For HDX."))
    group: Path | None = field(default=None, metadata=key("For RealPresence Group."))
    trio: Path | None = field(default=None, metadata=key("For Trio."))
    videoos: Path | None = field(default=None, metadata=key("For Studio X and G7500."))
    debut: Path | None = field(default=None, metadata=key("For Debut."))


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarService:
    """What Poly endpoints connect to: a small Exchange server with their room's meetings."""

    authentication: tuple[str, ...] = field(default=("digest", "ntlm"), metadata=key(
        "HTTP authentication schemes, offered in this order.", choices=AUTHENTICATION_SCHEMES, needed=True))
    trusted_proxies: tuple[Network, ...] = field(default=(), metadata=key(
        "Networks of load balancers whose `X-Forwarded-For`, and header of the PROXY protocol, is believed."))
    throttle_failed_logins: bool = field(default=True, metadata=key(
        "Slow down an address that keeps failing to log in; false for test benches."))
    digest_sha256: bool = field(default=False, metadata=key(
        "Send a second Digest challenge, for clients that prefer SHA-256 to MD5."))
    server_version: str = field(default="15.1.2507.6", metadata=key(
        "Version of Exchange that is reported in ServerVersionInfo.", shape=VERSION))
    tolerate_unknown_versions: bool = field(default=False, metadata=key(
        "Answer a RequestServerVersion that Exchange does not know, where Exchange sends a fault."))
    subscriptions_per_user: int = field(default=20, metadata=key(
        "How many subscriptions to notifications an endpoint may have at a time.", limits=(1, 5000)))
    streams_per_user: int = field(default=10, metadata=key(
        "How many connections an endpoint may hold open for streaming notifications.", limits=(1, 100)))
    join_details: Path | None = field(default=None, metadata=key(
        "Jinja2 template of the meeting body that Poly endpoints read; empty: the built-in one of their family."))
    join_details_by_family: JoinDetailsByFamily = field(default_factory=JoinDetailsByFamily, metadata=key(
        "Templates for single families."))
    token_form: str = field(default="alias", metadata=key(
        "What the Polycom token says: the whole alias as the number to dial, or prefix, number and domain apart.",
        choices=TOKEN_FORMS))
    token_line_ending: str = field(default="crlf", metadata=key(
        "The line ends inside the Polycom token.", choices=TOKEN_LINE_ENDINGS))
    token_wrap: int = field(default=0, metadata=key(
        "How long a line of the Polycom token is; 0: all on one line.", unit="characters",
        limits=TOKEN_WRAP_LIMITS))
    invitation_text: str = field(default="drop", metadata=key(
        "The text of the invitation: left out, appended to the join details, or kept in their place.",
        choices=INVITATION_TEXTS))
    limits: Limits = field(default_factory=Limits, metadata=key("What clients may take."))
    listeners: tuple[Listener, ...] = field(default=(), metadata=key(
        "Addresses to listen on; at least one as soon as there is a Poly endpoint."))


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Status pages, JSON, metrics and sign-in for those who run the node."""

    address: str = field(default="127.0.0.1", metadata=key("Address to listen on.", shape=INTERFACE))
    port: int = field(default=8080, metadata=key("Port; 0 lets the system choose one.", limits=(0, 65535)))
    username: str = field(default="", metadata=key(
        "User name to ask for; needed unless the address is loopback.", longest=150, shape=NAME))
    password: Secret = field(default=Secret(), metadata=key(
        "Password to ask for; needed unless the address is loopback.", longest=250))
    status_file: Path | None = field(default=None, metadata=key(
        "Also write `/status.json` to this file every 10 seconds, atomically; empty: do not."))
    certificate: Path | None = field(default=None, metadata=key(
        "PEM file of a certificate with its chain; empty: plain HTTP."))
    private_key: Path | None = field(default=None, metadata=key(
        "PEM file of the certificate's private key, not encrypted."))
    minimum_tls: str = field(default="1.2", metadata=key(LOWEST_TLS, choices=TLS_VERSIONS))


@dataclass(frozen=True, slots=True, kw_only=True)
class WebProxy:
    """The proxy for all outbound requests of this location."""

    url: Secret = field(default=Secret(), metadata=key(
        "URL of the proxy, with user name and password where it asks for them; empty: none.",
        longest=255, shape=PROXY))
