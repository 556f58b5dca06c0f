"""How a Poly endpoint finds what to dial in a meeting, by family."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Literal

Family = Literal["hdx", "group", "trio", "videoos", "debut"]
DialSource = Literal["token", "location", "body"]

TOKEN = re.compile("--=BEGIN POLYCOM VMR ENCODED TOKEN=--(.*?)--=END POLYCOM VMR ENCODED TOKEN=--", re.DOTALL)
SIP_URI = re.compile(r"\bsips?:[^\s<>\"'(),;\\]+@[^\s<>\"'(),;\\]+", re.IGNORECASE)

BY_TOKEN = frozenset({"hdx", "group"})
BY_URI = frozenset({"trio"})


def token_number(body: str) -> str | None:
    """What the meeting token in a body says to dial; None without a token, or where it cannot be read.

    As the known reader does it: markup and line breaks are taken out of the block, no entities are un-escaped
    beyond those of the XML around it, and a last line without line end is lost. It keeps `\\r` in values; a number
    cannot have one, so it is taken off here.
    """
    block = TOKEN.search(body)
    if block is None:
        return None
    text = re.sub(r"<[^>]*>|[\r\n]", "", block[1]).strip()
    try:
        decoded = base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    values = dict(line.split("=", 1) for line in decoded.split("\n")[:-1] if "=" in line)
    number = _value(values, "DIALINPREFIX") + _value(values, "VMRNUMBER")
    postfix = _value(values, "SIGNALINGPOSTFIX")
    if number and postfix and "@" not in number:
        number = f"{number}@{postfix}"
    return number or None


def _value(values: dict[str, str], key: str) -> str:
    return values.get(f"POLYCOM-{key}", "").rstrip("\r")


def sip_address(text: str) -> str | None:
    """The address of the first `sip:` URI in a text, without the scheme; `sips:` stays."""
    found = SIP_URI.search(text)
    if found is None:
        return None
    uri = found[0].rstrip(".?!")
    return uri[4:] if uri[:4].lower() == "sip:" else uri


def dial(family: Family, location: str, body: str) -> tuple[str | None, DialSource | None]:
    """What this family would dial, and where it found it.

    HDX and Group read the token, Trio a `sip:` URI in Location or Body. How VideoOS and Debut find it is unknown;
    here they take what they get, the token first.
    """
    if family not in BY_URI:
        number = token_number(body)
        if number is not None:
            return number, "token"
    if family not in BY_TOKEN:
        address = sip_address(location)
        if address is not None:
            return address, "location"
        address = sip_address(body)
        if address is not None:
            return address, "body"
    return None, None
