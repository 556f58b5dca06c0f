from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otjd.meetings.model import Room
from otjd.serve.accounts import Accounts
from otjd.serve.auth import SCHEMES, Accepted, Authenticator, Refused
from otjd.serve.calls import Account
from otjd.serve.schemes import Connection
from tests.serve.clients import NtlmClient, basic, digest

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TARGET = "/EWS/Exchange.asmx"


def account(username: str, password: str = "poly-secret", schemes: tuple[str, ...] = ()) -> Account:
    return Account(username, password, f"endpoint of {username}", Room("room@example.com", "default"), schemes)


ACCOUNTS = (account("boardroom"), account("lounge@example.com", "lounge-secret"), account("Studio", "stüdio-ß"),
            account("hdx", schemes=("ntlm",)))


class World:
    """An authenticator, a clock that stands still, and one connection."""

    def __init__(self, *, schemes: Sequence[str] = SCHEMES, accounts: Sequence[Account] = ACCOUNTS,
                 **settings: Any) -> None:
        self.now = NOW
        numbers = count()
        self.authenticator = Authenticator(
            accounts, schemes=schemes, secret=b"secret of the node", now=lambda: self.now,
            random_bytes=lambda n: hashlib.sha256(str(next(numbers)).encode()).digest()[:n], **settings)
        self.connection = Connection()

    def ask(self, authorization: str | None = None, *, method: str = "POST", target: str = TARGET,
            address: str = "10.0.0.1", connection: Connection | None = None) -> Accepted | Refused:
        return self.authenticator.judge(authorization, connection or self.connection, method=method, target=target,
                                        address=address)

    def refused(self, authorization: str | None = None, **more: Any) -> Refused:
        outcome = self.ask(authorization, **more)
        assert isinstance(outcome, Refused)
        return outcome

    def accepted(self, authorization: str | None = None, **more: Any) -> Accepted:
        outcome = self.ask(authorization, **more)
        assert isinstance(outcome, Accepted), outcome
        return outcome

    def digest(self, username: str, password: str, line: int = 0, **more: Any) -> Accepted | Refused:
        challenge = [c for c in self.refused().challenges if c.startswith("Digest")][line]
        return self.ask(digest(challenge, username, password, **more))

    def ntlm(self, username: str, password: str, domain: str = "", **more: Any) -> Accepted | Refused:
        client = NtlmClient(username, password, domain)
        (challenge,) = self.refused(client.first, **more).challenges
        return self.ask(client.second(challenge), **more)

    def sign_in(self, scheme: str, username: str, password: str) -> Accepted | Refused:
        if scheme == "basic":
            return self.ask(basic(username, password))
        return self.digest(username, password) if scheme == "digest" else self.ntlm(username, password)


def test_challenges_are_offered_in_the_configured_order_one_line_each() -> None:
    assert [c.split()[0] for c in World().refused().challenges] == ["Digest", "NTLM", "Basic"]
    assert [c.split()[0] for c in World(schemes=("basic", "digest")).refused().challenges] == [
        "Basic", "Digest", "NTLM"]  # one account may use NTLM
    assert World(schemes=("ntlm",)).refused().challenges == ("NTLM",)
    assert "Negotiate" not in str(World().refused())


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("username", "password", "endpoint"), [
    ("boardroom", "poly-secret", "boardroom"), ("EXAMPLE\\boardroom", "poly-secret", "boardroom"),
    ("\\boardroom", "poly-secret", "boardroom"), ("boardroom@example.com", "poly-secret", "boardroom"),
    ("X\\boardroom@example.com", "poly-secret", "boardroom"),
    ("lounge@example.com", "lounge-secret", "lounge@example.com"),
    ("EXAMPLE\\lounge@example.com", "lounge-secret", "lounge@example.com"),
    ("Studio", "stüdio-ß", "Studio")])
def test_a_login_is_found_under_every_form_of_its_name(
        scheme: str, username: str, password: str, endpoint: str) -> None:
    outcome = World().sign_in(scheme, username, password)
    assert isinstance(outcome, Accepted), outcome
    assert (outcome.account.username, outcome.scheme) == (endpoint, scheme)


def test_digest_takes_a_domain_whose_backslash_the_client_did_not_escape() -> None:
    world = World()
    name = "EXAMPLE\\boardroom"
    outcome = world.accepted(digest(world.refused().challenges[0], name, "poly-secret", username=name))
    assert outcome.account.username == "boardroom"


@pytest.mark.parametrize(("domain", "username", "password", "found"), [
    ("", "boardroom", "poly-secret", "boardroom"), ("EXAMPLE", "boardroom", "poly-secret", "boardroom"),
    ("", "boardroom@example.com", "poly-secret", "boardroom"), ("X", "boardroom@x", "poly-secret", "boardroom"),
    ("example.com", "lounge", "lounge-secret", "lounge@example.com"),
    ("", "lounge@example.com", "lounge-secret", "lounge@example.com")])
def test_ntlm_finds_an_account_by_domain_and_name(domain: str, username: str, password: str, found: str) -> None:
    outcome = World().ntlm(username, password, domain)
    assert isinstance(outcome, Accepted), outcome
    assert outcome.account.username == found


def test_a_stored_name_is_tried_whole_before_its_domain_is_ignored() -> None:
    accounts = Accounts((account("lounge"), account("lounge@example.com"), account("A\\lounge")))
    found = {name: accounts.find(name) for name in ("lounge", "lounge@example.com", "A\\lounge", "B\\lounge")}
    assert {name: a.username for name, a in found.items() if a} == {
        "lounge": "lounge", "lounge@example.com": "lounge@example.com", "A\\lounge": "A\\lounge",
        "B\\lounge": "lounge"}
    assert accounts.find("") is None
    assert accounts.find("@") is None


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("username", "password", "reason", "endpoint"), [
    ("boardroom", "Poly-secret", "wrong password", "endpoint of boardroom"),
    ("boardroom", "", "wrong password", "endpoint of boardroom"),
    ("Boardroom", "poly-secret",
     'unknown user name "Boardroom"; letter case counts, the account is "boardroom"', ""),
    ("nobody", "", 'unknown user name "nobody"', "")])
def test_a_wrong_login_is_refused_with_every_challenge_anew(
        scheme: str, username: str, password: str, reason: str, endpoint: str) -> None:
    outcome = World().sign_in(scheme, username, password)
    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.endpoint, outcome.is_failure) == (reason, endpoint, True)
    assert [c.split()[0] for c in outcome.challenges] == ["Digest", "NTLM", "Basic"]
    assert "stale" not in str(outcome.challenges)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_unknown_user_and_wrong_password_get_the_same_answer(scheme: str) -> None:
    def lines(username: str) -> list[str]:
        outcome = World().sign_in(scheme, username, "wrong")
        assert isinstance(outcome, Refused)
        return [c.partition("nonce")[0] for c in outcome.challenges]

    assert lines("boardroom") == lines("nobody")


def test_an_unknown_user_costs_the_same_computation(monkeypatch: pytest.MonkeyPatch) -> None:
    from otjd.protocol import digest as digest_protocol
    from otjd.protocol import ntlm as ntlm_protocol

    calls: list[str] = []
    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any, **more: Any) -> Any:
            calls.append("computed")
            return original(*arguments, **more)

        return counting

    monkeypatch.setattr(digest_protocol, "_digest", counted(digest_protocol._digest))
    monkeypatch.setattr(ntlm_protocol, "is_right", counted(ntlm_protocol.is_right))

    def cost(scheme: str, username: str, world: World) -> int:
        challenge = next(c for c in world.refused().challenges if c.startswith("Digest"))
        before = len(calls)
        if scheme == "ntlm":
            world.ntlm(username, "wrong")
        else:
            world.ask(digest(challenge, username, "wrong"))
        return len(calls) - before

    signed_in = World()
    signed_in.digest("boardroom", "poly-secret")
    for scheme in ("digest", "ntlm"):
        World().sign_in(scheme, "boardroom", "wrong")  # what is remembered of no user is remembered from now on
        worlds = (World(), "boardroom"), (World(), "nobody"), (signed_in, "boardroom"), (signed_in, "nobody")
        costs = {cost(scheme, username, world) for world, username in worlds}
        assert len(costs) == 1, costs
        assert 0 not in costs


def test_a_connection_whose_last_request_was_right_lets_no_other_password_in() -> None:
    world = World()
    for username, password, is_let_in in (
            ("boardroom", "poly-secret", True), ("boardroom", "wrong", False), ("Studio", "poly-secret", False),
            ("Studio", "stüdio-ß", True), ("DOMAIN\\boardroom", "poly-secret", True),
            ("boardroom", "poly-secret", True)):
        assert isinstance(world.digest(username, password), Accepted) is is_let_in, username
    world.authenticator.reconfigure([account("boardroom", "new")], schemes=("digest",))
    assert isinstance(world.digest("boardroom", "poly-secret"), Refused)
    assert isinstance(world.digest("boardroom", "new"), Accepted)


@pytest.mark.parametrize("scheme", ["digest", "basic"])
def test_a_scheme_that_the_endpoint_may_not_use_is_refused_as_a_wrong_password(scheme: str) -> None:
    outcome = World().sign_in(scheme, "hdx", "poly-secret")
    assert isinstance(outcome, Refused)
    assert outcome.is_failure
    assert outcome.reason == f"scheme {scheme}, which this endpoint may not use"
    assert isinstance(World().sign_in("ntlm", "hdx", "poly-secret"), Accepted)


def test_a_password_in_latin_1_is_right_with_basic() -> None:
    assert World().accepted(basic("Studio", "stüdio-ß", "latin-1")).account.username == "Studio"


@pytest.mark.parametrize(("header", "reason"), [
    ("Basic %%%", "not Base64"), ("Basic Ym9hcmRyb29t", "no colon"), ("Basic é", "not Base64"),
    ("NTLM %%%", "not Base64"), ("NTLM é", "not Base64"), ("NTLM Ym9hcmRyb29t", "no NTLM message"),
    ("NTLM TlRMTVNTUAADAAAA", "does a proxy share connections"), ("NTLM TlRMTVNTUAACAAAA", "was not asked"),
    ("Digest nonsense", "cannot be read"), ('Digest username="boardroom"', "no realm")])
def test_malformed_credentials_are_refused_and_named(header: str, reason: str) -> None:
    outcome = World().refused(header)
    assert reason in outcome.reason
    assert outcome.is_failure


@pytest.mark.parametrize("header", ["Negotiate YIIFfwYGKwYBBQUCoIIFczCCBW8=", "Bearer abc", "x y"])
def test_a_scheme_that_is_not_offered_is_refused_but_counts_as_no_failure(header: str) -> None:
    outcome = World().refused(header)
    assert "not offered" in outcome.reason
    assert not outcome.is_failure


@pytest.mark.parametrize("header", ["", " ", "Basic", "NTLM ", "Digest"])
def test_a_scheme_without_credentials_is_no_login(header: str) -> None:
    assert World().refused(header).reason == ""


@given(st.sampled_from(["Basic ", "Digest ", "NTLM ", "NTLM TlRMTVNTUAADAAAA", ""]),
       st.text(alphabet=st.characters(max_codepoint=255)))
def test_no_header_raises(scheme: str, rest: str) -> None:
    world = World()
    world.ask(NtlmClient("boardroom", "poly-secret").first)
    assert isinstance(world.ask(scheme + rest), Refused)


def test_a_nonce_serves_many_requests_also_on_other_connections_but_no_count_twice() -> None:
    world = World(schemes=("digest",))
    challenge = world.refused().challenges[0]
    for number in (1, 2, 7, 4):
        header = digest(challenge, "boardroom", "poly-secret", count=number)
        world.accepted(header, connection=Connection())
        again = world.refused(header)
        assert again.challenges[0].endswith("stale=true")
        assert not again.is_failure
        assert again.endpoint == "endpoint of boardroom"


def test_an_old_nonce_is_stale_where_the_password_is_right_alone() -> None:
    world = World()
    challenge = world.refused().challenges[0]
    right, wrong = (digest(challenge, "boardroom", p) for p in ("poly-secret", "wrong"))
    world.now += timedelta(minutes=6)
    stale = world.refused(right)
    assert [c.partition(" ")[0] for c in stale.challenges if "stale=true" in c] == ["Digest"]
    assert not stale.is_failure
    refused = world.refused(wrong)
    assert refused.is_failure
    assert "stale" not in str(refused.challenges)
    world.accepted(digest(stale.challenges[0], "boardroom", "poly-secret"))


def test_a_nonce_from_elsewhere_or_from_the_future_is_stale() -> None:
    world, other = World(), World()
    other.authenticator = Authenticator(ACCOUNTS, schemes=("digest",), secret=b"of another", now=lambda: NOW,
                                        random_bytes=bytes)
    header = digest(other.refused().challenges[0], "boardroom", "poly-secret")
    assert "stale=true" in world.refused(header).challenges[0]
    world.now += timedelta(minutes=2)
    challenge = world.refused().challenges[0]
    world.now = NOW
    assert "stale=true" in world.refused(digest(challenge, "boardroom", "poly-secret")).challenges[0]


def test_nodes_that_share_the_secret_accept_each_others_nonces() -> None:
    one, other = World(), World()
    other.accepted(digest(one.refused().challenges[0], "boardroom", "poly-secret"))


def test_a_digest_is_bound_to_method_target_and_realm() -> None:
    world = World()
    challenge = world.refused().challenges[0]
    header = digest(challenge, "boardroom", "poly-secret")
    assert world.refused(header, method="GET").reason == "wrong password"
    assert "not the target" in world.refused(header, target="/EWS/Services.wsdl").reason
    assert "realm" in world.refused(digest(challenge, "boardroom", "poly-secret", realm="other")).reason
    world.accepted(header, target="https://otj.example.com/ews/exchange.asmx")


def test_sha_256_is_a_second_line_where_configured_alone() -> None:
    world = World(schemes=("digest",), accounts=ACCOUNTS[:1], digest_sha256=True)
    first, second = world.refused().challenges
    assert first.replace("MD5", "SHA-256") == second
    assert isinstance(world.digest("boardroom", "poly-secret", line=1), Accepted)
    outcome = World().ask(digest(second, "boardroom", "poly-secret"))
    assert isinstance(outcome, Refused)
    assert outcome.reason.endswith("algorithm SHA-256, which is not offered")


def test_ntlm_signs_in_the_connection() -> None:
    world = World()
    outcome = world.ntlm("boardroom", "poly-secret")
    assert isinstance(outcome, Accepted)
    assert outcome.headers == (("Persistent-Auth", "true"),)
    later = world.accepted(None)
    assert (later.account.username, later.scheme, later.headers) == ("boardroom", "ntlm", ())
    assert isinstance(world.ask(None, connection=Connection()), Refused)


def test_the_type_2_answer_holds_that_challenge_alone() -> None:
    outcome = World().refused(NtlmClient("boardroom", "poly-secret").first)
    assert len(outcome.challenges) == 1
    assert outcome.challenges[0].startswith("NTLM TlRMTVNTUAAC")
    assert (outcome.reason, outcome.is_failure) == ("", False)


def test_an_ntlm_challenge_serves_one_answer() -> None:
    world = World()
    client = NtlmClient("boardroom", "wrong")
    (challenge,) = world.refused(client.first).challenges
    assert world.refused(client.second(challenge)).reason == "wrong password"
    right = NtlmClient("boardroom", "poly-secret").second(challenge)
    assert "was not asked" in world.refused(right).reason
    assert isinstance(world.ask(None), Refused)


def test_other_credentials_end_what_ntlm_signed_in() -> None:
    world = World()
    world.ntlm("boardroom", "poly-secret")
    world.refused(basic("boardroom", "wrong"))
    assert isinstance(world.ask(None), Refused)


def test_a_connection_that_a_proxy_shares_is_not_lent_to_another_client() -> None:
    world = World()
    world.ntlm("boardroom", "poly-secret", address="10.0.0.1")
    assert isinstance(world.ask(None, address="10.0.0.2"), Refused)
    assert isinstance(world.ask(None, address="10.0.0.1"), Refused)


@pytest.mark.parametrize(("accounts", "schemes", "fips", "stays"), [
    ((account("boardroom"),), ("ntlm",), False, True),
    ((account("boardroom", "changed"),), ("ntlm",), False, False),
    ((account("boardroom", schemes=("digest",)),), ("ntlm",), False, False),
    ((account("other"),), ("ntlm",), False, False),
    ((account("boardroom"),), ("digest",), False, False),
    ((account("boardroom"),), ("ntlm",), True, False)])
def test_a_connection_stays_signed_in_after_a_reload_where_it_still_may(
        accounts: Sequence[Account], schemes: Sequence[str], fips: bool, stays: bool) -> None:
    world = World()
    world.ntlm("boardroom", "poly-secret")
    world.authenticator.reconfigure(accounts, schemes=schemes, fips=fips)
    assert isinstance(world.ask(None), Accepted) is stays


def test_a_reload_changes_passwords_schemes_and_keeps_nonces() -> None:
    world = World()
    challenge = world.refused().challenges[0]
    world.authenticator.reconfigure([account("boardroom", "new")], schemes=("digest",))
    world.accepted(digest(challenge, "boardroom", "new"))
    world.authenticator.reconfigure([account("boardroom", "newer")], schemes=("ntlm",))
    assert isinstance(world.ntlm("boardroom", "newer"), Accepted)
    assert isinstance(world.ntlm("boardroom", "new"), Refused)


def test_an_unknown_scheme_is_an_error_that_names_those_known() -> None:
    with pytest.raises(ValueError, match=r"'kerberos'; expected one of digest, ntlm, basic"):
        World(schemes=("kerberos",))


def refuse_md5(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let hashlib be as it is where the system runs in FIPS mode."""
    original = hashlib.new

    def refuse(*_: Any, **__: Any) -> Any:
        raise ValueError("[digital envelope routines] unsupported")

    def new(name: str, data: bytes = b"", **more: Any) -> Any:
        return refuse() if name.lower() in ("md5", "md4") else original(name, data, **more)

    monkeypatch.setattr(hashlib, "md5", refuse)
    monkeypatch.setattr(hashlib, "new", new)


def test_fips_mode_offers_and_takes_basic_alone_and_needs_no_md5(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_md5(monkeypatch)
    world = World(fips=True)
    assert world.refused().challenges == ('Basic realm="otjd"',)
    world.accepted(basic("boardroom", "poly-secret"))
    world.accepted(basic("hdx", "poly-secret"))  # whatever scheme it has otherwise
    assert "not offered" in world.refused(NtlmClient("boardroom", "poly-secret").first).reason
    assert "not offered" in world.refused('Digest username="boardroom"').reason


def test_a_system_that_refuses_md5_falls_back_to_basic_and_says_so(
        monkeypatch: pytest.MonkeyPatch, logged_events: list[dict[str, Any]]) -> None:
    refuse_md5(monkeypatch)
    assert World(schemes=("digest", "ntlm")).refused().challenges == ('Basic realm="otjd"',)
    (event,) = (e for e in logged_events if e.get("log_namespace", "").startswith("otjd"))
    assert "refuses MD5" in event["log_format"]
    logged_events.clear()
    World(schemes=("basic",), accounts=ACCOUNTS[:1])
    assert not logged_events


def test_the_modules_can_be_loaded_where_md5_is_refused() -> None:
    import subprocess
    import sys

    program = ("import hashlib\n"
               "def refuse(*a, **k): raise ValueError('unsupported')\n"
               "hashlib.md5 = refuse\n"
               "import otjd.serve.site\n")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_secret_is_shown_by_repr() -> None:
    assert "poly-secret" not in repr(account("boardroom"))
    world = World()
    assert "poly-secret" not in repr(world.accepted(basic("boardroom", "poly-secret")))
