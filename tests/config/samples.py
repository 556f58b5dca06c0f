"""Configurations, certificates and expectations that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from otjd.config.loader import Loaded
from otjd.config.problems import Problem

ENOUGH = """
[[calendar_service.listeners]]
plaintext = true
port = 0
[[file_integrations]]
name = "demo"
directory = "calendars"
[[profiles]]
name = "default"
integration = "demo"
ep_username = "otj"
ep_password = "codec"
[[endpoint_groups]]
name = "rooms"
profile = "default"
"""
"""What endpoints and rules need around them."""

CISCO = """
[[endpoints]]
name = "Lounge"
api_address = "192.0.2.20"
room_resource_email = "lounge@example.com"
mjx_endpoint_group_name = "rooms"
"""

POLY = """
[[endpoints]]
name = "Boardroom"
endpoint_type = "POLY"
poly_username = "boardroom"
poly_password = "secret"
room_resource_email = "boardroom@example.com"
mjx_endpoint_group_name = "rooms"
"""


class Read(Protocol):
    def __call__(self, toml: str | bytes, csv: str | bytes | None = None, *,
                 environ: Mapping[str, str] | None = None) -> Loaded: ...


def the_problem(loaded: Loaded) -> Problem:
    """The only problem there is."""
    assert loaded.config is None
    assert len(loaded.problems) == 1, [str(p) for p in loaded.problems]
    return loaded.problems[0]


def the_warning(loaded: Loaded) -> Problem:
    """The only warning there is, of a configuration without problems."""
    assert not loaded.problems, [str(p) for p in loaded.problems]
    assert len(loaded.warnings) == 1, [str(p) for p in loaded.warnings]
    return loaded.warnings[0]


def assert_clean(loaded: Loaded) -> None:
    """Neither a problem nor a warning."""
    assert [str(p) for p in (*loaded.problems, *loaded.warnings)] == []


def make_key() -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    """A private key, and its PEM form."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key, key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                  serialization.NoEncryption())


def make_certificate(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    """A self-signed certificate as PEM."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "otj.example.com")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer_name=name, subject_name=name, public_key=key.public_key(), serial_number=1,
        not_valid_before=now - timedelta(days=1), not_valid_after=now + timedelta(days=90))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
