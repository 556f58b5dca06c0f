"""An invitation as JSON (contract section 5): for rule tests and samples."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from otjd.meetings.model import Invitation, Organizer
from otjd.rules.rule import Rule, rule_from_mapping

_WORDS: Mapping[type, str] = {str: "text", bool: "true or false", dict: "an object", list: "a list"}
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)


class InvitationJsonError(ValueError):
    """This is no invitation; the text names the key, what was found and what is expected."""


def invitation_from_json(data: object) -> tuple[Invitation, tuple[Rule, ...] | None]:
    """The invitation, and the rules that come with it; None where it brings none, so that the profile's are used.

    :raises InvitationJsonError: a key has a value of the wrong type.
    :raises RuleError: a rule in it is none.
    """
    if not isinstance(data, Mapping):
        raise InvitationJsonError(f"expected an object, found {_kind(data)}")
    organizer = _get(data, "organizer", dict, {})
    start = _time(data, "start_time", _NO_TIME)
    invitation = Invitation(
        uid=_get(data, "id", str, "") or "invitation",
        start_time=start,
        end_time=_time(data, "end_time", start),
        subject=_get(data, "subject", str, ""),
        location=_get(data, "location", str, ""),
        body_text=_get(data, "body_text", str, ""),
        body_html=_get(data, "body_html", str, ""),
        organizer=Organizer(_get(organizer, "name", str, "", "organizer."),
                            _get(organizer, "email", str, "", "organizer.")),
        is_private=_get(data, "is_private", bool, False),
        properties=_get(data, "properties", dict, {}))
    return invitation, _rules(data)


def _rules(data: Mapping[str, Any]) -> tuple[Rule, ...] | None:
    if data.get("rules") is not None:
        given = _get(data, "rules", list, [])
        if not all(isinstance(rule, dict) for rule in given):
            raise InvitationJsonError("rules: expected a list of objects")
        return tuple(rule_from_mapping(rule, position) for position, rule in enumerate(given, 1))
    rule = _get(data, "rule", dict, None)
    if rule is None:
        return None
    return (rule_from_mapping(rule),) if rule else ()


def _get(data: Mapping[str, Any], key: str, kind: type, default: Any, parent: str = "") -> Any:
    value = data.get(key)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise InvitationJsonError(f"{parent}{key}: expected {_WORDS[kind]}, found {_kind(value)}")
    return value


def _kind(value: object) -> str:
    return "null" if value is None else _WORDS.get(type(value), "a number")


def _time(data: Mapping[str, Any], key: str, default: datetime) -> datetime:
    text = _get(data, key, str, "")
    if not text:
        return default
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvitationJsonError(f"{key}: expected a time such as 2026-01-31T09:00:00Z, found {text!r}") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
