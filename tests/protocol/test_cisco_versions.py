from __future__ import annotations

import pytest

from otjd.protocol.cisco_versions import Family, SoftwareVersion, Writer, features_of, parse_version, writer_for


@pytest.mark.parametrize(("text", "family", "numbers"), [
    ("TC7.3.9.b35a3be", Family.TC, (7, 3, 9)),
    ("ce9.15.3.25.7aad3ba5fb8", Family.CE, (9, 15, 3)),
    ("ce26.7.1.12.67c6e508983", Family.CE, (26, 7, 1)),
    (" CE9.6 ", Family.CE, (9, 6, 0)),
    ("ce11", Family.CE, (11, 0, 0)),
    ("RoomOS 11.24.1.8 9fc3a4f", Family.CE, (11, 24, 1)),
])
def test_reported_versions_are_understood(text: str, family: Family, numbers: tuple[int, int, int]) -> None:
    version = parse_version(text)
    assert version == SoftwareVersion(text.strip(), family, numbers)
    assert str(version) == text.strip()


@pytest.mark.parametrize("text", ["", "s53200", "9.15.3", "ce", "ce99999.1", "tcx7", "F9.3.1"])
def test_other_texts_are_no_version(text: str) -> None:
    assert parse_version(text) is None


@pytest.mark.parametrize(("text", "writer", "without_number"), [
    ("TC7.3.9.b35a3be", Writer.XML, False),
    ("TC11.24.1", Writer.XML, False),
    ("ce8.3.7", Writer.XML, False),
    ("ce9.6.1", Writer.XML, False),
    ("ce9.12.5", Writer.XML, False),
    ("ce9.13.0", Writer.PUT_ELSE_XML, False),
    ("ce9.15.17.4", Writer.PUT_ELSE_XML, False),
    ("ce10.19.4.2", Writer.PUT_ELSE_XML, False),
    ("ce11.0.0", Writer.PUT, False),
    ("ce11.23.9", Writer.PUT, False),
    ("ce11.24.0", Writer.PUT, False),
    ("ce11.24.1", Writer.PUT, True),
    ("ce26.4.1", Writer.PUT, True),
    ("unknown", Writer.PUT_ELSE_XML, False),
])
def test_the_version_chooses_the_interface(text: str, writer: Writer, without_number: bool) -> None:
    version = parse_version(text)
    assert writer_for(version) is writer
    assert features_of(version).meetings_without_number is without_number
