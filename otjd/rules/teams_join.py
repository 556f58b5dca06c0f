"""Teams meetings as anybody joins them: the join link, or a meeting id and its passcode (invitations.md 2.4)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from urllib.parse import unquote

import re2  # type: ignore[import-untyped]  # the package has no type information

from otjd.rules.event import MeetingEvent
from otjd.rules.links import for_re2
from otjd.rules.patterns import SEPARATOR, WebAddress, behind, digit_groups, ungrouped, web_addresses

HOSTS = ("teams.microsoft.com", "teams.cloud.microsoft", "gov.teams.microsoft.us", "dod.teams.microsoft.us",
         "teams.microsoft.us", "emea.teams.microsoft.com", "teams.microsoftonline.cn")
"""Where tenants hold their meetings; the consumers' teams.live.com has no tenant."""

_IN_HOSTS = "teams."
"""In the name of each, in any letter case."""

_DECODINGS = 4
_CANDIDATES = 500
_LINK_LIMIT = 8000
_GUID = r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
_THREAD = re.compile(r"/meetup-join/(19:(?:[a-z]{2,6}:)?[A-Za-z0-9_+/=-]{8,150}@thread\.[a-z0-9]{2,10})"
                     r"/([0-9]{1,20})(?=[/?&#]|\Z)")
_TENANT = re.compile(rf'"Tid"\s{{0,3}}:\s{{0,3}}"{_GUID}"', re.IGNORECASE)
_ORGANIZER = re.compile(rf'"Oid"\s{{0,3}}:\s{{0,3}}"{_GUID}"', re.IGNORECASE)
_SHORT_PATH = re.compile(r"/meet/([0-9]{9,17})/?")

_ID = re.compile(digit_groups(9, 17))
_DIGITS = re2.compile("[0-9](?:[ -]?[0-9]){8}")  # finds in a fraction of the time that there is no id
_ID_GROUPS = re.compile(r"[0-9]{9,17}|[0-9]{3}(?:[ -][0-9]{3}){2,4}(?:[ -][0-9]{1,3})?")
_ID_LABEL = re.compile(r"[^\W\d_][^\n:：\d<>]{0,40}" + SEPARATOR + r"\Z")
_NOT_AN_ID = re.compile(
    r"phone|fono\b|telef|téléph|puheli|電話|电话|전화|телеф|vtc|v[ií]d[eé]o|wideo|ビデオ|видео|zoom|webex|mobil|\btel\b",
    re.IGNORECASE)
_CODE = r"((?:[A-Za-z0-9]{8}|[A-Za-z0-9]{6})(?![A-Za-z0-9]))"
_CODE_LABEL = re.compile(
    r"passcode|password|passwort|kennwort|kenncode|kennung|passord(?:kode)?|lösenord|adgangskode|tunnuskoodi|"
    r"pääsykoodi|salasana|code secret|mot de passe|code d.acc[eè]s|código(?: de acces?so)?|contraseña|senha|"
    r"codice(?: di accesso| segreto)?|toegangscode|wachtwoord(?:code)?|kod dostępu|hasło|heslo|jelszó|"
    r"пароль|секретный код|код доступа|パスコード|パスワード|密码|密碼|通行码|通行碼|암호|şifre|geçiş kodu|"
    r"κωδικός",
    re.IGNORECASE)
_CODE_BEHIND_ID = re.compile(
    rf"[\s*|•·,;]{{0,6}}([^\W\d_][^\n:：\d<>]{{0,40}}?)(?=[ *]{{0,3}}[:：]){SEPARATOR}{_CODE}")
_ONLY_CODE = re.compile(_CODE)
_RANDOM = re.compile(r".*[0-9]|[A-Za-z]+[A-Z][A-Za-z]*[a-z]|[a-z]+[A-Z]")
_TEAMS = re.compile(r"microsoft\s+teams|teams\.(?:microsoft|cloud\.microsoft)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class JoinLink:
    """What a link to `/l/meetup-join/` tells."""

    thread_id: str
    message_id: str
    tenant_id: str
    organizer_id: str


@dataclass(frozen=True, slots=True)
class IdAndPasscode:
    """A meeting id without blanks, and its passcode."""

    meeting_id: str
    passcode: str


def join_links(event: MeetingEvent) -> Iterator[JoinLink]:
    """The join links of an event."""
    return (found for address in event.once(_at_hosts) if (found := _join_link(address)))


def _at_hosts(event: MeetingEvent) -> tuple[WebAddress, ...]:
    """The web addresses at one of HOSTS."""
    return tuple(address for address in web_addresses(event, _IN_HOSTS) if address.is_at(*HOSTS))


def _join_link(address: WebAddress) -> JoinLink | None:
    """The parts of a join link; None for any other link, or where one of the parts is missing."""
    text = address.link[:_LINK_LIMIT]
    for _ in range(_DECODINGS):
        thread, tenant, organizer = _THREAD.search(text), _TENANT.search(text), _ORGANIZER.search(text)
        if thread and tenant and organizer:
            return JoinLink(thread[1], thread[2], tenant[1].lower(), organizer[1].lower())
        text = unquote(text)
    return None


def id_and_passcode(event: MeetingEvent) -> IdAndPasscode | None:
    """The id and passcode that the text prints for a Teams meeting; None where another provider's may be meant."""
    text = event.body.text
    pairs = [pair for pair in _pairs(text) if not _is_elsewhere(pair.meeting_id, web_addresses(event))]
    known = [match[1] for address in event.once(_at_hosts) if (match := _SHORT_PATH.fullmatch(address.path))]
    if known:
        return next((pair for pair in pairs if pair.meeting_id in known), None) or _with_only_code(text, known[0])
    if any(join_links(event)):
        return pairs[0] if pairs else None
    is_teams = bool(pairs) and any(_TEAMS.search(place) for place in (event.location, event.body.marked))
    return next((pair for pair in pairs if is_teams and len(pair.meeting_id) >= 11), None)


def _pairs(text: str) -> Iterator[IdAndPasscode]:
    """Every labelled id that a labelled passcode directly follows."""
    first = _DIGITS.search(for_re2(text))
    for found in islice(_ID.finditer(text, first.start()), _CANDIDATES) if first else ():
        label = _ID_LABEL.search(text[max(0, found.start() - 60):found.start()])
        if label is None or _NOT_AN_ID.search(label[0]) or not _ID_GROUPS.fullmatch(found[0]):
            continue
        code = _CODE_BEHIND_ID.match(text, found.end())
        if code is not None and (_CODE_LABEL.search(code[1]) or _RANDOM.match(code[2])):
            yield IdAndPasscode(ungrouped(found[0]), code[2])


def _with_only_code(text: str, meeting_id: str) -> IdAndPasscode | None:
    """The id of a link with the passcode, where the text prints but one."""
    codes = {match[1] for match in islice(behind(text, _CODE_LABEL, _ONLY_CODE), _CANDIDATES)}
    return IdAndPasscode(meeting_id, codes.pop()) if len(codes) == 1 else None


def _is_elsewhere(meeting_id: str, addresses: Iterable[WebAddress]) -> bool:
    """Whether the id stands in a link to something that is not Teams for tenants."""
    return any(meeting_id in address.link and not _TEAMS.search(address.link) for address in addresses)
