from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_twisted
import requests
from requests_ntlm import HttpNtlmAuth

from otjd.simulate.certificates import Certificates
from otjd.simulate.exchange_settings import ServiceAccount
from tests.serve.clients import NtlmClient, basic
from tests.serve.ews_support import codes
from tests.simulate.exchange_world import ACCOUNT, World, envelope, in_thread, world
from tests.simulate.test_exchange import view

NAME = ACCOUNT.username


@pytest_twisted.async_yield_fixture  # type: ignore[untyped-decorator]
async def served(server_certificates: Certificates) -> AsyncIterator[World]:
    async with world(server_certificates, schemes=("ntlm", "basic", "bearer")) as made:
        yield made


async def status(served: World, authorization: str, *, headers: dict[str, str] | None = None) -> int:
    response = await served.request(envelope(view()), authorization=authorization, headers=headers)
    await response.content()
    return int(response.code)


def challenges(response: Any) -> list[str]:
    return [line.partition(" ")[0] for line in response.headers.getRawHeaders("WWW-Authenticate")]


async def test_who_does_not_sign_in_is_told_how_to(served: World) -> None:
    response = await served.request(envelope(view()), authorization="")
    assert (response.code, challenges(response)) == (401, ["NTLM", "Basic", "Bearer"])
    assert await response.content() == b""
    assert served.server.requests == {"(unauthorized)": 1}
    assert not served.server.access.attempts


@pytest.mark.parametrize(("own", "given"), [
    ("svc@example.com", "SVC@example.com"), ("svc@example.com", "svc"), ("svc@example.com", "EXAMPLE\\svc"),
    ("svc@example.com", "example.com\\svc"), ("EXAMPLE\\svc", "example\\svc"), ("EXAMPLE\\svc", "svc")])
def test_an_account_goes_by_each_of_its_names(own: str, given: str) -> None:
    domain, _, user = given.rpartition("\\")
    assert ServiceAccount(own, "x").is_called(user, domain)
    assert not ServiceAccount(own, "x").is_called(f"{user}x", domain)
    assert not ServiceAccount(own, "x").is_called("svc", "OTHER")


async def test_a_wrong_password_is_counted_and_five_in_a_row_lock_the_account(served: World) -> None:
    for _ in range(4):
        assert await status(served, basic(NAME, "wrong")) == 401
    assert await status(served, basic(NAME, "right")) == 200
    for _ in range(5):
        assert await status(served, basic(NAME, "wrong")) == 401
    assert served.server.access.is_locked(NAME)
    assert await status(served, basic(NAME, "right")) == 401
    assert served.server.access.refused[NAME] == 10
    served.server.access.unlock(NAME)
    assert await status(served, basic(NAME, "right")) == 200


async def test_a_changed_password_counts_from_the_next_sign_in_on(served: World) -> None:
    served.server.access.change_password(NAME, "fresh")
    assert await status(served, basic(NAME, "right")) == 401
    assert await status(served, basic(NAME, "fresh")) == 200


@pytest.mark.parametrize("schemes", [("ntlm", "basic"), ("negotiate", "ntlm"), ("negotiate",)])
async def test_ntlm_is_for_the_connection(schemes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch,
                                          server_certificates: Certificates) -> None:
    async with world(server_certificates, schemes=schemes) as served:
        def talk(password: str) -> list[int]:
            session = requests.Session()
            session.auth = HttpNtlmAuth("EXAMPLE\\svc-otj", password)
            told = [session.post(served.url, envelope(view()), headers={"Content-Type": "text/xml"}).status_code
                    for _ in range(3)]
            session.close()
            return told

        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(served.certificates.ca_certificate))
        assert await in_thread(talk, "right") == [200, 200, 200]
        assert served.server.access.handshakes == served.server.access.attempts[NAME]
        assert await in_thread(talk, "wrong") == [401, 401, 401]
        assert served.server.access.refused[NAME] == 3


async def test_an_ntlm_answer_on_a_connection_that_was_not_asked_is_refused(served: World) -> None:
    client = NtlmClient("svc-otj", "right", "EXAMPLE")
    response = await served.request(envelope(view()), authorization=client.first, headers={"Connection": "close"})
    (challenge,) = response.headers.getRawHeaders("WWW-Authenticate")
    await response.content()
    assert await status(served, client.second(challenge), headers={"Connection": "close"}) == 401
    assert not served.server.access.attempts


async def test_with_extended_protection_a_client_must_name_the_connection(
        server_certificates: Certificates) -> None:
    for protection, expected in (("none", 200), ("allow", 200), ("require", 401)):
        async with world(server_certificates, extended_protection=protection) as served:
            client = NtlmClient("svc-otj", "right", "EXAMPLE")  # names none
            first = await served.request(envelope(view()), authorization=client.first)
            await first.content()
            (challenge,) = first.headers.getRawHeaders("WWW-Authenticate")
            assert await status(served, client.second(challenge)) == expected
            assert served.server.access.unbound == (expected == 401)
            assert not served.server.access.is_locked(NAME)


async def test_a_bearer_token_is_good_until_it_expires_or_is_revoked(served: World) -> None:
    token = f"Bearer {served.server.access.issue_token(NAME)}"
    assert await status(served, token) == 200
    served.now += timedelta(hours=1)
    response = await served.request(envelope(view()), authorization=token)
    lines = response.headers.getRawHeaders("WWW-Authenticate")
    assert response.code == 401
    assert 'error="invalid_token", error_description="The token has expired."' in lines[-1]
    await response.content()
    token = f"Bearer {served.server.access.issue_token(NAME, timedelta(days=1))}"
    assert await status(served, token) == 200
    served.server.access.revoke_tokens()
    assert await status(served, token) == 401
    assert not served.server.access.is_locked(NAME)


@pytest.mark.parametrize("authorization", [
    "Basic !!!", f"Basic {base64.b64encode(b'no colon').decode()}", "NTLM !!!", "NTLM AAAA", "Digest x", "Bearer"])
async def test_what_cannot_be_read_as_credentials_is_refused(served: World, authorization: str) -> None:
    assert await status(served, authorization) == 401


async def test_an_account_reads_the_rooms_of_its_scope_alone(server_certificates: Certificates) -> None:
    other = ServiceAccount("EXAMPLE\\other", "right")
    async with world(server_certificates, accounts=(ACCOUNT, other)) as served:
        assert (await served.fault(view(), room="vault@example.com"))[0] == "ErrorImpersonateUserDenied"
        answer = await served.ask(view(), room="vault@example.com", username="EXAMPLE\\other")
        assert codes(answer[0]) == ["NoError"]
