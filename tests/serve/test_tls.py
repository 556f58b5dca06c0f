"""TLS contexts, on real handshakes over loopback."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from twisted.internet.threads import deferToThread

from otjd.serve.tls import CertificateError, ReloadingContextFactory, certificate_end
from otjd.simulate.certificates import Certificates, make_certificates
from tests.serve.http_world import Served

SOON = datetime.now(UTC).replace(microsecond=0)

pytestmark = pytest.mark.needs("curl")


@pytest.fixture
def reactor() -> Any:
    from twisted.internet import reactor

    return reactor


def curl(served: Served, *options: str) -> tuple[int, str]:
    """Exit code of curl, and the TLS version and cipher that it agreed on."""
    done = subprocess.run(
        ["curl", "--silent", "--verbose", "--cacert", str(served.certificates.ca_certificate), "--max-time", "20",
         *options, served.url("/healthz")], capture_output=True, check=False, timeout=30, text=True)
    agreed = [line for line in done.stderr.splitlines() if "SSL connection using" in line]
    return done.returncode, agreed[0].partition("using ")[2] if agreed else ""


@pytest.mark.parametrize(("minimum", "highest", "agreed"), [
    ("1.0", "1.0", "TLSv1 "), ("1.0", "1.1", "TLSv1.1 "), ("1.0", "1.2", "TLSv1.2 "), ("1.0", "1.3", "TLSv1.3 "),
    ("1.1", "1.0", ""), ("1.1", "1.1", "TLSv1.1 "), ("1.2", "1.1", ""), ("1.2", "1.2", "TLSv1.2 "),
    ("1.2", "1.3", "TLSv1.3 "), ("1.3", "1.2", ""), ("1.3", "1.3", "TLSv1.3 ")])
async def test_the_lowest_version_is_kept_and_really_spoken(
        reactor: Any, certificates: Certificates, minimum: str, highest: str, agreed: str) -> None:
    async with Served(certificates, reactor, minimum_tls=minimum) as served:
        code, found = await deferToThread(curl, served, "--tls-max", highest, "--ciphers", "DEFAULT@SECLEVEL=0")
        assert found.startswith(agreed)
        assert (code == 0) is bool(agreed)


@pytest.mark.parametrize(("minimum", "cipher", "works"), [
    ("1.2", "ECDHE-RSA-AES128-GCM-SHA256", True), ("1.2", "ECDHE-RSA-CHACHA20-POLY1305", True),
    ("1.2", "AES128-SHA", False), ("1.2", "DHE-RSA-AES128-GCM-SHA256", False), ("1.0", "AES128-SHA", True),
    ("1.0", "AES256-SHA", True), ("1.0", "NULL-SHA256", False), ("1.0", "AECDH-AES128-SHA", False)])
async def test_only_ciphers_that_keep_secrets_are_agreed_on(
        reactor: Any, certificates: Certificates, minimum: str, cipher: str, works: bool) -> None:
    async with Served(certificates, reactor, minimum_tls=minimum) as served:
        code, found = await deferToThread(
            curl, served, "--tls-max", "1.2", "--ciphers", f"{cipher}:@SECLEVEL=0", "--insecure")
        assert (code == 0) is works
        assert found.endswith(cipher) is works


async def test_sessions_are_resumed(reactor: Any, certificates: Certificates) -> None:
    async with Served(certificates, reactor) as served:
        def twice() -> list[bool]:
            import socket
            import ssl

            context = ssl.create_default_context(cafile=certificates.ca_certificate)
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            session, reused = None, []
            for _ in range(2):
                with (socket.create_connection(("127.0.0.1", served.port), timeout=20) as plain,
                      context.wrap_socket(plain, server_hostname="localhost", session=session) as client):
                    session = client.session
                    reused.append(bool(client.session_reused))
            return reused

        assert await deferToThread(twice) == [False, True]


async def test_new_connections_get_the_certificate_that_was_read_last(
        reactor: Any, tmp_path: Path) -> None:
    def presented() -> int:
        with served.socket(certificates.ca_certificate) as client:
            certificate = client.getpeercert(binary_form=True)
            assert certificate is not None
            return x509.load_der_x509_certificate(certificate).serial_number

    certificates = make_certificates(tmp_path, [], SOON)
    async with Served(certificates, reactor) as served:
        first = await deferToThread(presented)
        make_certificates(tmp_path, [], SOON, days=30)
        assert await deferToThread(presented) == first
        served.contexts.reload()
        second = await deferToThread(presented)
        assert second != first
        assert served.contexts.certificate_end == SOON + timedelta(days=30)
        certificates.private_key.write_text("half a key")
        with pytest.raises(CertificateError, match=r"otjd\.key holds no private key"):
            served.contexts.reload()
        assert await deferToThread(presented) == second
        assert served.contexts.certificate_end == SOON + timedelta(days=30)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not installed")
async def test_renegotiation_is_refused_and_nothing_compressed(reactor: Any, certificates: Certificates) -> None:
    def renegotiate() -> str:
        done = subprocess.run(
            ["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{served.port}",
             "-CAfile", str(certificates.ca_certificate)],
            input="R\n", capture_output=True, check=False, text=True, timeout=30)
        return done.stdout + done.stderr

    async with Served(certificates, reactor) as served:
        said = await deferToThread(renegotiate)
    assert "RENEGOTIATING" in said
    assert "no renegotiation" in said
    assert "Compression: NONE" in said


def test_the_end_of_a_certificate_is_that_of_the_first_in_its_chain_to_end(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path, [], SOON, days=40)
    assert certificate_end(certificates.certificate) == SOON + timedelta(days=40)
    assert certificate_end(certificates.ca_certificate) == SOON + timedelta(days=3650)
    factory = ReloadingContextFactory((certificates.certificate, certificates.private_key))
    assert factory.certificate_end == SOON + timedelta(days=40)


def test_an_ec_key_can_be_used(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, ec.generate_private_key(ec.SECP256R1()))
    assert ReloadingContextFactory((certificate, key)).certificate_end == certificate_end(certificate)


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_each_client_gets_the_certificate_that_it_can_check_with_its_own_chain(
        reactor: Any, certificates: Certificates, tmp_path: Path, version: str) -> None:
    def presented(signature: str) -> tuple[str, int]:
        said = s_client(served, version, "-sigalgs", signature, "-showcerts")
        (kind,) = [line.partition(": ")[2] for line in said.splitlines() if line.startswith("Peer signature type")]
        return kind, said.count("BEGIN CERTIFICATE")

    pair = self_signed(tmp_path, ec.generate_private_key(ec.SECP256R1()))
    async with Served(certificates, reactor, more=(pair,)) as served:
        assert await deferToThread(presented, "RSA-PSS+SHA256") == ("RSA-PSS", 2)
        assert await deferToThread(presented, "ECDSA+SHA256") == ("ECDSA", 1)


def test_two_certificates_of_the_same_kind_are_refused(tmp_path: Path, certificates: Certificates) -> None:
    other = make_certificates(tmp_path, [], SOON)
    with pytest.raises(CertificateError, match="a key of the same kind as"):
        ReloadingContextFactory((certificates.certificate, certificates.private_key),
                                (other.certificate, other.private_key))


def s_client(served: Served, *options: str, said: str = "") -> str:
    """What `openssl s_client` prints of a connection on which it says something."""
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{served.port}", *options],
                          input=said, capture_output=True, check=False, text=True, timeout=30)
    return done.stdout + done.stderr


@pytest.mark.needs("openssl")
async def test_openssl_speaks_tls_1_0_with_a_legacy_listener_alone(
        reactor: Any, certificates: Certificates) -> None:
    old = ("-tls1", "-cipher", "ALL:@SECLEVEL=0")
    async with Served(certificates, reactor, minimum_tls="1.0") as legacy, Served(certificates, reactor) as usual:
        agreed = await deferToThread(s_client, legacy, *old)
        assert "Protocol  : TLSv1\n" in agreed
        assert "Cipher is ECDHE-RSA-AES256-SHA\n" in agreed
        refused = await deferToThread(s_client, usual, *old)
        assert "Cipher is (NONE)" in refused
        assert "protocol version" in refused


@pytest.mark.needs("openssl")
async def test_openssl_resumes_its_session_five_times(reactor: Any, certificates: Certificates) -> None:
    async with Served(certificates, reactor) as served:
        said = await deferToThread(s_client, served, "-tls1_2", "-reconnect")
        assert (said.count("New, "), said.count("Reused, ")) == (1, 5)
        said = await deferToThread(s_client, served, "-tls1_2", "-reconnect", "-no_ticket")
        assert (said.count("New, "), said.count("Reused, ")) == (1, 5)


@pytest.mark.needs("openssl")
async def test_openssl_resumes_tls_1_3_by_a_ticket(
        reactor: Any, certificates: Certificates, tmp_path: Path) -> None:
    ticket = str(tmp_path / "ticket.pem")
    ask = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    more = ("-tls1_3", "-ign_eof", "-alpn", "h2,http/1.1")
    async with Served(certificates, reactor) as served:
        first = await deferToThread(s_client, served, *more, "-sess_out", ticket, said=ask)
        second = await deferToThread(s_client, served, *more, "-sess_in", ticket, said=ask)
    assert "New, TLSv1.3" in first
    assert "Reused, TLSv1.3" in second
    assert "HTTP/1.1 200" in second
    assert "No ALPN negotiated" in second


def self_signed(directory: Path, key: Any) -> tuple[Path, Path]:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "otjd")])
    certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                   .serial_number(1).not_valid_before(SOON).not_valid_after(SOON + timedelta(days=1))
                   .sign(key, hashes.SHA256()))
    paths = directory / "own.crt", directory / "own.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                           serialization.NoEncryption()))
    return paths


def weak_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - that is its purpose


@pytest.mark.parametrize(("certificate", "key", "words"), [
    ("missing.crt", "otjd.key", r"missing\.crt cannot be read: No such file"),
    ("otjd.crt", "missing.key", r"missing\.key cannot be read: No such file"),
    ("otjd.key", "otjd.key", r"otjd\.key holds no certificate; expected a PEM file"),
    ("otjd.crt", "otjd.crt", r"otjd\.crt holds no private key"),
    ("otjd.crt", "ca.key", r"ca\.key is not the key of the first certificate in .*otjd\.crt"),
    ("ca.crt", "otjd.key", r"otjd\.key is not the key of the first certificate in .*ca\.crt"),
    ("otjd.crt", "encrypted.key", r"encrypted\.key is encrypted; expected a key without passphrase"),
    ("weak.crt", "weak.key", r"weak\.crt cannot be used: .*expected a certificate with an RSA key of 2048"),
    (".", "otjd.key", r"cannot be read: Is a directory")])
def test_a_file_that_cannot_be_used_is_named_with_what_is_wrong(
        tmp_path: Path, certificates: Certificates, certificate: str, key: str, words: str) -> None:
    for path in (certificates.certificate, certificates.private_key, certificates.ca_certificate,
                 certificates.ca_private_key):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    own = serialization.load_pem_private_key(certificates.private_key.read_bytes(), None)
    (tmp_path / "encrypted.key").write_bytes(own.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase")))
    if certificate == "weak.crt":
        weak = self_signed(tmp_path, weak_key())
        for path in weak:
            path.rename(tmp_path / path.name.replace("own", "weak"))
    with pytest.raises(CertificateError, match=words):
        ReloadingContextFactory((tmp_path / certificate, tmp_path / key))


def test_an_old_listener_takes_a_weak_certificate(tmp_path: Path) -> None:
    paths = self_signed(tmp_path, weak_key())
    assert ReloadingContextFactory(paths, minimum_tls="1.0").certificate_end == SOON + timedelta(days=1)
