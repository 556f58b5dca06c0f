"""Vectors are those of [MS-NLMP] 4.2.4; other messages are packed by ntlm-auth, a client library."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ntlm_auth.compute_response import ComputeResponse
from ntlm_auth.messages import AuthenticateMessage, ChallengeMessage, NegotiateMessage

from otjd.protocol.ntlm import (
    Authenticate,
    NtlmError,
    ServerNames,
    is_right,
    message_type,
    nt_hash,
    read_authenticate,
    read_negotiate,
    write_challenge,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SERVER_CHALLENGE = bytes.fromhex("0123456789abcdef")

SPEC_CHALLENGE = bytes.fromhex(
    "4e544c4d53535000020000000c000c003800000033828ae20123456789abcdef00000000000000002400240044000000060070170000000f"
    "53006500720076006500720002000c0044006f006d00610069006e0001000c0053006500720076006500720000000000")
SPEC_AUTHENTICATE = bytes.fromhex(
    "4e544c4d5353500003000000180018006c00000054005400840000000c000c0048000000080008005400000010001000" "5c000000"
    "10001000d8000000358288e20501280a0000000f44006f006d00610069006e005500730065007200"
    "43004f004d0050005500540045005200" "86c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa"
    "68cd0ab851e51c96aabc927bebef6a1c" "01010000000000000000000000000000aaaaaaaaaaaaaaaa00000000"
    "02000c0044006f006d00610069006e0001000c005300650072007600650072000000000000000000"
    "c5dad2544fc9799094ce1ce90bc9d03e")

KEY_EXCHANGE = 0x40000000
ASKED = 0x88206  # curl's
WITH_KEY_EXCHANGE = 0xE2088237  # pyspnego's


def hashes(password: str) -> str:
    """A password in the form that ntlm-auth takes where MD4 is missing."""
    return f"{'0' * 32}:{nt_hash(password).hex()}"


def handshake(username: str = "boardroom", domain: str = "", password: str = "secret", *, asked: int = ASKED,
              granted: int = 0, compatibility: int = 3, mic: bool = True) -> tuple[bytes, bytes, bytes]:
    """All three messages, type 1 and 3 as ntlm-auth packs them; `granted` are flags added to our type 2."""
    negotiate = NegotiateMessage(asked, None, None)
    challenge = bytearray(write_challenge(read_negotiate(negotiate.get_data()), SERVER_CHALLENGE, NOW))
    struct.pack_into("<I", challenge, 20, struct.unpack_from("<I", challenge, 20)[0] | granted)
    message = ChallengeMessage(bytes(challenge))
    answer = AuthenticateMessage(username, hashes(password), domain, "ROOM", message, compatibility)
    if mic:
        answer.add_mic(negotiate, message)
    return negotiate.get_data(), bytes(challenge), answer.get_data()


def proves(messages: tuple[bytes, bytes, bytes], password: str = "secret") -> bool:
    negotiate, challenge, message = messages
    return is_right(read_authenticate(message, challenge), nt_hash(password), negotiate_message=negotiate,
                    challenge_message=challenge)


def test_the_nt_hash_is_that_of_the_specification() -> None:
    assert nt_hash("Password").hex() == "a4f49c406510bdcab6824ee7c30fd852"


def test_the_message_of_the_specification_is_right() -> None:
    answer = read_authenticate(SPEC_AUTHENTICATE, SPEC_CHALLENGE)
    assert (answer.username, answer.domain, answer.flags) == ("User", "Domain", 0xE2888235)
    assert answer.proof.hex() == "68cd0ab851e51c96aabc927bebef6a1c"
    assert answer.attributes == {2: "Domain".encode("utf-16-le"), 1: "Server".encode("utf-16-le")}
    assert not answer.announces_mic
    assert is_right(answer, nt_hash("Password"), negotiate_message=b"", challenge_message=SPEC_CHALLENGE)
    assert not is_right(answer, nt_hash("password"), negotiate_message=b"", challenge_message=SPEC_CHALLENGE)


def test_a_challenge_is_read_by_a_client_as_it_was_meant() -> None:
    written = write_challenge(0x8207, SERVER_CHALLENGE, NOW, ServerNames("DOM", "HOST", "d.example", "h.example"))
    read = ChallengeMessage(written)
    assert read.negotiate_flags == 0x02818205
    assert read.server_challenge == SERVER_CHALLENGE
    assert read.target_name.decode("utf-16-le") == "DOM"
    names = {i: v.decode("utf-16-le") for i, v in read.target_info.fields.items() if i in (1, 2, 3, 4)}
    assert list(read.target_info.fields) == [2, 1, 4, 3, 7, 0]
    assert names == {2: "DOM", 1: "HOST", 4: "d.example", 3: "h.example"}
    (since_1601,) = struct.unpack("<Q", read.target_info[7])
    assert since_1601 == (int(NOW.timestamp()) + 11644473600) * 10_000_000


@pytest.mark.parametrize(("asked", "granted"), [
    (0x88206, 0x02898205 & ~0x1 | 0x2), (0x88207, 0x02898205), (0xE2088237, 0x02898205), (0x8207, 0x02818205),
    (0, 0x02818205)])
def test_flags_follow_what_the_client_asked_for(asked: int, granted: int) -> None:
    written = write_challenge(asked, SERVER_CHALLENGE, NOW)
    assert struct.unpack_from("<I", written, 20) == (granted,)


@pytest.mark.parametrize("length", [16, 32, 33, 40, 48])
def test_a_type_1_message_is_read_by_its_flags_alone(length: int) -> None:
    message = (b"NTLMSSP\0" + struct.pack("<II", 1, 0x88205)).ljust(length, b"\xff")
    assert message_type(message) == 1
    assert read_negotiate(message) == 0x88205


@pytest.mark.parametrize("message", [
    b"", b"NTLMSSP\0", b"NTLMSSP\0\1\0\0", b"KERBEROS\1\0\0\0\0\0\0\0", b"NTLMSSP\0\4\0\0\0\0\0\0\0",
    b"NTLMSSP\0\2\0\0\0\0\0\0\0", b"NTLMSSP\0\1\0\0\0"])
def test_what_is_no_type_1_message_is_refused(message: bytes) -> None:
    with pytest.raises(NtlmError):
        read_negotiate(message)


@pytest.mark.parametrize(("username", "domain"), [
    ("boardroom", ""), ("boardroom", "EXAMPLE"), ("boardroom@example.com", ""), ("boardroom@example.com", "X"),
    ("Übungsraum", "Größe")])
@pytest.mark.parametrize("mic", [True, False])
def test_a_right_password_is_proven_under_any_name(username: str, domain: str, mic: bool) -> None:
    messages = handshake(username, domain, mic=mic)
    answer = read_authenticate(messages[2], messages[1])
    assert (answer.username, answer.domain) == (username, domain)
    # without a code the message announces one all the same: then it is not right
    assert answer.announces_mic
    assert proves(messages) is mic
    assert not proves(messages, "Secret")


def test_the_user_name_counts_in_upper_case_only_for_the_hash() -> None:
    negotiate, challenge, message = handshake("BoardRoom", mic=False)
    lower = message.replace("BoardRoom".encode("utf-16-le"), "boardroom".encode("utf-16-le"))
    answer = without_mic(read_authenticate(lower, challenge))
    assert not answer.announces_mic
    # the attribute that announces the code is under the proof, so taking it out spoils the proof
    assert not is_right(answer, nt_hash("secret"), negotiate_message=negotiate, challenge_message=challenge)


def without_mic(answer: Authenticate) -> Authenticate:
    from dataclasses import replace

    return replace(answer, attributes={}, blob=answer.blob.replace(b"\6\0\4\0\2\0\0\0", b"\6\0\4\0\0\0\0\0"))


def answer_without_timestamp(username: str, domain: str, hashed_domain: str | None = None) -> tuple[bytes, bytes]:
    """A challenge and its answer as clients send it that know no message integrity code."""
    challenge = write_challenge(0x8207, SERVER_CHALLENGE, NOW)
    message = ChallengeMessage(challenge)
    del message.target_info[7]
    packed = AuthenticateMessage(username, hashes("secret"), domain, "ROOM", message, 3)
    if hashed_domain is not None:
        computed = ComputeResponse(username, hashes("secret"), hashed_domain, message, 3)
        packed.nt_challenge_response = computed.get_nt_challenge_response(b"")[0]
    return challenge, packed.get_data()


@pytest.mark.parametrize("hashed_domain", ["EXAMPLE", ""])
def test_the_domain_counts_as_sent_and_as_empty(hashed_domain: str) -> None:
    challenge, message = answer_without_timestamp("boardroom", "EXAMPLE", hashed_domain)
    assert proves((b"", challenge, message))
    assert not proves((b"", challenge, message), "wrong")


def test_another_domain_in_the_hash_is_wrong() -> None:
    challenge, message = answer_without_timestamp("boardroom", "EXAMPLE", "OTHER")
    assert not proves((b"", challenge, message))


def test_an_answer_to_another_challenge_is_wrong() -> None:
    challenge, message = answer_without_timestamp("boardroom", "")
    assert not proves((b"", challenge.replace(SERVER_CHALLENGE, bytes(8)), message))


@pytest.mark.parametrize("key_exchange", [False, True])
def test_a_message_integrity_code_covers_all_three_messages(key_exchange: bool) -> None:
    messages = handshake(asked=WITH_KEY_EXCHANGE, granted=KEY_EXCHANGE if key_exchange else 0)
    assert proves(messages)
    negotiate, challenge, message = messages
    assert not proves((negotiate[:-1] + b"?", challenge, message))
    assert not proves((negotiate, challenge[:-1] + b"?", message))
    flags = message[:60] + struct.pack("<I", struct.unpack_from("<I", message, 60)[0] ^ 0x10) + message[64:]
    assert not proves((negotiate, challenge, flags))


def test_a_message_too_short_for_its_code_is_wrong() -> None:
    _, challenge, message = handshake(mic=False)
    fields = bytearray(message)
    # everything but the response is left out, and the response starts where a code would end
    length, start = struct.unpack_from("<H", fields, 20)[0], struct.unpack_from("<I", fields, 24)[0]
    response = message[start:start + length]
    for at in (12, 28, 36, 44, 52):
        fields[at:at + 8] = bytes(8)
    struct.pack_into("<HHI", fields, 20, length, length, 64)
    answer = read_authenticate(bytes(fields[:64]) + response, challenge)
    assert answer.username == ""
    assert answer.announces_mic
    assert not is_right(answer, nt_hash("secret"), negotiate_message=b"", challenge_message=challenge)


@pytest.mark.parametrize("compatibility", [0, 1, 2])
@pytest.mark.parametrize("asked", [0x88206, 0x8206])
def test_ntlm_before_version_2_is_refused(compatibility: int, asked: int,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    original = hashlib.new
    monkeypatch.setattr(hashlib, "new", lambda name, data=b"", **more: original(
        "md5" if name == "md4" else name, data, **more))  # only the session key needs it, which is not sent
    _, challenge, message = handshake(asked=asked, compatibility=compatibility, mic=False)
    with pytest.raises(NtlmError, match="NTLMv2"):
        read_authenticate(message, challenge)


def test_an_oem_client_is_understood() -> None:
    challenge = write_challenge(0x8206 & ~1, SERVER_CHALLENGE, NOW)
    message = ChallengeMessage(challenge)
    del message.target_info[7]
    packed = AuthenticateMessage("boardroom", hashes("secret"), "DOM", "", message, 3).get_data()
    answer = read_authenticate(packed, challenge)
    assert (answer.username, answer.domain) == ("boardroom", "DOM")
    assert proves((b"", challenge, packed))


def changed(message: bytes, at: int, form: str, *values: int) -> bytes:
    copy = bytearray(message)
    struct.pack_into(form, copy, at, *values)
    return bytes(copy)


@pytest.mark.parametrize(("message", "words"), [
    (SPEC_AUTHENTICATE[:63], "type 3"),
    (SPEC_CHALLENGE, "type 3"),
    (changed(SPEC_AUTHENTICATE, 24, "<I", 0xFFFFFFF0), "outside"),
    (changed(SPEC_AUTHENTICATE, 40, "<I", 8), "outside"),
    (changed(SPEC_AUTHENTICATE, 36, "<H", 7), "UTF-16"),
    (changed(SPEC_AUTHENTICATE, 20, "<H", 0), "NTLMv2"),
    (changed(SPEC_AUTHENTICATE, 20, "<H", 30), "not of NTLMv2"),
    (changed(SPEC_AUTHENTICATE, 0x84 + 16, "<H", 0x0202), "not of NTLMv2"),
    (changed(SPEC_AUTHENTICATE, 0x84 + 16 + 28 + 2, "<H", 999), "attribute"),
])
def test_a_malformed_type_3_message_is_named(message: bytes, words: str) -> None:
    with pytest.raises(NtlmError, match=words):
        read_authenticate(message, SPEC_CHALLENGE)


def test_attributes_without_an_end_are_tolerated() -> None:
    cut = changed(SPEC_AUTHENTICATE, 20, "<H", 0x54 - 8)
    answer = read_authenticate(cut, SPEC_CHALLENGE)
    assert set(answer.attributes) == {1, 2}


@st.composite
def mangled(draw: Any) -> bytes:
    message = bytearray(draw(st.sampled_from([SPEC_AUTHENTICATE, handshake()[2]])))
    for _ in range(draw(st.integers(1, 6))):
        message[draw(st.integers(0, len(message) - 1))] = draw(st.integers(0, 255))
    return bytes(message[:draw(st.integers(0, len(message)))])


@given(st.binary() | mangled())
def test_no_message_raises_anything_but_ntlm_error(message: bytes) -> None:
    for read in (message_type, read_negotiate, lambda m: read_authenticate(m, SPEC_CHALLENGE)):
        try:
            value = read(message)
        except NtlmError:
            continue
        if isinstance(value, Authenticate):
            assert not is_right(value, nt_hash("secret"), negotiate_message=b"", challenge_message=SPEC_CHALLENGE)
