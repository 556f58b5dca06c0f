"""The files and folders that a configuration names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from otjd.config.loader import Loaded
from tests.config.samples import Read, assert_clean, make_certificate, make_key, the_problem, the_warning

LISTENER = '[[calendar_service.listeners]]\nport = 0\ncertificate = "otjd.crt"\nprivate_key = "otjd.key"\n'
OPERATOR = '[operator]\ncertificate = "otjd.crt"\nprivate_key = "otjd.key"\n'


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A folder with a certificate and its key."""
    key, pem = make_key()
    (tmp_path / "otjd.crt").write_bytes(make_certificate(key))
    (tmp_path / "otjd.key").write_bytes(pem)
    (tmp_path / "otjd.key").chmod(0o600)
    return tmp_path


@pytest.mark.parametrize("toml", [LISTENER, OPERATOR])
def test_a_certificate_and_its_key_are_fine(read: Read, pair: Path, toml: str) -> None:
    loaded = read(toml)
    assert_clean(loaded)
    config = loaded.or_raise()
    holder = config.calendar_service.listeners[0] if config.calendar_service.listeners else config.operator
    read_as = (holder.certificate, holder.private_key)
    assert read_as in ((pair / "otjd.crt", pair / "otjd.key"), ((pair / "otjd.crt",), (pair / "otjd.key",)))


NO_CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(("name", "content", "found"), [
    ("otjd.crt", None, "no file "),
    ("otjd.key", None, "no file "),
    ("otjd.crt", b"", "which holds no certificate"),
    ("otjd.crt", b"\x30\x82\x01", "which holds no certificate"),
    ("otjd.crt", NO_CERTIFICATE, "which holds no certificate"),
    ("otjd.key", b"not a key", "which holds no private key"),
])
def test_a_certificate_or_key_that_is_not_one_is_a_problem(
        read: Read, pair: Path, name: str, content: bytes | None, found: str) -> None:
    file = pair / name
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    for toml, table in ((LISTENER, "calendar_service.listeners[1]"), (OPERATOR, "operator")):
        problem = the_problem(read(toml))
        assert problem.where == f"{table}.{'certificate' if name == 'otjd.crt' else 'private_key'}"
        assert str(file) in problem.found
        assert found in problem.found
        assert problem.expected.startswith("a PEM file with a")


def test_a_certificate_in_der_says_how_to_convert_it(read: Read, pair: Path) -> None:
    (pair / "otjd.crt").write_bytes(b"\x30\x82\x01")
    assert "openssl" in the_problem(read(LISTENER)).hint


def test_a_folder_in_place_of_a_certificate_cannot_be_read(read: Read, pair: Path) -> None:
    problem = the_problem(read(LISTENER.replace("otjd.crt", "calendars")))
    assert "which cannot be read: Is a directory" in problem.found


def test_the_key_of_another_certificate_is_a_problem(read: Read, pair: Path) -> None:
    (pair / "otjd.key").write_bytes(make_key()[1])
    problem = the_problem(read(LISTENER))
    assert problem.where == "calendar_service.listeners[1].private_key"
    assert "which is not the key of the certificate" in problem.found
    assert problem.hint == ""


def test_a_chain_in_the_wrong_order_says_so(read: Read, pair: Path) -> None:
    authority, _ = make_key()
    (pair / "otjd.crt").write_bytes(make_certificate(authority) + (pair / "otjd.crt").read_bytes())
    assert the_problem(read(LISTENER)).hint == (
        "put the server's own certificate before those of its authorities")


def test_an_encrypted_key_is_a_problem(read: Read, pair: Path) -> None:
    key, _ = make_key()
    (pair / "otjd.key").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase")))
    problem = the_problem(read(LISTENER))
    assert problem.found == f"{pair / 'otjd.key'}, which is encrypted"


def test_a_listener_needs_certificate_and_key_unless_it_is_plaintext(read: Read) -> None:
    loaded = read("[[calendar_service.listeners]]\nport = 0\n")
    assert [(p.where, p.found) for p in loaded.problems] == [
        ("calendar_service.listeners[1].certificate", "nothing"),
        ("calendar_service.listeners[1].private_key", "nothing")]
    assert "plaintext = true" in loaded.problems[0].hint
    assert_clean(read("[[calendar_service.listeners]]\nport = 0\nplaintext = true\n"))


def test_a_plaintext_listener_does_not_look_at_certificates(read: Read) -> None:
    assert_clean(read(LISTENER + "plaintext = true\n"))


@pytest.mark.parametrize(("line", "missing"), [
    ('certificate = "otjd.crt"\n', "certificate"), ('private_key = "otjd.key"\n', "private_key")])
def test_certificate_and_key_of_the_operator_service_go_together(
        read: Read, pair: Path, line: str, missing: str) -> None:
    problem = the_problem(read(OPERATOR.replace(line, "")))
    assert (problem.where, problem.found) == (f"operator.{missing}", "nothing")
    assert "go together" in problem.hint


def test_an_open_private_key_gives_a_warning(read: Read, pair: Path) -> None:
    (pair / "otjd.key").chmod(0o644)
    warning = the_warning(read(LISTENER))
    assert warning.where == "calendar_service.listeners[1].private_key"
    assert "all users may read" in warning.found


def test_a_folder_of_calendars_that_is_gone_is_a_warning_only(read: Read, tmp_path: Path) -> None:
    (tmp_path / "calendars").rmdir()
    loaded = read('[[file_integrations]]\nname = "demo"\ndirectory = "calendars"\n')
    warning = the_warning(loaded)
    assert warning.where == 'file_integrations[1] "demo".directory'
    assert warning.found == f"no folder {tmp_path / 'calendars'}"
    assert loaded.or_raise().file_integrations[0].directory == tmp_path / "calendars"


def test_a_status_file_in_a_missing_folder_is_a_warning_and_a_log_there_a_problem(read: Read) -> None:
    assert the_warning(read('[operator]\nstatus_file = "gone/status.json"\n')).where == "operator.status_file"
    assert the_problem(read('[log]\nfile = "gone/otjd.log"\n')).where == "log.file"


@pytest.mark.parametrize(("toml", "where"), [
    ('[log]\nfile = "calendars"\n', "log.file"),
    ('[operator]\nstatus_file = "calendars"\n', "operator.status_file"),
])
def test_a_folder_in_place_of_a_file_to_write_is_a_problem(read: Read, toml: str, where: str) -> None:
    problem = the_problem(read(toml))
    assert problem.where == where
    assert "which is a folder" in problem.found


def test_a_state_dir_that_is_a_file_is_a_problem(read: Read, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    problem = the_problem(read('[node]\nstate_dir = "state"\n'))
    assert (problem.where, problem.expected) == ("node.state_dir", "a folder")


def test_a_folder_of_the_wire_log_that_is_a_file_is_a_problem(read: Read, tmp_path: Path) -> None:
    assert_clean(read('[log]\nwire_directory = "wire/later"\n'))
    (tmp_path / "wire").write_text("")
    assert the_problem(read('[log]\nwire_directory = "wire"\n')).where == "log.wire_directory"


@pytest.mark.parametrize("toml", ['[calendar_service]\njoin_details = "body.j2"\n',
                                  '[calendar_service.join_details_by_family]\nhdx = "body.j2"\n'])
def test_the_templates_of_join_details_are_read(read: Read, tmp_path: Path, toml: str) -> None:
    assert "no file" in the_problem(read(toml)).found
    (tmp_path / "body.j2").write_bytes(b"\xff")
    assert "not UTF-8" in the_problem(read(toml)).found
    (tmp_path / "body.j2").write_text("{{ alias }} ü")
    assert_clean(read(toml))


def test_a_file_of_authorities_is_read(read: Read, pair: Path) -> None:
    toml = ('[[exchange_integrations]]\nname = "onprem"\nservice_account_username = "svc"\n'
            'service_account_password = "s"\nca_file = "{}"\n')
    assert_clean(read(toml.format("otjd.crt")))
    problem = the_problem(read(toml.format("otjd.key")))
    assert problem.where == 'exchange_integrations[1] "onprem".ca_file'
    assert problem.expected == "a PEM file of certificate authorities"


@pytest.fixture
def google(read: Read, tmp_path: Path) -> Callable[..., Loaded]:
    """Load a Google integration with this service account's key."""
    def google(key: bytes, email: str = "otj@project.iam.gserviceaccount.com") -> Loaded:
        (tmp_path / "google.key").write_bytes(key)
        (tmp_path / "google.key").chmod(0o600)
        return read(f'[[google_integrations]]\nname = "w"\nprivate_key = {{ file = "google.key" }}\n'
                    f'client_email = "{email}"\n')

    return google


def test_the_key_of_a_google_service_account_may_be_pem(google: Callable[..., Loaded]) -> None:
    assert_clean(google(make_key()[1]))


def test_the_json_key_file_of_google_holds_the_address_too(google: Callable[..., Loaded]) -> None:
    document = {"private_key": make_key()[1].decode(), "client_email": "otj@project.iam.gserviceaccount.com"}
    assert_clean(google(json.dumps(document).encode(), email=""))


def test_a_json_key_file_without_address_needs_one(google: Callable[..., Loaded]) -> None:
    problem = the_problem(google(json.dumps({"private_key": make_key()[1].decode()}).encode(), email=""))
    assert (problem.where, problem.found) == ('google_integrations[1] "w".client_email', "nothing")


@pytest.mark.parametrize(("key", "found", "hint"), [
    (b"hunter2", "something that is not a private key (not shown)", ""),
    (b'{"private_key": "hunter2"}', "something that is not a private key (not shown)", ""),
    (b'{"private_key": "hunter2', "broken JSON (not shown)", ""),
    (b'{"hunter2": 1}', "nothing", ""),
    (rb"-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n",
     "something that is not a private key (not shown)", "lines"),
])
def test_anything_else_is_no_key_of_google_and_is_not_shown(
        google: Callable[..., Loaded], key: bytes, found: str, hint: str) -> None:
    problem = the_problem(google(key))
    assert (problem.where, problem.found) == ('google_integrations[1] "w".private_key', found)
    assert "hunter2" not in str(problem)
    assert hint in problem.hint


def test_fips_warns_of_old_tls(read: Read, pair: Path) -> None:
    warning = the_warning(read("[node]\nfips = true\n" + LISTENER + 'minimum_tls = "1.0"\n'))
    assert (warning.where, warning.found) == ("calendar_service.listeners[1].minimum_tls", '"1.0"')


TWO = ('[[calendar_service.listeners]]\nport = 0\ncertificate = ["otjd.crt", "{}"]\n'
       'private_key = ["otjd.key"{}]\n')


@pytest.fixture
def pairs(pair: Path) -> Path:
    """A folder with an EC and an RSA certificate, a second EC one, and their keys."""
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    ec_key, ec_pem = make_key()
    rsa_pem = rsa_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                    serialization.NoEncryption())
    for name, content in (("rsa.crt", make_certificate(rsa_key)), ("rsa.key", rsa_pem),
                          ("ec.crt", make_certificate(ec_key)), ("ec.key", ec_pem)):
        (pair / name).write_bytes(content)
        (pair / name).chmod(0o600)
    return pair


def test_certificates_of_two_kinds_stand_side_by_side(read: Read, pairs: Path) -> None:
    loaded = read(TWO.format("rsa.crt", ', "rsa.key"'))
    assert_clean(loaded)
    (listener,) = loaded.or_raise().calendar_service.listeners
    assert listener.certificate == (pairs / "otjd.crt", pairs / "rsa.crt")
    assert listener.private_key == (pairs / "otjd.key", pairs / "rsa.key")


@pytest.mark.parametrize(("names", "wrong", "found"), [
    (("rsa.crt", ""), "private_key", "1 files"),
    (("rsa.crt", ', "ec.key"'), "private_key", "ec.key, which is not the key of the certificate"),
    (("ec.crt", ', "ec.key"'), "certificate", "ec.crt, whose key is of the same kind as that of"),
    (("missing.crt", ', "rsa.key"'), "certificate", "missing.crt")])
def test_certificates_that_do_not_fit_together_are_named(
        read: Read, pairs: Path, names: tuple[str, str], wrong: str, found: str) -> None:
    problem = the_problem(read(TWO.format(*names)))
    assert problem.where == f"calendar_service.listeners[1].{wrong}"
    assert found in problem.found


def test_an_empty_certificate_is_none(read: Read, pair: Path) -> None:
    loaded = read('[[calendar_service.listeners]]\ncertificate = ""\nprivate_key = ""\n')
    assert [p.found for p in loaded.problems] == ["nothing", "nothing"]
