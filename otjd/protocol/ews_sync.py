"""The state of SyncFolderItems and SyncFolderHierarchy: what a client knows, carried by the client itself.

Nothing is kept on our side, so a state survives every restart. It holds the id and ChangeKey of each item that the
client was told of; whoever alters it deceives nobody but himself.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

_MARK = b"\x01otjdS"
_FOLDERS_MARK = b"\x01otjdH"
_ID_BYTES = 16
_KEY_BYTES = 15
_ENTRY_BYTES = _ID_BYTES + _KEY_BYTES

Known = Mapping[str, str]
"""ChangeKey (base64) by meeting id (hexadecimal digits)."""


class BrokenStateError(ValueError):
    """A state that was not made here."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What to tell a client, by meeting id, and what it knows afterwards; `deleted` has the ChangeKeys it knew."""

    created: tuple[str, ...]
    updated: tuple[str, ...]
    deleted: tuple[tuple[str, str], ...]
    known: Known
    is_last: bool


def read_state(text: str) -> Known:
    """What a client knows; nothing where it has no state yet.

    :raises BrokenStateError: this is no state.
    """
    if not text:
        return {}
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BrokenStateError from None
    entries = raw.removeprefix(_MARK)
    if not raw.startswith(_MARK) or len(entries) % _ENTRY_BYTES:
        raise BrokenStateError
    known = {}
    for at in range(0, len(entries), _ENTRY_BYTES):
        entry = entries[at:at + _ENTRY_BYTES]
        known[entry[:_ID_BYTES].hex()] = base64.b64encode(entry[_ID_BYTES:]).decode("ascii")
    return known


def write_state(known: Known) -> str:
    """The state of a client that knows this."""
    raw = _MARK + b"".join(bytes.fromhex(key) + base64.b64decode(value) for key, value in known.items())
    return base64.b64encode(raw).decode("ascii")


def changes(known: Known, current: Known, limit: int) -> Changes:
    """What a client that knows `known` is to be told so that it knows `current`, `limit` changes at most."""
    deleted = [(key, value) for key, value in known.items() if key not in current][:limit]
    limit -= len(deleted)
    created = [key for key in current if key not in known][:limit]
    limit -= len(created)
    updated = [key for key in current if key in known and known[key] != current[key]][:limit]
    gone = {key for key, _ in deleted}
    after = {key: value for key, value in known.items() if key not in gone}
    after.update((key, current[key]) for key in (*created, *updated))
    return Changes(tuple(created), tuple(updated), tuple(deleted), after, after == dict(current))


def hierarchy_state(room_email: str) -> str:
    """The state of a client that knows the folders of a room's mailbox, which never change."""
    digest = hashlib.sha256(room_email.encode("utf-8", "surrogatepass")).digest()[:_ID_BYTES]
    return base64.b64encode(_FOLDERS_MARK + digest).decode("ascii")
