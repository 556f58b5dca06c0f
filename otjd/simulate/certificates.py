"""A development CA and a server certificate, for the demo, for tests and for trying a deployment on a bench.

`python -m otjd.simulate.certificates DIRECTORY [NAME...]` writes them; a CA that is there already is used again,
so that what trusts it keeps doing so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVER_DAYS = 397
"""The longest life that common clients accept."""

CA_DAYS = 3650
KEY_BITS = 2048
"""RSA, as the oldest endpoints know nothing else."""

CLOCK_SKEW = timedelta(days=1)
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")

_CERTIFICATE_MODE = 0o644
_KEY_MODE = 0o600


@dataclass(frozen=True, slots=True)
class Certificates:
    """Where the PEM files are. `certificate` holds the server's certificate followed by the CA's."""

    certificate: Path
    private_key: Path
    ca_certificate: Path
    ca_private_key: Path


def make_certificates(directory: Path, names: Sequence[str], now: datetime,
                      days: int = SERVER_DAYS) -> Certificates:
    """Write `ca.crt`, `ca.key`, `otjd.crt` and `otjd.key` into `directory`, which is made where it is missing.

    `names` are host names and IP addresses of the server; this machine's own are added. Keys get mode 0600. The
    server's files are replaced, those of the CA only where they cannot be used for `days` from `now` (aware) on.

    :raises OSError: a file cannot be written.
    :raises ValueError: a name is neither an IP address nor an ASCII host name.
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths = Certificates(certificate=directory / "otjd.crt", private_key=directory / "otjd.key",
                         ca_certificate=directory / "ca.crt", ca_private_key=directory / "ca.key")
    alternative = _alternative_names((*names, *LOCAL_NAMES))
    end = now + timedelta(days=days)
    ca = _known_ca(paths, end)
    if ca is None:
        ca_key = _new_key()
        ca_certificate = _ca_certificate(ca_key, now, max(end, now + timedelta(days=CA_DAYS)))
        _write(paths.ca_private_key, _pem_of(ca_key), _KEY_MODE)
        _write(paths.ca_certificate, _pem_of(ca_certificate), _CERTIFICATE_MODE)
    else:
        ca_certificate, ca_key = ca
    key = _new_key()
    builder = _builder("otjd", ca_certificate.subject, key, now, end)
    certificate = _server_certificate(builder, alternative, ca_key)
    _write(paths.private_key, _pem_of(key), _KEY_MODE)
    _write(paths.certificate, _pem_of(certificate) + _pem_of(ca_certificate), _CERTIFICATE_MODE)
    return paths


def _alternative_names(names: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        try:
            found.append(x509.IPAddress(ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)


def _builder(subject: str, issuer: x509.Name | None, key: rsa.RSAPrivateKey, now: datetime,
             end: datetime) -> x509.CertificateBuilder:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    return (x509.CertificateBuilder().subject_name(name).issuer_name(issuer or name).public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW).not_valid_after(end)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False))


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(digital_signature=True, key_encipherment=not ca, key_cert_sign=ca, crl_sign=ca,
                         content_commitment=False, data_encipherment=False, key_agreement=False,
                         encipher_only=False, decipher_only=False)


def _ca_certificate(key: rsa.RSAPrivateKey, now: datetime, end: datetime) -> x509.Certificate:
    return (_builder("otjd development CA", None, key, now, end)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(ca=True), critical=True)
            .sign(key, hashes.SHA256()))


def _server_certificate(builder: x509.CertificateBuilder, names: list[x509.GeneralName],
                        ca_key: rsa.RSAPrivateKey) -> x509.Certificate:
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    # the subject is short enough for any name; what counts are the alternative names
    return (builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(issuer, critical=False)
            .sign(ca_key, hashes.SHA256()))


def _known_ca(paths: Certificates, end: datetime) -> tuple[x509.Certificate, rsa.RSAPrivateKey] | None:
    """The CA that is there already, unless it ends before the new certificate would."""
    try:
        certificate = x509.load_pem_x509_certificate(paths.ca_certificate.read_bytes())
        key = serialization.load_pem_private_key(paths.ca_private_key.read_bytes(), password=None)
    except (FileNotFoundError, ValueError, TypeError):
        return None
    usable = (isinstance(key, rsa.RSAPrivateKey) and key.public_key() == certificate.public_key()
              and certificate.not_valid_after_utc >= end)
    return (certificate, key) if usable and isinstance(key, rsa.RSAPrivateKey) else None


def _pem_of(what: x509.Certificate | rsa.RSAPrivateKey) -> bytes:
    if isinstance(what, x509.Certificate):
        return what.public_bytes(serialization.Encoding.PEM)
    return what.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                              serialization.NoEncryption())


def _write(path: Path, content: bytes, mode: int) -> None:
    """Replace `path`; at no moment can others read a key, nor is there half a file."""
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.unlink(missing_ok=True)
    number = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(number, "wb") as file:
        file.write(content)
    unfinished.chmod(mode)  # whatever the umask is
    unfinished.replace(path)


def main(arguments: Sequence[str]) -> int:
    """Write certificates as the command line asks; gives the exit code."""
    if not arguments or arguments[0].startswith("-"):
        sys.stderr.write("usage: python -m otjd.simulate.certificates DIRECTORY [NAME...]\n"
                         "NAME is a host name or IP address under which endpoints reach the server.\n")
        return 2
    directory, *names = arguments
    try:
        paths = make_certificates(Path(directory), names, datetime.now(UTC))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"No certificates were made: {error}\n")
        return 1
    sys.stdout.write(f"certificate  {paths.certificate}\nprivate key  {paths.private_key}\n"
                     f"to be trusted by endpoints and clients: {paths.ca_certificate}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
