"""How the load generator signs in: Digest, and NTLMv2 as ntlm-auth packs it."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from typing import Any

from ntlm_auth.messages import AuthenticateMessage, ChallengeMessage, NegotiateMessage

from otjd.protocol.ntlm import nt_hash

_FLAGS = 0xE2088237  # what pyspnego asks for


def digest(challenge: str, user: str, password: str, path: str, number: int) -> str:
    """The header for the `number`-th POST with the nonce of a challenge with MD5."""
    asked = dict(re.findall(r'(\w+)="?([^",\s]+)', challenge))
    counted, cnonce = f"{number:08x}", "0a4f113b"
    response = _md5(_md5(user, asked["realm"], password), asked["nonce"], counted, cnonce, "auth",
                    _md5("POST", path))
    return (f'Digest username="{user}", realm="{asked["realm"]}", nonce="{asked["nonce"]}", uri="{path}", '
            f'response="{response}", algorithm=MD5, qop=auth, nc={counted}, cnonce="{cnonce}"')


@cache
def _negotiate() -> Any:
    return NegotiateMessage(_FLAGS, None, None)


def ntlm_first() -> str:
    """The header of the first leg."""
    return f"NTLM {base64.b64encode(_negotiate().get_data()).decode()}"


def ntlm_second(challenge: str, user: str, password: str) -> str:
    """The header that answers a challenge."""
    received: Any = ChallengeMessage(base64.b64decode(challenge.partition(" ")[2]))
    held = f"{'0' * 32}:{nt_hash(password).hex()}"  # the form that ntlm-auth takes where MD4 is missing
    message = AuthenticateMessage(user, held, "", "ROOM", received, 3)
    message.add_mic(_negotiate(), received)
    return f"NTLM {base64.b64encode(message.get_data()).decode()}"


def _md5(*parts: str) -> str:
    return hashlib.md5(":".join(parts).encode(), usedforsecurity=False).hexdigest()
