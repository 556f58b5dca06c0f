"""Independent clients against the service as its own process: exchangelib, curl, and Microsoft's managed API for
EWS in its JavaScript port where that is installed (`npm install ews-javascript-api @ewsjs/xhr`; NODE_PATH names
the folder).
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import exchangelib
import pytest
import requests
from exchangelib.protocol import BaseProtocol
from lxml import etree

from tests.end_to_end.world import ROOT, World, event

ROOM = "boardroom@example.com"
NOW = datetime.now(UTC).replace(microsecond=0, second=0)
MANAGED_API = ROOT / "tests" / "data" / "clients" / "ews_client.js"
SCHEMA = ROOT.parent / "shared" / "ews-schema" / "interop" / "messages.xsd"
FIND_ITEM = f"""<?xml version="1.0" encoding="utf-8"?>
<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Header>
<RequestServerVersion Version="Exchange2007_SP1" xmlns="http://schemas.microsoft.com/exchange/services/2006/types"/>
</soap:Header><soap:Body><FindItem Traversal="Shallow"
 xmlns="http://schemas.microsoft.com/exchange/services/2006/messages"><ItemShape>
<BaseShape xmlns="http://schemas.microsoft.com/exchange/services/2006/types">Default</BaseShape></ItemShape>
<CalendarView StartDate="{NOW - timedelta(hours=2):%Y-%m-%dT%H:%M:%SZ}"
 EndDate="{NOW + timedelta(days=2):%Y-%m-%dT%H:%M:%SZ}"/>
<ParentFolderIds><DistinguishedFolderId Id="calendar"
 xmlns="http://schemas.microsoft.com/exchange/services/2006/types"/></ParentFolderIds></FindItem></soap:Body>
</soap:Envelope>"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("world"), schemes=("digest", "ntlm", "basic"))
    world.poly("Boardroom Group 500", ROOM, "boardroom")
    world.poly("Boardroom Trio", ROOM, "Boardroom-Trio", "other-secret")
    world.poly("Lounge", "lounge@example.com", "lounge")
    world.write_calendar(
        ROOM, event("weekly", NOW, subject="Weekly & more <ö>", alias="weekly@video.example.com",
                    more="RRULE:FREQ=DAILY;COUNT=5\n"),
        event("lunch", NOW + timedelta(hours=3), subject="Lunch"),
        event("secret", NOW + timedelta(hours=5), alias="sip:secret@elsewhere.example", more="CLASS:PRIVATE\n"))
    world.write_calendar("lounge@example.com", event("other", NOW, subject="Not yours"))
    world.start()
    try:
        yield world
    finally:
        assert world.ended_well()


@pytest.fixture
def trusting(served: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that verify the certificate, against the development CA."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(served.certificates.ca_certificate))


def account(served: World, auth_type: str | None, username: str = "boardroom", password: str = "poly-secret",
            email: str = ROOM) -> exchangelib.Account:
    BaseProtocol.TIMEOUT = 10
    configuration = exchangelib.Configuration(
        service_endpoint=served.url, auth_type=auth_type,
        credentials=exchangelib.Credentials(username, password))
    return exchangelib.Account(email, config=configuration, autodiscover=False, access_type=exchangelib.DELEGATE)


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize("scheme", [exchangelib.DIGEST, exchangelib.NTLM, exchangelib.BASIC, None])
def test_exchangelib_lists_the_window_and_reads_each_item_by_id(served: World, scheme: str | None) -> None:
    calendar = account(served, scheme).calendar
    items = list(calendar.view(start=NOW - timedelta(hours=1), end=NOW + timedelta(days=3)))
    assert [i.subject for i in items] == ["Weekly & more <ö>", "Lunch", "Ada Berg",
                                          "Weekly & more <ö>", "Weekly & more <ö>"]
    assert [i.sensitivity for i in items] == ["Normal", "Normal", "Private", "Normal", "Normal"]
    assert items[0].location == "sip:weekly@video.example.com"
    assert not items[1].location
    assert items[2].location == "sip:secret@elsewhere.example"
    for item in items:
        read = calendar.get(id=item.id, changekey=item.changekey)
        assert (read.subject, read.start, read.end) == (item.subject, item.start, item.end)
        assert read.organizer.email_address == "ada@example.com"
        assert ("POLYCOM VMR ENCODED TOKEN" in (read.text_body or "")) == bool(item.location)
    assert len({i.id for i in items}) == len(items)


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize("scheme", [exchangelib.DIGEST, exchangelib.NTLM])
def test_exchangelib_reads_free_time_settings_and_changes(served: World, scheme: str) -> None:
    own = account(served, scheme)
    start: Any = exchangelib.EWSDateTime.from_datetime(NOW).astimezone(exchangelib.UTC)
    (view,) = own.protocol.get_free_busy_info([(own, "Room", False)], start, start + timedelta(hours=6), 60)
    assert [e.details.subject for e in view.calendar_events] == ["Weekly & more <ö>", "Lunch", "Ada Berg"]
    assert view.merged == "200202"
    assert len(list(own.protocol.get_timezones(return_full_timezone_data=True))) > 100
    assert list(own.protocol.get_roomlists()) == []
    assert own.root.get_user_configuration(name="OWA.UserOptions").dictionary == {"timezone": "UTC"}
    assert [kind for kind, _ in own.calendar.sync_items(only_fields=["subject"])] == ["create"] * 7
    assert list(own.calendar.sync_items(only_fields=["subject"])) == []
    starting = own.calendar.filter(start__gte=start).order_by("start").only("subject")
    assert starting[0].subject == "Weekly & more <ö>"


def has_managed_api() -> bool:
    try:
        done = subprocess.run(["node", "-e", "require('ews-javascript-api'); require('@ewsjs/xhr')"],
                              capture_output=True, check=False, timeout=60)
    except OSError:
        return False
    return done.returncode == 0


@pytest.mark.needs("node")
@pytest.mark.parametrize("scheme", ["basic", "ntlm"])
def test_the_managed_api_reads_items_free_time_changes_and_settings(served: World, scheme: str) -> None:
    if not has_managed_api():
        pytest.skip("ews-javascript-api and @ewsjs/xhr are not installed where node looks for them (NODE_PATH)")
    span = [f"{NOW + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}" for days in (0, 2)]
    done = subprocess.run(["node", str(MANAGED_API), served.url, "boardroom", "poly-secret", scheme, ROOM, *span],
                          capture_output=True, check=False, timeout=90)
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    subjects = ["Weekly & more <ö>", "Lunch", "Ada Berg", "Weekly & more <ö>"]
    assert [i["subject"] for i in read["items"]] == subjects
    assert {i["organizer"] for i in read["items"]} == {"ada@example.com"}
    assert read["items"][0]["location"] == "sip:weekly@video.example.com"
    assert "POLYCOM VMR ENCODED TOKEN" in read["items"][0]["body"]
    assert not read["items"][1]["body"]
    assert read["isWhole"] is True
    assert read["other"] == "ErrorMailRecipientNotFound"
    assert set(read["busy"]) == set(subjects)
    assert (read["changes"], read["again"], read["lists"], read["hasTimeZone"]) == (7, 0, 0, True)


@pytest.mark.usefixtures("trusting")
def test_a_second_endpoint_of_the_room_sees_the_same_ids(served: World) -> None:
    def ids(username: str, password: str) -> list[tuple[str, str]]:
        found = account(served, exchangelib.NTLM, username, password).calendar.view(NOW, NOW + timedelta(days=1))
        return [(i.id, i.changekey) for i in found]

    assert ids("boardroom", "poly-secret") == ids("Boardroom-Trio", "other-secret")


@pytest.mark.usefixtures("trusting")
def test_another_rooms_mailbox_is_refused(served: World) -> None:
    with pytest.raises((exchangelib.errors.ErrorNonExistentMailbox, exchangelib.errors.ErrorAccessDenied)):
        list(account(served, exchangelib.BASIC, email="lounge@example.com").calendar.view(
            NOW, NOW + timedelta(days=1)))


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize("scheme", [exchangelib.DIGEST, exchangelib.NTLM, exchangelib.BASIC])
@pytest.mark.parametrize(("username", "password"), [
    ("boardroom", "wrong"), ("Boardroom", "poly-secret"), ("x", "y")])
def test_exchangelib_with_wrong_credentials_is_unauthorized(
        served: World, scheme: str, username: str, password: str) -> None:
    with pytest.raises(exchangelib.errors.UnauthorizedError):
        list(account(served, scheme, username, password).calendar.view(NOW, NOW + timedelta(days=1)))


def curl(served: World, *options: str, password: str = "poly-secret", body: str = FIND_ITEM) -> tuple[int, bytes]:
    done = subprocess.run(
        ["curl", "--silent", "--cacert", served.certificates.ca_certificate, "--user", f"boardroom:{password}",
         "--header", "Content-Type: text/xml; charset=utf-8", "--data-binary", "@-",
         "--write-out", "\n%{http_code}", *options, served.url],
        input=body.encode(), capture_output=True, check=True, timeout=30)
    answer, _, status = done.stdout.rpartition(b"\n")
    return int(status), answer


@pytest.fixture(scope="module")
def schema() -> etree.XMLSchema | None:
    return etree.XMLSchema(etree.parse(SCHEMA)) if SCHEMA.exists() else None


@pytest.mark.needs("curl")
@pytest.mark.parametrize("scheme", ["--digest", "--ntlm", "--basic", "--anyauth"])
def test_curl_gets_a_schema_valid_list(served: World, scheme: str, schema: etree.XMLSchema | None) -> None:
    status, answer = curl(served, scheme)
    assert status == 200
    body: Any = etree.fromstring(answer).find("{http://schemas.xmlsoap.org/soap/envelope/}Body")
    assert body[0].tag.endswith("}FindItemResponse")
    assert answer.count(b"<t:CalendarItem>") == 4
    if schema is not None:
        schema.assertValid(body[0])


@pytest.mark.needs("curl")
@pytest.mark.parametrize("scheme", ["--digest", "--ntlm", "--basic", "--anyauth"])
def test_curl_with_a_wrong_password_gets_401_and_no_traceback(served: World, scheme: str) -> None:
    status, answer = curl(served, scheme, password="wrong")
    assert status == 401
    assert b"Traceback" not in answer
    assert "Traceback" not in served.log


@pytest.mark.needs("curl")
@pytest.mark.parametrize("body", [
    "not xml", "<a><b></a>", FIND_ITEM.replace("FindItem", "LaunchRocket"),
    '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + FIND_ITEM.partition("?>")[2].replace(
        "Shallow", "&x;")])
def test_what_cannot_be_served_gets_a_soap_fault_and_one_log_line(served: World, body: str) -> None:
    before = served.log.count("\n")
    status, answer = curl(served, "--basic", body=body)
    assert status == 500
    assert b"<s:Fault>" in answer
    assert b"root:" not in answer
    assert served.log.count("\n") == before + 1


@pytest.mark.needs("curl")
def test_a_body_of_ten_megabytes_is_refused(served: World) -> None:
    status, _ = curl(served, "--basic", "--header", "Expect:", body="x" * 10_000_000)
    assert status == 413


@pytest.mark.usefixtures("trusting")
def test_pox_autodiscover_names_our_own_address(served: World) -> None:
    answer = requests.post(
        f"https://127.0.0.1:{served.calendar_port}/autodiscover/autodiscover.xml",
        data=('<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006">'
              f"<Request><EMailAddress>{ROOM}</EMailAddress><AcceptableResponseSchema>http://schemas.microsoft.com/"
              "exchange/autodiscover/outlook/responseschema/2006a</AcceptableResponseSchema></Request>"
              "</Autodiscover>"),
        headers={"Content-Type": "text/xml"}, auth=("boardroom", "poly-secret"), timeout=10)
    assert answer.status_code == 200
    assert f"<EwsUrl>{served.url}</EwsUrl>" in answer.text


def test_the_log_never_shows_a_secret(served: World) -> None:
    assert "poly-secret" not in served.log
    assert "codec-secret" not in served.log


def test_certificates_and_keys_of_the_tests_are_not_in_the_repository() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode != 0:
        pytest.skip("not a git checkout")
    assert not [f for f in tracked.stdout.split() if Path(f).suffix in {".key", ".pem", ".p12", ".crt"}]
