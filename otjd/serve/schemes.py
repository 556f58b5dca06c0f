"""The HTTP authentication schemes: Digest, NTLM and Basic, each from a header's credentials to a Verdict.

An unknown user costs what a wrong password costs: the same is computed with a password that nobody has.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from otjd.protocol import digest, ntlm
from otjd.serve.accounts import Accounts
from otjd.serve.calls import Account

NONCE_LIFETIME = timedelta(minutes=5)
NONCE_SKEW = timedelta(minutes=1)
"""How far the clocks of two nodes may be apart."""

NAME_SHOWN = 150
"""Characters of a user name that are logged, which is as many as the longest has."""


@dataclass(slots=True)
class Handshake:
    """What NTLM has agreed on with a connection so far: its type 1 and type 2 messages."""

    negotiate: bytes
    challenge: bytes


@dataclass(frozen=True, slots=True)
class Proven:
    """What an account's Digest credentials proved last, and in which form: it spares them a part of the way."""

    account: Account
    usernames: tuple[str, ...]
    algorithm: str
    secret: bytes = field(repr=False)


@dataclass(slots=True)
class Connection:
    """What a connection carries from one request to the next. NTLM authenticates it as a whole, for `address`;
    Digest does not: with it `proven` is no more than a shorter way to the same verdict."""

    handshake: Handshake | None = None
    account: Account | None = None
    address: str = ""
    proven: Proven | None = None

    def forget(self) -> None:
        """Let nobody be signed in."""
        self.account = None


@dataclass(frozen=True, slots=True)
class Login:
    """What a request says of who sends it. `target` is the target of the request line, `credentials` what follows
    the name of the scheme; both, like `method`, are decoded as Latin-1."""

    method: str
    target: str
    credentials: str = field(repr=False)
    address: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of credentials: they are `right`, or not for `reason`, or `challenges` ask for the next leg.

    `account` is the one whose name was given. `stale`: the password is right, only the nonce has to be renewed.
    `headers` go with the answer to right credentials.
    """

    account: Account | None = None
    right: bool = False
    stale: bool = False
    reason: str = ""
    challenges: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()


class Scheme(Protocol):
    """One scheme; `name` as the configuration has it."""

    name: str

    def challenges(self, *, stale: bool = False) -> tuple[str, ...]:
        """The values of its WWW-Authenticate lines."""
        ...

    def verdict(self, login: Login, connection: Connection, accounts: Accounts) -> Verdict:
        """Judge credentials of this scheme."""
        ...


def refused(accounts: Accounts, account: Account | None, username: str, domain: str = "") -> Verdict:
    """The verdict on a wrong password or an unknown name; the reason is for the operator's log alone."""
    if account is not None:
        return Verdict(account, reason="wrong password")
    similar = accounts.similar(username, domain)
    shown = f"{domain}\\{username}" if domain else username
    hint = f'; letter case counts, the account is "{similar}"' if similar else ""
    return Verdict(reason=f'unknown user name "{shown[:NAME_SHOWN]}"{hint}')


class Basic:
    """RFC 7617, of use under TLS only."""

    name = "basic"

    def __init__(self, realm: str) -> None:
        self._realm = realm

    def challenges(self, *, stale: bool = False) -> tuple[str, ...]:  # noqa: ARG002
        """One line."""
        return (f'Basic realm="{self._realm}"',)

    def verdict(self, login: Login, connection: Connection, accounts: Accounts) -> Verdict:  # noqa: ARG002
        """Judge a user name and password."""
        try:
            decoded = base64.b64decode(login.credentials.encode("latin-1"), validate=True)
        except (binascii.Error, ValueError):
            return Verdict(reason="malformed Basic credentials: not Base64")
        username, colon, password = _readable(decoded).partition(":")
        if not colon:
            return Verdict(reason="malformed Basic credentials: no colon")
        account = accounts.find(username)
        expected = account.password if account is not None else ""
        same = _same(password, expected)
        if account is not None and same:
            return Verdict(account, right=True)
        return refused(accounts, account, username)


def _readable(data: bytes) -> str:
    """Text of a client, which does not say what encoding it uses."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _same(given: str, expected: str) -> bool:
    # digests are of one length: the comparison tells nothing about the secret's
    def hashed(text: str) -> bytes:
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()

    return hmac.compare_digest(hashed(given), hashed(expected))


class Digest:
    """RFC 7616 with MD5, and SHA-256 where `sha256`, each on its own line."""

    name = "digest"

    def __init__(self, realm: str, *, secret: bytes, now: Callable[[], datetime],
                 random_bytes: Callable[[int], bytes], sha256: bool = False) -> None:
        self._realm = realm
        self._secret = secret
        self._now = now
        self._random_bytes = random_bytes
        self._nobody = random_bytes(16).hex()
        self._nobodys_secret = self._nobody.encode()
        self._counts = digest.NonceCounts(NONCE_LIFETIME)
        self.sha256 = sha256

    def challenges(self, *, stale: bool = False) -> tuple[str, ...]:
        """One line an algorithm, MD5 first: clients that read one line alone take the first or the last."""
        nonce = digest.make_nonce(self._secret, self._now(), self._random_bytes(digest.NONCE_RANDOM_BYTES))
        return tuple(digest.challenge(realm=self._realm, nonce=nonce, algorithm=algorithm, stale=stale)
                     for algorithm in self._algorithms())

    def verdict(self, login: Login, connection: Connection, accounts: Accounts) -> Verdict:
        """Judge a response to a nonce that any node with our secret made."""
        try:
            given = digest.read_credentials(login.credentials)
        except digest.DigestError as error:
            return Verdict(reason=f"malformed Digest credentials: {error}")
        fault = self._fault(given, login)
        if fault:
            return Verdict(reason=f"malformed Digest credentials: {fault}")
        names = [name if name.isascii() else _readable(name.encode("latin-1", "replace"))
                 for name in given.usernames]
        account = next(filter(None, map(accounts.find, names)), None)
        if not self._is_right(given, account, login.method, connection) or account is None:
            return refused(accounts, account, names[-1])
        if not self._is_fresh(given):
            return Verdict(account, stale=True, reason="nonce expired or used before")
        return Verdict(account, right=True)

    def _is_right(self, given: digest.DigestCredentials, account: Account | None, method: str,
                  connection: Connection) -> bool:
        """The short way first, and the whole way after it: also for those who have no short way, as it would tell
        them apart."""
        proven = connection.proven
        if proven is not None and (proven.account is not account or proven.usernames != given.usernames
                                   or proven.algorithm != given.algorithm):
            proven = None
        secret = self._nobodys_secret if proven is None else proven.secret
        if digest.is_proven(given, secret, method=method) and proven is not None:
            return True
        password = self._nobody if account is None else account.password
        secret = digest.proven_secret(given, password=password, method=method)
        if account is None or not secret:
            return False
        connection.proven = Proven(account, given.usernames, given.algorithm, secret)
        return True

    def _fault(self, given: digest.DigestCredentials, login: Login) -> str:
        if given.realm != self._realm:
            return f'realm "{given.realm[:NAME_SHOWN]}"; expected "{self._realm}"'
        if given.algorithm not in self._algorithms():
            return f"algorithm {given.algorithm}, which is not offered"
        if not digest.names_same_target(given.uri, login.target):
            return f'uri "{given.uri[:NAME_SHOWN]}", which is not the target of the request'
        return ""

    def _algorithms(self) -> tuple[str, ...]:
        return (digest.MD5, digest.SHA_256) if self.sha256 else (digest.MD5,)

    def _is_fresh(self, given: digest.DigestCredentials) -> bool:
        made = self._counts.made(given.nonce) or digest.nonce_time(self._secret, given.nonce)
        now = self._now()
        if made is None or not -NONCE_SKEW <= now - made <= NONCE_LIFETIME:
            return False
        return self._counts.use(given.nonce, made, given.count, now)


class Ntlm:
    """NTLMv2 ([MS-NLMP]) over HTTP ([MS-NTHT]): type 1, type 2, type 3 on one connection, which then stays
    signed in."""

    name = "ntlm"

    def __init__(self, *, now: Callable[[], datetime], random_bytes: Callable[[int], bytes]) -> None:
        self._now = now
        self._random_bytes = random_bytes
        self._nobody = random_bytes(16)
        self._hashes: dict[str, bytes] = {}

    def challenges(self, *, stale: bool = False) -> tuple[str, ...]:  # noqa: ARG002
        """One line, in capitals: some clients compare with letter case."""
        return ("NTLM",)

    def hold(self, accounts: Accounts) -> None:
        """Compute the NT hashes of `accounts`, in place of those held before."""
        self._hashes = {a.username: ntlm.nt_hash(a.password) for a in accounts}

    def verdict(self, login: Login, connection: Connection, accounts: Accounts) -> Verdict:
        """Take a handshake one leg further."""
        handshake, connection.handshake = connection.handshake, None
        try:
            message = base64.b64decode(login.credentials.encode("latin-1"), validate=True)
            if ntlm.message_type(message) == ntlm.NEGOTIATE:
                challenge = ntlm.write_challenge(ntlm.read_negotiate(message),
                                                 self._random_bytes(ntlm.CHALLENGE_BYTES), self._now())
                connection.handshake = Handshake(message, challenge)
                return Verdict(challenges=(f"NTLM {base64.b64encode(challenge).decode()}",))
            if handshake is None:
                return Verdict(reason="an NTLM answer on a connection that was not asked; does a proxy share "
                                      "connections?")
            answer = ntlm.read_authenticate(message, handshake.challenge)
        except ntlm.NtlmError as error:
            return Verdict(reason=f"malformed NTLM credentials: {error}")
        except (binascii.Error, ValueError):
            return Verdict(reason="malformed NTLM credentials: not Base64")
        account = accounts.find(answer.username, answer.domain)
        password_hash = self._nobody if account is None else self._hashes.get(account.username, self._nobody)
        right = ntlm.is_right(answer, password_hash, negotiate_message=handshake.negotiate,
                              challenge_message=handshake.challenge)
        if account is None or not right:
            return refused(accounts, account, answer.username, answer.domain)
        return Verdict(account, right=True, headers=(("Persistent-Auth", "true"),))
