"""What answers at the addresses of endpoints and listeners."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cryptography import x509
from twisted.internet.task import deferLater

from otjd.config.model import Operator
from otjd.listeners import Place
from otjd.live.rows import Row, State, network_hint
from otjd.operate.fetching import UnreachableError, fetch
from otjd.operate.tables import ago
from otjd.protocol.cisco_versions import SoftwareVersion, writer_for
from otjd.push.cisco import (
    UNIT_PATHS,
    BusyError,
    CiscoEndpoint,
    CodecClient,
    MissingCommandError,
    NotAuthorizedError,
    PushError,
)
from otjd.push.endpoint_pusher import SPACING_S
from otjd.push.transport import codec_agent
from otjd.serve.tls import CertificateError, certificate_end

RENEW_AHEAD = timedelta(days=21)
"""When a running node raises an alarm for a certificate."""

_NAMES_SHOWN = 5

Contacts = Mapping[str, Mapping[str, Any]]
"""What a running node says of its endpoints, by name."""


# Cisco: asked once

async def check_cisco(endpoint: CiscoEndpoint, reactor: Any) -> Row:
    """Ask a Cisco endpoint for its product and software; a login that is refused is not tried again."""
    agent = codec_agent(reactor, endpoint.host, verify=endpoint.verify, proxy_url=endpoint.proxy_url)
    try:
        product, version = await _unit(CodecClient(endpoint, agent, reactor), reactor)
    except PushError as error:
        status = f" (status {error.status})" if error.status not in (None, 200) else ""
        return Row("Cisco endpoint", endpoint.name, endpoint.base_url, State.FAILED, f"{error}{status}",
                   _cisco_hint(endpoint, error))
    if not product and version is None:
        return Row("Cisco endpoint", endpoint.name, endpoint.base_url, State.FAILED,
                   "what answers tells neither product nor software version",
                   "correct api_address and api_port: this is no Cisco endpoint, or one with other software")
    found = (f"{product or 'product not told'}, {version or 'software version not known'}; bookings by "
             f"{writer_for(version)}")
    return Row("Cisco endpoint", endpoint.name, endpoint.base_url, State.OK, found)


async def _unit(client: CodecClient, reactor: Any) -> tuple[str, SoftwareVersion | None]:
    small, whole = UNIT_PATHS
    try:
        return await client.unit(small)
    except MissingCommandError:
        await deferLater(reactor, SPACING_S)
        return await client.unit(whole)


def _cisco_hint(endpoint: CiscoEndpoint, error: PushError) -> str:
    if isinstance(error, NotAuthorizedError):
        return (f"it was tried once, as {endpoint.username!r}: set api_username and api_password of the endpoint, "
                "or ep_username and ep_password of its profile, to a local user with the role Admin (Users in the "
                "web pages of the endpoint)")
    if isinstance(error, BusyError):
        return "try again in a minute; other systems that ask it all the time take its turns"
    if error.status == 403:
        return "give the user the role Admin on the endpoint: Users in its web pages"
    if error.status is not None and 300 <= error.status < 400 and not endpoint.use_https:
        return "set use_https = \"YES\" on the endpoint, or ep_use_https of its profile"
    if error.status is not None:
        return "correct api_address and api_port; on the endpoint: xConfiguration NetworkServices HTTP Mode: HTTPS"
    return network_hint(str(error), trust="give the endpoint a certificate that this machine trusts, or set "
                                          "verify_cert = \"NO\"")


# Poly: asks by itself

def contacts(operator: Operator) -> Contacts | None:
    """What a node that runs with this configuration says of its endpoints; None where none answers. Blocks."""
    try:
        answer = fetch(f"{_operator_url(operator)}/api/v1/endpoints")
        return {one["endpoint_name"]: one for one in answer["endpoints"]}
    except (UnreachableError, KeyError, TypeError):
        return None


def _operator_url(operator: Operator) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(operator.address, operator.address)  # noqa: S104
    login = (f"{quote(operator.username, safe='')}:{quote(operator.password.reveal(), safe='')}@"
             if operator.username else "")
    scheme = "https" if operator.certificate else "http"
    return f"{scheme}://{login}{f'[{host}]' if ':' in host else host}:{operator.port}"


def poly_row(name: str, known: Contacts | None, now: datetime) -> Row:
    """What can be said of a Poly endpoint, which connects by itself; `known` is what a running node says."""
    waits = "waits for the endpoint to connect"
    enter = "enter this service on the endpoint (docs/poly.md)"
    if known is None:
        return Row("Poly endpoint", name, "", State.UNTESTED,
                   f"{waits}; no node answers at the operator's address", f"start the node, then {enter}")
    one = known.get(name)
    if one is None:
        return Row("Poly endpoint", name, "", State.UNTESTED, f"{waits}; the node that runs does not know it yet",
                   "let the node read its configuration again: systemctl reload otjd")
    address, last = str(one.get("endpoint_address") or ""), one.get("last_contact_time")
    if not last:
        return Row("Poly endpoint", name, address, State.UNTESTED, f"{waits}: it has not yet", enter)
    found = f"last contact {ago(str(last), now)}, {one.get('number_of_meetings', 0)} meetings"
    if one.get("in_contact"):
        return Row("Poly endpoint", name, address, State.OK, found)
    error = f"; {one['last_error']}" if one.get("last_error") else ""
    return Row("Poly endpoint", name, address, State.FAILED, f"{found}{error}",
               "see that it is on and registered: Diagnostics > Exchange Status on the endpoint")


def webex_row(name: str) -> Row:
    """A Webex endpoint, which this version does not serve."""
    return Row("Webex endpoint", name, "", State.UNTESTED, "endpoints of type WEBEX are not supported yet")


# listeners

def listener_row(place: Place, now: datetime) -> Row:
    """The names and the end of a listener's certificates. Blocks."""
    what = "calendar service" if place.kind == "calendar" else "operator service"
    try:
        names = list(dict.fromkeys(name for path, _ in place.certificates for name in _names(path)))
        end = min(certificate_end(path) for path, _ in place.certificates)
    except (CertificateError, OSError, ValueError) as error:
        return Row("listener", what, str(place), State.FAILED, str(error),
                   "name a PEM file with the server's certificate and those of its intermediate authorities")
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    days = (end - now).days
    found = f"certificate for {', '.join(names[:_NAMES_SHOWN]) or 'no name'}{more}, "
    if end <= now:
        return Row("listener", what, str(place), State.FAILED, f"{found}ended on {end:%d.%m.%Y}",
                   "put a new certificate and key in place; a running node takes them up by itself")
    renew = "renew it; a running node takes new files up by itself" if end - now < RENEW_AHEAD else ""
    return Row("listener", what, str(place), State.OK, f"{found}{days} days left", renew)


def _names(path: Path) -> list[str]:
    """The names and addresses that a certificate is for."""
    certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
    try:
        known = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in known if isinstance(name, x509.DNSName | x509.IPAddress)]
