from __future__ import annotations

import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from otjd.simulate.certificates import make_certificates

ROOT = Path(__file__).parent.parent.parent
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def load(path: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(path.read_bytes())


def test_a_server_certificate_names_the_server_and_this_machine(tmp_path: Path) -> None:
    made = make_certificates(tmp_path / "new" / "certs", ["otj.example.com", "192.0.2.10", "localhost"], NOW)
    server, ca = load(made.certificate)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["otj.example.com", "localhost"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ip_address("192.0.2.10"), ip_address("127.0.0.1"), ip_address("::1")]
    assert [ca] == load(made.ca_certificate)
    server.verify_directly_issued_by(ca)
    ca.verify_directly_issued_by(ca)
    assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert list(server.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH]
    for certificate, path in ((server, made.private_key), (ca, made.ca_private_key)):
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        assert key.public_key() == certificate.public_key()


def test_certificates_last_as_long_as_asked_for(tmp_path: Path) -> None:
    made = make_certificates(tmp_path, [], NOW, days=30)
    server, ca = load(made.certificate)
    assert server.not_valid_before_utc <= NOW
    assert server.not_valid_after_utc == NOW + timedelta(days=30)
    assert ca.not_valid_after_utc > NOW + timedelta(days=3000)


def test_keys_are_private_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = make_certificates(tmp_path, [], NOW)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"ca.crt": 0o644, "ca.key": 0o600, "otjd.crt": 0o644, "otjd.key": 0o600}
    assert set(tmp_path.iterdir()) == {
        made.certificate, made.private_key, made.ca_certificate, made.ca_private_key}


def test_the_ca_is_used_again_and_the_server_certificate_replaced(tmp_path: Path) -> None:
    first = make_certificates(tmp_path, [], NOW)
    kept, replaced = first.ca_certificate.read_bytes(), first.private_key.read_bytes()
    second = make_certificates(tmp_path, ["otj.example.com"], NOW)
    assert second.ca_certificate.read_bytes() == kept
    assert second.private_key.read_bytes() != replaced
    load(second.certificate)[0].verify_directly_issued_by(load(second.ca_certificate)[0])


@pytest.mark.parametrize("spoiled", ["ends", "key missing", "other key", "nonsense"])
def test_a_ca_that_cannot_be_used_is_replaced(tmp_path: Path, spoiled: str) -> None:
    made = make_certificates(tmp_path, [], NOW)
    before = made.ca_certificate.read_bytes()
    later = NOW
    if spoiled == "ends":
        later = NOW + timedelta(days=3600)
    elif spoiled == "key missing":
        made.ca_private_key.unlink()
    elif spoiled == "other key":
        made.ca_private_key.write_bytes(made.private_key.read_bytes())
    else:
        made.ca_certificate.write_text("nonsense")
    again = make_certificates(tmp_path, [], later)
    assert again.ca_certificate.read_bytes() != before
    load(again.certificate)[0].verify_directly_issued_by(load(again.ca_certificate)[0])


def test_a_name_that_is_none_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="A-label"):
        make_certificates(tmp_path, ["bücher.example"], NOW)
    assert list(tmp_path.iterdir()) == []


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "otjd.simulate.certificates", *arguments], cwd=ROOT,
                          capture_output=True, text=True, check=False)


def test_the_command_says_where_the_files_are(tmp_path: Path) -> None:
    done = run(tmp_path, "otj.example.com")
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "otjd.crt") in done.stdout
    assert str(tmp_path / "ca.crt") in done.stdout
    assert "otj.example.com" in str(load(tmp_path / "otjd.crt")[0].extensions)


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for arguments, code, words in (((), 2, "usage:"), (("--help",), 2, "usage:"),
                                   ((tmp_path / "file" / "x",), 1, "No certificates were made"),
                                   ((tmp_path, "bücher"), 1, "No certificates were made")):
        done = run(*arguments)
        assert (done.returncode, words in done.stderr) == (code, True), done.stderr
        assert "Traceback" not in done.stderr


def test_the_script_makes_certificates_beside_itself(tmp_path: Path) -> None:
    copy = tmp_path / "certs" / "make-certificates"
    copy.parent.mkdir()
    copy.write_bytes((ROOT / "certs" / "make-certificates").read_bytes())
    assert os.access(ROOT / "certs" / "make-certificates", os.X_OK)
    copy.chmod(0o755)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    done = subprocess.run([copy, "otj.example.com"], capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])})
    assert done.returncode == 0, done.stderr
    assert {p.name for p in copy.parent.iterdir()} == {
        "make-certificates", "ca.crt", "ca.key", "otjd.crt", "otjd.key"}
