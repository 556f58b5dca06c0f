"""Messages that Outlook saved (.msg): MAPI properties in an OLE compound file ([MS-OXMSG], [MS-OXPROPS])."""

from __future__ import annotations

import codecs
import io
import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import olefile  # type: ignore[import-untyped]  # the package has no type information

from otjd.gather.rich_text import UnreadableRichTextError, read_rich_text
from otjd.meetings.model import Invitation, Organizer

_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_NAMES_LIMIT = 5000
_PUBLIC_LIMIT = 500
_VALUE_LIMIT = 200_000
_BODY_LIMIT = 20_000_000
_ATTACHMENTS_LIMIT = 50
_SYSTIME = 0x0040
_SENSITIVITIES = ("Normal", "Personal", "Private", "Confidential")
_ENCODINGS = {65001: "utf-8", 20127: "ascii", 28591: "latin-1", 28605: "iso8859-15"}

_MAPI = "00020328-0000-0000-c000-000000000046"
_PUBLIC = "00020329-0000-0000-c000-000000000046"
_APPOINTMENT = "00062002-0000-0000-c000-000000000046"
_COMMON = "00062008-0000-0000-c000-000000000046"
_MEETING = "6ed8da90-450b-101b-98da-00aa003f1305"
_LOCATION, _START, _END = (_APPOINTMENT, 0x8208), (_APPOINTMENT, 0x820D), (_APPOINTMENT, 0x820E)
_IS_ALL_DAY, _RECURRING = (_APPOINTMENT, 0x8215), (_APPOINTMENT, 0x8223)
_COMMON_START, _COMMON_END, _IS_PRIVATE = (_COMMON, 0x8516), (_COMMON, 0x8517), (_COMMON, 0x8506)
_OBJECT_ID = (_MEETING, 0x0003)

_CLASS, _SENSITIVITY, _SUBJECT, _BODY, _RICH, _HTML = 0x001A, 0x0036, 0x0037, 0x1000, 0x1009, 0x1013
_SUBMITTED, _DELIVERED, _MESSAGE_ID, _CODE_PAGE, _BODY_CODE_PAGE = 0x0039, 0x0E06, 0x1035, 0x3FFD, 0x3FDE
_ORGANIZER = ((0x0042, (0x5D02, 0x0065)), (0x0C1A, (0x5D01, 0x0C1F)))
"""Name and addresses of whom the message is from, then of who sent it."""

_ATTACHED, _ATTACHED_NAME = 0x3701, (0x3707, 0x3704)

Name = tuple[str, int | str]
"""A property set and the number or the name of a property in it."""


class UnreadableMessageError(ValueError):
    """This is no message of Outlook; the text says why."""


@dataclass(slots=True)
class _Message:
    """The properties of a message, or of one that is attached to it, in a storage of the file."""

    file: Any
    names: dict[Name, int]
    storage: tuple[str, ...] = ()
    header: int = 32
    _fixed: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        entries = self._stream("__properties_version1.0")[self.header:]
        for begin in range(0, min(len(entries), 16 * _NAMES_LIMIT) - 15, 16):
            kind, number = struct.unpack_from("<HH", entries, begin)
            self._fixed[number << 16 | kind] = entries[begin + 8:begin + 16]

    def _stream(self, name: str, limit: int = _BODY_LIMIT) -> bytes:
        """The content; empty where there is none, or one that is too long."""
        path = [*self.storage, name]
        if self.file.get_type(path) != olefile.STGTY_STREAM or self.file.get_size(path) > limit:
            return b""
        content: bytes = self.file.openstream(path).read()
        return content

    def number(self, name: int | Name) -> int:
        """A whole number or a truth value; 0 where there is none."""
        value = self._fixed.get(self._id(name) << 16 | 3) or self._fixed.get(self._id(name) << 16 | 11, b"\0" * 8)
        return int(struct.unpack_from("<i", value)[0])

    def time(self, *names: int | Name) -> datetime | None:
        """The first of these times that is there."""
        for name in names:
            value = self._fixed.get(self._id(name) << 16 | _SYSTIME)
            ticks = struct.unpack("<Q", value)[0] if value else 0
            if 0 < ticks < 2 ** 62 // 5:
                try:
                    return _EPOCH + timedelta(microseconds=ticks // 10)
                except OverflowError:
                    continue
        return None

    def text(self, *names: int | Name, limit: int = _VALUE_LIMIT) -> str:
        """The first of these texts that is not empty."""
        for name in names:
            prefix = f"__substg1.0_{self._id(name):04X}"
            found = self._stream(f"{prefix}001F", limit).decode("utf-16-le", "replace") or _decoded(
                self._stream(f"{prefix}001E", limit), self.number(_CODE_PAGE))
            if found:
                return found.rstrip("\0")
        return ""

    def binary(self, name: int | Name) -> bytes:
        """Bytes; empty where there are none."""
        return self._stream(f"__substg1.0_{self._id(name):04X}0102")

    def _id(self, name: int | Name) -> int:
        return name if isinstance(name, int) else self.names.get(name, 0)

    def attached(self) -> Iterator[_Message]:
        """Messages that are attached, and the properties of files that are."""
        found = {entry[len(self.storage)] for entry in self.file.listdir(storages=True)
                 if tuple(entry[:len(self.storage)]) == self.storage and len(entry) > len(self.storage)
                 and entry[len(self.storage)].startswith("__attach_version1.0_")}
        for name in sorted(found)[:_ATTACHMENTS_LIMIT]:
            inside = (*self.storage, name, "__substg1.0_3701000D")
            if self.file.get_type(list(inside)) == olefile.STGTY_STORAGE:
                yield _Message(self.file, self.names, inside, header=24)
            else:
                yield _Message(self.file, self.names, (*self.storage, name), header=8)


def read_message(content: bytes) -> tuple[Invitation, bytes]:
    """The invitation in a message, and the calendar file that is attached to it; empty where there is none.

    A meeting that is attached to a mail as a message counts in place of the mail; so does a calendar file.

    :raises UnreadableMessageError: it is none, or damaged.
    """
    if not olefile.isOleFile(data=content):
        raise UnreadableMessageError("this is no message of Outlook: it is not an OLE compound file")
    try:
        with olefile.OleFileIO(io.BytesIO(content)) as file:
            return _read(file)
    except UnreadableMessageError:
        raise
    except UnreadableRichTextError as error:
        raise UnreadableMessageError(f"its rich text cannot be read: {error}") from None
    except Exception as error:  # whatever a damaged file makes the library raise
        raise UnreadableMessageError(f"this message of Outlook is damaged: {error}") from error


def _read(file: Any) -> tuple[Invitation, bytes]:
    if not file.exists("__properties_version1.0"):
        raise UnreadableMessageError("this is an OLE compound file, but no message of Outlook: it has no "
                                     "__properties_version1.0")
    message = _Message(file, _names(file))
    if _is_meeting(message):
        return _invitation(message), b""
    attached = list(message.attached())
    meeting = next(filter(_is_meeting, attached), None)
    if meeting is not None:
        return _invitation(meeting), b""
    calendar = next((a for a in attached if a.text(*_ATTACHED_NAME).lower().endswith(".ics")), None)
    return _invitation(message), calendar.binary(_ATTACHED) if calendar else b""


def _is_meeting(message: _Message) -> bool:
    return message.text(_CLASS).lower().startswith(("ipm.appointment", "ipm.schedule.meeting"))


def _invitation(message: _Message) -> Invitation:
    start = message.time(_START, _COMMON_START, _SUBMITTED, _DELIVERED) or _NO_TIME
    html, text = _bodies(message)
    uid = message.binary(_OBJECT_ID).hex().upper() or message.text(_MESSAGE_ID) or "message"
    properties = _properties(message)
    return Invitation(
        uid=uid[:1000], start_time=start, end_time=message.time(_END, _COMMON_END) or start,
        subject=message.text(_SUBJECT), location=message.text(_LOCATION), body_html=html, body_text=text,
        organizer=_organizer(message),
        is_private=properties["Sensitivity"] in _SENSITIVITIES[2:] or bool(message.number(_IS_PRIVATE)),
        is_all_day=bool(message.number(_IS_ALL_DAY)), properties={"ews": properties})


def _organizer(message: _Message) -> Organizer:
    for name, addresses in _ORGANIZER:
        smtp = next((a for a in map(message.text, addresses) if "@" in a), "")  # the other kind is X.500
        found = Organizer(message.text(name), smtp)
        if found.display_name:
            return found
    return Organizer()


def _bodies(message: _Message) -> tuple[str, str]:
    """HTML and text: as they are, otherwise from the rich text."""
    text = message.text(_BODY, limit=_BODY_LIMIT)
    html = (_decoded(message.binary(_HTML), message.number(_BODY_CODE_PAGE))
            or message.text(_HTML, limit=_BODY_LIMIT))
    rich = message.binary(_RICH)
    if html.strip() or not rich:
        return html, text
    try:
        html, rich_text = read_rich_text(rich)
    except UnreadableRichTextError:
        if text.strip():
            return "", text  # the same body in its other form
        raise
    return html, text if text.strip() else rich_text


def _properties(message: _Message) -> dict[str, Any]:
    """What a calendar item has by EWS of these."""
    sensitivity = message.number(_SENSITIVITY)
    public = [name for set_id, name in message.names if set_id == _PUBLIC and isinstance(name, str)]
    named = [{"ExtendedFieldURI": {"DistinguishedPropertySetId": "PublicStrings", "PropertyName": name},
              "Value": value} for name in public[:_PUBLIC_LIMIT] if (value := message.text((_PUBLIC, name)))]
    return {"ItemClass": message.text(_CLASS), "IsRecurring": bool(message.number(_RECURRING)),
            "Sensitivity": _SENSITIVITIES[sensitivity] if sensitivity in range(4) else "Normal",
            "ExtendedProperty": named}


def _names(file: Any) -> dict[Name, int]:
    """The numbers that named properties have in this file ([MS-OXMSG] 2.2.3)."""
    sets, entries, texts = (_name_stream(file, number) for number in ("0002", "0003", "0004"))
    found: dict[Name, int] = {}
    for begin in range(0, min(len(entries), 8 * _NAMES_LIMIT) - 7, 8):
        identifier, kind, number = struct.unpack_from("<IHH", entries, begin)
        name: int | str = identifier
        if kind & 1:
            name = _text_at(texts, identifier)
        found.setdefault((_property_set(sets, kind >> 1), name), (0x8000 + number) & 0xFFFF)
    return found


def _name_stream(file: Any, number: str) -> bytes:
    path = ["__nameid_version1.0", f"__substg1.0_{number}0102"]
    content: bytes = file.openstream(path).read() if file.exists(path) else b""
    return content


def _property_set(sets: bytes, index: int) -> str:
    if index in (1, 2):
        return _MAPI if index == 1 else _PUBLIC
    begin = 16 * (index - 3)
    return str(uuid.UUID(bytes_le=sets[begin:begin + 16])) if 0 <= begin <= len(sets) - 16 else ""


def _text_at(texts: bytes, begin: int) -> str:
    length = struct.unpack_from("<I", texts, begin)[0] if begin + 4 <= len(texts) else 0
    return texts[begin + 4:begin + 4 + min(length, 1000)].decode("utf-16-le", "replace")


def _decoded(content: bytes, code_page: int) -> str:
    encoding = _ENCODINGS.get(code_page, f"cp{code_page}" if code_page else "utf-8")
    try:
        return content.decode(codecs.lookup(encoding).name, "replace")
    except LookupError:
        return content.decode("cp1252", "replace")
