"""Reads the operator's addresses of a running node, for commands: plain, blocking HTTP without a reactor."""

from __future__ import annotations

import base64
import json
import os
import ssl
from http.client import HTTPException
from typing import Any
from urllib.error import URLError
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, Request

TIMEOUT_S = 10.0
SIZE_LIMIT = 64 * 1024 * 1024
PASSWORD_VARIABLE = "OTJD_OPERATOR_PASSWORD"  # noqa: S105 - the name of it
DEFAULT_USERNAME = "admin"


class UnreachableError(Exception):
    """The node gave no usable answer; the text says what was tried and what to do."""


def fetch(url: str) -> Any:
    """The JSON document at an http or https address.

    The login comes from the address (`https://admin:secret@host/`), or its password from OTJD_OPERATOR_PASSWORD,
    then for the user of the address or `admin`. No proxy is asked and no redirect followed, so that the password
    goes to the named host alone.

    :raises UnreachableError: there is no such document.
    """
    parts = _split(url)
    shown = urlunsplit(parts._replace(netloc=_host(parts)))
    request = Request(shown, headers={"Accept": "application/json"})  # noqa: S310 - http and https alone
    credentials = _credentials(parts)
    if credentials is not None:
        request.add_header("Authorization", "Basic " + base64.b64encode(credentials.encode()).decode())
    opener = OpenerDirector()
    for handler in (HTTPHandler(), HTTPSHandler()):
        opener.add_handler(handler)
    try:
        with opener.open(request, timeout=TIMEOUT_S) as response:
            if response.status != 200:
                raise UnreachableError(f"{shown} answered {response.status}: {_hint(response.status)}")
            body = response.read(SIZE_LIMIT + 1)
    except (OSError, HTTPException, ValueError) as error:  # a name that cannot be looked up is a ValueError
        raise UnreachableError(f"{shown} cannot be read: {_reason(error)}") from error
    if len(body) > SIZE_LIMIT:
        raise UnreachableError(f"{shown} answered more than {SIZE_LIMIT} bytes; is it otjd's operator service?")
    try:
        return json.loads(body)
    except ValueError:
        raise UnreachableError(f"{shown} did not answer with JSON; is it otjd's operator service?") from None


def _split(url: str) -> SplitResult:
    expected = "expected http://HOST:PORT or https://HOST:PORT"
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - checks it
    except ValueError as error:
        raise UnreachableError(f"This is no address: {error}; {expected}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UnreachableError(f"{parts.scheme or 'This'} is no address of an operator service; {expected}")
    return parts


def _host(parts: SplitResult) -> str:
    """Host and port without the login."""
    return parts.netloc.rpartition("@")[2]


def _credentials(parts: SplitResult) -> str | None:
    password = unquote(parts.password) if parts.password is not None else os.environ.get(PASSWORD_VARIABLE)
    if password is None:
        return None
    return f"{unquote(parts.username) if parts.username else DEFAULT_USERNAME}:{password}"


def _hint(status: int) -> str:
    if status == 401:
        return ("the user name or password is wrong or missing; give them as https://USER:PASSWORD@HOST/ or the "
                f"password in the variable {PASSWORD_VARIABLE}")
    if status == 403:
        return "without [operator] username and password it answers only on its own machine, as localhost"
    if 300 <= status < 400:
        return "it redirects; give the address that it redirects to"
    return "is it the address of the operator service ([operator] address and port)?"


def _reason(error: Exception) -> str:
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return (f"its certificate is not trusted ({reason.verify_message}); name the CA's file in the variable "
                "SSL_CERT_FILE")
    if isinstance(reason, ssl.SSLError):
        return f"no TLS there ({reason.reason}); is it http:// instead?"
    if isinstance(reason, ConnectionRefusedError):
        return "the connection is refused; is otjd running, with this [operator] address and port?"
    if isinstance(reason, TimeoutError):
        return f"no answer within {TIMEOUT_S:.0f} s; is there a firewall, or is it the other of http and https?"
    return f"{reason}; are the address and port right, and http or https?"
