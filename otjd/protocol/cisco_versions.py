"""Which interface a Cisco endpoint takes bookings by, from the software version that it reports."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

_VERSION = re.compile(r"\s*(tc|ce|roomos)\s*(\d{1,4})(?:\.(\d{1,4}))?(?:\.(\d{1,4}))?(?![0-9])", re.IGNORECASE)
_RAW_LIMIT = 100


class Family(StrEnum):
    """Lines of endpoint software. RoomOS continues the numbers of CE and still reports `ce`."""

    TC = "TC"
    CE = "CE"


@dataclass(frozen=True, slots=True)
class SoftwareVersion:
    """A reported version, such as `TC7.3.9.ae62b90` or `ce26.7.1.12.67c6e508983`."""

    raw: str
    family: Family
    numbers: tuple[int, int, int]

    def __str__(self) -> str:
        return self.raw


class Writer(StrEnum):
    """How bookings are written to an endpoint."""

    XML = "bookingsputxml"
    PUT = "Bookings Put"
    PUT_ELSE_XML = "Bookings Put, else bookingsputxml"
    """Whether the endpoint knows `Bookings Put` is found out by asking for it."""


@dataclass(frozen=True, slots=True)
class Features:
    """What `Bookings Put` of a version can express."""

    meetings_without_number: bool = False
    """`"Protocol": "None"`, in the schema of 11.24.1 and absent from that of 11.23.1."""


def parse_version(text: str) -> SoftwareVersion | None:
    """The version that `text` names; None for one that is not of a known line."""
    match = _VERSION.match(text)
    if match is None:
        return None
    family = Family.TC if match[1].lower() == "tc" else Family.CE
    major, minor, patch = (int(n or 0) for n in match.group(2, 3, 4))
    return SoftwareVersion(text.strip()[:_RAW_LIMIT], family, (major, minor, patch))


def writer_for(version: SoftwareVersion | None) -> Writer:
    """The interface for a version; None stands for an endpoint that does not tell a known one.

    `Bookings Put` came with CE 9.13 and is documented for every endpoint from RoomOS 11 on; between them it
    depends on the registration of the endpoint.
    """
    if version is None:
        return Writer.PUT_ELSE_XML
    if version.family is Family.TC or version.numbers < (9, 13):
        return Writer.XML
    return Writer.PUT_ELSE_XML if version.numbers < (11,) else Writer.PUT


def features_of(version: SoftwareVersion | None) -> Features:
    """What `Bookings Put` of this version can express; of an unknown one, the least."""
    return Features(meetings_without_number=version is not None and version.family is Family.CE
                    and version.numbers >= (11, 24, 1))
