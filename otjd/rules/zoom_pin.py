"""The numeric passcode with which a room system joins a Zoom meeting (invitations.md section 2.15).

An invitation may hold two passcodes: that for the web, which may have letters, and the numeric one for rooms and
telephones. Only the latter can be dialled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice

import re2  # type: ignore[import-untyped]  # the package has no type information

from otjd.rules.links import folded, for_re2
from otjd.rules.patterns import SEPARATOR, ungrouped

PIN = r"[0-9]{4,10}"
_ENDS = r"(?=[*.,;)|]{0,3}(?:\s|<|\(|\Z))"
_VALUE = rf"(?P<pin>{PIN}){_ENDS}"
_LABELS = (
    r"(?:pass(?:code|word|wort|ord)|kenn(?:code|wort)|mot de passe|code (?:secret|d['’]accès)|contraseña|"
    r"código de acceso|clave|senha|palavra-passe|codice d['’]accesso|passcode|toegangscode|wachtwoord|lösenord|"
    r"adgangskode|pääsykoodi|salasana|tunnuskoodi|kod dostępu|hasło|código|"
    r"パスコード|パスワード|密码|密碼|口令|通行碼|암호|비밀번호|"
    r"код доступа|пароль|parola|şifre|mã (?:bí mật|xác nhận)|kode sandi)")
_LABEL = re.compile(rf"{_LABELS}{SEPARATOR}{_VALUE}", re.IGNORECASE)
_ANY_LABEL = re2.compile(_LABELS)
# As few expressions as can be hold the id: to compile one for each meeting takes longer than to search its text.
_DIAL_STRING = re.compile(rf"##(?P<id>[0-9]+)#(?P<pin>{PIN})(?![\w.@-])")  # <ip>##<id>#<passcode>
_ONE_TAP = re.compile(rf",(?P<id>[0-9]+)#(?=(?:,{{1,6}}0?#)?,{{1,6}}\*?(?P<pin>{PIN})#)")
"""`+16465550142,,<id>#,,,,*<passcode>#`, also with `0#` for no participant number in between."""

_UNDER_A_LABEL = re.compile(r"(?:@[a-z0-9.-]{1,40})?[\s*|•,]{0,6}(?:<[^<>\s]{1,200}>)?[\s*|•,]{0,6}"
                            rf"(?P<label>[^\W\d_][^\n:：\d@/<>]{{1,40}})[:：][\s*]{{0,5}}{_VALUE}", re.IGNORECASE)
_ROOM_SECTION = re2.compile(r"h\.?323|@(?:[a-z0-9-]{1,30}\.){0,2}zoomcrc\.com")
_NOT_A_PASSCODE = re.compile(r"host|particip|teilnehm|attend|phone|telef|fax|mobil|webinar|"
                             r"\bid\b|-id\b|conf|extension|参加者|主持|ホスト", re.IGNORECASE)
_OTHER_PROVIDER = re.compile(r"\bteams\b|webex|bluejeans|gotomeet|goto\.com", re.IGNORECASE)
_ID_ABOVE = re.compile(r"(?<![0-9-])([0-9](?:[ -]?[0-9]){8,16})[^0-9]{0,30}\Z")
_DIGITS = re2.compile("[0-9](?:[ -]?[0-9]){8,}")
_ABOVE = 80
_MANY = 50
_LABELS_LIMIT = 1000
_NUMBERS_LIMIT = 1000


def pins(text: str, meeting_id: str) -> Iterator[str]:
    """Numeric passcodes of this meeting in a text, the most certain first."""
    yield from _beside(_DIAL_STRING, text, meeting_id)
    ids = list(_ends_of_id(text, meeting_id))
    has_labels = any(_behind(text, ids)) or any(_labels(text))
    rooms = _ROOM_SECTION.search(for_re2(folded(text))) if has_labels else None
    if rooms:
        yield from _behind(text, [end for end in ids if end > rooms.start()])
        yield from _labelled(text[rooms.start():], meeting_id)
    yield from _beside(_ONE_TAP, text, meeting_id)
    if has_labels:
        yield from _behind(text, ids)
        yield from _labelled(text, meeting_id)


def _beside(id_and_pin: re.Pattern[str], text: str, meeting_id: str) -> Iterator[str]:
    if "#" in text and f"{meeting_id}#" in text:
        yield from (match["pin"] for match in id_and_pin.finditer(text) if match["id"] == meeting_id)


def _behind(text: str, ids: Iterable[int]) -> Iterator[str]:
    """A number under whatever label directly below the id, or below the address that holds it."""
    found = (match for end in ids if (match := _UNDER_A_LABEL.match(text, end)))
    for match in islice(found, _MANY):
        if not _NOT_A_PASSCODE.search(match["label"]):
            yield match["pin"]


def _ends_of_id(text: str, meeting_id: str) -> Iterator[int]:
    """Where the id ends in a text, together or in groups. No expression is compiled that holds it."""
    end = 0
    for run in _DIGITS.finditer(for_re2(text)):
        begin, behind = run.span()
        if meeting_id not in ungrouped(text[begin:behind]):
            continue
        numbers = _of_length(len(meeting_id)).finditer(text, begin, behind + 1)
        for number in islice(numbers, _NUMBERS_LIMIT):
            if number.start() >= end and number[0] == meeting_id[0] and ungrouped(number[1]) == meeting_id[1:]:
                end = number.end(1)
                yield end


@cache
def _of_length(digits: int) -> re.Pattern[str]:
    """A number of so many digits: the first of them, and the others as group 1."""
    return re.compile(rf"[0-9](?<![0-9,#+][0-9])(?=((?:[ -]?[0-9]){{{digits - 1}}})(?![0-9#]))")


def _labelled(text: str, meeting_id: str) -> Iterator[str]:
    """A number under a label that is known, unless it stands below the id of a meeting of another provider."""
    found = list(_labels(text))
    mixed = bool(found) and _OTHER_PROVIDER.search(text) is not None
    for match in found:
        above = _ID_ABOVE.search(text[max(0, match.start() - _ABOVE):match.start()]) if mixed else None
        if above is None or ungrouped(above[1]) == meeting_id:
            yield match["pin"]


def _labels(text: str) -> Iterator[re.Match[str]]:
    """What `_LABEL` matches. RE2 finds the labels: it is ten times as fast where there are none."""
    end = 0
    for label in islice(_ANY_LABEL.finditer(for_re2(folded(text))), _LABELS_LIMIT):
        match = _LABEL.match(text, label.start()) if label.start() >= end else None
        if match:
            end = match.end()
            yield match
