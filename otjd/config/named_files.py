"""Looks at the files and folders that a configuration names: there, readable, and what they should be."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from otjd.config.integrations import (
    ExchangeIntegration,
    FileIntegration,
    GoogleIntegration,
    GraphIntegration,
)
from otjd.config.keys import entries
from otjd.config.reader import Element, Findings
from otjd.config.services import CalendarService, JoinDetailsByFamily, Listener, Log, Node, Operator

A_CERTIFICATE = "a PEM file with a certificate and its chain"
A_KEY = "a PEM file with a private key that is not encrypted"


def check_files(findings: Findings) -> None:
    """Check everything on disk that the elements name.

    A missing folder of calendars is a warning only: last known meetings must be served without it.
    """
    for listener in findings.of(Listener):
        _certificate_and_key(findings, listener)
    for operator in findings.of(Operator):
        _certificate_and_key(findings, operator)
        _file_to_write(findings, operator, "status_file", findings.warning)
    for log in findings.of(Log):
        _file_to_write(findings, log, "file", findings.problem)
        _no_file(findings, log, "wire_directory")
    for node in findings.of(Node):
        _no_file(findings, node, "state_dir")
    _templates(findings)
    for folder in findings.of(FileIntegration):
        if not _is_folder(folder.value.directory):
            findings.warning(folder, "directory", f"no folder {folder.value.directory}",
                             "a folder of <room email>.ics files", "calendars are read as soon as it is there")
    for kind in (ExchangeIntegration, GraphIntegration, GoogleIntegration):
        for integration in findings.of(kind):
            _authorities(findings, integration)
    for google in findings.of(GoogleIntegration):
        _google_key(findings, google)


def _is_folder(path: Path) -> bool | None:
    """None where nothing can be seen."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return None


def _content(findings: Findings, element: Element[Any], name: str, path: Path | None,
             expected: str) -> bytes | None:
    """The content of a file that a key names, or None when there is none; noted as a problem."""
    if path is None:
        return None
    try:
        return path.read_bytes()
    except FileNotFoundError:
        findings.problem(element, name, f"no file {path}", expected)
    except OSError as error:
        findings.problem(element, name, f"{path}, which cannot be read: {error.strerror}", expected)
    return None


def _certificate_and_key(findings: Findings, element: Element[Listener] | Element[Operator]) -> None:
    value = element.value
    if isinstance(value, Listener) and value.plaintext:
        return
    needed = isinstance(value, Listener)
    names = ("certificate", "private_key")
    for name, other in (names, names[::-1]):
        if not getattr(value, name) and (needed or getattr(value, other)):
            findings.problem(element, name, "nothing", A_CERTIFICATE if name == "certificate" else A_KEY,
                             "or plaintext = true behind a proxy that ends TLS" if needed else
                             f"{name} and {other} go together", because_of=("plaintext",))
    certificates, keys = _paths(value.certificate), _paths(value.private_key)
    if certificates and keys and len(certificates) != len(keys):
        findings.problem(element, "private_key", f"{len(keys)} files",
                         f"{len(certificates)}, one for each certificate, in the same order")
    kinds: dict[type, Path] = {}
    for certificate, private_key in zip_longest(certificates, keys):
        chain = _pair(findings, element, certificate, private_key)
        if chain and kinds.setdefault(type(chain[0].public_key()), certificate) is not certificate:
            findings.problem(element, "certificate", f"{certificate}, whose key is of the same kind as that of "
                             f"{kinds[type(chain[0].public_key())]}", "one certificate of each kind (RSA, EC)")


def _paths(value: Path | tuple[Path, ...] | None) -> tuple[Path, ...]:
    return value if isinstance(value, tuple) else () if value is None else (value,)


def _pair(findings: Findings, element: Element[Any], certificate: Path | None,
          private_key: Path | None) -> list[x509.Certificate]:
    """The chain of a certificate that fits its key, both noted as problems otherwise."""
    if private_key is not None:
        findings.secret_files.append((element.place.file, element.place.at("private_key"), private_key))
    chain = _read_chain(findings, element, "certificate", certificate, A_CERTIFICATE)
    key = _read_key(findings, element, private_key)
    if chain and key is not None and chain[0].public_key() != key.public_key():
        later = any(c.public_key() == key.public_key() for c in chain[1:])
        findings.problem(element, "private_key", f"{private_key}, which is not the key of the certificate",
                         f"the private key of the first certificate in {certificate}",
                         "put the server's own certificate before those of its authorities" if later else "")
    return chain


def _read_chain(findings: Findings, element: Element[Any], name: str, path: Path | None,
                expected: str) -> list[x509.Certificate]:
    content = _content(findings, element, name, path, expected)
    if content is None:
        return []
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        hint = "this looks like DER: convert it with openssl x509 -inform der" if content[:1] == b"\x30" else ""
        findings.problem(element, name, f"{path}, which holds no certificate", expected, hint)
        return []


def _read_key(findings: Findings, element: Element[Any], path: Path | None) -> Any:
    content = _content(findings, element, "private_key", path, A_KEY)
    if content is None:
        return None
    try:
        return serialization.load_pem_private_key(content, password=None)
    except TypeError:
        findings.problem(element, "private_key", f"{path}, which is encrypted", A_KEY,
                         "remove its passphrase with openssl pkey")
    except (ValueError, UnsupportedAlgorithm):
        findings.problem(element, "private_key", f"{path}, which holds no private key", A_KEY)
    return None


def _authorities(findings: Findings, element: Element[Any]) -> None:
    _read_chain(findings, element, "ca_file", element.value.ca_file, "a PEM file of certificate authorities")


def _templates(findings: Findings) -> None:
    for service in findings.of(CalendarService):
        _template(findings, service, "join_details")
    for families in findings.of(JoinDetailsByFamily):
        for family in entries(JoinDetailsByFamily):
            _template(findings, families, family)


def _template(findings: Findings, element: Element[Any], name: str) -> None:
    content = _content(findings, element, name, getattr(element.value, name), "a Jinja2 template")
    try:
        (content or b"").decode()
    except UnicodeDecodeError:
        findings.problem(element, name, f"{getattr(element.value, name)}, which is not UTF-8 text",
                         "a Jinja2 template encoded as UTF-8")


def _file_to_write(findings: Findings, element: Element[Any], name: str, homeless: Callable[..., None]) -> None:
    """A folder in its place is a problem, and a missing folder around it what `homeless` makes of it."""
    path: Path | None = getattr(element.value, name)
    if path is not None and _is_folder(path):
        findings.problem(element, name, f"{path}, which is a folder", "a file in an existing folder")
    elif path is not None and not _is_folder(path.parent):
        homeless(element, name, f"{path} in a folder that does not exist", "a file in an existing folder")


def _no_file(findings: Findings, element: Element[Any], name: str) -> None:
    path: Path | None = getattr(element.value, name)
    if path is not None and _is_folder(path) is False:
        findings.problem(element, name, f"{path}, which is not a folder", "a folder")


def _google_key(findings: Findings, element: Element[GoogleIntegration]) -> None:
    """The service account's key: PEM, or the JSON key file with `private_key` and `client_email` in it."""
    if element.value.use_user_consent:
        return
    text = element.value.private_key.reveal().strip()
    expected = "the private key of the service account: PEM, or the whole JSON key file"
    email: object = element.value.client_email
    if text.startswith("{"):
        try:
            document = json.loads(text)
        except ValueError:
            findings.problem(element, "private_key", "broken JSON (not shown)", expected)
            return
        text, email = str(document.get("private_key", "")), email or document.get("client_email")
    if not email:
        findings.problem(element, "client_email", "nothing", "the address of the service account",
                         because_of=("private_key",))
    if not text:
        findings.problem(element, "private_key", "nothing", expected)
        return
    try:
        serialization.load_pem_private_key(text.encode(), password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        findings.problem(element, "private_key", "something that is not a private key (not shown)", expected,
                         r"its lines must be kept; a \n between them is for JSON only" if "\\n" in text else "")
