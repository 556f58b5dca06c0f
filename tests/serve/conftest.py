"""Fixtures of the calendar service's tests."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from otjd.simulate.certificates import Certificates, make_certificates


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A development CA and a certificate for this machine."""
    return make_certificates(tmp_path_factory.mktemp("certificates"), ["otj.example.com"], datetime.now(UTC))
