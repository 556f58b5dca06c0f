"""What is said to a Cisco endpoint: which software it runs, its new list of bookings, and which list it holds."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IAgent

from otjd.meetings.model import Room
from otjd.outbound.answers import Answer
from otjd.outbound.errors import RequestError
from otjd.protocol.cisco_bookings import CLEAR, LIST, Booking, bookings_put, bookings_xml
from otjd.protocol.cisco_results import (
    CLEAR_RESULT,
    PUT_RESULT,
    Verdict,
    is_sign_in_page,
    list_differences,
    read_list_result,
    read_put_result,
    read_unit,
    read_version,
)
from otjd.protocol.cisco_versions import Features, SoftwareVersion, parse_version
from otjd.protocol.retry_after import retry_after_s
from otjd.push.transport import exchange

VERSION_PATHS = ("/getxml?location=/Status/SystemUnit/Software/Version", "/status.xml")
"""Where the version is read, the small document first; both are documented from TC to RoomOS."""

UNIT_PATHS = ("/getxml?location=/Status/SystemUnit", "/status.xml")
"""Where product and version are read, as VERSION_PATHS."""

_SHOWN_LIMIT = 200


@dataclass(frozen=True, slots=True)
class CiscoEndpoint:
    """One endpoint to push to. `host` is a name or an IP address, `proxy_url` the web proxy on the way, if any."""

    name: str
    room: Room
    host: str
    port: int
    username: str
    password: str = field(repr=False)
    use_https: bool = True
    verify: bool = True
    start_buffer: timedelta = timedelta()
    end_buffer: timedelta = timedelta()
    proxy_url: str = field(default="", repr=False)

    @property
    def base_url(self) -> str:
        """Scheme, host and port."""
        host = f"[{self.host}]" if ":" in self.host else self.host.encode("idna").decode("ascii")
        return f"{'https' if self.use_https else 'http'}://{host}:{self.port}"


class PushError(Exception):
    """A push failed; the message says why, for the operator. `status` is the HTTP status, where one came."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class UnreachableError(PushError):
    """No answer came."""


class NotAuthorizedError(PushError):
    """The endpoint does not accept the login; trying again may lock the user out."""


class BusyError(PushError):
    """The endpoint asks to be left alone, for `retry_after_s` seconds where it says how long."""

    def __init__(self, reason: str, status: int, retry_after_s: float | None) -> None:
        super().__init__(reason, status)
        self.retry_after_s = retry_after_s


class RefusedError(PushError):
    """The endpoint answered, but not with success."""


class MissingCommandError(RefusedError):
    """The firmware does not have the command, or not even the address for it."""


class CodecClient:
    """Speaks to one endpoint: a connection for each request, Basic authentication, no session, no cookie.

    Every method sends one request. `now` is the aware UTC time.

    :raises PushError: in one of its kinds, from every method.
    """

    def __init__(self, endpoint: CiscoEndpoint, agent: IAgent, clock: IReactorTime) -> None:
        self._endpoint = endpoint
        self._agent = agent
        self._clock = clock

    async def version(self, path: str) -> SoftwareVersion | None:
        """The version that the document at `path`, one of VERSION_PATHS, tells; None where it tells none."""
        answer = await self._send("GET", path)
        if answer.status == 200:
            if is_sign_in_page(answer.body):
                raise _sign_in_page()
            return parse_version(read_version(answer.body))
        if answer.status in (401, 503) or 300 <= answer.status < 400:
            raise self._non_200(answer)
        return None  # whether the endpoint is in order is seen when it is sent its list

    async def unit(self, path: str) -> tuple[str, SoftwareVersion | None]:
        """The product and the version that the document at `path`, one of UNIT_PATHS, tells; None for a version
        that is not known."""
        answer = await self._send("GET", path)
        if answer.status != 200:
            raise self._non_200(answer)
        if is_sign_in_page(answer.body):
            raise _sign_in_page()
        product, version = read_unit(answer.body)
        return product, parse_version(version)

    async def put_xml(self, bookings: Sequence[Booking]) -> None:
        """Replace the list by the private XML. That it was taken is to be seen in the list alone."""
        answer = await self._post("/bookingsputxml", bookings_xml(bookings))
        if is_sign_in_page(answer.body):
            raise _sign_in_page()

    async def put_json(self, bookings: Sequence[Booking], features: Features, now: datetime) -> None:
        """Replace the list by `Bookings Put`, or by `Bookings Clear` where it is empty."""
        body = bookings_put(bookings, features=features, now=now)
        await self._command(body, CLEAR_RESULT if body == CLEAR else PUT_RESULT)

    async def clear(self) -> None:
        """Empty the list by `Bookings Clear`."""
        await self._command(CLEAR, CLEAR_RESULT)

    async def differences(self, bookings: Sequence[Booking]) -> str:
        """How the list that the endpoint holds differs from `bookings`; empty where it does not."""
        answer = await self._post("/putxml", LIST)
        result, listed = read_list_result(answer.body)
        self._check(result.verdict, str(result))
        return list_differences(bookings, listed)

    async def _command(self, body: bytes, expected: str) -> None:
        answer = await self._post("/putxml", body)
        result = read_put_result(answer.body, expected)
        self._check(result.verdict, str(result))

    @staticmethod
    def _check(verdict: Verdict, reason: str) -> None:
        if verdict is Verdict.SIGN_IN_PAGE:
            raise _sign_in_page()
        if verdict in (Verdict.UNKNOWN_COMMAND, Verdict.NO_RESULT):
            raise MissingCommandError(reason, 200)
        if verdict is not Verdict.OK:
            raise RefusedError(reason, 200)

    async def _post(self, path: str, body: bytes) -> Answer:
        answer = await self._send("POST", path, body)
        if answer.status != 200:
            raise self._non_200(answer)
        return answer

    async def _send(self, method: str, path: str, body: bytes | None = None) -> Answer:
        login = f"{self._endpoint.username}:{self._endpoint.password}".encode()
        headers = {"Authorization": f"Basic {b64encode(login).decode('ascii')}", "User-Agent": "otjd"}
        if body is not None:
            headers["Content-Type"] = "text/xml"
        try:
            return await exchange(self._agent, method.encode("ascii"),
                                  f"{self._endpoint.base_url}{path}".encode("ascii"),
                                  headers=headers, body=body, clock=self._clock)
        except RequestError as error:
            raise UnreachableError(f"{self._endpoint.base_url}: {error}") from error

    def _non_200(self, answer: Answer) -> PushError:
        status = answer.status
        if status == 401:
            return NotAuthorizedError("user name or password are wrong, or the user is locked", status)
        if status == 503:
            return BusyError("the endpoint is busy: another client asks it too often", status,
                             retry_after_s(answer.headers.get("retry-after", ""), answer.headers.get("date", "")))
        if 300 <= status < 400:
            return self._redirect(status, answer.headers.get("location", "")[:_SHOWN_LIMIT])
        kind = MissingCommandError if status == 404 else RefusedError
        return kind(_HINTS.get(status, "the endpoint cannot do it"), status)

    def _redirect(self, status: int, location: str) -> PushError:
        if "/signin" in location:
            return NotAuthorizedError(f"the endpoint redirects to its sign-in page {location!r}: user name or "
                                      "password are wrong", status)
        advice = ("redirects are not followed, so that the password goes nowhere else" if self._endpoint.use_https
                  else "it wants HTTPS, set use_https")
        return RefusedError(f"the endpoint redirects to {location!r}: {advice}", status)


_HINTS = {
    403: "the user may not do this: it needs the role Admin",
    404: "the endpoint does not have this address: is it a Cisco endpoint with a local API?",
    413: "the list of bookings is too large for the endpoint",
}


def _sign_in_page() -> NotAuthorizedError:
    return NotAuthorizedError("the endpoint answered with its sign-in page: user name or password are wrong", 200)
