"""What can be read from an integration: the sign-in, and the calendar of one room for the days that come."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from otjd import wiring
from otjd.config.model import (
    Config,
    ExchangeIntegration,
    FileIntegration,
    GoogleIntegration,
    GraphIntegration,
    Integration,
)
from otjd.gather.calendar_folder import SUFFIX, CalendarFileError, scan
from otjd.gather.files import UnreadableFileError, read_room
from otjd.gather.intake import ProfileRules, consider
from otjd.gather.source import (
    BudgetSpentError,
    CalendarSource,
    RoomError,
    SourceError,
    ThrottledError,
    UnauthorizedError,
    UnreachableError,
)
from otjd.live.rows import Row, State, network_hint
from otjd.meetings.model import Invitation, Room, Window
from otjd.protocol.ews_client import EwsError
from otjd.seam import InThread
from otjd.sign_in import CloudIntegration, consent_of
from otjd.sources import Surroundings, calendar_system

MOST_REQUESTS = 12
"""Requests to one calendar system, without those for tokens."""

FOR_A_WEEK = 7
"""How many of them may go into reading a week; the rest is for a day, where the week takes more."""

ROOMS_TRIED = 3
_ROOMS_SHOWN = 5
WEEK, DAY = timedelta(days=7), timedelta(days=1)
KINDS = {"exchange": "Exchange", "graph": "Microsoft 365", "google": "Google", "file": "files"}

_PROCESSING = ("Set-CalendarProcessing -Identity {room} -DeleteComments $false -DeleteSubject $false "
               "-AddOrganizerToSubject $false -RemovePrivateProperty $false -ProcessExternalMeetingMessages $true")
_IMPERSONATION = "New-ManagementRoleAssignment -Name otjd -Role ApplicationImpersonation -User {account}"
_ROOMS = "Get-Mailbox -RecipientTypeDetails RoomMailbox | Format-Table PrimarySmtpAddress, UserPrincipalName"
_EXCHANGE_HINTS = {
    "ErrorImpersonateUserDenied": _IMPERSONATION, "ErrorImpersonationDenied": _IMPERSONATION,
    "ErrorAccessDenied": _IMPERSONATION, "ErrorNonExistentMailbox": _ROOMS, "ErrorCannotFindUser": _ROOMS,
    "ErrorMailRecipientNotFound": _ROOMS, "ErrorInvalidSmtpAddress": _ROOMS, "ErrorInvalidMailbox": _ROOMS,
    "ErrorNonPrimarySmtpAddress": _ROOMS,
}


@dataclass(slots=True)
class Allowance:
    """Counts requests in memory, apart from the budget of a running node."""

    limit: int = FOR_A_WEEK
    used: int = 0

    def spend(self, requests: int) -> None:
        """Count requests that are about to be sent.

        :raises BudgetSpentError: they are too many.
        """
        if self.used + requests > self.limit:
            raise BudgetSpentError(f"{self.limit} requests were not enough")
        self.used += requests


@dataclass(frozen=True, slots=True)
class Looking:
    """What every check of an integration needs."""

    config: Config
    config_file: str
    profiles: Mapping[str, ProfileRules]
    reactor: Any
    now: Callable[[], datetime]
    in_thread: InThread

    def profile_of(self, integration: str, room: str) -> str:
        """The first profile that shows a room of an integration."""
        return next(one.profile for one in wiring.rooms(self.config)
                    if one.email == room and self.config.profile(one.profile).integration == integration)


@dataclass(frozen=True, slots=True)
class Meetings:
    """The meetings that a room has from now on, in numbers."""

    room: str
    days: int
    total: int
    joinable: int
    with_body: int
    renamed: int
    hidden: int

    def __str__(self) -> str:
        if not self.total:
            return f"{self.room} was read: no meetings in {_number(self.days, 'day')}"
        return (f"{self.room} was read: {_number(self.total, 'meeting')} in {_number(self.days, 'day')}, "
                f"{self.joinable} to join, {self.with_body} with a body, {self.renamed} with the organizer's name "
                "as subject")


def _number(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


async def check_integration(integration: Integration, looking: Looking) -> Row:
    """Sign in and read a room, up to ROOMS_TRIED where rooms cannot be read; or look at the files of all."""
    rooms = tuple(wiring.calendars(looking.config, integration.name))
    if not rooms:
        return Row(KINDS[integration.kind], integration.name, address_of(integration), State.UNTESTED,
                   "no endpoint of this node is in a room that is read from it",
                   "name it as integration of a profile, and let an endpoint group use that")
    if isinstance(integration, FileIntegration):
        row: Row = await looking.in_thread(_files, integration, rooms, looking)
        return row
    return await _CalendarSystem(integration, rooms, looking).check()


def address_of(integration: Integration) -> str:
    """Where an integration is found."""
    match integration:
        case FileIntegration():
            return str(integration.directory)
        case ExchangeIntegration():
            return integration.ews_url or "Autodiscover"
        case GraphIntegration():
            return f"https://{integration.graph_api_domain}"
        case GoogleIntegration():
            return integration.api_url


def meetings_of(room: str, days: int, invitations: Sequence[Invitation], profile: Room,
                rules: ProfileRules) -> Meetings:
    """Look at invitations as a profile does; takes time, and belongs in a thread."""
    held = [one for one in invitations if not one.is_cancelled]
    shown = consider(profile, held, rules)
    return Meetings(
        room=room, days=days, total=len(held), joinable=sum(one.meeting.is_joinable for one in shown),
        with_body=sum(bool((one.body_text or one.body_html).strip()) for one in held),
        renamed=sum(_is_renamed(one) for one in held),
        hidden=sum(one.is_private and not one.subject for one in held))


def _is_renamed(invitation: Invitation) -> bool:
    """Whether the subject is what Exchange puts there with AddOrganizerToSubject and DeleteSubject."""
    name = invitation.organizer.name.strip().lower()
    return bool(name) and invitation.subject.strip().lower() == name


class _CalendarSystem:
    """One look at a calendar system."""

    def __init__(self, integration: CloudIntegration, rooms: Sequence[str], looking: Looking) -> None:
        self._integration = integration
        self._rooms = rooms
        self._looking = looking
        self._allowance = Allowance()

    async def check(self) -> Row:
        looking = self._looking
        system = calendar_system(looking.config, self._integration, Surroundings(
            reactor=looking.reactor, now=looking.now, in_thread=looking.in_thread, spend=self._allowance.spend))
        try:
            return await self._tried(system.source)
        finally:
            await system.source.stop()
            await system.close()

    async def _tried(self, source: CalendarSource) -> Row:
        refused: list[tuple[str, RoomError]] = []
        for room in self._rooms[:ROOMS_TRIED]:
            try:
                meetings = await self._read(source, room)
            except RoomError as error:
                refused.append((room, error))
                continue
            except SourceError as error:
                return self._failed(room, error)
            if refused:
                return self._failed(*refused[0], but=f"; {meetings}")
            return self._row(State.OK, f"signed in; {meetings}", self._advice(meetings))
        return self._failed(*refused[0], but=f"; nor can {', '.join(room for room, _ in refused[1:])} be read"
                            if refused[1:] else "")

    async def _read(self, source: CalendarSource, room: str) -> Meetings:
        try:
            return await self._meetings(source, room, WEEK)
        except BudgetSpentError:
            if self._allowance.limit == MOST_REQUESTS:
                raise
            self._allowance.limit = MOST_REQUESTS
            return await self._meetings(source, room, DAY)

    async def _meetings(self, source: CalendarSource, room: str, span: timedelta) -> Meetings:
        looking = self._looking
        now = looking.now()
        reading = await source.read(room, Window(now, now + span), None)
        profile = looking.profile_of(self._integration.name, room)
        found: Meetings = await looking.in_thread(meetings_of, room, span.days, reading.invitations,
                                                  Room(room, profile), looking.profiles[profile])
        return found

    def _advice(self, meetings: Meetings) -> str:
        """What to change at the room, where its meetings look as if something was taken out of them."""
        if isinstance(self._integration, GoogleIntegration):
            account = _google_account(self._integration)
            return (f"{_number(meetings.hidden, 'private meeting')} without details: share the calendar with "
                    f"{account} with the permission 'Make changes to events'") if meetings.hidden else ""
        if meetings.total and (not meetings.with_body or meetings.renamed == meetings.total):
            what = "no meeting has a body" if not meetings.with_body else "subjects are replaced"
            return f"{what}: {_PROCESSING.format(room=meetings.room)}"
        return ""

    def _failed(self, room: str, error: SourceError, but: str = "") -> Row:
        return self._row(State.FAILED, f"{error}{but}", self._hint(room, error))

    def _row(self, state: State, found: str, hint: str) -> Row:
        integration = self._integration
        return Row(KINDS[integration.kind], integration.name, address_of(integration), state, found, hint)

    def _hint(self, room: str, error: SourceError) -> str:
        """The command that mends an error, or that shows more of it."""
        integration = self._integration
        hint = ""
        if isinstance(error, BudgetSpentError):
            hint = "a running node reads it all the same; put a room with fewer meetings first to try the rest"
        elif isinstance(error, ThrottledError):
            hint = f"try again in {max(1, round(error.retry_after.total_seconds()))} s"
        elif isinstance(error, UnauthorizedError) and consent_of(integration) is not None:
            hint = f"otjd authorize {integration.name!r} --config {self._looking.config_file}"
        elif isinstance(error, UnreachableError):
            hint = network_hint(str(error), trust="name the file of its authority as ca_file of the integration")
        if hint:
            return hint
        match integration:
            case ExchangeIntegration():
                hint = _exchange_hint(integration, error)
            case GraphIntegration():
                hint = _graph_hint(integration, room, error)
            case GoogleIntegration():
                hint = _google_hint(integration, room, error)
        return hint


def _exchange_hint(integration: ExchangeIntegration, error: SourceError) -> str:
    account = integration.service_account_username
    if isinstance(error, UnauthorizedError):
        name = account.rpartition("\\")[2].partition("@")[0]
        return (f"it was tried once; on a domain controller: Get-ADUser {name} -Properties Enabled, LockedOut, "
                f"PasswordExpired; Unlock-ADAccount {name}")
    if isinstance(error.__cause__, EwsError) and error.__cause__.code in _EXCHANGE_HINTS:
        return _EXCHANGE_HINTS[error.__cause__.code].format(account=account)
    return "set ews_url to the URL of /EWS/Exchange.asmx: Get-WebServicesVirtualDirectory | Format-List *Url"


def _graph_hint(integration: GraphIntegration, room: str, error: SourceError) -> str:
    app = integration.client_id
    if isinstance(error, UnauthorizedError):
        return (f"Get-MgApplication -Filter \"appId eq '{app}'\" | Format-List DisplayName, PasswordCredentials, "
                "RequiredResourceAccess shows when its secrets end and what it may do")
    if "ErrorAccessDenied" in str(error):
        return (f"Test-ServicePrincipalAuthorization -Identity {app} -Resource {room}; where no room can be read: "
                f"az ad app permission admin-consent --id {app}")
    return _ROOMS


def _google_hint(integration: GoogleIntegration, room: str, error: SourceError) -> str:
    account = _google_account(integration)
    if isinstance(error, RoomError):
        return f"share {room} with {account}: Google Calendar > Settings of {room} > Share with specific people"
    project = account.partition("@")[2].partition(".")[0] if "gserviceaccount" in account else "PROJECT"
    if "enabled" in str(error):
        return f"gcloud services enable calendar-json.googleapis.com --project={project}"
    return f"gcloud iam service-accounts keys list --iam-account={account} --project={project}"


def _google_account(integration: GoogleIntegration) -> str:
    return integration.client_email or "the account that signs in"


# files

def _files(integration: FileIntegration, rooms: Sequence[str], looking: Looking) -> Row:
    """Whether each room has its file, and what is in the first one. Blocks."""
    def row(state: State, found: str, hint: str = "") -> Row:
        return Row(KINDS["file"], integration.name, address_of(integration), state, found, hint)

    try:
        entries = scan(integration.directory, frozenset(rooms))
    except OSError as error:
        return row(State.FAILED, f"{integration.directory} cannot be read: {error.strerror}",
                   f"let the account that runs otjd read it: ls -ld {integration.directory}")
    missing = [room for room in rooms if room not in entries]
    read = ""
    now = looking.now()
    for room in (room for room in rooms if room in entries):
        try:
            reading = read_room(entries[room].path, "", None, Window(now, now + WEEK), now)
        except (CalendarFileError, UnreadableFileError) as error:
            return row(State.FAILED, str(error), f"write a calendar in iCalendar form to {entries[room].path}")
        profile = looking.profile_of(integration.name, room)
        found = meetings_of(room, WEEK.days, reading.invitations or (), Room(room, profile),
                            looking.profiles[profile])
        read = f"; {found}"
        break
    if missing:
        more = f" and {len(missing) - _ROOMS_SHOWN} more" if len(missing) > _ROOMS_SHOWN else ""
        return row(State.FAILED, f"{len(missing)} of {len(rooms)} rooms have no file: "
                                 f"{', '.join(missing[:_ROOMS_SHOWN])}{more}{read}",
                   f"write the calendar of each to {integration.directory}/<room>{SUFFIX}")
    return row(State.OK, f"{len(rooms)} rooms have their files{read}")
