"""HTTP Digest authentication, the server's side (RFC 7616; RFC 2617 for MD5), as values without I/O.

Texts are header texts as the wire has them, decoded as Latin-1, so that every byte that a client hashed is kept. A
nonce is stateless: it holds its time and a keyed hash of it, so every node that knows the secret can verify it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

MD5 = "MD5"
SHA_256 = "SHA-256"

NONCE_RANDOM_BYTES = 12
"""Random bytes that `make_nonce` needs."""

_HASHES = {MD5: "md5", SHA_256: "sha256"}
_PARAMETER = re.compile(
    r'[ \t]*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s",]*))[ \t]*(?:,[ \t,]*|\Z)')
_REQUIRED = ("username", "realm", "nonce", "uri", "response", "qop", "nc", "cnonce")
_NONCE = re.compile(r"([0-9a-f]{12})[0-9a-f]{24}([0-9a-f]{32})")
_COUNT = re.compile(r"[0-9A-Fa-f]{1,8}")
_PARAMETERS_LIMIT = 32
_ESCAPED = re.compile(r"\\(.)")


class DigestError(ValueError):
    """Credentials that cannot be read or are of a kind that is not accepted; the text says which."""


@dataclass(frozen=True, slots=True)
class DigestCredentials:
    """What an Authorization header of scheme Digest holds.

    `usernames` are the readings of the user name: clients do not agree on whether to escape the backslash of
    `DOMAIN\\user`, so it is read as it stands and unescaped. `nc` is the text that was hashed, `count` its value.
    """

    usernames: tuple[str, ...]
    realm: str
    nonce: str
    uri: str
    response: str = field(repr=False)
    algorithm: str
    qop: str
    nc: str
    cnonce: str

    @property
    def count(self) -> int:
        """How often the client says it has used the nonce, from 1 on."""
        return int(self.nc, 16)


def challenge(*, realm: str, nonce: str, algorithm: str = MD5, stale: bool = False) -> str:
    """The value of a WWW-Authenticate line; each algorithm needs a line of its own, with the same parameters."""
    text = f'Digest realm="{realm}", nonce="{nonce}", qop="auth", algorithm={algorithm}'
    return f"{text}, stale=true" if stale else text


def read_credentials(parameters: str) -> DigestCredentials:
    """Read what follows `Digest ` in an Authorization header; names in any order and letter case, quoted or not.

    :raises DigestError: it is malformed, or asks for something other than qop=auth with MD5 or SHA-256.
    """
    found = _parameters(parameters)
    if "username*" in found or found.get("userhash", ("", ""))[1].lower() == "true":
        raise DigestError("an encoded or hashed user name, which is not supported")
    missing = [name for name in _REQUIRED if not found.get(name, ("", ""))[1]]
    if missing:
        raise DigestError(f"no {' and no '.join(missing)}")
    values = {name: value for name, (_, value) in found.items()}
    algorithm = values.get("algorithm", MD5).upper()
    if algorithm not in _HASHES:
        raise DigestError(f"algorithm {algorithm[:20]!r}; expected MD5 or SHA-256")
    if values["qop"].lower() != "auth":
        raise DigestError(f"qop {values['qop'][:20]!r}; expected auth")
    if not _COUNT.fullmatch(values["nc"]) or int(values["nc"], 16) == 0:
        raise DigestError(f"nc {values['nc'][:20]!r}; expected up to 8 hexadecimal digits, from 1 on")
    return DigestCredentials(
        usernames=tuple(dict.fromkeys(found["username"])), realm=values["realm"], nonce=values["nonce"],
        uri=values["uri"], response=values["response"], algorithm=algorithm, qop=values["qop"],
        nc=values["nc"], cnonce=values["cnonce"])


def _parameters(text: str) -> dict[str, tuple[str, str]]:
    """Every parameter as it stands and unescaped, by its name in lower case."""
    found: dict[str, tuple[str, str]] = {}
    text = text.strip(" \t,")
    position = 0
    while position < len(text):
        match = _PARAMETER.match(text, position)
        if match is None:
            raise DigestError("a parameter that cannot be read")
        name, quoted, plain = match[1].lower(), match[2], match[3]
        if name in found:
            raise DigestError(f"parameter {name[:20]!r} twice")
        if len(found) == _PARAMETERS_LIMIT:
            raise DigestError("too many parameters")
        written = plain if quoted is None else quoted
        found[name] = (written, _ESCAPED.sub(r"\1", written) if quoted and "\\" in quoted else written)
        position = match.end()
    return found


def is_right(credentials: DigestCredentials, *, password: str, method: str) -> bool:
    """Whether `credentials` prove the password for a request of this method, in time that tells nothing.

    :raises ValueError: this system refuses the algorithm, as MD5 under FIPS.
    """
    given = credentials.response.lower().encode("latin-1", "replace")
    right = False
    for username in credentials.usernames:
        for secret in _encodings(password):
            expected = _response(credentials, username.encode("latin-1", "replace"), secret, method)
            right |= hmac.compare_digest(given, expected.encode())
    return right


def _encodings(password: str) -> tuple[bytes, ...]:
    """The bytes of a password: UTF-8, and what older clients make of it."""
    encoded = password.encode("utf-8", "surrogateescape")
    try:
        return tuple(dict.fromkeys((encoded, password.encode("latin-1"))))
    except UnicodeEncodeError:
        return (encoded,)


def _response(credentials: DigestCredentials, username: bytes, password: bytes, method: str) -> str:
    """The right response (RFC 7616, section 3.4.1)."""
    def digest(*parts: bytes) -> bytes:
        return hashlib.new(_HASHES[credentials.algorithm], b":".join(parts)).hexdigest().encode()

    def sent(text: str) -> bytes:
        return text.encode("latin-1", "replace")

    secret = digest(username, sent(credentials.realm), password)
    request = digest(sent(method), sent(credentials.uri))
    return digest(secret, sent(credentials.nonce), sent(credentials.nc), sent(credentials.cnonce),
                  sent(credentials.qop), request).decode()


def make_nonce(secret: bytes, now: datetime, random: bytes) -> str:
    """A fresh nonce, from NONCE_RANDOM_BYTES random bytes; `now` is aware."""
    stem = f"{int(now.timestamp()):012x}{random[:NONCE_RANDOM_BYTES].hex()}"
    return stem + _seal(secret, stem)


def nonce_time(secret: bytes, nonce: str) -> datetime | None:
    """When a nonce was made, to the second; None for one that was not made with this secret."""
    match = _NONCE.fullmatch(nonce)
    if match is None or not hmac.compare_digest(_seal(secret, nonce[:36]), match[2]):
        return None
    return datetime.fromtimestamp(int(match[1], 16), UTC)


def _seal(secret: bytes, stem: str) -> str:
    return hmac.new(secret, f"otjd digest nonce {stem}".encode(), hashlib.sha256).hexdigest()[:32]


class NonceCounts:
    """Which counts were used with which nonces, so that no request can be replayed.

    Counts may skip, and may arrive up to `WINDOW` behind the highest, as from several connections at once. At most
    `limit` nonces are remembered, each for `lifetime`; when there are more, the oldest no longer count as fresh.
    """

    WINDOW = 128

    def __init__(self, lifetime: timedelta, limit: int = 50_000) -> None:
        self._lifetime = lifetime
        self._limit = limit
        self._used: OrderedDict[str, tuple[datetime, int, int]] = OrderedDict()
        self._forgotten = datetime.min.replace(tzinfo=UTC)

    def __len__(self) -> int:
        return len(self._used)

    def use(self, nonce: str, made: datetime, count: int, now: datetime) -> bool:
        """Note a use of `nonce`, which was made at `made`; False if this count was used, or may have been."""
        self._forget(now)
        if nonce not in self._used and made <= self._forgotten:
            return False
        _, highest, window = self._used.get(nonce, (made, 0, 0))
        ahead = count - highest
        if ahead > 0:
            window = ((window << ahead) | 1) % (1 << self.WINDOW) if ahead < self.WINDOW else 1
            highest = count
        elif -ahead >= self.WINDOW or window >> -ahead & 1:
            return False
        else:
            window |= 1 << -ahead
        self._used[nonce] = (made, highest, window)
        return True

    def _forget(self, now: datetime) -> None:
        while self._used:
            nonce, (made, _, _) = next(iter(self._used.items()))
            if now - made <= self._lifetime and len(self._used) < self._limit:
                return
            del self._used[nonce]
            self._forgotten = max(self._forgotten, made)


def names_same_target(uri: str, target: str) -> bool:
    """Whether the `uri` of credentials and the target of a request line are one address.

    Either may be absolute; letter case and percent-encoding count for nothing, as in our own paths.
    """
    return _path(uri) == _path(target)


def _path(target: str) -> str:
    path = re.sub(r"\A[A-Za-z][A-Za-z0-9+.-]*://[^/?]*", "", target) or "/"
    path = re.sub(r"%([0-9A-Fa-f]{2})", lambda m: chr(int(m[1], 16)), path)
    return (path if path.startswith("/") else f"/{path}").lower()
