"""The shapes that texts of the configuration must have: addresses, URLs, names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

Network = IPv4Network | IPv6Network

HOST_NAME = re.compile(r"(?=.{1,253}\.?\Z)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?"
                       r"(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?")


@dataclass(frozen=True, slots=True)
class Shape:
    """What a text must look like.

    `fault` gives None for a text that is fine, and otherwise what to do about it, which may be empty.
    """

    expected: str
    fault: Callable[[str], str | None]


def is_ip_address(text: str) -> bool:
    """Whether the text is an IPv4 or IPv6 address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach what listens on `address`."""
    return address == "localhost" or (is_ip_address(address) and ip_address(address).is_loopback)


def network(text: str) -> Network | None:
    """The network in CIDR form, or a single address as a network of one; None for anything else."""
    try:
        return ip_network(text.strip(), strict=False)
    except ValueError:
        return None


def _has_control_characters(text: str) -> bool:
    return any(ord(c) < 32 or ord(c) == 127 for c in text)


def _name_fault(text: str) -> str | None:
    if _has_control_characters(text):
        return "remove line breaks and other control characters"
    return "remove the blanks around it" if text != text.strip() else None


def _login_fault(text: str) -> str | None:
    if ":" in text:
        return "a user name cannot hold a colon: Basic authentication ends it there"
    return _name_fault(text)


def _host_fault(text: str) -> str | None:
    if is_ip_address(text):
        return None
    if "://" in text:
        return "leave the scheme away"
    if text.startswith("["):
        return "write an IPv6 address without brackets"
    if re.fullmatch(r"[^:]+:\d+", text):
        return "the port has a key of its own"
    if re.fullmatch(r"[0-9.]+", text):
        return "this is not a complete IP address"
    return None if HOST_NAME.fullmatch(text) else ""


def _authority_fault(text: str) -> str | None:
    if "/" in text:
        return "leave the scheme and the path away"
    parts = _split(f"https://{text}")
    return None if parts is not None and "@" not in text else ""


def _interface_fault(text: str) -> str | None:
    if text == "localhost" or is_ip_address(text):
        return None
    return "write an IPv6 address without brackets" if text.startswith("[") else ""


def _email_fault(text: str) -> str | None:
    local, _, domain = text.partition("@")
    fine = local and domain and "@" not in domain and not any(c.isspace() for c in text) \
        and not _has_control_characters(text)
    return None if fine else ""


def _split(url: str) -> SplitResult | None:
    """The parts of an http or https URL that could be asked for; None for any other text."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    fine = parts.scheme in ("http", "https") and port != 0 and (is_ip_address(host) or HOST_NAME.fullmatch(host)) \
        and re.fullmatch(r"[!#$&-;=?-\[\]_a-z~%]+", url, re.IGNORECASE)
    return parts if fine else None


def is_plain_http_across_a_network(url: str) -> bool:
    """Whether anyone between here and the host could read what is sent to this URL."""
    parts = _split(url)
    return parts is not None and parts.scheme == "http" and not is_loopback(parts.hostname or "")


def _url_fault(text: str) -> str | None:
    if "<" in text:
        return "replace the part in angle brackets by your own value"
    if "://" not in text:
        return "it begins with https://"
    return None if _split(text) is not None else ""


def _public_url_fault(text: str) -> str | None:
    fault = _url_fault(text)
    if fault is None and is_plain_http_across_a_network(text):
        return "calendar services notify over https only"
    return fault


def _svc_url_fault(text: str) -> str | None:
    fault = _url_fault(text)
    if fault is None and not text.lower().endswith(".svc"):
        return "the SOAP service of Autodiscover is .../autodiscover/autodiscover.svc"
    return fault


def _proxy_fault(text: str) -> str | None:
    parts = _split(text)
    if parts is None:
        return "encode special characters of user name and password as %XX"
    return "leave the path away" if parts.path.strip("/") or parts.query else None


def _guid_fault(text: str) -> str | None:
    try:
        return None if str(UUID(text)) == text.lower() else ""
    except ValueError:
        return "the Application (client) ID of the app registration"


def _domain_fault(text: str) -> str | None:
    if "@" in text:
        return "leave the @ and everything before it away"
    return _host_fault(text)


NAME = Shape("a name of printable characters", _name_fault)
LOGIN = Shape("a user name without a colon", _login_fault)
HOST = Shape("a host name or an IP address", _host_fault)
AUTHORITY = Shape("a host name, which may carry a port", _authority_fault)
INTERFACE = Shape("an IP address of this machine, such as 0.0.0.0 or ::", _interface_fault)
EMAIL = Shape("an e-mail address", _email_fault)
URL = Shape("an http or https URL", _url_fault)
PUBLIC_URL = Shape("an https URL", _public_url_fault)
SVC_URL = Shape("an http or https URL that ends in .svc", _svc_url_fault)
PROXY = Shape("a proxy as http://user:password@host:port", _proxy_fault)
GUID = Shape("a GUID such as 00000000-0000-0000-0000-000000000000", _guid_fault)
DOMAIN = Shape("a domain", _domain_fault)
VERSION = Shape("an Exchange version of four numbers, such as 15.1.2507.6",
                lambda text: None if re.fullmatch(r"\d{1,5}(\.\d{1,5}){3}", text) else "")
KEY_256 = Shape("a key of 32 bytes in base64", lambda text: None if re.fullmatch(r"[A-Za-z0-9+/_-]{43}=", text)
                else "openssl rand -base64 32 makes one")
