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
from functools import lru_cache

MD5 = "MD5"
SHA_256 = "SHA-256"

NONCE_RANDOM_BYTES = 12
"""Random bytes that `make_nonce` needs."""

_HASHES = {MD5: hashlib.md5, SHA_256: hashlib.sha256}
_PARAMETER = re.compile(
    r'[ \t]*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s",]*))[ \t]*(?:,[ \t,]*|\Z)')
# nothing in it goes back: to search what does not match it would take time by the square of its length
_PARAMETERS = re.compile(
    r'(?:[ \t]*+[!#$%&\'*+.^_`|~0-9A-Za-z-]++[ \t]*+=[ \t]*+'
    r'(?:"(?:[^"\\]|\\.)*+"|[^\s",]*+)[ \t]*+(?:,[ \t,]*+|\Z))*+')
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
    written, values = _parameters(parameters)
    if "username*" in values or values.get("userhash", "").lower() == "true":
        raise DigestError("an encoded or hashed user name, which is not supported")
    missing = [name for name in _REQUIRED if not values.get(name)]
    if missing:
        raise DigestError(f"no {' and no '.join(missing)}")
    algorithm = values.get("algorithm", MD5).upper()
    if algorithm not in _HASHES:
        raise DigestError(f"algorithm {algorithm[:20]!r}; expected MD5 or SHA-256")
    if values["qop"].lower() != "auth":
        raise DigestError(f"qop {values['qop'][:20]!r}; expected auth")
    if not _COUNT.fullmatch(values["nc"]) or int(values["nc"], 16) == 0:
        raise DigestError(f"nc {values['nc'][:20]!r}; expected up to 8 hexadecimal digits, from 1 on")
    return DigestCredentials(
        usernames=tuple(dict.fromkeys((written["username"], values["username"]))), realm=values["realm"],
        nonce=values["nonce"], uri=values["uri"], response=values["response"], algorithm=algorithm,
        qop=values["qop"], nc=values["nc"], cnonce=values["cnonce"])


def _parameters(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Every parameter as it stands and unescaped, by its name in lower case."""
    text = text.strip(" \t,")
    if not _PARAMETERS.fullmatch(text):
        raise DigestError("a parameter that cannot be read")
    found = _PARAMETER.findall(text)
    if len(found) > _PARAMETERS_LIMIT:
        raise DigestError("too many parameters")
    written = {name.lower(): quoted or plain for name, quoted, plain in found}
    if len(written) < len(found):
        names = [name.lower() for name, _, _ in found]
        twice = next(name for name in names if names.count(name) > 1)
        raise DigestError(f"parameter {twice[:20]!r} twice")
    if "\\" not in text:
        return written, written
    return written, {name.lower(): _ESCAPED.sub(r"\1", quoted) or plain for name, quoted, plain in found}


def proven_secret(credentials: DigestCredentials, *, password: str, method: str) -> bytes:
    """What of the password these credentials of a request of this method prove that they know, for `is_proven`;
    empty where they do not, after a time that tells nothing.

    :raises ValueError: this system refuses the algorithm, as MD5 under FIPS.
    """
    proven = b""
    for username in credentials.usernames:
        for encoded in _encodings(password):
            secret = _digest(credentials.algorithm, _sent(username), _sent(credentials.realm), encoded)
            if is_proven(credentials, secret, method=method):
                proven = secret
    return proven


def is_proven(credentials: DigestCredentials, secret: bytes, *, method: str) -> bool:
    """Whether `credentials` for a request of this method are made with a secret: the digest of user name, realm
    and password (RFC 7616, section 3.4.2). The time that it takes tells nothing."""
    right = _digest(credentials.algorithm, secret, _sent(credentials.nonce), _sent(credentials.nc),
                    _sent(credentials.cnonce), _sent(credentials.qop),
                    _of_request(credentials.algorithm, method, credentials.uri))
    return hmac.compare_digest(_sent(credentials.response.lower()), right)


def _encodings(password: str) -> tuple[bytes, ...]:
    """The bytes of a password: UTF-8, and what older clients make of it."""
    encoded = password.encode("utf-8", "surrogateescape")
    try:
        return tuple(dict.fromkeys((encoded, password.encode("latin-1"))))
    except UnicodeEncodeError:
        return (encoded,)


@lru_cache(maxsize=64)  # nearly all ask for the same
def _of_request(algorithm: str, method: str, uri: str) -> bytes:
    return _digest(algorithm, _sent(method), _sent(uri))


def _digest(algorithm: str, *parts: bytes) -> bytes:
    return _HASHES[algorithm](b":".join(parts)).hexdigest().encode()


def _sent(text: str) -> bytes:
    return text.encode("latin-1", "replace")


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
    return hmac.digest(secret, f"otjd digest nonce {stem}".encode(), "sha256").hex()[:32]


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

    def made(self, nonce: str) -> datetime | None:
        """When a nonce was made that is remembered; None for any other."""
        used = self._used.get(nonce)
        return used[0] if used is not None else None

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
    return uri == target or _path(uri) == _path(target)


def _path(target: str) -> str:
    path = re.sub(r"\A[A-Za-z][A-Za-z0-9+.-]*://[^/?]*", "", target) or "/"
    path = re.sub(r"%([0-9A-Fa-f]{2})", lambda m: chr(int(m[1], 16)), path)
    return (path if path.startswith("/") else f"/{path}").lower()
