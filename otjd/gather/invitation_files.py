"""Single invitations from files: iCalendar, saved mails, Outlook messages, and JSON (contract section 5)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.errors import MessageError
from email.message import EmailMessage, Message
from email.utils import parseaddr, parsedate_to_datetime

from otjd.gather.icalendar_reader import UnreadableCalendarError, read_calendar
from otjd.meetings.model import Invitation, Organizer
from otjd.rules.invitation_json import InvitationJsonError, invitation_from_json
from otjd.rules.rule import Rule, RuleError

SIZE_LIMIT = 30_000_000
"""Bytes of a file that is read."""

_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_HEADER = re.compile(rb"\s{0,100}(?:From |[A-Za-z][A-Za-z0-9-]{0,70}:)")
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_KINDS = {".json": "json", ".eml": "eml", ".msg": "msg", ".ics": "ics", ".ical": "ics", ".ifb": "ics",
          ".icalendar": "ics"}

Read = tuple[Invitation, tuple[Rule, ...] | None]
"""An invitation, and the rules to use for it in place of the profile's; None where it brings none."""


class UnreadableInvitationError(ValueError):
    """A file holds no invitation; the text names it and says what is wrong."""

    def __init__(self, path_name: str, problem: str) -> None:
        super().__init__(f"{path_name}: {problem}")
        self.path_name = path_name
        self.problem = problem


def read_invitation(path_name: str, content: bytes) -> Read:
    """The first invitation of a file.

    :raises UnreadableInvitationError: there is none.
    """
    return read_invitations(path_name, content)[0]


def read_invitations(path_name: str, content: bytes) -> list[Read]:
    """The invitations of a file, at least one: several only where a JSON file holds a list.

    The ending of its name tells what it is; without a known one, as for `-`, its content does.

    :raises UnreadableInvitationError: it holds none.
    """
    if len(content) > SIZE_LIMIT:
        raise UnreadableInvitationError(path_name, f"it has more than {SIZE_LIMIT} bytes, the most that are read")
    kind = _kind(path_name, content)
    try:
        if kind == "json":
            return _from_json(content)
        if kind == "ics":
            return [(_from_calendar(content, path_name), None)]
        if kind == "msg":
            return [(_from_message(content, path_name), None)]
        return [(_from_mail(content, path_name), None)]
    except UnreadableCalendarError as error:
        where = {"ics": "", "msg": "attached calendar, "}.get(kind, "part text/calendar, ")
        raise UnreadableInvitationError(path_name, f"{where}line {error.line}: {error.problem}") from None
    except (InvitationJsonError, RuleError, _NoInvitationError) as error:
        raise UnreadableInvitationError(path_name, str(error)) from None
    except (ValueError, LookupError, MessageError, RecursionError) as error:
        raise UnreadableInvitationError(path_name, f"it cannot be read as {kind}: {error}") from error


class _NoInvitationError(Exception):
    """What was found is no invitation."""


def _kind(path_name: str, content: bytes) -> str:
    suffix = re.search(r"\.[A-Za-z]+\Z", path_name)
    known = _KINDS.get(suffix[0].lower()) if suffix else None
    if known is not None:
        return known
    if content.startswith(_OLE):
        return "msg"
    start = content[:1000].removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith((b"{", b"[")):
        return "json"
    if start[:15].upper() == b"BEGIN:VCALENDAR":
        return "ics"
    if _HEADER.match(start):
        return "eml"
    raise UnreadableInvitationError(path_name, "found neither JSON, nor iCalendar, nor a mail; expected a file "
                                    "that ends in .json, .ics, .eml or .msg")


def _from_json(content: bytes) -> list[Read]:
    try:
        data = json.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except ValueError as error:
        raise _NoInvitationError(f"this is no JSON: {error}") from None
    if not isinstance(data, list):
        return [invitation_from_json(data)]
    if not data:
        raise _NoInvitationError("the list is empty")
    return [invitation_from_json(entry) for entry in data]


def _from_calendar(content: bytes, source: str) -> Invitation:
    return read_calendar(content, source).first_invitation()


def _from_message(content: bytes, path_name: str) -> Invitation:
    from otjd.gather.outlook_message import (  # noqa: PLC0415 - its libraries are needed for this alone
        UnreadableMessageError,
        read_message,
    )

    try:
        invitation, calendar = read_message(content)
    except UnreadableMessageError as error:
        raise _NoInvitationError(str(error)) from None
    return _from_calendar(calendar, path_name) if calendar else invitation


def _from_mail(content: bytes, path_name: str) -> Invitation:
    mail = message_from_bytes(content, policy=policy.default)
    if not mail.keys():
        raise _NoInvitationError("this is no mail: it has no headers")
    html, text = _bodies(mail)
    for part in mail.walk():
        if part.get_content_type() == "text/calendar":
            invitation = _from_calendar(_bytes(part), path_name)
            own = bool((invitation.body_html or invitation.body_text).strip())
            if part.get_content_disposition() == "attachment" and own:
                return invitation  # the mail around it is a covering letter
            return replace(invitation, body_html=invitation.body_html or html,
                           body_text=invitation.body_text or text)
    sent = _forwarded(mail) or mail
    at = _date(sent)
    name, address = parseaddr(_header(sent, "From"))
    return Invitation(uid=_header(sent, "Message-ID").strip() or "mail", start_time=at, end_time=at,
                      subject=_header(sent, "Subject"), organizer=Organizer(name, address),
                      body_html=html, body_text=text)


def _forwarded(mail: Message) -> Message | None:
    """The mail that is attached to another, whose sender and subject are those of the invitation."""
    for part in mail.walk():
        if part.get_content_type() == "message/rfc822" and part.is_multipart():
            attached = part.get_payload(0)
            return attached if isinstance(attached, Message) else None
    return None


def _bodies(mail: Message) -> tuple[str, str]:
    """HTML and text of a mail; those of a mail that it forwards as an attachment behind its own."""
    html: list[str] = []
    text: list[str] = []
    for part in mail.walk():
        if part.get_content_disposition() == "attachment" or part.is_multipart():
            continue
        if part.get_content_type() == "text/html":
            html.append(_text(part))
        elif part.get_content_type() == "text/plain":
            text.append(_text(part))
    return "\n".join(html), "\n".join(text)


def _bytes(part: Message) -> bytes:
    """The content of a part in UTF-8, whatever its character set was."""
    return _text(part).encode("utf-8")


def _text(part: Message) -> str:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    try:
        return payload.decode(part.get_content_charset("utf-8"), "replace")
    except LookupError:
        return payload.decode("utf-8", "replace")


def _header(mail: Message, name: str) -> str:
    try:
        return str(mail.get(name, ""))
    except (ValueError, LookupError, AttributeError, TypeError):  # the standard parser trips over broken headers
        return next((str(v) for k, v in _raw_headers(mail) if k.lower() == name.lower()), "")


def _raw_headers(mail: Message) -> Iterator[tuple[str, str]]:
    return mail.raw_items() if isinstance(mail, EmailMessage) else iter(mail.items())


def _date(mail: Message) -> datetime:
    try:
        at = parsedate_to_datetime(_header(mail, "Date"))
    except (ValueError, TypeError):
        return _NO_TIME
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
