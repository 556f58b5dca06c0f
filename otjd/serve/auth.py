"""Authenticator: who sends a request, by the schemes that the node and its endpoints allow."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from twisted.logger import Logger

from otjd.serve.accounts import Accounts
from otjd.serve.calls import Account
from otjd.serve.schemes import Basic, Connection, Digest, Login, Ntlm, Scheme, Verdict

REALM = "otjd"
"""Never to be changed: it is part of what Digest clients hash, and of what they remember."""

SCHEMES = ("digest", "ntlm", "basic")
_NEED_MD5 = ("digest", "ntlm")
_SCHEME_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Accepted:
    """The request comes from `account`, by `scheme`; `headers` go with its answer."""

    account: Account
    scheme: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """The request is answered 401 with `challenges`, one WWW-Authenticate line each.

    `reason`, for the log alone, is empty where nothing was wrong: no credentials yet, or a handshake under way.
    `endpoint` is the one whose user name was given. `is_failure`: the credentials were wrong, which counts
    against the address.
    """

    challenges: tuple[str, ...]
    scheme: str = ""
    reason: str = ""
    endpoint: str = ""
    is_failure: bool = False


def md5_is_refused() -> bool:
    """Whether this system refuses MD5, as under FIPS: neither Digest nor NTLM can be computed then."""
    try:
        hashlib.md5(b"")  # noqa: S324 - only asked whether it is there
    except ValueError:
        return True
    return False


class Authenticator:
    """Judges the credentials of requests.

    `schemes` are those of the node, in the order in which they are offered; accounts may allow others, which are
    offered too, because who logs in is not known before. With `fips`, or where the system refuses MD5, Basic alone
    is left. `secret` seals nonces: nodes that share it accept each other's.
    """

    _log = Logger()

    def __init__(self, accounts: Iterable[Account], *, schemes: Sequence[str], fips: bool = False,
                 digest_sha256: bool = False, secret: bytes, now: Callable[[], datetime],
                 random_bytes: Callable[[int], bytes], realm: str = REALM) -> None:
        self._basic = Basic(realm)
        self._digest = Digest(realm, secret=secret, now=now, random_bytes=random_bytes)
        self._ntlm = Ntlm(now=now, random_bytes=random_bytes)
        self.reconfigure(accounts, schemes=schemes, fips=fips, digest_sha256=digest_sha256)

    def reconfigure(self, accounts: Iterable[Account], *, schemes: Sequence[str], fips: bool = False,
                    digest_sha256: bool = False) -> None:
        """Let these accounts and schemes take over; nonces and connections that are still right stay so.

        :raises ValueError: a scheme is unknown; then nothing changes.
        """
        found = Accounts(accounts)
        known: dict[str, Scheme] = {s.name: s for s in (self._digest, self._ntlm, self._basic)}
        offered = tuple(dict.fromkeys((*schemes, *(s for a in found for s in a.schemes))))
        unknown = [s for s in offered if s not in known]
        if unknown:
            raise ValueError(f"unknown authentication scheme {unknown[0]!r}; expected one of {', '.join(SCHEMES)}")
        self._accounts = found
        self._node_schemes = tuple(schemes)
        self._fips = fips
        if not fips and md5_is_refused() and set(offered) & set(_NEED_MD5):
            self._log.warn("This system refuses MD5, so neither Digest nor NTLM is offered to Poly endpoints; set "
                           "[node] fips = true, or leave the FIPS mode of the system")
            self._fips = True
        self._schemes = {"basic": known["basic"]} if self._fips else {s: known[s] for s in offered}
        self._digest.sha256 = digest_sha256
        if "ntlm" in self._schemes:
            self._ntlm.hold(self._accounts)

    def judge(self, authorization: str | None, connection: Connection, *, method: str, target: str,
              address: str) -> Accepted | Refused:
        """Who sends a request with this Authorization header, None where there is none.

        All texts are decoded as Latin-1. `connection` is kept by the caller as long as the transport lives.
        """
        scheme_name, _, credentials = (authorization or "").strip(" \t").partition(" ")
        if not scheme_name or not credentials.strip():
            return self._judge_connection(connection, address)
        connection.forget()
        name = scheme_name.lower()
        scheme = self._schemes.get(name)
        if scheme is None:
            connection.handshake = None
            reason = f"scheme {scheme_name[:_SCHEME_SHOWN]!r}, which is not offered"
            return Refused(self._challenges(), reason=reason)
        login = Login(method=method, target=target, credentials=credentials.strip(" \t"), address=address)
        outcome = self._outcome(name, scheme.verdict(login, connection, self._accounts))
        if isinstance(outcome, Accepted) and name == "ntlm":
            connection.account, connection.address = outcome.account, address
        return outcome

    def _outcome(self, scheme: str, verdict: Verdict) -> Accepted | Refused:
        endpoint = verdict.account.endpoint if verdict.account else ""
        if verdict.challenges:
            return Refused(verdict.challenges, scheme)
        if verdict.stale:
            return Refused(self._challenges(stale=scheme), scheme, endpoint=endpoint)
        if verdict.account is None or not verdict.right:
            return Refused(self._challenges(), scheme, verdict.reason, endpoint, is_failure=True)
        if scheme not in self._allowed(verdict.account):
            reason = f"scheme {scheme}, which this endpoint may not use"
            return Refused(self._challenges(), scheme, reason, endpoint, is_failure=True)
        return Accepted(verdict.account, scheme, verdict.headers)

    def _judge_connection(self, connection: Connection, address: str) -> Accepted | Refused:
        """A request without credentials: the connection may be signed in by NTLM."""
        signed_in = connection.account
        if signed_in is not None:
            account = self._accounts.find(signed_in.username)
            # the configuration may have changed, and a proxy must not lend one client's connection to another
            if (account is not None and account.username == signed_in.username
                    and account.password == signed_in.password and connection.address == address
                    and "ntlm" in self._schemes and "ntlm" in self._allowed(account)):
                return Accepted(account, "ntlm")
            connection.forget()
        return Refused(self._challenges())

    def _allowed(self, account: Account) -> tuple[str, ...]:
        return ("basic",) if self._fips else account.schemes or self._node_schemes

    def _challenges(self, *, stale: str = "") -> tuple[str, ...]:
        return tuple(line for name, scheme in self._schemes.items()
                     for line in scheme.challenges(stale=name == stale))
