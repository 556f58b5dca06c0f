"""How a Teams meeting is written into the dial string of SIP Guest Join (invitations.md section 2.4).

The vendor documents the dial string, `<blob>.<tenant id>@pex.ms`, but not what the blob holds. All of that is
here, to be replaced in one place once it is known.
"""

from __future__ import annotations

import base64
import binascii
import re
from uuid import UUID

DOMAIN = "pex.ms"

_THREAD_OF_GUID = re.compile(r"19:meeting_([A-Za-z0-9+/_-]{48})@thread\.v2")
_PASSCODE_KIND = "e|"


def meeting_blob(thread_id: str, message_id: str, organizer_id: str) -> str:
    """Base32 of all that a Graph join needs but the tenant: thread, message and organizer.

    Inferred, not documented. The usual thread id is base64 of a GUID's text, so that its 16 bytes are enough; with
    a GUID and message 0 the blob is a byte 1, the thread and the organizer. Any other is a byte 0, the organizer,
    and message and thread as text.
    """
    organizer = UUID(organizer_id).bytes
    thread = _thread_guid(thread_id)
    if thread is not None and message_id == "0":
        return base32(b"\x01" + thread.bytes + organizer)
    return base32(b"\x00" + organizer + f"{message_id}|{thread_id}".encode())


def passcode_blob(passcode: str) -> str:
    """Base32 of a passcode, as one public implementation writes it behind the meeting id."""
    return base32(f"{_PASSCODE_KIND}{passcode}".encode())


def base32(data: bytes) -> str:
    """RFC 4648 base32 in upper case without padding."""
    return base64.b32encode(data).decode("ascii").rstrip("=")


def _thread_guid(thread_id: str) -> UUID | None:
    """The GUID of which a thread id is made, where the id can be made of it again."""
    match = _THREAD_OF_GUID.fullmatch(thread_id)
    if match is None:
        return None
    try:
        text = base64.b64decode(match[1], validate=True).decode("ascii")
        guid = UUID(text)
    except (binascii.Error, ValueError):
        return None
    return guid if str(guid) == text else None
