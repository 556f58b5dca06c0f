"""Who may sign in to a simulated Exchange: Basic, NTLM for a connection, and bearer tokens that expire.

Wrong passwords are counted, and an account with too many in a row is locked: then the right one does not help.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from ntlm_auth.constants import AvId

from otjd.protocol import ntlm
from otjd.simulate.exchange_settings import ExchangeSettings, ServiceAccount

_NO_BINDINGS = bytes(16)


@dataclass(slots=True)
class Connection:
    """What a connection carries from one request to the next."""

    negotiate: bytes = b""
    challenge: bytes = b""
    account: ServiceAccount | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """Who sends a request, if that is clear; else with which challenges it is refused."""

    account: ServiceAccount | None = None
    challenges: tuple[str, ...] = ()
    is_leg: bool = False


def channel_binding(certificate_pem: bytes) -> bytes:
    """What a client of NTLM over TLS names of the server's certificate (RFC 5929 `tls-server-end-point`, in the
    gss_channel_bindings_struct of RFC 2744, by its MD5)."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    algorithm = certificate.signature_hash_algorithm
    if algorithm is None or isinstance(algorithm, hashes.MD5 | hashes.SHA1):
        algorithm = hashes.SHA256()
    digest = hashes.Hash(algorithm)
    digest.update(certificate.public_bytes(serialization.Encoding.DER))
    data = b"tls-server-end-point:" + digest.finalize()
    return hashlib.md5(bytes(16) + len(data).to_bytes(4, "little") + data, usedforsecurity=False).digest()


class Access:
    """Judges the Authorization of requests.

    `attempts` counts passwords and tokens that were tried, by user name, `refused` those that were wrong;
    `handshakes` counts those of NTLM that were begun, `unbound` those that were meant for another TLS connection.
    `binding` is the channel binding of the certificate, empty without TLS.
    """

    def __init__(self, settings: ExchangeSettings, *, now: Callable[[], datetime],
                 random_bytes: Callable[[int], bytes]) -> None:
        self._settings = settings
        self._now = now
        self._random_bytes = random_bytes
        self._hashes: dict[str, bytes] = {}
        self._tokens: dict[str, tuple[ServiceAccount, datetime]] = {}
        self._wrong: Counter[str] = Counter()
        self.accounts = list(settings.accounts)
        self.attempts: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.handshakes = 0
        self.unbound = 0
        self.binding = b""

    def is_locked(self, username: str) -> bool:
        """Whether this account had too many wrong passwords."""
        return self._wrong[username] >= self._settings.lockout_attempts

    def unlock(self, username: str) -> None:
        """Let this account sign in again."""
        self._wrong.pop(username, None)

    def change_password(self, username: str, password: str) -> None:
        """Give an account another password; connections that are signed in stay so."""
        self.accounts = [ServiceAccount(a.username, password, a.rooms) if a.username == username else a
                         for a in self.accounts]
        self._hashes.clear()

    def issue_token(self, username: str, life: timedelta | None = None) -> str:
        """A bearer token of an account, good for `life` or as the settings say."""
        account = next(a for a in self.accounts if a.username == username)
        token = base64.urlsafe_b64encode(self._random_bytes(48)).decode("ascii")
        self._tokens[token] = (account, self._now() + (self._settings.token_life if life is None else life))
        return token

    def revoke_tokens(self) -> None:
        """Let no token be good any more."""
        self._tokens.clear()

    def challenges(self) -> tuple[str, ...]:
        """The WWW-Authenticate lines of a 401."""
        lines = {"negotiate": "Negotiate", "ntlm": "NTLM", "basic": 'Basic realm="exchange.example.com"',
                 "bearer": 'Bearer client_id="00000002-0000-0ff1-ce00-000000000000", '
                           'trusted_issuers="", token_types="app_asserted_user_v1"'}
        return tuple(lines[scheme] for scheme in self._settings.schemes)

    def judge(self, authorization: str, connection: Connection) -> Judged:
        """Who sends a request with this header, empty where there is none."""
        scheme, _, rest = authorization.partition(" ")
        known = scheme.lower()
        if not authorization and connection.account is not None:
            return Judged(connection.account)
        if known not in self._settings.schemes:
            return Judged(challenges=self.challenges())
        if known == "basic":
            return self._basic(rest)
        return self._bearer(rest.strip()) if known == "bearer" else self._ntlm(scheme, rest, connection)

    def _basic(self, credentials: str) -> Judged:
        try:
            username, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return Judged(challenges=self.challenges())
        domain, _, user = username.rpartition("\\")
        account = self._find(user, domain)
        right = account is not None and hmac.compare_digest(password.encode(), account.password.encode())
        return self._judged(account, username, right=right)

    def _bearer(self, token: str) -> Judged:
        account, expires = self._tokens.get(token, (None, self._now()))
        name = account.username if account is not None else "bearer"
        self.attempts[name] += 1
        if account is not None and self._now() < expires:
            return Judged(account)
        self.refused[name] += 1
        reason = "The token has expired." if account is not None else "The token is invalid."
        lines = (line if not line.startswith("Bearer") else
                 f'{line}, error="invalid_token", error_description="{reason}"' for line in self.challenges())
        return Judged(challenges=tuple(lines))

    def _ntlm(self, scheme: str, credentials: str, connection: Connection) -> Judged:
        negotiate, challenge = connection.negotiate, connection.challenge
        connection.negotiate = connection.challenge = b""
        connection.account = None
        try:
            message = base64.b64decode(credentials, validate=True)
            if ntlm.message_type(message) == ntlm.NEGOTIATE:
                self.handshakes += 1
                connection.negotiate = message
                connection.challenge = ntlm.write_challenge(
                    ntlm.read_negotiate(message), self._random_bytes(ntlm.CHALLENGE_BYTES), self._now(),
                    ntlm.ServerNames("EXAMPLE", "EX01", "example.com", "ex01.example.com"))
                line = f"{scheme} {base64.b64encode(connection.challenge).decode('ascii')}"
                return Judged(challenges=(line,), is_leg=True)
            if not challenge:
                return Judged(challenges=self.challenges())
            given = ntlm.read_authenticate(message, challenge)
        except (ntlm.NtlmError, binascii.Error, ValueError):
            return Judged(challenges=self.challenges())
        account = self._find(given.username, given.domain)
        right = account is not None and ntlm.is_right(
            given, self._hash(account), negotiate_message=negotiate, challenge_message=challenge)
        if right and not self._is_bound(given):  # SEC_E_BAD_BINDINGS, which locks nobody
            self.unbound += 1
            return Judged(challenges=self.challenges())
        judged = self._judged(account, given.username, right=right)
        connection.account = judged.account
        return judged

    def _is_bound(self, given: ntlm.Authenticate) -> bool:
        """Whether the client means this TLS connection, as far as Extended Protection asks for it."""
        named = given.attributes.get(AvId.MSV_AV_CHANNEL_BINDINGS, _NO_BINDINGS)
        if self._settings.extended_protection == "none" or not self.binding:
            return True
        if named == _NO_BINDINGS:
            return self._settings.extended_protection == "allow"
        return hmac.compare_digest(named, self.binding)

    def _judged(self, account: ServiceAccount | None, username: str, *, right: bool) -> Judged:
        name = account.username if account is not None else username
        self.attempts[name] += 1
        if account is not None and right and not self.is_locked(name):
            self._wrong.pop(name, None)
            return Judged(account)
        self.refused[name] += 1
        if account is not None and not right:
            self._wrong[name] += 1
        return Judged(challenges=self.challenges())

    def _find(self, username: str, domain: str) -> ServiceAccount | None:
        return next((a for a in self.accounts if a.is_called(username, domain)), None)

    def _hash(self, account: ServiceAccount) -> bytes:
        if account.username not in self._hashes:
            self._hashes[account.username] = ntlm.nt_hash(account.password)
        return self._hashes[account.username]
