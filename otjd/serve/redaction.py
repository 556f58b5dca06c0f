"""Takes credentials out of what is kept of requests and answers, and what could drive a terminal."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable

REMOVED = "(removed)"

_SCHEMES = frozenset({"basic", "bearer", "digest", "negotiate", "ntlm"})
_SECRET_HEADER = re.compile(r"authorization|authentication-info|cookie|password|secret|token|api-?key",
                            re.IGNORECASE)
_DIGEST_FACT = re.compile(r"\b(algorithm|qop|nc)\s*=\s*\"?([\w-]{1,20})\b", re.IGNORECASE | re.ASCII)
# nothing here may be tried twice over: a hostile body would hold the interpreter up
_ELEMENT = re.compile(r"<((?=[\w.:-]{0,200}?(?:password|passwd|pwd|secret|securitytoken))[\w.:-]++)[^<>]*?"
                      r"(?:/>|>.*?(?=</\1\s*+>|\Z))", re.IGNORECASE | re.DOTALL)
# as an attribute, in a form, in JSON, or in markup within markup
_ASSIGNED = re.compile(r"((?:password|passwd|secret)[\w.-]{0,60}+(?:\s{0,5}+=|[\"']\s{0,5}+:|&gt;)\s{0,5}+)"
                       r"(\"[^\"]*+\"?|'[^']*+'?|[^\s&<>\"']+)", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_UTF_16 = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def headers(given: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Headers without credentials; of Authorization the scheme stays, and how Digest was computed."""
    return [(name, _value(name, value)) for name, value in given]


def body(octets: bytes) -> str:
    """A body as text without credentials; what is no text, and control characters, as escapes."""
    text = _decoded(octets)
    text = _ELEMENT.sub(rf"<\1>{REMOVED}", text)
    text = _ASSIGNED.sub(rf"\1{REMOVED}", text)
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def _value(name: str, value: str) -> str:
    if not _SECRET_HEADER.search(name):
        return value
    scheme = value.partition(" ")[0]
    if "authorization" not in name.lower() or scheme.lower() not in _SCHEMES:
        return REMOVED
    facts = "".join(f" {key}={what}" for key, what in _DIGEST_FACT.findall(value)) \
        if scheme.lower() == "digest" else ""
    return f"{scheme}{facts} {REMOVED}"


def _decoded(octets: bytes) -> str:
    encoding = _UTF_16.get(octets[:2], "")
    if not encoding and len(octets) > 1 and not octets[0] * octets[1]:  # "<" in UTF-16 without a mark
        encoding = "utf-16-le" if octets[0] else "utf-16-be"
    return octets.decode(encoding or "utf-8", "backslashreplace")
