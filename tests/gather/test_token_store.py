from __future__ import annotations

import json
import os
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path

import pytest

from otjd.gather.token_store import TokenStore, TokenStoreError, fernet_key

KEY = b64encode(bytes(range(224, 256))).decode()
OTHER_KEY = b64encode(bytes(32)).decode()


def test_a_token_comes_back_from_a_file_for_its_owner_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    store = TokenStore(state, "Büro 1/../x")
    assert store.load() is None
    assert store.stamp() is None
    old_umask = os.umask(0)
    try:
        stamp = store.save("1//secret")
    finally:
        os.umask(old_umask)
    stored = store.load()
    assert stored is not None
    assert (stored.refresh_token, stored.stamp) == ("1//secret", stamp)
    assert "secret" not in repr(stored)
    assert store.path.parent == state / "tokens"
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert state.stat().st_mode & 0o777 == store.path.parent.stat().st_mode & 0o777 == 0o700
    assert [p.name for p in store.path.parent.iterdir()] == [store.path.name]


def test_names_that_look_alike_have_files_of_their_own(tmp_path: Path) -> None:
    assert len({TokenStore(tmp_path, name).path for name in ("a b", "a-b", "a/b", "A b", "x" * 250)}) == 5


def test_a_token_is_encrypted_where_there_is_a_key(tmp_path: Path) -> None:
    store = TokenStore(tmp_path, "x", KEY)
    store.save("1//secret")
    assert b"secret" not in store.path.read_bytes()
    url_safe = urlsafe_b64encode(bytes(range(224, 256))).decode()
    assert url_safe != KEY
    stored = TokenStore(tmp_path, "x", url_safe).load()
    assert stored is not None
    assert stored.refresh_token == "1//secret"
    with pytest.raises(TokenStoreError, match=r"written with another node\.state_key"):
        TokenStore(tmp_path, "x", OTHER_KEY).load()
    with pytest.raises(TokenStoreError, match=r"encrypted, and node\.state_key is not set"):
        TokenStore(tmp_path, "x").load()


def test_a_key_may_come_later(tmp_path: Path) -> None:
    TokenStore(tmp_path, "x").save("1//secret")
    store = TokenStore(tmp_path, "x", KEY)
    stored = store.load()
    assert stored is not None
    store.save(stored.refresh_token)
    assert b"secret" not in store.path.read_bytes()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"3", b'{"version": 2}', b'{"version": 1}', b"\xff",
                                     b'{"version": 1, "refresh_token": ""}', b'{"version": []}',
                                     json.dumps({"version": 1, "refresh_token": "x" * 70000}).encode()])
def test_a_damaged_file_is_told(content: bytes, tmp_path: Path) -> None:
    store = TokenStore(tmp_path, "x")
    store.save("1//secret")
    store.path.write_bytes(content)
    with pytest.raises(TokenStoreError, match="remove it and sign in again"):
        store.load()


def test_a_new_sign_in_is_not_overwritten_by_the_successor_of_the_old_token(tmp_path: Path) -> None:
    store = TokenStore(tmp_path, "x")
    stamp = store.save("old")
    store.save("signed in anew")
    assert store.save("successor of old", instead_of=stamp) is None
    stored = store.load()
    assert stored is not None
    assert stored.refresh_token == "signed in anew"
    assert store.save("successor", instead_of=stored.stamp) == store.stamp()


def test_a_place_that_cannot_be_written_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("")
    with pytest.raises(TokenStoreError, match=r"cannot be written.*node\.state_dir"):
        TokenStore(tmp_path, "x").save("1//secret")
    with pytest.raises(TokenStoreError, match="cannot be read"):
        TokenStore(tmp_path, "x").load()


@pytest.mark.parametrize("text", ["", "abc", KEY[:-4], f"{KEY}AAAA", "!" * 44])
def test_a_key_has_32_bytes(text: str) -> None:
    with pytest.raises(ValueError, match=r"32 bytes|base64|padding"):
        fernet_key(text)
