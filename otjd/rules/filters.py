"""The filters of templates: a subset of Jinja2's own, and those of Pexip Infinity (infinity.md section 8).

Each takes the budget of the rendering and the filtered value first. Those with the names in AS_FUNCTIONS can be
called too; then `pex_regex_search` takes the expression before the text (vendor's deployment guide, custom rules).
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote_plus, urlencode
from zoneinfo import ZoneInfo

import regex
from jinja2 import Undefined
from jinja2.filters import do_default, do_float, do_int, do_round

from otjd.rules.budget import Budget, LimitExceededError
from otjd.rules.links import restore_safe_links, restore_url_defense

RANGE_LIMIT = 10_000
PATTERN_LIMIT = 2000
SMALL_ARGUMENT = 100
"""Characters of an argument that is looked for at every place of a text."""

_PRINTF = re.compile(r"%(?:\([^)]*\))?[#0\- +]*(\*|\d+)?(?:\.(\*|\d+))?")


class NotApplicable(Exception):  # noqa: N818 - not an error: the template says that it does not apply
    """The template does not apply to this value: it renders nothing."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a few filters need from the world. Without them those filters fail."""

    now: Callable[[], datetime] | None = None
    random_bytes: Callable[[int], bytes] | None = None
    debug_log: Callable[[str], None] | None = None


def text(value: Any) -> str:
    """A plain value as text; None and what is undefined as nothing."""
    return "" if value is None or isinstance(value, Undefined) else str(value)


def compiled(pattern: Any) -> regex.Pattern[str]:
    """An expression from a template.

    :raises LimitExceededError: it is longer than anybody writes by hand.
    """
    if len(pattern) > PATTERN_LIMIT:
        raise LimitExceededError(f"an expression has more than {PATTERN_LIMIT} characters")
    return regex.compile(pattern)


def search(budget: Budget, pattern: Any, value: str) -> regex.Match[str] | None:
    """Search with an expression from a template, within the time that is left."""
    return compiled(pattern).search(value, timeout=budget.remaining_s())


# Jinja2's own

def _capitalize(_: Budget, value: Any) -> str:
    return text(value).capitalize()


def _first(_: Budget, value: Any) -> Any:
    return next(iter(value), Undefined("there is no first item"))


def _last(_: Budget, value: Any) -> Any:
    return value[-1] if len(value) else Undefined("there is no last item")


def check_printf(template: str) -> None:
    """Refuse widths that a template has no use for.

    :raises LimitExceededError: a field is wider than 1,000 characters, or its width is an argument.
    """
    for width in (w for match in _PRINTF.findall(template) for w in match if w):
        if width == "*" or len(width) > 3:
            raise LimitExceededError("the width of a formatted value is too large")


def _format(budget: Budget, value: Any, *args: Any, **kwargs: Any) -> str:
    template = text(value)
    check_printf(template)
    budget.spend(template.count("%") * sum(len(text(a)) for a in (*args, *kwargs.values())))
    return template % (kwargs or args)


def _join(budget: Budget, value: Iterable[Any], separator: Any = "") -> str:
    parts = [text(part) for part in value]
    budget.spend(sum(map(len, parts)) + len(parts) * len(text(separator)))
    return text(separator).join(parts)


def _length(_: Budget, value: Any) -> int:
    return len(value)


def bounded_range(_: Budget, *args: int) -> range:
    """A range of at most 10,000 numbers."""
    numbers = range(*args)
    if len(numbers) > RANGE_LIMIT:
        raise LimitExceededError(f"a range has more than {RANGE_LIMIT} numbers")
    return numbers


def replaced(budget: Budget, value: Any, old: Any, new: Any, count: int = -1) -> str:
    """`str.replace`, with its size known before."""
    source, old, new = text(value), text(old), text(new)
    times = source.count(old) if count is None or count < 0 else min(count, source.count(old))
    budget.spend(len(source) + times * max(0, len(new) - len(old)))
    return source.replace(old, new, times)


def _round(_: Budget, value: Any, precision: int = 0, method: Any = "common") -> float:
    if abs(precision) > 30:
        raise LimitExceededError("the precision of a rounded number is too large")
    return do_round(value, precision, method)


def strip_tags(_: Budget, value: Any) -> str:
    """The text without `<...>` and comments, blanks folded. Linear in its length."""
    source = text(value)
    kept: list[str] = []
    at = 0
    while (start := source.find("<", at)) >= 0:
        closing = "-->" if source.startswith("<!--", start) else ">"
        end = source.find(closing, start)
        if end < 0:
            break
        kept.append(source[at:start])
        at = end + len(closing)
    kept.append(source[at:])
    return " ".join("".join(kept).split())


def _trim(_: Budget, value: Any, chars: str | None = None) -> str:
    if chars is not None and len(chars) > SMALL_ARGUMENT:
        raise LimitExceededError("too many characters to trim")
    return text(value).strip(chars)


def _truncate(_: Budget, value: Any, length: int = 255, killwords: bool = False, end: str = "...",
              leeway: int = 5) -> str:
    source = text(value)
    if len(source) <= length + leeway:
        return source
    cut = source[:max(0, length - len(end))]
    return (cut if killwords else cut.rsplit(" ", 1)[0]) + end


# Pexip's

def _decoded(value: Any) -> bytes:
    raw = text(value).encode()
    return base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_" if b"-" in raw or b"_" in raw else None)


def _to_uuid(_: Budget, value: Any) -> str:
    return str(uuid.UUID(bytes=_decoded(value)))


def _clean_phone_number(_: Budget, value: Any) -> str:
    return "".join(c for c in text(value) if c in "+0123456789")


def _find_first_match(budget: Budget, values: Iterable[Any], pattern: str) -> str:
    return next((text(v) for v in values if search(budget, pattern, text(v))), "")


def _in_subnet(_: Budget, address: Any, subnets: Sequence[str] | str) -> bool:
    ip = ipaddress.ip_address(text(address))
    return any(ip in ipaddress.ip_network(net, strict=False)
               for net in ([subnets] if isinstance(subnets, str) else subnets))


def _regex_replace(budget: Budget, value: Any, find: str, replacement: str) -> str:
    source = text(value)
    pieces: list[str] = []
    at = 0
    for match in compiled(find).finditer(source, timeout=budget.remaining_s()):
        pieces += (source[at:match.start()], match.expand(replacement))
        budget.spend(len(pieces[-1]) + 1)
        at = match.end()
    return "".join((*pieces, source[at:]))


def _regex_search(budget: Budget, value: Any, pattern: str) -> list[str]:
    match = search(budget, pattern, text(value))
    return list(match.groups(default="")) if match else []


def regex_search_function(budget: Budget, pattern: str, value: Any) -> list[str]:
    """`pex_regex_search(pattern, string)`: the captured groups, nothing where the text does not match."""
    return _regex_search(budget, value, pattern)


def _require_min_length(_: Budget, value: Any, length: int) -> Any:
    if len(text(value)) < length:
        raise NotApplicable
    return value


def _url_encode(_: Budget, value: Any) -> str:
    if isinstance(value, str | int | float | Undefined):
        return quote(text(value), safe="")
    return urlencode(list(value.items()) if isinstance(value, Mapping) else list(value))


def _update(_: Budget, value: Mapping[Any, Any], other: Mapping[Any, Any]) -> dict[Any, Any]:
    return {**value, **other}


def _now(surroundings: Surroundings) -> Callable[..., dict[str, Any]]:
    def now(_: Budget, zone: str = "UTC") -> dict[str, Any]:
        if surroundings.now is None:
            raise ValueError("pex_now is not available here")
        at = surroundings.now().astimezone(ZoneInfo(zone))
        return {"year": at.year, "month": at.month, "day": at.day, "hour": at.hour, "minute": at.minute,
                "second": at.second, "microsecond": at.microsecond}
    return now


def _random(surroundings: Surroundings) -> Callable[[int], bytes]:
    if surroundings.random_bytes is None:
        raise ValueError("random values are not available here: they would change at every reading")
    return surroundings.random_bytes


def _pex_filters(surroundings: Surroundings) -> dict[str, Callable[..., Any]]:
    def random_pin(budget: Budget, length: int = 4) -> str:
        budget.spend(length)
        return "".join(str(b % 10) for b in _random(surroundings)(length))

    def uuid4(_: Budget, __: Any = None) -> str:
        return str(uuid.UUID(bytes=_random(surroundings)(16), version=4))

    def debug_log(_: Budget, value: Any = "") -> str:
        if surroundings.debug_log is not None:
            surroundings.debug_log(text(value))
        return ""

    return {
        "pex_base64": lambda _, v: base64.b64encode(text(v).encode()).decode(),
        "pex_clean_phone_number": _clean_phone_number,
        "pex_debug_log": debug_log,
        "pex_find_first_match": _find_first_match,
        "pex_hash": lambda _, v: hashlib.sha256(text(v).encode()).hexdigest(),
        "pex_head": lambda _, v, n: text(v)[:max(0, n)],
        "pex_in_subnet": _in_subnet,
        "pex_md5": lambda _, v: hashlib.md5(text(v).encode(), usedforsecurity=False).hexdigest(),
        "pex_now": _now(surroundings),
        "pex_random_pin": random_pin,
        "pex_regex_replace": _regex_replace,
        "pex_regex_search": _regex_search,
        "pex_require_min_length": _require_min_length,
        "pex_reverse": lambda _, v: text(v)[::-1],
        "pex_safelinks_decode": lambda _, v: restore_safe_links(text(v)),
        "pex_strlen": lambda _, v: len(text(v)),
        "pex_tail": lambda _, v, n: text(v)[-n:] if n > 0 else "",
        "pex_to_json": lambda _, v: json.dumps(v, ensure_ascii=False, default=text),
        "pex_to_uuid": _to_uuid,
        "pex_update": _update,
        "pex_url_decode": lambda _, v: unquote_plus(text(v)),
        "pex_url_encode": _url_encode,
        "pex_urldefense_decode": lambda _, v: restore_url_defense(text(v)),
        "pex_uuid4": uuid4,
    }


def filters(surroundings: Surroundings) -> dict[str, Callable[..., Any]]:
    """Every filter there is, by name."""
    return {
        "abs": lambda _, v: abs(v),
        "capitalize": _capitalize,
        "default": lambda _, *args: do_default(*args),
        "first": _first,
        "float": lambda _, v, default=0.0: do_float(v, default),
        "format": _format,
        "int": lambda _, v, default=0, base=10: do_int(v, default, base),
        "join": _join,
        "last": _last,
        "length": _length,
        "lower": lambda _, v: text(v).lower(),
        "range": bounded_range,
        "replace": replaced,
        "round": _round,
        "striptags": strip_tags,
        "trim": _trim,
        "truncate": _truncate,
        "upper": lambda _, v: text(v).upper(),
        **_pex_filters(surroundings),
    }


def functions(surroundings: Surroundings) -> dict[str, Callable[..., Any]]:
    """What templates can call, by name."""
    return {**_pex_filters(surroundings), "pex_regex_search": regex_search_function, "range": bounded_range}
