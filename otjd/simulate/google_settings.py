"""How a simulated Google is set up: who may sign in, what it enforces, and what goes wrong with it on command."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, generate_private_key

from otjd.simulate.faults import Striking

Role = Literal["none", "freeBusyReader", "reader", "writerWithoutPrivateAccess", "writer", "owner"]

TOKEN_URI = "https://oauth2.googleapis.com/token"

FaultKind = Literal["error", "stall", "slow", "reset", "truncated", "html"]
"""What can go wrong with a request.

`error`: the error of the fault's status and reason; `stall`: never answered; `slow`: answered after a while;
`reset`: the connection is reset; `truncated`: the answer breaks off in its middle; `html`: a page with the status
of the fault in place of JSON, as what stands between client and server sends it.
"""


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A service account. `delegated` are the users in whose name it may act (domain-wide delegation)."""

    email: str
    key_id: str
    public_key: RSAPublicKey = field(repr=False)
    delegated: frozenset[str] = frozenset()


def make_service_account(email: str, token_uri: str = TOKEN_URI, *,
                         delegated: frozenset[str] = frozenset()) -> tuple[ServiceAccount, str]:
    """A service account with a new key, and its key file as JSON, as the console lets one download it."""
    private_key = generate_private_key(public_exponent=65537, key_size=2048)
    pem = private_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                    serialization.NoEncryption())
    public_key = private_key.public_key()
    key_id = f"{public_key.public_numbers().n % (1 << 160):040x}"
    key_file = {
        "type": "service_account", "project_id": email.partition("@")[2].partition(".")[0],
        "private_key_id": key_id, "private_key": pem.decode(), "client_email": email,
        "client_id": str(int(key_id, 16) % 10 ** 21), "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": token_uri, "universe_domain": "googleapis.com"}
    return ServiceAccount(email, key_id, public_key, delegated), json.dumps(key_file, indent=2) + "\n"


def service_account_of(key_file: str) -> ServiceAccount:
    """The service account of a key file that `make_service_account` made.

    :raises ValueError: it is none.
    """
    try:
        values = json.loads(key_file)
        key = serialization.load_pem_private_key(values["private_key"].encode(), password=None)
        email, key_id = str(values["client_email"]), str(values["private_key_id"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no key file of a service account: {error}") from None
    public_key = key.public_key()
    if not isinstance(public_key, RSAPublicKey):
        raise ValueError("no key file of a service account: its key is no RSA key")  # noqa: TRY004 - a file
    return ServiceAccount(email, key_id, public_key)


@dataclass(frozen=True, slots=True)
class ConsentClient:
    """An OAuth client of an application to which `user` gives consent, without being asked."""

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uris: tuple[str, ...]
    user: str


@dataclass(frozen=True, slots=True)
class Quotas:
    """Requests in any 60 seconds, None: unlimited. What is beyond is refused with status `refusal`.

    `per_user` counts for each `quotaUser`, and for who signed in where there is none.
    """

    per_user: int | None = 600
    per_project: int | None = 10_000
    refusal: Literal[403, 429] = 403


UNLIMITED = Quotas(None, None)


@dataclass(frozen=True, slots=True)
class Push:
    """How notifications of changes are delivered: each after `delay_s` (shortest, longest), `copies` of it.

    `dropped` is the share of messages that get lost, in [0, 1). A receiver that answers 500 to 504 is tried
    `attempts` times in all, each time after twice the time of the one before, from `retry_s` on.
    """

    delay_s: tuple[float, float] = (0.0, 0.0)
    dropped: float = 0.0
    copies: int = 1
    attempts: int = 5
    retry_s: float = 1.0
    default_life: timedelta = timedelta(seconds=604_800)
    longest_life: timedelta = timedelta(days=30)
    free_busy_reader_may_watch: bool = False


@dataclass(frozen=True, slots=True)
class GoogleSettings:
    """What a simulated Google is like.

    `default_role` is that of all who sign in, for rooms that are not shared by another. `latency_s` are the
    shortest and the longest time of an answer. `short_pages` is the share of pages that are not filled, some of
    them empty, though more follow. `free_busy_range` is the longest that may be asked for. `attendees` are listed
    with each event, besides the room and the organizer. `time_zone` is that of all calendars.
    """

    service_accounts: tuple[ServiceAccount, ...] = ()
    consent_clients: tuple[ConsentClient, ...] = ()
    quotas: Quotas = Quotas()
    push: Push = Push()
    default_role: Role = "reader"
    latency_s: tuple[float, float] = (0.0, 0.0)
    token_life: timedelta = timedelta(seconds=3599)
    sync_token_life: timedelta = timedelta(days=7)
    short_pages: float = 0.0
    free_busy_range: timedelta = timedelta(days=90)
    attendees: int = 0
    time_zone: str = "UTC"


@dataclass(slots=True)
class Fault(Striking[FaultKind]):
    """A fault to have. Operations are `events.list`, `events.watch`, `freebusy.query`, `channels.stop`, `token`
    and `auth`; the first two have a `room`, in lower case. `slow` takes `delay_s` longer."""

    status: int = 503
    reason: str = "backendError"
    delay_s: float = 60.0
