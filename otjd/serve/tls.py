"""TLS of the calendar service: what a listener's connections are made of, and when its certificate ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

_VERSIONS = {"1.0": SSL.TLS1_VERSION, "1.1": SSL.TLS1_1_VERSION, "1.2": SSL.TLS1_2_VERSION,
             "1.3": SSL.TLS1_3_VERSION}

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES256:ECDHE+AES128:!aNULL:!eNULL:!MD5:!3DES"
"""Forward secrecy only, for TLS 1.2; those of TLS 1.3 are OpenSSL's own."""

_LEGACY_CIPHERS = f"{_CIPHERS}:AES256-GCM-SHA384:AES128-GCM-SHA256:AES256-SHA:AES128-SHA:@SECLEVEL=0"
"""For TLS 1.0 and 1.1, whose signatures with SHA-1 newer OpenSSL allows at security level 0 only."""

_NO_RENEGOTIATION = 1 << 30  # SSL_OP_NO_RENEGOTIATION, which not every pyOpenSSL names
_RELEASE_BUFFERS = SSL.MODE_RELEASE_BUFFERS  # idle connections hold none
_OPTIONS = SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE | _NO_RENEGOTIATION


Stamp = tuple[tuple[int, int, int] | None, ...]
"""Time of the last change, size and inode of each file; None for one that cannot be seen."""


@dataclass(frozen=True, slots=True)
class Readings:
    """Certificates and keys as they were read, and when the first certificate ends."""

    context: Any
    end: datetime
    stamp: Stamp


class CertificateError(ValueError):
    """A certificate or key that cannot be used; the text names the file and what is wrong with it."""


@implementer(IOpenSSLServerConnectionCreator)
class ReloadingContextFactory:
    """What `reactor.listenSSL` is given: new connections use the files as they were when last read.

    `pairs` are PEM files of the server's certificate followed by its chain, each with that of its key; of several,
    each of another kind, such as RSA and EC, a client gets the one that it can check. `minimum_tls` is one of 1.0,
    1.1, 1.2 and 1.3.

    :raises CertificateError: a file cannot be used.
    """

    def __init__(self, *pairs: tuple[Path, Path], minimum_tls: str = "1.2") -> None:
        self._pairs = pairs
        self._minimum_tls = minimum_tls
        self._in_use = self.read()

    @property
    def certificate_end(self) -> datetime:
        """When the first certificate in use, the server's or one of its chain, ends; aware UTC."""
        return self._in_use.end

    @property
    def stamp(self) -> Stamp:
        """The state of the files when they were last read with success."""
        return self._in_use.stamp

    def stamp_now(self) -> Stamp:
        """The state of the files now; looks at the disk."""
        return tuple(_stamp(path) for pair in self._pairs for path in pair)

    def read(self) -> Readings:
        """Read the files, without using them yet; may run in a thread.

        :raises CertificateError: a file cannot be used.
        """
        stamp = self.stamp_now()  # before the content: a change during the reading is seen as one
        chains = [_chain(certificate) for certificate, _ in self._pairs]
        context = _context(chains, self._pairs, self._minimum_tls)
        return Readings(context, min(c.not_valid_after_utc for chain in chains for c in chain), stamp)

    def use(self, readings: Readings) -> None:
        """Use what was read, for connections from now on."""
        self._in_use = readings

    def reload(self) -> None:
        """Read the files again, for connections from now on.

        :raises CertificateError: a file cannot be used; what was read before stays in use.
        """
        self.use(self.read())

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: ARG002
        """A new connection; without ALPN, so that every client speaks HTTP/1.1."""
        return SSL.Connection(self._in_use.context, None)


def certificate_end(path: Path) -> datetime:
    """When the first certificate of a PEM file, the server's or one of its chain, ends; aware UTC.

    :raises CertificateError: the file cannot be read or holds no certificate.
    """
    return min(c.not_valid_after_utc for c in _chain(path))


def _context(chains: Sequence[Sequence[x509.Certificate]], pairs: Sequence[tuple[Path, Path]],
             minimum_tls: str) -> Any:
    context: Any = SSL.Context(SSL.TLS_SERVER_METHOD)  # the types that are published for it are of an old version
    context.set_min_proto_version(_VERSIONS[minimum_tls])
    legacy = minimum_tls in ("1.0", "1.1")
    # before the certificate: an old one with a short key is for level 0 only
    context.set_cipher_list((_LEGACY_CIPHERS if legacy else _CIPHERS).encode())
    context.set_options(_OPTIONS)
    context.set_mode(_RELEASE_BUFFERS)
    context.set_session_id(b"otjd")  # resumption by id; tickets are on by default
    kinds: dict[type, Path] = {}
    for chain, (certificate, private_key) in zip(chains, pairs, strict=True):
        before = kinds.setdefault(type(chain[0].public_key()), certificate)
        if before is not certificate:
            raise CertificateError(f"{certificate} has a key of the same kind as {before}; expected one of each "
                                   "kind, such as RSA and EC")
        _use(context, certificate, private_key)
    return context


def _use(context: Any, certificate: Path, private_key: Path) -> None:
    try:
        context.use_certificate_chain_file(str(certificate))  # each kind with a chain of its own
    except SSL.Error as error:
        raise CertificateError(f"{certificate} cannot be used: {_reason(error)}; expected a certificate with an "
                               "RSA key of 2048 bits or more, or an EC key") from None
    key = _key(private_key)
    try:
        context.use_privatekey(key)
        context.check_privatekey()
    except (SSL.Error, TypeError) as error:
        raise CertificateError(f"{private_key} is not the key of the first certificate in {certificate}: "
                               f"{_reason(error)}; the server's own certificate comes first") from None


def _chain(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_content(path))
    except ValueError as error:
        if isinstance(error, CertificateError):
            raise
        raise CertificateError(f"{path} holds no certificate; expected a PEM file with the server's certificate "
                               "and its chain") from None


def _key(path: Path) -> Any:
    try:
        key = serialization.load_pem_private_key(_content(path), password=None)
    except TypeError:
        raise CertificateError(f"{path} is encrypted; expected a key without passphrase, as openssl pkey "
                               "makes it") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        if isinstance(error, CertificateError):
            raise
        raise CertificateError(f"{path} holds no private key; expected a PEM file with one") from None
    return key


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}") from None


def _reason(error: Exception) -> str:
    """The last words of OpenSSL's error, which come as a list of (library, function, reason)."""
    if isinstance(error, SSL.Error) and error.args and error.args[0]:
        return str(error.args[0][-1][-1])
    return str(error) or "no reason is given"
