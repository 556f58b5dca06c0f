"""The client's side of HTTP Digest, NTLM and Basic, as a simulated endpoint logs in.

An own computation, apart from the server's: a mistake that both had in common would go unnoticed.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from Cryptodome.Hash import MD4
from ntlm_auth.ntlm import NtlmContext

SchemeName = Literal["digest", "ntlm", "basic"]

_PARAMETER = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_ESCAPED = re.compile(r"\\(.)")


class LoginFailed(Exception):  # noqa: N818 - the server's answer, in the words of the user's side
    """The server does not let this user in, or not by this scheme."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a request carries as Authorization (None: nothing).

    A `probe` can bring no more than a challenge: it goes with an empty body, as libcurl does it.
    """

    authorization: str | None
    is_probe: bool = False


class Login(Protocol):
    """A way to log in. `challenges` are the values of the WWW-Authenticate lines of a 401."""

    def opening(self, method: str, target: str) -> Step:
        """For a request before any challenge."""
        ...

    def response(self, challenges: Sequence[str], method: str, target: str) -> Step:
        """For the request that answers a 401.

        :raises LoginFailed: there is nothing more to try.
        """
        ...

    def accepted(self) -> None:
        """The server has let a request in."""
        ...

    def disconnected(self) -> None:
        """The connection is gone: forget what belonged to it."""
        ...


def challenge_of(challenges: Sequence[str], scheme: str) -> str | None:
    """What follows the scheme's name in the first line that begins with it; None where none does."""
    for line in challenges:
        name, _, rest = line.strip().partition(" ")
        if name.lower() == scheme.lower():
            return rest.strip()
    return None


def _not_offered(challenges: Sequence[str], scheme: str) -> LoginFailed:
    names = ", ".join(line.split(" ", 1)[0] for line in challenges) or "nothing"
    return LoginFailed(f"the server does not offer {scheme}; it offers {names}")


class BasicLogin:
    """Basic, sent from the first challenge on with every request."""

    def __init__(self, username: str, password: str) -> None:
        token = base64.b64encode(f"{username}:{password}".encode()).decode()
        self._header = f"Basic {token}"
        self._challenged = False
        self._sent = False

    def opening(self, method: str, target: str) -> Step:  # noqa: ARG002
        """The credentials once they were asked for."""
        self._sent = self._challenged
        return Step(self._header if self._challenged else None)

    def response(self, challenges: Sequence[str], method: str, target: str) -> Step:  # noqa: ARG002
        """The credentials, once."""
        if self._sent:
            self._challenged = self._sent = False
            raise LoginFailed("the server refuses this user name or password")
        if challenge_of(challenges, "Basic") is None:
            raise _not_offered(challenges, "Basic")
        self._challenged = self._sent = True
        return Step(self._header)

    def accepted(self) -> None:
        """Let the next request begin anew."""
        self._sent = False

    def disconnected(self) -> None:
        """Let the next request begin anew."""
        self._sent = False


class DigestLogin:
    """Digest with MD5 and `qop=auth`, or without qop where the server knows none (RFC 7616, RFC 2617, RFC 2069).

    A nonce is used on with a rising count until the server calls it stale.
    """

    def __init__(self, username: str, password: str, random_bytes: Callable[[int], bytes]) -> None:
        self._username = username
        self._password = password
        self._random_bytes = random_bytes
        self._challenge: dict[str, str] | None = None
        self._count = 0
        self._sent = False

    def opening(self, method: str, target: str) -> Step:
        """An answer to the last challenge, where there is one."""
        self._sent = self._challenge is not None
        if self._challenge is None:
            return Step(None, is_probe=True)
        return Step(self._answer(self._challenge, method, target))

    def response(self, challenges: Sequence[str], method: str, target: str) -> Step:
        """An answer to the first challenge with MD5."""
        found = self._read(challenges)
        if self._sent and found.get("stale", "").lower() != "true":
            self._challenge, self._sent = None, False
            raise LoginFailed("the server refuses this user name or password")
        self._challenge, self._count, self._sent = found, 0, True
        return Step(self._answer(found, method, target))

    def accepted(self) -> None:
        """Let the next request begin with this nonce."""
        self._sent = False

    def disconnected(self) -> None:
        """Let the next request begin with this nonce: it is not bound to a connection."""
        self._sent = False

    def _read(self, challenges: Sequence[str]) -> dict[str, str]:
        for line in challenges:
            rest = challenge_of([line], "Digest")
            if rest is None:
                continue
            found = {m[1].lower(): _ESCAPED.sub(r"\1", m[2]) if m[2] is not None else m[3]
                     for m in _PARAMETER.finditer(rest)}
            if found.get("algorithm", "MD5").upper() != "MD5":
                continue
            if "nonce" not in found or "realm" not in found:
                raise LoginFailed("the Digest challenge has no realm or no nonce")
            if "qop" in found and "auth" not in re.split(r"[\s,]+", found["qop"]):
                raise LoginFailed(f"the Digest challenge has qop {found['qop']!r}, not auth")
            return found
        raise _not_offered(challenges, "Digest with MD5")

    def _answer(self, challenge: dict[str, str], method: str, target: str) -> str:
        self._count += 1
        realm, nonce = challenge["realm"], challenge["nonce"]
        secret = _md5(f"{self._username}:{realm}:{self._password}")
        request = _md5(f"{method}:{target}")
        quoted = {"username": self._username, "realm": realm, "nonce": nonce, "uri": target}
        plain: dict[str, str] = {}
        if "qop" in challenge:
            cnonce, count = self._random_bytes(16).hex(), f"{self._count:08x}"
            quoted["cnonce"], plain = cnonce, {"nc": count, "qop": "auth"}
            quoted["response"] = _md5(f"{secret}:{nonce}:{count}:{cnonce}:auth:{request}")
        else:
            quoted["response"] = _md5(f"{secret}:{nonce}:{request}")
        if "opaque" in challenge:
            quoted["opaque"] = challenge["opaque"]
        if "algorithm" in challenge:
            plain["algorithm"] = challenge["algorithm"]
        fields = [f'{name}="{_escape(value)}"' for name, value in quoted.items()]
        return "Digest " + ", ".join([*fields, *(f"{name}={value}" for name, value in plain.items())])


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def nt_hash(password: str) -> str:
    """The password in the form `LM:NT` that ntlm-auth takes in place of it; the LM part, unused, is zeros."""
    digest = MD4.new(password.encode("utf-16-le")).hexdigest()  # noqa: S303 - what NTLM is made of
    return f"{'0' * 32}:{digest}"


class NtlmLogin:
    """NTLMv2. The handshake authenticates the connection: later requests on it carry no Authorization."""

    def __init__(self, username: str, password: str, domain: str = "") -> None:
        self._username = username
        self._hash = nt_hash(password)
        self._domain = domain
        self._context: NtlmContext | None = None
        self._finished = False
        self.is_established = False

    def opening(self, method: str, target: str) -> Step:  # noqa: ARG002
        """The first message where the connection is not authenticated yet."""
        return Step(None) if self.is_established else self._negotiate()

    def response(self, challenges: Sequence[str], method: str, target: str) -> Step:  # noqa: ARG002
        """The third message to a second one; the first where the server has forgotten the connection."""
        offered = challenge_of(challenges, "NTLM")
        if self._finished or offered is None:
            self.disconnected()
            raise (_not_offered(challenges, "NTLM") if offered is None
                   else LoginFailed("the server refuses this user name or password"))
        if not offered:
            if self._context is not None:
                self.disconnected()
                raise LoginFailed("the server asks for NTLM again in place of a challenge")
            return self._negotiate()
        if self._context is None:
            raise LoginFailed("the server sends an NTLM challenge before it was asked for one")
        try:
            token = self._context.step(base64.b64decode(offered, validate=True))
        except Exception as error:  # whatever the library makes of a broken message
            self.disconnected()
            raise LoginFailed(f"the server's NTLM challenge cannot be read: {error!r}") from error
        self._finished = True
        return Step(f"NTLM {base64.b64encode(token).decode()}")

    def accepted(self) -> None:
        """The connection is authenticated, if a handshake was completed on it."""
        self.is_established = self.is_established or self._finished
        self._context, self._finished = None, False

    def disconnected(self) -> None:
        """Begin the next connection with a handshake."""
        self._context, self._finished, self.is_established = None, False, False

    def _negotiate(self) -> Step:
        self.disconnected()
        self._context = NtlmContext(self._username, self._hash, domain=self._domain, ntlm_compatibility=3)
        return Step(f"NTLM {base64.b64encode(self._context.step()).decode()}", is_probe=True)


def login_by(scheme: SchemeName, username: str, password: str, *, domain: str,
             random_bytes: Callable[[int], bytes]) -> Login:
    """The login of a scheme; where the scheme has no field for a domain, it goes before the user name."""
    if scheme == "ntlm":
        return NtlmLogin(username, password, domain)
    full = f"{domain}\\{username}" if domain else username
    return DigestLogin(full, password, random_bytes) if scheme == "digest" else BasicLogin(full, password)
