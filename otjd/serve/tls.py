"""TLS of the calendar service: what a listener's connections are made of, and when its certificate ends."""

from __future__ import annotations

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
_PIECE = 8192
_RELEASE_BUFFERS = SSL.MODE_RELEASE_BUFFERS  # idle connections hold none
_OPTIONS = SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE | _NO_RENEGOTIATION


class CertificateError(ValueError):
    """A certificate or key that cannot be used; the text names the file and what is wrong with it."""


class _Connection(SSL.Connection):
    """Takes answers in pieces: OpenSSL's buffer grows to the largest, and never shrinks while the client stays."""

    def send(self, buf: Any, flags: int = 0) -> int:
        """Take the first piece of `buf`; gives its length."""
        return super().send(buf[:_PIECE], flags)


@implementer(IOpenSSLServerConnectionCreator)
class ReloadingContextFactory:
    """What `reactor.listenSSL` is given: new connections use the files as they were when last read.

    `certificate` is a PEM file of the server's certificate followed by its chain, `private_key` that of its key,
    `minimum_tls` one of 1.0, 1.1, 1.2 and 1.3.

    :raises CertificateError: a file cannot be used.
    """

    def __init__(self, certificate: Path, private_key: Path, *, minimum_tls: str = "1.2") -> None:
        self._certificate = certificate
        self._private_key = private_key
        self._minimum_tls = minimum_tls
        self._read()

    @property
    def certificate_end(self) -> datetime:
        """When the first certificate in use, the server's or one of its chain, ends; aware UTC."""
        return self._end

    def reload(self) -> None:
        """Read the files again, for connections from now on.

        :raises CertificateError: a file cannot be used; what was read before stays in use.
        """
        self._read()

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: ARG002
        """A new connection; without ALPN, so that every client speaks HTTP/1.1."""
        return _Connection(self._context, None)

    def _read(self) -> None:
        chain = _chain(self._certificate)
        context = _context(chain, self._certificate, self._private_key, self._minimum_tls)
        self._end = min(c.not_valid_after_utc for c in chain)
        self._context: Any = context


def certificate_end(path: Path) -> datetime:
    """When the first certificate of a PEM file, the server's or one of its chain, ends; aware UTC.

    :raises CertificateError: the file cannot be read or holds no certificate.
    """
    return min(c.not_valid_after_utc for c in _chain(path))


def _context(chain: list[x509.Certificate], certificate: Path, private_key: Path, minimum_tls: str) -> Any:
    context: Any = SSL.Context(SSL.TLS_SERVER_METHOD)  # the types that are published for it are of an old version
    context.set_min_proto_version(_VERSIONS[minimum_tls])
    legacy = minimum_tls in ("1.0", "1.1")
    # before the certificate: an old one with a short key is for level 0 only
    context.set_cipher_list((_LEGACY_CIPHERS if legacy else _CIPHERS).encode())
    context.set_options(_OPTIONS)
    context.set_mode(_RELEASE_BUFFERS)
    context.set_session_id(b"otjd")  # resumption by id; tickets are on by default
    try:
        context.use_certificate(chain[0])
        for issuer in chain[1:]:
            context.add_extra_chain_cert(issuer)
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
    return context


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
