"""Teams and Skype for Business meetings by their properties and by the CVI provider of their block."""

from __future__ import annotations

import re

import pytest

from otjd.rules.engine import Rule, RuleError
from otjd.rules.registry import supported
from tests.rules.support import alias, evaluate, invitation, match, rule

PUBLIC = "{00020329-0000-0000-C000-000000000046}"
TEAMS = rule("teams", domain="teams.vc.example.com")
INFINITY = rule("pexipinfinityteamsbody")
SERVICE = rule("pexipserviceteamsbody")
POLY = rule("polyteamsbody")
BLUEJEANS = rule("bluejeansteamsbody")
CISCO = rule("ciscoteamsbody")
SKYPE = rule("s4b")
POLY_SKYPE = rule("polys4bbody")
BODY_TYPES = (INFINITY, SERVICE, POLY, BLUEJEANS, CISCO, POLY_SKYPE)
GRAPH_ID = f"String {PUBLIC} Name "


def by_property(name: str, value: object) -> list[dict[str, object]]:
    """One named property, as each calendar gives it."""
    uri = {"DistinguishedPropertySetId": "PublicStrings", "PropertyName": name}
    return [{"graph": {"singleValueExtendedProperties": [{"id": GRAPH_ID + name, "value": value}]}},
            {"ews": {"ExtendedProperty": [{"ExtendedFieldURI": uri, "Value": value}]}},
            {"ics": {f"X-MICROSOFT-{name.upper()}": value}}]


@pytest.mark.parametrize(("value", "expected"), [
    ("1180924475", "1180924475@teams.vc.example.com"), (" 126 033 871 4 ", "1260338714@teams.vc.example.com"),
    ("016\u00a0830\u00a0947", "016830947@teams.vc.example.com"), ("", None), ("none", None), ("12", None),
    (None, None), (1180924475, None), ("118092447x", None), (["1180924475"], None),
])
def test_teams_dials_the_video_id_of_the_properties_at_the_domain_of_the_rule(value: object,
                                                                             expected: str | None) -> None:
    for properties in by_property("TeamsVtcConferenceId", value):
        assert alias(invitation(properties=properties), TEAMS) == expected


def test_teams_does_not_look_at_the_body() -> None:
    assert alias(invitation("teams@vc.example.com VTC Conference ID: 1111000222"), TEAMS) is None
    assert alias(invitation(properties={"graph": {"onlineMeeting": {"conferenceId": "60418273"}}}), TEAMS) is None


@pytest.mark.parametrize("domain", ["", " ", "vc example", "a@vc.example.com", "https://vc.example.com"])
def test_a_teams_rule_without_a_usable_domain_is_refused(domain: str) -> None:
    with pytest.raises(RuleError, match="domain"):
        evaluate(invitation(), rule("teams", domain=domain))


@pytest.mark.parametrize(("link", "expected"), [
    ("https://join.example.com/teams/?conf=1227109644&ivr=teams&d=vc.example.dk&prefix=&w",
     "1227109644@vc.example.dk"),
    ("https://join.example.com/teams?prefix=8&conf=0227109644&d=vc.example.dk", "80227109644@vc.example.dk"),
    ("https://join.example.com/teams/?prefix=mfa.&conf=1227109644&d=vc.example.dk",
     "mfa.1227109644@vc.example.dk"),
    ("https://join.example.com/teams/?conf=abcd.1234567890&d=vc.example.dk", "abcd.1234567890@vc.example.dk"),
    ("https://join.example.com/teams/?conf=1227109644", None),
    ("https://join.example.com/teams/?d=vc.example.dk", None),
    ("https://join.example.com/teams/?conf=&d=vc.example.dk", None),
    ("https://join.example.com/teams/?conf=12x27&d=vc.example.dk", None),
    ("https://join.example.com/teams/?conf=1227109644&d=vc.example.dk%2F@x", None),
    ("https://join.example.com/teams/?conf=1227109644&d=vc.example.dk&prefix=a%40b.example%2F", None),
    ("https://join.example.com/?conf=1227109644&direct=1&key=teams%40vc.example.dk", None),
    ("https://join.example.com/steams/?conf=1227109644&d=vc.example.dk", None),
    ("https://dialin.plcm.vc/teams/?key=817063294&conf=1150093344", None),
    ("ftp://join.example.com/teams/?conf=1227109644&d=vc.example.dk", None),
])
def test_a_link_of_pexip_infinity_tells_prefix_id_and_domain(link: str, expected: str | None) -> None:
    assert alias(invitation(f"More info<{link}>"), INFINITY) == expected
    escaped = link.replace("&", "&amp;")
    assert alias(invitation(html=f"<p><a href='{escaped}'>Weitere Informationen</a></p>"), INFINITY) == expected


@pytest.mark.parametrize(("link", "expected"), [
    ("https://pexip.me/teams/vc.example.no/1195863826", "1195863826@vc.example.no"),
    ("https://PEXIP.me/teams/vc.example.no/0195863826/?x=1", "0195863826@vc.example.no"),
    ("https://pexip.me/meet/1195863826", None), ("https://pexip.me/teams/vc.example.no", None),
    ("https://pexip.me/teams/vc.example.no/", None), ("https://pexip.me/teams/vc/1195863826", None),
    ("https://pexip.me.evil.example/teams/vc.example.no/1195863826", None),
    ("https://notpexip.me/teams/vc.example.no/1195863826", None),
    ("https://pexip.me@evil.example/teams/vc.example.no/1195863826", None),
    ("https://evil.example/?u=https://pexip.me/teams/vc.example.no/1195863826", None),
    ("https://pexip.me/x/teams/vc.example.no/1195863826", None),
    ("https://pexip.me/teams/vc.example.no%40evil.example/1195863826", None),
])
def test_a_link_of_the_pexip_service_tells_id_and_domain(link: str, expected: str | None) -> None:
    assert alias(invitation(f"Más información: {link}."), SERVICE) == expected
    assert alias(invitation(location=f"Room 5; {link}"), SERVICE) == expected


def test_lines_do_not_tell_which_service_answers_at_a_domain() -> None:
    text = "Tenant key: teams@vc.example.com\nVideo ID: 119 586 382 6"
    assert [alias(invitation(text), r) for r in BODY_TYPES] == [None] * len(BODY_TYPES)


@pytest.mark.parametrize(("link", "expected"), [
    ("https://www.webex.com/msteams?confid=1198563826&tenantkey=ex-dw&domain=m.webex.com",
     "1198563826.ex-dw@m.webex.com"),
    ("https://site.webex.com/msteams/?domain=m.webex.com&tenantkey=exdw&confid=01985638261",
     "01985638261.exdw@m.webex.com"),
    ("https://www.webex.com/msteams?confid=1198563826&domain=m.webex.com", None),
    ("https://www.webex.com/msteams?confid=1198563826&tenantkey=exdw", None),
    ("https://www.webex.com/msteams?confid=1198563826&tenantkey=exdw&domain=evil.example", None),
    ("https://www.webex.com/msteams?confid=1198563826&tenantkey=exdw&domain=notwebex.com", None),
    ("https://www.webex.com/msteams?confid=1198563826&tenantkey=ex%40dw&domain=m.webex.com", None),
    ("https://www.webex.com/msteams?confid=&tenantkey=exdw&domain=m.webex.com", None),
    ("https://www.webex.com.evil.example/msteams?confid=1198563826&tenantkey=exdw&domain=m.webex.com", None),
    ("https://evilwebex.com/msteams?confid=1198563826&tenantkey=exdw&domain=m.webex.com", None),
    ("https://www.webex.com/meet/1198563826", None),
])
def test_a_link_of_cisco_tells_id_key_and_domain(link: str, expected: str | None) -> None:
    assert alias(invitation(f"More info<{link}>"), CISCO) == expected


@pytest.mark.parametrize(("link", "poly", "skype"), [
    ("https://dialin.plcm.vc/teams/?key=817063294&conf=016830974", "817063294.016830974@t.plcm.vc", None),
    ("https://dialin.plcm.vc/teams?conf=1150093344&key=81706329", "81706329.1150093344@t.plcm.vc", None),
    ("https://dialin.plcm.vc/skype/?key=12345678&conf=111962549", None, "12345678.111962549@v.plcm.vc"),
    ("https://dialin.plcm.vc/teams/?key=817063294", None, None),
    ("https://dialin.plcm.vc/teams/?conf=1150093344", None, None),
    ("https://dialin.plcm.vc/teams/?key=me&conf=1150093344", None, None),
    ("https://dialin.plcm.vc.evil.example/teams/?key=817063294&conf=1150093344", None, None),
    ("https://notdialin.plcm.vc/teams/?key=817063294&conf=1150093344", None, None),
])
def test_a_link_of_poly_tells_key_and_id(link: str, poly: str | None, skype: str | None) -> None:
    meeting = invitation(f"Alternate VTC instructions<{link}>")
    assert (alias(meeting, POLY), alias(meeting, POLY_SKYPE)) == (poly, skype)




def name(value: Rule | str) -> str:
    return value.meeting_type if isinstance(value, Rule) else ""


KEYS = [(POLY, "817063294@t.plcm.vc", "817063294.{}@t.plcm.vc"),
        (POLY_SKYPE, "81706329@v.plcm.vc", "81706329.{}@v.plcm.vc"),
        (BLUEJEANS, "130885024@teams.bjn.vc", "130885024.{}@teams.bjn.vc"),
        (CISCO, "exfi@m.webex.com", "{}.exfi@m.webex.com")]
LAYOUTS = [
    ("{} VTC Conference ID: 0291418316", "0291418316"),
    ("{}\nVTC Conference ID: 016830947", "016830947"),
    (("Join with a video conferencing device\n{}\nVideo Conference ID: 119\u00a0856\u00a0382\u00a06\n"
      "Alternate VTC instructions<https://support.example.com>"), "1198563826"),
    ("Tenant key: {0}<mailto:{0}>\nVideo ID: 113 847 069 31", "11384706931"),
    ("Tenant key:\n{}\nVideo ID:\n119 856 382 6\nMore info", "1198563826"),
    ("*Tenant key:* {}\n*Video ID:* 119 856 382 6", "1198563826"),
    ("Mandantenschlüssel: {}\r\nVideo-ID: 129 000 777 4\r\nWeitere Informationen", "1290007774"),
    ("Liity videoneuvottelulaitteella\n{}\nVideoneuvottelun tunnus: 125 977 220 6", "1259772206"),
    ("Leietakernøkkel: {}\nVideo-ID: 125 977 220 6", "1259772206"),
    ("Clé de locataire : {}\nID de vidéo : 125 977 220 6", "1259772206"),
    ("テナント キー: {}\nビデオ ID: 125 977 220 6", "1259772206"),
    ("テナント キー：{}\nビデオ会議 ID：125 977 220 6", "1259772206"),
    ("Clave de inquilino: {}\nId. de vídeo: 125 977 220 6", "1259772206"),
    ("Clave: {}\nBidekoaren zenbakia: 125 977 220 6", "1259772206"),  # a language that has no label here
    ("Video ID: 125 977 220 6\nTenant key: {}\nMore info", "1259772206"),
    ("Join on a video conferencing device Tenant key: {} Video ID: 125 977 220 6 More info", "1259772206"),
    ("Phone conference ID: 881 204 55#\nsip:{}\nVTC Conference ID: 125 977 220 6 Or call +1 323-555-0142",
     "1259772206"),
]


@pytest.mark.parametrize(("layout", "meeting_id"), LAYOUTS)
@pytest.mark.parametrize(("which", "key", "expected"), KEYS, ids=name)
def test_key_and_id_are_read_in_every_layout_and_language(which: Rule, key: str, expected: str, layout: str,
                                                          meeting_id: str) -> None:
    text = layout.format(key)
    assert alias(invitation(text), which) == expected.format(meeting_id)
    assert alias(invitation("Fine.\n\n> " + text.replace("\n", "\n> ")), which) == expected.format(meeting_id)
    plain = re.sub(r"<[^<>]*>", "", text)
    blocks = "".join(f"<div><span>{line}</span></div>" for line in plain.splitlines())
    assert alias(invitation(html=blocks), which) == expected.format(meeting_id)
    spans = re.sub(r": ?", ":&nbsp;</span><span>", plain.replace("\n", "</span><br><span>"))
    assert alias(invitation(html=f"<p><span>{spans}</span></p>"), which) == expected.format(meeting_id)


@pytest.mark.parametrize("layout", [
    "{}", "{}\nAlternate VTC dialing instructions", "{}\nMeeting ID: 241 772 905 113",
    "{}\nMeeting ID: 241 772 905 11", "{}\nPhone conference ID: 881204551", "{}\nConference ID: 731 604 281#",
    "{}\nOr call in (audio only)\n+1 323-555-0142,,60418273#", "{}\nTelefonkonferenz-ID: 881 204 551",
    "{}\nKokoustunnus: 344 018 227 905", "{}\nMobile: 0701234567", "{}\nT: 0701234567", "{}\nVideo ID:",
    "{}\nVideo ID: 12345678", "{}\nVideo ID: 12345678901234", "{}\n1150090777", "Video ID: 119 856 382 6",
    "Video ID: 119 856 382 6\nSee you there at noon, or at half past twelve if the train is late.\n{}",
    "x{}.evil.example\nVideo ID: 119 856 382 6", "{}.evil.example\nVideo ID: 119 856 382 6",
    "https://{}/\nVideo ID: 119 856 382 6", "{}x\nVideo ID: 119 856 382 6", "{}-x\nVideo ID: 119 856 382 6",
    "Meeting ID: 371 220 945 08\nTenant key: {}",
])
@pytest.mark.parametrize(("which", "key", "expected"), KEYS, ids=name)
def test_a_key_without_a_video_id_gives_nothing(which: Rule, key: str, expected: str, layout: str) -> None:
    assert alias(invitation(layout.format(key)), which) is None


def test_an_id_belongs_to_one_key() -> None:
    text = ("81706329@v.plcm.vc\nVideo ID: 119 856 382 6\n817063299@v.plcm.vc\n\n"
            "12345678@v.plcm.vc Video ID: 1112223334")
    assert alias(invitation(text), POLY_SKYPE) == "81706329.1198563826@v.plcm.vc"
    text = "817063299@v.plcm.vc\n\nJoin\n12345678@v.plcm.vc Video ID: 1112223334"
    assert alias(invitation(text), POLY_SKYPE) == "12345678.1112223334@v.plcm.vc"
    text = "1300000@t.plcm.vc Video ID: 119 856 382 6\n817063299@v.plcm.vc\nBye"
    assert alias(invitation(text), POLY) == "1300000.1198563826@t.plcm.vc"


def test_a_link_counts_more_than_lines() -> None:
    text = ("817063294@t.plcm.vc VTC Conference ID: 1150090014\n"
            "Alternate VTC<https://dialin.plcm.vc/teams/?key=817063294&conf=016830947>")
    assert alias(invitation(text), POLY) == "817063294.016830947@t.plcm.vc"


@pytest.mark.parametrize("wrapped", [
    "https://nam12.safelinks.protection.outlook.com/?url=https%3A%2F%2Fpexip.me%2Fteams%2Fvc.example.no%2F1195863826&d=1",
    "https://urldefense.proofpoint.com/v2/url?u=https-3A__pexip.me_teams_vc.example.no_1195863826&d=DwMFAg&e=",
    "https://urldefense.com/v3/__https://pexip.me/teams/vc.example.no/1195863826__;!!Kd9xPqR2!a7$",
    "https://linkprotect.cudasvc.com/url?a=https%3A%2F%2Fpexip.me%2Fteams%2Fvc.example.no%2F1195863826&c=E,1&typo=1",
    "https://secure-web.cisco.com/1kQ7/https%3A%2F%2Fpexip.me%2Fteams%2Fvc.example.no%2F1195863826",
    "https://protect.checkpoint.com/v2/r05/___https://pexip.me/teams/vc.example.no/1195863826___.YXAz",
    ("https://eur03.safelinks.protection.outlook.com/?url=https%3A%2F%2Furldefense.com%2Fv3%2F__https%3A%2F%2F"
     "pexip.me%2Fteams%2Fvc.example.no%2F1195863826__%3B%21%21Kd9%21a7%24&reserved=0"),
    "https://www.google.com/url?q=https://pexip.me/teams/vc.example.no/1195863826&sa=D&source=calendar",
])
def test_a_mail_filter_does_not_hide_the_link(wrapped: str) -> None:
    escaped = wrapped.replace("&", "&amp;")
    for meeting in (invitation(f"More info<{wrapped}>"), invitation(wrapped), invitation(location=wrapped),
                    invitation(html=f"<a href=\"{escaped}\">More info</a>")):
        assert alias(meeting, SERVICE) == "1195863826@vc.example.no"


@pytest.mark.parametrize(("value", "expected"), [
    ("conf:sip:kim@example.com;gruu;opaque=app:conf:focus:id:VWDXT1W2?conversation-id=R5TN1xjmc8",
     "__sfb__VWDXT1W2.kim@example.com"),
    ("conf:sip:kim.a-b_c@eu.example.com;gruu;opaque=app:conf:focus:id:vwdxt1w2",
     "__sfb__vwdxt1w2.kim.a-b_c@eu.example.com"),
    ("conf:sip:kim@example.com;gruu;opaque=app:conf:focus:id:0WDXT1W2%3Fconversation-id=R5",
     "__sfb__0WDXT1W2.kim@example.com"),
    ("conf:sip:kim@example.com\\;gruu\\;opaque=app:conf:focus:id:VWDXT1W2?x=1", "__sfb__VWDXT1W2.kim@example.com"),
    (" conf:sip:kim@example.com;opaque=app:conf:focus:id:VWDXT1W2;gruu", "__sfb__VWDXT1W2.kim@example.com"),
    ("conf:sip:kim@example.com;gruu;opaque=app:conf:focus:id:teams:2:0!19:meeting_abc-thread.v2!0!0", None),
    ("conf:sip:kim@example.com;gruu;opaque=app:conf:focus:id:VWDXT1W", None),
    ("conf:sip:kim@example.com;gruu;opaque=app:conf:focus:id:VWDXT1W22", None),
    ("conf:sip:kim@example.com;gruu;opaque=app:conf:focus:id:VWDXT1W2:x", None),
    ("conf:sip:kim@example.com;gruu", None), ("conf:sip:kim;gruu;opaque=app:conf:focus:id:VWDXT1W2", None),
    ("conf:sip:kim%40a@example.com;gruu;opaque=app:conf:focus:id:VWDXT1W2", None),
    ("sip:kim@example.com", None), ("", None), (7, None), (None, None),
])
def test_skype_dials_the_focus_of_the_conference_uri(value: object, expected: str | None) -> None:
    for properties in by_property("OnlineMeetingConfLink", value):
        assert alias(invitation(properties=properties), SKYPE) == expected


def test_skype_does_not_look_at_the_body() -> None:
    text = "Join Skype Meeting<https://meet.lync.com/example.com/pat.moe/WX4DZ1W1>\nConference ID: 9548307716"
    assert alias(invitation(text), SKYPE) is None


@pytest.mark.parametrize("which", BODY_TYPES, ids=lambda r: r.meeting_type)
def test_the_example_of_a_body_type_gives_an_alias(which: Rule) -> None:
    found = match(invitation(supported()[which.meeting_type].example), which)
    assert found is not None
    assert set(found.variables) == set(supported()[which.meeting_type].variables)
    others = [r for r in BODY_TYPES if r is not which]
    assert [alias(invitation(supported()[which.meeting_type].example), r) for r in others] == [None] * len(others)


def test_a_transform_of_the_operator_sees_the_variables() -> None:
    own = rule("polyteamsbody", transform_rule="{{meeting_id}}.{{tenant_id}}@{{domain}}")
    assert alias(invitation("817063294@t.plcm.vc VTC Conference ID: 1150090014"), own) == (
        "1150090014.817063294@t.plcm.vc")
