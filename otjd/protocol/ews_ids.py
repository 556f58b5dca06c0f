"""Ids that endpoints keep: of items, folders and versions of both, and the GlobalObjectId of a booking.

All are base64 of a short mark and a digest or number, far below the 200 characters that some devices can keep, and
come out the same after every restart. Clients treat them as opaque.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from enum import Enum
from functools import lru_cache

_ITEM_MARK = b"\x01otjdI"
_FOLDER_MARK = b"\x01otjdF"
_ITEM_BYTES = 16
_FOLDER_BYTES = 20

FOLDERS = tuple("""
    calendar root msgfolderroot inbox contacts deleteditems drafts junkemail outbox sentitems tasks
    journal notes searchfolders voicemail publicfoldersroot recoverableitemsroot
    recoverableitemsdeletions recoverableitemsversions recoverableitemspurges
    recoverableitemsdiscoveryholds adminauditlogs archiveroot archivemsgfolderroot
    archivedeleteditems archiveinbox archiverecoverableitemsroot archiverecoverableitemsdeletions
    archiverecoverableitemsversions archiverecoverableitemspurges
    archiverecoverableitemsdiscoveryholds syncissues conflicts localfailures serverfailures
    recipientcache quickcontacts imcontactlist peopleconnect mecontact conversationhistory
    todosearch mycontacts directory favorites personmetadata""".split())  # noqa: SIM905
"""The distinguished folders of EWS. A room's mailbox has them all, and all but `calendar` are empty."""

_BYTE_ARRAY_ID = "040000008200E00074C5B7101A82E008"
_BYTE_ARRAY_HEAD = bytes.fromhex(_BYTE_ARRAY_ID)
_ENCODED_LENGTH = 82
_VCAL_MARK = b"vCal-Uid\x01\0\0\0"
_UID_BYTES = 250

CHANGE_KEY_BYTES = 14
"""Bytes of a ChangeKey behind its mark."""


class IdKind(Enum):
    """What an id stands for."""

    ITEM = "item"
    FOLDER = "folder"


def _encoded(raw: bytes) -> str:
    return binascii.b2a_base64(raw, newline=False).decode("ascii")


def raw_id(text: str) -> tuple[IdKind, bytes] | None:
    """What a base64 id stands for, and its bytes; None for one that was never given out by otjd."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    kind = kind_of(raw)
    return (kind, raw) if kind is not None and _encoded(raw) == text else None


def kind_of(raw: bytes) -> IdKind | None:
    """What the bytes of an id stand for; None for those of another maker."""
    if raw.startswith(_ITEM_MARK) and len(raw) == len(_ITEM_MARK) + _ITEM_BYTES:
        return IdKind.ITEM
    if raw.startswith(_FOLDER_MARK) and len(raw) == len(_FOLDER_MARK) + _FOLDER_BYTES:
        return IdKind.FOLDER
    return None


def item_id(meeting_id: str) -> str:
    """The ItemId of a meeting, from its id of 32 hexadecimal digits."""
    return _encoded(_ITEM_MARK + bytes.fromhex(meeting_id))


def hexadecimal_item_id(meeting_id: str) -> str:
    """The ItemId of a meeting as ConvertId gives it in the format HexEntryId."""
    return (_ITEM_MARK.hex() + meeting_id).upper()


def configuration_id(room_email: str, name: str) -> str:
    """The id, like that of a meeting, of a setting that is stored in a room's mailbox."""
    return hashlib.sha256(f"{room_email}\0configuration\0{name}".encode()).hexdigest()[:32]


def meeting_id(raw: bytes) -> str:
    """The id of the meeting that the bytes of an ItemId stand for."""
    return raw[len(_ITEM_MARK):].hex()


@lru_cache(maxsize=8192)
def folder_id(room_email: str, name: str) -> str:
    """The FolderId of one of a room's folders."""
    return _encoded(_FOLDER_MARK + hashlib.sha256(f"{room_email}\0{name}".encode()).digest()[:_FOLDER_BYTES])


def folder_name(room_email: str, wanted: str) -> str | None:
    """Which of a room's folders this FolderId stands for; None where it is of another room."""
    return next((name for name in FOLDERS if folder_id(room_email, name) == wanted), None)


def change_key(*parts: str) -> str:
    """A ChangeKey that changes exactly when one of `parts` does."""
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()
    return _encoded(b"\x01" + digest[:CHANGE_KEY_BYTES])


def item_change_key(meeting_change_key: str, shown: int) -> str:
    """The ChangeKey of an item: that of its meeting, in hexadecimal digits, mixed with a digest of how it is
    shown."""
    return _encoded(b"\x01" + (int(meeting_change_key, 16) ^ shown).to_bytes(CHANGE_KEY_BYTES))


def global_object_id(uid: str, occurrence: str = "") -> bytes:
    """The GlobalObjectId of a booking; of an occurrence with its original date ([MS-OXOCAL] 2.2.1.27).

    `occurrence` is `YYYYMMDDTHHMMSSZ` or empty. A `uid` that is the hexadecimal form of one already ([MS-OXCICAL]
    2.1.3.1.1.20.26) stays the same booking; any other is wrapped, a very long one by its digest.
    """
    date = bytes(4)
    if len(occurrence) >= 8 and occurrence[:8].isascii() and occurrence[:8].isdigit():
        date = int(occurrence[:4]).to_bytes(2, "big") + bytes((int(occurrence[4:6]), int(occurrence[6:8])))
    if (encoded := _from_hexadecimal(uid)) is not None:
        return _BYTE_ARRAY_HEAD + date + encoded[20:]
    octets = uid.encode("utf-8", "surrogatepass")
    if len(octets) > _UID_BYTES:
        octets = hashlib.sha256(octets).hexdigest().encode("ascii")
    data = _VCAL_MARK + octets + b"\0"
    return _BYTE_ARRAY_HEAD + date + bytes(16) + len(data).to_bytes(4, "little") + data


def _from_hexadecimal(uid: str) -> bytes | None:
    if _ENCODED_LENGTH <= len(uid) <= 4 * _UID_BYTES and uid[:32].upper() == _BYTE_ARRAY_ID:
        try:
            return bytes.fromhex(uid)
        except ValueError:
            return None
    return None
