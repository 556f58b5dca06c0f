"""TLS towards servers whose certificates are verified: this machine's trust roots and a CA file besides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet._sslverify import IOpenSSLTrustRoot  # no public way adds to the machine's own
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import TLSVersion, optionsForClientTLS
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from otjd.outbound.errors import RequestError

HOSTS_KEPT = 64
"""Hosts whose TLS settings are kept: to read all trust roots takes milliseconds."""


@implementer(IPolicyForHTTPS)
class VerifiedTls:
    """TLS 1.2 or later with a certificate that is good for the host asked for.

    `host` takes the place of the host in the URL; `trust_root` (IOpenSSLTrustRoot) that of this machine's trust
    roots. With the PEM file `ca_file` its authorities are trusted besides the machine's.
    """

    def __init__(self, *, host: str = "", trust_root: Any = None, ca_file: Path | None = None) -> None:
        self._host = host
        self._trust_root = trust_root if ca_file is None else _Besides(ca_file)
        self._ca_file = ca_file
        self._known: dict[str, IOpenSSLClientConnectionCreator] = {}

    def creatorForNetloc(self, hostname: bytes,
                         port: int) -> IOpenSSLClientConnectionCreator:  # noqa: ARG002 - the interface's
        """The TLS settings towards a host.

        :raises RequestError: the CA file cannot be used.
        """
        host = self._host or hostname.decode("ascii")
        if host not in self._known:
            if self._ca_file is not None:
                _check(self._ca_file)
            while len(self._known) >= HOSTS_KEPT:
                self._known.pop(next(iter(self._known)))
            self._known[host] = optionsForClientTLS(
                host, trustRoot=self._trust_root,
                extraCertificateOptions={"raiseMinimumTo": TLSVersion.TLSv1_2})
        return self._known[host]


def _check(ca_file: Path) -> None:
    try:
        SSL.Context(SSL.TLS_METHOD).load_verify_locations(str(ca_file))
    except SSL.Error as error:
        raise RequestError(f"ca_file {ca_file} cannot be read as certificates in PEM") from error


@implementer(IOpenSSLTrustRoot)
class _Besides:
    """This machine's trust roots, and those in a file."""

    def __init__(self, ca_file: Path) -> None:
        self._ca_file = ca_file

    def _addCACertsToContext(self, context: SSL.Context) -> None:
        context.set_default_verify_paths()
        context.load_verify_locations(str(self._ca_file))


def code_of_refusal(tls: Any) -> int:
    """Why OpenSSL did not accept the certificate, as its X509_V_ERR number; 0 where it cannot be told.

    Its error only says that verification failed, and pyOpenSSL hands the reason to none but a verify callback,
    which is Twisted's check of the host name and must stay that.
    """
    try:
        return int(SSL._lib.SSL_get_verify_result(tls._tlsConnection._ssl))  # type: ignore[attr-defined]
    except AttributeError:
        return 0
