"""Supervisor: raises the alarms that nobody reports, because they are about something that did not happen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from otjd.meetings.model import EndpointType
from otjd.operate.board import AlarmLevel, AlarmName, EndpointState, StatusBoard
from otjd.operate.status import rfc3339
from otjd.poller import Poller

SILENCE = timedelta(minutes=10)
"""A Poly endpoint that was silent for so long has an alarm (contract, section 6); it asks every minute or two."""

CONTACT_CHECK_S = 30.0
CERTIFICATE_CHECK_S = 3600.0

CERTIFICATE_LEVELS = (
    (timedelta(), AlarmLevel.CRITICAL),
    (timedelta(days=7), AlarmLevel.ERROR),
    (timedelta(days=21), AlarmLevel.WARNING),
)
"""The level of the alarm of a certificate that ends within this time; the shortest that applies."""

_SILENT = "No contact"


class Supervisor:
    """Looks for silent Poly endpoints every 30 seconds and for certificates that end soon every hour.

    `certificates` gives, from memory, each listener's name and the end of its certificate. Silence is counted from
    the last contact, or from when the endpoint became known to this node; a clock that is set makes nobody silent.
    """

    _log = Logger()

    def __init__(self, board: StatusBoard, *, clock: IReactorTime, now: Callable[[], datetime],
                 certificates: Callable[[], Iterable[tuple[str, datetime]]]) -> None:
        self._board = board
        self._clock = clock
        self._now = now
        self._certificates = certificates
        self._seen: dict[str, tuple[object, float]] = {}
        self._pollers = tuple(
            Poller(check, clock=clock, interval_s=interval_s, jitter=lambda: 0.0, failed=self._failed)
            for check, interval_s in ((self._check_contacts, CONTACT_CHECK_S),
                                      (self._check_certificates, CERTIFICATE_CHECK_S)))

    def start(self) -> None:
        """Check now and from now on."""
        for poller in self._pollers:
            poller.start()

    def check(self) -> None:
        """Check now, as after a reload; nothing happens before `start`."""
        for poller in self._pollers:
            poller.trigger(hurry=True)

    async def stop(self) -> None:
        """Check no more."""
        for poller in self._pollers:
            await poller.stop()

    async def _check_contacts(self) -> None:
        seen, self._seen = self._seen, {}
        for state in self._board.endpoints():
            if state.facts.endpoint_type is EndpointType.POLY:
                name, contact = state.facts.name, (state.last_contact_time, state.configured_at)
                known = seen.get(name)
                self._seen[name] = known if known and known[0] == contact else (contact, self._clock.seconds())
                if self._silent_for(state) >= SILENCE:
                    self._report_silence(state)

    def _silent_for(self, state: EndpointState) -> timedelta:
        """By the time of day, as far as that agrees with the time since a check first saw the last contact."""
        heard = max(filter(None, (state.last_contact_time, self._board.started_at, state.configured_at)))
        least = timedelta(seconds=self._clock.seconds() - self._seen[state.facts.name][1])
        return min(max(self._now() - heard, least), least + timedelta(seconds=CONTACT_CHECK_S))

    def _report_silence(self, state: EndpointState) -> None:
        """Renew the alarm of a silent endpoint; an error that says more than its silence stays the last one."""
        details = _silence(state)
        if state.last_error is None or state.last_error.startswith(_SILENT):
            self._board.endpoint_failed(state.facts.name, details)
        elif state.facts.raise_alarms:
            self._board.raise_alarm(AlarmName.POLY_ENDPOINT, state.facts.name,
                                    f"{details} Its last error: {state.last_error}")

    async def _check_certificates(self) -> None:
        now = self._now()
        ends: dict[str, datetime] = {}
        for listener, end in self._certificates():
            ends[listener] = min(end, ends.get(listener, end))
        for listener, end in ends.items():
            level = next((level for within, level in CERTIFICATE_LEVELS if end - now <= within), None)
            if level is None:
                self._board.lower_alarm(AlarmName.CERTIFICATE_EXPIRING, listener)
            else:
                self._board.raise_alarm(AlarmName.CERTIFICATE_EXPIRING, listener, _ending(end, now), level)
        for alarm in self._board.alarms():
            if alarm.name is AlarmName.CERTIFICATE_EXPIRING and alarm.instance not in ends:
                self._board.lower_alarm(alarm.name, alarm.instance)

    def _failed(self, error: Exception, attempt: int, delay_s: float) -> None:
        self._log.error("A check of the supervisor failed, next try in {delay_s} s: {error}", error=error,
                        attempt=attempt, delay_s=delay_s)


def _silence(state: EndpointState) -> str:
    # the time of day, not the minutes passed: the text stays the same while nothing happens
    since = ("since the node started" if state.last_contact_time is None
             else f"since {rfc3339(state.last_contact_time)}")
    address = state.address or state.facts.address
    sign_in = f"user name {state.facts.username}" if state.facts.username else "its poly_username"
    return (f"{_SILENT} {since}{f', then from {address}' if address else ''}. Check that the endpoint is on and "
            f"registered to the calendaring service, that it reaches this node's listener, that it accepts its "
            f"certificate, and that it signs in with {sign_in} and the matching password.")


def _ending(end: datetime, now: datetime) -> str:
    verb = "ended" if end <= now else "ends"
    return (f"The certificate {verb} at {rfc3339(end)}; endpoints refuse to connect from then on. Put a new one "
            "in its place, which is taken within half a minute.")
