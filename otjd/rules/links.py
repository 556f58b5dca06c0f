"""Links that a mail filter rewrote: the original again, where it can be read out of the rewritten one.

The table of shapes is invitations.md section 3. Wrappers nest, so undoing is repeated up to a limit; a link that
cannot be undone stays as it is. Nothing here fails on malformed input.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

NESTING_LIMIT = 5
"""How many wrappers around one link are undone."""

_RUN_LENGTHS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]{0,30}:", re.IGNORECASE)
_V3 = re.compile(r"https?://urldefense(?:\.proofpoint)?\.(?:com|us)/v3/__([^\s<>\"]+?)__;([\w=-]*)!",
                 re.IGNORECASE)
_V3_TOKEN = re.compile(r"\*\*([A-Za-z0-9_-])|\*")
_V3_ONE_SLASH = re.compile(r"([a-z][a-z0-9+.-]*:/)(?=[^/])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Rewriting:
    """One service: how its links are known, and what is inside; None or no absolute link when it is not known."""

    host: re.Pattern[str]
    inside: Callable[[SplitResult], str | None]


def _parameter(link: SplitResult, name: str) -> str | None:
    """The raw value of a query parameter."""
    for pair in link.query.split("&"):
        key, equals, value = pair.partition("=")
        if equals and key.lower() == name:
            return value
    return None


def _decoded_parameter(name: str) -> Callable[[SplitResult], str | None]:
    def inside(link: SplitResult) -> str | None:
        value = _parameter(link, name)
        return unquote(value) if value else None
    return inside


def _base64(value: str) -> str | None:
    try:
        raw = base64.b64decode(unquote(value).replace("-", "+").replace("_", "/").rstrip("=") + "===")
        return raw.decode("utf-8")
    except (binascii.Error, ValueError):
        return None


def _proofpoint_v2(link: SplitResult) -> str | None:
    value = _parameter(link, "u") if link.path.lower().startswith("/v2/") else None
    return unquote(value.replace("-", "%").replace("_", "/")) if value else None


def _proofpoint_v3(link: SplitResult) -> str | None:
    match = _V3.match(link.geturl())
    if match is None:
        return None
    url, encoded = match.groups()
    characters = _base64(encoded)
    if characters is None:
        return None
    at = 0

    def put_back(token: re.Match[str]) -> str:
        nonlocal at
        length = 2 + _RUN_LENGTHS.index(token[1]) if token[1] else 1
        at += length
        return characters[at - length:at]

    url = _V3_TOKEN.sub(put_back, url)
    return _V3_ONE_SLASH.sub(r"\1/", url, count=1) if url.startswith(("http:/", "https:/")) else url


def _proofpoint(link: SplitResult) -> str | None:
    return _proofpoint_v3(link) if link.path.lower().startswith("/v3/") else _proofpoint_v2(link)


def _last_part(link: SplitResult) -> str | None:
    part = link.path.rpartition("/")[2]
    return unquote(part) if "%3a" in part.lower() else None


def _between_underscores(link: SplitResult) -> str | None:
    parts = link.geturl().split("___")
    return parts[1] if len(parts) >= 3 else None


def _sophos(link: SplitResult) -> str | None:
    value = _parameter(link, "u")
    return _base64(value) if value else None


def _trend_micro(link: SplitResult) -> str | None:
    return _decoded_parameter("url")(link) if "/clicktime/" in link.path.lower() else None


def _google(link: SplitResult) -> str | None:
    return (_decoded_parameter("q")(link) or _decoded_parameter("url")(link)) if link.path == "/url" else None


def _host(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_SAFE_LINKS = _Rewriting(_host(r"(?:[\w-]+\.)*safelinks\.protection\.(?:outlook\.com|office365\.us)"),
                         _decoded_parameter("url"))
_URL_DEFENSE = _Rewriting(_host(r"urldefense(?:\.proofpoint)?\.(?:com|us)"), _proofpoint)
_REWRITINGS = (
    _SAFE_LINKS,
    _URL_DEFENSE,
    _Rewriting(_host(r"linkprotect\.cudasvc\.com"), _decoded_parameter("a")),
    _Rewriting(_host(r"secure-web\.cisco\.com"), _last_part),
    _Rewriting(_host(r"(?:[\w-]+\.)*protection\.sophos\.com"), _sophos),
    _Rewriting(_host(r"protect\.checkpoint\.com"), _between_underscores),
    _Rewriting(_host(r"(?:[\w-]+\.)*trendmicro\.com"), _trend_micro),
    _Rewriting(_host(r"www\.google\.[a-z.]{2,6}"), _google),
)


def _unwrapped(link: str, rewritings: tuple[_Rewriting, ...]) -> str | None:
    try:
        parts = urlsplit(link)
        host = parts.hostname or ""
    except ValueError:
        return None
    if parts.scheme not in ("http", "https"):
        return None
    for rewriting in rewritings:
        if rewriting.host.fullmatch(host):
            inside = rewriting.inside(parts)
            if inside is not None and _ABSOLUTE.match(inside := inside.strip()):
                return inside
    return None


SIGNS = ("safelinks.protection.", "urldefense.", "linkprotect.cudasvc.com", "secure-web.cisco.com",
          "protection.sophos.com", "protect.checkpoint.com", "trendmicro.com", "www.google.")
"""One of these is in every link that a mail filter rewrote, in lower case."""

_REMOVED_BY_URLSPLIT = str.maketrans("", "", "\t\r\n")
_ASCII_ALIKE = str.maketrans({"\u017f": "s", "\u212a": "k", "\u0130": "i", "\u0131": "i"})
"""The only characters beyond ASCII that an expression that ignores letter case takes for a letter of ASCII."""


def folded(text: str) -> str:
    """The text in the letter case in which what ignores letter case can be looked for without an expression."""
    return text.lower() if text.isascii() else text.translate(_ASCII_ALIKE).lower()


def for_re2(text: str) -> str | bytes:
    """The text in a form that RE2 takes, with the same offsets; surrogates are replaced.

    Bytes, where they are the same as characters, spare it from counting the characters before what it finds.
    """
    return text.encode() if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def may_be_rewritten(text: str) -> bool:
    """Whether a link in the text may have been rewritten: cheap, and never wrongly False."""
    text = folded(text)
    return any(sign in text for sign in SIGNS)


def original(link: str) -> str:
    """The link that was rewritten, or `link` itself where it was not or cannot be undone."""
    if not may_be_rewritten(link.translate(_REMOVED_BY_URLSPLIT)):
        return link
    for _ in range(NESTING_LIMIT):
        inside = _unwrapped(link, _REWRITINGS)
        if inside is None or inside == link:
            break
        link = inside
    return link


_LINK_IN_TEXT = re.compile(r"https?://[^\s<>\"']+", re.IGNORECASE)


def _restored(text: str, rewriting: _Rewriting) -> str:
    return _LINK_IN_TEXT.sub(lambda m: _unwrapped(m[0], (rewriting,)) or m[0], text)


def restore_safe_links(text: str) -> str:
    """The text with every Safe Link in it replaced by the original (`pex_safelinks_decode`)."""
    return _restored(text, _SAFE_LINKS)


def restore_url_defense(text: str) -> str:
    """The text with every Proofpoint link in it replaced by the original (`pex_urldefense_decode`)."""
    return _restored(text, _URL_DEFENSE)
