"""Coordinates for video systems that a CVI provider prints into the invitations of Teams and Skype for Business.

A block of a tenant key, which is an address, and an id (invitations.md sections 2.5 to 2.9 and 2.13, and the table
of labels). Labels change with year and language, so that the order counts: an id that directly follows the key
belongs to it, unless its label speaks of something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from otjd.rules.patterns import (
    DOMAIN,
    END_OF_HOST,
    SEPARATOR,
    START_OF_USER,
    around_each_at,
    digit_groups,
    ungrouped,
)

KEY = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?"
"""The user part of a tenant key."""

_ID = digit_groups(9, 13)
_LABEL = r"(?P<label>[^\W\d_][^\n:：<>\d@#]{0,60}?)" + SEPARATOR
_LABELLED = re.compile(rf"{_LABEL}(?P<id>{_ID})")
_AFTER_KEY = re.compile(r"\s{0,3}(?:<[^<>\n]{0,300}>)?[\s|•*·,;–()-]{0,6}")
_BEFORE_KEY = re.compile(rf"{_LABELLED.pattern}[\s*]{{0,5}}(?:[^\W\d_][^\n:：<>\d@#]{{0,40}}[:：][\s*]{{0,5}})?"
                         r"(?:sips?:)?\Z")
_BEFORE_LIMIT = 160
_KEYS_LIMIT = 100
_OF_VIDEO = re.compile(r"vtc|v[ií]d[eé]o|wideo|ビデオ|видео|відео|βίντεο|비디오|화상|视频|視訊|וידאו|فيديو",
                       re.IGNORECASE)
_OF_SOMETHING_ELSE = re.compile(
    r"phone|fono|fone|puheli|telef|téléph|\btel\b|電話|电话|전화|телеф|fax|mobil|audio|dial|call|\bring|"
    r"meeting|besprech|réunion|reuni|riunion|vergader|m[øöo]te|møde|kokou|会議|会议|會議|회의|spotkan|встреч|собран|"
    r"toplant|passcode|password|\bpin\b|webinar|zoom|skype|h\.323|ip\b", re.IGNORECASE)
_CERTAIN_GROUPS = re.compile(r"[0-9]{9,11}|[0-9]{3} [0-9]{3} [0-9]{3}(?: [0-9]{1,2})?")


@dataclass(frozen=True, slots=True)
class Coordinates:
    """A tenant key, `key`@`domain`, and the id of a meeting, without blanks. The domain is in lower case."""

    key: str
    domain: str
    meeting_id: str


def address_of(domain: str = DOMAIN, key: str = KEY) -> re.Pattern[str]:
    """An expression for a tenant key in a text; `domain` and `key` are expressions."""
    return re.compile(rf"{START_OF_USER}(?P<key>{key})@(?P<domain>{domain}){END_OF_HOST}", re.IGNORECASE)


def coordinates(text: str, address: re.Pattern[str], *, only_video_labels: bool = False) -> Iterator[Coordinates]:
    """The keys that `address` finds (see `address_of`), each with the id behind, below or directly above it.

    A key without an id is passed over: it leads to no meeting. With `only_video_labels`, so is one whose id has a
    label in a language that is not known here.
    """
    taken = 0
    for key in islice(around_each_at(text, address), _KEYS_LIMIT):
        found = _behind_key(text, key.end(), only_video_labels) or _before_key(text, taken, key.start())
        if found is None:
            continue
        meeting_id, end = found
        taken = max(taken, end)
        yield Coordinates(key["key"], key["domain"].lower(), ungrouped(meeting_id))


def _behind_key(text: str, at: int, only_video_labels: bool) -> tuple[str, int] | None:
    gap = _AFTER_KEY.match(text, at)
    labelled = _LABELLED.match(text, gap.end() if gap else at)
    if labelled is None:
        return None
    if not _OF_VIDEO.search(labelled["label"]):
        useless = only_video_labels or len(labelled["label"]) < 3 or _OF_SOMETHING_ELSE.search(labelled["label"])
        if useless or not _CERTAIN_GROUPS.fullmatch(labelled["id"]):
            return None
    return labelled["id"], labelled.end()


def _before_key(text: str, taken: int, end: int) -> tuple[str, int] | None:
    begin = max(taken, end - _BEFORE_LIMIT)
    before = text[begin:end]
    labelled = _BEFORE_KEY.search(before) if _OF_VIDEO.search(before) else None
    if labelled is None or not _OF_VIDEO.search(labelled["label"]):
        return None
    return labelled["id"], begin + labelled.end("id")
