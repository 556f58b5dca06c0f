"""Fixtures of the simulators' tests."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from otjd.simulate.certificates import Certificates, make_certificates


@pytest.fixture(scope="session")
def server_certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A CA, and a certificate for localhost."""
    return make_certificates(tmp_path_factory.mktemp("certificates"), [], datetime.now(UTC))
