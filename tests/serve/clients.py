"""What clients send to sign in: Basic, Digest, and NTLM as a client library packs it."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

from ntlm_auth.messages import AuthenticateMessage, ChallengeMessage, NegotiateMessage

from otjd.protocol.ntlm import nt_hash


def basic(username: str, password: str, encoding: str = "utf-8") -> str:
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode(encoding)).decode()}"


def parameters(challenge: str) -> dict[str, str]:
    return {name.lower(): quoted or plain
            for name, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,"]+))', challenge)}


def digest(challenge: str, username: str, password: str, /, *, uri: str = "/EWS/Exchange.asmx",
           method: str = "POST", count: int = 1, **changes: str) -> str:
    """The header that answers a Digest challenge; `changes` replace parameters after the response was computed."""
    asked = parameters(challenge)

    def hashed(*parts: str) -> str:
        text = ":".join(parts).encode()
        if asked["algorithm"] == "SHA-256":
            return hashlib.sha256(text).hexdigest()
        return hashlib.md5(text, usedforsecurity=False).hexdigest()

    nc, cnonce = f"{count:08x}", "0a4f113b"
    response = hashed(hashed(username, asked["realm"], password), asked["nonce"], nc, cnonce, "auth",
                      hashed(method, uri))
    escaped = username.replace("\\", "\\\\").encode().decode("latin-1")
    given = {"username": escaped, "realm": asked["realm"], "nonce": asked["nonce"], "uri": uri,
             "response": response, "algorithm": asked["algorithm"], "qop": "auth", "nc": nc, "cnonce": cnonce,
             **changes}
    return "Digest " + ", ".join(f'{name}="{value}"' for name, value in given.items())


class NtlmClient:
    """Both legs of a handshake; `flags` are pyspnego's unless others are given."""

    def __init__(self, username: str, password: str, domain: str = "", flags: int = 0xE2088237) -> None:
        self._username = username
        self._domain = domain
        # the form that ntlm-auth takes where MD4 is missing
        self._password = f"{'0' * 32}:{nt_hash(password).hex()}"
        self._negotiate = NegotiateMessage(flags, None, None)

    @property
    def first(self) -> str:
        return f"NTLM {base64.b64encode(self._negotiate.get_data()).decode()}"

    def second(self, challenge: str) -> str:
        scheme, _, token = challenge.partition(" ")
        assert scheme == "NTLM"
        message: Any = ChallengeMessage(base64.b64decode(token))
        answer = AuthenticateMessage(self._username, self._password, self._domain, "ROOM", message, 3)
        answer.add_mic(self._negotiate, message)
        return f"NTLM {base64.b64encode(answer.get_data()).decode()}"
