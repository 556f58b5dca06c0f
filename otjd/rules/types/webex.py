"""`webex`: a Webex meeting or personal room by the address for video systems (invitations.md section 2.14).

A meeting number without an address gives no alias: the site may not allow video systems (section 4, 3). Addresses
of names are taken only where the text tells one to dial them, as mailboxes are in the same domains.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping

from otjd.rules.event import MeetingEvent
from otjd.rules.mailboxes import is_mailbox
from otjd.rules.meeting_type import MeetingType, Place, by
from otjd.rules.parts import Address, Part, address_pattern, of_body, of_location, of_properties
from otjd.rules.patterns import END_OF_HOST
from otjd.rules.rule import Rule

_USER = r"[A-Za-z0-9_](?:[A-Za-z0-9._+-]{0,62}[A-Za-z0-9_])?"
_SITE = r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){0,3}webex\.com"
_ADDRESS = address_pattern(_USER, _SITE)
_RUN_ON = re.compile(_ADDRESS.pattern.removesuffix(END_OF_HOST) + r"(?=You can also dial)", re.IGNORECASE)
"""Flattened text has lost the blank between the address and the next sentence."""

_OTHER_SERVICES = re.compile(r"(?:.*\.)?(?:lync|m|help|support|mail|email|e|signin|go|www)\.webex\.com")
_NUMBER = re.compile(r"[0-9]{9,11}|pr[0-9]{9,12}", re.IGNORECASE)
_TOLD_TO_DIAL = re.compile(
    r"(?:\b(?:dial|call|w[äa]hlen(?: sie)?|anwählen|composez|composer|appele[rz]|marque|marcar|marca|llame a|"
    r"disque|ligue para|componi|componga|comporre|chiama(?:re)?|bel|kies|ring|slå|opkald til|soita|valitse|"
    r"wybierz|zadzwoń|наберите|позвоните|vytočte|tárcsázza|çevirin|arayın|formați)"
    r"|ダイヤル|拨打|撥打|撥號|拨号|전화|걸기)"
    r"(?: +(?:to|in to|into|auf|le|la|el|il))?[ *]{0,3}[:：]?[\s*•]{0,4}(?:sips?:[ ]?)?<?\Z"
    r"|(?:video|vidéo|vídeo|wideo|ビデオ|视频|視訊|비디오|видео)"
    r"[^\n@<>]{0,80}[:：\n][\s*•]{0,4}(?:sips?:[ ]?)?<?\Z"
    r"|video(?: conferencing)?[ -](?:system|device|endpoint)s?(?: or application)?[ *•]{1,4}\Z"
    r"|\bsips?:[ ]{0,2}<?\Z", re.IGNORECASE)
_BLOB_LIMIT = 100_000


def find(event: MeetingEvent, _: Rule) -> Mapping[str, str] | None:
    """The first address that is to be dialled, else the first that has a meeting number."""
    for part in _parts(event):
        told: list[Address] = []
        numbers: list[Address] = []
        for address in (*part.addresses(_RUN_ON), *part.addresses(_ADDRESS)):
            is_number = _NUMBER.fullmatch(address.user) is not None
            if _OTHER_SERVICES.fullmatch(address.domain):
                continue
            if (is_number or not is_mailbox(address.user)) and _TOLD_TO_DIAL.search(address.before):
                told.append(address)
            elif is_number:
                numbers.append(address)
        if told or numbers:
            first = (told + numbers)[0]
            return {"meeting_id": first.user, "domain": first.domain}
    return None


def _parts(event: MeetingEvent) -> Iterator[Part]:
    yield of_body(event)
    yield of_location(event)
    yield of_properties(event)
    capabilities = event.properties.get("uc_capabilities")
    if isinstance(capabilities, str):
        yield Part(html.unescape(capabilities[:_BLOB_LIMIT]))


TYPE = MeetingType("webex", by(find), variables=("meeting_id", "domain"),
                   looks_in=(Place.BODY, Place.LOCATION, Place.PROPERTIES),
                   signs=(r"@[a-z0-9.-]*webex\.com",),
                   default_transform="{{meeting_id}}@{{domain}}",
                   looks_for="<number>@<site>.webex.com, or a personal room beside the word dial",
                   example="""\
Join meeting: https://example.webex.com/example/j.php?MTID=m4d7e0b92c6a1f358
Meeting number (access code): 2631 470 5982
Meeting password: Gh3kPq7wT2 (44357798 from video systems)

Join from a video system or application
Dial 26314705982@example.webex.com
You can also dial 173.243.2.68 and enter your meeting number.
""")
