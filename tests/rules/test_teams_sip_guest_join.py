"""Teams meetings of other tenants, joined as a SIP guest."""

from __future__ import annotations

import base64
from urllib.parse import quote
from uuid import UUID

import pytest

from otjd.rules.engine import RuleError
from otjd.rules.guest_join import meeting_blob, passcode_blob
from otjd.rules.registry import supported
from tests.rules.support import alias, evaluate, invitation, match, rule

COMPANY = "7d0b6a4e-93c1-4f58-8a2e-5c1f0e9b3d27"
TENANT = "a00be0b8-bd3d-5185-b0f9-3d3ffbd58f28"
ORGANIZER = "67b545d4-18d5-5bcd-8e83-b23d494d6a4b"
GUID = "d23eae26-bcbc-587a-befc-35afb246fe1a"
THREAD = f"19:meeting_{base64.b64encode(GUID.encode()).decode()}@thread.v2"
CHANNEL = "19:0123456789abcdef0123456789abcdef@thread.tacv2"
GUEST = rule("teamssipguestjoin", company_id=COMPANY)
REGISTERED = rule("teamssipguestjoin")
SHORT = "https://teams.microsoft.com/meet/226044718903352?p=7DbnRw0QkxVtYs5LaE"
BY_PASSCODE = f"226044718903352.MV6E4OBUKR3TE4TY..{COMPANY}@pex.ms"
"""With the passcode N84Tw2rx."""


def join(host: str = "teams.microsoft.com", thread: str = THREAD, message: str = "0", tenant: str = TENANT) -> str:
    context = quote(f'{{"Tid":"{tenant}","Oid":"{ORGANIZER}"}}', safe="")
    context = context.replace("%7B", "%7b").replace("%3A", "%3a").replace("%2C", "%2c").replace("%7D", "%7d")
    path = quote(thread, safe="@" if thread == CHANNEL else "").replace("%3A", "%3a")
    return f"https://{host}/l/meetup-join/{path}/{message}?context={context}"


def test_the_blob_holds_all_but_the_tenant() -> None:
    expected = base64.b32encode(b"\x01" + UUID(GUID).bytes + UUID(ORGANIZER).bytes).decode().rstrip("=")
    assert meeting_blob(THREAD, "0", ORGANIZER) == expected
    other = base64.b32encode(b"\x00" + UUID(ORGANIZER).bytes + f"1700|{CHANNEL}".encode()).decode().rstrip("=")
    assert meeting_blob(CHANNEL, "1700", ORGANIZER) == other


@pytest.mark.parametrize("thread", [
    THREAD.replace("@thread.v2", "@thread.tacv2"), "19:meeting_" + "A" * 48 + "@thread.v2",
    "19:meeting_x@thread.v2",
    "19:meeting_" + base64.b64encode(GUID.upper().encode()).decode() + "@thread.v2",
    "19:meeting_" + "_" * 48 + "@thread.v2",
])
def test_a_thread_that_is_not_made_of_a_guid_is_kept_as_text(thread: str) -> None:
    blob = meeting_blob(thread, "0", ORGANIZER)
    assert f"0|{thread}".encode() in base64.b32decode(blob + "=" * (-len(blob) % 8))


def test_a_passcode_is_written_as_the_public_implementation_does() -> None:
    assert passcode_blob("aB3dE9") == "MV6GCQRTMRCTS"


@pytest.mark.parametrize(("thread", "message"), [(THREAD, "0"), (CHANNEL, "1700000000000"),
                                                 (THREAD.replace("19:", "19:gcch:"), "0")])
@pytest.mark.parametrize("host", [
    "teams.microsoft.com", "teams.cloud.microsoft", "gov.teams.microsoft.us", "dod.teams.microsoft.us",
    "teams.microsoft.us", "emea.teams.microsoft.com", "teams.microsoftonline.cn", "Teams.Microsoft.com"])
def test_a_join_link_gives_blob_and_tenant(host: str, thread: str, message: str) -> None:
    meeting = invitation(f"Rejoindre la réunion maintenant<{join(host, thread, message)}>")
    blob = meeting_blob(thread, message, ORGANIZER)
    found = match(meeting, REGISTERED)
    assert found is not None
    assert found.alias == f"{blob}.{TENANT}@pex.ms"
    expected = {"tenant_id": TENANT, "organizer_id": ORGANIZER, "thread_id": thread, "message_id": message,
                "base32_encoded_blob": blob}
    assert expected.items() <= dict(found.variables).items()
    assert alias(meeting, GUEST) == f"{blob}.{TENANT}.{COMPANY}@pex.ms"


LINK_ALIAS = f"{meeting_blob(THREAD, '0', ORGANIZER)}.{TENANT}@pex.ms"


def test_the_link_is_found_wherever_a_calendar_puts_it() -> None:
    link = join()
    named = {"id": "String {00020329-0000-0000-c000-000000000046} Name SkypeTeamsMeetingUrl", "value": link}
    for meeting in (
            invitation(html=f"<a href=\"{link.replace('&', '&amp;')}\">参加する</a>"),
            invitation(html=f"<a href='{link}'>x</a>"),
            invitation(location=f"Room 1; {link}"),
            invitation(properties={"graph": {"singleValueExtendedProperties": [named]}}),
            invitation(properties={"graph": {"onlineMeeting": {"joinUrl": link, "conferenceId": "60418273"}}}),
            invitation(properties={"ics": {"X-MICROSOFT-SKYPETEAMSMEETINGURL": link}}),
            invitation(properties={"google": {"conferenceData": {"entryPoints": [
                {"entryPointType": "video", "uri": link}]}}}),
            invitation(f"x\n> Join<{link}>\n"),
            invitation(f"https://nam12.safelinks.protection.outlook.com/?url={quote(link, safe='')}&data=x"),
            invitation(f"<https://teams.microsoft.com/dl/launcher/launcher.html?x=1&"
                       f"url={quote(link[27:], safe='')}>"),
            invitation(link.replace("%", "%25"))):
        assert alias(meeting, REGISTERED) == LINK_ALIAS


@pytest.mark.parametrize("text", [
    join("teams.microsoft.com.evil.example"), join("notteams.microsoft.com"), join("teams.live.com"),
    join("teams.microsoft.com@evil.example"), join("evil.example/?u=https://teams.microsoft.com"),
    join(tenant="none"), join(thread="meeting_abc"), join(message="x"),
    join().replace("Oid", "Uid"),
    "https://aka.ms/JoinTeamsMeeting?omkt=en-US", "https://www.microsoft.com/microsoft-teams/join-a-meeting",
    f"https://teams.microsoft.com/meetingOptions/?tenantId={TENANT}&threadId=19_meeting_x@thread.v2",
    "https://dialin.teams.microsoft.com/00000000-0000-4000-8000-000000000002?id=60418273", SHORT,
    "https://teams.live.com/meet/9361177204485?p=Bx7\nMeeting ID: 936 117 720 448 5\nPasscode: Bx71kQ",
    "Join<https://protect-us.mimecast.com/s/xY7zCkQm4vT9sLp2FhN8Rw?domain=teams.microsoft.com>",
    "Meeting ID: 241 772 905 113\nPasscode: gQx7Lb",
    "Microsoft Teams\nPhone conference ID: 241 772 905 113\nPIN: 123456",
])
def test_what_is_no_join_link_of_a_tenant_gives_nothing(text: str) -> None:
    for which in (GUEST, REGISTERED):
        assert alias(invitation(text), which) is None


LABELS = [
    ("Meeting ID: ", "Passcode: "), ("Meeting ID:\n", "Passcode:\n"), ("Besprechungs-ID: ", "Passcode: "),
    ("Besprechungs-ID: ", "Kenncode: "), ("会議 ID: ", "パスコード: "), ("会議 ID：\n", "パスコード：\n"),
    ("Møte-ID: ", "passord: "), ("ID de réunion : ", "Code secret : "), ("Id. de reunión: ", "Código de acceso: "),
    ("ID riunione: ", "Passcode: "), ("Vergaderings-id: ", "Wachtwoordcode: "),
    ("Kokoustunnus: ", "Tunnuskoodi: "),
    ("*Meeting ID:* ", "*Passcode:* "), ("Meeting ID ", "Passcode: "), ("Bileraren IDa: ", "Sarbide-kodea: "),
]


@pytest.mark.parametrize(("id_label", "code_label"), LABELS)
def test_id_and_passcode_are_dialled_with_the_company_id(id_label: str, code_label: str) -> None:
    lines = f"{id_label}226 044 718 903 352\n{code_label}N84Tw2rx\n"
    spans = lines.replace(": ", ":&nbsp;</span><span>").split("\n")
    html = "".join(f"<div><span>{part}</span></div>" for part in spans)
    for meeting in (invitation(f"Join:\n{SHORT}\n{lines}\nNeed help?"),
                    invitation(f"{lines}", location=SHORT),
                    invitation(html=f"<div><a href='{SHORT}'>x</a></div>{html}"),
                    invitation(f"Join<{join()}>\n{lines}"),
                    invitation(f"{SHORT} {lines}".replace("\n", " ")),
                    invitation(f"Microsoft Teams\nJoin<https://url.us.m.mimecastprotect.com/s/abc>\n{lines}")):
        found = match(meeting, GUEST)
        assert found is not None
        assert found.alias == BY_PASSCODE
        expected = {"meeting_id": "226044718903352", "passcode": "N84Tw2rx",
                    "passcode_blob_b32": "MV6E4OBUKR3TE4TY"}
        assert expected.items() <= dict(found.variables).items()


def test_an_id_keeps_its_leading_zero() -> None:
    text = "https://teams.cloud.microsoft/meet/026044718903/ \nMeeting ID: 026 044 718 903\nPasscode: gQx7Lb"
    assert alias(invitation(text), GUEST) == f"026044718903.{passcode_blob('gQx7Lb')}..{COMPANY}@pex.ms"


def test_the_short_link_gives_the_id_where_only_the_passcode_is_printed() -> None:
    assert alias(invitation(f"{SHORT}\nPasscode: N84Tw2rx"), GUEST) == BY_PASSCODE
    assert alias(invitation(f"{SHORT}\nPasscode: N84Tw2rx\nPasscode: 123456"), GUEST) is None
    assert alias(invitation(f"{SHORT}\nPasscode: N84Tw2rxx"), GUEST) is None


def test_without_a_company_id_only_the_documented_form_is_made() -> None:
    lines = "Meeting ID: 226 044 718 903 352\nPasscode: N84Tw2rx"
    assert alias(invitation(f"{SHORT}\n{lines}"), REGISTERED) is None
    assert alias(invitation(f"Join<{join()}>\n{lines}"), REGISTERED) == LINK_ALIAS


def test_the_id_of_another_provider_is_not_taken_for_that_of_teams() -> None:
    zoom = "Join Zoom https://us02web.zoom.us/j/81234567890\nMeeting ID: 812 345 678 90\nPasscode: 123456\n"
    assert alias(invitation(zoom, location="Microsoft Teams Meeting"), GUEST) is None
    assert alias(invitation(f"{zoom}Join<{join()}>"), GUEST) == LINK_ALIAS.replace("@", f".{COMPANY}@")
    both = f"{zoom}{SHORT}\nMeeting ID: 226 044 718 903 352\nPasscode: N84Tw2rx"
    assert alias(invitation(both), GUEST) == BY_PASSCODE
    dashed = "Zoom\nMeeting ID: 812 3456 7890\nPasscode: 123456\nor Microsoft Teams"
    assert alias(invitation(dashed), GUEST) is None


@pytest.mark.parametrize("text", [
    f"Join<{join()}>\nMeeting ID: 241 772 905 113\nNote: Please be early",
    f"Join<{join()}>\nMeeting ID: 241 772 905 113\nPhone: +1 323-555-0142",
    f"Join<{join()}>\nTelefonkonferenz-ID: 241 772 905\nPasscode: 123456",
    f"Join<{join()}>\n241 772 905 113\nPasscode: gQx7Lb",
])
def test_what_is_no_pair_of_id_and_passcode_leaves_the_link(text: str) -> None:
    assert alias(invitation(text), GUEST) == LINK_ALIAS.replace("@", f".{COMPANY}@")


@pytest.mark.parametrize("block", [
    "817063294@t.plcm.vc VTC Conference ID: 1150090014", "exfi@m.webex.com\nVideo ID: 125 977 220 6",
    "More info<https://pexip.me/teams/vc.example.no/1195863826>",
    "More info<https://join.example.com/teams/?conf=1227109644&d=vc.example.dk>",
    "130885024@teams.bjn.vc VTC Conference ID: 1291418316", "teams@vc.other.example\nVideo ID: 125 977 220 6",
])
def test_a_meeting_with_coordinates_for_video_systems_is_left_to_the_types_that_read_them(block: str) -> None:
    assert alias(invitation(f"Join<{join()}>\n{block}"), GUEST, REGISTERED) is None


def test_a_meeting_with_a_video_id_in_its_properties_is_left_to_its_type() -> None:
    properties = {"ics": {"X-MICROSOFT-TEAMSVTCCONFERENCEID": "1180924475"}}
    assert alias(invitation(f"Join<{join()}>", properties=properties), GUEST) is None


def test_a_mail_address_with_a_telephone_number_is_no_coordinates() -> None:
    text = f"Join<{join()}>\npat.moe@example.com\nMobile: 0701234567\nkim@example.com 0701234567"
    assert alias(invitation(text), REGISTERED) == LINK_ALIAS


@pytest.mark.parametrize("company", ["a b", "x@y", "a/b"])
def test_a_company_id_that_cannot_be_dialled_is_refused(company: str) -> None:
    with pytest.raises(RuleError, match="company_id"):
        evaluate(invitation(), rule("teamssipguestjoin", company_id=company))


def test_a_transform_of_the_operator_sees_the_variables_of_both_forms() -> None:
    own = rule("teamssipguestjoin", company_id="c",
               transform_rule="{{meeting_id}}-{{passcode}}-{{tenant_id}}-{{company_id}}@x.example")
    text = f"Join<{join()}>\nMeeting ID: 226 044 718 903 352\nPasscode: N84Tw2rx"
    assert alias(invitation(text), own) == f"226044718903352-N84Tw2rx-{TENANT}-c@x.example"


def test_the_example_gives_an_alias() -> None:
    found = match(invitation(supported()["teamssipguestjoin"].example), GUEST)
    assert found is not None
    assert found.alias.startswith("228311905577042.")
    assert found.variables["tenant_id"] == TENANT
    assert found.variables["thread_id"] == THREAD


def test_a_text_that_no_encoding_takes_is_read() -> None:
    text = "Microsoft Teams \ud800 Meeting ID: 228 311 905 577 042\nPasscode: mB4nQ7Xc"
    found = match(invitation(text), rule("teamssipguestjoin", company_id="acme"))
    assert found is not None
    assert found.variables["meeting_id"] == "228311905577042"
