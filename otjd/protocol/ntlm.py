"""NTLMv2 authentication, the server's side ([MS-NLMP]), as values without I/O.

ntlm-auth packs and computes; users are held as NT hashes, which it takes in place of a password, because the MD4
that it would ask hashlib for is gone from current systems.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from Cryptodome.Cipher import ARC4
from ntlm_auth.compute_hash import _ntowfv2
from ntlm_auth.constants import NTLM_SIGNATURE, AvFlags, AvId, MessageTypes, NegotiateFlags
from ntlm_auth.messages import TargetInfo, get_version

CHALLENGE_BYTES = 8
"""Random bytes that a server's challenge has."""

NEGOTIATE, CHALLENGE, AUTHENTICATE = (MessageTypes.NTLM_NEGOTIATE, MessageTypes.NTLM_CHALLENGE,
                                      MessageTypes.NTLM_AUTHENTICATE)

BASE_FLAGS = (NegotiateFlags.NTLMSSP_REQUEST_TARGET | NegotiateFlags.NTLMSSP_NEGOTIATE_NTLM
              | NegotiateFlags.NTLMSSP_NEGOTIATE_ALWAYS_SIGN | NegotiateFlags.NTLMSSP_TARGET_TYPE_DOMAIN
              | NegotiateFlags.NTLMSSP_NEGOTIATE_TARGET_INFO | NegotiateFlags.NTLMSSP_NEGOTIATE_VERSION)
"""What Exchange sets in a type 2 message, besides the character set."""

_UNICODE = NegotiateFlags.NTLMSSP_NEGOTIATE_UNICODE
_OEM = NegotiateFlags.NTLMSSP_NEGOTIATE_OEM
_EXTENDED = NegotiateFlags.NTLMSSP_NEGOTIATE_EXTENDED_SESSIONSECURITY

_HEADER_BYTES = 64  # of a type 3 message up to its flags
_MIC = slice(72, 88)
_NTLMV1_BYTES = 24
_PROOF_BYTES = 16
_BLOB_HEADER = struct.Struct("<BB6x8x8s4x")  # versions, time and challenge of an NTLMv2_CLIENT_CHALLENGE
_WINDOWS_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


class NtlmError(ValueError):
    """A message that cannot be read, or of a kind that is not accepted; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class ServerNames:
    """What a type 2 message calls the server; clients only echo it."""

    netbios_domain: str = "OTJD"
    netbios_computer: str = "OTJD"
    dns_domain: str = "otjd"
    dns_computer: str = "otjd"


@dataclass(frozen=True, slots=True)
class Authenticate:
    """A type 3 message with an NTLMv2 response: `proof` over the server's challenge and `blob`."""

    username: str
    domain: str
    flags: int
    proof: bytes = field(repr=False)
    blob: bytes = field(repr=False)
    attributes: Mapping[int, bytes] = field(repr=False)
    session_key: bytes = field(repr=False)
    message: bytes = field(repr=False)

    @property
    def announces_mic(self) -> bool:
        """Whether the client says, under its proof, that the message holds a code over all three messages."""
        value = self.attributes.get(AvId.MSV_AV_FLAGS, b"")
        return len(value) == 4 and bool(int.from_bytes(value, "little") & AvFlags.MIC_PROVIDED)


def nt_hash(password: str) -> bytes:
    """NTOWFv1 of a password, 16 bytes ([MS-NLMP] 3.3.1)."""
    from Cryptodome.Hash import MD4  # noqa: PLC0415 - not there on every system, and not needed for Basic

    return MD4.new(password.encode("utf-16-le", "surrogatepass")).digest()  # noqa: S303 - the protocol's own


def message_type(message: bytes) -> int:
    """1, 2 or 3.

    :raises NtlmError: this is no NTLM message.
    """
    if len(message) < 12 or not message.startswith(NTLM_SIGNATURE):
        raise NtlmError("this is no NTLM message")
    kind = int.from_bytes(message[8:12], "little")
    if kind not in (NEGOTIATE, CHALLENGE, AUTHENTICATE):
        raise NtlmError(f"an NTLM message of unknown type {kind}")
    return kind


def read_negotiate(message: bytes) -> int:
    """The flags of a type 1 message; the rest of it has too many forms and no use.

    :raises NtlmError: it is not one.
    """
    if message_type(message) != NEGOTIATE or len(message) < 16:
        raise NtlmError("this is no type 1 message")
    return int.from_bytes(message[12:16], "little")


def write_challenge(negotiate_flags: int, server_challenge: bytes, now: datetime,
                    names: ServerNames | None = None) -> bytes:
    """A type 2 message to a client that asked with `negotiate_flags`; `now` is aware.

    Unicode is chosen unless the client offers the OEM character set alone.
    """
    names = names or ServerNames()
    unicode = bool(negotiate_flags & _UNICODE) or not negotiate_flags & _OEM
    flags = BASE_FLAGS | (_UNICODE if unicode else _OEM) | (negotiate_flags & _EXTENDED)
    name = names.netbios_domain.encode("utf-16-le" if unicode else "latin-1")
    info = TargetInfo()
    for attribute, text in ((AvId.MSV_AV_NB_DOMAIN_NAME, names.netbios_domain),
                            (AvId.MSV_AV_NB_COMPUTER_NAME, names.netbios_computer),
                            (AvId.MSV_AV_DNS_DOMAIN_NAME, names.dns_domain),
                            (AvId.MSV_AV_DNS_COMPUTER_NAME, names.dns_computer)):
        info[attribute] = text.encode("utf-16-le")
    info[AvId.MSV_AV_TIMESTAMP] = struct.pack("<Q", (now - _WINDOWS_EPOCH) // timedelta(microseconds=1) * 10)
    packed: bytes = info.pack()
    start = 56
    head = struct.pack("<8sIHHII8s8xHHI", NTLM_SIGNATURE, CHALLENGE, len(name), len(name), start, flags,
                       server_challenge, len(packed), len(packed), start + len(name))
    version: bytes = get_version(flags)
    return head + version + name + packed


def read_authenticate(message: bytes, challenge_message: bytes) -> Authenticate:
    """Read a type 3 message that answers our own `challenge_message`.

    :raises NtlmError: it is malformed, or holds no NTLMv2 response.
    """
    if message_type(message) != AUTHENTICATE or len(message) < _HEADER_BYTES:
        raise NtlmError("this is no type 3 message")
    _, response, domain, username, _, session_key = (_field(message, at) for at in range(12, 60, 8))
    if len(response) <= _NTLMV1_BYTES:
        raise NtlmError("an NTLMv1, LM or anonymous response; set the client to NTLMv2" if response else
                        "no NTLMv2 response; set the client to NTLMv2")
    # a client need not repeat the flags that were agreed on in the type 2 message
    unicode = bool(int.from_bytes(challenge_message[20:24], "little") & _UNICODE)
    return Authenticate(
        username=_text(username, unicode), domain=_text(domain, unicode),
        flags=int.from_bytes(message[60:64], "little"), proof=response[:_PROOF_BYTES],
        blob=response[_PROOF_BYTES:], attributes=_attributes(response[_PROOF_BYTES:]), session_key=session_key,
        message=message)


def _field(message: bytes, at: int) -> bytes:
    """The part of a type 3 message that the length and offset at `at` name."""
    length, _, start = struct.unpack_from("<HHI", message, at)
    if length and (start < _HEADER_BYTES or start + length > len(message)):
        raise NtlmError("a part of the message lies outside of it")
    return message[start:start + length] if length else b""


def _text(value: bytes, unicode: bool) -> str:
    try:
        return value.decode("utf-16-le" if unicode else "latin-1")
    except UnicodeDecodeError:
        raise NtlmError("a name that is not UTF-16") from None


def _attributes(blob: bytes) -> Mapping[int, bytes]:
    """The AV pairs of an NTLMv2_CLIENT_CHALLENGE ([MS-NLMP] 2.2.2.7)."""
    if len(blob) < _BLOB_HEADER.size or _BLOB_HEADER.unpack_from(blob)[:2] != (1, 1):
        raise NtlmError("a response that is not of NTLMv2; set the client to NTLMv2")
    found: dict[int, bytes] = {}
    position = _BLOB_HEADER.size
    while position + 4 <= len(blob):
        attribute, length = struct.unpack_from("<HH", blob, position)
        position += 4
        if attribute == AvId.MSV_AV_EOL:
            return found
        if position + length > len(blob):
            raise NtlmError("an attribute of the response lies outside of it")
        found[attribute] = blob[position:position + length]
        position += length
    return found  # some clients leave the end mark out


def is_right(answer: Authenticate, password_hash: bytes, *, negotiate_message: bytes,
             challenge_message: bytes) -> bool:
    """Whether a type 3 message proves the password whose NT hash is given, in time that tells nothing.

    The messages before it are those of this very handshake. The domain counts as sent and as empty; a message
    integrity code must be right where the client announces one ([MS-NLMP] 3.2.5.1.2).

    :raises ValueError: this system refuses MD5, as under FIPS.
    """
    server_challenge = challenge_message[24:32]
    right = False
    for domain in (answer.domain, ""):
        # the library takes "LM hash:NT hash" for a password
        key: bytes = _ntowfv2(answer.username, f"{'0' * 32}:{password_hash.hex()}", domain)
        proof = hmac.new(key, server_challenge + answer.blob, hashlib.md5).digest()
        proven = hmac.compare_digest(proof, answer.proof)
        if proven and answer.announces_mic:
            session = hmac.new(key, proof, hashlib.md5).digest()
            proven = _mic_is_right(answer, session, negotiate_message + challenge_message)
        right |= proven
    return right


def _mic_is_right(answer: Authenticate, session_key: bytes, before: bytes) -> bool:
    message = answer.message
    if len(message) < _MIC.stop:
        return False
    key = session_key
    if answer.flags & NegotiateFlags.NTLMSSP_NEGOTIATE_KEY_EXCH and len(answer.session_key) == len(session_key):
        key = ARC4.new(session_key).decrypt(answer.session_key)
    signed = before + message[:_MIC.start] + bytes(16) + message[_MIC.stop:]
    return hmac.compare_digest(hmac.new(key, signed, hashlib.md5).digest(), message[_MIC])
